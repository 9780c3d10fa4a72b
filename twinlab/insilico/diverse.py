"""Diverse exciting inputs: many stimuli that excite one neuron alike."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.insilico.ascent import ascend
from twinlab.insilico.constraints import constrain, fix_norm, keep_range, norm_of
from twinlab.insilico.formats import (
    picture_attrs,
    settled_rates,
    stimuli_at_once,
    stimulus_coordinates,
    stimulus_dims,
    stimulus_shape,
    total_norm,
)
from twinlab.insilico.mei import ascend_neurons, correlate_stimuli
from twinlab.insilico.objectives import excite
from twinlab.insilico.responses import (
    Neurons,
    cancellable,
    check_positive,
    neuron_labels,
    provenance,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, make_result
from twinlab.twins import ConditionedTwin

__all__ = ["synthesize_diverse"]

DING = "Ding et al. (2023), bipartite invariance in mouse primary visual cortex, bioRxiv"
# What falling short of the wanted activation costs, per squared share of the MEI's: little while
# the images part, much at the end.
SHORT = (30.0, 1000.0)
SHARPNESS = 5.0  # of the soft maximum over pairs


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
        return settled_rates(twin, own, shown, job).unflatten(0, (-1, n_image))

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
