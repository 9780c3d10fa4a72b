"""What follows a slider: columns of figures that are drawn once, and words after them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn

from twinlab.explorers.looks import Words, drawn
from twinlab.explorers.state import LabState

__all__ = ["Later", "Patch"]

REST_MS = 100  # words follow so long after: they are read, not watched
INLINE = 64  # values of a column up to which they travel with the message, not beside it


class Later:
    """Words that are said only once the figures have been sent; to be among the lab's `views`."""

    def __init__(self, lab: LabState) -> None:
        self.lab = lab
        self.texts: list[tuple[Words, Callable[[], str]]] = []

    def event(self) -> None:
        """Have them said soon, once however often things change until then."""
        self.lab.soon(self.say, REST_MS)

    def say(self) -> None:
        """Say all of them, in one message."""
        with pn.io.hold():
            for text, say in self.texts:
                text.value = say()


class Patch:
    """A drawn figure and the columns of its data that change; see `Explorer._patched`."""

    def __init__(
        self,
        figure: hv.Dimensioned,
        columns: Callable[[], Sequence[Mapping[str, Any]]],
        heard: Mapping[str, Callable[[Any], Any]],
    ) -> None:
        self.columns, self.heard = columns, heard
        layers = list(figure) if isinstance(figure, hv.Overlay) else [figure]
        self.sources: list[weakref.WeakSet[Any]] = [weakref.WeakSet() for _ in layers]
        self.shown: list[dict[str, Any]] = [{} for _ in layers]  # what was sent last
        for number, layer in enumerate(layers):
            known = hv.Store.lookup_options("bokeh", layer, "plot").kwargs.get("hooks", [])
            # HoloViews keeps options for as long as what they are of: they must not keep us.
            join = partial(_join, weakref.ref(self), number)
            layer.opts(hooks=[*known, join], backend="bokeh")
        self.pane = drawn(figure)

    def join(self, number: int, plot: Any) -> None:
        """Take over a layer that HoloViews has drawn, which it does once for each page."""
        source = plot.handles["source"]
        if source in self.sources[number]:
            return
        self.sources[number].add(source)
        source.data.update(self.columns()[number])  # since `draw`, things may have changed
        self.shown[number] = {}
        if number == 0:
            for name, act in self.heard.items():
                plot.state.on_event(name, act)

    def event(self) -> None:
        """Replace the columns that have changed, wherever the figure is shown."""
        for number, columns in enumerate(self.columns()):
            old = self.shown[number]
            new = {
                name: _packed(values)
                for name, values in columns.items()
                if name not in old or not np.array_equal(values, old[name])
            }
            if not new:
                continue  # a figure that is sent the same is painted all the same
            self.shown[number] = dict(columns)
            for source in self.sources[number]:
                source.data.update(new)
        pn.io.push_notebook(self.pane)


def _packed(values: Any) -> Any:
    """Write few values as a list: each array is three messages of its own to the browser."""
    few = isinstance(values, np.ndarray) and values.size <= INLINE
    return values.tolist() if few else values


def _join(patch: weakref.ref[Patch], number: int, plot: Any, _: hv.Dimensioned) -> None:
    found = patch()
    if found is not None:
        found.join(number, plot)
