"""The benchmark of the classical family in small: on its own data each kind wins."""

import numpy as np
import pytest
from bench_classical import FITS, measure

from twinlab import fitting


@pytest.mark.slow
@pytest.mark.parametrize("kind", fitting.CLASSICAL)
def test_the_kind_that_made_the_data_wins_on_it(kind):
    fits = {name: fit for name, fit in FITS.items() if name != "deep"}
    found, _ = measure(kind, n_neuron=5, n_image=1500, size=16, fits=fits)
    assert found[kind].mean() > 0.75
    for name in set(fits) - {kind}:
        lead = found[kind] - found[name]
        error = lead.std(ddof=1) / np.sqrt(len(lead))
        assert lead.mean() > -2 * error, f"{name} wins by {-lead.mean():.3f} +- {error:.3f}"
    if kind != "linear_nonlinear":  # what no linear filter can do is in the data
        assert (found[kind] - found["linear_nonlinear"]).mean() > 0.1
