"""What `twinlab score` looks at before it scores: whether the twin has seen these trials."""

from __future__ import annotations

import json

import xarray as xr

from twinlab import recordings, twins
from twinlab.twins import Twin

__all__ = ["split_to_score"]


def split_to_score(twin: Twin, recording: xr.Dataset, split: str) -> tuple[xr.Dataset, str]:
    """The recording, divided as the twin knows it, and what to say of that (empty if nothing)."""
    origin = twins.recorded_by(twin, recording).origin
    fitted = recordings.split_as_fitted(recording, origin)
    if "split" not in origin:
        return fitted, ""  # the truth, or of an earlier version
    if recordings.trained_trials(fitted, origin) is None:
        return fitted, (
            "Note: this is not the split the twin was fitted with; it may have been trained on "
            "some of these trials."
        )
    if split == "train":
        return fitted, f"Note: the twin was trained on these {split} trials."
    if fitted is recording:
        return fitted, ""
    rule = json.loads(origin["split_rule"])
    words = ", ".join(f"{name} {value}" for name, value in rule.items())
    return fitted, f"Scored on the split the twin was fitted with ({words})."
