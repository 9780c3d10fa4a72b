"""A recording on the disk as tensors, read batch by batch: memory does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import dask.array as da
import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.fitting.summaries import ResponseSummary, summarise_responses
from twinlab.fitting.trials import (
    AFTER,
    FRAMES,
    recorded_context,
    refuse_few,
    seen_frames,
    some_rows,
)

__all__ = ["StoredTrials", "read_ahead", "stored_trials"]

SAMPLE = 2**28  # bytes of responses from which positions and distributions are started

Item = TypeVar("Item")


@dataclass(frozen=True)
class StoredTrials:
    """Trials of one split, to a training loop the same as `Trials`, left on the disk.

    Attributes
    ----------
    stimulus, response : xarray.DataArray
        The recording's, lazy, of all trials.
    rows : ndarray of int of shape (n_trial,)
        Which trials of the recording these are.
    index : Tensor of int of shape (n_trial,)
        Image or video of each trial.
    context : dict of str to Tensor of shape (n_trial, n[, frame])
        `behavior` and `pupil_center`, in memory: a few numbers a trial and frame.
    summary : ResponseSummary

    """

    stimulus: xr.DataArray
    response: xr.DataArray
    rows: np.ndarray
    index: Tensor
    context: dict[str, Tensor]
    summary: ResponseSummary

    def __len__(self) -> int:
        """Count the trials."""
        return len(self.rows)

    def batch(
        self, chosen: Tensor, clip: tuple[Tensor, int] | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Images (float, grey levels), responses and context of the chosen trials.

        Of videos only a `clip` is taken, if given: the first frame of each, and their number.
        """
        index, rows = self.index[chosen].cpu().numpy(), self.rows[chosen.cpu().numpy()]
        if clip is None:
            images, response = self.stimulus.data[index], self.response.data[rows]
            context = {name: value[chosen] for name, value in self.context.items()}
        else:
            parts = [slice(begin, begin + clip[1]) for begin in clip[0].tolist()]
            images = _cut(self.stimulus.data, index, 1, parts)
            response = _cut(self.response.data, rows, 1, parts)
            context = {
                name: torch.stack(
                    [value[i, :, part] for i, part in zip(chosen.tolist(), parts, strict=True)]
                )
                for name, value in self.context.items()
            }
        where = self.index.device
        return (
            torch.from_numpy(_read(images)).to(where).float(),
            torch.from_numpy(_read(response)).to(where),
            context,
        )

    @property
    def frames(self) -> Tensor:
        """Frames of each trial up to its last response, (n_trial,), on the CPU."""
        return torch.as_tensor(self.summary.n_frame)

    def sample(self) -> np.ndarray:
        """Responses of trials, evenly chosen, that are at most 256 MB."""
        most = max(SAMPLE // self.response[0].nbytes, 1)
        return _read(self.response.data[self.rows[:: max(-(-len(self) // most), 1)]])

    def seen(self, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:
        """Images and responses from which receptive fields are read; see `Trials.seen`.

        Of images, trials evenly chosen; so many that neither they nor the responses are more
        than 256 MB.
        """
        pixels = self.stimulus[0, :, 0] if self.response.ndim == 3 else self.stimulus[0]
        row = self.response.dtype.itemsize * self.response.shape[1]
        most = max(SAMPLE // max(pixels.nbytes, row), 1)
        if self.response.ndim == 2:
            chosen = np.arange(0, len(self), max(-(-len(self) // min(frames, most)), 1))
            shown = self.stimulus.data[self.index.cpu().numpy()[chosen]]
            return _read(shown), _read(self.response.data[self.rows[chosen]])
        trial, frame = seen_frames(self.summary, min(frames, most))
        index = self.index.cpu().numpy()
        images = np.empty((len(trial), *pixels.shape), self.stimulus.dtype)
        responses = np.empty((len(trial), self.response.shape[1]), self.response.dtype)
        for one in np.unique(trial):
            here = trial == one
            video = _read(self.stimulus.data[index[one]])
            images[here] = video[:, frame[here]].swapaxes(0, 1)
            response = _read(self.response.data[self.rows[one]])
            window = np.stack([response[:, frame[here] + lag] for lag in range(1, AFTER + 1)])
            responses[here] = window.mean(0).T
        return images, responses


def stored_trials(recording: xr.Dataset, split: str, device: torch.device) -> StoredTrials:
    """Trials of one split in which at least one neuron was recorded; responses are read once.

    Parameters
    ----------
    recording : xarray.Dataset
        Lazy.
    split : {"train", "validation", "test"}
    device : torch.device
        Where batches are put.

    Raises
    ------
    InputError
        If there are too few of them.

    """
    rows = np.flatnonzero(recording.split.values == split)
    refuse_few(recording, split, len(rows), len(rows))
    answered: list[np.ndarray] = []

    def blocks() -> Iterator[np.ndarray]:
        for block in some_rows(recording.response, rows):
            answered.append(~np.isnan(block).all(axis=tuple(range(1, block.ndim))))
            yield block[answered[-1]]

    summary = summarise_responses(blocks())
    seen = rows[np.concatenate(answered)]
    refuse_few(recording, split, len(seen), len(rows))
    index = recording.stimulus_index.values[seen].astype(np.int64)
    return StoredTrials(
        stimulus=recording.stimulus,
        response=recording.response,
        rows=seen,
        index=torch.as_tensor(index).to(device),
        context=recorded_context(recording, seen, device),
        summary=summary,
    )


def read_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; while one is used, the next is made in a thread."""
    end: Any = object()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, end)
        while (item := waiting.result()) is not end:
            waiting = pool.submit(next, items, end)
            yield item


def _cut(values: da.Array, rows: np.ndarray, axis: int, parts: list[slice]) -> da.Array:
    """Another part, along an axis of a row, of each of some rows."""
    each = zip(rows.tolist(), parts, strict=True)
    return da.stack([values[(row, *[slice(None)] * axis, part)] for row, part in each])


def _read(values: da.Array) -> np.ndarray:
    # in this thread: the others are busy with the fit
    return np.ascontiguousarray(values.compute(scheduler="synchronous"))
