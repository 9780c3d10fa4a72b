"""Headers of `.npy` files, read without running anything."""

from __future__ import annotations

import math
import re

import numpy as np

from twinlab.recordings.archives import DamagedError

__all__ = ["Header", "header_end", "parse_header"]

HEADER_ENTRIES = (
    re.compile(rb"'descr'\s*:\s*'([<>|=]?(?:[biufcSUVO]\d*|[mM]8(?:\[\w+\])?|\?))'"),
    re.compile(rb"'fortran_order'\s*:\s*(True|False)"),
    re.compile(rb"'shape'\s*:\s*\(([\d\s,]{0,300})\)"),
)
MOST_AXES = 32

Header = tuple[np.dtype, tuple[int, ...], bool, int]


def header_end(content: bytes) -> int:
    """Bytes of the header with which the content of a file begins; or raise `DamagedError`."""
    if content[:6] != b"\x93NUMPY" or len(content) < 12:
        msg = "not a .npy file"
        raise DamagedError(msg)
    size = 2 if content[6] == 1 else 4
    return 8 + size + int.from_bytes(content[8 : 8 + size], "little")


def parse_header(content: bytes) -> Header:
    """Shape, type and order of a `.npy` file, and its number of values.

    Read by its three entries alone. NumPy hands the header to Python's compiler, which a damaged
    one makes warn, or ask for memory.
    """
    found = [entry.search(content) for entry in HEADER_ENTRIES]
    if not all(found) or content[6] not in (1, 2, 3):
        msg = "not a readable .npy file (damaged header, or a structured type)"
        raise DamagedError(msg)
    code, order, sizes = (entry[1].decode() for entry in found if entry)
    if "O" in code:
        msg = "an object array, which only unsafe unpickling could read; save it as a plain array"
        raise DamagedError(msg)
    try:
        dtype = np.dtype(code)
        shape = tuple(int(size) for size in sizes.replace(",", " ").split())
    except (TypeError, ValueError) as error:
        msg = "not a readable .npy file (damaged header)"
        raise DamagedError(msg) from error
    count = math.prod(shape)
    if dtype.itemsize == 0 or count * dtype.itemsize >= 2**62 or len(shape) > MOST_AXES:
        msg = f"not a readable .npy file (impossible shape {shape} of {dtype})"
        raise DamagedError(msg)
    return dtype, shape, order == "True", count
