"""A few neurons and what one stimulus does to them, drawn."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.style import COLORS, styled

__all__ = ["driven_columns", "plot_driven"]

REACH = 2.0  # top of the frame, in usual maxima; the number above a bar says where it ends
BOX = ["left", "bottom", "right", "top"]


def plot_driven(
    driven: xr.Dataset,
    *,
    title: str = "",
    size: tuple[int, int] = (360, 150),
    room: int = 0,
    ink: str = COLORS["measured"],
) -> hv.Overlay:
    """Draw the response of some neurons to one stimulus beside their usual responses.

    A bar for each neuron, in units of the 99th percentile of its responses to ordinary images (the
    dashed line), over a pale one from the 1st percentile to there. Below each is which neuron it
    is, above it the response itself. A bar that leaves the frame is cut.

    Parameters
    ----------
    driven : Dataset
        `rate`, `usual_low` and `usual_high` along `neuron`, with the coordinate `position`.
    title : str
    size : (int, int)
        Width and height of the frame in pixels.
    room : int
        Neurons that the frame has room for; those that there are where 0.
    ink : str
        Colour of what is written.

    Returns
    -------
    holoviews.Overlay

    """
    room = room or driven.sizes["neuron"]
    usual, now, names, rates = driven_columns(driven)
    axes = [hv.Dimension(("left", "neuron")), hv.Dimension(("bottom", "response / usual maximum"))]
    boxes = [
        styled(
            hv.Rectangles([tuple(row) for row in zip(*(box[name] for name in BOX), strict=True)],
                          [*axes, "right", "top"]),
            bokeh={"fill_color": COLORS[color], "fill_alpha": alpha, "line_alpha": 0},
            matplotlib={"facecolor": COLORS[color], "edgecolor": "none", "alpha": alpha},
        )
        # See-through, so that it is pale on a white page and on a black one.
        for box, color, alpha in ((usual, "guide", 0.4), (now, "twin", 1.0))
    ]  # fmt: skip
    words = [
        styled(
            hv.Labels((text["x"], text["y"], text["said"]), ["x", "y"], "said"),
            bokeh={"text_font_size": "11px", "text_color": ink},
            matplotlib={"size": 7, "color": ink},
        )
        for text in (names, rates)
    ]
    line = styled(
        hv.Segments([(-0.6, 1.0, room - 0.4, 1.0)], BOX),
        color=COLORS["guide"],
        bokeh={"line_dash": "dashed"},
        matplotlib={"linestyle": "--"},
    )
    return styled(
        hv.Overlay([*boxes, *words, line]),
        size=size,
        title=title,
        xlim=(-0.6, room - 0.4),
        ylim=(-0.25, REACH),
        xticks=0,
        yticks=[0, 0.5, 1, 1.5, 2],
        show_legend=False,
    )


def driven_columns(driven: xr.Dataset) -> list[dict[str, Any]]:
    """Data of the layers that `plot_driven` draws for some neurons, as Bokeh's columns."""
    scale = np.where(driven.usual_high.values > 0, driven.usual_high.values, np.nan)
    rate, low = driven.rate.values / scale, driven.usual_low.values / scale
    place = np.arange(driven.sizes["neuron"], dtype=float)
    return [
        {"left": place - 0.42, "bottom": low, "right": place + 0.42, "top": np.ones_like(place)},
        {
            "left": place - 0.25,
            "bottom": 0 * place,
            "right": place + 0.25,
            "top": np.minimum(rate, REACH),
        },
        {"x": place, "y": place * 0 - 0.12, "said": [str(n) for n in driven.position.values]},
        {
            "x": place,
            "y": np.nan_to_num(np.clip(rate, 0, REACH - 0.25)) + 0.1,
            "said": [f"{value:.2g}" for value in driven.rate.values],
        },
    ]
