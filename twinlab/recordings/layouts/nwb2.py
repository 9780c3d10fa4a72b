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
    text,
    values,
    walk,
)
from twinlab.recordings.layouts.nwb2_stimuli import find_stimuli, read_stimulus, series_times
from twinlab.recordings.layouts.nwb2_traces import (
    SPIKES,
    describe_traces,
    find_traces,
    join_neurons,
)
from twinlab.recordings.members import DamagedError
from twinlab.recordings.presentations import (
    CALCIUM_LATENCY,
    SPIKE_LATENCY,
    Shown,
    align_series,
    frame_rate,
    lazy_responses,
)
from twinlab.recordings.reading import Layout, Notes, Reading
from twinlab.schema import InputError

__all__ = ["LAYOUT"]

SPECIES = {"mus musculus": "mouse", "macaca mulatta": "macaque", "homo sapiens": "human"}
SPEEDS = {"cm/s": 1.0, "m/s": 100.0}  # to cm/s


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
        stimuli, traces = find_stimuli(file), find_traces(file)
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


def _read(path: Path, session: str, job: Job) -> Reading:
    notes = Notes()
    name, _, wanted = session.partition(":")
    with open_hdf5(path) as file:
        stimulus = read_stimulus(file, find_stimuli(file)[name])
        traces = find_traces(file)
        label = wanted or next(iter(traces))
        of_spikes = label == SPIKES
        latency = SPIKE_LATENCY if of_spikes else CALCIUM_LATENCY
        sources, neurons = describe_traces(path, file, label, traces[label], latency, notes)
        units = (
            "spike count"
            if of_spikes
            else str(attribute(member(file, f"{traces[label][0]}/data"), "unit") or "a.u.")
        )
        state = _read_state(file, stimulus.shown, notes)
        experiment = text(file, "general/session_id") or text(file, "identifier") or path.stem
        species = text(file, "general/subject/species")
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
        "neuron": join_neurons(neurons, experiment),
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
