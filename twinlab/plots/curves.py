"""Curves drawn: tuning and the course of a fit."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.style import COLORS, axis_of, bounds_of, name_of, styled

__all__ = ["plot_history", "plot_tuning", "plot_tuning_grid"]

SIZE = (320, 200)


def _whole_circle(curve: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Orientations and responses with the first repeated at 180 degrees, where it recurs."""
    orientation = np.append(curve.orientation.values, curve.orientation.values[0] + 180.0)
    return orientation, np.append(curve.values, curve.values[0])


def plot_tuning(
    result: xr.Dataset,
    *,
    curve: str = "evoked_curve",
    beside: xr.Dataset | None = None,
    members: xr.DataArray | None = None,
    title: str | None = None,
    size: tuple[int, int] = SIZE,
) -> hv.Overlay:
    """Draw one neuron's response against orientation, its preferred orientation marked.

    Parameters
    ----------
    result : Dataset
        From `insilico.measure_orientation_tuning`, of one neuron.
    curve : {"evoked_curve", "tuning_curve"}
        The response above blank, from which preference and selectivity are taken; or the
        mean response (F0), with that to a blank screen as a dotted line.
    beside : Dataset, optional
        Of another neuron, to compare with: drawn as a thin line of its own colour.
    members : DataArray, optional
        The same curve (member, orientation) of the members of an ensemble: from their lowest to
        their highest is a band.
    title : str, optional
        The neuron's name, preferred orientation and selectivity where absent.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    drawn = result[curve]
    orientation, response = _whole_circle(drawn)
    preferred = float(result.preferred_orientation)
    blank = float(result.blank_response) if curve == "tuning_curve" else np.nan
    if title is None:
        words = f"prefers {preferred:.0f}°, OSI {float(result.osi):.2f}"
        title = ": ".join(filter(None, [name_of(result), words]))
    others = [beside[curve].values] if beside is not None else []
    others += [members.values] if members is not None else []
    low, high = bounds_of(response, np.array([0.0, blank]), *others)
    axes = axis_of(drawn.orientation), axis_of(drawn)
    line = styled(
        hv.Curve((orientation, response), *axes),
        size=size,
        color=COLORS["twin"],
        xlim=(0, 180),
        ylim=(low, high),
        xticks=[0, 45, 90, 135, 180],
        framewise=True,
        title=title,
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 2},
    )
    points = styled(
        hv.Scatter((orientation, response), *axes),
        color=COLORS["twin"],
        bokeh={"size": 5},
        matplotlib={"s": 18},
    )
    marks = styled(
        hv.Segments([(preferred, low, preferred, high)], ["x0", "y0", "x1", "y1"]),
        color=COLORS["other"],
        bokeh={"line_width": 1.5, "line_dash": "dashed"},
        matplotlib={"linewidth": 1.5, "linestyle": "--"},
    )
    rest = styled(
        hv.Segments([(0.0, blank, 180.0, blank)], ["x0", "y0", "x1", "y1"]),
        color=COLORS["guide"],
        bokeh={"line_width": 1.5, "line_dash": "dotted"},
        matplotlib={"linewidth": 1.5, "linestyle": ":"},
    )
    layers = [line, points, marks, rest]
    if beside is not None:
        layers.append(
            styled(
                hv.Curve(_whole_circle(beside[curve]), *axes),
                color=COLORS["beside"],
                bokeh={"line_width": 1.5},
                matplotlib={"linewidth": 1.5},
            )
        )
    if members is not None:
        # At their own orientations: they may have been measured with other settings.
        at, lowest = _whole_circle(members.min("member"))
        _, highest = _whole_circle(members.max("member"))
        band = hv.Area((at, lowest, highest), axes[0], [axes[1], "highest of the members"])
        layers.insert(0, _banded(band, size))
    return hv.Overlay(layers)


def _banded(band: hv.Area, size: tuple[int, int]) -> hv.Area:
    return styled(
        band,
        size=size,
        color=COLORS["twin"],
        alpha=0.2,
        bokeh={"line_alpha": 0},
        matplotlib={"linewidth": 0},
    )


def plot_tuning_grid(
    result: xr.Dataset, *, title: str | None = None, size: tuple[int, int] = SIZE
) -> hv.QuadMesh:
    """Draw one neuron's response over orientation and spatial frequency, averaged over phase.

    Parameters
    ----------
    result : Dataset
        With `response` (orientation, spatial_frequency, phase), of one neuron.
    title : str, optional
        The neuron's name where absent.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.QuadMesh

    """
    grid = result.response.mean("phase", keep_attrs=True)
    grid = grid.transpose("spatial_frequency", "orientation")
    frequency = grid.spatial_frequency.values
    # Placed by logarithm and labelled in cycles: a logarithmic axis spoils the frame in print.
    mesh = hv.QuadMesh(
        (grid.orientation.values, np.log2(frequency), grid.values),
        kdims=[axis_of(grid.orientation), axis_of(grid.spatial_frequency)],
        vdims=[axis_of(grid)],
    )
    return styled(
        mesh,
        size=size,
        cmap="viridis",
        colorbar=True,
        clim=bounds_of(grid.values, margin=0.0),
        yticks=[(float(np.log2(value)), f"{value:.2g}") for value in frequency],
        title=name_of(result) if title is None else title,
    )


def plot_history(history: xr.Dataset, *, size: tuple[int, int] = SIZE) -> hv.Layout:
    """Draw the course of a fit: the losses, and the correlation on validation images.

    Parameters
    ----------
    history : Dataset
        With `train_loss`, `validation_loss` and `validation_correlation` along `epoch`, and
        `member` where several twins were fitted; those absent are left out.
    size : (int, int)
        Width and height of each frame in pixels.

    Returns
    -------
    holoviews.Layout

    """
    groups = {
        "loss": ("train_loss", "validation_loss"),
        "correlation": ("validation_correlation",),
    }
    panels = []
    for label, names in groups.items():
        curves = {
            (name.split("_")[0], member): hv.Curve(
                (history.epoch.values, values),
                hv.Dimension("epoch"),
                hv.Dimension(label, unit=axis_of(history[name]).unit),
            )
            for name in names
            if name in history
            for member, values in enumerate(np.atleast_2d(history[name].values))
        }
        if not curves:
            continue
        drawn = [
            styled(
                curve.relabel(split if member == 0 else ""),
                size=size,
                color=COLORS["guide" if split == "train" else "twin"],
                bokeh={"line_width": 2},
                matplotlib={"linewidth": 2},
            )
            for (split, member), curve in curves.items()
        ]
        panels.append(styled(hv.Overlay(drawn), title=label, show_legend=len(drawn) > 1))
    return hv.Layout(panels).opts(shared_axes=False)
