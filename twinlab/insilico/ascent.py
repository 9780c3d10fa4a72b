"""Gradient ascent of many independent points at once, each with its own step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from twinlab.insilico.responses import value_and_gradient

__all__ = ["ascend"]

FIRST_STEP = 1.0
GROW, SHRINK = 1.5, 0.3
SMALLEST_STEP, LARGEST_STEP = 1e-3, 20.0
CHECK_EVERY = 5  # steps between two looks at whether all have arrived


def ascend(
    point: Tensor,
    measure: Callable[[Tensor], Tensor],
    move: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    n_step: int,
    report: Callable[[int, Tensor], None],
) -> tuple[Tensor, Tensor]:
    """Climb from each point, never accepting a step that leads down.

    A point whose step led up keeps the new place and tries a longer step next; one whose
    step led down stays and tries a shorter one. The value and gradient of a trial are
    computed together, so a step costs one evaluation whatever comes of it. Points do not
    know of each other.

    Parameters
    ----------
    point : Tensor of shape (n, ...)
    measure : callable
        Points -> values, of shape (n,).
    move : callable
        Point, gradient there and step (n,) -> trial point. A step of 1 is a bold move.
    n_step : int
        Most steps taken; fewer where every point has arrived.
    report : callable
        Called with the number of steps done and the points before each step.

    Returns
    -------
    point, value : Tensor
        Where they arrived.

    """
    value, gradient = value_and_gradient(measure, point)
    step = torch.full_like(value, FIRST_STEP)
    alone = (-1, *[1] * (point.ndim - 1))
    for done in range(n_step):
        report(done, point)
        trial = move(point, gradient, step)
        trial_value, trial_gradient = value_and_gradient(measure, trial)
        better = trial_value > value  # False where it is not a number
        value = torch.where(better, trial_value, value)
        point = torch.where(better.view(alone), trial, point)
        gradient = torch.where(better.view(alone), trial_gradient, gradient)
        step = torch.where(better, (step * GROW).clamp(max=LARGEST_STEP), step * SHRINK)
        if done % CHECK_EVERY == 0 and bool((step < SMALLEST_STEP).all()):
            break
    return point, value
