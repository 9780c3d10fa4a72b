"""What a stimulus may look like: functions from stimuli to the nearest that may be shown.

A constraint takes stimuli (n, channel[, frame], y, x) in z units (standard deviations of the
training pixels from their mean), and which of all stimuli they are, ``row`` (n,); it returns them
changed. Several are applied one after the other, so that the last holds exactly. Any function will
do, such as one step of a denoiser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from twinlab.schema import InputError
from twinlab.twins import StimulusSpec

__all__ = [
    "Constraint",
    "constrain",
    "fix_contrast",
    "fix_norm",
    "fix_spectrum",
    "keep_inside",
    "keep_range",
    "keep_range_beside",
    "limit_norm",
    "match_norm",
    "mean_amplitude",
    "to_grey",
]

N_NEWTON = 12  # steps to a norm where pixels are cut

Constraint = Callable[[Tensor, Tensor], Tensor]


def constrain(z: Tensor, row: Tensor, constraints: Sequence[Constraint]) -> Tensor:
    """Apply one constraint after the other."""
    for constraint in constraints:
        z = constraint(z, row)
    return z


def fix_norm(norm: float) -> Constraint:
    """Zero mean and this L2 norm over all pixels; what has no contrast stays so."""
    _check_positive("norm", norm)

    def constraint(z: Tensor, row: Tensor) -> Tensor:
        del row
        z = _centred(z)
        return z * (norm / norm_of(z).clamp(min=1e-12))

    return constraint


def match_norm(z: Tensor, norm: float | Tensor, spec: StimulusSpec) -> Tensor:
    """Stimuli of zero mean and this L2 norm (of all, or each its own), cut to what can be shown.

    Where pixels are cut, all others are enlarged until the norm is what was asked, and the mean is
    near 0. It is less only where every pixel with contrast is at its limit.
    """
    z = _centred(z)
    wanted = torch.as_tensor(norm, dtype=z.dtype, device=z.device).view(-1, *[1] * (z.ndim - 1))
    keep, row = keep_range(spec), torch.empty(0)
    scale = wanted / norm_of(z).clamp(min=1e-12)
    # Of the square of the scale the squared norm is a polygon that bends downwards: Newton's steps
    # never go too far, and end at the solution itself.
    for _ in range(N_NEWTON):
        shown = keep(scale * z, row)
        free = shown == scale * z
        if free.all():
            break
        rest = (wanted**2 - norm_of(shown.where(~free, 0)) ** 2).clamp(min=1e-12)
        scale = rest.sqrt() / norm_of(z.where(free, 0)).clamp(min=1e-12)
    return keep(scale * z, row)


def to_grey(z: Tensor, norm: float | Tensor, spec: StimulusSpec) -> Tensor:
    """Stimuli as `match_norm` makes them, in grey levels."""
    return match_norm(z, norm, spec) * spec.std + spec.mean


def limit_norm(norm: float) -> Constraint:
    """L2 norm of this at most; the mean is left as it is."""
    _check_positive("norm", norm)
    return lambda z, row: z * (norm / norm_of(z).clamp(min=norm))


def fix_contrast(contrast: float, spec: StimulusSpec) -> Constraint:
    """Zero mean and this root mean square contrast: standard deviation over mean grey level."""
    _check_positive("contrast", contrast)
    deviation = contrast * abs(spec.mean) / spec.std

    def constraint(z: Tensor, row: Tensor) -> Tensor:
        del row
        z = _centred(z)
        rms = z.square().flatten(1).mean(1).sqrt().view(-1, *[1] * (z.ndim - 1))
        return z * (deviation / rms.clamp(min=1e-12))

    return constraint


def keep_range(spec: StimulusSpec) -> Constraint:
    """Pixels cut to what can be shown."""
    low, high = (spec.low - spec.mean) / spec.std, (spec.high - spec.mean) / spec.std
    return lambda z, row: z.clamp(low, high)


def keep_range_beside(spec: StimulusSpec, base: np.ndarray | Tensor) -> Constraint:
    """Pixels cut to what can be shown over a base and over its negative.

    The base, one for each stimulus (n, channel[, frame], y, x), is in z units and within the
    range itself, as its negative is.
    """
    low, high = (spec.low - spec.mean) / spec.std, (spec.high - spec.mean) / spec.std
    size = torch.as_tensor(base).abs()

    def constraint(z: Tensor, row: Tensor) -> Tensor:
        own = size[row].to(z)
        return torch.minimum(torch.maximum(z, low + own), high - own)

    return constraint


def keep_inside(mask: np.ndarray) -> Constraint:
    """Grey outside a mask (y, x), or one a stimulus (n, y, x), with values 0 to 1."""
    weight = torch.as_tensor(mask, dtype=torch.float32)
    fits = weight.ndim in (2, 3) and bool((weight > 0).flatten(-2).any(-1).all())
    if not fits or not ((weight >= 0) & (weight <= 1)).all():
        msg = (
            "A mask must be (y, x) or (n, y, x), 0 to 1, with pixels above 0 in each, but has "
            f"shape {tuple(weight.shape)}, {int((weight > 0).sum())} such pixels and values "
            f"{weight.min():g} to {weight.max():g}."
        )
        raise InputError(msg)

    def constraint(z: Tensor, row: Tensor) -> Tensor:
        own = weight.to(z)
        many = own.ndim == 2 or int(row.max()) < len(own)
        if own.shape[-2:] != z.shape[-2:] or not many:
            msg = (
                f"The mask has shape {tuple(own.shape)}, but stimuli are "
                f"{tuple(z.shape[-2:])} and numbered up to {int(row.max())}."
            )
            raise InputError(msg)
        if own.ndim == 3:  # of each stimulus
            own = own[row].view(len(z), *[1] * (z.ndim - 3), *own.shape[1:])
        return z * own

    return constraint


def fix_spectrum(amplitude: np.ndarray) -> Constraint:
    """Keep phases and set the amplitude (y, x) of each spatial frequency, as `fft2` orders them.

    For example ``abs(fft2(images)).mean(0)`` of images in z units.
    """
    wanted = torch.as_tensor(amplitude, dtype=torch.float32)

    def constraint(z: Tensor, row: Tensor) -> Tensor:
        del row
        spectrum = torch.fft.fft2(z)
        unit = spectrum / spectrum.abs().clamp(min=1e-12)
        return torch.fft.ifft2(unit * wanted.to(z.device)).real

    return constraint


def mean_amplitude(images: np.ndarray, spec: StimulusSpec, norm: float) -> np.ndarray:
    """Mean amplitude (y, x) of the spectra of images, for `fix_spectrum`.

    Parameters
    ----------
    images : ndarray of shape (n_image, channel, y, x)
        In grey levels.
    spec : StimulusSpec
    norm : float
        L2 norm over all channels that an image with these amplitudes has, in z units: natural
        images have more than a most exciting input.

    """
    _check_positive("norm", norm)
    z = (np.asarray(images, float) - spec.mean) / spec.std
    amplitude = np.abs(np.fft.fft2(z)).mean((0, 1))
    amplitude[0, 0] = 0.0  # the mean stays that of the training images
    reached = np.sqrt((amplitude**2).sum() * spec.channel / amplitude.size)  # Parseval
    return (amplitude * (norm / reached)).astype(np.float32)


def norm_of(z: Tensor) -> Tensor:
    """L2 norm of each stimulus, broadcast against them."""
    return z.flatten(1).norm(dim=1).view(-1, *[1] * (z.ndim - 1))


def _centred(z: Tensor) -> Tensor:
    return z - z.mean(tuple(range(1, z.ndim)), keepdim=True)


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        msg = f"`{name}` must be above 0, but is {value}."
        raise InputError(msg)
