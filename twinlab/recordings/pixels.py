"""What every reader does to pixels: whole grey levels stay bytes, short videos are filled up."""

from __future__ import annotations

import numpy as np

__all__ = ["are_grey_levels", "as_grey_levels", "fill_up"]


def are_grey_levels(pixels: np.ndarray) -> bool:
    """Whether every pixel is a whole number from 0 to 255, so that `uint8` loses nothing."""
    if pixels.dtype == np.uint8:
        return True
    with np.errstate(invalid="ignore", over="ignore"):
        return bool((pixels == pixels.astype(np.uint8)).all())


def as_grey_levels(pixels: np.ndarray) -> np.ndarray:
    """Return `uint8` where that loses nothing, `float32` otherwise."""
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which readers refuse
        return pixels.astype(np.uint8 if are_grey_levels(pixels) else np.float32, copy=False)


def fill_up(row: np.ndarray, frames: np.ndarray) -> None:
    """Put a video into a row that may be longer; its mean grey level follows.

    Parameters
    ----------
    row : ndarray of shape (channel, n_frame, y, x)
        `uint8` or `float32`; changed in place.
    frames : ndarray of shape (channel, n, y, x)
        At most `n_frame` of them, and at least one.

    """
    end = frames.shape[1]
    row[:, :end] = frames
    if end < row.shape[1]:
        mean = frames.mean(dtype=np.float64)
        row[:, end:] = np.rint(mean) if row.dtype.kind == "u" else mean
