"""Dead leaves: images and videos with the statistics of natural scenes, of occluding discs."""

from __future__ import annotations

import numba
import numpy as np
import xarray as xr

from twinlab.schema import InputError
from twinlab.stimuli.parameters import label, unit_per_pixel

__all__ = ["make_dead_leaves", "make_dead_leaves_video"]


def make_dead_leaves(
    n: int,
    height: int,
    width: int,
    seed: int,
    *,
    channel: int = 1,
    first: int = 0,
    radius_min: float = 0.5,
    radius_max: float | None = None,
    supersample: int = 2,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    """Images of overlapping discs, an independent scene each.

    Opaque discs of all sizes, each with its own grey level and a gentle shading, lie on each
    other until nothing shows through. Such images share with natural ones the objects and
    edges, the occlusions, the heavy-tailed filter outputs and the power spectrum, which falls
    as about 1 / frequency ** 2.

    Image i depends on `seed` and i alone: more images, or images made in several calls with
    `first`, are the same images.

    Parameters
    ----------
    n : int
        How many images.
    height, width, channel : int
        Size of the images; most discs have the same grey level in all channels.
    seed : int
        From 0 to 2 ** 64 - 1.
    first : int
        Number of the first image.
    radius_min : float
        Of the smallest disc, in pixels, or in degrees of visual angle where `degrees_per_pixel`
        is given.
    radius_max : float, optional
        Of the largest disc, in pixels or degrees; three times the height where absent. Radii
        have a density proportional to radius ** -3 in between.
    supersample : int
        Points along each side of a pixel whose mean is the pixel.
    degrees_per_pixel : float, optional

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x), uint8, with a mean of about 110 and a standard
        deviation of about 60 grey levels.

    Raises
    ------
    InputError
        If a size or number is out of range.

    References
    ----------
    Lee, Mumford & Huang (2001), International Journal of Computer Vision 41: 35-59.

    """
    unit = unit_per_pixel(degrees_per_pixel)
    radius_max = 3.0 * height * unit if radius_max is None else radius_max
    _check(n, height, width, seed, channel, first, radius_min, radius_max, supersample)
    points = supersample / unit  # the kernel counts in points, not pixels
    images = np.empty((n, channel, 1, height, width), np.uint8)
    radii = radius_min * points, radius_max * points
    _paint(images, np.uint64(seed), first, supersample, *radii, 0.0, 0.0)
    stimulus = label(images[:, :, 0], {}, degrees_per_pixel=degrees_per_pixel)
    stimulus.attrs |= {"kind": "dead leaves", "seed": str(seed)}  # NetCDF has no big integers
    return stimulus


def make_dead_leaves_video(
    n: int,
    height: int,
    width: int,
    seed: int,
    *,
    n_frame: int,
    frame_rate_hz: float = 30.0,
    scene_speed: float = 20.0,
    leaf_speed: float = 15.0,
    channel: int = 1,
    first: int = 0,
    radius_min: float = 1.0,
    radius_max: float | None = None,
    supersample: int = 2,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    """Videos of overlapping discs that move, an independent scene each.

    Each scene drifts as a whole, as when the eye moves, and each disc moves on its own, as
    things do; both velocities stay the same throughout a video. A disc that has left the
    screen comes back on the other side, so that every frame has the statistics of
    `make_dead_leaves`.

    Video i depends on `seed`, i and the settings alone; its first frames are the same however
    many there are.

    Parameters
    ----------
    n : int
        How many videos.
    height, width, channel : int
        Size of the frames.
    seed : int
        From 0 to 2 ** 64 - 1.
    n_frame : int
        Frames of each video.
    frame_rate_hz : float
    scene_speed, leaf_speed : float
        Standard deviation across scenes, and across the discs of a scene, of the velocity
        along each axis, in pixels or degrees per second. With both 0 nothing moves.
    first : int
        Number of the first video.
    radius_min, radius_max, supersample, degrees_per_pixel
        As in `make_dead_leaves`; discs smaller than a pixel would flicker as they move.

    Returns
    -------
    xarray.DataArray
        `stimulus` (video, channel, frame, y, x), uint8, with `time` in seconds along `frame`.

    Raises
    ------
    InputError
        As `make_dead_leaves`, or if there is no frame, the frame rate is not positive or a
        speed is negative.

    """
    unit = unit_per_pixel(degrees_per_pixel)
    radius_max = 3.0 * height * unit if radius_max is None else radius_max
    _check(n, height, width, seed, channel, first, radius_min, radius_max, supersample)
    if n_frame < 1 or not frame_rate_hz > 0 or not min(scene_speed, leaf_speed) >= 0:
        msg = (
            "Moving dead leaves need `n_frame` of at least 1, a positive `frame_rate_hz` and "
            f"speeds of at least 0, but got {n_frame}, {frame_rate_hz:g}, {scene_speed:g} and "
            f"{leaf_speed:g}."
        )
        raise InputError(msg)
    videos = np.empty((n, channel, n_frame, height, width), np.uint8)
    points = supersample / unit  # the kernel counts in points, not pixels
    _paint(
        videos,
        np.uint64(seed),
        first,
        supersample,
        radius_min * points,
        radius_max * points,
        scene_speed * points / frame_rate_hz,
        leaf_speed * points / frame_rate_hz,
    )
    stimulus = label(videos, {}, degrees_per_pixel=degrees_per_pixel, frame_rate_hz=frame_rate_hz)
    stimulus.attrs |= {
        "kind": "moving dead leaves",
        "seed": str(seed),
        "scene_speed": float(scene_speed),
        "leaf_speed": float(leaf_speed),
    }
    return stimulus


def _check(
    n: int,
    height: int,
    width: int,
    seed: int,
    channel: int,
    first: int,
    radius_min: float,
    radius_max: float,
    supersample: int,
) -> None:
    """Raise `InputError` naming what is out of range."""
    if min(n, height, width, channel, supersample) < 1 or first < 0:
        msg = (
            "Dead leaves need `n`, `height`, `width`, `channel` and `supersample` of at least 1 "
            f"and `first` of at least 0, but got {n}, {height}, {width}, {channel}, "
            f"{supersample} and {first}."
        )
        raise InputError(msg)
    if not 0 < radius_min < radius_max:
        msg = (
            "Radii must obey 0 < `radius_min` < `radius_max`, but got "
            f"{radius_min:g} and {radius_max:g}."
        )
        raise InputError(msg)
    if not 0 <= seed < 2**64:
        msg = f"`seed` must be from 0 to 2**64 - 1, but got {seed}."
        raise InputError(msg)


@numba.njit(cache=True, inline="always")
def _mix(state: np.uint64) -> np.uint64:
    """Scramble a counter into 64 random bits (the output function of SplitMix64)."""
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(cache=True, inline="always")
def _uniform(state: np.ndarray) -> float:
    """Next random number in [0, 1)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    return (_mix(state[0]) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@numba.njit(cache=True, inline="always")
def _grey(u: float) -> float:
    """Grey level with a broad skewed density (Kumaraswamy's, by its inverse distribution)."""
    return 255.0 * (1.0 - (1.0 - u) ** (1.0 / 1.6)) ** (1.0 / 1.15)


@numba.njit(cache=True, inline="always")
def _radius(u: float, power: int, low: float, high: float) -> float:
    """Radius with density proportional to radius ** -power between `low` and `high`."""
    if power == 1:
        return low * (high / low) ** u
    p = 1.0 - power
    return (low**p + u * (high**p - low**p)) ** (1.0 / p)


@numba.njit(cache=True, inline="always")
def _normal_pair(state: np.ndarray) -> tuple[float, float]:
    """Two independent standard normal numbers (Box and Muller)."""
    size = np.sqrt(-2.0 * np.log(1.0 - _uniform(state)))
    angle = 2.0 * np.pi * _uniform(state)
    return size * np.cos(angle), size * np.sin(angle)


@numba.njit(cache=True, nogil=True)
def _paint(
    videos: np.ndarray,
    seed: np.uint64,
    first: int,
    points: int,
    low: float,
    high: float,
    scene_speed: float,
    leaf_speed: float,
) -> None:
    """Fill `videos`; lengths in points, of which a pixel has `points` along each side."""
    n, n_channel, n_frame, n_y, n_x = videos.shape
    height, width = n_y * points, n_x * points
    # Discs are laid front to back, so each point is painted once. Of all discs of radius r in
    # the plane only those with a centre within r of the image can show: a share proportional
    # to (height + 2 r) (width + 2 r). Drawing the radius from that share times r ** -3, a
    # mixture of three power laws, wastes no disc and changes nothing.
    cubes = height * width * (low**-2 - high**-2) / 2
    squares = 2 * (height + width) * (1 / low - 1 / high)
    inverses = 4 * np.log(high / low)
    everything = cubes + squares + inverses

    state = np.empty(1, np.uint64)
    canvas = np.empty((n_channel, height, width), np.float32)
    bare = np.empty((height, width), np.bool_)
    bare_in_row = np.empty(height, np.int64)
    grey = np.empty(n_channel)
    moving = scene_speed > 0 or leaf_speed > 0
    scene_x = scene_y = leaf_x = leaf_y = 0.0
    for i_frame in range(n * n_frame):
        i, frame = i_frame // n_frame, i_frame % n_frame
        # Every frame lays the same leaves anew, as many as it needs, each moved on.
        state[0] = _mix(_mix(seed + np.uint64(1)) + np.uint64(first + i))
        if moving:
            scene_x, scene_y = _normal_pair(state)
        bare[:] = True
        bare_in_row[:] = width
        n_bare = height * width
        while n_bare > 0:
            u = _uniform(state) * everything
            power = 3 if u < cubes else (2 if u < cubes + squares else 1)
            r = _radius(_uniform(state), power, low, high)
            cx = _uniform(state) * (width + 2 * r) - r - 0.5
            cy = _uniform(state) * (height + 2 * r) - r - 0.5
            shared = _uniform(state)
            for c in range(n_channel):
                plain = n_channel == 1 or _uniform(state) < 0.85
                grey[c] = _grey(shared if plain else _uniform(state))
            # Shading: a linear ramp of up to 25 grey levels from the centre to the rim.
            slope_x = 50 * (_uniform(state) - 0.5) / r
            slope_y = 50 * (_uniform(state) - 0.5) / r
            if moving:
                leaf_x, leaf_y = _normal_pair(state)
                # Round the screen: where a disc vanishes and where it comes back it is unseen.
                moved_x = cx + frame * (scene_speed * scene_x + leaf_speed * leaf_x)
                moved_y = cy + frame * (scene_speed * scene_y + leaf_speed * leaf_y)
                cx = (moved_x + r + 0.5) % (width + 2 * r) - r - 0.5
                cy = (moved_y + r + 0.5) % (height + 2 * r) - r - 0.5
            for y in range(
                max(0, int(np.ceil(cy - r))), min(height - 1, int(np.floor(cy + r))) + 1
            ):
                if bare_in_row[y] == 0:
                    continue
                half = np.sqrt(max(0.0, r * r - (y - cy) ** 2))
                start = max(0, int(np.ceil(cx - half)))
                stop = min(width - 1, int(np.floor(cx + half))) + 1
                for x in range(start, stop):
                    if bare[y, x]:
                        bare[y, x] = False
                        bare_in_row[y] -= 1
                        n_bare -= 1
                        ramp = slope_x * (x - cx) + slope_y * (y - cy)
                        for c in range(n_channel):
                            canvas[c, y, x] = min(255.0, max(0.0, grey[c] + ramp))
        for c in range(n_channel):
            for y in range(n_y):
                for x in range(n_x):
                    total = 0.0
                    for a in range(points):
                        for b in range(points):
                            total += canvas[c, y * points + a, x * points + b]
                    videos[i, c, frame, y, x] = np.uint8(total / points**2 + 0.5)
