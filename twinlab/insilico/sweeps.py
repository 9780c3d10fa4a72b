"""Sweeps: an experiment over many neurons and a grid of settings, in parts kept on disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from os import PathLike
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np
import xarray as xr

from twinlab import schema
from twinlab.evaluation import explainable_variance, unroll_frames
from twinlab.files import write_whole
from twinlab.insilico.responses import Neurons, chosen_positions, neuron_labels, neuron_names
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError
from twinlab.twins import ConditionedTwin, Twin

__all__ = ["RELIABLE", "reliable_neurons", "run_sweep"]

PART = 128  # neurons of a part: what a stop can cost, and what is in memory at once
# Share of explainable variance below which Cadena et al. (2019) left neurons out.
RELIABLE = 0.15


def reliable_neurons(
    twin: ConditionedTwin, recording: xr.Dataset, *, min_explainable_variance: float = RELIABLE
) -> np.ndarray:
    """Positions in a twin of the neurons that answered repeats of one stimulus alike.

    Parameters
    ----------
    twin : ConditionedTwin
    recording : xarray.Dataset
        With some of the twin's neurons and with repeated stimuli. Neurons of the twin that it
        lacks are not chosen.
    min_explainable_variance : float
        Neurons whose `evaluation.explainable_variance` is above this are chosen; below 1.

    Returns
    -------
    ndarray of int
        Ascending.

    Raises
    ------
    InputError
        If the cut is not below 1, no stimulus is repeated, the recording has none of the
        twin's neurons, or none is that reliable.

    References
    ----------
    Cadena et al. (2019), PLOS Computational Biology 15(4): e1006897.

    """
    if not min_explainable_variance < 1:
        msg = (
            f"`min_explainable_variance` must be below 1, but is {min_explainable_variance:g}; "
            f"{RELIABLE:g} is usual."
        )
        raise InputError(msg)
    response = recording.response
    if "frame" in response.dims:
        response = unroll_frames(response)
    share = explainable_variance(response.values, response.stimulus_index.values)
    if not np.isfinite(share).any():
        msg = (
            "No stimulus of this recording is repeated, so that nobody knows which neurons are "
            "reliable; choose neurons by position."
        )
        raise InputError(msg)
    known = dict(zip(neuron_names(recording), share, strict=True))
    found = np.array([known.get(name, np.nan) for name in neuron_names(twin.labels)])
    if not np.isfinite(found).any():
        msg = "The recording has none of the twin's neurons; give the one it was fitted to."
        raise InputError(msg)
    chosen = np.flatnonzero(found > min_explainable_variance)
    if not len(chosen):
        msg = (
            f"No neuron has an explainable variance above {min_explainable_variance:g}; the "
            f"largest is {np.nanmax(found):.3g}."
        )
        raise InputError(msg)
    return chosen


@dataclass(frozen=True)
class _Plan:
    """What a sweep consists of: a part is some neurons at one point of the grid."""

    positions: np.ndarray
    grid: dict[str, list[Any]]
    part_size: int

    @property
    def points(self) -> list[tuple[int, ...]]:
        """Indices into the values of each swept setting."""
        return list(product(*(range(len(values)) for values in self.grid.values())))

    def __len__(self) -> int:
        return -(-len(self.positions) // self.part_size) * len(self.points)

    def __iter__(self) -> Iterator[tuple[int, slice, tuple[int, ...]]]:
        """Number, neurons and point of each part; the point varies fastest.

        So a setting that cannot be swept is found out after two parts, not after all neurons.
        """
        number = 0
        for start in range(0, len(self.positions), self.part_size):
            rows = slice(start, min(start + self.part_size, len(self.positions)))
            for point in self.points:
                yield number, rows, point
                number += 1


def run_sweep(
    function: Callable[..., xr.Dataset],
    twin: ConditionedTwin,
    target: str | PathLike[str],
    neurons: Neurons | str = None,
    *,
    settings: Mapping[str, Any] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    recording: xr.Dataset | None = None,
    min_explainable_variance: float = RELIABLE,
    part_size: int | None = PART,
    made_by: Mapping[str, str] | None = None,
    job: Job | None = None,
) -> Path:
    """Run an experiment over neurons and a grid of settings, and write one result file.

    Some neurons at one point of the grid make a part. Each is written whole to a folder
    beside `target` (its name with ``.parts``) as soon as it is done, and the result file is
    then filled part by part: memory holds one part, however long the sweep. A run that
    was stopped or killed goes on with the parts there are, and ends with the same file. One that
    was cancelled first writes what there is to ``NAME.partial.nc``: `complete` is 0 there,
    and what was not computed NaN.

    Parameters
    ----------
    function : callable
        ``function(twin, positions, job=job, **settings)`` returns a result along `neuron`.
    twin : ConditionedTwin
    target : path
        File to write (.nc).
    neurons : sequence of int or "reliable", optional
        Positions of the neurons; all where absent. "reliable" takes those of `reliable_neurons`
        in `recording`.
    settings : mapping, optional
        Settings that stay.
    grid : mapping of str to sequence, optional
        Values of the settings that are swept; each adds a dimension after `neuron` to every
        variable, named like the setting (``swept_`` before it where the result has a
        variable of that name). The result's other coordinates must not depend on them.
    recording : xarray.Dataset, optional
        For "reliable".
    min_explainable_variance : float
        For "reliable".
    part_size : int, optional
        Neurons of a part; all of them where None, as an experiment needs that reads out
        the neurons together.
    made_by : mapping of str to str, optional
        What else decides the result, so that parts of another run are not taken for this one's.
        The function's name, the twin, its context, neurons, settings and the version of twinlab
        are minded anyway.
    job : Job, optional

    Returns
    -------
    Path
        `target`. The attributes of the result are those of its first part, with `complete` (1),
        `swept` (JSON list of the added dimensions), and the swept values in `settings`.

    Raises
    ------
    InputError
        If `target` is a folder or its parts are another run's, a setting is both given and
        swept, has no value or none that could be told from another, a coordinate depends on a
        swept setting, or no neuron is chosen.
    OSError
        If the disk has no room for the result.

    """
    job = job or Job()
    settings, plan, chosen_by = dict(settings or {}), *_plan(
        twin, neurons, dict(grid or {}), recording, min_explainable_variance, part_size
    )  # fmt: skip
    both = sorted(set(settings) & set(plan.grid))
    if both:
        msg = f"`{both[0]}` is both set and swept; do one of the two."
        raise InputError(msg)
    target = Path(target).expanduser().resolve()
    if target.is_dir():
        msg = f"{target}: is a folder; name a file to write the result to."
        raise InputError(msg)
    folder = _open_folder(target, function, twin, plan, settings, dict(made_by or {}))
    unfinished = target.with_name(f"{target.stem}.partial{target.suffix}")
    first: xr.Dataset | None = None
    try:
        for number, rows, point in plan:
            path = folder / f"{number:06d}.nc"
            if path.exists() and number:
                continue
            if not path.exists():
                job.check()
                stage = job.part(number / len(plan), (number + 1) / len(plan))
                swept = {
                    name: plan.grid[name][i] for name, i in zip(plan.grid, point, strict=True)
                }
                result = function(
                    twin, plan.positions[rows].tolist(), job=stage, **settings, **swept
                )
                _check_alike(result, first, plan)
                schema.save_result(result, path)
            first = first if first is not None else _without_values(schema.open_result(path))
    except Cancelled as stopped:
        if first is None:
            raise
        _assemble(folder, unfinished, twin, plan, chosen_by)
        msg = f"what is done is in {unfinished}; run the same again to go on"
        raise Cancelled(msg) from stopped
    _assemble(folder, target, twin, plan, chosen_by)
    unfinished.unlink(missing_ok=True)
    shutil.rmtree(folder)
    return target


def _plan(
    twin: ConditionedTwin,
    neurons: Neurons | str,
    grid: dict[str, Sequence[Any]],
    recording: xr.Dataset | None,
    min_explainable_variance: float,
    part_size: int | None,
) -> tuple[_Plan, str]:
    """Return what is to be done, and in words how the neurons were chosen."""
    for name, values in grid.items():
        if not len(values) or len(set(values)) < len(values):
            msg = f"`{name}` needs one or more different values to sweep, but got {list(values)}."
            raise InputError(msg)
    chosen_by = ""
    if isinstance(neurons, str):
        if neurons != "reliable" or recording is None:
            found = repr(neurons) if neurons != "reliable" else "no recording to find them in"
            msg = f"`neurons` must be positions, or 'reliable' with a `recording`; got {found}."
            raise InputError(msg)
        neurons = reliable_neurons(
            twin, recording, min_explainable_variance=min_explainable_variance
        )
        chosen_by = (
            f"{len(neurons)} of {len(twin)} neurons, explainable variance above "
            f"{min_explainable_variance:g} in recording {recording.attrs.get('fingerprint', '')}"
        )
    positions = chosen_positions(len(twin), neurons)
    size = len(positions) if part_size is None else part_size
    if size < 1:
        msg = f"`part_size` must be at least 1 neuron, but is {size}."
        raise InputError(msg)
    plain = {
        name: [value.item() if isinstance(value, np.generic) else value for value in values]
        for name, values in grid.items()
    }
    return _Plan(positions, plain, size), chosen_by


def _open_folder(
    target: Path,
    function: Callable[..., xr.Dataset],
    twin: ConditionedTwin,
    plan: _Plan,
    settings: dict[str, Any],
    made_by: dict[str, str],
) -> Path:
    """Folder of the parts, or `InputError` if those in it are another run's."""
    folder = target.with_name(target.name + ".parts")
    words = json.dumps(
        {
            **made_by,
            "function": _name_of(function),
            "twinlab_version": version("twinlab-cortex"),
            "twin": twin.identity,
            "context": twin.context,
            "neurons": plan.positions.tolist(),
            "part_size": plan.part_size,
            "settings": settings,
            "grid": plan.grid,
        },
        sort_keys=True,
        default=_identify,
    )
    mark = folder / "plan.json"
    if mark.is_file() and mark.read_text() != words:
        msg = (
            f"{folder}: holds the parts of another run; run that again to finish it, choose "
            "another file for the result, or remove the folder."
        )
        raise InputError(msg)
    if not mark.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for stale in _parts(folder).values():  # of a run that was killed while it cleaned up
            stale.unlink()
        with write_whole(mark) as partial:
            partial.write_text(words)
    return folder


def _name_of(function: Callable[..., xr.Dataset]) -> str:
    """Module and name of an experiment; of an object that can be called, those of its class."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _identify(value: Any) -> Any:  # noqa: ANN401 - any setting
    """What stands for a setting in the plan where JSON has no word for it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, xr.DataArray):
        value = value.to_dataset(name="values")
    if isinstance(value, xr.Dataset):
        return hashlib.sha256(schema.netcdf_bytes(value)).hexdigest()[:16]
    if isinstance(value, Twin | ConditionedTwin):
        return value.identity
    msg = (
        f"A setting of a sweep must be numbers, words, a Dataset or a twin, so that its parts are "
        f"known again, but got {type(value).__name__}; bind it in a function of your own."
    )
    raise InputError(msg)


def _parts(folder: Path) -> dict[int, Path]:
    """Parts that are done, by number."""
    return {int(path.stem): path for path in folder.glob("*.nc") if path.stem.isdigit()}


def _without_values(result: xr.Dataset) -> xr.Dataset:
    """A result whose variables along `neuron` are empty: what parts must have in common."""
    empty = result.isel(neuron=slice(0, 0)) if "neuron" in result.dims else result
    return empty.copy(deep=True)  # a view would keep the values alive


def _check_alike(result: xr.Dataset, first: xr.Dataset | None, plan: _Plan) -> None:
    """Raise `InputError` unless a part can stand beside the first in one array."""
    if first is None:
        return
    swept = ", ".join(f"`{name}`" for name in plan.grid)
    own = _without_values(result)
    if dict(own.sizes) != dict(first.sizes) or set(own.data_vars) != set(first.data_vars):
        msg = (
            f"Sweeping {swept} changes the shape of the result from {dict(first.sizes)} to "
            f"{dict(own.sizes)}; run its values one by one."
        )
        raise InputError(msg)
    for name, values in first.coords.items():
        if name not in own.coords or not own[name].variable.equals(values.variable):
            msg = f"Sweeping {swept} moves the coordinate `{name}`; run its values one by one."
            raise InputError(msg)


def _assemble(
    folder: Path, target: Path, twin: ConditionedTwin, plan: _Plan, chosen_by: str
) -> None:
    """Write one file of all parts there are, reading one at a time."""
    done = _parts(folder)
    first = schema.open_result(done[0])
    complete = len(done) == len(plan)
    taken = set(first.variables) | set(first.dims)
    names = [f"swept_{name}" if name in taken else name for name in plan.grid]
    skeleton = _skeleton(first, twin, plan, names, chosen_by, complete=complete)
    regions = {
        str(name): (variable, _dimensions(variable, () if name in first.coords else names))
        for name, variable in first.variables.items()
        if name not in skeleton.coords
    }
    sizes = {str(name): size for name, size in {**first.sizes, **skeleton.sizes}.items()}
    sizes |= {"neuron": len(plan.positions)}
    with write_whole(folder / "whole") as partial:
        _check_room(partial.parent, target, regions, sizes)
        skeleton.to_netcdf(partial, engine="h5netcdf")
        with h5netcdf.File(partial, "a") as store:
            for name, size in sizes.items():
                if name not in store.dimensions:
                    store.dimensions[name] = size
            for name, (variable, dimensions) in regions.items():
                _create(store, name, variable, dimensions, complete=complete)
            coords = [*first.coords, *skeleton.coords]
            named = [name for name in dict.fromkeys(map(str, coords)) if name not in sizes]
            if named:
                store.attrs["coordinates"] = " ".join(named)  # what tells them from variables
            for number, rows, point in plan:
                if number in done:
                    _fill(store, schema.open_result(done[number]), rows, point, regions)
    # Moved from within the folder: what a kill leaves behind goes with the folder later.
    os.replace(folder / "whole", target)


def _skeleton(
    first: xr.Dataset,
    twin: ConditionedTwin,
    plan: _Plan,
    names: list[str],
    chosen_by: str,
    *,
    complete: bool,
) -> xr.Dataset:
    """Coordinates and attributes of the whole: all that is known before its parts are read."""
    shared = {
        name: values.variable
        for name, values in first.coords.items()
        if "neuron" not in values.dims
    }
    swept = {
        dimension: (
            dimension,
            np.asarray(values),
            {"long_name": f"setting `{name}`", "units": "1"},
        )
        for dimension, (name, values) in zip(names, plan.grid.items(), strict=True)
    }
    labels = neuron_labels(twin, plan.positions) if "neuron" in first.dims else xr.Dataset()
    skeleton = xr.Dataset(coords=dict(labels.coords)).assign_coords(shared | swept)
    settings = json.loads(first.attrs.get("settings", "{}")) | plan.grid
    if chosen_by:
        settings["neurons"] = chosen_by
    return skeleton.assign_attrs(
        first.attrs
        | {
            "settings": json.dumps(settings, sort_keys=True),
            "swept": json.dumps(names),
            "complete": int(complete),
        }
    )


def _dimensions(variable: xr.Variable, swept: Sequence[str]) -> tuple[str, ...]:
    """Dimensions of a variable in the whole: swept ones come after `neuron`."""
    rest = [str(name) for name in variable.dims if name != "neuron"]
    return (*(["neuron"] if "neuron" in variable.dims else []), *swept, *rest)


def _check_room(
    folder: Path, target: Path, regions: dict[str, Any], sizes: dict[str, int]
) -> None:
    """Raise `OSError` if the disk is too full: HDF5 that runs out of it ends the process."""
    needed = sum(
        variable.dtype.itemsize * int(np.prod([sizes[name] for name in dimensions]))
        for variable, dimensions in regions.values()
    )
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))


def _create(
    store: h5netcdf.File,
    name: str,
    variable: xr.Variable,
    dimensions: tuple[str, ...],
    *,
    complete: bool,
) -> None:
    """Make an empty variable of the whole, all NaN (or the empty string)."""
    attrs = dict(variable.attrs)
    dtype: Any = variable.dtype
    if dtype.kind in "UOS":
        made = store.create_variable(name, dimensions, h5py.string_dtype())
    else:
        if dtype.kind in "iub" and not complete:  # so that what is missing can be NaN
            dtype = np.result_type(np.int8 if dtype.kind == "b" else dtype, np.float32)
        elif dtype.kind == "b":
            dtype, attrs["dtype"] = np.dtype(np.int8), "bool"  # as xarray writes it
        fill = np.nan if dtype.kind == "f" else None
        made = store.create_variable(name, dimensions, dtype, fillvalue=fill)
    for key, value in attrs.items():
        made.attrs[key] = value


def _fill(
    store: h5netcdf.File,
    part: xr.Dataset,
    rows: slice,
    point: tuple[int, ...],
    regions: dict[str, Any],
) -> None:
    """Write one part where it belongs."""
    for name, (_, dimensions) in regions.items():
        variable = part[name].variable
        has_neuron = "neuron" in variable.dims
        order = ["neuron"] if has_neuron else []
        values = variable.transpose(*order, ...).values
        swept = len(dimensions) > variable.ndim
        place = (*([rows] if has_neuron else []), *(point if swept else ()), ...)
        if not has_neuron and rows.start:
            numeric = values.dtype.kind not in "UOS"
            if numeric and not np.array_equal(store[name][place], values, equal_nan=True):
                msg = f"`{name}` depends on which neurons are asked about; use one part."
                raise ValueError(msg)
            continue
        store[name][place] = values
