"""Checks of the pixels of images and videos."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twinlab.recordings.checks.findings import Case, Finding
from twinlab.recordings.reading import listed

__all__ = [
    "check_constant_stimuli",
    "check_missing_pixels",
    "check_pixel_range",
    "check_pixel_type",
]

GREY = "grey level"


def check_pixel_range(case: Case) -> Iterator[Finding]:
    """Find grey levels that do not run from 0 to 255."""
    if case.recording.stimulus.attrs.get("units") != GREY:
        return
    low = float(np.nanmin(case.survey.lowest.values, initial=np.inf))
    high = float(np.nanmax(case.survey.highest.values, initial=-np.inf))
    found = f"grey levels run from {low:.3g} to {high:.3g}, expected 0 to 255"
    if low < 0 or high > 255:
        yield Finding(
            found, "stimulus", "warning",
            "undo the standardisation, or state what the numbers are in the units",
        )  # fmt: skip
    elif high <= 1:
        yield Finding(
            found, "stimulus", "warning", f"multiply by {255 / high:.4g} if {high:.3g} is white"
        )


def check_pixel_type(case: Case) -> Iterator[Finding]:
    """Find floats where bytes would do."""
    stimulus, survey = case.recording.stimulus, case.survey
    fits = survey.whole.all() and (survey.lowest >= 0).all() and (survey.highest <= 255).all()
    if stimulus.dtype != np.uint8 and bool(fits) and not survey.n_missing.any():
        yield Finding(
            f"{stimulus.dtype} holds whole numbers from 0 to 255 only", "stimulus", "note",
            f"store it as uint8, in {stimulus.dtype.itemsize} times less space",
        )  # fmt: skip


def check_constant_stimuli(case: Case) -> Iterator[Finding]:
    """Find stimuli all of whose pixels are the same."""
    constant = (case.survey.lowest == case.survey.highest).values
    if constant.any():
        which = listed([f"id {name}" for name in case.stimulus_ids[constant]])
        yield Finding(
            f"{constant.sum()} of {len(constant)} have the same value in all pixels",
            f"{case.kind}s: {which}", "warning",
            "leave them out unless blanks were shown on purpose",
        )  # fmt: skip


def check_missing_pixels(case: Case) -> Iterator[Finding]:
    """Find images with NaN, and videos that are NaN throughout (it may follow the last frame)."""
    n_missing = case.survey.n_missing.values
    size = int(np.prod(case.recording.stimulus.shape[1:]))
    missing = n_missing > 0 if case.kind == "image" else n_missing == size
    if missing.any():
        which = listed([f"id {name}" for name in case.stimulus_ids[missing]])
        yield Finding(
            f"{missing.sum()} of {len(missing)} have pixels that are NaN",
            f"{case.kind}s: {which}", "error", "leave these stimuli and their trials out",
        )  # fmt: skip
