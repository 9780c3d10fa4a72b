"""Where a stimulus has its contrast."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

__all__ = ["find_mask", "see_through"]

MASK_THRESHOLD = 1.5  # standard deviations of the image, as in laminr's `utils/mask.py`
MASK_BLUR = 1.5  # px


def find_mask(image: np.ndarray) -> np.ndarray:
    """Where an image has its contrast: 1 there, 0 elsewhere, with a soft edge.

    Pixels further than 1.5 standard deviations from the image's mean (in any channel; of a video
    in root mean square over its frames) are closed to regions; the convex hull of the largest is
    blurred.

    Parameters
    ----------
    image : ndarray of shape (channel, y, x), or of a video (channel, frame, y, x)

    Returns
    -------
    ndarray of shape (y, x), float32

    """
    away = image - image.mean()
    z = np.abs(away if image.ndim == 3 else np.sqrt((away**2).mean(1))).max(0)
    far = z > min(MASK_THRESHOLD * image.std(), z.max() / 2)
    # Padded, so that closing does not eat what touches the border.
    closed = ndimage.binary_closing(np.pad(far, 3), iterations=2)[3:-3, 3:-3]
    labels, _ = ndimage.label(closed | far)
    region = labels == np.bincount(labels[labels > 0]).argmax()
    blurred = ndimage.gaussian_filter(_hull(region).astype(np.float32), MASK_BLUR)
    return (blurred / max(blurred.max(), 1e-6)).astype(np.float32)


def see_through(z: Tensor, mask: Tensor) -> Tensor:
    """Stimuli (n, channel[, frame], y, x) through masks (n, y, x), without a mean under them."""
    weight = mask.view(len(mask), *[1] * (z.ndim - 3), *mask.shape[1:]).expand_as(z)
    every = tuple(range(1, z.ndim))
    mean = (weight * z).sum(every, keepdim=True) / weight.sum(every, keepdim=True)
    return weight * (z - mean)


def _hull(region: np.ndarray) -> np.ndarray:
    """Pixels inside the convex hull of a region; the region itself if it is a line or a point."""
    points = np.argwhere(region)
    try:
        faces = ConvexHull(points).equations  # outward normals and offsets
    except (QhullError, ValueError):
        return region
    every = np.indices(region.shape).reshape(2, -1).T
    outward = every @ faces[:, :2].T + faces[:, 2]
    return (outward <= 1e-9).all(1).reshape(region.shape)
