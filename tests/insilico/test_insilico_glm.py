"""The Poisson model recovers planted weights and is the minimum another optimiser finds."""

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import minimize
from sklearn import linear_model

from twinlab import insilico, simulation
from twinlab.schema import InputError, open_result, save_result


@pytest.fixture(scope="module")
def counts():
    """20,000 Poisson samples of five weights, and a silent neuron."""
    generator = np.random.default_rng(0)
    stimulus = generator.standard_normal((20_000, 5))
    weights = np.array([0.5, -0.4, 0.3, -0.2, 0.1])
    spikes = generator.poisson(np.exp(stimulus @ weights + 0.5))
    return stimulus, np.stack([spikes, np.zeros(len(spikes))], axis=1), weights


def test_five_weights_are_recovered_and_a_silent_neuron_has_none(counts):
    stimulus, response, weights = counts
    found = insilico.estimate_lnp(stimulus, response, penalty=[1e-4])
    np.testing.assert_allclose(found["receptive_field"][0], weights, atol=0.015)
    assert found["offset"][0] == pytest.approx(0.5, abs=0.02)
    assert found["valid"].tolist() == [1, 0]
    assert np.isnan(found["receptive_field"][1]).all()


@pytest.mark.parametrize("penalty", [0.01, 0.5])
def test_it_is_the_minimum_another_optimiser_finds(counts, penalty):
    stimulus, response, _ = counts
    found = insilico.estimate_lnp(stimulus[:2000], response[:2000, :1], penalty=[penalty])
    mean = response[:2000, 0].mean()
    y = response[:2000, 0] / mean

    def objective(values):  # that of scikit-learn's PoissonRegressor(alpha=penalty)
        drive = stimulus[:2000] @ values[1:] + values[0]
        slope = np.append((np.exp(drive) - y).mean(), (np.exp(drive) - y) @ stimulus[:2000] / 2000)
        value = (np.exp(drive) - y * drive).mean() + penalty * values[1:] @ values[1:] / 2
        return value, slope + penalty * np.append(0, values[1:])

    best = minimize(objective, np.zeros(6), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    np.testing.assert_allclose(found["receptive_field"][0], best[1:], atol=1e-6)
    assert found["offset"][0] == pytest.approx(best[0] + np.log(mean), abs=1e-6)


def test_it_is_scikit_learns_at_the_same_penalty(counts):
    stimulus, response, _ = counts
    found = insilico.estimate_lnp(stimulus, response[:, :1], penalty=[0.1])
    mean = response[:, 0].mean()
    model = linear_model.PoissonRegressor(alpha=0.1, tol=1e-10, max_iter=1000)
    model.fit(stimulus, response[:, 0] / mean)
    np.testing.assert_allclose(found["receptive_field"][0], model.coef_, atol=1e-5)
    assert found["offset"][0] == pytest.approx(model.intercept_ + np.log(mean), abs=1e-5)


def test_the_penalty_is_chosen_by_what_is_held_out():
    generator = np.random.default_rng(1)
    stimulus = generator.standard_normal((600, 60))
    filter_ = generator.standard_normal(60) / np.sqrt(60)
    strong = generator.poisson(3 * np.exp(stimulus @ filter_))
    unrelated = generator.poisson(1.0, 600)
    found = insilico.estimate_lnp(stimulus, np.stack([strong, unrelated], axis=1))
    assert found["penalty"][0] < found["penalty"][1] == 1.0
    assert found["deviance_explained"][0] > 0.5
    assert abs(found["deviance_explained"][1]) < 0.1
    field = found["receptive_field"][0]
    assert np.corrcoef(field, filter_)[0, 1] > 0.95


def test_twin_and_recording_have_the_filter_that_was_planted(closed_form, tmp_path):
    twin = closed_form.condition()
    lnp = insilico.measure_twin_lnp(twin, [0, 1, 2], n_image=1500, window=12, folds=2)
    images = np.random.default_rng(0).standard_normal((1500, 1, 20, 24), np.float32) * 55 + 110
    recording = simulation.record_twin(closed_form, images, n_validation=100, n_test=0)
    recorded = insilico.measure_lnp(recording, [0, 3], window=12, folds=2)
    truth = closed_form.truth["filters"][0, 0]
    for result, least in ((lnp, 0.95), (recorded, 0.7)):
        field = result.receptive_field.values[0, 0]
        inside = np.isfinite(field)
        assert inside.sum() == 12 * 12
        assert np.corrcoef(field[inside], truth[inside])[0, 1] > least
    # the one filter says much of a simple neuron and nothing of a complex one
    assert float(lnp.deviance_explained[0]) > 0.7
    assert float(lnp.deviance_explained[1]) < 0.1
    assert lnp.valid.values.tolist() == [1, 1, 0]
    assert recorded.valid.values.tolist() == [1, 0]
    both = insilico.compare_fields(recorded, lnp)  # the windows need not be the same
    assert float(both.correlation[0]) > 0.6
    xr.testing.assert_identical(open_result(save_result(lnp, tmp_path / "lnp.nc")), lnp)


def test_wrong_requests_are_told_what_is_right(counts):
    stimulus, response, _ = counts
    with pytest.raises(InputError, match=r"positive strengths, but got \[0.1, 0\]"):
        insilico.estimate_lnp(stimulus, response, penalty=[0.1, 0])
    with pytest.raises(InputError, match="must not be negative, but the smallest is -"):
        insilico.estimate_lnp(stimulus, -response)
    with pytest.raises(InputError, match="`folds` must be between 2 and .* but got 1"):
        insilico.estimate_lnp(stimulus, response, folds=1)
