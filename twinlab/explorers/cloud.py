"""Neurons in a plane: tapped one by one, or enclosed many at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import xarray as xr
from matplotlib.path import Path as Outline

from twinlab import plots
from twinlab.explorers.looks import drawn
from twinlab.explorers.views import Explorer

__all__ = ["Cloud", "Placed"]

TOOLS = ["hover", "lasso_select", "box_select"]


class Placed(NamedTuple):
    """Neurons with the names of the variables that place and colour them."""

    neurons: xr.Dataset
    x: str
    y: str
    color: str


class Cloud:
    """Figure of neurons in a plane, drawn in place, however many there are.

    A tap chooses the nearest neuron of the lab; a lasso or a box, the lab's selection.

    Parameters
    ----------
    explorer : Explorer
        On whose page it is.
    place : callable
        Returns what is drawn now, as a `Placed`.
    arriving : callable
        Returns the kinds of results that change it.
    size : (int, int)
        Width and height of the frame in pixels.
    behind : callable, optional
        Returns an element drawn behind the neurons.

    """

    def __init__(
        self,
        explorer: Explorer,
        place: Callable[[], Placed],
        arriving: Callable[[], list[str]],
        size: tuple[int, int],
        behind: Callable[[], hv.Element] | None = None,
    ) -> None:
        self.lab = explorer.lab
        self._explorer, self._place, self._arriving = explorer, place, arriving
        self._size, self._behind = size, behind
        self._moved = f"view of {id(self)}"
        self._streams: list[Any] = []
        self.pane = drawn(self._layers())

    def renew(self) -> None:
        """Draw anew on other axes or in other colours, with a colour bar of their own."""
        for stream in self._streams:
            self.lab.views.pop(stream, None)
        self.pane.object = self._layers()

    def draw(self) -> hv.Overlay:
        """Draw all that is placed now."""
        figure = self._draw()
        return figure if self._behind is None else self._behind() * figure

    def _draw(self, view: Any = None) -> hv.Overlay:
        placed = self._place()
        shown = None
        if self.lab.selection:
            shown = np.zeros(placed.neurons.sizes["neuron"], bool)
            shown[self.lab.selection] = True
        return plots.plot_crowd(
            placed.neurons,
            placed.color,
            x=placed.x,
            y=placed.y,
            view=view,
            selected=self.lab.neuron,
            shown=shown,
            size=self._size,
        )

    def _layers(self) -> hv.DynamicMap:
        # In layers: taps are heard on a layer, not on an overlay that changes as one.
        self._view: Any = None
        names, arriving = ["selection", self._moved], self._arriving()
        figure = self._explorer._figure
        painted = figure(self._paint, names, arriving)
        points = figure(
            lambda: self._drawn.get(1).opts(tools=TOOLS, backend="bokeh"), names, arriving
        )
        ring = figure(self._ring, ["neuron"], arriving)
        self._streams = [layer.streams[0] for layer in (painted, points, ring)]
        hv.streams.Tap(source=points).add_subscriber(self._choose)
        hv.streams.Lasso(source=points).add_subscriber(self._enclose)
        hv.streams.BoundsXY(source=points).add_subscriber(self._enclose_box)
        hv.streams.RangeXY(source=points).add_subscriber(self._move)
        layers = painted * points * ring
        return layers if self._behind is None else figure(self._behind, [], arriving) * layers

    def _paint(self) -> hv.Element:
        """Draw the picture, and keep the points that belong to it for the next layer."""
        self._drawn = self._draw(self._view)
        return self._drawn.get(0)

    def _ring(self) -> hv.Element:
        placed = self._place()
        none = np.zeros(0, int)
        return plots.plot_map(
            placed.neurons,
            placed.color,
            x=placed.x,
            y=placed.y,
            drawn=none,
            selected=self.lab.neuron,
            size=self._size,
        ).get(1)

    def _move(self, x_range: Any, y_range: Any) -> None:
        """Draw what has come into view."""
        if x_range is None or y_range is None or len(self.lab.findings) <= plots.MOST_POINTS:
            return
        view = tuple(sorted(x_range)), tuple(sorted(y_range))
        if view != self._view:
            self._view = view
            self._explorer._redraw(self._moved)

    def _choose(self, x: float | None, y: float | None) -> None:
        """Choose the neuron nearest to a place."""
        placed = self._place()
        across, down = (placed.neurons[name].values for name in (placed.x, placed.y))
        self.lab.choose_near(x, y, (across, down))

    def _enclose(self, geometry: np.ndarray | None) -> None:
        """Select the neurons inside an outline (corner, xy)."""
        if geometry is None or len(geometry) < 3:
            return
        placed = self._place()
        spots = np.column_stack([placed.neurons[placed.x], placed.neurons[placed.y]])
        inside = Outline(np.asarray(geometry, float)).contains_points(spots)
        self.lab.selection = np.flatnonzero(inside).tolist()

    def _enclose_box(self, bounds: tuple[float, float, float, float] | None) -> None:
        if bounds is not None:
            left, low, right, high = bounds
            self._enclose(np.array([(left, low), (right, low), (right, high), (left, high)]))
