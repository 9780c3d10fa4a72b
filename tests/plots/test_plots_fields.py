import warnings

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from twinlab import plots
from twinlab.schema import make_result

PIXELS = ("channel", "y", "x")


def labelled(dims, values):
    return (dims, np.asarray(values, np.float32), {"long_name": "value", "units": "1"})


@pytest.fixture
def result():
    """Two neurons, the second undefined: axes in a window, maps of two images."""
    field = np.full((2, 1, 8, 10), np.nan)
    field[0, :, 2:6, 3:8] = np.random.default_rng(0).normal(size=(1, 4, 5))
    axes = np.full((2, 3, 1, 8, 10), np.nan)
    axes[0, :2] = field[0]
    value = np.full((2, 20), np.nan)
    value[0, :19] = np.linspace(1, -0.5, 19)
    maps = np.zeros((2, 2, 8, 10))
    maps[0, :, 3:5, 4:6] = 2
    maps[1] = np.nan
    number = np.array([1.0, np.nan])
    neuron, image = ("neuron",), ("neuron", "image")
    return xr.Dataset(
        {
            "sta": labelled((*neuron, *PIXELS), field),
            "receptive_field": labelled((*neuron, *PIXELS), field),
            "linear": labelled((*neuron, *PIXELS), field),
            "excitatory": labelled((*neuron, "filter", *PIXELS), axes),
            "suppressive": labelled((*neuron, "filter", *PIXELS), np.full_like(axes, np.nan)),
            "eigenvalue": labelled((*neuron, "component"), value),
            "null_low": labelled(neuron, -0.6 * number),
            "null_high": labelled(neuron, 0.7 * number),
            "n_excitatory": labelled(neuron, 2 * number),
            "n_suppressive": labelled(neuron, 0 * number),
            "recorded_field": labelled((*neuron, *PIXELS), field),
            "twin_field": labelled((*neuron, *PIXELS), 100 * field),
            "correlation": labelled(neuron, number),
            "attribution": labelled((*image, "y", "x"), maps),
            "z": labelled((*image, "y", "x"), -5 * maps),
            "threshold": labelled(image, number[:, None] * [5, 5]),
            "stimulus": labelled(("image", *PIXELS), np.full((2, 1, 8, 10), 99)),
        },
        {"neuron_id": ("neuron", [100, 101])},
    )


def parts(element, kind):
    return element.traverse(lambda part: part, [kind])


def options(element):
    return hv.Store.lookup_options("bokeh", element, "plot").kwargs | (
        hv.Store.lookup_options("bokeh", element, "style").kwargs
    )


def test_eigenvalues_beyond_chance_stand_out_of_the_band(result):
    drawn = plots.plot_spectrum(result.isel(neuron=0))
    (box,) = parts(drawn, hv.Rectangles)
    edges = [box.dimension_values(name)[0] for name in ("eigenvalue", "y1")]
    np.testing.assert_allclose(edges, [-0.6, 0.7], rtol=1e-6)
    rest, excite, suppress = parts(drawn, hv.Scatter)
    assert (len(rest), len(excite), len(suppress)) == (17, 2, 0)
    assert excite.dimension_values(1).min() > rest.dimension_values(1).max()
    assert options(drawn)["title"] == "neuron 100: 2 excite, 0 suppress"
    bare = plots.plot_spectrum(result.drop_vars(["null_low", "n_excitatory"]).isel(neuron=0))
    assert not parts(bare, hv.Rectangles)


def test_axes_stand_side_by_side_in_the_whole_image(result):
    drawn = parts(plots.plot_axes(result.isel(neuron=0)), hv.Image)[0]
    values = drawn.dimension_values(2, flat=False)
    assert values.shape == (8, 2 * 10 + 2)
    np.testing.assert_array_equal(values[:, :10], result.excitatory[0, 0, 0])
    assert options(drawn)["title"] == "2 excitatory"
    none = parts(plots.plot_axes(result.isel(neuron=0), "suppressive"), hv.Image)[0]
    assert options(none)["title"] == "no suppressive axis"


def test_each_field_has_its_own_scale_and_they_their_correlation(result):
    drawn = plots.plot_field_comparison(result.isel(neuron=0))
    limits = [options(image)["clim"][1] for image in parts(drawn, hv.Image)]
    assert limits[1] == pytest.approx(100 * limits[0])
    assert options(parts(drawn, hv.Image)[1])["title"] == "twin, r = 1.00"


def test_a_line_runs_around_what_is_beyond_chance(result):
    one = result.isel(neuron=0, image=1)
    drawn = plots.plot_attribution(one)
    line = parts(drawn, hv.Path)[-1]
    x, y = line.dimension_values("x"), line.dimension_values("y")
    # |z| of 10 in the middle and 0 next to it passes 5 half a pixel outside
    assert (x.min(), x.max(), y.min(), y.max()) == pytest.approx((3.5, 5.5, 2.5, 4.5))
    shown, field = parts(drawn, hv.Image)
    assert (shown.dimension_values(2) == 99).all()
    np.testing.assert_array_equal(field.dimension_values(2, flat=False), one.attribution)


@pytest.mark.parametrize(
    ("name", "n_picture"),
    [
        ("stc", 6),
        ("gqm", 6),
        ("lnp", 2),
        ("field_comparison", 4),
        ("integrated_gradients", 8),
        ("occlusion", 8),
        ("bubbles", 8),
    ],
)
def test_whole_results_are_drawn_by_both_backends(result, name, n_picture, tmp_path):
    made = result.drop_vars("sta") if name == "gqm" else result
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        figure = plots.plot_result(make_result(made, experiment=name))
        assert len(parts(figure, hv.Image)) == n_picture
        hv.render(figure, backend="bokeh")
        if name in {"stc", "bubbles"}:  # the others are made of the same panels
            plots.save_figure(figure, tmp_path / "figure.png")
