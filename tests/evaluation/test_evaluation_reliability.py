"""Reliability from repeats alone, against the plain measures and what was planted."""

import numpy as np
import pytest

from twinlab import evaluation
from twinlab.schema import InputError, make_recording


def recording_of(response, index, **more):
    n_neuron = response.shape[1]
    shape = (1, 1, response.shape[2], 2, 2) if response.ndim == 3 else (1, 1, 2, 2)
    stimulus = np.zeros((index.max() + 1, *shape[1:]), np.uint8)
    return make_recording(
        stimulus=stimulus,
        response=response,
        trial={"stimulus_index": index, "image_id": index, "split": ["test"] * len(index)},
        neuron={"neuron_id": np.arange(n_neuron), "session": ["s"] * n_neuron},
        **more,
    )


def planted(n_image=300, n_repeat=20, n_neuron=300, seed=0):
    """Signal and noise of known variance: neuron i has i / n of its variance from the image."""
    rng = np.random.default_rng(seed)
    share = np.linspace(0, 1, n_neuron, endpoint=False)
    index = np.repeat(np.arange(n_image), n_repeat)
    signal = rng.normal(size=(n_image, n_neuron))[index] * np.sqrt(share)
    noise = rng.normal(size=(len(index), n_neuron)) * np.sqrt(1 - share)
    return share, index, signal + noise


def test_the_share_that_was_planted_is_found():
    share, index, response = planted()
    scale = np.linspace(1, 3, len(share))
    found = evaluation.score_reliability(recording_of(response * scale, index))
    np.testing.assert_allclose(found.explainable_variance, share, atol=0.06)
    # of a trial with the mean of 19 others, whose noise is a nineteenth
    oracle = share / np.sqrt(share + (1 - share) / 19)
    np.testing.assert_allclose(found.oracle_correlation, oracle, atol=0.06)
    ceiling = np.sqrt(share / (share + (1 - share) / 20))
    np.testing.assert_allclose(found.cc_max[30:], ceiling[30:], atol=0.06)
    expected = (share * scale**2).sum() / (scale**2).sum()
    assert float(found.explainable_share) == pytest.approx(expected, abs=0.01)
    assert float(found.mean_explainable_variance) == pytest.approx(share.mean(), abs=0.01)


def test_it_agrees_with_the_measures_and_leaves_single_images_out():
    _, index, response = planted(20, 4, 7)
    once = np.r_[index, [20, 21]]
    response = np.r_[response, [[9.0] * 7, [-9.0] * 7]]
    response[3, 2] = np.nan
    found = evaluation.score_reliability(recording_of(response, once))
    stored = response.astype(np.float32)
    for name in ("oracle_correlation", "explainable_variance", "cc_max"):
        expected = getattr(evaluation, name)(stored, once)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5)
    np.testing.assert_allclose(
        found.repeated_variance, np.nanvar(stored[:-2], axis=0, ddof=1), rtol=1e-5
    )


def test_frames_of_videos_count_as_images_after_the_first():
    _, index, response = planted(10, 3, 5)
    video = np.repeat(np.arange(2), 3)
    frames = response.reshape(2, 5, 3, 5).transpose(0, 2, 3, 1).reshape(6, 5, 5)
    found = evaluation.score_reliability(recording_of(frames, video, frame_rate=30.0))
    expected = evaluation.explainable_variance(response.astype(np.float32), index)
    np.testing.assert_allclose(found.explainable_variance, expected, rtol=1e-5)
    recording = recording_of(frames, video, frame_rate=30.0)
    skipped = evaluation.score_reliability(recording, skip=4)
    assert np.abs(skipped.explainable_variance - found.explainable_variance).max() > 0.01
    with pytest.raises(InputError, match="skip fewer"):
        evaluation.score_reliability(recording, skip=5)


def test_without_repeats_it_is_undefined():
    found = evaluation.score_reliability(recording_of(np.ones((4, 3)), np.arange(4)))
    assert found.explainable_variance.isnull().all()
    assert int(found.n_defined_cc_max) == 0
    assert np.isnan(found.explainable_share)
    assert np.isnan(found.mean_oracle_correlation)
