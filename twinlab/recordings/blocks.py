"""Arrays that are read a block of rows at a time, so that a recording may exceed the memory."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np

__all__ = ["lazy_rows", "rows_in_block"]

BLOCK_BYTES = 2**25  # of one block, unless a single row is larger


def lazy_rows(
    read: Callable[[int, int], np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype | type,
    step: int | None = None,
) -> da.Array:
    """Array that calls ``read(start, stop)`` for its rows when it is computed.

    Parameters
    ----------
    read : callable
        First row and one past the last -> ndarray of shape (stop - start, *shape[1:]). It is
        called from several threads, and opens and closes whatever file it reads.
    shape : tuple of int
    dtype : dtype
        What `read` gives is cast to it.
    step : int, optional
        Rows of a block, where reading takes more memory than the rows themselves.

    Returns
    -------
    dask.array.Array
        In chunks of some 32 MB along the first axis.

    """
    if 0 in shape:
        return da.zeros(shape, dtype=dtype, chunks=shape)
    step = step or rows_in_block(shape, dtype)
    sizes = [min(step, shape[0] - start) for start in range(0, shape[0], step)]

    def block(block_info: Any = None) -> np.ndarray:
        start, stop = block_info[None]["array-location"][0]
        return np.asarray(read(start, stop), dtype)

    return da.map_blocks(
        block,
        chunks=(tuple(sizes), *((size,) for size in shape[1:])),
        dtype=dtype,
        meta=np.empty((0,) * len(shape), dtype),
        name=f"rows-{uuid.uuid4().hex}",  # a name of its own: closures cannot be told apart
    )


def rows_in_block(shape: tuple[int, ...], dtype: np.dtype | type) -> int:
    """How many rows of an array are read at once."""
    row = math.prod(shape[1:]) * np.dtype(dtype).itemsize
    return max(1, min(shape[0], BLOCK_BYTES // max(row, 1)))
