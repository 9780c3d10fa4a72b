"""Gratings that differ in one feature alone, and how single responses to them vary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.stimuli import make_gratings
from twinlab.twins import ConditionedTwin, StimulusSpec, response_distribution

__all__ = [
    "FEATURES",
    "NOISES",
    "Grating",
    "check_choice",
    "check_counts",
    "count_phases",
    "draw_series",
    "respond",
]

FEATURES = {
    "orientation": "deg",
    "spatial_frequency": "cycles/px",
    "phase": "deg",
    "contrast": "1",
}
NOISES = ("poisson", "likelihood")
N_PHASE = 32  # of a rectifying cell whose rate has a kink, fewer leave some phase in the mean


@dataclass(frozen=True)
class Grating:
    """Parameters of a full-field grating, its phase at the middle of the image."""

    orientation: float
    spatial_frequency: float
    phase: float
    contrast: float


def check_choice(name: str, value: str, known: Iterable[str]) -> None:
    """Raise `InputError` unless `value` is one of those known."""
    if value not in known:
        msg = f"`{name}` must be one of {', '.join(known)}, but is {value!r}."
        raise InputError(msg)


def count_phases(n_phase: int | None, *, still: bool) -> int:
    """Number of phases to average over: the one asked for, or as many as there is sense in."""
    if n_phase is None:
        return 1 if still else N_PHASE
    if n_phase < 1 or (still and n_phase > 1):
        msg = (
            "`n_phase` must be at least 1, and 1 where the feature is the phase or single "
            f"responses are drawn by the likelihood, but is {n_phase}."
        )
        raise InputError(msg)
    return n_phase


def draw_series(
    spec: StimulusSpec, feature: str, values: np.ndarray, base: Grating, n_phase: int = 1
) -> xr.DataArray:
    """Gratings like `base` for each value of `feature`, each value in evenly spaced phases.

    The first phase is that of `base`, at the middle of the image: anywhere else it moves with
    orientation and spatial frequency, the faster the farther away, so that a neuron that minds
    phase would seem to mind these. Averages over phases do not.

    Raises
    ------
    InputError
        If the feature is unknown, a value is out of its range, or a grating cannot be shown.

    """
    check_choice("feature", feature, FEATURES)
    columns = {
        name: np.repeat(
            values if name == feature else np.full(len(values), getattr(base, name)), n_phase
        )
        for name in FEATURES
    }
    frequency, contrast = columns["spatial_frequency"], columns["contrast"]
    if frequency.min() <= 0 or frequency.max() > 0.5:
        msg = (
            "Spatial frequencies must lie above 0 and be at most 0.5 cycles per pixel, but run "
            f"from {frequency.min():g} to {frequency.max():g}."
        )
        raise InputError(msg)
    most = min(spec.high / spec.mean - 1, 1 - spec.low / spec.mean)
    if contrast.min() < 0 or contrast.max() > most:
        msg = (
            f"Contrasts about the mean grey level of {spec.mean:.4g} must lie between 0 and "
            f"{most:.3g}, but run from {contrast.min():g} to {contrast.max():g}."
        )
        raise InputError(msg)
    turn = np.tile(np.arange(n_phase) * 360 / n_phase, len(values))
    angle = np.radians(columns["orientation"])
    middle = (spec.width - 1) / 2 * np.sin(angle) + (spec.height - 1) / 2 * np.cos(angle)
    return make_gratings(
        columns["orientation"],
        frequency,
        columns["phase"] + turn - 360 * frequency * middle,  # at the first pixel
        height=spec.height,
        width=spec.width,
        channel=spec.channel,
        mean=spec.mean,
        contrast=contrast,
    )


def respond(
    twin: ConditionedTwin,
    images: np.ndarray,
    noise: str,
    batch_size: int,
    job: Job,
    n_phase: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of single responses to each value, (value, neuron), float64.

    Both are averaged over the `n_phase` images of a value, as over the cycle of a drifting
    grating. Of Poisson noise the two are equal; the likelihood of the twin may say otherwise.

    Raises
    ------
    InputError
        If the noise is unknown, or Poisson and a mean negative.

    """
    check_choice("noise", noise, NOISES)
    mean, variance = np.empty((2, len(images), len(twin)))
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            job.report(start / len(images), f"image {start} of {len(images)}")
            part = slice(start, start + batch_size)
            shown = torch.as_tensor(images[part], dtype=torch.float32, device=twin.device)
            if noise == "poisson":
                mean[part] = twin(shown).double().cpu().numpy()
                variance[part] = mean[part]
            else:
                expected = response_distribution(twin, shown)
                mean[part] = expected.mean.double().cpu().numpy()
                variance[part] = expected.variance.double().cpu().numpy()
    if noise == "poisson":
        check_counts(mean)
    mean, variance = (each.reshape(-1, n_phase, len(twin)).mean(1) for each in (mean, variance))
    return mean, variance


def check_counts(rate: np.ndarray) -> None:
    """Raise `InputError` if rates (..., neuron) are negative, as those of counts cannot be."""
    if (lowest := rate.min()) < 0:
        n_neuron = int((rate.reshape(-1, rate.shape[-1]) < 0).any(0).sum())
        msg = (
            f"Poisson noise needs rates of 0 or more, but {n_neuron} neurons have negative ones, "
            f"down to {lowest:.3g}; leave these neurons out, or use a twin of counts."
        )
        raise InputError(msg)
