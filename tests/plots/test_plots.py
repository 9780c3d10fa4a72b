import re

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from twinlab import insilico, plots
from twinlab.schema import InputError, make_result


def units(long_name, units):
    return {"long_name": long_name, "units": units}


@pytest.fixture
def result():
    """Five neurons with every kind of result, all of known shape and place."""
    n, orientation = 5, np.arange(8) * 22.5
    y, x = np.mgrid[:12, :20]
    field = np.stack([np.exp(-((x - 3 * k - 4) ** 2 + (y - 6) ** 2) / 4) for k in range(n)])
    preferred = np.array([0.0, 22.5, 45.0, 90.0, np.nan])
    curve = 1 + np.cos(np.deg2rad(2 * (orientation - preferred[:, None])))
    grid = curve[:, :, None, None] * np.array([1.0, 2.0, 3.0])[:, None] * np.ones(4)
    per_neuron = {
        "preferred_orientation": (preferred, units("preferred orientation", "deg")),
        "osi": (np.linspace(0, 1, n), units("orientation selectivity", "1")),
        "blank_response": (np.full(n, 0.5), units("response to grey", "rate")),
        "correlation_to_average": (np.linspace(0.1, 0.5, n), units("correlation", "1")),
        "cc_max": (np.linspace(0.5, 0.9, n), units("ceiling", "1")),
        "explainable_variance": (np.array([0.05, 0.2, 0.3, 0.4, np.nan]), units("EV", "1")),
    } | {
        f"activation{kind}{judge}": (np.arange(n) + step + 1.0, units("activation", "rate"))
        for step, kind in enumerate(["_natural", "_gabor", ""])
        for judge in ["", "_other"]
    }
    return xr.Dataset(
        {name: ("neuron", *value) for name, value in per_neuron.items()}
        | {
            "receptive_field": (
                ("neuron", "channel", "y", "x"),
                -field[:, None],
                units("receptive field", "rate per grey level"),
            ),
            "mei": (
                ("neuron", "channel", "y", "x"),
                100 + 50 * field[:, None],
                units("most exciting input", "grey level"),
            ),
            "response": (
                ("neuron", "orientation", "spatial_frequency", "phase"),
                grid,
                units("response", "rate"),
            ),
            "evoked_curve": (
                ("neuron", "orientation"),
                curve - 0.5,
                units("response above blank", "rate"),
            ),
            "tuning_curve": (("neuron", "orientation"), curve, units("mean response", "rate")),
            "mean_correlation_to_average": ((), 0.3, units("mean correlation", "1")),
            "mean_correlation_to_average_interval": (
                ("bound",),
                [0.2, 0.4],
                units("interval", "1"),
            ),
        },
        {
            "neuron_id": ("neuron", np.arange(n) + 100),
            "x_um": ("neuron", 10.0 * np.arange(n), units("cortical x", "um")),
            "y_um": ("neuron", np.zeros(n), units("cortical y", "um")),
            "orientation": ("orientation", orientation, units("orientation", "deg")),
            "spatial_frequency": (
                "spatial_frequency",
                [0.05, 0.1, 0.2],
                units("spatial frequency", "cycles/px"),
            ),
            "bound": ["lower", "upper"],
        },
    )


@pytest.fixture
def history():
    return xr.Dataset(
        {
            "train_loss": ("epoch", [3.0, 2.0, 1.0], units("training loss", "nat")),
            "validation_loss": ("epoch", [3.0, 2.5, 2.4], units("validation loss", "nat")),
            "validation_correlation": ("epoch", [0.0, 0.2, 0.3], units("correlation", "1")),
        },
        {"epoch": [1, 2, 3]},
    )


def options(element, backend="bokeh"):
    return hv.Store.lookup_options(backend, element, "plot").kwargs | (
        hv.Store.lookup_options(backend, element, "style").kwargs
    )


def parts(element, kind):
    return element.traverse(lambda part: part, [kind])


def test_an_image_is_drawn_as_it_is_stored_with_y_downwards(result):
    image = result.mei.isel(neuron=0)
    drawn = plots.plot_image(image)
    np.testing.assert_array_equal(drawn.dimension_values(2, flat=False), image.values[0])
    assert options(drawn)["invert_yaxis"]
    assert options(drawn)["clim"] == (0.0, 255.0)
    assert drawn.dimension_values("x", expanded=False)[0] == 0  # pixel centres at whole numbers


def test_black_and_white_are_what_can_be_shown_to_the_twin(result):
    z_scored = (result.mei.isel(neuron=0) - 110) / 50
    said = z_scored.assign_attrs(display_range=[-2.2, 2.9])
    assert options(plots.plot_image(said))["clim"] == (-2.2, 2.9)
    low, high = float(z_scored.min()), float(z_scored.max())
    assert options(plots.plot_image(z_scored))["clim"] == (low, high)
    assert options(plots.plot_image(said, limits=(-1, 1)))["clim"] == (-1, 1)
    assert options(plots.plot_image(z_scored * np.nan))["clim"] == (0.0, 255.0)
    assert options(plots.plot_image(0 * z_scored - 1))["clim"] == (-1.0, 0.0)


def test_channels_stand_side_by_side(result):
    image = result.mei.isel(neuron=0, channel=0).expand_dims(channel=2)
    drawn = plots.plot_image(image).dimension_values(2, flat=False)
    assert drawn.shape == (12, 2 * 20 + 2)
    np.testing.assert_array_equal(drawn[:, :20], drawn[:, 22:])
    assert np.isnan(drawn[:, 20:22]).all()


def test_a_receptive_field_is_drawn_about_zero(result):
    picture = parts(plots.plot_receptive_field(result.isel(neuron=0)), hv.Image)[0]
    low, high = options(picture)["clim"]
    assert low == -high == pytest.approx(result.receptive_field.isel(neuron=0).values.min())


def test_a_field_of_nothing_but_noise_stays_pale_and_is_outlined(result):
    sensitivity = -10 * result.receptive_field.isel(channel=0)
    neuron = result.assign(sensitivity=sensitivity).isel(neuron=2)
    drawn = plots.plot_receptive_field(neuron)
    assert options(parts(drawn, hv.Image)[0])["clim"] == pytest.approx((-10, 10))
    line = parts(drawn, hv.Path)[0]
    x, y = line.dimension_values("x"), line.dimension_values("y")
    # Half maximum of exp(-r^2 / 4) is at a radius of 2 sqrt(ln 2) = 1.67 pixels.
    np.testing.assert_allclose(np.hypot(x - 10, y - 6), 1.67, atol=0.2)


def test_an_mei_says_what_response_it_drives(result):
    assert options(plots.plot_mei(result.isel(neuron=3)))["title"] == "neuron 103: activation 6"


def test_a_gallery_holds_every_image_and_its_caption(result):
    images = result.mei.rename(neuron="image")
    drawn = plots.plot_gallery(images, list("abcde"), columns=2)
    wall = parts(drawn, hv.Image)[0].dimension_values(2, flat=False)
    np.testing.assert_array_equal(wall[:12, :20], images.values[0, 0])
    labels = parts(drawn, hv.Labels)[0]
    assert list(labels.dimension_values("caption")) == list("abcde")
    tops = labels.dimension_values("y")
    assert tops[0] == tops[1] < tops[2] == tops[3] < tops[4]


def stimulus_set(**labels):
    n = len(next(iter(labels.values())))
    levels = np.arange(n)[:, None, None, None] * np.ones((1, 1, 6, 8))
    dims = ("image", "channel", "y", "x")
    coords = {name: ("image", values, {"units": "deg"}) for name, values in labels.items()}
    return xr.DataArray(levels, dims=dims, coords=coords, attrs={"kind": "gratings"})


def captions_of(drawn):
    return list(parts(drawn, hv.Labels)[0].dimension_values("caption"))


def test_a_set_of_stimuli_says_in_what_they_differ():
    made = stimulus_set(orientation=[0, 45.0], phase=[90, 90], aliased=[False, True])
    drawn = plots.plot_stimuli(made)
    assert captions_of(drawn) == ["0", "45, aliased"]
    assert options(parts(drawn, hv.Image)[0])["title"] == "gratings: orientation (deg)"
    assert captions_of(plots.plot_stimuli(stimulus_set(phase=[1, 1, 1]))) == ["1", "2", "3"]
    assert captions_of(plots.plot_stimuli(stimulus_set(image_id=["a.png", "b.png"]))) == [
        "a.png",
        "b.png",
    ]


def test_of_a_large_set_some_are_drawn_from_first_to_last():
    drawn = plots.plot_stimuli(stimulus_set(orientation=np.arange(101.0)), n_shown=5)
    assert captions_of(drawn) == ["0", "25", "50", "75", "100"]


def test_a_video_is_a_row_of_frames():
    levels = np.arange(2 * 9.0).reshape(2, 1, 9, 1, 1) * np.ones((6, 8))
    made = xr.DataArray(
        levels,
        dims=("video", "channel", "frame", "y", "x"),
        coords={
            "speed": ("video", [1.0, 2.0], {"units": "px/s"}),
            "time": ("frame", np.arange(9) / 10),
        },
    )
    drawn = plots.plot_stimuli(made, columns=3)
    assert captions_of(drawn) == ["1", "0.40 s", "0.80 s", "2", "0.40 s", "0.80 s"]
    wall = parts(drawn, hv.Image)[0].dimension_values(2, flat=False)
    assert list(wall[0, [0, 9, 18]]) == [0, 4, 8]
    assert np.nanmax(wall) == 17


def test_a_tuning_curve_closes_after_180_degrees_and_marks_the_preferred(result):
    drawn = plots.plot_tuning(result.isel(neuron=2))
    curve = parts(drawn, hv.Curve)[0]
    assert curve.dimension_values(0)[-1] == 180
    assert curve.dimension_values(1)[-1] == curve.dimension_values(1)[0]
    np.testing.assert_allclose(curve.dimension_values(1)[:-1], result.evoked_curve[2])
    marks, blank = parts(drawn, hv.Segments)
    assert set(marks.dimension_values("x0")) == {45.0}
    assert np.isnan(blank.dimension_values("y0")).all()
    assert options(curve)["title"] == "neuron 102: prefers 45°, OSI 0.50"


def test_the_mean_response_is_drawn_above_that_to_a_blank_screen(result):
    drawn = plots.plot_tuning(result.isel(neuron=2), curve="tuning_curve")
    assert set(parts(drawn, hv.Segments)[1].dimension_values("y0")) == {0.5}


def test_a_tuning_grid_averages_over_phase(result):
    drawn = plots.plot_tuning_grid(result.isel(neuron=0))
    values = drawn.dimension_values(2, flat=False)
    np.testing.assert_allclose(values, result.response[0, ..., 0].values.T)


def test_axes_carry_long_names_and_units(result):
    curve = parts(plots.plot_tuning(result.isel(neuron=0)), hv.Curve)[0]
    assert [axis.pprint_label for axis in curve.dimensions()] == [
        "orientation (deg)",
        "response above blank (rate)",
    ]
    points = parts(plots.plot_map(result, "osi"), hv.Points)[0]
    assert points.kdims[0].pprint_label == "cortical x (µm)"


def test_orientation_is_coloured_around_a_circle_and_selectivity_is_not(result):
    cyclic = options(parts(plots.plot_map(result, "preferred_orientation"), hv.Points)[0])
    assert cyclic["cmap"] == "colorwheel"
    assert cyclic["clim"] == (0, 180)
    plain = options(parts(plots.plot_map(result, "osi"), hv.Points)[0])
    assert plain["cmap"] == "viridis"
    assert plain["clim"] == (0, 1)


def test_the_chosen_neuron_is_ringed(result):
    points, ring = parts(plots.plot_map(result, "osi", selected=3), hv.Points)
    assert ring.array()[:, :2].tolist() == [[30.0, 0.0]]
    assert len(points) == 5


def test_scores_part_reliable_from_weak_neurons_and_say_the_mean(result):
    drawn = plots.plot_scores(result)
    clouds = {part.label: part for part in parts(drawn, hv.Scatter)}
    assert len(clouds["reliable"]) == 3
    assert len(clouds["weak signal"]) == 2  # one too low, one undefined
    assert parts(drawn, hv.Histogram)[0].dimension_values(1).sum() == 5
    assert options(parts(drawn, hv.Overlay)[1])["title"] == "mean 0.300 [0.200, 0.400]"


def test_measured_and_predicted_means_are_drawn_with_their_error():
    averages = xr.Dataset(
        {
            "response": ("image", [1.0, 2.0], units("measured response", "a.u.")),
            "standard_error": ("image", [0.1, 0.2], units("standard error", "a.u.")),
            "prediction": ("image", [1.5, 1.5], units("predicted response", "a.u.")),
        }
    )
    drawn = plots.plot_prediction(averages)
    np.testing.assert_allclose(parts(drawn, hv.Scatter)[0].array(), [[1.5, 1.0], [1.5, 2.0]])
    bars = parts(drawn, hv.Segments)[0]
    np.testing.assert_allclose(
        bars.dimension_values("y1") - bars.dimension_values("y0"), [0.2, 0.4]
    )


def test_a_history_shows_losses_together_and_correlation_apart(history):
    losses, correlation = plots.plot_history(history)
    assert [curve.label for curve in parts(losses, hv.Curve)] == ["train", "validation"]
    np.testing.assert_array_equal(
        parts(correlation, hv.Curve)[0].dimension_values(1), history.validation_correlation
    )


def test_meis_are_set_beside_their_controls_on_each_twin(result):
    drawn = plots.plot_mei_comparison(result)
    assert len(drawn) == 2
    lines = parts(drawn, hv.Path)[0].split()
    assert len(lines) == 5
    np.testing.assert_array_equal(lines[1].array()[:, 1], [2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("experiment", "kind", "n_panel"),
    [("receptive_field", hv.Image, 5), ("tuning", hv.Curve, 5), ("mei", hv.Image, 5)],
)
def test_a_whole_result_shows_each_neuron(result, experiment, kind, n_panel):
    drawn = plots.plot_result(make_result(result, experiment=experiment))
    assert len(parts(drawn, kind)) == n_panel


def test_a_large_result_shows_its_first_twelve_neurons(result):
    many = xr.concat([result] * 4, "neuron", data_vars="minimal")
    drawn = plots.plot_result(make_result(many, experiment="sta"))
    assert len(parts(drawn, hv.Image)) == 12


def test_an_unknown_experiment_is_named_with_the_known_ones(result):
    with pytest.raises(InputError, match=r"experiment 'ablation'.*'mei'"):
        plots.plot_result(make_result(result, experiment="ablation"))


@pytest.mark.parametrize("name", ["figure.png", "figure.svg", "figure.pdf", "figure.html"])
def test_figures_are_written_in_every_format(result, tmp_path, name):
    figure = plots.plot_tuning(result.isel(neuron=0)) + plots.plot_mei(result.isel(neuron=0))
    path = plots.save_figure(figure, tmp_path / name)
    begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".html": b"<!DOCTYPE"}
    assert path.read_bytes().lstrip().startswith(begins[path.suffix])
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_page_needs_no_network(result, tmp_path):
    page = plots.save_figure(plots.plot_scores(result), tmp_path / "scores.html").read_text()
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.http", page)


def test_the_same_result_gives_the_same_figure(result, tmp_path):
    first, second = (
        plots.save_figure(plots.plot_map(result, "osi"), tmp_path / name).read_bytes()
        for name in ("first.svg", "second.svg")
    )
    assert first == second


def test_an_unknown_format_is_refused(result, tmp_path):
    with pytest.raises(InputError, match=r"figures end in \.png, \.svg, \.pdf, \.html, but got"):
        plots.save_figure(plots.plot_map(result, "osi"), tmp_path / "figure.tiff")


DRAWN_HERE = ("fit", "mei", "receptive_field", "score", "sta", "tuning")


@pytest.mark.parametrize("name", DRAWN_HERE)
def test_every_figure_is_drawn_by_both_backends(result, history, name, tmp_path):
    made = history if name == "fit" else result.isel(neuron=slice(2))
    figure = plots.PLOTS[name](made)
    hv.render(figure, backend="bokeh")
    plots.save_figure(figure, tmp_path / "figure.png")


def test_every_experiment_has_a_figure():
    rooms = (insilico.EXPERIMENTS, insilico.PAIR_EXPERIMENTS, insilico.IMAGE_EXPERIMENTS)
    assert {name for room in rooms for name in room} <= set(plots.PLOTS)
