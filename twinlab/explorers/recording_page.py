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
from twinlab.explorers.looks import badge, card, page
from twinlab.explorers.recorded import RecordedCells, animal_card, lacks_recording
from twinlab.explorers.state import LabState
from twinlab.explorers.views import bare
from twinlab.schema import SPLITS

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

    split: Any = param.Selector(
        objects=["all", *SPLITS], default="test", doc="Whose images and trials are shown."
    )
    image = param.Integer(0, bounds=(0, None), doc="Number of the image that is shown.")
    order: Any = param.Selector(
        objects=list(ORDERS.values()), doc="Of trials in the raster: see `trials_in_order`."
    )

    @classmethod
    def lacks(cls, lab: LabState) -> str:
        """Say that there is no recording."""
        return lacks_recording(lab)

    def lay_out(self) -> pn.Column:
        """Build the page."""
        self._read: dict[Any, xr.Dataset] = {}
        self._images = np.arange(self.recording.sizes["image"])
        self._settle_image()
        self._settle_split()
        self.start_survey()
        self.param.watch(self._settle_image, "image")
        self.param.watch(self._settle_split, "split")
        self.param.watch(self._redraw_own, ["split", "image", "order", "color"])
        left = [self._image_card(), animal_card(self.recording, LEFT)]
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
        rows = "rows"
        lines = [*super().calls(), "rows = (-reliability.explainable_variance).argsort().values"]
        if self.lab.selection:
            rows = repr(self.rows().tolist())
            lines.pop()
        split = None if self.split == "all" else self.split
        lines.append(
            f"raster = recordings.sample_raster(recording, {rows}, split={split!r}, "
            f"order={self.order!r})"
        )
        lines.append(f"image = recording.stimulus[{self.image}]")
        if self.place >= 0:
            lines.append(
                f"repeats = recordings.summarise_repeats(recording, {self.image}, {self.place})"
            )
        return lines

    # What is shown, as data

    def rows(self) -> np.ndarray:
        """Positions in the recording of the neurons in the raster: selected, or reliable first."""
        if self.lab.selection:
            places = self.lab.findings.recorded[self.lab.selection]
            if (places >= 0).any():
                return places[places >= 0]
        known = self.lab.findings.surveyed("reliability")
        if known is None:
            return np.arange(self.recording.sizes["neuron"])
        return np.asarray((-known.explainable_variance).argsort().values)

    def raster(self) -> xr.Dataset:
        """Responses in the raster, from `recordings.sample_raster`."""
        known = self.lab.findings.surveyed("reliability") is not None
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
        return recordings.summarise_repeats(self.recording, self.image, self.place)

    # What can be done

    def step(self, by: int) -> None:
        """Show the image so many further among those of the split."""
        place = int(np.searchsorted(self._images, self.image))
        self.image = int(self._images[(place + by) % len(self._images)])

    def choose_random(self) -> None:
        """Show any image of the split."""
        self.image = int(np.random.default_rng().choice(self._images))

    def choose_at(self, column: float | None, row: float | None) -> None:
        """Show the image and choose the neuron at a place in the raster."""
        if column is None or row is None:
            return
        raster = self.raster()
        n_row, n_column = raster.raster.shape
        place = raster.neuron.values[int(np.clip(round(row), 0, n_row - 1))]
        self.image = int(raster.stimulus_index[int(np.clip(round(column), 0, n_column - 1))])
        self.lab.neuron = int(np.flatnonzero(self.lab.findings.recorded == place)[0])

    def send_image(self) -> None:
        """Put the image on the stimulus bench."""
        with self.lab.warned("The image cannot be sent"):
            self.lab.show_image(self.recording.stimulus[self.image].values, self._name_image())

    def _redraw_own(self, *events: param.parameterized.Event) -> None:
        self._redraw(*(event.name for event in events))

    def _settle_split(self, *_: Any) -> None:
        """Show an image of the split."""
        splits = self.recording.split.values.astype(str)
        if self.split != "all" and self.split not in splits:
            self.split = "all"
        chosen = np.ones(len(splits), bool) if self.split == "all" else splits == self.split
        self._images = np.unique(self.recording.stimulus_index.values[chosen])
        if self.image not in self._images:
            self.image = int(self._images[0])

    def _settle_image(self, *_: Any) -> None:
        """Show the split of the image, where it is of another than was chosen."""
        n_image = self.recording.sizes["image"]
        if self.image >= n_image:
            self.lab.warn(
                f"There is no image {self.image}",
                f"Images run from 0 to {n_image - 1}; 0 is shown.",
            )
            self.image = 0
        if self.image not in self._images:
            shown = self.recording.stimulus_index.values == self.image
            splits = np.unique(self.recording.split.values[shown].astype(str))
            self.split = str(splits[0]) if len(splits) else "all"

    # Cards

    def _image_card(self) -> pn.Column:
        splits = pn.widgets.Select.from_param(self.param.split, label="split", width=110)
        number = pn.widgets.IntInput.from_param(self.param.image, label="image", width=90)
        row = {"width": 82, "margin": (4, 8, 0, 0)}
        back = pn.widgets.Button(label="Previous", **row)
        back.on_click(lambda _: self.step(-1))
        on = pn.widgets.Button(label="Next", **row)
        on.on_click(lambda _: self.step(1))
        any_ = pn.widgets.Button(label="Random", **row)
        any_.on_click(lambda _: self.choose_random())
        send = self._leads_to(
            "stimulus", "Send image to bench", self.send_image, width=170, margin=(6, 0, 0, 0)
        )
        return card(
            "What was shown",
            "Each image once, in the grey levels the twin sees.",
            pn.Row(splits, number, margin=0),
            self._view(self._draw_image, ["image"]),
            self._says(self._say_image, LEFT, self.param.image, self.param.split),
            pn.Row(back, on, any_, margin=0),
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
            self._draw_marks, ["split", "order", "selection", "image", "neuron"], ["reliability"]
        )
        return card(
            "Trials",
            "A line a neuron, the selected or the most reliable first, in units of its standard "
            "deviation; diamonds: chosen neuron and image; tan: no response. Tap to choose both.",
            order,
            pn.pane.HoloViews(cells * marks, linked_axes=False, margin=0),
            width=MIDDLE,
        )

    def _trials_card(self) -> pn.Column:
        return card(
            "The chosen neuron, trial by trial",
            "Orange: trials of the chosen image, dashed their mean; grey: all others.",
            self._view(self._draw_trials, ["image", "neuron"]),
            self._says(self._say_repeats, MIDDLE, self.param.image, self.lab.param.neuron),
            width=MIDDLE,
        )

    # Figures and words

    def _draw_image(self) -> hv.Image:
        image = self.recording.stimulus[self.image].drop_vars("image", errors="ignore")
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
        return plots.plot_raster_marks(self.raster(), neuron=self.place, stimulus=self.image)

    def _draw_trials(self) -> hv.Overlay:
        repeats = self.repeats()
        if repeats is None:
            repeats = recordings.summarise_repeats(self.recording, self.image, 0)
            repeats = repeats * np.nan
        return bare(plots.plot_trials(repeats, size=(MIDDLE - 70, 120)))

    def _name_image(self) -> str:
        trial = np.flatnonzero(self.recording.stimulus_index.values == self.image)
        if not len(trial):
            return f"image {self.image}, never shown"
        one = self.recording.isel(trial=trial[0])
        return f"image {one.image_id.item()} ({one.split.item()})"

    def _say_image(self) -> str:
        times = int((self.recording.stimulus_index.values == self.image).sum())
        place = int(np.searchsorted(self._images, self.image)) + 1
        return (
            f"<b>{escape(self._name_image())}</b>, shown {times:,} time{'s' * (times != 1)}<br>"
            f"{place:,} of {len(self._images):,} images "
            f"of {'all splits' if self.split == 'all' else self.split}"
        )

    def _say_repeats(self) -> str:
        repeats = self.repeats()
        if repeats is None:
            return badge("not in this recording", "none")
        n, shown = int(repeats.n_repeat), int(repeats.shown.sum())
        said = f"{n} of {shown} presentation{'s' * (shown != 1)} with a response"
        if n:
            error = float(repeats.standard_error)
            spread = f"± {error:.2g} (standard error)" if n > 1 else "(standard error undefined)"
            said += f": mean <b>{float(repeats.mean_response):.3g}</b> {spread} {self.lab.units}"
        else:
            said += ": the mean is undefined"
        return said
