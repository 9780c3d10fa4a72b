"""What neurons tell about the stimulus, drawn: neurometric curves, information, images."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.images import plot_gallery, range_of
from twinlab.plots.style import COLORS, axis_of, bounds_of, name_of, styled

__all__ = ["plot_fisher_information", "plot_neurometric", "plot_reconstruction"]

SIZE = (320, 200)
N_IMAGE = 6  # reconstructions drawn of a result that has more
COLUMNS = 3


def plot_neurometric(
    result: xr.Dataset,
    *,
    population: bool = False,
    title: str | None = None,
    size: tuple[int, int] = SIZE,
) -> hv.Overlay:
    """Draw share correct against stimulus difference, its fit, and the threshold's interval.

    Parameters
    ----------
    result : Dataset
        From `insilico.measure_neurometric`; of one neuron, unless `population`.
    population : bool
        Draw that of all neurons together.
    title : str, optional
        The neuron's name and threshold where absent.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    prefix = "population_" if population else ""
    area, fitted = result[f"{prefix}roc_area"], result[f"{prefix}fitted_curve"]
    threshold = float(result[f"{prefix}threshold"])
    lower, upper = result[f"{prefix}threshold_interval"].values
    if title is None:
        units = area.difference.attrs.get("units", "")
        found = f"threshold {threshold:.3g} {units}" if np.isfinite(threshold) else "no threshold"
        if result[f"{prefix}threshold_below"]:
            found = f"threshold below {float(area.difference.min()):.3g} {units}"
        name = "all neurons" if population else name_of(result)
        title = ": ".join(filter(None, [name, found]))
    color = COLORS["other"] if population else COLORS["twin"]
    axes = axis_of(area.difference), hv.Dimension("share correct")
    line = styled(
        hv.Curve((fitted.fine_difference.values, fitted.values), *axes),
        size=size,
        color=color,
        ylim=(min(0.4, float(area.min()) - 0.02), 1.02),
        xlim=(0, float(area.difference.max()) * 1.03),
        framewise=True,
        title=title,
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 2},
    )
    points = styled(
        hv.Scatter((area.difference.values, area.values), *axes),
        color=color,
        bokeh={"size": 5},
        matplotlib={"s": 18},
    )
    begin = lower if np.isfinite(lower) or not np.isfinite(upper) else 0.0
    end = upper if np.isfinite(upper) else float(area.difference.max())
    interval = styled(
        hv.Segments([(begin, 0.75, end, 0.75)], ["x0", "y0", "x1", "y1"]),
        color=COLORS["measured"],
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 2},
    )
    chance = styled(
        hv.Segments(
            [(0.0, 0.5, float(area.difference.max()) * 1.03, 0.5)], ["x0", "y0", "x1", "y1"]
        ),
        color=COLORS["guide"],
        bokeh={"line_width": 1.5, "line_dash": "dotted"},
        matplotlib={"linewidth": 1.5, "linestyle": ":"},
    )
    return line * points * interval * chance


def plot_fisher_information(
    result: xr.Dataset, *, title: str | None = None, size: tuple[int, int] = SIZE
) -> hv.Overlay:
    """Draw Fisher information along the feature: of one neuron, or of all together.

    Parameters
    ----------
    result : Dataset
        From `insilico.measure_fisher_information` or `measure_recorded_fisher_information`; of one
        neuron, or whole for the population (with its interval, where it has one).
    title : str, optional
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    population = "neuron" in result.dims
    drawn = result.population_information if population else result.information
    axes = axis_of(drawn["value"]), axis_of(drawn, "information")
    color = COLORS["other"] if population else COLORS["twin"]
    interval = (
        result.population_information_interval.values
        if population and "population_information_interval" in result
        else np.full((drawn.size, 2), np.nan)
    )
    if title is None:
        title = "all neurons" if population else name_of(result)
    line = styled(
        hv.Curve((drawn["value"].values, drawn.values), *axes),
        size=size,
        color=color,
        ylim=bounds_of(drawn.values, interval, np.zeros(1)),
        framewise=True,
        title=title,
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 2},
    )
    points = styled(
        hv.Scatter((drawn["value"].values, drawn.values), *axes),
        color=color,
        bokeh={"size": 5},
        matplotlib={"s": 18},
    )
    places = drawn["value"].values
    bars = hv.Segments(
        [(x, low, x, high) for x, (low, high) in zip(places, interval, strict=True)],
        ["x0", "y0", "x1", "y1"],
    )
    return line * points * styled(bars, color=color)


def plot_reconstruction(
    result: xr.Dataset,
    *,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    width: int = 720,
) -> hv.Overlay:
    """Draw originals above their reconstructions, with correlations beside the null's interval.

    Parameters
    ----------
    result : Dataset
        From `insilico.reconstruct_linear`, `reconstruct_from_twin` or `measure_reconstruction`.
    limits : (float, float), optional
        Grey levels drawn black and white; as of `plot_image` where absent.
    title : str, optional
        The mean correlation and that of shuffled images where absent.
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Overlay

    """
    shown = result.isel(image=slice(0, N_IMAGE))
    if title is None:
        low, high = result.mean_null_interval.values
        title = (
            f"mean correlation {float(result.mean_correlation):.2f}, "
            f"images shuffled {low:.2f} to {high:.2f}"
        )
    n_image = shown.sizes["image"]
    tiles, captions = [], []
    for start in range(0, n_image, COLUMNS):
        row = range(start, start + COLUMNS)  # what is missing of the last row is left white
        for name in ("original", "reconstruction"):
            values = shown[name].values.astype(float)
            blank = np.full_like(values[0], np.nan)
            tiles += [values[k] if k < n_image else blank for k in row]
        captions += [f"image {k}" if k < n_image else "" for k in row]
        captions += [_against_null(shown.isel(image=k)) if k < n_image else "" for k in row]
    images = xr.DataArray(np.stack(tiles), dims=("image", "channel", "y", "x"))
    gallery = plot_gallery(
        images,
        captions,
        columns=COLUMNS,
        limits=limits or range_of(result.original),
        title=title,
        width=width,
    )
    # In print an overlay has a size of its own, and captions need the whole width.
    wide = width / 100
    high = wide * len(tiles) / COLUMNS**2 * images.sizes["y"] / images.sizes["x"]
    return styled(gallery, matplotlib={"fig_inches": (wide + 0.5, high + 1.5)})


def _against_null(image: xr.Dataset) -> str:
    low, high = image.null_interval.values
    return f"r {float(image.correlation):.2f} (null {low:.2f} to {high:.2f})"
