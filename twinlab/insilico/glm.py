"""Linear-nonlinear-Poisson model: one filter and an exponential, by exact penalised likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from twinlab.insilico.receptive_field import split_trials
from twinlab.insilico.responses import Neurons, provenance
from twinlab.insilico.windows import (
    Shown,
    check_window,
    estimate_in_windows,
    label_fields,
    show_noise,
    shown_in_recording,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, make_result
from twinlab.twins import ConditionedTwin

__all__ = ["PENALTIES", "estimate_lnp", "measure_lnp", "measure_twin_lnp"]

PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01)  # for stimuli in z units
TOLERANCE = 1e-7  # of the gradient, at which Newton's method has arrived
MAX_STEPS = 50
SOURCE = "Paninski (2004), Network 15: 243-262"


def estimate_lnp(
    stimulus: np.ndarray,
    response: np.ndarray,
    *,
    penalty: Sequence[float] = PENALTIES,
    folds: int = 5,
    job: Job | None = None,
) -> dict[str, np.ndarray]:
    r"""Linear-nonlinear-Poisson model by penalised maximum likelihood.

    With responses y in units of their mean, filter w and offset b minimise

    .. math:: \frac1n \sum_i \left( e^{w x_i + b} - y_i (w x_i + b) \right)
        + \frac{\lambda}{2} \|w\|^2,

    which has one minimum; Newton's method finds it. It is scikit-learn's `PoissonRegressor`
    with `alpha` :math:`= \lambda`. Of several penalties the one with the highest held-out
    likelihood is taken.

    Parameters
    ----------
    stimulus : ndarray of shape (n_trial, n_pixel)
    response : ndarray of shape (n_trial, n_neuron)
        Finite and not negative; a neuron that does not vary is not valid.
    penalty : sequence of float
        Strengths tried, positive.
    folds : int
        Number of parts the trials are split into.
    job : Job, optional

    Returns
    -------
    dict of ndarray
        `receptive_field` (n_neuron, n_pixel), w; `offset` (n_neuron), the logarithm of the rate
        at stimulus 0, in the response's units; `penalty` (n_neuron) taken;
        `deviance_explained` (n_neuron), the share of the deviance of the mean that held-out
        predictions explain; `valid` (n_neuron), 0 or 1.

    Raises
    ------
    InputError
        If a penalty is not positive, a response is negative, or there are fewer than `folds`
        trials.

    References
    ----------
    Paninski (2004), Network 15: 243-262.

    """
    _check(penalty)
    if len(response) and np.min(response) < 0:
        msg = (
            "Responses of a Poisson model must not be negative, but the smallest is "
            f"{np.min(response):.3g}; give spike counts or rates."
        )
        raise InputError(msg)
    job = job or Job()
    n_neuron, n_pixel = response.shape[1], stimulus.shape[1]
    fold = split_trials(np.arange(len(stimulus)), folds)
    x = np.concatenate([np.ones((len(stimulus), 1)), stimulus], axis=1)
    found = {
        "receptive_field": np.full((n_neuron, n_pixel), np.nan),
        "valid": np.zeros(n_neuron, np.int8),
    } | {name: np.full(n_neuron, np.nan) for name in ("offset", "penalty", "deviance_explained")}
    strengths = sorted(penalty, reverse=True)  # each starts where the stronger one ended
    for neuron in range(n_neuron):
        part = job.part(neuron / n_neuron, (neuron + 1) / n_neuron)
        answer = np.asarray(response[:, neuron], np.float64)
        if not np.ptp(answer) > 0:
            continue
        y = answer / answer.mean()
        drive = np.empty((len(strengths), len(y)))
        n_fit = folds * len(strengths) + 1
        for k in range(folds):
            held = fold == k
            weight = np.zeros(1 + n_pixel)
            for i, strength in enumerate(strengths):
                done = k * len(strengths) + i
                here = part.part(done / n_fit, (done + 1) / n_fit, f"fold {k + 1} of {folds}")
                weight = _newton(x[~held], y[~held], strength, weight, here)
                drive[i, held] = x[held] @ weight
        loss = (np.exp(drive) - y * drive).mean(1)
        best = int(loss.argmin())
        last = part.part(1 - 1 / n_fit, 1.0, "all trials")
        weight = _newton(x, y, strengths[best], np.zeros(1 + n_pixel), last)
        saturated = (y - np.where(y > 0, y * np.log(np.where(y > 0, y, 1)), 0)).mean()
        found["valid"][neuron] = 1
        found["receptive_field"][neuron] = weight[1:]
        found["offset"][neuron] = weight[0] + np.log(answer.mean())
        found["penalty"][neuron] = strengths[best]
        # the mean predicts 1, with a loss of 1
        found["deviance_explained"][neuron] = (1 - loss[best]) / (1 - saturated)
    return found


def _check(penalty: Sequence[float]) -> None:
    if not len(penalty) or min(penalty) <= 0:
        msg = f"`penalty` needs one or more positive strengths, but got {list(penalty)}."
        raise InputError(msg)


def _newton(
    x: np.ndarray, y: np.ndarray, penalty: float, start: np.ndarray, job: Job
) -> np.ndarray:
    """Weights, the offset first, at the minimum of the penalised Poisson loss."""
    cost = np.full(x.shape[1], penalty)
    cost[0] = 0.0

    def loss_of(weight: np.ndarray) -> float:
        drive = x @ weight
        with np.errstate(over="ignore"):  # an infinite loss is a step too long
            return float((np.exp(drive) - y * drive).mean() + cost @ weight**2 / 2)

    weight, loss = start, loss_of(start)
    for step in range(MAX_STEPS):
        job.report(step / MAX_STEPS, f"step {step + 1}")
        rate = np.exp(x @ weight)
        gradient = x.T @ (rate - y) / len(x) + cost * weight
        if np.abs(gradient).max() < TOLERANCE:
            break
        curvature = (x * rate[:, None]).T @ x / len(x) + np.diag(cost)
        move = np.linalg.solve(curvature, gradient)
        length = 1.0
        while not (reached := loss_of(weight - length * move)) <= loss and length > 1e-6:
            length /= 2
        weight, loss = weight - length * move, reached
    return weight


def measure_lnp(
    recording: xr.Dataset,
    neurons: Neurons = None,
    *,
    window: int = 16,
    penalty: Sequence[float] = PENALTIES,
    folds: int = 5,
    job: Job | None = None,
) -> xr.Dataset:
    """Linear-nonlinear-Poisson model of recorded neurons.

    The images of the `train` and `validation` trials are used, and the mean response to each.
    Unlike the spike-triggered average it is not biased by stimuli that are not Gaussian, as
    far as the nonlinearity is exponential.

    Parameters
    ----------
    recording : xarray.Dataset
        Of images.
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    window : int
        Pixels along a side of the part of the image that is used, around where the neuron
        looks.
    penalty, folds
        See `estimate_lnp`.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        As `measure_twin_lnp`; one z unit is the standard deviation of the images' pixels. A
        neuron that answered too few of the images for an estimate is not valid.

    Raises
    ------
    InputError
        If no trial has a response, a response is negative, or a setting is out of range.

    References
    ----------
    Paninski (2004), Network 15: 243-262.

    """
    check_window(window)
    _check(penalty)
    job = job or Job()
    shown = shown_in_recording(recording, neurons)
    return make_result(
        _estimate(shown, window, penalty, folds, job),
        experiment="lnp",
        recording=str(recording.attrs.get("fingerprint", "")),
        settings={
            "window": window,
            "penalty": list(penalty),
            "folds": folds,
            "n_image": len(shown[1]),
        },
        source=SOURCE,
    )


def measure_twin_lnp(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    n_image: int = 5000,
    contrast: float = 1.0,
    window: int = 16,
    folds: int = 5,
    seed: int = 0,
    batch_size: int = 64,
    job: Job | None = None,
) -> xr.Dataset:
    """Linear-nonlinear-Poisson model of a twin, from its answers to white noise.

    The twin is shown Gaussian white noise as in `measure_twin_sta`; what one filter and an
    exponential leave unexplained of its rates is the neuron's further nonlinearity.

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
    folds : int
        See `estimate_lnp`.
    seed : int
        Of the noise.
    batch_size : int
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        Along `neuron`: `receptive_field` (channel, y, x), NaN outside the window; `offset`,
        `penalty` and `deviance_explained`; `valid` 0 where the neuron does not vary.

    Raises
    ------
    InputError
        If a setting is out of range or `neurons` are not the twin's.

    References
    ----------
    Paninski (2004), Network 15: 243-262.

    """
    check_window(window)
    job = job or Job()
    shown = show_noise(
        twin,
        neurons,
        n_image=n_image,
        contrast=contrast,
        seed=check_seed(seed),
        batch_size=batch_size,
        job=job.part(0.0, 0.3),
    )
    return make_result(
        _estimate(shown, window, PENALTIES, folds, job.part(0.3, 1.0)),
        experiment="lnp",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={
            "n_image": n_image,
            "contrast": contrast,
            "window": window,
            "penalty": list(PENALTIES),
            "folds": folds,
            **provenance(twin),
        },
        source=SOURCE,
    )


def _estimate(
    shown: Shown, window: int, penalty: Sequence[float], folds: int, job: Job
) -> xr.Dataset:
    """Labelled model of every neuron, each within its window."""

    def estimate(x: np.ndarray, y: np.ndarray, part: Job) -> dict[str, np.ndarray]:
        return estimate_lnp(x, y, penalty=penalty, folds=folds, job=part)

    found = estimate_in_windows(estimate, shown, window, ("receptive_field",), job)
    described: dict[str, Any] = {
        "receptive_field": (
            ("channel", "y", "x"),
            "receptive field (Poisson likelihood)",
            "log rate per z unit",
        ),
        "offset": ((), "log rate at the mean image", "1"),
        "penalty": ((), "penalty", "1"),
        "deviance_explained": ((), "share of held-out deviance explained", "1"),
        "valid": ((), "1 where the neuron varies", "1"),
    }
    return label_fields(shown[0], found, described)
