"""What a simulated neuron computes from a video: filters in space, then in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from twinlab.simulation.neurons import KINDS, SimulatedTwin, shift_images

__all__ = ["SimulatedVideoTwin"]


class SimulatedVideoTwin(SimulatedTwin):
    """Simulated neurons that see videos, as a twin that predicts them perfectly.

    Parameters
    ----------
    *args
        As `SimulatedTwin` takes them, with a quadrature pair of filters at each place for
        neurons of all kinds.
    kernels : ndarray of shape (n_neuron, 2, n_lag)
        Weight of the frame `lag` frames ago, for each filter and for the one 90 degrees later.
    **kwargs
        As `SimulatedTwin` takes them.

    """

    kernels: Tensor

    def __init__(self, *args: Any, kernels: np.ndarray, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("kernels", torch.as_tensor(kernels, dtype=torch.float32))

    def forward(
        self,
        stimulus: Tensor,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Mean response of each neuron to each frame, in events per frame."""
        seen = self._see(stimulus.movedim(2, 1), pupil_center)
        rate = self._rate(seen, neuron, paired)
        return self._modulate(rate, behavior, neuron, paired)

    @torch.no_grad()
    def set_natural_units(self, videos: Tensor, skip: int) -> None:
        """Scale filters so that a neuron's first energy has mean 1 over videos after `skip`.

        Parameters
        ----------
        videos : Tensor of shape (batch, channel, frame, y, x)
        skip : int
            First frames, which what was before the video still affects.

        """
        power = torch.zeros(len(self.kind))
        for video in videos.split(1):
            seen = self._see(video.movedim(2, 1).float(), None)
            for code, name in enumerate(KINDS):
                which = torch.nonzero(self.kind == code)[:, 0]
                drive = self._drive(name, seen, None, which, paired=False)[..., skip:, :2]
                if name == "simple":  # of which only the first filter counts
                    drive = drive[..., :1]
                power[which] += (drive**2).sum(-1).mean((0, 2)) / len(videos)
        for code, name in enumerate(KINDS):
            getattr(self, f"filters_{name}").div_(power[self.kind == code].sqrt()[:, None, None])

    def start_stream(self, batch: int = 1) -> Tensor:
        """As many grey frames as the kernels reach back, (batch, frame, pixel)."""
        pixels = int(np.prod(self.spec.shape))
        return self.kernels.new_zeros(batch, self.kernels.shape[-1] - 1, pixels)

    def step_stream(
        self,
        frame: Tensor,
        state: Tensor,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Rates (batch, n) at the next frame (batch, channel, y, x), and the state after it."""
        seen = self._see(frame[:, None], pupil_center)
        past = torch.cat([state.to(seen), seen], 1)
        rate = self._rate(past, neuron, paired=False)[..., -1:]
        return self._modulate(rate, behavior, neuron, paired=False)[..., 0], past[:, 1:]

    def _see(self, frames: Tensor, pupil_center: Tensor | None) -> Tensor:
        """Frames (batch, frame, channel, y, x) as receptive fields meet them, pixels last."""
        seen = (frames - self.spec.mean) / self.spec.std
        if pupil_center is not None:
            gaze = self._scaled("pupil_center", _over_frames(pupil_center, frames.shape[1]))
            shifted = shift_images(seen.flatten(0, 1), self.gaze_shift * gaze.flatten(0, 1))
            seen = shifted.unflatten(0, seen.shape[:2])
        return seen.flatten(2)

    def _modulate(
        self, rate: Tensor, behavior: Tensor | None, neuron: Tensor | None, paired: bool
    ) -> Tensor:
        """Rates (..., neuron, frame) in events per frame, in a state of the animal."""
        rate = rate * self._own("scale", neuron, rate)[:, None]
        if behavior is None:
            return rate
        state = self._scaled("behavior", _over_frames(behavior, rate.shape[-1]))
        equation = "ntk,nk->nt" if paired else "btk,nk->bnt"
        return rate * torch.exp(torch.einsum(equation, state, self._own("gain", neuron, rate)))

    def _drive(
        self, kind: str, seen: Tensor, row: Tensor | None, neuron: Tensor, paired: bool
    ) -> Tensor:
        """Drives (batch, neuron, frame, filter), or (neuron, frame, filter) if paired."""
        drive = super()._drive(kind, seen, row, neuron, paired)
        drive = drive if paired else drive.transpose(1, 2)
        return filter_frames(drive, self.kernels[neuron].to(drive.dtype))


def filter_frames(drive: Tensor, kernels: Tensor) -> Tensor:
    """Filter spatial drives in time, from a grey past.

    Parameters
    ----------
    drive : Tensor of shape (..., neuron, frame, filter)
        Filters come even, odd, even, odd, ...
    kernels : Tensor of shape (neuron, 2, lag)
        For each filter, and for its partner: the odd one for an even, minus the even one for
        an odd.

    Returns
    -------
    Tensor of the shape of `drive`

    """
    if not len(kernels):
        return drive
    partner = torch.stack([drive[..., 1::2], -drive[..., 0::2]], -1).flatten(-2)
    # One convolution of the frames, each neuron a group of its own.
    pair = torch.stack([drive, partner], -3).movedim(-1, 0)  # (filter, ..., neuron, 2, frame)
    padded = nn.functional.pad(pair, (kernels.shape[-1] - 1, 0))
    flat = padded.reshape(-1, 2 * len(kernels), padded.shape[-1])
    filtered = nn.functional.conv1d(flat, kernels.flip(-1), groups=len(kernels))
    return filtered.reshape(*pair.shape[:-2], -1).movedim(0, -1)


def _over_frames(value: Tensor, n_frame: int) -> Tensor:
    """Context (batch, k) or (batch, k, frame) at each frame, (batch, frame, k)."""
    if value.ndim == 2:
        return value[:, None].expand(-1, n_frame, -1)
    return value.transpose(1, 2)
