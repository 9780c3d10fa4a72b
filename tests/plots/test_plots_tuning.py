import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from twinlab import insilico, plots
from twinlab.schema import make_result


def parts(element, kind):
    return element.traverse(lambda part: part, [kind])


def options(element, backend="bokeh"):
    return hv.Store.lookup_options(backend, element, "plot").kwargs | (
        hv.Store.lookup_options(backend, element, "style").kwargs
    )


@pytest.fixture(scope="module")
def twin(cortex):
    return cortex.as_twin().condition()


@pytest.fixture(scope="module")
def size(twin):
    return insilico.EXPERIMENTS["size_tuning"](twin, [0, 1, 2])


def test_a_curve_is_drawn_at_its_points_with_its_fit(size):
    one = size.isel(neuron=1)
    drawn = plots.plot_tuning_curve(one)
    points, line = parts(drawn, hv.Scatter)[0], parts(drawn, hv.Curve)[0]
    # Radii are spaced by factors, and placed by their logarithm.
    np.testing.assert_allclose(points.dimension_values(0), np.log2(one.radius))
    np.testing.assert_allclose(points.dimension_values(1), one.curve)
    np.testing.assert_allclose(line.dimension_values(1), one.fitted)
    assert options(line)["title"].startswith(f"neuron {one.neuron_id.item()}: suppression ")
    assert options(line)["xticks"][0] == (0.0, "1")


def test_a_curve_without_a_fit_joins_its_points(twin):
    result = insilico.measure_tuning(twin, [0], axes={"contrast": [0.1, 0.2, 0.3]})
    one = result.isel(neuron=0)
    line = parts(plots.plot_tuning_curve(one), hv.Curve)[0]
    np.testing.assert_allclose(line.dimension_values(1), one.evoked)
    np.testing.assert_allclose(line.dimension_values(0), [0.1, 0.2, 0.3])
    assert line.dimensions()[1].pprint_label == "mean response above blank (rate)"


def test_a_map_of_places_is_drawn_as_on_the_screen_with_its_centre(twin):
    one = insilico.EXPERIMENTS["position_tuning"](twin, [0]).isel(neuron=0)
    drawn = plots.plot_tuning_map(one)
    mesh = parts(drawn, hv.QuadMesh)[0]
    np.testing.assert_allclose(mesh.dimension_values(2, flat=False), one.evoked.T)
    assert options(mesh)["invert_yaxis"]
    mark = parts(drawn, hv.Scatter)[0].array()[0]
    np.testing.assert_allclose(mark, [one.center_x, one.center_y])


def test_a_third_axis_is_averaged_over(twin):
    axes = {"orientation": [0, 45, 90], "contrast": [0.2, 0.4], "phase": [0, 90, 180, 270]}
    fixed = {"spatial_frequency": 0.1}
    one = insilico.measure_tuning(twin, [0], axes=axes, fixed=fixed).isel(neuron=0)
    mesh = parts(plots.plot_tuning_map(one), hv.QuadMesh)[0]
    np.testing.assert_allclose(mesh.dimension_values(2, flat=False), one.evoked.mean("phase").T)
    assert not options(mesh)["invert_yaxis"]


def test_a_distribution_counts_every_defined_neuron():
    labels = {"long_name": "index", "units": "1"}
    angles = {"long_name": "preferred orientation", "units": "deg"}
    result = xr.Dataset(
        {
            "osi": ("neuron", [0.1, 0.2, 0.3, np.nan], labels),
            "preferred_orientation": ("neuron", [5.0, 175.0, 90.0, 91.0], angles),
        }
    )
    bars = plots.plot_tuning_distribution(result, "osi")
    assert bars.dimension_values("neurons").sum() == 3
    assert options(bars)["title"] == "median 0.2, 1 undefined"
    wheel = plots.plot_tuning_distribution(result, "preferred_orientation")
    assert options(wheel)["cmap"] == "colorwheel"
    assert options(wheel)["clim"] == (0, 180)
    assert (wheel.edges[0], wheel.edges[-1]) == (0, 180)


def test_distributions_are_compared_as_cumulative_curves():
    generator = np.random.default_rng(0)
    first, second = {"osi": generator.uniform(size=90)}, {"osi": generator.uniform(size=50) ** 2}
    result = insilico.compare_tuning_distributions(first, second)
    drawn = plots.plot_result(result)
    silico, vivo = parts(drawn, hv.Curve)
    assert (silico.label, vivo.label) == ("in silico", "in vivo")
    np.testing.assert_allclose(silico.dimension_values(0)[[0, -1]], np.sort(first["osi"])[[0, -1]])
    title = options(parts(drawn, hv.Overlay)[0])["title"]
    assert title.startswith(f"KS {float(result.ks_statistic[0]):.2f}, Wasserstein")


def test_distributions_of_angles_are_drawn_once_around():
    generator = np.random.default_rng(0)
    first, second = generator.uniform(0, 180, 300), generator.normal(90, 20, 200)
    result = insilico.compare_angle_distributions(first, second, period=180.0, n_permutation=99)
    drawn = plots.plot_result(result)
    silico, vivo = parts(drawn, hv.Curve)
    assert (silico.label, vivo.label) == ("in silico", "in vivo")
    assert silico.dimension_values(0)[[0, -1]].tolist() == [0, 180]
    shares = vivo.dimension_values(1)
    assert shares[0] == shares[-1]
    np.testing.assert_allclose(shares[:-1], result.share.sel(source="in vivo"))
    assert options(parts(drawn, hv.Overlay)[0])["title"].endswith("p 0.01")


@pytest.mark.parametrize("name", ["size_tuning", "cross_orientation_tuning", "position_tuning"])
def test_whole_results_are_drawn_by_both_backends(twin, name, tmp_path):
    result = insilico.EXPERIMENTS[name](twin, [0, 1])
    figure = plots.plot_result(result)
    plots.save_figure(figure, tmp_path / "figure.png")
    hv.render(figure, backend="bokeh")


def test_a_large_result_shows_the_population_too(size):
    many = xr.concat([size] * 5, "neuron", data_vars="minimal")
    many = make_result(many, experiment="size_tuning")
    drawn = plots.plot_result(many)
    assert len(parts(drawn, hv.Scatter)) == 12
    assert parts(drawn, hv.Histogram)[0].dimension_values("neurons").sum() == 15


def test_every_tuning_experiment_has_a_figure():
    assert set(insilico.PROTOCOLS) == {
        name.removesuffix("_tuning") for name in insilico.EXPERIMENTS if name.endswith("_tuning")
    }
    assert {f"{name}_tuning" for name in insilico.PROTOCOLS} <= set(plots.PLOTS)
    assert {"preferences", "parametric_tuning", "tuning_comparison"} <= set(plots.PLOTS)


def test_preferences_are_drawn_as_distributions(twin, tmp_path):
    result = insilico.measure_preferences(twin, [0, 1, 2], radius=False)
    figure = plots.plot_result(result)
    assert len(parts(figure, hv.Histogram)) == 4
    hv.render(figure, backend="bokeh")
    plots.save_figure(figure, tmp_path / "figure.png")


def test_another_neuron_and_the_members_are_drawn_beside_the_tuning(twin):
    result = insilico.measure_orientation_tuning(twin, [0, 3])
    one, other = result.isel(neuron=0), result.isel(neuron=1)
    members = xr.concat([0.5 * one.evoked_curve, 2 * one.evoked_curve], "member")
    drawn = plots.plot_tuning(one, beside=other, members=members)
    curves = [part for part in parts(drawn, hv.Curve) if type(part) is hv.Curve]
    np.testing.assert_allclose(curves[1].dimension_values(1)[:-1], other.evoked_curve)
    (band,) = parts(drawn, hv.Area)
    np.testing.assert_allclose(band.dimension_values(1)[:-1], 0.5 * one.evoked_curve)
    np.testing.assert_allclose(band.dimension_values(2)[:-1], 2 * one.evoked_curve)
    low, high = options(curves[0])["ylim"]
    assert low <= 0
    assert high >= 2 * float(one.evoked_curve.max())
    hv.render(drawn, backend="matplotlib")


def test_recorded_responses_are_drawn_with_their_errors(size):
    one = size.isel(neuron=1)
    measured = xr.Dataset(
        {"response": one.curve + 1, "standard_error": 0 * one.curve + 0.5}, one.curve.coords
    )
    drawn = plots.plot_tuning_curve(one, measured=measured)
    np.testing.assert_allclose(parts(drawn, hv.Scatter)[1].dimension_values(1), one.curve + 1)
    bars = parts(drawn, hv.Segments)[0]
    np.testing.assert_allclose(bars.dimension_values(3) - bars.dimension_values(1), 1.0)
    np.testing.assert_allclose(bars.dimension_values(0), np.log2(one.radius))


def test_a_map_of_nothing_is_drawn_white_without_a_warning(twin):
    one = insilico.EXPERIMENTS["position_tuning"](twin, [0]).isel(neuron=0)
    mesh = parts(plots.plot_tuning_map(one.assign(evoked=one.evoked * np.nan)), hv.QuadMesh)[0]
    assert options(mesh)["cmap"] == ["#ffffff"]
    hv.render(mesh, backend="bokeh")
