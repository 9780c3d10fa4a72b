"""What a twin found, held against what was planted."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.schema import InputError

__all__ = ["compare_mei", "compare_tuning"]


def compare_tuning(tuning: xr.Dataset) -> xr.DataArray:
    """Error of each preferred orientation.

    Parameters
    ----------
    tuning : xarray.Dataset
        Of `insilico.measure_orientation_tuning` on a twin of a simulated recording: has
        `preferred_orientation` and the coordinate `true_orientation`, in degrees.

    Returns
    -------
    xarray.DataArray
        `orientation_error` (neuron), degrees, 0 to 90; NaN where the preference is undefined.

    """
    _require(tuning, "true_orientation")
    difference = np.deg2rad(2 * (tuning.preferred_orientation - tuning.true_orientation))
    # orientations repeat after 180 degrees, so the angle is doubled
    error = np.rad2deg(np.abs(np.arctan2(np.sin(difference), np.cos(difference)))) / 2
    return error.rename("orientation_error").assign_attrs(
        long_name="error of the preferred orientation", units="deg"
    )


def compare_mei(mei: xr.Dataset, recording: xr.Dataset) -> xr.DataArray:
    """Similarity of each most exciting input to the neuron's true filter.

    Meant for simple cells, whose optimal image is their filter. A complex cell's may have any
    phase, so that its similarity to the one stored filter says little.

    Parameters
    ----------
    mei : xarray.Dataset
        Of `insilico.synthesize_mei`, with `mei` (neuron, channel, y, x).
    recording : xarray.Dataset
        Simulated, with `true_filter` (neuron, channel, y, x).

    Returns
    -------
    xarray.DataArray
        `filter_correlation` (neuron): Pearson's r over pixels, -1 to 1.

    """
    _require(recording, "true_filter")
    position = {name: i for i, name in enumerate(_names(recording))}
    lacking = [name for name in _names(mei) if name not in position]
    if lacking:
        msg = f"The recording lacks {len(lacking)} of the MEIs' neurons, first {lacking[0]}."
        raise InputError(msg)
    chosen = [position[name] for name in _names(mei)]
    images = mei.mei.values.reshape(len(chosen), -1)
    filters = recording.true_filter.values[chosen].reshape(len(chosen), -1)
    images = images - images.mean(axis=1, keepdims=True)
    filters = filters - filters.mean(axis=1, keepdims=True)
    size = np.linalg.norm(images, axis=1) * np.linalg.norm(filters, axis=1)
    correlation = (images * filters).sum(axis=1) / np.where(size > 0, size, np.nan)
    return (
        mei.activation.copy(data=correlation)
        .rename("filter_correlation")
        .assign_attrs(
            long_name="correlation of the most exciting input with the true filter", units="1"
        )
    )


def _names(dataset: xr.Dataset) -> list[tuple[str, str]]:
    names = (dataset.session.values, dataset.neuron_id.values)
    return list(zip(*(values.astype(str).tolist() for values in names), strict=True))


def _require(dataset: xr.Dataset, name: str) -> None:
    if name not in dataset.variables:
        msg = f"`{name}` is missing: only what comes from a simulated recording knows the truth."
        raise InputError(msg)
