"""Read a map at one point a neuron and weigh its channels: the inner loop of the readout.

The generic way (`torch.nn.functional.grid_sample`, then a sum) writes the sampled features of
every neuron and image to memory, (batch, channel, neuron), to use each number once. Here only
the four map points around each position are touched and nothing in between is stored. On
other devices than the CPU the generic way is taken.
"""

# Compiled functions have no written types: numba infers them. Their calls stay in one line.
# ruff: noqa: ANN001, ANN202, E501
# mypy: allow-untyped-defs

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

from twinlab.twins.vectors import FAST, WIDTH, fma, load, spread, store, times, total, zero

__all__ = ["FAST", "in_chunks", "sample_points", "weigh_points"]


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
    if maps.device.type != "cpu" or weight.dtype != torch.float32:
        # grid_sample wants (batch, neuron, 1, 2) and gives (batch, channel, neuron, 1)
        sampled = F.grid_sample(maps, position[:, :, None], align_corners=True)
        return torch.einsum("bcn,nc->bn", sampled[..., 0], weight)
    points = maps.permute(0, 2, 3, 1).to(weight.dtype).contiguous()
    missing = -points.shape[3] % WIDTH  # zeros fill up the last vector of channels
    if missing:
        points, weight = F.pad(points, (0, missing)), F.pad(weight, (0, missing))
    return _WeighPoints.apply(points, position.to(weight.dtype).contiguous(), weight.contiguous())


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
        to_points = torch.empty_like(points) if wants_points else points.new_empty(0, 0, 0, 0)
        to_position = torch.empty_like(position)
        # one copy a thread, added afterwards: neurons are shared by all images
        to_weight = weight.new_zeros(chunks, *weight.shape)
        arrays = [
            t.detach().numpy()
            for t in (points, position, weight, gradient.contiguous(), to_points, to_position)
        ]
        in_chunks(_backward_kernel, len(points), *arrays, to_weight.numpy(), bool(wants_points))
        return (
            to_points if wants_points else None,
            to_position if wants_position else None,
            to_weight.sum(0) if wants_weight else None,
        )


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=max(torch.get_num_threads(), 1))


def in_chunks(kernel: Any, n_image: int, *arrays: Any, threads: int | None = None) -> None:
    """Run a kernel that holds no lock over slices of the batch, one a thread.

    With one thread it runs where it was called; all of torch's are used where none are named.

    Plain threads, not numba's own: those must not be entered by two Python threads at once,
    which a job beside a live explorer would do.
    """
    bounds = np.linspace(0, n_image, (threads or torch.get_num_threads()) + 1).astype(int)
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


@numba.njit(nogil=True, inline="always")
def _axis(position, size):
    """Two neighbouring points around a position, their shares, and which of them exist (1, 0).

    A point that does not exist is moved to one that does, where its share of 0 does no harm.
    """
    place = (position + np.float32(1)) * np.float32(0.5) * np.float32(size - 1)
    # far outside, where all is zero, is as good as just outside
    place = min(max(place, np.float32(-2)), np.float32(size + 1))
    lower = int(np.floor(place))
    upper_share = place - np.float32(lower)
    first = np.float32(0 <= lower < size)
    second = np.float32(0 <= lower + 1 < size)
    near = min(max(lower, 0), size - 1)
    far = min(max(lower + 1, 0), size - 1)
    return near, far, first * (np.float32(1) - upper_share), second * upper_share, first, second


# fmt: off
@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _forward_kernel(chunk, start, stop, points, position, weight, result):
    height, width, channels = points.shape[1:]
    source, weights = points.reshape(-1), weight.reshape(-1)
    for image in range(start, stop):
        base = image * height * width
        for neuron in range(position.shape[1]):
            left, right, at_left, at_right, _, _ = _axis(position[image, neuron, 0], width)
            top, bottom, at_top, at_bottom, _, _ = _axis(position[image, neuron, 1], height)
            a, b = (base + top * width + left) * channels, (base + top * width + right) * channels
            c = (base + bottom * width + left) * channels
            d = (base + bottom * width + right) * channels
            in_a, in_b = spread(at_top * at_left), spread(at_top * at_right)
            in_c, in_d = spread(at_bottom * at_left), spread(at_bottom * at_right)
            found = zero()
            for channel in range(0, channels, WIDTH):
                value = times(in_a, load(source, a + channel))
                value = fma(in_b, load(source, b + channel), value)
                value = fma(in_c, load(source, c + channel), value)
                value = fma(in_d, load(source, d + channel), value)
                found = fma(value, load(weights, neuron * channels + channel), found)
            result[image, neuron] = total(found)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _backward_kernel(chunk, start, stop, points, position, weight, gradient, to_points, to_position, to_weight, wants_points):
    height, width, channels = points.shape[1:]
    source, weights, into = points.reshape(-1), weight.reshape(-1), to_points.reshape(-1)
    learned = to_weight[chunk].reshape(-1)
    half_x, half_y = np.float32(0.5 * (width - 1)), np.float32(0.5 * (height - 1))
    for image in range(start, stop):
        base = image * height * width
        if wants_points:
            to_points[image] = 0
        for neuron in range(position.shape[1]):
            given = gradient[image, neuron]
            left, right, at_left, at_right, has_left, has_right = _axis(
                position[image, neuron, 0], width
            )
            top, bottom, at_top, at_bottom, has_top, has_bottom = _axis(
                position[image, neuron, 1], height
            )
            a, b = (base + top * width + left) * channels, (base + top * width + right) * channels
            c = (base + bottom * width + left) * channels
            d = (base + bottom * width + right) * channels
            in_a, in_b = spread(given * at_top * at_left), spread(given * at_top * at_right)
            in_c = spread(given * at_bottom * at_left)
            in_d = spread(given * at_bottom * at_right)
            of_a, of_b, of_c, of_d = zero(), zero(), zero(), zero()
            for channel in range(0, channels, WIDTH):
                own = neuron * channels + channel
                factor, value = load(weights, own), load(learned, own)
                point = load(source, a + channel)
                of_a, value = fma(point, factor, of_a), fma(point, in_a, value)
                point = load(source, b + channel)
                of_b, value = fma(point, factor, of_b), fma(point, in_b, value)
                point = load(source, c + channel)
                of_c, value = fma(point, factor, of_c), fma(point, in_c, value)
                point = load(source, d + channel)
                of_d, value = fma(point, factor, of_d), fma(point, in_d, value)
                store(learned, own, value)
                if wants_points:
                    store(into, a + channel, fma(factor, in_a, load(into, a + channel)))
                    store(into, b + channel, fma(factor, in_b, load(into, b + channel)))
                    store(into, c + channel, fma(factor, in_c, load(into, c + channel)))
                    store(into, d + channel, fma(factor, in_d, load(into, d + channel)))
            # of two neighbours, the upper one's value rises with the position, the other's falls
            along_x = times(spread(at_top * has_right), of_b)
            along_x = fma(spread(-at_top * has_left), of_a, along_x)
            along_x = fma(spread(at_bottom * has_right), of_d, along_x)
            along_x = fma(spread(-at_bottom * has_left), of_c, along_x)
            along_y = times(spread(at_left * has_bottom), of_c)
            along_y = fma(spread(-at_left * has_top), of_a, along_y)
            along_y = fma(spread(at_right * has_bottom), of_d, along_y)
            along_y = fma(spread(-at_right * has_top), of_b, along_y)
            to_position[image, neuron, 0] = given * total(along_x) * half_x
            to_position[image, neuron, 1] = given * total(along_y) * half_y
