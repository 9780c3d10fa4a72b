"""Tuning to any parameter drawn: curves with their fits, maps, and populations."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.style import COLORS, axis_of, bounds_of, name_of, styled

__all__ = [
    "INDICES",
    "plot_angle_comparison",
    "plot_tuning_comparison",
    "plot_tuning_curve",
    "plot_tuning_distribution",
    "plot_tuning_map",
]

SIZE = (320, 200)
# What a title and a population show first, of each experiment.
INDICES = {
    "orientation_tuning": "osi",
    "direction_tuning": "dsi",
    "spatial_frequency_tuning": "preferred_spatial_frequency",
    "temporal_frequency_tuning": "preferred_temporal_frequency",
    "phase_tuning": "f1_f0",
    "size_tuning": "suppression_index",
    "contrast_tuning": "c50",
    "cross_orientation_tuning": "cross_orientation_suppression",
    "surround_tuning": "orientation_contrast_index",
    "surround_direction_tuning": "direction_contrast_index",
}
SHORT = {
    "osi": "OSI",
    "dsi": "DSI",
    "f1_f0": "F1/F0",
    "suppression_index": "suppression",
    "cross_orientation_suppression": "suppression",
    "orientation_contrast_index": "contrast index",
    "direction_contrast_index": "contrast index",
}
RATIO = 3.0  # of successive steps, first to last, above which an axis is drawn by logarithm


def _is_logarithmic(values: np.ndarray) -> bool:
    """Whether positive values are spaced by factors rather than by steps."""
    if len(values) < 3 or values.min() <= 0:
        return False
    steps = np.diff(np.sort(values))
    return bool(steps[-1] > RATIO * steps[0])


def _placed(values: np.ndarray, logarithmic: bool) -> np.ndarray:
    # Placed by logarithm and labelled in units: a logarithmic axis spoils the frame in print.
    return np.log2(values) if logarithmic else values


def _ticks(values: np.ndarray, logarithmic: bool, units: str) -> list[tuple[float, str]] | None:
    """Tick marks: round angles, or a few of the values of a logarithmic axis."""
    if logarithmic:
        shown = values[:: max(-(-len(values) // 5), 1)]
        return [(float(np.log2(value)), f"{value:.2g}") for value in shown]
    if units == "deg":
        end = 360 if np.ptp(values) >= 180 else 180
        return [(float(angle), str(angle)) for angle in range(0, end + 1, end // 4)]
    return None


def plot_tuning_curve(
    result: xr.Dataset,
    *,
    measured: xr.Dataset | None = None,
    title: str | None = None,
    size: tuple[int, int] = SIZE,
) -> hv.Overlay:
    """Draw one neuron's response along one axis, as points, with its fitted curve.

    Parameters
    ----------
    result : Dataset
        From one of the tuning experiments, of one neuron: `curve`, and `fitted` where there is
        a fit; or from `insilico.measure_tuning` along one axis.
    measured : Dataset, optional
        `response` and its `standard_error` along the same axis, as the neuron was recorded.
    title : str, optional
        The neuron's name, main index and the share of variance the fit explains where absent.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    drawn = result["curve"] if "curve" in result else result["evoked"]
    along = drawn[str(drawn.dims[0])]
    x, y = along.values.astype(float), drawn.values.astype(float)
    units = str(along.attrs.get("units", ""))
    logarithmic = _is_logarithmic(x)
    axes = axis_of(along), axis_of(drawn)
    fine = f"fine_{along.name}"
    has_fit = "fitted" in result and fine in result.coords
    line_x, line_y = x, y
    if has_fit:
        line_x = result[fine].values.astype(float)
        line_y = result.fitted.values.astype(float)
    if title is None:
        title = ": ".join(filter(None, [name_of(result), _words(result)]))
    shown = [] if measured is None else [measured.response.values]
    low, high = bounds_of(y, line_y, np.array([0.0]), *shown)
    line = styled(
        hv.Curve((_placed(line_x, logarithmic), line_y), *axes),
        size=size,
        color=COLORS["other" if has_fit else "twin"],
        xlim=bounds_of(_placed(x, logarithmic), _placed(line_x, logarithmic), margin=0.03),
        ylim=(low, high),
        xticks=_ticks(x, logarithmic, units),
        framewise=True,
        title=title,
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 2},
    )
    points = styled(
        hv.Scatter((_placed(x, logarithmic), y), *axes),
        color=COLORS["twin"],
        bokeh={"size": 6},
        matplotlib={"s": 22},
    )
    if measured is None:
        return line * points
    return line * points * _recorded(measured, axes, logarithmic)


def _recorded(
    measured: xr.Dataset, axes: tuple[hv.Dimension, hv.Dimension], logarithmic: bool
) -> hv.Overlay:
    """Mean responses with their standard errors."""
    along = _placed(measured[axes[0].name].values.astype(float), logarithmic)
    mean, error = measured.response.values, measured.standard_error.values
    bars = styled(
        hv.Segments((along, mean - error, along, mean + error), ["x0", "y0", "x1", "y1"]),
        color=COLORS["weak"],
        bokeh={"line_width": 1.5},
        matplotlib={"linewidth": 1.2},
    )
    points = styled(
        hv.Scatter((along, mean), *axes),
        color=COLORS["measured"],
        bokeh={"size": 6},
        matplotlib={"s": 22},
    )
    return bars * points


def _words(result: xr.Dataset) -> str:
    """Main index and quality of the fit, in words."""
    said = []
    index = INDICES.get(str(result.attrs.get("experiment", "")), "")
    if index in result:
        units = str(result[index].attrs.get("units", ""))
        value = float(result[index])
        name = "prefers" if index.startswith("preferred") else SHORT.get(index, index)
        if np.isfinite(value):
            said.append(f"{name} {_rounded(value)}{'' if units == '1' else ' ' + units}")
    if "fit_r2" in result and np.isfinite(float(result.fit_r2)):
        said.append(f"R² {float(result.fit_r2):.2f}")
    return ", ".join(said)


def _rounded(value: float) -> str:
    return f"{round(value, 3) + 0.0:.2g}"  # -0.0 and what is but rounding are 0


def plot_tuning_map(
    result: xr.Dataset, *, title: str | None = None, size: tuple[int, int] = SIZE
) -> hv.Overlay:
    """Draw one neuron's response over two axes; a third is averaged over.

    Parameters
    ----------
    result : Dataset
        With `evoked` over two or three axes, of one neuron. Places are drawn as on the screen,
        y downwards, with the fitted centre.
    title : str, optional
        The neuron's name where absent.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    drawn = result["evoked"]
    if drawn.ndim > 2:
        drawn = drawn.mean(list(drawn.dims[2:]), keep_attrs=True)
    horizontal, vertical = (drawn[str(name)] for name in drawn.dims)
    x, y = horizontal.values.astype(float), vertical.values.astype(float)
    logarithmic = _is_logarithmic(x), _is_logarithmic(y)
    values = drawn.values
    colors: str | list[str] = "viridis"
    if not np.isfinite(values).any():  # drawn white, but without a warning
        values, colors = np.zeros_like(values), ["#ffffff"]
    mesh = hv.QuadMesh(
        (_placed(x, logarithmic[0]), _placed(y, logarithmic[1]), values.T),
        kdims=[axis_of(horizontal), axis_of(vertical)],
        vdims=[axis_of(drawn, "evoked")],
    )
    on_screen = drawn.dims == ("x", "y")
    ticks = [
        _ticks(values, flag, "" if on_screen else str(axis.attrs.get("units", "")))
        for values, flag, axis in zip((x, y), logarithmic, (horizontal, vertical), strict=True)
    ]
    mesh = styled(
        mesh,
        size=size,
        cmap=colors,
        colorbar=True,
        clim=bounds_of(drawn.values, margin=0.0),
        xticks=ticks[0],
        yticks=ticks[1],
        invert_yaxis=on_screen,
        title=name_of(result) if title is None else title,
    )
    center = (np.nan, np.nan)
    if on_screen and "center_x" in result:
        center = float(result.center_x), float(result.center_y)
    mark = styled(
        hv.Scatter([center], axis_of(horizontal), axis_of(vertical)),
        color=COLORS["other"],
        bokeh={"marker": "cross", "size": 12, "line_width": 2},
        matplotlib={"marker": "o", "s": 40},
    )
    return mesh * mark


def plot_tuning_distribution(
    result: xr.Dataset, name: str, *, n_bin: int = 24, size: tuple[int, int] = SIZE
) -> hv.Histogram:
    """Draw how an index or a preference is distributed over neurons.

    Parameters
    ----------
    result : Dataset
        With `name` along `neuron`.
    name : str
        What to count. Angles fill their circle, with cyclic colours.
    n_bin : int
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Histogram
        Its title says the median, and how many neurons are undefined.

    """
    values = result[name].values.astype(float)
    finite = values[np.isfinite(values)]
    angle = result[name].attrs.get("units") == "deg"
    if angle:
        limits = (0.0, 360.0 if finite.max(initial=0.0) >= 180 else 180.0)
    else:
        limits = bounds_of(finite, margin=0.0)
    counts, edges = np.histogram(finite, n_bin, limits)
    lost = len(values) - len(finite)
    words = [] if angle or not len(finite) else [f"median {_rounded(float(np.median(finite)))}"]
    words += [f"{lost} undefined"] if lost else []
    middle = (edges[:-1] + edges[1:]) / 2
    label = axis_of(result[name], SHORT.get(name, name).replace("_", " "))
    bars = hv.Histogram((edges, counts, middle), kdims=[label], vdims=["neurons", "place"])
    bars = styled(
        bars,
        size=size,
        title=", ".join(words),
        ylim=(0, max(counts.max(), 1) * 1.05),
        bokeh={"color": COLORS["twin"]},
        matplotlib={"color": COLORS["twin"]},
    )
    if not angle:
        return bars
    return styled(bars, bokeh={"color": hv.dim("place"), "cmap": "colorwheel", "clim": limits})


def plot_tuning_comparison(result: xr.Dataset, *, size: tuple[int, int] = (260, 200)) -> hv.Layout:
    """Draw the cumulative distribution of each index, in silico and in vivo.

    Parameters
    ----------
    result : Dataset
        From `insilico.compare_tuning_distributions`.
    size : (int, int)
        Width and height of each frame in pixels.

    Returns
    -------
    holoviews.Layout
        Titles say how far apart the distributions are.

    """
    panels = []
    for index in result["index"].values.tolist():
        one = result.sel(index=index)
        curves = [
            styled(
                hv.Curve(
                    (one["quantile"].sel(source=source).values, one.level.values),
                    hv.Dimension(index, label=SHORT.get(index, index.replace("_", " "))),
                    axis_of(one.level),
                    label=source,
                ),
                size=size,
                color=COLORS["twin" if source == "in silico" else "measured"],
                bokeh={"line_width": 2},
                matplotlib={"linewidth": 2},
            )
            for source in one.source.values.tolist()
        ]
        title = f"KS {float(one.ks_statistic):.2f}, Wasserstein {float(one.wasserstein):.3f}"
        panels.append(
            styled(
                hv.Overlay(curves),
                title=title,
                show_legend=True,
                legend_position="bottom_right",
            )
        )
    return hv.Layout(panels).opts(shared_axes=False)


def plot_angle_comparison(result: xr.Dataset, *, size: tuple[int, int] = (320, 200)) -> hv.Overlay:
    """Draw how preferred angles are distributed, in silico and in vivo.

    Parameters
    ----------
    result : Dataset
        From `insilico.compare_angle_distributions`.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay
        Shares of the neurons around the circle, the first repeated at its end.

    """
    angle = result.angle.values
    period = angle[-1] + angle[1]
    curves = []
    for source in result.source.values.tolist():
        share = result.share.sel(source=source).values
        curve = hv.Curve(
            (np.append(angle, period), np.append(share, share[0])),
            axis_of(result.angle),
            axis_of(result.share),
            label=source,
        )
        curves.append(
            styled(
                curve,
                size=size,
                color=COLORS["twin" if source == "in silico" else "measured"],
                xticks=[(tick, f"{tick:.0f}") for tick in np.linspace(0, period, 5)],
                bokeh={"line_width": 2},
                matplotlib={"linewidth": 2},
            )
        )
    return styled(
        hv.Overlay(curves),
        title=f"Kuiper's V {float(result.kuiper_statistic):.2f}, p {float(result.kuiper_p):.2g}",
        ylim=(0, 1.1 * float(result.share.max())),
        show_legend=True,
        legend_position="bottom_right",
    )
