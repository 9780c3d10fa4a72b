"""Arrays out of `.npy`, `.npz` and zipped files, each judged before memory is asked for.

Nothing is extracted and nothing is unpickled. A member of a zip may unpack to `GROWTH` of its
size there: measured responses hardly shrink, so more than that is a bomb.
"""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from twinlab.recordings.members import DamagedError, Members, read_array
from twinlab.schema import InputError

__all__ = ["named", "open_archive", "read_jpeg", "read_npy", "read_npz", "unpack"]

GROWTH = 100, 2**20  # times its size in the zip, or this many bytes if that is more
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack without a limit
# Whatever a damaged zip makes Python's own module raise.
ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(ValueError, LookupError, RuntimeError, OverflowError),
)


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
            f"{path}: not a whole zip file ({_line(error)}); fetch it again if the download was "
            "cut short."
        )
        raise InputError(msg) from error
    with archive:
        yield archive


def check_member(member: zipfile.ZipInfo) -> None:
    """Raise `DamagedError` if a member cannot be unpacked within bounds."""
    factor, least = GROWTH
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
    check_member(member)
    try:
        return archive.read(member)
    except ZIP_ERRORS as error:
        msg = f"damaged in the zip ({_line(error)})"
        raise DamagedError(msg) from error


def read_npy(path: Path) -> np.ndarray:
    """Read a `.npy` file; raise `InputError` naming it if it is absent or damaged."""
    with named(path):
        if not path.is_file():  # no device or pipe either, which would have no end
            msg = "no such file; expected a .npy file."
            raise InputError(msg)
        try:
            content = path.read_bytes()
        except OSError as error:
            msg = f"cannot be read ({error.strerror})"
            raise DamagedError(msg) from error
        return _as_array(path.name, content)


def read_npz(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Read arrays of a `.npz` file by name.

    Raises
    ------
    InputError
        Naming the file and the array, if one is absent or damaged.

    """
    with open_archive(path) as archive:
        arrays = {}
        for name in names:
            with named(path):
                members = [it for it in archive.infolist() if it.filename == f"{name}.npy"]
                if len(members) != 1:
                    found = ", ".join(it.filename for it in archive.infolist()[:10])
                    msg = f"holds {len(members)} arrays `{name}`, expected one; found {found}."
                    raise InputError(ascii(msg)[1:-1])
                try:
                    arrays[name] = _as_array(name, unpack(archive, members[0]))
                except DamagedError as error:
                    msg = f"`{name}`: {error}."
                    raise DamagedError(msg) from error
    return arrays


def read_jpeg(content: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Decode a colour photograph whose size is known.

    Returns
    -------
    ndarray of shape (3, y, x) and type uint8

    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a picture far too large is a warning to pillow
            with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
                if image.size != shape[::-1]:
                    msg = f"{image.size[0]} x {image.size[1]} pixels, expected {shape}"
                    raise DamagedError(msg)
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except DamagedError:
        raise
    except Exception as error:  # pillow's decoders raise nearly anything for a damaged file
        msg = f"not a whole JPEG ({_line(error)})"
        raise DamagedError(msg) from error


def _as_array(name: str, content: bytes) -> np.ndarray:
    return read_array(Members(name, frozenset([name]), [], lambda _: content), name, {})


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).encode("ascii", "replace").decode()[:200]
