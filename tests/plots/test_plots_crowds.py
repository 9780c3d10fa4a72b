import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from twinlab.plots import plot_crowd, plot_map, plot_shares, save_figure


def neurons_of(n, seed=0):
    x, y, value = np.random.default_rng(seed).uniform(0, 100, (3, n))
    label = {"long_name": "place", "units": "um"}
    return xr.Dataset(
        {
            "x_um": ("neuron", x, label),
            "y_um": ("neuron", y, label),
            "feve": ("neuron", value, {"long_name": "FEVE", "units": "1"}),
        }
    )


def test_few_neurons_are_points_and_many_a_picture():
    few, many = plot_crowd(neurons_of(50), "feve"), plot_crowd(neurons_of(5000), "feve")
    assert [len(few.get(1)), len(many.get(1))] == [50, 0]
    assert few.get(0).dimension_values(5).max() == 0
    assert many.get(0).dimension_values(5).max() == 255


def test_what_is_zoomed_into_is_drawn_as_points():
    figure = plot_crowd(neurons_of(5000), "feve", view=((10, 20), (10, 20)))
    x, y = (figure.get(1).dimension_values(i) for i in (0, 1))
    expected = neurons_of(5000)
    inside = (np.abs(expected.x_um - 15) <= 7.5) & (np.abs(expected.y_um - 15) <= 7.5)
    assert len(x) == int(inside.sum()) > 20
    assert y.min() >= 7.5


def test_a_painted_neuron_is_where_it_is_and_has_the_colour_of_a_point():
    neurons = neurons_of(3000)
    neurons["feve"][:] = 0.0
    neurons["x_um"][:], neurons["y_um"][:] = 20.0, 20.0
    neurons["x_um"][-1], neurons["y_um"][-1], neurons["feve"][-1] = 80.0, 60.0, 1.0
    view = (0.0, 100.0), (0.0, 100.0)
    painted = plot_crowd(neurons, "feve", view=view, size=(200, 200), marker_size=5).get(0)
    ink = np.stack([painted.dimension_values(i, flat=False) for i in (2, 3, 4, 5)], -1)
    row, column = np.nonzero((ink == [253, 231, 36, 255]).all(-1))  # viridis ends in #fde724
    assert len(row) == 13  # a disc of 5 px, times sqrt(2000 / 3000)
    # Two pixels a unit, from 25 units outside the view; rows from the top.
    assert column.mean() == pytest.approx(2 * (80 + 25), abs=0.5)
    assert row.mean() == pytest.approx(300 - 2 * (60 + 25), abs=0.5)
    row, column = np.nonzero((ink == [68, 1, 84, 255]).all(-1))
    assert (column.mean(), row.mean()) == pytest.approx((90, 210), abs=0.5)


def inks(painted):
    return np.stack([painted.dimension_values(i) for i in (2, 3, 4, 5)], 1)


def test_unknown_values_are_grey():
    neurons = neurons_of(3000)
    neurons["feve"][:] = np.nan
    drawn = inks(plot_crowd(neurons, "feve").get(0))
    assert np.unique(drawn[drawn[:, 3] > 0], axis=0).tolist() == [[0xC8, 0xCC, 0xD0, 255]]


def test_others_than_those_shown_are_small_and_below():
    neurons, shown = neurons_of(3000), np.arange(3000) < 1000
    neurons["feve"][:] = shown.astype(float)
    ink = inks(plot_crowd(neurons, "feve", shown=shown, size=(800, 800)).get(0))
    painted = [(ink == color).all(1).sum() for color in ([253, 231, 36, 255], [68, 1, 84, 255])]
    assert painted[0] / 1000 > 2 * painted[1] / 2000 > 0  # pixels a neuron
    points = plot_crowd(neurons.isel(neuron=slice(900, 1100)), "feve", shown=shown[900:1100])
    diameter = points.get(1).dimension_values("diameter")
    np.testing.assert_array_equal(diameter, np.sort(diameter))
    assert set(diameter) == {3.5, 7.0}


def test_a_neuron_without_a_place_is_not_drawn():
    neurons = neurons_of(10)
    neurons["x_um"][3] = np.nan
    assert 3 not in plot_crowd(neurons, "feve").get(1).dimension_values("number")


def test_some_neurons_are_drawn_on_the_axes_of_all():
    some = plot_map(neurons_of(10), "feve", drawn=np.array([4, 7])).get(0)
    every = plot_map(neurons_of(10), "feve").get(0)
    assert some.dimension_values("number").tolist() == [4, 7]
    for backend in ("bokeh", "matplotlib"):
        limits = [
            hv.Store.lookup_options(backend, e, "plot").kwargs["xlim"] for e in (some, every)
        ]
        assert limits[0] == limits[1]


@pytest.mark.parametrize("n", [40, 3000])
def test_crowds_are_drawn_for_print(tmp_path, n):
    figure = plot_crowd(neurons_of(n), "feve", selected=3, shown=np.arange(n) % 2 == 0)
    assert save_figure(figure, tmp_path / "crowd.png").stat().st_size > 10_000
    hv.render(figure, backend="bokeh")


def test_bars_in_front_count_the_chosen_in_the_bins_of_all(tmp_path):
    values = xr.DataArray(
        np.array([0.0, 0.1, 0.1, 1.0, np.nan]),
        dims="neuron",
        name="osi",
        attrs={"long_name": "OSI", "units": "1"},
    )
    figure = plot_shares(values, np.array([False, True, False, True, True]), n_bin=10)
    every, front = figure.get(0), figure.get(2)
    np.testing.assert_array_equal(every.edges, front.edges)
    assert every.dimension_values(1).tolist() == [1, 2, *[0] * 7, 1]
    assert front.dimension_values(1).tolist() == [0, 1, *[0] * 7, 1]
    title = hv.Store.lookup_options("bokeh", every, "plot").kwargs["title"]
    assert title == "4 of 5 neurons; orange: 2 chosen"
    save_figure(figure, tmp_path / "shares.png")
