import holoviews as hv
import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import insilico, plots
from twinlab.twins import StimulusSpec, wrap_callable

SPEC = StimulusSpec(1, 8, 12, 110.0, 55.0)


@pytest.fixture(scope="module")
def results():
    """Of a linear neuron, an energy neuron and one that nothing excites."""
    filters = np.linalg.qr(np.random.default_rng(0).standard_normal((96, 3)))[0].T
    weights = torch.as_tensor(filters - filters.mean(1, keepdims=True), dtype=torch.float32)

    def rates(images):
        drive = ((images - 110) / 55).flatten(1) @ weights.T
        silent = 0 * drive[:, 0]
        kinds = [torch.nn.functional.softplus(drive[:, 0]), drive[:, 1:].square().sum(1), silent]
        return torch.stack(kinds, 1)

    twin = wrap_callable(rates, SPEC, 3, name="planted").condition()
    few = {"norm": 3.0, "n_step": 20}
    return {
        "lei": insilico.synthesize_lei(twin, **few),
        "suppressor": insilico.synthesize_suppressor(twin, **few),
        "diverse": insilico.synthesize_diverse(twin, n_image=3, **few),
        "ring": insilico.synthesize_ring(twin, n_point=4, **few),
        "clusters": insilico.cluster_by_stimuli(twin, max_clusters=1, n_round=1, **few),
    }


@pytest.fixture(scope="module")
def moving():
    """Results of a linear and an energy neuron that see videos in z units."""
    spec = StimulusSpec(1, 8, 12, 0.0, 1.0, -2.5, 3.0, frame_rate=20.0)
    filters = np.linalg.qr(np.random.default_rng(0).standard_normal((96, 3)))[0].T
    weights = torch.as_tensor(filters - filters.mean(1, keepdims=True), dtype=torch.float32)

    def rates(videos):
        drive = videos.movedim(2, 1).flatten(2) @ weights.T  # (batch, frame, filter)
        kinds = [torch.nn.functional.softplus(drive[..., 0]), drive[..., 1:].square().sum(-1)]
        return torch.stack(kinds, 1)

    neurons = xr.Dataset(
        coords={"neuron_id": ("neuron", [0, 1]), "session": ("neuron", ["planted"] * 2)}
    )
    twin, other = (
        wrap_callable(rates, spec, neurons, name=name).condition() for name in ("planted", "other")
    )
    few = {"norm": 3.0, "n_step": 10, "n_frame": 6}
    mei = insilico.synthesize_mei(twin, **few)
    clips = np.random.default_rng(0).standard_normal((3, 1, 6, 8, 12))
    return {
        "mei": insilico.cross_examine(mei, twin, other, clips, n_step=2),
        "lei": insilico.synthesize_lei(twin, **few),
        "diverse": insilico.synthesize_diverse(twin, n_image=3, **few),
        "ring": insilico.synthesize_ring(twin, n_point=4, **few),
        "clusters": insilico.cluster_by_stimuli(twin, max_clusters=1, n_round=1, **few),
    }


def titles(figure):
    found = []
    for part in figure.traverse(lambda part: part, [hv.Overlay, hv.Image]):
        options = hv.Store.lookup_options("matplotlib", part, "plot").kwargs
        found.append(options.get("title", ""))
    return " ".join(found)


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
@pytest.mark.parametrize("name", ["lei", "suppressor", "diverse", "ring", "clusters"])
def test_every_figure_is_drawn_by_both_backends(results, name, backend):
    hv.renderer(backend).get_plot(plots.plot_result(results[name]))


def test_what_is_not_there_is_said(results):
    assert "not unique" in titles(plots.plot_result(results["lei"]))
    assert "nothing led further" in titles(plots.plot_result(results["lei"]))
    assert "nothing led further" in titles(plots.plot_result(results["suppressor"]))
    assert "no MEI" in titles(plots.plot_diverse(results["diverse"].isel(neuron=2)))
    assert "no MEI" in titles(plots.plot_ring(results["ring"].isel(neuron=2)))


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
@pytest.mark.parametrize("name", ["mei", "lei", "diverse", "ring", "clusters"])
def test_videos_are_drawn_by_both_backends_in_their_own_grey_levels(moving, name, backend):
    figure = plots.plot_result(moving[name])
    hv.renderer(backend).get_plot(figure)
    pictures = figure.traverse(lambda part: part, [hv.Image])
    limits = [hv.Store.lookup_options(backend, part, "plot").kwargs["clim"] for part in pictures]
    assert limits
    assert set(limits) == {(-2.5, 3.0)}


def test_a_video_of_a_set_is_a_row_of_frames_with_their_times(moving):
    drawn = plots.plot_diverse(moving["diverse"].isel(neuron=1))
    captions = drawn.traverse(lambda part: part, [hv.Labels])[0].dimension_values("caption")
    assert list(captions[1:6]) == ["0.05 s", "0.10 s", "0.15 s", "0.20 s", "0.25 s"]
    assert captions[6].endswith("%")
    wall = drawn.traverse(lambda part: part, [hv.Image])[0].dimension_values(2, flat=False)
    video = moving["diverse"].image.values[1, 2, 0]
    height = wall.shape[0] // 3
    np.testing.assert_array_equal(wall[2 * height : 2 * height + 8, :12], video[0])
    np.testing.assert_array_equal(wall[2 * height : 2 * height + 8, -12:], video[-1])
