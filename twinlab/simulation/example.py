"""A fitted twin that comes with the package, and the recording it was fitted to."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from twinlab import twins
from twinlab.jobs import Job
from twinlab.simulation.cortex import SimulatedCortex

__all__ = ["EXAMPLE", "load_example", "record_example"]

EXAMPLE = Path(__file__).parent / "example"  # made by tests/making/make_example.py


def load_example() -> twins.Twin:
    """Ensemble of two twins of the simulated cortex, as the demo fits it.

    Returns
    -------
    Twin
        Of the neurons of ``SimulatedCortex(0)``; what it was fitted to and how is its
        `origin`.

    """
    return twins.load_twin(EXAMPLE / "twin")


def record_example(job: Job | None = None) -> xr.Dataset:
    """Recording the example twin was fitted to: the simulated cortex makes it anew.

    Parameters
    ----------
    job : Job, optional

    Returns
    -------
    xarray.Dataset

    """
    return SimulatedCortex(0).record(job=job)
