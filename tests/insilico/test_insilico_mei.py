import json

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import insilico, twins
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError, open_result, save_result
from twinlab.simulation import SimulatedCortex
from twinlab.stimuli import make_dead_leaves
from twinlab.twins import StimulusSpec


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@pytest.fixture(scope="module")
def mei(closed_form):
    return insilico.synthesize_mei(closed_form.condition(), norm=4.0)


@pytest.fixture(scope="module")
def natural():
    return make_dead_leaves(150, 20, 24, seed=7).values


@pytest.fixture(scope="module")
def examined(mei, closed_form, rival, natural):
    return insilico.cross_examine(mei, closed_form.condition(), rival.condition(), natural)


def test_mei_of_a_linear_nonlinear_neuron_is_its_filter(mei, closed_form):
    assert correlation(mei.mei[0], closed_form.truth["filters"][0, 0]) > 0.9995
    # norm 4 along a filter of unit norm
    assert float(mei.activation[0]) == pytest.approx(np.log1p(np.exp(4)), rel=1e-3)


def test_every_start_reaches_the_full_energy_of_a_complex_neuron_at_its_own_phase(closed_form):
    twin = closed_form.condition()
    mei = insilico.synthesize_mei(twin, [1], norm=4.0, n_start=8)
    np.testing.assert_allclose(mei.start_activation, 16.0, rtol=1e-3)
    phases = []
    for seed in range(6):
        image = insilico.synthesize_mei(twin, [1], norm=4.0, n_start=1, seed=seed).mei[0]
        even, odd = closed_form.truth["filters"][1]
        phases.append(np.arctan2((odd * image[0]).sum(), (even * image[0]).sum()))
    assert np.ptp(phases) > 1


def test_a_start_without_gradient_is_reported_and_never_an_image(mei):
    assert (mei.failed[[2, 3]] == 1).all()
    assert np.isnan(mei.mei[[2, 3]]).all()
    assert np.isnan(mei.activation[3])
    assert (mei.failed[[0, 1, 4]] == 0).all()


def test_image_has_the_mean_and_norm_that_were_asked(mei, closed_form):
    alive = mei.isel(neuron=[0, 1, 4])
    np.testing.assert_allclose(alive.norm, 4.0, rtol=1e-4)
    np.testing.assert_allclose(alive.mei.mean(("channel", "y", "x")), 110, atol=1e-2)
    assert (alive.clipped_fraction == 0).all()


def test_pixels_stay_within_the_display_and_the_cut_is_reported(closed_form):
    mei = insilico.synthesize_mei(closed_form.condition(), [0, 1], norm=20.0, n_step=40)
    assert float(mei.mei.min()) >= -1e-3
    assert float(mei.mei.max()) <= 255 + 1e-3
    assert float(mei.clipped_fraction.min()) > 0
    assert float(mei.norm.max()) < 20.1


def test_activation_is_what_the_twin_says_of_the_image(mei, closed_form):
    rate = closed_form.condition().paired([0, 1, 4])(torch.as_tensor(mei.mei.values[[0, 1, 4]]))
    np.testing.assert_allclose(mei.activation[[0, 1, 4]], rate, rtol=1e-4)


def test_mei_does_not_depend_on_chunks_or_on_who_else_is_asked(mei, closed_form):
    twin = closed_form.condition()
    some = insilico.synthesize_mei(twin, [4, 0], norm=4.0, batch_size=4)
    xr.testing.assert_allclose(mei.isel(neuron=[4, 0]), some, rtol=1e-2, atol=0.05)
    narrowed = insilico.synthesize_mei(twin.neurons([4, 0]), norm=4.0, batch_size=4)
    xr.testing.assert_allclose(some, narrowed, rtol=1e-2, atol=0.05)


def test_the_same_seed_gives_the_same_mei_and_another_seed_another(closed_form):
    twin = closed_form.condition()
    first, again, other = (
        insilico.synthesize_mei(twin, [1], norm=4.0, n_start=1, seed=seed) for seed in (3, 3, 4)
    )
    xr.testing.assert_identical(first, again)
    assert np.abs(first.mei - other.mei).max() > 1


def test_mei_excites_at_least_as_much_as_its_controls(examined):
    alive = examined.isel(neuron=[0, 1, 4])
    assert (alive.activation * 1.0001 >= alive.activation_gabor).all()
    assert (alive.activation > alive.activation_natural).all()
    # The neurons are Gabors, so the best Gabor is as good as anything.
    assert float((alive.activation_gabor / alive.activation).min()) > 0.98


def test_mei_beats_the_best_of_5000_natural_crops_of_equal_norm(mei, closed_form, rival):
    large, generator = make_dead_leaves(100, 60, 72, seed=9).values, np.random.default_rng(0)
    corners = zip(generator.integers(0, 41, 5000), generator.integers(0, 49, 5000), strict=True)
    crops = [large[i % 100, :, y : y + 20, x : x + 24] for i, (y, x) in enumerate(corners)]
    found = insilico.cross_examine(
        mei.isel(neuron=[0, 1, 4]), closed_form.condition(), rival.condition(), np.stack(crops)
    )
    for twin in ("", "_other"):
        share = found[f"activation_natural{twin}"] / found[f"activation{twin}"]
        assert float(share.max()) < 0.9
        assert float(share.min()) > 0.5  # the best of so many is not bad


def test_the_other_twin_is_asked_about_the_same_images(examined):
    # The rival computes the same function, so it must agree on every image.
    for control in ("", "_natural", "_gabor"):
        np.testing.assert_allclose(
            examined[f"activation{control}_other"], examined[f"activation{control}"], rtol=1e-4
        )


def test_controls_are_matched_in_norm_and_place(examined, closed_form):
    for name in ("natural", "gabor"):
        z = (examined[name].isel(neuron=[0, 1, 4]) - 110) / 55
        norm = np.sqrt((z**2).sum(("channel", "y", "x")))
        np.testing.assert_allclose(norm, 4.0, rtol=1e-4)
    for neuron in (0, 1, 4):
        mask = examined.mask[neuron]
        x, y = closed_form.truth["center"][neuron]
        assert float((mask * mask.x).sum() / mask.sum()) == pytest.approx(x, abs=1)
        assert float((mask * mask.y).sum() / mask.sum()) == pytest.approx(y, abs=1)


def test_a_failed_mei_has_no_controls(examined):
    for name in ("activation_natural", "activation_gabor_other", "natural_index", "gabor"):
        assert np.isnan(examined[name][[2, 3]]).all()


def test_mask_covers_a_square_and_nothing_else():
    image = np.zeros((1, 30, 40))
    image[0, 10:18, 20:28] = np.where(np.indices((8, 8)).sum(0) % 2, 1, -1)
    mask = insilico.find_mask(image)
    assert mask[11:17, 21:27].min() > 0.6
    assert mask[:5].max() < 0.01
    image[0, 2, 2] = 5  # a lone pixel is not the largest region
    assert insilico.find_mask(image)[:5, :5].max() < 0.01


def test_simulated_meis_beat_natural_images(cortex):
    twin = cortex.as_twin().condition()
    mei = insilico.synthesize_mei(twin, n_start=2, n_step=60)
    simple = mei.true_type.values == "simple"
    filters = cortex.record(n_train=1, n_validation=1, n_test=1, n_repeat=1).true_filter.values
    found = [correlation(mei.mei[n], filters[n]) for n in np.flatnonzero(simple)]
    assert min(found) > 0.99
    spread = mei.start_activation.min("start") / mei.start_activation.max("start")
    assert float(spread.median()) > 0.98
    assert float(mei.clipped_fraction.mean()) < 0.01


def test_work_stops_promptly_and_shows_the_image_on_the_way(closed_form):
    def stop(job):
        if job.fraction > 0.1:
            job.cancel()

    job = Job(stop, interval=0)
    with pytest.raises(Cancelled):
        insilico.synthesize_mei(closed_form.condition(), norm=4.0, job=job)
    assert job.preview.shape == (1, 20, 24)
    assert job.fraction < 0.2


@pytest.mark.parametrize("optimizer", ["adaptive", "sgd"])
def test_the_image_on_the_way_comes_with_its_response(closed_form, optimizer):
    seen, twin = [], closed_form.condition()
    insilico.synthesize_mei(
        twin, [1], norm=4.0, n_start=2, n_step=12, optimizer=optimizer,
        job=Job(lambda job: seen.append(job.preview), interval=0),
    )  # fmt: skip
    steps = [int(one.step) for one in seen if one is not None]
    assert steps == sorted(steps)
    for one in (one for one in seen if int(one.step) % 6 == 1):  # points are told every 5 steps
        with torch.inference_mode():
            rate = float(twin.neurons([1])(torch.as_tensor(one.values[None])))
        if optimizer == "adaptive":
            assert float(one.value) == pytest.approx(rate, rel=1e-4)
    assert float(seen[-1].value) > float(seen[0].value)


def test_the_ends_of_all_starts_are_kept_if_asked(closed_form):
    made = insilico.synthesize_mei(
        closed_form.condition(), [0, 1], norm=4.0, n_start=3, n_step=20, keep_starts=True
    )
    assert made.start_mei.dims == ("neuron", "start", "channel", "y", "x")
    for neuron in range(2):
        one = made.isel(neuron=neuron)
        best = one.start_mei.isel(start=int(one.best_start))
        np.testing.assert_array_equal(best, one.mei)


def test_an_ascent_goes_on_from_an_image(closed_form):
    twin = closed_form.condition()
    first = insilico.synthesize_lei(twin, [0], norm=4.0, n_start=1, n_step=2)
    start = (first.lei.values - twin.spec.mean) / twin.spec.std
    on = insilico.synthesize_lei(twin, [0], norm=4.0, n_start=1, n_step=15, start=start)
    assert float(on.activation[0]) < 0.9 * float(first.activation[0])
    assert json.loads(on.attrs["settings"])["given"] == ["start"]


def test_a_spectrum_to_keep_has_the_shape_of_the_images_and_the_norm_asked_for():
    spec = StimulusSpec(2, 20, 24, 110.0, 50.0)
    images = spec.mean + spec.std * np.random.default_rng(0).normal(size=(300, 2, 20, 24))
    amplitude = insilico.mean_amplitude(images, spec, 7.0)
    rest = amplitude.ravel()[1:]
    assert amplitude[0, 0] == 0
    assert rest.std() < 0.05 * rest.mean()  # white noise: all frequencies alike
    z = insilico.fix_spectrum(amplitude)(torch.randn(1, 2, 20, 24), torch.arange(1))
    assert float(z.norm()) == pytest.approx(7.0, rel=1e-3)


def test_result_is_saved_and_read_back_identical(examined, tmp_path):
    path = save_result(examined, tmp_path / "mei.nc")
    xr.testing.assert_identical(open_result(path), examined)


def test_wrong_requests_are_told_what_is_right(mei, closed_form, rival, natural):
    twin, other = closed_form.condition(), rival.condition()
    with pytest.raises(InputError, match="must be positive, but `norm` is -1"):
        insilico.synthesize_mei(twin, norm=-1.0)
    with pytest.raises(InputError, match="`blur_sigma` is -2"):
        insilico.synthesize_mei(twin, blur_sigma=-2.0)
    with pytest.raises(InputError, match="is the twin that made the MEIs"):
        insilico.cross_examine(mei, twin, twin, natural)
    with pytest.raises(InputError, match="give the twin that made them"):
        insilico.cross_examine(mei, other, twin, natural)
    with pytest.raises(InputError, match="crop or rescale"):
        insilico.cross_examine(mei, twin, other, natural[..., :10])
    with pytest.raises(InputError, match="holds no image"):
        insilico.cross_examine(mei, twin, other, natural[:0])
    with pytest.raises(InputError, match=r"lacks 3 of the 5 neurons .*'101'"):
        insilico.cross_examine(mei, twin, other.neurons([0, 4]), natural)
    with pytest.raises(InputError, match="expected one of `synthesize_mei`"):
        insilico.cross_examine(mei.assign_attrs(experiment="tuning"), twin, other, natural)
    wide = SimulatedCortex(n_neuron=4, height=20, width=30).as_twin().condition()
    with pytest.raises(InputError, match=r"sees images of shape \(1, 20, 30\)"):
        insilico.cross_examine(mei, twin, wide, natural)


def test_a_third_architecture_the_distance_from_training_and_the_size_are_told(
    mei, closed_form, rival, natural
):
    linear = type(closed_form)(seed=2)
    familiar = twins.fit_familiarity(closed_form, natural[:40], natural[40:])
    found = insilico.cross_examine(
        mei, closed_form.condition(), rival.condition(), natural,
        architecture=linear.condition(), familiarity=familiar, degrees_per_pixel=2.0,
    )  # fmt: skip
    alive = [0, 1, 4]
    np.testing.assert_allclose(
        found.activation_architecture[alive], found.activation[alive], rtol=1e-4
    )
    own = familiar(torch.as_tensor(found.mei.values[alive]))
    np.testing.assert_allclose(found.distance[alive], own.detach(), rtol=1e-4)
    assert (found.unfamiliar[alive] == (found.distance[alive] > familiar.threshold)).all()
    in_pixels = insilico.cross_examine(mei, closed_form.condition(), rival.condition(), natural)
    np.testing.assert_allclose(found.mask_size[alive], 2 * in_pixels.mask_size[alive])
    assert found.mask_size.attrs["units"] == "deg"
    assert np.isnan(found.mask_size[[2, 3]]).all()


def test_controls_of_a_least_exciting_input_are_the_least_exciting_ones(
    closed_form, rival, natural
):
    quiet = closed_form.condition()
    lei = insilico.synthesize_lei(quiet, [0], norm=4.0, n_start=2)
    found = insilico.cross_examine(lei, quiet, rival.condition(), natural)
    grey = float(lei.grey_activation[0])
    for control in ("natural", "gabor"):
        assert found[f"activation_{control}"][0] < grey
    assert found.activation[0] <= found.activation_gabor[0] * 1.001
    assert float(found.activation_gabor[0] / found.activation[0]) < 1.1


def test_neurons_that_all_failed_are_examined_to_nothing(closed_form, rival, natural):
    silent = insilico.synthesize_mei(closed_form.condition(), [2, 3], norm=4.0, n_step=3)
    found = insilico.cross_examine(silent, closed_form.condition(), rival.condition(), natural)
    for name in ("activation_other", "activation_gabor", "natural", "mask", "mask_size"):
        assert found[name].isnull().all()


def test_controls_have_the_norm_that_was_reached_by_any_constraint(closed_form, rival, natural):
    held = (insilico.fix_norm(3.0),)
    mei = insilico.synthesize_mei(closed_form.condition(), [0], constraints=held, n_start=1)
    found = insilico.cross_examine(mei, closed_form.condition(), rival.condition(), natural)
    for name in ("mei", "natural", "gabor"):
        norm = np.linalg.norm((found[name].values[0] - 110) / 55)
        assert norm == pytest.approx(3.0, rel=0.01)
