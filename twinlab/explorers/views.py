"""What every explorer is made of: figures drawn in place on a state they share."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import xarray as xr

from twinlab.explorers.looks import Words, by_night, drawn, words
from twinlab.explorers.state import LabState
from twinlab.explorers.surveyed import NO_TWIN
from twinlab.explorers.taking import rebuild, tools
from twinlab.schema import InputError

__all__ = ["Explorer", "bare"]

REST_MS = 100  # words follow once what moves has rested so long: they are read, not watched
INLINE = 64  # values of a column up to which they travel with the message, not beside it


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
        # The lab holds what it redraws by weak references, so that a page can go.
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
                self.body,
                tools(self),
                margin=0,
                styles={"gap": "10px"},
                sizing_mode="stretch_width",
            )
        return self._framed

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
            return message
        estimate = f", about {left:.0f} s left" if left == left else ""  # NaN while unknown
        return f"{100 * progress:.0f} %{estimate}: {message}"

    def _says(self, text: Callable[..., str], width: int, *names: Any) -> Words:
        """Body text that follows parameters."""
        return words(pn.bind(lambda *_: text(), *names), width)


class Later:
    """Words that are said only once the figures have been sent; to be among the lab's `views`."""

    def __init__(self, lab: LabState) -> None:
        self.lab = lab
        self.texts: list[tuple[Words, Callable[[], str]]] = []

    def event(self) -> None:
        """Have them said soon, once however often things change until then."""
        self.lab.soon(self.say, REST_MS)

    def say(self) -> None:
        """Say all of them, in one message."""
        with pn.io.hold():
            for text, say in self.texts:
                text.value = say()


class Patch:
    """A drawn figure and the columns of its data that change; see `Explorer._patched`."""

    def __init__(
        self,
        figure: hv.Dimensioned,
        columns: Callable[[], Sequence[Mapping[str, Any]]],
        heard: Mapping[str, Callable[[Any], Any]],
    ) -> None:
        self.columns, self.heard = columns, heard
        layers = list(figure) if isinstance(figure, hv.Overlay) else [figure]
        self.sources: list[weakref.WeakSet[Any]] = [weakref.WeakSet() for _ in layers]
        self.shown: list[dict[str, Any]] = [{} for _ in layers]  # what was sent last
        for number, layer in enumerate(layers):
            known = hv.Store.lookup_options("bokeh", layer, "plot").kwargs.get("hooks", [])
            # HoloViews keeps options for as long as what they are of: they must not keep us.
            join = partial(_join, weakref.ref(self), number)
            layer.opts(hooks=[*known, join], backend="bokeh")
        self.pane = drawn(figure)

    def join(self, number: int, plot: Any) -> None:
        """Take over a layer that HoloViews has drawn, which it does once for each page."""
        source = plot.handles["source"]
        if source in self.sources[number]:
            return
        self.sources[number].add(source)
        source.data.update(self.columns()[number])  # since `draw`, things may have changed
        self.shown[number] = {}
        if number == 0:
            for name, act in self.heard.items():
                plot.state.on_event(name, act)

    def event(self) -> None:
        """Replace the columns that have changed, wherever the figure is shown."""
        for number, columns in enumerate(self.columns()):
            old = self.shown[number]
            new = {
                name: _packed(values)
                for name, values in columns.items()
                if name not in old or not np.array_equal(values, old[name])
            }
            if not new:
                continue  # a figure that is sent the same is painted all the same
            self.shown[number] = dict(columns)
            for source in self.sources[number]:
                source.data.update(new)
        pn.io.push_notebook(self.pane)


def _packed(values: Any) -> Any:
    """Write few values as a list: each array is three messages of its own to the browser."""
    few = isinstance(values, np.ndarray) and values.size <= INLINE
    return values.tolist() if few else values


def _join(patch: weakref.ref[Patch], number: int, plot: Any, _: hv.Dimensioned) -> None:
    found = patch()
    if found is not None:
        found.join(number, plot)


def bare(figure: hv.Dimensioned) -> hv.Dimensioned:
    """Leave off the tools: nothing to zoom into, and each costs time at every update."""
    return figure.opts(toolbar=None, default_tools=[], backend="bokeh")
