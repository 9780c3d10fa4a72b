"""Files of one recording on their way: several at a time, checked, and stopped at once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlab.files import write_whole
from twinlab.jobs import Job
from twinlab.recordings.downloading import (
    Download,
    Stopped,
    Unreachable,
    open_session,
    size_at_host,
)
from twinlab.recordings.fetched import CHECKSUMS, read_checksums
from twinlab.recordings.kinds import Refused, check_kind
from twinlab.recordings.manifests import Manifest, ManifestFile
from twinlab.schema import InputError

if TYPE_CHECKING:
    from twinlab.recordings.fetching import FetchSettings

__all__ = ["WORKPLACE", "Transfers"]

WORKPLACE = ".fetching"  # parts of files, the lock, and what pooch puts aside
LOOK_S = 0.05  # how often progress and cancel are looked at
PATIENCE_S = 1.0  # how long threads that were told to stop are waited for


class Transfers:
    """The files of one call, worked at by threads that share what they know."""

    def __init__(
        self,
        manifest: Manifest,
        target: Path,
        files: Sequence[ManifestFile],
        settings: FetchSettings,
        job: Job,
    ) -> None:
        self.manifest, self.target, self.files = manifest, target, files
        self.settings, self.job = settings, job
        self.workplace = target / WORKPLACE
        self.first = read_checksums(target)  # as recorded at the first fetch
        self.stop = threading.Event()
        self.unreachable = False
        self.downloads: list[Download] = []
        self.expected: dict[str, int | None] = {}  # bytes
        self.before: dict[str, int] = {}  # bytes that earlier calls left
        self.done: dict[str, int] = {}
        for path in self.workplace.rglob("*"):  # what a killed process left, but for its parts
            if path.is_file() and not path.name.endswith((".part", ".part.json", "lock")):
                path.unlink()
        for file in files:
            path = target / file.name
            self.expected[file.name] = path.stat().st_size if path.is_file() else file.size
            part = self._part(file)
            self.before[file.name] = part.stat().st_size if part.is_file() else 0

    def check_space(self) -> None:
        """Ask the hosts for sizes the manifest lacks, and see that all will fit."""
        unknown = [file for file in self.files if self.expected[file.name] is None]
        names = ", ".join(file.name for file in self.files[:1])
        self.job.report(0, f"fetching {names if len(self.files) == 1 else len(self.files)}")
        with open_session() as session:

            def ask(file: ManifestFile) -> None:
                if self.unreachable or file.url is None:
                    return
                try:
                    self.expected[file.name] = size_at_host(session, file.url, self.settings)
                except Unreachable:  # the downloads will say so
                    self.unreachable = True

            _in_parallel(
                ask,
                unknown,
                self.settings.n_parallel,
                lambda outcomes: self.job.check(),
                lambda: setattr(self, "unreachable", True),  # ask no more
            )
        self.unreachable = False
        absent = [file.name for file in self.files if not (self.target / file.name).is_file()]
        need = sum(max(0, (self.expected[name] or 0) - self.before[name]) for name in absent)
        free = shutil.disk_usage(self.target).free
        if need > free:
            msg = (
                f"{self.manifest.name}: needs {need / 1e9:.1f} GB in {self.target}, where "
                f"{free / 1e9:.1f} GB are free; free some, name another folder, or fetch one "
                "session."
            )
            raise InputError(msg)

    def run(self) -> None:
        """Check what is there and fetch what is not; raise one error for all that failed."""
        outcomes = _in_parallel(
            self._obtain, self.files, self.settings.n_parallel, self._look, self._give_up
        )
        self._record(outcomes)
        failed = [
            (file, outcomes[i])
            for i, file in enumerate(self.files)
            if isinstance(outcomes[i], Exception)
        ]
        told = [error for _, error in failed if not isinstance(error, Stopped)]
        if told:
            if not isinstance(told[0], InputError):
                raise told[0]
            more = [file.name for file, error in failed if error is not told[0]]
            rest = f" Not fetched either: {', '.join(more)}." if more else ""
            msg = f"{told[0]}{rest}"
            raise InputError(msg) from told[0]
        self.job.report(1, "fetched")

    def _give_up(self) -> None:
        self.stop.set()
        for download in self.downloads:
            download.interrupt()

    def _obtain(self, file: ManifestFile) -> dict[str, Any]:
        """Have one file whole and as it should be; what is to be recorded of it."""
        path = self.target / file.name
        if path.is_file():
            digest = self._digest(path)
            wrong = self._differs(file, digest)
            try:
                check_kind(path, file.name)
            except Refused as error:
                wrong = str(error)
            if wrong:
                msg = f"{self.manifest.name}: {path}: {wrong}; move it away and fetch again."
                raise InputError(msg)
            return {"sha256": digest, "size": path.stat().st_size}
        if self.unreachable:
            raise Stopped
        try:
            digest = self._download(file, path)
        except Refused as error:
            self.unreachable |= isinstance(error, Unreachable)
            msg = (
                f"{self.manifest.name}: {file.url} could not be fetched: {error}. Run the same "
                f"command again to go on, or download it by hand (see {self.manifest.homepage}) "
                f"and put it at {path}."
            )
            raise InputError(msg) from error
        return {"sha256": digest, "size": path.stat().st_size}

    def _download(self, file: ManifestFile, path: Path) -> str:
        import pooch

        def hear(n_byte: int) -> None:
            self.done[file.name] = n_byte
            self.expected[file.name] = download.total or self.expected[file.name]

        pooch.get_logger().setLevel("WARNING")  # the job tells what is going on
        with open_session() as session:
            part = self._part(file)
            download = Download(session, part, file.size, self.settings, self.stop, hear)
            self.downloads.append(download)
            cache = pooch.create(
                path=self.workplace,
                base_url="",
                registry={file.name: None},  # sums are made on the way, see `Download.sha256`
                urls={file.name: file.url},
            )
            whole = Path(cache.fetch(file.name, downloader=download))
        try:
            check_kind(whole, file.name)
            if wrong := self._differs(file, download.sha256):
                raise Refused(wrong)
        except Refused:
            whole.unlink()
            raise
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(whole, path)
        return download.sha256

    def _differs(self, file: ManifestFile, digest: str) -> str:
        """How a file differs from what it must be; empty if it does not."""
        if file.sha256 not in (None, digest):
            return f"its sha256 is {digest}, where {file.sha256} is published"
        first = self.first.get(file.name, {}).get("sha256")
        if first not in (None, digest):
            return (
                f"its sha256 is {digest}, where {first} was recorded at the first fetch "
                f"({self.target / CHECKSUMS}: delete it there if the change is meant)"
            )
        return ""

    def _digest(self, path: Path) -> str:
        digest = hashlib.sha256()
        name = path.relative_to(self.target).as_posix()
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                if self.stop.is_set():
                    raise Stopped
                digest.update(chunk)
                self.done[name] = self.done.get(name, 0) + len(chunk)
        return digest.hexdigest()

    def _part(self, file: ManifestFile) -> Path:
        return self.workplace / f"{file.name}.part"

    def _look(self, outcomes: dict[int, Any]) -> None:
        """Report, record and be cancelled, while the threads work."""
        self._record(outcomes)
        known = {name: size for name, size in self.expected.items() if size is not None}
        usual = sum(known.values()) / len(known) if known else 0
        whole = sum(known.get(name, usual) - self.before[name] for name in self.expected)
        come = sum(max(0, done - self.before[name]) for name, done in list(self.done.items()))
        fraction = come / whole if whole > 0 else len(outcomes) / len(self.files)
        where = (
            self.files[0].name
            if len(self.files) == 1
            else f"{len(outcomes)} of {len(self.files)} files"
        )
        self.job.report(min(fraction, 1), f"{where}, {come / 1e6:.1f} of {whole / 1e6:.1f} MB")

    def _record(self, outcomes: dict[int, Any]) -> None:
        """Keep the checksums of files that are seen for the first time."""
        new = {
            self.files[i].name: outcome
            for i, outcome in list(outcomes.items())
            if isinstance(outcome, dict) and self.files[i].name not in self.first
        }
        if new:
            self.first |= new
            with write_whole(self.target / CHECKSUMS) as path:
                path.write_text(json.dumps(self.first, indent=1, sort_keys=True) + "\n")


def _in_parallel(
    work: Callable[[Any], Any],
    items: Sequence[Any],
    n_thread: int,
    look: Callable[[dict[int, Any]], None],
    give_up: Callable[[], None],
) -> dict[int, Any]:
    """Outcome of `work` for each item: what it returned, or the exception it raised.

    `look` is called with the outcomes so far again and again. What it raises is raised here,
    after `give_up` has told the threads; one that waits for a host's first word is left to end
    by itself.
    """
    outcomes: dict[int, Any] = {}
    waiting = iter(enumerate(items))
    turn = threading.Lock()

    def labour() -> None:
        while True:
            with turn:
                i, item = next(waiting, (-1, None))
            if i < 0:
                return
            try:
                outcomes[i] = work(item)
            except Exception as error:  # noqa: BLE001 - for whoever reads the outcomes
                outcomes[i] = error

    threads = [
        threading.Thread(target=labour, name=f"fetch-{i}", daemon=True)
        for i in range(min(n_thread, len(items)))
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                look(outcomes)
                thread.join(LOOK_S)
        look(outcomes)
    except BaseException:
        give_up()
        for thread in threads:
            thread.join(PATIENCE_S / len(threads))
        raise
    return outcomes
