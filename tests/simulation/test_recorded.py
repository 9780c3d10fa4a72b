"""A recorded twin responds around its own rates."""

import numpy as np
import pytest
import torch

from twinlab import simulation, stimuli, twins
from twinlab.schema import InputError, recording_faults


@pytest.fixture(scope="module")
def twin():
    return simulation.SimulatedCortex(seed=0, n_neuron=5, height=16, width=20).as_twin()


def test_trials_scatter_around_the_rates_of_the_twin(twin):
    images = stimuli.make_dead_leaves(60, 16, 20, 0)
    recording = simulation.record_twin(twin, images, n_validation=10, n_test=20, n_repeat=200)
    assert recording_faults(recording) == []
    count = {
        name: int((recording.split == name).sum()) for name in ("train", "validation", "test")
    }
    assert count == {"train": 30, "validation": 10, "test": 20 * 200}
    assert (np.diff(recording.stimulus_index.values) < 0).any()  # in random order
    with torch.inference_mode():
        rate = twin.condition()(torch.as_tensor(images.values).float()).numpy()
    np.testing.assert_allclose(recording.true_rate.values, rate, rtol=1e-5)
    test = recording.isel(trial=recording.split.values == "test")
    ratio = []
    for image in range(40, 60):
        trials = test.response.values[test.stimulus_index.values == image]
        error = np.sqrt(rate[image] / len(trials))
        assert (np.abs(trials.mean(0) - rate[image]) < 5 * error + 0.01).all()
        ratio.append(trials.var(0).sum() / rate[image].sum())
    assert np.mean(ratio) == pytest.approx(1, abs=0.1)  # Poisson
    # it is a recording like any other
    predicted = twins.predict_responses(twin, recording, split="test")
    np.testing.assert_allclose(
        predicted.values, rate[test.stimulus_index.values], rtol=1e-4, atol=1e-5
    )


def test_the_seed_decides(twin):
    images = stimuli.make_dead_leaves(20, 16, 20, 0)
    first, second, third = (
        simulation.record_twin(twin, images, n_validation=5, n_test=5, seed=seed)
        for seed in (0, 0, 1)
    )
    assert first.identical(second)
    assert first.fingerprint != third.fingerprint


def test_what_cannot_be_recorded_is_refused(twin):
    images = stimuli.make_dead_leaves(20, 16, 20, 0)
    with pytest.raises(InputError, match="one training image"):
        simulation.record_twin(twin, images, n_validation=10, n_test=10)
    with pytest.raises(InputError, match="`seed` must be"):
        simulation.record_twin(twin, images, n_validation=1, n_test=1, seed=-1)
    with pytest.raises(InputError, match="crop or rescale"):
        simulation.record_twin(twin, images[..., 1:], n_validation=1, n_test=1)
    with pytest.raises(InputError, match="noise"):
        simulation.record_twin(twin, images, n_validation=1, n_test=1, noise="pink")
