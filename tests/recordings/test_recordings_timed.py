"""Layouts with a time axis: what a sample holds arrives, is stored, and is read by blocks."""

import re

import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
from timed_samples import (
    TIMED_SAMPLES,
    write_allen_nwb1,
    write_experanto,
    write_nwb2,
    write_nwb2_clips,
    write_nwb2_units,
)

from twinlab import recordings
from twinlab.jobs import Cancelled, Job
from twinlab.recordings import blocks
from twinlab.recordings.layouts import LAYOUTS
from twinlab.schema import InputError

WRITERS = {
    "sensorium-dynamic": ("sensorium-dynamic", TIMED_SAMPLES["sensorium-dynamic"]),
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
    assert set(opened.session.values) and opened.attrs["recording_id"]
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
        for name in ("stimulus", "response"):
            found = reading.parts[name].compute()
    except InputError as error:
        assert "no such file" in str(error)
    else:
        assert reading.faults.lines()
        assert np.isnan(found).all() or (found == 0).all()
    finally:
        away.rename(sample.path)


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


def said(path, session=None):
    """The one line about a path that cannot be opened."""
    with pytest.raises(InputError) as caught:
        recordings.open_recording(path, session=session).load()
    assert "\n" not in str(caught.value)
    assert re.search(re.escape(path.name), str(caught.value))
    return str(caught.value)
