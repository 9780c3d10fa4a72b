"""Rings: a circle of stimuli along which a neuron's response stays high."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.insilico.ascent import ascend
from twinlab.insilico.constraints import keep_range, norm_of
from twinlab.insilico.formats import (
    picture_attrs,
    settled_rates,
    stimuli_at_once,
    stimulus_dims,
    stimulus_shape,
    total_norm,
)
from twinlab.insilico.mei import synthesize_mei
from twinlab.insilico.responses import (
    Neurons,
    cancellable,
    check_positive,
    chosen_positions,
    provenance,
    start_noise,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, make_result
from twinlab.twins import ConditionedTwin

__all__ = ["synthesize_ring"]

BARONI = "Baroni et al. (2022), learning invariance manifolds of visual sensory neurons, PMLR 197"
LOWEST = 20.0  # sharpness of the soft minimum over a ring


def synthesize_ring(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    n_point: int = 16,
    norm: float = 7.0,
    n_step: int = 150,
    n_frame: int = 30,
    seed: int = 0,
    batch_size: int = 128,
    job: Job | None = None,
) -> xr.Dataset:
    r"""Invariance ring: a circle of images along which the neuron's response stays high.

    The images :math:`a \cos\theta + b \sin\theta` of two images a and b of equal norm, at right
    angles to each other, are the simplest closed family. Ascent turns the circle so that its
    lowest response, over `n_point` angles, is as high as can be. Of a neuron that sums two
    squared filters it becomes their circle of phases, all of it as good as the most exciting
    input; a neuron without an invariance has no such circle, and its `ring_fraction` is low.

    Of a twin of videos it is a circle of videos, of which the mean rate over the second half of
    the frames counts: that of a cell which sums two squared filters in space and time runs over
    the phases of what moves.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    n_point : int
        Angles at which the circle is looked at, at least 4.
    norm, n_step, n_frame, seed, batch_size, job
        As of `synthesize_mei`.

    Returns
    -------
    xarray.Dataset
        `ring` (neuron, angle, channel[, frame], y, x) and `mei` (neuron, channel[, frame], y,
        x) in grey levels, `activation` (neuron, angle), `mei_activation` (neuron), and
        `ring_fraction` (neuron): the lowest activation on the ring over that of the most
        exciting input. NaN where there is none.

    Raises
    ------
    InputError
        If a setting is out of range or `neurons` are not the twin's.

    References
    ----------
    Baroni et al. (2022), PMLR 197, whose ring is made by a network; here by two images.

    """
    check_positive(norm=norm, n_step=n_step, n_frame=n_frame, batch_size=batch_size)
    if n_point < 4:
        msg = f"`n_point` must be at least 4, but is {n_point}."
        raise InputError(msg)
    job = job or Job()
    spec, shape = twin.spec, stimulus_shape(twin.spec, n_frame)
    mei = synthesize_mei(
        twin, neurons, norm=norm, n_frame=n_frame, seed=seed, batch_size=batch_size,
        job=job.part(0.0, 0.4, "MEI"),
    )  # fmt: skip
    positions = chosen_positions(len(twin), neurons)
    best = mei.activation.values
    found = np.flatnonzero(best > 0)
    angle = np.arange(n_point) * 2 * np.pi / n_point
    ring = np.full((len(positions), n_point, *shape), np.nan, np.float32)
    activation = np.full((len(positions), n_point), np.nan, np.float32)
    at_once = max(1, stimuli_at_once(twin, n_frame, batch_size) // n_point)
    later, total = job.part(0.4, 1.0), total_norm(spec, norm, n_frame)
    for first in range(0, len(found), at_once):
        some = found[first : first + at_once]
        stage = later.part(first / len(found), (first + len(some)) / len(found))
        z = (torch.as_tensor(mei.mei.values[some], device=twin.device) - spec.mean) / spec.std
        other = start_noise(twin, positions[some], np.zeros_like(some), shape, seed)
        start = torch.stack([z, other], 1)
        with cancellable(stage):
            ring[some], activation[some] = _turn(
                twin, positions[some], start, best[some], angle, total, n_step, stage
            )
    rate, unit = {"units": "rate"}, {"units": "1"}
    result = mei[["mei"]].assign(
        ring=(
            ("neuron", "angle", *stimulus_dims(spec)),
            ring,
            picture_attrs(spec, "invariance ring"),
        ),
        activation=(("neuron", "angle"), activation, {"long_name": "response"} | rate),
        mei_activation=("neuron", best, {"long_name": "response to the MEI"} | rate),
        ring_fraction=(
            "neuron",
            activation.min(1) / best,
            {"long_name": "lowest response on the ring over that to the MEI"} | unit,
        ),
        valid=(
            "neuron",
            (best > 0).astype(np.int8),
            {"long_name": "0 where there is no MEI"} | unit,
        ),
    )
    result = result.assign_coords(
        angle=("angle", np.rad2deg(angle), {"long_name": "place on the ring", "units": "deg"})
    )
    return make_result(
        result,
        experiment="ring",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={
            "n_point": n_point, "norm": norm, "n_step": n_step,
            **({"n_frame": n_frame} if spec.is_video else {}), **provenance(twin),
        },
        source=BARONI,
    )  # fmt: skip


def _turn(
    twin: ConditionedTwin,
    positions: np.ndarray,
    start: Tensor,
    best: np.ndarray,
    angle: np.ndarray,
    norm: float,
    n_step: int,
    job: Job,
) -> tuple[np.ndarray, np.ndarray]:
    """Rings (neuron, angle, ...) in grey levels from pairs of images, and their activations."""
    spec, n_point = twin.spec, len(angle)
    wanted = torch.as_tensor(best, device=start.device)
    turn = torch.as_tensor(np.stack([np.cos(angle), np.sin(angle)], 1), dtype=torch.float32)
    turn = turn.to(start.device)

    def shown(pair: Tensor) -> Tensor:
        pictures = torch.einsum("at,nt...->na...", turn, pair)
        return keep_range(spec)(pictures, turn) * spec.std + spec.mean

    def rates(pair: Tensor, row: Tensor) -> Tensor:
        own = positions[row.repeat_interleave(n_point).cpu().numpy()]
        return settled_rates(twin, own, shown(pair).flatten(0, 1), job).unflatten(0, (-1, n_point))

    def measure(pair: Tensor, row: Tensor) -> Tensor:
        relative = rates(pair, row) / wanted[row, None]
        return -torch.logsumexp(-LOWEST * relative, 1) / LOWEST

    def move(pair: Tensor, gradient: Tensor, step: Tensor, row: Tensor) -> Tensor:
        del row
        length = norm / norm_of(gradient).clamp(min=1e-30)
        ahead = step.view(-1, *[1] * (pair.ndim - 1)) * length * gradient
        return _circle(pair + 0.5 * ahead, norm)

    def report(done: int, pair: Tensor) -> None:
        preview = shown(pair[:1])[0, 0].cpu().numpy()
        job.report(done / n_step, f"step {done} of {n_step}", preview)

    pair, _ = ascend(_circle(start, norm), measure, move, n_step=n_step, report=report)
    with torch.inference_mode():
        activation = rates(pair, torch.arange(len(pair), device=pair.device))
        return shown(pair).cpu().numpy(), activation.cpu().numpy()


def _circle(pair: Tensor, norm: float) -> Tensor:
    """Two stimuli (n, 2, ...) of zero mean, this norm, and at right angles."""
    pair = pair - pair.mean(tuple(range(2, pair.ndim)), keepdim=True)
    one, other = pair.flatten(2).unbind(1)
    one = one / one.norm(dim=1, keepdim=True).clamp(min=1e-12)
    other = other - (one * other).sum(1, keepdim=True) * one
    other = other / other.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return norm * torch.stack([one, other], 1).view_as(pair)
