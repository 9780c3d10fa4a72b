"""Do stimuli made to tell neurons apart do so better than those that only excite."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from twinlab.jobs import Job
from twinlab.loop.comparing import FEWEST, signed_rank, standardise
from twinlab.loop.repeats import (
    bootstrap,
    check_resampling,
    mean_defined,
    mean_repeats,
    own_repeats,
    scalar,
)
from twinlab.schema import InputError, make_result

__all__ = ["compare_specificity"]

BURG = "Burg et al. (2024), Most discriminative stimuli for functional cell type clustering, ICLR"


def compare_specificity(
    observed: xr.Dataset,
    kind: str = "discriminating",
    other: str = "mei",
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    job: Job | None = None,
) -> xr.Dataset:
    """Tell whether stimuli of one kind excite their own neuron alone more than those of another.

    The responses of each neuron are averaged over repeats and standardised over the stimuli of
    both kinds together. The specificity of a stimulus is the standardised response of the neuron
    it was made for, less the largest of any other: below 0 where it excites another more. Noise
    raises the largest of many, for both kinds alike.

    Parameters
    ----------
    observed : xarray.Dataset
        As of `compare_confusion`.
    kind, other : str
        Of the stimuli compared.
    n_bootstrap, confidence, seed, job
        As of `compare_confusion`.

    Returns
    -------
    xarray.Dataset
        Along `neuron`: `specificity`, `specificity_other` and `difference`. Scalars:
        `mean_difference` and `share_more_specific`, of the neurons whose stimulus of `kind` is
        more specific, each with `<name>_interval` (bound); and `population_p_value`, a one-sided
        Wilcoxon signed-rank test over neurons. Neurons that do not vary are NaN and in no mean.

    Raises
    ------
    InputError
        If fewer than 3 neurons have stimuli of both kinds that were shown, or a setting is out of
        range.

    References
    ----------
    Burg et al. (2024), ICLR.

    """
    check_resampling(0, n_bootstrap, confidence)
    names, every = zip(*(own_repeats(observed, one)[::2] for one in (kind, other)), strict=True)
    both = [one for one in names[0] if one in names[1]]
    if len(both) < FEWEST:
        msg = (
            f"{len(both)} neurons have stimuli of the kinds {kind!r} and {other!r} of their own "
            f"that were shown; expected at least {FEWEST}."
        )
        raise InputError(msg)
    rows = [[name.index(one) for one in both] for name in names]
    stacked = [one[row][..., row] for one, row in zip(every, rows, strict=True)]
    whole = [mean_repeats(one) for one in stacked]
    of_each = _specificity(whole)
    difference = of_each[0] - of_each[1]
    interval = bootstrap(
        lambda unit, means: _summaries(np.subtract(*_specificity(means))[unit]),
        stacked, len(both), n_bootstrap=n_bootstrap, confidence=confidence, seed=seed,
        job=job or Job(),
    )  # fmt: skip
    interval[1] = interval[1].clip(0, 1)  # a share, which noise moved beyond
    words = "standardised response of its own neuron less the largest of any other"
    variables: dict[str, Any] = {
        "specificity": ("neuron", of_each[0], {"long_name": f"{kind}: {words}", "units": "1"}),
        "specificity_other": (
            "neuron", of_each[1], {"long_name": f"{other}: {words}", "units": "1"},
        ),
        "difference": (
            "neuron", difference, {"long_name": f"specificity, {kind} - {other}", "units": "1"},
        ),
        "population_p_value": (
            (), signed_rank(difference), {"long_name": "p value over neurons", "units": "1"},
        ),
    }  # fmt: skip
    words_of = {
        "mean_difference": f"mean specificity, {kind} - {other}",
        "share_more_specific": f"share of neurons whose {kind} is more specific than the {other}",
    }
    for i, (key, said) in enumerate(words_of.items()):
        variables |= scalar(key, _summaries(difference)[i], interval[i], said)
    return make_result(
        xr.Dataset(variables, {"neuron": both, "bound": ["lower", "upper"]}),
        experiment="specificity",
        seed=seed,
        settings={
            "kind": kind,
            "other": other,
            "n_bootstrap": n_bootstrap,
            "confidence": confidence,
        },
        source=BURG,
    )


def _specificity(means: list[np.ndarray]) -> np.ndarray:
    """Of each stimulus of both kinds, (2, n), from mean responses (stimulus, neuron)."""
    n = len(means[0])
    z = standardise(np.concatenate(means)).reshape(2, n, n)
    own = np.diagonal(z, axis1=1, axis2=2)
    rest = np.where(np.isfinite(z) & ~np.eye(n, dtype=bool), z, -np.inf).max(2)
    return own - np.where(np.isfinite(rest), rest, np.nan)


def _summaries(difference: np.ndarray) -> np.ndarray:
    there = np.isfinite(difference)
    more = np.where(there, difference > 0, np.nan)
    return np.array([mean_defined(difference), mean_defined(more)])
