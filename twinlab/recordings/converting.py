"""Any source of a recording -> a Zarr store; goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import xarray as xr

from twinlab import __version__
from twinlab.files import write_whole
from twinlab.jobs import Cancelled, Job
from twinlab.recordings.chunks import write_chunks
from twinlab.recordings.drawing import check_fractions
from twinlab.recordings.opening import (
    choose_neurons,
    locate_source,
    read_layout,
    refuse_faults,
    warn_of_cautions,
)
from twinlab.recordings.splitting import split_recording
from twinlab.recordings.store import check_target, is_store, open_store
from twinlab.schema import InputError, make_recording

__all__ = ["convert_recording"]

READING = 0.5  # share of the work that is done when the source has been read through


def convert_recording(
    source: str | PathLike[str],
    target: str | PathLike[str],
    job: Job | None = None,
    *,
    session: str | None = None,
    fractions: Sequence[float] | None = None,
    seed: int = 0,
) -> Path:
    """Write a recording to a Zarr store, which opens many times faster.

    The source is read through for faults first, then read again and written block by block, so
    that memory does not grow with it. Stopped or killed, a conversion leaves its finished blocks
    in ``<target>.parts``; the next one of the same source takes them up. `target` appears when
    it is whole.

    Parameters
    ----------
    source : path or str
        As for `open_recording`; a store is written anew.
    target : path
        The store; replaced if there is one.
    job : Job, optional
    session : str, optional
        Which session, where the source has several.
    fractions : sequence of 3 float, optional
        Shares of training, validation and test, if the images or videos are to be divided anew
        by `split_recording`: many sources have no validation trials, without which nothing can
        be fitted.
    seed : int
        Of that division.

    Returns
    -------
    Path
        The store.

    Raises
    ------
    InputError
        As `open_recording` and `save_recording` do; then nothing is left behind.
    Cancelled
        If the job was cancelled.

    """
    job, target = job or Job(), Path(target)
    path, session = locate_source(source, session)
    if fractions is not None:
        check_fractions(fractions)  # before the source is read through
    recording, check = _open_source(path, session, job.part(0, READING))
    if fractions is not None:
        recording = split_recording(recording, fractions=fractions, seed=seed)
    check_target(recording, target)
    with _resumable(target, _plan(path, recording)) as workplace:
        write_chunks(
            recording,
            workplace / "store",
            journal=workplace / "journal",
            check=check,
            job=job.part(READING, 1),
        )
        with write_whole(target) as partial:
            os.replace(workplace / "store", partial)
    return target


def _open_source(
    path: Path, session: str | None, job: Job
) -> tuple[xr.Dataset, Callable[[], None]]:
    """The recording, lazy where its layout allows; and what raises when it turns out faulty."""
    if is_store(path):
        return choose_neurons(path, open_store(path), session), lambda: None
    reading = read_layout(path, session, job, lazy=True)
    refuse_faults(path, reading)
    warn_of_cautions(path, reading)
    return make_recording(**reading.parts), lambda: refuse_faults(path, reading)


def _plan(path: Path, recording: xr.Dataset) -> str:
    """What is converted and how, in words: parts of another plan are of no use."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    state = hashlib.sha256()
    for file in files:
        stat = file.stat()
        state.update(f"{file} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    plan = {
        "source": str(path.resolve()),
        "files": state.hexdigest(),
        "recording": recording.attrs.get("recording_id", ""),
        "session": sorted(set(recording.session.values.astype(str).tolist())),
        "split_rule": recording.attrs.get("split_rule", ""),
        "twinlab_version": __version__,
    }
    return json.dumps(plan, indent=1)


@contextmanager
def _resumable(target: Path, plan: str) -> Iterator[Path]:
    """A folder beside the target that outlives a stop, but neither success nor failure."""
    folder = target.with_name(target.name + ".parts")
    mark = folder / "plan.json"
    if folder.exists() and not mark.is_file() and any(folder.glob("[!.]*")):
        msg = f"{folder}: holds something else than a conversion; move it away."
        raise InputError(msg)
    if not mark.is_file() or mark.read_text() != plan:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with write_whole(mark) as partial:
            partial.write_text(plan)
    try:
        yield folder
    except (Cancelled, KeyboardInterrupt):
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
