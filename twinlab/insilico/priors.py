"""What shapes an ascent: functions from a gradient to the direction that is taken.

Each is linear and symmetric, so that a step along what it returns still leads up. They stand for
a change of the parameters: ascending in Fourier coefficients that are weighted by 1 / f is the
same as weighting the gradient's spectrum by 1 / f ** 2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from twinlab.schema import InputError

__all__ = ["Prior", "blur_gradient", "weigh_frequencies"]

Prior = Callable[[Tensor], Tensor]


def blur_gradient(sigma: float) -> Prior:
    """Gaussian blur of each picture with this standard deviation in pixels."""
    if not sigma > 0:
        msg = f"`sigma` of a blur must be above 0 pixels, but is {sigma}."
        raise InputError(msg)
    radius = max(1, round(3 * sigma))
    offset = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)

    def blur(gradient: Tensor) -> Tensor:
        own = kernel.to(gradient)
        flat = gradient.reshape(-1, 1, *gradient.shape[-2:])
        flat = F.conv2d(flat, own, padding=(0, radius))
        flat = F.conv2d(flat, own.transpose(2, 3), padding=(radius, 0))
        return flat.view_as(gradient)

    return blur


def weigh_frequencies(exponent: float) -> Prior:
    """Fourier parametrisation: coefficients weighted by 1 / frequency ** exponent.

    At exponent 1 all octaves are climbed alike, as in feature visualisation.

    References
    ----------
    Olah, Mordvintsev & Schubert (2017), Distill, doi 10.23915/distill.00007.

    """
    if exponent < 0:
        msg = f"`exponent` must be at least 0, but is {exponent}."
        raise InputError(msg)

    def weigh(gradient: Tensor) -> Tensor:
        height, width = gradient.shape[-2:]
        down = torch.fft.fftfreq(height, device=gradient.device)[:, None]
        frequency = torch.hypot(down, torch.fft.rfftfreq(width, device=gradient.device))
        weight = frequency.clamp(min=1 / max(height, width)) ** (-2 * exponent)
        spectrum = torch.fft.rfft2(gradient) * (weight / weight.max())
        return torch.fft.irfft2(spectrum, s=(height, width))

    return weigh
