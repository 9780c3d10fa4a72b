"""Go through an HDF5 file and die of it, if it must be: run as a script, in a process of its own.

A damaged file can end or stall libhdf5, and with it whatever program has loaded it. Here every
object is looked at the way the readers do, so that they need not fear the file: attributes, text
and references are read, and of other values the first and last rows. What Python can report is
passed over: the reader will say it better. Says first that it has begun, so that a Python that
cannot run this is not taken for a damaged file, and exits with 0 if it comes through.
"""

from __future__ import annotations

import faulthandler
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import h5py

PATIENCE_S = 5.0  # for one object
LARGEST = 2**24  # bytes of values that are looked at
DEEPEST = 16
READY = b"ready"


def probe(path: str) -> None:
    """Look at every object of a file."""
    with open(os.devnull, "w") as nowhere, suppress(Exception), h5py.File(path, "r") as file:
        for node in _walk(file, 0):
            faulthandler.dump_traceback_later(PATIENCE_S, exit=True, file=nowhere)
            for name in _try(list, node.attrs) or []:
                _try(node.attrs.__getitem__, name)
            if isinstance(node, h5py.Dataset):
                _try(_touch, node)


def _try(look: Callable[..., Any], *arguments: Any) -> Any:
    with suppress(Exception):
        return look(*arguments)
    return None


def _walk(group: h5py.Group, depth: int) -> Iterator[Any]:
    yield group
    for name in _try(list, group) or []:
        hard = isinstance(_try(partial(group.get, getlink=True), name), h5py.HardLink)
        node = _try(group.__getitem__, name) if hard else None
        if isinstance(node, h5py.Group) and depth < DEEPEST:
            yield from _walk(node, depth + 1)
        elif isinstance(node, h5py.Dataset):
            yield node


def _touch(dataset: h5py.Dataset) -> None:
    """Read what a reader might; of large values the ends."""
    if dataset.external or dataset.is_virtual or dataset.shape is None:
        return
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    if size <= LARGEST and (dataset.dtype.hasobject or not dataset.shape):
        for item in getattr(dataset[()], "flat", []):
            if isinstance(item, h5py.Reference):
                _try(dataset.file.__getitem__, item)
    elif dataset.shape and size and size // dataset.shape[0] <= LARGEST:
        dataset[0]
        dataset[-1]


if __name__ == "__main__":
    os.write(1, READY)
    probe(sys.argv[1])
