"""Fits looked at from outside, while they run or after: which there are, how far each is."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from twinlab.files import is_busy
from twinlab.fitting.checkpoints import NOTE, read_checkpoint, read_progress
from twinlab.fitting.training import HISTORY
from twinlab.fitting.trials import context_moments, image_spec, recorded_neurons
from twinlab.schema import InputError, open_result
from twinlab.twins import Architecture, DeepTwin, EnsembleTwin, Twin, load_twin

__all__ = ["FITTING", "find_fits", "read_fit", "read_readouts", "stamp_fit"]

FITTING = ".fitting"  # what `twinlab fit --out NAME` adds to the name while it is at work
MEMBERS = "member-*.safetensors"
RECENT = 5  # epochs from which the time that is left is estimated


def find_fits(folder: str | PathLike[str]) -> list[str]:
    """Find the fits in a folder, by name: twins that are done, and those under way.

    Links that lead out of the folder are left out.

    Parameters
    ----------
    folder : path
        In which ``twinlab fit --out FOLDER/NAME`` writes.

    Raises
    ------
    InputError
        If there is no such folder.

    """
    folder = Path(folder)
    if not folder.is_dir():
        msg = f"{folder}: no such folder; expected one that `twinlab fit` writes twins to."
        raise InputError(msg)
    inside = [
        path
        for path in folder.iterdir()
        if path.is_dir() and path.resolve().is_relative_to(folder.resolve())
    ]
    done = {path.name for path in inside if (path / "twin.json").is_file()}
    begun = {
        path.name.removesuffix(FITTING)
        for path in inside
        if path.name.endswith(FITTING) and ((path / NOTE).is_file() or any(path.glob(MEMBERS)))
    }
    return sorted(done | begun)


def read_fit(folder: str | PathLike[str], name: str) -> xr.Dataset:
    """Read the course of a fit, as far as it is.

    Parameters
    ----------
    folder : path
    name : str
        Of `find_fits`.

    Returns
    -------
    xarray.Dataset
        Along `member` and `epoch`, as from `fit_twin`: losses, correlation, learning rate and
        seconds, NaN after a member's last epoch. `seconds_left`, estimated from the last epochs
        (NaN where the end is not known). Attributes: `state`, one of "running", "stopped" (it
        goes on if it is started again), "failed", "diverged" (after some good epochs) and
        "done"; `settings`, of the architecture and the fit, as JSON; `members`, how many are
        asked for; and `notices`, what the user should know, in words.

    Raises
    ------
    InputError
        If there is no such fit, or a file is damaged.

    """
    twin, at_work = Path(folder) / name, Path(folder) / f"{name}{FITTING}"
    if at_work.is_dir() and (is_busy(at_work) or not (twin / "twin.json").is_file()):
        return _under_way(at_work)
    if not (twin / "twin.json").is_file():
        msg = f"{twin}: holds no twin and no fit that was begun; it may have been removed."
        raise InputError(msg)
    if not (twin / "history.nc").is_file():  # of a kind that is not fitted in epochs
        described = json.loads((twin / "twin.json").read_text(encoding="utf-8"))
        return (
            _stack([])
            .assign(_left(np.nan))
            .assign_attrs(
                state="done",
                members=1,
                notices="",
                settings=json.dumps(described.get("settings", {})),
            )
        )
    history = open_result(twin / "history.nc")
    if "member" not in history.dims:
        history = history.expand_dims("member")
    notices = str(history.attrs.get("notices", ""))
    return history.assign(_left(np.nan)).assign_attrs(
        state="diverged" if "diverged" in notices else "done",
        members=history.sizes["member"],
        notices=notices,
    )


def stamp_fit(folder: str | PathLike[str], name: str) -> tuple[Any, ...]:
    """Give something that is another whenever there is more to read of a fit; quick."""
    at_work = Path(folder) / f"{name}{FITTING}"
    files = [Path(folder) / name / "twin.json", at_work / NOTE, *_members(at_work)]
    times = []
    for path in files:
        try:
            times.append(path.stat().st_mtime_ns)
        except OSError:
            times.append(0)
    return is_busy(at_work), *times


def read_readouts(
    folder: str | PathLike[str], name: str, recording: xr.Dataset | None = None
) -> xr.Dataset | None:
    """Read where the neurons of a fit look, as far as it is; of an ensemble, its first member.

    Parameters
    ----------
    folder, name
        As of `read_fit`.
    recording : xarray.Dataset, optional
        What is fitted: a fit under way cannot be read without it.

    Returns
    -------
    xarray.Dataset or None
        Along `neuron`, with the neurons' labels: `x` and `y` in pixels of the image. Attributes
        `height` and `width`, of the image. None where it cannot be told: readouts without a
        position, no epoch yet, several sessions, or another recording.

    Raises
    ------
    InputError
        If a file is damaged.

    """
    path = Path(folder) / name
    twin: Twin | None
    if (path / "twin.json").is_file() and not is_busy(f"{path}{FITTING}"):
        twin = load_twin(path)
    else:
        twin = _twin_under_way(Path(f"{path}{FITTING}"), recording)
    if isinstance(twin, EnsembleTwin):
        twin = twin.each[0]
    if not isinstance(twin, DeepTwin):
        return None
    try:
        position = twin.position
    except InputError:
        return None
    places = {
        axis: ("neuron", position[:, i], {"long_name": f"{axis} of the readout", "units": "px"})
        for i, axis in enumerate(("x", "y"))
    }
    return xr.Dataset(
        places, twin.neurons.coords, {"height": twin.spec.height, "width": twin.spec.width}
    )


def _under_way(at_work: Path) -> xr.Dataset:
    try:
        note = json.loads((at_work / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        note = {}
    every = [read_progress(path) for path in _members(at_work)]
    fit = every[0]["fit"] if every else note
    history = _stack([progress["history"] for progress in every])
    busy, failure = is_busy(at_work), str(note.get("failure", ""))
    members = int(note.get("members", max(len(every), 1)))
    state = "running" if busy else "failed" if failure else "stopped"
    left = _left(_seconds_left(every, fit.get("settings", {}), members))
    return history.assign(left).assign_attrs(
        experiment="fit",
        state=state,
        members=members,
        core=str(fit.get("core", "")),
        notices="" if busy else failure,
        settings=json.dumps({**fit.get("architecture", {}), **fit.get("settings", {})}),
    )  # fmt: skip


def _members(at_work: Path) -> list[Path]:
    return sorted(at_work.glob(MEMBERS), key=lambda path: (len(path.name), path.name))


def _stack(histories: list[dict[str, list[float]]]) -> xr.Dataset:
    """Put the histories of members side by side, padded with NaN; without any, an empty one."""
    histories = histories or [{name: [] for name in HISTORY}]
    n_epoch = max(len(one["seconds"]) for one in histories)
    variables: dict[str, Any] = {}
    for name, (words, unit) in HISTORY.items():
        values = np.full((len(histories), n_epoch), np.nan)
        for row, one in zip(values, histories, strict=True):
            row[: len(one[name])] = one[name]
        variables[name] = (("member", "epoch"), values, {"long_name": words, "units": unit})
    return xr.Dataset(variables, {"epoch": np.arange(1, n_epoch + 1)}, {"experiment": "fit"})


def _left(seconds: float) -> dict[str, Any]:
    return {"seconds_left": ((), seconds, {"long_name": "time left", "units": "s"})}


def _seconds_left(every: list[dict[str, Any]], settings: dict[str, Any], members: int) -> float:
    """Time for the epochs that are left, as fast as the last were; NaN if nobody can know."""
    if not every or not every[-1]["history"]["seconds"] or settings["schedule"] != "cosine":
        return float("nan")
    pace = float(np.median(every[-1]["history"]["seconds"][-RECENT:]))
    done = sum(progress["epoch"] for progress in every)
    return pace * max(members * settings["max_epochs"] - done, 0)


def _twin_under_way(at_work: Path, recording: xr.Dataset | None) -> DeepTwin | None:
    """Build the twin of the first checkpoint, if it is of one session, that of the recording."""
    paths = _members(at_work)
    if not paths or recording is None:
        return None
    tensors, progress = read_checkpoint(paths[0], {})
    weights = {
        name.removeprefix("0."): value
        for name, value in tensors["weights"].items()
        if name.startswith("0.")
    }
    if len(weights) < len(tensors["weights"]):
        return None
    twin = DeepTwin(
        Architecture(**progress["fit"]["architecture"]),
        image_spec(recording),
        recorded_neurons(recording),
        context_moments(recording)[0],
    )
    try:
        twin.load_state_dict(weights)
    except RuntimeError:  # of other neurons, or other images
        return None
    return twin.eval()
