"""Check that each response belongs to the stimulus it stands beside.

A linear model (ridge regression) predicts the responses from what was shown some trials, or
frames, earlier or later. In an aligned recording a trial's own stimulus predicts best. A shift
shows even where all correlations are small: stimuli of neighbouring trials have nothing to do
with each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from twinlab.jobs import Job
from twinlab.recordings.checks.findings import Case, Finding
from twinlab.recordings.checks.survey import BLOCK_BYTES, shrink

__all__ = ["check_alignment", "predictability"]

LAGS = (-2, -1, 0, 1, 2)  # trials
LATENCIES_S = np.linspace(-0.4, 0.8, 13)  # from a frame of a video to the response
USUAL_S = (0.0, 0.5)
N_TRIAL, N_VIDEO, N_NEURON, N_SAMPLE = 6000, 80, 300, 20_000  # at most so many are looked at
FEW = {"image": 200, "video": 16}  # trials below which nothing is said
GRID = {"image": (9, 16), "video": (6, 10)}
FOLDS, RUNS = 3, 8
LEAST, MARGIN = 0.02, 5.0  # mean correlation, and its standard errors above that where expected


def check_alignment(case: Case) -> Iterator[Finding]:
    """Find responses that another trial's stimulus predicts best, or a frame not yet shown.

    Said only where the mean correlation over neurons is above that of the trial itself by five
    standard errors over eight runs of trials.
    """
    recording, kind = case.recording, case.kind
    if recording.sizes["trial"] < FEW[kind]:
        return
    orders = {"in the order listed": np.arange(recording.sizes["trial"])}
    if "presentation_order" in recording.coords:
        order = np.argsort(recording.presentation_order.values, kind="stable")
        if not np.array_equal(order, orders["in the order listed"]):
            orders["in the order of presentation"] = order
    latency = 0
    if kind == "video":
        frames = np.round(LATENCIES_S * float(recording.attrs["frame_rate"])).astype(int)
        first = orders["in the order listed"]
        reached = predictability(recording, first, [(0, int(f)) for f in frames], case.job)
        if reached is None:
            return
        usual = np.flatnonzero((USUAL_S[0] <= LATENCIES_S) & (USUAL_S[1] >= LATENCIES_S))
        mean = reached.mean(axis=0)
        best, expected = int(mean.argmax()), int(usual[mean[usual].argmax()])
        latency = int(frames[expected])
        if best not in usual and _beats(reached[:, best], reached[:, expected]):
            when = "later" if frames[best] < 0 else "earlier"
            yield Finding(
                "responses are best predicted by what was shown "
                f"{abs(frames[best])} frames {when} "
                f"(r = {mean[best]:.3f}, against {mean[expected]:.3f} within {USUAL_S[1]:g} s "
                "before them)",
                "frame", "error", "compare the clocks and frame rates of stimulus and responses",
            )  # fmt: skip
    for words, order in orders.items():
        reached = predictability(recording, order, [(lag, latency) for lag in LAGS], case.job)
        if reached is None:
            return
        mean = reached.mean(axis=0)
        best, expected = int(mean.argmax()), LAGS.index(0)
        if _beats(reached[:, best], reached[:, expected]):
            lag = LAGS[best]
            yield Finding(
                f"responses are best predicted by the {kind} {abs(lag)} "
                f"trial{'s' * (abs(lag) > 1)} {'later' if lag > 0 else 'earlier'}, {words} "
                f"(r = {mean[best]:.3f}, against "
                f"{mean[expected]:.3f} by the trial's own)",
                "trial", "error",
                "shift them back: look for a first trial that stimuli or responses lack",
            )  # fmt: skip


def predictability(
    recording: xr.Dataset, order: np.ndarray, shifts: Sequence[tuple[int, int]], job: Job
) -> np.ndarray | None:
    """Cross-validated correlation of responses with predictions from shifted stimuli.

    Parameters
    ----------
    recording : xarray.Dataset
    order : ndarray of int
        Trials, in the order along which they are shifted.
    shifts : sequence of (int, int)
        Trials from a response on to the stimulus that predicts it, and frames back.
    job : Job

    Returns
    -------
    ndarray of shape (n_run, n_shift) or None
        Mean over neurons, in eight runs of trials; None where there is too little to look at.
        No stimulus is in two folds, so that a repeated one is never predicted from itself.

    """
    sample = _draw_sample(recording, order, shifts, job)
    if sample is None:
        return None
    reached = np.full((RUNS, len(shifts)), np.nan)
    for number, (lag, latency) in enumerate(shifts):
        job.report(number / len(shifts), "comparing responses with shifted stimuli")
        shown = sample.shown[sample.trial + lag]
        features = sample.features[shown, sample.frame - latency]
        usable = np.isfinite(features).all(axis=1)
        predicted = np.full_like(sample.response, np.nan)
        for fold in range(FOLDS):
            test = shown % FOLDS == fold
            if not (usable & ~test).any():
                return None
            model = _fit(features[usable & ~test], sample.response[usable & ~test])
            predicted[usable & test] = _predict(model, features[usable & test])
        for run in range(RUNS):
            rows = usable & (sample.run == run)
            reached[run, number] = _mean_correlation(predicted[rows], sample.response[rows])
    return reached if np.isfinite(reached).all() else None


class _Sample(NamedTuple):
    """Responses to be predicted, and from what."""

    response: np.ndarray  # (n_sample, n_neuron)
    trial: np.ndarray  # (n_sample,), position in the order
    frame: np.ndarray  # (n_sample,)
    run: np.ndarray  # (n_sample,)
    shown: np.ndarray  # (n_trial,), position of each trial's stimulus among the features
    features: np.ndarray  # (n_stimulus, n_frame, n_feature)


def _draw_sample(
    recording: xr.Dataset, order: np.ndarray, shifts: Sequence[tuple[int, int]], job: Job
) -> _Sample | None:
    """Trials from the first on, neurons and frames evenly spaced, without missing responses."""
    kind = "video" if "video" in recording.dims else "image"
    order = order[: N_TRIAL if kind == "image" else N_VIDEO]
    lags, latencies = zip(*shifts, strict=True)
    trials = np.arange(max(0, -min(lags)), len(order) - max(0, *lags))
    neurons = _spread(recording.sizes["neuron"], N_NEURON)
    response = recording.response.isel(trial=order[trials], neuron=neurons).values
    response = response.reshape(len(trials), len(neurons), -1)
    n_frame = response.shape[2]
    frames = np.arange(max(0, *latencies), n_frame + min(0, *latencies))
    if not len(frames):
        return None
    frames = frames[_spread(len(frames), max(N_SAMPLE // len(trials), 1))]
    trial = np.repeat(trials, len(frames))
    frame = np.tile(frames, len(trials))
    rows = response[:, :, frames].transpose(0, 2, 1).reshape(len(trial), -1)
    rows = rows[:, ~np.isnan(rows).all(axis=0)]
    there = ~np.isnan(rows).any(axis=1)
    if there.sum() < FEW[kind] or not rows.shape[1]:
        return None
    used, shown = np.unique(recording.stimulus_index.values[order], return_inverse=True)
    trial, frame, rows = trial[there], frame[there], rows[there]
    runs = np.unique(trial, return_inverse=True)[1]
    return _Sample(
        np.sign(rows) * np.sqrt(np.abs(rows)),  # a few large responses shall not decide
        trial,
        frame,
        runs * RUNS // (runs.max() + 1),
        shown,
        _features(recording.stimulus, used, *GRID[kind], job),
    )


def _features(
    stimulus: xr.DataArray, used: np.ndarray, height: int, width: int, job: Job
) -> np.ndarray:
    """Brightness and contrast below a grid, (stimulus, frame, feature); some stimuli at a time."""
    features = []
    step = max(BLOCK_BYTES // max(4 * stimulus[0].size, 1), 1)
    for start in range(0, len(used), step):
        job.report(start / len(used), "reading stimuli")
        pixels = stimulus[used[start : start + step]].values.mean(axis=1, dtype=np.float32)
        pixels = pixels if pixels.ndim == 4 else pixels[:, None]
        mean = shrink(pixels, height, width)
        variance = shrink(pixels**2, height, width) - mean**2
        both = np.stack([mean, np.sqrt(np.maximum(variance, 0))], axis=2)
        features.append(both.reshape(*both.shape[:2], -1))
    return np.concatenate(features)


def _spread(n: int, most: int) -> np.ndarray:
    """Positions of up to `most` of `n`, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _fit(features: np.ndarray, response: np.ndarray) -> tuple[np.ndarray, ...]:
    """Ridge regression on standardised features, with a penalty of a tenth of the samples."""
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-6 * max(float(scale.max(initial=0)), 1e-30), scale, np.inf)
    x, offset = (features - centre) / scale, response.mean(axis=0)
    gram = x.T @ x + 0.1 * len(x) * np.eye(x.shape[1], dtype=x.dtype)
    return centre, scale, np.linalg.solve(gram, x.T @ (response - offset)), offset


def _predict(model: tuple[np.ndarray, ...], features: np.ndarray) -> np.ndarray:
    centre, scale, weight, offset = model
    return (features - centre) / scale @ weight + offset


def _mean_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over neurons of the correlation over samples; neurons that are silent left out."""
    if len(one) < 3:
        return np.nan
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    norm = np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
    defined = norm > 0
    if not defined.any():
        return np.nan
    return float(np.mean((one * other).sum(axis=0)[defined] / norm[defined]))


def _beats(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether correlations are higher in run after run of trials, and high enough to matter."""
    gain = one - other
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    return bool(one.mean() > LEAST and gain.mean() > MARGIN * error)
