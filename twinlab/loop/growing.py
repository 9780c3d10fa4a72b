"""A recording grows by what a later session showed."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from twinlab.loop.gathering import neuron_names

__all__ = ["grow_recording"]


def grow_recording(
    recording: xr.Dataset, stimuli: xr.Dataset, responses: xr.Dataset
) -> xr.Dataset:
    """Add the trials of a later session to the training trials of a recording.

    Parameters
    ----------
    recording : xarray.Dataset
        Of images.
    stimuli : xarray.Dataset
        `stimulus` (stimulus, channel, y, x) in the recording's grey levels, and `stimulus_id`.
    responses : xarray.Dataset
        `response` (trial, neuron) in the recording's units, neurons named "session/neuron_id",
        and `stimulus_id` along `trial`; trials of other stimuli (blanks) are not taken along.

    Returns
    -------
    xarray.Dataset
        All neurons of the recording; responses of those not found again are missing (NaN) in the
        new trials, as is all else that was not measured in them: behaviour, pupil position.

    """
    names = stimuli.stimulus_id.values.astype(str)
    place = {name: recording.sizes["image"] + i for i, name in enumerate(names)}
    shown = responses.stimulus_id.values.astype(str)
    taken = np.flatnonzero(np.isin(shown, names))
    neurons = neuron_names(recording.session.values, recording.neuron_id.values)
    given = responses.isel(trial=taken).response.transpose("trial", "neuron")
    order = recording.presentation_order.values if "presentation_order" in recording else [-1]
    new: dict[str, Any] = {
        "stimulus": stimuli.stimulus.values.astype(recording.stimulus.dtype),
        "response": given.reindex(neuron=neurons).values,
        "stimulus_index": np.array([place[name] for name in shown[taken]]),
        "image_id": shown[taken],
        "split": np.full(len(taken), "train"),
        "presentation_order": np.max(order) + 1 + np.arange(len(taken)),
    }
    n_new = {"image": len(names), "trial": len(taken)}
    variables = {}
    for name, variable in recording.variables.items():
        along = next((dim for dim in n_new if dim in variable.dims), None)
        if along is None:
            variables[name] = variable
            continue
        shape = [n_new[along], *(variable.sizes[d] for d in variable.dims if d != along)]
        values = new.get(str(name), _missing(variable.dtype, shape))
        if "U" in {values.dtype.kind, variable.dtype.kind}:  # images named by numbers so far
            variable, values = variable.astype(str), values.astype(str)
        added = xr.Variable([along, *(d for d in variable.dims if d != along)], values)
        variables[name] = xr.Variable.concat([variable, added.transpose(*variable.dims)], along)
        variables[name].attrs = dict(variable.attrs)
    coords = {name: variables.pop(name) for name in recording.coords}
    return xr.Dataset(variables, coords, recording.attrs)


def _missing(dtype: np.dtype, shape: list[int]) -> np.ndarray:
    """What was not measured: NaN, or no text where there is text."""
    return np.full(shape, np.nan if dtype.kind in "fiub" else "")
