import numpy as np
import pytest
import xarray as xr
from command import call, mistake

from twinlab import explorers, fitting, recordings, schema
from twinlab.cli import serving
from twinlab.simulation import SimulatedCortex


def test_twins_of_the_same_neurons_stand_beside_each_other(tmp_path, cortex, recording):
    twin = cortex.as_twin()
    stranger = SimulatedCortex(seed=0, n_neuron=5).as_twin()
    assert serving._same_neurons(twin, cortex.as_twin())
    assert not serving._same_neurons(twin, stranger)
    minutes = np.array([5, 10, 20, 40, 80, 160.0])
    curve = fitting.fit_learning_curve(minutes, minutes / (20 + minutes), n_bootstrap=0)
    (tmp_path / "deep").mkdir()
    schema.save_result(curve, tmp_path / "plan.nc")
    make = serving.make_bench(
        str(tmp_path / "deep"), twin, recording, "simulated", others={"plain": cortex.as_twin()}
    )
    lab = make().lab
    assert list(lab.others) == ["plain"]
    assert lab.findings.learning_curve is not None
    lab.close()


def test_a_recording_is_served_alone(tmp_path):
    recording = SimulatedCortex(seed=0, n_neuron=5).record(n_train=20, n_validation=5, n_test=4)
    path = tmp_path / "recording.zarr"
    recordings.save_recording(recording, path)
    (tmp_path / "fits").mkdir()
    make = serving.show_recording(recording, str(path), fits=tmp_path / "fits")
    lab = make().lab
    assert not lab.has_twin
    page = explorers.RecordingPage(lab)
    lab.wait(60)
    room = {}
    exec(page.as_code(), room)  # noqa: S102 - opens the recording itself
    assert "twin" not in room
    assert room["lab"].fits == lab.fits
    xr.testing.assert_identical(room["raster"], page.raster())
    for one in (lab, room["lab"]):
        one.close()


@pytest.fixture
def served(monkeypatch):
    """What `twinlab serve` would put on a page; nothing is served."""
    made = []

    class Server:
        def start(self):
            pass

        io_loop = type("Loop", (), {"start": staticmethod(lambda: None)})

    def serve(benches, **_):
        made.append(benches)
        return Server(), "http://127.0.0.1:1/"

    monkeypatch.setattr(explorers, "serve", serve)
    monkeypatch.setattr(serving.signal, "signal", lambda *_: None)  # it is pytest's
    return made


def test_without_a_twin_it_is_the_recording_and_without_either_the_example(served, monkeypatch):
    monkeypatch.setattr(serving, "open_source", lambda words, **_: f"opened {words}")
    monkeypatch.setattr(serving, "open_twin", lambda name: f"twin {name}")
    monkeypatch.setattr(serving, "make_bench", lambda _, twin, source, *__, **___: (twin, source))
    monkeypatch.setattr(serving, "show_recording", lambda source, *_, **__: source)
    for words in (["--recording", "scan.zip"], [], ["deep", "--recording", "scan.zip"]):
        assert call("serve", *words, "--no-browser")[0] == 0
    assert served == [
        "opened scan.zip",
        ("twin example", "opened example"),
        ("twin deep", "opened scan.zip"),
    ]


def test_a_recording_that_cannot_be_opened_is_refused_before_serving(served, tmp_path):
    assert "nowhere.zip" in mistake("serve", "--recording", "nowhere.zip", "--no-browser")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"half of an archive")
    assert "broken.zip" in mistake("serve", "--recording", broken, "--no-browser")
    recording = SimulatedCortex(seed=0, n_neuron=5).record(n_train=20, n_validation=5, n_test=4)
    path = tmp_path / "recording.zarr"
    recordings.save_recording(recording, path)
    said = mistake("serve", "--recording", f"{path}:tuesday", "--no-browser")
    assert "has no session tuesday; it holds simulated-0" in said
    assert served == []
