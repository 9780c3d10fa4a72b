"""Stimuli made on a twin, images and videos alike: shape, norm, how many at once, labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from twinlab.insilico.responses import settle, spatial_coordinates
from twinlab.jobs import Job
from twinlab.stimuli import make_dead_leaves
from twinlab.twins import ConditionedTwin, StimulusSpec

__all__ = [
    "draw_leaves",
    "picture_attrs",
    "settled_rates",
    "stimuli_at_once",
    "stimulus_coordinates",
    "stimulus_dims",
    "stimulus_shape",
    "total_norm",
]


AT_ONCE = 2**17  # pixels of a batch of videos: one of 30 frames of 36 x 64, many of small ones


def stimulus_shape(spec: StimulusSpec, n_frame: int) -> tuple[int, ...]:
    """Shape of one stimulus: (channel, y, x), or of a video (channel, frame, y, x)."""
    return (spec.channel, *([n_frame] if spec.is_video else []), spec.height, spec.width)


def stimulus_dims(spec: StimulusSpec) -> tuple[str, ...]:
    """Names of the dimensions of one stimulus."""
    return ("channel", *(["frame"] if spec.is_video else []), "y", "x")


def total_norm(spec: StimulusSpec, norm: float, n_frame: int) -> float:
    """L2 norm over all pixels; of a video `norm` is the root mean square over its frames."""
    return norm * float(np.sqrt(n_frame)) if spec.is_video else norm


def stimuli_at_once(twin: ConditionedTwin, n_frame: int, batch_size: int) -> int:
    """Stimuli in a batch: videos with as many frames together, as each frame has its own maps.

    On a CPU no more than has `AT_ONCE` pixels, so that a job is looked at often: a larger batch
    saves a deep twin no time. A size that is not positive is left for its user to refuse.
    """
    if not twin.spec.is_video or batch_size < 1:
        return batch_size
    most = batch_size // n_frame
    if twin.device.type == "cpu":
        most = min(most, AT_ONCE // int(np.prod(stimulus_shape(twin.spec, n_frame))))
    return max(1, most)


def settled_rates(
    twin: ConditionedTwin, positions: np.ndarray, stimuli: Tensor, job: Job
) -> Tensor:
    """Rate of neuron i for stimulus i; of videos no more at once than leave time for a look."""
    size = len(stimuli)
    if twin.spec.is_video:
        size = stimuli_at_once(twin, stimuli.shape[2], size * stimuli.shape[2])
    found = []
    for first in range(0, len(stimuli), size):
        job.check()
        part = slice(first, first + size)
        found.append(settle(twin.paired(positions[part])(stimuli[part]), twin.spec))
    return torch.cat(found)


def draw_leaves(spec: StimulusSpec, n: int, seed: int) -> np.ndarray:
    """Dead leaves (n, channel, y, x), float32, from black to white as the twin knows them."""
    leaves = make_dead_leaves(n, spec.height, spec.width, seed=seed, channel=spec.channel).values
    shown: np.ndarray = spec.low + leaves.astype(np.float32) * ((spec.high - spec.low) / 255)
    return shown.astype(np.float32)


def picture_attrs(spec: StimulusSpec | None, long_name: str) -> dict[str, Any]:
    """Attributes of a variable that holds stimuli.

    `display_range` is what can be shown to the twin, by which figures tell black and white; it is
    left out where no twin is there to say.
    """
    shown = {} if spec is None else {"display_range": [float(spec.low), float(spec.high)]}
    return {"long_name": long_name, "units": "grey level", **shown}


def stimulus_coordinates(spec: StimulusSpec, n_frame: int) -> dict[str, Any]:
    """Coordinates of the pixels of a stimulus, and of a video the time of its frames."""
    found = spatial_coordinates(spec.height, spec.width)
    if spec.frame_rate is not None:
        time = np.arange(n_frame) / spec.frame_rate
        found["time"] = ("frame", time, {"long_name": "time", "units": "s"})
    return found
