"""The simulated cortex in the place of a rig: from exported files to a file of responses."""

from __future__ import annotations

import csv
from os import PathLike
from pathlib import Path

import numpy as np

from twinlab.files import write_whole
from twinlab.jobs import Job
from twinlab.loop.exporting import read_schedule, read_stimuli
from twinlab.simulation import SimulatedCortex

__all__ = ["play_rig"]


def play_rig(
    cortex: SimulatedCortex,
    folder: str | PathLike[str],
    path: str | PathLike[str],
    *,
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
        CSV file to write, as `import_responses` reads it; units are named by their `neuron_id`.
    seed : int
        Decides behaviour and noise.
    job : Job, optional

    Returns
    -------
    Path

    Raises
    ------
    InputError
        As `read_stimuli`, or if the images are not of the size the cortex sees.

    """
    stimuli, schedule = read_stimuli(folder), read_schedule(folder)
    codes = schedule.code.values.astype(str)
    place = {code: i for i, code in enumerate(stimuli.image_id.values.astype(str).tolist())}
    shown = np.array([place[code] for code in codes.tolist()])
    response = cortex.show(stimuli, shown, seed=seed, job=job)
    path = Path(path)
    with write_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["trial", "code", "onset_s", *response.neuron_id.values.astype(str)])
        rows = zip(
            schedule.trial.values, codes, schedule.onset_s.values, response.response.values,
            strict=True,
        )  # fmt: skip
        for trial, code, onset, values in rows:
            table.writerow([int(trial), code, f"{onset:.4f}", *(f"{v:.6g}" for v in values)])
    return path
