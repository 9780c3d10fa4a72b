"""The page of fits shows what their folder holds, starts them and takes them up again."""

import json
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from twinlab import fitting, insilico, plots, twins
from twinlab.explorers import FitMonitor, LabState
from twinlab.explorers.fit_starting import CLAIMED, TURN
from twinlab.explorers.taking import take_data
from twinlab.files import keep_alone
from twinlab.schema import save_result
from twinlab.simulation import SimulatedCortex


@pytest.fixture(scope="module")
def cortex():
    return SimulatedCortex(seed=0, n_neuron=6, height=18, width=24)


@pytest.fixture(scope="module")
def recording(cortex):
    return cortex.record(n_train=120, n_validation=40, n_test=10)


@pytest.fixture(scope="module")
def made(tmp_path_factory, recording):
    """Two fits that are done, as `twinlab fit` leaves them."""
    folder = tmp_path_factory.mktemp("made") / "fits"
    architecture, settings = fitting.default_settings(recording)
    for name, lr in (("slow", 0.001), ("quick", 0.01)):
        twin, history = fitting.fit_ensemble(
            recording,
            replace(architecture, layers=1, hidden=4, input_kernel=5),
            replace(settings, max_epochs=2, lr=lr),
            members=1,
        )
        twins.save_twin(twin.each[0], folder / name)
        save_result(history, folder / name / "history.nc")
    return folder


@pytest.fixture
def lab(cortex, recording, made, tmp_path):
    fits = shutil.copytree(made, tmp_path / "fits")
    lab = LabState(cortex.as_twin(), recording, fits=fits)
    lab.wait(60)
    yield lab
    lab.close()


@pytest.fixture
def view(lab):
    view = FitMonitor(lab, max_epochs=2, preset="small")
    view.__panel__().get_root()
    lab.wait(60)
    return view


def test_without_a_folder_it_is_said_how_to_give_one(cortex):
    lab = LabState(cortex.as_twin())
    assert "--fits FOLDER" in FitMonitor.lacks(lab)
    lab.close()


def test_fits_are_drawn_side_by_side_as_they_went(view, made):
    assert view.runs == ["quick", "slow"]
    for name in view.runs:
        assert view.found[name].equals(fitting.read_fit(made, name))
    lines = view._draw_validation().get(0)
    drawn = [line["value"].tolist() for line in lines.data]
    assert drawn == [fit.validation_correlation.values[0].tolist() for fit in view.shown.values()]
    best = float(view.found["slow"].validation_correlation.max())
    assert f"epoch 2 of 2, best correlation {best:.3f}" in view._say_fits()
    view.runs = ["slow"]
    assert list(view.shown) == ["slow"]
    assert view.looked_at == "slow"


def test_settings_that_differ_are_listed(view):
    assert view._table.value.index.tolist() == ["lr"]
    assert view._table.value.loc["lr"].tolist() == ["0.01", "0.001"]
    assert "settings are alike" in view._table_said.value
    view.all_settings = True
    assert len(view._table.value) > 30


def test_readouts_are_those_of_the_twin(view, made):
    twin = twins.load_twin(made / "quick")
    np.testing.assert_allclose(view.readouts.places.x, twin.position[:, 0])
    points = view.readouts.draw().get(0)
    np.testing.assert_allclose(points.dimension_values("y"), twin.position[:, 1])


def test_a_fit_waits_for_another_of_the_server_but_its_readouts_are_read(view, lab):
    with TURN:
        view.starting.start()
        view.looked_at = "slow"
        lab._jobs["readouts"].wait(60)
        np.testing.assert_allclose(
            view.readouts.places.x, twins.load_twin(lab.fits / "slow").position[:, 0]
        )
        assert "6 readouts" in view.readouts._said.value
        assert lab.running
        assert "fit-1" not in fitting.find_fits(lab.fits)
    lab.wait(120)
    assert "fit-1" in fitting.find_fits(lab.fits)


@pytest.fixture
def busy(lab, made):
    """Something else that other pages do all the time, until it is asked for what came of it."""
    stop, images = threading.Event(), []

    def synthesise():
        twin = lab.findings.twin
        while not stop.is_set():
            images.append(insilico.synthesize_mei(twin, [0, 1], n_step=20).mei.values)

    def load():
        while not stop.is_set():
            twins.load_twin(made / "quick")  # built with random weights, which are then replaced

    def look():
        other = lab.another(kind="noise")
        while not stop.is_set():
            other.seed = (other.seed + 1) % 10
            other.rate()
        other.close()

    threads = [threading.Thread(target=work) for work in (synthesise, load, look)]
    for thread in threads:
        thread.start()

    def end():
        stop.set()
        for thread in threads:
            thread.join()
        return images

    yield end
    end()


def test_what_other_pages_do_changes_neither_a_fit_nor_is_changed_by_it(view, lab, busy):
    view.starting.start()
    lab.wait(120)
    architecture, settings = view.starting.decided()
    images = busy()
    assert lab.message == "done"
    alone = fitting.fit_twin(lab.findings.recording, architecture, settings)[0].state_dict()
    for name, weight in twins.load_twin(lab.fits / "fit-1").state_dict().items():
        np.testing.assert_array_equal(weight.numpy(), alone[name].numpy(), err_msg=name)
    expected = insilico.synthesize_mei(lab.findings.twin, [0, 1], n_step=20).mei.values
    assert len(images) > 0
    for image in images:
        np.testing.assert_array_equal(image, expected)


def test_pages_draw_nothing_from_the_streams_that_are_shared(lab):
    before = torch.get_rng_state(), np.random.get_state()[1:3]  # noqa: NPY002 - it is looked at
    for kind in lab.param.kind.objects:
        lab.kind = kind
        lab.rate()
    lab.neuron = 3
    lab.wait(60)
    lab.synthesize_mei()
    lab.wait(60)
    assert lab.message == "done"
    assert torch.equal(torch.get_rng_state(), before[0])
    words, place = np.random.get_state()[1:3]  # noqa: NPY002
    np.testing.assert_array_equal(words, before[1][0])
    assert place == before[1][1]


def test_two_pages_that_start_at_once_have_two_fits(view, lab):
    lab_b = lab.another()
    other = FitMonitor(lab_b, max_epochs=1, preset="small")
    with TURN:  # another fit of the server
        view.starting.start()
        other.starting.start()
    lab.wait(120)
    lab_b.wait(120)
    lab_b.close()
    assert (lab.message, lab_b.message) == ("done", "done")
    assert {"fit-1", "fit-2"} <= set(fitting.find_fits(lab.fits))
    assert not CLAIMED


def test_a_fit_is_started_and_joins_the_others(view, lab):
    view.starting.start()
    assert lab.running
    lab.wait(120)
    assert lab.message == "done"
    fit = view.found["fit-1"]
    assert fit.attrs["state"] == "done"
    settings = json.loads(fit.attrs["settings"])
    assert (settings["hidden"], settings["max_epochs"]) == (16, 2)
    assert set(view.shown) == {"fit-1", "quick", "slow"}
    assert (lab.fits / "fit-1" / "twin.json").is_file()  # as `twinlab fit` leaves it


def test_a_fit_that_was_cancelled_is_resumed_and_ends_as_one_that_was_not(view, lab):
    view.max_epochs = 6
    view.starting.start()
    until = time.monotonic() + 120
    while lab.progress < 0.4 and lab.running and time.monotonic() < until:
        time.sleep(0.01)
    lab.cancel()
    with pytest.raises(Exception, match="^$"):  # Cancelled
        lab._jobs["long"].wait(60)
    view._look()
    assert view.found["fit-1"].attrs["state"] == "stopped"
    assert "Resume goes on from its last checkpoint" in view._say_fits()
    view.looked_at = "fit-1"
    view.starting.resume("fit-1")
    lab.wait(120)
    view._look()
    assert view.found["fit-1"].attrs["state"] == "done"
    whole, history = fitting.fit_twin(lab.findings.recording, *view.starting.decided())
    assert view.found["fit-1"].validation_correlation.values[0] == pytest.approx(
        history.validation_correlation.values
    )
    twin = twins.load_twin(lab.fits / "fit-1")
    np.testing.assert_allclose(twin.position, whole.position)


def test_a_finished_fit_stands_beside_the_twin_of_the_lab(view, lab):
    view.looked_at = "quick"
    view.open_scorecard()
    lab.wait(60)
    assert list(lab.others) == ["quick"]
    assert lab.others["quick"].identity == twins.load_twin(lab.fits / "quick").identity
    assert lab.arrivals.twins == 1


def test_a_twin_of_other_neurons_is_refused(view, lab):
    strange = twins.load_twin(lab.fits / "quick")
    strange.neurons = strange.neurons.assign_coords(neuron_id=("neuron", np.arange(6) + 50))
    twins.save_twin(strange, lab.fits / "strange")
    view._look()
    view.param.update(runs=["strange"], looked_at="strange")
    view.open_scorecard()
    lab.wait(60)
    assert not lab.others
    assert "strange cannot stand beside this twin" in lab.message


def test_a_fit_that_another_process_makes_is_followed(view, lab):
    at_work = lab.fits / "far.fitting"
    at_work.mkdir()
    note = {"members": 2, "architecture": {}, "settings": {"schedule": "cosine"}, "core": ""}
    with keep_alone(at_work):
        (at_work / "fit.json").write_text(json.dumps(note))
        view._look()
        view.runs = ["far"]
        assert "its first epoch is not over" in view._say_fits()
    view._look()
    assert "nobody works on it" in view._say_fits()
    (at_work / "fit.json").write_text(json.dumps(note | {"failure": "It diverged; lower `lr`."}))
    view._look()
    assert "It diverged; lower `lr`." in view._say_fits()
    view.starting.resume("far")
    assert "Only a fit that was stopped goes on" in lab.message
    (at_work / "member-0.safetensors").write_bytes(b"half")  # as a copy may be
    view._look()
    assert "far.fitting/member-0.safetensors: the checkpoint is damaged" in view._say_fits()
    view._draw_validation()


def test_a_folder_that_is_gone_leaves_what_was_read(view, lab):
    shutil.rmtree(lab.fits)
    view._look()
    assert "the folder is gone" in view._say_fits()
    assert "no such folder" in lab.message
    assert len(view._draw_validation().get(0).data) == 2
    view.starting.start()
    assert "No fit was started" in lab.message
    assert not lab.running


def test_without_a_recording_no_fit_is_started(cortex, made):
    lab = LabState(cortex.as_twin(), fits=made)
    view = FitMonitor(lab)
    view.starting.start()
    assert "serve the twin with `--recording`" in lab.message
    lab.close()


def test_settings_out_of_range_are_refused(view):
    for name, value in (("max_epochs", 0), ("batch_size", 5000), ("lr", 1.0), ("seed", -1)):
        with pytest.raises(ValueError, match="must be at"):
            setattr(view, name, value)


def test_the_code_reads_what_is_shown(view, cortex, recording):
    names = {"twin": cortex.as_twin(), "recording": recording}
    exec(view.as_code(), names)
    assert all(names["fits"][name].equals(fit) for name, fit in view.shown.items())
    assert names["places"].equals(view.readouts.places)
    assert names["view"].own() == view.own()
    names["lab"].wait(60)
    names["lab"].close()


def test_every_figure_and_table_can_be_taken_away(view, tmp_path):
    for name, draw in view.figures().items():
        assert plots.save_figure(draw(), tmp_path / f"{name}.png").stat().st_size > 1000
    for gather in view.tables().values():
        assert take_data(gather(), "nc", {"twin": "t"}).getbuffer().nbytes > 1000
