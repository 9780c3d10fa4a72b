"""Tuning as it was recorded: mean responses to stimuli whose parameters the recording says."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.insilico.parametric import AXES
from twinlab.insilico.responses import Neurons, chosen_positions
from twinlab.jobs import Job
from twinlab.schema import InputError, make_result

__all__ = ["measure_recorded_tuning"]


def measure_recorded_tuning(
    recording: xr.Dataset, axis: str, neurons: Neurons = None, *, job: Job | None = None
) -> xr.Dataset:
    """Mean recorded response to each value of a stimulus parameter, over all trials that show it.

    Trials are pooled over whatever else differs between the stimuli.

    Parameters
    ----------
    recording : Dataset
        Of images, with a coordinate `axis` along `image`, NaN for images that have no such
        parameter.
    axis : str
        As `measure_tuning` names it, such as "orientation".
    neurons : sequence of int, optional
        Positions in the recording; all where absent.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `response` and its `standard_error` (neuron, `axis`), NaN with no trial, or fewer than
        two; and `n_trial` (neuron, `axis`) of those in which the neuron has a response.

    Raises
    ------
    InputError
        If the recording does not say the parameter of any image, or says it in other units.

    """
    job = job or Job()
    job.check()
    if axis not in AXES:
        msg = f"{axis!r} is no parameter of gratings; these are {', '.join(AXES)}."
        raise InputError(msg)
    long_name, units = AXES[axis]
    if axis not in recording.coords or recording[axis].dims != ("image",):
        msg = (
            f"The recording does not say the {long_name} of its images; it needs a coordinate "
            f"`{axis}` along `image`."
        )
        raise InputError(msg)
    said = str(recording[axis].attrs.get("units", units))
    if said != units:
        msg = (
            f"The recording says the {long_name} in {said}, but tuning is in {units}; convert it."
        )
        raise InputError(msg)
    shown = recording[axis].values.astype(float)[recording.stimulus_index.values.astype(int)]
    trials = np.flatnonzero(np.isfinite(shown))
    if not trials.size:
        msg = f"No trial of the recording shows an image whose {long_name} is known."
        raise InputError(msg)
    positions = chosen_positions(recording.sizes["neuron"], neurons)
    response = recording.response.isel(trial=trials, neuron=positions)
    values, which = np.unique(shown[trials], return_inverse=True)
    measured = response.values.astype(np.float64)
    shape = (len(positions), len(values))
    mean, error, count = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
    for number in range(len(values)):
        job.report(number / len(values), long_name)
        these = measured[which == number]
        here = np.isfinite(these)
        n = here.sum(0)
        total = np.where(here, these, 0.0).sum(0)
        center = total / np.where(n > 0, n, np.nan)
        square = np.where(here, (these - center) ** 2, 0.0).sum(0)
        mean[:, number], count[:, number] = center, n
        error[:, number] = np.sqrt(square / np.where(n > 1, (n - 1.0) * n, np.nan))
    unit = {"units": str(recording.response.attrs.get("units", ""))}
    dims = ("neuron", axis)
    labels = {
        name: coord.variable
        for name, coord in response.coords.items()
        if coord.dims == ("neuron",)
    }
    result = xr.Dataset(
        {
            "response": (dims, mean, {"long_name": "mean recorded response"} | unit),
            "standard_error": (dims, error, {"long_name": "standard error over trials"} | unit),
            "n_trial": (dims, count, {"long_name": "trials", "units": "1"}),
        },
        labels | {axis: (axis, values, {"long_name": long_name, "units": units})},
    )
    return make_result(
        result,
        experiment="recorded_tuning",
        recording=str(recording.attrs.get("fingerprint", "")),
        settings={"axis": axis},
    )
