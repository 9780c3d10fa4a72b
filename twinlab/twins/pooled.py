"""Point-pooled readout: one place a neuron, seen at several resolutions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from twinlab.twins.readouts import (
    PointReadout,
    PositionNetwork,
    Readout,
    place_neurons,
    share_as_asked,
)
from twinlab.twins.sampling import sample_points, weigh_points

if TYPE_CHECKING:
    from twinlab.twins.deep import Architecture

__all__ = ["PointPooledReadout", "build_point_pooled"]

STEPS, KERNEL = 2, 4  # 28 x 56 points, then 7 x 14, then 1 x 3


class PointPooledReadout(PointReadout):
    """One position a neuron, read from the map and from ever coarser averages of it.

    The coarse maps let the gradient of a position see far beyond the four nearest points.

    Parameters
    ----------
    channel : int
        Channels of the map.
    position : Tensor of shape (n_neuron, 2)
        Starting positions (x, y) on the map, -1 to 1.
    steps : int
        Times the map is pooled.
    kernel : int
        Points along each side that are averaged into one, at each step.
    network, offset
        As in `PointReadout`.

    Attributes
    ----------
    features : Tensor of shape (n_neuron, (steps + 1) * channel)
        Weights, finest map first. They start so that a map that is the same everywhere gives
        its mean over channels.

    References
    ----------
    Sinz et al. (2018), NeurIPS.

    """

    def __init__(
        self,
        channel: int,
        position: Tensor,
        *,
        steps: int = STEPS,
        kernel: int = KERNEL,
        network: PositionNetwork | None = None,
        offset: bool = False,
    ) -> None:
        super().__init__(position, network, offset)
        self.steps, self.kernel = steps, kernel
        n_neuron, n_feature = len(position), (steps + 1) * channel
        self.features = nn.Parameter(torch.full((n_neuron, n_feature), 1 / n_feature))
        self.bias = nn.Parameter(torch.zeros(n_neuron))

    def forward(
        self,
        maps: Tensor,
        *,
        shift: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Drive of each neuron for each map; see `Readout.forward`."""
        self._hold_positions()
        chosen = slice(None) if neuron is None else neuron
        position, drive = self.position[chosen], self.bias[chosen]
        weights = self.features[chosen].chunk(self.steps + 1, dim=1)
        levels = zip(self._levels(maps.to(position.dtype)), weights, strict=True)
        if paired:
            own = position if shift is None else position + shift
            for level, weight in levels:
                drive = drive + (sample_points(level, own) * weight).sum(1)
            return drive
        grid = position.expand(len(maps), -1, -1)
        if shift is not None:
            grid = grid + shift[:, None]
        for level, weight in levels:
            drive = drive + weigh_points(level, grid, weight.contiguous())
        return drive

    def _levels(self, maps: Tensor) -> Iterator[Tensor]:
        yield maps
        for _ in range(self.steps):
            maps = F.avg_pool2d(maps, self.kernel)
            yield maps


def build_point_pooled(
    architecture: Architecture,
    channel: int,
    map_shape: tuple[int, int],
    position: Tensor,
    neurons: xr.Dataset,
    generator: torch.Generator,
) -> Readout:
    """Point-pooled readout of an architecture, pooled as often as the map allows."""
    steps = STEPS
    while steps and min(map_shape) < KERNEL**steps:
        steps -= 1
    readout = PointPooledReadout(
        channel,
        position,
        steps=steps,
        **place_neurons(architecture, position, neurons, generator),
    )
    return share_as_asked(readout, architecture, neurons)
