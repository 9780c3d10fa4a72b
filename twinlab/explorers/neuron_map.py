"""Where the neurons are, coloured by what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import panel as pn
import param

from twinlab.explorers.cloud import Cloud, Placed
from twinlab.explorers.looks import card, words
from twinlab.explorers.views import Explorer

__all__ = ["NeuronMap"]

LAYOUTS = {
    "place in cortex": ("x_um", "y_um"),
    "receptive field": ("center_x", "center_y"),
    "alike responses": ("component_1", "component_2"),
}


class NeuronMap(Explorer):
    """Map of all neurons; tap one to choose it, enclose some to select them."""

    title = "Neurons"
    about = "Where the neurons are, coloured by what is known of them."
    width: ClassVar[int] = 348  # of the card's contents, in pixels
    frame: ClassVar[tuple[int, int]] = (236, 236)

    layout: Any = param.Selector(
        objects=list(LAYOUTS), default="place in cortex", doc="What the neurons are placed by."
    )

    def lay_out(self) -> pn.viewable.Viewable:
        """Build the card."""
        return self.map_card("Neurons")

    def map_card(
        self, title: str, beside: Sequence[Any] = (), more: Sequence[Any] = ()
    ) -> pn.Column:
        """Build the card of the map, with more to set above it and more to do below."""
        self.cloud = Cloud(self, self.place, self._kinds, self.frame)
        self.lab.param.watch(lambda _: self.cloud.renew(), "color_by")
        self.param.watch(lambda _: self.cloud.renew(), "layout")
        number = pn.widgets.IntInput.from_param(self.lab.param.neuron, label="neuron", width=76)
        color = pn.widgets.Select.from_param(
            self.lab.param.color_by, label="coloured by", width=170
        )
        return card(
            title,
            "Tap to choose, ringed red when chosen; lasso or box to select, others are then "
            "small. Grey: not known yet.",
            pn.Row(number, color, *beside, margin=0),
            self.cloud.pane,
            *more,
            self._measures(),
            width=self.width,
        )

    def place(self) -> Placed:
        """Neurons at their places, with what colours them."""
        x, y = LAYOUTS[self.layout]
        neurons, findings = self.lab.places, self.lab.findings
        if x == "component_1":
            neurons = neurons.assign({name: findings.embedding[name] for name in (x, y)})
        elif x == "center_x":
            neurons = neurons.assign(
                {name: findings.column("receptive_field", name) for name in (x, y)}
            )
        color = self.lab.values_of(self.lab.color_by)
        # Not the name of a place: the map may be coloured by what it is placed by.
        name = str(color.name) if color.name not in (x, y) else f"color_{color.name}"
        return Placed(neurons.assign({name: color.rename(name)}), x, y, name)

    def _kinds(self) -> list[str]:
        kinds = {self.lab.colors[self.lab.color_by][0], "tuning"}
        return sorted(kinds | ({"receptive_field"} if self.layout == "receptive field" else set()))

    def _measures(self) -> pn.Column:
        """Give buttons that measure something of every neuron."""
        row = []
        for label, name in (("Tuning of all", "tuning"), ("Fields of all", "receptive_field")):
            button = pn.widgets.Button(label=label, width=104, margin=(4, 6, 0, 0))
            button.on_click(partial(self._measure_all, name))
            button.disabled = self.lab.param.running
            row.append(button)
        stop = pn.widgets.Button(label="Stop", width=70, margin=(4, 6, 0, 0))
        stop.on_click(lambda _: self.lab.cancel())
        stop.disabled = self.lab.param.running.rx.not_()
        return pn.Column(pn.Row(*row, stop, margin=0), words(self._work(), self.width), margin=0)

    def _measure_all(self, name: str, _: Any) -> None:
        self.measure_all(name)

    def measure_all(self, name: str) -> None:
        """Start to measure one kind of result of every neuron; the lab's `cancel` stops it."""
        self.lab.start(self.lab.findings.measure_all, name, arriving=name)
