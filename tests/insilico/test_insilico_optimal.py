"""Objectives, constraints and priors against closed forms; least exciting inputs."""

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import insilico, simulation, stimuli, twins
from twinlab.insilico import constraints, objectives, priors
from twinlab.schema import InputError


@pytest.fixture(scope="module")
def quiet(closed_form):
    return closed_form.condition()


def noise(quiet, n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *quiet.spec.shape, generator=generator)


def grey(quiet, z):
    return z * quiet.spec.std + quiet.spec.mean


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


# least exciting inputs


@pytest.fixture(scope="module")
def lei(quiet):
    return insilico.synthesize_lei(quiet, n_start=3)


def test_lei_of_a_linear_nonlinear_neuron_is_minus_its_filter_and_unique(lei, closed_form):
    assert correlation(lei.lei[0], closed_form.truth["filters"][0, 0]) < -0.99
    assert lei.unique[0] == 1
    assert lei.activation[0] < lei.grey_activation[0]


def test_an_energy_neuron_has_no_unique_minimum(lei):
    assert (lei.unique[[1, 4]] == 0).all()
    assert (lei.activation[[1, 4]] < 1e-3).all()  # orthogonal to both filters: as low as can be


def test_neurons_that_nothing_changes_are_marked(lei):
    assert lei.valid.values.tolist() == [1, 1, 0, 0, 1]
    assert np.isnan(lei.lei[2:4]).all()
    assert (lei.unique[2:4] == 0).all()


# objectives


def test_a_population_of_one_is_the_neuron(quiet):
    shown, row = grey(quiet, noise(quiet)), torch.arange(6)
    weight = np.zeros((6, 5))
    weight[np.arange(6), [0, 1, 4, 0, 1, 4]] = 1
    alone = objectives.excite(quiet, [0, 1, 4, 0, 1, 4])(shown, row)
    together = objectives.excite_population(quiet, weight)(shown, row)
    assert torch.allclose(alone, together, atol=1e-5)
    assert torch.equal(objectives.suppress(quiet, [0, 1, 4, 0, 1, 4])(shown, row), -alone)


def test_rows_that_are_left_keep_their_own_neurons(quiet):
    shown = grey(quiet, noise(quiet))
    exciting = objectives.excite(quiet, [0, 1, 4, 0, 1, 4])
    whole = exciting(shown, torch.arange(6))
    some = torch.tensor([1, 5])
    assert torch.allclose(exciting(shown[some], some), whole[some])


def test_separation_of_groups_is_the_log_softmax_of_their_means(quiet):
    shown, row = grey(quiet, noise(quiet)), torch.arange(6)
    group, own = np.array([0, 1, -1, -1, 1]), np.array([0, 1, 0, 1, 0, 1])
    found = objectives.separate_groups(quiet, group, own, temperature=0.5)(shown, row)
    rate = quiet(shown)
    mean = torch.stack([rate[:, 0], rate[:, [1, 4]].mean(1)], 1) / 0.5
    expected = torch.log_softmax(mean, 1)[row, torch.as_tensor(own)]
    assert torch.allclose(found, expected, atol=1e-5)


def test_objectives_add_up(quiet):
    shown, row = grey(quiet, noise(quiet)), torch.arange(6)
    one, other = objectives.excite(quiet, [0] * 6), objectives.excite(quiet, [1] * 6)
    both = objectives.add_objectives(one, other, weights=(1, -2))(shown, row)
    assert torch.allclose(both, one(shown, row) - 2 * other(shown, row))


def test_tolerance_of_shifts_is_the_mean_over_moved_images(quiet):
    row = torch.arange(2)
    image = torch.full((2, 1, 20, 24), 110.0)
    image[:, :, 8:12, 9:15] += grey(quiet, noise(quiet, 2))[:, :, 8:12, 9:15] - 110.0
    exciting = objectives.excite(quiet, [0, 1])
    moved = [
        exciting(torch.roll(image, (down, right), (2, 3)), row)
        for down in (-2, 0, 2)
        for right in (-2, 0, 2)
    ]
    found = objectives.tolerate_shifts(exciting, 2, 110.0)(image, row)
    assert torch.allclose(found, torch.stack(moved).mean(0), atol=1e-4)


def test_natural_images_look_natural_and_white_noise_does_not(quiet):
    natural = stimuli.make_dead_leaves(40, 20, 24, seed=0).values.astype(np.float32)
    likely = objectives.look_natural(natural, quiet.spec)
    own = likely(torch.as_tensor(natural), torch.arange(40))
    assert own.mean() == pytest.approx(-0.5, abs=1e-3)
    white = grey(quiet, noise(quiet))
    assert likely(white, torch.arange(6)).max() < 3 * own.mean()


# constraints


def test_each_constraint_holds_exactly_after_it(quiet):
    z, row = noise(quiet) + 0.3, torch.arange(6)
    held = constraints.fix_norm(5.0)(z, row)
    assert torch.allclose(held.flatten(1).norm(dim=1), torch.tensor(5.0))
    assert held.mean((1, 2, 3)).abs().max() < 1e-6
    assert constraints.limit_norm(5.0)(0.01 * z, row).allclose(0.01 * z)
    assert constraints.limit_norm(5.0)(z, row).flatten(1).norm(dim=1).max() < 5.0001
    rms = grey(quiet, constraints.fix_contrast(0.2, quiet.spec)(z, row)).flatten(1)
    assert torch.allclose(rms.std(1, correction=0) / 110.0, torch.tensor(0.2))
    shown = grey(quiet, constraints.keep_range(quiet.spec)(9 * z, row))
    assert shown.min() >= quiet.spec.low - 1e-3
    assert shown.max() <= quiet.spec.high + 1e-3
    wanted = np.abs(np.fft.fft2(noise(quiet, 1, seed=1)[0, 0].numpy()))
    spectrum = torch.fft.fft2(constraints.fix_spectrum(wanted)(z, row)).abs()
    assert np.allclose(spectrum[:, 0].numpy(), wanted, rtol=1e-3, atol=1e-3)


def test_a_mask_of_each_stimulus_stays_with_it(quiet):
    mask = np.zeros((3, 20, 24))
    for number in range(3):
        mask[number, number] = 1
    some = torch.tensor([2, 0])
    held = constraints.keep_inside(mask)(noise(quiet, 2), some)
    assert (held != 0).any(3)[0, 0].nonzero().tolist() == [[2]]
    assert (held != 0).any(3)[1, 0].nonzero().tolist() == [[0]]


def test_mei_under_a_mask_is_the_filter_there(quiet, closed_form):
    mask = np.zeros((20, 24))
    mask[5:15, 8:16] = 1
    held = (constraints.keep_inside(mask), constraints.limit_norm(3.0))
    mei = insilico.synthesize_mei(quiet, [0], constraints=held, blur_sigma=0.0, n_start=2)
    inside = closed_form.truth["filters"][0, 0] * mask
    assert correlation(mei.mei[0] - 110.0, inside) > 0.999


# priors


@pytest.mark.parametrize(
    "prior", [priors.blur_gradient(1.5), priors.weigh_frequencies(1.0)], ids=["blur", "fourier"]
)
def test_priors_are_symmetric_and_lead_up(quiet, prior):
    a, b = noise(quiet, 3), noise(quiet, 3, seed=1)
    assert torch.allclose((prior(a) * b).sum(), (a * prior(b)).sum(), rtol=1e-4)
    assert ((prior(a) * a).sum((1, 2, 3)) > 0).all()


def test_jitter_and_fourier_parametrisation_combine(quiet, closed_form):
    mei = insilico.synthesize_mei(quiet, [0], jitter=1, fourier_exponent=1.0, n_start=2)
    assert correlation(mei.mei[0], closed_form.truth["filters"][0, 0]) > 0.9


def test_a_generator_is_climbed_in_its_own_space(quiet, closed_form):
    filters = torch.as_tensor(closed_form.truth["filters"], dtype=torch.float32)
    basis = torch.cat([filters[0, :1], noise(quiet, 4)[:, 0]]).flatten(1)
    basis = torch.linalg.qr(basis.T)[0].T

    def decode(latent):
        return (latent @ basis).view(-1, 1, 20, 24)

    start = np.random.default_rng(0).standard_normal((2, 5))
    mei = insilico.synthesize_mei(quiet, [0], decode=decode, start=start, n_start=2)
    assert correlation(mei.mei[0], filters[0, 0]) > 0.99


def test_published_steps_are_those_of_a_plain_loop(quiet):
    held = (constraints.fix_norm(7.0),)
    blur = priors.blur_gradient(1.0)
    start = noise(quiet, 2)
    ended = insilico.optimize_stimuli(
        objectives.excite(quiet, [0, 1]), start, quiet.spec, constraints=held, prior=blur,
        n_step=20, optimizer="sgd", lr=10.0,
    )  # fmt: skip
    for number, neuron in enumerate((0, 1)):
        z = held[0](start[number : number + 1], torch.arange(1))
        for _ in range(20):
            z = z.detach().requires_grad_()
            quiet(grey(quiet, z))[0, neuron].backward()
            z = held[0](z + 10.0 * blur(z.grad), torch.arange(1))
        assert np.allclose(ended.stimuli[number], grey(quiet, z.detach())[0], atol=1e-3)


# videos


def test_mei_of_a_video_neuron_excites_it_more_than_any_clip():
    cortex = simulation.SimulatedVideoCortex(seed=0, n_neuron=4, height=24, width=32)
    quiet = cortex.as_twin().condition()
    mei = insilico.synthesize_mei(quiet, [0, 1], n_start=1, n_step=20, n_frame=24)
    assert mei.mei.dims == ("neuron", "channel", "frame", "y", "x")
    clips = stimuli.make_dead_leaves_video(8, 24, 32, 0, n_frame=24, frame_rate_hz=30.0).values
    with torch.inference_mode():
        rates = quiet.neurons([0, 1])(torch.as_tensor(clips, dtype=torch.float32))
        own = quiet.paired([0, 1])(torch.as_tensor(mei.mei.values))
    assert np.allclose(own[:, 12:].mean(1), mei.activation, rtol=1e-4)
    assert (mei.activation.values > rates[..., 12:].mean(2).max(0).values.numpy()).all()


# what is refused


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"norm": 0.0}, "norm"),
        ({"jitter": -1}, "jitter"),
        ({"optimizer": "adam"}, "adaptive, sgd"),
        ({"start": np.full((3, 1, 20, 24), np.nan)}, "not finite"),
        ({"decode": lambda z: z}, "start"),
    ],
)
def test_a_setting_out_of_range_is_named(quiet, settings, word):
    with pytest.raises(InputError, match=word):
        insilico.synthesize_mei(quiet, [0], **settings)


def test_an_empty_mask_is_refused():
    with pytest.raises(InputError, match="mask"):
        constraints.keep_inside(np.zeros((20, 24)))


# what was found wrong once


def test_activation_is_a_rate_whatever_was_maximised(quiet):
    natural = stimuli.make_dead_leaves(20, 20, 24, seed=0).values.astype(np.float32)
    for more in ({"jitter": 1}, {"terms": (objectives.look_natural(natural, quiet.spec),)}):
        mei = insilico.synthesize_mei(quiet, [0, 1], n_step=10, n_start=2, **more)
        with torch.inference_mode():
            rate = quiet.paired([0, 1])(torch.as_tensor(mei.mei.values))
        assert np.allclose(mei.activation, rate, rtol=1e-4)
        assert np.abs(mei.objective - mei.start_activation).max() > 1e-3


def test_an_ascent_that_begins_at_its_end_has_not_failed(quiet):
    first = insilico.synthesize_mei(quiet, [1], n_start=1, n_step=300)
    z = (first.mei.values - 110.0) / 55.0
    again = insilico.synthesize_mei(quiet, [1], n_start=1, start=z)
    assert again.valid[0] == 1
    assert float(again.activation[0]) == pytest.approx(float(first.activation[0]), rel=1e-3)


def test_what_a_family_of_images_silences_has_no_unique_minimum():
    spec = twins.StimulusSpec(1, 20, 24, 110.0, 55.0)
    drawn = stimuli.gabor_patches(
        *np.array([[12.0], [10], [30], [1 / 3], [0], [2]]), height=20, width=24
    )
    gabor = torch.as_tensor(drawn, dtype=torch.float32).flatten()
    gabor = (gabor - gabor.mean()) / (gabor - gabor.mean()).norm()
    rectified = twins.wrap_callable(
        lambda x: torch.relu(((x - 110) / 55).flatten(1) @ gabor[:, None] + 1.0), spec, 1
    ).condition()
    lei = insilico.synthesize_lei(rectified, norm=1.5)
    assert lei.activation[0] == 0
    assert lei.unique[0] == 0


def test_masks_that_do_not_fit_are_refused(quiet):
    for mask in (np.ones((10, 24)), np.ones((1, 20, 24))):
        held = (constraints.keep_inside(mask),)
        with pytest.raises(InputError, match="mask"):
            insilico.synthesize_mei(quiet, [0, 1], constraints=held, n_start=1)


def test_second_derivatives_through_a_window_are_refused_not_zero():
    architecture = twins.Architecture(layers=2, hidden=16, input_kernel=5, hidden_kernel=3)
    neurons = quiet_labels(2)
    twin = twins.DeepTwin(architecture, twins.StimulusSpec(1, 36, 64, 110.0, 55.0), neurons)
    paired = twin.eval().requires_grad_(False).condition().paired([0])
    image = torch.full((1, 1, 36, 64), 100.0, requires_grad=True)
    with pytest.raises(RuntimeError, match="neurons"):
        torch.autograd.grad(paired(image).sum(), image, create_graph=True)


def quiet_labels(n):
    return xr.Dataset(
        coords={"neuron_id": ("neuron", np.arange(n)), "session": ("neuron", ["s"] * n)}
    )


def test_neurons_without_numbers_do_not_take_others_down(quiet):
    weight = torch.randn(480, 3, generator=torch.Generator().manual_seed(0))

    def rates(x):
        rate = torch.nn.functional.softplus(((x - 110) / 55).flatten(1) @ weight)
        return torch.cat([torch.full_like(rate[:, :1], torch.nan), rate[:, 1:]], 1)

    twin = twins.wrap_callable(rates, quiet.spec, 3).condition()
    clusters = insilico.cluster_by_stimuli(twin, max_clusters=1, n_step=5)
    assert clusters.valid.values.tolist() == [0, 1, 1]
    image = np.full((1, 20, 24), 110.0, np.float32)
    assert np.isfinite(insilico.measure_eigendistortions(twin, image).eigenvalue[0, 0])


def test_a_batch_of_nothing_is_refused(quiet):
    for size in (0, -1):
        with pytest.raises(InputError, match="batch_size"):
            insilico.synthesize_mei(quiet, [0], batch_size=size)
        with pytest.raises(InputError, match="batch_size"):
            insilico.measure_eigendistortions(quiet, np.full((1, 20, 24), 110.0), batch_size=size)


@pytest.mark.parametrize("norm", [3.0, 7.0, 12.0])
def test_stimuli_that_are_cut_have_the_norm_asked_and_a_gradient_of_it(norm):
    spec = twins.StimulusSpec(1, 6, 6, mean=110.0, std=55.0)
    z = torch.randn(3, 1, 6, 6, dtype=torch.float64, generator=torch.manual_seed(0))
    held = constraints.match_norm(z, norm, spec)
    torch.testing.assert_close(held.flatten(1).norm(dim=1), torch.full((3,), norm).double())
    assert held.min() >= -2
    assert held.max() <= 145 / 55
    if norm > 7:
        assert (held == -2).any()  # or nothing was cut
    assert torch.autograd.gradcheck(
        lambda z: constraints.match_norm(z, norm, spec), (z.requires_grad_(),), atol=1e-4
    )
    most = constraints.match_norm(z, 100.0, spec)  # more than can be: all at a limit
    assert ((most == -2) | (most == 145 / 55)).all()
