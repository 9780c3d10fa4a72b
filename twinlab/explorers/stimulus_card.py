"""A stimulus from sliders, by hand or from a file, and what the population answers to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import xarray as xr

from twinlab import plots
from twinlab.explorers.looks import Words, badge, card, words
from twinlab.explorers.shown import STIMULUS
from twinlab.explorers.stimulus_sliders import is_used, make_sliders
from twinlab.explorers.uploads import PictureChooser, read_upload
from twinlab.explorers.views import Explorer, bare
from twinlab.plots.images import beside

__all__ = ["StimulusCard"]

WIDTH = 350  # of the card's contents, in pixels
GATHER_MS = 40  # moves of the pointer are answered together after this time
GAP = 2  # pixels between channels drawn side by side


class StimulusCard(Explorer):
    """Sliders for a stimulus, the stimulus, and every neuron's predicted response."""

    title = "Stimulus card"
    of: ClassVar[tuple[str, ...]] = ("image", "video")
    about = "Any stimulus, and what the whole population would answer to it."

    def lay_out(self) -> pn.viewable.Viewable:
        """Build the card."""
        return card(
            "Stimulus bench",
            "Predicted response of every neuron to the stimulus above, at its place in cortex.",
            *self._controls(WIDTH),
            self._picture(WIDTH - 60),
            self._words(self._say_familiarity, WIDTH),
            self._rates((WIDTH - 110, 170), 7),
            self._words(self._say_rate, WIDTH),
            width=WIDTH,
        )

    # Controls

    def _controls(self, width: int) -> list[pn.viewable.Viewable]:
        return [
            *make_sliders(self.lab, width),
            self._drawing_row(),
            self._upload_row(width),
        ]

    def _drawing_row(self) -> pn.Row:
        undo = pn.widgets.Button(label="Undo stroke", width=100, margin=(2, 8, 2, 2))
        undo.on_click(lambda _: self.undo())
        clear = pn.widgets.Button(label="Clear", width=80, margin=2)
        clear.on_click(lambda _: self.clear())
        row = pn.Row(undo, clear, margin=0)
        row.visible = pn.bind(partial(is_used, name="strokes"), self.lab.param.kind)
        return row

    def _upload_row(self, width: int) -> pn.Column:
        file = PictureChooser(self.upload, width=width - 20, margin=(2, 2))
        said = words(pn.bind(escape, self.lab.param.image_title), width)
        row = pn.Column(file, said, margin=0)
        row.visible = pn.bind(partial(is_used, name="image"), self.lab.param.kind)
        return row

    def undo(self) -> None:
        """Take the last stroke away."""
        self.lab.strokes = self.lab.strokes[:-1]

    def clear(self) -> None:
        """Take all strokes away."""
        self.lab.strokes = []

    def upload(self, name: str, content: bytes | None, size: int | None = None) -> None:
        """Show a picture that was uploaded, or say why it cannot be."""
        with self.lab.warned("The picture cannot be shown"):
            image, said = read_upload(name, content, self.lab.canvas, size=size)
            self.lab.show_image(image, said)

    # The stimulus, and the pointer on it

    def _picture(self, width: int) -> pn.pane.HoloViews:
        self._path: list[tuple[float, float]] = []
        return self._patched(
            lambda: self._draw_stimulus(width),
            lambda: [{"image": [beside(self.lab.stimulus().values)]}],
            STIMULUS,
            {"panstart": self._press, "pan": self._point, "panend": self._lift, "tap": self._tap},
        )

    def _draw_stimulus(self, width: int) -> hv.Image:
        return bare(plots.plot_image(self.lab.stimulus(), limits=self.lab.limits, width=width))

    def _press(self, event: Any) -> None:
        self._path = []
        if self.lab.kind == "drawing":
            self.lab.strokes = [*self.lab.strokes, self._stroke([(event.x, event.y)])]
        self._point(event)

    def _point(self, event: Any) -> None:
        if event.x is None or event.y is None:
            return
        self._path.append((event.x, event.y))
        self.lab.soon(self._follow, GATHER_MS)

    def _lift(self, event: Any) -> None:
        self._point(event)
        self._follow()
        self._path = []  # it is drawn; what is still waiting has nothing left to do

    def _tap(self, event: Any) -> None:
        self._press(event)
        self._lift(event)

    def _follow(self) -> None:
        """Go on with the stroke, or move the stimulus, to where the pointer is."""
        if not self._path:
            return
        if self.lab.kind == "drawing" and self.lab.strokes:
            self.lab.strokes = [*self.lab.strokes[:-1], self._stroke(self._path)]
        elif is_used(self.lab.kind, "x"):
            x, y = self._place(*self._path[-1])
            self.lab.param.update(x=x, y=y)

    def _stroke(self, path: list[tuple[float, float]]) -> Any:
        contrast = 1.0 if self.lab.ink == "white" else -1.0
        return [self._place(*point) for point in path], self.lab.breadth, contrast

    def _place(self, x: float, y: float) -> tuple[float, float]:
        """Place on the canvas of a point of the figure, where channels are side by side."""
        width, height = self.lab.canvas.width, self.lab.canvas.height
        x = (x + 0.5) % (width + GAP) - 0.5 if self.lab.canvas.channel > 1 else x
        return round(float(np.clip(x, 0, width - 1)), 1), round(
            float(np.clip(y, 0, height - 1)), 1
        )

    # What the neurons answer

    def _rates(self, size: tuple[int, int], marker_size: float) -> pn.pane.HoloViews:
        return self._patched(
            lambda: self._draw_rates(size, marker_size),
            lambda: self._columns(size, marker_size),
            ["neuron", *STIMULUS],
        )

    def _draw_rates(self, size: tuple[int, int], marker_size: float) -> hv.Overlay:
        crowded = len(self.lab.findings) > plots.MOST_POINTS
        figure = (partial(plots.plot_crowd, margin=0.0) if crowded else plots.plot_map)(
            self.lab.places.assign(rate=self.lab.rate()),
            "rate",
            selected=self.lab.neuron,
            limits=self._limits(),
            size=size,
            marker_size=marker_size,
        )
        return hv.Overlay([bare(layer) for layer in figure])

    def _limits(self) -> tuple[float, float]:
        usual = self.lab.findings.usual_range[1]
        return 0.0, float(np.percentile(usual, 90)) or 1.0

    def _columns(self, size: tuple[int, int], marker_size: float) -> list[dict[str, Any]]:
        """What changes of the layers: the painted neurons, or the points; and the ring."""
        ringed = self.lab.places.isel(neuron=[self.lab.neuron])
        ring = {name: ringed[name].values for name in ("x_um", "y_um")}
        rate = self.lab.rate()
        if len(rate) <= plots.MOST_POINTS:
            values = rate.values.astype(np.float32)
            return [{"rate": values, "color": values}, ring]  # what is read, what is drawn
        picture = plots.paint_neurons(
            self.lab.places.assign(rate=rate),
            "rate",
            limits=self._limits(),
            size=size,
            marker_size=marker_size,
        )
        # As Bokeh has it: a number for each pixel, the lowest row first.
        return [{"image": [np.ascontiguousarray(picture[::-1]).view(np.uint32)[..., 0]]}, {}, ring]

    def _say_familiarity(self) -> str:
        cut = float(self.lab.stimulus().coords.get("clipped_fraction", 0.0))
        beyond = f" {100 * cut:.1f} % of pixels are cut at black or white." if cut else ""
        if self.lab.canvas.is_video:
            seen = badge("held still for a second", "none")
            return seen + " A twin of videos sees it so." + beyond
        if self.lab.findings.training is None:
            return (
                badge("no recording given", "none")
                + " What it was trained on is unknown."
                + beyond
            )
        faults, distance = self.lab.unfamiliar(), self.lab.distance()
        far = ""
        if np.isfinite(distance) and self.lab.findings.familiarity is not None:
            far = (
                f"<br>{distance:.1f} standard deviations from the training images (held-out "
                f"images: up to {self.lab.findings.familiarity.threshold:.1f})."
            )
        if not faults:
            return badge("within what the twin was trained on", "good") + far + beyond
        outside = badge("outside what the twin was trained on", "weak")
        return f"{outside}<br>{'; '.join(faults)}.{far}{beyond}"

    def _say_rate(self) -> str:
        neuron = self.lab.neuron
        rates, usual = self.lab.rate().values, self.lab.findings.usual_rate
        mine = float(rates[neuron])
        above_others = 100 * float(np.mean(rates < mine))
        above_own = 100 * float(np.mean(usual[:, neuron] < mine))
        recording = self.lab.findings.recording
        tested = recording is not None and "test" in recording.split.values
        shown = "recorded images" if tested else "gratings"
        shown = "frames of videos" if self.lab.canvas.is_video else shown
        return (
            f"Neuron {neuron}: <b>{mine:.3g}</b> {escape(self.lab.units)}<br>"
            f"above {above_own:.0f} % of its responses to {len(usual)} {shown}, "
            f"and above {above_others:.0f} % of the neurons"
        )

    def _words(self, say: Callable[[], str], width: int) -> Words:
        """Words on the stimulus, said once it has been painted."""
        text = words(say(), width)
        self._later.texts.append((text, say))
        self.lab.views[self._later] = {"neuron", "selection", *STIMULUS}
        return text

    # What can be taken away

    def figures(self) -> Mapping[str, Callable[[], hv.Dimensioned]]:
        """Stimulus, and the population's response to it."""
        return {
            "stimulus": lambda: self._draw_stimulus(400),
            "population response": lambda: self._draw_rates((400, 300), 7),
        }

    def tables(self) -> Mapping[str, Callable[[], xr.Dataset]]:
        """Stimulus and predicted responses."""
        return {
            "stimulus": lambda: self.lab.stimulus().to_dataset(name="stimulus"),
            "responses": lambda: self.lab.places.assign(rate=self.lab.rate()),
        }

    def calls(self) -> list[str]:
        """How the stimulus is made and what it evokes."""
        name, settings = self.lab.recipe()
        given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        made = f"stimuli.clip_stimulus(stimuli.{name}({given}), *lab.limits)[0]"
        if not name:
            made = "lab.stimulus()  # an image that was sent here is not part of code"
        return [
            "from twinlab import stimuli",
            f"stimulus = {made}",
            "rate = lab.findings.respond(stimulus.values)",
        ]
