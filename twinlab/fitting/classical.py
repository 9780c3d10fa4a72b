"""The classical family fitted: all neurons, penalties and starts in one batch of gradients.

A fit is of a bank of filters and a curve. Every neuron has several copies, one for each start
and strength of the penalty, which learn side by side and do not touch each other; the copy, and
the epoch, that predicts the validation trials best is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from twinlab.evaluation import locate_receptive_fields
from twinlab.fitting.summaries import response_moments
from twinlab.fitting.trials import (
    Trials,
    image_spec,
    origin_of,
    recorded_neurons,
    take_trials,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, validate_recording
from twinlab.twins import (
    LinearNonlinearTwin,
    NormalizationTwin,
    QuadraticTwin,
    StimulusSpec,
    SubunitTwin,
    Twin,
)
from twinlab.twins.classical import FilterBankTwin

__all__ = [
    "CLASSICAL",
    "fit_linear_poisson",
    "fit_normalization",
    "fit_quadratic",
    "fit_subunits",
    "solve_quadratic",
]

PENALTIES = (0.1, 0.03, 0.01, 0.003)  # of squared weights, against the loss of a mean trial
WINDOW = 20  # pixels along a side within which a neuron's filters lie
REACH = 2.0  # pixels from the receptive field's centre at which a weight costs twice as much
FLOOR = 0.3  # of a pixel's mean variance; directions that vary less are not whitened fully
N_DIRECTION = 6  # with the largest and the smallest response-weighted variance, for the starts
START = 0.4  # standard deviation of a filter's output at the start
BATCH = 128  # trials
LEARNING_RATE = 0.02  # of Adam at the start; falls to 0 along a half cosine
ONE = math.log(math.e - 1)  # its softplus is 1
MEMORY = 2**28  # bytes held at once for a block of neurons


@dataclass(frozen=True)
class _Effort:
    """How hard a fit tries; as documented in `fit_quadratic`."""

    penalties: tuple[float, ...]
    n_start: int
    max_epochs: int
    seed: int
    device: torch.device

    def __post_init__(self) -> None:
        check_seed(self.seed)
        least = min(self.penalties, default=-1)
        if least < 0 or self.n_start < 1 or self.max_epochs < 1:
            msg = (
                "`penalties` must be some numbers of at least 0, and `n_start` and `max_epochs` "
                f"at least 1, but got {list(self.penalties)}, {self.n_start} and "
                f"{self.max_epochs}."
            )
            raise InputError(msg)


# Start of each number that is fitted, unconstrained, and how many of it a neuron has
# (None for a plain number).
Numbers = dict[str, tuple[float, int | None]]


def fit_quadratic(
    recording: xr.Dataset,
    *,
    n_excitatory: int = 2,
    n_suppressive: int = 2,
    nonlinearity: str = "softplus",
    penalties: Sequence[float] = PENALTIES,
    n_start: int = 3,
    max_epochs: int = 60,
    seed: int = 0,
    device: str | torch.device = "cpu",
    job: Job | None = None,
) -> QuadraticTwin:
    """Fit a generalised quadratic model to each neuron by maximum Poisson likelihood.

    Parameters
    ----------
    recording : xarray.Dataset
        Of images; missing responses are NaN.
    n_excitatory, n_suppressive, nonlinearity
        As in `QuadraticTwin`.
    penalties : sequence of float
        Strengths of the ridge penalty on the filters' weights (in z units, against the loss
        per trial of responses in units of their mean), one of which is chosen for each neuron.
        A weight costs more the farther it is from where the neuron seems to look.
    n_start : int
        Starts tried for each neuron and penalty.
    max_epochs : int
        An epoch shows every training trial once; the learning rate falls to zero over them.
    seed : int
        Decides the starts and the order of the trials.
    device : str or torch.device
    job : Job, optional

    Returns
    -------
    QuadraticTwin
        With the filters and curve that predict validation trials best.

    Raises
    ------
    InputError
        If there are no training or validation responses, or a number cannot be used.

    """
    twin = QuadraticTwin(
        *_described(recording),
        n_excitatory=n_excitatory,
        n_suppressive=n_suppressive,
        nonlinearity=nonlinearity,
    )
    effort = _Effort(tuple(penalties), n_start, max_epochs, seed, torch.device(device))

    def rate(drive: Tensor, numbers: dict[str, Tensor]) -> Tensor:
        return twin.rate(drive, numbers["offset"], numbers["log_amplitude"].exp())

    numbers = _plain_curve(nonlinearity)
    filters, found, mean = _fit_filters(recording, twin, numbers, rate, effort, job)
    amplitude = found["log_amplitude"].exp() * mean
    twin.load_state_dict({"filters": filters, "offset": found["offset"], "amplitude": amplitude})
    return twin.eval()


def fit_linear_poisson(
    recording: xr.Dataset,
    *,
    penalties: Sequence[float] = PENALTIES,
    n_start: int = 1,
    max_epochs: int = 60,
    seed: int = 0,
    device: str | torch.device = "cpu",
    job: Job | None = None,
) -> LinearNonlinearTwin:
    """Fit one filter and one curve to each neuron by maximum Poisson likelihood.

    Slower and better than the ridge regression of `fit_linear_nonlinear`.

    Parameters
    ----------
    recording : xarray.Dataset
    penalties, n_start, max_epochs, seed, device, job
        As in `fit_quadratic`.

    Returns
    -------
    LinearNonlinearTwin

    Raises
    ------
    InputError
        If there are no training or validation responses, or a number cannot be used.

    """
    found = fit_subunits(
        recording, n_excitatory=0, n_suppressive=0, n_linear=1, penalties=penalties,
        n_start=n_start, max_epochs=max_epochs, seed=seed, device=device, job=job,
    )  # fmt: skip
    twin = LinearNonlinearTwin(
        *_described(recording),
        filters=found.filters[:, 0],
        amplitude=found.amplitude,
        offset=found.offset,
    )
    return twin.eval()


def fit_subunits(
    recording: xr.Dataset,
    *,
    n_excitatory: int = 2,
    n_suppressive: int = 2,
    n_linear: int = 0,
    nonlinearity: str = "softplus",
    penalties: Sequence[float] = PENALTIES,
    n_start: int = 3,
    max_epochs: int = 60,
    seed: int = 0,
    device: str | torch.device = "cpu",
    job: Job | None = None,
) -> SubunitTwin:
    """Fit a nonlinear input model to each neuron by maximum Poisson likelihood.

    With one linear subunit and no other it fits a linear-nonlinear-Poisson model.

    Parameters
    ----------
    recording : xarray.Dataset
    n_excitatory, n_suppressive, n_linear, nonlinearity
        As in `SubunitTwin`.
    penalties, n_start, max_epochs, seed, device, job
        As in `fit_quadratic`.

    Returns
    -------
    SubunitTwin

    Raises
    ------
    InputError
        If there are no training or validation responses, or a number cannot be used.

    """
    twin = SubunitTwin(
        *_described(recording),
        n_excitatory=n_excitatory,
        n_suppressive=n_suppressive,
        n_linear=n_linear,
        nonlinearity=nonlinearity,
    )
    effort = _Effort(tuple(penalties), n_start, max_epochs, seed, torch.device(device))

    def rate(drive: Tensor, numbers: dict[str, Tensor]) -> Tensor:
        amplitude = numbers["log_amplitude"].exp()
        return twin.rate(drive, numbers["threshold"], numbers["offset"], amplitude)

    numbers: Numbers = {
        "threshold": (0.0, n_excitatory + n_suppressive),
        **_plain_curve(nonlinearity),
    }
    filters, found, mean = _fit_filters(recording, twin, numbers, rate, effort, job)
    amplitude = found.pop("log_amplitude").exp() * mean
    twin.load_state_dict({"filters": filters, **found, "amplitude": amplitude})
    return twin.eval()


def fit_normalization(
    recording: xr.Dataset,
    *,
    n_drive: int = 2,
    n_pool: int = 4,
    rectified: bool = False,
    penalties: Sequence[float] = PENALTIES,
    n_start: int = 3,
    max_epochs: int = 60,
    seed: int = 0,
    device: str | torch.device = "cpu",
    job: Job | None = None,
) -> NormalizationTwin:
    """Fit divisive normalisation to each neuron by maximum Poisson likelihood.

    Only the pool's form, the sum of w_j p_j p_j', can be told from responses, and only relative
    to the semi-saturation: the twin has a semi-saturation of 1, filters of norm 1 in the pool,
    and pool weights in descending order.

    Parameters
    ----------
    recording : xarray.Dataset
    n_drive, n_pool, rectified
        As in `NormalizationTwin`.
    penalties, n_start, max_epochs, seed, device, job
        As in `fit_quadratic`.

    Returns
    -------
    NormalizationTwin

    Raises
    ------
    InputError
        If there are no training or validation responses, or a number cannot be used.

    """
    twin = NormalizationTwin(
        *_described(recording), n_drive=n_drive, n_pool=n_pool, rectified=rectified
    )
    effort = _Effort(tuple(penalties), n_start, max_epochs, seed, torch.device(device))
    one = torch.ones((), device=effort.device)

    def rate(drive: Tensor, numbers: dict[str, Tensor]) -> Tensor:
        return twin.rate(drive, one, one, F.softplus(numbers["baseline"]), one)

    filters, found, mean = _fit_filters(
        recording, twin, {"baseline": (ONE, None)}, rate, effort, job
    )
    # The pool's form has one set of orthogonal filters, and that is the one that is kept.
    pool = filters[:, n_drive:].flatten(2).double()
    weight, vector = torch.linalg.eigh(pool @ pool.transpose(1, 2))
    weight, vector = weight.flip(1).clamp_min(0), vector.flip(2)
    axes = F.normalize(vector.transpose(1, 2) @ pool, dim=2)
    filters[:, n_drive:] = axes.float().unflatten(2, twin.spec.shape)
    twin.load_state_dict(
        {
            "filters": filters,
            "pool_weight": weight,
            "semi_saturation": torch.ones_like(mean),
            "baseline": F.softplus(found["baseline"]) * mean,
            "amplitude": mean,
        }
    )
    return twin.eval()


def solve_quadratic(
    recording: xr.Dataset, *, n_excitatory: int = 2, n_suppressive: int = 2
) -> QuadraticTwin:
    """Generalised quadratic model in closed form, for images that are Gaussian noise.

    Maximum expected log likelihood with an exponential nonlinearity: C = (S^-1 - L^-1) / 2 and
    b = L^-1 m - S^-1 m0, where m0 and S are mean and covariance of the images and m and L those
    weighted by the response. Nothing is regularised, so it needs many more trials than pixels.

    Parameters
    ----------
    recording : xarray.Dataset
        Its training trials are used.
    n_excitatory, n_suppressive : int
        Largest and smallest eigenvalues of C that are kept.

    Returns
    -------
    QuadraticTwin

    Raises
    ------
    InputError
        If there are no more training trials than pixels.

    References
    ----------
    Park & Pillow (2011), Advances in Neural Information Processing Systems 24.

    """
    validate_recording(recording)
    train = take_trials(recording, "train", torch.device("cpu"))
    spec = image_spec(recording)
    shown = (train.images[train.index].double().flatten(1) - spec.mean) / spec.std
    n_trial, n_pixel = shown.shape
    if n_trial <= n_pixel:
        msg = (
            f"The closed form needs more training trials than pixels, but there are {n_trial} "
            f"trials of {n_pixel} pixels; use `fit_quadratic`."
        )
        raise InputError(msg)
    filters = torch.zeros(train.response.shape[1], 1 + n_excitatory + n_suppressive, n_pixel)
    offset = torch.zeros(len(filters))
    mean = torch.as_tensor(response_moments(train.response.numpy())[0])
    for neuron, response in enumerate(train.response.T.double()):
        seen = response.isfinite()
        images, weight = shown[seen], response[seen]
        if not weight.sum() > 0:
            offset[neuron] = -math.inf
            continue
        before = images.mean(0)
        precision = torch.linalg.inv(torch.cov(images.T, correction=0))
        weight = weight / weight.sum()
        after = weight @ images
        spread = (images - after).T @ ((images - after) * weight[:, None])
        precision_after = torch.linalg.inv(spread)
        value, vector = torch.linalg.eigh((precision - precision_after) / 2)
        ends = [*range(n_pixel - 1, n_pixel - 1 - n_excitatory, -1), *range(n_suppressive)]
        wanted = torch.tensor([1.0] * n_excitatory + [-1.0] * n_suppressive)
        size = (value[ends] * wanted).clamp_min(0).sqrt()
        filters[neuron, 0] = precision_after @ after - precision @ before
        filters[neuron, 1:] = (vector[:, ends] * size).T
        drive = images @ filters[neuron].double().T
        exponent = drive[:, 0] + (drive[:, 1:].square() * wanted).sum(1)
        offset[neuron] = math.log(len(images)) - torch.logsumexp(exponent, 0)
    twin = QuadraticTwin(
        spec,
        recorded_neurons(recording),
        None,
        origin_of(recording),
        n_excitatory=n_excitatory,
        n_suppressive=n_suppressive,
        nonlinearity="exponential",
        filters=filters.unflatten(2, spec.shape),
        offset=offset.nan_to_num(neginf=0.0),
        amplitude=mean,
    )
    return twin.eval()


# By the names a user gives; each takes a recording and a job and returns a twin.
CLASSICAL: dict[str, Callable[..., Twin]] = {
    "linear_nonlinear": fit_linear_poisson,
    "quadratic": fit_quadratic,
    "subunit": fit_subunits,
    "normalization": fit_normalization,
}


def _plain_curve(nonlinearity: str) -> Numbers:
    """Numbers of a curve that starts at the mean response."""
    offset = ONE if nonlinearity == "softplus" else 0.0
    return {"offset": (offset, None), "log_amplitude": (0.0, None)}


def _described(
    recording: xr.Dataset,
) -> tuple[StimulusSpec, xr.Dataset, None, dict[str, str]]:
    """What every twin says of its images, neurons, context and origin."""
    validate_recording(recording)
    spec = image_spec(recording)
    if spec.is_video:
        msg = (
            f"{recording.attrs.get('recording_id', 'The recording')} is of videos, but classical "
            "twins see images; fit a deep twin with a video core."
        )
        raise InputError(msg)
    return spec, recorded_neurons(recording), None, origin_of(recording)


def _fit_filters(
    recording: xr.Dataset,
    twin: FilterBankTwin,
    numbers: Numbers,
    rate: Callable[[Tensor, dict[str, Tensor]], Tensor],
    effort: _Effort,
    job: Job | None,
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Fit the filters of every neuron and the numbers of its curve, a block at a time.

    Parameters
    ----------
    recording : xarray.Dataset
    twin : FilterBankTwin
        Says how many filters there are, and what they do.
    numbers : Numbers
    rate : callable
        From drive (..., filter) and the numbers to the rate in units of the mean response.
    effort : _Effort
    job : Job, optional

    Returns
    -------
    filters : Tensor of shape (n_neuron, n_filter, channel, y, x)
        Weights of the image in z units.
    numbers : dict of str to Tensor of shape (n_neuron,) or (n_neuron, n)
    mean : Tensor of shape (n_neuron,)
        Mean response.

    """
    job = job or Job()
    cpu = torch.device("cpu")
    train = take_trials(recording, "train", cpu)
    validation = take_trials(recording, "validation", cpu, train.images)
    spec = image_spec(recording)
    mean, _ = response_moments(train.response.numpy())
    relative = [
        trials.response.T / torch.as_tensor(np.maximum(mean, 1e-6)[:, None], dtype=torch.float32)
        for trials in (train, validation)
    ]
    n_neuron, n_filter = len(mean), len(twin.roles)
    job.report(0.0, "looking for receptive fields")
    corner, side, cost = _place_windows(train, spec, mean)
    whole = side == (spec.height, spec.width)
    basis = _whiten(train, spec, corner, side)
    rank = 1.0 / np.arange(1, N_DIRECTION + 1)  # the leading directions are the likely ones
    mixing = np.concatenate([[2.0], rank, rank]) * np.random.default_rng(effort.seed).normal(
        size=(n_neuron, effort.n_start, n_filter, 1 + 2 * N_DIRECTION)
    )

    filters = torch.zeros(n_neuron, n_filter, *spec.shape)
    found = {
        name: torch.full((n_neuron,) if size is None else (n_neuron, size), start)
        for name, (start, size) in numbers.items()
    }
    n_copy = len(effort.penalties) * effort.n_start
    floats = 6 * n_copy * n_filter * len(basis)  # weights, gradients, moments, the best
    floats += 0 if whole else (len(train) + len(validation)) * len(basis)
    block = max(1, MEMORY // (4 * floats))
    for begin in range(0, n_neuron, block):
        chosen = slice(begin, min(begin + block, n_neuron))
        windows = [
            _cut_windows(trials, spec, corner[:1] if whole else corner[chosen], side)
            for trials in (train, validation)
        ]
        data = [
            (shown.to(effort.device), response[chosen].to(effort.device))
            for shown, response in zip(windows, relative, strict=True)
        ]
        weight, values = _fit_block(
            twin.roles, numbers, rate, data[0], data[1],
            basis.to(effort.device), cost[chosen].to(effort.device),
            torch.as_tensor(mixing[chosen], dtype=torch.float32, device=effort.device),
            effort, job.part(begin / n_neuron, chosen.stop / n_neuron),
        )  # fmt: skip
        weight = weight.cpu().unflatten(2, (spec.channel, *side))
        for place, (top, left) in enumerate(corner[chosen].tolist()):
            inside = (..., slice(top, top + side[0]), slice(left, left + side[1]))
            filters[begin + place][inside] = weight[place]
        for name, value in values.items():
            found[name][chosen] = value.cpu()

    # Of a neuron that never varied nothing can be said but its mean.
    low = train.response.nan_to_num(nan=math.inf).amin(0)
    high = train.response.nan_to_num(nan=-math.inf).amax(0)
    filters[low >= high] = 0
    for name, (start, _) in numbers.items():
        found[name][low >= high] = start
    job.report(1.0, "fitted")
    return filters, found, torch.as_tensor(mean, dtype=torch.float32)


def _place_windows(
    train: Trials, spec: StimulusSpec, mean: np.ndarray
) -> tuple[Tensor, tuple[int, int], Tensor]:
    """Where each neuron's filters may be.

    Returns
    -------
    corner : Tensor of int of shape (n_neuron, 2)
        Upper left corner (y, x) of its window on the image.
    side : tuple of int
        Height and width of the windows.
    cost : Tensor of shape (n_neuron, n_pixel)
        What a squared weight costs: 1 at the centre of the receptive field, 2 at `REACH`.

    """
    side = (min(WINDOW, spec.height), min(WINDOW, spec.width))
    room = np.array([spec.height - side[0], spec.width - side[1]])
    response = train.response.numpy()
    center = locate_receptive_fields(
        train.images[train.index].numpy(), np.where(np.isnan(response), mean, response)
    )[:, ::-1]
    corner = np.clip(np.rint(center - (np.array(side) - 1) / 2), 0, room).astype(np.int64)
    pixel = np.moveaxis(np.mgrid[: side[0], : side[1]], 0, -1).reshape(-1, 2)
    away = pixel + (corner - center)[:, None]
    cost = 1 + (away**2).sum(-1) / REACH**2
    cost = np.tile(cost, (1, spec.channel))
    return torch.as_tensor(corner), side, torch.as_tensor(cost, dtype=torch.float32)


def _cut_windows(
    trials: Trials, spec: StimulusSpec, corner: Tensor, side: tuple[int, int]
) -> Tensor:
    """Window of each corner on the image of each trial, (corner, trial, pixel), in z units."""
    cut = [
        trials.images[:, :, top : top + side[0], left : left + side[1]][trials.index]
        for top, left in corner.tolist()
    ]
    return torch.stack([(part.float().flatten(1) - spec.mean) / spec.std for part in cut])


def _whiten(
    train: Trials, spec: StimulusSpec, corner: Tensor, side: tuple[int, int], n: int = 16
) -> Tensor:
    """Directions in which filters are learnt, (direction, pixel).

    Natural images vary much more along some directions of pixels than along others, and
    gradients with them; filters are learnt in directions of nearly equal variance.
    """
    some = corner[torch.linspace(0, len(corner) - 1, min(n, len(corner))).long()].unique(dim=0)
    windows = _cut_windows(train, spec, some, side)
    centred = (windows - windows.mean(1, keepdim=True)).flatten(0, 1).double()
    value, vector = torch.linalg.eigh(centred.T @ centred / len(centred))
    scale = (value.clamp_min(0) + FLOOR * value.mean()).rsqrt()
    return (vector * scale).T.float()


def _informative(shown: Tensor, response: Tensor, basis: Tensor) -> Tensor:
    """Directions that the responses single out, (neuron, 1 + 2 * N_DIRECTION, direction).

    The response-weighted mean of the whitened images and the leading eigenvectors of their
    response-weighted covariance: those of the largest eigenvalues, then of the smallest.
    """
    n_neuron, n_direction = len(response), min(N_DIRECTION, basis.shape[0] // 2)
    found = torch.zeros(n_neuron, 1 + 2 * N_DIRECTION, basis.shape[0], device=shown.device)
    weight = response - response.nanmean(1, keepdim=True)
    weight = weight.nan_to_num()
    for neuron in range(n_neuron):
        white = shown[min(neuron, len(shown) - 1)] @ basis.T
        white = white - white.mean(0)
        found[neuron, 0] = F.normalize(weight[neuron] @ white, dim=0)
        _, vector = torch.linalg.eigh(white.T @ (white * weight[neuron, :, None]))
        found[neuron, 1 : 1 + n_direction] = vector[:, -n_direction:].flip(1).T
        found[neuron, 1 + N_DIRECTION : 1 + N_DIRECTION + n_direction] = vector[:, :n_direction].T
    return found


def _start_filters(roles: tuple[int, ...], directions: Tensor, mixing: Tensor) -> Tensor:
    """Filters to start from, (neuron, start, filter, direction).

    Each is drawn from the directions that fit its role. In the first start, though, filters of
    one role are the leading eigenvectors in turn, which is where a quadratic model ends if its
    images are Gaussian.
    """
    allowed = torch.zeros(len(roles), directions.shape[1], device=directions.device)
    first = torch.zeros_like(allowed)
    for number, role in enumerate(roles):
        turn = roles[:number].count(role) % N_DIRECTION
        ends = {0: (0, 1), 1: (1, 1 + N_DIRECTION), -1: (1 + N_DIRECTION, 1 + 2 * N_DIRECTION)}
        allowed[number, slice(*ends[role])] = 1.0
        allowed[number, 0] = 1
        first[number, 0 if role == 0 else ends[role][0] + turn] = 1
    weights = mixing * allowed
    weights[:, 0] = first
    return START * F.normalize(torch.einsum("nskd,ndp->nskp", weights, directions), dim=-1)


def _fit_block(
    roles: tuple[int, ...],
    numbers: Numbers,
    rate: Callable[[Tensor, dict[str, Tensor]], Tensor],
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    basis: Tensor,
    cost: Tensor,
    mixing: Tensor,
    effort: _Effort,
    job: Job,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Fit some neurons, each in one copy per penalty and start, and keep each one's best.

    Parameters
    ----------
    roles, numbers, rate
        As in `_fit_filters`.
    train, validation : tuple of Tensor
        Images, (n_neuron or 1, n_trial, n_pixel), of which there is one set where all windows
        are the same; and responses in units of their mean, (n_neuron, n_trial), NaN where
        missing.
    basis : Tensor of shape (n_direction, n_pixel)
        As `_whiten` returns it.
    cost : Tensor of shape (n_neuron, n_pixel)
        Of the squared weights.
    mixing : Tensor of shape (n_neuron, n_start, n_filter, 1 + 2 * N_DIRECTION)
        Random weights of the directions in the starts.
    effort : _Effort
    job : Job

    Returns
    -------
    filters : Tensor of shape (n_neuron, n_filter, n_pixel)
    numbers : dict of str to Tensor of shape (n_neuron,) or (n_neuron, n)

    """
    n_neuron, n_trial = train[1].shape
    n_penalty = len(effort.penalties)
    n_copy = n_penalty * effort.n_start
    job.report(0.0, "starting points")
    start = _start_filters(roles, _informative(*train, basis), mixing)
    weight = start.repeat(1, n_penalty, 1, 1)[:, None]
    penalty = torch.tensor(effort.penalties, device=cost.device).repeat_interleave(effort.n_start)
    price = penalty[:, None, None] * cost[:, None, None, None]
    # All have the shape (neuron, 1, copy, ...), which meets drives (neuron, trial, copy, filter).
    learnt = {"weight": weight} | {
        name: torch.full((n_neuron, 1, n_copy, *([] if size is None else [size])), begin)
        for name, (begin, size) in numbers.items()
    }
    learnt = {
        name: value.to(cost.device).clone().requires_grad_() for name, value in learnt.items()
    }

    def losses(images: Tensor, response: Tensor, filters: Tensor) -> Tensor:
        """Poisson loss averaged over trials, (neuron, copy)."""
        filters = filters.flatten(1, 3)
        if len(images) == 1:
            drive = (images[0] @ filters.flatten(0, 1).T).unflatten(1, (n_neuron, -1))
            drive = drive.transpose(0, 1)
        else:
            drive = images @ filters.transpose(1, 2)
        predicted = rate(drive.unflatten(2, (n_copy, len(roles))), learnt)
        given = response[:, :, None]
        missing = given.isnan()
        loss = predicted - given.nan_to_num() * torch.log(predicted + 1e-8)
        return loss.masked_fill(missing, 0).sum(1) / (~missing).sum(1).clamp_min(1)

    optimizer = torch.optim.Adam(learnt.values(), lr=LEARNING_RATE)
    batches = math.ceil(n_trial / BATCH)
    best = torch.full((n_neuron, n_copy), math.inf, device=cost.device)
    kept = {name: value.detach().clone() for name, value in learnt.items()}
    for epoch in range(effort.max_epochs):
        order = torch.Generator().manual_seed(effort.seed + epoch)
        drawn = torch.randperm(n_trial, generator=order).to(cost.device).split(BATCH)
        for number, chosen in enumerate(drawn):
            share = (epoch + number / batches) / effort.max_epochs
            job.report(share, f"epoch {epoch + 1} of {effort.max_epochs}")
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * share)) / 2
            filters = learnt["weight"] @ basis
            loss = losses(train[0][:, chosen], train[1][:, chosen], filters).sum()
            optimizer.zero_grad()
            (loss + (price * filters.square()).sum()).backward()
            optimizer.step()
        with torch.no_grad():
            reached = losses(*validation, learnt["weight"] @ basis)
        better = reached < best
        best = torch.where(better, reached, best)
        for name, value in learnt.items():
            flags = better.reshape(n_neuron, 1, n_copy, *[1] * (value.ndim - 3))
            kept[name] = torch.where(flags, value.detach(), kept[name])
    winner = best.argmin(1)
    every = torch.arange(n_neuron, device=cost.device)
    chosen_values = {name: value[every, 0, winner] for name, value in kept.items()}
    return chosen_values.pop("weight") @ basis, chosen_values
