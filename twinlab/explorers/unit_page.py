"""All that is known of one neuron, how far it can be trusted, and another beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import holoviews as hv
import numpy as np
import panel as pn
import param
import xarray as xr

from twinlab import plots
from twinlab.explorers.looks import card
from twinlab.explorers.standins import no_tuning
from twinlab.explorers.trust import ROWS, Verdict, judge_mei, judge_scores, say_number, tabulate
from twinlab.explorers.unit_cards import GAP
from twinlab.explorers.unit_named import NamedUnit
from twinlab.explorers.unit_said import say_diverse, say_lei
from twinlab.explorers.views import bare
from twinlab.schema import InputError
from twinlab.twins.familiarity import unfamiliar_features

__all__ = ["UnitPage"]

LEFT, HALF, RIGHT = 300, 250, 296  # widths of the columns' cards' contents, in pixels
N_DIVERSE = 8
# By name of the figure, or table, the result it needs.
RESULTS = {
    "receptive field": "receptive_field",
    "orientation tuning": "tuning",
    "most exciting input": "mei",
    "least exciting input": "lei",
    "diverse exciting inputs": "diverse",
    "measured and predicted": "averages",
    "best and worst images": "averages",
}


class UnitPage(NamedUnit):
    """All of one neuron: what drives it, what does not, its images, and how far to trust it."""

    title = "Unit page"
    about = "All that is known of one neuron, how far it can be trusted, and another beside it."

    compared = " Green: the pinned neuron."

    def lay_out(self) -> pn.Column:
        """Build the page."""
        self._begin()
        self._join_names()
        self.lab.param.watch(self._draw_rare, "neuron")
        pair = pn.Row(self._field_card(HALF), self._mei_card(HALF), margin=0, styles=GAP)
        middle = [pair, self._pinned_row(), *self._below(HALF)]
        right = [self._lei_card(RIGHT), self._diverse_card(RIGHT)]
        return pn.Column(
            self._head(),
            pn.Row(
                self._trust_column(),
                pn.Column(*middle, margin=0, styles=GAP),
                pn.Column(*right, margin=0, styles=GAP),
                margin=0,
                styles=GAP | {"flex-wrap": "wrap"},
            ),
            margin=0,
            styles={"gap": "10px"},
            sizing_mode="stretch_width",
        )

    def _known(self, neuron: int) -> dict[str, xr.Dataset | None]:
        return {name: self.lab.findings.known(name, neuron) for name in ROWS}

    # Cards

    def _trust_column(self) -> pn.Column:
        arrivals = self.lab.arrivals.param
        chosen = self.lab.param.neuron, self.param.pinned
        return pn.Column(
            card(
                "How far it can be trusted",
                "Scores on the test images, with 95 % intervals over images.",
                self._says(self._say_who, LEFT, self.lab.param.neuron),
                self._says(self._say_trust, LEFT, chosen[0], arrivals.scores, arrivals.mei),
                width=LEFT,
            ),
            card(
                "In numbers",
                "",
                self._says(
                    self._say_numbers,
                    LEFT,
                    *chosen,
                    *(arrivals[name] for name in ROWS),
                ),
                width=LEFT,
            ),
            margin=0,
            styles=GAP,
        )

    def _pinned_row(self) -> pn.Row:
        arrived = self.lab.arrivals.param.mei
        row = pn.Row(
            card(
                "Pinned: receptive field",
                "",
                self._view(
                    lambda: self._draw_field(self._beside, HALF),
                    ["pinned"],
                    ["receptive_field"],
                ),
                width=HALF,
            ),
            card(
                "Pinned: most exciting input",
                "",
                self._view(
                    lambda: self._draw_made("mei", self._beside, HALF),
                    ["pinned"],
                    ["mei"],
                ),
                self._says(self._say_pinned_mei, HALF, self.param.pinned, arrived),
                width=HALF,
            ),
            margin=0,
            styles=GAP,
        )
        row.visible = self.param.pinned.rx.bool()
        return row

    def _lei_card(self, width: int) -> pn.Column:
        return card(
            "Least exciting input",
            "Image of the same norm that drives the neuron least.",
            self._view(
                lambda: self._draw_made("lei", self.lab.neuron, width), ["this lei"], ["lei"]
            ),
            self._says(
                lambda: say_lei(self.lab.known("lei")),
                width,
                self.lab.param.neuron,
                self.lab.arrivals.param.lei,
            ),
            self._maker("lei"),
            width=width,
        )

    def _diverse_card(self, width: int) -> pn.Column:
        changes = self.lab.param.neuron, self.lab.arrivals.param.diverse
        gallery = self._view(lambda: self._draw_diverse(width), ["this diverse"], ["diverse"])
        gallery.visible = pn.bind(lambda *_: self.lab.known("diverse") is not None, *changes)
        return card(
            "Diverse exciting inputs",
            "As unlike each other as can be; below each, its share of the MEI's response.",
            gallery,
            self._says(lambda: say_diverse(self.lab.known("diverse")), width, *changes),
            self._maker("diverse"),
            width=width,
        )

    # Figures and words

    def _draw_rare(self, event: param.parameterized.Event) -> None:
        """Draw again what few neurons have only where this one or the last has it."""
        changed = [
            f"this {name}"
            for name in ("lei", "diverse")
            if any(self.lab.findings.known(name, neuron) for neuron in (event.old, event.new))
        ]
        if changed:
            self._redraw(*changed)

    def _compared(self) -> xr.Dataset:
        if not self.pinned:
            return no_tuning()
        return self.lab.findings.known("tuning", self._beside) or no_tuning()

    @property
    def _beside(self) -> int:
        """Position of the pinned neuron; while there is none, of the chosen, and not shown."""
        position = self.position_of(self.pinned)
        return position if position >= 0 else self.lab.neuron

    def _draw_diverse(self, width: int) -> hv.Overlay:
        diverse, spec = self.lab.known("diverse"), self.lab.findings.twin.spec
        if diverse is None:
            grey = np.full((N_DIVERSE, *spec.shape), spec.mean, np.float32)
            images = xr.DataArray(grey, dims=("image", "channel", "y", "x"))
            captions = [""] * N_DIVERSE
        else:
            images = diverse.image
            shares = diverse.activation / diverse.mei_activation
            captions = [say_number(share, ".0%") for share in shares]
        return bare(
            plots.plot_gallery(
                images, captions, columns=2, limits=self.lab.limits, width=width - 10
            )
        )

    def _say_pinned_mei(self) -> str:
        if self.pinned and self.lab.findings.known("mei", self._beside) is None:
            return "not synthesised yet: choose this neuron to make it"
        return ""

    def trusted(self) -> list[Verdict]:
        """How far the chosen neuron and its most exciting input can be trusted."""
        scores, mei = self.lab.known("scores"), self.lab.known("mei")
        verdicts = [] if scores is None else judge_scores(scores)
        if mei is not None:
            training = self.lab.findings.training
            image = mei.mei.values
            faults = None if training is None else unfamiliar_features(image, training)
            verdicts += judge_mei(mei, faults)
        return verdicts

    def _say_trust(self) -> str:
        said = [str(verdict) for verdict in self.trusted()]
        if self.lab.known("scores") is None:
            said.insert(0, self._say_unjudged())
        if self.lab.known("mei") is None:
            said.append("Its most exciting input is not synthesised yet.")
        return "".join(f'<div style="margin-top:4px">{line}</div>' for line in said)

    def _say_numbers(self) -> str:
        neurons = {f"neuron {self.lab.neuron}": self._known(self.lab.neuron)}
        if self.pinned:
            neurons[f"pinned, {self._beside}"] = self._known(self._beside)
        return tabulate(neurons)

    # What can be taken away

    def figures(self) -> Mapping[str, Callable[[], hv.Dimensioned]]:
        """Return the page's figures."""
        draw: dict[str, Callable[[], hv.Dimensioned]] = {
            "receptive field": lambda: self._draw_field(self.lab.neuron, HALF),
            "orientation tuning": lambda: self._draw_tuning(HALF),
            "most exciting input": lambda: self._draw_made("mei", self.lab.neuron, HALF),
            "least exciting input": lambda: self._draw_made("lei", self.lab.neuron, HALF),
            "diverse exciting inputs": lambda: self._draw_diverse(RIGHT),
            "measured and predicted": lambda: self._draw_prediction(HALF),
            "best and worst images": lambda: self._draw_gallery(2 * HALF + 38),
        }
        return {name: self._if_known(name, figure) for name, figure in draw.items()}

    def _if_known(
        self, name: str, draw: Callable[[], hv.Dimensioned]
    ) -> Callable[[], hv.Dimensioned]:
        def drawn() -> hv.Dimensioned:
            if self.lab.known(RESULTS[name]) is None:
                raise InputError(self._say_unknown(name))
            return draw()

        return drawn

    def _say_unknown(self, name: str) -> str:
        """Why a figure cannot be drawn, and what would help."""
        findings, result = self.lab.findings, RESULTS[name]
        of = f"{name.capitalize()} of neuron {self.lab.neuron}: not known"
        tested = findings.testable and findings.recorded[self.lab.neuron] >= 0
        if result == "averages" and not tested:
            return f"{of}; this needs a recording with test trials of the neuron."
        if result in findings.steps:
            return f"{of} yet; wait until it has been measured."
        return f"{of} yet; press Synthesise on the card of that name."

    def tables(self) -> Mapping[str, Callable[[], xr.Dataset | None]]:
        """Return what is known of the neuron."""
        names = ("scores", "averages", "receptive_field", "tuning", "mei", "lei", "diverse")

        def known(name: str) -> Callable[[], xr.Dataset | None]:
            return lambda: self.lab.known(name)

        return {name.replace("_", " "): known(name) for name in names}

    def calls(self) -> list[str]:
        """Return the lines that compute what is known of the neuron."""
        session = str(self.lab.findings.labels.session.values[0])
        lines = [f"unit = twin.condition(session={session!r})"]
        experiments = {
            "receptive_field": "measure_receptive_field",
            "tuning": "measure_orientation_tuning",
            "mei": "synthesize_mei",
            "lei": "synthesize_lei",
            "diverse": "synthesize_diverse",
        }
        lines += [
            f"{name} = insilico.{experiment}(unit, [{self.lab.neuron}])"
            for name, experiment in experiments.items()
            if self.lab.known(name) is not None
        ]
        if self.lab.findings.testable:
            lines += [
                'prediction = twins.predict_responses(twin, recording, split="test")',
                "scores = evaluation.score_prediction(recording, prediction)",
            ]
        return lines
