"""Whether a predicted distribution of responses is the one the recorded responses come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy import stats

from twinlab.schema import InputError, check_seed, make_result

__all__ = ["place_among_samples", "score_calibration"]

GNEITING = "Gneiting et al. (2007), J. R. Stat. Soc. B 69: 243-268"
CZADO = "Czado et al. (2009), Biometrics 65: 1254-1261"
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def place_among_samples(
    response: np.ndarray, samples: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where each response lies among samples of what was predicted for it.

    Parameters
    ----------
    response : ndarray of shape (...)
        NaN where missing.
    samples : ndarray of shape (n_sample, ...)

    Returns
    -------
    cdf_below, cdf : ndarray of shape (...)
        Bounds of the place, so that a number drawn between them is uniform if the response is
        one more sample: its rank among the samples, divided by ``n_sample + 1``.

    """
    n = len(samples) + 1
    below = (samples < response).sum(0) / n
    upto = ((samples <= response).sum(0) + 1) / n
    missing = np.isnan(response)
    return np.where(missing, np.nan, below), np.where(missing, np.nan, upto)


def score_calibration(
    response: xr.DataArray,
    predicted: xr.Dataset,
    *,
    levels: Sequence[float] = LEVELS,
    n_bin: int = 20,
    seed: int = 0,
) -> xr.Dataset:
    """Hold a predicted distribution against the recorded responses.

    Each response's place in its distribution, the probability integral transform (PIT), is
    uniform where the prediction is right. Where a value has a probability of its own (counts,
    silence) the place is drawn within it, which keeps that true (Czado et al. 2009). A central
    interval of level p then holds a share p of the responses; it holds fewer where the twin
    is overconfident.

    Parameters
    ----------
    response : xarray.DataArray of shape (trial, neuron[, frame])
        Recorded; NaN where missing.
    predicted : xarray.Dataset
        Of the same trials and neurons in the same order: `cdf`, the predicted probability of
        a response up to the recorded one. Optional: `cdf_below`, of a smaller one (`cdf` where
        absent); `log_score`, the log predicted density of the response; and, for ensembles,
        `prediction` and `variance_twin`, the members' mean and variance.
    levels : sequence of float
        Of the central intervals, between 0 and 1.
    n_bin : int
        Bins of the histogram.
    seed : int
        Of the places drawn.

    Returns
    -------
    xarray.Dataset
        `coverage` (neuron, level) and `mean_coverage` (level), over all neurons' responses, with
        its `mean_coverage_interval` (level, bound): 95 %, responses to one image counted
        as one; `overconfidence` (neuron), how far coverage falls short of its level on average
        (negative where intervals are too wide); `pit_density` (neuron, bin) and
        `mean_pit_density` (bin), 1 where right; `mean_log_score` (neuron); and
        `spread_error_correlation` (neuron) and `image_spread_error_correlation`. NaN where
        there is nothing to tell from.

    Raises
    ------
    InputError
        If trials or neurons differ, all responses are missing, a probability lies outside
        0 to 1, or a setting is out of range.

    """
    if n_bin < 1 or not levels or not all(0 < level < 1 for level in levels):
        msg = f"`n_bin` must be at least 1 and `levels` lie between 0 and 1: {n_bin}, {levels}."
        raise InputError(msg)
    _check_same(response, predicted)
    recorded = _rows(response)
    upto = _rows(predicted["cdf"])
    below = _rows(predicted["cdf_below"]) if "cdf_below" in predicted else upto
    known = ~np.isnan(recorded)
    if not known.any():
        msg = "All responses are missing; calibration needs trials whose responses are known."
        raise InputError(msg)
    if (
        not ((below[known] >= -1e-6) & (below[known] <= upto[known] + 1e-6)).all()
        or not (upto[known] <= 1 + 1e-6).all()
    ):
        msg = "`cdf_below` and `cdf` must be probabilities, the first not above the second."
        raise InputError(msg)
    # a stream of its own: data simulated from the same seed would not be independent of it
    rng = np.random.default_rng([check_seed(seed), 2009])
    place = np.where(known, below + rng.random(below.shape) * (upto - below), np.nan)
    image = response.stimulus_index.values if "stimulus_index" in response.coords else None
    image = np.arange(response.sizes["trial"]) if image is None else image
    image = np.unique(image, return_inverse=True)[1]

    level = np.asarray(levels, float)
    inside = np.abs(place - 0.5)[..., None] <= level / 2  # (row, neuron, level)
    count = known.sum(0)
    coverage = _ratio((inside & known[..., None]).sum(0), count[:, None])
    pooled = (inside & known[..., None]).sum((0, 1)) / known.sum()
    error = _clustered_error(inside - pooled, known, np.tile(image, len(known) // len(image)))
    bins = np.clip((np.nan_to_num(place) * n_bin).astype(int), 0, n_bin - 1)
    histogram = np.stack([((bins == k) & known).sum(0) for k in range(n_bin)], axis=1)
    score = np.full(len(count), np.nan)
    if "log_score" in predicted:
        score = _ratio(np.where(known, _rows(predicted["log_score"]), 0).sum(0), count)
    by_neuron, by_image = _spread_and_error(response, predicted, image)

    variables = {
        "coverage": (
            ("neuron", "level"),
            coverage,
            "share of responses within the central interval",
            "1",
        ),
        "mean_coverage": (
            "level",
            pooled,
            "share of all neurons' responses within the central interval",
            "1",
        ),
        "mean_coverage_interval": (
            ("level", "bound"),
            np.stack([pooled - 1.96 * error, pooled + 1.96 * error], axis=1),
            "95 % interval of the share, over images",
            "1",
        ),
        "overconfidence": (
            "neuron",
            (level - coverage).mean(1),
            "level minus coverage, averaged over levels",
            "1",
        ),
        "pit_density": (
            ("neuron", "bin"),
            _ratio(histogram * n_bin, count[:, None]),
            "density of responses' places in their predicted distributions",
            "1",
        ),
        "mean_pit_density": (
            "bin",
            histogram.sum(0) * n_bin / known.sum(),
            "density of all responses' places in their predicted distributions",
            "1",
        ),
        "mean_log_score": ("neuron", score, "mean log predicted density of a response", "nat"),
        "spread_error_correlation": (
            "neuron",
            by_neuron,
            "rank correlation over images of the members' spread and the error",
            "1",
        ),
        "image_spread_error_correlation": (
            (),
            by_image,
            "rank correlation over images of spread and error, averaged over neurons",
            "1",
        ),
        "n_response": ("neuron", count, "responses judged", "1"),
    }
    coords = {name: value for name, value in response.coords.items() if value.dims == ("neuron",)}
    result = xr.Dataset(
        {
            name: (dims, values, {"long_name": words, "units": unit})
            for name, (dims, values, words, unit) in variables.items()
        },
        coords
        | {
            "level": ("level", level, {"long_name": "level of the interval", "units": "1"}),
            "bin": (
                "bin",
                (np.arange(n_bin) + 0.5) / n_bin,
                {"long_name": "place in the predicted distribution", "units": "1"},
            ),
            "bound": ["lower", "upper"],
        },
    )
    return make_result(
        result,
        experiment="calibration",
        twin=str(predicted.attrs.get("twin", "")),
        seed=seed,
        settings={"levels": [float(value) for value in level], "n_bin": n_bin},
        source="; ".join((GNEITING, CZADO)),
    )


def _check_same(response: xr.DataArray, predicted: xr.Dataset) -> None:
    if "cdf" not in predicted:
        msg = f"`predicted` has {sorted(map(str, predicted))}; it needs `cdf` at each response."
        raise InputError(msg)
    for name in predicted.data_vars:
        if predicted[name].dims != response.dims or predicted[name].shape != response.shape:
            msg = (
                f"`{name}` is {dict(predicted[name].sizes)}, but the response is "
                f"{dict(response.sizes)}; predict the trials and neurons that are scored."
            )
            raise InputError(msg)
    for name in ("neuron_id", "session", "stimulus_index"):
        if (
            name in response.coords
            and name in predicted.coords
            and not np.array_equal(response[name].values, predicted[name].values)
        ):
            msg = f"`{name}` of the response and of what was predicted differ; align them first."
            raise InputError(msg)


def _rows(values: xr.DataArray) -> np.ndarray:
    """Values as (row, neuron): trials, and for videos all trials of each frame in turn."""
    if "frame" in values.dims:
        values = values.transpose("frame", "trial", "neuron")
    else:
        values = values.transpose("trial", "neuron")
    return values.values.reshape(-1, values.sizes["neuron"]).astype(float)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN where nothing was counted."""
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), np.nan)


def _clustered_error(away: np.ndarray, known: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Standard error (level) of the mean of `away` (row, neuron, level), images being units.

    NaN where there is one image.
    """
    by_row = np.where(known[..., None], away, 0).sum(1)
    n_image = image.max() + 1
    total = np.zeros((n_image, by_row.shape[1]))
    np.add.at(total, image, by_row)
    if n_image < 2:
        return np.full(by_row.shape[1], np.nan)
    return np.sqrt((total**2).sum(0) * n_image / (n_image - 1)) / known.sum()


def _spread_and_error(
    response: xr.DataArray, predicted: xr.Dataset, image: np.ndarray
) -> tuple[np.ndarray, float]:
    """Rank correlation of the members' spread with the error: by neuron, and of the means."""
    n_neuron = response.sizes["neuron"]
    by_neuron = np.full(n_neuron, np.nan)
    if not {"prediction", "variance_twin"} <= set(predicted) or "frame" in response.dims:
        return by_neuron, np.nan
    recorded = response.transpose("trial", "neuron").values
    known = ~np.isnan(recorded)
    weight = (np.arange(image.max() + 1)[:, None] == image).astype(float)

    def averaged(values: np.ndarray) -> np.ndarray:
        return _ratio(weight @ np.where(known, values, 0), weight @ known)

    prediction, variance = (
        predicted[name].transpose("trial", "neuron").values.astype(float)
        for name in ("prediction", "variance_twin")
    )
    error = np.abs(averaged(recorded) - averaged(prediction))
    spread = np.sqrt(averaged(variance))
    for neuron in range(n_neuron):
        by_neuron[neuron] = _rank_correlation(spread[:, neuron], error[:, neuron])
    # in units of how much each neuron varies: otherwise the liveliest decide
    mean = _ratio(np.where(known, recorded, 0).sum(0), known.sum(0))
    scale = np.sqrt(_ratio(np.where(known, (recorded - mean) ** 2, 0).sum(0), known.sum(0)))
    defined = np.isfinite(error) & np.isfinite(spread) & (scale > 0)
    relative = [
        _ratio(
            np.divide(values, scale, where=defined, out=np.zeros_like(values)).sum(1),
            defined.sum(1),
        )
        for values in (spread, error)
    ]
    return by_neuron, _rank_correlation(*relative)


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(stats.spearmanr(a, b).statistic)
