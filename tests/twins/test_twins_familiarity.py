import numpy as np
import pytest
import torch

from twinlab import stimuli
from twinlab.schema import InputError
from twinlab.simulation import SimulatedCortex
from twinlab.twins import StimulusSpec, Twin
from twinlab.twins.familiarity import Familiarity, _shrunk_covariance, fit_familiarity

HEIGHT, WIDTH = 24, 32


@pytest.fixture(scope="module")
def natural():
    """2,600 images with edges, occlusion and a 1/f spectrum, of varied mean and contrast."""
    images = stimuli.make_dead_leaves(2600, height=HEIGHT, width=WIDTH, seed=0).values
    rng = np.random.default_rng(0)
    contrast = rng.uniform(0.4, 1.0, (len(images), 1, 1, 1))
    mean = rng.normal(110, 12, (len(images), 1, 1, 1))
    images = images.astype(np.float32)
    centred = images - images.mean((1, 2, 3), keepdims=True)
    return np.clip(mean + contrast * centred, 0, 255).astype(np.float32)


@pytest.fixture(scope="module")
def spec(natural):
    return StimulusSpec(1, HEIGHT, WIDTH, float(natural.mean()), float(natural.std()))


@pytest.fixture(params=["statistics", "core"])
def familiarity(request, natural, spec, make_twin):
    twin = make_twin() if request.param == "core" else Twin(spec, make_twin().neurons)
    return fit_familiarity(twin, natural[:1000], natural[1000:2000], false_alarm=0.01)


def strange(kind, natural):
    rng = np.random.default_rng(1)
    n, shape = 200, natural.shape[1:]
    if kind == "white noise":
        return rng.uniform(0, 255, (n, *shape))
    if kind == "gratings":
        return stimuli.make_gratings(
            rng.uniform(0, 180, n), rng.uniform(0.04, 0.4, n), height=HEIGHT, width=WIDTH,
            phase=rng.uniform(0, 360, n), mean=110, contrast=1.0,
        ).values  # fmt: skip
    if kind == "outside the range":
        return 128 + 3 * (natural[2000 : 2000 + n] - 128)
    if kind == "shuffled phases":
        noise = np.fft.rfft2(rng.normal(size=(n, *shape)))
        spectrum = np.abs(np.fft.rfft2(natural[2000 : 2000 + n]))
        spectrum[..., 0, 0] = 0
        return 110 + 4 * np.fft.irfft2(spectrum * noise / np.abs(noise), s=shape[1:])
    single = np.full((n, *shape), 110.0)
    single[range(n), 0, rng.integers(HEIGHT, size=n), rng.integers(WIDTH, size=n)] = 255
    return single


def test_natural_images_are_flagged_as_often_as_stated(familiarity, natural):
    assert familiarity.false_alarm == pytest.approx(0.01, abs=0.001)
    flagged = familiarity.unfamiliar(torch.as_tensor(natural[2000:])).float().mean().item()
    # the threshold's own error is that of 1000 held out, and these are 600
    assert abs(flagged - 0.01) < 4 * np.sqrt(0.01 * 0.99 * (1 / 600 + 1 / 1000))
    places = familiarity.quantile(torch.as_tensor(natural[2000:])).numpy()
    for level in (0.25, 0.5, 0.75):
        error = np.sqrt(level * (1 - level) * (1 / 600 + 1 / 1000))
        assert abs((places < level).mean() - level) < 4 * error


@pytest.mark.parametrize(
    "kind", ["white noise", "gratings", "outside the range", "shuffled phases", "single pixel"]
)
def test_images_unlike_the_training_images_are_told_from_natural_ones(familiarity, natural, kind):
    images = torch.as_tensor(strange(kind, natural), dtype=torch.float32)
    far = familiarity(images).numpy()
    near = familiarity(torch.as_tensor(natural[2000:])).numpy()
    auc = (far[:, None] > near).mean()
    assert auc > 0.99
    assert familiarity.unfamiliar(images).float().mean() > 0.9


def test_distance_grows_as_a_natural_image_is_made_brighter(familiarity, natural):
    images = torch.as_tensor(natural[2000:2100])
    distance = torch.stack([familiarity(images + shift) for shift in (40, 80, 120, 160)])
    assert (distance.mean(1).diff() > 0).all()
    assert (distance.diff(dim=0) > 0).float().mean() > 0.98


def test_it_does_not_depend_on_the_batch_and_has_a_gradient(familiarity, natural):
    images = torch.as_tensor(natural[2000:2006]).requires_grad_()
    together = familiarity(images)
    alone = torch.cat([familiarity(image[None]) for image in images])
    np.testing.assert_allclose(together.detach(), alone.detach(), rtol=1e-4)
    (gradient,) = torch.autograd.grad(together.sum(), images)
    assert gradient.isfinite().all()
    step = 0.5 * gradient / gradient.abs().amax((1, 2, 3), keepdim=True)
    assert (familiarity(images - step) < together).all()
    flat = torch.full_like(images, 110.0).requires_grad_()
    (gradient,) = torch.autograd.grad(familiarity(flat).sum(), flat)
    assert gradient.isfinite().all()


def test_its_state_is_buffers_alone_and_builds_it_again(familiarity, natural, make_twin, spec):
    assert not list(familiarity.parameters())
    state = familiarity.state_dict()
    assert set(state) == {"center", "scale", "whitening", "held_out"}
    again = Familiarity.from_state(state, make_twin(), false_alarm=0.01)
    images = torch.as_tensor(natural[2000:2010])
    if len(state["center"]) > 20:  # with a core; its twin's spec sets the z units
        assert torch.equal(again(images), familiarity(images))
    else:
        plain = Familiarity.from_state(state, Twin(spec, make_twin().neurons), false_alarm=0.01)
        assert torch.equal(plain(images), familiarity(images))
    assert again.threshold == familiarity.threshold


def test_few_held_out_images_cannot_promise_a_small_rate(spec, natural, make_twin):
    twin = Twin(spec, make_twin().neurons)
    found = fit_familiarity(twin, natural[:300], natural[300:399])
    assert found.false_alarm == pytest.approx(0.01)
    assert found.threshold == found.held_out.max()


@pytest.mark.parametrize("behavior", ["none", "channels", "gain"])
def test_cores_that_are_told_behaviour_are_told_the_typical(make_twin, natural, behavior):
    twin = make_twin(behavior=behavior)
    found = fit_familiarity(twin, natural[:50], natural[50:80])
    channels = twin.core.out_channel
    plain = fit_familiarity(twin, natural[:50], natural[50:80], core=False)
    assert len(found.center) - len(plain.center) == 2 * channels
    # what is pooled is what the frozen twin reads out, in typical behaviour
    frozen = twin.for_inference()
    typical = torch.zeros(5, 3, 1)
    maps = frozen.core(frozen._image(torch.as_tensor(natural[:5]), typical))
    pooled = found.features(torch.as_tensor(natural[:5]))[:, -2 * channels : -channels]
    np.testing.assert_allclose(pooled, maps.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_a_video_that_flickers_is_unfamiliar_though_its_frames_are_not(natural, make_twin):
    rng = np.random.default_rng(0)
    spec = StimulusSpec(1, HEIGHT, WIDTH, 110.0, 60.0, frame_rate=30.0)
    noise = rng.normal(0, 3, (400, 1, 6, HEIGHT, WIDTH))
    steady = (natural[:400, :, None] + np.cumsum(noise, 2)).astype(np.float32)
    flicker = np.stack(
        [natural[rng.choice(400, 6), 0][None] + noise[i] for i in range(50)]
    ).astype(np.float32)
    found = fit_familiarity(Twin(spec, make_twin().neurons), steady[:200], steady[200:350])
    near, far = found(torch.as_tensor(steady[350:])), found(torch.as_tensor(flicker))
    assert (far[:, None] > near).float().mean() > 0.99


def test_shrinkage_is_by_as_much_as_is_best_on_average():
    rng = np.random.default_rng(0)
    n, p = 40, 20
    truth = np.diag(np.linspace(0.5, 3, p))
    draws = [rng.normal(size=(n, p)) * np.sqrt(np.diag(truth)) for _ in range(200)]
    plain = np.stack([values.T @ values / n for values in draws])
    target = np.stack([np.eye(p) * np.trace(one) / p for one in plain])

    def loss(estimate):
        return ((estimate - truth) ** 2).sum((1, 2)).mean()

    ours = loss(np.stack([_shrunk_covariance(torch.as_tensor(v)).numpy() for v in draws]))
    fixed = [loss((1 - share) * plain + share * target) for share in np.linspace(0, 1, 101)]
    assert ours < 1.05 * min(fixed)
    assert ours < 0.6 * fixed[0]
    many = torch.as_tensor(rng.normal(size=(20000, p)) * np.sqrt(np.diag(truth)))
    np.testing.assert_allclose(_shrunk_covariance(many), many.T @ many / 20000, atol=0.02)


def test_the_simulated_cortex_knows_its_own_images(recording):
    twin = SimulatedCortex(seed=0, n_neuron=24).as_twin()
    split = recording.split.values
    train, test = (
        recording.stimulus.values[np.unique(recording.stimulus_index.values[split == name])]
        for name in ("train", "validation")
    )
    found = fit_familiarity(twin, train, test[:50], false_alarm=0.05)
    assert found.unfamiliar(torch.as_tensor(test[50:]).float()).float().mean() < 0.2
    grating = stimuli.make_gratings(
        0, 0.2, height=train.shape[2], width=train.shape[3], contrast=1.0
    )
    assert found.unfamiliar(torch.as_tensor(grating.values).float()).all()


def test_mistakes_are_named(spec, natural, make_twin):
    twin = Twin(spec, make_twin().neurons)
    with pytest.raises(InputError, match="at least 2 training images"):
        fit_familiarity(twin, natural[:1], natural[:10])
    with pytest.raises(InputError, match="this twin sees images of"):
        fit_familiarity(twin, natural[..., :-1], natural[:10])
