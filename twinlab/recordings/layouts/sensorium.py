"""What the layouts of the Sensorium competitions share: meta data, folders, what is withheld.

One trial is ``data/<variable>/<trial>.npy`` for each variable and row ``<trial>`` of each
array under ``meta/trials``. Images are `sensorium_static`, videos `sensorium_dynamic`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from twinlab.recordings.members import DamagedError, Header, Members, open_members, read_array
from twinlab.recordings.reading import Notes
from twinlab.schema import InputError

__all__ = [
    "SPLIT_OF_TIER",
    "Source",
    "blank_withheld",
    "describe_neurons",
    "fits",
    "holds_videos",
    "list_sessions",
    "note_shared",
    "open_source",
    "present_trials",
    "read_order",
    "required_folder",
]

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


@dataclass(frozen=True)
class Source:
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


def holds_videos(path: Path) -> bool | None:
    """Whether a path holds a recording of videos or one of images; None if it holds neither."""
    try:
        with open_members(path) as members:
            return any(name.startswith("data/videos/") for name in members.names)
    except InputError:
        return None


def open_source(members: Members, notes: Notes) -> tuple[Source, np.ndarray | None, int]:
    """Begin to read a recording: what each step needs, the tier of each trial, and their number.

    Tiers are None where their file is missing or unusable; the responses are then counted.
    """
    for name in members.repeated:
        notes.add("zip", "held more than once", name)
    source = Source(members, _read_links(members, notes), {}, notes)
    tiers = _read_tiers(source)
    return source, tiers, len(tiers) if tiers is not None else _count_trials(source)


def list_sessions(path: Path) -> list[str]:
    """Name of the one session in a recording."""
    with open_members(path) as members:
        source = Source(members, {}, {}, Notes())
        ids = [source.meta("neurons", name) for name in SCAN]
        return [_name_session(source, ids)]


def _name_session(source: Source, ids: list[np.ndarray | None]) -> str:
    """Animal, session and scan of the first neuron, or else as the recording is called."""
    if any(part is None or not len(part) for part in ids):
        named = re.search(r"\d+-\d+-\d+", source.members.stem)
        return named[0] if named else source.members.stem
    return "-".join(str(part[0]) for part in ids if part is not None)


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


def _read_tiers(source: Source) -> np.ndarray | None:
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


def _count_trials(source: Source) -> int:
    """Count the trials in the responses, for when the meta data cannot say."""
    folder = source.folder("responses")
    return len([n for n in source.members.names if re.fullmatch(rf"data/{folder}/\d+\.npy", n)])


def read_order(source: Source, n_trial: int, cautions: Notes) -> dict[str, np.ndarray]:
    """Coordinate `presentation_order` of the trials, where the source knows it."""
    order = source.meta("trials", "trial_idx")
    if order is None or not fits(source, "trials", "trial_idx", order, n_trial):
        return {}
    if len(np.unique(order)) < n_trial:
        cautions.add("meta/trials", "the same presentation is listed twice", "trial_idx.npy")
    # hashed in the competition scans: then no order is known
    return {"presentation_order": order.astype(np.int64)} if order.dtype.kind in "iu" else {}


def describe_neurons(source: Source, n_neuron: int) -> dict[str, np.ndarray]:
    """Coordinates of the neurons: those that the source gives."""

    def meta(name: str, **expected: Any) -> np.ndarray | None:
        values = source.meta("neurons", name, **expected)
        usable = values is not None and fits(source, "neurons", name, values, n_neuron)
        return values if usable else None

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


def fits(source: Source, kind: str, name: str, values: np.ndarray, expected: int) -> bool:
    """Whether a meta array has one row a trial or neuron; noted where not."""
    if len(values) == expected:
        return True
    against = "meta/trials/tiers.npy" if kind == "trials" else "the response files"
    source.notes.add(
        f"meta/{kind}", f"{len(values)} {kind}, expected {expected} as in {against}", f"{name}.npy"
    )
    return False


def required_folder(source: Source, variable: str) -> str:
    """Folder of a variable that must be there; noted, and named as usual, where it is not."""
    folder = source.folder(variable)
    if folder is None:
        source.notes.add(f"data/{variable}", "there is no such folder")
    return folder or variable


def present_trials(source: Source, folder: str, n_trial: int) -> frozenset[int]:
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


def note_shared(
    place: str, shown: np.ndarray, split: np.ndarray, names: Sequence[str], cautions: Notes
) -> None:
    """Note images or videos that two splits share: their scores would be too good.

    Parameters
    ----------
    place : {"images", "videos"}
    shown, split : ndarray of shape (n_trial,)
        Number of what each trial shows, the same for the same pixels; and the trial's split.
    names : sequence of str
        What each number is called.
    cautions : Notes

    """
    for one, other in combinations(sorted(set(split) - {""}), 2):
        shared = np.intersect1d(shown[split == one], shown[split == other])
        if shared.size:
            cautions.add(
                place,
                f"shown in {one} and in {other}, so scores would be too good",
                *(names[number] for number in shared),
            )


def blank_withheld(state: dict[str, np.ndarray]) -> list[str]:
    """Turn zeros that stand for "not given" into NaN, in place; say in words what was withheld.

    A trial's behaviour or pupil, (trial, channel[, frame]), is never exactly 0 throughout, and
    is withheld where it is. A variable of which nothing is known is taken out altogether.
    """
    words = []
    for name in list(state):
        axes = tuple(range(1, state[name].ndim))
        missing = np.isnan(state[name])
        rows = ((state[name] == 0) | missing).all(axis=axes) & ~missing.all(axis=axes)
        state[name][rows] = np.nan
        if np.isnan(state[name]).all():
            del state[name]
            words.append(name)
        elif rows.any():
            words.append(f"{name} of {rows.sum()} trials")
    return words
