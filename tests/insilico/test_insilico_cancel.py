"""A step of an ascent can be cancelled between the operations it is made of."""

import pytest
import torch

from twinlab import insilico, twins
from twinlab.jobs import Cancelled, Job

SPEC = twins.StimulusSpec(1, 8, 8, 110.0, 55.0, frame_rate=30.0)
FEW = {"n_start": 1, "n_step": 4, "n_frame": 4}


class Stage(torch.autograd.Function):
    """One of many layers: it leaves its name on the way there and on the way back."""

    @staticmethod
    def forward(ctx, value, name, visit):
        ctx.name, ctx.visit = name, visit
        ctx.save_for_backward(value)
        visit(f"there {name}")
        return 2 * value

    @staticmethod
    def backward(ctx, gradient):
        _ = ctx.saved_tensors
        ctx.visit(f"back {ctx.name}")
        return 2 * gradient, None, None


def staged(visit):
    """A twin of videos with three layers, which tells of each that is computed."""

    def rates(video):
        value = (video - 110.0) / 55.0
        for name in "abc":
            value = Stage.apply(value, name, visit)
        return torch.nn.functional.softplus(value.mean((1, 3, 4)))[:, None]

    return twins.wrap_callable(rates, SPEC, 1).condition()


@pytest.mark.parametrize(("at", "not_reached"), [("there a", "there c"), ("back c", "back a")])
@pytest.mark.parametrize(
    "experiment",
    [
        insilico.synthesize_mei,
        lambda twin, *who, job, n_start, **few: insilico.synthesize_diverse(
            twin, *who, n_image=2, job=job, **few
        ),
    ],
    ids=["mei", "diverse"],
)
def test_a_step_stops_within_itself(experiment, at, not_reached):
    seen = []
    job = Job()

    def visit(name):
        seen.append(name)
        if seen.count(at) == 3:
            job.cancel()

    with pytest.raises(Cancelled):
        experiment(staged(visit), [0], job=job, **FEW)
    last = len(seen) - 1 - seen[::-1].index(at)
    assert not_reached not in seen[last:]
