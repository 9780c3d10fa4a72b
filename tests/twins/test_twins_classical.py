"""Classical twins compute what their equations say, keep the contract and are read back."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from twinlab import twins
from twinlab.schema import InputError

N = 7


def weights(spec, n_filter, seed=0):
    return np.random.default_rng(seed).normal(size=(N, n_filter, *spec.shape)) / 30


KINDS = {
    "quadratic": lambda spec, neurons: twins.QuadraticTwin(
        spec, neurons, n_excitatory=2, n_suppressive=1, filters=weights(spec, 4)
    ),
    "exponential": lambda spec, neurons: twins.QuadraticTwin(
        spec, neurons, n_excitatory=0, n_suppressive=1, nonlinearity="exponential",
        filters=weights(spec, 2),
    ),
    "subunit": lambda spec, neurons: twins.SubunitTwin(
        spec, neurons, n_linear=1, n_excitatory=2, n_suppressive=1, filters=weights(spec, 4),
        threshold=np.random.default_rng(1).normal(size=(N, 3)),
    ),
    "normalization": lambda spec, neurons: twins.NormalizationTwin(
        spec, neurons, n_drive=2, n_pool=3, filters=weights(spec, 5),
        pool_weight=np.random.default_rng(1).uniform(size=(N, 3)),
    ),
    "rectified": lambda spec, neurons: twins.NormalizationTwin(
        spec, neurons, n_drive=1, n_pool=1, rectified=True, filters=weights(spec, 2)
    ),
}  # fmt: skip


@pytest.fixture
def images(spec):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(5, *spec.shape, generator=generator) * 255


@pytest.mark.parametrize("kind", KINDS)
def test_the_contract_is_kept_and_the_twin_read_back(spec, neurons, images, tmp_path, kind):
    twin = KINDS[kind](spec, neurons)
    twins.check_twin(twin)
    loaded = twins.load_twin(twins.save_twin(twin, tmp_path / "twin"))
    assert type(loaded) is type(twin)
    assert loaded.identity == twin.identity
    assert torch.equal(loaded.condition()(images), twin.condition()(images))


def test_a_quadratic_twin_computes_its_form(spec, neurons, images):
    twin = KINDS["quadratic"](spec, neurons)
    x = ((images - spec.mean) / spec.std).flatten(1).double().numpy()
    for neuron, rate in enumerate(twin(images).detach().T):
        form = twin.quadratic_form(neuron)
        assert np.array_equal(np.sign(np.linalg.eigvalsh(form))[[0, -2, -1]], [-1, 1, 1])
        b = twin.filters[neuron, 0].detach().flatten().double().numpy()
        expected = np.logaddexp(0, np.einsum("ip,pq,iq->i", x, form, x) + x @ b)
        np.testing.assert_allclose(rate.numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda *given, **w: twins.QuadraticTwin(*given, n_excitatory=0, n_suppressive=0, **w),
        lambda *given, **w: twins.SubunitTwin(
            *given, n_linear=1, n_excitatory=0, n_suppressive=0, **w
        ),
    ],
    ids=["quadratic", "subunit"],
)
def test_without_second_order_it_is_the_linear_twin(spec, neurons, images, make):
    filters, offset, amplitude = weights(spec, 1), np.linspace(-1, 1, N), np.linspace(1, 2, N)
    nested = make(spec, neurons, filters=filters, offset=offset, amplitude=amplitude)
    linear = twins.LinearNonlinearTwin(
        spec, neurons, filters=filters[:, 0], offset=offset, amplitude=amplitude
    )
    torch.testing.assert_close(nested(images), linear(images))


def test_opposite_subunits_make_a_rectified_filter(spec, neurons, images):
    one = weights(spec, 1)
    twin = twins.SubunitTwin(
        spec, neurons, n_excitatory=2, n_suppressive=0, filters=np.concatenate([one, -one], 1),
        threshold=np.full((N, 2), 0.2), offset=np.full(N, -0.5),
    )  # fmt: skip
    x = ((images - spec.mean) / spec.std).flatten(1)
    drive = x @ torch.as_tensor(one, dtype=torch.float32).flatten(1).T
    expected = F.softplus(F.relu(drive.abs() - 0.2) - 0.5)
    torch.testing.assert_close(twin(images), expected, rtol=1e-4, atol=1e-5)


def gratings(spec, contrasts, *, mask=0.0):
    """A vertical grating of each contrast, with a horizontal one of contrast `mask` on it."""
    y, x = np.mgrid[: spec.height, : spec.width]
    vertical, horizontal = np.cos(2 * np.pi * x / 8), np.cos(2 * np.pi * y / 8)
    shown = np.asarray(contrasts)[:, None, None] * vertical + mask * horizontal
    return torch.as_tensor(spec.mean + spec.std * shown[:, None], dtype=torch.float32)


def normalizing(spec, neurons, pool_weight):
    """Driven by the vertical grating; both orientations are in its pool."""
    y, x = np.mgrid[: spec.height, : spec.width]
    vertical, horizontal = np.cos(2 * np.pi * x / 8), np.cos(2 * np.pi * y / 8)
    bank = np.stack([vertical, vertical, horizontal])[None, :, None] / vertical.size * 2
    return twins.NormalizationTwin(
        spec, neurons, n_drive=1, n_pool=2, filters=np.repeat(bank, N, 0),
        pool_weight=np.tile(pool_weight, (N, 1)), semi_saturation=np.full(N, 0.04),
        amplitude=np.full(N, 3.0),
    )  # fmt: skip


def test_contrast_response_is_naka_rushton_and_the_cross_orientation_suppresses(spec, neurons):
    twin = normalizing(spec, neurons, [2.0, 0.5]).condition()
    contrast = np.linspace(0, 1, 21)
    rate = twin(gratings(spec, contrast)).numpy()[:, 0]
    squared_c50 = 0.04 / 2.0
    expected = 3.0 / 2.0 * contrast**2 / (contrast**2 + squared_c50)
    np.testing.assert_allclose(rate, expected, atol=1e-5)
    masked = twin(gratings(spec, contrast, mask=0.5)).numpy()[:, 0]
    expected = 3.0 * contrast**2 / (0.04 + 2.0 * contrast**2 + 0.5 * 0.5**2)
    np.testing.assert_allclose(masked, expected, atol=1e-5)
    assert masked[5] < 0.7 * rate[5]


def test_with_a_fixed_divisor_nothing_saturates_and_nothing_suppresses(spec, neurons):
    twin = normalizing(spec, neurons, [0.0, 0.0]).condition()
    contrast = np.linspace(0, 1, 21)
    rate = twin(gratings(spec, contrast)).numpy()[:, 0]
    np.testing.assert_allclose(rate, 3.0 / 0.04 * contrast**2, rtol=1e-4, atol=1e-4)
    masked = twin(gratings(spec, contrast, mask=0.5)).numpy()[:, 0]
    np.testing.assert_allclose(masked, rate, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda s, n: twins.QuadraticTwin(s, n, n_excitatory=-1), "no negative number"),
        (lambda s, n: twins.QuadraticTwin(s, n, nonlinearity="relu"), "known: softplus"),
        (lambda s, n: twins.QuadraticTwin(s, n, filters=np.zeros((N, 3, 1, 24, 32))), "shape"),
        (lambda s, n: twins.SubunitTwin(s, n, n_excitatory=0, n_suppressive=0), "at least one"),
        (lambda s, n: twins.NormalizationTwin(s, n, n_drive=0), "in its drive"),
        (lambda s, n: twins.NormalizationTwin(s, n, pool_weight=-np.ones((N, 4))), "pool_weight"),
        (lambda s, n: twins.NormalizationTwin(s, n, semi_saturation=np.zeros(N)), "semi_satur"),
    ],
)
def test_what_makes_no_model_is_refused_in_one_line(spec, neurons, make, words):
    with pytest.raises(InputError, match=words) as caught:
        make(spec, neurons)
    assert "\n" not in str(caught.value)
