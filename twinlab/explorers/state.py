"""What all explorers share: a twin or a recording, what is chosen, known and under way."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
import param
import torch
import xarray as xr
from panel.io.location import Location

from twinlab.explorers.address import Address, read_positions, write_positions
from twinlab.explorers.findings import Findings
from twinlab.explorers.shown import STIMULUS, USED, Shown
from twinlab.explorers.surveyed import NO_TWIN, Surveyed, of_recording
from twinlab.explorers.work import Work
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import Twin
from twinlab.twins.familiarity import unfamiliar_features

__all__ = ["STIMULUS", "LabState"]

# What the page's address says: all of the stimulus but pictures, which no address can hold.
ADDRESS = ["page", "neuron", "chosen", "color_by", *(set(STIMULUS) - {"image", "strokes"})]
COLOR_CHOICES = {
    "preferred orientation": ("tuning", "preferred_orientation"),
    "orientation selectivity": ("tuning", "osi"),
    "FEVE": ("scores", "feve"),
    "correlation to average": ("scores", "correlation_to_average"),
    "oracle correlation": ("scores", "oracle_correlation"),
    "explainable variance": ("scores", "explainable_variance"),
    "normalised correlation": ("scores", "cc_norm"),
    "single-trial correlation": ("scores", "single_trial_correlation"),
    "preferred spatial frequency": ("tuning", "preferred_spatial_frequency"),
    "modulation (F1/F0)": ("tuning", "f1_f0"),
    "receptive field centre x": ("receptive_field", "center_x"),
    "receptive field centre y": ("receptive_field", "center_y"),
    "mean predicted response": ("usual", "mean_rate"),
}


class LabState(Shown, Work):
    """One twin in the lab, or a recording without one yet, and what is asked of it.

    Any number of explorers show the same state: choose a neuron on one, and all follow. Set a
    parameter from a notebook and the views follow; read one to know what is shown. What is not
    known of the chosen neuron is measured in the background.

    Parameters
    ----------
    twin : Twin, optional
        Without it the recording is shown as it is, and twins can be fitted to it.
    recording : xarray.Dataset, optional
        What the twin was fitted to. Without it nothing is said of how far the twin can be
        trusted.
    scores : xarray.Dataset, optional
        From `evaluation.score_prediction`; measured on the test images where absent.
    other : Twin, optional
        Another twin of the same neurons, to judge the most exciting inputs.
    members : sequence of Twin
        Of the ensemble this twin is one of, to tell how far refits agree; its own where it is
        an ensemble.
    results : mapping of str to xarray.Dataset, optional
        "receptive_field", "tuning", "mei", "lei", "diverse" of some or all neurons, made
        beforehand with this twin. What is not given is measured for the chosen neuron, and kept.
    session : str, optional
        Whose neurons; may be left out where the recording or the twin has only one.
    others : mapping of str to Twin, optional
        Twins of the same neurons to be scored beside this one, by name.
    learning_curve : xarray.Dataset, optional
        From `fitting.fit_learning_curve`, of the same recording.
    loops : path, optional
        An inception loop, or a folder of several, to be looked at and gone on with.
    fits : path, optional
        A folder of fits, as ``twinlab fit --out FOLDER/NAME`` makes them, to be followed and added
        to.
    made_by : str
        Python lines that make the variables ``twin`` and ``recording``, as far as there are
        any, for the code that rebuilds a view.
    **params
        Initial values of the parameters.

    Raises
    ------
    InputError
        If what is given does not belong together, or is neither a twin nor a recording.

    """

    page = param.String("", doc="Which page of the lab is open; empty is the gallery.")
    neuron = param.Integer(0, bounds=(0, None), doc="Position of the chosen neuron.")
    selection = param.List(
        [], item_type=int, doc="Positions of the neurons that are looked at together."
    )
    chosen = param.String("", doc="The selection in words, such as `0-4,9`; follows it.")
    color_by: Any = param.Selector(objects=[""], doc="What the map of neurons is coloured by.")

    def __init__(
        self,
        twin: Twin | None = None,
        recording: xr.Dataset | None = None,
        *,
        scores: xr.Dataset | None = None,
        other: Twin | None = None,
        members: Sequence[Twin] = (),
        results: Mapping[str, xr.Dataset] | None = None,
        session: str | None = None,
        others: Mapping[str, Twin] | None = None,
        learning_curve: xr.Dataset | None = None,
        loops: str | PathLike[str] | None = None,
        fits: str | PathLike[str] | None = None,
        made_by: str = "",
        **params: Any,
    ) -> None:
        self._set_folders(loops, fits)
        of_twin: dict[str, Any] = {
            "scores": scores,
            "other": other,
            "members": members,
            "results": results,
            "others": others,
            "learning_curve": learning_curve,
        }
        surveyed = (
            of_recording(recording, session, of_twin)
            if twin is None
            else Findings(twin, recording=recording, session=session, **of_twin)
        )
        self._begin(surveyed, made_by, **params)

    def _begin(self, surveyed: Surveyed, made_by: str, **params: Any) -> None:
        self.surveyed = surveyed  # what is known of the neurons, with a twin or without
        self.made_by = made_by
        super().__init__(surveyed.spec)
        self.has_pages = False  # whether there is somewhere to go, which only `Lab` has
        self._seen: tuple[Any, ...] = ()  # a stimulus and the rates to it
        # Streams of the figures that are drawn, and the names of what they draw.
        self.views: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()
        self._changed: set[str] = set()
        self.places = self._place_neurons()
        self._set_choices()
        self.param.watch(self._check_selection, "selection")  # first, before it is drawn
        self.param.watch(self._redraw, ["neuron", "selection", "preview", *STIMULUS])
        self.arrivals.param.watch(
            self._redraw, [name for name in self.arrivals.param if name != "name"]
        )
        self.param.watch(self._write_selection, "selection")
        self.param.watch(self._read_selection, "chosen")
        self.param.update(**params)
        self._join_session()
        self.param.watch(lambda event: self.examine(event.new), "neuron")
        self.examine(self.neuron)

    def another(self, **params: Any) -> LabState:
        """Return a state of its own on what this one knows, as for another page.

        What either measures, both know.
        """
        state = LabState.__new__(LabState)
        state._set_folders(self.loops, self.fits)
        state._begin(self.surveyed, self.made_by, **params)
        return state

    def _set_folders(
        self, loops: str | PathLike[str] | None, fits: str | PathLike[str] | None
    ) -> None:
        self.loops = None if loops is None else Path(loops)
        self.fits = None if fits is None else Path(fits)

    def add_twin(self, name: str, twin: Twin) -> None:
        """Put another twin of the same neurons beside this one; call on the loop of the page.

        Raises
        ------
        InputError
            If it is of other neurons.

        """
        self.findings.add_twin(name, twin)
        self.arrivals.twins += 1

    @property
    def has_twin(self) -> bool:
        """Whether there is a twin, or a recording alone."""
        return isinstance(self.surveyed, Findings)

    @property
    def findings(self) -> Findings:
        """What is known of the neurons of the twin.

        Raises
        ------
        InputError
            If there is none.

        """
        if not isinstance(self.surveyed, Findings):
            raise InputError(NO_TWIN)
        return self.surveyed

    @property
    def others(self) -> dict[str, Twin]:
        """Twins of the same neurons, by name, known on every page."""
        return self.findings.others

    @property
    def units(self) -> str:
        """Of responses."""
        recording = self.surveyed.recording
        return "a.u." if recording is None else str(recording.response.attrs.get("units", "a.u."))

    # What is shown, as data

    def values_of(self, label: str) -> xr.DataArray:
        """Value of each neuron that the map can be coloured by; NaN where it is not known.

        Parameters
        ----------
        label : str
            One of `colors`.

        """
        source, variable = self.colors[label]
        if source == "labels":
            return self.places[variable]
        if source == "usual":
            return xr.DataArray(
                self.findings.usual_rate.mean(0),
                dims="neuron",
                name=variable,
                attrs={"long_name": "mean predicted response", "units": self.units},
            )
        return self.surveyed.column(source, variable)

    def rate(self) -> xr.DataArray:
        """Predicted response of every neuron to the stimulus: (neuron)."""
        stimulus = self.stimulus()
        if not self._seen or self._seen[0] is not stimulus:  # several views ask in turn
            self._seen = stimulus, self.findings.respond(stimulus.values)
        return xr.DataArray(
            self._seen[1],
            dims="neuron",
            name="rate",
            attrs={"long_name": "predicted response", "units": self.units},
        )

    def unfamiliar(self) -> list[str]:
        """In what the stimulus is unlike all training images; empty where in nothing."""
        training, familiarity = self.findings.training, self.findings.familiarity
        if training is None:
            return []
        image = self.stimulus().values
        faults = unfamiliar_features(image, training)
        if faults or familiarity is None:
            return faults
        if familiarity.unfamiliar(torch.as_tensor(image[None])).item():
            faults = ["its statistics lie further from the training images than held-out ones do"]
        return faults

    def distance(self) -> float:
        """From the training images, in standard deviations of these; NaN where not known."""
        if self.findings.familiarity is None:
            return np.nan
        with torch.inference_mode():
            return float(self.findings.familiarity(torch.as_tensor(self.stimulus().values[None])))

    def view(self) -> dict[str, Any]:
        """Parameters by which another state shows the same; not an image that was sent."""
        names = ["neuron", "selection"]
        if self.has_twin:  # whose map is coloured, and which is shown a stimulus
            names += ["color_by", "kind", *USED[self.kind]]
        view = {name: getattr(self, name) for name in names if name != "image"}
        if not view["selection"]:
            del view["selection"]
        if view.get("kind") == "image":
            del view["kind"]
        return view

    def known(self, name: str) -> xr.Dataset | None:
        """Return the result of that name for the chosen neuron; None while it is not known.

        One of "averages", "scores", "receptive_field", "tuning", "mei", "lei", "diverse".
        """
        return self.surveyed.known(name, self.neuron)

    # What can be done

    def choose_near(
        self,
        x: float | None,
        y: float | None,
        places: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Choose the neuron nearest to a place on the map, or among other places of neurons.

        Those without a place (NaN) are never the nearest.
        """
        if x is None or y is None:
            return
        across, down = places or (self.places.x_um.values, self.places.y_um.values)
        there = np.isfinite(across) & np.isfinite(down)
        if there.any():
            # In units of the map's frame, which need not have the same scale both ways.
            wide, tall = (np.ptp(values[there]) or 1 for values in (across, down))
            distance = np.hypot((across - x) / wide, (down - y) / tall)
            self.neuron = int(np.nanargmin(distance))

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
        self.start(self.findings.measure, "mei", self.neuron, arriving="mei")

    def examine(self, neuron: int, name: str = "quick") -> None:
        """Start to measure what is not yet known of a neuron, in place of the last so named."""
        missing = [
            step for step in self.surveyed.steps if self.surveyed.known(step, neuron) is None
        ]
        if missing:
            self.start_quick(self._measure_steps, missing, neuron, name=name)

    def _measure_steps(self, steps: list[str], neuron: int, job: Job) -> None:
        for name in steps:
            self.findings.measure(name, neuron, job)
            self.tell(name)

    def _redraw(self, *events: param.parameterized.Event) -> None:
        self.redraw({event.name for event in events})

    def redraw(self, changed: set[str]) -> None:
        """Draw again what shows any of the names that changed, as one update.

        Where a page is served, once the event that changed them is through: a tap is heard while
        the page is not ours to change.

        The browser goes through all of a page's models after each message; one for every figure
        (as `hv.streams.Params` makes) takes several times as long.
        """
        self._changed |= changed
        self.soon(self._draw_changed)

    def _draw_changed(self) -> None:
        changed, self._changed = self._changed, set()
        views = [view for view, names in tuple(self.views.items()) if names & changed]
        # A figure that HoloViews draws again brings new models: they are counted once, at the
        # end. Where none does, that count would take longer than all the rest.
        with pn.io.hold(freeze=any(isinstance(view, hv.streams.Stream) for view in views)):
            for view in views:
                view.event()

    # Setting up

    def _set_choices(self) -> None:
        self.param.neuron.bounds = (0, len(self.surveyed) - 1)
        depth = {"cortical depth": ("labels", "z_um")} if "z_um" in self.surveyed.labels else {}
        truths = {
            str(name).replace("_", " "): ("labels", str(name))
            for name, truth in self.surveyed.labels.coords.items()
            if str(name).startswith("true_") and truth.dtype.kind == "f"
        }
        there = {"labels", *self.surveyed.steps} | ({"usual"} if self.has_twin else set())
        if self.surveyed.known("scores", 0) is not None:
            there.add("scores")
        choices = COLOR_CHOICES | depth | truths
        self.colors = {label: source for label, source in choices.items() if source[0] in there}
        if self.colors:
            self.param.color_by.objects = list(self.colors)
            self.color_by = next(iter(self.colors))

    def _place_neurons(self) -> xr.Dataset:
        """Where the map draws each neuron: its place in cortex, or rows where unknown."""
        labels = self.surveyed.labels
        if all(
            name in labels.coords and np.isfinite(labels[name].values).all()
            for name in ("x_um", "y_um")
        ):
            return labels.reset_coords()
        n_column = int(np.ceil(np.sqrt(len(self.surveyed))))
        row, column = np.divmod(np.arange(len(self.surveyed)), n_column)
        return labels.reset_coords().assign(
            x_um=("neuron", column, {"long_name": "column (position unknown)", "units": "1"}),
            y_um=("neuron", row, {"long_name": "row (position unknown)", "units": "1"}),
        )

    def _check_selection(self, event: param.parameterized.Event) -> None:
        missing = [place for place in event.new if not 0 <= place < len(self.surveyed)]
        if missing:
            self.selection = event.old
            last = len(self.surveyed) - 1
            msg = f"There is no neuron {missing[0]} to select; choose from 0 to {last}."
            raise InputError(msg)

    def _write_selection(self, _: param.parameterized.Event) -> None:
        self.chosen = write_positions(self.selection)

    def _read_selection(self, _: param.parameterized.Event) -> None:
        if self.chosen != write_positions(self.selection):
            with self.warned("The selection cannot be shown"):
                self.selection = read_positions(self.chosen, len(self.surveyed))
            self.chosen = write_positions(self.selection)  # of what was refused, nothing stays

    def _join_session(self) -> None:
        """Tie the page's address to what is shown, and its end to ours, where it is served."""
        if not self.served:
            return
        self.address = Address(pn.state.location or Location(), self.soon, self.warn)
        self.address.join(self, {name: name for name in ADDRESS})
        if self.kind == "image" and self.image is None:
            self.kind = "Gabor"
            self.warn(
                "The image of this link is not here",
                "A link cannot hold an image: send or upload it again.",
            )
        # Not waited for: the loop is that of all pages.
        pn.state.on_session_destroyed(lambda _: self.stop())
