"""A recording left on the disk is fitted as one in memory is, in memory that does not grow."""

import threading
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import evaluation, fitting, twins
from twinlab.fitting import stored, training, trials
from twinlab.fitting.summaries import response_moments, summarise_responses
from twinlab.fitting.trials import image_spec
from twinlab.jobs import Cancelled, Job
from twinlab.recordings import open_recording, save_recording
from twinlab.schema import InputError, fingerprint, is_lazy
from twinlab.simulation import SimulatedVideoCortex

SMALL = twins.Architecture(layers=1, hidden=4, behavior="gain", shifter=True)
SHORT = fitting.FitSettings(max_epochs=2, batch_size=64, schedule="cosine", precision="float32")


@pytest.fixture(scope="module")
def store(recording, tmp_path_factory):
    """The recording with gaps, in small chunks, so that batches come from many of them."""
    gappy = recording.copy(deep=True)
    train = np.flatnonzero(recording.split.values == "train")
    gappy.response[train[:20]] = np.nan
    gappy.response[train[40:200], 3] = np.nan
    small = {"trial": 50, "image": 30, "neuron": 24}
    return save_recording(gappy.chunk(small), tmp_path_factory.mktemp("store") / "it.zarr")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A small recording of videos, one of which ends early, in memory and on the disk."""
    cortex = SimulatedVideoCortex(seed=0, n_neuron=6)
    recording = cortex.record(n_train=10, n_validation=4, n_test=1, n_repeat=2, n_frame=40)
    ends = int(np.flatnonzero(recording.split.values == "train")[2])
    recording.response[ends, :, 25:] = np.nan
    path = save_recording(recording.chunk(trial=3), tmp_path_factory.mktemp("films") / "it.zarr")
    return path


def assert_same_fit(path, architecture, settings):
    memory, lazy = open_recording(path), open_recording(path, lazy=True)
    assert is_lazy(lazy)
    one, history = fitting.fit_twin(memory, architecture, settings)
    other, again = fitting.fit_twin(lazy, architecture, settings)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert one.origin == other.origin
    for name in ("train_loss", "validation_loss", "validation_correlation"):
        np.testing.assert_allclose(again[name], history[name], rtol=1e-9)
    return history.notices, again.notices


def test_the_same_seed_gives_the_same_weights_from_the_disk(store):
    notices = assert_same_fit(store, SMALL, SHORT)
    assert "training responses are missing (first: neuron 3, training trial 20)" in notices[0]
    assert notices[0].split("The fit needs")[0] == notices[1].split("The fit needs")[0]


def test_videos_on_the_disk_are_fitted_as_in_memory(films):
    architecture = twins.Architecture(
        core="factorized_3d", layers=2, hidden=4, input_kernel=5, hidden_kernel=3,
        behavior="gain", shifter=True,
    )  # fmt: skip
    assert_same_fit(films, architecture, replace(SHORT, batch_size=3, clip_frames=20))


def test_predictions_are_those_in_memory(store):
    memory, lazy = open_recording(store), open_recording(store, lazy=True)
    twin = fitting.fit_linear_nonlinear(memory)
    xr.testing.assert_identical(
        twins.predict_responses(twin, lazy, split="test", batch_size=50),
        twins.predict_responses(twin, memory, split="test", batch_size=50),
    )


def test_a_stopped_fit_from_the_disk_goes_on(store, tmp_path):
    lazy = open_recording(store, lazy=True)
    whole, _ = fitting.fit_twin(lazy, SMALL, SHORT)

    class Stop(Job):
        left = 12

        def report(self, *args, **kwargs):
            self.left -= 1
            if self.left == 0:
                self.cancel()
            super().report(*args, **kwargs)

    with pytest.raises(Cancelled):
        fitting.fit_twin(lazy, SMALL, SHORT, checkpoint=tmp_path / "it", job=Stop())
    resumed, _ = fitting.fit_twin(lazy, SMALL, SHORT, checkpoint=tmp_path / "it")
    state = resumed.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())


def test_a_fit_never_holds_the_responses_at_once(store, monkeypatch):
    """No array that is computed is larger than a batch, a sample, or some megabytes."""
    sizes = []
    compute = da.Array.compute

    def counted(self, **kwargs):
        sizes.append(self.nbytes)
        return compute(self, **kwargs)

    monkeypatch.setattr(da.Array, "compute", counted)
    monkeypatch.setattr(stored, "SAMPLE", 2**18)
    monkeypatch.setattr(trials, "AT_ONCE", 2**18)
    lazy = open_recording(store, lazy=True)
    batch = max(256 * lazy.stimulus[0].nbytes, 256 * lazy.response[0].nbytes)
    fitting.fit_twin(lazy, SMALL, replace(SHORT, max_epochs=1))
    assert sizes
    # validation shows 256 images at a time; 600 training images are 1.4 MB
    assert max(sizes) <= batch < lazy.stimulus.nbytes


def test_a_chunk_that_goes_missing_ends_the_fit(recording, tmp_path):
    path = save_recording(recording.chunk(trial=100), tmp_path / "it.zarr")
    lazy = open_recording(path, lazy=True)
    (path / "response" / "3.0").unlink()
    with pytest.raises(InputError, match=r"response/3.0: is gone or was cut short"):
        fitting.fit_twin(lazy, SMALL, SHORT)


def test_a_split_without_responses_is_refused(store):
    lazy = open_recording(store, lazy=True)
    never = lazy.assign_coords(split=("trial", np.full(lazy.sizes["trial"], "train")))
    with pytest.raises(InputError, match="has 0 validation trials with a response .*--split"):
        fitting.fit_twin(never, SMALL, SHORT)


def test_the_scale_of_pixels_and_the_fingerprint_are_those_in_memory(store, monkeypatch):
    memory, lazy = open_recording(store), open_recording(store, lazy=True)
    one, other = image_spec(memory), image_spec(lazy)
    assert one.mean == other.mean  # sums of whole numbers are exact
    assert one.std == pytest.approx(other.std, rel=1e-12)
    assert fingerprint(lazy) == fingerprint(memory) == memory.attrs["fingerprint"]
    few = {"trial": slice(5, 90), "neuron": [1, 4]}
    assert fingerprint(lazy.isel(few)) == fingerprint(memory.isel(few))


@pytest.mark.parametrize("shape", [(90, 5), (30, 5, 7)])
def test_moments_of_blocks_are_those_of_the_whole(shape):
    rng = np.random.default_rng(0)
    response = (1e3 + rng.normal(size=shape)).astype(np.float32)
    response[rng.random(shape) < 0.2] = np.nan
    response[:, 2] = np.nan  # a neuron that was never recorded
    response[:, 3] = 4.0  # and one that never varied
    response[12] = np.nan  # a trial without any response
    cuts = [slice(0, 1), slice(1, 20), slice(20, 30), slice(30, None)]
    blocks = [response[cut] for cut in cuts if len(response[cut])]
    whole, pieces = summarise_responses([response]), summarise_responses(blocks)
    rows = response if response.ndim == 2 else np.moveaxis(response, 2, 1).reshape(-1, 5)
    known = rows[:, [0, 1, 3, 4]].astype(np.float64)
    for found in (whole, pieces):
        np.testing.assert_allclose(found.mean[[0, 1, 3, 4]], np.nanmean(known, 0), rtol=1e-12)
        spread = np.sqrt(found.deviation / np.maximum(found.count, 1))[[0, 1, 3, 4]]
        np.testing.assert_allclose(spread, np.nanstd(known, 0), rtol=1e-9, atol=1e-9)
        assert found.varied.tolist() == [True, True, False, False, True]
        assert found.n_missing == np.isnan(response).sum()
        assert found.first_missing == tuple(np.argwhere(np.isnan(response))[0][:2])
        np.testing.assert_array_equal(found.recorded, np.isfinite(response).any(axis=1))
    np.testing.assert_array_equal(response_moments(response), [whole.mean, whole.scale])


def test_correlation_of_batches_is_that_of_the_whole():
    rng = np.random.default_rng(0)
    response = rng.poisson(3, size=(100, 6)).astype(np.float32)
    prediction = (response + 1e3 + rng.normal(size=response.shape)).astype(np.float32)
    response[rng.random(response.shape) < 0.1] = np.nan
    response[:, 1], prediction[:, 2] = 2.0, 5.0
    response[:, 3] = np.nan
    batches = [(response[a : a + 17], prediction[a : a + 17]) for a in range(0, 100, 17)]
    found = evaluation.batched_correlation(iter(batches))
    expected = evaluation.single_trial_correlation(response, prediction)
    assert np.isnan(expected[1:4]).all()
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_what_is_read_ahead_comes_in_order_and_from_another_thread():
    made = []

    def items():
        for number in range(4):
            made.append(threading.current_thread() is threading.main_thread())
            yield number
        msg = "unreadable"
        raise InputError(msg)

    ahead = stored.read_ahead(items())
    assert [next(ahead) for _ in range(4)] == [0, 1, 2, 3]
    assert not any(made)
    with pytest.raises(InputError, match="unreadable"):
        next(ahead)


def test_only_what_lies_on_the_disk_is_read_ahead(recording, monkeypatch):
    def fail(items):
        raise AssertionError

    monkeypatch.setattr(training, "read_ahead", fail)
    fitting.fit_twin(recording, SMALL, replace(SHORT, max_epochs=1))
