"""Dead leaves that move: each frame as an image, the motion as stated."""

import numpy as np
import pytest

from twinlab import stimuli
from twinlab.schema import InputError


def make(n=4, n_frame=30, **settings):
    return stimuli.make_dead_leaves_video(n, 36, 64, 3, n_frame=n_frame, **settings)


def test_moving_leaves_are_labelled():
    video = make(2, 6, frame_rate_hz=60.0, channel=2)
    assert video.dims == ("video", "channel", "frame", "y", "x")
    assert video.shape == (2, 2, 6, 36, 64)
    assert video.dtype == np.uint8
    np.testing.assert_allclose(video.time, np.arange(6) / 60)
    assert video.attrs["kind"] == "moving dead leaves"
    assert video.attrs["frame_rate_hz"] == 60.0


def test_leaves_that_do_not_move_are_the_images():
    still = make(scene_speed=0.0, leaf_speed=0.0)
    images = stimuli.make_dead_leaves(4, 36, 64, 3, radius_min=1.0)
    for frame in (0, 7, 29):
        np.testing.assert_array_equal(still.values[:, :, frame], images)


def test_a_scene_that_moves_as_a_whole_is_shifted():
    """The displacement between frames, of the highest cross-correlation, is a whole number of
    pixels a frame where the speed is, and grows with time as uniform motion does."""
    video = make(6, 13, leaf_speed=0.0, scene_speed=15.0).values[:, 0].astype(float)

    def shift(a, b):
        window = np.hanning(36)[:, None] * np.hanning(64)
        spectra = [np.fft.fft2((frame - frame.mean()) * window) for frame in (a, b)]
        peak = np.fft.ifft2(spectra[1] * spectra[0].conj()).real
        where = np.unravel_index(peak.argmax(), peak.shape)
        return np.array([(p + s // 2) % s - s // 2 for p, s in zip(where, (36, 64), strict=True)])

    moved = np.array([[shift(clip[0], clip[t]) for t in (6, 12)] for clip in video])
    np.testing.assert_allclose(moved[:, 1], 2 * moved[:, 0], atol=2)
    speed = moved[:, 1] / 12 * 30
    assert 6 < speed.std() < 24  # twelve draws from a standard deviation of 15 px/s


def test_every_frame_has_the_statistics_of_the_first():
    """What leaves the screen comes back: it neither empties nor fills up."""
    video = make(30, 100).values.astype(float)
    for frame in (0, 50, 99):
        assert 98 < video[:, :, frame].mean() < 122
        assert 50 < video[:, :, frame].std() < 70


def test_frames_forget_each_other():
    video = make(20, 120).values[:, 0].astype(float)

    def correlation(lag):
        return np.corrcoef(video[:, 0].ravel(), video[:, lag].ravel())[0, 1]

    assert correlation(1) > 0.7
    assert correlation(1) > correlation(5) > correlation(20)
    assert abs(correlation(119)) < 0.35


def test_leaves_move_on_their_own():
    together, apart = make(leaf_speed=0.0, scene_speed=0.0), make(leaf_speed=15.0, scene_speed=0.0)
    assert np.array_equal(together.values[:, :, 0], together.values[:, :, 9])
    changed = (apart.values[:, :, 0] != apart.values[:, :, 9]).mean()
    assert changed > 0.5


def test_a_video_depends_on_seed_and_number_alone():
    long = make(5, 12)
    again = make(2, 7, first=3)
    np.testing.assert_array_equal(again.values, long.values[3:5, :, :7])
    other = stimuli.make_dead_leaves_video(2, 36, 64, 4, n_frame=7, first=3)
    assert (other.values != again.values).mean() > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_frame": 0}, "`n_frame` of at least 1, a positive `frame_rate_hz` .* got 0, 30"),
        ({"frame_rate_hz": 0.0}, "but got 30, 0, 20 and 15"),
        ({"leaf_speed": -1.0}, "but got 30, 30, 20 and -1"),
        ({"n": 0}, "at least 1 and `first` of at least 0, but got 0, 36, 64"),
    ],
)
def test_impossible_videos_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        make(**arguments)
