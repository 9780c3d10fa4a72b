"""Files of all formats hold the levels of the screen exactly, of images and of videos."""

import dataclasses
import json
import sys
import tracemalloc

import av
import h5py
import numpy as np
import pytest
import xarray as xr
from PIL import Image

from twinlab.loop import (
    FORMATS,
    export_stimuli,
    make_schedule,
    read_key,
    read_manifest,
    read_schedule,
    read_stimuli,
)
from twinlab.loop.screen import fit_screen, luminance_of_levels, read_gamma_table
from twinlab.schema import InputError

N_FRAME = 6


def with_formats(rig, *formats, **change):
    return dataclasses.replace(rig, formats=formats, **change)


@pytest.fixture(scope="module")
def videos(planned):
    """Each stimulus growing from grey, so that no two frames are alike."""
    contrast = np.linspace(0.2, 1, N_FRAME)[:, None, None]
    grown = 127.5 + contrast * (planned.stimulus.values[:, :, None] - 127.5)
    return planned.assign(stimulus=(("stimulus", "channel", "frame", "y", "x"), grown))


@pytest.fixture(scope="module")
def exported(videos, schedule, rig, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rig") / "export"
    export_stimuli(videos, schedule, with_formats(rig, *FORMATS), folder, mean=127.5)
    return folder


def largest_difference(read, stimuli, schedule):
    """Between what was read and planned, over all stimuli."""
    code = dict(zip(schedule.stimulus_id.values, schedule.code.values, strict=True))
    by_code = dict(zip(read.image_id.values, read.values, strict=True))
    return max(
        np.abs(by_code[code[name]] - values).max()
        for name, values in zip(stimuli.stimulus_id.values, stimuli.stimulus.values, strict=True)
    )


# --- levels of more than 8 bits


def test_more_bits_come_closer_to_what_was_planned(planned, schedule, rig, tmp_path):
    found = []
    for bits in (8, 10, 12, 16):
        finer = with_formats(rig, "png", "npy", "hdf5", bits=bits, gamma=2.2)
        folder = tmp_path / str(bits)
        manifest = export_stimuli(planned, schedule, finer, folder, mean=127.5)
        step = 255 * np.diff(luminance_of_levels(finer)).max()
        errors = [
            largest_difference(read_stimuli(folder, one), planned, schedule)
            for one in finer.formats
        ]
        assert max(errors) == min(errors) <= step / 2 + 1e-4
        assert manifest["largest_error"] == pytest.approx(errors[0], abs=1e-4)
        found.append(errors[0])
    assert found[0] > 0.8  # of 8 bits with this gamma
    assert max(found[1:]) < 0.3
    assert (np.diff(found) < 0).all()
    # as any other reader sees them: numbers up to the largest level
    with Image.open(next((tmp_path / "10" / "stimuli").glob("*.png"))) as image:
        assert image.mode == "I;16"
        assert 255 < np.asarray(image).max() < 1024
    page = (tmp_path / "10" / "protocol.html").read_text()
    assert "levels from 0 to 1023" in page
    assert "too coarse" not in page


def test_a_gamma_table_is_of_the_levels_of_the_rig(rig, tmp_path):
    level = np.linspace(0, 4095, 40).round()
    path = tmp_path / "g.csv"
    path.write_text("\n".join(f"{v:.0f},{0.3 + 80 * (v / 4095) ** 2}" for v in level))
    np.testing.assert_allclose(
        read_gamma_table(path, 12), (np.arange(4096) / 4095) ** 2, atol=1e-3
    )
    with pytest.raises(InputError, match="from 0 to 4095; expected .* rise from 0 to 255"):
        fit_screen(dataclasses.replace(rig, gamma_table=str(path)), (1, 18, 24), 0.5)


# --- videos, and images as videos


@pytest.mark.parametrize("file_format", FORMATS)
def test_videos_read_back_are_what_was_planned(exported, videos, schedule, file_format):
    read = read_stimuli(exported, file_format)
    assert read.dims == ("video", "channel", "frame", "y", "x")
    assert largest_difference(read, videos, schedule) <= 0.5 + 1e-4
    blank = schedule.code.values[schedule.stimulus_id == "blank"][0]
    assert (np.ptp(read.values[read.image_id.values == blank], axis=None)) == 0


def decode(path):
    with av.open(str(path)) as file:
        rate = file.streams.video[0].average_rate
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    return np.stack(frames), rate


def test_an_mp4_shows_each_picture_for_whole_frames_of_the_rig(
    exported, planned, schedule, rig, tmp_path
):
    with h5py.File(exported / "stimuli.h5") as file:
        levels = file["stimuli"][2, 0]
    shown, rate = decode(exported / "stimuli" / "s003.mp4")
    assert rate == 60
    assert len(shown) == 30  # 0.5 s
    np.testing.assert_array_equal(shown[..., 1], levels.repeat(30 // N_FRAME, axis=0))
    assert (shown == shown[..., :1]).all()  # grey
    # an image is shown for as long; a rate of no whole number is kept
    odd = with_formats(rig, "mp4", frame_rate_hz=59.94)
    slower = schedule.assign_attrs(on_s=30 / 59.94)
    export_stimuli(planned, slower, odd, tmp_path / "out", mean=127.5)
    shown, rate = decode(tmp_path / "out" / "stimuli" / "s003.mp4")
    assert len(shown) == 30
    assert float(rate) == pytest.approx(59.94)
    assert (shown == shown[:1]).all()
    assert largest_difference(read_stimuli(tmp_path / "out"), planned, schedule) <= 0.5 + 1e-4


def test_colours_are_kept_by_all_formats(planned, schedule, rig, tmp_path):
    tint = np.array([0.5, 0.8, 1.0])[:, None, None]
    stimuli = planned.isel(channel=[0, 0, 0])
    stimuli["stimulus"] = stimuli.stimulus * tint[None]
    export_stimuli(stimuli, schedule, with_formats(rig, *FORMATS), tmp_path / "o", mean=127.5)
    for name in FORMATS:
        read = read_stimuli(tmp_path / "o", name)
        assert largest_difference(read, stimuli, schedule) <= 0.5 + 1e-4
    with pytest.raises(InputError, match="more than 8 bits have 1 channel, but stimuli have 3"):
        export_stimuli(
            stimuli, schedule, with_formats(rig, "png", bits=12), tmp_path / "p", mean=0
        )


def test_frames_that_cannot_be_held_are_refused(videos, schedule, rig, tmp_path):
    with pytest.raises(InputError, match=r"6 frames in 0.5 s at the rig's 50 Hz: .* 4.167 of"):
        export_stimuli(
            videos, schedule, with_formats(rig, "npy", frame_rate_hz=50.0), tmp_path / "o", mean=0
        )
    assert not list(tmp_path.iterdir())


def test_the_schedule_names_the_files(exported, planned, schedule, rig, tmp_path):
    rows = [line.split(",") for line in (exported / "schedule.csv").read_text().splitlines()[1:]]
    assert all((exported / row[2]).is_dir() for row in rows)  # frames as PNG
    for formats, ending in ((("mp4", "npy"), ".mp4"), (("png",), ".png")):
        folder = tmp_path / ending[1:]
        export_stimuli(planned, schedule, with_formats(rig, *formats), folder, mean=127.5)
        table = (folder / "schedule.csv").read_text().splitlines()[1:]
        assert all((folder / line.split(",")[2]).is_file() for line in table)
        assert all(line.split(",")[2].endswith(ending) for line in table)


def test_without_pyav_only_mp4_is_refused(planned, schedule, rig, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    export_stimuli(planned, schedule, with_formats(rig, "npy"), tmp_path / "o", mean=127.5)
    with pytest.raises(InputError, match=r'PyAV; run `pip install "twinlab-cortex\[mp4\]"`'):
        export_stimuli(planned, schedule, with_formats(rig, "mp4"), tmp_path / "p", mean=127.5)


def test_a_large_screen_is_in_memory_a_few_times_at_most(rig, tmp_path):
    large = with_formats(
        rig, "npy", "hdf5", width_px=1920, height_px=1080, degrees_per_pixel=0.05, bits=16
    )
    screen = 1920 * 1080 * 2
    stimuli = xr.Dataset(
        {"stimulus": (("stimulus", "channel", "y", "x"), np.full((24, 1, 18, 24), 99.0))},
        {"stimulus_id": ("stimulus", [f"n{i}" for i in range(24)])},
    )
    schedule = make_schedule(stimuli.stimulus_id.values, n_repeat=1)
    tracemalloc.start()
    export_stimuli(stimuli, schedule, large, tmp_path / "o", mean=127.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * screen < 24 * screen
    assert largest_difference(read_stimuli(tmp_path / "o", "hdf5"), stimuli, schedule) < 0.01


# --- where stimuli lie


def test_the_manifest_and_the_protocol_say_where_each_neuron_looks(exported, cortex):
    units = read_manifest(exported)["units"]
    assert [unit["neuron"] for unit in units] == [f"simulated-0/{i}" for i in range(6)]
    x = 3.5 + 1.5 * (cortex.neurons.true_x.values - (24 - 1) / 2)
    y = 1.5 * (cortex.neurons.true_y.values - (18 - 1) / 2)
    np.testing.assert_allclose([unit["x_deg"] for unit in units], x, atol=1.5)
    np.testing.assert_allclose([unit["y_deg"] for unit in units], y, atol=1.5)
    key = read_key(exported)
    area = key.mask.values[0].sum() * 1.5**2
    assert units[0]["diameter_deg"] == pytest.approx(2 * np.sqrt(area / np.pi), abs=1e-3)
    page = (exported / "protocol.html").read_text()
    assert "0.5 s stimulus (30 frames: 6 pictures, each for 5)" in page
    assert "mean over its second half" in page
    assert page.count("<td>simulated-0/") == 6
    assert f"<td>{units[4]['x_deg']:.1f}</td><td>{units[4]['y_deg']:.1f}</td>" in page


def test_what_has_no_mask_has_no_place(planned, schedule, rig, tmp_path):
    some = planned.copy(deep=True)
    some.mask[0], some.mask[6] = np.nan, np.nan  # all of neuron 0
    some.mask[1] = np.nan
    manifest = export_stimuli(some, schedule, rig, tmp_path / "o", mean=127.5)
    assert [unit["neuron"][-1] for unit in manifest["units"]] == ["1", "2", "3", "4", "5"]
    assert np.isnan(read_key(tmp_path / "o").x_deg.values[[0, 1, 6]]).all()
    none = planned.drop_vars("mask")
    manifest = export_stimuli(none, schedule, rig, tmp_path / "p", mean=127.5)
    assert manifest["units"] == []
    assert "<h2>Neurons" not in (tmp_path / "p" / "protocol.html").read_text()


# --- what was altered, or not copied whole


def rewrite(path, change):
    """An MP4 with changed frames, as lossless as before."""
    frames, rate = decode(path)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264rgb", rate=rate, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "rgb24"
        for frame in change(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        file.mux(stream.encode(None))


def touch_pixel(frames, channel=slice(None)):
    frames[12, 60, 80, channel] ^= 1
    return frames


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda frames: frames, None),
        (touch_pixel, "was altered"),
        (lambda frames: touch_pixel(frames, 1), "was altered"),
        (lambda frames: frames[:-1], "was altered"),
        (lambda frames: frames[::-1], "was altered"),
    ],
)
def test_an_altered_mp4_is_found(planned, schedule, rig, tmp_path, change, fault):
    growing = xr.concat([planned.stimulus, planned.stimulus * 0.5], "frame")
    stimuli = planned.assign(
        stimulus=growing.transpose("stimulus", "channel", "frame", "y", "x")
    ).isel(stimulus=slice(2))
    two = make_schedule(stimuli.stimulus_id.values, n_repeat=2)
    export_stimuli(stimuli, two, with_formats(rig, "mp4"), tmp_path / "o", mean=127.5)
    rewrite(tmp_path / "o" / "stimuli" / "s001.mp4", change)
    if fault is None:  # the same levels in another file are the same stimulus
        assert read_stimuli(tmp_path / "o").sizes["frame"] == 2
        return
    with pytest.raises(InputError, match=f"1 stimuli are not those exported: s001 {fault}"):
        read_stimuli(tmp_path / "o")


def cut(path, share=0.5):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])


@pytest.mark.parametrize(
    ("file_format", "file", "words"),
    [
        ("png", "stimuli/s002/0003.png", "s002 is missing or cannot be read"),
        ("mp4", "stimuli/s002.mp4", "s002 is missing or cannot be read"),
        ("npy", "stimuli.npy", "npy file of stimuli cannot be read"),
        ("hdf5", "stimuli.h5", "hdf5 file of stimuli cannot be read"),
    ],
)
@pytest.mark.parametrize("spoil", [cut, lambda path: path.unlink(), lambda path: cut(path, 0)])
def test_files_that_were_not_copied_whole_are_told(
    videos, schedule, rig, tmp_path, file_format, file, words, spoil
):
    export_stimuli(videos, schedule, with_formats(rig, file_format), tmp_path / "o", mean=127.5)
    spoil(tmp_path / "o" / file)
    with pytest.raises(InputError, match=words) as raised:
        read_stimuli(tmp_path / "o")
    assert "\n" not in str(raised.value)


def test_a_png_whose_numbers_are_not_levels_is_found(planned, schedule, rig, tmp_path):
    export_stimuli(planned, schedule, rig, tmp_path / "o", mean=127.5)
    path = tmp_path / "o" / "stimuli" / "s005.png"
    with Image.open(path) as image:
        palette = image.convert("P")
    palette.putpalette(list(range(255, -1, -1)) * 3)
    palette.save(path)
    with pytest.raises(InputError, match="s005 was altered"):
        read_stimuli(tmp_path / "o")


@pytest.mark.parametrize("name", ["schedule.csv", "key.nc", "manifest.json"])
def test_a_folder_copied_in_part_is_refused(planned, schedule, rig, tmp_path, name):
    read = {"schedule.csv": read_schedule, "key.nc": read_key, "manifest.json": read_manifest}
    export_stimuli(planned, schedule, rig, tmp_path / "o", mean=127.5)
    cut(tmp_path / "o" / name)
    with pytest.raises(InputError, match=f"{name}: (was altered|is not a manifest)"):
        read[name](tmp_path / "o")
    (tmp_path / "o" / name).unlink()
    with pytest.raises(InputError, match=f"{name}: (cannot be read|no such file)"):
        read[name](tmp_path / "o")


def test_a_manifest_of_another_version_or_altered_is_refused(planned, schedule, rig, tmp_path):
    export_stimuli(planned, schedule, rig, tmp_path / "o", mean=127.5)
    path = tmp_path / "o" / "manifest.json"
    manifest = json.loads(path.read_text())
    older = manifest | {"kind": "twinlab loop export 1", "twinlab_version": "0.0.1"}
    path.write_text(json.dumps(older))
    with pytest.raises(InputError, match="export 1', written by twinlab 0.0.1; expected"):
        read_stimuli(tmp_path / "o")
    manifest["luminance"][200] += 0.01
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"manifest.json: was altered after the export"):
        read_stimuli(tmp_path / "o")
