"""Cards, headings and captions: one type scale for every explorer."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import holoviews as hv
import panel as pn
import param

from twinlab import plots

__all__ = [
    "Slider",
    "Table",
    "Words",
    "badge",
    "by_night",
    "caption",
    "card",
    "colors",
    "drawn",
    "page",
    "table_style",
    "words",
]

FONT = "system-ui,'Segoe UI',Helvetica,Arial,sans-serif"
# Where the page has less room than was asked for, as on a projector.
NARROWER = ":host, div { max-width: 100%; min-width: 0 !important; }"
# Of a page by day and by night: what is written on, and with what.
LIGHT = {
    "page": "#f4f6f8",
    "card": "#ffffff",
    "edge": "#e1e5ea",
    "head": "#1b2733",
    "body": "#27323d",
    "quiet": "#66717c",
    "good": ("#e5f4ea", "#1d6b3a"),
    "weak": ("#fdf0dc", "#8a5200"),
    "none": ("#eceff2", "#4b5661"),
}
DARK = {
    "page": "#14181d",
    "card": "#1e242b",
    "edge": "#343c45",
    "head": "#eef2f5",
    "body": "#d5dce2",
    "quiet": "#9aa5af",
    "good": ("#1f3d2b", "#9fdcb4"),
    "weak": ("#45330f", "#f3cd8a"),
    "none": ("#2d343c", "#b8c2cb"),
}


def colors() -> dict[str, Any]:
    """Colours of the page that is being built: by day, or by night where it is asked for."""
    return DARK if pn.config.theme == "dark" else LIGHT


def by_night(figure: hv.Dimensioned) -> hv.Dimensioned:
    """Draw in light ink what was measured, where the page is dark: ours is nearly black."""
    if pn.config.theme == "dark":
        for element in figure.traverse(lambda part: part, [hv.Element]):
            style = hv.Store.lookup_options("bokeh", element, "style").kwargs
            if style.get("color") == plots.COLORS["measured"]:
                element.opts(color=colors()["head"], backend="bokeh")
    return figure


class Slider(pn.widgets.FloatSlider):
    """Slider that is heard at once: Panel waits 50 ms for more to come, of which 10 will do."""

    _debounce = 10


class Table(pn.widgets.DataFrame):
    """Table that is only looked at.

    What a notebook's page sends back of it is what it was sent, and may be of fewer rows than
    there are by then.
    """

    def _process_data(self, data: Any) -> None:
        pass


class Words(pn.custom.JSComponent):
    """Text that changes; see `words`."""

    value = param.String("", allow_refs=True, doc="HTML.")
    _esm = """
        export function render({model, el}) {
            const show = () => { el.innerHTML = model.value }
            model.on("value", show)
            show()
        }"""


def words(html: Callable[..., str] | str, width: int) -> Words:
    """Body text that changes: the HTML a bound function returns.

    (Panel's own texts have the browser lay out the whole page anew at each change, and
    `pn.pane.HTML` fetches its style sheets from the internet in a notebook, even where
    everything else is inline.)
    """
    look: dict[str, Any] = {"styles": _style(12.5, "body"), "stylesheets": [NARROWER]}
    return Words(value=html, width=width, margin=(4, 0), **look)


def caption(text: str, width: int) -> pn.pane.HTML:
    """One line below a panel that says what it shows."""
    look: dict[str, Any] = {"styles": _style(11, "quiet"), "stylesheets": [NARROWER]}
    return pn.pane.HTML(text, width=width, margin=(2, 0, 0, 0), **look)


def drawn(figure: hv.Dimensioned | None = None, **look: Any) -> pn.pane.HoloViews:
    """Put a figure on the page, or make room for one; by Bokeh, whatever else a notebook uses."""
    return pn.pane.HoloViews(figure, backend="bokeh", linked_axes=False, margin=0, **look)


def badge(text: str, kind: str) -> str:
    """Return a short verdict on a coloured ground, as HTML."""
    ground, ink = colors()[kind]
    return (
        f'<span style="background:{ground};color:{ink};border-radius:10px;padding:2px 9px;'
        f'font-weight:600;">{text}</span>'
    )


def card(title: str, note: str, *contents: Any, width: int) -> pn.Column:
    """Put contents under a heading, with a caption that says what is shown."""
    look: dict[str, Any] = {"stylesheets": [NARROWER], "margin": 0}
    heading = pn.pane.HTML(
        title, width=width, styles=_style(14, "head", 600), css_classes=["heading"], **look
    )
    below = [caption(note, width)] if note else []
    styles = {
        "background": colors()["card"],
        "border": f"1px solid {colors()['edge']}",
        "border-radius": "8px",
        "padding": "8px 12px 10px 12px",
    }
    return pn.Column(heading, *contents, *below, styles=styles, width=width + 26, **look)


def page(title: str, note: str, *columns: Any) -> pn.Column:
    """Set columns side by side under a title; they wrap where there is no room."""
    quiet = f"font-size:12.5px;color:{colors()['quiet']};margin-left:14px"
    head = pn.pane.HTML(
        f'<span style="font-size:20px;font-weight:600;color:{colors()["head"]}">{title}</span>'
        f'<span style="{quiet}">{escape(note)}</span>',
        margin=0,
        styles=_style(12.5, "body"),
    )
    body = pn.Row(*columns, margin=(10, 0, 0, 0), styles={"gap": "12px", "flex-wrap": "wrap"})
    return pn.Column(head, body, sizing_mode="stretch_width", margin=0)


def table_style() -> str:
    """Style sheet of a table, which else is white by night too."""
    look = colors()
    return f"""
        .slick-viewport, .slick-row .slick-cell, .slick-header-column.bk-header-column,
        .slick-row .slick-cell.bk-cell-index {{
            background: {look["card"]}; color: {look["body"]}; border-color: {look["edge"]};
        }}
        .slick-row.odd .slick-cell, .slick-row .slick-cell.selected {{
            background: {look["page"]};
        }}
        .slick-row .slick-cell.selected {{ font-weight: 700; }}
        """


def _style(size: float, color: str, weight: int = 400) -> dict[str, str]:
    return {
        "font-family": FONT,
        "font-size": f"{size}px",
        "font-weight": str(weight),
        "color": str(colors()[color]),
        "margin": "0",
        "line-height": "1.4",
    }
