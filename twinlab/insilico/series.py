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

__all__ = ["FEATURES", "NOISES", "Grating", "check_choice", "draw_series", "respond"]

FEATURES = {
    "orientation": "deg",
    "spatial_frequency": "cycles/px",
    "phase": "deg",
    "contrast": "1",
}
NOISES = ("poisson", "likelihood")


@dataclass(frozen=True)
class Grating:
    """Parameters of a full-field grating, as `stimuli.make_gratings` takes them."""

    orientation: float
    spatial_frequency: float
    phase: float
    contrast: float


def check_choice(name: str, value: str, known: Iterable[str]) -> None:
    """Raise `InputError` unless `value` is one of those known."""
    if value not in known:
        msg = f"`{name}` must be one of {', '.join(known)}, but is {value!r}."
        raise InputError(msg)


def draw_series(
    spec: StimulusSpec, feature: str, values: np.ndarray, base: Grating
) -> xr.DataArray:
    """Gratings like `base`, one for each value of `feature`.

    Raises
    ------
    InputError
        If the feature is unknown, a value is out of its range, or a grating cannot be shown.

    """
    check_choice("feature", feature, FEATURES)
    columns = {
        name: values if name == feature else np.full(len(values), getattr(base, name))
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
    return make_gratings(
        columns["orientation"],
        frequency,
        columns["phase"],
        height=spec.height,
        width=spec.width,
        channel=spec.channel,
        mean=spec.mean,
        contrast=contrast,
    )


def respond(
    twin: ConditionedTwin, images: np.ndarray, noise: str, batch_size: int, job: Job
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of single responses to each image, (image, neuron), float64.

    Of Poisson noise the two are equal; the likelihood of the twin may say otherwise.
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
    return mean, variance
