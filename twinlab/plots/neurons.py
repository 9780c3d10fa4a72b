"""Neurons drawn: where they are, how well they are predicted, what drives them most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.style import COLORS, axis_of, bounds_of, name_of, styled

__all__ = ["plot_circles", "plot_map", "plot_mei_comparison", "plot_prediction", "plot_scores"]

SIZE = (300, 300)
SMALL = 0.5  # size of neurons that are not those looked at
RELIABLE = 0.15  # explainable variance below which a score says little (Cadena et al. 2019)


def is_orientation(variable: xr.DataArray) -> bool:
    return "orientation" in str(variable.name) and variable.attrs.get("units") == "deg"


def colors_of(variable: xr.DataArray) -> str:
    """Name of the colour map of a variable."""
    return "colorwheel" if is_orientation(variable) else "viridis"


def limits_of(variable: xr.DataArray) -> tuple[float, float]:
    """Values at the ends of the colour map of a variable, if nothing else is asked for."""
    return (0.0, 180.0) if is_orientation(variable) else bounds_of(variable.values, margin=0.0)


def plot_map(
    neurons: xr.Dataset,
    color: str,
    *,
    x: str = "x_um",
    y: str = "y_um",
    selected: int | None = None,
    drawn: np.ndarray | None = None,
    shown: np.ndarray | None = None,
    limits: tuple[float, float] | None = None,
    title: str = "",
    size: tuple[int, int] = SIZE,
    marker_size: float = 8,
) -> hv.Overlay:
    """Draw every neuron at its place, coloured by any value it has.

    Parameters
    ----------
    neurons : Dataset
        Variables or coordinates along `neuron`: `x`, `y`, `color` and `neuron_id`.
    color : str
        What to colour by. Orientations (in degrees, 0 to 180) get a cyclic map;
        NaN is drawn grey.
    x, y : str
        What to place by: cortical position, or position of the receptive field.
    selected : int, optional
        Position of a neuron to ring.
    drawn : ndarray of int, optional
        Positions of the neurons to draw; all where absent. Axes and colours stay those of all.
    shown : ndarray of bool, shape (neuron,), optional
        Where given, the others are drawn half as large.
    limits : (float, float), optional
        Values at the ends of the colour map; those of the data where absent.
    title : str
        On the screen, what the colour means where absent.
    size : (int, int)
        Width and height of the frame in pixels.
    marker_size : float
        Diameter of a neuron in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    value = neurons[color]
    places = [axis_of(neurons[x]), axis_of(neurons[y])]
    labelled = axis_of(value)
    number = np.arange(neurons.sizes["neuron"]) if drawn is None else drawn
    columns = {
        x: neurons[x].values[number],
        y: neurons[y].values[number],
        color: value.values[number].astype(float),
        "number": number,
    }
    diameter: Any = marker_size
    if shown is not None:
        columns["diameter"] = np.where(shown[number], 1.0, SMALL) * marker_size
        diameter = hv.dim("diameter")
    points = hv.Points(columns, kdims=places, vdims=[labelled, *list(columns)[3:]])
    xlim, ylim = bounds_of(neurons[x].values), bounds_of(neurons[y].values)
    points = styled(
        points,
        size=size,
        color=color,
        cmap=colors_of(value),
        clim=limits or limits_of(value),
        colorbar=True,
        clipping_colors={"NaN": COLORS["weak"]},
        xlim=xlim,
        ylim=ylim,
        bokeh={
            "size": diameter,
            "line_color": "#555555",
            "line_width": 0.4,
            "title": title or labelled.pprint_label,
            "clabel": "",
            "toolbar": "above",
            "default_tools": ["pan", "wheel_zoom", "reset"],
            "tools": ["hover"],
            "colorbar_opts": {"width": 10},
        },
        matplotlib={
            "s": diameter**2 / 2,
            "linewidth": 0.3,
            "title": title,
            "clabel": labelled.pprint_label,
        },
    )
    ringed = [] if selected is None else [selected]
    ring = styled(
        hv.Points((neurons[x].values[ringed], neurons[y].values[ringed]), kdims=places),
        bokeh={
            "size": marker_size * 2,
            "fill_alpha": 0,
            "line_color": "#d00000",
            "line_width": 2.5,
            "nonselection_line_alpha": 1.0,  # a lasso fades what it leaves out, marks too
        },
        matplotlib={
            "s": 2 * marker_size**2,
            "facecolors": "none",
            "edgecolors": "#d00000",
            "linewidth": 2,
        },
    )
    return points * ring


def plot_scores(
    scores: xr.Dataset,
    *,
    score: str = "correlation_to_average",
    ceiling: str = "cc_max",
    size: tuple[int, int] = SIZE,
) -> hv.Layout:
    """Draw how well each neuron is predicted beside the best that could be.

    Left, every neuron's score against its ceiling (on the dashed line the ceiling is
    reached; neurons with explainable variance below 0.15 are grey). Right, how the score
    is distributed, with its mean and the mean's interval.

    Parameters
    ----------
    scores : Dataset
        From `evaluation.score_prediction`.
    score, ceiling : str
        Names of two variables along `neuron`.
    size : (int, int)
        Width and height of each frame in pixels.

    Returns
    -------
    holoviews.Layout

    """
    reached, best = scores[score], scores[ceiling]
    low, high = bounds_of(reached.values, best.values, np.array([0.0, 1.0]), margin=0.02)
    axes = axis_of(best), axis_of(reached)
    weak = np.zeros(reached.shape, bool)
    if "explainable_variance" in scores:
        weak = ~(scores.explainable_variance.values >= RELIABLE)  # NaN counts as weak
    diagonal = styled(
        hv.Curve([(low, low), (high, high)], *axes),
        size=size,
        color=COLORS["guide"],
        xlim=(low, high),
        ylim=(low, high),
        title="score and ceiling of each neuron",
        bokeh={"line_dash": "dashed"},
        matplotlib={"linestyle": "--"},
    )
    groups = {"reliable": (~weak, COLORS["twin"]), "weak signal": (weak, COLORS["weak"])}
    clouds = [
        styled(
            hv.Scatter((best.values[chosen], reached.values[chosen]), *axes, label=name),
            color=color,
            alpha=0.8,
            bokeh={"size": 6},
            matplotlib={"s": 22},
        )
        for name, (chosen, color) in groups.items()
        if chosen.any()
    ]
    left = styled(
        hv.Overlay([diagonal, *clouds]),
        show_legend=len(clouds) > 1,
        legend_position="bottom_right",
    )

    finite = reached.values[np.isfinite(reached.values)]
    count, edges = np.histogram(finite, bins=20, range=bounds_of(finite, margin=0.0))
    top = 1.15 * max(int(count.max()), 1)
    bars = styled(
        hv.Histogram((edges, count), kdims=[axis_of(reached)], vdims=["neurons"]),
        size=size,
        color=COLORS["twin"],
        alpha=0.7,
        bokeh={"line_color": "white"},
        matplotlib={"edgecolor": "white"},
    )
    marks, words = [], f"{finite.size} of {reached.size} neurons defined"
    if f"mean_{score}" in scores:
        mean = float(scores[f"mean_{score}"])
        words = f"mean {mean:.3f}"
        if f"mean_{score}_interval" in scores:
            lower, upper = (float(v) for v in scores[f"mean_{score}_interval"])
            words += f" [{lower:.3f}, {upper:.3f}]"
            span = hv.Rectangles([(lower, 0.0, upper, top)], ["x0", "y0", "x1", "y1"])
            marks.append(
                styled(
                    span,
                    alpha=0.3,
                    bokeh={"fill_color": COLORS["other"], "line_alpha": 0},
                    matplotlib={"facecolor": COLORS["other"], "edgecolor": "none"},
                )
            )
        at_mean = hv.Segments([(mean, 0.0, mean, top)], ["x0", "y0", "x1", "y1"])
        marks.append(styled(at_mean, color=COLORS["other"]))
    right = styled(hv.Overlay([bars, *marks]), title=words, xlim=bounds_of(edges), ylim=(0, top))
    return (left + right).opts(shared_axes=False)


def plot_prediction(
    averages: xr.Dataset, *, title: str | None = None, size: tuple[int, int] = SIZE
) -> hv.Overlay:
    """Draw measured against predicted mean response to each repeated image.

    Parameters
    ----------
    averages : Dataset
        `response`, its `standard_error` over repeats, and `prediction`, all (image), of one
        neuron; with `prediction_of_member` (member, image) a bar goes from the lowest to the
        highest prediction.
    title : str, optional
        The neuron's name where absent.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay
        On the dashed line prediction and mean response agree.

    """
    predicted, measured = averages.prediction, averages.response
    error = averages.standard_error.values
    axes = axis_of(predicted), axis_of(measured)
    xlim = bounds_of(predicted.values, np.zeros(1))
    ylim = bounds_of(measured.values - error, measured.values + error, np.zeros(1))
    ends = (max(xlim[0], ylim[0]), min(xlim[1], ylim[1]))
    diagonal = styled(
        hv.Curve([(end, end) for end in ends], *axes),
        size=size,
        color=COLORS["guide"],
        xlim=xlim,
        ylim=ylim,
        framewise=True,
        title=name_of(averages) if title is None else title,
        bokeh={"line_dash": "dashed"},
        matplotlib={"linestyle": "--"},
    )
    bars = styled(
        hv.Segments(
            (predicted.values, measured.values - error, predicted.values, measured.values + error),
            ["x0", "y0", "x1", "y1"],
        ),
        color=COLORS["weak"],
        bokeh={"line_width": 1.5},
        matplotlib={"linewidth": 1.2},
    )
    points = styled(
        hv.Scatter((predicted.values, measured.values), *axes),
        color=COLORS["measured"],
        bokeh={"size": 5},
        matplotlib={"s": 16},
    )
    if "prediction_of_member" not in averages:
        return diagonal * bars * points
    of_member = averages.prediction_of_member
    ends = of_member.min("member").values, of_member.max("member").values
    spread = styled(
        hv.Segments(
            (ends[0], measured.values, ends[1], measured.values), ["x0", "y0", "x1", "y1"]
        ),
        color=COLORS["twin"],
        bokeh={"line_width": 1.5, "line_alpha": 0.5},
        matplotlib={"linewidth": 1.2, "alpha": 0.5},
    )
    return diagonal * bars * spread * points


def plot_mei_comparison(result: xr.Dataset, *, size: tuple[int, int] = SIZE) -> hv.Layout:
    """Draw what each neuron's most exciting input adds over images of the same norm.

    One line a neuron, from its best natural image over its best Gabor to its most exciting
    input; on the twin that made it and, right, on a twin that did not.

    Parameters
    ----------
    result : Dataset
        From `insilico.cross_examine`: `activation`, `activation_natural`, `activation_gabor`
        and the same with `_other`, of one neuron or many.
    size : (int, int)
        Width and height of each frame in pixels.

    Returns
    -------
    holoviews.Layout

    """
    stages = {"natural": "activation_natural", "Gabor": "activation_gabor", "MEI": "activation"}
    panels = []
    judges = {"": ("twin", "on its own twin"), "_other": ("other", "on another twin")}
    for suffix, (color, title) in judges.items():
        names = [f"{name}{suffix}" for name in stages.values()]
        if not set(names) <= set(result.data_vars):
            continue
        rates = np.stack([np.atleast_1d(result[name].values) for name in names])  # (stage, neuron)
        axes = hv.Dimension(("stage", "stimulus")), axis_of(result[names[-1]], "activation")
        steps = np.arange(len(stages))
        lines = hv.Path([np.column_stack([steps, rate]) for rate in rates.T], kdims=list(axes))
        points = hv.Scatter((np.tile(steps, rates.shape[1]), rates.T.ravel()), *axes)
        lines = styled(
            lines,
            size=size,
            color=COLORS["weak"],
            xlim=(-0.4, len(stages) - 0.6),
            ylim=bounds_of(rates, np.zeros(1)),
            xticks=list(zip(steps.tolist(), stages, strict=True)),
            title=title,
            bokeh={"line_width": 1.5},
            matplotlib={"linewidth": 1.2},
        )
        points = styled(points, color=COLORS[color], bokeh={"size": 8}, matplotlib={"s": 36})
        panels.append(lines * points)
    return hv.Layout(panels).opts(shared_axes=False)


def plot_circles(
    neurons: xr.Dataset,
    positions: Sequence[int],
    *,
    x: str = "x_um",
    y: str = "y_um",
    marker_size: float = 8,
) -> hv.Points:
    """Circle some neurons, to be laid over `plot_map`.

    Parameters
    ----------
    neurons : Dataset
        As for `plot_map`.
    positions : sequence of int
        Of the neurons to circle.
    x, y : str
        What they are placed by.
    marker_size : float
        Diameter of a neuron in pixels.

    Returns
    -------
    holoviews.Points

    """
    chosen = list(positions)
    circles = hv.Points(
        (neurons[x].values[chosen], neurons[y].values[chosen]),
        kdims=[axis_of(neurons[x]), axis_of(neurons[y])],
    )
    return styled(
        circles,
        bokeh={
            "size": 1.5 * marker_size,
            "fill_alpha": 0,
            "line_color": COLORS["other"],
            "line_width": 1.5,
            "nonselection_line_alpha": 1.0,
        },
        matplotlib={
            "s": (1.5 * marker_size) ** 2 / 2,
            "facecolors": "none",
            "edgecolors": COLORS["other"],
            "linewidth": 1.2,
        },
    )
