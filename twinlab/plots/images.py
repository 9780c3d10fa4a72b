"""Pixels drawn: stimuli, receptive fields, most exciting inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from contourpy import contour_generator

from twinlab.plots.style import COLORS, name_of, styled

__all__ = [
    "plot_gallery",
    "plot_image",
    "plot_mei",
    "plot_receptive_field",
    "plot_stimuli",
    "plot_suppressor",
    "beside",
    "range_of",
    "tile_at",
]

GREY_LEVELS = (0.0, 255.0)  # of stimuli that do not say otherwise, where all lie there
GAP = 2  # pixels between channels drawn side by side
N_CAPTION = 3  # parameters that have room below a stimulus


def range_of(stimuli: xr.DataArray) -> tuple[float, float]:
    """Grey levels drawn black and white: what results say can be shown to their twin.

    Of stimuli that say nothing, 0 to 255 if all of them lie there, else their own range.
    """
    said = stimuli.attrs.get("display_range")
    if said is not None:
        return float(said[0]), float(said[1])
    known = stimuli.values[np.isfinite(stimuli.values)]
    low, high = (float(known.min()), float(known.max())) if known.size else GREY_LEVELS
    if GREY_LEVELS[0] <= low <= high <= GREY_LEVELS[1]:
        return GREY_LEVELS
    return low, high if high > low else low + 1


def beside(image: np.ndarray) -> np.ndarray:
    """Channels side by side: (channel, y, x) -> (y, channels with gaps)."""
    gap = np.full((image.shape[1], GAP), np.nan)
    parts = [part for channel in image for part in (gap, channel.astype(float))]
    return np.concatenate(parts[1:], axis=1)


def _picture(
    values: np.ndarray, *, limits: tuple[float, float], width: int, value: str, **options: Any
) -> hv.Image:
    """Draw an array (y, x) with y downwards and pixel centres at whole numbers."""
    height = max(1, round(width * values.shape[0] / values.shape[1]))
    if not np.isfinite(values).any():  # drawn white as NaN is, but without a warning
        values, options = np.ones_like(values), options | {"cmap": ["#ffffff"]}
    picture = hv.Image(
        (np.arange(values.shape[1]), np.arange(values.shape[0]), values),
        kdims=[hv.Dimension("x", unit="px"), hv.Dimension("y", unit="px")],
        vdims=[hv.Dimension(("value", value))],
    )
    return styled(
        picture,
        size=(width, height),
        invert_yaxis=True,
        clim=limits,
        # the whole picture, whatever stands beside it in a layout
        xlim=(-0.5, values.shape[1] - 0.5),
        ylim=(-0.5, values.shape[0] - 0.5),
        xticks=5,
        yticks=3,
        **{"clipping_colors": {"NaN": "#ffffff"}, **options},
    )


def plot_image(
    image: xr.DataArray,
    *,
    limits: tuple[float, float] | None = None,
    title: str = "",
    width: int = 320,
) -> hv.Image:
    """Draw one stimulus in grey levels, its channels side by side.

    Parameters
    ----------
    image : DataArray of dimensions (channel, y, x) or (y, x)
    limits : (float, float), optional
        Grey levels drawn black and white; where absent, the range that can be shown to the twin
        if the image says it, so that contrasts can be compared, else 0 to 255, or its own range
        if it leaves that.
    title : str
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Image

    """
    values = image.values if image.ndim == 3 else image.values[None]
    return _picture(
        beside(values), limits=limits or range_of(image), width=width, value="grey level",
        cmap="gray", title=title,
    )  # fmt: skip


def plot_receptive_field(
    result: xr.Dataset, *, limit: float | None = None, title: str | None = None, width: int = 320
) -> hv.Overlay:
    """Draw one neuron's receptive field: red excites, blue suppresses, white is nothing.

    Parameters
    ----------
    result : Dataset
        With `receptive_field` (channel, y, x), of one neuron. Where it has `sensitivity`
        (y, x), a line runs around the pixels with at least half its maximum, so that a
        neuron blind to the sign of contrast (complex) is seen to look somewhere.
    limit : float, optional
        Value drawn in the deepest colour; the largest magnitude of the two where absent,
        so that such a neuron stays pale. Give one to compare several neurons.
    title : str, optional
        The neuron's name where absent.
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Overlay

    """
    field = result.receptive_field
    sensitivity = result.sensitivity.values if "sensitivity" in result else np.zeros(0)
    if limit is None:
        largest = np.nanmax(np.abs([*field.values.ravel(), *sensitivity.ravel()]), initial=0.0)
        limit = float(largest) or 1.0
    units = field.attrs.get("units", "")
    picture = _picture(
        beside(field.values),
        limits=(-limit, limit),
        width=width,
        value=f"weight ({units})" if units not in ("", "1") else "weight",
        cmap="RdBu_r",
        title=name_of(result) if title is None else title,
    )
    outline = hv.Path(_outlines(sensitivity, field.sizes["channel"]), kdims=list(picture.kdims))
    return picture * styled(
        outline,
        color=COLORS["guide"],
        bokeh={"line_width": 1},
        matplotlib={"linewidth": 1},
    )


def _outlines(sensitivity: np.ndarray, n_channel: int) -> list[np.ndarray]:
    """Draw closed lines (point, xy) around half the maximum, once in each channel's picture."""
    top = float(np.nanmax(sensitivity, initial=0.0))
    if not top > 0:
        return []
    lines = [np.asarray(line) for line in contour_generator(z=sensitivity).lines(top / 2)]
    pitch = sensitivity.shape[-1] + GAP
    return [line + [channel * pitch, 0] for channel in range(n_channel) for line in lines]


def plot_mei(
    result: xr.Dataset,
    *,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    width: int = 320,
) -> hv.Image:
    """Draw one neuron's most or least exciting input, with the response it drives.

    Parameters
    ----------
    result : Dataset
        With `mei`, `lei` or `discriminating` (channel[, frame], y, x) and `activation`, of one
        neuron. Of a video four frames are drawn, the last among them.
    limits : (float, float), optional
        Grey levels drawn black and white; as of `plot_image` where absent.
    title : str, optional
        The neuron's name and activation where absent.
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Image

    """
    if title is None:
        drives = f"activation {float(result.activation):.3g}"
        if not np.isfinite(result.activation):
            drives = "nothing led further"
        elif "unique" in result and not int(result.unique):
            drives += ", not unique"
        title = ": ".join(filter(None, [name_of(result), drives]))
    image = next(result[it] for it in ("mei", "lei", "discriminating") if it in result)
    if "frame" in image.dims:
        shown = np.linspace(0, image.sizes["frame"] - 1, 5).round().astype(int)[1:]
        some = image.isel(frame=shown).transpose("frame", "channel", "y", "x")
        strip = np.concatenate([beside(one) for one in some.values], axis=1)
        image = xr.DataArray(strip, dims=("y", "x"), attrs=image.attrs)
    return plot_image(image, limits=limits, title=title, width=width)


def plot_suppressor(
    result: xr.Dataset,
    *,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    width: int = 480,
) -> hv.Overlay:
    """Draw one neuron's base, its suppressor and both together, with the responses they drive.

    Parameters
    ----------
    result : Dataset
        From `insilico.synthesize_suppressor`, of one neuron. Of a video the last frame is drawn.
    limits : (float, float), optional
        Grey levels drawn black and white; as of `plot_image` where absent.
    title : str, optional
        The neuron's name and its suppression where absent.
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Overlay

    """
    if title is None:
        says = f"suppression {float(result.suppression):.2f}"
        says = says if int(result.valid) else "nothing led further"
        title = ": ".join(filter(None, [name_of(result), says]))
    names = ("base", "suppressor", "combined")
    images = xr.concat([result[name] for name in names], "image")
    if "frame" in images.dims:
        images = images.isel(frame=-1)
    rates = (result[name] for name in ("base_activation", "activation", "suppressed_activation"))
    captions = [f"{name} {float(rate):.2g}" for name, rate in zip(names, rates, strict=True)]
    return plot_gallery(images, captions, columns=3, limits=limits, title=title, width=width)


def plot_gallery(
    images: xr.DataArray,
    captions: Sequence[str],
    *,
    columns: int = 4,
    limits: tuple[float, float] | None = None,
    title: str = "",
    width: int = 480,
) -> hv.Overlay:
    """Draw several images of one size in rows, each with a caption below.

    Parameters
    ----------
    images : DataArray of dimensions (image, channel, y, x) or (video, channel, frame, y, x)
        The first may have any name.
    captions : sequence of str, one an image
    columns : int
        Images in a row, or frames of a video, evenly spaced; a row is one video, and below its
        frames from the second on is their time.
    limits : (float, float), optional
        Grey levels drawn black and white; as of `plot_image` where absent.
    title : str
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Overlay
        One picture and its captions.

    """
    limits = limits or range_of(images)
    if "frame" in images.dims:
        columns = min(columns, images.sizes["frame"])
        images, captions = _frames(images, captions, columns)
    tiles = [beside(image) for image in images.values]
    height, breadth = tiles[0].shape
    n_column, pitch, line = _grid(breadth, len(tiles), columns, width)
    n_row = -(-len(tiles) // n_column)
    wall = np.full((n_row * (height + line), n_column * pitch - (pitch - breadth)), np.nan)
    places = []
    for number, tile in enumerate(tiles):
        top = (number // n_column) * (height + line)
        left = (number % n_column) * pitch
        wall[top : top + height, left : left + breadth] = tile
        places.append((left + breadth / 2 - 0.5, top + height + line / 2 - 0.5))
    picture = _picture(
        wall, limits=limits, width=width, value="grey level", cmap="gray", title=title
    )
    words = hv.Labels(
        [(x, y, caption) for (x, y), caption in zip(places, captions, strict=True)],
        kdims=["x", "y"],
        vdims=["caption"],
    )
    words = styled(
        words,
        bokeh={"text_font_size": "8.5pt", "text_color": "#333333"},
        matplotlib={"size": 8, "color": "#333333"},
    )
    return styled(picture * words, xaxis=None, yaxis=None)


def tile_at(
    x: float, y: float, images: xr.DataArray, *, columns: int = 4, width: int = 480
) -> int | None:
    """Number of the image at a place of the figure that `plot_gallery` draws of these.

    Parameters
    ----------
    x, y : float
        In the figure's own coordinates, as a tap has them.
    images, columns, width
        What `plot_gallery` was given, not videos.

    Returns
    -------
    int or None
        None beside the images.

    """
    tile = beside(images.values[0])
    n_column, pitch, line = _grid(tile.shape[1], len(images), columns, width)
    column, row = int((x + 0.5) // pitch), int((y + 0.5) // (tile.shape[0] + line))
    number = row * n_column + column
    return number if 0 <= column < n_column and 0 <= number < len(images) else None


def _grid(breadth: int, n_tile: int, columns: int, width: int) -> tuple[int, int, int]:
    """Columns of a gallery, and in pixels of the images their pitch and a caption's height."""
    pitch = breadth + max(1, breadth // 24)
    n_column = min(columns, n_tile)
    # A caption is a fixed number of screen pixels high; in image pixels that depends on scale.
    scale = width / (n_column * pitch)
    return n_column, pitch, max(1, round(17 / scale))


def plot_stimuli(
    stimulus: xr.DataArray,
    *,
    n_shown: int = 12,
    columns: int = 4,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    width: int = 640,
) -> hv.Overlay:
    """Draw a set of stimuli, below each the first parameters in which they differ.

    Parameters
    ----------
    stimulus : DataArray of dimensions (image, channel, y, x) or (video, channel, frame, y, x)
        As the functions of `twinlab.stimuli` make them.
    n_shown : int
        Stimuli drawn of a set that has more, evenly spaced from the first to the last.
    columns : int
        Images in a row, or frames of a video, evenly spaced; a row is one video, and below its
        frames from the second on is their time.
    limits : (float, float), optional
        Grey levels drawn black and white; as of `plot_image` where absent.
    title : str, optional
        The parameters' names and units where absent.
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Overlay

    """
    dim = stimulus.dims[0]
    some = stimulus.isel({dim: _spread(stimulus.sizes[dim], n_shown)})
    labels = {str(name): c for name, c in some.coords.items() if c.dims == (dim,)}
    differing = [name for name, c in labels.items() if c.dtype != bool and _differs(c.values)]
    differing = differing[:N_CAPTION]
    captions = [
        ", ".join(
            [_value(labels[name].values[i]) for name in differing]
            + [name for name, c in labels.items() if c.dtype == bool and c.values[i]]
        )
        or str(i + 1)
        for i in range(some.sizes[dim])
    ]
    if title is None:
        kind = str(stimulus.attrs.get("kind", ""))
        names = ", ".join(_with_units(labels[name]) for name in differing)
        title = ": ".join(filter(None, [kind, names]))
    return plot_gallery(some, captions, columns=columns, limits=limits, title=title, width=width)


def _frames(
    videos: xr.DataArray, captions: Sequence[str], columns: int
) -> tuple[xr.DataArray, list[str]]:
    """Up to `columns` frames of each video, one after the other, and a caption for each."""
    some = videos.isel(frame=_spread(videos.sizes["frame"], columns))
    times = [f"{time:.2f} s" for time in some.time.values] if "time" in some.coords else []
    times = times or [str(frame + 1) for frame in range(some.sizes["frame"])]
    words = [word for caption in captions for word in (caption, *times[1:])]
    frames = some.transpose(videos.dims[0], "frame", "channel", "y", "x").values
    images = xr.DataArray(
        frames.reshape(-1, *frames.shape[2:]), dims=("image", "channel", "y", "x")
    )
    return images, words


def _spread(n: int, most: int) -> np.ndarray:
    """Positions of up to `most` of `n`, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _differs(values: np.ndarray) -> bool:
    return len(np.unique(values)) > 1


def _with_units(label: xr.DataArray) -> str:
    units = str(label.attrs.get("units", "1"))
    return str(label.name).replace("_", " ") + (f" ({units})" if units != "1" else "")


def _value(value: np.generic) -> str:
    return f"{value:.3g}" if np.issubdtype(value.dtype, np.number) else str(value)
