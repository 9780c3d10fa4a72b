"""How fits go, in words."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np
import xarray as xr

from twinlab.explorers.looks import badge
from twinlab.plots.fits import SHADES

__all__ = ["say_fits", "say_opening"]

LOOKS = {
    "running": "weak",
    "done": "good",
    "stopped": "none",
    "failed": "weak",
    "diverged": "weak",
}


def say_fits(fits: Mapping[str, xr.Dataset]) -> str:
    """Say of each fit what it is doing and how far it is, in the colour it is drawn in.

    Parameters
    ----------
    fits : mapping of str to xarray.Dataset
        From `fitting.read_fit`, by name; no more than can be told apart.

    Returns
    -------
    str
        HTML.

    """
    lines = []
    for i, (name, fit) in enumerate(fits.items()):
        state = str(fit.attrs["state"])
        swatch = f'<span style="color:{SHADES[i]}">&#9632;</span>'
        lines.append(f"{swatch} <b>{escape(name)}</b> {badge(state, LOOKS[state])}")
        lines.append(_say_course(fit))
    return "<br>".join(line for line in lines if line)


def say_opening(folder: Path, fits: Mapping[str, xr.Dataset]) -> str:
    """Say how those fits that are done are opened as twins; nothing where none is.

    Parameters
    ----------
    folder : Path
        Of the fits.
    fits : mapping of str to xarray.Dataset
        As for `say_fits`.

    Returns
    -------
    str
        HTML.

    """
    done = [str(folder / name) for name, fit in fits.items() if fit.attrs["state"] == "done"]
    if not done:
        return ""
    command = escape(f"twinlab serve {shlex.join(done)} --recording RECORDING")
    return f"<br>Open what is done with <code>{command}</code>"


def _say_course(fit: xr.Dataset) -> str:
    """Say how far a fit is, how good, how fast, how long still; and what to do if it failed."""
    parts = []
    if fit.sizes.get("epoch"):
        settings = json.loads(fit.attrs["settings"])
        done = fit.seconds.notnull().sum("epoch").values
        of = f" of {settings['max_epochs']}" if settings.get("schedule") == "cosine" else ""
        which = f", twin {len(done)} of {fit.attrs['members']}" if fit.attrs["members"] > 1 else ""
        best = float(fit.validation_correlation.max())
        parts.append(f"epoch {done[-1]}{of}{which}, best correlation {best:.3f}")
        pace = float(fit.seconds.median())
        left = float(fit.seconds_left)
        if fit.attrs["state"] == "running" and np.isfinite(left):
            parts.append(f"{pace:.1f} s an epoch, about {left:.0f} s left")
        else:
            parts.append(f"{pace:.1f} s an epoch")
    elif fit.attrs["state"] == "running":
        parts.append("its first epoch is not over")
    if fit.attrs["state"] == "stopped":
        parts.append(
            "nobody works on it: it was cancelled, or its process was killed. Resume goes on from "
            "its last checkpoint"
        )
    said = "<br>".join(parts)
    if fit.attrs["state"] in ("failed", "diverged"):
        said = "<br>".join(filter(None, [said, escape(str(fit.attrs["notices"]))]))
    return said
