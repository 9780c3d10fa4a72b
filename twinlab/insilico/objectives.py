"""What a stimulus is made for: one number for each stimulus, to be made as large as can be.

An objective is a function ``objective(stimuli, row)``: stimuli (n, channel[, frame], y, x) in grey
levels, and which of all stimuli they are, ``row`` (n,), because some may have left the batch.
It returns a value for each, through which a gradient reaches the stimulus. Objectives are added,
weighted and wrapped as any functions are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from twinlab.insilico.responses import settle
from twinlab.schema import InputError
from twinlab.twins import ConditionedTwin, StimulusSpec

__all__ = [
    "Objective",
    "add_objectives",
    "excite",
    "excite_population",
    "look_natural",
    "separate_groups",
    "suppress",
    "suppress_beside",
    "tolerate_shifts",
]

Objective = Callable[[Tensor, Tensor], Tensor]


def excite(twin: ConditionedTwin, positions: Sequence[int] | np.ndarray) -> Objective:
    """Rate of one neuron for each stimulus.

    Parameters
    ----------
    twin : ConditionedTwin
        Of images, or of videos: then the mean rate over the second half of the frames.
    positions : sequence of int
        The neuron of each stimulus.

    """
    positions = np.asarray(positions)

    def objective(stimuli: Tensor, row: Tensor) -> Tensor:
        return settle(twin.paired(positions[row.cpu().numpy()])(stimuli), twin.spec)

    return objective


def suppress(twin: ConditionedTwin, positions: Sequence[int] | np.ndarray) -> Objective:
    """Minus the rate of one neuron for each stimulus."""
    exciting = excite(twin, positions)
    return lambda stimuli, row: -exciting(stimuli, row)


def suppress_beside(
    twin: ConditionedTwin, positions: Sequence[int] | np.ndarray, base: np.ndarray | Tensor
) -> Objective:
    """Minus the mean rate of one neuron to each stimulus laid over a base and over its negative.

    What lowers the response only because it takes the base away again is of no use: it adds to
    the base's negative as much, as a mask that drifts over a grating does half of the time.

    Parameters
    ----------
    twin : ConditionedTwin
    positions : sequence of int
        The neuron of each stimulus.
    base : array of shape (n_stimulus, channel[, frame], y, x)
        In grey levels, for each stimulus.

    """
    exciting = excite(twin, positions)
    contrast = torch.as_tensor(base, dtype=torch.float32, device=twin.device) - twin.spec.mean

    def objective(stimuli: Tensor, row: Tensor) -> Tensor:
        over, under = stimuli + contrast[row], stimuli - contrast[row]
        return -(exciting(over, row) + exciting(under, row)) / 2

    return objective


def excite_population(twin: ConditionedTwin, weight: np.ndarray | Tensor) -> Objective:
    """Weighted sum of the population's rates.

    Parameters
    ----------
    twin : ConditionedTwin
    weight : array of shape (n_stimulus, n_neuron)
        For each stimulus. Some neurons at 1/n and others at -1/m make the contrast between
        the means of two groups.

    """
    weights = torch.as_tensor(weight, dtype=torch.float32, device=twin.device)
    if weights.ndim != 2 or weights.shape[1] != len(twin):
        msg = (
            f"`weight` must be (stimulus, neuron) with {len(twin)} neurons, but has shape "
            f"{tuple(weights.shape)}."
        )
        raise InputError(msg)
    used = torch.nonzero((weights != 0).any(0))[:, 0]
    asked, weights = twin.neurons(used.cpu().numpy()), weights[:, used]
    return lambda stimuli, row: (settle(asked(stimuli), twin.spec) * weights[row]).sum(1)


def separate_groups(
    twin: ConditionedTwin,
    group: np.ndarray,
    own: np.ndarray,
    *,
    unit: np.ndarray | None = None,
    temperature: float = 0.3,
) -> Objective:
    """How much stimuli drive their own group of neurons and no other.

    The logarithm of the softmax, over groups, of the groups' mean rates.

    Parameters
    ----------
    twin : ConditionedTwin
    group : array of int of shape (n_neuron,)
        Of each neuron, from 0; negative for none.
    own : array of int of shape (n_stimulus,)
        The group that each stimulus is made for.
    unit : array of shape (n_neuron,), optional
        Rates are divided by these, such as each neuron's largest rate; 1 where absent.
    temperature : float
        Of the softmax: differences well below it count in proportion.

    References
    ----------
    Burg et al. (2024), Most discriminative stimuli for functional cell type clustering, ICLR.

    """
    group, own = np.asarray(group), np.asarray(own)
    if group.shape != (len(twin),):
        msg = (
            f"`group` must name one for each of {len(twin)} neurons, but has shape {group.shape}."
        )
        raise InputError(msg)
    known = np.unique(group[group >= 0])
    if not np.isin(own, known).all():
        msg = f"`own` names groups {np.unique(own).tolist()}, but neurons are in {known.tolist()}."
        raise InputError(msg)
    member = np.stack([(group == one) / (group == one).sum() for one in known], 1)
    if unit is not None:
        member = member / np.where(unit > 0, unit, np.inf)[:, None]
    used = np.flatnonzero(group >= 0)
    asked = twin.neurons(used)
    mean = torch.as_tensor(member[used], dtype=torch.float32, device=twin.device)
    target = torch.as_tensor(np.searchsorted(known, own), device=twin.device)

    def objective(stimuli: Tensor, row: Tensor) -> Tensor:
        share = torch.log_softmax(settle(asked(stimuli), twin.spec) @ mean / temperature, 1)
        return share.gather(1, target[row][:, None])[:, 0]

    return objective


def add_objectives(*objectives: Objective, weights: Sequence[float] | None = None) -> Objective:
    """Weighted sum of objectives, each with weight 1 where none are given."""
    factors = [1.0] * len(objectives) if weights is None else list(weights)
    if len(factors) != len(objectives) or not objectives:
        msg = f"{len(objectives)} objectives need as many weights, but got {len(factors)}."
        raise InputError(msg)

    def objective(stimuli: Tensor, row: Tensor) -> Tensor:
        parts = zip(factors, objectives, strict=True)
        return torch.stack([factor * part(stimuli, row) for factor, part in parts]).sum(0)

    return objective


def tolerate_shifts(objective: Objective, pixels: int, grey: float) -> Objective:
    """Mean of an objective over the stimulus moved by up to `pixels` (jitter).

    Nine places, the same at each step, so that a step up is a step up: what does not survive
    being moved a little earns little.

    Parameters
    ----------
    objective : Objective
    pixels : int
        Farthest move along each axis.
    grey : float
        What moves in from outside.

    """
    if pixels < 1:
        msg = f"`pixels` must be at least 1, but got {pixels}; leave the jitter out for none."
        raise InputError(msg)
    moves = [(down, right) for down in (-pixels, 0, pixels) for right in (-pixels, 0, pixels)]

    def moved(stimuli: Tensor, down: int, right: int) -> Tensor:
        padded = torch.nn.functional.pad(stimuli, [pixels] * 4, value=grey)
        height, width = stimuli.shape[-2:]
        top, left = pixels - down, pixels - right
        return padded[..., top : top + height, left : left + width]

    def shifted(stimuli: Tensor, row: Tensor) -> Tensor:
        values = [objective(moved(stimuli, *move), row) for move in moves]
        return torch.stack(values).mean(0)

    return shifted


def look_natural(images: np.ndarray, spec: StimulusSpec) -> Objective:
    """Log likelihood of a stimulus under a Gaussian with the spectrum of natural images.

    Minus half the mean over frequencies of a stimulus's power relative to that of the images:
    -0.5 for an image like them.

    Parameters
    ----------
    images : ndarray of shape (n_image, channel, y, x)
        In grey levels.
    spec : StimulusSpec

    """
    natural = torch.fft.rfft2(torch.as_tensor(images, dtype=torch.float32) - spec.mean)
    power = natural.abs().square().mean(0)  # (channel, y, frequency)
    power = power + 1e-6 * power.max()

    def objective(stimuli: Tensor, row: Tensor) -> Tensor:
        del row
        own = torch.fft.rfft2(stimuli - spec.mean).abs().square()
        if own.ndim == 5:  # frames of a video count alike
            own = own.mean(2)
        return -0.5 * (own / power.to(own)).flatten(1).mean(1)

    return objective
