import numpy as np
import pytest
import xarray as xr
from scipy.special import iv

from twinlab import insilico
from twinlab.jobs import Job
from twinlab.schema import InputError, open_result, save_result

STEP = 180 / 16


def angle_between(a, b):
    return np.abs((np.asarray(a) - np.asarray(b) + 90) % 180 - 90)


@pytest.fixture(scope="module")
def tuning(closed_form):
    return insilico.measure_orientation_tuning(closed_form.condition())


def test_osi_of_a_von_mises_curve_is_the_ratio_of_bessel_functions():
    angle = np.arange(36) * 5.0
    for kappa in (0.0, 0.5, 2.0, 6.0):
        curve = np.exp(kappa * np.cos(2 * np.deg2rad(angle - 33)))
        found = insilico.orientation_selectivity(curve, angle)
        assert found == pytest.approx(iv(1, kappa) / iv(0, kappa), abs=1e-9)


def test_selectivity_of_extreme_curves_is_known():
    angle = np.arange(8) * 45.0
    one, opposite = np.eye(8)[2], np.eye(8)[2] + np.eye(8)[6]
    assert insilico.orientation_selectivity(one, angle) == pytest.approx(1)
    assert insilico.direction_selectivity(one, angle) == pytest.approx(1)
    assert insilico.orientation_selectivity(opposite, angle) == pytest.approx(1)
    assert insilico.direction_selectivity(opposite, angle) == pytest.approx(0, abs=1e-12)
    assert np.isnan(insilico.orientation_selectivity(np.zeros(8), angle))


def test_indices_reproduce_those_published_with_recorded_curves(direction_tuning):
    curve, angle = direction_tuning["tuning_curve"], direction_tuning["directions_deg"]
    osi, dsi = direction_tuning["OSI"], direction_tuning["DSI"]
    np.testing.assert_allclose(insilico.orientation_selectivity(curve, angle), osi, atol=1e-6)
    np.testing.assert_allclose(insilico.direction_selectivity(curve, angle), dsi, atol=1e-6)


def test_preferences_are_those_of_the_filters(tuning, closed_form):
    for neuron in (0, 1, 4):
        truth = closed_form.truth
        found = float(tuning.preferred_orientation[neuron])
        assert angle_between(found, truth["orientation"][neuron]) < STEP / 2
        ratio = float(tuning.preferred_spatial_frequency[neuron]) / truth["frequency"][neuron]
        assert 0.65 < ratio < 1.5  # grid steps are a factor of 1.44


def test_simple_cells_are_modulated_by_phase_and_complex_cells_are_not(tuning):
    assert float(tuning.f1_f0[0]) > 1
    assert float(tuning.f1_f0[[1, 4]].max()) < 0.1
    assert float(tuning.osi[[0, 1, 4]].min()) > 0.5


def test_curves_are_summaries_of_the_responses(tuning):
    best = tuning.response.isel(neuron=1).sel(
        spatial_frequency=tuning.preferred_spatial_frequency[1]
    )
    np.testing.assert_allclose(tuning.tuning_curve[1], best.mean("phase"), rtol=1e-5)
    blank = tuning.blank_response[1]
    np.testing.assert_allclose(
        tuning.evoked_curve[1], (best - blank).clip(0).mean("phase"), atol=1e-3
    )
    np.testing.assert_allclose(
        tuning.osi[1],
        insilico.orientation_selectivity(tuning.evoked_curve[1], tuning.orientation),
    )


def test_a_neuron_that_nothing_moves_has_no_preference(tuning):
    for name in ("preferred_orientation", "preferred_spatial_frequency", "osi", "f1_f0"):
        assert np.isnan(tuning[name][[2, 3]]).all()
    np.testing.assert_allclose(tuning.tuning_curve[2], 2.0)


def test_simulated_preferences_are_found_within_a_grid_step(cortex):
    tuning = insilico.measure_orientation_tuning(cortex.as_twin().condition())
    error = angle_between(tuning.preferred_orientation, tuning.true_orientation)
    single = np.isin(tuning.true_type.values, ("simple", "complex"))
    assert error[single].max() < STEP
    assert np.median(error) < 3
    assert float(tuning.f1_f0[tuning.true_type.values == "simple"].min()) > 1
    assert float(tuning.f1_f0[tuning.true_type.values == "complex"].max()) < 0.1


def test_tuning_does_not_depend_on_batches_or_on_who_else_is_asked(closed_form, tuning):
    twin = closed_form.condition()
    some = insilico.measure_orientation_tuning(twin, [4, 0], batch_size=7)
    xr.testing.assert_allclose(tuning.isel(neuron=[4, 0]), some, rtol=1e-4, atol=1e-4)


def test_progress_reaches_the_listener(closed_form):
    heard = []
    job = Job(lambda job: heard.append(job.fraction), interval=0)
    insilico.measure_orientation_tuning(closed_form.condition(), n_phase=4, job=job)
    assert heard == sorted(heard)
    assert heard[-1] > 0.9


def test_tuning_is_saved_and_read_back_identical(tuning, tmp_path):
    xr.testing.assert_identical(open_result(save_result(tuning, tmp_path / "t.nc")), tuning)


def test_gratings_that_cannot_be_shown_are_refused(closed_form):
    twin = closed_form.condition()
    with pytest.raises(InputError, match="leaves the range of grey levels, 0 to 255"):
        insilico.measure_orientation_tuning(twin, contrast=1.2)
    with pytest.raises(InputError, match="<= 0.5 cycles per pixel, but got 0.04 and 0.7"):
        insilico.measure_orientation_tuning(twin, max_spatial_frequency=0.7)
    with pytest.raises(InputError, match="at least 3 orientations"):
        insilico.measure_orientation_tuning(twin, n_orientation=2)
