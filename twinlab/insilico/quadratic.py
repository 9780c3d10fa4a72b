"""Generalised quadratic model in closed form: what excites and suppresses, in one formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

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

__all__ = ["estimate_gqm", "measure_gqm", "measure_twin_gqm"]

FIELDS = ("linear", "excitatory", "suppressive")
SOURCE = "Park & Pillow (2011), Advances in Neural Information Processing Systems 24"


def estimate_gqm(
    stimulus: np.ndarray,
    response: np.ndarray,
    *,
    max_filter: int = 4,
    kept_variance: float = 1.0,
    job: Job | None = None,
) -> dict[str, np.ndarray]:
    r"""Generalised quadratic model by maximum expected log likelihood, in closed form.

    The model is :math:`\exp(x^\top C x + b^\top x + a)` of the centred stimulus x. For Gaussian
    stimuli of covariance :math:`\Sigma`, with :math:`\mu` and :math:`\Lambda` the mean and
    covariance weighted by the response, it is :math:`C = (\Sigma^{-1} - \Lambda^{-1}) / 2`,
    :math:`b = \Lambda^{-1} \mu`, and a such that the mean rate is the mean response. Where C
    is 0, b is the whitened spike-triggered average.

    Parameters
    ----------
    stimulus : ndarray of shape (n_trial, n_pixel)
    response : ndarray of shape (n_trial, n_neuron)
        Finite and not negative. A neuron that does not vary, or has answered to fewer stimuli
        than there are directions, is not valid.
    max_filter : int
        Most eigenvectors of C returned of either sign.
    kept_variance : float
        As in `estimate_stc`.
    job : Job, optional

    Returns
    -------
    dict of ndarray
        `linear` (n_neuron, n_pixel), b; `eigenvalue` (n_neuron, n_pixel) of C, descending;
        `excitatory` and `suppressive` (n_neuron, max_filter, n_pixel): eigenvectors of C of
        unit norm with the largest and the smallest eigenvalue, the most extreme first, NaN
        where it has the other sign; `offset` (n_neuron), a; `valid` (n_neuron), 0 or 1.

    Raises
    ------
    InputError
        If a setting is out of range, a response is negative, or there are not more trials
        than directions.

    References
    ----------
    Park & Pillow (2011), Advances in Neural Information Processing Systems 24.

    """
    _check(max_filter)
    if len(response) and np.min(response) < 0:
        msg = (
            f"Responses of a quadratic model must not be negative, but the smallest is "
            f"{np.min(response):.3g}; give spike counts or rates."
        )
        raise InputError(msg)
    job = job or Job()
    job.report(0.0, "whitening the stimuli")
    z, whitener = whiten(stimulus, kept_variance)
    n_pixel, n_neuron = stimulus.shape[1], response.shape[1]
    found = {
        "linear": np.full((n_neuron, n_pixel), np.nan),
        "eigenvalue": np.full((n_neuron, n_pixel), np.nan),
        "excitatory": np.full((n_neuron, max_filter, n_pixel), np.nan),
        "suppressive": np.full((n_neuron, max_filter, n_pixel), np.nan),
        "offset": np.full(n_neuron, np.nan),
        "valid": np.zeros(n_neuron, np.int8),
    }
    n_found = min(max_filter, n_pixel)
    for neuron in range(n_neuron):
        job.report(neuron / n_neuron, f"neuron {neuron + 1} of {n_neuron}")
        answer = np.asarray(response[:, neuron], np.float64)
        if not np.ptp(answer) > 0 or np.count_nonzero(answer) <= z.shape[1]:
            continue
        weight = torch.as_tensor(answer / answer.sum())
        average = (weight.float() @ z).double()
        spread = ((z * weight[:, None].float()).T @ z).double() - torch.outer(average, average)
        precision = torch.linalg.inv(spread)
        form = (torch.eye(len(average), dtype=torch.float64) - precision) / 2
        value, vector = torch.linalg.eigh(whitener.T @ form @ whitener)
        value, vector = value.flip(0).numpy(), vector.flip(1).numpy().T
        drive = precision @ average
        log_mean = (torch.logdet(spread) + average @ drive) / 2  # of exp(x'Cx + b'x)
        found["valid"][neuron] = 1
        found["linear"][neuron] = (whitener.T @ drive).numpy()
        found["eigenvalue"][neuron] = value
        found["offset"][neuron] = np.log(answer.mean()) - float(log_mean)
        largest = np.abs(value).max()
        for name, end, sign in (("excitatory", 1, 1.0), ("suppressive", -1, -1.0)):
            # of a rank below the number of pixels, the others are rounding
            held = (sign * value[::end] > 1e-9 * largest)[:n_found]
            found[name][neuron, : held.sum()] = vector[::end][:n_found][held]
    return found


def _check(max_filter: int) -> None:
    if max_filter < 1:
        msg = f"`max_filter` must be at least 1, but got {max_filter}."
        raise InputError(msg)


def measure_gqm(
    recording: xr.Dataset,
    neurons: Neurons = None,
    *,
    window: int = 16,
    max_filter: int = 4,
    kept_variance: float = 0.95,
    job: Job | None = None,
) -> xr.Dataset:
    """Generalised quadratic model of recorded neurons, in closed form.

    The images of the `train` and `validation` trials are used, and the mean response to each.
    The closed form holds for images that are Gaussian noise; for others fit the model by its
    likelihood (`fitting.fit_quadratic`).

    Parameters
    ----------
    recording : xarray.Dataset
        Of images.
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    window : int
        Pixels along a side of the part of the image that is used, around where the neuron
        looks.
    max_filter, kept_variance
        See `estimate_gqm`.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        As `measure_twin_gqm`; one z unit is the standard deviation of the images' pixels. A
        neuron that answered too few of the images for an estimate is not valid.

    Raises
    ------
    InputError
        If no trial has a response, a response is negative, a setting is out of range, or no
        neuron answered more images than directions that hold the variance.

    References
    ----------
    Park & Pillow (2011), Advances in Neural Information Processing Systems 24.

    """
    check_window(window)
    _check(max_filter)
    job = job or Job()
    shown = shown_in_recording(recording, neurons)
    settings: dict[str, Any] = {
        "window": window,
        "max_filter": max_filter,
        "kept_variance": kept_variance,
    }
    return make_result(
        _estimate(shown, job=job, **settings),
        experiment="gqm",
        recording=str(recording.attrs.get("fingerprint", "")),
        settings={**settings, "n_image": len(shown[1])},
        source=SOURCE,
    )


def measure_twin_gqm(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    n_image: int = 10_000,
    contrast: float = 1.0,
    window: int = 16,
    max_filter: int = 4,
    seed: int = 0,
    batch_size: int = 64,
    job: Job | None = None,
) -> xr.Dataset:
    """Generalised quadratic model of a twin, in closed form from its answers to noise.

    The twin is shown Gaussian white noise as in `measure_twin_sta`. It is the model with an
    exponential nonlinearity that is nearest to the twin under that noise.

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
    max_filter : int
        Most eigenvectors returned of either sign.
    seed : int
        Of the noise.
    batch_size : int
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        Along `neuron`: `linear` (channel, y, x), `eigenvalue` (component) of C, `excitatory`
        and `suppressive` (filter, channel, y, x), its eigenvectors at both ends, NaN outside
        the window; `offset`; `valid` 0 where the neuron does not vary. Which eigenvalues are
        more than chance `measure_twin_stc` tells.

    Raises
    ------
    InputError
        If a setting is out of range, `neurons` are not the twin's, or there are not more
        images than pixels in the window.

    References
    ----------
    Park & Pillow (2011), Advances in Neural Information Processing Systems 24.

    """
    check_window(window)
    _check(max_filter)
    job = job or Job()
    shown = show_noise(
        twin,
        neurons,
        n_image=n_image,
        contrast=contrast,
        seed=check_seed(seed),
        batch_size=batch_size,
        job=job.part(0.0, 0.6),
    )
    settings = {"window": window, "max_filter": max_filter}
    return make_result(
        _estimate(shown, kept_variance=1.0, job=job.part(0.6, 1.0), **settings),
        experiment="gqm",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={**settings, "n_image": n_image, "contrast": contrast, **provenance(twin)},
        source=SOURCE,
    )


def _estimate(
    shown: Shown, *, window: int, max_filter: int, kept_variance: float, job: Job
) -> xr.Dataset:
    """Labelled model of every neuron, each within its window."""

    def estimate(x: np.ndarray, y: np.ndarray, part: Job) -> dict[str, np.ndarray]:
        return estimate_gqm(x, y, max_filter=max_filter, kept_variance=kept_variance, job=part)

    found = estimate_in_windows(estimate, shown, window, FIELDS, job)
    pixels = ("channel", "y", "x")
    return label_fields(
        shown[0],
        found,
        {
            "linear": (pixels, "linear filter", "log rate per z unit"),
            "eigenvalue": (("component",), "eigenvalue of the quadratic form", "log rate"),
            "excitatory": (("filter", *pixels), "excitatory eigenvector", "1"),
            "suppressive": (("filter", *pixels), "suppressive eigenvector", "1"),
            "offset": ((), "log rate at the mean image", "1"),
            "valid": ((), "1 where the neuron varies", "1"),
        },
    )
