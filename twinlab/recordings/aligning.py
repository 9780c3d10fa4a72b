"""From one clock to trials: continuous traces and spike times, measured after each onset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twinlab.schema import InputError

__all__ = ["align_traces", "count_spikes"]

GAP = 3.0  # usual sampling intervals: where samples are further apart, nothing was recorded


def align_traces(
    traces: np.ndarray,
    times: np.ndarray,
    onset: np.ndarray,
    duration: float | np.ndarray,
    *,
    latency: float = 0.0,
) -> np.ndarray:
    """Mean of continuous traces in a window after each onset.

    Between its samples a trace is taken to be straight, and the mean is over exactly the
    window, so that windows may be shorter than the sampling interval and need not begin at a
    sample. The onsets of images give one response a trial; the onsets of a video's frames,
    with the frames' duration, give the trace at the frames.

    Parameters
    ----------
    traces : ndarray of shape (n_time, n_neuron)
    times : ndarray of shape (n_time,)
        When each sample was taken, in seconds, increasing.
    onset : ndarray of shape (...)
        When each window begins, in seconds on the clock of `times`; NaN where there is none.
    duration : float or ndarray of shape (...)
        Length of the windows, in seconds.
    latency : float
        Seconds by which responses follow the stimulus: each window begins so much later.

    Returns
    -------
    ndarray of shape (..., n_neuron) and type float32
        NaN where a window leaves the recording, or reaches into a sample that is NaN or a gap
        in `times` (of more than 3 usual intervals); infinite where a sample is.

    Raises
    ------
    InputError
        If shapes do not fit, times do not increase, or a duration is not positive.

    Examples
    --------
    >>> times = np.arange(5.0)
    >>> align_traces(times[:, None] ** 1, times, np.array([0.0, 1.5]), 2.0)[:, 0]
    array([1. , 2.5], dtype=float32)

    """
    traces, times = np.asarray(traces, np.float64), np.asarray(times, np.float64)
    onset, duration = np.broadcast_arrays(np.asarray(onset, np.float64), duration)
    _check_times(traces, times, duration)
    start = (onset + latency).ravel()
    stop = start + duration.ravel()
    inside = (start >= times[0]) & (stop <= times[-1])  # False for NaN
    rows = np.full((start.size, traces.shape[1]), np.nan, np.float32)
    if inside.any():
        with np.errstate(over="ignore"):  # beyond float32 is infinite
            rows[inside] = _window_means(traces, times, start[inside], stop[inside])
    return rows.reshape(*onset.shape, traces.shape[1])


def _check_times(traces: np.ndarray, times: np.ndarray, duration: np.ndarray) -> None:
    """Refuse traces that do not fit their times."""
    if traces.ndim != 2 or times.shape != traces.shape[:1] or len(times) < 2:
        msg = (
            f"Traces of shape {traces.shape} with times of shape {times.shape}; expected "
            "(n_time, n_neuron) and (n_time,), at least 2 samples."
        )
        raise InputError(msg)
    if not (np.diff(times) > 0).all():
        where = int(np.flatnonzero(~(np.diff(times) > 0))[0])
        msg = f"Times of the traces must increase, but do not after sample {where}."
        raise InputError(msg)
    if not (duration > 0).all():
        msg = f"Durations must be above 0 s, but the smallest is {np.min(duration):g}."
        raise InputError(msg)


def _window_means(
    traces: np.ndarray, times: np.ndarray, start: np.ndarray, stop: np.ndarray
) -> np.ndarray:
    """Mean over windows inside the recording of the line through the samples."""
    missing, infinite = np.isnan(traces), np.isinf(traces)
    known = np.where(missing | infinite, 0, traces)
    step = np.diff(times)
    area = np.zeros_like(known)
    np.cumsum(step[:, None] * (known[1:] + known[:-1]) / 2, axis=0, out=area[1:])

    def integral(at: np.ndarray) -> np.ndarray:
        before = np.clip(np.searchsorted(times, at, "right") - 1, 0, len(step) - 1)
        past = at - times[before]
        share = (past / step[before] / 2)[:, None]
        line = known[before] * (1 - share) + known[before + 1] * share
        return area[before] + past[:, None] * line

    mean = (integral(stop) - integral(start)) / (stop - start)[:, None]
    first = np.clip(np.searchsorted(times, start, "right") - 1, 0, None)
    last = np.searchsorted(times, stop, "left")
    for bad, value in ((infinite, np.inf), (missing, np.nan)):
        if bad.any():
            count = np.concatenate([np.zeros((1, traces.shape[1]), int), np.cumsum(bad, axis=0)])
            mean[count[last + 1] > count[first]] = value
    gaps = np.concatenate([[0], np.cumsum(step > GAP * np.median(step))])
    mean[gaps[last] > gaps[first]] = np.nan
    return mean


def count_spikes(
    spikes: Sequence[np.ndarray],
    onset: np.ndarray,
    duration: float | np.ndarray,
    *,
    latency: float = 0.0,
) -> np.ndarray:
    """Count each neuron's spikes in a window after each onset.

    Parameters
    ----------
    spikes : sequence of ndarray
        Times of each neuron's spikes in seconds, increasing.
    onset, duration, latency
        As for `align_traces`. A window holds its first instant and not its last.

    Returns
    -------
    ndarray of shape (..., n_neuron) and type float32
        NaN where the onset is.

    Raises
    ------
    InputError
        If a duration is not positive or spike times decrease.

    Examples
    --------
    >>> count_spikes([np.array([0.1, 0.2, 0.9])], np.array([0.0, 0.2]), 0.2)[:, 0]
    array([1., 1.], dtype=float32)

    """
    onset, duration = np.broadcast_arrays(np.asarray(onset, np.float64), duration)
    if not (duration > 0).all():
        msg = f"Durations must be above 0 s, but the smallest is {np.min(duration):g}."
        raise InputError(msg)
    start = onset + latency
    counts = np.empty((*onset.shape, len(spikes)), np.float32)
    for neuron, train in enumerate(spikes):
        if not (np.diff(train) >= 0).all():
            msg = f"Spike times of neuron {neuron} decrease; expected them in order."
            raise InputError(msg)
        counts[..., neuron] = np.searchsorted(train, start + duration) - np.searchsorted(
            train, start
        )
    counts[np.isnan(onset)] = np.nan
    return counts
