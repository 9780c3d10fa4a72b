"""Curves of correct choices against stimulus difference: ROC areas and thresholds."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from twinlab.insilico.series import check_choice
from twinlab.jobs import Job

__all__ = ["CURVES", "bootstrap_roc_areas", "fit_threshold", "predict_correct", "roc_area"]

CURVES = ("weibull", "gaussian")
CRITERION = 0.75  # share correct at threshold, midway between chance and certainty

# Where the fit starts: thresholds relative to the differences, and slopes.
N_THRESHOLD = 24
SLOPES = np.array([0.5, 1.0, 1.5, 2.5, 4.0, 7.0])
N_STEP = 25
ROWS = 1024  # curves fitted at once


def roc_area(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Area under the receiver operating characteristic: P(second > first) + P(equal) / 2.

    It is the share correct of an ideal observer who sees one response to each of two stimuli
    and says which is which (2AFC).

    Parameters
    ----------
    first : ndarray of shape (n_first, ...)
    second : ndarray of shape (n_second, ...)

    Returns
    -------
    ndarray of shape (...)
        0.5 where the two cannot be told apart; below where `second` is the smaller.

    References
    ----------
    Green & Swets (1966), Signal Detection Theory and Psychophysics; Britten et al. (1992),
    Journal of Neuroscience 12: 4745-4765.

    Examples
    --------
    >>> roc_area(np.array([1, 2, 3]), np.array([2, 3, 4]))
    array(0.77777778)

    """
    n_first, n_second = len(first), len(second)
    rank = rankdata(np.concatenate([first, second]), axis=0)[n_first:].sum(0)
    return np.asarray((rank - n_second * (n_second + 1) / 2) / (n_first * n_second))


def bootstrap_roc_areas(
    first: np.ndarray, second: np.ndarray, n_bootstrap: int, rng: np.random.Generator, job: Job
) -> np.ndarray:
    """ROC areas of resampled trials, the same for all columns, (n_bootstrap, n_column)."""
    weight = [
        rng.multinomial(len(values), np.full(len(values), 1 / len(values)), n_bootstrap)
        for values in (first, second)
    ]
    areas = np.empty((n_bootstrap, first.shape[1]))
    for column, (a, b) in enumerate(zip(first.T, second.T, strict=True)):
        job.report(column / first.shape[1])
        order = np.argsort(a)
        below = np.zeros((n_bootstrap, len(a) + 1))
        np.cumsum(weight[0][:, order], axis=1, out=below[:, 1:])
        smaller, not_larger = (np.searchsorted(a[order], b, side) for side in ("left", "right"))
        share = below[:, smaller] + below[:, not_larger]
        areas[:, column] = (share * weight[1]).sum(1) / (2 * len(a) * len(b))
    return areas


def predict_correct(
    difference: np.ndarray, threshold: np.ndarray, slope: np.ndarray, curve: str
) -> np.ndarray:
    """Share correct at each difference, (..., n_difference), of curves as `fit_threshold` has."""
    power = (difference / threshold[..., None]) ** slope[..., None]
    if curve == "weibull":
        return 1 - 0.5 * np.exp2(-power)
    return np.asarray(ndtr(ndtri(CRITERION) * power))


def fit_threshold(
    difference: np.ndarray,
    correct: np.ndarray,
    n_trial: np.ndarray,
    *,
    curve: str = "weibull",
    job: Job | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Threshold and slope of many neurometric curves, by maximum likelihood.

    With threshold t and slope b the share correct at difference x is, of two alternatives,

    - Weibull: :math:`1 - \tfrac12 \, 2^{-(x/t)^b}`;
    - cumulative Gaussian: :math:`\Phi(z (x/t)^b)`, with :math:`\Phi(z) = 0.75`: that of an
      observer whose d' is a power of x.

    Both are 0.5 at 0 and 0.75 at t. There are no lapses: the observer is ideal. Each share is
    taken as that of independent choices (as Britten et al. do with ROC areas).

    Parameters
    ----------
    difference : ndarray of shape (n_difference,)
        Positive.
    correct : ndarray of shape (n_curve, n_difference)
        Share of correct choices.
    n_trial : ndarray of shape (n_difference,)
        Choices each share is of.
    curve : {"weibull", "gaussian"}
    job : Job, optional

    Returns
    -------
    threshold, slope : ndarray of shape (n_curve,)
        NaN where the threshold lies above the largest difference or below the smallest: such a
        curve was not seen to pass it.
    below : ndarray of bool (n_curve,)
        Where it lies below the smallest, which is told apart too well to say how far.

    Raises
    ------
    InputError
        If the curve is unknown.

    References
    ----------
    Britten et al. (1992), Journal of Neuroscience 12: 4745-4765; Wichmann & Hill (2001),
    Perception & Psychophysics 63: 1293-1313.

    """
    check_choice("curve", curve, CURVES)
    job = job or Job()
    threshold, slope = np.full((2, len(correct)), np.nan)
    for start in range(0, len(correct), ROWS):
        job.report(start / len(correct), f"curve {start} of {len(correct)}")
        part = slice(start, start + ROWS)
        found = _climb(difference, correct[part], n_trial, curve)
        threshold[part], slope[part] = np.exp(found.T)
    below = threshold < difference.min() * (1 - 1e-9)
    seen = ~below & (threshold <= difference.max())
    return np.where(seen, threshold, np.nan), np.where(seen, slope, np.nan), below


def _climb(
    difference: np.ndarray, correct: np.ndarray, n_trial: np.ndarray, curve: str
) -> np.ndarray:
    """Logarithms of threshold and slope, (n_curve, 2): the best of a grid, then Fisher scoring."""

    def share(place: np.ndarray) -> np.ndarray:
        expected = predict_correct(difference, np.exp(place[:, 0]), np.exp(place[:, 1]), curve)
        return np.clip(expected, 1e-9, 1 - 1e-9)

    def likelihood(expected: np.ndarray) -> np.ndarray:
        return (n_trial * (correct * np.log(expected) + (1 - correct) * np.log1p(-expected))).sum(
            -1
        )

    # Thresholds far beyond the differences are tried too: flat curves shall end there.
    first = np.geomspace(difference.min() / 10, difference.max() * 30, N_THRESHOLD)
    grid = np.log(np.stack(np.meshgrid(first, SLOPES, indexing="ij"), -1).reshape(-1, 2))
    tried = share(grid)
    score = (n_trial * correct) @ np.log(tried).T
    score += (n_trial * (1 - correct)) @ np.log1p(-tried).T
    place = grid[score.argmax(1)]
    value = likelihood(share(place))
    bold = np.ones(len(place))
    for _ in range(N_STEP):
        expected = share(place)
        nearby = [(share(place + 1e-5 * e) - share(place - 1e-5 * e)) / 2e-5 for e in np.eye(2)]
        slope = np.stack(nearby, -1)  # (curve, difference, parameter)
        weight = n_trial / (expected * (1 - expected))
        gradient = np.einsum("cd,cdp->cp", weight * (correct - expected), slope)
        information = np.einsum("cd,cdp,cdq->cpq", weight, slope, slope)
        information += 1e-6 * np.eye(2)
        step = np.linalg.solve(information, gradient[..., None])[..., 0]
        trial = place + bold[:, None] * np.clip(step, -0.5, 0.5)
        trial[:, 1] = np.clip(trial[:, 1], np.log(0.1), np.log(20))
        reached = likelihood(share(trial))
        better = reached >= value
        place = np.where(better[:, None], trial, place)
        value = np.where(better, reached, value)
        bold = np.where(better, np.minimum(1.0, 2 * bold), bold / 4)
    return place
