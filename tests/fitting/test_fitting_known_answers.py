"""A deep twin rises to the noise ceiling; on linear data it gains nothing over a linear twin."""

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import evaluation, fitting, simulation, twins
from twinlab.stimuli import gabor_patches

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SMALL = twins.Architecture(layers=2, hidden=16)


def test_a_deep_twin_of_a_simulated_population_rises_to_the_noise_ceiling_with_its_data():
    cortex = simulation.SimulatedCortex(
        seed=1, n_neuron=40, height=20, width=24, composition={"simple": 1.0},
        gaze_shift=0.0, running_gain=0.0, pupil_gain=0.0,
    )  # fmt: skip
    whole = cortex.record(n_train=4000, n_validation=200, n_test=60)
    training = np.flatnonzero(whole.split.values == "train")
    others = np.flatnonzero(whole.split.values != "train")
    found = []
    for n_image, n_epoch in ((250, 20), (1000, 20), (4000, 10)):
        recording = whole.isel(trial=np.sort(np.r_[training[:n_image], others]))
        settings = fitting.FitSettings(max_epochs=n_epoch, schedule="cosine", batch_size=32)
        twin, _ = fitting.fit_twin(recording, SMALL, settings)
        scores = evaluation.score_prediction(
            recording, twins.predict_responses(twin, recording, split="test")
        )
        found.append(float(scores.cc_norm.median()))  # of the correlation that noise allows
    assert np.diff(found).min() > 0.05
    assert 0.93 < found[-1] < 1.02


def test_on_linear_data_the_linear_twin_is_at_least_as_good_as_a_deep_one():
    rng, n_neuron, size = np.random.default_rng(0), 6, 14
    images = rng.integers(0, 256, size=(5000, 1, size, size)).astype(np.uint8)
    spec = twins.StimulusSpec(1, size, size, float(images.mean()), float(images.std()))
    place = np.concatenate([rng.uniform(5, 9, (2, n_neuron)), rng.uniform(0, 180, (1, n_neuron))])
    shape = [np.full(n_neuron, 0.2), rng.uniform(0, 360, n_neuron), np.full(n_neuron, 1.7)]
    filters = gabor_patches(*place, *shape, height=size, width=size)
    filters *= 2 / np.linalg.norm(filters, axis=(1, 2), keepdims=True)
    neurons = xr.Dataset(
        coords={
            "neuron_id": ("neuron", np.arange(n_neuron)),
            "session": ("neuron", ["planted"] * n_neuron),
        }
    )
    planted = twins.LinearNonlinearTwin(
        spec, neurons, filters=filters[:, None], offset=np.zeros(n_neuron)
    )
    recording = simulation.record_twin(planted, images, n_validation=400, n_test=600)
    linear = fitting.fit_linear_poisson(recording)
    settings = fitting.FitSettings(max_epochs=15, schedule="cosine", batch_size=64)
    deep, _ = fitting.fit_twin(recording, SMALL, settings)
    shown = torch.as_tensor(images[-600:]).float()
    with torch.inference_mode():
        truth, *rates = (twin.eval()(shown).numpy() for twin in (planted, linear, deep))
    first, second = (
        np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(rate.T, truth.T, strict=True)])
        for rate in rates
    )
    lead = first - second
    assert lead.mean() > -2 * lead.std(ddof=1) / np.sqrt(n_neuron)
    assert first.min() > 0.9
