"""Eigendistortions: the small changes of an image that a twin's neurons notice most and least."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import torch
import xarray as xr
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh, lsmr
from torch import Tensor

from twinlab.insilico.formats import picture_attrs
from twinlab.insilico.responses import (
    Neurons,
    check_positive,
    chosen_positions,
    neuron_labels,
    provenance,
    spatial_coordinates,
    value_and_gradient,
)
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, make_result
from twinlab.twins import ConditionedTwin

__all__ = ["measure_eigendistortions", "one_image", "response_jacobian"]

SOURCE = "Berardino et al. (2017), NeurIPS 30"

ENDS = ("top", "bottom")
EXACT = 4096  # neurons or pixels, the fewer of them, up to which all eigenvalues are computed
ROUNDING = 1e-6  # of the largest singular value; the gradients are in single precision


def measure_eigendistortions(
    twin: ConditionedTwin,
    image: np.ndarray,
    neurons: Neurons = None,
    *,
    n_distortion: int = 1,
    seed: int = 0,
    batch_size: int = 128,
    job: Job | None = None,
) -> xr.Dataset:
    r"""Small changes of an image that move the responses of the neurons most and least.

    With J (neuron, pixel) the Jacobian of the response vector at the image, a small
    change d moves it by J d; the unit changes that move it most and least are the first and
    last right singular vectors of J, with eigenvalues :math:`\lambda = \sigma^2` of
    :math:`J^T J`. Under Gaussian noise of unit variance in each neuron,
    :math:`\sqrt{\lambda}` is the discriminability (d') of the change per standard deviation of
    pixel contrast.

    Each row of J is one neuron's gradient, computed exactly in batches, so that every product
    with J and its transpose is one with a matrix. Where there are at most 4,096 neurons or
    pixels all eigenvalues are computed; beyond that, the outermost by Lanczos iteration.

    Where there are more pixels than independent responses, many changes are not noticed at
    all: the bottom distortion is then not unique. It is noise from which everything that is
    noticed was removed, `null_dimension` says how many such directions there are (by Lanczos
    iteration, how many are known of), and `unique` is 0.

    Parameters
    ----------
    twin : ConditionedTwin
    image : ndarray of shape (channel, y, x)
        In grey levels.
    neurons : sequence of int, optional
        Positions of the neurons whose response vector it is; all where absent.
    n_distortion : int
        Distortions at each end.
    seed : int
        Of the noise.
    batch_size : int
        Gradients computed at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `distortion` (end, rank, channel, y, x) of unit L2 norm; `eigenvalue` (end, rank) in
        (rate per standard deviation of the training pixels)²; `response_change` (neuron, end,
        rank), J d; `unique` (end), 0 where other directions do as well; `null_dimension`;
        `image`, `response` (neuron) to it and `valid` (neuron), 0 where a neuron's
        response does not depend on the image there. NaN where there are fewer distortions.

    Raises
    ------
    InputError
        If the image is not one of the twin's size and range, a setting is out of range, or
        `neurons` are not the twin's.

    References
    ----------
    Berardino, Laparra, Ballé & Simoncelli (2017), NeurIPS 30.

    """
    spec = twin.spec
    z = one_image(twin, image)
    check_seed(seed)
    if not 0 < n_distortion <= z.numel() // 2:
        msg = (
            f"`n_distortion` must be from 1 to {z.numel() // 2}, half the pixels of an image, "
            f"but is {n_distortion}."
        )
        raise InputError(msg)
    positions = chosen_positions(len(twin), neurons)
    job = job or Job()
    response, jacobian = response_jacobian(twin, positions, z, batch_size, job.part(0, 0.9))
    distortion, eigenvalue, unique, n_null = _outermost(
        jacobian, n_distortion, np.random.default_rng(seed), job.part(0.9, 1.0)
    )
    change = np.einsum("np,erp->ner", jacobian, distortion)
    steepest = np.abs(jacobian).max(1)
    unit, rate = {"units": "1"}, {"units": "rate"}
    per_std = {"units": "rate per standard deviation of training pixels"}
    variables: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "distortion": (
            ("end", "rank", "channel", "y", "x"),
            distortion.reshape(2, n_distortion, *spec.shape).astype(np.float32),
            {"long_name": "eigendistortion"} | unit,
        ),
        "eigenvalue": (
            ("end", "rank"),
            eigenvalue,
            {
                "long_name": "eigenvalue",
                "units": "(rate per standard deviation of training pixels)^2",
            },
        ),
        "response_change": (
            ("neuron", "end", "rank"),
            change.astype(np.float32),
            {"long_name": "change of response along the distortion"} | per_std,
        ),
        "unique": (
            "end",
            unique.astype(np.int8),
            {"long_name": "0 where other directions do as well"} | unit,
        ),
        "null_dimension": (
            (),
            n_null,
            {"long_name": "directions in which no response changes"} | unit,
        ),
        "image": (
            ("channel", "y", "x"),
            np.asarray(image, np.float32),
            picture_attrs(spec, "image that is distorted"),
        ),
        "response": ("neuron", response, {"long_name": "response to the image"} | rate),
        "valid": (
            "neuron",
            (steepest > ROUNDING * steepest.max()).astype(np.int8),
            {"long_name": "0 where the response does not depend on the image"} | unit,
        ),
    }
    result = neuron_labels(twin, positions).assign(variables).assign_coords(
        end=("end", list(ENDS), {"long_name": "most and least noticed"}),
        rank=("rank", np.arange(n_distortion), {"long_name": "rank from that end"} | unit),
    )  # fmt: skip
    return make_result(
        result.assign_coords(spatial_coordinates(spec.height, spec.width)),
        experiment="eigendistortions",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings={"n_distortion": n_distortion, **provenance(twin)},
        source=SOURCE,
    )


def one_image(twin: ConditionedTwin, image: np.ndarray) -> Tensor:
    """One image (channel, y, x) in standard deviations of the training pixels, judged."""
    spec = twin.spec
    given = np.asarray(image, np.float32)
    if given.ndim != 3:
        msg = (
            f"`image` has shape {given.shape}; expected one image of shape (channel, y, x) = "
            f"{spec.shape}."
        )
        raise InputError(msg)
    spec.check(given[None])
    if not np.isfinite(given).all() or given.min() < spec.low or given.max() > spec.high:
        msg = (
            f"`image` runs from {given.min():g} to {given.max():g}; grey levels of this twin run "
            f"from {spec.low:g} to {spec.high:g}."
        )
        raise InputError(msg)
    return torch.as_tensor((given - spec.mean) / spec.std, device=twin.device)


def response_jacobian(
    twin: ConditionedTwin,
    positions: np.ndarray,
    z: Tensor,
    batch_size: int,
    job: Job | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Responses (neuron,) to an image and their derivatives (neuron, pixel) by its pixels.

    The image (channel, y, x) is in standard deviations of the training pixels, and so are the
    derivatives.
    """
    check_positive(batch_size=batch_size)
    job = job or Job()
    spec, n = twin.spec, len(positions)
    response = np.empty(n, np.float32)
    jacobian = np.empty((n, z.numel()), np.float32)
    for start in range(0, n, batch_size):
        job.report(start / n, f"gradient of neuron {start} of {n}")
        part = slice(start, min(start + batch_size, n))
        paired = twin.paired(positions[part])
        points = z.expand(part.stop - part.start, *z.shape)
        value, gradient = value_and_gradient(
            lambda points, paired=paired: paired(points * spec.std + spec.mean), points
        )
        response[part] = value.cpu().numpy()
        jacobian[part] = gradient.flatten(1).cpu().numpy()
    jacobian[~np.isfinite(jacobian).all(1)] = 0  # a neuron without numbers notices nothing
    return response, jacobian


def _outermost(
    jacobian: np.ndarray, count: int, rng: np.random.Generator, job: Job
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Unit directions (end, rank, pixel), eigenvalues (end, rank), uniqueness, null dimension."""
    n_pixel = jacobian.shape[1]
    direction, eigenvalue = np.full((2, count, n_pixel), np.nan), np.full((2, count), np.nan)
    if not jacobian.any():
        return direction, eigenvalue, np.zeros(2), n_pixel
    job.report(0.0, "eigenvalues")
    side = min(jacobian.shape)
    find = _all_pairs if side <= EXACT else _outer_pairs
    value, basis = find(jacobian, min(count + 1, side))
    noticed = value > ROUNDING**2 * value[0]
    n_null = int(n_pixel - side + (~noticed).sum())
    value, basis = value[noticed], basis[noticed]

    # Noise without all that is noticed; then, where that is too little, what is noticed least.
    null = rng.standard_normal((min(n_null, count), n_pixel))
    for _ in range(2 if n_null else 0):  # twice, as rounding is left by once
        job.report(0.5, "what is not noticed")
        null = null - (null @ basis.T) @ basis if side <= EXACT else _unseen(jacobian, null)
        null = np.linalg.qr(null.T)[0].T
    bottom = np.concatenate([null, basis[::-1]])[:count]
    least = np.concatenate([np.zeros(len(null)), value[::-1]])[:count]
    for end, (vectors, values) in enumerate(((basis[:count], value[:count]), (bottom, least))):
        direction[end, : len(vectors)], eigenvalue[end, : len(values)] = vectors, values
    singular = np.sqrt(value)
    alone = -np.diff(singular) > ROUNDING * singular[0]  # of each and the next
    first, last = (True, True) if len(value) == 1 else (alone[0], alone[-1])
    return direction, eigenvalue, np.array([first, n_null == 1 or (not n_null and last)]), n_null


def _all_pairs(jacobian: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of J'J that can differ from 0, falling, and unit eigenvectors in pixels."""
    del count  # all cost no more than some
    matrix = jacobian.astype(np.float64)
    wide = len(matrix) < matrix.shape[1]
    value, vector = scipy.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    return value[::-1], _in_pixels(jacobian, vector[:, ::-1].T)


def _outer_pairs(jacobian: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The same, of the outermost `count` at each end, by Lanczos iteration.

    The lower end is not looked for where there are enough changes that no neuron sees.
    """
    n_unseen = jacobian.shape[1] - jacobian.shape[0]
    wide = n_unseen > 0
    first, second = (jacobian.T, jacobian) if wide else (jacobian, jacobian.T)
    gram = LinearOperator(
        (min(jacobian.shape),) * 2,
        matvec=lambda v: second @ (first @ v.astype(np.float32)),
        dtype=np.float64,
    )
    sides = ("LA",) if n_unseen >= count else ("LA", "SA")
    try:
        ends = [eigsh(gram, count, which=which, tol=1e-9, maxiter=300) for which in sides]
    except ArpackNoConvergence:  # as where the lower end is a crowd of zeros
        return _all_pairs(jacobian, count)
    value = np.concatenate([values for values, _ in ends])
    vector = np.concatenate([vectors for _, vectors in ends], 1)
    order = np.argsort(-value)
    return value[order], _in_pixels(jacobian, vector[:, order].T)


def _in_pixels(jacobian: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Right singular vectors, from left ones if there are fewer neurons than pixels."""
    if jacobian.shape[0] >= jacobian.shape[1]:
        return vector
    vector = vector @ jacobian
    return vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-30)


def _unseen(jacobian: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Noise (n, pixel) without what any neuron sees of it."""
    most = 10 * len(jacobian)
    seen = [lsmr(jacobian.T, one, atol=1e-9, btol=1e-9, maxiter=most)[0] for one in noise]
    return noise - np.stack(seen) @ jacobian
