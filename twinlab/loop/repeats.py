"""Responses to the stimuli of a session, repeat by repeat, and what resampling them tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed

__all__ = [
    "benjamini_hochberg",
    "bootstrap",
    "check_resampling",
    "holm",
    "mean_defined",
    "mean_repeats",
    "own_repeats",
    "percentiles",
    "scalar",
    "stack_repeats",
]


def stack_repeats(observed: xr.Dataset, stimulus_id: list[str]) -> np.ndarray:
    """Responses to some stimuli, (stimulus, repeat, neuron), NaN where there are fewer.

    Raises
    ------
    InputError
        If `observed` has no `response` (trial, neuron) with `stimulus_id` along `trial`.

    """
    if "response" not in observed or set(observed.response.dims) != {"trial", "neuron"}:
        msg = (
            "`observed` has no `response` (trial, neuron); expected that of `name_units`, or of a "
            "session in which the units are the neurons."
        )
        raise InputError(msg)
    response = observed.response.transpose("trial", "neuron").values.astype(float)
    shown = observed.stimulus_id.values.astype(str)
    trials = [np.flatnonzero(shown == name) for name in stimulus_id]
    n_repeat = max((len(trial) for trial in trials), default=0)
    stacked = np.full((len(stimulus_id), n_repeat, response.shape[1]), np.nan)
    for row, trial in enumerate(trials):
        stacked[row, : len(trial)] = response[trial]
    return stacked


def own_repeats(observed: xr.Dataset, kind: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Neurons that have a stimulus of a kind, where they are, and responses to all of these.

    Returns
    -------
    name : list of str
    position : ndarray of int, shape (n,)
        Along `neuron` of `observed`.
    response : ndarray of shape (n, n_repeat, n)
        To the stimulus of each neuron (first), of each neuron (last).

    """
    of_kind = observed.kind.values.astype(str) == kind
    neuron = observed.neuron.values.astype(str).tolist()
    made_for = observed.made_for.values.astype(str)[of_kind].tolist()
    stimulus = observed.stimulus_id.values.astype(str)[of_kind].tolist()
    stimulus_of = dict(zip(made_for, stimulus, strict=True))
    twice = sorted(
        name
        for name in stimulus_of
        if len({s for m, s in zip(made_for, stimulus, strict=True) if m == name}) > 1
    )
    if twice:
        msg = f"Neuron {twice[0]} has several stimuli of kind {kind!r}; compare them by kind."
        raise InputError(msg)
    name = [one for one in neuron if one in stimulus_of]
    position = np.array([neuron.index(one) for one in name], int)
    response = stack_repeats(observed, [stimulus_of[one] for one in name])[..., position]
    return name, position, response


def mean_repeats(stacked: np.ndarray) -> np.ndarray:
    """Mean over repeats (second axis), NaN where there is none."""
    n = np.isfinite(stacked).sum(1)
    return np.where(n > 0, np.nansum(stacked, 1) / np.maximum(n, 1), np.nan)


def bootstrap(
    statistic: Callable[[np.ndarray, list[np.ndarray]], np.ndarray],
    stacked: list[np.ndarray],
    n_unit: int,
    *,
    n_bootstrap: int,
    confidence: float,
    seed: int,
    job: Job,
    shift: bool | np.ndarray = True,
) -> np.ndarray:
    """Interval of a statistic over units and, within each stimulus, over repeats.

    Parameters
    ----------
    statistic : callable
        Of positions of the units drawn, and mean responses (stimulus, ...) for each of `stacked`;
        gives an array.
    stacked : list of ndarray of shape (n_stimulus, n_repeat, ...)
    n_unit : int
    n_bootstrap, confidence, seed
        As of `compare_confusion`.
    job : Job
    shift : bool, or ndarray of bool that goes with the statistic
        Where to move the percentiles by the difference between the statistic and the resamples'
        mean: repeats drawn twice add noise, which biases maxima. Not for ratios, whose resamples
        are skewed: moved by their mean, bounds would fall below 0.

    Returns
    -------
    ndarray of shape (..., 2)
        Percentiles of the statistic over resamples, moved where asked for. NaN where the
        statistic is, and with `n_bootstrap` 0.

    """
    every = np.arange(n_unit)
    whole = statistic(every, [mean_repeats(one) for one in stacked])
    if not n_bootstrap:
        return np.full((*whole.shape, 2), np.nan)
    generator = np.random.default_rng(check_seed(seed))
    drawn = np.empty((n_bootstrap, *whole.shape))
    for i in range(n_bootstrap):
        job.report(i / n_bootstrap, "resampling units and repeats")
        means = []
        for one in stacked:
            chosen = generator.integers(one.shape[1], size=one.shape[:2])
            means.append(mean_repeats(one[np.arange(len(one))[:, None], chosen]))
        drawn[i] = statistic(generator.integers(n_unit, size=n_unit), means)
    middle, bounds = percentiles(drawn, confidence)
    move = np.where(np.isnan(whole), np.nan, 0.0)
    move = np.subtract(whole, middle, out=move, where=np.broadcast_to(shift, whole.shape))
    found: np.ndarray = bounds + move[..., None]
    return found


def percentiles(drawn: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean of resamples (first axis) and the bounds (..., 2) that hold a share of them.

    A resample that leaves a statistic undefined says nothing of it; NaN where all do. Bounds are
    resamples themselves, which may be infinite.
    """
    tail = (1 - confidence) / 2
    shape = drawn.shape[1:]
    mean, bounds = np.full(shape, np.nan), np.full((*shape, 2), np.nan)
    for i in np.ndindex(shape):
        known = np.sort(drawn[(slice(None), *i)])
        known = known[~np.isnan(known)]
        if known.size:
            outside = int(tail * (known.size - 1))  # on either side
            mean[i], bounds[i] = known.mean(), (known[outside], known[-1 - outside])
    return mean, bounds


def benjamini_hochberg(p_value: np.ndarray) -> np.ndarray:
    """Smallest false discovery rate at which each hypothesis is rejected; NaN stays NaN.

    References
    ----------
    Benjamini & Hochberg (1995), Journal of the Royal Statistical Society B 57: 289-300.

    """
    adjusted = np.full(p_value.shape, np.nan)
    given = np.flatnonzero(np.isfinite(p_value))
    order = given[np.argsort(p_value[given])]
    stepped = p_value[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum.accumulate(stepped[::-1])[::-1]
    return adjusted


def holm(p_value: np.ndarray) -> np.ndarray:
    """Smallest level at which each hypothesis is rejected, all together; NaN stays NaN.

    References
    ----------
    Holm (1979), Scandinavian Journal of Statistics 6: 65-70.

    """
    adjusted = np.full(p_value.shape, np.nan)
    given = np.flatnonzero(np.isfinite(p_value))
    order = given[np.argsort(p_value[given], kind="stable")]
    stepped = p_value[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted


def mean_defined(values: np.ndarray) -> float:
    """Mean of what is defined, NaN where nothing is."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if there.size else np.nan


def check_resampling(n_permutation: int, n_bootstrap: int, confidence: float) -> None:
    """Raise `InputError` for numbers of resamples that cannot be."""
    if min(n_permutation, n_bootstrap) < 0 or not 0 < confidence < 1:
        msg = (
            "`n_permutation` and `n_bootstrap` must be at least 0 and `confidence` between 0 and "
            f"1, but got {n_permutation}, {n_bootstrap} and {confidence:g}."
        )
        raise InputError(msg)


def scalar(key: str, value: Any, interval: np.ndarray, words: str, *dims: str) -> dict[str, Any]:
    """A summary and its interval, labelled."""
    return {
        key: (dims, value, {"long_name": words, "units": "1"}),
        f"{key}_interval": (
            (*dims, "bound"), interval, {"long_name": f"interval of the {words}", "units": "1"},
        ),
    }  # fmt: skip
