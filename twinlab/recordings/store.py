"""The Zarr store of a recording: written whole or not at all, judged when it is opened."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import xarray as xr

from twinlab.files import write_whole
from twinlab.schema import (
    SCHEMA_VERSION,
    InputError,
    fingerprint,
    recording_faults,
    validate_recording,
)

__all__ = ["is_store", "open_store", "save_recording", "store_faults"]

ROWS = 128  # trials or images in one chunk: some megabytes at the sizes of public recordings


def save_recording(recording: xr.Dataset, path: str | PathLike[str]) -> Path:
    """Write a recording to a Zarr store, whole or not at all, and return where it is.

    What `open_recording` reads back is identical. The fingerprint is taken anew, so a
    selection of neurons or trials is stored under its own.

    Parameters
    ----------
    recording : xarray.Dataset
        As `schema.make_recording` builds it.
    path : path
        A new name, or a store that is then replaced.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If `recording` is none, or something that is not a store stands at `path`.

    """
    path = Path(path)
    validate_recording(recording)
    if path.exists() and not is_store(path):
        msg = f"{path}: exists and is not a Zarr store; give another name, or move it away."
        raise InputError(msg)
    recording = recording.drop_encoding().assign_attrs(
        schema_version=SCHEMA_VERSION, fingerprint=fingerprint(recording)
    )
    # Measured values hardly shrink, and are read several times faster as they are.
    encoding = {
        name: {"chunks": (ROWS, *variable.shape[1:])}
        | ({"compressors": None} if variable.dtype.kind == "f" else {})
        for name, variable in recording.data_vars.items()
        if variable.dims[:1] in (("trial",), ("image",)) and variable.size
    }
    with write_whole(path) as partial:
        # Format 2, because format 3 has no settled way yet to store short strings.
        recording.to_zarr(partial, encoding=encoding, zarr_format=2, consolidated=True)
    return path


def is_store(path: Path) -> bool:
    """Whether a folder is the top of a Zarr store, by its content."""
    return any((path / name).is_file() for name in (".zgroup", ".zmetadata", "zarr.json"))


def open_store(path: Path) -> xr.Dataset:
    """Read a store into memory.

    Raises
    ------
    InputError
        If it is damaged, was changed after it was written, or is of a newer version.

    """
    try:
        # xarray, zarr and the codecs each have errors of their own for a damaged store
        recording = xr.open_zarr(path, chunks=None).load()
    except Exception as error:
        reason = " ".join(str(error).split())  # some of them run over several lines
        msg = f"{path}: cannot be read as a Zarr store ({reason}); convert the recording again."
        raise InputError(msg) from error
    faults = _judge(recording)
    if faults:
        msg = f"{path}: " + "; ".join(faults) + "."
        raise InputError(msg)
    return recording


def store_faults(path: Path) -> list[str]:
    """Everything that is wrong with a store, one line a fault."""
    try:
        open_store(path)
    except InputError as error:
        return [str(error)]
    return []


def _judge(recording: xr.Dataset) -> list[str]:
    """Faults of a Dataset that was read from a store."""
    written = recording.attrs.get("schema_version")
    if written != SCHEMA_VERSION:
        return [
            f"schema version {written}, but this twinlab reads {SCHEMA_VERSION}; "
            "update twinlab, or convert the recording again"
        ]
    faults = recording_faults(recording)
    if faults:
        return faults
    # A chunk that is gone reads as missing values without an error; the content hash sees it.
    found, expected = fingerprint(recording), recording.attrs.get("fingerprint")
    if found != expected:
        return [
            f"content does not match its fingerprint (found {found}, expected {expected}): "
            "the store was changed or damaged; convert the recording again"
        ]
    return []
