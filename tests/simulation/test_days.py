"""Any images shown in any order, and the same cortex on other days."""

import numpy as np
import pytest
import torch
from scipy import stats

from twinlab import simulation, stimuli
from twinlab.schema import SPLITS, InputError, recording_faults
from twinlab.simulation import SimulatedCortex, SimulatedVideoCortex

SIZE = {"height": 20, "width": 24}
STILL = {"running_gain": 0.0, "pupil_gain": 0.0, "gaze_shift": 0.0}


@pytest.fixture(scope="module")
def cortex():
    return SimulatedCortex(seed=1, n_neuron=12, **SIZE)


@pytest.fixture(scope="module")
def still():
    return SimulatedCortex(seed=1, n_neuron=12, **SIZE, **STILL)


@pytest.fixture(scope="module")
def images():
    return stimuli.make_noise(5, **SIZE, seed=3)


def rates(cortex, images):
    with torch.inference_mode():
        return cortex.as_twin().condition()(torch.as_tensor(images.values).float()).numpy()


# --- shown anything


def test_the_mean_over_many_repeats_is_the_rate_of_the_twin(still, images):
    n = 4000
    shown = np.tile(np.arange(5), n)
    recording = still.show(images, shown, seed=0)
    mean = recording.response.values.reshape(n, 5, -1).mean(0)
    rate = rates(still, images)
    z = (mean - rate) / np.sqrt(rate / n)  # Poisson
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.01
    assert (z**2).mean() == pytest.approx(1, abs=0.5)
    np.testing.assert_allclose(recording.true_rate, rate, rtol=1e-5)


def test_behaviour_and_gaze_are_those_of_a_recording(cortex, images):
    recording = cortex.show(images, np.tile(np.arange(5), 1000), seed=0)
    dilation = recording.behavior.values[:, 0]
    speed = recording.behavior.values[:, 2]
    assert np.corrcoef(dilation[1:], dilation[:-1])[0, 1] > 0.9
    assert (speed == 0).mean() > 0.4
    # the neuron that running excites most follows it
    gain = cortex.neurons.true_running_gain.values
    response = recording.response.values
    excited = np.argmax(gain * cortex.neurons.true_reliability.values)
    assert np.corrcoef(speed, response[:, excited])[0, 1] > 0.05


def test_trials_are_in_the_order_asked_for_and_keep_their_names(cortex, images):
    named = images.assign_coords(image_id=("image", list("abcde")))
    recording = cortex.show(named, [3, 0, 3, 1], seed=0, split=["train", "test", "test", "train"])
    assert recording_faults(recording) == []
    assert recording.image_id.values.tolist() == ["d", "a", "d", "b"]
    assert recording.stimulus_index.values.tolist() == [3, 0, 3, 1]
    assert recording.split.values.tolist() == ["train", "test", "test", "train"]
    np.testing.assert_array_equal(recording.stimulus, images)
    assert recording.identical(
        cortex.show(named, [3, 0, 3, 1], seed=0, split=["train", "test", "test", "train"])
    )
    assert recording.fingerprint != cortex.show(named, [3, 0, 3, 1], seed=1).fingerprint


def test_videos_are_shown_too():
    cortex = SimulatedVideoCortex(seed=0, n_neuron=3, **SIZE, **STILL)
    videos = stimuli.make_dead_leaves_video(2, **SIZE, seed=0, n_frame=12, frame_rate_hz=30.0)
    recording = cortex.show(videos, np.tile([1, 0], 300))
    assert dict(recording.response.sizes) == {"trial": 600, "neuron": 3, "frame": 12}
    rate = recording.true_rate.values[[1, 0]]
    mean = recording.response.values.reshape(300, 2, 3, 12).mean(0)
    active = rate > 0.01  # before the kernels have seen anything, some are silent
    z = (mean - rate)[active] / np.sqrt(rate[active] / 300)
    assert active.mean() > 0.5
    assert (z**2).mean() == pytest.approx(1, abs=0.6)


def test_the_users_own_images_are_training_data(still):
    images = stimuli.make_noise(40, **SIZE, seed=3)
    recording = still.record(stimulus=images, n_validation=5, n_test=6, n_repeat=50)
    assert recording_faults(recording) == []
    count = {name: int((recording.split == name).sum()) for name in SPLITS}
    assert count == {"train": 29, "validation": 5, "test": 300}
    np.testing.assert_array_equal(recording.stimulus, images)
    shown = recording.stimulus_index.values
    assert set(shown[recording.split.values == "test"]) == set(range(34, 40))
    mean = np.stack([recording.response.values[shown == i].mean(0) for i in range(34, 40)])
    rate = rates(still, images)[34:]
    assert (np.abs(mean - rate) < 5 * np.sqrt(rate / 50) + 0.05).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c, i: c.show(i[..., 1:]), "crop or rescale"),
        (lambda c, i: c.show(i[:0]), "holds no image"),
        (lambda c, i: c.show(i.where(i.x > 0)), "not finite"),
        (lambda c, i: c.show(i, [0, 5]), "between 0 and 4"),
        (lambda c, i: c.show(i, [0.0, 1.0]), "between 0 and 4"),
        (lambda c, i: c.show(i, []), "between 0 and 4"),
        (lambda c, i: c.show(i, split="training"), "must be one of"),
        (lambda c, i: c.show(i, split=["test"]), "for each of 5"),
        (lambda c, i: c.show(i, seed=-1), "`seed` must be"),
        (lambda c, i: c.record(stimulus=i, n_validation=3, n_test=3), "negative"),
        (lambda c, i: c.record(stimulus=i, n_train=3, n_validation=1, n_test=0), "adds up to 4"),
        (lambda c, i: c.on_day(-1), "`day`"),
        (lambda c, i: c.on_day(1, loss=1.0), "`loss`"),
        (lambda c, i: c.on_day(1000, loss=0.5), "All 12 neurons are lost"),
        (lambda c, i: c.on_day(1).on_day(1), "day 1 already"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(cortex, images, call, words):
    with pytest.raises(InputError, match=words) as caught:
        call(cortex, images)
    assert "\n" not in str(caught.value)


# --- another day


@pytest.mark.parametrize("settings", [{"day": 0}, {"day": 4, "gain": 0, "shift": 0, "loss": 0}])
def test_without_drift_it_is_the_same_cortex(cortex, images, settings):
    later = cortex.on_day(**settings)
    np.testing.assert_array_equal(later.show(images).response, cortex.show(images).response)
    np.testing.assert_array_equal(rates(later, images), rates(cortex, images))


def test_lost_neurons_are_absent_and_the_others_unchanged(cortex, images):
    first = cortex.show(images)
    later = cortex.on_day(3, gain=0, shift=0, loss=0.2).show(images)
    assert 0 < later.sizes["neuron"] < 12
    kept = np.isin(first.neuron_id, later.neuron_id)
    np.testing.assert_array_equal(first.neuron_id[kept], later.neuron_id)
    np.testing.assert_array_equal(first.response[:, kept], later.response)
    assert recording_faults(later) == []


def test_who_is_lost_stays_lost_at_the_rate_asked_for():
    cortex = SimulatedCortex(seed=0, n_neuron=400, height=16, width=16)
    found = [set(cortex.on_day(day, loss=0.1).found) for day in range(4)]
    assert found[3] < found[2] < found[1] < found[0] == set(range(400))
    expected = 400 * 0.9**3
    assert len(found[3]) == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - 0.9**3)))


def test_gains_walk_at_the_rate_asked_for(images):
    cortex = SimulatedCortex(seed=0, n_neuron=400, **SIZE)
    later = cortex.on_day(4, gain=0.1, shift=0, loss=0)
    log_ratio = np.log(rates(later, images) / rates(cortex, images))
    np.testing.assert_allclose(log_ratio, np.tile(log_ratio[0], (5, 1)), atol=1e-4)
    np.testing.assert_allclose(log_ratio[0], later.neurons.true_log_gain, atol=1e-4)
    # standard deviation 0.1 a day, and of an estimate from 400 neurons 3.5 % of it
    assert log_ratio[0].std() == pytest.approx(0.1 * np.sqrt(4), rel=0.15)


def test_a_moved_receptive_field_sees_the_moved_image(still):
    """Rates to an image are, after a shift, those to the image shifted along, before it."""
    later = still.on_day(1, gain=0, shift=1.5, loss=0)
    right = float((later.neurons.true_x - still.neurons.true_x)[0])
    down = float((later.neurons.true_y - still.neurons.true_y)[0])
    assert abs(right) + abs(down) > 0.5
    image = stimuli.make_noise(1, **SIZE, seed=0)
    z = torch.as_tensor(image.values).float() - still.spec.mean
    z[..., :5, :] = z[..., -5:, :] = z[..., :5] = z[..., -5:] = 0  # nothing enters or leaves
    moved = simulation.neurons.shift_images(z, torch.tensor([[right, down]]))
    seen, before = image.copy(data=z + still.spec.mean), image.copy(data=moved + still.spec.mean)
    np.testing.assert_allclose(rates(later, seen), rates(still, before), rtol=1e-4)
    assert not np.allclose(rates(later, seen), rates(still, seen), rtol=0.02)


def test_drift_is_told_with_the_recording(cortex, images):
    recording = cortex.on_day(2, seed=5).show(images)
    assert '"day": 2' in recording.attrs["drift"]
    assert "true_reliability" not in recording.coords  # was that of the first day
    assert recording.recording_id.endswith("day-2")
