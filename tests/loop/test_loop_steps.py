"""A loop on the simulated cortex, whole, stopped and resumed, and with a rig in between."""

import csv
import json
import shutil
import sys
from contextlib import suppress
from unittest.mock import patch

import numpy as np
import pytest
import torch

from twinlab import cli
from twinlab.cli.loop_report import say_what_is_shown, write_loop_report
from twinlab.jobs import Cancelled
from twinlab.loop import bring_responses, loop_status, new_loop, read_key, run_loop
from twinlab.recordings import open_recording, save_recording
from twinlab.schema import InputError, fingerprint, open_result
from twinlab.simulation import SimulatedCortex

PLAN = """
recording = "recording.zarr"
seed = 1
[fit]
members = 2
max_epochs = 8
layers = 2
hidden = 12
[units]
number = 6
min_reliability = 0.2
[presentation]
n_repeat = 8
[rig]
width_px = 192
height_px = 144
degrees_per_pixel = 0.25
image_degrees_per_pixel = 1.5
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    cortex = SimulatedCortex(
        seed=0, n_neuron=10, height=18, width=24, reliability=0.6, running_gain=0.05,
        pupil_gain=0.05, composition={"simple": 0.6, "complex": 0.4},
    )  # fmt: skip
    recording = cortex.record(n_train=1000, n_validation=100, n_test=40)
    save_recording(recording, folder / "recording.zarr")
    (folder / "plan.toml").write_text(PLAN)
    return folder / "plan.toml"


@pytest.fixture(scope="module")
def done(plan):
    folder = plan.parent / "loop"
    new_loop(plan, folder)
    lines = run_loop(folder)
    assert len(lines) == 8
    return folder


def true_rates(folder):
    """Noise-free response of each neuron that has an MEI to each MEI, and to its natural image."""
    settings = json.loads(open_recording(folder / "recording.zarr").attrs["simulation"])
    key = read_key(folder / "export")
    with torch.inference_mode():
        stimuli = torch.as_tensor(key.stimulus.values)
        rate = SimulatedCortex(**settings).as_twin().condition()(stimuli).numpy()
    mei, natural = (rate[key.kind.values == kind] for kind in ("mei", "natural"))
    neuron = key.neuron_id.values[key.kind.values == "mei"].astype(int)
    return mei[:, neuron], np.diagonal(natural[:, neuron])


def test_the_loop_finds_what_is_true_of_the_simulated_cortex(done):
    assert all(loop_status(done).values())
    rate, natural = true_rates(done)
    own = np.diagonal(rate)
    others = np.where(np.eye(len(rate), dtype=bool), 0, rate).max(0)
    clear = own > 1.3 * others  # two neurons look at the same place, and share their stimuli
    confusion = open_result(done / "confusion-mei.nc")
    assert clear.sum() >= 4
    assert (confusion.best_for_it.values[clear] == 1).all()
    assert float(confusion.mean_specificity_p_value) < 0.01
    controls = open_result(done / "controls-mei.nc")
    found, true = controls.ratio.sel(control="natural").values, own / natural
    assert np.median(true) > 1.4
    assert np.median(found) == pytest.approx(np.median(true), rel=0.2)
    prediction = open_result(done / "prediction.nc")
    assert float(prediction.mean_cc_norm) > 0.8  # the order of trials moves it by some 0.03
    assert run_loop(done) == []  # nothing is made again


@pytest.mark.slow
def test_a_loop_stopped_anywhere_ends_alike(plan, impatient):
    short = PLAN.replace("max_epochs = 8", "max_epochs = 2").replace("number = 6", "number = 3")
    short += '[stimuli]\nobjectives = ["mei", "lei"]\n'
    (plan.parent / "short.toml").write_text(short)
    whole, stopped = plan.parent / "whole", plan.parent / "stopped"
    for folder in (whole, stopped):
        new_loop(plan.parent / "short.toml", folder)
    run_loop(whole)
    generator = np.random.default_rng(0)
    ended_at = []
    for stop in range(10):  # more and more patient, so that it ends
        with suppress(Cancelled):
            run_loop(stopped, job=impatient(int(generator.integers(20, 40) * 3**stop)))
        ended_at.append(sum(loop_status(stopped).values()))
    assert ended_at[-1] == 8
    assert len(set(ended_at)) >= 3  # in different steps
    made = ("mei", "lei", "responses", "confusion-mei", "controls-lei", "prediction")
    for name in made:
        ended, expected = (open_result(one / f"{name}.nc") for one in (stopped, whole))
        assert ended.identical(expected), name


def test_with_a_rig_the_loop_waits_for_its_responses(plan, done, tmp_path):
    folder = tmp_path / "rig"
    shutil.copytree(done, folder)
    (folder / "responses.nc").unlink()
    with (folder / "responses.csv").open() as file:
        rows = list(csv.reader(file))
    rows[0][3:] = [f"u{i}" for i in range(10)]
    del rows[5]
    with (tmp_path / "r.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(InputError, match="Unit 'u0' has not the name of a neuron"):
        bring_responses(folder, tmp_path / "r.csv")
    table = [["neuron", "unit"], *[[f"simulated-0/{i}", f"u{i}"] for i in range(9)]]
    (tmp_path / "t.csv").write_text("\n".join(",".join(row) for row in table))
    lines = bring_responses(folder, tmp_path / "r.csv", tmp_path / "t.csv")
    assert len(lines) == 3
    assert lines[0].startswith("trial 4 (")
    assert lines[1:] == ["without a match, neurons: simulated-0/9", "without a match, units: u9"]
    with pytest.raises(InputError, match="is there already"):
        bring_responses(folder, tmp_path / "r.csv", tmp_path / "t.csv")
    assert not list(folder.glob("confusion-*.nc"))  # that was of other responses
    assert [line.split(":")[0] for line in run_loop(folder)] == ["comparison"]
    assert open_result(folder / "prediction.nc").sizes["neuron"] == 9


def test_a_session_of_some_blocks_is_usable(done, tmp_path):
    folder = tmp_path / "partial"
    shutil.copytree(done, folder)
    (folder / "responses.nc").unlink()
    rows = (done / "responses.csv").read_text().splitlines()
    block = (len(rows) - 1) // 8
    kept = [rows[0], *rows[1 : 1 + 2 * block], *rows[2 + 5 * block : 1 + 6 * block]]
    (tmp_path / "r.csv").write_text("\n".join(kept))
    lines = bring_responses(folder, tmp_path / "r.csv")
    assert [line for line in lines if line.startswith("block")] == [
        f"block {i} (trials {i * block} to {(i + 1) * block - 1}) is missing"
        for i in (2, 3, 4, 6, 7)
    ]
    assert len(lines) == 6
    assert lines[3].startswith(f"trial {5 * block} (")
    run_loop(folder)
    for name in ("confusion-mei", "controls-mei", "prediction"):
        partial, whole = (open_result(one / f"{name}.nc") for one in (folder, done))
        assert partial.sizes == whole.sizes
    confusion = open_result(folder / "confusion-mei.nc")
    assert np.isfinite(confusion.specificity).all()
    assert float(confusion.mean_specificity_p_value) < 0.05
    assert "block 2" in write_loop_report(folder, folder / "report.html").read_text()


def test_a_loop_on_a_later_day_finds_its_neurons_again(plan, done):
    """The twin is of the first day; two days on, units are matched by what they answer."""
    text = 'match = "fingerprint"\n' + PLAN.replace("n_repeat = 8", "n_repeat = 8\nshared = 40")
    (plan.parent / "later.toml").write_text(text + "[later]\nday = 2\nloss = 0.1\nshift = 0.2\n")
    folder = plan.parent / "later"
    new_loop(plan.parent / "later.toml", folder)
    for name in ("recording.zarr", "twin", "verifier"):
        shutil.copytree(done / name, folder / name)
    for name in ("units.nc", "mei.nc", "stimuli.nc"):
        shutil.copy(done / name, folder / name)
    assert [line.split(":")[0] for line in run_loop(folder)] == [
        "export",
        "responses",
        "comparison",
    ]
    key = read_key(folder / "export")
    assert (key.kind.values == "shared").sum() == 40
    observed = open_result(folder / "responses.nc")
    assert set(observed.made_for.values[observed.kind.values == "shared"]) == {""}
    true = dict(line.split(",")[::-1] for line in
                (folder / "true-units.csv").read_text().splitlines()[1:])  # fmt: skip
    assert len(true) < 10
    found = dict(zip(observed.unit.values.tolist(), observed.neuron.values.tolist(), strict=True))
    assert found.items() <= true.items()  # no wrong one
    assert len(found) >= 0.75 * len(true)
    confusion = open_result(folder / "confusion-mei.nc")
    assert float(confusion.mean_specificity_p_value) < 0.05
    write_loop_report(folder, folder / "report.html")


def test_what_no_simulated_cortex_recorded_waits_for_a_rig(done, tmp_path):
    folder = tmp_path / "real"
    shutil.copytree(done, folder)
    for name in ("responses.nc", "comparison.done"):
        (folder / name).unlink()
    recording = open_recording(folder / "recording.zarr").load()
    del recording.attrs["simulation"]
    shutil.rmtree(folder / "recording.zarr")
    save_recording(recording, folder / "recording.zarr")
    (line,) = run_loop(folder)
    assert "the loop waits for the rig" in line
    assert not loop_status(folder)["responses"]


def test_what_is_no_loop_is_refused(plan, done, tmp_path):
    with pytest.raises(InputError, match="exists and is not empty"):
        new_loop(plan, done)
    with pytest.raises(InputError, match="holds no loop"):
        run_loop(tmp_path)
    with pytest.raises(InputError, match="`until` is 'end'"):
        run_loop(done, until="end")
    folder = tmp_path / "fresh"
    new_loop(plan, folder)
    with pytest.raises(InputError, match="nothing was exported yet"):
        bring_responses(folder, tmp_path / "r.csv")
    (folder / "plan.toml").write_text(PLAN.replace("number = 6", "number = 7"))
    with pytest.raises(InputError, match="was changed since the loop began"):
        run_loop(folder)


@pytest.mark.slow
def test_a_twin_fitted_on_shuffled_responses_shows_nothing(plan, tmp_path):
    recording = open_recording(plan.parent / "recording.zarr").load()
    fitted = np.flatnonzero(recording.split.values != "test")  # the repeats choose the neurons
    shuffled = recording.copy(deep=True)
    order = np.random.default_rng(0).permutation(fitted)
    shuffled.response[fitted] = recording.response.values[order]
    shuffled.attrs["fingerprint"] = fingerprint(shuffled)
    save_recording(shuffled, tmp_path / "recording.zarr")
    (tmp_path / "plan.toml").write_text(PLAN)
    new_loop(tmp_path / "plan.toml", tmp_path / "loop")
    run_loop(tmp_path / "loop")
    confusion = open_result(tmp_path / "loop" / "confusion-mei.nc")
    assert float(confusion.mean_specificity_p_value) > 0.05
    assert float(confusion.share_best_for_it) <= 3 / 6
    assert "is not shown" in " ".join(say_what_is_shown(confusion, None))


def test_the_report_says_what_is_and_what_is_not_shown(done):
    path = write_loop_report(done, done / "report.html")
    page = path.read_text()
    for words in (
        "of the neurons answer most to the MEI",
        "The stimuli are the neurons&#x27; own",
    ):
        assert words in page
    assert page.count("data:image/png") == 16 + 6 * (3 + 1)  # panels; stimuli and masks
    assert "Every planned trial came back once." in page
    null = open_result(done / "confusion-mei.nc")
    null["mean_specificity_p_value"] = null.mean_specificity_p_value * 0 + 0.4
    assert "own is not shown (p = 0.4" in " ".join(say_what_is_shown(null, None))


def test_the_command_runs_a_loop(plan, done, tmp_path, capsys):
    def call(*words):
        argv = ["twinlab", "loop", *map(str, words)]
        with patch.object(sys, "argv", argv), pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr()

    status, said = call("new", plan, tmp_path / "loop")
    assert (status, said.err) == (0, "")
    assert "18 stimuli, 8 repeats: 3 minutes at the rig." in said.out
    assert "With 6 units and 8 repeats, responses 1.3 times" in said.out
    status, said = call("status", tmp_path / "loop")
    assert said.out.count("done") == 0
    status, said = call("run", tmp_path / "loop", "--until", "recording")
    assert "recording: 10 neurons" in said.out
    status, said = call("status", tmp_path / "loop")
    assert said.out.splitlines()[0] == "done  recording"
    status, said = call("report", tmp_path / "loop")
    assert status == 2
    assert "step 'fit' is not done" in said.err
    status, said = call("run", done)
    assert "Nothing was left to do." in said.out
    status, said = call("report", done, "--out", tmp_path / "r.html")
    assert (tmp_path / "r.html").is_file()
    status, said = call("import", done, tmp_path / "none.csv")
    assert (status, said.err.count("\n")) == (2, 1)
    status, said = call("new", tmp_path / "none.toml", tmp_path / "other")
    assert (status, said.err.count("\n")) == (2, 1)
