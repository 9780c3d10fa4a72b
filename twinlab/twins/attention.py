"""Attention readout: each neuron asks the map where to look, image by image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from twinlab.schema import InputError
from twinlab.twins.readouts import (
    PointReadout,
    PositionNetwork,
    Readout,
    place_neurons,
    share_as_asked,
)

if TYPE_CHECKING:
    from twinlab.twins.deep import Architecture

__all__ = ["AttentionReadout", "build_attention"]

SPREAD = 1.5  # standard deviation of the first attention, in map points
ENCODING = 3  # numbers that encode a place: x, y and the squared distance from the middle


class AttentionReadout(PointReadout):
    """Attention of each neuron over the points of the map, and one weight a channel.

    The points' keys are a linear function of their features and an encoding of their place;
    their values are the features. The place is encoded as x, y and x**2 + y**2, so that a
    neuron's query can express, whatever the features, the logarithm of a Gaussian around its
    position: that is where all attention starts. Several heads each read a share of the
    channels, with a query and a spread of their own around the common position.

    The work grows with neurons times map points times channels, far beyond that of a readout
    at a point; nothing of that size is stored.

    Parameters
    ----------
    channel : int
        Channels of the map.
    map_shape : tuple of int
        Points (y, x) of the map.
    position : Tensor of shape (n_neuron, 2)
        Starting positions (x, y) on the map, -1 to 1.
    heads : int
        Must divide `channel`.
    network, offset
        As in `PointReadout`.
    generator : torch.Generator, optional
        For the random start of the keys; queries start at zero.

    Raises
    ------
    InputError
        If the channels cannot be shared among the heads.

    References
    ----------
    Vaswani et al. (2017), NeurIPS, for the attention.

    """

    points: Tensor

    def __init__(
        self,
        channel: int,
        map_shape: tuple[int, int],
        position: Tensor,
        *,
        heads: int = 1,
        network: PositionNetwork | None = None,
        offset: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(position, network, offset)
        if heads < 1 or channel % heads:
            msg = (
                f"`heads` must divide the {channel} channels of the map that an attention readout "
                f"reads, but is {heads}; change `heads` or `hidden`."
            )
            raise InputError(msg)
        self.map_shape, self.heads, self.width = map_shape, heads, channel // heads
        n_neuron = len(position)
        self.key = nn.Linear(channel, channel, bias=False)
        nn.init.xavier_uniform_(self.key.weight, generator=generator)
        self.query = nn.Parameter(torch.zeros(n_neuron, heads, self.width))
        self.log_spread = nn.Parameter(torch.full((n_neuron, heads), math.log(SPREAD)))
        self.features = nn.Parameter(torch.full((n_neuron, channel), 1 / channel))
        self.bias = nn.Parameter(torch.zeros(n_neuron))
        # counted from the middle, where the logarithm loses least to rounding
        y, x = (torch.arange(size) - (size - 1) / 2 for size in map_shape)
        x, y = x.repeat(len(y)), y.repeat_interleave(len(x))
        place = torch.stack([x, y, x**2 + y**2], dim=1)
        self.register_buffer("points", place, persistent=False)

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
        features, bias = self.features[chosen], self.bias[chosen]
        points = maps.to(features.dtype).flatten(2).mT  # (batch, point, channel)
        query, key = self._queries(len(maps), shift, neuron, paired), self._keys(points)
        value = self._of_heads(points)
        # the fused kernel, which stores no weights, wants keys and values of one width
        value = F.pad(value, (0, key.shape[-1] - self.width))
        found = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        found = found[..., : self.width].transpose(1, 2).flatten(2)  # (batch, neuron, channel)
        if paired:
            return (found[:, 0] * features).sum(1) + bias
        return torch.einsum("bnc,nc->bn", found, features) + bias

    def attention(
        self, maps: Tensor, *, shift: Tensor | None = None, neuron: Tensor | None = None
    ) -> Tensor:
        """Share of each map point in what each neuron reads, (batch, neuron, head, y, x)."""
        points = maps.to(self.features.dtype).flatten(2).mT
        logits = self._queries(len(maps), shift, neuron, paired=False) @ self._keys(points).mT
        return logits.softmax(-1).transpose(1, 2).unflatten(-1, self.map_shape)

    def _queries(
        self, batch: int, shift: Tensor | None, neuron: Tensor | None, paired: bool
    ) -> Tensor:
        """Queries (batch, head, neuron, key), one neuron an image if paired."""
        chosen = slice(None) if neuron is None else neuron
        place = self.position[chosen][:, None] if paired else self.position[chosen]
        if shift is not None:
            place = place + shift[:, None]
        extent = torch.tensor(self.map_shape[::-1]).to(place) - 1
        place = (place * extent / 2)[..., None, :]  # ([batch,] neuron, 1, axis), in map points
        precision = torch.exp(-2 * self.log_spread[chosen])[..., None]
        content = self.query[chosen] / math.sqrt(self.width)
        if paired:
            precision, content = precision[:, None], content[:, None]
        where = place * precision
        shape = where.shape[:-1]
        parts = [content.expand(*shape, -1), where, (-precision / 2).expand(*shape, 1)]
        query = F.pad(torch.cat(parts, dim=-1), (0, self._spare))
        return query.transpose(-3, -2).expand(batch, -1, -1, -1)

    def _keys(self, points: Tensor) -> Tensor:
        """Keys (batch, head, point, key) of features (batch, point, channel)."""
        content = self._of_heads(self.key(points))
        place = self.points.to(content).expand(*content.shape[:-1], -1)
        return F.pad(torch.cat([content, place], dim=-1), (0, self._spare))

    @property
    def _spare(self) -> int:
        """Zeros that make keys a multiple of 8 long, which fused kernels ask for."""
        return -(self.width + ENCODING) % 8

    def _of_heads(self, points: Tensor) -> Tensor:
        """Channels shared among the heads: (batch, head, point, width)."""
        return points.unflatten(2, (self.heads, self.width)).transpose(1, 2)


def build_attention(
    architecture: Architecture,
    channel: int,
    map_shape: tuple[int, int],
    position: Tensor,
    neurons: xr.Dataset,
    generator: torch.Generator,
) -> Readout:
    """Attention readout of an architecture."""
    readout = AttentionReadout(
        channel,
        map_shape,
        position,
        heads=architecture.heads,
        generator=generator,
        **place_neurons(architecture, position, neurons, generator),
    )
    return share_as_asked(readout, architecture, neurons)
