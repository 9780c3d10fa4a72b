"""The stacked core in one window an image, compiled: a drive and its gradient in one visit.

All maps of a window fit a processor's cache. An image is taken through all layers and, where a
gradient is wanted, back again, before the next one is looked at; nothing but the drives and the
gradients to the images is ever written to memory. What is computed is what `cropping` computes
otherwise, to rounding.
"""

# Compiled functions have no written types: numba infers them. Their calls stay in one line.
# ruff: noqa: ANN001, ANN202, E501
# mypy: allow-untyped-defs

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from twinlab.twins import stack
from twinlab.twins.sampling import in_chunks
from twinlab.twins.vectors import (
    FAST,
    WIDTH,
    elu,
    filter_row,
    fma,
    load,
    multiply,
    slope,
    store,
    times,
    zero,
)

__all__ = ["can_run", "drive_at"]


def can_run(core: Any, image: Tensor, *others: Tensor) -> bool:
    """Whether the compiled way computes this: it gives gradients to the image alone."""
    tensors = [*others, *core.parameters()]
    return (
        not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
        and not torch.is_autocast_enabled("cpu")
        and not core.training
        and stack.can_run(core, image.detach())
    )


def drive_at(core: Any, image: Tensor, corner: Tensor, share: Tensor, weight: Tensor) -> Tensor:
    """Weighted features (batch,) between the middle points of windows; see `cropping.drive_at`."""
    drive: Tensor = _Drive.apply(core, image, corner, share, weight)
    return drive


class _Drive(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, core: Any, image: Tensor, corner: Tensor, share: Tensor, weight: Tensor
    ) -> Tensor:
        # a drive's gradient is one number times what is found here, whatever becomes of it
        wanted = ctx.needs_input_grad[1]
        drive = torch.empty(len(image))
        gradient = torch.zeros(image.shape if wanted else (0, 0, 0, 0))
        size = core.map_shape(*image.shape[2:])
        kernel = _kernel(core.hidden_kernel, core.linear)
        given = [image, corner, share, weight]
        arrays = [t.detach().contiguous().numpy() for t in [*given, *_operands(core)]]
        shape = (*size, core.input_kernel, core.reach[0])
        in_chunks(kernel, len(image), shape, *arrays, drive.numpy(), gradient.numpy(), wanted)
        ctx.save_for_backward(gradient)
        return drive

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            msg = (
                "A neuron's own window gives first derivatives; for second ones ask the twin by "
                "`neurons`, not `paired`."
            )
            raise RuntimeError(msg)
        (gradient,) = ctx.saved_tensors
        return None, gradient * given.view(-1, 1, 1, 1), None, None, None


def _operands(core: Any) -> list[Tensor]:
    """Weights and norms of the core as the kernel takes them, layers first.

    Weights of products are (in, out); `turned` ones lead back.
    """
    layers = list(core.features)
    filters = layers[0].conv.weight.detach().flatten(1)  # (hidden, pixel)
    norms = torch.stack(
        [stack.running_norm(layer, number)[:2] for number, layer in enumerate(layers)]
    )
    inner = [
        [weight.detach() for weight in stack.layer_weights(layer, number)]
        for number, layer in enumerate(layers)
        if number
    ]
    hidden, kernel = core.out_channel, core.hidden_kernel
    if not inner:
        nothing = filters.new_zeros(0, hidden, hidden, 1, 1)
        parts = [nothing, filters.new_zeros(0, hidden, 1, kernel, kernel), nothing]
    else:
        parts = [torch.stack(column) for column in zip(*inner, strict=True)]
    into, taps, out = (
        parts[0][..., 0, 0],
        parts[1][:, :, 0].permute(0, 2, 3, 1),
        parts[2][..., 0, 0],
    )
    turned = F.pad(filters, (0, -filters.shape[1] % WIDTH))
    return [
        filters.T, turned, norms,
        into.mT, taps, out.mT, into, taps.flip(1, 2), out,
    ]  # fmt: skip


# fmt: off
@numba.njit(nogil=True)
def _bend(maps, norm, points, channels, linear):
    """Normalise and bend in place."""
    for channel in range(0, channels, WIDTH):
        scale, shift = load(norm, channel), load(norm, channels + channel)
        for place in range(channel, points * channels, channels):
            value = fma(load(maps, place), scale, shift)
            store(maps, place, value if linear else elu(value))


@numba.njit(nogil=True)
def _unbend(gradient, active, norm, points, channels, linear):
    """Gradient to the sums that were normalised and bent, in place."""
    for channel in range(0, channels, WIDTH):
        scale = load(norm, channel)
        for place in range(channel, points * channels, channels):
            value = times(load(gradient, place), scale)
            store(gradient, place, value if linear else times(value, slope(load(active, place))))


@numba.njit(nogil=True)
def _clear(maps, side, channels, rows, columns):
    """Nothing where there is no point of the map: outside `rows` and `columns` (from, to)."""
    for y in range(side):
        for x in range(side):
            if y < rows[0] or y >= rows[1] or x < columns[0] or x >= columns[1]:
                at = (y * side + x) * channels
                for channel in range(0, channels, WIDTH):
                    store(maps, at + channel, zero())


@numba.njit(nogil=True)
def _existing(corner, side, size):
    """First point of a window that the map has, and the first after it that it has not."""
    return max(0, -corner), min(side, size - corner)


@numba.njit(nogil=True, fastmath=FAST)
def _unfold(window, y, kernel, patches, width):
    """What the points of one row see: (pixel of the kernel, point)."""
    at = 0
    for channel in range(window.shape[0]):
        for down in range(kernel):
            for right in range(kernel):
                line = window[channel, y + down]
                for x in range(width):
                    patches[at + x] = line[right + x]
                at += width


@numba.njit(nogil=True, fastmath=FAST)
def _fold(patches, y, kernel, window, width, stride):
    """Add what the points of one row give to the pixels they see, (point, pixel)."""
    for channel in range(window.shape[0]):
        for down in range(kernel):
            line = window[channel, y + down]
            at = (channel * kernel + down) * kernel
            for x in range(width):
                for right in range(kernel):
                    line[x + right] += patches[x * stride + at + right]


@cache
def _kernel(kernel, linear):
    """Drives, and gradients to the images, for one size of the inner kernels."""

    @numba.njit(nogil=True, cache=True)
    def drives(chunk, start, stop, shape, image, corner, share, weight, first, first_turned, norms, into, taps, out, into_turned, taps_turned, out_turned, drive, gradient, wanted):
        height, width, first_kernel, inner = shape
        n_layer, channels = len(norms), norms.shape[2]
        step = kernel // 2
        side = 2 + 2 * inner
        pixels = side + first_kernel - 1
        n_seen, stride = first.shape[0], first_turned.shape[1]
        norms = norms.reshape(n_layer, -1)
        window = np.empty((image.shape[1], pixels, pixels), np.float32)
        to_window = np.empty_like(window)
        patches = np.empty(side * max(n_seen, stride), np.float32)
        active = np.empty((n_layer, side * side * channels), np.float32)
        mixed, filtered = np.empty((2, side * side * channels), np.float32)
        padded = np.empty((side + kernel) * (side + kernel) * channels, np.float32)
        for number in range(start, stop):
            left, top = corner[number]
            window[:] = 0
            rows, columns = _existing(top, pixels, image.shape[2]), _existing(left, pixels, image.shape[3])
            for channel in range(image.shape[1]):
                for y in range(rows[0], rows[1]):
                    for x in range(columns[0], columns[1]):
                        window[channel, y, x] = image[number, channel, top + y, left + x]
            # there
            maps = active[0]
            for y in range(side):
                _unfold(window, y, first_kernel, patches, side)
                multiply(0, patches, 0, 1, side, first.reshape(-1), 0, channels, maps, y * side * channels, channels, side, channels, n_seen)
            wide = side
            for layer in range(n_layer):
                if layer:
                    multiply(0, active[layer - 1], 0, channels, 1, into[layer - 1].reshape(-1), 0, channels, mixed, 0, channels, wide * wide, channels, channels)
                    line = wide * channels
                    wide -= 2 * step
                    for y in range(wide):
                        filter_row(kernel, mixed, y * line, line, taps[layer - 1].reshape(-1), filtered, y * wide * channels, wide, channels)
                    maps = active[layer]
                    multiply(0, filtered, 0, channels, 1, out[layer - 1].reshape(-1), 0, channels, maps, 0, channels, wide * wide, channels, channels)
                _bend(maps, norms[layer], wide * wide, channels, linear)
                rows, columns = _existing(top + layer * step, wide, height), _existing(left + layer * step, wide, width)
                _clear(maps, wide, channels, rows, columns)
            maps = active[n_layer - 1]
            across, down = share[number]
            found = 0.0
            for point in range(4):
                part = (down if point >= 2 else 1 - down) * (across if point % 2 else 1 - across)
                exists = rows[0] <= point // 2 < rows[1] and columns[0] <= point % 2 < columns[1]
                part = np.float32(part if exists else 0.0)
                for channel in range(channels):
                    found += part * weight[number, channel] * maps[point * channels + channel]
                    mixed[point * channels + channel] = part * weight[number, channel]
            drive[number] = found
            if not wanted:
                continue
            # and back
            to_window[:] = 0
            for layer in range(n_layer - 1, -1, -1):
                _unbend(mixed, active[layer], norms[layer], wide * wide, channels, linear)
                if layer == 0:
                    break
                below = wide + 2 * step
                line = (below + 2 * step) * channels
                for place in range(0, line * (below + 2 * step), WIDTH):
                    store(padded, place, zero())
                for y in range(wide):
                    inside = (y + 2 * step) * line + 2 * step * channels
                    multiply(0, mixed, y * wide * channels, channels, 1, out_turned[layer - 1].reshape(-1), 0, channels, padded, inside, channels, wide, channels, channels)
                for y in range(below):
                    filter_row(kernel, padded, y * line, line, taps_turned[layer - 1].reshape(-1), filtered, y * below * channels, below, channels)
                wide = below
                multiply(0, filtered, 0, channels, 1, into_turned[layer - 1].reshape(-1), 0, channels, mixed, 0, channels, wide * wide, channels, channels)
                rows, columns = _existing(top + (layer - 1) * step, wide, height), _existing(left + (layer - 1) * step, wide, width)
                _clear(mixed, wide, channels, rows, columns)
            for y in range(side):
                multiply(0, mixed, y * side * channels, channels, 1, first_turned.reshape(-1), 0, stride, patches, 0, stride, side, stride, channels)
                _fold(patches, y, first_kernel, to_window, side, stride)
            rows, columns = _existing(top, pixels, image.shape[2]), _existing(left, pixels, image.shape[3])
            for channel in range(image.shape[1]):
                for y in range(rows[0], rows[1]):
                    for x in range(columns[0], columns[1]):
                        gradient[number, channel, top + y, left + x] = to_window[channel, y, x]

    return drives
# fmt: on
