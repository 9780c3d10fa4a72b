"""CSV, NPZ and NWB say the same, and each is refused or flagged where it contradicts the plan."""

import csv
import dataclasses
import json
import shutil

import h5py
import numpy as np
import pytest
from PIL import Image, ImageOps
from response_samples import (
    KINDS,
    add_series,
    add_spikes,
    new_nwb,
    rows,
    save,
    shown_trials,
    spoiled,
    write,
)

from twinlab.loop import export_stimuli, import_responses, make_schedule, play_rig
from twinlab.loop.response_nwb import read_nwb
from twinlab.schema import InputError


@pytest.fixture(scope="module")
def folder(planned, schedule, rig, tmp_path_factory):
    out = tmp_path_factory.mktemp("rig") / "export"
    export_stimuli(planned, schedule, rig, out, mean=127.5)
    return out


@pytest.fixture(scope="module")
def table(cortex, folder):
    """What the rig recorded, as columns that are spoiled and written by the tests."""
    path = play_rig(cortex, folder, folder.parent / "responses.csv", seed=3)
    with path.open() as file:
        head, *rows = csv.reader(file)
    column = dict(zip(head, zip(*rows, strict=True), strict=True))
    return {
        "trial": list(column["trial"]),
        "code": list(column["code"]),
        "onset_s": np.array(column["onset_s"], float),
        "on_s": np.full(len(rows), 0.5),
        "frame_rate_hz": np.full(len(rows), 60.0),
        "unit": head[3:],
        "response": np.array([column[name] for name in head[3:]], float).T,
    }


# --- what is right


@pytest.mark.parametrize("kind", KINDS)
def test_all_formats_say_the_same(kind, folder, table, tmp_path):
    imported = import_responses(write(kind, tmp_path, table), folder)
    response = imported.responses.response
    np.testing.assert_allclose(response.values, table["response"], rtol=1e-5)
    assert imported.responses.unit.values.tolist() == table["unit"]
    measured = ["responses are DfOverF averaged from 0.1 to 0.6 s after each onset"]
    assert imported.findings == (measured if kind == "nwb" else [])
    assert response.attrs["units"] == ("dF/F" if kind == "nwb" else "a.u.")


def test_spikes_are_counted_in_the_window(folder, table, tmp_path):
    file = new_nwb(table)
    add_spikes(file, table)
    save(file, tmp_path / "s.nwb")
    imported = import_responses(tmp_path / "s.nwb", folder)
    np.testing.assert_array_equal(imported.responses.response, table["response"])
    assert imported.responses.response.attrs["units"] == "spike count"
    assert imported.findings == [
        "responses are spikes counted from 0.05 to 0.55 s after each onset"
    ]
    late = import_responses(tmp_path / "s.nwb", folder, window=(0.65, 0.75)).responses
    assert (late.response.values == 1).all()  # the spike after each response


def test_where_a_unit_was_not_observed_it_has_no_response(folder, table, tmp_path):
    file = new_nwb(table)
    add_spikes(file, table, observed=[[(-1.0, 20.3), (30.0, 100.0)], *[[(-1.0, 100.0)]] * 5])
    save(file, tmp_path / "s.nwb")
    imported = import_responses(tmp_path / "s.nwb", folder)
    expected = table["response"].copy()
    expected[20:30, 0] = np.nan  # the window of trial 20 ends at 20.55 s
    np.testing.assert_array_equal(imported.responses.response, expected)
    lines = [line for line in imported.findings if "lacks the responses of 1 units" in line]
    assert len(lines) == 10


def test_what_an_nwb_file_leaves_open_is_asked_for(folder, table, tmp_path):
    path = tmp_path / "two.nwb"
    file = new_nwb(table)
    add_series(file, table, "Corrected")
    add_series(file, table, "DfOverF", gain=2.0)
    file.add_time_intervals(shown_trials(table, "again"))
    save(file, path)
    with pytest.raises(InputError, match=r"choose one of \['Corrected', 'DfOverF'\] \(--series\)"):
        import_responses(path, folder)
    with pytest.raises(InputError, match=r"has no 'Raw'; choose one of \['Corrected'"):
        import_responses(path, folder, series="Raw")
    with pytest.raises(InputError, match=r"choose one of \['again', 'trials'\] \(--trials\)"):
        import_responses(path, folder, series="DfOverF")
    chosen = import_responses(path, folder, series="DfOverF", trials="again").responses
    np.testing.assert_allclose(chosen.response, 2 * table["response"], rtol=1e-5)
    with pytest.raises(InputError, match="The window runs from 0.5 to 0.2 s"):
        import_responses(path, folder, series="DfOverF", window=(0.5, 0.2))


def test_sets_of_one_name_are_told_apart_by_what_holds_them(folder, table, tmp_path):
    path = tmp_path / "same.nwb"
    file = new_nwb(table)
    add_series(file, table, "RoiResponseSeries")
    save(file, path)
    with h5py.File(path, "a") as again:
        ophys = again["processing/ophys"]
        ophys.create_group("DfOverF").attrs["neurodata_type"] = "DfOverF"
        again.copy(ophys["Fluorescence/RoiResponseSeries"], ophys["DfOverF"])
        region = "RoiResponseSeries/rois"  # of which a copy does not keep what it refers to
        ophys[f"DfOverF/{region}"].attrs["table"] = ophys[f"Fluorescence/{region}"].attrs["table"]
        data = ophys["DfOverF/RoiResponseSeries/data"]
        data[...] = 3 * data[()]
    with pytest.raises(
        InputError, match=r"\['DfOverF-RoiResponseSeries', 'Fluorescence-RoiResponseSeries'\]"
    ):
        import_responses(path, folder)
    chosen = import_responses(path, folder, series="DfOverF-RoiResponseSeries").responses
    np.testing.assert_allclose(chosen.response, 3 * table["response"], rtol=1e-5)


def test_without_a_trial_column_the_order_must_be_borne_out_by_the_codes(folder, table, tmp_path):
    bare = {name: values for name, values in table.items() if name != "trial"}
    shuffled = rows(bare, np.random.default_rng(0).permutation(len(table["code"])))
    imported = import_responses(write("nwb", tmp_path, shuffled), folder).responses
    np.testing.assert_allclose(imported.response, table["response"], rtol=1e-5)
    with pytest.raises(InputError, match="does not fit the schedule"):
        import_responses(write("nwb", tmp_path, rows(bare, np.arange(1, 56))), folder)


def test_rois_lie_where_their_masks_do(folder, table, tmp_path):
    pixels = [[(10 * i, 5, 1.0), (10 * i + 2, 5, 3.0)] for i in range(6)]
    file = new_nwb(table)
    add_series(
        file, table, pixels=pixels, grid_spacing=[2e-6, 1e-6], grid_spacing_unit="meters",
        origin_coords=[1e-3, 0.0, 3e-4], origin_coords_unit="meters",
    )  # fmt: skip
    save(file, tmp_path / "p.nwb")
    found = import_responses(tmp_path / "p.nwb", folder).responses
    np.testing.assert_allclose(found.x_um, 1000 + 2 * (10 * np.arange(6) + 1.5))
    np.testing.assert_allclose(found.y_um, np.full(6, 5.0))
    np.testing.assert_allclose(found.z_um, np.full(6, 300.0))


def test_lengths_in_unknown_units_are_refused(folder, table, tmp_path):
    file = new_nwb(table)
    add_series(file, table, grid_spacing=[2.0, 1.0], grid_spacing_unit="pixels")
    save(file, tmp_path / "p.nwb")
    with pytest.raises(InputError, match="in 'pixels', expected 2 or 3 in one of"):
        import_responses(tmp_path / "p.nwb", folder)


def test_a_damaged_nwb_file_is_refused_in_one_line(folder, table, tmp_path):
    path = write("nwb", tmp_path, table)
    for change, words in [
        (lambda file: file.move("intervals/trials/code", "intervals/trials/kode"),
         "expected a table of trials with `code` and `start_time`"),
        (lambda file: file["processing"].pop("ophys"), "expected a RoiResponseSeries or Units"),
    ]:  # fmt: skip
        with h5py.File(path, "a") as file:
            change(file)
        with pytest.raises(InputError, match=words):
            import_responses(path, folder)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="damaged"):
        read_nwb(path, on_s=0.5)


# --- what contradicts the plan


def duplicate_unit(table):
    return spoiled(table, unit=[*table["unit"][:-1], table["unit"][0]])


def change_codes(table):
    code = list(table["code"])
    code[3], code[7] = "s777", "s778"
    return spoiled(table, code=code)


REFUSED = {
    "swapped columns": (
        lambda table: spoiled(table, trial=table["code"], code=table["trial"]),
        "columns `trial` and `code` are swapped",
    ),
    "unknown codes": (change_codes, r"line \d: code 's777' .*; line \d+: code 's778'"),
    "a stimulus in another's place": (
        lambda table: spoiled(table, code=[*table["code"][1:], table["code"][0]]),
        r"trial 0 is said to show s\d+, but s\d+ was planned",
    ),
    "duplicated units": (duplicate_unit, "0' comes twice"),
    "duplicated trials": (
        lambda table: rows(table, [*range(56), 5]),
        "trial 5 comes twice",
    ),
    "another frame rate": (
        lambda table: spoiled(table, frame_rate_hz=np.full(56, 50.0)),
        "trial 0 at 50 Hz, but the export is for 60 Hz",
    ),
    "another duration": (
        lambda table: spoiled(table, on_s=np.full(56, 0.6)),
        "stimuli for 0.6 s, but 0.5 s were planned: another frame rate",
    ),
    "another pace": (
        lambda table: spoiled(table, onset_s=1.2 * table["onset_s"]),
        "a trial each 1.2 s, but one each 1 s was planned",
    ),
    "milliseconds": (
        lambda table: spoiled(table, onset_s=1000 * table["onset_s"]),
        "or times that are not in seconds",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "case"),
    # an NWB file has one clock, which is in seconds
    [(k, case) for k in KINDS for case in REFUSED if (k, case) != ("nwb", "milliseconds")],
)
def test_what_contradicts_the_plan_is_refused(kind, case, folder, table, tmp_path):
    change, words = REFUSED[case]
    path = write(kind, tmp_path, change(table))
    with pytest.raises(InputError, match=words) as caught:
        import_responses(path, folder)
    assert "\n" not in str(caught.value)


def test_two_frames_too_long_is_flagged(folder, table, tmp_path):
    on_s = table["on_s"].copy()
    on_s[4] += 2 / 60
    on_s[9] += 1 / 60  # a frame is within what rigs do
    for kind in KINDS:
        path = write(kind, tmp_path, spoiled(table, on_s=on_s))
        lines = import_responses(path, folder).findings
        assert [line for line in lines if "shown for" in line] == [
            "trial 4 was shown for 0.5333 s, 0.5 s were planned"
        ]


@pytest.mark.parametrize("kind", KINDS)
def test_missing_repeats_blocks_and_extra_trials_are_flagged(kind, folder, table, tmp_path):
    size = 14  # trials of a block
    kept = [i for i in range(3 * size) if i not in (4, *range(size, 2 * size))]
    partial = rows(table, kept)
    extra = {name: [*values, values[-1]] if isinstance(values, list) and name != "unit" else values
             for name, values in partial.items()}  # fmt: skip
    for name in ("onset_s", "on_s", "frame_rate_hz", "response"):
        extra[name] = np.concatenate([partial[name], partial[name][-1:]])
    extra["trial"][-1] = "56"
    extra["onset_s"][-1] += 1
    extra["response"][2, 1] = np.nan
    imported = import_responses(write(kind, tmp_path, extra), folder)
    code = table["code"]
    where = f"line {len(kept) + (2 if kind == 'csv' else 0)}"
    lines = [line for line in imported.findings if not line.startswith("responses are")]
    assert lines == [
        f"{where}: trial 56 ({code[kept[-1]]}) was not planned (the last is 55); left out",
        f"trial 4 ({code[4]}) is missing",
        "block 1 (trials 14 to 27) is missing",
        "block 3 (trials 42 to 55) is missing",
        f"trial 2 ({code[2]}) lacks the responses of 1 units",
    ]
    values = imported.responses.response.values
    assert np.isnan(values).sum() == 6 * (1 + 2 * size) + 1
    there = [i for i in kept if i != 2]
    np.testing.assert_allclose(values[there], table["response"][there], rtol=1e-5)


def test_a_pause_between_blocks_is_no_other_pace(folder, table, tmp_path):
    onset = table["onset_s"] + 300.0 * (np.arange(56) >= 28)
    for kind in ("csv", "npz"):
        imported = import_responses(write(kind, tmp_path, spoiled(table, onset_s=onset)), folder)
        assert imported.findings == []


def test_trials_out_of_order_are_flagged(folder, table, tmp_path):
    onset = table["onset_s"].copy()
    onset[8] = 1.0
    lines = import_responses(
        write("csv", tmp_path, spoiled(table, onset_s=onset)), folder
    ).findings
    assert lines == ["trial 8 came on before trial 7, by `onset_s`"]


def test_altered_checksums_are_told(planned, schedule, rig, table, tmp_path):
    out = tmp_path / "export"
    export_stimuli(planned, schedule, rig, out, mean=127.5)
    path = write("csv", tmp_path, table)
    manifest = json.loads((out / "manifest.json").read_text())
    picture = out / "stimuli" / f"{manifest['stimuli'][2]['code']}.png"
    with Image.open(picture) as image:
        ImageOps.invert(image).save(picture)
    (line,) = import_responses(path, out).findings
    assert "the files of stimuli have changed" in line
    assert f"{manifest['stimuli'][2]['code']} was altered" in line
    altered = json.loads(json.dumps(manifest))
    altered["schedule"]["sha256"] = "0" * 64
    (out / "manifest.json").write_text(json.dumps(altered))
    with pytest.raises(InputError, match="was altered after the export"):
        import_responses(path, out)


def test_files_of_any_format_that_were_altered_are_told(planned, schedule, rig, table, tmp_path):
    """Whichever the rig showed."""
    both = dataclasses.replace(rig, formats=("png", "npy"))
    export_stimuli(planned, schedule, both, tmp_path / "out", mean=127.5)
    np.load(tmp_path / "out" / "stimuli.npy", mmap_mode="r+")[3, 0, 60, 80] ^= 1
    (line,) = import_responses(write("csv", tmp_path, table), tmp_path / "out").findings
    assert line.startswith("the files of stimuli have changed (npy)")
    assert "s004 was altered" in line


def test_the_key_of_another_export_is_refused(planned, schedule, rig, table, tmp_path):
    """Its codes are the same, but stand for other stimuli."""
    other = make_schedule(planned.stimulus_id.values, n_repeat=4, n_blank=2, seed=2)
    for name, one in (("mine", schedule), ("other", other)):
        export_stimuli(planned, one, rig, tmp_path / name, mean=127.5)
    shutil.copy(tmp_path / "other/key.nc", tmp_path / "mine/key.nc")
    with pytest.raises(InputError, match="key.nc: was altered after the export"):
        import_responses(write("csv", tmp_path, table), tmp_path / "mine")


def test_choices_for_nwb_files_are_refused_for_others(folder, table, tmp_path):
    with pytest.raises(InputError, match="chosen in NWB files only"):
        import_responses(write("csv", tmp_path, table), folder, series="DfOverF")
