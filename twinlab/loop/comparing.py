"""Was the twin right: responses to what it made against those to controls, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from twinlab.jobs import Job
from twinlab.loop.repeats import (
    benjamini_hochberg,
    bootstrap,
    check_resampling,
    mean_defined,
    mean_repeats,
    own_repeats,
    scalar,
)
from twinlab.schema import InputError, check_seed, make_result

__all__ = ["compare_confusion", "compare_controls", "signed_rank", "standardise"]

WALKER = "Walker et al. (2019), Nature Neuroscience 22: 2060-2065"
FEWEST = 3  # neurons of a confusion matrix


def compare_confusion(
    observed: xr.Dataset,
    kind: str = "mei",
    *,
    expect: str = "most",
    n_permutation: int = 10_000,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    job: Job | None = None,
) -> xr.Dataset:
    """Tell whether each neuron answers most to the stimulus that was made for it.

    The responses of each neuron to the stimuli made for all neurons are averaged over repeats and
    standardised (mean 0, variance 1 over the stimuli), so that a neuron that fires more weighs no
    more. On the diagonal is the response to the neuron's own.

    Parameters
    ----------
    observed : xarray.Dataset
        `response` (trial, neuron) with `stimulus_id`, `kind` and `made_for` along `trial`, as
        `name_units` returns it.
    kind : str
        Of the stimuli.
    expect : {"most", "least"}
        Whether neurons should answer most to their own stimulus, or least, as to least exciting
        inputs. Below, for "least" read less for more.
    n_permutation : int
        Of which stimulus was made for whom, behind the p values of the population.
    n_bootstrap : int
        Resamples of neurons and, for each stimulus, of repeats, behind the intervals; 0 for none.
    confidence : float
        Share of resamples inside an interval.
    seed : int
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `confusion` (made_for, neuron); along `neuron`: `specificity`, the standardised response to
        its own stimulus (minus that for "least"); `rank`, of its own among all, 1 the largest;
        `p_value`, the share of all stimuli that excite it at least as much as its own, and
        `q_value` (Benjamini-Hochberg); `best_for_it`, 1 where every other stimulus excites it
        less; `best_by_it`, 1 where its stimulus excites every other neuron less, in standardised
        responses.
        Scalars: `mean_specificity`, `share_best_for_it` (column maxima), `share_best_by_it` (row
        maxima), each with `<name>_interval` (bound), the mean under the null, `<name>_chance`, and
        its permutation p value, `<name>_p_value`. Neurons that do not vary, or whose own stimulus
        has no response, are NaN and in no mean; a mean of none and its p value are NaN.

    Raises
    ------
    InputError
        If fewer than 3 neurons have a stimulus of their own that was shown, or a setting is out
        of range.

    References
    ----------
    Walker et al. (2019), Nature Neuroscience 22: 2060-2065.

    """
    job = job or Job()
    check_resampling(n_permutation, n_bootstrap, confidence)
    sign = _sign(expect)
    name, _, stacked = own_repeats(observed, kind)
    if len(name) < FEWEST:
        msg = (
            f"{len(name)} neurons have a stimulus of kind {kind!r} of their own that was shown; "
            f"expected at least {FEWEST}."
        )
        raise InputError(msg)
    n = len(name)
    matrix = sign * standardise(mean_repeats(stacked))
    own = np.diagonal(matrix)
    valid = np.isfinite(own)
    with np.errstate(invalid="ignore"):
        rank = np.where(valid, (matrix >= own).sum(0), np.nan)
    summary = _summaries(matrix)
    generator = np.random.default_rng([check_seed(seed), 6])
    null = np.empty((n_permutation, len(summary)))
    for i in range(n_permutation):
        if i % 100 == 0:
            job.report(0.5 * i / n_permutation, "permuting stimuli")
        null[i] = _summaries(matrix[generator.permutation(n)])
    interval = bootstrap(
        lambda unit, means: _summaries(sign * standardise(means[0]), unit),
        [stacked], n,
        n_bootstrap=n_bootstrap, confidence=confidence, seed=seed, job=job.part(0.5, 1.0),
    )  # fmt: skip
    interval[1:] = interval[1:].clip(0, 1)  # shares, which noise moved beyond
    p_value = rank / np.maximum(np.isfinite(matrix).sum(0), 1)
    per_neuron = {
        "specificity": (own, "standardised response to its own stimulus"),
        "rank": (rank, "rank of its own stimulus among all"),
        "p_value": (p_value, "share of stimuli that excite at least as much as its own"),
        "q_value": (benjamini_hochberg(p_value), "false discovery rate (Benjamini-Hochberg)"),
        "best_for_it": (_flags(matrix, 0), "1 where every other stimulus excites it less"),
        "best_by_it": (_flags(matrix, 1), "1 where its stimulus excites every other neuron less"),
    }
    variables: dict[str, Any] = {
        "confusion": (
            ("made_for", "neuron"),
            sign * matrix,
            {"long_name": f"standardised response to the {kind}", "units": "1"},
        )
    } | {
        key: ("neuron", values, {"long_name": words, "units": "1"})
        for key, (values, words) in per_neuron.items()
    }
    words_of = {
        "mean_specificity": "mean standardised response to the own stimulus",
        "share_best_for_it": "share of neurons that their own stimulus excites most",
        "share_best_by_it": "share of stimuli that excite their own neuron most",
    }
    for i, (key, words) in enumerate(words_of.items()):
        known = null[np.isfinite(null[:, i]), i]
        variables |= scalar(key, summary[i], interval[i], words)
        chance = mean_defined(known)
        p = np.nan  # of nothing, no permutation is as extreme
        if np.isfinite(summary[i]):
            p = (1 + (known >= summary[i] - 1e-12).sum()) / (1 + len(known))
        for what, number in (("chance", chance), ("p_value", p)):
            attrs = {"long_name": f"{what.replace('_', ' ')} of the {words}", "units": "1"}
            variables[f"{key}_{what}"] = ((), number, attrs)
    return make_result(
        xr.Dataset(variables, {"neuron": name, "made_for": name, "bound": ["lower", "upper"]}),
        experiment="confusion",
        seed=seed,
        settings={
            "kind": kind, "expect": expect, "n_permutation": n_permutation,
            "n_bootstrap": n_bootstrap, "confidence": confidence,
        },
        source=WALKER,
    )  # fmt: skip


def compare_controls(
    observed: xr.Dataset,
    controls: list[str],
    kind: str = "mei",
    *,
    expect: str = "most",
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    job: Job | None = None,
) -> xr.Dataset:
    """Tell how much more each neuron answers to its own stimulus than to its own controls.

    Parameters
    ----------
    observed : xarray.Dataset
        As of `compare_confusion`.
    controls : list of str
        Kinds of stimuli made for the same neurons, such as "natural" and "gabor".
    kind : str
        What is compared with them.
    expect : {"most", "least"}
        As of `compare_confusion`.
    n_bootstrap, confidence, seed, job
        As of `compare_confusion`.

    Returns
    -------
    xarray.Dataset
        `response` (neuron), the mean over repeats, and of each control `response_control`
        (control, neuron), NaN where it has none; `ratio` (control, neuron), infinite where the
        control's mean is 0 and the other is above it, NaN where neither is or the control's is
        negative; `p_value` and `q_value` (control, neuron) of a larger
        response (one-sided Mann-Whitney test over trials, Benjamini-Hochberg over neurons). Along
        `control`: `median_ratio`, over the neurons where it is defined, `ratio_of_means`, of the
        summed responses, and `share_surpassed`, of neurons whose response is larger, each with
        `<name>_interval` (of ratios percentiles of the resamples, which cannot be negative unless
        responses are); and `population_p_value`, a one-sided Wilcoxon signed-rank test over
        neurons.

    Raises
    ------
    InputError
        If no neuron has both, or a setting is out of range.

    """
    job = job or Job()
    check_resampling(0, n_bootstrap, confidence)
    sign = _sign(expect)
    name = own_repeats(observed, kind)[0]
    repeats = {one: _own_trials(observed, one) for one in (kind, *controls)}
    lacking = [one for one, of in repeats.items() if not set(of) & set(name)]
    if lacking or not controls:
        msg = (
            f"No neuron has a stimulus of kind {(lacking or ['control'])[0]!r} that was shown; "
            f"there are {sorted(set(observed.kind.values.astype(str).tolist()))}."
        )
        raise InputError(msg)
    nothing = np.array([])
    stacked = [
        _padded([repeats[one].get(unit, nothing) for unit in name]) for one in (kind, *controls)
    ]
    own = mean_repeats(stacked[0])
    control = np.stack([mean_repeats(one) for one in stacked[1:]])
    p_value = np.array(
        [
            [_more(sign * a, sign * b) for a, b in zip(stacked[0], other, strict=True)]
            for other in stacked[1:]
        ]
    )
    q_value = np.stack([benjamini_hochberg(row) for row in p_value])
    summary = _ratios(np.arange(len(name)), [own, *control], sign)
    interval = bootstrap(
        lambda unit, means: _ratios(unit, means, sign), stacked, len(name),
        n_bootstrap=n_bootstrap, confidence=confidence, seed=seed, job=job,
        shift=np.array([[False], [False], [True]]),
    )  # fmt: skip
    interval[2] = interval[2].clip(0, 1)  # a share, which noise moved beyond
    population = [signed_rank(sign * (own - one)) for one in control]
    table = ("control", "neuron")
    variables: dict[str, Any] = {
        "response": ("neuron", own, {"long_name": f"response to the {kind}", "units": "a.u."}),
        "response_control": (table, control, {"long_name": "response to it", "units": "a.u."}),
        "ratio": (table, _divide(own, control), {"long_name": f"{kind} / control", "units": "1"}),
        "p_value": (table, p_value, {"long_name": f"p value of the {kind}", "units": "1"}),
        "q_value": (table, q_value, {"long_name": "false discovery rate", "units": "1"}),
        "population_p_value": (
            "control", population, {"long_name": "p value over neurons", "units": "1"},
        ),
    }  # fmt: skip
    amount = "more" if sign == 1 else "less"
    words_of = {
        "median_ratio": f"median over neurons of {kind} / control",
        "ratio_of_means": f"summed responses to {kind} / to control",
        "share_surpassed": f"share of neurons that the {kind} excites {amount}",
    }
    for i, (key, words) in enumerate(words_of.items()):
        variables |= scalar(key, summary[i], interval[i], words, "control")
    return make_result(
        xr.Dataset(
            variables, {"neuron": name, "control": list(controls), "bound": ["lower", "upper"]}
        ),
        experiment="controls",
        seed=seed,
        settings={
            "kind": kind,
            "expect": expect,
            "n_bootstrap": n_bootstrap,
            "confidence": confidence,
        },
        source=WALKER,
    )


def _sign(expect: str) -> int:
    """1 where neurons should answer most, -1 where least."""
    if expect not in ("most", "least"):
        msg = f"`expect` must be 'most' or 'least', but is {expect!r}."
        raise InputError(msg)
    return 1 if expect == "most" else -1


def standardise(mean: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and variance 1 over what there is, NaN where one does not vary."""
    there = np.isfinite(mean)
    n = np.maximum(there.sum(0), 1)
    away = np.where(there, mean - np.where(there, mean, 0).sum(0) / n, np.nan)
    spread = np.sqrt((np.where(there, away, 0) ** 2).sum(0) / n)
    return away / np.where(spread > 0, spread, np.nan)


def _flags(matrix: np.ndarray, axis: int) -> np.ndarray:
    """1 where the diagonal alone is the largest of its column (axis 0) or row (axis 1), or NaN.

    A neuron that is as silent under other stimuli as under its own does not tell them apart.
    """
    own = np.diagonal(matrix)
    at_least = np.isfinite(matrix) & (matrix >= np.expand_dims(own, axis))
    return np.where(np.isfinite(own), at_least.sum(axis) == 1, np.nan)


def _summaries(matrix: np.ndarray, unit: np.ndarray | None = None) -> np.ndarray:
    """Mean of the diagonal, and shares of column and row maxima on it, (3,)."""
    every = np.stack([np.diagonal(matrix), _flags(matrix, 0), _flags(matrix, 1)])
    every = every if unit is None else every[:, unit]
    return np.array([mean_defined(values) for values in every])


def _own_trials(observed: xr.Dataset, kind: str) -> dict[str, np.ndarray]:
    """Responses of each neuron to its own stimulus of a kind, by the neuron's name."""
    name, _, response = own_repeats(observed, kind)
    return {unit: response[i, :, i] for i, unit in enumerate(name)}


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    padded = np.full((len(rows), max(map(len, rows))), np.nan)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return padded


def _more(a: np.ndarray, b: np.ndarray) -> float:
    """One-sided p value of `a` being larger than `b`, NaN where either is missing."""
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if not a.size or not b.size:
        return np.nan
    if np.ptp(np.r_[a, b]) == 0:
        return 1.0
    return float(stats.mannwhitneyu(a, b, alternative="greater").pvalue)


def signed_rank(difference: np.ndarray) -> float:
    """One-sided p value of differences above 0 over neurons, NaN where none says anything."""
    there = difference[np.isfinite(difference)]
    if not there.any():
        return np.nan
    return float(stats.wilcoxon(there, alternative="greater").pvalue)


def _divide(own: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Ratio, infinite of a response to what a control does not excite at all, or NaN.

    Neurons that a control leaves silent are those that it differs most for: a median without them
    would be too low.
    """
    ratio = own / np.where(control > 0, control, np.nan)
    return np.where((control == 0) & (own > 0), np.inf, ratio)


def _ratios(unit: np.ndarray, means: list[np.ndarray], sign: int) -> np.ndarray:
    """Median ratio, ratio of means and share that is larger, (3, control)."""
    own, control = means[0][unit], np.stack(means[1:])[:, unit]
    ratio = _divide(own, control)
    there = np.isfinite(own) & np.isfinite(control)
    summed = _divide(np.where(there, own, 0).sum(1), np.where(there, control, 0).sum(1))
    median = [
        float(np.median(known)) if (known := row[~np.isnan(row)]).size else np.nan for row in ratio
    ]
    larger = [
        mean_defined(np.where(ok, sign * own > sign * row, np.nan))
        for ok, row in zip(there, control, strict=True)
    ]
    return np.array([median, summed, larger])
