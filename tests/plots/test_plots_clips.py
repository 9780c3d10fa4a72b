"""Traces drawn: what they draw is what they are given."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from twinlab import plots


@pytest.fixture
def clip():
    rng = np.random.default_rng(0)
    shape = ("frame", "neuron"), (5, 3)
    values = {
        name: (shape[0], rng.gamma(2.0, 1.0, shape[1]), {"units": "events"})
        for name in ("response", "standard_error", "prediction")
    }
    time = "frame", np.arange(5) / 10, {"long_name": "time", "units": "s"}
    found = xr.Dataset(values, {"time": time, "neuron_id": ("neuron", [7, 8, 9])})
    found.response[2, 1] = np.nan
    return found


def drawn_everywhere(element, tmp_path):
    hv.render(element, backend="bokeh")
    assert plots.save_figure(element, tmp_path / "figure.png").stat().st_size > 2000


def test_a_trace_is_drawn_with_its_error(clip, tmp_path):
    one = clip.isel(neuron=0)
    band, measured, predicted = plots.plot_trace(one)
    np.testing.assert_allclose(measured.dimension_values(1), one.response)
    np.testing.assert_allclose(predicted.dimension_values(1), one.prediction)
    np.testing.assert_allclose(band.dimension_values(1), one.response - one.standard_error)
    np.testing.assert_allclose(band.dimension_values(2), one.response + one.standard_error)
    drawn_everywhere(plots.plot_trace(one) * plots.plot_cursor(0.2), tmp_path)


def test_traces_stand_above_one_another_each_in_its_range(clip, tmp_path):
    figure = plots.plot_traces(clip)
    measured, predicted = (curve.dimension_values(1).reshape(3, 6) for curve in figure)
    assert np.isnan(measured[:, -1]).all()  # a gap, so that neurons are not joined
    for row in range(3):
        base, one = 2 - row, clip.isel(neuron=row)
        both = np.concatenate([measured[row], predicted[row]])
        both = both[np.isfinite(both)]
        assert base <= both.min() < both.max() < base + 1
        given = np.concatenate([one.response.values, one.prediction.values])
        given, drawn = given[np.isfinite(given)], both
        assert np.corrcoef(given, drawn)[0, 1] == pytest.approx(1)
    assert np.isnan(measured[1, 2])
    ticks = hv.Store.lookup_options("bokeh", figure.get(0), "plot").kwargs["yticks"]
    assert [name for _, name in ticks] == ["7", "8", "9"]
    drawn_everywhere(figure, tmp_path)


def test_without_any_response_the_axes_are_drawn(clip, tmp_path):
    drawn_everywhere(plots.plot_trace(clip.isel(neuron=0) * np.nan), tmp_path)
    drawn_everywhere(plots.plot_traces(clip.isel(neuron=[])), tmp_path)


def test_circles_and_marks_stand_where_they_are_asked_for(tmp_path):
    neurons = xr.Dataset(
        {
            "x_um": ("neuron", [0.0, 1.0, 2.0], {"units": "um"}),
            "y_um": ("neuron", [5.0, 6.0, 7.0], {"units": "um"}),
            "osi": ("neuron", [0.1, 0.2, 0.3]),
        }
    )
    circles = plots.plot_circles(neurons, [2, 0])
    np.testing.assert_array_equal(circles.array(), [[2.0, 7.0], [0.0, 5.0]])
    drawn_everywhere(plots.plot_map(neurons, "osi") * circles, tmp_path)
    raster = xr.Dataset(
        {"raster": (("raster_neuron", "raster_column"), np.zeros((2, 4)))},
        {
            "neuron": ("raster_neuron", [7, 3]),
            "stimulus_index": ("raster_column", [1, 5, 1, 2]),
            "raster_column": np.arange(4),
        },
    )
    marks = plots.plot_raster_marks(raster, neuron=3, stimulus=1).array()
    assert marks[0, 1] == 1  # the second line
    np.testing.assert_array_equal(marks[1:, 0], [0, 2])
    drawn_everywhere(plots.plot_raster(raster), tmp_path)
    assert not len(plots.plot_raster_marks(raster, neuron=0, stimulus=9))


def test_a_lasso_does_not_fade_the_marks_of_what_is_chosen():
    neurons = xr.Dataset(
        {name: ("neuron", np.arange(3.0)) for name in ("x_um", "y_um", "osi")},
        {"neuron_id": ("neuron", [4, 5, 6])},
    )
    drawn = plots.plot_map(neurons, "osi", selected=1).get(1), plots.plot_circles(neurons, [2, 0])
    for marks in drawn:
        (renderer,) = hv.render(marks, backend="bokeh").renderers
        for glyph in (renderer.glyph, renderer.nonselection_glyph):
            assert (glyph.line_alpha, glyph.fill_alpha) == (1.0, 0)


def test_where_nothing_is_predicted_the_measured_is_drawn_alone(tmp_path):
    clip = xr.Dataset(
        {
            "response": (("frame", "neuron"), [[0.0, 2.0], [1.0, 4.0]]),
            "standard_error": (("frame", "neuron"), np.full((2, 2), 0.1)),
        },
        {"time": ("frame", [0.0, 0.5]), "neuron_id": ("neuron", [8, 9])},
    )
    one = plots.plot_trace(clip.isel(neuron=1))
    assert [curve.label for curve in one if curve.label] == ["measured"]
    several = plots.plot_traces(clip)
    assert len(several) == 1
    np.testing.assert_allclose(several.get(0).dimension_values(1)[[1, 4]], [1.9, 0.9], atol=0.05)
    drawn_everywhere(one + several, tmp_path)
