"""Serve the lab of a small simulated cortex that sees videos, and say where."""

import torch
from serve_lab import serve_lab

from twinlab import explorers
from twinlab.simulation import SimulatedVideoCortex


def open_lab():
    """Return the state of a lab of 40 neurons, which a notebook can show as well."""
    torch.set_num_threads(1)
    cortex = SimulatedVideoCortex(seed=0, n_neuron=40, height=24, width=32)
    recording = cortex.record(n_train=6, n_validation=2, n_test=3, n_repeat=5, n_frame=80)
    return explorers.LabState(cortex.as_twin(), recording)


if __name__ == "__main__":
    known = open_lab()
    serve_lab(known)
