"""Laws of every set that is known by name; and sparse noise."""

import inspect

import numpy as np
import pytest
import xarray as xr

from twinlab import schema, stimuli
from twinlab.schema import InputError

SIZE = {"height": 20, "width": 28, "channel": 2}
VIDEO = SIZE | {"n_frame": 6, "frame_rate_hz": 30.0}
ANGLES = np.arange(0, 180, 15)
STILL = SIZE | {"spatial_frequency": 0.1, "phase": 2 * ANGLES}
ASKED = {
    "bars": SIZE | {"orientation": ANGLES, "bar_width": 8, "contrast": np.linspace(-1, 1, 12)},
    "center_surrounds": STILL | {"orientation": ANGLES, "surround_orientation": 90, "radius": 5},
    "dead_leaves": SIZE | {"n": 12, "seed": 1},
    "dead_leaves_video": VIDEO | {"n": 12, "seed": 1},
    "drifting_center_surrounds": VIDEO
    | {
        "direction": ANGLES,
        "surround_direction": 90,
        "spatial_frequency": 0.1,
        "temporal_frequency_hz": 2,
        "radius": 5,
    },
    "drifting_gratings": VIDEO
    | {"direction": ANGLES, "spatial_frequency": 0.1, "temporal_frequency_hz": 2},
    "drifting_plaids": VIDEO
    | {
        "direction": ANGLES,
        "mask_direction": 90,
        "spatial_frequency": 0.1,
        "temporal_frequency_hz": 2,
    },
    "gabors": STILL | {"x": 14, "y": 10, "orientation": ANGLES, "size": 30},
    "gratings": STILL | {"orientation": ANGLES},
    "motion_clouds": VIDEO
    | {"direction": ANGLES, "spatial_frequency": 0.1, "speed": 20, "seed": 1},
    "moving_bars": VIDEO | {"direction": ANGLES, "speed": 90, "bar_width": 8},
    "noise": SIZE | {"n": 12, "seed": 1},
    "plaids": STILL | {"orientation": ANGLES, "mask_orientation": 90},
    "random_dots": VIDEO
    | {"direction": ANGLES, "coherence": 0.5, "speed": 20, "dot_radius": 2, "seed": 1},
    "sparse_noise": SIZE | {"n": 120, "seed": 1},
}


def test_every_set_is_asked_for():
    assert set(ASKED) == set(stimuli.SETS)


@pytest.mark.parametrize("name", stimuli.SETS)
def test_a_set_is_labelled_whole_and_reproducible(name):
    make, asked = stimuli.SETS[name], ASKED[name]
    made = make(**asked)
    kind = "video" if "n_frame" in inspect.signature(make).parameters else "image"
    assert made.dims == schema.DIMENSIONS[kind]["stimulus"]
    assert made.shape[-2:] == (20, 28)
    assert (made.sizes["channel"], made.name) == (2, "stimulus")
    assert made.attrs["units"] == "grey level"
    for coordinate in made.coords.values():
        assert {"long_name", "units"} <= set(coordinate.attrs)
    assert np.isfinite(made.values).all()
    varied = np.moveaxis(made.values, (-2, -1), (0, 1)).reshape(20, 28, -1)
    assert (np.ptp(varied, axis=2) > 0).all()  # no pixel is dead
    np.testing.assert_array_equal(make(**asked), made)
    if "seed" in asked:
        assert not np.array_equal(make(**asked | {"seed": 2}), made)


@pytest.mark.parametrize("name", stimuli.SETS)
def test_a_set_is_saved_with_its_labels(name, tmp_path):
    made = stimuli.SETS[name](**ASKED[name])
    (tmp_path / "set.nc").write_bytes(schema.netcdf_bytes(made.to_dataset()))
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "set.nc").stimulus, made)


SPARSE = {"height": 36, "width": 64, "square_size": 4}


def squares_of(image):
    """Sign of each square on the grid, of an image made of whole squares."""
    signs = np.sign(image[0] - 127.5).reshape(9, 4, 16, 4)
    assert (np.ptp(signs, axis=(1, 3)) == 0).all()
    return signs[:, 0, :, 0]


def test_no_two_squares_are_close():
    made = stimuli.make_sparse_noise(50, seed=0, exclusion=12, **SPARSE)
    for image, count in zip(made.values, made.n_square.values, strict=True):
        places = np.argwhere(squares_of(image)) * 4
        assert len(places) == count > 5
        distance = np.hypot(*np.moveaxis(places[:, None] - places, -1, 0))
        assert distance[~np.eye(len(places), dtype=bool)].min() > 12


def test_squares_are_laid_until_none_fits():
    made = stimuli.make_sparse_noise(20, seed=0, exclusion=12, **SPARSE)
    grid = np.stack(np.divmod(np.arange(9 * 16), 16), 1) * 4
    for image in made.values:
        places = np.argwhere(squares_of(image)) * 4
        nearest = np.hypot(*np.moveaxis(grid[:, None] - places, -1, 0)).min(1)
        assert (nearest <= 12).all()


def test_squares_are_black_or_white_with_even_chance():
    made = stimuli.make_sparse_noise(400, seed=0, n_square=5, contrast=0.6, **SPARSE)
    assert set(np.unique(made.values)) == {np.float32(127.5 * f) for f in (0.4, 1, 1.6)}
    assert (made.n_square == 5).all()
    white = (made.values > 127.5).sum() / (made.values != 127.5).sum()
    assert white == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 2000))
    single = stimuli.make_sparse_noise(4000, seed=0, n_square=1, **SPARSE).values[:, 0, ::4, ::4]
    count = (single != 127.5).sum(0)  # every place as often: binomial, about 28 each
    assert (np.abs(count - 4000 / 144) < 5 * np.sqrt(4000 / 144)).all()


def test_squares_in_degrees_keep_their_whole_pixels():
    for side, degrees in ((3, 0.1), (3, 1 / 3), (4, 0.7)):
        pixels = stimuli.make_sparse_noise(2, 36, 64, 0, square_size=side, exclusion=9)
        made = stimuli.make_sparse_noise(
            2,
            36,
            64,
            0,
            square_size=side * degrees,
            exclusion=9 * degrees,
            degrees_per_pixel=degrees,
        )
        np.testing.assert_array_equal(made, pixels)


def test_the_first_sparse_images_are_the_same_however_many():
    many = stimuli.make_sparse_noise(9, seed=2, **SPARSE)
    np.testing.assert_array_equal(stimuli.make_sparse_noise(4, seed=2, **SPARSE), many[:4])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "`n` and `n_square` of at least 1, but got 0 and None"),
        ({"square_size": 0}, "`square_size` must be positive, but got 0"),
        ({"square_size": 0.5}, "must be at least one pixel, but 0.5 is 0.5 pixels"),
        ({"contrast": 2}, "`contrast` must be between 0 and 1, but got 2"),
    ],
)
def test_impossible_sparse_noise_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        stimuli.make_sparse_noise(**{"n": 1, "seed": 0} | SPARSE | arguments)
