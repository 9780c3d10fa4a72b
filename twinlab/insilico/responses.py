"""What a conditioned twin answers: rates and their gradients, in batches, for chosen neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed
from twinlab.twins import ConditionedTwin, StimulusSpec

__all__ = [
    "cancellable",
    "check_positive",
    "chosen_positions",
    "find_neurons",
    "neuron_labels",
    "neuron_names",
    "paired_rates",
    "provenance",
    "rates_of_batches",
    "settle",
    "spatial_coordinates",
    "start_noise",
    "value_and_gradient",
]

Neurons = Sequence[int] | np.ndarray | None

SETTLED = 0.5  # of a video: rates are averaged over the frames after this share of it


def chosen_positions(n_neuron: int, neurons: Neurons) -> np.ndarray:
    """Positions of the neurons asked about, counted from 0; all where `neurons` is None."""
    if neurons is None:
        return np.arange(n_neuron)
    asked = np.atleast_1d(np.asarray(neurons))
    if asked.size == 0 or not np.issubdtype(asked.dtype, np.integer):
        msg = f"`neurons` must be one or more whole numbers (positions), but got {neurons!r}."
        raise InputError(msg)
    if asked.min() < -n_neuron or asked.max() >= n_neuron:
        msg = (
            f"`neurons` must lie between 0 and {n_neuron - 1}, the positions of the neurons "
            f"there are, but got {asked.min()} to {asked.max()}."
        )
        raise InputError(msg)
    return np.arange(n_neuron)[asked]


def neuron_labels(twin: ConditionedTwin, positions: np.ndarray) -> xr.Dataset:
    """Coordinates of these neurons, along `neuron`."""
    return twin.neurons(positions).labels


def neuron_names(labels: xr.Dataset) -> list[tuple[str, str]]:
    """Session and identity of each neuron of a twin's labels, a result or a recording."""
    pairs = zip(labels.session.values, labels.neuron_id.values, strict=True)
    return [(str(session), str(neuron)) for session, neuron in pairs]


def find_neurons(asked: xr.Dataset, known: xr.Dataset, where: str) -> np.ndarray:
    """Positions in `known` of the neurons in `asked`, by session and identity.

    `where` says in words what `known` is: ``"The recording"``.
    """
    place = {name: position for position, name in enumerate(neuron_names(known))}
    names = neuron_names(asked)
    missing = [name for name in names if name not in place]
    if missing:
        msg = (
            f"{where} lacks {len(missing)} of the {len(names)} neurons asked about, first "
            f"(session, neuron_id) = {missing[0]}; choose neurons it has."
        )
        raise InputError(msg)
    return np.array([place[name] for name in names])


def spatial_coordinates(height: int, width: int) -> dict[str, Any]:
    """Coordinates of the pixels of an image, in pixels from the centre of the first."""
    return {
        name: (name, np.arange(size), {"long_name": long_name, "units": "px"})
        for name, size, long_name in (
            ("y", height, "vertical position, downwards"),
            ("x", width, "horizontal position, rightwards"),
        )
    }


def provenance(twin: ConditionedTwin) -> dict[str, Any]:
    """Context that was bound when the twin was conditioned, for the settings of a result."""
    sessions = np.unique(twin.labels.session.values.astype(str)).tolist()
    return {"session": sessions, "context": twin.context}


def settle(rate: Tensor, spec: StimulusSpec) -> Tensor:
    """Rates of stimuli (...,), of videos (..., frame) the mean over their second half."""
    return rate[..., int(SETTLED * rate.shape[-1]) :].mean(-1) if spec.is_video else rate


def rates_of_batches(
    twin: ConditionedTwin, batches: Iterable[np.ndarray], n_image: int, job: Job | None = None
) -> np.ndarray:
    """Rate of every neuron of `twin` for images, or videos, that come in batches.

    Parameters
    ----------
    twin : ConditionedTwin
    batches : iterable of ndarray of shape (batch, channel[, frame], y, x)
        Grey levels; drawn one batch at a time, so that a large grid is never held whole.
    n_image : int
        Number of images in all batches together.
    job : Job, optional

    Returns
    -------
    ndarray of shape (n_image, n_neuron), float32
        Of videos, over their second half.

    """
    job = job or Job()
    rates = np.empty((n_image, len(twin)), np.float32)
    done = 0
    with torch.inference_mode():
        for batch in batches:
            job.report(done / n_image, f"image {done} of {n_image}")
            images = torch.as_tensor(batch, dtype=torch.float32, device=twin.device)
            rate = settle(twin(images), twin.spec)
            rates[done : done + len(batch)] = rate.float().cpu().numpy()
            done += len(batch)
    return rates


def paired_rates(
    twin: ConditionedTwin,
    positions: np.ndarray,
    draw: Callable[[slice], Tensor],
    batch_size: int,
    job: Job | None = None,
) -> np.ndarray:
    """Rate of neuron ``positions[i]`` for image i, where ``draw(slice)`` makes the images.

    Returns
    -------
    ndarray of shape (len(positions),), float32
        Of videos, over their second half.

    """
    check_positive(batch_size=batch_size)
    job = job or Job()
    rates = np.empty(len(positions), np.float32)
    with torch.inference_mode():
        for start in range(0, len(positions), batch_size):
            job.report(start / len(positions), f"image {start} of {len(positions)}")
            part = slice(start, min(start + batch_size, len(positions)))
            images = draw(part).to(device=twin.device, dtype=torch.float32)
            rate = settle(twin.paired(positions[part])(images), twin.spec)
            rates[part] = rate.float().cpu().numpy()
    return rates


def check_positive(**settings: float) -> None:
    """Raise `InputError` that names every setting which is not above 0."""
    wrong = [f"`{name}` is {value:g}" for name, value in settings.items() if not value > 0]
    if wrong:
        msg = f"Settings must be positive, but {' and '.join(wrong)}."
        raise InputError(msg)


def start_noise(
    twin: ConditionedTwin,
    positions: np.ndarray,
    start: np.ndarray,
    shape: tuple[int, ...],
    seed: int,
) -> Tensor:
    """White noise (n, ...) that depends on seed, neuron and number of the start alone.

    Row i is for the neuron at ``positions[i]`` and its start ``start[i]``: what a neuron is begun
    from does not depend on which others are asked about.
    """
    known = twin.neuron.cpu().numpy()[positions]
    check_seed(seed)
    noise = [
        np.random.default_rng([seed, neuron, number]).standard_normal(shape, np.float32)
        for neuron, number in zip(known, start, strict=True)
    ]
    return torch.as_tensor(np.stack(noise), device=twin.device)


def cancellable(job: Job) -> AbstractContextManager[Any]:
    """Within it, whatever keeps a tensor for its way back looks at the job, and again there.

    So a step that takes long, of a deep twin of videos, can be cancelled between the operations
    that it is made of, on its way to the value and back to the gradient.
    """

    def look(tensor: Tensor) -> Tensor:
        job.check()
        return tensor.detach()  # the tensor itself would keep what made it alive for ever

    return torch.autograd.graph.saved_tensors_hooks(look, look)


def value_and_gradient(
    measure: Callable[..., Tensor], point: Tensor, *others: Tensor
) -> tuple[Tensor, Tensor]:
    """``measure(point, *others)``, one value a row, and each one's gradient by its row."""
    point = point.detach().requires_grad_()
    value = measure(point, *others)
    (gradient,) = torch.autograd.grad(value.sum(), point)
    return value.detach(), gradient
