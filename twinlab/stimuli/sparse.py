"""Sparse noise: a few black and white squares on grey, none close to another."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.schema import InputError, check_seed
from twinlab.stimuli.parameters import alike, broadcast, in_pixels, label, pixels

__all__ = ["make_sparse_noise"]


def make_sparse_noise(
    n: int,
    height: int,
    width: int,
    seed: int,
    *,
    square_size: float = 4.0,
    exclusion: float = 12.0,
    n_square: int | None = None,
    channel: int = 1,
    mean: float = 127.5,
    contrast: float = 1.0,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    """Images of black and white squares on a grid, locally sparse.

    Squares are laid one after another on a random free place of the grid until `n_square` lie
    or no place is free; a place is free where no centre of another square is within
    `exclusion`. Each is black or white with even chance.

    Parameters
    ----------
    n : int
        How many images.
    height, width, channel : int
        Size of the images; all channels are alike.
    seed : int
    square_size : float
        Side of a square in pixels, or in degrees of visual angle where `degrees_per_pixel` is
        given. The grid starts at the first pixel; squares at the far borders are cut where it
        does not fill the image.
    exclusion : float
        Distance from centre to centre that two squares of an image exceed, in pixels or degrees.
    n_square : int, optional
        Squares in an image; as many as find a place where absent. Those at the borders then
        come more often, as they have fewer neighbours.
    mean : float
        Grey level of the background.
    contrast : float
        Michelson contrast of white against black squares, 0 to 1.
    degrees_per_pixel : float, optional

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x), float32 grey levels, with the number of squares that
        found a place as `n_square` along `image`.

    Raises
    ------
    InputError
        If a number, size or contrast is out of range.

    References
    ----------
    de Vries et al. (2020), Nature Neuroscience 23: 138-151 (locally sparse noise).

    """
    x, y = pixels(height, width, channel)
    if n < 1 or (n_square is not None and n_square < 1):
        msg = f"Sparse noise needs `n` and `n_square` of at least 1, but got {n} and {n_square}."
        raise InputError(msg)
    parameters = broadcast(
        square_size=np.full(n, square_size), exclusion=exclusion, contrast=contrast
    )
    drawn = in_pixels(parameters, degrees_per_pixel)
    side = drawn["square_size"][0]
    if side < 1:
        msg = f"`square_size` must be at least one pixel, but {square_size:g} is {side:g} pixels."
        raise InputError(msg)
    # of the middle of a pixel, which rounding does not move across the border of a square
    row, column = (((axis + 0.5) // side).astype(int) for axis in (y, x))
    n_column = column.max() + 1
    cell = row * n_column + column  # of each pixel, (height, width)
    places = np.arange(cell.max() + 1)
    offset_y, offset_x = (
        np.subtract.outer(axis, axis) * side for axis in np.divmod(places, n_column)
    )
    near = np.hypot(offset_y, offset_x) <= drawn["exclusion"][0] * (1 + 1e-9)
    # image after image, so that the first images are the same however many there are
    drawing = np.random.default_rng(check_seed(seed)).random((n, 2, len(places)))
    order, sign = drawing[:, 0], np.where(drawing[:, 1] < 0.5, -1.0, 1.0)
    polarity = np.zeros((n, len(places)))
    count = np.zeros(n, int)
    limit = len(places) if n_square is None else n_square
    for _ in range(limit):
        chosen = order.argmin(1)  # the lowest of the free places is next
        free = np.flatnonzero(np.isfinite(order[np.arange(n), chosen]))
        if not free.size:
            break
        chosen = chosen[free]
        polarity[free, chosen] = sign[free, chosen]
        order[free] = np.where(near[chosen], np.inf, order[free])
        count[free] += 1
    wave = polarity[:, cell]
    stimulus = label(
        alike(mean * (1 + contrast * wave), channel),
        parameters,
        degrees_per_pixel=degrees_per_pixel,
    )
    stimulus.attrs |= {"kind": "sparse noise", "seed": seed}
    return stimulus.assign_coords(
        n_square=("image", count, {"long_name": "number of squares", "units": "1"})
    )
