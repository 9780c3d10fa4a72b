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


def explainable_of_images(recording):
    """As `explainable_fraction`, over all trials; NaN padding is passed over."""
    response = recording.response.astype(np.float64)
    within = response.groupby("stimulus_index").var("trial", ddof=1).mean("stimulus_index")
    total = response.var("trial", ddof=1)
    return (total - within) / total


@pytest.mark.parametrize(
    ("region", "shape", "mean", "fraction", "median"),
    [
        ("region1", (10, 50, 103), 0.616, 0.241, 0.219),
        ("region2", (8, 50, 55), 0.537, 0.182, 0.166),
    ],
)
def test_antolik_is_what_its_readme_says(shared_data, region, shape, mean, fraction, median):
    folder = shared_data / "antolik2016-mouse-v1-repeats"
    opened = recordings.open_recording(folder, session=region)
    assert (opened.sizes["trial"], opened.sizes["neuron"]) == (shape[0] * 50, shape[2])
    raw = np.load(folder / region / "raw_validation_set.npy")
    np.testing.assert_array_equal(opened.response, raw.reshape(-1, shape[2]).astype(np.float32))
    assert opened.stimulus.dtype == np.uint8
    assert (opened.stimulus.min(), opened.stimulus.max()) == (0, 255)
    assert set(opened.split.values) == {"test"}
    assert float(opened.response.mean()) == pytest.approx(mean, abs=0.0006)
    assert float(explainable_of_images(opened).mean()) == pytest.approx(fraction, abs=0.002)
    assert float(explainable_of_images(opened).median()) == pytest.approx(median, abs=0.002)


def test_cowley_is_what_its_readme_says(shared_data):
    folder = shared_data / "cowley2023-macaque-v4"
    opened = recordings.open_recording(folder, session="210325")
    assert (opened.sizes["neuron"], opened.sizes["image"]) == (50, 640)
    repeats = np.bincount(opened.stimulus_index)
    assert (repeats.min(), repeats.max()) == (6, 10)
    mean = opened.response.astype(np.float64).groupby("stimulus_index").mean("trial")
    published = np.load(folder / "responses_repeat_averaged/responses_210325.npy")
    np.testing.assert_allclose(mean.transpose("neuron", ...), published, atol=1e-5)
    assert float(published.mean()) == pytest.approx(2.37, abs=0.005)
    fraction = explainable_of_images(opened)
    assert float(fraction.mean()) == pytest.approx(0.314, abs=0.005)
    assert float(fraction.median()) == pytest.approx(0.302, abs=0.005)


@pytest.mark.parametrize(
    ("session", "n_neuron", "n_image"), [("201025", 89, 1200), ("210225", 55, 1200)]
)
def test_cowley_averages_are_read_with_their_images(shared_data, session, n_neuron, n_image):
    opened = recordings.open_recording(shared_data / "cowley2023-macaque-v4", session=session)
    assert (opened.sizes["neuron"], opened.sizes["image"]) == (n_neuron, n_image)
    assert opened.sizes["trial"] == n_image
    assert opened.stimulus.shape[1:] == (3, 112, 112)
    assert opened.response.attrs["units"] == "mean spike count in 100 ms over repeats"


def test_two_cowley_sessions_share_600_images(shared_data):
    folder = shared_data / "cowley2023-macaque-v4"
    sessions = [recordings.open_recording(folder, session=it) for it in ("210322", "210325")]
    one, other = ({image.tobytes() for image in it.stimulus.values} for it in sessions)
    assert len(one & other) == 600
    assert "600 images are also in session 210325" in sessions[0].attrs["shared_images"]
