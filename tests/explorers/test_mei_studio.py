"""The MEI studio: what it makes is what the experiment makes; branched, judged, kept, as code."""

import copy
import json
import threading
import time

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import explorers, insilico
from twinlab.explorers import LabState, MEIStudio
from twinlab.explorers.making import OBJECTIVES, SETTINGS
from twinlab.explorers.taking import take_data, take_figure
from twinlab.jobs import Cancelled
from twinlab.schema import InputError

FEW = {"n_step": 12, "n_start": 2}


@pytest.fixture(scope="module")
def findings(cortex, recording):
    twin = cortex.as_twin()
    other = copy.deepcopy(twin)
    other.scale.mul_(1.1)
    return LabState(twin, recording, other=other)


@pytest.fixture
def lab(findings):
    state = findings.another(neuron=3)
    yield state
    state.close()


@pytest.fixture
def studio(lab):
    return MEIStudio(lab, **FEW)


def finish(studio):
    studio.lab.wait(60)
    assert studio.lab.message == "done"
    return studio.shown


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_is_made_is_what_the_experiment_makes_and_what_the_code_makes(studio, objective):
    studio.objective = objective
    studio.run()
    made = finish(studio)
    counts = {"n_image" if made.experiment == "diverse" else "n_start": 2}
    alone = getattr(insilico, f"synthesize_{made.experiment}")(
        studio.lab.findings.twin, [3], n_step=12, **counts
    )
    name = "image" if made.experiment == "diverse" else made.experiment
    np.testing.assert_array_equal(made.result[name], alone[name])
    np.testing.assert_array_equal(studio.image, made.picture)
    again = run_code(studio)
    np.testing.assert_array_equal(again["made"][name], made.result[name])
    assert f"neuron {made.neuron}" in studio._say_shown().lower()
    studio.__panel__().get_root()


def run_code(studio):
    findings = studio.lab.findings
    space = {"twin": findings.twin.twin, "recording": findings.recording}
    exec(studio.as_code(), space)
    space["lab"].close()
    return space


@pytest.mark.parametrize("constraint", ["RMS contrast", "natural spectrum"])
def test_what_is_held_fixed_is_held(studio, constraint):
    studio.param.update(constraint=constraint, contrast=0.12, norm=9.0)
    studio.run()
    made, spec = finish(studio), studio.lab.canvas
    z = (made.picture.values - spec.mean) / spec.std
    if constraint == "RMS contrast":
        assert made.picture.values.std() / spec.mean == pytest.approx(0.12, rel=0.01)
    else:
        assert np.linalg.norm(z) == pytest.approx(9.0, rel=0.03)  # but for pixels cut
    np.testing.assert_array_equal(run_code(studio)["made"].mei, made.result.mei)


def test_priors_and_seed_reach_the_experiment(studio):
    studio.param.update(blur_sigma=0, fourier_exponent=1.0, jitter=1, seed=5)
    studio.run()
    settings = json.loads(finish(studio).result.attrs["settings"])
    assert (settings["blur_sigma"], settings["fourier_exponent"], settings["jitter"]) == (0, 1, 1)
    assert studio.shown.result.attrs["seed"] == 5


def test_a_branch_goes_on_from_what_is_shown_and_its_code_too(studio):
    studio.n_step = 10
    studio.run()
    first = finish(studio)
    studio.param.update(norm=12.0, blur_sigma=0)
    studio.branch()
    made = finish(studio)
    np.testing.assert_array_equal(made.start, first.picture)
    assert made.origin is first
    assert float(made.result.norm[0]) == pytest.approx(12, rel=0.02)
    np.testing.assert_array_equal(run_code(studio)["made"].mei, made.result.mei)
    np.testing.assert_array_equal(made.as_result().start_image, first.picture)
    assert [one.neuron for one in studio.kept] == [3, 3]


def test_a_set_cannot_be_branched_and_says_so(studio):
    studio.objective = "diverse and exciting"
    studio.branch()
    with pytest.raises(InputError, match="cannot start from an image"):
        studio.lab.wait(60)
    assert "cannot start from an image" in studio.lab.message
    assert studio.kept == []


def test_the_second_twin_is_asked_and_what_is_kept_says_so(studio):
    studio.run()
    made = finish(studio)
    studio.verify()
    judged = finish(studio)
    assert float(judged.result.activation_other[0]) == pytest.approx(
        1.1 * float(made.result.activation[0]), rel=1e-3
    )
    assert studio.kept == [judged]
    assert " | " in judged.caption
    assert "On the second twin" in studio._say_shown()


def test_without_a_second_twin_or_a_result_there_is_a_word(cortex, lab):
    MEIStudio(lab).verify()
    assert "nothing to verify yet" in lab.message
    alone = LabState(cortex.as_twin())
    studio = MEIStudio(alone, **FEW)
    studio.run()
    alone.wait(60)
    studio.verify()
    assert "There is no second twin" in alone.message
    assert "no second twin to verify on" in studio._say_shown()
    studio.constraint = "natural spectrum"
    studio.run()
    with pytest.raises(InputError, match="Natural images are taken from the recording"):
        alone.wait(60)
    alone.close()


def test_the_image_and_its_response_are_seen_on_the_way_and_cancelled_soon(
    studio, monkeypatch, tmp_path
):
    step, lab = threading.Event(), studio.lab
    report = explorers.state.Job.report

    def slowly(job, *args, **kwargs):
        report(job, *args, **kwargs)
        step.wait(0.03)

    monkeypatch.setattr(explorers.state.Job, "report", slowly)
    seen = []
    lab.param.watch(lambda _: seen.append(studio.image.copy()), "preview")
    studio.n_step = 400
    studio.run()
    while len(studio.course) < 3:
        time.sleep(0.02)
    lab.cancel()
    lab.wait(10)
    assert lab.message == "cancelled"
    assert studio.kept == []
    image, course = seen[-2], studio.ascent()
    assert np.ptp(image) > 0
    assert (np.diff(course.values) >= 0).all()
    assert (np.diff(course.step) > 0).all()
    with torch.inference_mode():
        rate = float(lab.findings.twin.neurons([3])(torch.as_tensor(studio.image[None])))
    assert rate <= course.values[-1] * (1 + 1e-4)
    # what was reached can be branched from, though it was never finished
    monkeypatch.undo()
    reached = studio.image.copy()
    studio.n_step = 10
    studio.branch()
    made = finish(studio)
    np.testing.assert_array_equal(made.start, reached)
    assert made.origin is None
    assert float(made.result.activation[0]) >= rate
    # and made again from the data that were taken away
    stored = take_data(studio.tables()["stimulus"](), "nc", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{type(studio).__name__.lower()}-stimulus.nc").write_bytes(stored.getvalue())
    np.testing.assert_array_equal(run_code(studio)["made"].mei, made.result.mei)


def test_what_is_kept_can_be_shown_again_sent_and_taken_away(studio, lab):
    for norm in (4.0, 9.0):
        studio.norm = norm
        studio.run()
        finish(studio)
    studio.look_at(studio.kept[0])
    np.testing.assert_array_equal(studio.image, studio.kept[0].picture)
    studio.send()
    np.testing.assert_array_equal(lab.stimulus(), studio.kept[0].picture)
    assert lab.image_title.startswith("MEI studio, neuron 3: MEI ")
    lab.neuron = 5  # it is still of the neuron it was made for
    studio.send()
    assert lab.image_title.startswith("MEI studio, neuron 3: MEI ")
    studio.image = studio.image + 1
    studio.send()
    assert lab.image_title == "MEI studio, an image on its way"
    for draw in studio.figures().values():
        assert len(take_figure(draw(), "png").getvalue()) > 1000
    stored = xr.load_dataset(take_data(studio.tables()["stimulus"](), "nc", {}))
    np.testing.assert_array_equal(stored.mei, studio.kept[0].result.mei)
    assert json.loads(stored.attrs["settings"])["norm"] == 4.0


def test_work_of_another_page_is_not_taken_for_its_own(studio, lab):
    before = studio.image.copy()
    lab.synthesize_mei()
    lab.wait(60)
    np.testing.assert_array_equal(studio.image, before)
    assert studio.course == []


def test_a_run_beside_other_work_is_refused(studio, lab):
    held = threading.Event()

    def wait(job):
        while not held.is_set():
            job.check()
            time.sleep(0.01)

    lab.start(wait)
    studio.run()
    assert "Other work is still running" in lab.message
    lab.cancel()
    with pytest.raises(Cancelled):
        lab._jobs["long"].wait(10)


def test_long_work_leaves_a_core_to_the_page(lab, monkeypatch):
    found = []
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    torch.set_num_threads(3)
    try:
        lab.start(lambda job: found.append(torch.get_num_threads()))
        lab.wait(10)
    finally:
        torch.set_num_threads(1)
    assert found == [2]


def test_what_has_no_effect_is_known(studio):
    for objective, experiment in OBJECTIVES.items():
        studio.objective = objective
        assert studio._counts("jitter") == (experiment == "mei")
        assert not studio._counts("contrast")
        assert studio._counts("norm")
        assert set(studio.settings()) == set(SETTINGS[experiment])
    studio.param.update(objective="most exciting", constraint="RMS contrast")
    assert studio._counts("contrast")
    assert not studio._counts("norm")


def test_a_twin_of_videos_has_no_studio(lab, monkeypatch):
    assert MEIStudio.lacks(lab) == ""
    monkeypatch.setattr(type(lab.canvas), "is_video", True)
    assert "This twin sees videos" in MEIStudio.lacks(lab)
