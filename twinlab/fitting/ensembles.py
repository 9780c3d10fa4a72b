"""Several fits of one recording, from different seeds, as one twin."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path

import xarray as xr

from twinlab.fitting.settings import FitSettings
from twinlab.fitting.training import fit_twin
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import Architecture, EnsembleTwin

__all__ = ["fit_ensemble"]


def fit_ensemble(
    recording: xr.Dataset,
    architecture: Architecture | None = None,
    settings: FitSettings | None = None,
    *,
    members: int = 2,
    checkpoints: str | PathLike[str] | None = None,
    device: str = "cpu",
    job: Job | None = None,
) -> tuple[EnsembleTwin, xr.Dataset]:
    """Fit `members` twins that differ in their seed alone: `settings.seed` and those after it.

    Parameters
    ----------
    recording : xarray.Dataset
    architecture, settings, device, job
        As in `fit_twin`.
    members : int
    checkpoints : path, optional
        Folder for one checkpoint a member; members that are done are not fitted again.

    Returns
    -------
    twin : EnsembleTwin
    history : xarray.Dataset
        As from `fit_twin`, along `member` and `epoch`; NaN after a member's last epoch.

    """
    if members < 1:
        msg = f"`members` must be at least 1, but is {members}."
        raise InputError(msg)
    settings, job = settings or FitSettings(), job or Job()
    twins, histories = [], []
    for number in range(members):
        label = f"twin {number + 1} of {members}" if members > 1 else "twin"
        path = None if checkpoints is None else Path(checkpoints) / f"member-{number}.safetensors"
        twin, history = fit_twin(
            recording,
            architecture,
            replace(settings, seed=settings.seed + number),
            checkpoint=path,
            device=device,
            job=job.part(number / members, (number + 1) / members, label),
        )
        twins.append(twin)
        histories.append(history)
    history = xr.concat(
        histories, "member", join="outer", combine_attrs="override", data_vars="all"
    )
    return EnsembleTwin(twins), history
