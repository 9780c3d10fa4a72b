"""A bar at rest, and strokes drawn by hand."""

import numpy as np
import pytest

from twinlab import stimuli
from twinlab.schema import InputError

SIZE = {"height": 36, "width": 64}


def test_a_bar_is_where_it_is_asked_for_and_as_bright():
    made = stimuli.make_bars(0, bar_width=4, bar_length=10, center=(20, 11.5), mean=100, **SIZE)
    inside = np.zeros((36, 64), bool)
    inside[10:14, 15:26] = True  # 10 long around 20: 14.5 and 25.5 are half covered
    share = (made.values[0, 0] - 100) / 100
    expected = inside.astype(float)
    expected[10:14, [15, 25]] = 0.5
    np.testing.assert_allclose(share, expected, atol=1e-6)


@pytest.mark.parametrize("orientation", [0, 30, 45, 90, 135])
def test_the_area_and_axis_of_a_bar_are_those_asked_for(orientation):
    made = stimuli.make_bars(orientation, bar_width=5, bar_length=20, contrast=-0.5, **SIZE)
    weight = -(made.values[0, 0] - 127.5) / (0.5 * 127.5)
    assert weight.sum() == pytest.approx(100, rel=0.02)
    y, x = np.mgrid[:36, :64]
    x, y = x - 31.5, 17.5 - y  # upwards
    axis = 0.5 * np.arctan2(2 * (weight * x * y).sum(), (weight * (x**2 - y**2)).sum())
    assert np.cos(2 * (axis - np.deg2rad(orientation))) == pytest.approx(1, abs=1e-4)


def test_a_bar_moves_as_the_moving_one_does():
    frame = stimuli.make_moving_bars(
        60, speed=0, bar_width=5, bar_length=12, n_frame=1, frame_rate_hz=30, **SIZE
    ).isel(frame=0)
    # what moves towards 60 degrees lies across it
    still = stimuli.make_bars(150, bar_width=5, bar_length=12, **SIZE)
    np.testing.assert_allclose(still, frame, atol=1e-4)


def test_a_straight_stroke_is_a_bar_with_round_ends():
    points = [(10.0, 8.0), (20.0, 8.0), (30.0, 8.0)]
    made = stimuli.make_strokes([(points, 3.0, 1.0)], **SIZE).values[0, 0] / 127.5 - 1
    bar = stimuli.make_bars(0, bar_width=3, bar_length=20, center=(20, 8), **SIZE)
    middle = np.s_[:, 11:30]
    np.testing.assert_allclose(made[middle], bar.values[0, 0][middle] / 127.5 - 1, atol=1e-6)
    assert made.sum() == pytest.approx(20 * 3 + np.pi * 1.5**2, rel=0.02)


def test_the_later_stroke_is_on_top_and_a_tap_is_a_dot():
    made = stimuli.make_strokes(
        [([(0, 18), (63, 18)], 5, 1.0), ([(32, 18)], 9, -1.0)], mean=100, channel=2, **SIZE
    )
    assert made.shape == (1, 2, 36, 64)
    assert made.values[0, 1, 18, 32] == 0
    assert made.values[0, 0, 18, 5] == 200
    assert (made.values < 50).sum() / 2 == pytest.approx(np.pi * 4.5**2, rel=0.05)


def test_no_stroke_is_a_grey_screen():
    np.testing.assert_array_equal(
        stimuli.make_strokes([], mean=90, **SIZE), np.full((1, 1, 36, 64), 90.0)
    )


@pytest.mark.parametrize(
    "stroke",
    [([], 3, 1), ([(1, np.nan)], 3, 1), ([(1, 1)], 0, 1), ([(1, 1)], 3, -2), ([1, 2], 3, 1)],
)
def test_a_stroke_that_cannot_be_drawn_is_named(stroke):
    with pytest.raises(InputError, match="Stroke 1 has .* expected finite points"):
        stimuli.make_strokes([([(1, 1)], 2, 1), stroke], **SIZE)


def test_a_bar_without_a_width_is_refused():
    with pytest.raises(InputError, match="`bar_width` must be positive, but got 0"):
        stimuli.make_bars(0, bar_width=0, **SIZE)
