"""Controls of optimal videos: clips and drifting Gabors of one norm, other twins, distance."""

import numpy as np
import pytest
import torch
from planted_video import N_FRAME, RATE, SIZE, PlantedVideoTwin, motion_pair

from twinlab import insilico, stimuli, twins
from twinlab.insilico.gabors import draw_gabors
from twinlab.schema import InputError, open_result, save_result

DIRECTION = (0.0, 180.0, 60.0)


def planted(seed):
    pairs = [motion_pair(direction) for direction in DIRECTION]
    return PlantedVideoTwin([*pairs, 0 * pairs[0]], [True] * 4, seed)


@pytest.fixture(scope="module")
def quiet():
    """Energy cells for three directions, and one that answers nothing."""
    return planted(0).condition()


@pytest.fixture(scope="module")
def rival():
    return planted(1).condition()


@pytest.fixture(scope="module")
def mei(quiet):
    return insilico.synthesize_mei(quiet, norm=4.0, n_frame=N_FRAME, n_start=2)


@pytest.fixture(scope="module")
def clips():
    videos = stimuli.make_dead_leaves_video(
        20, SIZE, SIZE, 0, n_frame=2 * N_FRAME + 3, frame_rate_hz=RATE
    )
    return insilico.cut_clips(videos.values, N_FRAME)


@pytest.fixture(scope="module")
def familiar(quiet, clips):
    return twins.fit_familiarity(quiet.twin, clips[:25], clips[25:])


@pytest.fixture(scope="module")
def examined(mei, quiet, rival, clips, familiar):
    return insilico.cross_examine(
        mei, quiet, rival, clips, architecture=planted(2).condition(), familiarity=familiar,
        degrees_per_pixel=2.0,
    )  # fmt: skip


def settled(quiet, neuron, videos):
    with torch.inference_mode():
        shown = torch.as_tensor(np.asarray(videos), dtype=torch.float32)
        return quiet.neurons([neuron])(shown)[:, 0, N_FRAME // 2 :].mean(1).numpy()


def test_videos_are_cut_one_after_the_other():
    videos = np.arange(2 * 7.0).reshape(2, 1, 7, 1, 1) * np.ones((4, 5))
    clips = insilico.cut_clips(videos, 3)
    assert clips.shape == (4, 1, 3, 4, 5)
    assert clips[:, 0, :, 0, 0].tolist() == [[0, 1, 2], [7, 8, 9], [3, 4, 5], [10, 11, 12]]
    videos[0, 0, 5] = np.nan
    assert len(insilico.cut_clips(videos, 3)) == 3
    with pytest.raises(InputError, match="2 videos of 7 frames hold no whole clip of 8"):
        insilico.cut_clips(videos, 8)


def test_a_drawn_gabor_drifts_as_that_of_the_stimulus_room():
    orientation, frequency, temporal = np.array([30.0, 120.0]), 0.1, np.array([4.0, -3.0])
    columns = [
        np.full(2, 6.5), np.full(2, 5.5), np.deg2rad(orientation), np.full(2, np.log(frequency)),
        np.full(2, 0.7), np.full(2, np.log(1e4)), np.zeros(2), temporal / RATE, np.ones(2),
    ]  # fmt: skip
    drawn = draw_gabors(torch.as_tensor(np.stack(columns, 1)), SIZE, SIZE, 5)
    # so wide that its envelope is 1; its phase is at its centre, there at the first pixel
    turn = np.deg2rad(orientation)
    at_first = 0.7 - 2 * np.pi * frequency * (6.5 * np.sin(turn) + 5.5 * np.cos(turn))
    made = stimuli.make_drifting_gratings(
        orientation + 90, frequency, temporal_frequency_hz=temporal, phase=np.rad2deg(at_first),
        n_frame=5, frame_rate_hz=RATE, height=SIZE, width=SIZE, mean=1.0,
    )  # fmt: skip
    np.testing.assert_allclose(drawn, made.values - 1, atol=1e-4)


def test_mei_excites_more_than_its_controls_and_all_have_its_norm(examined):
    alive = examined.isel(neuron=slice(3))
    for control in ("natural", "gabor"):
        assert (alive.activation > alive[f"activation_{control}"]).all()
        assert alive[control].dims == ("neuron", "channel", "frame", "y", "x")
        z = (alive[control] - 110) / 55
        norm = np.sqrt((z**2).sum(("channel", "frame", "y", "x")))
        np.testing.assert_allclose(norm, alive.norm, rtol=1e-4)


def test_activations_are_what_the_twins_say_of_the_videos(examined, quiet, mei, clips):
    for neuron in range(3):
        for name in ("natural", "gabor"):
            rate = settled(quiet, neuron, examined[name].values[[neuron]])
            assert float(examined[f"activation_{name}"][neuron]) == pytest.approx(rate[0], 1e-4)
    # the others compute the same function, so that they must agree on every video
    for judge in ("other", "architecture"):
        for control in ("", "_natural", "_gabor"):
            np.testing.assert_allclose(
                examined[f"activation{control}_{judge}"], examined[f"activation{control}"], 1e-4
            )
    # no other clip through the mask is better
    mask = examined.mask.values[0]
    z = clips.astype(float) - 110
    z = mask * (z - (mask * z).sum((1, 2, 3, 4), keepdims=True) / (mask.sum() * N_FRAME))
    z *= float(mei.norm[0]) / np.sqrt((z**2).sum((1, 2, 3, 4), keepdims=True))
    rates = settled(quiet, 0, 110 + 55 * z)
    assert rates.argmax() == int(examined.natural_index[0])


def test_the_best_gabor_drifts_as_the_cell_prefers(examined, quiet):
    y, x = np.mgrid[:SIZE, :SIZE] - 6.5
    for neuron, direction in enumerate(DIRECTION):
        drift = stimuli.make_drifting_gratings(
            direction, 0.15, temporal_frequency_hz=5.0, n_frame=N_FRAME, frame_rate_hz=RATE,
            height=SIZE, width=SIZE, phase=np.arange(0, 360, 45.0),
        ).values - 127.5  # fmt: skip
        z = drift * np.exp(-(x**2 + y**2) / (2 * 2.2**2))
        z -= z.mean((1, 2, 3, 4), keepdims=True)
        z *= float(examined.norm[neuron]) / np.sqrt((z**2).sum((1, 2, 3, 4), keepdims=True))
        as_planted = settled(quiet, neuron, 110 + 55 * z).max()
        assert float(examined.activation_gabor[neuron]) > 0.999 * as_planted
    against = settled(quiet, 1, examined.gabor.values[[0]])
    assert against[0] < 0.1 * float(examined.activation_gabor[0])


def test_the_mask_is_where_the_cell_looks_and_told_in_degrees(examined, mei, quiet, rival, clips):
    for neuron in range(3):
        mask = examined.mask[neuron]
        assert float((mask * mask.x).sum() / mask.sum()) == pytest.approx(6.5, abs=1)
        assert float((mask * mask.y).sum() / mask.sum()) == pytest.approx(6.5, abs=1)
    assert examined.mask_size.attrs["units"] == "deg"
    in_pixels = insilico.cross_examine(mei[{"neuron": [0]}], quiet, rival, clips[:2], n_step=1)
    assert float(examined.mask_size[0]) == pytest.approx(2 * float(in_pixels.mask_size[0]))


def test_distance_from_training_is_that_of_videos(examined, familiar, mei):
    own = familiar(torch.as_tensor(mei.mei.values[:3])).detach()
    np.testing.assert_allclose(examined.distance[:3], own, rtol=1e-4)
    assert (examined.unfamiliar[:3] == (own.numpy() > familiar.threshold)).all()
    assert np.isfinite(examined.distance_natural[:3]).all()


def test_a_cell_without_mei_has_no_controls(examined):
    for name in ("activation_other", "activation_gabor", "natural", "gabor", "mask", "distance"):
        assert np.isnan(examined[name][3]).all()


def test_controls_of_a_least_exciting_video_excite_least(quiet, rival, clips):
    lei = insilico.synthesize_lei(quiet, [0], norm=4.0, n_frame=N_FRAME, n_start=2)
    found = insilico.cross_examine(lei, quiet, rival, clips)
    assert float(found.activation_gabor[0]) < 0.05
    assert float(found.activation_natural[0]) < 0.5


def test_a_result_is_saved_and_read_back_identical(examined, tmp_path):
    path = save_result(examined, tmp_path / "mei.nc")
    assert open_result(path).identical(examined)


def test_what_does_not_fit_is_told(mei, quiet, rival, clips):
    with pytest.raises(InputError, match="clips of 5 frames, but the MEIs have 12; cut them"):
        insilico.cross_examine(mei, quiet, rival, clips[:, :, :5])
    faster = planted(3)
    faster.spec = twins.StimulusSpec(1, SIZE, SIZE, 110.0, 55.0, frame_rate=60.0)
    for name in ("other", "architecture"):
        judges = {"other": rival, name: faster.condition()}
        with pytest.raises(InputError, match=f"`{name}` sees videos of shape .* at 60 Hz"):
            insilico.cross_examine(
                mei, quiet, judges["other"], clips, architecture=judges.get("architecture")
            )
