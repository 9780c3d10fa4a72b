"""The cores: laws that hold for each, and what is known of the answers of one."""

import math
import types

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from twinlab import twins
from twinlab.schema import InputError
from twinlab.twins import import_peer
from twinlab.twins.equivariant import RotationEquivariantCore, rotated_hermite_functions
from twinlab.twins.features import FeatureCore
from twinlab.twins.gabor import GaborEnergy
from twinlab.twins.squeeze import SqueezeExcitationCore
from twinlab.twins.transformer import TransformerBlock, VisionTransformerCore

CORES = {
    "rotation_equivariant": {"hidden": 2, "rotations": 4},
    "squeeze_excitation": {"reduction": 4, "layers": 3},
    "vision_transformer": {"heads": 2},
    "features": {"backbone": "gabor_energy", "backbone_layer": "energy"},
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def grow(core, count=3):
    """Move the running statistics away from their start."""
    core.train()
    for _ in range(count):
        core(torch.randn(4, 1, 24, 32))
    return core.eval()


@pytest.fixture(params=CORES)
def twin(request, make_twin):
    return make_twin(core=request.param, **CORES[request.param])


def test_every_core_keeps_the_laws_of_cores(twin):
    core = twin.core
    x = torch.randn(3, 1, 24, 32)
    maps = core(x)
    assert maps.shape == (3, core.out_channel, *core.map_shape(24, 32))
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert core.regularizer().shape == ()
    (maps.square().sum() + core.regularizer()).backward()
    learned = [p for p in core.parameters() if p.requires_grad]
    assert learned
    for parameter in learned:
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().max() > 0

    grow(core)
    before = core(x.requires_grad_())
    torch.testing.assert_close(core(x[:1]), before[:1], rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(before.square().sum(), x)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().amax((1, 2, 3)).min() > 0
    core.fold()
    torch.testing.assert_close(core(x), before, rtol=1e-4, atol=1e-5)


def test_every_core_is_nearly_itself_in_bfloat16(twin):
    core = grow(twin.core)
    x = torch.randn(3, 1, 24, 32)
    with torch.autocast("cpu", torch.bfloat16):
        lowered = core(x)
    whole = core(x)
    assert (lowered - whole).square().mean() < 3e-3 * whole.var()
    with torch.autocast("cpu", torch.bfloat16):
        core.train()(x).float().square().sum().backward()


def test_every_core_makes_a_twin(twin):
    twin.train()
    twin(torch.rand(4, 1, 24, 32) * 255)
    twins.check_twin(twin)


def test_every_core_follows_its_seed_and_is_read_back(twin, make_twin, tmp_path):
    settings = twin.settings
    again = make_twin(**settings)
    assert again.identity == twin.identity
    learned = any(p.requires_grad for p in twin.core.parameters())
    assert learned
    loaded = twins.load_twin(twins.save_twin(twin, tmp_path / "twin"))
    assert loaded.identity == twin.identity
    x = torch.rand(3, 1, 24, 32) * 255
    assert torch.equal(loaded.condition()(x), twin.condition()(x))


def test_a_neuron_looks_where_its_position_says(twin, spec):
    """Positions are pixels of the image, however far apart the points of the map are."""
    asked = np.random.default_rng(1).uniform(6, 18, (7, 2))
    np.testing.assert_allclose(twin.position, asked, atol=0.2)  # clipped just inside the map
    twin.readout.features.data.normal_()
    grow(twin.core)
    quiet = twin.condition()
    ys, xs = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    found = []
    for neuron in range(7):
        x = (110 + 60 * torch.randn(16, *spec.shape)).requires_grad_()
        rate = quiet.neurons([neuron])(x)
        (gradient,) = torch.autograd.grad(rate.sum(), x)
        energy = gradient.square().mean((0, 1))
        found.append([float((energy * at).sum() / energy.sum()) for at in (xs, ys)])
    found = np.array(found)
    # what sees the whole image pulls the centre of mass to its middle
    assert np.abs(found - asked).max() < 5
    deviations = (np.ravel(value - value.mean(0)) for value in (found, asked))
    assert np.corrcoef(*deviations)[0, 1] > 0.9


# rotation-equivariant


def turnable(rotations=8, **settings):
    parts = {"layers": 3, "hidden": 3, "input_kernel": 9, "hidden_kernel": 5} | settings
    return RotationEquivariantCore(1, rotations=rotations, **parts)


@pytest.mark.parametrize(("rotations", "quarters"), [(4, 1), (8, 1), (8, 3), (6, 2), (2, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_a_turned_image_turns_the_maps_and_moves_the_orientations_round(
    rotations, quarters, training
):
    core = grow(turnable(rotations)).double().train(training)
    x = torch.randn(2, 1, 19, 24, dtype=torch.float64)
    maps = core(x).unflatten(1, (rotations, 3))
    turned = core(x.rot90(quarters, (2, 3))).unflatten(1, (rotations, 3))
    steps = rotations * quarters // 4
    expected = maps.roll(steps, 1).rot90(quarters, (3, 4))
    torch.testing.assert_close(turned, expected, rtol=1e-11, atol=1e-11)
    assert (turned - maps.rot90(quarters, (3, 4))).abs().max() > 0.1  # not for want of change


def test_an_eighth_of_a_turn_is_exact_up_to_the_sampling():
    """On an image that is known between pixels; at the centre, which stays where it is."""
    core = grow(turnable(layers=2, input_kernel=13)).double()
    y, x = np.mgrid[-20:21, -20:21] / 1.0
    rng = np.random.default_rng(0)
    waves = [(rng.normal(), rng.uniform(0, 6.28), *rng.normal(0, 0.4, 2)) for _ in range(30)]

    def scene(angle):
        # seen with y downwards, the scene turns counterclockwise
        u, v = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
        image = sum(a * np.cos(kx * u + ky * v + phase) for a, phase, kx, ky in waves)
        return torch.as_tensor(image / 4)[None, None]

    def centre(angle):
        maps = core(scene(angle))
        return maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].unflatten(0, (8, 3))

    upright, turned = centre(0.0), centre(np.pi / 4)
    error = (turned - upright.roll(1, 0)).square().mean() / upright.var()
    assert error < 0.05
    assert (turned - upright).square().mean() / upright.var() > 0.2


def test_hermite_functions_are_those_of_the_books_and_turn():
    basis = rotated_hermite_functions(9, 8)
    assert basis.shape == (8, 45, 9, 9)
    assert np.array_equal(basis[2:4], np.rot90(basis[:2], axes=(2, 3)))
    upright = rotated_hermite_functions(9, 1, oversampling=1)[0]
    y, x = np.mgrid[-4:5, -4:5] * (6 * (1 - 1 / 9) / 4)
    bell = np.exp(-(x**2 + y**2) / 4)
    known = [
        bell,
        x * bell,
        y * bell,
        (x**2 + y**2 - 2) * bell,
        (x**2 - y**2) * bell,
        x * y * bell,
    ]
    for function, shape in zip(upright, known, strict=False):
        shape /= np.linalg.norm(shape)
        assert min(np.abs(function - shape).max(), np.abs(function + shape).max()) < 1e-12


def test_the_peers_rotations_are_loaded_and_computed(monkeypatch):
    hermite = import_peer("layers.hermite")
    # It asks for the factorial of a float, which Python no longer gives.
    whole = types.SimpleNamespace(factorial=lambda n: math.factorial(int(n)))
    monkeypatch.setattr(hermite, "math", whole)
    theirs = import_peer("layers.cores").RotationEquivariant2dCore(
        1, 3, 9, 5, layers=3, num_rotations=8, bias=False, pad_input=False, stack=-1,
        use_avg_reg=False,
    )  # fmt: skip
    ours = turnable()
    twins.load_peer_rotation_equivariant(ours, theirs.state_dict())
    counts = [
        sum(p.numel() for p in core.parameters() if p.requires_grad) for core in (ours, theirs)
    ]
    assert counts[0] == counts[1]
    x = torch.randn(4, 1, 20, 24)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    weight = torch.randn(4, 24, 12, 16)
    for core in (ours, theirs):
        (core(x) * weight).mean().backward()
    named = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, named[name].grad, rtol=1e-4, atol=1e-5)


# squeeze and excitation


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("blocks", [1, 3])
def test_the_peers_excitation_is_loaded_and_computed(training, blocks):
    theirs = import_peer("layers.cores").SE2dCore(
        1, 16, 7, 3, layers=4, n_se_blocks=blocks, se_reduction=4, depth_separable=True,
        pad_input=False, stack=-1, laplace_padding=0,
    )  # fmt: skip
    ours = SqueezeExcitationCore(
        1, blocks=blocks, reduction=4, layers=4, hidden=16, input_kernel=7, hidden_kernel=3
    )
    twins.load_peer_squeeze_excitation(ours, theirs.state_dict())
    x = torch.randn(4, 1, 20, 24)
    for core in (ours, theirs):
        core.train()
        core(x)
        core.train(training)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.regularizer(), theirs.laplace())
    weight = torch.randn(4, 16, 14, 18)
    for core in (ours, theirs):
        (core(x) * weight).mean().backward()
    back = SqueezeExcitationCore(
        1, blocks=blocks, reduction=4, layers=4, hidden=16, input_kernel=7, hidden_kernel=3
    )
    theirs_by_our_names = {name: p.grad for name, p in theirs.named_parameters()}
    twins.load_peer_squeeze_excitation(back, theirs.state_dict() | theirs_by_our_names)
    named = dict(back.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, named[name].data, rtol=1e-4, atol=1e-5)


# vision transformer


def seeing(**settings):
    parts = {"layers": 2, "hidden": 8, "patch": 8, "stride": 8, "heads": 2} | settings
    return VisionTransformerCore(1, 24, 32, **parts)


def test_a_block_computes_attention_as_by_hand():
    block = TransformerBlock(6, heads=2, n_behavior=3).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    tokens = torch.randn(2, 5, 6, dtype=torch.float64)
    behavior = torch.randn(2, 3, dtype=torch.float64)

    def normed(value, norm):
        centred = value - value.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * norm.weight + norm.bias

    first, last = block.behavior[0], block.behavior[3]
    hidden = torch.tanh(behavior @ first.weight.T + first.bias)
    value = tokens + torch.tanh(hidden @ last.weight.T + last.bias)[:, None]
    given = normed(value, block.attention_norm)
    query, key, content = (given @ part.T for part in block.to_qkv.weight.chunk(3))
    heads = []
    for own in (slice(0, 3), slice(3, 6)):
        match = query[..., own] @ key[..., own].transpose(1, 2) / math.sqrt(3)
        share = match.exp() / match.exp().sum(2, keepdim=True)
        heads.append(share @ content[..., own])
    taken = torch.cat(heads, 2) @ block.from_heads.weight.T + block.from_heads.bias
    value = value + taken
    norm, wide, _, _, narrow, _ = block.network
    inner = normed(value, norm) @ wide.weight.T + wide.bias
    inner = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
    value = value + inner @ narrow.weight.T + narrow.bias
    torch.testing.assert_close(block(tokens, behavior), value)


def test_behavior_enters_by_its_weights_alone():
    core = seeing(n_behavior=3).eval()
    x, behavior = torch.randn(2, 1, 24, 32), torch.randn(2, 3)
    assert not torch.allclose(core(x, behavior), core(x, -behavior))
    for block in core.blocks:
        for parameter in block.behavior.parameters():
            nn.init.zeros_(parameter)
    assert torch.equal(core(x, behavior), core(x))
    torch.manual_seed(0)
    blind = seeing().eval()
    blind.load_state_dict({name: core.state_dict()[name] for name in blind.state_dict()})
    assert torch.equal(blind(x, behavior), core(x))


def test_a_twin_tells_its_core_what_the_animal_does(make_twin, spec):
    twin = make_twin(core="vision_transformer", heads=2, behavior="core")
    twins.check_twin(twin)
    twin.readout.features.data.normal_()
    x = torch.rand(2, *spec.shape) * 255
    change = twin.condition()(x) - twin.condition(behavior=(3.0, 0.0, 9.0))(x)
    assert change.abs().amin(1).min() > 1e-3


def test_patches_in_another_order_give_the_map_in_that_order():
    core = seeing().eval()
    order = torch.randperm(12)
    x = torch.randn(2, 1, 24, 32)
    patches = F.unfold(x, 8, stride=8)[:, :, order]
    shuffled = F.fold(patches, (24, 32), 8, stride=8)
    expected = core(x).flatten(2)[:, :, order]
    assert not torch.allclose(core(shuffled).flatten(2), expected, atol=1e-4)
    core.place.data = core.place[order]
    torch.testing.assert_close(core(shuffled).flatten(2), expected)


def test_every_pixel_is_seen_where_patches_do_not_fill_the_image():
    core = VisionTransformerCore(1, 21, 30, hidden=8, layers=1, patch=8, stride=4, heads=2)
    assert core.map_shape(21, 30) == (5, 7)
    x = torch.randn(1, 1, 21, 30, requires_grad=True)
    (gradient,) = torch.autograd.grad(core(x).square().sum(), x)
    assert gradient.abs().min() > 0
    first, last = core.map_corners(21, 30)
    # what is added is shared by both sides: 3 rows as 1 and 2, 2 columns as 1 and 1
    assert first == (2.5, 2.5)
    assert last == (18.5, 26.5)


def test_a_transformer_learns_a_planted_task_by_heart():
    core = seeing(layers=1, hidden=16)
    read = nn.Linear(16 * 12, 3)
    x, wanted = torch.randn(12, 1, 24, 32), torch.randn(12, 3)
    optimizer = torch.optim.Adam([*core.parameters(), *read.parameters()], 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        loss = (read(core(x).flatten(1)) - wanted).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.01


def test_dropout_is_for_learning_only():
    core = seeing(dropout=0.5)
    x = torch.randn(1, 1, 24, 32)
    assert not torch.equal(core(x), core(x))
    core.eval()
    assert torch.equal(core(x), core(x))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"heads": 3}, r"`hidden` \(8\) must be a multiple of `heads` \(3\)"),
        ({"patch": 25}, "from 3 to the smaller side of the image, 24 pixels, but is 25"),
        ({"stride": 9}, r"from 1 to `patch` \(8\), but is 9"),
    ],
)
def test_impossible_transformers_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        seeing(**settings)


# features of another network


class Backbone(nn.Module):
    """Three channels in, a batch norm inside, and a last layer that must not be run."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 5, stride=2, padding=2)
        self.norm = nn.BatchNorm2d(6)
        self.body = nn.Sequential(nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1))
        self.head = nn.Linear(1, 1)

    def forward(self, image):
        maps = self.body(self.norm(self.stem(image)))
        self.head(maps)  # does not fit
        raise AssertionError


class Tokens(nn.Module):
    def __init__(self, classes=1, patch=8):
        super().__init__()
        self.embed = nn.Conv2d(1, 4, patch, stride=patch)
        self.extra = nn.Parameter(torch.randn(1, classes, 4))
        self.join = nn.Identity()

    def forward(self, image):
        tokens = self.embed(image).flatten(2).transpose(1, 2)
        return self.join(torch.cat([self.extra.expand(len(tokens), -1, -1), tokens], 1)).sum()


def borrowed(backbone, layer, **settings):
    return FeatureCore(backbone, layer, height=24, width=32, **settings)


def test_features_are_those_of_the_layer_and_nothing_after_it_is_run():
    backbone = Backbone().eval()
    core = borrowed(backbone, "body.0", norm=False).eval()
    x = torch.randn(2, 1, 24, 32)
    expected = F.relu(backbone.norm(backbone.stem(x.expand(-1, 3, -1, -1))))
    assert torch.equal(core(x), expected)
    assert core.map_shape(24, 32) == (12, 16)
    assert core.out_channel == 6


def test_own_normalisation_and_a_batch_norm_of_the_map():
    backbone = Backbone()
    core = borrowed(backbone, "stem", mean=(1.0, 2.0, 3.0), std=(2.0, 1.0, 4.0))
    x = torch.randn(5, 1, 24, 32)
    scaled = torch.cat([(x - 1) / 2, x - 2, (x - 3) / 4], 1)
    maps = backbone.stem(scaled)
    mean, var = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), False, keepdim=True)
    torch.testing.assert_close(core(x), (maps - mean) / (var + 1e-5).sqrt(), rtol=1e-4, atol=1e-5)


def test_a_backbone_that_does_not_learn_stays_as_it_is(make_twin, monkeypatch):
    monkeypatch.setitem(twins.BACKBONES, "mine", Backbone)
    twin = make_twin(core="features", backbone="mine", backbone_layer="body.1").train()
    before = {name: value.clone() for name, value in twin.core.backbone.state_dict().items()}
    (twin(torch.rand(4, 1, 24, 32) * 255).sum() + twin.regularizer(1.0, 1.0)).backward()
    assert twin.core.norm.training
    for name, value in twin.core.backbone.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.grad is None for p in twin.core.backbone.parameters())


def test_a_backbone_may_learn(make_twin, monkeypatch):
    monkeypatch.setitem(twins.BACKBONES, "mine", Backbone)
    settings = {"core": "features", "backbone": "mine", "backbone_layer": "body.1"}
    twin = make_twin(**settings, backbone_trainable=True).train()
    start = twin.core.backbone.norm.running_mean.clone()
    assert (start == 0).all()  # making the twin leaves no trace
    loss = twin(torch.rand(4, 1, 24, 32) * 255).sum() + twin.core.regularizer()
    loss.backward()
    assert twin.core.backbone.stem.weight.grad.abs().max() > 0
    assert not torch.equal(twin.core.backbone.norm.running_mean, start)
    assert twin.core.regularizer() > 0


def test_tokens_are_put_in_their_places():
    for classes in (0, 1):
        backbone = Tokens(classes)
        core = borrowed(backbone, "join", norm=False)
        x = torch.randn(2, 1, 24, 32)
        torch.testing.assert_close(core(x), backbone.embed(x))
        assert core.map_shape(24, 32) == (3, 4)
        assert core.map_corners(24, 32) == ((3.5, 3.5), (19.5, 27.5))


def test_the_network_given_is_left_as_it_was():
    backbone = Tokens()
    borrowed(backbone, "embed", trainable=False)
    assert backbone(torch.zeros(1, 1, 24, 32)).shape == ()
    assert all(p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: borrowed(Backbone(), "body.2"), r"no layer 'body.2'; near it are .*'body.1'"),
        (lambda: borrowed(Backbone(), "stem", channel=4), "takes images of 3 channels, but.* 4"),
        (lambda: borrowed(Backbone(), "head"), "does not run on images of 24 x 32"),
        (lambda: borrowed(Tokens(3), "join"), "The 15 tokens of layer 'join'"),
        (lambda: borrowed(Tokens(), ""), r"gives \(\); expected a map"),
        (lambda: borrowed(Tokens(patch=30), "embed"), "does not run on images of 24 x 32"),
        (lambda: borrowed(GaborEnergy(), "later"), "no layer 'later'"),
    ],
)
def test_what_gives_no_map_is_refused_in_one_line(make, words):
    with pytest.raises(InputError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_twin_needs_its_builder_and_nothing_else(make_twin, monkeypatch, tmp_path):
    weights = tmp_path / "weights.safetensors"
    save_file(Backbone().state_dict(), weights)
    with monkeypatch.context() as registered:
        registered.setitem(
            twins.BACKBONES, "mine", lambda: twins.load_backbone(Backbone(), weights)
        )
        twin = make_twin(core="features", backbone="mine", backbone_layer="stem")
        path = twins.save_twin(twin, tmp_path / "twin")
    with pytest.raises(InputError, match=r"no backbone 'mine'.*BACKBONES\['mine'\] = build"):
        twins.load_twin(path)
    weights.unlink()
    monkeypatch.setitem(twins.BACKBONES, "mine", Backbone)
    assert twins.load_twin(path).identity == twin.identity


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(InputError, match="there is no such file"):
        twins.load_backbone(Backbone(), path)
    save_file(Tokens().state_dict(), path)
    with pytest.raises(InputError, match="does not hold the weights of a Backbone"):
        twins.load_backbone(Backbone(), path)
    path.write_bytes(b"pickled")
    with pytest.raises(InputError, match="does not hold the weights of a Backbone"):
        twins.load_backbone(Backbone(), path)


def test_timm_is_asked_for_by_name_and_never_for_weights(make_twin, monkeypatch, tmp_path):
    asked = []

    def create_model(name, pretrained):
        asked.append((name, pretrained))
        if name != "tiny":
            msg = f"Unknown model ({name})"
            raise RuntimeError(msg)
        return Backbone()

    settings = {"core": "features", "backbone": "timm:tiny", "backbone_layer": "stem"}
    monkeypatch.setitem(__import__("sys").modules, "timm", None)  # as if not installed
    with pytest.raises(InputError, match="needs timm, which is not installed"):
        make_twin(**settings)
    stand_in = types.SimpleNamespace(create_model=create_model)
    monkeypatch.setitem(__import__("sys").modules, "timm", stand_in)
    assert make_twin(**settings).core.map_shape(24, 32) == (12, 16)
    with pytest.raises(InputError, match="timm does not build 'huge': Unknown model"):
        make_twin(**settings | {"backbone": "timm:huge"})
    assert asked == [("tiny", False), ("huge", False)]
    save_file(Backbone().state_dict(), tmp_path / "w.safetensors")
    assert isinstance(twins.timm_backbone("tiny", tmp_path / "w.safetensors"), Backbone)


# the built-in backbone


def gratings(wavelength, angle, phases=4, size=61):
    """Gratings of amplitude 1 in z units; `angle` of the bars as everywhere: 0 is horizontal."""
    y, x = torch.meshgrid(*[torch.arange(size) - size // 2] * 2, indexing="ij")
    across = x * math.sin(angle) + y * math.cos(angle)
    waves = [
        torch.cos(2 * torch.pi * across / wavelength + 2 * torch.pi * phase / phases)
        for phase in range(phases)
    ]
    return torch.stack(waves)[:, None]


def test_gabor_energy_peaks_at_its_own_grating_whatever_the_phase():
    wavelengths, orientations = (4.0, 6.0, 9.0, 13.5), 8
    bank = GaborEnergy(wavelengths, orientations)
    for w, wavelength in enumerate(wavelengths):
        for o in range(orientations):
            angle = torch.pi * o / orientations
            drive = bank(gratings(wavelength, angle))[:, :, 30, 30]
            own = drive[:, w * orientations + o]
            assert (drive.argmax(1) == w * orientations + o).all()
            torch.testing.assert_close(own, torch.ones(4), rtol=0.03, atol=0)
    for factor in (0.9, 1.1):  # between the steps of the bank too
        off = bank(gratings(9.0 * factor, 0.0))[:, 16, 30, 30]
        assert (off < 0.99).all()


def test_gabor_energy_is_blind_to_grey_and_splits_phase():
    bank = GaborEnergy()
    plain = bank(torch.full((1, 1, 61, 61), 3.0))[0, :, 30, 30]
    assert plain.max() < 5e-3
    simple = bank.pairs(gratings(6.0, 0.0))[:, [8, 32 + 8], 30, 30]
    expected = torch.tensor([[1.0, 0.0], [0.0, -1.0], [-1.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(simple, expected, rtol=0, atol=0.03)
