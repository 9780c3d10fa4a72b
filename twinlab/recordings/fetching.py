"""Public recordings are fetched: whole, checked, in parallel, and to be stopped at any time.

A file that stands in its place is whole; what is on its way lies in a hidden folder beside.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from twinlab.jobs import Job
from twinlab.recordings.fetched import cache_folder, files_by_hand
from twinlab.recordings.manifests import (
    Manifest,
    ManifestFile,
    describe_recording,
    files_of_session,
)
from twinlab.schema import InputError

__all__ = ["FetchSettings", "fetch_recording"]


@dataclass(frozen=True)
class FetchSettings:
    """How patiently files are fetched.

    Attributes
    ----------
    n_parallel : int
        Files on their way at a time.
    n_try : int
        Attempts in a row that may bring nothing before a file is given up.
    connect_timeout_s, stall_timeout_s : float
        Seconds without a connection, or without a byte, after which an attempt has failed.
    backoff_s, longest_wait_s : float
        Wait before the second attempt in seconds, doubled before each further one, and the
        most that is waited, also where the host asks for more.

    """

    n_parallel: int = 3
    n_try: int = 5
    connect_timeout_s: float = 10.0
    stall_timeout_s: float = 30.0
    backoff_s: float = 1.0
    longest_wait_s: float = 120.0

    @property
    def timeout(self) -> tuple[float, float]:
        """As `requests` takes it."""
        return self.connect_timeout_s, self.stall_timeout_s


def fetch_recording(
    name: str,
    folder: str | PathLike[str] | None = None,
    *,
    session: str | None = None,
    settings: FetchSettings | None = None,
    job: Job | None = None,
) -> list[Path]:
    """Download the files of a public recording; what is already there is checked and kept.

    A file that broke off is continued where the host allows it, also by a later process. A
    file whose checksum is published must have it; the checksum of any other is recorded in
    `checksums.json` beside it when it is first fetched, and compared ever after. A file that
    was put in its place by hand is taken like a fetched one.

    Parameters
    ----------
    name : str
        One of `list_recordings`.
    folder : path, optional
        Where to put them. By default a folder of the user's cache, where
        `open_recording` finds them by name.
    session : str, optional
        Fetch what this session needs; all by default.
    settings : FetchSettings, optional
    job : Job, optional
        Reports the share of bytes. Cancelled, it leaves parts that the next call continues.

    Returns
    -------
    list of Path
        The files, in the manifest's order; none of a recording that is simulated.

    Raises
    ------
    InputError
        If the name or session is unknown, the disk too small, a host not reached, or what it
        sent is not the file that was expected; or if a file can be had by hand alone. Says
        what to put where.

    """
    job, settings = job or Job(), settings or FetchSettings()
    manifest = describe_recording(name)
    target = cache_folder(name) if folder is None else Path(folder).expanduser()
    files = files_of_session(manifest, session)
    if manifest.layout == "simulated":
        return []
    if target.exists() and not target.is_dir():
        msg = f"{target}: is a file; name a folder to put {name} into."
        raise InputError(msg)
    if not files:
        by_hand = files_by_hand(target)
        files = tuple(ManifestFile(path.relative_to(target).as_posix(), None) for path in by_hand)
    missing = [file for file in files if not (target / file.name).is_file()]
    if not files or any(file.url is None for file in missing):
        raise InputError(_by_hand(manifest, target, missing))
    target.mkdir(parents=True, exist_ok=True)
    # Loaded here: `requests` takes a tenth of a second, and opening a recording needs none.
    from twinlab.recordings.transfers import WORKPLACE, Transfers

    with _held(target / WORKPLACE, job):
        transfers = Transfers(manifest, target, files, settings, job)
        transfers.check_space()
        transfers.run()
    return [target / file.name for file in files]


@contextmanager
def _held(workplace: Path, job: Job) -> Iterator[None]:
    """Keep other processes from fetching into the same folder; wait for one that does."""
    from filelock import FileLock, Timeout

    workplace.mkdir(exist_ok=True)
    lock = FileLock(workplace / "lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            job.report(0, f"waiting for another fetch into {workplace.parent}")
            time.sleep(0.05)
    try:
        yield
    finally:
        lock.release()


def _by_hand(manifest: Manifest, target: Path, missing: Sequence[ManifestFile]) -> str:
    """What to download by hand, from where, and where to put it."""
    names = [file.name for file in missing if file.url is None]
    listing = manifest.listing
    where = f"{listing.url} ({listing.note})" if listing else manifest.homepage
    return (
        f"{manifest.name}: no address is known for {', '.join(names) or 'its files'}; download "
        f"what you need from {where}, put it into {target}, and run the same command again to "
        "have it checked."
    )
