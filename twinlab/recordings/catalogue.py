"""Manifests of public recordings: one readable TOML file each, under `data_manifests/`."""

from __future__ import annotations

import tomllib
import zipfile
from dataclasses import MISSING, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

from twinlab.jobs import Job
from twinlab.schema import InputError

__all__ = [
    "Manifest",
    "ManifestFile",
    "describe_recording",
    "fetch_recording",
    "fetched_file",
    "list_recordings",
    "terms_of_session",
]

# In an installed package the manifests lie beside this file, in a checkout at its top.
FOLDERS = (
    Path(__file__).parent / "manifests",
    Path(__file__).parents[2] / "data_manifests",
)
LAYOUTS = ("sensorium-static",)
UNKNOWN_TERMS = ("", "see source")


@dataclass(frozen=True)
class ManifestFile:
    """One file of a public recording: a session.

    Attributes
    ----------
    name : str
        What the file is called once fetched.
    session : str
        "animal-session-scan".
    url : str
    size : int or None
        Bytes, where the host publishes it.
    sha256 : str or None
        Checksum, where the host publishes it.

    """

    name: str
    session: str
    url: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Manifest:
    """What is known about a public recording and where its files are.

    Attributes
    ----------
    name : str
        What it is asked for by.
    title, doi, license, citation, homepage : str
    layout : str
        Which reader opens its files.
    files : tuple of ManifestFile
        One a session.

    """

    name: str
    title: str
    doi: str
    license: str
    citation: str
    homepage: str
    layout: str
    files: tuple[ManifestFile, ...]


def list_recordings() -> list[str]:
    """Names of the public recordings that have a manifest."""
    return sorted(_manifest_paths())


def describe_recording(name: str) -> Manifest:
    """Return the manifest of a public recording.

    Raises
    ------
    InputError
        If there is no such manifest, or it is not written as it should be.

    """
    paths = _manifest_paths()
    if name not in paths:
        msg = f"{name}: no such recording; known: {', '.join(sorted(paths)) or 'none'}."
        raise InputError(msg)
    return _read_manifest(paths[name])


def fetch_recording(
    name: str,
    folder: str | PathLike[str] | None = None,
    *,
    session: str | None = None,
    job: Job | None = None,
) -> list[Path]:
    """Download the files of a public recording; what is already there is kept.

    Parameters
    ----------
    name : str
        One of `list_recordings`.
    folder : path, optional
        Where to put them. By default a folder of the user's cache, where
        `open_recording` finds them by name.
    session : str, optional
        Fetch this session alone; all by default.
    job : Job, optional

    Returns
    -------
    list of Path
        The files, one a session.

    Raises
    ------
    InputError
        If the name or session is unknown, the host cannot be reached, or what it sent is
        not the file that was expected.

    """
    import pooch

    job = job or Job()
    manifest = describe_recording(name)
    files = _of_session(manifest, session) if session else manifest.files
    target = _cache_folder(name) if folder is None else Path(folder).expanduser()
    cache = pooch.create(
        path=target,
        base_url="",
        registry={file.name: file.sha256 and f"sha256:{file.sha256}" for file in files},
        urls={file.name: file.url for file in files},
    )
    fetched = []
    for i, file in enumerate(files):
        part = job.part(i / len(files), (i + 1) / len(files), f"fetching {file.name}")
        part.report(0)
        downloader = pooch.HTTPDownloader(progressbar=_Progress(part, file.size), timeout=60)
        try:
            path = Path(cache.fetch(file.name, downloader=downloader))
        except (OSError, ValueError) as error:  # the network's errors are OSErrors
            msg = (
                f"{name}: {file.url} could not be fetched ({error}); check the network, or "
                f"download it by hand to {target / file.name}."
            )
            raise InputError(msg) from error
        if not zipfile.is_zipfile(path):
            path.unlink()
            msg = (
                f"{name}: {file.url} sent something that is not a whole zip file; "
                f"see {manifest.homepage} and try again."
            )
            raise InputError(msg)
        fetched.append(path)
    return fetched


def fetched_file(name: str, session: str | None = None) -> Path:
    """Return the fetched file of a public recording, to be opened.

    Raises
    ------
    InputError
        If the recording is unknown or not fetched, or has several sessions and none is
        named.

    """
    manifest = describe_recording(name)
    files = _of_session(manifest, session) if session else manifest.files
    there = [file for file in files if (_cache_folder(name) / file.name).is_file()]
    if not there:
        msg = (
            f"{name}: known, but not fetched yet; run `twinlab recordings fetch {name}` "
            f"(terms: {manifest.license})."
        )
        raise InputError(msg)
    if len(there) > 1:
        msg = (
            f"{name}: has {len(there)} sessions here; name one with `session`: "
            f"{', '.join(file.session for file in there)}."
        )
        raise InputError(msg)
    return _cache_folder(name) / there[0].name


def terms_of_session(session: str) -> tuple[str, str]:
    """DOI and licence of the recording that a session belongs to, as far as they are known."""
    for name in list_recordings():
        manifest = describe_recording(name)
        if session in {file.session for file in manifest.files}:
            return manifest.doi, manifest.license
    return UNKNOWN_TERMS


def _manifest_paths() -> dict[str, Path]:
    return {path.stem: path for folder in FOLDERS for path in folder.glob("*.toml")}


def _cache_folder(name: str) -> Path:
    """Where files are put that are fetched without naming a folder."""
    import pooch

    return Path(pooch.os_cache("twinlab")) / name


def _of_session(manifest: Manifest, session: str) -> tuple[ManifestFile, ...]:
    found = tuple(file for file in manifest.files if file.session == session)
    if not found:
        known = ", ".join(file.session for file in manifest.files)
        msg = f"{manifest.name}: has no session {session}; known: {known}."
        raise InputError(msg)
    return found


def _read_manifest(path: Path) -> Manifest:
    """Read and judge one manifest."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path}: not a readable manifest ({error}); expected TOML."
        raise InputError(msg) from error
    files = table.pop("files", [])
    faults = _key_faults(table, Manifest, "manifest", {"name", "files"})
    for i, file in enumerate(files):
        faults += _key_faults(file, ManifestFile, f"files[{i}]", set())
    if not files:
        faults.append("lists no [[files]]")
    if table.get("layout", LAYOUTS[0]) not in LAYOUTS:
        faults.append(f"unknown layout {table['layout']!r}; known: {', '.join(LAYOUTS)}")
    if faults:
        msg = f"{path}: " + "; ".join(faults) + "."
        raise InputError(msg)
    return Manifest(path.stem, **table, files=tuple(ManifestFile(**file) for file in files))


def _key_faults(table: dict[str, Any], kind: type, where: str, given: set[str]) -> list[str]:
    """Keys of a TOML table that are missing or unknown, by the fields of a dataclass."""
    known = {field.name: field for field in fields(kind) if field.name not in given}
    required = {name for name, field in known.items() if field.default is MISSING}
    missing, unknown = sorted(required - set(table)), sorted(set(table) - set(known))
    faults = [f"{where} lacks {', '.join(missing)}"] if missing else []
    return faults + ([f"{where} has unknown {', '.join(unknown)}"] if unknown else [])


class _Progress:
    """What pooch takes for a progress bar, reporting to a job."""

    def __init__(self, job: Job, size: int | None) -> None:
        self.job, self.size = job, size
        self.total = self.done = 0

    def update(self, n_byte: int) -> None:
        self.done += n_byte
        whole = self.total or self.size or 0  # some hosts do not say how much is coming
        self.job.report(min(self.done / whole, 1) if whole else 0, f"{self.done / 1e6:.0f} MB")

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass
