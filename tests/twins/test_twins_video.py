"""Video cores: what they compute, that they see no future, and that a stream is a clip."""

import numpy as np
import pytest
import torch
from torch import nn

from twinlab.schema import InputError
from twinlab.twins import Architecture, DeepTwin, StimulusSpec, winograd
from twinlab.twins.cores import StackedCore, laplace_roughness
from twinlab.twins.deep import CORES
from twinlab.twins.video import (
    ConvGRUCore,
    DepthwiseTemporalConv,
    FactorizedCore,
    ResidualCore,
    time_roughness,
)

HEIGHT, WIDTH = 15, 18


def factorized(**given):
    kept = {"layers": 2, "hidden": 16, "input_kernel": 5, "input_temporal_kernel": 4}
    return FactorizedCore(2, **(kept | given))


def conv_gru():
    frames = StackedCore(2, layers=2, hidden=6, input_kernel=5, hidden_kernel=3)
    return ConvGRUCore(frames, hidden=4, kernel=3)


def residual(**given):
    kept = {"layers": 3, "hidden": 4, "temporal_kernel": 3, "expansion": 2, "reduction": 4}
    return ResidualCore(2, **(kept | given))


MAKERS = {"factorized": factorized, "conv_gru": conv_gru, "residual": residual}


def settle(core):
    """Running statistics and weights of the batch norms away from their start; evaluation."""
    generator = torch.Generator().manual_seed(1)
    for module in core.modules():
        if isinstance(module, nn.BatchNorm2d):
            for name, low, high in (
                ("weight", 0.5, 1.5),
                ("bias", -0.5, 0.5),
                ("running_mean", -0.5, 0.5),
                ("running_var", 0.5, 2.0),
            ):
                value = getattr(module, name)
                value.data.uniform_(low, high, generator=generator)
    return core.eval()


@pytest.fixture(params=list(MAKERS))
def core(request):
    torch.manual_seed(0)
    return settle(MAKERS[request.param]())


def clip_of(frames, batch=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, 2, frames, HEIGHT, WIDTH, generator=generator, dtype=dtype)


class PlainCore(nn.Module):
    """The factorised architecture with torch's own three-dimensional convolutions.

    It stands in for neuralpredictors, whose version 0.3.0 has no core for video.
    """

    def __init__(self, core):
        super().__init__()
        parts = []
        for layer in core.layers:
            for conv in (layer.spatial, layer.temporal):
                time = conv is layer.temporal
                weight = conv.weight.detach()
                weight = weight[..., None] if time else weight[:, :, None]
                plain = nn.Conv3d(weight.shape[1], len(weight), weight.shape[2:], bias=False)
                plain.weight.data = weight.contiguous().clone()
                parts.append(plain)
            norm = nn.BatchNorm3d(len(weight))
            norm.load_state_dict(layer.norm.state_dict())
            parts += [norm, nn.ELU()]
        self.features = nn.Sequential(*parts)

    def gradients(self):
        """In the order and shape of the factorised core's parameters."""
        for module in self.features:
            if isinstance(module, nn.Conv3d):
                gradient = module.weight.grad
                yield gradient[:, :, 0] if gradient.shape[2] == 1 else gradient[..., 0]
            elif isinstance(module, nn.BatchNorm3d):
                yield module.weight.grad
                yield module.bias.grad


def distance(value, reference):
    return float((value - reference).detach().norm() / reference.detach().norm())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dtype", "far"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_factorised_core_is_three_dimensional_convolutions(training, dtype, far):
    torch.manual_seed(0)
    core = settle(factorized(layers=3)).to(dtype).train(training)
    plain = PlainCore(core).to(dtype).train(training)
    ours = clip_of(24, dtype=dtype).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    mine, other = core(ours), plain.features(theirs)
    assert mine.shape == other.shape
    assert mine.shape[2:] == (24 - core.lost, *core.map_shape(HEIGHT, WIDTH))
    assert distance(mine, other) < far
    given = torch.randn(mine.shape, dtype=dtype)
    mine.backward(given)
    other.backward(given)
    assert distance(ours.grad, theirs.grad) < far
    parameters = [core_parameter.grad for core_parameter in core.parameters()]
    for a, b in zip(parameters, plain.gradients(), strict=True):
        assert distance(a, b) < far


@pytest.mark.parametrize("axis", ["space", "time"])
@pytest.mark.parametrize("size", [9, 10, 11, 12, 13])  # every remainder of the tiles
def test_fewer_products_give_the_same_convolution(axis, size):
    torch.manual_seed(0)
    if axis == "space":
        x, w = torch.randn(10, size, size + 2, 16), torch.randn(32, 16, 5, 5)
        run = winograd.spatial_convolution
    else:
        x, w = torch.randn(2, size, 7, 16), torch.randn(32, 16, 5, 1)
        run = winograd.temporal_convolution
    exact = [value.double().requires_grad_() for value in (x, w)]
    wanted = torch.conv2d(exact[0].permute(0, 3, 1, 2), exact[1]).permute(0, 2, 3, 1)
    quick = [x.requires_grad_(), w.requires_grad_()]
    result = run(quick[0], quick[1] if axis == "space" else quick[1][..., 0])
    assert distance(result, wanted) < 5e-6
    given = torch.randn(result.shape)
    result.backward(given)
    wanted.backward(given.double())
    for a, b in zip(quick, exact, strict=True):
        assert distance(a.grad, b.grad) < 5e-6


def test_fewer_products_are_done_in_pieces_that_fit_together(monkeypatch):
    x, w = torch.randn(13, 9, 10, 16), torch.randn(16, 16, 5, 5)
    clips = torch.randn(2, 9, 11, 16)
    whole = winograd.spatial_convolution(x, w), winograd.temporal_convolution(clips, w[..., 0])
    monkeypatch.setattr(winograd, "PIECE", 2**16)
    parts = winograd.spatial_convolution(x, w), winograd.temporal_convolution(clips, w[..., 0])
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_the_depthwise_temporal_convolution_is_torchs():
    torch.manual_seed(0)
    conv = DepthwiseTemporalConv(3, 4).double()
    maps = torch.randn(2, 9, 5, 6, 3, dtype=torch.float64)
    wanted = torch.conv3d(maps.permute(0, 4, 1, 2, 3), conv.weight[..., None], groups=3)
    torch.testing.assert_close(conv(maps), wanted.permute(0, 2, 3, 4, 1))


def test_no_core_sees_the_future(core):
    clip = clip_of(core.lost + 12)
    with torch.no_grad():
        before = core(clip)
        changed = core.lost + 5
        clip[:, :, changed] += 3
        after = core(clip)
    assert before.shape[2] == 12
    assert before.shape[1] == core.out_channel
    # rounding may differ where tiles of frames share products, nothing else
    torch.testing.assert_close(before[:, :, :5], after[:, :, :5], rtol=1e-4, atol=1e-5)
    assert (before - after)[:, :, 5].abs().max() > 1e-2


def test_each_frame_of_history_matters(core):
    clip = clip_of(core.lost + 1).requires_grad_()
    maps = core(clip)
    assert maps.shape[2] == 1
    (gradient,) = torch.autograd.grad(maps.square().sum(), clip)
    assert (gradient.abs().amax((0, 1, 3, 4)) > 0).all()


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (16, 17)])
def test_map_points_lie_where_the_core_says(name, size):
    torch.manual_seed(0)
    core = settle(residual(layers=2, reduction=0) if name == "residual" else MAKERS[name]())
    clip = torch.randn(1, 2, core.lost + 1, *size, requires_grad=True)
    maps = core(clip)
    point = [length // 2 for length in maps.shape[3:]]
    (gradient,) = torch.autograd.grad(maps[0, :, 0, point[0], point[1]].sum(), clip)
    seen = gradient.abs().amax((0, 1, 2)).nonzero().float()
    first, last = np.array(core.map_corners(*size))
    shape = np.array(core.map_shape(*size))
    wanted = first + point * (last - first) / (shape - 1)
    middle = (seen.amin(0) + seen.amax(0)) / 2
    np.testing.assert_allclose(middle, wanted)


@pytest.mark.parametrize("folded", [False, True])
def test_a_stream_is_the_clip_after_grey(core, folded):
    clip = clip_of(10)
    grey = torch.zeros(2, 2, core.lost, HEIGHT, WIDTH)
    with torch.no_grad():
        whole = core(torch.cat([grey, clip], dim=2))
        if folded:
            core.fold()
            core.fold()  # again is nothing
        state = core.start(2, HEIGHT, WIDTH)
        first = state
        maps = []
        for frame in clip.unbind(2):
            seen, state = core.step(frame, state)
            maps.append(seen)
        again, _ = core.step(clip[:, :, 0], first)
    stream = torch.stack(maps, dim=2)
    assert stream.shape[3:] == core.map_shape(HEIGHT, WIDTH)
    torch.testing.assert_close(stream, whole, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(again, maps[0], rtol=0, atol=0)  # the first state was left alone


def test_folding_keeps_the_function(core):
    clip = clip_of(core.lost + 9)
    with torch.no_grad():
        before = core(clip)
        core.fold()
        torch.testing.assert_close(core(clip), before, rtol=1e-5, atol=2e-5)
    assert not [m for m in core.modules() if isinstance(m, nn.BatchNorm2d)]


def test_cores_learn_in_lower_precision(core):
    core.train()
    clip = clip_of(core.lost + 9)
    wanted = core(clip)
    with torch.autocast("cpu", torch.bfloat16):
        maps = core(clip)
    assert np.corrcoef(maps.float().detach().ravel(), wanted.detach().ravel())[0, 1] > 0.999
    (maps.float().square().mean() + core.regularizer()).backward()
    for name, parameter in core.named_parameters():
        assert parameter.grad.dtype == torch.float32, name
        assert parameter.grad.abs().max() > 0, name


def test_the_recurrent_core_follows_its_equations():
    torch.manual_seed(0)
    core = settle(conv_gru()).double()
    nn.init.normal_(core.of_map.bias)
    clip = clip_of(5, dtype=torch.float64)
    w, u, bias = core.of_map.weight, core.of_state.weight, core.of_map.bias
    state = torch.zeros(2, 4, *core.map_shape(HEIGHT, WIDTH), dtype=torch.float64)
    wanted = []

    def filtered(value, weight):
        return torch.conv2d(value, weight, padding=1)

    for t in range(5):
        x = core.core(clip[:, :, t])
        z, r = (
            torch.sigmoid(
                filtered(x, w[part]) + filtered(state, u[part]) + bias[part][:, None, None]
            )
            for part in (slice(0, 4), slice(4, 8))
        )
        candidate = torch.tanh(
            filtered(x, w[8:])
            + filtered(r * state, core.of_reset.weight)
            + bias[8:][:, None, None]
        )
        state = (1 - z) * state + z * candidate
        wanted.append(state)
    torch.testing.assert_close(core(clip), torch.stack(wanted, dim=2))


@pytest.mark.parametrize("update", [-1e9, 1e9])
def test_a_closed_update_gate_holds_the_state_and_an_open_one_forgets_it(update):
    torch.manual_seed(0)
    core = settle(conv_gru())
    core.of_map.bias.data[:4] = update  # the update gate
    core.of_map.bias.data[4:8] = -1e9  # the reset gate: the candidate sees the frame alone
    state = torch.randn(2, 4, *core.map_shape(HEIGHT, WIDTH))
    other = torch.randn_like(state)
    frame = clip_of(1)[:, :, 0]
    with torch.no_grad():
        (held, _), (from_other, _) = core.step(frame, state), core.step(frame, other)
    if update < 0:
        torch.testing.assert_close(held, state)
    else:
        torch.testing.assert_close(held, from_other)
        assert (held - state).abs().max() > 0.1


def test_excitation_weighs_channels_by_their_mean_over_the_frame():
    torch.manual_seed(0)
    core, without = settle(residual(layers=1)), settle(residual(layers=1, reduction=0))
    without.load_state_dict(core.state_dict(), strict=False)
    clip = clip_of(core.lost + 2)
    last = core.blocks[0].excitation[2]
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.fill_(30.0)  # a weight of 1 for every channel
        torch.testing.assert_close(core(clip), without(clip))
        last.bias.fill_(-30.0)  # and of 0: nothing but the last batch norm's constant is added
        block = core.blocks[0]
        _, kept = block.open(core._first(clip.permute(0, 2, 3, 4, 1)))
        added = core(clip).permute(0, 2, 3, 4, 1) - kept[:, core.lost :]
        norm = block.project_norm
        constant = (
            norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()
        )
        torch.testing.assert_close(added, constant.expand_as(added), rtol=1e-4, atol=1e-5)


def test_a_block_that_is_dropped_passes_its_input_on():
    torch.manual_seed(0)
    core = residual(layers=1, dropout=0.5).train()
    clip = clip_of(6, batch=40)
    maps = core(clip)
    block = core.blocks[0]
    with torch.no_grad():
        _, kept = block.open(core._first(clip.permute(0, 2, 3, 4, 1)))
    passed = (maps.permute(0, 2, 3, 4, 1) - kept[:, block.lost :]).abs().amax((1, 2, 3, 4)) < 1e-5
    assert 5 < passed.sum() < 35
    core.eval()
    with torch.no_grad():
        torch.testing.assert_close(core(clip), core(clip), rtol=0, atol=0)


def test_the_regulariser_is_the_roughness_in_space_and_time():
    torch.manual_seed(0)
    core = factorized()
    weight = core.layers[0].temporal.weight[..., 0].detach().numpy()
    second = np.diff(weight, 2, axis=2)
    in_time = (second**2).sum() / (weight**2).sum()
    torch.testing.assert_close(
        core.regularizer().item(),
        laplace_roughness(core.layers[0].spatial.weight).item() + 1e-3 * float(in_time),
        rtol=1e-5,
        atol=0,
    )
    line = torch.arange(8.0)[None, None]
    assert time_roughness(line) == 0
    assert time_roughness((-1) ** line) > 10


@pytest.mark.parametrize("name", ["factorized_3d", "conv_gru", "residual_2plus1d"])
def test_video_twins_are_built_and_stream(name, neurons):
    spec = StimulusSpec(1, 24, 32, mean=110.0, std=60.0, frame_rate=30.0)
    architecture = Architecture(
        core=name, layers=2, hidden=4, input_kernel=5, hidden_kernel=3, input_temporal_kernel=4,
        temporal_kernel=3,
    )  # fmt: skip
    assert name in CORES
    twin = DeepTwin(architecture, spec, neurons).eval()
    video = torch.rand(2, 1, 6, 24, 32) * 255
    with torch.no_grad():
        whole = twin(video)
        state = twin.start_stream(2)
        rates = []
        for frame in video.unbind(2):
            rate, state = twin.step_stream(frame, state)
            rates.append(rate)
        folded = twin.for_inference()(video)
    assert whole.shape == (2, 7, 6)
    torch.testing.assert_close(torch.stack(rates, dim=2), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(folded, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["conv_gru", "residual_2plus1d"])
def test_an_even_kernel_that_must_be_odd_is_refused(name, neurons):
    spec = StimulusSpec(1, 24, 32, mean=110.0, std=60.0, frame_rate=30.0)
    with pytest.raises(InputError, match="`input_kernel` must be odd .* but is 4; use one"):
        DeepTwin(Architecture(core=name, input_kernel=4), spec, neurons)
