"""Metamers: images that differ from a target and are the same to a twin's neurons."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.insilico.eigendistortions import one_image, response_jacobian
from twinlab.insilico.formats import picture_attrs
from twinlab.insilico.responses import (
    Neurons,
    check_positive,
    chosen_positions,
    neuron_labels,
    provenance,
    spatial_coordinates,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, make_result
from twinlab.twins import ConditionedTwin, StimulusSpec

__all__ = ["synthesize_metamer"]

SOURCE = "Freeman & Simoncelli (2011), Nature Neuroscience 14: 1195-1201"

# Dampings tried at each step, of the largest eigenvalue: from nearly none to a short step.
DAMPING = np.geomspace(1e-9, 1e1, 11)
SMALLEST_GAIN = 1e-3  # of the loss
PLATEAU = 3  # steps in a row that gain less, after which there is no more to be had


def synthesize_metamer(
    twin: ConditionedTwin,
    image: np.ndarray,
    neurons: Neurons = None,
    *,
    n_start: int = 3,
    n_step: int = 100,
    tolerance: float = 1e-4,
    seed: int = 0,
    batch_size: int = 128,
    job: Job | None = None,
) -> xr.Dataset:
    r"""Images made from noise that evoke the response vector of a target image.

    The loss is the squared distance of the two response vectors as a share of the target's,

    .. math:: L = |f(x) - f(x_\mathrm{target})|^2 / |f(x_\mathrm{target})|^2.

    Each start is white noise of the target's mean and contrast (L2 norm about the mean); both
    are kept at every step, and pixels that cannot be shown are cut. Steps are those of
    Gauss and Newton, damped (Levenberg-Marquardt): the smallest change that would match the
    responses if they were linear, at the damping of eleven that brings the loss down most.
    They take from the noise only what the neurons see of it, so that what is left of it in a
    metamer is what they do not. `neurons` may be one neuron or the whole population; the units
    of a layer inside a model are neurons of `twins.wrap_callable`.

    Parameters
    ----------
    twin : ConditionedTwin
    image : ndarray of shape (channel, y, x)
        The target, in grey levels.
    neurons : sequence of int, optional
        Positions of the neurons whose responses are matched; all where absent.
    n_start : int
        Noise images from which a metamer is made.
    n_step : int
        Most steps from each.
    tolerance : float
        Loss at which an image is called a metamer and the steps end: at 1e-4 the response
        vectors are 1 % apart.
    seed : int
    batch_size : int
        Gradients computed at once.
    job : Job, optional
        Its preview is the current image, (channel, y, x) in grey levels.

    Returns
    -------
    xarray.Dataset
        `metamer` (start, channel, y, x) and `target` (channel, y, x) in grey levels;
        `response` (neuron, start) and `target_response` (neuron); `loss` and `start_loss`
        (start); `found` (start), 1 where the loss is within `tolerance`; `pixel_correlation`
        (start) of metamer and target, near 1 where the neurons leave no freedom; `norm`
        (start) reached and `target_norm`; `clipped_fraction` (start) of pixels at the limits
        of what can be shown. `valid` (neuron) is 0 where a neuron's response to target
        and noise is the same throughout, so that it constrained nothing.

    Raises
    ------
    InputError
        If the target is not an image of the twin's size and range or has no contrast, no
        neuron responds to it, a setting is out of range, or `neurons` are not the twin's.

    References
    ----------
    Freeman & Simoncelli (2011), Nature Neuroscience 14: 1195-1201; Feather et al. (2023),
    Nature Neuroscience 26: 2017-2034.

    """
    check_positive(n_start=n_start, n_step=n_step, tolerance=tolerance)
    check_seed(seed)
    target = one_image(twin, image)
    positions = chosen_positions(len(twin), neurons)
    mean = float(target.mean())
    norm = float((target - mean).norm())
    if not norm > 0:
        grey = mean * twin.spec.std + twin.spec.mean
        msg = f"`image` is {grey:g} everywhere; a metamer needs a target with contrast."
        raise InputError(msg)
    asked = _responses(twin, positions, target[None])[0]
    if not asked.any():
        msg = (
            f"None of the {len(positions)} neurons responds to `image`, so that a metamer has "
            "nothing to match; choose others, or another image."
        )
        raise InputError(msg)
    job = job or Job()
    noise = np.random.default_rng(seed).standard_normal((n_start, *twin.spec.shape), np.float32)
    begun = _project(torch.as_tensor(noise, device=twin.device), mean, norm, twin.spec)
    before = _responses(twin, positions, begun)
    made = torch.empty_like(begun)
    for start in range(n_start):
        stage = job.part(start / n_start, (start + 1) / n_start, f"start {start + 1}")
        made[start] = _match(
            twin, positions, asked, begun[start], mean, norm, n_step, tolerance, batch_size, stage
        )
    return _label(
        twin, positions, target, made, begun, asked, before,
        tolerance=tolerance, seed=seed, settings={"n_start": n_start, "n_step": n_step},
    )  # fmt: skip


def _responses(twin: ConditionedTwin, positions: np.ndarray, z: Tensor) -> np.ndarray:
    with torch.inference_mode():
        rates = twin.neurons(positions)(z * twin.spec.std + twin.spec.mean)
    return rates.double().cpu().numpy()


def _project(z: Tensor, mean: float, norm: float, spec: StimulusSpec) -> Tensor:
    """Images of this mean and norm about it, cut to what can be shown."""
    z = z - z.mean((1, 2, 3), keepdim=True)
    length = z.square().sum((1, 2, 3), keepdim=True).sqrt()
    z = z * (norm / length.clamp(min=1e-12)) + mean
    return z.clamp((spec.low - spec.mean) / spec.std, (spec.high - spec.mean) / spec.std)


def _match(
    twin: ConditionedTwin,
    positions: np.ndarray,
    asked: np.ndarray,
    z: Tensor,
    mean: float,
    norm: float,
    n_step: int,
    tolerance: float,
    batch_size: int,
    job: Job,
) -> Tensor:
    """Image nearest in response to what is asked that is reached from z (channel, y, x)."""
    spec = twin.spec
    scale = 1 / np.sqrt((asked**2).sum())
    loss, slow = np.inf, 0
    for done in range(n_step):
        preview = (z * spec.std + spec.mean).cpu().numpy()
        job.report(done / n_step, f"step {done} of {n_step}", preview)
        stage = job.part(done / n_step, (done + 1) / n_step)
        response, jacobian = response_jacobian(twin, positions, z, batch_size, stage)
        if not jacobian.any():  # no way to go: the loss that is left is reported
            break
        missing = (asked - response) * scale
        flat = z.cpu().double().numpy().ravel()
        steps = _damped_steps(missing, jacobian * scale, flat, mean, norm, spec)
        tried = z + torch.as_tensor(steps, dtype=z.dtype, device=z.device).view(-1, *z.shape)
        tried = _project(tried, mean, norm, spec)
        losses = (((_responses(twin, positions, tried) - asked) * scale) ** 2).sum(1)
        best = int(np.nanargmin(losses))
        now = (missing**2).sum()
        if losses[best] < now:
            z, loss = tried[best], losses[best]
        slow = slow + 1 if losses[best] > (1 - SMALLEST_GAIN) * now else 0
        if loss <= tolerance or losses[best] >= now or slow == PLATEAU:
            break
    return z


def _damped_steps(
    missing: np.ndarray,
    jacobian: np.ndarray,
    z: np.ndarray,
    mean: float,
    norm: float,
    spec: StimulusSpec,
) -> np.ndarray:
    """Changes (damping, pixel) that make up for what is missing, at the same mean and norm."""
    low, high = (spec.low - spec.mean) / spec.std, (spec.high - spec.mean) / spec.std
    pull = missing @ jacobian
    # A pixel at a limit of the display cannot follow a pull beyond it.
    free = ~((z < low + 1e-6) & (pull < 0) | (z > high - 1e-6) & (pull > 0))
    # Mean and norm are two more responses, which have to stay.
    weight = np.sqrt((jacobian.astype(np.float64) ** 2).sum(1).max())
    fixed = np.stack([np.full(len(z), 1 / np.sqrt(len(z))), (z - mean) / norm]) * weight
    matrix = np.concatenate([jacobian, fixed]) * free
    wanted = np.concatenate([missing, np.zeros(2)])
    if len(matrix) <= len(z):
        value, vector = np.linalg.eigh(matrix @ matrix.T)
        inverse = 1 / (np.maximum(value, 0) + DAMPING[:, None] * value[-1])
        return ((inverse * (wanted @ vector)) @ vector.T) @ matrix
    value, vector = np.linalg.eigh(matrix.T @ matrix)
    inverse = 1 / (np.maximum(value, 0) + DAMPING[:, None] * value[-1])
    return (inverse * (wanted @ matrix @ vector)) @ vector.T


def _label(
    twin: ConditionedTwin,
    positions: np.ndarray,
    target: Tensor,
    made: Tensor,
    begun: Tensor,
    asked: np.ndarray,
    before: np.ndarray,
    *,
    tolerance: float,
    seed: int,
    settings: dict[str, Any],
) -> xr.Dataset:
    spec = twin.spec
    after = _responses(twin, positions, made)
    total = (asked**2).sum()
    loss, start_loss = (((values - asked) ** 2).sum(1) / total for values in (after, before))
    z, aim = made.double().cpu().numpy(), target.double().cpu().numpy()
    centered, aim_centered = z - z.mean((1, 2, 3), keepdims=True), aim - aim.mean()
    norm, aim_norm = np.sqrt((centered**2).sum((1, 2, 3))), np.sqrt((aim_centered**2).sum())
    correlation = (centered * aim_centered).sum((1, 2, 3)) / (norm * aim_norm)
    grey, margin = z * spec.std + spec.mean, 1e-3 * spec.std
    clipped = ((grey <= spec.low + margin) | (grey >= spec.high - margin)).mean((1, 2, 3))
    seen = np.concatenate([after, before, asked[None]])
    unit, rate = {"units": "1"}, {"units": "rate"}
    contrast = {"units": "standard deviation of training pixels"}
    pixels = ("channel", "y", "x")
    variables: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "metamer": (
            ("start", *pixels),
            grey.astype(np.float32),
            picture_attrs(spec, "metamer"),
        ),
        "target": (
            pixels,
            (aim * spec.std + spec.mean).astype(np.float32),
            picture_attrs(spec, "target"),
        ),
        "response": (
            ("neuron", "start"),
            after.T,
            {"long_name": "response to the metamer"} | rate,
        ),
        "target_response": ("neuron", asked, {"long_name": "response to the target"} | rate),
        "loss": ("start", loss, {"long_name": "relative squared distance of responses"} | unit),
        "start_loss": ("start", start_loss, {"long_name": "the same, of the noise"} | unit),
        "found": (
            "start",
            (loss <= tolerance).astype(np.int8),
            {"long_name": f"1 where the loss is at most {tolerance:g}"} | unit,
        ),
        "pixel_correlation": (
            "start",
            correlation,
            {"long_name": "correlation of metamer and target over pixels"} | unit,
        ),
        "norm": ("start", norm, {"long_name": "L2 norm about the mean"} | contrast),
        "target_norm": ((), aim_norm, {"long_name": "L2 norm of the target"} | contrast),
        "clipped_fraction": (
            "start",
            clipped,
            {"long_name": "share of pixels at the limits of the display"} | unit,
        ),
        "valid": (
            "neuron",
            (np.ptp(seen, axis=0) > 1e-6 * np.abs(seen).max(0)).astype(np.int8),
            {"long_name": "0 where the response is the same to all images"} | unit,
        ),
    }
    result = neuron_labels(twin, positions).assign(variables)
    result = result.assign_coords(
        start=("start", np.arange(len(z)), {"long_name": "start"} | unit)
    )
    return make_result(
        result.assign_coords(spatial_coordinates(spec.height, spec.width)),
        experiment="metamer",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={**settings, "tolerance": tolerance, **provenance(twin)},
        source=SOURCE,
    )
