"""A bar at rest on a grey screen, and strokes drawn by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from twinlab.schema import InputError
from twinlab.stimuli.parameters import (
    Values,
    alike,
    along_across,
    broadcast,
    centre_of,
    in_pixels,
    label,
    pixels,
)

__all__ = ["Stroke", "covered", "make_bars", "make_strokes"]

# Points (x, y) in pixels, in the order of drawing; breadth in pixels; Weber contrast.
Stroke = tuple[Sequence[tuple[float, float]], float, float]


def make_bars(
    orientation: Values,
    *,
    bar_width: Values,
    height: int,
    width: int,
    bar_length: Values = np.inf,
    center: tuple[Values, Values] | None = None,
    channel: int = 1,
    mean: float = 127.5,
    contrast: Values = 1.0,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    """One bar on a grey screen, one image for each set of parameters.

    Parameters
    ----------
    orientation : float or array of shape (n_image,)
        Of the bar, in degrees counter-clockwise from horizontal.
    bar_width, bar_length : float or array of shape (n_image,)
        Across and along the bar, in pixels, or degrees of visual angle where
        `degrees_per_pixel` is given; it runs across the whole screen where no length is given.
    height, width, channel : int
        Size of the images; all channels are alike.
    center : (x, y), optional
        In pixels or degrees; the middle of the screen where absent.
    mean : float
        Grey level of the background.
    contrast : float or array of shape (n_image,)
        Weber contrast, the difference between bar and background as a share of the background:
        1 is white on grey, -1 black.
    degrees_per_pixel : float, optional

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x), float32 grey levels; a pixel that the bar covers in part
        is between the two.

    Raises
    ------
    InputError
        If a parameter is out of range or the parameters have different lengths.

    """
    x, y = pixels(height, width, channel)
    center_x, center_y = centre_of(x, y, center, degrees_per_pixel)
    parameters = broadcast(
        orientation=orientation,
        bar_width=bar_width,
        bar_length=bar_length,
        center_x=center_x,
        center_y=center_y,
        weber_contrast=contrast,
    )
    drawn = in_pixels(parameters, degrees_per_pixel)
    column = {name: value[:, None, None] for name, value in drawn.items()}
    dx, dy = x - column["center_x"], y - column["center_y"]
    along, across = along_across(dx, dy, column["orientation"])
    bar = covered(across, column["bar_width"]) * covered(along, column["bar_length"])
    stimulus = label(
        alike(mean * (1 + column["weber_contrast"] * bar), channel),
        parameters,
        degrees_per_pixel=degrees_per_pixel,
    )
    stimulus.attrs["kind"] = "bars"
    return stimulus


def make_strokes(
    strokes: Sequence[Stroke],
    *,
    height: int,
    width: int,
    channel: int = 1,
    mean: float = 127.5,
) -> xr.DataArray:
    """One image of strokes drawn by hand on a grey screen.

    Parameters
    ----------
    strokes : sequence of (points, breadth, contrast)
        Each with its points (x, y) in the order in which they were drawn, its breadth, both in
        pixels, and its Weber contrast, -1 (black) or above. Where two cross, the later is on top.
    height, width, channel : int
        Size of the image; all channels are alike.
    mean : float
        Grey level of the background.

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x), one image of float32 grey levels. A pixel that a stroke
        covers in part is between the two.

    Raises
    ------
    InputError
        If a stroke has no points, a point is not finite, a breadth is not positive or a contrast
        is below -1.

    """
    x, y = pixels(height, width, channel)
    shape = np.broadcast_shapes(x.shape, y.shape)
    place = np.stack([np.broadcast_to(axis, shape) for axis in (x, y)], -1)
    image = np.full(shape, mean, float)
    for number, (points, breadth, contrast) in enumerate(strokes):
        path = np.asarray(points, float)
        fits = path.ndim == 2 and path.shape[1:] == (2,) and path.size and np.isfinite(path).all()
        if not fits or not 0 < breadth < np.inf or not -1 <= contrast < np.inf:
            msg = (
                f"Stroke {number} has points of shape {path.shape}, breadth {breadth:g} and "
                f"contrast {contrast:g}; expected finite points (n, 2), a positive breadth and a "
                "contrast of at least -1."
            )
            raise InputError(msg)
        share = np.clip(breadth / 2 + 0.5 - _distance(place, path), 0, 1)
        image += share * (mean * (1 + contrast) - image)
    stimulus = label(alike(image[None], channel), {})
    stimulus.attrs["kind"] = "strokes"
    return stimulus


def covered(offset: np.ndarray, breadth: np.ndarray) -> np.ndarray:
    """Share of a pixel's breadth that lies within a strip, at `offset` from its middle."""
    half = breadth / 2
    return np.clip(np.minimum(offset + 0.5, half) - np.maximum(offset - 0.5, -half), 0, 1)


def _distance(place: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Distance of places (..., 2) from the line through points (n, 2)."""
    nearest = np.linalg.norm(place - path[0], axis=-1)
    for start, end in zip(path[:-1], path[1:], strict=True):
        along, away = end - start, place - start
        share = np.clip((away @ along) / max(float(along @ along), 1e-12), 0, 1)
        np.minimum(nearest, np.linalg.norm(away - share[..., None] * along, axis=-1), out=nearest)
    return nearest
