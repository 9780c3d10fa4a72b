"""Dead leaves: images with the statistics of natural scenes, made of occluding discs."""

from __future__ import annotations

import numba
import numpy as np
import xarray as xr

from twinlab.schema import InputError

__all__ = ["make_dead_leaves"]


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
        Of the smallest disc, in pixels.
    radius_max : float, optional
        Of the largest disc, in pixels; three times the height where absent. Radii have a
        density proportional to radius ** -3 in between.
    supersample : int
        Points along each side of a pixel whose mean is the pixel.

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
    radius_max = 3.0 * height if radius_max is None else radius_max
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
            f"{radius_min:g} and {radius_max:g} pixels."
        )
        raise InputError(msg)
    if not 0 <= seed < 2**64:
        msg = f"`seed` must be from 0 to 2**64 - 1, but got {seed}."
        raise InputError(msg)
    images = np.empty((n, channel, height, width), np.uint8)
    scale = float(supersample)  # the kernel counts in points, not pixels
    _paint(images, np.uint64(seed), first, supersample, radius_min * scale, radius_max * scale)
    stimulus = xr.DataArray(
        images,
        dims=("image", "channel", "y", "x"),
        name="stimulus",
        attrs={"long_name": "stimulus", "units": "grey level"},
    )
    stimulus.attrs |= {"kind": "dead leaves", "seed": str(seed)}  # NetCDF has no big integers
    return stimulus


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


@numba.njit(cache=True, nogil=True)
def _paint(
    images: np.ndarray, seed: np.uint64, first: int, points: int, low: float, high: float
) -> None:
    """Fill `images`; lengths in points, of which a pixel has `points` along each side."""
    n, n_channel, n_y, n_x = images.shape
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
    for i in range(n):
        state[0] = _mix(_mix(seed + np.uint64(1)) + np.uint64(first + i))
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
                    images[i, c, y, x] = np.uint8(total / points**2 + 0.5)
