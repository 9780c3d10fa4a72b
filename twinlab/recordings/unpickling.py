"""Arrays out of a pickle, of which nothing is ever run.

A pickle is a program: `pickle.load` imports and calls what it names. Here its operations are
only read, by `pickletools`, and the few that make plain data are done by the table below.
What a file names is looked up in `MAKERS` and nowhere else; nothing is imported. A size that
a file declares is held against what is left of the file before memory is asked for.
"""

from __future__ import annotations

import math
import pickletools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np

from twinlab.recordings.archives import DamagedError
from twinlab.schema import InputError

__all__ = ["load_pickle", "unpickle"]

OPERATIONS = 1_000_000  # a file of arrays needs some thousands; each may make an object
LINE = 1000  # bytes of the longest name
GROWTH = 16, 2**20  # what is made may weigh so many times the file, and so many bytes more
PLAIN_TYPE = re.compile(r"[<>=|]?(b1|\?|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,8}|O8?)")
DATA = (str, bytes, int, float, bool, type(None), np.generic)  # what may be a key or a member


class Name(NamedTuple):
    """Something that a pickle names, told by that name alone."""

    dotted: str


@dataclass
class Unbuilt:
    """An array or a type whose content comes with a later operation.

    Attributes
    ----------
    build : callable
        State to what it becomes.
    places : list of int
        Where in the memo it was noted meanwhile.

    """

    build: Callable[[Any], Any]
    places: list[int] = field(default_factory=list)


def load_pickle(path: Path) -> Any:
    """Read a pickle of arrays, numbers, text and containers of these; run nothing.

    Parameters
    ----------
    path : Path
        Written by Python 2 or 3 with pickle protocols 2 to 5, with NumPy 1 or 2.

    Returns
    -------
    object
        Made of dict, list, tuple, set, str, bytes, numbers, None and NumPy arrays and scalars.
        Arrays are read-only. Text of Python 2 is read as Latin-1.

    Raises
    ------
    InputError
        If it is damaged, or names anything else: what it names is said.

    """
    try:
        with path.open("rb") as stream:
            return unpickle(stream, path.stat().st_size)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); expected a pickle file."
        raise InputError(msg) from error
    except DamagedError as error:
        msg = f"{path}: {error}; expected a pickle of plain arrays."
        raise InputError(msg) from error


def unpickle(stream: BinaryIO, size: int) -> Any:
    """Read a pickle of `size` bytes, as `load_pickle` does; raise `DamagedError`.

    Beside what is read of the file, what is made of it weighs at most `GROWTH` of its size.
    """
    stack: list[Any] = []
    marks: list[list[Any]] = []  # the stacks below each mark
    memo: dict[int, Any] = {}
    left = GROWTH[0] * size + GROWTH[1]
    try:
        operations = pickletools.genops(cast(BinaryIO, _Bounded(stream, size)))
        for number, (operation, found, _) in enumerate(operations):
            if number >= OPERATIONS:
                msg = f"more than {OPERATIONS} operations in a pickle"
                raise DamagedError(msg)
            name = operation.name
            argument: Any = found
            if name == "STOP":
                break
            if name in LITERALS:
                stack.append(argument)
            elif name in CONSTANTS:
                stack.append(CONSTANTS[name]())
            elif name in SIZES:
                stack[len(stack) - SIZES[name] :] = [_last(stack, SIZES[name])]
            elif name == "MARK":
                marks.append(stack)
                stack = []
            elif name in GATHERERS:
                items, stack = stack, marks.pop()
                GATHERERS[name](stack, items)
            elif name in PAIRS:
                items = list(_last(stack, PAIRS[name]))
                del stack[-len(items) :]
                GATHERERS[f"{name}S"](stack, items)
            elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
                place = len(memo) if name == "MEMOIZE" else argument
                memo[place] = stack[-1]
                if isinstance(stack[-1], Unbuilt):
                    stack[-1].places.append(place)
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name == "GLOBAL":
                stack.append(_look_up(*argument.split(" ", 1)))
            elif name == "STACK_GLOBAL":
                stack[-2:] = [_look_up(*_last(stack, 2))]
            elif name in ("REDUCE", "BUILD"):
                left -= _reduce(stack) if name == "REDUCE" else _build(stack, memo)
                if left < 0:
                    msg = f"makes far more than its {size} bytes could hold"
                    raise DamagedError(msg)
            elif name not in ("PROTO", "FRAME"):
                msg = f"uses the pickle operation {name}, which plain arrays do not need"
                raise DamagedError(msg)
        (result,) = stack
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"not a whole pickle ({reason})"
        raise DamagedError(msg) from error
    return result


class _Bounded:
    """A stream of which no more can be asked for than is there."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.left = stream, size

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.left:
            msg = f"{size} bytes are declared where {self.left} are left"
            raise ValueError(msg)
        self.left -= size
        return self.stream.read(size)

    def readline(self) -> bytes:
        line = self.stream.readline(min(LINE, self.left))
        self.left -= len(line)
        return line


def _last(stack: list[Any], count: int) -> tuple[Any, ...]:
    if len(stack) < count:
        msg = "an operation lacks its values"
        raise ValueError(msg)
    return tuple(stack[len(stack) - count :])


def _append(stack: list[Any], items: list[Any]) -> None:
    _of_type(stack[-1], list).extend(items)


def _set_items(stack: list[Any], items: list[Any]) -> None:
    target = _of_type(stack[-1], dict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        # a nested tuple takes exponential time to hash: keys are plain
        target[_of_type(key, *DATA)] = value


def _add_items(stack: list[Any], items: list[Any]) -> None:
    _of_type(stack[-1], set).update(_of_type(item, *DATA) for item in items)


LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
}
SIZES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PAIRS = {"APPEND": 1, "SETITEM": 2}
# What is done with all that was put on the stack since a mark.
GATHERERS: dict[str, Callable[[list[Any], list[Any]], None]] = {
    "TUPLE": lambda stack, items: stack.append(tuple(items)),
    "FROZENSET": lambda stack, items: stack.append(frozenset(_of_type(i, *DATA) for i in items)),
    "APPENDS": _append,
    "SETITEMS": _set_items,
    "ADDITEMS": _add_items,
}


def _of_type(value: Any, *kinds: type) -> Any:
    """Return `value` if it is of exactly one of these types, or derived from NumPy's scalar."""
    if type(value) in kinds or (np.generic in kinds and isinstance(value, np.generic)):
        return value
    msg = f"{type(value).__name__} where {kinds[0].__name__} belongs"
    raise ValueError(msg)


def _look_up(module: str, attribute: str) -> Name:
    dotted = f"{_of_type(module, str)}.{_of_type(attribute, str)}"
    alike = re.sub(r"^numpy\._core\.", "numpy.core.", re.sub("^__builtin__", "builtins", dotted))
    if alike not in MAKERS:
        shown = dotted if dotted.isprintable() else ascii(dotted)
        msg = f"names {shown[:100]}, which is no plain array and is never run"
        raise DamagedError(msg)
    return Name(alike)


def _reduce(stack: list[Any]) -> int:
    """Make what a name stands for of its arguments; return how many bytes that took."""
    name, arguments = _last(stack, 2)
    value = MAKERS[_of_type(name, Name).dotted](*_of_type(arguments, tuple))
    stack[-2:] = [value]
    return sys.getsizeof(value)


def _build(stack: list[Any], memo: dict[int, Any]) -> int:
    """Give an unbuilt array or type its content, wherever it was noted meanwhile."""
    target, state = _last(stack, 2)
    value = _of_type(target, Unbuilt).build(_of_type(state, tuple))
    stack[-2:] = [value]
    for place in target.places:
        memo[place] = value
    return getattr(value, "nbytes", 0)


def _array(kind: Any, shape: Any, code: Any) -> Unbuilt:
    del shape, code  # of the empty array that numpy makes first
    if kind != Name("numpy.ndarray"):
        msg = "an array of an unknown class"
        raise ValueError(msg)
    return Unbuilt(_fill_array)


def _fill_array(state: tuple[Any, ...]) -> np.ndarray:
    version, shape, dtype, fortran, content = state
    del version
    order = "F" if _of_type(fortran, bool, int) else "C"
    if _of_type(dtype, type(np.dtype(object)), *PLAIN_DTYPES).hasobject:
        array = np.empty(len(_of_type(content, list)), object)
        for place, item in enumerate(content):
            array[place] = item
        _count(shape, array.size)
        return np.reshape(array, shape, "F" if order == "F" else "C")
    return _from_buffer(content, dtype, shape, order)


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    raw = _of_type(content, bytes, bytearray, str)
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw  # the bytes of Python 2
    plain = _of_type(dtype, *PLAIN_DTYPES)
    count = _count(shape, len(raw) // plain.itemsize)
    if count * plain.itemsize != len(raw):
        msg = f"{len(raw)} bytes for an array of {shape} {plain}"
        raise ValueError(msg)
    array = np.frombuffer(raw, plain) if count else np.empty(0, plain)
    array.flags.writeable = False
    return array.reshape(shape, order="F" if order == "F" else "C")


def _count(shape: Any, expected: int) -> int:
    """Return the number of values of a shape, which must be the one expected."""
    count = math.prod(_of_type(size, int) for size in _of_type(shape, tuple))
    if count != expected or min(shape, default=0) < 0 or max(shape, default=0) > 2**40:
        msg = f"{expected} values for an array of shape {shape}"
        raise ValueError(msg)
    return count


def _dtype(code: Any, *rest: Any) -> Unbuilt:
    del rest  # whether to align and to copy
    if not PLAIN_TYPE.fullmatch(_of_type(code, str)):
        msg = f"values of type {code[:40]!r}"
        raise ValueError(msg)
    plain = np.dtype(code)

    def build(state: tuple[Any, ...]) -> np.dtype:
        if any(part is not None for part in state[2:5]):  # of a structured type
            msg = f"values of a structured type {code!r}"
            raise ValueError(msg)
        order = _of_type(state[1], str)
        return plain.newbyteorder(order) if order in ("<", ">", "=") else plain

    return Unbuilt(build)


def _scalar(dtype: Any, content: Any) -> np.generic:
    return _from_buffer(content, dtype, (1,), "C")[0]


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        msg = f"text encoded as {encoding!r}"
        raise ValueError(msg)
    return _of_type(text, str).encode("latin-1")


def _members(*arguments: Any) -> list[Any]:
    (items,) = arguments or ([],)
    return [_of_type(item, *DATA) for item in _of_type(items, list, tuple)]


def _bytes(content: Any = b"", encoding: Any = "latin-1") -> bytes:
    return _encode(content, encoding) if type(content) is str else _of_type(content, bytes)


def _nothing(*arguments: Any) -> None:
    msg = "an array is called for its class alone"
    raise ValueError(msg)


PLAIN_DTYPES = tuple(type(np.dtype(code)) for code in (*"?bhilqBHILQefdFDSU",))
# What a pickle may name, as Python 3 and NumPy 1 call it, and what is done instead of calling it.
MAKERS: dict[str, Callable[..., Any]] = {
    "numpy.core.multiarray._reconstruct": _array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy.ndarray": _nothing,
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.set": lambda *arguments: set(_members(*arguments)),
    "builtins.frozenset": lambda *arguments: frozenset(_members(*arguments)),
    "builtins.complex": lambda real, imaginary: complex(
        _of_type(real, float), _of_type(imaginary, float)
    ),
}
