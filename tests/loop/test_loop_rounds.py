"""Rounds of a loop: chosen, shown, answered, fitted again; stopped, resumed, and with a rig."""

import csv
import shutil
import sys
from contextlib import suppress
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from twinlab import cli, twins
from twinlab.jobs import Cancelled
from twinlab.loop import (
    bring_responses,
    last_made,
    loop_status,
    new_loop,
    open_loop,
    parse_plan,
    read_key,
    run_loop,
)
from twinlab.loop.rounds import list_rounds
from twinlab.recordings import open_recording, save_recording
from twinlab.schema import InputError, fingerprint, open_result
from twinlab.simulation import SimulatedCortex

PLAN = """
recording = "recording.zarr"
seed = 1
[fit]
members = 2
max_epochs = 4
layers = 1
hidden = 6
[rounds]
number = 2
images = 30
by = "information"
candidates = 120
[units]
number = 3
min_reliability = 0.1
[presentation]
n_repeat = 2
shared = 3
[rig]
width_px = 96
height_px = 72
degrees_per_pixel = 0.5
image_degrees_per_pixel = 1.5
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    cortex = SimulatedCortex(seed=0, n_neuron=6, height=18, width=24, reliability=0.6)
    recording = cortex.record(n_train=200, n_validation=40, n_test=20, n_repeat=4)
    recording = recording.drop_vars(["x_um", "y_um"])  # fits are faster without
    save_recording(recording, folder / "recording.zarr")
    (folder / "plan.toml").write_text(PLAN)
    return folder / "plan.toml"


@pytest.fixture(scope="module")
def done(plan):
    folder = plan.parent / "loop"
    new_loop(plan, folder)
    lines = run_loop(folder, until="stimuli")
    assert [line.split(":")[0] for line in lines[1:5]] == [
        "fit", "round 1", "round 2", "verifier",
    ]  # fmt: skip
    return folder


def test_the_recording_grows_by_what_was_chosen_and_answered(done):
    status = loop_status(done)
    assert [step for step in status if status[step]] == [
        "recording", "fit", "round 1", "round 2", "verifier", "units", "stimuli",
    ]  # fmt: skip
    sizes = [
        open_recording(done / place / "recording.zarr").sizes["trial"]
        for place in ("", "rounds/1", "rounds/2")
    ]
    assert np.diff(sizes).tolist() == [30, 30]
    chosen = [open_result(done / f"rounds/{number}/chosen.nc") for number in (1, 2)]
    names = [one.stimulus_id.values.tolist() for one in chosen]
    assert not set(names[0]) & set(names[1])
    grown = open_recording(done / "rounds/2/recording.zarr").load()
    new = grown.isel(trial=slice(-30, None))
    assert sorted(new.image_id.values.tolist()) == sorted(names[1])
    shown = grown.stimulus.values[new.stimulus_index.values]
    planned = dict(zip(names[1], chosen[1].stimulus.values, strict=True))
    np.testing.assert_array_equal(shown, [planned[name] for name in new.image_id.values])
    # the responses are those in the rig's file, of the codes of these images
    key = read_key(done / "rounds/2/export")
    of = dict(zip(key.code.values, key.stimulus_id.values, strict=True))
    with (done / "rounds/2/responses.csv").open() as file:
        rows = {of[row["code"]]: row for row in csv.DictReader(file)}
    for name, values in zip(new.image_id.values, new.response.values, strict=True):
        given = [float(rows[name][str(i)]) for i in new.neuron_id.values]
        np.testing.assert_allclose(values, given, rtol=1e-5)
    assert sorted(key.kind.values) == ["chosen"] * 30 + ["shared"] * 3
    assert set(key.neuron_id.values) == {""}


def test_the_last_twin_makes_the_stimuli_and_the_last_recording_fits_its_judge(done):
    last = twins.load_twin(last_made(done, "fit"))
    assert last_made(done, "fit") == done / "rounds/2/twin"
    assert open_result(done / "mei.nc").attrs["twin"] == last.identity
    grown = fingerprint(open_recording(done / "rounds/2/recording.zarr"))
    assert last.origin["recording"] == grown
    assert twins.load_twin(done / "verifier").origin["recording"] == grown
    first = open_result(done / "history.nc")
    again = open_result(done / "rounds/2/history.nc")
    steps = [200 // 32 * first.sizes["epoch"], 260 // 32 * again.sizes["epoch"]]
    assert steps[1] == pytest.approx(steps[0], abs=8 / 2)


def test_what_each_round_brought_is_listed(done):
    listed = list_rounds(done, open_loop(done))
    assert listed.n_trial.values.tolist() == [200, 230, 260]
    last = open_result(done / "rounds/2/history.nc").validation_correlation.max("epoch")
    assert float(listed.validation_correlation[2]) == pytest.approx(float(last.mean()))


@pytest.mark.slow
def test_rounds_stopped_anywhere_end_alike(done, plan, impatient):
    folder = plan.parent / "stopped"
    new_loop(plan, folder)
    generator = np.random.default_rng(0)
    ended_at = set()
    for stop in range(30):
        with suppress(Cancelled):
            run_loop(
                folder, until="round 2", job=impatient(int(generator.integers(5, 40 + 5 * stop)))
            )
            break
        ended_at.add(tuple(sorted(path.name for path in folder.glob("rounds/*/*"))))
    assert len(ended_at) >= 4  # at different points of a round
    for name in ("chosen", "responses"):
        one, other = (open_result(at / f"rounds/2/{name}.nc") for at in (folder, done))
        assert one.identical(other), name
    one, other = (twins.load_twin(last_made(at, "fit")).identity for at in (folder, done))
    assert one == other


def test_with_a_rig_each_round_waits_for_its_responses(done, tmp_path, capsys):
    folder = tmp_path / "rig"
    shutil.copytree(done, folder)
    answers = [folder / f"rounds/{number}/responses.csv" for number in (1, 2)]
    answers = [path.rename(tmp_path / f"{number}.csv") for number, path in enumerate(answers)]
    kept = ("plan.toml", "loop.json", "recording.zarr", "twin", "history.nc")
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    recording = open_recording(folder / "recording.zarr").load()
    del recording.attrs["simulation"]
    shutil.rmtree(folder / "recording.zarr")
    save_recording(recording, folder / "recording.zarr")
    with pytest.raises(InputError, match="nothing was exported yet"):
        bring_responses(folder, answers[0])
    (line,) = run_loop(folder)
    assert line.startswith("round 1: the loop waits for the rig")
    assert "rounds/1/export" in line
    argv = ["twinlab", "loop", "status", str(folder)]
    with patch.object(sys, "argv", argv), pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().out
    assert "-     round 1" in said
    assert f"waits for the responses to {folder / 'rounds/1/export'}" in said
    with pytest.raises(InputError, match="does not fit the schedule"):  # those of round 2
        bring_responses(folder, answers[1])
    bring_responses(folder, answers[0])
    with pytest.raises(InputError, match=r"rounds/1/responses.nc: is there already"):
        bring_responses(folder, answers[0])
    one, two = run_loop(folder)
    assert one.startswith("round 1: 30 images by information, 230 training trials")
    assert two.startswith("round 2: the loop waits for the rig")
    assert open_result(folder / "rounds/2/chosen.nc").equals(
        open_result(done / "rounds/2/chosen.nc")
    )


def test_the_images_may_be_the_users_own(plan, tmp_path):
    shutil.copytree(plan.parent / "recording.zarr", tmp_path / "recording.zarr")
    (tmp_path / "photos").mkdir()
    generator = np.random.default_rng(0)
    for i in range(12):
        pixels = generator.integers(0, 256, (30, 40), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"p{i:02d}.png")
    own = PLAN.replace("candidates = 120", 'pool = "photos"').replace('"information"', '"random"')
    (tmp_path / "many.toml").write_text(own)
    new_loop(tmp_path / "many.toml", tmp_path / "many")
    with pytest.raises(InputError, match="has 12 images, but 2 rounds of 30 show 60"):
        run_loop(tmp_path / "many")
    assert not loop_status(tmp_path / "many")["recording"]
    few = own.replace("images = 30", "images = 12").replace("number = 2", "number = 1")
    (tmp_path / "few.toml").write_text(few.replace("members = 2", "members = 1"))
    new_loop(tmp_path / "few.toml", tmp_path / "few")
    run_loop(tmp_path / "few", until="round 1")
    shown = open_recording(tmp_path / "few/rounds/1/recording.zarr").isel(trial=slice(-12, None))
    assert sorted(shown.image_id.values) == [f"p{i:02d}.png" for i in range(12)]
    (tmp_path / "none.toml").write_text(own.replace("photos", "pictures"))
    with pytest.raises(InputError, match="pictures: no such folder"):
        new_loop(tmp_path / "none.toml", tmp_path / "none")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("images = 30", "images = 8000", "a round takes 133 minutes"),
        ("candidates = 120", "candidates = 59", "2 rounds show 60 images"),
        ('"information"', '"best"', "`rounds.by` must be one of"),
        ("members = 2", "members = 1", "'information', but `fit.members` is 1"),
        ("images = 30", "images = 1\nn_repeat = 2", "twice in a row"),
    ],
)
def test_rounds_that_cannot_be_are_refused_with_the_plan(old, new, words):
    with pytest.raises(InputError, match=words):
        parse_plan(PLAN.replace(old, new))


def test_a_plan_without_rounds_has_the_steps_it_had(plan, tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN.replace("number = 2", "number = 0"))
    (tmp_path / "recording.zarr").mkdir()
    new_loop(tmp_path / "plan.toml", tmp_path / "loop")
    assert list(loop_status(tmp_path / "loop")) == [
        "recording", "fit", "verifier", "units", "stimuli", "export", "responses", "comparison",
    ]  # fmt: skip
    with pytest.raises(InputError, match="`until` is 'round 1'"):
        run_loop(tmp_path / "loop", until="round 1")
