"""Scores of responses to videos: which frames, which form, and how sure."""

import json

import numpy as np
import pytest
import xarray as xr

from twinlab import evaluation
from twinlab.evaluation.frames import FORM
from twinlab.evaluation.measures import MEASURES
from twinlab.schema import InputError, make_recording
from twinlab.twins import import_peer

N_NEURON = 5
SKIP = 10


def smooth(rng, *shape, tau=8.0):
    """Series that change slowly along the last axis, of unit variance."""
    keep = np.exp(-1 / tau)
    values = rng.normal(size=shape)
    for t in range(1, shape[-1]):
        values[..., t] = keep * values[..., t - 1] + np.sqrt(1 - keep**2) * values[..., t]
    return values


def make_toy(seed=0, n_train=2, n_test=8, n_repeat=5, n_frame=40, noise=1.0):
    """A recording of neurons without any preference for pixels, and its noise-free rates."""
    rng = np.random.default_rng(seed)
    video = np.concatenate(
        [np.arange(n_train), rng.permutation(n_train + np.repeat(np.arange(n_test), n_repeat))]
    )
    rate = 5 + smooth(rng, n_train + n_test, N_NEURON, n_frame)
    recording = make_recording(
        stimulus=np.zeros((n_train + n_test, 1, n_frame, 2, 2), np.uint8),
        response=rate[video] + noise * rng.normal(size=(len(video), N_NEURON, n_frame)),
        trial={
            "stimulus_index": video,
            "image_id": video + 1000,
            "split": np.where(video < n_train, "train", "test"),
            "presentation_order": np.arange(len(video)),
        },
        neuron={
            "neuron_id": np.arange(N_NEURON) + 70,
            "session": np.full(N_NEURON, "toy"),
        },
        frame_rate=30.0,
    )
    names = ("neuron_id", "session")
    truth = xr.DataArray(
        rate, {name: recording[name] for name in names}, ("video", "neuron", "frame")
    )
    return recording, truth


def of_test(recording):
    return recording.isel(trial=recording.split.values == "test")


def predict(recording, rate, error=0.5, seed=1):
    trials = of_test(recording)
    wrong = error * smooth(np.random.default_rng(seed), *rate.shape)
    predicted = (rate.values + wrong)[trials.stimulus_index.values]
    return trials.response.copy(data=predicted.astype(np.float32)).rename("prediction")


@pytest.fixture
def toy():
    recording, rate = make_toy()
    return recording, rate, predict(recording, rate)


def by_hand(values, skip=SKIP):
    """Frames of one trial after another, (trial * frame, neuron), by loops."""
    return np.array([trial[:, t] for trial in values for t in range(skip, trial.shape[1])])


# ---- unrolling ----


def test_unrolled_frames_are_the_frames_of_one_trial_after_another(toy):
    recording, _, _ = toy
    trials = of_test(recording)
    frames = evaluation.unroll_frames(trials.response, skip=SKIP)
    assert frames.dims == ("trial", "neuron")
    np.testing.assert_array_equal(frames, by_hand(trials.response.values))
    np.testing.assert_array_equal(frames.frame[:31], [*range(10, 40), 10])
    np.testing.assert_array_equal(frames.video_index[::30], trials.stimulus_index)
    np.testing.assert_array_equal(frames.image_id[::30], trials.image_id)
    np.testing.assert_array_equal(frames.neuron_id, recording.neuron_id)
    assert frames.attrs["form"] == FORM
    assert frames.attrs["skip"] == SKIP
    assert frames.attrs["units"] == recording.response.attrs["units"]


def test_the_same_frame_of_the_same_video_has_one_number(toy):
    recording, _, _ = toy
    frames = evaluation.unroll_frames(of_test(recording).response, skip=SKIP)
    shown = list(zip(frames.video_index.values, frames.frame.values, strict=True))
    number = dict(zip(shown, frames.stimulus_index.values, strict=True))
    assert len(set(number.values())) == len(number) == 8 * 30
    assert [number[key] for key in shown] == frames.stimulus_index.values.tolist()


def test_the_order_of_dimensions_does_not_matter(toy):
    response = of_test(toy[0]).response
    xr.testing.assert_identical(
        evaluation.unroll_frames(response.transpose("frame", "neuron", "trial"), skip=3),
        evaluation.unroll_frames(response, skip=3),
    )


# ---- values ----


def test_scores_are_the_measures_of_concatenated_frames(toy):
    recording, _, prediction = toy
    scores = evaluation.score_prediction(recording, prediction, n_bootstrap=5, skip=SKIP)
    trials = of_test(recording)
    response, predicted = by_hand(trials.response.values), by_hand(prediction.values)
    image = np.array([(v, t) for v in trials.stimulus_index.values for t in range(SKIP, 40)])
    image = np.unique(image, axis=0, return_inverse=True)[1].ravel()
    for name in MEASURES:
        function = getattr(evaluation, name)
        if name == "single_trial_correlation":
            expected = function(response, predicted)
        elif name in ("oracle_correlation", "explainable_variance", "cc_max"):
            expected = function(response, image)
        else:
            expected = function(response, predicted, image)
        np.testing.assert_allclose(scores[name], expected, rtol=1e-9)
    assert (scores.n_trial == 40 * 30).all()
    assert (scores.n_repeated_image == 8 * 30).all()


def test_scores_agree_with_neuralpredictors_on_concatenated_frames(toy):
    recording, _, prediction = toy
    measures = import_peer("measures.np_functions")
    scores = evaluation.score_prediction(recording, prediction, n_bootstrap=0, skip=SKIP)
    trials = of_test(recording)
    order = np.argsort(trials.stimulus_index.values, kind="stable")
    response, predicted = trials.response.values[order], prediction.values[order]
    np.testing.assert_allclose(
        scores.single_trial_correlation,
        measures.corr(by_hand(response), by_hand(predicted), axis=0),
        rtol=1e-4,
    )
    of_video = response.reshape(8, 5, N_NEURON, 40)[..., SKIP:]
    # Theirs takes a list of (repeat, neuron), one for each image: here, for each frame.
    frames = [video[..., t] for video in of_video for t in range(30)]
    np.testing.assert_allclose(
        scores.oracle_correlation, measures.oracle_corr_jackknife(frames), rtol=1e-4
    )


def test_the_form_differs_from_the_mean_correlation_within_trials():
    """A prediction that knows the mean of each video and nothing else within it.

    Concatenated, it is as good as the differences between videos are large. Within a trial it
    is constant, and the other form of the score would be undefined.
    """
    rng = np.random.default_rng(0)
    recording, rate = make_toy(noise=0.1)
    level = rng.normal(scale=3, size=(rate.sizes["video"], N_NEURON, 1))
    recording["response"] = (
        recording.response.dims,
        (recording.response.values + level[recording.stimulus_index.values]).astype(np.float32),
    )
    trials = of_test(recording)
    constant = np.broadcast_to(level[trials.stimulus_index.values], trials.response.shape)
    wiggle = 1e-3 * rng.normal(size=constant.shape)
    prediction = trials.response.copy(data=(constant + wiggle).astype(np.float32))
    scores = evaluation.score_prediction(recording, prediction, n_bootstrap=0, skip=SKIP)
    response, predicted = (a.values[..., SKIP:] for a in (trials.response, prediction))
    within = np.mean(
        [
            [np.corrcoef(r, p)[0, 1] for r, p in zip(trial, guess, strict=True)]
            for trial, guess in zip(response, predicted, strict=True)
        ]
    )
    assert float(scores.mean_single_trial_correlation) > 0.9
    assert abs(within) < 0.05


def test_frames_without_a_response_are_left_out(toy):
    recording, _, prediction = toy
    trials = of_test(recording)
    shorter = trials.stimulus_index.values % 2 == 0  # half of the videos end at frame 25
    response = recording.response.copy(deep=True)
    where = np.flatnonzero(recording.split.values == "test")[shorter]
    response.values[where, :, 25:] = np.nan
    ended = recording.assign(response=response)
    scores = evaluation.score_prediction(ended, prediction, n_bootstrap=0, skip=SKIP)
    pieces = [
        (r[:, SKIP : 25 if short else 40].T, p[:, SKIP : 25 if short else 40].T)
        for r, p, short in zip(trials.response.values, prediction.values, shorter, strict=True)
    ]
    r, p = (np.concatenate(each) for each in zip(*pieces, strict=True))
    np.testing.assert_allclose(
        scores.single_trial_correlation,
        evaluation.single_trial_correlation(r, p),
        rtol=1e-9,
    )
    assert (scores.n_trial == len(r)).all()


def test_skipped_frames_do_not_matter(toy):
    recording, rate, prediction = toy
    changed = prediction.copy(deep=True)
    changed[..., :SKIP] = 1e3
    for score in (
        lambda p: evaluation.score_prediction(recording, p, n_bootstrap=0, skip=SKIP),
        lambda p: evaluation.score_truth(rate, p, skip=SKIP),
    ):
        xr.testing.assert_identical(score(changed), score(prediction))
    everything = evaluation.score_prediction(recording, changed, n_bootstrap=0, skip=0)
    assert float(everything.mean_single_trial_correlation) < 0.3


def test_the_result_names_its_form(toy):
    recording, rate, prediction = toy
    scores = evaluation.score_prediction(recording, prediction, n_bootstrap=5, skip=SKIP)
    settings = json.loads(scores.attrs["settings"])
    assert settings["skip"] == SKIP
    assert settings["form"] == FORM
    assert FORM in scores.single_trial_correlation.attrs["definition"]
    assert "over videos" in scores.feve_interval.attrs["long_name"]
    truth = evaluation.score_truth(rate, prediction, skip=SKIP)
    assert truth.attrs["form"] == FORM
    assert truth.attrs["skip"] == SKIP


# ---- the truth ----


def test_truth_correlation_is_that_of_concatenated_frames(toy):
    recording, rate, prediction = toy
    trials = of_test(recording)
    # The prediction is the same in all repeats: each video counts once.
    _, first = np.unique(trials.stimulus_index.values, return_index=True)
    shown = trials.stimulus_index.values[first]
    true, predicted = by_hand(rate.values[shown]), by_hand(prediction.values[first])
    expected = [np.corrcoef(true[:, i], predicted[:, i])[0, 1] for i in range(N_NEURON)]
    found = evaluation.score_truth(rate, prediction, skip=SKIP)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    of_trials = trials.response.copy(data=rate.values[trials.stimulus_index.values])
    np.testing.assert_allclose(
        evaluation.score_truth(of_trials, prediction, skip=SKIP), expected, rtol=1e-6
    )


# ---- intervals ----


def test_a_resample_draws_whole_videos(toy):
    """With two resamples the bounds are as far apart as the scores of the videos drawn."""
    recording, _, prediction = toy
    scores = evaluation.score_prediction(
        recording, prediction, n_bootstrap=2, confidence=1 - 1e-12, skip=SKIP, seed=3
    )
    trials = of_test(recording)
    _, video = np.unique(trials.stimulus_index.values, return_inverse=True)
    drawn = np.random.default_rng(3).multinomial(8, np.full(8, 1 / 8), size=2)

    def resampled(times):
        trial = np.concatenate([np.flatnonzero(video == v) for v in np.repeat(range(8), times)])
        values = (trials.response.values[trial], prediction.values[trial])
        return evaluation.single_trial_correlation(*map(by_hand, values))

    found = np.diff(scores.single_trial_correlation_interval.values, axis=1)[:, 0]
    np.testing.assert_allclose(found, np.abs(resampled(drawn[0]) - resampled(drawn[1])), rtol=1e-6)


def test_intervals_are_as_wide_as_scores_of_other_videos_scatter():
    """Resampling single frames would give less than half of the true width."""
    settings = {"n_train": 1, "n_test": 15, "n_repeat": 2, "n_frame": 60, "noise": 0.3}
    scores = []
    for seed in range(40):  # other videos, the same neurons as far as the statistics go
        recording, rate = make_toy(seed, **settings)
        prediction = predict(recording, rate, error=1.0, seed=seed + 100)
        found = evaluation.score_prediction(recording, prediction, n_bootstrap=0, skip=0)
        scores.append(found.single_trial_correlation.values)
    true_width = 2 * 1.96 * np.std(scores, axis=0).mean()

    found = evaluation.score_prediction(recording, prediction, n_bootstrap=400, skip=0)
    width = np.diff(found.single_trial_correlation_interval.values, axis=1).mean()
    trials = evaluation.unroll_frames(of_test(recording).response, skip=0)
    single = evaluation.unroll_frames(prediction, skip=0)
    frames = np.array(
        [
            np.flatnonzero(trials.stimulus_index.values == i)
            for i in np.unique(trials.stimulus_index.values)
        ]
    )
    rng = np.random.default_rng(0)
    of_frames = [
        evaluation.single_trial_correlation(trials.values[where], single.values[where])
        for where in (
            frames[rng.integers(len(frames), size=len(frames))].ravel() for _ in range(200)
        )
    ]
    narrow = np.diff(np.quantile(of_frames, [0.025, 0.975], axis=0), axis=0).mean()
    assert 0.65 < width / true_width < 1.35
    assert narrow / true_width < 0.5


# ---- what cannot be scored ----


@pytest.mark.parametrize("skip", [-1, 40, 50])
def test_a_skip_that_leaves_nothing_is_refused(toy, skip):
    recording, rate, prediction = toy
    for score in (
        lambda: evaluation.score_prediction(recording, prediction, skip=skip),
        lambda: evaluation.score_truth(rate, prediction, skip=skip),
        lambda: evaluation.unroll_frames(prediction, skip=skip),
    ):
        with pytest.raises(InputError, match="leave some of the 40 frames of each video"):
            score()


def test_predictions_of_another_form_are_refused(toy):
    recording, rate, prediction = toy
    flat = prediction.isel(frame=0, drop=True)
    for score in (
        lambda p: evaluation.score_prediction(recording, p, skip=SKIP),
        lambda p: evaluation.score_truth(rate, p, skip=SKIP),
    ):
        with pytest.raises(InputError, match=r"must be a DataArray \(trial, neuron, frame\)"):
            score(flat)
        with pytest.raises(InputError, match="has 30 frames and what it is compared with 40"):
            score(prediction.isel(frame=slice(10, None)))
    with pytest.raises(InputError, match=r"Only \(trial, neuron, frame\) can be unrolled"):
        evaluation.unroll_frames(flat)


def test_a_prediction_that_diverged_is_refused(toy):
    recording, _, prediction = toy
    prediction[3, 1, 20] = np.nan
    with pytest.raises(InputError, match=r"first at \(trial, neuron, frame\) \(3, 1, 20\)"):
        evaluation.score_prediction(recording, prediction, skip=SKIP)
