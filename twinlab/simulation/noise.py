"""From mean response to single trials, and from noise to reliability."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from twinlab.schema import InputError

__all__ = ["NOISES", "draw_responses", "noise_to_signal", "oracle_correlation"]

EVENT_SHAPE = 2.0  # of the Gamma density of the amplitude of one calcium event


def draw_poisson(rate: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Spike counts."""
    return generator.poisson(rate)


def draw_calcium(rate: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Deconvolved amplitudes: a Poisson number of events, each of Gamma size with mean 1."""
    return generator.gamma(EVENT_SHAPE * generator.poisson(rate)) / EVENT_SHAPE


# How a trial is drawn, its variance per unit of mean, and its units.
NOISES: dict[str, tuple[Callable[..., np.ndarray], float, str]] = {
    "poisson": (draw_poisson, 1.0, "spike count"),
    "calcium": (draw_calcium, 1.0 + 1.0 / EVENT_SHAPE, "deconvolved calcium, a.u."),
}


def draw_responses(rate: np.ndarray, seed: int | np.random.Generator, noise: str) -> np.ndarray:
    """Single-trial responses with a given mean.

    Parameters
    ----------
    rate : ndarray of any shape
        Mean response, in events per trial.
    seed : int or Generator
    noise : {"poisson", "calcium"}
        Counts with variance equal to the mean; or zero-inflated amplitudes (a Poisson number
        of events, each Gamma-distributed with mean 1) with a variance of 1.5 times the mean.

    Returns
    -------
    ndarray of the shape of `rate`, float32

    Raises
    ------
    InputError
        If the noise is unknown.

    """
    if noise not in NOISES:
        msg = f"Unknown noise {noise!r}; `noise` must be one of {list(NOISES)}."
        raise InputError(msg)
    return NOISES[noise][0](rate, np.random.default_rng(seed)).astype(np.float32)


def oracle_correlation(noise: np.ndarray, n_repeat: int) -> np.ndarray:
    """Return the expected correlation of a trial with the mean of the other trials of its image.

    Parameters
    ----------
    noise : ndarray
        Variance within an image as a multiple of the variance between images.
    n_repeat : int

    Returns
    -------
    ndarray of the shape of `noise`

    """
    return 1 / np.sqrt((1 + noise) * (1 + noise / (n_repeat - 1)))


def noise_to_signal(oracle: np.ndarray, n_repeat: int) -> np.ndarray:
    """Inverse of `oracle_correlation`."""
    others = n_repeat - 1
    # The positive root of noise ** 2 / others + noise (1 + 1 / others) + 1 - oracle ** -2 = 0.
    linear = n_repeat / others
    return (np.sqrt(linear**2 + 4 / others * (oracle**-2 - 1)) - linear) * others / 2
