"""Attributions add up, equal closed forms on linear neurons, and find a planted patch."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.stats import mannwhitneyu

from twinlab import insilico
from twinlab.schema import InputError, open_result, save_result
from twinlab.stimuli import make_dead_leaves
from twinlab.twins import Architecture, DeepTwin, StimulusSpec, wrap_callable

SPEC = StimulusSpec(2, 16, 20, mean=110.0, std=55.0)
WEIGHTS = np.random.default_rng(0).normal(size=(3, 2, 16, 20)).astype(np.float32) / 100


@pytest.fixture(scope="module")
def linear():
    """Three linear neurons far from the floor, of images of two channels."""
    weights = torch.as_tensor(WEIGHTS).flatten(1)

    def rate(images):
        return 200 + (images - SPEC.mean).flatten(1) @ weights.T

    return wrap_callable(rate, SPEC, 3).condition()


@pytest.fixture(scope="module")
def images():
    return make_dead_leaves(3, 16, 20, seed=5, channel=2).values.astype(np.float32)


def test_integrated_gradients_of_a_linear_neuron_are_weight_times_contrast(linear, images):
    found = insilico.measure_integrated_gradients(linear, [2, 0], images=images)
    expected = (WEIGHTS[[2, 0], None] * (images - SPEC.mean)).sum(2)
    np.testing.assert_allclose(found.attribution, expected, atol=1e-5)
    np.testing.assert_allclose(found.blank_response, 200, rtol=1e-6)
    assert np.abs(found.completeness_error).max() < 1e-4


def test_shares_add_up_to_the_response_above_grey(closed_form):
    found = insilico.measure_integrated_gradients(closed_form.condition(), n_image=3, batch_size=7)
    assert np.abs(found.completeness_error[[0, 1, 4]]).max() < 1e-4
    total = found.attribution.sum(("y", "x")) + found.blank_response
    np.testing.assert_allclose(total[[0, 1, 4]], found.response[[0, 1, 4]], rtol=1e-3, atol=1e-4)
    # constant, silent: nothing to explain
    assert found.valid.values.tolist() == [1, 1, 0, 0, 1]
    assert np.isnan(found.attribution[[2, 3]]).all()
    assert np.isnan(found.completeness_error[[2, 3]]).all()
    np.testing.assert_array_equal(found.stimulus, make_dead_leaves(3, 20, 24, seed=0))


def test_a_simple_neuron_has_its_filter_times_contrast_in_every_image(closed_form):
    found = insilico.measure_integrated_gradients(closed_form.condition(), [0], n_image=3)
    shares = closed_form.truth["filters"][0, 0] * (found.stimulus.values[:, 0] - 110.0)
    for image, share in zip(found.attribution.values[0], shares, strict=True):
        assert np.corrcoef(image.ravel(), share.ravel())[0, 1] > 0.99999


def test_shares_add_up_across_kinks():
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(320 if k == 0 else 30, 30, generator=generator) for k in range(3)]

    def rate(images):
        hidden = (images.flatten(1) - SPEC.mean) / SPEC.std / 20
        for layer in layers:
            hidden = torch.relu(hidden @ layer + 0.1)
        return hidden[:, :4] ** 2

    spec = StimulusSpec(1, 16, 20, mean=110.0, std=55.0)
    twin = wrap_callable(rate, spec, 4).condition()
    found = insilico.measure_integrated_gradients(twin, n_image=5)
    # of a smaller difference, float32 rounds off more than that
    large = np.abs(found.response - found.blank_response) > 1
    assert np.abs(found.completeness_error.where(large)).max() < 1e-4
    rough = insilico.measure_integrated_gradients(twin, n_image=5, tolerance=10.0)
    assert np.nanmax(np.abs(rough.completeness_error)) > 1e-4


def test_shares_of_a_deep_twin_add_up():
    neurons = xr.Dataset(
        coords={"neuron_id": ("neuron", np.arange(6)), "session": ("neuron", ["deep"] * 6)}
    )
    torch.manual_seed(0)
    twin = DeepTwin(
        Architecture(layers=2, hidden=8), StimulusSpec(1, 24, 30, 110.0, 55.0), neurons
    )
    found = insilico.measure_integrated_gradients(twin.eval().condition(), n_image=3)
    assert found.valid.values.all()
    assert np.abs(found.completeness_error).max() < 1e-4


@pytest.mark.parametrize("fill", [None, 30.0])
def test_occlusion_of_a_linear_neuron_loses_weights_times_contrast(linear, images, fill):
    found = insilico.measure_occlusion(linear, images=images, patch=4, stride=4, fill=fill)
    grey = SPEC.mean if fill is None else fill
    lost = (WEIGHTS[:, None] * (images - grey)).sum(2)  # (neuron, image, y, x)
    patches = lost.reshape(3, 3, 4, 4, 5, 4).sum((3, 5))
    expected = patches.repeat(4, 2).repeat(4, 3)
    np.testing.assert_allclose(found.attribution, expected, atol=1e-3)


def test_a_pixel_has_the_mean_loss_of_the_patches_over_it(linear, images):
    found = insilico.measure_occlusion(linear, [1], images=images[:1], patch=5, stride=3)
    lost = (WEIGHTS[1] * (images[0] - SPEC.mean)).sum(0)
    total, count = np.zeros((2, 16, 20))
    for top in (0, 3, 6, 9, 11):  # the last ends at the border
        for left in (0, 3, 6, 9, 12, 15):
            here = (slice(top, top + 5), slice(left, left + 5))
            total[here] += lost[here].sum()
            count[here] += 1
    np.testing.assert_allclose(found.attribution[0, 0], total / count, atol=1e-3)


def test_covering_shows_where_each_kind_of_neuron_looks(closed_form):
    found = insilico.measure_occlusion(closed_form.condition(), n_image=6, patch=3, stride=1)
    assert found.valid.values.tolist() == [1, 1, 0, 0, 1]
    assert np.isnan(found.attribution[2:4]).all()
    energy = (found.attribution**2).sum("image")
    for neuron in (0, 1, 4):
        x, y = closed_form.truth["center"][neuron]
        mass = energy[neuron] / energy[neuron].sum()
        assert float((mass * mass.x).sum()) == pytest.approx(x, abs=1.5)
        assert float((mass * mass.y).sum()) == pytest.approx(y, abs=1.5)


@pytest.fixture(scope="module")
def patch_reader():
    """A neuron that adds up the grey levels of a patch, and one that does not look."""
    patch = np.zeros((24, 32), np.float32)
    patch[8:16, 10:18] = 1
    weights = torch.as_tensor(patch)

    def rate(images):
        seen = (images[:, 0] * weights).sum((1, 2)) / 64
        return torch.stack([seen, 0 * seen + 1], dim=1)

    spec = StimulusSpec(1, 24, 32, mean=110.0, std=55.0)
    return wrap_callable(rate, spec, 2).condition(), patch


def test_bubbles_find_the_patch_that_is_read(patch_reader):
    twin, patch = patch_reader
    bright = np.full((1, 1, 24, 32), 200.0, np.float32)
    found = insilico.measure_bubbles(twin, images=bright)
    z = found.z.values[0, 0]
    y, x = np.unravel_index(z.argmax(), z.shape)
    assert patch[y, x] == 1
    inside, outside = z[patch == 1], z[patch == 0]
    area = mannwhitneyu(inside, outside).statistic / len(inside) / len(outside)  # under the ROC
    assert area > 0.99
    assert z.max() > 5 * found.threshold[0, 0]
    assert found.valid.values.tolist() == [1, 0]
    assert np.isnan(found.z[1]).all()
    # a darker image: opening the patch lowers the rate
    dark = insilico.measure_bubbles(twin, images=220 - bright)
    np.testing.assert_allclose(dark.attribution[0], -found.attribution[0], rtol=1e-3, atol=1e-4)


def test_chance_leaves_no_cluster_above_its_threshold():
    generator = np.random.default_rng(0)
    mask = generator.uniform(size=(400, 60))
    mask = np.stack([np.convolve(row, np.ones(9), "same") for row in mask])  # as smooth as bubbles
    response = mask[:, [30]] + generator.normal(size=(400, 40)) * 0.1
    found = insilico.estimate_bubbles(mask, response)
    assert (np.abs(found["z"]).max(1) > found["threshold"]).all()
    shuffled = insilico.estimate_bubbles(mask, generator.permuted(response, axis=0))
    # more than 6 of 40 maps at a level of 0.05 have a probability of 0.003
    assert (np.abs(shuffled["z"]).max(1) > shuffled["threshold"]).sum() <= 6


def test_z_is_fishers_and_the_slope_that_of_regression():
    generator = np.random.default_rng(1)
    mask = generator.uniform(size=(200, 3))
    mask[:, 2] = 0.5
    response = 2 * mask[:, :1] + generator.normal(size=(200, 1))
    found = insilico.estimate_bubbles(mask, response)
    slope = np.polyfit(mask[:, 0], response[:, 0], 1)[0]
    r = np.corrcoef(mask[:, 0], response[:, 0])[0, 1]
    assert found["slope"][0, 0] == pytest.approx(slope, rel=1e-4)
    assert found["z"][0, 0] == pytest.approx(np.arctanh(r) * np.sqrt(197), rel=1e-4)
    assert np.isnan(found["z"][0, 2])


@pytest.mark.parametrize("name", ["integrated_gradients", "occlusion", "bubbles"])
def test_maps_do_not_depend_on_who_else_is_asked_and_are_read_back(closed_form, name, tmp_path):
    twin, experiment = closed_form.condition(), insilico.EXPERIMENTS[name]
    more = {"n_trial": 200} if name == "bubbles" else {}
    whole = experiment(twin, n_image=2, **more)
    some = experiment(twin, [4, 0], n_image=2, batch_size=11, **more)
    xr.testing.assert_allclose(whole.isel(neuron=[4, 0]), some, rtol=1e-3, atol=1e-4)
    xr.testing.assert_identical(open_result(save_result(whole, tmp_path / "map.nc")), whole)


def test_wrong_requests_are_told_what_is_right(closed_form, images):
    twin = closed_form.condition()
    with pytest.raises(InputError, match=r"this twin sees images of shape .* 1, 20, 24"):
        insilico.measure_integrated_gradients(twin, images=images)
    with pytest.raises(InputError, match="finite grey levels, but got 1 with 480 pixels"):
        insilico.measure_bubbles(twin, images=np.full((1, 1, 20, 24), np.nan))
    with pytest.raises(InputError, match="`tolerance` must be positive, but got 0"):
        insilico.measure_integrated_gradients(twin, tolerance=0.0)
    with pytest.raises(InputError, match=r"1 <= `stride` <= `patch` .*\(20 px\), but got 6 and 5"):
        insilico.measure_occlusion(twin, stride=6)
    with pytest.raises(InputError, match="`n_bubble` of at least 1 .* but got 0 and 2"):
        insilico.measure_bubbles(twin, n_bubble=0)
    with pytest.raises(InputError, match="at least 4 trials, .* but got 3, 0.05 and 100"):
        insilico.measure_bubbles(twin, n_trial=3)
