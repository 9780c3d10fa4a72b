"""Read a map at one point a neuron and weigh its channels: the inner loop of the readout.

The generic way (`torch.nn.functional.grid_sample`, then a sum) writes the sampled features of
every neuron and image to memory, (batch, channel, neuron), to use each number once. Here only
the four map points around each position are touched and nothing in between is stored. On
other devices than the CPU the generic way is taken.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

__all__ = ["FAST", "in_chunks", "sample_points", "weigh_points"]

# Sums may be reordered and fused, which lets them run on vector units; NaN and infinity keep
# their meaning, so a failing fit is seen.
FAST = {"contract", "reassoc", "arcp", "nsz"}


def weigh_points(maps: Tensor, position: Tensor, weight: Tensor) -> Tensor:
    """Weighted features of each neuron at its position in each image.

    Parameters
    ----------
    maps : Tensor of shape (batch, channel, y, x)
        Fastest where channels-last.
    position : Tensor of shape (batch, neuron, 2)
        (x, y), -1 and 1 at the centres of the outermost map points; outside is zero.
    weight : Tensor of shape (neuron, channel)

    Returns
    -------
    Tensor of shape (batch, neuron)

    """
    if maps.device.type != "cpu":
        # grid_sample wants (batch, neuron, 1, 2) and gives (batch, channel, neuron, 1)
        sampled = F.grid_sample(maps, position[:, :, None], align_corners=True)
        return torch.einsum("bcn,nc->bn", sampled[..., 0], weight)
    dtype = weight.dtype
    points = maps.permute(0, 2, 3, 1).to(dtype).contiguous()
    return _WeighPoints.apply(points, position.to(dtype).contiguous(), weight.contiguous())


def sample_points(maps: Tensor, position: Tensor) -> Tensor:
    """Features of image i at its own single position i, (batch, channel).

    Parameters
    ----------
    maps : Tensor of shape (batch, channel, y, x)
    position : Tensor of shape (batch, 2)
        As in `weigh_points`.

    """
    sampled = F.grid_sample(maps, position[:, None, None], align_corners=True)
    return sampled[:, :, 0, 0]


class _WeighPoints(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, position: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(points, position, weight)
        result = torch.empty(position.shape[:2], dtype=weight.dtype)
        arrays = [t.detach().numpy() for t in (points, position, weight, result)]
        in_chunks(_forward_kernel, len(points), *arrays)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        points, position, weight = ctx.saved_tensors
        wants_points, wants_position, wants_weight = ctx.needs_input_grad
        chunks = torch.get_num_threads()
        to_points = torch.zeros_like(points) if wants_points else points.new_zeros(0, 0, 0, 0)
        to_position = torch.zeros_like(position)
        # one copy a thread, added afterwards: neurons are shared by all images
        to_weight = weight.new_zeros(chunks, *weight.shape)
        arrays = [
            t.detach().numpy()
            for t in (points, position, weight, gradient.contiguous(), to_points, to_position)
        ]
        wants_rest = bool(wants_position or wants_weight)
        in_chunks(
            _backward_kernel,
            len(points),
            *arrays,
            to_weight.numpy(),
            bool(wants_points),
            wants_rest,
        )
        return (
            to_points if wants_points else None,
            to_position if wants_position else None,
            to_weight.sum(0) if wants_weight else None,
        )


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=max(torch.get_num_threads(), 1))


def in_chunks(kernel: Any, n_image: int, *arrays: Any) -> None:
    """Run a kernel that holds no lock over slices of the batch, one a thread.

    Plain threads, not numba's own: those must not be entered by two Python threads at once,
    which a job beside a live explorer would do.
    """
    bounds = np.linspace(0, n_image, torch.get_num_threads() + 1).astype(int)
    chunks = [
        (chunk, start, stop)
        for chunk, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True))
        if stop > start
    ]
    if len(chunks) == 1:
        kernel(*chunks[0], *arrays)
        return
    for done in [_pool().submit(kernel, *chunk, *arrays) for chunk in chunks]:
        done.result()


@numba.njit(nogil=True, cache=True, fastmath=FAST, inline="always")
def _corner(position: float, size: int) -> tuple[int, float]:  # pragma: no cover - compiled
    """Lower map index and the share of the upper one; far outside is moved to just outside."""
    place = (position + 1) * 0.5 * (size - 1)
    place = min(max(place, -2.0), size + 1.0)
    lower = int(np.floor(place))
    return lower, place - lower


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _forward_kernel(chunk, start, stop, points, position, weight, result):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    height, width, channel = points.shape[1:]
    for image in range(start, stop):
        for neuron in range(position.shape[1]):
            left, right_share = _corner(position[image, neuron, 0], width)
            top, bottom_share = _corner(position[image, neuron, 1], height)
            total = weight[neuron, 0] * 0
            for down in range(2):
                for right in range(2):
                    y, x = top + down, left + right
                    if y < 0 or y >= height or x < 0 or x >= width:
                        continue
                    share = (bottom_share if down else 1 - bottom_share) * (
                        right_share if right else 1 - right_share
                    )
                    value = weight[neuron, 0] * 0
                    for c in range(channel):
                        value += points[image, y, x, c] * weight[neuron, c]
                    total += share * value
            result[image, neuron] = total


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _backward_kernel(  # type: ignore[no-untyped-def] # noqa: ANN202
    chunk,  # noqa: ANN001
    start,  # noqa: ANN001
    stop,  # noqa: ANN001
    points,  # noqa: ANN001
    position,  # noqa: ANN001
    weight,  # noqa: ANN001
    gradient,  # noqa: ANN001
    to_points,  # noqa: ANN001
    to_position,  # noqa: ANN001
    to_weight,  # noqa: ANN001
    wants_points,  # noqa: ANN001
    wants_rest,  # noqa: ANN001
):
    height, width, channel = points.shape[1:]
    for image in range(start, stop):
        for neuron in range(position.shape[1]):
            given = gradient[image, neuron]
            if given == 0:
                continue
            left, right_share = _corner(position[image, neuron, 0], width)
            top, bottom_share = _corner(position[image, neuron, 1], height)
            to_x = given * 0
            to_y = given * 0
            for down in range(2):
                for right in range(2):
                    y, x = top + down, left + right
                    if y < 0 or y >= height or x < 0 or x >= width:
                        continue
                    share_y = bottom_share if down else 1 - bottom_share
                    share_x = right_share if right else 1 - right_share
                    scaled = given * share_y * share_x
                    if wants_points:
                        for c in range(channel):
                            to_points[image, y, x, c] += scaled * weight[neuron, c]
                    if wants_rest:
                        value = given * 0
                        for c in range(channel):
                            to_weight[chunk, neuron, c] += scaled * points[image, y, x, c]
                            value += points[image, y, x, c] * weight[neuron, c]
                        to_x += value * share_y * (1 if right else -1)
                        to_y += value * share_x * (1 if down else -1)
            to_position[image, neuron, 0] = given * to_x * (width - 1) * 0.5
            to_position[image, neuron, 1] = given * to_y * (height - 1) * 0.5
