"""What the command says of public recordings: a table of all, one in words, both as JSON."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from twinlab.recordings.fetched import cache_folder, count_fetched
from twinlab.recordings.manifests import (
    Manifest,
    ManifestFile,
    ManifestSession,
    describe_recording,
    is_unverified,
    list_recordings,
)

__all__ = ["describe_as_json", "list_as_json", "list_as_table", "manifest_lines"]

WIDTH = 99  # columns
FILES_SHOWN = 12  # more are listed by --json


def list_as_json() -> str:
    """All public recordings, one object each."""
    return json.dumps([_row(describe_recording(name)) for name in list_recordings()], indent=1)


def list_as_table() -> None:
    """Print a table of all public recordings."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "species", "area", "neurons", "license", "fetched"):
        table.add_column(title, justify="right" if title == "neurons" else "left")
    for name in list_recordings():
        row = _row(describe_recording(name))
        neurons = "?" if row["neurons"] is None else f"{row['neurons']:,}"
        license_ = row["license"] + ("" if row["license_verified"] else " (unverified)")
        table.add_row(name, row["species"], row["area"], neurons, license_, _fetched_in_words(row))
    # In a pipe a line stays a line.
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 240).print(table)


def describe_as_json(manifest: Manifest) -> str:
    """All of a manifest, and what of it is here."""
    table = asdict(manifest) | {
        "n_neuron": manifest.n_neuron,
        "folder": str(cache_folder(manifest.name)),
        "n_fetched": count_fetched(manifest)[0],
    }
    return json.dumps(table, indent=1)


def manifest_lines(manifest: Manifest) -> Iterator[str]:
    """A manifest in words, line by line; what was taken from memory is marked."""

    def entry(key: str, text: str | None, path: str | None = None) -> Iterator[str]:
        if text:
            mark = " (unverified)" if is_unverified(manifest, path or key) else ""
            yield from _wrapped(f"{key:<11}", text + mark)

    for key in ("name", "title", "doi", "data_doi", "citation", "species", "area", "stimuli"):
        yield from entry(key.replace("_", " "), getattr(manifest, key), key)
    yield from entry("license", manifest.license.name, "license.name")
    yield from entry("  allows", manifest.license.allows, "license.allows")
    yield from entry("  contact", manifest.license.contact, "license.contact")
    neurons = manifest.n_neuron
    yield from entry("neurons", "not known" if neurons is None else f"{neurons:,}")
    yield from entry("layout", manifest.layout)
    yield from entry("homepage", manifest.homepage)
    for session in manifest.sessions:
        yield from _wrapped("session    ", _session_in_words(manifest, session))
    for file in manifest.files[:FILES_SHOWN]:
        yield from _wrapped("file       ", _file_in_words(manifest, file))
    if len(manifest.files) > FILES_SHOWN:
        yield f"           and {len(manifest.files) - FILES_SHOWN} more; --json lists them"
    if manifest.listing:
        yield from entry("listing", f"{manifest.listing.url}: {manifest.listing.note}")
    for name, trap in manifest.traps.items():
        yield from entry("trap", trap, f"traps.{name}")
    if manifest.unverified:
        note = f"taken from memory, not verified: {', '.join(manifest.unverified)}"
        yield from _wrapped("unverified ", note)
    if manifest.layout != "simulated":
        here = f"{_fetched_in_words(_row(manifest))} (in {cache_folder(manifest.name)})"
        yield from _wrapped("fetched    ", here)


def _row(manifest: Manifest) -> dict[str, Any]:
    n_fetched, n_file = count_fetched(manifest)
    return {
        "name": manifest.name,
        "title": manifest.title,
        "species": manifest.species,
        "area": manifest.area,
        "neurons": manifest.n_neuron,
        "layout": manifest.layout,
        "license": manifest.license.name,
        "license_verified": not is_unverified(manifest, "license.name"),
        "n_file": n_file,
        "n_fetched": n_fetched,
    }


def _fetched_in_words(row: dict[str, Any]) -> str:
    if row["layout"] == "simulated":
        return "made"
    if not row["n_fetched"]:
        return "no" if row["n_file"] else "no (by hand)"
    whole = row["n_fetched"] == row["n_file"] or not row["n_file"]
    return "yes" if whole else f"{row['n_fetched']} of {row['n_file']} files"


def _session_in_words(manifest: Manifest, session: ManifestSession) -> str:
    mark = " (unverified)" if is_unverified(manifest, f"sessions.{session.name}.neurons") else ""
    trials = ", ".join(f"{count:,} {split}" for split, count in (session.trials or {}).items())
    neurons = "neurons not known" if session.neurons is None else f"{session.neurons:,} neurons"
    return "; ".join(filter(None, [f"{session.name}: {neurons}{mark}", trials, session.note]))


def _file_in_words(manifest: Manifest, file: ManifestFile) -> str:
    url = file.url or "no address known, see listing"
    mark = " (unverified)" if file.url and is_unverified(manifest, "files.url") else ""
    size = f"{file.size:,} bytes" if file.size is not None else "size not published"
    checksum = f"sha256 {file.sha256}" if file.sha256 else f"no sha256: {file.why_no_sha256}"
    return f"{file.name}: {url}{mark}; {size}; {checksum}"


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
