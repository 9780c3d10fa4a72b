"""Responses in an NWB 2 file: traces of ROIs and spike times of units, and whose they are."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np

from twinlab.recordings.hdf5 import attribute, member, open_hdf5, required, text, values, walk
from twinlab.recordings.layouts.nwb2_stimuli import series_times
from twinlab.recordings.members import DamagedError
from twinlab.recordings.presentations import Source, spike_source, trace_source
from twinlab.recordings.reading import Notes
from twinlab.schema import InputError

__all__ = ["SPIKES", "describe_traces", "find_traces", "join_neurons"]

SPIKES = "spikes"  # name of the set of `Units`
AREA_COLUMNS = ("area", "brain_area", "location")


Found = tuple[Source, dict[str, np.ndarray]]


def find_traces(file: h5py.File) -> dict[str, list[str]]:
    """Sets of traces by name, the one to take first first; each a list of series.

    Sets that have one name are told apart by what holds them: "DfOverF-RoiResponseSeries".
    """
    found: dict[tuple[int, str], list[str]] = {}
    for node in walk(file):
        kind = attribute(node, "neurodata_type")
        if kind == "RoiResponseSeries":
            name = re.sub(r"\d+$", "", node.name.rpartition("/")[2])
            events = re.search("event|deconv|spike", node.name, re.IGNORECASE)
            of_dff = attribute(node.parent, "neurodata_type") == "DfOverF"
            found.setdefault((0 if events else 1 if of_dff else 2, name), []).append(node.name)
        elif kind == "Units" and "spike_times" in node:
            found.setdefault((3, SPIKES), []).append(node.name)
    names = [name for _, name in found]
    return {
        name if names.count(name) == 1 else f"{series[0].split('/')[-2]}-{name}": sorted(series)
        for (_, name), series in sorted(found.items())
    }


def describe_traces(
    path: Path, file: h5py.File, label: str, series: list[str], latency: float, notes: Notes
) -> tuple[list[Source], list[dict[str, np.ndarray]]]:
    """How to measure each series of a set of `find_traces`, `latency` later, and its neurons.

    Raises
    ------
    DamagedError
        If traces, times or ids do not fit.

    """
    describe = _units if label == SPIKES else _rois
    found = [describe(path, file, name, latency, notes) for name in series]
    return [source for source, _ in found], [neuron for _, neuron in found]


def _rois(path: Path, file: h5py.File, name: str, latency: float, notes: Notes) -> Found:
    """Traces of one series, and its neurons."""
    series = member(file, name)
    data = member(series, "data")
    if not isinstance(data, h5py.Dataset) or data.ndim != 2 or data.dtype.kind not in "iuf":
        msg = f"{name}/data: expected numbers (time, roi)"
        raise DamagedError(msg)
    n_time, n_neuron = data.shape
    times = series_times(series, n_time)
    if n_time < 2 or not (np.diff(times) > 0).all():
        msg = f"{name}: its times do not increase"
        raise DamagedError(msg)
    gain = float(attribute(data, "conversion") or 1)
    shift = float(attribute(data, "offset") or 0)

    def read(start: int, stop: int) -> np.ndarray:
        try:
            with open_hdf5(path) as again:
                return member(again, f"{name}/data")[start:stop] * gain + shift
        except InputError as error:
            notes.add(name, str(error))
            return np.full((stop - start, n_neuron), np.nan)

    source = trace_source(read, times, n_neuron, latency)
    neuron = {"neuron_id": np.arange(n_neuron)}
    region = member(series, "rois")
    table = file[attribute(region, "table")] if region is not None else None
    if isinstance(table, h5py.Group) and table.name:  # which is None once it was deleted
        rows, ids = values(region).astype(np.int64), required(table, "id").ravel()
        if rows.shape != (n_neuron,) or rows.max(initial=0) >= len(ids) or rows.min(initial=0) < 0:
            msg = f"{name}/rois: {rows.shape} rows of {len(ids)}, expected ({n_neuron},)"
            raise DamagedError(msg)
        neuron["neuron_id"] = ids[rows]
        neuron["plane"] = np.full(n_neuron, table.name.rpartition("/")[2])
        plane = member(table, "imaging_plane")
        area = text(plane, "location") if isinstance(plane, h5py.Group) else ""
        if area:
            neuron["area"] = np.full(n_neuron, area)
    return source, neuron


def _units(path: Path, file: h5py.File, name: str, latency: float, notes: Notes) -> Found:
    """Spike times of a table of units, and the units."""
    table = member(file, name)
    ids = required(table, "id").ravel()
    stop = required(table, "spike_times_index", len(ids)).astype(np.int64)
    start = np.concatenate([[0], stop[:-1]])
    times = member(table, "spike_times")
    if not isinstance(times, h5py.Dataset) or times.ndim != 1 or times.dtype.kind not in "iuf":
        msg = f"{name}/spike_times: expected numbers, one after the other"
        raise DamagedError(msg)
    n_spike = len(times)
    if (stop < start).any() or (len(stop) and stop[-1] > n_spike):
        msg = f"{name}: `spike_times_index` must increase up to {n_spike} spikes"
        raise DamagedError(msg)

    def read() -> list[np.ndarray]:
        try:
            with open_hdf5(path) as again:
                spikes = member(again, f"{name}/spike_times")
                return [spikes[a:b] for a, b in zip(start, stop, strict=True)]
        except InputError as error:
            notes.add(name, str(error))
            return [np.empty(0)] * len(stop)

    neuron = {"neuron_id": ids}
    for column in AREA_COLUMNS:
        node = member(table, column)
        if isinstance(node, h5py.Dataset) and node.shape == ids.shape and "area" not in neuron:
            neuron["area"] = values(node).astype(str)
    return spike_source(read, len(ids), latency, _observed(table, len(ids))), neuron


def _observed(table: h5py.Group, n: int) -> list[np.ndarray] | None:
    """When each unit was observed, (interval, 2), if the table says so."""
    if member(table, "obs_intervals") is None:
        return None
    intervals = required(table, "obs_intervals")
    stop = required(table, "obs_intervals_index", n).astype(np.int64)
    start = np.concatenate([[0], stop[:-1]])
    if intervals.ndim != 2 or intervals.shape[1] != 2 or intervals.dtype.kind not in "iuf":
        msg = f"{table.name}/obs_intervals: shape {intervals.shape}, expected (interval, 2)"
        raise DamagedError(msg)
    if (stop < start).any() or (n and stop[-1] > len(intervals)):
        msg = f"{table.name}: `obs_intervals_index` must increase up to {len(intervals)} intervals"
        raise DamagedError(msg)
    return [intervals[a:b] for a, b in zip(start, stop, strict=True)]


def join_neurons(neurons: list[dict[str, np.ndarray]], session: str) -> dict[str, np.ndarray]:
    """Neurons of several series as one table, each with an id of its own."""
    names = set.intersection(*(set(neuron) for neuron in neurons))
    joined = {name: np.concatenate([neuron[name] for neuron in neurons]) for name in sorted(names)}
    ids = joined["neuron_id"]
    if len(np.unique(ids)) < len(ids) and "plane" in joined:
        joined["neuron_id"] = np.char.add(np.char.add(joined["plane"], "-"), ids.astype(str))
    joined["session"] = np.full(len(ids), session)
    return joined
