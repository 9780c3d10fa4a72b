"""A recording on disk, block by block: flat chunk files, written in order, read where asked.

A block is some rows (trials or images) of one variable with all that belongs to them. Its
chunks are zarr's, of a share of the neurons each, so that one neuron is read without the
others; they are not compressed, so that single trials are read without their neighbours and
a file that was cut short is told by its size.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from dask.base import tokenize

from twinlab.jobs import Job
from twinlab.recordings.blocks import rows_in_block
from twinlab.schema import HASHED, SCHEMA_VERSION, InputError, fingerprint, infinite_faults

__all__ = ["check_room", "even_rows", "open_chunks", "write_chunks"]

ROWS, COLUMNS = 1024, 512  # rows and neurons in one chunk, at most
ALONG = ("trial", "image", "video")  # first dimensions of what is kept in blocks
SHOWN = 3  # chunk files named before "and N more"
AGAIN = "convert the recording again"


def even_rows(shape: tuple[int, ...], dtype: np.dtype | type) -> int:
    """Rows of a block, at most 1024 and some 32 MB, so that all blocks have about as many."""
    return _even(shape[0], min(rows_in_block(shape, dtype), ROWS))


def _even(size: int, most: int) -> int:
    return math.ceil(size / math.ceil(size / most))


def _chunk_shape(variable: xr.DataArray) -> tuple[int, ...]:
    """Shape of a chunk of a variable that is kept in blocks: as lazy ones are read, if evenly."""
    given = variable.chunks[0] if variable.chunks else ()
    even = given and len(set(given[:-1])) <= 1 and given[-1] <= given[0]
    rows = given[0] if even else even_rows(variable.shape, variable.dtype)
    rest = zip(variable.dims[1:], variable.shape[1:], strict=True)
    return rows, *(_even(size, COLUMNS) if dim == "neuron" else size for dim, size in rest)


def _in_blocks(recording: xr.Dataset) -> list[str]:
    """Names of the variables that are kept in blocks."""
    return [
        str(name)
        for name, variable in recording.data_vars.items()
        if variable.dims[:1] and variable.dims[0] in ALONG and variable.size
    ]


def check_room(recording: xr.Dataset, path: Path) -> None:
    """Raise `InputError` if the disk has no room for the store of a recording at `path`."""
    stored = [_ChunkFiles.of(recording[name], path) for name in _in_blocks(recording)]
    needed = sum(files.nbytes * math.prod(files.grid) for files in stored)
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    free = shutil.disk_usage(parent).free
    if needed > free:
        msg = (
            f"{path}: the store needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
            "choose another disk, or make room."
        )
        raise InputError(msg)


def write_chunks(
    recording: xr.Dataset,
    folder: Path,
    *,
    journal: Path | None = None,
    check: Callable[[], None] = lambda: None,
    job: Job | None = None,
) -> None:
    """Write a recording as a Zarr store, a block at a time.

    Parameters
    ----------
    recording : xarray.Dataset
        Lazy or in memory; its fingerprint is taken as it is written.
    folder : path
        The store. What is written there is not whole before this returns.
    journal : path, optional
        File that keeps account of the finished blocks. Those it names are not taken from the
        recording again, if they are on the disk as they were written.
    check : callable
        Called after each block was read and before it is written; raises to refuse.
    job : Job, optional

    Raises
    ------
    InputError
        If a response is infinite.

    """
    job = job or Job()
    names = _in_blocks(recording)
    done = _read_journal(journal) if journal is not None else {}
    if not done:
        _lay_out(recording, names, folder)
    group = zarr.open_group(folder, mode="r+", use_consolidated=False)
    total, passed = sum(recording[name].nbytes for name in names), 0

    def write(name: str) -> Iterator[np.ndarray]:
        nonlocal passed
        variable, files = recording[name], _ChunkFiles.of(recording[name], folder)
        rows = files.chunks[0]
        for start in range(0, len(variable), rows):
            job.report(passed / total, f"writing {name}")
            place, chosen = f"{name} {start}", slice(start, start + rows)
            block = _finished(group[name], chosen, done.get(place))
            if block is None:
                block = np.ascontiguousarray(variable[chosen].values)
                check()
                if name == "response":
                    _refuse_infinite(recording, block, start)
                files.write(start, block)
                if journal is not None:
                    _note(journal, place, block)
            passed += block.nbytes
            yield block
            del block  # before the next one is read

    content = fingerprint(recording, write)
    for name in names:
        if name not in HASHED:
            for _ in write(name):
                pass
    group.attrs["fingerprint"] = content
    zarr.consolidate_metadata(folder, zarr_format=2)
    job.report(1.0, "writing")


def _lay_out(recording: xr.Dataset, names: list[str], folder: Path) -> None:
    """Write all of a store but the blocks."""
    shutil.rmtree(folder, ignore_errors=True)  # begun by a process that was killed
    blank = {
        name: recording[name].copy(
            data=da.empty(
                recording[name].shape,
                dtype=recording[name].dtype,
                chunks=_chunk_shape(recording[name]),
            )
        )
        for name in names
    }
    rest = recording.drop_vars(names).compute()  # coordinates may be lazy, too
    encoding = {
        name: {"chunks": blank[name].data.chunksize, "compressors": None} for name in names
    }
    # Format 2, because format 3 has no settled way yet to store short strings.
    template = rest.assign(blank).drop_encoding().assign_attrs(schema_version=SCHEMA_VERSION)
    template.to_zarr(folder, encoding=encoding, zarr_format=2, consolidated=False, compute=False)


def _refuse_infinite(recording: xr.Dataset, response: np.ndarray, first_trial: int) -> None:
    faults = infinite_faults(response, recording.response.dims, first_trial)
    if faults:
        name = recording.attrs.get("recording_id", "this Dataset")
        msg = f"{name} is not a recording: {faults[0]}."
        raise InputError(msg)


def _read_journal(journal: Path) -> dict[str, str]:
    """Hash of each finished block, by its place."""
    if not journal.is_file():
        return {}
    lines = [line.rpartition(" ") for line in journal.read_text().splitlines()]
    return {place: digest for place, _, digest in lines}


def _note(journal: Path, place: str, block: np.ndarray) -> None:
    with journal.open("a") as file:
        file.write(f"{place} {_digest(block)}\n")


def _digest(block: np.ndarray) -> str:
    return hashlib.sha256(block.data).hexdigest()


def _finished(array: Any, rows: slice, digest: str | None) -> np.ndarray | None:
    """A block that an earlier run wrote; None if it did not, or not as it says."""
    if digest is None:
        return None
    block = np.ascontiguousarray(array[rows])
    return block if _digest(block) == digest else None


@dataclass(frozen=True)
class _ChunkFiles:
    """The flat chunk files of one variable as an array, of which dask asks parts of chunks.

    Parts are views of the file, copied when they are written to: of a chunk of a thousand trials
    only what is used is read.
    """

    folder: Path
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, variable: xr.DataArray, store: Path) -> _ChunkFiles:
        """Those in which a variable will be kept."""
        return cls(
            store / str(variable.name), variable.shape, _chunk_shape(variable), variable.dtype
        )

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each dimension."""
        return tuple(
            math.ceil(size / part) for size, part in zip(self.shape, self.chunks, strict=True)
        )

    @property
    def nbytes(self) -> int:
        """Bytes of one file: those at the end hold a whole chunk, too."""
        return math.prod(self.chunks) * self.dtype.itemsize

    def write(self, start: int, block: np.ndarray) -> None:
        """Write the chunks whose first row is `start`, a file at a time."""
        row = start // self.chunks[0]
        for place in np.ndindex(*self.grid[1:]):
            within = tuple(
                slice(number * size, (number + 1) * size)
                for number, size in zip(place, self.chunks[1:], strict=True)
            )
            chunk = block[(slice(None), *within)]
            if chunk.shape != self.chunks:
                room = zip(chunk.shape, self.chunks, strict=True)
                chunk = np.pad(chunk, [(0, size - held) for held, size in room])
            file = self.folder / ".".join(map(str, (row, *place)))
            file.write_bytes(np.ascontiguousarray(chunk).data)

    def __getitem__(self, part: tuple[slice, ...]) -> np.ndarray:
        """Return a part within one chunk."""
        place = [
            s.start // size if s.start is not None else 0
            for s, size in zip(part, self.chunks, strict=True)
        ]
        file = self.folder / ".".join(map(str, place))
        try:
            chunk = np.memmap(file, self.dtype, "c", shape=self.chunks)
        except (OSError, ValueError) as error:
            msg = f"{file}: is gone or was cut short ({error}); {AGAIN}."
            raise InputError(msg) from error
        within = tuple(
            slice(s.start - first * size, s.stop - first * size, s.step)
            for s, first, size in zip(part, place, self.chunks, strict=True)
        )
        return chunk[within]

    def faults(self) -> list[str]:
        """Chunk files that are missing or have another size than they should; nothing is read."""
        try:
            with os.scandir(self.folder) as entries:
                found = {entry.name: entry.stat().st_size for entry in entries}
        except OSError:
            found = {}
        wrong = [
            name
            for name in (".".join(map(str, place)) for place in np.ndindex(*self.grid))
            if found.get(name) != self.nbytes
        ]
        if not wrong:
            return []
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        return [
            f"{self.folder.name}: chunks {', '.join(wrong[:SHOWN])}{more} of "
            f"{math.prod(self.grid)} are missing or not {self.nbytes} bytes long; {AGAIN}"
        ]


def open_chunks(path: Path) -> tuple[xr.Dataset, list[str]]:
    """Open a store without reading its blocks; and say which of their files are not there.

    Returns
    -------
    recording : xarray.Dataset
        What is kept in blocks is a dask array of their files; the rest lies in memory.
    faults : list of str
        One line for each variable some of whose files are missing or cut short, or that was
        not stored in flat files.

    """
    recording = xr.open_zarr(path, chunks=None)
    group = zarr.open_group(path, mode="r")
    faults: list[str] = []
    for name in _in_blocks(recording):
        array: Any = group[name]
        if array.compressors or array.filters or array.order != "C":
            faults.append(f"{name}: is compressed, as older stores are; {AGAIN}")
            continue
        files = _ChunkFiles(path / name, array.shape, array.chunks, array.dtype)
        faults += files.faults()
        token = tokenize(str(path.absolute()), recording.attrs.get("fingerprint"))
        meta = np.empty((0,) * array.ndim, array.dtype)  # dask would read a file to know it
        lazy = da.from_array(files, array.chunks, name=f"{name}-{token}", fancy=False, meta=meta)
        recording[name] = recording[name].copy(data=lazy)
    for variable in recording.variables.values():
        if variable.chunks is None:
            variable.load()
    return recording, faults
