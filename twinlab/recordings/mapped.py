"""Arrays in files of their own, mapped into memory: what is not used is not read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from twinlab.recordings.archives import DamagedError
from twinlab.recordings.npy_headers import header_end, parse_header

__all__ = ["map_npy", "map_raw", "regular"]

HEADER_BYTES = 2**16 + 12  # a longer header is none that NumPy writes


def regular(path: Path) -> Path:
    """Return `path`, or raise `DamagedError` if it is no plain file: a pipe would never end."""
    if not path.is_file():
        msg = f"{_place(path)}: there is no such file"
        raise DamagedError(msg)
    return path


def map_npy(path: Path) -> np.ndarray:
    """Numbers of a `.npy` file; pickled objects are refused.

    Raises
    ------
    DamagedError
        If it is missing, cut short, or holds anything else.

    """
    try:
        with regular(path).open("rb") as file:
            head = file.read(HEADER_BYTES)
        start = header_end(head)
        dtype, shape, fortran, _ = parse_header(head[:start])
    except OSError as error:
        msg = f"{_place(path)}: cannot be read ({error.strerror})"
        raise DamagedError(msg) from error
    except DamagedError as error:
        msg = str(error) if str(error).startswith(_place(path)) else f"{_place(path)}: {error}"
        raise DamagedError(msg) from error
    return map_raw(path, dtype, shape, start=start, order="F" if fortran else "C")


def map_raw(
    path: Path, dtype: np.dtype, shape: tuple[int, ...], *, start: int = 0, order: Any = "C"
) -> np.ndarray:
    """Numbers of a file without a header, or after one of `start` bytes.

    Raises
    ------
    DamagedError
        If it is missing, or not exactly as long as type and shape say.

    """
    expected = math.prod(shape) * dtype.itemsize
    size = regular(path).stat().st_size - start
    if dtype.kind not in "biuf" or size != expected:
        msg = f"{_place(path)}: {size:,} bytes, expected {expected:,} of numbers {shape} {dtype}"
        raise DamagedError(msg)
    if not expected:
        return np.empty(shape, dtype)
    try:
        return np.memmap(path, dtype, "r", start, shape, order)
    except (OSError, ValueError) as error:
        msg = f"{_place(path)}: cannot be read ({error})"
        raise DamagedError(msg) from error


def _place(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
