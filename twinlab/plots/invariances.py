"""Many stimuli that do the same, drawn: diverse inputs, rings, one stimulus for each kind.

Of videos each is a row of six of its frames.
"""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.images import plot_gallery
from twinlab.plots.style import name_of

__all__ = ["plot_clusters", "plot_diverse", "plot_ring"]

ON_RING = 8  # images drawn of a ring that has more
COLUMNS, FRAMES = 4, 6  # images side by side, and frames of a video


def plot_diverse(
    result: xr.Dataset,
    *,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    width: int = 480,
) -> hv.Overlay:
    """Draw one neuron's diverse exciting inputs, each with its share of the MEI's response.

    Parameters
    ----------
    result : Dataset
        From `insilico.synthesize_diverse`, of one neuron.
    limits : (float, float), optional
        Grey levels drawn black and white; as of `plot_image` where absent.
    title : str, optional
        The neuron's name and its diversity where absent.
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Overlay

    """
    if title is None:
        says = f"diversity {float(result.diversity):.2f}" if int(result.valid) else "no MEI"
        title = ": ".join(filter(None, [name_of(result), says]))
    share = (result.activation / result.mei_activation).values
    captions = [f"{value:.0%}" if np.isfinite(value) else "" for value in share]
    return _gallery(result.image, captions, limits, title, width)


def plot_ring(
    result: xr.Dataset,
    *,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    width: int = 480,
) -> hv.Overlay:
    """Draw one neuron's invariance ring: images around it, each with its place and response.

    Parameters
    ----------
    result : Dataset
        From `insilico.synthesize_ring`, of one neuron.
    limits : (float, float), optional
        Grey levels drawn black and white; as of `plot_image` where absent.
    title : str, optional
        The neuron's name and the lowest response on the ring where absent.
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Overlay

    """
    if title is None:
        lowest = f"at least {float(result.ring_fraction):.0%} of the MEI"
        says = lowest if int(result.valid) else "no MEI"
        title = ": ".join(filter(None, [name_of(result), says]))
    n_angle = result.sizes["angle"]
    shown = result.isel(angle=slice(None, None, max(1, n_angle // ON_RING)))
    share = (shown.activation / shown.mei_activation).values
    captions = [
        f"{angle:.0f}°, {value:.0%}" if np.isfinite(value) else ""
        for angle, value in zip(shown.angle.values, share, strict=True)
    ]
    return _gallery(shown.ring, captions, limits, title, width)


def plot_clusters(
    result: xr.Dataset,
    *,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    width: int = 480,
) -> hv.Overlay:
    """Draw the stimulus of each kind of neurons, with their number.

    Parameters
    ----------
    result : Dataset
        From `insilico.cluster_by_stimuli`.
    limits : (float, float), optional
        Grey levels drawn black and white; as of `plot_image` where absent.
    title : str, optional
        The number of kinds where absent.
    width : int
        Of the frame, in pixels of the screen.

    Returns
    -------
    holoviews.Overlay

    """
    n_kind = result.sizes["cluster_number"]
    if title is None:
        title = f"{n_kind} kind{'s' if n_kind > 1 else ''} of neurons"
    count = [int((result.cluster == kind).sum()) for kind in result.cluster_number.values]
    captions = [f"{number} neurons" for number in count]
    return _gallery(result.stimulus, captions, limits, title, width)


def _gallery(
    images: xr.DataArray,
    captions: list[str],
    limits: tuple[float, float] | None,
    title: str,
    width: int,
) -> hv.Overlay:
    """Images in rows of four, or each video a row of frames."""
    columns = FRAMES if "frame" in images.dims else COLUMNS
    return plot_gallery(images, captions, columns=columns, limits=limits, title=title, width=width)
