"""The demo's report: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
import io
import tempfile
from html import escape
from pathlib import Path

import holoviews as hv
import matplotlib.image
import numpy as np
import xarray as xr

from twinlab import __version__, plots
from twinlab.files import write_whole

__all__ = ["write_report"]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #f6f7f9; margin: 0; }
main { max-width: 1060px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 30px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 0 0 4px; }
section { background: #fff; border: 1px solid #e3e6ea; border-radius: 8px; padding: 20px 24px;
          margin-top: 20px; }
p { margin: 4px 0 12px; max-width: 78ch; } .quiet { color: #5b6470; font-size: 14px; }
img { max-width: 100%; display: block; margin: 8px 0; }
table { border-collapse: collapse; font-size: 14px; margin: 8px 0 12px; }
th, td { text-align: right; padding: 4px 14px 4px 0; border-bottom: 1px solid #eceff2; }
th:first-child, td:first-child { text-align: left; }
pre { background: #f1f3f6; padding: 10px 14px; border-radius: 6px; overflow-x: auto;
      font-size: 14px; }
.gallery { display: grid; grid-template-columns: repeat(4, 1fr); gap: 14px; }
.gallery img { width: 100%; image-rendering: pixelated; margin: 0 0 4px; }
figure { margin: 0; } figcaption { font-size: 13px; color: #5b6470; }
"""
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
        _section(
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
        _section(
            "Did the fit work?",
            "Two twins were fitted from different seeds. Below, against the two models a twin "
            "must beat: the mean response, which has no correlation, and one filter with one "
            "curve a neuron (linear-nonlinear). Validation trials.",
            _baselines(baselines),
            plots.plot_history(history),
        ),
        _section(
            "Can it be trusted?",
            "Scores on test images that no fit has seen, averaged over neurons with 95 % "
            "intervals (bootstrap over images), each beside the best that noise allows. The "
            "oracle predicts each trial by the average of the others with the same image. A twin "
            "that also knows gaze and arousal, as these do, can pass it.",
            _scores(scores),
            plots.plot_scores(scores),
        ),
        _section(
            "Does it find what was planted?",
            "Only a simulated cortex can say. Nothing below uses noisy responses: predictions are "
            "compared with the noise-free ones, preferred orientations and most exciting inputs "
            "with the true filters.",
            plots.plot_truth(found),
        ),
        _section(
            "Tuning",
            "Responses to full-field gratings: the mean over phases, at each neuron's preferred "
            "spatial frequency.",
            plots.PLOTS["tuning"](tuning.isel(neuron=examples)),
        ),
        _section(
            "Most exciting inputs",
            "For eight neurons, the image that excites the first twin most, at a fixed norm "
            "(above), and the neuron's true filter (below). The last four are not simple cells: "
            "their best image may have another phase than the filter shown.",
            _gallery(mei, recording, found, examples),
        ),
        _section(
            "Cross-examination",
            "Each image was made on the first twin. It is shown here beside the best natural "
            "image and the best Gabor of the same norm, on the twin that made it and on the one "
            "that did not: what does not transfer is a property of the twin, not of the neuron.",
            plots.plot_mei_comparison(mei),
        ),
    ]
    words = "\n".join(escape(line.strip()) for line in findings)
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>twinlab demo</title>
<style>{STYLE}</style></head>
<body><main>
<h1>twinlab demo</h1>
<p class="quiet">recording {escape(recording.attrs["recording_id"])} (fingerprint
{escape(recording.attrs["fingerprint"])}), twin {escape(prediction.attrs["twin"])}, twinlab
{__version__}</p>
<section><h2>In short</h2><pre>{words}</pre>
<p>Explore it live:</p><pre>{escape(how)}</pre></section>
{"".join(sections)}
</main></body></html>
"""
    with write_whole(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def _section(title: str, words: str, *contents: hv.Dimensioned | str) -> str:
    inside = "".join(
        content if isinstance(content, str) else _picture(content, title) for content in contents
    )
    return f"<section><h2>{escape(title)}</h2><p>{escape(words)}</p>{inside}</section>\n"


def _picture(element: hv.Dimensioned, title: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        image = plots.save_figure(element, Path(folder) / "figure.png").read_bytes()
    data = base64.b64encode(image).decode()
    return f'<img alt="{escape(title)}" src="data:image/png;base64,{data}">'


def _table(rows: list[list[str]]) -> str:
    head, *body = [
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return f"<table>{head.replace('td>', 'th>')}{''.join(body)}</table>"  # fmt: skip


def _baselines(baselines: xr.Dataset) -> str:
    rows = [["model", "Poisson loss", "single-trial correlation"]]
    for name in baselines.model.values.tolist():
        one = baselines.sel(model=name)
        rows.append(
            [
                name.replace("_", "-"),
                _number(float(one.validation_loss)),
                _number(float(one.validation_correlation)),
            ]
        )
    return _table(rows)


def _scores(scores: xr.Dataset) -> str:
    rows = [["score", "mean", "95 % interval", "neurons", "beside it", ""]]
    for name, ceiling in SCORES.items():
        low, high = scores[f"mean_{name}_interval"].values
        rows.append(
            [
                scores[name].attrs["long_name"],
                _number(float(scores[f"mean_{name}"])),
                f"{_number(low)} to {_number(high)}",
                str(int(scores[f"n_defined_{name}"])),
                scores[ceiling].attrs["long_name"] if ceiling else "",
                _number(float(scores[f"mean_{ceiling}"])) if ceiling else "",
            ]
        )
    return _table(rows)


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "undefined"


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
        pair = _pixels(mei.mei.values[neuron].mean(axis=0)) + _pixels(planted)
        tiles.append(f"<figure>{pair}<figcaption>{escape(words)}</figcaption></figure>")
    return f'<div class="gallery">{"".join(tiles)}</div>'


def _pixels(image: np.ndarray) -> str:
    """One grey image, pixel by pixel; the page enlarges it without blurring."""
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, image, cmap="gray", vmin=0, vmax=255, format="png")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" src="data:image/png;base64,{data}">'
