"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

__all__ = ["is_busy", "keep_alone", "remove_unfinished", "write_whole"]

LOCK = ".lock"  # in a folder that one process at a time works in


@contextmanager
def write_whole(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a name beside `path` to write to; move it into place only if all went well.

    Works for a file and for a folder. A folder that is replaced is first set aside,
    so that at every moment either the old or the new one is whole.

    Parameters
    ----------
    path : path
        Where the finished file or folder shall stand. Its parent is made if needed.

    Raises
    ------
    IsADirectoryError
        If a file is written and `path` is a folder.

    Yields
    ------
    Path
        A fresh name in the same folder (nothing exists there yet).

    """
    path = Path(path).expanduser().resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    partial, replaced = workplace / path.name, workplace / "replaced"
    try:
        yield partial
        if path.is_dir():
            if not partial.is_dir():  # somebody's folder is not ours to replace by a file
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            os.replace(path, replaced)
        os.replace(partial, path)
    except BaseException:
        if replaced.exists() and not path.exists():
            os.replace(replaced, path)
        raise
    finally:
        _remove(workplace)


@contextmanager
def keep_alone(folder: str | PathLike[str]) -> Iterator[None]:
    """Keep other processes, and threads, from a folder while the block runs.

    The lock ends with its process, however that ends.

    Raises
    ------
    BlockingIOError
        If another one works in the folder.

    """
    from filelock import FileLock, Timeout  # later: importing this room must stay cheap

    lock = FileLock(Path(folder) / LOCK)
    try:
        lock.acquire(timeout=0.5)  # `is_busy` holds it for a moment
    except Timeout as error:
        msg = f"{folder}: another process is working here; wait for it, or stop it."
        raise BlockingIOError(msg) from error
    try:
        yield
    finally:
        lock.release()


def is_busy(folder: str | PathLike[str]) -> bool:
    """Tell whether somebody is inside `keep_alone` of a folder."""
    from filelock import FileLock, Timeout

    if not (Path(folder) / LOCK).exists():
        return False
    try:
        with FileLock(Path(folder) / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # where nobody may write, nobody works
        return False


def remove_unfinished(folder: str | PathLike[str]) -> None:
    """Remove what killed processes were writing with `write_whole` anywhere in a folder.

    Only where nobody else is writing there.
    """
    for path in list(Path(folder).rglob(".*.????????")):
        if path.is_dir():
            _remove(path)


def _remove(folder: Path, patience_s: float = 5.0) -> None:
    """Remove a folder into which threads of a library that failed may still be writing."""
    until = time.monotonic() + patience_s
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > until:
            return
        time.sleep(0.01)
