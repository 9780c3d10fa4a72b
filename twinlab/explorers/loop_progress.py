"""The steps of a loop, which are done, and the next ones set going."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import panel as pn

from twinlab.explorers.looks import badge, card, words
from twinlab.loop import describe_steps, run_loop
from twinlab.schema import InputError

if TYPE_CHECKING:
    from twinlab.explorers.inception_loop import InceptionLoop

__all__ = ["LoopProgress"]

STATES = {
    "done": ("done", "good"),
    "running": ("running", "weak"),
    "waiting": ("waits for the rig", "weak"),
    "next": ("next", "none"),
    "later": ("", "none"),
}


class LoopProgress:
    """Card of an `InceptionLoop` with its steps.

    Parameters
    ----------
    view : InceptionLoop

    """

    def __init__(self, view: InceptionLoop) -> None:
        self.view = view

    def card(self, width: int) -> pn.Column:
        """Build the card."""
        lab = self.view.lab
        run = pn.widgets.Button(label="Do the next steps", color="primary", width=150, margin=0)
        run.on_click(lambda _: self.go_on())
        run.disabled = lab.param.running
        stop = pn.widgets.Button(label="Cancel", width=70, margin=(0, 0, 0, 6))
        stop.on_click(lambda _: lab.cancel())
        self._run = pn.Row(run, stop, margin=(6, 0, 2, 0))
        self._said = words("", width)
        return card(
            "Steps",
            "Looked at every two seconds; a loop that was stopped goes on where it was.",
            self._said,
            self._run,
            words(self.view._work(), width),
            width=width,
        )

    def show(self) -> None:
        """Show the steps anew."""
        self._said.value = self.say()
        states = self.view.steps.get("state", np.array([]))
        self._run.visible = not self.view.gone and bool(np.isin(["next", "running"], states).any())

    def go_on(self) -> None:
        """Do the steps that are not done, in the background; `lab.cancel` stops it."""
        with self.view.lab.warned("The loop cannot go on"):
            folder = self.view.folder
            if "waiting" in describe_steps(folder).state:
                msg = f"It waits for a rig: `twinlab loop import {folder} RESPONSES`."
                raise InputError(msg)
            self.view.lab.start(run_loop, folder, arriving="loop")

    def say(self) -> str:
        """Say of each step whether and when it was done, and what is waited for."""
        view = self.view
        if view.gone:
            return badge("cannot be read", "weak") + f"<br>{escape(view.gone)}"
        if "step" not in view.steps.coords:
            return ""
        lines = []
        for step in view.steps.step.values:
            one = view.steps.sel(step=step)
            said, look = STATES[str(one.state.item())]
            when = "" if np.isnat(one.finished.values) else f" {_moment(one.finished.values)}"
            lines.append(f"{escape(str(step))} {badge(said, look) if said else ''}{when}")
        if "waiting" in view.steps.state.values.tolist():
            lines.append(
                "Show the exported stimuli at the rig, then "
                f"<code>twinlab loop import {escape(str(view.folder))} RESPONSES</code>."
            )
        return "<br>".join(lines)


def _moment(when: np.ndarray) -> str:
    return str(np.datetime_as_string(when, unit="m")).replace("T", " ")
