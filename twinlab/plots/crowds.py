"""More neurons than can be drawn one by one: painted as a picture of what is in view."""

from __future__ import annotations

from functools import cache

import holoviews as hv
import numpy as np
import xarray as xr
from holoviews.plotting.util import process_cmap
from matplotlib.colors import to_rgba_array

from twinlab.plots.neurons import SIZE, SMALL, colors_of, limits_of, plot_map
from twinlab.plots.recording import plot_histogram
from twinlab.plots.style import COLORS, axis_of, bounds_of, styled

__all__ = ["MOST_POINTS", "paint_neurons", "plot_crowd", "plot_shares"]

MOST_POINTS = 2000  # beyond, a browser drawing in software takes longer than a frame
SPECK = 3.0  # least diameter of a painted neuron, in pixels
MARGIN = 0.25  # of the view, drawn beyond each edge, to be there when the map is moved
Range = tuple[float, float]


def plot_crowd(
    neurons: xr.Dataset,
    color: str,
    *,
    x: str = "x_um",
    y: str = "y_um",
    view: tuple[Range, Range] | None = None,
    selected: int | None = None,
    shown: np.ndarray | None = None,
    limits: Range | None = None,
    title: str = "",
    size: tuple[int, int] = SIZE,
    marker_size: float = 7,
    margin: float = MARGIN,
) -> hv.Overlay:
    """Draw any number of neurons at their places, as `plot_map` does.

    Where more than 2,000 lie in view they are painted into one picture of the view's size,
    which moves as fast as any picture; of neurons on one spot the last is seen, as among
    points. Fewer are drawn as points.

    Parameters
    ----------
    neurons : Dataset
        Variables along `neuron`: `x`, `y` and `color`. Neurons without a place are not drawn.
    color : str
    x, y : str
    view : ((float, float), (float, float)), optional
        Ranges of `x` and `y` in view; all neurons where absent.
    selected : int, optional
        Position of a neuron to ring.
    shown : ndarray of bool, shape (neuron,), optional
        Where given, the others are drawn half as large, below.
    limits : (float, float), optional
        Values at the ends of the colour map; those of the data where absent.
    title : str
    size : (int, int)
        Width and height of the frame in pixels.
    marker_size : float
        Diameter of a neuron in pixels; where they are painted, less the more there are.
    margin : float
        Share of the view that is painted beyond each edge, to be there when it is moved.

    Returns
    -------
    holoviews.Overlay
        Of three layers, always: the picture, the points, the ring.

    """
    (left, right), (low, high) = area = _widened(neurons[x], neurons[y], view, margin)
    order = _within(area, neurons[x], neurons[y], shown)
    crowded = len(order) > MOST_POINTS
    picture = np.zeros((2, 2, 4), np.uint8)
    if crowded:
        picture = paint_neurons(
            neurons, color, x=x, y=y, view=view, shown=shown, limits=limits, size=size,
            marker_size=marker_size, margin=margin,
        )  # fmt: skip
    shape = picture.shape[1::-1]
    painted = styled(
        hv.RGB(
            (
                _middles(left, right, shape[0]),
                _middles(high, low, shape[1]),
                *np.moveaxis(picture, 2, 0),
            ),
            kdims=[axis_of(neurons[x]), axis_of(neurons[y])],
            vdims=[*hv.RGB.vdims, hv.RGB.alpha_dimension],
        ),
        size=size,
        apply_ranges=False,
    )
    return painted * plot_map(
        neurons,
        color,
        x=x,
        y=y,
        selected=selected,
        drawn=order[:0] if crowded else order,
        shown=shown,
        limits=limits,
        title=title,
        size=size,
        marker_size=marker_size,
    )


def paint_neurons(
    neurons: xr.Dataset,
    color: str,
    *,
    x: str = "x_um",
    y: str = "y_um",
    view: tuple[Range, Range] | None = None,
    shown: np.ndarray | None = None,
    limits: Range | None = None,
    size: tuple[int, int] = SIZE,
    marker_size: float = 7,
    margin: float = 0.0,
) -> np.ndarray:
    """Paint neurons at their places, as `plot_crowd` does where there are many.

    Parameters
    ----------
    neurons, color, x, y, view, shown, limits, size, marker_size, margin
        As in `plot_crowd`.

    Returns
    -------
    ndarray of shape (row, column, 4)
        Red, green, blue and opacity, 0 to 255; the first row is the uppermost.

    """
    value = neurons[color]
    (left, right), (low, high) = area = _widened(neurons[x], neurons[y], view, margin)
    order = _within(area, neurons[x], neurons[y], shown)
    width, height = (round(side * (1 + 2 * margin)) for side in size)
    picture = np.zeros((height, width, 4), np.uint8)
    rows = (high - neurons[y].values[order]) / (high - low) * height
    columns = (neurons[x].values[order] - left) / (right - left) * width
    ink = _inks(value, limits or limits_of(value))[order]
    diameter = max(SPECK, marker_size * min(1.0, (MOST_POINTS / max(1, len(order))) ** 0.5))
    large = np.ones(len(order), bool) if shown is None else shown[order]
    for which, share in ((~large, SMALL), (large, 1.0)):
        _dab(picture, rows[which], columns[which], ink[which], share * diameter)
    return picture


def plot_shares(
    variable: xr.DataArray,
    chosen: np.ndarray | None = None,
    *,
    word: str = "chosen",
    mark: float | None = None,
    n_bin: int = 30,
    size: tuple[int, int] = (300, 120),
) -> hv.Overlay:
    """Draw how a variable is distributed over all neurons, and over some of them in front.

    Parameters
    ----------
    variable : DataArray of dimension (neuron)
        With `long_name` and `units`.
    chosen : ndarray of bool, shape (neuron,), optional
        Those in front; none where absent.
    word : str
        What those in front are, for the title.
    mark : float, optional
        Value at which a dashed line stands.
    n_bin : int
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay
        Its title says of how many neurons.

    """
    values = variable.values.astype(float)
    there = np.isfinite(values)
    words = f"{np.count_nonzero(there)} of {len(values)} neurons"
    front = np.zeros(len(values), bool) if chosen is None else chosen
    if front.any():
        words += f"; orange: {np.count_nonzero(front & there)} {word}"
    every = plot_histogram(
        variable, mark=mark, count="neurons", n_bin=n_bin, title=words, size=size
    )
    number, edges = np.histogram(values[front & there], n_bin, bounds_of(values, margin=0.0))
    bars = styled(
        hv.Histogram((edges, number), kdims=[axis_of(variable)], vdims=["neurons"]),
        color=COLORS["other"],
        bokeh={"line_color": "white"},
        matplotlib={"edgecolor": "white", "linewidth": 0.4},
    )
    return every * bars


def _widened(
    x: xr.DataArray, y: xr.DataArray, view: tuple[Range, Range] | None, margin: float
) -> tuple[Range, Range]:
    """Ranges of what is drawn: those in view, and a margin beyond each edge."""
    (left, right), (low, high) = view or (bounds_of(x.values), bounds_of(y.values))
    wide, tall = margin * (right - left), margin * (high - low)
    return (left - wide, right + wide), (low - tall, high + tall)


def _within(
    area: tuple[Range, Range], x: xr.DataArray, y: xr.DataArray, shown: np.ndarray | None
) -> np.ndarray:
    """Neurons to be drawn, those looked at last."""
    (left, right), (low, high) = area
    across, down = x.values, y.values
    inside = (across >= left) & (across <= right) & (down >= low) & (down <= high)
    order = np.flatnonzero(inside)
    if shown is not None:
        order = order[np.argsort(shown[order], kind="stable")]
    return order


def _middles(first: float, last: float, n: int) -> np.ndarray:
    """Middles of n pixels from one edge to the other."""
    return first + (np.arange(n) + 0.5) / n * (last - first)


def _inks(value: xr.DataArray, limits: Range) -> np.ndarray:
    """Colour of each neuron as `plot_map` draws it: red, green, blue, opacity (neuron, 4)."""
    palette = _palette(colors_of(value))
    values = value.values.astype(float)
    share = (values - limits[0]) / ((limits[1] - limits[0]) or 1.0)
    place = np.where(np.isfinite(share), np.clip(share, 0, 1) * 255, 256)
    return palette[np.round(place).astype(int)]


@cache
def _palette(name: str) -> np.ndarray:
    """Colours of a map, and last that of what is undefined, (257, 4)."""
    names = [*process_cmap(name, 256), COLORS["weak"]]
    return np.round(255 * to_rgba_array(names)).astype(np.uint8)


def _dab(
    picture: np.ndarray, rows: np.ndarray, columns: np.ndarray, ink: np.ndarray, diameter: float
) -> None:
    """Paint a disc for each neuron onto a picture (row, column, 4), in their order."""
    reach = int(diameter // 2)
    down, across = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.hypot(down, across) <= diameter / 2
    height, width, _ = picture.shape
    # With a rim, so that no disc is cut off; the four bytes of a pixel as one number.
    rimmed = np.zeros((height + 2 * reach, width + 2 * reach), np.uint32)
    inner = rimmed[reach : reach + height, reach : reach + width]
    inner[:] = picture.view(np.uint32)[..., 0]
    row = np.minimum(rows.astype(int), height - 1) + reach
    column = np.minimum(columns.astype(int), width - 1) + reach
    offset = down[disc] * rimmed.shape[1] + across[disc]
    # Neuron after neuron: a later disc covers an earlier one whole.
    spot = (row * rimmed.shape[1] + column)[:, None] + offset
    rimmed.reshape(-1)[spot] = ink.view(np.uint32)
    picture.view(np.uint32)[..., 0] = inner
