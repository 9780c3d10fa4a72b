"""The whole population: mapped, counted, filtered, listed."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn
import param
import xarray as xr

from twinlab import plots
from twinlab.explorers.listing import listing
from twinlab.explorers.looks import card, drawn, page
from twinlab.explorers.neuron_map import LAYOUTS, NeuronMap
from twinlab.explorers.views import bare

__all__ = ["Population"]

N_ROW = 200  # neurons listed at once
STEPS = 200  # of the filter's slider
SIDE = 590  # width of the right column's contents, in pixels


EXPLAINED = {
    "place in cortex": "Each neuron at its place in cortex",
    "receptive field": "Each neuron at the centre of its receptive field on the screen",
    "alike responses": "Neurons that answer the same images lie together: first two principal "
    "components of the predicted responses",
}


class Population(NeuronMap):
    """All neurons on a map, in a histogram and in a table; find and keep those you need."""

    title = "Population"
    about = "Where the neurons are and what is known of them; choose one, or many."
    width: ClassVar[int] = 570
    frame: ClassVar[tuple[int, int]] = (440, 390)

    filters = param.Dict(
        {}, doc="Lowest and highest value that passes, by the name of what is filtered."
    )
    search = param.String("", doc="Letters that the neuron's id must contain.")
    sort_by = param.String("position", doc="What the table is sorted by.")
    descending = param.Boolean(False, doc="Whether the largest value comes first.")

    def lay_out(self) -> pn.Column:
        """Build the page."""
        kinds = self.lab.arrivals.param
        return page(
            self.title,
            self.lab.surveyed.describe(),
            self.map_card(
                "Neurons",
                [pn.widgets.Select.from_param(self.param.layout, label="placed by", width=170)],
                [
                    self._says(
                        self._say_layout, self.width, self.param.layout, kinds.receptive_field
                    ),
                    pn.Row(
                        self._leads_to("unit", "Open unit page", width=120, margin=(4, 6, 0, 0)),
                        self._clear_button(),
                        self._says(self._say_selection, 260, self.lab.param.selection),
                        margin=0,
                    ),
                ],
            ),
            pn.Column(
                self._histogram_card(), self._table_card(), margin=0, styles={"gap": "12px"}
            ),
        )

    # What passes

    def passing(self) -> np.ndarray:
        """Whether each neuron passes every filter and the search; undefined does not pass."""
        passes = np.ones(len(self.lab.findings), bool)
        for label, (low, high) in self.filters.items():
            values = self.lab.values_of(label).values
            passes &= (values >= low) & (values <= high)
        if self.search:
            ids = self.lab.findings.labels.neuron_id.values.astype(str)
            passes &= np.char.find(ids, self.search) >= 0
        return passes

    def keep(self) -> None:
        """Select the neurons that pass."""
        self.lab.selection = np.flatnonzero(self.passing()).tolist()

    def listed(self) -> np.ndarray:
        """Positions of the neurons that pass, in the order of the table."""
        passing = np.flatnonzero(self.passing())
        if self.sort_by == "position":
            return passing[::-1] if self.descending else passing
        values = self.lab.values_of(self.sort_by).values[passing].astype(float)
        return passing[np.argsort(-values if self.descending else values, kind="stable")]

    def _histogram_card(self) -> pn.Column:
        self._slider = pn.widgets.RangeSlider(label="passes", width=SIDE - 30, margin=(2, 8))
        self._slider.param.watch(self._read_slider, "value")
        self._bars = drawn(self._histogram())
        self.lab.param.watch(lambda _: self._change_variable(), "color_by")
        self.lab.arrivals.param.watch(lambda _: self._set_slider(), self._listed_kinds())
        self._set_slider()
        return card(
            "How it is distributed",
            "What the map is coloured by. Move the ends to let fewer pass; filters on other "
            "variables stay. Undefined values do not pass.",
            self._bars,
            self._slider,
            width=SIDE,
        )

    def _histogram(self) -> hv.DynamicMap:
        source, _ = self.lab.colors[self.lab.color_by]
        return self._figure(self._draw_histogram, ["selection"], [source])

    def _draw_histogram(self) -> hv.Overlay:
        chosen = np.zeros(len(self.lab.findings), bool)
        chosen[self.lab.selection] = True
        values = self.lab.values_of(self.lab.color_by)
        return bare(plots.plot_shares(values, chosen, size=(SIDE - 70, 110)))

    def _change_variable(self) -> None:
        self.lab.views.pop(self._bars.object.streams[0], None)
        self._bars.object = self._histogram()
        self._set_slider()

    def _set_slider(self) -> None:
        """Let the slider reach over all values, and stand where the filter is."""
        label = self.lab.color_by
        values = self.lab.values_of(label).values.astype(float)
        finite = values[np.isfinite(values)]
        self._slider.disabled = not np.ptp(finite) if len(finite) else True
        if self._slider.disabled:
            self._slider.label = f"{label}: nothing to filter by yet"
            return
        low, high = float(finite.min()), float(finite.max())
        kept = tuple(self.filters.get(label, (low, high)))
        self._slider.param.update(
            start=min(low, kept[0]),
            end=max(high, kept[1]),
            step=(high - low) / STEPS,
            value=kept,
            label=f"{label} that passes",
        )

    def _read_slider(self, event: Any) -> None:
        label, ends = self.lab.color_by, (self._slider.start, self._slider.end)
        filters = {name: kept for name, kept in self.filters.items() if name != label}
        if not np.allclose(event.new, ends, rtol=1e-9, atol=0):
            filters[label] = [float(f"{bound:.6g}") for bound in event.new]
        if filters != self.filters:
            self.filters = filters

    # The table

    def _table_card(self) -> pn.Column:
        sort = self._choice(
            "sort_by", ["position", *self.lab.colors], label="sorted by", width=140
        )
        self._table = listing(
            self._frame(), self._choose, width=SIDE, height=240, column=130, undefined="–"
        )
        own, kinds = ["filters", "search", "sort_by", "descending"], self._listed_kinds()
        changes = [
            *(self.param[name] for name in own),
            *(self.lab.arrivals.param[k] for k in kinds),
        ]
        self.param.watch(lambda _: self._fill(), own)
        self.lab.arrivals.param.watch(lambda _: self._fill(), kinds)
        keep = pn.widgets.Button(
            label="Keep what passes", color="primary", width=124, margin=(17, 6, 0, 0)
        )
        keep.on_click(lambda _: self.keep())
        clear = pn.widgets.Button(label="Clear filters", width=92, margin=(17, 6, 0, 0))
        clear.on_click(lambda _: self._clear_filters())
        return card(
            "Table",
            "Tap a row to choose the neuron, a heading to sort the rows shown. – is undefined, or "
            "not measured yet.",
            pn.Row(
                pn.widgets.TextInput.from_param(self.param.search, label="id contains", width=90),
                sort,
                pn.widgets.Checkbox.from_param(
                    self.param.descending, label="largest first", margin=(24, 4, 0, 4), width=90
                ),
                keep,
                clear,
                margin=0,
            ),
            self._says(self._say_listed, SIDE, *changes),
            self._table,
            width=SIDE,
        )

    def gather(self) -> xr.Dataset:
        """What is known of every neuron, and whether it passes and is selected.

        Without what was measured only of the neurons that were looked at.
        """
        known = {}
        for label, (source, _) in self.lab.colors.items():
            if source in ("labels", "usual") or self.lab.findings.of_all(source):
                values = self.lab.values_of(label)
                known[str(values.name)] = values.drop_vars(values.coords)
        selected = np.zeros(len(self.lab.findings), bool)
        selected[self.lab.selection] = True
        labels = self.lab.findings.labels
        return xr.Dataset(
            known
            | {
                "passes": ("neuron", self.passing(), {"long_name": "passes the filters"}),
                "selected": ("neuron", selected, {"long_name": "is selected"}),
            },
            {name: labels[name] for name in ("neuron_id", "session")},
        )

    def _listed_kinds(self) -> list[str]:
        """Kinds of results that the table and the filters are about."""
        kinds = {source for source, _ in self.lab.colors.values()}
        return sorted(kinds & {*self.lab.arrivals.param})

    def _frame(self) -> pd.DataFrame:
        """Return the first rows of the table."""
        rows = self.listed()[:N_ROW]
        ids = self.lab.findings.labels.neuron_id.values
        columns: dict[str, Any] = {"neuron": rows, "id": ids[rows]}
        for label in self.lab.colors:
            values = self.lab.values_of(label)
            unit = str(values.attrs.get("units", "1"))
            name = label if unit in ("1", "") else f"{label} ({unit})"
            columns[name] = values.values[rows].astype(float)
        return pd.DataFrame(columns)

    def _fill(self) -> None:
        self._table.value = self._frame()

    def _choose(self, neuron: int) -> None:
        self.lab.neuron = neuron

    def _clear_filters(self) -> None:
        self.param.update(filters={}, search="")
        self._set_slider()

    def _clear_button(self) -> pn.widgets.Button:
        button = pn.widgets.Button(label="Clear selection", width=120, margin=(4, 6, 0, 0))

        def clear(_: Any) -> None:
            self.lab.selection = []

        button.on_click(clear)
        return button

    def _say_selection(self) -> str:
        n = len(self.lab.selection)
        return f"<b>{n}</b> of {len(self.lab.findings)} selected" if n else "none selected"

    def _say_layout(self) -> str:
        x, y = LAYOUTS[self.layout]
        neurons = self.place().neurons
        placed = np.count_nonzero(np.isfinite(neurons[x].values + neurons[y].values))
        said = f"{EXPLAINED[self.layout]}."
        if self.layout == "alike responses":
            share = 100 * float(self.lab.findings.embedding.explained.sum())
            said = f"{said[:-1]} ({share:.0f} % of their variance)."
        if placed < len(neurons.neuron_id):
            said += f" <b>{placed} of {len(neurons.neuron_id)}</b> have a place so far."
        return said

    def _say_listed(self) -> str:
        n = int(self.passing().sum())
        said = f"<b>{n}</b> of {len(self.lab.findings)} pass"
        said += "".join(
            f"; {label} {low:.3g} to {high:.3g}" for label, (low, high) in self.filters.items()
        )
        return said + (f". The first {N_ROW} are listed." if n > N_ROW else ".")

    # What can be taken away

    def figures(self) -> dict[str, Any]:
        """Map and histogram."""
        return {"map": self.cloud.draw, "histogram": self._draw_histogram}

    def tables(self) -> dict[str, Any]:
        """All that is known of each neuron."""
        return {"neurons": self.gather}

    def calls(self) -> list[str]:
        """Values that colour the map, and which neurons pass."""
        kinds = [name for name in ("tuning", "receptive_field") if self.lab.findings.of_all(name)]
        return [
            "lab.wait()  # until the scores are there",
            *(f"lab.findings.measure_all({name!r})" for name in kinds),
            f"values = lab.values_of({self.lab.color_by!r})",
            "passing = view.passing()",
        ]
