"""Distributions of angles held against each other: preferred directions and orientations."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, make_result

__all__ = ["compare_angle_distributions", "kuiper_test"]

N_BIN = 12
CHUNK = 100  # permutations done at once


def kuiper_test(
    first: np.ndarray | xr.DataArray,
    second: np.ndarray | xr.DataArray,
    *,
    period: float = 360.0,
    n_permutation: int = 1000,
    seed: int = 0,
    job: Job | None = None,
) -> tuple[float, float]:
    r"""Test whether two sets of angles were drawn from one distribution, by Kuiper's statistic.

    That is :math:`V = \max_\theta (F_1 - F_2) - \min_\theta (F_1 - F_2)` of the cumulative
    distributions. Unlike the Kolmogorov-Smirnov statistic it does not depend on where on the
    circle one begins to accumulate, and is as sensitive everywhere on it.

    Parameters
    ----------
    first, second : array of shape (n,)
        In degrees; whole periods do not matter. NaN is left out.
    period : float
        360 for directions, 180 for orientations.
    n_permutation : int
        Times the angles are dealt to the two sets at random: p is at least
        1 / (`n_permutation` + 1). Ties are treated as what they are.
    seed : int
    job : Job, optional

    Returns
    -------
    statistic : float
        0 to 1.
    p_value : float
        Share of the dealings, the one found among them, with as large a statistic.

    Raises
    ------
    InputError
        If a setting is out of range or a set has fewer than two angles.

    References
    ----------
    Kuiper (1960), Indagationes Mathematicae 22: 38-47; Stephens (1965), Biometrika 52: 309-321.

    Examples
    --------
    >>> kuiper_test(np.arange(0, 90, 10), np.arange(180, 270, 10), n_permutation=99)
    (1.0, 0.01)

    """
    if not period > 0 or n_permutation < 1:
        msg = (
            "`period` must be above 0 and `n_permutation` at least 1, but they are "
            f"{period:g} and {n_permutation}."
        )
        raise InputError(msg)
    sets = [_finite(angles) % period for angles in (first, second)]
    n = [len(angles) for angles in sets]
    if min(n) < 2:
        msg = f"Kuiper's test needs 2 or more angles in each set, but there are {n[0]} and {n[1]}."
        raise InputError(msg)
    job = job or Job()
    pooled = np.concatenate(sets)
    order = np.argsort(pooled, kind="stable")
    # The cumulative distributions are compared where all of a tie are counted.
    ends = np.flatnonzero(np.diff(pooled[order], append=np.inf) > 0)
    step = np.repeat([1 / n[0], -1 / n[1]], n)

    def statistic(steps: np.ndarray) -> np.ndarray:
        difference = steps.cumsum(-1)[..., ends]
        return np.asarray(difference.max(-1) - difference.min(-1))

    found = float(statistic(step[order]))
    rng = np.random.default_rng(check_seed(seed))
    as_large = 0
    for start in range(0, n_permutation, CHUNK):
        job.report(start / n_permutation, f"permutation {start} of {n_permutation}")
        size = min(CHUNK, n_permutation - start)
        dealt = rng.permuted(np.broadcast_to(step, (size, len(step))), axis=1)
        as_large += int((statistic(dealt) >= found - 1e-12).sum())
    return min(found, 1.0), (1 + as_large) / (1 + n_permutation)


def compare_angle_distributions(
    in_silico: np.ndarray | xr.DataArray,
    in_vivo: np.ndarray | xr.DataArray,
    *,
    period: float,
    n_permutation: int = 1000,
    seed: int = 0,
    job: Job | None = None,
) -> xr.Dataset:
    """How alike preferred angles are distributed across neurons of a twin and of an animal.

    For what has an order, as `osi` has, see `compare_tuning_distributions`, whose caveats hold
    here as well. The two must count angles alike: from the same axis and in the same sense.

    Parameters
    ----------
    in_silico, in_vivo : array of shape (n,)
        Such as `preferred_direction`, in degrees. The neurons need not be the same ones; those
        with NaN are left out and counted.
    period : float
        360 for directions, 180 for orientations.
    n_permutation, seed, job
        See `kuiper_test`.

    Returns
    -------
    xarray.Dataset
        `kuiper_statistic` and `kuiper_p`; `wasserstein`, the mean angle by which the one
        distribution must be moved, on the shorter way round, to become the other; along `source`
        (in silico, in vivo) `mean_angle`, `resultant` (length of the mean vector: 0 for angles
        all around, 1 for one angle), `n_defined`, `n_undefined`; and along `angle` too `share`
        of the neurons in each of 12 bins, centred there.

    Raises
    ------
    InputError
        If a setting is out of range or a source has too few angles.

    References
    ----------
    Kuiper (1960), Indagationes Mathematicae 22: 38-47; Rabin, Delon & Gousseau (2011), Journal of
    Mathematical Imaging and Vision 41: 147-167.

    """
    statistic, p_value = kuiper_test(
        in_silico, in_vivo, period=period, n_permutation=n_permutation, seed=seed, job=job
    )
    sources = {"in silico": np.asarray(in_silico), "in vivo": np.asarray(in_vivo)}
    angles = [_finite(values) % period for values in sources.values()]
    means = [np.exp(2j * np.pi * own / period).mean() for own in angles]
    # Bins are centred on 0, so that a preference for an axis is not cut in two.
    width = period / N_BIN
    counts = [
        np.bincount(np.round(own / width).astype(int) % N_BIN, minlength=N_BIN) for own in angles
    ]
    lost = [values.size - len(own) for values, own in zip(sources.values(), angles, strict=True)]
    one, degrees = {"units": "1"}, {"units": "deg"}
    result = xr.Dataset(
        {
            "kuiper_statistic": ((), statistic, _words("Kuiper's V") | one),
            "kuiper_p": ((), p_value, _words("p value of Kuiper's test, by permutation") | one),
            "wasserstein": (
                (),
                _circular_distance(angles[0], angles[1], period),
                _words("Wasserstein distance on the circle") | degrees,
            ),
            "mean_angle": (
                "source",
                np.angle(means) / (2 * np.pi) * period % period,
                _words("circular mean") | degrees,
            ),
            "resultant": ("source", np.abs(means), _words("length of the mean vector") | one),
            "n_defined": (
                "source",
                [len(own) for own in angles],
                _words("neurons whose angle is defined") | one,
            ),
            "n_undefined": ("source", lost, _words("neurons left out, angle undefined") | one),
            "share": (
                ("source", "angle"),
                np.stack([count / count.sum() for count in counts]),
                _words("share of neurons") | one,
            ),
        },
        {
            "source": list(sources),
            "angle": ("angle", np.arange(N_BIN) * width, _words("preferred angle") | degrees),
        },
    )
    return make_result(
        result,
        experiment="angle_comparison",
        seed=seed,
        settings={"period": period, "n_permutation": n_permutation},
        source="Kuiper (1960), Indagationes Mathematicae 22: 38-47",
    )


def _finite(values: np.ndarray | xr.DataArray) -> np.ndarray:
    every = np.asarray(values, np.float64).ravel()
    return every[np.isfinite(every)]


def _words(long_name: str) -> dict[str, Any]:
    return {"long_name": long_name}


def _circular_distance(first: np.ndarray, second: np.ndarray, period: float) -> float:
    """Wasserstein-1 distance: area between the cumulative distributions, less their best offset.

    Where on the circle one begins adds a constant to their difference; the best is its median.
    """
    pooled = np.concatenate([first, second])
    step = np.repeat([1 / len(first), -1 / len(second)], [len(first), len(second)])
    order = np.argsort(pooled)
    difference = step[order].cumsum()
    length = np.diff(pooled[order], append=pooled.min() + period)
    rising = np.argsort(difference)
    middle = int(np.searchsorted(length[rising].cumsum(), period / 2))
    offset = difference[rising][min(middle, len(rising) - 1)]
    return float((length * np.abs(difference - offset)).sum())
