"""Stimuli made on a twin, images and videos alike: shape, norm, how many at once, labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from twinlab.insilico.responses import spatial_coordinates
from twinlab.twins import StimulusSpec

__all__ = [
    "picture_attrs",
    "stimuli_at_once",
    "stimulus_coordinates",
    "stimulus_dims",
    "stimulus_shape",
    "total_norm",
]


def stimulus_shape(spec: StimulusSpec, n_frame: int) -> tuple[int, ...]:
    """Shape of one stimulus: (channel, y, x), or of a video (channel, frame, y, x)."""
    return (spec.channel, *([n_frame] if spec.is_video else []), spec.height, spec.width)


def stimulus_dims(spec: StimulusSpec) -> tuple[str, ...]:
    """Names of the dimensions of one stimulus."""
    return ("channel", *(["frame"] if spec.is_video else []), "y", "x")


def total_norm(spec: StimulusSpec, norm: float, n_frame: int) -> float:
    """L2 norm over all pixels; of a video `norm` is the root mean square over its frames."""
    return norm * float(np.sqrt(n_frame)) if spec.is_video else norm


def stimuli_at_once(spec: StimulusSpec, n_frame: int, batch_size: int) -> int:
    """Stimuli in a batch: videos that have as many frames together, as each has maps of its own.

    What is not at least 1 is left for its user to refuse.
    """
    return max(1, batch_size // n_frame) if spec.is_video and batch_size > 0 else batch_size


def picture_attrs(spec: StimulusSpec, long_name: str) -> dict[str, Any]:
    """Attributes of a variable that holds stimuli.

    `display_range` is what can be shown, by which figures tell black and white.
    """
    return {
        "long_name": long_name,
        "units": "grey level",
        "display_range": [float(spec.low), float(spec.high)],
    }


def stimulus_coordinates(spec: StimulusSpec, n_frame: int) -> dict[str, Any]:
    """Coordinates of the pixels of a stimulus, and of a video the time of its frames."""
    found = spatial_coordinates(spec.height, spec.width)
    if spec.frame_rate is not None:
        time = np.arange(n_frame) / spec.frame_rate
        found["time"] = ("frame", time, {"long_name": "time", "units": "s"})
    return found
