"""The demo's report: one HTML file with its pictures inside."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np
import xarray as xr

from twinlab import __version__, plots
from twinlab.cli.pages import number, pixels, section, table, write_page

__all__ = ["write_report"]

SCORES = {
    "single_trial_correlation": "oracle_correlation",
    "correlation_to_average": "cc_max",
    "feve": "explainable_variance",
    "cc_norm": "",
}
N_EXAMPLES = 8  # half of them simple cells


def write_report(
    path: Path,
    *,
    recording: xr.Dataset,
    history: xr.Dataset,
    baselines: xr.Dataset,
    scores: xr.Dataset,
    tuning: xr.Dataset,
    mei: xr.Dataset,
    found: xr.Dataset,
    prediction: xr.DataArray,
    findings: list[str],
    how: str,
) -> Path:
    """Write the report whole, and return where it is.

    Parameters
    ----------
    path : Path
    recording, history, baselines, scores, tuning, mei, prediction
        What the demo's steps made.
    found : xarray.Dataset
        Found against planted, along `neuron`.
    findings : list of str
        The findings in words.
    how : str
        The command that opens the explorer.

    """
    simple = np.flatnonzero(found.true_type.values == "simple")
    examples = simple[np.argsort(-found.truth_correlation.values[simple])][: N_EXAMPLES // 2]
    other = np.flatnonzero(found.true_type.values != "simple")
    examples = np.r_[
        examples, other[np.argsort(-found.truth_correlation.values[other])][: N_EXAMPLES // 2]
    ]
    trials = {s: int((recording.split.values == s).sum()) for s in ("train", "validation", "test")}
    sections = [
        section(
            "What was recorded",
            f"{recording.sizes['neuron']} simulated neurons of mouse-like visual cortex saw "
            f"{recording.sizes['image']} dead-leaves images in {trials['train']} training, "
            f"{trials['validation']} validation and {trials['test']} test trials (each test image "
            "10 times), while the animal ran, its pupil dilated and its eyes moved. Responses are "
            "Poisson counts whose reliability is that of real recordings.",
            plots.plot_map(
                found, "preferred_orientation", title="preferred orientation in cortex"
            ),
        ),
        section(
            "Did the fit work?",
            "Two twins were fitted from different seeds. Below, against the two models a twin "
            "must beat: the mean response, which has no correlation, and one filter with one "
            "curve a neuron (linear-nonlinear). Validation trials.",
            _baselines(baselines),
            plots.plot_history(history),
        ),
        section(
            "Can it be trusted?",
            "Scores on test images that no fit has seen, averaged over neurons with 95 % "
            "intervals (bootstrap over images), each beside the best that noise allows. The "
            "oracle predicts each trial by the average of the others with the same image. A twin "
            "that also knows gaze and arousal, as these do, can pass it.",
            _scores(scores),
            plots.plot_scores(scores),
        ),
        section(
            "Does it find what was planted?",
            "Only a simulated cortex can say. Nothing below uses noisy responses: predictions are "
            "compared with the noise-free ones, preferred orientations and most exciting inputs "
            "with the true filters.",
            plots.plot_truth(found),
        ),
        section(
            "Tuning",
            "Responses to full-field gratings: the mean over phases, at each neuron's preferred "
            "spatial frequency.",
            plots.PLOTS["tuning"](tuning.isel(neuron=examples)),
        ),
        section(
            "Most exciting inputs",
            "For eight neurons, the image that excites the first twin most, at a fixed norm "
            "(above), and the neuron's true filter (below). The last four are not simple cells: "
            "their best image may have another phase than the filter shown.",
            _gallery(mei, recording, found, examples),
        ),
        section(
            "Cross-examination",
            "Each image was made on the first twin. It is shown here beside the best natural "
            "image and the best Gabor of the same norm, on the twin that made it and on the one "
            "that did not: what does not transfer is a property of the twin, not of the neuron.",
            plots.plot_mei_comparison(mei),
        ),
    ]
    words = "\n".join(escape(line.strip()) for line in findings)
    return write_page(
        path,
        "twinlab demo",
        f"recording {recording.attrs['recording_id']} (fingerprint "
        f"{recording.attrs['fingerprint']}), twin {prediction.attrs['twin']}, twinlab "
        f"{__version__}",
        f"<section><h2>In short</h2><pre>{words}</pre><p>Explore it live:</p>"
        f"<pre>{escape(how)}</pre></section>\n",
        *sections,
    )


def _baselines(baselines: xr.Dataset) -> str:
    rows = [["model", "Poisson loss", "single-trial correlation"]]
    for name in baselines.model.values.tolist():
        one = baselines.sel(model=name)
        rows.append(
            [
                name.replace("_", "-"),
                number(float(one.validation_loss)),
                number(float(one.validation_correlation)),
            ]
        )
    return table(rows)


def _scores(scores: xr.Dataset) -> str:
    rows = [["score", "mean", "95 % interval", "neurons", "beside it", ""]]
    for name, ceiling in SCORES.items():
        low, high = scores[f"mean_{name}_interval"].values
        rows.append(
            [
                scores[name].attrs["long_name"],
                number(float(scores[f"mean_{name}"])),
                f"{number(low)} to {number(high)}",
                str(int(scores[f"n_defined_{name}"])),
                scores[ceiling].attrs["long_name"] if ceiling else "",
                number(float(scores[f"mean_{ceiling}"])) if ceiling else "",
            ]
        )
    return table(rows)


def _gallery(
    mei: xr.Dataset, recording: xr.Dataset, found: xr.Dataset, examples: np.ndarray
) -> str:
    tiles = []
    for neuron in examples:
        kind = str(found.true_type.values[neuron])
        similarity = float(found.filter_correlation[neuron])
        words = f"{kind}, r = {similarity:.2f}" if kind == "simple" else kind
        planted = recording.true_filter.values[neuron].mean(axis=0)
        planted = 127.5 + 127.5 * planted / np.abs(planted).max()
        pair = pixels(mei.mei.values[neuron].mean(axis=0)) + pixels(planted)
        tiles.append(f"<figure>{pair}<figcaption>{escape(words)}</figcaption></figure>")
    return f'<div class="gallery">{"".join(tiles)}</div>'
