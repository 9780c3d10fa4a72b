"""Distributions of single responses: what a twin or an ensemble expects beyond the mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins.contract import ConditionedTwin, Twin, compute_trials, recorded_by
from twinlab.twins.ensemble import EnsembleTwin
from twinlab.twins.likelihoods import Likelihood

__all__ = ["ResponseDistribution", "predict_distribution", "response_distribution"]

VARIABLES = {
    "prediction": "predicted response",
    "variance_response": "variance of single responses",
    "variance_twin": "variance of the prediction over members",
    "cdf": "predicted probability of a response up to the recorded one",
    "cdf_below": "predicted probability of a response below the recorded one",
    "log_score": "log predicted density of the recorded response",
}


@dataclass(frozen=True)
class ResponseDistribution:
    """Distribution of each neuron's single responses to each stimulus, in the recording's units.

    Of an ensemble it is the mixture of its members' distributions.

    Attributes
    ----------
    likelihoods : sequence of Likelihood
        One a member; of one twin, one.
    rates : Tensor of shape (member, batch, neuron[, frame]) or (member, batch[, frame]) if paired
        In units of each member's `scales`.
    scales : Tensor, which broadcasts against `rates`
    neuron : Tensor of int, optional
        The neurons asked about, as `Likelihood` takes them.

    """

    likelihoods: Sequence[Likelihood]
    rates: Tensor
    scales: Tensor
    neuron: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """Expected response: the twin's prediction."""
        return (self.rates * self.scales).mean(0)

    @property
    def variance_response(self) -> Tensor:
        """Variance of single responses around what is expected, averaged over members."""
        variances = [
            likelihood.variance(rate, self.neuron)
            for likelihood, rate in zip(self.likelihoods, self.rates, strict=True)
        ]
        return (torch.stack(variances) * self.scales**2).mean(0)

    @property
    def variance_twin(self) -> Tensor:
        """Variance over members of what is expected (divided by their number).

        NaN where there is one member only: one twin does not know how unsure it is.
        """
        if len(self.rates) == 1:
            return torch.full_like(self.rates[0], torch.nan)
        return (self.rates * self.scales).var(0, correction=0)

    @property
    def variance(self) -> Tensor:
        """Variance in all (law of total variance); of one twin, that of its responses."""
        return self.variance_response + self.variance_twin.nan_to_num(0.0)

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """Draw `n` responses, (n, batch, neuron[, frame]); members take turns at random."""
        generator = torch.Generator(self.rates.device).manual_seed(seed)
        drawn = [
            likelihood.sample(rate, n, generator, self.neuron) * scale
            for likelihood, rate, scale in self._members()
        ]
        if len(drawn) == 1:
            return drawn[0]
        member = torch.randint(
            len(drawn), drawn[0].shape, generator=generator, device=self.rates.device
        )
        return torch.stack(drawn).gather(0, member[None])[0]

    def cdf(self, response: Tensor, *, below: bool = False) -> Tensor:
        """Probability of a response up to `response`; with `below`, of a smaller one."""
        found = [
            likelihood.cdf(response / scale, rate, self.neuron, below=below)
            for likelihood, rate, scale in self._members()
        ]
        return torch.stack(found).mean(0)

    def log_prob(self, response: Tensor) -> Tensor:
        """Log density of responses per unit of the recording; of counts, log probability."""
        found = []
        for likelihood, rate, scale in self._members():
            log_prob = likelihood.log_prob(response / scale, rate, self.neuron)
            found.append(log_prob if likelihood.discrete else log_prob - scale.log())
        return torch.logsumexp(torch.stack(found), 0) - math.log(len(found))

    def _members(self) -> list[tuple[Likelihood, Tensor, Tensor]]:
        return list(zip(self.likelihoods, self.rates, self.scales, strict=True))


def response_distribution(
    twin: Twin | ConditionedTwin,
    stimulus: Tensor,
    *,
    behavior: Tensor | None = None,
    pupil_center: Tensor | None = None,
    neuron: Tensor | None = None,
    paired: bool = False,
) -> ResponseDistribution:
    """How single responses to each stimulus are distributed, by a twin or an ensemble.

    Parameters
    ----------
    twin : DeepTwin, EnsembleTwin of such, or either conditioned
        A conditioned twin has its context and neurons bound: give the stimulus alone.
    stimulus, behavior, pupil_center, neuron, paired
        As in `Twin.forward`.

    Returns
    -------
    ResponseDistribution

    Raises
    ------
    InputError
        If the twin, or a member, predicts rates and nothing about single responses.

    """
    if isinstance(twin, ConditionedTwin):
        asked = twin._context(stimulus)
        twin.spec.check(stimulus)
        neuron, paired, twin = twin.neuron, twin.paired_, twin.twin
    else:
        given = {"behavior": behavior, "pupil_center": pupil_center}
        asked = {name: value for name, value in given.items() if value is not None}
    likelihoods, rates, scales = [], [], []
    for member in _members(twin):
        likelihood = getattr(member, "likelihood", None)
        scale = getattr(member, "response_scale", None)
        if not isinstance(likelihood, Likelihood) or not isinstance(scale, Tensor):
            msg = (
                f"A {type(member).__name__} predicts rates and says nothing about single "
                "responses; fit a deep twin with `likelihood` gamma, zero_inflated_gamma or "
                "gaussian."
            )
            raise InputError(msg)
        used = {name: value for name, value in asked.items() if name in member.context}
        rate = member(stimulus, neuron=neuron, paired=paired, **used)
        own = scale if neuron is None else scale[neuron]
        own = own[:, None] if member.spec.is_video else own
        likelihoods.append(likelihood)
        rates.append(rate / own)
        scales.append(own)
    # one neuron a row of frames: a column of indices lets its parameters meet each frame
    index = neuron[:, None] if paired and neuron is not None and twin.spec.is_video else neuron
    together = torch.stack(scales)
    shape = (len(together), *[1] * (rates[0].ndim - together.ndim + 1), *together.shape[1:])
    return ResponseDistribution(likelihoods, torch.stack(rates), together.reshape(shape), index)


def _members(twin: Twin) -> list[Twin]:
    if isinstance(twin, EnsembleTwin):
        return [member for member in twin.members if isinstance(member, Twin)]
    return [twin]


def predict_distribution(
    twin: Twin,
    recording: xr.Dataset,
    *,
    split: str | None = None,
    batch_size: int = 256,
    job: Job | None = None,
) -> xr.Dataset:
    """Predicted distribution of the response of each recorded neuron in each trial.

    Context is used as by `predict_responses`.

    Parameters
    ----------
    twin : DeepTwin or EnsembleTwin
    recording : xarray.Dataset
        With the neurons the twin was fitted to, in any order.
    split : {"train", "validation", "test"}, optional
        Trials to predict; all where absent.
    batch_size : int
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        Shaped and labelled as the recording's response: `prediction`, `variance_response`,
        `variance_twin` (NaN of one twin), and how the recorded response lies in the
        distribution: `cdf`, `cdf_below` and `log_score`, NaN where it is missing.

    Raises
    ------
    InputError
        If the twin has no distribution of responses, or the recording does not fit it.

    """

    def lies(twin: Twin, response: Tensor, **given: Any) -> dict[str, Tensor]:
        expected = response_distribution(twin, **given)
        missing = torch.isnan(response)
        response = torch.where(missing, expected.mean, response)
        return {
            "prediction": expected.mean,
            "variance_response": expected.variance_response,
            "variance_twin": expected.variance_twin,
            "cdf": expected.cdf(response).masked_fill(missing, torch.nan),
            "cdf_below": expected.cdf(response, below=True).masked_fill(missing, torch.nan),
            "log_score": expected.log_prob(response).masked_fill(missing, torch.nan),
        }

    twin = recorded_by(twin, recording)
    found = compute_trials(lies, twin, recording, split=split, batch_size=batch_size, job=job)
    units = str(recording.response.attrs.get("units", "a.u."))
    unit = {name: "1" for name in ("cdf", "cdf_below")} | {"log_score": "nat"}
    unit |= {name: f"({units})^2" for name in ("variance_response", "variance_twin")}
    variables = {
        name: value.assign_attrs(long_name=VARIABLES[name], units=unit.get(name, units))
        for name, value in found.items()
    }
    return xr.Dataset(variables, attrs={"twin": twin.identity})
