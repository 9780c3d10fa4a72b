"""Several fits of one recording, from different seeds, as one twin."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import asdict, replace
from os import PathLike
from pathlib import Path
from typing import Any

import xarray as xr

from twinlab.fitting.checkpoints import announce_fit
from twinlab.fitting.settings import FitSettings, default_settings
from twinlab.fitting.training import Recordings, by_session, fit_sessions, fit_twin
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import Architecture, DeepTwin, EnsembleTwin, SessionsTwin

__all__ = ["fit_ensemble"]


def fit_ensemble(
    recording: xr.Dataset | Recordings,
    architecture: Architecture | None = None,
    settings: FitSettings | None = None,
    *,
    members: int = 2,
    core: DeepTwin | None = None,
    checkpoints: str | PathLike[str] | None = None,
    device: str = "cpu",
    job: Job | None = None,
) -> tuple[EnsembleTwin | SessionsTwin, xr.Dataset]:
    """Fit `members` twins that differ in their seed alone: `settings.seed` and those after it.

    Parameters
    ----------
    recording : xarray.Dataset, or xarray.DataTree or mapping of several
        Of one session, or of several that share their core (see `fit_sessions`).
    architecture, settings, core, device, job
        As in `fit_twin`.
    members : int
    checkpoints : path, optional
        Folder for one checkpoint a member; members that are done are not fitted again. What is
        fitted is said there in a note, for `read_fit`; one process at a time fits there.

    Returns
    -------
    twin : EnsembleTwin, or SessionsTwin of one ensemble a session
    history : xarray.Dataset
        As from `fit_twin`, along `member` and `epoch`; NaN after a member's last epoch.

    """
    if members < 1:
        msg = f"`members` must be at least 1, but is {members}."
        raise InputError(msg)
    sources = [recording] if isinstance(recording, xr.Dataset) else by_session(recording).values()
    architecture = architecture or (core.architecture if core else None)
    if architecture is None or settings is None:
        suited = default_settings(*sources)
        architecture, settings = architecture or suited[0], settings or suited[1]
    job = job or Job()
    twins, histories = [], []
    with ExitStack() as announced:
        if checkpoints is not None and not int(os.environ.get("RANK", "0")):
            begun = {
                "members": members, "architecture": asdict(architecture),
                "settings": asdict(settings), "core": core.identity if core else "",
            }  # fmt: skip
            announced.enter_context(announce_fit(Path(checkpoints), begun))
        for number in range(members):
            label = f"twin {number + 1} of {members}" if members > 1 else "twin"
            path = None
            if checkpoints is not None:
                path = Path(checkpoints) / f"member-{number}.safetensors"
            fit: Any = fit_twin if isinstance(recording, xr.Dataset) else fit_sessions
            twin, history = fit(
                recording,
                architecture,
                replace(settings, seed=settings.seed + number),
                core=core,
                checkpoint=path,
                device=device,
                job=job.part(number / members, (number + 1) / members, label),
            )
            twins.append(twin)
            histories.append(history)
    history = xr.concat(
        histories, "member", join="outer", combine_attrs="override", data_vars="all"
    )
    if isinstance(recording, xr.Dataset):
        return EnsembleTwin(twins), history
    sessions = twins[0].sessions
    return SessionsTwin(
        [EnsembleTwin([twin.of_session(name) for twin in twins]) for name in sessions]
    ), history
