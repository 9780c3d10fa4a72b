"""What a word on the command line stands for: a recording, one of its sessions, a twin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

    from twinlab.jobs import Job
    from twinlab.simulation import SimulatedCortex
    from twinlab.twins import Twin

__all__ = ["open_source", "open_twin", "parse_source", "simulated_cortex"]

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
    """Open a recording by path or name; `simulated` and `simulated-video` (`:SEED`) make one."""
    from twinlab import recordings

    cortex = simulated_cortex(words)
    if cortex is not None:
        return cortex.record(job=job)
    source, session = parse_source(words)
    return recordings.open_recording(source, session=session, job=job)


def open_twin(name: str) -> Twin:
    """Load a twin from its folder; `simulated` and `simulated-video` make the true one."""
    from twinlab import twins

    cortex = simulated_cortex(name)
    return twins.load_twin(name) if cortex is None else cortex.as_twin()


def simulated_cortex(name: str) -> SimulatedCortex | None:
    """The cortex that `simulated` or `simulated-video`, with a seed behind a colon, names."""
    from twinlab.schema import InputError

    head, _, seed = name.partition(":")
    if head not in ("simulated", "simulated-video"):
        return None
    if seed and not seed.isdigit():
        msg = f"{name}: the seed after `{head}:` must be a whole number, but is {seed!r}."
        raise InputError(msg)
    from twinlab.simulation import SimulatedCortex, SimulatedVideoCortex

    return (SimulatedCortex if head == "simulated" else SimulatedVideoCortex)(int(seed or 0))
