"""The stimulus of one cell of a confusion matrix, and what the neuron answered to it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
import panel as pn
import xarray as xr

from twinlab import plots
from twinlab.explorers.following import lead
from twinlab.explorers.looks import card, words
from twinlab.explorers.views import bare
from twinlab.loop import find_stimuli

if TYPE_CHECKING:
    from twinlab.explorers.inception_loop import InceptionLoop

__all__ = ["LoopStimulus"]

SCREEN = (0.0, 255.0)  # grey levels that a rig shows black and white


class LoopStimulus:
    """Card of an `InceptionLoop` with the stimulus that is chosen there.

    Parameters
    ----------
    view : InceptionLoop

    """

    def __init__(self, view: InceptionLoop) -> None:
        self.view = view

    def card(self, width: int) -> pn.Column:
        """Build the card."""
        self._width = width
        self._kinds = pn.widgets.Select(
            options=[], label="stimulus", width=150, margin=(0, 0, 4, 0)
        )
        lead(self._kinds, self.view, "kind")
        self._said = words("", width)
        send = pn.widgets.Button(label="Send to bench", width=120, margin=(6, 6, 0, 0))
        send.on_click(lambda _: self.send())
        unit = self.view._leads_to(
            "unit", "Open the neuron", self.choose_unit, width=130, margin=(6, 0, 0, 0)
        )
        return card(
            "The stimulus of a cell",
            "As it was planned, with the mean response over repeats of the neuron that answers.",
            self._kinds,
            self.view._view(self.draw, ["stimulus"]),
            self._said,
            pn.Row(send, unit, margin=0),
            width=width,
        )

    @property
    def every(self) -> xr.Dataset | None:
        """All stimuli made for the chosen neuron, and what is known of the answers to them."""
        view = self.view
        if "key" not in view.groups or not view.made_for:
            return None
        return find_stimuli(view.groups, view.made_for, view.answers)

    @property
    def shown(self) -> xr.Dataset | None:
        """The one of them that is shown."""
        every = self.every
        if every is None:
            return None
        at = np.flatnonzero(every.kind.values.astype(str) == self.view.kind)
        return every.isel(stimulus=at[0]) if at.size else None

    def show(self, *_: Any) -> None:
        """Show the stimulus of the chosen cell."""
        if self.view._busy:
            return
        view, every = self.view, self.every
        kinds = [] if every is None else every.kind.values.astype(str).tolist()
        self._kinds.options = kinds
        if kinds and view.kind not in kinds:
            own = [kind for kind in kinds if kind.split("-")[0] == view.objective]
            view.kind = (own or kinds)[0]  # and this is called again
            return
        self._kinds.value = view.kind if kinds else None
        self._said.value = self.say()
        view._redraw("stimulus")

    def send(self) -> None:
        """Send the stimulus to the bench, and open it there."""
        view, shown = self.view, self.shown
        if shown is None:
            view.lab.warn("There is no stimulus to send", "Tap a cell of the matrix first.")
            return
        with view.lab.warned("The stimulus does not fit the twin of this lab"):
            title = f"{view.kind} of {view.made_for}, loop {view.loop}"
            view.lab.show_image(shown.stimulus.values, title)
            if view.lab.has_pages:
                view.lab.page = "stimulus"

    def choose_unit(self) -> None:
        """Choose the neuron that answers, in the whole lab."""
        view = self.view
        at = np.flatnonzero(view.names_in_lab() == view.answers)
        if at.size:
            view.lab.neuron = int(at[0])
        else:
            view.lab.warn(
                f"{view.answers or 'No neuron'} is not of this lab's twin",
                "Serve the twin that the loop was begun with.",
            )

    def draw(self) -> hv.Image:
        """Draw the stimulus; of a video its middle frame."""
        shown = self.shown
        if shown is None:
            spec = self.view.lab.findings.twin.spec
            blank = np.full(spec.shape, np.mean(SCREEN))
            image = xr.DataArray(blank, dims=("channel", "y", "x"))
        else:
            image = shown.stimulus
            if "frame" in image.dims:
                image = image.isel(frame=image.sizes["frame"] // 2)
        drawn = plots.plot_image(image, limits=SCREEN, width=self._width - 70)
        return bare(drawn).opts(framewise=True)

    def say(self) -> str:
        """Say what it is and what it did."""
        view, shown = self.view, self.shown
        if shown is None:
            return "No stimulus yet."
        values = {
            name: f"<b>{float(shown[name]):.3g}</b>" if np.isfinite(shown[name]) else "unknown"
            for name in ("observed", "predicted", "predicted_other")
        }
        code = str(shown.code.item()) if "code" in shown.coords else "unknown"
        own = view.made_for == view.answers
        lines = [
            f"Made for <b>{escape(view.made_for)}</b>, code {escape(code)} at the rig",
            f"<b>{escape(view.answers)}</b> answers ({'its own' if own else 'made for another'}): "
            f"measured {values['observed']}, predicted {values['predicted']}",
        ]
        if own:
            lines.append(f"predicted by the verifier {values['predicted_other']}")
        return "<br>".join(lines)
