"""Every layout: write a sample -> read -> store -> read, and what the sample holds arrives."""

import numpy as np
import pytest
import xarray as xr
from layout_samples import SAMPLES

from twinlab import recordings
from twinlab.recordings.layouts import LAYOUTS


def test_every_layout_has_a_sample():
    assert set(SAMPLES) == set(LAYOUTS)


@pytest.fixture(params=SAMPLES)
def sample(request, tmp_path):
    folder = tmp_path / "sample"
    folder.mkdir()
    return SAMPLES[request.param](folder)


def test_what_was_written_is_read(sample):
    opened = recordings.open_recording(sample.path)
    for name, expected in sample.truth.items():
        found = opened[name].values
        expected = np.asarray(expected)
        if found.dtype == np.float32:
            expected = expected.astype(np.float32)
        np.testing.assert_array_equal(found, expected[_told(expected, found)], err_msg=name)
    assert opened.attrs["species"] in ("mouse", "macaque")
    assert opened.response.attrs["units"] != "a.u."
    assert opened.area.values[0][0] == "V"


def _told(expected, found):
    """Rows of what was written: those that are NaN throughout make no trial."""
    if expected.dtype.kind == "f" and expected.ndim == 2 and len(expected) > len(found):
        return ~np.isnan(expected).all(axis=1)
    return slice(None)


def test_the_layout_is_told_from_all_others(sample, request):
    told = [name for name, layout in LAYOUTS.items() if layout.recognise(sample.path)]
    assert told == [request.node.callspec.params["sample"]]


def test_what_is_stored_reads_back_identical(sample, tmp_path):
    opened = recordings.open_recording(sample.path)
    stored = recordings.save_recording(opened, tmp_path / "it.zarr")
    xr.testing.assert_identical(opened, recordings.open_recording(stored))


def test_no_image_is_in_two_splits(sample):
    opened = recordings.open_recording(sample.path)
    splits = {}
    for image, split in zip(opened.stimulus_index.values, opened.split.values, strict=True):
        splits.setdefault(int(image), set()).add(str(split))
    assert all(len(parts) == 1 for parts in splits.values())
    assert len(np.unique(opened.stimulus.values, axis=0)) == len(opened.stimulus)


def test_a_sample_is_whole(sample):
    found = recordings.check_recording(sample.path)
    assert [it for it in found if it.severity == "error"] == []  # tiny ones have warnings
