"""Scores of a prediction, labelled by neuron, with ceilings and intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from twinlab.evaluation.frames import FORM, frame_images, kept_frames, unroll
from twinlab.evaluation.measures import (
    MEASURES,
    TABLES,
    ImageSums,
    correlation_to_average,
    image_sums,
)
from twinlab.jobs import Job
from twinlab.schema import (
    DIMENSIONS,
    InputError,
    check_seed,
    make_result,
    stimulus_kind,
    validate_recording,
)

__all__ = ["score_prediction", "score_truth"]

CADENA = "Cadena et al. (2019), PLOS Computational Biology 15(4): e1006897"
SCHOPPE = "Schoppe et al. (2016), Frontiers in Computational Neuroscience 10: 10"
SENSORIUM = "Willeke et al. (2022), arXiv:2206.08666"
LURZ = "Lurz et al. (2021), Generalization in data-driven models of primary visual cortex, ICLR"

# Name: (long name, definition).
LABELS = {
    "single_trial_correlation": (
        "single-trial correlation",
        f"Pearson correlation of response and prediction over trials. {SENSORIUM}",
    ),
    "correlation_to_average": (
        "correlation to average",
        "Pearson correlation over images of response and prediction, each averaged over "
        f"repeats. {SENSORIUM}",
    ),
    "oracle_correlation": (
        "oracle correlation",
        "Pearson correlation over trials of the response and the mean of the other repeats of "
        f"its image; images shown once left out. {LURZ}",
    ),
    "explainable_variance": (
        "explainable variance",
        "(total variance over trials - mean over images of the variance over repeats) / total "
        f"variance, of images shown at least twice. {CADENA}",
    ),
    "feve": (
        "fraction of explainable variance explained",
        "1 - (squared error over trials - noise variance) / (total variance - noise variance), "
        f"of images shown at least twice; NaN where the noise is the larger. {CADENA}",
    ),
    "cc_norm": (
        "normalised correlation",
        "covariance of mean response and mean prediction / sqrt(variance of mean prediction x "
        f"signal power), over images shown at least twice; NaN without signal power. {SCHOPPE}",
    ),
    "cc_max": (
        "ceiling of the correlation to average",
        "sqrt(signal power / variance of the mean response), over images shown at least twice; "
        f"NaN without signal power. {SCHOPPE}",
    ),
}
# These divide by the signal's variance: a few neurons with next to none would decide the mean.
RATIOS_TO_SIGNAL = ("feve", "cc_norm")


def score_prediction(
    recording: xr.Dataset,
    prediction: xr.DataArray,
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    min_explainable_variance: float = 0.15,
    skip: int = 50,
    seed: int = 0,
    job: Job | None = None,
) -> xr.Dataset:
    """Score the predicted responses of each neuron, beside what could be reached at all.

    The trials scored are the prediction's own. Intervals are percentiles over resamples of
    the images (with replacement, the same for all neurons), moved by the difference between
    the score and the resamples' mean: a resample holds images twice, which biases ceilings by
    more than the mean over many neurons is uncertain. They say what other images would have
    given, not other neurons. Missing responses are left out, per neuron.

    Responses to videos are scored as `unroll_frames` unrolls them: the frames of all trials
    are concatenated and each frame of a video counts as an image. Frames that follow one
    another are alike, so that whole videos are resampled.

    Parameters
    ----------
    recording : xarray.Dataset
        What was recorded; see `schema.make_recording`.
    prediction : xarray.DataArray
        Predicted response (trial, neuron), or (trial, neuron, frame) to videos, in the units
        of the recording's response, to all or some of its trials and with all of its neurons,
        in any order; matched by the coordinates the two share.
    n_bootstrap : int
        Resamples behind each interval; with 0 all intervals are NaN.
    confidence : float
        Share of resamples inside an interval, between 0 and 1.
    min_explainable_variance : float
        Neurons with less do not enter `mean_feve` and `mean_cc_norm`, where they would
        drown the others; their own scores are kept. 0.15 is the Sensorium competition's.
    skip : int
        First frames of each video to leave out; images have none. 50 is the Sensorium
        competition's.
    seed : int
        Of the resamples.
    job : Job, optional
        Hears of progress; cancelling leaves nothing behind.

    Returns
    -------
    xarray.Dataset
        Along `neuron`: `single_trial_correlation`, `correlation_to_average`,
        `oracle_correlation`, `explainable_variance`, `feve`, `cc_norm`, `cc_max`, each with its
        `<name>_interval` (neuron, bound) and scalars `mean_<name>`, `mean_<name>_interval`
        (bound) and `n_defined_<name>` (the neurons in the mean); `n_trial` and
        `n_repeated_image` count what a neuron's scores rest on, which for videos are frames.
        Undefined is NaN: what needs repeats where no image is repeated, or an interval where
        more than ``1 - confidence`` of the resamples are undefined.

    Raises
    ------
    InputError
        If `recording` is not one, the prediction's neurons or trials are not the recording's,
        a prediction is not finite, every response scored is missing, or a setting is out of
        range.

    """
    if n_bootstrap < 0 or not 0 < confidence < 1:
        msg = (
            "`n_bootstrap` must be at least 0 and `confidence` between 0 and 1, but got "
            f"{n_bootstrap} and {confidence}."
        )
        raise InputError(msg)
    job = job or Job()
    validate_recording(recording)
    kind = stimulus_kind(recording)
    trial, predicted = _matched(recording, prediction, DIMENSIONS[kind]["response"])
    recorded = recording.isel(trial=trial)
    response = recorded.response.values
    if kind == "video":
        _check_frames(response, predicted)
    splits = sorted(set(recorded.split.values.astype(str).tolist()))
    if np.isnan(response).all():
        msg = (
            f"All {len(response)} responses scored (split {splits}) are missing from the "
            "recording; score trials whose responses are not withheld."
        )
        raise InputError(msg)

    image = np.unique(recorded.stimulus_index.values, return_inverse=True)[1]
    weights = _image_weights(image.max() + 1, n_bootstrap, seed)
    settings: dict[str, Any] = {}
    if kind == "video":
        image = frame_images(image, kept_frames(response.shape[-1], skip))
        settings = {"skip": skip, "form": FORM}
    blocks = []
    for block in _blocks(response.shape[1], max(weights.size, 20 * len(image))):
        job.report(block.start / response.shape[1], f"scoring and resampling {kind}s")
        part = response[:, block], predicted[:, block]
        if kind == "video":
            part = unroll(part[0], skip), unroll(part[1], skip)
        sums = image_sums(*part, image)
        blocks.append(_score_block(sums, weights, confidence, min_explainable_variance))
    job.report(1.0, "scored")

    return make_result(
        xr.Dataset(
            _variables(blocks, confidence, min_explainable_variance, kind),
            neuron_coords(recording) | {"bound": ["lower", "upper"]},
        ),
        experiment="score",
        twin=str(prediction.attrs.get("twin", "")),
        recording=str(recording.attrs.get("fingerprint", "")),
        seed=seed,
        settings={
            "split": splits,
            "n_bootstrap": n_bootstrap,
            "confidence": confidence,
            "min_explainable_variance": min_explainable_variance,
            **settings,
        },
        source="; ".join((CADENA, SCHOPPE, SENSORIUM, LURZ)),
    )


def score_truth(
    true_rate: xr.DataArray, prediction: xr.DataArray, *, skip: int = 50
) -> xr.DataArray:
    """Correlation of a prediction with the noise-free rate, where that is known.

    Parameters
    ----------
    true_rate : xarray.DataArray
        Noise-free rate (image, neuron) or (trial, neuron), as a simulated recording has it;
        of videos (video, neuron, frame) or (trial, neuron, frame).
    prediction : xarray.DataArray
        Predicted response (trial, neuron[, frame]), matched by coordinate. Against the rate
        for each image, or video, it is averaged over the trials of each, and only those it has
        are compared.
    skip : int
        First frames of each video to leave out, as in `score_prediction`; images have none.

    Returns
    -------
    xarray.DataArray
        `truth_correlation` (neuron), with the coordinates of `true_rate`. NaN where either is
        constant.

    Raises
    ------
    InputError
        If the dimensions are others, the neurons differ, trials or images are not those of
        `true_rate`, or `skip` leaves no frame.

    """
    dims = ("trial", "neuron", "frame") if "frame" in true_rate.dims else ("trial", "neuron")
    stimulus = "video" if "frame" in dims else "image"
    first = "trial" if "trial" in true_rate.dims else stimulus
    if set(true_rate.dims) != {first, *dims[1:]}:
        msg = (
            "`true_rate` must be (image, neuron) or (trial, neuron), or of videos (video, neuron, "
            f"frame) or (trial, neuron, frame), but has {true_rate.dims}."
        )
        raise InputError(msg)
    if first == "trial":
        trial, predicted = _matched(true_rate, prediction, dims)
        shown, image = np.array(trial), np.arange(len(trial))
    else:
        _check_prediction(prediction, dims)
        neuron = _neuron_positions(true_rate, prediction)
        predicted = prediction.transpose(*dims).values[:, neuron]
        shown = image = _image_positions(true_rate, prediction, stimulus)
    true = true_rate.transpose(first, *dims[1:]).values[shown]
    form = {}
    if stimulus == "video":
        _check_frames(true, predicted)
        image = frame_images(image, kept_frames(true.shape[-1], skip))
        true, predicted = unroll(true, skip), unroll(predicted, skip)
        form = {"skip": skip, "form": FORM}
    correlation = correlation_to_average(true, predicted, image)
    return xr.DataArray(
        correlation,
        neuron_coords(true_rate),
        "neuron",
        "truth_correlation",
        {
            "long_name": "correlation with the noise-free rate",
            "units": "1",
            "definition": "Pearson correlation of the prediction with the rate the simulated "
            "neuron has without trial-to-trial noise",
            **form,
        },
    )


# ---- resampling ----


class _Block(NamedTuple):
    """Scores of some neurons, and what they add to the population's means."""

    score: np.ndarray  # (n_measure, n_neuron)
    interval: np.ndarray  # (n_measure, n_neuron, 2)
    total: np.ndarray  # (n_measure, 1 + n_bootstrap), over the neurons in the mean
    n_defined: np.ndarray  # (n_measure, 1 + n_bootstrap)
    n_trial: np.ndarray  # (n_neuron,)
    n_repeated_image: np.ndarray  # (n_neuron,)


def _image_weights(n_image: int, n_bootstrap: int, seed: int) -> np.ndarray:
    """How often each resample draws each image or video; row 0 is the recording, each once."""
    weights = np.ones((1 + n_bootstrap, n_image))
    weights[1:] = np.random.default_rng(check_seed(seed)).multinomial(
        n_image, np.full(n_image, 1 / n_image), size=n_bootstrap
    )
    return weights


def _score_block(
    sums: ImageSums, weights: np.ndarray, confidence: float, min_explainable_variance: float
) -> _Block:
    columns = {name: _resampled(table(sums), weights) for name, table in TABLES.items()}
    with np.errstate(invalid="ignore", divide="ignore"):
        # (n_measure, 1 + n_bootstrap, n_neuron)
        values = np.stack([measure.read(columns[measure.table]) for measure in MEASURES.values()])
    score = values[:, 0]
    # The recording decides which neurons are in a mean, so all resamples ask the same ones.
    reliable = score[list(MEASURES).index("explainable_variance")] >= min_explainable_variance
    ratio = np.array([name in RATIOS_TO_SIGNAL for name in MEASURES])
    meant = ~np.isnan(score) & (reliable | ~ratio[:, None])
    averaged = np.where(meant[:, None], values, np.nan)
    return _Block(
        score,
        _interval(values[:, 1:], score, confidence),
        np.nansum(averaged, axis=-1),
        (~np.isnan(averaged)).sum(axis=-1),
        sums.n.sum(axis=0).astype(int),
        (sums.n >= 2).sum(axis=0),
    )


def _resampled(table: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Columns summed over the images of each resample, (n_column, 1 + n_bootstrap, n_neuron).

    Of videos, `weights` are of the videos and the frames of one are drawn together.
    """
    if not table.any():  # nothing was repeated
        return np.zeros((len(table), len(weights), table.shape[-1]))
    table = table.reshape(len(table), weights.shape[1], -1, table.shape[-1]).sum(axis=2)
    return np.moveaxis(np.tensordot(weights, table, axes=(1, 1)), 0, 1)


def _interval(values: np.ndarray, estimate: np.ndarray, confidence: float) -> np.ndarray:
    """Central interval over resamples around an estimate, (..., n_resample, n) to (..., n, 2).

    Its width is the resamples'; their bias, the distance of their mean from the estimate
    (..., n), is taken off.

    A resample where the score is undefined could lie anywhere: where there are more of them
    than may lie outside the interval, there is no interval.
    """
    n_resample = values.shape[-2]
    if n_resample == 0:
        return np.full((*values.shape[:-2], values.shape[-1], 2), np.nan)
    defined = (~np.isnan(values)).sum(axis=-2, keepdims=True)
    ascending = np.sort(values, axis=-2)  # NaN last
    tails = np.array([[0.5 - confidence / 2], [0.5 + confidence / 2]])
    position = tails * np.maximum(defined - 1, 0)  # (..., 2, n)
    below = position.astype(int)
    above = np.minimum(below + 1, np.maximum(defined - 1, 0))
    low = np.take_along_axis(ascending, below, axis=-2)
    high = np.take_along_axis(ascending, above, axis=-2)
    mean = np.nansum(values, axis=-2, keepdims=True) / np.maximum(defined, 1)
    bounds = low + (position - below) * (high - low) - mean + estimate[..., None, :]
    enough = defined >= confidence * n_resample
    return np.swapaxes(np.where(enough, bounds, np.nan), -1, -2)


def _blocks(n_neuron: int, n_weight: int) -> Iterator[slice]:
    """Slices of neurons that each take under 100 ms and a bounded memory."""
    size = int(np.clip(2.5e6 / n_weight, 4, 64))
    for start in range(0, n_neuron, size):
        yield slice(start, min(start + size, n_neuron))


def _variables(
    blocks: list[_Block], confidence: float, min_explainable_variance: float, kind: str
) -> dict[str, xr.Variable]:
    """Scores, intervals and population means, with what each of them is."""
    score = np.concatenate([block.score for block in blocks], axis=1)
    interval = np.concatenate([block.interval for block in blocks], axis=1)
    count = np.sum([block.n_defined for block in blocks], axis=0)
    total = np.sum([block.total for block in blocks], axis=0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    mean_interval = _interval(mean[:, 1:, None], mean[:, :1], confidence)[:, 0]  # (n_measure, 2)

    between = f"{100 * confidence:g} % interval over {kind}s"
    of_frames = f" Of {FORM}." if kind == "video" else ""
    variables = {}
    for row, name in enumerate(MEASURES):
        label, definition = LABELS[name][0], LABELS[name][1] + of_frames
        over = "neurons where it is defined"
        if name in RATIOS_TO_SIGNAL:
            over = f"neurons with explainable variance of at least {min_explainable_variance:g}"
        of_one = {"units": "1", "definition": definition}
        of_mean = {"units": "1", "definition": f"mean over {over}: {definition}"}
        for key, dims, values, attrs, long_name in (
            ("{}", "neuron", score[row], of_one, label),
            ("{}_interval", ("neuron", "bound"), interval[row], of_one, f"{label}, {between}"),
            ("mean_{}", (), mean[row, 0], of_mean, f"mean {label}"),
            ("mean_{}_interval", "bound", mean_interval[row], of_mean, f"mean {label}, {between}"),
            ("n_defined_{}", (), count[row, 0], {"units": "1"}, f"{over}: {label}"),
        ):
            attrs = attrs | {"long_name": long_name}
            variables[key.format(name)] = xr.Variable(dims, values, attrs)
    trials, images = ("frames of trials", "frames") if kind == "video" else ("trials", "images")
    for key, long_name in (
        ("n_trial", f"{trials} with a response"),
        ("n_repeated_image", f"{images} with at least two responses"),
    ):
        values = np.concatenate([getattr(block, key) for block in blocks])
        variables[key] = xr.Variable("neuron", values, {"long_name": long_name, "units": "1"})
    return variables


# ---- matching by coordinate ----


def _matched(
    recorded: xr.Dataset | xr.DataArray, prediction: xr.DataArray, dims: tuple[str, ...]
) -> tuple[list[int], np.ndarray]:
    """Positions of the predicted trials in `recorded`, and the prediction of its neurons."""
    _check_prediction(prediction, dims)
    neuron = _neuron_positions(recorded, prediction)
    trial = _trial_positions(recorded, prediction)
    return trial, prediction.transpose(*dims).values[:, neuron]


def _check_frames(recorded: np.ndarray, predicted: np.ndarray) -> None:
    if recorded.shape[-1] != predicted.shape[-1]:
        msg = (
            f"`prediction` has {predicted.shape[-1]} frames and what it is compared with "
            f"{recorded.shape[-1]}; predict the videos of this recording, whole."
        )
        raise InputError(msg)


def _check_prediction(prediction: xr.DataArray, dims: tuple[str, ...]) -> None:
    if not isinstance(prediction, xr.DataArray) or set(prediction.dims) != set(dims):
        found = getattr(prediction, "dims", type(prediction).__name__)
        msg = (
            f"`prediction` must be a DataArray ({', '.join(dims)}), but got {found}; "
            "`twins.predict_responses` makes one."
        )
        raise InputError(msg)
    if not prediction.sizes["trial"]:
        msg = "`prediction` has no trials; predict a split the recording has."
        raise InputError(msg)
    broken = np.argwhere(~np.isfinite(prediction.transpose(*dims).values))
    if len(broken):
        msg = (
            f"`prediction` is not finite at {len(broken)} places, first at ({', '.join(dims)}) "
            f"{tuple(map(int, broken[0]))}; a twin that diverged cannot be scored."
        )
        raise InputError(msg)


def _keys(labelled: xr.Dataset | xr.DataArray, names: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(labelled[name].values.astype(str).tolist() for name in names), strict=True))


def _shared(
    a: xr.Dataset | xr.DataArray, b: xr.Dataset | xr.DataArray, dimension: str
) -> list[str]:
    """Names of the coordinates along `dimension` that both have."""
    return [
        str(name)
        for name in a.coords
        if name in b.coords and a[name].dims == b[name].dims == (dimension,)
    ]


def _neuron_positions(recorded: xr.Dataset | xr.DataArray, prediction: xr.DataArray) -> list[int]:
    """Where in the prediction each recorded neuron is."""
    shared = _shared(recorded, prediction, "neuron")
    names = [name for name in ("session", "neuron_id") if name in shared]
    if "neuron_id" not in names:
        msg = (
            "`prediction` and what it is compared with must both have the coordinate `neuron_id` "
            f"along `neuron`, but share only {shared}; keep the recording's coordinates."
        )
        raise InputError(msg)
    asked, given = _keys(recorded, names), _keys(prediction, names)
    position = {key: index for index, key in enumerate(given)}
    lacking, unknown = set(asked) - set(given), set(given) - set(asked)
    if lacking or unknown or len(asked) != len(given):
        example = sorted(lacking or unknown or set(given))[0]
        msg = (
            f"`prediction` has {len(given)} neurons and the recording {len(asked)}: "
            f"{len(lacking)} are not predicted and {len(unknown)} are not recorded, first "
            f"{tuple(names)} = {example}; give both the same neurons, each once."
        )
        raise InputError(msg)
    return [position[key] for key in asked]


def _trial_positions(recorded: xr.Dataset | xr.DataArray, prediction: xr.DataArray) -> list[int]:
    """Where in the recording each predicted trial is.

    Trials with equal coordinates are repeats and are taken in the order they stand in, which
    is only safe where the prediction has all of them.
    """
    names = _shared(recorded, prediction, "trial")
    if not {"image_id", "stimulus_index"} & set(names):
        msg = (
            "`prediction` and what it is compared with must both name the image of each trial "
            f"(`image_id` or `stimulus_index`), but share only {names} along `trial`; keep the "
            "recording's coordinates."
        )
        raise InputError(msg)
    recorded_keys, given = _keys(recorded, names), _keys(prediction, names)
    places: dict[tuple[str, ...], list[int]] = {}
    for index, key in enumerate(recorded_keys):
        places.setdefault(key, []).append(index)
    asked = Counter(given)
    unknown = [key for key, count in asked.items() if count > len(places.get(key, ()))]
    if unknown:
        msg = (
            f"`prediction` has {len(unknown)} kinds of trials more often than the recording, "
            f"first {tuple(names)} = {unknown[0]}; predict the trials of this recording, "
            "each once."
        )
        raise InputError(msg)
    partial = [key for key, count in asked.items() if count < len(places[key])]
    if partial:
        msg = (
            f"`prediction` has {asked[partial[0]]} of the {len(places[partial[0]])} repeats with "
            f"{tuple(names)} = {partial[0]}, and nothing tells which; give `trial` a coordinate "
            "that differs between repeats, such as `presentation_order`, or predict them all."
        )
        raise InputError(msg)
    order = {key: iter(where) for key, where in places.items()}
    return [next(order[key]) for key in given]


def _image_positions(
    true_rate: xr.DataArray, prediction: xr.DataArray, stimulus: str
) -> np.ndarray:
    """Which image or video of `true_rate` each predicted trial showed."""
    n_image = true_rate.sizes[stimulus]
    if "stimulus_index" not in prediction.coords:
        msg = (
            "`prediction` must have the coordinate `stimulus_index` along `trial` to be compared "
            f"with the rate for each {stimulus}; keep the recording's coordinates."
        )
        raise InputError(msg)
    image = prediction.stimulus_index.values
    if image.min() < 0 or image.max() >= n_image:
        msg = (
            f"`stimulus_index` of `prediction` runs from {image.min()} to {image.max()}, but "
            f"`true_rate` has {n_image} {stimulus}s; take both from one recording."
        )
        raise InputError(msg)
    return image


def neuron_coords(labelled: xr.Dataset | xr.DataArray) -> dict[str, xr.Variable]:
    return {
        str(name): coord.variable
        for name, coord in labelled.coords.items()
        if coord.dims == ("neuron",)
    }
