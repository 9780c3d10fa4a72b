"""One figure for a whole result, whatever experiment made it."""

from __future__ import annotations

from collections.abc import Callable

import holoviews as hv
import xarray as xr

from twinlab.plots.calibration import plot_calibration
from twinlab.plots.curves import plot_history, plot_tuning, plot_tuning_grid
from twinlab.plots.images import plot_mei, plot_receptive_field
from twinlab.plots.learning import plot_learning_curve
from twinlab.plots.neurons import plot_mei_comparison, plot_scores
from twinlab.plots.readouts import (
    plot_fisher_information,
    plot_neurometric,
    plot_reconstruction,
)
from twinlab.plots.style import styled
from twinlab.schema import InputError

__all__ = ["PLOTS", "plot_result"]

N_SHOWN = 12  # neurons drawn of a result that has more
COLUMNS = 4


def _each(result: xr.Dataset) -> list[xr.Dataset]:
    """Split off the first neurons of a result, one Dataset each."""
    if "neuron" not in result.dims:
        return [result]
    shown = min(N_SHOWN, result.sizes["neuron"])
    return [result.isel(neuron=position) for position in range(shown)]


def _rows(panels: list[hv.Dimensioned]) -> hv.Layout:
    rows = hv.Layout(panels).opts(shared_axes=False).cols(COLUMNS)
    return styled(rows, matplotlib={"hspace": 0.5, "vspace": 0.5})  # room for colour bars


def _receptive_fields(result: xr.Dataset) -> hv.Layout:
    return _rows([plot_receptive_field(one, width=240) for one in _each(result)])


def _tunings(result: xr.Dataset) -> hv.Layout:
    neurons = _each(result)
    curves = [plot_tuning(one, size=(240, 150)) for one in neurons]
    if len(neurons) > COLUMNS:
        return _rows(curves)
    return _rows(curves + [plot_tuning_grid(one, size=(240, 150)) for one in neurons])


def _meis(result: xr.Dataset) -> hv.Layout:
    pictures = [plot_mei(one, width=240) for one in _each(result)]
    if "activation_natural" not in result:
        return _rows(pictures)
    return _rows(pictures + list(plot_mei_comparison(result, size=(240, 200))))


def _neurometrics(result: xr.Dataset) -> hv.Layout:
    together = plot_neurometric(result, population=True, size=(240, 150))
    return _rows([together, *(plot_neurometric(one, size=(240, 150)) for one in _each(result))])


def _information(result: xr.Dataset) -> hv.Layout:
    together = plot_fisher_information(result, size=(240, 150))
    alone = [plot_fisher_information(one, size=(240, 150)) for one in _each(result)]
    return _rows([together, *alone])


# What `twinlab show` draws, by the name of the experiment that made the result.
PLOTS: dict[str, Callable[[xr.Dataset], hv.Dimensioned]] = {
    "receptive_field": _receptive_fields,
    "sta": _receptive_fields,
    "tuning": _tunings,
    "mei": _meis,
    "neurometric": _neurometrics,
    "fisher_information": _information,
    "reconstruction": plot_reconstruction,
    "score": plot_scores,
    "fit": plot_history,
    "calibration": plot_calibration,
    "learning_curve": plot_learning_curve,
}


def plot_result(result: xr.Dataset) -> hv.Dimensioned:
    """Draw a whole result in one figure: up to 12 of its neurons, or its summary.

    Parameters
    ----------
    result : Dataset
        As `schema.open_result` returns it.

    Returns
    -------
    HoloViews element or Layout

    Raises
    ------
    InputError
        If no figure is known for its experiment.

    """
    experiment = str(result.attrs.get("experiment", ""))
    if experiment not in PLOTS:
        msg = (
            f"No figure is known for a result of experiment {experiment!r}; there is one for "
            f"{sorted(PLOTS)}. Its variables are {sorted(map(str, result.data_vars))}."
        )
        raise InputError(msg)
    return PLOTS[experiment](result)
