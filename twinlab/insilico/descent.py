"""Descent of many independent points at once inside a convex set: spectral projected gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from twinlab.insilico.responses import value_and_gradient

__all__ = ["descend"]

MEMORY = 10  # values a step may rise above the smallest of, none of the largest
ARMIJO = 1e-4
ROUNDING = 1e-6  # of a value computed in float32; what is less is no rise
SHORTEST, LONGEST = 1e-10, 1e10


def descend(
    start: Tensor,
    measure: Callable[[Tensor, Tensor], Tensor],
    project: Callable[[Tensor], Tensor],
    *,
    n_step: int,
    tolerance: float,
    report: Callable[[int], None],
) -> tuple[Tensor, Tensor, Tensor]:
    """Go down from each point, each with its own step (Barzilai-Borwein), never leaving the set.

    A step may go up as long as the value stays below the largest of the last ten: on long narrow
    valleys this is far faster than always going down. The best point met is returned.

    Parameters
    ----------
    start : Tensor of shape (n, ...)
    measure : callable
        Points and which rows of `start` they came from -> values (n,).
    project : callable
        Points -> the nearest of the set.
    n_step : int
        Most evaluations.
    tolerance : float
        A point has arrived when a step of one gradient moves no entry by more than this.
    report : callable
        Called with the number of evaluations done before each.

    Returns
    -------
    point, value : Tensor
    arrived : Tensor of bool (n,)

    References
    ----------
    Birgin, Martinez & Raydan (2000), SIAM Journal on Optimization 10: 1196-1211.

    """
    best = project(start.detach().clone())
    alone = (-1, *[1] * (start.ndim - 1))
    row = torch.arange(len(start), device=start.device)
    point = best
    value, gradient = value_and_gradient(measure, point, row)
    reached = value.clone()
    arrived = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    recent = value[:, None].repeat(1, MEMORY)
    step = 1 / gradient.flatten(1).abs().amax(1).clamp(min=1 / LONGEST)
    share = torch.ones_like(value)  # of the way to the projected point
    for done in range(n_step):
        report(done)
        near = (project(point - gradient) - point).flatten(1).abs().amax(1) <= tolerance
        arrived[row[near]] = True
        if near.any():
            left = ~near
            row, point, value, gradient = row[left], point[left], value[left], gradient[left]
            recent, step, share = recent[left], step[left], share[left]
        if not len(row):
            break
        direction = project(point - step.view(alone) * gradient) - point
        trial = point + share.view(alone) * direction
        trial_value, trial_gradient = value_and_gradient(measure, trial, row)
        fall = (gradient * direction).flatten(1).sum(1)
        slack = ROUNDING * value.abs()
        down = trial_value <= recent.amax(1) + ARMIJO * share * fall + slack  # False for NaN
        moved = (trial - point).flatten(1)
        bend = (moved * (trial_gradient - gradient).flatten(1)).sum(1)
        longer = moved.square().sum(1) / torch.where(bend > 0, bend, 1 / LONGEST)
        step = torch.where(down, longer.clamp(SHORTEST, LONGEST), step)
        share = torch.where(down, torch.ones_like(share), share / 2)
        point = torch.where(down.view(alone), trial, point)
        gradient = torch.where(down.view(alone), trial_gradient, gradient)
        value = torch.where(down, trial_value, value)
        recent[:, done % MEMORY] = value
        gained = value <= reached[row] + slack
        reached[row[gained]], best[row[gained]] = value[gained], point[gained]
    return best, reached, arrived
