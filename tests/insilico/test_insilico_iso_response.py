import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import insilico
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError, open_result, save_result
from twinlab.twins import StimulusSpec, wrap_callable

SPEC = StimulusSpec(1, 16, 20, 110.0, 55.0)
KINDS = ["linear", "energy", "normalized", "product", "undefined", "undefined"]
ANGLE = np.deg2rad(np.arange(0, 360, 5))


def plane():
    axes = np.random.default_rng(0).standard_normal((320, 2))
    return np.linalg.qr(axes - axes.mean(0))[0].T


AXES = plane()


@pytest.fixture(scope="module")
def twin():
    """A unit of each kind on two orthogonal filters; one that is flat and one that is silent."""
    filters = torch.as_tensor(AXES, dtype=torch.float32)

    def rates(images):
        u, v = (((images - 110) / 55).flatten(1) @ filters.T).T
        soft = torch.nn.functional.softplus
        units = [soft(u), u**2 + v**2, soft(u) / (1 + 0.02 * v**2), soft(u * v / 2),
                 2 + 0 * u, torch.relu(u - 1000)]  # fmt: skip
        return torch.stack(units, 1)

    return wrap_callable(rates, SPEC, 6).condition()


@pytest.fixture(scope="module")
def found(twin):
    return insilico.measure_iso_response(twin)


@pytest.fixture(scope="module")
def given(twin):
    return insilico.measure_iso_response(twin, directions=AXES.reshape(2, 1, 16, 20))


def test_contours_of_known_shape_have_the_curvature_of_their_formula():
    radius = {
        "linear": 2 / np.where(np.cos(ANGLE) > 0.1, np.cos(ANGLE), np.nan),
        "energy": np.full(72, 3.0),
        # u² - v² = u0²
        "product": np.sqrt(4 / np.where(np.cos(2 * ANGLE) > 0.1, np.cos(2 * ANGLE), np.nan)),
    }
    fit = insilico.fit_contour(ANGLE, np.stack(list(radius.values())), np.zeros(3))
    assert abs(fit["curvature"][0]) < 1e-12
    assert fit["line_spread"][0] < 1e-15
    assert fit["radius_spread"][1] < 1e-15
    np.testing.assert_allclose(fit["curvature"][1:], [-1, 1], atol=0.1)
    np.testing.assert_allclose(fit["crossing"], [2, 3, 2], rtol=0.01)
    assert np.isnan(fit["radius_spread"][[0, 2]]).all()


@pytest.mark.parametrize("planes", ["found", "given"])
def test_the_sign_test_tells_the_four_kinds_of_unit_apart(planes, request):
    result = request.getfixturevalue(planes)
    assert result.pooling.values.tolist() == KINDS
    curvature = result.curvature.values
    assert np.abs(curvature[0]).max() < 1e-3
    np.testing.assert_allclose(curvature[1], -1, atol=0.1)
    # u = u0 (1 + 0.02 v²): a second derivative of 0.04 u0², where softplus is steep
    crossing = result.crossing.values[2]
    np.testing.assert_allclose(curvature[2], 0.04 * crossing**2, rtol=0.2)
    np.testing.assert_allclose(curvature[3], 1, atol=0.1)
    assert float(result.curvature_exponent[2]) == pytest.approx(2, abs=0.3)
    assert float(result.curvature_exponent[3]) == pytest.approx(0, abs=0.3)


def test_an_energy_contour_is_a_circle_and_a_linear_one_a_line(found, given):
    for result in (found, given):
        assert float(result.radius_spread[1].max()) < 1e-5
        assert float(result.line_spread[0].max()) < 1e-4
        levels = result.level_rate[1].values
        np.testing.assert_allclose(result.radius[1].mean("angle"), np.sqrt(levels), rtol=1e-4)


def test_along_the_contour_of_a_product_the_product_is_constant(given):
    turn = np.deg2rad(given.angle)
    product = given.radius[3] ** 2 * np.cos(turn) * np.sin(turn)
    assert float((product.std("angle") / product.mean("angle")).max()) < 1e-4
    assert float(given.axis_angle[3]) % 180 == pytest.approx(45, abs=0.1)


def test_the_plane_that_is_found_is_that_of_the_filters(found):
    for neuron in (1, 2, 3):
        direction = found.direction[neuron].values.reshape(2, -1)
        assert np.linalg.svd(direction @ AXES.T)[1].min() > 0.999
    assert float(found.second_share[0]) < 0.1 * float(found.second_share[1:4].min())


def test_the_response_along_a_contour_is_its_level(found, twin):
    for neuron in range(4):
        for level in range(3):
            radius = found.radius[neuron, level].values
            keep = np.isfinite(radius)
            turn = np.deg2rad(found.angle.values[keep])
            place = radius[keep, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
            z = place @ found.direction[neuron].values.reshape(2, -1)
            images = torch.as_tensor(z.reshape(-1, 1, 16, 20) * 55 + 110, dtype=torch.float32)
            rates = twin.neurons([neuron])(images)[:, 0]
            np.testing.assert_allclose(rates, found.level_rate[neuron, level], rtol=1e-3)


def test_flat_and_silent_neurons_have_no_contour(found):
    assert found.valid.values.tolist() == [1, 1, 1, 1, 0, 0]
    dead = found.isel(neuron=[4, 5])
    for name in ("radius", "curvature", "radius_spread", "curvature_exponent", "axis_angle"):
        assert np.isnan(dead[name]).all()


def test_simulated_neurons_are_told_by_their_contours(cortex):
    twin = cortex.as_twin().condition()
    kinds = twin.labels.true_type.values
    chosen = np.concatenate([np.flatnonzero(kinds == kind)[:3] for kind in np.unique(kinds)])
    result = insilico.measure_iso_response(twin, chosen)
    expected = {"simple": "linear", "complex": "energy", "normalized": "normalized",
                "surround": "normalized"}  # fmt: skip
    assert result.pooling.values.tolist() == [expected[kind] for kind in result.true_type.values]


def test_pixels_that_cannot_be_shown_are_counted(twin, found):
    wide = insilico.measure_iso_response(twin, [0], norm=60.0)
    assert float(wide.out_of_range[0]) > 0.1
    assert float(found.out_of_range[:4].max()) == 0


def test_a_neurons_contours_depend_neither_on_batches_nor_on_who_else_is_asked(twin, found):
    some = insilico.measure_iso_response(twin, [3, 1], batch_size=50)
    xr.testing.assert_allclose(
        some.curvature, found.curvature.isel(neuron=[3, 1]), rtol=1e-2, atol=1e-2
    )


def test_work_stops_when_asked_and_the_result_is_saved(found, twin, tmp_path):
    def stop(job):
        if job.fraction > 0.6:
            job.cancel()

    with pytest.raises(Cancelled):
        insilico.measure_iso_response(twin, job=Job(stop, interval=0))
    path = save_result(found, tmp_path / "iso.nc")
    xr.testing.assert_identical(open_result(path), found)


def test_wrong_requests_are_told_what_is_right(twin):
    with pytest.raises(InputError, match="must be positive, but `norm` is"):
        insilico.measure_iso_response(twin, norm=-1.0)
    with pytest.raises(InputError, match=r"expected two directions \(2, 1, 16, 20\)"):
        insilico.measure_iso_response(twin, directions=AXES)
    parallel = np.stack([AXES[0], 2 * AXES[0]]).reshape(2, 1, 16, 20)
    with pytest.raises(InputError, match="do not span a plane"):
        insilico.measure_iso_response(twin, directions=parallel)
