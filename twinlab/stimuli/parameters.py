"""Parameters of a set of stimuli: checked, in pixels for drawing, labels once drawn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import xarray as xr

from twinlab.schema import InputError

__all__ = [
    "PARAMETERS",
    "Values",
    "alike",
    "aliased_gratings",
    "along_across",
    "broadcast",
    "centre_of",
    "in_pixels",
    "label",
    "mark_aliased",
    "pixels",
    "unit_per_pixel",
    "video_times",
]

Values = float | Sequence[float] | np.ndarray

# Long name and units of every parameter that can become a coordinate; where the user counts
# in degrees of visual angle, "px" is "deg".
PARAMETERS = {
    "orientation": ("orientation of the bars", "deg"),
    "direction": ("direction of motion", "deg"),
    "spatial_frequency": ("spatial frequency", "cycles/px"),
    "temporal_frequency": ("temporal frequency", "Hz"),
    "phase": ("phase", "deg"),
    "contrast": ("Michelson contrast", "1"),
    "mask_orientation": ("orientation of the mask's bars", "deg"),
    "mask_direction": ("direction of the mask's motion", "deg"),
    "mask_spatial_frequency": ("spatial frequency of the mask", "cycles/px"),
    "mask_temporal_frequency": ("temporal frequency of the mask", "Hz"),
    "mask_phase": ("phase of the mask", "deg"),
    "mask_contrast": ("Michelson contrast of the mask", "1"),
    "surround_orientation": ("orientation of the surround's bars", "deg"),
    "surround_spatial_frequency": ("spatial frequency of the surround", "cycles/px"),
    "surround_direction": ("direction of the surround's motion", "deg"),
    "surround_temporal_frequency": ("temporal frequency of the surround", "Hz"),
    "surround_phase": ("phase of the surround", "deg"),
    "surround_contrast": ("Michelson contrast of the surround", "1"),
    "center_x": ("horizontal centre", "px"),
    "center_y": ("vertical centre", "px"),
    "size": ("standard deviation of the envelope", "px"),
    "radius": ("radius", "px"),
    "edge": ("width of the edge", "px"),
    "gap": ("gap between centre and surround", "px"),
    "surround_radius": ("outer radius of the surround", "px"),
    "bar_width": ("width of the bar", "px"),
    "bar_length": ("length of the bar", "px"),
    "square_size": ("side of a square", "px"),
    "exclusion": ("distance that no two squares are within", "px"),
    "dot_radius": ("radius of a dot", "px"),
    "speed": ("speed", "px/s"),
    "speed_bandwidth": ("standard deviation of speed", "px/s"),
    "orientation_bandwidth": ("standard deviation of orientation", "deg"),
    "spatial_frequency_bandwidth": ("standard deviation of spatial frequency", "octaves"),
    "coherence": ("share of dots that move together", "1"),
    "weber_contrast": ("contrast with the background (Weber)", "1"),
    "rms_contrast": ("RMS contrast", "1"),
}

# Allowed values, both ends included, and how a message says so.
MOST = float(np.finfo(float).max)
ANY = (-MOST, MOST, "finite")
NOT_NEGATIVE = (0.0, MOST, "at least 0")
POSITIVE = (float(np.nextafter(0.0, 1.0)), MOST, "positive")
SHARE = (0.0, 1.0, "between 0 and 1")
REACH = (0.0, np.inf, "at least 0")  # infinite is the whole screen
RANGES = {
    "spatial_frequency": NOT_NEGATIVE,
    "mask_spatial_frequency": NOT_NEGATIVE,
    "surround_spatial_frequency": NOT_NEGATIVE,
    "contrast": SHARE,
    "mask_contrast": SHARE,
    "surround_contrast": SHARE,
    "size": POSITIVE,
    "radius": REACH,
    "surround_radius": REACH,
    "edge": POSITIVE,
    "gap": NOT_NEGATIVE,
    "bar_width": POSITIVE,
    "bar_length": (POSITIVE[0], np.inf, "positive"),
    "square_size": POSITIVE,
    "exclusion": NOT_NEGATIVE,
    "dot_radius": POSITIVE,
    "speed": NOT_NEGATIVE,
    "speed_bandwidth": NOT_NEGATIVE,
    "orientation_bandwidth": POSITIVE,
    "spatial_frequency_bandwidth": POSITIVE,
    "coherence": SHARE,
    "weber_contrast": (-1.0, MOST, "at least -1"),
    "rms_contrast": NOT_NEGATIVE,
}


def broadcast(**parameters: Values) -> dict[str, np.ndarray]:
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
    for name, array in arrays.items():
        low, high, allowed = RANGES.get(name, ANY)
        wrong = array[~((array >= low) & (array <= high))]
        if wrong.size:
            msg = f"`{name}` must be {allowed}, but got {wrong[0]:g}."
            raise InputError(msg)
    return {name: np.broadcast_to(array, shape).copy() for name, array in arrays.items()}


def unit_per_pixel(degrees_per_pixel: float | None) -> float:
    """Side of a pixel in the unit of the user's lengths: degrees if given, else pixels."""
    unit = 1.0 if degrees_per_pixel is None else float(degrees_per_pixel)
    if not 0 < unit < np.inf:
        msg = f"`degrees_per_pixel` must be positive, but got {unit:g}."
        raise InputError(msg)
    return unit


def in_pixels(
    parameters: dict[str, np.ndarray], degrees_per_pixel: float | None
) -> dict[str, np.ndarray]:
    """Parameters as drawn: lengths in pixels, frequencies in cycles a pixel."""
    unit = unit_per_pixel(degrees_per_pixel)
    scale = {"px": 1 / unit, "px/s": 1 / unit, "cycles/px": unit}
    return {
        name: value * scale.get(PARAMETERS[name][1], 1.0) for name, value in parameters.items()
    }


def pixels(height: int, width: int, channel: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the pixels, x of shape (1, width) and y of shape (height, 1)."""
    if min(height, width, channel) < 1:
        msg = (
            "`height`, `width` and `channel` must be at least 1, but got "
            f"{height}, {width} and {channel}."
        )
        raise InputError(msg)
    return np.arange(width, dtype=float)[None], np.arange(height, dtype=float)[:, None]


def centre_of(
    x: np.ndarray,
    y: np.ndarray,
    center: tuple[Values, Values] | None,
    degrees_per_pixel: float | None,
) -> tuple[Values, Values]:
    """Centre (x, y) in the user's unit: the middle of the screen where none is given."""
    if center is not None:
        return center
    unit = unit_per_pixel(degrees_per_pixel)
    return x.max() / 2 * unit, y.max() / 2 * unit


def along_across(
    dx: np.ndarray, dy: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (y runs downwards) along a direction, degrees counter-clockwise, and across it."""
    turn = np.deg2rad(direction)
    cosine, sine = np.cos(turn), np.sin(turn)
    return dx * cosine - dy * sine, dx * sine + dy * cosine


def video_times(n_frame: int, frame_rate_hz: float) -> np.ndarray:
    """Time of each frame in seconds."""
    if n_frame < 1 or not frame_rate_hz > 0:
        msg = (
            f"A video needs `n_frame` >= 1 and `frame_rate_hz` > 0, but got {n_frame} and "
            f"{frame_rate_hz}."
        )
        raise InputError(msg)
    return np.arange(n_frame) / frame_rate_hz


def alike(values: np.ndarray, channel: int) -> np.ndarray:
    """Grey levels (n, ...) the same in all channels: (n, channel, ...), float32."""
    return np.repeat(values[:, None].astype(np.float32), channel, axis=1)


def label(
    values: np.ndarray,
    parameters: dict[str, np.ndarray],
    *,
    degrees_per_pixel: float | None = None,
    frame_rate_hz: float | None = None,
) -> xr.DataArray:
    """Grey levels (image, channel, y, x) or (video, channel, frame, y, x) that say what they are.

    `parameters` are as the user gave them: in degrees where `degrees_per_pixel` is given.
    """
    video = values.ndim == 5
    dims = ("video", "channel", "frame", "y", "x") if video else ("image", "channel", "y", "x")
    unit = "px" if degrees_per_pixel is None else "deg"
    coords = {}
    for name, value in parameters.items():
        long_name, units = PARAMETERS[name]
        attrs = {"long_name": long_name, "units": units.replace("px", unit)}
        coords[name] = (dims[0], value, attrs)
    attrs = {"long_name": "stimulus", "units": "grey level"}
    stimulus = xr.DataArray(values, dims=dims, coords=coords, name="stimulus", attrs=attrs)
    if degrees_per_pixel is not None:
        stimulus.attrs["degrees_per_pixel"] = float(degrees_per_pixel)
    if frame_rate_hz is not None:
        time = video_times(values.shape[2], frame_rate_hz)
        stimulus = stimulus.assign_coords(
            time=("frame", time, {"long_name": "time", "units": "s"})
        )
        stimulus.attrs["frame_rate_hz"] = float(frame_rate_hz)
    return stimulus


def aliased_gratings(
    orientation: np.ndarray,
    spatial_frequency: np.ndarray,
    temporal_frequency: np.ndarray | float = 0.0,
    frame_rate_hz: float = np.inf,
) -> np.ndarray:
    """Whether a grating, in cycles per pixel, has under two pixels or frames to a cycle.

    Along the rows and the columns: an oblique grating may have a frequency of up to 0.7.
    """
    turn = np.deg2rad(orientation)
    steepest = np.maximum(np.abs(np.sin(turn)), np.abs(np.cos(turn))) * spatial_frequency
    limit = 0.5 * (1 + 1e-9)  # exactly two pixels a cycle can be drawn
    too_fast = np.abs(temporal_frequency) > limit * frame_rate_hz
    return (steepest > limit) | too_fast


def mark_aliased(stimulus: xr.DataArray, aliased: np.ndarray) -> xr.DataArray:
    """Add the coordinate `aliased`, with a warning where it is true of any stimulus."""
    if aliased.any():
        warnings.warn(
            f"{aliased.sum()} of {aliased.size} stimuli have a frequency above Nyquist (under two "
            "pixels or frames to a cycle) and look coarser or slower than asked for; "
            "the coordinate `aliased` marks them.",
            stacklevel=3,
        )
    attrs = {"long_name": "frequency above Nyquist", "units": "1"}
    return stimulus.assign_coords(aliased=(stimulus.dims[0], aliased, attrs))
