"""Fits side by side, while they run and after; and new ones."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn
import param
import xarray as xr

from twinlab import plots, twins
from twinlab.explorers.fit_readouts import FitReadouts
from twinlab.explorers.fit_said import say_fits, say_opening
from twinlab.explorers.fit_starting import ASKED, PRESETS, FitStarting
from twinlab.explorers.following import follow, lead
from twinlab.explorers.looks import Table, badge, card, page, table_style, words
from twinlab.explorers.state import LabState
from twinlab.explorers.views import Explorer, bare
from twinlab.fitting import FitSettings, find_fits, read_fit, stamp_fit
from twinlab.jobs import Job
from twinlab.plots.fits import SHADES
from twinlab.schema import InputError

__all__ = ["FitMonitor"]

LEFT, MIDDLE, RIGHT = 330, 400, 400  # widths of cards' contents, in pixels
EVERY = 2.0  # seconds between two looks at the folder
MOST = len(SHADES)  # fits side by side that can be told apart
QUANTITIES = ["validation_loss", "train_loss", "learning_rate", "seconds"]
DEFAULT = FitSettings()


class FitMonitor(Explorer):
    """The course of fits in a folder: any that `twinlab fit` or this page writes there.

    Parameters
    ----------
    lab : LabState
        With `fits`; what new ones are fitted to is its recording.

    """

    title = "Fit monitor"
    about = "Fits side by side as they run: loss, validation, readouts, speed; and new ones."

    of: ClassVar[tuple[str, ...]] = ("image", "video")
    needs_twin: ClassVar[bool] = False

    runs = param.List([], item_type=str, doc="Names of the fits side by side; at most seven.")
    quantity: Any = param.Selector(objects=QUANTITIES, doc="What is drawn beside the validation.")
    looked_at = param.String("", doc="Name of the fit whose readouts are drawn.")
    all_settings = param.Boolean(False, doc="List all settings, not only those that differ.")
    preset: Any = param.Selector(objects=list(PRESETS), doc="Architecture of a new fit.")
    max_epochs = param.Integer(DEFAULT.max_epochs, bounds=(1, 500), doc="Of a new fit.")
    batch_size = param.Integer(DEFAULT.batch_size, bounds=(1, 1024), doc="Of a new fit.")
    lr = param.Number(DEFAULT.lr, bounds=(1e-5, 0.1), step=0.001, doc="Of a new fit.")
    seed = param.Integer(0, bounds=(0, 2**31 - 1), doc="Of a new fit.")

    @classmethod
    def lacks(cls, lab: LabState) -> str:
        """Ask for a folder of fits."""
        missing = "No folder of fits was given: add `--fits FOLDER` to `twinlab serve`."
        return super().lacks(lab) or (missing if lab.fits is None else "")

    def lay_out(self) -> pn.Column:
        """Build the page."""
        self.found: dict[str, xr.Dataset] = {}
        self._stamps: dict[str, Any] = {}
        self._gone = ""
        self.starting, self.readouts = FitStarting(self), FitReadouts(self)
        self._names = pn.widgets.CheckBoxGroup(options=[], margin=0)
        self._said = words("", LEFT)
        self._table = Table(
            pd.DataFrame(),
            disabled=True,
            width=MIDDLE - 4,
            height=230,
            margin=0,
            autosize_mode="force_fit",
            row_height=26,
            stylesheets=[table_style()],
        )
        self._table_said = words("", MIDDLE)
        lead(self._names, self, "runs")
        body = page(self.title, str(self.lab.fits), *self._cards())
        self._look()
        if not self.runs:
            self.runs = list(self._names.options)[:MOST]
        self.param.watch(lambda _: self._show(), ["runs", "all_settings"])
        self.param.watch(lambda _: self._redraw("quantity"), "quantity")
        self.param.watch(lambda _: self.readouts.read(), "looked_at")
        self.lab.param.watch(lambda _: self._redraw("readouts"), "neuron")
        self.lab.arrivals.param.watch(lambda _: self._look(), "fits")
        self._show()
        follow(self._look, EVERY)
        return body

    def _cards(self) -> list[pn.Column]:
        listed = pn.Column(self._names, max_height=150, scroll="y-auto", margin=0)
        quantity = pn.widgets.Select.from_param(
            self.param.quantity,
            options={name.replace("_", " "): name for name in QUANTITIES},
            label="quantity",
            width=170,
        )
        every = pn.widgets.Checkbox.from_param(self.param.all_settings, label="all settings")
        return [
            card(
                "Fits",
                "Those of the folder, looked at every two seconds.",
                listed,
                self._said,
                width=LEFT,
            ),
            card(
                "Validation",
                "Single-trial correlation on validation trials after each epoch.",
                self._view(self._draw_validation, ["fits"]),
                width=MIDDLE,
            ),
            card(
                "Loss, rate, speed",
                "After each epoch.",
                quantity,
                self._view(self._draw_quantity, ["fits", "quantity"]),
                width=RIGHT,
            ),
            self.readouts.card(LEFT),
            card("Settings", "", every, self._table, self._table_said, width=MIDDLE),
            self.starting.card(RIGHT),
        ]

    # What there is

    @property
    def folder(self) -> Path:
        """Folder of the fits."""
        assert self.lab.fits is not None  # noqa: S101 - `lacks` says so before
        return self.lab.fits

    def _look(self) -> None:
        """Read what has changed in the folder; what was read stays where it is gone."""
        try:
            names, gone = find_fits(self.folder), ""
        except InputError as error:
            names, gone = list(self.found), str(error)
        if gone and gone != self._gone:
            self.lab.warn("The folder of fits is gone", gone)
        changed, self._gone = gone != self._gone, gone
        for name in () if gone else names:
            stamp = stamp_fit(self.folder, name)
            if self._stamps.get(name) != stamp:
                self._stamps[name], changed = stamp, True
                self.found[name] = self._read(name)
                if name == self.looked_at:
                    self.readouts.read()
        lost = set(self.found) - set(names)
        for name in lost:
            del self.found[name], self._stamps[name]
        if changed or lost:
            self._show()

    def _read(self, name: str) -> xr.Dataset:
        try:
            return read_fit(self.folder, name)
        except InputError as error:
            return xr.Dataset(attrs={"state": "failed", "notices": str(error), "settings": "{}"})

    @property
    def shown(self) -> dict[str, xr.Dataset]:
        """Fits side by side, by name; no more than can be told apart."""
        chosen = [name for name in self.runs if name in self.found][:MOST]
        return {name: self.found[name] for name in chosen}

    @property
    def courses(self) -> dict[str, xr.Dataset]:
        """As `shown`, without epochs where none is over: so it can be drawn."""
        return {name: fit if "epoch" in fit.dims else _EMPTY for name, fit in self.shown.items()}

    # What can be done

    def open_scorecard(self) -> None:
        """Load the twin of a fit that is done, put it beside the lab's, and open the scorecard."""
        name = self.looked_at
        with self.lab.warned(f"There is no scorecard of {name or 'no fit'}"):
            fit = self.found.get(name)
            if fit is None or fit.attrs["state"] not in ("done", "diverged"):
                msg = "Only a fit that is done has a twin; wait for it, or resume it."
                raise InputError(msg)
            self.lab.start_quick(self._load, name, name="load")

    def _load(self, name: str, job: Job) -> None:
        try:
            twin = twins.load_twin(self.folder / name)
        except InputError as error:
            said = str(error)  # the error is gone when it is told
            self.lab.call(lambda: self.lab.warn(f"{name} cannot be opened", said))
            return
        self.lab.call(lambda: self._take_twin(name, twin))

    def _take_twin(self, name: str, twin: twins.Twin) -> None:
        with self.lab.warned(f"{name} cannot stand beside this twin"):
            self.lab.add_twin(name, twin)
            if self.lab.has_pages:
                self.lab.page = "scorecard"

    # Drawn and said

    def _show(self) -> None:
        """Show anew all that was read."""
        with pn.io.hold():
            names = sorted(self.found)
            self._names.options = names
            self._names.value = [name for name in self.runs if name in names]
            self.readouts.show()
            self._said.value = self._say_fits()
            self._show_settings()
            self._redraw("fits")

    def _draw_validation(self) -> hv.Overlay:
        return bare(plots.plot_fits(self.courses, size=(MIDDLE - 70, 220)))

    def _draw_quantity(self) -> hv.Overlay:
        return bare(plots.plot_fits(self.courses, self.quantity, size=(RIGHT - 80, 180)))

    def _say_fits(self) -> str:
        if self._gone:
            return badge("the folder is gone", "weak") + (
                f"<br>{escape(self._gone)} Below is what was read before."
            )
        if not self.found:
            return "No fit yet: start one here, or with <code>twinlab fit</code>."
        said = say_fits(self.shown)
        if not self.lab.has_twin:
            said += say_opening(self.folder, self.shown)
        if len(self.runs) > MOST:
            said += f"<br>{MOST} of {len(self.runs)} fits are drawn; choose fewer."
        return said

    def _show_settings(self) -> None:
        table = self.settings()
        same = 0
        if not self.all_settings and len(table.columns) > 1:
            differs = table.nunique(axis=1) > 1
            same = int((~differs).sum())
            table = table[differs]
        elif not self.all_settings:
            table = table[table.index.isin(["core", "layers", "hidden", *ASKED])]
        self._table.value = table
        self._table_said.value = f"{same} settings are alike." if same else ""

    def settings(self) -> pd.DataFrame:
        """Settings of the fits side by side: a row a setting, a column a fit."""
        said = {name: json.loads(fit.attrs["settings"]) for name, fit in self.shown.items()}
        table = pd.DataFrame({name: pd.Series(of, dtype=object) for name, of in said.items()})
        return table.fillna("").astype(str).rename_axis("setting")

    # To take away

    def figures(self) -> dict[str, Any]:
        """Figures of the courses and the readouts."""
        return {
            "validation": lambda: plots.plot_fits(self.courses),
            "quantity": lambda: plots.plot_fits(self.courses, self.quantity),
            "readouts": self.readouts.draw,
        }

    def tables(self) -> dict[str, Any]:
        """Courses of all fits side by side, and readouts."""
        return {"courses": self._gather, "readouts": lambda: self.readouts.places}

    def _gather(self) -> xr.Dataset | None:
        known = {name: fit for name, fit in self.shown.items() if "epoch" in fit.dims}
        if not known:
            return None
        every = [fit.drop_attrs() for fit in known.values()]
        along = xr.Variable("fit", np.array(list(known)))
        return xr.concat(every, along, join="outer", data_vars="all")

    def calls(self) -> list[str]:
        """Read the same fits."""
        return [
            f"fits = {{name: fitting.read_fit(lab.fits, name) for name in {list(self.shown)!r}}}",
            f"places = fitting.read_readouts(lab.fits, {self.looked_at!r}, recording)"
            if self.readouts.places is not None and self.lab.surveyed.recording is not None
            else "places = None",
        ]


_NONE = (("member", "epoch"), np.empty((1, 0)))
_EMPTY = xr.Dataset(
    {name: _NONE for name in ("validation_correlation", *QUANTITIES)}, {"epoch": np.empty(0)}
)
