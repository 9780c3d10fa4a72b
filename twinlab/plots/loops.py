"""Inception loops drawn: who answers to whose stimulus, controls, power."""

from __future__ import annotations

import json

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.recording import plot_histogram
from twinlab.plots.style import COLORS, axis_of, bounds_of, styled

__all__ = [
    "plot_confusion",
    "plot_controls",
    "plot_power",
    "plot_rounds",
    "plot_specificity",
    "sort_confusion",
]

SIZE = (260, 240)
LEVEL = 0.05  # of the false discovery rate below which a neuron is drawn as shown
N_NAMED = 30  # neurons whose names have room along an axis
N_BIN = 20


def plot_confusion(result: xr.Dataset, *, size: tuple[int, int] = (440, 440)) -> hv.Overlay:
    """Draw the response of each neuron to each stimulus that was made for one.

    Neurons run from the one that prefers its own stimulus most to the one that does least, in
    rows and columns alike: a twin that is right gives a diagonal (framed). A dot in each column
    marks the stimulus to which the neuron answers most (least, if that was expected). Grey
    is undefined.

    Parameters
    ----------
    result : Dataset
        From `loop.compare_confusion`.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    sign = -1 if _setting(result, "expect") == "least" else 1
    sorted_ = sort_confusion(result).confusion
    matrix = sorted_.transpose("made_for", "neuron").values
    limit = float(np.nanmax(np.abs(matrix), initial=0.0)) or 1.0
    n = sorted_.sizes["neuron"]
    axes = [hv.Dimension("neuron that answers"), hv.Dimension("neuron it was made for")]
    names = _short(sorted_.neuron.values)
    ticks = list(enumerate(names)) if n <= N_NAMED else 5
    picture = styled(
        hv.Image(
            (np.arange(n), np.arange(n), matrix), kdims=axes, vdims=[axis_of(sorted_)]
        ),
        size=size,
        cmap="RdBu_r",
        clim=(-limit, limit),
        colorbar=True,
        clipping_colors={"NaN": COLORS["guide"]},
        invert_yaxis=True,
        xlim=(-0.5, n - 0.5),
        ylim=(-0.5, n - 0.5),
        xticks=ticks,
        yticks=ticks,
        xrotation=90 if n <= N_NAMED else 0,
        title=f"{n} neurons, by preference for their own",
        bokeh={"clabel": axis_of(sorted_).pprint_label},
        matplotlib={"clabel": axis_of(sorted_).pprint_label},
    )  # fmt: skip
    own = styled(
        hv.Rectangles([(i - 0.5, i - 0.5, i + 0.5, i + 0.5) for i in range(n)]),
        bokeh={"fill_alpha": 0, "line_color": COLORS["measured"], "line_width": 1.2},
        matplotlib={"facecolor": "none", "edgecolor": COLORS["measured"], "linewidth": 0.9},
    )
    known = np.flatnonzero(np.isfinite(matrix).any(0))
    best = np.nan_to_num(sign * matrix[:, known], nan=-np.inf).argmax(0)
    dots = styled(
        hv.Scatter((known, best), *axes),
        color=COLORS["measured"],
        bokeh={"size": max(2, min(7, size[0] / n / 3)), "line_color": "white"},
        matplotlib={
            "s": max(1, min(24, (size[0] / n / 4) ** 2)),
            "edgecolor": "white",
            "linewidth": 0.6,
        },
    )
    return picture * own * dots


def sort_confusion(result: xr.Dataset) -> xr.Dataset:
    """Sort a confusion matrix as it is drawn: from who prefers the own stimulus most."""
    order = np.argsort(-np.nan_to_num(result.specificity.values, nan=-np.inf), kind="stable")
    return result.isel(neuron=order, made_for=order)


def plot_rounds(result: xr.Dataset, *, size: tuple[int, int] = SIZE) -> hv.Overlay:
    """Draw how good the twin was after each round against the trials it had learnt from.

    Parameters
    ----------
    result : Dataset
        The group `rounds` of a loop, see `loop.gather_loop`.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    axes = axis_of(result.n_trial), axis_of(result.validation_correlation)
    x, y = result.n_trial.values, result.validation_correlation.values
    line = styled(
        hv.Curve((x, y), *axes),
        size=size,
        color=COLORS["guide"],
        xlim=bounds_of(x),
        ylim=bounds_of(y, np.zeros(1)),
        framewise=True,
        title="after each round",
    )
    points = styled(
        hv.Scatter((x, y), *axes), color=COLORS["twin"], bokeh={"size": 7}, matplotlib={"s": 30}
    )
    return line * points


def plot_specificity(result: xr.Dataset, *, size: tuple[int, int] = SIZE) -> hv.Layout:
    """Draw how far neurons prefer their own stimulus: its rank among all, and by how much.

    Left, ranks, 1 the best; dashed, what chance gives. Right, the standardised response to the
    own stimulus (its negative where the least was expected), of which chance gives a mean of 0
    (dotted); dashed, the mean.

    Parameters
    ----------
    result : Dataset
        From `loop.compare_confusion`.
    size : (int, int)
        Width and height of each frame in pixels.

    Returns
    -------
    holoviews.Layout

    """
    rank = result["rank"]
    n = result.sizes["made_for"]
    known = rank.values[np.isfinite(rank.values)]
    edges = np.linspace(0.5, n + 0.5, min(n, N_BIN) + 1)
    count = np.histogram(known, edges)[0]
    by_chance = known.size / (len(edges) - 1)
    top = 1.1 * max(int(count.max()), by_chance, 1)
    bars = styled(
        hv.Histogram((edges, count), kdims=[axis_of(rank)], vdims=["neurons"]),
        size=size,
        color=COLORS["twin"],
        ylim=(0, top),
        xlim=(0.5, n + 0.5),
        title=f"ranks of {known.size} neurons",
        bokeh={"line_color": "white"},
        matplotlib={"edgecolor": "white", "linewidth": 0.4},
    )
    chance = _line((0.5, by_chance, n + 0.5, by_chance), "--", "dashed")
    lower, upper = result.mean_specificity_interval.values
    words = f"mean {float(result.mean_specificity):.2f}"
    if np.isfinite([lower, upper]).all():
        words += f" [{lower:.2f}, {upper:.2f}]"
    amount = plot_histogram(
        result.specificity,
        mark=float(result.mean_specificity),
        count="neurons",
        title=words,
        n_bin=N_BIN,
        size=size,
    )
    zero = hv.VLine(0.0)
    zero = styled(
        zero, color=COLORS["measured"], bokeh={"line_dash": "dotted", "line_width": 1},
        matplotlib={"linestyle": ":", "linewidth": 1},
    )  # fmt: skip
    xlim = bounds_of(result.specificity.values, np.zeros(1))
    amount = styled(amount * zero, size=size, xlim=xlim)
    return hv.Layout([styled(bars * chance, size=size), amount]).opts(shared_axes=False)


def plot_controls(result: xr.Dataset, *, size: tuple[int, int] = SIZE) -> hv.Layout:
    """Draw each neuron's response to its own stimulus against that to its own control.

    One panel a control; on the dashed line they are equal. Blue are neurons for which the
    difference is shown by their own trials (false discovery rate below 0.05). The orange band is
    the median ratio and its interval, where they are positive and finite. Both axes are
    logarithmic; the title says how many neurons have responses that are not positive and are not
    drawn.

    Parameters
    ----------
    result : Dataset
        From `loop.compare_controls`.
    size : (int, int)
        Width and height of each frame in pixels.

    Returns
    -------
    holoviews.Layout

    """
    own = result.response.values
    panels = []
    for i, name in enumerate(result.control.values.astype(str)):
        other = result.response_control.values[i]
        with np.errstate(invalid="ignore"):
            drawn = (own > 0) & (other > 0)
            shown = drawn & (result.q_value.values[i] < LEVEL)
        every = np.concatenate([own[drawn], other[drawn]])
        low, high = (every.min(), every.max()) if every.size else (1.0, 1.0)
        # with two powers of ten in sight, or matplotlib names all that lies between
        decade = 10.0 ** np.floor(np.log10(low * high) / 2)
        low, high = min(low, decade) / 1.3, max(high, 10 * decade) * 1.3
        ends = np.array([low, high])
        axes = (
            hv.Dimension((f"control_{i}", f"response to the control {name}")),
            hv.Dimension(("own", str(result.response.attrs["long_name"]))),
        )
        ratio = float(result.median_ratio[i])
        lower, upper = result.median_ratio_interval.values[i]
        left_out = int((~drawn).sum())
        words = f"ratio {ratio:.2f} [{lower:.2f}, {upper:.2f}], {int(drawn.sum())} neurons"
        layers: list[hv.Dimensioned] = [
            styled(
                hv.Curve((ends, ends), *axes),
                size=size,
                color=COLORS["guide"],
                logx=True,
                logy=True,
                xlim=(low, high),
                ylim=(low, high),
                title=words + (f" ({left_out} not drawn)" if left_out else ""),
                bokeh={"line_dash": "dashed"},
                matplotlib={"linestyle": "--"},
            )
        ]
        if min(ratio, lower) > 0 and np.isfinite([ratio, upper]).all():
            corners = [(low, lower * low), (high, lower * high), (high, upper * high)]
            band = hv.Polygons([[*corners, (low, upper * low)]], list(axes))
            layers += [
                styled(
                    band,
                    bokeh={"fill_color": COLORS["other"], "fill_alpha": 0.25, "line_alpha": 0},
                    # HoloViews fills in its own blue where only one of the two is given
                    matplotlib={
                        "facecolor": COLORS["other"], "color": COLORS["other"], "alpha": 0.25,
                        "linewidth": 0,
                    },
                ),
                styled(hv.Curve((ends, ratio * ends), *axes), color=COLORS["other"]),
            ]  # fmt: skip
        for chosen, color in ((drawn & ~shown, COLORS["guide"]), (shown, COLORS["twin"])):
            layers.append(
                styled(
                    hv.Scatter((other[chosen], own[chosen]), *axes),
                    color=color,
                    bokeh={"size": 6},
                    matplotlib={"s": 24},
                )
            )
        panels.append(hv.Overlay(layers))
    return hv.Layout(panels).opts(shared_axes=False)


def plot_power(result: xr.Dataset, *, size: tuple[int, int] = SIZE) -> hv.Layout:
    """Draw the power to find an effect of one size against the number of units.

    One line a number of repeats, the more the darker; dashed, the power wanted. Where the result
    says how many units a session has, a dotted line marks them. One panel a control, if there
    are several.

    Parameters
    ----------
    result : Dataset
        From `loop.plan_power` or `loop.plan_next`.
    size : (int, int)
        Width and height of each frame in pixels.

    Returns
    -------
    holoviews.Layout

    """
    settings = json.loads(result.attrs["settings"])
    panels = []
    each = [result]
    if "control" in result.dims:
        each = [result.isel(control=i) for i in range(result.sizes["control"])]
    for one in each:
        axes = axis_of(one.n_unit), axis_of(one.power, "power")
        repeats = one.n_repeat.values
        units = one.n_unit.values
        layers: list[hv.Dimensioned] = [
            styled(
                hv.Curve((units, one.power.sel(n_repeat=n).values), *axes, label=f"{n} repeats"),
                color=COLORS["twin"],
                alpha=float(shade),
                bokeh={"line_width": 1 + 2 * shade},
                matplotlib={"linewidth": 1 + 2 * shade},
            )
            for n, shade in zip(repeats, np.linspace(0.35, 1, len(repeats)), strict=True)
        ]
        wanted = settings["power"]
        layers.append(_line((units.min(), wanted, units.max(), wanted), "--", "dashed"))
        if "n_unit" in settings:
            layers.append(_line((settings["n_unit"], 0, settings["n_unit"], 1), ":", "dotted"))
        against = f", against {one.control.item()}" if "control" in one.coords else ""
        panels.append(
            styled(
                styled(hv.Overlay(layers), size=size),
                logx=True,
                xlim=(float(units.min()), float(units.max())),
                ylim=(0, 1.02),
                title=f"ratio {settings['ratio']:g}{against}",
                legend_position="bottom_right",
                show_legend=True,
                # HoloViews takes the natural, matplotlib the decimal logarithm
                matplotlib={"aspect": np.log(10) * size[0] / size[1]},
            )
        )
    return hv.Layout(panels).opts(shared_axes=False)


def _line(ends: tuple[float, float, float, float], style: str, dash: str) -> hv.Segments:
    return styled(
        hv.Segments([ends], ["x0", "y0", "x1", "y1"]),
        color=COLORS["other"],
        bokeh={"line_width": 1.5, "line_dash": dash},
        matplotlib={"linewidth": 1.5, "linestyle": style},
    )


def _setting(result: xr.Dataset, name: str) -> str:
    return str(json.loads(result.attrs["settings"])[name])


def _short(names: np.ndarray) -> list[str]:
    """Names without their session, where there is but one."""
    words = [str(name).split("/", 1) for name in names]
    return [w[-1] for w in words] if len({w[0] for w in words}) == 1 else [str(n) for n in names]
