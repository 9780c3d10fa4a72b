"""What a loop shows and does not show, in plain sentences."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from twinlab.cli.pages import number

__all__ = [
    "LEVEL",
    "NOT_NOTHING",
    "say_left_out",
    "say_next_session",
    "say_power",
    "say_prediction",
    "say_specificity",
    "say_verification",
    "say_what_is_shown",
]

LEVEL = 0.05  # below which a p value says that something is shown
NOT_NOTHING = (
    "What is not shown may still be there: how large an effect a session of this size can miss is "
    "said under Power."
)


def say_what_is_shown(
    confusion: xr.Dataset | None,
    controls: xr.Dataset | None = None,
    tests: xr.Dataset | None = None,
) -> list[str]:
    """Plain sentences of what the comparisons of one kind of stimulus show and do not show.

    Parameters
    ----------
    confusion : xarray.Dataset, optional
        Of `loop.compare_confusion`.
    controls : xarray.Dataset, optional
        Of `loop.compare_controls`.
    tests : xarray.Dataset, optional
        Of `loop.list_tests`: p values are then corrected for the number of tests.

    Returns
    -------
    list of str
        The first is the main answer.

    """
    lines, null = [], False
    if confusion is not None:
        settings = json.loads(confusion.attrs["settings"])
        share, chance = (float(confusion[f"share_best_for_it{k}"]) for k in ("", "_chance"))
        lower, upper = confusion.share_best_for_it_interval.values
        known = int(confusion.best_for_it.notnull().sum())
        interval = f"; 95 % interval {lower:.0%} to {upper:.0%}"
        p = _corrected(
            tests, f"confusion-{settings['kind']}", 0, confusion.mean_specificity_p_value
        )
        how = f"p = {p:.2g}, stimuli permuted{_family(tests)}"
        null = not p < LEVEL
        verdict = (
            f"That the stimuli are the neurons' own is not shown ({how})."
            if null
            else f"The stimuli are the neurons' own ({how})."
        )
        lines.append(
            f"{share:.0%} of the neurons answer {settings['expect']} to the "
            f"{settings['kind'].upper()} that was made for them "
            f"({int(confusion.best_for_it.sum())} of {known}"
            f"{interval if np.isfinite(lower) else ''}; chance {chance:.0%}). {verdict}"
        )
    if controls is not None:
        settings = json.loads(controls.attrs["settings"])
        more = "larger" if settings["expect"] == "most" else "smaller"
        for i, name in enumerate(controls.control.values.astype(str)):
            p = _corrected(
                tests, f"controls-{settings['kind']}", i, controls.population_p_value[i]
            )
            shown = more if p < LEVEL else f"not shown to be {more}"
            null |= not p < LEVEL
            lines.append(
                f"Responses to the {settings['kind'].upper()} are "
                f"{number(float(controls.median_ratio[i]))} times those to {name} (median), "
                f"{shown} (p = {p:.2g}, signed ranks of neurons{_family(tests)})."
            )
    return [*lines, NOT_NOTHING] if null else lines


def say_specificity(result: xr.Dataset, tests: xr.Dataset | None = None) -> list[str]:
    """Say whether stimuli of one kind excite their neuron alone more than those of another."""
    settings = json.loads(result.attrs["settings"])
    kind, other = (settings[name].upper() for name in ("kind", "other"))
    p = _corrected(tests, "specificity", 0, result.population_p_value)
    lower, upper = result.mean_difference_interval.values
    line = (
        "Specificity, the standardised response of a stimulus' own neuron less the largest of any "
        f"other: {kind} {'more' if p < LEVEL else 'not shown to be more'} specific than {other} "
        f"(mean difference {number(float(result.mean_difference))}, 95 % interval {number(lower)} "
        f"to {number(upper)}, p = {p:.2g}, signed ranks of neurons{_family(tests)})."
    )
    return [line] if p < LEVEL else [line, NOT_NOTHING]


def say_prediction(prediction: xr.Dataset) -> str:
    """Say how well the responses to each stimulus were predicted."""
    mean, ceiling, norm = (
        float(prediction[f"mean_{name}"]) for name in ("correlation", "cc_max", "cc_norm")
    )
    lower, upper = prediction.mean_correlation_interval.values
    n, n_norm = (int(prediction[name].notnull().sum()) for name in ("correlation", "cc_norm"))
    words = (
        f"Predicted and observed mean responses to {prediction.sizes['stimulus']} stimuli "
        f"correlate with {number(mean)} (mean over {n} neurons, 95 % interval {number(lower)} to "
        f"{number(upper)}; the noise over repeats allows {number(ceiling)}): {number(norm)} in "
        f"units of each neuron's ceiling, over the {n_norm} whose repeats tell enough to have one."
    )
    if not lower > 0:
        words += " That the twin predicts responses is not shown."
    return words


def say_verification(made: xr.Dataset) -> str:
    """Say what a twin that did not make the stimuli predicts of them."""
    kind = str(made.attrs["experiment"])
    up = -1 if kind in ("lei", "suppressor") else 1
    ratios = []
    for judge in ("", "_other"):
        own, natural = made[f"activation{judge}"].values, made[f"activation_natural{judge}"].values
        ratios.append(own / np.where(natural > 0, natural, np.nan))
    gain = up * (made.activation_other - made.activation_natural_other)
    known = int(gain.notnull().sum())
    shown = f"{int((gain > 0).sum())} of {known} neurons {'more' if up == 1 else 'less'}"
    words = (
        f"The verifier predicts that the {kind.upper()} excites {shown} than the best natural "
        f"image of the same norm; the median ratio of the two is {_median(ratios[0])} to the twin "
        f"that made them and {_median(ratios[1])} to the verifier."
    )
    if "unfamiliar" in made:
        far = int((made.unfamiliar == 1).sum())
        words += f" {far} of {known} lie farther from the training images than natural images do."
    return words


def say_left_out(groups: dict[str, xr.Dataset], manifest: dict[str, Any]) -> list[str]:
    """Say what was planned and is not in the comparisons, and what was changed; a line each."""
    responses, key, units = groups["responses"], groups["key"], groups.get("units")
    lines = []
    if units is not None and "chosen" in units:
        chosen = int(units.chosen.sum())
        lines.append(f"Stimuli were made for {chosen} of the {units.sizes['neuron']} neurons.")
    made_for = {
        f"{s}/{n}"
        for s, n in zip(
            key.session.values.astype(str), key.neuron_id.values.astype(str), strict=True
        )
        if n
    }
    lost = sorted(made_for - set(responses.neuron.values.astype(str)))
    if lost:
        lines.append(f"{len(lost)} of these were not found again: {_some(lost)}.")
    left = [name for name in str(key.attrs.get("left_out", "")).split(", ") if name]
    if left:
        lines.append(f"{len(left)} stimuli could not be made: {_some(left)}.")
    value = responses.response.transpose("trial", "neuron").values
    missing = int(np.isnan(value).all(1).sum())
    single = int(np.isnan(value).sum()) - missing * value.shape[1]
    lines.append(
        f"{value.shape[0] - missing} of {value.shape[0]} planned trials came back, of "
        f"{value.shape[1]} neurons"
        + (f"; {single} single responses are missing." if single else ".")
    )
    clipped = [one for one in manifest.get("stimuli", []) if one.get("clipped_fraction", 0) > 0]
    if clipped:
        worst = max(one["clipped_fraction"] for one in clipped)
        lines.append(
            f"{len(clipped)} stimuli had pixels that the screen cannot show (at most {worst:.1%} "
            "of one): these were shown black or white."
        )
    lines += responses.attrs["findings"].splitlines() or ["Every planned trial came back once."]
    return lines


def say_power(planned: xr.Dataset) -> str:
    """Say what a session can find, by what was assumed before it.

    Parameters
    ----------
    planned : xarray.Dataset
        Of `loop.plan_around`.

    """
    s = json.loads(planned.attrs["settings"])
    here = planned.sel(n_unit=s["n_unit"], n_repeat=s["n_repeat"])
    return (
        f"With {s['n_unit']} units and {s['n_repeat']} repeats, responses {s['ratio']:g} times "
        f"those to a control are found with a power of {float(here.power):.0%}; the least ratio "
        f"found with {s['power']:.0%} is {float(here.least_ratio):.2f} (assumed: a response of "
        f"{s['rate']:g} to the control, {s['fano']:g} times as large a variance over repeats, a "
        f"deviation of {s['spread']:g} of the ratio over units, one-sided test at {s['alpha']:g})."
    )


def say_next_session(power: xr.Dataset) -> list[str]:
    """Say what the noise of this session means for the next one; a line a control.

    Parameters
    ----------
    power : xarray.Dataset
        Of `loop.plan_next`.

    """
    s = json.loads(power.attrs["settings"])
    lines = []
    for one in (power.isel(control=i) for i in range(power.sizes["control"])):
        name = f"{s['kind'].upper()} against {one.control.item()}"
        if not one.power.notnull().any():
            lines.append(f"{name}: too little was measured to tell.")
            continue
        here = one.sel(n_repeat=s["n_repeat"])
        needed = float(here.units_needed)
        units = f"{needed:.0f} units" if np.isfinite(needed) else "more than 100,000 units"
        lines.append(
            f"{name}: a ratio of {s['ratio']:g} needs {units} at {s['n_repeat']} repeats for a "
            f"power of {s['power']:.0%}; {s['n_unit']} units find ratios from "
            f"{float(here.least_ratio.sel(n_unit=s['n_unit'])):.2f} on."
        )
    return lines


def _corrected(tests: xr.Dataset | None, result: str, i: int, p_value: xr.DataArray) -> float:
    """P value corrected for the number of tests, the i-th of a result, if it is listed."""
    if tests is None:
        return float(p_value)
    return float(tests.p_holm.values[tests.result.values.astype(str) == result][i])


def _family(tests: xr.Dataset | None) -> str:
    return "" if tests is None else f", Holm over {int(tests.p_value.notnull().sum())} tests"


def _median(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return f"{np.median(known):.2f}" if known.size else "undefined"


def _some(names: list[str], n: int = 10) -> str:
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")
