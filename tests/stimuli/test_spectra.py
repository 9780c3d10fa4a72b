"""Images remade from a spectrum: what is kept and what is random."""

import numpy as np
import pytest

from twinlab import stimuli
from twinlab.schema import InputError


@pytest.fixture(scope="module")
def leaves():
    return stimuli.make_dead_leaves(20, 36, 64, seed=3, channel=2)


def amplitude(images, axes=(-2, -1)):
    return np.abs(np.fft.fftn(np.asarray(images, float), axes=axes))


def kurtosis(images):
    difference = np.diff(np.asarray(images, float), axis=-1)
    return (difference**4).mean() / (difference**2).mean() ** 2


def test_random_phase_keeps_the_amplitude_spectrum(leaves):
    made = stimuli.make_random_phase(leaves, 0)
    asked = amplitude(leaves)
    largest = np.sort(asked.reshape(20, 2, -1))[..., -2, None, None]  # but for the mean
    np.testing.assert_array_less(np.abs(amplitude(made) - asked) / largest, 1e-5)
    np.testing.assert_allclose(made.mean(("y", "x")), leaves.mean(("y", "x")), rtol=1e-5)


def test_random_phase_leaves_no_edges(leaves):
    made = stimuli.make_random_phase(leaves, 0)
    assert kurtosis(leaves) > 4
    assert kurtosis(made) < 3.5  # 3 for Gaussian noise
    correlation = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1]
        for a, b in zip(leaves.values, made.values, strict=True)
    ]
    assert np.abs(np.mean(correlation)) < 0.15


def test_random_phase_keeps_channels_together(leaves):
    """The relative phase of two channels, and so their correlation, is that of the given."""
    made = stimuli.make_random_phase(leaves, 0).values.astype(float)
    for before, after in zip(leaves.values.astype(float), made, strict=True):
        given = np.corrcoef(before[0].ravel(), before[1].ravel())[0, 1]
        assert np.corrcoef(after[0].ravel(), after[1].ravel())[0, 1] == pytest.approx(
            given, abs=1e-5
        )


def test_random_phase_keeps_the_motion_of_a_video():
    video = stimuli.make_drifting_gratings(
        60, 0.125, temporal_frequency_hz=3, n_frame=10, frame_rate_hz=30, height=32, width=32
    )
    made = stimuli.make_random_phase(video, 0)
    axes = (-3, -2, -1)
    difference = amplitude(made, axes) - amplitude(video, axes)
    assert np.abs(difference).max() / amplitude(video - video.mean(), axes).max() < 1e-5
    assert made.source_video.values.tolist() == [0]
    np.testing.assert_array_equal(made.time, video.time)
    assert made.attrs["frame_rate_hz"] == 30
    assert "orientation" not in made.coords


@pytest.mark.parametrize("make", [stimuli.make_random_phase, stimuli.make_textures])
def test_size_in_degrees_is_kept(make):
    grating = stimuli.make_gratings(0, 0.2, height=8, width=9, degrees_per_pixel=0.5)
    assert make(grating, 0).attrs["degrees_per_pixel"] == 0.5


def test_textures_match_grey_levels_exactly_and_the_spectrum_as_stated(leaves):
    made = stimuli.make_textures(leaves, 0)
    ordered = [np.sort(images.values.reshape(20, 2, -1)) for images in (leaves, made)]
    np.testing.assert_array_equal(*ordered)
    asked, reached = (amplitude(images).reshape(20, 2, -1)[..., 1:] for images in (leaves, made))
    error = np.sqrt(((reached - asked) ** 2).sum((1, 2)) / (asked**2).sum((1, 2)))
    np.testing.assert_allclose(made.spectrum_error, error, rtol=1e-4)
    assert float(made.spectrum_error.max()) < 0.1
    short = stimuli.make_textures(leaves, 0, n_iteration=1)
    assert (short.spectrum_error > 1.5 * made.spectrum_error).all()


def test_a_texture_of_a_uniform_image_is_uniform():
    blank = stimuli.make_gratings(0, 0.1, contrast=0.0, height=8, width=8)
    made = stimuli.make_textures(blank, 0)
    np.testing.assert_array_equal(made, blank)
    assert float(made.spectrum_error[0]) == 0


@pytest.mark.parametrize("make", [stimuli.make_random_phase, stimuli.make_textures])
def test_an_image_depends_on_seed_and_number_alone(leaves, make):
    made = make(leaves, 5)
    np.testing.assert_array_equal(make(leaves[:3], 5), made[:3])
    assert not np.allclose(make(leaves[:1], 6), made[:1])
    assert made.source_image.values.tolist() == list(range(20))


def test_images_that_cannot_be_remade_are_refused(leaves):
    with pytest.raises(InputError, match=r"must have dimensions .* but have \('y', 'x'\)"):
        stimuli.make_random_phase(leaves[0, 0], 0)
    with pytest.raises(InputError, match="Image 2 has grey levels that are not finite"):
        stimuli.make_random_phase(leaves.where(leaves.image != 2), 0)
    with pytest.raises(InputError, match="`n_iteration` must be at least 1, but got 0"):
        stimuli.make_textures(leaves, 0, n_iteration=0)
