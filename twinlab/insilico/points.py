"""The stimulus behind one point of a tuning curve or map."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import xarray as xr

from twinlab.insilico.drawing import draw_gratings
from twinlab.insilico.preferences import OWN
from twinlab.insilico.protocols import PROTOCOLS
from twinlab.schema import InputError
from twinlab.twins import StimulusSpec

__all__ = ["curve_settings", "draw_grating", "grating_at"]


def curve_settings(result: xr.Dataset) -> dict[str, float]:
    """Values of the other axes at which one neuron's `curve` was taken.

    Parameters
    ----------
    result : Dataset
        From a tuning experiment, of one neuron.

    Returns
    -------
    dict of str to float
        Empty where there is one axis, or nothing is evoked.

    """
    evoked = result.evoked
    others = [str(name) for name in evoked.dims[1:]]
    known = np.nan_to_num(evoked.values)
    if not others or not known.max(initial=0.0) > 0:
        return {}
    name = str(result.attrs.get("experiment", "")).removesuffix("_tuning")
    at = PROTOCOLS[name].at if name in PROTOCOLS else {}
    if at:
        axis = result[others[0]].values
        return {others[0]: float(axis[np.abs(axis - at[others[0]]).argmin()])}
    best = np.unravel_index(known.max(0).argmax(), known.shape[1:])
    return {axis: float(result[axis].values[i]) for axis, i in zip(others, best, strict=True)}


def grating_at(result: xr.Dataset, values: Mapping[str, float]) -> dict[str, float]:
    """Parameters of the grating that was shown at one point of a grid.

    Parameters
    ----------
    result : Dataset
        From `measure_tuning` or a named tuning experiment, of one neuron.
    values : mapping of str to float
        Along the axes.

    Returns
    -------
    dict of str to float
        As `measure_tuning` names them. Of what was averaged over, the first value.

    Raises
    ------
    InputError
        If what the neuron was shown is not defined: it has no preference, or its values were
        given as a list.

    """
    settings = json.loads(result.attrs["settings"])
    parameters: dict[str, float] = {}
    for name, value in settings["fixed"].items():
        shown = float(result[OWN[name]]) if value == "own" else value
        if isinstance(shown, list) or not np.isfinite(shown):
            msg = (
                f"The `{name}` that this neuron was shown is not defined; choose a neuron that "
                "answers to gratings."
            )
            raise InputError(msg)
        parameters[name] = float(shown)
    parameters |= {name: float(each[0]) for name, each in settings["average"].items()}
    return parameters | {name: float(value) for name, value in values.items()}


def draw_grating(spec: StimulusSpec, parameters: Mapping[str, float]) -> np.ndarray:
    """Draw one grating as `measure_tuning` shows it to a twin of images.

    Parameters
    ----------
    spec : StimulusSpec
    parameters : mapping of str to float
        From `grating_at`.

    Returns
    -------
    ndarray of shape (channel, y, x)
        float32, grey levels.

    Raises
    ------
    InputError
        If the twin sees videos.

    """
    if spec.is_video:
        msg = "A grating that drifts is no image; this twin sees videos."
        raise InputError(msg)
    one = {name: np.array([value]) for name, value in parameters.items()}
    return draw_gratings(spec, one)[0].numpy()
