"""Fixtures that cross rooms: a small simulated cortex, its recording, and real recordings."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from twinlab.simulation import SimulatedCortex

# Tests are small: on a busy machine a second thread is waited for longer than it works.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cortex():
    """24 simulated neurons of all kinds, whose right answers are known."""
    return SimulatedCortex(seed=0, n_neuron=24)


@pytest.fixture(scope="session")
def recording(cortex):
    """What `cortex` did: 600 training, 100 validation and 30 test images of 6 repeats."""
    return cortex.record(n_train=600, n_validation=100, n_test=30, n_repeat=6)


def _absent(message):
    """Skip on a machine without real recordings; in CI, where they must be, fail."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real recordings, where this machine has one."""
    beside = Path(__file__).parents[1] / "../shared/data"
    folder = Path(os.environ.get("TWINLAB_SHARED_DATA", beside)).resolve()
    if not folder.is_dir():
        _absent(f"no real recordings at {folder}; set TWINLAB_SHARED_DATA to their folder")
    return folder


@pytest.fixture(params=["mouseC", "mouseE"])
def direction_tuning(request, shared_data):
    """In-vivo direction tuning of one mouse: arrays by name."""
    path = shared_data / "sensorium2023-direction-tuning" / f"{request.param}.npz"
    if not path.is_file():
        _absent(f"no {path.name} beside the other real recordings")
    with np.load(path) as stored:
        return dict(stored)
