import json
import shutil
import warnings

import numpy as np
import pytest
import xarray as xr

from twinlab import recordings
from twinlab.jobs import Job
from twinlab.schema import InputError, fingerprint, make_recording


@pytest.fixture
def opened(layout):
    layout.save("data/responses/4", np.zeros(5))  # withheld: NaN must survive the store too
    return recordings.open_recording(layout.root)


def assert_same(one, other):
    xr.testing.assert_identical(one, other)
    assert {name: v.dtype for name, v in one.variables.items()} == {
        name: v.dtype for name, v in other.variables.items()
    }


def faults_of(source):
    return [str(it) for it in recordings.check_recording(source) if it.severity != "note"]


def test_a_stored_recording_reads_back_identical(opened, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = recordings.save_recording(opened, tmp_path / "new" / "it.zarr")
        assert_same(opened, recordings.open_recording(path))
    assert recordings.check_recording(path) == recordings.check_recording(opened)


def test_further_variables_and_zero_pixels_are_kept(opened, tmp_path):
    filters = np.random.default_rng(0).normal(size=(5, 1, 4, 6)).astype(np.float32)
    opened["true_filter"] = ("neuron", "channel", "y", "x"), filters, {"units": "1"}
    opened["stimulus"][0] = 0
    opened.attrs["fingerprint"] = fingerprint(opened)
    path = recordings.save_recording(opened, tmp_path / "it.zarr")
    assert_same(opened, recordings.open_recording(path))


def test_a_float_stimulus_is_kept(tmp_path):
    recording = make_recording(
        stimulus=np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 1, 2, 3),
        response=np.ones((2, 1)),
        trial={"stimulus_index": [0, 1], "image_id": ["a", "bb"], "split": ["train", "test"]},
        neuron={"neuron_id": [1], "session": ["s"]},
        recording_id="r",
    )
    path = recordings.save_recording(recording, tmp_path / "it.zarr")
    assert_same(recording, recordings.open_recording(path))


def test_a_store_is_saved_again_from_what_was_read(opened, tmp_path):
    first = recordings.save_recording(opened, tmp_path / "first.zarr")
    again = recordings.open_recording(first)
    assert_same(again, recordings.open_recording(recordings.save_recording(again, first)))


def test_a_selection_is_stored_under_its_own_fingerprint(opened, tmp_path):
    few = opened.isel(neuron=[0, 2])
    path = recordings.save_recording(few, tmp_path / "few.zarr")
    stored = recordings.open_recording(path)
    assert stored.attrs["fingerprint"] != opened.attrs["fingerprint"]
    np.testing.assert_array_equal(stored.response, few.response)
    assert few.attrs["fingerprint"] == opened.attrs["fingerprint"]  # the input is not changed


def test_a_conversion_reports_and_opens_as_the_source_does(layout, tmp_path):
    heard = []
    path = recordings.convert_recording(
        layout.root, tmp_path / "it.zarr", Job(lambda job: heard.append(job.message), interval=0)
    )
    assert_same(recordings.open_recording(layout.root), recordings.open_recording(path))
    assert heard[-1] == "writing"


def test_nothing_else_is_overwritten_by_a_store(opened, tmp_path):
    (tmp_path / "letters").mkdir()
    with pytest.raises(InputError, match="exists and is not a Zarr store"):
        recordings.save_recording(opened, tmp_path / "letters")
    assert (tmp_path / "letters").is_dir()


def test_a_failed_write_leaves_the_old_store_whole(opened, tmp_path, monkeypatch):
    path = recordings.save_recording(opened, tmp_path / "it.zarr")

    def fail(*args, **kwargs):
        msg = "disk full"
        raise OSError(msg)

    monkeypatch.setattr(xr.Dataset, "to_zarr", fail)
    with pytest.raises(OSError, match="disk full"):
        recordings.save_recording(opened, path)
    assert_same(opened, recordings.open_recording(path))
    assert not list(tmp_path.glob(".it.zarr*"))


def test_what_is_no_recording_is_not_stored(opened, tmp_path):
    with pytest.raises(InputError, match="variable `response` is missing"):
        recordings.save_recording(opened.drop_vars("response"), tmp_path / "it.zarr")


def edit_attributes(path, **changes):
    for name in (".zattrs", ".zmetadata"):
        content = json.loads((path / name).read_text())
        (content["metadata"][".zattrs"] if name == ".zmetadata" else content).update(changes)
        (path / name).write_text(json.dumps(content))


def refusal(path):
    (fault,) = faults_of(path)
    with pytest.raises(InputError) as caught:
        recordings.open_recording(path)
    assert str(caught.value) == fault
    return fault


def test_a_store_of_a_newer_version_is_refused(opened, tmp_path):
    path = recordings.save_recording(opened, tmp_path / "it.zarr")
    edit_attributes(path, schema_version="999")
    assert "schema version 999, but this twinlab reads 1" in refusal(path)


def test_a_store_whose_content_was_changed_is_refused(opened, tmp_path):
    path = recordings.save_recording(opened, tmp_path / "it.zarr")
    edit_attributes(path, fingerprint="0" * 16)
    assert "content does not match its fingerprint" in refusal(path)


def test_a_store_that_lost_a_chunk_is_refused(opened, tmp_path):
    path = recordings.save_recording(opened, tmp_path / "it.zarr")
    (path / "response" / "0.0").unlink()
    assert "content does not match its fingerprint" in refusal(path)


def test_a_store_with_a_damaged_chunk_is_refused(opened, tmp_path):
    path = recordings.save_recording(opened, tmp_path / "it.zarr")
    (path / "response" / "0.0").write_bytes(b"damaged")
    assert "cannot be read as a Zarr store" in refusal(path)


def test_a_store_without_a_variable_is_refused(opened, tmp_path):
    path = tmp_path / "it.zarr"
    opened.drop_encoding().drop_vars("response").to_zarr(path, zarr_format=2)
    assert "variable `response` is missing" in refusal(path)


def test_a_store_without_its_metadata_is_no_recording(opened, tmp_path):
    path = recordings.save_recording(opened, tmp_path / "it.zarr")
    for name in (".zgroup", ".zmetadata"):
        (path / name).unlink()
    shutil.rmtree(tmp_path / "static11-2-3-tiny")
    assert "holds no recording in a known layout" in refusal(path)
