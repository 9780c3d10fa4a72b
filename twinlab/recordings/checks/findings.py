"""What a check reports, and what it is given to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr

from twinlab.jobs import Job
from twinlab.recordings.reading import listed
from twinlab.schema import stimulus_kind

__all__ = ["SEVERITIES", "Case", "Finding", "neurons_at"]

SEVERITIES = ("error", "warning", "note")  # the worst first


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes
    ----------
    what : str
        What was found, and what was expected.
    where : str
        File, split, stimulus, trial or neuron.
    severity : {"error", "warning", "note"}
        It cannot be used, or scores would mean nothing; it can, but misleads; worth knowing.
    advice : str
        What to do; empty where `what` says it.

    """

    what: str
    where: str
    severity: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class Case(NamedTuple):
    """What every check looks at: the recording, its survey, and whom to report to."""

    recording: xr.Dataset
    survey: xr.Dataset
    job: Job

    @property
    def kind(self) -> str:
        """`image` or `video`."""
        return stimulus_kind(self.recording)

    @property
    def stimulus_ids(self) -> np.ndarray:
        """Id of each stimulus in the first trial that shows it; its number where none does."""
        ids = np.arange(self.recording.sizes[self.kind]).astype(object)
        shown, first = np.unique(self.recording.stimulus_index.values, return_index=True)
        ids[shown] = self.recording.image_id.values[first]
        return ids


def neurons_at(recording: xr.Dataset, chosen: np.ndarray) -> str:
    """Name the neurons of a mask, the first few of many."""
    return f"neuron {listed([str(i) for i in recording.neuron_id.values[chosen]])}"
