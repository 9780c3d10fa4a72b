"""Losses on their own: without a twin, or without being a likelihood."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["correlation_loss", "poisson_loss"]


def poisson_loss(rate: Tensor, response: Tensor) -> Tensor:
    """Poisson negative log likelihood without its constant, summed; missing responses left out.

    Parameters
    ----------
    rate, response : Tensor of shape (batch, neuron)
        `response` may be NaN where missing.

    """
    missing = torch.isnan(response)
    loss = rate - response.nan_to_num() * torch.log(rate + 1e-8)
    return loss.masked_fill(missing, 0).sum()


def correlation_loss(rate: Tensor, response: Tensor) -> Tensor:
    """1 - Pearson correlation over the batch of each neuron, averaged over neurons.

    It says nothing of a response's size: a twin fitted with it alone has right rates only up
    to a scale and an offset.

    Parameters
    ----------
    rate, response : Tensor of shape (batch, neuron) or (batch, neuron, frame)
        `response` is NaN where missing; frames count as further trials. Neurons with fewer than
        two responses, or constant ones, are left out.

    Returns
    -------
    Tensor
        Scalar, from 0 to 2; zero where no neuron is left.

    """
    if rate.ndim == 3:
        rate, response = (value.movedim(1, 2).flatten(0, 1) for value in (rate, response))
    known = ~torch.isnan(response)
    count = known.sum(0).clamp_min(1)

    def centred(value: Tensor) -> Tensor:
        value = torch.where(known, value, 0.0)
        return torch.where(known, value - value.sum(0) / count, 0.0)

    predicted, recorded = centred(rate), centred(response)
    power = (recorded**2).sum(0)
    defined = power > 1e-12
    # added under the root: its slope is infinite at zero, where a rate is constant
    norm = torch.sqrt((predicted**2).sum(0) * torch.where(defined, power, 1.0) + 1e-12)
    correlation = (predicted * recorded).sum(0) / norm
    return torch.where(defined, 1 - correlation, 0.0).sum() / defined.sum().clamp_min(1)
