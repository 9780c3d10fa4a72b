"""Planes in the space of images: two directions for each neuron, given or found."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from twinlab.insilico.ascent import ascend
from twinlab.insilico.constraints import match_norm
from twinlab.insilico.responses import paired_rates, value_and_gradient
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import ConditionedTwin

__all__ = ["find_plane", "rates_in_plane", "span_plane"]

N_START, N_STEP = 2, 60  # of the ascent to the first axis
N_SAMPLE = 48  # images at which gradients are taken to find the second axis


def span_plane(twin: ConditionedTwin, directions: np.ndarray, n: int) -> Tensor:
    """Orthonormal axes (neuron, 2, channel, y, x) of the plane of two directions."""
    given = np.asarray(directions, np.float64)
    shape = (2, *twin.spec.shape)
    if given.shape not in (shape, (n, *shape)):
        msg = (
            f"`directions` has shape {given.shape}; expected two directions {shape}, or two for "
            f"each neuron {(n, *shape)}."
        )
        raise InputError(msg)
    flat = np.broadcast_to(given, (n, *shape)).reshape(n, 2, -1)
    size = np.linalg.norm(flat, axis=2, keepdims=True)
    first, second = np.moveaxis(flat / np.where(size > 0, size, np.nan), 1, 0)
    second = second - (first * second).sum(1, keepdims=True) * first
    size = np.linalg.norm(second, axis=1, keepdims=True)
    if not (size > 1e-6).all():  # False for NaN
        msg = (
            "`directions` do not span a plane: one is zero or not finite, or the two are parallel."
        )
        raise InputError(msg)
    axes = np.stack([first, second / size], 1).astype(np.float32)
    return torch.as_tensor(axes, device=twin.device).view(n, *shape)


def find_plane(
    twin: ConditionedTwin, positions: np.ndarray, norm: float, seed: int, batch_size: int, job: Job
) -> tuple[Tensor, np.ndarray]:
    """Axes (neuron, 2, channel, y, x): the MEI, and what else matters; its share (neuron)."""
    axes = torch.empty((len(positions), 2, *twin.spec.shape), device=twin.device)
    share = np.empty(len(positions), np.float32)
    size = max(batch_size // N_SAMPLE, 1)
    for start in range(0, len(positions), size):
        part = slice(start, min(start + size, len(positions)))
        stage = job.part(start / len(positions), part.stop / len(positions))
        chosen = positions[part]
        noise = _noise(twin, chosen, seed)
        first = _most_exciting(twin, chosen, noise[:, :N_START], norm, stage)
        stage.report(1.0, f"second axis of neuron {start} on")
        axes[part, 0] = first
        axes[part, 1], share[part] = _second_axis(twin, chosen, first, noise[:, N_START:], norm)
    return axes, share


def _noise(twin: ConditionedTwin, positions: np.ndarray, seed: int) -> Tensor:
    """White noise (neuron, image, ...) that depends on seed and neuron alone."""
    shape = (N_START + N_SAMPLE, *twin.spec.shape)
    known = twin.neuron.cpu().numpy()[positions]
    noise = [
        np.random.default_rng([seed, one]).standard_normal(shape, np.float32) for one in known
    ]
    return torch.as_tensor(np.stack(noise), device=twin.device)


def _most_exciting(
    twin: ConditionedTwin, positions: np.ndarray, noise: Tensor, norm: float, job: Job
) -> Tensor:
    """Unit direction (neuron, channel, y, x) of the most exciting input at this norm."""
    spec, each = twin.spec, np.repeat(positions, N_START)

    def measure(z: Tensor, row: Tensor) -> Tensor:
        return twin.paired(each[row.cpu().numpy()])(z * spec.std + spec.mean)

    def move(z: Tensor, gradient: Tensor, step: Tensor, row: Tensor) -> Tensor:
        del row
        length = gradient.square().sum((1, 2, 3)).sqrt().clamp(min=1e-30)
        return match_norm(z + (norm * step / length).view(-1, 1, 1, 1) * gradient, norm, spec)

    def report(done: int, _: Tensor) -> None:
        job.report(done / N_STEP, f"first axis, step {done} of {N_STEP}")

    begun = match_norm(noise.flatten(0, 1), norm, spec)
    z, value = ascend(begun, measure, move, n_step=N_STEP, report=report)
    best = value.view(-1, N_START).argmax(1)
    z = z.view(-1, N_START, *spec.shape)[torch.arange(len(positions), device=z.device), best]
    return z / z.square().sum((1, 2, 3), keepdim=True).sqrt()


def _second_axis(
    twin: ConditionedTwin, positions: np.ndarray, first: Tensor, noise: Tensor, norm: float
) -> tuple[Tensor, np.ndarray]:
    """First principal component of the gradients across the first axis, and its share."""
    spec, n = twin.spec, len(positions)
    paired = twin.paired(np.repeat(positions, N_SAMPLE))
    along = torch.linspace(0.2, 1.0, N_SAMPLE, device=first.device).view(-1, 1, 1, 1)
    noise = noise / noise.square().sum((2, 3, 4), keepdim=True).sqrt()
    points = norm * (along * first[:, None] + 0.5 * noise)
    _, gradient = value_and_gradient(
        lambda z: paired(z * spec.std + spec.mean), points.flatten(0, 1)
    )
    gradient = gradient.nan_to_num(0.0, 0.0, 0.0).view(
        n, N_SAMPLE, -1
    )  # one neuron's stay its own
    first = first.nan_to_num()
    gradient = gradient - gradient.mean(2, keepdim=True)
    axis = first.view(n, 1, -1)
    across = gradient - (gradient * axis).sum(2, keepdim=True) * axis
    _, size, vector = torch.linalg.svd(across, full_matrices=False)
    # Where nothing is left across the first axis, any direction across it is as good.
    second = vector[:, :1] - (vector[:, :1] * axis).sum(2, keepdim=True) * axis
    second = second / second.norm(dim=2, keepdim=True)
    share = size[:, 0].square() / gradient.square().sum((1, 2))
    return second.view(first.shape), share.cpu().numpy()


def rates_in_plane(
    twin: ConditionedTwin,
    positions: np.ndarray,
    axes: Tensor,
    angle: np.ndarray,
    distance: np.ndarray,
    batch_size: int,
    job: Job,
) -> np.ndarray:
    """Rates at polar coordinates (neuron, ...) in each neuron's plane."""
    spec = twin.spec
    place = torch.as_tensor(
        np.stack([distance * np.cos(angle), distance * np.sin(angle)], -1).reshape(-1, 2),
        dtype=torch.float32,
        device=axes.device,
    )
    neuron = np.repeat(np.arange(len(positions)), angle[0].size)

    def draw(part: slice) -> Tensor:
        z = torch.einsum("nk,nkcyx->ncyx", place[part], axes[neuron[part]])
        return z * spec.std + spec.mean

    rates = paired_rates(twin, positions[neuron], draw, batch_size, job)
    return rates.reshape(angle.shape).astype(np.float64)
