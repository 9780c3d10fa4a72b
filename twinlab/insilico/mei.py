"""Most exciting inputs: images made to excite one neuron, and their cross-examination."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor

from twinlab.insilico.ascent import ascend
from twinlab.insilico.responses import (
    Neurons,
    chosen_positions,
    neuron_labels,
    provenance,
    spatial_coordinates,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, make_result
from twinlab.twins import ConditionedTwin, StimulusSpec

__all__ = ["fix_norm", "synthesize_mei"]

SOURCE = "Walker et al. (2019), Nature Neuroscience 22: 2060-2065"


def fix_norm(z: Tensor, norm: float, spec: StimulusSpec) -> Tensor:
    """Images of zero mean and given L2 norm, cut to what can be shown.

    Parameters
    ----------
    z : Tensor of shape (n, channel, y, x)
        Images in standard deviations of the training pixels from their mean.
    norm : float
    spec : StimulusSpec

    Returns
    -------
    Tensor of shape (n, channel, y, x)
        Where pixels were cut, the norm is a little below what was asked and the mean
        near 0. An image without contrast stays so.

    """
    z = z - z.mean((1, 2, 3), keepdim=True)
    z = z * (norm / _norm(z).clamp(min=1e-12))
    return z.clamp((spec.low - spec.mean) / spec.std, (spec.high - spec.mean) / spec.std)


def _norm(z: Tensor) -> Tensor:
    return z.square().sum((1, 2, 3), keepdim=True).sqrt()


def synthesize_mei(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    norm: float = 7.0,
    n_start: int = 3,
    n_step: int = 100,
    blur_sigma: float = 1.0,
    seed: int = 0,
    batch_size: int = 128,
    job: Job | None = None,
) -> xr.Dataset:
    """Most exciting input of each neuron: gradient ascent on the image.

    Images have the mean of the training images and a fixed L2 norm in units of their
    standard deviation; pixels that cannot be shown are cut at every step, so that what is
    returned is what was optimised. During the first half of the steps the gradient is
    blurred, which keeps the ascent off high-frequency solutions that mean little to
    another twin; the second half follows the gradient itself, so that the end is a maximum.
    Every neuron and start is one image of a batch; see `ascend` for the steps.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    norm : float
        L2 norm of the image over all pixels and channels, in standard deviations of the
        training pixels. At the default few pixels of a receptive field some 10 pixels wide
        leave the range that can be shown.
    n_start : int
        White-noise images from which each neuron is started. They depend on `seed`, the neuron
        and the start alone, so that a neuron's result does not depend on which others are
        asked about.
    n_step : int
        Most steps from each start.
    blur_sigma : float
        Standard deviation in pixels of the blur of the gradient; 0 for none.
    seed : int
    batch_size : int
        Images optimised at once.
    job : Job, optional
        Its preview is the current first image, (channel, y, x) in grey levels.

    Returns
    -------
    xarray.Dataset
        `mei` (neuron, channel, y, x) in grey levels; `activation` (neuron), the rate it
        evokes; `start_activation` (neuron, start) of the end of each start and `start`
        (neuron), the best; `clipped_fraction` (neuron) of pixels at the limits of what can
        be shown; `norm` (neuron) reached. `failed` (neuron, start) is 1 where no step from that
        start excited the neuron more, as for a neuron silent under all noise; where every
        start failed, the image and its activation are NaN.

    Raises
    ------
    InputError
        If a setting is out of range or `neurons` are not the twin's.

    References
    ----------
    Walker et al. (2019), Nature Neuroscience 22: 2060-2065.

    """
    wrong = [
        f"`{name}` is {value}"
        for name, value in (("norm", norm), ("n_start", n_start), ("n_step", n_step))
        if not value > 0
    ]
    if wrong or blur_sigma < 0:
        wrong += [f"`blur_sigma` is {blur_sigma}"] if blur_sigma < 0 else []
        msg = f"Settings of an MEI must be positive, but {' and '.join(wrong)}."
        raise InputError(msg)
    job = job or Job()
    positions = chosen_positions(len(twin), neurons)
    row = np.repeat(np.arange(len(positions)), n_start)
    start = np.tile(np.arange(n_start), len(positions))
    spec = twin.spec
    images = np.empty((len(row), *spec.shape), np.float32)
    value, gained = np.empty((2, len(row)), np.float32)
    for first in range(0, len(row), batch_size):
        part = slice(first, min(first + batch_size, len(row)))
        chosen = positions[row[part]]
        noise = _start_images(twin, chosen, start[part], seed)
        stage = job.part(part.start / len(row), part.stop / len(row), f"image {first + 1} on")
        z, value[part], gained[part] = _excite(
            twin, chosen, noise, norm=norm, n_step=n_step, blur_sigma=blur_sigma, job=stage
        )
        images[part] = z
    return _label_mei(
        twin,
        positions,
        images.reshape(len(positions), n_start, *spec.shape),
        value.reshape(-1, n_start),
        ~(gained.reshape(-1, n_start) > 0),
        seed=seed,
        settings={"norm": norm, "n_start": n_start, "n_step": n_step, "blur_sigma": blur_sigma},
    )


def _start_images(
    twin: ConditionedTwin, positions: np.ndarray, start: np.ndarray, seed: int
) -> Tensor:
    """White noise that depends on seed, neuron and start alone."""
    known = twin.neuron.cpu().numpy()[positions]
    check_seed(seed)
    noise = [
        np.random.default_rng([seed, neuron, number]).standard_normal(twin.spec.shape, np.float32)
        for neuron, number in zip(known, start, strict=True)
    ]
    return torch.as_tensor(np.stack(noise), device=twin.device)


def _excite(
    twin: ConditionedTwin,
    positions: np.ndarray,
    noise: Tensor,
    *,
    norm: float,
    n_step: int,
    blur_sigma: float,
    job: Job,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image in z units, its activation and the gain over the start, one for each row."""
    spec = twin.spec
    blur = _make_blur(blur_sigma, noise.device)

    def measure(z: Tensor, row: Tensor) -> Tensor:
        return twin.paired(positions[row.cpu().numpy()])(z * spec.std + spec.mean)

    def mover(smooth: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        def move(z: Tensor, gradient: Tensor, step: Tensor) -> Tensor:
            direction = smooth(gradient)
            length = norm / _norm(direction).clamp(min=1e-30)
            return fix_norm(z + step.view(-1, 1, 1, 1) * length * direction, norm, spec)

        return move

    def reporter(before: int) -> Callable[[int, Tensor], None]:
        def report(done: int, z: Tensor) -> None:
            preview = (z[0] * spec.std + spec.mean).cpu().numpy()
            job.report((before + done) / n_step, f"step {before + done} of {n_step}", preview)

        return report

    z = fix_norm(noise, norm, spec)
    with torch.inference_mode():
        begun = measure(z, torch.arange(len(z)))
    half = n_step // 2 if blur_sigma else 0
    z, value = ascend(z, measure, mover(blur), n_step=half, report=reporter(0))
    z, value = ascend(z, measure, mover(lambda g: g), n_step=n_step - half, report=reporter(half))
    return z.cpu().numpy(), value.cpu().numpy(), (value - begun).cpu().numpy()


def _make_blur(sigma: float, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Gaussian blur of images, separable; its kernel is made once."""
    radius = max(1, round(3 * sigma))
    offset = torch.arange(-radius, radius + 1, device=device)
    kernel = torch.exp(-0.5 * (offset / max(sigma, 1e-6)) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)

    def blur(images: Tensor) -> Tensor:
        flat = images.flatten(0, 1)[:, None]
        flat = F.conv2d(flat, kernel, padding=(0, radius))
        flat = F.conv2d(flat, kernel.transpose(2, 3), padding=(radius, 0))
        return flat[:, 0].view_as(images)

    return blur


def _label_mei(
    twin: ConditionedTwin,
    positions: np.ndarray,
    images: np.ndarray,
    value: np.ndarray,
    failed: np.ndarray,
    *,
    seed: int,
    settings: dict[str, Any],
) -> xr.Dataset:
    """Dataset of the best start of each neuron; `images` are (neuron, start, ...) in z units."""
    spec = twin.spec
    each = np.arange(len(positions))
    best = np.where(failed, -np.inf, value).argmax(1)
    nothing = np.where(failed.all(1), np.nan, 1.0).astype(np.float32)
    z = images[each, best] * nothing[:, None, None, None]
    mei = z * np.float32(spec.std) + np.float32(spec.mean)
    margin = 1e-3 * spec.std
    clipped = ((mei <= spec.low + margin) | (mei >= spec.high - margin)).mean((1, 2, 3))
    unit, rate = {"units": "1"}, {"units": "rate"}
    result = neuron_labels(twin, positions).assign(
        mei=(
            ("neuron", "channel", "y", "x"),
            mei,
            {"long_name": "most exciting input", "units": "grey level"},
        ),
        activation=(
            "neuron",
            value[each, best] * nothing,
            {"long_name": "response to the MEI"} | rate,
        ),
        start_activation=(
            ("neuron", "start"),
            value,
            {"long_name": "response at the end of each start"} | rate,
        ),
        best_start=("neuron", best * nothing, {"long_name": "best start"} | unit),
        failed=(
            ("neuron", "start"),
            failed.astype(np.int8),
            {"long_name": "1 where no step excited the neuron more"} | unit,
        ),
        clipped_fraction=(
            "neuron",
            clipped * nothing,
            {"long_name": "share of pixels at the limits of the display"} | unit,
        ),
        norm=(
            "neuron",
            np.sqrt((z.astype(np.float64) ** 2).sum((1, 2, 3))),
            {"long_name": "L2 norm of the MEI", "units": "standard deviation of training pixels"},
        ),
    )
    result = result.assign_coords(
        start=("start", np.arange(value.shape[1]), {"long_name": "start"} | unit)
    )
    return make_result(
        result.assign_coords(spatial_coordinates(spec.height, spec.width)),
        experiment="mei",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={**settings, **provenance(twin)},
        source=SOURCE,
    )
