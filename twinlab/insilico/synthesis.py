"""The ascent of stimuli: objective, constraints and priors joined, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.insilico.ascent import ascend, climb
from twinlab.insilico.constraints import Constraint, constrain, norm_of
from twinlab.insilico.formats import stimulus_dims
from twinlab.insilico.objectives import Objective
from twinlab.insilico.priors import Prior
from twinlab.insilico.responses import cancellable, value_and_gradient
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import StimulusSpec

__all__ = ["OPTIMIZERS", "Ascended", "optimize_stimuli"]

OPTIMIZERS = ("adaptive", "sgd")


class Ascended(NamedTuple):
    """Where stimuli arrived.

    Attributes
    ----------
    stimuli : ndarray of shape (n, channel[, frame], y, x)
        In grey levels.
    value, start_value : ndarray of shape (n,)
        Of the objective, at the end and at the start.
    start_slope : ndarray of shape (n,)
        Norm of its gradient at the start: 0 where nothing leads anywhere.

    """

    stimuli: np.ndarray
    value: np.ndarray
    start_value: np.ndarray
    start_slope: np.ndarray


def optimize_stimuli(
    objective: Objective,
    start: np.ndarray | Tensor,
    spec: StimulusSpec,
    *,
    constraints: Sequence[Constraint],
    prior: Prior | None = None,
    decode: Callable[[Tensor], Tensor] | None = None,
    n_step: int = 100,
    optimizer: str = "adaptive",
    lr: float = 10.0,
    batch_size: int = 128,
    device: torch.device | str = "cpu",
    job: Job | None = None,
) -> Ascended:
    """Make stimuli as good as can be for an objective, each on its own.

    Parameters
    ----------
    objective : Objective
    start : array of shape (n, channel[, frame], y, x)
        In z units; with `decode`, whatever that takes, (n, ...).
    spec : StimulusSpec
    constraints : sequence of Constraint
        Applied to every stimulus before it is measured, so that what is returned is what was
        optimised.
    prior : callable, optional
        Gradient -> direction. With the adaptive optimiser the first half of the steps takes it
        and the second half follows the gradient itself, so that the end is a maximum.
    decode : callable, optional
        A generator: latent points -> stimuli in z units, differentiable. The ascent is then in
        its latent space, and constraints hold for what it makes.
    n_step : int
        Most steps.
    optimizer : {"adaptive", "sgd"}
        Steps that find their own length and never lead down (see `ascend`), or `n_step` steps
        of `lr` times the gradient (see `climb`), as published recipes have them.
    lr : float
        For "sgd".
    batch_size : int
        Stimuli optimised at once.
    device : str
    job : Job, optional
        Its preview is the first stimulus of the batch in grey levels, a DataArray (channel[,
        frame], y, x) with the coordinates `step` and `value`, of the objective there (NaN before
        it has been measured).

    Returns
    -------
    Ascended

    Raises
    ------
    InputError
        If a setting is out of range or the start is not finite.

    """
    if optimizer not in OPTIMIZERS:
        msg = f"`optimizer` is {optimizer!r}; known: {', '.join(OPTIMIZERS)}."
        raise InputError(msg)
    if n_step < 1 or not lr > 0 or batch_size < 1:
        msg = (
            "`n_step` and `batch_size` must be at least 1 and `lr` above 0, but they are "
            f"{n_step}, {batch_size} and {lr}."
        )
        raise InputError(msg)
    points = torch.as_tensor(start, dtype=torch.float32)
    if not torch.isfinite(points).all():
        msg = "The start holds values that are not finite; start from noise or an image."
        raise InputError(msg)
    job = job or Job()

    def shown(point: Tensor, row: Tensor) -> Tensor:
        z = point if decode is None else constrain(decode(point), row, constraints)
        return z * spec.std + spec.mean

    def hold(point: Tensor, row: Tensor) -> Tensor:
        return constrain(point, row, constraints) if decode is None else point

    found: list[tuple[Tensor, ...]] = []
    for first in range(0, len(points), batch_size):
        part = points[first : first + batch_size].to(device)
        stage = job.part(first / len(points), (first + len(part)) / len(points))
        with cancellable(job):
            found.append(
                _ascend_batch(
                    objective, part, first, shown, hold,
                    prior=prior, n_step=n_step, optimizer=optimizer, lr=lr, spec=spec,
                    job=stage,
                )
            )  # fmt: skip
    columns = [torch.cat(column).cpu().numpy() for column in zip(*found, strict=True)]
    return Ascended(columns[0], columns[1], columns[2], columns[3])


def _ascend_batch(
    objective: Objective,
    start: Tensor,
    first: int,
    shown: Callable[[Tensor, Tensor], Tensor],
    hold: Callable[[Tensor, Tensor], Tensor],
    *,
    prior: Prior | None,
    n_step: int,
    optimizer: str,
    lr: float,
    spec: StimulusSpec,
    job: Job,
) -> tuple[Tensor, ...]:
    """Stimuli in grey levels, values at the end and at the start, and slopes there."""
    first_value = np.nan  # of the first stimulus, for whoever looks on

    def measure(point: Tensor, row: Tensor) -> Tensor:
        nonlocal first_value
        value = objective(shown(point, row + first), row + first)
        if len(row) and int(row[0]) == 0:
            now = float(value[0].detach())
            # Steps that lead down are not taken, but by the published recipes.
            first_value = now if optimizer == "sgd" else np.fmax(first_value, now)
        return value

    def mover(smooth: Prior | None, size: float) -> Callable[..., Tensor]:
        """Steps along the gradient, in units of the point's norm where `size` is 0."""

        def move(point: Tensor, gradient: Tensor, step: Tensor, row: Tensor) -> Tensor:
            direction = gradient if smooth is None else smooth(gradient)
            length = size or norm_of(point).clamp(min=1.0) / norm_of(direction).clamp(min=1e-30)
            ahead = step.view(-1, *[1] * (point.ndim - 1)) * length * direction
            return hold(point + ahead, row + first)

        return move

    def reporter(before: int) -> Callable[[int, Tensor], None]:
        def report(done: int, point: Tensor) -> None:
            picture = shown(point[:1], torch.tensor([first], device=point.device))
            preview = xr.DataArray(
                picture[0].detach().cpu().numpy(),
                dims=stimulus_dims(spec),
                coords={"step": before + done, "value": first_value},
            )
            job.report((before + done) / n_step, f"step {before + done} of {n_step}", preview)

        return report

    row = torch.arange(len(start), device=start.device)
    point = hold(start, row + first)
    begun, gradient = value_and_gradient(measure, point, row)
    slope = gradient.flatten(1).norm(dim=1)
    if optimizer == "sgd":
        move = mover(prior, lr)
        point, value = climb(point, measure, move, n_step=n_step, report=reporter(0))
    else:
        half = n_step // 2 if prior is not None else 0
        if half:
            move = mover(prior, 0.0)
            point, value = ascend(point, measure, move, n_step=half, report=reporter(0))
        move = mover(None, 0.0)
        rest = n_step - half
        point, value = ascend(point, measure, move, n_step=rest, report=reporter(half))
    with torch.inference_mode():
        return shown(point, row + first), value, begun, slope
