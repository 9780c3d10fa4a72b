"""The confusion matrix of a loop, of which a cell can be chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
import panel as pn

from twinlab import plots
from twinlab.explorers.following import lead
from twinlab.explorers.looks import card, drawn, words
from twinlab.explorers.views import bare
from twinlab.schema import InputError

if TYPE_CHECKING:
    from twinlab.explorers.inception_loop import InceptionLoop

__all__ = ["LoopMatrix"]


class LoopMatrix:
    """Card of an `InceptionLoop` with its confusion matrix.

    Parameters
    ----------
    view : InceptionLoop

    """

    def __init__(self, view: InceptionLoop) -> None:
        self.view = view

    def card(self, width: int) -> pn.Column:
        """Build the card."""
        self._size = width - 150, width - 150
        self._matrix = drawn()
        self._said = words("", width)
        self._chosen = {
            name: pn.widgets.Select(options=[], label=label, width=width // 2 - 20)
            for name, label in (("made_for", "made for"), ("answers", "neuron that answers"))
        }
        for name, choice in self._chosen.items():
            lead(choice, self.view, name)
            self.view.param.watch(self._mark, name)
        return card(
            "Who answers to whose stimulus",
            "Framed: a neuron's own. Dot: the stimulus it answers most to (least, of least "
            "exciting ones). Tap a cell, or choose it, to see its stimulus.",
            self._matrix,
            pn.Row(*self._chosen.values(), margin=0),
            self._said,
            width=width,
        )

    def show(self) -> None:
        """Show the matrix, and the stimulus of its chosen cell."""
        view, result = self.view, self.view.result
        there = result is not None and result.sizes["neuron"] > 0
        for choice in self._chosen.values():
            choice.visible = there  # else they would offer the neurons of another loop
        if result is None or not there:
            self._matrix.object = None
            self._said.value = (
                self._say_none()
                if result is None
                else "No neuron is left: select some on a map, or look at all of them."
            )
            return
        image, *marks = map(bare, plots.plot_confusion(result, size=self._size))
        ring = view._figure(self._draw_ring, ["stimulus"], [])
        hv.streams.Tap(source=image).add_subscriber(view.choose_cell)
        self._matrix.object = image * marks[0] * marks[1] * ring
        whole = view.groups[f"confusion-{view.objective}"].sizes["neuron"]
        n = result.sizes["neuron"]
        self._said.value = (
            f"{n} of {whole} neurons; tests and intervals are of all, as planned."
            if n < whole
            else f"{n} neurons."
        )
        for choice in self._chosen.values():
            choice.options = result.neuron.values.astype(str).tolist()
        self._mark()
        if view.made_for not in result.neuron or view.answers not in result.neuron:
            first = str(result.neuron.values[0])
            view.param.update(made_for=first, answers=first)  # which shows its stimulus
        else:
            view.stimulus.show()

    def _mark(self, *_: Any) -> None:
        """Let the choices follow the cell that is tapped."""
        for name, choice in self._chosen.items():
            if getattr(self.view, name) in choice.options:
                choice.value = getattr(self.view, name)

    def draw(self) -> hv.Overlay:
        """Draw the matrix, to be taken away.

        Raises
        ------
        InputError
            If there is none yet.

        """
        result = self.view.result
        if result is None:
            msg = "This loop has no confusion matrix yet; take it away once it has one."
            raise InputError(msg)
        return plots.plot_confusion(result)

    def _draw_ring(self) -> hv.Points:
        view, result = self.view, self.view.result
        at: list[tuple[int, int]] = []
        if result is not None:
            rows = np.flatnonzero(result.made_for.values.astype(str) == view.made_for)
            columns = np.flatnonzero(result.neuron.values.astype(str) == view.answers)
            at = [(int(c), int(r)) for c in columns for r in rows]
        ring = hv.Points(at, ["neuron that answers", "neuron it was made for"])
        return ring.opts(
            size=14, fill_alpha=0, line_color="#d00000", line_width=2.5, backend="bokeh",
            toolbar=None, default_tools=[],
        )  # fmt: skip

    def _say_none(self) -> str:
        view = self.view
        if view.objective == "suppressor" and "responses" in view.groups:
            return "Suppressors are compared with their base alone: see the controls."
        return "No comparison yet: the steps at the left come first."
