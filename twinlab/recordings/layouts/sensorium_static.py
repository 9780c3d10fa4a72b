"""Reader of the static (image) layout of Lurz 2020, Sensorium 2022 and Franke 2022.

One trial is ``data/<variable>/<trial>.npy`` for each variable and row ``<trial>`` of each
array under ``meta/trials``. The reader goes through everything once and notes every
fault, so that opening and checking are one code. For conversion it keeps none of the responses
and images it goes through, and reads them again, a block at a time, as they are written.
"""

from __future__ import annotations

import hashlib
import json
import re
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
from twinlab.recordings.members import DamagedError, Header, Members, open_members, read_array
from twinlab.recordings.reading import Layout, Notes, Reading
from twinlab.schema import BEHAVIOR_CHANNELS, InputError

__all__ = ["LAYOUT"]

SPLIT_OF_TIER = {
    "train": "train",
    "validation": "validation",
    "oracle": "validation",  # Sensorium 2023's name
    "test": "test",
    "live_test": "test",
    "final_test": "test",
    "live_test_main": "test",
    "live_test_bonus": "test",
    "final_test_main": "test",
    "final_test_bonus": "test",
}
# What a variable's folder may be called, before the aliases of config.json are followed.
FOLDERS = {
    "images": ("images", "inputs"),
    "responses": ("responses", "targets"),
    "behavior": ("behavior",),
    "pupil_center": ("pupil_center",),
}
SCAN = ("animal_ids", "sessions", "scan_idx")  # which together name a session
IMAGE_IDS = ("frame_image_id", "colorframeprojector_image_id")  # grey scans, colour scans


@dataclass(frozen=True)
class _Source:
    """What each step of the reading needs."""

    members: Members
    links: dict[str, str]
    headers: dict[bytes, Header]
    notes: Notes

    def array(self, place: str, file: str) -> np.ndarray | None:
        """Read `place`/`file`; where it cannot be used, note why and return None."""
        try:
            return read_array(self.members, f"{place}/{file}", self.headers)
        except DamagedError as error:
            self.notes.add(place, str(error), file)
            return None

    def meta(
        self, kind: str, name: str, *, n_dimension: int = 1, numeric: bool = False
    ) -> np.ndarray | None:
        """Read ``meta/<kind>/<name>.npy``; None where it is absent or unusable."""
        place, file = f"meta/{kind}", f"{name}.npy"
        if f"{place}/{file}" not in self.members.names:
            return None
        values = self.array(place, file)
        if values is None:
            return None
        if values.ndim != n_dimension or (numeric and values.dtype.kind not in "iuf"):
            self.notes.add(
                place,
                f"shape {values.shape} and type {values.dtype}, expected {n_dimension} "
                f"dimension{'s' if n_dimension > 1 else ''}{' of numbers' if numeric else ''}",
                file,
            )
            return None
        return values

    def folder(self, variable: str) -> str | None:
        """Folder below ``data`` that holds a variable, aliases followed; None if there is none."""
        there = {name.split("/")[1] for name in self.members.names if name.startswith("data/")}
        named = [self.links.get(name, name) for name in FOLDERS[variable]]
        return next((name for name in named if name in there), None)


def _recognise(path: Path) -> bool:
    try:
        with open_members(path) as members:
            return not any(name.startswith("data/videos/") for name in members.names)
    except InputError:
        return False


def _list_sessions(path: Path) -> list[str]:
    with open_members(path) as members:
        source = _Source(members, {}, {}, Notes())
        ids = [source.meta("neurons", name) for name in SCAN]
        return [_name_session(source, ids)]


def _name_session(source: _Source, ids: list[np.ndarray | None]) -> str:
    """Animal, session and scan of the first neuron, or else as the recording is called."""
    if any(part is None or not len(part) for part in ids):
        named = re.search(r"\d+-\d+-\d+", source.members.stem)
        return named[0] if named else source.members.stem
    return "-".join(str(part[0]) for part in ids if part is not None)


def _read(path: Path, session: str, job: Job, *, lazy: bool = False) -> Reading:
    """Read a recording, noting every fault on the way.

    A zip is not extracted; a top folder inside may or may not be there.
    """
    del session  # there is one
    notes, cautions = Notes(), Notes()
    with open_members(path) as members:
        for name in members.repeated:
            notes.add("zip", "held more than once", name)
        source = _Source(members, _read_links(members, notes), {}, notes)

        tiers = _read_tiers(source)
        n_trial = len(tiers) if tiers is not None else _count_trials(source)
        trial = _describe_trials(source, tiers, n_trial, cautions)

        response, withheld = _read_responses(source, trial, job.part(0, 0.4, "responses"), lazy)
        n_neuron = response.shape[1]
        neuron = _describe_neurons(source, n_neuron) if n_neuron else {}
        state = _read_state(source, n_trial, job.part(0.4, 0.6, "behaviour"))

        ids, index = np.unique(trial["image_id"], return_inverse=True)
        trial["stimulus_index"] = index
        images = _read_images(source, index, ids, job.part(0.6, 1, "images"), lazy)
        _note_shared_images(images, ids, index, trial["split"], cautions)

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
    words += _blank_withheld(state)
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


def _read_links(members: Members, notes: Notes) -> dict[str, str]:
    """Aliases of config.json, from the name asked for to the folder that has it."""
    if "config.json" not in members.names:
        return {}
    try:
        config = json.loads(members.read("config.json"))
    except (DamagedError, ValueError) as error:
        notes.add("config.json", f"not valid JSON ({error})")
        return {}
    links = config.get("links", {}) if isinstance(config, dict) else None
    if not isinstance(links, dict) or not all(
        # a name and no path: a link must not lead out of the recording
        isinstance(folder, str) and re.fullmatch(r"\w[\w.-]*", folder)
        for folder in links.values()
    ):
        notes.add(
            "config.json",
            '`links` is not an object of folder names such as {"targets": "responses"}',
        )
        return {}
    return links


def _read_tiers(source: _Source) -> np.ndarray | None:
    """Tier of each trial; None where the file is missing or unusable."""
    if "meta/trials/tiers.npy" not in source.members.names:
        source.notes.add("meta/trials", "missing; it says how trials are split", "tiers.npy")
        return None
    tiers = source.meta("trials", "tiers")
    if tiers is None:
        return None
    tiers = tiers.astype(str)
    if tiers.size == 0:
        source.notes.add("meta/trials", "there are no trials; expected at least one", "tiers.npy")
    unknown = sorted(set(tiers.tolist()) - set(SPLIT_OF_TIER))
    if unknown:
        source.notes.add(
            "meta/trials",
            f"unknown tier {', '.join(map(repr, unknown))}; known: {', '.join(SPLIT_OF_TIER)}",
            "tiers.npy",
        )
    return tiers


def _count_trials(source: _Source) -> int:
    """Count the trials in the responses, for when the meta data cannot say."""
    folder = source.folder("responses")
    return len([n for n in source.members.names if re.fullmatch(rf"data/{folder}/\d+\.npy", n)])


def _describe_trials(
    source: _Source, tiers: np.ndarray | None, n_trial: int, cautions: Notes
) -> dict[str, np.ndarray]:
    """Coordinates of the trials; stand-ins where the meta data are at fault."""
    if tiers is None:
        tiers = np.full(n_trial, "train")
    trial = {
        "image_id": _read_image_ids(source, n_trial),
        "split": np.array([SPLIT_OF_TIER.get(tier, "") for tier in tiers], dtype="<U10"),
        "source_tier": tiers,
    }
    order = source.meta("trials", "trial_idx")
    if order is not None and _fits(source, "trials", "trial_idx", order, n_trial):
        if order.dtype.kind in "iu":  # hashed in the competition scans: then no order is known
            trial["presentation_order"] = order.astype(np.int64)
        if len(np.unique(order)) < n_trial:
            cautions.add("meta/trials", "the same presentation is listed twice", "trial_idx.npy")
    return trial


def _read_image_ids(source: _Source, n_trial: int) -> np.ndarray:
    """Identity of the image of each trial."""
    stand_in = np.arange(n_trial)
    name = next((n for n in IMAGE_IDS if f"meta/trials/{n}.npy" in source.members.names), None)
    if name is None:
        source.notes.add(
            "meta/trials", "missing; it says which trials repeat an image", f"{IMAGE_IDS[0]}.npy"
        )
        return stand_in
    ids = source.meta("trials", name)
    if ids is None or not _fits(source, "trials", name, ids, n_trial):
        return stand_in
    if ids.dtype.kind == "f" and (not np.isfinite(ids).all() or (ids % 1).any()):
        source.notes.add("meta/trials", "image ids must be whole numbers or names", f"{name}.npy")
        return stand_in
    return ids.astype(np.int64) if ids.dtype.kind in "iuf" else ids.astype(str)


def _describe_neurons(source: _Source, n_neuron: int) -> dict[str, np.ndarray]:
    """Coordinates of the neurons: those that the source gives."""

    def meta(name: str, **expected: Any) -> np.ndarray | None:
        values = source.meta("neurons", name, **expected)
        fits = values is not None and _fits(source, "neurons", name, values, n_neuron)
        return values if fits else None

    unit = meta("unit_ids", numeric=True)
    neuron = {"neuron_id": np.arange(n_neuron) if unit is None else unit.astype(np.int64)}
    repeated = [str(i) for i, n in Counter(neuron["neuron_id"].tolist()).items() if n > 1]
    if repeated:
        source.notes.add("meta/neurons/unit_ids.npy", "the id of more than one neuron", *repeated)
    scan = [meta(name) for name in SCAN]
    if any(part is None for part in scan):
        neuron["session"] = np.full(n_neuron, _name_session(source, scan))
    else:
        neuron["session"] = np.array(["-".join(map(str, ids)) for ids in zip(*scan, strict=True)])
    for name in ("area", "layer"):
        words = meta(name)
        if words is not None:
            neuron[name] = words.astype(str)
    place = meta("cell_motor_coordinates", n_dimension=2, numeric=True)
    if place is not None:
        if place.shape[1] == 3:
            for name, values in zip(("x_um", "y_um", "z_um"), place.T, strict=True):
                neuron[name] = values.astype(np.float32)
        else:
            source.notes.add(
                "meta/neurons",
                f"shape {place.shape}, expected {(n_neuron, 3)}",
                "cell_motor_coordinates.npy",
            )
    return neuron


def _fits(source: _Source, kind: str, name: str, values: np.ndarray, expected: int) -> bool:
    """Whether a meta array has one row a trial or neuron; noted where not."""
    if len(values) == expected:
        return True
    against = "meta/trials/tiers.npy" if kind == "trials" else "the response files"
    source.notes.add(
        f"meta/{kind}", f"{len(values)} {kind}, expected {expected} as in {against}", f"{name}.npy"
    )
    return False


def _required_folder(source: _Source, variable: str) -> str:
    """Folder of a variable that must be there; noted, and named as usual, where it is not."""
    folder = source.folder(variable)
    if folder is None:
        source.notes.add(f"data/{variable}", "there is no such folder")
    return folder or variable


def _usual_shape(source: _Source, folder: str, n_trial: int) -> tuple[int, ...] | None:
    """Return the commonest shape of the first files, so that one odd file is the odd one."""
    shapes: Counter[tuple[int, ...]] = Counter()
    for trial in range(min(n_trial, 9)):
        try:
            values = read_array(source.members, f"data/{folder}/{trial}.npy", source.headers)
        except (DamagedError, KeyError):
            continue  # noted when the file's turn comes
        shapes[values.shape] += 1
    return shapes.most_common(1)[0][0] if shapes else None


def _present(source: _Source, folder: str, n_trial: int) -> frozenset[int]:
    """Trials that have a file; missing and surplus ones are noted."""
    place = f"data/{folder}/"
    files = {name.removeprefix(place) for name in source.members.names if name.startswith(place)}
    if not files:
        return frozenset()  # noted as a missing folder
    expected = {f"{trial}.npy" for trial in range(n_trial)}
    surplus = {file for file in files if re.fullmatch(r"\d+\.npy", file)} - expected
    for files_, fault in (
        (expected - files, f"missing; meta/trials/tiers.npy lists {n_trial} trials"),
        (surplus, f"too many; meta/trials/tiers.npy lists {n_trial} trials, from 0.npy"),
    ):
        if files_:
            ordered = sorted(files_, key=lambda file: int(file.removesuffix(".npy")))
            source.notes.add(place.rstrip("/"), fault, *ordered)
    return frozenset(trial for trial in range(n_trial) if f"{trial}.npy" in files)


def _read_responses(
    source: _Source, trial: dict[str, np.ndarray], job: Job, lazy: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Responses of all trials, and of which trials they are withheld.

    Withheld are zeros that stand for "not given": where all trials of a test tier are exactly 0.
    A single trial may truly be silent. Nothing is kept of the responses, if `lazy`, but their
    shape and type.
    """
    tiers, n_trial = trial["source_tier"], len(trial["source_tier"])
    folder = _required_folder(source, "responses")
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


def _read_state(source: _Source, n_trial: int, job: Job) -> dict[str, np.ndarray]:
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
    source: _Source,
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
    present = _present(source, folder, n_trial)
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
    source: _Source,
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
    source: _Source,
    job: Job,
    read: Callable[[_Source, range, Callable[[int], None]], np.ndarray],
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
    source: _Source,
    trials: range,
    report: Callable[[int], None],
    *,
    width: int,
    withheld: np.ndarray,
) -> np.ndarray:
    """Responses of some trials, NaN where they are withheld."""
    place = f"data/{_required_folder(source, 'responses')}"
    rows = _read_rows(source, place, trials, frozenset(trials), width, report)
    rows[withheld[trials.start : trials.stop]] = np.nan
    return rows


def _usable(
    source: _Source, place: str, trial: int, values: np.ndarray, shape: tuple[int, ...]
) -> bool:
    """Whether a trial's values are numbers in the shape expected; noted where not."""
    if values.shape != shape:
        source.notes.add(place, f"shape {values.shape}, expected {shape}", f"{trial}.npy")
    elif values.dtype.kind not in "biuf":
        source.notes.add(place, f"type {values.dtype}, expected numbers", f"{trial}.npy")
    else:
        return True
    return False


def _note_missing_values(source: _Source, folder: str, response: np.ndarray, first: int) -> None:
    """Note NaN and infinite responses: withheld ones are zeros in this layout, not NaN."""
    place = f"data/{folder}"
    noted = [which for (where, _), which in source.notes.items() if where == place]
    unread = {file for which in noted for file in which}
    bad = first + np.flatnonzero(~np.isfinite(response).all(axis=1))
    which = [file for file in (f"{trial}.npy" for trial in bad) if file not in unread]
    if which and response.shape[1]:
        source.notes.add(place, "NaN or infinite responses", *which)


def _note_infinite(source: _Source, folder: str, rows: np.ndarray) -> None:
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
    source: _Source, index: np.ndarray, ids: np.ndarray, job: Job, lazy: bool
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
    folder, n_trial = _required_folder(source, "images"), len(index)
    place = f"data/{folder}"
    shape = _usual_shape(source, folder, n_trial)
    if shape is not None and len(shape) != 3:
        source.notes.add(place, f"images have shape {shape}, expected (channel, y, x)")
        shape = None
    whole = (len(ids), *(shape or (0, 0, 0)))
    stimulus = _nothing(whole, np.uint8) if lazy else np.zeros(whole, np.uint8)
    first, digest = np.full(len(ids), -1), [b""] * len(ids)
    for trial in sorted(_present(source, folder, n_trial)):
        job.report(trial / n_trial)
        pixels = source.array(place, f"{trial}.npy")
        if pixels is None or shape is None or not _usable(source, place, trial, pixels, shape):
            continue
        pixels = _as_grey_levels(pixels)
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
    source: _Source, rows: range, report: Callable[[int], None], *, images: _Images
) -> np.ndarray:
    """Pixels of some of the distinct images."""
    place = f"data/{_required_folder(source, 'images')}"
    stimulus = np.zeros((len(rows), *images.pixels.shape[1:]), images.pixels.dtype)
    for row, trial in enumerate(images.first[rows.start : rows.stop].tolist()):
        report(trial)
        pixels = source.array(place, f"{trial}.npy")
        if pixels is not None and _usable(source, place, trial, pixels, stimulus.shape[1:]):
            stimulus[row] = _as_grey_levels(pixels)
    return stimulus


def _as_grey_levels(pixels: np.ndarray) -> np.ndarray:
    """Return `uint8` where that loses nothing, `float32` otherwise."""
    if pixels.dtype == np.uint8:
        return pixels
    with np.errstate(invalid="ignore", over="ignore"):
        grey = pixels.astype(np.uint8)
        return grey if np.array_equal(grey, pixels) else pixels.astype(np.float32)


def _note_shared_images(
    images: _Images, ids: np.ndarray, index: np.ndarray, split: np.ndarray, cautions: Notes
) -> None:
    """Note images that two splits share, by id or by pixels: their scores would be too good."""
    if not images.pixels.size:
        return
    seen: dict[bytes, int] = {}
    same = np.arange(len(ids))
    for image in np.flatnonzero(images.first >= 0).tolist():
        same[image] = seen.setdefault(images.digest[image], image)
    for double in np.flatnonzero(same != np.arange(len(same))):
        pair = f"{ids[same[double]]} = {ids[double]}"
        cautions.add("images", "the same pixels under two ids", pair)
    shown = same[index]
    splits = sorted(set(split) - {""})
    for i, one in enumerate(splits):
        for other in splits[i + 1 :]:
            shared = np.intersect1d(shown[split == one], shown[split == other])
            if shared.size:
                cautions.add(
                    "images",
                    f"shown in {one} and in {other}, so scores would be too good",
                    *(f"id {ids[image]}" for image in shared),
                )


def _blank_withheld(state: dict[str, np.ndarray]) -> list[str]:
    """Turn zeros that stand for "not given" into NaN, in place; say in words what was withheld.

    A trial's behaviour or pupil is never exactly 0 throughout, and is withheld where it is. A
    variable of which nothing is known is taken out altogether.
    """
    words = []
    for name in list(state):
        rows = (state[name] == 0).all(axis=1)
        state[name][rows] = np.nan
        if np.isnan(state[name]).all():
            del state[name]
            words.append(name)
        elif rows.any():
            words.append(f"{name} of {rows.sum()} trials")
    return words


LAYOUT = Layout(_recognise, _list_sessions, _read, partial(_read, lazy=True))
