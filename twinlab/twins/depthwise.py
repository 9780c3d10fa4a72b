"""Depthwise convolution whose weights learn fast on a CPU.

Torch's gradient with respect to depthwise weights takes longer than all the rest of a training
step there. It is a short correlation of two planes for each image and channel: with both
planes padded to one width it becomes sums over one long contiguous run, which vector units do
well. Everything else (forward, gradient to the input, other devices) stays torch's.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from twinlab.twins.sampling import FAST, in_chunks

__all__ = ["DepthwiseConv2d"]


class DepthwiseConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` with one filter a channel, stride 1, and padding that keeps the size."""

    def __init__(self, channel: int, kernel: int) -> None:
        super().__init__(channel, channel, kernel, padding=kernel // 2, groups=channel, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Filtered maps, (batch, channel, y, x) as given."""
        learning = torch.is_grad_enabled() and self.weight.requires_grad
        if maps.device.type != "cpu" or not learning:
            return super().forward(maps)
        dtype = maps.dtype
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
        return _Depthwise.apply(maps.to(dtype), self.weight.to(dtype))


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(maps, weight)
        padding = weight.shape[-1] // 2
        return torch.conv2d(maps, weight, padding=padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        maps, weight = ctx.saved_tensors
        padding = weight.shape[-1] // 2
        to_maps = to_weight = None
        if ctx.needs_input_grad[0]:
            turned = weight.flip(2, 3)
            to_maps = torch.conv2d(gradient, turned, padding=padding, groups=len(weight))
        if ctx.needs_input_grad[1]:
            kind = torch.float64 if weight.dtype == torch.float64 else torch.float32
            planes = [value.contiguous().to(kind).numpy() for value in (maps, gradient)]
            kernel = weight.shape[-1]
            # one copy a thread, added afterwards: the weights are shared by all images
            parts = torch.zeros(torch.get_num_threads(), *weight.shape, dtype=kind)
            in_chunks(_correlate, len(maps), *planes, parts.numpy()[:, :, 0], kernel)
            to_weight = parts.sum(0).to(weight.dtype)
        return to_maps, to_weight


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _correlate(chunk, start, stop, maps, gradient, result, kernel):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    channels, height, width = maps.shape[1:]
    padding = kernel // 2
    padded = width + 2 * padding
    run = height * padded
    zero = maps.flat[0] * 0
    # the rows of both planes lie `padded` apart; what is between them is zero
    source = np.full((height + 2 * padding) * padded + 2 * padding, zero)
    target = np.full(run, zero)
    for image in range(start, stop):
        for channel in range(channels):
            for y in range(height):
                begin = (y + padding) * padded + padding
                source[begin : begin + width] = maps[image, channel, y]
                target[y * padded : y * padded + width] = gradient[image, channel, y]
            for down in range(kernel):
                for right in range(kernel):
                    # a slice, because an index that might be negative is not vectorised
                    shifted = source[down * padded + right : down * padded + right + run]
                    total = zero
                    for place in range(run):
                        total += target[place] * shifted[place]
                    result[chunk, channel, down, right] += total
