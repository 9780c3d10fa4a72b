"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
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
        shutil.rmtree(workplace, ignore_errors=True)
