"""What a twin's rate says about single responses: one small module a kind.

Rates and responses are in units of the twin's `response_scale`, in which it is fitted, and have
shape (batch, neuron) or (batch, neuron, frame); or (batch,), where each entry belongs to the
neuron named in `neuron`. Every kind has the rate as its mean and at most two parameters a
neuron besides, so that what is fitted is how a neuron varies, not another mean.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.special
import scipy.stats
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twinlab.schema import InputError

__all__ = [
    "LIKELIHOODS",
    "ExponentialLikelihood",
    "GammaLikelihood",
    "GaussianLikelihood",
    "Likelihood",
    "PoissonLikelihood",
    "ZeroInflatedGammaLikelihood",
]

# Of `response_scale`: below it a rate fades out instead of reaching zero, where the densities
# of positive responses have no finite value, and a response counts as this large in a loss.
FLOOR = 1e-3
# Of `response_scale`: deconvolved calcium has two kinds of response, numerical zeros (1e-12 to
# 1e-6) and events (above 0.01), and next to nothing between.
SILENT = 5e-3


def _positive(rate: Tensor) -> Tensor:
    """Rate that stays positive and has a gradient everywhere; unchanged above `FLOOR`."""
    faded = FLOOR / (2 - (rate / FLOOR).clamp_max(1))
    return torch.where(rate > FLOOR, rate, faded)


class Likelihood(nn.Module):
    """Distribution of single responses around a twin's rate.

    Parameters
    ----------
    n_neuron : int

    """

    discrete = False  # whether responses are counts, of which `log_prob` gives probabilities
    scale: Tensor

    def __init__(self, n_neuron: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(n_neuron))

    @torch.no_grad()
    def initialise(self, response: np.ndarray | Tensor, scale: np.ndarray | Tensor) -> None:
        """Start the parameters from the moments of the training responses.

        Parameters
        ----------
        response : array of shape (trial, neuron) or (trial, neuron, frame)
            In the recording's units; NaN where missing.
        scale : array of shape (neuron,)
            The twin's `response_scale`.

        Raises
        ------
        InputError
            If the responses cannot come from this distribution.

        """
        self.scale.copy_(torch.as_tensor(scale))
        relative = torch.as_tensor(response).to(self.scale)
        if relative.ndim == 3:
            relative = relative.movedim(1, 2).flatten(0, 1)
        self._start(relative / self.scale)

    def _start(self, response: Tensor) -> None:
        """Set the parameters from responses (trial, neuron) in units of `scale`."""

    def loss(self, rate: Tensor, response: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Negative log likelihood of each entry; zero, without gradient, where it is NaN.

        Finite, with finite gradients, at any rate and response from zero up.

        Parameters
        ----------
        rate, response : Tensor of shape (batch, neuron[, frame]) or (batch,)
        neuron : Tensor of int, optional
            The neurons asked about; all where absent.

        Returns
        -------
        Tensor shaped like `rate`

        """
        missing = torch.isnan(response)
        # replaced before they meet the rate: a NaN left out afterwards still spoils gradients
        loss = self._loss(rate, response.masked_fill(missing, 1.0), neuron)
        return loss.masked_fill(missing, 0.0)

    def _loss(self, rate: Tensor, response: Tensor, neuron: Tensor | None) -> Tensor:
        raise NotImplementedError

    def log_prob(self, response: Tensor, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Log density (of counts: log probability) of each response, normalised.

        The density is per unit of `scale`: that per unit of the recording is less by
        ``log(scale)``.
        """
        raise NotImplementedError

    def variance(self, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Variance of single responses around each rate, in units of `scale` squared."""
        raise NotImplementedError

    def cdf(
        self,
        response: Tensor,
        rate: Tensor,
        neuron: Tensor | None = None,
        *,
        below: bool = False,
    ) -> Tensor:
        """Probability of a response up to this one; with `below`, of a smaller one.

        The two differ where single values have a probability of their own.
        """
        raise NotImplementedError

    def quantile(self, level: float, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Response below which lie a share `level` (0 to 1) of all; without gradient."""
        raise NotImplementedError

    def sample(
        self,
        rate: Tensor,
        n: int,
        generator: torch.Generator | None = None,
        neuron: Tensor | None = None,
    ) -> Tensor:
        """Draw `n` responses to each rate, (n, *rate.shape); without gradient."""
        raise NotImplementedError

    def _own(self, values: Tensor, rate: Tensor, neuron: Tensor | None) -> Tensor:
        """Parameter of the neurons asked about, to be broadcast against their rates."""
        own = values if neuron is None else values[neuron]
        return own[:, None] if rate.ndim == 3 else own


class PoissonLikelihood(Likelihood):
    """Counts, with the rate as mean and variance; on anything else a loss and no more.

    `loss` is the field's: without the constant in the response, and in units of `scale`, which
    weighs each neuron by 1 / `scale` against the likelihood of its counts. All else refers to
    counts in the recording's units and is refused where `initialise` saw other responses.
    """

    discrete = True
    counts: Tensor

    def __init__(self, n_neuron: int) -> None:
        super().__init__(n_neuron)
        self.register_buffer("counts", torch.tensor(False))

    @torch.no_grad()
    def initialise(self, response: np.ndarray | Tensor, scale: np.ndarray | Tensor) -> None:
        """Note whether the responses are whole counts; see `Likelihood.initialise`."""
        super().initialise(response, scale)
        given = torch.as_tensor(response)
        known = given[~torch.isnan(given)]
        self.counts.fill_(
            bool(((known - known.round()).abs() < 1e-4).all() and (known >= 0).all())
        )

    def _loss(self, rate: Tensor, response: Tensor, neuron: Tensor | None) -> Tensor:
        return rate - response * torch.log(rate + 1e-8)

    def _counted(self, rate: Tensor, neuron: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean count, and the scale that made it, or `InputError` if nothing was counted."""
        if not self.counts:
            msg = (
                "The twin was fitted with the Poisson loss to responses that are not counts, so "
                "it has no distribution of responses; fit it with `likelihood` "
                "zero_inflated_gamma or gamma (deconvolved calcium) or gaussian."
            )
            raise InputError(msg)
        scale = self._own(self.scale, rate, neuron)
        return (rate * scale).clamp_min(1e-8), scale

    def log_prob(self, response: Tensor, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Log probability of each count, `response` times `scale`."""
        mean, scale = self._counted(rate, neuron)
        count = response * scale
        return count * mean.log() - mean - torch.lgamma(count + 1)

    def variance(self, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Variance around each rate; see `Likelihood.variance`."""
        mean, scale = self._counted(rate, neuron)
        return mean / scale**2

    def cdf(
        self,
        response: Tensor,
        rate: Tensor,
        neuron: Tensor | None = None,
        *,
        below: bool = False,
    ) -> Tensor:
        """Probability up to or below a response; see `Likelihood.cdf`."""
        mean, scale = self._counted(rate, neuron)
        given = response * scale  # whole up to rounding
        count = torch.ceil(given - 1e-3) - 1 if below else torch.floor(given + 1e-3)
        upto = torch.special.gammaincc(count.clamp_min(0) + 1, mean)
        return torch.where(count < 0, 0.0, upto)

    def quantile(self, level: float, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Smallest response with at least a share `level` up to it."""
        mean, scale = self._counted(rate.detach(), neuron)
        count = scipy.stats.poisson.ppf(level, mean.cpu().numpy())
        return torch.as_tensor(count).to(mean) / scale

    def sample(
        self,
        rate: Tensor,
        n: int,
        generator: torch.Generator | None = None,
        neuron: Tensor | None = None,
    ) -> Tensor:
        """Draw responses; see `Likelihood.sample`."""
        mean, scale = self._counted(rate.detach(), neuron)
        return torch.poisson(mean.expand(n, *mean.shape), generator) / scale


class GaussianLikelihood(Likelihood):
    """Noise of each neuron's own constant variance; responses may be negative."""

    def __init__(self, n_neuron: int) -> None:
        super().__init__(n_neuron)
        self.log_sigma = nn.Parameter(torch.zeros(n_neuron))

    def _start(self, response: Tensor) -> None:
        variance = _moments(response)[1]
        self.log_sigma.copy_(variance.clamp_min(FLOOR).log() / 2)

    def _loss(self, rate: Tensor, response: Tensor, neuron: Tensor | None) -> Tensor:
        return -self.log_prob(response, rate, neuron)

    def log_prob(self, response: Tensor, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Log density of each response; see `Likelihood.log_prob`."""
        log_sigma = self._own(self.log_sigma, rate, neuron)
        away = (response - rate) * torch.exp(-log_sigma)
        return -(away**2) / 2 - log_sigma - math.log(2 * math.pi) / 2

    def variance(self, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Variance around each rate; see `Likelihood.variance`."""
        return self._own(self.log_sigma, rate, neuron).mul(2).exp().expand_as(rate)

    def cdf(
        self,
        response: Tensor,
        rate: Tensor,
        neuron: Tensor | None = None,
        *,
        below: bool = False,
    ) -> Tensor:
        """Probability up to or below a response; see `Likelihood.cdf`."""
        return torch.special.ndtr((response - rate) / self.variance(rate, neuron).sqrt())

    def quantile(self, level: float, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Response with a share `level` below; see `Likelihood.quantile`."""
        away = float(scipy.special.ndtri(level))
        return (rate + away * self.variance(rate, neuron).sqrt()).detach()

    def sample(
        self,
        rate: Tensor,
        n: int,
        generator: torch.Generator | None = None,
        neuron: Tensor | None = None,
    ) -> Tensor:
        """Draw responses; see `Likelihood.sample`."""
        noise = torch.empty(n, *rate.shape, dtype=rate.dtype, device=rate.device)
        noise.normal_(generator=generator)
        return (rate + noise * self.variance(rate, neuron).sqrt()).detach()


class GammaLikelihood(Likelihood):
    """Positive responses whose standard deviation is proportional to the rate.

    The gamma distribution with each neuron's own concentration (shape) and the rate as mean:
    its variance is the rate squared, divided by the concentration. In `loss` responses
    below 0.001 of `scale` count as that: the density has no finite value at zero.
    """

    def __init__(self, n_neuron: int) -> None:
        super().__init__(n_neuron)
        self.log_concentration = nn.Parameter(torch.zeros(n_neuron))

    def _start(self, response: Tensor) -> None:
        _check_positive(response)
        mean, variance = _moments(response)
        self.log_concentration.copy_(_concentration(mean, variance).log())

    def _concentration(self, rate: Tensor, neuron: Tensor | None) -> Tensor:
        return self._own(self.log_concentration, rate, neuron).exp()

    def _loss(self, rate: Tensor, response: Tensor, neuron: Tensor | None) -> Tensor:
        return -self.log_prob(response.clamp_min(FLOOR), rate, neuron)

    def log_prob(self, response: Tensor, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Log density of each response; see `Likelihood.log_prob`."""
        concentration = self._concentration(rate, neuron)
        return _log_gamma(response, concentration, _positive(rate))

    def variance(self, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Variance around each rate; see `Likelihood.variance`."""
        return _positive(rate) ** 2 / self._concentration(rate, neuron)

    def cdf(
        self,
        response: Tensor,
        rate: Tensor,
        neuron: Tensor | None = None,
        *,
        below: bool = False,
    ) -> Tensor:
        """Probability up to or below a response; see `Likelihood.cdf`; without gradient."""
        concentration = self._concentration(rate, neuron).detach()
        mean = _positive(rate.detach())
        scaled = concentration * response.clamp_min(0) / mean
        return torch.special.gammainc(concentration.expand_as(scaled), scaled)

    def quantile(self, level: float, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Response with a share `level` below; see `Likelihood.quantile`."""
        concentration = self._concentration(rate, neuron).detach()
        unit = scipy.special.gammaincinv(concentration.cpu().numpy(), level)
        return torch.as_tensor(unit).to(rate) * _positive(rate.detach()) / concentration

    def sample(
        self,
        rate: Tensor,
        n: int,
        generator: torch.Generator | None = None,
        neuron: Tensor | None = None,
    ) -> Tensor:
        """Draw responses; see `Likelihood.sample`."""
        concentration = self._concentration(rate, neuron).detach()
        unit = torch._standard_gamma(concentration.expand(n, *rate.shape).contiguous(), generator)
        return unit * _positive(rate.detach()) / concentration


class ExponentialLikelihood(GammaLikelihood):
    """Positive responses whose standard deviation is the rate: gamma of concentration one."""

    def __init__(self, n_neuron: int) -> None:
        super().__init__(n_neuron)
        del self.log_concentration
        self.register_buffer("log_concentration", torch.zeros(n_neuron), persistent=False)

    def _start(self, response: Tensor) -> None:
        _check_positive(response)

    def _loss(self, rate: Tensor, response: Tensor, neuron: Tensor | None) -> Tensor:
        mean = _positive(rate)  # finite at a response of zero as it is
        return response / mean + mean.log()


class ZeroInflatedGammaLikelihood(Likelihood):
    """Silence with one probability, and otherwise a gamma: deconvolved calcium.

    A response is silence, uniform between 0 and `threshold`, with probability 1 - q, and
    otherwise `threshold` plus a gamma variable of the neuron's own concentration. The mean is
    the twin's rate. With e what the rate is above the mean of silence (`threshold` / 2),

        q = most (1 - exp(-e / event)),

    the probability that any of a Poisson number of events is seen: it rises with the rate,
    from 0 to `most`, and the mean of the gamma follows from q and the rate. Each neuron has its
    own concentration, `event` (the size of one event) and `most`.

    A rate below that of silence has no such distribution, and counts as just above it. All
    responses up to the threshold are one outcome to `cdf`, the numerical zeros of
    deconvolution having no meaning of their own. In `loss` a gamma variable below 0.001 of
    `scale` counts as that.

    References
    ----------
    Bashiri et al. (2021), A flow-based latent state generative model of neural population
    responses to natural images, NeurIPS.

    """

    threshold: Tensor

    def __init__(self, n_neuron: int, threshold: float = SILENT) -> None:
        super().__init__(n_neuron)
        self.register_buffer("threshold", torch.full((n_neuron,), threshold))
        self.log_concentration = nn.Parameter(torch.zeros(n_neuron))
        self.raw_event = nn.Parameter(_inverse_softplus(torch.ones(n_neuron)))
        self.raw_most = nn.Parameter(torch.full((n_neuron,), 3.0))

    def _start(self, response: Tensor) -> None:
        _check_positive(response)
        active = response > self.threshold
        share = active.sum(0) / (~torch.isnan(response)).sum(0).clamp_min(1)
        share = share.clamp(0.01, 0.98)
        most = 0.95 + 0.05 * share
        mean = _moments(response)[0]
        event = -_positive(mean - self.threshold / 2) / torch.log1p(-share / most)
        own = torch.where(active, response - self.threshold, torch.nan)
        concentration = _concentration(*_moments(own))
        self.log_concentration.copy_(concentration.log())
        self.raw_event.copy_(_inverse_softplus((event - self.threshold).clamp_min(0.05)))
        self.raw_most.copy_(torch.logit(most))

    def _parts(
        self, rate: Tensor, neuron: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Log probabilities of silence and of an event, its mean, concentration, threshold."""
        threshold = self._own(self.threshold, rate, neuron)
        concentration = self._own(self.log_concentration, rate, neuron).exp()
        # an event above the threshold keeps the mean of the gamma positive at every rate
        event = threshold + F.softplus(self._own(self.raw_event, rate, neuron))
        most = torch.sigmoid(self._own(self.raw_most, rate, neuron))
        excess = _positive(rate - threshold / 2)
        seen = -torch.expm1(-excess / event)
        mean = excess / (most * seen) - threshold / 2
        silent = torch.log1p(-most * seen)
        return silent, most.log() + seen.log(), mean, concentration, threshold

    def active_probability(self, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Probability q of a response above the threshold."""
        return self._parts(rate, neuron)[1].exp()

    def _loss(self, rate: Tensor, response: Tensor, neuron: Tensor | None) -> Tensor:
        return -self._log_prob(response, rate, neuron, FLOOR)

    def log_prob(self, response: Tensor, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Log density of each response; responses down to -`threshold` count as zero."""
        found = self._log_prob(response, rate, neuron, 0.0)
        threshold = self._own(self.threshold, rate, neuron)
        return torch.where(response < -threshold, -torch.inf, found)

    def _log_prob(
        self, response: Tensor, rate: Tensor, neuron: Tensor | None, floor: float
    ) -> Tensor:
        log_silent, log_active, mean, concentration, threshold = self._parts(rate, neuron)
        active = response > threshold
        # where silent the gamma is given its mean: what is not chosen must be finite, too
        above = torch.where(active, (response - threshold).clamp_min(floor), mean.detach())
        return torch.where(
            active,
            log_active + _log_gamma(above, concentration, mean),
            log_silent - threshold.log(),
        )

    def variance(self, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Variance around each rate; see `Likelihood.variance`."""
        log_silent, log_active, mean, concentration, threshold = self._parts(rate, neuron)
        silent, active = log_silent.exp(), log_active.exp()
        within = silent * threshold**2 / 12 + active * mean**2 / concentration
        return within + silent * active * (threshold / 2 + mean) ** 2

    def cdf(
        self,
        response: Tensor,
        rate: Tensor,
        neuron: Tensor | None = None,
        *,
        below: bool = False,
    ) -> Tensor:
        """Probability up to or below a response; silence is one outcome; without gradient."""
        parts = [part.detach() for part in self._parts(rate, neuron)]
        log_silent, log_active, mean, concentration, threshold = parts
        scaled = concentration * (response - threshold).clamp_min(0) / mean
        gamma = torch.special.gammainc(concentration.expand_as(scaled), scaled)
        total = log_silent.exp() + log_active.exp() * gamma
        least = 0.0 if below else total
        return torch.where(response <= threshold, least, total)

    def quantile(self, level: float, rate: Tensor, neuron: Tensor | None = None) -> Tensor:
        """Response with a share `level` below; see `Likelihood.quantile`."""
        parts = [part.detach() for part in self._parts(rate, neuron)]
        log_silent, log_active, mean, concentration, threshold = parts
        silent = log_silent.exp()
        left = ((level - silent) / log_active.exp()).clamp(0, 1)
        unit = scipy.special.gammaincinv(concentration.cpu().numpy(), left.cpu().numpy())
        above = threshold + torch.as_tensor(unit).to(rate) * mean / concentration
        return torch.where(level <= silent, threshold * level / silent, above)

    def sample(
        self,
        rate: Tensor,
        n: int,
        generator: torch.Generator | None = None,
        neuron: Tensor | None = None,
    ) -> Tensor:
        """Draw responses; see `Likelihood.sample`."""
        parts = [part.detach() for part in self._parts(rate, neuron)]
        _, log_active, mean, concentration, threshold = parts
        chance, place = torch.empty(2, n, *rate.shape, dtype=rate.dtype, device=rate.device)
        chance.uniform_(generator=generator)
        place.uniform_(generator=generator)
        unit = torch._standard_gamma(concentration.expand(n, *rate.shape).contiguous(), generator)
        active = threshold + unit * mean / concentration
        return torch.where(chance < log_active.exp(), active, place * threshold)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "poisson": PoissonLikelihood,
    "gaussian": GaussianLikelihood,
    "gamma": GammaLikelihood,
    "zero_inflated_gamma": ZeroInflatedGammaLikelihood,
    "exponential": ExponentialLikelihood,
}


def _log_gamma(value: Tensor, concentration: Tensor, mean: Tensor) -> Tensor:
    rate = concentration / mean
    return (
        concentration * rate.log()
        + (concentration - 1) * value.log()
        - rate * value
        - torch.lgamma(concentration)
    )


def _inverse_softplus(value: Tensor) -> Tensor:
    return value + torch.log(-torch.expm1(-value))


def _moments(response: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over trials of each neuron, missing ones left out; 1 where unknown."""
    mean = response.nanmean(0)
    variance = ((response - mean) ** 2).nanmean(0)
    return mean.nan_to_num(1.0), variance.nan_to_num(1.0)


def _concentration(mean: Tensor, variance: Tensor) -> Tensor:
    """Concentration of a gamma with these moments, within what a fit can start from."""
    return (mean**2 / variance.clamp_min(1e-12)).clamp(0.05, 50.0)


def _check_positive(response: Tensor) -> None:
    negative = (response < -SILENT).sum(0)
    if negative.any():
        worst = int(negative.argmax())
        msg = (
            f"Responses below zero cannot come from a gamma distribution: neuron {worst} has "
            f"{int(negative[worst])} of them; set `likelihood` to gaussian."
        )
        raise InputError(msg)
