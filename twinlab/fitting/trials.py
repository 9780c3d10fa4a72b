"""A recording as tensors: what a training loop draws its batches from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab import __version__
from twinlab.schema import InputError, fingerprint, stimulus_kind
from twinlab.twins import StimulusSpec

__all__ = [
    "Trials",
    "as_rows",
    "context_moments",
    "image_spec",
    "origin_of",
    "recorded_neurons",
    "response_moments",
    "take_trials",
]


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

    @property
    def frames(self) -> Tensor:
        """Frames of each trial up to its last response, (n_trial,)."""
        seen = self.response.isfinite().any(1)
        return seen.shape[1] - seen.flip(1).int().argmax(1)

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
        If there is no such trial.

    """
    rows = np.flatnonzero(recording.split.values == split)
    seen = rows[_any_recorded(recording.response.values, rows)]
    if not len(seen):
        msg = (
            f"{recording.attrs.get('recording_id', 'The recording')} has no {split} trial with a "
            f"response ({len(rows)} {split} trials in all); a fit needs some."
        )
        raise InputError(msg)
    chosen = recording.isel(trial=seen)
    if images is None:
        images = torch.as_tensor(recording.stimulus.values).to(device)
    context = {}
    for name, typical in context_moments(recording)[0].items():
        values = chosen[name].values
        usual = np.reshape(typical, (-1, *[1] * (values.ndim - 2)))
        filled = np.where(np.isnan(values), usual, values).astype(np.float32)
        context[name] = torch.as_tensor(filled).to(device)
    return Trials(
        images=images,
        index=torch.as_tensor(chosen.stimulus_index.values.astype(np.int64)).to(device),
        response=torch.as_tensor(chosen.response.values).to(device),
        context=context,
    )


def _any_recorded(response: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Whether each of these trials has a response of any neuron; most are told by the first."""
    recorded = ~np.isnan(response[(rows, *np.zeros(response.ndim - 1, int))])
    doubtful = rows[~recorded]
    rest = tuple(range(1, response.ndim))
    recorded[~recorded] = ~np.isnan(response[doubtful]).all(axis=rest)
    return recorded


def image_spec(recording: xr.Dataset) -> StimulusSpec:
    """Size of the recording's images and the scale of its training pixels."""
    index = recording.stimulus_index.values[recording.split.values == "train"]
    pixels = recording.stimulus.values[np.unique(index)]
    whole = pixels.dtype == np.uint8
    return StimulusSpec(
        pixels.shape[1],
        pixels.shape[-2],
        pixels.shape[-1],
        mean=float(pixels.mean(dtype=np.float64)),
        std=float(max(pixels.std(dtype=np.float64), 1e-6)),
        low=0.0 if whole else float(pixels.min()),
        high=255.0 if whole else float(pixels.max()),
        frame_rate=recording.attrs["frame_rate"] if stimulus_kind(recording) == "video" else None,
    )


def context_moments(recording: xr.Dataset) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Typical (median) context, and its mean and standard deviation, over training trials.

    A context that was never recorded (all NaN) is left out.
    """
    train = recording.isel(trial=recording.split.values == "train")
    typical, moments = {}, {}
    for name in ("behavior", "pupil_center"):
        if name not in train:
            continue
        values = as_rows(train[name].values).astype(np.float64)
        if np.isnan(values).all(axis=0).any():
            continue
        typical[name] = [float(v) for v in np.nanmedian(values, axis=0)]
        std = np.nanstd(values, axis=0)
        moments[name] = np.stack([np.nanmean(values, axis=0), np.where(std > 0, std, 1)])
    return typical, moments


def as_rows(values: np.ndarray) -> np.ndarray:
    """What was recorded, (trial, n) or (trial, n, frame), as one row a trial or frame."""
    return values if values.ndim == 2 else np.moveaxis(values, 2, 1).reshape(-1, values.shape[1])


def response_moments(response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean response of each neuron, and the unit in which its loss is counted.

    Parameters
    ----------
    response : ndarray of shape (n_trial, n_neuron[, n_frame])
        Of training trials; NaN where missing. A neuron may be missing altogether.

    Returns
    -------
    mean, scale : ndarray of shape (n_neuron,)
        The scale is the standard deviation; as in the 2022 recipe, a neuron that hardly varies
        (less than 1 % of the average one) is not blown up and gets the average one's.

    """
    response = as_rows(response)
    seen = np.isfinite(response)
    count = np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen, response, 0).sum(axis=0, dtype=np.float64) / count
    square = np.where(seen, response - mean, 0) ** 2
    spread = np.sqrt(square.sum(axis=0) / count)
    usual = max(spread.mean(), 1e-12)
    return mean, np.where(spread > 0.01 * usual, spread, usual)


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
        "response_units": recording.response.attrs.get("units", "a.u."),
        "stimulus_units": recording.stimulus.attrs.get("units", "grey level"),
        "twinlab_version": __version__,
        "torch_version": torch.__version__,
    }
