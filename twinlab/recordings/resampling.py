"""Recordings on another grid: stimuli cropped and scaled, videos at another frame rate.

What is lazy stays lazy. Pixels and frames are averaged or band-limited, never picked, so that
nothing finer than the new grid is folded into it (aliasing).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from PIL import Image

from twinlab.schema import InputError, fingerprint, stimulus_kind

__all__ = [
    "crop_stimulus",
    "degrees_to_pixels",
    "pixels_to_degrees",
    "resample_frames",
    "scale_stimulus",
]


def crop_stimulus(
    recording: xr.Dataset, *, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0
) -> xr.Dataset:
    """Cut pixels off the edges of every image or video.

    Parameters
    ----------
    recording : xarray.Dataset
        Not changed. Other variables along `y` and `x` are cropped too.
    top, bottom, left, right : int
        Pixels to remove at each edge.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    InputError
        If a number is negative or nothing would be left.

    """
    height, width = recording.sizes["y"], recording.sizes["x"]
    if min(top, bottom, left, right) < 0 or top + bottom >= height or left + right >= width:
        msg = (
            f"Cannot crop {top}, {bottom}, {left} and {right} pixels (top, bottom, left, right) "
            f"off {height} x {width}; expected at least 0 each and some pixels left."
        )
        raise InputError(msg)
    cropped = recording.isel(y=slice(top, height - bottom), x=slice(left, width - right)).copy()
    for name, shape in (("screen_width_cm", "x"), ("screen_height_cm", "y")):
        if name in cropped.attrs:  # of what is left, so that pixels keep their size
            cropped.attrs[name] *= cropped.sizes[shape] / recording.sizes[shape]
    return _finish(cropped, f"cropped by {top}, {bottom}, {left}, {right} pixels")


def scale_stimulus(recording: xr.Dataset, factor: float) -> xr.Dataset:
    """Scale every image or frame, without aliasing (Lanczos filter of three lobes).

    Patterns keep their contrast up to about 0.7 of the finest that the new pixels can show (half
    a cycle a pixel), and have vanished from 1.4 times that.

    Parameters
    ----------
    recording : xarray.Dataset
        Not changed.
    factor : float
        New size by old: 0.25 makes 144 x 256 pixels 36 x 64.

    Returns
    -------
    xarray.Dataset
        `uint8` pixels stay so: they are rounded, and what the filter's ringing takes beyond 0
        or 255 is cut to these. The attribute `pixels_per_degree` is scaled along.

    Raises
    ------
    InputError
        If the new size is not a whole number of pixels, or another variable lies on them.

    References
    ----------
    Duchon (1979), Journal of Applied Meteorology 18: 1016-1022.

    """
    size = {axis: recording.sizes[axis] * factor for axis in ("y", "x")}
    if not all(n > 0.5 and abs(n - round(n)) < 1e-6 for n in size.values()):
        msg = (
            f"Scaling {recording.sizes['y']} x {recording.sizes['x']} pixels by {factor:g} gives "
            f"{size['y']:g} x {size['x']:g}; expected whole numbers, so crop first or choose "
            "another factor."
        )
        raise InputError(msg)
    _refuse_others(recording, {"y", "x"}, "scaled")
    height, width = round(size["y"]), round(size["x"])

    def resize(pixels: np.ndarray) -> np.ndarray:
        frames = pixels.reshape(-1, *pixels.shape[-2:]).astype(np.float32)
        scaled = np.empty((len(frames), height, width), np.float32)
        for frame, out in zip(frames, scaled, strict=True):
            image = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
            out[:] = np.asarray(image)
        return _as_before(scaled, pixels.dtype).reshape(*pixels.shape[:-2], height, width)

    stimulus = recording.stimulus
    values = _apply(resize, stimulus.data, (*stimulus.shape[:-2], height, width))
    scaled = (
        recording.drop_vars("stimulus")
        .assign(stimulus=(stimulus.dims, values, stimulus.attrs))[list(recording.data_vars)]
        .copy()
    )
    if "pixels_per_degree" in scaled.attrs:
        scaled.attrs["pixels_per_degree"] *= factor
    return _finish(scaled, f"scaled by {factor:g}")


def degrees_to_pixels(recording: xr.Dataset, degrees: Any) -> Any:
    """Turn degrees of visual angle into pixels of the stimulus, at the centre of the screen.

    Parameters
    ----------
    recording : xarray.Dataset
        With the attribute `pixels_per_degree`, or else `screen_width_cm` (of what the stimulus
        covers) and `screen_distance_cm`. On a flat screen a pixel far from the centre covers
        less of the visual field than this says.
    degrees : float or ndarray

    Returns
    -------
    float or ndarray

    Raises
    ------
    InputError
        If the recording does not say.

    Examples
    --------
    >>> attrs = {"screen_width_cm": 64.0, "screen_distance_cm": 57.29}
    >>> screen = xr.Dataset({"stimulus": (("y", "x"), np.zeros((36, 64)))}, attrs=attrs)
    >>> round(degrees_to_pixels(screen, 10.0), 2)
    10.0

    """
    return degrees * _pixels_per_degree(recording)


def pixels_to_degrees(recording: xr.Dataset, pixels: Any) -> Any:
    """Turn pixels of the stimulus into degrees of visual angle; see `degrees_to_pixels`."""
    return pixels / _pixels_per_degree(recording)


def _pixels_per_degree(recording: xr.Dataset) -> float:
    attrs = recording.attrs
    if "pixels_per_degree" in attrs:
        return float(attrs["pixels_per_degree"])
    if {"screen_width_cm", "screen_distance_cm"} <= set(attrs):
        pixel_cm = attrs["screen_width_cm"] / recording.sizes["x"]
        return 1 / math.degrees(math.atan(pixel_cm / attrs["screen_distance_cm"]))
    msg = (
        f"{attrs.get('recording_id', 'The recording')} does not say how large its pixels are; "
        "set the attribute `pixels_per_degree`, or `screen_width_cm` and `screen_distance_cm`."
    )
    raise InputError(msg)


def resample_frames(
    recording: xr.Dataset, frame_rate: float, *, latency: float = 0.0
) -> xr.Dataset:
    """Bring a recording of videos to another frame rate, and responses to their stimuli.

    A frame, and whatever was recorded with it, is taken to last until the next one. Each new
    frame is the mean over its time. Responses so remain in their units for one frame of the
    source (a spike count is the mean count in that time); their mean over time is kept.

    Parameters
    ----------
    recording : xarray.Dataset
        Of videos; not changed.
    frame_rate : float
        New frames per second. The last new frame is left out where the source covers it in part.
    latency : float
        Seconds by which responses follow the stimulus; they are moved so much earlier. What
        then lacks at the end is NaN.

    Returns
    -------
    xarray.Dataset
        `uint8` pixels stay so: they are rounded.

    Raises
    ------
    InputError
        If it is a recording of images, a video has no whole new frame, or another variable
        lies on the frames.

    """
    if stimulus_kind(recording) != "video":
        msg = "Only videos have a frame rate, but this is a recording of images."
        raise InputError(msg)
    _refuse_others(recording, {"frame"}, "resampled")
    old = float(recording.attrs["frame_rate"])
    n_frame = recording.sizes["frame"]
    n_new = int(n_frame * frame_rate / old + 1e-6) if frame_rate > 0 else 0
    if n_new < 1:
        msg = (
            f"At {frame_rate:g} frames per second, videos of {n_frame} frames at {old:g} have no "
            "whole frame; give a higher rate."
        )
        raise InputError(msg)
    step = old / frame_rate
    resampled = recording.drop_vars(
        [name for name in recording.variables if "frame" in recording[name].dims]
    ).copy()
    for name, variable in recording.data_vars.items():
        if "frame" not in variable.dims:
            continue
        axis = variable.dims.index("frame")
        weights = _overlap(n_frame, n_new, step, latency * old if name == "response" else 0.0)
        shape = (*variable.shape[:axis], n_new, *variable.shape[axis + 1 :])
        values = _apply(_averager(weights, axis), variable.data, shape)
        resampled[name] = (variable.dims, values, variable.attrs)
    if "n_frame" in recording.variables:  # where each video ends
        whole = np.floor(recording.n_frame.values / step + 1e-6).astype(np.int64)
        resampled["n_frame"] = (recording.n_frame.dims, whole, recording.n_frame.attrs)
    resampled.attrs["frame_rate"] = float(frame_rate)
    words = f"{old:g} to {frame_rate:g} frames per second"
    words += f", responses {latency:g} s earlier" if latency else ""
    return _finish(resampled[list(recording.data_vars)], words)


def _overlap(n_old: int, n_new: int, step: float, shift: float) -> np.ndarray:
    """Share of each old frame in each new one, (new, old); NaN rows where frames lack."""
    start = np.arange(n_new) * step + shift
    begin, end = start[:, None], start[:, None] + step
    old = np.arange(n_old)
    weights = np.clip(np.minimum(end, old + 1) - np.maximum(begin, old), 0, None) / step
    weights[(begin[:, 0] < -1e-6) | (end[:, 0] > n_old + 1e-6)] = np.nan
    return np.where(weights < 1e-9, 0, weights)


def _averager(weights: np.ndarray, axis: int) -> Callable[[np.ndarray], np.ndarray]:
    """Weighted means along an axis; NaN only where a frame that counts is."""

    def average(values: np.ndarray) -> np.ndarray:
        moved = np.moveaxis(values, axis, -1).astype(np.float64)
        missing = np.isnan(moved)
        mean = np.where(missing, 0, moved) @ np.nan_to_num(weights).T
        if missing.any():
            mean[(missing.astype(float) @ np.nan_to_num(weights).T) > 0] = np.nan
        mean[..., np.isnan(weights).any(axis=1)] = np.nan
        return np.moveaxis(_as_before(mean, values.dtype), -1, axis)

    return average


def _as_before(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in the type they came in, whole numbers rounded and kept in range."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(dtype)


def _apply(
    function: Callable[[np.ndarray], np.ndarray], values: Any, shape: tuple[int, ...]
) -> Any:
    """Apply a function that keeps the first axis; block by block where the values are lazy."""
    if not isinstance(values, da.Array):
        return function(np.asarray(values))
    whole = values.rechunk({axis: -1 for axis in range(1, values.ndim)})
    chunks = (whole.chunks[0], *((size,) for size in shape[1:]))
    empty = np.empty((0,) * values.ndim, values.dtype)
    return whole.map_blocks(function, chunks=chunks, dtype=values.dtype, meta=empty)


def _refuse_others(recording: xr.Dataset, axes: set[str], done: str) -> None:
    """Refuse variables on the axes that are resampled, besides those known to be."""
    known = {"stimulus", "response", "behavior", "pupil_center"}
    others = [
        str(name)
        for name, variable in recording.variables.items()
        if axes & set(variable.dims) and name not in known
    ]
    if others:
        msg = (
            f"{', '.join(others)} along {', '.join(sorted(axes))} cannot be {done}; "
            "drop it first (`recording.drop_vars`)."
        )
        raise InputError(msg)


def _finish(recording: xr.Dataset, words: str) -> xr.Dataset:
    """Say in the attributes what was done; the content is another one now."""
    before = recording.attrs.pop("resampled", "")
    recording.attrs["resampled"] = "; ".join(filter(None, [before, words]))
    recording.attrs.pop("fingerprint", None)
    if not any(isinstance(v.data, da.Array) for v in recording.variables.values()):
        recording.attrs["fingerprint"] = fingerprint(recording)
    return recording
