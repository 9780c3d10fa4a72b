"""Reader of the Allen Brain Observatory's 2-photon files (Visual Coding, NWB 1 in HDF5).

A session is the name of a stimulus of which the file holds the pixels, such as
"natural_scenes" or "natural_movie_one". Gratings, of which there are only parameters, and
spontaneous activity are not offered. Responses are the dF/F of the file.

The response to an image is the mean trace while it was on, 0.1 s later, as calcium signals
lag. A movie is one video, and each showing a trial with the trace at every frame, as much
later. The file keeps presentation times as numbers of acquisition frames. Blank sweeps (image
-1) are left out. The source has no splits: all trials are "train".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from twinlab.jobs import Job
from twinlab.recordings.hdf5 import (
    Clip,
    lazy_clips,
    member,
    open_hdf5,
    refuse_dangerous,
    required,
    text,
    values,
)
from twinlab.recordings.members import DamagedError
from twinlab.recordings.presentations import (
    CALCIUM_LATENCY,
    Shown,
    align_series,
    frame_rate,
    is_movie,
    lazy_responses,
    movie_trials,
    trace_source,
)
from twinlab.recordings.reading import Layout, Notes, Reading
from twinlab.schema import InputError

__all__ = ["LAYOUT"]

PIPELINE = "processing/brain_observatory_pipeline"
TRACES = f"{PIPELINE}/DfOverF/imaging_plane_1"


def _recognise(path: Path) -> bool:
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with open_hdf5(path) as file:
            # the version is text, which is read only from files that are known to be sound
            return member(file, PIPELINE) is not None and "nwb_version" not in file.attrs
    except InputError:
        return False


def _list_sessions(path: Path) -> list[str]:
    refuse_dangerous(path)
    with open_hdf5(path) as file:
        templates = member(file, "stimulus/templates") or {}
        stimuli = [
            name.removesuffix("_image_stack")
            for name in templates
            if _presentation(file, name.removesuffix("_image_stack")) is not None
        ]
    if not stimuli:
        msg = (
            f"{path}: holds no stimulus with its pixels; expected "
            "`stimulus/templates/<name>_image_stack` and `stimulus/presentation/<name>_stimulus`."
        )
        raise InputError(msg)
    return stimuli


def _presentation(file: h5py.File, stimulus: str) -> Any:
    """Group that says when a stimulus was shown; it was called otherwise in early files."""
    folder = "stimulus/presentation"
    for name in (f"{stimulus}_stimulus", stimulus):
        found = member(file, f"{folder}/{name}")
        if found is not None:
            return found
    return None


def _read(path: Path, session: str, job: Job) -> Reading:
    notes = Notes()
    with open_hdf5(path) as file:
        times = required(file, f"{TRACES}/timestamps")
        shown, index = _trials(file, session, times)
        traces = member(file, f"{TRACES}/data")
        shape = traces.shape if isinstance(traces, h5py.Dataset) else None
        if shape is None or len(shape) != 2 or shape[1] != len(times):
            msg = f"{TRACES}/data: shape {shape}, expected (cells, {len(times)})"
            raise DamagedError(msg)
        neuron = _describe_neurons(file, shape[0], notes)
        state = _read_state(file, shown, notes)
        experiment = text(file, "general/session_id") or path.stem
    video = shown.onset.ndim == 2
    template = f"stimulus/templates/{session}_image_stack/data"
    clips = [Clip(template, rows) for rows in ([index] if video else index[:, None])]
    stimulus = lazy_clips(path, clips, notes, job)

    def read(start: int, stop: int) -> np.ndarray:
        try:
            with open_hdf5(path) as file:
                return member(file, f"{TRACES}/data")[:, start:stop].T
        except InputError as error:
            notes.add(TRACES, str(error))
            return np.full((stop - start, len(neuron["neuron_id"])), np.nan)

    source = trace_source(read, times, len(neuron["neuron_id"]), CALCIUM_LATENCY)
    n_trial = len(shown.index)
    parts: dict[str, Any] = {
        "stimulus": stimulus if video else stimulus[:, :, 0],
        "response": lazy_responses(shown, [source]),
        "trial": {
            "stimulus_index": shown.index,
            "image_id": np.full(n_trial, session) if video else index[shown.index],
            "split": np.full(n_trial, "train"),
            "presentation_order": np.arange(n_trial),
        },
        "neuron": {**neuron, "session": np.full(len(neuron["neuron_id"]), experiment)},
        **state,
        "response_units": "dF/F",
        "latency_s": CALCIUM_LATENCY,
        "recording_id": f"{experiment}-{session}",
        "species": "mouse",
    }
    if video:
        parts["frame_rate"] = frame_rate(shown)
    return Reading(parts, notes)


def _trials(file: h5py.File, stimulus: str, times: np.ndarray) -> tuple[Shown, np.ndarray]:
    """Trials of a stimulus, and the rows of its template that were shown."""
    group = _presentation(file, stimulus)
    template = _required_index(group, "data")
    span = _required_index(group, "frame_duration")
    if span.ndim != 2 or span.shape[1] < 2 or template.shape != span.shape[:1]:
        msg = (
            f"{group.name}: `data` of shape {template.shape} and `frame_duration` of shape "
            f"{span.shape}, expected (n,) and (n, 2)"
        )
        raise DamagedError(msg)
    shown = template >= 0
    template, span = template[shown], span[shown]
    order = np.argsort(span[:, 0], kind="stable")
    template, begin, end = template[order], span[order, 0], span[order, 1]
    pixels = member(file, f"stimulus/templates/{stimulus}_image_stack/data")
    n_template = pixels.shape[0] if isinstance(pixels, h5py.Dataset) and pixels.shape else 0
    if not len(template) or template.max() >= n_template:
        msg = (
            f"{group.name}: {len(template)} presentations of images up to "
            f"{template.max(initial=-1)}, but the template has {n_template}"
        )
        raise DamagedError(msg)
    if begin[0] < 0 or end.max() >= len(times) or (end < begin).any():
        msg = (
            f"{group.name}/frame_duration: from {begin[0]} to {end.max()}, but there are "
            f"{len(times)} acquisition frames in {TRACES}"
        )
        raise DamagedError(msg)
    if is_movie(template):
        return movie_trials(template, times[begin]), np.arange(template.max() + 1)
    rows, index = np.unique(template, return_inverse=True)
    duration = np.maximum(times[end] - times[begin], np.median(np.diff(times)))
    return Shown(index, times[begin], duration), rows


def _required_index(group: h5py.Group, name: str) -> np.ndarray:
    found = required(group, name)
    if found.dtype.kind not in "iuf" or not np.isfinite(found).all():
        msg = f"{group.name}/{name}: type {found.dtype}, expected whole numbers"
        raise DamagedError(msg)
    return found.astype(np.int64)


def _describe_neurons(file: h5py.File, n_neuron: int, notes: Notes) -> dict[str, np.ndarray]:
    plane = "general/optophysiology/imaging_plane_1"
    neuron: dict[str, np.ndarray] = {"neuron_id": np.arange(n_neuron)}
    ids = member(file, f"{PIPELINE}/ImageSegmentation/cell_specimen_ids")
    if ids is not None:
        found = values(ids)
        if found.shape == (n_neuron,) and found.dtype.kind in "iu" and len(set(found)) == n_neuron:
            neuron["neuron_id"] = found.astype(np.int64)
        else:
            notes.add(
                ids.name, f"shape {found.shape}, expected {n_neuron} different whole numbers"
            )
    area = text(file, f"{plane}/location")
    if area:
        neuron["area"] = np.full(n_neuron, area)
    depth = re.match(r"\s*([\d.]+)", text(file, f"{plane}/imaging depth"))
    if depth:
        neuron["z_um"] = np.full(n_neuron, float(depth[1]), np.float32)
    return neuron


def _read_state(file: h5py.File, shown: Shown, notes: Notes) -> dict[str, Any]:
    """Running speed (cm/s), pupil area and pupil position, where the file has them."""
    series = {
        "pupil_area": f"{PIPELINE}/PupilTracking/pupil_size",
        "running_speed": f"{PIPELINE}/BehavioralTimeSeries/running_speed",
    }
    found = {name: _read_series(file, place, notes) for name, place in series.items()}
    channels = {name: pair for name, pair in found.items() if pair is not None}
    gaze = _read_series(file, f"{PIPELINE}/EyeTracking/pupil_location", notes)
    state: dict[str, Any] = {}
    if channels:
        columns = [(data[:, 0], times) for data, times in channels.values()]
        state = {
            "behavior": align_series(shown, columns, notes),
            "behavior_channel": tuple(channels),
        }
    if gaze is not None and gaze[0].shape[1] == 2:
        columns = [(column, gaze[1]) for column in gaze[0].T]
        state["pupil_center"] = align_series(shown, columns, notes)
    return state


def _read_series(
    file: h5py.File, place: str, notes: Notes
) -> tuple[np.ndarray, np.ndarray] | None:
    """Values (time, column) of a series and their times; None where there is none."""
    group = member(file, place)
    if group is None:
        return None
    data, times = required(group, "data"), required(group, "timestamps")
    data = data[:, None] if data.ndim == 1 else data
    if (
        data.ndim != 2
        or len(data) != len(times)
        or len(times) < 2
        or not (np.diff(times) > 0).all()
    ):
        notes.add(place, f"values of shape {data.shape} do not fit {len(times)} increasing times")
        return None
    return data, times


LAYOUT = Layout(_recognise, _list_sessions, _read)
