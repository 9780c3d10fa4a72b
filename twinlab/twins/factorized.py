"""Factorised readout: where a neuron looks (a mask) times what it looks for (features)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from twinlab.schema import InputError
from twinlab.twins.readouts import Readout, share_as_asked

if TYPE_CHECKING:
    from twinlab.twins.deep import Architecture

__all__ = ["FactorizedReadout", "build_factorized"]

BUMP = 1.5  # standard deviation of the first mask, in map points
SIGNS = ("any", "mask", "both")


class FactorizedReadout(Readout):
    """A mask over the map and one weight a channel, for each neuron.

    The mask is divided by its norm, so that only the features carry the size of the response
    and the two cannot trade it. It is kept from falling below zero by default, so that only
    the features carry the sign: a mask is then a place, and can be looked at as one.

    Parameters
    ----------
    channel : int
        Channels of the map.
    map_shape : tuple of int
        Points (y, x) of the map.
    position : Tensor of shape (n_neuron, 2)
        Where each mask starts, as a small bump: (x, y) on the map, -1 to 1.
    nonnegative : {"mask", "both", "any"}
        What is kept from falling below zero, by clamping before each use in training: the
        masks, masks and features, or neither.
    normalized : bool
        Divide each mask by its norm.

    Attributes
    ----------
    mask : Parameter of shape (n_neuron, y, x)
    features : Tensor of shape (n_neuron, channel)
        They start so that a map that is the same everywhere gives its mean over channels.

    References
    ----------
    Klindt et al. (2017), NeurIPS.

    """

    def __init__(
        self,
        channel: int,
        map_shape: tuple[int, int],
        position: Tensor,
        *,
        nonnegative: str = "mask",
        normalized: bool = True,
    ) -> None:
        super().__init__()
        if nonnegative not in SIGNS:
            msg = f"`nonnegative` is {nonnegative!r}; known: {', '.join(SIGNS)}."
            raise InputError(msg)
        self.nonnegative, self.normalized = nonnegative, normalized
        n_neuron = len(position)
        extent = torch.tensor(map_shape[::-1]) - 1
        centre = (position.float() + 1) / 2 * extent
        across, down = (
            torch.exp(-((torch.arange(size) - centre[:, axis, None]) ** 2) / (2 * BUMP**2))
            for axis, size in enumerate(map_shape[::-1])
        )
        self.mask = nn.Parameter(down[:, :, None] * across[:, None, :])
        with torch.no_grad():
            total = self._masks(slice(None)).sum(1, keepdim=True)
        self.features = nn.Parameter((1 / (channel * total)).repeat(1, channel))
        self.bias = nn.Parameter(torch.zeros(n_neuron))

    @property
    def position(self) -> Tensor:
        """Centre of mass of each squared mask (neuron, 2): x and y, -1 to 1 across the map."""
        mass = self.mask**2
        mass = mass / mass.sum((1, 2), keepdim=True).clamp(min=1e-12)
        height, width = self.mask.shape[1:]
        x = torch.linspace(-1, 1, width).to(mass)
        y = torch.linspace(-1, 1, height).to(mass)
        return torch.stack([mass.sum(1) @ x, mass.sum(2) @ y], dim=1)

    def forward(
        self,
        maps: Tensor,
        *,
        shift: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Drive of each neuron for each map; see `Readout.forward`."""
        self._hold_signs()
        chosen = slice(None) if neuron is None else neuron
        features, bias = self.features[chosen], self.bias[chosen]
        maps = maps.to(features.dtype)
        if shift is not None:
            maps = _shifted(maps, shift)
        points = maps.flatten(2).mT  # (batch, point, channel), no copy where channels-last
        masks = self._masks(chosen)
        if paired:
            found = torch.einsum("bp,bpc->bc", masks, points)
            return (found * features).sum(1) + bias
        found = masks @ points  # (batch, neuron, channel)
        return torch.einsum("bnc,nc->bn", found, features) + bias

    def regularizer(self) -> Tensor:
        """Sum of the absolute weights of all map points and channels: mask times features."""
        masks = self._masks(slice(None))
        return (masks.abs().sum(1) * self.features.abs().sum(1)).sum()

    def _masks(self, chosen: slice | Tensor) -> Tensor:
        """Masks as used, (neuron, point)."""
        masks = self.mask[chosen].flatten(1)
        if self.normalized:
            masks = masks / (masks.norm(dim=1, keepdim=True) + 1e-6)
        return masks

    def _hold_signs(self) -> None:
        if self.training and self.nonnegative != "any":
            with torch.no_grad():
                self.mask.clamp_(min=0)
                if self.nonnegative == "both":
                    for name, parameter in self.named_parameters():
                        if "features" in name:  # shared vectors and scales too
                            parameter.clamp_(min=0)


def _shifted(maps: Tensor, shift: Tensor) -> Tensor:
    """Each map as seen from a place moved by `shift`, zero beyond its border."""
    moved = torch.eye(2, 3).to(maps).repeat(len(maps), 1, 1)
    moved = moved + F.pad(shift.to(maps)[:, :, None], (2, 0))
    grid = F.affine_grid(moved, list(maps.shape), align_corners=True)
    return F.grid_sample(maps, grid, align_corners=True)


def build_factorized(
    architecture: Architecture,
    channel: int,
    map_shape: tuple[int, int],
    position: Tensor,
    neurons: xr.Dataset,
    generator: torch.Generator,
) -> Readout:
    """Factorised readout of an architecture.

    Raises
    ------
    InputError
        If positions are asked from cortical coordinates: a mask is no position.

    """
    del generator  # the start is not random
    if architecture.positions != "free":
        msg = (
            f"The factorized readout has masks, not positions, but got "
            f"`positions={architecture.positions}`; set `positions=free`, or another `readout`."
        )
        raise InputError(msg)
    return share_as_asked(FactorizedReadout(channel, map_shape, position), architecture, neurons)
