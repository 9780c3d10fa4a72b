"""Responses from a rig, held against the schedule line by line; nothing is guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import xarray as xr

from twinlab.jobs import Job
from twinlab.loop.exporting import read_key, read_manifest, read_schedule, read_stimuli
from twinlab.loop.gathering import neuron_names
from twinlab.loop.response_files import AXES, ResponseTable, read_csv, read_npz
from twinlab.loop.response_nwb import read_nwb
from twinlab.loop.schedule import BLANK
from twinlab.schema import InputError

__all__ = ["Imported", "import_responses"]

MOST_TOLD = 5  # faults of a kind in one message
MOST_DIGITS = 9  # of the number of a trial
CLOCK_ERROR = 0.01  # relative difference of the rig's clock and the schedule's


class Imported(NamedTuple):
    """Responses, and what is to be known about them, a line each."""

    responses: xr.Dataset
    findings: list[str]


def import_responses(
    path: str | PathLike[str],
    folder: str | PathLike[str],
    *,
    series: str = "",
    trials: str = "",
    window: tuple[float, float] | None = None,
    job: Job | None = None,
) -> Imported:
    """Read the responses to an exported schedule.

    Parameters
    ----------
    path : path
        CSV with the columns `trial` and `code`, as in `schedule.csv`, and one a unit, under its
        name: one row a trial, empty where a response is missing. Perhaps also `onset_s`, `on_s`,
        for how long the stimulus was shown, and `frame_rate_hz` of the screen. Or NPZ with
        arrays of the same names, `unit` (unit,) and `response` (trial, unit), perhaps `x_um`,
        `y_um` and `z_um` (unit,). Or an NWB 2 file with a table of trials that has the columns
        `code` and `trial`, and traces of ROIs or spikes of units on the same clock.
    folder : path
        Of `export_stimuli`.
    series, trials : str
        Which set of traces ("spikes" for those of units) and which table, where an NWB file has
        several.
    window : tuple of two floats, optional
        Seconds after each onset in which an NWB file's responses are measured, see `read_nwb`.
    job : Job, optional

    Returns
    -------
    Imported
        `responses`: a Dataset with `response` (trial, unit) of all planned trials in their
        order, NaN where there is none; along `trial` also `code`, `stimulus_id`, `kind` and
        `made_for`, the name of the neuron it was made for ("session/neuron_id"), empty for
        those made for none; along `unit` its name, and its position where the file states it.
        `findings`: missing and extra trials, stimuli without a response, silent units, trials
        that were shown for too long or too short, exported stimuli that were altered since.

    Raises
    ------
    InputError
        Naming line by line, in one line of text, what contradicts the schedule: unknown codes,
        a trial that did not show what was planned, trials or units that come twice, responses
        that are not numbers, or another pace or frame rate than planned.

    """
    path = Path(path)
    schedule, key = read_schedule(folder), read_key(folder)
    if path.suffix.lower() == ".npz":
        table = read_npz(path)
    elif path.is_file() and h5py.is_hdf5(path):
        table = read_nwb(
            path, on_s=schedule.attrs["on_s"], series=series, trials=trials, window=window, job=job
        )
    elif path.is_file() and path.suffix.lower() == ".nwb":
        msg = f"{path}: is no HDF5 file, as NWB files are; it may have been copied in part."
        raise InputError(msg)
    else:
        table = read_csv(path)
    if (series or trials or window) and not table.note:
        msg = f"{path}: series, trials and window are chosen in NWB files only; leave them out."
        raise InputError(msg)
    trial = _check_rows(path, table, schedule)
    n_trial = schedule.sizes["trial"]
    times = {name: _in_order(values, trial, n_trial) for name, values in table.times.items()}
    frame_rate = read_manifest(folder)["rig"]["frame_rate_hz"]
    _check_times(path, times, schedule, frame_rate)
    response = _in_order(table.response, trial, n_trial).astype(np.float32)
    names = dict(zip(key.code.values.astype(str), range(key.sizes["stimulus"]), strict=True))
    of = [names.get(code, -1) for code in schedule.code.values.astype(str)]
    own = key.neuron_id.values.astype(str) != ""
    made_for = np.where(own, neuron_names(key.session.values, key.neuron_id.values), "")
    columns = {
        "stimulus_id": (key.stimulus_id.values.astype(str), BLANK),
        "kind": (key.kind.values.astype(str), BLANK),
        "made_for": (made_for, ""),
    }
    coords: dict[str, Any] = {
        name: ("trial", [str(values[i]) if i >= 0 else blank for i in of])
        for name, (values, blank) in columns.items()
    }
    if table.position_um is not None:
        coords |= {
            name: ("unit", values, {"long_name": f"cortical {name[0]}", "units": "um"})
            for name, values in zip(AXES, table.position_um.T, strict=False)
        }
    attrs = {"long_name": "response", "units": table.response_units}
    responses = xr.Dataset(
        {"response": (("trial", "unit"), response, attrs)},
        coords | {"unit": table.unit, "trial": schedule.trial, "code": schedule.code},
    )
    findings = [
        *([table.note] if table.note else []),
        *_compare_files(folder),
        *_find_trials(table, trial, responses, schedule.attrs["n_repeat"]),
        *_find_times(times, schedule, frame_rate),
        *_find_silent(responses),
    ]
    return Imported(responses, findings)


def _check_rows(path: Path, table: ResponseTable, schedule: xr.Dataset) -> np.ndarray:
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
        if not number.isdecimal() or len(number) > MOST_DIGITS:
            faults.append(f"{where}: trial {number!r} is not a whole number of a trial")
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


def _in_order(values: np.ndarray, trial: np.ndarray, n_trial: int) -> np.ndarray:
    """Values of all planned trials, NaN where there is none, of those of the rows."""
    ordered = np.full((n_trial, *values.shape[1:]), np.nan)
    planned = trial < n_trial
    ordered[trial[planned]] = values[planned]
    return ordered


def _check_times(
    path: Path, times: dict[str, np.ndarray], schedule: xr.Dataset, frame_rate: float
) -> None:
    """Refuse what was shown at another frame rate or pace than planned."""
    on_s, period = schedule.attrs["on_s"], schedule.attrs["on_s"] + schedule.attrs["off_s"]
    faults = []
    stated = times.get("frame_rate_hz", np.zeros(0))
    for trial in np.flatnonzero(abs(stated - frame_rate) > CLOCK_ERROR * frame_rate)[:1]:
        faults.append(
            f"trial {trial} at {stated[trial]:.4g} Hz, but the export is for {frame_rate:.4g} Hz"
        )
    usual = _median(times.get("on_s", np.zeros(0)))
    if abs(usual - on_s) > _slack(on_s, frame_rate):
        faults.append(f"stimuli for {usual:.4g} s, but {on_s:.4g} s were planned")
    onset = times.get("onset_s", np.zeros(0))
    there = np.flatnonzero(np.isfinite(onset))
    # of trials that follow one another, so that the rig may rest between blocks
    pace = _median(np.diff(onset[there]) / np.diff(schedule.onset_s.values[there]))
    if abs(pace - 1) > CLOCK_ERROR:
        faults.append(
            f"a trial each {pace * period:.4g} s, but one each {period:.4g} s was planned"
        )
    if faults:
        msg = (
            f"{path}: was not shown as planned: {'; '.join(faults)}: another frame rate, or times "
            "that are not in seconds; correct it, or export for the rig as it is."
        )
        raise InputError(msg)


def _median(values: np.ndarray) -> float:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if there.size else np.nan


def _slack(on_s: float, frame_rate: float) -> float:
    """By how much a stimulus may be shown longer or shorter: a frame, and the clocks' error."""
    return 1 / frame_rate + CLOCK_ERROR * on_s


def _compare_files(folder: str | PathLike[str]) -> Iterator[str]:
    """Say which of the stimuli that the rig was given are not those exported."""
    for file_format in read_manifest(folder)["formats"]:  # any of them may have been shown
        try:
            read_stimuli(folder, file_format)
        except InputError as error:  # what was shown may still have been right
            yield f"the files of stimuli have changed ({file_format}): {error}"


def _find_trials(
    table: ResponseTable, trial: np.ndarray, responses: xr.Dataset, n_repeat: int
) -> Iterator[str]:
    """Say which trials are missing or extra; blocks that are missing whole in a line each."""
    n_trial = responses.sizes["trial"]
    for row in np.flatnonzero(trial >= n_trial):
        yield (
            f"line {row + table.first_line}: trial {trial[row]} ({table.code[row]}) was not "
            f"planned (the last is {n_trial - 1}); left out"
        )
    codes = responses.code.values.astype(str)
    there = np.isin(np.arange(n_trial), trial)
    size = n_trial // n_repeat
    for block in range(n_repeat):
        within = np.arange(block * size, (block + 1) * size)
        if not there[within].any():
            yield f"block {block} (trials {within[0]} to {within[-1]}) is missing"
        else:
            yield from (f"trial {i} ({codes[i]}) is missing" for i in within[~there[within]])
    values = responses.response.values
    for i in np.flatnonzero(there & np.isnan(values).any(1)):
        n = int(np.isnan(values[i]).sum())
        yield f"trial {i} ({codes[i]}) lacks the responses of {n} units"
    for code in np.unique(codes):
        if np.isnan(values[codes == code]).all():
            yield f"stimulus {code} has no response at all"


def _find_times(
    times: dict[str, np.ndarray], schedule: xr.Dataset, frame_rate: float
) -> Iterator[str]:
    """Say which trials were shown too long or too short, or before the one that they follow."""
    planned = schedule.attrs["on_s"]
    shown = times.get("on_s", np.zeros(0))
    for i in np.flatnonzero(abs(shown - planned) > _slack(planned, frame_rate)):
        yield f"trial {i} was shown for {shown[i]:.4g} s, {planned:.4g} s were planned"
    onset = times.get("onset_s", np.zeros(0))
    there = np.flatnonzero(np.isfinite(onset))
    for i in np.flatnonzero(np.diff(onset[there]) <= 0):
        yield f"trial {there[i + 1]} came on before trial {there[i]}, by `onset_s`"


def _find_silent(responses: xr.Dataset) -> Iterator[str]:
    """Say which units never change or have no response."""
    units = responses.unit.values.astype(str)
    for name, column in zip(units, responses.response.values.T, strict=True):
        given = column[np.isfinite(column)]
        if not given.size or np.ptp(given) == 0:
            what = f"always {given[0]:g}" if given.size else "never given"
            yield f"unit {name}: the response is {what}"
