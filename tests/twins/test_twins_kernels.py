"""The compiled core computes what torch's operations compute, forwards and backwards."""

import copy

import pytest
import torch

from twinlab.twins import import_peer, load_peer_core, stack
from twinlab.twins.cores import StackedCore
from twinlab.twins.sampling import weigh_points

# An odd number of columns, and more rows than the kernel: every remainder is taken.
SHAPE = (3, 1, 13, 21)


def small_core(**settings):
    core = StackedCore(
        **({"layers": 3, "hidden": 16, "input_kernel": 5, "hidden_kernel": 3} | settings)
    )
    for layer in core.features:
        torch.nn.init.uniform_(layer.norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(layer.norm.bias)
    return core


def difference(found, expected):
    """Largest difference over the largest value."""
    return float((found.double() - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize(
    ("settings", "dtype", "tolerance"),
    [
        ({}, torch.float32, 1e-5),
        ({"linear": True, "hidden": 80, "channel": 3}, torch.float32, 1e-5),
        ({}, torch.bfloat16, 4e-2),
    ],
)
def test_learning_equals_the_generic_way_in_double_precision(settings, dtype, tolerance):
    torch.manual_seed(0)
    core = small_core(**settings)
    exact = copy.deepcopy(core).double()
    image = torch.randn(SHAPE[0], settings.get("channel", 1), *SHAPE[2:])
    assert stack.can_run(core, image)
    assert not stack.can_run(exact, image.double())
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
        ours = core(image)
    theirs = exact(image.double())
    given = torch.randn_like(theirs)
    ours.backward(given.float())
    theirs.backward(given)
    assert ours.dtype == torch.float32
    assert difference(ours, theirs) < tolerance
    for (name, mine), other in zip(core.named_parameters(), exact.parameters(), strict=True):
        assert difference(mine.grad, other.grad) < tolerance, name
    for (name, mine), other in zip(core.named_buffers(), exact.buffers(), strict=True):
        assert difference(mine, other.double()) < max(tolerance, 1e-4), name


def test_evaluation_equals_the_generic_way_folded_or_not():
    torch.manual_seed(1)
    core = small_core()
    core(torch.randn(SHAPE))  # running moments away from their start
    core.eval()
    exact = copy.deepcopy(core).double()
    image = torch.randn(2 * stack.GROUP + 1, *SHAPE[1:])
    expected = exact(image.double())
    with torch.no_grad():
        assert difference(core(image), expected) < 1e-5
        core.fold()
        assert difference(core(image), expected) < 1e-5


def test_whatever_the_kernels_do_not_do_is_left_to_torch():
    core, image = small_core(), torch.randn(SHAPE)
    assert stack.can_run(core, image)
    assert not stack.can_run(core, image.clone().requires_grad_())
    assert not stack.can_run(core.eval(), image)  # evaluation with gradients to the weights
    assert stack.can_run(core.requires_grad_(False), image)
    core.train()
    core.features[1].norm.eval()  # frozen moments
    assert not stack.can_run(core, image)
    assert not stack.can_run(small_core(hidden=8), image)
    with torch.autocast("cpu", torch.float16):
        assert not stack.can_run(small_core(), image)


def test_images_can_be_optimised_through_a_frozen_core():
    torch.manual_seed(2)
    core = small_core().eval().requires_grad_(False)
    core.fold()
    image = torch.randn(1, 1, 7, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(core.double(), image, atol=1e-6)


def test_a_failing_fit_is_seen_through_the_compiled_core():
    core, image = small_core(), torch.randn(SHAPE)
    image[0, 0, 5, 5] = torch.nan
    assert torch.isnan(core(image)).any()


def test_a_second_backward_pass_gives_the_same_gradients():
    core, image = small_core(), torch.randn(SHAPE)
    out = core(image)
    first = torch.autograd.grad(out.sum(), core.features[0].conv.weight, retain_graph=True)
    second = torch.autograd.grad(out.sum(), core.features[0].conv.weight)
    assert torch.equal(first[0], second[0])


@pytest.mark.slow
def test_outputs_and_gradients_agree_with_the_peers_to_1e_5():
    torch.manual_seed(3)
    theirs = import_peer("layers.cores").Stacked2dCore(
        1, 64, 9, 7, layers=4, bias=False, pad_input=False, stack=-1, depth_separable=True,
        input_regularizer="LaplaceL2norm", use_avg_reg=False,
    ).double()  # fmt: skip
    ours = StackedCore(1)
    load_peer_core(ours, {name: value.float() for name, value in theirs.state_dict().items()})
    theirs.load_state_dict({k: v.float() for k, v in theirs.state_dict().items()})
    image, given = torch.randn(4, 1, 36, 64), torch.randn(4, 64, 28, 56)
    mine, other = ours(image), theirs(image.double())
    assert difference(mine, other) < 1e-5
    mine.backward(given)
    other.backward(given.double())
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert difference(p.grad, q.grad) < 1e-5, name


@pytest.mark.parametrize("channel", [5, 16])
def test_weighing_points_agrees_in_both_precisions(channel):
    torch.manual_seed(4)
    maps = torch.randn(3, channel, 6, 7)
    position = torch.rand(3, 9, 2) * 2.6 - 1.3
    position[0, :4] = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [1.0, 0.1], [-0.2, 1.0]])
    weight = torch.randn(9, channel)
    given = torch.randn(3, 9)
    results = []
    for dtype in (torch.float32, torch.float64):
        leaves = [t.to(dtype).requires_grad_() for t in (maps, position, weight)]
        out = weigh_points(*leaves)
        results.append([out, *torch.autograd.grad(out, leaves, given.to(dtype))])
    for found, expected in zip(*results, strict=True):
        rows = slice(1, None)  # on the outermost points, the slope along the map is not unique
        assert difference(found[rows], expected[rows]) < 1e-5
    assert difference(results[0][0], results[1][0]) < 1e-5
