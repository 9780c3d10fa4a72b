"""Fisher information against its closed forms."""

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import insilico, twins
from twinlab.insilico import linear_fisher_information
from twinlab.schema import InputError
from twinlab.stimuli import gabor_patches

SPEC = twins.StimulusSpec(1, 12, 16, 110.0, 55.0)


@pytest.fixture(scope="module")
def correlated():
    """Six Gaussian neurons with correlated noise: mean slope, covariance."""
    rng = np.random.default_rng(3)
    mixing = rng.standard_normal((6, 6)) / 2
    return rng.standard_normal(6) / 2, np.eye(6) + mixing @ mixing.T


def record(correlated, rng, n, m, difference):
    slope, covariance = correlated
    root = np.linalg.cholesky(covariance)
    first = rng.standard_normal((n, 6)) @ root.T
    return first, rng.standard_normal((m, 6)) @ root.T + difference * slope


def test_with_many_trials_it_is_the_closed_form(correlated):
    slope, covariance = correlated
    truth = slope @ np.linalg.solve(covariance, slope)
    found = linear_fisher_information(
        *record(correlated, np.random.default_rng(0), 200_000, 200_000, 2.0), 2.0
    )
    assert found["information"] == pytest.approx(truth, rel=0.01)
    assert found["naive"] == pytest.approx(truth, rel=0.01)
    assert found["shuffled"] == pytest.approx((slope**2 / np.diag(covariance)).sum(), rel=0.01)


def test_with_few_trials_it_is_unbiased_and_its_interval_covers(correlated):
    slope, covariance = correlated
    truth = slope @ np.linalg.solve(covariance, slope)
    rng = np.random.default_rng(1)
    found = [
        linear_fisher_information(*record(correlated, rng, 12, 9, 1.5), 1.5) for _ in range(600)
    ]
    for name, expected in (
        ("information", truth),
        ("shuffled", (slope**2 / np.diag(covariance)).sum()),
    ):
        value = np.array([one[name] for one in found])
        assert abs(value.mean() - expected) < 3 * value.std() / np.sqrt(len(value))
    assert np.mean([one["naive"] for one in found]) > 1.8 * truth
    covered = np.mean([one["lower"] <= truth <= one["upper"] for one in found])
    assert 0.925 < covered < 0.975


def test_too_few_trials_are_undefined_and_constant_neurons_left_out(correlated):
    first, second = record(correlated, np.random.default_rng(0), 4, 5, 1.0)
    assert np.isnan(linear_fisher_information(first, second, 1.0)["information"])
    few = linear_fisher_information(first[:, :4], second[:, :4], 1.0)
    first[:, 4:] = second[:, 4:] = 0.1
    second[:, 5] = 0.3  # not one trial says how much it varies
    assert linear_fisher_information(first, second, 1.0) == few
    assert few["n_used"] == 4
    silent = linear_fisher_information(first[:, 4:], second[:, 4:], 1.0)
    assert np.isnan([silent[name] for name in ("information", "shuffled", "naive")]).all()
    with pytest.raises(InputError, match="two different stimuli"):
        linear_fisher_information(first, second, 0.0)


def test_recorded_information_is_that_of_neighbouring_values(correlated):
    slope, covariance = correlated
    rng = np.random.default_rng(4)
    value = np.repeat([0.0, 1.0, 3.0], 400)
    noise = rng.standard_normal((1200, 6)) @ np.linalg.cholesky(covariance).T
    response = np.concatenate([noise + value[:, None] * slope, np.ones((1200, 1))], 1)
    response[5, 0] = np.nan
    labelled = xr.DataArray(response, {"neuron_id": ("neuron", np.arange(7))}, ("trial", "neuron"))
    result = insilico.measure_recorded_fisher_information(labelled, value)
    assert result["value"].values.tolist() == [0.5, 2.0]
    assert result.valid.values.tolist() == [1, 1, 1, 1, 1, 1, 0]
    truth = slope @ np.linalg.solve(covariance, slope)
    interval = result.population_information_interval
    assert (interval[:, 0] < truth).all()
    assert (interval[:, 1] > truth).all()
    assert result.population_information_naive[0] > result.population_information[0]
    alone = slope**2 / np.diag(covariance)
    np.testing.assert_allclose(result.information[:6, 1], alone, atol=0.08)
    np.testing.assert_allclose(
        result.information[:6].sum("neuron"), result.population_information_shuffled, rtol=1e-9
    )
    assert np.isnan(result.information[6]).all()


def test_sparse_neurons_are_left_out_where_they_are_silent(correlated):
    slope, covariance = correlated
    value = np.repeat([0.0, 1.0, 2.0], 200)
    rng = np.random.default_rng(5)
    response = rng.standard_normal((600, 6)) @ np.linalg.cholesky(covariance).T
    response += value[:, None] * slope
    sparse = rng.poisson(np.where(value == 2, 0.5, 0.0))
    sparse = sparse + 0.1  # no round number: its mean over trials is not quite itself
    both = xr.DataArray(np.column_stack([response, sparse]), dims=("trial", "neuron"))
    alone = insilico.measure_recorded_fisher_information(both[:, :6], value)
    found = insilico.measure_recorded_fisher_information(both, value)
    assert found.n_used.values.tolist() == [6, 7]
    assert found.valid.values.all()
    assert np.isfinite(found.information[6]).values.tolist() == [False, True]
    for name in ("information", "information_shuffled", "information_naive"):
        name = f"population_{name}"
        assert found[name][0] == alone[name][0]
        assert found[name][1] > alone[name][1]


def linear_in_contrast(gain):
    """Neurons whose rate is 5 plus `gain` times contrast, by the Gabor's one Fourier component."""
    y, x = np.mgrid[:12, :16]
    wave = np.cos(2 * np.pi * (x - 7.5) / 8)
    pattern = torch.as_tensor(wave / (wave**2).sum() / SPEC.mean, dtype=torch.float64)
    gain = torch.as_tensor(gain, dtype=torch.float64)

    def answer(images):
        drive = ((images.double() - SPEC.mean) * pattern).sum((1, 2, 3))
        return 5 + drive[:, None] * gain

    return twins.wrap_callable(answer, SPEC, len(gain)).condition()


def test_information_of_a_twin_is_the_closed_form():
    gain = np.array([0.0, 1.0, 3.0, -2.0])
    asked = {"feature": "contrast", "spatial_frequency": 0.125, "orientation": 90.0, "n_phase": 1}
    result = insilico.measure_fisher_information(
        linear_in_contrast(gain), low=0.1, high=0.9, n_value=5, step=0.05, **asked
    )
    rate = 5 + np.linspace(0.1, 0.9, 5) * gain[:, None]
    truth = gain[:, None] ** 2 / rate
    np.testing.assert_allclose(result.information, truth, atol=1e-4)
    np.testing.assert_allclose(result.population_information, truth.sum(0), rtol=1e-4)
    np.testing.assert_allclose(result.discrimination_threshold, truth.sum(0) ** -0.5, rtol=1e-4)
    assert result.valid.values.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("feature", ["orientation", "spatial_frequency"])
def test_information_does_not_depend_on_where_a_simple_cell_looks(feature):
    spec = twins.StimulusSpec(1, 17, 41, 110.0, 55.0)
    place = [[8, 20, 32], [8] * 3, [90] * 3, [0.1] * 3, [0] * 3, [2.5] * 3]
    filters = torch.as_tensor(gabor_patches(*np.array(place), height=17, width=41)).flatten(1)

    def answer(images):
        drive = ((images.double() - 110) / 55).flatten(1) @ filters.T.double()
        return torch.nn.functional.softplus(0.1 * drive)

    twin = twins.wrap_callable(answer, spec, 3).condition()
    low, high = (80.0, 100.0) if feature == "orientation" else (0.07, 0.13)
    found = insilico.measure_fisher_information(
        twin, feature=feature, spatial_frequency=0.1,
        low=low, high=high, n_value=5, step=(high - low) / 20,
    )  # fmt: skip
    most = float(found.information.max())
    for other in (1, 2):
        np.testing.assert_allclose(
            found.information[other], found.information[0], atol=0.02 * most
        )
    curve = insilico.measure_neurometric(
        twin, feature=feature, orientation=90, spatial_frequency=0.1, n_trial=20_000,
        max_difference=60.0 if feature == "orientation" else 0.1, n_bootstrap=1,
    )  # fmt: skip
    assert (curve.roc_area[:, -1] > 0.6).all()
    np.testing.assert_allclose(curve.roc_area, curve.roc_area[[1, 2, 0]], atol=0.015)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"feature": "colour"}, "`feature` must be one of"),
        ({"noise": "none"}, "`noise` must be one of"),
        ({"feature": "contrast"}, "between 0 and"),
        ({"feature": "spatial_frequency"}, "at most 0.5 cycles"),
        ({"step": 0.0}, "`step` positive"),
        ({"n_phase": 0}, "`n_phase` must be at least 1"),
        ({"feature": "phase", "n_phase": 4}, "1 where the feature is the phase"),
        ({"noise": "likelihood"}, "says nothing about single responses"),
    ],
)
def test_bad_settings_are_named(changes, complaint):
    with pytest.raises(InputError, match=complaint):
        insilico.measure_fisher_information(linear_in_contrast([1.0]), **changes)


def test_negative_rates_are_no_counts():
    with pytest.raises(InputError, match="2 neurons have negative ones, down to -"):
        insilico.measure_fisher_information(linear_in_contrast([100.0, 1.0, -100.0]))
    with pytest.raises(InputError, match="1 neurons have negative ones"):
        insilico.measure_neurometric(linear_in_contrast([-100.0]))
    with pytest.raises(InputError, match="1 neurons have negative ones"):
        insilico.measure_reconstruction(linear_in_contrast([-1000.0]), n_image=3, n_step=2)
