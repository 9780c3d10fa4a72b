"""Units of a later day are found again in every way, and the truth about them is known."""

import csv
import json
import sys
from unittest.mock import patch

import numpy as np
import pytest
import xarray as xr
from response_samples import KINDS, add_series, new_nwb, save, write

from twinlab import cli, stimuli
from twinlab.jobs import Job
from twinlab.loop import (
    BLANK,
    bring_responses,
    export_stimuli,
    make_schedule,
    meet_units,
    new_loop,
    open_loop,
    play_rig,
    read_schedule,
    run_loop,
)
from twinlab.loop.answering import answer_loop
from twinlab.loop.sharing import add_shared, mean_shared, pick_shared
from twinlab.recordings import open_recording, save_recording
from twinlab.schema import InputError, open_result
from twinlab.simulation import SimulatedCortex

SIZE = {"height": 18, "width": 24}
N, SHARED = 50, 80
PLAN = """
recording = "recording.zarr"
match = "MATCH"
[presentation]
shared = 80
[later]
day = 2
gain = 0.1
shift = 0.2
loss = 0.05
[rig]
width_px = 96
height_px = 72
degrees_per_pixel = 0.5
image_degrees_per_pixel = 1.5
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plans")
    cortex = SimulatedCortex(seed=0, n_neuron=N, **SIZE)
    recording = cortex.record(n_train=10, n_validation=0, n_test=80, n_repeat=10)
    save_recording(recording, folder / "recording.zarr")
    return folder


@pytest.fixture(scope="module")
def loop_of(base):
    """A loop as far as the files for the rig, without what made its stimuli."""

    def make(match, name=None, **changes):
        text = PLAN.replace("MATCH", match)
        for key, value in changes.items():
            text = text.replace(f"{key} = ", f"{key} = {value} # ")
        folder = base / (name or match)
        (base / f"{folder.name}.toml").write_text(text)
        new_loop(base / f"{folder.name}.toml", folder)
        run_loop(folder, until="recording")
        plan = open_loop(folder)
        made = xr.Dataset(
            {
                "stimulus": (
                    ("stimulus", "channel", "y", "x"),
                    stimuli.make_dead_leaves(6, **SIZE, seed=5).values.astype(np.float32),
                ),
                "mask": (("stimulus", "y", "x"), np.ones((6, 18, 24), np.float32)),
            },
            {
                "stimulus_id": ("stimulus", [f"mei-{i}" for i in range(6)]),
                "kind": ("stimulus", ["mei"] * 6),
                "session": ("stimulus", ["simulated-0"] * 6),
                "neuron_id": ("stimulus", [str(i) for i in range(6)]),
            },
        )
        every = add_shared(made, open_recording(folder / "recording.zarr"), SHARED)
        schedule = make_schedule(every.stimulus_id.values, n_repeat=10, n_blank=2, seed=0)
        export_stimuli(every, schedule, plan.rig, folder / "export", mean=127.5)
        return folder, plan

    return make


def pairs(path):
    with path.open() as file:
        return {row["unit"]: row["neuron"] for row in csv.DictReader(file)}


# --- the neurons of a later day


# the true matching is known: of position the errors are 2 um and of fingerprints 10 repeats
@pytest.mark.parametrize(
    ("match", "precision", "recall"),
    [("table", 1.0, 1.0), ("position", 0.98, 0.95), ("fingerprint", 0.95, 0.75)],
)
def test_a_later_day_is_matched(loop_of, match, precision, recall):
    right = n_found = n_true = 0
    for seed in range(3):  # one session more or less moves the recall by 0.05
        folder, plan = loop_of(f'{match}"\nseed = {seed} # "', f"{match}-{seed}")
        answer_loop(folder, plan, Job())
        true = pairs(folder / "true-units.csv")
        observed = open_result(folder / "responses.nc")
        found = dict(zip(observed.unit.values, observed.neuron.values, strict=True))
        right += sum(true[unit] == neuron for unit, neuron in found.items())
        n_found, n_true = n_found + len(found), n_true + len(true)
        assert 30 <= len(true) < N  # some are lost
    assert right / n_found >= precision
    assert right / n_true >= recall
    assert observed.attrs["match"] == match
    # every neuron and unit is either matched or named
    lines = observed.attrs["findings"].splitlines()
    for what, every, matched in (
        ("neurons", {f"simulated-0/{i}" for i in range(N)}, set(found.values())),
        ("units", set(true), set(found)),
    ):
        named = [line for line in lines if line.startswith(f"without a match, {what}: ")]
        left = set(named[0].partition(": ")[2].split(", ")) if named else set()
        assert left == every - matched
    said = [line for line in lines if line.startswith(f"matched by {match}: {len(found)} of {N}")]
    assert len(said) == (match != "table")
    assert (
        observed.confidence.values >= {"position": 0.9, "fingerprint": 0.95}.get(match, 1)
    ).all()


def test_the_responses_are_those_of_the_neurons_matched(loop_of):
    """By table, so that the matching is right: each neuron has its own responses, drifted."""
    folder, plan = loop_of("table", "same", gain="0.0", shift="0.0", loss="0.0")
    answer_loop(folder, plan, Job())
    observed = open_result(folder / "responses.nc")
    settings = json.loads(open_recording(folder / "recording.zarr").attrs["simulation"])
    path = play_rig(
        SimulatedCortex(**settings), folder / "export", folder / "again.csv", seed=plan.seed + 1
    )
    with path.open() as file:
        head, *rows = csv.reader(file)
    direct = np.array(rows)[:, 3:].astype(np.float32)
    neuron = [name.partition("/")[2] for name in observed.neuron.values]
    np.testing.assert_array_equal(
        observed.response.values, direct[:, [head[3:].index(name) for name in neuron]]
    )


def test_units_come_in_another_order_under_names_of_their_own(tmp_path):
    later = SimulatedCortex(seed=0, n_neuron=30, **SIZE).on_day(2, loss=0.1)
    names = meet_units(later, tmp_path / "t.csv", tmp_path / "u.csv", jitter_um=0.0, seed=1)
    assert set(names) == set(later.found.astype(str))
    assert list(names) != later.found.astype(str).tolist()
    assert not set(names.values()) & set(names)
    true = pairs(tmp_path / "t.csv")
    assert {f"simulated-0/{k}": v for k, v in names.items()} == {v: k for k, v in true.items()}
    with (tmp_path / "u.csv").open() as file:
        for row in csv.DictReader(file):
            neuron = int(true[row["unit"]].partition("/")[2])
            assert float(row["x_um"]) == pytest.approx(later.neurons.x_um.values[neuron], abs=1e-3)


# --- what is said wrongly


def test_what_is_needed_for_a_match_is_asked_for(loop_of, tmp_path):
    folder, plan = loop_of("position", "asked")
    answer_loop(folder, plan, Job())
    (folder / "responses.nc").unlink()
    responses, true = folder / "responses.csv", folder / "true-units.csv"

    def refused(words, **options):
        with pytest.raises(InputError, match=words) as caught:
            bring_responses(folder, responses, **options)
        assert "\n" not in str(caught.value)
        assert not (folder / "responses.nc").exists()

    def listed(text):
        (tmp_path / "u.csv").write_text(text)
        return {"match": "position", "units": tmp_path / "u.csv"}

    refused("file of responses has no positions", match="position")
    refused("'unit-0' has not the name of a neuron", match="name")
    refused("for matching by table", match="table")
    refused("for matching by table", match="fingerprint", table=true)
    refused("a list of units by position", match="name", units=folder / "units.csv")
    refused("known: name, table, position, fingerprint", match="face")
    refused("unit 'x' was not recorded", **listed("unit,x_um,y_um\nx,1,2\n"))
    refused("unit 'unit-0' comes twice", **listed("unit,x_um,y_um\nunit-0,1,2\nunit-0,1,2\n"))
    refused("line 2 is .*expected numbers", **listed("unit,x_um,y_um\nunit-0,1,far\n"))
    refused("expected `unit`, `x_um`", **listed("unit,x,y\nunit-0,1,2\n"))
    refused("line 2 has not the 3 cells", **listed("unit,x_um,y_um\nunit-0,1\n"))
    refused("has the columns", table=folder / "units.csv")
    refused("no such file", table=tmp_path / "none.csv")
    rows = true.read_text().splitlines()
    (tmp_path / "t.csv").write_text("\n".join([*rows, rows[1]]))
    refused("has a neuron twice", table=tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("\n".join([rows[0], rows[1].replace("unit", "cell")]))
    refused("was not recorded", table=tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("\n".join([rows[0], "somebody,unit-0"]))
    refused("not the twin's, first 'somebody'; expected names such as", table=tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("\n".join(rows[:3]))
    refused("by table, . of the .* were found again", table=tmp_path / "t.csv")
    # columns in any order, and neurons by what is enough to know them
    short = [",".join([b, a.rpartition("/")[2]]) for a, b in (row.split(",") for row in rows)]
    true = tmp_path / "short.csv"
    true.write_text("\n".join(short))
    lines = bring_responses(folder, responses, true)  # a table is meant by giving one
    assert not any("matched by" in line for line in lines)


@pytest.mark.parametrize("kind", KINDS)
def test_units_that_are_not_the_twins_are_refused(kind, loop_of, tmp_path):
    folder, _ = loop_of("table", f"strange-{kind}")
    schedule = read_schedule(folder / "export")
    n = schedule.sizes["trial"]
    table = {
        "trial": schedule.trial.values.astype(str).tolist(),
        "code": schedule.code.values.tolist(),
        "onset_s": schedule.onset_s.values,
        "on_s": np.full(n, 0.5),
        "unit": ["7", "9001"],
        "response": np.random.default_rng(0).poisson(3.0, (n, 2)).astype(float),
    }
    path = write(kind, tmp_path, table)
    with pytest.raises(InputError, match="Unit '9001' has not the name of a neuron"):
        bring_responses(folder, path, match="name")
    (tmp_path / "t.csv").write_text("neuron,unit\nsimulated-0/7,7\nsimulated-0/8,9002\n")
    with pytest.raises(InputError, match="unit '9002' was not recorded"):
        bring_responses(folder, path, tmp_path / "t.csv")
    assert not (folder / "responses.nc").exists()


def test_arrays_may_bring_the_positions_along(loop_of):
    folder, plan = loop_of("position", "arrays")
    answer_loop(folder, plan, Job())
    expected = open_result(folder / "responses.nc")
    (folder / "responses.nc").unlink()
    with (folder / "responses.csv").open() as file:
        head, *rows = csv.reader(file)
    with (folder / "units.csv").open() as file:
        places = {row.pop("unit"): row for row in csv.DictReader(file)}
    rows = np.array(rows)
    np.savez(
        folder / "r.npz", trial=rows[:, 0], code=rows[:, 1], unit=head[3:],
        response=rows[:, 3:].astype(float),
        **{axis: [float(places[unit][axis]) for unit in head[3:]]
           for axis in ("x_um", "y_um", "z_um")},
    )  # fmt: skip
    (folder / "loop.nc").touch()  # a report of the old ones
    bring_responses(folder, folder / "r.npz")
    assert not (folder / "loop.nc").exists()
    found = open_result(folder / "responses.nc")
    np.testing.assert_array_equal(found.neuron, expected.neuron)
    np.testing.assert_array_equal(found.unit, expected.unit)


def test_an_nwb_file_is_imported_by_the_command(loop_of, capsys):
    """Of ROIs whose masks say where they lie, with two sets of traces to choose from."""
    folder, plan = loop_of("position", "nwb")
    answer_loop(folder, plan, Job())
    expected = open_result(folder / "responses.nc")
    (folder / "responses.nc").unlink()
    with (folder / "responses.csv").open() as file:
        head, *rows = csv.reader(file)
    with (folder / "units.csv").open() as file:
        lies = np.array([[row["x_um"], row["y_um"]] for row in csv.DictReader(file)], float)
    rows = np.array(rows)
    table = {
        "trial": rows[:, 0].tolist(),
        "code": rows[:, 1].tolist(),
        "onset_s": rows[:, 2].astype(float),
        "on_s": np.full(len(rows), 0.5),
        "unit": [name.removeprefix("unit-") for name in head[3:]],
        "response": rows[:, 3:].astype(float),
    }
    file = new_nwb(table)
    far = np.round(100 * (lies - lies.min(0))).astype(int)  # pixels of 0.01 um
    pixels = [[(x, y, 1.0)] for x, y in far.tolist()]
    add_series(
        file, table, "Corrected", pixels=pixels, grid_spacing=[1e-8, 1e-8],
        grid_spacing_unit="meters", origin_coords=(lies.min(0) * 1e-6).tolist() + [0.0],
        origin_coords_unit="meters",
    )  # fmt: skip
    add_series(file, table, "DfOverF", gain=2.0)
    save(file, folder / "session.nwb")

    def call(*options):
        words = ["twinlab", "loop", "import", folder, folder / "session.nwb", *options]
        with patch.object(sys, "argv", list(map(str, words))), pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr()

    status, said = call()
    assert (status, said.err.count("\n")) == (2, 1)
    assert "choose one of ['Corrected', 'DfOverF'] (--series)" in said.err
    status, said = call("--series", "DfOverF", "--window", "late")
    assert (status, said.err.count("\n")) == (2, 1)
    assert "--window is 'late'" in said.err
    status, said = call("--series", "DfOverF", "--window", "0.2:0.5", "--match", "face")
    assert (status, said.err.count("\n")) == (2, 1)
    assert not (folder / "responses.nc").exists()
    status, said = call("--series", "DfOverF", "--window", "0.2:0.5")
    assert status == 0
    assert "DfOverF averaged from 0.2 to 0.5 s" in said.out
    assert "matched by position" in said.out
    found = open_result(folder / "responses.nc")
    true = pairs(folder / "true-units.csv")
    right = [true[f"unit-{u}"] == n
             for u, n in zip(found.unit.values, found.neuron.values, strict=True)]  # fmt: skip
    assert np.mean(right) >= 0.98
    assert len(right) >= 0.9 * len(true)
    both = np.intersect1d(found.neuron, expected.neuron)
    np.testing.assert_allclose(
        found.response.sel(neuron=both),
        2 * expected.response.sel(neuron=both),
        rtol=1e-5,
    )


# --- shared images


def test_shared_images_are_those_that_the_recording_repeats(base):
    recording = open_recording(base / "recording.zarr")
    picked = pick_shared(recording, 80)
    tested = recording.stimulus_index.values[recording.split.values == "test"]
    np.testing.assert_array_equal(picked, np.unique(tested))
    with pytest.raises(InputError, match="repeats 80 images for testing, but .* is 81"):
        pick_shared(recording, 81)


def test_means_of_shared_images_are_of_the_same_image(base):
    """The recording played back as if it were the session: both means are one."""
    recording = open_recording(base / "recording.zarr").load()
    picked = pick_shared(recording, 20)
    index = recording.stimulus_index.values
    shared = np.isin(index, picked)
    responses = xr.Dataset(
        {"response": (("trial", "unit"), recording.response.values)},
        {
            "stimulus_id": ("trial", [f"shared-{i}" if s else BLANK
                                      for i, s in zip(index, shared, strict=True)]),
            "kind": ("trial", np.where(shared, "shared", BLANK)),
        },
    )  # fmt: skip
    before, after = mean_shared(recording, responses)
    assert before.shape == (20, N)
    np.testing.assert_allclose(before, after, rtol=1e-6)
    responses.response[index == picked[3]] = np.nan
    assert len(mean_shared(recording, responses)[0]) == 19


def test_a_recording_that_repeats_too_few_is_refused_before_anything_is_fitted(base, tmp_path):
    text = PLAN.replace("MATCH", "fingerprint").replace("shared = 80", "shared = 81")
    (base / "many.toml").write_text(text)
    new_loop(base / "many.toml", tmp_path / "loop")
    with pytest.raises(InputError, match="repeats 80 images"):
        run_loop(tmp_path / "loop")
    assert not (tmp_path / "loop" / "recording.zarr").exists()


def test_a_later_day_is_of_simulated_recordings_only(base, tmp_path):
    recording = open_recording(base / "recording.zarr").load()
    del recording.attrs["simulation"]
    save_recording(recording, tmp_path / "recording.zarr")
    (tmp_path / "plan.toml").write_text(PLAN.replace("MATCH", "table"))
    new_loop(tmp_path / "plan.toml", tmp_path / "loop")
    with pytest.raises(InputError, match="of no simulated cortex, but `later.day` is 2"):
        run_loop(tmp_path / "loop")
