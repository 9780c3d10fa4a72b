"""Resampling in space and time against closed forms."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from twinlab import recordings
from twinlab.recordings import align_traces, count_spikes
from twinlab.schema import InputError, fingerprint, make_recording

RATE = 30.0


def video_recording(stimulus, response, **attrs):
    n = len(stimulus)
    return make_recording(
        stimulus=stimulus,
        response=response,
        trial={
            "stimulus_index": np.arange(n),
            "image_id": np.arange(n),
            "split": ["train"] * n,
        },
        neuron={"neuron_id": np.arange(response.shape[1]), "session": ["s"] * response.shape[1]},
        **({"frame_rate": RATE} if stimulus.ndim == 5 else {}),
        **attrs,
    )


def image_recording(stimulus, **attrs):
    return video_recording(stimulus, np.ones((len(stimulus), 2)), **attrs)


def gratings(n, cycles_per_pixel, contrast=0.8):
    """Vertical gratings around mid grey, float, of the same phase."""
    phase = 2 * np.pi * cycles_per_pixel * (np.arange(n) + 0.5)
    return np.broadcast_to(127.5 * (1 + contrast * np.sin(phase)), (1, 1, n, n)).astype(np.float32)


def contrast_of(recording):
    """Amplitude by mean in the middle, away from the edges."""
    n = recording.sizes["x"]
    line = recording.stimulus.values[0, 0, n // 2, n // 4 : -(n // 4)]
    return np.sqrt(2) * line.std() / line.mean()


# --- traces to trials


def test_a_known_latency_is_found_to_one_sample():
    times = 5 + np.arange(3000) / RATE
    latency = 0.26
    trace = np.sin(2 * np.pi * 0.7 * (times - latency))[:, None]
    onset = 10 + np.arange(1200) / 20
    shown = np.sin(2 * np.pi * 0.7 * (onset + 0.025))  # in the middle of each frame
    tried = np.arange(0, 0.6, 0.005)
    match = [
        np.corrcoef(shown, align_traces(trace, times, onset, 0.05, latency=t)[:, 0])[0, 1]
        for t in tried
    ]
    assert abs(tried[np.argmax(match)] - latency) < 1 / RATE
    aligned = align_traces(trace, times, onset, 0.05, latency=latency)[:, 0]
    damped = np.sinc(0.7 * 0.05) * np.sinc(0.7 / RATE) ** 2  # mean over a frame, lines between
    np.testing.assert_allclose(aligned, damped * shown, atol=2e-3)


def test_windows_that_tile_time_keep_the_area_under_a_trace():
    traces = np.random.default_rng(1).exponential(size=(301, 3))
    times = np.arange(301) / RATE
    expected = np.trapezoid(traces, times, axis=0)
    for n in (7, 1000):
        edges = np.linspace(0, 10, n + 1)
        mean = align_traces(traces, times, edges[:-1], np.diff(edges)).astype(float)
        np.testing.assert_allclose((mean * np.diff(edges)[:, None]).sum(0), expected, rtol=1e-6)


def test_nothing_is_made_up_outside_in_gaps_or_where_samples_are_missing():
    times = np.arange(20.0)
    times[12:] += 7  # the microscope paused
    traces = np.ones((20, 2))
    traces[5, 1] = np.nan
    onset = np.array([-0.5, 0.0, 3.5, 4.5, 6.0, 11.5, 19.0, 25.5, np.nan])
    found = align_traces(traces, times, onset, 1.0)
    expected = np.ones((9, 2))
    expected[[0, 5, 7, 8]] = np.nan  # before, in the gap, after the end, no onset
    expected[[2, 3], 1] = np.nan  # 3.5 to 4.5 lies on the line to the missing sample
    np.testing.assert_array_equal(found, expected)


def test_an_infinite_sample_is_not_hidden():
    traces = np.ones((20, 2))
    traces[5, 1] = np.inf
    found = align_traces(traces, np.arange(20.0), np.array([1.0, 4.5, 8.0]), 1.0)
    np.testing.assert_array_equal(found, [[1, 1], [1, np.inf], [1, 1]])


def test_latency_moves_the_window_and_shapes_are_kept():
    times = np.arange(100) / 10
    onset = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]])
    found = align_traces(times[:, None], times, onset, 0.5, latency=0.3)
    assert found.shape == (2, 3, 1)
    np.testing.assert_allclose(found[..., 0], onset + 0.55, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((4, 1)), np.arange(3), 0.0, 1.0), r"shape \(4, 1\) with times of shape \(3,\)"),
        ((np.ones((4, 1)), np.array([0, 2, 1, 3]), 0.0, 1.0), "do not after sample 1"),
        ((np.ones((4, 1)), np.arange(4), 0.0, 0.0), "above 0 s, but the smallest is 0"),
    ],
)
def test_traces_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        align_traces(*arguments)


def test_spikes_are_counted_as_by_hand_and_none_twice():
    rng = np.random.default_rng(2)
    trains = [np.sort(rng.uniform(0, 10, n)) for n in (500, 0, 3)]
    onset = np.arange(0, 10, 0.25)
    counts = count_spikes(trains, onset, 0.25)
    np.testing.assert_array_equal(counts.sum(axis=0), [500, 0, 3])
    late = count_spikes(trains, np.append(onset, np.nan), 0.1, latency=0.05)
    by_hand = [[np.sum((t >= o + 0.05) & (t < o + 0.15)) for t in trains] for o in onset]
    np.testing.assert_array_equal(late[:-1], by_hand)
    assert np.isnan(late[-1]).all()
    with pytest.raises(InputError, match="neuron 1 decrease"):
        count_spikes([np.arange(3.0), np.array([2.0, 1.0])], onset, 0.1)


# --- space


@pytest.mark.parametrize("factor", [0.25, 0.5])
def test_a_grating_below_the_new_nyquist_keeps_its_contrast(factor):
    nyquist = 0.5 * factor  # of the new pixels, in cycles per old one
    scaled = recordings.scale_stimulus(image_recording(gratings(256, nyquist / 2)), factor)
    assert contrast_of(scaled) == pytest.approx(0.8, rel=0.02)
    assert float(scaled.stimulus.mean()) == pytest.approx(127.5, rel=0.005)


@pytest.mark.parametrize("factor", [0.25, 0.5])
@pytest.mark.parametrize("beyond", [1.6, 1.9])
def test_a_grating_above_the_new_nyquist_vanishes(factor, beyond):
    fine = gratings(256, 0.5 * factor * beyond)
    scaled = recordings.scale_stimulus(image_recording(fine), factor)
    assert contrast_of(scaled) < 0.02
    picked = fine[..., :: int(1 / factor), :: int(1 / factor)]  # what picking pixels would give
    assert np.sqrt(2) * picked[0, 0, 0].std() / picked.mean() > 0.7


def test_scaling_keeps_the_mean_and_a_uniform_field_and_bytes():
    pixels = np.random.default_rng(3).integers(0, 256, (5, 2, 48, 64)).astype(np.uint8)
    pixels[0] = 77
    scaled = recordings.scale_stimulus(image_recording(pixels), 0.25)
    assert scaled.stimulus.shape == (5, 2, 12, 16)
    assert scaled.stimulus.dtype == np.uint8
    assert (scaled.stimulus[0] == 77).all()
    means = scaled.stimulus.mean(["y", "x"])
    np.testing.assert_allclose(means, pixels.mean((2, 3)), rtol=0.03)
    as_float = recordings.scale_stimulus(image_recording(pixels.astype(np.float32)), 0.25)
    np.testing.assert_array_equal(scaled.stimulus, np.clip(np.rint(as_float.stimulus), 0, 255))
    assert scaled.attrs["fingerprint"] == fingerprint(scaled)
    assert scaled.attrs["resampled"] == "scaled by 0.25"


def test_scaling_up_and_down_again_returns_smooth_images():
    smooth = gratings(64, 0.05)
    larger = recordings.scale_stimulus(image_recording(smooth), 2)
    back = recordings.scale_stimulus(larger, 0.5)
    inner = (..., slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(back.stimulus.values[inner], smooth[inner], atol=1.0)


def test_a_crop_is_what_was_there():
    pixels = np.random.default_rng(4).integers(0, 256, (3, 1, 9, 12)).astype(np.uint8)
    recording = image_recording(pixels, screen_width_cm=24.0, screen_distance_cm=30.0)
    cropped = recordings.crop_stimulus(recording, top=1, bottom=2, left=3)
    np.testing.assert_array_equal(cropped.stimulus, pixels[:, :, 1:7, 3:])
    assert cropped.attrs["screen_width_cm"] == 18
    assert recording.attrs["screen_width_cm"] == 24  # the input is not changed
    assert cropped.attrs["fingerprint"] != recording.attrs["fingerprint"]
    assert recordings.degrees_to_pixels(cropped, 5.0) == pytest.approx(
        recordings.degrees_to_pixels(recording, 5.0)
    )


def test_degrees_and_pixels_follow_the_scale():
    # 57.29 cm away, one centimetre is one degree: 2 pixels a degree
    recording = image_recording(
        np.zeros((1, 1, 32, 64), np.uint8), screen_width_cm=32.0, screen_distance_cm=57.2958
    )
    assert recordings.degrees_to_pixels(recording, 10.0) == pytest.approx(20, rel=1e-3)
    assert recordings.pixels_to_degrees(recording, np.array([20.0])) == pytest.approx(10, rel=1e-3)
    half = recordings.scale_stimulus(recording, 0.5)
    assert recordings.degrees_to_pixels(half, 10.0) == pytest.approx(10, rel=1e-3)
    stated = image_recording(np.zeros((1, 1, 32, 64), np.uint8), pixels_per_degree=3.0)
    assert recordings.degrees_to_pixels(stated, 2.0) == 6
    assert recordings.scale_stimulus(stated, 0.5).attrs["pixels_per_degree"] == 1.5
    unknown = image_recording(np.zeros((1, 1, 32, 64), np.uint8))
    with pytest.raises(InputError, match="does not say how large its pixels are"):
        recordings.degrees_to_pixels(unknown, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: recordings.crop_stimulus(r, top=20, bottom=12), "off 32 x 64"),
        (lambda r: recordings.crop_stimulus(r, left=-1), "Cannot crop 0, 0, -1"),
        (lambda r: recordings.scale_stimulus(r, 0.3), "9.6 x 19.2; expected whole numbers"),
        (lambda r: recordings.scale_stimulus(r, 0.001), "expected whole numbers"),
        (lambda r: recordings.scale_stimulus(r, np.nan), "expected whole numbers"),
        (lambda r: recordings.resample_frames(r, 15), "this is a recording of images"),
        (
            lambda r: recordings.scale_stimulus(
                r.assign(true_filter=(("neuron", "y", "x"), np.zeros((2, 32, 64)))), 0.5
            ),
            "true_filter along x, y cannot be scaled; drop it first",
        ),
    ],
)
def test_what_cannot_be_resampled_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        change(image_recording(np.zeros((1, 1, 32, 64), np.uint8)))


# --- time


@pytest.fixture
def videos():
    rng = np.random.default_rng(5)
    stimulus = rng.integers(0, 256, (3, 1, 12, 4, 5)).astype(np.uint8)
    response = rng.exponential(size=(3, 2, 12)).astype(np.float32)
    behavior = rng.normal(size=(3, 3, 12)).astype(np.float32)
    return video_recording(stimulus, response, behavior=behavior)


def test_half_the_frame_rate_is_the_mean_of_pairs(videos):
    half = recordings.resample_frames(videos, 15)
    assert half.attrs["frame_rate"] == 15
    pairs = videos.response.values.reshape(3, 2, 6, 2).mean(-1)
    np.testing.assert_allclose(half.response, pairs, rtol=1e-6)
    pixels = videos.stimulus.values.reshape(3, 1, 6, 2, 4, 5).mean(3)
    np.testing.assert_array_equal(half.stimulus, np.rint(pixels))
    assert half.stimulus.dtype == np.uint8
    np.testing.assert_allclose(
        half.behavior.mean("frame"), videos.behavior.mean("frame"), atol=1e-6
    )


@pytest.mark.parametrize("rate", [10.0, 20.0, 45.0, 60.0])
def test_the_mean_over_time_is_kept_at_any_rate(videos, rate):
    other = recordings.resample_frames(videos, rate)
    assert other.sizes["frame"] == 12 * rate / RATE
    np.testing.assert_allclose(
        other.response.mean("frame"), videos.response.mean("frame"), rtol=1e-5
    )


def test_a_higher_rate_holds_each_frame(videos):
    twice = recordings.resample_frames(videos, 60)
    np.testing.assert_array_equal(twice.stimulus, np.repeat(videos.stimulus, 2, axis=2))
    same = recordings.resample_frames(twice, 30)
    np.testing.assert_allclose(same.response, videos.response, rtol=1e-6)


@pytest.mark.parametrize("latency_frames", [2, 2.5])
def test_responses_come_back_to_their_stimuli(latency_frames):
    """Each pixel is a neuron that answers late: with the latency undone the two are the same."""
    rng = np.random.default_rng(6)
    shown = np.repeat(rng.uniform(size=(4, 15)), 4, axis=1)  # (video, frame at 120 Hz)
    late = np.full(shown.shape, np.nan)
    shift = int(latency_frames * 4)
    late[:, shift:] = shown[:, :-shift]
    recording = video_recording(
        shown[:, None, :, None, None].astype(np.float32), late[:, None].astype(np.float32)
    ).assign_attrs(frame_rate=120.0)
    back = recordings.resample_frames(recording, RATE, latency=latency_frames / RATE)
    n_gone = int(np.ceil(latency_frames))
    assert np.isnan(back.response[..., 15 - n_gone :]).all()
    np.testing.assert_allclose(
        back.response[:, 0, : 15 - n_gone], back.stimulus[:, 0, : 15 - n_gone, 0, 0], rtol=1e-5
    )


def test_missing_responses_stay_missing_and_spread_to_no_other(videos):
    videos.response[1, 0, 7] = np.nan
    half = recordings.resample_frames(videos, 15)
    assert np.argwhere(np.isnan(half.response.values)).tolist() == [[1, 0, 3]]


@pytest.mark.parametrize(
    "change",
    [
        lambda r: recordings.resample_frames(r, 20, latency=0.1),
        lambda r: recordings.scale_stimulus(r, 0.5),
        lambda r: recordings.crop_stimulus(r, top=1, right=2),
    ],
)
def test_what_is_lazy_stays_lazy_and_is_the_same(change):
    rng = np.random.default_rng(7)
    stimulus = rng.integers(0, 256, (5, 1, 12, 4, 6)).astype(np.uint8)
    eager = video_recording(stimulus, rng.normal(size=(5, 2, 12)).astype(np.float32))
    lazy = eager.copy()
    for name in ("stimulus", "response"):
        values = da.from_array(eager[name].values).rechunk({0: 2})
        lazy[name] = (eager[name].dims, values)
    found = change(lazy)
    assert isinstance(found.stimulus.data, da.Array)
    assert "fingerprint" not in found.attrs
    expected = change(eager)
    np.testing.assert_array_equal(found.stimulus, expected.stimulus)
    np.testing.assert_array_equal(found.response, expected.response)
    assert found.stimulus.dtype == np.uint8


def test_where_each_video_ends_is_told_in_new_frames(videos):
    lengths = np.full(videos.sizes["video"], 12)
    lengths[0] = 7  # the fourth new frame would be half of it
    for known in (videos.assign(n_frame=("video", lengths)),
                  videos.assign_coords(n_frame=("video", lengths))):  # fmt: skip
        half = recordings.resample_frames(known, 15)
        assert half.n_frame.values.tolist() == [3, *[6] * (len(lengths) - 1)]
        assert ("n_frame" in half.coords) == ("n_frame" in known.coords)


def test_a_rate_without_a_whole_frame_is_refused(videos):
    for rate in (2.0, 0.0, -5.0, np.nan):
        with pytest.raises(InputError, match="have no whole frame; give a higher rate"):
            recordings.resample_frames(videos, rate)


def test_resampled_recordings_are_recordings(videos, tmp_path):
    there = recordings.crop_stimulus(recordings.resample_frames(videos, 15), top=1)
    assert there.attrs["resampled"] == "30 to 15 frames per second; cropped by 1, 0, 0, 0 pixels"
    path = recordings.save_recording(there, tmp_path / "it.zarr")
    xr.testing.assert_identical(there, recordings.open_recording(path).load())
