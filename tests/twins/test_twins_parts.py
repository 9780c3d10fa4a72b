"""Each part computes what its reference computes, forwards and backwards."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from twinlab.twins import import_peer, load_peer_core, load_peer_readout
from twinlab.twins.cores import StackedCore, laplace_roughness
from twinlab.twins.depthwise import DepthwiseConv2d
from twinlab.twins.readouts import GaussianReadout, PositionNetwork
from twinlab.twins.sampling import sample_points, weigh_points


def peer_core(**settings):
    parts = {
        "input_channels": 1, "hidden_channels": 8, "input_kern": 5, "hidden_kern": 3,
        "layers": 3, "bias": False, "pad_input": False, "stack": -1, "momentum": 0.1,
        "depth_separable": True, "input_regularizer": "LaplaceL2norm", "use_avg_reg": False,
    }  # fmt: skip
    return import_peer("layers.cores").Stacked2dCore(**(parts | settings))


def peer_readout(n_neuron=6):
    return import_peer("layers.readouts").FullGaussian2d(
        (8, 10, 12), n_neuron, bias=True, mean_activity=torch.ones(n_neuron)
    )


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_core_loads_and_computes_what_the_peers_does(linear, training):
    theirs = peer_core(linear=linear)
    ours = StackedCore(1, layers=3, hidden=8, input_kernel=5, hidden_kernel=3, linear=linear)
    load_peer_core(ours, theirs.state_dict())
    ours.train(training)
    theirs.train(training)
    x = torch.randn(4, 1, 14, 16)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.regularizer(), theirs.laplace())
    weight = torch.randn(4, 8, 10, 12)
    for core in (ours, theirs):
        core.zero_grad()
        (core(x) * weight).sum().backward()
    for (name, mine), (_, other) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        torch.testing.assert_close(mine.grad, other.grad, rtol=2e-3, atol=2e-4, msg=name)


def test_folding_the_batch_norms_changes_nothing():
    core = StackedCore(1, layers=3, hidden=8)
    for _ in range(5):
        core(torch.randn(4, 1, 36, 64))  # running statistics away from their start
    core.eval()
    x = torch.randn(2, 1, 36, 64)
    before = core(x)
    core.fold()
    torch.testing.assert_close(core(x), before, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in core.modules())


def test_the_readout_loads_and_computes_what_the_peers_does():
    theirs = peer_readout()
    theirs.bias.data.normal_()
    theirs._features.data.normal_()
    ours = GaussianReadout(8, torch.zeros(6, 2))
    load_peer_readout(ours, theirs.state_dict())
    maps = torch.randn(5, 8, 10, 12)
    shift = torch.randn(5, 2) / 5
    ours.eval()
    theirs.eval()
    torch.testing.assert_close(ours(maps), theirs(maps))
    torch.testing.assert_close(ours(maps, shift=shift), theirs(maps, shift=shift))
    torch.testing.assert_close(ours.regularizer(), theirs.feature_l1(reduction="sum"))


def test_drawn_positions_follow_the_peers_distribution():
    theirs = peer_readout(n_neuron=1)
    ours = GaussianReadout(8, torch.zeros(1, 2))
    load_peer_readout(ours, theirs.state_dict())
    maps = torch.randn(1, 8, 10, 12).expand(20000, -1, -1, -1)
    mine, other = ours(maps).detach(), theirs(maps).detach()
    assert mine.mean() == pytest.approx(float(other.mean()), abs=4 * float(other.std()) / 100)
    assert mine.std() == pytest.approx(float(other.std()), rel=0.05)


def test_the_whole_model_computes_what_the_peers_encoder_does():
    encoder = import_peer("layers.encoders").FiringRateEncoder
    base = import_peer("layers.readouts.base")
    core, readout = peer_core(), peer_readout()

    class OneSession(torch.nn.Module):
        def forward(self, x, data_key=None, **kwargs):
            return readout(x, **kwargs)

    assert issubclass(type(readout), base.Readout)
    theirs = encoder(core, OneSession()).eval()
    our_core = StackedCore(1, layers=3, hidden=8, input_kernel=5, hidden_kernel=3)
    load_peer_core(our_core, core.state_dict())
    our_readout = GaussianReadout(8, torch.zeros(6, 2))
    load_peer_readout(our_readout, readout.state_dict())
    x = torch.randn(3, 1, 14, 16)
    our_core.eval()
    our_readout.eval()
    readout.eval()
    ours = F.elu(our_readout(our_core(x))) + 1
    torch.testing.assert_close(ours, theirs(x, data_key="a"), rtol=1e-4, atol=1e-5)


def test_the_stand_ins_for_the_peer_are_gone_after_its_import():
    import collections
    import sys

    import_peer("layers.cores")
    assert not hasattr(collections, "Iterable")
    assert "torchvision" not in sys.modules


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_weighing_points_equals_sampling_a_grid(dtype):
    torch.manual_seed(0)
    maps = torch.randn(5, 8, 11, 13, dtype=dtype, requires_grad=True)
    position = (torch.rand(5, 7, 2, dtype=dtype) * 2.8 - 1.4).requires_grad_()  # some outside
    weight = torch.randn(7, 8, dtype=dtype, requires_grad=True)
    ours = weigh_points(maps, position, weight)
    sampled = F.grid_sample(maps, position[:, :, None], align_corners=True)[..., 0]
    theirs = torch.einsum("bcn,nc->bn", sampled, weight)
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {}
    torch.testing.assert_close(ours, theirs, **tolerance)
    given = torch.randn_like(ours)
    mine = torch.autograd.grad(ours, (maps, position, weight), given)
    other = torch.autograd.grad(theirs, (maps, position, weight), given)
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def test_positions_far_outside_read_zero():
    maps = torch.ones(1, 2, 5, 5)
    position = torch.tensor([[[1e9, 0.0], [0.0, -1e9], [0.0, 0.0]]])
    assert weigh_points(maps, position, torch.ones(3, 2)).tolist() == [[0.0, 0.0, 2.0]]


def test_a_failing_fit_is_seen_through_the_fast_readout():
    maps = torch.full((1, 2, 5, 5), torch.nan)
    assert torch.isnan(weigh_points(maps, torch.zeros(1, 1, 2), torch.ones(1, 2))).all()


def test_own_points_are_the_diagonal_of_all_points():
    maps, position = torch.randn(4, 3, 6, 7), torch.rand(4, 2) * 2 - 1
    weight = torch.randn(4, 3)
    whole = weigh_points(maps, position.expand(4, -1, -1), weight)
    own = (sample_points(maps, position) * weight).sum(1)
    torch.testing.assert_close(own, whole.diagonal())


@pytest.mark.parametrize("kernel", [3, 7])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_depthwise_convolution_learns_what_torchs_would(kernel, dtype):
    torch.manual_seed(0)
    ours = DepthwiseConv2d(6, kernel).to(dtype)
    x = torch.randn(5, 6, 9, 11, dtype=dtype, requires_grad=True)
    given = torch.randn(5, 6, 9, 11, dtype=dtype)
    mine = torch.autograd.grad(ours(x), (x, ours.weight), given)
    reference = torch.conv2d(x, ours.weight, padding=kernel // 2, groups=6)
    other = torch.autograd.grad(reference, (x, ours.weight), given)
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_the_depthwise_convolution_follows_autocast():
    conv = DepthwiseConv2d(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(torch.randn(2, 4, 6, 6))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert conv.weight.grad.dtype == torch.float32


def test_smooth_filters_are_less_rough_than_noisy_ones():
    y, x = np.mgrid[-4:5, -4:5]
    smooth = torch.as_tensor(np.exp(-(x**2 + y**2) / 8))[None, None]
    noise = torch.randn(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    assert laplace_roughness(smooth) < 0.1 * laplace_roughness(noise)
    torch.testing.assert_close(laplace_roughness(noise), laplace_roughness(3 * noise))


def test_the_position_network_starts_where_it_is_told():
    rng = np.random.default_rng(0)
    cortex = rng.normal(size=(50, 2)) * 200
    wanted = torch.as_tensor(cortex @ [[0.001, 0.0], [0.0005, 0.001]], dtype=torch.float32)
    torch.manual_seed(0)
    network = PositionNetwork(cortex)
    network.fit(wanted)
    assert (network() - wanted).abs().median() < 0.05


def test_positions_are_given_and_read_in_pixels(make_twin):
    twin = make_twin()
    asked = np.random.default_rng(1).uniform(6, 18, (7, 2))
    np.testing.assert_allclose(twin.position, asked, atol=0.2)  # clipped just inside the map


def test_a_neuron_looks_where_its_position_says(make_twin, spec):
    twin = make_twin().condition()
    x = torch.full((1, *spec.shape), 110.0, requires_grad=True)
    for neuron, (column, row) in enumerate(twin.twin.position.tolist()):
        (gradient,) = torch.autograd.grad(twin.neurons([neuron])(x).sum(), x)
        energy = gradient[0, 0].double() ** 2
        ys, xs = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
        centre = (energy * xs).sum() / energy.sum(), (energy * ys).sum() / energy.sum()
        assert np.hypot(float(centre[0]) - column, float(centre[1]) - row) < 1.5


@pytest.mark.parametrize("behavior", ["none", "channels"])
def test_a_window_is_enough_for_one_neuron(make_twin, behavior):
    twin = make_twin(behavior=behavior, shifter=True, hidden_kernel=5).eval()
    for _ in range(3):
        twin.train()
        twin(torch.rand(4, 1, 24, 32) * 255)  # running statistics away from their start
    twin = twin.for_inference()
    corners = torch.tensor([[-1, -1], [1, -1], [-1, 1], [1, 1], [0.98, 0], [0.3, 0.2], [0, 0]])
    twin.readout.mu.copy_(corners)
    x = (torch.rand(7, 1, 24, 32) * 255).requires_grad_()
    # the gaze moves some positions across the border of the map
    pupil = torch.tensor([50.0, 40.0]) + 40 * torch.randn(7, 2)
    neuron = torch.arange(7)
    assert twin.sees_windows
    own = twin(x, pupil_center=pupil, neuron=neuron, paired=True)
    whole = twin(x, pupil_center=pupil).diagonal()
    torch.testing.assert_close(own, whole, rtol=1e-4, atol=1e-5)
    (mine,) = torch.autograd.grad(own.sum(), x)
    (other,) = torch.autograd.grad(whole.sum(), x)
    torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-7)


def test_a_position_on_the_border_is_held_there_and_still_learns():
    readout = GaussianReadout(3, torch.tensor([[1.5, 0.0]]))
    readout(torch.randn(200, 3, 6, 7)).sum().backward()
    assert readout.mu[0, 0] == 1.0
    assert readout.mu.grad[0, 0] != 0
