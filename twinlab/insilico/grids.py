"""Rates of neurons over a grid of gratings, drawn and averaged on the fly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from twinlab.insilico.drawing import DEFAULTS, check_shown, draw_gratings
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import ConditionedTwin, EnsembleTwin

__all__ = ["Grid", "check_grid", "members_of", "show_grid"]

ONSET_S = 0.5  # of a video, left out: what was before it still affects the rate
# Share of a rate below which its difference from blank is rounding.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Grid:
    """What was measured on a grid, by voice: the twin first, then each member of an ensemble.

    Attributes
    ----------
    response : ndarray of shape (n_voice, n_neuron, *grid)
        Mean rate over phases, or over time.
    evoked : ndarray of the same shape
        Mean over phases, or over time, of what the rate is above that to a blank screen.
    modulation : ndarray of the same shape
        Amplitude of the first harmonic over phases, or over time (F1); NaN where the phase is
        not averaged over, and in videos of gratings at rest.
    blank : ndarray of shape (n_voice, n_neuron)
        Rate for a blank screen.

    """

    response: np.ndarray
    evoked: np.ndarray
    modulation: np.ndarray
    blank: np.ndarray


def members_of(twin: ConditionedTwin) -> list[ConditionedTwin]:
    """Members of an ensemble, conditioned as it is; none of any other twin."""
    if not isinstance(twin.twin, EnsembleTwin) or len(twin.twin.each) < 2:
        return []
    return [
        ConditionedTwin(
            member,
            {n: getattr(twin, f"typical_{n}") for n in twin.context_names if n in member.context},
            twin.neuron,
            paired=twin.paired_,
            identity=twin.identity,
        )
        for member in twin.twin.each
    ]


def show_grid(
    twin: ConditionedTwin,
    positions: np.ndarray,
    axes: Mapping[str, np.ndarray],
    *,
    average: Mapping[str, np.ndarray],
    fixed: Mapping[str, float | np.ndarray],
    duration_s: float,
    batch_size: int,
    job: Job,
) -> Grid:
    """Show gratings at every combination of `axes` and reduce the rates.

    Parameters
    ----------
    twin : ConditionedTwin
    positions : ndarray of int of shape (n_neuron,)
    axes : mapping of str to ndarray
        Values of the parameters (see `drawing.DEFAULTS`) that span the grid.
    average : mapping of str to ndarray
        Values of the parameters that are averaged over, `phase` evenly spaced over a cycle.
    fixed : mapping of str to float or ndarray of shape (n_neuron,)
        The other parameters. With an array each neuron sees images of its own, which costs an
        evaluation of the twin per neuron and image; else all see the same.
    duration_s : float
        Of a video, after the onset that is left out.
    batch_size : int
        Images, or frames of videos, at once.
    job : Job

    """
    check_grid(twin, {**fixed, **average, **axes}, duration_s)
    spec, rate = twin.spec, twin.spec.frame_rate
    n_onset, n_frame = 0, 1
    if rate is not None:
        n_onset, n_frame = round(ONSET_S * rate), max(round(duration_s * rate), 1)
    shape = tuple(len(values) for values in axes.values())
    n_point = int(np.prod(shape))
    # The phase is averaged over innermost, so that its harmonic is at hand.
    names = sorted(average, key=lambda name: name == "phase")
    pool_shape = tuple(len(average[name]) for name in names)
    n_pool = int(np.prod(pool_shape))
    n_phase = len(average.get("phase", [0.0]))
    grid = _combine(axes)
    pool = _combine({name: average[name] for name in names})
    own = any(np.ndim(value) for value in fixed.values())
    at_once = max(batch_size // (n_pool * (n_onset + n_frame)), 1)

    def draw(point: np.ndarray, row: np.ndarray | None) -> tuple[Tensor, np.ndarray]:
        """Draw the images of these points of the grid (seen by these neurons)."""
        parameters = {name: np.repeat(values[point], n_pool) for name, values in grid.items()}
        parameters |= {name: np.tile(values, len(point)) for name, values in pool.items()}
        for name, value in fixed.items():
            each = np.asarray(value, float)
            each = each[row] if row is not None and each.ndim else np.full(len(point), each)
            parameters[name] = np.repeat(each, n_pool)
        if "direction" in parameters:
            parameters["orientation"] = parameters.pop("direction") - 90
        if "surround_direction" in parameters:  # counted from the centre's, as the orientation is
            parameters["surround_orientation"] = parameters.pop("surround_direction")
        frequency = parameters.get("temporal_frequency", np.zeros(len(point) * n_pool))
        images = draw_gratings(spec, parameters, n_frame=n_onset + n_frame, device=twin.device)
        return images, frequency

    with torch.inference_mode():
        chosen = twin.neurons(positions)
        grey = torch.full((1, *spec.shape), spec.mean, device=twin.device)
        if spec.is_video:
            grey = grey[:, :, None].expand(-1, -1, n_onset + n_frame, -1, -1)
        blank = _voices(chosen, grey)[:, 0]  # (voice, neuron[, frame])
        blank = blank.reshape(*blank.shape[:2], -1)[..., n_onset:]

        def reduce(rates: Tensor, rest: Tensor, frequency: np.ndarray) -> list[Tensor]:
            """Response, evoked and F1 of each point, from (voice, point * pool, ..., frame)."""
            rates = rates[..., n_onset:]
            rise = rates - rest
            rise = torch.where(rise > ROUNDING * rates.abs().clamp(min=1e-30), rise, 0)
            if rate is not None:
                first = _first_over_time(rates, frequency, n_onset / rate, rate)
            elif n_phase >= 3:
                cycles = rates[..., 0].unflatten(1, (-1, n_phase))
                first = _first_over_phase(cycles, average["phase"])
            else:
                first = torch.full_like(rates[:, ::n_phase, ..., 0], torch.nan)
            n_each = first.shape[1] * n_pool // rates.shape[1]
            return [
                rates.mean(-1).unflatten(1, (-1, n_pool)).mean(2),
                rise.mean(-1).unflatten(1, (-1, n_pool)).mean(2),
                first.unflatten(1, (-1, n_each)).mean(2),
            ]

        found = np.empty((3, len(blank), len(positions), n_point), np.float32)
        if own:
            total = len(positions) * n_point
            for part in _parts(total, at_once, job):
                row, point = np.divmod(part, n_point)
                images, frequency = draw(point, row)
                asked = twin.paired(np.repeat(positions[row], n_pool))
                rates = _voices(asked, images)
                rates = rates.reshape(*rates.shape[:2], -1)
                where = torch.as_tensor(np.repeat(row, n_pool), device=rates.device)
                values = reduce(rates, blank[:, where], frequency)
                found[:, :, row, point] = torch.stack(values).float().cpu().numpy()
        else:
            for part in _parts(n_point, at_once, job):
                images, frequency = draw(part, None)
                rates = _voices(chosen, images)
                rates = rates.reshape(*rates.shape[:3], -1)
                values = reduce(rates, blank[:, None], frequency)
                found[..., part] = torch.stack(values).float().cpu().numpy().swapaxes(2, 3)
    response, evoked, modulation = found.reshape(3, len(blank), len(positions), *shape)
    return Grid(response, evoked, modulation, blank.mean(-1).float().cpu().numpy())


def _first_over_phase(cycles: Tensor, phase: np.ndarray) -> Tensor:
    """Amplitude of the first harmonic of (voice, n, phase, ...) over evenly spaced phases."""
    wave = torch.as_tensor(np.exp(-1j * np.deg2rad(phase)), dtype=torch.complex64)
    wave = wave.to(cycles.device)
    return 2 * (cycles.movedim(2, -1) * wave).mean(-1).abs()


def _first_over_time(rates: Tensor, frequency: np.ndarray, start_s: float, rate: float) -> Tensor:
    """Amplitude at each temporal frequency, NaN at 0, of (voice, stimulus, ..., frame)."""
    time = start_s + np.arange(rates.shape[-1]) / rate
    turns = np.exp(-2j * np.pi * np.outer(frequency, time)).astype(np.complex64)
    wave = torch.as_tensor(turns, device=rates.device)
    wave = wave.reshape(len(frequency), *[1] * (rates.ndim - 3), len(time))
    away = rates - rates.mean(-1, keepdim=True)
    first = 2 * (away * wave).mean(-1).abs()
    at_rest = torch.as_tensor(frequency == 0, device=rates.device)
    return first.masked_fill(at_rest.reshape(-1, *[1] * (first.ndim - 2)), torch.nan)


def _voices(twin: ConditionedTwin, images: Tensor) -> Tensor:
    """Rates of the twin, then of each member of an ensemble, stacked in front."""
    members = members_of(twin)
    if not members:
        return twin(images)[None]
    each = torch.stack([member(images) for member in members])
    return torch.cat([each.mean(0, keepdim=True), each])


def _parts(count: int, size: int, job: Job) -> Iterator[np.ndarray]:
    for start in range(0, count, size):
        job.report(start / count, f"stimulus {start} of {count}")
        yield np.arange(start, min(start + size, count))


def _combine(axes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every combination of values, the last axis fastest."""
    grid = np.meshgrid(*axes.values(), indexing="ij")
    return {name: values.ravel() for name, values in zip(axes, grid, strict=True)}


def check_grid(
    twin: ConditionedTwin, parameters: Mapping[str, float | np.ndarray], duration_s: float
) -> None:
    """Raise `InputError` unless gratings with these values can be shown to this twin."""
    known = [*DEFAULTS, "direction", "surround_direction"]
    for name, values in parameters.items():
        if name not in known:
            msg = f"A grating has no parameter {name!r}; it has {', '.join(known)}."
            raise InputError(msg)
        if not np.size(values):
            msg = f"`{name}` needs at least one value, but got none."
            raise InputError(msg)
    moving = [
        name
        for name in ("direction", "temporal_frequency", "surround_direction")
        if name in parameters
    ]
    if moving and not twin.spec.is_video:
        instead = "surround_orientation" if "surround" in moving[0] else "orientation"
        msg = (
            f"`{moving[0]}` needs a twin of videos, but this one sees images, which do not move; "
            f"ask for `{instead}`, or fit a twin to a recording of videos."
        )
        raise InputError(msg)
    if twin.spec.is_video and not 0 < duration_s <= 60:
        msg = f"`duration_s` must be more than 0 and at most 60 seconds, but got {duration_s:g}."
        raise InputError(msg)
    ranges = {name: (value, value) for name, value in DEFAULTS.items()}
    ranges |= {
        name: (float(np.min(value)), float(np.max(value)))
        for name, value in parameters.items()
        if name != "direction"
    }
    check_shown(twin.spec, ranges)
