"""What every explorer is made of: figures drawn in place on a state they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, ClassVar

import holoviews as hv
import panel as pn
import xarray as xr

from twinlab.explorers.looks import Words, badge, by_night, drawn, words
from twinlab.explorers.patching import Later, Patch
from twinlab.explorers.state import LabState
from twinlab.explorers.surveyed import NO_TWIN
from twinlab.explorers.taking import rebuild, tools
from twinlab.schema import InputError

__all__ = ["Explorer", "bare"]

NOTICE = 720  # width of a notice, in pixels


class Explorer(pn.viewable.Viewer):
    """Base of all explorers: the page of `lay_out` on a state, built once.

    An explorer's own parameters are part of the page's address, and of the code that rebuilds
    it.

    Parameters
    ----------
    lab : LabState
    **params
        Initial values of its own parameters.

    Raises
    ------
    InputError
        If the lab lacks what it needs, as `lacks` says.

    """

    title: ClassVar[str] = ""
    about: ClassVar[str] = ""  # one sentence for the gallery
    of: ClassVar[tuple[str, ...]] = ("image",)  # what neurons must see to be shown: image, video
    needs_twin: ClassVar[bool] = True  # or it shows a recording without one
    fleeting: ClassVar[frozenset[str]] = frozenset()  # own parameters that no address holds

    def __init__(self, lab: LabState, **params: Any) -> None:
        missing = self.lacks(lab)
        if missing:
            raise InputError(missing)
        super().__init__(**params)
        self.lab = lab
        self._framed: pn.Column | None = None
        self._patches: list[Patch] = []
        self._later = Later(lab)
        self._join_address()
        self.body = self.lay_out()

    @classmethod
    def lacks(cls, lab: LabState) -> str:
        """Say what it needs and this lab has not; empty where it can be shown.

        Whoever needs more begins with ``super().lacks(lab) or``: not every twin sees images.
        """
        if cls.needs_twin and not lab.has_twin:
            return NO_TWIN
        seen = "video" if lab.canvas.is_video else "image"
        if seen not in cls.of:
            whose = "twin sees" if lab.has_twin else "recording is of"
            return f"This {whose} {seen}s, and this page is about {' and '.join(cls.of)}s."
        return ""

    def lay_out(self) -> pn.viewable.Viewable:
        """Build the page."""
        raise NotImplementedError

    def figures(self) -> Mapping[str, Callable[[], hv.Dimensioned]]:
        """Figures that can be taken away, by name, each drawn when it is asked for."""
        return {}

    def tables(self) -> Mapping[str, Callable[[], xr.Dataset | None]]:
        """Data behind the figures, by name, each gathered when it is asked for.

        None while it is not known.
        """
        return {}

    def calls(self) -> list[str]:
        """Python lines that compute what is shown from ``twin``, ``recording`` and ``lab``."""
        return []

    def as_code(self) -> str:
        """Python that rebuilds this view, and computes what it shows."""
        return rebuild(self)

    def own(self) -> dict[str, Any]:
        """Its own parameters, which no other explorer shares."""
        return {
            name: getattr(self, name)
            for name in self.param
            if name not in pn.viewable.Viewer.param
        }

    def __panel__(self) -> pn.viewable.Viewable:
        """Return the page, built once, above what can be taken from it and where it is from."""
        if self._framed is None:
            self._framed = pn.Column(
                *([] if self.lab.served else [self._notice()]),
                self.body,
                tools(self),
                margin=0,
                styles={"gap": "10px"},
                sizing_mode="stretch_width",
            )
        return self._framed

    def _notice(self) -> Words:
        """Say what went wrong where there is no corner of a page to say it in: in a notebook."""
        said = self.lab.param.notice
        notice = self._says(lambda: badge(escape(self.lab.notice), "weak"), NOTICE, said)
        notice.visible = said.rx.bool()
        return notice

    def _leads_to(
        self, page: str, label: str, act: Callable[[], Any] | None = None, **options: Any
    ) -> pn.widgets.Button:
        """Give a button that acts, and opens another page of the lab: one that needs a twin."""
        button = pn.widgets.Button(label=label, **options)

        def lead(_: Any) -> None:
            if act is not None:
                act()
            if self.lab.has_pages:
                self.lab.page = page

        button.on_click(lead)
        button.visible = self.lab.has_twin and (self.lab.has_pages or act is not None)
        return button

    def _choice(self, name: str, options: list[str], **look: Any) -> pn.widgets.Select:
        """Let one choose a parameter of words among what this very lab has."""
        asked = getattr(self, name)
        if asked not in options:  # a link to another lab
            setattr(self, name, options[0])
            self.lab.warn(
                f"{asked!r} is not here to choose for {name.replace('_', ' ')}",
                f"{options[0]} is shown instead.",
            )
        choice = pn.widgets.Select(options=options, value=getattr(self, name), **look)
        choice.link(self, value=name)
        self.param.watch(lambda event: choice.param.update(value=event.new), name)
        return choice

    def _join_address(self) -> None:
        names = [name for name in self.own() if name not in self.fleeting]
        if self.lab.served and names:
            prefix = type(self).__name__.lower()
            self.lab.address.join(self, {name: f"{prefix}.{name}" for name in names})

    def _figure(
        self, draw: Callable[[], hv.Dimensioned], names: list[str], arriving: list[str]
    ) -> hv.DynamicMap:
        """Draw in place, again whenever a parameter changes or a result comes in."""
        stream = hv.streams.Counter()
        self.lab.views[stream] = {*names, *arriving}
        return hv.DynamicMap(lambda **_: by_night(draw()), streams=[stream])

    def _view(
        self,
        draw: Callable[[], hv.Dimensioned],
        names: list[str],
        arriving: list[str] | None = None,
    ) -> pn.pane.HoloViews:
        figure = self._figure(draw, names, arriving or [])
        return drawn(figure)

    def _patched(
        self,
        draw: Callable[[], hv.Dimensioned],
        columns: Callable[[], Sequence[Mapping[str, Any]]],
        names: list[str],
        heard: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> pn.pane.HoloViews:
        """Figure drawn once, of which columns of data are replaced whenever a parameter changes.

        For what follows a slider: to draw an element again takes HoloViews tens of milliseconds.

        Parameters
        ----------
        draw : callable
            Returns the element or overlay. It is drawn without tools.
        columns : callable
            Returns, for each layer of what is drawn, the columns of its Bokeh data source that
            follow.
        names : list of str
            Of parameters of the lab.
        heard : mapping of str to callable, optional
            Called with the events of the figure of these names, as Bokeh has them.

        """
        patch = Patch(draw(), columns, heard or {})
        self._patches.append(patch)
        self.lab.views[patch] = set(names)
        return patch.pane

    def _redraw(self, *names: str) -> None:
        """Draw again what shows any of these names, as one update."""
        self.lab.redraw(set(names))

    def _work(self) -> Callable[..., str]:
        return pn.bind(
            self._say_work,
            self.lab.param.running,
            self.lab.param.progress,
            self.lab.param.seconds_left,
            self.lab.param.message,
        )

    def _say_work(self, running: bool, progress: float, left: float, message: str) -> str:  # noqa: FBT001
        if not running:
            return escape(message)
        estimate = f", about {left:.0f} s left" if left == left else ""  # NaN while unknown
        return f"{100 * progress:.0f} %{estimate}: {escape(message)}"

    def _says(self, text: Callable[..., str], width: int, *names: Any) -> Words:
        """Body text that follows parameters."""
        return words(pn.bind(lambda *_: text(), *names), width)


def bare(figure: hv.Dimensioned) -> hv.Dimensioned:
    """Leave off the tools: nothing to zoom into, and each costs time at every update."""
    return figure.opts(toolbar=None, default_tools=[], backend="bokeh")
