"""Gratings in windows, added up and side by side; in degrees; above Nyquist."""

import numpy as np
import pytest

from twinlab import stimuli
from twinlab.schema import InputError

SIZE = {"height": 24, "width": 32}
VIDEO = SIZE | {"n_frame": 5, "frame_rate_hz": 20.0}


def test_a_soft_edge_is_a_raised_cosine():
    full = stimuli.make_gratings(0, 0.0, height=41, width=41)  # white
    soft = stimuli.make_gratings(0, 0.0, radius=10, edge=8, height=41, width=41)
    profile = (soft.values[0, 0, 20, 20:] - 127.5) / (full.values[0, 0, 20, 20:] - 127.5)
    distance = np.arange(21)
    fade = np.clip((distance - 6) / 8, 0, 1)
    np.testing.assert_allclose(profile, (1 + np.cos(np.pi * fade)) / 2, atol=1e-6)
    assert profile[10] == pytest.approx(0.5)


def test_a_size_series_is_one_call():
    series = stimuli.make_gratings(30, 0.1, radius=[3, 6, np.inf], center=(10, 12), **SIZE)
    np.testing.assert_array_equal(series.radius, [3, 6, np.inf])
    assert series.radius.units == "px"
    for image, radius in zip(series, (3, 6, np.inf), strict=True):
        one = stimuli.make_gratings(30, 0.1, radius=radius, center=(10, 12), **SIZE)
        np.testing.assert_array_equal(image, one[0])
    full = stimuli.make_gratings(30, 0.1, **SIZE)
    np.testing.assert_array_equal(series[2], full[0])


def test_a_position_series_is_one_call():
    series = stimuli.make_gratings(0, 0, center=([5, 20], 10), radius=3, **SIZE)
    bright = series.values[:, 0] > 200
    columns = [np.flatnonzero(image.any(0)).mean() for image in bright]
    np.testing.assert_allclose(columns, [5, 20])
    np.testing.assert_array_equal(series.center_x, [5, 20])


def test_a_contrast_series_is_one_call():
    series = stimuli.make_gratings(90, 0.25, contrast=[0.1, 0.5, 1.0], **SIZE)
    measured = stimuli.measure_contrast(series, "michelson")
    np.testing.assert_allclose(measured, series.contrast, rtol=1e-5)


def test_a_plaid_is_the_sum_of_its_gratings():
    window = {"radius": 8, "edge": 3, "center": (12, 10)}
    plaid = stimuli.make_plaids(
        [20, 50], 110, 0.1, 0.17, 30, 75, contrast=0.3, mask_contrast=[0.6, 0.2], **window, **SIZE
    )
    parts = [
        stimuli.make_gratings([20, 50], 0.1, 30, contrast=0.3, **window, **SIZE),
        stimuli.make_gratings(110, 0.17, 75, contrast=[0.6, 0.2], **window, **SIZE),
    ]
    np.testing.assert_allclose(plaid, parts[0].values + parts[1].values - 127.5, atol=1e-4)
    np.testing.assert_array_equal(plaid.mask_contrast, [0.6, 0.2])


def test_a_drifting_plaid_is_the_sum_of_its_gratings():
    plaid = stimuli.make_drifting_plaids(
        45, 165, 0.1, 0.2, temporal_frequency_hz=2, mask_temporal_frequency_hz=5, **VIDEO
    )
    half = VIDEO | {"contrast": 0.5}
    parts = [
        stimuli.make_drifting_gratings(45, 0.1, temporal_frequency_hz=2, **half),
        stimuli.make_drifting_gratings(165, 0.2, temporal_frequency_hz=5, **half),
    ]
    np.testing.assert_allclose(plaid, parts[0].values + parts[1].values - 127.5, atol=1e-4)
    np.testing.assert_allclose(plaid.time, np.arange(5) / 20)


def test_a_plaid_darker_than_black_is_refused():
    with pytest.raises(InputError, match="must add up to 1 at most, but add up to 1.1"):
        stimuli.make_plaids(0, 90, 0.1, contrast=0.6, mask_contrast=0.5, **SIZE)


def test_a_surround_like_its_centre_is_one_larger_grating():
    both = stimuli.make_center_surrounds(
        30, 30, 0.1, phase=40, radius=5, surround_radius=10, edge=3, **SIZE
    )
    one = stimuli.make_gratings(30, 0.1, 40, radius=10, edge=3, **SIZE)
    np.testing.assert_allclose(both, one, atol=1e-4)


def test_a_drifting_surround_like_its_centre_is_one_larger_grating():
    both = stimuli.make_drifting_center_surrounds(
        75, 75, 0.1, temporal_frequency_hz=3, phase=40, radius=5, surround_radius=10, edge=3,
        **VIDEO,
    )  # fmt: skip
    one = stimuli.make_drifting_gratings(
        75, 0.1, temporal_frequency_hz=3, phase=40, radius=10, edge=3, **VIDEO
    )
    np.testing.assert_allclose(both, one, atol=1e-4)


def test_a_surround_drifts_its_own_way_and_fast():
    made = stimuli.make_drifting_center_surrounds(
        0, [0, 180, 90], 0.1, 0.125, temporal_frequency_hz=2, surround_temporal_frequency_hz=5,
        radius=4, gap=3, **VIDEO,
    )  # fmt: skip
    y, x = np.mgrid[:24, :32]
    distance = np.hypot(x - 15.5, y - 11.5)
    centre, outside = distance < 3, distance > 8.5
    between = (distance > 5) & (distance < 6)
    full = stimuli.make_drifting_gratings(
        [0, 180, 90], 0.125, temporal_frequency_hz=5, **VIDEO
    ).values
    alone = stimuli.make_drifting_gratings(0, 0.1, temporal_frequency_hz=2, **VIDEO).values
    np.testing.assert_allclose(made.values[..., outside], full[..., outside], atol=1e-4)
    np.testing.assert_allclose(
        made.values[..., centre], np.repeat(alone[..., centre], 3, 0), atol=1e-4
    )
    np.testing.assert_allclose(made.values[..., between], 127.5, atol=1e-4)
    np.testing.assert_array_equal(made.surround_direction, [0, 180, 90])
    assert made.surround_temporal_frequency.units == "Hz"


def test_a_surround_too_fast_for_the_frames_is_marked():
    with pytest.warns(UserWarning, match="1 of 2 stimuli"):
        made = stimuli.make_drifting_center_surrounds(
            0, 0, 0.1, temporal_frequency_hz=2, surround_temporal_frequency_hz=[4, 11], radius=5,
            **VIDEO,
        )  # fmt: skip
    np.testing.assert_array_equal(made.aliased, [False, True])


def test_centre_and_surround_are_independent():
    made = stimuli.make_center_surrounds(
        [0, 0, 0],
        90,
        0.1,
        0.2,
        30,
        60,
        radius=5,
        gap=3,
        contrast=[0.8, 0.0, 0.8],
        surround_contrast=[0.0, 0.4, 0.4],
        center=(16, 12),
        **SIZE,
    )
    center, surround, both = made.values[:, 0] - 127.5
    np.testing.assert_allclose(both, center + surround, atol=1e-4)
    y, x = np.mgrid[:24, :32]
    distance = np.hypot(x - 16, y - 12)
    assert (center[distance > 5.5] == 0).all()
    assert (surround[distance < 7.5] == 0).all()
    assert (both[(distance > 5.5) & (distance < 7.5)] == 0).all()
    alone = stimuli.make_gratings(90, 0.2, 60, contrast=0.4, **SIZE).values[0, 0] - 127.5
    np.testing.assert_allclose(surround[distance > 8.5], alone[distance > 8.5], atol=1e-4)


def test_a_surround_within_its_centre_is_refused():
    with pytest.raises(InputError, match=r"at least `radius` \+ `gap`, but got 6 and 5 \+ 2"):
        stimuli.make_center_surrounds(0, 0, 0.1, radius=5, gap=2, surround_radius=[9, 6], **SIZE)


def in_degrees(make, *arguments, lengths, frequencies=(), **settings):
    """The same stimulus asked for in pixels and at 2 degrees a pixel."""
    pixels = make(*arguments, **lengths, **dict(frequencies), **settings)
    lengths = {name: np.multiply(value, 2.0) for name, value in lengths.items()}
    frequencies = {name: value / 2.0 for name, value in dict(frequencies).items()}
    degrees = make(*arguments, **lengths, **frequencies, degrees_per_pixel=2.0, **settings)
    return pixels, degrees


FREQUENCY = {"spatial_frequency": 0.1}
DRIFT = VIDEO | {"temporal_frequency_hz": 3.0}
WINDOW = {"radius": 6, "center": (14, 11), "edge": 2}
PLACE = {"x": 10, "y": 12, "size": 3}


@pytest.mark.parametrize(
    ("make", "arguments", "lengths", "frequencies", "settings"),
    [
        (stimuli.make_gratings, (30,), WINDOW, FREQUENCY, SIZE),
        (stimuli.make_gratings, (30,), {"radius": 6}, FREQUENCY, SIZE),
        (stimuli.make_drifting_gratings, (30,), WINDOW, FREQUENCY, DRIFT),
        (
            stimuli.make_drifting_center_surrounds,
            (30, 120),
            WINDOW | {"gap": 1, "surround_radius": 10},
            FREQUENCY,
            DRIFT,
        ),
        (stimuli.make_gabors, (), PLACE, FREQUENCY, SIZE | {"orientation": 30, "phase": 0}),
        (stimuli.make_plaids, (30, 90), WINDOW, FREQUENCY, SIZE),
        (stimuli.make_drifting_plaids, (30, 90), WINDOW, FREQUENCY, DRIFT),
        (
            stimuli.make_center_surrounds,
            (30, 90),
            WINDOW | {"gap": 1, "surround_radius": 9},
            FREQUENCY,
            SIZE,
        ),
        (
            stimuli.make_sparse_noise,
            (3,),
            {"square_size": 4, "exclusion": 9},
            (),
            SIZE | {"seed": 1},
        ),
        (
            stimuli.make_moving_bars,
            (30,),
            {"speed": 20, "bar_width": 3, "bar_length": 9, "center": (14, 11)},
            (),
            VIDEO,
        ),
        (
            stimuli.make_random_dots,
            (30, 0.5),
            {"speed": 20, "dot_radius": 1.5},
            (),
            VIDEO | {"seed": 1},
        ),
        (
            stimuli.make_motion_clouds,
            (30,),
            {"speed": 20, "speed_bandwidth": 3},
            FREQUENCY,
            VIDEO | {"seed": 1},
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_degrees_and_pixels_draw_the_same(make, arguments, lengths, frequencies, settings):
    pixels, degrees = in_degrees(
        make, *arguments, lengths=lengths, frequencies=frequencies, **settings
    )
    assert degrees.attrs["degrees_per_pixel"] == 2.0
    np.testing.assert_allclose(degrees, pixels, atol=1e-3)
    lengthy = {name for name, coord in pixels.coords.items() if "px" in coord.attrs["units"]}
    assert lengthy
    for name in lengthy:
        assert degrees[name].units == pixels[name].units.replace("px", "deg")
        factor = 0.5 if "cycles" in degrees[name].units else 2.0
        np.testing.assert_allclose(degrees[name], pixels[name] * factor)


def test_pixels_without_extent_are_refused():
    with pytest.raises(InputError, match="`degrees_per_pixel` must be positive, but got 0"):
        stimuli.make_gratings(0, 0.1, degrees_per_pixel=0.0, **SIZE)


def test_frequencies_above_nyquist_are_marked_with_a_warning():
    with pytest.warns(UserWarning, match="2 of 4 stimuli have a frequency above Nyquist"):
        made = stimuli.make_gratings([0, 0, 45, 45], [0.5, 0.6, 0.6, 0.8], **SIZE)
    np.testing.assert_array_equal(made.aliased, [False, True, False, True])
    # As marked: at 0 degrees 0.6 cycles a pixel look like 0.4, at 45 degrees like nothing coarser.
    coarser = stimuli.make_gratings(0, 0.4, **SIZE)
    np.testing.assert_allclose(made[1], coarser[0], atol=1e-3)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (stimuli.make_gabors, (10, 10, 0, 0.6, 0, 3)),
        (stimuli.make_plaids, (0, 90, 0.1, 0.6)),
        (stimuli.make_center_surrounds, (0, 90, 0.1, 0.6)),
    ],
)
def test_any_component_above_nyquist_is_marked(make, arguments):
    radius = {"radius": 3} if make is stimuli.make_center_surrounds else {}
    with pytest.warns(UserWarning, match="1 of 1 stimuli"):
        assert make(*arguments, **radius, **SIZE).aliased.all()


def test_drift_too_fast_for_the_frames_is_marked():
    with pytest.warns(UserWarning, match="1 of 2"):
        made = stimuli.make_drifting_gratings(0, 0.1, temporal_frequency_hz=[10, 12], **VIDEO)
    np.testing.assert_array_equal(made.aliased, [False, True])
    backwards = stimuli.make_drifting_gratings(0, 0.1, temporal_frequency_hz=-8, **VIDEO)
    np.testing.assert_allclose(made[1], backwards[0], atol=1e-3)  # of 20 frames a second
