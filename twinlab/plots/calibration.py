"""Calibration drawn: coverage against level, and where responses lie in what was predicted."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.style import COLORS, axis_of, styled

__all__ = ["plot_calibration"]

SIZE = (260, 220)


def plot_calibration(result: xr.Dataset, *, size: tuple[int, int] = SIZE) -> hv.Layout:
    """Draw whether predicted distributions hold what they promise.

    Left, the share of responses within the central interval of each level: single neurons
    grey, all together blue with its interval; on the diagonal where right, below it where
    overconfident. Right, the density of responses' places in their distributions: level
    where right, high at the edges where overconfident.

    Parameters
    ----------
    result : Dataset
        From `evaluation.score_calibration`.
    size : (int, int)
        Width and height of each frame in pixels.

    Returns
    -------
    holoviews.Layout

    """
    level = result.level.values
    axes = (
        axis_of(result.level),
        hv.Dimension(("coverage", "responses within the interval")),
    )
    neurons = styled(
        hv.Path([np.stack([level, one], axis=1) for one in result.coverage.values], list(axes)),
        size=size,
        color=COLORS["weak"],
        bokeh={"line_width": 1, "line_alpha": 0.5},
        matplotlib={"linewidth": 0.5, "alpha": 0.5},
    )
    right = styled(
        hv.Curve([(0.0, 0.0), (1.0, 1.0)], *axes),
        color=COLORS["guide"],
        bokeh={"line_dash": "dashed"},
        matplotlib={"linestyle": "--"},
    )
    low, high = result.mean_coverage_interval.values.T
    band = styled(
        hv.Segments((level, low, level, high), ["x0", "y0", "x1", "y1"]),
        color=COLORS["twin"],
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 2},
    )
    pooled = styled(
        hv.Curve((level, result.mean_coverage.values), *axes),
        size=size,
        color=COLORS["twin"],
        xlim=(float(level.min()) - 0.03, 1.0),
        ylim=(0.0, 1.0),
        title="coverage of central intervals",
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 2},
    )
    density = result.mean_pit_density
    edges = np.linspace(0, 1, density.size + 1)
    places = styled(
        hv.Histogram(
            (edges, density.values),
            kdims=[axis_of(density["bin"])],
            vdims=[hv.Dimension(("density", "density of responses"))],
        ),
        size=size,
        color=COLORS["twin"],
        xlim=(0, 1),
        ylim=(0, 1.15 * max(float(density.max()), 1.0)),
        title="places in the predicted distributions",
        bokeh={"line_color": "white"},
        matplotlib={"edgecolor": "white"},
    )
    flat = styled(
        hv.Segments([(0.0, 1.0, 1.0, 1.0)], ["x0", "y0", "x1", "y1"]),
        color=COLORS["guide"],
        bokeh={"line_width": 1.5, "line_dash": "dashed"},
        matplotlib={"linewidth": 1.5, "linestyle": "--"},
    )
    return hv.Layout([neurons * right * pooled * band, places * flat]).opts(shared_axes=False)
