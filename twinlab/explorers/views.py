"""What every explorer is made of: figures drawn in place on a state they share."""

from __future__ import annotations

from collections.abc import Callable

import holoviews as hv
import panel as pn

from twinlab.explorers.state import LabState

__all__ = ["Explorer", "bare"]


class Explorer(pn.viewable.Viewer):
    """Base of all explorers: the page of `lay_out` on a state, built once.

    Parameters
    ----------
    lab : LabState

    """

    def __init__(self, lab: LabState) -> None:
        super().__init__()
        self.lab = lab
        self._page = self.lay_out()

    def lay_out(self) -> pn.viewable.Viewable:
        """Build the page."""
        raise NotImplementedError

    def __panel__(self) -> pn.viewable.Viewable:
        """Return the page, built once."""
        return self._page

    def _figure(
        self, draw: Callable[[], hv.Dimensioned], names: list[str], arriving: list[str]
    ) -> hv.DynamicMap:
        """Draw in place, again whenever a parameter changes or a result comes in."""
        stream = hv.streams.Counter()
        self.lab.views[stream] = {*names, *arriving}
        return hv.DynamicMap(lambda **_: draw(), streams=[stream])

    def _view(
        self,
        draw: Callable[[], hv.Dimensioned],
        names: list[str],
        arriving: list[str] | None = None,
    ) -> pn.pane.HoloViews:
        figure = self._figure(draw, names, arriving or [])
        return pn.pane.HoloViews(figure, linked_axes=False, margin=0)

    def _work(self) -> Callable[..., str]:
        return pn.bind(
            self._say_work, self.lab.param.running, self.lab.param.progress, self.lab.param.message
        )

    def _say_work(self, running: bool, progress: float, message: str) -> str:  # noqa: FBT001
        return f"{100 * progress:.0f} %: {message}" if running else message


def bare(figure: hv.Dimensioned) -> hv.Dimensioned:
    """Leave off the tools: nothing to zoom into, and each costs time at every update."""
    return figure.opts(toolbar=None, default_tools=[], backend="bokeh")
