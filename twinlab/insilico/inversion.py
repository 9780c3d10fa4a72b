"""Inversion of a twin: the most probable image given the responses to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from twinlab.insilico.descent import descend
from twinlab.insilico.series import check_choice
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed
from twinlab.twins import ConditionedTwin, StimulusSpec

__all__ = ["invert_responses"]

PRIORS = ("natural", "white")
N_BISECTION = 50  # of a factor between 0 and 1: to 1e-15
START = 0.1  # noise that a descent starts from, in standard deviations of the training pixels


def invert_responses(
    twin: ConditionedTwin,
    response: np.ndarray,
    variance: np.ndarray,
    *,
    prior: str = "natural",
    norm: float | None = None,
    n_step: int = 300,
    tolerance: float = 1e-3,
    seed: int = 0,
    batch_size: int = 16,
    job: Job | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Find the images to which a twin responds as given: the most probable ones.

    With z the image in standard deviations of the training pixels about their mean, and the
    twin's rates f, the image minimises

    .. math:: \tfrac12 \sum_i \frac{(f_i(z) - r_i)^2}{\sigma_i^2} + \tfrac12 z^\top C^{-1} z

    within the grey levels that can be shown. For a linear twin (and no limits) it is the mean
    of the posterior of a Gaussian image. The descent starts from weak noise, since at grey
    itself neurons that ignore the sign of contrast have no gradient; of such neurons alone the
    image is found up to its sign.

    Parameters
    ----------
    twin : ConditionedTwin
        Of images.
    response : ndarray of shape (n_image, n_neuron)
    variance : ndarray that broadcasts against `response`
        Of the noise, positive; infinite for neurons to be left out.
    prior : {"natural", "white"}
        C: power falling with the square of spatial frequency, as in natural images, or flat;
        both with the variance of the training pixels.
    norm : float, optional
        Largest L2 norm, in standard deviations of the training pixels.
    n_step : int
        Most evaluations of an image.
    tolerance : float
        An image has converged when one step along its gradient changes no pixel by more than
        this, in standard deviations of the training pixels.
    seed : int
        Of the noise from which image k starts, which depends on it and k alone.
    batch_size : int
        Images found at once.
    job : Job, optional

    Returns
    -------
    image : ndarray of shape (n_image, channel, y, x)
        In grey levels.
    converged : ndarray of bool (n_image,)

    Raises
    ------
    InputError
        If a setting is out of range, or shapes disagree.

    """
    check_choice("prior", prior, PRIORS)
    if n_step < 1 or (norm is not None and not norm > 0):
        msg = f"`n_step` and `norm` must be positive, but are {n_step} and {norm}."
        raise InputError(msg)
    if response.ndim != 2 or response.shape[1] != len(twin) or not (variance > 0).all():
        msg = (
            f"`response` must be (image, neuron) of {len(twin)} neurons with positive `variance`, "
            f"but has shape {response.shape} and a variance from {np.min(variance):g}."
        )
        raise InputError(msg)
    job = job or Job()
    check_seed(seed)
    spec = twin.spec
    power = _spectrum(spec, prior).to(twin.device)
    weight = torch.as_tensor(1 / np.broadcast_to(variance, response.shape), device=twin.device)
    given = torch.as_tensor(response, dtype=torch.float64, device=twin.device)
    project = _projection(spec, norm)
    images = np.empty((len(response), *spec.shape), np.float32)
    converged = np.empty(len(response), bool)
    for start in range(0, len(response), batch_size):
        part = slice(start, min(start + batch_size, len(response)))
        stage = job.part(part.start / len(response), part.stop / len(response))

        def energy(z: Tensor, row: Tensor, first: int = start) -> Tensor:
            rate = twin((z * spec.std + spec.mean).float()).double()
            misfit = (weight[first + row] * (rate - given[first + row]).square()).sum(1)
            amplitude = torch.fft.fft2(z, norm="ortho")
            return 0.5 * (misfit + (amplitude.abs().square() / power).sum((1, 2, 3)))

        def report(done: int, stage: Job = stage, part: slice = part) -> None:
            stage.report(done / n_step, f"images {part.start + 1} to {part.stop}, step {done}")

        noise = np.stack(
            [
                np.random.default_rng([seed, number]).standard_normal(spec.shape)
                for number in range(part.start, part.stop)
            ]
        )
        amplitude = torch.fft.fft2(torch.as_tensor(noise, device=twin.device)) * power.sqrt()
        weak = START * torch.fft.ifft2(amplitude).real
        z, _, done = descend(
            weak, energy, project, n_step=n_step, tolerance=tolerance, report=report
        )
        images[part] = (z * spec.std + spec.mean).cpu().numpy()
        converged[part] = done.cpu().numpy()
    return images, converged


def _spectrum(spec: StimulusSpec, prior: str) -> Tensor:
    """Variance of each Fourier coefficient (orthonormal) of z under the prior, mean 1."""
    if prior == "white":
        return torch.ones(spec.height, spec.width, dtype=torch.float64)
    y = torch.fft.fftfreq(spec.height, dtype=torch.float64)[:, None]
    x = torch.fft.fftfreq(spec.width, dtype=torch.float64)
    # Below the lowest frequency of the frame nothing is known; the mean gets that one's power.
    power = 1 / (x**2 + y**2).clamp(min=1 / max(spec.height, spec.width) ** 2)
    return power / power.mean()


def _projection(spec: StimulusSpec, norm: float | None) -> Callable[[Tensor], Tensor]:
    """Function to the nearest image in the range of the display, of at most this norm.

    That is z scaled down, then cut to the range, with the scale at which what is left after
    cutting has the norm.
    """
    low, high = (spec.low - spec.mean) / spec.std, (spec.high - spec.mean) / spec.std

    def length(z: Tensor) -> Tensor:
        return z.square().sum((1, 2, 3), keepdim=True).sqrt()

    def project(z: Tensor) -> Tensor:
        inside = z.clamp(low, high)
        if norm is None or (length(inside) <= norm).all():
            return inside
        # The nearest is some clamp(s z), s at most 1, since grey is within the range: the
        # conditions of Karush, Kuhn and Tucker. Its norm rises with s.
        least, most = torch.zeros_like(length(z)), torch.ones_like(length(z))
        for _ in range(N_BISECTION):
            middle = (least + most) / 2
            fits = length((middle * z).clamp(low, high)) <= norm
            least, most = torch.where(fits, middle, least), torch.where(fits, most, middle)
        return torch.where(length(inside) <= norm, inside, (least * z).clamp(low, high))

    return project
