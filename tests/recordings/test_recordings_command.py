"""Recordings of every layout through the command, as their user meets it."""

import re
import shutil
import warnings

import pytest
import xarray as xr
from command import call, mistake
from layout_samples import SAMPLES, write_antolik2016
from timed_samples import write_allen_nwb1, write_nwb2

from twinlab import recordings
from twinlab.cli.sources import parse_source
from twinlab.schema import InputError


@pytest.fixture
def experiment(tmp_path):
    """A file of two stimuli, each of which is a session."""
    return write_allen_nwb1(tmp_path).path


@pytest.mark.parametrize("layout", SAMPLES)
def test_every_layout_is_checked_shown_and_converted(layout, tmp_path):
    (tmp_path / "sample").mkdir()
    path = SAMPLES[layout](tmp_path / "sample").path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a sample may have leaks, which are said
        status, _, err = call("recordings", "check", path)
        assert status in (0, 1), err
        opened = recordings.open_recording(path)
        said = call("recordings", "show", path)[1]
        assert re.search(rf"neurons +{opened.sizes['neuron']}\n", said)
        status, _, err = call("recordings", "convert", path, tmp_path / "it.zarr")
    assert status == 0, err
    xr.testing.assert_identical(opened, recordings.open_recording(tmp_path / "it.zarr"))


# ---- one of several sessions ----


def test_several_sessions_are_named_in_one_line(experiment, tmp_path):
    for command in ("check", "show", "card", "convert"):
        target = [tmp_path / "it.zarr"] if command == "convert" else []
        said = mistake("recordings", command, experiment, *target)
        assert "holds 2 sessions; name one with `session`: natural_movie_one, natural_sce" in said
        assert f"{experiment}:natural_movie_one" in said
    assert "holds 2 sessions" in mistake("fit", experiment, "--out", tmp_path / "twin")


def test_a_session_is_named_behind_a_colon(experiment, tmp_path):
    scenes = recordings.open_recording(experiment, session="natural_scenes")
    assert "images      3 of" in call("recordings", "show", f"{experiment}:natural_scenes")[1]
    assert "videos      1 of" in call("recordings", "show", f"{experiment}:natural_movie_one")[1]
    assert call("recordings", "check", f"{experiment}:natural_movie_one")[0] < 2
    status, _, err = call(
        "recordings", "convert", f"{experiment}:natural_scenes", tmp_path / "it.zarr"
    )
    assert status == 0, err
    xr.testing.assert_identical(scenes, recordings.open_recording(tmp_path / "it.zarr"))
    said = mistake("recordings", "show", f"{experiment}:noise")
    assert "has no session noise; it holds natural_movie_one, natural_scenes" in said


def test_two_recordings_of_one_session_are_not_fitted_as_one(experiment, tmp_path):
    sources = [f"{experiment}:{name}" for name in ("natural_scenes", "natural_movie_one")]
    said = mistake("fit", *sources, "--out", tmp_path / "twin")
    assert "More than one recording is of session 510514474" in said


def test_what_precedes_the_first_fitting_colon_is_the_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "a:b", "c:d"):
        (tmp_path / name).touch()
    for words, expected in {
        "a": ("a", None),
        "a:x": ("a", "x"),
        "a:x:y": ("a", "x:y"),
        "a:b": ("a:b", None),  # there is such a file
        "a:b:x": ("a", "b:x"),
        "c:d:x": ("c:d", "x"),
        "lurz2020:20457-5-9": ("lurz2020", "20457-5-9"),
        "allen-visual-coding-2p:1/b": ("allen-visual-coding-2p", "1/b"),
        "nothing:x": ("nothing:x", None),
        ":x": (":x", None),
        "": ("", None),
    }.items():
        assert parse_source(words) == expected


def test_a_public_file_with_sessions_of_its_own(experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    name, folder = "allen-visual-coding-2p", tmp_path / "twinlab" / "allen-visual-coding-2p"
    folder.mkdir(parents=True)
    shutil.copy(experiment, folder / "501271265.nwb")
    session = "501271265/natural_scenes"
    xr.testing.assert_identical(
        recordings.open_recording(name, session=session),
        recordings.open_recording(experiment, session="natural_scenes"),
    )
    assert "images      3 of" in call("recordings", "show", f"{name}:{session}")[1]
    listed = f"holds 2 sessions; name one with .*: 501271265/natural_movie_one, {session}"
    with pytest.raises(InputError, match=listed):
        recordings.open_recording(name)
    for wrong in ("501271265", "501271265/noise"):
        with pytest.raises(InputError, match=f"has no session .*; it holds .*{session[-14:]}"):
            recordings.open_recording(name, session=wrong)
    with pytest.raises(InputError, match="has no session 7; known: 501271265"):
        recordings.open_recording(name, session="7/natural_scenes")


def test_a_public_file_that_holds_all_sessions(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    manifest = recordings.describe_recording("antolik2016")
    folder = tmp_path / "twinlab" / "antolik2016"
    folder.mkdir(parents=True)
    (tmp_path / "sample").mkdir()
    write_antolik2016(tmp_path / "sample")
    (tmp_path / "sample/region1").rename(tmp_path / "sample/region2")
    write_antolik2016(tmp_path / "sample")
    (file,) = manifest.files
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "sample")
    shutil.move(packed, folder / file.name)
    opened = recordings.open_recording("antolik2016", session="region2")
    assert set(opened.session.values) == {"region2"}
    with pytest.raises(InputError, match="name one with `session`: region1, region2"):
        recordings.open_recording("antolik2016")


def test_a_set_of_traces_may_be_named_behind_a_second_colon(tmp_path):
    path = write_nwb2(tmp_path).path
    said = call("recordings", "show", f"{path}:natural_scenes:Corrected")[1]
    assert "Corrected" in said


def test_neurons_of_one_session_of_a_store(recording, tmp_path):
    names = recording.neuron_id.copy(data=["a", "b"] * (recording.sizes["neuron"] // 2))
    both = recordings.save_recording(
        recording.assign_coords(session=names.rename("session")), tmp_path / "both.zarr"
    )
    assert recordings.open_recording(both).sizes["neuron"] == recording.sizes["neuron"]
    for lazy in (False, True):
        some = recordings.open_recording(both, session="b", lazy=lazy)
        assert some.neuron_id.values.tolist() == recording.neuron_id.values[1::2].tolist()
        assert some.sizes["trial"] == recording.sizes["trial"]
        assert some.attrs.get("fingerprint") != recording.attrs["fingerprint"]
    with pytest.raises(InputError, match=r"has no session c; it holds a, b\."):
        recordings.open_recording(both, session="c")
    assert "session c" in mistake("recordings", "check", f"{both}:c")
    assert recordings.check_recording(both, "b") == recordings.check_recording(some)
    status, _, err = call("recordings", "convert", f"{both}:b", tmp_path / "some.zarr")
    assert status == 0, err
    again = recordings.open_recording(tmp_path / "some.zarr")
    xr.testing.assert_identical(again, recordings.open_recording(both, session="b"))


# ---- a source without a split to fit with ----


def test_what_cannot_be_fitted_is_divided_and_fitted(tmp_path):
    write_antolik2016(tmp_path)
    source, store, twin = tmp_path / "region1", tmp_path / "it.zarr", tmp_path / "twin"
    small = ["--set", "max_epochs=1", "--set", "layers=1", "--set", "hidden=2"]
    assert "--split 0.8,0.1,0.1" in mistake("fit", source, "--out", twin, *small)
    divide = ["recordings", "convert", source, store, "--split"]
    assert "such as 0.8,0.1,0.1" in mistake(*divide, "some")
    assert "add up to 1" in mistake(*divide, "0.8,0.1")
    assert not store.exists()
    status, _, err = call(*divide, "0.5,0.25,0.25", "--seed", 3)
    assert status == 0, err
    opened = recordings.open_recording(source)
    divided = recordings.split_recording(opened, fractions=(0.5, 0.25, 0.25), seed=3)
    kept = recordings.save_recording(divided, tmp_path / "divided.zarr")
    xr.testing.assert_identical(recordings.open_recording(kept), recordings.open_recording(store))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of so few trials a correlation may be undefined
        status, _, err = call("fit", store, "--out", twin, *small)
        assert status == 0, err
        # the twin remembers how: its source is scored on the trials it was not trained on
        for scored in (source, store):
            status, said, err = call("score", twin, scored)
            assert status == 0, err
            assert "may have been trained" not in said


def test_a_simulated_recording_is_divided_too(tmp_path):
    path = tmp_path / "it.zarr"
    status, _, err = call("recordings", "convert", "simulated:2", path, "--split", "0.5,0.25,0.25")
    assert status == 0, err
    split = recordings.open_recording(path).split.values
    assert set(split) == {"train", "validation", "test"}
    assert (split == "test").sum() > 100
