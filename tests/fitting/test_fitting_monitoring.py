"""Fits seen from outside: running, stopped, failed, done; as far as they are."""

import json
from dataclasses import replace

import numpy as np
import pytest

from twinlab import fitting, twins
from twinlab.fitting.checkpoints import read_checkpoint
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError, save_result
from twinlab.simulation import SimulatedCortex


@pytest.fixture(scope="module")
def recording():
    return SimulatedCortex(seed=0, n_neuron=5, height=18, width=24).record(
        n_train=160, n_validation=40, n_test=4
    )


@pytest.fixture(scope="module")
def asked(recording):
    architecture, settings = fitting.default_settings(recording)
    return (
        replace(architecture, layers=1, hidden=4, input_kernel=5, positions="free"),
        replace(settings, max_epochs=3),
    )


@pytest.fixture(scope="module")
def whole(recording, asked):
    return fitting.fit_ensemble(recording, *asked, members=2)


def test_a_fit_is_followed_from_its_first_step_to_its_end(recording, asked, whole, tmp_path):
    seen = []

    def look(job):
        if fitting.find_fits(tmp_path):
            fit = fitting.read_fit(tmp_path, "a")
            seen.append((fit.attrs["state"], fit.sizes["member"], fit.sizes["epoch"]))
        if job.fraction > 0.8:
            job.cancel()

    def fit(job):
        return fitting.fit_ensemble(
            recording, *asked, members=2, checkpoints=tmp_path / "a.fitting", job=job
        )

    with pytest.raises(Cancelled):
        fit(Job(look, interval=0))
    assert {state for state, _, _ in seen} == {"running"}
    assert [epoch for _, member, epoch in seen if member == 1] == sorted(
        epoch for _, member, epoch in seen if member == 1
    )
    stopped = fitting.read_fit(tmp_path, "a")
    assert (stopped.attrs["state"], stopped.attrs["members"]) == ("stopped", 2)
    assert (stopped.sizes["member"], stopped.sizes["epoch"]) == (2, 3)
    left = 6 - int(stopped.seconds.notnull().sum())
    pace = float(stopped.seconds.values[1][np.isfinite(stopped.seconds.values[1])].mean())
    assert 0 < left < 3
    assert float(stopped.seconds_left) == pytest.approx(left * pace, rel=0.6)
    first = whole[1].validation_correlation[0]
    np.testing.assert_allclose(stopped.validation_correlation[0], first)
    before = fitting.stamp_fit(tmp_path, "a")
    assert fitting.stamp_fit(tmp_path, "a") == before

    twin, history = fit(None)
    twins.save_twin(twin, tmp_path / "a")
    save_result(history, tmp_path / "a" / "history.nc")
    assert fitting.stamp_fit(tmp_path, "a") != before
    done = fitting.read_fit(tmp_path, "a")
    assert (done.attrs["state"], done.attrs["members"]) == ("done", 2)
    np.testing.assert_allclose(done.validation_correlation, whole[1].validation_correlation)
    assert json.loads(done.attrs["settings"])["hidden"] == 4
    assert fitting.find_fits(tmp_path) == ["a"]


def test_readouts_are_read_while_a_fit_is_under_way(recording, asked, whole, tmp_path):
    assert fitting.read_readouts(tmp_path, "a", recording) is None
    fitting.fit_ensemble(recording, *asked, members=1, checkpoints=tmp_path / "a.fitting")
    last = fitting.read_readouts(tmp_path, "a", recording)
    assert (last.attrs["width"], last.attrs["height"]) == (24, 18)
    tensors, _ = read_checkpoint(tmp_path / "a.fitting" / "member-0.safetensors", {})
    first, end = whole[0].each[0].corners  # in pixels, of what the readout counts from -1 to 1
    expected = first + (tensors["weights"]["0.readout.mu"].numpy() + 1) / 2 * (end - first)
    np.testing.assert_allclose(np.stack([last.x, last.y], 1), expected, rtol=1e-5)
    np.testing.assert_array_equal(last.neuron_id, recording.neuron_id)
    other = SimulatedCortex(seed=1, n_neuron=9, height=18, width=24)
    strange = other.record(n_train=20, n_validation=5, n_test=2)
    assert fitting.read_readouts(tmp_path, "a", strange) is None
    assert fitting.read_readouts(tmp_path, "a") is None
    twins.save_twin(whole[0], tmp_path / "b")
    done = fitting.read_readouts(tmp_path, "b")
    np.testing.assert_allclose(done.x, whole[0].each[0].position[:, 0])


def test_a_twin_that_was_not_fitted_in_epochs_is_done(whole, tmp_path):
    twins.save_twin(whole[0], tmp_path / "a")  # without a history, as a linear one has none
    fit = fitting.read_fit(tmp_path, "a")
    assert (fit.attrs["state"], fit.sizes["epoch"]) == ("done", 0)
    assert np.isnan(fit.seconds_left)


def test_a_fit_that_diverged_says_so_and_what_to_do(recording, asked, tmp_path):
    architecture, settings = asked
    wild = replace(settings, lr=1e30)
    with pytest.raises(FloatingPointError, match="diverged"):
        fitting.fit_ensemble(
            recording, architecture, wild, members=1, checkpoints=tmp_path / "a.fitting"
        )
    fit = fitting.read_fit(tmp_path, "a")
    assert fit.attrs["state"] == "failed"
    assert "lower `lr`, now 1e+30" in fit.attrs["notices"]
    assert json.loads(fit.attrs["settings"])["lr"] == 1e30
    assert fit.sizes["epoch"] == 0
    assert np.isnan(fit.seconds_left)


def test_two_do_not_fit_in_one_place(recording, asked, tmp_path):
    from twinlab.files import keep_alone

    (tmp_path / "a.fitting").mkdir()
    with (
        keep_alone(tmp_path / "a.fitting"),
        pytest.raises(InputError, match="another process is fitting here"),
    ):
        fitting.fit_ensemble(recording, *asked, checkpoints=tmp_path / "a.fitting")


def test_what_is_no_fit_is_refused(tmp_path):
    with pytest.raises(InputError, match="gone: no such folder"):
        fitting.find_fits(tmp_path / "gone")
    with pytest.raises(InputError, match="holds no twin and no fit"):
        fitting.read_fit(tmp_path, "none")
    (tmp_path / "a.fitting").mkdir()
    (tmp_path / "a.fitting" / "member-0.safetensors").write_bytes(b"half")
    assert fitting.find_fits(tmp_path) == ["a"]
    with pytest.raises(InputError, match="checkpoint is damaged"):
        fitting.read_fit(tmp_path, "a")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link.fitting").symlink_to(tmp_path / "a.fitting")
    assert fitting.find_fits(tmp_path / "inside") == []
