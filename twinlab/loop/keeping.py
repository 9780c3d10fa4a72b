"""A loop in one file: its plan, its stimuli, what came back and what was found, for the report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np
import xarray as xr

from twinlab import __version__
from twinlab.files import write_whole
from twinlab.loop.exporting import read_key, read_manifest
from twinlab.loop.folder import KEPT, STEPS, loop_status, open_loop
from twinlab.loop.making import HISTORY
from twinlab.loop.plan import Plan
from twinlab.loop.power import plan_around
from twinlab.loop.reading import parse_plan
from twinlab.loop.repeats import holm
from twinlab.loop.rounds import list_rounds
from twinlab.schema import InputError, make_result, open_result

__all__ = ["KEPT", "gather_loop", "keep_loop", "list_tests", "open_kept"]

KIND = "twinlab loop in one file 1"
PARTIAL = ".partial.nc"  # what a sweep that was cancelled leaves, see `insilico.run_sweep`
NEEDED = ("key", "responses", "prediction", "power", "tests")
# Tests of the whole population that a result may hold, and what each asks.
TESTS = {
    "mean_specificity_p_value": "each stimulus is the neuron's own",
    "population_p_value": "own stimulus against {}",
}


def keep_loop(folder: str | PathLike[str]) -> Path:
    """Put all that the report of a loop shows into one file in its folder, whole or not at all.

    Parameters
    ----------
    folder : path
        Of a loop whose comparison is done.

    Returns
    -------
    Path
        A NetCDF file. Each result of the folder but the history of the fit is a group under its
        own name; besides them are `key` (the stimuli), `power` (of the plan, as assumed
        beforehand), `tests` (`list_tests`) and, where there were any, `rounds` (`list_rounds`).
        The attributes hold the plan, the manifest of the export and a checksum.

    Raises
    ------
    InputError
        As `open_loop`, if the comparison is not done, or a result cannot be read.

    """
    folder = Path(folder)
    status = loop_status(folder)
    if not all(status.values()):
        waiting = next(step for step, done in status.items() if not done)
        todo = f"twinlab loop {'import' if waiting == 'responses' else 'run'} {folder}"
        msg = f"{folder}: step {waiting!r} is not done; run `{todo}` first."
        raise InputError(msg)
    groups = gather_loop(folder)
    attrs = {
        "kind": KIND,
        "plan": (folder / "plan.toml").read_text(encoding="utf-8"),
        "manifest": json.dumps(read_manifest(folder / STEPS["export"]), sort_keys=True),
        "twinlab_version": __version__,
    }
    attrs["sha256"] = _digest(attrs, groups)
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs)} | groups)
    with write_whole(folder / KEPT) as partial:
        partial.write_bytes(tree.to_netcdf(engine="h5netcdf"))
    return folder / KEPT


def gather_loop(folder: str | PathLike[str]) -> dict[str, xr.Dataset]:
    """Read what there is of a loop, whether or not all steps are done.

    Returns
    -------
    dict of str to xarray.Dataset
        Under the names that `keep_loop` tells; `key` only once the stimuli were exported.

    Raises
    ------
    InputError
        As `open_loop`, or if a result cannot be read.

    """
    plan, folder = open_loop(folder), Path(folder)
    # How long each epoch took is no result: two runs of one plan leave the same file.
    groups = {
        path.stem: open_result(path)
        for path in sorted(folder.glob("*.nc"))
        if path.name not in (KEPT, HISTORY) and not path.name.endswith(PARTIAL)
    }
    if (folder / STEPS["export"]).exists():
        groups["key"] = read_key(folder / STEPS["export"])
    groups |= {
        "power": plan_around(plan.units.number, plan.presentation.n_repeat),
        "tests": list_tests(groups),
    }
    if plan.rounds.number:
        groups["rounds"] = list_rounds(folder, plan)
    return groups


def open_kept(path: str | PathLike[str]) -> tuple[Plan, dict[str, xr.Dataset]]:
    """Read what `keep_loop` wrote.

    Returns
    -------
    plan : Plan
    groups : dict of str to xarray.Dataset
        By name; under "" what the file says of itself, as attributes.

    Raises
    ------
    InputError
        If there is no such file, it is something else, or it was damaged.

    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file; expected the {KEPT} of a loop."
        raise InputError(msg)
    try:
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            every = tree.to_dict()
            groups = {name.strip("/"): group.load() for name, group in every.items()}
    except Exception as error:  # HDF5 that was damaged fails in any way
        msg = f"{path}: cannot be read as NetCDF ({error}); expected the {KEPT} of a loop."
        raise InputError(" ".join(msg.split())) from error
    attrs = dict(groups[""].attrs)
    if attrs.get("kind") != KIND:
        msg = f"{path}: is not the {KEPT} of a loop; write it with `twinlab loop report FOLDER`."
        raise InputError(msg)
    if attrs.pop("sha256", "") != _digest(attrs, {k: v for k, v in groups.items() if k}):
        msg = f"{path}: was damaged or altered (its checksum is not its own); write it again."
        raise InputError(msg)
    return parse_plan(attrs["plan"], str(path)), groups


def list_tests(results: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """List the tests of the whole population that results hold, corrected for their number.

    Parameters
    ----------
    results : mapping of str to xarray.Dataset
        Of `compare_confusion` and `compare_controls`, among others.

    Returns
    -------
    xarray.Dataset
        Along `test`: `result`, the name of each; `question`; `p_value`; and `p_holm`, corrected
        for all of them. NaN where a test could not be made, which counts for none.

    """
    rows = []
    for name, result in results.items():
        for key, question in TESTS.items():
            if key in result:
                other = json.loads(result.attrs.get("settings", "{}")).get("other", "")
                of = result.control.values.astype(str) if "control" in result.dims else [other]
                rows += [
                    (name, question.format(one), float(p))
                    for one, p in zip(of, np.atleast_1d(result[key].values), strict=True)
                ]
    names, questions, p_value = zip(*rows, strict=True) if rows else ((), (), ())
    p = np.array(p_value, float)
    return make_result(
        xr.Dataset(
            {
                "p_value": ("test", p, {"long_name": "p value", "units": "1"}),
                "p_holm": ("test", holm(p), {"long_name": "p value (Holm)", "units": "1"}),
            },
            {
                "result": ("test", np.array(names, str)),
                "question": ("test", np.array(questions, str)),
            },
        ),
        experiment="tests",
        source="Holm (1979), Scandinavian Journal of Statistics 6: 65-70",
    )


def _digest(attrs: Mapping[str, str], groups: Mapping[str, xr.Dataset]) -> str:
    """Checksum of names, values and attributes."""
    digest = hashlib.sha256(json.dumps(attrs, sort_keys=True).encode())
    for name, group in sorted(groups.items()):
        digest.update(f"{name}{sorted(map(str, group.attrs.values()))}".encode())
        for key in sorted(map(str, group.variables)):
            variable = group.variables[key]
            values = variable.values
            if values.dtype.kind in "UO":  # text, whatever width a file gives it
                values = np.array("\n".join(values.ravel().astype(str)).encode())
            digest.update(f"{key}{variable.dims}{variable.shape}{variable.attrs}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
