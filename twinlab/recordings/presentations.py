"""What was shown when, and the responses to it: for sources that keep one clock and no trials.

NWB files hold continuous traces or spike times and, on the same clock, when each image or
frame came on. Here the two become trials.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import dask.array as da
import numpy as np

from twinlab.recordings.aligning import align_traces, count_spikes
from twinlab.recordings.blocks import lazy_rows, rows_in_block
from twinlab.recordings.reading import Notes

__all__ = [
    "CALCIUM_LATENCY",
    "SPIKE_LATENCY",
    "Shown",
    "Source",
    "align_series",
    "frame_rate",
    "is_movie",
    "lazy_responses",
    "movie_trials",
    "spike_source",
    "trace_source",
]

# Seconds by which responses follow the stimulus, where a source says nothing. That of calcium
# signals is the usual choice of the field's loaders (0.1 s in experanto); spikes of visual
# cortex come 40 to 60 ms after an onset (Siegle et al. 2021, Nature 592: 86-92).
CALCIUM_LATENCY = 0.1
SPIKE_LATENCY = 0.05
SLAB_BYTES = 2**27  # of the stretch of traces that a block of responses is made from


@dataclass(frozen=True)
class Shown:
    """Trials of one stimulus, in the order of presentation.

    Attributes
    ----------
    index : ndarray of int of shape (n_trial,)
        Which image or video was shown.
    onset : ndarray of shape (n_trial,) or (n_trial, n_frame)
        When the image, or each frame, came on, in seconds; NaN after the end of a video.
    duration : ndarray of shape (n_trial,) or (n_trial, n_frame)
        For how long, in seconds.

    """

    index: np.ndarray
    onset: np.ndarray
    duration: np.ndarray


class Source(NamedTuple):
    """Neurons recorded together: how to measure them, and what that takes.

    Attributes
    ----------
    n_neuron : int
    measure : callable
        Onsets and durations of shape (...) -> responses of shape (..., n_neuron).
    bytes_per_second : float
        Of what has to be read for it.

    """

    n_neuron: int
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray]
    bytes_per_second: float


def trace_source(
    read: Callable[[int, int], np.ndarray], times: np.ndarray, n_neuron: int, latency: float
) -> Source:
    """Continuous traces of which ``read(start, stop)`` gives samples, (time, neuron)."""

    def measure(onset: np.ndarray, duration: np.ndarray) -> np.ndarray:
        empty = np.full((*onset.shape, n_neuron), np.nan, np.float32)
        known = np.isfinite(onset)
        if not known.any():
            return empty
        first, last = onset[known].min(), (onset + duration)[known].max()
        start = max(int(np.searchsorted(times, first + latency)) - 2, 0)
        stop = int(np.searchsorted(times, last + latency)) + 2
        if len(times[start:stop]) < 2:
            return empty
        return align_traces(read(start, stop), times[start:stop], onset, duration, latency=latency)

    rate = (len(times) - 1) / max(times[-1] - times[0], 1e-9)
    return Source(n_neuron, measure, rate * n_neuron * 8)


def spike_source(
    read: Callable[[], list[np.ndarray]],
    n_neuron: int,
    latency: float,
    observed: list[np.ndarray] | None = None,
) -> Source:
    """Neurons of which `read` gives the spike times.

    `observed` holds when each was observed, (interval, 2) from when to when: outside of that
    its response is not zero but missing. A neuron without an interval was observed throughout.
    """

    def measure(onset: np.ndarray, duration: np.ndarray) -> np.ndarray:
        counts = count_spikes(read(), onset, duration, latency=latency)
        start = (onset + latency)[..., None]
        stop = start + np.asarray(duration)[..., None]
        for neuron, intervals in enumerate(observed or []):
            inside = ((start >= intervals[:, 0]) & (stop <= intervals[:, 1])).any(-1)
            if len(intervals):
                counts[~inside, neuron] = np.nan
        return counts

    return Source(n_neuron, measure, 0.0)


def lazy_responses(shown: Shown, sources: list[Source]) -> da.Array:
    """Responses of all sources to each trial, (trial, neuron[, frame]), computed by blocks."""
    n_neuron = sum(source.n_neuron for source in sources)
    shape = (len(shown.onset), n_neuron, *shown.onset.shape[1:])

    def read(start: int, stop: int) -> np.ndarray:
        part = slice(start, stop)
        found = [source.measure(shown.onset[part], shown.duration[part]) for source in sources]
        return np.moveaxis(np.concatenate(found, axis=-1), -1, 1)

    if 0 in shape:
        return da.from_array(np.zeros(shape, np.float32))
    span = np.nanmax(shown.onset) - np.nanmin(shown.onset)
    slab = span * sum(source.bytes_per_second for source in sources) / shape[0]
    step = min(rows_in_block(shape, np.float32), max(1, int(SLAB_BYTES // max(slab, 1))))
    return lazy_rows(read, shape, np.float32, step)


def align_series(
    shown: Shown, series: list[tuple[np.ndarray, np.ndarray]], notes: Notes
) -> np.ndarray:
    """Behaviour in each trial, (trial, channel[, frame]), of (values, times) of each channel."""
    columns = [
        align_traces(values[:, None], times, shown.onset, shown.duration)[..., 0]
        for values, times in series
    ]
    found = np.stack(columns, axis=1)
    if np.isinf(found).any():
        notes.add("behavior", "infinite values")
    return found


def is_movie(index: np.ndarray) -> bool:
    """Whether frames mostly follow their predecessors, so that they are no separate images."""
    index = index[np.diff(index, prepend=-1) != 0]  # a frame may last for several refreshes
    return len(index) > 1 and bool((np.diff(index) == 1).mean() > 0.5)


def frame_rate(shown: Shown) -> float:
    """Frames per second of videos."""
    return float(1 / np.nanmedian(shown.duration))


def movie_trials(index: np.ndarray, onset: np.ndarray) -> Shown:
    """Cut the frames of a movie that was shown several times into trials.

    Parameters
    ----------
    index : ndarray of int of shape (n,)
        Which frame of the movie came on, in the order of presentation.
    onset : ndarray of shape (n,)
        When, in seconds.

    Returns
    -------
    Shown
        All trials show video 0. Frame k of a trial is frame k of the movie; frames that a
        trial lacks are NaN. A frame that was on for several refreshes is one.

    """
    first = np.flatnonzero(np.diff(index, prepend=-1) != 0)
    index, onset = index[first], onset[first]
    trial = np.cumsum(np.diff(index, prepend=-1) < 0)
    table = np.full((trial[-1] + 1, index.max() + 1), np.nan)
    table[trial, index] = onset
    within = np.diff(trial) == 0
    # the mean over whole trials, because onsets may be rounded to frames of the microscope
    usual = np.diff(onset)[within].mean() if within.any() else 1.0
    return Shown(np.zeros(len(table), np.int64), table, np.full(table.shape, usual))
