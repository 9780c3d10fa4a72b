"""Readouts: where on the map each neuron looks, and how it weighs the features it finds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from twinlab.twins.sampling import sample_points, weigh_points

__all__ = ["GaussianReadout", "PositionNetwork", "Readout"]


class Readout(nn.Module):
    """What a deep twin asks of its readout.

    Attributes
    ----------
    generator : torch.Generator, optional
        Draws whatever is random in training, so that a resumed fit draws the same.
    bias : nn.Parameter of shape (n_neuron,)
        Drive without any feature; set to where the mean response is.

    """

    generator: torch.Generator | None = None
    bias: nn.Parameter

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
        shift : Tensor of shape (batch, 2), optional
            Added to every position: where the eye moved the image.
        neuron : Tensor of int of shape (n,), optional
        paired : bool

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

    References
    ----------
    Lurz et al. (2021), ICLR.

    """

    cortex: Tensor

    def __init__(self, cortex: np.ndarray, hidden: int = 30) -> None:
        super().__init__()
        centred = np.asarray(cortex, np.float64) - np.mean(cortex, axis=0)
        scaled = centred / max(np.abs(centred).max(), 1e-12)
        self.register_buffer("cortex", torch.as_tensor(scaled, dtype=torch.float32))
        self.network = nn.Sequential(
            nn.Linear(2, hidden), nn.ELU(), nn.Linear(hidden, 2), nn.Tanh()
        )

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


class GaussianReadout(Readout):
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
        Range of the uniform start of the square root of the covariance.
    network : PositionNetwork, optional
        Predicts the positions; they are free parameters where absent.
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
        network: PositionNetwork | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        n_neuron = len(position)
        self.network = network
        if network is None:
            self.mu = nn.Parameter(position.clone().float())
        noise = torch.rand(n_neuron, 2, 2, generator=generator)
        self.sigma = nn.Parameter((2 * noise - 1) * sigma)
        self.features = nn.Parameter(torch.full((n_neuron, channel), 1 / channel))
        self.bias = nn.Parameter(torch.zeros(n_neuron))

    @property
    def position(self) -> Tensor:
        """Mean position (neuron, 2) of each neuron: x and y, -1 to 1 across the map."""
        free = self.mu if self.network is None else self.network()
        return free.clamp(-1, 1)

    def forward(
        self,
        maps: Tensor,
        *,
        shift: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Drive of each neuron for each map; see `Readout.forward`."""
        if self.training and self.network is None:
            with torch.no_grad():  # outside, nothing would ever pull a position back
                self.mu.clamp_(-1, 1)
        chosen = slice(None) if neuron is None else neuron
        position, features = self.position[chosen], self.features[chosen]
        bias = self.bias[chosen]
        if paired:
            own = position if shift is None else position + shift
            return (sample_points(maps, own) * features).sum(1) + bias
        grid = position.expand(len(maps), -1, -1)
        if self.training:
            sigma = self.sigma[chosen]
            normal = torch.randn(grid.shape, generator=self.generator, device="cpu")
            drawn = torch.einsum("nij,bnj->bni", sigma, normal.to(maps.device))
            grid = (grid + drawn).clamp(-1, 1)
        if shift is not None:
            grid = grid + shift[:, None]
        return weigh_points(maps, grid, features) + bias

    def regularizer(self) -> Tensor:
        """Sum of absolute feature weights."""
        return self.features.abs().sum()
