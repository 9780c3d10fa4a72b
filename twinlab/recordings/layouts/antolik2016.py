"""Reader of Antolik et al. 2016: mouse V1, small natural images, npy files of one region each.

A session is a folder ``region<n>``, on the disk or in a zip, with ``training_inputs.npy`` and
``training_set.npy``, ``validation_inputs.npy`` and ``raw_validation_set.npy`` (single repeats) or
``validation_set.npy`` (their mean); either half may be absent.
Source: the supplement of 10.1371/journal.pcbi.1004927, and measured.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from twinlab.jobs import Job
from twinlab.recordings.archives import DamagedError, named, open_archive, read_file, unpack
from twinlab.recordings.arrays import read_arrays
from twinlab.recordings.drawing import hold_out
from twinlab.recordings.members import Members, read_array
from twinlab.recordings.reading import Layout, Reading
from twinlab.schema import InputError

__all__ = ["LAYOUT"]

SIZE = (31, 31)
SCALE = 1e6  # pixels are stored as grey levels times 1e-6
PARTS = (
    ("training_inputs.npy", "training_set.npy"),
    ("validation_inputs.npy", "raw_validation_set.npy"),
    ("validation_inputs.npy", "validation_set.npy"),
)
NAMES = {name for part in PARTS for name in part}


def _recognise(path: Path) -> bool:
    try:
        with _open_regions(path) as regions:
            return bool(regions)
    except (OSError, InputError):
        return False


def _list_sessions(path: Path) -> list[str]:
    with _open_regions(path) as regions:
        return sorted(regions)


@contextmanager
def _open_regions(path: Path) -> Iterator[dict[str, Members]]:
    """Folders that hold images and responses to them, by name."""
    if path.is_dir():
        folders = [_in_folder(folder) for folder in (path, *sorted(path.glob("*/")))]
        yield _usable(folders)
    elif path.is_file() and zipfile.is_zipfile(path):
        with open_archive(path) as archive:
            yield _usable(_in_archive(archive))
    else:
        yield {}


def _in_folder(folder: Path) -> Members:
    names = frozenset(name for name in NAMES if (folder / name).is_file())
    return Members(folder.resolve().name, names, [], lambda name: read_file(folder / name))


def _in_archive(archive: zipfile.ZipFile) -> list[Members]:
    names: dict[str, set[str]] = {}
    for it in archive.namelist():
        folder, _, name = it.rpartition("/")
        if name in NAMES and not it.startswith("__MACOSX/"):
            names.setdefault(folder, set()).add(name)

    def of(folder: str) -> Members:
        def read(name: str) -> bytes:
            return unpack(archive, archive.getinfo(f"{folder}/{name}".lstrip("/")))

        return Members(folder.rpartition("/")[2] or "region", frozenset(names[folder]), [], read)

    return [of(folder) for folder in sorted(names)]


def _usable(folders: list[Members]) -> dict[str, Members]:
    return {
        it.stem: it
        for it in folders
        if it.stem.isprintable() and any(it.names.issuperset(part) for part in PARTS)
    }


def _read(path: Path, session: str, job: Job) -> Reading:
    with _open_regions(path) as regions, named(path):
        return _read_region(regions[session], session, job)


def _read_region(region: Members, session: str, job: Job) -> Reading:
    trained, raw, mean = (region.names.issuperset(part) for part in PARTS)
    images, responses, index, split, note = [], [], [], [], ""
    job.report(0, "training images")
    if trained:
        images.append(_images(region, "training_inputs.npy"))
        responses.append(_responses(region, "training_set.npy", 2, len(images[0])))
        index.append(np.arange(len(images[0])))
        split += ["train"] * len(images[0])
    job.report(0.5, "repeated images")
    if raw or mean:
        shown = _images(region, "validation_inputs.npy")
        name = "raw_validation_set.npy" if raw else "validation_set.npy"
        rates = _responses(region, name, 3 if raw else 2, len(shown))
        n_repeat = rates.shape[0] if raw else 1
        index.append(len(split) + np.tile(np.arange(len(shown)), n_repeat))
        images.append(shown)
        responses.append(rates.reshape(-1, rates.shape[-1]))
        split += ["test"] * len(shown)
        note = "" if raw else "test responses are means over repeats, which are not there"
    if len({rates.shape[1] for rates in responses}) > 1:
        msg = "training and validation responses are of different numbers of neurons."
        raise InputError(msg)
    reading = read_arrays(
        np.concatenate(images),
        np.concatenate(responses),
        stimulus_index=np.concatenate(index),
        split=hold_out(np.array(split, "<U10")),
        split_source="the authors' repeated images are the test"
        + "; 10 % of their training images drawn for validation with seed 0" * trained,
        neuron={"area": np.full(responses[0].shape[1], "V1")},
        session=session,
        recording_id=f"antolik2016-{session}",
        response_units="calcium response, a.u.",
        species="mouse",
    )
    if note:
        reading.parts["averaged"] = note
    return reading


def _array(region: Members, name: str) -> np.ndarray:
    try:
        return read_array(region, name, {})
    except DamagedError as error:
        msg = f"{region.stem}/{name}: {error}"
        raise DamagedError(msg) from error


def _images(region: Members, name: str) -> np.ndarray:
    """Grey levels from 0 to 255.

    Returns
    -------
    ndarray of shape (n_image, y, x) and type uint8

    """
    stored = _array(region, name)
    if stored.ndim != 2 or stored.shape[1] != SIZE[0] * SIZE[1] or stored.dtype.kind != "f":
        msg = f"{name}: {stored.dtype} of shape {stored.shape}, expected (images, 961) fractions."
        raise InputError(msg)
    inside = (stored >= 0) & (stored < 1)
    levels = np.where(inside, stored, -1).astype(np.float64) * SCALE
    grey = np.round(levels)
    if not ((grey >= 0) & (grey <= 255) & (np.abs(levels - grey) < 0.01)).all():
        msg = f"{name}: expected whole grey levels from 0 to 255 times 1e-6, as published."
        raise InputError(msg)
    return grey.astype(np.uint8).reshape(-1, *SIZE)


def _responses(region: Members, name: str, n_axis: int, n_image: int) -> np.ndarray:
    """Responses of shape ([n_repeat,] n_image, n_neuron)."""
    rates = _array(region, name)
    if rates.ndim != n_axis or rates.shape[-2] != n_image or rates.dtype.kind not in "biuf":
        msg = (
            f"{name}: {rates.dtype} of shape {rates.shape}, expected "
            f"{'(repeat, image, neuron)' if n_axis == 3 else '(image, neuron)'} of numbers with "
            f"{n_image} images."
        )
        raise InputError(msg)
    return rates


LAYOUT = Layout(_recognise, _list_sessions, _read)
