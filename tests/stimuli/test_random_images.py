import numpy as np
import pytest

from twinlab import stimuli
from twinlab.schema import InputError


def spectrum_slope(images):
    """Exponent of power against spatial frequency, over all orientations."""
    height, width = images.shape[-2:]
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = (np.abs(np.fft.fft2((images - images.mean()) * window)) ** 2).mean((0, 1))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    inside = (frequency > 2 / height) & (frequency < 0.4)
    return np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)[0]


@pytest.fixture(scope="module")
def leaves():
    return stimuli.make_dead_leaves(400, 36, 64, seed=3)


def test_dead_leaves_have_a_natural_spectrum(leaves):
    assert -2.4 < spectrum_slope(leaves.values.astype(float)) < -1.6


def test_dead_leaves_have_natural_grey_levels(leaves):
    assert leaves.dtype == np.uint8
    assert leaves.dims == ("image", "channel", "y", "x")
    assert 100 < leaves.values.mean() < 120
    assert 52 < leaves.values.std() < 68


def test_dead_leaves_have_heavy_tails_as_natural_images_have(leaves):
    difference = np.diff(leaves.values.astype(float), axis=-1)
    kurtosis = (difference**4).mean() / (difference**2).mean() ** 2
    assert kurtosis > 4  # 3 for Gaussian noise


def test_no_dead_leaves_are_repeated(leaves):
    flat = leaves.values.reshape(400, -1)
    assert len(np.unique(flat, axis=0)) == 400
    correlation = np.corrcoef(flat[:100])
    assert np.abs(correlation[~np.eye(100, dtype=bool)]).max() < 0.8


def test_a_dead_leaves_image_depends_on_seed_and_number_alone(leaves):
    again = stimuli.make_dead_leaves(7, 36, 64, seed=3, first=20)
    np.testing.assert_array_equal(again.values, leaves.values[20:27])
    other = stimuli.make_dead_leaves(7, 36, 64, seed=4, first=20)
    assert (other.values != again.values).mean() > 0.9


def test_dead_leaves_in_degrees_are_those_in_pixels():
    size = {"n": 2, "height": 12, "width": 16, "seed": 1}
    radii = {"radius_min": 1.0, "radius_max": 20.0}
    double = {name: 2 * value for name, value in radii.items()}
    degrees = stimuli.make_dead_leaves(**size, **double, degrees_per_pixel=2.0)
    np.testing.assert_array_equal(degrees, stimuli.make_dead_leaves(**size, **radii))
    moving = {"n_frame": 4, "scene_speed": 10.0, "leaf_speed": 8.0}
    double |= {"n_frame": 4, "scene_speed": 20.0, "leaf_speed": 16.0}
    degrees = stimuli.make_dead_leaves_video(**size, **double, degrees_per_pixel=2.0)
    pixels = stimuli.make_dead_leaves_video(**size, **radii, **moving)
    np.testing.assert_array_equal(degrees, pixels)
    assert degrees.attrs["degrees_per_pixel"] == 2.0


def test_colours_of_dead_leaves_are_correlated_not_equal():
    made = stimuli.make_dead_leaves(100, 24, 24, seed=0, channel=2).values.astype(float)
    assert 0.4 < np.corrcoef(made[:, 0].ravel(), made[:, 1].ravel())[0, 1] < 0.95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "at least 1 and `first` of at least 0, but got 0, 36, 64"),
        ({"seed": -1}, "`seed` must be from 0 to 2..64 - 1, but got -1"),
        ({"radius_min": 0.0}, "0 < `radius_min` < `radius_max`, but got 0 and 108"),
    ],
)
def test_impossible_dead_leaves_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        stimuli.make_dead_leaves(**({"n": 1, "height": 36, "width": 64, "seed": 0} | arguments))


@pytest.mark.parametrize("kind", ["white", "pink"])
def test_noise_has_the_stated_mean_and_rms_contrast(kind):
    made = stimuli.make_noise(300, 32, 32, seed=0, kind=kind, mean=100.0, contrast=0.2)
    assert made.dtype == np.float32
    assert float(made.mean()) == pytest.approx(100, abs=0.2)
    assert float(made.std()) == pytest.approx(20, rel=0.02)


def test_white_noise_is_flat_and_pink_noise_falls_with_frequency_squared():
    white = stimuli.make_noise(300, 32, 32, seed=0).values
    assert abs(spectrum_slope(white.astype(float))) < 0.1
    pink = stimuli.make_noise(300, 32, 32, seed=0, kind="pink").values.astype(float)
    power = (np.abs(np.fft.fft2(pink)) ** 2).mean((0, 1))  # joined edges: no window needed
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32))
    inside = frequency > 0
    slope = np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.05)


@pytest.mark.parametrize("exponent", [-0.5, 0.5, 1.0, 1.7])
def test_noise_falls_with_the_exponent_asked_for(exponent):
    made = stimuli.make_noise(300, 32, 32, seed=0, exponent=exponent, contrast=0.2)
    power = (np.abs(np.fft.fft2(made.values.astype(float))) ** 2).mean((0, 1))
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32))
    inside = frequency > 0
    slope = np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)[0]
    assert slope == pytest.approx(-2 * exponent, abs=0.05)
    assert float(made.std()) == pytest.approx(0.2 * 127.5, rel=0.03)
    assert made.attrs["kind"] == f"1/f^{exponent:g} noise"


def test_white_and_pink_are_exponents_0_and_1():
    for kind, exponent in (("white", 0), ("pink", 1)):
        named = stimuli.make_noise(2, 8, 8, seed=0, kind=kind)
        np.testing.assert_array_equal(named, stimuli.make_noise(2, 8, 8, 0, exponent=exponent))


def test_noise_is_reproduced_by_its_seed():
    first, again, other = (stimuli.make_noise(2, 8, 8, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_unknown_noise_is_refused():
    with pytest.raises(InputError, match="Unknown noise 'brown'; `kind` must be one of"):
        stimuli.make_noise(1, 8, 8, seed=0, kind="brown")


def test_noise_of_an_impossible_exponent_is_refused():
    with pytest.raises(InputError, match="`exponent` must be from -4 to 4, but got 9"):
        stimuli.make_noise(1, 8, 8, seed=0, exponent=9)


def test_noise_without_pixels_is_refused():
    with pytest.raises(InputError, match="at least 0, but got 1, 0, 8, 1 and 0.25"):
        stimuli.make_noise(1, 0, 8, seed=0)
