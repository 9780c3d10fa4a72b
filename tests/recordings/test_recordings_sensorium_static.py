import json
import re
import shutil
import warnings
import zipfile

import numpy as np
import pytest
import xarray as xr

from twinlab import recordings
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError

OPENERS = {
    "folder": lambda layout, pack: layout.root,
    "zip": lambda layout, pack: pack(layout.root, f"{layout.root.name}/"),
    "zip without a top folder": lambda layout, pack: pack(
        layout.root, "", f"{layout.root.name}.zip"
    ),
    "zip with two top folders": lambda layout, pack: pack(
        layout.root, f"archive/{layout.root.name}/"
    ),
}


def faults_of(source):
    return [str(it) for it in recordings.check_recording(source) if it.severity != "note"]


@pytest.fixture(params=OPENERS)
def opened(request, layout, pack):
    return recordings.open_recording(OPENERS[request.param](layout, pack))


def test_every_value_arrives_where_it_belongs(opened, layout):
    np.testing.assert_array_equal(opened.response, layout.response.astype(np.float32))
    np.testing.assert_array_equal(opened.behavior, layout.behavior.astype(np.float32))
    np.testing.assert_array_equal(opened.pupil_center, layout.pupil_center.astype(np.float32))
    for trial, image in enumerate(layout.image_id):
        shown = opened.stimulus[opened.stimulus_index.values[trial]]
        np.testing.assert_array_equal(shown, layout.pixels[image])
    np.testing.assert_array_equal(opened.image_id, layout.image_id)
    np.testing.assert_array_equal(opened.split, layout.tiers)
    np.testing.assert_array_equal(opened.presentation_order, np.arange(9)[::-1])
    assert opened.neuron_id.values.tolist() == [7, 3, 9, 4, 1]
    assert set(opened.session.values) == {"11-2-3"}
    assert set(opened.area.values) == {"V1"}
    assert set(opened.layer.values) == {"L2/3"}
    np.testing.assert_allclose(opened.y_um, layout.place[:, 1], rtol=1e-6)
    assert opened.attrs["recording_id"] == "static11-2-3-tiny"
    assert opened.attrs["license"] == "see source"
    assert opened.response.attrs["units"] == "deconvolved calcium, a.u."
    assert "withheld" not in opened.attrs


def test_each_image_is_kept_once_and_repeats_may_be_unequal(opened):
    assert opened.sizes["image"] == 7
    assert opened.stimulus.dtype == np.uint8
    assert opened.response.dtype == np.float32
    test = opened.isel(trial=opened.split.values == "test")
    assert dict(zip(*np.unique(test.image_id, return_counts=True), strict=True)) == {30: 1, 31: 3}


def test_a_folder_and_its_zip_are_the_same_recording(layout, pack):
    from_zip = recordings.open_recording(pack(layout.root, f"{layout.root.name}/"))
    xr.testing.assert_identical(recordings.open_recording(layout.root), from_zip)


def test_files_that_macos_adds_are_passed_over(layout, pack):
    path = pack(layout.root, "static11-2-3-tiny/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/static11-2-3-tiny/data/images/._0.npy", b"finder")
    assert faults_of(path) == []


def test_pixels_that_are_no_whole_grey_levels_stay_float(layout):
    half = layout.pixels[11].astype(np.float64) + 0.5
    layout.save("data/images/5", half)
    opened = recordings.open_recording(layout.root)
    assert opened.stimulus.dtype == np.float32
    for trial, image in enumerate(layout.image_id):
        expected = half if image == 11 else layout.pixels[image]
        np.testing.assert_array_equal(opened.stimulus[opened.stimulus_index[trial]], expected)


def test_whole_numbers_beyond_a_byte_do_not_wrap_around(layout):
    layout.save("data/images/5", layout.pixels[11] + 256)
    opened = recordings.open_recording(layout.root)
    np.testing.assert_array_equal(
        opened.stimulus[opened.stimulus_index[5]], layout.pixels[11] + 256
    )


def test_withheld_responses_and_behaviour_are_missing_and_not_zero(layout):
    layout.save("meta/trials/tiers", np.where(layout.tiers == "test", "final_test", layout.tiers))
    for trial in (1, 4, 6, 7):
        layout.save(f"data/responses/{trial}", np.zeros(5))
    layout.save("data/responses/0", np.zeros(5))  # a training trial: nobody withholds those
    layout.save("data/behavior/2", np.zeros(3))
    for trial in range(9):
        layout.save(f"data/pupil_center/{trial}", np.zeros(2))
    opened = recordings.open_recording(layout.root)
    missing = np.isnan(opened.response).all("neuron")
    assert np.flatnonzero(missing).tolist() == [1, 4, 6, 7]
    assert (opened.response[0] == 0).all()
    assert set(opened.split.values[[1, 4, 6, 7]]) == {"test"}
    assert set(opened.source_tier.values[[1, 4, 6, 7]]) == {"final_test"}
    assert np.flatnonzero(np.isnan(opened.behavior).all("behavior_channel")).tolist() == [2]
    assert "pupil_center" not in opened
    assert opened.attrs["withheld"] == (
        "responses of 4 test trials, behavior of 1 trials, pupil_center"
    )


def test_a_silent_test_trial_among_others_is_silence(layout):
    layout.save("data/responses/4", np.zeros(5))
    opened = recordings.open_recording(layout.root)
    assert (opened.response[4] == 0).all()
    assert "withheld" not in opened.attrs


def test_what_the_source_lacks_is_absent(layout):
    for name in ("data/behavior", "data/pupil_center", "meta/neurons"):
        shutil.rmtree(layout.root / name)
    (layout.root / "config.json").unlink()
    (layout.root / "meta/trials/trial_idx.npy").unlink()
    opened = recordings.open_recording(layout.root)
    absent = {"behavior", "pupil_center", "area", "layer", "x_um", "presentation_order"}
    assert not absent & set(opened.variables)
    assert opened.neuron_id.values.tolist() == list(range(5))
    assert set(opened.session.values) == {"11-2-3"}  # from the name


def test_links_lead_to_the_folders(layout):
    (layout.root / "data/images").rename(layout.root / "data/frames")
    (layout.root / "data/responses").rename(layout.root / "data/traces")
    links = {"inputs": "frames", "responses": "traces"}
    (layout.root / "config.json").write_text(json.dumps({"links": links}))
    opened = recordings.open_recording(layout.root)
    np.testing.assert_array_equal(opened.response, layout.response.astype(np.float32))


def test_colour_scans_name_their_images_otherwise(layout):
    (layout.root / "meta/trials/frame_image_id.npy").rename(
        layout.root / "meta/trials/colorframeprojector_image_id.npy"
    )
    for trial, image in enumerate(layout.image_id):
        layout.save(f"data/images/{trial}", np.concatenate([layout.pixels[image]] * 2))
    opened = recordings.open_recording(layout.root)
    assert opened.sizes["channel"] == 2
    np.testing.assert_array_equal(opened.image_id, layout.image_id)


def test_headers_of_any_order_and_version_are_read(layout):
    layout.save("data/images/0", np.asfortranarray(layout.pixels[12]))
    with (layout.root / "data/responses/0.npy").open("wb") as file:
        np.lib.format.write_array(file, layout.response[0], version=(2, 0))
    layout.save("data/responses/1", layout.response[1].astype(">f8"))
    opened = recordings.open_recording(layout.root)
    np.testing.assert_array_equal(opened.stimulus[opened.stimulus_index[0]], layout.pixels[12])
    np.testing.assert_array_equal(opened.response, layout.response.astype(np.float32))


def test_progress_is_reported_and_a_cancel_is_heard(layout):
    heard = []
    job = Job(lambda job: heard.append(job.fraction), interval=0)
    recordings.open_recording(layout.root, job=job)
    assert heard == sorted(heard)
    assert 0.5 < heard[-1] <= 1
    job.cancel()
    with pytest.raises(Cancelled):
        recordings.open_recording(layout.root, job=job)


# What is done to a whole recording, and what must be said about it.
FAULTS = {
    "a trial file is gone": (
        lambda it: (it.root / "data/responses/4.npy").unlink(),
        r"data/responses: 4\.npy: missing; meta/trials/tiers\.npy lists 9 trials",
    ),
    "a trial too many": (
        lambda it: it.save("data/behavior/9", np.ones(3)),
        r"data/behavior: 9\.npy: too many; .* lists 9 trials",
    ),
    "a response for too few neurons": (
        lambda it: it.save("data/responses/0", np.ones(4)),
        r"data/responses: 0\.npy: shape \(4,\), expected \(5,\)",
    ),
    "an image of another size": (
        lambda it: it.save("data/images/3", np.ones((1, 6, 4))),
        r"data/images: 3\.npy: shape \(1, 6, 4\), expected \(1, 4, 6\)",
    ),
    "behaviour of another layout": (
        lambda it: [it.save(f"data/behavior/{i}", np.ones(2)) for i in range(9)],
        r"data/behavior: 0\.npy.* and 1 more: shape \(2,\), expected \(3,\)",
    ),
    "images without a channel": (
        lambda it: [it.save(f"data/images/{i}", np.ones((4, 6))) for i in range(9)],
        r"data/images: images have shape \(4, 6\), expected \(channel, y, x\)",
    ),
    "responses in time": (
        lambda it: [it.save(f"data/responses/{i}", np.ones((5, 7))) for i in range(9)],
        r"data/responses: files have shape \(5, 7\), expected one number for each neuron",
    ),
    "a response that is NaN": (
        lambda it: it.save("data/responses/2", np.array([1, np.nan, 1, 1, 1])),
        r"data/responses: 2\.npy: NaN or infinite responses",
    ),
    "a response that is infinite": (
        lambda it: it.save("data/responses/2", np.array([1, np.inf, 1, 1, 1])),
        r"data/responses: 2\.npy: NaN or infinite responses",
    ),
    "infinite behaviour": (
        lambda it: it.save("data/behavior/2", np.array([1, np.inf, 1])),
        r"data/behavior: 2\.npy: infinite values",
    ),
    "a pixel that is NaN": (
        lambda it: it.save("data/images/0", np.full((1, 4, 6), np.nan)),
        r"data/images: 0\.npy: NaN or infinite pixels",
    ),
    "no neurons": (
        lambda it: [it.save(f"data/responses/{i}", np.ones(0)) for i in range(9)],
        r"data/responses: zero neurons",
    ),
    "no trials": (
        lambda it: it.save("meta/trials/tiers", np.array([], "<U5")),
        r"meta/trials: tiers\.npy: there are no trials",
    ),
    "an unknown tier": (
        lambda it: it.save("meta/trials/tiers", np.where(it.tiers == "test", "tset", it.tiers)),
        r"meta/trials: tiers\.npy: unknown tier 'tset'; known: train, validation",
    ),
    "tiers are gone": (
        lambda it: (it.root / "meta/trials/tiers.npy").unlink(),
        r"meta/trials: tiers\.npy: missing",
    ),
    "image ids are gone": (
        lambda it: (it.root / "meta/trials/frame_image_id.npy").unlink(),
        r"meta/trials: frame_image_id\.npy: missing",
    ),
    "too few image ids": (
        lambda it: it.save("meta/trials/frame_image_id", np.arange(8)),
        r"meta/trials: frame_image_id\.npy: 8 trials, expected 9 as in meta/trials/tiers\.npy",
    ),
    "image ids with a fraction": (
        lambda it: it.save("meta/trials/frame_image_id", it.image_id + 0.5),
        r"meta/trials: frame_image_id\.npy: image ids must be whole numbers or names",
    ),
    "too many areas": (
        lambda it: it.save("meta/neurons/area", np.full(6, "V1")),
        r"meta/neurons: area\.npy: 6 neurons, expected 5 as in the response files",
    ),
    "positions in a plane": (
        lambda it: it.save("meta/neurons/cell_motor_coordinates", np.ones((5, 2))),
        r"cell_motor_coordinates\.npy: shape \(5, 2\), expected \(5, 3\)",
    ),
    "ids that are words": (
        lambda it: it.save("meta/neurons/unit_ids", np.array(list("abcde"))),
        r"unit_ids\.npy: shape \(5,\) and type <U1, expected 1 dimension of numbers",
    ),
    "a neuron twice": (
        lambda it: it.save("meta/neurons/unit_ids", np.array([7, 3, 7, 4, 1])),
        r"meta/neurons/unit_ids\.npy: 7: the id of more than one neuron",
    ),
    "an object array": (
        lambda it: it.save("meta/trials/tiers", it.tiers.astype(object)),
        r"meta/trials: tiers\.npy: an object array, which only unsafe unpickling could read",
    ),
    "a response of objects": (
        lambda it: it.save("data/responses/3", np.array([1, "a", None, 2, 3], object)),
        r"data/responses: 3\.npy: an object array",
    ),
    "a response of words": (
        lambda it: it.save("data/responses/3", np.array(list("abcde"))),
        r"data/responses: 3\.npy: type <U1, expected numbers",
    ),
    "a file cut short": (
        lambda it: (it.root / "data/images/1.npy").write_bytes(
            (it.root / "data/images/1.npy").read_bytes()[:-8]
        ),
        r"data/images: 1\.npy: truncated: 88 bytes of values, expected 96",
    ),
    "a file of something else": (
        lambda it: (it.root / "data/images/1.npy").write_text("no array at all"),
        r"data/images: 1\.npy: not a \.npy file",
    ),
    "a header that is nonsense": (
        lambda it: (it.root / "data/images/1.npy").write_bytes(
            b"\x93NUMPY\x01\x00\x10\x00" + b"{" * 16
        ),
        r"data/images: 1\.npy: not a readable \.npy file",
    ),
    "another picture under the same id": (
        lambda it: it.save("data/images/7", it.pixels[30]),
        r"data/images: 7\.npy: other pixels than 1\.npy under the same image id 31",
    ),
    "config is no JSON": (
        lambda it: (it.root / "config.json").write_text("{links"),
        r"config\.json: not valid JSON",
    ),
    "a link that leads outside": (
        lambda it: (it.root / "config.json").write_text('{"links": {"inputs": "../../etc"}}'),
        r"config\.json: `links` is not an object of folder names",
    ),
    "no folder of responses": (
        lambda it: shutil.rmtree(it.root / "data/responses"),
        r"data/responses: there is no such folder",
    ),
    "no folder of images": (
        lambda it: shutil.rmtree(it.root / "data/images"),
        r"data/images: there is no such folder",
    ),
}


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_by_the_check_and_refused_when_opened(name, kind, layout, pack):
    spoil, message = FAULTS[name]
    spoil(layout)
    path = OPENERS[kind](layout, pack)
    assert any(re.search(message, line) for line in faults_of(path))
    with pytest.raises(InputError, match=message) as caught:
        recordings.open_recording(path)
    assert "\n" not in str(caught.value)


def test_a_whole_recording_has_no_faults(layout):
    assert faults_of(layout.root) == []


def test_all_faults_are_found_at_once(layout):
    (layout.root / "data/responses/4.npy").unlink()
    layout.save("data/responses/0", np.ones(4))
    layout.save("data/behavior/1", np.ones(1))
    layout.save("data/images/3", np.ones((1, 6, 4)))
    layout.save("meta/neurons/area", np.full(6, "V1"))
    assert len(faults_of(layout.root)) == 5
    with pytest.raises(InputError, match=r"and 2 more; run `twinlab recordings check .*`"):
        recordings.open_recording(layout.root)


def test_many_faults_of_one_kind_are_one_line(layout):
    for trial in range(1, 9):
        (layout.root / f"data/pupil_center/{trial}.npy").unlink()
    (layout.root / "data/pupil_center/0.npy").write_bytes(b"")
    faults = faults_of(layout.root)
    assert len(faults) == 2
    assert "1.npy, 2.npy" in faults[0]


def test_an_image_shared_by_two_splits_is_a_caution(layout):
    layout.save("data/images/0", layout.pixels[30])  # by its pixels: the id is another
    expected = "images: id 12: shown in test and in train, so scores would be too good"
    assert expected in faults_of(layout.root)
    with (
        pytest.warns(UserWarning, match="shown in test and in train"),
        pytest.warns(UserWarning, match="12 = 30: the same pixels under two ids"),
    ):
        recordings.open_recording(layout.root)


def test_an_image_id_shared_by_two_splits_is_a_caution(layout):
    layout.save("meta/trials/tiers", np.where(np.arange(9) == 1, "validation", layout.tiers))
    assert faults_of(layout.root) == [
        "images: id 31: shown in test and in validation, so scores would be too good"
    ]


def test_a_presentation_listed_twice_is_a_caution(layout):
    layout.save("meta/trials/trial_idx", np.array([0, 1, 2, 3, 4, 5, 6, 7, 7]))
    assert faults_of(layout.root) == [
        "meta/trials: trial_idx.npy: the same presentation is listed twice"
    ]


def test_a_hashed_order_is_no_order(layout):
    layout.save("meta/trials/trial_idx", np.array(list("abcdefghi")))
    assert "presentation_order" not in recordings.open_recording(layout.root).coords


def test_a_zip_cut_short_is_refused(layout, pack):
    path = pack(layout.root, "top/")
    path.write_bytes(path.read_bytes()[:-100])
    (fault,) = faults_of(path)
    assert "not a whole zip file" in fault
    with pytest.raises(InputError, match="not a whole zip file"):
        recordings.open_recording(path)


def test_a_zip_damaged_inside_names_the_file(layout, pack):
    path = pack(layout.root, "")
    with zipfile.ZipFile(path) as archive:
        inside = archive.getinfo("data/images/3.npy")
        start = inside.header_offset + 30 + len(inside.filename)
    content = bytearray(path.read_bytes())
    content[start : start + inside.compress_size] = bytes(inside.compress_size)
    path.write_bytes(content)
    (fault,) = faults_of(path)
    assert fault.startswith("data/images: 3.npy: damaged in the zip")


def test_a_name_twice_in_a_zip_is_a_fault(layout, pack):
    path = pack(layout.root, "")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")  # zipfile warns of what is done here on purpose
        archive.write(layout.root / "data/images/0.npy", "data/images/0.npy")
    assert faults_of(path) == ["zip: data/images/0.npy: held more than once"]


def test_a_zip_is_never_extracted(layout, pack, tmp_path):
    path = pack(layout.root, "top/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../escaped.npy", b"")
        archive.writestr("top/data/images/../../../escaped.npy", b"")
    before = sorted(tmp_path.rglob("*"))
    recordings.open_recording(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_several_recordings_in_one_folder_must_be_told_apart(layout, tmp_path):
    shutil.copytree(layout.root, tmp_path / "static11-2-4-tiny")
    with pytest.raises(InputError, match="holds 2 recordings"):
        recordings.open_recording(tmp_path)


def test_a_folder_that_holds_a_zip_says_so(layout, pack):
    path = pack(layout.root, "")
    shutil.rmtree(layout.root)
    with pytest.raises(InputError, match=r"did you mean packed\.zip in it\?"):
        recordings.open_recording(path.parent)


def test_an_unknown_source_lists_what_is_known(tmp_path):
    for function in (recordings.open_recording, recordings.check_recording):
        with pytest.raises(InputError, match="no such file, folder or recording; expected .*lurz"):
            function(tmp_path / "nothing")
    (tmp_path / "words.txt").write_text("words")
    with pytest.raises(InputError, match="not a whole zip file"):
        recordings.open_recording(tmp_path / "words.txt")


def test_another_session_than_the_one_asked_for_is_refused(layout):
    recordings.open_recording(layout.root, session="11-2-3")
    with pytest.raises(InputError, match="has no session 1-1-1; it holds 11-2-3"):
        recordings.open_recording(layout.root, session="1-1-1")
