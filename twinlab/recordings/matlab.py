"""Numbers out of a MATLAB file (version 5 to 7.2), by name.

`scipy.io.loadmat` reads whole variables and asks for whatever memory a file declares. The files
of this field hold tens of thousands of small structs beside the arrays wanted, and may be
damaged: so elements are walked by their sizes, each held against what is there, and only
what was asked for is read.

Layout: MathWorks, "MAT-File Format", R2023, chapter 1 (level 5).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twinlab.recordings.archives import GROWTH, DamagedError
from twinlab.schema import InputError

__all__ = ["read_matlab"]

HEADER = 128
COMPRESSED, MATRIX = 15, 14
STRUCT, NUMBERS = 2, range(6, 16)  # classes of a matrix
# By the number of the type stored: signed and unsigned integers, single and double.
TYPES = dict(zip((1, 2, 3, 4, 5, 6, 7, 9, 12, 13), "bBhHiIfdqQ", strict=True))
COMPLEX = 0x0800
PEEK = 4096  # bytes in which a variable's name stands


class Element(NamedTuple):
    """One element: its type, its bytes, and where the next one begins."""

    kind: int
    content: memoryview
    end: int


EMPTY = Element(0, memoryview(b""), 0)


class Matrix(NamedTuple):
    """A matrix whose head was read: what it is, and its content."""

    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    content: memoryview


def read_matlab(path: Path, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """Read arrays of numbers from a MATLAB file.

    Parameters
    ----------
    path : Path
        Saved by MATLAB with ``-v6`` or ``-v7``, or by `scipy.io.savemat`.
    wanted : collection of str
        Variables, or fields of a variable that is one struct ("stim.resp").

    Returns
    -------
    dict of str to ndarray
        Those that are there, in the shape MATLAB shows and the type stored, which may be
        narrower than the variable's. Read-only views.

    Raises
    ------
    InputError
        If it is no such file, is damaged, or one that is wanted is not of real numbers.

    """
    if not path.is_file():
        msg = f"{path}: no such file; expected a MATLAB file."
        raise InputError(msg)
    try:
        return _read(path, wanted)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); expected a MATLAB file."
        raise InputError(msg) from error
    except (DamagedError, ValueError, struct.error, zlib.error) as error:
        reason = " ".join(str(error).split())
        msg = f"{path}: not a whole MATLAB file of version 5 to 7.2 ({reason}); fetch it again."
        raise InputError(msg) from error


def _read(path: Path, wanted: Collection[str]) -> dict[str, np.ndarray]:
    variables = {name.partition(".")[0] for name in wanted}
    found: dict[str, np.ndarray] = {}
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEADER)
        if head.startswith(b"MATLAB 7.3"):
            msg = "saved with -v7.3; save it again with -v7"
            raise DamagedError(msg)
        if len(head) < HEADER or head[124:128] not in (b"\0\1IM", b"\1\0MI"):
            msg = "no such header"
            raise DamagedError(msg)
        order = "<" if head[126:] == b"IM" else ">"
        while tag := file.read(8):
            kind, length = struct.unpack(f"{order}2I", tag)
            end = file.tell() + length
            if end > size:
                msg = f"{length} bytes are declared where {size - file.tell()} are left"
                raise DamagedError(msg)
            start = file.read(min(PEEK, length))
            peeked = start if kind == MATRIX else _inflate(start, PEEK)[8:]
            if kind in (MATRIX, COMPRESSED) and _name(peeked, order) in variables:
                file.seek(end - length)
                content = memoryview(file.read(length))
                if kind == COMPRESSED:
                    content = _inflate_variable(content, order)
                _collect(_matrix(content, order), wanted, order, found)
            file.seek(end)
    return found


def _inflate(content: bytes | memoryview, most: int) -> bytes:
    return zlib.decompressobj().decompress(content, most)


def _inflate_variable(content: memoryview, order: str) -> memoryview:
    """Unpack one compressed matrix, no further than it declares and `GROWTH` allows."""
    kind, length = struct.unpack(f"{order}2I", _inflate(content, 8))
    factor, least = GROWTH
    if kind != MATRIX or length > max(factor * len(content), least):
        msg = f"a variable of {length} bytes in {len(content)}"
        raise DamagedError(msg)
    stream = zlib.decompressobj()
    unpacked = stream.decompress(content, 8 + length)
    more = stream.decompress(stream.unconsumed_tail, 1)  # reads the checksum, too
    if len(unpacked) != 8 + length or more or not stream.eof:
        msg = f"a variable of other than {8 + length} bytes, or cut short"
        raise DamagedError(msg)
    return memoryview(unpacked)[8:]


def _name(start: bytes, order: str) -> str:
    """Name of a variable of which only the start is at hand; empty if that is damaged."""
    try:
        return _matrix(memoryview(start), order).name
    except (DamagedError, ValueError, struct.error):
        return ""


def _collect(
    matrix: Matrix, wanted: Collection[str], order: str, found: dict[str, np.ndarray]
) -> None:
    """Add to `found` what is wanted of a variable."""
    fields = {name: name.partition(".")[2] for name in wanted if _top(name) == matrix.name}
    for name, inner in fields.items():
        if not inner:
            found[name] = _numbers(name, matrix, order)
    if any(fields.values()):
        if matrix.kind != STRUCT or math.prod(matrix.shape) != 1:
            msg = f"`{matrix.name}` is not one struct"
            raise DamagedError(msg)
        for inner, content in _fields(matrix.content, order):
            name = f"{matrix.name}.{inner}"
            if name in fields:
                found[name] = _numbers(name, _matrix(content, order), order)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _elements(content: memoryview, order: str) -> Iterator[Element]:
    """Each element, one after another."""
    place = 0
    while place < len(content):
        kind, length = struct.unpack_from(f"{order}2I", content, place)
        if kind >> 16:  # a short one: type, size and up to 4 bytes in 8
            kind, length, start = kind & 0xFFFF, kind >> 16, place + 4
            place += 8
        else:
            start = place + 8
            place = start + length + (-length % 8)
        if start + length > min(len(content), place):
            msg = f"{length} bytes are declared where {len(content) - start} are left"
            raise DamagedError(msg)
        yield Element(kind, content[start : start + length], place)


def _matrix(content: memoryview, order: str) -> Matrix:
    """Read the head of a matrix: flags, shape and name."""
    head = list(islice(_elements(content, order), 3))
    if len(head) < 3:
        msg = "a variable without flags, shape or name"
        raise DamagedError(msg)
    flags, shape, name = head
    word = struct.unpack_from(f"{order}I", flags.content)[0]
    sizes = tuple(int(n) for n in np.frombuffer(shape.content, f"{order}i4"))
    if min(sizes, default=-1) < 0:
        msg = f"a variable of shape {sizes}"
        raise DamagedError(msg)
    words = bytes(name.content).decode("latin-1").rstrip("\0")
    return Matrix(word & 0xFF, bool(word & COMPLEX), sizes, words, content[name.end :])


def _fields(content: memoryview, order: str) -> Iterator[tuple[str, memoryview]]:
    """Name and matrix of each field of one struct."""
    elements = _elements(content, order)
    width = struct.unpack_from(f"{order}i", next(elements, EMPTY).content)[0]
    names = bytes(next(elements, EMPTY).content)
    if not 0 < width <= 64 or len(names) % width:
        msg = f"a struct of {len(names)} bytes of names, {width} each"
        raise DamagedError(msg)
    for place in range(0, len(names), width):
        matrix = next(elements, EMPTY)
        if matrix.kind != MATRIX:
            msg = "a struct that lacks a field"
            raise DamagedError(msg)
        yield names[place : place + width].partition(b"\0")[0].decode("latin-1"), matrix.content


def _numbers(name: str, matrix: Matrix, order: str) -> np.ndarray:
    """Values of a matrix of real numbers."""
    if matrix.kind not in NUMBERS or matrix.is_complex:
        msg = f"`{name}` is not of real numbers"
        raise DamagedError(msg)
    kind, content, _ = next(_elements(matrix.content, order), EMPTY)
    if not math.prod(matrix.shape):
        return np.zeros(matrix.shape)
    if kind not in TYPES:
        msg = f"values of an unknown type {kind}"
        raise DamagedError(msg)
    values = np.frombuffer(content, f"{order}{TYPES[kind]}")
    if values.size != math.prod(matrix.shape):
        msg = f"{values.size} values for a variable of shape {matrix.shape}"
        raise DamagedError(msg)
    return values.reshape(matrix.shape, order="F")
