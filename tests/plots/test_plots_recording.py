"""The figures of a recording: what they draw is what they are given."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from twinlab import plots


@pytest.fixture
def summary():
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "quality": ("neuron", np.array([0.1, 0.2, 0.2, np.nan]), {"long_name": "quality"}),
            "n_stimulus": ("times_shown", [0, 5000, 0, 1], {"long_name": "images"}),
            "raster": (
                ("raster_neuron", "raster_column"),
                rng.normal(size=(3, 7)),
                {"long_name": "response", "units": "s.d."},
            ),
            "session_response": ("session_trial", [2.0, 1.0], {"long_name": "response"}),
            "session_error": ("session_trial", [0.1, 0.2]),
            "behavior": (("trial", "behavior_channel"), rng.normal(size=(9, 2))),
            "pupil_center": (("trial", "axis"), rng.normal(size=(9, 2))),
        },
        {
            "times_shown": np.arange(4),
            "session_trial": [10.0, 30.0],
            "behavior_channel": ["running_speed", "pupil_dilation"],
        },
    )


def drawn_everywhere(element, tmp_path):
    """Draw for the screen and for print; what may go wrong there raises."""
    hv.render(element, backend="bokeh")
    path = plots.save_figure(element, tmp_path / "figure.png")
    assert path.stat().st_size > 2000


def test_a_histogram_counts_what_is_finite(summary, tmp_path):
    figure = plots.plot_histogram(summary.quality, mark=0.15, count="neurons")
    bars = figure.get(0)
    assert bars.dimension_values(1).sum() == 3
    assert figure.get(1).array()[0, 0] == 0.15
    drawn_everywhere(figure, tmp_path)


def test_one_stimulus_beside_thousands_is_seen(summary, tmp_path):
    figure = plots.plot_repeats(summary)
    height = figure.dimension_values(1)
    np.testing.assert_allclose(10**height * 0.5, [0.5, 5000, 0.5, 1])
    assert height[3] > 0.05 * height[1]
    drawn_everywhere(figure, tmp_path)


def test_a_raster_draws_each_response_in_its_place(summary, tmp_path):
    figure = plots.plot_raster(summary)
    np.testing.assert_allclose(figure.dimension_values(2, flat=False), summary.raster.values)
    drawn_everywhere(figure, tmp_path)


@pytest.mark.parametrize("part", [{"raster_neuron": [1]}, {"raster_column": [4]}])
def test_a_raster_of_one_neuron_or_trial_is_drawn(part, summary, tmp_path):
    summary = summary.isel(part)
    figure = plots.plot_raster(summary)
    np.testing.assert_allclose(figure.dimension_values(2, flat=False), summary.raster.values)
    drawn_everywhere(figure, tmp_path)


def test_the_session_is_drawn_with_its_error(summary, tmp_path):
    figure = plots.plot_session(summary)
    np.testing.assert_allclose(figure.get(1).array(), [[10, 2], [30, 1]])
    np.testing.assert_allclose(figure.get(0).dimension_values("upper"), [2.1, 1.2])
    drawn_everywhere(figure, tmp_path)


def test_behaviour_has_a_panel_a_channel_and_the_pupil_a_point_a_trial(summary, tmp_path):
    panels = plots.plot_behavior(summary)
    assert len(panels) == 2
    drawn_everywhere(panels, tmp_path)
    points = plots.plot_pupil(summary)
    np.testing.assert_allclose(points.array(), summary.pupil_center.values)
    drawn_everywhere(points, tmp_path)


def test_trials_of_one_image_stand_out_at_their_mean(tmp_path):
    summary = xr.Dataset(
        {
            "response": ("trial", [1.0, 4.0, np.nan, 2.0], {"long_name": "response"}),
            "shown": ("trial", [0.0, 1.0, 1.0, 1.0]),
            "mean_response": 3.0,
        },
        {"trial": ("trial", np.arange(4), {"long_name": "trial", "units": "1"})},
    )
    figure = plots.plot_trials(summary)
    np.testing.assert_array_equal(figure.get(0).array(), [[0, 1.0]])
    drawn = figure.get(1).array().astype(float)
    np.testing.assert_array_equal(drawn, [[1, 4.0], [2, np.nan], [3, 2.0]])
    assert figure.get(2).array()[0, 1] == 3.0
    drawn_everywhere(figure, tmp_path)
