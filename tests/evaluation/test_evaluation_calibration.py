import numpy as np
import pytest
import xarray as xr
from scipy import stats

from twinlab.evaluation.calibration import place_among_samples, score_calibration
from twinlab.schema import InputError, open_result, save_result

N_TRIAL, N_NEURON = 800, 6


def labelled(values, repeats=1):
    return xr.DataArray(
        values,
        dims=("trial", "neuron"),
        coords={
            "stimulus_index": ("trial", np.arange(len(values)) // repeats),
            "neuron_id": ("neuron", np.arange(values.shape[1])),
        },
    )


@pytest.fixture
def mean():
    return np.random.default_rng(0).uniform(0.5, 3, (N_TRIAL, N_NEURON))


def gaussian(mean, factor, seed=1):
    """Responses of variance one, and the places a twin gives that believes in `factor`."""
    response = np.random.default_rng(seed).normal(mean, 1)
    believed = stats.norm(mean, np.sqrt(factor))
    predicted = {"cdf": believed.cdf(response), "log_score": believed.logpdf(response)}
    return labelled(response), xr.Dataset({k: labelled(v) for k, v in predicted.items()})


def test_the_right_distribution_is_calibrated(mean):
    found = score_calibration(*gaussian(mean, 1.0))
    level = found.level.values
    error = np.sqrt(level * (1 - level) / N_TRIAL)
    assert (np.abs(found.coverage - level) < 4 * error).all()
    assert (np.abs(found.mean_coverage - level) < 4 * error / np.sqrt(N_NEURON)).all()
    assert (np.abs(found.overconfidence) < 0.05).all()
    bin_error = np.sqrt(20 * 0.95 / (N_TRIAL * N_NEURON)) * 4
    assert (np.abs(found.mean_pit_density - 1) < bin_error).all()
    np.testing.assert_allclose(found.pit_density.mean("bin"), 1)
    np.testing.assert_allclose(found.mean_log_score, -0.5 * np.log(2 * np.pi * np.e), atol=0.1)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_wrong_variances_cover_as_much_as_the_normal_distribution_says(mean, factor):
    found = score_calibration(*gaussian(mean, factor))
    level = found.level.values
    expected = 2 * stats.norm.cdf(np.sqrt(factor) * stats.norm.ppf((1 + level) / 2)) - 1
    np.testing.assert_allclose(found.mean_coverage, expected, atol=0.025)
    sign = 1 if factor < 1 else -1  # too narrow is overconfident
    assert (sign * found.overconfidence > 0.05).all()
    edges = found.mean_pit_density.values[[0, -1]].mean()
    assert edges > 1.5 if factor < 1 else edges < 0.6
    right = score_calibration(*gaussian(mean, 1.0))
    assert (right.mean_log_score > found.mean_log_score).all()


def test_the_interval_of_the_pooled_coverage_holds_the_truth(mean):
    inside = []
    for seed in range(40):
        found = score_calibration(*gaussian(mean[:100], 1.0, seed))
        low, high = found.mean_coverage_interval.values.T
        inside.append((low < found.level) & (found.level < high))
    assert 0.85 < np.mean(inside) <= 1.0


def test_trials_of_one_image_are_not_independent():
    # all neurons and repeats of an image share one deviation
    shared = np.random.default_rng(0).random(40)
    place = np.repeat(shared, 10)[:, None] * np.ones(5)
    response = labelled(place, repeats=10)
    found = score_calibration(response, xr.Dataset({"cdf": labelled(place, 10)}))
    width = np.diff(found.mean_coverage_interval, axis=1)[:, 0]
    share = found.mean_coverage.values
    expected = 2 * 1.96 * np.sqrt(share * (1 - share) / 39)
    np.testing.assert_allclose(width, expected, rtol=1e-6)


@pytest.mark.parametrize("what", ["counts", "silence", "samples"])
def test_values_with_a_probability_of_their_own_do_not_spoil_it(mean, what):
    rng = np.random.default_rng(2)
    if what == "silence":
        silent = rng.random(mean.shape) < 0.4
        response = np.where(silent, 0.0, rng.exponential(mean))
        cdf = 0.4 + 0.6 * stats.expon(scale=mean).cdf(response)
        below = np.where(silent, 0.0, cdf)
    else:
        response = rng.poisson(mean).astype(float)
        believed = stats.poisson(mean)
        cdf, below = believed.cdf(response), believed.cdf(response - 1)
    if what == "samples":
        below, cdf = place_among_samples(response, rng.poisson(mean, (99, *mean.shape)))
    predicted = xr.Dataset({"cdf": labelled(cdf), "cdf_below": labelled(below)})
    found = score_calibration(labelled(response), predicted)
    error = np.sqrt(found.level * (1 - found.level) / response.size)
    assert (np.abs(found.mean_coverage - found.level) < 4 * error).all()
    assert (np.abs(found.mean_pit_density - 1) < 4 * np.sqrt(19 / response.size)).all()
    plain = score_calibration(labelled(response), predicted[["cdf"]])
    assert np.abs(plain.mean_pit_density - 1).max() > 0.3  # what drawing the place is for


def test_missing_responses_are_left_out(mean):
    response, predicted = gaussian(mean, 1.0)
    response[:100, 0] = np.nan
    response[:, 1] = np.nan
    predicted["cdf"][:100, 0] = np.nan
    found = score_calibration(response, predicted)
    assert found.n_response.values.tolist() == [N_TRIAL - 100, 0] + [N_TRIAL] * 4
    assert found.coverage[1].isnull().all()
    assert np.isnan(found.mean_log_score[1])
    kept = score_calibration(response[100:], predicted.isel(trial=slice(100, None)))
    np.testing.assert_allclose(found.mean_log_score[0], kept.mean_log_score[0])
    assert found.mean_coverage.notnull().all()


def test_frames_count_as_responses(mean):
    response, predicted = gaussian(mean, 1.0)

    def as_videos(values):
        folded = values.values.reshape(40, 20, N_NEURON).transpose(0, 2, 1)
        return xr.DataArray(folded, dims=("trial", "neuron", "frame"))

    found = score_calibration(as_videos(response), predicted.map(as_videos))
    whole = score_calibration(response, predicted)
    np.testing.assert_allclose(found.coverage, whole.coverage)
    np.testing.assert_allclose(found.mean_log_score, whole.mean_log_score)


def test_a_spread_that_knows_the_error_is_told_from_one_that_does_not(mean):
    rng = np.random.default_rng(3)
    spread = rng.uniform(0.1, 2, mean.shape[:1])[:, None] * np.ones(N_NEURON)
    response = mean + rng.normal(0, spread)
    values = {"cdf": np.full_like(mean, 0.5), "prediction": mean, "variance_twin": spread**2}
    predicted = xr.Dataset({name: labelled(value) for name, value in values.items()})
    knows = score_calibration(labelled(response), predicted)
    expected = stats.spearmanr(spread[:, 0], np.abs(response - mean)[:, 0]).statistic
    assert float(knows.spread_error_correlation[0]) == pytest.approx(expected)
    assert (knows.spread_error_correlation > 0.4).all()
    assert float(knows.image_spread_error_correlation) > 0.7
    shuffled = predicted.assign(variance_twin=labelled(rng.permutation(spread**2)))
    blind = score_calibration(labelled(response), shuffled)
    assert (np.abs(blind.spread_error_correlation) < 0.15).all()
    response[:, 1] = np.nan
    rest = score_calibration(labelled(response), predicted)
    assert np.isnan(rest.spread_error_correlation[1])
    assert float(rest.image_spread_error_correlation) > 0.7
    one_twin = predicted.assign(variance_twin=predicted.variance_twin * np.nan)
    for without in (predicted[["cdf"]], one_twin):
        alone = score_calibration(labelled(response), without)
        assert alone.spread_error_correlation.isnull().all()
        assert np.isnan(alone.image_spread_error_correlation)


def test_mistakes_are_named(mean):
    response, predicted = gaussian(mean, 1.0)
    with pytest.raises(InputError, match="it needs `cdf`"):
        score_calibration(response, predicted[["log_score"]])
    with pytest.raises(InputError, match="predict the trials and neurons that are scored"):
        score_calibration(response[:10], predicted)
    with pytest.raises(InputError, match="`neuron_id` of the response"):
        score_calibration(response[:, ::-1], predicted)
    with pytest.raises(InputError, match="probabilities"):
        score_calibration(response, predicted + 2)
    with pytest.raises(InputError, match="All responses are missing"):
        score_calibration(response * np.nan, predicted)
    with pytest.raises(InputError, match="`levels`"):
        score_calibration(response, predicted, levels=[0.5, 1.5])


def test_the_result_is_read_back_and_drawn(mean, tmp_path):
    from twinlab.plots import plot_result, save_figure

    found = score_calibration(*gaussian(mean, 0.5))
    again = open_result(save_result(found, tmp_path / "calibration.nc"))
    xr.testing.assert_identical(again, found)
    for suffix in ("png", "html"):
        assert save_figure(plot_result(again), tmp_path / f"figure.{suffix}").stat().st_size > 5000
