"""Gabors: gratings in a round Gaussian envelope."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.stimuli.gratings import shade
from twinlab.stimuli.parameters import (
    Values,
    aliased_gratings,
    alike,
    along_across,
    broadcast,
    in_pixels,
    label,
    mark_aliased,
    pixels,
)

__all__ = ["gabor_patches", "make_gabors"]


def make_gabors(
    x: Values,
    y: Values,
    orientation: Values,
    spatial_frequency: Values,
    phase: Values,
    size: Values,
    *,
    height: int,
    width: int,
    channel: int = 1,
    mean: float = 127.5,
    contrast: Values = 1.0,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    """Gabor patches, one image for each set of parameters.

    Parameters
    ----------
    x, y : float or array of shape (n_image,)
        Centre, in pixels or degrees.
    orientation, spatial_frequency : float or array of shape (n_image,)
        As in `make_gratings`.
    phase : float or array of shape (n_image,)
        At the centre of the patch, in degrees.
    size : float or array of shape (n_image,)
        Standard deviation of the round Gaussian envelope, in pixels or degrees.
    height, width, channel, mean, degrees_per_pixel
        As in `make_gratings`.
    contrast : float or array of shape (n_image,)
        Michelson contrast of the carrier, 0 to 1.

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x), float32 grey levels, with `aliased` as in
        `make_gratings`.

    Raises
    ------
    InputError
        As `make_gratings`, or if a size is not positive.

    """
    pixels(height, width, channel)
    parameters = broadcast(
        center_x=x,
        center_y=y,
        orientation=orientation,
        spatial_frequency=spatial_frequency,
        phase=phase,
        size=size,
        contrast=contrast,
    )
    drawn = in_pixels(parameters, degrees_per_pixel)
    wave = gabor_patches(
        *(drawn[name] for name in drawn if name != "contrast"), height=height, width=width
    )
    stimulus = label(
        alike(shade(wave, mean, drawn["contrast"]), channel),
        parameters,
        degrees_per_pixel=degrees_per_pixel,
    )
    return mark_aliased(
        stimulus, aliased_gratings(drawn["orientation"], drawn["spatial_frequency"])
    )


def gabor_patches(
    x: np.ndarray,
    y: np.ndarray,
    orientation: np.ndarray,
    spatial_frequency: np.ndarray,
    phase: np.ndarray,
    size: np.ndarray,
    *,
    height: int,
    width: int,
    elongation: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Gabor functions with values between -1 and 1, as arrays.

    Parameters
    ----------
    x, y, orientation, spatial_frequency, phase, size : ndarray of shape (n,)
        As in `make_gabors`, in pixels.
    height, width : int
    elongation : float or ndarray of shape (n,)
        Standard deviation of the envelope along the bars divided by that across them.

    Returns
    -------
    ndarray of shape (n, height, width)

    """
    column, row = np.arange(width), np.arange(height)[:, None]
    dx = column - np.asarray(x, float)[:, None, None]
    dy = row - np.asarray(y, float)[:, None, None]
    along, across = along_across(dx, dy, np.asarray(orientation, float)[:, None, None])
    along /= np.reshape(elongation, (-1, 1, 1))
    sigma = np.asarray(size, float)[:, None, None]
    envelope = np.exp(-(across**2 + along**2) / (2 * sigma**2))
    frequency = np.asarray(spatial_frequency, float)[:, None, None]
    return envelope * np.cos(2 * np.pi * frequency * across + np.deg2rad(phase)[:, None, None])
