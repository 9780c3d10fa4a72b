"""Plain arrays -> a recording: what every reader of arrays, and a user with her own, needs."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from twinlab.recordings.drawing import FRACTIONS, draw_split
from twinlab.recordings.pixels import are_grey_levels
from twinlab.recordings.reading import Notes, Reading
from twinlab.schema import SPLITS, InputError, make_recording

__all__ = ["as_float32", "from_arrays", "read_arrays", "whole_numbers"]


def from_arrays(
    stimulus: Any,
    response: Any,
    *,
    stimulus_index: Any = None,
    image_id: Any = None,
    split: Any = None,
    fractions: Sequence[float] = FRACTIONS,
    group: Any = None,
    seed: int = 0,
    frame_rate: float | None = None,
    behavior: Any = None,
    behavior_channel: Sequence[str] = (),
    pupil_center: Any = None,
    position_um: Any = None,
    neuron: Mapping[str, Any] | None = None,
    image: Mapping[str, Any] | None = None,
    trial: Mapping[str, Any] | None = None,
    session: str = "session",
    recording_id: str = "arrays",
    response_units: str = "a.u.",
    stimulus_units: str = "grey level",
    **attrs: Any,
) -> xr.Dataset:
    """Make a recording of one's own arrays.

    Parameters
    ----------
    stimulus : array of shape (n_image, y, x) or (n_image, channel, y, x)
        Videos have shape (n_video, frame, y, x) or (n_video, channel, frame, y, x), and
        `frame_rate`. Kept as `uint8` where that loses nothing, as `float32` otherwise.
    response : array of shape (n_trial, n_neuron) or (n_repeat, n_image, n_neuron)
        With a last axis of frames for videos. NaN where a neuron was not recorded; a repeat
        of an image that is NaN in all neurons is padding and makes no trial.
    stimulus_index : array of shape (n_trial,), optional
        Which image each trial showed, from 0. Needed for (n_trial, n_neuron), unless trial i
        showed image i.
    image_id : array of shape (n_image,), optional
        Name of each image; its number by default. Images of equal pixels are kept once, under
        the first name, and count as repeats of one image.
    split : array of shape (n_image,), optional
        `train`, `validation` or `test`. By default images are drawn at random, so that all
        trials of an image are in one split; the test images come from those shown at least
        twice, as far as there are any, because a noise ceiling needs repeats.
    fractions : sequence of 3 numbers, default=(0.8, 0.1, 0.1)
        Share of the images drawn for training, validation and test.
    group : array of shape (n_image,), optional
        Images of one group are drawn into the same split: frames of one film, crops of one
        photograph.
    seed : int, default=0
        Seed of the draw.
    frame_rate : float, optional
        Frames a second; makes the stimuli videos.
    behavior : array of shape (n_trial or n_repeat x n_image, n_channel[, n_frame]), optional
        First axes as those of `response`, its channels named by `behavior_channel`.
    behavior_channel : sequence of str
    pupil_center : array of shape (n_trial or n_repeat x n_image, 2[, n_frame]), optional
        Horizontal and vertical position.
    position_um : array of shape (n_neuron, 2 or 3), optional
        Where each neuron lies, in micrometres: x, y and depth.
    neuron : mapping of str to array of shape (n_neuron,), optional
        More that is known of neurons, e.g. `neuron_id` (their number by default), `area`.
    image : mapping of str to array of shape (n_image,), optional
        More that is known of images; each trial carries that of the image it showed.
    trial : mapping of str to array of shape (n_trial,) or (n_repeat, n_image), optional
        More that is known of trials.
    session, recording_id : str
        What the session and the recording are called.
    response_units, stimulus_units : str
        Units of the two, in words.
    **attrs
        `species`, `source`, `license` and whatever else is known.

    Returns
    -------
    xarray.Dataset
        As `twinlab.schema` describes it; its attribute `split_source` says how it was split.

    Raises
    ------
    InputError
        Naming the first array that does not fit the others.

    Warns
    -----
    UserWarning
        If images of equal pixels are given to different splits.

    Examples
    --------
    Twenty images shown 3 times to 4 neurons:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> recording = from_arrays(rng.integers(0, 256, (20, 8, 8)), rng.poisson(2, (3, 20, 4)))
    >>> recording.sizes["trial"], recording.attrs["split_source"]
    (60, 'drawn by image with seed 0: 80 % train, 10 % validation, 10 % test')

    """
    reading = read_arrays(
        stimulus,
        response,
        stimulus_index=stimulus_index,
        image_id=image_id,
        split=split,
        fractions=fractions,
        group=group,
        seed=seed,
        frame_rate=frame_rate,
        behavior=behavior,
        behavior_channel=behavior_channel,
        pupil_center=pupil_center,
        position_um=position_um,
        neuron=neuron,
        image=image,
        trial=trial,
        session=session,
        recording_id=recording_id,
        response_units=response_units,
        stimulus_units=stimulus_units,
        **attrs,
    )
    for caution in reading.cautions.lines():
        warnings.warn(f"{caution}; silence with warnings.filterwarnings.", stacklevel=2)
    return make_recording(**reading.parts)


def read_arrays(
    stimulus: Any,
    response: Any,
    *,
    stimulus_index: Any = None,
    image_id: Any = None,
    split: Any = None,
    fractions: Sequence[float] = FRACTIONS,
    group: Any = None,
    seed: int = 0,
    frame_rate: float | None = None,
    behavior: Any = None,
    behavior_channel: Sequence[str] = (),
    pupil_center: Any = None,
    position_um: Any = None,
    neuron: Mapping[str, Any] | None = None,
    image: Mapping[str, Any] | None = None,
    trial: Mapping[str, Any] | None = None,
    session: str = "session",
    **attrs: Any,
) -> Reading:
    """Do what `from_arrays` does, for a reader of a layout: parts and cautions, no Dataset."""
    pixels = _as_stimulus(stimulus, frame_rate)
    n_image, is_video = len(pixels), pixels.ndim == 5
    rates = _numbers("response", response)
    lead = _leading_axes(rates, n_image, is_video)
    n_neuron = rates.shape[len(lead)]
    rows = rates.reshape(-1, *rates.shape[len(lead) :])
    index = _as_index(stimulus_index, lead, n_image)
    if len(lead) == 2:
        shown = ~np.isnan(rows).all(axis=tuple(range(1, rows.ndim)))
    else:
        shown = np.ones(len(rows), bool)
    if not shown.any():
        msg = "`response` has no trial: it is empty or NaN throughout; expected numbers."
        raise InputError(msg)

    ids = _values("image_id", np.arange(n_image) if image_id is None else image_id, n_image)
    known = {name: _values(f"image['{name}']", it, n_image) for name, it in (image or {}).items()}
    digests = [hashlib.sha256(np.ascontiguousarray(one).data).digest() for one in pixels]
    cautions = Notes()
    if split is None:
        kept, same = _merge(digests)
        split_of = draw_split(
            np.bincount(same[index[shown]], minlength=len(kept)),
            None if group is None else _values("group", group, n_image)[kept],
            fractions,
            seed,
        )
        shares = ", ".join(
            f"{100 * share:.3g} % {name}" for share, name in zip(fractions, SPLITS, strict=True)
        )
        attrs["split_source"] = f"drawn by image with seed {seed}: {shares}"
    else:
        given = _as_split(split, n_image)
        kept, same = _merge(list(zip(digests, given.tolist(), strict=True)))
        split_of = given[kept]
        _note_shared([digests[image] for image in kept], ids[kept], split_of, cautions)
        attrs.setdefault("split_source", "given")
    if len(kept) < n_image:
        pixels = pixels[kept]
        attrs["duplicate_images"] = (
            f"{n_image - len(kept)} images have the pixels of another and count as its repeats"
        )
    given_index = index[shown]
    ids, index = ids[kept], same[given_index]
    repeated, count = np.unique(ids, return_counts=True)
    if (count > 1).any():
        which = repeated[count > 1][0]
        msg = (
            f"`image_id` names {count.max()} images {which}; expected a name of its own for each "
            "image of other pixels or another split."
        )
        raise InputError(msg)

    trials = {
        "stimulus_index": index,
        "image_id": ids[index],
        "split": split_of[index],
    }
    trials |= {name: values[given_index] for name, values in known.items()}
    for name, values in (trial or {}).items():
        trials[name] = _values(f"trial['{name}']", values, *lead).reshape(-1)[shown]
    parts: dict[str, Any] = {
        "stimulus": pixels,
        "response": as_float32(rows if shown.all() else rows[shown]),
        "trial": trials,
        "neuron": _describe_neurons(neuron or {}, position_um, n_neuron, session),
        **attrs,
    }
    frames = rates.shape[len(lead) + 1 :]
    if behavior is not None:
        columns = (len(tuple(behavior_channel)), *frames)
        parts["behavior"] = _state("behavior", behavior, lead, columns)[shown]
        parts["behavior_channel"] = tuple(behavior_channel)
    if pupil_center is not None:
        parts["pupil_center"] = _state("pupil_center", pupil_center, lead, (2, *frames))[shown]
    if frame_rate is not None:
        parts["frame_rate"] = float(frame_rate)
    return Reading(parts, cautions=cautions)


def as_float32(values: np.ndarray) -> np.ndarray:
    """Return values in single precision; what is beyond it becomes infinite, not a warning."""
    with np.errstate(over="ignore"):  # the schema refuses infinite responses
        return np.ascontiguousarray(values, np.float32)


def whole_numbers(name: str, values: Any, low: int, high: int) -> np.ndarray:
    """Return integers of any stored type; raise `InputError` if one is broken or out of range."""
    numbers = _numbers(name, values)
    # in range first: what is not finite has no remainder
    if not ((numbers >= low) & (numbers <= high)).all() or (numbers % 1 != 0).any():
        msg = f"`{name}` must be whole numbers from {low} to {high}."
        raise InputError(msg)
    return numbers.astype(np.int64)


def _numbers(name: str, values: Any) -> np.ndarray:
    """Return an array of numbers, or say what it is instead."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        msg = f"`{name}` is no array ({reason}); expected one block of numbers."
        raise InputError(msg) from error
    if array.dtype.kind not in "biuf":
        msg = f"`{name}` has type {array.dtype}; expected numbers."
        raise InputError(msg)
    return array


def _values(name: str, values: Any, *shape: int) -> np.ndarray:
    """Return an array of just this shape, or say which it has."""
    array = np.asarray(values)
    if array.shape != shape or array.dtype.kind == "O":
        msg = f"`{name}` has shape {array.shape} and type {array.dtype}; expected shape {shape}."
        raise InputError(msg)
    return array


def _as_stimulus(stimulus: Any, frame_rate: float | None) -> np.ndarray:
    """Return (image, channel, y, x) or (video, channel, frame, y, x), one type of pixel."""
    pixels = _numbers("stimulus", stimulus)
    if pixels.ndim == 5 and frame_rate is None:
        msg = "`stimulus` has 5 axes, so it holds videos; give their `frame_rate` in Hz."
        raise InputError(msg)
    if frame_rate is not None and not 0 < frame_rate < np.inf:
        msg = f"`frame_rate` must be a number of Hz above 0, but is {frame_rate}."
        raise InputError(msg)
    fewest = 3 if frame_rate is None else 4
    if pixels.ndim not in (fewest, fewest + 1) or not pixels.size:
        expected = (
            "(image, y, x) or (image, channel, y, x)"
            if frame_rate is None
            else "(video, frame, y, x) or (video, channel, frame, y, x)"
        )
        msg = f"`stimulus` has shape {pixels.shape}; expected {expected}, none of them 0."
        raise InputError(msg)
    if pixels.dtype != np.uint8:
        whole = all(are_grey_levels(one) for one in pixels)  # one by one, to save memory
        pixels = pixels.astype(np.uint8) if whole else as_float32(pixels)
    if pixels.dtype == np.float32 and not all(np.isfinite(one).all() for one in pixels):
        msg = "`stimulus` has NaN or infinite pixels; expected finite ones."
        raise InputError(msg)
    return pixels[:, None] if pixels.ndim == fewest else pixels


def _leading_axes(response: np.ndarray, n_image: int, is_video: bool) -> tuple[int, ...]:
    """(n_trial,) or (n_repeat, n_image), as the number of axes says."""
    frames, n_lead = ", frame" * is_video, response.ndim - 1 - is_video
    if n_lead not in (1, 2) or 0 in response.shape:
        msg = (
            f"`response` has shape {response.shape}; expected (trial, neuron{frames}) or "
            f"(repeat, image, neuron{frames}), none of them 0."
        )
        raise InputError(msg)
    if n_lead == 2 and response.shape[1] != n_image:
        msg = (
            f"`response` has shape {response.shape}, so {response.shape[1]} images; `stimulus` "
            f"holds {n_image}: expected (repeat, image, neuron{frames})."
        )
        raise InputError(msg)
    return response.shape[:n_lead]


def _as_index(stimulus_index: Any, lead: tuple[int, ...], n_image: int) -> np.ndarray:
    """Which image each trial shows."""
    if len(lead) == 2:
        if stimulus_index is not None:
            msg = (
                "`stimulus_index` is for responses of (trial, neuron); leave it out where "
                "`response` has an axis of images."
            )
            raise InputError(msg)
        return np.tile(np.arange(n_image), lead[0])
    if stimulus_index is None:
        if lead != (n_image,):
            msg = (
                f"{lead[0]} trials but {n_image} images; say which image each trial showed with "
                "`stimulus_index`."
            )
            raise InputError(msg)
        return np.arange(n_image)
    index = _values("stimulus_index", stimulus_index, *lead)
    return whole_numbers("stimulus_index", index, 0, n_image - 1)


def _merge(kinds: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Find images of one kind.

    Returns
    -------
    kept : ndarray of shape (n_distinct,)
        The first image of each kind.
    same : ndarray of shape (n_image,)
        Which of `kept` each image is like.

    """
    known: dict[Hashable, int] = {}
    same = np.array([known.setdefault(kind, len(known)) for kind in kinds])
    return np.unique(same, return_index=True)[1], same


def _note_shared(
    digests: Sequence[bytes], ids: np.ndarray, split: np.ndarray, cautions: Notes
) -> None:
    """Note images that two splits share by pixels: their scores would be too good."""
    first: dict[bytes, tuple[Any, str]] = {}
    for digest, name, part in zip(digests, ids, split, strict=True):
        other_name, other_part = first.setdefault(digest, (name, part))
        if part != other_part:
            fault = f"shown in {other_part} and in {part}, so scores would be too good"
            cautions.add("images", fault, f"{other_name} = {name}")


def _as_split(split: Any, n_image: int) -> np.ndarray:
    names = _values("split", split, n_image).astype(str)
    unknown = sorted(set(names.tolist()) - set(SPLITS))
    if unknown:
        msg = f"`split` has {', '.join(map(repr, unknown[:5]))}; expected {', '.join(SPLITS)}."
        raise InputError(msg)
    return names.astype("<U10")


def _describe_neurons(
    known: Mapping[str, Any], position_um: Any, n_neuron: int, session: str
) -> dict[str, np.ndarray]:
    """Coordinates of the neurons, each with one value a neuron."""
    neuron = {"neuron_id": np.arange(n_neuron), "session": np.full(n_neuron, session)}
    for name, values in known.items():
        neuron[name] = _values(f"neuron['{name}']", values, n_neuron)
    if position_um is not None:
        place = _numbers("position_um", position_um)
        if place.shape not in ((n_neuron, 2), (n_neuron, 3)):
            msg = f"`position_um` has shape {place.shape}; expected ({n_neuron}, 2 or 3)."
            raise InputError(msg)
        for name, values in zip(("x_um", "y_um", "z_um"), place.T, strict=False):
            neuron[name] = values.astype(np.float32)
    return neuron


def _state(name: str, values: Any, lead: tuple[int, ...], columns: tuple[int, ...]) -> np.ndarray:
    """Behaviour or pupil, one row a trial."""
    array = _numbers(name, values)
    if array.shape != (*lead, *columns):
        msg = f"`{name}` has shape {array.shape}; expected {(*lead, *columns)}"
        msg += ", one column for each of `behavior_channel`." if name == "behavior" else "."
        raise InputError(msg)
    return as_float32(array.reshape(-1, *columns))
