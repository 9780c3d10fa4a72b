"""Receptive fields: gradients of a twin, and regression of responses on what was shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from twinlab.insilico.responses import (
    Neurons,
    chosen_positions,
    neuron_labels,
    provenance,
    rates_of_batches,
    spatial_coordinates,
    value_and_gradient,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, make_result
from twinlab.twins import ConditionedTwin

__all__ = [
    "RIDGE_GRID",
    "estimate_receptive_field",
    "measure_receptive_field",
    "measure_sta",
    "measure_twin_sta",
    "split_trials",
]

# In units of the mean eigenvalue of the stimulus covariance.
RIDGE_GRID = tuple(np.logspace(-3, 3, 9).tolist())


def measure_receptive_field(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    n_image: int = 32,
    contrast: float = 0.1,
    seed: int = 0,
    batch_size: int = 128,
    job: Job | None = None,
) -> xr.Dataset:
    """Gradient receptive field: how each pixel moves the rate, around a grey screen.

    The gradient of the rate with respect to the image is averaged over `n_image` images of
    weak white noise on grey, which come in pairs mirrored about grey. A linear-nonlinear
    neuron gives its filter. A neuron that ignores the sign of contrast (complex) gives
    zero; where it looks is still seen in `sensitivity`, the root mean square of the same
    gradients.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    n_image : int
        Number of noise images, even.
    contrast : float
        Root mean square contrast of the noise: standard deviation over mean grey level.
    seed : int
        Seed of the noise; every neuron sees the same images.
    batch_size : int
        Pairs of a neuron and an image evaluated at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `receptive_field` (neuron, channel, y, x), `sensitivity` (neuron, y, x), and the
        centre of the latter, `center_x` and `center_y` (neuron): NaN where no pixel has
        any effect.

    Raises
    ------
    InputError
        If `n_image` is not a positive even number or `neurons` are not the twin's.

    """
    if n_image < 2 or n_image % 2:
        msg = f"`n_image` must be a positive even number, but got {n_image}."
        raise InputError(msg)
    job = job or Job()
    positions = chosen_positions(len(twin), neurons)
    spec = twin.spec
    noise = np.random.default_rng(check_seed(seed)).standard_normal((n_image // 2, *spec.shape))
    noise = np.concatenate([noise, -noise]) * contrast * spec.mean + spec.mean
    images = torch.as_tensor(noise, dtype=torch.float32, device=twin.device)

    total = torch.zeros((len(positions), *spec.shape), device=twin.device)
    square = torch.zeros_like(total)
    pairs = len(positions) * n_image
    for start in range(0, pairs, batch_size):
        job.report(start / pairs, f"gradient {start} of {pairs}")
        # The image varies fastest, so that a batch holds few neurons.
        row, image = np.divmod(np.arange(start, min(start + batch_size, pairs)), n_image)
        _, gradient = value_and_gradient(twin.paired(positions[row]), images[image])
        where = torch.as_tensor(row, device=twin.device)
        total.index_add_(0, where, gradient)
        square.index_add_(0, where, gradient.square())

    energy = (square / n_image).sum(1).double().cpu().numpy()  # (neuron, y, x)
    center_x, center_y = _centroid(energy)
    pixel = {"units": "px"}
    result = neuron_labels(twin, positions).assign(
        receptive_field=(
            ("neuron", "channel", "y", "x"),
            (total / n_image).cpu().numpy(),
            {"long_name": "gradient receptive field", "units": "rate per grey level"},
        ),
        sensitivity=(
            ("neuron", "y", "x"),
            np.sqrt(energy).astype(np.float32),
            {"long_name": "root mean square gradient", "units": "rate per grey level"},
        ),
        center_x=("neuron", center_x, {"long_name": "receptive field centre, x"} | pixel),
        center_y=("neuron", center_y, {"long_name": "receptive field centre, y"} | pixel),
    )
    return make_result(
        result.assign_coords(spatial_coordinates(spec.height, spec.width)),
        experiment="receptive_field",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={"n_image": n_image, "contrast": contrast, **provenance(twin)},
    )


def _centroid(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre of mass (x, y) of each map (neuron, y, x); NaN where a map is empty."""
    mass = weight.sum((1, 2))
    mass = np.where(mass > 0, mass, np.nan)
    x = (weight.sum(1) * np.arange(weight.shape[2])).sum(1) / mass
    y = (weight.sum(2) * np.arange(weight.shape[1])).sum(1) / mass
    return x, y


def estimate_receptive_field(
    stimulus: np.ndarray,
    response: np.ndarray,
    *,
    ridge: Sequence[float] = RIDGE_GRID,
    folds: int = 5,
    group: np.ndarray | None = None,
    job: Job | None = None,
) -> dict[str, np.ndarray]:
    r"""Linear receptive field by ridge regression, its strength chosen by cross-validation.

    With the centred stimuli X and responses y, the estimate is
    :math:`(X^\top X + \lambda I)^{-1} X^\top y`. The decomposition of X is computed once.
    What each fold would be predicted to be without it follows from that exactly,
    :math:`y_H - (I - P_{HH})^{-1} (y_H - \hat y_H)` with the projection P of the whole,
    so nothing is fitted again. (Stimuli and responses are centred once, on all trials.)

    The raw spike-triggered average is the limit of strong ridge: right for white stimuli,
    blurred by the correlations of natural ones.

    Parameters
    ----------
    stimulus : ndarray of shape (n_trial, n_pixel)
    response : ndarray of shape (n_trial, n_neuron)
        Finite; a neuron that never changes gets NaN.
    ridge : sequence of float
        Strengths tried, relative to the mean eigenvalue of X'X.
    folds : int
        Number of parts the trials are split into.
    group : ndarray of shape (n_trial,), optional
        Trials with the same value stay in one fold: repeats of one image must not be both
        learned from and tested on. Each trial is its own group where absent.
    job : Job, optional

    Returns
    -------
    dict of ndarray
        `receptive_field` (n_neuron, n_pixel) in response per unit of stimulus, `ridge`
        (n_neuron,) chosen, `cv_correlation` (n_neuron,) of held-out prediction with
        response, `receptive_field_raw` (n_neuron, n_pixel): the spike-triggered average
        (mean of centred response times centred stimulus) over the stimulus variance;
        `cv_correlation_raw` (n_neuron,) of the predictions from it.

    Raises
    ------
    InputError
        If there are fewer than `folds` groups, or a ridge strength is not positive.

    References
    ----------
    Chichilnisky (2001), Network 12: 199-213.

    """
    if not len(ridge) or min(ridge) <= 0:
        msg = f"`ridge` needs one or more positive strengths, but got {list(ridge)}."
        raise InputError(msg)
    job = job or Job()
    n_trial = len(stimulus)
    fold = split_trials(np.arange(n_trial) if group is None else group, folds)

    x = stimulus - stimulus.mean(0, dtype=np.float64)
    y = np.asarray(response, np.float64) - response.mean(0, dtype=np.float64)
    job.report(0.0, "decomposing the stimuli")
    u, s, vt = _decompose(x)
    projected = u.T @ y  # (component, neuron)
    mean_eigenvalue = (s**2).sum() / x.shape[1]

    shrink = [s**2 / (s**2 + strength * mean_eigenvalue) for strength in ridge]
    # Sums over all trials of the predictions, their squares and their products with y: the
    # predictions themselves, for every strength at once, would not fit into memory.
    sums = np.zeros((3, len(ridge), y.shape[1]))
    for k in range(folds):
        held = fold == k
        part = u[held]
        overlap = part.T @ part if len(part) > len(s) else None
        for i, kept in enumerate(shrink):
            job.report(0.3 + 0.6 * (k + i / len(ridge)) / folds, f"fold {k + 1} of {folds}")
            residual = y[held] - part @ (kept[:, None] * projected)
            predicted = y[held] - _without(part, kept, overlap, residual)
            sums[:, i] += predicted.sum(0), (predicted**2).sum(0), (predicted * y[held]).sum(0)
    correlation = _correlation_of_sums(sums[0], sums[1], sums[2], y)

    changes = np.ptp(y, axis=0) > 0
    best = np.where(changes, np.nan_to_num(correlation, nan=-np.inf).argmax(0), 0)
    chosen = np.asarray(ridge)[best]
    shrunk = s[:, None] / (s[:, None] ** 2 + chosen * mean_eigenvalue)
    field = vt.T @ (shrunk * projected)
    average = x.T @ y / n_trial
    job.report(0.95, "predicting held-out trials from the raw average")
    raw = np.empty_like(y)
    for k in range(folds):
        held = fold == k
        raw[held] = x[held] @ (x[~held].T @ y[~held])
    raw_correlation = _correlation_of_sums(raw.sum(0), (raw**2).sum(0), (raw * y).sum(0), y)
    undefined = np.where(changes, 1.0, np.nan)
    return {
        "receptive_field": (field * undefined).T,
        "ridge": chosen * undefined,
        "cv_correlation": correlation[best, np.arange(y.shape[1])] * undefined,
        "receptive_field_raw": (average * undefined / x.var()).T,
        "cv_correlation_raw": raw_correlation * undefined,
    }


class TooFewTrials(InputError):
    """A neuron answered in too few trials for what is asked about it."""


def split_trials(group: np.ndarray, folds: int) -> np.ndarray:
    """Fold of each trial; trials of one group share it."""
    _, index = np.unique(group, return_inverse=True)
    n_group = index.max(initial=-1) + 1
    if not 2 <= folds <= n_group:
        msg = (
            f"`folds` must be between 2 and the number of different stimuli ({n_group}), "
            f"but got {folds}."
        )
        raise TooFewTrials(msg)
    # A fixed shuffle: neighbouring trials share slow changes of state, neighbouring image
    # numbers may share a scene.
    return np.random.default_rng(0).permutation(np.arange(n_group) % folds)[index]


def _without(
    part: np.ndarray, kept: np.ndarray, overlap: np.ndarray | None, residual: np.ndarray
) -> np.ndarray:
    """Residual of held-out trials had they not been fitted: solve (I - U diag(kept) U') r."""
    if overlap is None:
        return np.linalg.solve(np.eye(len(part)) - (part * kept) @ part.T, residual)
    # More trials than components: the same by the Woodbury identity, in component space.
    return residual + part @ np.linalg.solve(np.diag(1 / kept) - overlap, part.T @ residual)


def _decompose(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thin singular value decomposition by way of the smaller covariance."""
    if len(x) >= x.shape[1]:
        eigenvalue, v = np.linalg.eigh(x.T @ x)
        keep = eigenvalue > eigenvalue[-1] * 1e-10
        s, v = np.sqrt(eigenvalue[keep]), v[:, keep]
        return x @ (v / s), s, v.T
    u, s, vt = _decompose(x.T)
    return vt.T, s, u.T


def _correlation_of_sums(
    total: np.ndarray, square: np.ndarray, product: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Pearson correlation with the centred `y`; NaN where either side never changes."""
    power = (square - total**2 / len(y)) * (y**2).sum(0)
    return product / np.sqrt(np.where(power > 0, power, np.nan))


def measure_sta(
    recording: xr.Dataset,
    neurons: Neurons = None,
    *,
    ridge: Sequence[float] = RIDGE_GRID,
    folds: int = 5,
    job: Job | None = None,
) -> xr.Dataset:
    """Spike-triggered average of recorded neurons, corrected for the stimuli's correlations.

    All trials of the `train` and `validation` splits are used. Trials in which no chosen
    neuron has a response are left out; a neuron that lacks some of the rest is NaN.

    Parameters
    ----------
    recording : xarray.Dataset
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    ridge, folds
        See `estimate_receptive_field`.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `receptive_field` and `receptive_field_raw` (neuron, channel, y, x), `ridge`,
        `cv_correlation` and `cv_correlation_raw` (neuron).

    Raises
    ------
    InputError
        If no trial has a response, or `neurons` are not the recording's.

    """
    chosen = recording.isel(neuron=chosen_positions(recording.sizes["neuron"], neurons))
    learned = np.isin(chosen.split.values.astype(str), ("train", "validation"))
    present = np.isfinite(chosen.response.values)
    # over all of the recording's neurons, so that no result depends on which are asked about
    answered = np.isfinite(recording.response.values).any(1)
    trials = np.flatnonzero(learned & answered)
    if not len(trials):
        msg = "No trial of the splits train and validation has a response; nothing to average."
        raise InputError(msg)
    complete = present[trials].all(0)
    response = np.where(complete, chosen.response.values[trials], 0.0)  # constant, hence NaN
    index = chosen.stimulus_index.values[trials]
    images = chosen.stimulus.values[index]
    estimate = estimate_receptive_field(
        images.reshape(len(images), -1),
        response,
        ridge=ridge,
        folds=folds,
        group=index,
        job=job,
    )
    labels = chosen.drop_vars(
        [name for name in chosen.variables if chosen[name].dims != ("neuron",)]
    )
    return make_result(
        _label_estimate(
            labels.drop_vars(list(labels.data_vars)),
            estimate,
            images.shape[1:],
            chosen.response.attrs.get("units", "a.u."),
        ),
        experiment="sta",
        recording=str(recording.attrs.get("fingerprint", "")),
        settings={"ridge": list(ridge), "folds": folds, "n_trial": len(trials)},
        source="Chichilnisky (2001), Network 12: 199-213",
    )


def measure_twin_sta(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    n_image: int = 5000,
    contrast: float = 1.0,
    seed: int = 0,
    folds: int = 5,
    batch_size: int = 64,
    job: Job | None = None,
) -> xr.Dataset:
    """Spike-triggered average of a twin: its responses to white noise, regressed on it.

    The noise is Gaussian with the mean of the training images and `contrast` times their
    standard deviation. It is not clipped to what a screen shows: for Gaussian noise alone
    is the average of a linear-nonlinear neuron its filter exactly.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    n_image : int
        Number of noise images.
    contrast : float
        Standard deviation of the noise, in that of the training images.
    seed : int
    folds : int
        See `estimate_receptive_field`.
    batch_size : int
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        As `measure_sta`.

    Raises
    ------
    InputError
        If `neurons` are not the twin's, or there are fewer images than folds.

    """
    job = job or Job()
    positions = chosen_positions(len(twin), neurons)
    spec = twin.spec
    noise = np.random.default_rng(check_seed(seed)).standard_normal(
        (n_image, *spec.shape), np.float32
    )
    images = spec.mean + contrast * spec.std * noise
    rates = rates_of_batches(
        twin.neurons(positions),
        (images[start : start + batch_size] for start in range(0, n_image, batch_size)),
        n_image,
        job.part(0.0, 0.5),
    )
    estimate = estimate_receptive_field(
        images.reshape(n_image, -1), rates, folds=folds, job=job.part(0.5, 1.0)
    )
    labels = neuron_labels(twin, positions)
    return make_result(
        _label_estimate(labels, estimate, spec.shape, "rate"),
        experiment="sta",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={
            "n_image": n_image,
            "contrast": contrast,
            "folds": folds,
            **provenance(twin),
        },
        source="Chichilnisky (2001), Network 12: 199-213",
    )


def _label_estimate(
    labels: xr.Dataset, estimate: dict[str, np.ndarray], shape: tuple[int, ...], units: str
) -> xr.Dataset:
    """Dataset of an estimate, its pixels put back into (channel, y, x)."""
    long_names = {
        "receptive_field": ("receptive field (cross-validated ridge)", f"{units} per grey level"),
        "receptive_field_raw": (
            "spike-triggered average over stimulus variance",
            f"{units} per grey level",
        ),
        "ridge": ("ridge strength, in mean eigenvalues of the stimulus covariance", "1"),
        "cv_correlation": ("correlation of held-out prediction and response", "1"),
        "cv_correlation_raw": (
            "correlation of held-out prediction and response, raw average",
            "1",
        ),
    }
    variables: dict[str, Any] = {}
    for name, (long_name, unit) in long_names.items():
        values = estimate[name].astype(np.float32)
        pixels = values.ndim == 2
        variables[name] = (
            ("neuron", "channel", "y", "x") if pixels else ("neuron",),
            values.reshape(-1, *shape) if pixels else values,
            {"long_name": long_name, "units": unit},
        )
    return labels.assign(variables).assign_coords(spatial_coordinates(*shape[1:]))
