"""Serve a lab of few neurons at a port, behind a login if one is given; run by the tests."""

import sys

import torch
from serve_lab import serve_lab

from twinlab import explorers
from twinlab.simulation import SimulatedCortex

torch.set_num_threads(1)
port, login = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
cortex = SimulatedCortex(seed=0, n_neuron=12)
recording = cortex.record(n_train=60, n_validation=20, n_test=8, n_repeat=3)
known = explorers.LabState(cortex.as_twin(), recording)
serve_lab(known, port=port, login=login)
