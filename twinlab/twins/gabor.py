"""A fixed bank of Gabor filters: the classical front end of visual cortex, without weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["GaborEnergy"]


class GaborPairs(nn.Module):
    """Gabor filters in quadrature pairs, at all places of the image.

    Maps are (batch, 2 * wavelength * orientation, y, x), the even filters (cosine) first. A
    grating of amplitude 1 and a filter's own frequency and orientation drives its pair to a
    length of 1; grey (zero) and any constant image to 0.
    """

    def __init__(self, wavelengths: Sequence[float], orientations: int) -> None:
        super().__init__()
        for number, wavelength in enumerate(wavelengths):
            pairs = torch.as_tensor(_gabor_pairs(wavelength, orientations), dtype=torch.float32)
            self.register_buffer(f"filters{number}", pairs)

    def forward(self, image: Tensor) -> Tensor:
        """Filtered images, (batch, 2 * wavelength * orientation, y, x)."""
        even, odd = [], []
        for filters in self.buffers():
            maps = F.conv2d(image, filters, padding=filters.shape[-1] // 2)
            even.append(maps[:, ::2])
            odd.append(maps[:, 1::2])
        return torch.cat(even + odd, dim=1)


class PairLength(nn.Module):
    """Length of each pair: the square root of the energy, whatever the phase."""

    def forward(self, pairs: Tensor) -> Tensor:
        """Lengths (batch, channel, y, x) of pairs (batch, 2 * channel, y, x)."""
        even, odd = pairs.chunk(2, dim=1)
        # The gradient of a bare root is infinite at zero, and grey is zero.
        return (even.square() + odd.square() + 1e-6).sqrt()


class GaborEnergy(nn.Module):
    """Complex cells in the energy form: pairs of Gabor filters, and the length of each pair.

    Its layers are `pairs` (simple cells, linear) and `energy` (complex cells, the output).
    Channel ``w * orientations + o`` prefers wavelength `w` and bars at ``180 * o / orientations``
    degrees (0 is horizontal, 45 rises to the right).

    Parameters
    ----------
    wavelengths : sequence of float
        Preferred wavelengths, in pixels.
    orientations : int
        Preferred orientations, evenly over half a turn.

    References
    ----------
    Adelson and Bergen (1985), J. Opt. Soc. Am. A 2(2): 284-299.

    """

    in_channels = 1

    def __init__(
        self, wavelengths: Sequence[float] = (4.0, 6.0, 9.0, 13.5), orientations: int = 8
    ) -> None:
        super().__init__()
        self.pairs = GaborPairs(wavelengths, orientations)
        self.energy = PairLength()

    def forward(self, image: Tensor) -> Tensor:
        """Energy (batch, wavelength * orientation, y, x) of a grey image (batch, 1, y, x)."""
        return self.energy(self.pairs(image))


def _gabor_pairs(wavelength: float, orientations: int) -> np.ndarray:
    """Even and odd filter of each orientation in turn, (2 * orientation, 1, y, x)."""
    spread = wavelength / 2  # a bandwidth of 1.1 octaves
    reach = int(np.ceil(2.5 * spread))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    envelope = np.exp(-(x**2 + y**2) / (2 * spread**2))
    envelope /= envelope.sum()
    pairs = []
    for angle in np.pi * np.arange(orientations) / orientations:
        wave = np.exp(2j * np.pi / wavelength * (x * np.sin(angle) + y * np.cos(angle)))
        gabor = envelope * (wave - (envelope * wave).sum())  # blind to constant images
        gabor *= 2 / np.abs((gabor * wave.conj()).sum())
        pairs += [gabor.real, gabor.imag]
    return np.stack(pairs)[:, None]
