"""The steps from a recording to the files for a rig; each leaves its file, whole."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from twinlab import fitting, twins
from twinlab.jobs import Job
from twinlab.loop.exporting import export_stimuli
from twinlab.loop.folder import STEPS, began_in, last_made
from twinlab.loop.plan import Plan
from twinlab.loop.pool import open_pool
from twinlab.loop.schedule import make_schedule
from twinlab.loop.screen import fit_screen
from twinlab.loop.sharing import add_shared, pick_shared
from twinlab.recordings import open_recording, save_recording
from twinlab.schema import InputError, open_result, save_result, stimulus_kind
from twinlab.simulation import SimulatedCortex

HISTORY = "history.nc"  # of a fit, beside its twin
VIDEO_VERIFIER = "conv_gru"  # core of the twin that judges videos


def record_loop(folder: Path, plan: Plan, job: Job) -> str:
    """Keep the recording that the plan names, as a store of its own."""
    if plan.recording == "simulated":
        recording = SimulatedCortex(plan.seed).record(job=job)
    else:
        beside = began_in(folder) / plan.recording
        recording = open_recording(beside if beside.exists() else plan.recording, job=job)
    if plan.later.day and "simulation" not in recording.attrs:
        msg = (
            f"{plan.recording}: is of no simulated cortex, but `later.day` is {plan.later.day}; a "
            "real one answers on the day on which it is shown the stimuli, so leave it out."
        )
        raise InputError(msg)
    # Now, as the plan can no longer be changed once anything is made.
    channel, *frame, height, width = recording.stimulus.shape[1:]
    n_frame = [frames_shown(plan, recording.attrs["frame_rate"])] if frame else []
    fit_screen(plan.rig, (channel, *n_frame, height, width), plan.presentation.on_s, folder)
    if frame and (plan.presentation.shared or plan.rounds.number):
        msg = (
            f"{plan.recording}: was made with videos, of which none are shown again nor in "
            "rounds; leave `presentation.shared` and `rounds` out."
        )
        raise InputError(msg)
    if not frame:
        pick_shared(recording, plan.presentation.shared)
    if plan.rounds.number:
        open_pool(folder, plan, recording)
    save_recording(recording, folder / STEPS["recording"])
    return f"{recording.sizes['neuron']} neurons, {recording.sizes['trial']} trials"


def fit_loop(folder: Path, plan: Plan, job: Job) -> str:
    """Fit the ensemble that makes stimuli."""
    recording = open_recording(folder / STEPS["recording"])
    reached = fit_members(recording, plan, plan.fit.max_epochs, folder, job)
    return f"{plan.fit.members} twins, validation correlation {reached:.3f}"


def fit_members(
    recording: xr.Dataset, plan: Plan, max_epochs: int, place: Path, job: Job
) -> float:
    """Fit an ensemble, leave it in `place`, and return its members' validation correlation."""
    architecture, settings = _settings(recording, plan)
    twin, history = fitting.fit_ensemble(
        recording, architecture, replace(settings, max_epochs=max_epochs),
        members=plan.fit.members, checkpoints=place / "fitting", job=job,
    )  # fmt: skip
    save_result(history, place / HISTORY)
    twins.save_twin(twin, place / STEPS["fit"])
    shutil.rmtree(place / "fitting", ignore_errors=True)
    return float(history.validation_correlation.max("epoch").mean())


def verify_loop(folder: Path, plan: Plan, job: Job) -> str:
    """Fit the twin of another architecture that judges them."""
    recording = open_recording(last_made(folder, "recording"))
    architecture, settings = _settings(recording, plan)
    seed = plan.seed + plan.fit.members  # of none of the ensemble
    core = plan.fit.verifier if stimulus_kind(recording) == "image" else VIDEO_VERIFIER
    twin, _ = fitting.fit_twin(
        recording, replace(architecture, core=core), replace(settings, seed=seed),
        checkpoint=folder / "verifying.safetensors", job=job,
    )  # fmt: skip
    twins.save_twin(twin, folder / STEPS["verifier"])
    (folder / "verifying.safetensors").unlink(missing_ok=True)
    return f"a twin with core {core}"


def export_loop(folder: Path, plan: Plan, job: Job) -> str:
    """Write stimuli and schedule as files for the rig."""
    shown = plan.presentation
    stimuli = open_result(folder / STEPS["stimuli"])
    stimuli = add_shared(stimuli, open_recording(folder / STEPS["recording"]), shown.shared)
    schedule = make_schedule(
        stimuli.stimulus_id.values, n_repeat=shown.n_repeat, n_blank=shown.n_blank,
        on_s=shown.on_s, off_s=shown.off_s, seed=plan.seed,
    )  # fmt: skip
    mean = twins.load_twin(last_made(folder, "fit")).spec.mean
    export_stimuli(
        stimuli, schedule, plan.rig, folder / STEPS["export"], mean=mean, gamma_folder=folder,
        job=job,
    )  # fmt: skip
    left = stimuli.attrs["left_out"]
    return f"{stimuli.sizes['stimulus']} stimuli" + (f"; without a stimulus: {left}" * bool(left))


def refuse_other_levels(folder: Path, spec: twins.StimulusSpec) -> None:
    """Raise `InputError` unless pixels are grey levels of 0 to 255, which a rig shows."""
    if (spec.low, spec.high) != (0, 255):
        msg = (
            f"{folder}: the recording's pixels run from {spec.low:g} to {spec.high:g}; "
            "a rig shows grey levels of 0 to 255, so rescale the recording's stimuli to them."
        )
        raise InputError(msg)


def frames_shown(plan: Plan, frame_rate: float | None) -> int:
    """Frames of a video that is shown for as long as the plan says; 1 of an image."""
    return max(1, round(plan.presentation.on_s * (frame_rate or 0)))


def _settings(recording: xr.Dataset, plan: Plan) -> Any:
    """Architecture and settings that suit the recording, as the plan changes them."""
    architecture, settings = fitting.default_settings(recording)
    if stimulus_kind(recording) == "image":
        architecture = replace(architecture, core="stacked")
    return (
        replace(architecture, layers=plan.fit.layers, hidden=plan.fit.hidden),
        replace(settings, max_epochs=plan.fit.max_epochs, seed=plan.seed),
    )
