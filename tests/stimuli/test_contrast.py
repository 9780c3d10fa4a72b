import numpy as np
import pytest

from twinlab import stimuli
from twinlab.schema import InputError


@pytest.fixture(scope="module")
def leaves():
    return stimuli.make_dead_leaves(6, 36, 64, seed=3, channel=2)


@pytest.mark.parametrize("mean", [None, 100.0, [50, 60, 70, 80, 90, 100]])
def test_rms_contrast_and_mean_are_exact(leaves, mean):
    made = stimuli.set_contrast(leaves, 0.2, mean=mean)
    flat = made.values.reshape(6, -1).astype(float)
    own = leaves.values.reshape(6, -1).mean(1)
    np.testing.assert_allclose(flat.mean(1), own if mean is None else mean, rtol=1e-5)
    np.testing.assert_allclose(flat.std(1) / flat.mean(1), 0.2, rtol=1e-5)
    np.testing.assert_allclose(made.rms_contrast, 0.2)
    np.testing.assert_allclose(made.mean_luminance, flat.mean(1), rtol=1e-5)


def test_michelson_contrast_and_mean_are_exact(leaves):
    asked = [0.0, 0.1, 0.3, 0.5, 0.9, 1.0]
    made = stimuli.set_contrast(leaves, asked, kind="michelson", mean=100.0)
    flat = made.values.reshape(6, -1).astype(float)
    low, high = flat.min(1), flat.max(1)
    np.testing.assert_allclose((high - low) / (high + low), asked, atol=1e-5)
    np.testing.assert_allclose(flat.mean(1), 100, rtol=1e-5)


def test_set_contrast_is_a_factor_and_a_constant(leaves):
    made = stimuli.set_contrast(leaves, 0.1).values.reshape(6, -1)
    for before, after in zip(leaves.values.reshape(6, -1), made, strict=True):
        assert np.corrcoef(before, after)[0, 1] == pytest.approx(1, abs=1e-6)


def test_measured_contrast_of_a_grating_is_known():
    grating = stimuli.make_gratings(90, 0.25, contrast=0.6, height=8, width=16)
    assert float(stimuli.measure_contrast(grating)[0]) == pytest.approx(0.6 / np.sqrt(2))
    michelson = stimuli.measure_contrast(grating, "michelson")
    assert float(michelson[0]) == pytest.approx(0.6)
    assert (michelson.name, michelson.units) == ("michelson_contrast", "1")


def test_a_contrast_that_is_true_no_more_is_left_out():
    grating = stimuli.make_gratings(90, 0.25, contrast=0.6, height=8, width=16)
    made = stimuli.set_contrast(grating, 0.1)
    assert "contrast" not in made.coords
    assert "spatial_frequency" in made.coords
    assert "contrast" in grating.coords
    noise = stimuli.set_contrast(stimuli.make_noise(1, 8, 8, 0), 0.1)
    assert "rms_contrast" not in noise.attrs


def test_black_has_no_contrast_and_a_uniform_one_cannot_be_given_any(leaves):
    black = leaves[:2] * np.array([0, 1])[:, None, None, None]
    assert np.isnan(stimuli.measure_contrast(black).values).tolist() == [True, False]
    with pytest.raises(InputError, match="stimulus 0 has one of 0; give a positive `mean`"):
        stimuli.set_contrast(black, 0.1)
    with pytest.raises(InputError, match="Stimulus 0 is uniform, so no factor gives it"):
        stimuli.set_contrast(black, 0.1, mean=100)
    assert (stimuli.set_contrast(black, 0.0, mean=100) == 100).all()


def test_clipping_is_reported():
    image = np.linspace(-50, 305, 72).reshape(1, 1, 8, 9)
    made = stimuli.make_gratings(0, 0, height=8, width=9).copy(data=image)
    clipped = stimuli.clip_stimulus(made)
    assert (float(clipped.min()), float(clipped.max())) == (0, 255)
    outside = ((image < 0) | (image > 255)).mean()
    assert float(clipped.clipped_fraction[0]) == outside > 0.2
    assert clipped.clipped_fraction.units == "1"
    inside = (image >= 0) & (image <= 255)
    np.testing.assert_allclose(clipped.values[inside], image[inside], rtol=1e-6)


def test_a_contrast_that_was_clipped_is_no_longer_claimed():
    noise = stimuli.make_noise(2, 16, 16, 0, contrast=0.8)
    clipped = stimuli.clip_stimulus(noise)
    assert "rms_contrast" not in clipped.attrs
    assert noise.attrs["rms_contrast"] == 0.8
    assert (stimuli.measure_contrast(clipped) < 0.75).all()
    assert stimuli.clip_stimulus(noise, -1e3, 1e3).attrs["rms_contrast"] == 0.8


def test_what_is_in_range_is_not_changed(leaves):
    clipped = stimuli.clip_stimulus(leaves)
    assert clipped.dtype == np.uint8
    np.testing.assert_array_equal(clipped, leaves)
    assert (clipped.clipped_fraction == 0).all()


def test_videos_are_clipped_as_a_whole():
    video = stimuli.make_dead_leaves_video(2, 8, 8, 0, n_frame=4)
    clipped = stimuli.clip_stimulus(video, 60, 180)
    assert clipped.clipped_fraction.dims == ("video",)
    expected = ((video < 60) | (video > 180)).mean(("channel", "frame", "y", "x"))
    np.testing.assert_allclose(clipped.clipped_fraction, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"contrast": -0.1}, r"`contrast` \(rms\) must be from 0 to inf, but got -0.1"),
        ({"contrast": 1.1, "kind": "michelson"}, "must be from 0 to 1, but got 1.1"),
        ({"contrast": np.nan}, "`contrast` must be finite, but got nan"),
        ({"contrast": [0.1, 0.2]}, r"one number or 6, one a stimulus, but has shape \(2,\)"),
        ({"contrast": 0.1, "mean": 0}, "The mean grey level must be positive, but stimulus 0"),
        ({"contrast": 0.1, "kind": "weber"}, "Unknown contrast 'weber'; `kind` must be one of"),
    ],
)
def test_impossible_contrasts_are_refused(leaves, arguments, message):
    with pytest.raises(InputError, match=message):
        stimuli.set_contrast(leaves, **arguments)


def test_a_range_turned_round_and_missing_pixels_are_refused(leaves):
    with pytest.raises(InputError, match="`low` < `high`, but got 255 and 0"):
        stimuli.clip_stimulus(leaves, 255, 0)
    with pytest.raises(InputError, match="Stimulus 1 has grey levels that are not finite"):
        stimuli.clip_stimulus(leaves.where(leaves.image != 1))
