"""What was found beside what was planted: figures of the simulated cortex alone."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.style import COLORS, axis_of, styled

__all__ = ["plot_truth"]

SIZE = (280, 240)
TYPE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe & Ito (2008)


def plot_truth(found: xr.Dataset, *, size: tuple[int, int] = SIZE) -> hv.Layout:
    """Draw how close a twin's neurons come to the planted ones.

    Left, the correlation of predicted with noise-free responses, by kind of cell; middle, the
    preferred against the true orientation; right, the similarity of each simple cell's most
    exciting input to its filter.

    Parameters
    ----------
    found : Dataset
        Along `neuron`: `truth_correlation`, `preferred_orientation`, `orientation_error` and
        `filter_correlation`, with the coordinates `true_type` and `true_orientation`.
    size : (int, int)
        Width and height of each frame in pixels.

    Returns
    -------
    holoviews.Layout

    """
    kinds = sorted(set(found.true_type.values.tolist()))
    colors = dict(zip(kinds, TYPE_COLORS, strict=False))
    panels = [
        _by_kind(found, colors, size),
        _orientations(found, colors, size),
        _filters(found, size),
    ]
    return hv.Layout(panels).opts(shared_axes=False)


def _by_kind(found: xr.Dataset, colors: dict[str, str], size: tuple[int, int]) -> hv.Overlay:
    rng = np.random.default_rng(0)  # only spreads the points sideways
    axes = (
        hv.Dimension(("kind", "kind of cell (mean)")),
        axis_of(found.truth_correlation, "correlation with the truth"),
    )
    clouds, ticks = [], []
    for place, (kind, color) in enumerate(colors.items()):
        values = found.truth_correlation.values[found.true_type.values == kind]
        sideways = place + rng.uniform(-0.25, 0.25, len(values))
        clouds.append(_cloud(sideways, values, axes, color))
        ticks.append((place, f"{kind} ({np.nanmean(values):.2f})"))
    overlay = hv.Overlay(clouds)
    return styled(
        overlay,
        size=size,
        title="prediction of the noise-free response",
        xlim=(-0.6, len(colors) - 0.4),
        ylim=(min(0.0, float(found.truth_correlation.min()) - 0.05), 1.02),
        xticks=ticks,
        bokeh={"xrotation": 20},
        matplotlib={"xrotation": 20},
    )


def _orientations(found: xr.Dataset, colors: dict[str, str], size: tuple[int, int]) -> hv.Overlay:
    axes = (
        axis_of(found.true_orientation, "true orientation"),
        axis_of(found.preferred_orientation),
    )
    diagonal = styled(hv.Curve([(0, 0), (180, 180)], *axes), color=COLORS["guide"])
    clouds = [
        _cloud(
            found.true_orientation.values[found.true_type.values == kind],
            found.preferred_orientation.values[found.true_type.values == kind],
            axes,
            color,
        )
        for kind, color in colors.items()
    ]
    near = float((found.orientation_error <= 10).mean())
    return styled(
        hv.Overlay([diagonal, *clouds]),
        size=size,
        title=f"within 10 degrees: {near:.0%} of neurons",
        xlim=(-5, 185),
        ylim=(-5, 185),
    )


def _filters(found: xr.Dataset, size: tuple[int, int]) -> hv.Histogram:
    similarity = found.filter_correlation.values[found.true_type.values == "simple"]
    similarity = similarity[np.isfinite(similarity)]
    low = float(similarity.min(initial=0.0))
    count, edges = np.histogram(similarity, bins=20, range=(low, 1.0))
    words = f"median r = {np.median(similarity):.2f}" if similarity.size else "no simple cells"
    axis = axis_of(found.filter_correlation, "correlation with the true filter")
    return styled(
        hv.Histogram((edges, count), kdims=[axis], vdims=["simple cells"]),
        size=size,
        title=f"most exciting inputs: {words}",
        color=COLORS["twin"],
        alpha=0.7,
        bokeh={"line_color": "white"},
        matplotlib={"edgecolor": "white"},
    )


def _cloud(
    x: np.ndarray, y: np.ndarray, axes: tuple[hv.Dimension, hv.Dimension], color: str
) -> hv.Scatter:
    return styled(
        hv.Scatter((x, y), *axes),
        color=color,
        alpha=0.7,
        bokeh={"size": 5},
        matplotlib={"s": 16},
    )
