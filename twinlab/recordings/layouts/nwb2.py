"""Reader of NWB 2 files (HDF5) with stimuli and calcium traces or spikes.

Objects are found by their type. A session is the name of a stimulus of which the file holds
the pixels, "natural_scenes" say; where the file has several sets of traces, further ones are
asked for behind a colon: "natural_scenes:Corrected". Without it events are taken before dF/F,
and dF/F before others. Series whose names differ in a final number only, as of the fields of
one scan, are taken together. Spikes of `Units` are asked for as "natural_scenes:spikes" beside
traces.

The response to an image is the mean trace (or the count of spikes) while it was on, 0.1 s
(0.05 s) later; see `presentations`. Videos have a response at each frame, as much later. The
source has no splits: all trials are "train". Files are read through h5py: code and schemas
that a file brings along are never loaded.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from twinlab.jobs import Job
from twinlab.recordings.hdf5 import (
    attribute,
    lazy_clips,
    member,
    open_hdf5,
    refuse_dangerous,
    required,
    text,
    values,
    walk,
)
from twinlab.recordings.layouts.nwb2_stimuli import find_stimuli, read_stimulus, series_times
from twinlab.recordings.members import DamagedError
from twinlab.recordings.presentations import (
    CALCIUM_LATENCY,
    SPIKE_LATENCY,
    Shown,
    Source,
    align_series,
    frame_rate,
    lazy_responses,
    spike_source,
    trace_source,
)
from twinlab.recordings.reading import Layout, Notes, Reading
from twinlab.schema import InputError

__all__ = ["LAYOUT"]

SPIKES = "spikes"
SPECIES = {"mus musculus": "mouse", "macaca mulatta": "macaque", "homo sapiens": "human"}
SPEEDS = {"cm/s": 1.0, "m/s": 100.0}  # to cm/s
AREA_COLUMNS = ("area", "brain_area", "location")


def _recognise(path: Path) -> bool:
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with open_hdf5(path) as file:
            # the version is text, which is read only from files that are known to be sound
            return "nwb_version" in file.attrs
    except InputError:
        return False


def _list_sessions(path: Path) -> list[str]:
    refuse_dangerous(path)
    with open_hdf5(path) as file:
        stimuli, traces = find_stimuli(file), _find_traces(file)
        outside = [name for node in walk(file) for name in _external_files(node)]
    if not stimuli:
        where = f" (those of {', '.join(outside[:3])} are in other files)" if outside else ""
        msg = (
            f"{path}: holds no stimulus with its pixels{where}; expected an IndexSeries into "
            "images, or TimeIntervals with a template or a series of frames."
        )
        raise InputError(msg)
    if not traces:
        msg = f"{path}: holds no responses; expected a RoiResponseSeries or Units."
        raise InputError(msg)
    return [
        stimulus if number == 0 else f"{stimulus}:{trace}"
        for number, trace in enumerate(traces)
        for stimulus in stimuli
    ]


def _external_files(node: Any) -> list[str]:
    return [node.name] if isinstance(node, h5py.Group) and "external_file" in node else []


def _find_traces(file: h5py.File) -> dict[str, list[str]]:
    """Sets of traces by name, the one to take first first; each a list of series."""
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
    return {name: sorted(series) for (_, name), series in sorted(found.items())}


def _read(path: Path, session: str, job: Job) -> Reading:
    notes = Notes()
    name, _, wanted = session.partition(":")
    with open_hdf5(path) as file:
        stimulus = read_stimulus(file, find_stimuli(file)[name])
        traces = _find_traces(file)
        label = wanted or next(iter(traces))
        of_spikes = label == SPIKES
        latency = SPIKE_LATENCY if of_spikes else CALCIUM_LATENCY
        describe = _units if of_spikes else _rois
        found = [describe(path, file, series, notes) for series in traces[label]]
        units = (
            "spike count"
            if of_spikes
            else str(attribute(member(file, f"{traces[label][0]}/data"), "unit") or "a.u.")
        )
        state = _read_state(file, stimulus.shown, notes)
        experiment = text(file, "general/session_id") or text(file, "identifier") or path.stem
        species = text(file, "general/subject/species")
    sources = [source for source, _ in found]
    shown, video = stimulus.shown, stimulus.shown.onset.ndim == 2
    pixels = lazy_clips(path, stimulus.clips, notes, job)
    parts: dict[str, Any] = {
        "stimulus": pixels if video else pixels[:, :, 0],
        "response": lazy_responses(shown, sources),
        "trial": {
            "stimulus_index": shown.index,
            "image_id": stimulus.image_id[shown.index],
            "split": np.full(len(shown.index), "train"),
            "presentation_order": np.arange(len(shown.index)),
        },
        "neuron": _join([neuron for _, neuron in found], experiment),
        **state,
        "response_units": units if of_spikes else f"{label} ({units})",
        "latency_s": latency,
        "recording_id": f"{experiment}-{session.replace(':', '-')}",
        "species": SPECIES.get(species.lower(), species or "unknown"),
    }
    if video:
        parts["frame_rate"] = frame_rate(shown)
        lengths = [clip.n_frame for clip in stimulus.clips]
        parts["extra"] = {"n_frame": ("video", np.array(lengths))}
    return Reading(parts, notes)


Found = tuple[Source, dict[str, np.ndarray]]


def _rois(path: Path, file: h5py.File, name: str, notes: Notes) -> Found:
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

    source = trace_source(read, times, n_neuron, CALCIUM_LATENCY)
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


def _units(path: Path, file: h5py.File, name: str, notes: Notes) -> Found:
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
    return spike_source(read, len(ids), SPIKE_LATENCY), neuron


def _join(neurons: list[dict[str, np.ndarray]], session: str) -> dict[str, np.ndarray]:
    """Neurons of several series as one table, each with an id of its own."""
    names = set.intersection(*(set(neuron) for neuron in neurons))
    joined = {name: np.concatenate([neuron[name] for neuron in neurons]) for name in sorted(names)}
    ids = joined["neuron_id"]
    if len(np.unique(ids)) < len(ids) and "plane" in joined:
        joined["neuron_id"] = np.char.add(np.char.add(joined["plane"], "-"), ids.astype(str))
    joined["session"] = np.full(len(ids), session)
    return joined


def _read_state(file: h5py.File, shown: Shown, notes: Notes) -> dict[str, Any]:
    """Running speed (cm/s), pupil size and pupil position, where the file has them."""
    channels: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    gaze: list[tuple[np.ndarray, np.ndarray]] = []
    for node in walk(file):
        data = member(node, "data") if isinstance(node, h5py.Group) else None
        if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "iuf":
            continue
        unit = str(attribute(data, "unit") or "")
        within = attribute(node.parent, "neurodata_type")
        gain = float(attribute(data, "conversion") or 1)
        flat = data.ndim == 1 or data.shape[1:] == (1,)
        if flat and unit in SPEEDS and "running_speed" not in channels:
            channels["running_speed"] = _series(node, data, gain * SPEEDS[unit])
        elif flat and within == "PupilTracking":
            channels[node.name.rpartition("/")[2]] = _series(node, data, gain)
        elif within == "EyeTracking" and data.shape[1:] == (2,) and not gaze:
            positions, times = _series(node, data, gain, flat=False)
            gaze = [(column, times) for column in positions.T]
    state: dict[str, Any] = {}
    if channels:
        state["behavior"] = align_series(shown, list(channels.values()), notes)
        state["behavior_channel"] = tuple(channels)
    if gaze:
        state["pupil_center"] = align_series(shown, gaze, notes)
    return state


def _series(
    node: h5py.Group, data: h5py.Dataset, gain: float, flat: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Values of a series, and their times."""
    found = values(data) * gain
    times = series_times(node, len(found))
    if len(times) < 2 or not (np.diff(times) > 0).all():
        msg = f"{node.name}: its times do not increase"
        raise DamagedError(msg)
    return found.reshape(len(found)) if flat else found, times


LAYOUT = Layout(_recognise, _list_sessions, _read)
