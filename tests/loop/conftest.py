import numpy as np
import pytest
import xarray as xr

from twinlab import stimuli
from twinlab.jobs import Job
from twinlab.loop import Rig, make_schedule
from twinlab.simulation import SimulatedCortex

SIZE = {"height": 18, "width": 24}


@pytest.fixture(scope="session")
def rig():
    # the image of 24 x 18 pixels is 103 x 77 of the screen: not a whole number each
    return Rig(
        width_px=160, height_px=120, degrees_per_pixel=0.35, image_degrees_per_pixel=1.5,
        center_x_deg=3.5,
    )  # fmt: skip


@pytest.fixture(scope="session")
def cortex():
    return SimulatedCortex(seed=0, n_neuron=6, **SIZE)


@pytest.fixture(scope="session")
def planned(cortex):
    """A true filter and a natural image for each neuron, as stimuli to be shown."""
    filters = cortex.record(n_train=1, n_validation=0, n_test=0).true_filter.values
    scale = 100 / np.abs(filters).max((1, 2, 3), keepdims=True)
    leaves = stimuli.make_dead_leaves(6, **SIZE, seed=3).values
    kinds, units = np.repeat(["mei", "natural"], 6), np.tile(np.arange(6), 2)
    mask = np.tile(np.abs(filters[:, 0]) > 0.3 * np.abs(filters).max(), (2, 1, 1)).astype(float)
    return xr.Dataset(
        {
            "stimulus": (
                ("stimulus", "channel", "y", "x"),
                np.concatenate([127.5 + scale * filters, leaves]).astype(np.float32),
            ),
            "mask": (("stimulus", "y", "x"), mask),
        },
        {
            "stimulus_id": ("stimulus", [f"{k}-{u}" for k, u in zip(kinds, units, strict=True)]),
            "kind": ("stimulus", kinds),
            "session": ("stimulus", np.full(12, "simulated-0")),
            "neuron_id": ("stimulus", units.astype(str)),
        },
    )


@pytest.fixture(scope="session")
def schedule(planned):
    return make_schedule(planned.stimulus_id.values, n_repeat=4, n_blank=2, seed=1)


class Impatient(Job):
    """A job that is cancelled at one of its checks."""

    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def check(self):
        self.patience -= 1
        if self.patience == 0:
            self.cancel()
        super().check()


@pytest.fixture(scope="session")
def impatient():
    """Return a function that makes a job which is cancelled at its n-th check."""
    return Impatient
