"""Comparison of what was found with what was planted."""

import numpy as np
import pytest
import xarray as xr

from twinlab.schema import InputError
from twinlab.simulation import compare_mei, compare_tuning


def test_orientations_are_compared_around_the_circle():
    found = xr.Dataset(
        {"preferred_orientation": ("neuron", [179.0, 10.0, 100.0, np.nan])},
        {"true_orientation": ("neuron", [1.0, 5.0, 10.0, 0.0])},
    )
    np.testing.assert_allclose(compare_tuning(found), [2.0, 5.0, 90.0, np.nan], atol=1e-9)


def test_images_are_compared_with_the_filter_of_the_same_neuron(recording):
    order = [5, 2, 9]
    chosen = recording.isel(neuron=order)
    images = 110 + 40 * chosen.true_filter.values
    images[1] = 110 - 40 * chosen.true_filter.values[1]
    images[2] = 110
    mei = xr.Dataset(
        {"mei": (("neuron", "channel", "y", "x"), images), "activation": ("neuron", np.ones(3))},
        {
            "neuron_id": ("neuron", chosen.neuron_id.values),
            "session": ("neuron", chosen.session.values),
        },
    )
    elsewhere = mei.assign_coords(session=("neuron", ["simulated-9"] * 3))
    with pytest.raises(InputError, match="lacks 3 of the MEIs' neurons"):
        compare_mei(elsewhere, recording)
    np.testing.assert_allclose(compare_mei(mei, recording), [1.0, -1.0, np.nan], atol=1e-6)


def test_real_recordings_have_no_truth_to_compare_with(recording):
    with pytest.raises(InputError, match="only what comes from a simulated recording"):
        compare_tuning(xr.Dataset({"preferred_orientation": ("neuron", [1.0])}))
    with pytest.raises(InputError, match="only what comes from a simulated recording"):
        compare_mei(xr.Dataset(), recording.drop_vars("true_filter"))
