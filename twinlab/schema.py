"""Names, units and contracts of everything that passes between rooms.

A *recording* is what was shown and what the neurons did; a *result* is what an
experiment or a score found. Both are `xarray.Dataset`; both are built, judged and
named here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from dask.base import tokenize

from twinlab.files import write_whole

__all__ = [
    "BEHAVIOR_CHANNELS",
    "DIMENSIONS",
    "HASHED",
    "SCHEMA_VERSION",
    "SPLITS",
    "InputError",
    "check_seed",
    "fingerprint",
    "infinite_faults",
    "is_lazy",
    "make_recording",
    "make_result",
    "netcdf_bytes",
    "open_result",
    "recording_faults",
    "row_blocks",
    "save_result",
    "split_hash",
    "stimulus_kind",
    "validate_recording",
]

SCHEMA_VERSION = "1"
SPLITS = ("train", "validation", "test")
BEHAVIOR_CHANNELS = ("pupil_dilation", "pupil_dilation_derivative", "running_speed")

# What each variable of a recording must look like, besides what it may carry.
DIMENSIONS = {
    "image": {
        "stimulus": ("image", "channel", "y", "x"),
        "response": ("trial", "neuron"),
        "behavior": ("trial", "behavior_channel"),
        "pupil_center": ("trial", "axis"),
    },
    "video": {
        "stimulus": ("video", "channel", "frame", "y", "x"),
        "response": ("trial", "neuron", "frame"),
        "behavior": ("trial", "behavior_channel", "frame"),
        "pupil_center": ("trial", "axis", "frame"),
    },
}
HASHED = ("stimulus", "response", "behavior", "pupil_center")
TRIAL_COORDINATES = ("stimulus_index", "image_id", "split")
NEURON_COORDINATES = ("neuron_id", "session")
LONG_NAMES = {
    "stimulus": "stimulus",
    "response": "response",
    "behavior": "behavior",
    "pupil_center": "pupil position",
    "x_um": "cortical x",
    "y_um": "cortical y",
    "z_um": "cortical depth",
}


class InputError(ValueError):
    """What the user gave cannot be used; the message says what, where and what to do.

    The command line shows it as one line and exits with 2. Anything else that is
    raised is a defect of ours and keeps its traceback.
    """


def check_seed(seed: int) -> int:
    """Return `seed`, or raise `InputError` if it is negative."""
    if seed < 0:
        msg = f"`seed` must be at least 0, but is {seed}."
        raise InputError(msg)
    return seed


def make_recording(
    *,
    stimulus: np.ndarray,
    response: np.ndarray,
    trial: Mapping[str, Any],
    neuron: Mapping[str, Any],
    behavior: np.ndarray | None = None,
    behavior_channel: tuple[str, ...] = BEHAVIOR_CHANNELS,
    pupil_center: np.ndarray | None = None,
    response_units: str = "a.u.",
    stimulus_units: str = "grey level",
    extra: Mapping[str, Any] | None = None,
    **attrs: Any,
) -> xr.Dataset:
    """Build the Dataset of one session of images or videos, checked and fingerprinted.

    Parameters
    ----------
    stimulus : ndarray of shape (n_image, n_channel, n_y, n_x)
        Each distinct image once; `uint8` is kept as `uint8`. Videos have shape
        (n_video, n_channel, n_frame, n_y, n_x), and `frame_rate` in Hz among the attributes.
        Like `response`, `behavior` and `pupil_center`, it may be a dask array that is read
        when it is asked for; such a recording gets its fingerprint when it is stored.
    response : ndarray of shape (n_trial, n_neuron), or (n_trial, n_neuron, n_frame)
        NaN where a response is missing or withheld, and after the end of a shorter video.
    trial : mapping of name to array of shape (n_trial,)
        At least `stimulus_index`, `image_id` and `split`.
    neuron : mapping of name to array of shape (n_neuron,)
        At least `neuron_id` and `session`.
    behavior : ndarray of shape (n_trial, n_behavior_channel[, n_frame]), optional
    behavior_channel : tuple of str
        Names of the columns of `behavior`.
    pupil_center : ndarray of shape (n_trial, 2[, n_frame]), optional
        Horizontal and vertical position of the pupil, in the source's units.
    response_units, stimulus_units : str
        Units of the two, in words.
    extra : mapping, optional
        Further variables, as `xarray.Dataset.assign` takes them.
    **attrs
        `recording_id`, `species`, `source`, `license` and whatever else is known.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    InputError
        Naming every fault found, all at once.

    """
    dimensions = DIMENSIONS["video" if np.ndim(stimulus) == 5 else "image"]
    variables: dict[str, Any] = {
        "stimulus": (dimensions["stimulus"], stimulus, {"units": stimulus_units}),
        "response": (
            dimensions["response"],
            _single_precision(response),
            {"units": response_units},
        ),
    }
    for name, values in (("behavior", behavior), ("pupil_center", pupil_center)):
        if values is not None:
            variables[name] = (dimensions[name], _single_precision(values))
    coords: dict[str, Any] = {name: ("trial", np.asarray(value)) for name, value in trial.items()}
    coords |= {name: ("neuron", np.asarray(value)) for name, value in neuron.items()}
    if behavior is not None:
        coords["behavior_channel"] = list(behavior_channel)
    if pupil_center is not None:
        coords["axis"] = ["horizontal", "vertical"]
    recording = xr.Dataset(variables, coords).assign(dict(extra or {}))
    for name, long_name in LONG_NAMES.items():
        if name in recording.variables:
            recording[name].attrs.setdefault("long_name", long_name)
    for name in ("x_um", "y_um", "z_um"):
        if name in recording.coords:
            recording[name].attrs.setdefault("units", "um")
    recording.attrs = {"schema_version": SCHEMA_VERSION, **attrs}
    validate_recording(recording)
    if not is_lazy(recording):
        recording.attrs["fingerprint"] = fingerprint(recording)
    return recording


def _single_precision(values: Any) -> Any:
    """`float32` array, in memory or lazy as it was given."""
    return values.astype(np.float32) if hasattr(values, "dask") else np.asarray(values, np.float32)


def is_lazy(recording: xr.Dataset) -> bool:
    """Whether any variable is a dask array, read from the disk when it is asked for."""
    return any(variable.chunks is not None for variable in recording.variables.values())


def row_blocks(variable: xr.DataArray) -> Iterator[np.ndarray]:
    """Values along the first axis: whole where they lie in memory, else a chunk of rows at a time.

    What is on disk can so be gone through without ever being in memory together.
    """
    if variable.chunks is None:
        yield variable.values
        return
    start = 0
    for rows in variable.chunks[0]:
        yield variable[start : start + rows].values
        start += rows


def stimulus_kind(recording: xr.Dataset) -> str:
    """Whether the animal saw images or videos: the name of the stimulus dimension."""
    return "video" if "video" in recording.dims else "image"


def recording_faults(recording: xr.Dataset) -> list[str]:
    """Everything that keeps a Dataset from being a recording, one line a fault.

    The values of a lazy recording are not read; they are judged when they are stored.
    """
    faults = []
    kind = stimulus_kind(recording)
    for name in ("stimulus", "response"):
        if name not in recording:
            faults.append(f"variable `{name}` is missing; expected {DIMENSIONS[kind][name]}")
    for name, dimensions in DIMENSIONS[kind].items():
        if name in recording and recording[name].dims != dimensions:
            faults.append(f"`{name}` has dimensions {recording[name].dims}, expected {dimensions}")
    for dimension, names in (("trial", TRIAL_COORDINATES), ("neuron", NEURON_COORDINATES)):
        for name in names:
            if name not in recording.coords or recording[name].dims != (dimension,):
                faults.append(f"coordinate `{name}` along `{dimension}` is missing")
    if faults:
        return faults  # what follows reads these

    if kind == "video" and not float(recording.attrs.get("frame_rate", 0)) > 0:
        faults.append("attribute `frame_rate` is missing; a recording of videos needs it, in Hz")
    for dimension in (kind, "trial", "neuron"):
        if recording.sizes[dimension] == 0:
            faults.append(f"there are no {dimension}s; expected at least one")
    if recording.response.chunks is None:
        faults += infinite_faults(recording.response.values, recording.response.dims)
    unknown = sorted(set(recording.split.values.astype(str)) - set(SPLITS))
    if unknown:
        faults.append(f"unknown split {unknown}; known: {list(SPLITS)}")
    index = recording.stimulus_index.values
    if not np.issubdtype(index.dtype, np.integer):
        faults.append(f"`stimulus_index` must be whole numbers, but is {index.dtype}")
    elif index.size and (index.min() < 0 or index.max() >= recording.sizes[kind]):
        faults.append(
            f"`stimulus_index` runs from {index.min()} to {index.max()}, "
            f"but there are {recording.sizes[kind]} {kind}s"
        )
    if len(np.unique(recording.neuron_id.values)) != recording.sizes["neuron"]:
        faults.append("`neuron_id` is not unique within the session")
    return faults


def infinite_faults(
    response: np.ndarray, dims: tuple[Any, ...], first_trial: int = 0
) -> list[str]:
    """Say where responses, the first of which is of trial `first_trial`, are infinite."""
    infinite = np.isinf(response)
    if not infinite.any():
        return []
    trial, *rest = map(int, np.argwhere(infinite)[0])
    return [f"`response` is infinite at ({', '.join(dims)}) {(first_trial + trial, *rest)}"]


def validate_recording(recording: xr.Dataset) -> xr.Dataset:
    """Return `recording` unchanged, or raise `InputError` naming every fault."""
    faults = recording_faults(recording)
    if faults:
        name = recording.attrs.get("recording_id", "this Dataset")
        msg = f"{name} is not a recording: " + "; ".join(faults) + "."
        raise InputError(msg)
    return recording


def fingerprint(
    recording: xr.Dataset, blocks: Callable[[str], Iterator[np.ndarray]] | None = None
) -> str:
    """Content hash of stimuli, responses, splits and neurons (16 hex digits of SHA-256).

    Two recordings with the same fingerprint hold the same data, whatever file
    they came from. A lazy recording is read through once, a chunk of rows at a time.

    Parameters
    ----------
    recording : xarray.Dataset
    blocks : callable, optional
        From the name of a variable to its values, some rows at a time: for one who reads them
        anyway. `row_blocks` where absent.

    """
    hashed = [name for name in HASHED if name in recording]
    words = "".join(
        f"{name}" + "\n".join(recording[name].values.astype(str))
        for name in (*TRIAL_COORDINATES, *NEURON_COORDINATES)
    )
    known = blocks is None and is_lazy(recording)
    key = tokenize(words, [recording[name].data for name in hashed]) if known else ""
    if key in _TAKEN:
        return _TAKEN[key]
    digest = hashlib.sha256()
    for name in hashed:
        variable = recording[name]
        digest.update(f"{name}{variable.shape}{variable.dtype}".encode())
        for values in blocks(name) if blocks else row_blocks(variable):
            digest.update(np.ascontiguousarray(values).data)
            del values  # before the next ones are read
    digest.update(words.encode())
    found = digest.hexdigest()[:16]
    if known:
        _TAKEN[key] = found
    return found


# Fingerprints of lazy recordings, by the names that dask gives their arrays: a fit asks for one
# several times, and reading 100 GB takes minutes.
_TAKEN: dict[str, str] = {}


def split_hash(recording: xr.Dataset) -> str:
    """Hash of which trial, by its image, is in which split (16 hex digits of SHA-256)."""
    rows = np.char.add(
        np.char.add(recording.image_id.values.astype(str), " "), recording.split.values.astype(str)
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def make_result(
    result: xr.Dataset,
    *,
    experiment: str,
    twin: str = "",
    recording: str = "",
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    source: str = "",
) -> xr.Dataset:
    """Stamp a result with what made it, so that a stranger can read it without the code.

    Parameters
    ----------
    result : xarray.Dataset
        Every data variable needs `long_name` and `units` ("1" for ratios).
    experiment : str
        Name of the function or command that made it.
    twin, recording : str
        Identity of what it was made from (`Twin.identity`, recording fingerprint).
    seed : int, optional
        Seed of whatever was random; absent where nothing was.
    settings : mapping, optional
        Stored as one JSON string.
    source : str
        Paper or DOI the definition follows.

    Returns
    -------
    xarray.Dataset
        A shallow copy; the input is not changed.

    """
    unlabelled = [
        str(name)
        for name, variable in result.data_vars.items()
        if not {"long_name", "units"} <= set(variable.attrs)
    ]
    if unlabelled:
        msg = f"Result variables need `long_name` and `units`; missing on {unlabelled}."
        raise ValueError(msg)
    stamped = result.copy()
    stamped.attrs = {
        "experiment": experiment,
        "twin": twin,
        "recording": recording,
        "settings": json.dumps(dict(settings or {}), sort_keys=True),
        "twinlab_version": version("twinlab-cortex"),
        "source": source,
    }
    if seed is not None:
        stamped.attrs["seed"] = seed
    return stamped


def save_result(result: xr.Dataset, path: str | PathLike[str]) -> Path:
    """Write a result to NetCDF, whole or not at all, and return where it is."""
    path = Path(path)
    with write_whole(path) as partial:
        partial.write_bytes(netcdf_bytes(result))
    return path


def netcdf_bytes(dataset: xr.Dataset) -> memoryview:
    """The NetCDF file of a Dataset, made in memory.

    HDF5 writing to a disk that fills up ends the process; a plain write raises `OSError`.
    """
    data = dataset.to_netcdf(engine="h5netcdf")
    if data is None:
        msg = "xarray wrote no NetCDF; twinlab needs xarray 2025.9 or newer."
        raise RuntimeError(msg)
    return memoryview(data)


def open_result(path: str | PathLike[str]) -> xr.Dataset:
    """Read a saved result into memory.

    Raises
    ------
    InputError
        If there is no such file or it is not a twinlab result.

    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file; expected a result written by `twinlab run` or `score`."
        raise InputError(msg)
    try:
        result = xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError, KeyError) as error:
        msg = f"{path}: cannot be read as NetCDF ({error}); write it again."
        raise InputError(msg) from error
    if "experiment" not in result.attrs:
        msg = f"{path}: has no `experiment` attribute; expected a result written by twinlab."
        raise InputError(msg)
    return result
