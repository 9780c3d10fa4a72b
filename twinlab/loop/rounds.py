"""A round: the twin chooses images, they are shown, and it is fitted again with the answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from twinlab import twins
from twinlab.fitting import default_settings
from twinlab.jobs import Job
from twinlab.loop.answering import answer_loop
from twinlab.loop.choosing import choose_images, measure_fano
from twinlab.loop.exporting import export_stimuli
from twinlab.loop.folder import STEPS, last_made, round_folder
from twinlab.loop.growing import grow_recording
from twinlab.loop.making import HISTORY, fit_members, refuse_other_levels
from twinlab.loop.plan import Plan
from twinlab.loop.pool import open_pool
from twinlab.loop.schedule import make_schedule
from twinlab.loop.sharing import add_shared
from twinlab.recordings import open_recording, save_recording
from twinlab.schema import open_result, save_result

__all__ = ["list_rounds", "run_round"]

CHOSEN = "chosen.nc"


def run_round(folder: Path, plan: Plan, job: Job, *, number: int) -> str:
    """Do what is not done of a round, counted from 1, as far as it can go without the rig."""
    place = round_folder(folder, number)
    before = round_folder(folder, number - 1) if number > 1 else folder
    place.mkdir(parents=True, exist_ok=True)
    recording = open_recording(before / STEPS["recording"])
    if not (place / CHOSEN).exists():
        _choose(folder, plan, recording, number, job.part(0, 0.1, "choosing"))
    if not (place / STEPS["export"]).exists():
        _export(folder, plan, number, job.part(0.1, 0.2))
    if not (place / STEPS["responses"]).exists():
        words = answer_loop(folder, plan, job.part(0.2, 0.3))
        if not (place / STEPS["responses"]).exists():
            return words
    if not (place / STEPS["recording"]).exists():
        grown = grow_recording(
            recording, open_result(place / CHOSEN), open_result(place / STEPS["responses"])
        )
        save_recording(grown, place / STEPS["recording"])
    recording = open_recording(place / STEPS["recording"])
    epochs = _same_steps(open_recording(folder / STEPS["recording"]), recording, plan)
    reached = fit_members(recording, plan, epochs, place, job.part(0.3, 1))
    return (
        f"{plan.rounds.images} images by {plan.rounds.by}, "
        f"{int((recording.split == 'train').sum())} training trials in all, validation "
        f"correlation {reached:.3f}"
    )


def list_rounds(folder: Path, plan: Plan) -> xr.Dataset:
    """How good the twin was after each round, and after the first fit (round 0).

    Returns
    -------
    xarray.Dataset
        Along `round`: `n_trial`, the training trials, and `validation_correlation`, the mean over
        the members of the ensemble; the validation trials are the same throughout. Of rounds
        that are done.

    """
    places = [folder, *(round_folder(folder, i + 1) for i in range(plan.rounds.number))]
    places = [place for place in places if (place / HISTORY).exists()]
    trials = [
        int((open_recording(place / STEPS["recording"]).split.values == "train").sum())
        for place in places
    ]
    reached = [
        float(open_result(place / HISTORY).validation_correlation.max("epoch").mean())
        for place in places
    ]
    return xr.Dataset(
        {
            "n_trial": ("round", trials, {"long_name": "training trials", "units": "1"}),
            "validation_correlation": (
                "round", reached, {"long_name": "validation correlation", "units": "1"},
            ),
        },
        {"round": np.arange(len(places))},
        {"experiment": "rounds"},
    )  # fmt: skip


def _choose(folder: Path, plan: Plan, recording: xr.Dataset, number: int, job: Job) -> None:
    """Choose among the images that no round has shown, and keep those chosen."""
    before = round_folder(folder, number - 1) if number > 1 else folder
    twin = twins.load_twin(before / STEPS["fit"])
    refuse_other_levels(folder, twin.spec)
    pool = open_pool(folder, plan, recording)
    shown = [
        open_result(round_folder(folder, earlier) / CHOSEN).stimulus_id.values
        for earlier in range(1, number)
    ]
    names = pool.image_id.values.astype(str)
    left = pool[~np.isin(names, np.concatenate([[], *shown]).astype(str))]
    choice = choose_images(
        twin.condition(), left, plan.rounds.images, by=plan.rounds.by,
        fano=measure_fano(twin, recording), seed=plan.seed + number, job=job,
    )  # fmt: skip
    chosen = choice.assign(stimulus=left).isel(image=choice.chosen.values).rename(image="stimulus")
    n = chosen.sizes["stimulus"]
    labels = {"stimulus_id": chosen.image_id.values, "kind": ["chosen"] * n}
    labels |= {"session": [""] * n, "neuron_id": [""] * n}  # made for none
    save_result(
        chosen.drop_vars("image_id").assign_coords(
            {name: ("stimulus", np.array(values, str)) for name, values in labels.items()}
        ),
        round_folder(folder, number) / CHOSEN,
    )


def _export(folder: Path, plan: Plan, number: int, job: Job) -> None:
    place, shown = round_folder(folder, number), plan.presentation
    chosen = open_result(place / CHOSEN)[["stimulus"]].drop_encoding()
    size = {dim: chosen.sizes[dim] for dim in ("stimulus", "y", "x")}
    none = xr.DataArray(np.full(tuple(size.values()), np.nan, np.float32), dims=tuple(size))
    recording = open_recording(folder / STEPS["recording"])
    chosen = add_shared(chosen.assign(mask=none), recording, shown.shared)
    schedule = make_schedule(
        chosen.stimulus_id.values, n_repeat=plan.rounds.n_repeat, on_s=shown.on_s,
        off_s=shown.off_s, seed=plan.seed + number,
    )  # fmt: skip
    mean = twins.load_twin(last_made(folder, "fit")).spec.mean
    export_stimuli(
        chosen, schedule, plan.rig, place / STEPS["export"], mean=mean, gamma_folder=folder,
        job=job,
    )  # fmt: skip


def _same_steps(first: xr.Dataset, grown: xr.Dataset, plan: Plan) -> int:
    """Epochs over the grown recording that take as many steps as the first fit took."""
    size = default_settings(first)[1].batch_size
    steps = [max(1, int((one.split == "train").sum()) // size) for one in (first, grown)]
    return max(1, round(plan.fit.max_epochs * steps[0] / steps[1]))
