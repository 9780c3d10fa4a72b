"""The learning curve drawn: what more recording brings."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.style import COLORS, axis_of, bounds_of, styled

__all__ = ["plot_learning_curve"]


def plot_learning_curve(result: xr.Dataset, *, size: tuple[int, int] = (380, 240)) -> hv.Overlay:
    """Draw scores against minutes of recording, with the fitted curve and what it promises.

    Points are measured; the line is the fit and the band its interval; dashed lines mark the
    ceiling and the midpoint. Where the ceiling was refused, the curve ends with the data and
    the title says so.

    Parameters
    ----------
    result : Dataset
        From `fitting.fit_learning_curve`.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    # Placed by logarithm and labelled in minutes: a logarithmic axis spoils the frame in print.
    where = np.log10(result.curve_minutes.values)
    axes = axis_of(result.minutes), axis_of(result.score, "score")
    low, high = result.curve_interval.values.T
    ceiling, midpoint = float(result.ceiling), float(result.midpoint)
    y_low, y_high = bounds_of(result.score.values, low, high, np.array([0.0, ceiling]))
    refused = bool(result.attrs["refused"])
    title = "no ceiling: below the midpoint" if refused else f"ceiling {ceiling:.2f}"
    band = styled(
        hv.Area((where, low, high), axes[0], [axes[1], "upper"]),
        size=size,
        color=COLORS["twin"],
        xlim=bounds_of(where, margin=0.02),
        ylim=(y_low, y_high),
        xticks=_ticks(where),
        title=title,
        framewise=True,
        bokeh={"alpha": 0.2, "line_alpha": 0},
        matplotlib={"alpha": 0.2, "linewidth": 0},
    )
    line = styled(
        hv.Curve((where, result.curve.values), *axes),
        color=COLORS["twin"],
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 2},
    )
    points = styled(
        hv.Scatter((np.log10(result.minutes.values), result.score.values), *axes),
        color=COLORS["measured"],
        bokeh={"size": 6},
        matplotlib={"s": 22},
    )
    marked = np.log10(midpoint), where.min(), where.max()
    lines = [(marked[1], ceiling, marked[2], ceiling), (marked[0], y_low, marked[0], ceiling / 2)]
    marks = styled(
        hv.Segments([] if refused else lines, ["x0", "y0", "x1", "y1"]),
        color=COLORS["other"],
        bokeh={"line_width": 1.5, "line_dash": "dashed"},
        matplotlib={"linewidth": 1.5, "linestyle": "--"},
    )
    return band * line * points * marks


def _ticks(where: np.ndarray) -> list[tuple[float, str]]:
    """Whole decades, with 3 between where they are few."""
    decades = np.arange(np.floor(where.min()), np.ceil(where.max()) + 1)
    steps = (1.0, 3.0) if np.ptp(where) < 3 else (1.0,)
    values = sorted(step * 10.0**decade for decade in decades for step in steps)
    return [
        (float(np.log10(value)), f"{value:g}")
        for value in values
        if where.min() <= np.log10(value) <= where.max()
    ]
