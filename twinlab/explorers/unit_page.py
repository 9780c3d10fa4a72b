"""All that is known of one neuron, and how far it can be trusted."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import panel as pn
import xarray as xr

from twinlab import plots
from twinlab.explorers.looks import badge, card, words
from twinlab.explorers.views import Explorer, bare

__all__ = ["UnitPage"]

RELIABLE = 0.15  # explainable variance below which a neuron is not judged (Sensorium)
N_GALLERY = 4  # images in each row of best and worst
NARROW, HALF = 348, 246  # widths of cards' contents, in pixels
WIDE = 2 * HALF + 38


class UnitPage(Explorer):
    """The chosen neuron: receptive field, most exciting input, tuning, images, trust."""

    title = "Unit page"
    about = "All that is known of one neuron, and how far it can be trusted."

    def lay_out(self) -> pn.Row:
        """Build the page."""
        self.trust = self._trust_card()
        self.column = self._neuron_column()
        return pn.Row(
            self.column, self.trust, margin=0, styles={"gap": "12px", "flex-wrap": "wrap"}
        )

    def _trust_card(self) -> pn.Column:
        return card(
            "How far it can be judged",
            "Scores on the test images, with 95 % intervals over images.",
            words(pn.bind(self._say_who, self.lab.param.neuron), NARROW),
            words(
                pn.bind(
                    self._say_reliability, self.lab.param.neuron, self.lab.arrivals.param.scores
                ),
                NARROW,
            ),
            width=NARROW,
        )

    def _neuron_column(self) -> pn.Column:
        chosen, arrivals = self.lab.param.neuron, self.lab.arrivals.param
        rows: list[pn.viewable.Viewable] = [
            pn.Row(
                card(
                    "Receptive field",
                    "Mean gradient of the response: red excites, blue suppresses. Outlined: where "
                    "it is sensitive at all.",
                    self._view(self._draw_receptive_field, ["neuron"], ["receptive_field"]),
                    words(
                        pn.bind(self._say_receptive_field, chosen, arrivals.receptive_field), HALF
                    ),
                    width=HALF,
                ),
                card(
                    "Most exciting input",
                    "Image of fixed norm that drives the neuron most.",
                    self._view(self._draw_mei, ["neuron", "preview"], ["mei"]),
                    words(pn.bind(self._say_mei, chosen, arrivals.mei), HALF),
                    self._mei_controls(),
                    width=HALF,
                ),
                margin=0,
                styles={"gap": "12px"},
            )
        ]
        tuning = card(
            "Orientation tuning",
            "Gratings of its best spatial frequency, mean over phases; dashed: preferred.",
            self._view(self._draw_tuning, ["neuron"], ["tuning"]),
            words(pn.bind(self._say_tuning, chosen, arrivals.tuning), HALF),
            width=HALF,
        )
        if self.lab.findings.recording is None:
            rows.append(tuning)
        else:
            agreement = card(
                "Measured and predicted",
                "Mean response to each test image ± standard error; dashed: equal.",
                self._view(self._draw_prediction, ["neuron"], ["averages"]),
                width=HALF,
            )
            best = card(
                "Test images it answered most (top) and least",
                "Below each: measured | predicted mean response.",
                self._view(self._draw_gallery, ["neuron"], ["averages"]),
                width=WIDE,
            )
            rows += [pn.Row(tuning, agreement, margin=0, styles={"gap": "12px"}), best]
        return pn.Column(*rows, margin=0, styles={"gap": "12px"})

    def _mei_controls(self) -> pn.Column:
        run = pn.widgets.Button(
            label="Synthesise", color="primary", width=100, margin=(2, 6, 2, 0)
        )
        run.on_click(lambda _: self.lab.synthesize_mei())
        stop = pn.widgets.Button(label="Cancel", width=70, margin=(2, 0))
        stop.on_click(lambda _: self.lab.cancel())
        run.disabled = self.lab.param.running
        return pn.Column(pn.Row(run, stop, margin=0), words(self._work(), HALF), margin=0)

    def _draw_receptive_field(self) -> hv.Image:
        field = self.lab.known("receptive_field")
        if field is None:
            spec = self.lab.findings.twin.spec
            blank = ("channel", "y", "x"), np.zeros(spec.shape)
            field = xr.Dataset({"receptive_field": blank})
        return bare(plots.plot_receptive_field(field, title="", width=HALF - 48))

    def _draw_mei(self) -> hv.Image:
        mei, spec = self.lab.known("mei"), self.lab.findings.twin.spec
        image = xr.DataArray(np.full(spec.shape, spec.mean), dims=("channel", "y", "x"))
        if mei is not None:
            image = mei.mei
        elif self.lab.preview is not None:
            image = image.copy(data=np.reshape(self.lab.preview, spec.shape))
        return bare(plots.plot_image(image, limits=self.lab.limits, width=HALF - 48))

    def _draw_tuning(self) -> hv.Overlay:
        tuning = self.lab.known("tuning")
        if tuning is None:
            tuning = _no_tuning()
        curve = tuning.evoked_curve.assign_attrs(long_name="response above blank")
        return bare(
            plots.plot_tuning(tuning.assign(evoked_curve=curve), title="", size=(HALF - 58, 150))
        )

    def _draw_prediction(self) -> hv.Overlay:
        averages = self.lab.known("averages")
        if averages is None:
            averages = _no_averages(self.lab.units)
        return bare(plots.plot_prediction(averages, title="", size=(HALF - 58, 150)))

    def _draw_gallery(self) -> hv.Overlay:
        averages, recording = self.lab.known("averages"), self.lab.findings.recording
        spec = self.lab.findings.twin.spec
        images = np.full((2 * N_GALLERY, *spec.shape), spec.mean, np.float32)
        captions = [""] * (2 * N_GALLERY)
        if averages is not None and recording is not None:
            order = np.argsort(averages.response.values, kind="stable")
            order = order[np.isfinite(averages.response.values[order])]
            best, worst = order[::-1][:N_GALLERY], order[:N_GALLERY]
            for row, chosen in enumerate((best, worst)):
                for column, image in enumerate(chosen):
                    place = row * N_GALLERY + column
                    one = averages.isel(image=int(image))
                    images[place] = recording.stimulus.values[int(one.stimulus_index)]
                    captions[place] = f"{float(one.response):.2g} | {float(one.prediction):.2g}"
        labelled = xr.DataArray(images, dims=("image", "channel", "y", "x"))
        gallery = plots.plot_gallery(
            labelled, captions, columns=N_GALLERY, limits=self.lab.limits, width=WIDE - 10
        )
        return bare(gallery)

    def _say_who(self, neuron: int) -> str:
        labels = self.lab.findings.labels.isel(neuron=neuron)
        parts = [
            f"<b>Neuron {neuron}</b> of {len(self.lab.findings)}",
            f"id {labels.neuron_id.item()}",
        ]
        if "z_um" in labels.coords and np.isfinite(float(labels.z_um)):
            parts.append(f"depth {float(labels.z_um):.0f} µm")
        parts.append(f"session {labels.session.item()}")
        return ", ".join(parts)

    def _say_reliability(self, *_: int) -> str:
        scores = self.lab.known("scores")
        if scores is None:
            if self.lab.findings.recording is None:
                return badge("no recording given", "none") + (
                    "<br>How far this neuron can be predicted is unknown."
                )
            if "scores" not in self.lab.findings.steps:
                return badge("no test responses", "none") + (
                    "<br>The recording has no responses to test images to judge by."
                )
            return badge("measuring", "none")
        return _words_for_scores(scores)

    def _say_receptive_field(self, *_: int) -> str:
        field = self.lab.known("receptive_field")
        if field is None:
            return "measuring …"
        if "sensitivity" not in field:
            return ""
        return f"centre ({float(field.center_x):.1f}, {float(field.center_y):.1f}) px"

    def _say_tuning(self, *_: int) -> str:
        tuning = self.lab.known("tuning")
        if tuning is None:
            return "measuring …"
        return (
            f"prefers <b>{float(tuning.preferred_orientation):.0f}°</b> at "
            f"{float(tuning.preferred_spatial_frequency):.2g} cycles/px; "
            f"OSI {float(tuning.osi):.2f}, F1/F0 {float(tuning.f1_f0):.2f}"
        )

    def _say_mei(self, *_: int) -> str:
        mei = self.lab.known("mei")
        if mei is None:
            return "not synthesised yet"
        said = f"response <b>{float(mei.activation):.3g}</b>"
        if "activation_other" not in mei:
            return said + ", on the twin that made it; no other twin to judge it"
        return (
            f"{said}; best Gabor {float(mei.activation_gabor):.3g}, natural image "
            f"{float(mei.activation_natural):.3g} of the same norm.<br>On the other twin "
            f"{float(mei.activation_other):.3g}; {float(mei.activation_gabor_other):.3g}; "
            f"{float(mei.activation_natural_other):.3g}."
        )


def _no_tuning() -> xr.Dataset:
    """Stand in for a tuning that is not known yet: drawn as empty axes."""
    orientation = xr.DataArray(
        [0.0, 90.0], dims="orientation", attrs={"long_name": "orientation", "units": "deg"}
    )
    curve = ("orientation", [np.nan, np.nan])
    return xr.Dataset(
        {"evoked_curve": curve, "preferred_orientation": np.nan, "osi": np.nan},
        {"orientation": orientation},
    )


def _no_averages(units: str) -> xr.Dataset:
    """Stand in for averages that are not known yet: drawn as empty axes."""
    none: np.ndarray = np.empty(0)
    return xr.Dataset(
        {
            "response": ("image", none, {"long_name": "measured response", "units": units}),
            "standard_error": ("image", none, {"units": units}),
            "prediction": ("image", none, {"long_name": "predicted response", "units": units}),
        }
    )


def _words_for_scores(scores: xr.Dataset) -> str:
    """Say in words how reliable one neuron is and how well it is predicted."""
    explainable = float(scores.explainable_variance)
    if explainable >= RELIABLE:
        verdict = badge("reliable enough to judge", "good")
    else:
        verdict = badge("not reliable enough to judge", "weak")
    lines = [
        verdict,
        f"Explainable variance {_with_interval(scores, 'explainable_variance')}: the share of "
        f"its variance the image accounts for (judged from {RELIABLE}).",
        f"Oracle correlation {_with_interval(scores, 'oracle_correlation')}: how well its other "
        "repeats predict a trial.",
        f"FEVE {_with_interval(scores, 'feve')}: the share of explainable variance that the "
        "twin explains.",
        f"Correlation to average {_with_interval(scores, 'correlation_to_average')}, of at most "
        f"{float(scores.cc_max):.2f}.",
    ]
    return "<br>".join(lines)


def _with_interval(scores: xr.Dataset, name: str) -> str:
    value = float(scores[name])
    if not np.isfinite(value):
        return "<b>undefined</b>"
    said = f"<b>{value:.2f}</b>"
    if f"{name}_interval" in scores:
        low, high = (float(bound) for bound in scores[f"{name}_interval"])
        said += f" [{low:.2f}, {high:.2f}]" if np.isfinite([low, high]).all() else " [undefined]"
    return said
