"""What a fit must know of all responses, in one pass over them, a few trials at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["ResponseSummary", "as_rows", "response_moments", "summarise_responses"]


@dataclass(frozen=True)
class ResponseSummary:
    """Moments of each neuron's responses, and where there are any.

    Attributes
    ----------
    count : ndarray of int of shape (n_neuron,)
        Responses that are not missing.
    mean, deviation, low, high : ndarray of shape (n_neuron,)
        Of those: mean, summed squares of what is left of it, smallest and largest.
    recorded : ndarray of bool of shape (n_trial[, n_frame])
        Whether any neuron's response is there.
    n_missing : int
    first_missing : tuple of int, or None
        Trial and neuron of the first missing response.

    """

    count: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    recorded: np.ndarray
    n_missing: int
    first_missing: tuple[int, int] | None

    @property
    def scale(self) -> np.ndarray:
        """Unit in which each neuron's loss is counted, (n_neuron,); see `response_moments`."""
        spread = np.sqrt(self.deviation / np.maximum(self.count, 1))
        usual = max(spread.mean(), 1e-12)
        return np.where(spread > 0.01 * usual, spread, usual)

    @property
    def varied(self) -> np.ndarray:
        """Whether each neuron's response was ever another than its first, (n_neuron,)."""
        return self.high > self.low

    @property
    def n_frame(self) -> np.ndarray:
        """Frames of each trial up to the last response of any neuron, (n_trial,)."""
        return self.recorded.shape[1] - self.recorded[:, ::-1].argmax(1)


def summarise_responses(blocks: Iterable[np.ndarray]) -> ResponseSummary:
    """Summarise responses that come as one array or, where they lie on the disk, as several.

    Parameters
    ----------
    blocks : iterable of ndarray of shape (n, n_neuron[, n_frame])
        Successive trials, at least one; NaN where missing.

    """
    whole: ResponseSummary | None = None
    recorded: list[np.ndarray] = []
    for block in blocks:
        part = _summarise(block, sum(len(flags) for flags in recorded))
        recorded.append(part.recorded)
        whole = part if whole is None else _together(whole, part)
    if whole is None:
        msg = "There are no responses to summarise."
        raise ValueError(msg)
    return replace(whole, recorded=np.concatenate(recorded))


def _summarise(response: np.ndarray, first_trial: int) -> ResponseSummary:
    """Summary of one block, whose first trial has this number among all."""
    missing = np.isnan(response)
    n_missing = int(missing.sum())
    first = None
    if n_missing:
        trial, neuron = np.unravel_index(missing.argmax(), missing.shape)[:2]
        first = (first_trial + int(trial), int(neuron))
    rows = as_rows(response)
    seen = np.isfinite(rows)
    count = seen.sum(axis=0)
    mean = np.where(seen, rows, 0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
    deviation = (np.where(seen, rows - mean, 0) ** 2).sum(axis=0)
    return ResponseSummary(
        count=count,
        mean=mean,
        deviation=deviation,
        low=np.fmin.reduce(rows, axis=0, initial=np.inf),
        high=np.fmax.reduce(rows, axis=0, initial=-np.inf),
        recorded=~missing.all(axis=1),
        n_missing=n_missing,
        first_missing=first,
    )


def _together(one: ResponseSummary, other: ResponseSummary) -> ResponseSummary:
    """Summary of two blocks, but for `recorded` (Chan et al. 1983, Am. Stat. 37: 242)."""
    count = one.count + other.count
    away = other.mean - one.mean
    share = other.count / np.maximum(count, 1)
    return ResponseSummary(
        count=count,
        mean=one.mean + away * share,
        deviation=one.deviation + other.deviation + away**2 * one.count * share,
        low=np.minimum(one.low, other.low),
        high=np.maximum(one.high, other.high),
        recorded=one.recorded,
        n_missing=one.n_missing + other.n_missing,
        first_missing=one.first_missing or other.first_missing,
    )


def response_moments(response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean response of each neuron, and the unit in which its loss is counted.

    Parameters
    ----------
    response : ndarray of shape (n_trial, n_neuron[, n_frame])
        Of training trials; NaN where missing. A neuron may be missing altogether.

    Returns
    -------
    mean, scale : ndarray of shape (n_neuron,)
        The scale is the standard deviation; as in the 2022 recipe, a neuron that hardly varies
        (less than 1 % of the average one) is not blown up and gets the average one's.

    """
    summary = summarise_responses([response])
    return summary.mean, summary.scale


def as_rows(values: np.ndarray) -> np.ndarray:
    """What was recorded, (trial, n) or (trial, n, frame), as one row a trial or frame."""
    return values if values.ndim == 2 else np.moveaxis(values, 2, 1).reshape(-1, values.shape[1])
