"""Bubbles: an image seen through random apertures, and where opening them changes the rate."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from twinlab.insilico.attribution import images_to_explain, label_maps
from twinlab.insilico.responses import Neurons, chosen_positions, rates_of_batches
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed
from twinlab.twins import ConditionedTwin

__all__ = ["estimate_bubbles", "measure_bubbles"]


def estimate_bubbles(
    mask: np.ndarray,
    response: np.ndarray,
    *,
    n_permutation: int = 100,
    level: float = 0.05,
    seed: int = 0,
    job: Job | None = None,
) -> dict[str, np.ndarray]:
    r"""Regress responses on what the apertures left open, pixel by pixel.

    Each pixel is regressed on its own: the neighbours that opened with it share its slope.
    Its correlation r over n trials gives :math:`z = \operatorname{artanh}(r) \sqrt{n - 3}`.
    What chance gives anywhere in the map is found by pairing responses with the masks of
    other trials.

    Parameters
    ----------
    mask : ndarray of shape (n_trial, n_pixel)
        From 0 (covered) to 1 (open).
    response : ndarray of shape (n_trial, n_neuron)
    n_permutation : int
        At least 1 / `level` - 1.
    level : float
        Probability with which any pixel of a map exceeds its threshold by chance.
    seed : int
        Of the permutations, which are the same for every neuron.
    job : Job, optional

    Returns
    -------
    dict of ndarray
        `slope` and `z` (n_neuron, n_pixel), NaN for a neuron that does not vary and a pixel
        that is always as open; `threshold` (n_neuron) of the magnitude of z.

    Raises
    ------
    InputError
        If there are fewer than 4 trials, or `level` or `n_permutation` is out of range.

    References
    ----------
    Gosselin & Schyns (2001), Vision Research 41: 2261-2271.

    """
    _check(len(mask), n_permutation, level)
    job = job or Job()
    n_trial = len(mask)
    x, x_spread = _standardised(np.asarray(mask, np.float32))
    y, y_spread = _standardised(np.asarray(response, np.float32))
    scale = np.sqrt(n_trial - 3)

    def z_of(order: np.ndarray | slice) -> np.ndarray:
        r = (y[order].T @ x) / n_trial
        return np.arctanh(np.clip(r, -1 + 1e-6, 1 - 1e-6)) * scale

    z = z_of(slice(None))
    largest = np.empty((n_permutation, y.shape[1]), np.float32)
    generator = np.random.default_rng(check_seed(seed))
    for number in range(n_permutation):
        job.report(number / n_permutation, f"permutation {number + 1} of {n_permutation}")
        largest[number] = np.abs(z_of(generator.permutation(n_trial))).max(1)
    undefined = np.where((y_spread[:, None] > 0) & (x_spread > 0), 1.0, np.nan)
    slope = z / scale
    slope = np.tanh(slope) * y_spread[:, None] / np.where(x_spread > 0, x_spread, 1)
    # of n permutations and the map itself, a share `level` lies at or above it
    rank = int(np.floor(level * (n_permutation + 1))) - 1
    threshold = np.sort(largest, axis=0)[::-1][rank]
    return {
        "slope": slope * undefined,
        "z": z * undefined,
        "threshold": np.where(y_spread > 0, threshold, np.nan),
    }


def _check(n_trial: int, n_permutation: int, level: float) -> None:
    if n_trial < 4 or not 0 < level < 1 or n_permutation < 1 / level - 1:
        msg = (
            "Bubbles need at least 4 trials, a `level` between 0 and 1 and an `n_permutation` of "
            f"at least 1 / `level` - 1, but got {n_trial}, {level:g} and {n_permutation}."
        )
        raise InputError(msg)


def _standardised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of mean 0 and variance 1, 0 where one does not vary; and their spreads."""
    centred = values - values.mean(0, dtype=np.float64).astype(np.float32)
    spread = centred.std(0, dtype=np.float64)
    spread = np.where(np.ptp(values, axis=0) > 0, spread, 0.0)
    return centred / np.where(spread > 0, spread, 1).astype(np.float32), spread


def measure_bubbles(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    images: np.ndarray | xr.DataArray | None = None,
    n_image: int = 2,
    n_trial: int = 3000,
    n_bubble: int = 6,
    bubble_sigma: float = 2.0,
    n_permutation: int = 100,
    level: float = 0.05,
    seed: int = 0,
    batch_size: int = 64,
    job: Job | None = None,
) -> xr.Dataset:
    """Bubbles: show an image through random Gaussian apertures, and find those that matter.

    A trial leaves the image open at `n_bubble` places drawn at random, grey elsewhere; the
    apertures of one trial add up to 1 at most. Where opening raises the rate, and where it
    lowers it, is read from the trials by `estimate_bubbles`. Unlike a gradient it sees what
    large changes of the image do, and unlike occlusion which parts suffice, not which are
    missed.

    Parameters
    ----------
    twin : ConditionedTwin
        Of images.
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    images : array of shape (image, channel, y, x), optional
        In grey levels; dead leaves where absent.
    n_image : int
        Number of dead leaves images.
    n_trial : int
        Of each image.
    n_bubble : int
        Apertures in each trial.
    bubble_sigma : float
        Standard deviation of an aperture, in pixels.
    n_permutation, level
        See `estimate_bubbles`.
    seed : int
        Of the dead leaves, the apertures and the permutations.
    batch_size : int
        Images shown at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `attribution` (neuron, image, y, x): slope of the rate against the opening, and `z`
        (neuron, image, y, x), NaN where the neuron does not vary; `threshold` (neuron,
        image): the magnitude of z that chance exceeds anywhere in the map with probability
        `level`; `stimulus` (image, channel, y, x); `valid` (neuron).

    Raises
    ------
    InputError
        If a setting is out of range, the images do not fit or are not finite, or `neurons`
        are not the twin's.

    References
    ----------
    Gosselin & Schyns (2001), Vision Research 41: 2261-2271.

    """
    positions = chosen_positions(len(twin), neurons)
    _check(n_trial, n_permutation, level)
    if n_bubble < 1 or not bubble_sigma > 0:
        msg = (
            "Bubbles need an `n_bubble` of at least 1 and a positive `bubble_sigma`, but got "
            f"{n_bubble} and {bubble_sigma:g}."
        )
        raise InputError(msg)
    shown = images_to_explain(twin, images, n_image, seed)
    job = job or Job()
    spec, asked = twin.spec, twin.neurons(positions)
    shape = (len(positions), len(shown), spec.height, spec.width)
    slope, z = np.empty(shape, np.float32), np.empty(shape, np.float32)
    threshold = np.empty(shape[:2], np.float32)
    for number, image in enumerate(shown):
        part = job.part(number / len(shown), (number + 1) / len(shown), f"image {number + 1}")
        mask = _draw_masks(n_trial, n_bubble, bubble_sigma, shape[2:], [seed, number])
        rates = rates_of_batches(
            asked,
            (
                spec.mean + mask[start : start + batch_size, None] * (image - spec.mean)
                for start in range(0, n_trial, batch_size)
            ),
            n_trial,
            part.part(0.0, 0.7),
        )
        found = estimate_bubbles(
            mask.reshape(n_trial, -1),
            rates,
            n_permutation=n_permutation,
            level=level,
            seed=seed,
            job=part.part(0.7, 1.0),
        )
        slope[:, number] = found["slope"].reshape(-1, *shape[2:])
        z[:, number] = found["z"].reshape(-1, *shape[2:])
        threshold[:, number] = found["threshold"]
    return label_maps(
        twin,
        positions,
        shown,
        {
            "attribution": (slope, "slope of the rate against the opening", "rate"),
            "z": (z, "correlation of rate and opening, z", "1"),
            "threshold": (threshold, "magnitude of z by chance", "1"),
        },
        valid=np.asarray(np.isfinite(threshold).any(1)),
        experiment="bubbles",
        seed=seed,
        settings={
            "n_trial": n_trial,
            "n_bubble": n_bubble,
            "bubble_sigma": bubble_sigma,
            "n_permutation": n_permutation,
            "level": level,
        },
        source="Gosselin & Schyns (2001), Vision Research 41: 2261-2271",
    )


def _draw_masks(
    n_trial: int, n_bubble: int, sigma: float, size: tuple[int, int], seed: list[int]
) -> np.ndarray:
    """Openings (trial, y, x), from 0 to 1."""
    generator = np.random.default_rng(seed)
    lines = []
    for length in size:
        place = generator.uniform(-0.5, length - 0.5, (n_trial, n_bubble, 1))
        lines.append(np.exp(-((np.arange(length) - place) ** 2) / (2 * sigma**2)))
    down, across = (torch.as_tensor(line).float() for line in lines)
    return torch.einsum("tby,tbx->tyx", down, across).clamp_max(1).numpy()
