"""Manifests of public recordings: one readable YAML file each, under `data_manifests/`.

A manifest says what a recording is, what its license allows, where its files are, which
traps are known, and which of all that was taken from memory and is not verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from twinlab.recordings.layouts import LAYOUTS
from twinlab.recordings.tables import table_faults
from twinlab.schema import InputError

__all__ = [
    "LAYOUT_NAMES",
    "License",
    "Listing",
    "Manifest",
    "ManifestFile",
    "ManifestSession",
    "describe_recording",
    "files_of_session",
    "is_unverified",
    "list_recordings",
    "terms_of_session",
]

# In an installed package the manifests lie beside this file, in a checkout at its top.
FOLDERS = (
    Path(__file__).parent / "manifests",
    Path(__file__).parents[2] / "data_manifests",
)
# What the files of a recording look like inside: one reader each.
LAYOUT_NAMES = (*LAYOUTS, "simulated")
UNKNOWN_TERMS = ("", "see source")


@dataclass(frozen=True)
class License:
    """What may be done with a recording.

    Attributes
    ----------
    name : str
        Short, as the host names it.
    allows : str
        What it allows and forbids, in words.
    contact : str or None
        Whom to ask, or tell, and before what; None where nobody has to be asked.

    """

    name: str
    allows: str
    contact: str | None = None


@dataclass(frozen=True)
class Listing:
    """Where files are listed that cannot be fetched from here.

    Attributes
    ----------
    url : str
        The page that lists them.
    note : str
        Which of them to download.

    """

    url: str
    note: str


@dataclass(frozen=True)
class ManifestSession:
    """One session of a public recording.

    Attributes
    ----------
    name : str
        What it is asked for by: "animal-session-scan", a date, a region.
    neurons : int or None
        Where known.
    trials : dict of str to int, or None
        Number of trials in each split (or images, where each was shown once), where known.
    note : str or None
        What sets it apart from the others.

    """

    name: str
    neurons: int | None = None
    trials: dict[str, int] | None = None
    note: str | None = None


@dataclass(frozen=True)
class ManifestFile:
    """One file of a public recording.

    Attributes
    ----------
    name : str
        What the file is called once fetched; may have folders in it.
    url : str or None
        None where no address is known: the manifest's `listing` says where it is found.
    session : str or None
        The session it belongs to; None if to all.
    size : int or None
        Bytes, where the host publishes it.
    sha256 : str or None
        Checksum, where one is published; otherwise it is recorded at the first fetch.
    why_no_sha256 : str or None
        The reason, where there is none.

    """

    name: str
    url: str | None
    session: str | None = None
    size: int | None = None
    sha256: str | None = None
    why_no_sha256: str | None = None


@dataclass(frozen=True)
class Manifest:
    """What is known about a public recording and where its files are.

    Attributes
    ----------
    name : str
        What it is asked for by.
    title, citation : str
    homepage : str or None
        Of the host; None for what is not hosted.
    doi : str or None
        Of the paper that describes the recording.
    data_doi : str or None
        Of the files themselves, where they have one.
    license : License
    species, area, stimuli : str
    layout : str
        One of `LAYOUT_NAMES`: which reader opens its files.
    neurons : int or None
        In all sessions together, where the sessions are not listed one by one.
    sessions : tuple of ManifestSession
    files : tuple of ManifestFile
    listing : Listing or None
        Where files are found whose address is not known.
    traps : dict of str to str
        What is easily got wrong, each under a short name.
    unverified : tuple of str
        Fields that were taken from memory ("license.name", "sessions.neurons").

    """

    name: str
    title: str
    doi: str | None
    citation: str
    license: License
    species: str
    area: str
    layout: str
    homepage: str | None
    stimuli: str
    sessions: tuple[ManifestSession, ...]
    files: tuple[ManifestFile, ...]
    traps: dict[str, str]
    unverified: tuple[str, ...]
    listing: Listing | None = None
    neurons: int | None = None
    data_doi: str | None = None

    @property
    def n_neuron(self) -> int | None:
        """Neurons in all sessions together; None if that is not known."""
        counts = [session.neurons for session in self.sessions]
        if self.neurons is not None or not counts or None in counts:
            return self.neurons
        return sum(count or 0 for count in counts)


def list_recordings() -> list[str]:
    """Names of the public recordings that have a manifest."""
    return sorted(_manifest_paths())


def describe_recording(name: str) -> Manifest:
    """Return the manifest of a public recording.

    Raises
    ------
    InputError
        If there is no such manifest, or it is not written as it should be (all that is wrong
        with it in one message).

    Examples
    --------
    >>> manifest = describe_recording("lurz2020")
    >>> manifest.area, manifest.license.name
    ('primary visual cortex (V1), layer 2/3', 'CC BY-NC-ND 4.0')

    """
    paths = _manifest_paths()
    if name not in paths:
        msg = f"{name}: no such recording; known: {', '.join(sorted(paths)) or 'none'}."
        raise InputError(msg)
    return _read_manifest(paths[name], paths[name].stat().st_mtime_ns)


def files_of_session(manifest: Manifest, session: str | None) -> tuple[ManifestFile, ...]:
    """Files that a session needs, its own and shared ones; all files if none is named.

    Raises
    ------
    InputError
        If the recording has no such session.

    """
    names = [known.name for known in manifest.sessions]
    if session is not None and session not in names:
        msg = f"{manifest.name}: has no session {session}; known: {', '.join(names) or 'none'}."
        raise InputError(msg)
    return tuple(
        file for file in manifest.files if session is None or file.session in (None, session)
    )


def is_unverified(manifest: Manifest, path: str) -> bool:
    """Whether a field ("doi", "sessions.26872-17-20.neurons") was taken from memory."""
    words = path.split(".")
    covering = {".".join(words[: i + 1]) for i in range(len(words))}
    return bool(({f"{words[0]}.{words[-1]}"} | covering) & set(manifest.unverified))


def terms_of_session(session: str) -> tuple[str, str]:
    """DOI and license of the recording that a session belongs to, as far as they are known."""
    for name in list_recordings():
        manifest = describe_recording(name)
        if session in {known.name for known in manifest.sessions}:
            terms = manifest.license.name
            if is_unverified(manifest, "license.name"):
                terms += " (unverified)"
            if manifest.license.contact:
                terms += f"; {manifest.license.contact}"
            return manifest.doi or "", terms
    return UNKNOWN_TERMS


def _manifest_paths() -> dict[str, Path]:
    return {path.stem: path for folder in FOLDERS for path in folder.glob("*.yaml")}


@lru_cache(maxsize=256)
def _read_manifest(path: Path, modified: int) -> Manifest:
    """Read and judge one manifest; read anew when the file was `modified`."""
    import yaml

    # The C parser, where PyYAML has it, is safe too and ten times faster.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        table = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        msg = f"{path}: not a readable manifest ({' '.join(str(error).split())}); expected YAML."
        raise InputError(msg) from error
    faults = list(_faults(table, path.stem))
    if faults:
        msg = f"{path}: " + "; ".join(faults) + "."
        raise InputError(msg)
    sessions = tuple(
        ManifestSession(name=name, **(about or {})) for name, about in table["sessions"].items()
    )
    made = {
        "license": License(**table["license"]),
        "sessions": sessions,
        "files": tuple(_each_file(table["files"], [session.name for session in sessions])),
        "listing": Listing(**table["listing"]) if table.get("listing") else None,
        "unverified": tuple(table["unverified"]),
    }
    return Manifest(**table | made)


def _each_file(tables: list[dict[str, Any]], sessions: list[str]) -> Iterator[ManifestFile]:
    """Files as listed; one with "{session}" in its name stands for one a session.

    A file that is listed by its own name too is taken from there.
    """
    listed = {table["name"] for table in tables}
    for table in tables:
        if "{session}" not in table["name"]:
            yield ManifestFile(**table)
            continue
        for session in sessions:
            filled: dict[str, Any] = {
                key: value.replace("{session}", session) if isinstance(value, str) else value
                for key, value in table.items()
            }
            if filled["name"] not in listed:
                yield ManifestFile(**filled | {"session": session})


def _faults(table: Any, stem: str) -> Iterator[str]:
    """Everything that is wrong with the table of a manifest."""
    faults = list(table_faults(table, Manifest))
    if not isinstance(table, dict):
        table = {}
    for key, kind in (("license", License), ("listing", Listing)):
        if isinstance(table.get(key), dict):
            faults += table_faults(table[key], kind, key)
    sessions, files = table.get("sessions", {}), table.get("files", [])
    if isinstance(sessions, dict):
        for name, about in sessions.items():
            if not isinstance(name, str):
                faults.append(f"sessions: {name!r} must be text; put it in quotes")
            faults += table_faults(about or {}, ManifestSession, f"sessions.{name}", {"name"})
    else:
        faults.append("sessions must be a table from name to what is known of it")
    if isinstance(files, list):
        for i, file in enumerate(files):
            faults += table_faults(file, ManifestFile, f"files[{i}]")
    else:
        faults.append("files must be a list")
    yield from faults
    if faults:  # what follows needs the fields to be there
        return
    if table["name"] != stem:
        yield f"name is {table['name']!r}, but the file is called {stem}.yaml"
    if table["layout"] not in LAYOUT_NAMES:
        yield f"unknown layout {table['layout']!r}; known: {', '.join(LAYOUT_NAMES)}"
    for key in ("doi", "data_doi"):
        if table.get(key) and not re.fullmatch(r"10\.\d{4,9}/\S+", table[key]):
            yield f"{key} {table[key]!r} is not a DOI (10.xxxx/...)"
    if not files and not table.get("listing") and table["layout"] != "simulated":
        yield "lists no files, and no `listing` says where they are"
    for path in table["unverified"]:
        if not _is_there(path, table):
            yield f"unverified names {path!r}, which is not there"
    yield from _file_faults(table)


def _file_faults(table: dict[str, Any]) -> Iterator[str]:
    seen: set[str] = set()
    for i, file in enumerate(table["files"]):
        name, url, digest = file["name"], file["url"], file.get("sha256")
        where = f"files[{i}]"
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or name.startswith("."):
            yield f"{where}: name {name!r} must be a plain relative path"
        if name in seen:
            yield f"{where}: name {name!r} is listed twice"
        seen.add(name)
        if url is None and not table.get("listing"):
            yield f"{where} has no url, and no `listing` says where it is"
        if url is not None and not re.match(r"https?://[^/\s]+/\S*$", url):
            yield f"{where}: url {url!r} must start with https:// or http://"
        if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", digest):
            yield f"{where}: sha256 {digest!r} is not 64 hexadecimal digits"
        if (digest is None) == (file.get("why_no_sha256") is None):
            yield f"{where} needs either sha256 or why_no_sha256"
        if file.get("session") is not None and file["session"] not in table["sessions"]:
            yield f"{where}: session {file['session']!r} is not one of `sessions`"
        if "{session}" in name and url is not None and "{session}" not in url:
            yield f"{where}: its name has {{session}}, its url does not"


def _is_there(path: str, table: Any) -> bool:
    """Whether a path names something; a step may skip the name of a session or file."""
    here = [table]
    for word in path.split("."):
        inner = [
            item.values() if isinstance(item, dict) else item
            for item in here
            if isinstance(item, dict | list) and not (isinstance(item, dict) and word in item)
        ]
        below = [item for items in inner for item in items]
        here = [item[word] for item in here + below if isinstance(item, dict) and word in item]
    return bool(here)
