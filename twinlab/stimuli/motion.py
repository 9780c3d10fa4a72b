"""Things that move over a grey screen: a bar, random dots."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from twinlab.schema import InputError, check_seed
from twinlab.stimuli.bars import covered
from twinlab.stimuli.parameters import (
    Values,
    alike,
    along_across,
    broadcast,
    centre_of,
    in_pixels,
    label,
    pixels,
    video_times,
)

__all__ = ["make_moving_bars", "make_random_dots"]


def make_moving_bars(
    direction: Values,
    *,
    speed: Values,
    bar_width: Values,
    n_frame: int,
    frame_rate_hz: float,
    height: int,
    width: int,
    bar_length: Values = np.inf,
    center: tuple[Values, Values] | None = None,
    channel: int = 1,
    mean: float = 127.5,
    contrast: Values = 1.0,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    """A bar that moves across itself, one video for each set of parameters.

    It is at `center` in the middle of the video, whatever its direction.

    Parameters
    ----------
    direction : float or array of shape (n_video,)
        Of the motion, in degrees: 0 is rightwards, 90 upwards.
    speed : float or array of shape (n_video,)
        In pixels per second, or degrees of visual angle where `degrees_per_pixel` is given.
    bar_width, bar_length : float or array of shape (n_video,)
        Along and across the motion, in pixels or degrees; across the whole screen where absent.
    n_frame : int
    frame_rate_hz : float
    height, width, channel : int
        Size of the frames; all channels are alike.
    center : (x, y), optional
        In pixels or degrees; the middle of the screen where absent.
    mean : float
        Grey level of the background.
    contrast : float or array of shape (n_video,)
        Weber contrast, the difference between bar and background as a share of the background:
        1 is white on grey, -1 black.
    degrees_per_pixel : float, optional

    Returns
    -------
    xarray.DataArray
        `stimulus` (video, channel, frame, y, x), float32 grey levels; a pixel that the bar
        covers in part is between the two.

    Raises
    ------
    InputError
        If a parameter is out of range or the parameters have different lengths.

    """
    time = video_times(n_frame, frame_rate_hz)
    x, y = pixels(height, width, channel)
    center_x, center_y = centre_of(x, y, center, degrees_per_pixel)
    parameters = broadcast(
        direction=direction,
        speed=speed,
        bar_width=bar_width,
        bar_length=bar_length,
        center_x=center_x,
        center_y=center_y,
        weber_contrast=contrast,
    )
    drawn = in_pixels(parameters, degrees_per_pixel)
    column = {name: value[:, None, None] for name, value in drawn.items()}
    dx, dy = x - column["center_x"], y - column["center_y"]
    ahead, beside = along_across(dx, dy, column["direction"])
    travelled = drawn["speed"][:, None] * (time - time.mean())
    offset = ahead[:, None] - travelled[:, :, None, None]
    bar = covered(offset, drawn["bar_width"][:, None, None, None])
    bar *= covered(beside, column["bar_length"])[:, None]
    stimulus = label(
        alike(mean * (1 + column["weber_contrast"][:, None] * bar), channel),
        parameters,
        degrees_per_pixel=degrees_per_pixel,
        frame_rate_hz=frame_rate_hz,
    )
    stimulus.attrs["kind"] = "moving bars"
    return stimulus


def make_random_dots(
    direction: Values,
    coherence: Values,
    seed: int,
    *,
    speed: Values,
    n_frame: int,
    frame_rate_hz: float,
    height: int,
    width: int,
    n_dot: int = 50,
    dot_radius: Values = 1.0,
    lifetime_s: float = np.inf,
    channel: int = 1,
    mean: float = 127.5,
    contrast: Values = 1.0,
    degrees_per_pixel: float | None = None,
) -> xr.DataArray:
    """Random dots, of which a share moves together, one video for each set of parameters.

    The signal dots are the same throughout a video and move in `direction`; every other dot
    moves as fast in a direction of its own. A dot that has lived for `lifetime_s` goes on from
    a random place (a noise dot also in a new direction), at first after a random part of it. A
    dot that has left the screen comes back on the other side.

    Parameters
    ----------
    direction : float or array of shape (n_video,)
        Of the signal dots, in degrees: 0 is rightwards, 90 upwards.
    coherence : float or array of shape (n_video,)
        Share of signal dots, 0 to 1; rounded to a whole number of dots, as its coordinate is.
    seed : int
        Video i depends on `seed`, i and its own parameters alone.
    speed : float or array of shape (n_video,)
        In pixels per second, or degrees of visual angle where `degrees_per_pixel` is given.
    n_frame : int
    frame_rate_hz : float
    height, width, channel : int
        Size of the frames; all channels are alike.
    n_dot : int
        Dots on the screen and as little around it as a dot can be seen from.
    dot_radius : float or array of shape (n_video,)
        In pixels or degrees; at least half a pixel.
    lifetime_s : float
        At least two frames; infinite where absent.
    mean : float
        Grey level of the background.
    contrast : float or array of shape (n_video,)
        Weber contrast, the difference between dot and background as a share of the background:
        1 is white on grey, -1 black.
    degrees_per_pixel : float, optional

    Returns
    -------
    xarray.DataArray
        `stimulus` (video, channel, frame, y, x), float32 grey levels; where dots overlap the
        stimulus is as bright as one dot.

    Raises
    ------
    InputError
        If a parameter is out of range or the parameters have different lengths.

    References
    ----------
    Scase, Braddick & Raymond (1996), Vision Research 36: 2579-2586.

    """
    video_times(n_frame, frame_rate_hz)
    pixels(height, width, channel)
    parameters = broadcast(
        direction=direction,
        coherence=coherence,
        speed=speed,
        dot_radius=dot_radius,
        weber_contrast=contrast,
    )
    drawn = in_pixels(parameters, degrees_per_pixel)
    smallest = drawn["dot_radius"].min()
    if n_dot < 1 or smallest < 0.5 or not lifetime_s * frame_rate_hz >= 2:
        msg = (
            "Random dots need `n_dot` of at least 1, `dot_radius` of at least half a pixel and "
            f"`lifetime_s` of at least 2 frames, but got {n_dot}, {smallest:g} pixels and "
            f"{lifetime_s * frame_rate_hz:g} frames."
        )
        raise InputError(msg)
    check_seed(seed)
    signal = np.rint(drawn["coherence"] * n_dot).astype(int)
    parameters["coherence"] = signal / n_dot
    n_video = len(signal)
    dotted = np.zeros((n_video, n_frame, height, width))
    life = None if np.isinf(lifetime_s) else round(lifetime_s * frame_rate_hz)
    for i in range(n_video):
        radius = drawn["dot_radius"][i]
        paths = _paths(
            np.random.default_rng([seed, i]),
            np.arange(n_dot) < signal[i],
            np.deg2rad(drawn["direction"][i]),
            drawn["speed"][i] / frame_rate_hz,
            life,
            np.array([width, height]) + 2 * radius,
        )
        for frame in dotted[i]:
            _draw_discs(frame, next(paths) - radius - 0.5, radius)
    depth = drawn["weber_contrast"][:, None, None, None]
    stimulus = label(
        alike(mean * (1 + depth * dotted), channel),
        parameters,
        degrees_per_pixel=degrees_per_pixel,
        frame_rate_hz=frame_rate_hz,
    )
    stimulus.attrs |= {
        "kind": "random dots",
        "seed": seed,
        "n_dot": n_dot,
        "lifetime_s": float(lifetime_s),
    }
    return stimulus


def _paths(
    rng: np.random.Generator,
    signal: np.ndarray,
    heading: float,
    step: float,
    life: int | None,
    size: np.ndarray,
) -> Iterator[np.ndarray]:
    """Positions (dot, xy) frame after frame, within `size` from 0."""
    n_dot = len(signal)
    age = rng.integers(life or 1, size=n_dot)
    position = rng.random((n_dot, 2)) * size
    angle = np.where(signal, heading, rng.uniform(0, 2 * np.pi, n_dot))
    while True:
        yield position
        age += 1
        born = age >= (life or np.inf)
        fresh, turned = rng.random((n_dot, 2)) * size, rng.uniform(0, 2 * np.pi, n_dot)
        age[born] = 0
        angle = np.where(born & ~signal, turned, angle)
        moved = position + step * np.stack([np.cos(angle), -np.sin(angle)], 1)
        position = np.where(born[:, None], fresh, moved % size)


def _draw_discs(frame: np.ndarray, position: np.ndarray, radius: float) -> None:
    """Cover pixels (y, x) by discs at `position` (dot, xy), in place, the larger share staying."""
    most = int(np.ceil(radius)) + 1
    reach = np.arange(-most, most + 1)
    nearest = np.rint(position).astype(int)
    x, y = nearest[:, :1] + reach, nearest[:, 1:] + reach
    dx, dy = x - position[:, :1], y - position[:, 1:]
    share = np.clip(radius + 0.5 - np.hypot(dx[:, None], dy[:, :, None]), 0, 1)
    height, width = frame.shape
    seen = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
    row, column = np.broadcast_arrays(y[:, :, None], x[:, None])
    np.maximum.at(frame, (row[seen], column[seen]), share[seen])
