"""The neurons that stimuli are made for: reliable, well inside the image, evenly drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import xarray as xr

from twinlab import twins
from twinlab.evaluation import score_reliability
from twinlab.insilico import measure_preferences
from twinlab.jobs import Job
from twinlab.loop.comparing import FEWEST
from twinlab.loop.folder import STEPS, last_made
from twinlab.loop.plan import Plan, Units
from twinlab.recordings import open_recording
from twinlab.schema import InputError, save_result

__all__ = ["choose_units", "pick_units"]


def choose_units(folder: Path, plan: Plan, job: Job) -> str:
    """Choose the neurons that stimuli are made for."""
    recording = open_recording(folder / STEPS["recording"])
    reliability = score_reliability(recording, job=job.part(0, 0.3)).oracle_correlation
    center, away = _centers(folder, plan, job.part(0.3, 1.0, "receptive fields"))
    groups = {
        name: reliability[name].values.astype(str)
        for name in ("area", "session")
        if name in reliability.coords
    }
    left_out = pick_units(reliability.values, away, groups, plan.units)
    chosen = left_out == ""
    if chosen.sum() < FEWEST:
        msg = (
            f"{folder}: {chosen.sum()} neurons can have stimuli ({_count(left_out)}); expected at "
            f"least {FEWEST}. Ask for less in `units` of the plan of a new loop."
        )
        raise InputError(msg)
    place = {"long_name": "centre of its receptive field, if the plan needs it", "units": "px"}
    units = xr.Dataset(
        {
            "oracle_correlation": reliability,
            "chosen": ("neuron", chosen, {"long_name": "stimuli are made for it", "units": "1"}),
            "left_out": ("neuron", left_out, {"long_name": "why none are", "units": "1"}),
            "center_x": ("neuron", center[:, 0], place),
            "center_y": ("neuron", center[:, 1], place),
        },
        attrs={"experiment": "units"},
    )
    save_result(units, folder / STEPS["units"])
    short = "" if chosen.sum() == plan.units.number else f" ({plan.units.number} were wanted)"
    words = [
        f"{chosen.sum()} neurons{short}, oracle correlation "
        f"{reliability.values[chosen].min():.2f} or more"
    ]
    if plan.units.balance:
        each = Counter(groups[plan.units.balance][chosen].tolist())
        words.append(", ".join(f"{name}: {n}" for name, n in sorted(each.items())))
    if not chosen.all():
        words.append(f"left out: {_count(left_out)}")
    return "; ".join(words)


def _centers(folder: Path, plan: Plan, job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the receptive fields in pixels (n, 2), and their distance from the border in deg.

    NaN where the plan does not need them: that costs some thousand images.
    """
    twin = twins.load_twin(last_made(folder, "fit")).condition()
    center = np.full((len(twin), 2), np.nan)
    if plan.units.margin_deg > 0 or "other" in plan.stimuli.controls:
        # Few gratings: only centres are asked for, which patches tell.
        field = measure_preferences(
            twin, n_orientation=3, n_phase=3, n_spatial_frequency=1, radius=False, job=job
        )
        center = np.stack([field.center_x.values, field.center_y.values], 1)
    size = np.array([twin.spec.width, twin.spec.height])
    away = np.minimum(center + 0.5, size - 0.5 - center).min(1)
    return center, away * plan.rig.image_degrees_per_pixel


def pick_units(
    reliability: np.ndarray, away_deg: np.ndarray, groups: dict[str, np.ndarray], wanted: Units
) -> np.ndarray:
    """Say of each neuron why no stimuli are made for it.

    Parameters
    ----------
    reliability : ndarray of shape (n,)
        The most reliable are taken first; NaN where unknown.
    away_deg : ndarray of shape (n,)
        Distance of the receptive field's centre from the border of the image, in degrees, negative
        outside; NaN where there is no receptive field.
    groups : dict of str to ndarray of shape (n,)
        Names of "area" and "session", where known.
    wanted : Units

    Returns
    -------
    ndarray of str of shape (n,)
        The first reason that holds; "" for the neurons chosen.

    Raises
    ------
    InputError
        If areas or sessions are asked about and not known.

    Examples
    --------
    >>> wanted = Units(number=2, balance="area")
    >>> reliability, area = np.array([0.9, 0.8, 0.7]), np.array(["V1", "V1", "LM"])
    >>> pick_units(reliability, np.ones(3), {"area": area}, wanted).tolist()
    ['', 'others of its area are more reliable', '']

    """
    asked = {"units.areas": "area" if wanted.areas else "", "units.balance": wanted.balance}
    for name, kind in asked.items():
        if kind and kind not in groups:
            msg = f"`{name}` asks for each neuron's {kind}, which the recording does not tell."
            raise InputError(msg)
    known = np.nan_to_num(reliability, nan=-np.inf)
    elsewhere = np.zeros(len(known), bool)
    if wanted.areas:
        elsewhere = ~np.isin(groups["area"], wanted.areas)
    has_margin = wanted.margin_deg > 0
    reasons = {
        f"in another area than {', '.join(wanted.areas)}": elsewhere,
        "unknown reliability": np.isnan(reliability),
        f"reliability below {wanted.min_reliability:g}": known < wanted.min_reliability,
        "no receptive field": has_margin & np.isnan(away_deg),
        f"closer than {wanted.margin_deg:g} deg to the border": has_margin
        & (away_deg < wanted.margin_deg),
    }
    left_out = np.select(list(reasons.values()), list(reasons), "").astype(object)
    fit = np.flatnonzero(left_out == "")
    group = groups[wanted.balance][fit] if wanted.balance else np.zeros(len(fit))
    order = np.argsort(-known[fit], kind="stable")
    turn = np.empty(len(fit), int)  # place of each within its group
    for one in np.unique(group):
        own = order[group[order] == one]
        turn[own] = np.arange(len(own))
    ranked = np.lexsort((-known[fit], turn))
    others = f"others of its {wanted.balance}" if wanted.balance else "others"
    left_out[fit[ranked[wanted.number :]]] = f"{others} are more reliable"
    return left_out.astype(str)


def _count(left_out: np.ndarray) -> str:
    counted = Counter(one for one in left_out.tolist() if one).most_common()
    return ", ".join(f"{n} ({reason})" for reason, n in counted)
