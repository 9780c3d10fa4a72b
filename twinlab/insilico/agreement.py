"""Recorded and twin side by side: how alike the receptive fields of the same neurons are."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.insilico.responses import neuron_names
from twinlab.schema import InputError, make_result

__all__ = ["compare_fields"]


def compare_fields(recorded: xr.Dataset, twin: xr.Dataset) -> xr.Dataset:
    """Correlate the receptive fields of the neurons that two results share.

    Two estimates from different stimuli differ for that alone. The strictest comparison gives
    the twin the recording's own stimuli: `measure_sta` of the recording, and of the recording
    with `twins.predict_responses` in place of its responses.

    Parameters
    ----------
    recorded, twin : xarray.Dataset
        Results with `receptive_field` (neuron, channel, y, x): of `measure_sta`,
        `measure_twin_sta`, `measure_lnp`, `measure_receptive_field` and their like. Neurons
        are matched by session and identity; those that only one has are left out.

    Returns
    -------
    xarray.Dataset
        Along the neurons of both, in the order of `recorded`: `correlation`, over the pixels
        of which both have a value; `recorded_field` and `twin_field` (channel, y, x), each in
        its own units; `valid` 0 where a field is undefined or flat, and the correlation NaN.

    Raises
    ------
    InputError
        If a result has no receptive fields, they differ in size, or no neuron is in both.

    """
    for name, result in (("recorded", recorded), ("twin", twin)):
        if "receptive_field" not in result:
            msg = (
                f"`{name}` has no variable `receptive_field` (its experiment is "
                f"{result.attrs.get('experiment')!r}); give a result of `measure_sta`, "
                "`measure_twin_sta` or `measure_receptive_field`."
            )
            raise InputError(msg)
    shapes = [result.receptive_field.shape[1:] for result in (recorded, twin)]
    if shapes[0] != shapes[1]:
        msg = f"The receptive fields differ in shape (channel, y, x): {shapes[0]} and {shapes[1]}."
        raise InputError(msg)
    place = {name: number for number, name in enumerate(neuron_names(twin))}
    pairs = [
        (number, place[name])
        for number, name in enumerate(neuron_names(recorded))
        if name in place
    ]
    if not pairs:
        msg = (
            "No neuron is in both results, first (session, neuron_id) "
            f"{neuron_names(recorded)[0]} and {neuron_names(twin)[0]}; measure the same neurons."
        )
        raise InputError(msg)
    own, other = np.array(pairs).T
    fields = {
        "recorded_field": recorded.receptive_field.isel(neuron=own),
        "twin_field": twin.receptive_field.isel(neuron=other),
    }
    correlation = _correlations(*(field.values for field in fields.values()))
    labels = recorded.drop_vars(list(recorded.data_vars)).isel(neuron=own)
    result = labels.assign(
        correlation=(
            "neuron",
            correlation.astype(np.float32),
            {"long_name": "correlation of recorded and twin's receptive field", "units": "1"},
        ),
        valid=(
            "neuron",
            np.isfinite(correlation).astype(np.int8),
            {"long_name": "1 where both fields are defined", "units": "1"},
        ),
    ).assign(
        {
            name: (
                field.dims,
                field.values,
                {
                    "long_name": f"{name.split('_')[0]} receptive field",
                    "units": field.attrs.get("units", ""),
                },
            )
            for name, field in fields.items()
        }
    )
    return make_result(
        result,
        experiment="field_comparison",
        twin=str(twin.attrs.get("twin", "")),
        recording=str(recorded.attrs.get("recording", "")),
        settings={
            "recorded": str(recorded.attrs.get("experiment", "")),
            "twin": str(twin.attrs.get("experiment", "")),
        },
    )


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation of fields (neuron, ...) by neuron; NaN where one is flat or undefined."""
    fields = np.stack([first, second]).reshape(2, len(first), -1).astype(np.float64)
    fields = np.where(np.isfinite(fields).all(0), fields, np.nan)
    count = np.isfinite(fields).sum(2, keepdims=True)
    total = np.nansum(fields, axis=2, keepdims=True)
    fields = np.nan_to_num(fields - total / np.maximum(count, 1))
    power = (fields**2).sum(2).prod(0)
    return fields.prod(0).sum(1) / np.sqrt(np.where(power > 0, power, np.nan))
