"""How many trials a way of choosing images saves, against random images."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from twinlab.schema import InputError, make_result

__all__ = ["GOAL", "say_trials_saved", "trials_saved"]

GOAL = 0.25  # share of trials, at which choosing images is worth its trouble


def trials_saved(accuracy: xr.DataArray, *, baseline: str = "random") -> xr.Dataset:
    """Measure how many trials suffice for what random images reach at their end.

    Parameters
    ----------
    accuracy : xarray.DataArray
        (seed, criterion, trials), of twins fitted to so many trials, the coordinate `trials`,
        whose images were chosen by each criterion; all criteria have the start in common.
    baseline : str
        The criterion whose last accuracy is to be reached.

    Returns
    -------
    xarray.Dataset
        `trials_needed` (seed, criterion), where the straight lines between the accuracies first
        reach the baseline's last, NaN where they never do; `trials_saved`, the share of all of
        the baseline's trials that this leaves, those of the start being counted on both sides;
        and over seeds `mean_trials_saved` (criterion) and its `_standard_error`, NaN if some seed
        never got there, and for fewer than two seeds.

    Raises
    ------
    InputError
        If there is no such criterion, accuracies are not finite, or trials do not increase.

    Examples
    --------
    >>> accuracy = xr.DataArray(
    ...     [[[0.2, 0.5, 0.6], [0.2, 0.6, 0.7]]],
    ...     dims=("seed", "criterion", "trials"),
    ...     coords={"seed": [0], "criterion": ["random", "best"], "trials": [100, 200, 300]},
    ... )
    >>> trials_saved(accuracy).mean_trials_saved.values.round(2).tolist()
    [0.0, 0.33]

    """
    accuracy = accuracy.transpose("seed", "criterion", "trials")
    names = accuracy.criterion.values.astype(str).tolist()
    trials = accuracy.trials.values.astype(float)
    values = accuracy.values.astype(float)
    faults = []
    if baseline not in names:
        faults.append(f"has no criterion {baseline!r}, only {names}")
    if len(trials) < 2 or not (np.diff(trials) > 0).all():
        faults.append(f"has `trials` of {trials.tolist()}, which must increase")
    if not np.isfinite(values).all():
        faults.append(f"has {int((~np.isfinite(values)).sum())} values that are not finite")
    if faults:
        msg = "`accuracy` cannot be compared: it " + "; it ".join(faults) + "."
        raise InputError(msg)
    goal = values[:, names.index(baseline), -1]
    pairs = zip(values, goal, strict=True)
    needed = np.array([[_first(trials, one, end) for one in curves] for curves, end in pairs])
    saved = 1 - needed / trials[-1]
    n = len(saved)
    error = saved.std(0, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(names), np.nan)
    words = {"long_name": "share of trials saved", "units": "1"}
    result = xr.Dataset(
        {
            "accuracy": accuracy.assign_attrs(
                {"long_name": "accuracy", "units": "1"} | accuracy.attrs
            ),
            "trials_needed": (
                ("seed", "criterion"), needed,
                {"long_name": "trials for the accuracy of the baseline's end", "units": "1"},
            ),
            "trials_saved": (("seed", "criterion"), saved, words),
            "mean_trials_saved": ("criterion", saved.mean(0), words),
            "mean_trials_saved_standard_error": (
                "criterion", error, {"long_name": "standard error over seeds", "units": "1"},
            ),
        }
    )  # fmt: skip
    return make_result(result, experiment="trials saved", settings={"baseline": baseline})


def say_trials_saved(saved: xr.Dataset, criterion: str, *, goal: float = GOAL) -> str:
    """Say in a plain sentence whether choosing images saved trials.

    Parameters
    ----------
    saved : xarray.Dataset
        Of `trials_saved`.
    criterion : str
    goal : float
        Share of trials to save.

    Raises
    ------
    InputError
        If there is no such criterion.

    """
    if criterion not in saved.criterion.values:
        msg = f"Nothing was chosen by {criterion!r}; known: {saved.criterion.values.tolist()}."
        raise InputError(msg)
    baseline = json.loads(saved.attrs["settings"])["baseline"]
    one = saved.sel(criterion=criterion)
    each, mean = one.trials_saved.values, float(one.mean_trials_saved)
    seeds = f"{len(each)} seed{'s' if len(each) > 1 else ''}"
    if np.isnan(mean):
        return (
            f"Images by {criterion} do not reach the accuracy of {baseline} images in "
            f"{np.isnan(each).sum()} of {seeds}: that they save trials is not shown."
        )
    spread = f" ({each.min():.0%} to {each.max():.0%} over {seeds})"
    if mean <= 0:
        return f"Images by {criterion} save no trials against {baseline} images{spread}."
    verdict = "as aimed at" if mean >= goal else f"less than the {goal:.0%} aimed at"
    return (
        f"Images by {criterion} reach the accuracy of {baseline} images with {mean:.0%} fewer "
        f"trials{spread}, {verdict}."
    )


def _first(trials: np.ndarray, curve: np.ndarray, goal: float) -> float:
    """Trials at which a curve first reaches a goal, NaN if never."""
    if curve[0] >= goal:
        return float(trials[0])
    i = int(np.argmax(curve >= goal))
    if i == 0:
        return float("nan")
    share = (goal - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(trials[i - 1] + share * (trials[i] - trials[i - 1]))
