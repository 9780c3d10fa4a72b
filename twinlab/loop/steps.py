"""A loop is a folder: each step's result is a file, and what is there is not made again."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from twinlab import fitting, insilico, twins
from twinlab.evaluation import score_reliability
from twinlab.files import write_whole
from twinlab.jobs import Job
from twinlab.loop.agreement import compare_prediction
from twinlab.loop.comparing import FEWEST, compare_confusion, compare_controls
from twinlab.loop.exporting import export_stimuli, read_key
from twinlab.loop.gathering import gather_stimuli, neuron_names
from twinlab.loop.importing import import_responses
from twinlab.loop.matching import match_by_table, name_units
from twinlab.loop.plan import Plan, read_plan
from twinlab.loop.rigs import play_rig
from twinlab.loop.schedule import make_schedule
from twinlab.recordings import open_recording, save_recording
from twinlab.schema import InputError, open_result, save_result, stimulus_kind
from twinlab.simulation import SimulatedCortex

__all__ = ["STEPS", "bring_responses", "loop_status", "new_loop", "open_loop", "run_loop"]

KIND = "twinlab loop 1"
MARK = "loop.json"
EXPECTED = {"mei": "most", "lei": "least"}
BATCH = 256  # stimuli shown to the twin at once
MOST_NATURAL = 5000  # images among which the best natural one is looked for

# Name of each step, and the file or folder that is there once it is done.
STEPS = {
    "recording": "recording.zarr",
    "fit": "twin",
    "verifier": "verifier",
    "units": "units.nc",
    "stimuli": "stimuli.done",
    "export": "export",
    "responses": "responses.nc",
    "comparison": "comparison.done",
}


def new_loop(plan: str | PathLike[str], folder: str | PathLike[str]) -> Plan:
    """Begin a loop: judge its plan, and keep it in a folder of its own.

    Parameters
    ----------
    plan : path
        TOML file, see `Plan`.
    folder : path
        Made; must not exist or be empty.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        If the plan has faults, or the folder holds something.

    """
    plan, folder = Path(plan), Path(folder)
    decided = read_plan(plan)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder}: exists and is not empty; begin a loop in a new folder."
        raise InputError(msg)
    if decided.rig.gamma_table and not (plan.parent / decided.rig.gamma_table).is_file():
        msg = f"{plan.parent / decided.rig.gamma_table}: no such file; the plan's gamma table."
        raise InputError(msg)
    with write_whole(folder) as unfinished:
        unfinished.mkdir()
        shutil.copyfile(plan, unfinished / "plan.toml")
        if decided.rig.gamma_table:
            target = unfinished / decided.rig.gamma_table
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(plan.parent / decided.rig.gamma_table, target)
        mark = {"kind": KIND, "plan": _digest(plan), "began_in": str(plan.parent.resolve())}
        (unfinished / MARK).write_text(json.dumps(mark), encoding="utf-8")
    return decided


def open_loop(folder: str | PathLike[str]) -> Plan:
    """Read the plan of a loop.

    Raises
    ------
    InputError
        If the folder holds no loop, or its plan was changed since it began.

    """
    folder = Path(folder)
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
        known = mark["kind"] == KIND and mark["plan"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{folder}: holds no loop; begin one with `twinlab loop new PLAN.toml {folder}`."
        raise InputError(msg) from error
    plan = read_plan(folder / "plan.toml")
    if known != _digest(folder / "plan.toml"):
        msg = (
            f"{folder / 'plan.toml'}: was changed since the loop began, so that what was made no "
            "longer follows from it; begin a new loop."
        )
        raise InputError(msg)
    return plan


def loop_status(folder: str | PathLike[str]) -> dict[str, bool]:
    """Which of `STEPS` are done.

    Raises
    ------
    InputError
        As `open_loop`.

    """
    open_loop(folder)
    return {step: (Path(folder) / name).exists() for step, name in STEPS.items()}


def run_loop(
    folder: str | PathLike[str], *, until: str = "comparison", job: Job | None = None
) -> list[str]:
    """Do all steps that are not done, as far as they can go without the rig.

    A recording of the simulated cortex is answered by that cortex; of others the loop waits
    after the export for `bring_responses`.

    Parameters
    ----------
    folder : path
        Of `new_loop`.
    until : str
        Last of `STEPS` to do.
    job : Job, optional
        A loop that was stopped goes on after the last step that was done, a fit after its last
        epoch.

    Returns
    -------
    list of str
        What was done, and what is waited for.

    Raises
    ------
    InputError
        As `open_loop`, or as the steps do.

    """
    plan, folder, job = open_loop(folder), Path(folder), job or Job()
    if until not in STEPS:
        msg = f"`until` is {until!r}; known steps: {', '.join(STEPS)}."
        raise InputError(msg)
    work: dict[str, Callable[[Path, Plan, Job], str]] = {
        "recording": _record, "fit": _fit, "verifier": _verify, "units": _choose,
        "stimuli": _synthesise, "export": _export, "responses": _respond, "comparison": _compare,
    }  # fmt: skip
    lines = []
    share = {name: i / len(STEPS) for i, name in enumerate(STEPS)}
    for name, made in STEPS.items():
        if not (folder / made).exists():
            part = job.part(share[name], share[name] + 1 / len(STEPS), name)
            words = work[name](folder, plan, part)
            lines.append(f"{name}: {words}")
            if not (folder / made).exists():
                break
        if name == until:
            break
    return lines


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


# ---- the steps; each leaves its file, whole


def _record(folder: Path, plan: Plan, job: Job) -> str:
    if plan.recording == "simulated":
        recording = SimulatedCortex(plan.seed).record(job=job)
    else:
        began_in = Path(json.loads((folder / MARK).read_text())["began_in"])
        beside = began_in / plan.recording
        recording = open_recording(beside if beside.exists() else plan.recording, job=job)
    if stimulus_kind(recording) != "image":
        msg = f"{plan.recording}: was made with videos, but a loop shows images; plan another."
        raise InputError(msg)
    save_recording(recording, folder / STEPS["recording"])
    return f"{recording.sizes['neuron']} neurons, {recording.sizes['trial']} trials"


def _fit(folder: Path, plan: Plan, job: Job) -> str:
    recording = open_recording(folder / STEPS["recording"])
    architecture, settings = _settings(recording, plan)
    twin, history = fitting.fit_ensemble(
        recording, architecture, settings, members=plan.fit.members,
        checkpoints=folder / "fitting", job=job,
    )  # fmt: skip
    save_result(history, folder / "history.nc")
    twins.save_twin(twin, folder / STEPS["fit"])
    shutil.rmtree(folder / "fitting", ignore_errors=True)
    return f"{plan.fit.members} twins"


def _verify(folder: Path, plan: Plan, job: Job) -> str:
    recording = open_recording(folder / STEPS["recording"])
    architecture, settings = _settings(recording, plan)
    seed = plan.seed + plan.fit.members  # of none of the ensemble
    twin, _ = fitting.fit_twin(
        recording, replace(architecture, core=plan.fit.verifier), replace(settings, seed=seed),
        checkpoint=folder / "verifying.safetensors", job=job,
    )  # fmt: skip
    twins.save_twin(twin, folder / STEPS["verifier"])
    (folder / "verifying.safetensors").unlink(missing_ok=True)
    return f"a twin with core {plan.fit.verifier}"


def _choose(folder: Path, plan: Plan, job: Job) -> str:
    recording = open_recording(folder / STEPS["recording"])
    reliability = score_reliability(recording, job=job).oracle_correlation
    wanted, value = plan.units, reliability.values
    enough = np.nan_to_num(value, nan=-np.inf) >= wanted.min_reliability
    if wanted.areas:
        area = reliability.area.values.astype(str) if "area" in reliability.coords else None
        enough &= False if area is None else np.isin(area, wanted.areas)
    ranked = np.argsort(-np.where(enough, value, -np.inf), kind="stable")
    chosen = np.sort(ranked[: min(wanted.number, int(enough.sum()))])
    if len(chosen) < FEWEST:
        msg = (
            f"{folder}: {len(chosen)} neurons are reliable enough (oracle correlation of at least "
            f"{wanted.min_reliability:g}, areas {list(wanted.areas) or 'any'}); expected at least "
            f"{FEWEST}. Lower `units.min_reliability`."
        )
        raise InputError(msg)
    flag = np.isin(np.arange(len(value)), chosen)
    units = xr.Dataset(
        {
            "oracle_correlation": reliability,
            "chosen": ("neuron", flag, {"long_name": "stimuli are made for it", "units": "1"}),
        },
        attrs={"experiment": "units"},
    )
    save_result(units, folder / STEPS["units"])
    short = "" if len(chosen) == wanted.number else f" ({wanted.number} were wanted)"
    return f"{len(chosen)} neurons{short}, oracle correlation {value[chosen].min():.2f} or more"


def _synthesise(folder: Path, plan: Plan, job: Job) -> str:
    recording = open_recording(folder / STEPS["recording"])
    twin, judge = (
        twins.load_twin(folder / STEPS[name]).condition() for name in ("fit", "verifier")
    )
    if (twin.spec.low, twin.spec.high) != (0, 255):
        msg = (
            f"{folder}: the recording's pixels run from {twin.spec.low:g} to {twin.spec.high:g}; "
            "a rig shows grey levels of 0 to 255, so rescale the recording's stimuli to them."
        )
        raise InputError(msg)
    chosen = np.flatnonzero(open_result(folder / STEPS["units"]).chosen.values)
    natural = np.asarray(recording.stimulus.isel(image=slice(MOST_NATURAL)))
    make = {"mei": insilico.synthesize_mei, "lei": insilico.synthesize_lei}
    n = len(plan.stimuli.objectives)
    for i, name in enumerate(plan.stimuli.objectives):
        path = folder / f"{name}.nc"
        if path.exists():
            continue
        part = job.part(i / n, (i + 1) / n, name)
        made = make[name](
            twin, chosen, norm=plan.stimuli.norm, seed=plan.seed, job=part.part(0, 0.5)
        )
        judged = insilico.cross_examine(made, twin, judge, natural, job=part.part(0.5, 1))
        save_result(judged, path)
    (folder / STEPS["stimuli"]).touch()
    return f"{' and '.join(plan.stimuli.objectives)} of {len(chosen)} neurons"


def _export(folder: Path, plan: Plan, job: Job) -> str:
    results = [open_result(folder / f"{name}.nc") for name in plan.stimuli.objectives]
    stimuli = gather_stimuli(results, plan.stimuli.controls)
    shown = plan.presentation
    schedule = make_schedule(
        stimuli.stimulus_id.values, n_repeat=shown.n_repeat, n_blank=shown.n_blank,
        on_s=shown.on_s, off_s=shown.off_s, seed=plan.seed,
    )  # fmt: skip
    mean = twins.load_twin(folder / STEPS["fit"]).spec.mean
    export_stimuli(
        stimuli, schedule, plan.rig, folder / STEPS["export"], mean=mean, gamma_folder=folder,
        job=job,
    )  # fmt: skip
    left = stimuli.attrs["left_out"]
    return f"{stimuli.sizes['stimulus']} stimuli" + (f"; without a stimulus: {left}" * bool(left))


def _respond(folder: Path, plan: Plan, job: Job) -> str:
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


def _compare(folder: Path, plan: Plan, job: Job) -> str:
    observed = open_result(folder / STEPS["responses"])
    made: dict[str, Callable[[Job], xr.Dataset]] = {}
    for name in plan.stimuli.objectives:
        made[f"confusion-{name}"] = partial(_confuse, observed, name, plan)
        if plan.stimuli.controls:
            made[f"controls-{name}"] = partial(_control, observed, name, plan)
    made["prediction"] = partial(_agree, observed, folder, plan)
    for i, (name, make) in enumerate(made.items()):
        if not (folder / f"{name}.nc").exists():
            part = job.part(i / len(made), (i + 1) / len(made), name)
            save_result(make(part), folder / f"{name}.nc")
    (folder / STEPS["comparison"]).touch()
    share = {
        name: float(open_result(folder / f"confusion-{name}.nc").share_best_for_it)
        for name in plan.stimuli.objectives
    }
    return "; ".join(
        f"{one:.0%} of neurons answer most to their own {n}" for n, one in share.items()
    )


def _confuse(observed: xr.Dataset, name: str, plan: Plan, job: Job) -> xr.Dataset:
    return compare_confusion(observed, name, expect=EXPECTED[name], seed=plan.seed, job=job)


def _control(observed: xr.Dataset, name: str, plan: Plan, job: Job) -> xr.Dataset:
    kinds = [one if name == "mei" else f"{one}-{name}" for one in plan.stimuli.controls]
    return compare_controls(observed, kinds, name, expect=EXPECTED[name], seed=plan.seed, job=job)


def _agree(observed: xr.Dataset, folder: Path, plan: Plan, job: Job) -> xr.Dataset:
    return compare_prediction(observed, _predict(folder), seed=plan.seed, job=job)


def _predict(folder: Path) -> xr.DataArray:
    """What the ensemble expects of all neurons for all stimuli, (stimulus, neuron)."""
    twin, key = twins.load_twin(folder / STEPS["fit"]), read_key(folder / STEPS["export"])
    quiet = twin.condition()
    with torch.inference_mode():
        rates = [
            quiet(torch.as_tensor(key.stimulus.values[start : start + BATCH])).numpy()
            for start in range(0, key.sizes["stimulus"], BATCH)
        ]
    labels = quiet.labels
    return xr.DataArray(
        np.concatenate(rates),
        dims=("stimulus", "neuron"),
        coords={
            "stimulus_id": ("stimulus", key.stimulus_id.values),
            "neuron": neuron_names(labels.session.values, labels.neuron_id.values),
        },
        attrs={"twin": twin.identity},
    )


def _settings(recording: xr.Dataset, plan: Plan) -> Any:
    """Architecture and settings that suit the recording, as the plan changes them."""
    architecture, settings = fitting.default_settings(recording)
    return (
        replace(architecture, core="stacked", layers=plan.fit.layers, hidden=plan.fit.hidden),
        replace(settings, max_epochs=plan.fit.max_epochs, seed=plan.seed),
    )


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


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
