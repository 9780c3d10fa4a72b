import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.special import iv

from twinlab import insilico
from twinlab.schema import InputError

N = 60
RANGES = {
    "von_mises": {"base": (0.1, 1), "height": (1, 3), "peak": (10, 170), "kappa": (0.5, 6)},
    "two_von_mises": {
        "base": (0.1, 1),
        "height": (2, 3),
        "other_height": (0.2, 1.9),
        "peak": (10, 350),
        "kappa": (0.8, 6),
    },
    "naka_rushton": {"base": (0, 0.3), "height": (1, 3), "c50": (0.08, 0.5), "exponent": (1, 4)},
    "difference_of_gaussians": {
        "center": (1, 3),
        "center_width": (3, 6),
        "surround": (0.2, 0.9),
        "extra_width": (3, 10),
    },
    "ratio_of_gaussians": {
        "center": (1, 3),
        "center_width": (3, 5),
        "surround": (0.3, 2),
        "extra_width": (4, 10),
    },
    "log_gaussian": {
        "base": (0, 0.3),
        "height": (1, 3),
        "peak": (0.05, 0.2),
        "octaves": (0.5, 1.5),
    },
    "gaussian_patch": {
        "base": (0, 0.3),
        "height": (1, 3),
        "center_x": (5, 60),
        "center_y": (5, 30),
        "size_x": (2.5, 4),
        "size_y": (2.5, 4),
    },
}
POINTS = {
    "von_mises": np.arange(16) * 11.25,
    "two_von_mises": np.arange(16) * 22.5,
    "naka_rushton": np.concatenate([[0], np.geomspace(0.02, 0.9, 11)]),
    "difference_of_gaussians": np.geomspace(1, 30, 14),
    "ratio_of_gaussians": np.geomspace(1, 30, 14),
    "log_gaussian": np.geomspace(0.02, 0.4, 10),
    "gaussian_patch": np.stack(
        np.meshgrid(np.arange(0, 64, 4.0), np.arange(0, 36, 4.0), indexing="ij"), -1
    ).reshape(-1, 2),
}


def planted(name, noise=0.0, seed=0):
    generator = np.random.default_rng(seed)
    truth = {key: generator.uniform(*ends, N) for key, ends in RANGES[name].items()}
    curves = insilico.evaluate_curve(name, POINTS[name], truth)
    return truth, curves + noise * generator.standard_normal(curves.shape)


@pytest.mark.parametrize("name", sorted(RANGES))
def test_planted_parameters_are_found(name):
    assert set(RANGES) == set(insilico.CURVES)
    truth, curves = planted(name)
    found = insilico.fit_curve(name, POINTS[name], curves)
    assert found["r2"].min() > 0.9999
    close = [np.abs(found[key] - truth[key]) < 1e-3 * max(RANGES[name][key]) for key in truth]
    # A ratio of Gaussians has ridges along which few points tell its parameters apart.
    assert np.mean(close) > (0.95 if name == "ratio_of_gaussians" else 0.999)


def test_noisy_fits_are_those_of_scipy_from_the_truth():
    for name in ("von_mises", "naka_rushton", "log_gaussian"):
        truth, curves = planted(name, noise=0.05)
        x = POINTS[name]
        found = insilico.fit_curve(name, x, curves)
        total = curves.var(1) * curves.shape[1]
        for i in range(0, N, 6):

            def formula(x, *theta, name=name, keys=tuple(truth)):
                fit = dict(zip(keys, (np.array(value) for value in theta), strict=True))
                return insilico.evaluate_curve(name, x, fit)

            low = [-np.inf if key == "peak" else 0 for key in truth]
            start = [truth[key][i] for key in truth]
            best, _ = curve_fit(formula, x, curves[i], p0=start, bounds=(low, np.inf))
            r2 = 1 - ((formula(x, *best) - curves[i]) ** 2).sum() / total[i]
            assert found["r2"][i] > r2 - 1e-4


def test_a_parameter_that_is_not_in_the_points_does_not_run_away():
    x = np.geomspace(1, 30, 14)
    flat = insilico.evaluate_curve(
        "difference_of_gaussians",
        x,
        {"center": 1.0, "center_width": 5.0, "surround": 0.0, "extra_width": 5.0},
    )
    found = insilico.fit_curve("difference_of_gaussians", x, flat)
    assert found["r2"] > 0.999
    assert found["extra_width"] <= 10 * 30 + 1e-6


def test_what_cannot_be_fitted_is_nan_and_the_rest_is_fitted():
    truth, curves = planted("von_mises")
    curves[0], curves[1], curves[2] = 1.0, 0.0, np.nan
    found = insilico.fit_curve("von_mises", POINTS["von_mises"], curves)
    for values in found.values():
        assert np.isnan(values[:3]).all()
        assert np.isfinite(values[3:]).all()
    few = insilico.fit_curve("von_mises", np.array([0.0, 60.0, 120.0]), np.eye(3))
    assert np.isnan(few["r2"]).all()


def test_fits_keep_the_shape_of_what_they_are_given():
    _, curves = planted("log_gaussian")
    found = insilico.fit_curve("log_gaussian", POINTS["log_gaussian"], curves.reshape(6, 10, -1))
    assert found["peak"].shape == (6, 10)


def test_wrong_requests_are_told_what_is_right():
    with pytest.raises(InputError, match="No curve is called 'cosine'; known: von_mises"):
        insilico.fit_curve("cosine", np.arange(4), np.eye(4))
    with pytest.raises(InputError, match="along the 5 points of x"):
        insilico.fit_curve("von_mises", np.arange(5), np.eye(4))


def test_circular_variance_of_a_von_mises_curve_is_a_ratio_of_bessel_functions():
    angle = np.arange(36) * 5.0
    for kappa in (0.0, 0.5, 2.0, 6.0):
        curve = np.exp(kappa * np.cos(2 * np.deg2rad(angle - 33)))
        found = insilico.circular_variance(curve, angle)
        assert found == pytest.approx(1 - iv(1, kappa) / iv(0, kappa), abs=1e-9)


def test_half_width_is_where_the_curve_is_half_as_high():
    kappa = np.array([0.2, 0.5, 2.0, 8.0])
    for period in (180.0, 360.0):
        width = insilico.half_width(kappa, period=period)
        assert np.isnan(width[0])
        height = np.exp(kappa * (np.cos(np.deg2rad(width * 360 / period)) - 1))
        np.testing.assert_allclose(height[1:], 0.5)


def test_indices_of_two_points_are_theirs():
    angle = np.arange(8) * 45.0
    curve = np.array([3.0, 1.0, 0.5, 1.0, 2.0, 1.0, 0.5, 1.0])
    assert insilico.direction_index(curve, angle) == pytest.approx((3 - 2) / (3 + 2))
    assert insilico.orientation_index(curve, angle) == pytest.approx((2.5 - 0.5) / (2.5 + 0.5))
    half = curve[:4]
    assert insilico.orientation_index(half, angle[:4]) == pytest.approx((3 - 0.5) / (3 + 0.5))
    assert np.isnan(insilico.direction_index(np.zeros(8), angle))
    # On a grid without the orthogonal orientation it is interpolated.
    odd = np.arange(9) * 20.0
    curve = 2 + np.cos(2 * np.deg2rad(odd - 40))
    trough = 2 + np.cos(2 * np.deg2rad(80))  # at 120 and 140 degrees, about 130
    assert insilico.orientation_index(curve, odd) == pytest.approx((3 - trough) / (3 + trough))


def test_modulation_of_known_responses_is_known():
    phase = np.deg2rad(np.arange(64) * 360 / 64)
    wave = np.cos(phase - 1)
    assert insilico.modulation_ratio(np.maximum(wave, 0)) == pytest.approx(np.pi / 2, abs=1e-3)
    assert insilico.modulation_ratio(3 + wave, baseline=2.0) == pytest.approx(1)
    assert insilico.modulation_ratio(np.eye(64)[3]) == pytest.approx(2)
    assert insilico.modulation_ratio(np.full(64, 3.0)) == pytest.approx(0, abs=1e-12)
    assert np.isnan(insilico.modulation_ratio(np.full(64, 3.0), baseline=3.0))


def test_suppression_of_known_curves_is_known():
    assert insilico.suppression_index(np.array([1.0, 4.0, 1.0])) == 0.75
    assert insilico.suppression_index(np.array([1.0, 2.0, 4.0])) == 0
    assert np.isnan(insilico.suppression_index(np.zeros(3)))
    assert insilico.cross_orientation_suppression(4.0, 1.0) == 0.75
    assert np.isnan(insilico.cross_orientation_suppression(0.0, 1.0))
    angle = np.arange(12) * 30.0
    curve = np.exp(2 * np.cos(np.deg2rad(angle - 250)))
    assert insilico.preferred_angle(curve, angle, period=360) == pytest.approx(250)
    assert np.isnan(insilico.preferred_angle(np.ones(12), angle, period=360))


def test_bootstrap_over_trials_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    angle = np.arange(8) * 22.5
    mean = 3 + 2 * np.cos(2 * np.deg2rad(angle - 45))
    truth = insilico.orientation_selectivity(mean, angle)
    trials = generator.poisson(mean, (40, 400, 8)).astype(float)  # 400 experiments at once
    low, high = insilico.bootstrap_tuning(
        trials, lambda c: insilico.orientation_selectivity(c, angle), n_bootstrap=300
    )
    covered = np.mean((low <= truth) & (truth <= high))
    assert 0.90 < covered < 0.98


def test_bootstrap_leaves_out_what_is_missing_and_knows_when_there_is_nothing():
    angle = np.arange(4) * 45.0
    trials = np.random.default_rng(1).poisson(5, (6, 3, 4)).astype(float)
    trials[4:, 0] = np.nan
    trials[1:, 1, 2] = np.nan

    def osi(curve):
        return insilico.orientation_selectivity(curve, angle)

    bounds = insilico.bootstrap_tuning(trials, osi, n_bootstrap=100)
    assert np.isfinite(bounds[:, [0, 2]]).all()
    assert np.isnan(bounds[:, 1]).all()  # one repeat of a stimulus: no interval
    assert np.isnan(insilico.bootstrap_tuning(trials[:1], osi)).all()
    same = np.repeat(trials[:1], 5, 0)
    exact = insilico.bootstrap_tuning(same, osi, n_bootstrap=20)
    np.testing.assert_allclose(exact[0], exact[1])
    with pytest.raises(InputError, match="`n_bootstrap` must be at least 1"):
        insilico.bootstrap_tuning(trials, osi, n_bootstrap=0)


def test_comparison_of_distributions_finds_a_planted_shift():
    generator = np.random.default_rng(0)
    first = {"osi": generator.normal(0.5, 0.1, 2000), "other": np.ones(3)}
    second = {"osi": np.append(generator.normal(0.4, 0.1, 3000), [np.nan] * 5)}
    found = insilico.compare_tuning_distributions(first, second).sel(index="osi")
    assert float(found.wasserstein) == pytest.approx(0.1, abs=0.01)
    # Of normals a standard deviation apart: 2 Phi(1/2) - 1.
    assert float(found.ks_statistic) == pytest.approx(0.383, abs=0.03)
    low, high = found.median_difference_interval.values
    assert low < 0.1 < high
    # The standard error of a median of normals is 1.253 standard deviations over root n.
    width = np.diff(found.median_interval.sel(source="in silico").values)[0]
    assert width == pytest.approx(2 * 1.96 * 1.253 * 0.1 / np.sqrt(2000), rel=0.15)
    assert found.n_undefined.values.tolist() == [0, 5]
    alike = insilico.compare_tuning_distributions(first, first, names=["osi"])
    assert float(alike.wasserstein[0]) == 0
    assert float(alike.ks_p[0]) == 1


def test_what_cannot_be_compared_is_refused(closed_form):
    tuning = insilico.measure_orientation_tuning(closed_form.condition(), n_phase=4)
    with pytest.raises(InputError, match="no index to compare"):
        insilico.compare_tuning_distributions(tuning, {"dsi": np.zeros(3)})
    with pytest.raises(InputError, match="`dsi` is missing in silico"):
        insilico.compare_tuning_distributions(tuning, {"dsi": np.zeros(3)}, names=["dsi"])
    with pytest.raises(InputError, match="is an angle"):
        insilico.compare_tuning_distributions(tuning, tuning, names=["preferred_orientation"])
    with pytest.raises(InputError, match="defined for 1 neurons in vivo; it takes 2"):
        insilico.compare_tuning_distributions(tuning, {"osi": np.zeros(1)})


def test_in_vivo_direction_tuning_is_compared_with_a_simulated_population(
    direction_tuning, cortex
):
    curve, angle = direction_tuning["tuning_curve"], direction_tuning["directions_deg"]
    stored_osi, stored_dsi = direction_tuning["OSI"], direction_tuning["DSI"]
    in_vivo = {
        "osi": insilico.orientation_selectivity(curve, angle),
        "dsi": insilico.direction_selectivity(curve, angle),
    }
    same = insilico.compare_tuning_distributions(in_vivo, {"osi": stored_osi, "dsi": stored_dsi})
    assert float(same.wasserstein.max()) < 1e-6
    tuning = insilico.measure_orientation_tuning(cortex.as_twin().condition())
    found = insilico.compare_tuning_distributions(tuning, in_vivo).sel(index="osi")
    # Noise-free Gabor cells are tuned more sharply than recorded neurons.
    assert found["median"].sel(source="in vivo") == pytest.approx(np.median(stored_osi), abs=1e-4)
    assert found.median_difference_interval[0] > 0.2
