"""Loops looked at from outside, while they run or wait: which there are, how far each is."""

from __future__ import annotations

from datetime import datetime
from os import PathLike
from pathlib import Path

import numpy as np
import xarray as xr

from twinlab.files import is_busy
from twinlab.loop.folder import MARK, STEPS, open_loop, steps_of, waited_for
from twinlab.loop.gathering import neuron_names
from twinlab.loop.plan import Plan
from twinlab.recordings import open_recording
from twinlab.schema import InputError

__all__ = ["answers_itself", "describe_steps", "find_loops", "find_stimuli"]


def find_loops(folder: str | PathLike[str]) -> dict[str, Path]:
    """Find the loops in a folder, by name; the folder itself if it is one.

    Links that lead out of the folder are left out.

    Parameters
    ----------
    folder : path

    Raises
    ------
    InputError
        If there is no such folder.

    """
    folder = Path(folder)
    if not folder.is_dir():
        msg = f"{folder}: no such folder; expected a loop of `twinlab loop new`, or several."
        raise InputError(msg)
    if (folder / MARK).is_file():
        return {folder.resolve().name: folder}
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if (path / MARK).is_file() and path.resolve().is_relative_to(folder.resolve())
    }


def describe_steps(folder: str | PathLike[str]) -> xr.Dataset:
    """Say of each step of a loop how far it is.

    Returns
    -------
    xarray.Dataset
        Along `step`: `state`, one of "done", "running" (a process works on it now), "waiting"
        (for the rig), "next" (nobody works on it) and "later"; and `finished`, when what it
        leaves was written, in local time (NaT before).

    Raises
    ------
    InputError
        As `open_loop`.

    """
    plan, folder = open_loop(folder), Path(folder)
    states: list[str] = []
    finished: list[np.datetime64] = []
    for step, made in steps_of(plan).items():
        if (folder / made).exists():
            states.append("done")
            seconds = (folder / made).stat().st_mtime
            finished.append(np.datetime64(datetime.fromtimestamp(seconds), "s"))
            continue
        finished.append(np.datetime64("NaT", "s"))
        undone = not set(states) & {"running", "waiting", "next"}
        states.append(_state(folder, plan, step) if undone else "later")
    return xr.Dataset(
        {
            "state": ("step", np.array(states, str), {"long_name": "how far it is"}),
            "finished": ("step", np.array(finished), {"long_name": "when it was done"}),
        },
        {"step": np.array(list(steps_of(plan)), str)},
        {"experiment": "steps"},
    )


def _state(folder: Path, plan: Plan, step: str) -> str:
    """State of the first step that is not done."""
    if is_busy(folder):
        return "running"
    place = waited_for(folder, plan)
    exported = (place / STEPS["export"]).exists() and not (place / STEPS["responses"]).exists()
    of_rig = step == "responses" or step.startswith("round")
    return "waiting" if of_rig and exported and not answers_itself(folder) else "next"


def answers_itself(folder: str | PathLike[str]) -> bool:
    """Tell whether the simulated cortex answers in a loop, so that it never waits for a rig."""
    plan, folder = open_loop(folder), Path(folder)
    if not (folder / STEPS["recording"]).exists():
        return plan.recording == "simulated"
    try:
        return "simulation" in open_recording(folder / STEPS["recording"], lazy=True).attrs
    except InputError:
        return False


def find_stimuli(groups: dict[str, xr.Dataset], made_for: str, neuron: str) -> xr.Dataset:
    """Look up the stimuli made for one neuron, and what another said to them.

    Parameters
    ----------
    groups : dict of str to xarray.Dataset
        Of `gather_loop` or `open_kept`, with the stimuli.
    made_for, neuron : str
        Names ("session/neuron_id") of the neuron that stimuli were made for, and of the one that
        answers.

    Returns
    -------
    xarray.Dataset
        The part of `key` with, along `stimulus`, what is known of the neuron's response:
        `observed` (mean over repeats) and `predicted` (by the twin that made the stimuli), and
        of its own stimuli `predicted_other`, by the verifier. NaN where not known.

    """
    key = groups["key"]
    named = np.array(neuron_names(key.session.values, key.neuron_id.values), str)
    own = key.isel(stimulus=np.flatnonzero(named == made_for))
    judged, made = groups.get("prediction", xr.Dataset()), groups.get("stimuli", xr.Dataset())
    known = neuron in judged.get("neuron", ())
    judged = judged.sel(neuron=neuron) if known else xr.Dataset()
    sources = {
        "observed": (judged.get("observed"), "mean response"),
        "predicted": (judged.get("predicted"), "response the maker predicts"),
        "predicted_other": (
            made.get("predicted_other") if made_for == neuron else None,
            "response the verifier predicts",
        ),
    }
    return own.assign(
        {
            name: (
                "stimulus",
                _look_up(values, own.stimulus_id.values),
                {"long_name": words, "units": "a.u."},
            )
            for name, (values, words) in sources.items()
        }
    )


def _look_up(values: xr.DataArray | None, stimulus_id: np.ndarray) -> np.ndarray:
    """Values of stimuli, by their names; NaN of those that have none."""
    if values is None:
        return np.full(len(stimulus_id), np.nan)
    by_name = dict(zip(values.stimulus_id.values.tolist(), values.values.tolist(), strict=True))
    return np.array([by_name.get(name, np.nan) for name in stimulus_id.tolist()], float)
