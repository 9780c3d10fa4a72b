"""Fits side by side, drawn: their course, and where their readouts look."""

from __future__ import annotations

from collections.abc import Mapping

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.style import COLORS, axis_of, bounds_of, styled

__all__ = ["plot_fits", "plot_readouts"]

SIZE = (340, 220)
# Okabe & Ito (2008), those that stand out on white, one a fit.
SHADES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222")


def plot_fits(
    fits: Mapping[str, xr.Dataset],
    variable: str = "validation_correlation",
    *,
    size: tuple[int, int] = SIZE,
) -> hv.Overlay:
    """Draw one quantity of several fits over epochs, a colour a fit and a line a member.

    At the end of its first line stands the name of each. Any number of fits is drawn as one
    element, so that they may come and go while the figure is on the screen.

    Parameters
    ----------
    fits : mapping of str to Dataset
        From `fitting.read_fit` or `fitting.fit_twin`, by name.
    variable : str
        `train_loss`, `validation_loss`, `validation_correlation`, `learning_rate` or `seconds`.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    lines, ends = [], []
    label = hv.Dimension(variable.replace("_", " "))
    for i, (name, fit) in enumerate(fits.items()):
        color = SHADES[i % len(SHADES)]
        label = axis_of(fit[variable])
        named = False
        for values in np.atleast_2d(fit[variable].values):
            known = np.isfinite(values)
            if not known.any():
                continue
            x, y = fit.epoch.values[known].astype(float), values[known].astype(float)
            lines.append({"epoch": x, "value": y, "color": color})
            if not named:
                ends.append((x[-1], y[-1], f" {name}", color))
                named = True
    short = hv.Dimension(variable.split("_")[-1], unit=label.unit).pprint_label
    axes = [hv.Dimension("epoch"), hv.Dimension("value")]
    last = max([line["epoch"][-1] for line in lines], default=1.0)
    ylim = bounds_of(np.concatenate([line["value"] for line in lines] or [np.zeros(0)]))
    curves = styled(
        hv.Contours(lines, axes, "color"),
        size=size,
        color="color",
        # to the right, room for the names
        xlim=(0.5, max(last, 2.0) * 1.35),
        ylim=ylim,
        framewise=True,
        show_legend=False,
        title=label.label,
        ylabel=short,
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 2},
    )
    x, y, names, colors = zip(*ends, strict=True) if ends else ((), (), (), ())
    points = styled(
        hv.Points((x, y, colors), axes, "color"),
        color="color",
        bokeh={"size": 5},
        matplotlib={"s": 16},
    )
    words = styled(
        hv.Labels((x, y, names, colors), axes, ["name", "color"]),
        bokeh={
            "text_color": "color", "text_align": "left", "text_baseline": "middle",
            "text_font_size": "11px",
        },
        matplotlib={"color": "#222222", "horizontalalignment": "left", "size": 8},
    )  # fmt: skip
    return curves * points * words


def plot_readouts(
    places: xr.Dataset,
    *,
    selected: int | None = None,
    width: int = 300,
) -> hv.Overlay:
    """Draw where each neuron looks, inside the frame of the image.

    Parameters
    ----------
    places : Dataset
        From `fitting.read_readouts`: `x` and `y` of each neuron, in pixels.
    selected : int, optional
        Position of a neuron to ring.
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Overlay

    """
    n_column, n_row = int(places.attrs["width"]), int(places.attrs["height"])
    axes = [axis_of(places.x), axis_of(places.y)]
    points = styled(
        hv.Points((places.x.values, places.y.values), axes),
        size=(width, max(1, round(width * n_row / n_column))),
        color=COLORS["twin"],
        alpha=0.6,
        xlim=(-0.5, n_column - 0.5),
        ylim=(-0.5, n_row - 0.5),
        invert_yaxis=True,
        framewise=True,
        bokeh={"size": 6, "line_color": "white", "line_width": 0.4},
        matplotlib={"s": 18, "linewidth": 0.3},
    )
    ringed = [] if selected is None else [selected]
    ring = styled(
        hv.Points((places.x.values[ringed], places.y.values[ringed]), axes),
        bokeh={
            "size": 13, "fill_alpha": 0, "line_color": "#d00000", "line_width": 2,
        },
        matplotlib={"s": 90, "facecolors": "none", "edgecolors": "#d00000"},
    )  # fmt: skip
    return points * ring
