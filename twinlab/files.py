"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

__all__ = ["write_whole"]


@contextmanager
def write_whole(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a name beside `path` to write to; move it into place only if all went well.

    Works for a file and for a folder. A folder that is replaced is first set aside,
    so that at every moment either the old or the new one is whole.

    Parameters
    ----------
    path : path
        Where the finished file or folder shall stand. Its parent is made if needed.

    Yields
    ------
    Path
        A fresh name in the same folder (nothing exists there yet).

    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    partial = workplace / path.name
    try:
        yield partial
        if path.is_dir() and not path.is_symlink():
            os.replace(path, workplace / "replaced")
        os.replace(partial, path)
    finally:
        _remove(workplace)


def _remove(folder: Path, patience_s: float = 5.0) -> None:
    """Remove a folder into which threads of a library that failed may still be writing."""
    until = time.monotonic() + patience_s
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > until:
            return
        time.sleep(0.01)
