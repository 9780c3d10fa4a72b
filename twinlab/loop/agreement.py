"""Was the twin right about each stimulus: predicted against observed, under the ceiling."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from twinlab.evaluation import cc_max, cc_norm, correlation_to_average, explainable_variance
from twinlab.jobs import Job
from twinlab.loop.repeats import (
    check_resampling,
    mean_defined,
    mean_repeats,
    percentiles,
    scalar,
    stack_repeats,
)
from twinlab.schema import InputError, check_seed, make_result

__all__ = ["compare_prediction"]

SCHOPPE = "Schoppe et al. (2016), Frontiers in Computational Neuroscience 10: 10"
FEWEST = 3  # stimuli
LEAST = (
    0.15  # of its variance that a neuron's repeats explain, or a ratio to its ceiling says nothing
)


def compare_prediction(
    observed: xr.Dataset,
    predicted: xr.DataArray,
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    job: Job | None = None,
) -> xr.Dataset:
    """Tell whether the responses to each stimulus are those that the twin predicted.

    Parameters
    ----------
    observed : xarray.Dataset
        As of `compare_confusion`.
    predicted : xarray.DataArray
        Predicted response (stimulus, neuron) with the coordinates `stimulus_id` and `neuron`, of
        all neurons observed and at least 3 stimuli shown.
    n_bootstrap, confidence, seed, job
        As of `compare_confusion`.

    Returns
    -------
    xarray.Dataset
        `observed` and `predicted` (stimulus, neuron); along `neuron` over stimuli: `correlation`
        of the two, its ceiling `cc_max` by the repeats' noise, and `cc_norm`, in units of that
        ceiling (NaN where repeats explain less than 0.15 of the variance: a ceiling near 0 would
        drown the others); and of all the mean over the neurons where it is defined,
        `mean_<name>`, with `mean_<name>_interval` (bound).

    Raises
    ------
    InputError
        If a neuron has no prediction or fewer than 3 stimuli have one.

    """
    job = job or Job()
    check_resampling(0, n_bootstrap, confidence)
    neuron = observed.neuron.values.astype(str).tolist()
    known = predicted.neuron.values.astype(str).tolist()
    lacking = [name for name in neuron if name not in known]
    shown = set(observed.stimulus_id.values.astype(str).tolist())
    stimulus = [
        name for name in predicted.stimulus_id.values.astype(str).tolist() if name in shown
    ]
    if lacking or len(stimulus) < FEWEST:
        msg = (
            f"{len(lacking)} neurons have no prediction, first {lacking[0]}."
            if lacking
            else f"Of the stimuli shown {len(stimulus)} have a prediction; expected 3 or more."
        )
        raise InputError(msg)
    rows = [predicted.stimulus_id.values.astype(str).tolist().index(name) for name in stimulus]
    table = predicted.transpose("stimulus", "neuron").values.astype(float)
    expected = table[rows][:, [known.index(name) for name in neuron]]
    stacked = stack_repeats(observed, stimulus)
    scores = _agreement(stacked, expected)
    generator = np.random.default_rng(check_seed(seed))
    drawn = np.full((n_bootstrap, len(scores)), np.nan)
    for i in range(n_bootstrap):
        job.report(i / n_bootstrap, "resampling units and stimuli")
        # Stimuli, not their repeats: a repeat drawn twice has no noise, which moves the ceiling.
        chosen = generator.integers(len(stimulus), size=len(stimulus))
        units = generator.integers(len(neuron), size=len(neuron))
        resampled = _agreement(stacked[chosen][..., units], expected[chosen][:, units])
        drawn[i] = [mean_defined(values) for values in resampled.values()]
    mean = np.array([mean_defined(values) for values in scores.values()])
    interval = percentiles(drawn, confidence)[1]
    words_of = {
        "correlation": "correlation of predicted and observed means",
        "cc_max": "ceiling of that correlation",
        "cc_norm": "correlation in units of its ceiling",
    }
    of_each = ("stimulus", "neuron")
    variables: dict[str, Any] = {
        "observed": (of_each, mean_repeats(stacked), {"long_name": "observed", "units": "a.u."}),
        "predicted": (of_each, expected, {"long_name": "predicted", "units": "a.u."}),
    }
    for i, (key, words) in enumerate(words_of.items()):
        variables[key] = ("neuron", scores[key], {"long_name": words, "units": "1"})
        variables |= scalar(f"mean_{key}", mean[i], interval[i], f"mean {words}")
    return make_result(
        xr.Dataset(
            variables,
            {
                "neuron": neuron,
                "stimulus_id": ("stimulus", stimulus),
                "bound": ["lower", "upper"],
            },
        ),
        experiment="prediction",
        twin=str(predicted.attrs.get("twin", "")),
        seed=seed,
        settings={"n_bootstrap": n_bootstrap, "confidence": confidence},
        source=SCHOPPE,
    )


def _agreement(stacked: np.ndarray, expected: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of a prediction (stimulus, neuron) of responses (stimulus, repeat, neuron)."""
    n_stimulus, n_repeat, n_neuron = stacked.shape
    response = stacked.reshape(-1, n_neuron)
    prediction = np.repeat(expected, n_repeat, axis=0)
    image = np.repeat(np.arange(n_stimulus), n_repeat)
    tells = explainable_variance(response, image) >= LEAST
    return {
        "correlation": correlation_to_average(response, prediction, image),
        "cc_max": cc_max(response, image),
        "cc_norm": np.where(tells, cc_norm(response, prediction, image), np.nan),
    }
