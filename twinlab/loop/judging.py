"""The last step: what came back, compared with what was planned and predicted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import xarray as xr

from twinlab import twins
from twinlab.insilico.formats import stimuli_at_once
from twinlab.insilico.responses import rates_of_batches
from twinlab.jobs import Job
from twinlab.loop.agreement import compare_prediction
from twinlab.loop.comparing import compare_confusion, compare_controls
from twinlab.loop.exporting import read_key
from twinlab.loop.folder import STEPS, last_made
from twinlab.loop.gathering import neuron_names
from twinlab.loop.plan import Plan
from twinlab.loop.power import plan_next
from twinlab.schema import open_result, save_result

EXPECTED = {"mei": "most", "lei": "least"}
BATCH = 256  # stimuli, or frames of videos, shown to the twin at once


def compare_loop(folder: Path, plan: Plan, job: Job) -> str:
    """Compare what came back with controls and with what was predicted."""
    observed = open_result(folder / STEPS["responses"])
    made: dict[str, Callable[[Job], xr.Dataset]] = {}
    for name in plan.stimuli.objectives:
        made[f"confusion-{name}"] = partial(_confuse, observed, name, plan)
        if plan.stimuli.controls:
            made[f"controls-{name}"] = partial(_control, observed, name, plan)
            made[f"power-{name}"] = partial(_plan_next, observed, name, plan)
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
    kinds = _controls_of(name, plan)
    return compare_controls(observed, kinds, name, expect=EXPECTED[name], seed=plan.seed, job=job)


def _plan_next(observed: xr.Dataset, name: str, plan: Plan, job: Job) -> xr.Dataset:
    job.check()
    return plan_next(
        observed, _controls_of(name, plan), name, expect=EXPECTED[name],
        n_unit=plan.units.number, n_repeat=plan.presentation.n_repeat,
    )  # fmt: skip


def _controls_of(name: str, plan: Plan) -> list[str]:
    return [one if name == "mei" else f"{one}-{name}" for one in plan.stimuli.controls]


def _agree(observed: xr.Dataset, folder: Path, plan: Plan, job: Job) -> xr.Dataset:
    return compare_prediction(
        observed, _predict(folder, job.part(0, 0.5)), seed=plan.seed, job=job.part(0.5, 1)
    )


def _predict(folder: Path, job: Job) -> xr.DataArray:
    """What the ensemble expects of all neurons for all stimuli, (stimulus, neuron)."""
    twin, key = twins.load_twin(last_made(folder, "fit")), read_key(folder / STEPS["export"])
    quiet = twin.condition()
    size = stimuli_at_once(quiet, key.sizes.get("frame", 1), BATCH)
    starts = range(0, key.sizes["stimulus"], size)
    batches = (key.stimulus.values[start : start + size] for start in starts)
    rates = rates_of_batches(quiet, batches, key.sizes["stimulus"], job)
    labels = quiet.labels
    return xr.DataArray(
        rates,
        dims=("stimulus", "neuron"),
        coords={
            "stimulus_id": ("stimulus", key.stimulus_id.values),
            "neuron": neuron_names(labels.session.values, labels.neuron_id.values),
        },
        attrs={"twin": twin.identity},
    )
