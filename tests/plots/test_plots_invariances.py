import holoviews as hv
import numpy as np
import pytest
import torch

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
@pytest.mark.parametrize("name", ["lei", "diverse", "ring", "clusters"])
def test_every_figure_is_drawn_by_both_backends(results, name, backend):
    hv.extension(backend)
    hv.renderer(backend).get_plot(plots.plot_result(results[name]))


def test_what_is_not_there_is_said(results):
    assert "not unique" in titles(plots.plot_result(results["lei"]))
    assert "nothing led further" in titles(plots.plot_result(results["lei"]))
    assert "no MEI" in titles(plots.plot_diverse(results["diverse"].isel(neuron=2)))
    assert "no MEI" in titles(plots.plot_ring(results["ring"].isel(neuron=2)))
