"""Five hand-made neurons with closed-form answers, in a twin of two filters each."""

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab.stimuli import gabor_patches
from twinlab.twins import StimulusSpec, Twin

KINDS = ("simple", "complex", "flat", "dead", "complex")
ORIENTATION = (60.0, 140.0, 0.0, 0.0, 20.0)
FREQUENCY = (0.12, 0.10, 0.1, 0.1, 0.14)
CENTER = ((11.0, 9.0), (14.0, 12.0), (12.0, 10.0), (12.0, 10.0), (9.0, 10.0))
SIZE = 3.0


class ClosedFormTwin(Twin):
    """Simple: softplus of one filter. Complex: energy. Flat: constant. Dead: always 0."""

    def __init__(self, seed=0):
        spec = StimulusSpec(1, 20, 24, 110.0, 55.0)
        neurons = xr.Dataset(
            coords={
                "neuron_id": ("neuron", np.arange(5) + 100),
                "session": ("neuron", ["hand"] * 5),
                "true_type": ("neuron", list(KINDS)),
            }
        )
        super().__init__(spec, neurons, origin={"recording": "none", "seed": seed})
        x, y = np.array(CENTER).T
        pair = [
            gabor_patches(
                x, y, np.array(ORIENTATION), np.array(FREQUENCY), np.full(5, phase),
                np.full(5, SIZE), height=20, width=24,
            )
            for phase in (0.0, 90.0)
        ]  # fmt: skip
        filters = np.stack(pair, 1).reshape(5, 2, -1)
        filters -= filters.mean(2, keepdims=True)
        odd, even = filters[:, 1], filters[:, 0]
        even /= np.linalg.norm(even, axis=1, keepdims=True)
        odd -= (odd * even).sum(1, keepdims=True) * even
        odd /= np.linalg.norm(odd, axis=1, keepdims=True)
        self.register_buffer("filters", torch.as_tensor(filters, dtype=torch.float32))
        self.register_buffer("seed", torch.tensor(seed))

    def forward(self, stimulus, *, behavior=None, pupil_center=None, neuron=None, paired=False):
        asked = torch.arange(5) if neuron is None else neuron
        z = ((stimulus - self.spec.mean) / self.spec.std).flatten(1)
        filters = self.filters[asked]
        drive = torch.einsum("np,nfp->nf" if paired else "bp,nfp->bnf", z, filters)
        rates = {
            "simple": torch.nn.functional.softplus(drive[..., 0]),
            "complex": drive.square().sum(-1),
            "flat": 2.0 + 0 * drive[..., 0],
            "dead": torch.relu(drive[..., 0] - 1000),
        }
        pick = [torch.tensor([KINDS[i] == kind for i in asked]) for kind in rates]
        return sum(rate * p for rate, p in zip(rates.values(), pick, strict=True))


@pytest.fixture(scope="session")
def closed_form():
    """Neuron 0 simple, 1 and 4 complex, 2 flat, 3 dead; truths in attributes."""
    twin = ClosedFormTwin()
    twin.truth = {
        "orientation": ORIENTATION,
        "frequency": FREQUENCY,
        "center": CENTER,
        "filters": twin.filters.numpy().reshape(5, 2, 20, 24),
    }
    return twin


@pytest.fixture(scope="session")
def rival():
    """The same neurons under another identity, as if trained independently."""
    return ClosedFormTwin(seed=1)
