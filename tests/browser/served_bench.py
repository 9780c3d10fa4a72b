"""Serve the bench of a small simulated cortex, and say where; run by the browser tests."""

import copy
import sys

import torch

from twinlab import explorers
from twinlab.simulation import SimulatedCortex

torch.set_num_threads(1)
cortex = SimulatedCortex(seed=0, n_neuron=200)
recording = cortex.record(n_train=600, n_validation=100, n_test=40, n_repeat=8)
twin = cortex.as_twin()
other = copy.deepcopy(twin)
other.scale.mul_(1.1)
server, url = explorers.serve(lambda: explorers.TwinBench(twin, recording, other=other))
sys.stdout.write(f"{url}\n")
sys.stdout.flush()
server.start()
server.io_loop.start()  # until it is ended from outside
