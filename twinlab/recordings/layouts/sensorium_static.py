"""Reader of the static (image) layout of Lurz 2020, Sensorium 2022 and Franke 2022.

See `sensorium` for what it shares with the layout of videos. The reader goes through everything
once and notes every fault, so that opening and checking are one code. For conversion it keeps
none of the responses and images it goes through, and reads them again, a block at a time, as
they are written.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from twinlab.jobs import Job
from twinlab.recordings.blocks import lazy_rows
from twinlab.recordings.chunks import even_rows
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
from twinlab.recordings.pixels import as_grey_levels
from twinlab.recordings.reading import Layout, Notes, Reading
from twinlab.schema import BEHAVIOR_CHANNELS

__all__ = ["LAYOUT"]

IMAGE_IDS = ("frame_image_id", "colorframeprojector_image_id")  # grey scans, colour scans


def _recognise(path: Path) -> bool:
    return holds_videos(path) is False


def _read(path: Path, session: str, job: Job, *, lazy: bool = False) -> Reading:
    """Read a recording, noting every fault on the way.

    A zip is not extracted; a top folder inside may or may not be there.
    """
    del session  # there is one
    notes, cautions = Notes(), Notes()
    with open_members(path) as members:
        source, tiers, n_trial = open_source(members, notes)
        trial = _describe_trials(source, tiers, n_trial, cautions)

        response, withheld = _read_responses(source, trial, job.part(0, 0.4, "responses"), lazy)
        n_neuron = response.shape[1]
        neuron = describe_neurons(source, n_neuron) if n_neuron else {}
        state = _read_state(source, n_trial, job.part(0.4, 0.6, "behaviour"))

        ids, index = np.unique(trial["image_id"], return_inverse=True)
        trial["stimulus_index"] = index
        images = _read_images(source, index, ids, job.part(0.6, 1, "images"), lazy)
        _note_same_images(images, ids, index, trial["split"], cautions)

    values: dict[str, Any] = {"stimulus": images.pixels, "response": response}
    if lazy:
        rows = {
            "stimulus": partial(_image_rows, images=images),
            "response": partial(_response_rows, width=n_neuron, withheld=withheld),
        }
        values = {
            name: _read_again(path, source, job, read, values[name]) for name, read in rows.items()
        }
    else:
        response[withheld] = np.nan
    words = [f"responses of {withheld.sum()} test trials"] if withheld.any() else []
    words += blank_withheld(state)
    parts: dict[str, Any] = {
        **values,
        "trial": trial,
        "neuron": neuron,
        **state,
        "response_units": "deconvolved calcium, a.u.",
        "recording_id": members.stem,
        "species": "mouse",
    }
    if words:
        parts["withheld"] = ", ".join(words)
    return Reading(parts, notes, cautions)


def _describe_trials(
    source: Source, tiers: np.ndarray | None, n_trial: int, cautions: Notes
) -> dict[str, np.ndarray]:
    """Coordinates of the trials; stand-ins where the meta data are at fault."""
    if tiers is None:
        tiers = np.full(n_trial, "train")
    trial = {
        "image_id": _read_image_ids(source, n_trial),
        "split": np.array([SPLIT_OF_TIER.get(tier, "") for tier in tiers], dtype="<U10"),
        "source_tier": tiers,
    }
    return trial | read_order(source, n_trial, cautions)


def _read_image_ids(source: Source, n_trial: int) -> np.ndarray:
    """Identity of the image of each trial."""
    stand_in = np.arange(n_trial)
    name = next((n for n in IMAGE_IDS if f"meta/trials/{n}.npy" in source.members.names), None)
    if name is None:
        source.notes.add(
            "meta/trials", "missing; it says which trials repeat an image", f"{IMAGE_IDS[0]}.npy"
        )
        return stand_in
    ids = source.meta("trials", name)
    if ids is None or not fits(source, "trials", name, ids, n_trial):
        return stand_in
    if ids.dtype.kind == "f" and (not np.isfinite(ids).all() or (ids % 1).any()):
        source.notes.add("meta/trials", "image ids must be whole numbers or names", f"{name}.npy")
        return stand_in
    return ids.astype(np.int64) if ids.dtype.kind in "iuf" else ids.astype(str)


def _usual_shape(source: Source, folder: str, n_trial: int) -> tuple[int, ...] | None:
    """Return the commonest shape of the first files, so that one odd file is the odd one."""
    shapes: Counter[tuple[int, ...]] = Counter()
    for trial in range(min(n_trial, 9)):
        try:
            values = read_array(source.members, f"data/{folder}/{trial}.npy", source.headers)
        except (DamagedError, KeyError):
            continue  # noted when the file's turn comes
        shapes[values.shape] += 1
    return shapes.most_common(1)[0][0] if shapes else None


def _read_responses(
    source: Source, trial: dict[str, np.ndarray], job: Job, lazy: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Responses of all trials, and of which trials they are withheld.

    Withheld are zeros that stand for "not given": where all trials of a test tier are exactly 0.
    A single trial may truly be silent. Nothing is kept of the responses, if `lazy`, but their
    shape and type.
    """
    tiers, n_trial = trial["source_tier"], len(trial["source_tier"])
    folder = required_folder(source, "responses")
    shape = _usual_shape(source, folder, n_trial)
    given: set[str] = set()
    response = np.empty((n_trial, 0), np.float32)
    for start, response in _row_blocks(source, folder, n_trial, shape, job, lazy):
        _note_missing_values(source, folder, response, start)
        answered = (response != 0).any(axis=1)
        given.update(tiers[start : start + len(response)][answered].tolist())
    if shape is not None and response.shape[1] == 0:
        source.notes.add(f"data/{folder}", "zero neurons; expected at least one")
    if lazy:
        response = _nothing((n_trial, *response.shape[1:]), np.float32)
    return response, (trial["split"] == "test") & ~np.isin(tiers, list(given))


def _read_state(source: Source, n_trial: int, job: Job) -> dict[str, np.ndarray]:
    """Behaviour and pupil position, where there are any: a few numbers a trial."""
    state = {}
    for name, size, part in (
        ("behavior", len(BEHAVIOR_CHANNELS), job.part(0, 0.5)),
        ("pupil_center", 2, job.part(0.5, 1)),
    ):
        folder = source.folder(name)
        if folder is not None:
            ((_, state[name]),) = _row_blocks(source, folder, n_trial, (size,), part, False)
            _note_infinite(source, folder, state[name])
    return state


def _row_blocks(
    source: Source,
    folder: str,
    n_trial: int,
    shape: tuple[int, ...] | None,
    job: Job,
    lazy: bool,
) -> Iterator[tuple[int, np.ndarray]]:
    """Read one vector a trial: of all trials together or, if `lazy`, of some at a time.

    Yields
    ------
    first : int
        The first trial of the block.
    rows : ndarray of shape (n, size) and type float32
        NaN where a file could not be used.

    """
    place = f"data/{folder}"
    if shape is not None and len(shape) != 1:
        source.notes.add(place, f"files have shape {shape}, expected one number for each neuron")
        shape = None
    present = present_trials(source, folder, n_trial)
    if shape is None or not n_trial:
        for trial in present:
            source.array(place, f"{trial}.npy")  # notes what is wrong with each
        yield 0, np.empty((n_trial, 0), np.float32)
        return
    step = even_rows((n_trial, *shape), np.float32) if lazy else n_trial
    for start in range(0, n_trial, step):
        trials = range(start, min(start + step, n_trial))
        yield (
            start,
            _read_rows(
                source, place, trials, present, shape[0], lambda trial: job.report(trial / n_trial)
            ),
        )


def _read_rows(
    source: Source,
    place: str,
    trials: range,
    present: frozenset[int],
    width: int,
    report: Callable[[int], None],
) -> np.ndarray:
    """One vector for each of the trials, those of files that cannot be used NaN."""
    rows = np.full((len(trials), width), np.nan, np.float32)
    for row, trial in enumerate(trials):
        if trial not in present:
            continue
        report(trial)
        values = source.array(place, f"{trial}.npy")
        if values is None or not _usable(source, place, trial, values, (width,)):
            continue
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, and is noted
            rows[row] = values
    return rows


def _nothing(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An array of this shape and type that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def _read_again(
    path: Path,
    source: Source,
    job: Job,
    read: Callable[[Source, range, Callable[[int], None]], np.ndarray],
    like: np.ndarray,
) -> da.Array:
    """Array whose rows are read from the files when they are computed; faults are noted then."""

    def rows(start: int, stop: int) -> np.ndarray:
        with open_members(path) as members:
            return read(
                replace(source, members=members), range(start, stop), lambda _: job.check()
            )

    return lazy_rows(rows, like.shape, like.dtype, even_rows(like.shape, like.dtype))


def _response_rows(
    source: Source,
    trials: range,
    report: Callable[[int], None],
    *,
    width: int,
    withheld: np.ndarray,
) -> np.ndarray:
    """Responses of some trials, NaN where they are withheld."""
    place = f"data/{required_folder(source, 'responses')}"
    rows = _read_rows(source, place, trials, frozenset(trials), width, report)
    rows[withheld[trials.start : trials.stop]] = np.nan
    return rows


def _usable(
    source: Source, place: str, trial: int, values: np.ndarray, shape: tuple[int, ...]
) -> bool:
    """Whether a trial's values are numbers in the shape expected; noted where not."""
    if values.shape != shape:
        source.notes.add(place, f"shape {values.shape}, expected {shape}", f"{trial}.npy")
    elif values.dtype.kind not in "biuf":
        source.notes.add(place, f"type {values.dtype}, expected numbers", f"{trial}.npy")
    else:
        return True
    return False


def _note_missing_values(source: Source, folder: str, response: np.ndarray, first: int) -> None:
    """Note NaN and infinite responses: withheld ones are zeros in this layout, not NaN."""
    place = f"data/{folder}"
    noted = [which for (where, _), which in source.notes.items() if where == place]
    unread = {file for which in noted for file in which}
    bad = first + np.flatnonzero(~np.isfinite(response).all(axis=1))
    which = [file for file in (f"{trial}.npy" for trial in bad) if file not in unread]
    if which and response.shape[1]:
        source.notes.add(place, "NaN or infinite responses", *which)


def _note_infinite(source: Source, folder: str, rows: np.ndarray) -> None:
    """Note infinite behaviour; NaN is allowed there and means missing."""
    bad = np.flatnonzero(np.isinf(rows).any(axis=1))
    if bad.size:
        source.notes.add(f"data/{folder}", "infinite values", *(f"{trial}.npy" for trial in bad))


@dataclass(frozen=True)
class _Images:
    """The distinct images.

    Attributes
    ----------
    pixels : ndarray of shape (n_image, n_channel, n_y, n_x)
        `uint8` if every pixel is a whole number from 0 to 255, `float32` otherwise.
    first : ndarray of shape (n_image,)
        First trial that shows the image; -1 where no file of it could be used.
    digest : list of bytes
        Hash of the pixels of each.

    """

    pixels: np.ndarray
    first: np.ndarray
    digest: list[bytes]


def _read_images(
    source: Source, index: np.ndarray, ids: np.ndarray, job: Job, lazy: bool
) -> _Images:
    """Read each distinct image once and hold every repeat against the first.

    Parameters
    ----------
    index : ndarray of shape (n_trial,)
        Which image each trial shows.
    ids : ndarray of shape (n_image,)
    lazy : bool
        Whether to keep nothing of the pixels but their shape and type.

    """
    folder, n_trial = required_folder(source, "images"), len(index)
    place = f"data/{folder}"
    shape = _usual_shape(source, folder, n_trial)
    if shape is not None and len(shape) != 3:
        source.notes.add(place, f"images have shape {shape}, expected (channel, y, x)")
        shape = None
    whole = (len(ids), *(shape or (0, 0, 0)))
    stimulus = _nothing(whole, np.uint8) if lazy else np.zeros(whole, np.uint8)
    first, digest = np.full(len(ids), -1), [b""] * len(ids)
    for trial in sorted(present_trials(source, folder, n_trial)):
        job.report(trial / n_trial)
        pixels = source.array(place, f"{trial}.npy")
        if pixels is None or shape is None or not _usable(source, place, trial, pixels, shape):
            continue
        pixels = as_grey_levels(pixels)
        if pixels.dtype != np.uint8:
            if not np.isfinite(pixels).all():
                source.notes.add(place, "NaN or infinite pixels", f"{trial}.npy")
                continue
            if stimulus.dtype == np.uint8:
                stimulus = _nothing(whole, np.float32) if lazy else stimulus.astype(np.float32)
        image = index[trial]
        found = hashlib.sha256(np.ascontiguousarray(pixels + pixels.dtype.type(0)).data).digest()
        if first[image] < 0:
            first[image], digest[image] = trial, found
            if not lazy:
                stimulus[image] = pixels
        elif digest[image] != found:
            source.notes.add(
                place,
                f"other pixels than {first[image]}.npy under the same image id {ids[image]}",
                f"{trial}.npy",
            )
    return _Images(stimulus, first, digest)


def _image_rows(
    source: Source, rows: range, report: Callable[[int], None], *, images: _Images
) -> np.ndarray:
    """Pixels of some of the distinct images."""
    place = f"data/{required_folder(source, 'images')}"
    stimulus = np.zeros((len(rows), *images.pixels.shape[1:]), images.pixels.dtype)
    for row, trial in enumerate(images.first[rows.start : rows.stop].tolist()):
        report(trial)
        pixels = source.array(place, f"{trial}.npy")
        if pixels is not None and _usable(source, place, trial, pixels, stimulus.shape[1:]):
            stimulus[row] = as_grey_levels(pixels)
    return stimulus


def _note_same_images(
    images: _Images, ids: np.ndarray, index: np.ndarray, split: np.ndarray, cautions: Notes
) -> None:
    """Note images that are there under two ids, and those that two splits share."""
    if not images.pixels.size:
        return
    seen: dict[bytes, int] = {}
    same = np.arange(len(ids))
    for image in np.flatnonzero(images.first >= 0).tolist():
        same[image] = seen.setdefault(images.digest[image], image)
    for double in np.flatnonzero(same != np.arange(len(same))):
        pair = f"{ids[same[double]]} = {ids[double]}"
        cautions.add("images", "the same pixels under two ids", pair)
    note_shared("images", same[index], split, [f"id {name}" for name in ids], cautions)


LAYOUT = Layout(_recognise, list_sessions, _read, partial(_read, lazy=True))
