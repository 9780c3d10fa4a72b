"""Twins put to the test, drawn: predicted against observed, and maker against verifier."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.neurons import plot_scores
from twinlab.plots.recording import plot_histogram
from twinlab.plots.style import COLORS, axis_of, bounds_of, styled

__all__ = ["plot_agreement", "plot_verification"]

SIZE = (260, 240)
N_BIN = 20


def plot_agreement(
    result: xr.Dataset, *, n_shown: int = 3, size: tuple[int, int] = SIZE
) -> hv.Layout:
    """Draw how well responses were predicted: all neurons, and some of them stimulus by stimulus.

    First the correlation of each neuron against its ceiling, its distribution, and that of the
    correlation in units of the ceiling. Then predicted against observed mean response to each
    stimulus, of neurons evenly spaced from the best to the worst predicted; on the dashed line
    they agree.

    Parameters
    ----------
    result : Dataset
        From `loop.compare_prediction`.
    n_shown : int
        Neurons drawn stimulus by stimulus.
    size : (int, int)
        Width and height of each frame in pixels.

    Returns
    -------
    holoviews.Layout

    """
    defined = int(result.cc_norm.notnull().sum())
    panels = [
        *plot_scores(result, score="correlation", size=size),
        plot_histogram(
            result.cc_norm,
            mark=float(result.mean_cc_norm) if defined else None,
            count="neurons",
            title=f"mean {float(result.mean_cc_norm):.2f}, {defined} of {result.cc_norm.size}",
            n_bin=N_BIN,
            size=size,
        ),
    ]
    ranked = np.argsort(-result.correlation.values, kind="stable")  # NaN last
    ranked = ranked[: int(result.correlation.notnull().sum())]
    some = np.unique(
        np.linspace(0, len(ranked) - 1, min(n_shown, len(ranked))).round().astype(int)
    )
    for i in ranked[some]:
        one = result.isel(neuron=i)
        values = [one.predicted.values, one.observed.values]
        axes = axis_of(one.predicted), axis_of(one.observed)
        low, high = bounds_of(*values)
        panels.append(
            styled(
                hv.Curve([(low, low), (high, high)], *axes),
                size=size,
                color=COLORS["guide"],
                xlim=(low, high),
                ylim=(low, high),
                framewise=True,
                title=f"neuron {one.neuron.item()}: r = {float(one.correlation):.2f}",
                bokeh={"line_dash": "dashed"},
                matplotlib={"linestyle": "--"},
            )
            * styled(
                hv.Scatter(tuple(values), *axes),
                color=COLORS["measured"],
                alpha=0.7,
                bokeh={"size": 4},
                matplotlib={"s": 12},
            )
        )
    return hv.Layout(panels).opts(shared_axes=False).cols(3)


def plot_verification(result: xr.Dataset, *, size: tuple[int, int] = SIZE) -> hv.Layout:
    """Draw what the twin that made stimuli predicts against what one predicts that did not.

    Left, predicted responses: blue the stimuli, grey the best natural images of the same norm.
    Right, their ratio. On the dashed line both twins agree; below it, a stimulus flatters its
    maker. A ratio is not drawn where a natural image is predicted to do nothing.

    Parameters
    ----------
    result : Dataset
        From `insilico.cross_examine`.
    size : (int, int)
        Width and height of each frame in pixels.

    Returns
    -------
    holoviews.Layout

    """
    own, other = result.activation.values, result.activation_other.values
    natural, natural_other = (
        result[f"activation_natural{judge}"].values for judge in ("", "_other")
    )
    ratio, ratio_other = (
        a / np.where(b > 0, b, np.nan) for a, b in ((own, natural), (other, natural_other))
    )
    kind = str(result.attrs["experiment"]).upper()
    clouds = {
        f"response to the {kind}": [(natural, natural_other, "guide"), (own, other, "twin")],
        f"{kind} / best natural image": [(ratio, ratio_other, "twin")],
    }
    panels = []
    for number, (what, groups) in enumerate(clouds.items()):
        low, high = bounds_of(*(values for x, y, _ in groups for values in (x, y)), np.zeros(1))
        axes = (
            hv.Dimension((f"own_{number}", f"{what}, by its twin")),
            hv.Dimension((f"other_{number}", "by the verifier")),
        )
        line = styled(
            hv.Curve([(low, low), (high, high)], *axes),
            size=size,
            color=COLORS["guide"],
            xlim=(low, high),
            ylim=(low, high),
            bokeh={"line_dash": "dashed"},
            matplotlib={"linestyle": "--"},
            title=f"{int(np.isfinite(groups[-1][0] + groups[-1][1]).sum())} neurons",
        )
        points = [
            styled(
                hv.Scatter((x, y), *axes), color=COLORS[color], bokeh={"size": 6},
                matplotlib={"s": 22},
            )
            for x, y, color in groups
        ]  # fmt: skip
        panels.append(hv.Overlay([line, *points]))
    return hv.Layout(panels).opts(shared_axes=False)
