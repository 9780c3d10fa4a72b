"""Responses to videos, unrolled so that what is defined for images is defined for frames."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from twinlab.schema import InputError

__all__ = ["FORM", "frame_images", "kept_frames", "unroll", "unroll_frames"]

FORM = (
    "frames concatenated: one score over the frames of all trials, each frame of a video "
    "counting as an image (Turishcheva et al. 2023, arXiv:2305.19654)"
)


def unroll_frames(responses: xr.DataArray, *, skip: int = 50) -> xr.DataArray:
    """Turn (trial, neuron, frame) into (trial, neuron): each frame of a trial becomes a trial.

    Of a recording's `response` and of its prediction alike, it gives what all measures of this
    room take, and a measure of it is what the Sensorium competition of 2023 reports: the frames
    of all trials are concatenated in time and scored as one. This is not the mean over trials
    of a correlation over time within each, which others report: the latter is blind to
    differences in rate between videos.

    Parameters
    ----------
    responses : xarray.DataArray
        (trial, neuron, frame), in any order, with `stimulus_index` along `trial`. NaN where
        there is no response, as after the end of a shorter video; NaN stays NaN, which all
        measures leave out.
    skip : int
        First frames of each trial to leave out: what was before the video still affects them.

    Returns
    -------
    xarray.DataArray
        (trial, neuron), frames of one trial next to each other in time. Its coordinates are
        those of `responses`, with `frame`, the number of the frame in its video, and
        `video_index`, which video that was; `stimulus_index` becomes a number that is the same
        for the same frame of the same video, so that repeats are found by it.

    Raises
    ------
    InputError
        If the dimensions are others or `skip` leaves no frame.

    Examples
    --------
    >>> shown = {"stimulus_index": ("trial", [4, 4])}
    >>> response = xr.DataArray(np.zeros((2, 3, 60)), shown, ("trial", "neuron", "frame"))
    >>> dict(unroll_frames(response).sizes)
    {'trial': 20, 'neuron': 3}

    """
    if set(responses.dims) != {"trial", "neuron", "frame"}:
        msg = (
            f"Only (trial, neuron, frame) can be unrolled, but got {responses.dims}; responses to "
            "images are scored as they are."
        )
        raise InputError(msg)
    if "stimulus_index" not in responses.coords:
        msg = "`stimulus_index` along `trial` is missing; keep the recording's coordinates."
        raise InputError(msg)
    n_frame = kept_frames(responses.sizes["frame"], skip)
    video = responses.stimulus_index.values
    coords: dict[Hashable, Any] = {}
    for name, coord in responses.coords.items():
        if coord.dims == ("trial",):
            coords[name] = ("trial", np.repeat(coord.values, n_frame), coord.attrs)
        elif "frame" not in coord.dims:
            coords[name] = coord.variable
    coords |= {
        "frame": ("trial", np.tile(np.arange(skip, skip + n_frame), len(video))),
        "video_index": ("trial", np.repeat(video, n_frame)),
        "stimulus_index": ("trial", frame_images(video, n_frame)),
    }
    ordered = responses.transpose("trial", "neuron", "frame")
    attrs = responses.attrs | {"form": FORM, "skip": skip}
    values = unroll(ordered.values, skip)
    return xr.DataArray(values, coords, ("trial", "neuron"), responses.name, attrs)


def kept_frames(n_frame: int, skip: int) -> int:
    """How many frames of a trial are scored, or `InputError` if none is."""
    if not 0 <= skip < n_frame:
        msg = (
            f"`skip` must be at least 0 and leave some of the {n_frame} frames of each video, but "
            f"is {skip}; skip fewer."
        )
        raise InputError(msg)
    return n_frame - skip


def unroll(values: np.ndarray, skip: int) -> np.ndarray:
    """Return (trial, neuron, frame) as (trial * frame, neuron), without the first frames."""
    kept = values[..., skip:].swapaxes(1, 2)
    return kept.reshape(-1, values.shape[1])


def frame_images(video: np.ndarray, n_frame: int) -> np.ndarray:
    """Number of each frame of each trial, (n_trial * n_frame,), equal where the same was shown."""
    return (video[:, None] * n_frame + np.arange(n_frame)).ravel()
