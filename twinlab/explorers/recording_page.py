"""What was recorded: images, trials, repeats, what the animal did, how reliable each neuron is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
import param
import xarray as xr

from twinlab import plots, recordings
from twinlab.explorers.looks import badge, caption, card, drawn, page
from twinlab.explorers.recorded import RecordedCells
from twinlab.explorers.views import bare

__all__ = ["RecordingPage"]

LEFT, MIDDLE, RIGHT = 320, 470, 330  # widths of cards' contents, in pixels
ORDERS = {"as presented": "presentation", "repeats together": "stimulus"}


class RecordingPage(RecordedCells):
    """A recording of images as it is, without the twin: what was shown, and who answered how.

    Parameters
    ----------
    lab : LabState
        With a recording.
    **params
        Initial values of its own parameters.

    """

    title = "Recording"
    about = (
        "What was shown and what was recorded: images, trials, repeats, behaviour, reliability."
    )

    order: Any = param.Selector(
        objects=list(ORDERS.values()), doc="Of trials in the raster: see `trials_in_order`."
    )

    def lay_out(self) -> pn.Column:
        """Build the page."""
        self._read: dict[Any, xr.Dataset] = {}
        self._browse()
        self.start_survey()
        self.param.watch(self._redraw_own, ["split", "stimulus", "order", "color"])
        left = [self._image_card(), _animal_card(self.recording, LEFT)]
        middle = [self._raster_card(), self._trials_card(), self._session_card(MIDDLE)]
        right = [self._cells_card(RIGHT), self._distribution_card(RIGHT)]
        columns = [
            pn.Column(*cards, margin=0, styles={"gap": "12px"}) for cards in (left, middle, right)
        ]
        return page(self.title, self._describe(), *columns)

    def figures(self) -> Mapping[str, Callable[[], hv.Dimensioned]]:
        """Figures on this page."""
        return {
            "image": self._draw_image,
            "raster": self._draw_raster,
            "trials": self._draw_trials,
            "cells": lambda: self._draw_cells() * self._draw_circles(),
            "distribution": self._draw_distribution,
        }

    def tables(self) -> Mapping[str, Callable[[], xr.Dataset | None]]:
        """Data behind the figures."""
        return {"raster": self.raster, "trials": self.repeats, "neurons": self.of_neurons}

    def calls(self) -> list[str]:
        """Lines that compute what is shown from `recording`."""
        split = None if self.split == "all" else self.split
        lines = [
            *super().calls(),
            self._rows_as_code(),
            f"raster = recordings.sample_raster(recording, rows, split={split!r}, "
            f"order={self.order!r})",
            f"image = recording.stimulus[{self.stimulus}]",
        ]
        if self.place >= 0:
            asked = f"{self.stimulus}, {self.place}"
            lines.append(f"repeats = recordings.summarise_repeats(recording, {asked})")
        return lines

    # What is shown, as data

    def raster(self) -> xr.Dataset:
        """Responses in the raster, from `recordings.sample_raster`."""
        known = self.lab.surveyed.gathered("reliability") is not None
        state = self.split, self.order, tuple(self.lab.selection), known
        if state not in self._read:  # a lazy recording is not read again to mark another image
            split = None if self.split == "all" else self.split
            found = recordings.sample_raster(
                self.recording, self.rows(), split=split, order=self.order
            )
            self._read = {state: found}
        return self._read[state]

    def repeats(self) -> xr.Dataset | None:
        """The chosen neuron's trials, from `recordings.summarise_repeats`; None without any."""
        if self.place < 0:
            return None
        return recordings.summarise_repeats(self.recording, self.stimulus, self.place)

    # What can be done

    def choose_at(self, column: float | None, row: float | None) -> None:
        """Show the image and choose the neuron at a place in the raster."""
        if column is None or row is None:
            return
        raster = self.raster()
        n_row, n_column = raster.raster.shape
        place = raster.neuron.values[int(np.clip(round(row), 0, n_row - 1))]
        self.stimulus = int(raster.stimulus_index[int(np.clip(round(column), 0, n_column - 1))])
        self._choose_row(int(place))

    def send_image(self) -> None:
        """Put the image on the stimulus bench."""
        with self.lab.warned("The image cannot be sent"):
            self.lab.show_image(
                self.recording.stimulus[self.stimulus].values, self._name_stimulus()
            )

    # Cards

    def _image_card(self) -> pn.Column:
        send = self._leads_to(
            "stimulus", "Send image to bench", self.send_image, width=170, margin=(6, 0, 0, 0)
        )
        return card(
            "What was shown",
            "Each image once, all in the same grey levels.",
            self._which(),
            self._view(self._draw_image, ["stimulus"]),
            self._says(self._say_stimulus, LEFT, self.param.stimulus, self.param.split),
            self._steps(),
            send,
            width=LEFT,
        )

    def _raster_card(self) -> pn.Column:
        order = pn.widgets.RadioButtonGroup.from_param(
            self.param.order, options=ORDERS, width=250, margin=(2, 0, 4, 0)
        )
        cells = self._figure(self._draw_raster, ["split", "order", "selection"], ["reliability"])
        hv.streams.Tap(source=cells).add_subscriber(lambda x, y: self.choose_at(x, y))
        marks = self._figure(
            self._draw_marks,
            ["split", "order", "selection", "stimulus", "neuron"],
            ["reliability"],
        )
        return card(
            "Trials",
            "A line a neuron, the selected or the most reliable first, in units of its standard "
            "deviation; diamonds: chosen neuron and image; tan: no response. Tap to choose both.",
            order,
            drawn(cells * marks),
            width=MIDDLE,
        )

    def _trials_card(self) -> pn.Column:
        return card(
            "The chosen neuron, trial by trial",
            "Orange: trials of the chosen image, dashed their mean; grey: all others.",
            self._view(self._draw_trials, ["stimulus", "neuron"]),
            self._says(self._say_repeats, MIDDLE, self.param.stimulus, self.lab.param.neuron),
            width=MIDDLE,
        )

    # Figures and words

    def _draw_image(self) -> hv.Image:
        image = self.recording.stimulus[self.stimulus].drop_vars("image", errors="ignore")
        return bare(plots.plot_image(image, limits=self.lab.limits, width=LEFT - 50))

    def _draw_raster(self) -> hv.Image:
        raster = self.raster()
        n_row, n_column = raster.raster.shape
        split = "" if self.split == "all" else f"{self.split} "
        title = (
            f"{n_row:,} of {raster.attrs['n_neuron']:,} neurons, {n_column:,} of "
            f"{raster.attrs['n_trial']:,} {split}trials"
        )
        return bare(plots.plot_raster(raster, title=title, size=(MIDDLE - 130, 190)))

    def _draw_marks(self) -> hv.Points:
        return plots.plot_raster_marks(self.raster(), neuron=self.place, stimulus=self.stimulus)

    def _draw_trials(self) -> hv.Overlay:
        repeats = self.repeats()
        if repeats is None:
            repeats = recordings.summarise_repeats(self.recording, self.stimulus, 0)
            repeats = repeats * np.nan
        return bare(plots.plot_trials(repeats, size=(MIDDLE - 70, 120)))

    def _say_repeats(self) -> str:
        repeats = self.repeats()
        if repeats is None:
            return badge("not in this recording", "none")
        n, shown = int(repeats.n_repeat), int(repeats.shown.sum())
        said = f"{n} of {shown} presentation{'s' * (shown != 1)} with a response"
        if n:
            error = float(repeats.standard_error)
            spread = f"± {error:.2g} (standard error)" if n > 1 else "(standard error undefined)"
            mean, units = float(repeats.mean_response), escape(self.lab.units)
            said += f": mean <b>{mean:.3g}</b> {spread} {units}"
        else:
            said += ": the mean is undefined"
        return said


def _animal_card(recording: xr.Dataset, width: int) -> pn.Column:
    """Card of what the animal did, one value a trial, or of what is not known of it."""
    size = (width // 2 - 66, 74)
    panels: list[hv.Dimensioned] = []
    missing = []
    if _is_known(recording, "behavior"):
        panels += list(plots.plot_behavior(recording, size=size))
    else:
        missing.append("Behaviour was not recorded, or is withheld.")
    if _is_known(recording, "pupil_center"):
        panels.append(plots.plot_pupil(recording, size=size))
    else:
        missing.append("The position of the pupil was not recorded, or is withheld.")
    small = {"title": "", "xticks": 3, "yticks": 3}
    figures = [drawn(bare(one).opts(**small, backend="bokeh")) for one in panels]
    return card(
        "What the animal did",
        "One value a trial, in the units of the source." if figures else "",
        *([pn.GridBox(*figures, ncols=2, margin=0)] if figures else []),
        *(caption(line, width) for line in missing),
        width=width,
    )


def _is_known(recording: xr.Dataset, name: str) -> bool:
    """Whether the recording has any value of that name."""
    return name in recording and bool(recording[name].notnull().any())
