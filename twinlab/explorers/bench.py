"""The bench: every neuron of a twin, what drives it, and what it would say to a stimulus."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
import param
import torch
import xarray as xr

from twinlab import plots, stimuli
from twinlab.explorers.findings import Findings
from twinlab.explorers.looks import badge, card, page, words
from twinlab.jobs import Cancelled, Job
from twinlab.twins import Twin
from twinlab.twins.familiarity import (
    Familiarity,
    fit_familiarity,
    training_range,
    unfamiliar_features,
)

__all__ = ["TwinBench"]

RELIABLE = 0.15  # explainable variance below which a neuron is not judged (Sensorium)
KINDS = ["grating", "round grating", "Gabor"]
STIMULUS = ["kind", "orientation", "spatial_frequency", "phase", "contrast", "x", "y", "size"]
N_FAMILIAR = 1000  # images from which familiarity is learnt, and as many to judge it by
N_GALLERY = 4  # images in each row of best and worst
# Widths of the three columns' contents, in pixels; with their frames they fill 1 368.
LEFT, HALF, RIGHT = 348, 246, 350
MIDDLE = 2 * HALF + 38
COLOR_CHOICES = {
    "preferred orientation": ("tuning", "preferred_orientation"),
    "orientation selectivity": ("tuning", "osi"),
    "FEVE": ("scores", "feve"),
    "correlation to average": ("scores", "correlation_to_average"),
    "oracle correlation": ("scores", "oracle_correlation"),
    "explainable variance": ("scores", "explainable_variance"),
}


class Arrivals(param.Parameterized):
    """How often each kind of result has come in; a view watches the kinds it draws."""

    averages = param.Integer(0)
    scores = param.Integer(0)
    receptive_field = param.Integer(0)
    tuning = param.Integer(0)
    mei = param.Integer(0)


class TwinBench(pn.viewable.Viewer):
    """One twin on the bench.

    Tap a neuron on the map, or step through them, to see its receptive field, tuning, most
    exciting input, and how far it can be trusted; move the sliders to see what the whole
    population would answer to a stimulus. All state is in the parameters: set one from a
    notebook and the views follow; read one to know what is shown.

    Parameters
    ----------
    twin : Twin
    recording : xarray.Dataset, optional
        What the twin was fitted to. Without it nothing is said of how far the twin can be
        trusted.
    scores : xarray.Dataset, optional
        From `evaluation.score_prediction`; measured on the test images where absent.
    other : Twin, optional
        Another twin of the same neurons, to judge the most exciting inputs.
    results : mapping of str to xarray.Dataset, optional
        "receptive_field", "tuning", "mei" of some or all neurons, made beforehand with this
        twin. What is not given is measured for the chosen neuron, and kept.
    session : str, optional
        Whose neurons; may be left out where the recording or the twin has only one.
    **params
        Initial values of the parameters.

    Raises
    ------
    InputError
        If what is given does not belong together.

    """

    neuron = param.Integer(0, bounds=(0, None), doc="Position of the chosen neuron.")
    color_by: Any = param.Selector(objects=[""], doc="What the map of neurons is coloured by.")
    kind: Any = param.Selector(
        objects=KINDS,
        default="Gabor",
        doc="Stimulus: full-field grating, grating in a round window, or Gabor patch.",
    )
    orientation = param.Number(
        0.0, bounds=(0, 180), step=5, doc="Of the bars, in degrees from horizontal, rising right."
    )
    spatial_frequency = param.Number(0.1, bounds=(0.02, 0.3), step=0.01, doc="Cycles per pixel.")
    phase = param.Number(
        0.0, bounds=(0, 360), step=15, doc="Degrees; 0 has a bright bar at the centre of a Gabor."
    )
    contrast = param.Number(0.8, bounds=(0, 1), step=0.05, doc="Michelson contrast, 0 to 1.")
    x = param.Number(0.0, bounds=(0, 1), step=1, doc="Centre from the left, in pixels.")
    y = param.Number(0.0, bounds=(0, 1), step=1, doc="Centre from the top, in pixels.")
    size = param.Number(
        4.0,
        bounds=(1, 32),
        step=0.5,
        doc="Radius of a round grating, or standard deviation of a Gabor's envelope, in pixels.",
    )
    running = param.Boolean(False, doc="Whether long work is under way.")
    progress = param.Number(0.0, bounds=(0, 1), doc="Share of the long work that is done.")
    message = param.String("", doc="What the long work is doing, or how it ended.")
    preview = param.Parameter(None, doc="Image the long work has reached, or None.")

    def __init__(
        self,
        twin: Twin,
        recording: xr.Dataset | None = None,
        *,
        scores: xr.Dataset | None = None,
        other: Twin | None = None,
        results: Mapping[str, xr.Dataset] | None = None,
        session: str | None = None,
        **params: Any,
    ) -> None:
        self.findings = Findings(
            twin,
            recording=recording,
            scores=scores,
            other=other,
            results=results,
            session=session,
        )
        self.training, self.familiarity = None, None
        if recording is not None and (recording.split.values == "train").any():
            self.training = training_range(recording)
            self.familiarity = _familiarity(twin, recording)
        super().__init__()
        self._set_bounds()
        self.param.update(**params)
        self._document = pn.state.curdoc
        self.arrivals = Arrivals()
        self._news: dict[str, Any] = {}
        self._telling = threading.Lock()
        self._jobs: dict[str, Job] = {}
        # A thread still computing when Python ends would bring it down.
        self._end = weakref.finalize(self, _stop, self._jobs)
        self._seen: tuple[Any, ...] = ()
        self._places = self._place_neurons()
        self._views: list[tuple[hv.streams.Stream, set[str]]] = []
        self._page = self._lay_out()
        self.param.watch(self._redraw, ["neuron", "preview", *STIMULUS])
        self.arrivals.param.watch(
            self._redraw, [name for name in self.arrivals.param if name != "name"]
        )
        self.param.watch(lambda _: self._examine(), "neuron")
        self._join_session()
        self._examine()

    def __panel__(self) -> pn.viewable.Viewable:
        """Return the page, built once."""
        return self._page

    # What is shown, as data

    def stimulus(self) -> xr.DataArray:
        """Stimulus the sliders describe: (channel, y, x), in grey levels."""
        spec = self.findings.twin.spec
        canvas: dict[str, Any] = {
            "height": spec.height,
            "width": spec.width,
            "channel": spec.channel,
            "mean": spec.mean,
            "contrast": self.contrast,
        }
        wave = self.orientation, self.spatial_frequency, self.phase
        if self.kind == "Gabor":
            made = stimuli.make_gabors(self.x, self.y, *wave, self.size, **canvas)
        elif self.kind == "round grating":
            made = stimuli.make_gratings(
                *wave, center=(self.x, self.y), radius=self.size, **canvas
            )
        else:
            made = stimuli.make_gratings(*wave, **canvas)
        return made.isel(image=0)

    def rate(self) -> xr.DataArray:
        """Predicted response of every neuron to the stimulus: (neuron)."""
        state = tuple(getattr(self, name) for name in STIMULUS)
        if not self._seen or self._seen[0] != state:  # several views ask in turn
            self._seen = state, self.findings.respond(self.stimulus().values)
        return xr.DataArray(
            self._seen[1],
            dims="neuron",
            name="rate",
            attrs={"long_name": "predicted response", "units": self._units()},
        )

    def unfamiliar(self) -> list[str]:
        """In what the stimulus is unlike all training images; empty where in nothing."""
        if self.training is None:
            return []
        image = self.stimulus().values
        faults = unfamiliar_features(image, self.training)
        if self.familiarity is not None and not faults:
            shown = torch.as_tensor(image[None])
            if self.familiarity.unfamiliar(shown).item():
                faults = [
                    f"together its statistics lie {float(self.familiarity(shown)):.0f} standard "
                    "deviations from the training images (held-out images: up to "
                    f"{self.familiarity.threshold:.0f})"
                ]
        return faults

    def known(self, name: str) -> xr.Dataset | None:
        """Return the result of that name for the chosen neuron; None while it is not known.

        One of "averages", "scores", "receptive_field", "tuning", "mei".
        """
        return self.findings.known(name, self.neuron)

    # What can be done

    def match_stimulus(self) -> None:
        """Move the stimulus to the chosen neuron's receptive field and preferred bars."""
        values: dict[str, float] = {}
        field, tuning = self.known("receptive_field"), self.known("tuning")
        if field is not None:
            values |= {"x": float(field.center_x), "y": float(field.center_y)}
        if tuning is not None:
            values |= {
                "orientation": float(tuning.preferred_orientation),
                "spatial_frequency": float(tuning.preferred_spatial_frequency),
            }
        self.param.update(
            **{
                name: round(float(np.clip(value, *self.param[name].bounds)), 3)
                for name, value in values.items()
                if np.isfinite(value)
            }
        )

    def synthesize_mei(self) -> None:
        """Start to optimise the chosen neuron's most exciting input; `cancel` stops it."""
        self._start(self.findings.measure, "mei", self.neuron)

    def measure_all_tuning(self) -> None:
        """Start to measure the tuning of every neuron, to colour the map by."""
        self._start(self.findings.measure_all, "tuning")

    def cancel(self) -> None:
        """Ask the long work to stop; what was there before stays."""
        if "long" in self._jobs:
            self._jobs["long"].cancel()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until nothing is being measured; raise what went wrong, if anything did."""
        for job in list(self._jobs.values()):
            with contextlib.suppress(Cancelled):  # it was asked to stop, which is no fault
                job.wait(timeout)

    def close(self) -> None:
        """Stop all work; the page that showed the bench is gone."""
        self._end()

    # Work in the background

    def _start(self, work: Callable[..., Any], name: str, *args: Any) -> None:
        if self.running:
            return
        self.param.update(running=True, progress=0.0, message="starting", preview=None)

        def hear(job: Job) -> None:
            """Pass on the state of the work; called in its thread."""
            if job.status == "running":
                self._tell(
                    progress=min(job.fraction, 1.0), message=job.message, preview=job.preview
                )
            else:
                said = f"failed: {job.error}" if job.status == "failed" else job.status
                self._tell(name, running=False, message=said, preview=None)

        self._jobs["long"] = Job(hear, interval=0.2).start(work, name, *args)

    def _examine(self) -> None:
        """Start to measure what is not yet known of the chosen neuron."""
        if "quick" in self._jobs:
            self._jobs["quick"].cancel()
        neuron = self.neuron
        missing = [
            name for name in self.findings.steps if self.findings.known(name, neuron) is None
        ]
        if missing:
            self._jobs["quick"] = Job(self._hear_failure, interval=np.inf).start(
                self._measure_steps, missing, neuron
            )

    def _measure_steps(self, steps: list[str], neuron: int, job: Job) -> None:
        for name in steps:
            self.findings.measure(name, neuron, job)
            self._tell(name)

    def _hear_failure(self, job: Job) -> None:
        if job.status == "failed":
            self._tell(message=f"failed: {job.error}")

    def _tell(self, arrived: str = "", **values: Any) -> None:
        """Set parameters from any thread: on the page's own loop where it is served.

        What is told before the page had time for the last goes with it, so that news never
        queue up.
        """
        with self._telling:
            on_its_way = bool(self._news)
            self._news.update(values)
            self._news.setdefault("arrived", set()).update({arrived} - {""})
        if on_its_way:
            return
        if self._document is not None and self._document.session_context is not None:
            self._document.add_next_tick_callback(self._hear_news)
        else:
            self._hear_news()

    def _hear_news(self) -> None:
        with self._telling:
            news, self._news = self._news, {}
        arrived = news.pop("arrived", set())
        self.param.update(**news)
        self.arrivals.param.update(**{name: getattr(self.arrivals, name) + 1 for name in arrived})

    # Setting up

    def _set_bounds(self) -> None:
        spec = self.findings.twin.spec
        self.param.neuron.bounds = (0, len(self.findings) - 1)
        self.param.x.bounds = (0, spec.width - 1)
        self.param.y.bounds = (0, spec.height - 1)
        self.param.size.bounds = (1, max(spec.height, spec.width) / 2)
        depth = {"cortical depth": ("labels", "z_um")} if "z_um" in self.findings.labels else {}
        truths = {
            str(name).replace("_", " "): ("labels", str(name))
            for name, truth in self.findings.labels.coords.items()
            if str(name).startswith("true_") and truth.dtype.kind == "f"
        }
        scored = self.findings.testable or self.findings.known("scores", 0) is not None
        self._colors = {
            label: source
            for label, source in {**COLOR_CHOICES, **depth, **truths}.items()
            if scored or source[0] != "scores"
        }
        self.param.color_by.objects = list(self._colors)
        self.param.update(
            color_by=next(iter(self._colors)),
            x=(spec.width - 1) / 2,
            y=(spec.height - 1) / 2,
            size=min(4.0, spec.height / 4),
        )

    def _place_neurons(self) -> xr.Dataset:
        """Where the map draws each neuron: its place in cortex, or rows where unknown."""
        labels = self.findings.labels
        if all(
            name in labels.coords and np.isfinite(labels[name].values).all()
            for name in ("x_um", "y_um")
        ):
            return labels.reset_coords()
        n_column = int(np.ceil(np.sqrt(len(self.findings))))
        row, column = np.divmod(np.arange(len(self.findings)), n_column)
        return labels.reset_coords().assign(
            x_um=("neuron", column, {"long_name": "column (position unknown)", "units": "1"}),
            y_um=("neuron", row, {"long_name": "row (position unknown)", "units": "1"}),
        )

    def _join_session(self) -> None:
        """Tie the page's address to what is shown, and its end to ours, where it is served."""
        if self._document is None or self._document.session_context is None:
            return
        if pn.state.location is not None:
            shared = {name: name for name in ["neuron", "color_by", *STIMULUS]}
            pn.state.location.sync(self, shared, on_error=lambda _: None)  # an old link
        pn.state.on_session_destroyed(lambda _: self.close())

    def _units(self) -> str:
        recording = self.findings.recording
        return "a.u." if recording is None else str(recording.response.attrs.get("units", "a.u."))

    # Figures

    def _figure(
        self, draw: Callable[[], hv.Dimensioned], names: list[str], arriving: list[str]
    ) -> hv.DynamicMap:
        """Draw in place, again whenever a parameter changes or a result comes in."""
        stream = hv.streams.Counter()
        self._views.append((stream, {*names, *arriving}))
        return hv.DynamicMap(lambda **_: draw(), streams=[stream])

    def _redraw(self, *events: param.parameterized.Event) -> None:
        """Draw again what shows any of the parameters that changed, as one update.

        Bokeh goes through all of a page's models after each update; one for every figure
        (as `hv.streams.Params` makes) takes several times as long.
        """
        changed = {event.name for event in events}
        page = pn.state.curdoc
        with page.models.freeze() if page is not None else contextlib.nullcontext():
            for stream, names in self._views:
                if names & changed:
                    stream.event()

    def _view(
        self,
        draw: Callable[[], hv.Dimensioned],
        names: list[str],
        arriving: list[str] | None = None,
    ) -> pn.pane.HoloViews:
        figure = self._figure(draw, names, arriving or [])
        return pn.pane.HoloViews(figure, linked_axes=False, margin=0)

    def _map(self) -> hv.DynamicMap:
        source, _ = self._colors[self.color_by]
        # In two layers: taps are heard on a layer, not on an overlay that changes as one.
        points = self._figure(lambda: self._draw_map().get(0), [], [source])
        hv.streams.Tap(source=points).add_subscriber(self._choose)
        return points * self._figure(lambda: self._draw_map().get(1), ["neuron"], [])

    def _rates(self) -> hv.DynamicMap:
        points = self._figure(lambda: self._draw_rates().get(0), STIMULUS, [])
        return points * self._figure(lambda: self._draw_rates().get(1), ["neuron"], [])

    def _draw_map_afresh(self, pane: pn.pane.HoloViews) -> None:
        """Draw the map anew: another colour is another scale and another colour bar."""
        del self._views[:2]  # of the map before
        views, self._views = self._views, []
        pane.object = self._map()
        self._views += views

    def _choose(self, x: float | None, y: float | None) -> None:
        """Choose the neuron nearest to where the map was tapped."""
        if x is None or y is None:
            return
        across, down = self._places.x_um.values, self._places.y_um.values
        # In units of the map's frame, which need not have the same scale both ways.
        distance = np.hypot((across - x) / (np.ptp(across) or 1), (down - y) / (np.ptp(down) or 1))
        self.neuron = int(distance.argmin())

    def _draw_map(self) -> hv.Overlay:
        source, variable = self._colors[self.color_by]
        color = (
            self._places[variable]
            if source == "labels"
            else self.findings.column(source, variable)
        )
        return plots.plot_map(
            self._places.assign({variable: color}),
            variable,
            selected=self.neuron,
            size=(LEFT - 112, LEFT - 112),
        )

    def _draw_rates(self) -> hv.Overlay:
        figure = plots.plot_map(
            self._places.assign(rate=self.rate()),
            "rate",
            selected=self.neuron,
            limits=(0.0, float(np.percentile(self.findings.usual_rate, 99)) or 1.0),
            size=(RIGHT - 110, 170),
            marker_size=7,
        )
        return _bare(figure.get(0)) * figure.get(1)

    def _draw_stimulus(self) -> hv.Image:
        return _bare(plots.plot_image(self.stimulus(), limits=self._range(), width=RIGHT - 60))

    def _range(self) -> tuple[float, float]:
        """Grey levels that can be shown to the twin."""
        spec = self.findings.twin.spec
        return spec.low, spec.high

    def _draw_receptive_field(self) -> hv.Image:
        field = self.known("receptive_field")
        if field is None:
            spec = self.findings.twin.spec
            blank = ("channel", "y", "x"), np.zeros(spec.shape)
            field = xr.Dataset({"receptive_field": blank})
        return _bare(plots.plot_receptive_field(field, title="", width=HALF - 48))

    def _draw_mei(self) -> hv.Image:
        mei, spec = self.known("mei"), self.findings.twin.spec
        image = xr.DataArray(np.full(spec.shape, spec.mean), dims=("channel", "y", "x"))
        if mei is not None:
            image = mei.mei
        elif self.preview is not None:
            image = image.copy(data=np.reshape(self.preview, spec.shape))
        return _bare(plots.plot_image(image, limits=self._range(), width=HALF - 48))

    def _draw_tuning(self) -> hv.Overlay:
        tuning = self.known("tuning")
        if tuning is None:
            tuning = _no_tuning()
        curve = tuning.evoked_curve.assign_attrs(long_name="response above blank")
        return _bare(
            plots.plot_tuning(tuning.assign(evoked_curve=curve), title="", size=(HALF - 58, 150))
        )

    def _draw_prediction(self) -> hv.Overlay:
        averages = self.known("averages")
        if averages is None:
            averages = _no_averages(self._units())
        return _bare(plots.plot_prediction(averages, title="", size=(HALF - 58, 150)))

    def _draw_gallery(self) -> hv.Overlay:
        averages, recording = self.known("averages"), self.findings.recording
        spec = self.findings.twin.spec
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
            labelled, captions, columns=N_GALLERY, limits=self._range(), width=MIDDLE - 10
        )
        return _bare(gallery)

    # Words

    def _say_who(self, neuron: int) -> str:
        labels = self.findings.labels.isel(neuron=neuron)
        parts = [
            f"<b>Neuron {neuron}</b> of {len(self.findings)}",
            f"id {labels.neuron_id.item()}",
        ]
        if "z_um" in labels.coords and np.isfinite(float(labels.z_um)):
            parts.append(f"depth {float(labels.z_um):.0f} µm")
        parts.append(f"session {labels.session.item()}")
        return ", ".join(parts)

    def _say_reliability(self, *_: int) -> str:
        scores = self.known("scores")
        if scores is None:
            if self.findings.recording is None:
                return badge("no recording given", "none") + (
                    "<br>How far this neuron can be predicted is unknown."
                )
            if "scores" not in self.findings.steps:
                return badge("no test responses", "none") + (
                    "<br>The recording has no responses to test images to judge by."
                )
            return badge("measuring", "none")
        return _words_for_scores(scores)

    def _say_receptive_field(self, *_: int) -> str:
        field = self.known("receptive_field")
        if field is None:
            return "measuring …"
        if "sensitivity" not in field:
            return ""
        return f"centre ({float(field.center_x):.1f}, {float(field.center_y):.1f}) px"

    def _say_tuning(self, *_: int) -> str:
        tuning = self.known("tuning")
        if tuning is None:
            return "measuring …"
        return (
            f"prefers <b>{float(tuning.preferred_orientation):.0f}°</b> at "
            f"{float(tuning.preferred_spatial_frequency):.2g} cycles/px; "
            f"OSI {float(tuning.osi):.2f}, F1/F0 {float(tuning.f1_f0):.2f}"
        )

    def _say_mei(self, *_: int) -> str:
        mei = self.known("mei")
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

    def _say_work(self, running: bool, progress: float, message: str) -> str:  # noqa: FBT001
        return f"{100 * progress:.0f} %: {message}" if running else message

    def _say_familiarity(self, *_: Any) -> str:
        if self.training is None:
            return badge("no recording given", "none") + " What it was trained on is unknown."
        faults = self.unfamiliar()
        if not faults:
            return badge("within what the twin was trained on", "good")
        return badge("outside what the twin was trained on", "weak") + "<br>" + "; ".join(faults)

    def _say_rate(self, neuron: int, *_: Any) -> str:
        rates, usual = self.rate().values, self.findings.usual_rate
        mine = float(rates[neuron])
        above_others = 100 * float(np.mean(rates < mine))
        above_own = 100 * float(np.mean(usual[:, neuron] < mine))
        shown = "recorded images" if self.findings.recording is not None else "gratings"
        return (
            f"Neuron {neuron}: <b>{mine:.3g}</b> {self._units()}<br>"
            f"above {above_own:.0f} % of its responses to {len(usual)} {shown}, "
            f"and above {above_others:.0f} % of the neurons"
        )

    # Layout

    def _lay_out(self) -> pn.Column:
        twin = self.findings.twin.twin
        origin = str(twin.origin.get("recording_id", ""))
        note = f"{type(twin).__name__}, {len(self.findings)} neurons" + (
            f", fitted to {origin}" if origin else ""
        )
        return page(
            "Twin bench",
            note,
            pn.Column(self._neurons_card(), self._trust_card(), margin=0, styles={"gap": "12px"}),
            self._neuron_column(),
            self._stimulus_card(),
        )

    def _neurons_card(self) -> pn.Column:
        figure = pn.pane.HoloViews(self._map(), linked_axes=False, margin=0)
        self.param.watch(lambda _: self._draw_map_afresh(figure), "color_by")
        number = pn.widgets.IntInput.from_param(self.param.neuron, label="neuron", width=90)
        color = pn.widgets.Select.from_param(self.param.color_by, label="coloured by", width=170)
        every = pn.widgets.Button(label="Tuning of all", width=LEFT // 3 - 10, margin=(4, 4, 0, 0))
        every.on_click(lambda _: self.measure_all_tuning())
        return card(
            "Neurons",
            "Each neuron at its place in cortex; tap to choose, ringed red when chosen. "
            "Grey: not known yet.",
            pn.Row(number, color, margin=0),
            figure,
            pn.Row(every, words(self._work(), LEFT - LEFT // 3), margin=0),
            width=LEFT,
        )

    def _trust_card(self) -> pn.Column:
        return card(
            "How far it can be judged",
            "Scores on the test images, with 95 % intervals over images.",
            words(pn.bind(self._say_who, self.param.neuron), LEFT),
            words(
                pn.bind(self._say_reliability, self.param.neuron, self.arrivals.param.scores), LEFT
            ),
            width=LEFT,
        )

    def _neuron_column(self) -> pn.Column:
        chosen, arrivals = self.param.neuron, self.arrivals.param
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
        if self.findings.recording is None:
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
                width=MIDDLE,
            )
            rows += [pn.Row(tuning, agreement, margin=0, styles={"gap": "12px"}), best]
        return pn.Column(*rows, margin=0, styles={"gap": "12px"})

    def _mei_controls(self) -> pn.Column:
        run = pn.widgets.Button(
            label="Synthesise", color="primary", width=100, margin=(2, 6, 2, 0)
        )
        run.on_click(lambda _: self.synthesize_mei())
        stop = pn.widgets.Button(label="Cancel", width=70, margin=(2, 0))
        stop.on_click(lambda _: self.cancel())
        run.disabled = self.param.running
        return pn.Column(pn.Row(run, stop, margin=0), words(self._work(), HALF), margin=0)

    def _work(self) -> Callable[..., str]:
        return pn.bind(self._say_work, self.param.running, self.param.progress, self.param.message)

    def _stimulus_card(self) -> pn.Column:
        titles = {
            "orientation": "orientation (deg)",
            "spatial_frequency": "frequency (cycles/px)",
            "phase": "phase (deg)",
            "contrast": "contrast (Michelson)",
            "x": "x (px)",
            "y": "y (px)",
            "size": "size (px)",
        }
        half = (RIGHT - 20) // 2
        sliders = {
            name: pn.widgets.FloatSlider.from_param(
                self.param[name], label=title, width=half, margin=(2, 8, 2, 2)
            )
            for name, title in titles.items()
        }
        for name in ("x", "y", "size"):
            sliders[name].disabled = pn.bind(_fills_the_field, self.param.kind)
        kind = pn.widgets.Select.from_param(self.param.kind, label="kind", width=half - 10)
        match = pn.widgets.Button(label="Match to neuron", width=half, margin=(18, 0, 0, 8))
        match.on_click(lambda _: self.match_stimulus())
        stimulus = [self.param[name] for name in STIMULUS]
        return card(
            "Stimulus bench",
            "Predicted response of every neuron to the stimulus above, at its place in cortex.",
            pn.Row(kind, match, margin=0),
            pn.GridBox(*sliders.values(), ncols=2, margin=0),
            self._view(self._draw_stimulus, STIMULUS),
            words(pn.bind(self._say_familiarity, *stimulus), RIGHT),
            pn.pane.HoloViews(self._rates(), linked_axes=False, margin=0),
            words(pn.bind(self._say_rate, self.param.neuron, *stimulus), RIGHT),
            width=RIGHT,
        )


def _stop(jobs: dict[str, Job]) -> None:
    """Cancel work and wait for its threads to leave."""
    for job in jobs.values():
        job.cancel()
    for job in jobs.values():
        with contextlib.suppress(Exception):  # whatever it was, nobody is left to hear it
            job.wait(timeout=5)


def _fills_the_field(kind: str) -> bool:
    return kind == "grating"


def _familiarity(twin: Twin, recording: xr.Dataset) -> Familiarity | None:
    """What the training images are like, by their statistics; None without validation images."""
    split, index = recording.split.values, recording.stimulus_index.values
    shown, held_out = (
        recording.stimulus.values[np.unique(index[split == name])[:N_FAMILIAR]]
        for name in ("train", "validation")
    )
    if twin.spec.is_video or len(shown) < 2 or not len(held_out):
        return None
    return fit_familiarity(twin, shown, held_out, core=False)


def _bare(figure: hv.Dimensioned) -> hv.Dimensioned:
    """Leave off the tools: nothing to zoom into, and each costs time at every update."""
    return figure.opts(toolbar=None, default_tools=[], backend="bokeh")


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
