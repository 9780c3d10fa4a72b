"""Fits started, stopped and taken up again from a page."""

from __future__ import annotations

import json
import threading
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel as pn
import xarray as xr

from twinlab.cli.fits import fit_recordings
from twinlab.explorers.looks import card, words
from twinlab.fitting import FitSettings, default_settings, find_fits
from twinlab.jobs import Job
from twinlab.schema import InputError, stimulus_kind
from twinlab.twins import Architecture

if TYPE_CHECKING:
    from twinlab.explorers.fit_monitor import FitMonitor

__all__ = ["ASKED", "PRESETS", "FitStarting"]

# What is changed of the architecture that suits the recording; of images alone but for the first.
PRESETS: dict[str, dict[str, Any]] = {
    "suited to the recording": {},
    "small": {"layers": 2, "hidden": 16},
    "squeeze and excitation": {"core": "squeeze_excitation"},
    "rotation equivariant": {"core": "rotation_equivariant"},
}
# What is asked of the settings, in words.
ASKED = {
    "max_epochs": "epochs",
    "batch_size": "trials in a batch",
    "lr": "learning rate",
    "seed": "seed",
}

# Held by the fit that runs: all pages of this process share its cores.
TURN = threading.Lock()
# Where the fits of these pages go that run or wait for their turn, and may have no folder yet.
CLAIMED: set[Path] = set()


class FitStarting:
    """Card of a `FitMonitor` that starts fits of the lab's recording.

    Parameters
    ----------
    view : FitMonitor

    """

    def __init__(self, view: FitMonitor) -> None:
        self.view = view

    def card(self, width: int) -> pn.Column:
        """Build the card."""
        view, lab = self.view, self.view.lab
        half = width // 2 - 20
        numbers = [
            (pn.widgets.FloatInput if name == "lr" else pn.widgets.IntInput).from_param(
                view.param[name], label=label, width=half
            )
            for name, label in ASKED.items()
        ]
        start = pn.widgets.Button(label="Start a fit", color="primary", width=110, margin=0)
        start.on_click(lambda _: self.start())
        stop = pn.widgets.Button(label="Cancel", width=70, margin=(0, 0, 0, 6))
        stop.on_click(lambda _: lab.cancel())
        pause = pn.widgets.Button(label="Pause", width=70, margin=(0, 0, 0, 6))
        pause.on_click(lambda _: lab.pause())
        pause.label = pn.bind(_say_pause, lab.param.paused)
        start.disabled = lab.param.running
        recording = lab.surveyed.recording
        what = "" if recording is None else str(recording.attrs.get("recording_id", ""))
        return card(
            "New fit",
            f"Of {what or 'the recording of this lab'}, on this machine, while the page is open: "
            "closed or cancelled it stops, and can be resumed.",
            pn.widgets.Select.from_param(
                view.param.preset, label="architecture", width=width - 20
            ),
            pn.GridBox(*numbers, ncols=2, margin=0),
            pn.Row(start, pause, stop, margin=(8, 0, 2, 0)),
            words(view._work(), width),
            width=width,
        )

    def decided(self) -> tuple[Architecture, FitSettings]:
        """Architecture and settings that the page asks for.

        Raises
        ------
        InputError
            If there is no recording to fit, or they do not suit it.

        """
        view, recording = self.view, self._recording()
        architecture, settings = default_settings(recording)
        changed = PRESETS[view.preset]
        if changed and stimulus_kind(recording) == "video":
            msg = f"{view.preset!r} is of images; of videos take the one suited to the recording."
            raise InputError(msg)
        asked = {name: getattr(view, name) for name in ASKED}
        return replace(architecture, **changed), replace(settings, **asked)

    def start(self) -> None:
        """Start a fit under the next free name."""
        with self.view.lab.warned("No fit was started"):
            folder, (architecture, settings) = self._folder(), self.decided()
            taken = {path.name.partition(".")[0] for path in (*folder.iterdir(), *CLAIMED)}
            number = next(n for n in range(1, len(taken) + 2) if f"fit-{n}" not in taken)
            self._launch(f"fit-{number}", architecture, settings, 1)

    def resume(self, name: str) -> None:
        """Go on with a fit that was stopped, from its last checkpoint."""
        with self.view.lab.warned(f"{name} cannot be resumed"):
            fit = self.view.found.get(name)
            if fit is None or fit.attrs["state"] != "stopped":
                msg = "Only a fit that was stopped goes on; choose one, or start another."
                raise InputError(msg)
            if fit.attrs["core"]:
                msg = "It has the core of another twin: go on with `twinlab fit --core`."
                raise InputError(msg)
            said = json.loads(fit.attrs["settings"])
            architecture, settings = _pick(Architecture, said), _pick(FitSettings, said)
            self._launch(name, architecture, settings, fit.attrs["members"])

    def _recording(self) -> xr.Dataset:
        recording = self.view.lab.surveyed.recording
        if recording is None:
            msg = "There is no recording to fit: serve the twin with `--recording`."
            raise InputError(msg)
        return recording

    def _folder(self) -> Path:
        find_fits(self.view.folder)  # or it is said that the folder is gone
        return self.view.folder

    def _launch(
        self, name: str, architecture: Architecture, settings: FitSettings, members: int
    ) -> None:
        view, out = self.view, self._folder() / name
        if out in CLAIMED:
            msg = "It goes on already, on another page."
            raise InputError(msg)
        CLAIMED.add(out)
        started = view.lab.start(
            _fit_in_turn, [self._recording()], out, "deep", architecture,
            settings, members=members, core="", device="cpu", search=None, arriving="fits",
        )  # fmt: skip
        if not started:
            CLAIMED.remove(out)
        else:
            view.param.update(runs=sorted({*view.runs, name}), looked_at=name)


def _say_pause(paused: bool) -> str:  # noqa: FBT001 - as a parameter calls it
    return "Go on" if paused else "Pause"


def _pick(kind: Any, said: dict[str, Any]) -> Any:
    """Build settings of a kind from those that were said."""
    return kind(**{field.name: said[field.name] for field in fields(kind) if field.name in said})


def _fit_in_turn(
    recordings: list[xr.Dataset], out: Path, *args: Any, job: Job, **kwargs: Any
) -> list[str]:
    """Fit as `twinlab fit` does, once no other fit of these pages runs."""
    try:
        while not TURN.acquire(timeout=0.1):
            job.report(0.0, "waiting for another fit of this server")
        try:
            return fit_recordings(recordings, out, *args, job=job, **kwargs)
        finally:
            TURN.release()
    finally:
        CLAIMED.discard(out)
