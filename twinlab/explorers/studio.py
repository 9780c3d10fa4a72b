"""Work of the MEI studio: what is asked for, under way, kept and judged."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import numpy as np
import param
import xarray as xr

from twinlab.explorers.making import CONSTRAINTS, OBJECTIVES, SETTINGS, Made, judge, make
from twinlab.explorers.state import LabState
from twinlab.explorers.views import Explorer

__all__ = ["Studio"]


class Studio(Explorer):
    """Optimal stimuli of the chosen neuron: run, branched, kept and judged; `MEIStudio` shows it.

    Attributes
    ----------
    kept : list of Made
        In the order in which they were finished.
    shown : Made or None
        Which of them is looked at.
    image : ndarray of shape (channel, y, x)
        What is seen: the one on its way, or the one that is looked at.
    course : list of (int, float)
        Steps, and the response that the first start had reached there.
    asked : str
        The experiment that the course is of.

    """

    objective: Any = param.Selector(objects=list(OBJECTIVES), doc="What the stimulus is made for.")
    constraint: Any = param.Selector(objects=CONSTRAINTS, doc="What is held fixed.")
    norm = param.Number(
        7.0, bounds=(0.5, 40), step=0.5, doc="L2 norm, in standard deviations of training pixels."
    )
    contrast = param.Number(0.1, bounds=(0.01, 0.6), step=0.01, doc="RMS contrast.")
    blur_sigma = param.Number(
        1.0, bounds=(0, 4), step=0.25, doc="Blur of the gradient, in pixels; 0 for none."
    )
    fourier_exponent = param.Number(
        0.0, bounds=(0, 2), step=0.1, doc="Weight of low frequencies in the gradient; 0: pixels."
    )
    jitter = param.Integer(
        0, bounds=(0, 4), doc="Pixels by which it may move and shall still excite."
    )
    n_step = param.Integer(100, bounds=(10, 1000), step=10, doc="Most steps.")
    n_start = param.Integer(3, bounds=(1, 10), doc="Starts, or images of a diverse set.")
    seed = param.Integer(0, bounds=(0, 9999), doc="Of the noise it starts from.")

    def __init__(self, lab: LabState, **params: Any) -> None:
        self.kept: list[Made] = []
        self.shown: Made | None = None
        self.image = np.full(lab.canvas.shape, lab.canvas.mean, np.float32)
        self.course: list[tuple[int, float]] = []
        self.asked = ""
        self._running = ""  # what of ours is under way
        self.news = hv.streams.Counter()  # steps when what is kept or looked at changes
        super().__init__(lab, **params)
        lab.param.watch(lambda _: self._look(), "preview")
        lab.param.watch(lambda _: self._end(), "running")

    # What can be done

    def run(self) -> None:
        """Start from noise."""
        self._start(None, None)

    def branch(self) -> None:
        """Start again from the image that is shown, with the settings as they are now."""
        self._start(self.image.copy(), self._seen)

    def verify(self) -> None:
        """Ask the other twin about what is shown."""
        made = self.shown
        if made is None:
            self.lab.warn("There is nothing to verify yet", "Run it, or tap what was kept.")
            return
        findings = self.lab.findings
        if findings.other is None:
            self.lab.warn(
                "There is no second twin", "Give one of the same neurons: `serve A --other B`."
            )
            return

        def replace(judged: Made) -> None:
            self.kept = [judged if one is made else one for one in self.kept]
            self.look_at(judged)

        self._running = "verify"
        if not self.lab.start(judge, findings, made, finished=replace):
            self._running = ""

    def send(self) -> None:
        """Put the image that is seen on the stimulus bench."""
        made = self._seen
        what = "an image on its way"
        if made is not None:
            what = f"neuron {made.neuron}: {made.caption}"
        self.lab.show_image(self.image, f"MEI studio, {what}")

    def look_at(self, made: Made) -> None:
        """Show again something that was made."""
        self.shown, self.image = made, made.picture.values
        self._redraw("studio")
        self.news.event()

    def settings(self) -> dict[str, Any]:
        """Settings that count for the objective, as they are now."""
        return {name: getattr(self, name) for name in SETTINGS[OBJECTIVES[self.objective]]}

    @property
    def _seen(self) -> Made | None:
        """What the image that is seen came of; None while it is on its way."""
        finished = self.shown is not None and np.array_equal(self.image, self.shown.picture)
        return self.shown if finished else None

    def _start(self, start: np.ndarray | None, origin: Made | None) -> None:
        experiment, settings = OBJECTIVES[self.objective], self.settings()
        self.course, self._running, self.asked = [], "run", experiment
        if not self.lab.start(
            make, self.lab.findings, experiment, self.lab.neuron, settings, start, origin,
            finished=self._keep,
        ):  # fmt: skip
            self._running = ""

    def _keep(self, made: Made) -> None:
        self.kept = [*self.kept, made]
        self.look_at(made)

    def _look(self) -> None:
        """Show how far it is."""
        preview = self.lab.preview
        if self._running != "run" or preview is None:
            return
        self.image = np.reshape(np.asarray(preview, np.float32), self.lab.canvas.shape)
        if isinstance(preview, xr.DataArray) and np.isfinite(preview.value):
            up = -1 if self.asked in ("lei", "suppressor") else 1
            self.course.append((int(preview.step), up * float(preview.value)))
        self._redraw("studio")

    def _end(self) -> None:
        if not self.lab.running:
            self._running = ""
            self._redraw("studio")
