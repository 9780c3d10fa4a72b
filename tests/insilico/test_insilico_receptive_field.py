import numpy as np
import pytest
import xarray as xr

from twinlab import insilico
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError, open_result, save_result
from twinlab.stimuli import gabor_patches
from twinlab.twins import check_twin


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@pytest.fixture(scope="module")
def gabor():
    """A 20 x 20 Gabor of unit norm."""
    patch = gabor_patches(*np.array([[9], [10], [45], [0.12], [30], [3]]), height=20, width=20)
    return patch.ravel() / np.linalg.norm(patch)


@pytest.fixture(scope="module")
def white_noise_estimate(gabor):
    """Exponential LNP neuron of gain 0.8, and a silent one, under 40,000 white images."""
    generator = np.random.default_rng(0)
    stimulus = generator.standard_normal((40_000, 400), np.float32)
    spikes = generator.poisson(np.exp(0.8 * stimulus @ gabor - 1))
    response = np.stack([spikes, np.zeros(len(spikes))], 1)
    return insilico.estimate_receptive_field(stimulus, response, ridge=[0.03], folds=2), spikes


def test_the_hand_made_twin_is_a_twin(closed_form):
    check_twin(closed_form)


def test_gradient_of_a_linear_nonlinear_neuron_is_its_filter(closed_form):
    field = insilico.measure_receptive_field(closed_form.condition(), n_image=4)
    truth = closed_form.truth["filters"][0, 0]
    assert correlation(field.receptive_field[0], truth) > 0.99999
    # softplus'(0) = 1/2, in rate per grey level
    scale = np.abs(field.receptive_field[0]).max() / np.abs(truth).max()
    assert float(scale) == pytest.approx(0.5 / 55, rel=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_gradient_of_a_linear_nonlinear_neuron_is_its_filter_at_every_image(closed_form, seed):
    field = insilico.measure_receptive_field(closed_form.condition(), [0], n_image=2, seed=seed)
    truth = closed_form.truth["filters"][0, 0]
    assert correlation(field.receptive_field[0], truth) > 1 - 1e-9


def test_gradient_of_an_energy_neuron_averages_out_but_its_place_does_not(closed_form):
    field = insilico.measure_receptive_field(closed_form.condition(), n_image=16)
    assert np.abs(field.receptive_field[1]).max() < 1e-3 * field.sensitivity[1].max()
    for neuron in (0, 1, 4):
        x, y = closed_form.truth["center"][neuron]
        assert float(field.center_x[neuron]) == pytest.approx(x, abs=0.7)
        assert float(field.center_y[neuron]) == pytest.approx(y, abs=0.7)


def test_a_neuron_without_gradient_has_no_centre(closed_form):
    field = insilico.measure_receptive_field(closed_form.condition(), [2, 3], n_image=2)
    assert (field.receptive_field == 0).all()
    assert np.isnan(field.center_x).all()


def test_receptive_fields_do_not_depend_on_batches_or_on_who_else_is_asked(closed_form):
    twin = closed_form.condition()
    whole = insilico.measure_receptive_field(twin, n_image=6, batch_size=128)
    some = insilico.measure_receptive_field(twin, [4, 0], n_image=6, batch_size=5)
    xr.testing.assert_allclose(whole.isel(neuron=[4, 0]), some, rtol=1e-4, atol=1e-7)


def test_simulated_receptive_fields_are_where_they_were_put(cortex):
    field = insilico.measure_receptive_field(cortex.as_twin().condition(), n_image=16)
    simple = np.flatnonzero(field.true_type.values == "simple")
    error = np.hypot(field.center_x - field.true_x, field.center_y - field.true_y)[simple]
    assert float(error.max()) < 1.5


def test_sta_of_white_noise_recovers_filter_and_gain(white_noise_estimate, gabor):
    estimate, spikes = white_noise_estimate
    assert correlation(estimate["receptive_field_raw"][0], gabor) > 0.95
    assert correlation(estimate["receptive_field"][0], gabor) > 0.95
    gain = np.linalg.norm(estimate["receptive_field_raw"][0]) / spikes.mean()
    assert gain == pytest.approx(0.8, abs=0.05)


def test_a_silent_neuron_has_no_sta(white_noise_estimate):
    estimate, _ = white_noise_estimate
    assert all(np.isnan(values[1]).all() for values in estimate.values())


def test_ridge_beats_the_raw_average_for_natural_correlations(gabor):
    generator = np.random.default_rng(1)
    frequency = np.hypot(np.fft.fftfreq(20)[:, None], np.fft.fftfreq(20))
    white = np.fft.fft2(generator.standard_normal((4000, 20, 20)))
    pink = np.fft.ifft2(white / np.maximum(frequency, 0.05)).real.reshape(4000, 400)
    drive = pink @ gabor
    spikes = generator.poisson(np.exp(0.8 * drive / drive.std() - 1))[:, None]
    estimate = insilico.estimate_receptive_field(pink, spikes, folds=3)
    ridge = correlation(estimate["receptive_field"], gabor)
    assert ridge > correlation(estimate["receptive_field_raw"], gabor) + 0.03
    assert estimate["cv_correlation"][0] > estimate["cv_correlation_raw"][0]
    assert 1e-3 < estimate["ridge"][0] < 1e3


@pytest.mark.parametrize("n_pixel", [8, 60], ids=["more trials", "more pixels than a fold"])
def test_held_out_predictions_equal_those_of_refitting(n_pixel):
    generator = np.random.default_rng(2)
    x = generator.standard_normal((120, n_pixel))
    y = x @ generator.standard_normal((n_pixel, 2)) + generator.standard_normal((120, 2))
    group = np.repeat(np.arange(40), 3)
    found = insilico.estimate_receptive_field(x, y, ridge=[0.1], folds=4, group=group)
    fold = np.random.default_rng(0).permutation(np.arange(40) % 4)[group]
    x, y = x - x.mean(0), y - y.mean(0)
    strength = 0.1 * (x**2).sum() / n_pixel

    def fitted(rows):
        gram = x[rows].T @ x[rows] + strength * np.eye(n_pixel)
        return np.linalg.solve(gram, x[rows].T @ y[rows])

    predicted = np.empty_like(y)
    for k in range(4):
        predicted[fold == k] = x[fold == k] @ fitted(fold != k)
    expected = [correlation(predicted[:, n], y[:, n]) for n in range(2)]
    np.testing.assert_allclose(found["cv_correlation"], expected, rtol=1e-8)
    np.testing.assert_allclose(found["receptive_field"].T, fitted(slice(None)), rtol=1e-8)


def test_recorded_sta_finds_simple_cells_and_leaves_missing_neurons_undefined(recording):
    broken = recording.copy(deep=True)
    broken.response[np.flatnonzero(broken.split.values == "train")[5], 3] = np.nan
    sta = insilico.measure_sta(broken, np.arange(8), ridge=[1.0, 10.0], folds=2)
    assert np.isnan(sta.cv_correlation[3])
    assert sta.receptive_field.shape == (8, 1, 36, 64)
    assert sta.attrs["recording"] == recording.attrs["fingerprint"]
    simple = np.flatnonzero((sta.true_type == "simple") & np.isfinite(sta.cv_correlation))
    truth = recording.true_filter.values
    found = [correlation(sta.receptive_field[n], truth[n]) for n in simple]
    # 2,304 pixels from 700 noisy trials; chance is 0.02
    assert np.median(found) > 0.15
    assert float(sta.cv_correlation[simple].median()) > 0.2


def test_sta_of_a_twin_matches_its_filters(closed_form):
    sta = insilico.measure_twin_sta(closed_form.condition(), [0, 3], n_image=1500, folds=2)
    assert correlation(sta.receptive_field[0], closed_form.truth["filters"][0, 0]) > 0.95
    assert np.isnan(sta.cv_correlation[1])


def test_receptive_field_is_saved_and_read_back_identical(closed_form, tmp_path):
    field = insilico.measure_receptive_field(closed_form.condition(), n_image=2)
    xr.testing.assert_identical(open_result(save_result(field, tmp_path / "rf.nc")), field)
    assert field.attrs["twin"] == closed_form.identity


def test_work_stops_when_asked_to(closed_form):
    job = Job()
    job.cancel()
    for experiment in insilico.EXPERIMENTS.values():
        with pytest.raises(Cancelled):
            experiment(closed_form.condition(), job=job)


def test_wrong_requests_are_told_what_is_right(closed_form, recording):
    twin = closed_form.condition()
    with pytest.raises(InputError, match="between 0 and 4, .* but got 3 to 9"):
        insilico.measure_receptive_field(twin, [3, 9])
    with pytest.raises(InputError, match="whole numbers"):
        insilico.measure_receptive_field(twin, [0.5])
    with pytest.raises(InputError, match="positive even number, but got 3"):
        insilico.measure_receptive_field(twin, n_image=3)
    with pytest.raises(InputError, match="positive strengths, but got"):
        insilico.measure_sta(recording, [0], ridge=[0.0])
    with pytest.raises(InputError, match="between 2 and the number of different stimuli"):
        insilico.measure_twin_sta(twin, n_image=10, folds=11)
    test_only = recording.isel(trial=recording.split.values == "test")
    with pytest.raises(InputError, match="No trial of the splits train and validation"):
        insilico.measure_sta(test_only)
