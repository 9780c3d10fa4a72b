"""Every layout: write a sample -> read -> store -> read, and what the sample holds arrives."""

import numpy as np
import pytest
import xarray as xr
from layout_samples import SAMPLES
from timed_samples import TIMED_SAMPLES

from twinlab import recordings
from twinlab.recordings.layouts import LAYOUTS


def test_every_layout_has_a_sample():
    assert set(SAMPLES) == set(LAYOUTS)


@pytest.fixture(params=SAMPLES)
def sample(request, tmp_path):
    folder = tmp_path / "sample"
    folder.mkdir()
    return SAMPLES[request.param](folder)


def layout_of(request):
    return request.node.callspec.params["sample"]


def test_what_was_written_is_read(sample, request):
    averaged = layout_of(request) in TIMED_SAMPLES  # traces over windows, in float32
    opened = recordings.open_recording(sample.path)
    for name, expected in sample.truth.items():
        found = opened[name].values
        expected = np.asarray(expected)
        if found.dtype == np.float32:
            expected = expected.astype(np.float32)
        told = expected[_told(expected, found)]
        if averaged and name == "response":
            np.testing.assert_allclose(found, told, rtol=2e-6, atol=2e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(found, told, err_msg=name)
    assert opened.response.attrs["units"] != "a.u."


def test_a_layout_says_whose_cortex_it_is(sample, request):
    opened = recordings.open_recording(sample.path)
    if layout_of(request) == "experanto":  # its folders do not say, and nobody guesses
        assert opened.attrs.get("species", "unknown") == "unknown"
        assert "area" not in opened.coords
        return
    assert opened.attrs["species"] in ("mouse", "macaque")
    assert opened.area.values[0][0] == "V"


def _told(expected, found):
    """Rows of what was written: those that are NaN throughout make no trial."""
    if expected.dtype.kind == "f" and expected.ndim == 2 and len(expected) > len(found):
        return ~np.isnan(expected).all(axis=1)
    return slice(None)


def test_the_layout_is_told_from_all_others(sample, request):
    told = [name for name, layout in LAYOUTS.items() if layout.recognise(sample.path)]
    assert told == [layout_of(request)]


def test_what_is_stored_reads_back_identical(sample, tmp_path):
    opened = recordings.open_recording(sample.path)
    stored = recordings.save_recording(opened, tmp_path / "it.zarr")
    xr.testing.assert_identical(opened, recordings.open_recording(stored))


def test_no_image_is_in_two_splits_unless_the_source_has_it_there_and_it_is_said(sample, request):
    opened = recordings.open_recording(sample.path)
    splits = {}
    for image, split in zip(opened.stimulus_index.values, opened.split.values, strict=True):
        splits.setdefault(int(image), set()).add(str(split))
    leaks = any(len(parts) > 1 for parts in splits.values())
    assert not leaks or layout_of(request) in TIMED_SAMPLES  # the others' splits are drawn here
    said = [str(it) for it in recordings.check_recording(sample.path)]
    assert leaks == any("scores would be too good" in line for line in said)
    assert len(np.unique(opened.stimulus.values, axis=0)) == len(opened.stimulus)


def test_a_sample_is_whole(sample):
    found = recordings.check_recording(sample.path)
    assert [it for it in found if it.severity == "error"] == []  # tiny ones have warnings
