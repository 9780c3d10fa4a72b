"""What is drawn of a loop is what its comparisons found."""

import json

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from twinlab import plots
from twinlab.schema import make_result

UNITS = {"units": "1"}
LABEL = {"long_name": "response to the mei"} | UNITS


def drawn(figure, kind):
    return figure.traverse(lambda part: part, [kind])


def render(figure, path):
    hv.render(figure, backend="bokeh")
    plots.save_figure(figure, path)


def confusion(expect="most"):
    """Neuron i answers to its own by 1 + i; to that of neuron 0 by 9 if it is neuron 4."""
    sign = 1 if expect == "most" else -1
    matrix = np.diag(1.0 + np.arange(5))
    matrix[0, 4] = 9.0
    matrix[:, 2] = np.nan
    own = np.diagonal(matrix)
    return make_result(
        xr.Dataset(
            {
                "confusion": (("made_for", "neuron"), sign * matrix, LABEL),
                "specificity": ("neuron", own, LABEL),
                "rank": ("neuron", np.where(np.isnan(own), np.nan, [1, 1, 0, 1, 2]), LABEL),
                "mean_specificity": ((), np.nanmean(own), LABEL),
                "mean_specificity_interval": ("bound", [1.0, 5.0], LABEL),
            },
            {"neuron": [f"s/{i}" for i in range(5)], "made_for": [f"s/{i}" for i in range(5)]},
        ),
        experiment="confusion",
        settings={"expect": expect, "kind": "mei"},
    )


@pytest.mark.parametrize("expect", ["most", "least"])
def test_the_matrix_is_sorted_and_its_maxima_marked(expect, tmp_path):
    figure = plots.plot_confusion(confusion(expect))
    (image,) = drawn(figure, hv.Image)
    matrix = image.dimension_values(2, flat=False)
    order = [4, 3, 1, 0, 2]  # the one that is undefined last
    expected = confusion(expect).confusion.values[np.ix_(order, order)]
    np.testing.assert_array_equal(matrix, expected)
    (dots,) = drawn(figure, hv.Scatter)
    best = dict(zip(dots.dimension_values(0), dots.dimension_values(1), strict=True))
    assert best == {0: 3, 1: 1, 2: 2, 3: 3}  # neuron 4 answers most to that of neuron 0
    render(plots.plot_result(confusion(expect)), tmp_path / "figure.png")


def test_ranks_and_chance_are_drawn():
    ranks = drawn(plots.plot_specificity(confusion()), hv.Histogram)[0]
    np.testing.assert_array_equal(ranks.dimension_values(1), [3, 1, 0, 0, 0])
    chance = drawn(plots.plot_specificity(confusion()), hv.Segments)[0]
    assert chance.dimension_values(1)[0] == 4 / 5


def test_controls_that_cannot_be_drawn_are_counted(tmp_path):
    own, other = np.array([2.0, 4, 6, 0]), np.array([[1.0, 2, 6, 5], [4.0, 2, 3, 2]])
    interval = np.array([[1.0, 2.0], [0.5, 2.0]])
    result = make_result(
        xr.Dataset(
            {
                "response": ("neuron", own, LABEL),
                "response_control": (("control", "neuron"), other, LABEL),
                "q_value": (("control", "neuron"), [[0.01, 0.2, 0.2, 0.2]] * 2, LABEL),
                "median_ratio": ("control", [1.5, 1.0], LABEL),
                "median_ratio_interval": (("control", "bound"), interval, LABEL),
            },
            {"control": ["natural", "gabor"], "neuron": list("abcd")},
        ),
        experiment="controls",
    )
    figure = plots.plot_result(result)
    rest, shown = drawn(list(figure)[0], hv.Scatter)
    assert (shown.dimension_values(0).tolist(), shown.dimension_values(1).tolist()) == ([1], [2])
    assert rest.dimension_values(0).tolist() == [2, 6]
    titles = [str(hv.Store.lookup_options("bokeh", one, "plot").kwargs.get("title", ""))
              for one in drawn(figure, hv.Curve)]  # fmt: skip
    assert "ratio 1.50 [1.00, 2.00], 3 neurons (1 not drawn)" in titles
    render(figure, tmp_path / "figure.png")


def test_prediction_of_the_best_and_the_worst_neuron_is_drawn(tmp_path):
    observed = np.arange(12.0).reshape(6, 2) % 7
    coords = {"neuron": ["a", "b"], "stimulus_id": ("stimulus", list("pqrstu"))}
    per_neuron = {name: ("neuron", [0.9, 0.2], LABEL) for name in ("correlation", "cc_max")}
    means = {
        f"mean_{name}{part}": (dims, value, LABEL)
        for name in ("correlation", "cc_norm")
        for part, dims, value in (("", (), 0.5), ("_interval", ("bound",), [0.4, 0.6]))
    }
    result = make_result(
        xr.Dataset(
            {
                "observed": (("stimulus", "neuron"), observed, {"long_name": "observed"} | UNITS),
                "predicted": (
                    ("stimulus", "neuron"),
                    observed + 1,
                    {"long_name": "foreseen"} | UNITS,
                ),
                "cc_norm": ("neuron", [1.0, np.nan], LABEL),
                **per_neuron,
                **means,
            },
            coords,
        ),
        experiment="prediction",
    )
    figure = plots.plot_result(result)
    clouds = [one for one in drawn(figure, hv.Scatter) if len(one) == 6]
    np.testing.assert_array_equal(clouds[0].dimension_values(1), observed[:, 0])
    assert len(clouds) == 2
    render(figure, tmp_path / "figure.png")


def test_verification_draws_ratios_where_there_are_some(tmp_path):
    values = {
        "activation": [4.0, 6], "activation_other": [3.0, 6], "activation_natural": [2.0, 0],
        "activation_natural_other": [2.0, 3],
    }  # fmt: skip
    result = make_result(
        xr.Dataset({name: ("neuron", one, LABEL) for name, one in values.items()}),
        experiment="mei",
    )
    figure = plots.plot_verification(result)
    ratio = drawn(figure, hv.Scatter)[-1]
    assert ratio.dimension_values(0)[0] == 2
    assert ratio.dimension_values(1)[0] == 1.5
    assert np.isnan(ratio.dimension_values(0)[1])
    render(figure, tmp_path / "figure.png")


def test_power_is_drawn_for_each_number_of_repeats_and_each_control(tmp_path):
    units, repeats = [3, 10, 30], [4, 8]
    power = np.array([[0.1, 0.3, 0.7], [0.2, 0.5, 0.9]])
    result = make_result(
        xr.Dataset(
            {"power": (("control", "n_repeat", "n_unit"), np.stack([power, power / 2]), LABEL)},
            {
                "control": ["natural", "gabor"],
                "n_repeat": ("n_repeat", repeats, LABEL),
                "n_unit": ("n_unit", units, LABEL),
            },
        ),
        experiment="power",
        settings={"ratio": 1.3, "power": 0.8, "n_unit": 10},
    )
    figure = plots.plot_result(result)
    curves = drawn(figure, hv.Curve)
    assert [one.label for one in curves] == ["4 repeats", "8 repeats"] * 2
    np.testing.assert_array_equal(curves[1].dimension_values(1), power[1])
    np.testing.assert_array_equal(curves[2].dimension_values(1), power[0] / 2)
    render(figure, tmp_path / "figure.png")
    alone = result.isel(control=0, drop=True)
    alone.attrs["settings"] = json.dumps({"ratio": 1.3, "power": 0.8})
    assert len(drawn(plots.plot_result(alone), hv.Curve)) == 2
