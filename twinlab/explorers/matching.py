"""Recordings, scores and results brought into the order of a twin's neurons."""

from __future__ import annotations

import numpy as np
import xarray as xr

__all__ = ["average_repeats", "positions_in"]


def positions_in(labelled: xr.Dataset | xr.DataArray, labels: xr.Dataset) -> np.ndarray:
    """Position in `labelled` of each neuron of `labels`, by session and id; -1 if absent."""

    def names(of: xr.Dataset | xr.DataArray) -> list[tuple[str, str]]:
        sessions, ids = np.atleast_1d(of.session.values), np.atleast_1d(of.neuron_id.values)
        return list(zip(sessions.astype(str).tolist(), ids.astype(str).tolist(), strict=True))

    known = {name: position for position, name in enumerate(names(labelled))}
    return np.array([known.get(name, -1) for name in names(labels)])


def average_repeats(response: xr.DataArray, prediction: xr.DataArray) -> xr.Dataset:
    """Measured and predicted response to each image, averaged over its repeats.

    Parameters
    ----------
    response, prediction : DataArray of dimensions (trial, neuron)
        Of the same trials and neurons, with the coordinate `stimulus_index`. Missing
        responses (NaN) are left out, of both.

    Returns
    -------
    xarray.Dataset
        `response`, its `standard_error` over repeats (NaN with fewer than two), `prediction`
        and `n_repeat`, all (image, neuron), with `stimulus_index` along `image`.

    """
    shown, image = np.unique(response.stimulus_index.values, return_inverse=True)
    measured = response.values.astype(float)
    here = np.isfinite(measured)
    predicted = np.where(here, prediction.values.astype(float), 0.0)
    measured = np.where(here, measured, 0.0)

    def total(values: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(shown), values.shape[1]))
        np.add.at(sums, image, values)
        return sums

    count = total(here.astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total(measured) / count
        spread = total(np.where(here, measured - mean[image], 0.0) ** 2) / (count - 1)
        error = np.where(count > 1, np.sqrt(spread / count), np.nan)
        mean_predicted = total(predicted) / count
    dims = ("image", "neuron")
    units = {"units": str(response.attrs.get("units", "a.u."))}
    neuron = {
        name: coordinate
        for name, coordinate in response.coords.items()
        if coordinate.dims == ("neuron",)
    }
    return xr.Dataset(
        {
            "response": (dims, mean, {"long_name": "measured response"} | units),
            "standard_error": (
                dims,
                error,
                {"long_name": "standard error of the mean response"} | units,
            ),
            "prediction": (dims, mean_predicted, {"long_name": "predicted response"} | units),
            "n_repeat": (dims, count, {"long_name": "number of repeats", "units": "1"}),
        },
        neuron | {"stimulus_index": ("image", shown)},
    )
