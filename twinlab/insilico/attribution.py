"""Which pixels of an image a neuron answers to: integrated gradients and occlusion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.insilico.formats import draw_leaves, picture_attrs
from twinlab.insilico.responses import (
    Neurons,
    chosen_positions,
    neuron_labels,
    paired_rates,
    provenance,
    rates_of_batches,
    spatial_coordinates,
    value_and_gradient,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, make_result
from twinlab.twins import ConditionedTwin

__all__ = ["images_to_explain", "label_maps", "measure_integrated_gradients", "measure_occlusion"]

NODES = 8  # of the Gauss-Legendre rule in each stretch of the path
MAX_HALVINGS = 13  # of the path; a kink is then known to a ten-thousandth of it
KINKS = 64  # that may each be wrong by their share of the tolerance
ROUNDING = 1e-6  # of float32, relative


def images_to_explain(
    twin: ConditionedTwin, images: np.ndarray | xr.DataArray | None, n_image: int, seed: int
) -> np.ndarray:
    """Images given, checked, or dead leaves; (image, channel, y, x) in grey levels, float32."""
    spec = twin.spec
    if images is None:
        images = draw_leaves(spec, n_image, seed)
    chosen = np.asarray(images, np.float32)
    spec.check(chosen)
    if not len(chosen) or not np.isfinite(chosen).all():
        msg = (
            "`images` must be one or more images of finite grey levels, but got "
            f"{len(chosen)} with {int((~np.isfinite(chosen)).sum())} pixels that are not finite."
        )
        raise InputError(msg)
    return chosen


def measure_integrated_gradients(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    images: np.ndarray | xr.DataArray | None = None,
    n_image: int = 4,
    tolerance: float = 1e-4,
    seed: int = 0,
    batch_size: int = 256,
    job: Job | None = None,
) -> xr.Dataset:
    r"""Share of each pixel in a neuron's response, by integrated gradients from grey.

    With the image x and grey g, the mean grey level of the training images, pixel i has

    .. math:: (x_i - g) \int_0^1 \partial_i f(g + \alpha (x - g)) \, d\alpha,

    summed over channels. All pixels together have :math:`f(x) - f(g)` (completeness), and a
    linear neuron has its weight times the pixel's contrast. The integral is taken by an
    8-point Gauss-Legendre rule, and stretches of the path where completeness does not hold
    are halved until it does.

    Parameters
    ----------
    twin : ConditionedTwin
        Of images.
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    images : array of shape (image, channel, y, x), optional
        In grey levels; dead leaves where absent.
    n_image : int
        Number of dead leaves images.
    tolerance : float
        Largest error of completeness, as a share of the difference from grey.
    seed : int
        Of the dead leaves.
    batch_size : int
        Images evaluated at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `attribution` (neuron, image, y, x) in rate, NaN where the rate is the same for grey
        and all images; `response` (neuron, image); `blank_response` (neuron) to grey;
        `completeness_error` (neuron, image), relative, NaN where the response equals that to
        grey; `stimulus` (image, channel, y, x); `valid` (neuron).

    Raises
    ------
    InputError
        If the tolerance is not positive, the images do not fit or are not finite, or
        `neurons` are not the twin's.

    References
    ----------
    Sundararajan, Taly & Yan (2017), International Conference on Machine Learning 34.

    """
    if not tolerance > 0:
        msg = f"`tolerance` must be positive, but got {tolerance:g}."
        raise InputError(msg)
    positions = chosen_positions(len(twin), neurons)
    shown = images_to_explain(twin, images, n_image, seed)
    job = job or Job()
    spec = twin.spec
    grey = np.full((1, *spec.shape), spec.mean, np.float32)
    every = np.concatenate([grey, shown])
    batches = (every[start : start + batch_size] for start in range(0, len(every), batch_size))
    rates = rates_of_batches(twin.neurons(positions), batches, len(every), job.part(0.0, 0.05))
    blank, response = rates[0], rates[1:].T
    total = np.zeros((len(positions), len(shown), spec.height, spec.width))
    _integrate(
        twin,
        positions,
        torch.as_tensor(shown, device=twin.device),
        np.broadcast_to(blank[:, None], response.shape).astype(np.float64),
        response.astype(np.float64),
        total,
        tolerance=tolerance,
        batch_size=batch_size,
        job=job.part(0.05, 1.0),
    )
    evoked = response.astype(np.float64) - blank[:, None]
    same = np.abs(evoked) <= ROUNDING * np.maximum(np.abs(response), np.abs(blank[:, None]))
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(same, np.nan, (total.sum((2, 3)) - evoked) / np.abs(evoked))
    return label_maps(
        twin,
        positions,
        shown,
        {
            "attribution": (total, "share of the pixel in the response above grey", "rate"),
            "response": (response, "response to the image", "rate"),
            "blank_response": (blank, "response to grey", "rate"),
            "completeness_error": (error, "error of the sum of shares, relative", "1"),
        },
        valid=~same.all(1),
        experiment="integrated_gradients",
        seed=seed,
        settings={"tolerance": tolerance},
        source="Sundararajan et al. (2017), International Conference on Machine Learning 34",
    )


def _integrate(
    twin: ConditionedTwin,
    positions: np.ndarray,
    images: Tensor,
    first: np.ndarray,
    last: np.ndarray,
    total: np.ndarray,
    *,
    tolerance: float,
    batch_size: int,
    job: Job,
) -> None:
    """Add to `total` (neuron, image, y, x) the integral of every neuron and image.

    `first` and `last` (neuron, image) are the rates at both ends of the path.
    """
    grey = twin.spec.mean
    node, weight = np.polynomial.legendre.leggauss(NODES)
    node, weight = (node + 1) / 2, weight / 2
    allowed = tolerance * np.abs(last - first)
    n_image = len(images)
    # Stretches of paths still to be done: pair of neuron and image, start, length, rate at
    # both ends. The last are done first, so that few are open at a time.
    pair = np.arange(first.size)
    todo = np.stack([pair, 0.0 * pair, 0.0 * pair + 1, first.ravel(), last.ravel()], axis=1)
    done = 0.0
    while len(todo):
        job.report(done / first.size, f"{done:.0f} of {first.size} neurons and images")
        n_now = max(batch_size // NODES, 1)
        now, todo = todo[-n_now:], todo[:-n_now]
        neuron, image = np.divmod(now[:, 0].astype(int), n_image)
        start, length = now[:, 1], now[:, 2]

        share = (start[:, None] + length[:, None] * node).ravel()
        _, gradient = value_and_gradient(
            twin.paired(np.repeat(positions[neuron], NODES)),
            _from_grey(images, grey, share, np.repeat(image, NODES)),
        )
        rule = torch.as_tensor(weight, dtype=torch.float32, device=gradient.device)
        mean = torch.einsum("snchw,n->schw", gradient.unflatten(0, (len(now), NODES)), rule)
        contrast = images[torch.as_tensor(image, device=images.device)] - grey
        part = (mean * contrast).sum(1).double().cpu().numpy() * length[:, None, None]
        error = np.abs(part.sum((1, 2)) - (now[:, 4] - now[:, 3]))
        # A long stretch may be wrong by its share; a short one, where a kink lies, by more.
        bound = allowed[neuron, image] * np.maximum(length, 1 / KINKS)
        good = error <= np.maximum(bound, ROUNDING * np.abs(now[:, 3:]).max(1))
        good |= length <= 0.5**MAX_HALVINGS
        np.add.at(total, (neuron[good], image[good]), part[good])
        done += float(length[good].sum())
        halved = np.flatnonzero(~good)
        if not len(halved):
            continue
        middle = start[halved] + length[halved] / 2
        points = _from_grey(images, grey, middle, image[halved])
        between = paired_rates(twin, positions[neuron[halved]], points.__getitem__, batch_size)
        before, after = now[halved].copy(), now[halved].copy()
        before[:, 2] /= 2
        after[:, 2] /= 2
        after[:, 1] = middle
        before[:, 4] = after[:, 3] = between
        todo = np.concatenate([todo, before, after])


def _from_grey(images: Tensor, grey: float, share: np.ndarray, chosen: np.ndarray) -> Tensor:
    """Images a share of the way from grey to those chosen."""
    contrast = images[torch.as_tensor(chosen, device=images.device)] - grey
    moved = torch.as_tensor(share, dtype=torch.float32, device=images.device)
    return grey + moved.view(-1, 1, 1, 1) * contrast


def measure_occlusion(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    images: np.ndarray | xr.DataArray | None = None,
    n_image: int = 4,
    patch: int = 5,
    stride: int = 2,
    fill: float | None = None,
    seed: int = 0,
    batch_size: int = 64,
    job: Job | None = None,
) -> xr.Dataset:
    """Which parts of an image a neuron misses: what its rate loses when a patch is covered.

    Square patches are covered one at a time; a pixel gets the mean loss over the patches
    that cover it. The images are the same for all neurons, so that many cost little more
    than one. Of a linear neuron, a patch loses its weights times its contrast.

    Parameters
    ----------
    twin : ConditionedTwin
        Of images.
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    images : array of shape (image, channel, y, x), optional
        In grey levels; dead leaves where absent.
    n_image : int
        Number of dead leaves images.
    patch : int
        Pixels along a side of the patch.
    stride : int
        Pixels from one patch to the next, at most `patch`; the last ends at the border.
    fill : float, optional
        Grey level of the cover; the mean of the training images where absent.
    seed : int
        Of the dead leaves.
    batch_size : int
        Images shown at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `attribution` (neuron, image, y, x): the rate lost, negative where covering raises it,
        NaN for a neuron that no image or cover moves; `response` (neuron, image); `stimulus`
        (image, channel, y, x); `valid` (neuron).

    Raises
    ------
    InputError
        If the patch does not fit the image, the stride is not between 1 and the patch, the
        images do not fit or are not finite, or `neurons` are not the twin's.

    References
    ----------
    Zeiler & Fergus (2014), European Conference on Computer Vision 13: 818-833.

    """
    positions = chosen_positions(len(twin), neurons)
    spec = twin.spec
    if not 1 <= stride <= patch <= min(spec.height, spec.width):
        msg = (
            "Occlusion needs 1 <= `stride` <= `patch` <= the image's smaller side "
            f"({min(spec.height, spec.width)} px), but got {stride} and {patch}."
        )
        raise InputError(msg)
    shown = images_to_explain(twin, images, n_image, seed)
    cover = _covers(spec.height, spec.width, patch, stride)  # (patch, y, x)
    grey = np.float32(spec.mean if fill is None else fill)
    step = len(cover) + 1  # the image itself first

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, len(shown) * step, batch_size):
            index = np.arange(start, min(start + batch_size, len(shown) * step))
            image, place = np.divmod(index, step)
            covered = cover[np.maximum(place - 1, 0)] & (place > 0)[:, None, None]
            yield np.where(covered[:, None], grey, shown[image])

    job = job or Job()
    rates = rates_of_batches(twin.neurons(positions), batches(), len(shown) * step, job)
    rates = rates.reshape(len(shown), step, -1)
    lost = rates[:, :1] - rates[:, 1:]  # (image, patch, neuron)
    maps = np.tensordot(lost, cover.astype(np.float32), (1, 0)) / cover.sum(0)
    spread, largest = np.ptp(rates, axis=(0, 1)), np.abs(rates).max((0, 1))
    return label_maps(
        twin,
        positions,
        shown,
        {
            "attribution": (maps.transpose(1, 0, 2, 3), "rate lost by covering", "rate"),
            "response": (rates[:, 0].T, "response to the image", "rate"),
        },
        valid=spread > ROUNDING * largest,
        experiment="occlusion",
        seed=seed,
        settings={"patch": patch, "stride": stride, "fill": float(grey)},
        source="Zeiler & Fergus (2014), European Conference on Computer Vision 13: 818-833",
    )


def _covers(height: int, width: int, patch: int, stride: int) -> np.ndarray:
    """Where each patch lies, (patch, y, x), bool."""
    tops, lefts = (
        sorted({*range(0, size - patch + 1, stride), size - patch}) for size in (height, width)
    )
    covers = np.zeros((len(tops) * len(lefts), height, width), bool)
    corners = [(top, left) for top in tops for left in lefts]
    for cover, (top, left) in zip(covers, corners, strict=True):
        cover[top : top + patch, left : left + patch] = True
    return covers


def label_maps(
    twin: ConditionedTwin,
    positions: np.ndarray,
    images: np.ndarray,
    described: dict[str, tuple[np.ndarray, str, str]],
    *,
    valid: np.ndarray,
    experiment: str,
    seed: int,
    settings: dict[str, Any],
    source: str,
) -> xr.Dataset:
    """Dataset of maps (neuron, image, y, x) and of numbers (neuron[, image]) beside the images.

    Each array comes with its long name and units; maps of neurons that are not valid are NaN.
    """
    dims = ("neuron", "image", "y", "x")
    variables: dict[str, Any] = {}
    for name, (array, long_name, units) in described.items():
        values = array.astype(np.float32)
        if values.ndim == len(dims):
            values = np.where(valid[:, None, None, None], values, np.float32(np.nan))
        variables[name] = (dims[: values.ndim], values, {"long_name": long_name, "units": units})
    variables["stimulus"] = (
        ("image", "channel", "y", "x"),
        images,
        picture_attrs(twin.spec, "image shown"),
    )
    variables["valid"] = (
        "neuron",
        valid.astype(np.int8),
        {"long_name": "1 where the response varies", "units": "1"},
    )
    result = neuron_labels(twin, positions).assign(variables)
    return make_result(
        result.assign_coords(spatial_coordinates(*images.shape[2:])),
        experiment=experiment,
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={**settings, "n_image": len(images), **provenance(twin)},
        source=source,
    )
