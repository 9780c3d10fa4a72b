"""The files of one recording, in a folder or in a zip, read by name and never extracted."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from twinlab.recordings.archives import DamagedError, open_archive, read_file, unpack
from twinlab.recordings.npy_headers import Header, header_end, parse_header
from twinlab.schema import InputError

# A folder of any of these names marks where a recording begins, however deep it lies.
LANDMARKS = ("meta/trials/", "data/responses/", "data/images/", "data/videos/")
EXPECTED = "expected `meta/trials/`, `data/images/` and `data/responses/`, or a Zarr store"

Root = TypeVar("Root", str, Path)


@dataclass(frozen=True)
class Members:
    """Names below the root of one recording, and how to read them.

    Attributes
    ----------
    stem : str
        What the recording is called: its top folder, or else the file.
    names : frozenset of str
        Paths relative to the root, with forward slashes.
    repeated : list of str
        Names that a zip holds more than once.
    read : callable
        Name to bytes; raises `DamagedError`.

    """

    stem: str
    names: frozenset[str]
    repeated: list[str]
    read: Callable[[str], bytes]


@contextmanager
def open_members(path: Path) -> Iterator[Members]:
    """Open the one recording that a folder or a zip holds.

    Raises
    ------
    InputError
        If there is no such path, it is neither folder nor whole zip, or it holds no
        recording or several.

    """
    if path.is_dir():
        yield _folder_members(path)
    elif path.is_file():
        with open_archive(path) as archive:
            yield _zip_members(path, archive)
    else:
        msg = f"{path}: no such file or folder; expected a recording."
        raise InputError(msg)


def read_array(members: Members, name: str, headers: dict[bytes, Header]) -> np.ndarray:
    """Read one `.npy` member; `headers` remembers headers already parsed.

    Parsing the header is most of the cost of a small file, and thousands of trials share
    one header. Pickled objects are refused, as by ``numpy.load(allow_pickle=False)``.
    """
    content = members.read(name)
    start = header_end(content)
    key = content[:start]
    if key not in headers:
        headers[key] = parse_header(key)
    dtype, shape, fortran, count = headers[key]
    if len(content) - start != count * dtype.itemsize:
        msg = (
            f"truncated: {len(content) - start} bytes of values, expected {count * dtype.itemsize}"
        )
        raise DamagedError(msg)
    values = np.frombuffer(content, dtype, count, start)
    return values.reshape(shape, order="F" if fortran else "C")


def _folder_members(folder: Path) -> Members:
    places = [f"{above}{mark}" for above in ("", "*/", "*/*/") for mark in LANDMARKS]
    roots = {found.parents[1] for place in places for found in folder.glob(place)}
    root = _only(folder, roots, _nearby(folder))
    names = {
        file.relative_to(root).as_posix()
        for part in ("data", "meta")
        for file in root.glob(f"{part}/*/*")
    }
    if (root / "config.json").exists():
        names.add("config.json")

    def read(name: str) -> bytes:
        return read_file(root / name)

    return Members(root.resolve().name, frozenset(names), [], read)


def _zip_members(path: Path, archive: zipfile.ZipFile) -> Members:
    files = [
        name
        for name in archive.namelist()
        # the second copy of each file that macOS puts into a zip
        if not name.endswith("/") and not name.startswith("__MACOSX/")
    ]
    roots = {
        name[: f"/{name}".index(f"/{mark}")]
        for name in files
        for mark in LANDMARKS
        if f"/{mark}" in f"/{name}"
    }
    root = _only(path, roots, "")
    counts = Counter(name.removeprefix(root) for name in files if name.startswith(root))

    def read(name: str) -> bytes:
        return unpack(archive, archive.getinfo(root + name))

    stem = root.rstrip("/").rpartition("/")[2] or path.stem
    repeated = sorted(name for name, count in counts.items() if count > 1)
    return Members(stem, frozenset(counts), repeated, read)


def _only(path: Path, roots: Iterable[Root], nearby: str) -> Root:
    """Return the one root, or say that there is none or which there are."""
    found = sorted(roots)
    if not found:
        msg = f"{path}: holds no recording in a known layout; {EXPECTED}{nearby}."
        raise InputError(msg)
    if len(found) > 1:
        msg = (
            f"{path}: holds {len(found)} recordings ({', '.join(map(str, found[:5]))}"
            f"{', ...' if len(found) > 5 else ''}); expected one, so give its own folder or zip."
        )
        raise InputError(msg)
    return found[0]


def _nearby(folder: Path) -> str:
    """Name files in the folder that may be what was meant, as advice."""
    files = sorted(found.name for pattern in ("*.zip", "*.zarr") for found in folder.glob(pattern))
    return f"; did you mean {' or '.join(files[:3])} in it?" if files else ""
