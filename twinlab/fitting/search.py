"""Settings found by trying: Optuna's search over architecture and fit, within a time budget."""

from __future__ import annotations

import csv
import json
import math
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from twinlab.files import write_whole
from twinlab.fitting.settings import FitSettings, default_settings
from twinlab.fitting.training import fit_twin
from twinlab.fitting.trials import context_moments, take_trials
from twinlab.jobs import Cancelled, Job
from twinlab.schema import (
    InputError,
    check_seed,
    fingerprint,
    make_result,
    save_result,
    validate_recording,
)
from twinlab.twins import Architecture

__all__ = ["SPACE", "Range", "search_settings", "search_space"]

STUDY = "twinlab"
AKIBA = "Akiba et al. (2019), Optuna, KDD, arXiv 1907.10902"
COLUMNS = {
    "validation_correlation": ("best validation single-trial correlation", "1"),
    "epochs": ("epochs fitted", "1"),
    "seconds": ("time spent", "s"),
    "outcome": ("how the trial ended", "1"),
}


@dataclass(frozen=True)
class Range:
    """Numbers between two limits, both included; whole where both limits are.

    Attributes
    ----------
    low, high : float
    log : bool
        Draw evenly in the logarithm.
    step : int
        Distance of whole numbers.

    """

    low: float
    high: float
    log: bool = False
    step: int = 1


Space = Mapping[str, Range | tuple[Any, ...]]

# What is searched: fields of `Architecture` and `FitSettings`. A tuple lists choices.
SPACE: dict[str, Range | tuple[Any, ...]] = {
    "lr": Range(1e-3, 3e-2, log=True),
    "batch_size": (32, 64, 128, 256),
    "core_weight": Range(0.1, 100.0, log=True),
    "readout_weight": Range(1e-4, 0.1, log=True),
    "weight_decay": (0.0, 1e-4, 1e-3, 1e-2),
    "average": (0.0, 0.9, 0.98, 0.99),
    "layers": Range(2, 5),
    "hidden": (16, 32, 64, 96),
    "input_kernel": Range(5, 15, step=2),
    "hidden_kernel": Range(3, 9, step=2),
    "momentum": (0.05, 0.1, 0.3, 0.9),
    "sigma": Range(0.02, 0.5, log=True),
    "positions": ("free", "cortical", "both"),
    "behavior": ("none", "channels", "gain"),
    "shifter": (False, True),
}


class _OutOfTime(Exception):  # noqa: N818 - a plan that was kept, not an error
    """The search's time is over in the middle of a trial."""


class _Timed(Job):
    """A trial's job: says how much of the time is used, and ends the trial when it is over."""

    def __init__(self, job: Job, until: float, seconds: float, label: str) -> None:
        super().__init__()
        self._job, self._until, self._seconds, self._label = job, until, seconds, label

    def report(self, fraction: float, message: str | None = None, preview: Any = None) -> None:
        self.check()
        self.fraction = fraction
        used = 1 - (self._until - time.monotonic()) / self._seconds
        words = ": ".join(filter(None, [self._label, message]))
        self._job.report(min(max(used, 0.0), 1.0), words, preview)

    def check(self) -> None:
        self._job.check()
        if time.monotonic() > self._until:
            raise _OutOfTime


def search_settings(
    recording: xr.Dataset,
    out: str | PathLike[str],
    *,
    budget_minutes: float,
    epochs: int = 12,
    space: Space | None = None,
    architecture: Architecture | None = None,
    settings: FitSettings | None = None,
    max_trials: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    job: Job | None = None,
) -> tuple[Architecture, FitSettings, xr.Dataset]:
    """Search the settings with the best validation correlation, within a time budget.

    Each trial is a short fit (half a cosine over `epochs` epochs). The first takes the
    settings given, so that the best found is never worse than them by more than chance; the
    others are proposed by a tree-structured Parzen estimator, and stopped early where their
    validation correlation is below the median of earlier trials at the same epoch. No trial
    is begun that the shortest one so far shows cannot end in time; one that runs when time is
    over is ended there, keeps its epochs, and is the first to be tried if the search goes on.

    Everything lies in `out`: ``study.db`` (SQLite), from which a stopped search goes on, and
    the table as ``table.nc`` and ``table.csv``. Nothing in it is ever executed.

    Parameters
    ----------
    recording : xarray.Dataset
    out : path
        Folder of the search.
    budget_minutes : float
        For all trials together, those of earlier runs included: the same call again goes on
        until the budget is used, a larger one adds to it.
    epochs : int
        Of each trial.
    space : mapping of str to Range or tuple, optional
        What is searched; the part of `SPACE` that the recording allows where absent.
    architecture, settings : optional
        What is not searched, and where the search starts; the defaults where absent.
    max_trials : int, optional
        Stop at this many finished trials, earlier ones included.
    seed : int
        Of the proposals. Which trials end early depends on the machine's speed, so the same
        seed gives the same proposals only where no trial is cut short by the clock.
    device : str
    job : Job, optional

    Returns
    -------
    architecture : Architecture
    settings : FitSettings
        Those given, with the best trial's values for what was searched; their own schedule
        and number of epochs, for a fit in full.
    table : xarray.Dataset
        Along `candidate`: every setting searched, `validation_correlation`, `epochs`,
        `seconds` and `outcome` ("complete", "pruned", "out of time", "diverged",
        "out of memory", "refused", "stopped"); attribute `best`, the position of the best.

    Raises
    ------
    InputError
        If Optuna is missing, the space or budget is out of range, `out` holds another search
        or a damaged one, or no trial came to an end.
    Cancelled
        If the job was cancelled; what was tried is kept.

    References
    ----------
    Akiba et al. (2019), KDD. Bergstra et al. (2011), NeurIPS, for the estimator.

    """
    optuna = _import_optuna()
    if isinstance(recording, xr.DataTree):
        msg = "A search takes one session, but got several; search one, and fit all with `--set`."
        raise InputError(msg)
    check_seed(seed)
    job = job or Job()
    validate_recording(recording)
    suited = default_settings(recording)
    architecture, settings = architecture or suited[0], settings or suited[1]
    for split in ("train", "validation"):
        take_trials(recording, split, torch.device("cpu"))
    if not budget_minutes > 0 or epochs < 1:
        msg = (
            "`budget_minutes` must be above 0 and `epochs` at least 1, but they are "
            f"{budget_minutes} and {epochs}."
        )
        raise InputError(msg)
    space = dict(search_space(recording) if space is None else space)
    _check_space(space, architecture, settings)
    purpose = {
        "recording": fingerprint(recording),
        "space": _plain(space),
        "epochs": epochs,
        "architecture": asdict(architecture),
        "settings": asdict(settings),
    }
    out = Path(out)
    with _open_study(optuna, out / "study.db", purpose) as study:
        _take_up(optuna, study)
        if not study.trials:
            study.enqueue_trial(_start(space, architecture, settings))
        spent = sum(trial.user_attrs.get("seconds", 0.0) for trial in study.trials)
        spent = max(spent, 60 * study.user_attrs.get("used_minutes", 0.0))
        until = time.monotonic() + 60 * budget_minutes - spent
        last = study.trials[-1]
        if time.monotonic() < until and last.user_attrs.get("outcome") == "out of time":
            study.enqueue_trial(last.params)  # there is more time now
        while _another(optuna, study, until, max_trials):
            # proposals of a search that goes on shall not repeat those it has made
            done = len(study.trials)
            study.sampler = optuna.samplers.TPESampler(seed=seed + done, n_startup_trials=8)
            timed = _Timed(job, until, 60 * budget_minutes, f"trial {done + 1}")
            try:
                _try(optuna, study, recording, space, architecture, settings, epochs, device,
                     timed)  # fmt: skip
            finally:
                _write_table(_table(study, space, purpose, seed), out)
        if max_trials is None:  # the same call again shall find the same, not a minute left over
            used = max(budget_minutes, study.user_attrs.get("used_minutes", 0.0))
            study.set_user_attr("used_minutes", used)
        table = _table(study, space, purpose, seed)
    best = int(table.attrs["best"])
    if best < 0:
        outcomes = ", ".join(f"{v}" for v in table.outcome.values) or "none was begun"
        msg = (
            f"{out}: no trial finished an epoch ({outcomes}); give a larger budget than "
            f"{budget_minutes:g} min, or a smaller model."
        )
        raise InputError(msg)
    found = {name: table[name].values[best].item() for name in space}
    architecture, settings = _changed(architecture, settings, _typed(space, found))
    job.report(1.0, f"validation correlation {float(table.validation_correlation[best]):.3f}")
    return architecture, settings, table


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        msg = 'A search needs Optuna; run `pip install "twinlab-cortex[search]"`.'
        raise InputError(msg) from error
    return optuna


def search_space(recording: xr.Dataset) -> dict[str, Range | tuple[Any, ...]]:
    """Give the part of `SPACE` for which the recording has the data."""
    space = dict(SPACE)
    known = context_moments(recording)[0]
    if not {"x_um", "y_um"} <= set(recording.coords):
        del space["positions"]
    if "behavior" not in known:
        del space["behavior"]
    if "pupil_center" not in known:
        del space["shifter"]
    smallest = min(recording.sizes["y"], recording.sizes["x"])
    if smallest < 15:
        space["input_kernel"] = Range(3, max(3, smallest // 2 * 2 - 1), step=2)
    return space


def _check_space(space: Space, architecture: Architecture, settings: FitSettings) -> None:
    known = {field.name for part in (architecture, settings) for field in fields(part)}
    unknown = sorted(set(space) - known)
    kept = sorted({"seed", "schedule", "max_epochs"} & set(space))
    faults = [f"unknown settings {unknown}"] if unknown else []
    faults += [f"{kept} cannot be searched: every trial has the same"] if kept else []
    faults += ["it is empty"] if not space else []
    for name, values in space.items():
        if isinstance(values, Range):
            if not values.low < values.high or (values.log and not values.low > 0):
                faults.append(f"`{name}` needs low < high (above 0 if log), but is {values}")
        elif not values:
            faults.append(f"`{name}` has no choices")
    if faults:
        msg = "The space to search: " + "; ".join(faults) + "."
        raise InputError(msg)


def _whole(values: Range) -> bool:
    return isinstance(values.low, int) and isinstance(values.high, int)


def _plain(space: Space) -> dict[str, Any]:
    """The space as JSON has it."""
    return {k: asdict(v) if isinstance(v, Range) else list(v) for k, v in space.items()}


def _start(space: Space, architecture: Architecture, settings: FitSettings) -> dict[str, Any]:
    """The settings given, where the space holds them."""
    given = asdict(architecture) | asdict(settings)

    def holds(values: Range | tuple[Any, ...], value: Any) -> bool:
        if not isinstance(values, Range):
            return value in values
        on_step = not _whole(values) or (value - values.low) % values.step == 0
        return values.low <= value <= values.high and on_step

    return {name: given[name] for name, values in space.items() if holds(values, given[name])}


def _draw(trial: Any, space: Space) -> dict[str, Any]:
    drawn = {}
    for name, values in space.items():
        if not isinstance(values, Range):
            drawn[name] = trial.suggest_categorical(name, values)
        elif _whole(values):
            drawn[name] = trial.suggest_int(
                name, values.low, values.high, log=values.log, step=values.step
            )
        else:
            drawn[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
    return drawn


def _typed(space: Space, found: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the table as the settings have them: whole numbers, and choices themselves."""
    typed = {}
    for name, values in space.items():
        if isinstance(values, Range):
            typed[name] = int(found[name]) if _whole(values) else float(found[name])
        else:
            typed[name] = next(value for value in values if str(value) == str(found[name]))
    return typed


def _changed(
    architecture: Architecture, settings: FitSettings, changes: Mapping[str, Any]
) -> tuple[Architecture, FitSettings]:
    own = {field.name for field in fields(Architecture)}
    inner = {name: value for name, value in changes.items() if name in own}
    outer = {name: value for name, value in changes.items() if name not in own}
    return replace(architecture, **inner), replace(settings, **outer)


@contextmanager
def _open_study(optuna: Any, path: Path, purpose: dict[str, Any]) -> Iterator[Any]:
    """The study at `path`, made if there is none, closed again afterwards."""
    from sqlalchemy.exc import SQLAlchemyError

    path.parent.mkdir(parents=True, exist_ok=True)
    _check_file(path)
    said = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = None
    try:
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path.resolve()}")
            study = optuna.create_study(
                storage=storage,
                study_name=STUDY,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
            )
            stored = json.loads(study.user_attrs.get("purpose", "null"))
            if stored is None:
                study.set_user_attr("purpose", json.dumps(purpose))
        except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, ValueError,
                TypeError, KeyError) as error:  # fmt: skip
            raise InputError(_damaged(path, error)) from error
        differs = [name for name in purpose if stored and purpose[name] != stored.get(name)]
        if differs:
            msg = (
                f"{path}: is of another search (differs in {', '.join(differs)}); name another "
                "folder or remove this one."
            )
            raise InputError(msg)
        yield study
    finally:
        optuna.logging.set_verbosity(said)
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def _check_file(path: Path) -> None:
    """Refuse a file that is no study of ours before anything is written to it."""
    if not path.exists():
        return
    try:
        database = sqlite3.connect(f"file:{path.resolve()}?mode=ro", uri=True)
        try:
            tables = database.execute("SELECT name FROM sqlite_master").fetchall()
            names = {name for (name,) in tables}
            studies = (
                [name for (name,) in database.execute("SELECT study_name FROM studies")]
                if "studies" in names
                else []
            )
        finally:
            database.close()
    except sqlite3.Error as error:
        raise InputError(_damaged(path, error)) from error
    if names and studies not in ([STUDY], []) or (names and "studies" not in names):
        msg = f"{path}: is a database of something else; name another folder."
        raise InputError(msg)


def _damaged(path: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"{path}: the study is damaged ({reason}); remove it to search anew."


def _take_up(optuna: Any, study: Any) -> None:
    """Close trials of a process that was killed, and put what they tried in the queue again."""
    state = optuna.trial.TrialState
    for trial in study.get_trials(deepcopy=False, states=(state.RUNNING,)):
        study.tell(trial.number, state=state.FAIL)
        study.enqueue_trial(trial.params)


def _another(optuna: Any, study: Any, until: float, max_trials: int | None) -> bool:
    """Whether there is time for one more trial, as far as earlier ones tell."""
    trials = study.get_trials(deepcopy=False)
    state = optuna.trial.TrialState
    ended = [trial for trial in trials if trial.state.is_finished()]
    counted = [trial for trial in ended if trial.user_attrs.get("outcome", "stopped") != "stopped"]
    if max_trials is not None and len(counted) >= max_trials:
        return False
    seconds = [t.user_attrs.get("seconds", 0.0) for t in ended if t.state == state.COMPLETE]
    now = time.monotonic()
    return now < until and now + min(seconds, default=0.0) <= until


def _try(
    optuna: Any,
    study: Any,
    recording: xr.Dataset,
    space: Space,
    architecture: Architecture,
    settings: FitSettings,
    epochs: int,
    device: str,
    job: Job,
) -> None:
    """Fit one proposal and tell the study how it ended; nothing is left running."""
    state = optuna.trial.TrialState
    trial = study.ask()
    began = time.monotonic()
    reached: list[float] = []

    def heard(epoch: int, correlation: float) -> None:
        reached.append(correlation)
        trial.set_user_attr("seconds", time.monotonic() - began)
        trial.set_user_attr("epochs", len(reached))
        if math.isfinite(correlation):
            trial.report(correlation, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    def end(outcome: str, how: Any) -> None:
        finite = [value for value in reached if math.isfinite(value)]
        trial.set_user_attr("seconds", time.monotonic() - began)
        trial.set_user_attr("outcome", outcome)
        if how == state.COMPLETE and finite:
            study.tell(trial, max(finite))
        else:
            study.tell(trial, state=how if finite else state.FAIL)

    try:
        inner, outer = _changed(architecture, settings, _draw(trial, space))
        outer = replace(outer, schedule="cosine", max_epochs=epochs)
        fit_twin(recording, inner, outer, device=device, on_epoch=heard, job=job)
    except optuna.TrialPruned:
        end("pruned", state.PRUNED)
    except _OutOfTime:
        end("out of time", state.PRUNED)
    except FloatingPointError:
        end("diverged", state.FAIL)
    except (MemoryError, torch.OutOfMemoryError):
        end("out of memory", state.FAIL)
    except InputError:  # e.g. too large for the memory there is
        end("refused", state.FAIL)
        if not study.get_trials(deepcopy=False, states=(state.COMPLETE,)):
            raise  # not of this proposal, as far as anybody knows
    except (Cancelled, KeyboardInterrupt):
        end("stopped", state.FAIL)
        study.enqueue_trial(trial.params)  # the next run begins with it
        raise
    else:
        whole = len(reached) == epochs
        end("complete" if whole else "diverged", state.COMPLETE if whole else state.PRUNED)


def _table(study: Any, space: Space, purpose: dict[str, Any], seed: int) -> xr.Dataset:
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    columns: dict[str, Any] = {
        "validation_correlation": np.array(
            [
                max(filter(math.isfinite, trial.intermediate_values.values()), default=math.nan)
                for trial in trials
            ],
            float,
        ),
        "epochs": np.array([trial.user_attrs.get("epochs", 0) for trial in trials], int),
        "seconds": np.array([trial.user_attrs.get("seconds", 0.0) for trial in trials], float),
        "outcome": np.array([trial.user_attrs.get("outcome", "stopped") for trial in trials], str),
    }
    words = dict(COLUMNS)
    for name, values in space.items():
        drawn = [trial.params.get(name, math.nan) for trial in trials]
        number = isinstance(values, Range)
        columns[name] = np.array(drawn, float) if number else np.array([str(v) for v in drawn])
        words[name] = (f"setting {name}", "1")
    table = xr.Dataset(
        {
            name: ("candidate", values, {"long_name": words[name][0], "units": words[name][1]})
            for name, values in columns.items()
        },
        {"candidate": np.array([trial.number for trial in trials], int)},
    )
    stamped = make_result(
        table,
        experiment="search",
        recording=purpose["recording"],
        seed=seed,
        settings=purpose,
        source=AKIBA,
    )
    score = np.nan_to_num(columns["validation_correlation"], nan=-math.inf)
    usable = np.where(columns["outcome"] == "complete", score, -math.inf)
    if not np.isfinite(usable).any():  # nothing ran to its end: the best of what there is
        usable = score
    known = usable.size and np.isfinite(usable.max())
    return stamped.assign_attrs(best=int(usable.argmax()) if known else -1)


def _write_table(table: xr.Dataset, out: Path) -> None:
    """Write ``table.nc``, and ``table.csv`` with the best first."""
    save_result(table, out / "table.nc")
    order = np.argsort(-np.nan_to_num(table.validation_correlation.values, nan=-1.0))
    with write_whole(out / "table.csv") as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["candidate", *map(str, table.data_vars)])
        for row in order:
            values = (table[name].values[row] for name in ("candidate", *table.data_vars))
            writer.writerow([f"{v:.4g}" if isinstance(v, float) else str(v) for v in values])
