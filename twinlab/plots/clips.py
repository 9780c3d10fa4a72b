"""Responses to videos drawn: traces and a cursor that stands at one frame."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.style import COLORS, axis_of, bounds_of, styled

__all__ = ["plot_cursor", "plot_trace", "plot_traces"]

LINES = {"response": ("guide", "measured"), "prediction": ("twin", "predicted")}


def plot_trace(
    clip: xr.Dataset, *, title: str = "", size: tuple[int, int] = (440, 130)
) -> hv.Overlay:
    """Draw one neuron's measured and predicted response over the frames of a video.

    Parameters
    ----------
    clip : Dataset
        `response`, `standard_error` (a band; left out where NaN) and `prediction`, if there is
        one, along `frame`, with the coordinate `time`.
    title : str
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    time, measured = clip.time.values, clip.response.values
    drawn = {name: clip[name].values for name in LINES if name in clip}
    error = np.nan_to_num(clip.standard_error.values)
    low, high = measured - error, measured + error
    axes = axis_of(clip.time), axis_of(clip.response, "response")
    band = styled(
        hv.Area((time, low, high), axes[0], [axes[1], "upper"]),
        size=size,
        color=COLORS["guide"],
        title=title,
        xlim=bounds_of(time, margin=0.0),
        ylim=bounds_of(low, high, *drawn.values(), np.zeros(1)),
        framewise=True,
        bokeh={"alpha": 0.3, "line_alpha": 0},
        matplotlib={"alpha": 0.3, "linewidth": 0},
    )
    curves = [_curve(time, values, axes, *LINES[name]) for name, values in drawn.items()]
    return styled(
        hv.Overlay([band, *curves]), size=size, show_legend=True, legend_position="top_right"
    )


def plot_traces(
    clip: xr.Dataset, *, title: str = "", size: tuple[int, int] = (440, 180)
) -> hv.Overlay:
    """Draw several neurons' measured and predicted responses, one above the other.

    Parameters
    ----------
    clip : Dataset
        `response` and, if there is one, `prediction` (frame, neuron) with `time` and
        `neuron_id`. Each neuron is drawn in its own range, the first at the top.
    title : str
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    time, n = clip.time.values, clip.sizes["neuron"]
    axes = axis_of(clip.time), hv.Dimension("neuron")
    lines: dict[str, list[np.ndarray]] = {name: [] for name in LINES if name in clip}
    for row in range(n):
        one = clip.isel(neuron=row)
        low, high = bounds_of(*(one[name].values for name in lines), np.zeros(1))
        for name, drawn in lines.items():
            height = (one[name].values - low) / (high - low) * 0.9 + n - 1 - row
            drawn.append(np.append(height, np.nan))  # a gap before the next neuron's
    along = np.tile(np.append(time, np.nan), n)
    curves = [
        _curve(along, np.concatenate(drawn or [np.empty(0)]), axes, *LINES[name])
        for name, drawn in lines.items()
    ]
    names = [str(name) for name in clip.neuron_id.values.tolist()]
    curves[0] = styled(
        curves[0],
        size=size,
        title=title,
        xlim=bounds_of(time, margin=0.0),
        ylim=(-0.05, max(n, 1) + 0.0),
        yticks=[(n - 1 - row + 0.4, name) for row, name in enumerate(names)] or 0,
        framewise=True,
    )
    return styled(hv.Overlay(curves), size=size, show_legend=False)


def plot_cursor(place: float) -> hv.VLine:
    """Line that stands at a frame or a time, to be laid over a figure.

    Parameters
    ----------
    place : float
        In units of the figure's horizontal axis.

    Returns
    -------
    holoviews.VLine

    """
    return styled(
        hv.VLine(place),
        color=COLORS["other"],
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 1.5},
    )


def _curve(
    x: np.ndarray, y: np.ndarray, axes: tuple[hv.Dimension, hv.Dimension], color: str, label: str
) -> hv.Curve:
    return styled(
        hv.Curve((x, y), *axes, label=label),
        color=COLORS[color],
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 1.6},
    )
