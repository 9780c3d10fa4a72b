"""The simulated cortex in the place of a rig: from exported files to a file of responses."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from twinlab.files import write_whole
from twinlab.insilico.responses import settle
from twinlab.jobs import Job
from twinlab.loop.exporting import read_schedule, read_stimuli
from twinlab.loop.gathering import neuron_names
from twinlab.schema import InputError, check_seed
from twinlab.simulation import SimulatedCortex

__all__ = ["meet_units", "play_rig"]


def play_rig(
    cortex: SimulatedCortex,
    folder: str | PathLike[str],
    path: str | PathLike[str],
    *,
    names: Mapping[str, str] | None = None,
    seed: int = 0,
    job: Job | None = None,
) -> Path:
    """Show an exported schedule to the simulated cortex, and write its responses.

    It sees what the files say, not what was planned, and knows codes only. For another day,
    give `cortex.on_day(...)`.

    Parameters
    ----------
    cortex : SimulatedCortex
    folder : path
        Of `export_stimuli`.
    path : path
        CSV file to write, as `import_responses` reads it. The response to a video is the mean
        over its second half, as everywhere in experiments.
    names : mapping of str to str, optional
        Name of the unit of each `neuron_id`, in the order of the file, as of `meet_units`; the
        `neuron_id` itself where absent.
    seed : int
        Decides behaviour and noise.
    job : Job, optional

    Returns
    -------
    Path

    Raises
    ------
    InputError
        As `read_stimuli`, if the images are not of the size the cortex sees, or `names` are not
        of its neurons.

    """
    stimuli, schedule = read_stimuli(folder), read_schedule(folder)
    codes = schedule.code.values.astype(str)
    place = {code: i for i, code in enumerate(stimuli.image_id.values.astype(str).tolist())}
    shown = np.array([place[code] for code in codes.tolist()])
    response = cortex.show(stimuli, shown, seed=seed, job=job)
    ids = response.neuron_id.values.astype(str).tolist()
    names = dict(zip(ids, ids, strict=True)) if names is None else names
    if sorted(names) != sorted(ids):
        msg = f"`names` has {len(names)} neurons; expected the {len(ids)} that are recorded."
        raise InputError(msg)
    values = settle(torch.as_tensor(response.response.values), cortex.spec).numpy()
    values = values[:, [ids.index(name) for name in names]]
    path = Path(path)
    with write_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["trial", "code", "onset_s", *names.values()])
        rows = zip(
            schedule.trial.values, codes, schedule.onset_s.values, values, strict=True
        )  # fmt: skip
        for trial, code, onset, row in rows:
            table.writerow([int(trial), code, f"{onset:.4f}", *(f"{v:.6g}" for v in row)])
    return path


def meet_units(
    cortex: SimulatedCortex,
    table: str | PathLike[str],
    units: str | PathLike[str],
    *,
    jitter_um: float = 2.0,
    seed: int = 0,
) -> dict[str, str]:
    """Find the units of another day: under names of their own, in another order.

    Parameters
    ----------
    cortex : SimulatedCortex
        Of another day.
    table : path
        CSV file to write: the true `neuron` and `unit` of each pair, which no rig would know.
    units : path
        CSV file to write: `unit`, `x_um`, `y_um` and `z_um` as they are measured that day.
    jitter_um : float
        Standard deviation of the error of the positions along each axis.
    seed : int
        Decides names, order and errors.

    Returns
    -------
    dict of str to str
        Unit of each `neuron_id`, in the order of the units.

    """
    generator = np.random.default_rng([check_seed(seed), 8])
    there = cortex.neurons.isel(neuron=generator.permutation(cortex.found))
    n = there.sizes["neuron"]
    unit = [f"unit-{i}" for i in range(n)]
    place = np.stack([there[axis].values for axis in ("x_um", "y_um", "z_um")], axis=1)
    place = place + jitter_um * generator.standard_normal(place.shape)
    names = neuron_names(there.session.values, there.neuron_id.values)
    _write_rows(table, [["neuron", "unit"], *zip(names, unit, strict=True)])
    rows = ([name, *(f"{x:.3f}" for x in at)] for name, at in zip(unit, place, strict=True))
    _write_rows(units, [["unit", "x_um", "y_um", "z_um"], *rows])
    return dict(zip(there.neuron_id.values.astype(str).tolist(), unit, strict=True))


def _write_rows(path: str | PathLike[str], rows: Iterable[Sequence[str]]) -> None:
    with (
        write_whole(path) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows(rows)
