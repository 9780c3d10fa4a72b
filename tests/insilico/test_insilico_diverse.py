"""Invariances with known answers: all phases of an energy neuron, one image of a linear one."""

import numpy as np
import pytest

from twinlab import insilico
from twinlab.insilico.mei import correlate_stimuli
from twinlab.schema import InputError


@pytest.fixture(scope="module")
def quiet(closed_form):
    return closed_form.condition()


def phases(images, filters):
    """Phase of each image (image, ...) in the plane of two filters, and its share in there."""
    z = images.reshape(len(images), -1) - 110.0
    inside = z @ filters.reshape(2, -1).T
    return np.arctan2(inside[:, 1], inside[:, 0]), np.linalg.norm(inside, axis=1) / np.linalg.norm(
        z, axis=1
    )


def test_diverse_inputs_of_an_energy_neuron_spread_over_all_phases(quiet, closed_form):
    found = insilico.synthesize_diverse(quiet, [1], n_image=8, fraction=0.955, n_step=300)
    assert (found.activation >= 0.95 * found.mei_activation).all()
    phase, _ = phases(found.image.values[0], closed_form.truth["filters"][1])
    # Rayleigh: the mean vector of 8 evenly spread phases is short
    assert np.abs(np.exp(1j * phase).mean()) < 0.35
    assert found.diversity[0] > 0.8


def test_a_linear_neuron_has_one_image_only(quiet):
    found = insilico.synthesize_diverse(quiet, [0], n_image=4, fraction=0.99)
    assert (found.reached == 1).all()
    assert correlate_stimuli(found.image.values)[0].min() > 0.95


def test_the_ring_of_an_energy_neuron_is_its_circle_of_phases(quiet, closed_form):
    found = insilico.synthesize_ring(quiet, [1, 4])
    assert (found.ring_fraction > 0.97).all()
    for number, neuron in enumerate((1, 4)):
        phase, share = phases(found.ring.values[number], closed_form.truth["filters"][neuron])
        assert share.min() > 0.97
        around = np.diff(np.unwrap(phase))
        assert np.allclose(np.abs(around), 2 * np.pi / 16, atol=0.1)


def test_a_linear_neuron_has_no_ring(quiet):
    found = insilico.synthesize_ring(quiet, [0], n_step=50)
    assert found.ring_fraction[0] < 0.5


def test_a_neuron_without_mei_is_marked(quiet):
    for found in (
        insilico.synthesize_diverse(quiet, [0, 3], n_image=2, n_step=5),
        insilico.synthesize_ring(quiet, [0, 3], n_step=5),
    ):
        assert found.valid.values.tolist() == [1, 0]
        assert np.isnan(found.activation[1]).all()


@pytest.mark.parametrize(
    ("settings", "word"), [({"fraction": 0.0}, "fraction"), ({"n_image": 1}, "n_image")]
)
def test_a_setting_out_of_range_is_named(quiet, settings, word):
    with pytest.raises(InputError, match=word):
        insilico.synthesize_diverse(quiet, [0], **settings)
