"""Suppressors of planted cells: found where there are any, and none where there are not."""

import numpy as np
import pytest
import torch

from twinlab import insilico
from twinlab.schema import InputError
from twinlab.simulation import (
    SimulatedCortex,
    SimulatedVideoCortex,
    compare_suppressor,
    suppressive_filters,
)
from twinlab.stimuli import gabor_patches
from twinlab.twins import StimulusSpec, wrap_callable

HEIGHT, WIDTH = 20, 24
SPEC = StimulusSpec(1, HEIGHT, WIDTH, 110.0, 55.0)


@pytest.fixture(scope="module")
def filters():
    """Even and odd of one orientation, and an even one of the orthogonal: orthonormal."""
    at = {"x": 12.0, "y": 10.0, "spatial_frequency": 0.14, "size": 3.0}
    gabors = [
        gabor_patches(
            *(np.array([at["x"]]), np.array([at["y"]]), np.array([turn]),
              np.array([at["spatial_frequency"]]), np.array([phase]), np.array([at["size"]])),
            height=HEIGHT, width=WIDTH,
        ).ravel()
        for turn, phase in ((20.0, 0.0), (20.0, 90.0), (110.0, 0.0))
    ]  # fmt: skip
    found, _ = np.linalg.qr(np.stack([gabor - gabor.mean() for gabor in gabors], 1))
    return found.T


def cells(filters, spec=SPEC):
    """Divided by one filter; energy that nothing divides; linear; and one that is silent."""
    weight = torch.as_tensor(filters, dtype=torch.float32)

    def answer(stimuli):
        even, odd, other = (((stimuli - 110) / 55).flatten(1) @ weight.T).T
        energy = even**2 + odd**2
        rates = [energy / (1 + 0.5 * other**2), energy, torch.nn.functional.softplus(even)]
        return torch.stack([*rates, torch.relu(even - 1000)], 1)

    return wrap_callable(answer, spec, 4).condition()


def similarity(image, filter_):
    image = image.ravel() - image.mean()
    return float(image @ filter_ / np.linalg.norm(image) / np.linalg.norm(filter_))


@pytest.fixture(scope="module")
def found(filters):
    return insilico.synthesize_suppressor(cells(filters))


def test_a_filter_that_only_suppresses_shows_beside_what_excites_and_not_alone(found, filters):
    one = found.isel(neuron=0)
    assert abs(similarity(one.suppressor.values, filters[2])) > 0.99
    # 3.5 of excitation squared, over 1, and over 1 + 7 squared / 2
    assert float(one.base_activation) == pytest.approx(3.5**2, rel=0.01)
    assert float(one.suppression) == pytest.approx(1 - 1 / (1 + 7**2 / 2), abs=0.01)
    alone = insilico.synthesize_lei(cells(filters), [0])
    assert alone.unique.values == 0
    assert abs(similarity(alone.lei.values[0], filters[2])) < 0.5


def test_nothing_suppresses_an_energy_cell(found):
    assert abs(float(found.suppression[1])) < 1e-3
    assert found.valid.values.tolist() == [1, 1, 1, 0]


def test_a_linear_cell_is_suppressed_by_its_inverted_filter(found, filters):
    # once silenced, little leads further
    assert similarity(found.suppressor.values[2], -filters[0]) > 0.97
    assert 0.9 < float(found.suppression[2]) <= 1


def test_a_silent_cell_has_none(found):
    for name in ("suppressor", "suppression", "suppressed_activation"):
        assert np.isnan(found[name][3]).all()


def test_what_it_says_is_what_the_neuron_answers(found, filters):
    contrast = found.suppressor.values[:3] - 110
    np.testing.assert_allclose(found.combined[:3], found.base.values[:3] + contrast, rtol=1e-5)
    shown = [found.base.values[:3] + contrast, 220 - found.base.values[:3] + contrast]
    rates = [cells(filters)(torch.as_tensor(images)).numpy() for images in shown]
    mean = np.mean(rates, 0)[np.arange(3), np.arange(3)]
    np.testing.assert_allclose(found.suppressed_activation[:3], mean, rtol=1e-4)


def test_sums_can_be_shown_and_bases_may_be_given(filters):
    narrow = StimulusSpec(1, HEIGHT, WIDTH, 110.0, 55.0, low=60.0, high=200.0)
    twin = cells(filters, narrow)
    base = (110 + 1.6 * 55 * filters[:1]).reshape(1, 1, HEIGHT, WIDTH)
    result = insilico.synthesize_suppressor(twin, [0], base=base, norm=14.0)
    np.testing.assert_allclose(result.base, base, rtol=1e-6)
    shown = np.stack([base, 220 - base]) + result.suppressor.values - 110
    assert shown.min() == pytest.approx(60, abs=1e-3)
    assert shown.max() == pytest.approx(200, abs=1e-3)
    own = insilico.synthesize_suppressor(twin, [0], base_norm=7.0)
    assert np.abs(own.base.values - 110).max() == pytest.approx(50, abs=1e-3)


def test_suppressors_of_true_neurons_are_their_true_suppressive_filters():
    cortex = SimulatedCortex(seed=0, n_neuron=60)
    recording = cortex.record(n_train=2, n_validation=1, n_test=1, n_repeat=1)
    kind = recording.true_type.values
    chosen = np.flatnonzero(kind != "simple")
    result = insilico.synthesize_suppressor(cortex.as_twin().condition(), chosen)
    match = compare_suppressor(result, recording).values
    found = {name: match[kind[chosen] == name] for name in np.unique(kind[chosen])}
    assert np.median(found["normalized"]) > 0.97
    assert found["normalized"].min() > 0.85
    assert found["surround"].min() > 0.98
    alone = compare_suppressor(result.isel(neuron=kind[chosen] == "complex"), recording)
    assert np.isnan(alone).all()
    suppression = result.suppression.values
    assert suppression[kind[chosen] == "normalized"].min() > 0.5
    assert np.abs(suppression[kind[chosen] == "complex"]).max() < 1e-3
    # What the complex cells answer least is nothing like filters that they do not have.
    called = np.where(kind == "complex", "normalized", kind)
    null = compare_suppressor(result, recording.assign_coords(true_type=("neuron", called)))
    assert null.values[kind[chosen] == "complex"].max() < 0.2


def test_cells_that_see_videos_have_suppressors_of_their_kind():
    twin = SimulatedVideoCortex(seed=0, n_neuron=6, height=16, width=16).as_twin().condition()
    result = insilico.synthesize_suppressor(twin, n_step=10, n_start=1, n_frame=12, batch_size=16)
    assert result.suppressor.shape == (6, 1, 12, 16, 16)
    assert np.abs(result.norm / (7 * np.sqrt(12)) - 1).max() < 0.1  # but for pixels that were cut
    kind = result.true_type.values
    assert np.abs(result.suppression[kind == "complex"]).max() < 0.01
    assert result.suppression[kind != "complex"].min() > 0.5


@pytest.mark.parametrize("channel", [1, 2])
def test_true_suppressive_filters_are_those_that_the_neurons_have(channel):
    cortex = SimulatedCortex(seed=3, n_neuron=20, channel=channel, height=24, width=24)
    recording = cortex.record(n_train=2, n_validation=1, n_test=1, n_repeat=1)
    for kind in ("normalized", "surround"):
        filters = suppressive_filters(recording, kind)
        own = getattr(cortex.as_twin(), f"filters_{kind}").numpy()[:, 2:]
        assert filters.sizes["neuron"] == len(own) == 3
        scale = np.linalg.norm(own, axis=-1, keepdims=True)
        length = np.linalg.norm(filters.values.reshape(own.shape), axis=-1, keepdims=True)
        np.testing.assert_allclose(
            filters.values.reshape(own.shape) / length, own / scale, atol=1e-5
        )
    with pytest.raises(InputError, match="must be one of"):
        suppressive_filters(recording, "simple")
    with pytest.raises(InputError, match="`true_filter` is missing"):
        suppressive_filters(recording.drop_vars("true_filter"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"norm": 0.0}, "`norm` is 0"),
        ({"base_norm": -1.0}, "`base_norm` is -1"),
        ({"n_step": 0}, "`n_step` is 0"),
        ({"base": np.full((3, 1, HEIGHT, WIDTH), 110.0)}, "one for each neuron"),
        ({"base": np.full((1, 1, HEIGHT, WIDTH), 255.0)}, "negative must be shown too"),
        ({"base": np.full((1, 1, HEIGHT, WIDTH), np.nan)}, "negative must be shown too"),
        ({"neurons": [4]}, "between 0 and 3"),
    ],
)
def test_bad_settings_are_named(filters, changes, complaint):
    with pytest.raises(InputError, match=complaint):
        insilico.synthesize_suppressor(cells(filters), **{"neurons": [0]} | changes)
