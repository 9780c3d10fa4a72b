"""The page of a loop shows what its folder holds, and leads on from there."""

import shutil

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import loop as loops
from twinlab import plots, stimuli
from twinlab.explorers import InceptionLoop, LabState
from twinlab.files import keep_alone
from twinlab.loop import (
    Rig,
    compare_confusion,
    compare_controls,
    compare_prediction,
    export_stimuli,
    import_responses,
    make_schedule,
    match_by_table,
    name_units,
    new_loop,
    plan_next,
    play_rig,
)
from twinlab.schema import make_result, open_result, save_result
from twinlab.simulation import SimulatedCortex

N = 6
SIZE = {"height": 18, "width": 24}
PLAN = """
recording = "simulated"
units.number = 6
stimuli.controls = ["natural"]
presentation.n_repeat = 4
[rig]
width_px = 160
height_px = 120
degrees_per_pixel = 0.35
image_degrees_per_pixel = 1.5
"""
NAMES = [f"simulated-0/{i}" for i in range(N)]


@pytest.fixture(scope="module")
def cortex():
    return SimulatedCortex(seed=0, n_neuron=N, **SIZE)


@pytest.fixture(scope="module")
def recording(cortex):
    return cortex.record(n_train=60, n_validation=20, n_test=10)


@pytest.fixture(scope="module")
def planned(cortex):
    """The true filter of each neuron, and a natural image, as stimuli."""
    filters = cortex.record(n_train=1, n_validation=0, n_test=0).true_filter.values
    scale = 100 / np.abs(filters).max((1, 2, 3), keepdims=True)
    leaves = stimuli.make_dead_leaves(N, **SIZE, seed=3).values
    kinds, units = np.repeat(["mei", "natural"], N), np.tile(np.arange(N), 2)
    shown = np.concatenate([127.5 + scale * filters, leaves]).astype(np.float32)
    return xr.Dataset(
        {
            "stimulus": (("stimulus", "channel", "y", "x"), shown),
            "predicted_other": ("stimulus", np.arange(2.0 * N)),
        },
        {
            "stimulus_id": ("stimulus", [f"{k}-{u}" for k, u in zip(kinds, units, strict=True)]),
            "kind": ("stimulus", kinds),
            "session": ("stimulus", np.full(2 * N, "simulated-0")),
            "neuron_id": ("stimulus", units.astype(str)),
        },
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cortex, planned):
    """Two loops: one whose steps left what they leave, without a fit, and one just begun."""
    folder = tmp_path_factory.mktemp("kept") / "loops"
    (folder.parent / "plan.toml").write_text(PLAN)
    for name in ("begun", "done"):
        new_loop(folder.parent / "plan.toml", folder / name)
    done = folder / "done"
    rig = Rig(width_px=160, height_px=120, degrees_per_pixel=0.35, image_degrees_per_pixel=1.5)
    schedule = make_schedule(planned.stimulus_id.values, n_repeat=4, n_blank=2, seed=1)
    nothing = np.full((2 * N, *SIZE.values()), np.nan, np.float32)
    shown = planned.drop_vars("predicted_other").assign(mask=(("stimulus", "y", "x"), nothing))
    export_stimuli(shown, schedule, rig, done / "export", mean=127.5)
    with torch.inference_mode():
        rate = cortex.as_twin().condition()(torch.as_tensor(planned.stimulus.values)).numpy()
    played = play_rig(cortex, done / "export", done / "responses.csv", seed=1)
    responses = import_responses(played, done / "export").responses
    table = {name: str(i) for i, name in enumerate(NAMES)}
    observed = name_units(responses, match_by_table(table, NAMES, responses.unit.values.tolist()))
    observed.attrs |= {"experiment": "responses", "findings": "trial 7 came twice"}
    predicted = xr.DataArray(
        rate,
        dims=("stimulus", "neuron"),
        coords={"stimulus_id": ("stimulus", planned.stimulus_id.values), "neuron": NAMES},
    )
    prediction = compare_prediction(observed, predicted, n_bootstrap=50)
    prediction.cc_norm[1] = np.nan  # as of a neuron whose repeats tell too little
    results = {
        "units": make_result(
            xr.Dataset({"chosen": ("neuron", [True] * N, {"long_name": "chosen", "units": "1"})}),
            experiment="units",
        ),
        "stimuli": planned.assign_attrs(experiment="stimuli", left_out=""),
        "responses": observed,
        "confusion-mei": compare_confusion(observed, n_permutation=200, n_bootstrap=50),
        "controls-mei": compare_controls(observed, ["natural"], n_bootstrap=50),
        "power-mei": plan_next(observed, ["natural"], n_unit=N, n_repeat=4),
        "prediction": prediction,
    }
    for name, result in results.items():
        save_result(result, done / f"{name}.nc")
    for name in ("recording.zarr", "twin", "verifier"):
        (done / name).mkdir()
    (done / "comparison.done").touch()
    return folder


@pytest.fixture
def lab(cortex, recording, folder):
    lab = LabState(cortex.as_twin(), recording, loops=folder)
    lab.close()
    yield lab
    lab.close()


@pytest.fixture
def view(lab):
    view = InceptionLoop(lab, loop="done")
    view.__panel__().get_root()
    return view


def test_without_a_loop_it_is_said_how_to_give_one(cortex, tmp_path):
    lab = LabState(cortex.as_twin())
    assert "--loops FOLDER" in InceptionLoop.lacks(lab)
    lab.loops = tmp_path
    assert "begin one with `twinlab loop new`" in InceptionLoop.lacks(lab)
    lab.loops = tmp_path / "gone"
    assert "no such folder" in InceptionLoop.lacks(lab)
    lab.close()


def test_one_loop_can_be_given_in_place_of_a_folder_of_them(lab, folder):
    lab.loops = folder / "begun"
    assert InceptionLoop.lacks(lab) == ""
    view = InceptionLoop(lab)
    assert (view.loop, view.folder) == ("begun", folder / "begun")


def test_what_is_shown_is_what_the_folder_holds(view, folder):
    assert view.groups["confusion-mei"].identical(
        open_result(folder / "done" / "confusion-mei.nc")
    )
    assert (view.objective, len(view.matrix._matrix.object.get(()) or [])) == ("mei", 4)
    controls = view.groups["controls-mei"].sel(control="natural")
    low, _ = controls.median_ratio_interval.values
    said = view.results._words["controls"].value
    assert not np.isfinite(controls.median_ratio)  # a control that half of them do not answer
    assert f"median ratio <b>infinite</b> [{low:.2f}, infinite]" in said
    mean, (low, _) = float(controls.ratio_of_means), controls.ratio_of_means_interval.values
    assert f"ratio of means {mean:.2f} [{low:.2f}, " in said
    assert "trial 7 came twice" in view.results._words["shown"].value
    assert len(view.results._panes["prediction"]) == 3


def test_a_tap_on_a_cell_shows_its_stimulus_and_the_answer(view, planned):
    order = view.result.neuron.values.astype(str)
    view.choose_cell(2.3, 3.6)
    assert (view.answers, view.made_for) == (order[2], order[4])
    made = int(order[4].split("/")[1])
    np.testing.assert_allclose(view.stimulus.shown.stimulus, planned.stimulus.values[made])
    table = view.groups["prediction"].sel(neuron=order[2])
    at = table.stimulus_id.values.tolist().index(f"mei-{made}")
    said = view.stimulus.say()
    assert f"measured <b>{float(table.observed[at]):.3g}</b>" in said
    assert f"predicted <b>{float(table.predicted[at]):.3g}</b>" in said
    assert str(view.stimulus.shown.code.item()) in said
    assert "verifier" not in said  # which was asked of their own stimuli alone
    view.kind = "natural"
    np.testing.assert_allclose(view.stimulus.shown.stimulus, planned.stimulus.values[N + made])
    view.choose_cell(4, 4)
    assert view.made_for == view.answers == order[4]
    assert f"by the verifier <b>{N + made:.3g}</b>" in view.stimulus.say()
    view.choose_cell(-3, 99)
    view.choose_cell(None, None)
    assert view.answers == order[4]


def test_a_cell_is_chosen_by_the_names_of_its_neurons(view):
    choices = view.matrix._chosen
    assert all(choice.visible for choice in choices.values())
    choices["made_for"].value, choices["answers"].value = NAMES[4], NAMES[2]
    assert (view.made_for, view.answers) == (NAMES[4], NAMES[2])
    view.choose_cell(0, 0)
    shown = view.result.made_for.values[0], view.result.neuron.values[0]
    assert (choices["made_for"].value, choices["answers"].value) == shown  # they follow a tap


def test_the_matrix_is_of_the_neurons_asked_for_and_the_tests_of_all(view, lab):
    whole = view.result.neuron.values.tolist()
    view.units = "reliable"
    judged = view.groups["prediction"]
    kept = judged.neuron.values[np.isfinite(judged.cc_norm)].tolist()
    assert NAMES[1] not in kept
    assert view.result.neuron.values.tolist() == [name for name in whole if name in kept]
    assert view.result.made_for.values.tolist() == view.result.neuron.values.tolist()
    assert f"{len(kept)} of 6 neurons; tests and intervals are of all" in view.matrix._said.value
    lab.selection = [0, 3]
    view.units = "selection"
    assert set(view.result.neuron.values) == {NAMES[0], NAMES[3]}
    lab.selection = []
    assert "No neuron is left" in view.matrix._said.value


def test_a_stimulus_goes_to_the_bench_and_a_neuron_to_the_lab(view, lab):
    view.param.update(made_for=NAMES[2], answers=NAMES[5], kind="mei")
    view.stimulus.send()
    np.testing.assert_array_equal(lab.image, view.stimulus.shown.stimulus)
    assert lab.image_title == "mei of simulated-0/2, loop done"
    view.stimulus.choose_unit()
    assert lab.neuron == 5
    view.answers = "elsewhere/5"
    view.stimulus.choose_unit()
    assert "elsewhere/5 is not of this lab's twin" in lab.message


def test_the_verifier_is_asked_when_it_is_to_be_the_judge(view, lab, monkeypatch):
    other = view.groups["prediction"].copy(deep=True)
    other["mean_correlation"] = other.mean_correlation - 0.25
    monkeypatch.setattr(
        "twinlab.explorers.inception_loop.judge_prediction", lambda folder, by, job: other
    )
    before = view.results._words["prediction"].value
    view.judge = "verifier"
    lab.wait(30)
    assert view.prediction.identical(other)
    assert f"{float(other.mean_correlation):.3f}" in view.results._words["prediction"].value
    assert view.results._words["prediction"].value != before


def test_the_code_computes_what_is_shown(view, cortex, recording):
    view.param.update(made_for=NAMES[2], answers=NAMES[4])
    names = {"twin": cortex.as_twin(), "recording": recording}
    exec(view.as_code(), names)
    assert names["result"].identical(view.groups["confusion-mei"])
    assert names["prediction"].identical(view.prediction)
    assert names["stimuli"].identical(view.stimulus.every)
    assert names["view"].own() == view.own()
    names["lab"].close()


@pytest.mark.parametrize("form", ["png", "svg"])
def test_every_figure_and_table_can_be_taken_away(view, form, tmp_path):
    figures = view.figures()
    assert {"confusion matrix", "stimulus", "controls", "prediction", "power"} <= set(figures)
    plots.save_figure(figures["stimulus"](), tmp_path / f"one.{form}")
    plots.save_figure(figures["confusion matrix"](), tmp_path / f"two.{form}")
    from twinlab.explorers.taking import take_data

    for name, table in view.tables().items():
        data = table()
        if data is not None:
            assert take_data(data, "nc", {"twin": "t"}).getbuffer().nbytes > 1000, name


def test_a_loop_that_was_begun_says_what_is_next(lab):
    view = InceptionLoop(lab, loop="begun")
    assert "No comparison yet" in view.matrix._said.value
    assert not any(choice.visible for choice in view.matrix._chosen.values())
    assert view.steps.state.values.tolist() == ["next", *["later"] * 7]
    assert "next" in view.progress.say()
    assert view.progress._run.visible
    view.__panel__().get_root()


def test_the_next_steps_are_done_from_the_page_and_cancelled(lab, folder, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "twinlab.explorers.loop_progress.run_loop", lambda folder, job: asked.append(folder)
    )
    view = InceptionLoop(lab, loop="begun")
    view.progress.go_on()
    lab.wait(30)
    assert asked == [folder / "begun"]
    assert lab.message == "done"


def test_what_another_process_does_is_followed(lab, folder, tmp_path):
    lab.loops = shutil.copytree(folder, tmp_path / "loops")
    view = InceptionLoop(lab, loop="begun")
    with keep_alone(tmp_path / "loops" / "begun"):
        view._look()
        assert view.steps.state.values[0] == "running"
    (tmp_path / "loops" / "begun" / "recording.zarr").mkdir()
    view._look()
    assert view.steps.state.values.tolist()[:2] == ["done", "next"]
    assert not np.isnat(view.steps.finished.values[0])
    shutil.rmtree(tmp_path / "loops")
    view._look()
    assert "no such folder" in view.progress.say()
    assert "The loop cannot be read" in lab.message
    assert view.steps.state.values.tolist()[:2] == ["done", "next"]  # what was read stays


@pytest.mark.parametrize("name", ["../done", "/etc", "none"])
def test_no_folder_beside_those_given_is_opened(lab, name):
    view = InceptionLoop(lab, loop=name)
    assert view.groups == {}
    assert f"There is no loop {name!r}; there are begun, done." in lab.message
    view.__panel__().get_root()
    view.loop = "done"
    assert "confusion-mei" in view.groups


def test_a_link_out_of_the_folder_is_not_followed(folder, tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(folder / "done")
    assert loops.find_loops(tmp_path / "inside") == {}
