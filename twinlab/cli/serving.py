"""The explorers on a web page of this machine, from twins, recordings and results on disk."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import typer
import xarray as xr

from twinlab import explorers, schema, simulation, twins
from twinlab.cli.progress import watched_job
from twinlab.cli.sources import open_source, open_twin, write_code
from twinlab.explorers.serving import judge_address

__all__ = ["make_bench", "serve_twins", "show_recording"]


OWN = ("simulated", "example")  # twins that bring their recording


def serve_twins(
    names: list[str],
    recording: str,
    *,
    loops: Path | None = None,
    fits: Path | None = None,
    browser: bool,
    **where: Any,
) -> None:
    """Serve one page a twin until Ctrl-C.

    Parameters
    ----------
    names : list of str
        Folders of twins, ``simulated`` or ``example``. Where there are none, the recording is
        served alone, and the example where that is empty too.
    recording : str
        What they were fitted to; may be empty.
    loops, fits : Path, optional
        Folders of inception loops and of fits, shown beside every twin.
    browser : bool
        Open the page.
    **where
        Port, host, origins and login; see `explorers.serve`.

    """
    for what, folder in (("--loops", loops), ("--fits", fits)):
        if folder is not None and not folder.is_dir():
            msg = f"{what} {folder}: no such folder; name one that is there, or make it."
            raise schema.InputError(msg)
    judge_address(**where)
    if not names and not recording:
        names = ["example"]
    with watched_job("serve") as job:
        source = None
        if not recording and all(name.startswith(OWN) for name in names):
            recording = names[0]
        if recording:
            source = open_source(recording, job=job)
        pages = _pages(names)
        opened = {page: open_twin(name) for page, name in pages.items()}
        makers = {
            page: make_bench(
                pages[page],
                twin,
                source,
                recording,
                others={
                    beside: other
                    for beside, other in opened.items()
                    if beside != page and _same_neurons(twin, other)
                },
                loops=loops,
                fits=fits,
            )
            for page, twin in opened.items()
        }
        if not makers:
            makers = {"recording": show_recording(source, recording, loops=loops, fits=fits)}
    benches = makers if len(makers) > 1 else next(iter(makers.values()))
    server, url = explorers.serve(benches, open_browser=browser, **where)
    loop = server.io_loop
    typer.echo(f"The explorers are at {url} (Ctrl-C ends them).")
    if where["host"] != "127.0.0.1" and not (where["login"] or where["oauth"]):
        typer.echo("Whoever can reach this address can use it; --login FILE asks for a password.")
    sys.stdout.flush()
    # Panel's own way of ending on SIGTERM prints, and hangs where nobody listens any more.
    signal.signal(signal.SIGTERM, lambda *_: loop.add_callback_from_signal(loop.stop))
    server.start()
    with contextlib.suppress(KeyboardInterrupt):
        loop.start()


def make_bench(
    name: str,
    twin: twins.Twin,
    recording: xr.Dataset | None,
    source: str,
    *,
    others: Mapping[str, twins.Twin] | None = None,
    loops: Path | None = None,
    fits: Path | None = None,
) -> Callable[[], explorers.Lab]:
    """Find the results beside a twin, once; each page gets a lab of its own.

    Of an ensemble the first member is explored, the second judges its images, and all say how
    far they agree. `name` and `source` are what twin and recording were opened by; `others`
    are twins of the same neurons, which are scored beside this one.
    """
    made_by = write_code(name, source, first=isinstance(twin, twins.EnsembleTwin))
    other = None
    members: list[twins.Twin] = []
    if isinstance(twin, twins.EnsembleTwin):
        members = twin.each
        twin, other = members[0], members[1] if len(members) > 1 else None
    if recording is not None:
        twins.match_neurons(twin, recording)  # a wrong recording is refused before serving
    folder = simulation.EXAMPLE / "twin" if name == "example" else Path(name)
    results = find_results(folder, twin)
    known = explorers.LabState(
        twin,
        recording,
        other=other,
        members=members,
        results={name: found for name, found in results.items() if name in SHOWN},
        others=others,
        learning_curve=results.get("learning_curve"),
        made_by=made_by,
        loops=loops,
        fits=fits,
    )
    return lambda: explorers.Lab(known.another())


def show_recording(
    recording: xr.Dataset | None,
    source: str,
    *,
    loops: Path | None = None,
    fits: Path | None = None,
) -> Callable[[], explorers.Lab]:
    """Look at a recording without a twin; `source` is what it was opened by."""
    made_by = write_code("", source, first=False)
    known = explorers.LabState(recording=recording, made_by=made_by, loops=loops, fits=fits)
    return lambda: explorers.Lab(known.another())


def find_results(folder: Path, twin: twins.Twin) -> dict[str, xr.Dataset]:
    """Results of this very twin in its folder or beside it, by experiment.

    A learning curve is of the recording, not of a twin: any that lies there is taken.
    """
    found = {}
    for path in sorted([*folder.glob("*.nc"), *folder.absolute().parent.glob("*.nc")]):
        try:
            result = schema.open_result(path)
        except schema.InputError:
            continue  # some other file; neurons.nc is no result
        experiment = result.attrs["experiment"]
        mine = result.attrs.get("twin") == twin.identity and experiment in SHOWN
        if mine or experiment == "learning_curve":
            found[experiment] = result
    return found


SHOWN = ("receptive_field", "tuning", "mei", "lei", "diverse")


def _same_neurons(twin: twins.Twin, other: twins.Twin) -> bool:
    return all(
        np.array_equal(twin.neurons[name], other.neurons[name])
        for name in ("session", "neuron_id")
    ) and (twin.spec.shape == other.spec.shape)


def _pages(names: list[str]) -> dict[str, str]:
    """Name of each twin by that of its page: the folder's, numbered where two are alike."""
    pages: dict[str, str] = {}
    for name in dict.fromkeys(names):
        word = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(name).name) or "twin"
        alike = [page for page in pages if page == word or page.startswith(f"{word}-")]
        pages[f"{word}-{len(alike) + 1}" if alike else word] = name
    return pages
