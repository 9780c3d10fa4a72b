"""Simulated neurons that see videos: what they prefer, when, and how they are recorded."""

from functools import cache

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import stimuli
from twinlab.evaluation import oracle_correlation, unroll_frames
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError, validate_recording
from twinlab.simulation import KINDS, SimulatedVideoCortex
from twinlab.twins import check_twin, predict_responses

FIELD = {"height": 24, "width": 32}
MEMORY = 16  # frames that the past reaches at 30 Hz, at most


@cache
def only(kind, n_neuron=10, **settings):
    return SimulatedVideoCortex(0, n_neuron=n_neuron, composition={kind: 1.0}, **FIELD, **settings)


@pytest.fixture(scope="module")
def cortex():
    return SimulatedVideoCortex(0, n_neuron=20, **FIELD)


@pytest.fixture(scope="module")
def recording(cortex):
    return cortex.record(n_train=20, n_validation=4, n_test=8, n_repeat=10, n_frame=60)


def respond(cortex, videos, **context):
    """Rates of all neurons, (video, neuron, frame)."""
    quiet = cortex.as_twin().condition(**context)
    with torch.inference_mode():
        return quiet(torch.as_tensor(np.asarray(videos), dtype=torch.float32)).numpy()


def drift(cortex, i, direction, frequency=None, contrast=1.0):
    """Rates of one neuron to gratings of its spatial frequency, after the onset."""
    cell = cortex.neurons.isel(neuron=i)
    frequency = float(cell.true_temporal_frequency) if frequency is None else frequency
    videos = stimuli.make_drifting_gratings(
        direction, float(cell.true_spatial_frequency), temporal_frequency_hz=frequency,
        n_frame=MEMORY + 60, frame_rate_hz=cortex.frame_rate, contrast=contrast, **FIELD,
    )  # fmt: skip
    return respond(cortex, videos)[:, i, MEMORY:]


def across_bars(cortex, i):
    """Two opposite directions in which bars of the preferred orientation move."""
    direction = float(cortex.neurons.true_orientation[i]) + 90
    return np.array([direction, direction + 180]) % 360


# --- the neurons


@pytest.mark.parametrize("kind", KINDS)
def test_video_neurons_of_each_kind_are_a_twin(kind):
    check_twin(only(kind, 5).as_twin())


def test_a_mixed_cortex_of_several_channels_is_a_twin():
    check_twin(SimulatedVideoCortex(1, n_neuron=12, channel=2, **FIELD).as_twin())


@pytest.mark.parametrize("kind", ["simple", "complex"])
def test_direction_tuning_peaks_at_the_true_direction(kind):
    cortex = only(kind)
    directions = np.arange(0, 360, 15.0)
    for i in np.flatnonzero(cortex.neurons.true_direction_selectivity > 0):
        curve = drift(cortex, i, directions).mean(1)
        miss = directions[curve.argmax()] - float(cortex.neurons.true_direction[i])
        assert abs((miss + 180) % 360 - 180) <= 15, (i, miss)


def test_selectivity_is_that_of_the_amplitude_of_motion_energy():
    cortex = only("complex")
    for i, true in enumerate(cortex.neurons.true_direction_selectivity.values):
        rate = drift(cortex, i, across_bars(cortex, i)).mean(1)
        assert abs(rate[0] - rate[1]) / rate.sum() == pytest.approx(true, abs=0.06)


def test_separable_neurons_have_no_direction(cortex):
    neurons = cortex.neurons
    separable = neurons.true_direction_selectivity.values == 0
    assert separable.sum() == 8  # two in five of 20
    np.testing.assert_array_equal(np.isnan(neurons.true_direction), separable)
    assert neurons.true_direction_selectivity.values[~separable].min() > 0.5
    alike = only("complex")
    for i in np.flatnonzero(alike.neurons.true_direction_selectivity == 0):
        rate = drift(alike, i, across_bars(alike, i)).mean(1)
        assert rate[0] == pytest.approx(rate[1], rel=0.02)


def test_temporal_tuning_peaks_at_the_true_frequency():
    cortex = only("complex")
    for i, true in enumerate(cortex.neurons.true_temporal_frequency.values):
        direction = np.nan_to_num(float(cortex.neurons.true_direction[i]), nan=0.0)
        direction = direction if direction else across_bars(cortex, i)[0]
        frequencies = true * np.array([0.4, 0.6, 0.8, 1.0, 1.25, 1.6])
        rate = drift(cortex, i, direction, frequencies).mean(1)
        assert frequencies[rate.argmax()] == pytest.approx(true, rel=0.3)


def test_a_flash_peaks_after_the_true_latency():
    cortex = only("simple", 20)
    recording = cortex.record(n_train=1, n_validation=0, n_test=0, n_frame=1)
    kernels = cortex.as_twin().kernels.numpy()
    for i in np.flatnonzero(cortex.neurons.true_direction_selectivity == 0):
        lag = np.abs(kernels[i, 0]).argmax()
        flash = np.full((1, 1, 20, 24, 32), cortex.spec.mean, np.float32)
        flash[0, :, 2] += 500 * recording.true_filter.values[i, :, lag]
        rate = respond(cortex, flash)[0, i]
        assert abs(rate.argmax() - 2 - float(cortex.neurons.true_latency_frames[i])) < 1
        assert rate[:3].max() == pytest.approx(rate[0])  # nothing before it, nothing at once


def test_simple_cells_follow_the_bars_and_complex_cells_do_not():
    def modulation(cortex, i):
        direction = np.nan_to_num(cortex.neurons.true_direction.values[i], nan=0.0)
        rate = drift(cortex, i, direction or across_bars(cortex, i)[0])[0]
        cycles = (
            np.arange(60) / cortex.frame_rate * float(cortex.neurons.true_temporal_frequency[i])
        )
        return 2 * np.abs(np.exp(2j * np.pi * cycles) @ rate) / rate.sum()

    simple, complex_ = only("simple"), only("complex")
    directed = [
        [i for i in range(10) if c.neurons.true_direction_selectivity[i] > 0]
        for c in (simple, complex_)
    ]
    assert min(modulation(simple, i) for i in directed[0]) > 0.9
    assert max(modulation(complex_, i) for i in directed[1]) < 0.25


def test_normalized_cells_saturate_with_contrast():
    cortex = only("normalized")
    for i in np.flatnonzero(cortex.neurons.true_direction_selectivity > 0):
        direction = float(cortex.neurons.true_direction[i])
        low, double, high, full = (
            drift(cortex, i, direction, contrast=contrast).mean()
            for contrast in (0.02, 0.04, 0.5, 1.0)
        )
        assert double / low > 2.5  # contrast squared where it is low
        assert full / high < 2


def test_a_simple_cell_is_its_true_filter_and_a_rectifier():
    """Against a convolution written out, of frames that a grey screen preceded."""
    cortex = only("simple")
    recording = cortex.record(n_train=2, n_validation=0, n_test=0, n_frame=30)
    twin = cortex.as_twin()
    seen = (recording.stimulus.values.astype(float) - twin.spec.mean) / twin.spec.std
    seen = np.concatenate([np.zeros_like(seen[:, :, : MEMORY - 1]), seen], 2)
    for i in range(3):
        true = recording.true_filter.values[i].astype(float)
        drive = [(seen[0, :, t : t + MEMORY][:, ::-1] * true).sum() for t in range(30)]
        unscaled = recording.true_rate.values[0, i].astype(float) / float(twin.scale[i])
        before = np.log(np.expm1(2 * unscaled)) / 2  # undoes the rectifier
        slope = np.polyfit(drive, before, 1)[0]
        np.testing.assert_allclose(before, slope * np.array(drive), atol=0.01)
        assert np.linalg.norm(true) == pytest.approx(1, rel=1e-5)


def test_a_grey_screen_is_what_was_before(cortex):
    grey = np.full((1, 1, 30, 24, 32), cortex.spec.mean)
    blank = respond(cortex, grey)
    np.testing.assert_allclose(blank, np.broadcast_to(blank[..., :1], blank.shape), rtol=1e-5)
    video = stimuli.make_dead_leaves_video(1, 24, 32, 3, n_frame=20).values
    later = np.concatenate([grey[:, :, :10], video], 2)
    np.testing.assert_allclose(
        respond(cortex, later)[..., 10:], respond(cortex, video), rtol=1e-3, atol=1e-4
    )


def test_a_stream_gives_the_numbers_of_the_whole_video(cortex):
    video = stimuli.make_dead_leaves_video(2, 24, 32, 3, n_frame=25)
    whole = respond(cortex, video)
    show = cortex.as_twin().condition().stream(batch=2)
    frames = torch.as_tensor(video.values).float()
    with torch.inference_mode():
        streamed = torch.stack([show(frames[:, :, t]) for t in range(25)], -1)
    np.testing.assert_allclose(streamed, whole, rtol=1e-4, atol=1e-5)


def test_the_truth_holds_at_another_frame_rate():
    slow, fast = (only("complex", frame_rate=rate) for rate in (30.0, 60.0))
    np.testing.assert_allclose(
        fast.neurons.true_temporal_frequency, slow.neurons.true_temporal_frequency, rtol=0.1
    )
    np.testing.assert_allclose(
        fast.neurons.true_latency_frames, 2 * slow.neurons.true_latency_frames, rtol=1e-6
    )


# --- behaviour and gaze


def test_gaze_moves_the_receptive_fields_frame_by_frame():
    cortex = only("complex", gaze_shift=1.0)
    twin = cortex.as_twin()
    video = stimuli.make_dead_leaves_video(1, 24, 32, 3, n_frame=20).values.astype(np.float32)
    gaze = np.tile(np.array([2.0, -1.0])[:, None], 20)
    gaze[0, 10:] += 1.5 * 2  # two pixels rightwards, from the tenth frame on
    moved = video.copy()
    moved[:, :, 10:, :, :-2] = video[:, :, 10:, :, 2:]
    moved[:, :, 10:, :, -2:] = cortex.spec.mean
    with torch.inference_mode():
        rate = twin(torch.as_tensor(video), pupil_center=torch.as_tensor(gaze[None]).float())
    np.testing.assert_allclose(rate, respond(cortex, moved), rtol=1e-3, atol=1e-5)


def test_gain_is_exponential_in_the_state_of_each_frame(cortex):
    twin = cortex.as_twin()
    video = torch.as_tensor(stimuli.make_dead_leaves_video(1, 24, 32, 3, n_frame=20).values)
    state = torch.tensor(twin.context["behavior"])[None, :, None].repeat(1, 1, 20)
    state[:, 0, 7] += 12.0
    with torch.inference_mode():
        quiet, moved = (twin(video.float(), behavior=b)[0].numpy() for b in (None, state))
    expected = quiet.copy()
    expected[:, 7] *= np.exp(cortex.neurons.true_pupil_gain.values)
    np.testing.assert_allclose(moved, expected, rtol=1e-4)
    assert np.abs(moved[:, 7] / quiet[:, 7] - 1).max() > 0.1


def test_behaviour_goes_on_from_trial_to_trial(recording):
    pupil = recording.behavior.sel(behavior_channel="pupil_dilation").values
    steps = np.diff(pupil, axis=1)
    between = pupil[1:, 0] - pupil[:-1, -1]
    assert between.std() < 2 * steps.std()
    assert pupil.std() > 5 * steps.std()


# --- the recording


def test_recording_is_whole(recording):
    validate_recording(recording)
    assert recording.attrs["frame_rate"] == 30.0
    assert recording.attrs["recording_id"] == "simulated-video-0"
    assert recording.stimulus.dtype == np.uint8
    assert dict(recording.sizes) == {
        "video": 32, "channel": 1, "frame": 60, "y": 24, "x": 32, "trial": 104, "neuron": 20,
        "behavior_channel": 3, "axis": 2, "lag": 16,
    }  # fmt: skip
    shown = np.bincount(recording.stimulus_index, minlength=32)
    np.testing.assert_array_equal(shown, np.repeat([1, 10], [24, 8]))
    assert len(np.unique(recording.stimulus.values.reshape(32 * 60, -1), axis=0)) == 32 * 60


def test_twin_predicts_the_true_rate_and_responses_scatter_about_it(cortex, recording):
    rate = respond(cortex, recording.stimulus)
    np.testing.assert_allclose(rate, recording.true_rate, rtol=1e-3, atol=1e-4)
    predicted = predict_responses(cortex.as_twin(), recording).values.astype(float)
    possible = predicted > 0.01  # cells without a blank rate are silent at grey
    error = (recording.response.values - predicted)[possible]
    standardised = error / np.sqrt(predicted[possible])
    assert (recording.response.values[predicted == 0] == 0).all()
    assert standardised.mean() == pytest.approx(0, abs=4 / np.sqrt(standardised.size))
    assert (standardised**2).mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    "settings", [{}, {"noise": "calcium", "reliability": 0.25}], ids=["default", "calcium"]
)
def test_reliability_of_single_frames_is_what_was_asked(settings):
    cortex = SimulatedVideoCortex(2, n_neuron=40, **FIELD, **settings)
    asked = settings.get("reliability", 0.4)
    made = cortex.record(n_train=0, n_validation=0, n_test=30, n_frame=60)
    frames = unroll_frames(made.response, skip=MEMORY)
    oracle = oracle_correlation(frames.values, frames.stimulus_index.values)
    assert oracle.mean() == pytest.approx(asked, abs=0.05)
    assert cortex.neurons.true_reliability.values.mean() == pytest.approx(asked, abs=0.001)
    assert np.corrcoef(oracle, cortex.neurons.true_reliability)[0, 1] > 0.7


def test_same_seed_same_recording_and_another_seed_another():
    numbers = {"n_train": 2, "n_validation": 1, "n_test": 1, "n_repeat": 2, "n_frame": 20}
    first, again = (SimulatedVideoCortex(3, n_neuron=4, **FIELD) for _ in range(2))
    made = first.record(**numbers)
    xr.testing.assert_identical(made, again.record(**numbers))
    other = first.record(**numbers, seed=5)
    assert other.attrs["recording_id"] == "simulated-video-3-recording-5"
    np.testing.assert_array_equal(other.true_filter, made.true_filter)
    assert not np.array_equal(other.stimulus, made.stimulus)


def test_recording_survives_a_file(recording, tmp_path):
    recording.to_netcdf(tmp_path / "recording.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "recording.nc", engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load(), recording)


def test_a_recording_reports_to_its_end_and_can_be_cancelled(cortex):
    seen = []
    cortex.record(
        n_train=20, n_validation=0, n_test=0,
        job=Job(listener=lambda job: seen.append(job.fraction), interval=0.0),
    )  # fmt: skip
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    with pytest.raises(Cancelled):
        cortex.record(job=Job(listener=lambda job: job.cancel(), interval=0.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frame_rate": 8.0}, "`frame_rate` must be 15 to 1000 Hz, but got 8"),
        ({"height": 8}, "`height` and `width` must be at least 16 pixels, but got 8 and 64"),
        ({"noise": "white"}, "`noise` must be one of .*'white'"),
    ],
)
def test_impossible_video_cortices_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        SimulatedVideoCortex(**settings)


def test_empty_recordings_are_refused(cortex):
    with pytest.raises(InputError, match="at least one video, no negative number of videos"):
        cortex.record(n_train=0, n_validation=0, n_test=0)
    with pytest.raises(InputError, match="at least one frame, but got n_frame = 0"):
        cortex.record(n_frame=0)
