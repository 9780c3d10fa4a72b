"""What the address of a page says, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import panel as pn
import param

from twinlab.schema import InputError

__all__ = ["join_address", "read_positions", "write_positions"]

MOST_LETTERS = 1500  # of an address that every browser and chat program carries


def join_address(
    owner: param.Parameterized, names: Mapping[str, str], warn: Callable[[str, str], Any]
) -> None:
    """Tie parameters to the address of the page that is being served, if one is.

    Parameters
    ----------
    owner : param.Parameterized
    names : mapping of str to str
        What each of its parameters is called in the address.
    warn : callable
        Told what of an old link there is no more, and what is shown instead.

    """
    location = pn.state.location
    if location is None:
        return

    def take_one_by_one(refused: dict[str, Any]) -> None:
        """Take what can be taken of a link where something cannot."""
        for name, value in refused.items():
            try:
                setattr(owner, name, value)
            except ValueError:
                bounds = getattr(owner.param[name], "bounds", None)
                known = f"; it goes from {bounds[0]} to {bounds[1]}" if bounds else ""
                warn(
                    f"The link asks for {name.replace('_', ' ')} {value}, which is not "
                    f"here{known}",
                    f"{getattr(owner, name)} is shown instead.",
                )
        location.update_query(**{names[name]: getattr(owner, name) for name in refused})

    location.sync(owner, dict(names), on_error=take_one_by_one)


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
