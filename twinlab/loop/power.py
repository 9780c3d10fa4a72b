"""How many units and repeats an effect needs, before anything is recorded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy import stats

from twinlab.schema import InputError, make_result

__all__ = ["plan_power"]

MOST_UNITS = 100_000


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
        `power` (n_repeat, n_unit); along `n_repeat`: `units_needed`, NaN where more than 100,000
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
    return make_result(
        xr.Dataset(
            {
                "power": (
                    ("n_repeat", "n_unit"),
                    found,
                    {"long_name": "power over units", "units": "1"},
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
