"""How well the population is predicted, beside what could be reached and beside other twins."""

from __future__ import annotations

from functools import partial
from html import escape
from itertools import cycle
from typing import Any

import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn
import xarray as xr

from twinlab import evaluation, plots
from twinlab.explorers.cloud import Cloud
from twinlab.explorers.listing import listing
from twinlab.explorers.looks import badge, card, drawn, page
from twinlab.explorers.standing import CEILING, N_WORST, REFERENCES, SCORES, THIS, Standing
from twinlab.explorers.standins import no_averages
from twinlab.explorers.views import bare
from twinlab.jobs import Job
from twinlab.schema import InputError

__all__ = ["Scorecard"]

INKS = ["twin", "other", "measured", "guide"]  # of twins, as in the figure of medians
LEFT, RIGHT = 570, 590  # widths of the columns' contents, in pixels


class Scorecard(Standing):
    """All scores of a twin over its population, with ceilings, intervals and other twins."""

    title = "Scorecard"
    about = "How well all neurons are predicted, beside their ceilings and other twins."

    def lay_out(self) -> pn.Column:
        """Build the page, and start to score."""
        self.cloud = Cloud(self, self.place, lambda: ["judged"], (250, 240), self._diagonal)
        self._against = self._choice(
            "against", [CEILING, *self.lab.others], label="against", width=140
        )
        self.refused: dict[tuple[str, str], str] = {}  # what could not be scored, and why
        self._own = [self.param[name] for name in self.own()]
        self._judged = self.lab.arrivals.param.judged
        self.param.watch(lambda _: self._change(), list(self.own()))
        self.lab.arrivals.param.watch(lambda _: self._fill(), "judged")
        self.lab.arrivals.param.watch(lambda _: self._meet(), "twins")
        top = page(
            self.title,
            self.lab.surveyed.describe(),
            pn.Column(self._summary_card(), self._curve_card(), margin=0, styles={"gap": "12px"}),
            pn.Column(self._neurons_card(), self._worst_card(), margin=0, styles={"gap": "12px"}),
        )
        self._begin()
        return top

    def _begin(self) -> None:
        """Score what is not yet scored, this twin first."""
        splits = ["test", self.split] if self.lab.findings.testable else [self.split]
        wanted = [(name, split) for split in splits for name in ("", *self.lab.others)]
        missing = [
            one
            for one in dict.fromkeys(wanted)
            if self.lab.findings.judged(*one) is None and one not in self.refused
        ]
        if missing:
            self.lab.start_quick(self._judge, missing, name="scorecard")

    def _judge(self, wanted: list[tuple[str, str]], job: Job) -> None:
        for name, split in wanted:
            try:
                self.lab.findings.judge(name, split, job)
            except InputError as error:
                self.refused[name, split] = str(error)
                self.lab.call(
                    partial(self.lab.warn, f"The {split} images cannot be scored", str(error))
                )
            self.lab.tell("judged")
            if not name and split == "test":
                self.lab.tell("scores")  # which these are, on all other pages

    def _meet(self) -> None:
        """Score a twin that has come in beside this one."""
        self._against.options = [CEILING, *self.lab.others]
        self._medians.object = self._figure(self._draw_medians, ["scorecard"], ["judged"])
        self._begin()

    def _change(self) -> None:
        self._begin()
        self.cloud.renew()
        self._redraw("scorecard")
        self._fill()

    # Cards

    def _summary_card(self) -> pn.Column:
        self._medians = self._view(self._draw_medians, ["scorecard"], ["judged"])
        return card(
            "Scores of the population",
            "Medians over the neurons that count, with 95 % intervals over neurons.",
            pn.Row(
                pn.widgets.Select.from_param(self.param.split, label="images", width=110),
                pn.widgets.FloatSlider.from_param(
                    self.param.reliability,
                    label="counts from explainable variance",
                    width=250,
                ),
                margin=0,
            ),
            self._says(self._say_counts, LEFT, *self._own, self._judged),
            self._medians,
            self._says(self._say_scores, LEFT, *self._own, self._judged),
            width=LEFT,
        )

    def _neurons_card(self) -> pn.Column:
        return card(
            "Neuron by neuron",
            "Tap a neuron to choose it; dashed: equal. Colour: explainable variance. Right: the "
            "chosen neuron's mean responses to the test images, measured ± standard error.",
            pn.Row(
                pn.widgets.IntInput.from_param(self.lab.param.neuron, label="neuron", width=76),
                pn.widgets.Select.from_param(self.param.score, label="score", width=170),
                self._against,
                self._leads_to("unit", "Open unit page", width=120, margin=(17, 6, 0, 0)),
                margin=0,
            ),
            pn.Row(
                self.cloud.pane,
                pn.Column(
                    self._view(self._draw_prediction, ["neuron"], ["averages"]),
                    min_height=320,
                    margin=0,
                ),
                margin=0,
            ),
            self._view(self._draw_shares, ["scorecard"], ["judged"]),
            width=RIGHT,
        )

    def _worst_card(self) -> pn.Column:
        self._table = listing(
            self._frame(), self._open, width=RIGHT, height=180, column=140, undefined="undefined"
        )
        return card(
            "Predicted worst",
            f"Of the neurons that count, the {N_WORST} with the lowest score; tap one to open "
            "its page.",
            self._table,
            width=RIGHT,
        )

    def _curve_card(self) -> pn.Column:
        curve = self.lab.findings.learning_curve
        if curve is None:
            said = (
                "No learning curve is known. <code>twinlab plan</code> makes one: how the score "
                "grows with minutes of recording."
            )
            return card("Learning curve", said, width=LEFT)
        return card(
            "Learning curve",
            "Score of twins fitted to parts of the recording.",
            drawn(bare(plots.plot_learning_curve(curve))),
            width=LEFT,
        )

    # Drawn and said

    def _diagonal(self) -> hv.Curve:
        """Line of equality; none where the two are no equals, as FEVE and reliability."""
        placed = self.place().neurons
        if self.against == CEILING and REFERENCES[SCORES[self.score]] == "explainable_variance":
            placed = placed * np.nan
        return plots.plot_diagonal(placed.against, placed.score)

    def _draw_prediction(self) -> hv.Overlay:
        averages = self.lab.known("averages")
        if averages is None:
            averages = no_averages(self.lab.units)
        return bare(
            plots.plot_prediction(averages, title=f"neuron {self.lab.neuron}", size=(170, 240))
        )

    def _draw_shares(self) -> hv.Overlay:
        placed = self.place().neurons
        counted = self.counted()
        return bare(plots.plot_shares(placed.score, counted, word="count", size=(RIGHT - 70, 90)))

    def _draw_medians(self) -> hv.Overlay:
        known = self.summaries()  # as many layers as twins, known or not: drawn in place
        every = {name: known.get(name, _nothing()) for name in (THIS, *self.lab.others)}
        figure = plots.plot_score_medians(every, size=(LEFT - 300, 210))
        return bare(figure).opts(show_legend=False, backend="bokeh")

    def _say_counts(self) -> str:
        scores, counted = self.scores(), self.counted()
        if ("", self.split) in self.refused:
            return badge("cannot be scored", "weak") + " " + escape(self.refused["", self.split])
        if scores is None:
            return badge("measuring …", "none")
        n = len(self.lab.findings)
        if counted is None:
            return badge("no image is repeated", "weak") + (
                f" Which of {n} neurons are reliable is unknown: all count, without ceilings."
            )
        undefined = int(np.isnan(scores[SCORES[self.score]].values).sum())
        return (
            f"<b>{counted.sum()}</b> of {n} neurons are reliable enough to count; {self.score} is "
            f"undefined for {undefined}."
        )

    def _say_scores(self) -> str:
        summaries = self.summaries()
        if not summaries:
            return ""
        difference = self.difference()
        inks = dict(zip([THIS, *self.lab.others], cycle(INKS), strict=False))
        if difference is not None:  # there is room for the two
            summaries = {name: summaries[name] for name in (THIS, self.against)}
        heads = [
            f"<span style='color:{plots.COLORS[inks[name]]}'>●</span> {escape(name)}"
            for name in summaries
        ]
        columns = list(summaries.values())
        if difference is not None:
            heads.append(f"this - {escape(self.against)}, paired")
            columns.append(difference)
        rows = [
            "<th></th>" + "".join(f"<th style='text-align:left'>{head}</th>" for head in heads)
        ]
        for place, label in enumerate(columns[0].label.values.tolist()):
            cells = "".join(_cell(column.isel(score=place)) for column in columns)
            rows.append(f"<td>{label}</td>{cells}")
        return f"<table><tr>{'</tr><tr>'.join(rows)}</tr></table>"

    def _frame(self) -> pd.DataFrame:
        rows, scores = self.worst(), self.scores()
        ids = self.lab.findings.labels.neuron_id.values[rows]
        columns: dict[str, Any] = {"neuron": rows, "id": ids}
        for name in dict.fromkeys([SCORES[self.score], "explainable_variance", "cc_max"]):
            values = np.zeros(0) if scores is None else scores[name].values[rows]
            columns[name.replace("_", " ")] = values
        return pd.DataFrame(columns)

    def _fill(self) -> None:
        self._table.value = self._frame()

    def _open(self, neuron: int) -> None:
        """Choose a neuron, and open its page where there is one."""
        self.lab.neuron = neuron
        if self.lab.has_pages:
            self.lab.page = "unit"

    # What can be taken away

    def figures(self) -> dict[str, Any]:
        """Medians, neurons, and their distribution."""
        return {
            "medians": self._draw_medians,
            "neurons": self.cloud.draw,
            "distribution": self._draw_shares,
        }

    def tables(self) -> dict[str, Any]:
        """Scores of each neuron, and medians over them."""
        return {
            "scores": self.scores,
            "medians": lambda: self.summaries().get(THIS),
            "difference": self.difference,
        }


def _nothing() -> xr.Dataset:
    """Stand in for medians that are not known yet: drawn as empty axes."""
    none = xr.Dataset(
        {name: ("neuron", np.zeros(0)) for name in {*REFERENCES, *REFERENCES.values()}}
    )
    return evaluation.summarize_scores(none)


def _cell(one: xr.Dataset) -> str:
    """One score of a table: median, interval, and of how many neurons."""
    median, (low, high) = float(one["median"]), one.median_interval.values
    if not np.isfinite(median):
        return "<td>undefined</td>"
    interval = f"[{low:.3f}, {high:.3f}]" if np.isfinite([low, high]).all() else "[undefined]"
    lost = f", {int(one.n_undefined)} undefined" if one.n_undefined else ""
    return f"<td style='white-space:nowrap'><b>{median:.3f}</b> {interval}{lost}</td>"
