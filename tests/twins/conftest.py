import numpy as np
import pytest
import xarray as xr

from twinlab.twins import Architecture, DeepTwin, StimulusSpec

N_NEURON = 7


@pytest.fixture
def neurons():
    rng = np.random.default_rng(0)
    return xr.Dataset(
        coords={
            "neuron_id": ("neuron", np.arange(N_NEURON) + 100),
            "session": ("neuron", ["s1"] * N_NEURON),
            "x_um": ("neuron", rng.normal(size=N_NEURON)),
            "y_um": ("neuron", rng.normal(size=N_NEURON)),
        }
    )


@pytest.fixture
def spec():
    return StimulusSpec(1, 24, 32, mean=110.0, std=60.0)


@pytest.fixture
def make_twin(neurons, spec):
    """A small untrained deep twin of any architecture, with readouts spread over the image."""

    def make(seed=0, **architecture):
        rng = np.random.default_rng(1)
        parts = {"layers": 2, "hidden": 8, "hidden_kernel": 3} | architecture
        return DeepTwin(
            Architecture(**parts),
            spec,
            neurons,
            {"behavior": [1.0, 2.0, 3.0], "pupil_center": [50.0, 40.0]},
            {"recording_id": "made up"},
            position=rng.uniform(6, 18, (N_NEURON, 2)),
            context_scale={
                "behavior": np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]),
                "pupil_center": np.array([[50.0, 40.0], [5.0, 5.0]]),
            },
            seed=seed,
        )

    return make
