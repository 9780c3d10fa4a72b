"""Gaussian noise images: white, pink, or with any power law of frequency."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.schema import InputError, check_seed
from twinlab.stimuli.parameters import label

__all__ = ["make_noise"]

# Exponent of the amplitude spectrum, 1 / frequency ** exponent.
NOISE_EXPONENTS = {"white": 0.0, "pink": 1.0}


def make_noise(
    n: int,
    height: int,
    width: int,
    seed: int,
    *,
    kind: str = "white",
    exponent: float | None = None,
    channel: int = 1,
    mean: float = 127.5,
    contrast: float = 0.25,
) -> xr.DataArray:
    """Gaussian noise images.

    Parameters
    ----------
    n : int
        How many images.
    height, width, channel : int
        Size of the images; channels are independent.
    seed : int
    kind : {"white", "pink"}
        White noise has independent pixels. Pink noise has power proportional to
        1 / frequency ** 2, as natural images have; opposite edges join.
    exponent : float, optional
        Of noise with an amplitude proportional to 1 / frequency ** exponent, instead of `kind`:
        0 is white and 1 pink, between them it is finer and above coarser than natural images.
    mean : float
        Expected grey level.
    contrast : float
        RMS contrast: the expected standard deviation of the pixels divided by `mean`. Grey
        levels are not clipped: at the default, 1 pixel in 16,000 is below 0 or above 255.

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x), float32 grey levels.

    Raises
    ------
    InputError
        If `kind` is unknown, a size is not positive, the contrast is negative or the exponent
        is not from -4 to 4.

    """
    if kind not in NOISE_EXPONENTS:
        msg = f"Unknown noise {kind!r}; `kind` must be one of {list(NOISE_EXPONENTS)}."
        raise InputError(msg)
    if min(n, height, width, channel) < 1 or contrast < 0:
        msg = (
            "Noise needs `n`, `height`, `width` and `channel` of at least 1 and a `contrast` "
            f"of at least 0, but got {n}, {height}, {width}, {channel} and {contrast:g}."
        )
        raise InputError(msg)
    if exponent is not None and not -4 <= exponent <= 4:
        msg = f"`exponent` must be from -4 to 4, but got {exponent:g}."
        raise InputError(msg)
    name = f"{kind} noise" if exponent is None else f"1/f^{exponent:g} noise"
    exponent = NOISE_EXPONENTS[kind] if exponent is None else exponent
    noise = np.random.default_rng(check_seed(seed)).standard_normal((n, channel, height, width))
    if exponent:
        noise = _filtered(noise, exponent)
    stimulus = label((mean * (1 + contrast * noise)).astype(np.float32), {})
    stimulus.attrs |= {
        "kind": name,
        "seed": seed,
        "rms_contrast": contrast,
        "exponent": float(exponent),
    }
    return stimulus


def _filtered(noise: np.ndarray, exponent: float) -> np.ndarray:
    """Noise of unit expected variance with an amplitude of 1 / frequency ** exponent."""
    height, width = noise.shape[-2:]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    # The mean has no finite amplitude under the law; without it each image has the same mean.
    amplitude = np.where(frequency > 0, np.maximum(frequency, 1e-12) ** -exponent, 0.0)
    amplitude /= np.sqrt((amplitude**2).mean())
    return np.fft.ifft2(np.fft.fft2(noise) * amplitude).real
