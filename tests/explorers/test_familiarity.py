import numpy as np
import pytest
import xarray as xr

from twinlab import stimuli
from twinlab.explorers import (
    average_repeats,
    image_statistics,
    training_range,
    unfamiliar_features,
)
from twinlab.explorers.matching import positions_in


def test_octaves_share_out_the_contrast():
    images = np.random.default_rng(0).normal(100, 20, (3, 1, 36, 64))
    found = image_statistics(images)
    total = np.sqrt((found.octave_contrast**2).sum("octave"))
    np.testing.assert_allclose(total, found.contrast, rtol=1e-4)
    np.testing.assert_allclose(found["mean"], images.mean((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize(("frequency", "octave"), [(0.05, 1), (0.1, 2), (0.2, 3), (0.3, 4)])
def test_a_grating_has_its_contrast_in_its_own_octave(frequency, octave):
    grating = stimuli.make_gratings(0, frequency, height=40, width=40, mean=100, contrast=0.5)
    found = image_statistics(grating.values)
    assert float(found.contrast[0]) == pytest.approx(50 / np.sqrt(2), rel=0.02)
    assert found.octave_contrast.values[0].argmax() == octave


def test_the_range_is_taken_over_training_images_alone(recording):
    shown = np.unique(recording.stimulus_index.values[recording.split.values == "train"])
    contrast = image_statistics(recording.stimulus.values[shown]).contrast.values
    found = training_range(recording)
    np.testing.assert_allclose(found.contrast, np.percentile(contrast, [1, 99]), rtol=1e-6)


def test_each_way_of_being_strange_is_named(recording):
    training = training_range(recording)
    shape = recording.stimulus.shape[1:]
    (blank,) = unfamiliar_features(np.full(shape, 110.0), training)
    assert blank.startswith("contrast 0 (trained on")
    bright = unfamiliar_features(np.full(shape, 255.0), training)
    assert bright[0].startswith("mean 255")
    grating = stimuli.make_gratings(0, 0.3, height=shape[1], width=shape[2], mean=110)
    assert any(
        "at 0.25 to 1 cycles/px" in fault
        for fault in unfamiliar_features(grating.values[0], training)
    )


def test_repeats_are_averaged_per_image_and_missing_ones_left_out():
    coords = {"stimulus_index": ("trial", [4, 9, 4, 9, 4])}
    response = xr.DataArray(
        [[1.0, 1.0], [5.0, np.nan], [3.0, 1.0], [7.0, np.nan], [2.0, np.nan]],
        dims=("trial", "neuron"),
        coords=coords,
        attrs={"units": "spikes"},
    )
    prediction = response.copy(data=[[1.0, 0.0], [2.0, 0.0], [2.0, 1.0], [4.0, 0.0], [3.0, 9.0]])
    found = average_repeats(response, prediction)
    np.testing.assert_array_equal(found.stimulus_index, [4, 9])
    np.testing.assert_allclose(found.response, [[2.0, 1.0], [6.0, np.nan]])
    np.testing.assert_allclose(found.prediction, [[2.0, 0.5], [3.0, np.nan]])
    np.testing.assert_allclose(found.standard_error, [[1 / np.sqrt(3), 0.0], [1.0, np.nan]])
    np.testing.assert_array_equal(found.n_repeat, [[3, 2], [2, 0]])
    assert found.response.attrs["units"] == "spikes"


def test_neurons_are_matched_by_session_and_id():
    def labels(*names):
        sessions, ids = zip(*names, strict=True)
        return xr.Dataset(
            coords={"session": ("neuron", list(sessions)), "neuron_id": ("neuron", list(ids))}
        )

    known = labels(("a", 1), ("a", 2), ("b", 1))
    asked = labels(("b", 1), ("a", 1), ("b", 2))
    assert positions_in(known, asked).tolist() == [2, 0, -1]
