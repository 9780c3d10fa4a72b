"""What all figures share: backends, colours, axes, and writing them to disk."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import holoviews as hv
import holoviews.plotting.bokeh
import holoviews.plotting.mpl  # noqa: F401 - loads the backend, as the line above
import matplotlib as mpl
import numpy as np
import xarray as xr
from bokeh.core.validation import silence
from bokeh.core.validation.warnings import FIXED_SIZING_MODE
from bokeh.embed import file_html
from bokeh.resources import INLINE

from twinlab.files import write_whole
from twinlab.schema import InputError

__all__ = ["COLORS", "axis_of", "bounds_of", "name_of", "save_figure", "styled"]

# `hv.extension` would do this too, and fetch scripts from the internet in a notebook.
hv.Store.set_current_backend("bokeh")
# Where points are too many they are painted (`plot_crowd`); of fewer, WebGL would only make every
# repaint of every figure copy its canvas: 30 of 100 ms where a browser draws in software.
hv.renderer("bokeh").webgl = False
# Bokeh logs it for every figure whose frame, not outside, has a fixed size.
silence(FIXED_SIZING_MODE, True)

# Okabe & Ito (2008), distinguishable without colour vision.
COLORS = {
    "measured": "#222222",
    "twin": "#0072B2",
    "other": "#D55E00",
    "beside": "#009E73",
    "guide": "#999999",
    "weak": "#c8ccd0",
}
FORMATS = (".png", ".svg", ".pdf", ".html")
# Bokeh's own 11px would count as not set, and a dark page's theme enlarge it.
TICKS = "11.1px"
UNITS = {"1": None, "": None, "um": "µm"}


def styled(
    element: hv.Dimensioned,
    *,
    size: tuple[int, int] | None = None,
    bokeh: dict[str, Any] | None = None,
    matplotlib: dict[str, Any] | None = None,
    **common: Any,
) -> hv.Dimensioned:
    """Set options for both backends: those they share, and those that differ.

    `size` is the width and height of the frame in pixels.
    """
    on_screen, in_print = dict(common, **(bokeh or {})), dict(common, **(matplotlib or {}))
    if size is not None:
        width, height = size
        on_screen |= {
            "frame_width": width,
            "frame_height": height,
            "fontsize": {"title": "12px", "labels": "11px", "ticks": TICKS},
            "hooks": [_quieten],
        }
        # For print: fonts are in points, so the frame is drawn at 100 pixels to the inch.
        in_print |= {"fig_inches": (width / 100 + 1, height / 100 + 0.8), "aspect": width / height}
    return element.opts(backend="bokeh", **on_screen).opts(backend="matplotlib", **in_print)


def _quieten(plot: hv.plotting.Plot, _: hv.Element) -> None:
    """Give a Bokeh figure upright labels and no minor ticks."""
    for axis in plot.state.axis:
        axis.minor_tick_line_color = None
        axis.major_tick_in = 0
        axis.axis_label_text_font_style = "normal"
    if "colorbar" in plot.handles:
        plot.handles["colorbar"].major_label_text_font_size = TICKS


def axis_of(variable: xr.DataArray, label: str | None = None) -> hv.Dimension:
    """Return the axis of a variable, labelled with its `long_name` and `units`."""
    units = str(variable.attrs.get("units", ""))
    name = str(variable.name)
    label = label or str(variable.attrs.get("long_name", name.replace("_", " ")))
    return hv.Dimension((name, label), unit=UNITS.get(units, units))


def bounds_of(*values: np.ndarray, margin: float = 0.05) -> tuple[float, float]:
    """Range of all finite values, a little wider; (0, 1) where there are none."""
    every = np.concatenate([np.ravel(value) for value in values]).astype(float)
    finite = every[np.isfinite(every)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    pad = margin * (high - low) if high > low else 0.5 * abs(high) or 0.5
    return low - pad, high + pad


def name_of(result: xr.Dataset | xr.DataArray) -> str:
    """Words for the neuron a result was selected for; empty where it has no one neuron."""
    if "neuron_id" in result.coords and result.neuron_id.ndim == 0:
        return f"neuron {result.neuron_id.item()}"
    return ""


def save_figure(element: hv.Dimensioned, path: str | PathLike[str]) -> Path:
    """Write a figure, whole or not at all, and return where it is.

    Parameters
    ----------
    element : HoloViews element, Overlay or Layout
    path : path
        Ending in .png, .svg or .pdf (drawn by matplotlib), or .html (interactive; one file
        that needs no network).

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the name ends in something else.

    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        msg = f"{path}: figures end in {', '.join(FORMATS)}, but got {path.suffix!r}."
        raise InputError(msg)
    with write_whole(path) as partial:
        if suffix == ".html":
            model = hv.render(element, backend="bokeh")
            partial.write_text(file_html(model, INLINE, title=path.stem), encoding="utf-8")
        else:
            # No date and no random ids: one result gives one file.
            metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix)
            with mpl.rc_context({"svg.hashsalt": "twinlab"}):
                figure = hv.render(element, backend="matplotlib")
                figure.savefig(
                    partial, format=suffix[1:], dpi=150, bbox_inches="tight", metadata=metadata
                )
    return path
