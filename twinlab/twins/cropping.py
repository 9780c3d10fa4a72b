"""Only the pixels a neuron sees: the core on one small window an image, with the same numbers.

A readout at one point uses four points of the last map, and these depend on a window of the
image: with three inner layers of 7 x 7 and a first kernel of 9 x 9, on 28 x 28 pixels. Outside
the map, inner layers see zeros (their padding); a window that reaches over the border is made to
see the same by a mask. Exact in evaluation mode, where batch norm does not couple images.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from twinlab.twins.cores import StackedCore

__all__ = ["features_at", "window_size"]


def window_size(core: StackedCore) -> int:
    """Side, in pixels, of the window that a point between four map points depends on."""
    inner, first = core.reach
    return 2 + 2 * inner + first


def features_at(core: StackedCore, image: Tensor, position: Tensor) -> Tensor:
    """Features of image i at its own position i, computed from its window alone.

    Parameters
    ----------
    core : StackedCore
        In evaluation mode.
    image : Tensor of shape (batch, channel, y, x)
        In z units.
    position : Tensor of shape (batch, 2)
        (x, y), -1 and 1 at the centres of the outermost points of the whole map.

    Returns
    -------
    Tensor of shape (batch, hidden)
        As `sampling.sample_points` of the whole map would give.

    """
    inner, first = core.reach
    size = torch.tensor(core.map_shape(*image.shape[2:])[::-1], device=image.device)
    place = (position + 1) / 2 * (size - 1)
    # far outside, where all is zero, is as good as just outside
    place = torch.minimum(place.clamp(min=-2), size + 1.0)
    corner = place.floor()
    share = place - corner
    corner = corner.long() - inner  # of the window, in points of the map

    border = inner + 3
    padded = F.pad(image, [border] * 4)
    # map point m is made of pixels m to m + kernel - 1, so corners in pixels are the same
    steps = torch.arange(window_size(core), device=image.device)
    columns = corner[:, 0, None] + steps + border
    rows = corner[:, 1, None] + steps + border
    each = torch.arange(len(image), device=image.device)[:, None, None]
    window = padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
    window = window.permute(0, 3, 1, 2)

    steps = steps[: len(steps) - first]
    exists = [
        ((corner[:, axis, None] + steps >= 0) & (corner[:, axis, None] + steps < size[axis]))
        for axis in (0, 1)
    ]
    mask = (exists[1][:, None, :, None] & exists[0][:, None, None, :]).to(image.dtype)
    inside = bool(mask.all())
    maps = core(window, mask=None if inside else mask)
    four = slice(inner, inner + 2)
    points = maps[:, :, four, four]
    across = torch.stack([1 - share[:, 0], share[:, 0]], dim=1)
    down = torch.stack([1 - share[:, 1], share[:, 1]], dim=1)
    weight = down[:, :, None] * across[:, None, :] * mask[:, 0, four, four]
    return torch.einsum("bcyx,byx->bc", points.to(weight.dtype), weight)
