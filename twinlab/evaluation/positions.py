"""Where each neuron looks, read from its responses; a good start makes fits many times faster."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

__all__ = ["locate_receptive_fields"]

LARGEST = 4096  # pixels of an image as looked at; larger ones are averaged over squares first
FINE, COARSE = 1.0, 3.0  # standard deviations of the two blurs that make the band, in pixels
POOL = 2.0  # of the blur that makes local energy of squared contrast
SLACK = 1.5  # of the blur of the evidence: how far band and energy may disagree
OUTLIER = 6.0  # standard deviations at which a response is cut off
IMAGES, NEURONS = 500, 2048  # at a time, which bounds the memory


def locate_receptive_fields(
    stimulus: np.ndarray, response: np.ndarray, *, border: int = 2
) -> np.ndarray:
    """Centre of each neuron's receptive field, from correlation with local contrast.

    Responses are correlated with the band-passed image (which a simple cell follows) and
    with its local energy (which a complex cell follows); both maps are squared, blurred and
    added. Half of that times the number of trials is about the logarithm of the likelihood
    that the neuron looks there; a prior is added, a Gaussian around the median neuron as wide
    as the neurons are spread, and the peak is taken. The prior moves no neuron that the images
    drive, and puts the others among their neighbours rather than at a peak of noise.

    Parameters
    ----------
    stimulus : ndarray of shape (n_trial, channel, y, x)
        The image of each trial, of any numeric type. Images of more than 4096 pixels are
        reduced first.
    response : ndarray of shape (n_trial, n_neuron)
        NaN where missing: a neuron is located by the trials it has.
    border : int
        Pixels at the border of the (reduced) image that are not considered.

    Returns
    -------
    ndarray of shape (n_neuron, 2)
        (x, y) in pixels. The centre of the image for a neuron that did not vary.

    Notes
    -----
    Memory beyond the arguments is about 10 kB a neuron, some 10 kB a trial (the responses of
    2048 neurons), and some tens of MB.

    """
    height, width = stimulus.shape[2:]
    side = int(np.ceil(np.sqrt(height * width / LARGEST)))  # of the squares averaged
    seen = (height // side, width // side)
    evidence = np.empty((response.shape[1], *seen), np.float32)
    varies = np.empty(response.shape[1], bool)
    for start in range(0, response.shape[1], NEURONS):
        part = slice(start, start + NEURONS)
        varies[part] = _fill_evidence(evidence[part], stimulus, response[:, part], side)
    border = min(border, (min(seen) - 1) // 2)
    inside = evidence[:, border : seen[0] - border, border : seen[1] - border]
    found = _peaks(inside)
    if varies.any():
        spread = _robust_spread(found[varies])
        for axis, (middle, width_) in enumerate(zip(*spread, strict=True)):
            away = (np.arange(inside.shape[2 - axis]) - middle) / width_
            prior = (away**2 / 2).astype(np.float32)
            inside -= prior if axis == 0 else prior[:, None]
        found = _peaks(inside)
    found = (found + border + 0.5) * side - 0.5
    found[~varies] = (width - 1) / 2, (height - 1) / 2
    return found


def _fill_evidence(
    evidence: np.ndarray, stimulus: np.ndarray, response: np.ndarray, side: int
) -> np.ndarray:
    """Write log likelihoods (neuron, y, x) of each place; say which neurons vary."""
    given = np.isfinite(response)
    count = given.sum(axis=0)
    score, varies = _standardised(response, given, count)
    shape = evidence.shape[1:]
    products = np.zeros((2, len(evidence), shape[0] * shape[1]), np.float32)
    moments = np.zeros((2, 2, shape[0] * shape[1]))
    for start, features in _features(stimulus, side):
        part = score[start : start + IMAGES]
        for product, moment, feature in zip(products, moments, features, strict=True):
            product += part.T @ feature
            moment += feature.sum(axis=0), (feature**2).sum(axis=0)
    mean, square = moments.transpose(1, 0, 2) / len(stimulus)
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    slack = [_blur(size, SLACK) for size in shape]
    evidence[:] = 0
    for product, deviation in zip(products, spread, strict=True):
        # scores add up to zero, so that the features' means need not be taken off
        scale = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0).astype(np.float32)
        product *= scale
        np.square(product, out=product)
        evidence += slack[0] @ product.reshape(evidence.shape) @ slack[1].T
    # products are sums over trials: their squares over n are n times squared correlations
    evidence /= 2 * np.maximum(count, 1)[:, None, None].astype(np.float32)
    return varies


def _standardised(
    response: np.ndarray, given: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Responses of mean 0 and variance 1, cut off where extreme and 0 where missing."""
    score = np.where(given, response, 0).astype(np.float32)
    varies = np.ones(response.shape[1], bool)
    for cut in (*[OUTLIER] * 4, np.inf):  # again, with the spread that is left each time
        mean = score.sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
        score -= mean.astype(np.float32)
        score[~given] = 0
        spread = np.sqrt(np.einsum("tn,tn->n", score, score) / np.maximum(count, 1))
        varies &= spread > 1e-6 * np.abs(mean)
        score /= np.where(varies, spread, 1).astype(np.float32)
        np.clip(score, -cut, cut, out=score)
    score[:, ~varies] = 0
    return score, varies


def _features(stimulus: np.ndarray, side: int) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    """Band-passed image and its local energy, (image, pixel) each, some images at a time."""
    height, width = (size // side for size in stimulus.shape[2:])
    sample = stimulus[:IMAGES]
    offset, scale = float(sample.mean()), max(float(sample.std()), 1e-12)
    down = [_blur(height, sigma) for sigma in (FINE, COARSE, POOL)]
    across = [_blur(width, sigma).T for sigma in (FINE, COARSE, POOL)]
    for start in range(0, len(stimulus), IMAGES):
        image = stimulus[start : start + IMAGES, :, : height * side, : width * side]
        image = image.mean(axis=1, dtype=np.float32)
        if side > 1:
            image = image.reshape(-1, height, side, width, side).mean(axis=(2, 4))
        image = (image - np.float32(offset)) / np.float32(scale)
        band = down[0] @ image @ across[0] - down[1] @ image @ across[1]
        energy = down[2] @ band**2 @ across[2]
        yield start, tuple(feature.reshape(len(image), -1) for feature in (band, energy))


def _blur(size: int, sigma: float) -> np.ndarray:
    """Gaussian blur of a line as a matrix: products are several times faster than filters."""
    return ndimage.gaussian_filter1d(np.eye(size, dtype=np.float32), sigma, axis=0)


def _peaks(evidence: np.ndarray) -> np.ndarray:
    """(x, y) of the largest value of each map."""
    peak = evidence.reshape(len(evidence), -1).argmax(axis=1)
    y, x = np.unravel_index(peak, evidence.shape[1:])
    return np.stack([x, y], axis=1).astype(np.float64)


def _robust_spread(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and standard deviation of each axis, by absolute deviations; 2 pixels at least."""
    middle = np.median(found, axis=0)
    return middle, np.maximum(1.4826 * np.median(np.abs(found - middle), axis=0), 2.0)
