"""Serve the bench of a small simulated cortex, and say where; run by the browser tests."""

import copy
import time

import torch
from serve_lab import serve_lab

from twinlab import explorers, insilico
from twinlab.simulation import SimulatedCortex

SLOW = 33  # this neuron is measured only once its page is on its way to the browser
measure_tuning = insilico.measure_orientation_tuning


def measure_slowly(twin, neurons=None, *, job):
    """Take so long over all neurons that a test can look on and cancel, and some over one."""
    n_step = {None: 600, SLOW: 60}.get(neurons and neurons[0], 0)
    for step in range(n_step):
        job.report(step / n_step, "slowly")
        time.sleep(0.05)
    return measure_tuning(twin, neurons, job=job)


insilico.measure_orientation_tuning = measure_slowly
torch.set_num_threads(1)
cortex = SimulatedCortex(seed=0, n_neuron=200)
recording = cortex.record(n_train=600, n_validation=100, n_test=40, n_repeat=8)
twin = cortex.as_twin()
other = copy.deepcopy(twin)
other.scale.mul_(1.1)
rough = copy.deepcopy(twin)
rough.gain.mul_(0.5)
known = explorers.LabState(twin, recording, other=other, others={"half gain": rough})
serve_lab(known)
