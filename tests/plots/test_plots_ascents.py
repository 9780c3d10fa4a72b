"""The way of an ascent, a spectrum, and which picture of a gallery lies at a place."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from twinlab import plots
from twinlab.plots.images import beside
from twinlab.twins.familiarity import image_statistics


def drawn(figure):
    for backend in ("bokeh", "matplotlib"):
        hv.render(figure, backend=backend)
    return figure


@pytest.mark.parametrize("n", [0, 1, 5])
def test_an_ascent_of_any_length_is_drawn_as_it_is(n):
    ascent = xr.DataArray(
        np.arange(n) ** 2.0, dims="step", coords={"step": np.arange(n)}, name="response"
    )
    line = drawn(plots.plot_ascent(ascent)).get(0)
    np.testing.assert_array_equal(line.dimension_values(1), np.arange(n) ** 2.0)


def test_the_octaves_of_an_image_lie_in_the_band_of_images_like_it():
    images = 110 + 30 * np.random.default_rng(0).normal(size=(200, 1, 36, 64))
    found = image_statistics(images)
    borders = found.quantile([0.01, 0.99], "image").rename(quantile="bound")
    training = borders.assign_coords(bound=["lower", "upper"])
    figure = drawn(plots.plot_octaves(found.isel(image=0), training))
    band, line = figure.get(0), figure.get(1)
    inside = line.dimension_values(1) <= band.dimension_values(2)
    assert inside.all()
    drawn(plots.plot_octaves(found.isel(image=0)))


@pytest.mark.parametrize(("n", "columns"), [(1, 4), (3, 4), (11, 4), (11, 8)])
def test_a_tap_on_each_picture_of_a_gallery_finds_it_again(n, columns):
    images = np.broadcast_to(np.arange(n, dtype=float)[:, None, None, None], (n, 2, 9, 16))
    images = xr.DataArray(images, dims=("image", "channel", "y", "x"))
    size = {"columns": columns, "width": 400}
    wall = plots.plot_gallery(images, [""] * n, **size).get(0)
    values = wall.dimension_values(2, flat=False)
    height, width = beside(images.values[0]).shape
    found = set()
    for y, x in np.argwhere(np.isfinite(values))[:: max(1, height * width // 50)]:
        assert plots.tile_at(x + 0.3, y - 0.2, images, **size) == values[y, x]
        found.add(values[y, x])
    assert len(found) == n
    assert plots.tile_at(-5, 3, images, **size) is None
    assert plots.tile_at(3, 1000, images, **size) is None
