"""Parts of a recording for the eye: each response in its place, each number from its trials."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from twinlab import recordings
from twinlab.schema import InputError, make_recording


@pytest.fixture
def small():
    """12 trials of 5 neurons, stored in another order than they were shown in."""
    rng = np.random.default_rng(0)
    response = rng.gamma(2.0, 1.0, (12, 5)).astype(np.float32)
    response[3, 1] = np.nan
    response[:, 4] = 2.0
    shown = np.array([0, 1, 2, 3, 4, 5, 5, 6, 5, 6, 6, 6])
    return make_recording(
        stimulus=rng.integers(0, 255, (7, 1, 4, 6), dtype=np.uint8),
        response=response,
        trial={
            "stimulus_index": shown,
            "image_id": shown + 100,
            "split": ["train"] * 4 + ["validation"] + ["test"] * 7,
            "presentation_order": np.array([7, 3, 11, 0, 5, 1, 9, 2, 4, 10, 8, 6]),
        },
        neuron={"neuron_id": np.arange(5) + 40, "session": ["s"] * 5},
        response_units="events",
        recording_id="small",
    )


def test_a_raster_holds_each_response_in_its_own_units_and_order(small):
    found = recordings.sample_raster(small, [3, 1])
    np.testing.assert_array_equal(found.trial, [3, 5, 7, 1, 8, 4, 11, 0, 10, 6, 9, 2])
    np.testing.assert_array_equal(small.presentation_order.values[found.trial], np.arange(12))
    np.testing.assert_array_equal(found.stimulus_index, small.stimulus_index.values[found.trial])
    for row, neuron in enumerate((3, 1)):
        values = small.response.values[found.trial.values, neuron].astype(float)
        np.testing.assert_allclose(found.raster[row], values / np.nanstd(values), rtol=1e-6)
    assert np.isnan(found.raster[1, 0])  # the missing response, shown first
    assert (found.attrs["n_neuron"], found.attrs["n_trial"]) == (2, 12)


def test_a_neuron_that_never_changes_is_undefined_in_the_raster(small):
    found = recordings.sample_raster(small)
    assert np.isnan(found.raster[4]).all()
    assert np.isfinite(found.raster[:4]).sum() == 4 * 12 - 1


def test_repeats_stand_side_by_side_the_most_shown_first(small):
    found = recordings.sample_raster(small, split="test", order="stimulus", most_trials=5)
    np.testing.assert_array_equal(found.stimulus_index, [6, 6, 6, 6, 5])
    np.testing.assert_array_equal(found.trial, [7, 11, 10, 9, 5])  # within it, as presented
    assert found.attrs["n_trial"] == 7
    assert "repeats of one image" in found.raster_column.attrs["long_name"]


def test_of_many_some_evenly_spaced_are_taken_with_the_ends(small):
    found = recordings.sample_raster(small, most_neurons=3, most_trials=4)
    np.testing.assert_array_equal(found.neuron, [0, 2, 4])
    order = small.presentation_order.values[found.trial.values]
    np.testing.assert_array_equal(order, [0, 4, 7, 11])
    assert (found.attrs["n_neuron"], found.attrs["n_trial"]) == (5, 12)


def test_of_a_recording_on_disk_the_same_is_read(small):
    lazy = small.assign(response=small.response.copy(data=da.from_array(small.response.values)))
    xr.testing.assert_identical(
        recordings.sample_raster(lazy, [1, 3]), recordings.sample_raster(small, [1, 3])
    )
    xr.testing.assert_identical(
        recordings.summarise_repeats(lazy, 5, 2), recordings.summarise_repeats(small, 5, 2)
    )


def test_repeats_of_an_image_are_found_among_all_trials(small):
    found = recordings.summarise_repeats(small, 5, 2)
    trials = [5, 8, 6]  # in the order of presentation
    np.testing.assert_allclose(found.response[found.shown.values == 1],
                               small.response.values[trials, 2])  # fmt: skip
    values = small.response.values[trials, 2].astype(float)
    assert float(found.mean_response) == pytest.approx(values.mean())
    assert float(found.standard_error) == pytest.approx(values.std(ddof=1) / np.sqrt(3))
    assert int(found.n_repeat) == 3
    assert found.response.attrs["units"] == "events"


def test_what_one_presentation_or_none_cannot_tell_is_undefined(small):
    once = recordings.summarise_repeats(small, 0, 0)
    assert float(once.mean_response) == pytest.approx(float(small.response[0, 0]))
    assert np.isnan(once.standard_error)
    missing = recordings.summarise_repeats(small, 3, 1)
    assert int(missing.n_repeat) == 0
    assert np.isnan(missing.mean_response)


def test_without_an_order_of_presentation_trials_stay_as_stored(small):
    bare = small.drop_vars("presentation_order")
    trials, words = recordings.trials_in_order(bare, split="train")
    np.testing.assert_array_equal(trials, [0, 1, 2, 3])
    assert "stored" in words
    assert not recordings.follow_session(bare, np.ones(12)).data_vars


def test_what_is_not_there_is_said(small):
    with pytest.raises(InputError, match=r"No trial is of split 'final'; .*'test', 'train'"):
        recordings.sample_raster(small, split="final")
    with pytest.raises(InputError, match="Neurons run from 0 to 4"):
        recordings.sample_raster(small, [5])
    with pytest.raises(InputError, match=r"`order` must be one of \['presentation', 'stimulus'\]"):
        recordings.trials_in_order(small, order="size")
    with pytest.raises(InputError, match="Images run from 0 to 6"):
        recordings.summarise_repeats(small, 7, 0)


def test_what_is_surveyed_of_responses_alone_is_what_is_surveyed_with_stimuli(small):
    alone, whole = recordings.survey_responses(small), recordings.survey_recording(small)
    for name in alone:
        xr.testing.assert_identical(alone[name], whole[name])
    np.testing.assert_allclose(alone.neuron_mean, np.nanmean(small.response.values, 0), rtol=1e-6)
