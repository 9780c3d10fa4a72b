"""Readouts: where on the map each neuron looks, and how it weighs the features it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.utils import parametrize

from twinlab.schema import InputError
from twinlab.twins.sampling import sample_points, weigh_points

if TYPE_CHECKING:  # the architecture is checked against the readouts, which come first
    from twinlab.twins.deep import Architecture

__all__ = [
    "COVARIANCES",
    "POSITIONS",
    "GaussianReadout",
    "PointReadout",
    "PositionNetwork",
    "Readout",
    "build_gaussian",
    "place_neurons",
    "share_as_asked",
    "share_features",
]

# Shape of a neuron's square root of the covariance.
COVARIANCES: dict[str, tuple[int, ...]] = {
    "full": (2, 2),
    "uncorrelated": (2,),
    "isotropic": (1,),
}
POSITIONS = ("free", "cortical", "both")

# Weight of the squared distance (in map halves) from the position network, beside the absolute
# feature weights. Times the published weight of these, 0.0076, and the square root of the number
# of batches in an epoch, by which the loss is short of a log likelihood (about 6 for 4,500
# images), it is 1 / (2 x 0.1**2): a normal prior with a standard deviation of a tenth of the map's
# half, about three map points of the published core, which is the scatter of receptive fields
# around smooth retinotopy.
PULL = 1000.0
OUTLIER = 3.0  # residuals beyond so many times their median are peaks found in noise


class Readout(nn.Module):
    """What a deep twin asks of its readout.

    Attributes
    ----------
    features : Tensor of shape (n_neuron, n_feature)
        Weights of the features each neuron finds.
    bias : nn.Parameter of shape (n_neuron,)
        Drive of each neuron where it finds nothing; the twin starts it at the mean response.
    generator : torch.Generator, optional
        Draws whatever is random in training, so that a resumed fit draws the same.

    """

    features: Tensor
    bias: nn.Parameter
    generator: torch.Generator | None = None

    @property
    def position(self) -> Tensor:
        """Where each neuron looks (neuron, 2): x and y, -1 to 1 across the map."""
        msg = f"A {type(self).__name__} tells no position of a neuron; use another `readout`."
        raise InputError(msg)

    def forward(
        self,
        maps: Tensor,
        *,
        shift: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Drive of each neuron for each map.

        Parameters
        ----------
        maps : Tensor of shape (batch, channel, y, x)
            Of any precision; the drive is computed in that of the weights.
        shift : Tensor of shape (batch, 2), optional
            Added to every position: where the eye moved the image.
        neuron : Tensor of int of shape (n,), optional
            Only these are computed.
        paired : bool
            Map i is seen by neuron i alone.

        Returns
        -------
        Tensor of shape (batch, n), or (batch,) if paired

        """
        raise NotImplementedError

    def regularizer(self) -> Tensor:
        """Size of the readout's weights, a scalar."""
        raise NotImplementedError


class PositionNetwork(nn.Module):
    """Position on the map from the cell's place in cortex: a small network for all neurons.

    Parameters
    ----------
    cortex : array of shape (n_neuron, 2)
        Cortical coordinates, any unit; centred and scaled to [-1, 1] here.
    hidden : int
        Units of the hidden layer.
    generator : torch.Generator, optional
        For the random start.

    References
    ----------
    Lurz et al. (2021), ICLR.

    """

    cortex: Tensor

    def __init__(
        self, cortex: np.ndarray, hidden: int = 30, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        centred = np.asarray(cortex, np.float64) - np.mean(cortex, axis=0)
        scaled = centred / max(np.abs(centred).max(), 1e-12)
        self.register_buffer("cortex", torch.as_tensor(scaled, dtype=torch.float32))
        first, last = nn.Linear(2, hidden), nn.Linear(hidden, 2)
        for layer in (first, last):
            bound = layer.in_features**-0.5
            for parameter in (layer.weight, layer.bias):
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
        self.network = nn.Sequential(first, nn.ELU(), last, nn.Tanh())

    def forward(self) -> Tensor:
        """Positions (neuron, 2), each coordinate between -1 and 1."""
        return self.network(self.cortex)

    def fit(self, position: Tensor, steps: int = 500, lr: float = 0.01) -> None:
        """Start from given positions: least absolute deviations, which outliers hardly move."""
        optimizer = torch.optim.Adam(self.parameters(), lr=lr)
        with torch.enable_grad():
            for _ in range(steps):
                optimizer.zero_grad()
                (self() - position).abs().mean().backward()
                optimizer.step()


class PointReadout(Readout):
    """A readout with one place a neuron: free, from cortical coordinates, or both.

    Parameters
    ----------
    position : Tensor of shape (n_neuron, 2)
        Starting positions (x, y) on the map, -1 to 1.
    network : PositionNetwork, optional
        Predicts the positions; they are free parameters where absent.
    offset : bool
        Each neuron may leave the network's position by an offset of its own, pulled back by
        the regulariser. It starts where `position` says, except for a neuron so far from the
        network's that its position must have been found in noise; such a one starts at zero.

    """

    mu: nn.Parameter
    offset: nn.Parameter | None

    def __init__(
        self, position: Tensor, network: PositionNetwork | None = None, offset: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        start = None
        if network is None:
            self.mu = nn.Parameter(position.clone().float())
        elif offset:
            with torch.no_grad():
                start = position.float() - network()
                distance = start.norm(dim=1)
                start[distance > OUTLIER * distance.median()] = 0
        self.register_parameter("offset", None if start is None else nn.Parameter(start))

    @property
    def position(self) -> Tensor:
        """Mean position (neuron, 2) of each neuron: x and y, -1 to 1 across the map."""
        placed = self.mu if self.network is None else self.network()
        if self.offset is not None:
            placed = placed + self.offset
        return placed.clamp(-1, 1)

    def regularizer(self) -> Tensor:
        """Sum of absolute feature weights, and the pull of offsets towards the network."""
        size = self.features.abs().sum()
        return size if self.offset is None else size + PULL * (self.offset**2).sum()

    def _hold_positions(self) -> None:
        """Put free positions back on the map; outside, nothing would ever pull them back."""
        if self.training and self.network is None:
            with torch.no_grad():
                self.mu.clamp_(-1, 1)


class GaussianReadout(PointReadout):
    """One position a neuron, drawn from a Gaussian while learning, and one weight a channel.

    In training each image and neuron draws its own position (which lets the gradient see
    beyond the four nearest map points); in evaluation the mean is used.

    Parameters
    ----------
    channel : int
        Channels of the map.
    position : Tensor of shape (n_neuron, 2)
        Starting positions (x, y) on the map, -1 to 1.
    sigma : float
        Start of the square root of the covariance: the standard deviation of each coordinate,
        or, where the covariance is full, the range of a uniform draw of the matrix.
    covariance : {"full", "uncorrelated", "isotropic"}
        Form of the Gaussian.
    network, offset
        As in `PointReadout`.
    generator : torch.Generator, optional
        For the random start.

    References
    ----------
    Lurz et al. (2021), ICLR.

    """

    def __init__(
        self,
        channel: int,
        position: Tensor,
        *,
        sigma: float = 0.1,
        covariance: str = "full",
        network: PositionNetwork | None = None,
        offset: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(position, network, offset)
        n_neuron = len(position)
        start = torch.full((n_neuron, *COVARIANCES[covariance]), sigma)
        if covariance == "full":
            start *= 2 * torch.rand(start.shape, generator=generator) - 1
        self.sigma = nn.Parameter(start)
        self.features = nn.Parameter(torch.full((n_neuron, channel), 1 / channel))
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
        position, features = self.position[chosen], self.features[chosen]
        bias = self.bias[chosen]
        if paired:
            own = position if shift is None else position + shift
            return (sample_points(maps.to(features.dtype), own) * features).sum(1) + bias
        grid = position.expand(len(maps), -1, -1)
        if self.training:
            grid = (grid + self._draw(grid, chosen)).clamp(-1, 1)
        if shift is not None:
            grid = grid + shift[:, None]
        return weigh_points(maps, grid, features) + bias

    def _draw(self, grid: Tensor, chosen: slice | Tensor) -> Tensor:
        """Distance (batch, neuron, 2) of each image's positions from their means."""
        # drawn on the CPU in single precision, so that all devices and precisions draw the same
        normal = torch.randn(grid.shape, generator=self.generator, device="cpu").to(grid)
        sigma = self.sigma[chosen]
        if sigma.ndim == 3:
            return torch.einsum("nij,bnj->bni", sigma, normal)
        return sigma * normal


class _SharedFeatures(nn.Module):
    """Feature weights of a neuron as those of its group, times a scale of its own."""

    group: Tensor
    first: Tensor

    def __init__(self, group: np.ndarray, first: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("group", torch.as_tensor(group), persistent=False)
        self.register_buffer("first", torch.as_tensor(first), persistent=False)

    def forward(self, vectors: Tensor, scale: Tensor) -> Tensor:
        return scale[:, None] * vectors[self.group]

    def right_inverse(self, features: Tensor) -> tuple[Tensor, Tensor]:
        vectors = features[self.first]
        own = vectors[self.group]
        size = (own**2).sum(1)
        scale = (features * own).sum(1) / size.clamp(min=1e-30)
        return vectors, torch.where(size > 0, scale, torch.ones_like(scale))


AnyReadout = TypeVar("AnyReadout", bound=Readout)


def share_features(readout: AnyReadout, value: np.ndarray) -> AnyReadout:
    """Let neurons with an equal value share one feature vector; scale and bias stay their own.

    Parameters
    ----------
    readout : Readout
        Changed in place: its `features` (n_neuron, n_feature) are then computed from
        ``parametrizations.features.original0`` (n_group, n_feature), in the order of the
        sorted values, and ``original1`` (n_neuron,), the scales, which are 1 for the first
        of each group and for those with equal features.
    value : array of shape (n_neuron,)
        E.g. the identity of a cell that several sessions recorded.

    Returns
    -------
    Readout
        The same.

    """
    _, first, group = np.unique(value, return_index=True, return_inverse=True)
    parametrize.register_parametrization(readout, "features", _SharedFeatures(group, first))
    return readout


def place_neurons(
    architecture: Architecture,
    position: Tensor,
    neurons: xr.Dataset,
    generator: torch.Generator | None,
) -> dict[str, Any]:
    """Arguments `network` and `offset` of a `PointReadout`, as the architecture says.

    Raises
    ------
    InputError
        If cortical coordinates are asked for and absent or not finite.

    """
    if architecture.positions == "free":
        return {"network": None, "offset": False}
    asked = f"`positions={architecture.positions}` needs neuron coordinates x_um and y_um"
    missing = [name for name in ("x_um", "y_um") if name not in neurons.coords]
    if missing:
        msg = f"{asked}; missing {missing}. Give them, or set `positions=free`."
        raise InputError(msg)
    cortex = np.stack([neurons.x_um.values, neurons.y_um.values], axis=1).astype(np.float64)
    lost = np.flatnonzero(~np.isfinite(cortex).all(axis=1))
    if len(lost):
        msg = (
            f"{asked}, but they are not finite for {len(lost)} of {len(cortex)} neurons, first "
            f"neuron {lost[0]}. Leave these out, or set `positions=free`."
        )
        raise InputError(msg)
    network = PositionNetwork(cortex, generator=generator)
    network.fit(position)
    return {"network": network, "offset": architecture.positions == "both"}


def share_as_asked(
    readout: AnyReadout, architecture: Architecture, neurons: xr.Dataset
) -> AnyReadout:
    """Share features among neurons by the coordinate the architecture names, if it does.

    Raises
    ------
    InputError
        If there is no such coordinate, or some neurons have no value in it.

    """
    name = architecture.share_features
    if not name:
        return readout
    known = [str(key) for key, value in neurons.coords.items() if value.dims == ("neuron",)]
    if name not in known:
        msg = f"`share_features` names {name!r}, which is no neuron coordinate; known: {known}."
        raise InputError(msg)
    lost = np.flatnonzero(neurons[name].isnull().values)
    if len(lost):
        msg = (
            f"`share_features` names {name!r}, which {len(lost)} neurons have no value of, "
            f"first neuron {lost[0]}. Give each a value, its own where it shares with none."
        )
        raise InputError(msg)
    return share_features(readout, neurons[name].values)


def build_gaussian(
    architecture: Architecture,
    channel: int,
    map_shape: tuple[int, int],
    position: Tensor,
    neurons: xr.Dataset,
    generator: torch.Generator,
) -> Readout:
    """Gaussian readout of an architecture."""
    del map_shape  # positions are relative to it
    readout = GaussianReadout(
        channel,
        position,
        sigma=architecture.sigma,
        covariance=architecture.covariance,
        generator=generator,
        **place_neurons(architecture, position, neurons, generator),
    )
    return share_as_asked(readout, architecture, neurons)
