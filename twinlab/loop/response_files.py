"""Files of responses as labs write them, CSV and NPZ, each as one plain table."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from twinlab.schema import InputError

__all__ = ["AXES", "ResponseTable", "check_columns", "read_csv", "read_npz", "read_rows"]

TIMES = ("onset_s", "on_s", "frame_rate_hz")  # what a rig may say of each trial
AXES = ("x_um", "y_um", "z_um")


class ResponseTable(NamedTuple):
    """What a file says: a row a trial, a column a unit.

    Attributes
    ----------
    trial, code : list of str
        Of each row, as written.
    unit : list of str
    response : ndarray of shape (row, unit)
        NaN where missing.
    times : dict of str to ndarray of shape (row,)
        Of `TIMES`, those that the file has; NaN where missing.
    first_line : int
        Number of the first row in the file.
    position_um : ndarray of shape (unit, axis), optional
        Along the first of `AXES`.
    response_units : str
    note : str
        How the responses were measured, where they were measured here.

    """

    trial: list[str]
    code: list[str]
    unit: list[str]
    response: np.ndarray
    times: dict[str, np.ndarray]
    first_line: int
    position_um: np.ndarray | None = None
    response_units: str = "a.u."
    note: str = ""


def read_csv(path: Path) -> ResponseTable:
    """Read a table with the columns `trial` and `code`, perhaps of `TIMES`, and one a unit.

    Raises
    ------
    InputError
        If it is no such table, naming the line.

    """
    head, rows = read_rows(path, "responses as CSV")
    unit = [name for name in head if name not in ("trial", "code", *TIMES)]
    check_columns(path, head, unit, len(rows))
    column = {name: [row[i] for row in rows] for i, name in enumerate(head)}
    numbers = {
        name: _numbers(path, name, column[name]) for name in head if name not in ("trial", "code")
    }
    return ResponseTable(
        column["trial"], column["code"], unit, np.stack([numbers[name] for name in unit], 1),
        {name: numbers[name] for name in TIMES if name in numbers}, 2,
    )  # fmt: skip


def read_rows(path: Path, expected: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file, stripped of blanks; all rows as long as the header.

    Raises
    ------
    InputError
        If the file cannot be read or a row is of another length.

    """
    if not path.is_file():
        msg = f"{path}: no such file; expected {expected}."
        raise InputError(msg)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: is not a table ({error}); expected {expected}."
        raise InputError(msg) from error
    while rows and not rows[-1]:  # empty lines at the end are not rows
        rows.pop()
    uneven = [i + 2 for i, row in enumerate(rows) if len(row) != len(head)]
    if uneven:
        msg = f"{path}: line {uneven[0]} has not the {len(head)} cells of the header; correct it."
        raise InputError(msg)
    return [name.strip() for name in head], [[cell.strip() for cell in row] for row in rows]


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
                "nothing where it is missing."
            )
            raise InputError(msg)
    return values


def read_npz(path: Path) -> ResponseTable:
    """Read arrays of the names of the columns of a CSV file, `unit` and `response`.

    Raises
    ------
    InputError
        If arrays are missing, are not plain, or do not fit each other.

    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        msg = f"{path}: no such file; expected responses as NPZ."
        raise InputError(msg) from error
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        msg = f"{path}: cannot be read as arrays ({error}); expected an NPZ file of plain arrays."
        raise InputError(msg) from error
    lacking = sorted({"trial", "code", "unit", "response"} - set(arrays))
    if lacking:
        msg = f"{path}: lacks {lacking}; expected `trial`, `code`, `unit` and `response`."
        raise InputError(msg)
    if "frame_rate_hz" in arrays and arrays["frame_rate_hz"].ndim == 0:
        arrays["frame_rate_hz"] = np.full(arrays["trial"].shape, arrays["frame_rate_hz"])
    n_trial, n_unit = (arrays[name].size for name in ("trial", "unit"))
    expected: dict[str, tuple[int, ...]] = {
        name: (n_trial,) for name in ("trial", "code", *TIMES) if name in arrays
    }
    expected |= {name: (n_unit,) for name in ("unit", *AXES) if name in arrays}
    expected["response"] = (n_trial, n_unit)
    sizes = {name: arrays[name].shape for name in expected}
    if sizes != expected:
        msg = f"{path}: has arrays of shape {sizes}; expected {expected}."
        raise InputError(msg)
    unit = arrays["unit"].astype(str).tolist()
    check_columns(path, ["trial", "code", *unit], unit, n_trial)
    for name in ("response", *TIMES, *AXES):
        values = arrays.get(name, np.zeros(0))
        if values.dtype.kind not in "iufb" or np.isinf(values).any():
            msg = f"{path}: `{name}` has values that are not finite numbers; NaN means missing."
            raise InputError(msg)
    axes = [arrays[name].astype(float) for name in AXES if name in arrays]
    return ResponseTable(
        arrays["trial"].astype(str).tolist(), arrays["code"].astype(str).tolist(), unit,
        arrays["response"].astype(np.float32),
        {name: arrays[name].astype(float) for name in TIMES if name in arrays}, 0,
        np.stack(axes, axis=1) if {"x_um", "y_um"} <= set(arrays) else None,
    )  # fmt: skip


def check_columns(path: Path, head: Sequence[str], unit: Sequence[str], n_row: int) -> None:
    """Raise `InputError` for columns that are missing, come twice or have no name."""
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
