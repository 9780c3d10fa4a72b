"""The linear-nonlinear twin: one filter a neuron, then one curve; the baseline to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from twinlab.twins.contract import StimulusSpec, Twin

__all__ = ["LinearNonlinearTwin"]


class LinearNonlinearTwin(Twin):
    """Rate = amplitude * softplus(slope * (filter . image) + offset).

    Parameters
    ----------
    spec, neurons, context, origin
        As in `Twin`.
    filters : array of shape (n_neuron, channel, y, x), optional
        Weights of the image in z units.
    amplitude, slope, offset : array of shape (n_neuron,), optional
        Of the curve; the amplitude is in the recording's units and not negative.

    """

    kind = "linear_nonlinear"

    def __init__(
        self,
        spec: StimulusSpec,
        neurons: xr.Dataset,
        context: Mapping[str, Sequence[float]] | None = None,
        origin: Mapping[str, Any] | None = None,
        *,
        filters: np.ndarray | Tensor | None = None,
        amplitude: np.ndarray | Tensor | None = None,
        slope: np.ndarray | Tensor | None = None,
        offset: np.ndarray | Tensor | None = None,
    ) -> None:
        super().__init__(spec, neurons, None, origin)
        n_neuron = neurons.sizes["neuron"]

        def parameter(value: np.ndarray | Tensor | None, default: Tensor) -> nn.Parameter:
            given = default if value is None else torch.as_tensor(value)
            return nn.Parameter(given.detach().float().clone())

        self.filters = parameter(filters, torch.zeros(n_neuron, *spec.shape))
        self.amplitude = parameter(amplitude, torch.ones(n_neuron))
        self.slope = parameter(slope, torch.ones(n_neuron))
        self.offset = parameter(offset, torch.zeros(n_neuron))

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], **common: Any) -> LinearNonlinearTwin:
        """Build an empty twin; its weights are loaded afterwards."""
        return cls(**common, **settings)

    def forward(
        self,
        stimulus: Tensor,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Expected response in the recording's units; see `Twin.forward`."""
        del behavior, pupil_center  # it knows only the image
        image = ((stimulus - self.spec.mean) / self.spec.std).flatten(1)
        chosen = [
            parameter if neuron is None else parameter[neuron]
            for parameter in (self.filters, self.amplitude, self.slope, self.offset)
        ]
        filters, amplitude, slope, offset = chosen
        filters = filters.flatten(1)
        drive = (image * filters).sum(1) if paired else image @ filters.T
        return amplitude * F.softplus(slope * drive + offset)
