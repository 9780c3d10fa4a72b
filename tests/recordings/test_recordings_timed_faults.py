"""Layouts with a time axis, spoiled: what is wrong is said in one line."""

import re
import shutil

import h5py
import numpy as np
import pytest
import yaml
from samples import save
from timed_samples import (
    write_allen_nwb1,
    write_experanto,
    write_nwb2,
    write_nwb2_clips,
    write_nwb2_units,
    write_one_allen_nwb1,
    write_sensorium_dynamic,
)

from twinlab import recordings
from twinlab.jobs import Job
from twinlab.recordings import hdf5, hdf5_probe
from twinlab.recordings.layouts import LAYOUTS
from twinlab.schema import InputError


@pytest.fixture(autouse=True)
def trusted(monkeypatch):
    """These files are spoiled in ways that libhdf5 survives: no process of their own for each."""
    monkeypatch.setattr(hdf5, "_comes_through", lambda *_: True)


def test_a_file_that_ends_the_process_is_refused(tmp_path, monkeypatch):
    monkeypatch.undo()
    path = write_allen_nwb1(tmp_path).path
    hdf5.refuse_dangerous(path)
    for ending in (
        "os.abort()",
        "faulthandler.dump_traceback_later(0.1, exit=True); time.sleep(9)",
    ):
        deadly = tmp_path / "deadly.py"
        deadly.write_text(f"import faulthandler, os, time\nos.write(1, b'ready')\n{ending}")
        monkeypatch.setattr(hdf5_probe, "__file__", str(deadly))
        hdf5._comes_through.cache_clear()
        with pytest.raises(InputError, match="damaged so that it cannot be read safely"):
            recordings.open_recording(path, session="natural_scenes")
    hdf5._comes_through.cache_clear()


@pytest.mark.parametrize(
    ("executable", "frozen", "reason"),
    [
        ("", False, "it runs inside of another program"),
        ("app", True, "it runs inside of another program"),
        ("/nowhere/python", False, "/nowhere/python: No such file or directory"),
        ("/bin/true", False, "/bin/true: "),
        ("/bin/false", False, "/bin/false: "),
    ],
)
def test_a_python_that_can_start_no_other_does_not_call_files_damaged(
    executable, frozen, reason, tmp_path, monkeypatch
):
    monkeypatch.undo()
    path = write_allen_nwb1(tmp_path).path
    monkeypatch.setattr(hdf5.sys, "executable", executable)
    monkeypatch.setattr(hdf5.sys, "frozen", frozen, raising=False)
    with pytest.raises(InputError, match="cannot start one") as caught:
        recordings.open_recording(path, session="natural_scenes")
    assert reason in str(caught.value)
    assert "damaged" not in str(caught.value)
    monkeypatch.undo()
    hdf5.refuse_dangerous(path)


def test_a_file_is_tried_with_the_packages_of_this_process(tmp_path, monkeypatch):
    """Wherever h5py was found: in a folder that only this process knows, say."""
    monkeypatch.undo()
    (tmp_path / "h5py.py").write_text("raise ImportError('none here')")
    monkeypatch.setattr(hdf5.sys, "path", [str(tmp_path), *hdf5.sys.path])
    path = write_allen_nwb1(tmp_path).path
    with pytest.raises(InputError, match=r"cannot start one \(.*none here\)"):
        hdf5.refuse_dangerous(path)


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
        {
            f"{TRACES}__data": h5py.SoftLink("/a"),
            "a": h5py.SoftLink("/b"),
            "b": h5py.SoftLink("/a"),
        },
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
        file.create_dataset(
            TRACES.replace("__", "/") + "/timestamps", (2**40,), float, chunks=True
        )
    said = complaint("allen-nwb1", path, "natural_scenes")
    assert "declares 8,796,093,022,208 bytes, but holds 0" in said


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
    "neurons without ids": (
        {"processing__ophys__ImageSegmentation__cells0__id": None},
        "cells0/id: there is no such dataset",
    ),
    "no word of which image": (
        {"stimulus__presentation__natural_scenes_stimulus__data": None},
        "natural_scenes_stimulus/data: there is no such dataset",
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


@pytest.mark.parametrize(
    ("layout", "name", "values", "message"),
    [
        (write_nwb2_units, "units/id", None, "units/id: there is no such dataset"),
        (write_nwb2_units, "units/spike_times", 3.0, "expected numbers, one after the other"),
        (write_nwb2_units, "units/spike_times_index", [1], r"shape \(1,\), expected \(3,\)"),
        (write_nwb2_units, "intervals/contours_presentations/frame", [], r"frame: shape \(0,\)"),
        (write_nwb2_clips, "intervals/Clip/stop_time", [], r"stop_time: shape \(0,\), expected"),
        (write_nwb2_clips, "intervals/Clip/condition_hash", "a", r"condition_hash: shape \(\)"),
    ],
)
def test_tables_that_do_not_fit_are_named(layout, name, values, message, tmp_path):
    path = layout(tmp_path).path
    with h5py.File(path, "a") as file:
        said = dict(file[name].attrs)
        del file[name]
        if values is not None:
            file[name] = values
            file[name].attrs.update(said)
    assert re.search(message, complaint("nwb2", path))


def test_a_stimulus_in_another_file_is_said_to_be_there(nwb2, tmp_path):
    path = shutil.copy(nwb2, tmp_path / "copy.nwb")
    change(
        path, stimulus__presentation=None, stimulus__presentation__movie__external_file=[b"a.avi"]
    )
    said = complaint("nwb2", path)
    assert "(those of /stimulus/presentation/movie are in other files)" in said


def test_an_nwb2_file_without_responses_says_so(nwb2, tmp_path):
    path = shutil.copy(nwb2, tmp_path / "copy.nwb")
    change(path, processing=None)
    assert "holds no responses; expected a RoiResponseSeries or Units" in complaint("nwb2", path)


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


def edit_trial(root, number, **changes):
    path = root / f"screen/meta/{number:05d}.yml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


EXPERANTO_FAULTS = {
    "two videos of one name": (
        lambda root: edit_trial(root, 7, condition_hash="v1"),
        r"screen/data: 00007\.npy: other pixels than 00003\.npy under the same id 'v1'",
    ),
    "a tier that is no word": (
        lambda root: edit_trial(root, 7, tier=["train"]),
        r"unknown tier .*list.*; known: train",
    ),
    "no times": (
        lambda root: (root / "screen/timestamps.npy").unlink(),
        r"screen/timestamps\.npy: there is no such file",
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
        lambda root: (root / "screen/meta/00000.yml").write_text(
            "!!python/object/apply:os.abort []"
        ),
        r"meta/00000\.yml: cannot be read \(could not determine a constructor",
    ),
    "meta data of a list": (
        lambda root: (root / "responses/meta.yml").write_text("- 1"),
        r"responses/meta\.yml: expected names with values",
    ),
    "a file elsewhere": (
        lambda root: edit(root / "screen/meta/00000.yml", file_format="/../../x.npy"),
        "00000': no usable file name",
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
        r"data\.mem: 8 bytes, expected 960 of numbers \(60, 2\) float64",
    ),
    "a huge memory map": (
        lambda root: edit(root / "responses/meta.yml", n_timestamps=2**50),
        r"960 bytes, expected 18,014,398,509,481,984 of",
    ),
    "no rate": (
        lambda root: edit(root / "responses/meta.yml", sampling_rate=None),
        "`sampling_rate` is '', expected a number",
    ),
    "ids that do not fit": (
        lambda root: save(root / "responses/meta/unit_ids.npy", np.arange(3)),
        "unit_ids: expected 2 different ids",
    ),
    "pickled pixels": (
        lambda root: save(root / "screen/data/00000.npy", np.array([{}], object)),
        r"00000\.npy: an object array, which only unsafe unpickling could read",
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


def test_a_video_that_was_broken_off_once_is_whole(tmp_path):
    sample = write_experanto(tmp_path)
    edit_trial(sample.path, 0, num_frames=3)
    opened = recordings.open_recording(sample.path, session="videos").load()
    np.testing.assert_array_equal(opened.stimulus, sample.truth["stimulus"])
    expected = sample.truth["response"].copy()
    expected[0, :, 3:] = np.nan
    np.testing.assert_allclose(opened.response, expected, rtol=2e-6)


def test_a_device_that_cannot_be_used_is_said_to_be_left_out(tmp_path):
    path = write_experanto(tmp_path).path
    (path / "treadmill/data.npy").unlink()
    with pytest.warns(UserWarning, match="treadmill: left out of `behavior`"):
        opened = recordings.open_recording(path, session="videos")
    assert opened.behavior_channel.values.tolist() == ["eye_tracker_0", "eye_tracker_1"]


def test_infinite_responses_are_found_where_they_are_not_read_at_once(tmp_path):
    path = write_one_allen_nwb1(tmp_path).path
    with h5py.File(path, "a") as file:
        file[TRACES.replace("__", "/") + "/data"][1, 21:28] = np.inf
    (found,) = recordings.check_recording(path)
    assert found.severity == "error"
    assert re.fullmatch(r"neuron 512: \d responses are infinite", str(found))
    with pytest.raises(InputError, match="`response` is infinite"):
        recordings.open_recording(path)


def test_pixels_beyond_single_precision_are_refused(tmp_path):
    sample = write_experanto(tmp_path)
    save(sample.path / "screen/data/00003.npy", np.full((5, 3, 4), 1e300))
    said = complaint("experanto", sample.path, "videos")
    assert "00003.npy: NaN or infinite pixels" in said
    path = write_one_allen_nwb1(tmp_path).path
    change(path, stimulus__templates__natural_scenes_image_stack__data=np.full((4, 3, 5), 1e300))
    assert "NaN or infinite pixels" in complaint("allen-nwb1", path)
