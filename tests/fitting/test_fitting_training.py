"""A fit finds what was planted, beats its baselines, and can be stopped at any moment."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import evaluation, fitting, twins
from twinlab.fitting import baselines
from twinlab.fitting.trials import take_trials
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError

SMALL = twins.Architecture(layers=2, hidden=8, hidden_kernel=5)
SHORT = fitting.FitSettings(max_epochs=3, batch_size=64, schedule="cosine", precision="float32")


def same(a, b):
    return all(torch.equal(a.state_dict()[name], b.state_dict()[name]) for name in a.state_dict())


class Stop(Job):
    """A job that is cancelled at a chosen report."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def report(self, fraction, message=None, preview=None):
        self.left -= 1
        if self.left == 0:
            self.cancel()
        super().report(fraction, message, preview)


def test_the_poisson_loss_is_torchs():
    rate, response = torch.rand(5, 3) + 0.1, torch.poisson(torch.ones(5, 3))
    reference = torch.nn.PoissonNLLLoss(log_input=False, eps=1e-8, reduction="sum")
    torch.testing.assert_close(fitting.poisson_loss(rate, response), reference(rate, response))


def test_missing_responses_neither_count_nor_teach():
    rate = torch.rand(4, 2, requires_grad=True)
    response = torch.ones(4, 2)
    response[1, 0] = torch.nan
    loss = fitting.poisson_loss(rate, response)
    loss.backward()
    assert torch.isfinite(loss)
    assert rate.grad[1, 0] == 0
    assert (rate.grad != 0).sum() == 7


def test_receptive_fields_are_found_where_they_are(recording):
    train = take_trials(recording, "train", torch.device("cpu"))
    images = train.images[train.index].numpy()
    found = evaluation.locate_receptive_fields(images, train.response.numpy())
    away = np.hypot(found[:, 0] - recording.true_x, found[:, 1] - recording.true_y)
    # 600 noisy trials; a guess at the centre would be 15 pixels away
    assert np.median(away) < 2.5
    assert (away < 6).mean() > 0.7


def test_a_silent_neuron_starts_at_the_centre():
    images = np.random.default_rng(0).normal(size=(50, 1, 20, 30))
    found = evaluation.locate_receptive_fields(images, np.zeros((50, 2)))
    assert found.tolist() == [[14.5, 9.5], [14.5, 9.5]]


def test_a_deep_twin_beats_the_mean_and_the_linear_twin(recording):
    settings = fitting.FitSettings(max_epochs=12, batch_size=64, schedule="cosine")
    architecture = twins.Architecture(layers=3, hidden=8, behavior="gain", shifter=True)
    twin, history = fitting.fit_twin(recording, architecture, settings)
    twins.check_twin(twin)
    linear = fitting.fit_linear_nonlinear(recording)
    twins.check_twin(linear)
    scores = fitting.score_baselines(recording, {"linear": linear, "deep": twin})
    loss = scores.validation_loss.to_series()
    assert loss["deep"] < loss["linear"] < loss["mean"]
    correlation = scores.validation_correlation.to_series()
    assert np.isnan(correlation["mean"])  # a constant has no correlation
    assert correlation["deep"] > correlation["linear"] + 0.03 > 0.1
    assert float(history.validation_correlation.max()) == pytest.approx(
        correlation["deep"], abs=1e-3
    )


def test_the_linear_twin_finds_the_filter_of_a_linear_neuron():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:12, :14]
    planted = np.exp(-((x - 6) ** 2 + (y - 5) ** 2) / 6) * np.cos(x)
    images = rng.integers(0, 256, size=(5000, 1, 12, 14)).astype(np.uint8)
    drive = ((images[:, 0] - 127.5) / 74 * planted).sum(axis=(1, 2))
    drive /= drive.std()
    rate = np.stack([np.log1p(np.exp(2 * drive)), np.exp(0.8 * drive)], axis=1)
    recording = xr.Dataset(
        {
            "stimulus": (("image", "channel", "y", "x"), images),
            "response": (("trial", "neuron"), rng.poisson(rate).astype(np.float32)),
        },
        {
            "stimulus_index": ("trial", np.arange(5000)),
            "image_id": ("trial", np.arange(5000)),
            "split": ("trial", np.where(np.arange(5000) < 4500, "train", "validation")),
            "neuron_id": ("neuron", [0, 1]),
            "session": ("neuron", ["s", "s"]),
        },
    )
    twin = fitting.fit_linear_nonlinear(recording)
    for found in twin.filters.detach().numpy():
        assert np.corrcoef(found.ravel(), planted.ravel())[0, 1] > 0.94
    predicted = twin(torch.as_tensor(images).float()).detach().numpy()
    assert np.corrcoef(predicted[:, 0], rate[:, 0])[0, 1] > 0.95


def test_the_same_seed_gives_the_same_weights(recording):
    first, _ = fitting.fit_twin(recording, SMALL, SHORT)
    second, _ = fitting.fit_twin(recording, SMALL, SHORT)
    assert same(first, second)
    third, _ = fitting.fit_twin(recording, SMALL, fitting.FitSettings(**vars(SHORT) | {"seed": 1}))
    assert not same(first, third)


@pytest.mark.parametrize(("schedule", "behavior"), [("cosine", "channels"), ("plateau", "gain")])
def test_a_stopped_fit_goes_on_with_the_same_numbers(recording, tmp_path, schedule, behavior):
    # behaviour as channels gives the first layer weights of several channels, whose layout in
    # memory differs from the usual one
    architecture = replace(SMALL, behavior=behavior, shifter=True)
    settings = fitting.FitSettings(
        max_epochs=4, batch_size=64, schedule=schedule, patience=1, decays=2, lr=0.05,
        precision="float32",
    )  # fmt: skip
    whole, history = fitting.fit_twin(recording, architecture, settings)
    checkpoint = tmp_path / "fit" / "member.safetensors"
    batches = 600 // 64 + 1
    for after in (batches + 5, 2 * batches):  # in the second epoch, then two epochs later
        with pytest.raises(Cancelled):
            fitting.fit_twin(
                recording, architecture, settings, checkpoint=checkpoint, job=Stop(after)
            )
    resumed, rest = fitting.fit_twin(recording, architecture, settings, checkpoint=checkpoint)
    assert same(whole, resumed)
    xr.testing.assert_equal(history.drop_vars("seconds"), rest.drop_vars("seconds"))


def test_a_finished_fit_is_not_fitted_again(recording, tmp_path):
    checkpoint = tmp_path / "member.safetensors"
    first, _ = fitting.fit_twin(recording, SMALL, SHORT, checkpoint=checkpoint)
    reports = Stop(after=3)  # one at the start, one at the end
    second, _ = fitting.fit_twin(recording, SMALL, SHORT, checkpoint=checkpoint, job=reports)
    assert same(first, second)


def test_a_checkpoint_of_another_fit_is_refused(recording, tmp_path):
    checkpoint = tmp_path / "member.safetensors"
    fitting.fit_twin(recording, SMALL, SHORT, checkpoint=checkpoint)
    other = fitting.FitSettings(**vars(SHORT) | {"lr": 0.1})
    with pytest.raises(InputError, match="checkpoint of another fit .differs in settings"):
        fitting.fit_twin(recording, SMALL, other, checkpoint=checkpoint)


def test_a_damaged_checkpoint_is_named(recording, tmp_path):
    checkpoint = tmp_path / "member.safetensors"
    checkpoint.write_bytes(b"half a file")
    with pytest.raises(InputError, match=r"member.safetensors: the checkpoint is damaged"):
        fitting.fit_twin(recording, SMALL, SHORT, checkpoint=checkpoint)


def test_a_recording_without_validation_trials_is_refused(recording):
    without = recording.isel(trial=recording.split.values != "validation")
    with pytest.raises(InputError, match="has 0 validation trials with a response .*--split"):
        fitting.fit_twin(without, SMALL, SHORT)


def test_trials_without_any_response_are_left_out_and_gaps_survive(recording):
    gappy = recording.copy(deep=True)
    train = np.flatnonzero(recording.split.values == "train")
    gappy.response[train[:50]] = np.nan
    gappy.response[train[50:300], :12] = np.nan
    assert len(take_trials(gappy, "train", torch.device("cpu"))) == 550
    twin, history = fitting.fit_twin(gappy, SMALL, SHORT)
    assert np.isfinite(history.train_loss).all()
    twins.check_twin(twin)


def test_a_neuron_without_any_training_response_does_not_spoil_the_others(recording):
    gappy = recording.copy(deep=True)
    gappy.response[:, 3] = np.nan
    twin, history = fitting.fit_twin(gappy, SMALL, SHORT)
    _, without = fitting.fit_twin(gappy.isel(neuron=np.arange(24) != 3), SMALL, SHORT)
    twins.check_twin(twin)
    np.testing.assert_allclose(history.train_loss, without.train_loss, rtol=0.1)
    scores = fitting.score_baselines(gappy, {"linear": fitting.fit_linear_nonlinear(gappy)})
    assert np.isfinite(scores.validation_loss).all()


def test_a_selection_is_another_recording_to_a_checkpoint(recording, tmp_path):
    checkpoint = tmp_path / "member.safetensors"
    fitting.fit_twin(recording, SMALL, SHORT, checkpoint=checkpoint)
    with pytest.raises(InputError, match="differs in recording"):
        fitting.fit_twin(recording.isel(trial=slice(0, 600)), SMALL, SHORT, checkpoint=checkpoint)


def test_one_validation_trial_cannot_stop_a_fit(recording):
    first = np.flatnonzero(recording.split.values == "validation")[1:]
    with pytest.raises(InputError, match="needs at least 2"):
        fitting.fit_twin(recording.drop_isel(trial=first), SMALL, SHORT)


def test_both_ways_to_the_linear_filters_give_the_same(recording):
    few = recording.isel(y=slice(8, 24), x=slice(8, 40))  # 512 pixels, 600 trials
    wide = recording.isel(y=slice(8, 28), x=slice(8, 40))  # 640 pixels
    for part in (few, wide):
        found = baselines.fit_linear_nonlinear(part)
        shown = part.stimulus.values[part.stimulus_index.values[part.split.values == "train"]]
        image = (shown.reshape(600, -1) - found.spec.mean) / found.spec.std
        response = part.response.values[part.split.values == "train"]
        centred = response - response.mean(axis=0)
        # each filter is a ridge solution for one of the penalties, up to its scale
        unit = (image**2).sum() / image.shape[1]
        best = np.zeros(24)
        for penalty in baselines.PENALTIES:
            ridge = penalty * unit * np.eye(image.shape[1])
            weights = np.linalg.solve(image.T @ image + ridge, image.T @ centred).T
            ours = found.filters.detach().numpy().reshape(24, -1)
            best = np.maximum(
                best, [np.corrcoef(a, b)[0, 1] for a, b in zip(weights, ours, strict=True)]
            )
        assert best.min() > 0.999


def test_a_context_that_was_not_recorded_cannot_be_used(recording):
    without = recording.drop_vars("behavior")
    with pytest.raises(InputError, match="uses .'behavior'., which the recording does not have"):
        fitting.fit_twin(without, twins.Architecture(behavior="gain"), SHORT)


def test_a_diverging_fit_says_what_to_change(recording):
    wild = fitting.FitSettings(max_epochs=3, lr=1e30, schedule="cosine", precision="float32")
    with pytest.raises(FloatingPointError, match="lower `lr`"):
        fitting.fit_twin(recording, SMALL, wild)


def test_members_differ_in_their_seed_alone(recording, tmp_path):
    pair, history = fitting.fit_ensemble(
        recording, SMALL, SHORT, members=2, checkpoints=tmp_path / "checkpoints"
    )
    alone, _ = fitting.fit_twin(recording, SMALL, fitting.FitSettings(**vars(SHORT) | {"seed": 1}))
    assert same(pair.members[1], alone)
    assert not same(pair.members[0], alone)
    assert history.train_loss.dims == ("member", "epoch")
    twins.check_twin(pair)


def test_lower_precision_learns_the_same_thing(recording):
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16")
    settings = vars(SHORT) | {"max_epochs": 6}
    _, full = fitting.fit_twin(recording, SMALL, fitting.FitSettings(**settings))
    lowered = fitting.FitSettings(**settings | {"precision": "bfloat16"})
    twin, half = fitting.fit_twin(recording, SMALL, lowered)
    assert twin.core_dtype == torch.float32  # only while learning
    np.testing.assert_allclose(half.train_loss, full.train_loss, rtol=0.02)


def test_a_fit_leaves_the_callers_random_numbers_alone(recording):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fitting.fit_twin(recording, SMALL, fitting.FitSettings(**vars(SHORT) | {"max_epochs": 1}))
    assert torch.equal(torch.rand(3), expected)
