"""Many stimuli that excite one neuron alike: diverse inputs, and the ring they may lie on."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.insilico.ascent import ascend
from twinlab.insilico.constraints import constrain, fix_norm, keep_range, norm_of
from twinlab.insilico.formats import (
    picture_attrs,
    stimuli_at_once,
    stimulus_coordinates,
    stimulus_dims,
    stimulus_shape,
    total_norm,
)
from twinlab.insilico.mei import ascend_neurons, correlate_stimuli, synthesize_mei
from twinlab.insilico.objectives import excite
from twinlab.insilico.responses import (
    Neurons,
    cancellable,
    check_positive,
    chosen_positions,
    neuron_labels,
    provenance,
    settle,
    start_noise,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, make_result
from twinlab.twins import ConditionedTwin

__all__ = ["synthesize_diverse", "synthesize_ring"]

DING = "Ding et al. (2023), bipartite invariance in mouse primary visual cortex, bioRxiv"
BARONI = "Baroni et al. (2022), learning invariance manifolds of visual sensory neurons, PMLR 197"
# What falling short of the wanted activation costs, per squared share of the MEI's: little while
# the images part, much at the end.
SHORT = (30.0, 1000.0)
SHARPNESS = 5.0  # of the soft maximum over pairs
LOWEST = 20.0  # the same of the lowest response on a ring


def synthesize_diverse(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    n_image: int = 8,
    fraction: float = 0.85,
    norm: float = 7.0,
    n_step: int = 100,
    n_frame: int = 30,
    seed: int = 0,
    batch_size: int = 128,
    job: Job | None = None,
) -> xr.Dataset:
    """Diverse exciting inputs: images as unlike each other as can be that all excite the neuron.

    Each set starts from the ends of as many ascents to a most exciting input. It then climbs
    until the largest correlation between two of its images is as small as it can be, while each
    is made to excite at least `fraction` of what the best of them did.

    Of a twin of videos the set is one of videos, of which the mean rate over the second half of
    the frames counts. To that mean it is often all the same when a feature passes, so that even a
    neuron selective for the phase of an image may have videos of all phases in its set.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    n_image : int
        Images in each neuron's set, at least 2.
    fraction : float
        Of the activation of the most exciting input that each image shall reach, 0 to 1.
    norm : float
        As of `synthesize_mei`.
    n_step : int
        Most steps of each ascent and of each of two stages after it: apart, and up to the
        wanted activation.
    n_frame, seed, batch_size, job
        As of `synthesize_mei`.

    Returns
    -------
    xarray.Dataset
        `image` (neuron, image, channel[, frame], y, x) in grey levels; `activation` (neuron,
        image) and
        `mei_activation` (neuron); `reached` (neuron, image), 1 where the fraction is reached to
        1 %; `largest_similarity` (neuron), the correlation of the two most similar images, and
        `diversity` (neuron), 1 minus the mean correlation between images, over what that
        would be for independent ones (1): 0 for one image, larger for more. NaN where there is
        no most exciting input.

    Raises
    ------
    InputError
        If a setting is out of range or `neurons` are not the twin's.

    References
    ----------
    Ding et al. (2023), bioRxiv. Cadena et al. (2018), NeurIPS workshop.

    """
    check_positive(norm=norm, n_step=n_step, n_frame=n_frame, batch_size=batch_size)
    if not 0 < fraction <= 1:
        msg = f"`fraction` must lie above 0 and not above 1, but is {fraction}."
        raise InputError(msg)
    if n_image < 2:
        msg = f"`n_image` must be at least 2, but is {n_image}."
        raise InputError(msg)
    job = job or Job()
    spec, shape = twin.spec, stimulus_shape(twin.spec, n_frame)
    positions, ended = ascend_neurons(
        twin, neurons, excite, norm=norm, n_start=n_image, n_step=n_step, n_frame=n_frame,
        seed=seed, batch_size=batch_size, job=job.part(0.0, 0.4, "MEI"),
    )  # fmt: skip
    ends = ended.stimuli.reshape(len(positions), n_image, *shape)
    gained = (
        ((ended.value > ended.start_value) | (ended.start_slope > 0))
        .reshape(len(positions), n_image)
        .any(1)
    )
    best = np.where(gained, ended.value.reshape(len(positions), n_image).max(1), np.nan)
    found = np.flatnonzero(best > 0)
    images = np.full((len(positions), n_image, *shape), np.nan, np.float32)
    activation = np.full((len(positions), n_image), np.nan, np.float32)
    at_once = max(1, stimuli_at_once(twin, n_frame, batch_size) // n_image)
    later, total = job.part(0.4, 1.0), total_norm(spec, norm, n_frame)
    for first in range(0, len(found), at_once):
        some = found[first : first + at_once]
        stage = later.part(first / len(found), (first + len(some)) / len(found))
        start = (torch.as_tensor(ends[some], device=twin.device) - spec.mean) / spec.std
        with cancellable(stage):
            images[some], activation[some] = _spread(
                twin, positions[some], start, best[some], fraction, total, n_step, stage
            )
    similarity = correlate_stimuli(images)
    upper = np.triu_indices(n_image, 1)
    pairs = similarity[:, upper[0], upper[1]]
    rate, unit = {"units": "rate"}, {"units": "1"}
    result = neuron_labels(twin, positions).assign(
        image=(
            ("neuron", "image", *stimulus_dims(spec)),
            images,
            picture_attrs(spec, "diverse exciting inputs"),
        ),
        activation=(("neuron", "image"), activation, {"long_name": "response"} | rate),
        mei_activation=("neuron", best, {"long_name": "response to the MEI"} | rate),
        reached=(
            ("neuron", "image"),
            (activation >= 0.99 * fraction * best[:, None]).astype(np.int8),
            {"long_name": "1 where the image excites as asked"} | unit,
        ),
        largest_similarity=(
            "neuron",
            pairs.max(1),
            {"long_name": "correlation of the two most similar images"} | unit,
        ),
        diversity=(
            "neuron",
            1 - pairs.mean(1),
            {"long_name": "1 - mean correlation between images"} | unit,
        ),
        valid=(
            "neuron",
            (best > 0).astype(np.int8),
            {"long_name": "0 where there is no MEI"} | unit,
        ),
    )
    return make_result(
        result.assign_coords(stimulus_coordinates(spec, n_frame)),
        experiment="diverse",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={
            "n_image": n_image, "fraction": fraction, "norm": norm, "n_step": n_step,
            **({"n_frame": n_frame} if spec.is_video else {}), **provenance(twin),
        },
        source=DING,
    )  # fmt: skip


def _spread(
    twin: ConditionedTwin,
    positions: np.ndarray,
    start: Tensor,
    best: np.ndarray,
    fraction: float,
    norm: float,
    n_step: int,
    job: Job,
) -> tuple[np.ndarray, np.ndarray]:
    """Sets of images (neuron, image, ...) in grey levels, and their activations."""
    spec, (n_neuron, n_image) = twin.spec, start.shape[:2]
    wanted = torch.as_tensor(best, device=start.device)
    held = (fix_norm(norm), keep_range(spec))
    diagonal = torch.eye(n_image, dtype=torch.bool, device=start.device)

    def hold(z: Tensor) -> Tensor:
        flat = z.flatten(0, 1)
        return constrain(flat, torch.arange(len(flat)), held).view_as(z)

    def rates(z: Tensor, row: Tensor) -> Tensor:
        own = positions[row.repeat_interleave(n_image).cpu().numpy()]
        shown = z.flatten(0, 1) * spec.std + spec.mean
        return _rates(twin, own, shown, job).unflatten(0, (-1, n_image))

    def measure(z: Tensor, row: Tensor, cost: float) -> Tensor:
        unit = z.flatten(2)
        unit = unit / unit.norm(dim=2, keepdim=True)
        alike = (unit @ unit.mT).masked_fill(diagonal, -torch.inf)
        largest = torch.logsumexp(SHARPNESS * alike.flatten(1), 1) / SHARPNESS
        short = (fraction - rates(z, row) / wanted[row, None]).clamp(min=0)
        return -largest - cost * short.square().sum(1)

    def move(z: Tensor, gradient: Tensor, step: Tensor, row: Tensor) -> Tensor:
        del row
        length = norm * n_image**0.5 / norm_of(gradient).clamp(min=1e-30)
        return hold(z + 0.1 * step.view(-1, *[1] * (z.ndim - 1)) * length * gradient)

    z = hold(start)
    for number, cost in enumerate(SHORT):
        stage = job.part(number / len(SHORT), (number + 1) / len(SHORT))

        def report(done: int, z: Tensor, stage: Job = stage) -> None:
            preview = (z[0, 0] * spec.std + spec.mean).cpu().numpy()
            stage.report(done / n_step, f"step {done} of {n_step}", preview)

        def costing(z: Tensor, row: Tensor, cost: float = cost) -> Tensor:
            return measure(z, row, cost)

        z, _ = ascend(z, costing, move, n_step=n_step, report=report)
    with torch.inference_mode():
        activation = rates(z, torch.arange(n_neuron, device=z.device))
    return (z * spec.std + spec.mean).cpu().numpy(), activation.cpu().numpy()


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
        return _rates(twin, own, shown(pair).flatten(0, 1), job).unflatten(0, (-1, n_point))

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


def _rates(twin: ConditionedTwin, positions: np.ndarray, stimuli: Tensor, job: Job) -> Tensor:
    """Rate of neuron i for stimulus i; of videos no more at once than leave time for a look."""
    size = len(stimuli)
    if twin.spec.is_video:
        size = stimuli_at_once(twin, stimuli.shape[2], size * stimuli.shape[2])
    found = []
    for first in range(0, len(stimuli), size):
        job.check()
        part = slice(first, first + size)
        found.append(settle(twin.paired(positions[part])(stimuli[part]), twin.spec))
    return torch.cat(found)


def _circle(pair: Tensor, norm: float) -> Tensor:
    """Two stimuli (n, 2, ...) of zero mean, this norm, and at right angles."""
    pair = pair - pair.mean(tuple(range(2, pair.ndim)), keepdim=True)
    one, other = pair.flatten(2).unbind(1)
    one = one / one.norm(dim=1, keepdim=True).clamp(min=1e-12)
    other = other - (one * other).sum(1, keepdim=True) * one
    other = other / other.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return norm * torch.stack([one, other], 1).view_as(pair)
