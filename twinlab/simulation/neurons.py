"""What a simulated neuron computes: filters, a nonlinearity of its kind, a gain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from twinlab.twins import StimulusSpec, Twin

__all__ = ["KINDS", "SimulatedTwin", "shift_images"]

BLANK_ENERGY = 0.1  # keeps the root of the energy smooth, and the cell faintly active, at 0
SEMI_SATURATION = 0.5  # pool energy at which half of the largest response is reached
SURROUND_STRENGTH = 1.5  # suppression per unit of energy in the annulus


def rate_simple(drive: Tensor) -> Tensor:
    """Half-rectified linear drive: a smooth rectifier of the one filter."""
    return nn.functional.softplus(drive[..., 0], beta=2.0)


def energy(drive: Tensor) -> Tensor:
    """Sum of the squares of each quadrature pair; filters come even, odd, even, odd, ..."""
    return drive[..., 0::2] ** 2 + drive[..., 1::2] ** 2


def rate_complex(drive: Tensor) -> Tensor:
    """Square root of the energy of one pair: blind to phase, proportional to contrast."""
    return torch.sqrt(energy(drive)[..., 0] + BLANK_ENERGY)


def rate_normalized(drive: Tensor) -> Tensor:
    """Energy of the first pair, divided by that of all orientations at the same place."""
    pairs = energy(drive)
    return pairs[..., 0] / (SEMI_SATURATION + pairs.mean(-1))


def rate_surround(drive: Tensor) -> Tensor:
    """Energy of the first pair, divided by that of the others, which lie around it."""
    pairs = energy(drive)
    return pairs[..., 0] / (1 + SURROUND_STRENGTH * pairs[..., 1:].mean(-1))


# (..., neuron, filter) -> (..., neuron); the energies are in units of their natural mean.
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "simple": rate_simple,
    "complex": rate_complex,
    "normalized": rate_normalized,
    "surround": rate_surround,
}


class SimulatedTwin(Twin):
    """The simulated neurons themselves, as a twin that predicts them perfectly.

    Parameters
    ----------
    spec : StimulusSpec
    neurons : xarray.Dataset
        With `true_type`, one of `KINDS`, for each neuron.
    filters : mapping of str to ndarray of shape (n_neuron_of_kind, n_filter, n_pixel)
        For each of `KINDS`, in the order of `neurons`.
    gain : ndarray of shape (n_neuron, n_behavior_channel)
        Change of the logarithm of the rate per standard deviation of each behaviour.
    gaze_shift : float
        Pixels that the receptive fields move per standard deviation of the pupil's position.
    context : mapping of str to sequence of float
        Typical `behavior` and `pupil_center`.
    spread : mapping of str to sequence of float
        Their standard deviations.
    origin : mapping
        Where it comes from.

    """

    kind: Tensor
    row: Tensor
    scale: Tensor
    gain: Tensor

    def __init__(
        self,
        spec: StimulusSpec,
        neurons: xr.Dataset,
        filters: Mapping[str, np.ndarray],
        *,
        gain: np.ndarray,
        gaze_shift: float,
        context: Mapping[str, Sequence[float]],
        spread: Mapping[str, Sequence[float]],
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(spec, neurons, context, origin)
        self.gaze_shift = gaze_shift
        kind = np.array([list(KINDS).index(name) for name in neurons.true_type.values])
        row = np.array([np.count_nonzero(kind[:i] == k) for i, k in enumerate(kind)])
        self.register_buffer("kind", torch.as_tensor(kind))
        self.register_buffer("row", torch.as_tensor(row))  # position within the kind
        self.register_buffer("scale", torch.ones(len(kind)))  # mean events per unit drive
        self.register_buffer("gain", torch.as_tensor(gain, dtype=torch.float32))
        for name in KINDS:
            self.register_buffer(
                f"filters_{name}", torch.as_tensor(filters[name], dtype=torch.float32)
            )
        for name, value in spread.items():
            self.register_buffer(f"typical_{name}", torch.tensor(self.context[name]))
            self.register_buffer(f"spread_{name}", torch.as_tensor(value, dtype=torch.float32))

    def forward(
        self,
        stimulus: Tensor,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Mean response of each neuron to each image, in events per trial."""
        seen = (stimulus - self.spec.mean) / self.spec.std
        if pupil_center is not None:
            seen = shift_images(seen, self.gaze_shift * self._scaled("pupil_center", pupil_center))
        rate = self._rate(seen.flatten(1), neuron, paired)
        scale, gain = self._own("scale", neuron, rate), self._own("gain", neuron, rate)
        rate = rate * scale
        if behavior is None:
            return rate
        state = self._scaled("behavior", behavior)
        return rate * torch.exp((state * gain).sum(-1) if paired else state @ gain.T)

    def _own(self, name: str, neuron: Tensor | None, like: Tensor) -> Tensor:
        """What belongs to each neuron asked about."""
        values = getattr(self, name).to(like.dtype)
        return values if neuron is None else values[neuron]

    def _rate(self, seen: Tensor, neuron: Tensor | None, paired: bool) -> Tensor:
        """Rates before scale and state, (batch, neuron, ...), or (neuron, ...) if paired."""
        kind = self.kind if neuron is None else self.kind[neuron]
        rates, places = [], []
        for code, (name, rate_of_kind) in enumerate(KINDS.items()):
            place = torch.nonzero(kind == code)[:, 0]
            which = place if neuron is None else neuron[place]
            row = None if neuron is None else self.row[which]
            drive = self._drive(name, seen[place] if paired else seen, row, which, paired)
            rates.append(rate_of_kind(drive))
            places.append(place)
        order = torch.argsort(torch.cat(places))
        axis = 0 if paired else 1
        return torch.cat(rates, axis).index_select(axis, order)

    def _drive(
        self, kind: str, seen: Tensor, row: Tensor | None, neuron: Tensor, paired: bool
    ) -> Tensor:
        """Products of pixels (last) and the filters of neurons of a kind, filters last.

        `neuron` says which they are, `row` where in their kind, None if they are all of it.
        """
        del neuron  # what else differs between neurons of a kind is for subclasses
        filters = getattr(self, f"filters_{kind}").to(seen.dtype)
        if row is not None:
            filters = filters[row]
        if paired:
            return torch.einsum("n...p,nfp->n...f", seen, filters)
        drive = nn.functional.linear(seen, filters.flatten(0, 1))
        return drive.unflatten(-1, filters.shape[:2])

    def _scaled(self, name: str, value: Tensor) -> Tensor:
        """Context in standard deviations from what is typical."""
        typical, spread = getattr(self, f"typical_{name}"), getattr(self, f"spread_{name}")
        return (value - typical.to(value.dtype)) / spread.to(value.dtype)


def shift_images(images: Tensor, shift: Tensor) -> Tensor:
    """Images seen through receptive fields that moved, by bilinear interpolation.

    Parameters
    ----------
    images : Tensor of shape (batch, channel, y, x)
        Zero where the surrounding of the screen is.
    shift : Tensor of shape (batch, 2)
        Rightward and downward movement of the receptive fields, in pixels.

    Returns
    -------
    Tensor of shape (batch, channel, y, x)

    """
    # A bilinear shift is a product with one banded matrix an axis, which is exact for whole
    # pixels and has none of `grid_sample`'s conventions to get wrong.
    return _hats(shift[:, 1], images.shape[2]) @ images @ _hats(shift[:, 0], images.shape[3]).mT


def _hats(shift: Tensor, size: int) -> Tensor:
    """Weights of the pixels (last) at each shifted place (before), (batch, 1, size, size)."""
    pixel = torch.arange(size, device=shift.device, dtype=shift.dtype)
    distance = pixel[:, None] + shift[:, None, None] - pixel
    return (1 - distance.abs()).clamp(min=0)[:, None]
