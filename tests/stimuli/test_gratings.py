import numpy as np
import pytest

from twinlab import stimuli
from twinlab.schema import InputError

SIZE = {"height": 24, "width": 32}


def image_of(stimulus):
    return stimulus.values[0, 0]


def test_horizontal_bars_vary_downwards_only():
    image = image_of(stimuli.make_gratings(0.0, 0.1, **SIZE))
    np.testing.assert_array_equal(image, image[:, :1].repeat(32, 1))
    assert image.std() > 50


def test_vertical_bars_vary_rightwards_only():
    image = image_of(stimuli.make_gratings(90.0, 0.1, **SIZE))
    np.testing.assert_allclose(image, image[:1].repeat(24, 0), atol=1e-3)
    assert image.std() > 50


def test_bars_at_45_degrees_rise_to_the_right():
    image = image_of(stimuli.make_gratings(45.0, 0.1, **SIZE))
    np.testing.assert_allclose(image[1:, :-1], image[:-1, 1:], atol=1e-3)  # up is the row before
    assert np.abs(image[1:, 1:] - image[:-1, :-1]).max() > 50


@pytest.mark.parametrize("orientation", [0.0, 30.0, 77.0, 135.0])
def test_grating_is_the_stated_equation(orientation):
    made = stimuli.make_gratings(orientation, 0.13, 40.0, mean=100.0, contrast=0.5, **SIZE)
    y, x = np.mgrid[:24, :32]
    o = np.deg2rad(orientation)
    angle = 2 * np.pi * 0.13 * (x * np.sin(o) + y * np.cos(o)) + np.deg2rad(40)
    np.testing.assert_allclose(image_of(made), 100 + 50 * np.cos(angle), rtol=1e-5)


def test_contrast_is_michelson():
    made = stimuli.make_gratings(0.0, 0.25, contrast=0.3, **SIZE)
    low, high = float(made.min()), float(made.max())
    assert (high - low) / (high + low) == pytest.approx(0.3, rel=1e-6)


def test_full_contrast_fills_the_range_of_a_screen():
    made = stimuli.make_gratings(90.0, 0.25, **SIZE)
    assert (float(made.min()), float(made.max())) == pytest.approx((0.0, 255.0), abs=1e-4)


def test_aperture_leaves_background_outside_and_grating_inside():
    full = image_of(stimuli.make_gratings(20.0, 0.1, **SIZE))
    cut = image_of(stimuli.make_gratings(20.0, 0.1, center=(10, 12), radius=6, **SIZE))
    y, x = np.mgrid[:24, :32]
    distance = np.hypot(x - 10, y - 12)
    np.testing.assert_array_equal(cut[distance < 5.5], full[distance < 5.5])
    assert (cut[distance > 6.5] == 127.5).all()


def test_grid_reshapes_to_its_axes():
    made = stimuli.make_grating_grid([0, 45, 90], [0.1, 0.2], [0, 90, 180, 270], **SIZE)
    shape = (3, 2, 4)
    orientation = made.orientation.values.reshape(shape)
    assert (orientation == np.array([0, 45, 90])[:, None, None]).all()
    assert (made.spatial_frequency.values.reshape(shape) == np.array([[0.1], [0.2]])).all()
    assert (made.phase.values.reshape(shape) == [0, 90, 180, 270]).all()
    one = stimuli.make_gratings(45, 0.2, 180, **SIZE)
    np.testing.assert_array_equal(made.values.reshape(*shape, 1, 24, 32)[1, 1, 2], one.values[0])


def test_channels_are_alike_and_labelled():
    made = stimuli.make_gratings(10.0, 0.1, channel=2, **SIZE)
    assert made.dims == ("image", "channel", "y", "x")
    assert made.name == "stimulus"
    assert made.dtype == np.float32
    assert made.orientation.attrs["units"] == "deg"
    np.testing.assert_array_equal(made.values[:, 0], made.values[:, 1])


@pytest.mark.parametrize(
    ("direction", "step_x", "step_y"), [(0, 1, 0), (90, 0, -1), (180, -1, 0), (270, 0, 1)]
)
def test_drifting_gratings_move_in_their_direction(direction, step_x, step_y):
    # 0.1 cycles a pixel at 1 Hz is 10 pixels a second: one pixel a frame.
    movie = stimuli.make_drifting_gratings(
        direction, 0.1, temporal_frequency_hz=1.0, n_frame=3, frame_rate_hz=10.0, **SIZE
    )
    assert movie.dims == ("video", "channel", "frame", "y", "x")
    before, after = movie.values[0, 0, 0], movie.values[0, 0, 1]
    moved = np.roll(before, (step_y, step_x), (0, 1))
    np.testing.assert_allclose(after[1:-1, 1:-1], moved[1:-1, 1:-1], atol=1e-3)


def test_first_frame_of_a_drifting_grating_is_the_grating():
    movie = stimuli.make_drifting_gratings(
        120, 0.1, temporal_frequency_hz=2.0, n_frame=2, frame_rate_hz=30.0, phase=50, **SIZE
    )
    still = stimuli.make_gratings(30, 0.1, 50, **SIZE)
    np.testing.assert_allclose(movie.values[:, :, 0], still.values, atol=1e-3)
    assert float(movie.orientation[0]) == 30


def test_gabor_peaks_where_it_is_put():
    image = image_of(stimuli.make_gabors(20, 7, 30, 0.15, 0, 3, contrast=0.5, **SIZE))
    assert np.unravel_index(image.argmax(), image.shape) == (7, 20)
    assert image.max() == pytest.approx(127.5 * 1.5)


def test_gabor_is_a_grating_in_a_gaussian():
    gabor = image_of(stimuli.make_gabors(16, 12, 70, 0.15, 0, 3, **SIZE)) - 127.5
    y, x = np.mgrid[:24, :32]
    offset = 16 * np.sin(np.deg2rad(70)) + 12 * np.cos(np.deg2rad(70))
    phase = -360 * 0.15 * offset  # so that the grating peaks at the centre
    grating = image_of(stimuli.make_gratings(70, 0.15, phase, **SIZE)) - 127.5
    envelope = np.exp(-((x - 16) ** 2 + (y - 12) ** 2) / (2 * 3**2))
    np.testing.assert_allclose(gabor, grating * envelope, atol=1e-3)


def test_elongation_is_along_the_bars():
    one = np.ones(1)
    patch = stimuli.gabor_patches(
        16 * one, 12 * one, 0 * one, 0 * one, 0 * one, 2 * one, elongation=2.0, **SIZE
    )[0]
    assert patch[12, 20] == pytest.approx(np.exp(-0.5))  # horizontal bars: 2 sigma wide
    assert patch[14, 16] == pytest.approx(np.exp(-0.5))


def test_parameters_of_different_lengths_are_refused():
    with pytest.raises(InputError, match="every combination of gratings use `make_grating_grid`"):
        stimuli.make_gratings([0, 90], [0.1, 0.2, 0.3], **SIZE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"contrast": 1.5}, "`contrast` must be between 0 and 1, but got 1.5"),
        ({"spatial_frequency": -0.1}, "`spatial_frequency` must be at least 0, but got -0.1"),
        ({"orientation": np.nan}, "`orientation` must be finite, but got nan"),
        ({"radius": -1.0}, "`radius` must be at least 0, but got -1"),
        ({"height": 0}, "`height`, `width` and `channel` must be at least 1, but got 0, 32"),
    ],
)
def test_impossible_gratings_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        stimuli.make_gratings(
            **({"orientation": 0.0, "spatial_frequency": 0.1} | SIZE | arguments)
        )


def test_gabor_without_size_is_refused():
    with pytest.raises(InputError, match="`size` must be positive, but got 0"):
        stimuli.make_gabors(1, 1, 0, 0.1, 0, 0, **SIZE)


def test_video_without_frames_is_refused():
    with pytest.raises(InputError, match="`n_frame` >= 1 and `frame_rate_hz` > 0, but got 0"):
        stimuli.make_drifting_gratings(
            0, 0.1, temporal_frequency_hz=1, n_frame=0, frame_rate_hz=30, **SIZE
        )
