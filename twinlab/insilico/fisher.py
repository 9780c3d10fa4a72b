"""Fisher information: how finely responses tell neighbouring stimuli apart."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import xarray as xr
from scipy.optimize import brentq
from scipy.stats import ncf

from twinlab.insilico.responses import Neurons, chosen_positions, neuron_labels, provenance
from twinlab.insilico.series import FEATURES, Grating, count_phases, draw_series, respond
from twinlab.jobs import Job
from twinlab.schema import InputError, make_result
from twinlab.twins import ConditionedTwin

__all__ = [
    "linear_fisher_information",
    "measure_fisher_information",
    "measure_recorded_fisher_information",
]

SOURCE = "Kanitscheider et al. (2015), PLOS Computational Biology 11: e1004218"


def linear_fisher_information(
    first: np.ndarray, second: np.ndarray, difference: float, *, confidence: float = 0.95
) -> dict[str, float]:
    r"""Linear Fisher information from recorded trials of two stimuli, without bias.

    With the difference of means :math:`\Delta` over :math:`\delta` in the stimulus, and the pooled
    covariance S of n and m trials with :math:`\nu = n + m - 2` degrees of freedom,

    .. math:: \hat I = \frac{1}{\delta^2} \left[
        \Delta^\top S^{-1} \Delta \, \frac{\nu - N - 1}{\nu} - N \left(\frac1n + \frac1m\right)
        \right]

    estimates :math:`f'^\top \Sigma^{-1} f'` of N neurons. Without the two corrections it is far
    too large: the inverse of a covariance from few trials is, and noise in the means looks like
    a difference. The interval is exact for Gaussian responses (noncentral F).

    Parameters
    ----------
    first, second : ndarray of shape (n_trial, n_neuron)
        Responses to the two stimuli; finite.
    difference : float
        Between the two stimuli, in their units.
    confidence : float
        Probability of the interval.

    Returns
    -------
    dict of float
        `information`, per squared unit of the stimulus (may be negative by chance); `lower` and
        `upper` of the interval; `naive`, without corrections; `shuffled`, that of the same
        neurons without their noise correlations; `n_used`, the number of neurons these are of.
        A neuron that is constant for both stimuli has no variance, and is not used. NaN where
        there are too few trials (n + m <= N + 3, with N those used), or no neuron is used.

    Raises
    ------
    InputError
        If the difference is 0, the neurons differ in number, or there are fewer than 2 trials.

    References
    ----------
    Kanitscheider, Coen-Cagli, Kohn & Pouget (2015), PLOS Computational Biology 11: e1004218.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> first, second = rng.standard_normal((2, 500, 3)) + np.array([0, 1])[:, None, None]
    >>> round(linear_fisher_information(first, second, 1.0)["information"], 1)  # truly 3
    2.9

    """
    if not difference or first.shape[1:] != second.shape[1:] or min(len(first), len(second)) < 2:
        msg = (
            "Fisher information needs two different stimuli and at least 2 trials of the same "
            f"neurons for each, but got a difference of {difference:g} and responses of shape "
            f"{first.shape} and {second.shape}."
        )
        raise InputError(msg)
    used = _vary(first, second)
    first, second = first[:, used], second[:, used]
    n_neuron = first.shape[1]
    freedom = len(first) + len(second) - 2
    noise = 1 / len(first) + 1 / len(second)
    delta = second.mean(0) - first.mean(0)
    residual = np.concatenate([first - first.mean(0), second - second.mean(0)])
    variance = (residual**2).sum(0) / freedom
    found = dict.fromkeys(("information", "lower", "upper", "naive", "shuffled"), np.nan)
    found["n_used"] = float(n_neuron)
    if not n_neuron:
        return found
    single = _correct(delta**2 / variance, 1, freedom, noise)
    found["shuffled"] = float(single.sum() / difference**2)
    if freedom > n_neuron + 1:
        distance = float(delta @ np.linalg.solve(residual.T @ residual / freedom, delta))
        lower, upper = _interval(distance, n_neuron, freedom, noise, confidence)
        found |= {
            "information": float(_correct(np.asarray(distance), n_neuron, freedom, noise))
            / difference**2,
            "lower": lower / difference**2,
            "upper": upper / difference**2,
            "naive": distance / difference**2,
        }
    return found


def _vary(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Neurons that are not constant for both stimuli; a variance would have rounding in it."""
    return (np.ptp(first, axis=0) > 0) | (np.ptp(second, axis=0) > 0)


def _correct(distance: np.ndarray, n_neuron: int, freedom: int, noise: float) -> np.ndarray:
    """Squared Mahalanobis distance of the true means, from that of the estimated ones."""
    if freedom <= n_neuron + 1:
        return distance * np.nan
    return distance * (freedom - n_neuron - 1) / freedom - n_neuron * noise


def _interval(
    distance: float, n_neuron: int, freedom: int, noise: float, confidence: float
) -> tuple[float, float]:
    """Interval of the true squared distance: Hotelling's statistic is noncentral F."""
    below = freedom - n_neuron + 1
    statistic = distance / noise * below / (freedom * n_neuron)

    def solve(probability: float) -> float:
        def excess(shift: float) -> float:
            return float(ncf.cdf(statistic, n_neuron, below, shift)) - probability

        if excess(1e-9) <= 0:  # even no difference makes one this small too rarely
            return 0.0
        high = 10.0 * (statistic * n_neuron + n_neuron + 10)
        while excess(high) > 0:
            high *= 2
        return float(brentq(excess, 1e-9, high, rtol=1e-6)) * noise

    tail = (1 - confidence) / 2
    return solve(1 - tail), solve(tail)


def measure_recorded_fisher_information(
    response: xr.DataArray,
    value: np.ndarray,
    *,
    units: str = "deg",
    confidence: float = 0.95,
    job: Job | None = None,
) -> xr.Dataset:
    """Linear Fisher information of recorded neurons about a feature of the stimulus.

    Trials of each two neighbouring values of the feature are compared; see
    `linear_fisher_information` for the definition and the corrections.

    Parameters
    ----------
    response : xarray.DataArray
        (trial, neuron), as the `response` of a recording. Trials in which a neuron has no
        response are left out for all.
    value : ndarray of shape (n_trial,)
        The feature in each trial.
    units : str
        Units of `value`.
    confidence : float
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        Along `value`, midway between neighbours: `population_information`, `_interval` (bound),
        `_naive` and `_shuffled`, and `discrimination_threshold` (where d' is 1). `information`
        (neuron, value) of each neuron alone. NaN where there are too few trials for as many
        neurons. The population's is that of the `n_used` (value) neurons that vary in the trials
        of one of the two neighbours; `valid` (neuron) is 0 for those that never change.

    Raises
    ------
    InputError
        If there are fewer than two values, or fewer than two trials of one.

    """
    job = job or Job()
    responses, value = complete_trials(response, np.asarray(value))
    values = np.unique(value)
    if len(values) < 2:
        msg = f"`value` must have at least two different values, but has {len(values)}."
        raise InputError(msg)
    changes = np.ptp(responses, axis=0) > 0
    names = ("information", "lower", "upper", "naive", "shuffled", "n_used")
    population = np.full((len(names), len(values) - 1), np.nan)
    alone = np.full((responses.shape[1], len(values) - 1), np.nan)
    for k, (low, high) in enumerate(zip(values[:-1], values[1:], strict=True)):
        job.report(k / (len(values) - 1), f"{low:g} against {high:g}")
        first, second = responses[value == low], responses[value == high]
        found = linear_fisher_information(first, second, high - low, confidence=confidence)
        population[:, k] = [found[name] for name in names]
        alone[:, k] = _alone(first, second) / (high - low) ** 2
    labels = xr.Dataset(
        coords={
            name: coord.variable
            for name, coord in response.coords.items()
            if coord.dims == ("neuron",)
        }
    )
    middle = (values[:-1] + values[1:]) / 2
    result = _label(labels, middle, "feature", units, alone, population[0], changes)
    extra = {
        "population_information_interval": (
            ("value", "bound"),
            population[1:3].T,
            {"long_name": f"interval of the population's information ({confidence:g})"},
        ),
        "population_information_naive": (
            "value",
            population[3],
            {"long_name": "population's information, bias not corrected"},
        ),
        "population_information_shuffled": (
            "value",
            population[4],
            {"long_name": "population's information without noise correlations"},
        ),
    }
    for _, _, attrs in extra.values():
        attrs["units"] = _per_square(units)
    extra["n_used"] = (
        "value",
        population[5],
        {"long_name": "neurons in the population's information", "units": "1"},
    )
    return make_result(
        result.assign(extra).assign_coords(bound=["lower", "upper"]),
        experiment="fisher_information",
        settings={"n_trial": len(value), "confidence": confidence},
        source=SOURCE,
    )


def _per_square(units: str) -> str:
    if units == "1":
        return units
    return f"1/({units})^2" if "/" in units else f"1/{units}^2"


def _alone(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Corrected squared d' of each neuron by itself."""
    freedom = len(first) + len(second) - 2
    variance = (first.var(0) * len(first) + second.var(0) * len(second)) / freedom
    varies = _vary(first, second)
    distance = (second.mean(0) - first.mean(0)) ** 2 / np.where(varies, variance, np.nan)
    return np.asarray(_correct(distance, 1, freedom, 1 / len(first) + 1 / len(second)))


def complete_trials(response: xr.DataArray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Responses (trial, neuron) and values of the trials that lack no response."""
    if response.dims != ("trial", "neuron") or value.shape != response.shape[:1]:
        msg = (
            "`response` must be (trial, neuron) with one `value` a trial, but has "
            f"{response.dims} of shape {response.shape}, with values of shape {value.shape}."
        )
        raise InputError(msg)
    responses = response.values.astype(np.float64)
    complete = np.isfinite(responses).all(1) & np.isfinite(value)
    if not complete.any():
        msg = (
            "No trial has a response of every neuron; choose neurons that were recorded together."
        )
        raise InputError(msg)
    return responses[complete], value[complete]


def measure_fisher_information(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    feature: str = "orientation",
    low: float = 0.0,
    high: float = 168.75,
    n_value: int = 16,
    step: float = 1.0,
    orientation: float = 90.0,
    spatial_frequency: float = 0.08,
    phase: float = 0.0,
    contrast: float = 0.8,
    n_phase: int | None = None,
    noise: str = "poisson",
    batch_size: int = 64,
    job: Job | None = None,
) -> xr.Dataset:
    r"""Fisher information of a twin's neurons about a feature of a full-field grating.

    A twin predicts means f, and says of each neuron by itself how responses vary around them.
    Its linear Fisher information is therefore a sum over neurons,
    :math:`\sum_i f_i'^2 / \sigma_i^2`; with Poisson noise :math:`\sum_i f_i'^2 / f_i`. It is an
    upper bound to what an animal has, whose neurons share noise. The derivative is that of a
    central difference.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    feature : {"orientation", "spatial_frequency", "phase", "contrast"}
        What changes.
    low, high : float
        First and last value of the feature.
    n_value : int
        Evenly spaced values.
    step : float
        Difference over which the derivative is taken, in units of the feature.
    orientation, spatial_frequency, phase, contrast : float
        Of the grating (deg, cycles per pixel, deg at the middle of the image, Michelson);
        that of `feature` is not used.
    n_phase : int, optional
        Evenly spaced phases from `phase` on that are averaged; 32 where absent, or 1 where the
        phase is the feature. 1 is a grating that stands still.
    noise : {"poisson", "likelihood"}
        Poisson around the predicted mean, which is right for responses that are counts; or by
        the likelihood that the twin was fitted with.
    batch_size : int
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `information` (neuron, value), NaN where the variance is 0; `population_information` and
        `discrimination_threshold` (value), where d' is 1; `valid` (neuron), 0 where the
        response never changes.

    Raises
    ------
    InputError
        If a setting is out of range, the twin has no likelihood, or rates are negative under
        Poisson noise.

    References
    ----------
    Abbott & Dayan (1999), Neural Computation 11: 91-101.

    """
    if n_value < 1 or not step > 0 or not low <= high:
        msg = (
            "`n_value` must be at least 1, `step` positive and `low` not above `high`, but they "
            f"are {n_value}, {step:g}, {low:g} and {high:g}."
        )
        raise InputError(msg)
    positions = chosen_positions(len(twin), neurons)
    base = Grating(orientation, spatial_frequency, phase, contrast)
    values = np.linspace(low, high, n_value)
    three = (values[:, None] + np.array([-step / 2, 0, step / 2])).ravel()
    count = count_phases(n_phase, still=feature == "phase")
    images = draw_series(twin.spec, feature, three, base, count).values
    mean, variance = respond(
        twin.neurons(positions), images, noise, batch_size, job or Job(), count
    )
    before, _, after = mean.reshape(n_value, 3, -1).transpose(1, 0, 2)
    variance = variance.reshape(n_value, 3, -1)[:, 1]
    slope = (after - before) / step
    information = (slope**2 / np.where(variance > 0, variance, np.nan)).T
    changes = np.ptp(mean, axis=0) > 0
    result = _label(
        neuron_labels(twin, positions),
        values,
        feature.replace("_", " "),
        FEATURES[feature],
        information,
        np.nansum(information, axis=0),
        changes,
    )
    return make_result(
        result,
        experiment="fisher_information",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        settings={
            "feature": feature,
            "low": low,
            "high": high,
            "n_value": n_value,
            "step": step,
            **asdict(base),
            "n_phase": count,
            "noise": noise,
            **provenance(twin),
        },
        source="Abbott & Dayan (1999), Neural Computation 11: 91-101",
    )


def _label(
    labels: xr.Dataset,
    values: np.ndarray,
    feature: str,
    units: str,
    information: np.ndarray,
    population: np.ndarray,
    changes: np.ndarray,
) -> xr.Dataset:
    """Dataset of what recorded and predicted information have in common."""
    per = {"units": _per_square(units)}
    threshold = 1 / np.sqrt(np.where(population > 0, population, np.nan))
    return labels.assign_coords(
        value=("value", values, {"long_name": feature, "units": units})
    ).assign(
        information=(
            ("neuron", "value"),
            information,
            {"long_name": "Fisher information of one neuron"} | per,
        ),
        population_information=(
            "value",
            population,
            {"long_name": "Fisher information of the population"} | per,
        ),
        discrimination_threshold=(
            "value",
            threshold,
            {"long_name": "difference at which d' is 1", "units": units},
        ),
        valid=(
            "neuron",
            changes.astype(np.int8),
            {"long_name": "1 where the response changes", "units": "1"},
        ),
    )
