"""Reader of the dynamic (video) layout of Sensorium 2023.

The static layout with a time axis: one trial is ``data/videos/<trial>.npy`` (y, x, frame),
``data/responses/<trial>.npy`` (neuron, frame), behaviour and pupil (channel, frame). Past the
end of a trial everything is NaN. Videos are gone through once, to tell them apart; their
pixels and the responses are then read a block at a time, when they are needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from twinlab.jobs import Job
from twinlab.recordings.blocks import lazy_rows
from twinlab.recordings.layouts.sensorium import (
    SPLIT_OF_TIER,
    Source,
    blank_withheld,
    describe_neurons,
    fits,
    holds_videos,
    list_sessions,
    note_shared,
    open_source,
    present_trials,
    read_order,
    required_folder,
)
from twinlab.recordings.members import DamagedError, open_members, read_array
from twinlab.recordings.pixels import as_grey_levels, fill_up
from twinlab.recordings.reading import Layout, Notes, Reading
from twinlab.schema import InputError

__all__ = ["LAYOUT"]

FRAME_RATE = 30.0
BEHAVIOR = ("pupil_dilation", "running_speed")
VIDEO_IDS = ("video_id", "frame_image_id", "condition_hash")  # whichever the source gives
SCREEN = {"screen_width_cm": 56.5, "screen_height_cm": 31.8, "screen_distance_cm": 15.0}


class _Videos(NamedTuple):
    """What one pass over the videos tells.

    `first` is the trial that shows each distinct video first, `video` the one of each trial,
    `n_frame` the frames of each trial and `name` a hash of each distinct video's pixels.
    """

    first: np.ndarray
    video: np.ndarray
    n_frame: np.ndarray
    name: np.ndarray
    shape: tuple[int, ...]
    whole: bool


def _recognise(path: Path) -> bool:
    return holds_videos(path) is True


def _read(path: Path, session: str, job: Job) -> Reading:
    """Read a recording; nothing is extracted.

    `image_id` is the source's id of the video where it gives one, and a hash of its pixels
    else. Videos with the same pixels are one, whatever their ids: some are shown in several
    tiers. Shorter videos are filled up with their own mean grey level; the variable
    `n_frame` says where each ends, and responses are NaN from there on.
    """
    del session  # there is one
    notes, cautions = Notes(), Notes()
    with open_members(path) as members:
        source, tiers, n_trial = open_source(members, notes)
        videos = _survey(source, n_trial, job.part(0, 0.8, "videos"))
        trial = _describe_trials(source, tiers, videos, cautions)
        n_neuron, withheld = _survey_responses(source, trial, job.part(0.8, 1, "responses"))
        neuron = describe_neurons(source, n_neuron) if n_neuron else {}
        state = {
            name: _read_state(source, name, size, videos)
            for name, size in (("behavior", len(BEHAVIOR)), ("pupil_center", 2))
            if source.folder(name)
        }
        responses = source.folder("responses") or "responses"
    if not n_neuron or not len(videos.first):
        msg = f"{path}: " + "; ".join(notes.lines()) + "."
        raise InputError(msg)
    first = [f"trial {number}" for number in videos.first]
    note_shared("videos", videos.video, trial["split"], first, cautions)
    withheld_words = [f"responses of {withheld.sum()} test trials"] * bool(withheld.any())
    withheld_words += blank_withheld(state)
    parts: dict[str, Any] = {
        "stimulus": _lazy_videos(path, videos, notes),
        "response": _lazy_responses(path, responses, n_neuron, videos, withheld, notes),
        "trial": trial,
        "neuron": neuron,
        **state,
        "behavior_channel": BEHAVIOR,
        "response_units": "deconvolved calcium, a.u.",
        "extra": {"n_frame": ("video", videos.n_frame[videos.first])},
        "frame_rate": FRAME_RATE,
        "recording_id": members.stem,
        "species": "mouse",
        **SCREEN,
    }
    if withheld_words:
        parts["withheld"] = ", ".join(withheld_words)
    return Reading(parts, notes, cautions)


def _survey(source: Source, n_trial: int, job: Job) -> _Videos:
    """Go through all videos: how long they are, which are the same, whether they are bytes."""
    place = "data/videos"
    first: list[int] = []
    seen: dict[bytes, int] = {}
    video, n_frame = np.zeros(n_trial, np.int64), np.zeros(n_trial, np.int64)
    shape: tuple[int, ...] | None = None
    whole = True
    for trial in sorted(present_trials(source, "videos", n_trial)):
        job.report(trial / n_trial)
        pixels = source.array(place, f"{trial}.npy")
        if pixels is None:
            continue
        if pixels.ndim != 3 or pixels.dtype.kind not in "uif" or 0 in pixels.shape:
            source.notes.add(
                place,
                f"shape {pixels.shape} and type {pixels.dtype}, expected numbers (y, x, frame)",
                f"{trial}.npy",
            )
            continue
        if shape is not None and pixels.shape[:2] != shape[:2]:
            fault = f"frames of {pixels.shape[:2]} pixels, expected {shape[:2]}"
            source.notes.add(place, fault, f"{trial}.npy")
            continue
        shape = (*pixels.shape[:2], max(pixels.shape[2], shape[2] if shape else 0))
        n_frame[trial] = _length(pixels)
        shown = as_grey_levels(pixels[..., : n_frame[trial]])
        if not shown.size or not np.isfinite(shown).all():
            source.notes.add(place, "NaN or infinite pixels before its end", f"{trial}.npy")
            continue
        whole &= shown.dtype == np.uint8
        key = hashlib.sha256(str(shown.shape).encode() + shown.tobytes()).digest()
        if key not in seen:
            seen[key] = len(first)
            first.append(trial)
        video[trial] = seen[key]
    names = np.array([key.hex()[:16] for key in seen], "<U16")
    if shape is None:
        source.notes.add(place, "there is no video that can be used")
        shape = (0, 0, 0)
    return _Videos(np.array(first, np.int64), video, n_frame, names, shape, whole)


def _length(pixels: np.ndarray) -> int:
    """Frames up to where the first pixel first is NaN."""
    ended = np.isnan(pixels[0, 0])
    return int(ended.argmax()) if ended.any() else len(ended)


def _describe_trials(
    source: Source, tiers: np.ndarray | None, videos: _Videos, cautions: Notes
) -> dict[str, np.ndarray]:
    n_trial = len(videos.video)
    ids = None
    for name in VIDEO_IDS:
        found = source.meta("trials", name)
        if found is not None and fits(source, "trials", name, found, n_trial):
            ids = found.astype(str)
            break
    if ids is None:
        ids = videos.name[videos.video] if len(videos.name) else np.full(n_trial, "")
    if tiers is None:
        tiers = np.full(n_trial, "train")
    trial = {
        "stimulus_index": videos.video,
        "image_id": ids,
        "split": np.array([SPLIT_OF_TIER.get(tier, "") for tier in tiers], "<U10"),
        "source_tier": tiers,
    }
    trial |= read_order(source, n_trial, cautions)
    for one in np.unique(ids):
        shown = np.unique(videos.video[(ids == one) & (videos.n_frame > 0)])
        if len(shown) > 1:
            source.notes.add("data/videos", "different pixels under one video id", f"id {one}")
    return trial


def _survey_responses(
    source: Source, trial: dict[str, np.ndarray], job: Job
) -> tuple[int, np.ndarray]:
    """Count the neurons, and tell the trials whose responses are withheld.

    Responses are withheld by tier: where a test tier's files are all absent, or all zero.
    """
    n_trial = len(trial["split"])
    folder = required_folder(source, "responses")
    place = f"data/{folder}"
    names = source.members.names
    withheld = np.zeros(n_trial, bool)
    for tier in np.unique(trial["source_tier"][trial["split"] == "test"]):
        rows = np.flatnonzero(trial["source_tier"] == tier).tolist()
        there = [row for row in rows if f"{place}/{row}.npy" in names]
        if not there or _all_zero(source, place, there, job):
            withheld[rows] = True
    absent = [
        f"{row}.npy" for row in np.flatnonzero(~withheld) if f"{place}/{row}.npy" not in names
    ]
    if absent and len(absent) < n_trial:
        source.notes.add(place, f"missing; meta/trials/tiers.npy lists {n_trial} trials", *absent)
    for row in range(n_trial):
        if f"{place}/{row}.npy" in names:
            values = source.array(place, f"{row}.npy")
            if values is not None and values.ndim == 2 and len(values):
                return len(values), withheld
    source.notes.add(place, "no file of shape (neuron, frame)")
    return 0, withheld


def _all_zero(source: Source, place: str, rows: list[int], job: Job) -> bool:
    for done, row in enumerate(rows):
        job.report(done / len(rows))
        values = source.array(place, f"{row}.npy")
        if values is None or values.dtype.kind not in "iuf" or np.nan_to_num(values).any():
            return False  # NaN is past the end of a trial
    return True


def _read_state(source: Source, name: str, size: int, videos: _Videos) -> np.ndarray:
    """Behaviour or pupil of each trial, (trial, channel, frame); NaN past its end."""
    folder = source.folder(name) or name
    n_trial, n_frame = len(videos.video), videos.shape[2]
    rows = np.full((n_trial, size, n_frame), np.nan, np.float32)
    for trial in sorted(present_trials(source, folder, n_trial)):
        values = source.array(f"data/{folder}", f"{trial}.npy")
        if values is None:
            continue
        if values.ndim != 2 or len(values) != size or values.shape[1] < videos.n_frame[trial]:
            fault = f"shape {values.shape}, expected ({size}, {videos.n_frame[trial]}) or longer"
            source.notes.add(f"data/{folder}", fault, f"{trial}.npy")
        elif values.dtype.kind not in "iuf":
            source.notes.add(
                f"data/{folder}", f"type {values.dtype}, expected numbers", f"{trial}.npy"
            )
        else:
            end = videos.n_frame[trial]
            with np.errstate(over="ignore"):  # beyond float32 becomes infinite, and is noted
                rows[trial, :, :end] = values[:, :end]
    bad = np.flatnonzero(np.isinf(rows).any(axis=(1, 2)))
    if bad.size:
        source.notes.add(f"data/{folder}", "infinite values", *(f"{i}.npy" for i in bad))
    return rows


def _read_files(
    path: Path, place: str, trials: Iterable[int], notes: Notes
) -> Iterable[tuple[int, np.ndarray]]:
    """Trials and their arrays, from the files opened anew; what cannot be read is noted."""
    try:
        with open_members(path) as members:
            for row, trial in enumerate(trials):
                try:
                    yield row, read_array(members, f"{place}/{trial}.npy", {})
                except (DamagedError, KeyError) as error:
                    notes.add(place, str(error), f"{trial}.npy")
    except InputError as error:
        notes.add(place, str(error))


def _lazy_videos(path: Path, videos: _Videos, notes: Notes) -> da.Array:
    """Distinct videos, (video, 1, frame, y, x)."""
    height, width, n_frame = videos.shape
    dtype = np.dtype(np.uint8 if videos.whole else np.float32)
    shape = (len(videos.first), 1, n_frame, height, width)

    def read(start: int, stop: int) -> np.ndarray:
        block = np.zeros((stop - start, *shape[1:]), dtype)
        chosen = videos.first[start:stop]
        for row, pixels in _read_files(path, "data/videos", chosen, notes):
            end = videos.n_frame[chosen[row]]
            if pixels.shape[:2] != (height, width) or pixels.shape[2] < end:
                notes.add("data/videos", "changed while it was read", f"{chosen[row]}.npy")
                continue
            fill_up(block[row], np.moveaxis(pixels[None, ..., :end], -1, 1))
        return block

    return lazy_rows(read, shape, dtype)


def _lazy_responses(
    path: Path, folder: str, n_neuron: int, videos: _Videos, withheld: np.ndarray, notes: Notes
) -> da.Array:
    """Responses of each trial, (trial, neuron, frame)."""
    place = f"data/{folder}"
    shape = (len(videos.video), n_neuron, videos.shape[2])

    def read(start: int, stop: int) -> np.ndarray:
        block = np.full((stop - start, *shape[1:]), np.nan, np.float32)
        chosen = start + np.flatnonzero(~withheld[start:stop] & (videos.n_frame[start:stop] > 0))
        for which, values in _read_files(path, place, chosen, notes):
            trial = chosen[which]
            end = videos.n_frame[trial]
            if values.ndim != 2 or len(values) != n_neuron or values.shape[1] < end:
                fault = f"shape {values.shape}, expected ({n_neuron}, {end}) or longer"
                notes.add(place, fault, f"{trial}.npy")
            elif values.dtype.kind not in "iuf":
                notes.add(place, f"type {values.dtype}, expected numbers", f"{trial}.npy")
            else:
                with np.errstate(over="ignore"):
                    block[trial - start, :, :end] = values[:, :end]
                if not np.isfinite(block[trial - start, :, :end]).all():
                    notes.add(place, "NaN or infinite before the video ends", f"{trial}.npy")
        return block

    return lazy_rows(read, shape, np.float32)


LAYOUT = Layout(_recognise, list_sessions, _read)
