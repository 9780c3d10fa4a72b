"""The making of a stimulus drawn: the way up, and the spectrum of what came of it."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.style import COLORS, axis_of, bounds_of, styled

__all__ = ["plot_ascent", "plot_octaves"]

SIZE = (320, 160)


def plot_ascent(
    ascent: xr.DataArray, *, title: str = "", size: tuple[int, int] = SIZE
) -> hv.Overlay:
    """Draw what an ascent has reached against the steps taken.

    Parameters
    ----------
    ascent : DataArray of dimension (step,)
        With the coordinate `step`. NaN is not drawn.
    title : str
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    step = ascent.step.values.astype(float)
    low, high = bounds_of(ascent.values)
    axes = axis_of(ascent.step), axis_of(ascent)
    line = styled(
        hv.Curve((step, ascent.values), *axes),
        size=size,
        color=COLORS["twin"],
        xlim=(0.0, max(float(np.max(step, initial=0.0)), 1.0)),
        ylim=(low, high),
        framewise=True,
        title=title,
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 2},
    )
    points = styled(
        hv.Scatter((step, ascent.values), *axes),
        color=COLORS["twin"],
        bokeh={"size": 4},
        matplotlib={"s": 12},
    )
    return line * points


def plot_octaves(
    statistics: xr.Dataset,
    training: xr.Dataset | None = None,
    *,
    title: str = "",
    size: tuple[int, int] = SIZE,
) -> hv.Overlay:
    """Draw the contrast of one image by octave of spatial frequency, beside training images.

    Parameters
    ----------
    statistics : Dataset
        `octave_contrast` (octave) of `twins.familiarity.image_statistics`, of one image.
    training : Dataset, optional
        From `twins.familiarity.training_range`: the grey band.
    title : str
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    own = statistics.octave_contrast
    place = np.arange(own.sizes["octave"], dtype=float)
    axes = [hv.Dimension(("octave", "cycles/px")), axis_of(own, "contrast")]
    low, high = np.zeros_like(place), np.full_like(place, np.nan)
    if training is not None:
        low, high = (
            training.octave_contrast.sel(bound=bound).values for bound in ("lower", "upper")
        )
    band = styled(
        hv.Area((place, low, high), axes[0], [axes[1], "upper"]),
        size=size,
        color=COLORS["weak"],
        alpha=0.6,
        bokeh={"line_alpha": 0},
        matplotlib={"linewidth": 0},
        title=title,
        xticks=list(zip(place.tolist(), own.octave.values.tolist(), strict=True)),
        xlim=(-0.3, len(place) - 0.7),
        ylim=bounds_of(own.values, low, high, np.zeros(1)),
        framewise=True,
    )
    line = styled(
        hv.Curve((place, own.values), *axes),
        color=COLORS["twin"],
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 2},
    )
    points = styled(
        hv.Scatter((place, own.values), *axes),
        color=COLORS["twin"],
        bokeh={"size": 6},
        matplotlib={"s": 22},
    )
    return band * line * points
