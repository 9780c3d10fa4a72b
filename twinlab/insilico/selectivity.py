r"""Indices of tuning: how selective, modulated or suppressed a neuron is, from its curve.

A curve runs along the last axis; what is undefined is NaN. Indices with a name of their own
in the literature say which definition they are: two are in use for orientation and direction.
"""

from __future__ import annotations

import numpy as np

from twinlab.schema import InputError

__all__ = [
    "circular_variance",
    "cross_orientation_suppression",
    "direction_index",
    "direction_selectivity",
    "half_width",
    "modulation_ratio",
    "orientation_index",
    "orientation_selectivity",
    "preferred_angle",
    "suppression_index",
    "vector_sum",
]

# Share of the summed response below which its vector sum is rounding.
FLAT = 1e-5


def vector_sum(curve: np.ndarray, angle_deg: np.ndarray) -> np.ndarray:
    r"""Vector sum over angles as a share of the summed response, :math:`\sum R e^{i\theta} / \sum R`.

    Parameters
    ----------
    curve : ndarray of shape (..., n_angle)
        Response at each angle, not negative.
    angle_deg : ndarray of shape (n_angle,)
        Evenly spaced over the circle; orientations are doubled first.

    Returns
    -------
    complex ndarray of shape (...)
        NaN where the summed response is 0.

    """  # noqa: E501
    curve = np.asarray(curve, np.float64)
    total = curve.sum(-1)
    vector = curve @ np.exp(1j * np.deg2rad(angle_deg))
    return vector * (1 / np.where(total > 0, total, np.nan))


def orientation_selectivity(curve: np.ndarray, angle_deg: np.ndarray) -> np.ndarray:
    r"""Global orientation selectivity index (one minus the circular variance).

    .. math:: \mathrm{OSI} = \frac{|\sum_\theta R(\theta) e^{2 i \theta}|}{\sum_\theta R(\theta)}

    Parameters
    ----------
    curve : ndarray of shape (..., n_angle)
        Response at each angle, not negative.
    angle_deg : ndarray of shape (n_angle,)
        Evenly spaced over 180 degrees (orientations) or 360 degrees (directions).

    Returns
    -------
    ndarray of shape (...)
        1 for a response to one orientation alone, 0 for a flat curve; NaN where the summed
        response is 0.

    References
    ----------
    Ringach, Shapley & Hawken (2002), Journal of Neuroscience 22: 5639-5651.

    """
    return np.abs(vector_sum(curve, 2 * np.asarray(angle_deg)))


def direction_selectivity(curve: np.ndarray, angle_deg: np.ndarray) -> np.ndarray:
    r"""Global direction selectivity index, :math:`|\sum R e^{i\theta}| / \sum R`.

    Parameters
    ----------
    curve : ndarray of shape (..., n_angle)
        Response at each direction, not negative.
    angle_deg : ndarray of shape (n_angle,)
        Evenly spaced over 360 degrees.

    Returns
    -------
    ndarray of shape (...)
        1 for a response to one direction alone, 0 where opposite directions respond alike;
        NaN where the summed response is 0.

    """
    return np.abs(vector_sum(curve, np.asarray(angle_deg)))


def circular_variance(curve: np.ndarray, angle_deg: np.ndarray) -> np.ndarray:
    """Circular variance over orientations: 1 minus the global `orientation_selectivity`.

    Parameters
    ----------
    curve, angle_deg
        As for `orientation_selectivity`.

    Returns
    -------
    ndarray of shape (...)
        0 for a response to one orientation alone, 1 for a flat curve.

    References
    ----------
    Ringach, Shapley & Hawken (2002), Journal of Neuroscience 22: 5639-5651.

    """
    return 1 - orientation_selectivity(curve, angle_deg)


def preferred_angle(
    curve: np.ndarray, angle_deg: np.ndarray, *, period: float = 180.0
) -> np.ndarray:
    """Angle of the vector sum, in degrees; NaN where the curve is flat.

    Parameters
    ----------
    curve : ndarray of shape (..., n_angle)
        Not negative.
    angle_deg : ndarray of shape (n_angle,)
        Evenly spaced over one or more periods.
    period : float
        180 for orientations, 360 for directions.

    Returns
    -------
    ndarray of shape (...)
        At least 0, less than `period`.

    """
    turns = 360 / period
    vector = vector_sum(curve, turns * np.asarray(angle_deg))
    angle = np.rad2deg(np.angle(vector)) / turns % period
    # What is left of the vector of a flat curve is rounding.
    return np.where(np.abs(vector) > FLAT, angle, np.nan)


def orientation_index(curve: np.ndarray, angle_deg: np.ndarray) -> np.ndarray:
    r"""Peak against orthogonal orientation, :math:`(R_p - R_o) / (R_p + R_o)`.

    Depends on two points of the curve where `orientation_selectivity` uses all of them:
    larger, and more affected by noise. Of directions, both ends of each orientation are
    averaged first.

    Parameters
    ----------
    curve, angle_deg
        As for `orientation_selectivity`; the orthogonal orientation is found by linear
        interpolation where it is not on the grid.

    Returns
    -------
    ndarray of shape (...)
        1 where nothing answers the orthogonal orientation; NaN where both are 0.

    Raises
    ------
    InputError
        If the angles do not go once around.

    References
    ----------
    Niell & Stryker (2008), Journal of Neuroscience 28: 7520-7536.

    """
    angle = np.asarray(angle_deg, float)
    curve = np.asarray(curve, np.float64)
    if len(angle) * np.median(np.diff(angle)) > 270:
        curve = (curve + _turned(curve, angle, 180.0, period=360.0)) / 2
    return _peak_against(curve, angle, 90.0, period=180.0)


def direction_index(curve: np.ndarray, angle_deg: np.ndarray) -> np.ndarray:
    r"""Peak against opposite direction, :math:`(R_p - R_n) / (R_p + R_n)`.

    Parameters
    ----------
    curve, angle_deg
        As for `direction_selectivity`.

    Returns
    -------
    ndarray of shape (...)
        1 where nothing answers the opposite direction; NaN where both are 0.

    Raises
    ------
    InputError
        If the angles do not go once around.

    References
    ----------
    Niell & Stryker (2008), Journal of Neuroscience 28: 7520-7536.

    """
    return _peak_against(curve, np.asarray(angle_deg, float), 180.0, period=360.0)


def _turned(curve: np.ndarray, angle: np.ndarray, turn: float, *, period: float) -> np.ndarray:
    """The curve at each angle + turn, interpolated around the circle."""
    step = float(np.median(np.diff(angle)))
    count = max(round(period / step), 1)
    if count > len(angle):
        msg = (
            f"Angles must be evenly spaced over the whole circle of {period:g} deg, but "
            f"{len(angle)} go from {angle[0]:g} to {angle[-1]:g} in steps of {step:g}."
        )
        raise InputError(msg)
    place = (angle + turn - angle[0]) / step
    lower = np.floor(place + 1e-9).astype(int)
    share = np.clip(place - lower, 0, 1)
    return curve[..., lower % count] * (1 - share) + curve[..., (lower + 1) % count] * share


def _peak_against(
    curve: np.ndarray, angle: np.ndarray, turn: float, *, period: float
) -> np.ndarray:
    """(R - R') / (R + R') of the largest response and that at `turn` degrees from it."""
    curve = np.asarray(curve, np.float64)
    peak = curve.argmax(-1)[..., None]
    best = np.take_along_axis(curve, peak, -1)[..., 0]
    other = np.take_along_axis(_turned(curve, angle, turn, period=period), peak, -1)[..., 0]
    total = best + other
    return (best - other) / np.where(total > 0, total, np.nan)


def modulation_ratio(curve: np.ndarray, baseline: np.ndarray | float = 0.0) -> np.ndarray:
    r"""F1/F0: amplitude of the first harmonic over phases as a share of the mean above baseline.

    Parameters
    ----------
    curve : ndarray of shape (..., n_phase)
        Rate at phases evenly spaced over a cycle.
    baseline : ndarray of shape (...) or float
        Rate at rest, taken from the mean.

    Returns
    -------
    ndarray of shape (...)
        2 for a response to one phase alone, :math:`\pi/2` for a half-rectified sinusoid, 0 for
        a curve that is flat. Above 1 a neuron is called simple, below complex. NaN where the
        mean is not above the baseline.

    References
    ----------
    Skottun et al. (1991), Vision Research 31: 1079-1086.

    """
    curve = np.asarray(curve, np.float64)
    first = 2 * np.abs(np.fft.fft(curve, axis=-1)[..., 1]) / curve.shape[-1]
    above = curve.mean(-1) - baseline
    return first / np.where(above > 0, above, np.nan)


def suppression_index(curve: np.ndarray) -> np.ndarray:
    r"""Surround suppression, :math:`1 - R_\infty / R_p`: how far the largest stimulus suppresses.

    Parameters
    ----------
    curve : ndarray of shape (..., n_size)
        Response by size of the stimulus, the largest last.

    Returns
    -------
    ndarray of shape (...)
        0 where the response never falls with size, 1 where the largest stimulus evokes
        nothing, above 1 where it goes below rest; NaN where nothing is above 0.

    References
    ----------
    Cavanaugh, Bair & Movshon (2002), Journal of Neurophysiology 88: 2530-2546.

    """
    curve = np.asarray(curve, np.float64)
    peak = curve.max(-1)
    return 1 - curve[..., -1] / np.where(peak > 0, peak, np.nan)


def cross_orientation_suppression(alone: np.ndarray, with_mask: np.ndarray) -> np.ndarray:
    """Share of the response to a grating that goes when a mask is laid over it.

    Parameters
    ----------
    alone, with_mask : ndarray
        Response to the grating, and to the plaid of grating and mask.

    Returns
    -------
    ndarray
        1 - `with_mask` / `alone`: 0 where the mask changes nothing, 1 where it silences,
        negative where it adds; NaN where the grating alone evokes nothing.

    References
    ----------
    DeAngelis, Robson, Ohzawa & Freeman (1992), Journal of Neurophysiology 68: 144-163.

    """
    alone = np.asarray(alone, np.float64)
    return 1 - np.asarray(with_mask, np.float64) / np.where(alone > 0, alone, np.nan)


def half_width(kappa: np.ndarray, *, period: float = 180.0) -> np.ndarray:
    r"""Half-width at half height of a von Mises peak, in degrees.

    .. math:: w = \frac{p}{360} \arccos\left(1 - \frac{\ln 2}{\kappa}\right)

    Parameters
    ----------
    kappa : ndarray
        Concentration.
    period : float
        p: 180 for orientations, 360 for directions.

    Returns
    -------
    ndarray
        NaN where the peak never falls to half its height, :math:`\kappa < \ln(2) / 2`.

    """
    kappa = np.asarray(kappa, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = 1 - np.log(2) / kappa
        defined = np.abs(cosine) <= 1
        angle = np.arccos(np.where(defined, cosine, 1.0))
    return np.where(defined, np.rad2deg(angle) * period / 360, np.nan)
