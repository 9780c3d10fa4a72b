"""Results that are not known yet, to be drawn as empty axes."""

from __future__ import annotations

import numpy as np
import xarray as xr

__all__ = ["no_averages", "no_tuning"]


def no_tuning() -> xr.Dataset:
    """Stand in for a tuning that is not known yet: drawn as empty axes."""
    orientation = xr.DataArray(
        [0.0, 90.0], dims="orientation", attrs={"long_name": "orientation", "units": "deg"}
    )
    curve = ("orientation", [np.nan, np.nan])
    return xr.Dataset(
        {"evoked_curve": curve, "preferred_orientation": np.nan, "osi": np.nan},
        {"orientation": orientation},
    )


def no_averages(units: str) -> xr.Dataset:
    """Stand in for averages that are not known yet: drawn as empty axes."""
    none: np.ndarray = np.empty(0)
    return xr.Dataset(
        {
            "response": ("image", none, {"long_name": "measured response", "units": units}),
            "standard_error": ("image", none, {"units": units}),
            "prediction": ("image", none, {"long_name": "predicted response", "units": units}),
        }
    )
