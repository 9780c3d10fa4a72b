"""Only the pixels a neuron sees: the core on one small window an image, with the same numbers.

A readout at one point uses four points of the last map, and these depend on a window of the
image: with three inner layers of 7 x 7 and a first kernel of 9 x 9, on 28 x 28 pixels. Each layer
is computed only where the next one looks, 20 x 20, 14 x 14, 8 x 8 and 2 x 2 points. Outside the
map, inner layers see zeros (their padding); a window that reaches over the border is made to see
the same. Exact in evaluation mode, where batch norm does not couple images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from twinlab.twins import windows
from twinlab.twins.cores import StackedCore

__all__ = ["drive_at", "window_size"]


@dataclass(frozen=True)
class Place:
    """Where windows lie, for each image of a batch.

    Attributes
    ----------
    corner : Tensor of shape (batch, 2), int64
        Column and row of the window's first pixel in the image, and of its first point in the
        first map.
    share : Tensor of shape (batch, 2)
        How far the position lies between the two middle points of the window, 0 to 1.
    size : Tensor of shape (2,)
        Columns and rows of the whole map.

    """

    corner: Tensor
    share: Tensor
    size: Tensor


def window_size(core: StackedCore) -> int:
    """Side, in pixels, of the window that a point between four map points depends on."""
    inner, first = core.reach
    return 2 + 2 * inner + first


def drive_at(core: StackedCore, image: Tensor, position: Tensor, weight: Tensor) -> Tensor:
    """Weighted features of image i at its own position i, computed from its window alone.

    Parameters
    ----------
    core : StackedCore
        In evaluation mode.
    image : Tensor of shape (batch, channel, y, x)
        In z units.
    position : Tensor of shape (batch, 2)
        (x, y), -1 and 1 at the centres of the outermost points of the whole map.
    weight : Tensor of shape (batch, hidden)

    Returns
    -------
    Tensor of shape (batch,)
        As `sampling.sample_points` of the whole map, times `weight`, summed over channels.

    """
    inner, _ = core.reach
    size = torch.tensor(core.map_shape(*image.shape[2:])[::-1], device=image.device)
    point = (position + 1) / 2 * (size - 1)
    # far outside, where all is zero, is as good as just outside
    point = torch.minimum(point.clamp(min=-2), size + 1.0)
    # map point m is made of pixels m to m + kernel - 1, so corners in pixels are the same
    place = Place(point.nan_to_num().floor().long() - inner, point - point.floor(), size)
    if windows.can_run(core, image, position, weight):
        return windows.drive_at(core, image, place.corner, place.share, weight)
    return torch.einsum("bc,bc->b", _features(core, _cut(core, image, place), place), weight)


def _cut(core: StackedCore, image: Tensor, place: Place) -> Tensor:
    """Windows of the images (batch, channel, y, x), zero outside them."""
    border = core.reach[0] + 3
    padded = F.pad(image, [border] * 4)
    steps = torch.arange(window_size(core), device=image.device) + border
    columns, rows = (place.corner[:, axis, None] + steps for axis in (0, 1))
    each = torch.arange(len(image), device=image.device)[:, None, None]
    window = padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
    return window.permute(0, 3, 1, 2)


def _features(core: StackedCore, window: Tensor, place: Place) -> Tensor:
    """Features (batch, hidden) between the four middle points of windows."""
    margin = core.hidden_kernel // 2
    value, exists = window, window.new_zeros(0)
    for number, layer in enumerate(core.features):
        if number == 0:
            value = layer.conv(value).contiguous(memory_format=torch.channels_last)
            steps = torch.arange(value.shape[-1], device=value.device)
            at = place.corner[:, :, None] + steps  # (batch, x or y, point)
            columns, rows = ((at >= 0) & (at < place.size[:, None])).to(value.dtype).unbind(1)
            exists = (rows[:, :, None] * columns[:, None, :])[:, None]
        else:
            conv = layer.ds_conv
            spatial = conv.spatial_conv.weight
            value = conv.in_depth_conv(value * exists)
            value = conv.out_depth_conv(F.conv2d(value, spatial, groups=len(spatial)))
            if margin:
                exists = exists[:, :, margin:-margin, margin:-margin]
        value = layer.norm(value)
        value = value if core.linear else F.elu(value, inplace=True)
    across, down = (
        torch.stack([1 - place.share[:, axis], place.share[:, axis]], 1) for axis in (0, 1)
    )
    weight = down[:, :, None] * across[:, None, :] * exists[:, 0]
    return torch.einsum("bcyx,byx->bc", value.to(weight.dtype), weight)
