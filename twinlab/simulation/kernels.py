"""How simulated neurons weigh the recent past, and which way they prefer things to move."""

from __future__ import annotations

from math import factorial

import numpy as np
import xarray as xr

__all__ = ["add_motion", "make_kernels"]

MEMORY = 0.5  # seconds that kernels reach back
# Powers of time of the fast and the slow kernel. With 3 and 5, as Adelson & Bergen have them,
# the two are in quadrature above the frequency they pass best; with 3 and 7 about there.
ORDERS = (3, 7)
# Cycles of the best frequency per time constant, for kernels of these orders.
BEST_CYCLES = 0.42 / (2 * np.pi)
TEMPORAL_FREQUENCY = (3.0, 6.0)  # Hz
ONSET = (0.01, 0.04)  # seconds before anything reaches the cortex
UNDERSHOOT = (0.6, 1.0)  # size of the second phase; 1 is blind to what does not change
SEPARABLE_SHARE = 0.4  # of neurons that do not care for direction
DIRECTIONALITY = (0.6, 1.0)  # weight of the other half of the pair, in the others

UNITS = {
    "true_direction": ("true preferred direction of motion", "deg"),
    "true_direction_selectivity": (
        "(preferred - opposite) / (preferred + opposite) amplitude of the linear response",
        "1",
    ),
    "true_temporal_frequency": ("true preferred temporal frequency", "Hz"),
    "true_latency_frames": ("frames from a flash to the peak of the faster kernel", "frame"),
}


def add_motion(
    neurons: xr.Dataset, frame_rate: float, generator: np.random.Generator
) -> tuple[xr.Dataset, np.ndarray]:
    """Give neurons temporal kernels and preferred directions.

    Parameters
    ----------
    neurons : xarray.Dataset
        With `true_orientation`, in degrees.
    frame_rate : float
        In Hz.
    generator : Generator

    Returns
    -------
    neurons : xarray.Dataset
        With `true_direction` (NaN where none is preferred), `true_direction_selectivity`,
        `true_temporal_frequency` and `true_latency_frames`.
    kernels : ndarray of shape (n_neuron, 2, n_lag)
        Weight of the frame `lag` frames ago, for the filter itself and for the one 90 degrees
        later in phase.

    Notes
    -----
    With a pair of spatial filters in quadrature, even ``e`` and odd ``o``, and a fast and a
    slow kernel, ``e fast + s o slow`` and ``o fast - s e slow`` are oriented in space-time and
    again in quadrature. At ``s = 0`` they are separable and blind to direction.

    References
    ----------
    Adelson & Bergen (1985), Journal of the Optical Society of America A 2: 284-299.

    """
    n = neurons.sizes["neuron"]
    best = generator.uniform(*TEMPORAL_FREQUENCY, n)
    onset, undershoot = generator.uniform(*ONSET, n), generator.uniform(*UNDERSHOOT, n)
    selective = generator.permutation(n) >= round(SEPARABLE_SHARE * n)
    weight = np.where(selective, generator.uniform(*DIRECTIONALITY, n), 0.0)
    forward = generator.uniform(size=n) < 0.5

    lag = np.arange(round(MEMORY * frame_rate) + 1) / frame_rate
    fast, slow = make_kernels(lag, best, onset, undershoot)
    preferred, opposite, frequency = _tuning(fast, slow, weight, frame_rate)
    fine = np.linspace(0, MEMORY, 5001)
    peak = fine[make_kernels(fine, best, onset, undershoot)[0].argmax(1)]
    # A phase that grows moves bars to their orientation + 90 (see `stimuli`); the slow kernel
    # lags the fast one, so that a negative weight adds to it in that direction.
    direction = neurons.true_orientation.values + np.where(forward, 90.0, -90.0)
    values = {
        "true_direction": np.where(selective, direction % 360, np.nan),
        "true_direction_selectivity": (preferred - opposite) / (preferred + opposite),
        "true_temporal_frequency": frequency,
        "true_latency_frames": peak * frame_rate,
    }
    for name, value in values.items():
        long_name, units = UNITS[name]
        attrs = {"long_name": long_name, "units": units}
        neurons = neurons.assign_coords({name: ("neuron", value, attrs)})
    signed = np.where(forward, -weight, weight)[:, None]
    return neurons, np.stack([fast, signed * slow], 1)


def make_kernels(
    lag: np.ndarray, frequency: np.ndarray, onset: np.ndarray, undershoot: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Biphasic kernels, each a difference of two gamma functions, of unit norm.

    Parameters
    ----------
    lag : ndarray of shape (n_lag,)
        Time since the frame, in seconds.
    frequency : ndarray of shape (n,)
        Temporal frequency that passes best, in Hz, about.
    onset : ndarray of shape (n,)
        Delay, in seconds.
    undershoot : ndarray of shape (n,)
        Area of the second phase as a share of the first's.

    Returns
    -------
    fast, slow : ndarray of shape (n, n_lag)

    """
    time = np.maximum(lag - onset[:, None], 0) * (frequency / BEST_CYCLES)[:, None]
    kernels = []
    for order in ORDERS:
        second = undershoot[:, None] * time**2 / factorial(order + 2)
        kernel = time**order * np.exp(-time) * (1 / factorial(order) - second)
        kernels.append(kernel / np.linalg.norm(kernel, axis=1, keepdims=True))
    return kernels[0], kernels[1]


def _tuning(
    fast: np.ndarray, slow: np.ndarray, weight: np.ndarray, frame_rate: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Amplitudes in the preferred and the opposite direction, at the best frequency, in Hz."""
    frequency = np.linspace(0.25, frame_rate / 2, 400)
    wave = np.exp(-2j * np.pi * np.outer(np.arange(fast.shape[1]), frequency) / frame_rate)
    quadrature = 1j * weight[:, None] * (slow @ wave)
    preferred, opposite = np.abs(fast @ wave + quadrature), np.abs(fast @ wave - quadrature)
    best = (np.arange(len(fast)), preferred.argmax(1))
    return preferred[best], opposite[best], frequency[best[1]]
