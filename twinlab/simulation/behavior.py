"""What the animal does between the images: running, pupil and gaze, trial by trial."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter
from scipy.stats import norm

__all__ = [
    "BEHAVIOR_SPREAD",
    "BEHAVIOR_TYPICAL",
    "GAZE_SPREAD",
    "GAZE_TYPICAL",
    "States",
    "draw_states",
]

PERSISTENCE = 0.97  # correlation of the slow states from trial to trial
RUNNING_THRESHOLD = 0.4  # arousal, in standard deviations, above which the animal runs
RUNNING_SLOPE = 15.0  # cm/s per standard deviation of arousal above it
PUPIL_TYPICAL, PUPIL_SPREAD = 50.0, 12.0  # dilation, a.u.
GAZE_TYPICAL, GAZE_SPREAD = (2.0, -1.0), (1.5, 1.5)  # pupil position, a.u.


def _rectified_spread(threshold: float) -> float:
    """Return the standard deviation of max(z - threshold, 0) for a standard normal z."""
    tail, density = norm.sf(threshold), norm.pdf(threshold)
    mean = density - threshold * tail
    return float(np.sqrt((1 + threshold**2) * tail - threshold * density - mean**2))


# Medians and standard deviations, in the order of schema.BEHAVIOR_CHANNELS: dilation, its
# change per trial, running speed (at rest most of the time, so that its median is 0).
BEHAVIOR_TYPICAL = (PUPIL_TYPICAL, 0.0, 0.0)
BEHAVIOR_SPREAD = (
    PUPIL_SPREAD,
    PUPIL_SPREAD * float(np.sqrt(2 * (1 - PERSISTENCE))),
    RUNNING_SLOPE * _rectified_spread(RUNNING_THRESHOLD),
)


class States(NamedTuple):
    """State of the animal in each trial."""

    behavior: np.ndarray  # (n_trial, 3), columns as schema.BEHAVIOR_CHANNELS
    pupil_center: np.ndarray  # (n_trial, 2), horizontal and vertical


def draw_states(
    n_trial: int, generator: np.random.Generator, *, persistence: float = PERSISTENCE
) -> States:
    """Behaviour and pupil position in trials that follow one another.

    An arousal that changes slowly makes the animal run, in bouts, where it is high; pupil
    dilation follows it in part. The gaze wanders on its own.

    Parameters
    ----------
    n_trial : int
    generator : Generator
    persistence : float
        Correlation from trial to trial; 0 for independent states of the same distribution.

    Returns
    -------
    States

    """
    arousal, other, *gaze = (_slow(n_trial, generator, persistence) for _ in range(4))
    dilation = PUPIL_TYPICAL + PUPIL_SPREAD * (0.6 * arousal + 0.8 * other)
    speed = RUNNING_SLOPE * np.maximum(arousal - RUNNING_THRESHOLD, 0)
    change = np.diff(dilation, prepend=dilation[:1])
    return States(
        np.stack([dilation, change, speed], 1).astype(np.float32),
        (np.array(GAZE_TYPICAL) + np.array(GAZE_SPREAD) * np.stack(gaze, 1)).astype(np.float32),
    )


def _slow(n_trial: int, generator: np.random.Generator, persistence: float) -> np.ndarray:
    """Stationary first-order autoregressive series of zero mean and unit variance."""
    steps = generator.standard_normal(n_trial)
    steps[1:] *= np.sqrt(1 - persistence**2)
    return lfilter([1.0], [1.0, -persistence], steps)
