"""One figure for a whole result, whatever experiment made it."""

from __future__ import annotations

from collections.abc import Callable

import holoviews as hv
import xarray as xr

from twinlab.plots.calibration import plot_calibration
from twinlab.plots.comparisons import (
    plot_controversial,
    plot_eigendistortions,
    plot_iso_response,
    plot_metamer,
)
from twinlab.plots.curves import plot_history, plot_tuning, plot_tuning_grid
from twinlab.plots.fields import (
    plot_attribution,
    plot_axes,
    plot_field_comparison,
    plot_spectrum,
)
from twinlab.plots.images import plot_mei, plot_receptive_field, plot_suppressor
from twinlab.plots.invariances import plot_clusters, plot_diverse, plot_ring
from twinlab.plots.learning import plot_learning_curve
from twinlab.plots.loops import (
    plot_confusion,
    plot_controls,
    plot_power,
    plot_specificity,
)
from twinlab.plots.neurons import plot_mei_comparison, plot_scores
from twinlab.plots.readouts import (
    plot_fisher_information,
    plot_neurometric,
    plot_reconstruction,
)
from twinlab.plots.style import styled
from twinlab.plots.tuning import (
    INDICES,
    plot_angle_comparison,
    plot_tuning_comparison,
    plot_tuning_curve,
    plot_tuning_distribution,
    plot_tuning_map,
)
from twinlab.plots.verification import plot_agreement
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


def _second_order(result: xr.Dataset) -> hv.Layout:
    names = {"sta": "spike-triggered average", "linear": "linear filter"}
    first = "sta" if "sta" in result else "linear"
    return _rows(
        [
            panel
            for one in _each(result)
            for panel in (
                plot_spectrum(one, size=(240, 150)),
                plot_receptive_field(
                    one.assign(receptive_field=one[first]), title=names[first], width=240
                ),
                plot_axes(one, "excitatory", width=240),
                plot_axes(one, "suppressive", width=240),
            )
        ]
    )


def _field_comparisons(result: xr.Dataset) -> hv.Layout:
    return _rows(
        [picture for one in _each(result) for picture in plot_field_comparison(one, width=240)]
    )


def _attributions(result: xr.Dataset) -> hv.Layout:
    shown = result.isel(image=slice(COLUMNS // 2))  # one row a neuron
    return _rows(
        [
            picture
            for one in _each(shown)
            for image in range(shown.sizes["image"])
            for picture in plot_attribution(one.isel(image=image), width=240)
        ]
    )


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


def _diverse(result: xr.Dataset) -> hv.Layout:
    return _rows([plot_diverse(one) for one in _each(result)]).cols(2)


def _suppressors(result: xr.Dataset) -> hv.Layout:
    return _rows([plot_suppressor(one) for one in _each(result)]).cols(2)


def _rings(result: xr.Dataset) -> hv.Layout:
    return _rows([plot_ring(one) for one in _each(result)]).cols(2)


def _controversial(result: xr.Dataset) -> hv.Layout:
    return _rows([plot_controversial(one) for one in _each(result)]).cols(2)


def _iso_responses(result: xr.Dataset) -> hv.Layout:
    return _rows([plot_iso_response(one, size=(220, 220)) for one in _each(result)])


def _parametric(result: xr.Dataset) -> hv.Layout:
    """Curves of the first neurons, maps where there is room, and the population's index."""
    small = (240, 150)
    neurons = _each(result)
    grid = result["evoked"].ndim > 2 if "evoked" in result else False
    panels: list[hv.Dimensioned] = []
    if "curve" in result or not grid:
        panels += [plot_tuning_curve(one, size=small) for one in neurons]
    if grid and (not panels or len(neurons) <= COLUMNS):
        panels += [plot_tuning_map(one, size=small) for one in neurons]
    index = INDICES.get(str(result.attrs.get("experiment", "")), "")
    if index in result and result.sizes.get("neuron", 1) > N_SHOWN:
        panels.append(plot_tuning_distribution(result, index, size=small))
    return _rows(panels)


def _preferences(result: xr.Dataset) -> hv.Layout:
    names = [name for name in result.data_vars if result[name].dims == ("neuron",)]
    return _rows([plot_tuning_distribution(result, str(name), size=(240, 150)) for name in names])


def _neurometrics(result: xr.Dataset) -> hv.Layout:
    together = plot_neurometric(result, population=True, size=(240, 150))
    return _rows([together, *(plot_neurometric(one, size=(240, 150)) for one in _each(result))])


def _information(result: xr.Dataset) -> hv.Layout:
    together = plot_fisher_information(result, size=(240, 150))
    alone = [plot_fisher_information(one, size=(240, 150)) for one in _each(result)]
    return _rows([together, *alone])


def _confusions(result: xr.Dataset) -> hv.Layout:
    rows = _rows([plot_confusion(result), *plot_specificity(result)])
    return styled(rows, matplotlib={"hspace": 0.9})


# What `twinlab show` draws, by the name of the experiment that made the result.
PLOTS: dict[str, Callable[[xr.Dataset], hv.Dimensioned]] = {
    "receptive_field": _receptive_fields,
    "sta": _receptive_fields,
    "stc": _second_order,
    "gqm": _second_order,
    "lnp": _receptive_fields,
    "field_comparison": _field_comparisons,
    "integrated_gradients": _attributions,
    "occlusion": _attributions,
    "bubbles": _attributions,
    "tuning": _tunings,
    "mei": _meis,
    "lei": _meis,
    "suppressor": _suppressors,
    "diverse": _diverse,
    "discriminating": _meis,
    "ring": _rings,
    "clusters": plot_clusters,
    "controversial": _controversial,
    "metamer": plot_metamer,
    "eigendistortions": plot_eigendistortions,
    "iso_response": _iso_responses,
    "preferences": _preferences,
    "parametric_tuning": _parametric,
    "position_tuning": _parametric,
    **dict.fromkeys(INDICES, _parametric),
    "tuning_comparison": plot_tuning_comparison,
    "angle_comparison": plot_angle_comparison,
    "neurometric": _neurometrics,
    "fisher_information": _information,
    "reconstruction": plot_reconstruction,
    "score": plot_scores,
    "fit": plot_history,
    "calibration": plot_calibration,
    "learning_curve": plot_learning_curve,
    "confusion": _confusions,
    "controls": plot_controls,
    "prediction": plot_agreement,
    "power": plot_power,
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
