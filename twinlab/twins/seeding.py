"""Torch's one stream of random numbers, lent to one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["seeded"]

_LENT = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from torch's own stream as if it had just been seeded; afterwards it is as before.

    For layers that draw from nothing else: initial weights, dropout. All threads of a process
    share the stream. Whoever else asks for it waits here, so that fits and twins that are built
    at the same time do not change each other's numbers.

    Parameters
    ----------
    seed : int
        On the CPU and on all GPUs in use.

    """
    streams = [torch.default_generator, *torch.cuda.default_generators]
    with _LENT:
        before = [stream.get_state() for stream in streams]
        for stream in streams:
            stream.manual_seed(seed)
        try:
            yield
        finally:
            for stream, state in zip(streams, before, strict=True):
                stream.set_state(state)
