"""Which neuron a page is about, and which is pinned beside it, by names that hold for refits."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import panel as pn
import param

from twinlab.explorers.unit_cards import UnitCards

__all__ = ["NamedUnit"]


class NamedUnit(UnitCards):
    """Cards on a neuron that a link names by session and id, and on another to compare with."""

    unit = param.String(
        "", doc="Session and id of the chosen neuron, `session/id`: a link that holds for refits."
    )
    pinned = param.String("", doc="The same of a neuron to compare with; empty for none.")

    def _join_names(self) -> None:
        """Follow the names, and let them follow the chosen neuron."""
        if self.unit:
            self._choose()
        self._name_unit()
        self._check_pinned()
        self.param.watch(lambda _: self._choose(), "unit")
        self.param.watch(lambda _: self._check_pinned(), "pinned")
        self.lab.param.watch(lambda _: self._name_unit(), "neuron")

    def position_of(self, unit: str) -> int:
        """Position of the neuron of that session and id; -1 where it is not here."""
        labels = self.lab.findings.labels
        session, _, name = unit.rpartition("/")
        here = (labels.session.values.astype(str) == session) & (
            labels.neuron_id.values.astype(str) == name
        )
        return int(here.argmax()) if here.any() else -1

    def _named(self, neuron: int) -> str:
        labels = self.lab.findings.labels
        return f"{labels.session.values[neuron]}/{labels.neuron_id.values[neuron]}"

    def _name_unit(self) -> None:
        self.unit = self._named(self.lab.neuron)

    def _choose(self) -> None:
        """Choose the neuron a link names."""
        position = self.position_of(self.unit)
        if position < 0:
            self.lab.warn(
                f"The link asks for neuron {self.unit}, which this twin does not have",
                f"Neuron {self.lab.neuron} is shown instead.",
            )
            self._name_unit()
        else:
            self.lab.neuron = position

    def _check_pinned(self) -> None:
        """Measure what is not known of the neuron to compare with."""
        if self.pinned and self.position_of(self.pinned) < 0:
            self.lab.warn(
                f"The neuron to compare with, {self.pinned}, is not among this twin's",
                "Choose one and pin it.",
            )
            self.pinned = ""
        if self.pinned:
            self.lab.examine(self.position_of(self.pinned), "pinned")
        self._redraw("pinned")

    def _head(self) -> pn.Row:
        number = pn.widgets.IntInput.from_param(self.lab.param.neuron, label="neuron", width=90)
        pin = pn.widgets.Button(
            label=pn.bind(_say_pin, self.param.pinned),
            width=120,
            margin=(21, 8, 0, 0),
        )

        def turn(_: Any) -> None:
            self.pinned = "" if self.pinned else self.unit

        pin.on_click(turn)
        place: dict[str, Any] = {"margin": (21, 8, 0, 0), "width": 140}
        send = self._leads_to("stimulus", "MEI to the bench", self._send_mei, **place)
        send.disabled = pn.bind(
            lambda *_: self.lab.known("mei") is None,
            self.lab.param.neuron,
            self.lab.arrivals.param.mei,
        )
        link = pn.widgets.TextInput(
            value=pn.bind(self.link, self.param.unit, self.param.pinned),
            label="link to this neuron",
            width=400,
        )
        studio, tuning = (
            self._leads_to(page, f"Open in {name}", **place)
            for page, name in (("mei", "MEI studio"), ("tuning", "tuning lab"))
        )
        row = number, pin, send, studio, tuning, link
        return pn.Row(*row, margin=0, styles={"flex-wrap": "wrap"})

    def _send_mei(self) -> None:
        mei = self.lab.known("mei")
        if mei is not None:
            self.lab.show_image(mei.mei.values, f"MEI of neuron {self.lab.neuron}")

    def link(self, unit: str, pinned: str) -> str:
        """Return the address that opens this page on this neuron, wherever the twin is served."""
        place = pn.state.location if self.lab.served else None
        here = str(place.href or "").partition("?")[0] if place is not None else ""
        beside = f"&unitpage.pinned={quote(pinned)}" if pinned else ""
        return f"{here}?page=unit&unitpage.unit={quote(unit)}{beside}"


def _say_pin(pinned: str) -> str:
    return "Unpin" if pinned else "Pin to compare"
