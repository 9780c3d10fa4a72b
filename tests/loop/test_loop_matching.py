"""Units found again on another day are the right neurons, as often as the confidence says."""

import numpy as np
import pytest

from twinlab import stimuli
from twinlab.loop import match_by_fingerprint, match_by_position, match_by_table
from twinlab.schema import InputError
from twinlab.simulation import SimulatedCortex

SIZE = {"height": 20, "width": 24}
N = 60


@pytest.fixture(scope="module")
def days():
    """Mean responses to the same images on two days, the later units in another order."""
    cortex = SimulatedCortex(seed=0, n_neuron=N, **SIZE)
    later = cortex.on_day(2, gain=0.1, shift=0.2, loss=0.1)
    images = stimuli.make_dead_leaves(80, **SIZE, seed=9)
    shown = np.tile(np.arange(80), 20)

    def means(cortex, seed):
        response = cortex.show(images, shown, seed=seed).response.values
        return response.reshape(20, 80, -1).mean(0)

    order = np.random.default_rng(4).permutation(len(later.found))
    return means(cortex, 1), means(later, 2)[:, order], later.found[order]


def names(n):
    return [str(i) for i in range(n)]


def test_fingerprints_find_the_neurons_again(days):
    first, second, true = days
    match = match_by_fingerprint(first, second, names(N))
    position = match.position.values
    matched = np.flatnonzero(position >= 0)
    right = true[position[matched]] == matched
    lost = np.setdiff1d(np.arange(N), true)
    assert len(lost) >= 5
    assert len(matched) > 0.85 * len(true)
    assert right.mean() >= 0.97
    assert (position[lost] < 0).all()
    assert len(set(position[matched])) == len(matched)


def test_fingerprints_of_noise_match_nobody():
    generator = np.random.default_rng(0)
    first, second = generator.standard_normal((2, 80, 30))
    match = match_by_fingerprint(first, second, names(30))
    assert (match.position >= 0).sum() <= 2


def test_confidence_is_how_often_a_fingerprint_is_right():
    """Planted: neurons that correlate with themselves, at levels from hopeless to sure."""
    generator = np.random.default_rng(1)
    confidence, right = [], []
    for level in np.linspace(0.2, 1.5, 12):
        common = generator.standard_normal((60, 3)) @ generator.standard_normal((3, 40))
        signal = level * (generator.standard_normal((60, 40)) + 0.4 * common)  # they are alike
        first, second = signal + generator.standard_normal((2, 60, 40))
        second[:, 30:] = generator.standard_normal((60, 10))  # ten are lost, and ten are new
        match = match_by_fingerprint(first, second, names(40), min_confidence=0.0)
        confidence.extend(match.confidence.values)
        right.extend((match.position.values == np.arange(40)) & (np.arange(40) < 30))
    confidence, right = np.array(confidence), np.array(right)
    for low, high in ((0.3, 0.7), (0.7, 0.95), (0.95, 1.01)):
        among = (confidence >= low) & (confidence < high)
        error = np.sqrt(0.25 / among.sum())
        assert among.sum() >= 20
        assert right[among].mean() > confidence[among].mean() - 2 * error  # never overconfident
    assert right[confidence < 0.05].mean() < 0.2


def test_a_few_large_responses_do_not_make_a_match():
    generator = np.random.default_rng(2)
    first, second = generator.standard_normal((2, 40, 20))
    first[:3] += 100 * generator.random((3, 20))
    second[:3] += 100 * generator.random((3, 20))
    match = match_by_fingerprint(first, second, names(20))
    assert (match.position >= 0).sum() <= 1


def field(generator, n=200):
    return generator.uniform(0, 600, (n, 2))


@pytest.mark.parametrize("shift", [(0.0, 0.0), (6.0, -4.0), (90.0, -47.0)])
def test_positions_find_the_neurons_again(shift):
    generator = np.random.default_rng(2)
    neuron = field(generator)
    kept = generator.permutation(200)[:170]
    moved = neuron[kept] + shift + generator.normal(0, 3, (170, 2))
    unit = np.concatenate([moved, field(generator, 20)])  # and 20 new ones
    match = match_by_position(neuron, unit, names(200))
    np.testing.assert_allclose(match.shift_um, shift, atol=1.0)
    position = match.position.values
    matched = np.flatnonzero(position >= 0)
    true = np.r_[kept, np.full(20, -1)]
    assert len(matched) > 0.55 * 170
    assert (true[position[matched]] == matched).mean() > 0.96
    lost = np.setdiff1d(np.arange(200), kept)
    assert (position[lost] < 0).mean() > 0.9


def test_confidence_is_how_often_a_position_is_right():
    confidence, right = [], []
    for seed in range(8):
        generator = np.random.default_rng(seed)
        neuron = field(generator)
        kept = generator.permutation(200)[:150]
        moved = neuron[kept] + generator.normal(0, 3, (150, 2))
        unit = np.concatenate([moved, field(generator, 50)])
        match = match_by_position(neuron, unit, names(200), min_confidence=0.0)
        true = np.r_[kept, np.full(50, -1)]
        position = match.position.values
        right.extend((position >= 0) & (true[position] == np.arange(200)))
        confidence.extend(match.confidence.values)
    confidence, right = np.array(confidence), np.array(right)
    for low, high in ((0.5, 0.8), (0.8, 0.9), (0.9, 1.01)):
        among = (confidence >= low) & (confidence < high)
        error = np.sqrt(0.25 / among.sum())
        assert right[among].mean() > confidence[among].mean() - 2 * error  # never overconfident
    assert right[confidence < 0.1].mean() < 0.2


def test_two_units_as_near_are_not_told_apart():
    neuron = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0]])
    unit = np.concatenate([neuron[1:], [[0.0, 2.0], [0.0, -2.0]]])
    match = match_by_position(neuron, unit, names(4))
    assert match.position.values.tolist() == [-1, 0, 1, 2]
    assert match.confidence.values[0] == pytest.approx(0.5, abs=0.05)


def test_a_table_is_taken_at_its_word():
    match = match_by_table({"a": "u2", "c": "u1"}, ["a", "b", "c"], ["u1", "u2", "u3"])
    assert match.position.values.tolist() == [1, -1, 0]
    assert match.confidence.values.tolist() == [1, 0, 1]
    with pytest.raises(InputError, match=r"'d' is not the twin's; unit 'u9' was not recorded"):
        match_by_table({"d": "u1", "a": "u9"}, ["a"], ["u1"])
    with pytest.raises(InputError, match="'u1' has several neurons"):
        match_by_table({"a": "u1", "b": "u1"}, ["a", "b"], ["u1"])


def test_what_cannot_be_matched_is_refused():
    with pytest.raises(InputError, match="at least 10"):
        match_by_fingerprint(np.zeros((9, 2)), np.zeros((9, 2)), names(2))
    with pytest.raises(InputError, match="of 20 and 19 images"):
        match_by_fingerprint(np.zeros((20, 2)), np.zeros((19, 2)), names(2))
    with pytest.raises(InputError, match="not finite"):
        match_by_fingerprint(np.full((20, 2), np.nan), np.zeros((20, 2)), names(2))
    with pytest.raises(InputError, match="same axes"):
        match_by_position(np.zeros((3, 2)), np.zeros((3, 3)), names(3))
