"""Bootstrap intervals of tuning indices, and in-silico tuning held against in-vivo tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr
from scipy import stats

from twinlab.schema import InputError, check_seed, make_result

__all__ = ["bootstrap_tuning", "compare_tuning_distributions"]

LEVELS = np.linspace(0, 1, 101)
CHUNK = 50  # resamplings held at once


def bootstrap_tuning(
    curves: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    paired: bool = False,
) -> np.ndarray:
    """Percentile bootstrap interval of an index of tuning curves, over their repeats.

    The interval covers what varies between the repeats and nothing else. Repeats are trials
    of a recording (trial-to-trial noise, resampled within each stimulus), or members of an
    ensemble (how far refits agree: no noise of the neurons, and too narrow where there are
    few). A twin alone answers the same each time and has none.

    Parameters
    ----------
    curves : ndarray of shape (repeat, ..., n_point)
        Missing repeats are NaN.
    statistic : callable
        From mean curves (..., n_point) to an index (...).
    n_bootstrap : int
        Resamplings.
    confidence : float
        Share of resamplings between the bounds.
    seed : int
    paired : bool
        Whether a repeat is a whole curve that stays together, as that of an ensemble's
        member does; else each point is resampled by itself, as trials are.

    Returns
    -------
    ndarray of shape (2, ...)
        Lower and upper bound; NaN where there are fewer than two repeats.

    Raises
    ------
    InputError
        If a setting is out of range.

    References
    ----------
    Efron & Tibshirani (1993), An Introduction to the Bootstrap.

    """
    if n_bootstrap < 1 or not 0 < confidence < 1:
        msg = (
            "`n_bootstrap` must be at least 1 and `confidence` between 0 and 1, but got "
            f"{n_bootstrap} and {confidence}."
        )
        raise InputError(msg)
    curves = np.asarray(curves, np.float64)
    n_repeat, n_point = len(curves), curves.shape[-1]
    enough = np.isfinite(curves).sum(0).min(-1) >= 2
    if n_repeat < 2 or not enough.any():
        return np.full((2, *curves.shape[1:-1]), np.nan)
    generator = np.random.default_rng(check_seed(seed))
    present = np.isfinite(curves)
    filled = np.where(present, curves, 0)
    found = []
    # Resampling is drawing how often each repeat counts.
    for _ in range(n_bootstrap):
        shape = (1,) if paired else (n_point,)
        count = generator.multinomial(n_repeat, np.full(n_repeat, 1 / n_repeat), size=shape)
        weight = count.T.reshape(n_repeat, *[1] * (curves.ndim - 2), -1)
        total = (weight * present).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (weight * filled).sum(0) / np.where(total > 0, total, np.nan)
        found.append(statistic(mean))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    stacked = np.stack(found)
    some = np.isfinite(stacked).any(0) & enough
    bounds = np.full((2, *some.shape), np.nan)
    bounds[:, some] = np.nanquantile(stacked[:, some], tails, axis=0)
    return bounds


def compare_tuning_distributions(
    in_silico: Mapping[str, np.ndarray] | xr.Dataset,
    in_vivo: Mapping[str, np.ndarray] | xr.Dataset,
    *,
    names: Sequence[str] = (),
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """How alike indices of tuning are distributed across neurons of a twin and of an animal.

    The neurons need not be the same ones. Neurons whose index is undefined are left out and
    counted. Intervals are bootstraps over neurons: they cover the sampling of neurons, not
    that neurons of one animal resemble each other, nor the noise of each index. That noise
    widens the distribution in vivo, and raises indices that cannot be negative, which the
    twin does not have: a difference here is not by itself a fault of the twin.

    Parameters
    ----------
    in_silico, in_vivo : Dataset or mapping of str to ndarray of shape (n,)
        Indices such as `osi` and `dsi`.
    names : sequence of str
        Indices compared; all that both have along one dimension where absent. Angles have no
        order and are refused: see `compare_angle_distributions`.
    n_bootstrap : int
    confidence : float
    seed : int

    Returns
    -------
    xarray.Dataset
        Along `index`: Kolmogorov-Smirnov `ks_statistic` and `ks_p`, Wasserstein distance
        `wasserstein`; `median_difference` (in silico minus in vivo) and its interval; along
        `source` (in silico, in vivo) too `median`, `median_interval`, `n_defined`,
        `n_undefined`, and the whole distribution as `quantile` (level).

    Raises
    ------
    InputError
        If there is nothing to compare, an index is an angle, or a source has too few values.

    """
    sources = {"in silico": in_silico, "in vivo": in_vivo}
    shared = [str(name) for name in in_silico if name in in_vivo]
    chosen = list(names) or [name for name in shared if _is_index(in_silico[name])]
    if not chosen:
        msg = (
            f"There is no index to compare: in silico has {sorted(map(str, in_silico))}, in vivo "
            f"{sorted(map(str, in_vivo))}."
        )
        raise InputError(msg)
    generator = np.random.default_rng(check_seed(seed))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    rows: dict[str, list[np.ndarray]] = {}
    for name in chosen:
        values, lost = [], []
        for source, given in sources.items():
            if name not in given:
                msg = f"`{name}` is missing {source}, which has {sorted(map(str, given))}."
                raise InputError(msg)
            if getattr(given[name], "attrs", {}).get("units") == "deg":
                msg = f"`{name}` is an angle, which has no order; use compare_angle_distributions."
                raise InputError(msg)
            every = np.asarray(given[name], np.float64).ravel()
            finite = every[np.isfinite(every)]
            if len(finite) < 2:
                msg = f"`{name}` is defined for {len(finite)} neurons {source}; it takes 2."
                raise InputError(msg)
            values.append(finite)
            lost.append(len(every) - len(finite))
        resampled = np.stack([_medians(v, n_bootstrap, generator) for v in values])
        test = stats.ks_2samp(*values, method="auto")
        medians = np.array([np.median(v) for v in values])
        found = {
            "ks_statistic": test.statistic,
            "ks_p": test.pvalue,
            "wasserstein": stats.wasserstein_distance(*values),
            "median_difference": medians[0] - medians[1],
            "median_difference_interval": np.quantile(resampled[0] - resampled[1], tails),
            "median": medians,
            "median_interval": np.quantile(resampled, tails, axis=1).T,
            "n_defined": [len(v) for v in values],
            "n_undefined": lost,
            "quantile": [np.quantile(v, LEVELS) for v in values],
        }
        for key, value in found.items():
            rows.setdefault(key, []).append(np.asarray(value))
    dims = {
        "median_difference_interval": ("bound",),
        "median": ("source",),
        "median_interval": ("source", "bound"),
        "n_defined": ("source",),
        "n_undefined": ("source",),
        "quantile": ("source", "level"),
    }
    long_names = {
        "ks_statistic": "largest difference of the cumulative distributions (KS)",
        "ks_p": "p value of the Kolmogorov-Smirnov test",
        "wasserstein": "Wasserstein distance",
        "median_difference": "median in silico minus in vivo",
        "median_difference_interval": "interval of the difference, bootstrap over neurons",
        "median": "median over neurons",
        "median_interval": "interval of the median, bootstrap over neurons",
        "n_defined": "neurons whose index is defined",
        "n_undefined": "neurons left out, index undefined",
        "quantile": "value of the index",
    }
    result = xr.Dataset(
        {
            key: (
                ("index", *dims.get(key, ())),
                np.stack(value),
                {"long_name": long_names[key], "units": "1"},
            )
            for key, value in rows.items()
        },
        {
            "index": chosen,
            "source": list(sources),
            "bound": ["lower", "upper"],
            "level": ("level", LEVELS, {"long_name": "share of neurons", "units": "1"}),
        },
    )
    return make_result(
        result,
        experiment="tuning_comparison",
        twin=str(getattr(in_silico, "attrs", {}).get("twin", "")),
        recording=str(getattr(in_vivo, "attrs", {}).get("recording", "")),
        seed=seed,
        settings={"names": chosen, "n_bootstrap": n_bootstrap, "confidence": confidence},
    )


def _is_index(values: np.ndarray | xr.DataArray) -> bool:
    """Whether these are numbers of neurons, and not angles."""
    angle = getattr(values, "attrs", {}).get("units") == "deg"
    return (
        np.ndim(values) == 1 and not angle and np.issubdtype(np.asarray(values).dtype, np.floating)
    )


def _medians(values: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Medians of resampled values, (count,), without holding every resampling.

    The rank of the median of a resampling, in the sorted values, is all that varies: it is the
    median of n uniform draws, a beta variate.
    """
    n = len(values)
    place = generator.beta((n + 1) / 2, (n + 1) / 2, count) * n
    return np.sort(values)[np.minimum(place.astype(int), n - 1)]
