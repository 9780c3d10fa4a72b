"""Layouts with a time axis: what a sample holds arrives, is stored, and is read by blocks."""

import json
import re
import shutil

import dask.array as da
import h5py
import numpy as np
import pynwb
import pytest
import xarray as xr
import yaml
from pynwb.image import ImageSeries
from samples import save
from timed_samples import (
    RATE,
    TIMED_SAMPLES,
    add_traces,
    new_nwb,
    slow_traces,
    write,
    write_allen_nwb1,
    write_experanto,
    write_nwb2,
    write_nwb2_clips,
    write_nwb2_units,
    write_sensorium_dynamic,
)

from twinlab import recordings
from twinlab.jobs import Cancelled, Job
from twinlab.recordings import blocks
from twinlab.recordings.layouts import LAYOUTS
from twinlab.schema import InputError

WRITERS = {
    "sensorium-dynamic": ("sensorium-dynamic", write_sensorium_dynamic),
    "nwb1 images": ("allen-nwb1", write_allen_nwb1),
    "nwb1 movie": ("allen-nwb1", lambda f: write_allen_nwb1(f, "natural_movie_one")),
    "nwb2 images": ("nwb2", write_nwb2),
    "nwb2 movie": ("nwb2", lambda f: write_nwb2(f, "natural_movie_one")),
    "nwb2 units": ("nwb2", write_nwb2_units),
    "nwb2 clips": ("nwb2", write_nwb2_clips),
    "experanto videos": ("experanto", write_experanto),
    "experanto images": ("experanto", lambda f: write_experanto(f, "images")),
    "experanto shifted": ("experanto", lambda f: write_experanto(f, shift=True)),
}


@pytest.fixture(scope="module", params=WRITERS)
def written(request, tmp_path_factory):
    layout, write = WRITERS[request.param]
    return layout, write(tmp_path_factory.mktemp("sample"))


def read(layout, sample):
    session = sample.session or LAYOUTS[layout].list_sessions(sample.path)[0]
    return LAYOUTS[layout].read(sample.path, session, Job())


@pytest.mark.filterwarnings("ignore:.*scores would be too good")
def test_what_was_written_is_read_and_stored(written, tmp_path):
    _, sample = written
    opened = recordings.open_recording(sample.path, session=sample.session).load()
    for name, expected in sample.truth.items():
        found = opened[name].values
        if found.dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(found, expected, err_msg=name)
    assert opened.stimulus.dtype == np.uint8
    assert opened.attrs["recording_id"]
    path = recordings.save_recording(opened, tmp_path / "it.zarr")
    xr.testing.assert_identical(opened, recordings.open_recording(path))


def test_the_layout_is_told_from_all_others(written):
    layout, sample = written
    assert [name for name in LAYOUTS if LAYOUTS[name].recognise(sample.path)] == [layout]


def test_stimuli_and_responses_are_read_by_blocks_and_the_same(written, monkeypatch):
    layout, sample = written
    whole = read(layout, sample).parts
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)
    parts = read(layout, sample).parts
    for name in ("stimulus", "response"):
        assert isinstance(parts[name], da.Array)
        assert set(parts[name].chunks[0]) == {1}
        assert all(len(sizes) == 1 for sizes in parts[name].chunks[1:])
        np.testing.assert_array_equal(parts[name].compute(), whole[name].compute())


def test_a_file_that_is_gone_when_it_is_read_is_a_fault(written):
    layout, sample = written
    reading = read(layout, sample)
    assert not reading.faults
    away = sample.path.with_name("away")
    sample.path.rename(away)
    try:
        found = reading.parts["response"].compute()
    finally:
        away.rename(sample.path)
    assert re.search("no such file|cannot be read|No such file", reading.faults.lines()[0])
    assert np.isnan(found).all() or (found == 0).all()  # counts of no spikes


def test_videos_have_their_frame_rate(tmp_path):
    rates = {}
    for name in ("sensorium-dynamic", "nwb1 movie", "nwb2 movie", "nwb2 clips"):
        folder = tmp_path / name
        folder.mkdir()
        layout, write = WRITERS[name]
        rates[name] = read(layout, write(folder)).parts["frame_rate"]
    assert rates == pytest.approx(
        {"sensorium-dynamic": 30, "nwb1 movie": 15, "nwb2 movie": 20, "nwb2 clips": 20}
    )


def test_sessions_are_stimuli_and_further_traces(tmp_path):
    assert LAYOUTS["allen-nwb1"].list_sessions(write_allen_nwb1(tmp_path).path) == [
        "natural_movie_one",
        "natural_scenes",
    ]
    path = write_nwb2(tmp_path).path
    assert LAYOUTS["nwb2"].list_sessions(path) == [
        "natural_movie_one",
        "natural_scenes",
        "natural_movie_one:Corrected",
        "natural_scenes:Corrected",
    ]
    dff = recordings.open_recording(path, session="natural_scenes")
    corrected = recordings.open_recording(path, session="natural_scenes:Corrected")
    np.testing.assert_allclose(corrected.response, 2 * dff.response, rtol=1e-5)
    with pytest.raises(InputError, match="holds 4 sessions; name one with `session`"):
        recordings.open_recording(path)


def test_a_cancel_is_heard(written):
    layout, sample = written
    session = sample.session or LAYOUTS[layout].list_sessions(sample.path)[0]
    job = Job()
    job.cancel()
    with pytest.raises(Cancelled):
        LAYOUTS[layout].read(sample.path, session, job)


def test_colour_pixels_have_channels(tmp_path):
    sample = write_allen_nwb1(tmp_path)
    name = "stimulus/templates/natural_scenes_image_stack/data"
    with h5py.File(sample.path, "a") as file:
        grey = file[name][()]
        del file[name]
        file[name] = np.stack([grey, 255 - grey], axis=-1).astype(np.uint8)
    opened = recordings.open_recording(sample.path, session="natural_scenes")
    assert opened.sizes["channel"] == 2
    np.testing.assert_array_equal(opened.stimulus[:, 1], 255 - opened.stimulus[:, 0])


def test_an_experiment_with_a_manifest_has_its_terms(tmp_path):
    sample = write_allen_nwb1(tmp_path)
    with h5py.File(sample.path, "a") as file:
        del file["general/session_id"]
        file["general/session_id"] = "501271265"
    opened = recordings.open_recording(sample.path, session="natural_scenes")
    assert opened.attrs["source"] == "10.1038/s41593-019-0550-9"
    assert opened.attrs["license"].startswith("Allen Institute terms of use")
    assert opened.attrs["recording_id"] == "501271265-natural_scenes"


def test_grey_levels_that_are_not_whole_stay_float(tmp_path):
    sample = write_allen_nwb1(tmp_path)
    with h5py.File(sample.path, "a") as file:
        file["stimulus/templates/natural_scenes_image_stack/data"][2, 0, 0] = 0.5
    opened = recordings.open_recording(sample.path, session="natural_scenes")
    assert opened.stimulus.dtype == np.float32
    assert opened.stimulus.values[1, 0, 0, 0] == 0.5


def test_rows_of_a_table_may_refer_to_stretches_of_a_series(tmp_path):
    rng = np.random.default_rng(8)
    file = new_nwb()
    times = np.arange(300) / RATE
    add_traces(file, {"Deconvolved": slow_traces(times, 2)}, times)
    pixels = rng.integers(0, 256, (40, 3, 4)).astype(np.uint8)
    series = ImageSeries(name="s", data=pixels, unit="n.a.", starting_time=1.0, rate=10.0)
    file.add_stimulus(series)
    table = pynwb.epoch.TimeIntervals(name="movies", description="shown")
    for first in (0, 20, 10):
        table.add_interval(
            start_time=1 + first / 10,
            stop_time=1 + (first + 5) / 10,
            timeseries=[series],
        )
    file.add_time_intervals(table)
    write(file, tmp_path / "it.nwb")
    opened = recordings.open_recording(tmp_path / "it.nwb").load()
    assert opened.attrs["frame_rate"] == pytest.approx(10)
    for trial, first in enumerate((0, 10, 20)):  # in the order of time
        shown = opened.stimulus.values[opened.stimulus_index.values[trial], 0]
        np.testing.assert_array_equal(shown, pixels[first : first + 5])
        middle = 1 + (first + np.arange(5)) / 10 + 0.05
        np.testing.assert_allclose(
            opened.response.values[trial], slow_traces(middle + 0.1, 2).T, rtol=1e-5
        )


def test_a_dynamic_zip_is_the_same_as_its_folder(tmp_path, pack):
    root = write_sensorium_dynamic(tmp_path).path
    readings = [
        LAYOUTS["sensorium-dynamic"].read(path, "11-2-3", Job())
        for path in (root, pack(root, f"{root.name}/"))
    ]
    for name in ("stimulus", "response"):
        one, other = (reading.parts[name].compute() for reading in readings)
        np.testing.assert_array_equal(one, other)


def test_videos_shown_in_two_tiers_are_told_by_their_pixels(tmp_path):
    root = write_sensorium_dynamic(tmp_path).path
    save(root / "data/videos/5.npy", np.load(root / "data/videos/2.npy"))  # a test trial
    reading = LAYOUTS["sensorium-dynamic"].read(root, "11-2-3", Job())
    assert reading.cautions.lines() == [
        "videos: trial 2: shown in test and in train, so scores would be too good"
    ]
    assert reading.parts["stimulus"].shape[0] == 4


def test_withheld_responses_are_missing_however_they_are_withheld(tmp_path):
    root = write_sensorium_dynamic(tmp_path).path
    for withhold in (
        lambda: None,  # zeros to the end of the trial
        lambda: save(root / "data/responses/5.npy", np.full((5, 10), np.nan)),
        lambda: (root / "data/responses/5.npy").unlink(),
    ):
        withhold()
        reading = LAYOUTS["sensorium-dynamic"].read(root, "11-2-3", Job())
        response = reading.parts["response"].compute()
        assert reading.faults.lines() == []
        assert np.isnan(response[5]).all()
        assert reading.parts["withheld"] == "responses of 1 test trials"
    assert np.isfinite(response[1]).all()


def test_meta_data_may_be_in_one_file(tmp_path):
    sample = write_experanto(tmp_path)
    files = sorted((sample.path / "screen/meta").glob("*.yml"))
    combined = {file.stem: yaml.safe_load(file.read_text()) for file in files}
    before = recordings.open_recording(sample.path, session="videos").load()
    (sample.path / "screen/combined_meta.json").write_text(json.dumps(combined))
    shutil.rmtree(sample.path / "screen/meta")
    xr.testing.assert_identical(
        before, recordings.open_recording(sample.path, session="videos").load()
    )


def test_spikes_of_an_experanto_folder_are_counted(tmp_path):
    sample = write_experanto(tmp_path, "images")
    trains = [np.sort(np.random.default_rng(9).uniform(0, 6, n)) for n in (200, 30)]
    folder = sample.path / "responses"
    (folder / "meta.yml").write_text(
        yaml.safe_dump({"modality": "spikes", "spike_indices": [0, 200, 230]})
    )
    np.concatenate(trains).tofile(folder / "spikes.npy")
    opened = recordings.open_recording(sample.path, session="images").load()
    onset = sample.truth["behavior"][:, 0] - 0.25
    by_hand = [[np.sum((t >= o + 0.05) & (t < o + 0.55)) for t in trains] for o in onset]
    np.testing.assert_array_equal(opened.response, by_hand)
    assert opened.response.attrs["units"] == "spike count"


@pytest.mark.parametrize("layout", TIMED_SAMPLES)
def test_a_recording_of_one_session_opens_without_its_name(layout, tmp_path):
    sample = TIMED_SAMPLES[layout](tmp_path)
    opened = recordings.open_recording(sample.path).load()
    np.testing.assert_allclose(opened.response, sample.truth["response"], rtol=2e-6, atol=2e-5)
