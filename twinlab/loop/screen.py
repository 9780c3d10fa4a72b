"""From grey levels of an image to levels of a screen, and back."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from twinlab.loop.formats import check_formats, import_av
from twinlab.loop.plan import Rig
from twinlab.schema import InputError

__all__ = [
    "Place",
    "find_place",
    "fit_screen",
    "from_screen",
    "luminance_of_levels",
    "onto_screen",
    "read_gamma_table",
    "to_grey",
    "to_levels",
]

WHITE = 255  # largest grey level of an image, which the screen shows by its largest level


@dataclass(frozen=True)
class Place:
    """Where on the screen an image lies, in pixels of the screen."""

    left: int
    top: int
    width: int
    height: int


def fit_screen(
    rig: Rig, shape: tuple[int, ...], on_s: float, folder: str | PathLike[str] = "."
) -> tuple[np.ndarray, Place, int]:
    """How a rig shows stimuli, if it can.

    Parameters
    ----------
    rig : Rig
    shape : tuple of int
        Of a stimulus, (channel[, frame], y, x).
    on_s : float
        Seconds for which it is shown: of a video all its frames.
    folder : path
        In which `rig.gamma_table` lies.

    Returns
    -------
    luminance : ndarray of shape (2**bits,)
    place : Place
    hold : int
        Frames of the rig for which each picture is shown.

    Raises
    ------
    InputError
        If the stimuli are no whole number of the rig's frames, do not fit on its screen or into
        its formats, or as `luminance_of_levels` and `import_av`.

    """
    if faults := list(check_formats(rig.formats, rig.bits, shape[0])):
        msg = "The rig cannot show these stimuli: " + "; ".join(faults) + "."
        raise InputError(msg)
    if "mp4" in rig.formats:
        import_av()
    n_frame = shape[1] if len(shape) == 4 else 1
    hold = on_s * rig.frame_rate_hz / n_frame
    if round(hold) < 1 or abs(hold - round(hold)) > 0.01 * hold:
        what = (
            f"{n_frame} frames in {on_s:g} s" if len(shape) == 4 else f"A picture for {on_s:g} s"
        )
        msg = (
            f"{what} at the rig's {rig.frame_rate_hz:g} Hz: each would be shown for {hold:.4g} of "
            "its frames; expected a whole number. Correct `presentation.on_s` or "
            "`rig.frame_rate_hz`."
        )
        raise InputError(msg)
    return luminance_of_levels(rig, folder), find_place(rig, *shape[-2:]), round(hold)


def luminance_of_levels(rig: Rig, folder: str | PathLike[str] = ".") -> np.ndarray:
    """Luminance of each level of the screen, from 0 (of level 0) to 1 (of the last).

    As many as `rig.bits` tell apart, (2**bits,).

    Raises
    ------
    InputError
        As `read_gamma_table`; a relative `rig.gamma_table` lies in `folder`.

    """
    if rig.gamma_table:
        return read_gamma_table(Path(folder) / rig.gamma_table, rig.bits)
    return np.linspace(0, 1, 2**rig.bits) ** rig.gamma


def read_gamma_table(path: str | PathLike[str], bits: int = 8) -> np.ndarray:
    """Luminances measured at some levels, between which they are interpolated.

    Parameters
    ----------
    path : path
        CSV of two columns, level and luminance in any unit, with or without a header.
    bits : int
        Of a level.

    Returns
    -------
    ndarray of shape (2**bits,)
        Luminance of each level, from 0 to 1.

    Raises
    ------
    InputError
        If the file is missing, or its levels do not rise from 0 to the largest with their
        luminances.

    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file; expected a table of levels and luminances (CSV)."
        raise InputError(msg)
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        cells = line.split(",")
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            rows.append([])
        if len(rows[-1]) != 2 or not np.isfinite(rows[-1]).all():
            if number == 1 or not line.strip():  # a header, or the end
                rows.pop()
                continue
            msg = f"{path}: line {number} is {line!r}; expected a level and a luminance."
            raise InputError(msg)
    table = np.array(rows).reshape(-1, 2)
    level, luminance = table.T
    last = 2**bits - 1
    if (
        len(table) < 2
        or (level[0], level[-1]) != (0, last)
        or not (np.diff(table, axis=0) > 0).all()
    ):
        msg = (
            f"{path}: has {len(table)} levels"
            + (f" from {level[0]:g} to {level[-1]:g}" if len(table) else "")
            + f"; expected levels that rise from 0 to {last} (of {bits} bits), each brighter than "
            "the one before."
        )
        raise InputError(msg)
    every = np.interp(np.arange(last + 1), level, luminance)
    return (every - every[0]) / (every[-1] - every[0])


def to_levels(grey: np.ndarray, luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels whose luminance is nearest to grey levels, which are proportional to luminance.

    Parameters
    ----------
    grey : ndarray of shape (n, ...)
        0 is the darkest the screen shows, 255 the brightest.
    luminance : ndarray of shape (2**bits,)

    Returns
    -------
    levels : ndarray of the shape of `grey`, uint8, or uint16 where there are more than 256
    clipped : ndarray of shape (n,)
        Share of the pixels that were outside of 0 to 255 and became black or white.

    """
    middle = WHITE * (luminance[1:] + luminance[:-1]) / 2
    levels = np.searchsorted(middle, grey).astype(np.uint8 if len(luminance) == 256 else "<u2")
    outside = (grey < 0) | (grey > WHITE)
    return levels, outside.reshape(len(grey), -1).mean(axis=1)


def to_grey(levels: np.ndarray, luminance: np.ndarray) -> np.ndarray:
    """Grey levels that levels of the screen stand for."""
    return WHITE * luminance[levels]


def find_place(rig: Rig, height: int, width: int) -> Place:
    """Where an image of so many pixels lies.

    Raises
    ------
    InputError
        If part of it is off the screen, or the screen is coarser than the image.

    """
    scale = rig.image_degrees_per_pixel / rig.degrees_per_pixel
    wide, tall = round(width * scale), round(height * scale)
    left = round((rig.width_px - wide) / 2 + rig.center_x_deg / rig.degrees_per_pixel)
    top = round((rig.height_px - tall) / 2 + rig.center_y_deg / rig.degrees_per_pixel)
    if wide < width or tall < height:
        msg = (
            f"The screen shows {width} x {height} pixels of the image on {wide} x {tall} of its "
            "own; correct `rig.degrees_per_pixel` or `rig.image_degrees_per_pixel`."
        )
        raise InputError(msg)
    if min(left, top) < 0 or left + wide > rig.width_px or top + tall > rig.height_px:
        msg = (
            f"The image covers pixels {left} to {left + wide} across and {top} to {top + tall} "
            f"down, but the screen has {rig.width_px} x {rig.height_px}; move its centre or "
            "correct the degrees per pixel."
        )
        raise InputError(msg)
    return Place(left, top, wide, tall)


def onto_screen(levels: np.ndarray, place: Place, rig: Rig, background: int) -> np.ndarray:
    """Levels (..., y, x) of an image on the whole screen, each pixel a rectangle.

    Nothing is interpolated, so that the average over a rectangle is what was planned.
    """
    screen = np.full((*levels.shape[:-2], rig.height_px, rig.width_px), background, levels.dtype)
    rows, columns = _within(place.height, levels.shape[-2]), _within(place.width, levels.shape[-1])
    enlarged = levels[..., rows, :][..., columns]
    screen[..., place.top : place.top + place.height, place.left : place.left + place.width] = (
        enlarged
    )
    return screen


def from_screen(screen: np.ndarray, place: Place, height: int, width: int) -> np.ndarray:
    """Mean of values (..., y, x) of a screen over each pixel of the image."""
    part = screen[..., place.top : place.top + place.height, place.left : place.left + place.width]
    for axis, size in ((-2, height), (-1, width)):
        within = _within(part.shape[axis], size)
        starts = np.searchsorted(within, np.arange(size))
        part = np.add.reduceat(part, starts, axis=axis, dtype=float)
        number = np.bincount(within, minlength=size)
        part = part / (number[:, None] if axis == -2 else number)
    return part


def _within(n: int, size: int) -> np.ndarray:
    """Which of `size` pixels of the image each of `n` pixels of the screen lies in."""
    return ((np.arange(n) + 0.5) * size / n).astype(int)
