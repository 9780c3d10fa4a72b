"""A recording as tensors: what a training loop draws its batches from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab import __version__
from twinlab.fitting.summaries import ResponseSummary, as_rows, summarise_responses
from twinlab.schema import InputError, fingerprint, split_hash, stimulus_kind
from twinlab.twins import StimulusSpec

__all__ = [
    "Trials",
    "context_moments",
    "image_spec",
    "origin_of",
    "recorded_context",
    "recorded_neurons",
    "refuse_few",
    "take_trials",
]


FRAMES = 20_000  # of videos, from which receptive fields are read
AT_ONCE = 2**22  # bytes of what is gone through on the disk
AFTER = 6  # frames after one, in which it is answered


@dataclass(frozen=True)
class Trials:
    """Trials of one split; images are shared and stay as they were stored.

    Attributes
    ----------
    images : Tensor of shape (n_image, channel[, frame], y, x)
        `uint8` where the recording's are; converted a batch at a time.
    index : Tensor of int of shape (n_trial,)
        Image or video of each trial.
    response : Tensor of shape (n_trial, n_neuron[, frame])
        In the recording's units; NaN where missing.
    context : dict of str to Tensor of shape (n_trial, n[, frame])
        `behavior` and `pupil_center`, gaps filled with the typical values.

    """

    images: Tensor
    index: Tensor
    response: Tensor
    context: dict[str, Tensor]

    def __len__(self) -> int:
        """Count the trials."""
        return len(self.index)

    @cached_property
    def summary(self) -> ResponseSummary:
        """What a fit must know of all responses."""
        return summarise_responses([self.response.cpu().numpy()])

    @property
    def frames(self) -> Tensor:
        """Frames of each trial up to its last response, (n_trial,), on the CPU."""
        return torch.as_tensor(self.summary.n_frame)

    def sample(self) -> np.ndarray:
        """Responses from which the parameters of a distribution are started: all."""
        return self.response.cpu().numpy()

    def seen(self, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:
        """Images and responses from which receptive fields are read.

        Of videos, single frames and the mean response in the 0.2 s after them or so.

        Returns
        -------
        images : ndarray of shape (n, channel, y, x)
        response : ndarray of shape (n, n_neuron)

        """
        response = self.response.cpu().numpy()
        if response.ndim == 2:
            return self.images[self.index].cpu().numpy(), response
        trial, frame = seen_frames(self.summary, frames)
        images = self.images[self.index.cpu()[trial], :, frame].cpu().numpy()
        window = np.stack([response[trial, :, frame + lag] for lag in range(1, AFTER + 1)])
        return images, window.mean(0)

    def batch(
        self, chosen: Tensor, clip: tuple[Tensor, int] | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Images (float, grey levels), responses and context of the chosen trials.

        Of videos only a `clip` is taken, if given: the first frame of each, and their number.
        """
        context = {name: value[chosen] for name, value in self.context.items()}
        index = self.index[chosen]
        if clip is None:
            return self.images[index].float(), self.response[chosen], context
        start, length = clip
        parts = [slice(begin, begin + length) for begin in start.tolist()]

        def cut(values: Tensor, rows: Tensor, axis: int) -> Tensor:
            each = zip(rows.tolist(), parts, strict=True)
            return torch.stack([values[(row, *[slice(None)] * axis, part)] for row, part in each])

        return (
            cut(self.images, index, 1).float(),
            cut(self.response, chosen, 1),
            {name: cut(value, chosen, 1) for name, value in self.context.items()},
        )


def take_trials(
    recording: xr.Dataset, split: str, device: torch.device, images: Tensor | None = None
) -> Trials:
    """Trials of one split in which at least one neuron was recorded.

    Parameters
    ----------
    recording : xarray.Dataset
    split : {"train", "validation", "test"}
    device : torch.device
    images : Tensor, optional
        The recording's images, where another split has put them on the device already.

    Raises
    ------
    InputError
        If there are too few of them.

    """
    rows = np.flatnonzero(recording.split.values == split)
    seen = rows[_any_recorded(recording.response.values, rows)]
    refuse_few(recording, split, len(seen), len(rows))
    index = recording.stimulus_index.values[seen].astype(np.int64)
    if images is None:
        images = torch.as_tensor(recording.stimulus.values).to(device)
    return Trials(
        images=images,
        index=torch.as_tensor(index).to(device),
        response=torch.as_tensor(recording.response.values[seen]).to(device),
        context=recorded_context(recording, seen, device),
    )


def refuse_few(recording: xr.Dataset, split: str, answered: int, n_trial: int) -> None:
    """Raise `InputError` if too few trials of a split have a response."""
    fewest = 2 if split == "validation" else 1  # over which there is a correlation
    if answered < fewest:
        name = recording.attrs.get("recording_id", "The recording")
        msg = (
            f"{name} has {answered} {split} trials with a response ({n_trial} {split} trials in "
            f"all) and a fit needs at least {fewest}; "
            "divide it with `twinlab recordings convert SOURCE OUT.zarr --split 0.8,0.1,0.1`, or "
            "with `recordings.split_recording`."
        )
        raise InputError(msg)


def recorded_context(
    recording: xr.Dataset, rows: np.ndarray, device: torch.device
) -> dict[str, Tensor]:
    """Behaviour and pupil position of some trials, gaps filled with the typical values."""
    context = {}
    for name, typical in context_moments(recording)[0].items():
        values = recording[name][rows].values
        usual = np.reshape(typical, (-1, *[1] * (values.ndim - 2)))
        filled = np.where(np.isnan(values), usual, values).astype(np.float32)
        context[name] = torch.as_tensor(filled).to(device)
    return context


def seen_frames(summary: ResponseSummary, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Trial and number of frames, evenly chosen, after which there are responses."""
    trial, frame = np.nonzero(summary.recorded[:, AFTER:])
    chosen = slice(None, None, max(len(trial) // frames, AFTER))
    return trial[chosen], frame[chosen]


def _any_recorded(response: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Whether each of these trials has a response of any neuron; most are told by the first."""
    recorded = ~np.isnan(response[(rows, *np.zeros(response.ndim - 1, int))])
    doubtful = rows[~recorded]
    rest = tuple(range(1, response.ndim))
    recorded[~recorded] = ~np.isnan(response[doubtful]).all(axis=rest)
    return recorded


def image_spec(recording: xr.Dataset, index: np.ndarray | None = None) -> StimulusSpec:
    """Size of the recording's images and the scale of its training pixels, or of those listed."""
    if index is None:
        index = np.unique(recording.stimulus_index.values[recording.split.values == "train"])
    if recording.stimulus.chunks is None:
        pixels = recording.stimulus.values[index]
        mean, std = float(pixels.mean(dtype=np.float64)), float(pixels.std(dtype=np.float64))
        low, high = float(pixels.min()), float(pixels.max())
    else:
        mean, std, low, high = pixel_moments(recording.stimulus, index)
    whole = recording.stimulus.dtype == np.uint8
    return StimulusSpec(
        recording.stimulus.shape[1],
        recording.stimulus.shape[-2],
        recording.stimulus.shape[-1],
        mean=mean,
        std=max(std, 1e-6),
        low=0.0 if whole else low,
        high=255.0 if whole else high,
        frame_rate=recording.attrs["frame_rate"] if stimulus_kind(recording) == "video" else None,
    )


def pixel_moments(stimulus: xr.DataArray, index: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, standard deviation, lowest and highest pixel of some images or videos on the disk."""
    count, total, square, low, high = 0, 0.0, 0.0, np.inf, -np.inf
    for pixels in some_rows(stimulus, index):
        count += pixels.size
        total += pixels.sum(dtype=np.float64)
        square += np.square(pixels, dtype=np.float64).sum()
        low, high = min(low, pixels.min()), max(high, pixels.max())
    mean = total / count
    return mean, float(np.sqrt(max(square / count - mean**2, 0.0))), float(low), float(high)


def some_rows(variable: xr.DataArray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Values of some rows of a variable that lies on the disk, a few megabytes at a time."""
    step = max(AT_ONCE // max(variable[0].nbytes, 1), 1)
    for start in range(0, len(rows), step):
        yield variable[rows[start : start + step]].values


def context_moments(recording: xr.Dataset) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Typical (median) context, and its mean and standard deviation, over training trials.

    A context that was never recorded (all NaN) is left out.
    """
    train = recording.split.values == "train"
    typical, moments = {}, {}
    for name in ("behavior", "pupil_center"):
        if name not in recording:
            continue
        values = as_rows(recording[name][train].values).astype(np.float64)
        if np.isnan(values).all(axis=0).any():
            continue
        typical[name] = [float(v) for v in np.nanmedian(values, axis=0)]
        std = np.nanstd(values, axis=0)
        moments[name] = np.stack([np.nanmean(values, axis=0), np.where(std > 0, std, 1)])
    return typical, moments


def recorded_neurons(recording: xr.Dataset) -> xr.Dataset:
    """The recording's neurons: its coordinates along `neuron`, and nothing else."""
    return xr.Dataset(
        coords={name: v for name, v in recording.coords.items() if v.dims == ("neuron",)}
    )


def origin_of(recording: xr.Dataset) -> dict[str, str]:
    """What a twin fitted to this recording says of where it comes from."""
    return {
        "recording_id": recording.attrs.get("recording_id", ""),
        "recording": fingerprint(recording),
        "split": split_hash(recording),
        "split_rule": recording.attrs.get("split_rule", ""),
        "response_units": recording.response.attrs.get("units", "a.u."),
        "stimulus_units": recording.stimulus.attrs.get("units", "grey level"),
        "twinlab_version": __version__,
        "torch_version": torch.__version__,
    }
