"""Files of public recordings that are here: where they lie, and what was recorded of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twinlab.recordings.manifests import (
    Manifest,
    ManifestFile,
    describe_recording,
    files_of_session,
)
from twinlab.schema import InputError

__all__ = [
    "CHECKSUMS",
    "cache_folder",
    "count_fetched",
    "fetched_file",
    "files_by_hand",
    "read_checksums",
    "session_of_file",
]

CHECKSUMS = "checksums.json"  # beside the files: sha256 and size of each at its first fetch


def fetched_file(name: str, session: str | None = None) -> Path:
    """Return what is to be opened of a fetched public recording.

    The file, where the session has one file of its own (or all sessions share one); else the
    folder that holds them.

    Raises
    ------
    InputError
        If the recording is unknown or not fetched, has several sessions here and none is
        named, or a file has another size than when it was fetched.

    """
    manifest = describe_recording(name)
    target = cache_folder(name)
    if manifest.layout == "simulated":
        msg = f"{name}: is made, not fetched; use twinlab.simulation.SimulatedCortex().record()."
        raise InputError(msg)
    there = {}
    if not manifest.files:
        there = {path.stem: path for path in files_by_hand(target) if (session or "") in path.stem}
    files = files_of_session(manifest, session) if manifest.files else ()
    sessions: dict[str | None, None] = {file.session: None for file in files if file.session}
    for each in sessions or {None: None}:
        needed = [file for file in files if file.session in (None, each)]
        if needed and all((target / file.name).is_file() for file in needed):
            _check_sizes(name, target, needed)
            own = [file for file in needed if file.session == each]
            there[each or ""] = target / own[0].name if len(own) == 1 else target
    if not there:
        msg = (
            f"{name}: known, but not fetched yet; run `twinlab recordings fetch {name}` "
            f"(terms: {manifest.license.name})."
        )
        raise InputError(msg)
    if len(there) > 1:
        msg = (
            f"{name}: has {len(there)} sessions here; name one with `session`: {', '.join(there)} "
            f"(on the command line {name}:{next(iter(there))})."
        )
        raise InputError(msg)
    return next(iter(there.values()))


def session_of_file(name: str, path: Path) -> str | None:
    """Session by which `fetched_file` gives a path; None where it has those of several, or one."""
    manifest = describe_recording(name)
    if not manifest.files:
        return path.stem
    target = cache_folder(name)
    return next((file.session for file in manifest.files if target / file.name == path), None)


def count_fetched(manifest: Manifest) -> tuple[int, int]:
    """Files of a recording that are in the cache, and files it has (0 where none are listed)."""
    target = cache_folder(manifest.name)
    if not manifest.files:
        return len(files_by_hand(target)), 0
    return sum((target / file.name).is_file() for file in manifest.files), len(manifest.files)


def cache_folder(name: str) -> Path:
    """Where files are put that are fetched without naming a folder."""
    import pooch

    return Path(pooch.os_cache("twinlab")) / name


def files_by_hand(target: Path) -> list[Path]:
    """Files of a folder whose manifest lists none."""
    return [
        path
        for path in sorted(target.rglob("*"))
        if path.is_file()
        and path.name != CHECKSUMS
        and not any(part.startswith(".") for part in path.relative_to(target).parts)
    ]


def read_checksums(target: Path) -> dict[str, dict[str, Any]]:
    """What was recorded of each file of a folder ("sha256", "size"); empty if nothing was.

    Raises
    ------
    InputError
        If the record is damaged.

    """
    path = target / CHECKSUMS
    try:
        sums = json.loads(path.read_text(encoding="utf-8"))
        usable = isinstance(sums, dict) and all(isinstance(each, dict) for each in sums.values())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        usable = False
    if not usable:
        msg = f"{path}: not a readable list of checksums; move it away to have it made anew."
        raise InputError(msg)
    return sums


def _check_sizes(name: str, target: Path, files: Sequence[ManifestFile]) -> None:
    first = read_checksums(target)
    for file in files:
        found, size = (target / file.name).stat().st_size, first.get(file.name, {}).get("size")
        if size not in (None, found):
            msg = (
                f"{target / file.name}: has {found} bytes, but had {size} when it was fetched; "
                f"run `twinlab recordings fetch {name}` to have it checked."
            )
            raise InputError(msg)
