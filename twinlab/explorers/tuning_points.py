"""A point of a tuning curve or map chosen by name, as a tap chooses it by place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import panel as pn
import param
import xarray as xr

from twinlab import insilico

if TYPE_CHECKING:
    from twinlab.explorers.tuning_lab import TuningLab

__all__ = ["TuningPoints"]


class TuningPoints:
    """Choices of a `TuningLab`, one an axis, that put a point's stimulus on the bench.

    Parameters
    ----------
    view : TuningLab
    width : int
        Of both together, in pixels.

    """

    def __init__(self, view: TuningLab, width: int) -> None:
        self.view = view
        self.choices = [pn.widgets.Select(options={}, width=width // 2 - 20) for _ in range(2)]
        for choice in self.choices:
            choice.param.watch(self._load, "value")

    def offer(self, blank: xr.Dataset) -> None:
        """Offer the points of another experiment; none is chosen."""
        axes = blank.evoked.dims
        for number, choice in enumerate(self.choices):
            choice.visible = number < len(axes)
            if choice.visible:
                axis = blank[axes[number]]
                points = {f"{float(value):.6g}": at for at, value in enumerate(axis.values)}
                label = str(axis.attrs.get("long_name", axis.name))
                choice.param.update(label=label, options={"–": None, **points}, value=None)

    def open(self) -> None:
        """Let points be chosen where the curve is known."""
        for choice in self.choices:
            choice.disabled = self.view.known() is None

    def clear(self) -> None:
        """Choose none: another neuron is looked at, or the stimulus comes of a tap."""
        for choice in self.choices:
            choice.value = None
        self.open()

    def _load(self, event: param.parameterized.Event) -> None:
        """Put the stimulus of the point on the bench; of one axis, at the best of the other."""
        one, chosen = self.view.known(), [choice.value for choice in self.choices]
        if one is None or event.new is None:
            return
        values = {
            str(axis): float(one[axis][at])
            for axis, at in zip(one.evoked.dims, chosen, strict=False)
            if at is not None
        }
        self.view.load(insilico.curve_settings(one) | values)
