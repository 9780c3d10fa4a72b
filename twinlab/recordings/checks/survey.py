"""What a recording holds, in numbers: one pass over its stimuli and one over its responses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import xarray as xr

from twinlab.jobs import Job
from twinlab.schema import stimulus_kind

__all__ = ["rows_of", "shrink", "survey_recording", "survey_responses"]

BLOCK_BYTES = 16 * 2**20  # dealt with at once
THUMBNAIL = 9  # pixels along a side, whatever the aspect: 8 differences to the right and down
N_FRAME = 4  # frames of a video of which there are thumbnails
OF_NEURONS = {
    "neuron_mean": "mean response",
    "neuron_std": "standard deviation of responses",
    "neuron_lowest": "smallest response",
    "neuron_highest": "largest response",
}


def survey_recording(recording: xr.Dataset, job: Job | None = None) -> xr.Dataset:
    """Summarise each stimulus, trial and neuron, block by block.

    Parameters
    ----------
    recording : xarray.Dataset
        As `schema.make_recording` builds it; stimuli and responses may be dask arrays, of which
        one chunk is held at a time, or 16 MB of smaller ones.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        Along `image` or `video`: `digest` of the pixels, `brightness` (their mean), `contrast`
        (their standard deviation), `lowest`, `highest`, `whole` (whether all are whole numbers),
        `n_missing` (pixels that are NaN) and `thumbnail` (..., thumbnail_frame, row, column).
        Along `trial`: `trial_response` (mean over neurons and frames), `trial_missing` (share
        that is NaN) and `trial_silent` (whether all that is given is 0). Along `neuron`:
        `neuron_given` (number of responses), `neuron_infinite` (how many more are infinite, which
        only a lazy recording may hold), `neuron_zero` (share that is 0), `neuron_mean`,
        `neuron_std`, `neuron_lowest`, `neuron_highest`, and of the training trials alone
        `train_mean` and `train_std`.

    """
    job = job or Job()
    kind = stimulus_kind(recording)
    stimuli = _survey_stimuli(recording.stimulus, job.part(0, 0.7, f"reading {kind}s"))
    responses = survey_responses(recording, job.part(0.7, 1, "reading responses"))
    frames = (kind, "thumbnail_frame", "row", "column")
    variables = {
        name: (frames[: values.ndim], values, {"units": units})
        for name, (values, units) in stimuli.items()
    }
    return xr.Dataset(variables).assign(responses)


def survey_responses(recording: xr.Dataset, job: Job | None = None) -> xr.Dataset:
    """Summarise the responses of each trial and neuron, block by block.

    Parameters
    ----------
    recording : xarray.Dataset
        See `survey_recording`; its stimuli are not read.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        The variables of `survey_recording` along `trial` and `neuron`.

    """
    trials, neurons = _survey_responses(recording, job or Job())
    found = xr.Dataset(
        {name: ("trial", values) for name, values in trials.items()}
        | {name: ("neuron", values) for name, values in neurons.items()}
    )
    units = str(recording.response.attrs.get("units", ""))
    for name, label in OF_NEURONS.items():
        found[name].attrs = {"long_name": label, "units": units}
    found.neuron_zero.attrs = {"long_name": "share of zero responses", "units": "1"}
    return found


def rows_of(variable: xr.DataArray, job: Job) -> Iterator[tuple[slice, np.ndarray]]:
    """Read a variable along its first dimension, some rows at a time, whole chunks of a lazy one.

    Yields
    ------
    slice, ndarray
        Where the rows lie, and their values.

    """
    n = variable.shape[0]
    size = max(BLOCK_BYTES // max(variable.nbytes // max(n, 1), 1), 1)
    chunk = max(variable.chunks[0]) if variable.chunks else 1
    read = max(size // chunk, 1) * chunk
    for start in range(0, n, read):
        rows = variable[start : start + read].values
        for first in range(0, len(rows), size):
            job.report((start + first) / n)
            some = rows[first : first + size]
            yield slice(start + first, start + first + len(some)), some


def shrink(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Average the pixels of images (..., y, x) below a grid of `height` x `width` boxes."""
    rows = _boxes(images.shape[-2], height)
    columns = _boxes(images.shape[-1], width)
    return rows @ images.astype(np.float32) @ columns.T


def _boxes(n: int, n_box: int) -> np.ndarray:
    """Share of each of `n` pixels in the mean of each of `n_box` boxes, (n_box, n)."""
    edges = np.linspace(0, n, n_box + 1)
    low = np.maximum(edges[:-1, None], np.arange(n))
    high = np.minimum(edges[1:, None], np.arange(1, n + 1))
    return (np.maximum(high - low, 0) * n_box / n).astype(np.float32)


def _survey_stimuli(stimulus: xr.DataArray, job: Job) -> dict[str, tuple[np.ndarray, str]]:
    units = str(stimulus.attrs.get("units", ""))
    n, floating = stimulus.shape[0], stimulus.dtype.kind == "f"
    n_frame = min(N_FRAME, stimulus.shape[2]) if stimulus.ndim == 5 else 1
    digest = np.empty(n, "<U16")
    brightness, contrast, lowest, highest = (np.full(n, np.nan, np.float32) for _ in range(4))
    whole, n_missing = np.ones(n, bool), np.zeros(n, int)
    thumbnail = np.empty((n, n_frame, THUMBNAIL, THUMBNAIL), np.float32)
    for rows, pixels in rows_of(stimulus, job):
        for number, one in enumerate(pixels, start=rows.start):
            job.report(number / n)
            digest[number] = hashlib.sha256(np.ascontiguousarray(one).data).hexdigest()[:16]
            given = one[~np.isnan(one)] if floating else one
            n_missing[number] = one.size - given.size
            if given.size:
                brightness[number] = given.mean(dtype=np.float64)
                contrast[number] = given.std(dtype=np.float64)
                lowest[number], highest[number] = given.min(), given.max()
                whole[number] = not floating or bool((given == np.round(given)).all())
            grey = one[:, _spread(one.shape[1], n_frame)] if one.ndim == 4 else one[:, None]
            thumbnail[number] = shrink(grey.mean(axis=0), THUMBNAIL, THUMBNAIL)
    return {
        "digest": (digest, "SHA-256, first 16 hex digits"),
        "brightness": (brightness, units),
        "contrast": (contrast, units),
        "lowest": (lowest, units),
        "highest": (highest, units),
        "whole": (whole, "1"),
        "n_missing": (n_missing, "pixel"),
        "thumbnail": (thumbnail, units),
    }


def _spread(n: int, n_shown: int) -> np.ndarray:
    """Positions of `n_shown` of `n`, in the middle of equal parts."""
    return ((np.arange(n_shown) + 0.5) * n / n_shown).astype(int)


def _survey_responses(
    recording: xr.Dataset, job: Job
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Numbers of each trial and of each neuron; those of training trials are kept apart."""
    n_trial, n_neuron = recording.sizes["trial"], recording.sizes["neuron"]
    train = recording.split.values == "train"
    mean, missing = np.full(n_trial, np.nan), np.zeros(n_trial)
    silent, zero = np.zeros(n_trial, bool), np.zeros(n_neuron)
    infinite = np.zeros(n_neuron, int)
    lowest, highest = np.full(n_neuron, np.inf), np.full(n_neuron, -np.inf)
    count, total, square = (np.zeros((2, n_neuron)) for _ in range(3))  # other trials, training
    centre: np.ndarray | None = None  # sums of squares about zero would lose digits
    for rows, block in rows_of(recording.response, job):
        values = block.reshape(len(block), n_neuron, -1).astype(np.float64)
        given = np.isfinite(values)  # infinite ones are a fault of their own
        infinite += np.isinf(values).sum(axis=(0, 2))
        n_given = given.sum(axis=(1, 2))
        filled = np.where(given, values, 0)
        mean[rows] = filled.sum(axis=(1, 2)) / np.where(n_given, n_given, np.nan)
        missing[rows] = 1 - n_given / values[0].size
        silent[rows] = (n_given > 0) & ~filled.any(axis=(1, 2))
        zero += (values == 0).sum(axis=(0, 2))
        lowest = np.minimum(lowest, np.where(given, values, np.inf).min(axis=(0, 2)))
        highest = np.maximum(highest, np.where(given, values, -np.inf).max(axis=(0, 2)))
        if centre is None:
            centre = filled.sum(axis=(0, 2)) / np.maximum(given.sum(axis=(0, 2)), 1)
        deviation = np.where(given, values - centre[:, None], 0)
        for group in (0, 1):
            of_group = train[rows] == bool(group)
            count[group] += given[of_group].sum(axis=(0, 2))
            total[group] += deviation[of_group].sum(axis=(0, 2))
            square[group] += (deviation[of_group] ** 2).sum(axis=(0, 2))

    def moments(n: np.ndarray, first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
        n = np.where(n > 0, n, np.nan)
        variance = np.maximum(second / n - (first / n) ** 2, 0)
        return [(centre if centre is not None else 0) + first / n, np.sqrt(variance)]

    given_at_all = count.sum(axis=0) > 0
    every = moments(count.sum(axis=0), total.sum(axis=0), square.sum(axis=0))
    training = moments(count[1], total[1], square[1])
    trials = {"trial_response": mean, "trial_missing": missing, "trial_silent": silent}
    neurons = {
        "neuron_given": count.sum(axis=0).astype(int),
        "neuron_infinite": infinite,
        "neuron_zero": zero / np.where(given_at_all, count.sum(axis=0), np.nan),
        "neuron_mean": every[0],
        "neuron_std": every[1],
        "neuron_lowest": np.where(given_at_all, lowest, np.nan),
        "neuron_highest": np.where(given_at_all, highest, np.nan),
        "train_mean": training[0],
        "train_std": training[1],
    }
    return trials, neurons
