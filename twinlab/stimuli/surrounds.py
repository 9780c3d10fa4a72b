"""Centre-surround gratings, at rest or drifting: a disc and an annulus, a grating in each."""

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

__all__ = ["make_center_surrounds", "make_drifting_center_surrounds"]


def make_center_surrounds(
    orientation: Values,
    surround_orientation: Values,
    spatial_frequency: Values,
    surround_spatial_frequency: Values | None = None,
    phase: Values = 0.0,
    surround_phase: Values | None = None,
    *,
    radius: Values,
    height: int,
    width: int,
    gap: Values = 0.0,
    surround_radius: Values = np.inf,
    channel: int = 1,
    mean: float = 127.5,
    contrast: Values = 1.0,
    surround_contrast: Values | None = None,
    center: tuple[Values, Values] | None = None,
    edge: Values | None = None,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    """Gratings in a disc and in an annulus around it, one image for each set of parameters.

    With no gap and the two gratings alike it is a grating in the larger aperture; with a
    surround of no contrast, the centre alone, and the other way round.

    Parameters
    ----------
    orientation, surround_orientation : float or array of shape (n_image,)
        Of the bars, as in `make_gratings`.
    spatial_frequency : float or array of shape (n_image,)
        As in `make_gratings`.
    phase : float or array of shape (n_image,)
        At the first pixel, in degrees.
    surround_spatial_frequency, surround_phase, surround_contrast : optional
        Those of the centre where absent.
    radius : float or array of shape (n_image,)
        Of the centre, in pixels or degrees.
    height, width : int
    gap : float or array of shape (n_image,)
        Between the centre and the surround, in pixels or degrees.
    surround_radius : float or array of shape (n_image,)
        Of the outer edge of the surround, in pixels or degrees; the whole screen where absent.
    channel, mean, center, edge, degrees_per_pixel
        As in `make_gratings`; all three edges are alike.
    contrast : float or array of shape (n_image,)
        Michelson contrast of the centre, 0 to 1.

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x), float32 grey levels; `aliased` is true where either
        grating has fewer than two pixels to a cycle, of which a warning tells.

    Raises
    ------
    InputError
        As `make_gratings`, or if the surround ends before it begins.

    """
    x, y = pixels(height, width, channel)
    parameters = broadcast(
        orientation=orientation,
        surround_orientation=surround_orientation,
        spatial_frequency=spatial_frequency,
        surround_spatial_frequency=(
            spatial_frequency if surround_spatial_frequency is None else surround_spatial_frequency
        ),
        phase=phase,
        surround_phase=phase if surround_phase is None else surround_phase,
        contrast=contrast,
        surround_contrast=contrast if surround_contrast is None else surround_contrast,
        gap=gap,
        surround_radius=surround_radius,
        **window(x, y, center, radius, edge, degrees_per_pixel),
    )
    drawn = in_pixels(parameters, degrees_per_pixel)
    waves, aliased = [], []
    for which, place in zip(("", "surround_"), _places(x, y, parameters, drawn), strict=True):
        turn, frequency = drawn[which + "orientation"], drawn[which + "spatial_frequency"]
        grating = carrier(x, y, turn, frequency, drawn[which + "phase"])
        waves.append(drawn[which + "contrast"][:, None, None] * place * grating)
        aliased.append(aliased_gratings(turn, frequency))
    stimulus = label(
        alike(shade(waves[0] + waves[1], mean), channel),
        parameters,
        degrees_per_pixel=degrees_per_pixel,
    )
    return mark_aliased(stimulus, aliased[0] | aliased[1])


def make_drifting_center_surrounds(
    direction: Values,
    surround_direction: Values,
    spatial_frequency: Values,
    surround_spatial_frequency: Values | None = None,
    *,
    temporal_frequency_hz: Values,
    surround_temporal_frequency_hz: Values | None = None,
    radius: Values,
    n_frame: int,
    frame_rate_hz: float,
    height: int,
    width: int,
    gap: Values = 0.0,
    surround_radius: Values = np.inf,
    channel: int = 1,
    mean: float = 127.5,
    contrast: Values = 1.0,
    surround_contrast: Values | None = None,
    phase: Values = 0.0,
    surround_phase: Values | None = None,
    center: tuple[Values, Values] | None = None,
    edge: Values | None = None,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    """Gratings that drift in a disc and in an annulus around it, each its own way.

    The two may differ in direction, spatial and temporal frequency (and so in speed, which is
    the temporal over the spatial frequency), phase and contrast; the disc and the annulus stay.

    Parameters
    ----------
    direction, surround_direction : float or array of shape (n_video,)
        In which each of the two moves, as in `make_drifting_gratings`.
    spatial_frequency : float or array of shape (n_video,)
        As in `make_gratings`.
    temporal_frequency_hz : float or array of shape (n_video,)
        Cycles per second that pass a point of the centre.
    surround_spatial_frequency, surround_temporal_frequency_hz : optional
        Those of the centre where absent, as are `surround_phase` and `surround_contrast`.
    n_frame : int
    frame_rate_hz : float
    radius, gap, surround_radius, height, width, contrast, surround_contrast
        As in `make_center_surrounds`.
    channel, mean, center, edge, degrees_per_pixel
        As in `make_gratings`; all three edges are alike.
    phase, surround_phase : float or array of shape (n_video,)
        At the first pixel of the first frame, in degrees.

    Returns
    -------
    xarray.DataArray
        `stimulus` (video, channel, frame, y, x), float32 grey levels, with `aliased` as in
        `make_drifting_gratings`, of either grating.

    Raises
    ------
    InputError
        As `make_drifting_gratings`, or if the surround ends before it begins.

    References
    ----------
    Jones, Grieve, Wang & Sillito (2001), Journal of Neurophysiology 86: 2011-2028.

    """
    time = video_times(n_frame, frame_rate_hz)
    x, y = pixels(height, width, channel)

    def around(own: Values | None, centre: Values) -> Values:
        return centre if own is None else own

    parameters = broadcast(
        direction=direction,
        surround_direction=surround_direction,
        spatial_frequency=spatial_frequency,
        surround_spatial_frequency=around(surround_spatial_frequency, spatial_frequency),
        temporal_frequency=temporal_frequency_hz,
        surround_temporal_frequency=around(surround_temporal_frequency_hz, temporal_frequency_hz),
        phase=phase,
        surround_phase=around(surround_phase, phase),
        contrast=contrast,
        surround_contrast=around(surround_contrast, contrast),
        gap=gap,
        surround_radius=surround_radius,
        **window(x, y, center, radius, edge, degrees_per_pixel),
    )
    drawn = in_pixels(parameters, degrees_per_pixel)
    waves, aliased = [], []
    for which, place in zip(("", "surround_"), _places(x, y, parameters, drawn), strict=True):
        turn = drawn[which + "direction"] - 90
        frequency, temporal = (
            drawn[f"{which}{axis}_frequency"] for axis in ("spatial", "temporal")
        )
        moved = temporal[:, None] * time
        grating = carrier(x, y, turn, frequency, drawn[which + "phase"], moved)
        waves.append((drawn[which + "contrast"][:, None, None] * place)[:, None] * grating)
        aliased.append(aliased_gratings(turn, frequency, temporal, frame_rate_hz))
    stimulus = label(
        alike(shade(waves[0] + waves[1], mean), channel),
        parameters,
        degrees_per_pixel=degrees_per_pixel,
        frame_rate_hz=frame_rate_hz,
    )
    return mark_aliased(stimulus, aliased[0] | aliased[1])


def _places(
    x: np.ndarray, y: np.ndarray, parameters: dict[str, np.ndarray], drawn: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Disc and annulus (n, height, width) of parameters as given, and as drawn in pixels."""
    inner, outer = parameters["radius"] + parameters["gap"], parameters["surround_radius"]
    if (inner > outer).any():
        first = int((inner > outer).argmax())
        msg = (
            "`surround_radius` must be at least `radius` + `gap`, but got "
            f"{outer[first]:g} and {parameters['radius'][first]:g} + {parameters['gap'][first]:g}."
        )
        raise InputError(msg)
    hole = aperture(x, y, drawn, drawn["radius"] + drawn["gap"])
    annulus = (1 - hole) * aperture(x, y, drawn, drawn["surround_radius"])
    return aperture(x, y, drawn), annulus
