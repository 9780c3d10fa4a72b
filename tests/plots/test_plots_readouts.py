"""Read-outs drawn: what is on the axes is what the result says."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from twinlab import plots
from twinlab.schema import make_result


def units(long_name, units="1"):
    return {"long_name": long_name, "units": units}


def parts(element, kind):
    return list(element.traverse(lambda part: part, [kind]))


@pytest.fixture
def neurometric():
    difference, fine = np.array([1.0, 2.0, 4.0]), np.linspace(0, 4, 9)
    area = np.array([[0.6, 0.7, 0.9], [0.5, 0.5, 0.5]])
    found = {
        "roc_area": (("difference",), area, "share"),
        "fitted_curve": (("fine_difference",), np.linspace(0.5, [0.9, np.nan], 9).T, "fit"),
        "threshold": ((), np.array([2.5, np.nan]), "threshold"),
        "threshold_interval": (("bound",), np.array([[2.0, 3.5], [2.0, np.nan]]), "interval"),
        "threshold_below": ((), np.array([0, 0], np.int8), "below"),
    }
    variables = {
        name: (("neuron", *dims), values, units(words))
        for name, (dims, values, words) in found.items()
    } | {
        f"population_{name}": (dims, values[0], units(words))
        for name, (dims, values, words) in found.items()
    }
    coords = {
        "neuron_id": ("neuron", [100, 101]),
        "difference": ("difference", difference, units("difference in orientation", "deg")),
        "fine_difference": ("fine_difference", fine, units("difference", "deg")),
    }
    return make_result(xr.Dataset(variables, coords), experiment="neurometric")


def test_a_neurometric_curve_has_its_points_fit_and_threshold(neurometric):
    drawn = plots.plot_neurometric(neurometric.isel(neuron=0))
    np.testing.assert_allclose(parts(drawn, hv.Scatter)[0].array(), [[1, 0.6], [2, 0.7], [4, 0.9]])
    interval = parts(drawn, hv.Segments)[0]
    assert interval.array()[0].tolist() == [2.0, 0.75, 3.5, 0.75]
    title = hv.Store.lookup_options("bokeh", parts(drawn, hv.Curve)[0], "plot").kwargs["title"]
    assert title == "neuron 100: threshold 2.5 deg"
    open_end = parts(plots.plot_neurometric(neurometric.isel(neuron=1)), hv.Segments)[0]
    assert open_end.array()[0, 2] == 4.0


def test_a_threshold_below_all_differences_is_named_so(neurometric):
    result = neurometric.isel(neuron=1).copy(deep=True)
    result["threshold_below"][()] = 1
    result["threshold_interval"][:] = [np.nan, 1.5]
    drawn = plots.plot_neurometric(result)
    title = hv.Store.lookup_options("bokeh", parts(drawn, hv.Curve)[0], "plot").kwargs["title"]
    assert title == "neuron 101: threshold below 1 deg"
    assert parts(drawn, hv.Segments)[0].array()[0].tolist() == [0.0, 0.75, 1.5, 0.75]


@pytest.fixture
def information():
    variables = {
        "information": (("neuron", "value"), np.array([[1.0, 2.0], [3.0, 0.5]]), units("one")),
        "population_information": ("value", [4.0, 2.5], units("all")),
        "population_information_interval": (
            ("value", "bound"),
            [[3.0, 5.0], [2.0, 3.0]],
            units("interval"),
        ),
    }
    coords = {"neuron_id": ("neuron", [100, 101]), "value": ("value", [0.0, 10.0], units("o"))}
    return make_result(xr.Dataset(variables, coords), experiment="fisher_information")


def test_information_is_drawn_of_one_neuron_or_of_all(information):
    one = plots.plot_fisher_information(information.isel(neuron=1))
    assert parts(one, hv.Curve)[0].dimension_values(1).tolist() == [3.0, 0.5]
    whole = plots.plot_fisher_information(information)
    assert parts(whole, hv.Curve)[0].dimension_values(1).tolist() == [4.0, 2.5]
    assert parts(whole, hv.Segments)[0].array()[0].tolist() == [0.0, 3.0, 0.0, 5.0]


@pytest.fixture
def reconstruction():
    image = ("image", "channel", "y", "x")
    rng = np.random.default_rng(0)
    variables = {
        "original": (image, rng.uniform(0, 255, (4, 1, 6, 9)), units("shown", "grey level")),
        "reconstruction": (image, np.full((4, 1, 6, 9), 99.0), units("read", "grey level")),
        "correlation": ("image", [0.5, 0.25, 0.1, 0.0], units("r")),
        "null_interval": (("image", "bound"), np.tile([-0.1, 0.2], (4, 1)), units("null")),
        "mean_correlation": ((), 0.2125, units("mean")),
        "mean_null_interval": ("bound", [-0.05, 0.05], units("null")),
    }
    return make_result(xr.Dataset(variables), experiment="reconstruction")


def test_reconstructions_stand_below_their_originals(reconstruction):
    drawn = plots.plot_reconstruction(reconstruction)
    words = list(parts(drawn, hv.Labels)[0].dimension_values("caption"))
    assert words[:3] == ["image 0", "image 1", "image 2"]
    assert words[3] == "r 0.50 (null -0.10 to 0.20)"
    assert words[6:] == ["image 3", "", "", "r 0.00 (null -0.10 to 0.20)", "", ""]
    wall = parts(drawn, hv.Image)[0].dimension_values(2, flat=False)
    wall = wall if wall[0, 0] == reconstruction.original[0, 0, 0, 0] else wall[::-1]
    np.testing.assert_array_equal(wall[:6, :9], reconstruction.original[0, 0])
    assert (wall == 99).sum() == 4 * 6 * 9


@pytest.mark.parametrize("name", ["neurometric", "fisher_information", "reconstruction"])
def test_each_is_drawn_by_both_backends(name, request, tmp_path):
    figure = plots.plot_result(request.getfixturevalue(name.replace("fisher_", "")))
    hv.render(figure, backend="bokeh")
    plots.save_figure(figure, tmp_path / "figure.png")
