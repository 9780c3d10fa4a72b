"""Parts of the HTML pages we write: one file each, with its pictures inside."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path

import holoviews as hv
import matplotlib.image
import numpy as np

from twinlab import plots
from twinlab.files import write_whole

__all__ = ["figures", "flat", "number", "picture", "pixels", "section", "table", "write_page"]

PER_ROW = 4
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
.words th, .words td { text-align: left; vertical-align: top; }
.words th { white-space: nowrap; }
pre { background: #f1f3f6; padding: 10px 14px; border-radius: 6px; overflow-x: auto;
      font-size: 14px; }
.gallery { display: grid; grid-template-columns: repeat(4, 1fr); gap: 14px; }
.gallery img { width: 100%; image-rendering: pixelated; margin: 0 0 4px; }
figure { margin: 0; } figcaption { font-size: 13px; color: #5b6470; }
.figures { display: flex; gap: 10px; align-items: flex-start; }
.figures img { flex: 0 1 auto; min-width: 0; height: auto; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 12px 0; }
.tile { background: #f1f3f6; border-radius: 6px; padding: 10px 16px; min-width: 118px; }
.tile b { display: block; font-size: 24px; font-weight: 600; line-height: 1.25; }
.tile span { font-size: 13px; color: #5b6470; }
h3 { font-size: 14px; font-weight: 600; margin: 16px 0 6px; }
figure[id] { margin: 16px 0; } figure[id] figcaption { max-width: 100ch; }
.error, .warning, .note { font-weight: 600; }
.error { color: #b3261e; } .warning { color: #9a5b00; } .note { color: #33658a; }
.none { color: #5b6470; font-style: italic; }
@page { margin: 14mm; }
@media print {
  body { background: #fff; font-size: 11pt; } main { max-width: none; padding: 0; }
  section { border: 0; border-radius: 0; padding: 0; }
  figure:not(:has(.gallery)), tr, .tiles, .gallery { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  a { color: inherit; text-decoration: none; } pre { white-space: pre-wrap; }
}
"""


def write_page(path: Path, title: str, words: str, *contents: str) -> Path:
    """Write a page, whole or not at all, and return where it is.

    Parameters
    ----------
    path : Path
    title : str
    words : str
        One line below the title.
    *contents : str
        HTML, as the other functions make it.

    Returns
    -------
    Path

    """
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<style>{STYLE}</style></head>
<body><main>
<h1>{escape(title)}</h1>
<p class="quiet">{escape(words)}</p>
{"".join(contents)}
</main></body></html>
"""
    with write_whole(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def section(title: str, words: str, *contents: hv.Dimensioned | str) -> str:
    """A box with a heading, a paragraph, and figures or HTML below."""
    inside = "".join(
        content if isinstance(content, str) else picture(content, title) for content in contents
    )
    paragraph = f"<p>{escape(words)}</p>" if words else ""
    return f"<section><h2>{escape(title)}</h2>{paragraph}{inside}</section>\n"


def picture(element: hv.Dimensioned, title: str) -> str:
    """A figure as an image within the page, 100 pixels of the screen to the inch."""
    with tempfile.TemporaryDirectory() as folder:
        image = plots.save_figure(element, Path(folder) / "figure.png").read_bytes()
    width = round(int.from_bytes(image[16:20], "big") * 100 / 150)  # drawn at 150 to the inch
    data = base64.b64encode(image).decode()
    return f'<img alt="{escape(title)}" width="{width}" src="data:image/png;base64,{data}">'


def figures(*elements: hv.Dimensioned, words: str = "figure") -> str:
    """Figures side by side, up to four in a row; the panels of a layout one by one.

    `words` stand in for them where they cannot be seen.
    """
    panels = [
        panel
        for element in elements
        for panel in (list(element) if isinstance(element, hv.Layout) else [element])
    ]
    drawn = [
        picture(panel, words if len(panels) == 1 else f"{words}, panel {i}")
        for i, panel in enumerate(panels, 1)
    ]
    rows = [drawn[start : start + PER_ROW] for start in range(0, len(drawn), PER_ROW)]
    return "".join(f'<div class="figures">{"".join(row)}</div>' for row in rows)


def table(rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table whose first row is its head; of kind `words` it is set flush left."""
    head, *body = [
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return f'<table class="{kind}">{head.replace("td>", "th>")}{"".join(body)}</table>'


def number(value: float) -> str:
    """Three digits, or the words infinite or undefined."""
    if np.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    return "undefined" if np.isnan(value) else f"{value:.3f}"


def flat(image: np.ndarray) -> np.ndarray:
    """A stimulus as `pixels` draws it: colours of 3 channels, else channels side by side.

    Of a video (channel, frame, y, x) the middle frame.
    """
    if image.ndim == 4:
        image = image[:, image.shape[1] // 2]
    if len(image) == 3:
        return np.moveaxis(image, 0, -1)
    return np.concatenate(list(image), axis=1)


def pixels(image: np.ndarray, limits: tuple[float, float] = (0, 255), words: str = "") -> str:
    """One image (y, x) in grey or (y, x, 3) in colour, pixel by pixel; enlarged unblurred."""
    low, high = limits
    scaled = np.clip((np.nan_to_num(image.astype(float)) - low) / (high - low), 0, 1)
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, scaled, cmap="gray", vmin=0, vmax=1, format="png")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{data}">'
