"""Which images are chosen, where the answer can be worked out."""

from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab.jobs import Cancelled, Job
from twinlab.loop import choose_images, grow_recording, measure_fano
from twinlab.schema import InputError
from twinlab.simulation import SimulatedCortex
from twinlab.twins import EnsembleTwin, StimulusSpec, wrap_callable

SPEC = StimulusSpec(1, 2, 2, 0.0, 1.0)


def _linear(weights, offset, images):
    return images.flatten(1) @ weights.T + offset


def ensemble(weights, offset):
    """Members that answer `offset` + `weights` . pixels, weights (member, neuron, pixel)."""
    members = [
        wrap_callable(partial(_linear, torch.as_tensor(one).float(), offset), SPEC, len(one))
        for one in np.asarray(weights)
    ]
    return EnsembleTwin(members).condition()


def pictures(pixels):
    values = np.asarray(pixels, np.float32).reshape(-1, 1, 2, 2)
    names = [f"i{i}" for i in range(len(values))]
    return xr.DataArray(
        values, dims=("image", "channel", "y", "x"), coords={"image_id": ("image", names)}
    )


def test_disagreement_is_the_variance_over_members_in_units_of_poisson_noise():
    weights = np.zeros((2, 2, 4))
    weights[:, 0, 0] = [1, 3]  # neuron 0: rates 1 and 3 to pixel 0, mean 2, variance 2
    weights[:, 1, 1] = [8, 10]  # neuron 1: rates 8 and 10 to pixel 1, mean 9, variance 2
    twin = ensemble(weights, 0.0)
    images = pictures([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]])
    choice = choose_images(twin, images, 2, by="disagreement")
    np.testing.assert_allclose(choice.score, [1, 2 / 9, 11 / 9, 0], rtol=1e-6)
    assert choice.image_id[choice.chosen].values.tolist() == ["i0", "i2"]
    np.testing.assert_array_equal(choice["rank"], [1, np.nan, 0, np.nan])
    # the same neurons in another unit: of ten times the numbers, ten times the noise over mean
    times = np.array([1.0, 10.0])
    scaled = ensemble(weights * times[:, None], 0.0)
    assert choose_images(scaled, images, 2, by="disagreement", fano=times).score.values == (
        pytest.approx(choice.score.values)
    )
    unknown = choose_images(twin, images, 2, by="disagreement", fano=[1.0, np.nan])
    np.testing.assert_allclose(unknown.score, [1, 0, 1, 0], rtol=1e-6)


def greedy_d_optimal(x, prior, noise, n):
    """The textbook: each row maximises the determinant of the weights' posterior precision."""
    precision, chosen = np.linalg.inv(prior), []
    for _ in range(n):
        left = [i for i in range(len(x)) if i not in chosen]
        gain = [np.linalg.slogdet(precision + np.outer(x[i], x[i]) / noise)[1] for i in left]
        chosen.append(left[int(np.argmax(gain))])
        precision += np.outer(x[chosen[-1]], x[chosen[-1]]) / noise
    return chosen, (np.linalg.slogdet(precision)[1] + np.linalg.slogdet(prior)[1]) / 2


def test_information_of_a_linear_twin_is_the_greedy_d_optimal_design():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 4))
    root = generator.normal(size=(4, 4)) * [2, 1, 1, 0.3]
    # eight members whose covariance is exactly `prior`; all means alike, so is Poisson noise
    members = np.concatenate([root.T, -root.T]) * np.sqrt(7 / 2)
    prior, mean = root @ root.T, 1e4
    choice = choose_images(ensemble(members[:, None], mean), pictures(x), 12, by="information")
    order = choice.image_id[np.argsort(choice["rank"].values)[:12]].values.tolist()
    chosen, information = greedy_d_optimal(x, prior, mean, 12)
    assert order == [f"i{i}" for i in chosen]
    # with noise of 1e-3 of the mean's variance, images differ in much more than their size
    twin, noise = ensemble(members[:, None], mean), 1e-4
    choice = choose_images(twin, pictures(x), 12, by="information", fano=[noise])
    order = np.argsort(choice["rank"].values)[:12]
    chosen, information = greedy_d_optimal(x, prior, noise * mean, 12)
    assert order.tolist() == chosen
    largest = np.argsort(-choice.score.values)[:12]  # a batch is more than its single images
    assert set(largest) != set(chosen)
    one = np.log1p(np.einsum("ni,ij,nj->n", x, prior, x) / (noise * mean)) / 2
    np.testing.assert_allclose(choice.score, one, rtol=1e-3)
    assert information < one[chosen].sum()


def test_information_leaves_out_near_duplicates():
    weights = np.zeros((3, 1, 4))
    weights[:, 0, :2] = [[3, 0], [0, 1], [-3, -1]]
    images = pictures([[1, 0, 0, 0], [1.001, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    twin = ensemble(weights, 10.0)
    by = {
        name: set(np.flatnonzero(choose_images(twin, images, 2, by=name, fano=[0.01]).chosen))
        for name in ("disagreement", "information")
    }
    assert by == {"disagreement": {0, 1}, "information": {1, 2}}


def test_random_images_are_those_of_the_seed():
    images = pictures(np.zeros((50, 4)))
    twin = ensemble(np.zeros((1, 1, 4)), 1.0)
    first, again, other = (
        np.flatnonzero(choose_images(twin, images, 10, by="random", seed=seed).chosen).tolist()
        for seed in (0, 0, 1)
    )
    assert len(first) == 10
    assert first == again
    assert first != other


def test_what_cannot_be_chosen_is_refused_in_one_line():
    images = pictures(np.zeros((3, 4)))
    twin = ensemble(np.zeros((1, 2, 4)), 1.0)
    with pytest.raises(InputError) as refused:
        choose_images(twin, images, 4, by="information", fano=[1.0])
    for words in (
        "at least two twins",
        "`n` is 4, but there are 3",
        "shape (1,), but there are 2",
    ):
        assert words in str(refused.value)
    with pytest.raises(InputError, match="`by` is 'best'"):
        choose_images(twin, images, 1, by="best")
    with pytest.raises(InputError, match="images"):
        choose_images(twin, images.isel(x=[0]), 1, by="random")
    job = Job()
    job.cancel()
    with pytest.raises(Cancelled):
        choose_images(ensemble(np.zeros((2, 1, 4)), 1.0), images, 1, job=job)


@pytest.fixture(scope="module")
def recorded():
    cortex = SimulatedCortex(
        seed=0, n_neuron=5, height=16, width=16, running_gain=0, pupil_gain=0, gaze_shift=0
    )
    return cortex, cortex.record(n_train=20, n_validation=3000, n_test=5, n_repeat=2)


def test_the_noise_of_spike_counts_is_their_mean(recorded):
    cortex, recording = recorded
    noise = measure_fano(cortex.as_twin(), recording)
    assert noise.values == pytest.approx(np.ones(5), abs=0.15)
    scaled = recording.copy(deep=True)
    scaled["response"] = recording.response * 0 + np.nan
    assert np.isnan(measure_fano(cortex.as_twin(), scaled)).all()


def test_a_recording_grows_by_what_was_measured_and_no_more(recorded):
    _, recording = recorded
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (3, 1, 16, 16))
    stimuli = xr.Dataset(
        {"stimulus": (("stimulus", "channel", "y", "x"), images)},
        {"stimulus_id": ("stimulus", ["a", "b", "c"])},
    )  # fmt: skip
    values = generator.poisson(2, (5, 4)).astype(np.float32)
    values[1, 0] = np.nan
    responses = xr.Dataset(
        {"response": (("trial", "neuron"), values)},
        {
            "stimulus_id": ("trial", ["c", "a", "blank", "b", "c"]),
            "neuron": [f"simulated-0/{i}" for i in (3, 2, 1, 0)],  # neuron 4 was not found again
        },
    )
    grown = grow_recording(recording, stimuli, responses)
    n, m = recording.sizes["image"], recording.sizes["trial"]
    old = grown.isel(image=slice(n), trial=slice(m))
    for name in ("stimulus", "response", "behavior", "pupil_center", "true_rate"):
        np.testing.assert_array_equal(old[name], recording[name])
    new = grown.isel(trial=slice(m, None))
    assert new.image_id.values.tolist() == ["c", "a", "b", "c"]
    assert (new.split == "train").all()
    assert grown.stimulus.dtype == np.uint8
    np.testing.assert_array_equal(
        grown.stimulus.values[new.stimulus_index.values], stimuli.stimulus.values[[2, 0, 1, 2]]
    )
    np.testing.assert_array_equal(new.response.values[:, :4], values[[0, 1, 3, 4], ::-1])
    assert np.isnan(new.response.values[:, 4]).all()
    assert np.isnan(new.behavior).all()
    assert (np.diff(grown.presentation_order.values) > 0).all()
