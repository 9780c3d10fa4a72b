"""The reader on a real recording, against the facts its own README states."""

import time

import numpy as np
import pytest

from twinlab import recordings

SCAN = "lurz2020-mouse-v1/static20457-5-9-preproc0.zip"
SAMPLE = "lurz2020-mouse-v1/layout_sample/static20457-5-9-preproc0.zip"


def faults_of(source):
    return [str(it) for it in recordings.check_recording(source) if it.severity != "note"]


def test_the_layout_sample_is_whole(shared_data):
    assert faults_of(shared_data / SAMPLE) == []
    sample = recordings.open_recording(shared_data / SAMPLE)
    assert dict(sample.sizes) == {
        "image": 54,
        "channel": 1,
        "y": 36,
        "x": 64,
        "trial": 90,
        "neuron": 50,
        "behavior_channel": 3,
        "axis": 2,
    }
    assert set(sample.session.values) == {"20457-5-9"}
    assert sample.attrs["license"].startswith("CC BY-NC-ND 4.0")


def explainable_fraction(scan):
    """(total - mean variance within an image) / total over the test trials, per neuron."""
    test = scan.response[scan.split.values == "test"]
    within = test.groupby("image_id").var("trial", ddof=1).mean("image_id")
    total = test.var("trial", ddof=1)
    return (total - within) / total


def test_the_real_scan_is_what_its_readme_says(shared_data):
    began = time.perf_counter()
    scan = recordings.open_recording(shared_data / SCAN)
    assert time.perf_counter() - began < 30  # about 4 s on two cores; slow machines are many
    assert scan.sizes["neuron"] == 1000
    splits, counts = np.unique(scan.split, return_counts=True)
    assert dict(zip(splits, counts, strict=True)) == {
        "test": 999,
        "train": 4472,
        "validation": 522,
    }
    repeats = np.unique(scan.image_id[scan.split.values == "test"], return_counts=True)[1]
    assert np.bincount(repeats).nonzero()[0].tolist() == [9, 10]
    assert (repeats == 10).sum() == 99
    assert scan.sizes["image"] == 4472 + 522 + 100
    assert scan.stimulus.dtype == np.uint8
    assert not scan.response.isnull().any()
    assert "withheld" not in scan.attrs
    assert set(scan.area.values) == {"V1"}
    test = scan.response[scan.split.values == "test"]
    assert float(test.mean()) == pytest.approx(1.31, abs=0.005)
    fraction = explainable_fraction(scan)
    assert float(fraction.mean()) == pytest.approx(0.219, abs=0.002)
    assert float((fraction > 0.15).mean()) == pytest.approx(0.69, abs=0.01)
