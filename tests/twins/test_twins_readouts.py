"""Every readout obeys the same laws, and computes what its reference computes."""

import copy
from functools import cache

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn import functional as F

from twinlab.schema import InputError
from twinlab.twins import Architecture, check_twin, import_peer, load_twin, save_twin
from twinlab.twins.attention import build_attention
from twinlab.twins.factorized import FactorizedReadout, build_factorized
from twinlab.twins.pooled import PointPooledReadout, build_point_pooled
from twinlab.twins.readouts import PULL, GaussianReadout, PositionNetwork, build_gaussian

N_NEURON, CHANNEL, MAP = 6, 8, (10, 12)
BUILD = {
    "gaussian": build_gaussian,
    "factorized": build_factorized,
    "attention": build_attention,
    "point_pooled": build_point_pooled,
}
KINDS = {
    "full": {},
    "uncorrelated": {"covariance": "uncorrelated"},
    "isotropic": {"covariance": "isotropic"},
    "cortical": {"positions": "cortical"},
    "both": {"positions": "both"},
    "shared": {"share_features": "cell"},
    "factorized": {"readout": "factorized"},
    "factorized-shared": {"readout": "factorized", "share_features": "cell"},
    "attention": {"readout": "attention", "heads": 1},
    "attention-heads": {"readout": "attention", "heads": 2, "positions": "both"},
    "attention-shared": {"readout": "attention", "heads": 4, "share_features": "cell"},
    "point_pooled": {"readout": "point_pooled"},
    "point_pooled-both": {
        "readout": "point_pooled", "positions": "both", "share_features": "cell",
    },
}  # fmt: skip
every = pytest.mark.parametrize("kind", KINDS)


def cortex():
    rng = np.random.default_rng(0)
    return xr.Dataset(
        coords={
            "neuron_id": ("neuron", np.arange(N_NEURON)),
            "x_um": ("neuron", rng.normal(size=N_NEURON) * 100),
            "y_um": ("neuron", rng.normal(size=N_NEURON) * 100),
            "cell": ("neuron", ["c", "a", "b", "a", "c", "c"]),
        }
    )


def positions():
    return torch.rand(N_NEURON, 2, generator=torch.Generator().manual_seed(5)) - 0.5


@cache
def fresh(kind):
    return make(kind)


def make(kind, seed=0, neurons=None, map_shape=MAP, position=None):
    """A readout at its start."""
    architecture = Architecture(**KINDS[kind])
    return BUILD[architecture.readout](
        architecture,
        CHANNEL,
        map_shape,
        positions() if position is None else position,
        cortex() if neurons is None else neurons,
        torch.Generator().manual_seed(seed),
    ).eval()


def stirred(kind):
    """A readout away from its start, so that nothing is equal by chance."""
    readout = copy.deepcopy(fresh(kind))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in readout.named_parameters():
            if "network" not in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return readout


def weigh(readout, factor):
    """Multiply the features."""
    with torch.no_grad():
        for name, parameter in readout.named_parameters():
            if name in ("features", "parametrizations.features.original0"):
                parameter *= factor


def maps_of(batch, seed=2, **kind):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, CHANNEL, *MAP, generator=generator).to(**kind)


@every
def test_the_start_gives_the_mean_of_a_constant_map(kind):
    readout = copy.deepcopy(fresh(kind))
    readout.bias.data += torch.arange(N_NEURON)
    maps = torch.arange(CHANNEL, dtype=torch.float32)[:, None, None].expand(3, -1, *MAP)
    expected = (3.5 + torch.arange(N_NEURON)).expand(3, -1)
    torch.testing.assert_close(readout(maps), expected, rtol=1e-5, atol=1e-5)


@every
def test_it_starts_to_look_where_it_is_told(kind):
    readout = copy.deepcopy(fresh(kind))
    away = (readout.position - positions()).abs()
    if KINDS[kind].get("positions") == "both":  # one peak in noise may be among them
        away = away.max(1).values.sort().values[:-1]
    tolerance = 0.2 if kind == "cortical" else 0.02
    assert away.median() < tolerance / 2
    assert away.max() < (0.5 if kind == "cortical" else tolerance)


@every
def test_neurons_asked_about_are_computed_as_among_all(kind):
    readout, maps = stirred(kind), maps_of(5)
    shift = torch.randn(5, 2, generator=torch.Generator().manual_seed(3)) / 5
    neuron = torch.tensor([4, 0, 4, 2])
    for moved in (None, shift):
        whole = readout(maps, shift=moved)
        assert whole.shape == (5, N_NEURON)
        assert whole.std(0).min() > 0.01
        some = readout(maps, shift=moved, neuron=neuron)
        torch.testing.assert_close(some, whole[:, neuron], rtol=1e-5, atol=1e-5)


@every
def test_own_neurons_are_the_diagonal_of_all(kind):
    readout, maps = stirred(kind), maps_of(N_NEURON)
    shift = torch.randn(N_NEURON, 2, generator=torch.Generator().manual_seed(3)) / 5
    for moved in (None, shift):
        whole = readout(maps, shift=moved)
        own = readout(maps, shift=moved, paired=True)
        torch.testing.assert_close(own, whole.diagonal(), rtol=1e-5, atol=1e-5)
        neuron = torch.tensor([3, 1, 1, 5, 0, 2])
        own = readout(maps, shift=moved, neuron=neuron, paired=True)
        chosen = whole[torch.arange(N_NEURON), neuron]
        torch.testing.assert_close(own, chosen, rtol=1e-5, atol=1e-5)


@every
def test_an_image_is_read_alone(kind):
    readout, maps = stirred(kind), maps_of(5)
    alone = torch.cat([readout(one[None]) for one in maps])
    torch.testing.assert_close(alone, readout(maps), rtol=1e-5, atol=1e-5)


@every
@pytest.mark.parametrize("training", [False, True])
def test_double_precision_gives_the_same_more_precisely(kind, training):
    single, double = stirred(kind).train(training), stirred(kind).double().train(training)
    shift = torch.full((3, 2), 0.1)
    answers = []
    for readout, dtype in ((single, torch.float32), (double, torch.float64)):
        readout.generator = torch.Generator().manual_seed(0)
        answers.append(readout(maps_of(3, dtype=dtype), shift=shift.to(dtype)))
        assert answers[-1].dtype == dtype
        assert readout(maps_of(N_NEURON, dtype=dtype), paired=True).dtype == dtype
    torch.testing.assert_close(answers[0].double(), answers[1], rtol=1e-4, atol=1e-4)


@every
def test_maps_of_low_precision_are_read_in_the_precision_of_the_weights(kind):
    readout = stirred(kind)
    maps = maps_of(N_NEURON).bfloat16().requires_grad_()
    for paired in (False, True):
        drive = readout(maps, paired=paired, shift=torch.full((N_NEURON, 2), 0.1))
        assert drive.dtype == torch.float32
        exact = readout(maps.float(), paired=paired, shift=torch.full((N_NEURON, 2), 0.1))
        torch.testing.assert_close(drive, exact)
        (gradient,) = torch.autograd.grad(drive.sum(), maps)
        assert gradient.dtype == torch.bfloat16
        assert gradient.abs().max() > 0


@every
def test_every_parameter_learns(kind):
    readout = stirred(kind).train()
    (readout(maps_of(20)) ** 2).sum().backward()
    for name, parameter in readout.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@every
def test_everything_random_comes_from_the_generators(kind):
    drives = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        readout = make(kind, seed=7).train()
        readout.generator = torch.Generator().manual_seed(8)
        drives.append(readout(maps_of(3)))
    torch.testing.assert_close(*drives, rtol=0, atol=0)


@every
def test_the_regulariser_is_the_size_of_the_features(kind):
    readout = copy.deepcopy(fresh(kind))
    before = readout.regularizer()
    assert before.shape == ()
    pulled = 0 if getattr(readout, "offset", None) is None else PULL * (readout.offset**2).sum()
    weigh(readout, torch.tensor(3.0))
    torch.testing.assert_close(readout.regularizer() - pulled, 3 * (before - pulled))


# of a network of cortical place alone no six neurons can be moved freely
@pytest.mark.parametrize("kind", [k for k, v in KINDS.items() if v.get("positions") != "cortical"])
def test_a_neuron_is_found_away_from_where_it_starts(kind):
    torch.manual_seed(0)
    start = positions()
    planted = start + torch.tensor([[0.25, -0.2]])
    smooth = F.avg_pool2d(torch.randn(400, CHANNEL, MAP[0] + 2, MAP[1] + 2), 3, stride=1) * 3
    reference = GaussianReadout(CHANNEL, planted).eval()
    response = reference(smooth).detach()
    neurons = cortex().assign_coords(cell=("neuron", np.zeros(N_NEURON)))
    readout = make(kind, neurons=neurons).train()
    readout.generator = torch.Generator().manual_seed(0)
    before = (readout.position - planted).norm(dim=1)
    optimizer = torch.optim.Adam(readout.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        chosen = torch.randint(400, (64,))
        ((readout(smooth[chosen]) - response[chosen]) ** 2).mean().backward()
        optimizer.step()
    after = (readout.position - planted).norm(dim=1)
    assert before.median() > 0.25
    assert after.median() < 0.08  # half a map point
    error = (readout.eval()(smooth) - response).var(0) / response.var(0)
    assert error.median() < 0.15


@pytest.mark.parametrize("kind", ["full", "factorized", "attention"])
def test_a_shift_moves_what_is_read(kind):
    rows, columns = torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 30)
    ramp = torch.stack([columns.expand(24, -1), rows[:, None].expand(-1, 30)]).repeat(4, 1, 1)
    shift = torch.tensor([[0.2, 0.0], [0.0, -0.3], [0.1, 0.2]])
    for axis in (0, 1):  # the weight of one channel in two
        readout = make(kind, map_shape=(24, 30), position=torch.zeros(N_NEURON, 2))
        weigh(readout, torch.arange(CHANNEL) % 2 == axis)
        drive = readout(ramp.expand(3, -1, -1, -1), shift=shift)
        expected = (shift[:, axis, None] / 2).expand(-1, N_NEURON)
        torch.testing.assert_close(drive, expected, rtol=1e-3, atol=1e-4)


# Against neuralpredictors


def peer(name, **settings):
    torch.manual_seed(0)
    readout = getattr(import_peer("layers.readouts"), name)(
        (CHANNEL, *MAP), N_NEURON, bias=True, mean_activity=torch.ones(N_NEURON), **settings
    )
    with torch.no_grad():
        for parameter in readout.parameters():
            parameter += 0.3 * torch.rand(parameter.shape)
    return readout


def assert_same(ours, theirs, pairs, training, shifted):
    """Equal outputs, and gradients to maps, shift and every parameter."""
    ours.train(training)
    theirs.train(training)
    maps, given = maps_of(5), torch.randn(5, N_NEURON)
    shift = (torch.randn(5, 2) / 5) if shifted else None
    answers = []
    for readout in (ours, theirs):
        inputs = [maps.clone().requires_grad_()]
        moved = None if shift is None else shift.clone().requires_grad_()
        inputs += [] if moved is None else [moved]
        torch.manual_seed(11)
        ours.generator = torch.Generator().manual_seed(11)
        drive = readout(inputs[0], shift=moved) if shifted else readout(inputs[0])
        readout.zero_grad()
        answers.append([drive, *torch.autograd.grad(drive, inputs, given, retain_graph=True)])
        drive.backward(given)
    answers = list(zip(*answers, strict=True))
    answers += [(mine.grad, other.grad.reshape(mine.shape)) for mine, other in pairs]
    for mine, other in answers:
        assert (mine - other).abs().max() < 1e-5 * other.abs().max()


def load(pairs):
    with torch.no_grad():
        for mine, other in pairs:
            mine.copy_(other.reshape(mine.shape))


class Transposed:
    """A peer's parameter (1, channel, 1, neuron) in the order of ours, with its gradient."""

    def __init__(self, parameter):
        self.parameter = parameter

    def reshape(self, shape):
        return self.parameter[0, :, 0].T.reshape(shape)

    @property
    def grad(self):
        return self.parameter.grad[0, :, 0].T


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("covariance", ["full", "uncorrelated", "isotropic"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
def test_the_gaussian_readout_computes_what_the_peers_does(shared, covariance, training, shifted):
    settings = {"shared_features": {"match_ids": cortex().cell.values}} if shared else {}
    theirs = peer("FullGaussian2d", gauss_type=covariance, init_sigma=0.2, **settings)
    ours = make("shared" if shared else "full")
    if covariance != "full":
        ours.sigma = GaussianReadout(CHANNEL, positions(), covariance=covariance).sigma
    pairs = [(ours.mu, theirs._mu), (ours.sigma, theirs.sigma), (ours.bias, theirs.bias)]
    if shared:
        made = ours.parametrizations.features
        pairs += [(made.original0, Transposed(theirs._features)), (made.original1, theirs.scales)]
    else:
        pairs += [(ours.features, Transposed(theirs._features))]
    load(pairs)
    if not training:
        pairs = [pair for pair in pairs if pair[0] is not ours.sigma]  # not used: no gradient
    assert_same(ours, theirs, pairs, training, shifted)
    torch.testing.assert_close(ours.regularizer(), theirs.feature_l1(reduction="sum"))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("nonnegative", ["any", "both"])
@pytest.mark.parametrize("training", [False, True])
def test_the_factorized_readout_computes_what_the_peers_does(
    shared, normalized, nonnegative, training
):
    settings = {"shared_features": {"match_ids": cortex().cell.values}} if shared else {}
    theirs = peer(
        "FullFactorized2d",
        normalize=normalized,
        constrain_pos=nonnegative == "both",
        init_noise=0.01,
        **settings,
    )
    if nonnegative == "both":  # below zero, the peer clamps after it has taken the norm
        for parameter in (theirs.spatial, theirs._features):
            parameter.data.abs_()
    ours = make("factorized-shared" if shared else "factorized")
    ours.normalized, ours.nonnegative = normalized, nonnegative
    pairs = [(ours.mask, theirs.spatial), (ours.bias, theirs.bias)]
    if shared:
        made = ours.parametrizations.features
        pairs += [(made.original0, theirs._features), (made.original1, theirs.scales)]
    else:
        pairs += [(ours.features, theirs._features)]
    load(pairs)
    assert_same(ours, theirs, pairs, training, shifted=False)
    # the peer's own measure multiplies the masks of each neuron with the features of all
    torch.testing.assert_close(ours.regularizer(), theirs.weight.abs().sum())


@pytest.mark.parametrize(("steps", "kernel"), [(0, 2), (2, 2), (1, 4)])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
def test_the_point_pooled_readout_computes_what_the_peers_does(steps, kernel, training, shifted):
    theirs = peer("PointPooled2d", pool_steps=steps, pool_kern=kernel, init_range=0.3)
    theirs.in_shape = list(theirs.in_shape)  # it compares a list with what it was given
    ours = PointPooledReadout(CHANNEL, positions(), steps=steps, kernel=kernel)
    pairs = [
        (ours.mu, theirs.grid),
        (ours.features, Transposed(theirs.features)),
        (ours.bias, theirs.bias),
    ]
    load(pairs)
    assert_same(ours, theirs, pairs, training, shifted)
    torch.testing.assert_close(ours.regularizer(), theirs.feature_l1(reduction="sum"))


# Each on its own


def test_a_position_beyond_the_map_is_the_one_really_used():
    network = PositionNetwork(np.random.default_rng(0).normal(size=(N_NEURON, 2)))
    readout = GaussianReadout(CHANNEL, positions(), network=network, offset=True)
    readout.offset.data[:] = torch.tensor([9.0, -9.0])
    corner = torch.tensor([1.0, -1.0]).expand(N_NEURON, -1)
    torch.testing.assert_close(readout.position, corner)
    maps = maps_of(4)
    for training in (False, True):
        readout.sigma.data.zero_()
        drive = readout.train(training)(maps)
        torch.testing.assert_close(drive, maps[:, :, 0, -1].mean(1, keepdim=True).expand_as(drive))


def test_an_offset_starts_at_the_data_unless_they_are_noise():
    rng = np.random.default_rng(0)
    place = rng.uniform(-1, 1, (200, 2))
    retinotopy = torch.as_tensor(place * 0.5, dtype=torch.float32)
    scattered = retinotopy + 0.05 * torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    scattered[:20] = torch.as_tensor(rng.uniform(-1, 1, (20, 2)))  # found in noise
    network = PositionNetwork(place, generator=torch.Generator().manual_seed(0))
    network.fit(scattered)
    readout = GaussianReadout(CHANNEL, scattered, network=network, offset=True)
    sane, lost = slice(20, None), slice(0, 20)
    assert (readout.position - scattered)[sane].abs().median() < 1e-6
    assert (readout.position - retinotopy)[lost].norm(dim=1).median() < 0.1


def test_offsets_are_pulled_to_the_network_as_strongly_as_the_prior_says():
    # 4,500 images in batches of 128; the loss is then a log likelihood / sqrt(4500 / 128)
    strength = 0.0076 * PULL * np.sqrt(4500 / 128)
    assert np.sqrt(1 / (2 * strength)) == pytest.approx(0.1, rel=0.1)
    readout = make("both")
    readout.features.data.zero_()
    readout.offset.data[:] = 0.2
    torch.testing.assert_close(readout.regularizer(), torch.tensor(PULL * 0.04 * 2 * N_NEURON))


def test_shared_features_are_one_vector_with_scales_of_their_own():
    readout = stirred("shared")
    made = readout.parametrizations.features
    assert made.original0.shape == (3, CHANNEL)
    made.original1.data = torch.arange(1.0, N_NEURON + 1)
    cells = cortex().cell.values
    for i in range(N_NEURON):
        for j in range(N_NEURON):
            scaled = readout.features[i] / (i + 1) - readout.features[j] / (j + 1)
            assert (scaled.abs().max() < 1e-6) == (cells[i] == cells[j])


def test_attention_is_what_it_is_by_hand():
    readout = stirred("attention-heads")
    maps, shift = maps_of(2).double(), torch.tensor([[0.1, -0.2], [0.3, 0.0]]).double()
    readout = readout.double()
    with torch.no_grad():
        drive = readout(maps, shift=shift).numpy()
        found = readout.attention(maps, shift=shift).numpy()
        height, width = MAP
        heads, share = 2, CHANNEL // 2
        for image in range(2):
            keys = np.einsum("kc,cyx->kyx", readout.key.weight.numpy(), maps[image].numpy())
            for neuron in range(N_NEURON):
                total = float(readout.bias[neuron])
                place = (readout.position[neuron] + shift[image]).numpy()
                x, y = (place + 1) / 2 * (np.array([width, height]) - 1)
                for head in range(heads):
                    part = slice(head * share, (head + 1) * share)
                    query = readout.query[neuron, head].numpy()
                    logit = np.einsum("k,kyx->yx", query, keys[part]) / np.sqrt(share)
                    spread = np.exp(float(readout.log_spread[neuron, head]))
                    rows, columns = np.mgrid[:height, :width]
                    logit -= ((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2)
                    weight = np.exp(logit - logit.max())
                    weight /= weight.sum()
                    np.testing.assert_allclose(found[image, neuron, head], weight, atol=1e-9)
                    read = (weight * maps[image, part].numpy()).sum((1, 2))
                    total += float(read @ readout.features[neuron, part].numpy())
                assert drive[image, neuron] == pytest.approx(total, rel=1e-8)


@pytest.mark.parametrize("kind", ["attention", "attention-heads", "attention-shared"])
def test_attention_is_shared_out_whole(kind):
    weight = stirred(kind).attention(maps_of(3), neuron=torch.tensor([1, 4]))
    heads = Architecture(**KINDS[kind]).heads
    assert weight.shape == (3, 2, heads, *MAP)
    torch.testing.assert_close(weight.sum((3, 4)), torch.ones(3, 2, heads))
    assert weight.min() >= 0


def test_masks_start_as_bumps_and_stay_above_zero():
    readout = make("factorized", map_shape=(20, 30)).train()
    peak = readout.mask.flatten(1).argmax(1)
    x, y = (peak % 30) / 29 * 2 - 1, (peak // 30) / 19 * 2 - 1
    assert (torch.stack([x, y], 1) - positions()).abs().max() < 0.06
    readout.mask.data -= 0.5
    readout.features.data -= 0.5
    readout(torch.randn(2, CHANNEL, 20, 30))
    assert readout.mask.min() == 0
    assert readout.features.min() < 0


def test_a_small_map_is_pooled_less_often():
    settings = (Architecture(readout="point_pooled"), CHANNEL)
    rest = (positions(), cortex(), torch.Generator())
    steps = [build_point_pooled(*settings, (side, side), *rest).steps for side in (3, 4, 15, 16)]
    assert steps == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("architecture", "neurons", "match"),
    [
        ({"positions": "both"}, cortex().drop_vars("y_um"), "missing .'y_um'."),
        (
            {"positions": "cortical"},
            cortex().assign_coords(x_um=("neuron", [0, 1, np.nan, 3, 4, np.nan])),
            "not finite for 2 of 6 neurons, first neuron 2",
        ),
        ({"share_features": "cel"}, cortex(), "names 'cel'.*known: .*'cell'"),
        (
            {"share_features": "cell"},
            cortex().assign_coords(cell=("neuron", [0, 1, np.nan, 0, 1, 2])),
            "1 neurons have no value of, first neuron 2",
        ),
        ({"readout": "attention", "heads": 3}, cortex(), "divide the 8 channels.*is 3"),
        ({"readout": "factorized", "positions": "both"}, cortex(), "masks, not positions"),
    ],
)
def test_what_cannot_be_built_says_why(architecture, neurons, match):
    asked = Architecture(**architecture)
    with pytest.raises(InputError, match=match):
        BUILD[asked.readout](asked, CHANNEL, MAP, positions(), neurons, torch.Generator())


def test_an_unknown_sign_says_which_are_known():
    with pytest.raises(InputError, match="`nonnegative` is 'all'; known: any, mask, both"):
        FactorizedReadout(CHANNEL, MAP, positions(), nonnegative="all")


@pytest.fixture
def quick_network(monkeypatch):
    """A position network that is not brought far."""
    monkeypatch.setattr(PositionNetwork.fit, "__defaults__", (5, 0.01))


@pytest.mark.usefixtures("quick_network")
@every
def test_a_twin_with_it_is_a_twin_and_comes_back_from_disk(kind, make_twin, tmp_path):
    architecture = {**KINDS[kind]}
    if "share_features" in architecture:
        architecture["share_features"] = "session"
    twin = make_twin(**architecture, shifter=True, behavior="gain").eval()
    check_twin(twin)
    save_twin(twin, tmp_path / "twin")
    again = load_twin(tmp_path / "twin")
    images = torch.rand(3, 1, 24, 32) * 255
    torch.testing.assert_close(again(images), twin(images), rtol=0, atol=0)
    np.testing.assert_array_equal(again.position, twin.position)
    assert np.isfinite(copy.deepcopy(twin).for_inference().position).all()


@pytest.mark.usefixtures("quick_network")
@pytest.mark.parametrize("kind", [it for it in KINDS if "share_features" not in KINDS[it]])
def test_a_twin_starts_at_the_mean_response(kind, make_twin):
    twin = make_twin(**KINDS[kind])
    drive = twin.readout(torch.zeros(2, 8, *twin.map_shape))  # a map where nothing is found
    torch.testing.assert_close(F.elu(drive) + 1, torch.ones_like(drive))
