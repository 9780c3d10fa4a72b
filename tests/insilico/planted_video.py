"""Cells that sum over space and time, whose optimal videos have a closed form."""

import numpy as np
import torch
import xarray as xr
from planted_tuning import quadrature

from twinlab.twins import StimulusSpec, Twin

SIZE, N_LAG, N_FRAME, RATE = 14, 6, 12, 30.0
SPEC = StimulusSpec(1, SIZE, SIZE, 110.0, 55.0, frame_rate=RATE)


def motion_pair(direction, spatial=0.15, temporal=5.0, center=(6.5, 6.5)):
    """Quadrature pair (2, lag, y, x) of unit norm for what drifts in a direction, lag 0 last."""
    even, odd = quadrature(direction - 90, spatial, center, sigma=2.2, size=SIZE).numpy()
    lag = np.arange(N_LAG) - (N_LAG - 1) / 2
    turn = np.exp(2j * np.pi * temporal / RATE * lag) * np.exp(-(lag**2) / (2 * 2.0**2))
    # what a cosine that drifts looks like: Re(exp(i (k x + w t)))
    moving = turn[:, None, None] * (even + 1j * odd)
    pair = np.stack([moving.real, moving.imag])
    pair -= pair.mean((1, 2, 3), keepdims=True)
    return pair / np.sqrt((pair**2).sum((1, 2, 3), keepdims=True))


class PlantedVideoTwin(Twin):
    """Each neuron sums what its filters (neuron, filter, lag, y, x) say in each frame.

    `energy` neurons square, the others add a constant, so that they are never silent.
    """

    def __init__(self, filters, energy, seed=0):
        n = len(filters)
        neurons = xr.Dataset(
            coords={
                "neuron_id": ("neuron", np.arange(n) + 100),
                "session": ("neuron", ["planted"] * n),
            }
        )
        super().__init__(SPEC, neurons, origin={"recording": "none"})
        self.register_buffer("filters", torch.as_tensor(np.array(filters), dtype=torch.float32))
        self.register_buffer("energy", torch.as_tensor(np.array(energy)))
        self.register_buffer("seed", torch.tensor(seed))

    def forward(self, stimulus, *, behavior=None, pupil_center=None, neuron=None, paired=False):
        asked = torch.arange(len(self.filters)) if neuron is None else neuron
        z = (stimulus[:, 0] - self.spec.mean) / self.spec.std
        past = torch.nn.functional.pad(z, (0, 0, 0, 0, N_LAG - 1, 0)).unfold(1, N_LAG, 1)
        filters = self.filters[asked]
        drive = torch.einsum("ntyxl,nflyx->ntf" if paired else "btyxl,nflyx->bntf", past, filters)
        squared, added = drive.square().sum(-1), 20 + drive[..., 0]
        kind = self.energy[asked]
        return torch.where(kind[:, None], squared, added)


def best_plane(filters, n_frame=N_FRAME):
    """What videos evoke in an energy cell: its largest two rates, and the videos (2, pixel).

    Rates are means over the second half of the frames, of videos of unit norm over all of them.
    """
    rows = []
    for frame in range(n_frame // 2, n_frame):
        for one in filters:
            video = np.zeros((n_frame + N_LAG - 1, SIZE, SIZE))
            video[frame : frame + N_LAG] = one
            rows.append(video[N_LAG - 1 :].ravel())
    rows = np.array(rows)
    rows -= rows.mean(1, keepdims=True)  # stimuli have no mean
    _, size, videos = np.linalg.svd(rows, full_matrices=False)
    return size[:2] ** 2 / (n_frame - n_frame // 2), videos[:2]
