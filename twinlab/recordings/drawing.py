"""Splits drawn by image where authors published none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twinlab.schema import InputError, check_seed

__all__ = ["FRACTIONS", "check_fractions", "draw_split", "hold_out"]

FRACTIONS = (0.8, 0.1, 0.1)


def check_fractions(fractions: Sequence[float]) -> np.ndarray:
    """Return shares of training, validation and test, or raise `InputError` if they are none."""
    shares = np.asarray(fractions, np.float64)
    if shares.shape != (3,) or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
        msg = (
            f"`fractions` are {tuple(fractions)}; expected three numbers from 0 that add up to 1, "
            "the shares of training, validation and test."
        )
        raise InputError(msg)
    return shares


def draw_split(
    n_shown: np.ndarray, group: np.ndarray | None, fractions: Sequence[float], seed: int
) -> np.ndarray:
    """Draw a split of images; the test comes from those shown at least twice, if there are any.

    Parameters
    ----------
    n_shown : ndarray of shape (n_image,)
        How many trials showed each image.
    group : ndarray of shape (n_image,) or None
        Images of one group are drawn together.
    fractions : sequence of 3 numbers
        Shares of the images (or groups) for training, validation and test.
    seed : int

    Returns
    -------
    ndarray of shape (n_image,)
        `train`, `validation` or `test`.

    Raises
    ------
    InputError
        If the fractions do not add up to 1, or the seed is negative.

    """
    shares = check_fractions(fractions)
    n_image = len(n_shown)
    labels = np.arange(n_image) if group is None else np.unique(group, return_inverse=True)[1]
    n_group = labels.max() + 1
    repeated = np.zeros(n_group, bool)
    np.logical_or.at(repeated, labels, n_shown > 1)
    generator = np.random.default_rng(check_seed(seed))
    order = generator.permutation(n_group)
    order = order[np.argsort(~repeated[order], kind="stable")]
    n_validation, n_test = (round(share * n_group) for share in shares[1:])
    split = np.full(n_group, "train", "<U10")
    split[order[:n_test]] = "test"
    split[generator.permutation(order[n_test:])[:n_validation]] = "validation"
    return split[labels]


def hold_out(split: np.ndarray, *, share: float = 0.1, seed: int = 0) -> np.ndarray:
    """Draw images for validation out of those for training, where authors name none.

    Parameters
    ----------
    split : ndarray of shape (n_image,)
    share : float
        Of the training images.
    seed : int

    Returns
    -------
    ndarray of shape (n_image,)

    """
    train = np.flatnonzero(split == "train")
    drawn = np.random.default_rng(seed).permutation(train)[: round(share * len(train))]
    return np.where(np.isin(np.arange(len(split)), drawn), "validation", split)
