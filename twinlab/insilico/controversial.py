"""Controversial stimuli: pairs of images that one twin tells apart and another does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.insilico.ascent import ascend
from twinlab.insilico.constraints import match_norm
from twinlab.insilico.formats import picture_attrs
from twinlab.insilico.responses import (
    Neurons,
    check_positive,
    chosen_positions,
    find_neurons,
    neuron_labels,
    provenance,
    spatial_coordinates,
    start_noise,
    value_and_gradient,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, make_result
from twinlab.twins import ConditionedTwin, StimulusSpec

__all__ = ["synthesize_controversial"]

SOURCE = "Wang & Simoncelli (2008), Journal of Vision 8(12): 8"

MOVED = ("twin", "other")
EXTREME = ("low", "high")
HOLD = 3e-3  # of the held twin's range: how far it may be off its level
RETURNS = 2  # Newton steps back to that level after each step along it
SAME_DIRECTION = 1e-3  # share of a gradient that is left beside the other; less is rounding
STRONGEST = 0.9  # of the last start, share of the norm along the held twin's best image
SMALLEST_RANGE = 1e-6  # of the largest rate; a neuron that moves less is constant
FIRST_STEP, GROW, SHRINK, SMALLEST_STEP, LARGEST_STEP = 0.5, 1.5, 0.3, 1e-3, 2.0
SMALLEST_GAIN = 1e-5  # of the moved twin's range


def synthesize_controversial(
    twin: ConditionedTwin,
    other: ConditionedTwin,
    neurons: Neurons = None,
    *,
    norm: float = 7.0,
    n_start: int = 3,
    n_step: int = 60,
    criterion: float = 0.1,
    seed: int = 0,
    batch_size: int = 128,
    job: Job | None = None,
) -> xr.Dataset:
    r"""Images that one twin tells apart and the other does not (maximum differentiation).

    For each neuron and start, a pair of images is made from one image of the given norm: with
    the other twin's response held at its level for that image, the twin's own response is
    driven as high and as low as it goes; then the roles are exchanged. An animal that is shown
    the two images of a pair decides between the twins: under one its responses differ by the
    gap, under the other they are the same. The first start is noise, at which most neurons
    rest; in the others ever more of what excites the held twin most is mixed into noise, so
    that it is held at higher levels. A step follows the gradient of the response that
    is moved with that of the response that is held projected out, and Newton steps along the
    latter then return to the level; a step is kept if the response moved on and the level
    is met to 0.3 % of what the held twin can do.

    The gap is set beside the twin's range :math:`R`, the difference between the highest and
    the lowest response reached at this norm with nothing held. Of two linear neurons whose
    filters have angle :math:`\alpha`, held at 0, gap and range are as
    :math:`\sin \alpha` to 1. Twins are distinguishable by a neuron where the gap of either is
    at least `criterion` times its range; where they are not, no image of this norm was found
    that would decide between them, and the pair is not worth showing.

    Parameters
    ----------
    twin, other : ConditionedTwin
        Of the same neurons (by session and identity) and image size.
    neurons : sequence of int, optional
        Positions in `twin`; all where absent.
    norm : float
        L2 norm of the images over all pixels and channels, in standard deviations of the
        training pixels; their mean is that of the training images.
    n_start : int
        Images from which each pair is started; the pair with the widest gap is kept.
    n_step : int
        Most steps from each start.
    criterion : float
        Share of a twin's range that a gap must have to be called one, between 0 and 1.
    seed : int
    batch_size : int
        Images optimised at once.
    job : Job, optional
        Its preview is the current first image, (channel, y, x) in grey levels.

    Returns
    -------
    xarray.Dataset
        `image` (neuron, moved, extreme, channel, y, x) in grey levels; `activation` and
        `activation_other` (neuron, moved, extreme), both twins' responses to each; `gap`
        (neuron, moved), the moved twin's response to the high image minus that to the low,
        and `held_gap`, the same of the twin that was held; `range` (neuron, moved);
        `relative_gap`; `start_gap` (neuron, moved, start); `clipped_fraction` (neuron, moved,
        extreme) of pixels at the limits of what can be shown; `distinguishable` (neuron), 0 or
        1. `valid` (neuron) is 0 where no start moved either twin, as where both are constant;
        images and gap of a twin that does not move are NaN.

    Raises
    ------
    InputError
        If a setting is out of range, `neurons` are not the twin's, or `other` lacks one of
        them or sees images of another size.

    References
    ----------
    Wang & Simoncelli (2008), Journal of Vision 8(12): 8; Golan, Raju & Kriegeskorte (2020),
    PNAS 117: 29330-29337.

    """
    _check_settings(norm, n_start, n_step, criterion)
    check_seed(seed)
    positions = chosen_positions(len(twin), neurons)
    elsewhere = find_neurons(neuron_labels(twin, positions), other.labels, "`other`")
    if other.spec.shape != twin.spec.shape:
        msg = f"`other` sees images of shape {other.spec.shape}, `twin` of {twin.spec.shape}."
        raise InputError(msg)
    job = job or Job()
    n, shape = len(positions), twin.spec.shape
    row = np.repeat(np.arange(n), n_start)
    start = np.tile(np.arange(n_start), n)
    images = np.empty((len(row), 2, 2, *shape), np.float32)
    rates = np.empty((2, len(row), 2, 2), np.float32)  # of which twin, of each image
    most, least = np.empty((2, len(row), 2), np.float32)
    share = max(batch_size // 2, 1)  # both images of a pair are made together
    for first in range(0, len(row), share):
        part = slice(first, min(first + share, len(row)))
        stage = job.part(part.start / len(row), part.stop / len(row), f"pair {first + 1} on")
        chosen = positions[row[part]], elsewhere[row[part]]
        z = match_norm(start_noise(twin, chosen[0], start[part], shape, seed), norm, twin.spec)
        asked = [(twin, chosen[0]), (other, chosen[1])]
        best = []
        for k in range(2):
            exciting, most[part, k], least[part, k] = _find_range(
                *asked[k], z, twin.spec, norm, n_step, stage.part(k * 0.15, (k + 1) * 0.15)
            )
            best.append(exciting)
        span = most[part] - least[part]
        mixed = torch.as_tensor(np.linspace(0, STRONGEST, n_start, dtype=np.float32)[start[part]])
        mixed = _as_images(mixed.to(z))
        for k in range(2):
            images[part, k], rates[k, part, k], rates[1 - k, part, k] = _move_apart(
                asked[k],
                asked[1 - k],
                match_norm((1 - mixed**2).sqrt() * z + mixed * best[1 - k], norm, twin.spec),
                span[:, [k, 1 - k]],
                twin.spec,
                norm,
                n_step,
                stage.part(0.3 + k * 0.35, 0.65 + k * 0.35),
            )
    by_start = (n, n_start)
    return _label(
        twin,
        other,
        positions,
        images.reshape(*by_start, 2, 2, *shape),
        rates.reshape(2, *by_start, 2, 2),
        most.reshape(*by_start, 2),
        least.reshape(*by_start, 2),
        criterion=criterion,
        seed=seed,
        settings={"norm": norm, "n_start": n_start, "n_step": n_step},
    )


def _check_settings(norm: float, n_start: int, n_step: int, criterion: float) -> None:
    check_positive(norm=norm, n_start=n_start, n_step=n_step)
    if not 0 < criterion <= 1:
        msg = f"`criterion` is a share of a twin's range, above 0 and at most 1, not {criterion}."
        raise InputError(msg)


def _rates(twin: ConditionedTwin, positions: np.ndarray, z: Tensor, spec: StimulusSpec) -> Tensor:
    """Rates for images in the units of `spec`, in which both twins are shown the same ones."""
    return twin.paired(positions)(z * spec.std + spec.mean)


def _find_range(
    twin: ConditionedTwin,
    positions: np.ndarray,
    z: Tensor,
    spec: StimulusSpec,
    norm: float,
    n_step: int,
    job: Job,
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Most exciting image, highest and lowest response from each start with nothing held."""
    sign = torch.ones(2 * len(z), device=z.device)
    sign[len(z) :] = -1
    both = np.concatenate([positions, positions])

    def measure(points: Tensor, row: Tensor) -> Tensor:
        return sign[row] * _rates(twin, both[row.cpu().numpy()], points, spec)

    def move(points: Tensor, gradient: Tensor, step: Tensor, row: Tensor) -> Tensor:
        del row
        return _step(spec, points, gradient, step, norm)

    def report(done: int, _: Tensor) -> None:
        job.report(done / n_step, f"range of a twin, step {done} of {n_step}")

    reached, value = ascend(torch.cat([z, z]), measure, move, n_step=n_step, report=report)
    high, low = (sign * value).cpu().numpy().reshape(2, -1)
    return reached[: len(z)], high, low


def _step(spec: StimulusSpec, z: Tensor, direction: Tensor, step: Tensor, norm: float) -> Tensor:
    """Images moved along a direction by a share of the norm."""
    length = norm * step / _dot(direction, direction).sqrt().clamp(min=1e-30)
    return match_norm(z + _as_images(length) * direction, norm, spec)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2, 3))


def _as_images(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _along(z: Tensor, gradient: Tensor) -> Tensor:
    """What a gradient has along the sphere of images of one norm and mean."""
    gradient = gradient - gradient.mean((1, 2, 3), keepdim=True)
    return gradient - _as_images(_dot(gradient, z) / _dot(z, z).clamp(min=1e-30)) * z


def _move_apart(
    moved: tuple[ConditionedTwin, np.ndarray],
    held: tuple[ConditionedTwin, np.ndarray],
    z: Tensor,
    span: np.ndarray,
    spec: StimulusSpec,
    norm: float,
    n_step: int,
    job: Job,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Low and high image (n, 2, ...) of each start in grey levels; moved and held rates (n, 2).

    `span` (n, 2) is the range of the moved and of the held twin.
    """
    twin, n = moved[0], len(z)
    sign = torch.tensor([-1.0, 1.0], device=z.device).repeat(n)  # low and high, in turn
    own, fixed = np.repeat(moved[1], 2), np.repeat(held[1], 2)
    reach, slack = torch.as_tensor(np.repeat(span, 2, axis=0), device=z.device).T
    slack = HOLD * slack
    row = torch.arange(2 * n, device=z.device)

    def look(points: Tensor, row: Tensor) -> tuple[Tensor, ...]:
        """Signed response that is moved, the one that is held, and the gradients of both."""
        at = row.cpu().numpy()
        value, gradient = value_and_gradient(
            lambda points: sign[row] * _rates(twin, own[at], points, spec), points
        )
        level, normal = value_and_gradient(
            lambda points: _rates(held[0], fixed[at], points, spec), points
        )
        return value, level, _along(points, gradient), _along(points, normal)

    def keep_level(points: Tensor, row: Tensor) -> Tensor:
        at = row.cpu().numpy()
        for _ in range(RETURNS):
            level, normal = value_and_gradient(
                lambda points: _rates(held[0], fixed[at], points, spec), points
            )
            normal = _along(points, normal)
            steep = _dot(normal, normal).sqrt()
            length = ((asked[row] - level) / steep.clamp(min=1e-12)).clamp(-norm / 2, norm / 2)
            points = match_norm(
                points + _as_images(length / steep.clamp(min=1e-12)) * normal, norm, spec
            )
        return points

    arrived = z.repeat_interleave(2, 0)
    value, level, gradient, normal = look(arrived, row)
    asked = level.clone()
    reached, kept = value.clone(), level.clone()
    point, step = arrived.clone(), torch.full_like(value, FIRST_STEP)
    for done in range(n_step):
        preview = (arrived[0] * spec.std + spec.mean).cpu().numpy()
        job.report(done / n_step, f"step {done} of {n_step}", preview)
        shared = _dot(gradient, normal) / _dot(normal, normal).clamp(min=1e-30)
        direction = gradient - _as_images(shared) * normal
        # Where the twins want the same there is no way on: what is left is rounding.
        stuck = _dot(direction, direction) <= SAME_DIRECTION**2 * _dot(gradient, gradient)
        trial = keep_level(_step(spec, point, direction, step, norm), row)
        seen = look(trial, row)
        better = (
            (seen[0] > value + SMALLEST_GAIN * reach[row])
            & ((seen[1] - asked[row]).abs() <= slack[row])
            & ~stuck
        )
        point = torch.where(_as_images(better), trial, point)
        value, level = torch.where(better, seen[0], value), torch.where(better, seen[1], level)
        gradient = torch.where(_as_images(better), seen[2], gradient)
        normal = torch.where(_as_images(better), seen[3], normal)
        step = torch.where(better, (step * GROW).clamp(max=LARGEST_STEP), step * SHRINK)
        arrived[row], reached[row], kept[row] = point, value, level
        left = (step > SMALLEST_STEP) & ~stuck
        if not left.any():
            break
        row, step = row[left], step[left]
        point, value, level, gradient, normal = (
            state[left] for state in (point, value, level, gradient, normal)
        )
    images = (arrived * spec.std + spec.mean).cpu().numpy()
    pairs = [rates.cpu().numpy().reshape(n, 2) for rates in (sign * reached, kept)]
    return images.reshape(n, 2, *images.shape[1:]), pairs[0], pairs[1]


def _label(
    twin: ConditionedTwin,
    other: ConditionedTwin,
    positions: np.ndarray,
    images: np.ndarray,
    rates: np.ndarray,
    most: np.ndarray,
    least: np.ndarray,
    *,
    criterion: float,
    seed: int,
    settings: dict[str, Any],
) -> xr.Dataset:
    """Dataset of the widest pair of each neuron and moved twin.

    Images are (neuron, start, moved, extreme, ...), rates (twin, neuron, start, moved,
    extreme), `most` and `least` (neuron, start, moved).
    """
    spec, n = twin.spec, len(positions)
    difference = rates[..., 1] - rates[..., 0]  # (twin, neuron, start, moved)
    own = np.stack([rates[k, :, :, k] for k in range(2)], 2)  # (neuron, start, moved, extreme)
    most = np.maximum(most, own[..., 1]).max(1)
    least = np.minimum(least, own[..., 0]).min(1)
    span = most - least
    span = np.where(span > SMALLEST_RANGE * np.abs([most, least]).max(0), span, 0)
    start_gap = np.stack([difference[k, :, :, k] for k in range(2)], 1)  # (neuron, moved, start)
    best = start_gap.argmax(2)
    each, which = np.arange(n)[:, None], np.arange(2)[None]
    alive = np.where(span > 0, 1, np.nan).astype(np.float32)  # (neuron, moved)
    image = images[each, best, which] * alive[..., None, None, None, None]
    response = rates[:, each, best, which] * alive[..., None]
    gap = start_gap[each, which, best] * alive
    held = np.stack([difference[1 - k, np.arange(n), best[:, k], k] for k in range(2)], 1) * alive
    relative = gap / np.where(span > 0, span, np.nan)
    margin = 1e-3 * spec.std
    clipped = ((image <= spec.low + margin) | (image >= spec.high - margin)).mean((3, 4, 5))
    rate, unit, pair = {"units": "rate"}, {"units": "1"}, ("neuron", "moved")
    variables: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "image": (
            (*pair, "extreme", "channel", "y", "x"),
            image,
            picture_attrs(spec, "controversial stimulus"),
        ),
        "activation": ((*pair, "extreme"), response[0], {"long_name": "response"} | rate),
        "activation_other": (
            (*pair, "extreme"),
            response[1],
            {"long_name": "response, other twin"} | rate,
        ),
        "gap": (pair, gap, {"long_name": "difference of the moved twin's responses"} | rate),
        "held_gap": (pair, held, {"long_name": "difference of the held twin's responses"} | rate),
        "range": (pair, span, {"long_name": "range of responses with nothing held"} | rate),
        "relative_gap": (pair, relative, {"long_name": "gap as a share of the range"} | unit),
        "start_gap": (
            (*pair, "start"),
            start_gap * alive[..., None],
            {"long_name": "gap from each start"} | rate,
        ),
        "clipped_fraction": (
            (*pair, "extreme"),
            clipped * alive[..., None],
            {"long_name": "share of pixels at the limits of the display"} | unit,
        ),
        "distinguishable": (
            "neuron",
            (relative >= criterion).any(1).astype(np.int8),
            {
                "long_name": f"1 where a gap is at least {criterion:g} of its range, "
                "0 where the twins are not distinguishable",
                "flag_values": [0, 1],
                "flag_meanings": "not_distinguishable distinguishable",
            }
            | unit,
        ),
        "valid": (
            "neuron",
            (span > 0).any(1).astype(np.int8),
            {"long_name": "0 where no start moved either twin"} | unit,
        ),
    }
    coordinates = {
        "moved": ("moved", list(MOVED), {"long_name": "twin whose response is moved"}),
        "extreme": ("extreme", list(EXTREME), {"long_name": "end to which it is moved"}),
    }
    result = neuron_labels(twin, positions).assign(variables).assign_coords(coordinates)
    return make_result(
        result.assign_coords(spatial_coordinates(spec.height, spec.width)),
        experiment="controversial",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={
            **settings,
            "criterion": criterion,
            "other": other.identity,
            "other_context": other.context,
            **provenance(twin),
        },
        source=SOURCE,
    )
