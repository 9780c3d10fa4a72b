"""What `twinlab fit` does: recordings in; a folder out, with the twin and what speaks for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from twinlab import fitting, twins
from twinlab.files import write_whole
from twinlab.jobs import Job
from twinlab.schema import InputError, is_lazy, save_result, stimulus_kind
from twinlab.twins import Twin

__all__ = ["check_model", "fit_recordings"]

MODELS = ["deep", *fitting.CLASSICAL]
FAMILIAR = 2000  # training images, and as many held out, that tell what is familiar
FAMILIAR_BYTES = 2**29  # of them, at most: videos are large


def check_model(model: str, core: str, n_recording: int, search: bool) -> None:
    """Refuse what does not go together, before anything is read."""
    if model not in MODELS:
        msg = f"--model is {model!r}; known: {', '.join(MODELS)}."
        raise InputError(msg)
    if model != "deep" and (core or search or n_recording > 1):
        msg = f"--model {model} is fitted to one recording, without --core and --search."
        raise InputError(msg)
    if search and (core or n_recording > 1):
        msg = "--search tries settings on one recording, with a core of its own."
        raise InputError(msg)


def fit_recordings(
    sources: list[xr.Dataset],
    out: Path,
    model: str,
    architecture: twins.Architecture | None,
    settings: fitting.FitSettings,
    *,
    members: int,
    core: str,
    device: str,
    search: dict[str, Any] | None,
    job: Job,
) -> list[str]:
    """Fit, write the folder `out`, and return what to tell the user, line by line.

    Under ``torchrun`` all processes fit and the first one writes.
    """
    sessions = [str(source.session.values[0]) for source in sources]
    doubled = sorted({name for name in sessions if sessions.count(name) > 1})
    if doubled:
        msg = (
            f"More than one recording is of session {', '.join(doubled)}, of which a twin can "
            "learn one: its neurons are told by their session. Name one of each."
        )
        raise InputError(msg)
    _join_processes(device)
    if model != "deep":
        twin = fitting.CLASSICAL[model](sources[0], seed=settings.seed, device=device, job=job)
        return _write(out, sources, {model: twin}, twin, {}, [])
    linear: list[Twin] = []
    if _compared(sources):
        linear = [
            fitting.fit_linear_nonlinear(source, job=job.part(0.0, 0.05, "baseline"))
            for source in sources
        ]
    done, results, said = 0.05, {}, []
    if search is not None:
        folder = out.with_name(out.name + ".search")
        architecture, settings, table = fitting.search_settings(
            sources[0], folder, architecture=architecture, settings=settings, device=device,
            job=job.part(done, 0.6, "search"), **search,
        )  # fmt: skip
        done, results["search"] = 0.6, table
        best = table.isel(candidate=table.attrs["best"])
        chosen = ", ".join(f"{name}={best[name].item()}" for name in search["space"])
        said.append(
            f"{table.sizes['candidate']} settings were tried, the best {chosen}; all are in "
            f"{folder / 'table.csv'}"
        )
    checkpoints = out.with_name(out.name + fitting.FITTING)
    recordings: Any = (
        sources[0] if len(sources) == 1 else dict(zip(sessions, sources, strict=True))
    )
    fitted, results["history"] = fitting.fit_ensemble(
        recordings, architecture, settings, members=members, core=_open_core(core),
        checkpoints=checkpoints, device=device, job=job.part(done, 1.0),
    )  # fmt: skip
    said += [line for line in [results["history"].attrs.get("notices", "")] if line]
    each = fitted.each if isinstance(fitted, twins.SessionsTwin) else [fitted]
    if members == 1:
        each = [twin.each[0] for twin in each if isinstance(twin, twins.EnsembleTwin)]
    twin = each[0] if len(each) == 1 else twins.SessionsTwin(each)
    if int(os.environ.get("RANK", "0")):
        return []
    models: dict[str, Twin] = {"twin": twin}
    if linear:
        baseline = linear[0] if len(linear) == 1 else twins.SessionsTwin(linear)
        models = {"linear_nonlinear": baseline, "twin": twin}
    lines = _write(out, sources, models, twin, results, said)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return lines


def _write(
    out: Path,
    sources: list[xr.Dataset],
    models: dict[str, Twin],
    twin: Twin,
    results: dict[str, xr.Dataset],
    said: list[str],
) -> list[str]:
    """Write the twin, its baselines and what its training stimuli were like; say how it did."""
    scores = {
        str(source.session.values[0]): fitting.score_baselines(source, models)
        for source in (sources if _compared(sources) else [])
    }
    if scores:
        results["baselines"] = (
            next(iter(scores.values()))
            if len(scores) == 1
            else xr.concat(
                scores.values(), xr.Variable("session", list(scores)), combine_attrs="override"
            )
        )
    familiar = twins.fit_familiarity(twin, *_stimuli(sources[0]))
    with write_whole(out) as partial:
        twins.save_twin(twin, partial)
        twins.save_familiarity(familiar, partial)
        if "linear_nonlinear" in models and len(models) > 1:
            twins.save_twin(models["linear_nonlinear"], partial / "linear_nonlinear")
        for name, result in results.items():
            save_result(result, partial / f"{name}.nc")
    for session, table in scores.items():
        for name in table.model.values:
            row = table.sel(model=name)
            words = str(name) if len(scores) == 1 else f"{session} {name}"
            said.append(
                f"{words:<17} validation loss {float(row.validation_loss):.4f}, "
                f"single-trial correlation {float(row.validation_correlation):.3f}"
            )
    return said


def _stimuli(source: xr.Dataset) -> tuple[Any, Any]:
    """Training stimuli, and others that were not trained on."""
    index = source.stimulus_index.values
    train = source.split.values == "train"
    most = max(min(FAMILIAR, FAMILIAR_BYTES // source.stimulus[0].nbytes), 2)
    shown = sorted(set(index[train].tolist()))[:most]
    held = sorted(set(index[~train].tolist()) - set(index[train].tolist()))[:most]
    return source.stimulus[shown].values, source.stimulus[held or shown].values


def _compared(sources: list[xr.Dataset]) -> bool:
    """Whether there are baselines: of images in memory, which a filter is solved for at once."""
    return not any(is_lazy(source) or stimulus_kind(source) == "video" for source in sources)


def _open_core(core: str) -> twins.DeepTwin | None:
    if not core:
        return None
    twin = twins.load_twin(core)
    while isinstance(twin, twins.EnsembleTwin | twins.SessionsTwin):
        twin = twin.each[0]
    if not isinstance(twin, twins.DeepTwin):
        msg = f"--core {core}: is a {type(twin).__name__}; only a deep twin has a core to lend."
        raise InputError(msg)
    return twin


def _join_processes(device: str) -> None:
    """Meet the other processes, where ``torchrun`` has started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
