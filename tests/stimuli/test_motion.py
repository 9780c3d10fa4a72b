"""What moves: where, how fast, and how much of it together."""

import numpy as np
import pytest

from twinlab import stimuli
from twinlab.schema import InputError

VIDEO = {"height": 36, "width": 64, "n_frame": 20, "frame_rate_hz": 10.0}
UNIT = {0: (1, 0), 90: (0, -1), 180: (-1, 0), 270: (0, 1)}  # x, y downwards


def centroid(frame):
    y, x = np.indices(frame.shape)
    return np.array([(frame * x).sum(), (frame * y).sum()]) / frame.sum()


@pytest.mark.parametrize("direction", [0, 45, 90, 210])
def test_a_bar_is_where_it_should_be(direction):
    video = stimuli.make_moving_bars(
        direction, speed=4.0, bar_width=3, bar_length=6, center=(30, 18), **VIDEO
    )
    heading = np.deg2rad(direction)
    for frame, time in zip(video.values[0, 0], video.time.values, strict=True):
        offset = 4.0 * (time - 0.95)
        expected = np.array([30 + offset * np.cos(heading), 18 - offset * np.sin(heading)])
        np.testing.assert_allclose(centroid(frame - 127.5), expected, atol=0.05)


def test_a_bar_keeps_its_area_and_its_length_is_across_its_motion():
    video = stimuli.make_moving_bars(0, speed=3.3, bar_width=2.5, bar_length=8, **VIDEO)
    bar = video.values[0, 0] / 127.5 - 1
    np.testing.assert_allclose(bar.sum((1, 2)), 2.5 * 8, rtol=1e-5)
    np.testing.assert_allclose(bar[:, 18].sum(1), 2.5, rtol=1e-4)


def test_a_dark_bar_crosses_the_whole_screen():
    video = stimuli.make_moving_bars(90, speed=10, bar_width=2, contrast=-0.5, **VIDEO)
    darkest = video.values[0, 0].min((0, 1))
    np.testing.assert_allclose(darkest, 127.5 / 2)
    assert float(video.weber_contrast[0]) == -0.5


def moved_together(video, shift):
    """Correlation of each frame with the one before, moved by `shift` (x, y)."""
    frames = video - video.mean((1, 2), keepdims=True)
    moved = np.roll(frames[:-1], shift, (2, 1))
    return (moved * frames[1:]).sum() / (frames[1:] ** 2).sum()


# 8 pixels a frame, so that few noise dots come near where a signal dot would be, and a large
# screen, so that chance and borders matter little.
DOTS = {"height": 160, "width": 200, "n_frame": 12, "frame_rate_hz": 10.0, "speed": 80.0}


@pytest.mark.parametrize("direction", UNIT)
@pytest.mark.parametrize("coherence", [0.0, 0.4, 1.0])
def test_the_share_of_coherent_dots_moves_in_their_direction(direction, coherence):
    video = stimuli.make_random_dots(direction, coherence, 0, n_dot=400, **DOTS).values[0, 0]
    shift = tuple(8 * step for step in UNIT[direction])
    assert moved_together(video, shift) == pytest.approx(coherence, abs=0.08)
    opposite = tuple(-step for step in shift)
    assert abs(moved_together(video, opposite)) < 0.08


@pytest.mark.parametrize("frames", [2, 4])
def test_dots_live_as_long_as_asked(frames):
    """Of dots that live n frames a share 1 / n starts anew in each."""
    video = stimuli.make_random_dots(0, 1.0, 0, n_dot=400, lifetime_s=frames / 10, **DOTS)
    together = moved_together(video.values[0, 0], (8, 0))
    assert together == pytest.approx(1 - 1 / frames, abs=0.06)


def test_coherence_is_that_of_whole_dots():
    video = stimuli.make_random_dots(0, [0.1, 0.33], 0, n_dot=10, **DOTS)
    np.testing.assert_allclose(video.coherence, [0.1, 0.3])


def test_dots_are_as_many_and_as_large_as_asked():
    video = stimuli.make_random_dots(0, 0.5, 1, n_dot=40, dot_radius=3, contrast=-1, **DOTS)
    shade = 1 - video.values[0, 0] / 127.5
    share = 40 * np.pi * 3**2 / (166 * 206)  # of the screen and what is around it
    assert shade.mean() == pytest.approx(1 - np.exp(-share), rel=0.1)  # but for overlaps
    assert (shade.min(), shade.max()) == (0, 1)


def test_a_video_depends_on_seed_and_number_alone():
    for make, settings in (
        (stimuli.make_random_dots, {"coherence": 0.5}),
        (stimuli.make_motion_clouds, {"spatial_frequency": 0.1}),
    ):
        several = make([0, 90, 90], seed=3, speed=10, **settings, **VIDEO)
        np.testing.assert_array_equal(
            several[0], make(0, seed=3, speed=10, **settings, **VIDEO)[0]
        )
        assert not np.array_equal(several[1], several[2])
        other = make(0, seed=4, speed=10, **settings, **VIDEO)
        assert not np.array_equal(several[0], other[0])


def power_of(video):
    """Power (frame, y, x) and the frequencies along each axis, of videos whose ends join."""
    n_frame, height, width = video.shape[-3:]
    power = (np.abs(np.fft.fftn(video, axes=(-3, -2, -1))) ** 2).mean(0)
    power[:, 0, 0] = 0
    temporal = np.fft.fftfreq(n_frame, 1 / 30)[:, None, None]
    return power / power.sum(), temporal, np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)


CLOUD = {"height": 48, "width": 64, "n_frame": 60, "frame_rate_hz": 30.0, "speed": 20.0}


@pytest.mark.parametrize("direction", [0, 60, 90, 200])
def test_clouds_have_their_power_at_the_speed_and_direction(direction):
    narrow = {"speed_bandwidth": 4, "orientation_bandwidth": 25}
    clouds = stimuli.make_motion_clouds([direction] * 8, 0.12, 0, **narrow, **CLOUD)
    power, temporal, down, right = power_of(clouds.values[:, 0].astype(float))
    # The velocity that fits the spectrum best, as of any motion: f_t = -(f . v).
    lines = [np.broadcast_to(line, power.shape).ravel() for line in (right, down)]
    weight = power.ravel()
    gram = np.array([[(a * b * weight).sum() for a in lines] for b in lines])
    target = np.array(
        [(a * np.broadcast_to(-temporal, power.shape).ravel() * weight).sum() for a in lines]
    )
    velocity = np.linalg.solve(gram, target)
    heading = np.deg2rad(direction)
    expected = 20 * np.array([np.cos(heading), -np.sin(heading)])
    np.testing.assert_allclose(velocity, expected, atol=0.6)

    # and how far from it: a Gaussian of 4 px/s
    off = (temporal + right * expected[0] + down * expected[1]) / np.maximum(
        np.hypot(down, right), 1e-9
    )
    near = np.abs(off) < 12
    assert power[near].sum() > 0.97
    assert np.sqrt((off**2 * power)[near].sum()) == pytest.approx(4, rel=0.1)


def test_a_cloud_moves_as_a_drifting_grating_does():
    """The same sign and axes, in pixels: both correlate with themselves moved."""
    still = {"speed_bandwidth": 0.01}
    for direction, (x, y) in UNIT.items():
        cloud = stimuli.make_motion_clouds(direction, 0.1, 0, **(CLOUD | {"speed": 30}), **still)
        grating = stimuli.make_drifting_gratings(
            direction, 1 / 8, temporal_frequency_hz=30 / 8, n_frame=9, frame_rate_hz=30,
            height=48, width=64,
        )  # fmt: skip
        for video in (cloud, grating):
            assert moved_together(video.values[0, 0].astype(float), (x, y)) > 0.99
            assert moved_together(video.values[0, 0].astype(float), (-x, -y)) < 0.9


def test_clouds_have_the_spatial_band_asked_for():
    clouds = stimuli.make_motion_clouds(
        [0] * 8, 0.12, 1, orientation=30, orientation_bandwidth=12, **CLOUD
    )
    power, _, down, right = power_of(clouds.values[:, 0].astype(float))
    octaves = np.log2(np.maximum(np.hypot(down, right), 1e-9) / 0.12)
    mean = (octaves * power).sum()
    assert mean == pytest.approx(0, abs=0.05)
    assert np.sqrt(((octaves - mean) ** 2 * power).sum()) == pytest.approx(0.5, abs=0.05)
    doubled = (np.exp(2j * np.arctan2(right, down)) * power).sum()
    assert np.rad2deg(np.angle(doubled)) / 2 == pytest.approx(30, abs=1.5)
    # circular standard deviation, halved as the angle was doubled
    spread = np.sqrt(-2 * np.log(np.abs(doubled))) / 2
    assert np.rad2deg(spread) == pytest.approx(12, abs=1.5)


def test_clouds_have_the_stated_mean_and_rms_contrast():
    clouds = stimuli.make_motion_clouds(
        np.arange(0, 360, 30), 0.15, 2, mean=100.0, contrast=0.2, **CLOUD
    )
    np.testing.assert_allclose(clouds.mean(("y", "x")), 100, rtol=1e-4)  # of every frame
    assert float(clouds.std()) == pytest.approx(20, rel=0.03)
    assert clouds.rms_contrast.units == "1"


def test_a_cloud_that_does_not_move_stays():
    still = stimuli.make_motion_clouds(0, 0.1, 0, **(CLOUD | {"speed": 0}))
    frames = still.values[0, 0]
    assert np.corrcoef(frames[0].ravel(), frames[1].ravel())[0, 1] > 0.99


def test_clouds_too_fast_for_the_frames_are_marked():
    with pytest.warns(UserWarning, match="1 of 2 stimuli"):
        made = stimuli.make_motion_clouds(0, 0.1, 0, **(CLOUD | {"speed": [140, 160]}))
    np.testing.assert_array_equal(made.aliased, [False, True])


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (stimuli.make_moving_bars, {"bar_width": 0}, "`bar_width` must be positive, but got 0"),
        (stimuli.make_moving_bars, {"bar_width": 1, "contrast": -2}, "must be at least -1"),
        (stimuli.make_random_dots, {"coherence": 1.5, "seed": 0}, "between 0 and 1, but got 1.5"),
        (
            stimuli.make_random_dots,
            {"coherence": 1, "seed": 0, "lifetime_s": 0.1},
            "but got 50, 1 pixels and 1 frames",
        ),
        (
            stimuli.make_random_dots,
            {"coherence": 1, "seed": 0, "dot_radius": 1, "degrees_per_pixel": 4},
            "at least half a pixel .* but got 50, 0.25 pixels",
        ),
        (stimuli.make_random_dots, {"coherence": 1, "seed": -1}, "`seed` must be at least 0"),
        (
            stimuli.make_motion_clouds,
            {"spatial_frequency": 50, "seed": 0, "spatial_frequency_bandwidth": 0.1},
            "No frequency of a 36 x 64 image is in a band about `spatial_frequency` 50",
        ),
        (stimuli.make_motion_clouds, {"spatial_frequency": 0, "seed": 0}, "must be above 0"),
        (
            stimuli.make_motion_clouds,
            {"spatial_frequency": 0.1, "seed": 0, "n_frame": 0},
            "A video needs `n_frame` >= 1",
        ),
    ],
)
def test_impossible_motion_is_refused(make, arguments, message):
    with pytest.raises(InputError, match=message):
        make(0, **(VIDEO | {"speed": 10} | arguments))
