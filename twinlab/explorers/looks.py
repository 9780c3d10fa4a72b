"""Cards, headings and captions: one type scale for every explorer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel as pn

__all__ = ["BADGES", "badge", "caption", "card", "page", "words"]

FONT = "font-family:system-ui,'Segoe UI',Helvetica,Arial,sans-serif;"
HEAD = FONT + "font-size:14px;font-weight:600;color:#1b2733;margin:0;line-height:1.3;"
BODY = FONT + "font-size:12.5px;color:#27323d;margin:0;line-height:1.45;"
CAPTION = FONT + "font-size:11px;color:#66717c;margin:0;line-height:1.35;"
CARD = {
    "background": "#ffffff",
    "border": "1px solid #e1e5ea",
    "border-radius": "8px",
    "padding": "8px 12px 10px 12px",
}
BADGES = {
    "good": ("#e5f4ea", "#1d6b3a"),
    "weak": ("#fdf0dc", "#8a5200"),
    "none": ("#eceff2", "#4b5661"),
}


def words(html: Callable[..., str], width: int) -> pn.widgets.StaticText:
    """Body text that changes: the HTML a bound function returns.

    (A changing `pn.pane.HTML` fetches its style sheets from the internet in a notebook, even
    where everything else is inline.)
    """
    return pn.widgets.StaticText(value=html, width=width, margin=(4, 0), styles=_style(BODY))


def caption(text: str, width: int) -> pn.pane.HTML:
    """One line below a panel that says what it shows."""
    return pn.pane.HTML(text, width=width, margin=(2, 0, 0, 0), styles=_style(CAPTION))


def badge(text: str, kind: str) -> str:
    """Return a short verdict on a coloured ground, as HTML."""
    ground, ink = BADGES[kind]
    return (
        f'<span style="background:{ground};color:{ink};border-radius:10px;padding:2px 9px;'
        f'font-weight:600;">{text}</span>'
    )


def card(title: str, note: str, *contents: Any, width: int) -> pn.Column:
    """Put contents under a heading, with a caption that says what is shown."""
    heading = pn.pane.HTML(title, width=width, margin=0, styles=_style(HEAD))
    below = [caption(note, width)] if note else []
    return pn.Column(heading, *contents, *below, styles=CARD, margin=0, width=width + 26)


def page(title: str, note: str, *columns: Any) -> pn.Column:
    """Set columns side by side under a title; they wrap where there is no room."""
    head = pn.pane.HTML(
        f'<span style="font-size:20px;font-weight:600;color:#1b2733">{title}</span>'
        f'<span style="font-size:12.5px;color:#66717c;margin-left:14px">{note}</span>',
        margin=0,
        styles=_style(FONT),
    )
    body = pn.Row(*columns, margin=(10, 0, 0, 0), styles={"gap": "12px", "flex-wrap": "wrap"})
    return pn.Column(
        head,
        body,
        styles={"background": "#f4f6f8", "padding": "12px 16px", "min-height": "100%"},
        sizing_mode="stretch_width",
        margin=0,
    )


def _style(css: str) -> dict[str, str]:
    return dict(part.split(":", 1) for part in css.split(";") if part)
