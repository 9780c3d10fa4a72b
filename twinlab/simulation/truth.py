"""What a twin found, held against what was planted."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.schema import InputError
from twinlab.simulation.anatomy import place_gabors

__all__ = ["compare_mei", "compare_suppressor", "compare_tuning", "suppressive_filters"]

SUPPRESSED = ("normalized", "surround")


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
    chosen = _find(mei, recording, "MEIs")
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


def suppressive_filters(recording: xr.Dataset, kind: str = "normalized") -> xr.DataArray:
    """Filters whose energy divides the response of the neurons of one kind.

    They follow from what a recording tells of each neuron: those of a normalized neuron are pairs
    (even, odd) at its own place, turned by 45, 90 and 135 degrees; those of a surround neuron are
    pairs of its own orientation in six places around. The divisor of a normalized neuron holds its
    exciting pair as well, which is not among them.

    Parameters
    ----------
    recording : xarray.Dataset
        Simulated, of images, with `true_filter`.
    kind : {"normalized", "surround"}

    Returns
    -------
    xarray.DataArray
        `suppressive_filter` (neuron, filter, channel, y, x), the neurons those of this kind.

    Raises
    ------
    InputError
        If the recording is not simulated or the kind has none.

    """
    if kind not in SUPPRESSED:
        msg = f"`kind` must be one of {list(SUPPRESSED)}, but is {kind!r}; others have none."
        raise InputError(msg)
    _require(recording, "true_filter")
    cells = recording.isel(neuron=recording.true_type.values == kind)
    return xr.DataArray(
        _all_filters(cells, kind)[:, 2:].astype(np.float32),
        dims=("neuron", "filter", "channel", "y", "x"),
        coords={name: cells[name] for name in ("session", "neuron_id", "true_type")},
        name="suppressive_filter",
        attrs={"long_name": "true suppressive filter", "units": "1"},
    )


def compare_suppressor(suppressor: xr.Dataset, recording: xr.Dataset) -> xr.DataArray:
    """Similarity of each suppressor to the neuron's true suppressive filters.

    Parameters
    ----------
    suppressor : xarray.Dataset
        Of `insilico.synthesize_suppressor`, with `suppressor` (neuron, channel, y, x).
    recording : xarray.Dataset
        Simulated, with `true_filter`.

    Returns
    -------
    xarray.DataArray
        `suppressor_correlation` (neuron): Pearson's r over pixels with the most similar sum of
        the `suppressive_filters`, each without what it shares with the neuron's exciting pair,
        which excites; 0 to 1. NaN for simple and complex neurons, which have none.

    """
    _require(recording, "true_filter")
    found = recording[["true_filter"]].isel(neuron=_find(suppressor, recording, "suppressors"))
    images = suppressor.suppressor.values.reshape(found.sizes["neuron"], -1).astype(np.float64)
    images = images - images.mean(axis=1, keepdims=True)
    correlation = np.full(len(images), np.nan)
    for kind in SUPPRESSED:
        place = np.flatnonzero(found.true_type.values == kind)
        filters = _all_filters(found.isel(neuron=place), kind)
        for row, own in zip(place, filters, strict=True):
            pixels = own.reshape(len(own), -1).T
            exciting = np.linalg.qr(pixels[:, :2])[0]
            rest = pixels[:, 2:] - exciting @ (exciting.T @ pixels[:, 2:])
            part = np.linalg.qr(rest)[0].T @ images[row]
            size = np.linalg.norm(images[row])
            correlation[row] = np.linalg.norm(part) / size if size > 0 else np.nan
    return (
        suppressor.activation.copy(data=correlation)
        .rename("suppressor_correlation")
        .assign_attrs(
            long_name="correlation of the suppressor with the true suppressive filters", units="1"
        )
    )


def _all_filters(cells: xr.Dataset, kind: str) -> np.ndarray:
    """Filters of cells of one kind, (neuron, filter, channel, y, x), the exciting pair first."""
    shape = cells.true_filter.shape
    gabors = place_gabors(cells, kind, shape[2], shape[3], quadrature=False)
    # The true filter is a Gabor times the weights of the channels, whose norm is 1.
    weight = np.linalg.norm(cells.true_filter.values, axis=(2, 3))
    coloured: np.ndarray = gabors[:, :, None] * weight[:, None, :, None]
    return coloured.reshape(*gabors.shape[:2], *shape[1:])


def _find(result: xr.Dataset, recording: xr.Dataset, what: str) -> list[int]:
    """Positions in the recording of the neurons of a result."""
    position = {name: i for i, name in enumerate(_names(recording))}
    lacking = [name for name in _names(result) if name not in position]
    if lacking:
        msg = f"The recording lacks {len(lacking)} of the {what}' neurons, first {lacking[0]}."
        raise InputError(msg)
    return [position[name] for name in _names(result)]


def _names(dataset: xr.Dataset) -> list[tuple[str, str]]:
    names = (dataset.session.values, dataset.neuron_id.values)
    return list(zip(*(values.astype(str).tolist() for values in names), strict=True))


def _require(dataset: xr.Dataset, name: str) -> None:
    if name not in dataset.variables:
        msg = f"`{name}` is missing: only what comes from a simulated recording knows the truth."
        raise InputError(msg)
