"""Invariances and kinds of video cells: the phases of what moves, and none of a linear cell."""

import numpy as np
import pytest
from planted_video import (
    N_FRAME,
    PlantedVideoTwin,
    best_plane,
    motion_pair,
)
from sklearn.metrics import adjusted_rand_score

from twinlab import insilico
from twinlab.twins import check_twin

NORM = 4.0
FEW = {"norm": NORM, "n_frame": N_FRAME}


@pytest.fixture(scope="module")
def pair():
    return motion_pair(0.0)


@pytest.fixture(scope="module")
def quiet(pair):
    """Neuron 0 is a direction-selective energy cell, 1 a linear one, 2 answers nothing."""
    twin = PlantedVideoTwin([pair, pair, 0 * pair], [True, False, True])
    return twin.condition()


@pytest.fixture(scope="module")
def plane(pair):
    """Best two videos for the energy cell, and what each evokes at unit norm a frame."""
    rate, videos = best_plane(pair)
    return rate * N_FRAME, videos


def in_plane(videos, plane):
    """Phase of each video (video, ...) in a plane, and its share in there."""
    z = videos.reshape(len(videos), -1) - 110.0
    inside = z @ plane.T
    return np.arctan2(inside[:, 1], inside[:, 0]), np.linalg.norm(inside, axis=1) / np.linalg.norm(
        z, axis=1
    )


def test_planted_cells_keep_the_contract(pair):
    check_twin(PlantedVideoTwin([pair, pair], [True, False]))


def test_mei_of_an_energy_cell_is_the_top_of_its_quadratic_form(quiet, plane):
    mei = insilico.synthesize_mei(quiet, [0], n_start=2, n_step=300, **FEW)
    assert float(mei.activation[0]) == pytest.approx(plane[0][0] * NORM**2, rel=0.01)
    np.testing.assert_allclose(mei.time, np.arange(N_FRAME) / 30.0)


def test_diverse_videos_of_an_energy_cell_spread_over_all_phases_of_motion(quiet, plane):
    found = insilico.synthesize_diverse(quiet, [0], n_image=6, fraction=0.95, n_step=300, **FEW)
    assert found.image.dims == ("neuron", "image", "channel", "frame", "y", "x")
    assert (found.activation >= 0.94 * found.mei_activation).all()
    phase, share = in_plane(found.image.values[0], plane[1])
    assert np.abs(np.exp(1j * phase).mean()) < 0.35
    assert share.min() > 0.8
    assert found.diversity[0] > 0.8


def test_a_linear_cell_has_one_video_only(quiet):
    found = insilico.synthesize_diverse(quiet, [1], n_image=4, fraction=0.999, **FEW)
    assert (found.reached == 1).all()
    assert 1 - found.diversity[0] > 0.95


def test_the_ring_of_an_energy_cell_runs_over_the_phases_of_motion(quiet, plane):
    found = insilico.synthesize_ring(quiet, [0], n_step=300, **FEW)
    best, second = plane[0]
    # the circle in the best plane: nothing two videos span has a higher lowest response
    assert float(found.ring_fraction[0]) == pytest.approx(second / best, rel=0.02)
    phase, share = in_plane(found.ring.values[0], plane[1])
    assert share.min() > 0.97
    around = np.diff(np.unwrap(phase))
    assert np.allclose(np.abs(around), 2 * np.pi / 16, atol=0.1)


def test_a_linear_cell_has_no_ring(quiet):
    found = insilico.synthesize_ring(quiet, [1], n_step=50, **FEW)
    evoked = found.activation - 20.0
    assert evoked.min() < 0.2 * (found.mei_activation[0] - 20.0)


def test_a_cell_without_mei_is_marked(quiet):
    for found in (
        insilico.synthesize_diverse(quiet, [0, 2], n_image=2, n_step=5, **FEW),
        insilico.synthesize_ring(quiet, [0, 2], n_step=5, **FEW),
    ):
        assert found.valid.values.tolist() == [1, 0]
        assert np.isnan(found.activation[1]).all()


def kinds(direction):
    """Energy cells for these directions of motion, each with its own small deviations."""
    generator = np.random.default_rng(0)
    filters = [
        motion_pair(one + generator.normal(0, 4), center=6.5 + generator.normal(0, 0.3, 2))
        for one in direction
    ]
    return PlantedVideoTwin(filters, [True] * len(filters)).condition()


def test_kinds_that_only_motion_tells_apart_are_found():
    planted = np.repeat([0, 1, 2], 20)
    quiet = kinds(np.array([0.0, 180.0, 90.0])[planted])
    found = insilico.cluster_by_stimuli(quiet, max_clusters=4, n_step=40, **FEW)
    assert adjusted_rand_score(planted, found.cluster) == 1.0
    assert found.stimulus.dims == ("cluster_number", "channel", "frame", "y", "x")


def test_one_kind_of_motion_is_one_cluster():
    found = insilico.cluster_by_stimuli(kinds(np.full(20, 45.0)), max_clusters=2, n_step=40, **FEW)
    assert found.sizes["cluster_number"] == 1
