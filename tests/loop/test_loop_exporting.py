"""What is exported is what was planned, and what was altered is found."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from twinlab.loop import (
    FORMATS,
    export_stimuli,
    gather_stimuli,
    read_key,
    read_manifest,
    read_schedule,
    read_stimuli,
)
from twinlab.loop.screen import find_place, from_screen, luminance_of_levels, onto_screen
from twinlab.schema import InputError


@pytest.fixture(scope="module")
def exported(planned, schedule, rig, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rig") / "export"
    export_stimuli(
        planned, schedule, dataclasses.replace(rig, formats=FORMATS), folder, mean=127.5
    )
    return folder


def planned_by_code(planned, schedule):
    code = dict(zip(schedule.stimulus_id.values, schedule.code.values, strict=True))
    return {code[name]: image for name, image in
            zip(planned.stimulus_id.values, planned.stimulus.values, strict=True)} | {
        code["blank"]: np.full(planned.stimulus.shape[1:], 127.5)}  # fmt: skip


# --- round trip


@pytest.mark.parametrize("file_format", FORMATS)
def test_files_read_back_are_what_was_planned(exported, planned, schedule, file_format):
    read = read_stimuli(exported, file_format)
    known = planned_by_code(planned, schedule)
    assert set(read.image_id.values) == set(known)
    for code, image in zip(read.image_id.values, read.values, strict=True):
        assert np.abs(image - known[code]).max() <= 0.5 + 1e-4  # a level is a grey level here


@pytest.mark.parametrize(("gamma", "bound"), [(1.8, 1.0), (2.2, 1.1)])
def test_gamma_is_undone_within_its_own_steps(planned, schedule, rig, tmp_path, gamma, bound):
    bent = dataclasses.replace(rig, gamma=gamma)
    manifest = export_stimuli(planned, schedule, bent, tmp_path / "out", mean=127.5)
    read = read_stimuli(tmp_path / "out")
    known = planned_by_code(planned, schedule)
    error = max(
        np.abs(image - known[code]).max()
        for code, image in zip(read.image_id.values, read.values, strict=True)
    )
    assert error <= bound
    assert manifest["largest_error"] == pytest.approx(error, abs=1e-3)
    # what the screen does with the level of the blank is the luminance asked for
    level = manifest["background_level"]
    assert 255 * (level / 255) ** gamma == pytest.approx(127.5, abs=bound)
    assert level > 170


def test_a_measured_gamma_table_does_what_its_exponent_does(rig, tmp_path):
    level = np.arange(0, 256, 5)
    lines = [f"{v},{0.3 + 80 * (v / 255) ** 2}" for v in level]
    (tmp_path / "g.csv").write_text("level,cd/m2\n" + "\n".join(lines) + "\n")
    table = luminance_of_levels(dataclasses.replace(rig, gamma_table="g.csv"), tmp_path)
    np.testing.assert_allclose(table, (np.arange(256) / 255) ** 2, atol=2e-4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0,1\n255,1\n", "each brighter"),
        ("0,1\n200,3\n", "from 0 to 200"),
        ("", "has 0 levels"),
        ("0,1\n5,a\n255,3\n", "line 2"),
        ("0,1\n5,nan\n255,3\n", "line 2"),
    ],
)
def test_a_gamma_table_that_cannot_be_is_refused(rig, tmp_path, text, words):
    (tmp_path / "g.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        luminance_of_levels(dataclasses.replace(rig, gamma_table="g.csv"), tmp_path)


def test_each_pixel_is_a_rectangle_at_its_place(rig):
    image = np.arange(18 * 24, dtype=np.uint8).reshape(1, 18, 24)
    place = find_place(rig, 18, 24)
    assert (place.width, place.height) == (103, 77)
    assert place.left == round((160 - 103) / 2 + 10)  # 3.5 degrees are 10 pixels
    screen = onto_screen(image, place, rig, background=7)
    assert screen.shape == (1, 120, 160)
    assert (screen[:, : place.top] == 7).all()
    assert (screen[..., place.left + place.width :] == 7).all()
    np.testing.assert_array_equal(from_screen(screen, place, 18, 24), image)
    # a rectangle is as wide as the others, to a pixel
    row = screen[0, place.top, place.left : place.left + place.width]
    assert set(np.bincount(row)[:24]) <= {4, 5}


def test_the_key_tells_codes_neurons_and_places(exported, planned, schedule, rig, cortex):
    key = read_key(exported)
    known = planned_by_code(planned, schedule)
    for i, code in enumerate(key.code.values):
        np.testing.assert_array_equal(key.stimulus.values[i], known[code])
    # masks lie where the receptive fields do, so that places on the screen are known
    x = 3.5 + 1.5 * (cortex.neurons.true_x.values - (24 - 1) / 2)
    y = 1.5 * (cortex.neurons.true_y.values - (18 - 1) / 2)
    np.testing.assert_allclose(key.x_deg.values[:6], x, atol=1.5)
    np.testing.assert_allclose(key.y_deg.values[:6], y, atol=1.5)


def test_nothing_at_the_rig_tells_what_a_code_is(exported, planned):
    words = "".join(
        (exported / name).read_text()
        for name in ("manifest.json", "schedule.csv", "protocol.html")
    )
    for name in (*planned.stimulus_id.values, "mei", "natural"):
        assert name not in words
    schedule = read_schedule(exported)
    assert set(schedule.coords) == {"trial", "code", "onset_s"}


def test_the_schedule_is_read_back(exported, schedule):
    read = read_schedule(exported)
    np.testing.assert_array_equal(read.code, schedule.code)
    np.testing.assert_allclose(read.onset_s, schedule.onset_s, atol=1e-4)


def test_clipping_is_reported(planned, schedule, rig, tmp_path):
    bright = planned.copy(deep=True)
    bright.stimulus[2, 0, :3, :4] = 300
    manifest = export_stimuli(bright, schedule, rig, tmp_path / "out", mean=127.5)
    code = str(schedule.code.values[schedule.stimulus_id == planned.stimulus_id[2].item()][0])
    share = {e["code"]: e["clipped_fraction"] for e in manifest["stimuli"]}
    assert share.pop(code) == pytest.approx(12 / (18 * 24))
    assert set(share.values()) == {0}
    assert manifest["largest_error"] <= 0.5
    assert "1 of 13 stimuli have pixels" in (tmp_path / "out" / "protocol.html").read_text()


# --- what was altered


@pytest.mark.parametrize("file_format", ["png", "npy", "hdf5"])
def test_one_altered_pixel_is_found(planned, schedule, rig, tmp_path, file_format):
    folder = tmp_path / "out"
    one = dataclasses.replace(rig, formats=(file_format,))
    export_stimuli(planned, schedule, one, folder, mean=127.5)
    if file_format == "png":
        path = folder / "stimuli" / "s004.png"
        pixels = np.array(Image.open(path))
        pixels[60, 80] ^= 1
        Image.fromarray(pixels).save(path)
    elif file_format == "npy":
        np.load(folder / "stimuli.npy", mmap_mode="r+")[3, 0, 60, 80] ^= 1
    else:
        import h5py

        with h5py.File(folder / "stimuli.h5", "r+") as file:
            file["stimuli"][3, 0, 60, 80] ^= 1
    with pytest.raises(InputError, match="1 stimuli are not those exported: s004 was altered"):
        read_stimuli(folder)


def test_a_missing_file_and_an_altered_schedule_are_found(planned, schedule, rig, tmp_path):
    folder = tmp_path / "out"
    export_stimuli(planned, schedule, rig, folder, mean=127.5)
    (folder / "stimuli" / "s002.png").unlink()
    (folder / "stimuli" / "s003.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(InputError, match=r"s002 is missing .*; s003 is missing or cannot be read"):
        read_stimuli(folder)
    table = (folder / "schedule.csv").read_text().splitlines()
    table[3], table[4] = table[4], table[3]
    (folder / "schedule.csv").write_text("\n".join(table) + "\n")
    with pytest.raises(InputError, match=r"schedule.csv: was altered"):
        read_schedule(folder)


def test_what_is_no_export_is_refused(tmp_path, exported):
    with pytest.raises(InputError, match="no such file"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "other"}))
    with pytest.raises(InputError, match="is of kind 'other'"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="is not a manifest"):
        read_manifest(tmp_path)
    with pytest.raises(InputError, match="has no 'gif'"):
        read_stimuli(exported, "gif")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"center_x_deg": 30}, "move its centre"),
        ({"degrees_per_pixel": 2.0}, "of its own"),
        ({"formats": ("gif",)}, "formats` is \\['gif'\\]; known: png"),
        ({"formats": ()}, "formats` is \\[\\]; known"),
        ({"formats": ("png", "mp4"), "bits": 10}, "MP4 files have 8 bits, but the rig has 10"),
        ({"frame_rate_hz": 59.0}, "shown for 29.5 of its frames"),
    ],
)
def test_what_cannot_be_exported_is_refused(planned, schedule, rig, tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        export_stimuli(
            planned, schedule, dataclasses.replace(rig, **change), tmp_path / "out", mean=127.5
        )
    assert not list(tmp_path.iterdir())  # nothing half-written


def test_stimuli_and_schedule_must_be_of_each_other(planned, schedule, rig, tmp_path):
    with pytest.raises(InputError, match="differ in 1 names, first \\['mei-0'\\]"):
        export_stimuli(
            planned.isel(stimulus=slice(1, None)), schedule, rig, tmp_path / "o", mean=0
        )
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="exists"):
        export_stimuli(planned, schedule, rig, tmp_path / "there", mean=127.5)
    broken = planned.copy(deep=True)
    broken.stimulus[1, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="'mei-1' has pixels that are not finite"):
        export_stimuli(broken, schedule, rig, tmp_path / "o", mean=127.5)


# --- from experiments


def test_results_are_gathered_with_their_controls(cortex):
    from twinlab import insilico

    twin = cortex.as_twin().condition()
    mei = insilico.synthesize_mei(twin, [1, 4], n_step=2, n_start=1)
    lei = insilico.synthesize_lei(twin, [1], n_step=2, n_start=1)
    mei = mei.assign(natural=mei.mei + 1, gabor=mei.mei + 2)
    mei.gabor[1] = np.nan  # a control that failed
    found = gather_stimuli([mei, lei])
    assert found.stimulus_id.values.tolist() == [
        "mei-simulated-0-1", "mei-simulated-0-4", "natural-simulated-0-1",
        "natural-simulated-0-4", "gabor-simulated-0-1", "lei-simulated-0-1",
    ]  # fmt: skip
    assert found.attrs["left_out"] == "gabor-simulated-0-4"
    np.testing.assert_array_equal(found.stimulus[3], mei.mei[1] + 1)
    with pytest.raises(InputError, match="comes twice"):
        gather_stimuli([mei, mei])
    with pytest.raises(InputError, match="experiment 'score'"):
        gather_stimuli([mei.assign_attrs(experiment="score")])
