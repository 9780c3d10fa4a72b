"""Norm-matched controls of an MEI: best natural image, best Gabor, and another twin's opinion."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from twinlab.insilico.ascent import ascend
from twinlab.insilico.constraints import match_norm
from twinlab.insilico.gabors import draw_gabors, gabor_grid, gabor_mover
from twinlab.insilico.responses import find_neurons, paired_rates
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import ConditionedTwin, Familiarity

__all__ = ["cross_examine", "find_mask"]

MASK_THRESHOLD = 1.5  # standard deviations of the image, as in laminr's `utils/mask.py`
MASK_BLUR = 1.5  # px


def find_mask(image: np.ndarray) -> np.ndarray:
    """Where an image has its contrast: 1 there, 0 elsewhere, with a soft edge.

    Pixels further than 1.5 standard deviations from the image's mean (in any channel) are
    closed to regions; the convex hull of the largest is blurred.

    Parameters
    ----------
    image : ndarray of shape (channel, y, x)

    Returns
    -------
    ndarray of shape (y, x), float32

    """
    z = np.abs(image - image.mean()).max(0)
    far = z > min(MASK_THRESHOLD * image.std(), z.max() / 2)
    # Padded, so that closing does not eat what touches the border.
    closed = ndimage.binary_closing(np.pad(far, 3), iterations=2)[3:-3, 3:-3]
    labels, _ = ndimage.label(closed | far)
    region = labels == np.bincount(labels[labels > 0]).argmax()
    blurred = ndimage.gaussian_filter(_hull(region).astype(np.float32), MASK_BLUR)
    return (blurred / max(blurred.max(), 1e-6)).astype(np.float32)


def _hull(region: np.ndarray) -> np.ndarray:
    """Pixels inside the convex hull of a region; the region itself if it is a line or a point."""
    points = np.argwhere(region)
    try:
        faces = ConvexHull(points).equations  # outward normals and offsets
    except (QhullError, ValueError):
        return region
    every = np.indices(region.shape).reshape(2, -1).T
    outward = every @ faces[:, :2].T + faces[:, 2]
    return (outward <= 1e-9).all(1).reshape(region.shape)


def cross_examine(
    mei: xr.Dataset,
    twin: ConditionedTwin,
    other: ConditionedTwin,
    natural: np.ndarray,
    *,
    architecture: ConditionedTwin | None = None,
    familiarity: Familiarity | None = None,
    degrees_per_pixel: float | None = None,
    n_step: int = 60,
    batch_size: int = 256,
    job: Job | None = None,
) -> xr.Dataset:
    """Score MEIs, or LEIs, on twins that did not make them, beside norm-matched controls.

    An image optimised on a twin flatters it. Its activation is therefore set beside that of
    the best of many natural images, each seen through the MEI's own mask, and of the best
    Gabor: the best of a grid of 240 at the centre of the mask, then refined by gradient
    ascent on its place, orientation, spatial frequency, phase, size and elongation. All
    three have the same mean and norm, are found on `twin`, and are shown to `other` too. Of least
    exciting inputs the controls are those that excite least.

    Parameters
    ----------
    mei : xarray.Dataset
        Of `synthesize_mei` or `synthesize_lei`, of images.
    twin : ConditionedTwin
        That made them, conditioned in the same way.
    other : ConditionedTwin
        Independently trained, of the same neurons and image size.
    natural : ndarray of shape (n_image, channel, y, x)
        Natural images in grey levels, best from outside the training set.
    architecture : ConditionedTwin, optional
        Of another architecture, to be asked as well.
    familiarity : Familiarity, optional
        Of the twin, see `twins.fit_familiarity`: tells how far stimuli lie from its training.
    degrees_per_pixel : float, optional
        Of visual angle, for the size of the masks.
    n_step : int
        Most steps of the Gabors' refinement.
    batch_size : int
        Images shown at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `mei` with, along `neuron`: `activation_other`; `activation_natural`,
        `activation_natural_other`, `natural_index` (into `natural`) and `natural` (neuron,
        channel, y, x); `activation_gabor`, `activation_gabor_other` and `gabor` (neuron,
        channel, y, x); `mask` (neuron, y, x), and `mask_size` (neuron), the diameter of a disc
        as large as its part above one half, in degrees, or in pixels where their size is not
        known. With `architecture`, `activation_architecture` and the like of the controls; with
        `familiarity`, `distance` and `distance_natural` (neuron) from training and
        `unfamiliar` (neuron), 1 where natural images do not lie so far. NaN where the MEI is.

    Raises
    ------
    InputError
        If `mei` is not of this twin, `other` is the same twin, lacks a neuron or has another
        image size, or `natural` are not images of this size.

    References
    ----------
    Walker et al. (2019), Nature Neuroscience 22: 2060-2065; mask after
    Bashiri et al. (2025), laminr.

    """
    _check_parties(mei, twin, other, natural)
    job = job or Job()
    spec = twin.spec
    found = np.flatnonzero(np.isfinite(mei.activation.values))
    norm = torch.as_tensor(mei.norm.values[found], dtype=torch.float32)  # that was reached
    position = find_neurons(mei, twin.labels, "`twin`")[found]
    elsewhere = find_neurons(mei, other.labels, "`other`")[found]
    images = mei[str(mei.attrs["experiment"])].values[found]
    up = 1 if mei.attrs["experiment"] == "mei" else -1
    mask = np.array([find_mask(image) for image in images]).reshape(len(found), *spec.shape[1:])

    # 1. the best natural image, through the mask of each MEI
    z = torch.as_tensor(natural, dtype=torch.float32)
    z = (z - spec.mean) / spec.std
    n_natural = len(z)

    def windowed(part: slice) -> Tensor:
        neuron, image = np.divmod(np.arange(part.start, part.stop), n_natural)
        return _to_grey(_window(z[image], torch.as_tensor(mask[neuron])), norm[neuron], twin)

    rates = paired_rates(
        twin, np.repeat(position, n_natural), windowed, batch_size, job.part(0, 0.6, "natural")
    ).reshape(-1, n_natural)
    natural_index = (up * rates).argmax(1)
    best_natural = _to_grey(_window(z[natural_index], torch.as_tensor(mask)), norm, twin)

    # 2. the best Gabor
    best_gabor = _best_gabor(
        twin, up, position, images, mask, norm, n_step, batch_size, job.part(0.6, 0.95, "Gabor")
    )

    # 3. everything shown to all twins
    shown = {"": torch.as_tensor(images), "_natural": best_natural, "_gabor": best_gabor}
    last = job.part(0.95, 1.0, "other twins")
    judges = [(twin, "", position), (other, "_other", elsewhere)]
    if architecture is not None:
        third = find_neurons(mei, architecture.labels, "`architecture`")[found]
        judges.append((architecture, "_architecture", third))
    activation: dict[str, np.ndarray] = {}
    for name, stimulus in shown.items():
        for asked, suffix, neurons in judges:
            if name or suffix:  # the MEI's own activation is known
                activation[f"activation{name}{suffix}"] = paired_rates(
                    asked, neurons, stimulus.__getitem__, batch_size, last
                )
    scalars = activation | {"natural_index": natural_index.astype(np.float32)}
    if familiarity is not None:
        for name, stimulus in (("", shown[""]), ("_natural", best_natural)):
            scalars[f"distance{name}"] = familiarity(stimulus.float()).detach().cpu().numpy()
        scalars["unfamiliar"] = (scalars["distance"] > familiarity.threshold).astype(np.float32)
    pixel = 1.0 if degrees_per_pixel is None else degrees_per_pixel
    scalars["mask_size"] = pixel * np.sqrt(4 / np.pi * (mask > 0.5).sum((1, 2)))
    return _label_controls(
        mei,
        found,
        scalars,
        {"natural": best_natural.numpy(), "gabor": best_gabor.numpy(), "mask": mask},
        settings={
            "other": other.identity,
            "other_context": other.context,
            "n_natural": n_natural,
            "gabor_n_step": n_step,
            **({} if architecture is None else {"architecture": architecture.identity}),
        },
        size="px" if degrees_per_pixel is None else "deg",
    )


def _check_parties(
    mei: xr.Dataset, twin: ConditionedTwin, other: ConditionedTwin, natural: np.ndarray
) -> None:
    if mei.attrs.get("experiment") not in ("mei", "lei"):
        msg = (
            f"`mei` is a result of {mei.attrs.get('experiment')!r}; expected one of "
            "`synthesize_mei` or `synthesize_lei`."
        )
        raise InputError(msg)
    if twin.spec.is_video:
        msg = "Videos have no controls yet; cross-examine images, or score the videos on `other`."
        raise InputError(msg)
    if mei.attrs["twin"] != twin.identity:
        msg = (
            f"These MEIs were made on twin {mei.attrs['twin']}, but `twin` is {twin.identity}; "
            "give the twin that made them."
        )
        raise InputError(msg)
    made_in = json.loads(mei.attrs["settings"])["context"]
    if made_in != twin.context:
        msg = (
            f"These MEIs were made in context {made_in}, but `twin` is conditioned on "
            f"{twin.context}; condition it in the same way."
        )
        raise InputError(msg)
    if other.identity == twin.identity:
        msg = (
            f"`other` is the twin that made the MEIs ({twin.identity}); an optimised image must "
            "be scored on an independently trained twin."
        )
        raise InputError(msg)
    if other.spec.shape != twin.spec.shape:
        msg = f"`other` sees images of shape {other.spec.shape}, `twin` of {twin.spec.shape}."
        raise InputError(msg)
    twin.spec.check(natural)
    if not len(natural):
        msg = "`natural` holds no image; expected at least one."
        raise InputError(msg)


def _to_grey(z: Tensor, norm: Tensor, twin: ConditionedTwin) -> Tensor:
    return match_norm(z, norm, twin.spec) * twin.spec.std + twin.spec.mean


def _window(z: Tensor, mask: Tensor) -> Tensor:
    """Images (n, channel, y, x) through masks (n, y, x), their mean under the mask removed."""
    weight = mask[:, None]
    total = weight.sum((1, 2, 3), keepdim=True) * z.shape[1]
    return weight * (z - (weight * z).sum((1, 2, 3), keepdim=True) / total)


def _best_gabor(
    twin: ConditionedTwin,
    up: int,
    position: np.ndarray,
    images: np.ndarray,
    mask: np.ndarray,
    norm: Tensor,
    n_step: int,
    batch_size: int,
    job: Job,
) -> Tensor:
    """Gabors (neuron, channel, y, x) in grey levels that excite most, or least if `up` is -1."""
    spec = twin.spec
    if not len(position):
        return torch.empty(0, *spec.shape)
    row, column = np.indices(mask.shape[1:])
    mass = mask.sum((1, 2))
    center = np.stack([(mask * column).sum((1, 2)), (mask * row).sum((1, 2))], 1) / mass[:, None]
    grid = gabor_grid(images, center)  # (neuron, gabor, parameter)
    n_gabor = grid.shape[1]
    flat = grid.flatten(0, 1)

    def drawn(parameters: Tensor, norm: Tensor) -> Tensor:
        return _to_grey(draw_gabors(parameters, spec.height, spec.width), norm, twin)

    norms = norm.repeat_interleave(n_gabor)

    rates = paired_rates(
        twin,
        np.repeat(position, n_gabor),
        lambda part: drawn(flat[part], norms[part]),
        batch_size,
        job.part(0, 0.5, "grid"),
    ).reshape(-1, n_gabor)
    start = grid[torch.arange(len(grid)), torch.as_tensor((up * rates).argmax(1))]

    move = gabor_mover(spec.channel, spec.height, spec.width, twin.device)
    refined = start.clone()
    refining = job.part(0.5, 1.0, "refinement")
    for first in range(0, len(start), batch_size):
        part = slice(first, min(first + batch_size, len(start)))
        chosen, own = position[part], norm[part].to(twin.device)

        def measure(
            parameters: Tensor, row: Tensor, chosen: np.ndarray = chosen, own: Tensor = own
        ) -> Tensor:
            return up * twin.paired(chosen[row.cpu().numpy()])(drawn(parameters, own[row]))

        def report(done: int, _: Tensor, first: int = first, size: int = len(chosen)) -> None:
            refining.report((first + size * done / n_step) / len(start), f"step {done}")

        point, _ = ascend(start[part].to(twin.device), measure, move, n_step=n_step, report=report)
        refined[part] = point.cpu()
    return drawn(refined, norm)


def _label_controls(
    mei: xr.Dataset,
    found: np.ndarray,
    scalars: dict[str, np.ndarray],
    images: dict[str, np.ndarray],
    settings: dict[str, Any],
    size: str,
) -> xr.Dataset:
    """`mei` with the controls, NaN for the neurons that are not among `found`."""
    made = str(mei.attrs["experiment"]).upper()
    long_names = {
        "activation_other": f"response to the {made}, other twin",
        "activation_natural": "response to the best natural image",
        "activation_natural_other": "response to the best natural image, other twin",
        "activation_gabor": "response to the best Gabor",
        "activation_gabor_other": "response to the best Gabor, other twin",
        "natural_index": "index of the best natural image",
        "natural": "best natural image, through the mask",
        "gabor": "best Gabor",
        "mask": f"mask of the {made}",
        "mask_size": "diameter of a disc as large as the mask",
        "distance": "distance from the training images",
        "distance_natural": "distance of the best natural image from the training images",
        "unfamiliar": "1 where natural images do not lie so far from training",
    }
    for control in ("", "_natural", "_gabor"):
        other = long_names[f"activation{control}_other"]
        long_names[f"activation{control}_architecture"] = other.replace(
            "other twin", "twin of another architecture"
        )
    variables: dict[str, Any] = {}
    for name, values in (scalars | images).items():
        whole = np.full((mei.sizes["neuron"], *values.shape[1:]), np.nan, np.float32)
        whole[found] = values
        dims = ("neuron", *("channel", "y", "x")[4 - values.ndim :])
        units = "rate" if name.startswith("activation") else "grey level"
        units = "1" if name in ("natural_index", "mask", "unfamiliar") else units
        units = size if name == "mask_size" else units
        units = "standard deviation" if name.startswith("distance") else units
        variables[name] = (dims, whole, {"long_name": long_names[name], "units": units})
    result = mei.assign(variables)
    result.attrs = dict(mei.attrs)
    result.attrs["settings"] = json.dumps(
        json.loads(mei.attrs["settings"]) | settings, sort_keys=True
    )
    return result
