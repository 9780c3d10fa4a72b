"""Learning curves whose parameters are known are found again, or refused."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import fitting, plots, schema, twins
from twinlab.fitting import planner
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError

SLOPE, MIDPOINT, CEILING = 1.8, 3.4, 0.75  # as planted in the reference measurement
WHOLE, BELOW = (2.0, 5.0), (2.0, 3.2)  # log10 minutes


def planted(x):
    return CEILING / (1 + np.exp(-SLOPE * (x - MIDPOINT)))


def curve(span, noise=0.0, seed=0, **settings):
    """Fit of seven durations, two fits each."""
    x = np.repeat(np.linspace(*span, 7), 2)
    score = planted(x) + noise * np.random.default_rng(seed).normal(size=x.size)
    return fitting.fit_learning_curve(10**x, score, **({"n_bootstrap": 0} | settings))


def test_a_curve_without_noise_is_found_exactly():
    result = curve(WHOLE, planned_minutes=[10**3.4, 1e6])
    assert float(result.slope) == pytest.approx(SLOPE, rel=1e-5)
    assert float(result.ceiling) == pytest.approx(CEILING, rel=1e-5)
    assert math.log10(float(result.midpoint)) == pytest.approx(MIDPOINT, rel=1e-5)
    expected = [CEILING / 2, float(planted(6.0))]
    np.testing.assert_allclose(result.predicted_score, expected, rtol=1e-5)
    enough = 10 ** (MIDPOINT + math.log(0.9 / 0.1) / SLOPE)
    assert float(result.minutes_needed.sel(share=0.9)) == pytest.approx(enough, rel=1e-4)
    assert result.attrs["refused"] == ""


def test_a_noisy_curve_is_found_within_the_reference_measurements_error():
    result = curve(WHOLE, noise=0.01, n_bootstrap=300, planned_minutes=[10**5.5])
    # the reference found (1.743, 3.390, 0.749)
    assert float(result.slope) == pytest.approx(SLOPE, abs=0.15)
    assert float(result.ceiling) == pytest.approx(CEILING, abs=0.025)
    assert math.log10(float(result.midpoint)) == pytest.approx(MIDPOINT, abs=0.06)
    for name in ("slope", "ceiling", "midpoint"):
        low, high = result[f"{name}_interval"].values
        assert low < float(result[name]) < high
    low, high = result.predicted_score_interval.values[0]
    assert low < float(planted(5.5)) < high
    assert 0.005 < high - low < 0.1


def test_intervals_hold_the_truth_as_often_as_they_say():
    truth = {"slope": SLOPE, "ceiling": CEILING, "midpoint": 10**MIDPOINT}
    inside = {name: 0 for name in truth}
    for seed in range(24):
        result = curve(WHOLE, noise=0.02, seed=seed, confidence=0.8)
        for name, value in truth.items():
            low, high = result[f"{name}_interval"].values
            inside[name] += low <= value <= high
    # 80 % of 24 is 19, with a standard error of 2
    assert all(14 <= count <= 23 for count in inside.values()), inside


def test_bayesian_ridge_regression_is_a_sigmoid_of_slope_ln_10():
    """FEVE = n / (n + p noise / prior variance) on orthonormal inputs."""
    rng = np.random.default_rng(0)
    p, noise, prior = 4000, 0.5, 1.0
    ratio = noise / prior
    x = np.repeat(np.linspace(2.3, 4.5, 8), 2)
    feve = []
    for n in 10**x:
        weight = rng.normal(size=p) * math.sqrt(prior)
        seen = (n / p) * weight + math.sqrt(n / p * noise) * rng.normal(size=p)
        error = seen / (n / p + ratio) - weight
        feve.append(1 - (error**2).sum() / (weight**2).sum())
    np.testing.assert_allclose(feve, 10**x / (10**x + p * ratio), atol=0.03)
    result = fitting.fit_learning_curve(10**x, np.array(feve), n_bootstrap=0)
    assert float(result.slope) == pytest.approx(math.log(10), abs=0.1)
    assert float(result.ceiling) == pytest.approx(1.0, abs=0.03)
    assert float(result.midpoint) == pytest.approx(p * ratio, rel=0.06)


def test_no_ceiling_is_given_below_the_midpoint():
    refused = 0
    for seed in range(15):
        result = curve(BELOW, noise=0.02, seed=seed, planned_minutes=[1e3, 1e5])
        if not result.attrs["refused"]:
            continue
        refused += 1
        assert "do not pass the midpoint" in result.attrs["refused"]
        for name in ("ceiling", "midpoint", "minutes_needed", "ceiling_interval"):
            assert np.isnan(result[name]).all(), name
        inside, beyond = result.predicted_score.values
        assert inside == pytest.approx(float(planted(3.0)), abs=0.05)
        assert np.isnan(beyond)
        assert float(result.curve_minutes.max()) == pytest.approx(10**3.2)
    assert refused >= 14  # 99 of 100 at this noise
    assert curve(BELOW).attrs["refused"]  # without noise the fitted midpoint itself is beyond


def test_a_curve_that_never_rises_promises_nothing():
    rng = np.random.default_rng(0)
    x = np.repeat(np.linspace(1, 3, 7), 2)
    result = fitting.fit_learning_curve(10**x, rng.normal(size=14) * 0.01, n_bootstrap=0)
    if not result.attrs["refused"]:
        assert abs(float(result.ceiling)) < 0.02


@pytest.mark.parametrize(
    ("minutes", "score", "settings", "words"),
    [
        ([1, 2, 3], [0.1, 0.2, 0.3], {}, "needs scores at 4 different durations or more"),
        ([1, 2, 3, 4], [0.1, 0.2, np.nan, 0.3], {}, "but there are 3"),
        ([0, 1, 2, 3], [0.1] * 4, {}, "must all be above 0"),
        ([1, 2, 3, 4], [0.1] * 3, {}, "need one shape"),
        ([1, 2, 3, 4], [0.1] * 4, {"shares": [1.0]}, "must lie between 0 and 1"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(minutes, score, settings, words):
    with pytest.raises(InputError, match=words) as raised:
        fitting.fit_learning_curve(np.array(minutes, float), np.array(score), **settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("span", [WHOLE, BELOW])
def test_the_result_is_saved_and_drawn(span, tmp_path):
    result = curve(span, noise=0.01, n_bootstrap=50, planned_minutes=[1e3])
    path = schema.save_result(result, tmp_path / "curve.nc")
    xr.testing.assert_identical(schema.open_result(path), result)
    drawn = plots.PLOTS["learning_curve"](result)
    for suffix in (".png", ".html"):
        assert plots.save_figure(drawn, tmp_path / f"curve{suffix}").stat().st_size > 1000
    marks = drawn.get(3)
    assert len(marks) == (0 if result.attrs["refused"] else 2)


class Fitted:
    """Stands in for a fit: notes what it was given, and may be stopped."""

    def __init__(self, twin, stop_after=math.inf):
        self.twin, self.stop_after = twin, stop_after
        self.given = []

    def __call__(self, recording, *, seed, job):
        if len(self.given) == self.stop_after:
            raise Cancelled
        train = recording.isel(trial=recording.split.values == "train")
        self.given.append((seed, set(train.stimulus_index.values.tolist())))
        assert (recording.split.values != "train").sum() == 100 + 30 * 6
        return self.twin


CURVE = {"fractions": (0.1, 0.5, 1.0), "seeds": (0, 1), "seconds_per_trial": 6.0}


def test_subsets_are_nested_and_minutes_are_counted(cortex, recording):
    fit = Fitted(cortex.as_twin())
    points = fitting.measure_learning_curve(recording, fit=fit, **CURVE)
    assert points.n_image.values.tolist() == [60, 60, 300, 300, 600, 600]
    np.testing.assert_allclose(points.minutes, points.n_trial * 0.1)
    images = dict(zip(points.n_image.values.tolist(), fit.given, strict=False))
    assert points.subset_seed.values.tolist() == [0, 1] * 3
    small, half, whole = ([g for s, g in fit.given if s == 0][k] for k in range(3))
    assert small < half < whole
    assert [g for s, g in fit.given if s == 1][0] != small
    assert set(images) == {60, 300, 600}
    assert (points.score > 0.9).all()  # the true twin
    schema.make_result(points, experiment="again")


def test_a_stopped_curve_goes_on(cortex, recording, tmp_path):
    first = Fitted(cortex.as_twin(), stop_after=4)
    with pytest.raises(Cancelled):
        fitting.measure_learning_curve(recording, tmp_path, fit=first, **CURVE)
    second = Fitted(cortex.as_twin())
    points = fitting.measure_learning_curve(recording, tmp_path, fit=second, **CURVE)
    assert len(first.given) == 4
    assert len(second.given) == 2
    alone = fitting.measure_learning_curve(recording, fit=Fitted(cortex.as_twin()), **CURVE)
    np.testing.assert_array_equal(points.score, alone.score)
    with pytest.raises(InputError, match="is of another learning curve .differs in measure"):
        fitting.measure_learning_curve(
            recording, tmp_path, fit=second, measure="single_trial_correlation", **CURVE
        )
    (tmp_path / "images-60-seed-0.json").write_text("{")
    with pytest.raises(InputError, match="images-60-seed-0.json: is damaged"):
        fitting.measure_learning_curve(recording, tmp_path, fit=second, **CURVE)


def test_twins_are_fitted_where_no_fit_is_given(recording, tmp_path):
    class Stop(Job):
        def report(self, fraction, message=None, preview=None):
            if message and "epoch 2" in message:
                self.cancel()
            super().report(fraction, message, preview)

    asked = {
        "fractions": (0.2,), "seeds": (3,), "measure": "correlation_to_average",
        "architecture": twins.Architecture(layers=1, hidden=4),
        "settings": fitting.FitSettings(max_epochs=2, schedule="cosine", precision="float32"),
    }  # fmt: skip
    timed = recording.assign_attrs(seconds_per_trial=2.0)
    with pytest.raises(Cancelled):
        fitting.measure_learning_curve(timed, tmp_path, job=Stop(), **asked)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]  # of this point
    points = fitting.measure_learning_curve(timed, tmp_path, **asked)
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
    assert points.minutes.values.tolist() == [4.0]
    torch.manual_seed(1)
    again = fitting.measure_learning_curve(timed, **asked)
    np.testing.assert_array_equal(again.score, points.score)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seconds_per_trial": None}, "does not say how long a trial takes"),
        ({"measure": "r2"}, "`measure` is 'r2'; known: feve"),
        ({"fractions": (0.5, 2.0)}, "`fractions` must lie above 0 and at most 1"),
    ],
)
def test_what_cannot_be_measured_is_one_line(recording, settings, words):
    with pytest.raises(InputError, match=words):
        fitting.measure_learning_curve(recording, **(CURVE | settings))


def test_every_measure_is_one_the_scores_have(cortex, recording):
    prediction = twins.predict_responses(cortex.as_twin(), recording, split="test")
    scores = fitting.planner.score_prediction(recording, prediction, n_bootstrap=0)
    assert all(f"mean_{name}" in scores for name in planner.MEASURES)
