"""A selection of neurons in a few letters, for the address of a page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from twinlab.schema import InputError

__all__ = ["read_positions", "write_positions"]

MOST_LETTERS = 1500  # of an address that every browser and chat program carries


def write_positions(positions: Sequence[int]) -> str:
    """Write positions as ranges, ``0-4,9``; empty where there are too many to write.

    Parameters
    ----------
    positions : sequence of int
        In any order.

    """
    runs = []
    for _, run in groupby(enumerate(sorted(set(positions))), lambda pair: pair[1] - pair[0]):
        members = [position for _, position in run]
        last = f"-{members[-1]}" if len(members) > 1 else ""
        runs.append(f"{members[0]}{last}")
    words = ",".join(runs)
    return words if len(words) <= MOST_LETTERS else ""


def read_positions(words: str, n_neuron: int) -> list[int]:
    """Read what `write_positions` wrote.

    Parameters
    ----------
    words : str
    n_neuron : int
        Positions lie below.

    Returns
    -------
    list of int
        Ascending.

    Raises
    ------
    InputError
        If it is not written so, or names a neuron that is not there.

    """
    positions: set[int] = set()
    for run in filter(None, words.split(",")):
        first, dash, last = run.partition("-")
        last = last if dash else first
        if not (first.isascii() and first.isdecimal() and last.isascii() and last.isdecimal()):
            msg = f"Neurons are written as 0-4,9, but the link has {run[:20]!r}; choose them anew."
            raise InputError(msg)
        start, stop = int(first), int(last)
        if stop >= n_neuron or start > stop:
            msg = f"The link selects neuron {run}, but there are 0 to {n_neuron - 1}."
            raise InputError(msg)
        positions.update(range(start, stop + 1))
    return sorted(positions)
