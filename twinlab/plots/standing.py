"""How a population is predicted, beside its ceiling or another twin."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.style import COLORS, axis_of, bounds_of, styled

__all__ = ["plot_diagonal", "plot_score_medians"]


def plot_diagonal(x: xr.DataArray, y: xr.DataArray) -> hv.Curve:
    """Draw the line on which two scores are equal.

    Parameters
    ----------
    x, y : DataArray
        With `long_name` and `units`; the line spans all their values.

    Returns
    -------
    holoviews.Curve

    """
    ends = bounds_of(x.values, y.values)
    return styled(
        hv.Curve([(end, end) for end in ends], axis_of(x), axis_of(y)),
        color=COLORS["guide"],
        apply_ranges=False,
        bokeh={"line_dash": "dashed"},
        matplotlib={"linestyle": "--"},
    )


def plot_score_medians(
    summaries: dict[str, xr.Dataset], *, size: tuple[int, int] = (300, 180)
) -> hv.Overlay:
    """Draw the median of each score over neurons with its interval, one twin beside another.

    Parameters
    ----------
    summaries : dict of str to Dataset
        By the name of the twin, from `evaluation.summarize_scores`. NaN is left out.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    first = next(iter(summaries.values()))
    names = [str(label) for label in first.label.values]
    place = np.arange(len(names))[::-1].astype(float)
    ends = [hv.Dimension(name, label="median over neurons") for name in ("x0", "x1")]
    heights = [hv.Dimension(name, label=" ") for name in ("y0", "y1")]
    values = [summary["median"].values for summary in summaries.values()]
    bounds = [summary["median_interval"].values for summary in summaries.values()]
    colors = [COLORS["twin"], COLORS["other"], COLORS["measured"], COLORS["guide"]]
    layers: list[hv.Dimensioned] = []
    for position, (title, summary) in enumerate(summaries.items()):
        color = colors[position % len(colors)]
        at = place - 0.22 * (position - (len(summaries) - 1) / 2)
        low, high = summary["median_interval"].values.T
        layers.append(
            styled(
                hv.Segments((low, at, high, at), [ends[0], heights[0], ends[1], heights[1]]),
                size=size,
                color=color,
                xlim=bounds_of(np.concatenate(values), np.concatenate(bounds), np.zeros(1)),
                ylim=(-0.6, len(names) - 0.4),
                yticks=list(zip(place.tolist(), names, strict=True)),
                framewise=True,
                bokeh={"line_width": 3},
                matplotlib={"linewidth": 2},
            )
        )
        dots = hv.Points((summary["median"].values, at), [ends[0], heights[0]], label=title)
        layers.append(styled(dots, color=color, bokeh={"size": 8}, matplotlib={"s": 36}))
    return styled(hv.Overlay(layers), show_legend=len(summaries) > 1, legend_position="right")
