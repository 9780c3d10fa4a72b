"""An inception loop: how far it is, who answers to whose stimulus, and what that shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
import param
import xarray as xr

from twinlab import plots
from twinlab.explorers.following import follow, lead
from twinlab.explorers.looks import card, page, words
from twinlab.explorers.loop_progress import LoopProgress
from twinlab.explorers.loop_results import LoopResults
from twinlab.explorers.loop_stimulus import LoopStimulus
from twinlab.explorers.state import LabState
from twinlab.explorers.views import Explorer, bare
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
        if lab.loops is None:
            return "No inception loop was given: `twinlab serve TWIN --loops FOLDER`."
        try:
            found = find_loops(lab.loops)
        except InputError as error:
            return str(error)
        return "" if found else f"{lab.loops}: holds no loop; begin one with `twinlab loop new`."

    def lay_out(self) -> pn.Column:
        """Build the page."""
        self._plan: Plan | None = None
        self.steps = xr.Dataset()
        self.groups: dict[str, xr.Dataset] = {}
        self._by_verifier: dict[str, xr.Dataset] = {}
        self.manifest: dict[str, Any] = {}
        self.gone = ""
        self._busy = False
        self.progress, self.stimulus = LoopProgress(self), LoopStimulus(self)
        self.results = LoopResults(self)
        self._matrix = pn.pane.HoloViews(None, linked_axes=False, margin=0)
        self._objectives = pn.widgets.RadioButtonGroup(options=[], margin=(18, 0, 0, 0))
        body = page(self.title, "", *self._first_row(), *self.results.cards())
        body.insert(1, self._controls())
        with contextlib.suppress(InputError):  # said by `_read`
            self.loop = self.loop or self.folder.resolve().name
        self.param.watch(lambda _: self._turn_to(), "loop")
        self.param.watch(lambda _: self._show(), ["objective", "units", "round"])
        self.param.watch(lambda _: self._ask_verifier(), "judge")
        self.param.watch(self.stimulus.show, ["made_for", "answers", "kind"])
        self.lab.param.watch(lambda _: self._show_matrix(), "selection")
        self.lab.arrivals.param.watch(lambda _: self._read(), "loop")
        self._read()
        follow(self._look, EVERY)
        return body

    # What there is

    @property
    def folder(self) -> Path:
        """Folder of the loop that is shown; of no other than those found."""
        found = find_loops(self.lab.loops) if self.lab.loops is not None else {}
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
        pairs = zip(
            labels.session.values.astype(str), labels.neuron_id.values.astype(str), strict=True
        )
        return np.array([f"{session}/{neuron}" for session, neuron in pairs], str)

    def _turn_to(self) -> None:
        self.steps, self.groups, self.manifest, self._plan = xr.Dataset(), {}, {}, None
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
            self.steps, self._plan = describe_steps(folder), open_loop(folder)
            self.groups, self.gone = gather_loop(folder), ""
            if "key" in self.groups:
                self.manifest = read_manifest(folder / STEPS["export"])
        except InputError as error:
            if str(error) != self.gone:
                self.lab.warn("The loop cannot be read", str(error))
            self.gone = str(error)
        objectives = list(self._plan.stimuli.objectives) if self._plan is not None else []
        with self._unseen():
            self._objectives.options = objectives
            if self.objective not in objectives:
                self.objective = next(iter(objectives), "")
        if "rounds" in self.groups:
            self.param.round.bounds = (0, max(self.groups["rounds"].sizes["round"] - 1, 0))
        self._show()

    # The first row

    def _controls(self) -> pn.Row:
        names = pn.widgets.Select(label="loop", width=220, value=self.loop)
        names.options = list(find_loops(self.lab.loops)) if self.lab.loops is not None else []
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

    def _first_row(self) -> list[pn.Column]:
        self._matrix_words = words("", MIDDLE)
        matrix = card(
            "Who answers to whose stimulus",
            "Framed: a neuron's own. Dot: the stimulus it answers most to (least, of least "
            "exciting ones). Tap a cell to see its stimulus.",
            self._matrix,
            self._matrix_words,
            width=MIDDLE,
        )
        return [self.progress.card(LEFT), matrix, self.stimulus.card(RIGHT)]

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
            self._show_matrix()
            self.results.show()

    def _show_matrix(self) -> None:
        result = self.result
        if result is not None and not result.sizes["neuron"]:
            self._matrix.object = None
            self._matrix_words.value = (
                "No neuron is left: select some on a map, or look at all of them."
            )
            return
        if result is None:
            self._matrix.object = None
            self._matrix_words.value = self._say_no_matrix()
            return
        size = (MIDDLE - 150, MIDDLE - 150)
        image, *marks = map(bare, plots.plot_confusion(result, size=size))
        ring = self._figure(self._draw_ring, ["stimulus"], [])
        hv.streams.Tap(source=image).add_subscriber(self.choose_cell)
        self._matrix.object = image * marks[0] * marks[1] * ring
        whole = self.groups[f"confusion-{self.objective}"].sizes["neuron"]
        n = result.sizes["neuron"]
        self._matrix_words.value = (
            f"{n} of {whole} neurons; tests and intervals are of all, as planned."
            if n < whole
            else f"{n} neurons."
        )
        if self.made_for not in result.neuron or self.answers not in result.neuron:
            first = str(result.neuron.values[0])
            self.param.update(made_for=first, answers=first)
        self.stimulus.show()

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

    def _judge(self, name: str, folder: Path, job: Any) -> None:
        self._by_verifier[name] = judge_prediction(folder, "verifier", job=job)
        self.lab.call(self.results.show_prediction)

    # Drawn and said

    def _draw_ring(self) -> hv.Points:
        result = self.result
        at: list[tuple[int, int]] = []
        if result is not None:
            rows = np.flatnonzero(result.made_for.values.astype(str) == self.made_for)
            columns = np.flatnonzero(result.neuron.values.astype(str) == self.answers)
            at = [(int(c), int(r)) for c in columns for r in rows]
        ring = hv.Points(at, ["neuron that answers", "neuron it was made for"])
        return ring.opts(
            size=14, fill_alpha=0, line_color="#d00000", line_width=2.5, backend="bokeh",
            toolbar=None, default_tools=[],
        )  # fmt: skip

    def _say_no_matrix(self) -> str:
        if (
            self._plan is not None
            and self.objective == "suppressor"
            and "responses" in self.groups
        ):
            return "Suppressors are compared with their base alone: see the controls."
        return "No comparison yet: the steps at the left come first."

    # To take away

    def figures(self) -> dict[str, Any]:
        """Figures of the matrix, the stimulus and the comparisons."""
        return {
            "confusion matrix": self._draw_matrix,
            "stimulus": self.stimulus.draw,
            **self.results.figures(),
        }

    def _draw_matrix(self) -> hv.Overlay:
        result = self.result
        if result is None:
            msg = "This loop has no confusion matrix yet; take it away once it has one."
            raise InputError(msg)
        return plots.plot_confusion(result)

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
