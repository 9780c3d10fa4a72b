"""Scores of many neurons in a few numbers, and two twins of the same neurons compared."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.stats import quantile_test

from twinlab.evaluation.scores import LABELS
from twinlab.schema import InputError, make_result

__all__ = ["compare_scores", "summarize_scores"]

SOURCE = "Conover (1999), Practical Nonparametric Statistics, 3rd ed., section 3.2"


def summarize_scores(
    scores: xr.Dataset, chosen: np.ndarray | None = None, *, confidence: float = 0.95
) -> xr.Dataset:
    """Median of each score over neurons, with an interval, and how many have one.

    Parameters
    ----------
    scores : xarray.Dataset
        From `score_prediction`.
    chosen : ndarray of bool, shape (neuron,), optional
        Neurons that count, such as the reliable ones; all where absent.
    confidence : float
        Of the intervals, between 0 and 1. They say what other neurons would have given, and
        rest on the order of the scores alone: a share of at least `confidence` of samples
        would enclose the true median.

    Returns
    -------
    xarray.Dataset
        Along `score`, in the order of `score_prediction`: `median`, `median_interval`
        (score, bound), `n_defined` and `n_undefined`, of the chosen neurons; `label` names
        each in words.

    Raises
    ------
    InputError
        If `confidence` is out of range, or `chosen` is not of these neurons.

    """
    names = [name for name in LABELS if name in scores]
    columns = [_chosen(scores[name], chosen) for name in names]
    return _result(names, columns, confidence, "score_summary", str(scores.attrs.get("twin", "")))


def compare_scores(
    scores: xr.Dataset,
    other: xr.Dataset,
    chosen: np.ndarray | None = None,
    *,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Median over neurons of the difference between a twin's score and another twin's.

    Neuron by neuron, so that what makes some neurons hard for every twin cancels.

    Parameters
    ----------
    scores, other : xarray.Dataset
        From `score_prediction`, of the same neurons in the same order.
    chosen : ndarray of bool, shape (neuron,), optional
        Neurons that count; all where absent.
    confidence : float
        As in `summarize_scores`.

    Returns
    -------
    xarray.Dataset
        As from `summarize_scores`, of the differences `scores` - `other`.

    Raises
    ------
    InputError
        If the neurons differ, or as `summarize_scores`.

    """
    for name in ("session", "neuron_id"):
        if name in scores.coords and not np.array_equal(scores[name], other[name]):
            msg = (
                f"The scores are of other neurons: `{name}` differs; score both twins on one "
                "recording."
            )
            raise InputError(msg)
    names = [name for name in LABELS if name in scores and name in other]
    columns = [_chosen(scores[name] - other[name].values, chosen) for name in names]
    return _result(names, columns, confidence, "score_difference", "")


def _chosen(values: xr.DataArray, chosen: np.ndarray | None) -> np.ndarray:
    if chosen is None:
        return values.values
    if np.shape(chosen) != values.shape:
        msg = f"`chosen` must be {values.shape}, one a neuron, but is {np.shape(chosen)}."
        raise InputError(msg)
    return values.values[chosen]


def _result(
    names: list[str], columns: list[np.ndarray], confidence: float, experiment: str, twin: str
) -> xr.Dataset:
    if not 0 < confidence < 1:
        msg = f"`confidence` must be between 0 and 1, but is {confidence}."
        raise InputError(msg)
    defined = [column[np.isfinite(column)] for column in columns]
    median = [np.median(values) if len(values) else np.nan for values in defined]
    interval = [_interval(values, confidence) for values in defined]
    count = [len(values) for values in defined]
    lost = [len(column) - n for column, n in zip(columns, count, strict=True)]
    words = "the difference between two twins" if experiment == "score_difference" else "the score"
    return make_result(
        xr.Dataset(
            {
                "median": ("score", median, {"long_name": f"median of {words}", "units": "1"}),
                "median_interval": (
                    ("score", "bound"),
                    np.reshape(interval, (-1, 2)),
                    {
                        "long_name": f"interval of the median of {words}, over neurons",
                        "units": "1",
                    },
                ),
                "n_defined": ("score", count, {"long_name": "neurons with it", "units": "1"}),
                "n_undefined": ("score", lost, {"long_name": "neurons without it", "units": "1"}),
            },
            {
                "score": names,
                "label": ("score", [LABELS[name][0] for name in names]),
                "bound": ["lower", "upper"],
            },
        ),
        experiment=experiment,
        twin=twin,
        settings={"confidence": confidence},
        source=SOURCE,
    )


def _interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Interval of the median from order statistics; NaN where there are too few."""
    if not len(values):
        return np.nan, np.nan
    found = quantile_test(values, p=0.5).confidence_interval(confidence)
    return float(found.low), float(found.high)
