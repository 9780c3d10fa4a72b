"""Responses in an NWB 2 file, measured after the onsets that its table of trials states."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from twinlab.jobs import Job
from twinlab.loop.response_files import ResponseTable, check_columns
from twinlab.recordings.hdf5 import attribute, member, open_hdf5, refuse_dangerous, required, walk
from twinlab.recordings.layouts.nwb2_places import place_neurons
from twinlab.recordings.layouts.nwb2_traces import (
    SPIKES,
    describe_traces,
    find_traces,
    join_neurons,
)
from twinlab.recordings.members import DamagedError
from twinlab.recordings.presentations import (
    CALCIUM_LATENCY,
    SPIKE_LATENCY,
    Shown,
    Source,
    lazy_responses,
)
from twinlab.recordings.reading import Notes
from twinlab.schema import InputError

__all__ = ["read_nwb"]


def read_nwb(
    path: Path,
    *,
    on_s: float,
    series: str = "",
    trials: str = "",
    window: tuple[float, float] | None = None,
    job: Job | None = None,
) -> ResponseTable:
    """Measure the responses of an NWB 2 file; nothing that the file brings along is executed.

    Parameters
    ----------
    path : Path
    on_s : float
        Seconds that a stimulus was to be shown.
    series : str
        Which set of traces, or "spikes"; may be empty where there is one.
    trials : str
        Which table (`TimeIntervals` with `code` and `start_time`); may be empty where there is
        one. Its `trial` column is the schedule's; without it, row k in the order of onsets is
        taken for trial k, which the codes must bear out.
    window : tuple of two floats, optional
        Seconds after each onset from which to which traces are averaged or spikes counted;
        `on_s` long where absent, from 0.1 s on (spikes: 0.05 s).
    job : Job, optional

    Returns
    -------
    ResponseTable
        Units are named by their ids, after their plane if ids come twice.

    Raises
    ------
    InputError
        If the file is damaged, has no responses or no such table, or several of which none was
        chosen: they are named.

    """
    job, notes = job or Job(), Notes()
    refuse_dangerous(path)
    with open_hdf5(path) as file:
        sets = find_traces(file)
        label = _choose(path, sets, series, "a RoiResponseSeries or Units", "--series")
        start, stop = _check_window(window, label, on_s)
        tables = _tables(file)
        what = "a table of trials with `code` and `start_time`"
        table = member(file, tables[_choose(path, tables, trials, what, "--trials")])
        trial, code, times = _read_trials(table)
        sources, neurons = describe_traces(path, file, label, sets[label], start, notes)
        unit = join_neurons(neurons, "")["neuron_id"].astype(str).tolist()
        position = place_neurons(file, label, sets[label])
        data = member(file, f"{sets[label][0]}/data")
        units = "spike count" if label == SPIKES else str(attribute(data, "unit") or "a.u.")
    check_columns(path, ["trial", "code", *unit], unit, len(trial))
    response = _measure(times["onset_s"], stop - start, sources, job)
    if notes or np.isinf(response).any():
        what = "; ".join(notes.lines()) or f"{label} has infinite values"
        msg = f"{path}: the responses cannot be measured: {what}; correct the file."
        raise InputError(msg)
    how = "spikes counted" if label == SPIKES else f"{label} averaged"
    return ResponseTable(
        trial, code, unit, response, times, 0, position, units,
        f"responses are {how} from {start:g} to {stop:g} s after each onset",
    )  # fmt: skip


def _choose(
    path: Path, known: dict[str, list[str]] | dict[str, str], wanted: str, what: str, option: str
) -> str:
    """The one of a name, or the only one."""
    if not known:
        msg = f"{path}: holds no responses to a schedule; expected {what}."
        raise InputError(msg)
    if wanted in known or (not wanted and len(known) == 1):
        return wanted or next(iter(known))
    found = f"has no {wanted!r}" if wanted else f"has {len(known)} of what could be {what}"
    msg = f"{path}: {found}; choose one of {list(known)} ({option})."
    raise InputError(msg)


def _check_window(
    window: tuple[float, float] | None, label: str, on_s: float
) -> tuple[float, float]:
    latency = SPIKE_LATENCY if label == SPIKES else CALCIUM_LATENCY
    start, stop = window or (latency, latency + on_s)
    if not (np.isfinite([start, stop]).all() and start < stop):
        msg = (
            f"The window runs from {start:g} to {stop:g} s after an onset; expected the first to "
            "be less than the last."
        )
        raise InputError(msg)
    return start, stop


def _tables(file: h5py.File) -> dict[str, str]:
    """Tables of trials by their names, and where they are."""
    return {
        node.name.rpartition("/")[2]: node.name
        for node in walk(member(file, "intervals") or {})
        if attribute(node, "neurodata_type") == "TimeIntervals"
        and {"code", "start_time"} <= set(node)
    }


def _read_trials(table: h5py.Group) -> tuple[list[str], list[str], dict[str, np.ndarray]]:
    """Trial and code of each row, and when it came on and for how long."""
    onset = required(table, "start_time")
    n = onset.size
    known = ("start_time", "stop_time", "frame_rate_hz", "code", "trial")
    columns = {name: required(table, name, n) for name in known if name in table}
    for name in set(columns) - {"code", "trial"}:
        if columns[name].dtype.kind not in "iuf" or np.isinf(columns[name]).any():
            msg = f"{table.name}/{name}: {columns[name].dtype}, expected finite numbers"
            raise DamagedError(msg)
    if not np.isfinite(onset).any():
        msg = f"{table.name}/start_time: no onset is known"
        raise DamagedError(msg)
    times = {"onset_s": onset.astype(float)}
    if "stop_time" in columns:
        times["on_s"] = columns["stop_time"] - times["onset_s"]
    if "frame_rate_hz" in columns:
        times["frame_rate_hz"] = columns["frame_rate_hz"].astype(float)
    rank = np.argsort(np.argsort(onset, kind="stable"), kind="stable")
    return _as_text(columns.get("trial", rank)), _as_text(columns["code"]), times


def _as_text(values: np.ndarray) -> list[str]:
    """Values as text; whole numbers that a file keeps as floating ones without their point."""
    if values.dtype.kind == "f" and (values == np.round(values)).all():
        values = values.astype(np.int64)
    return [str(value) for value in values.tolist()]


def _measure(onset: np.ndarray, duration: float, sources: list[Source], job: Job) -> np.ndarray:
    """Responses (row, unit), read block by block in the order of onsets."""
    order = np.argsort(onset, kind="stable")
    shown = Shown(np.zeros(len(onset), np.int64), onset[order], np.full(len(onset), duration))
    lazy = lazy_responses(shown, sources)
    blocks = []
    for i in range(lazy.numblocks[0]):
        job.report(i / lazy.numblocks[0], "measuring responses")
        blocks.append(lazy.blocks[i].compute())
    response = np.empty(lazy.shape, np.float32)
    response[order] = np.concatenate(blocks)
    return response
