"""The kind of stimulus on the bench, and a slider for each thing it can vary in."""

from __future__ import annotations

from functools import partial
from typing import Any

import panel as pn

from twinlab.explorers.looks import Slider
from twinlab.explorers.shown import USED
from twinlab.explorers.state import LabState

__all__ = ["is_used", "make_sliders"]

TITLES = {
    "orientation": "orientation (deg)",
    "spatial_frequency": "frequency (cycles/px)",
    "phase": "phase (deg)",
    "contrast": "contrast",
    "x": "x (px)",
    "y": "y (px)",
    "size": "size (px)",
    "mask_orientation": "second bars (deg)",
    "exponent": "exponent of 1/f",
    "breadth": "breadth (px)",
}
# These are on the page for the kinds of stimulus that use them, the others always.
RARE = ["mask_orientation", "exponent", "breadth", "seed", "ink"]


def make_sliders(lab: LabState, width: int) -> list[pn.viewable.Viewable]:
    """Build the choice of a kind, and all sliders, of which those in use can be moved.

    Parameters
    ----------
    lab : LabState
    width : int
        Of the card's contents, in pixels.

    """
    half, kind = (width - 20) // 2, lab.param.kind
    chosen = pn.widgets.Select.from_param(kind, label="kind", width=half - 10)
    match = pn.widgets.Button(label="Match to neuron", width=half, margin=(18, 0, 0, 8))
    match.on_click(lambda _: lab.match_stimulus())
    places: dict[str, Any] = {"width": half, "margin": (2, 8, 2, 2)}
    sliders: dict[str, Any] = {
        name: Slider.from_param(lab.param[name], label=title, **places)
        for name, title in TITLES.items()
    }
    sliders["seed"] = pn.widgets.IntInput.from_param(lab.param.seed, label="seed", width=half - 10)
    sliders["ink"] = pn.widgets.Select.from_param(
        lab.param.ink, label="white or black", width=half - 10
    )
    for name, slider in sliders.items():
        if name in RARE:
            slider.visible = pn.bind(partial(is_used, name=name), kind)
        else:
            slider.disabled = pn.bind(partial(_is_idle, name=name), kind)
    return [
        pn.Row(chosen, match, margin=0),
        pn.GridBox(*sliders.values(), ncols=2, margin=0),
    ]


def is_used(kind: str, name: str) -> bool:
    """Whether a kind of stimulus hangs on the parameter of that name."""
    return name in USED[kind] or (kind == "drawing" and name in ("breadth", "ink"))


def _is_idle(kind: str, name: str) -> bool:
    return not is_used(kind, name)
