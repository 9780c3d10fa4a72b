"""How many units and repeats an effect needs: assumed, or measured for the next session."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy import optimize, stats

from twinlab.loop.repeats import own_repeats
from twinlab.schema import InputError, make_result

__all__ = ["SMALLEST_RATIO", "measure_noise", "plan_around", "plan_next", "plan_power"]

SMALLEST_RATIO = 1.3  # that sessions are planned for
MOST_UNITS = 100_000
# Of a plan, besides the noise that was measured for each control.
KEPT_SETTINGS = ("ratio", "alpha", "power", "n_unit", "n_repeat")


def plan_power(
    ratio: float,
    *,
    n_unit: Sequence[int] = (5, 10, 20, 50, 100),
    n_repeat: Sequence[int] = (2, 5, 10, 20),
    rate: float = 1.0,
    fano: float = 1.0,
    spread: float = 0.3,
    alpha: float = 0.05,
    power: float = 0.8,
) -> xr.Dataset:
    """Power to find that units answer more to one stimulus than to a control.

    Each unit contributes the difference of its mean responses, over repeats, to the two stimuli.
    The population's power is that of a one-sided one-sample t test of these differences; that of
    a single unit, of `rate` and `ratio`, is of a one-sided z test of its trials.

    Parameters
    ----------
    ratio : float
        Expected response to the stimulus over that to the control.
    n_unit, n_repeat : sequence of int
        To be looked at.
    rate : float
        Mean response of a unit to the control, in events (or whatever `fano` is measured in).
    fano : float
        Variance over repeats divided by the mean: 1 of Poisson counts.
    spread : float
        Standard deviation of the true ratio across units.
    alpha : float
        Level of the test.
    power : float
        Wanted, for `units_needed`.

    Returns
    -------
    xarray.Dataset
        `power` (n_repeat, n_unit); `least_ratio` (n_repeat, n_unit), the smallest ratio that is
        found with the power wanted; along `n_repeat`: `units_needed`, NaN where more than 100,000
        would be, and `unit_power`, of a single unit.

    Raises
    ------
    InputError
        If a number is out of range.

    Examples
    --------
    >>> float(plan_power(1.5).units_needed.sel(n_repeat=10))
    10.0

    """
    units, repeats = np.atleast_1d(n_unit), np.atleast_1d(n_repeat)
    if (
        min(ratio, rate, fano) <= 0
        or spread < 0
        or not (0 < alpha < 1 and alpha < power < 1)
        or units.min(initial=2) < 2
        or repeats.min(initial=1) < 1
    ):
        msg = (
            "`ratio`, `rate` and `fano` must be above 0, `spread` at least 0, `n_unit` at least "
            "2, `n_repeat` at least 1, and 0 < `alpha` < `power` < 1, but got "
            f"{ratio:g}, {rate:g}, {fano:g}, {spread:g}, {units.tolist()}, {repeats.tolist()}, "
            f"{alpha:g} and {power:g}."
        )
        raise InputError(msg)
    difference = (ratio - 1) * rate
    noise = fano * rate * (ratio + 1) / repeats  # variance of a unit's difference, by its trials
    deviation = np.sqrt((spread * rate) ** 2 + noise)
    found = _power(difference / deviation[:, None], units, alpha)
    needed = [_units_needed(difference / one, alpha, power) for one in deviation]
    single = stats.norm.sf(stats.norm.isf(alpha) - difference / np.sqrt(noise))
    effect = np.array([_effect_needed(n, alpha, power) for n in units])
    least = _ratio_of(effect, repeats[:, None], rate, fano, spread)
    return make_result(
        xr.Dataset(
            {
                "power": (
                    ("n_repeat", "n_unit"),
                    found,
                    {"long_name": "power over units", "units": "1"},
                ),
                "least_ratio": (
                    ("n_repeat", "n_unit"),
                    least,
                    {"long_name": f"least ratio found with a power of {power:g}", "units": "1"},
                ),
                "units_needed": (
                    "n_repeat",
                    needed,
                    {"long_name": f"units needed for a power of {power:g}", "units": "1"},
                ),
                "unit_power": (
                    "n_repeat",
                    single,
                    {"long_name": "power for a single unit", "units": "1"},
                ),
            },
            {
                "n_repeat": ("n_repeat", repeats, {"long_name": "repeats", "units": "1"}),
                "n_unit": ("n_unit", units, {"long_name": "units", "units": "1"}),
            },
        ),
        experiment="power",
        settings={
            "ratio": ratio, "rate": rate, "fano": fano, "spread": spread, "alpha": alpha,
            "power": power,
        },
    )  # fmt: skip


def measure_noise(
    observed: xr.Dataset, kind: str, control: str, *, expect: str = "most"
) -> xr.Dataset:
    """Tell what a session says about the noise that `plan_power` has to assume.

    Of each neuron the responses to its own stimulus of a kind and to its own control count.

    Parameters
    ----------
    observed : xarray.Dataset
        As of `compare_confusion`.
    kind, control : str
        Kinds of stimuli made for the same neurons.
    expect : {"most", "least"}
        Which should excite more: with "least" the control.

    Returns
    -------
    xarray.Dataset
        `rate`, the mean response over neurons to what should excite less; `ratio`, that to the
        other divided by it; `fano`, the variance over repeats divided by the mean, both summed
        over neurons and stimuli; `spread`, the standard deviation over neurons of the true
        difference in units of `rate`: the variance of the differences beyond what repeats
        explain, 0 where they explain all of it; and `n_measured`, how many neurons have both
        twice. All but `n_measured` are NaN where fewer than 3 neurons do, or where mean responses
        are not positive.

    """
    trials = []
    for one in (kind, control) if expect == "most" else (control, kind):
        name, _, stacked = own_repeats(observed, one)
        trials.append({unit: stacked[i, :, i] for i, unit in enumerate(name)})
    both = [unit for unit in trials[0] if unit in trials[1]]
    found = [[of[unit][np.isfinite(of[unit])] for of in trials] for unit in both]
    found = [pair for pair in found if min(map(len, pair)) > 1]
    rate = ratio = fano = spread = np.nan
    if len(found) > 2:
        mean = np.array([[one.mean() for one in pair] for pair in found])
        variance = np.array([[one.var(ddof=1) for one in pair] for pair in found])
        n_repeat = np.array([[len(one) for one in pair] for pair in found])
        high, low = mean.mean(0)
        if min(high, low) > 0:
            rate, ratio, fano = low, high / low, variance.sum() / mean.sum()
            by_trials = (variance / n_repeat).sum(1).mean()
            beyond = (mean[:, 0] - mean[:, 1]).var(ddof=1) - by_trials
            spread = np.sqrt(max(beyond, 0)) / rate
    words = {
        "rate": (rate, "mean response to what should excite less", "a.u."),
        "ratio": (ratio, "mean responses to what should excite more / less", "1"),
        "fano": (fano, "variance over repeats / mean", "a.u."),
        "spread": (spread, "deviation of the true difference over units / rate", "1"),
        "n_measured": (float(len(found)), "units with both stimuli twice", "1"),
    }
    return make_result(
        xr.Dataset(
            {
                name: ((), value, {"long_name": label, "units": units})
                for name, (value, label, units) in words.items()
            }
        ),
        experiment="noise",
        settings={"kind": kind, "control": control, "expect": expect},
    )


def plan_next(
    observed: xr.Dataset,
    controls: Sequence[str],
    kind: str = "mei",
    *,
    n_unit: int,
    n_repeat: int,
    expect: str = "most",
) -> xr.Dataset:
    """Plan the next session with the noise of this one.

    It is no power of this session: whether that found something its p values say, and a power
    computed from the effect it found would say no more. The effect is one chosen beforehand, a
    ratio of 1.3; only the noise is measured.

    Parameters
    ----------
    observed : xarray.Dataset
        As of `compare_confusion`.
    controls : sequence of str
        Kinds of stimuli made for the same neurons as those of `kind`.
    kind, expect : str
        As of `measure_noise`.
    n_unit, n_repeat : int
        Of this session: the numbers looked at lie around them.

    Returns
    -------
    xarray.Dataset
        What `plan_power` and `measure_noise` return, along `control`; NaN where there was too
        little to measure the noise.

    """
    plans, settings = [], {}
    for control in controls:
        noise = measure_noise(observed, kind, control, expect=expect)
        measured = {name: float(noise[name]) for name in ("rate", "fano", "spread")}
        # NaN is not larger than 0 either
        usable = measured["rate"] > 0 and measured["fano"] > 0
        found = plan_around(n_unit, n_repeat, **(measured if usable else {}))
        settings = json.loads(found.attrs["settings"])
        plans.append((found if usable else xr.full_like(found, np.nan)).assign(noise.data_vars))
    every = xr.concat(plans, "control").assign_coords(control=list(controls))
    return make_result(
        every,
        experiment="power",
        settings={name: settings[name] for name in KEPT_SETTINGS}
        | {"kind": kind, "expect": expect},
    )


def plan_around(n_unit: int, n_repeat: int, **assumed: float) -> xr.Dataset:
    """Plan for the smallest ratio, with numbers of units and repeats around those of a session.

    Parameters
    ----------
    n_unit, n_repeat : int
        Of the session; kept in the `settings` of the result.
    **assumed : float
        As of `plan_power`.

    Returns
    -------
    xarray.Dataset
        Of `plan_power`.

    """
    units = np.unique(np.round(n_unit * np.geomspace(0.1, 10, 17)).astype(int).clip(2))
    repeats = np.unique(np.round(n_repeat * np.array([0.5, 1, 2])).astype(int).clip(1))
    found = plan_power(SMALLEST_RATIO, n_unit=units.tolist(), n_repeat=repeats.tolist(), **assumed)
    around = {"n_unit": n_unit, "n_repeat": n_repeat}
    found.attrs["settings"] = json.dumps(
        json.loads(found.attrs["settings"]) | around, sort_keys=True
    )
    return found


def _effect_needed(n_unit: int, alpha: float, power: float) -> float:
    """Mean, in deviations, of differences of so many units that is found with a power."""

    def lacks(effect: float) -> float:
        return float(_power(effect, np.array(n_unit), alpha)) - power

    high = 1.0
    while lacks(high) < 0:
        high *= 2
    return float(optimize.brentq(lacks, 0, high))


def _ratio_of(
    effect: np.ndarray, n_repeat: np.ndarray, rate: float, fano: float, spread: float
) -> np.ndarray:
    """Ratio whose difference is an effect, in deviations that grow with the ratio."""
    by_trial = effect**2 * fano / (n_repeat * rate)
    excess: np.ndarray = by_trial / 2 + np.sqrt(
        by_trial**2 / 4 + effect**2 * spread**2 + 2 * by_trial
    )
    return 1 + excess


def _power(effect: np.ndarray | float, n_unit: np.ndarray, alpha: float) -> np.ndarray:
    """Of a one-sided t test of `n_unit` differences whose mean is `effect` deviations."""
    critical = stats.t.isf(alpha, n_unit - 1)
    found: np.ndarray = stats.nct.sf(critical, n_unit - 1, effect * np.sqrt(n_unit))
    return found


def _units_needed(effect: float, alpha: float, power: float) -> float:
    """Fewest units that reach a power, by bisection; NaN where too many would be needed."""
    low, high = 1, 2
    while _power(effect, np.array(high), alpha) < power:
        low, high = high, 2 * high
        if high > MOST_UNITS:
            return np.nan
    while high - low > 1:
        middle = (low + high) // 2
        if _power(effect, np.array(middle), alpha) < power:
            low = middle
        else:
            high = middle
    return float(high)
