"""Serve a lab of few neurons at a port, behind a login if one is given; run by the tests."""

import sys

import torch

from twinlab import explorers
from twinlab.simulation import SimulatedCortex

torch.set_num_threads(1)
port, login = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
cortex = SimulatedCortex(seed=0, n_neuron=12)
recording = cortex.record(n_train=60, n_validation=20, n_test=8, n_repeat=3)
known = explorers.LabState(cortex.as_twin(), recording)
server, url = explorers.serve(lambda: explorers.Lab(known.another()), port=port, login=login)
sys.stdout.write(f"{url}\n")
sys.stdout.flush()
server.start()
server.io_loop.start()  # until it is ended from outside
