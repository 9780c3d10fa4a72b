"""A video and what the neurons did at each of its frames, measured and predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import param
import xarray as xr

from twinlab import plots
from twinlab.explorers.looks import badge, card, drawn, page
from twinlab.explorers.matching import blank_clip, raster_of_clip
from twinlab.explorers.recorded import RecordedCells
from twinlab.explorers.trust import say_number
from twinlab.explorers.views import bare
from twinlab.jobs import Job
from twinlab.schema import InputError

__all__ = ["Videos"]

LEFT, MIDDLE, RIGHT = 320, 470, 330  # widths of cards' contents, in pixels
TICK = 120  # milliseconds between two pictures of a video that plays
N_TRACE = 5
RASTERS = {"response": "measured", "prediction": "predicted"}


class Videos(RecordedCells):
    """A video and the population's traces, scrubbed together.

    Parameters
    ----------
    lab : LabState
        With a recording of videos; what a twin predicts is drawn where there is one.
    **params
        Initial values of its own parameters.

    """

    title = "Videos"
    about = "A video and the population's traces, measured and predicted, scrubbed together."
    of: ClassVar[tuple[str, ...]] = ("video",)
    fleeting: ClassVar[frozenset[str]] = frozenset({"frame"})  # or playing fills the history

    frame = param.Integer(0, bounds=(0, None), doc="Frame that is shown, from 0.")
    speed: Any = param.Selector(
        objects=[0.25, 0.5, 1.0, 2.0], default=1.0, doc="Times real time at which it plays."
    )

    def lay_out(self) -> pn.Column:
        """Build the page."""
        self._rate = float(self.recording.attrs["frame_rate"])
        self._pixels: tuple[int, np.ndarray] = (-1, np.empty(0))
        self._browse()
        self.frame = min(self.frame, self.recording.sizes["frame"] - 1)
        self.param.frame.bounds = (0, self.recording.sizes["frame"] - 1)
        self.start_survey()
        self._follow()
        self.param.watch(lambda _: self._follow(), "stimulus")
        self.param.watch(self._redraw_own, ["stimulus", "frame", "color"])
        middle = [self._trace_card(), self._traces_card(), self._raster_card()]
        right = [self._cells_card(RIGHT), self._distribution_card(RIGHT)]
        columns = [
            pn.Column(*cards, margin=0, styles={"gap": "12px"})
            for cards in ([self._clip_card()], middle, right)
        ]
        return page(self.title, f"{self._describe()}, {self._rate:g} frames a second", *columns)

    def figures(self) -> Mapping[str, Callable[[], hv.Dimensioned]]:
        """Figures on this page."""
        return {
            "frame": self._draw_frame,
            "trace": self._draw_trace,
            "traces": self._draw_traces,
            **{f"raster {RASTERS[one]}": partial(self._draw_raster, one) for one in self.rasters},
            "cells": lambda: self._draw_cells() * self._draw_circles(),
        }

    def tables(self) -> Mapping[str, Callable[[], xr.Dataset | None]]:
        """Data behind the figures."""
        return {"responses": self.clip, "neurons": self.of_neurons}

    def calls(self) -> list[str]:
        """Lines that compute what is shown from `twin` and `recording`."""
        predict = "twins.predict_responses(twin, trials)" if self.lab.has_twin else "None"
        return [
            *super().calls(),
            self._rows_as_code(),
            f"trials = recording.isel(trial=recording.stimulus_index.values == {self.stimulus})",
            f"predicted = {predict}",
            "clip = explorers.average_clip("
            'trials.response, predicted, recording.attrs["frame_rate"])',
            *(
                f"{RASTERS[one]}_raster = explorers.raster_of_clip(clip, rows, {one!r})"
                for one in self.rasters
            ),
            f"frame = recording.stimulus[{self.stimulus}].isel(frame={self.frame})",
        ]

    # What is shown, as data

    @property
    def rasters(self) -> list[str]:
        """What there is of each neuron and frame: what was predicted only where a twin is."""
        return ["response", "prediction"] if self.lab.has_twin else ["response"]

    def clip(self) -> xr.Dataset | None:
        """Responses to each frame, from `average_clip`; None while they are not known."""
        return self.lab.surveyed.followed(self.stimulus)

    def image(self) -> np.ndarray:
        """Frame that is shown, (channel, y, x) in grey levels."""
        if self._pixels[0] != self.stimulus:  # of a lazy recording a video is read once
            self._pixels = self.stimulus, self.recording.stimulus[self.stimulus].values
        return self._pixels[1][:, self.frame]

    # What can be done

    def choose_at(self, column: float | None, row: float | None) -> None:
        """Show the frame and choose the neuron at a place in the raster."""
        clip = self.clip()
        if column is None or row is None or clip is None:
            return
        raster = raster_of_clip(clip, self.rows(), "response")
        self._scrub(column)
        at = int(np.clip(round(row), 0, raster.sizes["raster_neuron"] - 1))
        self._choose_row(int(raster.neuron[at]))

    def send_frame(self) -> None:
        """Put the frame on the stimulus bench, where it is held still."""
        with self.lab.warned("The frame cannot be sent"):
            self.lab.show_image(self.image(), f"{self._name_stimulus()}, frame {self.frame}")

    def _scrub(self, frame: float) -> None:
        self.frame = int(np.clip(round(frame), 0, self.recording.sizes["frame"] - 1))

    def _follow(self) -> None:
        if self.clip() is None:
            self.lab.start_quick(self._measure_clip, self.stimulus, name="clip")
        else:
            self._redraw("clip")

    def _measure_clip(self, video: int, job: Job) -> None:
        try:
            self.lab.surveyed.follow(video, job)
        except InputError as error:
            self.lab.call(partial(self.lab.warn, "The video cannot be followed", str(error)))
            return
        self.lab.tell("clip")

    # Cards

    def _clip_card(self) -> pn.Column:
        player = pn.widgets.Player(
            start=0,
            end=self.recording.sizes["frame"] - 1,
            value=self.frame,
            loop_policy="loop",
            show_loop_controls=False,
            width=LEFT,
            margin=(2, 0),
        )
        player.link(self, value="frame")
        self.param.watch(lambda event: player.param.update(value=event.new), "frame")

        def pace(*_: Any) -> None:
            """Skip frames where they come faster than pictures can be drawn."""
            step = max(1, round(self._rate * self.speed * TICK / 1000))
            player.param.update(step=step, interval=round(1000 * step / self._rate / self.speed))

        self.param.watch(pace, "speed")
        pace()
        speed = pn.widgets.Select.from_param(
            self.param.speed,
            label="speed",
            options={f"{value:g} x": value for value in self.param.speed.objects},
            width=80,
        )
        send = self._leads_to(
            "stimulus", "Send frame to bench", self.send_frame, width=170, margin=(6, 0, 0, 0)
        )
        own = self.param
        return card(
            "What was shown",
            self._of_twin("On the bench a frame is held still for a second."),
            pn.Row(*self._which(), speed, margin=0),
            self._view(self._draw_frame, ["stimulus", "frame"]),
            player,
            self._says(self._say_frame, LEFT, own.stimulus, own.split, own.frame),
            self._steps(),
            send,
            width=LEFT,
        )

    def _trace_card(self) -> pn.Column:
        arrivals = self.lab.arrivals.param
        follows = self.lab.param.neuron, arrivals.clip, arrivals.scores
        return card(
            "The chosen neuron",
            "Grey: measured, mean over presentations ± standard error"
            + self._of_twin("; blue: predicted, with the animal's behaviour in each")
            + ".",
            self._with_cursor(self._draw_trace, ["neuron", "stimulus"], time=True),
            self._says(self._say_trace, MIDDLE, self.param.stimulus, *follows),
            width=MIDDLE,
        )

    def _traces_card(self) -> pn.Column:
        return card(
            "Neurons together",
            f"The first {N_TRACE} selected, or the most reliable, each in its own range. Grey: "
            f"measured{self._of_twin('; blue: predicted')}.",
            self._with_cursor(self._draw_traces, ["selection", "stimulus"], time=True),
            width=MIDDLE,
        )

    def _raster_card(self) -> pn.Column:
        names, draw = ["selection", "stimulus"], self._draw_raster
        rasters = [self._with_cursor(partial(draw, of), names, time=False) for of in self.rasters]
        return card(
            "Population",
            "The selected or the most reliable first, in standard deviations of the measured "
            "mean response. Tap to choose the frame and the neuron.",
            *rasters,
            width=MIDDLE,
        )

    def _with_cursor(
        self, draw: Callable[[], hv.Dimensioned], names: list[str], *, time: bool
    ) -> pn.pane.HoloViews:
        figure = self._figure(draw, names, ["clip", "reliability"])
        scale = 1 / self._rate if time else 1.0
        cursor = self._figure(lambda: plots.plot_cursor(self.frame * scale), ["frame"], [])

        def tap(x: float | None, y: float | None) -> None:
            if time and x is not None:
                self._scrub(x / scale)
            elif not time:
                self.choose_at(x, y)

        hv.streams.Tap(source=figure).add_subscriber(tap)
        both = bare(figure * cursor).opts(show_legend=False, backend="bokeh")
        return drawn(both)

    # Figures and words

    def _draw_frame(self) -> hv.Image:
        image = xr.DataArray(self.image(), dims=("channel", "y", "x"))
        return bare(plots.plot_image(image, limits=self.lab.limits, width=LEFT - 50))

    def _draw_trace(self) -> hv.Overlay:
        clip = self._clip_or_blank()
        one = clip.isel(neuron=self.place) if self.place >= 0 else clip.isel(neuron=0) * np.nan
        one.response.attrs = clip.response.attrs
        return bare(plots.plot_trace(one, size=(MIDDLE - 70, 120)))

    def _draw_traces(self) -> hv.Overlay:
        some = self._clip_or_blank().isel(neuron=self.rows()[:N_TRACE])
        return bare(plots.plot_traces(some, size=(MIDDLE - 70, 130)))

    def _draw_raster(self, variable: str) -> hv.Image:
        raster = raster_of_clip(self._clip_or_blank(), self.rows(), variable)
        n = raster.sizes["raster_neuron"]
        title = f"{RASTERS[variable]}: {n:,} of {raster.attrs['n_neuron']:,} neurons"
        return bare(plots.plot_raster(raster, title=title, size=(MIDDLE - 130, 80)))

    def _clip_or_blank(self) -> xr.Dataset:
        """Responses, or as many missing ones while they are not known."""
        clip = self.clip()
        return blank_clip(self.recording, self.rasters) if clip is None else clip

    def _of_twin(self, words: str) -> str:
        """Give the words, where there is a twin that they speak of."""
        return words if self.lab.has_twin else ""

    def _say_frame(self) -> str:
        n = self.recording.sizes["frame"]
        seconds = self.frame / self._rate
        return f"{self._say_stimulus()}<br>frame {self.frame} of {n}, at {seconds:.2f} s"

    def _say_trace(self) -> str:
        if self.place < 0:
            return badge("not in this recording", "none")
        clip = self.clip()
        if clip is None:
            return "measuring …"
        n = int(clip.n_repeat.isel(neuron=self.place).max())
        said = f"mean of {n} presentation{'s' * (n != 1)}" if n else "no response was recorded"
        scores = self.lab.known("scores")
        if scores is None:
            return said
        reached = say_number(scores.correlation_to_average, ".2f")
        return (
            f"{said}; over all test videos the prediction correlates by <b>{reached}</b> with "
            f"the mean of each frame (ceiling {say_number(scores.cc_max, '.2f')})"
        )
