"""Covariance and quadratic forms find planted axes, their number, and nothing by chance."""

import numpy as np
import pytest
import xarray as xr

from twinlab import fitting, insilico, simulation, twins
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError, open_result, save_result
from twinlab.stimuli import gabor_patches

SIDE = 12
SHUFFLES = {"n_shuffle": 39, "level": 0.05}


def quadrature(height=20, width=20, x=9.0, y=10.0, size=3.0):
    """Two orthogonal Gabors of unit norm, 90 degrees of phase apart, (2, pixel)."""
    place = [[x], [y], [45], [0.12]]
    pair = [
        gabor_patches(*np.array([*place, [phase], [size]]), height=height, width=width).ravel()
        for phase in (30, 120)
    ]
    basis, _ = np.linalg.qr(np.stack(pair).T)
    return basis.T


def subspace_cosines(found, planted):
    """Cosines of the angles between the spans of two sets of filters."""
    a, b = (np.linalg.qr(np.asarray(each, float).T)[0] for each in (found, planted))
    return np.linalg.svd(a.T @ b, compute_uv=False)


def noise(n, n_pixel, seed=0):
    return np.random.default_rng(seed).standard_normal((n, n_pixel), np.float32)


def drawn(rate, seed=1):
    return np.random.default_rng(seed).poisson(rate)[:, None]


def test_an_energy_neuron_has_two_excitatory_axes_of_eigenvalue_one_and_no_average():
    stimulus, pair = noise(40_000, 400), quadrature()
    response = drawn(0.5 * ((stimulus @ pair.T) ** 2).sum(1))
    found = insilico.estimate_stc(stimulus, response, n_shuffle=19, level=0.1)
    assert found["n_excitatory"][0] == 2
    assert found["n_suppressive"][0] == 0
    assert subspace_cosines(found["excitatory"][0, :2], pair).min() > 0.93
    np.testing.assert_allclose(found["eigenvalue"][0, :2], 1.0, atol=0.2)
    assert found["null_high"][0] < 0.5 * found["eigenvalue"][0, 1]
    assert found["sta_p"][0] > 0.05


@pytest.mark.parametrize("curve", [np.exp, lambda s: np.log1p(np.exp(3 * s))])
def test_linear_nonlinear_neurons_have_nothing_beyond_their_average(curve):
    stimulus = noise(6000, 64)
    filters = np.random.default_rng(2).standard_normal((64, 20))
    filters /= np.linalg.norm(filters, axis=0)
    response = np.random.default_rng(1).poisson(curve(0.8 * stimulus @ filters))
    found = insilico.estimate_stc(stimulus, response, **SHUFFLES)
    assert (found["sta_p"] < 0.05).all()
    match = (found["sta"] * filters.T).sum(1) / np.linalg.norm(found["sta"], axis=1)
    assert match.min() > 0.9
    # at a level of 0.05, 4 or more of 20 have a probability of 0.016
    assert (found["n_excitatory"] + found["n_suppressive"] > 0).sum() < 4


def test_chance_finds_an_axis_no_oftener_than_its_level():
    stimulus = noise(2000, 40)
    response = np.random.default_rng(3).poisson(1.0, size=(2000, 40))
    found = insilico.estimate_stc(stimulus, response, **SHUFFLES)
    # more than 6 of 40 at a level of 0.05 have a probability of 0.003
    assert (found["n_excitatory"] + found["n_suppressive"] > 0).sum() <= 6
    assert (found["sta_p"] <= 0.05).sum() <= 6


@pytest.fixture(scope="module")
def quadratic():
    """One linear, one excitatory, one suppressive filter of norm 1 / 2; 30,000 noise images."""
    y, x = np.mgrid[:SIDE, :SIDE] - 5.5
    waves = [np.cos(1.1 * x), np.cos(1.1 * y), np.sin(1.1 * x)]
    basis, _ = np.linalg.qr(np.stack([(np.exp(-(x**2 + y**2) / 10) * w).ravel() for w in waves]).T)
    neurons = xr.Dataset(coords={"neuron_id": ("neuron", [0]), "session": ("neuron", ["planted"])})
    twin = twins.QuadraticTwin(
        twins.StimulusSpec(1, SIDE, SIDE, mean=0.0, std=1.0, low=-4.0, high=4.0), neurons,
        n_excitatory=1, n_suppressive=1, nonlinearity="exponential",
        filters=0.5 * basis.T.reshape(1, 3, 1, SIDE, SIDE), amplitude=np.full(1, 2.0),
    )  # fmt: skip
    images = noise(30_000, SIDE**2).reshape(-1, 1, SIDE, SIDE)
    return twin, basis.T, simulation.record_twin(twin, images, n_validation=0, n_test=0)


def arrays(recording):
    images = recording.stimulus.values[recording.stimulus_index.values]
    return images.reshape(len(images), -1), recording.response.values


def test_the_quadratic_model_finds_its_filters_and_eigenvalues(quadratic):
    _, planted, recording = quadratic
    found = insilico.estimate_gqm(*arrays(recording))
    fields = [found[name][0] for name in ("linear", "excitatory", "suppressive")]
    fields = [fields[0] / np.linalg.norm(fields[0]), fields[1][0], fields[2][0]]
    match = [abs(field @ truth) for field, truth in zip(fields, planted, strict=True)]
    assert min(match) > 0.9, match
    # planted +-0.25; sampling inflates them
    np.testing.assert_allclose(found["eigenvalue"][0, [0, -1]], [0.25, -0.25], atol=0.06)


def test_with_trials_enough_the_closed_form_is_the_whole_model():
    stimulus, basis = (
        noise(200_000, 6),
        np.linalg.qr(np.random.default_rng(2).normal(size=(6, 6)))[0],
    )
    form = 0.15 * np.outer(basis[0], basis[0]) - 0.2 * np.outer(basis[1], basis[1])
    linear = 0.4 * basis[2]
    drive = ((stimulus @ form) * stimulus).sum(1) + stimulus @ linear - 0.5
    found = insilico.estimate_gqm(stimulus, drawn(np.exp(drive)), max_filter=6)
    np.testing.assert_allclose(found["linear"][0], linear, atol=0.02)
    np.testing.assert_allclose(found["eigenvalue"][0], [0.15, 0, 0, 0, 0, -0.2], atol=0.02)
    assert found["offset"][0] == pytest.approx(-0.5, abs=0.02)


def test_the_closed_form_is_that_of_the_fitted_twin(quadratic):
    _, _, recording = quadratic
    found = insilico.estimate_gqm(*arrays(recording), max_filter=1)
    solved = fitting.solve_quadratic(recording, n_excitatory=1, n_suppressive=1)
    # that of the twin is in standard deviations of the pixels
    value = solved.filters.detach()[0, 1:].flatten(1).norm(dim=1).square() / solved.spec.std**2
    np.testing.assert_allclose(found["eigenvalue"][0, [0, -1]] * [1, -1], value, rtol=1e-3)
    for name, filter_ in zip(
        ("linear", "excitatory", "suppressive"), solved.filters[0], strict=True
    ):
        field = found[name][0].reshape(-1)
        filter_ = filter_.detach().numpy().ravel()
        cosine = field @ filter_ / np.linalg.norm(field) / np.linalg.norm(filter_)
        assert abs(cosine) > 0.9999


def test_a_model_without_quadratic_form_is_the_average():
    stimulus, (filter_, _) = noise(20_000, 64), quadrature(8, 8, 3.5, 3.5, 1.5)
    response = drawn(np.exp(0.6 * stimulus @ filter_))
    model = insilico.estimate_gqm(stimulus, response)
    average = insilico.estimate_stc(stimulus, response, **SHUFFLES)
    assert (
        np.abs(model["eigenvalue"]).max() < 0.12
    )  # half of 2 sqrt(p / n) and the tail of weights
    cosine = model["linear"][0] @ average["sta"][0]
    cosine /= np.linalg.norm(model["linear"][0]) * np.linalg.norm(average["sta"][0])
    assert cosine > 0.98
    assert np.linalg.norm(model["linear"][0]) == pytest.approx(0.6, rel=0.1)


def test_covariance_tells_what_excites_from_what_suppresses(quadratic):
    _, (linear, excite, suppress), recording = quadratic
    found = insilico.estimate_stc(*arrays(recording), **SHUFFLES)
    assert (found["n_excitatory"][0], found["n_suppressive"][0]) == (1, 1)
    assert abs(found["excitatory"][0, 0] @ excite) > 0.9
    assert abs(found["suppressive"][0, 0] @ suppress) > 0.9
    assert found["sta"][0] @ linear / np.linalg.norm(found["sta"][0]) > 0.9


def test_correlated_stimuli_are_whitened():
    white, pair = noise(40_000, 64), quadrature(8, 8, 3.5, 3.5, 1.5)
    mix = np.linalg.cholesky(0.8 ** np.abs(np.subtract.outer(np.arange(64), np.arange(64))))
    stimulus = white @ mix.T.astype(np.float32)
    drive = stimulus @ pair.T
    found = insilico.estimate_stc(
        stimulus, drawn(((drive / drive.std(0)) ** 2).sum(1)), **SHUFFLES
    )
    assert found["n_excitatory"][0] == 2
    assert subspace_cosines(found["excitatory"][0, :2], pair).min() > 0.93


def test_the_axes_of_a_twin_are_its_quadrature_pair(closed_form):
    twin = closed_form.condition()
    stc = insilico.measure_twin_stc(twin, [0, 1, 2, 3], n_image=8000, **SHUFFLES)
    assert stc.n_excitatory.values[:2].tolist() == [0, 2]
    assert stc.valid.values.tolist() == [1, 1, 0, 0]
    assert np.isnan(stc.eigenvalue[2:]).all()
    axes = stc.excitatory.values[1, :2, 0]
    assert np.isfinite(axes).sum() == 2 * 16 * 16
    pair = closed_form.truth["filters"][1].reshape(2, -1)
    assert subspace_cosines(np.nan_to_num(axes).reshape(2, -1), pair).min() > 0.93
    again = insilico.measure_twin_stc(twin, [1], n_image=8000, **SHUFFLES)
    xr.testing.assert_allclose(stc.isel(neuron=[1]), again, rtol=1e-3, atol=1e-4)


def test_the_quadratic_model_of_a_twin_and_its_way_to_disk(closed_form, tmp_path):
    gqm = insilico.measure_twin_gqm(closed_form.condition(), [1, 2], n_image=10_000)
    pair = closed_form.truth["filters"][1].reshape(2, -1)
    axes = np.nan_to_num(gqm.excitatory.values[0, :2, 0]).reshape(2, -1)
    assert subspace_cosines(axes, pair).min() > 0.93
    assert gqm.valid.values.tolist() == [1, 0]
    xr.testing.assert_identical(open_result(save_result(gqm, tmp_path / "gqm.nc")), gqm)


@pytest.fixture(scope="module")
def noise_recording(closed_form):
    """Poisson counts of the five neurons to 5,000 noise images."""
    images = noise(5000, 480).reshape(-1, 1, 20, 24) * 55 + 110
    return simulation.record_twin(closed_form, images, n_validation=100, n_test=0)


def test_recorded_axes_agree_with_the_twins(noise_recording, closed_form):
    recorded = insilico.measure_stc(
        noise_recording, [1, 3], window=14, kept_variance=1.0, **SHUFFLES
    )
    assert recorded.n_excitatory.values[0] == 2
    assert recorded.valid.values.tolist() == [1, 0]
    pair = closed_form.truth["filters"][1].reshape(2, -1)
    axes = np.nan_to_num(recorded.excitatory.values[0, :2, 0]).reshape(2, -1)
    assert subspace_cosines(axes, pair).min() > 0.9
    gqm = insilico.measure_gqm(noise_recording, [1], window=12, kept_variance=1.0)
    axes = np.nan_to_num(gqm.excitatory.values[0, :2, 0]).reshape(2, -1)
    assert subspace_cosines(axes, pair).min() > 0.9


def test_trials_of_one_image_are_averaged_and_missing_ones_left_out(noise_recording):
    twice = xr.concat([noise_recording, noise_recording], "trial", data_vars="minimal")
    twice.response[: noise_recording.sizes["trial"] // 2, 1] = np.nan
    settings = {"window": 6, "kept_variance": 1.0}
    once = insilico.measure_gqm(noise_recording, [1], **settings)
    xr.testing.assert_allclose(insilico.measure_gqm(twice, [1], **settings), once, rtol=1e-4)


@pytest.mark.parametrize("n_given", [0, 1, 2, 30])
@pytest.mark.parametrize(
    ("measure", "settings"),
    [
        (insilico.measure_stc, SHUFFLES | {"kept_variance": 1.0}),
        (insilico.measure_gqm, {"kept_variance": 1.0}),
        (insilico.measure_lnp, {"folds": 35, "penalty": [1.0]}),
    ],
)
def test_a_neuron_with_too_few_responses_has_none_and_spoils_no_other(
    noise_recording, measure, settings, n_given
):
    recording = noise_recording.isel(trial=slice(0, 300)).copy(deep=True)
    recording.response[n_given:, 2] = np.nan
    settings = settings | {"window": 6}
    found = measure(recording, [2, 1], **settings)
    assert found.valid.values.tolist() == [0, 1]
    for name, values in found.data_vars.items():
        assert name == "valid" or np.isnan(values[0]).all()
    xr.testing.assert_identical(found.isel(neuron=[1]), measure(recording, [1], **settings))
    with pytest.raises(InputError):
        measure(recording, [2], **settings)


def test_fields_of_recording_and_twin_are_correlated_by_neuron(noise_recording, closed_form):
    twin = closed_form.condition()
    recorded = insilico.measure_sta(noise_recording, ridge=[1.0], folds=2)
    measured = insilico.measure_twin_sta(twin, [3, 1, 0], n_image=2000, folds=2)
    both = insilico.compare_fields(recorded, measured)
    assert both.neuron_id.values.tolist() == [100, 101, 103]
    assert float(both.correlation[0]) > 0.7  # 480 pixels from 5,000 Poisson counts
    assert abs(float(both.correlation[1])) < 0.5
    assert both.valid.values.tolist() == [1, 1, 0]
    assert np.isnan(both.correlation[2])
    expected = np.corrcoef(
        recorded.receptive_field[0].values.ravel(), measured.receptive_field[2].values.ravel()
    )[0, 1]
    assert float(both.correlation[0]) == pytest.approx(expected, abs=1e-5)
    itself = insilico.compare_fields(measured, measured)
    np.testing.assert_allclose(itself.correlation[1:], 1.0, atol=1e-6)


def test_a_true_twin_has_the_recorded_field_under_the_recorded_images(cortex, recording):
    predicted = twins.predict_responses(cortex.as_twin(), recording)
    settings = {"ridge": [10.0], "folds": 2}
    fields = [
        insilico.measure_sta(shown, **settings)
        for shown in (recording, recording.assign(response=predicted))
    ]
    correlation = insilico.compare_fields(*fields).correlation.values
    others = insilico.compare_fields(
        fields[0], fields[1].assign(receptive_field=fields[1].receptive_field[::-1])
    ).correlation.values
    assert np.median(correlation) > np.median(others) + 0.2


def test_wrong_requests_are_told_what_is_right(closed_form, noise_recording):
    twin = closed_form.condition()
    stimulus, response = noise(50, 10), np.ones((50, 1))
    for estimate in (insilico.estimate_stc, insilico.estimate_gqm):
        with pytest.raises(InputError, match="many more stimuli .*, but 8 stimuli vary along 7"):
            estimate(stimulus[:8], response[:8])
        with pytest.raises(InputError, match="`kept_variance` must be above 0 .* but got 1.5"):
            estimate(stimulus, response, kept_variance=1.5)
        with pytest.raises(InputError, match="`max_filter` must be at least 1.* but got 0"):
            estimate(stimulus, response, max_filter=0)
    with pytest.raises(InputError, match="`n_shuffle` must be at least 99, .* but got 20"):
        insilico.measure_twin_stc(twin, n_shuffle=20)
    with pytest.raises(InputError, match="must not be negative, but the smallest is -1"):
        insilico.estimate_gqm(stimulus, -response)
    with pytest.raises(InputError, match="`window` must be at least 1 pixel"):
        insilico.measure_gqm(noise_recording, window=0)
    with pytest.raises(InputError, match="`n_image` of at least 2 and a positive `contrast`"):
        insilico.measure_twin_gqm(twin, contrast=0.0)
    no_trial = noise_recording.isel(trial=slice(3)).assign_coords(split=("trial", ["test"] * 3))
    with pytest.raises(InputError, match="No trial of the splits train and validation"):
        insilico.measure_stc(no_trial)
    video = xr.Dataset({"stimulus": ("video", [0])})
    with pytest.raises(InputError, match="recording of images, but this one is of videos"):
        insilico.measure_stc(video)
    sta = insilico.measure_receptive_field(twin, n_image=2)
    with pytest.raises(InputError, match="`twin` has no variable `receptive_field`"):
        insilico.compare_fields(sta, sta.drop_vars("receptive_field"))
    with pytest.raises(InputError, match="No neuron is in both results"):
        insilico.compare_fields(sta.isel(neuron=[0]), sta.isel(neuron=[1]))
    with pytest.raises(InputError, match="differ in shape"):
        insilico.compare_fields(sta, sta.isel(x=slice(5)))


def test_a_shuffle_can_be_stopped():
    class Stop(Job):
        def report(self, fraction, message=None, preview=None):
            if message and "shuffle 5" in message:
                self.cancel()
            super().report(fraction, message, preview)

    with pytest.raises(Cancelled):
        insilico.estimate_stc(noise(500, 9), drawn(np.ones(500)), job=Stop(), **SHUFFLES)
