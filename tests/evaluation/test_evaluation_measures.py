"""Measures against hand calculation, slow loops, neuralpredictors and real repeats."""

import itertools

import numpy as np
import pytest

from twinlab import evaluation
from twinlab.evaluation.measures import MEASURES
from twinlab.schema import InputError

CEILINGS = ("oracle_correlation", "explainable_variance", "cc_max")


def measure(name, response, prediction, image):
    function = getattr(evaluation, name)
    if name == "single_trial_correlation":
        return function(response, prediction)
    if name in CEILINGS:
        return function(response, image)
    return function(response, prediction, image)


def slow(name, response, prediction, image):
    """Definition of each measure, for one neuron, in plain loops."""
    kept = ~np.isnan(response)
    response, prediction, image = response[kept], prediction[kept], image[kept]
    if name == "single_trial_correlation":
        return np.corrcoef(response, prediction)[0, 1]
    if name == "correlation_to_average":
        shown = np.unique(image)
        return np.corrcoef(
            [response[image == one].mean() for one in shown],
            [prediction[image == one].mean() for one in shown],
        )[0, 1]

    shown = [one for one in np.unique(image) if (image == one).sum() >= 2]
    kept = np.isin(image, shown)
    response, prediction, image = response[kept], prediction[kept], image[kept]
    if name == "oracle_correlation":
        trials = np.arange(len(image))
        others = [response[(image == image[k]) & (trials != k)].mean() for k in range(len(image))]
        return np.corrcoef(response, others)[0, 1]
    total = response.var(ddof=1)
    noise = np.mean([response[image == one].var(ddof=1) for one in shown])
    if name == "explainable_variance":
        return (total - noise) / total
    if name == "feve":
        return 1 - (np.mean((response - prediction) ** 2) - noise) / (total - noise)
    mean = np.array([response[image == one].mean() for one in shown])
    predicted = np.array([prediction[image == one].mean() for one in shown])
    added = [response[image == one].var(ddof=1) / (image == one).sum() for one in shown]
    power = mean.var(ddof=1) - np.mean(added)
    if name == "cc_max":
        return np.sqrt(power / mean.var(ddof=1))
    return np.cov(mean, predicted)[0, 1] / np.sqrt(predicted.var(ddof=1) * power)


@pytest.fixture
def toy():
    """Five neurons, 30 images shown 1 to 6 times in random order, some responses missing."""
    rng = np.random.default_rng(1)
    image = rng.permutation(np.repeat(np.arange(30) * 7 + 3, rng.integers(1, 7, 30)))
    signal = rng.normal(size=(image.max() + 1, 5))
    response = 4 + signal[image] + rng.normal(size=(len(image), 5))
    response[rng.random(response.shape) < 0.05] = np.nan
    prediction = 4 + 0.7 * signal[image] + 0.5 * rng.normal(size=(len(image), 5))
    return response, prediction, image


@pytest.fixture
def equal_repeats():
    """Four neurons, 40 images x 8 repeats, image by image."""
    rng = np.random.default_rng(2)
    signal = rng.normal(size=(40, 1, 4))
    response = signal + rng.normal(size=(40, 8, 4))
    prediction = np.broadcast_to(signal + 0.5 * rng.normal(size=(40, 1, 4)), response.shape)
    return response, prediction


def flat(response):
    n_image, n_repeat, n_neuron = response.shape
    return response.reshape(-1, n_neuron), np.repeat(np.arange(n_image), n_repeat)


@pytest.fixture
def peers():
    """neuralpredictors' own measures."""
    return pytest.importorskip("neuralpredictors.measures.np_functions")


# ---- known answers ----


def test_two_neurons_agree_with_a_hand_calculation():
    # Two images, twice each. Neuron 0 repeats itself exactly; neuron 1 does not.
    response = np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 3.0], [2.0, 5.0]])
    prediction = np.array([[0.0, 2.0], [0.0, 2.0], [2.0, 3.0], [2.0, 3.0]])
    image = np.array([0, 0, 1, 1])
    # Neuron 1: mean 2.5, squares 6.25 + .25 + .25 + 6.25 = 13, total 13/3; noise 2.
    np.testing.assert_allclose(
        evaluation.explainable_variance(response, image), [1, (13 / 3 - 2) / (13 / 3)]
    )
    # Squared error of neuron 1: (4 + 0 + 0 + 4) / 4 = 2, which is all noise.
    np.testing.assert_allclose(evaluation.feve(response, prediction, image), [1, 1])
    # Means 1 and 4: variance 4.5, of which noise adds 2 / 2.
    np.testing.assert_allclose(evaluation.signal_power(response, image), [2, 3.5])
    np.testing.assert_allclose(evaluation.cc_max(response, image), [1, np.sqrt(3.5 / 4.5)])
    # Two points always correlate perfectly; what is left is 1 / cc_max.
    np.testing.assert_allclose(
        evaluation.cc_norm(response, prediction, image), [1, np.sqrt(4.5 / 3.5)]
    )
    # 2, 0, 5, 3 against 0, 2, 3, 5, both about 2.5: products 4 x 1.25, squares 13.
    np.testing.assert_allclose(evaluation.oracle_correlation(response, image), [1, 5 / 13])
    np.testing.assert_allclose(
        evaluation.single_trial_correlation(response, prediction), [1, 3 / np.sqrt(13)]
    )
    np.testing.assert_allclose(
        evaluation.correlation_to_average(response, prediction, image), [1, 1]
    )


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_equals_its_definition_with_unequal_and_missing_repeats(name, toy):
    response, prediction, image = toy
    expected = [slow(name, response[:, n], prediction[:, n], image) for n in range(5)]
    np.testing.assert_allclose(measure(name, response, prediction, image), expected, rtol=1e-10)


def test_measures_agree_with_neuralpredictors(peers, equal_repeats):
    response, prediction = equal_repeats
    trials, image = flat(response)
    predicted, _ = flat(prediction)
    close = dict(rtol=1e-6)  # theirs adds an epsilon to each denominator
    np.testing.assert_allclose(
        evaluation.single_trial_correlation(trials, predicted),
        peers.corr(trials, predicted, axis=0),
        **close,
    )
    np.testing.assert_allclose(
        evaluation.oracle_correlation(trials, image),
        peers.oracle_corr_jackknife(response),
        **close,
    )
    np.testing.assert_allclose(
        evaluation.explainable_variance(trials, image), peers.explainable_var(response), **close
    )
    np.testing.assert_allclose(
        evaluation.feve(trials, predicted, image), peers.fev(response, prediction), **close
    )


def test_unequal_repeats_agree_with_neuralpredictors(peers, toy):
    response, prediction, image = toy
    response = np.nan_to_num(response, nan=4.0)
    shown = [one for one in np.unique(image) if (image == one).sum() >= 2]
    responses = [response[image == one] for one in shown]
    predictions = [prediction[image == one] for one in shown]
    fev, feve = peers.fev(responses, predictions, return_exp_var=True)
    np.testing.assert_allclose(evaluation.explainable_variance(response, image), fev)
    np.testing.assert_allclose(evaluation.feve(response, prediction, image), feve)
    np.testing.assert_allclose(
        evaluation.oracle_correlation(response, image),
        peers.oracle_corr_jackknife(responses),
        rtol=1e-6,
    )


def test_signal_power_is_schoppes_averaged_over_all_numberings_of_the_repeats():
    rng = np.random.default_rng(3)
    response = rng.normal(size=(3, 3, 1)) + rng.normal(size=(3, 1, 1))  # (image, repeat, neuron)
    n_repeat = 3
    numberings = list(itertools.permutations(range(n_repeat)))
    powers = []
    for chosen in itertools.product(numberings, repeat=3):
        y = np.array([response[i, list(order), 0] for i, order in enumerate(chosen)])
        single = y.var(axis=0, ddof=1).sum()
        powers.append((y.sum(axis=1).var(ddof=1) - single) / (n_repeat * (n_repeat - 1)))
    np.testing.assert_allclose(evaluation.signal_power(*flat(response)), np.mean(powers))


def test_signal_power_is_unbiased_with_unequal_repeats():
    rng = np.random.default_rng(4)
    image = np.repeat(np.arange(40), [2] * 30 + [12] * 10)
    # 2,000 neurons of signal variance 1 and noise variance 4.
    response = rng.normal(size=(40, 2000))[image] + 2 * rng.normal(size=(len(image), 2000))
    power = evaluation.signal_power(response, image)
    assert abs(power.mean() - 1) < 4 * power.std() / np.sqrt(2000)


def test_the_oracle_of_gaussian_data_explains_all_that_is_explainable():
    rng = np.random.default_rng(5)
    image = np.repeat(np.arange(200), 10)
    signal = rng.normal(size=(200, 100))[image]
    response = signal + np.sqrt(2) * rng.normal(size=signal.shape)
    assert evaluation.explainable_variance(response, image).mean() == pytest.approx(
        1 / 3, abs=0.01
    )
    assert evaluation.feve(response, signal, image).mean() == pytest.approx(1, abs=0.01)
    assert evaluation.cc_norm(response, signal, image).mean() == pytest.approx(1, abs=0.01)
    # Signal 1 in a mean of variance 1 + 2 / 10.
    assert evaluation.cc_max(response, image).mean() == pytest.approx(np.sqrt(1 / 1.2), abs=0.01)
    half = evaluation.feve(response, 0.5 * signal, image).mean()
    assert half == pytest.approx(0.75, abs=0.01)


def test_a_constant_prediction_explains_nothing_and_correlates_with_nothing(toy):
    response, _, image = toy
    constant = np.full(response.shape, 3.0)
    assert (evaluation.feve(response, constant, image) < 0).all()
    for name in ("single_trial_correlation", "correlation_to_average", "cc_norm"):
        assert np.isnan(measure(name, response, constant, image)).all()


@pytest.mark.parametrize("region", [(1, 0.241, 0.219, 0.558), (2, 0.182, 0.166, 0.452)])
def test_real_repeats_have_the_published_explainable_variance(shared_data, region):
    number, mean, median, half_split = region
    folder = shared_data / "antolik2016-mouse-v1-repeats" / f"region{number}"
    repeats = np.load(folder / "raw_validation_set.npy")  # (repeat, image, neuron)
    response, image = flat(repeats.swapaxes(0, 1))
    fraction = evaluation.explainable_variance(response, image)
    assert fraction.mean() == pytest.approx(mean, abs=5e-4)
    assert np.median(fraction) == pytest.approx(median, abs=5e-4)
    # One half of the repeats as the prediction of the other.
    first, second = np.split(repeats, 2)
    (one, shown), (other, _) = flat(first.swapaxes(0, 1)), flat(second.swapaxes(0, 1))
    correlation = evaluation.correlation_to_average(one, other, shown)
    assert correlation.mean() == pytest.approx(half_split, abs=5e-4)


# ---- laws, of every measure ----


@pytest.mark.parametrize("name", MEASURES)
def test_the_order_of_trials_and_neurons_and_the_names_of_images_do_not_matter(name, toy):
    response, prediction, image = toy
    expected = measure(name, response, prediction, image)
    rng = np.random.default_rng(6)
    trial, neuron = rng.permutation(len(image)), rng.permutation(5)
    renamed = rng.permutation(image.max() + 1)[image]
    found = measure(name, response[trial][:, neuron], prediction[trial][:, neuron], renamed[trial])
    np.testing.assert_allclose(found, expected[neuron], rtol=1e-10)


@pytest.mark.parametrize("name", MEASURES)
def test_a_common_change_of_units_changes_nothing(name, toy):
    response, prediction, image = toy
    expected = measure(name, response, prediction, image)
    found = measure(name, 1e4 + 30 * response, 1e4 + 30 * prediction, image)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("name", [name for name in MEASURES if name != "feve"])
def test_only_feve_cares_for_the_scale_of_the_prediction(name, toy):
    response, prediction, image = toy
    expected = measure(name, response, prediction, image)
    np.testing.assert_allclose(
        measure(name, response, 0.1 * prediction - 9, image), expected, rtol=1e-8
    )


@pytest.mark.parametrize("name", MEASURES)
def test_a_constant_or_missing_neuron_is_undefined_and_leaves_the_others_alone(name, toy):
    response, prediction, image = toy
    expected = measure(name, response, prediction, image)
    changed = response.copy()
    changed[:, 1] = 0.1
    changed[:, 3] = np.nan
    found = measure(name, changed, prediction, image)
    assert np.isnan(found[[1, 3]]).all()
    np.testing.assert_allclose(found[[0, 2, 4]], expected[[0, 2, 4]])


@pytest.mark.parametrize("name", [*CEILINGS, "feve", "cc_norm"])
def test_what_needs_repeats_is_undefined_without(name, toy):
    response, prediction, image = toy
    _, once = np.unique(image, return_index=True)
    assert np.isnan(measure(name, response[once], prediction[once], image[once])).all()


@pytest.mark.parametrize("name", ["feve", "cc_norm", "cc_max"])
def test_scores_relative_to_a_signal_are_undefined_where_there_is_none(name):
    image = np.repeat(np.arange(5), 2)
    response = np.tile([[-1.0], [1.0]], (5, 1)) + 0.01 * image[:, None]
    assert evaluation.explainable_variance(response, image) < 0
    assert np.isnan(measure(name, response, response, image))


def test_a_prediction_that_varies_by_rounding_alone_is_constant(toy):
    response, _, image = toy
    rng = np.random.default_rng(7)
    jitter = 1 + rng.choice([0, np.finfo(np.float32).eps], size=response.shape)
    dead = (0.3 * jitter).astype(np.float32)
    assert len(np.unique(dead)) > 1
    assert np.isnan(evaluation.single_trial_correlation(response, dead)).all()


def test_inputs_are_not_changed(toy):
    before = [each.copy() for each in toy]
    for name in MEASURES:
        measure(name, *toy)
    for one, other in zip(toy, before, strict=True):
        np.testing.assert_array_equal(one, other)


# ---- errors ----


def test_shapes_that_disagree_are_refused():
    with pytest.raises(InputError, match=r"one shape .* \(4, 2\) and \(4, 3\)"):
        evaluation.single_trial_correlation(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(InputError, match=r"each of the 4 trials, but got shape \(3,\)"):
        evaluation.oracle_correlation(np.zeros((4, 2)), np.zeros(3, int))
    with pytest.raises(InputError, match="at least one trial"):
        evaluation.oracle_correlation(np.zeros((0, 2)), np.zeros(0, int))
