"""Serve the lab of a twin of many neurons, and say where: ``served_map.py [N_NEURON]``."""

import sys

import numpy as np
import torch
import xarray as xr
from serve_lab import serve_lab

from twinlab import explorers, twins

N_NEURON = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000


class ManyNeurons(twins.Twin):
    """Linear neurons that each look at one pixel: quick, however many they are."""

    def forward(self, stimulus, *, neuron=None, paired=False, **_):
        pixels = stimulus.flatten(1)
        if neuron is None:
            neuron = torch.arange(len(self.neurons.neuron_id))
        seen, gain = (7 * neuron) % pixels.shape[1], 1 + neuron / len(self.neurons.neuron_id)
        return gain * (pixels.gather(1, seen[:, None])[:, 0] if paired else pixels[:, seen])


torch.set_num_threads(1)
place = np.random.default_rng(0).uniform(0, 1000, (2, N_NEURON))
neurons = xr.Dataset(
    coords={
        "neuron_id": ("neuron", np.arange(N_NEURON)),
        "session": ("neuron", np.full(N_NEURON, "many")),
        "x_um": ("neuron", place[0], {"long_name": "cortical x", "units": "um"}),
        "y_um": ("neuron", place[1], {"long_name": "cortical y", "units": "um"}),
    }
)
twin = ManyNeurons(twins.StimulusSpec(1, 12, 16, mean=128.0, std=50.0), neurons)
known = explorers.LabState(twin, color_by="mean predicted response")
serve_lab(known)
