"""What a recording and a result must be, and what is said when they are not."""

import json

import numpy as np
import pytest
import xarray as xr

from twinlab import schema


def tiny_recording(**changes):
    parts = {
        "stimulus": np.arange(2 * 12, dtype=np.uint8).reshape(2, 1, 3, 4),
        "response": np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]]),
        "trial": {
            "stimulus_index": [0, 1, 1],
            "image_id": [7, 8, 8],
            "split": ["train", "validation", "test"],
        },
        "neuron": {"neuron_id": [1, 2], "session": ["a", "a"]},
        "recording_id": "tiny",
    }
    return schema.make_recording(**(parts | changes))


def test_a_recording_keeps_its_pixels_and_its_gaps():
    recording = tiny_recording()
    assert recording.stimulus.dtype == np.uint8
    assert recording.response.dtype == np.float32
    assert np.isnan(recording.response.values[1, 1])


def test_the_fingerprint_follows_the_content_alone():
    first, second = tiny_recording(), tiny_recording(recording_id="renamed")
    assert first.attrs["fingerprint"] == second.attrs["fingerprint"]
    changed = tiny_recording(response=np.ones((3, 2)))
    assert changed.attrs["fingerprint"] != first.attrs["fingerprint"]


def test_all_faults_are_named_at_once():
    with pytest.raises(
        schema.InputError, match=r"infinite at .*\(1, 0\).*unknown split.*2 images"
    ):
        tiny_recording(
            response=np.array([[1, 2], [np.inf, 1], [1, 1]]),
            trial={
                "stimulus_index": [0, 1, 5],
                "image_id": [7, 8, 8],
                "split": ["train", "oracle", "test"],
            },
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"response": np.zeros((3, 0)), "neuron": {"neuron_id": [], "session": []}},
            "no neurons",
        ),
        ({"neuron": {"neuron_id": [1, 1], "session": ["a", "a"]}}, "not unique"),
        ({"neuron": {"neuron_id": [1, 2]}}, "`session` along `neuron` is missing"),
    ],
)
def test_each_fault_is_named(changes, words):
    with pytest.raises(schema.InputError, match=words):
        tiny_recording(**changes)


def test_a_result_is_read_back_identical(tmp_path):
    result = schema.make_result(
        xr.Dataset(
            {"osi": ("neuron", [0.5, np.nan], {"long_name": "selectivity", "units": "1"})},
            {"neuron_id": ("neuron", ["a", "b"])},
        ),
        experiment="tuning",
        seed=3,
        settings={"n": 2, "window": None, "ok": True},
    )
    path = schema.save_result(result, tmp_path / "result.nc")
    xr.testing.assert_identical(schema.open_result(path), result)
    assert json.loads(result.attrs["settings"]) == {"n": 2, "window": None, "ok": True}


def test_a_result_without_labels_is_refused():
    with pytest.raises(ValueError, match=r"missing on \['osi'\]"):
        schema.make_result(xr.Dataset({"osi": ("neuron", [1.0])}), experiment="tuning")


def test_opening_says_what_is_wrong_with_a_file(tmp_path):
    with pytest.raises(schema.InputError, match="no such file"):
        schema.open_result(tmp_path / "absent.nc")
    (tmp_path / "text.nc").write_text("not NetCDF")
    with pytest.raises(schema.InputError, match="cannot be read as NetCDF"):
        schema.open_result(tmp_path / "text.nc")
    xr.Dataset({"a": 1.0}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(schema.InputError, match="no `experiment`"):
        schema.open_result(tmp_path / "other.nc")
