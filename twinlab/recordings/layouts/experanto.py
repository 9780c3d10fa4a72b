"""Reader of experanto's folders: one folder a device, each on its own clock.

``screen/`` holds one file a trial and when each frame came on; ``responses/``, ``eye_tracker/``,
``treadmill/`` and the like hold signals of a constant rate in ``data.npy`` or ``data.mem``, or
spike times. A session is "images" or "videos", whichever were shown; blank trials are left out.

The response to an image is the mean signal until the next frame came on, 0.1 s later as in
experanto's own settings (counts of spikes 0.05 s later); videos have a response at each frame.
Each signal of the other devices is a channel of `behavior`.

Source: sensorium-competition/experanto, its documentation and interpolators.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import yaml

from twinlab.jobs import Job
from twinlab.recordings.blocks import lazy_rows
from twinlab.recordings.layouts.sensorium import SPLIT_OF_TIER
from twinlab.recordings.mapped import map_npy, map_raw, regular
from twinlab.recordings.members import DamagedError
from twinlab.recordings.pixels import as_grey_levels, fill_up
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

SESSIONS = {"images": "image", "videos": "video"}  # and how a trial of each is marked
SPLITS = {**SPLIT_OF_TIER, "val": "validation", "": "train"}
IDS = ("condition_hash", "image_name", "video_name", "image_id")
LARGEST_TEXT = 2**27  # bytes of a file of meta data
WRONG = (OSError, ValueError, TypeError, KeyError, OverflowError)


class _Trial(NamedTuple):
    """One image or video on the screen: its file, first frame and length, and who it is."""

    file: str
    first: int
    n_frame: int
    identity: str
    tier: str


def _recognise(path: Path) -> bool:
    return (path / "screen/meta.yml").is_file() and (path / "responses/meta.yml").is_file()


def _list_sessions(path: Path) -> list[str]:
    marks = {_word(meta, "modality").lower() for meta in _screen_meta(path).values()}
    known = [session for session, mark in SESSIONS.items() if mark in marks]
    if not known:
        msg = f"{path / 'screen'}: shows {ascii(sorted(marks)[:5])}, expected images or videos."
        raise InputError(msg)
    return known


def _read(path: Path, session: str, job: Job) -> Reading:
    notes, cautions = Notes(), Notes()
    try:
        trials, times = _trials(path, session, notes)
        shown = _shown(trials, times, session)
        names, index = np.unique([trial.identity for trial in trials], return_inverse=True)
        shown = Shown(index, shown.onset, shown.duration)
        # of a video that was broken off once, a whole showing tells the pixels
        order = sorted(range(len(trials)), key=lambda row: -trials[row].n_frame)
        whole = [order[place] for place in np.unique(index[order], return_index=True)[1]]
        files = [trials[row] for row in whole]
        stimulus = _lazy_pixels(path / "screen/data", files, session, notes, job)
        _note_other_pixels(path / "screen/data", trials, [files[k] for k in index], session, notes)
        source, neuron, units, latency = _responses(path / "responses", notes)
    except DamagedError as error:
        msg = f"{path}: {error}."
        raise InputError(msg) from error
    state = _read_state(path, shown, notes, cautions)
    tiers = np.array([trial.tier for trial in trials])
    parts: dict[str, Any] = {
        "stimulus": stimulus,
        "response": lazy_responses(shown, [source]),
        "trial": {
            "stimulus_index": index,
            "image_id": names[index],
            "split": np.array([SPLITS.get(tier, "") for tier in tiers]),
            "source_tier": tiers,
            "presentation_order": np.arange(len(trials)),
        },
        "neuron": {**neuron, "session": np.full(source.n_neuron, path.resolve().name)},
        **state,
        "response_units": units,
        "latency_s": latency,
        "recording_id": f"{path.resolve().name}-{session}",
        "species": "unknown",
    }
    if session == "videos":
        parts["frame_rate"] = frame_rate(shown)
        parts["extra"] = {"n_frame": ("video", np.array([trial.n_frame for trial in files]))}
    return Reading(parts, notes, cautions)


def _load_text(path: Path) -> dict[str, Any]:
    """Meta data of one file, YAML or JSON; only plain values are ever made of it."""
    try:
        if regular(path).stat().st_size > LARGEST_TEXT:
            msg = f"{path.name}: larger than {LARGEST_TEXT:,} bytes"
            raise DamagedError(msg)
        content = path.read_text("utf-8")
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        found = json.loads(content) if path.suffix == ".json" else yaml.load(content, loader)
    except (*WRONG, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"{path.parent.name}/{path.name}: cannot be read ({reason})"
        raise DamagedError(msg) from error
    if not isinstance(found, dict):
        msg = f"{path.parent.name}/{path.name}: expected names with values"
        raise DamagedError(msg)
    return found


def _word(meta: dict[str, Any], name: str) -> str:
    """Text or number of an entry as text; empty for anything else, however deep it goes."""
    value = meta.get(name)
    return str(value) if isinstance(value, str | int | float) else ""


def _screen_meta(path: Path) -> dict[str, dict[str, Any]]:
    """Meta data of all trials by number, from one file or one each."""
    screen = path / "screen"
    try:
        if (screen / "combined_meta.json").is_file():
            found = _load_text(screen / "combined_meta.json")
        else:
            files = sorted((screen / "meta").glob("*.yml"))
            found = {file.stem: _load_text(file) for file in files}
    except DamagedError as error:
        msg = f"{path}: {error}."
        raise InputError(msg) from error
    wrong = [name for name, meta in found.items() if not isinstance(meta, dict)]
    if wrong or not found:
        msg = f"{screen}: no meta data of trials in `meta/` or `combined_meta.json`."
        raise InputError(msg)
    return found


def _trials(path: Path, session: str, notes: Notes) -> tuple[list[_Trial], np.ndarray]:
    """Trials in the order of presentation, and when each frame of the screen came on."""
    times = map_npy(path / "screen/timestamps.npy").astype(np.float64)
    if times.ndim != 1 or len(times) < 2 or not (np.diff(times) > 0).all():
        msg = f"screen/timestamps.npy: shape {times.shape}, expected times that increase"
        raise DamagedError(msg)
    trials = []
    for name, meta in _screen_meta(path).items():
        if _word(meta, "modality").lower() != SESSIONS[session]:
            continue
        identity = next(filter(None, (_word(meta, key) for key in IDS)), "")
        folder, tier = path / "screen/data", _word(meta, "tier")
        named = _word(meta, "image_name")
        stem = name if (folder / f"{name}.npy").exists() or not named else named
        file = f"{stem}{_word(meta, 'file_format') or '.npy'}"
        first = meta.get("first_frame_idx")
        n_frame = meta.get("num_frames") if session == "videos" else 1
        if not re.fullmatch(r"[\w .-]+", file) or not isinstance(first, int):
            notes.add("screen/meta", "no usable file name or `first_frame_idx`", ascii(name))
        elif not isinstance(n_frame, int) or first < 0 or not 0 < n_frame <= len(times) - first:
            fault = f"frames outside of the {len(times)} of screen/timestamps.npy"
            notes.add("screen/meta", fault, name)
        elif not file.endswith(".npy"):
            notes.add("screen/data", "encoded; decode it to .npy first", file)
        elif tier not in SPLITS or (meta.get("tier") and not tier):
            found = tier or type(meta["tier"]).__name__
            fault = f"unknown tier {found!a}; known: {', '.join(filter(None, SPLITS))}"
            notes.add("screen/meta", fault, name)
        else:
            identity = identity or _hash(folder / file)
            trials.append(_Trial(file, first, n_frame, identity, tier))
    if not trials:
        msg = "; ".join(notes.lines()) or f"screen/meta: no {session} that can be used"
        raise DamagedError(msg)
    return sorted(trials, key=lambda trial: trial.first), times


def _hash(path: Path) -> str:
    """Identity of a stimulus that has no name: that of its file's content."""
    try:
        with regular(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        msg = f"screen/data/{path.name}: cannot be read ({error.strerror})"
        raise DamagedError(msg) from error


def _shown(trials: list[_Trial], times: np.ndarray, session: str) -> Shown:
    """When each image or frame came on; the next one ends it."""
    steps = np.diff(times, append=times[-1] + np.median(np.diff(times)))
    first = np.array([trial.first for trial in trials])
    index = np.zeros(len(trials), np.int64)
    if session == "images":
        return Shown(index, times[first], steps[first])
    lengths = np.array([trial.n_frame for trial in trials])
    frame = np.arange(lengths.max())
    inside = frame < lengths[:, None]
    rows = np.where(inside, first[:, None] + frame, 0)
    usual = np.median(steps[rows[inside]])  # a last frame stays on until the next trial
    return Shown(index, np.where(inside, times[rows], np.nan), np.full(rows.shape, usual))


def _note_other_pixels(
    folder: Path, trials: list[_Trial], alike: list[_Trial], session: str, notes: Notes
) -> None:
    """Note trials whose file has other pixels than that of the trial they are called like."""
    for trial, other in zip(trials, alike, strict=True):
        if trial.file == other.file:
            continue
        one, two = (_frames(folder, it, session)[: trial.n_frame] for it in (trial, other))
        common = min(len(one), len(two))
        if len(one) < trial.n_frame:
            fault = f"{len(one)} frames, expected {trial.n_frame}"
            notes.add("screen/data", fault, trial.file)
        elif not np.array_equal(one[:common], two[:common]):
            fault = f"other pixels than {other.file} under the same id {trial.identity!a}"
            notes.add("screen/data", fault, trial.file)


def _lazy_pixels(
    folder: Path, trials: list[_Trial], session: str, notes: Notes, job: Job
) -> da.Array:
    """Distinct images (image, channel, y, x) or videos (video, channel, frame, y, x)."""
    size: tuple[int, ...] = ()
    whole = True
    for done, trial in enumerate(trials):
        job.report(done / len(trials))
        frames = _frames(folder, trial, session)
        if frames.shape[0] < trial.n_frame:
            notes.add(
                "screen/data", f"{frames.shape[0]} frames, expected {trial.n_frame}", trial.file
            )
        elif size and frames.shape[1:] != size:
            notes.add("screen/data", f"frames of {frames.shape[1:]}, expected {size}", trial.file)
        else:
            size = frames.shape[1:]
            levels = as_grey_levels(frames)
            whole = whole and levels.dtype == np.uint8
            if not np.isfinite(levels).all():
                notes.add("screen/data", "NaN or infinite pixels", trial.file)
    if not size:
        return da.from_array(np.zeros((0, 0, 0, 0), np.uint8))
    height, width, channel = size
    n_frame = max(trial.n_frame for trial in trials)
    dtype = np.dtype(np.uint8 if whole else np.float32)

    def read(start: int, stop: int) -> np.ndarray:
        block = np.zeros((stop - start, channel, n_frame, height, width), dtype)
        for row, trial in zip(block, trials[start:stop], strict=True):
            try:
                frames = _frames(folder, trial, session)[: trial.n_frame]
                fill_up(row, np.moveaxis(frames, -1, 0))
            except (DamagedError, ValueError) as error:
                notes.add("screen/data", str(error), trial.file)
        return block

    pixels = lazy_rows(read, (len(trials), channel, n_frame, height, width), dtype)
    return pixels if session == "videos" else pixels[:, :, 0]


def _frames(folder: Path, trial: _Trial, session: str) -> np.ndarray:
    """Frames of one file, (frame, y, x, channel), not yet in memory."""
    found = map_npy(folder / trial.file)
    if session == "images" and (found.ndim == 2 or (found.ndim == 3 and found.shape[0] != 1)):
        found = found[None]
    if found.ndim == 3:
        found = found[..., None]
    if found.ndim != 4 or 0 in found.shape:
        expected = "(y, x[, channel])" if session == "images" else "(frame, y, x[, channel])"
        msg = f"screen/data/{trial.file}: shape {found.shape}, expected {expected}"
        raise DamagedError(msg)
    return found


class _Signals(NamedTuple):
    """Signals of one device: (time, signal), when the first was sampled, and at what rate."""

    values: np.ndarray
    times: np.ndarray
    shifts: np.ndarray


def _number(meta: dict[str, Any], name: str, place: str) -> float:
    value = meta.get(name)
    if not isinstance(value, int | float) or not np.isfinite(value):
        msg = f"{place}/meta.yml: `{name}` is {_word(meta, name)!a}, expected a number"
        raise DamagedError(msg)
    return float(value)


def _signals(folder: Path) -> _Signals:
    """Signals of a device, mapped and not read."""
    meta = _load_text(folder / "meta.yml")
    rate, start = (_number(meta, n, folder.name) for n in ("sampling_rate", "start_time"))
    if not rate > 0:
        msg = f"{folder.name}/meta.yml: `sampling_rate` is {rate:g}, expected above 0"
        raise DamagedError(msg)
    if (folder / "data.npy").exists():
        values = map_npy(folder / "data.npy")
    else:
        shape = tuple(int(_number(meta, n, folder.name)) for n in ("n_timestamps", "n_signals"))
        code = _word(meta, "dtype")
        if not re.fullmatch(r"[<>=|]?[biuf]\d|u?int\d+|float\d+", code):
            msg = f"{folder.name}/meta.yml: `dtype` is {code!r}, expected that of numbers"
            raise DamagedError(msg)
        values = map_raw(folder / "data.mem", np.dtype(code), shape)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) < 2:
        msg = f"{folder.name}: data of shape {values.shape}, expected (time, signal)"
        raise DamagedError(msg)
    shifts = np.zeros(values.shape[1])
    if meta.get("phase_shift_per_signal"):
        shifts = map_npy(folder / "meta/phase_shifts.npy").astype(np.float64).ravel()
        if shifts.shape != values.shape[1:]:
            msg = (
                f"{folder.name}/meta/phase_shifts.npy: {len(shifts)} of {values.shape[1]} signals"
            )
            raise DamagedError(msg)
    return _Signals(values, start + np.arange(len(values)) / rate, shifts)


def _responses(folder: Path, notes: Notes) -> tuple[Source, dict[str, np.ndarray], str, float]:
    """How to measure the neurons, what is known of them, the units and the latency."""
    meta = _load_text(folder / "meta.yml")
    if meta.get("modality") == "spikes":
        source, latency, units = _spikes(folder, meta), SPIKE_LATENCY, "spike count"
    else:
        source, latency, units = _traces(folder, notes), CALCIUM_LATENCY, "signal as stored, a.u."
    neuron: dict[str, np.ndarray] = {"neuron_id": np.arange(source.n_neuron)}
    for name in ("unit_ids", "cell_ids"):
        if (folder / f"meta/{name}.npy").is_file():
            ids = map_npy(folder / f"meta/{name}.npy")
            if ids.shape == (source.n_neuron,) and len(np.unique(ids)) == len(ids):
                neuron["neuron_id"] = ids
                break
            notes.add(f"{folder.name}/meta", f"expected {source.n_neuron} different ids", name)
    place = folder / "meta/cell_motor_coordinates.npy"
    if place.is_file():
        where = map_npy(place)
        if where.shape == (source.n_neuron, 3):
            for name, column in zip(("x_um", "y_um", "z_um"), where.T, strict=True):
                neuron[name] = column.astype(np.float32)
    return source, neuron, units, latency


def _traces(folder: Path, notes: Notes) -> Source:
    """Traces whose signals may each be sampled at a moment of their own."""
    found = _signals(folder)
    n_neuron = found.values.shape[1]

    def read(start: int, stop: int) -> np.ndarray:
        try:
            return np.asarray(_signals(folder).values[start:stop], np.float64)
        except DamagedError as error:
            notes.add(folder.name, str(error))
            return np.full((stop - start, n_neuron), np.nan)

    sources = {
        shift: trace_source(read, found.times + shift, n_neuron, CALCIUM_LATENCY)
        for shift in np.unique(found.shifts)
    }

    def measure(onset: np.ndarray, duration: np.ndarray) -> np.ndarray:
        responses = np.empty((*onset.shape, n_neuron), np.float32)
        for shift, source in sources.items():
            alike = found.shifts == shift
            responses[..., alike] = source.measure(onset, duration)[..., alike]
        return responses

    return Source(n_neuron, measure, next(iter(sources.values())).bytes_per_second)


def _spikes(folder: Path, meta: dict[str, Any]) -> Source:
    """Spike times, one neuron after the other in one file of plain float64."""
    try:
        ends = np.asarray(meta["spike_indices"], np.int64)
        times = np.fromfile(regular(folder / "spikes.npy"), np.float64)
    except WRONG as error:
        msg = f"{folder.name}: its spikes cannot be read ({error})"
        raise DamagedError(msg) from error
    if (
        ends.ndim != 1
        or len(ends) < 2
        or (np.diff(ends) < 0).any()
        or ends[0]
        or ends[-1] != len(times)
    ):
        msg = f"{folder.name}/meta.yml: `spike_indices` must rise from 0 to {len(times)} spikes"
        raise DamagedError(msg)
    trains = np.split(times, ends[1:-1])
    return spike_source(lambda: trains, len(trains), SPIKE_LATENCY)


def _read_state(path: Path, shown: Shown, notes: Notes, cautions: Notes) -> dict[str, Any]:
    """Signals of all other devices as behaviour; what cannot be used is noted."""
    channels: dict[str, np.ndarray] = {}
    for folder in sorted(meta.parent for meta in path.glob("*/meta.yml")):
        if folder.name in ("screen", "responses") or not re.fullmatch(r"[\w .-]+", folder.name):
            continue
        try:
            found = _signals(folder)
        except DamagedError as error:
            cautions.add(folder.name, f"left out of `behavior`: {error}")
            continue
        series = [
            (np.asarray(column, np.float64), found.times + shift)
            for column, shift in zip(found.values.T, found.shifts, strict=True)
        ]
        aligned = align_series(shown, series, notes)
        for number in range(len(series)):
            name = folder.name if len(series) == 1 else f"{folder.name}_{number}"
            channels[name] = aligned[:, number]
    if not channels:
        return {}
    return {
        "behavior": np.stack(list(channels.values()), axis=1),
        "behavior_channel": tuple(channels),
    }


LAYOUT = Layout(_recognise, _list_sessions, _read)
