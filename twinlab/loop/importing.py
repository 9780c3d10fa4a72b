"""Responses from a rig, held against the schedule line by line; nothing is guessed."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import xarray as xr

from twinlab.loop.exporting import read_key, read_schedule
from twinlab.loop.gathering import neuron_names
from twinlab.loop.schedule import BLANK
from twinlab.schema import InputError

__all__ = ["Imported", "import_responses"]

NOT_UNITS = ("trial", "code", "onset_s")  # columns of a table of responses besides the units
MOST_TOLD = 5  # faults of a kind in one message
CLOCK_ERROR = 0.01  # relative difference of the rig's clock and the schedule's


class Imported(NamedTuple):
    """Responses, and what is to be known about them, a line each."""

    responses: xr.Dataset
    findings: list[str]


class _Table(NamedTuple):
    """What a file says: a row a trial, a column a unit."""

    trial: list[str]
    code: list[str]
    unit: list[str]
    response: np.ndarray  # (row, unit), NaN where missing
    onset_s: np.ndarray | None
    first_line: int  # number of the first row in the file


def import_responses(path: str | PathLike[str], folder: str | PathLike[str]) -> Imported:
    """Read the responses to an exported schedule.

    Parameters
    ----------
    path : path
        CSV with the columns `trial` and `code`, as in `schedule.csv`, perhaps `onset_s`, and one
        a unit, under its name: one row a trial, empty where a response is missing. Or NPZ
        with arrays of the same names, `unit` (unit,) and `response` (trial, unit).
    folder : path
        Of `export_stimuli`.

    Returns
    -------
    Imported
        `responses`: a Dataset with `response` (trial, unit) of all planned trials in their
        order, NaN where there is none; along `trial` also `code`, `stimulus_id`, `kind` and
        `made_for`, the name of the neuron it was made for ("session/neuron_id"), empty for
        blanks; along `unit` its name. `findings`: missing and extra trials, stimuli without a
        response, silent units.

    Raises
    ------
    InputError
        Naming line by line, in one line of text, what contradicts the schedule: unknown codes,
        a trial that did not show what was planned, trials or units that come twice, responses
        that are not numbers, or another pace than planned.

    """
    path = Path(path)
    schedule, key = read_schedule(folder), read_key(folder)
    table = _read_npz(path) if path.suffix.lower() == ".npz" else _read_csv(path)
    trial = _check_rows(path, table, schedule)
    _check_pace(path, table, trial, schedule)
    n_trial = schedule.sizes["trial"]
    planned = trial < n_trial
    response = np.full((n_trial, len(table.unit)), np.nan, np.float32)
    response[trial[planned]] = table.response[planned]
    names = dict(zip(key.code.values.astype(str), range(key.sizes["stimulus"]), strict=True))
    of = [names.get(code, -1) for code in schedule.code.values.astype(str)]
    made_for = neuron_names(key.session.values, key.neuron_id.values)
    columns = {
        "stimulus_id": (key.stimulus_id.values.astype(str), BLANK),
        "kind": (key.kind.values.astype(str), BLANK),
        "made_for": (np.array(made_for), ""),
    }
    coords: dict[str, Any] = {
        name: ("trial", [str(values[i]) if i >= 0 else blank for i in of])
        for name, (values, blank) in columns.items()
    }
    responses = xr.Dataset(
        {"response": (("trial", "unit"), response, {"long_name": "response", "units": "a.u."})},
        coords | {"unit": table.unit, "trial": schedule.trial, "code": schedule.code},
    )
    findings = _find(table, trial, responses)
    return Imported(responses, findings)


def _check_rows(path: Path, table: _Table, schedule: xr.Dataset) -> np.ndarray:
    """Number of the trial in each row, or `InputError` naming the rows that cannot be."""
    planned = schedule.code.values.astype(str)
    known = set(planned)
    if set(table.trial) & known and not set(table.code) & known:
        msg = f"{path}: columns `trial` and `code` are swapped; give each its own name."
        raise InputError(msg)
    faults: list[str] = []
    trial = np.full(len(table.trial), -1)
    for row, (number, code) in enumerate(zip(table.trial, table.code, strict=True)):
        where = f"line {row + table.first_line}"
        if not number.isdecimal():
            faults.append(f"{where}: trial {number!r} is not a whole number")
            continue
        trial[row] = int(number)
        if code not in known:
            faults.append(f"{where}: code {code!r} is not of this export")
        elif trial[row] < len(planned) and planned[trial[row]] != code:
            faults.append(
                f"{where}: trial {number} is said to show {code}, but {planned[trial[row]]} was "
                "planned"
            )
    twice = [str(n) for n, count in Counter(trial[trial >= 0].tolist()).items() if count > 1]
    faults += [f"trial {number} comes twice" for number in twice]
    if faults:
        shown = "; ".join(faults[:MOST_TOLD])
        more = f"; and {len(faults) - MOST_TOLD} more" if faults[MOST_TOLD:] else ""
        msg = f"{path}: does not fit the schedule: {shown}{more}; correct the file."
        raise InputError(msg)
    return trial


def _check_pace(path: Path, table: _Table, trial: np.ndarray, schedule: xr.Dataset) -> None:
    """Refuse responses whose trials follow one another at another pace than planned."""
    if table.onset_s is None:
        return
    there = (trial < schedule.sizes["trial"]) & np.isfinite(table.onset_s)
    if np.unique(trial[there]).size < 2:
        return
    planned = schedule.onset_s.values[trial[there]]
    pace = np.polyfit(planned, table.onset_s[there], 1)[0]
    if abs(pace - 1) > CLOCK_ERROR:
        period = schedule.attrs["on_s"] + schedule.attrs["off_s"]
        msg = (
            f"{path}: trials follow one another after {pace * period:.4g} s, but {period:.4g} s "
            "were planned: another frame rate, or `onset_s` is not in seconds; correct it, or "
            "export for the rig as it is."
        )
        raise InputError(msg)


def _find(table: _Table, trial: np.ndarray, responses: xr.Dataset) -> list[str]:
    """What is missing, extra or suspicious, a line each."""
    n_trial = responses.sizes["trial"]
    findings = []
    extra = np.flatnonzero(trial >= n_trial)
    for row in extra:
        findings.append(
            f"line {row + table.first_line}: trial {trial[row]} ({table.code[row]}) was not "
            f"planned (the last is {n_trial - 1}); left out"
        )
    codes = responses.code.values.astype(str)
    absent = np.setdiff1d(np.arange(n_trial), trial)
    findings += [f"trial {i} ({codes[i]}) is missing" for i in absent]
    values = responses.response.values
    partly = np.setdiff1d(np.flatnonzero(np.isnan(values).any(1)), absent)
    for i in partly:
        n = int(np.isnan(values[i]).sum())
        findings.append(f"trial {i} ({codes[i]}) lacks the responses of {n} units")
    for code in np.unique(codes):
        shown = codes == code
        if np.isnan(values[shown]).all():
            findings.append(f"stimulus {code} has no response at all")
    for name, column in zip(table.unit, values.T, strict=True):
        given = column[np.isfinite(column)]
        if not given.size or np.ptp(given) == 0:
            what = f"always {given[0]:g}" if given.size else "never given"
            findings.append(f"unit {name}: the response is {what}")
    return findings


def _read_csv(path: Path) -> _Table:
    if not path.is_file():
        msg = f"{path}: no such file; expected responses as CSV or NPZ."
        raise InputError(msg)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head, *rows = list(csv.reader(file)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: is not a table ({error}); expected responses as CSV or NPZ."
        raise InputError(msg) from error
    while rows and not rows[-1]:  # empty lines at the end are not trials
        rows.pop()
    head = [name.strip() for name in head]
    unit = [name for name in head if name not in NOT_UNITS]
    _check_columns(path, head, unit, len(rows))
    uneven = [i + 2 for i, row in enumerate(rows) if len(row) != len(head)]
    if uneven:
        msg = f"{path}: line {uneven[0]} has not the {len(head)} cells of the header; correct it."
        raise InputError(msg)
    column = {name: [row[i].strip() for row in rows] for i, name in enumerate(head)}
    numbers = {
        name: _numbers(path, name, column[name]) for name in head if name not in ("trial", "code")
    }
    return _Table(
        column["trial"], column["code"], unit, np.stack([numbers[name] for name in unit], 1),
        numbers.get("onset_s"), 2,
    )  # fmt: skip


def _numbers(path: Path, name: str, cells: list[str]) -> np.ndarray:
    """Values of a column, NaN where it is empty."""
    values = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        if cell.lower() in ("", "nan"):
            continue
        try:
            values[i] = float(cell)
        except ValueError:
            values[i] = np.inf
        if not np.isfinite(values[i]):
            msg = (
                f"{path}: line {i + 2}, column {name!r} is {cell!r}; expected a finite number, or "
                "nothing where the response is missing."
            )
            raise InputError(msg)
    return values


def _read_npz(path: Path) -> _Table:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, BadZipFile) as error:
        msg = f"{path}: cannot be read as arrays ({error}); expected an NPZ file of plain arrays."
        raise InputError(msg) from error
    lacking = sorted({"trial", "code", "unit", "response"} - set(arrays))
    if lacking:
        msg = f"{path}: lacks {lacking}; expected `trial`, `code`, `unit` and `response`."
        raise InputError(msg)
    unit = arrays["unit"].astype(str).tolist()
    _check_columns(path, ["trial", "code", *unit], unit, len(arrays["trial"]))
    shape = (len(arrays["trial"]), len(unit))
    sizes = {name: arrays[name].shape for name in ("trial", "code", "response", "onset_s")
             if name in arrays}  # fmt: skip
    expected = {name: shape if name == "response" else shape[:1] for name in sizes}
    if sizes != expected:
        msg = f"{path}: has arrays of shape {sizes}; expected {expected}."
        raise InputError(msg)
    response = arrays["response"]
    if not np.issubdtype(response.dtype, np.number) or np.isinf(response).any():
        msg = f"{path}: `response` has values that are not finite numbers; NaN means missing."
        raise InputError(msg)
    onset = arrays["onset_s"].astype(float) if "onset_s" in arrays else None
    return _Table(
        arrays["trial"].astype(str).tolist(), arrays["code"].astype(str).tolist(), unit,
        response.astype(np.float32), onset, 0,
    )  # fmt: skip


def _check_columns(path: Path, head: Sequence[str], unit: Sequence[str], n_row: int) -> None:
    faults = [f"column `{name}` is missing" for name in ("trial", "code") if name not in head]
    twice = sorted(name for name, count in Counter(head).items() if count > 1)
    faults += [f"{name!r} comes twice" for name in twice]
    if not unit:
        faults.append("there is no unit")
    if "" in unit:
        faults.append("a unit has no name")
    if not n_row:
        faults.append("there is no trial")
    if faults:
        msg = f"{path}: cannot be used: " + "; ".join(faults) + "."
        raise InputError(msg)
