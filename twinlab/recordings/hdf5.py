"""HDF5 files of strangers: read by name, never led out of the file, damage said in one line."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import h5py
import numpy as np

from twinlab.jobs import Job
from twinlab.recordings import hdf5_probe
from twinlab.recordings.blocks import lazy_rows
from twinlab.recordings.members import DamagedError
from twinlab.recordings.pixels import as_grey_levels, fill_up
from twinlab.recordings.reading import Notes
from twinlab.schema import InputError

__all__ = [
    "Clip",
    "attribute",
    "lazy_clips",
    "member",
    "open_hdf5",
    "refuse_dangerous",
    "required",
    "text",
    "values",
    "walk",
]

LARGEST = 2**30  # bytes of an array that is read whole; larger ones are read by blocks
SMALL = 2**24  # bytes that may be read of a dataset that holds none
DENSEST = 1100  # times that compression may make values smaller, a little beyond that of zip
DEEPEST = 16  # groups within groups, and links that lead to links
# What h5py raises for a damaged file, besides MemoryError for absurd sizes.
DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError)


class Clip(NamedTuple):
    """Where the pixels of one image or video are.

    Attributes
    ----------
    name : str
        Dataset in the file.
    rows : ndarray of int of shape (n_frame,), optional
        Its frames in the dataset; None where the dataset is one image.

    """

    name: str
    rows: np.ndarray | None = None

    @property
    def n_frame(self) -> int:
        """Number of frames."""
        return 1 if self.rows is None else len(self.rows)


def refuse_dangerous(path: Path) -> None:
    """Refuse a file whose damage would end this process or stall it.

    It is tried in a process of its own first, once for as long as it is not changed.

    Raises
    ------
    InputError
        If that process did not come through, or there can be none.

    """
    stat = path.stat()
    if not _comes_through(path.resolve(), stat.st_size, stat.st_mtime_ns):
        msg = f"{path}: damaged so that it cannot be read safely; fetch it again."
        raise InputError(msg)


@lru_cache
def _comes_through(path: Path, size: int, changed: int) -> bool:
    del size, changed  # another file may lie at the same path tomorrow
    # with the packages of this process, wherever it has them from
    command = [sys.executable, "-P", hdf5_probe.__file__, str(path)]
    packages = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    reason = "it runs inside of another program"
    if sys.executable and not getattr(sys, "frozen", False):  # else that program would start
        try:
            ended = subprocess.run(command, env=packages, capture_output=True, check=False)
        except OSError as error:
            reason = f"{sys.executable}: {error.strerror}"
        else:
            if ended.stdout.startswith(hdf5_probe.READY):
                return ended.returncode == 0
            said = ended.stderr.decode("utf-8", "replace").split("\n")
            reason = f"{sys.executable}: {' '.join(said).strip()[-200:]}"
    msg = (
        f"{path}: not opened, because HDF5 files are first tried in a process of their own and "
        f"this Python cannot start one ({reason}); convert it to a store with a plain Python."
    )
    raise InputError(msg)


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading.

    Raises
    ------
    InputError
        If it is not an HDF5 file, is cut short, or whatever is read from it turns out damaged
        or leads out of the file.

    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DamagedError as error:
        msg = f"{path}: {error}."
        raise InputError(msg) from error
    except DAMAGE as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"{path}: damaged, or not an HDF5 file ({reason}); fetch it again."
        raise InputError(msg) from error


def member(group: h5py.Group, name: str) -> Any:
    """Group or dataset below a group, or None if there is none of that name.

    Links within the file are followed. Links to other files are not: what they lead to was
    not fetched, and may be anybody's.

    Raises
    ------
    DamagedError
        If it lies behind a link to another file, or its values do.

    """
    return _follow(group, name, 0)


def _follow(group: h5py.Group, name: str, depth: int) -> Any:
    if depth > DEEPEST:
        msg = f"{name}: links lead in a circle"
        raise DamagedError(msg)
    node: Any = group.file if name.startswith("/") else group
    for part in filter(None, name.split("/")):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            return None
        if isinstance(link, h5py.SoftLink):
            node = _follow(node, link.path, depth + 1)
        elif isinstance(link, h5py.HardLink):
            node = node[part]
        else:
            msg = f"{node.name.rstrip('/')}/{part}: a link to another file, which is not followed"
            raise DamagedError(msg)
        if node is None:
            return None
    if isinstance(node, h5py.Dataset):
        _refuse_empty_promises(node)
    return node


def _refuse_empty_promises(dataset: h5py.Dataset) -> None:
    """Refuse values that lie in another file, or that are declared and not there."""
    if dataset.external or dataset.is_virtual:
        msg = f"{dataset.name}: its values lie in another file, which is not read"
        raise DamagedError(msg)
    size = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if size > max(SMALL, DENSEST * stored):
        msg = f"{dataset.name}: declares {size:,} bytes, but holds {stored:,}"
        raise DamagedError(msg)


def walk(group: h5py.Group, depth: int = 0) -> Iterator[Any]:
    """Go through the groups and datasets that lie below a group; links are passed over."""
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            node = group[name]
            yield node
            if isinstance(node, h5py.Group) and depth < DEEPEST:
                yield from walk(node, depth + 1)


def values(dataset: h5py.Dataset) -> np.ndarray:
    """Read a dataset whole; text becomes `str`.

    Raises
    ------
    DamagedError
        If it is none, or is too large to be read whole.

    """
    if not isinstance(dataset, h5py.Dataset):
        msg = f"{dataset.name}: a group, expected values"
        raise DamagedError(msg)
    size = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
    if size > LARGEST:
        msg = f"{dataset.name}: {size:,} bytes, expected {LARGEST:,} at most"
        raise DamagedError(msg)
    found = dataset[()]
    if h5py.check_string_dtype(dataset.dtype) or dataset.dtype.kind == "S":
        flat = [_decode(item) for item in np.ravel(np.asarray(found, object))]
        return np.array(flat, str).reshape(np.shape(found))
    return np.asarray(found)


def required(group: h5py.Group, name: str, n: int | None = None) -> np.ndarray:
    """Read the dataset of a name, `n` values in a row if that is given.

    Raises
    ------
    DamagedError
        If there is none, it is too large to be read whole, or it has another shape.

    """
    place, found = f"{group.name.rstrip('/')}/{name}", member(group, name)
    if not isinstance(found, h5py.Dataset):
        msg = f"{place}: there is no such dataset"
        raise DamagedError(msg)
    if n is not None and found.shape != (n,):
        msg = f"{place}: shape {found.shape}, expected ({n},)"
        raise DamagedError(msg)
    return values(found)


def _decode(item: Any) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)


def text(group: h5py.Group, name: str) -> str:
    """Text of a scalar dataset; empty where there is none."""
    node = member(group, name)
    if not isinstance(node, h5py.Dataset) or node.shape not in ((), (1,)):
        return ""
    return str(values(node).ravel()[0])


def attribute(node: Any, name: str) -> Any:
    """Attribute of a group or dataset, text as `str`; None where there is none."""
    found = node.attrs.get(name)
    return _decode(found) if isinstance(found, bytes) else found


def lazy_clips(path: Path, clips: list[Clip], faults: Notes, job: Job) -> da.Array:
    """Images or videos, read by blocks.

    Pixels that are stored as bytes are not looked at before they are needed; others are gone
    through once, because whole grey levels are kept as bytes.

    Parameters
    ----------
    path : Path
    clips : list of Clip
        One a row.
    faults : Notes
        What is wrong with the pixels, now or when a block is read.
    job : Job

    Returns
    -------
    dask.array.Array of shape (clip, channel, frame, y, x)
        `uint8` or `float32`. A shorter video is filled up with its own mean grey level.

    """
    size: tuple[int, ...] = ()
    whole = fit = True
    with open_hdf5(path) as file:
        for name in dict.fromkeys(clip.name for clip in clips):
            dataset = member(file, name)
            shape = _frame_shape(dataset, clips, faults)
            if shape is None:
                fit = False
            elif size and shape != size:
                fit = False
                fault = f"frames of shape {shape}, expected {size} as in {clips[0].name}"
                faults.add(name, fault)
            else:
                size = shape
        if not fit:
            return da.from_array(np.zeros((0, 0, 1, 0, 0), np.uint8))
        for done, clip in enumerate(clips):
            job.report(done / len(clips))
            if member(file, clip.name).dtype != np.uint8:
                levels = as_grey_levels(_read_clip(file, clip))
                whole = whole and levels.dtype == np.uint8
                if not np.isfinite(levels).all():
                    faults.add(clip.name, "NaN or infinite pixels")
    dtype = np.dtype(np.uint8 if whole else np.float32)
    height, width, channel = size
    n_frame = max(clip.n_frame for clip in clips)

    def read(start: int, stop: int) -> np.ndarray:
        block = np.zeros((stop - start, channel, n_frame, height, width), dtype)
        try:
            with open_hdf5(path) as file:
                for row, clip in zip(block, clips[start:stop], strict=True):
                    fill_up(row, np.moveaxis(_read_clip(file, clip), -1, 0))
        except InputError as error:
            faults.add(clips[start].name, str(error))
        return block

    return lazy_rows(read, (len(clips), channel, n_frame, height, width), dtype)


def _frame_shape(dataset: Any, clips: list[Clip], faults: Notes) -> tuple[int, int, int] | None:
    """(y, x, channel) of a dataset of frames or of one image; noted where it is neither."""
    single = clips[0].rows is None
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "buif":
        faults.add(clips[0].name, "no pixels; expected a dataset of numbers")
        return None
    shape = dataset.shape[not single :]
    if len(shape) not in (2, 3) or 0 in shape or math.prod(shape) * 8 > LARGEST:
        expected = "(y, x[, channel])" if single else "(frame, y, x[, channel])"
        faults.add(dataset.name, f"shape {dataset.shape}, expected {expected}")
        return None
    return (*shape[:2], shape[2] if len(shape) == 3 else 1)


def _read_clip(file: h5py.File, clip: Clip) -> np.ndarray:
    """Frames of a clip, (frame, y, x, channel)."""
    dataset = member(file, clip.name)
    if clip.rows is None:
        frames = dataset[()][None]
    else:
        first, last = clip.rows.min(), clip.rows.max()
        frames = dataset[first : last + 1][clip.rows - first]
    return frames if frames.ndim == 4 else frames[..., None]
