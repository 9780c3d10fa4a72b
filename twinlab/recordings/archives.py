"""Zips that are never extracted, and files: each judged before memory is asked for.

A member of a zip may unpack to `GROWTH` of its size there: measured responses hardly shrink, so
more than that is a bomb.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twinlab.schema import InputError

__all__ = [
    "GROWTH",
    "ZIP_ERRORS",
    "DamagedError",
    "check_member",
    "named",
    "one_line",
    "open_archive",
    "read_file",
    "unpack",
]

GROWTH = 100, 2**20  # times its size in the zip, or this many bytes if that is more
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack without a limit
# Whatever a damaged zip makes Python's own module raise.
ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(ValueError, LookupError, RuntimeError, OverflowError),
)


class DamagedError(Exception):
    """One file cannot be used; the message says why, the caller knows which."""


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put the name of the file before what is found to be wrong with it."""
    try:
        yield
    except (DamagedError, InputError) as error:
        text = str(error)
        raise InputError(text if text.startswith(str(path)) else f"{path}: {text}") from error


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip, or raise `InputError`."""
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        msg = (
            f"{path}: not a whole zip file ({one_line(error)}); expected a folder, a zip or a "
            "Zarr store; fetch it again if the download was cut short."
        )
        raise InputError(msg) from error
    with archive:
        yield archive


def check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raise `DamagedError` if a member cannot be unpacked within bounds."""
    factor, least = GROWTH
    size = Path(str(archive.filename)).stat().st_size
    if member.compress_size > size:  # a lie that would loosen what follows
        msg = f"declared to be {member.compress_size} bytes of a zip of {size}"
        raise DamagedError(msg)
    if member.compress_type not in METHODS:
        msg = "packed in another way than zip's usual deflate; pack it again"
        raise DamagedError(msg)
    if member.file_size > max(factor * member.compress_size, least):
        msg = (
            f"unpacks from {member.compress_size} to {member.file_size} bytes, more than "
            f"{factor} times: a zip bomb, or pack it again without compression"
        )
        raise DamagedError(msg)


def unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return the content of a member, or raise `DamagedError`."""
    check_member(archive, member)
    try:
        return archive.read(member)
    except ZIP_ERRORS as error:
        msg = f"damaged in the zip ({one_line(error)})"
        raise DamagedError(msg) from error


def read_file(path: Path) -> bytes:
    """Return the content of a file, or raise `DamagedError`."""
    if not path.is_file():  # a device or a pipe may have no end
        msg = "no such file" if not path.exists() else "not a file"
        raise DamagedError(msg)
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"cannot be read ({error.strerror})"
        raise DamagedError(msg) from error


def one_line(words: object) -> str:
    """Return what a library says, or a name from a file, fit for one line of an error."""
    return " ".join(str(words).split()).encode("ascii", "backslashreplace").decode()[:200]
