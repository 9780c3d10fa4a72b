"""Correlation over trials that come batch by batch, too many to lie in memory together."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from twinlab.evaluation.measures import MEASURES

__all__ = ["batched_correlation"]


def batched_correlation(batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """As `single_trial_correlation` of all batches together, in the memory of one.

    Parameters
    ----------
    batches : iterable of pairs of ndarray of shape (n_trial, n_neuron)
        Response, NaN where missing, and prediction; at least one batch.

    Returns
    -------
    ndarray of shape (n_neuron,)
        NaN where either is constant, or varies by rounding alone.

    """
    centre = None
    for response, prediction in batches:
        present = ~np.isnan(response)
        if centre is None:  # sums of squares stay exact around anything near the mean
            count = np.maximum(present.sum(axis=0), 1)
            centre = np.where(present, response, 0).sum(axis=0, dtype=np.float64) / count
            sums = np.zeros((6, response.shape[1]))
            low, high = np.full((2, response.shape[1]), [[np.inf], [-np.inf]])
            rounding = 8 * np.finfo(prediction.dtype).eps
        r = np.where(present, response - centre, 0)
        p = np.where(present, prediction - centre, 0)
        sums += [present.sum(axis=0)] + [v.sum(axis=0) for v in (r, p, r * r, p * p, r * p)]
        low = np.minimum(low, prediction.min(axis=0))
        high = np.maximum(high, prediction.max(axis=0))
    if centre is None:
        msg = "There are no batches to correlate."
        raise ValueError(msg)
    with np.errstate(invalid="ignore", divide="ignore"):
        constant = high - low <= rounding * np.maximum(np.abs(low), np.abs(high))
        found = MEASURES["single_trial_correlation"].read(sums)
    return np.where(constant, np.nan, found)
