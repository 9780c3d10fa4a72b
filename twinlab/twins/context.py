"""What the animal does: where its eye points (shifter) and how awake it is (modulator)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Modulator", "Shifter"]


class Shifter(nn.Module):
    """Shift of the readout positions, from the pupil's position (z units).

    Three layers, each followed by a tanh, without biases at the start: the typical pupil (0)
    is exactly no shift. The hidden layers are drawn for the tanh (Glorot and Bengio 2010), the
    last one small, so that all layers learn from the first step and no pupil yet moves much.

    Parameters
    ----------
    hidden : int
        Units of each hidden layer.

    References
    ----------
    Walker et al. (2019), Nature Neuroscience 22, 2060.

    """

    def __init__(self, hidden: int = 5) -> None:
        super().__init__()
        first, second, last = nn.Linear(2, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 2)
        for layer in (first, second):
            nn.init.xavier_uniform_(layer.weight, gain=nn.init.calculate_gain("tanh"))
        nn.init.normal_(last.weight, std=1e-2)
        for layer in (first, second, last):
            nn.init.zeros_(layer.bias)
        self.network = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), last, nn.Tanh())

    def forward(self, pupil_center: Tensor) -> Tensor:
        """Shift (batch, 2) in map halves, rightward and downward, for pupils (batch, 2)."""
        return self.network(pupil_center)


class Modulator(nn.Module):
    """Gain of each neuron from behaviour (z units): a few shared states, weighed by neuron.

    The gain is the exponential of the weighed states, so that it starts at 1 and can fall
    below it: neurons that locomotion suppresses exist.

    Parameters
    ----------
    channel : int
        Channels of behaviour.
    n_neuron : int
    hidden : int
        Shared states beside the channels themselves.

    """

    def __init__(self, channel: int, n_neuron: int, hidden: int = 8) -> None:
        super().__init__()
        self.states = nn.Sequential(nn.Linear(channel, hidden), nn.Tanh())
        self.of_behavior = nn.Parameter(torch.zeros(n_neuron, channel))
        self.of_state = nn.Parameter(torch.zeros(n_neuron, hidden))

    def forward(self, behavior: Tensor, neuron: Tensor | None, paired: bool) -> Tensor:
        """Gain (batch, neuron), or (batch,) if paired, for behaviour (batch, channel)."""
        chosen = slice(None) if neuron is None else neuron
        of_behavior, of_state = self.of_behavior[chosen], self.of_state[chosen]
        states = self.states(behavior)
        if paired:
            return ((behavior * of_behavior).sum(1) + (states * of_state).sum(1)).exp()
        return (behavior @ of_behavior.T + states @ of_state.T).exp()
