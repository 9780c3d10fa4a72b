"""What the address of a page says, and what is made of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any
from urllib.parse import parse_qsl, urlencode

import param
from panel.io.location import Location

from twinlab.schema import InputError

__all__ = ["Address", "read_positions", "write_positions"]

WRITE_MS = 250
MOST_LETTERS = 1500  # of an address that every browser and chat program carries


class Address:
    """The address of the page that is being served, and the parameters that are tied to it.

    It is written at most four times a second: each writing costs the browser as much as a figure.

    Parameters
    ----------
    location : panel.io.location.Location
    soon : callable
        Called with what is to be called once, after how many milliseconds.
    warn : callable
        Told what of an old link there is no more, and what is shown instead.

    """

    def __init__(
        self,
        location: Location,
        soon: Callable[[Callable[[], Any], int], Any],
        warn: Callable[[str, str], Any],
    ) -> None:
        self._location, self._soon, self._warn = location, soon, warn
        self._joined: list[tuple[param.Parameterized, dict[str, str]]] = []
        self._new: dict[str, str] = {}  # what is to be written, by its name in the address
        self._first = location.search
        self._location.param.watch(self._read, "search")

    def join(self, owner: param.Parameterized, names: Mapping[str, str]) -> None:
        """Set parameters to what the address says of them, and have it follow them from now on.

        Parameters
        ----------
        owner : param.Parameterized
        names : mapping of str to str
            What each of its parameters is called in the address.

        """
        self._joined.append((owner, dict(names)))
        self._take(owner, names)
        owner.param.watch(partial(self._follow, names), list(names))

    def _read(self, event: param.parameterized.Event) -> None:
        if event.new == self._first:
            # A browser repeats its address once it is connected, and with it what was wrong.
            self._location.search = event.old
        elif not self._new:  # else what is in the address is older than what is shown
            for owner, names in self._joined:
                self._take(owner, names)

    def _take(self, owner: param.Parameterized, names: Mapping[str, str]) -> None:
        """Set what the address says otherwise: all at once, or what can be of it."""
        said = self._said()
        values = {
            name: _meant(owner.param[name], said[key])
            for name, key in names.items()
            if key in said
        }
        values = {name: value for name, value in values.items() if value != getattr(owner, name)}
        try:
            owner.param.update(**values)
        except (TypeError, ValueError):
            for name, value in values.items():
                self._take_one(owner, name, value, names[name])

    def _take_one(self, owner: param.Parameterized, name: str, value: Any, key: str) -> None:
        try:
            setattr(owner, name, value)
        except (TypeError, ValueError):
            parameter = owner.param[name]
            bounds = parameter.bounds if isinstance(parameter, param.Number) else None
            known = f"; it goes from {bounds[0]} to {bounds[1]}" if bounds else ""
            asked = f"{name.replace('_', ' ')} {value}"
            self._warn(
                f"The link asks for {asked}, which is not here{known}",
                f"{getattr(owner, name)} is shown instead.",
            )
            self._write_soon({key: _written(owner, name)})

    def _follow(self, names: Mapping[str, str], *events: param.parameterized.Event) -> None:
        self._write_soon({names[event.name]: _written(event.obj, event.name) for event in events})

    def _write_soon(self, new: dict[str, str]) -> None:
        self._new |= new
        self._soon(self._write, WRITE_MS)

    def _write(self) -> None:
        # Counted as new until it is written, so that writing is no reason to read.
        self._location.search = "?" + urlencode(self._said() | self._new)
        self._new = {}

    def _said(self) -> dict[str, str]:
        """What the address says, by name, as it is written there."""
        return dict(parse_qsl(self._location.search[1:], keep_blank_values=True))


def _meant(parameter: param.Parameter, written: str) -> Any:
    """Value of a parameter that an address gives, or its word where it can be none."""
    if isinstance(parameter, param.String) or written in getattr(parameter, "objects", ()):
        return written  # though it may look like a number
    try:
        return parameter.deserialize(json.loads(written))
    except (TypeError, ValueError):
        return written


def _written(owner: param.Parameterized, name: str) -> str:
    value = owner.param[name].serialize(getattr(owner, name))
    return value if isinstance(value, str) else json.dumps(value)


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
