"""Reconstruction against closed forms: ridge, Wiener filter, mean of a Gaussian posterior."""

import copy

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.optimize import minimize

from twinlab import insilico, schema, twins
from twinlab.schema import InputError
from twinlab.simulation import KINDS, SimulatedCortex

HEIGHT, WIDTH, N_NEURON = 6, 8, 30
WIDE = twins.StimulusSpec(1, HEIGHT, WIDTH, 110.0, 20.0, low=-1e6, high=1e6)


@pytest.fixture(scope="module")
def filters():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N_NEURON, HEIGHT * WIDTH)) / np.sqrt(HEIGHT * WIDTH)


def make_linear(filters, spec=WIDE):
    return linear_twin(filters, spec).condition()


def linear_twin(filters, spec=WIDE):
    weight = torch.as_tensor(filters)

    def answer(images):
        z = ((images.double() - spec.mean) / spec.std).flatten(1)
        return 50 + z @ weight.T

    return twins.wrap_callable(answer, spec, len(filters), name="callable")


@pytest.fixture(scope="module")
def planted(filters):
    """A recording of white Gaussian images by linear neurons with Gaussian noise, sd 0.5."""
    rng = np.random.default_rng(1)
    n_train, n_test, n_repeat = 20_000, 20, 4
    z = rng.standard_normal((n_train + n_test, HEIGHT * WIDTH)).astype(np.float32)
    index = np.r_[np.arange(n_train), np.repeat(n_train + np.arange(n_test), n_repeat)]
    response = 50 + z[index] @ filters.T
    response = response + 0.5 * rng.standard_normal(response.shape)
    return schema.make_recording(
        stimulus=(110 + 20 * z).reshape(-1, 1, HEIGHT, WIDTH),
        response=response,
        trial={
            "stimulus_index": index,
            "image_id": index,
            "split": np.where(index < n_train, "train", "test"),
        },
        neuron={"neuron_id": np.arange(N_NEURON), "session": ["callable"] * N_NEURON},
    )


def test_linear_reconstruction_is_the_wiener_filter(planted, filters):
    result = insilico.reconstruct_linear(planted)
    response = planted.response.values[20_000:].reshape(20, 4, -1).mean(1) - 50
    # learned from single trials, used on means of four, as a decoder is
    covariance = filters @ filters.T + 0.25 * np.eye(N_NEURON)
    wiener = response @ np.linalg.solve(covariance, filters)
    found = (result.reconstruction.values.reshape(20, -1) - 110) / 20
    assert np.abs(found - wiener).max() < 0.1
    assert np.corrcoef(found.ravel(), wiener.ravel())[0, 1] > 0.998
    assert (result.correlation > result.null_interval[:, 1]).all()
    assert abs(result.null_interval.values.mean()) < 0.05
    low, high = result.mean_null_interval.values
    assert low < 0 < high < 0.3 * float(result.mean_correlation)
    assert float(result.p_value) < 0.002


def test_linear_reconstruction_is_the_closed_form_of_ridge(planted):
    few = planted.isel(trial=np.r_[0:200, 20_000:20_080])
    result = insilico.reconstruct_linear(few, ridge=[0.3])
    r = few.response.values[:200].astype(float)
    x = few.stimulus.values[:200].reshape(200, -1).astype(float)
    scaled = (r - r.mean(0)) / r.std(0)
    strength = 0.3 * (np.linalg.svd(scaled)[1] ** 2).sum() / N_NEURON
    weight = np.linalg.solve(
        scaled.T @ scaled + strength * np.eye(N_NEURON), scaled.T @ (x - x.mean(0))
    )
    test = few.response.values[200:].reshape(20, 4, -1).mean(1, dtype=float)
    expected = (test - r.mean(0)) / r.std(0) @ weight + x.mean(0)
    np.testing.assert_allclose(
        result.reconstruction.values.reshape(20, -1), expected, rtol=0, atol=1e-3
    )


def test_shuffled_responses_tell_nothing(planted):
    few = planted.isel(trial=np.r_[0:3000, 20_000:20_080])
    rng = np.random.default_rng(0)
    wrong = few.copy(deep=True)
    wrong.response[:3000] = wrong.response.values[:3000][rng.permutation(3000)]
    result = insilico.reconstruct_linear(wrong)
    low, high = result.mean_null_interval.values
    assert low < float(result.mean_correlation) < high
    assert float(result.p_value) > 0.05


def test_of_three_images_no_p_value_is_below_one_in_six(planted):
    few = planted.isel(trial=np.r_[0:3000, 20_000:20_012])
    result = insilico.reconstruct_linear(few)
    assert (result.correlation > 0.5).all()
    assert float(result.p_value) == pytest.approx(1 / 6)


def test_flat_images_and_flat_reconstructions_have_no_part(planted):
    few = planted.isel(trial=np.r_[0:3000, 20_000:20_080])
    flat = few.copy(deep=True)
    flat.stimulus[20_000] = 110
    result = insilico.reconstruct_linear(flat)
    assert np.isnan(result.correlation[0])
    assert np.isnan(result.null_interval[0]).all()
    assert float(result.mean_correlation) == pytest.approx(result.correlation[1:].values.mean())
    assert np.isfinite(result.mean_null_interval).all()
    assert float(result.p_value) < 0.002
    flat.stimulus[20_000:] = 110
    result = insilico.reconstruct_linear(flat)
    assert np.isnan([float(result.mean_correlation), float(result.p_value)]).all()


@pytest.mark.parametrize("prior", ["white", "natural"])
def test_gradient_reconstruction_of_a_linear_twin_is_the_posterior_mean(filters, prior):
    twin = make_linear(filters)
    rng = np.random.default_rng(2)
    response = 50 + rng.standard_normal((5, N_NEURON))
    variance = rng.uniform(0.2, 1.0, N_NEURON)
    found, converged = insilico.invert_responses(
        twin, response, variance, prior=prior, n_step=2000, tolerance=1e-6
    )
    y, x = np.fft.fftfreq(HEIGHT)[:, None], np.fft.fftfreq(WIDTH)
    power = 1 / np.maximum(x**2 + y**2, 1 / WIDTH**2)
    power = np.ones_like(power) if prior == "white" else power / power.mean()
    basis = np.eye(HEIGHT * WIDTH).reshape(-1, HEIGHT, WIDTH)
    precision = np.fft.ifft2(np.fft.fft2(basis) / power).real.reshape(HEIGHT * WIDTH, -1)
    weighted = filters.T / variance
    expected = np.linalg.solve(weighted @ filters + precision, weighted @ (response - 50).T).T
    assert converged.all()
    assert np.abs((found.reshape(5, -1) - 110) / 20 - expected).max() < 4e-6


def test_many_neurons_with_little_noise_tell_the_image():
    rng = np.random.default_rng(0)
    many = rng.standard_normal((200, HEIGHT * WIDTH)) / np.sqrt(HEIGHT * WIDTH)
    z = rng.standard_normal((20, HEIGHT * WIDTH))
    drive = z @ many.T + 0.15 * rng.standard_normal((20, 200))
    found, _ = insilico.invert_responses(
        make_linear(many), 50 + drive, np.full(200, 0.15**2),
        prior="white", n_step=3000, tolerance=1e-7,
    )  # fmt: skip
    read = (found.reshape(20, -1) - 110) / 20
    precision = many.T @ many + 0.15**2 * np.eye(HEIGHT * WIDTH)
    np.testing.assert_allclose(read, np.linalg.solve(precision, many.T @ drive.T).T, atol=2e-6)
    match = [np.corrcoef(one, other)[0, 1] for one, other in zip(read, z, strict=True)]
    assert np.mean(match) == pytest.approx(0.997, abs=2e-3)


def test_range_and_norm_are_kept_to(filters):
    spec = twins.StimulusSpec(1, HEIGHT, WIDTH, 110.0, 20.0, low=90.0, high=140.0)
    twin = make_linear(5 * filters, spec)
    rng = np.random.default_rng(3)
    response = 50 + 20 * rng.standard_normal((3, N_NEURON))
    found, _ = insilico.invert_responses(twin, response, np.ones(N_NEURON))
    assert found.min() == 90
    assert found.max() == 140
    small, converged = insilico.invert_responses(twin, response, np.ones(N_NEURON), norm=2.0)
    length = np.linalg.norm(((small - 110) / 20).reshape(3, -1), axis=1)
    np.testing.assert_allclose(length, 2.0, atol=1e-3)
    assert converged.all()


def test_range_and_norm_together_leave_the_best_image(filters):
    """Against SLSQP, where pixels at the end of the range make room in the norm for others."""
    spec = twins.StimulusSpec(1, HEIGHT, WIDTH, 110.0, 20.0, low=100.0, high=120.0)
    twin = make_linear(filters, spec)
    response = 50 + 3 * np.random.default_rng(4).standard_normal((1, N_NEURON))
    norm, variance = 2.5, np.full(N_NEURON, 0.01)
    found, converged = insilico.invert_responses(
        twin, response, variance, prior="white", norm=norm, n_step=2000, tolerance=1e-6
    )

    def energy(z):
        misfit = filters @ z + 50 - response[0]
        slope = filters.T @ (misfit / variance) + z
        return ((misfit**2 / variance).sum() + z @ z) / 2, slope

    best = minimize(
        energy, np.zeros(HEIGHT * WIDTH), jac=True, method="SLSQP", bounds=[(-0.5, 0.5)] * 48,
        constraints={"type": "ineq", "fun": lambda z: norm**2 - z @ z, "jac": lambda z: -2 * z},
        options={"maxiter": 500, "ftol": 1e-12},
    )  # fmt: skip
    z = (found.reshape(-1) - 110) / 20
    assert converged.all()
    assert 1 < (np.abs(best.x) > 0.4999).sum() < 40
    assert np.linalg.norm(z) == pytest.approx(norm, rel=1e-4)
    np.testing.assert_allclose(z, best.x, atol=2e-4)


MEMBERS = (1, 2, 4, 8)


def test_ensembles_of_linear_twins_help_monotonically(planted, filters):
    """Members know the filters with errors of their own, as large as the filters."""
    rng = np.random.default_rng(5)
    wrong = filters + rng.standard_normal((8, *filters.shape)) / np.sqrt(HEIGHT * WIDTH)
    members = [linear_twin(one) for one in wrong]
    response = planted.response.values[20_000:].reshape(20, 4, -1).mean(1) - 50
    variance = planted.response.values[20_000:].reshape(20, 4, -1).var(1, ddof=1).mean(0) / 4
    found = {}
    for n in MEMBERS:
        ensemble = twins.EnsembleTwin(members[:n]).condition()
        result = insilico.reconstruct_from_twin(ensemble, planted, prior="white", n_step=500)
        found[n] = float(result.mean_correlation)
        # The posterior mean under the mean of the members' filters.
        weight = wrong[:n].mean(0)
        inverse = np.linalg.inv(weight @ weight.T + np.diag(variance))
        z = (result.reconstruction.values.reshape(20, -1) - 110) / 20
        assert np.abs(z - response @ inverse @ weight).max() < 0.02
    truth = insilico.reconstruct_from_twin(make_linear(filters), planted, prior="white")
    assert np.diff([*found.values(), float(truth.mean_correlation)]).min() > 0.03


def perturb(cortex_twin, seed):
    """The simulated cortex with noise added to each filter, of 0.7 times its norm."""
    member = copy.deepcopy(cortex_twin)
    generator = torch.Generator().manual_seed(seed)
    for kind in KINDS:
        filters = getattr(member, f"filters_{kind}")
        noise = torch.randn(filters.shape, generator=generator)
        length = filters.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
        filters += 0.7 * length * noise
    return member


def test_ensembles_read_more_of_what_others_saw_the_more_members_they_have():
    truth = SimulatedCortex(seed=0, n_neuron=100, height=24, width=24).as_twin()
    members = [perturb(truth, seed) for seed in range(8)]
    asked = {"n_image": 12, "n_repeat": 50, "n_step": 60, "responder": truth.condition()}
    found = [
        float(insilico.measure_reconstruction(twin.condition(), **asked).mean_correlation)
        for twin in (*(twins.EnsembleTwin(members[:n]) for n in MEMBERS), truth)
    ]
    assert np.diff(found[:-1]).min() > 0.01
    assert found[-2] < found[-1]  # the truth itself reads most
    own = asked | {"responder": None}
    itself = insilico.measure_reconstruction(truth.condition(), **own)
    assert float(itself.mean_correlation) == found[-1]
    # A member that reads its own responses does not notice what it has wrong.
    flattered = insilico.measure_reconstruction(members[0].condition(), **own)
    assert flattered.mean_correlation > found[0] + 0.04


def test_who_responds_is_the_same_population(filters):
    twin = make_linear(filters)
    half = twins.StimulusSpec(1, HEIGHT, WIDTH // 2, 110.0, 20.0)
    with pytest.raises(InputError, match="`responder` lacks 1 of the 30"):
        insilico.measure_reconstruction(twin, responder=make_linear(filters[1:]))
    with pytest.raises(InputError, match="`responder` sees images of"):
        insilico.measure_reconstruction(twin, responder=make_linear(filters[:, ::2], half))


def test_trials_shuffled_against_their_images_are_read_as_nothing(planted, filters):
    twin, test = make_linear(filters), planted.isel(trial=slice(20_000, None))
    right = insilico.reconstruct_from_twin(twin, test, prior="white")
    assert right.mean_correlation > 0.6
    trials = test.response.values.reshape(20, 4, -1)
    found = []
    for far in range(4):
        # Each image is given four trials, each of another image that is not its own.
        shuffled = [np.roll(trials[:, repeat], 1 + repeat + 4 * far, 0) for repeat in range(4)]
        wrong = test.copy(deep=True)
        wrong.response[:] = np.stack(shuffled, 1).reshape(80, -1)
        found.append(insilico.reconstruct_from_twin(twin, wrong, prior="white"))
    assert abs(np.mean([one.mean_correlation for one in found])) < 0.05
    assert min(one.p_value for one in found) > 0.05


@pytest.fixture(scope="module")
def simulated(cortex):
    return cortex.as_twin().condition()


def test_images_are_read_from_what_a_twin_predicts_and_more_neurons_help():
    simulated = SimulatedCortex(seed=0, n_neuron=150).as_twin().condition()
    asked = {"n_image": 6, "n_step": 60, "n_repeat": 100}
    found = [
        insilico.measure_reconstruction(simulated, np.arange(n), **asked) for n in (10, 40, 150)
    ]
    few, more, most = (float(one.mean_correlation) for one in found)
    assert few < more < most
    assert most > 1.5 * found[-1].mean_null_interval[1]
    assert (found[-1].response_correlation > 0.9).all()
    again = insilico.measure_reconstruction(simulated, **asked)
    xr.testing.assert_identical(again, found[-1])


def test_recorded_images_are_read_through_the_twin(simulated, recording):
    result = insilico.reconstruct_from_twin(simulated, recording, n_step=40)
    assert result.sizes["image"] == 30
    assert float(result.mean_correlation) > result.mean_null_interval[1]
    assert float(result.p_value) < 0.01
    np.testing.assert_array_equal(
        result.original, recording.stimulus.values[result.stimulus_index.values]
    )
    once = recording.isel(trial=recording.split.values == "train")
    with pytest.raises(InputError, match="is repeated"):
        insilico.reconstruct_from_twin(simulated, once, split="train")
    with pytest.raises(InputError, match="lacks 1 of"):
        insilico.reconstruct_from_twin(simulated, recording.isel(neuron=slice(1, None)))


def test_silent_neurons_are_marked_and_left_out(filters):
    mute = filters.copy()
    mute[2] = 0
    weight = torch.as_tensor(mute)
    spec = twins.StimulusSpec(1, HEIGHT, WIDTH, 110.0, 20.0)
    twin = twins.wrap_callable(
        lambda images: (((images.double() - 110) / 20).flatten(1) @ weight.T).square(), spec, 30
    ).condition()
    result = insilico.measure_reconstruction(twin, n_image=3, n_step=5)
    assert result.valid.values.tolist() == [1, 1, 0] + [1] * 27


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"n_image": 2}, "`n_image` of 3 or more"),
        ({"prior": "flat"}, "`prior` must be one of"),
        ({"norm": 0.0}, "must be positive"),
        ({"n_step": 0}, "must be positive"),
    ],
)
def test_bad_settings_are_named(simulated, changes, complaint):
    with pytest.raises(InputError, match=complaint):
        insilico.measure_reconstruction(simulated, **changes)
