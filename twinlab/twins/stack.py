"""The stacked core on a CPU: whole layers, image by image, in maps that never leave the cache.

Torch runs a layer as a dozen operations, each of which reads and writes the maps of the whole
batch; the memory, not the arithmetic, sets the pace. Here a layer is one pass: a row of the map
is normalised, bent and mixed, a few such rows are filtered, mixed again and written, and the
next norm's moments are taken on the way. The backward pass makes the inner maps anew instead of
keeping them, so that a step stores one map a layer (as bfloat16 where the core is lowered,
with products in bfloat16 and everything else in float32).

What is computed is what `StackedCore` computes otherwise, to rounding.
"""

# Compiled functions have no written types: numba infers them. Their calls stay in one line.
# ruff: noqa: ANN001, ANN201, ANN202, E501
# mypy: allow-untyped-defs

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from twinlab.twins.sampling import in_chunks
from twinlab.twins.vectors import (
    FAST,
    WIDTH,
    add,
    along_channel,
    along_pixel,
    correlate,
    decay,
    elu,
    filter_row,
    fma,
    load,
    multiply,
    slope,
    store,
    subtract,
    times,
)

__all__ = ["can_run", "infer", "layer_weights", "learn", "running_norm"]

GROUP = 8  # images a thread keeps maps of where nothing is learned: they fit a cache


def can_run(core: Any, image: Tensor) -> bool:
    """Whether the compiled way computes this: float32 on a CPU, whole vectors of channels.

    It gives gradients to weights in training mode, and none otherwise.
    """
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
    tensors = [image, *core.parameters()]
    learning = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    norms = [layer.norm for layer in core.features]
    return (
        len(image) > 0
        and core.out_channel % WIDTH == 0
        and kind in (torch.float32, torch.bfloat16)
        and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
        and (core.training or not learning)
        and not (learning and image.requires_grad)
        and all(
            isinstance(norm, nn.Identity)
            and not core.training
            or isinstance(norm, nn.BatchNorm2d)
            and norm.training == core.training
            and norm.affine
            and norm.track_running_stats
            and norm.momentum is not None
            for norm in norms
        )
    )


def learn(core: Any, image: Tensor) -> Tensor:
    """Map (batch, hidden, y, x) in training mode: norms by the batch, running moments moved."""
    parameters = []
    for number, layer in enumerate(core.features):
        parameters += layer_weights(layer, number)
        parameters += [layer.norm.weight, layer.norm.bias]
    return _Stack.apply(core, image, *parameters)


@torch.no_grad()
def infer(core: Any, image: Tensor) -> Tensor:
    """Map (batch, hidden, y, x) in evaluation mode, without a gradient; norms may be folded."""
    layers = list(core.features)
    kind = _operand_dtype()
    weights = [
        _operands(layer_weights(layer, number), kind) for number, layer in enumerate(layers)
    ]
    norms = [running_norm(layer, number) for number, layer in enumerate(layers)]
    shape = (*core.map_shape(*image.shape[2:]), core.out_channel)
    out = torch.empty(len(image), *shape)

    def through(chunk: int, start: int, stop: int) -> None:
        """Take some images through all layers, in one thread: threads meet once, not each layer."""
        parts = image[start:stop].split(GROUP), out[start:stop].split(GROUP)
        for images, result in zip(*parts, strict=True):
            maps, other = (torch.empty(len(images), *shape, dtype=_map_dtype(kind)) for _ in "ab")
            _run_first(images, weights[0][0], maps, core, threads=1)
            for number in range(1, len(layers)):
                _run_layer(maps, norms[number - 1], weights[number], other, core, threads=1)
                maps, other = other, maps
            _run_activation(maps, norms[-1], result, core.linear, threads=1)

    in_chunks(through, len(image))
    return out.permute(0, 3, 1, 2)


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, core: Any, image: Tensor, *parameters: Tensor) -> Tensor:
        ctx.core, ctx.kind = core, _operand_dtype()
        layers = list(core.features)
        height, width = core.map_shape(*image.shape[2:])
        shape = (len(image), height, width, core.out_channel)
        stored: list[Tensor] = []
        norms: list[Tensor] = []
        for number, layer in enumerate(layers):
            weights = _operands(layer_weights(layer, number), ctx.kind)
            maps = torch.empty(shape, dtype=_map_dtype(ctx.kind))
            if number == 0:
                moments = _run_first(image, weights[0], maps, core)
            else:
                moments = _run_layer(stored[-1], norms[-1], weights, maps, core)
            stored.append(maps)
            norms.append(_batch_norm(layer.norm, moments, height * width))
        out = torch.empty(shape)
        _run_activation(stored[-1], norms[-1], out, core.linear)
        ctx.save_for_backward(image, *parameters, *stored, *norms)
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        core, kind = ctx.core, ctx.kind
        n_layer = len(core.features)
        saved = list(ctx.saved_tensors)
        image, norms = saved[0], saved[-n_layer:]
        stored, parameters = saved[-2 * n_layer : -n_layer], saved[1 : -2 * n_layer]
        given = gradient.float().permute(0, 2, 3, 1).contiguous()
        own = torch.empty_like(stored[-1])  # gradient to the maps below, layer after layer
        sums = _run_sums(given, stored[-1], norms[-1], core.linear)
        found: list[Tensor] = []
        for number in range(n_layer - 1, -1, -1):
            weights = parameters[-2 - (1 if number == 0 else 3) : -2]
            parameters = parameters[: -2 - len(weights)]
            of_norm = sums.double().sum(0)  # (2, channel): to the shift and to the scale
            through = _through_norm(norms[number], of_norm, given.numel() // given.shape[3])
            to_norm = [of_norm[1].float(), of_norm[0].float()]
            if number == 0:
                to_weights = [
                    _run_first_back(image, stored[0], norms[0], through, given, weights[0], core)
                ]
            else:
                to_weights, sums = _run_layer_back(
                    stored[number - 1], norms[number - 1], stored[number], norms[number], through,
                    given, own, weights, core, kind,
                )  # fmt: skip
                given = own
            found = [*to_weights, *to_norm, *found]
        return (None, None, *found)


# Between torch and the kernels. A norm is a Tensor (4, channel): scale and shift that normalise
# and weigh, then scale and shift that only normalise. Weights of products are (in, out), as
# pairs of bfloat16 along `in` where lowered; depthwise weights are (y, x, channel).


def _operand_dtype() -> torch.dtype:
    return torch.uint32 if torch.is_autocast_enabled("cpu") else torch.float32


def _map_dtype(kind: torch.dtype) -> torch.dtype:
    return torch.bfloat16 if kind == torch.uint32 else torch.float32


def layer_weights(layer: Any, number: int) -> list[Tensor]:
    """Weights of a layer's convolutions: of one, or of mixing in, filtering and mixing out."""
    if number == 0:
        return [layer.conv.weight]
    conv = layer.ds_conv
    return [conv.in_depth_conv.weight, conv.spatial_conv.weight, conv.out_depth_conv.weight]


def _operands(weights: list[Tensor], kind: torch.dtype, turned: bool = False) -> list[Tensor]:
    """Weights of a layer as the kernels take them; `turned` for the gradient to its input."""
    if len(weights) == 1:
        return [weights[0].detach().permute(1, 2, 3, 0).flatten(0, 2).contiguous()]
    into, spatial, out = weights
    taps = spatial.detach()[:, 0].permute(1, 2, 0)
    taps = taps.flip(0, 1) if turned else taps
    return [_mixing(into, kind, turned), taps.contiguous(), _mixing(out, kind, turned)]


def _mixing(weight: Tensor, kind: torch.dtype, turned: bool) -> Tensor:
    matrix = weight.detach()[:, :, 0, 0]
    matrix = matrix if turned else matrix.T
    if kind == torch.float32:
        return matrix.contiguous()
    pairs = matrix.bfloat16().unflatten(0, (-1, 2)).permute(0, 2, 1)
    return pairs.contiguous().view(torch.uint32)[..., 0]


def running_norm(layer: Any, number: int) -> Tensor:
    """Norm of a layer in evaluation mode, by the running moments or folded into a bias."""
    norm = layer.norm
    if isinstance(norm, nn.Identity):
        conv = layer.conv if number == 0 else layer.ds_conv.out_depth_conv
        one, none = torch.ones_like(conv.bias), torch.zeros_like(conv.bias)
        return torch.stack([one, conv.bias, one, none])
    return _norm(norm, norm.running_mean, norm.running_var)


def _batch_norm(norm: Any, moments: Tensor, n_point: int) -> Tensor:
    """Norm by the moments (image, 2, channel) of a batch: means, sums of squared differences."""
    means, squares = moments.double().unbind(1)
    mean = means.mean(0)
    total = squares.sum(0) + n_point * (means - mean).square().sum(0)
    count = n_point * len(means)
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean.float(), norm.momentum)
    norm.running_var.lerp_((total / max(count - 1, 1)).float(), norm.momentum)
    return _norm(norm, mean, total / count)


def _norm(norm: Any, mean: Tensor, variance: Tensor) -> Tensor:
    mean = mean.double()
    inverse = (variance.double() + norm.eps).rsqrt()
    scale = norm.weight.detach() * inverse
    rows = [scale, norm.bias.detach() - mean * scale, inverse, -mean * inverse]
    return torch.stack(rows).float()


def _through_norm(norm: Tensor, sums: Tensor, count: int) -> Tensor:
    """Gradient to a norm's input x: scale * g + p * x + q; rows (p, q)."""
    scale, _, inverse, shift = norm.double()
    to_shift, to_scale = sums / count
    rows = [-scale * to_scale * inverse, -scale * (to_shift + shift * to_scale)]
    return torch.stack(rows).float()


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    """The same memory as arrays; bfloat16 as its bits."""
    return [(t.view(torch.uint16) if t.dtype == torch.bfloat16 else t).numpy() for t in tensors]


def _flat(*tensors: Tensor) -> list[np.ndarray]:
    return [array.reshape(-1) for array in _arrays(*tensors)]


def _room(*shape: int, kind: torch.dtype = torch.float32, threads: int | None = None) -> Tensor:
    """Memory for each thread to work in, zero."""
    return torch.zeros(threads or torch.get_num_threads(), *shape, dtype=kind)


def _pairs(
    count: int, width: int, channel: int, kind: torch.dtype, threads: int | None = None
) -> Tensor:
    """Room for rows as pairs of bfloat16; empty where operands stay as they are."""
    size = (width + 1) // 2 * channel if kind == torch.uint32 else 0
    return _room(count, size, kind=kind, threads=threads)


def _run_first(
    image: Tensor, weight: Tensor, maps: Tensor, core: Any, threads: int | None = None
) -> Tensor:
    moments = torch.empty(len(image), 2, maps.shape[3])
    width, channel = maps.shape[2:]
    room = [_room(size * width, threads=threads) for size in (len(weight), channel)]
    in_chunks(
        _first, len(image), tuple(maps.shape[1:]), image.detach().contiguous().numpy(),
        *_flat(weight, maps, moments), *_arrays(*room), core.input_kernel, threads=threads,
    )  # fmt: skip
    return moments


def _run_first_back(
    image: Tensor, maps: Tensor, norm: Tensor, through: Tensor, given: Tensor, weight: Tensor,
    core: Any,
) -> Tensor:  # fmt: skip
    width, channel = maps.shape[2:]
    size = weight[0].numel()
    room = _room(size * width), _room(width * channel)
    to_weight = _room(size * channel)
    in_chunks(
        _first_back, len(image), tuple(maps.shape[1:]), image.detach().contiguous().numpy(),
        *_flat(maps, norm, through, given), *_arrays(to_weight, *room), core.input_kernel,
        core.linear,
    )  # fmt: skip
    return to_weight.sum(0).unflatten(0, (size, channel)).T.reshape(weight.shape)


def _run_layer(
    below: Tensor, norm: Tensor, weights: list[Tensor], maps: Tensor, core: Any,
    threads: int | None = None,
) -> Tensor:  # fmt: skip
    height, width, channel = maps.shape[1:]
    margin = core.hidden_kernel - 1
    moments = torch.empty(len(maps), 2, channel)
    room = (
        _room((height + margin) * (width + margin) * channel, threads=threads),
        _room(2, width * channel, threads=threads),
        _pairs(1, width, channel, weights[0].dtype, threads)[:, 0],
    )
    in_chunks(
        _layer_kernels(core.hidden_kernel, core.linear)[0], len(maps), (height, width, channel),
        *_flat(below, norm, *weights, maps, moments), *_arrays(*room), threads=threads,
    )  # fmt: skip
    return moments


def _run_layer_back(
    below: Tensor, norm_below: Tensor, maps: Tensor, norm: Tensor, through: Tensor,
    given: Tensor, own: Tensor, weights: list[Tensor], core: Any, kind: torch.dtype,
) -> tuple[list[Tensor], Tensor]:  # fmt: skip
    height, width, channel = maps.shape[1:]
    kernel = core.hidden_kernel
    padded = (height + kernel - 1) * (width + kernel - 1) * channel
    into, taps, _ = _operands(weights, kind)
    found = [_room(size * channel) for size in (channel, kernel**2, channel)]
    sums = torch.empty(len(maps), 2, channel)
    room = (
        _room(2, padded),
        _room(4 + kernel, width * channel),
        _pairs(2, width, channel, kind),
    )
    in_chunks(
        _layer_kernels(kernel, core.linear)[1], len(maps), (height, width, channel),
        *_flat(below, norm_below, maps, norm, through, given, own, sums, into, taps),
        *_flat(*_operands(weights, kind, turned=True)), *_arrays(*found, *room),
    )  # fmt: skip
    # from (in, out) and (y, x, channel), summed over threads
    learned = [value.sum(0).unflatten(0, (-1, channel)).T for value in found]
    return [
        value.reshape(weight.shape) for value, weight in zip(learned, weights, strict=True)
    ], sums


def _run_activation(
    maps: Tensor, norm: Tensor, out: Tensor, linear: bool, threads: int | None = None
) -> None:
    shape, arrays = tuple(maps.shape[1:]), _flat(maps, norm, out)
    in_chunks(_activation, len(maps), shape, *arrays, linear, threads=threads)


def _run_sums(given: Tensor, maps: Tensor, norm: Tensor, linear: bool) -> Tensor:
    sums = torch.empty(len(maps), 2, maps.shape[3])
    arrays = _flat(given, maps, norm, sums)
    in_chunks(_sums, len(maps), tuple(maps.shape[1:]), *arrays, linear)
    return sums


# fmt: off
# Steps on one row of a map, (point, channel) in a flat array.


@numba.njit(nogil=True)
def _activate(maps, at, norm, out, out_at, points, channels, linear):
    """Normalise, and bend below zero."""
    for channel in range(0, channels, WIDTH):
        scale, shift = load(norm, channel), load(norm, channels + channel)
        for place in range(channel, points * channels, channels):
            value = fma(load(maps, at + place), scale, shift)
            store(out, out_at + place, value if linear else elu(value))


@numba.njit(nogil=True)
def _through(maps, given, at, norm, through, out, points, channels, linear):
    """Gradient to a layer's sums from the gradient to what they are normalised and bent to."""
    for channel in range(0, channels, WIDTH):
        scale, shift = load(norm, channel), load(norm, channels + channel)
        slope, offset = load(through, channel), load(through, channels + channel)
        for place in range(channel, points * channels, channels):
            value = load(maps, at + place)
            gradient = load(given, at + place)
            if not linear:
                gradient = times(gradient, decay(fma(value, scale, shift)))
            store(out, place, fma(gradient, scale, fma(value, slope, offset)))


@numba.njit(nogil=True)
def _collect(maps, given, at, given_at, active, norm, sums, sums_at, points, channels, linear):
    """Add a row's part of the gradient to a norm's shift and scale."""
    for channel in range(0, channels, WIDTH):
        unit, centre = load(norm, 2 * channels + channel), load(norm, 3 * channels + channel)
        to_shift = load(sums, sums_at + channel)
        to_scale = load(sums, sums_at + channels + channel)
        for place in range(channel, points * channels, channels):
            gradient = load(given, given_at + place)
            if not linear:
                gradient = times(gradient, slope(load(active, place)))
            to_shift = add(to_shift, gradient)
            to_scale = fma(gradient, fma(load(maps, at + place), unit, centre), to_scale)
        store(sums, sums_at + channel, to_shift)
        store(sums, sums_at + channels + channel, to_scale)


@numba.njit(nogil=True)
def _write_row(row, out, at, first, moments, moments_at, points, channels):
    """Copy a row out, and add to the sums of differences from the image's first point."""
    for channel in range(0, channels, WIDTH):
        pivot = load(first, channel)
        total = load(moments, moments_at + channel)
        squares = load(moments, moments_at + channels + channel)
        for place in range(channel, points * channels, channels):
            value = load(row, place)
            store(out, at + place, value)
            difference = subtract(value, pivot)
            total = add(total, difference)
            squares = fma(difference, difference, squares)
        store(moments, moments_at + channel, total)
        store(moments, moments_at + channels + channel, squares)


@numba.njit(nogil=True, fastmath=FAST)
def _finish_moments(first, moments, at, points):
    """Sums of differences, and of their squares -> mean, and squared differences from it."""
    for channel in range(len(first)):
        total = moments[at + channel]
        moments[at + channel] = first[channel] + total / points
        moments[at + len(first) + channel] -= total * total / points


# Whole layers, for the images from `start` to `stop`.


@numba.njit(nogil=True, cache=True)
def _activation(chunk, start, stop, shape, maps, norm, out, linear):
    height, width, channels = shape
    points = height * width
    for image in range(start, stop):
        at = image * points * channels
        _activate(maps, at, norm, out, at, points, channels, linear)


@numba.njit(nogil=True, cache=True)
def _sums(chunk, start, stop, shape, given, maps, norm, sums, linear):
    """Gradients to the last norm; those to the others are collected on the way down."""
    height, width, channels = shape
    row = np.empty(width * channels, np.float32)
    sums[start * 2 * channels : stop * 2 * channels] = 0
    for number in range(start * height, stop * height):
        at = number * width * channels
        _activate(maps, at, norm, row, 0, width, channels, linear)
        _collect(maps, given, at, at, row, norm, sums, number // height * 2 * channels, width, channels, linear)


@numba.njit(nogil=True)
def _unfold(image, number, y, kernel, patches, width):
    """What the points of one row see: (pixel of the kernel, point)."""
    at = 0
    for channel in range(image.shape[1]):
        for down in range(kernel):
            for right in range(kernel):
                line = image[number, channel, y + down]
                for x in range(width):
                    patches[at + x] = line[right + x]
                at += width


@numba.njit(nogil=True, cache=True)
def _first(chunk, start, stop, shape, image, weight, maps, moments, patches, row, kernel):
    height, width, channels = shape
    patches, row, first = patches[chunk], row[chunk], np.empty(channels, np.float32)
    size = len(weight) // channels
    moments[start * 2 * channels : stop * 2 * channels] = 0
    for number in range(start, stop):
        for y in range(height):
            _unfold(image, number, y, kernel, patches, width)
            multiply(0, patches, 0, 1, width, weight, 0, channels, row, 0, channels, width, channels, size)
            if y == 0:
                first[:] = row[:channels]
            at = (number * height + y) * width * channels
            _write_row(row, maps, at, first, moments, number * 2 * channels, width, channels)
        _finish_moments(first, moments, number * 2 * channels, height * width)


@numba.njit(nogil=True, cache=True)
def _first_back(chunk, start, stop, shape, image, maps, norm, through, given, to_weight, patches, row, kernel, linear):
    height, width, channels = shape
    patches, row, to_weight = patches[chunk], row[chunk], to_weight[chunk]
    size = len(to_weight) // channels
    for number in range(start, stop):
        for y in range(height):
            at = (number * height + y) * width * channels
            _unfold(image, number, y, kernel, patches, width)
            _through(maps, given, at, norm, through, row, width, channels, linear)
            multiply(1, patches, 0, width, 1, row, 0, channels, to_weight, 0, channels, size, channels, width)


@cache
def _layer_kernels(kernel: int, linear: bool) -> tuple[Any, Any]:
    """Forward and backward pass of a depth-separable layer, for one size of kernel."""
    padding = kernel // 2

    @numba.njit(nogil=True, cache=True)
    def forward(chunk, start, stop, shape, below, norm, into, taps, out, maps, moments, padded, rows, pairs):
        height, width, channels = shape
        padded, pairs = padded[chunk], pairs[chunk]
        row, mixed = rows[chunk, 0], rows[chunk, 1]
        first = np.empty(channels, np.float32)
        line = (width + 2 * padding) * channels
        moments[start * 2 * channels : stop * 2 * channels] = 0
        for image in range(start, stop):
            for step in range(height + padding):
                if step < height:
                    at = (image * height + step) * width * channels
                    inside = (step + padding) * line + padding * channels
                    _activate(below, at, norm, row, 0, width, channels, linear)
                    _mix(row, into, padded, inside, width, channels, pairs)
                y = step - padding
                if y >= 0:
                    filter_row(kernel, padded, y * line, line, taps, row, 0, width, channels)
                    _mix(row, out, mixed, 0, width, channels, pairs)
                    if y == 0:
                        first[:] = mixed[:channels]
                    at = (image * height + y) * width * channels
                    _write_row(mixed, maps, at, first, moments, image * 2 * channels, width, channels)
            _finish_moments(first, moments, image * 2 * channels, height * width)

    @numba.njit(nogil=True, cache=True)
    def backward(chunk, start, stop, shape, below, norm_below, maps, norm, through, given, own, sums, into, taps, into_turned, taps_turned, out_turned, to_into, to_taps, to_out, padded, rows, pairs):
        height, width, channels = shape
        mixed, gradient = padded[chunk, 0], padded[chunk, 1]
        filtered, to_mixed, to_filtered, to_active = rows[chunk, :4]
        actives = rows[chunk, 4:]  # as many rows as are looked back
        pairs, more = pairs[chunk]
        line = (width + 2 * padding) * channels
        sums[start * 2 * channels : stop * 2 * channels] = 0
        for image in range(start, stop):
            # The inner maps are made again a few rows ahead of where they are used.
            for step in range(height + 2 * padding):
                if step < height:
                    at = (image * height + step) * width * channels
                    inside = (step + padding) * line + padding * channels
                    active = actives[step % len(actives)]
                    _activate(below, at, norm_below, active, 0, width, channels, linear)
                    _mix(active, into, mixed, inside, width, channels, pairs)
                y = step - padding
                if 0 <= y < height:
                    at = (image * height + y) * width * channels
                    inside = (y + padding) * line + padding * channels
                    filter_row(kernel, mixed, y * line, line, taps, filtered, 0, width, channels)
                    _through(maps, given, at, norm, through, to_filtered, width, channels, linear)
                    _learn_mix(filtered, to_filtered, to_out[chunk], width, channels, pairs, more)
                    _mix(to_filtered, out_turned, gradient, inside, width, channels, pairs)
                    correlate(kernel, mixed, y * line, line, gradient, inside, to_taps[chunk], width, channels)
                y = step - 2 * padding
                if y >= 0:
                    at = (image * height + y) * width * channels
                    filter_row(kernel, gradient, y * line, line, taps_turned, to_mixed, 0, width, channels)
                    active = actives[y % len(actives)]
                    _learn_mix(active, to_mixed, to_into[chunk], width, channels, pairs, more)
                    _mix(to_mixed, into_turned, to_active, 0, width, channels, pairs)
                    _collect(below, to_active, at, 0, active, norm_below, sums, image * 2 * channels, width, channels, linear)
                    for place in range(0, width * channels, WIDTH):
                        store(own, at + place, load(to_active, place))

    return forward, backward


@numba.njit(nogil=True)
def _mix(row, weight, out, out_at, points, channels, pairs):
    """Pointwise convolution of a row."""
    left = along_channel(row, points, channels, pairs)
    steps = len(weight) // channels
    multiply(0, left, 0, steps, 1, weight, 0, channels, out, out_at, channels, points, channels, steps)


@numba.njit(nogil=True)
def _learn_mix(row, gradient, to_weight, points, channels, pairs, more):
    """Add a row's part of the gradient to the weights (in, out) of a pointwise convolution."""
    left = along_pixel(row, points, channels, pairs)
    right = along_pixel(gradient, points, channels, more)
    steps = points if len(pairs) == 0 else (points + 1) // 2
    multiply(1, left, 0, 1, channels, right, 0, channels, to_weight, 0, channels, channels, channels, steps)
