"""What a reader of a layout gives: parts of a recording, and everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from twinlab.jobs import Job

__all__ = ["Layout", "Notes", "Reading", "listed"]

SHOWN = 8  # names listed in one line before "and N more"


class Notes(dict[tuple[str, str], list[str]]):
    """Faults by place and kind, with the files concerned: a thousand alike are one line."""

    def add(self, place: str, fault: str, *which: str) -> None:
        """Note a fault at a place; `which` names what it concerns there."""
        self.setdefault((place, fault), []).extend(which)

    def lines(self) -> list[str]:
        """One line a fault."""
        return [
            f"{place}{': ' if which else ''}{listed(which)}: {fault}"
            for (place, fault), which in self.items()
        ]


@dataclass(frozen=True)
class Reading:
    """What was read and what is wrong with it.

    Attributes
    ----------
    parts : dict
        Arguments for `schema.make_recording`; of use only where there are no `faults`.
        `stimulus`, `response`, `behavior` and `pupil_center` may be dask arrays with chunks
        along their first axis, which are read when they are computed.
    faults : Notes
        What keeps it from being a recording. Lazy parts add to it as they are read.
    cautions : Notes
        What is usable but would mislead.

    """

    parts: dict[str, Any]
    faults: Notes = field(default_factory=Notes)
    cautions: Notes = field(default_factory=Notes)


class Layout(NamedTuple):
    """How a public layout is told, what sessions it holds, and how one of them is read.

    Attributes
    ----------
    recognise : callable
        Path -> whether it holds this layout, by content, in milliseconds; never raises for a
        path that exists, whatever is in it.
    list_sessions : callable
        Path -> names of the sessions in it, at least one. Raises `InputError` if it is damaged
        beyond that.
    read : callable
        Path, session and `Job` -> `Reading`. Raises `InputError` if nothing can be read at all.
    read_lazily : callable, optional
        As `read`, for conversion: of parts that are read again, some rows at a time, when they
        are computed, so that a recording never lies in memory. Where `read` does that already,
        or recordings are small, there is none.

    """

    recognise: Callable[[Path], bool]
    list_sessions: Callable[[Path], list[str]]
    read: Callable[[Path, str, Job], Reading]
    read_lazily: Callable[[Path, str, Job], Reading] | None = None


def listed(which: list[str]) -> str:
    """Names, the first few of many."""
    more = f" and {len(which) - SHOWN} more" if len(which) > SHOWN else ""
    return ", ".join(which[:SHOWN]) + more
