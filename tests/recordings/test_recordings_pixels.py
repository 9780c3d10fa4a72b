"""Grey levels stay bytes where nothing is lost by it, and videos are filled up with their mean."""

import numpy as np
import pytest

from twinlab.recordings.pixels import are_grey_levels, as_grey_levels, fill_up


@pytest.mark.parametrize("value", [-1, 256, 1e30, np.nan, np.inf, 0.5, 255.5])
def test_what_bytes_cannot_hold_is_kept(value):
    pixels = np.array([[0.0, value, 255.0]])
    assert not are_grey_levels(pixels)
    np.testing.assert_array_equal(as_grey_levels(pixels), pixels.astype(np.float32))
    assert as_grey_levels(pixels).dtype == np.float32


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">u2", "i8", "f4", ">f8", "?"])
def test_whole_grey_levels_become_bytes(dtype):
    levels = np.array([0, 1] if dtype == "?" else [0, 1, 255])
    pixels = levels.astype(dtype)
    assert are_grey_levels(pixels)
    assert as_grey_levels(pixels).dtype == np.uint8
    np.testing.assert_array_equal(as_grey_levels(pixels), levels)


@pytest.mark.parametrize(("dtype", "follows"), [(np.uint8, 2), (np.float32, 1.75)])
def test_after_a_video_its_mean_follows(dtype, follows):
    row = np.zeros((1, 4, 1, 2), dtype)
    frames = np.array([[[[0, 1]], [[2, 4]]]])
    fill_up(row, frames)
    np.testing.assert_array_equal(row[:, :2], frames)
    assert (row[:, 2:] == follows).all()
    whole = np.ones((1, 2, 1, 2), dtype)
    fill_up(whole, frames)
    np.testing.assert_array_equal(whole, frames)
