"""The explorer on a web page of this machine, from twins and results on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import typer
import xarray as xr

from twinlab import explorers, schema, twins
from twinlab.cli.progress import watched_job
from twinlab.cli.sources import open_source, open_twin

__all__ = ["make_bench", "serve_twins"]


def serve_twins(names: list[str], recording: str, *, port: int, browser: bool) -> None:
    """Serve one page a twin until Ctrl-C.

    Parameters
    ----------
    names : list of str
        Folders of twins, or ``simulated``.
    recording : str
        What they were fitted to; may be empty.
    port : int
    browser : bool
        Open the page.

    """
    with watched_job("serve") as job:
        source = None
        if not recording and all(name.startswith("simulated") for name in names):
            recording = names[0]  # the simulated twin's own recording is known
        if recording:
            source = open_source(recording, job=job)
        makers = {_page(name): make_bench(name, source) for name in names}
    benches = makers if len(makers) > 1 else next(iter(makers.values()))
    server, url = explorers.serve(benches, port=port, open_browser=browser)
    typer.echo(f"The explorer is at {url} (Ctrl-C ends it).")
    sys.stdout.flush()
    server.start()
    server.io_loop.start()


def make_bench(name: str, recording: xr.Dataset | None) -> Callable[[], explorers.Lab]:
    """Load a twin and the results beside it, once; each page gets an explorer of its own.

    Of an ensemble the first member is explored, and the second judges its images.
    """
    twin = open_twin(name)
    other = None
    if isinstance(twin, twins.EnsembleTwin):
        members = [member for member in twin.members if isinstance(member, twins.Twin)]
        twin, other = members[0], members[1] if len(members) > 1 else None
    if recording is not None:
        twins.match_neurons(twin, recording)  # a wrong recording is refused before serving
    results = find_results(Path(name), twin)
    known = explorers.LabState(twin, recording, other=other, results=results)
    return lambda: explorers.Lab(known.another())


def find_results(folder: Path, twin: twins.Twin) -> dict[str, xr.Dataset]:
    """Results of this very twin in its folder or beside it, by experiment."""
    found = {}
    for path in sorted([*folder.glob("*.nc"), *folder.absolute().parent.glob("*.nc")]):
        try:
            result = schema.open_result(path)
        except schema.InputError:
            continue  # some other file; neurons.nc is no result
        if result.attrs.get("twin") == twin.identity and result.attrs["experiment"] in SHOWN:
            found[result.attrs["experiment"]] = result
    return found


SHOWN = ("receptive_field", "tuning", "mei")


def _page(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(name).name) or "twin"
