"""Spike-triggered covariance: the directions along which what a neuron answers to varies."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.insilico.responses import Neurons, provenance
from twinlab.insilico.windows import (
    Shown,
    check_window,
    estimate_in_windows,
    label_fields,
    show_noise,
    shown_in_recording,
    whiten,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, make_result
from twinlab.twins import ConditionedTwin

__all__ = ["estimate_stc", "measure_stc", "measure_twin_stc"]

FIELDS = ("sta", "excitatory", "suppressive")
SOURCE = (
    "Rust et al. (2005), Neuron 46: 945-956; Schwartz et al. (2006), Journal of Vision 6(4): 13"
)


def estimate_stc(
    stimulus: np.ndarray,
    response: np.ndarray,
    *,
    max_filter: int = 4,
    kept_variance: float = 1.0,
    n_shuffle: int = 100,
    level: float = 0.02,
    seed: int = 0,
    job: Job | None = None,
) -> dict[str, np.ndarray]:
    r"""Spike-triggered covariance, and which of its axes are more than chance.

    With whitened stimuli :math:`z_i` and responses :math:`y_i` of mean :math:`\bar y`, it is
    the eigenvectors of :math:`\frac1n \sum_i (y_i / \bar y - 1) z_i z_i^\top`, the response-
    weighted second moment less the raw one. An axis with a positive eigenvalue excites
    whatever its sign, one with a negative eigenvalue suppresses. A rate proportional to
    :math:`(f_1 x)^2 + (f_2 x)^2` gives 1 twice.

    Axes are tested one after the other. First the spike-triggered average: where it is longer
    than chance, the stimuli are projected orthogonal to it. Then the most extreme eigenvalue
    is compared with the most extreme ones of shuffled responses; where it is beyond them, its
    axis is projected out as well, of the stimuli and of the shuffles, and the next is tested,
    until one is not.

    For Gaussian stimuli the axes are those of the neuron. Other stimuli have covariances that
    change with their contrast, which any neuron driven by contrast shows in all directions;
    compare a neuron then with its twin under the same stimuli.

    Parameters
    ----------
    stimulus : ndarray of shape (n_trial, n_pixel)
    response : ndarray of shape (n_trial, n_neuron)
        Finite. A neuron that does not vary, or whose mean is not positive, is not valid.
    max_filter : int
        Most axes found of either sign.
    kept_variance : float
        Share of the stimuli's variance in the principal components that are whitened and
        used; below 1 for correlated stimuli, whose weakest components are noise.
    n_shuffle : int
        Permutations of the responses; at least 2 / `level` - 1.
    level : float
        Probability with which chance passes one test, of both signs together.
    seed : int
        Of the permutations, which are the same for every neuron.
    job : Job, optional

    Returns
    -------
    dict of ndarray
        `sta` (n_neuron, n_pixel): the whitened average as a filter of the stimulus, in
        relative rate per unit, and `sta_p` (n_neuron) its probability by chance;
        `eigenvalue` (n_neuron, n_pixel), descending, NaN beyond the components there are;
        `null_low` and `null_high` (n_neuron): between them lie the extreme eigenvalues of
        what remains when all axes found are projected out, by chance; `n_excitatory` and
        `n_suppressive` (n_neuron); `excitatory` and `suppressive` (n_neuron, max_filter,
        n_pixel): filters of unit norm, the most extreme first, NaN beyond those found (their
        sign means nothing; the largest weight is positive); `valid` (n_neuron), 0 or 1.

    Raises
    ------
    InputError
        If a setting is out of range, or there are not more trials than directions.

    References
    ----------
    Rust, Schwartz, Movshon & Simoncelli (2005), Neuron 46: 945-956; Schwartz, Pillow, Rust &
    Simoncelli (2006), Journal of Vision 6(4): 13.

    """
    _check(max_filter, n_shuffle, level)
    job = job or Job()
    job.report(0.0, "whitening the stimuli")
    z, whitener = whiten(stimulus, kept_variance)
    n_trial, n_pixel = stimulus.shape
    n_neuron = response.shape[1]
    found = {
        "sta": np.full((n_neuron, n_pixel), np.nan),
        "eigenvalue": np.full((n_neuron, n_pixel), np.nan),
        "excitatory": np.full((n_neuron, max_filter, n_pixel), np.nan),
        "suppressive": np.full((n_neuron, max_filter, n_pixel), np.nan),
        "valid": np.zeros(n_neuron, np.int8),
    } | {
        name: np.full(n_neuron, np.nan)
        for name in ("sta_p", "null_low", "null_high", "n_excitatory", "n_suppressive")
    }
    for neuron in range(n_neuron):
        part = job.part(neuron / n_neuron, (neuron + 1) / n_neuron)
        part.report(0.0, "covariance")
        mean = response[:, neuron].mean(dtype=np.float64)
        if not (np.ptp(response[:, neuron]) > 0 and mean > 0):
            continue
        weight = torch.as_tensor(response[:, neuron] / mean - 1).float()
        average, moment = _moments(z, weight)
        null_average, null = _shuffled(z, weight, n_shuffle, check_seed(seed), part)
        longer = int((null_average >= average.norm()).sum())
        found["valid"][neuron] = 1
        found["sta_p"][neuron] = (1 + longer) / (1 + n_shuffle)
        found["sta"][neuron] = (whitener.T @ average.double()).numpy()
        linear = found["sta_p"][neuron] <= level
        if linear:
            axis = average / average.norm()
            moment, null = _project(moment, axis), _project(null, axis)
        value = torch.linalg.eigvalsh(moment).flip(0)
        if linear:  # the direction that was projected out is no component
            value = value[torch.arange(len(value)) != value.abs().argmin()]
        found["eigenvalue"][neuron, : len(value)] = value.numpy()
        axes, band = _nested_axes(moment, null, max_filter, level, part)
        found["null_low"][neuron], found["null_high"][neuron] = band
        for name, of_sign in axes.items():
            found[f"n_{name}"][neuron] = len(of_sign)
            for rank, axis in enumerate(of_sign):
                field = (whitener.T @ axis.double()).numpy()
                found[name][neuron, rank] = field / np.linalg.norm(field) * _sign(field)
    return found


def _check(max_filter: int, n_shuffle: int, level: float) -> None:
    if max_filter < 1 or not 0 < level < 1:
        msg = (
            "`max_filter` must be at least 1 and `level` between 0 and 1, but got "
            f"{max_filter} and {level:g}."
        )
        raise InputError(msg)
    if n_shuffle < 2 / level - 1:
        msg = (
            f"`n_shuffle` must be at least {int(np.ceil(2 / level - 1))}, of which one passes "
            f"by chance at level {level:g}, but got {n_shuffle}."
        )
        raise InputError(msg)


def _sign(field: np.ndarray) -> float:
    """Sign of the largest weight."""
    return float(np.sign(field[np.abs(field).argmax()]))


def _moments(z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean (component,) and second moment (component, component)."""
    return z.T @ weight / len(z), (z * weight[:, None]).T @ z / len(z)


def _shuffled(
    z: Tensor, weight: Tensor, n_shuffle: int, seed: int, job: Job
) -> tuple[Tensor, Tensor]:
    """Lengths of the averages and second moments of shuffled responses."""
    generator = np.random.default_rng(seed)
    length = torch.empty(n_shuffle)
    moments = torch.empty(n_shuffle, z.shape[1], z.shape[1])
    for number in range(n_shuffle):
        job.report(0.8 * number / n_shuffle, f"shuffle {number + 1} of {n_shuffle}")
        order = torch.as_tensor(generator.permutation(len(weight)))
        average, moments[number] = _moments(z, weight[order])
        length[number] = average.norm()
    return length, moments


def _project(moment: Tensor, axis: Tensor) -> Tensor:
    """Moments (..., component, component) of stimuli projected orthogonal to an axis."""
    left = axis @ moment  # (..., component); the moments are symmetric
    both = (left @ axis)[..., None, None] * torch.outer(axis, axis)
    cross = left[..., :, None] * axis
    return moment - cross - cross.mT + both


def _nested_axes(
    moment: Tensor, null: Tensor, max_filter: int, level: float, job: Job
) -> tuple[dict[str, list[Tensor]], tuple[float, float]]:
    """Axes beyond chance by their sign, and the extremes by chance of what is left."""
    axes: dict[str, list[Tensor]] = {"excitatory": [], "suppressive": []}
    while True:
        n_found = sum(map(len, axes.values()))
        job.report(0.8 + 0.2 * n_found / (2 * max_filter + 1), f"axis {n_found + 1}")
        value, vector = torch.linalg.eigh(moment)
        extreme = torch.linalg.eigvalsh(null)[:, [-1, 0]].double()
        beyond: list[tuple[float, str, Tensor]] = []
        for name, column, end, sign in (("excitatory", 0, -1, 1.0), ("suppressive", 1, 0, -1.0)):
            chance = sign * extreme[:, column]
            own = sign * float(value[end])
            p = (1 + int((chance >= own).sum())) / (1 + len(chance))
            if p <= level / 2 and len(axes[name]) < max_filter:
                score = (own - float(chance.mean())) / float(chance.std())
                beyond.append((score, name, vector[:, end]))
        if not beyond:
            low = float(extreme[:, 1].quantile(level / 2))
            return axes, (low, float(extreme[:, 0].quantile(1 - level / 2)))
        _, name, axis = max(beyond, key=lambda each: each[0])
        axes[name].append(axis)
        moment, null = _project(moment, axis), _project(null, axis)


def measure_stc(
    recording: xr.Dataset,
    neurons: Neurons = None,
    *,
    window: int = 16,
    max_filter: int = 4,
    kept_variance: float = 0.95,
    n_shuffle: int = 100,
    level: float = 0.02,
    seed: int = 0,
    job: Job | None = None,
) -> xr.Dataset:
    """Spike-triggered covariance of recorded neurons.

    The images of the `train` and `validation` trials are used, and the mean response to each.
    See `estimate_stc` for what natural images do to the axes: for the twin under the same
    images, give the recording with the twin's predictions in place of its responses.

    Parameters
    ----------
    recording : xarray.Dataset
        Of images.
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    window : int
        Pixels along a side of the part of the image that is used, around where the neuron
        looks.
    max_filter, kept_variance, n_shuffle, level, seed
        See `estimate_stc`.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        As `measure_twin_stc`; one z unit is the standard deviation of the images' pixels. A
        neuron that answered too few of the images for an estimate is not valid.

    Raises
    ------
    InputError
        If no trial has a response, a setting is out of range, or no neuron
        answered more images than directions that hold the variance.

    References
    ----------
    Rust, Schwartz, Movshon & Simoncelli (2005), Neuron 46: 945-956.

    """
    check_window(window)
    _check(max_filter, n_shuffle, level)
    job = job or Job()
    shown = shown_in_recording(recording, neurons)
    settings: dict[str, Any] = {
        "window": window,
        "max_filter": max_filter,
        "kept_variance": kept_variance,
        "n_shuffle": n_shuffle,
        "level": level,
    }
    return make_result(
        _estimate(shown, seed=check_seed(seed), job=job, **settings),
        experiment="stc",
        recording=str(recording.attrs.get("fingerprint", "")),
        seed=seed,
        settings={**settings, "n_image": len(shown[1])},
        source=SOURCE,
    )


def measure_twin_stc(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    n_image: int = 10_000,
    contrast: float = 1.0,
    window: int = 16,
    max_filter: int = 4,
    n_shuffle: int = 100,
    level: float = 0.02,
    seed: int = 0,
    batch_size: int = 64,
    job: Job | None = None,
) -> xr.Dataset:
    """Spike-triggered covariance of a twin: the axes that excite and suppress each neuron.

    The twin is shown Gaussian white noise as in `measure_twin_sta`; a complex neuron has two
    excitatory axes, its quadrature pair, and a cross-suppressed neuron suppressive ones.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    n_image : int
        Number of noise images.
    contrast : float
        Standard deviation of the noise, in that of the training images.
    window : int
        Pixels along a side of the part of the image that is used, around where the neuron
        looks.
    max_filter, n_shuffle, level
        See `estimate_stc`.
    seed : int
        Of the noise and the shuffles.
    batch_size : int
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        Along `neuron`: `excitatory` and `suppressive` (filter, channel, y, x), of unit norm,
        NaN outside the window and beyond the `n_excitatory` and `n_suppressive` that are
        significant; `sta` (channel, y, x) in relative rate per z unit and `sta_p`, its
        probability by chance; `eigenvalue` (component), descending, and the extremes
        `null_low` and `null_high` that chance gives; `valid` 0 where the neuron does not vary.

    Raises
    ------
    InputError
        If a setting is out of range, `neurons` are not the twin's, or there are not more
        images than pixels in the window.

    References
    ----------
    Rust, Schwartz, Movshon & Simoncelli (2005), Neuron 46: 945-956.

    """
    check_window(window)
    _check(max_filter, n_shuffle, level)
    job = job or Job()
    shown = show_noise(
        twin,
        neurons,
        n_image=n_image,
        contrast=contrast,
        seed=seed,
        batch_size=batch_size,
        job=job.part(0.0, 0.3),
    )
    settings: dict[str, Any] = {
        "window": window,
        "max_filter": max_filter,
        "n_shuffle": n_shuffle,
        "level": level,
    }
    return make_result(
        _estimate(shown, kept_variance=1.0, seed=seed, job=job.part(0.3, 1.0), **settings),
        experiment="stc",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={**settings, "n_image": n_image, "contrast": contrast, **provenance(twin)},
        source=SOURCE,
    )


def _estimate(shown: Shown, *, window: int, job: Job, **settings: Any) -> xr.Dataset:
    """Labelled axes of every neuron, each within its window."""

    def estimate(x: np.ndarray, y: np.ndarray, part: Job) -> dict[str, np.ndarray]:
        return estimate_stc(x, y, job=part, **settings)

    found = estimate_in_windows(estimate, shown, window, FIELDS, job)
    pixels, count = ("channel", "y", "x"), "1"
    return label_fields(
        shown[0],
        found,
        {
            "sta": (pixels, "spike-triggered average", "relative rate per z unit"),
            "sta_p": ((), "probability of so long an average by chance", count),
            "eigenvalue": (("component",), "eigenvalue of the spike-triggered covariance", count),
            "null_low": ((), "smallest eigenvalue by chance", count),
            "null_high": ((), "largest eigenvalue by chance", count),
            "n_excitatory": ((), "number of excitatory axes", count),
            "n_suppressive": ((), "number of suppressive axes", count),
            "excitatory": (("filter", *pixels), "excitatory axis", count),
            "suppressive": (("filter", *pixels), "suppressive axis", count),
            "valid": ((), "1 where the neuron varies", count),
        },
    )
