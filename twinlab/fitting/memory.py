"""How much memory a fit will take, told before it starts."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from twinlab.fitting.settings import FitSettings
from twinlab.schema import InputError
from twinlab.twins.seeding import seeded

if TYPE_CHECKING:
    from twinlab.fitting.training import Part

__all__ = ["check_memory", "estimate_memory", "free_memory"]

TRIED = 2  # trials shown to see what each of them leaves in memory


def estimate_memory(parts: list[Part], settings: FitSettings) -> int:
    """Bytes that a fit needs at its peak, beyond the recording: weights, moments and one batch.

    What the gradient needs of each trial is counted on a forward pass of two trials; the
    backward pass holds about half as much again.
    """
    weights = sum(
        value.numel() * value.element_size() for p in parts for value in p.twin.parameters()
    )
    # weights, gradients, two moments, the best so far, and their average
    total = weights * (6 if settings.average else 5)
    batch = 0
    for part in parts:
        clip = None
        trials = torch.arange(min(TRIED, len(part.train)))
        if part.twin.spec.is_video:
            frames = min(settings.clip_frames, int(part.train.frames.max()))
            clip = torch.zeros(len(trials), dtype=torch.int64), frames
        images, _, context = part.train.batch(trials.to(part.train.index.device), clip)
        held = _held(part, images, context) / len(trials)
        batch += int(1.5 * held * min(settings.batch_size, len(part.train)))
    return total + batch


def _held(part: Part, images: Tensor, context: dict[str, Tensor]) -> int:
    """Bytes kept for the gradient by a forward pass, weights not counted."""
    twin = copy.deepcopy(part.twin).train()  # batch-norm statistics of the real one stay
    own = {value.untyped_storage().data_ptr() for value in twin.parameters()}
    held: dict[int, int] = {}

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return value

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda value: value)
    with seeded(0), hooks:
        rate = twin.relative_rate(images, **context, whole=False)  # type: ignore[arg-type]
        del rate
    return sum(held.values())


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on a device: on the CPU, what the system calls available."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable"))
        return int(kilobytes) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(parts: list[Part], settings: FitSettings) -> str:
    """Say how much memory the fit needs, or raise `InputError` if there is less."""
    needed = estimate_memory(parts, settings)
    free = free_memory(parts[0].train.index.device)
    words = f"needs about {needed / 2**30:.2f} GiB of the {free / 2**30:.1f} GiB that are free"
    if needed > free:
        smaller = "`batch_size`, `clip_frames`" if parts[0].twin.spec.is_video else "`batch_size`"
        msg = (
            f"The fit {words}; lower {smaller} (now {settings.batch_size}) or `hidden` "
            f"(now {parts[0].twin.architecture.hidden})."
        )
        raise InputError(msg)
    return f"The fit {words}."
