"""What the pages of recordings share: cells in space, their reliability, the session."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
import param
import xarray as xr

from twinlab import plots, recordings
from twinlab.explorers.browsing import Browsed
from twinlab.explorers.looks import badge, card, drawn
from twinlab.explorers.trust import say_number
from twinlab.explorers.views import bare
from twinlab.insilico import RELIABLE
from twinlab.jobs import Job
from twinlab.schema import InputError

__all__ = ["COLORS", "RecordedCells"]

# What cells can be coloured by: who finds it, and the name it has there.
COLORS = {
    "explainable variance": ("reliability", "explainable_variance"),
    "oracle correlation": ("reliability", "oracle_correlation"),
    "ceiling of the correlation": ("reliability", "cc_max"),
    "mean response": ("activity", "neuron_mean"),
    "standard deviation": ("activity", "neuron_std"),
    "share of zeros": ("activity", "neuron_zero"),
}
# What is selected is circled, on all pages; Bokeh's own fading would show only the last lasso.
LASSO = {
    "tools": ["hover", "lasso_select", "box_select"],
    "active_tools": ["lasso_select"],
    "nonselection_alpha": 1.0,
}


class RecordedCells(Browsed):
    """Base of the pages of a recording: its cells, by what they say of themselves.

    Parameters
    ----------
    lab : LabState
        With a recording.
    **params
        Initial values of its own parameters.

    """

    color: Any = param.Selector(objects=list(COLORS), doc="What the cells are coloured by.")

    def calls(self) -> list[str]:
        """Lines that compute what the cells are coloured by."""
        return [
            "activity = recordings.survey_responses(recording)",
            "reliability = evaluation.score_reliability(recording)",
        ]

    def of_neurons(self) -> xr.Dataset | None:
        """All that the recording says of each neuron by itself; None while it is not known."""
        found = [self.lab.surveyed.gathered(name) for name in ("reliability", "activity")]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return None
        kept = [one.drop_vars([v for v in one if one[v].dims != ("neuron",)]) for one in known]
        return xr.merge(kept, combine_attrs="drop_conflicts")

    def start_survey(self) -> None:
        """Go through the recording in the background, if nobody has yet."""
        repeated = np.bincount(self.recording.stimulus_index.values).max() > 1
        if not repeated and self.color == self.param.color.default:
            self.color = "mean response"  # reliability will be undefined
        missing = [n for n in ("activity", "reliability") if self.lab.surveyed.gathered(n) is None]
        if missing:
            self.lab.start_quick(self._survey, missing, name="survey")

    def _survey(self, names: list[str], job: Job) -> None:
        for name in names:
            try:
                self.lab.surveyed.survey(name, job)
            except InputError as error:  # a chunk of a recording on the disk is gone
                self.lab.call(partial(self.lab.warn, "Cells cannot be judged", str(error)))
                return
            self.lab.tell(name)

    def rows(self) -> np.ndarray:
        """Positions in the recording of the selected neurons; of all, the most reliable first."""
        places = self.lab.surveyed.recorded[self.lab.selection]
        if (places >= 0).any():
            return places[places >= 0]
        known = self.lab.surveyed.gathered("reliability")
        if known is None:
            return np.arange(self.recording.sizes["neuron"])
        return np.asarray((-known.explainable_variance).argsort().values)

    def _rows_as_code(self) -> str:
        """Line of code that computes `rows` from what `calls` has computed."""
        if (self.lab.surveyed.recorded[self.lab.selection] >= 0).any():
            return f"rows = {self.rows().tolist()}"
        return "rows = (-reliability.explainable_variance).argsort().values"

    def _choose_row(self, place: int) -> None:
        """Choose the neuron at a position in the recording."""
        self.lab.neuron = int(np.flatnonzero(self.lab.surveyed.recorded == place)[0])

    # Cells

    def _cells_card(self, width: int) -> pn.Column:
        figure = drawn(self._cells(width))
        self.param.watch(lambda _: self._draw_cells_afresh(figure, width), "color")
        number = pn.widgets.IntInput.from_param(self.lab.param.neuron, label="neuron", width=90)
        color = pn.widgets.Select.from_param(self.param.color, label="coloured by", width=200)
        some = pn.widgets.TextInput.from_param(self.lab.param.chosen, label="selected", width=90)
        clear = pn.widgets.Button(label="Select none", width=100, margin=(21, 8, 0, 0))
        clear.on_click(lambda _: self._select([]))
        arrivals = self.lab.arrivals.param
        return card(
            "Cells",
            "Each at its place in cortex; tap to choose, lasso to select (circled) on all pages. "
            "Grey: undefined, or not known yet.",
            pn.Row(number, color, margin=0),
            figure,
            pn.Row(
                some,
                clear,
                self._says(self._say_selection, width - 230, self.lab.param.selection),
                margin=0,
            ),
            self._says(
                self._say_neuron,
                width,
                self.lab.param.neuron,
                arrivals.activity,
                arrivals.reliability,
            ),
            width=width,
        )

    def _cells(self, width: int) -> hv.DynamicMap:
        source, _ = COLORS[self.color]
        size = (width - 110, 200)
        # In layers: taps and lassos are heard on a layer, not on an overlay that changes as one.
        points = self._figure(
            lambda: self._draw_cells(size).get(0).opts(**LASSO, backend="bokeh"), [], [source]
        )
        hv.streams.Tap(source=points).add_subscriber(self.lab.choose_near)
        hv.streams.Selection1D(source=points).add_subscriber(self._select)
        circles = self._figure(self._draw_circles, ["selection"], [])
        ring = self._figure(lambda: self._draw_cells(size).get(1), ["neuron"], [])
        self._drawn = [one.streams[0] for one in (points, circles, ring)]
        return points * circles * ring

    def _draw_cells_afresh(self, pane: pn.pane.HoloViews, width: int) -> None:
        """Draw the map anew: another colour is another scale and another colour bar."""
        for stream in self._drawn:
            self.lab.views.pop(stream)
        pane.object = self._cells(width)

    def _draw_cells(self, size: tuple[int, int] = (300, 300)) -> hv.Overlay:
        value = self.lab.surveyed.column(*COLORS[self.color])
        return plots.plot_map(
            self.lab.places.assign({value.name: value}),
            str(value.name),
            selected=self.lab.neuron,
            title=self.color,
            size=size,
            marker_size=self._marker,
        )

    def _draw_circles(self) -> hv.Points:
        return plots.plot_circles(self.lab.places, self.lab.selection, marker_size=self._marker)

    @property
    def _marker(self) -> int:
        return 8 if len(self.lab.surveyed) < 1000 else 5

    def _select(self, index: list[int]) -> None:
        self.lab.selection = sorted(index)

    def _say_selection(self) -> str:
        n = len(self.lab.selection)
        return f"{n:,} neuron{'s' * (n != 1)} selected" if n else "none selected"

    def _say_neuron(self) -> str:
        labels = self.lab.surveyed.labels.isel(neuron=self.lab.neuron)
        who = f"<b>Neuron {self.lab.neuron}</b>, id {escape(str(labels.neuron_id.item()))}"
        if self.place < 0:
            return f"{who}<br>" + badge("not in this recording", "none")
        said = [who]
        for name in ("reliability", "activity"):
            known = self.lab.surveyed.gathered(name)
            if known is None:
                said.append(f"{name}: measuring …")
                continue
            one = known.isel(neuron=self.place)
            said += _words_of_reliability(one) if name == "reliability" else _words_of(one)
        return "<br>".join(said)

    # How the chosen colour is distributed, and the session

    def _distribution_card(self, width: int) -> pn.Column:
        return card(
            "All cells",
            "How what they are coloured by is distributed; dashed: the chosen neuron.",
            self._view(
                lambda: self._draw_distribution((width - 70, 96)),
                ["neuron", "color"],
                ["activity", "reliability"],
            ),
            width=width,
        )

    def _draw_distribution(self, size: tuple[int, int] = (300, 200)) -> hv.Overlay:
        value = self.lab.surveyed.column(*COLORS[self.color])
        mine = float(value[self.lab.neuron])
        defined = int(np.isfinite(value).sum())
        title = f"{defined:,} of {len(value):,} neurons defined" if defined else "none defined"
        figure = plots.plot_histogram(
            value.assign_attrs(long_name=self.color),
            mark=mine if np.isfinite(mine) else None,
            count="neurons",
            title=title,
            size=size,
        )
        return bare(figure)

    def _session_card(self, width: int) -> pn.Column:
        return card(
            "Over the session",
            "Mean response of all neurons, and its standard error over trials.",
            self._view(lambda: self._draw_session((width - 70, 80)), [], ["activity"]),
            width=width,
        )

    def _draw_session(self, size: tuple[int, int]) -> hv.Overlay:
        activity = self.lab.surveyed.gathered("activity")
        summary, title = xr.Dataset(), "measuring …"
        if activity is not None:
            summary = recordings.follow_session(self.recording, activity.trial_response.values)
            title = "" if summary else "the order of presentation is unknown, or trials are few"
        return bare(plots.plot_session(summary or _NO_SESSION, title=title, size=size))


_NO_SESSION = xr.Dataset(
    {
        "session_response": ("session_trial", [np.nan] * 2, {"long_name": "mean response"}),
        "session_error": ("session_trial", [np.nan] * 2),
    },
    {"session_trial": ("session_trial", [0.0, 1.0], {"long_name": "trial"})},
)


def _words_of_reliability(one: xr.Dataset) -> list[str]:
    value = float(one.explainable_variance)
    if not np.isfinite(value):
        return [badge("reliability undefined", "none") + " no stimulus was repeated for it"]
    verdict = ("reliable", "good") if value >= RELIABLE else ("not reliable", "weak")
    return [
        f"{badge(*verdict)} explainable variance <b>{value:.2f}</b> (judged from {RELIABLE})",
        f"oracle correlation {say_number(one.oracle_correlation)}, ceiling of the correlation to "
        f"average {say_number(one.cc_max)}",
    ]


def _words_of(activity: xr.Dataset) -> list[str]:
    units = escape(str(activity.neuron_mean.attrs.get("units", "")))
    return [
        f"mean {say_number(activity.neuron_mean)} {units}, standard deviation "
        f"{say_number(activity.neuron_std)}; {say_number(100 * activity.neuron_zero)} % zeros; "
        f"{int(activity.neuron_given):,} responses"
    ]
