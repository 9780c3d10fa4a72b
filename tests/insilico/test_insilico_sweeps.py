"""Sweeps: the same file however often they were stopped, and memory for one part."""

import functools
import json
import os
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import xarray as xr

from twinlab import evaluation, insilico, schema, twins
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError

N_NEURON = 10
SETTINGS = {"shift": 1.0}
GRID = {"gain": [1.0, 2.0], "power": [1, 3]}


def make_twin(mean=110.0):
    """Ten neurons that answer with the mean grey level."""
    spec = twins.StimulusSpec(1, 4, 5, mean, 55.0)
    neurons = xr.Dataset(
        coords={
            "neuron_id": ("neuron", np.arange(N_NEURON) + 100),
            "session": ("neuron", ["s"] * N_NEURON),
        }
    )

    def answer(images):
        return images.mean((1, 2, 3))[:, None].expand(-1, N_NEURON)

    return twins.wrap_callable(answer, spec, neurons).condition()


@pytest.fixture(scope="module")
def quiet():
    return make_twin()


def label(long_name):
    return {"long_name": long_name, "units": "1"}


def experiment(twin, neurons, *, gain=1.0, power=1, shift=0.0, width=3, job=None):
    """Numbers that give away by which neuron and settings they were made."""
    neurons = np.array(neurons)
    value = shift + gain * neurons[:, None] ** power * np.arange(width)
    result = xr.Dataset(
        {
            "curve": (("neuron", "x"), value, label("curve")),
            "failed": ("neuron", (neurons % 2).astype(np.int8), label("failed")),
            "shared": ("x", gain * np.arange(width), label("same for all neurons")),
        },
        twin.neurons(neurons).labels.coords,
    ).assign_coords(x=np.arange(width), frame_of=("x", [f"f{i}" for i in range(width)]))
    return schema.make_result(result, experiment="made up", settings={"shift": shift})


def sweep(twin, target, function=experiment, **changes):
    asked = {"settings": SETTINGS, "grid": GRID, "part_size": 4, "job": None} | changes
    return insilico.run_sweep(function, twin, target, **asked)


def test_every_entry_is_the_experiment_run_alone(quiet, tmp_path):
    result = schema.open_result(sweep(quiet, tmp_path / "r.nc"))
    assert result.curve.dims == ("neuron", "gain", "power", "x")
    for neuron in range(N_NEURON):
        for gain in GRID["gain"]:
            for power in GRID["power"]:
                alone = experiment(quiet, [neuron], gain=gain, power=power, shift=1.0)
                entry = result.sel(gain=gain, power=power)
                np.testing.assert_array_equal(entry.curve[neuron], alone.curve[0])
                np.testing.assert_array_equal(entry.shared, alone.shared)
    assert result.failed.dtype == np.int8
    assert set(result.coords) == {
        "neuron_id", "session", "x", "frame_of", "gain", "power",
    }  # fmt: skip
    assert result.attrs["complete"] == 1
    assert json.loads(result.attrs["settings"]) == SETTINGS | GRID
    assert json.loads(result.attrs["swept"]) == ["gain", "power"]
    assert result.curve.attrs == label("curve")
    assert [path.name for path in tmp_path.iterdir()] == ["r.nc"]


def test_without_a_grid_parts_are_put_together_as_they_are(quiet, tmp_path):
    result = schema.open_result(sweep(quiet, tmp_path / "r.nc", grid=None))
    alone = experiment(quiet, range(N_NEURON), shift=1.0)
    xr.testing.assert_identical(result.drop_attrs(deep=False), alone.drop_attrs(deep=False))
    chosen = schema.open_result(sweep(quiet, tmp_path / "r.nc", neurons=[7, 2], grid=None))
    assert chosen.neuron_id.values.tolist() == [107, 102]


@pytest.mark.parametrize("stop_at", [0, 1, 8])
def test_cancelled_and_resumed_it_ends_with_the_same_file(quiet, tmp_path, stop_at):
    whole = sweep(quiet, tmp_path / "whole.nc").read_bytes()
    asked = []

    def stopping(twin, neurons, *, job, **settings):
        asked.append(1)
        if len(asked) == stop_at + 1:
            job.report(0.5)
            watched.cancel()
            job.report(0.6)
        return experiment(twin, neurons, **settings)

    watched = Job()
    target, partial = tmp_path / "r.nc", tmp_path / "r.partial.nc"
    with pytest.raises(Cancelled):
        sweep(quiet, target, stopping, job=watched)
    assert not target.exists()
    assert partial.exists() == (stop_at > 0)
    if stop_at:
        kept = schema.open_result(partial)
        assert kept.attrs["complete"] == 0
        done = np.isfinite(kept.curve.values).all(-1)  # (neuron, gain, power)
        assert done.reshape(N_NEURON, -1)[::4].sum() == stop_at
        np.testing.assert_array_equal(np.isfinite(kept.failed.values), done)
        assert kept.neuron_id.values.tolist() == list(range(100, 110))
    with pytest.raises(InputError, match="parts of another run"):
        sweep(quiet, target, settings={"shift": 2.0})
    with pytest.raises(InputError, match="parts of another run"):
        sweep(quiet, target, made_by={"other": "b"})
    sweep(quiet, target, stopping)
    assert len(asked) == 3 * 4 + 1
    assert target.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.nc", "whole.nc"]


def test_parts_of_another_experiment_twin_or_version_are_refused(quiet, tmp_path, monkeypatch):
    watched = Job()

    def stopping(twin, neurons, *, job, **settings):
        watched.cancel()
        return experiment(twin, neurons, **settings)

    target = tmp_path / "r.nc"
    with pytest.raises(Cancelled):
        sweep(quiet, target, stopping, job=watched)
    with pytest.raises(InputError, match="parts of another run"):
        sweep(quiet, target)
    with pytest.raises(InputError, match="parts of another run"):
        sweep(make_twin(mean=111.0), target, stopping)  # refitted, and at the same path
    monkeypatch.setattr("twinlab.insilico.sweeps.version", lambda name: "0.0.0")
    with pytest.raises(InputError, match="parts of another run"):
        sweep(quiet, target, stopping)


def test_settings_may_be_arrays_and_datasets_and_are_known_again(quiet, tmp_path):
    def told(twin, neurons, *, gain, known, job):
        watched.cancel()
        return experiment(twin, neurons, gain=gain + float(known.best.sum()))

    known = xr.Dataset({"best": ("neuron", [0.25, 0.25])})
    target = tmp_path / "r.nc"
    asked = {"settings": {"known": known}, "grid": {"gain": np.arange(1, 3)}, "part_size": 10}
    watched = Job()
    with pytest.raises(Cancelled):
        sweep(quiet, target, told, **asked, job=watched)
    with pytest.raises(InputError, match="parts of another run"):
        sweep(quiet, target, told, **asked | {"settings": {"known": 2 * known}})
    with pytest.raises(InputError, match="but got Job"):
        sweep(quiet, target, told, **asked | {"settings": {"known": Job()}})
    result = schema.open_result(sweep(quiet, target, told, **asked))
    assert result.gain.values.tolist() == [1, 2]
    assert result.curve.values[1, :, 1].tolist() == [1.5, 2.5]


def test_killed_without_warning_it_ends_with_the_same_file(quiet, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r});"
        f"import test_insilico_sweeps as here; here.sweep_and_die({str(tmp_path / 'r.nc')!r})"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["r.nc.parts"]
    assert len(list((tmp_path / "r.nc.parts").glob("*.nc"))) == 7
    whole = sweep(quiet, tmp_path / "whole.nc")
    assert sweep(quiet, tmp_path / "r.nc").read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.nc", "whole.nc"]


def test_parts_that_nobody_owns_are_not_taken_for_this_runs(quiet, tmp_path):
    folder = tmp_path / "r.nc.parts"
    folder.mkdir()
    stale = experiment(quiet, range(4), gain=-7.0)
    schema.save_result(stale, folder / "000001.nc")
    result = schema.open_result(sweep(quiet, tmp_path / "r.nc"))
    assert (result.curve >= 0).all()


def sweep_and_die(target):
    asked = []

    @functools.wraps(experiment)  # by whose name the run goes on
    def dying(twin, neurons, *, job, **settings):
        asked.append(1)
        if len(asked) == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return experiment(twin, neurons, **settings)

    sweep(make_twin(), target, dying)


def test_memory_does_not_grow_with_the_sweep(quiet, tmp_path):
    def wide(twin, neurons, *, gain, job):
        curve = np.full((len(neurons), 100_000), gain)  # of two neurons, 1.6 MB
        result = xr.Dataset({"curve": (("neuron", "x"), curve, label("curve"))})
        return schema.make_result(result, experiment="made up")

    peaks = []
    for n_value in (1, 6):
        swept = {"settings": None, "grid": {"gain": np.arange(1.0, 1 + n_value).tolist()}}
        tracemalloc.start()
        target = sweep(quiet, tmp_path / f"{n_value}.nc", wide, part_size=2, **swept)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert target.stat().st_size > n_value * N_NEURON * 800_000
    assert peaks[1] < 1.1 * peaks[0]


def test_an_experiment_on_all_neurons_together_is_not_split(quiet, tmp_path):
    def together(twin, neurons, *, gain, job):
        total = xr.Dataset({"total": ((), gain * len(neurons), label("sum"))})
        return schema.make_result(total, experiment="made up")

    swept = {"settings": None, "grid": {"gain": [1.0, 2.0]}}
    result = schema.open_result(sweep(quiet, tmp_path / "r.nc", together, part_size=None, **swept))
    assert result.total.values.tolist() == [10.0, 20.0]
    with pytest.raises(ValueError, match="depends on which neurons"):
        sweep(quiet, tmp_path / "s.nc", together, **swept)


def test_a_setting_named_like_a_variable_gets_a_name_of_its_own(quiet, tmp_path):
    def clash(twin, neurons, *, curve, job):
        return experiment(twin, neurons, gain=curve)

    target = sweep(quiet, tmp_path / "r.nc", clash, settings=None, grid={"curve": [1.0, 2.0]})
    result = schema.open_result(target)
    assert result.curve.dims == ("neuron", "swept_curve", "x")


def test_a_setting_that_moves_the_axes_is_refused(quiet, tmp_path):
    def moving(twin, neurons, *, gain, job):
        return experiment(twin, neurons).assign_coords(x=gain * np.arange(3))

    with pytest.raises(InputError, match="moves the coordinate `x`"):
        sweep(quiet, tmp_path / "r.nc", moving, settings=None, grid={"gain": [1.0, 2.0]})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"grid": {"shift": [1.0]}}, "both set and swept"),
        ({"grid": {"gain": []}}, "one or more different values"),
        ({"grid": {"width": [2, 3]}}, "changes the shape"),
        ({"part_size": 0}, "part_size"),
        ({"neurons": "reliable"}, "no recording"),
        ({"neurons": "best"}, "'best'"),
        ({"neurons": [10]}, "between 0 and 9"),
    ],
)
def test_what_cannot_be_swept_is_refused(quiet, tmp_path, changes, complaint):
    with pytest.raises(InputError, match=complaint):
        sweep(quiet, tmp_path / "r.nc", **changes)
    with pytest.raises(InputError, match="is a folder"):
        sweep(quiet, tmp_path)


def test_reliable_neurons_are_those_above_the_cut(cortex, recording, tmp_path):
    twin = cortex.as_twin().condition()
    share = evaluation.explainable_variance(
        recording.response.values, recording.stimulus_index.values
    )
    cut = float(np.median(share))
    found = insilico.reliable_neurons(twin, recording, min_explainable_variance=cut)
    np.testing.assert_array_equal(found, np.flatnonzero(share > cut))
    # matched by name, not by place
    back = recording.isel(neuron=slice(None, None, -1))
    again = insilico.reliable_neurons(twin, back, min_explainable_variance=cut)
    np.testing.assert_array_equal(found, again)

    target = insilico.run_sweep(
        experiment, twin, tmp_path / "r.nc", "reliable", recording=recording,
        min_explainable_variance=cut,
    )  # fmt: skip
    result = schema.open_result(target)
    assert result.sizes["neuron"] == len(found)
    said = json.loads(result.attrs["settings"])["neurons"]
    assert said.startswith(f"{len(found)} of {len(twin)} neurons, explainable variance above")

    once = recording.isel(trial=recording.split.values == "train")
    with pytest.raises(InputError, match="No stimulus of this recording is repeated"):
        insilico.reliable_neurons(twin, once)
    with pytest.raises(InputError, match="below 1"):
        insilico.reliable_neurons(twin, recording, min_explainable_variance=1.0)
    with pytest.raises(InputError, match="No neuron has"):
        insilico.reliable_neurons(twin, recording, min_explainable_variance=0.999)
