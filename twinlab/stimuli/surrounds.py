"""Centre-surround gratings: a disc and an annulus around it, each with a grating of its own."""

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
)

__all__ = ["make_center_surrounds"]


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
    inner, outer = parameters["radius"] + parameters["gap"], parameters["surround_radius"]
    if (inner > outer).any():
        first = int((inner > outer).argmax())
        msg = (
            "`surround_radius` must be at least `radius` + `gap`, but got "
            f"{outer[first]:g} and {parameters['radius'][first]:g} + {parameters['gap'][first]:g}."
        )
        raise InputError(msg)
    drawn = in_pixels(parameters, degrees_per_pixel)
    disc = aperture(x, y, drawn)
    hole = aperture(x, y, drawn, drawn["radius"] + drawn["gap"])
    annulus = (1 - hole) * aperture(x, y, drawn, drawn["surround_radius"])
    waves, aliased = [], []
    for which, place in (("", disc), ("surround_", annulus)):
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
