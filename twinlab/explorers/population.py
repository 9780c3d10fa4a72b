"""Where the neurons are, coloured by what is known of them."""

from __future__ import annotations

import holoviews as hv
import panel as pn

from twinlab import plots
from twinlab.explorers.looks import card, words
from twinlab.explorers.views import Explorer

__all__ = ["Population"]

WIDTH = 348  # of the card's contents, in pixels


class Population(Explorer):
    """Map of all neurons; tap one to choose it."""

    title = "Population"
    about = "Where the neurons are and what is known of them; choose one, or many."

    def lay_out(self) -> pn.Column:
        """Build the card."""
        figure = pn.pane.HoloViews(self._map(), linked_axes=False, margin=0)
        self.lab.param.watch(lambda _: self._draw_map_afresh(figure), "color_by")
        number = pn.widgets.IntInput.from_param(self.lab.param.neuron, label="neuron", width=90)
        color = pn.widgets.Select.from_param(
            self.lab.param.color_by, label="coloured by", width=170
        )
        every = pn.widgets.Button(
            label="Tuning of all", width=WIDTH // 3 - 10, margin=(4, 4, 0, 0)
        )
        every.on_click(lambda _: self.lab.measure_all_tuning())
        return card(
            "Neurons",
            "Each neuron at its place in cortex; tap to choose, ringed red when chosen. "
            "Grey: not known yet.",
            pn.Row(number, color, margin=0),
            figure,
            pn.Row(every, words(self._work(), WIDTH - WIDTH // 3), margin=0),
            width=WIDTH,
        )

    def _map(self) -> hv.DynamicMap:
        source, _ = self.lab.colors[self.lab.color_by]
        # In two layers: taps are heard on a layer, not on an overlay that changes as one.
        points = self._figure(lambda: self._draw_map().get(0), [], [source])
        hv.streams.Tap(source=points).add_subscriber(self.lab.choose_near)
        ring = self._figure(lambda: self._draw_map().get(1), ["neuron"], [])
        self._drawn = [points.streams[0], ring.streams[0]]
        return points * ring

    def _draw_map_afresh(self, pane: pn.pane.HoloViews) -> None:
        """Draw the map anew: another colour is another scale and another colour bar."""
        for stream in self._drawn:
            self.lab.views.pop(stream)
        pane.object = self._map()

    def _draw_map(self) -> hv.Overlay:
        source, variable = self.lab.colors[self.lab.color_by]
        color = (
            self.lab.places[variable]
            if source == "labels"
            else self.lab.findings.column(source, variable)
        )
        return plots.plot_map(
            self.lab.places.assign({variable: color}),
            variable,
            selected=self.lab.neuron,
            size=(WIDTH - 112, WIDTH - 112),
        )
