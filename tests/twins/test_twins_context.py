"""The shifter finds a planted gaze, the modulator a planted gain, and both start at nothing."""

import numpy as np
import pytest
import torch

from twinlab import fitting, twins
from twinlab.simulation import SimulatedCortex
from twinlab.twins.context import Modulator, Shifter


def test_the_typical_pupil_starts_at_exactly_no_shift_and_others_near_it():
    torch.manual_seed(0)
    shifter = Shifter()
    assert torch.equal(shifter(torch.zeros(3, 2)), torch.zeros(3, 2))
    assert 0 < shifter(torch.randn(200, 2)).abs().max() < 0.1  # map halves


def test_the_start_of_the_shifter_is_drawn_and_lets_every_layer_learn():
    weights = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        shifter = Shifter()
        weights.append(shifter.network[0].weight.detach().clone())
        pupil = torch.randn(64, 2)
        ((shifter(pupil) - 0.1 * pupil - 0.1) ** 2).sum().backward()
        assert all(parameter.grad.abs().max() > 0 for parameter in shifter.parameters())
    assert (weights[0] - weights[1]).abs().min() > 0


def test_a_planted_gaze_is_found_in_sign_and_scale():
    pixels = 2.0  # by which receptive fields move, right and down, per standard deviation
    cortex = SimulatedCortex(
        n_neuron=80, height=24, width=32, gaze_shift=pixels, running_gain=0.0, pupil_gain=0.0
    )
    recording = cortex.record(n_train=1500, n_validation=60, n_test=2, n_repeat=2)
    architecture = twins.Architecture(
        layers=2, hidden=8, input_kernel=7, hidden_kernel=5, shifter=True
    )
    settings = fitting.FitSettings(
        max_epochs=8, batch_size=64, schedule="cosine", precision="float32", lr=0.01
    )
    twin, _ = fitting.fit_twin(recording, architecture, settings)
    gaze = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))  # z units
    with torch.no_grad():
        found = twin.shifter(gaze) * (torch.tensor(twin.map_shape[::-1]) - 1) / 2  # in pixels
    for axis in (0, 1):
        planted, shift = pixels * gaze[:, axis].numpy(), found[:, axis].numpy()
        assert np.corrcoef(shift, planted)[0, 1] > 0.95
        assert 0.7 < np.polyfit(planted, shift, 1)[0] < 1.2
        other = pixels * gaze[:, 1 - axis].numpy()
        assert abs(np.polyfit(other, shift, 1)[0]) < 0.2


def test_the_first_gain_is_exactly_one():
    torch.manual_seed(0)
    gain = Modulator(3, 5)(torch.randn(20, 3) * 10, None, False)
    assert torch.equal(gain, torch.ones(20, 5))


def test_gains_of_chosen_and_own_neurons_are_those_among_all():
    torch.manual_seed(0)
    modulator = Modulator(3, 5)
    modulator.of_behavior.data.normal_()
    modulator.of_state.data.normal_()
    behavior, neuron = torch.randn(4, 3), torch.tensor([4, 0, 0, 2])
    whole = modulator(behavior, None, False)
    torch.testing.assert_close(modulator(behavior, neuron, False), whole[:, neuron])
    own = modulator(behavior, neuron, True)
    torch.testing.assert_close(own, whole[torch.arange(4), neuron])


def test_planted_suppression_and_facilitation_are_found():
    generator = torch.Generator().manual_seed(0)
    behavior = torch.randn(3000, 2, generator=generator)
    slope = torch.tensor([[-0.7, 0.0], [0.5, 0.0], [0.0, -0.4], [0.0, 0.0]])
    planted = torch.exp(behavior @ slope.T)
    response = torch.poisson(3 * planted, generator=generator)
    torch.manual_seed(0)
    modulator = Modulator(2, 4)
    optimizer = torch.optim.Adam(modulator.parameters(), lr=0.03)
    for _ in range(200):
        optimizer.zero_grad()
        fitting.poisson_loss(3 * modulator(behavior, None, False), response).backward()
        optimizer.step()
    running = torch.tensor([[2.0, 0.0]])
    with torch.no_grad():
        gain, typical = modulator(running, None, False)[0], modulator(0 * running, None, False)[0]
    expected = torch.exp(running @ slope.T)[0]
    assert gain[0] < 0.35  # suppressed: a planted exp(-1.4) = 0.25
    assert gain[1] > 2.2
    assert gain.tolist() == pytest.approx(expected.tolist(), rel=0.25)
    assert typical.tolist() == pytest.approx([1.0] * 4, rel=0.1)
