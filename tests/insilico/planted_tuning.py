"""Cells whose tuning has a closed form, as twins of images."""

import numpy as np
import torch
import xarray as xr

from twinlab.twins import StimulusSpec, Twin

SPEC = StimulusSpec(1, 41, 41, 100.0, 50.0, 0.0, 200.0)


class PlantedTwin(Twin):
    """Any function from contrast images (batch, y, x) to rates (batch, neuron)."""

    def __init__(self, function, n_neuron, spec=SPEC):
        neurons = xr.Dataset(
            coords={
                "neuron_id": ("neuron", np.arange(n_neuron)),
                "session": ("neuron", ["planted"] * n_neuron),
            }
        )
        super().__init__(spec, neurons, origin={"recording": "none"})
        self.function = function

    def forward(self, stimulus, *, behavior=None, pupil_center=None, neuron=None, paired=False):
        rate = self.function((stimulus - self.spec.mean)[:, 0] / self.spec.mean)
        if neuron is None:
            return rate
        return rate[torch.arange(len(rate)), neuron] if paired else rate[:, neuron]


def quadrature(orientation, frequency, center=(20.0, 20.0), sigma=5.0, size=41):
    """Even and odd Gabor without a mean, (2, y, x)."""
    x, y = np.meshgrid(np.arange(size) - center[0], np.arange(size) - center[1])
    across = x * np.sin(np.deg2rad(orientation)) + y * np.cos(np.deg2rad(orientation))
    envelope = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    wave = envelope * np.exp(2j * np.pi * frequency * across)
    wave -= envelope * (wave.sum() / envelope.sum())
    pair = np.stack([wave.real, wave.imag])
    pair /= np.linalg.norm(pair, axis=(1, 2), keepdims=True)
    return torch.as_tensor(pair, dtype=torch.float32)


def energy(images, pair):
    """Sum of the squared products with a quadrature pair, (batch,)."""
    return torch.einsum("bij,pij->bp", images, pair).square().sum(1)
