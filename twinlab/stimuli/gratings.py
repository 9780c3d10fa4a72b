"""Gratings and Gabors: luminance that varies as a cosine across the bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from twinlab.schema import InputError

__all__ = [
    "gabor_patches",
    "make_drifting_gratings",
    "make_gabors",
    "make_grating_grid",
    "make_gratings",
]

Values = float | Sequence[float] | np.ndarray

# Long name and units of every parameter that can become a coordinate.
PARAMETERS = {
    "orientation": ("orientation of the bars", "deg"),
    "direction": ("direction of drift", "deg"),
    "spatial_frequency": ("spatial frequency", "cycles/px"),
    "temporal_frequency": ("temporal frequency", "Hz"),
    "phase": ("phase", "deg"),
    "center_x": ("horizontal centre", "px"),
    "center_y": ("vertical centre", "px"),
    "size": ("standard deviation of the envelope", "px"),
    "contrast": ("Michelson contrast", "1"),
}


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
    center: tuple[float, float] | None = None,
    radius: float | None = None,
) -> xr.DataArray:
    r"""Sinusoidal gratings, one image for each set of parameters.

    With orientation :math:`o`, frequency :math:`f`, phase :math:`p` and contrast :math:`c`,

    .. math:: L(x, y) = m + m c \cos(2 \pi f (x \sin o + y \cos o) + p)

    Parameters
    ----------
    orientation : float or array of shape (n_image,)
        Of the bars, in degrees: 0 is horizontal, 45 rises to the right, 90 is vertical.
    spatial_frequency : float or array of shape (n_image,)
        In cycles per pixel.
    phase : float or array of shape (n_image,)
        At the first pixel, in degrees.
    height, width, channel : int
        Size of the images; all channels are alike.
    mean : float
        Grey level of the background.
    contrast : float or array of shape (n_image,)
        Michelson contrast, 0 to 1.
    center : (x, y), optional
        Centre of the aperture in pixels; the middle of the image where absent.
    radius : float, optional
        Of a round aperture, in pixels, its edge one pixel wide; full field where absent.

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x), float32 grey levels.

    Raises
    ------
    InputError
        If the parameters have different lengths, or a size, frequency or contrast is
        out of range.

    """
    parameters = _broadcast(
        orientation=orientation,
        spatial_frequency=spatial_frequency,
        phase=phase,
        contrast=contrast,
    )
    x, y = _pixels(height, width, channel)
    across = _angle(x, y, parameters["orientation"], parameters["spatial_frequency"])
    wave = np.cos(across + np.deg2rad(parameters["phase"])[:, None, None])
    if radius is not None:
        wave = wave * _aperture(x, y, center, radius)
    return _label(_shade(wave, mean, parameters["contrast"]), channel, parameters)


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
        In cycles per pixel.
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
    center: tuple[float, float] | None = None,
    radius: float | None = None,
) -> xr.DataArray:
    """Gratings that move across their bars, one video for each set of parameters.

    Parameters
    ----------
    direction : float or array of shape (n_video,)
        Of the motion, in degrees: 0 is rightwards, 90 upwards. The bars have the
        orientation `direction` - 90.
    spatial_frequency : float or array of shape (n_video,)
        In cycles per pixel.
    temporal_frequency_hz : float or array of shape (n_video,)
        Cycles per second that pass a point.
    n_frame : int
    frame_rate_hz : float
    height, width, channel, mean, contrast, center, radius
        As in `make_gratings`.
    phase : float or array of shape (n_video,)
        At the first pixel of the first frame, in degrees.

    Returns
    -------
    xarray.DataArray
        `stimulus` (video, channel, frame, y, x), float32 grey levels.

    Raises
    ------
    InputError
        As `make_gratings`, or if there is no frame or the frame rate is not positive.

    """
    if n_frame < 1 or frame_rate_hz <= 0:
        msg = (
            f"A video needs `n_frame` >= 1 and `frame_rate_hz` > 0, but got {n_frame} and "
            f"{frame_rate_hz}."
        )
        raise InputError(msg)
    parameters = _broadcast(
        direction=direction,
        spatial_frequency=spatial_frequency,
        temporal_frequency=temporal_frequency_hz,
        phase=phase,
        contrast=contrast,
    )
    x, y = _pixels(height, width, channel)
    orientation = parameters["direction"] - 90
    across = _angle(x, y, orientation, parameters["spatial_frequency"])[:, None]
    time = np.arange(n_frame) / frame_rate_hz
    # The wave vector of bars at `orientation` points to `orientation` - 90 on the screen
    # (y runs downwards), so a phase that grows with time moves them to `orientation` + 90.
    cycles = parameters["temporal_frequency"][:, None] * time + parameters["phase"][:, None] / 360
    wave = np.cos(across + 2 * np.pi * cycles[:, :, None, None])
    if radius is not None:
        wave = wave * _aperture(x, y, center, radius)
    stimulus = _label(
        _shade(wave, mean, parameters["contrast"]),
        channel,
        {"orientation": orientation % 180, **parameters},
        dims=("video", "channel", "frame", "y", "x"),
    ).assign_coords(time=("frame", time, {"long_name": "time", "units": "s"}))
    stimulus.attrs["frame_rate_hz"] = float(frame_rate_hz)
    return stimulus


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
) -> xr.DataArray:
    """Gabor patches, one image for each set of parameters.

    Parameters
    ----------
    x, y : float or array of shape (n_image,)
        Centre, in pixels.
    orientation, spatial_frequency : float or array of shape (n_image,)
        As in `make_gratings`.
    phase : float or array of shape (n_image,)
        At the centre of the patch, in degrees.
    size : float or array of shape (n_image,)
        Standard deviation of the round Gaussian envelope, in pixels.
    height, width, channel, mean
        As in `make_gratings`.
    contrast : float or array of shape (n_image,)
        Michelson contrast of the carrier, 0 to 1.

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x), float32 grey levels.

    Raises
    ------
    InputError
        As `make_gratings`, or if a size is not positive.

    """
    parameters = _broadcast(
        center_x=x,
        center_y=y,
        orientation=orientation,
        spatial_frequency=spatial_frequency,
        phase=phase,
        size=size,
        contrast=contrast,
    )
    _pixels(height, width, channel)
    wave = gabor_patches(
        *(parameters[name] for name in parameters if name != "contrast"),
        height=height,
        width=width,
    )
    return _label(_shade(wave, mean, parameters["contrast"]), channel, parameters)


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
        As in `make_gabors`.
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
    turn = np.deg2rad(orientation)[:, None, None]
    across = dx * np.sin(turn) + dy * np.cos(turn)
    along = (dx * np.cos(turn) - dy * np.sin(turn)) / np.reshape(elongation, (-1, 1, 1))
    sigma = np.asarray(size, float)[:, None, None]
    envelope = np.exp(-(across**2 + along**2) / (2 * sigma**2))
    frequency = np.asarray(spatial_frequency, float)[:, None, None]
    return envelope * np.cos(2 * np.pi * frequency * across + np.deg2rad(phase)[:, None, None])


def _broadcast(**parameters: Values) -> dict[str, np.ndarray]:
    """Parameters as 1-D arrays of one length, each within its range."""
    arrays = {name: np.atleast_1d(np.asarray(value, float)) for name, value in parameters.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    try:
        shape = np.broadcast_shapes(*shapes.values())
    except ValueError:
        shape = ()
    if len(shape) != 1:
        msg = (
            f"Stimulus parameters must be numbers or 1-D of one length, but got {shapes}; for "
            "every combination of gratings use `make_grating_grid`."
        )
        raise InputError(msg)
    smallest = {"spatial_frequency": 0.0, "contrast": 0.0, "size": np.nextafter(0.0, 1.0)}
    for name, array in arrays.items():
        low, high = smallest.get(name, -np.inf), 1.0 if name == "contrast" else np.inf
        wrong = array[~(np.isfinite(array) & (array >= low) & (array <= high))]
        if wrong.size:
            allowed = {"contrast": "between 0 and 1", "size": "positive"}.get(name, "at least 0")
            allowed = allowed if name in smallest else "finite"
            msg = f"`{name}` must be {allowed}, but got {wrong[0]:g}."
            raise InputError(msg)
    return {name: np.broadcast_to(array, shape).copy() for name, array in arrays.items()}


def _pixels(height: int, width: int, channel: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the pixels, x of shape (1, width) and y of shape (height, 1)."""
    if min(height, width, channel) < 1:
        msg = (
            "`height`, `width` and `channel` must be at least 1, but got "
            f"{height}, {width} and {channel}."
        )
        raise InputError(msg)
    return np.arange(width, dtype=float)[None], np.arange(height, dtype=float)[:, None]


def _angle(
    x: np.ndarray, y: np.ndarray, orientation: np.ndarray, spatial_frequency: np.ndarray
) -> np.ndarray:
    """Phase of the carrier at each pixel in radians, (n, height, width)."""
    turn = np.deg2rad(orientation)[:, None, None]
    frequency = spatial_frequency[:, None, None]
    return 2 * np.pi * frequency * (x * np.sin(turn) + y * np.cos(turn))


def _aperture(
    x: np.ndarray, y: np.ndarray, center: tuple[float, float] | None, radius: float
) -> np.ndarray:
    """1 inside, 0 outside, falling linearly over the pixel at the edge."""
    if radius < 0:
        msg = f"`radius` must be at least 0 pixels, but got {radius:g}."
        raise InputError(msg)
    cx, cy = center if center is not None else (x.max() / 2, y.max() / 2)
    return np.clip(radius + 0.5 - np.hypot(x - cx, y - cy), 0, 1)


def _shade(wave: np.ndarray, mean: float, contrast: np.ndarray) -> np.ndarray:
    """Grey levels of a wave between -1 and 1, its first axis along `contrast`."""
    return mean + mean * contrast.reshape(-1, *[1] * (wave.ndim - 1)) * wave


def _label(
    values: np.ndarray,
    channel: int,
    parameters: dict[str, np.ndarray],
    dims: tuple[str, ...] = ("image", "channel", "y", "x"),
) -> xr.DataArray:
    """Grey levels with a channel axis and their parameters."""
    values = np.repeat(values[:, None].astype(np.float32), channel, axis=1)
    coords = {}
    for name, value in parameters.items():
        long_name, units = PARAMETERS[name]
        coords[name] = (dims[0], value, {"long_name": long_name, "units": units})
    return xr.DataArray(
        values,
        dims=dims,
        coords=coords,
        name="stimulus",
        attrs={"long_name": "stimulus", "units": "grey level"},
    )
