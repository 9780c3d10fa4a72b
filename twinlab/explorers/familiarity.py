"""Whether a stimulus is like those the twin was trained on.

A twin answers any image, and says nothing of its doubt about one it never saw the like of.
Three simple statistics of an image are held against their range over the training images:
its mean, its contrast, and its contrast in each octave of spatial frequency.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

__all__ = ["image_statistics", "training_range", "unfamiliar_features"]

# Lower and upper border of each octave, in cycles per pixel; the last reaches into the corners
# of the spectrum.
OCTAVES = ((0.0, 1 / 32), (1 / 32, 1 / 16), (1 / 16, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1.0))
MOST_IMAGES = 1000  # enough for the 1st and 99th percentile


def image_statistics(images: np.ndarray) -> xr.Dataset:
    """Mean, contrast, and contrast by octave of spatial frequency of each image.

    Parameters
    ----------
    images : ndarray of shape (n_image, n_channel, n_y, n_x)
        In grey levels.

    Returns
    -------
    xarray.Dataset
        `mean` and `contrast` (image), the latter the standard deviation of the pixels, and
        `octave_contrast` (image, octave), all in grey levels. The squares of the last add up
        to the square of `contrast` (within channels).

    """
    images = np.asarray(images, np.float32)
    n_pixel = images.shape[-1] * images.shape[-2]
    centred = images - images.mean((-2, -1), keepdims=True)
    power = np.abs(np.fft.fft2(centred)) ** 2 / n_pixel**2  # sums to the variance
    frequency = np.hypot(
        np.fft.fftfreq(images.shape[-2])[:, None], np.fft.fftfreq(images.shape[-1])
    )
    octaves = [
        np.sqrt(power[..., (low < frequency) & (frequency <= high)].sum(-1).mean(-1))
        for low, high in OCTAVES
    ]
    grey = {"units": "grey level"}
    return xr.Dataset(
        {
            "mean": ("image", images.mean((1, 2, 3)), {"long_name": "mean"} | grey),
            "contrast": (
                "image",
                centred.std((1, 2, 3)),
                {"long_name": "contrast (standard deviation)"} | grey,
            ),
            "octave_contrast": (
                ("image", "octave"),
                np.stack(octaves, axis=1),
                {"long_name": "contrast in one octave of spatial frequency"} | grey,
            ),
        },
        {
            "octave": [f"{low:.2g} to {high:.2g}" for low, high in OCTAVES],
        },
    )


def training_range(recording: xr.Dataset) -> xr.Dataset:
    """Range of each image statistic over a recording's training images.

    Parameters
    ----------
    recording : xarray.Dataset

    Returns
    -------
    xarray.Dataset
        The variables of `image_statistics` along `bound`: 1st and 99th percentile.

    """
    shown = np.unique(recording.stimulus_index.values[recording.split.values == "train"])
    if len(shown) > MOST_IMAGES:
        shown = shown[np.linspace(0, len(shown) - 1, MOST_IMAGES).astype(int)]
    statistics = image_statistics(recording.stimulus.values[shown])
    borders = statistics.quantile([0.01, 0.99], "image", keep_attrs=True)
    return borders.rename(quantile="bound").assign_coords(bound=["lower", "upper"])


def unfamiliar_features(image: np.ndarray, training: xr.Dataset) -> list[str]:
    """Name the statistics in which an image lies outside what the twin was trained on.

    Mean and contrast count on both sides. An octave counts only above its range: a
    grating has energy in one octave and none elsewhere, which the contrast already tells.

    Parameters
    ----------
    image : ndarray of shape (n_channel, n_y, n_x)
        In grey levels.
    training : xarray.Dataset
        From `training_range`.

    Returns
    -------
    list of str
        One sentence part for each, with the value found and the range; empty where none.

    """
    found = image_statistics(image[None]).isel(image=0)
    lower, upper = training.sel(bound="lower"), training.sel(bound="upper")
    words = []
    for name in ("mean", "contrast"):
        value, low, high = (float(part[name]) for part in (found, lower, upper))
        if not low <= value <= high:
            words.append(f"{name} {value:.0f} (trained on {low:.0f} to {high:.0f} grey levels)")
    for octave in found.octave.values:
        value, high = (float(part.octave_contrast.sel(octave=octave)) for part in (found, upper))
        if value > high:
            words.append(
                f"contrast {value:.0f} at {octave} cycles/px (trained on up to {high:.0f})"
            )
    return words
