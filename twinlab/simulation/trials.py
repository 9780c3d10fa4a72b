"""Which stimulus each trial shows, and how many are dealt with at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from twinlab.schema import InputError

__all__ = ["check_numbers", "order_trials", "portions"]

BATCH = 100  # images, trials or frames of them between two reports


def check_numbers(
    count: Mapping[str, int], n_repeat: int, what: str, n_given: int | None = None
) -> int:
    """Total number of images (or videos), or `InputError` if they cannot be shown.

    `n_given` is how many there are, where they are the user's own.
    """
    total = sum(count.values())
    if min(*count.values(), n_repeat - 1) < 0 or total < 1:
        msg = (
            f"A recording needs at least one {what}, no negative number of {what}s, and "
            f"`n_repeat` >= 1, but got {dict(count)} and n_repeat = {n_repeat}."
        )
        raise InputError(msg)
    if n_given is not None and total != n_given:
        msg = (
            f"`stimulus` has {n_given} {what}s, but {dict(count)} adds up to {total}; "
            "leave `n_train` out to train on all the others."
        )
        raise InputError(msg)
    return total


def order_trials(
    count: Mapping[str, int], n_repeat: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Which stimulus each trial shows, at random, test stimuli repeatedly; split of each."""
    split = np.repeat(list(count), list(count.values()))
    shown = np.repeat(np.arange(len(split)), np.where(split == "test", n_repeat, 1))
    shown = generator.permutation(shown)
    return shown, split[shown]


def portions(n: int, n_frame: int) -> Iterator[tuple[int, int]]:
    """Ranges of stimuli of so many frames that are dealt with between two reports."""
    size = max(BATCH // n_frame, 1)
    for start in range(0, n, size):
        yield start, min(start + size, n)
