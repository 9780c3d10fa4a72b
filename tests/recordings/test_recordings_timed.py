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
from timed_samples import (
    RATE,
    add_traces,
    new_nwb,
    save,
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


def test_grey_levels_that_are_not_whole_stay_float(tmp_path):
    sample = write_allen_nwb1(tmp_path)
    with h5py.File(sample.path, "a") as file:
        file["stimulus/templates/natural_scenes_image_stack/data"][2, 0, 0] = 0.5
    opened = recordings.open_recording(sample.path, session="natural_scenes")
    assert opened.stimulus.dtype == np.float32
    assert opened.stimulus.values[1, 0, 0, 0] == 0.5


# --- what is wrong is said in one line


def complaint(layout, path, session=None):
    """What is said first about a path, when it is opened or when its blocks are read."""
    try:
        session = session or LAYOUTS[layout].list_sessions(path)[0]
        reading = LAYOUTS[layout].read(path, session, Job())
        if not reading.faults:
            reading.parts["stimulus"].compute()
            reading.parts["response"].compute()
        lines = reading.faults.lines()
    except InputError as error:
        assert str(error).startswith(str(path))
        lines = [str(error)]
    assert lines, "nothing was said"
    assert "\n" not in lines[0]
    return lines[0]


def change(path, **changes):
    """Replace datasets of an HDF5 file (None removes one), named with `__` for slashes."""
    with h5py.File(path, "a") as file:
        for name, values in changes.items():
            place = name.replace("__", "/")
            if place in file:
                del file[place]
            if values is not None:
                file[place] = values


PIPELINE = "processing__brain_observatory_pipeline"
TRACES = f"{PIPELINE}__DfOverF__imaging_plane_1"
SHOWN = "stimulus__presentation__natural_scenes_stimulus"
STACK = "stimulus__templates__natural_scenes_image_stack__data"
NWB1_FAULTS = {
    "no times": ({f"{TRACES}__timestamps": None}, "timestamps: there is no such dataset"),
    "no traces": ({f"{TRACES}__data": None}, r"shape None, expected \(cells, 400\)"),
    "transposed": ({f"{TRACES}__data": np.ones((400, 3))}, r"shape \(400, 3\), expected"),
    "a group": ({f"{TRACES}__data": None, f"{TRACES}__data__x": [1]}, "shape None, expected"),
    "beyond the traces": (
        {f"{SHOWN}__frame_duration": np.full((6, 2), 400)},
        "from 400 to 400, but there are 400 acquisition frames",
    ),
    "beyond the template": (
        {f"{SHOWN}__data": np.arange(6)},
        "6 presentations of images up to 5, but the template has 4",
    ),
    "only blanks": ({f"{SHOWN}__data": np.full(6, -1)}, "0 presentations of images"),
    "unequal": ({f"{SHOWN}__data": np.arange(5)}, r"`data` of shape \(5,\)"),
    "words": ({f"{SHOWN}__data": np.full(6, b"x")}, "expected whole numbers"),
    "ids twice": (
        {f"{PIPELINE}__ImageSegmentation__cell_specimen_ids": [1, 1, 2]},
        r"shape \(3,\), expected 3 different whole numbers",
    ),
    "no frames": ({STACK: np.ones(4)}, r"shape \(4,\), expected \(frame, y, x"),
    "NaN pixels": ({STACK: np.full((4, 3, 5), np.nan)}, "NaN or infinite pixels"),
    "odd speed": (
        {f"{PIPELINE}__BehavioralTimeSeries__running_speed__data": np.ones(7)},
        r"running_speed: values of shape \(7, 1\) do not fit 400 increasing times",
    ),
    "another file": (
        {f"{TRACES}__data": h5py.ExternalLink("other.h5", "/data")},
        "a link to another file, which is not followed",
    ),
    "a circle": (
        {f"{TRACES}__data": h5py.SoftLink("/a"), "a": h5py.SoftLink("/b"), "b": h5py.SoftLink("/a")},
        "links lead in a circle",
    ),
    "a link to nothing": ({f"{TRACES}__data": h5py.SoftLink("/gone")}, "shape None, expected"),
}


@pytest.mark.parametrize("name", NWB1_FAULTS)
def test_a_fault_of_an_nwb1_file_is_named(name, tmp_path):
    changes, message = NWB1_FAULTS[name]
    path = write_allen_nwb1(tmp_path).path
    change(path, **changes)
    assert re.search(message, complaint("allen-nwb1", path, "natural_scenes"))


def test_values_in_another_file_are_not_read(tmp_path):
    path = write_allen_nwb1(tmp_path).path
    (tmp_path / "secret").write_bytes(np.ones((3, 400)).tobytes())
    change(path, **{f"{TRACES}__data": None})
    with h5py.File(path, "a") as file:
        outside = [(str(tmp_path / "secret"), 0, 9600)]
        file.create_dataset(TRACES.replace("__", "/") + "/data", (3, 400), float, external=outside)
    said = complaint("allen-nwb1", path, "natural_scenes")
    assert "its values lie in another file, which is not read" in said


def test_a_huge_declared_shape_takes_no_memory(tmp_path):
    path = write_allen_nwb1(tmp_path).path
    change(path, **{f"{TRACES}__timestamps": None})
    with h5py.File(path, "a") as file:
        file.create_dataset(TRACES.replace("__", "/") + "/timestamps", (2**40,), float, chunks=True)
    said = complaint("allen-nwb1", path, "natural_scenes")
    assert "8,796,093,022,208 bytes, expected 1,073,741,824 at most" in said


NWB2_FAULTS = {
    "no times": (
        {"processing__ophys__DfOverF__DfOverF__timestamps": None},
        "neither `timestamps` nor `starting_time` with a rate",
    ),
    "times that go back": (
        {"processing__ophys__DfOverF__DfOverF__timestamps": np.arange(400.0)[::-1]},
        "its times do not increase",
    ),
    "traces of words": (
        {"processing__ophys__DfOverF__DfOverF__data": np.full((4, 3), b"x")},
        r"expected numbers \(time, roi\)",
    ),
    "rois beyond": (
        {"processing__ophys__ImageSegmentation__cells0__id": [40]},
        r"rois: \(3,\) rows of 1, expected",
    ),
    "images beyond": (
        {"stimulus__presentation__natural_scenes_stimulus__data": np.full(5, 12, np.uint32)},
        "5 presentations of images up to 12, but there are 12 images",
    ),
    "an image of another size": (
        {"stimulus__templates__natural_scenes_template__scene10": np.ones((4, 4))},
        r"scene10: frames of shape \(4, 4, 1\), expected \(3, 5, 1\)",
    ),
    "an image that lies elsewhere": (
        {"stimulus__templates__natural_scenes_template": h5py.ExternalLink("x.nwb", "/a")},
        "a link to another file, which is not followed",
    ),
}


@pytest.fixture(scope="module")
def nwb2(tmp_path_factory):
    return write_nwb2(tmp_path_factory.mktemp("nwb2")).path


@pytest.mark.parametrize("name", NWB2_FAULTS)
def test_a_fault_of_an_nwb2_file_is_named(name, nwb2, tmp_path):
    changes, message = NWB2_FAULTS[name]
    path = shutil.copy(nwb2, tmp_path / "copy.nwb")
    change(path, **changes)
    assert re.search(message, complaint("nwb2", path, "natural_scenes"))


def test_a_stimulus_in_another_file_is_said_to_be_there(nwb2, tmp_path):
    path = shutil.copy(nwb2, tmp_path / "copy.nwb")
    change(path, stimulus__presentation=None, stimulus__presentation__movie__external_file=[b"a.avi"])
    said = complaint("nwb2", path)
    assert "(those of /stimulus/presentation/movie are in other files)" in said


def test_an_nwb2_file_without_responses_says_so(nwb2, tmp_path):
    path = shutil.copy(nwb2, tmp_path / "copy.nwb")
    change(path, processing=None)
    assert "holds no responses; expected a RoiResponseSeries or Units" in complaint("nwb2", path)


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


DYNAMIC_FAULTS = {
    "no video file": (
        lambda root: (root / "data/videos/2.npy").unlink(),
        r"data/videos: 2\.npy: missing",
    ),
    "a flat video": (
        lambda root: save(root / "data/videos/2.npy", np.ones((3, 4))),
        r"data/videos: 2\.npy: shape \(3, 4\) .* expected numbers \(y, x, frame\)",
    ),
    "a video of another size": (
        lambda root: save(root / "data/videos/2.npy", np.ones((4, 4, 10))),
        r"2\.npy: frames of \(4, 4\) pixels, expected \(3, 4\)",
    ),
    "a gap in a video": (
        lambda root: save(root / "data/videos/2.npy", spoilt(np.ones((3, 4, 10)), (1, 1, 4))),
        "NaN or infinite pixels before its end",
    ),
    "a response missing": (
        lambda root: (root / "data/responses/2.npy").unlink(),
        r"data/responses: 2\.npy: missing",
    ),
    "a response of too few neurons": (
        lambda root: save(root / "data/responses/2.npy", np.ones((4, 10))),
        r"data/responses: 2\.npy: shape \(4, 10\), expected \(5, 10\)",
    ),
    "a response that ends early": (
        lambda root: save(root / "data/responses/2.npy", np.ones((5, 9))),
        r"data/responses: 2\.npy: shape \(5, 9\), expected \(5, 10\) or longer",
    ),
    "a response that is NaN": (
        lambda root: save(root / "data/responses/2.npy", spoilt(np.ones((5, 10)), (1, 4))),
        r"2\.npy: NaN or infinite before the video ends",
    ),
    "behaviour of another layout": (
        lambda root: save(root / "data/behavior/2.npy", np.ones((3, 10))),
        r"data/behavior: 2\.npy: shape \(3, 10\), expected \(2, 10\)",
    ),
    "an id with two videos": (
        lambda root: save(root / "meta/trials/video_id.npy", np.array([5, 6, 5, 6, 7, 8, 5])),
        "data/videos: id 5: different pixels under one video id",
    ),
    "an object array": (
        lambda root: save(root / "data/videos/2.npy", np.array([{}], object)),
        "an object array, which only unsafe unpickling could read",
    ),
    "no tiers": (
        lambda root: (root / "meta/trials/tiers.npy").unlink(),
        r"meta/trials: tiers\.npy: missing",
    ),
}


def spoilt(values, place):
    values[place] = np.nan
    return values


@pytest.mark.parametrize("name", DYNAMIC_FAULTS)
def test_a_fault_of_a_dynamic_recording_is_named(name, tmp_path):
    spoil, message = DYNAMIC_FAULTS[name]
    root = write_sensorium_dynamic(tmp_path).path
    spoil(root)
    assert re.search(message, complaint("sensorium-dynamic", root))


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


EXPERANTO_FAULTS = {
    "no times": (
        lambda root: (root / "screen/timestamps.npy").unlink(),
        r"screen/timestamps\.npy: cannot be read \(there is no such file\)",
    ),
    "times that go back": (
        lambda root: save(root / "screen/timestamps.npy", np.zeros(20)),
        "expected times that increase",
    ),
    "no meta data": (
        lambda root: shutil.rmtree(root / "screen/meta"),
        "no meta data of trials in `meta/` or `combined_meta.json`",
    ),
    "meta data that is code": (
        lambda root: (root / "screen/meta/00000.yml").write_text("!!python/object/apply:os.abort []"),
        r"meta/00000\.yml: cannot be read \(could not determine a constructor",
    ),
    "meta data of a list": (
        lambda root: (root / "responses/meta.yml").write_text("- 1"),
        r"responses/meta\.yml: expected names with values",
    ),
    "a file elsewhere": (
        lambda root: edit(root / "screen/meta/00000.yml", file_format="/../../x.npy"),
        "00000: no usable file name",
    ),
    "an encoded video": (
        lambda root: edit(root / "screen/meta/00000.yml", file_format=".mp4"),
        r"00000\.mp4: encoded; decode it to \.npy first",
    ),
    "frames beyond": (
        lambda root: edit(root / "screen/meta/00000.yml", num_frames=999),
        r"00000: frames outside of the \d+ of screen/timestamps\.npy",
    ),
    "a video that is shorter": (
        lambda root: save(root / "screen/data/00000.npy", np.ones((4, 3, 4))),
        r"00000\.npy: 4 frames, expected 5",
    ),
    "an unknown tier": (
        lambda root: edit(root / "screen/meta/00000.yml", tier="tset"),
        "unknown tier 'tset'; known: train",
    ),
    "a memory map cut short": (
        lambda root: (root / "responses/data.mem").write_bytes(b"12345678"),
        r"data\.mem: cannot be read \(8 bytes, expected 960 of \(60, 2\) float64\)",
    ),
    "a huge memory map": (
        lambda root: edit(root / "responses/meta.yml", n_timestamps=2**50),
        r"960 bytes, expected 18,014,398,509,481,984 of",
    ),
    "no rate": (
        lambda root: edit(root / "responses/meta.yml", sampling_rate=None),
        "`sampling_rate` is None, expected a number",
    ),
    "ids that do not fit": (
        lambda root: save(root / "responses/meta/unit_ids.npy", np.arange(3)),
        "unit_ids: expected 2 different ids",
    ),
    "pickled pixels": (
        lambda root: save(root / "screen/data/00000.npy", np.array([{}], object)),
        r"00000\.npy: cannot be read \(.*Python objects",
    ),
}


def edit(path, **changes):
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


@pytest.mark.parametrize("name", EXPERANTO_FAULTS)
def test_a_fault_of_an_experanto_folder_is_named(name, tmp_path):
    spoil, message = EXPERANTO_FAULTS[name]
    root = write_experanto(tmp_path).path
    spoil(root)
    assert re.search(message, complaint("experanto", root, "videos"))


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


def test_a_device_that_cannot_be_used_is_said_to_be_left_out(tmp_path):
    path = write_experanto(tmp_path).path
    (path / "treadmill/data.npy").unlink()
    with pytest.warns(UserWarning, match="treadmill: left out of `behavior`"):
        opened = recordings.open_recording(path, session="videos")
    assert opened.behavior_channel.values.tolist() == ["eye_tracker_0", "eye_tracker_1"]
