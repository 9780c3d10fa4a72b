"""What can be taken away from an explorer: its code, its figures, its data, its origin."""

from __future__ import annotations

import io
import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel as pn
import xarray as xr

from twinlab import __version__, plots
from twinlab.explorers.looks import caption
from twinlab.schema import InputError

if TYPE_CHECKING:
    from twinlab.explorers.state import LabState
    from twinlab.explorers.views import Explorer

__all__ = ["provenance", "rebuild", "take_data", "take_figure", "tools"]

FIGURES = ["png", "svg", "pdf"]
DATA = ["nc", "csv"]
HANDED_OVER = "# twin, recording (and members): those the LabState was given"


def rebuild(explorer: Explorer) -> str:
    """Python that rebuilds a view and computes what it shows.

    Parameters
    ----------
    explorer : Explorer

    """
    lab, name = explorer.lab, type(explorer).__name__
    given = ["twin"] if lab.has_twin else []
    if lab.surveyed.recording is not None:
        given.append("recording=recording")
    if lab.has_twin and lab.findings.together is not lab.findings.twin:
        given.append("members=members")
    folders = {"loops": lab.loops, "fits": lab.fits}
    given += _arguments({key: str(path) for key, path in folders.items() if path is not None})
    lines = [
        "from twinlab import evaluation, explorers, fitting, insilico, loop, recordings, twins",
        "",
        lab.made_by or HANDED_OVER,
        f"lab = explorers.LabState({', '.join([*given, *_arguments(lab.view())])})",
        f"view = explorers.{name}({', '.join(['lab', *_arguments(explorer.own())])})",
        *explorer.calls(),
        "view",
    ]
    return "\n".join(lines) + "\n"


def _arguments(values: dict[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in values.items()]


def provenance(lab: LabState) -> dict[str, str]:
    """Where all that is shown is from: the twin, its recording, the seed, the version."""
    twin = lab.findings.twin.twin if lab.has_twin else None
    origin = {} if twin is None else twin.origin
    recording = lab.surveyed.recording
    known = origin if recording is None else origin | recording.attrs
    sessions = dict.fromkeys(lab.surveyed.labels.session.values.astype(str).tolist())
    found = {
        "twin": "" if twin is None else f"{type(twin).__name__} {twin.identity[:12]}",
        "recording": str(known.get("recording_id", "")),
        "seed": str(dict(origin.get("settings", {})).get("seed", "")),
        "session": ", ".join(sessions),
        "twinlab": __version__,
    }
    return {name: value for name, value in found.items() if value}


def take_figure(figure: Any, form: str) -> io.BytesIO:
    """Draw a figure for print.

    Parameters
    ----------
    figure : HoloViews element, Overlay or Layout
    form : str
        "png", "svg" or "pdf".

    """
    with tempfile.TemporaryDirectory() as folder:
        path = plots.save_figure(figure, Path(folder) / f"figure.{form}")
        return io.BytesIO(path.read_bytes())


def take_data(data: xr.Dataset, form: str, origin: dict[str, str]) -> io.BytesIO:
    """Write a Dataset, with where it is from, as a file.

    Parameters
    ----------
    data : xarray.Dataset
    form : str
        "nc" for NetCDF, or "csv" for a table in long form.
    origin : dict of str to str
        Added to its attributes; in a table, as comments at its head.

    """
    if form == "csv":
        head = "".join(f"# {name}: {value}\n" for name, value in origin.items())
        table = data.to_dataframe().reset_index()
        return io.BytesIO((head + table.to_csv(index=False)).encode())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.nc"
        data.assign_attrs(origin | data.attrs).to_netcdf(path, engine="h5netcdf")
        return io.BytesIO(path.read_bytes())


def tools(explorer: Explorer) -> pn.Column:
    """Row of what can be taken away, above a line on where it is from.

    Parameters
    ----------
    explorer : Explorer

    """
    figures, tables = explorer.figures(), explorer.tables()
    offers = [f"figure: {name} ({form})" for name in figures for form in FIGURES]
    offers += [f"data: {name} ({form})" for name in tables for form in DATA]
    row: list[Any] = []
    if offers:
        what = pn.widgets.Select(label="take away", options=offers, width=230, margin=(0, 8, 0, 0))

        def fetch() -> io.BytesIO | None:
            kind, _, rest = what.value.partition(": ")
            name, _, form = rest.rpartition(" (")
            form = form.rstrip(")")
            stem = f"{type(explorer).__name__.lower()}-{name.replace(' ', '-')}"
            save.filename = f"{stem}.{form}"
            if kind == "figure":
                return take_figure(figures[name](), form)
            data = tables[name]()
            if data is None:
                msg = (
                    f"There is no {name} to save: it is not measured or made yet, or cannot be "
                    "of what is chosen; see its card."
                )
                raise InputError(msg)
            return take_data(data, form, provenance(explorer.lab))

        def offer() -> io.BytesIO | None:
            with explorer.lab.warned("Nothing was saved"):
                return fetch()
            return io.BytesIO()

        save = pn.widgets.FileDownload(
            callback=offer, filename="twinlab", label="Save", width=110, margin=(17, 8, 0, 0)
        )
        row += [what, save]
    code = pn.widgets.Button(label="Copy as code", width=110, margin=(17, 8, 0, 0))
    shown = pn.widgets.TextAreaInput(
        label="code",
        visible=False,
        height=170,
        margin=(4, 0),
        sizing_mode="stretch_width",
        stylesheets=["textarea { font-family: monospace; font-size: 12px; }"],
    )
    # As the code arrives, still on behalf of the click that asked for it.
    shown.jscallback(value="if (source.value) navigator.clipboard?.writeText(source.value)")

    def show_code(_: Any) -> None:
        code = ""
        if not shown.visible:
            with explorer.lab.warned("There is no code for this"):
                code = explorer.as_code()
        shown.param.update(value=code, visible=bool(code))

    code.on_click(show_code)
    origin = "; ".join(f"{name} {value}" for name, value in provenance(explorer.lab).items())
    return pn.Column(
        pn.Row(*row, code, margin=0),
        shown,
        caption(escape(origin), 700),
        margin=0,
        sizing_mode="stretch_width",
    )
