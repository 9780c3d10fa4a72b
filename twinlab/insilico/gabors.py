"""Gabors with parameters that a gradient can move: the best for a neuron, and fits to fields.

Of videos they drift under an envelope that stays.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.insilico.ascent import ascend
from twinlab.jobs import Job
from twinlab.schema import InputError

__all__ = ["draw_gabors", "fit_gabor", "gabor_grid", "gabor_mover"]

# The Gabors tried first; the best is then refined in all its parameters.
ORIENTATIONS = np.deg2rad(np.arange(0, 180, 15))
SPATIAL_FREQUENCIES = np.geomspace(0.05, 0.25, 5)  # cycles/px
PHASES = np.arange(4) * np.pi / 2
# Of those that drift: either way across the bars; over time they go through phases by themselves.
HEADINGS = np.deg2rad(np.arange(0, 360, 30))
DRIFTING_FREQUENCIES = np.geomspace(0.05, 0.25, 4)
TEMPORAL_FREQUENCIES = np.array([0.0, 2.0, 4.0, 8.0])  # Hz, as far as frames are fast enough
FEW_PHASES = PHASES[:2]
CYCLES = 0.45  # standard deviation of the envelope, in periods of the carrier

# Columns of a Gabor's parameters, and how far a bold step moves each. Channel weights follow.
GABOR = ("x", "y", "orientation", "log_frequency", "phase", "log_size", "log_elongation")
GABOR_STEP = (0.5, 0.5, 0.1, 0.1, 0.3, 0.1, 0.1)
DRIFT_STEP = 0.01  # of one more column of those that drift, cycles per frame
CHANNEL_STEP = 0.1
CHUNK = 128  # fields fitted at once

FITTED = {
    "center_x": ("horizontal centre", "px"),
    "center_y": ("vertical centre", "px"),
    "orientation": ("orientation of the bars", "deg"),
    "spatial_frequency": ("spatial frequency", "cycles/px"),
    "phase": ("phase at the centre", "deg"),
    "size": ("standard deviation of the envelope across the bars", "px"),
    "elongation": ("that along the bars over that across them", "1"),
    "r_squared": ("share of the field's squares that the Gabor explains", "1"),
}


def draw_gabors(parameters: Tensor, height: int, width: int, n_frame: int | None = None) -> Tensor:
    """Gabors (n, channel, y, x) of parameters (n, 7 + channel), differentiable in them.

    The columns are those of `GABOR` (radians, pixels), then one weight a channel. With `n_frame`
    Gabors (n, channel, frame, y, x) that drift, of parameters (n, 8 + channel): before the
    weights come the cycles per frame by which the phase moves on, towards orientation + 90 deg.
    """
    x, y, orientation, frequency, phase, size, elongation = (
        column.view(-1, 1, 1) for column in parameters[:, : len(GABOR)].T
    )
    dx = torch.arange(width, device=parameters.device) - x
    dy = torch.arange(height, device=parameters.device)[:, None] - y
    across = dx * torch.sin(orientation) + dy * torch.cos(orientation)
    along = (dx * torch.cos(orientation) - dy * torch.sin(orientation)) / elongation.exp()
    envelope = torch.exp(-(across**2 + along**2) / (2 * (2 * size).exp()))
    angle = 2 * torch.pi * frequency.exp() * across + phase
    if n_frame is None:
        wave = envelope * torch.cos(angle)
        return wave[:, None] * parameters[:, len(GABOR) :, None, None]
    frame = torch.arange(n_frame, device=parameters.device)
    moved = 2 * torch.pi * parameters[:, len(GABOR), None] * frame
    wave = envelope[:, None] * torch.cos(angle[:, None] + moved[:, :, None, None])
    return wave[:, None] * parameters[:, len(GABOR) + 1 :, None, None, None]


def gabor_grid(stimuli: np.ndarray, center: np.ndarray, frame_rate: float | None = None) -> Tensor:
    """Parameters (neuron, gabor, parameter) of the Gabors tried first.

    Parameters
    ----------
    stimuli : ndarray of shape (neuron, channel[, frame], y, x)
        What they shall resemble; says how channels are weighed.
    center : ndarray of shape (neuron, 2)
        Where, x and y in pixels.
    frame_rate : float, optional
        Of videos, in Hz: Gabors then drift, at no more than a quarter of it.

    """
    largest = min(stimuli.shape[-2:]) / 4
    axes = [ORIENTATIONS, SPATIAL_FREQUENCIES, PHASES]
    if frame_rate is not None:
        drift = np.unique(np.minimum(TEMPORAL_FREQUENCIES, frame_rate / 4)) / frame_rate
        axes = [HEADINGS - np.pi / 2, DRIFTING_FREQUENCIES, FEW_PHASES, drift]
    shapes = np.array(
        [
            (turn, np.log(f), phase, np.log(np.clip(CYCLES / f, 1.0, largest)), 0.0, *moving)
            for turn, f, phase, *moving in product(*axes)
        ]
    )
    # Channels weighed by the first singular vector of the pixels.
    flat = stimuli.reshape(*stimuli.shape[:2], -1)
    weights = np.linalg.svd(flat - flat.mean(2, keepdims=True), full_matrices=False)[0][:, :, 0]
    each = [
        np.hstack([np.tile(place, (len(shapes), 1)), shapes, np.tile(weight, (len(shapes), 1))])
        for place, weight in zip(center, weights, strict=True)
    ]
    return torch.as_tensor(np.stack(each), dtype=torch.float32)


def gabor_mover(
    channel: int,
    height: int,
    width: int,
    device: torch.device | str,
    *,
    drifting: bool = False,
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Steps of Gabors' parameters along a gradient, for `ascend`, within their limits."""
    limits: dict[str, tuple[float, float]] = {
        "x": (0, width - 1),
        "y": (0, height - 1),
        "log_frequency": (np.log(0.01), np.log(0.5)),
        "log_size": (np.log(0.7), np.log(max(height, width) / 2)),
        "log_elongation": (-np.log(4), np.log(4)),
    }
    rows = [limits.get(name, (-np.inf, np.inf)) for name in GABOR]
    rows += [(-0.5, 0.5)] * drifting + [(-10.0, 10.0)] * channel
    low, high = torch.tensor(rows, dtype=torch.float32, device=device).T
    steps = [*GABOR_STEP, *[DRIFT_STEP] * drifting, *[CHANNEL_STEP] * channel]
    bold = torch.tensor(steps, device=device)

    def move(parameters: Tensor, gradient: Tensor, step: Tensor, row: Tensor) -> Tensor:
        del row
        # The gradient with each parameter in units of its bold step, one such step long.
        direction = gradient * bold
        direction = direction / direction.norm(dim=1, keepdim=True).clamp(min=1e-30)
        moved = parameters + step[:, None] * direction * bold
        return torch.minimum(torch.maximum(moved, low), high)

    return move


def fit_gabor(
    fields: xr.DataArray, *, n_step: int = 200, n_start: int = 3, job: Job | None = None
) -> xr.Dataset:
    """Fit a Gabor to each receptive field, or most exciting input, by least squares.

    The best of a grid of 240 Gabors at the place of most energy are refined by gradient ascent in
    place, orientation, spatial frequency, phase, size and elongation; the amplitude that fits
    best follows from them.

    Parameters
    ----------
    fields : xarray.DataArray
        (neuron, channel, y, x), around 0: subtract the mean grey level of images first.
    n_step : int
        Most steps of the refinement.
    n_start : int
        Gabors of the grid that are refined.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        Along `neuron`: `center_x`, `center_y`, `orientation`, `spatial_frequency`, `phase`,
        `size`, `elongation`, `r_squared`; `gabor` (neuron, channel, y, x). NaN where a field
        is not finite or flat.

    Raises
    ------
    InputError
        If `fields` have other dimensions or a setting is out of range.

    References
    ----------
    Jones and Palmer (1987), Journal of Neurophysiology 58: 1233-1258.

    """
    n_tried = len(ORIENTATIONS) * len(SPATIAL_FREQUENCIES) * len(PHASES)
    if not 1 <= n_start <= n_tried or n_step < 1:
        msg = (
            f"`n_start` must be 1 to {n_tried} and `n_step` at least 1, but they are {n_start} "
            f"and {n_step}."
        )
        raise InputError(msg)
    if fields.dims != ("neuron", "channel", "y", "x"):
        msg = f"`fields` must be (neuron, channel, y, x), but are {fields.dims}."
        raise InputError(msg)
    values = fields.values.astype(np.float32)
    power = (values**2).sum((1, 2, 3))
    found = np.flatnonzero(np.isfinite(power) & (np.ptp(values, axis=(1, 2, 3)) > 0))
    gabor = np.full(values.shape, np.nan, np.float32)
    fitted = np.full((len(values), len(GABOR)), np.nan)
    upside_down = np.zeros(len(values), bool)
    explained = np.full(len(values), np.nan)
    if len(found):
        wanted, job = torch.as_tensor(values[found]), job or Job()
        parts = [
            _fit(part, n_step, n_start, job.part(k * CHUNK / len(found), 1.0))
            for k, part in enumerate(wanted.split(CHUNK))
        ]
        best, share = (torch.cat(column) for column in zip(*parts, strict=True))
        drawn = draw_gabors(best, *values.shape[2:])
        amplitude = (drawn * wanted).sum((1, 2, 3)) / drawn.square().sum((1, 2, 3))
        gabor[found] = (drawn * amplitude.view(-1, 1, 1, 1)).numpy()
        fitted[found], explained[found] = best[:, : len(GABOR)].numpy(), share.numpy()
        weight = best[:, len(GABOR) :]
        main = weight.gather(1, weight.abs().argmax(1, keepdim=True))[:, 0]
        upside_down[found] = (main < 0).numpy()
    x, y, turn, frequency, phase, size, elongation = fitted.T
    orientation = np.rad2deg(turn) % 360
    # turned by half a circle, a Gabor is itself with its phase reversed
    phase = np.rad2deg(np.where(orientation >= 180, -phase, phase)) + 180 * upside_down
    columns = (
        x, y, orientation % 180, np.exp(frequency), phase % 360, np.exp(size), np.exp(elongation),
        explained,
    )  # fmt: skip
    labels = {
        name: ("neuron", column, {"long_name": words, "units": units})
        for (name, (words, units)), column in zip(FITTED.items(), columns, strict=True)
    }
    return xr.Dataset(
        labels | {"gabor": (fields.dims, gabor, {"long_name": "fitted Gabor"})},
        coords={name: value for name, value in fields.coords.items() if name not in labels},
    )


def _fit(wanted: Tensor, n_step: int, n_start: int, job: Job) -> tuple[Tensor, Tensor]:
    """Parameters (neuron, parameter) and shares of squares explained."""
    n_neuron, channel, height, width = wanted.shape
    unit = wanted / wanted.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    energy = wanted.square().sum(1).flatten(1).numpy()
    row, column = np.indices((height, width)).reshape(2, -1)
    energy = energy * (energy > 0.25 * energy.max(1, keepdims=True))
    center = np.stack([energy @ column, energy @ row], 1) / energy.sum(1)[:, None]
    grid = gabor_grid(wanted.numpy(), center)

    def measure(parameters: Tensor, row: Tensor) -> Tensor:
        drawn = draw_gabors(parameters, height, width)
        alike = (drawn * unit[row // n_start]).sum((1, 2, 3)) / drawn.flatten(1).norm(dim=1)
        return -(1 - alike + 1e-6).log()  # near 1, what is left to gain still counts

    alike = torch.stack(
        [
            (drawn * unit[number]).sum((1, 2, 3)) / drawn.flatten(1).norm(dim=1)
            for number in range(n_neuron)
            for drawn in [draw_gabors(grid[number], height, width)]
        ]
    )
    first = alike.topk(n_start, 1).indices
    start = grid[torch.arange(n_neuron)[:, None], first].flatten(0, 1)

    def report(done: int, _: Tensor) -> None:
        job.report(done / n_step, f"step {done} of {n_step}")

    move = gabor_mover(channel, height, width, "cpu")
    point, value = ascend(start, measure, move, n_step=n_step, report=report)
    best = value.view(n_neuron, n_start).argmax(1)
    chosen = torch.arange(n_neuron) * n_start + best
    return point[chosen], (1 + 1e-6 - (-value[chosen]).exp()).square()
