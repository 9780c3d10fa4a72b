"""An inception loop: how far it is, who answers to whose stimulus, and what that shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import panel as pn
import param
import xarray as xr

from twinlab import plots
from twinlab.explorers.following import follow, lead
from twinlab.explorers.looks import page
from twinlab.explorers.loop_matrix import LoopMatrix
from twinlab.explorers.loop_progress import LoopProgress
from twinlab.explorers.loop_results import LoopResults
from twinlab.explorers.loop_stimulus import LoopStimulus
from twinlab.explorers.state import LabState
from twinlab.explorers.views import Explorer
from twinlab.jobs import Job
from twinlab.loop import (
    STEPS,
    Plan,
    describe_steps,
    find_loops,
    gather_loop,
    judge_prediction,
    open_loop,
    read_manifest,
)
from twinlab.loop.gathering import neuron_names
from twinlab.schema import InputError

__all__ = ["InceptionLoop"]

LEFT, MIDDLE, RIGHT = 300, 440, 386  # widths of cards' contents, in pixels
EVERY = 2.0  # seconds between two looks at the folder


class InceptionLoop(Explorer):
    """A loop's steps, its confusion matrix, any stimulus of it, and what was found.

    The folder is looked at again and again, so that a loop which another process runs is
    followed. A loop that the simulated cortex answers can be gone on with from here.

    Parameters
    ----------
    lab : LabState
        With `loops`.

    """

    title = "Inception loop"
    about = "Stimuli a twin made, what the neurons answered to them, and what that shows."

    loop = param.String("", doc="Name of the loop that is shown; empty for the first.")
    objective = param.String("", doc="What the stimuli were made for, such as `mei`.")
    units: Any = param.Selector(
        objects=["all", "reliable", "selection"],
        doc="Neurons in the matrix: all; those of which repeats explain at least 0.15 of the "
        "variance; or those selected in the lab. Tests and intervals are always of all.",
    )
    judge: Any = param.Selector(
        objects=["maker", "verifier"], doc="Whose prediction is held against the responses."
    )
    round = param.Integer(0, bounds=(0, None), doc="Round whose images are shown, from 1.")
    made_for = param.String("", doc="Name of the neuron that the stimulus was made for.")
    answers = param.String("", doc="Name of the neuron whose answer to it is shown.")
    kind = param.String("", doc="Which of that neuron's stimuli: its own, or a control.")

    @classmethod
    def lacks(cls, lab: LabState) -> str:
        """Ask for a folder of loops."""
        missing = super().lacks(lab)
        if missing:
            return missing
        if lab.loops is None:
            return "No inception loop was given: `twinlab serve TWIN --loops FOLDER`."
        try:
            found = find_loops(lab.loops)
        except InputError as error:
            return str(error)
        return "" if found else f"{lab.loops}: holds no loop; begin one with `twinlab loop new`."

    def lay_out(self) -> pn.Column:
        """Build the page."""
        self.plan: Plan | None = None
        self.steps = xr.Dataset()
        self.groups: dict[str, xr.Dataset] = {}
        self._by_verifier: dict[str, xr.Dataset] = {}
        self.manifest: dict[str, Any] = {}
        self.gone = ""
        self._busy = False
        self.progress, self.matrix = LoopProgress(self), LoopMatrix(self)
        self.stimulus, self.results = LoopStimulus(self), LoopResults(self)
        self._objectives = pn.widgets.RadioButtonGroup(options=[], margin=(18, 0, 0, 0))
        body = page(self.title, "", *self._cards())
        body.insert(1, self._controls())
        with contextlib.suppress(InputError):  # said by `_read`
            self.loop = self.loop or self.folder.resolve().name
        self.param.watch(lambda _: self._turn_to(), "loop")
        self.param.watch(lambda _: self._show(), ["objective", "units", "round"])
        self.param.watch(lambda _: self._ask_verifier(), "judge")
        self.param.watch(self.stimulus.show, ["made_for", "answers", "kind"])
        self.lab.param.watch(lambda _: self.matrix.show(), "selection")
        self.lab.arrivals.param.watch(lambda _: self._read(), "loop")
        self._read()
        follow(self._look, EVERY)
        return body

    # What there is

    @property
    def found(self) -> dict[str, Path]:
        """Folders of the loops that can be shown, by name."""
        assert self.lab.loops is not None  # noqa: S101 - `lacks` says so before
        return find_loops(self.lab.loops)

    @property
    def folder(self) -> Path:
        """Folder of the loop that is shown; of no other than those found."""
        found = self.found
        name = self.loop or next(iter(found), "")
        if name not in found:
            msg = f"There is no loop {name!r}; there are {', '.join(found) or 'none'}."
            raise InputError(msg)
        return found[name]

    @property
    def result(self) -> xr.Dataset | None:
        """Confusion matrix of the neurons that are looked at, as it is drawn."""
        result = self.groups.get(f"confusion-{self.objective}")
        if result is None:
            return None
        names = result.neuron.values.astype(str)
        if self.units == "reliable":
            judged = self.groups["prediction"]
            names = judged.neuron.values.astype(str)[judged.cc_norm.notnull().values]
        elif self.units == "selection":
            names = self.names_in_lab()[self.lab.selection]
        kept = np.flatnonzero(np.isin(result.neuron.values.astype(str), names))
        return plots.sort_confusion(result.isel(neuron=kept, made_for=kept))

    @property
    def prediction(self) -> xr.Dataset | None:
        """How well the chosen twin predicted the responses; None while that is not known."""
        if self.judge == "maker":
            return self.groups.get("prediction")
        return self._by_verifier.get(self.loop)

    def names_in_lab(self) -> np.ndarray:
        """Names of the lab's neurons, as loops write them."""
        labels = self.lab.findings.labels
        return np.array(neuron_names(labels.session.values, labels.neuron_id.values), str)

    def _turn_to(self) -> None:
        self.steps, self.groups, self.manifest, self.plan = xr.Dataset(), {}, {}, None
        with self._unseen():
            self.param.update(made_for="", answers="", kind="", judge="maker", round=0)
        self._read()

    @contextlib.contextmanager
    def _unseen(self) -> Iterator[None]:
        """Set parameters without showing each of them: all is shown afterwards."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _look(self) -> None:
        """Look whether the folder has changed."""
        try:
            steps, gone = describe_steps(self.folder), ""
        except InputError as error:
            steps, gone = self.steps, str(error)
        if not steps.identical(self.steps) or gone != self.gone:
            self._read()

    def _read(self) -> None:
        """Read the folder; what was shown stays where it cannot be read."""
        try:
            folder = self.folder
            self.steps, self.plan = describe_steps(folder), open_loop(folder)
            self.groups, self.gone = gather_loop(folder), ""
            if "key" in self.groups:
                self.manifest = read_manifest(folder / STEPS["export"])
        except InputError as error:
            if str(error) != self.gone:
                self.lab.warn("The loop cannot be read", str(error))
            self.gone = str(error)
        objectives = list(self.plan.stimuli.objectives) if self.plan is not None else []
        with self._unseen():
            self._objectives.options = objectives
            if self.objective not in objectives:
                self.objective = next(iter(objectives), "")
            if "rounds" in self.groups:
                last = max(self.groups["rounds"].sizes["round"] - 1, 0)
                if self.round > last:  # of a link
                    self.lab.warn(f"There is no round {self.round}", f"{last} is shown instead.")
                    self.round = last
                self.param.round.bounds = (0, last)
        self._show()

    # Laid out and shown

    def _controls(self) -> pn.Row:
        names = pn.widgets.Select(label="loop", width=220, value=self.loop)
        names.options = list(self.found)
        lead(names, self, "loop")
        lead(self._objectives, self, "objective")
        self._names = names
        return pn.Row(
            names,
            self._objectives,
            pn.widgets.Select.from_param(self.param.units, label="neurons", width=130),
            pn.widgets.Select.from_param(self.param.judge, label="predicted by", width=130),
            margin=(4, 0, 0, 0),
            styles={"gap": "10px"},
        )

    def _cards(self) -> list[pn.Column]:
        first = self.progress.card(LEFT), self.matrix.card(MIDDLE), self.stimulus.card(RIGHT)
        return [*first, *self.results.cards()]

    def _show(self) -> None:
        """Show anew all that was read."""
        if self._busy:
            return
        with pn.io.hold():
            if self.loop in self._names.options:
                self._names.value = self.loop
            if self.objective in self._objectives.options:
                self._objectives.value = self.objective
            self.progress.show()
            self.matrix.show()
            self.results.show()

    def choose_cell(self, x: float | None, y: float | None) -> None:
        """Choose the cell of the matrix at a place; nothing beside it."""
        result = self.result
        if result is None or x is None or y is None:
            return
        column, row = round(x), round(y)
        n = result.sizes["neuron"]
        if 0 <= column < n and 0 <= row < n:
            self.param.update(
                answers=str(result.neuron.values[column]),
                made_for=str(result.made_for.values[row]),
            )

    def _ask_verifier(self) -> None:
        """Ask the verifier about all stimuli, unless that was done."""
        self.results.show_prediction()
        if self.judge == "verifier" and self.prediction is None and "responses" in self.groups:
            self.lab.start_quick(self._judge, self.loop, self.folder, name="judge")

    def _judge(self, name: str, folder: Path, job: Job) -> None:
        self._by_verifier[name] = judge_prediction(folder, "verifier", job=job)
        self.lab.call(self.results.show_prediction)

    # To take away

    def figures(self) -> dict[str, Any]:
        """Figures of the matrix, the stimulus and the comparisons."""
        return {
            "confusion matrix": self.matrix.draw,
            "stimulus": self.stimulus.draw,
            **self.results.figures(),
        }

    def tables(self) -> dict[str, Any]:
        """Tables of the steps, the matrix, the stimulus and the comparisons."""
        return {
            "steps": lambda: self.steps,
            "confusion matrix": lambda: self.groups.get(f"confusion-{self.objective}"),
            "stimulus": lambda: self.stimulus.shown,
            **self.results.tables(),
        }

    def calls(self) -> list[str]:
        """Find, read and judge the same loop."""
        return [
            f"folder = loop.find_loops(lab.loops)[{self.loop!r}]",
            "groups = loop.gather_loop(folder)",
            f"result = groups.get({f'confusion-{self.objective}'!r})",
            f"prediction = loop.judge_prediction(folder, {self.judge!r})"
            if self.judge == "verifier"
            else "prediction = groups.get('prediction')",
            f"stimuli = loop.find_stimuli(groups, {self.made_for!r}, {self.answers!r})"
            if "key" in self.groups
            else "stimuli = None",
        ]
