"""Cards on one neuron: what it responds to, what it was measured to do, how far to trust it."""

from __future__ import annotations

from typing import Any, ClassVar

import holoviews as hv
import numpy as np
import panel as pn
import xarray as xr

from twinlab import plots
from twinlab.explorers.looks import badge, card, words
from twinlab.explorers.standins import no_averages, no_tuning
from twinlab.explorers.trust import say_scores
from twinlab.explorers.unit_said import say_field, say_mei, say_tuning
from twinlab.explorers.views import Explorer, bare
from twinlab.plots.images import beside

__all__ = ["NARROW", "UnitCards"]

N_GALLERY = 4  # images in each row of best and worst
NARROW, HALF = 348, 196  # widths of the twin bench's cards' contents, in pixels
GAP = {"gap": "12px"}


class UnitCards(Explorer):
    """The chosen neuron on a few cards, beside others on the twin bench.

    `trust` says how far it can be judged, `column` shows what it responds to. Each method that
    makes a card takes the width of its contents in pixels.
    """

    compared: ClassVar[str] = ""  # what is said of the tuning that is drawn beside the neuron's

    def lay_out(self) -> pn.viewable.Viewable:
        """Build the cards."""
        self._begin()
        self.trust = card(
            "How far it can be judged",
            "Scores on the test images, with 95 % intervals over images.",
            self._says(self._say_who, NARROW, self.lab.param.neuron),
            self._says(
                self._say_reliability,
                NARROW,
                self.lab.param.neuron,
                self.lab.arrivals.param.scores,
            ),
            width=NARROW,
        )
        rows: list[pn.viewable.Viewable] = [
            pn.Row(self._field_card(HALF), self._mei_card(HALF), margin=0, styles=GAP)
        ]
        rows += self._below(HALF)
        self.column = pn.Column(*rows, margin=0, styles=GAP)
        return pn.Row(self.column, self.trust, margin=0, styles=GAP | {"flex-wrap": "wrap"})

    def _begin(self) -> None:
        self._making: tuple[str, int] | None = None  # what was started here, for which neuron

    def _below(self, half: int) -> list[pn.viewable.Viewable]:
        """Rows of tuning and, where something was measured, of images, two cards wide."""
        if self.lab.findings.recording is None:
            return [self._tuning_card(half)]
        both = self._tuning_card(half), self._agreement_card(half)
        return [pn.Row(*both, margin=0, styles=GAP), self._gallery_card(2 * half + 38)]

    # Cards

    def _field_card(self, width: int) -> pn.Column:
        chosen, arrived = self.lab.param.neuron, self.lab.arrivals.param.receptive_field
        return card(
            "Receptive field",
            "Mean gradient of the response: red excites, blue suppresses. Outlined: where it is "
            "sensitive at all.",
            self._view(
                lambda: self._draw_field(self.lab.neuron, width), ["neuron"], ["receptive_field"]
            ),
            self._says(
                lambda: say_field(self.lab.known("receptive_field")), width, chosen, arrived
            ),
            width=width,
        )

    def _mei_card(self, width: int) -> pn.Column:
        stop = pn.widgets.Button(label="Cancel", width=70, margin=(2, 0))
        stop.on_click(lambda _: self.lab.cancel())
        return card(
            "Most exciting input",
            "Image of fixed norm that drives the neuron most.",
            self._patched(
                lambda: self._draw_made("mei", self.lab.neuron, width),
                lambda: [{"image": [beside(self._made("mei", self.lab.neuron).values)]}],
                ["neuron", "preview", "mei"],
            ),
            self._says(
                lambda: say_mei(self.lab.known("mei")),
                width,
                self.lab.param.neuron,
                self.lab.arrivals.param.mei,
            ),
            pn.Row(self._maker("mei"), stop, margin=0),
            words(self._work(), width),
            width=width,
        )

    def _maker(self, name: str) -> pn.widgets.Button:
        """Button that makes one kind of optimal stimulus for the chosen neuron."""
        run = pn.widgets.Button(
            label="Synthesise", color="primary", width=100, margin=(2, 6, 2, 0)
        )
        run.disabled = self.lab.param.running

        def make(_: Any) -> None:
            self._making = name, self.lab.neuron
            self.lab.start(self.lab.findings.measure, name, self.lab.neuron, arriving=name)

        run.on_click(make)
        return run

    def _tuning_card(self, width: int) -> pn.Column:
        chosen, arrived = self.lab.param.neuron, self.lab.arrivals.param.tuning
        more = (
            " Band: from lowest to highest member." if len(self.lab.findings.members) > 1 else ""
        )
        more += self.compared
        return card(
            "Orientation tuning",
            "Gratings of its best spatial frequency, mean over phases; dashed: preferred." + more,
            self._view(
                lambda: self._draw_tuning(width), ["neuron", "pinned"], ["tuning", "member_tuning"]
            ),
            self._says(lambda: say_tuning(self.lab.known("tuning")), width, chosen, arrived),
            width=width,
        )

    def _agreement_card(self, width: int) -> pn.Column:
        band = (
            "; blue: from lowest to highest member" if len(self.lab.findings.members) > 1 else ""
        )
        return card(
            "Measured and predicted",
            f"Mean response to each test image ± standard error; dashed: equal{band}.",
            self._view(
                lambda: self._draw_prediction(width),
                ["neuron"],
                ["averages", "member_averages"],
            ),
            width=width,
        )

    def _gallery_card(self, width: int) -> pn.Column:
        return card(
            "Test images it answered most (top) and least",
            "Below each: measured | predicted mean response.",
            self._view(lambda: self._draw_gallery(width), ["neuron"], ["averages"]),
            width=width,
        )

    # Figures

    def _draw_field(self, neuron: int, width: int) -> hv.Overlay:
        field = self.lab.findings.known("receptive_field", neuron)
        if field is None:
            spec = self.lab.findings.twin.spec
            blank = ("channel", "y", "x"), np.zeros(spec.shape)
            field = xr.Dataset({"receptive_field": blank})
        return bare(plots.plot_receptive_field(field, title="", width=width - 48))

    def _draw_made(self, name: str, neuron: int, width: int) -> hv.Image:
        image = self._made(name, neuron)
        return bare(plots.plot_image(image, limits=self.lab.limits, width=width - 48))

    def _made(self, name: str, neuron: int) -> xr.DataArray:
        """Give an optimal stimulus, or how far it is, or grey."""
        made, spec = self.lab.findings.known(name, neuron), self.lab.findings.twin.spec
        image = xr.DataArray(np.full(spec.shape, spec.mean), dims=("channel", "y", "x"))
        if made is not None:
            image = made[name]
        elif self.lab.preview is not None and self._making == (name, neuron):
            image = image.copy(data=np.reshape(self.lab.preview, spec.shape))
        return image

    def _compared(self) -> xr.Dataset | None:
        """Tuning that is drawn beside the chosen neuron's; None where it never is."""
        return None

    def _draw_tuning(self, width: int) -> hv.Overlay:
        tuning, each = self.lab.known("tuning"), self.lab.known("member_tuning")
        if tuning is None:
            tuning, each = no_tuning(), None
        members = None
        if len(self.lab.findings.members) > 1:
            members = (each or no_tuning().expand_dims("member")).evoked_curve
        curve = tuning.evoked_curve.assign_attrs(long_name="response above blank")
        return bare(
            plots.plot_tuning(
                tuning.assign(evoked_curve=curve),
                beside=self._compared(),
                members=members,
                title="",
                size=(width - 58, 150),
            )
        )

    def _draw_prediction(self, width: int) -> hv.Overlay:
        averages = self.lab.known("averages")
        if averages is None:
            averages = no_averages(self.lab.units)
        if len(self.lab.findings.members) > 1:
            members = self.lab.known("member_averages")
            each = members or averages.expand_dims("member")
            averages = averages.assign(prediction_of_member=each.prediction)
        return bare(plots.plot_prediction(averages, title="", size=(width - 58, 150)))

    def _draw_gallery(self, width: int) -> hv.Overlay:
        averages, recording = self.lab.known("averages"), self.lab.findings.recording
        spec = self.lab.findings.twin.spec
        images = np.full((2 * N_GALLERY, *spec.shape), spec.mean, np.float32)
        captions = [""] * (2 * N_GALLERY)
        if averages is not None and recording is not None:
            order = np.argsort(averages.response.values, kind="stable")
            order = order[np.isfinite(averages.response.values[order])]
            for row, some in enumerate((order[::-1][:N_GALLERY], order[:N_GALLERY])):
                shown = averages.isel(image=some)
                place = slice(row * N_GALLERY, row * N_GALLERY + len(some))
                # Only these are read, of a recording that stays on the disk.
                index = shown.stimulus_index.values.astype(int)
                images[place] = recording.stimulus.isel(image=index).values
                captions[place] = [
                    f"{measured:.2g} | {predicted:.2g}"
                    for measured, predicted in zip(
                        shown.response.values, shown.prediction.values, strict=True
                    )
                ]
        labelled = xr.DataArray(images, dims=("image", "channel", "y", "x"))
        gallery = plots.plot_gallery(
            labelled, captions, columns=N_GALLERY, limits=self.lab.limits, width=width - 10
        )
        return bare(gallery)

    # Words

    def _say_who(self) -> str:
        labels = self.lab.findings.labels.isel(neuron=self.lab.neuron)
        parts = [
            f"<b>Neuron {self.lab.neuron}</b> of {len(self.lab.findings)}",
            f"id {labels.neuron_id.item()}",
        ]
        if "z_um" in labels.coords and np.isfinite(float(labels.z_um)):
            parts.append(f"depth {float(labels.z_um):.0f} µm")
        parts.append(f"session {labels.session.item()}")
        return ", ".join(parts)

    def _say_reliability(self) -> str:
        scores = self.lab.known("scores")
        return say_scores(scores) if scores is not None else self._say_unjudged()

    def _say_unjudged(self) -> str:
        """Why no scores are known."""
        unknown = "<br>How far this neuron can be predicted is unknown."
        if self.lab.findings.recording is None:
            return badge("no recording given", "none") + unknown
        if not self.lab.findings.testable:
            return badge("no test responses", "none") + (
                "<br>The recording has no responses to test images to judge by."
            )
        if self.lab.findings.recorded[self.lab.neuron] < 0:
            return badge("not in this recording", "none") + unknown
        return badge("measuring", "none")
