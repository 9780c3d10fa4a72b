"""The Zarr store of a recording: written whole or not at all, judged when it is opened."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

import xarray as xr

from twinlab.files import write_whole
from twinlab.jobs import Job
from twinlab.recordings.chunks import check_room, open_chunks, write_chunks
from twinlab.schema import (
    SCHEMA_VERSION,
    InputError,
    fingerprint,
    is_lazy,
    recording_faults,
    row_blocks,
    validate_recording,
)

__all__ = ["check_target", "is_store", "open_store", "save_recording", "verify_store"]

LAZY_SHARE = 0.25  # of this machine's memory: a larger recording is left on the disk


def save_recording(
    recording: xr.Dataset, path: str | PathLike[str], job: Job | None = None
) -> Path:
    """Write a recording to a Zarr store, whole or not at all, and return where it is.

    What `open_recording` reads back is identical. The fingerprint is taken anew, so a
    selection of neurons or trials is stored under its own. A lazy recording is written
    block by block: memory does not grow with it.

    Parameters
    ----------
    recording : xarray.Dataset
        As `schema.make_recording` builds it.
    path : path
        A new name, or a store that is then replaced.
    job : Job, optional

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If `recording` is none, something that is not a store stands at `path`, or the disk
        has no room for it.

    """
    path = Path(path)
    validate_recording(recording)
    check_target(recording, path)
    with write_whole(path) as partial:
        write_chunks(recording, partial, job=job)
    return path


def check_target(recording: xr.Dataset, path: Path) -> None:
    """Raise `InputError` if a recording cannot be stored at `path`."""
    if path.exists() and not is_store(path):
        msg = f"{path}: exists and is not a Zarr store; give another name, or move it away."
        raise InputError(msg)
    check_room(recording, path)


def is_store(path: Path) -> bool:
    """Whether a folder is the top of a Zarr store, by its content."""
    return any((path / name).is_file() for name in (".zgroup", ".zmetadata", "zarr.json"))


def open_store(path: Path, *, lazy: bool | None = None) -> xr.Dataset:
    """Read a store into memory, or leave it on the disk.

    Parameters
    ----------
    path : path
    lazy : bool, optional
        As for `open_recording`.

    Raises
    ------
    InputError
        If it is damaged, was changed after it was written, or is of a newer version; of a
        lazy one, only what can be told without reading it.

    """
    try:
        # xarray, zarr and the codecs each have errors of their own for a damaged store
        with xr.open_zarr(path, chunks=None) as found:
            lazy = found.nbytes > LAZY_SHARE * _memory() if lazy is None else lazy
            recording, faults = open_chunks(path) if lazy else (found.load(), [])
    except Exception as error:
        reason = " ".join(str(error).split())  # some of them run over several lines
        msg = f"{path}: cannot be read as a Zarr store ({reason}); convert the recording again."
        raise InputError(msg) from error
    faults = _judge(recording) or faults
    if not faults and not lazy:
        faults = _content_faults(recording)
    if faults:
        msg = f"{path}: " + "; ".join(faults) + "."
        raise InputError(msg)
    return recording


def verify_store(path: Path, recording: xr.Dataset) -> None:
    """Read a lazy recording through; raise `InputError` if its values are not those written."""
    if is_lazy(recording) and (faults := _content_faults(recording)):
        msg = f"{path}: {faults[0]}."
        raise InputError(msg)


def _memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _judge(recording: xr.Dataset) -> list[str]:
    """Faults of a Dataset that was read from a store, but for its values."""
    written = recording.attrs.get("schema_version")
    if written != SCHEMA_VERSION:
        return [
            f"schema version {written}, but this twinlab reads {SCHEMA_VERSION}; "
            "update twinlab, or convert the recording again"
        ]
    return recording_faults(recording)


def _content_faults(recording: xr.Dataset) -> list[str]:
    """Whether the values of a stored recording are those that were written."""
    # A chunk that is gone reads as missing values without an error; the content hash sees it.
    found = fingerprint(recording, lambda name: row_blocks(recording[name]))  # anew each time
    expected = recording.attrs.get("fingerprint")
    if found == expected:
        return []
    return [
        f"content does not match its fingerprint (found {found}, expected {expected}): "
        "the store was changed or damaged; convert the recording again"
    ]
