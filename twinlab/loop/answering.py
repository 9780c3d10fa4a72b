"""Responses enter the loop: of a rig, or of the simulated cortex in its place."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

import numpy as np
import xarray as xr

from twinlab.jobs import Job
from twinlab.loop.comparing import FEWEST
from twinlab.loop.exporting import read_key
from twinlab.loop.folder import COMPARED, STEPS, open_loop, waited_for
from twinlab.loop.gathering import neuron_names
from twinlab.loop.identifying import identify_units, say_match
from twinlab.loop.importing import import_responses
from twinlab.loop.matching import name_units
from twinlab.loop.plan import MATCHES, Plan
from twinlab.loop.rigs import meet_units, play_rig
from twinlab.recordings import open_recording
from twinlab.schema import InputError, save_result, stimulus_kind
from twinlab.simulation import SimulatedCortex, SimulatedVideoCortex

__all__ = ["bring_responses"]


def bring_responses(
    folder: str | PathLike[str],
    responses: str | PathLike[str],
    table: str | PathLike[str] | None = None,
    *,
    match: str = "",
    units: str | PathLike[str] | None = None,
    series: str = "",
    trials: str = "",
    window: tuple[float, float] | None = None,
    job: Job | None = None,
) -> list[str]:
    """Take responses from a rig into the loop, to the session that it waits for.

    Parameters
    ----------
    folder : path
    responses : path
        As `import_responses` reads them.
    table : path, optional
        CSV of two columns, `neuron` (its name, "session/neuron_id") and `unit`, to match units
        by.
    match : str
        How units are matched to neurons, of `MATCHES`; where empty by the table if there is one,
        else as the plan says.
    units : path, optional
        CSV of the columns `unit`, `x_um`, `y_um` and perhaps `z_um`, to match units by position.
    series, trials, window, job
        As of `import_responses`.

    Returns
    -------
    list of str
        What is to be known about them, a line each.

    Raises
    ------
    InputError
        As `import_responses`, or if units cannot be matched, nothing was exported, or responses
        are there already.

    """
    plan, folder = open_loop(folder), Path(folder)
    way = match or ("table" if table else plan.match)
    if way not in MATCHES:
        msg = f"`match` is {way!r}; known: {', '.join(MATCHES)}."
        raise InputError(msg)
    place = waited_for(folder, plan)
    if not (place / STEPS["export"]).exists():
        msg = f"{folder}: nothing was exported yet; run `twinlab loop run {folder}` first."
        raise InputError(msg)
    if (place / STEPS["responses"]).exists():
        msg = f"{place / STEPS['responses']}: is there already; remove it to import others."
        raise InputError(msg)
    observed, findings = import_responses(
        responses, place / STEPS["export"], series=series, trials=trials, window=window, job=job
    )
    recording = open_recording(folder / STEPS["recording"])
    found = identify_units(
        observed, recording, way, table=Path(table) if table else None,
        units=Path(units) if units else None,
    )  # fmt: skip
    if place == folder:
        _check_enough(folder, found, way)
    named = name_units(observed, found)
    lines = [*findings, *say_match(found, observed.unit.values.astype(str).tolist(), way)]
    named.attrs |= {"experiment": "responses", "findings": "\n".join(lines), "match": way}
    if place == folder:
        _forget_comparison(folder)
    save_result(named, place / STEPS["responses"])
    return lines


def answer_loop(folder: Path, plan: Plan, job: Job) -> str:
    """Let the simulated cortex answer, if the recording is of one; else wait for the rig."""
    recording, place = open_recording(folder / STEPS["recording"]), waited_for(folder, plan)
    if "simulation" not in recording.attrs:
        return (
            f"the loop waits for the rig: show {place / STEPS['export']}, then "
            f"`twinlab loop import {folder} RESPONSES`"
        )
    kind = SimulatedCortex if stimulus_kind(recording) == "image" else SimulatedVideoCortex
    cortex = kind(**json.loads(recording.attrs["simulation"]))
    if place != folder:  # a round, on the first day
        path = play_rig(
            cortex, place / STEPS["export"], place / "responses.csv",
            seed=plan.seed + 1 + int(place.name), job=job,
        )  # fmt: skip
        lines = bring_responses(folder, path, match="name")
        return f"of the simulated cortex; {len(lines)} findings"
    later = plan.later
    names, table, units = None, None, None
    if later.day:
        cortex = cortex.on_day(
            later.day, gain=later.gain, shift=later.shift, loss=later.loss, seed=plan.seed
        )
        table, units = folder / "true-units.csv", folder / "units.csv"
        names = meet_units(cortex, table, units, jitter_um=later.jitter_um, seed=plan.seed)
    path = play_rig(
        cortex, folder / STEPS["export"], folder / "responses.csv", names=names,
        seed=plan.seed + 1, job=job,
    )  # fmt: skip
    lines = bring_responses(
        folder, path, table if plan.match == "table" else None, match=plan.match,
        units=units if plan.match == "position" else None,
    )  # fmt: skip
    return f"of the simulated cortex; {len(lines)} findings"


def _check_enough(folder: Path, match: xr.Dataset, way: str) -> None:
    """Refuse a session in which too few of the neurons that stimuli were made for were found."""
    key = read_key(folder / STEPS["export"])
    key = key.isel(stimulus=key.neuron_id.values.astype(str) != "")  # shared images are of none
    names = sorted(set(neuron_names(key.session.values, key.neuron_id.values)))
    found = np.isin(names, match.neuron.values[match.position.values >= 0]).sum()
    if found < FEWEST:
        msg = (
            f"{folder}: by {way}, {found} of the {len(names)} neurons that stimuli were made for "
            f"were found again, and a comparison needs {FEWEST}; import the responses with "
            "another `--match`, or show more shared images and repeats in a new loop."
        )
        raise InputError(msg)


def _forget_comparison(folder: Path) -> None:
    """Remove what was compared with responses that are no longer there."""
    for name in (STEPS["comparison"], *COMPARED):
        for path in folder.glob(name):
            path.unlink()
