"""Iso-response curves: contours of equal response in a plane, and what their bend tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from twinlab.insilico.image_planes import find_plane, rates_in_plane, span_plane
from twinlab.insilico.responses import (
    Neurons,
    check_positive,
    chosen_positions,
    neuron_labels,
    provenance,
    spatial_coordinates,
)
from twinlab.jobs import Job
from twinlab.schema import check_seed, make_result
from twinlab.twins import ConditionedTwin

__all__ = ["POOLINGS", "fit_contour", "measure_iso_response", "name_pooling"]

SOURCE = "Gollisch & Herz (2005), PLoS Biology 3: e8"

POOLINGS = ("undefined", "linear", "energy", "normalized", "product")
LEVELS = (0.25, 0.5, 0.75)  # of the way from the rate without contrast to the highest found
N_ANGLE, N_RADIUS = 72, 24  # directions in the plane, and places along each
N_REFINE = 8  # evaluations that narrow down where between two places a contour lies
WINDOW = 30.0  # degrees each side of the axis in which the bend of a contour is fitted
FEWEST = 7  # points of a contour that has a bend
CROSSINGS = 1.1  # ratio of crossings of the axis from which a dependence on level is read
SMALLEST_RANGE = 1e-5  # of the largest rate; a neuron that moves less is constant


def measure_iso_response(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    directions: np.ndarray | None = None,
    norm: float = 7.0,
    straight: float = 0.1,
    seed: int = 0,
    batch_size: int = 256,
    job: Job | None = None,
) -> xr.Dataset:
    r"""Contours of equal response in a plane of images, and the pooling rule they betray.

    Whatever a neuron's output nonlinearity, the images that drive it alike tell how it combines
    its inputs. In the plane of two image directions a contour is found along each of 72
    directions: where, going out from grey, the response first reaches a level (a
    quarter, half and three quarters of the way from the rate without contrast to the highest
    in the plane at this norm). With u the distance along the axis of the strongest response
    and v the distance across it, both in units of where the contour crosses the axis, a
    quadratic is fitted to the contour within 30 degrees of the axis; its second derivative is the
    `curvature`:

    - 0, a straight line: **linear** (a filter and any nonlinearity);
    - below 0, around the origin: **energy** (a circle has -1 at the axis);
    - above 0, away from it: the second direction suppresses. If it divides,
      :math:`u = u_0 g(v)`, the curvature grows as the square of :math:`u_0` from level to level:
      **normalized**. If the neuron multiplies its inputs :math:`u + v` and :math:`u - v`,
      contours are hyperbolas, :math:`u^2 - v^2 = u_0^2`, of one curvature at all levels:
      **product**.

    Without `directions`, the first is the most exciting input and the second the direction
    orthogonal to it that changes the response most: the first principal component of the
    response's gradients at noise images about the first, as spike-triggered covariance would
    find it.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    directions : ndarray of shape (2, channel, y, x) or (neuron, 2, channel, y, x), optional
        Two directions in the space of images; made orthonormal, the first kept.
    norm : float
        Largest distance from grey that is looked at: L2 norm over all pixels and channels, in
        standard deviations of the training pixels.
    straight : float
        Curvature that counts as none.
    seed : int
        Of the noise from which the directions are found.
    batch_size : int
        Images shown at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `radius` (neuron, level, angle), the distance at which the level is reached along
        each angle (from the first direction, towards the second), NaN where it is not;
        `level_rate` (neuron, level); `axis_angle` (neuron); `curvature` (neuron, level);
        `radius_spread` (neuron, level), standard deviation over mean of the radius, 0 for a
        whole circle; `line_spread` (neuron, level), the same of u within 30 degrees, 0 for a
        line; `curvature_exponent` (neuron), the slope of log curvature on log u0 over levels,
        near 2 where the second direction divides and 0 for a product; `pooling` (neuron)
        from all this, "undefined" where the levels disagree or have no contour; `response`
        (neuron, angle, distance) on the whole grid; `direction` (neuron, axis, channel, y,
        x) of unit norm; `second_share` (neuron), the share of the gradients' energy across the
        first direction that the second takes; `out_of_range` (neuron), the largest share of
        pixels that the display could not show of an image of this norm. Nothing is cut.
        `valid` (neuron) is 0 where the response is constant in the plane.

    Raises
    ------
    InputError
        If a setting is out of range, the directions are not two of the twin's image size, or
        `neurons` are not the twin's.

    References
    ----------
    Gollisch & Herz (2005), PLoS Biology 3: e8; Horwitz & Hass (2012), Nature Neuroscience 15:
    913-919; Golden et al. (2016), Vision Research 120: 74-92.

    """
    check_positive(norm=norm, straight=straight)
    check_seed(seed)
    positions = chosen_positions(len(twin), neurons)
    job = job or Job()
    if directions is None:
        axes, second_share = find_plane(twin, positions, norm, seed, batch_size, job.part(0, 0.5))
    else:
        axes = span_plane(twin, directions, len(positions))
        second_share = np.full(len(positions), np.nan)
    angle = np.arange(N_ANGLE) * 2 * np.pi / N_ANGLE
    distance = norm * np.arange(N_RADIUS + 1) / N_RADIUS

    def show(angle: np.ndarray, distance: np.ndarray, job: Job) -> np.ndarray:
        return rates_in_plane(twin, positions, axes, angle, distance, batch_size, job)

    grid = (len(positions), N_ANGLE, N_RADIUS + 1)
    response = show(
        np.broadcast_to(angle[:, None], grid), np.broadcast_to(distance, grid), job.part(0.5, 0.7)
    )
    rest, most = response[:, 0, 0], response.max((1, 2))
    valid = most - rest > SMALLEST_RANGE * np.abs(response).max((1, 2))
    level = rest[:, None] + np.array(LEVELS) * (most - rest)[:, None]
    level[~valid] = np.nan
    radius = _find_contours(show, response, level, angle, distance, job.part(0.7, 1.0))
    return _label(
        twin, positions, axes, second_share, angle, distance, response, level, radius, valid,
        seed=seed, norm=norm, straight=straight, given=directions is not None,
    )  # fmt: skip


def _find_contours(
    show: Callable[[np.ndarray, np.ndarray, Job], np.ndarray],
    response: np.ndarray,
    level: np.ndarray,
    angle: np.ndarray,
    distance: np.ndarray,
    job: Job,
) -> np.ndarray:
    """Distance (neuron, level, angle) at which a level is first reached going out, or NaN.

    A regula falsi between the two places of the grid, both ends of which move (Illinois).
    """
    above = response[:, None] >= level[:, :, None, None]  # (neuron, level, angle, distance)
    first = above.argmax(3)
    reached = above.any(3) & (first > 0)
    first = np.maximum(first, 1)
    at = np.broadcast_to(response[:, None], above.shape)
    target = level[:, :, None]
    left, right = distance[first - 1], distance[first]
    below, beyond = (
        np.take_along_axis(at, (first - k)[..., None], 3)[..., 0] - target for k in (1, 0)
    )
    place = right.copy()
    for done in range(N_REFINE):
        slope = beyond - below
        place = np.where(
            slope > 0, right - beyond * (right - left) / np.where(slope > 0, slope, 1), right
        )
        stage = job.part(done / N_REFINE, (done + 1) / N_REFINE)
        value = show(np.broadcast_to(angle, place.shape), place, stage) - target
        over = value >= 0
        # The end that stays counts half, so that it too is drawn in.
        below, beyond = (
            np.where(over, below / 2, value),
            np.where(over, value, beyond / 2),
        )
        left, right = np.where(over, left, place), np.where(over, place, right)
    return np.where(reached, place, np.nan)


def fit_contour(angle: np.ndarray, radius: np.ndarray, axis: np.ndarray) -> dict[str, np.ndarray]:
    """Bend of contours about an axis, from a quadratic fit within 30 degrees of it.

    Parameters
    ----------
    angle : ndarray of shape (n_angle,)
        In radians.
    radius : ndarray of shape (..., n_angle)
        NaN where there is no contour.
    axis : ndarray of shape (...)
        Angle of the axis, in radians.

    Returns
    -------
    dict of ndarray of shape (...)
        `crossing`, where the fit crosses the axis; `curvature`, its second derivative there in
        units of the crossing; `radius_spread` and `line_spread`, standard deviation over mean
        of the radius all around and of the projection on the axis within 30 degrees. NaN
        where fewer than 7 points, or not all around, have a contour.

    """
    shape = radius.shape[:-1]
    flat = radius.reshape(-1, radius.shape[-1])
    away = (angle - np.reshape(axis, (-1, 1)) + np.pi) % (2 * np.pi) - np.pi
    near = np.abs(away) <= np.deg2rad(WINDOW) + 1e-9
    found = np.full((4, len(flat)), np.nan)
    for number, (points, turned, close) in enumerate(zip(flat, away, near, strict=True)):
        found[2, number] = points.std() / points.mean()
        used = close & np.isfinite(points)
        if used.sum() < FEWEST:
            continue
        u, v = points[used] * np.cos(turned[used]), points[used] * np.sin(turned[used])
        bend, _, crossing = np.polyfit(v, u, 2)
        found[:2, number] = crossing, 2 * bend * crossing
        found[3, number] = u.std() / u.mean()
    names = ("crossing", "curvature", "radius_spread", "line_spread")
    return {name: values.reshape(shape) for name, values in zip(names, found, strict=True)}


def name_pooling(
    curvature: np.ndarray, crossing: np.ndarray, straight: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pooling rule of each neuron, by sign and scaling of its contours' curvature.

    Parameters
    ----------
    curvature, crossing : ndarray of shape (neuron, level)
        Of `fit_contour`; NaN where a level has no contour.
    straight : float
        Curvature that counts as none.

    Returns
    -------
    pooling : ndarray of str of shape (neuron,)
        One of `POOLINGS`.
    exponent : ndarray of shape (neuron,)
        Slope of log curvature on log crossing; NaN where no contour bends away, or all
        that do cross within 10 % of one another.

    """
    known = np.isfinite(curvature).any(1)
    around, away = (curvature < -straight).any(1), (curvature > straight).any(1)
    exponent = np.full(len(curvature), np.nan)
    for number in np.flatnonzero(away):
        used = curvature[number] > 0
        bend, place = curvature[number, used], crossing[number, used]
        if place.max() > CROSSINGS * place.min():
            exponent[number] = np.polyfit(np.log(place), np.log(bend), 1)[0]
    pooling = np.select(
        [
            known & ~around & ~away,
            around & ~away,
            away & ~around & (exponent >= 1),
            away & ~around & (exponent < 1),
        ],
        POOLINGS[1:],
        POOLINGS[0],
    )
    return pooling, exponent


def _axis_angle(angle: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Angle at which contours (neuron, angle) come nearest, between those of the grid."""
    best = np.where(np.isfinite(radius), radius, np.inf).argmin(1)
    each = np.arange(len(radius))
    before, at, after = (radius[each, (best + k) % len(angle)] for k in (-1, 0, 1))
    bend = before - 2 * at + after  # NaN at the end of a contour
    usable = bend > 1e-6 * at
    shift = np.where(usable, (before - after) / (2 * np.where(usable, bend, 1)), 0)
    return np.where(np.isfinite(at), angle[best] + shift * (angle[1] - angle[0]), np.nan)


def _label(
    twin: ConditionedTwin,
    positions: np.ndarray,
    axes: Tensor,
    second_share: np.ndarray,
    angle: np.ndarray,
    distance: np.ndarray,
    response: np.ndarray,
    level: np.ndarray,
    radius: np.ndarray,
    valid: np.ndarray,
    *,
    seed: int,
    norm: float,
    straight: float,
    given: bool,
) -> xr.Dataset:
    spec = twin.spec
    axis = _axis_angle(angle, radius[:, len(LEVELS) // 2])
    fit = fit_contour(angle, radius, np.repeat(axis[:, None], len(LEVELS), 1))
    pooling, exponent = name_pooling(fit["curvature"], fit["crossing"], straight)
    direction = axes.cpu().numpy()
    # The image of this norm furthest out at each pixel; a circle spans the plane.
    furthest = norm * np.sqrt((direction**2).sum(1)) * spec.std
    hidden = (spec.mean + furthest > spec.high) | (spec.mean - furthest < spec.low)
    rate, unit, contrast = (
        {"units": units} for units in ("rate", "1", "standard deviation of training pixels")
    )
    contour = ("neuron", "level")
    variables: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "radius": (
            (*contour, "angle"),
            radius,
            {"long_name": "distance at which the level is reached"} | contrast,
        ),
        "level_rate": (contour, level, {"long_name": "response along the contour"} | rate),
        "axis_angle": (
            "neuron",
            np.rad2deg(axis) % 360,
            {"long_name": "angle at which contours come nearest", "units": "deg"},
        ),
        "crossing": (
            contour,
            fit["crossing"],
            {"long_name": "distance at which the contour crosses the axis"} | contrast,
        ),
        "curvature": (contour, fit["curvature"], {"long_name": "curvature of the contour"} | unit),
        "radius_spread": (
            contour,
            fit["radius_spread"],
            {"long_name": "standard deviation over mean of the radius"} | unit,
        ),
        "line_spread": (
            contour,
            fit["line_spread"],
            {"long_name": "standard deviation over mean of the distance along the axis"} | unit,
        ),
        "curvature_exponent": (
            "neuron",
            exponent,
            {"long_name": "slope of log curvature on log crossing"} | unit,
        ),
        "pooling": (
            "neuron",
            pooling,
            {"long_name": "pooling rule told by the contours"} | unit,
        ),
        "response": (
            ("neuron", "angle", "distance"),
            response.astype(np.float32),
            {"long_name": "response"} | rate,
        ),
        "direction": (
            ("neuron", "axis", "channel", "y", "x"),
            direction,
            {"long_name": "direction that spans the plane"} | unit,
        ),
        "second_share": (
            "neuron",
            second_share,
            {"long_name": "share of the gradients' energy along the second direction"} | unit,
        ),
        "out_of_range": (
            "neuron",
            hidden.mean((1, 2, 3)),
            {"long_name": "share of pixels that leave the range of the display"} | unit,
        ),
        "valid": (
            "neuron",
            valid.astype(np.int8),
            {"long_name": "0 where the response is constant in the plane"} | unit,
        ),
    }
    result = neuron_labels(twin, positions).assign(variables).assign_coords(
        level=("level", list(LEVELS), {"long_name": "share of the highest response"} | unit),
        angle=(
            "angle",
            np.rad2deg(angle),
            {"long_name": "angle from the first direction", "units": "deg"},
        ),
        distance=("distance", distance, {"long_name": "distance from grey"} | contrast),
        axis=("axis", ["first", "second"], {"long_name": "axis of the plane"}),
    )  # fmt: skip
    return make_result(
        result.assign_coords(spatial_coordinates(spec.height, spec.width)),
        experiment="iso_response",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={
            "norm": norm,
            "straight": straight,
            "directions": "given" if given else "found",
            **provenance(twin),
        },
        source=SOURCE,
    )
