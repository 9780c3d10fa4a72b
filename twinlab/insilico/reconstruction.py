"""Reconstruction: the image that was seen, read from the responses to it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import xarray as xr

from twinlab.insilico.formats import draw_leaves, picture_attrs
from twinlab.insilico.inversion import invert_responses
from twinlab.insilico.receptive_field import RIDGE_GRID, estimate_receptive_field
from twinlab.insilico.responses import (
    Neurons,
    chosen_positions,
    find_neurons,
    provenance,
    rates_of_batches,
    spatial_coordinates,
)
from twinlab.insilico.series import check_counts
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, make_result
from twinlab.twins import ConditionedTwin, StimulusSpec

__all__ = [
    "measure_reconstruction",
    "reconstruct_from_twin",
    "reconstruct_linear",
]

TAIL = 2.5  # percent on each side of an interval
N_SHUFFLE = 1000
ENUMERATED = 6  # images whose permutations are all looked at: there are at most 720


def reconstruct_linear(
    recording: xr.Dataset,
    neurons: Neurons = None,
    *,
    split: str = "test",
    ridge: Sequence[float] = RIDGE_GRID,
    folds: int = 5,
    seed: int = 0,
    job: Job | None = None,
) -> xr.Dataset:
    r"""Reconstruct images linearly from recorded responses, in closed form.

    Each pixel is a weighted sum of the responses, :math:`W = (R^\top R + \lambda I)^{-1} R^\top X`
    with responses R (each neuron's divided by its standard deviation) and pixels X of the other
    splits, and :math:`\lambda` of each pixel by cross-validation. With many trials of a linear
    Gaussian population this is the Wiener filter. Repeats of an image are averaged first.

    Parameters
    ----------
    recording : xarray.Dataset
        Of images.
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    split : {"test", "validation", "train"}
        Whose images are reconstructed; the weights come from the other splits.
    ridge, folds
        See `estimate_receptive_field`.
    seed : int
        Of the shuffles.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        Along `image`: `original` and `reconstruction` (image, channel, y, x), `correlation` of
        their pixels; and of the original with reconstructions from the responses to each other
        image, `null_interval` (image, bound, the central 95 %). `mean_correlation` with
        `mean_null_interval` (bound) and `p_value` from 1,000 shuffles of the images (all there
        are, of six or fewer). Images that are flat, or whose reconstruction is, have NaN and no
        part in the means. `valid` (neuron) is 0 for constant neurons, which are not used.

    Raises
    ------
    InputError
        If it is a recording of videos, or has no trial with all responses to learn from, or
        fewer than three images to reconstruct.

    References
    ----------
    Stanley, Li & Dan (1999), Journal of Neuroscience 19: 8036-8042.

    """
    rng = np.random.default_rng(check_seed(seed))
    chosen = recording.isel(neuron=chosen_positions(recording.sizes["neuron"], neurons))
    shown, response, _ = _average_repeats(chosen, split)
    learned = (chosen.split.values.astype(str) != split) & np.isfinite(chosen.response.values).all(
        1
    )
    if not learned.any():
        msg = f"No trial outside the split {split} has all responses; nothing to learn from."
        raise InputError(msg)
    trials = chosen.response.values[learned].astype(np.float64)
    index = chosen.stimulus_index.values[learned]
    pixels = chosen.stimulus.values[index].reshape(len(index), -1)
    mean, spread = trials.mean(0), trials.std(0)
    scale = np.where(spread > 0, spread, np.inf)
    weights = estimate_receptive_field(
        (trials - mean) / scale, pixels, ridge=ridge, folds=folds, group=index, job=job
    )["receptive_field"]  # (pixel, neuron)
    # A pixel that never changes has no weights: its mean is its reconstruction.
    read = (response - mean) / scale @ np.nan_to_num(weights).T + pixels.mean(0, np.float64)
    shape = chosen.stimulus.shape[1:]
    original = chosen.stimulus.values[shown].astype(np.float32)
    labels = chosen.drop_vars(
        [name for name in chosen.variables if chosen[name].dims != ("neuron",)]
    )
    result = _label(
        labels.drop_vars(list(labels.data_vars)),
        original,
        read.reshape(-1, *shape).astype(np.float32),
        spread > 0,
        rng,
    )
    return make_result(
        result.assign_coords(stimulus_index=("image", shown)),
        experiment="reconstruction",
        recording=str(recording.attrs.get("fingerprint", "")),
        seed=seed,
        settings={"split": split, "ridge": list(ridge), "folds": folds, "n_trial": len(index)},
        source="Stanley, Li & Dan (1999), Journal of Neuroscience 19: 8036-8042",
    )


def _average_repeats(
    recording: xr.Dataset, split: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images of a split, mean response to each, and the variance of that mean; (image, neuron).

    The variance is that of single trials about their image's mean, pooled over images, over
    the number of repeats; NaN without repeats.
    """
    if "frame" in recording.dims:
        msg = "This is a recording of videos; reconstruction takes images."
        raise InputError(msg)
    asked = recording.split.values.astype(str) == split
    asked &= np.isfinite(recording.response.values).all(1)
    shown, group = np.unique(recording.stimulus_index.values[asked], return_inverse=True)
    if len(shown) < 3:
        msg = (
            f"The split {split} has {len(shown)} images with all responses; reconstruction and "
            "its null need 3 or more."
        )
        raise InputError(msg)
    trials = recording.response.values[asked].astype(np.float64)
    count = np.bincount(group)[:, None]
    mean = np.zeros((len(shown), trials.shape[1]))
    np.add.at(mean, group, trials)
    mean /= count
    freedom = len(trials) - len(shown)
    square = ((trials - mean[group]) ** 2).sum(0)
    pooled = square / freedom if freedom else np.full(trials.shape[1], np.nan)
    return shown, mean, pooled / count


def measure_reconstruction(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    n_image: int = 12,
    n_repeat: int = 10,
    responder: ConditionedTwin | None = None,
    prior: str = "natural",
    norm: float | None = None,
    n_step: int = 300,
    seed: int = 0,
    batch_size: int = 16,
    job: Job | None = None,
) -> xr.Dataset:
    """How much of an image a population tells: reconstruction from responses that are predicted.

    Dead leaves, which have the statistics of natural images, are shown to the twin. Poisson counts
    are drawn around what it predicts, averaged over repeats, and the images reconstructed
    from them by `invert_responses`.

    A twin that is inverted on its own responses knows the code without error: what is found is how
    much those neurons tell, and more than can be read from an animal. Where others respond, the
    simulated cortex or a twin fitted to other data, the twin's own errors count as well; an
    ensemble, whose members err each in another way, then reads more the more members it has.

    Parameters
    ----------
    twin : ConditionedTwin
        Which is inverted; an ensemble is by the mean of its members.
    neurons : sequence of int, optional
        Positions of the neurons; all where absent. They form the population.
    responder : ConditionedTwin, optional
        Whose neurons of the same names respond, to images of the same size; the twin's own where
        absent.
    n_image : int
        At least 3.
    n_repeat : int
        Times each image is shown; the more, the less noise.
    prior, norm, n_step
        See `invert_responses`.
    seed : int
    batch_size : int
        Images reconstructed at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        As `reconstruct_linear`, with what `reconstruct_from_twin` adds.

    Raises
    ------
    InputError
        If a setting is out of range, the twin sees videos, rates are negative, or `responder`
        lacks a neuron or sees images of another size.

    References
    ----------
    Cobos et al. (2022), bioRxiv 2022.12.09.519708.

    """
    if n_image < 3 or n_repeat < 1:
        msg = (
            f"Reconstruction needs `n_image` of 3 or more and `n_repeat` of 1 or more, but they "
            f"are {n_image} and {n_repeat}."
        )
        raise InputError(msg)
    _check_images(twin.spec)
    job = job or Job()
    rng = np.random.default_rng(check_seed(seed))
    positions = chosen_positions(len(twin), neurons)
    spec = twin.spec
    images = draw_leaves(spec, n_image, seed)
    own = twin.neurons(positions)
    asked = own if responder is None else _same_neurons(own, responder)
    batches = (images[start : start + batch_size] for start in range(0, n_image, batch_size))
    rates = rates_of_batches(asked, batches, n_image, job.part(0.0, 0.05)).astype(np.float64)
    check_counts(rates)
    response = rng.poisson(rates * n_repeat) / n_repeat
    variance = np.broadcast_to(rates.mean(0) / n_repeat, rates.shape)
    result, settings = _invert(
        own, images, response, variance, rng,
        prior=prior, norm=norm, n_step=n_step, seed=seed, batch_size=batch_size,
        job=job.part(0.05, 1.0),
    )  # fmt: skip
    return make_result(
        result,
        experiment="reconstruction",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={
            "n_image": n_image,
            "n_repeat": n_repeat,
            "responder": asked.identity,
            **settings,
            **provenance(twin),
        },
        source="Cobos et al. (2022), bioRxiv 2022.12.09.519708",
    )


def reconstruct_from_twin(
    twin: ConditionedTwin,
    recording: xr.Dataset,
    neurons: Neurons = None,
    *,
    split: str = "test",
    prior: str = "natural",
    norm: float | None = None,
    n_step: int = 300,
    seed: int = 0,
    batch_size: int = 16,
    job: Job | None = None,
) -> xr.Dataset:
    """Reconstruct recorded images: those to which the twin would respond as the animal did.

    Repeats of an image are averaged; their scatter is the noise that `invert_responses` allows.

    Parameters
    ----------
    twin : ConditionedTwin
        Of images; not fitted to `split`.
    recording : xarray.Dataset
        With the twin's neurons and with repeats.
    neurons : sequence of int, optional
        Positions in the twin; all where absent.
    split : {"test", "validation", "train"}
    prior, norm, n_step
        See `invert_responses`.
    seed : int
        Of the shuffles and of where the descent starts.
    batch_size : int
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        As `reconstruct_linear`; and along `image` `response_correlation`, between the given
        responses and those predicted to the reconstruction (over neurons, each in units of its
        noise), `clipped_fraction` of pixels at the limits of what can be shown and `converged` (0
        where `n_step` was not enough).

    Raises
    ------
    InputError
        If the recording lacks a neuron or has no repeats, or a setting is out of range.

    References
    ----------
    Cobos et al. (2022), bioRxiv 2022.12.09.519708.

    """
    _check_images(twin.spec)
    rng = np.random.default_rng(check_seed(seed))
    positions = chosen_positions(len(twin), neurons)
    own = twin.neurons(positions)
    chosen = recording.isel(neuron=find_neurons(own.labels, recording, "The recording"))
    shown, response, variance = _average_repeats(chosen, split)
    if not np.isfinite(variance).all():
        msg = (
            f"No image of the split {split} is repeated; its noise is unknown. Use another split."
        )
        raise InputError(msg)
    twin.spec.check(chosen.stimulus[:1].values)
    images = chosen.stimulus.values[shown].astype(np.float32)
    result, settings = _invert(
        own, images, response, variance, rng,
        prior=prior, norm=norm, n_step=n_step, seed=seed, batch_size=batch_size, job=job or Job(),
    )  # fmt: skip
    return make_result(
        result.assign_coords(stimulus_index=("image", shown)),
        experiment="reconstruction",
        twin=twin.identity,
        recording=str(recording.attrs.get("fingerprint", "")),
        seed=seed,
        settings={"split": split, **settings, **provenance(twin)},
        source="Cobos et al. (2022), bioRxiv 2022.12.09.519708",
    )


def _same_neurons(twin: ConditionedTwin, responder: ConditionedTwin) -> ConditionedTwin:
    """The neurons of `twin`, as `responder` has them."""
    _check_images(responder.spec)
    if responder.spec.shape != twin.spec.shape:
        msg = (
            f"`responder` sees images of {responder.spec.shape}, but `twin` of {twin.spec.shape}."
        )
        raise InputError(msg)
    return responder.neurons(find_neurons(twin.labels, responder.labels, "`responder`"))


def _check_images(spec: StimulusSpec) -> None:
    if spec.is_video:
        msg = "This twin sees videos; reconstruction takes a twin of images."
        raise InputError(msg)


def _invert(
    twin: ConditionedTwin,
    images: np.ndarray,
    response: np.ndarray,
    variance: np.ndarray,
    rng: np.random.Generator,
    *,
    prior: str,
    norm: float | None,
    n_step: int,
    seed: int,
    batch_size: int,
    job: Job,
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Reconstruction of images from responses, labelled; and the settings it was made with."""
    spec = twin.spec
    used = np.asarray((variance > 0).all(0))  # a silent neuron says nothing, and divides by 0
    read, converged = invert_responses(
        twin, response, np.where(used, variance, np.inf),
        prior=prior, norm=norm, n_step=n_step, seed=seed, batch_size=batch_size, job=job,
    )  # fmt: skip
    starts = range(0, len(read), batch_size)
    answer = rates_of_batches(twin, (read[s : s + batch_size] for s in starts), len(read))
    noise = np.sqrt(np.where(used, variance, np.inf))
    margin = 1e-3 * spec.std
    clipped = ((read <= spec.low + margin) | (read >= spec.high - margin)).mean((1, 2, 3))
    result = _label(twin.labels, images, read, used, rng, twin.spec).assign(
        response_correlation=(
            "image",
            _correlate(answer / noise, response / noise),
            {"long_name": "correlation of given responses with those predicted", "units": "1"},
        ),
        clipped_fraction=(
            "image",
            clipped,
            {"long_name": "share of pixels at the limits of the display", "units": "1"},
        ),
        converged=(
            "image",
            converged.astype(np.int8),
            {"long_name": "1 where the descent ended before its last step", "units": "1"},
        ),
    )
    return result, {"prior": prior, "norm": norm, "n_step": n_step}


def _correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson correlation of each row of one with the same row of the other; NaN if flat."""
    return np.diagonal(_cross_correlate(first, second)).copy()


def _cross_correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson correlation of each row of one with each row of the other; NaN where flat."""
    unit = []
    for rows in (first, second):
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        flat = flat - flat.mean(1, keepdims=True)
        length = np.linalg.norm(flat, axis=1, keepdims=True)
        unit.append(flat / np.where(length > 1e-9 * np.abs(rows).max(), length, np.nan))
    return np.asarray(unit[0] @ unit[1].T)


def _compare_with_shuffles(
    every: np.ndarray, rng: np.random.Generator
) -> tuple[float, np.ndarray, float]:
    """Mean correlation of images and their own reconstructions, the same shuffled, and p.

    Of the images that are not flat and whose reconstructions are not: NaN where there are not two.
    Shuffles are any permutations, one's own place included; of few images, all there are.
    """
    usable = np.isfinite(np.diagonal(every))
    every = every[np.ix_(usable, usable)]
    n_image = len(every)
    own = float(np.diagonal(every).mean()) if n_image else np.nan
    if n_image < 2:
        return own, np.empty(0), np.nan
    row = np.arange(n_image)
    if n_image <= ENUMERATED:
        orders = np.array(list(permutations(row)))  # the first is the images as they are
    else:
        orders = np.array([row, *(rng.permutation(n_image) for _ in range(N_SHUFFLE))])
    shuffled = every[row, orders].mean(1)
    return own, shuffled[1:], float((shuffled >= own - 1e-12).mean())


def _ends(values: np.ndarray) -> np.ndarray:
    """Ends of the central 95 %, NaN of nothing."""
    ends = np.array([TAIL, 100 - TAIL])
    return np.percentile(values, ends) if len(values) else ends * np.nan


def _label(
    labels: xr.Dataset,
    original: np.ndarray,
    read: np.ndarray,
    used: np.ndarray,
    rng: np.random.Generator,
    spec: StimulusSpec | None = None,
) -> xr.Dataset:
    """Dataset of originals and reconstructions, with their correlations beside the null."""
    every = _cross_correlate(original, read)
    n_image = len(every)
    others = every[~np.eye(n_image, dtype=bool)].reshape(n_image, -1)
    own = np.diagonal(every)
    mean, shuffled, p = _compare_with_shuffles(every, rng)
    pixels, one = ("image", "channel", "y", "x"), {"units": "1"}
    return labels.assign(
        original=(pixels, original, picture_attrs(spec, "image shown")),
        reconstruction=(pixels, read, picture_attrs(spec, "reconstruction")),
        correlation=("image", own, {"long_name": "correlation of pixels with the original"} | one),
        null_interval=(
            ("image", "bound"),
            np.array([_ends(row[np.isfinite(row)]) for row in others]),
            {"long_name": "correlation with reconstructions of other images, 95 %"} | one,
        ),
        mean_correlation=((), mean, {"long_name": "mean correlation"} | one),
        mean_null_interval=(
            "bound",
            _ends(shuffled),
            {"long_name": "mean correlation after shuffling the images, 95 %"} | one,
        ),
        p_value=(
            (),
            p,
            {"long_name": "share of shuffles with as large a mean correlation"} | one,
        ),
        valid=(
            "neuron",
            used.astype(np.int8),
            {"long_name": "1 where the neuron was used", "units": "1"},
        ),
    ).assign_coords(bound=["lower", "upper"], **spatial_coordinates(*original.shape[2:]))
