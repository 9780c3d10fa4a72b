"""What a word on the command line stands for: a recording, one of its sessions, a twin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

    from twinlab.jobs import Job
    from twinlab.simulation import SimulatedCortex
    from twinlab.twins import Twin

__all__ = ["open_source", "open_twin", "parse_source", "simulated_cortex", "write_code"]

# Rooms are imported inside functions: `twinlab --help` shall answer at once.


def parse_source(words: str) -> tuple[str, str | None]:
    """Split ``NAME_OR_PATH:SESSION`` where what precedes the colon is there, or known by name.

    Parameters
    ----------
    words : str
        As typed. A session may hold colons itself, and so may a path.

    Returns
    -------
    source : str
        A path or a name; all of the words where no colon does so.
    session : str or None

    """
    from twinlab.recordings import list_recordings

    known = list_recordings()
    ends = [place for place, letter in enumerate(words) if letter == ":" and place]
    for end in [len(words), *ends]:
        source = words[:end]
        if source in known or Path(source).expanduser().exists():
            return source, words[end + 1 :] or None
    return words, None


def open_source(words: str, job: Job | None = None) -> xr.Dataset:
    """Open a recording by path or name; `simulated` and `simulated-video` (`:SEED`) make one.

    `example` is that of the example twin.
    """
    from twinlab import recordings, simulation

    if words == "example":
        return simulation.record_example(job=job)
    cortex = simulated_cortex(words)
    if cortex is not None:
        return cortex.record(job=job)
    source, session = parse_source(words)
    return recordings.open_recording(source, session=session, job=job)


def open_twin(name: str) -> Twin:
    """Load a twin from its folder; `simulated` and `simulated-video` make the true one.

    `example` is the twin that comes with twinlab.
    """
    from twinlab import simulation, twins

    if name == "example":
        return simulation.load_example()
    cortex = simulated_cortex(name)
    return twins.load_twin(name) if cortex is None else cortex.as_twin()


def write_code(twin: str, recording: str, *, first: bool) -> str:
    """Python that opens what was named on the command line, as `twin` and `recording`.

    Parameters
    ----------
    twin, recording : str
        As for `open_twin` and `open_source`; none where empty.
    first : bool
        Whether the twin is an ensemble of which the first of the `members` is meant.

    """
    opened = "members = list({}.members)\ntwin = members[0]" if first else "twin = {}"
    lines = []
    if twin == "example":
        lines += ["from twinlab import simulation", opened.format("simulation.load_example()")]
    elif cortex := _parse_cortex(twin):
        lines += [_write_cortex(*cortex), "twin = cortex.as_twin()"]
    elif twin:
        lines.append(opened.format(f"twins.load_twin({twin!r})"))
    if recording == "example":
        lines += ["from twinlab import simulation", "recording = simulation.record_example()"]
    elif cortex := _parse_cortex(recording):
        lines += [_write_cortex(*cortex), "recording = cortex.record()"]
    elif recording:
        source, session = parse_source(recording)
        chosen = f", session={session!r}" if session else ""
        lines.append(f"recording = recordings.open_recording({source!r}{chosen})")
    return "\n".join(dict.fromkeys(lines))  # what twin and recording share is written once


def _write_cortex(kind: type[SimulatedCortex], seed: int) -> str:
    name = kind.__name__
    return f"from twinlab.simulation import {name}\ncortex = {name}({seed})"


def simulated_cortex(name: str) -> SimulatedCortex | None:
    """The cortex that `simulated` or `simulated-video`, with a seed behind a colon, names."""
    named = _parse_cortex(name)
    if named is None:
        return None
    kind, seed = named
    return kind(seed)


def _parse_cortex(name: str) -> tuple[type[SimulatedCortex], int] | None:
    from twinlab.schema import InputError

    head, _, seed = name.partition(":")
    if head not in ("simulated", "simulated-video"):
        return None
    if seed and not seed.isdigit():
        msg = f"{name}: the seed after `{head}:` must be a whole number, but is {seed!r}."
        raise InputError(msg)
    from twinlab.simulation import SimulatedCortex, SimulatedVideoCortex

    return SimulatedCortex if head == "simulated" else SimulatedVideoCortex, int(seed or 0)
