"""Parts of a recording, small enough to be looked at: some trials of some neurons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from twinlab.schema import InputError, stimulus_kind

__all__ = ["follow_session", "sample_raster", "summarise_repeats", "trials_in_order"]

SESSION_BINS = 60
ORDERS = ("presentation", "stimulus")


def trials_in_order(
    recording: xr.Dataset, *, split: str | None = None, order: str = "presentation"
) -> tuple[np.ndarray, str]:
    """Positions of trials in an order, and what that order is in words.

    Parameters
    ----------
    recording : xarray.Dataset
        See `schema.make_recording`.
    split : str, optional
        Only its trials.
    order : {"presentation", "stimulus"}
        As they were shown (as they are stored, where that is not known), or repeats of a
        stimulus side by side, those shown most often first.

    Returns
    -------
    ndarray of int, str

    Raises
    ------
    InputError
        If there is no such order, or no trial of that split.

    """
    if order not in ORDERS:
        msg = f"`order` must be one of {list(ORDERS)}, but got {order!r}."
        raise InputError(msg)
    splits = recording.split.values.astype(str)
    trials = np.arange(len(splits)) if split is None else np.flatnonzero(splits == split)
    if not len(trials):
        msg = f"No trial is of split {split!r}; this recording has {sorted(set(splits.tolist()))}."
        raise InputError(msg)
    place, words = trials, "trial, in the order it is stored"
    if "presentation_order" in recording.coords:
        place, words = recording.presentation_order.values[trials], "trial, as it was presented"
    if order == "presentation":
        return trials[np.argsort(place, kind="stable")], words
    shown = recording.stimulus_index.values[trials]
    times = np.bincount(shown)[shown]
    words = f"trial, repeats of one {stimulus_kind(recording)} side by side"
    return trials[np.lexsort([place, shown, -times])], words


def sample_raster(
    recording: xr.Dataset,
    neurons: Sequence[int] | np.ndarray | None = None,
    *,
    split: str | None = None,
    order: str = "presentation",
    most_neurons: int = 100,
    most_trials: int = 300,
) -> xr.Dataset:
    """Responses of some neurons in some trials, for a raster that fits a screen.

    Of more neurons than fit, some evenly spaced ones are taken. So it is with trials as they
    were presented; of trials with repeats side by side, the first, so that repeats stay
    together.

    Parameters
    ----------
    recording : xarray.Dataset
        Of images, see `schema.make_recording`; of a lazy one only what is drawn is read.
    neurons : sequence of int, optional
        Positions in the recording, from the first line to the last; all where absent.
    split, order
        As for `trials_in_order`.
    most_neurons, most_trials : int
        Of each at most so many are drawn.

    Returns
    -------
    xarray.Dataset
        `raster` (raster_neuron, raster_column), in units of each neuron's standard deviation
        over the trials drawn; NaN where a response is missing, or never changes. Coordinates
        `neuron` and `trial` are positions in the recording, and `stimulus_index` what was
        shown. Attributes `n_neuron` and `n_trial` say of how many these are.

    Raises
    ------
    InputError
        If neurons or trials asked for are not there.

    """
    if stimulus_kind(recording) == "video":
        msg = "A raster of trials is of images; of a video, draw its frames."
        raise InputError(msg)
    n_neuron = recording.sizes["neuron"]
    asked = np.arange(n_neuron) if neurons is None else np.asarray(neurons, int)
    if not asked.size or asked.min() < 0 or asked.max() >= n_neuron:
        msg = f"Neurons run from 0 to {n_neuron - 1}, but got {asked.tolist()[:5]}."
        raise InputError(msg)
    trials, words = trials_in_order(recording, split=split, order=order)
    spread_out = order == "presentation"
    some = _evenly(trials, most_trials) if spread_out else trials[:most_trials]
    chosen = _evenly(asked, most_neurons)
    response = recording.response.isel(trial=some, neuron=chosen).values.T.astype(float)
    here = np.isfinite(response)
    count = np.maximum(here.sum(1, keepdims=True), 1)
    mean = np.where(here, response, 0).sum(1, keepdims=True) / count
    spread = np.sqrt(np.where(here, (response - mean) ** 2, 0).sum(1, keepdims=True) / count)
    return xr.Dataset(
        {
            "raster": (
                ("raster_neuron", "raster_column"),
                response / np.where(spread > 0, spread, np.nan),
                {"long_name": "response", "units": "s.d."},
            )
        },
        {
            "raster_column": (
                "raster_column",
                np.arange(len(some)),
                {"long_name": words, "units": "1"},
            ),
            "trial": ("raster_column", some, {"long_name": "position of the trial"}),
            "stimulus_index": ("raster_column", recording.stimulus_index.values[some]),
            "neuron": ("raster_neuron", chosen, {"long_name": "position of the neuron"}),
        },
        {"n_neuron": len(asked), "n_trial": len(trials)},
    )


def summarise_repeats(recording: xr.Dataset, stimulus: int, neuron: int) -> xr.Dataset:
    """One neuron's responses, and those to the presentations of one image among them.

    Parameters
    ----------
    recording : xarray.Dataset
        Of images, see `schema.make_recording`.
    stimulus : int
        Number of the image, as in `stimulus_index`.
    neuron : int
        Position in the recording.

    Returns
    -------
    xarray.Dataset
        Along `trial`, as it was presented: `response`, and `shown`, 1 where that image was.
        Scalars over its presentations with a response: `n_repeat`, `mean_response` and
        `standard_error`, NaN with none, and with fewer than two.

    Raises
    ------
    InputError
        If there is no such image or neuron.

    """
    n_image, n_neuron = recording.sizes["image"], recording.sizes["neuron"]
    if not 0 <= stimulus < n_image or not 0 <= neuron < n_neuron:
        msg = (
            f"Images run from 0 to {n_image - 1} and neurons from 0 to {n_neuron - 1}, but got "
            f"image {stimulus} and neuron {neuron}."
        )
        raise InputError(msg)
    trials, words = trials_in_order(recording)
    units = str(recording.response.attrs.get("units", "a.u."))
    response = recording.response.isel(neuron=neuron).values[trials].astype(float)
    shown = recording.stimulus_index.values[trials] == stimulus
    repeats = response[shown & np.isfinite(response)]
    n = len(repeats)
    of_response = {"units": units}
    return xr.Dataset(
        {
            "response": ("trial", response, {"long_name": "response"} | of_response),
            "shown": ("trial", shown.astype(float), {"long_name": "whether the image was shown"}),
            "n_repeat": ((), n, {"long_name": "presentations with a response"}),
            "mean_response": (
                (),
                repeats.mean() if n else np.nan,
                {"long_name": "mean response to the image"} | of_response,
            ),
            "standard_error": (
                (),
                repeats.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan,
                {"long_name": "standard error of the mean"} | of_response,
            ),
        },
        {"trial": ("trial", np.arange(len(trials)), {"long_name": words, "units": "1"})},
        {"image": stimulus, "neuron_id": str(recording.neuron_id.values[neuron])},
    )


def follow_session(recording: xr.Dataset, trial_response: np.ndarray) -> xr.Dataset:
    """Mean response over neurons in the course of the session.

    Parameters
    ----------
    recording : xarray.Dataset
    trial_response : ndarray of shape (n_trial,)
        Mean over neurons, as `survey_responses` finds it; NaN where there is none.

    Returns
    -------
    xarray.Dataset
        `session_response` and its standard error over trials `session_error` along
        `session_trial`; empty where the order of presentation is unknown or the trials are few.

    """
    if "presentation_order" not in recording.coords:
        return xr.Dataset()
    order, _ = trials_in_order(recording)
    response = trial_response[order]
    place = np.flatnonzero(np.isfinite(response))
    if len(place) < 2 * SESSION_BINS:
        return xr.Dataset()
    parts = np.array_split(response[place], SESSION_BINS)
    return xr.Dataset(
        {
            "session_response": (
                "session_trial",
                [part.mean() for part in parts],
                {"long_name": "mean response", "units": ""},
            ),
            "session_error": (
                "session_trial",
                [part.std(ddof=1) / np.sqrt(len(part)) for part in parts],
                {"long_name": "standard error", "units": ""},
            ),
        },
        {
            "session_trial": (
                "session_trial",
                [part.mean() for part in np.array_split(place, SESSION_BINS)],
                {"long_name": "trial, in the order of presentation", "units": ""},
            )
        },
    )


def _evenly(positions: np.ndarray, most: int) -> np.ndarray:
    """Up to `most` of some positions, evenly spaced, the first and the last among them."""
    if len(positions) <= most:
        return positions
    return positions[np.linspace(0, len(positions) - 1, most).round().astype(int)]
