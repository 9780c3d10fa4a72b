"""What all explorers share: a twin, its recording, what is chosen, known and under way."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import panel as pn
import param
import torch
import xarray as xr

from twinlab import stimuli
from twinlab.explorers.findings import Findings
from twinlab.jobs import Cancelled, Job
from twinlab.twins import Twin
from twinlab.twins.familiarity import (
    Familiarity,
    fit_familiarity,
    training_range,
    unfamiliar_features,
)

__all__ = ["STIMULUS", "LabState"]

KINDS = ["grating", "round grating", "Gabor"]
STIMULUS = ["kind", "orientation", "spatial_frequency", "phase", "contrast", "x", "y", "size"]
ADDRESS = ["neuron", "color_by", *STIMULUS]  # what the page's address says
N_FAMILIAR = 1000  # images from which familiarity is learnt, and as many to judge it by
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


class LabState(param.Parameterized):
    """One twin in the lab, and what is asked of it.

    Any number of explorers show the same state: choose a neuron on one, and all follow. Set a
    parameter from a notebook and the views follow; read one to know what is shown. What is not
    known of the chosen neuron is measured in the background.

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
        # Streams of the figures that are drawn, and the names of what they draw.
        self.views: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()
        self.places = self._place_neurons()
        self.param.watch(self._redraw, ["neuron", "preview", *STIMULUS])
        self.arrivals.param.watch(
            self._redraw, [name for name in self.arrivals.param if name != "name"]
        )
        self.param.watch(lambda _: self._examine(), "neuron")
        self._join_session()
        self._examine()

    @property
    def units(self) -> str:
        """Of responses."""
        recording = self.findings.recording
        return "a.u." if recording is None else str(recording.response.attrs.get("units", "a.u."))

    @property
    def limits(self) -> tuple[float, float]:
        """Grey levels that can be shown to the twin."""
        spec = self.findings.twin.spec
        return spec.low, spec.high

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
            attrs={"long_name": "predicted response", "units": self.units},
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

    def choose_near(self, x: float | None, y: float | None) -> None:
        """Choose the neuron nearest to a place on the map."""
        if x is None or y is None:
            return
        across, down = self.places.x_um.values, self.places.y_um.values
        # In units of the map's frame, which need not have the same scale both ways.
        distance = np.hypot((across - x) / (np.ptp(across) or 1), (down - y) / (np.ptp(down) or 1))
        self.neuron = int(distance.argmin())

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
        """Stop all work; the page that showed it is gone."""
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

    def _redraw(self, *events: param.parameterized.Event) -> None:
        """Draw again what shows any of the parameters that changed, as one update.

        Bokeh goes through all of a page's models after each update; one for every figure
        (as `hv.streams.Params` makes) takes several times as long.
        """
        changed = {event.name for event in events}
        page = pn.state.curdoc
        with page.models.freeze() if page is not None else contextlib.nullcontext():
            for stream, names in tuple(self.views.items()):
                if names & changed:
                    stream.event()

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
        self.colors = {
            label: source
            for label, source in {**COLOR_CHOICES, **depth, **truths}.items()
            if scored or source[0] != "scores"
        }
        self.param.color_by.objects = list(self.colors)
        self.param.update(
            color_by=next(iter(self.colors)),
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
            shared = {name: name for name in ADDRESS}
            pn.state.location.sync(self, shared, on_error=lambda _: None)  # an old link
        pn.state.on_session_destroyed(lambda _: self.close())


def _stop(jobs: dict[str, Job]) -> None:
    """Cancel work and wait for its threads to leave."""
    for job in jobs.values():
        job.cancel()
    for job in jobs.values():
        with contextlib.suppress(Exception):  # whatever it was, nobody is left to hear it
            job.wait(timeout=5)


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
