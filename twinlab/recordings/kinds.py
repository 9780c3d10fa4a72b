"""Whether a file is of the kind that its name says, seen from how it begins and ends."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

__all__ = ["Refused", "check_beginning", "check_kind"]

# How a file of each kind begins. A login page that is sent in its place begins otherwise.
BEGINNINGS = {
    ".zip": b"PK",
    ".npz": b"PK",
    ".npy": b"\x93NUMPY",
    ".mat": b"MATLAB",
    ".nwb": b"\x89HDF",
    ".h5": b"\x89HDF",
}
WEB_PAGE = (b"<!doctype html", b"<html")


class Refused(Exception):  # noqa: N818 - an answer, not an accident
    """The file is not to be had by trying again."""


def check_beginning(name: str, start: bytes) -> None:
    """See that the first bytes of a file are those of its kind.

    Parameters
    ----------
    name : str
        Of the file; its suffix is its kind.
    start : bytes
        At least the first 16, where the file has as many.

    Raises
    ------
    Refused
        If they are another kind's, for instance those of a web page that asks for a login.

    """
    kind = PurePosixPath(name).suffix.lower()
    if start.lstrip()[:15].lower().startswith(WEB_PAGE) and kind not in (".html", ".htm"):
        msg = "it is a web page in place of the file; the host may ask for a login"
        raise Refused(msg)
    if not start.startswith(BEGINNINGS.get(kind, b"")):
        msg = f"it is not a {kind} file (it begins with {start[:8]!r})"
        raise Refused(msg)


def check_kind(path: Path, name: str) -> None:
    """See that a file on disk is what its name says.

    Raises
    ------
    Refused
        If it begins otherwise, or is a zip without its end.

    """
    with path.open("rb") as file:
        check_beginning(name, file.read(64))
    if path.suffix.lower() in (".zip", ".npz") and not zipfile.is_zipfile(path):
        msg = "it is not a whole zip file"
        raise Refused(msg)
