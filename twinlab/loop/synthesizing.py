"""Stimuli made for the chosen neurons, and what a twin that made none of them says of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from twinlab import insilico, twins
from twinlab.insilico.formats import stimuli_at_once
from twinlab.insilico.responses import find_neurons, paired_rates
from twinlab.jobs import Job
from twinlab.loop.folder import STEPS, last_made
from twinlab.loop.gathering import gather_stimuli
from twinlab.loop.making import frames_shown, refuse_other_levels
from twinlab.loop.plan import Plan, Stimuli
from twinlab.recordings import open_recording
from twinlab.schema import open_result, save_result
from twinlab.twins import ConditionedTwin, Familiarity

__all__ = ["synthesize_stimuli", "verify_stimuli"]

MOST_NATURAL = 5000  # images among which the best natural one is looked for
MOST_CLIPS = 500  # of videos, each of which costs as much as its frames
PART = 42  # neurons made at once, and lost by a stop: 3 starts of each fill a batch of 128
BATCH = 128  # stimuli, or frames of videos, looked at together


def synthesize_stimuli(folder: Path, plan: Plan, job: Job) -> str:
    """Make stimuli of each objective for each of them, and show all to the verifier."""
    recording = open_recording(last_made(folder, "recording"))
    maker = twins.load_twin(last_made(folder, "fit"))
    judge = twins.load_twin(folder / STEPS["verifier"])
    twin, other = maker.condition(), judge.condition()
    refuse_other_levels(folder, twin.spec)
    chosen = np.flatnonzero(open_result(folder / STEPS["units"]).chosen.values)
    n_frame = frames_shown(plan, twin.spec.frame_rate)
    natural = _natural(recording, slice(None), n_frame)
    asked, n = plan.stimuli, len(plan.stimuli.objectives)
    # The others follow from the MEIs.
    ordered = sorted(asked.objectives, key=lambda name: name != "mei")
    for i, name in enumerate(ordered):
        if not (folder / f"{name}.nc").exists():
            told_apart = name == "discriminating"
            unit = open_result(folder / "mei.nc").activation.values if told_apart else None
            make = partial(
                _make, objective=name, asked=asked, seed=plan.seed, other=other, natural=natural,
                chosen=chosen, unit=unit, n_frame=n_frame,
            )  # fmt: skip
            made_by = {
                "objective": name, "verifier": other.identity, "asked": repr(asked),
                "recording": str(recording.attrs.get("fingerprint", "")), "seed": str(plan.seed),
                "n_frame": str(n_frame),
            }  # fmt: skip
            insilico.run_sweep(
                make, twin, folder / f"{name}.nc", chosen, part_size=PART, made_by=made_by,
                job=job.part(0.9 * i / n, 0.9 * (i + 1) / n, name),
            )  # fmt: skip
    results = [open_result(folder / f"{name}.nc") for name in asked.objectives]
    stimuli = gather_stimuli(results, asked.controls)
    familiar = _familiarity(maker, recording, n_frame)
    verified = verify_stimuli(stimuli, twin, other, familiar, job=job.part(0.9, 1, "verifier"))
    save_result(verified.assign_attrs(experiment="stimuli"), folder / STEPS["stimuli"])
    return f"{' and '.join(asked.objectives)} of {len(chosen)} neurons"


def verify_stimuli(
    stimuli: xr.Dataset,
    twin: ConditionedTwin,
    other: ConditionedTwin,
    familiarity: Familiarity | None = None,
    *,
    job: Job | None = None,
) -> xr.Dataset:
    """Say what twins expect of each stimulus, and how far it lies from what they were trained on.

    Parameters
    ----------
    stimuli : xarray.Dataset
        Of `gather_stimuli`.
    twin, other : ConditionedTwin
        The one that made them, and one that did not.
    familiarity : Familiarity, optional
        Of `twin`, see `twins.fit_familiarity`.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `stimuli` with, along `stimulus`: `predicted` and `predicted_other`, the response of the
        neuron that it was made for as either twin expects it; `distance` from the training
        images, and `unfamiliar`, 1 where natural images do not lie so far (both NaN without
        `familiarity`).

    Raises
    ------
    InputError
        If a twin lacks a neuron.

    """
    job = job or Job()
    shown = torch.as_tensor(stimuli.stimulus.values)
    size = stimuli_at_once(twin, stimuli.sizes.get("frame", 1), BATCH)
    judges = {"predicted": (twin, "`twin`"), "predicted_other": (other, "`other`")}
    found: dict[str, Any] = {}
    for i, (name, (judge, where)) in enumerate(judges.items()):
        position = find_neurons(stimuli, judge.labels, where)
        part = job.part(0.4 * i, 0.4 * (i + 1))
        rates = paired_rates(judge, position, shown.__getitem__, size, part)
        words = "expected response" + ", of a twin that did not make it" * (judge is other)
        found[name] = ("stimulus", rates, {"long_name": words, "units": "rate"})
    distance = np.full(len(shown), np.nan, np.float32)
    unfamiliar = np.full(len(shown), np.nan, np.float32)
    if familiarity is not None:
        for start in range(0, len(shown), size):
            job.report(0.8 + 0.2 * start / len(shown), "distance from training")
            part_of = slice(start, start + size)
            distance[part_of] = familiarity(shown[part_of]).detach().cpu().numpy()
        unfamiliar = (distance > familiarity.threshold).astype(np.float32)
    found["distance"] = (
        "stimulus",
        distance,
        {"long_name": "distance from the training images", "units": "standard deviation"},
    )
    found["unfamiliar"] = (
        "stimulus",
        unfamiliar,
        {"long_name": "1 where natural images do not lie so far", "units": "1"},
    )
    return stimuli.assign(found).assign_attrs(stimuli.attrs)


def _make(
    twin: ConditionedTwin,
    neurons: Sequence[int],
    *,
    objective: str,
    asked: Stimuli,
    seed: int,
    other: ConditionedTwin,
    natural: np.ndarray,
    chosen: np.ndarray,
    unit: np.ndarray | None,
    n_frame: int,
    job: Job,
) -> xr.Dataset:
    """Stimuli of an objective for some of the chosen neurons, with their controls."""
    how: dict[str, Any] = {"norm": asked.norm, "seed": seed, "n_frame": n_frame}
    if objective == "diverse":
        return insilico.synthesize_diverse(twin, neurons, n_image=asked.n_diverse, job=job, **how)
    if objective == "suppressor":
        how["base_norm"] = asked.norm / 2
        return insilico.synthesize_suppressor(twin, neurons, job=job, **how)
    if objective == "discriminating":
        return insilico.synthesize_discriminating(
            twin, neurons, rivals=chosen, unit=unit, job=job, **how
        )
    synthesize = insilico.synthesize_mei if objective == "mei" else insilico.synthesize_lei
    made = synthesize(twin, neurons, job=job.part(0, 0.5), **how)
    judged = insilico.cross_examine(made, twin, other, natural, job=job.part(0.5, 0.95))
    if "noise" not in asked.controls:
        return judged
    return insilico.match_noise(judged, twin, other, seed=seed, job=job.part(0.95, 1))


def _natural(recording: xr.Dataset, some: Any, n_frame: int) -> np.ndarray:
    """Images of a recording, or clips of its videos, no more than are looked among."""
    stimulus = recording.stimulus[some]
    if "frame" not in stimulus.dims:
        return np.asarray(stimulus[:MOST_NATURAL])
    return insilico.cut_clips(np.asarray(stimulus[:MOST_CLIPS]), n_frame)[:MOST_CLIPS]


def _familiarity(twin: twins.Twin, recording: xr.Dataset, n_frame: int) -> Familiarity | None:
    """What training images are like, if there are held-out ones to judge a distance by."""
    index, split = recording.stimulus_index.values, recording.split.values
    shown, held_out = (
        np.unique(index[split == name])[:MOST_NATURAL] for name in ("train", "validation")
    )
    if len(shown) < 2 or not len(held_out):
        return None
    images = (_natural(recording, some, n_frame) for some in (shown, held_out))
    return twins.fit_familiarity(twin, *images)
