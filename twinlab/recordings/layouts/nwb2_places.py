"""Where the neurons of an NWB 2 file lie, in micrometres, if it says so."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from twinlab.recordings.hdf5 import attribute, member, required, values
from twinlab.recordings.layouts.nwb2_traces import SPIKES
from twinlab.recordings.members import DamagedError

__all__ = ["place_neurons"]

AXES = ("x_um", "y_um", "z_um")
LENGTHS = {
    "meters": 1e6, "meter": 1e6, "m": 1e6, "millimeters": 1e3, "mm": 1e3,
    "micrometers": 1.0, "microns": 1.0, "um": 1.0, "µm": 1.0,
}  # fmt: skip


def place_neurons(file: h5py.File, label: str, series: list[str]) -> np.ndarray | None:
    """Positions of the neurons of a set of `find_traces`, in the order of their traces.

    Taken from columns `x_um`, `y_um` and perhaps `z_um` of the table of ROIs or units; else, of
    ROIs, the middle of each mask, where the imaging plane states its `grid_spacing` and, if
    there are several planes, its `origin_coords`.

    Returns
    -------
    ndarray of shape (n_neuron, n_axis), or None
        In micrometres; NaN for a neuron whose mask is empty. None where the file does not say.

    Raises
    ------
    DamagedError
        If columns, masks or units of length do not fit.

    """
    found = [_of_units(member(file, name)) if label == SPIKES else _of_rois(
        file, member(file, name), alone=len(series) == 1) for name in series]  # fmt: skip
    known = [one for one in found if one is not None]
    n_axis = min((one.shape[1] for one in known), default=0)
    if len(known) < len(found):
        return None
    return np.concatenate([one[:, :n_axis] for one in known])


def _of_units(table: h5py.Group) -> np.ndarray | None:
    return _columns(table, np.arange(len(required(table, "id"))))


def _of_rois(file: h5py.File, series: h5py.Group, *, alone: bool) -> np.ndarray | None:
    region = member(series, "rois")
    table = file[attribute(region, "table")] if region is not None else None
    if not isinstance(table, h5py.Group):
        return None
    rows = values(region).astype(np.int64)
    stated = _columns(table, rows)
    plane = member(table, "imaging_plane")
    if stated is not None or not isinstance(plane, h5py.Group):
        return stated
    spacing, origin = _lengths(plane, "grid_spacing"), _lengths(plane, "origin_coords")
    if spacing is None or (origin is None and not alone):
        return None
    middle = _middles(table, rows)
    if middle is None:
        return None
    start = np.zeros(2) if origin is None else origin
    depth = np.tile(start[2:], (len(middle), 1))
    return np.concatenate([start[:2] + middle * spacing[:2], depth], axis=1)


def _columns(table: h5py.Group, rows: np.ndarray) -> np.ndarray | None:
    """Positions that a table states, (row, axis)."""
    names = [name for name in AXES if name in table]
    if names[:2] != list(AXES[:2]):
        return None
    n = len(required(table, "id"))
    return np.stack([required(table, name, n).astype(float)[rows] for name in names], axis=1)


def _lengths(plane: h5py.Group, name: str) -> np.ndarray | None:
    """A vector of lengths in micrometres, as an imaging plane states it."""
    node = member(plane, name)
    if node is None:
        return None
    unit = str(attribute(node, "unit") or "meters")
    found = values(node).astype(float)
    if unit not in LENGTHS or found.shape not in ((2,), (3,)) or not np.isfinite(found).all():
        msg = f"{node.name}: {found.shape} in {unit!r}, expected 2 or 3 in one of {list(LENGTHS)}"
        raise DamagedError(msg)
    return found * LENGTHS[unit]


def _middles(table: h5py.Group, rows: np.ndarray) -> np.ndarray | None:
    """Middle (x, y) of each mask, in pixels; NaN where it is empty."""
    n = len(required(table, "id"))
    pixels, image = member(table, "pixel_mask"), member(table, "image_mask")
    if isinstance(pixels, h5py.Dataset) and {"x", "y", "weight"} <= set(pixels.dtype.names or ()):
        mask, stop = values(pixels), required(table, "pixel_mask_index", n).astype(np.int64)
        start = np.concatenate([[0], stop[:-1]])
        if (stop < start).any() or (n and stop[-1] > len(mask)):
            msg = f"{table.name}: `pixel_mask_index` must increase up to {len(mask)} pixels"
            raise DamagedError(msg)
        parts = (mask[start[row] : stop[row]] for row in rows)
        return np.array([_middle(part["x"], part["y"], part["weight"]) for part in parts])
    if isinstance(image, h5py.Dataset) and image.ndim == 3 and len(image) == n:
        # (roi, x, y), as the format has it; one at a time, because all may not fit in memory
        x, y = np.indices(image.shape[1:])
        return np.array([_middle(x, y, image[row]) for row in rows])
    return None


def _middle(x: Any, y: Any, weight: Any) -> tuple[float, float]:
    total = float(np.sum(weight))
    if not total > 0:
        return np.nan, np.nan
    return float(np.sum(x * weight) / total), float(np.sum(y * weight) / total)
