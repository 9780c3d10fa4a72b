"""The stimulus bench: a stimulus, the population's response, and the neurons it drives most."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import holoviews as hv
import numpy as np
import panel as pn
import xarray as xr

from twinlab import plots
from twinlab.explorers.looks import card, colors
from twinlab.explorers.shown import STIMULUS
from twinlab.explorers.stimulus_card import StimulusCard
from twinlab.explorers.views import bare

__all__ = ["StimulusBench"]

LEFT, RIGHT = 430, 720  # of the cards' contents, in pixels
MOST_BARS = 20
N_DRIVEN = 8  # neurons with bars where none are selected


class StimulusBench(StimulusCard):
    """Any stimulus: seen, moved, drawn or uploaded, and what every neuron would answer."""

    title = "Stimulus bench"

    def lay_out(self) -> pn.Row:
        """Build the page."""
        stimulus = card(
            "Stimulus",
            "Drag on the picture to move the stimulus, or to draw where the kind is a drawing.",
            *self._controls(LEFT),
            self._picture(LEFT - 60),
            self._words(self._say_familiarity, LEFT),
            width=LEFT,
        )
        population = card(
            "What every neuron would answer",
            "Predicted response at each neuron's place in cortex; the chosen one is ringed.",
            self._rates((460, 240), 7),
            self._words(self._say_rate, RIGHT),
            width=RIGHT,
        )
        units = card(
            "Chosen neurons",
            "Response over the largest usual one (99th percentile over ordinary images, dashed); "
            "pale: the range of usual responses. Above each: the response itself.",
            self._bars(),
            self._words(self._say_driven, RIGHT),
            pn.Row(
                self._leads_to(
                    "unit", "Choose the neuron it drives most", self.choose_driven, width=240
                ),
                self._leads_to("tuning", "Open in tuning lab", width=150),
                margin=0,
            ),
            width=RIGHT,
        )
        styles = {"gap": "12px"}
        right = pn.Column(population, units, margin=0, styles=styles)
        return pn.Row(stimulus, right, margin=0, styles=styles | {"flex-wrap": "wrap"})

    def choose_driven(self) -> None:
        """Choose the neuron with the largest predicted response to the stimulus."""
        self.lab.neuron = int(np.nanargmax(self.lab.rate().values))

    def driven(self) -> xr.Dataset:
        """Responses of the selected neurons, of up to 20; of those driven most if there are none.

        `rate`, and `usual_low` and `usual_high`, the 1st and 99th percentile of what each answers
        to ordinary images, (neuron).
        """
        rate = self.lab.rate()
        shown = self.lab.selection[:MOST_BARS]
        if not shown:
            shown = np.argsort(-rate.values, kind="stable")[:N_DRIVEN].tolist()
        low, high = self.lab.findings.usual_range[:, shown]
        units = {"units": self.lab.units}
        return self.lab.findings.labels.isel(neuron=shown).assign(
            rate=("neuron", rate.values[shown], rate.attrs),
            usual_low=("neuron", low, {"long_name": "1st percentile of usual responses"} | units),
            usual_high=(
                "neuron",
                high,
                {"long_name": "99th percentile of usual responses"} | units,
            ),
            position=("neuron", shown, {"long_name": "position of the neuron", "units": "1"}),
        )

    def _bars(self) -> pn.pane.HoloViews:
        return self._patched(
            self._draw_bars, lambda: [*plots.driven_columns(self.driven()), {}],
            ["selection", *STIMULUS],
        )  # fmt: skip

    def _draw_bars(self) -> hv.Overlay:
        room = min(MOST_BARS, len(self.lab.findings))
        return bare(
            plots.plot_driven(
                self.driven(), size=(RIGHT - 90, 130), room=room, ink=str(colors()["body"])
            )
        )

    def _say_driven(self) -> str:
        selected = len(self.lab.selection)
        if not selected:
            shown = min(N_DRIVEN, len(self.lab.findings))
            return f"The {shown} neurons it drives most; select some on a map to see those."
        if selected > MOST_BARS:
            return f"The first {MOST_BARS} of {selected} selected neurons."
        return f"The {selected} selected neurons."

    def figures(self) -> Mapping[str, Callable[[], hv.Dimensioned]]:
        """Stimulus, population, and the chosen neurons."""
        return {**super().figures(), "chosen neurons": self._draw_bars}

    def tables(self) -> Mapping[str, Callable[[], xr.Dataset]]:
        """Stimulus, predicted responses, and those of the chosen neurons."""
        return {**super().tables(), "chosen neurons": self.driven}
