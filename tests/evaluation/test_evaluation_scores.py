"""Labelled scores: matching, intervals, population means, what a stranger reads."""

import json

import numpy as np
import pytest
import xarray as xr

from twinlab import evaluation
from twinlab.evaluation.measures import MEASURES
from twinlab.evaluation.scores import LABELS, _image_weights
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError, make_recording, open_result, save_result

N_NEURON = 6


def make_toy(seed=0, n_train=20, n_test=25, n_repeat=6, noise=1.0):
    """A recording of neurons without any preference for pixels, and its noise-free rates."""
    rng = np.random.default_rng(seed)
    image = np.concatenate(
        [np.arange(n_train), rng.permutation(n_train + np.repeat(np.arange(n_test), n_repeat))]
    )
    rate = 5 + rng.normal(size=(n_train + n_test, N_NEURON))
    recording = make_recording(
        stimulus=np.zeros((n_train + n_test, 1, 2, 2), np.uint8),
        response=rate[image] + noise * rng.normal(size=(len(image), N_NEURON)),
        trial={
            "stimulus_index": image,
            "image_id": image + 1000,
            "split": np.where(image < n_train, "train", "test"),
            "presentation_order": np.arange(len(image)),
        },
        neuron={
            "neuron_id": np.arange(N_NEURON) + 70,
            "session": np.full(N_NEURON, "toy"),
            "x_um": rng.normal(size=N_NEURON),
        },
        recording_id="toy",
    )
    return recording, xr.DataArray(
        rate, {name: recording[name] for name in ("neuron_id", "session")}, ("image", "neuron")
    )


def predict(recording, rate, split="test", seed=1, error=0.5):
    trials = recording.isel(trial=recording.split.values == split)
    rng = np.random.default_rng(seed)
    wrong = error * rng.normal(size=rate.shape)
    predicted = (rate.values + wrong)[trials.stimulus_index.values]
    return trials.response.copy(data=predicted.astype(np.float32)).rename("prediction")


@pytest.fixture
def toy():
    recording, rate = make_toy()
    return recording, rate, predict(recording, rate)


def direct(name, recording, prediction):
    """The measure of plain arrays, of the trials that were predicted in the order recorded."""
    trials = recording.isel(trial=recording.split.values == "test")
    response, image = trials.response.values, trials.stimulus_index.values
    function = getattr(evaluation, name)
    if name == "single_trial_correlation":
        return function(response, prediction.values)
    if name in ("oracle_correlation", "explainable_variance", "cc_max"):
        return function(response, image)
    return function(response, prediction.values, image)


# ---- values ----


def test_scores_are_the_measures_of_the_predicted_trials(toy):
    recording, _, prediction = toy
    scores = evaluation.score_prediction(recording, prediction, n_bootstrap=5)
    for name in MEASURES:
        expected = direct(name, recording, prediction)
        np.testing.assert_allclose(scores[name], expected, rtol=1e-10)
        assert scores[f"mean_{name}"] == pytest.approx(expected.mean())
        assert scores[f"n_defined_{name}"] == N_NEURON
    assert (scores.n_trial == 150).all()
    assert (scores.n_repeated_image == 25).all()


def test_the_order_of_trials_and_neurons_does_not_matter(toy):
    recording, _, prediction = toy
    expected = evaluation.score_prediction(recording, prediction, n_bootstrap=20)
    rng = np.random.default_rng(2)
    shuffled = prediction.isel(trial=rng.permutation(150), neuron=rng.permutation(N_NEURON))
    found = evaluation.score_prediction(recording, shuffled.T, n_bootstrap=20)
    xr.testing.assert_allclose(found, expected)


def test_a_resample_equals_the_measures_of_the_resampled_trials(toy):
    recording, _, prediction = toy
    # With two resamples and nearly all of them inside, the bounds are as far apart as the two
    # resamples' scores, and lie around the score itself.
    scores = evaluation.score_prediction(
        recording, prediction, n_bootstrap=2, confidence=1 - 1e-12, seed=3
    )
    trials = recording.isel(trial=recording.split.values == "test")
    _, image = np.unique(trials.stimulus_index.values, return_inverse=True)

    def score_resample(times):
        drawn = np.repeat(np.arange(25), times)
        trial = np.concatenate([np.flatnonzero(image == one) for one in drawn])
        # An image that is drawn twice counts as two.
        shown = np.repeat(np.arange(25), 6)
        response, predicted = trials.response.values[trial], prediction.values[trial]
        return {
            "single_trial_correlation": evaluation.single_trial_correlation(response, predicted),
            "correlation_to_average": evaluation.correlation_to_average(
                response, predicted, shown
            ),
            "oracle_correlation": evaluation.oracle_correlation(response, shown),
            "explainable_variance": evaluation.explainable_variance(response, shown),
            "feve": evaluation.feve(response, predicted, shown),
            "cc_norm": evaluation.cc_norm(response, predicted, shown),
            "cc_max": evaluation.cc_max(response, shown),
        }

    first, second = (
        score_resample(times) for times in _image_weights(25, 2, seed=3)[1:].astype(int)
    )
    for name in MEASURES:
        lower, upper = scores[f"{name}_interval"].values.T
        np.testing.assert_allclose(upper - lower, np.abs(first[name] - second[name]), rtol=1e-6)
        np.testing.assert_allclose((upper + lower) / 2, scores[name], rtol=1e-6)
        low, high = scores[f"mean_{name}_interval"].values
        assert high - low == pytest.approx(abs(first[name].mean() - second[name].mean()))


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    # Correlation 0.6 of prediction and response, 80 images once each, 300 neurons.
    rng = np.random.default_rng(4)
    prediction = rng.normal(size=(80, 300))
    response = 0.6 * prediction + 0.8 * rng.normal(size=prediction.shape)
    recording = make_recording(
        stimulus=np.zeros((80, 1, 2, 2), np.uint8),
        response=response,
        trial={
            "stimulus_index": np.arange(80),
            "image_id": np.arange(80),
            "split": np.full(80, "test"),
        },
        neuron={"neuron_id": np.arange(300), "session": np.full(300, "toy")},
    )
    predicted = recording.response.copy(data=prediction)
    scores = evaluation.score_prediction(recording, predicted, n_bootstrap=300, confidence=0.8)
    lower, upper = scores.single_trial_correlation_interval.values.T
    assert ((lower < 0.6) & (upper > 0.6)).mean() == pytest.approx(0.8, abs=0.08)
    assert (
        (lower < scores.single_trial_correlation) & (scores.single_trial_correlation < upper)
    ).all()


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others(toy):
    recording, _, prediction = toy
    first, again, other = (
        evaluation.score_prediction(recording, prediction, n_bootstrap=50, seed=seed)
        for seed in (0, 0, 1)
    )
    xr.testing.assert_identical(first, again)
    np.testing.assert_array_equal(first.feve, other.feve)
    assert (first.feve_interval != other.feve_interval).all()


def test_scores_do_not_depend_on_how_neurons_are_batched(monkeypatch, toy):
    recording, _, prediction = toy
    expected = evaluation.score_prediction(recording, prediction, n_bootstrap=20)
    monkeypatch.setattr(
        "twinlab.evaluation.scores._blocks", lambda *_: [slice(0, 1), slice(1, N_NEURON)]
    )
    found = evaluation.score_prediction(recording, prediction, n_bootstrap=20)
    xr.testing.assert_allclose(found, expected)


# ---- what is undefined ----


def test_without_repeats_only_what_needs_none_is_defined(toy):
    recording, rate, _ = toy
    prediction = predict(recording, rate, split="train")
    scores = evaluation.score_prediction(recording, prediction, n_bootstrap=20)
    for name in MEASURES:
        needs_none = name in ("single_trial_correlation", "correlation_to_average")
        assert scores[name].notnull().all() == needs_none
        assert scores[f"mean_{name}_interval"].notnull().all() == needs_none
        assert scores[f"n_defined_{name}"] == (N_NEURON if needs_none else 0)
    np.testing.assert_allclose(scores.single_trial_correlation, scores.correlation_to_average)
    assert json.loads(scores.attrs["settings"])["split"] == ["train"]


def test_missing_responses_cost_only_their_neuron(toy):
    recording, _, prediction = toy
    expected = evaluation.score_prediction(recording, prediction, n_bootstrap=20)
    response = recording.response.copy()
    response[:, 2] = np.nan
    response[30:40, 4] = np.nan
    partly = recording.assign(response=response)
    scores = evaluation.score_prediction(partly, prediction, n_bootstrap=20)
    assert np.isnan(scores.feve[2])
    assert np.isnan(scores.feve_interval[2]).all()
    assert scores.n_trial.values.tolist() == [150, 150, 0, 150, 140, 150]
    assert scores.n_defined_feve == N_NEURON - 1
    assert np.isfinite(scores.feve[4])
    unhurt = [0, 1, 3, 5]
    for name in MEASURES:
        np.testing.assert_allclose(scores[name][unhurt], expected[name][unhurt])


def test_a_neuron_without_signal_keeps_its_score_but_not_its_place_in_the_mean(toy):
    recording, _, prediction = toy
    rng = np.random.default_rng(5)
    response = recording.response.copy()
    response[:, 0] = rng.normal(size=response.sizes["trial"])
    noisy = recording.assign(response=response)
    scores = evaluation.score_prediction(noisy, prediction, n_bootstrap=0)
    assert scores.explainable_variance[0] < 0.15
    assert scores.n_defined_feve == scores.n_defined_cc_norm == N_NEURON - 1
    assert scores.n_defined_single_trial_correlation == N_NEURON
    assert scores.mean_feve == pytest.approx(float(scores.feve[1:].mean()))
    everyone = evaluation.score_prediction(
        noisy, prediction, n_bootstrap=0, min_explainable_variance=-1
    )
    assert everyone.mean_feve == pytest.approx(float(everyone.feve.mean()))


def test_without_resamples_there_are_no_intervals(toy):
    recording, _, prediction = toy
    scores = evaluation.score_prediction(recording, prediction, n_bootstrap=0)
    assert np.isnan(scores.feve_interval).all()
    assert np.isfinite(scores.feve).all()


def test_a_neuron_that_many_resamples_leave_undefined_has_no_interval(toy):
    recording, _, prediction = toy
    # Active for one image only, which a resample misses with probability 0.36.
    response = recording.response.copy()
    response[:, 0] = 0
    response[recording.stimulus_index.values == 20, 0] = 1
    sparse = recording.assign(response=response)
    scores = evaluation.score_prediction(sparse, prediction, n_bootstrap=100)
    assert np.isfinite(scores.single_trial_correlation[0])
    assert np.isnan(scores.single_trial_correlation_interval[0]).all()


# ---- labels ----


def test_every_variable_says_what_it_is_and_a_file_keeps_it(toy, tmp_path):
    recording, _, prediction = toy
    prediction.attrs["twin"] = "0123456789abcdef"
    scores = evaluation.score_prediction(recording, prediction, n_bootstrap=10)
    assert set(LABELS) == set(MEASURES)
    for variable in scores.data_vars.values():
        assert variable.attrs["units"] == "1"
        assert variable.attrs["long_name"]
    for name in MEASURES:
        assert "(20" in scores[name].attrs["definition"] or "ICLR" in scores[name].definition
    assert scores.bound.values.tolist() == ["lower", "upper"]
    np.testing.assert_array_equal(scores.x_um, recording.x_um)
    assert scores.attrs["experiment"] == "score"
    assert scores.attrs["recording"] == recording.attrs["fingerprint"]
    assert scores.attrs["twin"] == "0123456789abcdef"
    back = open_result(save_result(scores, tmp_path / "scores.nc"))
    xr.testing.assert_identical(back, scores)


def test_repeats_without_an_order_are_matched_where_all_were_predicted(toy):
    recording, _, prediction = toy
    expected = evaluation.score_prediction(recording, prediction, n_bootstrap=0)
    unordered = recording.drop_vars("presentation_order")
    scores = evaluation.score_prediction(unordered, prediction, n_bootstrap=0)
    np.testing.assert_allclose(scores.feve, expected.feve)


def test_some_repeats_can_be_scored_where_their_order_is_known(toy):
    recording, _, prediction = toy
    scores = evaluation.score_prediction(recording, prediction[10:90], n_bootstrap=0)
    trials = recording.isel(trial=recording.split.values == "test").isel(trial=slice(10, 90))
    np.testing.assert_allclose(
        scores.feve,
        evaluation.feve(
            trials.response.values, prediction.values[10:90], trials.stimulus_index.values
        ),
    )


# ---- progress ----


def test_a_job_hears_of_progress_and_can_cancel(toy):
    recording, _, prediction = toy
    heard = []
    job = Job(lambda job: heard.append(job.fraction), interval=0)
    evaluation.score_prediction(recording, prediction, n_bootstrap=10, job=job)
    assert heard == sorted(heard)
    assert heard[-1] == 1
    job.cancel()
    with pytest.raises(Cancelled):
        evaluation.score_prediction(recording, prediction, n_bootstrap=10, job=job)


# ---- truth ----


def test_the_true_rate_correlates_perfectly_with_itself_and_less_with_an_error(toy):
    recording, rate, prediction = toy
    perfect = evaluation.score_truth(rate, predict(recording, rate, error=0))
    np.testing.assert_allclose(perfect, 1, atol=1e-6)
    truth = evaluation.score_truth(rate, prediction[:, ::-1])
    assert truth.dims == ("neuron",)
    assert truth.name == "truth_correlation"
    assert truth.attrs["units"] == "1"
    expected = [
        np.corrcoef(rate[20:, n], (prediction[:, n].groupby("image_id").mean()))[0, 1]
        for n in range(N_NEURON)
    ]
    np.testing.assert_allclose(truth, expected, rtol=1e-6)


def test_a_true_rate_of_each_trial_is_compared_trial_by_trial(toy):
    recording, rate, prediction = toy
    per_trial = recording.response.copy(data=rate.values[recording.stimulus_index.values])
    truth = evaluation.score_truth(per_trial, prediction)
    test = per_trial[recording.split.values == "test"]
    np.testing.assert_allclose(
        truth, evaluation.single_trial_correlation(test.values, prediction.values)
    )


# ---- errors ----


def test_neurons_that_differ_are_named(toy):
    recording, _, prediction = toy
    with pytest.raises(InputError, match=r"5 neurons and the recording 6: 1 are not predicted"):
        evaluation.score_prediction(recording, prediction[:, 1:])
    other = prediction.assign_coords(session=("neuron", np.full(N_NEURON, "elsewhere")))
    with pytest.raises(InputError, match=r"first \('session', 'neuron_id'\) = \('toy', '70'\)"):
        evaluation.score_prediction(recording, other)
    with pytest.raises(InputError, match="coordinate `neuron_id`"):
        evaluation.score_prediction(recording, prediction.drop_vars("neuron_id"))


def test_trials_that_differ_are_named(toy):
    recording, _, prediction = toy
    unknown = prediction.assign_coords(image_id=prediction.image_id + 5000)
    with pytest.raises(InputError, match="150 kinds of trials more often than the recording"):
        evaluation.score_prediction(recording, unknown)
    twice = xr.concat([prediction, prediction], "trial")
    with pytest.raises(InputError, match="each once"):
        evaluation.score_prediction(recording, twice)
    nameless = prediction.drop_vars(["image_id", "stimulus_index"])
    with pytest.raises(InputError, match="name the image of each trial"):
        evaluation.score_prediction(recording, nameless)


def test_repeats_that_cannot_be_told_apart_are_refused(toy):
    recording, _, prediction = toy
    with pytest.raises(InputError, match="of the 6 repeats .* nothing tells which"):
        evaluation.score_prediction(recording, prediction.drop_vars("presentation_order")[:40])


def test_what_is_not_a_prediction_is_refused(toy):
    recording, _, prediction = toy
    with pytest.raises(InputError, match=r"DataArray \(trial, neuron\), but got ndarray"):
        evaluation.score_prediction(recording, prediction.values)
    with pytest.raises(InputError, match="has no trials"):
        evaluation.score_prediction(recording, prediction[:0])
    broken = prediction.copy()
    broken[3, 2] = np.nan
    with pytest.raises(InputError, match=r"not finite at 1 places, first .* \(3, 2\)"):
        evaluation.score_prediction(recording, broken)


def test_withheld_responses_are_not_scored(toy):
    recording, _, prediction = toy
    withheld = recording.response.where(recording.split != "test")
    with pytest.raises(InputError, match=r"All 150 responses scored \(split \['test'\]\)"):
        evaluation.score_prediction(recording.assign(response=withheld), prediction)


def test_settings_out_of_range_are_refused(toy):
    recording, _, prediction = toy
    with pytest.raises(InputError, match="`confidence` between 0 and 1"):
        evaluation.score_prediction(recording, prediction, confidence=95)


def test_a_truth_of_other_images_or_dimensions_is_refused(toy):
    _, rate, prediction = toy
    with pytest.raises(InputError, match="`true_rate` has 30 images"):
        evaluation.score_truth(rate[:30], prediction)
    with pytest.raises(InputError, match="must be"):
        evaluation.score_truth(rate.rename(image="video"), prediction)
    with pytest.raises(InputError, match="must have the coordinate `stimulus_index`"):
        evaluation.score_truth(rate, prediction.drop_vars("stimulus_index"))
