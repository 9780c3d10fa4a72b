"""Norm-matched controls of an MEI: best natural stimulus, best Gabor, another twin's opinion."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.insilico.ascent import ascend
from twinlab.insilico.constraints import to_grey
from twinlab.insilico.formats import picture_attrs, stimuli_at_once, stimulus_dims
from twinlab.insilico.gabors import draw_gabors, gabor_grid, gabor_mover
from twinlab.insilico.masks import find_mask, see_through
from twinlab.insilico.responses import (
    cancellable,
    check_positive,
    find_neurons,
    paired_rates,
    settle,
)
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import ConditionedTwin, Familiarity, StimulusSpec

__all__ = ["cross_examine", "cut_clips"]


def cut_clips(videos: np.ndarray, n_frame: int) -> np.ndarray:
    """Cut videos into clips, one after the other.

    Parameters
    ----------
    videos : ndarray of shape (n_video, channel, frame, y, x)
    n_frame : int
        Of each clip.

    Returns
    -------
    ndarray of shape (n_clip, channel, n_frame, y, x)
        What is left over at the end of a video is not used, nor are clips in which values are
        missing (NaN).

    Raises
    ------
    InputError
        If no clip is to be had.

    """
    check_positive(n_frame=n_frame)
    starts = range(0, videos.shape[2] - n_frame + 1, n_frame)
    clips = [videos[:, :, start : start + n_frame] for start in starts]
    clips = [some[np.isfinite(some).all((1, 2, 3, 4))] for some in clips]
    if not any(len(some) for some in clips):
        msg = (
            f"{len(videos)} videos of {videos.shape[2]} frames hold no whole clip of {n_frame}; "
            "give longer videos, or make shorter ones."
        )
        raise InputError(msg)
    return np.concatenate(clips)


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
    three have the same norm and the same mean but for pixels that are cut at the limits, are found
    on `twin`, and are shown to `other` too. Of least exciting inputs the controls are those that
    excite least.

    Of videos, natural clips are seen through a mask that does not move, and Gabors drift under
    an envelope that does not (at large sizes they are gratings): 384 of them, refined in temporal
    frequency and with it in direction too. Rates are means over the second half of the frames.

    Parameters
    ----------
    mei : xarray.Dataset
        Of `synthesize_mei` or `synthesize_lei`.
    twin : ConditionedTwin
        That made them, conditioned in the same way.
    other : ConditionedTwin
        Independently trained, of the same neurons and image size (and frame rate).
    natural : ndarray of shape (n_image, channel, y, x)
        Natural images in grey levels, best from outside the training set; of videos clips as
        long as the MEIs, (n_clip, channel, frame, y, x), see `cut_clips`.
    architecture : ConditionedTwin, optional
        Of another architecture, to be asked as well.
    familiarity : Familiarity, optional
        Of the twin, see `twins.fit_familiarity`: tells how far stimuli lie from its training.
        Of videos, fit it to clips as long as the MEIs.
    degrees_per_pixel : float, optional
        Of visual angle, for the size of the masks.
    n_step : int
        Most steps of the Gabors' refinement.
    batch_size : int
        Images, or frames of videos, shown at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `mei` with, along `neuron`: `activation_other`; `activation_natural`,
        `activation_natural_other`, `natural_index` (into `natural`) and `natural` (neuron,
        channel[, frame], y, x); `activation_gabor`, `activation_gabor_other` and `gabor` (neuron,
        channel[, frame], y, x); `mask` (neuron, y, x), and `mask_size` (neuron), the diameter of
        a disc as large as its part above one half, in degrees, or in pixels where their size is
        not known. With `architecture`, `activation_architecture` and the like of the controls;
        with `familiarity`, `distance` and `distance_natural` (neuron) from training and
        `unfamiliar` (neuron), 1 where natural images do not lie so far. NaN where the MEI is.

    Raises
    ------
    InputError
        If `mei` is not of this twin, `other` is the same twin, a judge lacks a neuron or has
        another image size or frame rate, or `natural` are not images, or clips, of this size.

    References
    ----------
    Walker et al. (2019), Nature Neuroscience 22: 2060-2065; mask after
    Bashiri et al. (2025), laminr.

    """
    _check_parties(mei, twin, other, natural, architecture)
    job = job or Job()
    spec = twin.spec
    found = np.flatnonzero(np.isfinite(mei.activation.values))
    norm = torch.as_tensor(mei.norm.values[found], dtype=torch.float32)  # that was reached
    position = find_neurons(mei, twin.labels, "`twin`")[found]
    elsewhere = find_neurons(mei, other.labels, "`other`")[found]
    images = mei[str(mei.attrs["experiment"])].values[found]
    up = 1 if mei.attrs["experiment"] == "mei" else -1
    mask = np.array([find_mask(image) for image in images]).reshape(len(found), *spec.shape[1:])
    at_once = stimuli_at_once(twin, images.shape[2], batch_size)

    # 1. the best natural image, through the mask of each MEI
    n_natural = len(natural)

    def windowed(neuron: np.ndarray, image: np.ndarray) -> Tensor:
        z = (torch.as_tensor(natural[image], dtype=torch.float32) - spec.mean) / spec.std
        return to_grey(see_through(z, torch.as_tensor(mask[neuron])), norm[neuron], spec)

    def each(part: slice) -> Tensor:
        return windowed(*np.divmod(np.arange(part.start, part.stop), n_natural))

    rates = paired_rates(
        twin, np.repeat(position, n_natural), each, at_once, job.part(0, 0.6, "natural")
    ).reshape(-1, n_natural)
    natural_index = (up * rates).argmax(1)
    best_natural = windowed(np.arange(len(found)), natural_index)

    # 2. the best Gabor
    best_gabor = _best_gabor(
        twin, up, position, images, mask, norm, n_step, at_once, job.part(0.6, 0.95, "Gabor")
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
                    asked, neurons, stimulus.__getitem__, at_once, last
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
        spec=spec,
    )


def _check_parties(
    mei: xr.Dataset,
    twin: ConditionedTwin,
    other: ConditionedTwin,
    natural: np.ndarray,
    architecture: ConditionedTwin | None,
) -> None:
    if mei.attrs.get("experiment") not in ("mei", "lei"):
        msg = (
            f"`mei` is a result of {mei.attrs.get('experiment')!r}; expected one of "
            "`synthesize_mei` or `synthesize_lei`."
        )
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
    for name, judge in {"other": other, "architecture": architecture or other}.items():
        if (judge.spec.shape, judge.spec.frame_rate) != (twin.spec.shape, twin.spec.frame_rate):
            msg = f"`{name}` sees {_seen(judge)}, `twin` {_seen(twin)}."
            raise InputError(msg)
    twin.spec.check(natural)
    if not len(natural):
        msg = "`natural` holds no image; expected at least one."
        raise InputError(msg)
    if twin.spec.is_video and natural.shape[2] != mei.sizes["frame"]:
        msg = (
            f"`natural` are clips of {natural.shape[2]} frames, but the MEIs have "
            f"{mei.sizes['frame']}; cut them with `cut_clips`."
        )
        raise InputError(msg)


def _seen(twin: ConditionedTwin) -> str:
    spec = twin.spec
    if spec.is_video:
        return f"videos of shape {spec.shape} at {spec.frame_rate:g} Hz"
    return f"images of shape {spec.shape}"


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
    """Gabors, shaped as `images`, in grey levels that excite most, or least if `up` is -1."""
    spec = twin.spec
    if not len(position):
        return torch.empty(images.shape)
    row, column = np.indices(mask.shape[1:])
    mass = mask.sum((1, 2))
    center = np.stack([(mask * column).sum((1, 2)), (mask * row).sum((1, 2))], 1) / mass[:, None]
    grid = gabor_grid(images, center, spec.frame_rate)  # (neuron, gabor, parameter)
    n_frame = images.shape[2] if spec.is_video else None
    n_gabor = grid.shape[1]
    flat = grid.flatten(0, 1)

    def drawn(parameters: Tensor, norm: Tensor) -> Tensor:
        return to_grey(draw_gabors(parameters, spec.height, spec.width, n_frame), norm, spec)

    norms = norm.repeat_interleave(n_gabor)

    rates = paired_rates(
        twin,
        np.repeat(position, n_gabor),
        lambda part: drawn(flat[part], norms[part]),
        batch_size,
        job.part(0, 0.5, "grid"),
    ).reshape(-1, n_gabor)
    start = grid[torch.arange(len(grid)), torch.as_tensor((up * rates).argmax(1))]

    move = gabor_mover(spec.channel, spec.height, spec.width, twin.device, drifting=spec.is_video)
    refined = start.clone()
    refining = job.part(0.5, 1.0, "refinement")
    for first in range(0, len(start), batch_size):
        part = slice(first, min(first + batch_size, len(start)))
        chosen, own = position[part], norm[part].to(twin.device)

        def measure(
            parameters: Tensor, row: Tensor, chosen: np.ndarray = chosen, own: Tensor = own
        ) -> Tensor:
            rate = twin.paired(chosen[row.cpu().numpy()])(drawn(parameters, own[row]))
            return up * settle(rate, spec)

        def report(done: int, _: Tensor, first: int = first, size: int = len(chosen)) -> None:
            refining.report((first + size * done / n_step) / len(start), f"step {done}")

        begin = start[part].to(twin.device)
        with cancellable(job):
            point, _ = ascend(begin, measure, move, n_step=n_step, report=report)
        refined[part] = point.cpu()
    return drawn(refined, norm)


def _label_controls(
    mei: xr.Dataset,
    found: np.ndarray,
    scalars: dict[str, np.ndarray],
    images: dict[str, np.ndarray],
    settings: dict[str, Any],
    size: str,
    spec: StimulusSpec,
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
        if name in ("natural", "gabor"):
            dims, attrs = stimulus_dims(spec), picture_attrs(spec, long_names[name])
        else:
            dims = ("y", "x") if name == "mask" else ()
            units = "rate" if name.startswith("activation") else "1"
            units = size if name == "mask_size" else units
            units = "standard deviation" if name.startswith("distance") else units
            attrs = {"long_name": long_names[name], "units": units}
        variables[name] = (("neuron", *dims), whole, attrs)
    result = mei.assign(variables)
    result.attrs = dict(mei.attrs)
    result.attrs["settings"] = json.dumps(
        json.loads(mei.attrs["settings"]) | settings, sort_keys=True
    )
    return result
