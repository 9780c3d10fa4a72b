"""What a tuning experiment found of one neuron, in words."""

from __future__ import annotations

import xarray as xr

from twinlab import insilico
from twinlab.explorers.trust import with_interval

__all__ = ["say_indices", "say_measured"]


def say_indices(one: xr.Dataset) -> str:
    """Say what the indices of a neuron's tuning are, as a table in HTML.

    Parameters
    ----------
    one : xarray.Dataset
        Of one neuron, from an experiment in `insilico.PROTOCOLS` or `insilico.measure_tuning`.

    """
    if not int(one.valid):
        return "<b>undefined</b>: nothing is evoked, or what it prefers is not defined"
    rows = [
        f"<tr><td>{values.attrs['long_name']}</td><td style='padding-left:10px'>"
        f"{with_interval(one, str(name))}</td><td>{_units(values)}</td></tr>"
        for name, values in one.data_vars.items()
        if values.dtype.kind == "f" and not values.dims
    ]
    said = f"<table style='border-spacing:4px 2px'>{''.join(rows)}</table>"
    if any(str(name).endswith("_interval") for name in one.data_vars):
        said += "In brackets: 95 % intervals over the ensemble's members."
    return said


def say_measured(one: xr.Dataset, measured: xr.Dataset | None) -> str:
    """Say what recorded responses are drawn beside a neuron's tuning curve.

    Parameters
    ----------
    one : xarray.Dataset
        As of `say_indices`.
    measured : xarray.Dataset or None
        Recorded responses along the curve; None where the recording does not tell.

    """
    if measured is None:
        name = insilico.AXES[str(one.evoked.dims[0])][0]
        return f"The recording does not say the {name} of its images: nothing to compare with."
    n_trial = int(measured.n_trial.sum())
    return (
        f"Dots with bars: mean recorded response ± standard error over {n_trial} trials, less "
        "the twin's response to grey."
    )


def _units(values: xr.DataArray) -> str:
    units = str(values.attrs["units"])
    return "" if units == "1" else units
