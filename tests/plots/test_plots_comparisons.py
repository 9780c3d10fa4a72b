import holoviews as hv
import numpy as np
import pytest
import torch

from twinlab import insilico, plots
from twinlab.twins import StimulusSpec, wrap_callable

SPEC = StimulusSpec(1, 8, 12, 110.0, 55.0)


def make_twin(seed, spec=SPEC):
    filters = np.random.default_rng(seed).standard_normal((3, 96))
    filters[0] = np.arange(96) % 7 - 3.0  # the same in every twin
    filters /= np.linalg.norm(filters, axis=1, keepdims=True)
    weights = torch.as_tensor(filters, dtype=torch.float32)

    def rates(images):
        z = (images - spec.mean) / spec.std
        return torch.nn.functional.softplus(z.flatten(1) @ weights.T)

    return wrap_callable(rates, spec, 3, name="planted").condition()


@pytest.fixture(scope="module")
def results():
    twin, other = make_twin(0), make_twin(1)
    image = np.random.default_rng(2).uniform(60, 160, (1, 8, 12))
    return {
        "controversial": insilico.synthesize_controversial(twin, other, norm=4.0, n_start=1),
        "metamer": insilico.synthesize_metamer(twin, image, n_start=2),
        "eigendistortions": insilico.measure_eigendistortions(twin, image),
        "iso_response": insilico.measure_iso_response(twin, norm=4.0),
    }


@pytest.fixture(scope="module")
def z_scored():
    """The same and more, of twins that see images in z units."""
    spec = StimulusSpec(1, 8, 12, 0.0, 1.0, -2.5, 3.0)
    twin, other = make_twin(0, spec), make_twin(1, spec)
    image = np.random.default_rng(2).uniform(-1, 1, (1, 8, 12))
    return {
        "controversial": insilico.synthesize_controversial(twin, other, norm=4.0, n_start=1),
        "metamer": insilico.synthesize_metamer(twin, image, n_start=1, n_step=3),
        "eigendistortions": insilico.measure_eigendistortions(twin, image),
        "occlusion": insilico.measure_occlusion(twin, n_image=2),
        "reconstruction": insilico.measure_reconstruction(twin, n_image=3, n_step=3),
    }


def parts(element, kind):
    return element.traverse(lambda part: part, [kind])


def captions(figure):
    return [str(word) for word in parts(figure, hv.Labels)[0].dimension_values(2)]


@pytest.mark.parametrize("name", ["controversial", "metamer", "eigendistortions", "iso_response"])
def test_every_figure_is_drawn_by_both_backends(results, name, tmp_path):
    figure = plots.plot_result(results[name])
    hv.render(figure, backend="bokeh")
    plots.save_figure(figure, tmp_path / "figure.png")


def test_a_pair_says_what_both_twins_answer_and_whether_it_decides(results):
    result = results["controversial"]
    same, different = (plots.plot_controversial(result.isel(neuron=n)) for n in (0, 1))
    titles = [parts(figure, hv.Image)[0].opts.get("plot").kwargs["title"]
              for figure in (same, different)]  # fmt: skip
    assert titles == ["neuron 0: not distinguishable", "neuron 1: distinguishable"]
    words = captions(different)
    assert len(words) == 4
    held = [word.split("other ")[1] for word in words[:2]]
    assert held[0] == held[1]  # the other twin is held in the first pair
    high = float(result.activation[1, 0, 1])
    assert words[1].startswith(f"twin {high:.3g}")


def test_metamers_stand_beside_their_target(results):
    result = results["metamer"]
    words = captions(plots.plot_metamer(result))
    assert words[0] == "target"
    assert len(words) == 3
    assert all(word.startswith("loss ") for word in words[1:])
    missed = result.assign(found=0 * result.found)
    assert all(word.startswith("not reached") for word in captions(plots.plot_metamer(missed))[1:])


def test_a_distortion_that_is_one_of_many_is_called_so(results):
    words = captions(plots.plot_eigendistortions(results["eigendistortions"]))
    assert words[0].startswith("top, λ ")
    assert "many" not in words[0]
    assert words[2] == "bottom, λ 0 (one of many)"


def test_contours_are_drawn_only_where_they_are(results):
    one = results["iso_response"].isel(neuron=1)
    figure = plots.plot_iso_response(one)
    lines = [line.array() for path in parts(figure, hv.Path)[1:] for line in path.split()]
    assert sum(len(line) for line in lines) >= int(np.isfinite(one.radius).sum())
    assert all(np.isfinite(line).all() for line in lines)
    radius = np.concatenate([np.hypot(*line.T) for line in lines])
    assert set(np.round(radius, 4)) == set(np.round(one.radius.values[one.radius.notnull()], 4))


@pytest.mark.parametrize(
    "name", ["controversial", "metamer", "eigendistortions", "occlusion", "reconstruction"]
)
def test_images_in_z_units_are_drawn_in_the_range_of_their_twin(z_scored, name):
    pictures = parts(plots.plot_result(z_scored[name]), hv.Image)
    grey = [picture for picture in pictures if picture.opts.get("style").kwargs["cmap"] == "gray"]
    assert grey
    limits = {picture.opts.get("plot").kwargs["clim"] for picture in grey}
    assert limits == {(-2.5, 3.0)}


def test_natural_images_shown_to_a_twin_of_z_units_are_in_them(z_scored):
    for shown in (z_scored["occlusion"].stimulus, z_scored["reconstruction"].original):
        assert -2.5 <= float(shown.min()) < -1
        assert 1 < float(shown.max()) <= 3.0
