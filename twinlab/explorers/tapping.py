"""From a point of a tuning curve to its stimulus on the bench."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from twinlab import insilico
from twinlab.explorers.state import LabState

__all__ = ["load_grating"]

SLIDERS = {"orientation", "spatial_frequency", "phase", "contrast", "x", "y", "size"}


def load_grating(lab: LabState, one: xr.Dataset, values: Mapping[str, float]) -> None:
    """Put the stimulus of one point of a tuning grid on the bench: by its sliders, or drawn.

    Parameters
    ----------
    lab : LabState
    one : Dataset
        From a tuning experiment, of one neuron.
    values : mapping of str to float
        Along the axes.

    Raises
    ------
    InputError
        If what the neuron was shown is not defined, or is no image.

    """
    shown = insilico.grating_at(one, values)
    settings = _on_sliders(lab, shown, json.loads(one.attrs["settings"])["average"])
    if settings:
        lab.param.update(**settings)
        return
    image = insilico.draw_grating(lab.findings.twin.spec, shown)
    said = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in values.items())
    lab.show_image(image, f"grating with {said}")


def _on_sliders(
    lab: LabState, shown: dict[str, float], average: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of the bench that make this stimulus; none where its sliders cannot."""
    settings: dict[str, Any] = dict(shown)
    radius = settings.pop("radius", np.inf)
    kind = {"kind": "grating"}
    if np.isfinite(radius):
        kind, settings["size"] = {"kind": "round grating"}, radius
    # A phase that matters is one at the centre, which is another at the bench's first pixel.
    if "phase" not in average or set(settings) - SLIDERS:
        return {}
    bounds = {name: lab.param[name].bounds for name in settings}
    inside = all(low <= settings[name] <= high for name, (low, high) in bounds.items())
    return kind | settings if inside else {}
