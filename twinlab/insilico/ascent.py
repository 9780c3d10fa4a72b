"""Gradient ascent of many independent points at once, each with its own step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from twinlab.insilico.responses import value_and_gradient

__all__ = ["ascend", "climb"]

FIRST_STEP = 1.0
GROW, SHRINK = 1.5, 0.3
SMALLEST_STEP, LARGEST_STEP = 1e-3, 20.0
SMALLEST_GAIN = 1e-5  # of the value; less is no step up
DROP_EVERY = 5  # steps between two looks at which points have arrived


def ascend(
    start: Tensor,
    measure: Callable[[Tensor, Tensor], Tensor],
    move: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    *,
    n_step: int,
    report: Callable[[int, Tensor], None],
) -> tuple[Tensor, Tensor]:
    """Climb from each point, never accepting a step that leads down.

    A point whose step led up keeps the new place and tries a longer step next; one whose
    step led down stays and tries a shorter one. The value and gradient of a trial are
    computed together, so a step costs one evaluation whatever comes of it. Points do not
    know of each other, and those that have arrived cost nothing more.

    Parameters
    ----------
    start : Tensor of shape (n, ...)
    measure : callable
        Points and which rows of `start` they came from -> values.
    move : callable
        Points, gradients there, steps (n,) and which rows they are -> trial points. A step of 1
        is a bold move.
    n_step : int
        Most steps taken.
    report : callable
        Called with the number of steps done and all points before each step.

    Returns
    -------
    point, value : Tensor
        Where they arrived.

    """
    arrived = start.detach().clone()
    row = torch.arange(len(start), device=start.device)
    point = arrived
    value, gradient = value_and_gradient(measure, point, row)
    reached = value.clone()
    step = torch.full_like(value, FIRST_STEP)
    alone = (-1, *[1] * (start.ndim - 1))
    for done in range(n_step):
        report(done, arrived)
        trial = move(point, gradient, step, row)
        trial_value, trial_gradient = value_and_gradient(measure, trial, row)
        better = trial_value > value + SMALLEST_GAIN * value.abs()  # False for NaN
        value = torch.where(better, trial_value, value)
        point = torch.where(better.view(alone), trial, point)
        gradient = torch.where(better.view(alone), trial_gradient, gradient)
        step = torch.where(better, (step * GROW).clamp(max=LARGEST_STEP), step * SHRINK)
        if done % DROP_EVERY == 0 or done == n_step - 1:
            arrived[row], reached[row] = point, value
            left = step > SMALLEST_STEP
            row, point, value = row[left], point[left], value[left]
            gradient, step = gradient[left], step[left]
            if not len(row):
                break
    return arrived, reached


def climb(
    start: Tensor,
    measure: Callable[[Tensor, Tensor], Tensor],
    move: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    *,
    n_step: int,
    report: Callable[[int, Tensor], None],
) -> tuple[Tensor, Tensor]:
    """Take `n_step` steps of length 1, wherever they lead: the published recipes.

    Parameters and returns as of `ascend`; `move` is given the gradient itself and decides how
    far a step goes.
    """
    point = start.detach().clone()
    row = torch.arange(len(start), device=start.device)
    one = torch.ones(len(start), device=start.device)
    for done in range(n_step):
        report(done, point)
        _, gradient = value_and_gradient(measure, point, row)
        point = move(point, gradient, one, row).detach()
    with torch.inference_mode():
        value = measure(point, row)
    return point, value.clone()
