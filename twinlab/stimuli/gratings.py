"""Gratings: luminance that varies as a cosine across the bars, full field or in a window."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from twinlab.stimuli.parameters import (
    Values,
    aliased_gratings,
    alike,
    broadcast,
    centre_of,
    in_pixels,
    label,
    mark_aliased,
    pixels,
    unit_per_pixel,
    video_times,
)

__all__ = [
    "aperture",
    "carrier",
    "make_drifting_gratings",
    "make_grating_grid",
    "make_gratings",
    "shade",
    "window",
]


def make_gratings(
    orientation: Values,
    spatial_frequency: Values,
    phase: Values = 0.0,
    *,
    height: int,
    width: int,
    channel: int = 1,
    mean: float = 127.5,
    contrast: Values = 1.0,
    center: tuple[Values, Values] | None = None,
    radius: Values | None = None,
    edge: Values | None = None,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    r"""Sinusoidal gratings, one image for each set of parameters.

    With orientation :math:`o`, frequency :math:`f`, phase :math:`p` and contrast :math:`c`,

    .. math:: L(x, y) = m + m c \cos(2 \pi f (x \sin o + y \cos o) + p)

    Every parameter can be an array, so that one call makes a series in it.

    Parameters
    ----------
    orientation : float or array of shape (n_image,)
        Of the bars, in degrees: 0 is horizontal, 45 rises to the right, 90 is vertical.
    spatial_frequency : float or array of shape (n_image,)
        In cycles per pixel, or per degree of visual angle where `degrees_per_pixel` is given.
    phase : float or array of shape (n_image,)
        At the first pixel, in degrees.
    height, width, channel : int
        Size of the images; all channels are alike.
    mean : float
        Grey level of the background.
    contrast : float or array of shape (n_image,)
        Michelson contrast, 0 to 1.
    center : (x, y), optional
        Centre of the aperture in pixels or degrees, each a number or an array of shape
        (n_image,); the middle of the image where absent.
    radius : float or array of shape (n_image,), optional
        Of a round aperture, in pixels or degrees, to the middle of its edge; infinite is full
        field, which it is where absent.
    edge : float or array of shape (n_image,), optional
        Width over which the aperture fades as a raised cosine; one pixel where absent.
    degrees_per_pixel : float, optional
        With it, lengths and positions are in degrees of visual angle and frequencies in cycles
        per degree, and so are the coordinates.

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x), float32 grey levels. `aliased` marks gratings with
        fewer than two pixels to a cycle, of which a warning tells.

    Raises
    ------
    InputError
        If the parameters have different lengths, or a size, frequency or contrast is
        out of range.

    Examples
    --------
    A size series and a contrast series:

    >>> sizes = make_gratings(45, 0.1, height=36, width=64, radius=[4, 8, 16], edge=2)
    >>> sizes.radius.values, sizes.radius.units
    (array([ 4.,  8., 16.]), 'px')
    >>> contrasts = make_gratings(45, 0.1, height=36, width=64, contrast=[0.1, 0.3, 1])
    >>> contrasts.shape
    (3, 1, 36, 64)

    """
    x, y = pixels(height, width, channel)
    parameters = broadcast(
        orientation=orientation,
        spatial_frequency=spatial_frequency,
        phase=phase,
        contrast=contrast,
        **window(x, y, center, radius, edge, degrees_per_pixel),
    )
    drawn = in_pixels(parameters, degrees_per_pixel)
    wave = carrier(x, y, drawn["orientation"], drawn["spatial_frequency"], drawn["phase"])
    if radius is not None:
        wave *= aperture(x, y, drawn)
    stimulus = label(
        alike(shade(wave, mean, drawn["contrast"]), channel),
        parameters,
        degrees_per_pixel=degrees_per_pixel,
    )
    return mark_aliased(
        stimulus, aliased_gratings(drawn["orientation"], drawn["spatial_frequency"])
    )


def make_grating_grid(
    orientation: Values,
    spatial_frequency: Values,
    phase: Values = 0.0,
    **settings: Any,
) -> xr.DataArray:
    """Gratings at every combination of orientation, spatial frequency and phase.

    Parameters
    ----------
    orientation : array of shape (n_orientation,)
        In degrees.
    spatial_frequency : array of shape (n_spatial_frequency,)
        In cycles per pixel, or per degree of visual angle where `degrees_per_pixel` is given.
    phase : array of shape (n_phase,)
        In degrees.
    **settings
        As `make_gratings` takes them.

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x); the phase changes fastest, then the frequency, so
        that responses reshape to (orientation, spatial_frequency, phase).

    """
    axes = [np.atleast_1d(axis) for axis in (orientation, spatial_frequency, phase)]
    grid = [values.ravel() for values in np.meshgrid(*axes, indexing="ij")]
    return make_gratings(*grid, **settings)


def make_drifting_gratings(
    direction: Values,
    spatial_frequency: Values,
    *,
    temporal_frequency_hz: Values,
    n_frame: int,
    frame_rate_hz: float,
    height: int,
    width: int,
    channel: int = 1,
    mean: float = 127.5,
    contrast: Values = 1.0,
    phase: Values = 0.0,
    center: tuple[Values, Values] | None = None,
    radius: Values | None = None,
    edge: Values | None = None,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    """Gratings that move across their bars, one video for each set of parameters.

    Parameters
    ----------
    direction : float or array of shape (n_video,)
        Of the motion, in degrees: 0 is rightwards, 90 upwards. The bars have the
        orientation `direction` - 90.
    spatial_frequency : float or array of shape (n_video,)
        As in `make_gratings`.
    temporal_frequency_hz : float or array of shape (n_video,)
        Cycles per second that pass a point.
    n_frame : int
    frame_rate_hz : float
    height, width, channel, mean, contrast, center, radius, edge, degrees_per_pixel
        As in `make_gratings`.
    phase : float or array of shape (n_video,)
        At the first pixel of the first frame, in degrees.

    Returns
    -------
    xarray.DataArray
        `stimulus` (video, channel, frame, y, x), float32 grey levels. `aliased` marks gratings
        with fewer than two pixels or two frames to a cycle, of which a warning tells.

    Raises
    ------
    InputError
        As `make_gratings`, or if there is no frame or the frame rate is not positive.

    """
    time = video_times(n_frame, frame_rate_hz)
    x, y = pixels(height, width, channel)
    parameters = broadcast(
        direction=direction,
        spatial_frequency=spatial_frequency,
        temporal_frequency=temporal_frequency_hz,
        phase=phase,
        contrast=contrast,
        **window(x, y, center, radius, edge, degrees_per_pixel),
    )
    drawn = in_pixels(parameters, degrees_per_pixel)
    orientation = drawn["direction"] - 90
    frequency, temporal = drawn["spatial_frequency"], drawn["temporal_frequency"]
    wave = carrier(x, y, orientation, frequency, drawn["phase"], temporal[:, None] * time)
    if radius is not None:
        wave *= aperture(x, y, drawn)[:, None]
    stimulus = label(
        alike(shade(wave, mean, drawn["contrast"]), channel),
        {"orientation": orientation % 180, **parameters},
        degrees_per_pixel=degrees_per_pixel,
        frame_rate_hz=frame_rate_hz,
    )
    return mark_aliased(
        stimulus, aliased_gratings(orientation, frequency, temporal, frame_rate_hz)
    )


def carrier(
    x: np.ndarray,
    y: np.ndarray,
    orientation: np.ndarray,
    spatial_frequency: np.ndarray,
    phase: np.ndarray,
    cycles: np.ndarray | None = None,
) -> np.ndarray:
    """Cosine between -1 and 1, (n, height, width).

    With `cycles` (n, n_frame), by which it has moved on in each frame towards
    `orientation` + 90: (n, n_frame, height, width).
    """
    turn = np.deg2rad(orientation)[:, None, None]
    frequency = spatial_frequency[:, None, None]
    angle = 2 * np.pi * frequency * (x * np.sin(turn) + y * np.cos(turn))
    start = np.deg2rad(phase)[:, None, None]
    if cycles is None:
        return np.cos(angle + start)
    # The wave vector of bars at `orientation` points to `orientation` - 90 on the screen
    # (y runs downwards), so a phase that grows with time moves them to `orientation` + 90.
    return np.cos((angle + start)[:, None] + 2 * np.pi * cycles[:, :, None, None])


def window(
    x: np.ndarray,
    y: np.ndarray,
    center: tuple[Values, Values] | None,
    radius: Values | None,
    edge: Values | None,
    degrees_per_pixel: float | None,
) -> dict[str, Values]:
    """Parameters of a round aperture, in the user's units; none without a radius."""
    if radius is None:
        return {}
    center_x, center_y = centre_of(x, y, center, degrees_per_pixel)
    return {
        "center_x": center_x,
        "center_y": center_y,
        "radius": radius,
        "edge": unit_per_pixel(degrees_per_pixel) if edge is None else edge,
    }


def aperture(
    x: np.ndarray, y: np.ndarray, drawn: dict[str, np.ndarray], radius: np.ndarray | None = None
) -> np.ndarray:
    """1 inside, 0 outside, between them half a cycle of a cosine: (n, height, width)."""
    reach = drawn["radius"] if radius is None else radius
    each = np.stack([drawn["center_x"], drawn["center_y"], reach, drawn["edge"]], 1)
    windows, number = np.unique(each, axis=0, return_inverse=True)  # most sets have one
    center_x, center_y, reach, edge = windows.T[:, :, None, None]
    distance = np.hypot(x - center_x, y - center_y)
    inside = np.clip((reach - distance) / edge + 0.5, 0, 1)
    return (np.sin(np.pi / 2 * inside) ** 2)[number.reshape(-1)]


def shade(wave: np.ndarray, mean: float, contrast: np.ndarray | float = 1.0) -> np.ndarray:
    """Grey levels of a wave between -1 and 1, its first axis along `contrast`."""
    return mean + mean * np.reshape(contrast, (-1, *[1] * (wave.ndim - 1))) * wave
