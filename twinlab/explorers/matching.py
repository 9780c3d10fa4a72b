"""Recordings, scores and results brought into the order of a twin's neurons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from twinlab.evaluation import unroll_frames

__all__ = ["average_clip", "average_repeats", "blank_clip", "positions_in", "raster_of_clip"]


def positions_in(labelled: xr.Dataset | xr.DataArray, labels: xr.Dataset) -> np.ndarray:
    """Position in `labelled` of each neuron of `labels`, by session and id; -1 if absent."""

    def names(of: xr.Dataset | xr.DataArray) -> list[tuple[str, str]]:
        sessions, ids = np.atleast_1d(of.session.values), np.atleast_1d(of.neuron_id.values)
        return list(zip(sessions.astype(str).tolist(), ids.astype(str).tolist(), strict=True))

    known = {name: position for position, name in enumerate(names(labelled))}
    return np.array([known.get(name, -1) for name in names(labels)])


def average_repeats(response: xr.DataArray, prediction: xr.DataArray | None) -> xr.Dataset:
    """Measured and predicted response to each image, averaged over its repeats.

    Parameters
    ----------
    response, prediction : DataArray of dimensions (trial, neuron)
        Of the same trials and neurons, with the coordinate `stimulus_index`. Missing
        responses (NaN) are left out, of both. Where nothing was predicted: None.

    Returns
    -------
    xarray.Dataset
        `response`, its `standard_error` over repeats (NaN with fewer than two), `prediction`
        (if any) and `n_repeat`, all (image, neuron), with `stimulus_index` along `image`.

    """
    shown, image = np.unique(response.stimulus_index.values, return_inverse=True)
    measured = response.values.astype(float)
    here = np.isfinite(measured)
    measured = np.where(here, measured, 0.0)

    def total(values: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(shown), values.shape[1]))
        np.add.at(sums, image, values)
        return sums

    count = total(here.astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total(measured) / count
        spread = total(np.where(here, measured - mean[image], 0.0) ** 2) / (count - 1)
        error = np.where(count > 1, np.sqrt(spread / count), np.nan)
    dims = ("image", "neuron")
    units = {"units": str(response.attrs.get("units", "a.u."))}
    neuron = {
        name: coordinate
        for name, coordinate in response.coords.items()
        if coordinate.dims == ("neuron",)
    }
    found = xr.Dataset(
        {
            "response": (dims, mean, {"long_name": "measured response"} | units),
            "standard_error": (
                dims,
                error,
                {"long_name": "standard error of the mean response"} | units,
            ),
            "n_repeat": (dims, count, {"long_name": "number of repeats", "units": "1"}),
        },
        neuron | {"stimulus_index": ("image", shown)},
    )
    if prediction is None:
        return found
    predicted = np.where(here, prediction.values.astype(float), 0.0)
    with np.errstate(invalid="ignore"):
        mean_predicted = total(predicted) / count
    attrs = {"long_name": "predicted response"} | units
    return found.assign(prediction=(dims, mean_predicted, attrs))


def average_clip(
    response: xr.DataArray, prediction: xr.DataArray | None, frame_rate: float
) -> xr.Dataset:
    """Measured and predicted response to each frame of one video, averaged over its repeats.

    Parameters
    ----------
    response, prediction : DataArray of dimensions (trial, neuron, frame)
        Of trials of one video. Missing responses (NaN) are left out, of both. Where nothing
        was predicted: None.
    frame_rate : float
        Frames per second.

    Returns
    -------
    xarray.Dataset
        The variables of `average_repeats`, (frame, neuron), with `time` in seconds along
        `frame`.

    """
    predicted = None if prediction is None else unroll_frames(prediction, skip=0)
    found = average_repeats(unroll_frames(response, skip=0), predicted)
    found = found.drop_vars("stimulus_index").rename(image="frame")
    return found.assign_coords(time=_time(found.sizes["frame"], frame_rate))


def blank_clip(recording: xr.Dataset, of: Sequence[str]) -> xr.Dataset:
    """Stand in for what `average_clip` finds, while it is not known: all missing."""
    sizes = recording.sizes["frame"], recording.sizes["neuron"]
    units = {"units": str(recording.response.attrs.get("units", "a.u."))}
    none = ("frame", "neuron"), np.full(sizes, np.nan), units
    return xr.Dataset(
        dict.fromkeys(("standard_error", *of), none),
        {
            "time": _time(sizes[0], float(recording.attrs["frame_rate"])),
            "neuron_id": ("neuron", recording.neuron_id.values),
        },
    )


def _time(n_frame: int, frame_rate: float) -> tuple[str, np.ndarray, dict[str, str]]:
    return "frame", np.arange(n_frame) / frame_rate, {"long_name": "time", "units": "s"}


def raster_of_clip(
    clip: xr.Dataset, neurons: Sequence[int] | np.ndarray, variable: str, *, most: int = 80
) -> xr.Dataset:
    """Responses of some neurons to each frame of a video, for a raster.

    Parameters
    ----------
    clip : Dataset
        From `average_clip`.
    neurons : sequence of int
        Positions in it, from the first line to the last; of more than `most`, evenly spaced
        ones.
    variable : {"response", "prediction"}

    Returns
    -------
    xarray.Dataset
        `raster` (raster_neuron, raster_column), in standard deviations of the neuron's mean
        measured response over frames, of the measured and the predicted alike.

    """
    chosen = np.asarray(neurons, int)
    if len(chosen) > most:
        chosen = chosen[np.linspace(0, len(chosen) - 1, most).round().astype(int)]
    some = clip.isel(neuron=chosen)
    spread = some.response.std("frame")
    raster = (some[variable] / spread.where(spread > 0)).transpose("neuron", "frame")
    return xr.Dataset(
        {
            "raster": (
                ("raster_neuron", "raster_column"),
                raster.values,
                {"long_name": "response", "units": "s.d."},
            )
        },
        {
            "raster_column": (
                "raster_column",
                np.arange(clip.sizes["frame"]),
                {"long_name": "frame", "units": "1"},
            ),
            "neuron": ("raster_neuron", chosen),
        },
        {"n_neuron": len(neurons)},
    )
