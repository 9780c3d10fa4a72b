"""Stimuli that excite one neuron and not its rivals: closed form, and the simulated cortex."""

import numpy as np
import pytest
import torch

from twinlab import insilico
from twinlab.schema import InputError
from twinlab.simulation import SimulatedCortex
from twinlab.twins import StimulusSpec, wrap_callable

SPEC = StimulusSpec(1, 12, 14, 127.5, 60.0)


@pytest.fixture(scope="module")
def filters():
    """Two filters that correlate by 0.8, one orthogonal to both, and nothing."""
    draws = np.random.default_rng(0).standard_normal((3, 12 * 14))
    basis, _ = np.linalg.qr((draws - draws.mean(1, keepdims=True)).T)
    one, two, three = basis.T
    return np.stack([one, 0.8 * one + 0.6 * two, three, 0 * one])


@pytest.fixture(scope="module")
def twin(filters):
    weight = torch.as_tensor(filters, dtype=torch.float32)

    def answer(stimuli):
        return torch.relu(((stimuli - 127.5) / 60).flatten(1) @ weight.T)

    return wrap_callable(answer, SPEC, 4).condition()


def direction(image):
    away = image.ravel() - image.mean()
    return away / np.linalg.norm(away)


def test_what_neurons_share_is_left_out(twin, filters):
    found = insilico.synthesize_discriminating(twin, [0, 2], rivals=[0, 1, 2], unit=np.full(3, 7))
    # Nothing but the angle in the plane of the first two filters matters to neuron 0, in units of
    # its MEI: the best is found by trying all.
    angle = np.linspace(-np.pi, np.pi, 3601)
    own, rival = np.cos(angle).clip(0), (0.8 * np.cos(angle) + 0.6 * np.sin(angle)).clip(0)
    value = own / 0.3 - np.log(np.exp(own / 0.3) + np.exp(rival / 0.3) + 1)
    best = value.argmax()
    assert float(found.objective[0].max()) == pytest.approx(value[best], rel=0.01)
    assert float(found.activation_share[0]) == pytest.approx(own[best], abs=0.03)
    assert float(found.rival_activation[0]) == pytest.approx(rival[best], abs=0.03)
    assert rival[best] < 0.3  # of 0.8, which the MEI evokes
    # with no rival near the MEI it is
    assert direction(found.discriminating.values[1]) @ filters[2] > 0.99
    assert float(found.activation_share[1]) > 0.99
    assert found.attrs["experiment"] == "discriminating"


def test_a_silent_neuron_has_none_and_is_nobodys_rival(twin):
    found = insilico.synthesize_discriminating(twin, [0, 3], rivals=[0, 1, 3], unit=[7, 7, np.nan])
    assert found.valid.values.tolist() == [1, 0]
    assert np.isnan(found.discriminating.values[1]).all()
    assert np.isfinite(found.rival_activation.values).tolist() == [True, False]


def test_in_the_simulated_cortex_rivals_are_excited_less_than_by_meis():
    cortex = SimulatedCortex(seed=0, n_neuron=10, height=18, width=24)
    twin = cortex.as_twin().condition()
    mei = insilico.synthesize_mei(twin, n_start=2)
    unit = mei.activation.values
    found = insilico.synthesize_discriminating(twin, unit=unit, n_start=2)
    gap = []
    for stimuli in (mei.mei, found.discriminating):
        with torch.inference_mode():
            rate = twin(torch.as_tensor(stimuli.values)).numpy() / unit
        own = np.diagonal(rate)
        gap.append(own - np.where(np.eye(10, dtype=bool), -np.inf, rate).max(1))
        assert own.min() > 0.8
    assert (gap[1] > gap[0]).all()
    assert (gap[1] - gap[0]).mean() > 0.05


def test_what_is_made_for_one_does_not_depend_on_who_else_is_asked(twin):
    how = {"rivals": [0, 1, 2], "unit": np.full(3, 7.0)}
    alone = insilico.synthesize_discriminating(twin, [1], **how)
    together = insilico.synthesize_discriminating(twin, [0, 1, 2], **how)
    np.testing.assert_allclose(
        alone.discriminating[0], together.discriminating[1], rtol=0, atol=0.5
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"neurons": [0]}, "two or more different neurons"),
        ({"neurons": [0], "rivals": [1, 2]}, "the ones asked about among them"),
        ({"neurons": [0], "rivals": [0, 1, 1]}, "different neurons"),
        ({"neurons": [0, 1], "unit": [1.0]}, "`unit` must have one rate for each of 2 rivals"),
        ({"neurons": [0, 1], "temperature": 0.0}, "`temperature` is 0"),
    ],
)  # fmt: skip
def test_rivals_that_cannot_be_are_refused(twin, settings, words):
    with pytest.raises(InputError, match=words):
        insilico.synthesize_discriminating(twin, **settings)
