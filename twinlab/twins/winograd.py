"""Convolutions with five-tap kernels in fewer multiplications, for a CPU in single precision.

Four neighbouring outputs of a five-tap filter take 20 products of weights and inputs; Winograd's
(Toom and Cook's) way takes 8, of transformed weights and transformed inputs, and in two dimensions
64 instead of 400. The transforms cost time as well, but that grows with the number of channels
while the products grow with its square. Everything is done in pieces that stay in the cache, and
the transformed inputs are made again for the gradients rather than kept. The result differs from
the direct convolution's by rounding alone: some 1e-6 of its largest value.

References
----------
Lavin & Gray (2016), CVPR: Fast algorithms for convolutional neural networks.

"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from twinlab.twins.sampling import FAST, in_chunks

__all__ = ["LANES", "TAPS", "spatial_convolution", "temporal_convolution"]

TAPS = 5
STEP = 4  # outputs of a tile
POINTS = (
    8  # products of a tile: polynomials are multiplied at 0, 1, -1, 2, -2, 1/2, -1/2, infinity
)
LANES = 16  # channels transformed together; numbers of channels must be multiples of it
PIECE = 2**22  # bytes of transformed input made at a time: it and the output stay in the cache

# Powers of the points; the scale of each point was moved here from the transform of the input,
# which then has small binary fractions only.
_OF_WEIGHT = torch.tensor(
    [
        [scale * x**power for power in range(TAPS)]
        for x, scale in (
            (0, 1),
            (1, -2 / 9),
            (-1, -2 / 9),
            (2, 1 / 90),
            (-2, 1 / 90),
            (0.5, 32 / 45),
            (-0.5, 32 / 45),
        )
    ]
    + [[0.0] * (TAPS - 1) + [1.0]]
)

# Of float32, because numba would compute in double precision with a plain literal.
_8TH, _4TH, _HALF, _2, _4, _5, _8 = (np.float32(v) for v in (0.125, 0.25, 0.5, 2, 4, 5, 8))
_5_4, _5_2, _17_4, _21_4 = (np.float32(v) for v in (1.25, 2.5, 4.25, 5.25))


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def _input_to_points(b, at, step, to, to_step):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Transform eight inputs, rows `at`, `at + step`, ... of the buffer, to eight points."""
    for i in range(LANES):
        d0, d1, d2, d3 = b[at, i], b[at + step, i], b[at + 2 * step, i], b[at + 3 * step, i]
        d4, d5 = b[at + 4 * step, i], b[at + 5 * step, i]
        d6, d7 = b[at + 6 * step, i], b[at + 7 * step, i]
        b[to, i] = d0 - d6 + _21_4 * (d4 - d2)
        even, odd = d2 + d6 - _17_4 * d4, d1 + d5 - _17_4 * d3
        b[to + to_step, i] = even + odd
        b[to + 2 * to_step, i] = even - odd
        even, odd = _4TH * d2 - _5_4 * d4 + d6, _HALF * d1 - _5_2 * d3 + _2 * d5
        b[to + 3 * to_step, i] = even + odd
        b[to + 4 * to_step, i] = even - odd
        even, odd = _4 * d2 - _5 * d4 + d6, _2 * d1 - _5_2 * d3 + _HALF * d5
        b[to + 5 * to_step, i] = even + odd
        b[to + 6 * to_step, i] = even - odd
        b[to + 7 * to_step, i] = d7 - d1 + _21_4 * (d3 - d5)


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def _points_to_input(b, at, step, to, to_step):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Transpose of `_input_to_points`: gradients with respect to the inputs."""
    for i in range(LANES):
        v0, v7 = b[at, i], b[at + 7 * step, i]
        v1, v2, v3 = b[at + step, i], b[at + 2 * step, i], b[at + 3 * step, i]
        v4, v5, v6 = b[at + 4 * step, i], b[at + 5 * step, i], b[at + 6 * step, i]
        sum1, sum2, sum3 = v1 + v2, v3 + v4, v5 + v6
        dif1, dif2, dif3 = v1 - v2, v3 - v4, v5 - v6
        b[to, i] = v0
        b[to + to_step, i] = dif1 + _HALF * dif2 + _2 * dif3 - v7
        b[to + 2 * to_step, i] = sum1 - _21_4 * v0 + _4TH * sum2 + _4 * sum3
        b[to + 3 * to_step, i] = _21_4 * v7 - _17_4 * dif1 - _5_2 * (dif2 + dif3)
        b[to + 4 * to_step, i] = _21_4 * v0 - _17_4 * sum1 - _5_4 * sum2 - _5 * sum3
        b[to + 5 * to_step, i] = dif1 + _2 * dif2 + _HALF * dif3 - _21_4 * v7
        b[to + 6 * to_step, i] = sum1 + sum2 + sum3 - v0
        b[to + 7 * to_step, i] = v7


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def _points_to_output(b, at, step, to, to_step):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Transform products at eight points to the four outputs of a tile."""
    for i in range(LANES):
        v0, v7 = b[at, i], b[at + 7 * step, i]
        v1, v2, v3 = b[at + step, i], b[at + 2 * step, i], b[at + 3 * step, i]
        v4, v5, v6 = b[at + 4 * step, i], b[at + 5 * step, i], b[at + 6 * step, i]
        sum1, sum2, sum3 = v1 + v2, v3 + v4, v5 + v6
        dif1, dif2, dif3 = v1 - v2, v3 - v4, v5 - v6
        b[to, i] = v0 + sum1 + sum2 + sum3
        b[to + to_step, i] = dif1 + _2 * dif2 + _HALF * dif3
        b[to + 2 * to_step, i] = sum1 + _4 * sum2 + _4TH * sum3
        b[to + 3 * to_step, i] = dif1 + _8 * dif2 + _8TH * dif3 + v7


@numba.njit(nogil=True, fastmath=FAST, forceinline=True)
def _output_to_points(b, at, step, to, to_step):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Transpose of `_points_to_output`: gradients with respect to the products."""
    for i in range(LANES):
        y0, y1, y2, y3 = b[at, i], b[at + step, i], b[at + 2 * step, i], b[at + 3 * step, i]
        b[to, i] = y0
        even, odd = y0 + y2, y1 + y3
        b[to + to_step, i] = even + odd
        b[to + 2 * to_step, i] = even - odd
        even, odd = y0 + _4 * y2, _2 * y1 + _8 * y3
        b[to + 3 * to_step, i] = even + odd
        b[to + 4 * to_step, i] = even - odd
        even, odd = y0 + _4TH * y2, _HALF * y1 + _8TH * y3
        b[to + 5 * to_step, i] = even + odd
        b[to + 6 * to_step, i] = even - odd
        b[to + 7 * to_step, i] = y3


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _spatial_to_points(chunk, start, stop, maps, points, of_output):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """From maps (frame, y, x, channel) to points (point, frame, tile, tile, channel)."""
    height, width, channels = maps.shape[1:]
    size = STEP if of_output else POINTS
    # tile, tile with its columns transformed, and with its rows too; always POINTS wide, because
    # the compiler uses vector units where it knows how far apart rows lie
    buffer = np.zeros((3 * POINTS * POINTS, LANES), np.float32)
    between, after = POINTS * POINTS, 2 * POINTS * POINTS
    for frame in range(start, stop):
        for tile_y in range(points.shape[2]):
            for tile_x in range(points.shape[3]):
                for c in range(0, channels, LANES):
                    for row in range(size):
                        y = tile_y * STEP + row
                        for column in range(size):
                            x = tile_x * STEP + column
                            if y < height and x < width:
                                for i in range(LANES):
                                    buffer[row * POINTS + column, i] = maps[frame, y, x, c + i]
                            else:
                                for i in range(LANES):
                                    buffer[row * POINTS + column, i] = 0
                    for column in range(size):
                        if of_output:
                            _output_to_points(buffer, column, POINTS, between + column, POINTS)
                        else:
                            _input_to_points(buffer, column, POINTS, between + column, POINTS)
                    for row in range(0, POINTS * POINTS, POINTS):
                        if of_output:
                            _output_to_points(buffer, between + row, 1, after + row, 1)
                        else:
                            _input_to_points(buffer, between + row, 1, after + row, 1)
                    for point in range(POINTS * POINTS):
                        for i in range(LANES):
                            points[point, frame, tile_y, tile_x, c + i] = buffer[after + point, i]


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _spatial_from_points(chunk, start, stop, points, maps, of_output):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """From points (point, frame, tile, tile, channel) to maps; those of inputs are added up."""
    height, width, channels = maps.shape[1:]
    size = STEP if of_output else POINTS
    buffer = np.zeros((3 * POINTS * POINTS, LANES), np.float32)
    between, after = POINTS * POINTS, 2 * POINTS * POINTS
    for frame in range(start, stop):
        for tile_y in range(points.shape[2]):
            for tile_x in range(points.shape[3]):
                for c in range(0, channels, LANES):
                    for point in range(POINTS * POINTS):
                        for i in range(LANES):
                            buffer[point, i] = points[point, frame, tile_y, tile_x, c + i]
                    for column in range(POINTS):
                        if of_output:
                            _points_to_output(buffer, column, POINTS, between + column, POINTS)
                        else:
                            _points_to_input(buffer, column, POINTS, between + column, POINTS)
                    for row in range(0, size * POINTS, POINTS):
                        if of_output:
                            _points_to_output(buffer, between + row, 1, after + row, 1)
                        else:
                            _points_to_input(buffer, between + row, 1, after + row, 1)
                    for row in range(min(size, height - tile_y * STEP)):
                        y = tile_y * STEP + row
                        for column in range(min(size, width - tile_x * STEP)):
                            x = tile_x * STEP + column
                            place = after + row * POINTS + column
                            if of_output:  # output tiles do not overlap
                                for i in range(LANES):
                                    maps[frame, y, x, c + i] = buffer[place, i]
                            else:
                                for i in range(LANES):
                                    maps[frame, y, x, c + i] += buffer[place, i]


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _temporal_to_points(chunk, start, stop, maps, first, points, of_output):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """From maps (clip, frame, place) to points (point, clip, tile, place).

    Places include the channels; `first` is the first of `maps` that `points` has.
    """
    clips, frames = maps.shape[:2]
    size = STEP if of_output else POINTS
    buffer = np.zeros((2 * POINTS, LANES), np.float32)
    for clip in range(clips):
        for tile in range(points.shape[2]):
            for place in range(start * LANES, stop * LANES, LANES):
                for row in range(size):
                    frame = tile * STEP + row
                    if frame < frames:
                        for i in range(LANES):
                            buffer[row, i] = maps[clip, frame, first + place + i]
                    else:
                        for i in range(LANES):
                            buffer[row, i] = 0
                if of_output:
                    _output_to_points(buffer, 0, 1, POINTS, 1)
                else:
                    _input_to_points(buffer, 0, 1, POINTS, 1)
                for point in range(POINTS):
                    for i in range(LANES):
                        points[point, clip, tile, place + i] = buffer[POINTS + point, i]


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _temporal_from_points(chunk, start, stop, points, maps, first, of_output):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """From points (point, clip, tile, place) to maps; those of inputs are added up."""
    clips, frames = maps.shape[:2]
    size = STEP if of_output else POINTS
    buffer = np.zeros((2 * POINTS, LANES), np.float32)
    for clip in range(clips):
        for tile in range(points.shape[2]):
            for place in range(start * LANES, stop * LANES, LANES):
                for point in range(POINTS):
                    for i in range(LANES):
                        buffer[point, i] = points[point, clip, tile, place + i]
                if of_output:
                    _points_to_output(buffer, 0, 1, POINTS, 1)
                else:
                    _points_to_input(buffer, 0, 1, POINTS, 1)
                for row in range(min(size, frames - tile * STEP)):
                    frame = tile * STEP + row
                    if of_output:
                        for i in range(LANES):
                            maps[clip, frame, first + place + i] = buffer[POINTS + row, i]
                    else:
                        for i in range(LANES):
                            maps[clip, frame, first + place + i] += buffer[POINTS + row, i]


def spatial_convolution(maps: Tensor, weight: Tensor) -> Tensor:
    """Valid 5 x 5 convolution of each frame.

    Parameters
    ----------
    maps : Tensor of shape (frame, y, x, channel)
        On the CPU; contiguous is fastest.
    weight : Tensor of shape (out_channel, channel, 5, 5)
        Both numbers of channels are multiples of `LANES`.

    Returns
    -------
    Tensor of shape (frame, y - 4, x - 4, out_channel)
        In the type of `maps`; computed in single precision.

    """
    return _Spatial.apply(maps, weight)


def temporal_convolution(maps: Tensor, weight: Tensor) -> Tensor:
    """Valid convolution over five frames at each place.

    Parameters
    ----------
    maps : Tensor of shape (clip, frame, place, channel)
        On the CPU; contiguous is fastest.
    weight : Tensor of shape (out_channel, channel, 5)
        Both numbers of channels are multiples of `LANES`.

    Returns
    -------
    Tensor of shape (clip, frame - 4, place, out_channel)
        In the type of `maps`; computed in single precision.

    """
    return _Temporal.apply(maps, weight)


def _tiles(size: int) -> int:
    return -(-(size - TAPS + 1) // STEP)


class _Pieces:
    """Memory for the transformed inputs and outputs of one piece, used again for the next."""

    def __init__(self, points: int, each: int, channels: tuple[int, int], number: int) -> None:
        size = max(1, PIECE // (4 * points * each * channels[0]))
        self.starts = range(0, number, size)
        self.points, self.each, self.channels, self.number = points, each, channels, number
        self.size = min(size, number)
        self.memory = [torch.empty(points * self.size * each * channel) for channel in channels]

    def __iter__(self) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """Begin, length, and the two matrices (point, row, channel) of each piece."""
        for start in self.starts:
            size = min(self.size, self.number - start)
            rows = size * self.each
            matrices = [
                memory[: self.points * rows * channel].view(self.points, rows, channel)
                for memory, channel in zip(self.memory, self.channels, strict=True)
            ]
            yield start, size, matrices[0], matrices[1]


class _Spatial(torch.autograd.Function):
    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def forward(ctx: Any, maps: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(maps, weight)
        frames, height, width, channel = maps.shape
        source = maps.detach().float().contiguous().numpy()
        at = _OF_WEIGHT.to(torch.float32)
        matrix = torch.einsum("pa,ocab,qb->pqco", at, weight.detach().float(), at).flatten(0, 1)
        result = torch.empty(frames, height - TAPS + 1, width - TAPS + 1, len(weight))
        target = result.numpy()
        tiles = _tiles(height), _tiles(width)
        pieces = _Pieces(POINTS**2, tiles[0] * tiles[1], (channel, len(weight)), frames)
        for start, size, inputs, outputs in pieces:
            stop = start + size
            grid = (POINTS**2, size, *tiles)
            in_chunks(
                _spatial_to_points, size, source[start:stop], inputs.view(*grid, -1).numpy(), False
            )
            torch.bmm(inputs, matrix, out=outputs)
            in_chunks(
                _spatial_from_points,
                size,
                outputs.view(*grid, -1).numpy(),
                target[start:stop],
                True,
            )
        return result.to(maps.dtype)

    @staticmethod
    @once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(  # type: ignore[override]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        maps, weight = ctx.saved_tensors
        frames, height, width, channel = maps.shape
        source = maps.detach().float().contiguous().numpy()
        given = gradient.float().contiguous().numpy()
        at = _OF_WEIGHT.to(torch.float32)
        matrix = torch.einsum("pa,ocab,qb->pqoc", at, weight.detach().float(), at).flatten(0, 1)
        to_matrix = torch.zeros(POINTS**2, channel, len(weight))
        to_maps = torch.zeros(maps.shape)
        target = to_maps.numpy()
        tiles = _tiles(height), _tiles(width)
        pieces = _Pieces(POINTS**2, tiles[0] * tiles[1], (channel, len(weight)), frames)
        for start, size, inputs, outputs in pieces:
            stop = start + size
            grid = (POINTS**2, size, *tiles)
            gridded = inputs.view(*grid, -1).numpy()
            in_chunks(
                _spatial_to_points, size, given[start:stop], outputs.view(*grid, -1).numpy(), True
            )
            if ctx.needs_input_grad[1]:
                in_chunks(_spatial_to_points, size, source[start:stop], gridded, False)
                to_matrix.baddbmm_(inputs.transpose(1, 2), outputs)
            if ctx.needs_input_grad[0]:
                torch.bmm(outputs, matrix, out=inputs)
                in_chunks(_spatial_from_points, size, gridded, target[start:stop], False)
        square = to_matrix.view(POINTS, POINTS, channel, -1)
        to_weight = torch.einsum("pa,pqco,qb->ocab", at, square, at).to(weight.dtype)
        return to_maps.to(maps.dtype), to_weight


class _Temporal(torch.autograd.Function):
    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def forward(ctx: Any, maps: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(maps, weight)
        clips, frames, places, channel = maps.shape
        source = maps.detach().float().contiguous().flatten(2).numpy()
        matrix = torch.einsum("pa,oca->pco", _OF_WEIGHT, weight.detach().float())
        result = torch.empty(clips, frames - TAPS + 1, places, len(weight))
        target = result.flatten(2).numpy()
        tiles = _tiles(frames)
        for start, size, inputs, outputs in _Pieces(
            POINTS, clips * tiles, (channel, len(weight)), places
        ):
            grid = (POINTS, clips, tiles, -1)
            chunks = size * channel // LANES
            first = start * channel
            in_chunks(_temporal_to_points, chunks, source, first, inputs.view(grid).numpy(), False)
            torch.bmm(inputs, matrix, out=outputs)
            chunks = size * len(weight) // LANES
            first = start * len(weight)
            in_chunks(
                _temporal_from_points, chunks, outputs.view(grid).numpy(), target, first, True
            )
        return result.to(maps.dtype)

    @staticmethod
    @once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(  # type: ignore[override]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        maps, weight = ctx.saved_tensors
        clips, frames, places, channel = maps.shape
        source = maps.detach().float().contiguous().flatten(2).numpy()
        given = gradient.float().contiguous().flatten(2).numpy()
        matrix = torch.einsum("pa,oca->poc", _OF_WEIGHT, weight.detach().float())
        to_matrix = torch.zeros(POINTS, channel, len(weight))
        to_maps = torch.zeros(maps.shape)
        target = to_maps.flatten(2).numpy()
        tiles = _tiles(frames)
        for start, size, inputs, outputs in _Pieces(
            POINTS, clips * tiles, (channel, len(weight)), places
        ):
            grid = (POINTS, clips, tiles, -1)
            gridded = inputs.view(grid).numpy()
            chunks = size * len(weight) // LANES
            first = start * len(weight)
            in_chunks(_temporal_to_points, chunks, given, first, outputs.view(grid).numpy(), True)
            chunks = size * channel // LANES
            first = start * channel
            if ctx.needs_input_grad[1]:
                in_chunks(_temporal_to_points, chunks, source, first, gridded, False)
                to_matrix.baddbmm_(inputs.transpose(1, 2), outputs)
            if ctx.needs_input_grad[0]:
                torch.bmm(outputs, matrix, out=inputs)
                in_chunks(_temporal_from_points, chunks, gridded, target, first, False)
        to_weight = torch.einsum("pa,pco->oca", _OF_WEIGHT, to_matrix).to(weight.dtype)
        return to_maps.to(maps.dtype), to_weight
