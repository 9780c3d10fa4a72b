"""Plaids: two gratings added up, the second called the mask."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.schema import InputError
from twinlab.stimuli.gratings import aperture, carrier, shade, window
from twinlab.stimuli.parameters import (
    Values,
    aliased_gratings,
    alike,
    broadcast,
    in_pixels,
    label,
    mark_aliased,
    pixels,
    video_times,
)

__all__ = ["make_drifting_plaids", "make_plaids"]


def make_plaids(
    orientation: Values,
    mask_orientation: Values,
    spatial_frequency: Values,
    mask_spatial_frequency: Values | None = None,
    phase: Values = 0.0,
    mask_phase: Values = 0.0,
    *,
    height: int,
    width: int,
    channel: int = 1,
    mean: float = 127.5,
    contrast: Values = 0.5,
    mask_contrast: Values = 0.5,
    center: tuple[Values, Values] | None = None,
    radius: Values | None = None,
    edge: Values | None = None,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    r"""Sum of a grating and a mask, one image for each set of parameters.

    .. math:: L = m + (G_1 - m) + (G_2 - m)

    with the gratings :math:`G` of `make_gratings`. With a mask at 90 degrees to the grating
    it shows cross-orientation suppression.

    Parameters
    ----------
    orientation, mask_orientation : float or array of shape (n_image,)
        Of the bars of the two, as in `make_gratings`.
    spatial_frequency : float or array of shape (n_image,)
        As in `make_gratings`.
    mask_spatial_frequency : float or array of shape (n_image,), optional
        That of the grating where absent.
    phase, mask_phase : float or array of shape (n_image,)
        At the first pixel, in degrees.
    height, width, channel, mean, center, radius, edge, degrees_per_pixel
        As in `make_gratings`; one aperture for both.
    contrast, mask_contrast : float or array of shape (n_image,)
        Michelson contrast of each alone; at most 1 together.

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x), float32 grey levels; `aliased` is true where either
        grating has fewer than two pixels to a cycle, of which a warning tells.

    Raises
    ------
    InputError
        As `make_gratings`, or if the two contrasts add up to more than 1.

    """
    x, y = pixels(height, width, channel)
    masked = spatial_frequency if mask_spatial_frequency is None else mask_spatial_frequency
    parameters = broadcast(
        orientation=orientation,
        mask_orientation=mask_orientation,
        spatial_frequency=spatial_frequency,
        mask_spatial_frequency=masked,
        phase=phase,
        mask_phase=mask_phase,
        contrast=contrast,
        mask_contrast=mask_contrast,
        **window(x, y, center, radius, edge, degrees_per_pixel),
    )
    _check_contrasts(parameters)
    drawn = in_pixels(parameters, degrees_per_pixel)
    waves, aliased = [], []
    for which in ("", "mask_"):
        turn, frequency = drawn[which + "orientation"], drawn[which + "spatial_frequency"]
        grating = carrier(x, y, turn, frequency, drawn[which + "phase"])
        waves.append(drawn[which + "contrast"][:, None, None] * grating)
        aliased.append(aliased_gratings(turn, frequency))
    wave = waves[0] + waves[1]
    if radius is not None:
        wave *= aperture(x, y, drawn)
    stimulus = label(
        alike(shade(wave, mean), channel),
        parameters,
        degrees_per_pixel=degrees_per_pixel,
    )
    return mark_aliased(stimulus, aliased[0] | aliased[1])


def make_drifting_plaids(
    direction: Values,
    mask_direction: Values,
    spatial_frequency: Values,
    mask_spatial_frequency: Values | None = None,
    *,
    temporal_frequency_hz: Values,
    mask_temporal_frequency_hz: Values | None = None,
    n_frame: int,
    frame_rate_hz: float,
    height: int,
    width: int,
    channel: int = 1,
    mean: float = 127.5,
    contrast: Values = 0.5,
    mask_contrast: Values = 0.5,
    phase: Values = 0.0,
    mask_phase: Values = 0.0,
    center: tuple[Values, Values] | None = None,
    radius: Values | None = None,
    edge: Values | None = None,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    """Sum of two drifting gratings, one video for each set of parameters.

    A neuron selective for the direction of the components answers to each grating; one
    selective for that of the pattern, to where the plaid goes.

    Parameters
    ----------
    direction, mask_direction : float or array of shape (n_video,)
        In which each of the two moves, as in `make_drifting_gratings`.
    spatial_frequency, mask_spatial_frequency, contrast, mask_contrast
        As in `make_plaids`.
    temporal_frequency_hz : float or array of shape (n_video,)
        Cycles per second that pass a point.
    mask_temporal_frequency_hz : float or array of shape (n_video,), optional
        That of the grating where absent.
    n_frame : int
    frame_rate_hz : float
    height, width, channel, mean, center, radius, edge, degrees_per_pixel
        As in `make_gratings`.
    phase, mask_phase : float or array of shape (n_video,)
        At the first pixel of the first frame, in degrees.

    Returns
    -------
    xarray.DataArray
        `stimulus` (video, channel, frame, y, x), float32 grey levels, with `aliased` as in
        `make_drifting_gratings`.

    Raises
    ------
    InputError
        As `make_drifting_gratings`, or if the two contrasts add up to more than 1.

    References
    ----------
    Movshon, Adelson, Gizzi & Newsome (1985), in Pattern Recognition Mechanisms: 117-151.

    """
    time = video_times(n_frame, frame_rate_hz)
    x, y = pixels(height, width, channel)
    masked = spatial_frequency if mask_spatial_frequency is None else mask_spatial_frequency
    paced = mask_temporal_frequency_hz
    parameters = broadcast(
        direction=direction,
        mask_direction=mask_direction,
        spatial_frequency=spatial_frequency,
        mask_spatial_frequency=masked,
        temporal_frequency=temporal_frequency_hz,
        mask_temporal_frequency=temporal_frequency_hz if paced is None else paced,
        phase=phase,
        mask_phase=mask_phase,
        contrast=contrast,
        mask_contrast=mask_contrast,
        **window(x, y, center, radius, edge, degrees_per_pixel),
    )
    _check_contrasts(parameters)
    drawn = in_pixels(parameters, degrees_per_pixel)
    waves, aliased = [], []
    for which in ("", "mask_"):
        turn = drawn[which + "direction"] - 90
        frequency, temporal = (
            drawn[f"{which}{axis}_frequency"] for axis in ("spatial", "temporal")
        )
        moved = temporal[:, None] * time
        grating = carrier(x, y, turn, frequency, drawn[which + "phase"], moved)
        waves.append(drawn[which + "contrast"][:, None, None, None] * grating)
        aliased.append(aliased_gratings(turn, frequency, temporal, frame_rate_hz))
    wave = waves[0] + waves[1]
    if radius is not None:
        wave *= aperture(x, y, drawn)[:, None]
    stimulus = label(
        alike(shade(wave, mean), channel),
        parameters,
        degrees_per_pixel=degrees_per_pixel,
        frame_rate_hz=frame_rate_hz,
    )
    return mark_aliased(stimulus, aliased[0] | aliased[1])


def _check_contrasts(parameters: dict[str, np.ndarray]) -> None:
    """Raise `InputError` if a plaid would be darker than black."""
    together = (parameters["contrast"] + parameters["mask_contrast"]).max()
    if together > 1 + 1e-9:
        msg = (
            "`contrast` and `mask_contrast` of a plaid must add up to 1 at most, but add up to "
            f"{together:g}; lower either."
        )
        raise InputError(msg)
