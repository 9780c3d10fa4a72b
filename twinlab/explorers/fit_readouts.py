"""Where the readouts of one fit look."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np
import panel as pn
import xarray as xr

from twinlab import plots
from twinlab.explorers.following import lead
from twinlab.explorers.looks import card, words
from twinlab.explorers.views import bare
from twinlab.fitting import read_readouts
from twinlab.jobs import Job
from twinlab.schema import InputError

if TYPE_CHECKING:
    from twinlab.explorers.fit_monitor import FitMonitor

__all__ = ["FitReadouts"]


class FitReadouts:
    """Card of a `FitMonitor` with the readouts of the fit that is looked at.

    Parameters
    ----------
    view : FitMonitor

    """

    def __init__(self, view: FitMonitor) -> None:
        self.view = view
        self.places: xr.Dataset | None = None  # from `fitting.read_readouts`, where known

    def card(self, width: int) -> pn.Column:
        """Build the card."""
        view, self._width = self.view, width
        self._which = pn.widgets.Select(options=[], label="fit", width=130, margin=(0, 0, 0, 0))
        lead(self._which, view, "looked_at")
        self._said = words("", width)
        resume = pn.widgets.Button(label="Resume", width=80, margin=(17, 0, 0, 8))
        resume.on_click(lambda _: view.starting.resume(view.looked_at))
        score = pn.widgets.Button(label="Scorecard", width=90, margin=(17, 0, 0, 6))
        score.on_click(lambda _: view.open_scorecard())
        score.visible = view.lab.has_twin
        return card(
            "Where readouts look",
            "Each neuron's readout on the image, from the last checkpoint or the twin; "
            "ringed: the chosen neuron.",
            pn.Row(self._which, resume, score, margin=0),
            view._view(self.draw, ["readouts"]),
            self._said,
            width=width,
        )

    def show(self) -> None:
        """Offer the fits side by side, and look at one of them."""
        view = self.view
        self._which.options = list(view.shown)
        if view.looked_at not in view.shown:
            view.looked_at = next(iter(view.shown), "")
        self._which.value = view.looked_at or None

    def read(self) -> None:
        """Read where the readouts of the fit look, in the background."""
        view, self.places = self.view, None
        view._redraw("readouts")
        self._said.value = ""
        if view.looked_at in view.found:
            view.lab.start_quick(self._find, view.looked_at, name="readouts")

    def _find(self, name: str, job: Job) -> None:
        lab, found = self.view.lab, None
        with contextlib.suppress(InputError):  # damage is said in the list of fits
            found = read_readouts(self.view.folder, name, lab.surveyed.recording)
        job.check()
        lab.call(lambda: self._take(name, found))

    def _take(self, name: str, found: xr.Dataset | None) -> None:
        if name == self.view.looked_at:
            self.places = found
            self._said.value = (
                "Not placed: no epoch is over, its readouts have no place, or it is of another "
                "recording."
                if found is None
                else f"{found.sizes['neuron']} readouts, in pixels of the image."
            )
            self.view._redraw("readouts")

    def draw(self) -> hv.Overlay:
        """Draw the readouts on the image; none while they are not known."""
        lab, places = self.view.lab, self.places
        if places is None:
            spec, none = lab.canvas, ("neuron", np.empty(0))
            places = xr.Dataset(
                {"x": none, "y": none}, attrs={"height": spec.height, "width": spec.width}
            )
        chosen = lab.neuron if lab.neuron < places.sizes["neuron"] else None
        return bare(plots.plot_readouts(places, selected=chosen, width=self._width - 60))
