"""Most and least exciting inputs: stimuli made for one neuron each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.insilico.constraints import Constraint, fix_norm, keep_range
from twinlab.insilico.formats import (
    picture_attrs,
    stimuli_at_once,
    stimulus_coordinates,
    stimulus_dims,
    stimulus_shape,
    total_norm,
)
from twinlab.insilico.objectives import (
    Objective,
    add_objectives,
    excite,
    suppress,
    tolerate_shifts,
)
from twinlab.insilico.priors import Prior, blur_gradient, weigh_frequencies
from twinlab.insilico.responses import (
    Neurons,
    check_positive,
    chosen_positions,
    neuron_labels,
    paired_rates,
    provenance,
    start_noise,
)
from twinlab.insilico.synthesis import Ascended, optimize_stimuli
from twinlab.jobs import Job
from twinlab.schema import InputError, make_result
from twinlab.twins import ConditionedTwin

__all__ = [
    "ascend_neurons",
    "correlate_stimuli",
    "label_ascended",
    "synthesize_lei",
    "synthesize_mei",
]

SOURCE = "Walker et al. (2019), Nature Neuroscience 22: 2060-2065"
# Mean correlation of the ends of different starts from which they are taken for one stimulus.
SAME = 0.9
SILENT = 1e-6  # of the response to grey: no response


def synthesize_mei(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    norm: float = 7.0,
    n_start: int = 3,
    n_step: int = 100,
    blur_sigma: float = 1.0,
    jitter: int = 0,
    fourier_exponent: float = 0.0,
    n_frame: int = 30,
    optimizer: str = "adaptive",
    lr: float = 10.0,
    constraints: Sequence[Constraint] | None = None,
    terms: Sequence[Objective] = (),
    decode: Callable[[Tensor], Tensor] | None = None,
    start: np.ndarray | None = None,
    keep_starts: bool = False,
    seed: int = 0,
    batch_size: int = 128,
    job: Job | None = None,
) -> xr.Dataset:
    """Most exciting input of each neuron: gradient ascent on the image, or video.

    Images have the mean of the training images and a fixed L2 norm in units of their
    standard deviation; pixels that cannot be shown are cut at every step, so that what is
    returned is what was optimised. During the first half of the steps the gradient is
    blurred, which keeps the ascent off high-frequency solutions that mean little to
    another twin; the second half follows the gradient itself, so that the end is a maximum.
    Every neuron and start is one image of a batch; see `optimize_stimuli` for the steps.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    norm : float
        L2 norm of the image over all pixels and channels, in standard deviations of the
        training pixels; of a video, root mean square over frames. At the default few pixels of
        a receptive field some 10 pixels wide leave the range that can be shown.
    n_start : int
        White-noise images from which each neuron is started. They depend on `seed`, the neuron
        and the start alone, so that a neuron's result does not depend on which others are
        asked about.
    n_step : int
        Most steps from each start.
    blur_sigma : float
        Standard deviation in pixels of the blur of the gradient; 0 for none.
    jitter : int
        Pixels by which the image may be moved and shall still excite; 0 for none.
    fourier_exponent : float
        Of the Fourier parametrisation, see `weigh_frequencies`; 0 for pixels.
    n_frame : int
        Of videos; the neuron's mean rate over the second half of them counts.
    optimizer, lr
        See `optimize_stimuli`.
    constraints : sequence of Constraint, optional
        In place of norm and range; see `insilico.constraints`.
    terms : sequence of Objective
        Added to the neuron's rate, such as `look_natural`; row i is neuron i // n_start.
    decode, start : optional
        A generator and where in its latent space to start, (n_start, ...); see
        `optimize_stimuli`. `start` alone: images in z units, for every neuron the same.
    keep_starts : bool
        Whether the images that the starts ended in are returned as well.
    seed : int
    batch_size : int
        Images optimised at once.
    job : Job, optional
        Its preview is the current first image, (channel, y, x) in grey levels; see
        `optimize_stimuli`.

    Returns
    -------
    xarray.Dataset
        `mei` (neuron, channel[, frame], y, x) in grey levels; `activation` (neuron), the rate it
        evokes; `start_activation` (neuron, start) of the end of each start, `objective` (neuron,
        start) if that is more than the rate, and `best_start` (neuron); `start_agreement`
        (neuron), the mean correlation between the ends of the starts: below 1 where different
        images excite alike. `clipped_fraction` (neuron) of pixels at the limits of what can be
        shown; `norm` (neuron) reached, over all frames. `start_mei` (neuron, start, channel[,
        frame], y, x) with `keep_starts`.
        `failed` (neuron, start) is 1 where nothing led up from that start, as for a neuron silent
        under all noise; where every start failed, the image and its activation are NaN and
        `valid` (neuron) is 0.

    Raises
    ------
    InputError
        If a setting is out of range or `neurons` are not the twin's.

    References
    ----------
    Walker et al. (2019), Nature Neuroscience 22: 2060-2065.

    """
    settings: dict[str, Any] = {
        "norm": norm if constraints is None else None, "n_start": n_start, "n_step": n_step,
        "blur_sigma": blur_sigma, "jitter": jitter, "fourier_exponent": fourier_exponent,
        "optimizer": optimizer,
    }  # fmt: skip
    settings |= {"lr": lr} if optimizer == "sgd" else {}
    settings |= {"n_frame": n_frame} if twin.spec.is_video else {}
    own = {"constraints": constraints, "terms": terms or None, "decode": decode, "start": start}
    settings |= {"given": [name for name, value in own.items() if value is not None]}
    positions, ended = ascend_neurons(
        twin, neurons, excite,
        norm=norm, n_start=n_start, n_step=n_step, blur_sigma=blur_sigma, jitter=jitter,
        fourier_exponent=fourier_exponent, n_frame=n_frame, optimizer=optimizer, lr=lr,
        constraints=constraints, terms=terms, decode=decode, start=start, seed=seed,
        batch_size=batch_size, job=job or Job(),
    )  # fmt: skip
    return label_ascended(
        twin, positions, ended, n_start, "mei", "most exciting input", batch_size=batch_size,
        plain=not (jitter or terms), seed=seed, settings=settings, job=job,
        keep_starts=keep_starts,
    )  # fmt: skip


def synthesize_lei(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    norm: float = 7.0,
    n_start: int = 5,
    n_step: int = 100,
    blur_sigma: float = 1.0,
    n_frame: int = 30,
    constraints: Sequence[Constraint] | None = None,
    start: np.ndarray | None = None,
    keep_starts: bool = False,
    seed: int = 0,
    batch_size: int = 128,
    job: Job | None = None,
) -> xr.Dataset:
    """Least exciting input of each neuron, and whether there is one.

    As `synthesize_mei`, downwards. A neuron that a whole family of images silences alike has no
    one least exciting input: starts then end in different images, and `unique` is 0.

    Parameters
    ----------
    twin, neurons, norm, n_start, n_step, blur_sigma, n_frame, constraints, start, seed, job
        As of `synthesize_mei`.
    keep_starts, batch_size
        As of `synthesize_mei`.

    Returns
    -------
    xarray.Dataset
        `lei` in place of `mei`, and what else `synthesize_mei` returns; `grey_activation`
        (neuron), the rate at the mean grey level; and `unique` (neuron), 1 where two or more
        starts end in images that correlate 0.9 or more on average, and that excite less than grey
        does, but not nothing at all: what silences a neuron has many like it.

    Raises
    ------
    InputError
        If a setting is out of range or `neurons` are not the twin's.

    References
    ----------
    Franke et al. (2025), eLife: dual-feature selectivity.

    """
    positions, ended = ascend_neurons(
        twin, neurons, suppress,
        norm=norm, n_start=n_start, n_step=n_step, blur_sigma=blur_sigma, n_frame=n_frame,
        constraints=constraints, start=start, seed=seed, batch_size=batch_size, job=job or Job(),
    )  # fmt: skip
    settings: dict[str, Any] = {
        "norm": norm, "n_start": n_start, "n_step": n_step, "blur_sigma": blur_sigma,
    }  # fmt: skip
    settings |= {"n_frame": n_frame} if twin.spec.is_video else {}
    settings |= {"given": ["start"]} if start is not None else {}
    result = label_ascended(
        twin, positions, ended, n_start, "lei", "least exciting input", batch_size=batch_size,
        plain=True, seed=seed, settings=settings, job=job, keep_starts=keep_starts,
    )  # fmt: skip
    shape = (len(positions), *ended.stimuli.shape[1:])
    grey = _rates(
        twin, positions, np.broadcast_to(np.float32(twin.spec.mean), shape).copy(), batch_size, job
    )
    least = result.activation.values
    lower = (least < grey * (1 - 1e-3)) & (least > SILENT * np.abs(grey))
    unique = (result.start_agreement.values >= SAME) & lower
    attrs = dict(result.attrs)
    result = result.assign(
        grey_activation=("neuron", grey, {"long_name": "response to grey", "units": "rate"}),
        unique=(
            "neuron",
            unique.astype(np.int8),
            {"long_name": "1 where one image excites least", "units": "1"},
        ),
    )
    return result.assign_attrs(attrs)


def ascend_neurons(
    twin: ConditionedTwin,
    neurons: Neurons,
    make: Callable[[ConditionedTwin, np.ndarray], Objective],
    *,
    norm: float,
    n_start: int,
    n_step: int,
    seed: int,
    batch_size: int,
    job: Job,
    blur_sigma: float = 1.0,
    jitter: int = 0,
    fourier_exponent: float = 0.0,
    n_frame: int = 30,
    optimizer: str = "adaptive",
    lr: float = 10.0,
    constraints: Sequence[Constraint] | None = None,
    terms: Sequence[Objective] = (),
    decode: Callable[[Tensor], Tensor] | None = None,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, Ascended]:
    """Positions of the neurons, and where each of their starts arrived."""
    check_positive(norm=norm, n_start=n_start, n_step=n_step, n_frame=n_frame)
    named = {"blur_sigma": blur_sigma, "jitter": jitter, "fourier_exponent": fourier_exponent}
    below = [f"`{name}` is {value}" for name, value in named.items() if not value >= 0]
    if below:
        msg = f"Settings of an optimal stimulus must not be negative, but {' and '.join(below)}."
        raise InputError(msg)
    if decode is not None and start is None:
        msg = "`decode` needs `start`, the latent points to begin from, (n_start, ...)."
        raise InputError(msg)
    positions = chosen_positions(len(twin), neurons)
    shape = stimulus_shape(twin.spec, n_frame)
    if constraints is None:
        constraints = (fix_norm(total_norm(twin.spec, norm, n_frame)), keep_range(twin.spec))
    objective = make(twin, np.repeat(positions, n_start))
    if jitter:
        objective = tolerate_shifts(objective, jitter, twin.spec.mean)
    if terms:
        objective = add_objectives(objective, *terms)
    begin: np.ndarray | Tensor
    if start is None:
        number = np.tile(np.arange(n_start), len(positions))
        begin = start_noise(twin, np.repeat(positions, n_start), number, shape, seed)
    elif len(start) == n_start:
        begin = np.concatenate([np.asarray(start, np.float32)] * len(positions))
    else:
        msg = f"`start` holds {len(start)} points, but `n_start` is {n_start}."
        raise InputError(msg)
    ended = optimize_stimuli(
        objective, begin, twin.spec, constraints=constraints,
        prior=_prior(blur_sigma if decode is None else 0.0, fourier_exponent), decode=decode,
        n_step=n_step, optimizer=optimizer, lr=lr, device=twin.device, job=job,
        batch_size=stimuli_at_once(twin, n_frame, batch_size),
    )  # fmt: skip
    return positions, ended


def _prior(blur_sigma: float, fourier_exponent: float) -> Prior | None:
    parts = [blur_gradient(blur_sigma)] if blur_sigma else []
    parts += [weigh_frequencies(fourier_exponent)] if fourier_exponent else []
    if len(parts) == 2:
        return lambda gradient: parts[1](parts[0](gradient))
    return parts[0] if parts else None


def _rates(
    twin: ConditionedTwin,
    positions: np.ndarray,
    stimuli: np.ndarray,
    batch_size: int,
    job: Job | None,
) -> np.ndarray:
    """Rate of neuron i for stimulus i in grey levels; of a video, over its second half."""

    def draw(part: slice) -> Tensor:
        (job or Job()).check()
        return torch.as_tensor(stimuli[part])

    return paired_rates(twin, positions, draw, stimuli_at_once(twin, stimuli.shape[2], batch_size))


def correlate_stimuli(stimuli: np.ndarray) -> np.ndarray:
    """Correlations (neuron, one, other) between the stimuli of each neuron.

    NaN where one has no contrast or is not finite.
    """
    flat = stimuli.reshape(*stimuli.shape[:2], -1).astype(np.float64)
    flat -= flat.mean(2, keepdims=True)
    size = np.linalg.norm(flat, axis=2, keepdims=True)
    flat /= np.where(size > 0, size, np.nan)
    return flat @ flat.transpose(0, 2, 1)


def _agreement(stimuli: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """Mean correlation between the ends (neuron, start, ...); NaN for fewer than two."""
    ended = np.where(failed.reshape(*failed.shape, *[1] * (stimuli.ndim - 2)), np.nan, stimuli)
    each = correlate_stimuli(ended)[:, *np.triu_indices(stimuli.shape[1], 1)]
    known = np.isfinite(each)
    total = np.where(known, each, 0).sum(1)
    return total / np.where(known.any(1), known.sum(1), np.nan)


def label_ascended(
    twin: ConditionedTwin,
    positions: np.ndarray,
    ended: Ascended,
    n_start: int,
    name: str,
    long_name: str,
    *,
    batch_size: int,
    plain: bool,
    seed: int,
    settings: dict[str, Any],
    job: Job | None = None,
    keep_starts: bool = False,
) -> xr.Dataset:
    """Dataset of the best start of each neuron."""
    spec = twin.spec
    stimuli = ended.stimuli.reshape(len(positions), n_start, *ended.stimuli.shape[1:])
    objective = ended.value.reshape(-1, n_start)
    moved = (ended.value > ended.start_value) | (ended.start_slope > 0)
    failed = ~(moved & np.isfinite(ended.value)).reshape(-1, n_start)
    rates = _rates(twin, np.repeat(positions, n_start), ended.stimuli, batch_size, job)
    value = rates.reshape(-1, n_start)
    each = np.arange(len(positions))
    best = np.where(failed, -np.inf, objective).argmax(1)
    nothing = np.where(failed.all(1), np.nan, 1.0).astype(np.float32)
    chosen = stimuli[each, best] * nothing.reshape(-1, *[1] * (stimuli.ndim - 2))
    pixels = tuple(range(1, chosen.ndim))
    margin = 1e-3 * spec.std
    clipped = ((chosen <= spec.low + margin) | (chosen >= spec.high - margin)).mean(pixels)
    z = (chosen.astype(np.float64) - spec.mean) / spec.std
    unit, rate = {"units": "1"}, {"units": "rate"}
    result = neuron_labels(twin, positions).assign(
        {
            name: (("neuron", *stimulus_dims(spec)), chosen, picture_attrs(spec, long_name)),
            "activation": (
                "neuron",
                value[each, best] * nothing,
                {"long_name": f"response to the {name.upper()}"} | rate,
            ),
            "start_activation": (
                ("neuron", "start"),
                value,
                {"long_name": "response at the end of each start"} | rate,
            ),
            "best_start": ("neuron", best * nothing, {"long_name": "best start"} | unit),
            "start_agreement": (
                "neuron",
                _agreement(stimuli, failed),
                {"long_name": "mean correlation between the ends of the starts"} | unit,
            ),
            "failed": (
                ("neuron", "start"),
                failed.astype(np.int8),
                {"long_name": "1 where nothing led further"} | unit,
            ),
            "valid": (
                "neuron",
                (~failed.all(1)).astype(np.int8),
                {"long_name": "0 where every start failed"} | unit,
            ),
            "clipped_fraction": (
                "neuron",
                clipped * nothing,
                {"long_name": "share of pixels at the limits of the display"} | unit,
            ),
            "norm": (
                "neuron",
                np.sqrt((z**2).sum(pixels)),
                {
                    "long_name": f"L2 norm of the {name.upper()}",
                    "units": "standard deviation of training pixels",
                },
            ),
        }
    )
    if keep_starts:
        dims = ("neuron", "start", *stimulus_dims(spec))
        attrs = picture_attrs(spec, f"{long_name}, from each start")
        result = result.assign({f"start_{name}": (dims, stimuli, attrs)})
    if not plain:
        words = {"long_name": "what was maximised, at the end of each start", "units": "1"}
        result = result.assign(objective=(("neuron", "start"), objective, words))
    result = result.assign_coords(
        start=("start", np.arange(n_start), {"long_name": "start"} | unit)
    )
    return make_result(
        result.assign_coords(stimulus_coordinates(spec, chosen.shape[2])),
        experiment=name,
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={**settings, **provenance(twin)},
        source=SOURCE,
    )
