"""Responses enter the loop: of a rig, or of the simulated cortex in its place."""

from __future__ import annotations

import csv
import json
from os import PathLike
from pathlib import Path

import xarray as xr

from twinlab.jobs import Job
from twinlab.loop.folder import STEPS, open_loop
from twinlab.loop.gathering import neuron_names
from twinlab.loop.importing import import_responses
from twinlab.loop.matching import match_by_table, name_units
from twinlab.loop.plan import Plan
from twinlab.loop.rigs import play_rig
from twinlab.recordings import open_recording
from twinlab.schema import InputError, open_result, save_result
from twinlab.simulation import SimulatedCortex

__all__ = ["bring_responses"]


def bring_responses(
    folder: str | PathLike[str],
    responses: str | PathLike[str],
    table: str | PathLike[str] | None = None,
) -> list[str]:
    """Take responses from a rig into the loop.

    Parameters
    ----------
    folder : path
    responses : path
        As `import_responses` reads them.
    table : path, optional
        CSV of two columns, `neuron` (its name, "session/neuron_id") and `unit`. Without it units
        must have the names or `neuron_id` of the twin's neurons.

    Returns
    -------
    list of str
        What is to be known about them, a line each.

    Raises
    ------
    InputError
        As `import_responses` and `match_by_table`, or if units are named in another way, nothing
        was exported or responses are there already.

    """
    open_loop(folder)
    folder = Path(folder)
    if not (folder / STEPS["export"]).exists():
        msg = f"{folder}: nothing was exported yet; run `twinlab loop run {folder}` first."
        raise InputError(msg)
    if (folder / STEPS["responses"]).exists():
        msg = f"{folder / STEPS['responses']}: is there already; remove it to import others."
        raise InputError(msg)
    imported = import_responses(responses, folder / STEPS["export"])
    labels = open_result(folder / STEPS["units"])
    names = neuron_names(labels.session.values, labels.neuron_id.values)
    units = imported.responses.unit.values.astype(str).tolist()
    known = _table_of(Path(table)) if table else _by_name(names, labels, units)
    named = name_units(imported.responses, match_by_table(known, names, units))
    lines = list(imported.findings)
    for what in ("neurons", "units"):
        if left := named.attrs[f"unmatched_{what}"]:
            lines.append(f"without a match, {what}: {left}")
    named.attrs |= {"experiment": "responses", "findings": "\n".join(lines)}
    save_result(named, folder / STEPS["responses"])
    return lines


def answer_loop(folder: Path, plan: Plan, job: Job) -> str:
    """Let the simulated cortex answer, if the recording is of one; else wait for the rig."""
    recording = open_recording(folder / STEPS["recording"])
    if "simulation" not in recording.attrs:
        return (
            f"the loop waits for the rig: show {folder / STEPS['export']}, then "
            f"`twinlab loop import {folder} RESPONSES`"
        )
    cortex = SimulatedCortex(**json.loads(recording.attrs["simulation"]))
    path = play_rig(
        cortex, folder / STEPS["export"], folder / "responses.csv", seed=plan.seed + 1, job=job
    )
    lines = bring_responses(folder, path)
    return f"of the simulated cortex; {len(lines)} findings"


def _by_name(names: list[str], labels: xr.Dataset, units: list[str]) -> dict[str, str]:
    """Units that bear the names of neurons, if all do."""
    for known in (names, labels.neuron_id.values.astype(str).tolist()):
        if set(units) <= set(known) and len(set(known)) == len(known):
            return {name: one for name, one in zip(names, known, strict=True) if one in units}
    strange = next(unit for unit in units if unit not in names)
    msg = (
        f"Unit {strange!r} has not the name of a neuron of the twin ({names[0]!r}, say); give a "
        "table of neurons and units."
    )
    raise InputError(msg)


def _table_of(path: Path) -> dict[str, str]:
    """Unit of each neuron, of a CSV file of two columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: cannot be read ({error}); expected a table of neurons and units (CSV)."
        raise InputError(msg) from error
    if not rows or rows[0] != ["neuron", "unit"] or any(len(row) != 2 for row in rows):
        msg = f"{path}: is not a table of the two columns `neuron` and `unit`."
        raise InputError(msg)
    table = dict((neuron, unit) for neuron, unit in rows[1:])
    if len(table) < len(rows) - 1:
        msg = f"{path}: has a neuron twice; expected each once."
        raise InputError(msg)
    return table
