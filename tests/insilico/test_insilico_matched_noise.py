"""Noise with the spectrum of an MEI: the same contrast everywhere, and far less response."""

import numpy as np
import pytest
import torch

from twinlab import insilico
from twinlab.schema import InputError
from twinlab.simulation import SimulatedCortex


@pytest.fixture(scope="module")
def judged():
    cortex = SimulatedCortex(
        seed=0, n_neuron=8, height=18, width=24, composition={"simple": 0.5, "complex": 0.5}
    )
    twin = cortex.as_twin().condition()
    other = cortex.on_day(1, loss=0.0).as_twin().condition()
    natural = np.random.default_rng(0).uniform(0, 255, (4, 1, 18, 24)).astype(np.float32)
    mei = insilico.synthesize_mei(twin, n_start=2)
    return twin, other, insilico.cross_examine(mei, twin, other, natural)


def test_noise_has_the_spectrum_the_norm_and_the_mask_of_the_mei(judged):
    twin, other, mei = judged
    some, spec = mei.isel(neuron=[0, 6]), twin.spec
    made = [insilico.match_noise(some, twin, other, seed=seed).noise.values for seed in range(60)]
    z = (np.stack(made) - spec.mean) / spec.std
    norm = np.linalg.norm(z.reshape(60, 2, -1), axis=2)
    off = np.abs(norm / some.norm.values - 1)
    assert off.max() < 1e-4
    outside = np.abs(z[:, :, 0]) * (some.mask.values < 1e-3)
    assert outside.max() < 0.05
    for i in range(2):
        # A window smears a spectrum: mean power is that of image and mask, convolved
        power = [
            np.abs(np.fft.fft2(one)) ** 2
            for one in (some.mei.values[i, 0] - spec.mean, some.mask.values[i])
        ]
        smeared = np.fft.ifft2(np.fft.fft2(power[0]) * np.fft.fft2(power[1])).real
        found = (np.abs(np.fft.fft2(z[:, i, 0])) ** 2).mean(0)
        smeared[0, 0] = found[0, 0] = 0  # the mean is taken away
        error = np.abs(found / found.sum() - smeared / smeared.sum()).sum() / 2
        assert error < 0.12, error
        another = np.roll(found / found.sum(), 3, axis=1)
        assert np.abs(another - smeared / smeared.sum()).sum() / 2 > 0.3
    # of its phases nothing is left: correlations with the MEI are as often negative
    image = some.mei.values - spec.mean
    correlation = (z * image).sum((2, 3, 4)) / norm / np.linalg.norm(image.reshape(2, -1), axis=1)
    assert (np.abs(correlation.mean(0)) < 3 * correlation.std(0) / np.sqrt(60)).all()


def test_noise_excites_less_and_its_activation_is_what_the_twins_say(judged):
    twin, other, mei = judged
    found = insilico.match_noise(mei, twin, other, seed=3)
    assert (found.activation_noise < found.activation).all()
    assert float((found.activation_noise / found.activation).median()) < 0.6
    for name, judge in (("activation_noise", twin), ("activation_noise_other", other)):
        with torch.inference_mode():
            rates = judge(torch.as_tensor(found.noise.values)).numpy()
        np.testing.assert_allclose(found[name], np.diagonal(rates), rtol=1e-4)


def test_noise_depends_on_seed_and_neuron_alone(judged):
    twin, other, mei = judged
    whole = insilico.match_noise(mei, twin, other, seed=3)
    some = insilico.match_noise(mei.isel(neuron=[5, 2]), twin, other, seed=3)
    np.testing.assert_array_equal(whole.noise.values[[5, 2]], some.noise.values)
    again = insilico.match_noise(mei, twin, other, seed=4)
    assert not np.array_equal(whole.noise, again.noise)
    assert whole.attrs == mei.attrs


def test_what_has_no_mask_is_refused_and_what_has_no_mei_stays_empty(judged):
    twin, other, mei = judged
    with pytest.raises(InputError, match="without masks; give one of `cross_examine`"):
        insilico.match_noise(mei.drop_vars("mask"), twin, other)
    spoiled = mei.copy(deep=True)
    spoiled.activation[2] = np.nan
    found = insilico.match_noise(spoiled, twin, other)
    assert np.isnan(found.noise.values[2]).all()
    assert np.isnan(found.activation_noise.values).sum() == 1
