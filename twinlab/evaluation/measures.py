"""Measures of agreement and their ceilings, per neuron, on plain arrays.

Every measure is a function of sums over images. `image_sums` adds up the trials of each
image once; a table turns these into columns, one row an image; a measure reads the
columns summed over images. Weighting the rows before they are summed is a resample of
the images, so a bootstrap evaluates the very same function.

Sizes: `n_trial` trials of `n_image` images, `n_neuron` neurons. `image` says which image
each trial showed; repeats may be unequal. A response that is NaN is left out, for its
neuron alone. What is undefined is NaN, and nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from twinlab.schema import InputError

__all__ = [
    "MEASURES",
    "TABLES",
    "ImageSums",
    "Measure",
    "cc_max",
    "cc_norm",
    "correlation_to_average",
    "explainable_variance",
    "feve",
    "image_sums",
    "oracle_correlation",
    "signal_power",
    "single_trial_correlation",
]

# A variance below this share of the mean square is rounding: float64 sums lose it.
NEGLIGIBLE = 1e-12


def single_trial_correlation(response: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Pearson correlation of response and prediction over single trials.

    Parameters
    ----------
    response, prediction : ndarray of shape (n_trial, n_neuron)

    Returns
    -------
    ndarray of shape (n_neuron,)
        NaN where either is constant.

    Raises
    ------
    InputError
        If the shapes disagree.

    References
    ----------
    Willeke et al. (2022), The Sensorium competition, arXiv:2206.08666.

    """
    return _measure("single_trial_correlation", response, prediction, np.zeros(len(response), int))


def correlation_to_average(
    response: np.ndarray, prediction: np.ndarray, image: np.ndarray
) -> np.ndarray:
    """Pearson correlation over images of mean response and mean prediction.

    Both are averaged over the repeats of an image first: predictions differ across
    repeats where behaviour or gaze is an input.

    Parameters
    ----------
    response, prediction : ndarray of shape (n_trial, n_neuron)
    image : ndarray of shape (n_trial,)
        Image shown in each trial.

    Returns
    -------
    ndarray of shape (n_neuron,)
        NaN where either is constant.

    Raises
    ------
    InputError
        If the shapes disagree.

    References
    ----------
    Willeke et al. (2022), The Sensorium competition, arXiv:2206.08666.

    """
    return _measure("correlation_to_average", response, prediction, image)


def oracle_correlation(response: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Pearson correlation of each trial with the mean of the other repeats of its image.

    What a predictor could reach that knows the stimulus alone, estimated from finitely
    many repeats, which makes it too low. Images shown once have no other repeat and are
    left out.

    Parameters
    ----------
    response : ndarray of shape (n_trial, n_neuron)
    image : ndarray of shape (n_trial,)
        Image shown in each trial.

    Returns
    -------
    ndarray of shape (n_neuron,)
        NaN where no image is repeated or the response is constant.

    Raises
    ------
    InputError
        If the shapes disagree.

    References
    ----------
    Lurz et al. (2021), Generalization in data-driven models of primary visual cortex, ICLR.

    """
    return _measure("oracle_correlation", response, response, image)


def explainable_variance(response: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Fraction of the response variance that the stimulus accounts for.

    Total variance over all trials less the variance over repeats (mean over images),
    divided by the total; both with n - 1. Images shown once say nothing of the noise and
    are left out.

    Parameters
    ----------
    response : ndarray of shape (n_trial, n_neuron)
    image : ndarray of shape (n_trial,)
        Image shown in each trial.

    Returns
    -------
    ndarray of shape (n_neuron,)
        At most 1; negative where repeats differ more than images do. NaN where no image is
        repeated or the response is constant.

    Raises
    ------
    InputError
        If the shapes disagree.

    References
    ----------
    Cadena et al. (2019), PLOS Computational Biology 15(4): e1006897.

    """
    return _measure("explainable_variance", response, response, image)


def feve(response: np.ndarray, prediction: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Fraction of explainable variance explained.

    The squared prediction error over single trials and the total variance each contain the
    same trial-to-trial noise. Subtracting it from both leaves the share of the
    stimulus-driven variance that the prediction accounts for. Images shown once say
    nothing of the noise and are left out.

    Parameters
    ----------
    response : ndarray of shape (n_trial, n_neuron)
    prediction : ndarray of shape (n_trial, n_neuron)
        In the units of `response`.
    image : ndarray of shape (n_trial,)
        Image shown in each trial.

    Returns
    -------
    ndarray of shape (n_neuron,)
        1 for a perfect prediction, 0 for predicting the mean, negative for worse; above 1 by
        sampling error. NaN where no image is repeated or the noise is as large as the total
        variance.

    Raises
    ------
    InputError
        If the shapes disagree.

    References
    ----------
    Cadena et al. (2019), PLOS Computational Biology 15(4): e1006897.

    """
    return _measure("feve", response, prediction, image)


def signal_power(response: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Variance over images of the expected response, free of trial-to-trial noise.

    The variance of the repeat means, less what noise adds to it: the squared standard error
    of each image's mean, averaged over images. With equal repeats this is the signal power of
    Schoppe et al. averaged over all ways to number the repeats of each image; unlike theirs
    it depends neither on that numbering nor on repeats being equal, and stays unbiased
    without an effective number of repeats.

    Parameters
    ----------
    response : ndarray of shape (n_trial, n_neuron)
    image : ndarray of shape (n_trial,)
        Image shown in each trial.

    Returns
    -------
    ndarray of shape (n_neuron,)
        In squared units of `response`; negative by sampling error where there is little
        signal. NaN where fewer than two images are repeated or the mean response is constant.

    Raises
    ------
    InputError
        If the shapes disagree.

    References
    ----------
    Schoppe et al. (2016), Frontiers in Computational Neuroscience 10: 10.
    Sahani and Linden (2003), How linear are auditory cortical responses?, NIPS 15.

    """
    columns = _power_columns(image_sums(response, response, image)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _signal_power(columns)


def cc_max(response: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Highest correlation a perfect prediction is expected to have with the repeat means.

    The square root of `signal_power` over the variance of the repeat means.

    Parameters
    ----------
    response : ndarray of shape (n_trial, n_neuron)
    image : ndarray of shape (n_trial,)
        Image shown in each trial.

    Returns
    -------
    ndarray of shape (n_neuron,)
        NaN where the signal power is not positive.

    Raises
    ------
    InputError
        If the shapes disagree.

    References
    ----------
    Schoppe et al. (2016), Frontiers in Computational Neuroscience 10: 10.

    """
    return _measure("cc_max", response, response, image)


def cc_norm(response: np.ndarray, prediction: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Correlation to average in units of its ceiling, over the images that were repeated.

    ``cov(mean response, mean prediction) / sqrt(var(mean prediction) * signal_power)``.

    Parameters
    ----------
    response, prediction : ndarray of shape (n_trial, n_neuron)
    image : ndarray of shape (n_trial,)
        Image shown in each trial.

    Returns
    -------
    ndarray of shape (n_neuron,)
        1 at the ceiling; above 1 by sampling error. NaN where the signal power is not positive
        or the prediction is constant.

    Raises
    ------
    InputError
        If the shapes disagree.

    References
    ----------
    Schoppe et al. (2016), Frontiers in Computational Neuroscience 10: 10.

    """
    return _measure("cc_norm", response, prediction, image)


class ImageSums(NamedTuple):
    """Sums over the trials of each image, each of shape (n_image, n_neuron).

    Response r and prediction p are both taken relative to the neuron's mean response,
    which no measure depends on and which keeps the sums of squares exact.
    """

    n: np.ndarray
    r: np.ndarray
    p: np.ndarray
    rr: np.ndarray
    pp: np.ndarray
    rp: np.ndarray


def image_sums(response: np.ndarray, prediction: np.ndarray, image: np.ndarray) -> ImageSums:
    """Add up the trials of each image; a response that is NaN is left out.

    Parameters
    ----------
    response, prediction : ndarray of shape (n_trial, n_neuron)
    image : ndarray of shape (n_trial,)
        Image shown in each trial.

    Returns
    -------
    ImageSums
        Images in ascending order of their number.

    Raises
    ------
    InputError
        If the shapes disagree or there are no trials.

    """
    response, prediction, image = map(np.asarray, (response, prediction, image))
    if response.ndim != 2 or response.shape != prediction.shape or not len(response):
        msg = (
            "`response` and `prediction` must have one shape (n_trial, n_neuron) with at least "
            f"one trial, but got {response.shape} and {prediction.shape}."
        )
        raise InputError(msg)
    if image.shape != response.shape[:1]:
        msg = (
            f"`image` must name the image of each of the {len(response)} trials, "
            f"but got shape {image.shape}."
        )
        raise InputError(msg)

    present = ~np.isnan(response)
    prediction = _without_rounding(prediction)
    response = response.astype(np.float64, copy=False)
    centre = np.where(present, response, 0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    r = np.where(present, response - centre, 0)
    p = np.where(present, prediction - centre, 0)

    order = np.argsort(image, kind="stable")
    ordered = image[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])

    def per_image(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values[order], first, axis=0)

    return ImageSums(
        per_image(present.astype(np.float64)),
        per_image(r),
        per_image(p),
        per_image(r * r),
        per_image(p * p),
        per_image(r * p),
    )


def _without_rounding(prediction: np.ndarray) -> np.ndarray:
    """Prediction as float64, made exactly constant where it varies by rounding alone.

    A twin that ignores the image still returns values that differ in the last bits, and
    a correlation would find a pattern in them.
    """
    if prediction.dtype.kind != "f":
        return prediction.astype(np.float64)
    low, high = prediction.min(axis=0), prediction.max(axis=0)
    rounding = 8 * np.finfo(prediction.dtype).eps * np.maximum(np.abs(low), np.abs(high))
    with np.errstate(invalid="ignore"):  # an infinite prediction makes its neuron NaN, later
        constant = high - low <= rounding
    return np.where(constant, low, prediction).astype(np.float64, copy=False)


# ---- tables: from the sums of each image to columns, (n_column, n_image, n_neuron) ----


def _trial_columns(sums: ImageSums) -> np.ndarray:
    """Moments of response and prediction over trials."""
    return np.stack(sums)


def _average_columns(sums: ImageSums, least: int = 1) -> np.ndarray:
    """Moments of mean response and mean prediction over images shown `least` times."""
    seen = sums.n >= least
    weight = seen / np.maximum(sums.n, 1)
    r, p = sums.r * weight, sums.p * weight
    return np.stack([seen.astype(np.float64), r, p, r * r, p * p, r * p])


def _oracle_columns(sums: ImageSums) -> np.ndarray:
    """Moments of each response and the mean of the others, over repeated trials.

    With the sum R over the repeats of an image, the mean of the others is (R - r) / (n - 1).
    """
    n, r, rr = (np.where(sums.n >= 2, each, 0) for each in (sums.n, sums.r, sums.rr))
    others = np.maximum(n - 1, 1)
    return np.stack(
        [n, r, r, rr, ((n - 2) * r * r + rr) / others**2, (r * r - rr) / others],
    )


def _variance_columns(sums: ImageSums) -> np.ndarray:
    """Repeated images, their trials, moments of the response, squared error, noise."""
    repeated = sums.n >= 2
    error = sums.rr - 2 * sums.rp + sums.pp
    columns = np.stack([np.ones_like(sums.n), sums.n, sums.r, sums.rr, error, _noise(sums)])
    return np.where(repeated, columns, 0)


def _power_columns(sums: ImageSums) -> np.ndarray:
    """Moments of means over repeated images, squared standard error of the mean response."""
    squared_error = np.where(sums.n >= 2, _noise(sums), 0) / np.maximum(sums.n, 1)
    return np.concatenate([_average_columns(sums, least=2), squared_error[None]])


def _noise(sums: ImageSums) -> np.ndarray:
    """Variance over the repeats of each image; of no meaning where there are none."""
    return (sums.rr - sums.r**2 / np.maximum(sums.n, 1)) / np.maximum(sums.n - 1, 1)


# ---- measures: from columns summed over images, (n_column, ..., n_neuron), to (..., n_neuron)


def _variance(n: np.ndarray, x: np.ndarray, xx: np.ndarray) -> np.ndarray:
    """Variance (n - 1) from moments; NaN where there is none."""
    mean_square = xx / n
    variance = mean_square - (x / n) ** 2
    return np.where(variance > NEGLIGIBLE * mean_square, variance, np.nan) * (n / (n - 1))


def _covariance(n: np.ndarray, x: np.ndarray, y: np.ndarray, xy: np.ndarray) -> np.ndarray:
    return (xy / n - (x / n) * (y / n)) * (n / (n - 1))


def _correlation(columns: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = columns
    return _covariance(n, x, y, xy) / np.sqrt(_variance(n, x, xx) * _variance(n, y, yy))


def _explainable_variance(columns: np.ndarray) -> np.ndarray:
    n_image, n, r, rr, _, noise = columns
    total = _variance(n, r, rr)
    return (total - noise / n_image) / total


def _feve(columns: np.ndarray) -> np.ndarray:
    n_image, n, r, rr, error, noise = columns
    noise = noise / n_image
    explainable = _variance(n, r, rr) - noise
    # Where noise swallows the signal the ratio has no meaning, and a 0 would
    # read as "the twin failed".
    return 1 - (error / n - noise) / np.where(explainable > 0, explainable, np.nan)


def _signal_power(columns: np.ndarray) -> np.ndarray:
    n_image, r, _, rr, _, _, squared_error = columns
    return _variance(n_image, r, rr) - squared_error / n_image


def _cc_max(columns: np.ndarray) -> np.ndarray:
    n_image, r, _, rr, *_ = columns
    power = _signal_power(columns)
    return np.sqrt(np.where(power > 0, power, np.nan) / _variance(n_image, r, rr))


def _cc_norm(columns: np.ndarray) -> np.ndarray:
    n_image, r, p, _, pp, rp, _ = columns
    power = _signal_power(columns)
    power = np.where(power > 0, power, np.nan)
    return _covariance(n_image, r, p, rp) / np.sqrt(_variance(n_image, p, pp) * power)


TABLES: dict[str, Callable[[ImageSums], np.ndarray]] = {
    "trial": _trial_columns,
    "average": _average_columns,
    "oracle": _oracle_columns,
    "variance": _variance_columns,
    "power": _power_columns,
}


class Measure(NamedTuple):
    """Which table a measure reads, and how it reads the columns summed over images."""

    table: str
    read: Callable[[np.ndarray], np.ndarray]


MEASURES = {
    "single_trial_correlation": Measure("trial", _correlation),
    "correlation_to_average": Measure("average", _correlation),
    "oracle_correlation": Measure("oracle", _correlation),
    "explainable_variance": Measure("variance", _explainable_variance),
    "feve": Measure("variance", _feve),
    "cc_norm": Measure("power", _cc_norm),
    "cc_max": Measure("power", _cc_max),
}


def _measure(
    name: str, response: np.ndarray, prediction: np.ndarray, image: np.ndarray
) -> np.ndarray:
    measure = MEASURES[name]
    columns = TABLES[measure.table](image_sums(response, prediction, image)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return measure.read(columns)
