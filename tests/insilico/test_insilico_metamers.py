"""Metamers and eigendistortions: what a twin's neurons cannot see, and what they see best."""

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import insilico
from twinlab.insilico import eigendistortions
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError, open_result, save_result
from twinlab.stimuli import make_dead_leaves
from twinlab.twins import StimulusSpec, wrap_callable

SPEC = StimulusSpec(1, 16, 20, 110.0, 55.0)


def linear_twin(matrix):
    weights = torch.as_tensor(matrix, dtype=torch.float32)

    def rates(images):
        return 300 + ((images - 110) / 55).flatten(1) @ weights.T

    return wrap_callable(rates, SPEC, len(matrix)).condition()


@pytest.fixture(scope="module")
def image():
    return make_dead_leaves(1, 16, 20, seed=1).values[0]


@pytest.fixture(scope="module")
def natural(cortex):
    return make_dead_leaves(1, 36, 64, seed=2).values[0]


@pytest.fixture(params=["exact", "lanczos"])
def method(request, monkeypatch):
    if request.param == "lanczos":
        monkeypatch.setattr(eigendistortions, "EXACT", 10)
    return request.param


# Lanczos iteration does not converge at the lower end of the second, and all are computed.
@pytest.mark.parametrize(("n_neuron", "least"), [(40, 1.0), (320, 0.1), (400, 1.0)])
def test_distortions_of_a_linear_map_are_its_right_singular_vectors(
    method, n_neuron, least, image
):
    rng = np.random.default_rng(n_neuron)
    singular = np.geomspace(10, least, min(n_neuron, 320))
    left = np.linalg.qr(rng.standard_normal((n_neuron, len(singular))))[0]
    right = np.linalg.qr(rng.standard_normal((320, len(singular))))[0].T
    twin = linear_twin((left * singular) @ right)
    found = insilico.measure_eigendistortions(twin, image, n_distortion=3)
    direction = found.distortion.values.reshape(2, 3, -1)
    assert np.abs((direction[0] * right[:3]).sum(1)).min() > 1 - 1e-6
    np.testing.assert_allclose(found.eigenvalue[0], singular[:3] ** 2, rtol=1e-5)
    if n_neuron == 40:  # more pixels than responses: nothing is seen of the bottom
        assert int(found.null_dimension) == 280
        assert np.abs(direction[1] @ right.T).max() < 1e-5
        assert found.unique.values.tolist() == [1, 0]
        assert float(np.abs(found.response_change[:, 1]).max()) < 1e-5
    else:
        assert int(found.null_dimension) == 0
        assert np.abs((direction[1] * right[-1:-4:-1]).sum(1)).min() > 0.999
        np.testing.assert_allclose(found.eigenvalue[1], singular[-1:-4:-1] ** 2, rtol=1e-2)
        assert found.unique.values.tolist() == [1, 1]
    every = direction.reshape(6, -1)
    np.testing.assert_allclose(every @ every.T, np.eye(6), atol=1e-4)


def test_the_distortion_of_an_energy_neuron_is_its_own_gradient(closed_form):
    image = make_dead_leaves(1, 20, 24, seed=3).values[0].astype(np.float32)
    found = insilico.measure_eigendistortions(closed_form.condition(), image, [1])
    filters = closed_form.truth["filters"][1].reshape(2, -1)
    gradient = 2 * (filters @ ((image - 110) / 55).ravel()) @ filters
    cosine = found.distortion[0, 0].values.ravel() @ gradient / np.linalg.norm(gradient)
    assert abs(cosine) > 1 - 1e-6
    assert float(found.eigenvalue[0, 0]) == pytest.approx((gradient**2).sum(), rel=1e-5)
    assert np.isnan(insilico.measure_eigendistortions(
        closed_form.condition(), image, [1], n_distortion=2).eigenvalue[0, 1])  # fmt: skip


def test_responses_change_along_a_distortion_as_is_said(cortex, natural):
    twin = cortex.as_twin().condition()
    found = insilico.measure_eigendistortions(twin, natural)
    step = 0.05 * twin.spec.std * found.distortion.values[:, 0]
    with torch.inference_mode():
        ahead, behind = (
            twin(torch.as_tensor(natural + sign * step, dtype=torch.float32)).numpy()
            for sign in (1, -1)
        )
    change = (ahead - behind).T / 0.1
    scale = float(np.abs(found.response_change).max())
    np.testing.assert_allclose(change, found.response_change[..., 0], atol=0.02 * scale)
    assert np.abs(change[:, 1]).max() < 0.01 * np.abs(change[:, 0]).max()


def test_flat_neurons_have_no_distortion(closed_form):
    image = make_dead_leaves(1, 20, 24, seed=3).values[0].astype(np.float32)
    twin = closed_form.condition()
    assert insilico.measure_eigendistortions(twin, image).valid.values.tolist() == [1, 1, 0, 0, 1]
    nothing = insilico.measure_eigendistortions(twin, image, [2, 3])
    assert np.isnan(nothing.distortion).all()
    assert np.isnan(nothing.eigenvalue).all()
    assert int(nothing.null_dimension) == 480
    assert (nothing.valid == 0).all()


def test_power_iteration_on_derivatives_of_the_whole_vector_finds_the_same(cortex, natural):
    twin = cortex.as_twin().condition()
    spec = twin.spec

    def whole(z):
        return twin(z * spec.std + spec.mean)[0]

    z = torch.as_tensor((natural - spec.mean) / spec.std, dtype=torch.float32)[None]
    direction = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    for _ in range(60):
        change = torch.autograd.functional.jvp(whole, z, direction)[1]
        grown = torch.autograd.functional.vjp(whole, z, change)[1]
        direction = grown / grown.norm()
    found = insilico.measure_eigendistortions(twin, natural)
    assert abs(direction.numpy().ravel() @ found.distortion[0, 0].values.ravel()) > 1 - 1e-5
    assert float(grown.norm()) == pytest.approx(float(found.eigenvalue[0, 0]), rel=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_plenoptic_finds_the_same_distortions(closed_form):
    import plenoptic

    image = make_dead_leaves(1, 20, 24, seed=3).values[0].astype(np.float32)
    twin = closed_form.condition()
    z = torch.as_tensor((image - 110) / 55, dtype=torch.float32)[None]

    class Model(torch.nn.Module):
        def forward(self, images):
            return twin(images * 55 + 110)[:, None]

    theirs = plenoptic.Eigendistortion(z, Model().eval())
    theirs.synthesize(method="power", max_iter=2000)
    ours = insilico.measure_eigendistortions(twin, image)
    top = theirs.eigendistortions[0].detach().numpy().ravel()
    assert abs(top @ ours.distortion[0, 0].values.ravel()) > 0.9999
    assert float(theirs.eigenvalues[0]) == pytest.approx(float(ours.eigenvalue[0, 0]), rel=1e-4)
    # theirs stops on a plateau of its power iteration, above the null space that there is
    assert float(ours.eigenvalue.values.ravel()[-1]) < 1e-6 * float(theirs.eigenvalues[1])


def test_a_metamer_of_averages_is_another_image():
    spec = StimulusSpec(1, 32, 32, 110.0, 55.0)
    rng = np.random.default_rng(5)
    target = np.clip(rng.normal(110, 30, (1, 32, 32)), 0, 255).astype(np.float32)

    def pooled(images):
        return torch.nn.functional.avg_pool2d(images, 4).flatten(1)

    found = insilico.synthesize_metamer(
        wrap_callable(pooled, spec, 64).condition(), target, tolerance=1e-7
    )
    assert (found.loss < 5e-7).all()
    assert (found.found == 1).all()
    # A 16th of the contrast of white noise is in its averages of 16 pixels; the rest is free.
    assert float(np.abs(found.pixel_correlation).max()) < 0.2
    metamer = torch.as_tensor(found.metamer.values)
    np.testing.assert_allclose(pooled(metamer), pooled(metamer * 0 + torch.as_tensor(target)),
                               atol=0.05)  # fmt: skip


def test_where_the_neurons_see_every_pixel_the_metamer_is_the_target(image):
    rng = np.random.default_rng(6)
    found = insilico.synthesize_metamer(
        linear_twin(rng.standard_normal((400, 320))), image, tolerance=1e-9
    )
    assert float(found.pixel_correlation.min()) > 0.999
    assert (found.loss < 1e-6).all()


@pytest.mark.parametrize("neurons", [None, [3]])
def test_metamers_of_simulated_neurons_keep_mean_contrast_and_range(cortex, natural, neurons):
    twin = cortex.as_twin().condition()
    found = insilico.synthesize_metamer(twin, natural, neurons, n_start=2, tolerance=1e-6)
    assert (found.loss < 1e-6).all()
    assert (found.start_loss > 1e-2).all()
    np.testing.assert_allclose(found.norm, found.target_norm, rtol=1e-4)
    np.testing.assert_allclose(found.metamer.mean(("channel", "y", "x")), natural.mean(), atol=0.1)
    assert float(found.metamer.min()) >= -1e-3
    assert float(found.metamer.max()) <= 255 + 1e-3
    assert float(np.abs(found.pixel_correlation).max()) < 0.3
    with torch.inference_mode():
        chosen = twin if neurons is None else twin.neurons(neurons)
        rates = chosen(torch.as_tensor(found.metamer.values)).numpy()
    np.testing.assert_allclose(rates.T, found.response, rtol=1e-4, atol=1e-4)


def test_a_match_that_is_not_reached_is_not_called_a_metamer(cortex, natural):
    found = insilico.synthesize_metamer(cortex.as_twin().condition(), natural, n_step=1, n_start=1)
    assert (found.loss < found.start_loss).all()
    assert found.found.values.tolist() == [0]


def test_silent_and_flat_neurons_are_marked(closed_form):
    image = make_dead_leaves(1, 20, 24, seed=3).values[0].astype(np.float32)
    found = insilico.synthesize_metamer(closed_form.condition(), image, n_start=1)
    assert found.valid.values.tolist() == [1, 1, 0, 0, 1]
    with pytest.raises(InputError, match="None of the 1 neurons responds"):
        insilico.synthesize_metamer(closed_form.condition(), image, [3])


def test_work_stops_when_asked_and_results_are_saved(cortex, natural, tmp_path):
    twin = cortex.as_twin().condition()

    def stop(job):
        if job.fraction > 0.2:
            job.cancel()

    for function in (insilico.synthesize_metamer, insilico.measure_eigendistortions):
        with pytest.raises(Cancelled):
            function(twin, natural, batch_size=4, job=Job(stop, interval=0))
        made = function(twin, natural, [0, 1])
        path = save_result(made, tmp_path / "made.nc")
        xr.testing.assert_identical(open_result(path), made)


def test_wrong_requests_are_told_what_is_right(cortex, natural):
    twin = cortex.as_twin().condition()
    for function in (insilico.synthesize_metamer, insilico.measure_eigendistortions):
        with pytest.raises(InputError, match="crop or rescale"):
            function(twin, natural[:, :10])
        with pytest.raises(InputError, match="expected one image of shape"):
            function(twin, natural[None])
        with pytest.raises(InputError, match="runs from .* grey levels of this twin run from 0"):
            function(twin, natural - 300.0)
    with pytest.raises(InputError, match="from 1 to 1152, half the pixels"):
        insilico.measure_eigendistortions(twin, natural, n_distortion=0)
    with pytest.raises(InputError, match="needs a target with contrast"):
        insilico.synthesize_metamer(twin, np.full_like(natural, 100))
    with pytest.raises(InputError, match="must be positive, but `n_step` is"):
        insilico.synthesize_metamer(twin, natural, n_step=0)


def test_a_target_that_noise_cannot_climb_to_is_reported():
    weights = torch.zeros(96)
    weights[40] = 2.0
    spec = StimulusSpec(1, 8, 12, 110.0, 55.0)
    twin = wrap_callable(
        lambda x: torch.relu(((x - 110) / 55).flatten(1) @ weights[:, None] - 3), spec, 1
    ).condition()
    target = np.full((1, 8, 12), 110.0, np.float32)
    target.ravel()[40] = 255
    found = insilico.synthesize_metamer(twin, target, n_start=1)
    assert not found.found.values.any()
