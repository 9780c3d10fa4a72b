"""Models compared, drawn: controversial pairs, metamers, eigendistortions, iso-response curves."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.images import plot_gallery, range_of
from twinlab.plots.style import COLORS, name_of, styled

__all__ = ["plot_controversial", "plot_eigendistortions", "plot_iso_response", "plot_metamer"]

ADDED = 0.25  # largest pixel of a distortion that is drawn, of the range of grey levels
IMAGES = ("image", "channel", "y", "x")


def plot_controversial(
    result: xr.Dataset,
    *,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    width: int = 480,
) -> hv.Overlay:
    """Draw one neuron's pairs of images, with both twins' responses below each.

    Above, the pair that moves the twin while the other is held; below, the reverse.

    Parameters
    ----------
    result : Dataset
        From `insilico.synthesize_controversial`, of one neuron.
    limits : (float, float), optional
        Grey levels drawn black and white; as of `plot_image` where absent.
    title : str, optional
        The neuron's name and whether the twins are distinguishable where absent.
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Overlay

    """
    if title is None:
        verdict = "distinguishable" if int(result.distinguishable) else "not distinguishable"
        title = ": ".join(filter(None, [name_of(result), verdict]))
    limits = limits or range_of(result.image)
    pairs = result.image.transpose("moved", "extreme", "channel", "y", "x").values
    images = xr.DataArray(pairs.reshape(-1, *pairs.shape[2:]), dims=IMAGES)
    captions = [
        f"twin {own:.3g}, other {other:.3g}"
        for own, other in zip(
            result.activation.values.ravel(), result.activation_other.values.ravel(), strict=True
        )
    ]
    return plot_gallery(images, captions, columns=2, limits=limits, title=title, width=width)


def plot_metamer(
    result: xr.Dataset,
    *,
    limits: tuple[float, float] | None = None,
    title: str = "",
    width: int = 640,
) -> hv.Overlay:
    """Draw a target and the images that evoke its responses, with loss and pixel correlation.

    Parameters
    ----------
    result : Dataset
        From `insilico.synthesize_metamer`.
    limits : (float, float), optional
        Grey levels drawn black and white; as of `plot_image` where absent.
    title : str
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Overlay

    """
    images = np.concatenate([result.target.values[None], result.metamer.values])
    captions = ["target"]
    for one in range(result.sizes["start"]):
        kind = "" if int(result.found[one]) else "not reached: "
        loss, r = float(result.loss[one]), round(float(result.pixel_correlation[one]), 2) + 0.0
        captions.append(f"{kind}loss {loss:.0e}, r {r:.2f}")
    return plot_gallery(
        xr.DataArray(images, dims=IMAGES),
        captions,
        columns=2,
        limits=limits or range_of(result.target),
        title=title,
        width=width,
    )


def plot_eigendistortions(
    result: xr.Dataset,
    *,
    limits: tuple[float, float] | None = None,
    title: str = "",
    width: int = 640,
) -> hv.Overlay:
    """Draw what is noticed most and least: each alone on grey, and added to the image.

    Parameters
    ----------
    result : Dataset
        From `insilico.measure_eigendistortions`. The first of each end is drawn, its largest
        pixel a quarter of the range of grey levels.
    limits : (float, float), optional
        Grey levels drawn black and white; as of `plot_image` where absent.
    title : str
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Overlay

    """
    limits = limits or range_of(result.image)
    middle, reach = sum(limits) / 2, limits[1] - limits[0]
    tiles, captions = [], []
    for end in ("top", "bottom"):
        one = result.isel(rank=0).sel(end=end)
        pattern = (one.distortion / np.abs(one.distortion).max()).values * ADDED * reach
        shared = "" if int(one.unique) else " (one of many)"
        tiles += [middle + pattern, result.image.values + pattern]
        captions += [f"{end}, λ {float(one.eigenvalue):.3g}{shared}", "image + this"]
    return plot_gallery(
        xr.DataArray(np.stack(tiles), dims=IMAGES),
        captions,
        columns=2,
        limits=limits,
        title=title,
        width=width,
    )


def plot_iso_response(
    result: xr.Dataset, *, title: str | None = None, size: tuple[int, int] = (280, 280)
) -> hv.Overlay:
    """Draw one neuron's contours of equal response in its plane of images.

    The higher the response, the darker; dashed, the axis about which their bend is fitted;
    pale, how far was looked. Distances are in standard deviations of the training pixels.

    Parameters
    ----------
    result : Dataset
        From `insilico.measure_iso_response`, of one neuron.
    title : str, optional
        The neuron's name, pooling rule and curvature at the middle level where absent.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    if title is None:
        bend = float(result.curvature[result.sizes["level"] // 2])
        words = f"{result.pooling.item()}, curvature {bend:.2f}"
        title = ": ".join(filter(None, [name_of(result), words]))
    far = float(result.distance.max())
    axes = [hv.Dimension(f"{name} direction", unit="s.d.") for name in ("first", "second")]
    turn = np.deg2rad(np.append(result.angle.values, result.angle.values[0] + 360))
    way = np.stack([np.cos(turn), np.sin(turn)], 1)
    layers: list[hv.Dimensioned] = [
        styled(
            hv.Path([far * way], axes),
            size=size,
            color=COLORS["weak"],
            xlim=(-1.05 * far, 1.05 * far),
            ylim=(-1.05 * far, 1.05 * far),
            framewise=True,
            title=title,
            bokeh={"line_width": 1},
            matplotlib={"linewidth": 1},
        )
    ]
    for level in range(result.sizes["level"]):
        radius = result.radius[level].values
        line = np.append(radius, radius[0])[:, None] * way
        share = float(result.level[level])
        layers.append(
            styled(
                hv.Path(_unbroken(line), axes),
                color=COLORS["twin"],
                alpha=0.4 + 0.6 * share,
                bokeh={"line_width": 1 + 2 * share},
                matplotlib={"linewidth": 1 + 2 * share},
            )
        )
    axis = np.deg2rad(float(result.axis_angle))
    end = far * np.array([np.cos(axis), np.sin(axis)])
    layers.append(
        styled(
            hv.Segments([(0.0, 0.0, *end)], ["x0", "y0", "x1", "y1"]),
            color=COLORS["other"],
            bokeh={"line_width": 1.5, "line_dash": "dashed"},
            matplotlib={"linewidth": 1.5, "linestyle": "--"},
        )
    )
    return hv.Overlay(layers)


def _unbroken(line: np.ndarray) -> list[np.ndarray]:
    """Stretches of a line (point, xy) without missing points."""
    there = np.isfinite(line).all(1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    return [line[start:stop] for start, stop in edges.reshape(-1, 2)]
