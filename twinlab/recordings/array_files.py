"""Arrays out of `.npy`, `.npz` and JPEG files; nothing is unpickled."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from twinlab.recordings.archives import (
    DamagedError,
    named,
    one_line,
    open_archive,
    read_file,
    unpack,
)
from twinlab.recordings.members import Members, read_array
from twinlab.schema import InputError

__all__ = ["read_jpeg", "read_npy", "read_npz"]


def read_npy(path: Path) -> np.ndarray:
    """Read a `.npy` file; raise `InputError` naming it if it is absent or damaged."""
    with named(path):
        return _as_array(path.name, read_file(path))


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
                    found = one_line(", ".join(archive.namelist()[:10]))
                    msg = f"holds {len(members)} arrays `{name}`, expected one; found {found}."
                    raise InputError(msg)
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
    except UnidentifiedImageError as error:
        msg = "not a JPEG"
        raise DamagedError(msg) from error
    except Exception as error:  # pillow's decoders raise nearly anything for a damaged file
        msg = f"not a whole JPEG ({one_line(error)})"
        raise DamagedError(msg) from error


def _as_array(name: str, content: bytes) -> np.ndarray:
    return read_array(Members(name, frozenset([name]), [], lambda _: content), name, {})
