"""A recording drawn: its stimuli, responses, repeats and what the animal did."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab.plots.style import COLORS, axis_of, bounds_of, styled

__all__ = [
    "plot_behavior",
    "plot_histogram",
    "plot_pupil",
    "plot_raster",
    "plot_raster_marks",
    "plot_repeats",
    "plot_session",
    "plot_trials",
]

SIZE = (146, 126)
SPREADS = (0.0, 4.0)  # standard deviations from white to black in a raster


def plot_histogram(
    variable: xr.DataArray,
    *,
    mark: float | None = None,
    count: str = "number",
    title: str = "",
    n_bin: int = 30,
    color: str = "twin",
    size: tuple[int, int] = SIZE,
) -> hv.Overlay:
    """Draw how the values of a variable are distributed; NaN is left out.

    Parameters
    ----------
    variable : DataArray
        With `long_name` and `units`.
    mark : float, optional
        Value at which a dashed line stands, a mean or a limit.
    count : str
        What is counted.
    title : str
    n_bin : int
    color : str
        Name of one of the house's colours.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    values = variable.values[np.isfinite(variable.values)].astype(float)
    number, edges = np.histogram(values, n_bin, bounds_of(values, margin=0.0))
    top = 1.1 * max(int(number.max()), 1)
    bars = styled(
        hv.Histogram((edges, number), kdims=[axis_of(variable)], vdims=[count]),
        size=size,
        color=COLORS[color],
        title=title,
        ylim=(0, top),
        xlim=bounds_of(values, np.array([] if mark is None else [mark]), margin=0.02),
        framewise=True,
        bokeh={"line_color": "white"},
        matplotlib={"edgecolor": "white", "linewidth": 0.4},
    )
    lines = [] if mark is None else [(mark, 0, mark, top)]
    line = styled(
        hv.Segments(lines, ["x0", "y0", "x1", "y1"]),
        color=COLORS["other"],
        bokeh={"line_width": 2, "line_dash": "dashed"},
        matplotlib={"linewidth": 1.6, "linestyle": "--"},
    )
    return styled(bars * line, size=size)  # in print an overlay has a size of its own


def plot_repeats(summary: xr.Dataset, *, size: tuple[int, int] = SIZE) -> hv.Histogram:
    """Draw how many stimuli were shown how many times.

    Parameters
    ----------
    summary : Dataset
        With `n_stimulus` along `times_shown`, whole numbers from 0.
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Histogram

    """
    count = summary.n_stimulus.values
    # One stimulus beside thousands must be seen. Heights are logarithms from a half on: a
    # logarithmic axis spoils the frame in print.
    height = np.log10(np.maximum(count, 0.5) / 0.5)
    decades = 10.0 ** np.arange(np.ceil(np.log10(max(count.max(), 1))) + 1)
    edges = np.arange(len(count) + 1) - 0.5
    bars = hv.Histogram(
        (edges, height), kdims=["times shown"], vdims=[axis_of(summary.n_stimulus)]
    )
    return styled(
        bars,
        size=size,
        color=COLORS["twin"],
        ylim=(0.0, float(np.log10(decades[-1] / 0.5))),
        xlim=(0.0, float(len(count))),
        yticks=[(float(np.log10(n / 0.5)), f"{n:g}") for n in decades],
        title="repeats",
        bokeh={"line_color": "white"},
        matplotlib={"edgecolor": "white", "linewidth": 0.4},
    )


def plot_raster(
    summary: xr.Dataset, *, title: str = "", size: tuple[int, int] = (1080, 330)
) -> hv.Image:
    """Draw the responses of many neurons, one line each, in units of their spread.

    Parameters
    ----------
    summary : Dataset
        With `raster` (raster_neuron, raster_column).
    title : str
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Image

    """
    raster = summary.raster
    n_neuron, n_column = raster.shape
    label = str(summary.raster_column.attrs.get("long_name", "trial"))
    picture = hv.Image(
        (np.arange(n_column), np.arange(n_neuron), raster.values),
        kdims=[hv.Dimension(("column", label)), hv.Dimension(("neuron", "neuron"))],
        # said, for where all is missing there is no range to find
        vdims=[axis_of(raster).clone(range=SPREADS)],
        xdensity=1,  # which cannot be told from one neuron or trial
        ydensity=1,
    )
    return styled(
        picture,
        size=size,
        cmap="gray_r",
        clim=SPREADS,
        colorbar=True,
        title=title,
        xlim=(-0.5, n_column - 0.5),
        ylim=(-0.5, n_neuron - 0.5),
        yticks=sorted({0, n_neuron // 2, n_neuron - 1}),
        invert_yaxis=True,
        framewise=True,
        clipping_colors={"NaN": "#f3d9c4"},
    )


def plot_raster_marks(summary: xr.Dataset, *, neuron: int, stimulus: int) -> hv.Points:
    """Mark one neuron at the left of a raster, and one stimulus at its top.

    Parameters
    ----------
    summary : Dataset
        From `recordings.sample_raster`; what is not drawn is not marked.
    neuron : int
        Position in the recording.
    stimulus : int
        Number of the stimulus.

    Returns
    -------
    holoviews.Points

    """
    n_neuron, n_column = summary.raster.shape
    rows = np.flatnonzero(summary.neuron.values == neuron)
    columns = np.flatnonzero(summary.stimulus_index.values == stimulus)
    left, top = 0.004 * n_column - 0.5, 0.015 * n_neuron - 0.5
    marks = [(left, row) for row in rows] + [(column, top) for column in columns]
    return styled(
        hv.Points(marks, kdims=["column", "neuron"]),
        color=COLORS["other"],
        bokeh={"size": 7, "marker": "diamond"},
        matplotlib={"s": 20, "marker": "D"},
    )


def plot_session(
    summary: xr.Dataset, *, title: str = "", size: tuple[int, int] = (1080, 240)
) -> hv.Overlay:
    """Draw the mean response from the beginning of the session to its end.

    Parameters
    ----------
    summary : Dataset
        With `session_response` and `session_error` (standard error) along `session_trial`.
    title : str
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay

    """
    mean, error = summary.session_response, summary.session_error.values
    axes = axis_of(summary.session_trial), axis_of(mean)
    low, high = mean.values - error, mean.values + error
    band = styled(
        hv.Area((summary.session_trial.values, low, high), axes[0], [axes[1], "upper"]),
        size=size,
        color=COLORS["twin"],
        title=title,
        ylim=bounds_of(low, high, np.zeros(1)),
        framewise=True,
        bokeh={"alpha": 0.25, "line_alpha": 0},
        matplotlib={"alpha": 0.25, "linewidth": 0},
    )
    line = styled(
        hv.Curve((summary.session_trial.values, mean.values), *axes),
        color=COLORS["twin"],
        bokeh={"line_width": 2},
        matplotlib={"linewidth": 1.6},
    )
    return styled(band * line, size=size)


def plot_behavior(summary: xr.Dataset, *, size: tuple[int, int] = SIZE) -> hv.Layout:
    """Draw how each channel of behaviour is distributed over trials.

    Parameters
    ----------
    summary : Dataset
        With `behavior` (trial, behavior_channel).
    size : (int, int)
        Width and height of each frame in pixels.

    Returns
    -------
    holoviews.Layout

    """
    panels = []
    for name in summary.behavior_channel.values.tolist():
        channel = summary.behavior.sel(behavior_channel=name)
        label = str(name).replace("_", " ")
        channel = channel.rename(str(name)).assign_attrs(long_name=label, units="")
        panels.append(plot_histogram(channel, count="trials", title=label, size=size))
    return hv.Layout(panels).opts(shared_axes=False).cols(3)


def plot_pupil(
    summary: xr.Dataset, *, title: str = "pupil position", size: tuple[int, int] = (126, 126)
) -> hv.Points:
    """Draw where the pupil was in each trial.

    Parameters
    ----------
    summary : Dataset
        With `pupil_center` (trial, axis).
    title : str
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Points

    """
    x, y = summary.pupil_center.transpose("axis", "trial").values
    points = hv.Points((x, y), kdims=["horizontal", "vertical"])
    return styled(
        points,
        size=size,
        color=COLORS["twin"],
        alpha=0.25,
        title=title,
        xlim=bounds_of(x),
        ylim=bounds_of(y),
        bokeh={"size": 3},
        matplotlib={"s": 5},
    )


def plot_trials(
    summary: xr.Dataset, *, title: str = "", size: tuple[int, int] = (440, 130)
) -> hv.Overlay:
    """Draw one neuron's response in every trial, those to one image in colour.

    Parameters
    ----------
    summary : Dataset
        From `recordings.summarise_repeats`.
    title : str
    size : (int, int)
        Width and height of the frame in pixels.

    Returns
    -------
    holoviews.Overlay
        All trials; those of the image; a line at their mean.

    """
    trial, response, shown = summary.trial.values, summary.response.values, summary.shown.values
    axes = axis_of(summary.trial), axis_of(summary.response)
    layers = []
    for chosen, color, on_screen, in_print in (
        (shown == 0, "weak", 3, 4),
        (shown == 1, "other", 8, 26),
    ):
        layers.append(
            styled(
                hv.Scatter((trial[chosen], response[chosen]), *axes),
                size=size,
                color=COLORS[color],
                title=title,
                xlim=(-1.0, float(len(trial))),
                ylim=bounds_of(response, np.zeros(1)),
                framewise=True,
                bokeh={"size": on_screen},
                matplotlib={"s": in_print},
            )
        )
    mean = float(summary.mean_response)
    line = styled(
        hv.Segments([(-1.0, mean, float(len(trial)), mean)], ["x0", "y0", "x1", "y1"]),
        color=COLORS["other"],
        bokeh={"line_width": 1.5, "line_dash": "dashed"},
        matplotlib={"linewidth": 1.4, "linestyle": "--"},
    )
    return styled(hv.Overlay([*layers, line]), size=size)
