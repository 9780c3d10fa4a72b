"""Gabors are fitted to what was drawn."""

import numpy as np
import pytest
import xarray as xr

from twinlab import insilico
from twinlab.schema import InputError
from twinlab.stimuli import gabor_patches

N = 12


@pytest.fixture(scope="module")
def planted():
    generator = np.random.default_rng(0)
    return {
        "center_x": generator.uniform(14, 26, N),
        "center_y": generator.uniform(10, 18, N),
        "orientation": generator.uniform(0, 180, N),
        "spatial_frequency": generator.uniform(0.07, 0.18, N),
        "phase": generator.uniform(0, 360, N),
        "size": generator.uniform(2.5, 4.0, N),
        "elongation": generator.uniform(0.8, 1.6, N),
    }


def fields(planted, noise):
    drawn = gabor_patches(
        *list(planted.values())[:6], height=28, width=40, elongation=planted["elongation"]
    )
    drawn = drawn + noise * np.random.default_rng(1).standard_normal(drawn.shape) * drawn.std()
    return xr.DataArray(-3.0 * drawn[:, None], dims=("neuron", "channel", "y", "x"))


@pytest.mark.parametrize(("noise", "close"), [(0.0, 1.0), (0.5, 4.0)])
def test_every_parameter_is_recovered(planted, noise, close):
    found = insilico.fit_gabor(fields(planted, noise))
    tolerance = {
        "center_x": 0.1, "center_y": 0.1, "spatial_frequency": 0.002, "size": 0.2,
        "elongation": 0.1,
    }  # fmt: skip
    for name, most in tolerance.items():
        assert np.abs(found[name] - planted[name]).max() < close * most, name
    turned = (found.orientation - planted["orientation"] + 90) % 180 - 90
    assert np.abs(turned).max() < close * 1.0
    if not noise:
        assert (found.r_squared > 0.999).all()


def test_phase_counts_the_sign(planted):
    found = insilico.fit_gabor(fields(planted, 0.0))
    # the same orientation, not its double: the planted one is upside down
    same = np.abs(found.orientation - planted["orientation"]) < 90
    off = (found.phase - planted["phase"] - 180 + 180) % 360 - 180
    mirrored = (found.phase + planted["phase"] - 180 + 180) % 360 - 180
    assert (np.abs(np.where(same, off, mirrored)) < 4).all()


def test_a_flat_field_has_no_gabor(planted):
    shown = fields(planted, 0.0)
    shown[0], shown[1] = 0.0, np.nan
    found = insilico.fit_gabor(shown)
    assert np.isnan(found.orientation[:2]).all()
    assert np.isfinite(found.orientation[2:]).all()


def test_other_dimensions_are_refused(planted):
    with pytest.raises(InputError, match="neuron, channel, y, x"):
        insilico.fit_gabor(fields(planted, 0.0)[0])
