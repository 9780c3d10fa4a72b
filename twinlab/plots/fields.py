"""Fields of second order drawn, and fields and attributions side by side."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr
from contourpy import contour_generator

from twinlab.plots.images import plot_image, plot_receptive_field
from twinlab.plots.style import COLORS, axis_of, bounds_of, name_of, styled

__all__ = ["plot_attribution", "plot_axes", "plot_field_comparison", "plot_spectrum"]

SIZE = (320, 200)


def plot_spectrum(
    result: xr.Dataset, *, title: str | None = None, size: tuple[int, int] = SIZE
) -> hv.Overlay:
    """Draw one neuron's eigenvalues in descending order, those beyond chance in colour.

    Parameters
    ----------
    result : Dataset
        From `insilico.measure_stc` or `measure_gqm` (of a recording or a twin), of one neuron.
        The grey band lies between the extremes that chance gives; the quadratic model has none.
    title : str, optional
        The neuron's name, and how many axes there are, where absent.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    value = result.eigenvalue.values[np.isfinite(result.eigenvalue.values)]
    rank = np.arange(1, len(value) + 1)
    axes = hv.Dimension("rank"), axis_of(result.eigenvalue, "eigenvalue")
    band = (float(result.null_low), float(result.null_high)) if "null_low" in result else ()
    # the smallest of few eigenvalues must not lie on the frame
    bounds = bounds_of(value, np.array([0.0, *band]), margin=0.08)
    counts = [0, 0]
    if "n_excitatory" in result and np.isfinite(result.n_excitatory):
        counts = [int(result.n_excitatory), int(result.n_suppressive)]
    if title is None:
        words = f"{counts[0]} excite, {counts[1]} suppress" if band else ""
        title = ": ".join(filter(None, [name_of(result), words]))
    parts: list[hv.Dimensioned] = []
    if band and np.isfinite(band).all():
        box = hv.Rectangles([(0.0, band[0], len(value) + 1.0, band[1])], list(axes) + ["x1", "y1"])
        parts.append(
            styled(
                box,
                bokeh={"color": COLORS["weak"], "line_alpha": 0, "fill_alpha": 0.6},
                matplotlib={"color": COLORS["weak"], "linewidth": 0, "alpha": 0.6},
            )
        )
    end = len(value) - counts[1]
    for color, chosen in (
        ("guide", slice(counts[0], end)),
        ("other", slice(counts[0])),
        ("twin", slice(end, None)),
    ):
        parts.append(
            styled(
                hv.Scatter((rank[chosen], value[chosen]), *axes),
                color=COLORS[color],
                bokeh={"size": 4 if color == "guide" else 7},
                matplotlib={"s": 6 if color == "guide" else 30},
            )
        )
    return styled(
        hv.Overlay(parts),
        size=size,
        xlim=(0, len(value) + 1),
        ylim=bounds,
        title=title,
        framewise=True,
        show_legend=False,
    )


def plot_axes(
    result: xr.Dataset, kind: str = "excitatory", *, title: str | None = None, width: int = 320
) -> hv.Overlay:
    """Draw one neuron's axes of one sign side by side, the most extreme first.

    Parameters
    ----------
    result : Dataset
        From `insilico.measure_stc` or `measure_gqm` (of a recording or a twin), of one neuron.
    kind : {"excitatory", "suppressive"}
    title : str, optional
        How many there are, where absent.
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Overlay
        White where nothing was estimated.

    """
    axes = result[kind]
    count = int(axes.notnull().any(("channel", "y", "x")).sum())
    shown = axes.isel(filter=slice(max(count, 1))).stack(shown=("filter", "channel"))
    field = shown.transpose("shown", "y", "x").reset_index("shown", drop=True)
    field = field.rename(shown="channel")
    if title is None:
        title = f"{count} {kind}" if count else f"no {kind} axis"
    return plot_receptive_field(xr.Dataset({"receptive_field": field}), title=title, width=width)


def plot_field_comparison(result: xr.Dataset, *, width: int = 320) -> hv.Layout:
    """Draw one neuron's recorded receptive field beside its twin's, each in its own scale.

    Parameters
    ----------
    result : Dataset
        From `insilico.compare_fields`, of one neuron.
    width : int
        Of each frame, in pixels of the screen.

    Returns
    -------
    holoviews.Layout

    """
    titles = {
        "recorded_field": ": ".join(filter(None, [name_of(result), "recorded"])),
        "twin_field": f"twin, r = {float(result.correlation):.2f}",
    }
    pictures = [
        plot_receptive_field(
            xr.Dataset({"receptive_field": result[name]}), title=title, width=width
        )
        for name, title in titles.items()
    ]
    return hv.Layout(pictures).opts(shared_axes=False)


def plot_attribution(
    result: xr.Dataset, *, title: str | None = None, width: int = 320
) -> hv.Layout:
    """Draw an image and which of its pixels one neuron answers to: red raise its rate.

    Parameters
    ----------
    result : Dataset
        From `insilico.measure_integrated_gradients`, `measure_occlusion` or
        `measure_bubbles`, of one neuron and one image. Of Bubbles, a line runs around what
        is beyond chance.
    title : str, optional
        The neuron's name where absent.
    width : int
        Of each frame, in pixels of the screen.

    Returns
    -------
    holoviews.Layout

    """
    field = result.attribution.expand_dims("channel")
    picture = plot_receptive_field(
        xr.Dataset({"receptive_field": field}),
        title=name_of(result) if title is None else title,
        width=width,
    )
    if "z" in result and np.isfinite(result.threshold):
        z = np.ma.masked_invalid(np.abs(result.z.values))
        lines = contour_generator(z=z).lines(float(result.threshold))
        outline = hv.Path([np.asarray(line) for line in lines], kdims=["x", "y"])
        picture *= styled(
            outline,
            color=COLORS["measured"],
            bokeh={"line_width": 1},
            matplotlib={"linewidth": 1},
        )
    image = plot_image(result.stimulus, title="image", width=width)
    return hv.Layout([image, picture]).opts(shared_axes=False)
