"""Neurometric curves: how well responses tell two stimuli apart, against their difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from twinlab.insilico.fisher import complete_trials
from twinlab.insilico.psychometric import (
    CURVES,
    bootstrap_roc_areas,
    fit_threshold,
    predict_correct,
    roc_area,
)
from twinlab.insilico.responses import Neurons, chosen_positions, neuron_labels, provenance
from twinlab.insilico.series import (
    FEATURES,
    NOISES,
    Grating,
    check_choice,
    count_phases,
    draw_series,
    respond,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, make_result
from twinlab.twins import ConditionedTwin, response_distribution

__all__ = ["measure_neurometric", "measure_recorded_neurometric"]

SOURCE = "Britten et al. (1992), Journal of Neuroscience 12: 4745-4765"
N_FINE = 40  # points of a fitted curve
TAIL = 2.5  # percent on each side of an interval
RIDGES = np.logspace(-3, 3, 7)  # in mean eigenvalues of the scatter of the responses


@dataclass(frozen=True)
class _Pair:
    """Trials of the reference and of another stimulus: each neuron's, and the population's.

    The evidence of the population is one number a trial, above 0 for the other stimulus.
    """

    first: np.ndarray  # (trial, neuron)
    second: np.ndarray
    evidence: tuple[np.ndarray, np.ndarray]  # of the reference's trials, and of the other's


def measure_neurometric(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    feature: str = "orientation",
    max_difference: float = 20.0,
    n_difference: int = 8,
    orientation: float = 90.0,
    spatial_frequency: float = 0.08,
    phase: float = 0.0,
    contrast: float = 0.8,
    n_phase: int | None = None,
    noise: str = "poisson",
    n_trial: int = 200,
    curve: str = "weibull",
    n_bootstrap: int = 100,
    seed: int = 0,
    batch_size: int = 64,
    job: Job | None = None,
) -> xr.Dataset:
    r"""Neurometric curves of a twin: gratings told apart by one neuron, and by all of them.

    Single responses are drawn around the predicted mean. An ideal observer compares two
    gratings that differ in `feature`: by one neuron's response (ROC area), and by the
    likelihood ratio of the responses of all neurons, which vary independently of each other.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent. They form the population.
    feature : {"orientation", "spatial_frequency", "phase", "contrast"}
        In what the two gratings differ. The other has the larger value.
    max_difference : float
        Largest difference, in units of the feature (deg, cycles per pixel, deg, Michelson).
    n_difference : int
        Differences, spaced logarithmically over a factor of 20.
    orientation, spatial_frequency, phase, contrast : float
        Of the reference grating; its phase is that at the middle of the image.
    n_phase : int, optional
        Evenly spaced phases from `phase` on over which predicted means are averaged, as while
        a grating drifts by: what tells two orientations apart is else mostly the phase at a
        neuron's receptive field, which rotation moves. 32 where absent, or 1, a grating that
        stands still, where the phase is the feature or single responses are drawn by the
        likelihood.
    noise : {"poisson", "likelihood"}
        Poisson around the predicted mean, which is right for responses that are counts; or by
        the likelihood that the twin was fitted with.
    n_trial : int
        Responses drawn to each grating.
    curve : {"weibull", "gaussian"}
        What is fitted; see `fit_threshold`.
    n_bootstrap : int
        Times the trials are resampled for the intervals of the thresholds (95 %).
    seed : int
    batch_size : int
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        Of each neuron and of the population (names begin with `population_`): `roc_area`
        (difference), the share correct when one response to each grating is compared;
        `fitted_curve` (fine_difference); `threshold` and `slope`, NaN where 0.75 is not passed
        among the differences, either since it is never reached or (`threshold_below` 1) since
        the smallest is already above it; `threshold_interval` (bound), an end NaN where more
        than 2.5 % of the resamples do not pass it on that side. A neuron that prefers the
        reference has its area mirrored about 0.5: `sign` (neuron) is -1. `population_correct`
        (difference) is the share correct when one response alone is to be named. `valid`
        (neuron) is 0 where the drawn responses never change.

    Raises
    ------
    InputError
        If a setting is out of range, the twin has no likelihood, or rates are negative under
        Poisson noise.

    References
    ----------
    Britten et al. (1992), Journal of Neuroscience 12: 4745-4765; Stringer et al. (2021), Cell
    184: 2767-2778.

    """
    least = {"n_difference": 3, "n_trial": 2, "n_bootstrap": 1}
    given = {"n_difference": n_difference, "n_trial": n_trial, "n_bootstrap": n_bootstrap}
    wrong = [f"`{name}` at least {least[name]}" for name in least if given[name] < least[name]]
    if wrong or not max_difference > 0:
        wrong += [] if max_difference > 0 else ["`max_difference` above 0"]
        msg = f"A neurometric curve needs {' and '.join(wrong)}."
        raise InputError(msg)
    check_choice("curve", curve, CURVES)
    check_choice("noise", noise, NOISES)
    job = job or Job()
    positions = chosen_positions(len(twin), neurons)
    base = Grating(orientation, spatial_frequency, phase, contrast)
    difference = np.geomspace(max_difference / 20, max_difference, n_difference)
    check_choice("feature", feature, FEATURES)
    values = getattr(base, feature) + np.append(0.0, difference)
    count = count_phases(n_phase, still=feature == "phase" or noise == "likelihood")
    images = draw_series(twin.spec, feature, values, base, count).values
    rng = np.random.default_rng(check_seed(seed))
    own, part = twin.neurons(positions), job.part(0.0, 0.3)
    if noise == "poisson":
        mean, _ = respond(own, images, noise, batch_size, part, count)
        pairs = _draw_poisson(mean, n_trial, rng)
    else:
        pairs = _draw_likelihood(own, images, n_trial, rng, part)
    result = _summarise(pairs, difference, curve, n_bootstrap, rng, job.part(0.3, 1.0))
    return make_result(
        _label(neuron_labels(twin, positions), result, difference, FEATURES[feature], feature),
        experiment="neurometric",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={
            "feature": feature,
            **asdict(base),
            "n_phase": count,
            "max_difference": max_difference,
            "n_difference": n_difference,
            "noise": noise,
            "n_trial": n_trial,
            "curve": curve,
            "n_bootstrap": n_bootstrap,
            **provenance(twin),
        },
        source=SOURCE,
    )


def _draw_poisson(mean: np.ndarray, n_trial: int, rng: np.random.Generator) -> Iterator[_Pair]:
    """Poisson counts, and the logarithm of the ratio of their probabilities."""
    shape = (n_trial, mean.shape[1])
    first = rng.poisson(mean[0], shape)
    for other in mean[1:]:
        second = rng.poisson(other, shape)
        evidence = [_poisson_evidence(counts, mean[0], other) for counts in (first, second)]
        yield _Pair(first, second, (evidence[0], evidence[1]))


def _poisson_evidence(counts: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Log ratio of the probabilities of counts (trial, neuron) given two sets of means."""
    with np.errstate(divide="ignore", invalid="ignore"):
        # A neuron silent in both says nothing; one that is so in one decides (infinite).
        ratio = np.where(first == second, 0.0, np.log(second) - np.log(first))
        return np.where(counts > 0, counts * ratio, 0.0).sum(1) - (second - first).sum()


def _draw_likelihood(
    twin: ConditionedTwin,
    images: np.ndarray,
    n_trial: int,
    rng: np.random.Generator,
    job: Job,
) -> Iterator[_Pair]:
    """Responses by the twin's own likelihood, and the log ratio of their densities."""
    shown = torch.as_tensor(images, dtype=torch.float32, device=twin.device)
    with torch.inference_mode():
        reference = response_distribution(twin, shown[:1])
        first = reference.sample(n_trial, seed=int(rng.integers(2**31)))
    for number in range(1, len(images)):
        job.report(number / len(images), f"grating {number} of {len(images) - 1}")
        with torch.inference_mode():
            other = response_distribution(twin, shown[number : number + 1])
            second = other.sample(n_trial, seed=int(rng.integers(2**31)))
            evidence = [
                (other.log_prob(drawn) - reference.log_prob(drawn)).double().sum((1, 2))
                for drawn in (first, second)
            ]
        yield _Pair(
            first[:, 0].cpu().numpy(),
            second[:, 0].cpu().numpy(),
            (evidence[0].cpu().numpy(), evidence[1].cpu().numpy()),
        )


def measure_recorded_neurometric(
    response: xr.DataArray,
    value: np.ndarray,
    *,
    reference: float,
    units: str = "deg",
    curve: str = "weibull",
    folds: int = 5,
    n_bootstrap: int = 100,
    seed: int = 0,
    job: Job | None = None,
) -> xr.Dataset:
    """Neurometric curves of recorded neurons, and of all of them together.

    Trials of the reference stimulus are compared with those of each larger value of the
    feature (give ``-value`` and ``-reference`` for the smaller ones). The population is read
    out by a linear discriminant (ridge regression on which of the two was shown, its strength
    by leave-one-out) that is tested on trials it was not fitted to.

    Parameters
    ----------
    response : xarray.DataArray
        (trial, neuron), as the `response` of a recording. Trials in which a neuron has no
        response are left out.
    value : ndarray of shape (n_trial,)
        The feature in each trial.
    reference : float
        One of the values.
    units : str
        Units of `value`.
    curve : {"weibull", "gaussian"}
    folds : int
        Parts that the trials of each comparison are split into.
    n_bootstrap : int
    seed : int
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        As `measure_neurometric`. The intervals of the population's thresholds resample trials of
        the discriminants as they were fitted.

    Raises
    ------
    InputError
        If the reference was not shown, fewer than three larger values were, or one of them in
        fewer trials than there are folds.

    """
    job = job or Job()
    check_choice("curve", curve, CURVES)
    rng = np.random.default_rng(check_seed(seed))
    responses, value = complete_trials(response, np.asarray(value))
    larger = np.unique(value[value > reference])
    if reference not in value or len(larger) < 3:
        msg = (
            f"A neurometric curve needs trials of the reference {reference:g} and of three or "
            f"more larger values, but there are {np.unique(value).tolist()}."
        )
        raise InputError(msg)
    fewest = min(int((value == one).sum()) for one in (reference, *larger))
    if not 2 <= folds <= fewest:
        msg = (
            f"`folds` must lie between 2 and the trials of the rarest value ({fewest}), but "
            f"is {folds}."
        )
        raise InputError(msg)
    first = responses[value == reference]

    def compare() -> Iterator[_Pair]:
        for number, other in enumerate(larger):
            job.report(0.5 * number / len(larger), f"{other:g} against {reference:g}")
            second = responses[value == other]
            yield _Pair(first, second, _discriminate(first, second, folds, rng))

    result = _summarise(compare(), larger - reference, curve, n_bootstrap, rng, job.part(0.5, 1.0))
    labels = xr.Dataset(
        coords={
            name: coord.variable
            for name, coord in response.coords.items()
            if coord.dims == ("neuron",)
        }
    )
    return make_result(
        _label(labels, result, larger - reference, units, "feature"),
        experiment="neurometric",
        seed=seed,
        settings={
            "reference": reference,
            "n_trial": len(value),
            "curve": curve,
            "folds": folds,
            "n_bootstrap": n_bootstrap,
        },
        source=SOURCE,
    )


def _discriminate(
    first: np.ndarray, second: np.ndarray, folds: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Held-out output of a linear discriminant, for the trials of either stimulus."""
    responses = np.concatenate([first, second])
    shown = np.repeat([-1.0, 1.0], [len(first), len(second)])
    # Each fold has its share of both, so that no discriminant leans to one of them.
    fold = np.concatenate([rng.permutation(np.arange(len(x)) % folds) for x in (first, second)])
    spread = responses.std(0)
    responses = (responses - responses.mean(0)) / np.where(spread > 0, spread, 1.0)
    evidence = np.empty(len(shown))
    for k in range(folds):
        held = fold == k
        weight = _fit_discriminant(responses[~held], shown[~held])
        output = responses @ weight
        means = [output[~held & (shown == side)].mean() for side in (-1, 1)]
        evidence[held] = output[held] - sum(means) / 2
    return evidence[: len(first)], evidence[len(first) :]


def _fit_discriminant(responses: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Weights (neuron,) of a ridge regression whose strength is best by leave-one-out."""
    x, y = responses - responses.mean(0), shown - shown.mean()
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    kept = s > s[0] * 1e-10
    u, s, vt = u[:, kept], s[kept], vt[kept]
    projected = u.T @ y
    strengths = RIDGES * (s**2).mean()
    errors = []
    for strength in strengths:
        shrink = s**2 / (s**2 + strength)
        leverage = (u**2 * shrink).sum(1) + 1 / len(y)
        errors.append((((y - u @ (shrink * projected)) / (1 - leverage)) ** 2).sum())
    best = strengths[int(np.argmin(errors))]
    return np.asarray(vt.T @ (s / (s**2 + best) * projected))


def _summarise(
    pairs: Iterator[_Pair],
    difference: np.ndarray,
    curve: str,
    n_bootstrap: int,
    rng: np.random.Generator,
    job: Job,
) -> dict[str, np.ndarray]:
    """Curves, thresholds and intervals; the population comes last among the neurons."""
    areas, again, correct, n_trial, changes = [], [], [], [], False
    for number, pair in enumerate(pairs):
        begun, done = (0.5 * k / len(difference) for k in (number, number + 1))
        part = job.part(begun, done, "resampling")
        first, second = (
            np.column_stack([responses, evidence])
            for responses, evidence in zip((pair.first, pair.second), pair.evidence, strict=True)
        )
        areas.append(roc_area(first, second))
        again.append(bootstrap_roc_areas(first, second, n_bootstrap, rng, part))
        hit = [(e > 0).mean() + (e == 0).mean() / 2 for e in pair.evidence]
        correct.append((hit[1] + 1 - hit[0]) / 2)
        n_trial.append(min(len(first), len(second)))
        changes = changes | (np.ptp(np.concatenate([pair.first, pair.second]), axis=0) > 0)
    area = np.array(areas).T  # (neuron and population, difference)
    # One sign a neuron, from all differences: chosen at each, chance would look like skill.
    sign = np.where(area.mean(1) < 0.5, -1.0, 1.0)
    sign[-1] = 1.0
    area = 0.5 + sign[:, None] * (area - 0.5)
    resampled = 0.5 + sign[:, None] * (np.array(again).transpose(1, 2, 0) - 0.5)
    count = np.array(n_trial)
    threshold, slope, below = fit_threshold(difference, area, count, curve=curve)
    others, _, lower = fit_threshold(
        difference,
        resampled.reshape(-1, len(difference)),
        count,
        curve=curve,
        job=job.part(0.5, 1.0, "fitting"),
    )
    unseen = np.where(lower, -np.inf, np.inf)  # in the order they would have
    others = np.where(np.isnan(others), unseen, others).reshape(n_bootstrap, -1)
    ends = np.stack(
        [
            np.percentile(others, TAIL, axis=0, method="lower"),
            np.percentile(others, 100 - TAIL, axis=0, method="higher"),
        ],
        -1,
    )
    fine = np.linspace(0, difference.max(), N_FINE)
    return {
        "roc_area": area,
        "fitted_curve": predict_correct(fine, threshold, slope, curve),
        "threshold": threshold,
        "slope": slope,
        "threshold_below": below.astype(np.int8),
        "threshold_interval": np.where(np.isinf(ends), np.nan, ends),
        "sign": sign[:-1],
        "population_correct": np.array(correct),
        "valid": np.asarray(changes).astype(np.int8),
    }


def _label(
    labels: xr.Dataset,
    found: dict[str, np.ndarray],
    difference: np.ndarray,
    units: str,
    feature: str,
) -> xr.Dataset:
    """Dataset of a result: each neuron's share under its name, and the population's."""
    words = {
        "roc_area": (("difference",), "area under the ROC curve", "1"),
        "fitted_curve": (("fine_difference",), "fitted share correct", "1"),
        "threshold": ((), "difference told apart with 75 % correct", units),
        "slope": ((), "slope of the neurometric curve", "1"),
        "threshold_below": ((), "1 where the smallest difference is above threshold", "1"),
        "threshold_interval": (("bound",), "95 % interval of the threshold", units),
    }
    variables: dict[str, Any] = {}
    for name, (dims, long_name, unit) in words.items():
        attrs = {"long_name": long_name, "units": unit}
        variables[name] = (("neuron", *dims), found[name][:-1], attrs)
        own = attrs | {"long_name": f"{long_name}, population"}
        variables[f"population_{name}"] = (dims, found[name][-1], own)
    for name, dim, long_name in (
        ("population_correct", "difference", "share correct from one response, population"),
        ("sign", "neuron", "-1 where the reference is preferred"),
        ("valid", "neuron", "1 where responses change"),
    ):
        variables[name] = (dim, found[name], {"long_name": long_name, "units": "1"})
    fine = np.linspace(0, difference.max(), N_FINE)
    attrs = {"long_name": f"difference in {feature.replace('_', ' ')}", "units": units}
    return labels.assign(variables).assign_coords(
        difference=("difference", difference, attrs),
        fine_difference=("fine_difference", fine, attrs),
        bound=["lower", "upper"],
    )
