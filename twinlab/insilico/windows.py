"""What each neuron was shown where it looks: stimuli and responses within a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr

from twinlab.evaluation import locate_receptive_fields
from twinlab.insilico.receptive_field import TooFewTrials, measure_receptive_field
from twinlab.insilico.responses import (
    Neurons,
    chosen_positions,
    neuron_labels,
    rates_of_batches,
    spatial_coordinates,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, stimulus_kind
from twinlab.twins import ConditionedTwin

__all__ = [
    "Shown",
    "check_window",
    "estimate_in_windows",
    "label_fields",
    "show_noise",
    "shown_in_recording",
    "whiten",
]

# Labels of the neurons, images (image, channel, y, x) in z units, responses (image, neuron),
# NaN where missing, and where each neuron looks, (x, y), NaN where it looks nowhere.
Shown = tuple[xr.Dataset, np.ndarray, np.ndarray, np.ndarray]


def check_window(window: int) -> None:
    """Refuse a window that holds no pixel."""
    if window < 1:
        msg = f"`window` must be at least 1 pixel along a side, but got {window}."
        raise InputError(msg)


def show_noise(
    twin: ConditionedTwin,
    neurons: Neurons,
    *,
    n_image: int,
    contrast: float,
    seed: int,
    batch_size: int,
    job: Job,
) -> Shown:
    """Show Gaussian white noise to a twin; neurons look where their gradients are."""
    positions = chosen_positions(len(twin), neurons)
    if n_image < 2 or not contrast > 0:
        msg = (
            "Noise needs `n_image` of at least 2 and a positive `contrast`, but got "
            f"{n_image} and {contrast:g}."
        )
        raise InputError(msg)
    spec = twin.spec
    field = measure_receptive_field(twin, positions, n_image=16, job=job.part(0.0, 0.3))
    noise = np.random.default_rng(check_seed(seed)).standard_normal(
        (n_image, *spec.shape), np.float32
    )
    noise *= contrast
    rates = rates_of_batches(
        twin.neurons(positions),
        (
            spec.mean + spec.std * noise[start : start + batch_size]
            for start in range(0, n_image, batch_size)
        ),
        n_image,
        job.part(0.3, 1.0),
    )
    center = np.stack([field.center_x.values, field.center_y.values], axis=1)
    return neuron_labels(twin, positions), noise, rates, center


def shown_in_recording(recording: xr.Dataset, neurons: Neurons) -> Shown:
    """Images of the training and validation trials and the mean response to each.

    The trials of one image are averaged, so that every image is shown once and responses can
    be shuffled among images. Neurons look where `locate_receptive_fields` finds them.
    """
    if stimulus_kind(recording) != "image":
        msg = "Fields within a window need a recording of images, but this one is of videos."
        raise InputError(msg)
    positions = chosen_positions(recording.sizes["neuron"], neurons)
    learned = np.isin(recording.split.values.astype(str), ("train", "validation"))
    answered = np.isfinite(recording.response.values).any(1)
    trials = np.flatnonzero(learned & answered)
    if not len(trials):
        msg = "No trial of the splits train and validation has a response; nothing to average."
        raise InputError(msg)
    index, inverse = np.unique(recording.stimulus_index.values[trials], return_inverse=True)
    response = recording.response.values[trials]
    images = recording.stimulus.values[index].astype(np.float32)
    images = (images - images.mean()) / max(float(images.std()), 1e-12)
    # by all of the recording's neurons, so that no result depends on which are asked about
    center = locate_receptive_fields(images[inverse], response)[positions]
    total = np.zeros((2, len(index), len(positions)))
    given = np.isfinite(response[:, positions])
    np.add.at(total[0], inverse, np.where(given, response[:, positions], 0.0))
    np.add.at(total[1], inverse, given)
    mean = total[0] / np.where(total[1] > 0, total[1], np.nan)
    chosen = recording.isel(neuron=positions)
    labels = chosen.drop_vars(
        [name for name in chosen.variables if chosen[name].dims != ("neuron",)]
    )
    return labels.drop_vars(list(labels.data_vars)), images, mean, center


def estimate_in_windows(
    estimate: Callable[[np.ndarray, np.ndarray, Job], dict[str, np.ndarray]],
    shown: Shown,
    window: int,
    fields: tuple[str, ...],
    job: Job,
) -> dict[str, np.ndarray]:
    """Estimate each neuron from the pixels around where it looks, and put the fields back.

    Parameters
    ----------
    estimate : callable
        From stimuli (trial, pixel), responses (trial, 1) and a job to arrays by name, their
        first axis the one neuron.
    shown : Shown
    window : int
        Pixels along a side; cut to the image where that is smaller.
    fields : tuple of str
        Names of the arrays whose last axis is the pixels.
    job : Job

    Returns
    -------
    dict of ndarray
        As `estimate` gives them, one neuron after the other; fields are (neuron, ..., channel,
        y, x) in the whole image, NaN outside the window. NaN (0 of whole numbers) for neurons
        with too few responses for an estimate.

    Raises
    ------
    TooFewTrials
        If there are too few for every neuron.

    """
    _, images, response, center = shown
    shape = images.shape[1:]
    size = np.minimum(window, shape[1:])
    found: dict[str, np.ndarray] = {}
    lacking: TooFewTrials | None = None
    for neuron in range(response.shape[1]):
        part = job.part(
            neuron / response.shape[1],
            (neuron + 1) / response.shape[1],
            f"neuron {neuron + 1} of {response.shape[1]}",
        )
        # one that looks nowhere does not vary either; any window will do
        looks = center[neuron, ::-1]
        middle = np.where(np.isfinite(looks), looks, (np.array(shape[1:]) - 1) / 2)
        corner = np.clip(np.rint(middle - (size - 1) / 2), 0, shape[1:] - size).astype(int)
        inside = tuple(slice(low, low + n) for low, n in zip(corner, size, strict=True))
        answer = response[:, neuron]
        seen = np.isfinite(answer)
        pixels = images[seen][:, :, inside[0], inside[1]]
        try:
            one = estimate(
                pixels.reshape(len(pixels), np.prod(pixels.shape[1:])), answer[seen, None], part
            )
        except TooFewTrials as error:
            lacking = error
            continue
        for name, value in one.items():
            whole = value
            if name in fields:
                whole = np.full((*value.shape[:-1], *shape), np.nan, np.float32)
                whole[..., inside[0], inside[1]] = value.reshape(
                    *value.shape[:-1], *pixels.shape[1:]
                )
            if name not in found:
                empty = np.nan if whole.dtype.kind == "f" else 0
                every = (response.shape[1], *whole.shape[1:])
                found[name] = np.full(every, empty, whole.dtype)
            found[name][neuron] = whole[0]
    if lacking and not found:
        raise lacking
    return found


def whiten(stimulus: np.ndarray, kept_variance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Stimuli of unit covariance in the directions that vary most.

    Parameters
    ----------
    stimulus : ndarray of shape (n_trial, n_pixel)
    kept_variance : float
        Share of the variance that the directions kept hold together.

    Returns
    -------
    whitened : Tensor of shape (n_trial, n_direction), float32
    whitener : Tensor of shape (n_direction, n_pixel), float64
        From centred stimuli to whitened ones; its transpose takes a filter of the latter to
        the filter of the pixels with the same output.

    Raises
    ------
    InputError
        If the share is not between 0 and 1, or there are not more trials than directions.

    """
    if not 0 < kept_variance <= 1:
        msg = f"`kept_variance` must be above 0 and at most 1, but got {kept_variance:g}."
        raise InputError(msg)
    x = torch.as_tensor(np.asarray(stimulus, np.float32))
    if len(x) < 2:
        msg = f"A covariance needs many stimuli with a response, but there are {len(x)}."
        raise TooFewTrials(msg)
    x = x - x.mean(0)
    variance, direction = torch.linalg.eigh((x.T @ x).double() / len(x))
    variance, direction = variance.flip(0).clamp_min(0), direction.flip(1)
    share = variance.cumsum(0) / variance.sum()
    n_direction = int((share < kept_variance * (1 - 1e-9)).sum()) + 1
    n_direction = min(n_direction, int((variance > 1e-6 * variance[0]).sum()))
    if len(x) <= n_direction + 1:
        msg = (
            f"A covariance needs many more stimuli than directions, but {len(x)} stimuli vary "
            f"along {n_direction}; show more, or lower `window` or `kept_variance`."
        )
        raise TooFewTrials(msg)
    whitener = (direction[:, :n_direction] / variance[:n_direction].sqrt()).T
    return x @ whitener.T.float(), whitener


def label_fields(
    labels: xr.Dataset,
    found: Mapping[str, np.ndarray],
    described: Mapping[str, tuple[tuple[str, ...], str, str]],
) -> xr.Dataset:
    """Dataset of arrays by name, each with its dimensions after `neuron`, long name and units."""
    variables: dict[str, Any] = {}
    for name, (dims, long_name, units) in described.items():
        values = found[name] if name == "valid" else found[name].astype(np.float32)
        variables[name] = (("neuron", *dims), values, {"long_name": long_name, "units": units})
    height, width = next(found[name].shape[-2:] for name in found if "y" in described[name][0])
    return labels.assign(variables).assign_coords(spatial_coordinates(height, width))
