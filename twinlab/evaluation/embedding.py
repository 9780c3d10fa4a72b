"""Neurons set out by how alike they respond."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.schema import InputError, make_result

__all__ = ["embed_responses"]


def embed_responses(response: xr.DataArray) -> xr.Dataset:
    """Place neurons in a plane by the principal components of their responses.

    Each neuron's responses are centred and scaled to unit variance over images, so that in
    all components together the squared distance of two neurons is 2 (1 - r), with r the
    correlation of their responses; the plane keeps as much of this as any plane can.

    Parameters
    ----------
    response : DataArray of dimensions (image, neuron)
        Measured or predicted, without missing values.

    Returns
    -------
    xarray.Dataset
        `component_1` and `component_2` (neuron), NaN for neurons whose response never
        changes, and `explained` (component): the share of all variance along each. The sign
        of a component is such that its values add up to no less than 0.

    Raises
    ------
    InputError
        If the dimensions are others, there are fewer than three images, or a value is missing.

    """
    if set(response.dims) != {"image", "neuron"} or response.sizes["image"] < 3:
        msg = (
            "`response` must be (image, neuron), of at least 3 images, but is "
            f"{dict(response.sizes)}."
        )
        raise InputError(msg)
    values = response.transpose("image", "neuron").values.astype(float)
    if not np.isfinite(values).all():
        msg = (
            f"`response` lacks {np.count_nonzero(~np.isfinite(values))} of {values.size} values; "
            "leave out images or neurons with missing responses."
        )
        raise InputError(msg)
    centred = values - values.mean(0)
    spread = np.sqrt((centred**2).mean(0))
    # Rounding alone gives a constant response some spread.
    changes = spread > 1e-6 * np.abs(values).max(0)
    n_image = len(values)
    scaled = centred[:, changes] / (spread[changes] * np.sqrt(n_image))
    # By images: there are far fewer of them than of neurons.
    variance, axes = np.linalg.eigh(scaled @ scaled.T)
    place = np.full((2, values.shape[1]), np.nan)
    place[:, changes] = axes[:, :-3:-1].T @ scaled
    place *= np.where(np.nansum(place, axis=1) < 0, -1.0, 1.0)[:, None]
    total = variance.sum()
    share = variance[:-3:-1] / total if total > 0 else np.full(2, np.nan)
    words = "component of the responses"
    return make_result(
        xr.Dataset(
            {
                "component_1": ("neuron", place[0], {"long_name": f"first {words}", "units": "1"}),
                "component_2": (
                    "neuron",
                    place[1],
                    {"long_name": f"second {words}", "units": "1"},
                ),
                "explained": (
                    "component",
                    share,
                    {"long_name": "share of the variance", "units": "1"},
                ),
            },
            {name: c for name, c in response.coords.items() if c.dims == ("neuron",)},
        ),
        experiment="embedding",
        settings={"n_image": n_image},
    )
