"""Tuning of one neuron to anything gratings can vary in, and how it is spread over neurons."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
import param
import xarray as xr

from twinlab import insilico, plots
from twinlab.explorers.looks import card, drawn, words
from twinlab.explorers.shown import STIMULUS
from twinlab.explorers.tuning_asked import FREE, SETTINGS, TuningAsked
from twinlab.explorers.tuning_points import TuningPoints
from twinlab.explorers.tuning_said import say_indices, say_measured
from twinlab.explorers.views import bare
from twinlab.schema import InputError

__all__ = ["TuningLab"]

LEFT, MIDDLE, RIGHT = 262, 480, 388  # widths of the columns' cards' contents, in pixels
GAP = {"gap": "12px"}


class TuningLab(TuningAsked):
    """Tuning curves and maps of the chosen neuron, and the distribution of what they tell."""

    title = "Tuning lab"
    about = "Tuning of a neuron to anything gratings vary in, with fits, and of all neurons."

    def lay_out(self) -> pn.Row:
        """Build the page."""
        self.limit_choice()
        panes = [drawn() for _ in range(3)]
        self._curve, self._map, self._spread = panes
        self._streams: list[hv.streams.Stream] = []
        self._points = TuningPoints(self, RIGHT)
        self._index = pn.widgets.Select(label="distribution of", options={}, width=LEFT - 20)
        self._index.param.watch(lambda event: setattr(self, "index", event.new or ""), "value")
        self._map_card = card("Over both axes", "Tap to see a stimulus.", self._map, width=MIDDLE)
        self.param.watch(self._forget, list(SETTINGS))
        self.param.watch(lambda *_: self._ask_anew(), list(SETTINGS))
        self.param.watch(lambda _: self._count(), "index")
        self.lab.param.watch(lambda *_: self._ask(), ["neuron", "page"])
        self.lab.param.watch(lambda _: self._count(), "selection")
        self.lab.arrivals.param.watch(lambda _: self._hear(), "curves")
        self._ask_anew()
        settings = [self.param[name] for name in SETTINGS]
        changes = self.lab.param.neuron, self.lab.arrivals.param.curves, *settings
        curve = card(
            "Tuning curve",
            "Response above that to grey, at the best of the other axis where there are two; "
            "line: fit. Tap a point to see its stimulus.",
            self._curve,
            self._says(self._say_measured, MIDDLE, *changes),
            width=MIDDLE,
        )
        indices = card("Indices", "", self._says(self._say_indices, RIGHT, *changes), width=RIGHT)
        columns = [
            [self._controls(), self._many(changes)],
            [curve, self._map_card],
            [self._stimulus_card(), indices],
        ]
        return pn.Row(
            *(pn.Column(*column, margin=0, styles=GAP) for column in columns),
            margin=0,
            styles=GAP | {"flex-wrap": "wrap"},
        )

    # What happens when something changes

    def _forget(self, *events: param.parameterized.Event) -> None:
        """Limits of one axis mean nothing on another."""
        changed = {event.name for event in events}
        limits = {"n_point": None, "low": None, "high": None}
        if changed & {"protocol", "axis"}:
            self.param.update(**{n: value for n, value in limits.items() if n not in changed})

    def _ask_anew(self) -> None:
        """Another experiment has other axes: draw all anew."""
        with self.lab.warned("These curves cannot be measured"):
            self._draw_afresh(self.blank())
        self._count()
        self._ask()

    def _ask(self) -> None:
        """Start to measure the chosen neuron where it is unknown, and the page is looked at."""
        if self.lab.has_pages and self.lab.page != "tuning":
            return
        self._redraw("curve")
        self._points.clear()
        if self.key and self.known() is None:
            self.lab.start_quick(self.measure, [self.lab.neuron], name="curves")

    def _hear(self) -> None:
        self._redraw("curve")
        self._points.open()
        self._count()

    def _count(self) -> None:
        """Draw the distribution anew: another index is another axis."""
        names = {name.replace("_", " "): name for name in self.indices()}
        self._index.param.update(options=names, value=self.main_index() or None)
        counted = self.counted()
        self._spread.object = None
        if counted is not None:
            self._spread.object = bare(
                plots.plot_tuning_distribution(counted, self.main_index(), size=(LEFT - 62, 130))
            )

    # Cards

    def _controls(self) -> pn.Column:
        half: dict[str, Any] = {"width": LEFT // 2 - 12, "margin": (2, 10, 2, 0)}
        widgets, free = pn.widgets, self.param.protocol.rx() == FREE
        own = [
            widgets.Select.from_param(self.param[name], label=label, visible=free, **half)
            for name, label in (("axis", "along"), ("second", "and"))
        ]
        neuron = widgets.IntInput.from_param(self.lab.param.neuron, label="neuron", **half)
        contrast = widgets.FloatInput.from_param(
            self.param.contrast, label="contrast", step=0.1, **half
        )
        points = widgets.IntInput.from_param(self.param.n_point, label="points", **half)
        low, high = (
            widgets.FloatInput.from_param(self.param[name], label=label, **half)
            for name, label in (("low", "from"), ("high", "to"))
        )
        return card(
            "Experiment",
            "Empty: as the protocol has it.",
            widgets.Select.from_param(
                self.param.protocol, label="protocol", width=LEFT - 14, margin=(2, 0)
            ),
            pn.Row(*own, margin=0),
            pn.Row(neuron, points, margin=0),
            pn.Row(low, high, margin=0),
            pn.Row(contrast, margin=0),
            self._says(self._say_protocol, LEFT, self.param.protocol),
            self._leads_to("unit", "Open unit page", margin=(4, 0)),
            width=LEFT,
        )

    def _many(self, changes: tuple[Any, ...]) -> pn.Column:
        place: dict[str, Any] = {"width": LEFT // 2 - 8, "margin": (2, 6, 2, 0)}
        lab = self.lab
        waits = lab.param.paused.rx.where("Resume", "Pause")
        some = pn.widgets.Button(label="Measure selection", color="primary", **place)
        every = pn.widgets.Button(label="Measure all", **place)
        rest = pn.widgets.Button(label=waits, **place)
        stop = pn.widgets.Button(label="Cancel", **place)

        def measure(neurons: list[int] | None) -> None:
            lab.start(self.measure, neurons)

        some.on_click(lambda _: measure(list(lab.selection)))
        every.on_click(lambda _: measure(None))
        rest.on_click(lambda _: lab.pause())
        stop.on_click(lambda _: lab.cancel())
        some.disabled = lab.param.running.rx() | lab.param.selection.rx.not_()
        every.disabled = lab.param.running
        rest.disabled = stop.disabled = lab.param.running.rx.not_()
        return card(
            "Many neurons",
            "The selection is made on a map of neurons.",
            pn.Row(some, every, margin=0),
            pn.Row(rest, stop, margin=0),
            words(self._work(), LEFT),
            self._index,
            self._spread,
            self._says(self._say_spread, LEFT, lab.param.selection, *changes),
            width=LEFT,
        )

    def _stimulus_card(self) -> pn.Column:
        stimulus = [self.lab.param[name] for name in STIMULUS]
        return card(
            "Stimulus on the bench",
            "Tap a point of the curve or the map, or choose one, to put its stimulus here.",
            pn.Row(*self._points.choices, margin=0),
            self._view(self._draw_stimulus, STIMULUS),
            self._says(self._say_stimulus, RIGHT, self.lab.param.neuron, *stimulus),
            self._leads_to("stimulus", "Open stimulus bench", margin=(4, 0)),
            width=RIGHT,
        )

    # Figures

    def _draw_afresh(self, blank: xr.Dataset) -> None:
        """Draw curve and map with axes of their own."""
        for stream in self._streams:
            self.lab.views.pop(stream, None)

        def figures(draw: Callable[[xr.Dataset], list[Any]], n: int) -> list[hv.DynamicMap]:
            """One for each layer: taps are heard on a layer, not on an overlay."""

            def layer(number: int) -> Callable[[], hv.Dimensioned]:
                return lambda: bare(draw(self._shown(blank))[number])

            return [self._figure(layer(number), ["curve"], []) for number in range(n)]

        drawn = figures(self._curve_layers, 2)
        hv.streams.Tap(source=drawn[1]).add_subscriber(self._tap_curve)
        self._curve.object = drawn[0] * drawn[1]
        self._points.offer(blank)
        self._map_card.visible = blank.evoked.ndim > 1
        if blank.evoked.ndim > 1:
            layers = figures(self._map_layers, 2)
            hv.streams.Tap(source=layers[0]).add_subscriber(self._tap_map)
            self._map.object = layers[0] * layers[1]
            drawn += layers
        self._streams = [figure.streams[0] for figure in drawn]

    def _shown(self, blank: xr.Dataset) -> xr.Dataset:
        one = self.known()
        return blank if one is None or one.evoked.dims != blank.evoked.dims else one

    def _curve_layers(self, one: xr.Dataset) -> list[hv.Dimensioned]:
        """Line, with what was measured, and the points that can be tapped."""
        measured = None
        with self.lab.warned("The recorded responses cannot be shown"):
            measured = self.measured(one)
        size = (MIDDLE - 70, 240)
        line, points, *rest = plots.plot_tuning_curve(one, measured=measured, title="", size=size)
        return [hv.Overlay([line, *rest]), points]

    def _map_layers(self, one: xr.Dataset) -> list[hv.Dimensioned]:
        return list(plots.plot_tuning_map(one, title="", size=(MIDDLE - 145, 220)))

    def _draw_stimulus(self) -> hv.Image:
        return bare(
            plots.plot_image(self.lab.stimulus(), limits=self.lab.limits, width=RIGHT - 60)
        )

    def _tap_curve(self, x: float | None, y: float | None) -> None:
        one = self.known()
        if one is None or x is None:
            return
        main = str(one.evoked.dims[0])
        drawn = self._curve_layers(one)[1].dimension_values(0)
        value = float(one[main][int(np.abs(drawn - x).argmin())])
        self._points.clear()
        self.load({main: value} | insilico.curve_settings(one))

    def _tap_map(self, x: float | None, y: float | None) -> None:
        one = self.known()
        if one is None or x is None or y is None:
            return
        mesh, values = self._map_layers(one)[0], {}
        for number, (place, axis) in enumerate(zip((x, y), one.evoked.dims, strict=False)):
            drawn = mesh.dimension_values(number, expanded=False)
            values[str(axis)] = float(one[axis][int(np.abs(drawn - place).argmin())])
        self._points.clear()
        self.load(values)

    # Words

    def _say_protocol(self) -> str:
        if self.protocol == FREE:
            return "Everything else is at the neuron's own preference, or averaged over."
        return insilico.PROTOCOLS[self.protocol].summary

    def _say_indices(self) -> str:
        one = self.known()
        if one is None:
            return "measuring …" if self.key else "cannot be measured"
        return say_indices(one)

    def _say_measured(self) -> str:
        one = self.known()
        if self.lab.findings.recording is None:
            return "No recording to compare with."
        if one is None:
            return ""
        try:
            measured = self.measured(one)
        except InputError as error:
            return str(error)
        return say_measured(one, measured)

    def _say_spread(self) -> str:
        selection = self.lab.selection
        known = self.lab.findings.known_of(self.key)
        n = int(known[selection].sum() if selection else known.sum())
        asked = f"the {len(selection)} selected neurons" if selection else f"{len(known)} neurons"
        return f"{n} of {asked} measured"

    def _say_stimulus(self) -> str:
        rate = float(self.lab.rate()[self.lab.neuron])
        title = self.lab.image_title if self.lab.kind == "image" else self.lab.kind
        return f"{escape(title)}: predicted response <b>{rate:.3g}</b> {escape(self.lab.units)}"
