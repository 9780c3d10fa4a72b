"""Any set of stimuli at a stated mean and contrast, and within the range of a screen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from twinlab.schema import InputError
from twinlab.stimuli.parameters import Values

__all__ = ["CONTRASTS", "clip_stimulus", "measure_contrast", "set_contrast"]


def _rms(values: np.ndarray) -> np.ndarray:
    return values.std(1) / values.mean(1)


def _michelson(values: np.ndarray) -> np.ndarray:
    low, high = values.min(1), values.max(1)
    return (high - low) / (high + low)


# Of grey levels (stimulus, everything), by name.
CONTRASTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "michelson": _michelson,
    "rms": _rms,
}
LONG_NAMES = {"michelson": "Michelson contrast", "rms": "RMS contrast"}


def measure_contrast(stimulus: xr.DataArray, kind: str = "rms") -> xr.DataArray:
    r"""Contrast of each stimulus over all of its pixels, channels and frames.

    Parameters
    ----------
    stimulus : xarray.DataArray
        Grey levels (image, ...) or (video, ...), 0 being black.
    kind : {"rms", "michelson"}
        :math:`\sigma / \mu`, the standard deviation over the mean, or
        :math:`(L_{max} - L_{min}) / (L_{max} + L_{min})`.

    Returns
    -------
    xarray.DataArray
        `rms_contrast` or `michelson_contrast` (image) or (video); NaN where all is black.

    Raises
    ------
    InputError
        If `kind` is unknown or a grey level is not finite.

    """
    values = _flat(stimulus, kind)
    with np.errstate(invalid="ignore", divide="ignore"):
        contrast = CONTRASTS[kind](values)
    return xr.DataArray(
        contrast,
        dims=stimulus.dims[:1],
        name=f"{kind}_contrast",
        attrs={"long_name": LONG_NAMES[kind], "units": "1"},
    )


def set_contrast(
    stimulus: xr.DataArray, contrast: Values, *, kind: str = "rms", mean: Values | None = None
) -> xr.DataArray:
    """Bring each stimulus to a mean and a contrast, by a factor and a constant.

    Grey levels may leave the range of the screen: see `clip_stimulus`.

    Parameters
    ----------
    stimulus : xarray.DataArray
        Grey levels (image, ...) or (video, ...), 0 being black.
    contrast : float or array of shape (n_image,)
        At least 0; a Michelson contrast is at most 1.
    kind : {"rms", "michelson"}
        As in `measure_contrast`.
    mean : float or array of shape (n_image,), optional
        Mean grey level, positive; the stimulus's own where absent.

    Returns
    -------
    xarray.DataArray
        float32, with `rms_contrast` or `michelson_contrast` and `mean_luminance` along the first
        dimension. Coordinates of a contrast that it had before are left out, as they are true
        no more.

    Raises
    ------
    InputError
        If the contrast or mean is out of range, or a stimulus is uniform and so has no
        contrast to bring up, or a grey level is not finite.

    """
    values = _flat(stimulus, kind)
    n = len(values)
    own = values.mean(1)
    asked, target = _each(contrast, n, "contrast"), _each(own if mean is None else mean, n, "mean")
    most = 1.0 if kind == "michelson" else np.inf
    if not (asked >= 0).all() or not (asked <= most).all():
        msg = f"`contrast` ({kind}) must be from 0 to {most:g}, but got {contrast}."
        raise InputError(msg)
    if not (target > 0).all():
        found = f"stimulus {int((~(target > 0)).argmax())} has one of {target.min():g}"
        msg = f"The mean grey level must be positive, but {found}; give a positive `mean`."
        raise InputError(msg)
    low, high, spread = values.min(1), values.max(1), values.std(1)
    uniform = (high - low <= 1e-6 * np.abs(high)) & (asked > 0)
    if uniform.any():
        msg = (
            f"Stimulus {int(uniform.argmax())} is uniform, so no factor gives it a contrast; "
            "leave it out or ask for 0."
        )
        raise InputError(msg)
    if kind == "rms":
        change, gain = spread, asked * target
    else:  # the factor g of g (high - low) / (2 target + g (high + low - 2 own)) = asked
        change, gain = (high - low) - asked * (high + low - 2 * own), 2 * asked * target
    gain = np.where(asked > 0, gain / np.where(asked > 0, change, 1.0), 0.0)
    made = target[:, None] + gain[:, None] * (values - own[:, None])
    former = [name for name in stimulus.coords if str(name).endswith("contrast")]
    dim = stimulus.dims[0]
    result = stimulus.drop_vars(former).copy(data=made.reshape(stimulus.shape).astype(np.float32))
    result.attrs.pop("rms_contrast", None)
    return result.assign_coords(
        {
            f"{kind}_contrast": (dim, asked, {"long_name": LONG_NAMES[kind], "units": "1"}),
            "mean_luminance": (
                dim,
                target,
                {"long_name": "mean luminance", "units": "grey level"},
            ),
        }
    )


def clip_stimulus(stimulus: xr.DataArray, low: float = 0.0, high: float = 255.0) -> xr.DataArray:
    """Bring every grey level into the range of a screen, and say how many were outside.

    Parameters
    ----------
    stimulus : xarray.DataArray
        Grey levels (image, ...) or (video, ...).
    low, high : float
        Black and white of the screen; those of a twin are `twin.spec.low` and `twin.spec.high`.

    Returns
    -------
    xarray.DataArray
        With `clipped_fraction` along the first dimension: the share of values, over pixels,
        channels and frames, that were outside. Where it is 0 nothing has changed. Elsewhere
        contrasts among the coordinates are those asked for: `measure_contrast` tells what is
        left. An attribute `rms_contrast` is left out if anything was clipped.

    Raises
    ------
    InputError
        If the range is empty or a grey level is not finite.

    """
    if not low < high:
        msg = f"A range needs `low` < `high`, but got {low:g} and {high:g}."
        raise InputError(msg)
    values = _flat(stimulus, "rms")
    outside = ((values < low) | (values > high)).mean(1)
    attrs = {"long_name": "share of pixels clipped", "units": "1"}
    if outside.any():
        clipped = np.clip(values, low, high).reshape(stimulus.shape)
        stimulus = stimulus.copy(data=clipped.astype(np.float32))
        stimulus.attrs.pop("rms_contrast", None)  # it is less now
    return stimulus.assign_coords(clipped_fraction=(stimulus.dims[0], outside, attrs))


def _flat(stimulus: xr.DataArray, kind: str) -> np.ndarray:
    """Grey levels (stimulus, everything) in double precision, or `InputError`."""
    if kind not in CONTRASTS:
        msg = f"Unknown contrast {kind!r}; `kind` must be one of {list(CONTRASTS)}."
        raise InputError(msg)
    values = stimulus.values.reshape(len(stimulus), -1).astype(float)
    wrong = ~np.isfinite(values).all(1)
    if wrong.any():
        msg = f"Stimulus {int(wrong.argmax())} has grey levels that are not finite; leave it out."
        raise InputError(msg)
    return values


def _each(value: Values, n: int, name: str) -> np.ndarray:
    """One finite number for each of `n` stimuli."""
    array = np.atleast_1d(np.asarray(value, float))
    if array.shape not in ((1,), (n,)):
        msg = f"`{name}` must be one number or {n}, one a stimulus, but has shape {array.shape}."
        raise InputError(msg)
    if not np.isfinite(array).all():
        msg = f"`{name}` must be finite, but got {value}."
        raise InputError(msg)
    return np.broadcast_to(array, n).astype(float)
