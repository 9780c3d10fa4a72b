"""Any stimulus, and what the whole population would answer to it."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn

from twinlab import plots
from twinlab.explorers.looks import badge, card, words
from twinlab.explorers.state import STIMULUS
from twinlab.explorers.views import Explorer, bare

__all__ = ["StimulusBench"]

WIDTH = 350  # of the card's contents, in pixels


class StimulusBench(Explorer):
    """Sliders for a stimulus, the stimulus, and every neuron's predicted response."""

    title = "Stimulus bench"
    of: ClassVar[tuple[str, ...]] = ("image", "video")
    about = "Any stimulus, and what the whole population would answer to it."

    def lay_out(self) -> pn.Column:
        """Build the card."""
        titles = {
            "orientation": "orientation (deg)",
            "spatial_frequency": "frequency (cycles/px)",
            "phase": "phase (deg)",
            "contrast": "contrast (Michelson)",
            "x": "x (px)",
            "y": "y (px)",
            "size": "size (px)",
        }
        half = (WIDTH - 20) // 2
        sliders = {
            name: pn.widgets.FloatSlider.from_param(
                self.lab.param[name], label=title, width=half, margin=(2, 8, 2, 2)
            )
            for name, title in titles.items()
        }
        for name in ("x", "y", "size"):
            sliders[name].disabled = pn.bind(_fills_the_field, self.lab.param.kind)
        kind = pn.widgets.Select.from_param(self.lab.param.kind, label="kind", width=half - 10)
        match = pn.widgets.Button(label="Match to neuron", width=half, margin=(18, 0, 0, 8))
        match.on_click(lambda _: self.lab.match_stimulus())
        stimulus = [self.lab.param[name] for name in STIMULUS]
        return card(
            "Stimulus bench",
            "Predicted response of every neuron to the stimulus above, at its place in cortex.",
            pn.Row(kind, match, margin=0),
            pn.GridBox(*sliders.values(), ncols=2, margin=0),
            self._view(self._draw_stimulus, STIMULUS),
            words(pn.bind(self._say_familiarity, *stimulus), WIDTH),
            pn.pane.HoloViews(self._rates(), linked_axes=False, margin=0),
            words(pn.bind(self._say_rate, self.lab.param.neuron, *stimulus), WIDTH),
            width=WIDTH,
        )

    def _rates(self) -> hv.DynamicMap:
        points = self._figure(lambda: self._draw_rates().get(0), STIMULUS, [])
        return points * self._figure(lambda: self._draw_rates().get(1), ["neuron"], [])

    def _draw_rates(self) -> hv.Overlay:
        figure = plots.plot_map(
            self.lab.places.assign(rate=self.lab.rate()),
            "rate",
            selected=self.lab.neuron,
            limits=(0.0, float(np.percentile(self.lab.findings.usual_rate, 99)) or 1.0),
            size=(WIDTH - 110, 170),
            marker_size=7,
        )
        return bare(figure.get(0)) * figure.get(1)

    def _draw_stimulus(self) -> hv.Image:
        return bare(
            plots.plot_image(self.lab.stimulus(), limits=self.lab.limits, width=WIDTH - 60)
        )

    def _say_familiarity(self, *_: Any) -> str:
        if self.lab.findings.training is None:
            if self.lab.canvas.is_video:
                return badge("held still for a second", "none") + " A twin of videos sees it so."
            return badge("no recording given", "none") + " What it was trained on is unknown."
        faults = self.lab.unfamiliar()
        if not faults:
            return badge("within what the twin was trained on", "good")
        return badge("outside what the twin was trained on", "weak") + "<br>" + "; ".join(faults)

    def _say_rate(self, neuron: int, *_: Any) -> str:
        rates, usual = self.lab.rate().values, self.lab.findings.usual_rate
        mine = float(rates[neuron])
        above_others = 100 * float(np.mean(rates < mine))
        above_own = 100 * float(np.mean(usual[:, neuron] < mine))
        shown = "recorded images" if self.lab.findings.recording is not None else "gratings"
        shown = "frames of videos" if self.lab.canvas.is_video else shown
        return (
            f"Neuron {neuron}: <b>{mine:.3g}</b> {self.lab.units}<br>"
            f"above {above_own:.0f} % of its responses to {len(usual)} {shown}, "
            f"and above {above_others:.0f} % of the neurons"
        )


def _fills_the_field(kind: str) -> bool:
    return kind == "grating"
