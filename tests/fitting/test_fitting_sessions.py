"""Several sessions with one core, a core taken over, and videos: the same fit, other trials."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import fitting, recordings, twins
from twinlab.fitting import memory, training
from twinlab.fitting.trials import take_trials
from twinlab.schema import InputError, make_recording
from twinlab.simulation import SimulatedCortex

SMALL = twins.Architecture(layers=2, hidden=8, hidden_kernel=5)
SHORT = fitting.FitSettings(max_epochs=2, batch_size=64, schedule="cosine", precision="float32")


@pytest.fixture(scope="module")
def sessions():
    """Two animals of 8 and 6 neurons, with different numbers of trials."""
    return {
        f"simulated-{seed}": SimulatedCortex(seed, n_neuron=n).record(
            n_train=n_train, n_validation=30, n_test=5, n_repeat=2
        )
        for seed, n, n_train in ((3, 8, 150), (4, 6, 90))
    }


@pytest.fixture(scope="module")
def fitted(sessions):
    architecture = replace(SMALL, behavior="gain", shifter=True)
    return fitting.fit_sessions(sessions, architecture, SHORT)


def test_sessions_share_their_core_and_nothing_else(fitted, sessions):
    twin, history = fitted
    first, second = twin.each
    assert first.core is second.core
    assert first.readout is not second.readout
    assert twin.sessions == list(sessions)
    assert history.train_loss.dims == ("epoch",)
    assert np.isfinite(history.validation_correlation).all()
    twins.check_twin(twin)


def test_a_tree_is_as_good_as_a_mapping(fitted, sessions):
    tree = xr.DataTree.from_dict({f"/{name}": data for name, data in sessions.items()})
    architecture = replace(SMALL, behavior="gain", shifter=True)
    twin, _ = fitting.fit_sessions(tree, architecture, SHORT)
    assert twin.identity == fitted[0].identity


def test_one_session_alone_is_fitted_as_by_fit_twin(sessions):
    name, recording = next(iter(sessions.items()))
    alone, _ = fitting.fit_twin(recording, SMALL, SHORT)
    together, _ = fitting.fit_sessions({name: recording}, SMALL, SHORT)
    for ours, theirs in zip(
        alone.state_dict().values(), together.each[0].state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_each_session_is_predicted_in_its_own_context(fitted, sessions):
    twin, _ = fitted
    for name, recording in sessions.items():
        quiet = twin.condition(session=name)
        assert len(quiet) == recording.sizes["neuron"]
        assert quiet.context["pupil_center"] == pytest.approx(
            np.median(recording.pupil_center[recording.split == "train"], axis=0), rel=1e-5
        )
        prediction = twins.predict_responses(twin, recording, split="test")
        own = twins.predict_responses(twin.of_session(name), recording, split="test")
        xr.testing.assert_allclose(prediction, own)
    with pytest.raises(InputError, match="several sessions; name one"):
        twin.condition()
    with pytest.raises(InputError, match="knows nothing of session 'other'"):
        twin.condition(session="other")


def test_sessions_are_saved_with_one_core(fitted, tmp_path):
    twin, _ = fitted
    stored = twins.load_twin(twins.save_twin(twin, tmp_path / "twin"))
    assert stored.identity == twin.identity
    assert stored.each[0].core is stored.each[1].core
    image = torch.rand(2, *twin.spec.shape) * 255
    torch.testing.assert_close(stored(image), twin(image))


def test_sessions_resume_with_the_same_numbers(fitted, sessions, tmp_path):
    class Stopped(Exception):  # noqa: N818 - no error
        pass

    def stop(epoch, correlation):
        if epoch == 0:
            raise Stopped

    architecture = replace(SMALL, behavior="gain", shifter=True)
    path = tmp_path / "fit.safetensors"
    with pytest.raises(Stopped):
        fitting.fit_sessions(sessions, architecture, SHORT, checkpoint=path, on_epoch=stop)
    resumed, _ = fitting.fit_sessions(sessions, architecture, SHORT, checkpoint=path)
    assert resumed.identity == fitted[0].identity


def test_an_ensemble_of_sessions_is_one_ensemble_a_session(sessions):
    once = replace(SHORT, max_epochs=1)
    twin, _ = fitting.fit_ensemble(sessions, SMALL, once, members=2)
    assert [type(part) for part in twin.each] == [twins.EnsembleTwin] * 2
    first, second = (part.each[0] for part in twin.each)
    assert first.core is second.core
    twins.check_twin(twin)


def test_a_core_taken_over_stays_as_it_was(fitted, sessions):
    source = fitted[0].each[0]
    before = {name: value.clone() for name, value in source.core.state_dict().items()}
    plain = replace(source.architecture, behavior="none", shifter=False)
    other = list(sessions.values())[1]
    twin, _ = fitting.fit_twin(other, plain, SHORT, core=source)
    for name, value in twin.core.state_dict().items():
        assert torch.equal(value, before[name])  # batch-norm statistics, too
        assert torch.equal(source.core.state_dict()[name], before[name])
    assert twin.spec.mean == source.spec.mean
    untrained = training._prepare([other], plain, SHORT, source, torch.device("cpu"))[0][0].twin
    assert not torch.equal(twin.readout.features, untrained.readout.features)


def test_the_average_of_the_weights_is_what_is_returned(recording):
    # with a rate that has fallen to nothing the weights stand still, and their average with them
    slow = replace(SHORT, average=0.9, max_epochs=4, lr=0.01, min_lr=1e-9)
    averaged, _ = fitting.fit_twin(recording, SMALL, slow)
    plain, _ = fitting.fit_twin(recording, SMALL, replace(slow, average=0.0))
    near = (averaged.readout.features - plain.readout.features).abs().max()
    moved = (plain.readout.features - 1 / 8).abs().max()
    assert 0 < near < 0.3 * moved


def test_averages_resume_with_the_same_numbers(recording, tmp_path):
    settings = replace(SHORT, average=0.9, max_epochs=3)
    whole, _ = fitting.fit_twin(recording, SMALL, settings)

    class Stopped(Exception):  # noqa: N818 - no error
        pass

    def stop(epoch, correlation):
        if epoch == 1:
            raise Stopped

    path = tmp_path / "fit.safetensors"
    with pytest.raises(Stopped):
        fitting.fit_twin(recording, SMALL, settings, checkpoint=path, on_epoch=stop)
    resumed, _ = fitting.fit_twin(recording, SMALL, settings, checkpoint=path)
    assert resumed.identity == whole.identity


def test_peculiar_neurons_are_told_and_marked(recording):
    odd = recording.copy(deep=True)
    odd.response[:, 5] = 1.0
    train = np.flatnonzero(recording.split.values == "train")
    odd.response[train[7], 2] = np.nan
    twin, history = fitting.fit_twin(odd, SMALL, replace(SHORT, max_epochs=1))
    said = history.attrs["notices"]
    assert "1 of 24 neurons did not vary in training (5)" in said
    assert "missing (first: neuron 2, training trial 7)" in said
    assert twin.neurons.varied.values.tolist() == [n != 5 for n in range(24)]


def test_a_fit_that_diverges_later_keeps_its_best_weights(recording, monkeypatch):
    loss, calls = training.twin_loss, []

    def fails_in_the_third_epoch(twin, rate, response, settings):
        calls.append(twin.training)
        steps = sum(calls)
        return loss(twin, rate, response, settings) * (torch.nan if steps > 22 else 1)

    good, _ = fitting.fit_twin(recording, SMALL, replace(SHORT, max_epochs=5))
    del good
    monkeypatch.setattr(training, "twin_loss", fails_in_the_third_epoch)
    twin, history = fitting.fit_twin(recording, SMALL, replace(SHORT, max_epochs=5))
    assert history.sizes["epoch"] == 2
    assert "diverged in epoch 3" in history.attrs["notices"]
    assert "lower `lr`" in history.attrs["notices"]
    assert all(value.isfinite().all() for value in twin.state_dict().values())


def test_too_little_memory_is_told_before_the_fit(recording, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 10_000)
    with pytest.raises(InputError, match=r"needs about .* GiB that are free; lower `batch_size`"):
        fitting.fit_twin(recording, SMALL, SHORT)


def test_the_memory_of_a_step_grows_with_the_batch(recording):
    parts, _ = training._prepare([recording], SMALL, SHORT, None, torch.device("cpu"))
    needs = [
        memory.estimate_memory(parts, replace(SHORT, batch_size=size)) for size in (50, 100, 200)
    ]
    assert needs[2] - needs[1] == pytest.approx(2 * (needs[1] - needs[0]), rel=1e-3)
    # at least what the two maps of 8 channels, 28 x 56, take
    assert (needs[1] - needs[0]) / 50 > 2 * 8 * 28 * 56 * 4


def one_step(folder):
    """Weights after a step of plain gradient descent on a core that is taken over.

    Such a core has no batch statistics, and readouts that draw from nearly nowhere no noise.
    """
    recording = recordings.open_recording(folder / "recording.zarr")
    source = twins.load_twin(folder / "source")
    parts, _ = training._prepare(
        [recording], source.architecture, SHORT, source, torch.device("cpu")
    )
    learning = [value for value in parts[0].twin.parameters() if value.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=1e-3)
    parts[0].twin.train().core.eval()
    loss = training._step(parts, [(0, torch.arange(50))], optimizer, SHORT, (0, 0))
    return parts[0].twin.state_dict() | {"loss": torch.tensor(loss)}


def share_a_step(rank, folder):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    torch.save(one_step(folder), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(recording, tmp_path):
    still = replace(SMALL, sigma=1e-9)
    source, _ = fitting.fit_twin(recording, still, replace(SHORT, max_epochs=1))
    with torch.no_grad():
        source.readout.sigma *= 1e-9
    recordings.save_recording(recording, tmp_path / "recording.zarr")
    twins.save_twin(source, tmp_path / "source")
    alone = one_step(tmp_path)
    torch.multiprocessing.spawn(share_a_step, (tmp_path,), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    before = training._prepare([recording], still, SHORT, source, torch.device("cpu"))[0][0].twin
    for name, value in alone.items():
        assert torch.equal(first[name], second[name])
        if name != "readout.sigma":
            torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-6)
    moved = alone["readout.features"] - before.state_dict()["readout.features"]
    assert moved.abs().max() > 1e-3


class PixelCore(twins.VideoCore):
    """A video core that can be followed by hand: each pixel's mean with two frames ago."""

    lost = 2
    out_channel = 1

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def map_shape(self, height, width):
        return height, width

    def regularizer(self):
        return self.weight.sum() * 0

    def forward(self, video, behavior=None):
        return self.weight * (video[:, :, 2:] + video[:, :, :-2]) / 2

    def start(self, batch, height, width):
        return torch.zeros(2, batch, 1, height, width)

    def step(self, frame, state):
        return self.weight * (frame + state[0]) / 2, torch.stack([state[1], frame])


@pytest.fixture
def pixel_core(monkeypatch):
    monkeypatch.setitem(twins.CORES, "pixel", lambda *settings: PixelCore())


@pytest.fixture
def videos():
    """20 videos of 30 frames; each neuron follows a pixel of two frames ago; one ends early."""
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 256, (20, 1, 30, 4, 4)).astype(np.uint8)
    shown = squares.repeat(3, axis=-1).repeat(3, axis=-2)
    place = np.array([[4, 4], [4, 7], [7, 4]])
    response = np.stack([shown[:, 0, :, y, x] for y, x in place], axis=1) / 100.0
    response = np.concatenate([response[..., :2] * 0 + 1, response[..., :-2]], axis=-1)
    response[4, :, 22:] = np.nan
    return make_recording(
        stimulus=shown,
        response=response,
        trial={
            "stimulus_index": np.arange(20),
            "image_id": np.arange(20),
            "split": np.array(["train"] * 16 + ["validation"] * 4),
        },
        neuron={"neuron_id": np.arange(3), "session": ["v"] * 3},
        behavior=rng.normal(size=(20, 3, 30)),
        pupil_center=rng.normal(size=(20, 2, 30)),
        frame_rate=30.0,
        recording_id="v",
    ), place


def test_a_twin_of_videos_is_fitted_and_keeps_the_contract(videos, pixel_core):
    recording, place = videos
    settings = fitting.FitSettings(
        max_epochs=100, batch_size=8, clip_frames=12, schedule="cosine", lr=0.03, readout_weight=0,
    )  # fmt: skip
    told = twins.Architecture(core="pixel", behavior="gain", shifter=True)
    twin, _ = fitting.fit_twin(recording, told, replace(settings, max_epochs=1))
    twins.check_twin(twin)
    twin, history = fitting.fit_twin(recording, twins.Architecture(core="pixel"), settings)
    twins.check_twin(twin)
    assert float(history.validation_correlation.max()) > 0.6  # half of what it sees is noise
    assert np.abs(twin.position - place[:, ::-1]).max() < 1.5  # in its square
    prediction = twins.predict_responses(twin, recording, split="validation")
    assert prediction.dims == ("trial", "neuron", "frame")
    quiet = twin.condition()
    video = torch.rand(2, 1, 9, 12, 12) * 255
    show = quiet.stream(batch=2)
    frames = torch.stack([show(video[:, :, frame]) for frame in range(9)], -1)
    torch.testing.assert_close(frames, quiet(video))
    with pytest.raises(InputError, match=r"this twin sees videos of shape \(batch, channel, fr"):
        quiet(video[:, :, 0])


def test_clips_end_where_their_trials_do(videos):
    recording, _ = videos
    train = take_trials(recording, "train", torch.device("cpu"))
    assert train.frames.tolist() == [22 if trial == 4 else 30 for trial in range(16)]
    chosen = torch.tensor([3, 4, 5])
    settings = replace(SHORT, clip_frames=20)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        start, length = training._clip(train, chosen, settings, generator)
        assert length == 20
        assert (start + length <= train.frames[chosen]).all()
        images, response, context = train.batch(chosen, (start, length))
        assert images.shape == (3, 1, 20, 12, 12)
        assert response.isfinite().all()
        assert context["behavior"].shape == (3, 3, 20)
        first = int(start[2])
        assert torch.equal(images[2], train.images[5, :, first : first + 20].float())


def test_a_core_for_images_is_refused_for_videos(videos):
    with pytest.raises(InputError, match="made for images, but the recording is of videos"):
        fitting.fit_twin(videos[0], SMALL, SHORT)
