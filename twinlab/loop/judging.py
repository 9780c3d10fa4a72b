"""The last step: what came back, compared with what was planned and predicted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import xarray as xr

from twinlab import twins
from twinlab.insilico.formats import stimuli_at_once
from twinlab.insilico.responses import rates_of_batches
from twinlab.jobs import Job
from twinlab.loop.agreement import compare_prediction
from twinlab.loop.comparing import compare_confusion, compare_controls
from twinlab.loop.exporting import read_key
from twinlab.loop.folder import STEPS, last_made, open_loop
from twinlab.loop.gathering import neuron_names
from twinlab.loop.plan import Plan, name_control
from twinlab.loop.power import plan_next
from twinlab.loop.relabelling import lend_stimuli, pool_kinds
from twinlab.loop.specificity import compare_specificity
from twinlab.schema import InputError, open_result, save_result

# What the neurons should do for the stimuli of an objective that are their own.
EXPECTED = {
    "mei": "most",
    "lei": "least",
    "diverse": "most",
    "discriminating": "most",
    "suppressor": "least",
}
JUDGES = ("maker", "verifier")
BATCH = 256  # stimuli, or frames of videos, shown to the twin at once


def compare_loop(folder: Path, plan: Plan, job: Job) -> str:
    """Compare what came back with controls and with what was predicted."""
    observed = open_result(folder / STEPS["responses"])
    made: dict[str, Callable[[Job], xr.Dataset]] = {}
    for name in plan.stimuli.objectives:
        made |= _comparisons(observed, folder, name, plan)
    made["prediction"] = partial(_agree, observed, folder, plan)
    for i, (name, make) in enumerate(made.items()):
        if not (folder / f"{name}.nc").exists():
            part = job.part(i / len(made), (i + 1) / len(made), name)
            save_result(make(part), folder / f"{name}.nc")
    (folder / STEPS["comparison"]).touch()
    return "; ".join(_say(folder, name) for name in plan.stimuli.objectives)


def _comparisons(
    observed: xr.Dataset, folder: Path, objective: str, plan: Plan
) -> dict[str, Callable[[Job], xr.Dataset]]:
    """What an objective is compared with, by the name of the result.

    Of all but suppressors, which leave their base in sight, a confusion matrix, and:

    - MEIs and LEIs: their controls;
    - diverse ones: the controls of MEIs, and the MEIs, all images of a set together and each
      alone: they should excite more than the controls and nearly as much as the MEI;
    - discriminating ones: the same, and the specificity of MEIs, which should be less;
    - suppressors: their base alone, to which the response should be larger.
    """
    expect, controls = EXPECTED[objective], _controls_of(objective, plan)
    kinds = plan.stimuli.kinds(objective)
    asked = observed
    if objective == "diverse":
        asked = pool_kinds(observed, list(kinds), objective)
    if "other" in plan.stimuli.controls and (lent := name_control("other", objective)) in controls:
        asked = lend_stimuli(observed, objective, lent, _centers(folder))
    shown = set(asked.kind.values.astype(str).tolist())
    controls = [one for one in controls if one in shown]
    how: dict[str, Any] = {"expect": expect, "seed": plan.seed}
    made: dict[str, Callable[[Job], xr.Dataset]] = {}
    if objective != "suppressor":
        made[f"confusion-{objective}"] = partial(_confuse, asked, objective, how)
    if controls:
        made[f"controls-{objective}"] = partial(_control, asked, controls, objective, how)
    if controls and objective == "mei":  # of next to no response no larger one can be planned
        made[f"power-{objective}"] = partial(_plan_next, asked, controls, objective, plan)
    if objective == "diverse":
        for kind in kinds:
            made[f"controls-{kind}"] = partial(_control, observed, controls, kind, how)
    if objective == "discriminating":
        made["specificity"] = partial(_tell_apart, observed, plan)
    return made


def _controls_of(objective: str, plan: Plan) -> list[str]:
    """Kinds of stimuli that those of an objective are compared with."""
    planned = plan.stimuli.controls
    if objective == "suppressor":
        return [f"base-{objective}"]
    if objective in ("mei", "lei"):
        return [name_control(one, objective) for one in planned]
    # Those of MEIs have the same norm; only the neighbour's is of the same objective.
    shared = ["mei", *(one for one in planned if one != "other")]
    if objective == "discriminating" and "other" in planned:
        shared.append(name_control("other", objective))
    return shared


def _centers(folder: Path) -> dict[str, tuple[float, float]]:
    """Where the receptive field of each neuron lies, in pixels."""
    units = open_result(folder / STEPS["units"])
    names = neuron_names(units.session.values, units.neuron_id.values)
    places = zip(units.center_x.values, units.center_y.values, strict=True)
    return dict(zip(names, places, strict=True))


def _say(folder: Path, objective: str) -> str:
    if objective == "suppressor":
        controls = open_result(folder / f"controls-{objective}.nc")
        ratio = float(controls.median_ratio[0])
        return f"with its suppressor a neuron answers {ratio:.2g} times as much (median)"
    share = float(open_result(folder / f"confusion-{objective}.nc").share_best_for_it)
    return f"{share:.0%} of neurons answer {EXPECTED[objective]} to their own {objective}"


def _confuse(observed: xr.Dataset, kind: str, how: dict[str, Any], job: Job) -> xr.Dataset:
    return compare_confusion(observed, kind, job=job, **how)


def _control(
    observed: xr.Dataset, controls: list[str], kind: str, how: dict[str, Any], job: Job
) -> xr.Dataset:
    return compare_controls(observed, controls, kind, job=job, **how)


def _plan_next(
    observed: xr.Dataset, controls: list[str], kind: str, plan: Plan, job: Job
) -> xr.Dataset:
    job.check()
    return plan_next(
        observed, controls, kind, expect=EXPECTED[kind],
        n_unit=plan.units.number, n_repeat=plan.presentation.n_repeat,
    )  # fmt: skip


def _tell_apart(observed: xr.Dataset, plan: Plan, job: Job) -> xr.Dataset:
    return compare_specificity(observed, seed=plan.seed, job=job)


def judge_prediction(
    folder: str | PathLike[str], by: str = "maker", *, job: Job | None = None
) -> xr.Dataset:
    """Tell how well one of the twins of a loop predicted what came back.

    Parameters
    ----------
    folder : path
        Of a loop to which responses have come.
    by : {"maker", "verifier"}
        The twin that made the stimuli, or the one that had no part in it.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        Of `compare_prediction`.

    Raises
    ------
    InputError
        As `open_loop`, or if there are no responses yet.

    """
    plan, folder = open_loop(folder), Path(folder)
    if by not in JUDGES:
        msg = f"`by` is {by!r}; known: {', '.join(JUDGES)}."
        raise InputError(msg)
    return _agree(open_result(folder / STEPS["responses"]), folder, plan, job or Job(), by)


def _agree(
    observed: xr.Dataset, folder: Path, plan: Plan, job: Job, by: str = "maker"
) -> xr.Dataset:
    place = last_made(folder, "fit") if by == "maker" else folder / STEPS["verifier"]
    return compare_prediction(
        observed, _predict(folder, place, job.part(0, 0.5)), seed=plan.seed, job=job.part(0.5, 1)
    )


def _predict(folder: Path, place: Path, job: Job) -> xr.DataArray:
    """What the twin at a place expects of all neurons for all stimuli, (stimulus, neuron)."""
    twin, key = twins.load_twin(place), read_key(folder / STEPS["export"])
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
