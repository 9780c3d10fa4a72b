"""What an NWB 2 file says was shown: found by the types of its objects, not by their names.

Three ways of saying it are known: an `IndexSeries` into images or into the frames of a series
(Allen 2-photon copies); a `TimeIntervals` table with the frame or the name of an image in a
template (Allen Neuropixels, OpenScope), or with references into a series; and a table of trials
beside one long series of frames on the same clock (MICrONS).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import h5py
import numpy as np

from twinlab.recordings.hdf5 import Clip, attribute, member, required, values, walk
from twinlab.recordings.members import DamagedError
from twinlab.recordings.presentations import Shown, is_movie, movie_trials

__all__ = ["Stimulus", "find_stimuli", "read_stimulus", "series_times"]

IMAGE_SERIES = ("ImageSeries", "OpticalSeries")
# Columns of a table that tell stimuli apart, the surest first.
FRAME_COLUMNS = ("frame", "image_index")
NAME_COLUMNS = ("image_name", "condition_hash", "stimulus_condition_id", "movie_name")


class Stimulus(NamedTuple):
    """Trials of a stimulus, and where the pixels of each image or video are."""

    shown: Shown
    clips: list[Clip]
    image_id: np.ndarray


class _Pixels(NamedTuple):
    """Images or frames by number; `names` where they have some."""

    clips: list[Clip]
    names: list[str]


def find_stimuli(file: h5py.File) -> dict[str, str]:
    """Stimuli of which the file holds the pixels: their name, and the object that says when."""
    found = {}
    for node in walk(member(file, "stimulus/presentation") or {}):
        if attribute(node, "neurodata_type") == "IndexSeries" and _indexed(node) is not None:
            found[_short(node)] = node.name
    for table in _tables(file):
        if _way(file, table):
            found.setdefault(_short(table), table.name)
    return found


def read_stimulus(file: h5py.File, place: str) -> Stimulus:
    """Read when a stimulus was shown.

    Raises
    ------
    DamagedError
        If times, indices and pixels do not fit.

    """
    node = member(file, place)
    if attribute(node, "neurodata_type") == "IndexSeries":
        return _of_index_series(node)
    way = _way(file, node)
    onset = _column(node, "start_time")
    end = _column(node, "stop_time", len(onset))
    order = np.argsort(onset, kind="stable")
    if way == "references":
        return _of_references(file, node, order)
    if way == "template":
        pixels = _pixels(_template(file, node))
        index = _index_column(node, pixels, len(order))[order]
        return _number(index, onset[order], (end - onset)[order], pixels, place)
    return _of_trials(file, node, onset[order], end[order], order)


def series_times(series: h5py.Group, n: int) -> np.ndarray:
    """When each of the `n` samples of a series was taken, in seconds."""
    stamps = member(series, "timestamps")
    if stamps is not None:
        times = values(stamps)
    else:
        start = member(series, "starting_time")
        rate = float(attribute(start, "rate") or 0) if start is not None else 0.0
        if not rate > 0:
            msg = f"{series.name}: neither `timestamps` nor `starting_time` with a rate"
            raise DamagedError(msg)
        times = float(values(start).ravel()[0]) + np.arange(n) / rate
    if times.shape != (n,) or times.dtype.kind not in "iuf":
        msg = f"{series.name}: times of shape {times.shape}, expected ({n},)"
        raise DamagedError(msg)
    return times.astype(np.float64)


def _short(node: Any) -> str:
    name = node.name.rpartition("/")[2]
    return name.removesuffix("_stimulus").removesuffix("_presentations")


def _tables(file: h5py.File) -> list[Any]:
    return [
        node
        for node in walk(member(file, "intervals") or {})
        if attribute(node, "neurodata_type") == "TimeIntervals"
        and {"start_time", "stop_time"} <= set(node)
    ]


def _way(file: h5py.File, table: h5py.Group) -> str:
    """How a table leads to pixels; empty if it does not."""
    if "timeseries" in table and _references(file, table) is not None:
        return "references"
    template = _template(file, table)
    if template is not None and (set(FRAME_COLUMNS) | {"image_name"}) & set(table):
        return "template"
    return "trials" if _spanning(file, table) is not None else ""


def _holds_pixels(node: Any, anywhere: bool = False) -> bool:
    """Whether a group is a series with its frames in the file; `anywhere` of any type."""
    if not isinstance(node, h5py.Group):
        return False
    if not anywhere and attribute(node, "neurodata_type") not in IMAGE_SERIES:
        return False
    data = member(node, "data")
    return isinstance(data, h5py.Dataset) and data.ndim in (3, 4) and 0 not in data.shape


def _template(file: h5py.File, table: h5py.Group) -> Any:
    """Template that is called as a table is; None if there is none with pixels."""
    for name in (table.name.rpartition("/")[2], _short(table), f"{_short(table)}_template"):
        found = member(file, f"stimulus/templates/{name}")
        if attribute(found, "neurodata_type") == "Images" if found is not None else False:
            return found
        if _holds_pixels(found, anywhere=True):
            return found
    return None


def _indexed(series: h5py.Group) -> Any:
    """What an IndexSeries points into, if it holds pixels."""
    images = member(series, "indexed_images")
    if images is not None:
        return images
    frames = member(series, "indexed_timeseries")
    return frames if _holds_pixels(frames, anywhere=True) else None


def _pixels(node: h5py.Group) -> _Pixels:
    """Images of a collection in their order, or frames of a series."""
    if attribute(node, "neurodata_type") != "Images":
        data = member(node, "data")
        named = member(node, "control_description")
        names = values(named).tolist() if named is not None else []
        return _Pixels([Clip(data.name, np.array([i])) for i in range(data.shape[0])], names)
    order = member(node, "order_of_images")
    if order is not None:
        names = [(node.file[it].name or "").rpartition("/")[2] for it in order[()]]
    else:
        names = _numbered([name for name in node if isinstance(member(node, name), h5py.Dataset)])
    return _Pixels([Clip(f"{node.name}/{name}") for name in names], names)


def _numbered(names: list[str]) -> list[str]:
    """Names in the order of the numbers that they end in: HDF5 keeps no order of its own."""
    return sorted(names, key=lambda name: (int((re.findall(r"\d+$", name) or ["0"])[0]), name))


def _of_index_series(series: h5py.Group) -> Stimulus:
    pixels = _pixels(_indexed(series))
    index = required(series, "data")
    if index.ndim != 1 or index.dtype.kind not in "iu":
        msg = f"{series.name}/data: type {index.dtype}, expected whole numbers"
        raise DamagedError(msg)
    onset = series_times(series, len(index))
    order = np.argsort(onset, kind="stable")
    index, onset = index[order].astype(np.int64), onset[order]
    usual = np.median(np.diff(onset)) if len(onset) > 1 else 1.0
    duration = np.minimum(np.diff(onset, append=onset[-1:] + usual), usual)
    # blank sweeps were -1, which became the largest whole number when files were converted
    index = np.where(index >= 2**31, -1, index)
    return _number(index, onset, duration, pixels, series.name)


def _number(
    index: np.ndarray, onset: np.ndarray, duration: np.ndarray, pixels: _Pixels, place: str
) -> Stimulus:
    """Trials of numbered images, or of one movie if they follow one another."""
    shown = (index >= 0) & np.isfinite(onset) & (duration > 0)
    index, onset, duration = index[shown], onset[shown], duration[shown]
    if not len(index) or index.max() >= len(pixels.clips):
        msg = (
            f"{place}: {len(index)} presentations of images up to {index.max(initial=-1)}, but "
            f"there are {len(pixels.clips)} images"
        )
        raise DamagedError(msg)
    if is_movie(index) and pixels.clips[0].rows is not None:
        trials = movie_trials(index, onset)
        movie = Clip(pixels.clips[0].name, np.arange(index.max() + 1))
        name = place.rpartition("/")[2].removesuffix("_stimulus").removesuffix("_presentations")
        return Stimulus(trials, [movie], np.array([name]))
    rows, number = np.unique(index, return_inverse=True)
    named = len(pixels.names) == len(pixels.clips)
    ids = np.array([pixels.names[row] for row in rows]) if named else rows
    return Stimulus(Shown(number, onset, duration), [pixels.clips[row] for row in rows], ids)


def _column(table: h5py.Group, name: str, n: int | None = None) -> np.ndarray:
    """Column of `n` numbers of a table."""
    found = required(table, name, n)
    if found.ndim != 1 or found.dtype.kind not in "iuf":
        msg = f"{table.name}/{name}: shape {found.shape} of {found.dtype}, expected numbers"
        raise DamagedError(msg)
    return found.astype(np.float64)


def _index_column(table: h5py.Group, pixels: _Pixels, n: int) -> np.ndarray:
    """Number of the image that each row shows; -1 for none."""
    frames = next((name for name in FRAME_COLUMNS if name in table), None)
    if frames:
        return np.nan_to_num(_column(table, frames, n), nan=-1).astype(np.int64)
    known = {name: number for number, name in enumerate(pixels.names)}
    return np.array([known.get(it, -1) for it in required(table, "image_name", n).tolist()])


def _references(file: h5py.File, table: h5py.Group) -> Any:
    """Series that the first row of a table refers to, if it holds pixels."""
    column = member(table, "timeseries")
    if not isinstance(column, h5py.Dataset) or column.ndim != 1 or not len(column):
        return None
    if "timeseries" not in (column.dtype.names or ()):
        return None
    series = file[column[0]["timeseries"]]
    return series if _holds_pixels(series) else None


def _of_references(file: h5py.File, table: h5py.Group, order: np.ndarray) -> Stimulus:
    """Trials whose rows name a stretch of a series of frames."""
    series = _references(file, table)
    data = member(series, "data")
    references = required(table, "timeseries")
    first = np.arange(len(references))
    if member(table, "timeseries_index") is not None:  # of several references the first counts
        ends = required(table, "timeseries_index", len(order)).astype(np.int64)
        first = np.concatenate([[0], ends[:-1]])
    if len(first) != len(order) or first.min() < 0 or first.max() >= len(references):
        msg = f"{table.name}/timeseries: {len(references)} references do not fit {len(order)} rows"
        raise DamagedError(msg)
    references = references[first]
    start = references["idx_start"].astype(np.int64)[order]
    stop = start + references["count"].astype(np.int64)[order]
    if start.min() < 0 or stop.max() > data.shape[0] or (stop <= start).any():
        msg = f"{table.name}: frames {start.min()} to {stop.max()}, expected 0 to {data.shape[0]}"
        raise DamagedError(msg)
    times = series_times(series, data.shape[0])
    return _of_stretches(data.name, times, start, stop, _ids(table, order))


def _spanning(file: h5py.File, table: h5py.Group) -> Any:
    """Series of frames on whose clock a table's trials lie."""
    places = [member(file, name) or {} for name in ("stimulus/presentation", "acquisition")]
    for node in [node for place in places for node in walk(place)]:
        if _holds_pixels(node) and ({"timestamps", "starting_time"} & set(node)):
            times = series_times(node, member(node, "data").shape[0])
            onset = _column(table, "start_time")
            if len(onset) and np.mean((onset >= times[0] - 1) & (onset <= times[-1])) > 0.5:
                return node
    return None


def _of_trials(
    file: h5py.File, table: h5py.Group, onset: np.ndarray, end: np.ndarray, order: np.ndarray
) -> Stimulus:
    """Trials beside one long series: the frames between start and stop of each."""
    series = _spanning(file, table)
    data = member(series, "data")
    times = series_times(series, data.shape[0])
    slack = np.median(np.diff(times)) / 2  # clocks are rounded
    start = np.searchsorted(times, onset - slack)
    stop = np.searchsorted(times, end - slack)
    if (stop <= start).any():
        which = int(np.flatnonzero(stop <= start)[0])
        msg = f"{table.name}: no frame of {series.name} between start and stop of trial {which}"
        raise DamagedError(msg)
    return _of_stretches(data.name, times, start, stop, _ids(table, order))


def _ids(table: h5py.Group, order: np.ndarray) -> np.ndarray:
    """What tells a table's stimuli apart; its row where nothing does."""
    name = next((name for name in NAME_COLUMNS if name in table), None)
    return required(table, name, len(order)).astype(str)[order] if name else order.astype(str)


def _of_stretches(
    data: str, times: np.ndarray, start: np.ndarray, stop: np.ndarray, ids: np.ndarray
) -> Stimulus:
    """Trials that each show a stretch of frames; what has one id is one video."""
    _, first, number = np.unique(ids, return_index=True, return_inverse=True)
    n_frame = (stop - start)[first][number]  # of repeats the first tells how long it is
    usual = float(np.median(np.diff(times)))
    onset = np.full((len(start), n_frame.max()), np.nan)
    for trial, (begin, length) in enumerate(zip(start, n_frame, strict=True)):
        seen = times[begin : min(begin + length, stop[trial])]
        onset[trial, : len(seen)] = seen
    clips = [Clip(data, np.arange(start[row], stop[row])) for row in first]
    if onset.shape[1] == 1:
        return Stimulus(Shown(number, onset[:, 0], np.full(len(start), usual)), clips, ids[first])
    return Stimulus(Shown(number, onset, np.full(onset.shape, usual)), clips, ids[first])
