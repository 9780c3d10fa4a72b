"""Checks of responses: whether they are there, plausible, untouched and steady."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twinlab.recordings.checks.findings import Case, Finding, neurons_at
from twinlab.recordings.checks.survey import rows_of
from twinlab.recordings.reading import listed

__all__ = [
    "check_constant_neurons",
    "check_doubled_neurons",
    "check_drift",
    "check_infinite_responses",
    "check_missing_responses",
    "check_normalisation",
    "check_outliers",
    "check_sign",
    "check_silent_trials",
    "check_units",
]

N_PROJECTION = 256  # correlations of neurons are first estimated from so many random sums
LEAST_DOUBLE = 0.999
NEGATIVE_ALLOWED = ("df/f", "dff", "z-score", "fluorescence", "standard deviation", "mv", "volt")
NEGATIVE_IMPOSSIBLE = ("count", "spike", "event", "deconvolved", "rate", "hz")
FEW_TRIALS = 100  # below it neither outliers nor drift are judged
LARGEST_DRIFT = 0.25


def check_units(case: Case) -> Iterator[Finding]:
    """Find responses whose units are not stated."""
    units = str(case.recording.response.attrs.get("units", "")).strip()
    if units in ("", "a.u."):
        yield Finding(
            f"units {'are missing' if not units else 'say only a.u.'}, so nobody knows what a "
            "response of 1 is",
            "response", "note", "state what it is: spike count in 100 ms, deconvolved calcium",
        )  # fmt: skip


def check_infinite_responses(case: Case) -> Iterator[Finding]:
    """Find infinite responses, with which nothing else can be told."""
    infinite = case.survey.neuron_infinite.values
    if infinite.any():
        yield Finding(
            f"{infinite.sum()} responses are infinite",
            neurons_at(case.recording, infinite > 0), "error",
            "make them NaN if they are missing, or fetch the recording again",
        )  # fmt: skip


def check_missing_responses(case: Case) -> Iterator[Finding]:
    """Find neurons without a response, and NaN that only some neurons have."""
    given = case.survey.neuron_given.values
    if (given == 0).any():
        yield Finding(
            f"{(given == 0).sum()} of {len(given)} neurons have no response at all",
            neurons_at(case.recording, given == 0), "warning", "leave these neurons out",
        )  # fmt: skip
    some = (given < given.max()) & (given > 0)
    if some.any():
        share = 1 - given[some].mean() / given.max()
        yield Finding(
            f"{some.sum()} of {len(given)} neurons lack {share:.1%} of the responses others have",
            neurons_at(case.recording, some), "note",
            "scores leave them out neuron by neuron; a fit should too",
        )  # fmt: skip


def check_silent_trials(case: Case) -> Iterator[Finding]:
    """Find trials in which every neuron is exactly 0, where that is no coincidence."""
    silent = case.survey.trial_silent.values
    zero = case.survey.neuron_zero.values
    n_frame = case.recording.sizes.get("frame", 1)
    with np.errstate(divide="ignore"):
        expected = len(silent) * np.exp(np.nansum(np.log(zero)) * n_frame)
    if silent.any() and not silent.all() and expected < 1e-3:
        yield Finding(
            f"all neurons are exactly 0 in {silent.sum()} of {len(silent)} trials, which zeros "
            "by chance would not be",
            f"trial {listed(np.flatnonzero(silent).astype(str).tolist())}", "warning",
            "make them NaN if the responses are missing",
        )  # fmt: skip


def check_constant_neurons(case: Case) -> Iterator[Finding]:
    """Find neurons that always give the same response."""
    constant = (case.survey.neuron_lowest == case.survey.neuron_highest).values
    if constant.any():
        yield Finding(
            f"{constant.sum()} of {len(constant)} neurons never change",
            neurons_at(case.recording, constant), "warning",
            "leave them out: their correlations are undefined",
        )  # fmt: skip


def check_doubled_neurons(case: Case) -> Iterator[Finding]:
    """Find pairs of neurons whose responses are the same up to scale, or nearly.

    Correlations are estimated from random sums over all responses (standard error
    ``(1 - r^2) / 16``), so that no two long traces are held; candidates are then compared in
    full.
    """
    recording, survey = case.recording, case.survey
    n_neuron = recording.sizes["neuron"]
    varied = (survey.neuron_std > 0).values
    mean = survey.neuron_mean.values[:, None]
    scale = np.where(varied, survey.neuron_std.values, np.inf)[:, None]
    generator = np.random.default_rng(0)
    sums = np.zeros((N_PROJECTION, n_neuron), np.float32)
    n = 0
    for _, block in rows_of(recording.response, case.job):
        values = block.reshape(len(block), n_neuron, -1)
        standard = np.nan_to_num((values - mean) / scale, posinf=0, neginf=0)
        standard = standard.transpose(1, 0, 2).reshape(n_neuron, -1)
        n += standard.shape[1]
        for start in range(0, standard.shape[1], 4096):
            some = standard[:, start : start + 4096].T.astype(np.float32)
            sums += generator.standard_normal((N_PROJECTION, len(some)), np.float32) @ some
    if n < 3:
        return
    norm = np.linalg.norm(sums, axis=0)
    unit = sums / np.where(norm > 0, norm, 1)
    pairs = []
    for start in range(0, n_neuron, 1024):
        case.job.report(start / n_neuron, "comparing neurons")
        alike = unit[:, start : start + 1024].T @ unit > 0.99
        pairs += [(start + i, j) for i, j in np.argwhere(alike) if start + i < j]
    doubled = sorted({j for i, j in pairs if _correlation(case, i, j) > LEAST_DOUBLE})
    if doubled:
        chosen = np.isin(np.arange(n_neuron), doubled)
        yield Finding(
            f"{len(doubled)} of {n_neuron} neurons repeat another (correlation above "
            f"{LEAST_DOUBLE:g})",
            neurons_at(recording, chosen), "warning",
            "keep one of each: a cell segmented twice counts twice in every mean",
        )  # fmt: skip


def _correlation(case: Case, one: int, other: int) -> float:
    pair = case.recording.response.isel(neuron=[one, other]).values
    pair = np.moveaxis(pair, 1, 0).reshape(2, -1)
    return float(np.corrcoef(pair[:, ~np.isnan(pair).any(axis=0)])[0, 1])


def check_sign(case: Case) -> Iterator[Finding]:
    """Find negative responses where the units leave no room for them."""
    units = str(case.recording.response.attrs.get("units", "")).lower()
    lowest, std = case.survey.neuron_lowest.values, case.survey.neuron_std.values
    negative = lowest < -1e-6 * np.maximum(std, np.finfo(np.float32).tiny)  # beyond rounding
    if _is_standardised(case) or not negative.any() or any(w in units for w in NEGATIVE_ALLOWED):
        return
    impossible = any(word in units for word in NEGATIVE_IMPOSSIBLE)
    yield Finding(
        f"{negative.sum()} of {len(negative)} neurons have negative responses (down to "
        f"{np.nanmin(lowest):.3g})" + (f", which {units!r} cannot have" if impossible else ""),
        neurons_at(case.recording, negative), "warning" if impossible else "note",
        "a Poisson loss needs rates: find out what was subtracted, or fit with another",
    )  # fmt: skip


def check_outliers(case: Case) -> Iterator[Finding]:
    """Find neurons one response of which holds most of the variance."""
    survey = case.survey
    if case.recording.sizes["trial"] < FEW_TRIALS:
        return
    farthest = np.maximum(
        survey.neuron_highest - survey.neuron_mean, survey.neuron_mean - survey.neuron_lowest
    )
    sum_of_squares = survey.neuron_std**2 * survey.neuron_given
    # in a neuron that fires once it is no outlier
    active = (1 - survey.neuron_zero) * survey.neuron_given >= 10
    outlying = ((farthest**2 > 0.5 * sum_of_squares) & (survey.neuron_std > 0) & active).values
    if outlying.any():
        yield Finding(
            f"one response holds over half of the variance of {outlying.sum()} of "
            f"{len(outlying)} neurons",
            neurons_at(case.recording, outlying), "warning",
            "look at these traces; an artefact of motion or of sorting decides their scores",
        )  # fmt: skip


def check_normalisation(case: Case) -> Iterator[Finding]:
    """Find responses that were standardised, or scaled by what the test trials say."""
    survey = case.survey
    if _is_standardised(case):
        yield Finding(
            "mean 0 and standard deviation 1: they are z-scores, not rates", "response", "warning",
            "fit with a Gaussian loss, or take the responses from before they were standardised",
        )  # fmt: skip
    others = (case.recording.split != "train").any()
    by_all, by_train = _is_one(survey.neuron_std.values), _is_one(survey.train_std.values)
    if by_all and not by_train and others:
        yield Finding(
            "the standard deviation is 1 over all trials and not over the training trials, so "
            "test trials were used to scale",
            "response", "warning", "scale by the training trials alone",
        )  # fmt: skip


def _is_one(std: np.ndarray) -> bool:
    """Whether the neurons that change at all have a standard deviation of 1 (n or n - 1)."""
    std = std[std > 0]
    return bool(len(std) > 1 and np.mean(np.abs(std - 1) < 1e-3) > 0.95)


def _is_standardised(case: Case) -> bool:
    for mean, std in (("neuron_mean", "neuron_std"), ("train_mean", "train_std")):
        centred = np.abs(case.survey[mean].values) < 0.01
        if centred.mean() > 0.95 and _is_one(case.survey[std].values):
            return True
    return False


def check_drift(case: Case) -> Iterator[Finding]:
    """Find a mean response that rises or falls from the first fifth of the session to the last.

    What behaviour explains linearly is taken off first: arousal comes and goes for minutes.
    """
    recording = case.recording
    if "presentation_order" not in recording.coords:
        return
    order = np.argsort(recording.presentation_order.values, kind="stable")
    response = case.survey.trial_response.values[order]
    state = np.ones((len(order), 1))
    if "behavior" in recording:
        frames = [name for name in recording.behavior.dims if name == "frame"]
        state = np.hstack([state, recording.behavior.mean(frames).values[order]])
    there = np.isfinite(response) & np.isfinite(state).all(axis=1)
    if there.sum() < FEW_TRIALS:
        return
    response, state = response[there], state[there]
    explained = state @ np.linalg.lstsq(state, response, rcond=None)[0]
    steady = response - explained + response.mean()
    first, *_, last = np.array_split(steady, 5)
    change = last.mean() - first.mean()
    beyond = ", beyond what behaviour explains" if "behavior" in recording else ""
    # neighbouring trials are alike: the spread of means over runs of trials counts
    error = np.sqrt(_run_variance(first) + _run_variance(last))
    if abs(change) > max(LARGEST_DRIFT * abs(response.mean()), 4 * error):
        yield Finding(
            f"the mean response goes from {first.mean():.3g} in the first fifth of the session "
            f"to {last.mean():.3g} in the last{beyond}",
            "response", "warning",
            "check that each split covers the whole session; consider time as an input",
        )  # fmt: skip


def _run_variance(response: np.ndarray) -> float:
    """Variance of the mean, from the means of ten runs of neighbouring trials."""
    means = [run.mean() for run in np.array_split(response, 10)]
    return float(np.var(means, ddof=1) / len(means))
