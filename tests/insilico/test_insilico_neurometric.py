"""Neurometric curves against signal detection theory."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.special import ndtr

from twinlab import insilico, twins
from twinlab.insilico.psychometric import bootstrap_roc_areas, predict_correct
from twinlab.insilico.series import Grating, draw_series
from twinlab.jobs import Job
from twinlab.schema import InputError

SPEC = twins.StimulusSpec(1, 12, 16, 110.0, 55.0)


def test_roc_area_of_gaussians_is_phi_of_d_prime_over_root_two():
    d_prime = np.array([0.25, 0.5, 1.0, 2.0])
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 20_000, 4))
    found = insilico.roc_area(first, second + d_prime)
    truth = ndtr(d_prime / np.sqrt(2))
    np.testing.assert_allclose(truth, [0.570, 0.638, 0.760, 0.921], atol=5e-4)
    np.testing.assert_allclose(found, truth, atol=0.01)


def test_roc_area_counts_pairs_and_halves_ties():
    rng = np.random.default_rng(1)
    first, second = rng.poisson(2, (7, 3)), rng.poisson(3, (9, 3))
    pairs = second[:, None] - first
    np.testing.assert_allclose(
        insilico.roc_area(first, second), (pairs > 0).mean((0, 1)) + (pairs == 0).mean((0, 1)) / 2
    )


def test_resampled_areas_are_those_of_resampled_trials():
    rng = np.random.default_rng(2)
    first, second = rng.poisson(2, (30, 2)), rng.poisson(3, (40, 2))
    found = bootstrap_roc_areas(first, second, 3, np.random.default_rng(5), Job())
    same = np.random.default_rng(5)
    weight = [same.multinomial(n, np.full(n, 1 / n), 3) for n in (30, 40)]
    for k in range(3):
        again = [np.repeat(x, w[k], axis=0) for x, w in zip((first, second), weight, strict=True)]
        np.testing.assert_allclose(found[k], insilico.roc_area(*again))


@pytest.mark.parametrize("curve", ["weibull", "gaussian"])
def test_a_planted_threshold_is_found(curve):
    difference = np.geomspace(0.5, 8, 8)
    threshold, slope = np.array([2.0, 1.2, 4.0]), np.array([1.5, 2.5, 1.0])
    share = predict_correct(difference, threshold, slope, curve)
    *exact, below = insilico.fit_threshold(difference, share, np.full(8, 200), curve=curve)
    assert not below.any()
    np.testing.assert_allclose(exact, [threshold, slope], rtol=1e-5)
    np.testing.assert_allclose(
        predict_correct(threshold, threshold, slope, curve).diagonal(), 0.75, atol=1e-12
    )
    rng = np.random.default_rng(0)
    noisy = rng.binomial(200, np.repeat(share[:1], 400, 0)) / 200
    found, _, _ = insilico.fit_threshold(difference, noisy, np.full(8, 200), curve=curve)
    assert np.mean(found) == pytest.approx(2.0, abs=0.03)  # psignifit gave 2.012
    assert np.std(found) < 0.25
    flat, _, below = insilico.fit_threshold(difference, np.full((1, 8), 0.5), np.full(8, 200))
    assert np.isnan(flat[0])
    assert not below[0]


def test_a_threshold_below_the_differences_is_not_guessed():
    difference, count = np.geomspace(1, 20, 8), np.full(8, 200)
    steep = predict_correct(
        difference, np.array([0.5, 0.99, 1.01]), np.array([2.0] * 3), "weibull"
    )
    share = np.concatenate([np.ones((1, 8)), steep])
    threshold, slope, below = insilico.fit_threshold(difference, share, count)
    assert below.tolist() == [True, True, True, False]
    assert np.isnan([threshold[:3], slope[:3]]).all()
    assert threshold[3] == pytest.approx(1.01)


def test_neurons_that_tell_all_differences_apart_say_so():
    result = insilico.measure_neurometric(
        linear_in_contrast([0.0, 5000.0], 2000.0), n_bootstrap=20, **ASKED
    )
    assert result.threshold_below.values.tolist() == [0, 1]
    assert int(result.population_threshold_below) == 1
    assert np.isnan(result.threshold).all()
    assert np.isnan(result.threshold_interval[1]).all()


def linear_in_contrast(gain, rest=20.0):
    """Neurons whose rate is `rest` plus `gain` times the contrast of one grating."""
    _, x = np.mgrid[:12, :16]
    wave = np.cos(2 * np.pi * (x - 7.5) / 8)
    pattern = torch.as_tensor(wave / (wave**2).sum() / SPEC.mean)
    gain = torch.as_tensor(gain)

    def answer(images):
        drive = ((images.double() - SPEC.mean) * pattern).sum((1, 2, 3))
        return rest + drive[:, None] * gain

    return twins.wrap_callable(answer, SPEC, len(gain)).condition()


ASKED = {
    "feature": "contrast", "spatial_frequency": 0.125, "orientation": 90.0, "contrast": 0.2,
    "max_difference": 0.5, "n_phase": 1,
}  # fmt: skip


def test_a_poisson_population_does_what_its_fisher_information_says():
    gain = np.linspace(-6.0, 6.0, 40)
    result = insilico.measure_neurometric(
        linear_in_contrast(gain), n_trial=20_000, n_bootstrap=2, n_difference=4, **ASKED
    )
    difference = result.difference.values
    rate = 20 + gain * (0.2 + difference[:, None] / 2)
    d_prime = difference * np.sqrt((gain**2 / rate).sum(1))
    np.testing.assert_allclose(result.population_correct, ndtr(d_prime / 2), atol=0.006)
    np.testing.assert_allclose(result.population_roc_area, ndtr(d_prime / np.sqrt(2)), atol=0.006)
    # Counts tie, of which half are right: the same areas, a little flattened.
    alone = difference * np.abs(gain)[:, None] / np.sqrt(rate.T)
    np.testing.assert_allclose(result.roc_area, ndtr(alone / np.sqrt(2)), atol=0.013)
    assert (result.sign[:15] == -1).all()
    assert (result.sign[25:] == 1).all()


def test_thresholds_follow_the_slopes_and_intervals_cover_them():
    gain = np.array([0.0, 100.0, 200.0, -100.0])
    result = insilico.measure_neurometric(
        linear_in_contrast(gain, 200.0), n_trial=400, curve="gaussian", **ASKED
    )
    # d'/sqrt(2) is the criterion's z; the variance hardly moves at these gains
    truth = 0.6745 * np.sqrt(2) * np.sqrt(200 + gain[1:] * 0.27) / np.abs(gain[1:])
    np.testing.assert_allclose(result.threshold[1:], truth, rtol=0.15)
    assert np.isnan(result.threshold[0])
    interval = result.threshold_interval.values[1:]
    assert ((interval[:, 0] < truth) & (truth < interval[:, 1])).all()
    assert result.population_threshold < np.nanmin(result.threshold)
    again = insilico.measure_neurometric(
        linear_in_contrast(gain, 200.0), n_trial=400, curve="gaussian", **ASKED
    )
    xr.testing.assert_identical(result, again)


def test_a_silent_neuron_is_marked():
    quiet = twins.wrap_callable(
        lambda images: images.mean((1, 2, 3))[:, None] * torch.tensor([0.0, 1.0]), SPEC, 2
    )
    result = insilico.measure_neurometric(quiet.condition(), n_bootstrap=2, **ASKED)
    assert result.valid.values.tolist() == [0, 1]
    assert np.isnan(result.threshold[0])
    np.testing.assert_array_equal(result.roc_area[0], 0.5)


def test_recorded_populations_are_read_out_as_well_as_their_noise_allows():
    rng = np.random.default_rng(0)
    slope = rng.standard_normal(8)
    mixing = np.eye(8) + rng.standard_normal((8, 8)) / 3
    value = np.repeat([0.0, 0.2, 0.4, 0.8], 1500)
    noise = rng.standard_normal((len(value), 8)) @ mixing.T
    response = xr.DataArray(noise + value[:, None] * slope, dims=("trial", "neuron"))
    response[3, 2] = np.nan
    result = insilico.measure_recorded_neurometric(response, value, reference=0.0, n_bootstrap=50)
    covariance = mixing @ mixing.T
    d_prime = np.array([0.2, 0.4, 0.8]) * np.sqrt(slope @ np.linalg.solve(covariance, slope))
    np.testing.assert_allclose(result.population_correct, ndtr(d_prime / 2), atol=0.025)
    alone = np.abs(slope) / np.sqrt(np.diag(covariance)) * result.difference.values[:, None]
    np.testing.assert_allclose(result.roc_area.T, ndtr(alone / np.sqrt(2)), atol=0.035)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"reference": 1.0}, "trials of the reference 1"),
        ({"reference": 0.0, "folds": 9}, "`folds` must lie"),
        ({"reference": 0.0, "curve": "line"}, "`curve` must be one of"),
    ],
)
def test_recordings_that_have_no_curve_are_refused(changes, complaint):
    response = xr.DataArray(np.random.default_rng(0).random((20, 3)), dims=("trial", "neuron"))
    with pytest.raises(InputError, match=complaint):
        insilico.measure_recorded_neurometric(response, np.repeat(np.arange(4.0), 5), **changes)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"max_difference": 0.0}, "`max_difference` above 0"),
        ({"n_trial": 1}, "`n_trial` at least 2"),
        ({"feature": "size"}, "`feature` must be one of"),
        ({"noise": "likelihood"}, "says nothing about single responses"),
        ({"feature": "contrast"}, "between 0 and"),
    ],
)
def test_bad_settings_are_named(changes, complaint):
    with pytest.raises(InputError, match=complaint):
        insilico.measure_neurometric(linear_in_contrast([1.0]), **changes)


def fit_nothing(likelihood):
    """A small deep twin, not fitted, of three neurons whose responses vary in a given way."""
    twin = twins.DeepTwin(
        twins.Architecture(layers=1, hidden=4, input_kernel=3, likelihood=likelihood),
        twins.StimulusSpec(1, 18, 24, 110.0, 55.0),
        xr.Dataset(coords={"neuron_id": ("neuron", [0, 1, 2]), "session": ("neuron", ["s"] * 3)}),
        seed=0,
    )
    twin.response_scale.copy_(torch.tensor([0.5, 1.0, 2.0]))
    counts = torch.as_tensor(np.random.default_rng(0).poisson(2.0, (200, 3))).double()
    twin.likelihood.initialise(counts, twin.response_scale)
    for parameter in twin.core.parameters():
        parameter.data *= 4  # so that orientations differ enough to be told apart
    return twin.eval().condition()


@pytest.mark.parametrize("likelihood", ["gaussian", "gamma", "poisson"])
def test_the_likelihood_of_a_twin_gives_its_noise(likelihood):
    twin = fit_nothing(likelihood)
    result = insilico.measure_neurometric(
        twin,
        feature="phase",
        noise="likelihood",
        n_trial=4000,
        n_bootstrap=2,
        max_difference=150.0,
    )
    information = insilico.measure_fisher_information(twin, noise="likelihood")
    assert np.isfinite(information.population_information).all()
    images = draw_series(
        twin.spec, "phase", np.append(0, result.difference), Grating(90, 0.08, 0, 0.8)
    )
    expected = twins.response_distribution(twin, torch.as_tensor(images.values).float())
    step = (expected.mean[1:] - expected.mean[0]).T.double().numpy()
    spread = ((expected.variance[1:] + expected.variance[0]) / 2).sqrt().T.double().numpy()
    alone = 0.5 + result.sign.values[:, None] * (ndtr(step / spread / np.sqrt(2)) - 0.5)
    assert alone.max() > 0.7
    # exact for Gaussian responses; the others are so for small differences
    near = alone < (1.0 if likelihood == "gaussian" else 0.7)
    np.testing.assert_allclose(result.roc_area.values[near], alone[near], atol=0.03)
    # neurons are independent: their squared d' add up
    whole = ndtr(np.sqrt(((step / spread) ** 2).sum(0) / 2))
    near = whole < (1.0 if likelihood == "gaussian" else 0.7)
    np.testing.assert_allclose(result.population_roc_area.values[near], whole[near], atol=0.03)
