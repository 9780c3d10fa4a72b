"""Any source of a recording -> the Dataset, or everything that is wrong with it."""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path

import dask.array as da
import xarray as xr

from twinlab.jobs import Job
from twinlab.recordings.fetched import fetched_file, session_of_file
from twinlab.recordings.layouts import LAYOUTS
from twinlab.recordings.manifests import list_recordings, terms_of_session
from twinlab.recordings.reading import Layout, Reading
from twinlab.recordings.store import is_store, open_store
from twinlab.schema import InputError, fingerprint, is_lazy, make_recording

__all__ = [
    "SessionError",
    "choose_neurons",
    "locate_source",
    "open_recording",
    "read_layout",
    "refuse_faults",
    "warn_of_cautions",
]

SESSIONS_IN_ERROR = 10
FAULTS_IN_ERROR = 3  # more belong in a list, which `check_recording` gives


class SessionError(InputError):
    """Nothing is wrong with the source: it has several sessions, or others than the one named."""


def open_recording(
    source: str | PathLike[str],
    *,
    session: str | None = None,
    lazy: bool | None = None,
    job: Job | None = None,
) -> xr.Dataset:
    """Read a recording into memory, or leave it on the disk if it is large.

    Parameters
    ----------
    source : path or str
        A file or folder in one of the public layouts, a Zarr store made by `save_recording`,
        or the name of a public recording that was fetched. What a path holds is judged by its
        content, not by its name.
    session : str, optional
        Which session ("animal-session-scan"), where there are several. Of a public recording
        whose files have sessions of their own, the file's and its own with a slash between them
        ("501271265/natural_scenes"). Of a store that holds neurons of several, these neurons.
    lazy : bool, optional
        Whether what a store holds is left there, as dask arrays that are read where they are
        used. If absent, a store larger than a quarter of this machine's memory is. That all
        files of a lazy recording are there is seen when it is opened; their content is read and
        compared with the fingerprint by `check_recording` alone.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        As `twinlab.schema` describes it. Withheld responses, behaviour and pupil
        positions are NaN; the attribute `withheld` says which. A variable that the source
        lacks, or withholds altogether, is absent.

    Raises
    ------
    InputError
        Naming the first faults, if the source cannot be found or is damaged.

    Warns
    -----
    UserWarning
        If splits share images, or a presentation or image is listed twice.

    Examples
    --------
    >>> recording = open_recording("static20457-5-9-preproc0.zip")  # doctest: +SKIP
    >>> recording.response.sel(neuron=recording.layer == "L2/3")  # doctest: +SKIP

    """
    path, session = locate_source(source, session)
    if is_store(path):
        return choose_neurons(path, open_store(path, lazy=lazy), session)
    if lazy:
        msg = f"{path}: only a Zarr store can be left on the disk; convert the recording first."
        raise InputError(msg)
    reading = read_layout(path, session, job or Job())
    refuse_faults(path, reading)
    parts = {
        name: part.compute() if isinstance(part, da.Array) else part
        for name, part in reading.parts.items()
    }
    refuse_faults(path, reading)  # of what was lazy, too
    warn_of_cautions(path, reading)
    return make_recording(**parts)


def refuse_faults(path: Path, reading: Reading) -> None:
    """Raise `InputError` if anything that was read by now is at fault."""
    if reading.faults:
        msg = _first_of(path, reading.faults.lines())
        raise InputError(msg)


def warn_of_cautions(path: Path, reading: Reading) -> None:
    """Warn, in the name of the caller's caller, of what is usable but would mislead."""
    for caution in reading.cautions.lines():
        warnings.warn(f"{path}: {caution}; silence with warnings.filterwarnings.", stacklevel=3)


def read_layout(path: Path, session: str | None, job: Job, *, lazy: bool = False) -> Reading:
    """Read one session of whatever layout a file or folder holds.

    With `lazy`, its parts are read when they are computed, where its layout allows that.

    Raises
    ------
    InputError
        If no layout is recognised, or it holds several sessions and none is chosen.

    """
    layout = _layout_of(path)
    session = _choose_session(str(path), layout.list_sessions(path), session)
    read = layout.read_lazily if lazy and layout.read_lazily else layout.read
    reading = read(path, session, job)
    # a file of one experiment may call its parts sessions; its neurons say where they were seen
    experiment = next(iter(reading.parts.get("neuron", {}).get("session", ())), session)
    doi, license_ = terms_of_session(str(experiment))
    reading.parts.setdefault("source", doi)
    reading.parts.setdefault("license", license_)
    return reading


def _layout_of(path: Path) -> Layout:
    """Layout of a source; one that none recognises is left to the commonest to find fault with."""
    recognised = (known for known in LAYOUTS.values() if known.recognise(path))
    return next(recognised, LAYOUTS["sensorium-static"])


def _choose_session(source: str, known: list[str], session: str | None) -> str:
    if session is None and len(known) == 1:
        return known[0]
    if session is None:
        shown = ", ".join(known[:SESSIONS_IN_ERROR]) + (", ..." * (len(known) > SESSIONS_IN_ERROR))
        msg = (
            f"{source}: holds {len(known)} sessions; name one with `session`: {shown} (on the "
            f"command line {source}:{known[0]})."
        )
        raise SessionError(msg)
    if session not in known:
        msg = f"{source}: has no session {session}; it holds {', '.join(known)}."
        raise SessionError(msg)
    return session


def choose_neurons(path: Path, recording: xr.Dataset, session: str | None) -> xr.Dataset:
    """Neurons of one session of those in a store, and all trials; all neurons if none is named.

    Raises
    ------
    SessionError
        If the store holds no neurons of that session.

    """
    if session is None:
        return recording
    sessions = recording.session.values.astype(str)
    _choose_session(str(path), sorted(set(sessions.tolist())), session)
    if (sessions == session).all():
        return recording
    chosen = recording.isel(neuron=sessions == session)
    del chosen.attrs["fingerprint"]  # of another content
    if not is_lazy(chosen):
        chosen.attrs["fingerprint"] = fingerprint(chosen)
    return chosen


def locate_source(source: str | PathLike[str], session: str | None) -> tuple[Path, str | None]:
    """Path of the source, its own or where a public recording was put, and the session in it.

    Raises
    ------
    InputError
        If there is no such path, and no fetched recording of that name; or the recording's
        file has sessions of its own and none is named.

    """
    path = Path(source).expanduser()
    if path.exists():
        return path, session
    name, known = str(source), list_recordings()
    if name not in known:
        msg = (
            f"{source}: no such file, folder or recording; expected a path or one of "
            f"{', '.join(known)}."
        )
        raise InputError(msg)
    of_file, _, within = (session or "").partition("/")
    path = fetched_file(name, of_file or None)
    inside = _layout_of(path).list_sessions(path)
    if within or of_file in inside:
        return path, within or of_file
    own = session_of_file(name, path)
    sessions = [f"{own}/{each}" if own else each for each in inside]
    return path, inside[sessions.index(_choose_session(name, sessions, session))]


def _first_of(path: Path, faults: list[str]) -> str:
    """One line with the first faults and how to see the others."""
    more = len(faults) - FAULTS_IN_ERROR
    rest = f"; and {more} more; run `twinlab recordings check {path}`" if more > 0 else ""
    return f"{path}: " + "; ".join(faults[:FAULTS_IN_ERROR]) + rest + "."
