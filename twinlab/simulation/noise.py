"""From mean response to single trials, and from noise to reliability."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta

from twinlab.schema import InputError

__all__ = [
    "NOISES",
    "REPEATS",
    "draw_responses",
    "noise_to_signal",
    "oracle_correlation",
    "reliable_scale",
]

REPEATS = 10  # for which `reliability` is stated
RELIABILITY_SPREAD = 0.1  # standard deviation across neurons
LARGEST_MEAN = 10.0  # events per trial
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


def reliable_scale(
    drive: np.ndarray, noise: str, reliability: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Events per unit drive of each neuron, and the oracle correlation it then has.

    Parameters
    ----------
    drive : ndarray of shape (n_image, n_state, n_neuron)
        Mean responses to each image in different states of the animal, in arbitrary units.
    noise : {"poisson", "calcium"}
    reliability : float
        Oracle correlation with `REPEATS` repeats, mean across neurons.
    generator : Generator
        Decides which neurons are the reliable ones.

    Returns
    -------
    scale, expected : ndarray of shape (n_neuron,)

    Raises
    ------
    InputError
        If the animal's states alone vary the responses too much.

    """
    n_state, n_neuron = drive.shape[1:]
    mean = drive.mean((0, 1))
    wander = drive.var(1, ddof=1).mean(0)  # by behaviour and gaze, within an image
    signal = drive.mean(1).var(0, ddof=1) - wander / n_state  # between images
    dispersion = NOISES[noise][1]
    rank = generator.permutation((np.arange(n_neuron) + 0.5) / n_neuron)

    def scale_for(target: float) -> np.ndarray:
        spread = min(RELIABILITY_SPREAD, 0.5 * np.sqrt(target * (1 - target)))
        pseudo_count = target * (1 - target) / spread**2 - 1
        wanted = beta.ppf(rank, target * pseudo_count, (1 - target) * pseudo_count)
        # Trial noise grows with the scale, signal and wandering with its square.
        room = np.maximum(noise_to_signal(wanted, REPEATS) - wander / signal, 1e-9)
        return np.minimum(dispersion * mean / (signal * room), LARGEST_MEAN / mean)

    def reached(scale: np.ndarray) -> np.ndarray:
        return oracle_correlation(wander / signal + dispersion * mean / (scale * signal), REPEATS)

    # Where behaviour keeps the best neurons below their target, the others make up for it.
    best = reached(scale_for(0.95)).mean()
    if best < reliability:
        msg = (
            f"`reliability` cannot be {reliability:g}: behaviour and gaze alone limit "
            f"these neurons to {best:.2f}; lower it, or `running_gain`, `pupil_gain` and "
            "`gaze_shift`."
        )
        raise InputError(msg)
    target = brentq(lambda t: reached(scale_for(t)).mean() - reliability, 0.5 * reliability, 0.95)
    scale = scale_for(target)
    return scale, reached(scale)
