import holoviews as hv
import numpy as np
import xarray as xr

from twinlab import evaluation, plots


def labelled(values):
    coords = {
        "stimulus_index": ("trial", np.arange(len(values))),
        "neuron_id": ("neuron", np.arange(values.shape[1])),
    }
    return xr.DataArray(values, dims=("trial", "neuron"), coords=coords)


def test_a_calibrated_twin_lies_on_the_diagonal(tmp_path):
    """Places of responses in their predicted distributions are drawn evenly: calibrated."""
    rng = np.random.default_rng(0)
    place, score = labelled(rng.uniform(size=(2000, 3))), labelled(np.zeros((2000, 3)))
    response = labelled(rng.normal(size=(2000, 3)))
    found = evaluation.score_calibration(response, xr.Dataset({"cdf": place, "log_score": score}))
    figure = plots.plot_result(found)
    hv.render(figure, backend="bokeh")
    plots.save_figure(figure, tmp_path / "figure.png")
    curves = figure.traverse(lambda part: part, [hv.Curve])
    pooled = max(curves, key=len)  # the other is the diagonal itself
    assert np.abs(pooled.dimension_values(0) - pooled.dimension_values(1)).max() < 0.05
