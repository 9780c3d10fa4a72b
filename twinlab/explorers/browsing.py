"""One image or video of a recording at a time: chosen by split and number, or stepped through."""

from __future__ import annotations

from html import escape
from typing import Any, ClassVar

import numpy as np
import panel as pn
import param
import xarray as xr

from twinlab.explorers.state import LabState
from twinlab.explorers.views import Explorer
from twinlab.schema import SPLITS, stimulus_kind

__all__ = ["Browsed"]


class Browsed(Explorer):
    """Base of the pages of a recording: which of its stimuli is shown.

    Parameters
    ----------
    lab : LabState
        With a recording.
    **params
        Initial values of its own parameters.

    """

    needs_twin: ClassVar[bool] = False

    split: Any = param.Selector(
        objects=["all", *SPLITS], default="test", doc="Whose stimuli and trials are shown."
    )
    stimulus = param.Integer(
        0, bounds=(0, None), doc="Number of the image or video, as in `stimulus_index`."
    )

    @classmethod
    def lacks(cls, lab: LabState) -> str:
        """Say how to give a recording, where there is none."""
        missing = "No recording was given: twinlab serve TWIN --recording RECORDING shows one."
        return super().lacks(lab) or (missing if lab.surveyed.recording is None else "")

    @property
    def recording(self) -> xr.Dataset:
        """What is shown."""
        recording = self.lab.surveyed.recording
        assert recording is not None  # noqa: S101 - `lacks` says so before
        return recording

    @property
    def place(self) -> int:
        """Position of the chosen neuron in the recording; -1 where it is not in it."""
        return int(self.lab.surveyed.recorded[self.lab.neuron])

    def step(self, by: int) -> None:
        """Show the stimulus so many further among those of the split."""
        place = int(np.searchsorted(self._among, self.stimulus))
        self.stimulus = int(self._among[(place + by) % len(self._among)])

    def choose_random(self) -> None:
        """Show any stimulus of the split."""
        self.stimulus = int(np.random.default_rng().choice(self._among))

    def _browse(self) -> None:
        """Show a stimulus that is there, now and whenever another is asked for."""
        self._among = np.arange(self.recording.sizes[stimulus_kind(self.recording)])
        self._settle_stimulus()
        self._settle_split()
        self.param.watch(self._settle_stimulus, "stimulus")
        self.param.watch(self._settle_split, "split")

    def _settle_split(self, *_: Any) -> None:
        """Show a stimulus of the split."""
        splits = self.recording.split.values.astype(str)
        if self.split != "all" and self.split not in splits:
            self.split = "all"
        chosen = np.ones(len(splits), bool) if self.split == "all" else splits == self.split
        self._among = np.unique(self.recording.stimulus_index.values[chosen])
        if self.stimulus not in self._among:
            self.stimulus = int(self._among[0])

    def _settle_stimulus(self, *_: Any) -> None:
        """Show the split of the stimulus, where it is of another than was chosen."""
        kind = stimulus_kind(self.recording)
        n = self.recording.sizes[kind]
        if self.stimulus >= n:
            self.lab.warn(
                f"There is no {kind} {self.stimulus}",
                f"{kind.title()}s run from 0 to {n - 1}; 0 is shown.",
            )
            self.stimulus = 0
        if self.stimulus not in self._among:
            shown = self.recording.stimulus_index.values == self.stimulus
            splits = np.unique(self.recording.split.values[shown].astype(str))
            self.split = str(splits[0]) if len(splits) else "all"

    def _which(self) -> pn.Row:
        """Widgets that choose the split and the stimulus."""
        kind = stimulus_kind(self.recording)
        return pn.Row(
            pn.widgets.Select.from_param(self.param.split, label="split", width=110),
            pn.widgets.IntInput.from_param(self.param.stimulus, label=kind, width=90),
            margin=0,
        )

    def _steps(self) -> pn.Row:
        """Buttons that step through the stimuli."""

        def button(label: str, act: Any) -> pn.widgets.Button:
            made = pn.widgets.Button(label=label, width=82, margin=(4, 8, 0, 0))
            made.on_click(lambda _: act())
            return made

        return pn.Row(
            button("Previous", lambda: self.step(-1)),
            button("Next", lambda: self.step(1)),
            button("Random", self.choose_random),
            margin=0,
        )

    def _name_stimulus(self) -> str:
        kind = stimulus_kind(self.recording)
        trial = np.flatnonzero(self.recording.stimulus_index.values == self.stimulus)
        if not len(trial):
            return f"{kind} {self.stimulus}, never shown"
        index = int(trial[0])
        split = self.recording.split.values[index]
        return f"{kind} {self.recording.image_id.values[index]} ({split})"

    def _say_stimulus(self) -> str:
        kind = stimulus_kind(self.recording)
        times = int((self.recording.stimulus_index.values == self.stimulus).sum())
        place = int(np.searchsorted(self._among, self.stimulus)) + 1
        return (
            f"<b>{escape(self._name_stimulus())}</b>, shown {times:,} time{'s' * (times != 1)}"
            f"<br>{place:,} of {len(self._among):,} {kind}s "
            f"of {'all splits' if self.split == 'all' else self.split}"
        )

    def _describe(self) -> str:
        """Which recording and session, and how much of it."""
        sizes, kind = self.recording.sizes, stimulus_kind(self.recording)
        sessions = ", ".join(dict.fromkeys(self.recording.session.values.astype(str).tolist()))
        name = str(self.recording.attrs.get("recording_id", "") or "recording")
        said = name if name == sessions else f"{name}, session {sessions}"
        return escape(
            f"{said}: {sizes['neuron']:,} neurons, {sizes[kind]:,} {kind}s, "
            f"{sizes['trial']:,} trials"
        )

    def _redraw_own(self, *events: param.parameterized.Event) -> None:
        self._redraw(*(event.name for event in events))
