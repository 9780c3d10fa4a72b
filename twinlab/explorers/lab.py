"""The lab: a gallery of all explorers, and each of them on one state."""

from __future__ import annotations

from typing import Any, ClassVar

import panel as pn

from twinlab.explorers.bench import TwinBench
from twinlab.explorers.fit_monitor import FitMonitor
from twinlab.explorers.inception_loop import InceptionLoop
from twinlab.explorers.looks import card, colors, page
from twinlab.explorers.mei_studio import MEIStudio
from twinlab.explorers.population import Population
from twinlab.explorers.recording_page import RecordingPage
from twinlab.explorers.scorecard import Scorecard
from twinlab.explorers.stimulus_bench import StimulusBench
from twinlab.explorers.tuning_lab import TuningLab
from twinlab.explorers.unit_page import UnitPage
from twinlab.explorers.videos import Videos
from twinlab.explorers.views import Explorer

__all__ = ["EXPLORERS", "Lab"]

# By the name a page has in the address, in the order in which one meets them.
EXPLORERS: dict[str, type[Explorer]] = {
    "bench": TwinBench,
    "recording": RecordingPage,
    "videos": Videos,
    "population": Population,
    "scorecard": Scorecard,
    "unit": UnitPage,
    "stimulus": StimulusBench,
    "tuning": TuningLab,
    "mei": MEIStudio,
    "loop": InceptionLoop,
    "fits": FitMonitor,
}
GALLERY_WIDTH = 300


class Lab(Explorer):
    """All explorers of one twin, a page each, and a gallery that says what each is for.

    What is chosen on one page is chosen on all; the address holds the page and what it shows.

    Parameters
    ----------
    lab : LabState

    """

    title = "Lab"
    about = "Every explorer of one twin, on what is chosen and known in common."
    of: ClassVar[tuple[str, ...]] = ("image", "video")
    needs_twin: ClassVar[bool] = False

    def lay_out(self) -> pn.Column:
        """Build the frame; a page is built when it is first opened."""
        self.lab.has_pages = True
        self._open: dict[str, Explorer] = {}
        self._body = pn.Column(margin=0, sizing_mode="stretch_width")
        self.lab.param.watch(lambda _: self._turn(), "page")
        self._turn()
        return pn.Column(
            pn.Row(self._navigation(), pn.Spacer(sizing_mode="stretch_width"), self._toggle()),
            self._body,
            styles={
                "background": colors()["page"],
                "padding": "12px 16px",
                "min-height": "100vh",
                "box-sizing": "border-box",
            },
            sizing_mode="stretch_width",
            margin=0,
        )

    def __panel__(self) -> pn.viewable.Viewable:
        """Return the frame, built once; each page brings what can be taken from it."""
        return self.body

    def _navigation(self) -> pn.widgets.RadioButtonGroup:
        options = {"Gallery": ""} | {
            kind.title: name for name, kind in EXPLORERS.items() if not kind.lacks(self.lab)
        }
        names = pn.widgets.RadioButtonGroup(options=options, value=self.lab.page, margin=0)
        names.link(self.lab, value="page")
        self.lab.param.watch(lambda event: names.param.update(value=event.new), "page")
        return names

    def _turn(self) -> None:
        """Show the page that is asked for."""
        name = self.lab.page
        missing = ""
        if name and name not in EXPLORERS:
            missing = f"The pages are {', '.join(EXPLORERS)}."
        elif name:
            missing = EXPLORERS[name].lacks(self.lab)
        if missing:
            self.lab.page = ""
            self.lab.warn(f"The page {name!r} cannot be opened", missing)
            return
        if name and name not in self._open:
            self._open[name] = EXPLORERS[name](self.lab)
        self._body[:] = [self._open[name] if name else self._gallery()]

    def _toggle(self) -> pn.widgets.Button:
        """Button that opens the same view by night, or by day."""
        night = pn.config.theme == "dark"
        button = pn.widgets.Button(label="Light" if night else "Dark", width=70, margin=0)
        button.js_on_click(
            code=f"""
            const address = new URL(window.location)
            address.searchParams.set("theme", "{"default" if night else "dark"}")
            window.location = address
            """
        )
        button.visible = self.lab.served
        return button

    def _gallery(self) -> pn.Column:
        cards = [self._invite(name, kind) for name, kind in EXPLORERS.items()]
        return page("twinlab", self.lab.surveyed.describe(), *cards)

    def _invite(self, name: str, kind: type[Explorer]) -> pn.Column:
        missing = kind.lacks(self.lab)
        button = pn.widgets.Button(
            label="Open", color="primary", width=90, margin=(6, 0, 0, 0), disabled=bool(missing)
        )

        def enter(_: Any) -> None:
            self.lab.page = name

        button.on_click(enter)
        return card(kind.title, missing or kind.about, button, width=GALLERY_WIDTH)
