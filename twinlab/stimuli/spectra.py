"""Images remade at random with the spectrum of given ones: random phase, and textures."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.schema import InputError, check_seed

__all__ = ["make_random_phase", "make_textures"]

SCALES = ("frame_rate_hz", "degrees_per_pixel")  # attributes that say how large and how fast


def make_random_phase(images: xr.DataArray, seed: int) -> xr.DataArray:
    """Images or videos with the amplitude spectrum of given ones, their phases random.

    What is left is the contrast at every frequency and orientation (for videos also at every
    temporal frequency, so motion too); edges and objects are gone. The same random phases are
    added in all channels, so that colours stay together. Opposite edges join, so that a
    difference between those of the given image returns as horizontal and vertical streaks.

    Parameters
    ----------
    images : xarray.DataArray
        (image, channel, y, x) or (video, channel, frame, y, x).
    seed : int
        Image i depends on `seed`, i and the given image i alone.

    Returns
    -------
    xarray.DataArray
        `stimulus` of the same shape, float32 grey levels, with `source_image` (or
        `source_video`), the number of the given one, and the times of its frames. Their mean is
        the same, to rounding. Grey levels may leave the range of a screen: see
        `clip_stimulus`.

    Raises
    ------
    InputError
        If there is a value that is not finite, or the dimensions are others.

    References
    ----------
    Galerne, Gousseau & Morel (2011), IEEE Transactions on Image Processing 20: 257-267.

    """
    values, axes = _grey_levels(images)
    spectrum = np.fft.fftn(values, axes=axes)
    made = np.fft.ifftn(spectrum * _turns(values, axes, seed), axes=axes).real
    stimulus = _label(made, images, "random phase", seed)
    stimulus.attrs["matched"] = "amplitude spectrum"
    return stimulus


def make_textures(images: xr.DataArray, seed: int, *, n_iteration: int = 50) -> xr.DataArray:
    """Images with the grey levels and the amplitude spectrum of given ones, else random.

    From the given image with random phases, grey levels are replaced by those of the given
    image of the same rank, then amplitudes by its amplitudes, in turn. The last step is the
    grey levels, which match exactly, in each channel; the amplitudes match to
    `spectrum_error`. Nothing else is matched: no edges, no relations between frequencies.

    Parameters
    ----------
    images : xarray.DataArray
        (image, channel, y, x) or (video, channel, frame, y, x).
    seed : int
        Image i depends on `seed`, i and the given image i alone.
    n_iteration : int
        Rounds.

    Returns
    -------
    xarray.DataArray
        `stimulus` of the same shape, float32 grey levels within the range of the given ones,
        with `source_image` (or `source_video`) and `spectrum_error`: the RMS difference of
        the amplitudes as a share of their RMS, without the mean; 0 where the given one is
        uniform.

    Raises
    ------
    InputError
        As `make_random_phase`, or if there is no iteration.

    References
    ----------
    Schreiber & Schmitz (1996), Physical Review Letters 77: 635-638 (IAAFT).

    """
    if n_iteration < 1:
        msg = f"`n_iteration` must be at least 1, but got {n_iteration}."
        raise InputError(msg)
    values, axes = _grey_levels(images)
    shape = values.shape
    ordered = np.sort(values.reshape(*shape[:2], -1), axis=-1)
    spectrum = np.fft.fftn(values, axes=axes)
    amplitude = np.abs(spectrum)
    made = np.fft.ifftn(spectrum * _turns(values, axes, seed), axes=axes).real
    half = amplitude[..., : shape[-1] // 2 + 1]  # the other half mirrors it
    for iteration in range(n_iteration):
        if iteration:
            angle = np.angle(np.fft.rfftn(made, axes=axes))
            made = np.fft.irfftn(half * np.exp(1j * angle), s=shape[2:], axes=axes)
        order = made.reshape(*shape[:2], -1).argsort(-1)
        flat = np.empty_like(ordered)
        np.put_along_axis(flat, order, ordered, -1)
        made = flat.reshape(shape)

    asked = amplitude.reshape(*shape[:2], -1)[..., 1:]  # without the mean
    reached = np.abs(np.fft.fftn(made, axes=axes)).reshape(*shape[:2], -1)[..., 1:]
    power = (asked**2).sum((1, 2))
    error = np.sqrt(((reached - asked) ** 2).sum((1, 2)) / np.where(power > 0, power, 1))
    stimulus = _label(made, images, "texture", seed)
    stimulus.attrs["matched"] = "grey levels of each channel; amplitude spectrum in part"
    attrs = {"long_name": "relative error of the amplitude spectrum", "units": "1"}
    return stimulus.assign_coords(spectrum_error=(images.dims[0], error, attrs))


def _grey_levels(images: xr.DataArray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Values in double precision and the axes of their spectrum, or `InputError`."""
    known = (("image", "channel", "y", "x"), ("video", "channel", "frame", "y", "x"))
    if images.dims not in known:
        msg = f"Images must have dimensions {known[0]} or {known[1]}, but have {images.dims}."
        raise InputError(msg)
    values = images.values.astype(float)
    wrong = ~np.isfinite(values.reshape(len(values), -1)).all(1)
    if wrong.any():
        msg = f"Image {int(wrong.argmax())} has grey levels that are not finite; leave it out."
        raise InputError(msg)
    return values, tuple(range(2, values.ndim))


def _turns(values: np.ndarray, axes: tuple[int, ...], seed: int) -> np.ndarray:
    """Random numbers of magnitude 1, (image, 1, ...): the spectrum of real noise, mean kept."""
    check_seed(seed)
    shape = values.shape[2:]
    noise = [np.random.default_rng([seed, i]).standard_normal(shape) for i in range(len(values))]
    spectrum = np.fft.fftn(np.reshape(noise, (len(values), 1, *shape)), axes=axes)
    turns = spectrum / np.abs(spectrum)
    turns.reshape(len(values), -1)[:, 0] = 1  # the mean
    return turns


def _label(made: np.ndarray, images: xr.DataArray, kind: str, seed: int) -> xr.DataArray:
    """Grey levels that say what they are and from which image they come."""
    dim = images.dims[0]
    number = np.arange(len(images))
    attrs = {"long_name": f"number of the given {dim}", "units": "1"}
    # What says where and when a pixel is stays true; what says what is in the image does not.
    kept = {name: coord for name, coord in images.coords.items() if dim not in coord.dims}
    scale = {name: images.attrs[name] for name in SCALES if name in images.attrs}
    return xr.DataArray(
        made.astype(np.float32),
        dims=images.dims,
        coords=kept | {f"source_{dim}": (dim, number, attrs)},
        name="stimulus",
        attrs={"long_name": "stimulus", "units": "grey level", "kind": kind, "seed": seed} | scale,
    )
