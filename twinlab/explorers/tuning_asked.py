"""Tuning as it is asked for: the experiment, its settings, and what is known of its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import holoviews as hv
import numpy as np
import param
import xarray as xr

from twinlab import insilico, plots
from twinlab.explorers.tapping import load_grating
from twinlab.explorers.views import Explorer
from twinlab.jobs import Job
from twinlab.schema import InputError

__all__ = ["FREE", "SETTINGS", "TuningAsked"]

FREE, ALONE = "any parameters", "none"
# What gratings without a mask or surround vary in; the last ones of videos.
AXES = [
    "orientation",
    "spatial_frequency",
    "phase",
    "contrast",
    "x",
    "y",
    "radius",
    "direction",
    "temporal_frequency",
]
MOVING = {"direction", "temporal_frequency", "surround_direction"}
N_SECOND = 9  # points along the second of two axes of one's own choice
SETTINGS = ("protocol", "axis", "second", "n_point", "low", "high", "contrast")
FUNCTIONS: dict[str, Callable[..., xr.Dataset]] = {
    f'EXPERIMENTS["{name}_tuning"]': insilico.EXPERIMENTS[f"{name}_tuning"]
    for name in insilico.PROTOCOLS
} | {"measure_tuning": insilico.measure_tuning}


class TuningAsked(Explorer):
    """A tuning experiment, and what it found of the chosen neuron and of others.

    What was measured is kept with the findings, so that every page of the lab knows it.
    """

    protocol: Any = param.Selector(
        objects=[*insilico.PROTOCOLS, FREE],
        default="orientation",
        doc="Named experiment, or a curve or map over parameters of your own choice.",
    )
    axis: Any = param.Selector(objects=AXES, doc="What varies, of your own choice.")
    second: Any = param.Selector(
        objects=[ALONE, *AXES], doc="What varies too, for a map, of your own choice."
    )
    n_point = param.Integer(
        None, bounds=(3, 64), allow_None=True, doc="Points of the curve; as usual where empty."
    )
    low = param.Number(None, allow_None=True, doc="Where the axis begins; as usual where empty.")
    high = param.Number(None, allow_None=True, doc="Where the axis ends; as usual where empty.")
    contrast = param.Number(
        None, bounds=(0, 1), allow_None=True, doc="Michelson contrast; as usual where empty."
    )
    index = param.String("", doc="What is counted over neurons; the main index where empty.")

    def limit_choice(self) -> None:
        """Leave out what moves where the twin sees images, which do not."""
        moves = self.lab.findings.twin.spec.is_video
        self.param.protocol.objects = [
            *(
                name
                for name, each in insilico.PROTOCOLS.items()
                if moves or not MOVING & {*each.axes, *each.fixed}
            ),
            FREE,
        ]
        self.param.axis.objects = [name for name in AXES if moves or name not in MOVING]
        self.param.second.objects = [ALONE, *self.param.axis.objects]

    def call(self) -> tuple[str, dict[str, Any]]:
        """Return the function of `insilico`, as code, and its settings.

        Raises
        ------
        InputError
            If there is nothing between the limits of an axis.

        """
        own = {name: getattr(self, name) for name in ("n_point", "low", "high", "contrast")}
        given = {name: value for name, value in own.items() if value is not None}
        if self.protocol != FREE:
            return f'EXPERIMENTS["{self.protocol}_tuning"]', given
        spec = self.lab.findings.twin.spec
        axes = {self.axis: insilico.axis_values(spec, self.axis, **given)}
        if self.second not in (ALONE, self.axis):
            axes[self.second] = insilico.axis_values(spec, self.second, n_point=N_SECOND)
        fixed: dict[str, float] = {"contrast": given.get("contrast", 0.8)}
        if {"x", "y"} & set(axes):  # of a patch, as large as the protocol for places has it
            fixed["radius"], fixed["spatial_frequency"] = insilico.patch_settings(spec)
        listed = {name: [float(f"{value:.6g}") for value in axes[name]] for name in axes}
        return "measure_tuning", {
            "axes": listed,
            "fixed": {name: value for name, value in fixed.items() if name not in axes},
        }

    @property
    def key(self) -> str:
        """Under which the findings keep the curves; empty where they cannot be asked for."""
        try:
            name, settings = self.call()
        except InputError:
            return ""
        return f"{name} {json.dumps(settings)}"  # axes in their order

    def known(self) -> xr.Dataset | None:
        """Curves of the chosen neuron, with fits and indices; None while they are not known."""
        one = self.lab.findings.known(self.key, self.lab.neuron)
        if one is None or "curve" in one:
            return one
        evoked = one.evoked  # of a map, the curve at the best of the other axis, as the named have
        at = insilico.curve_settings(one) or {axis: one[axis][0] for axis in evoked.dims[1:]}
        return one.assign(curve=evoked.sel(at).drop_vars(list(at)))

    def blank(self) -> xr.Dataset:
        """Stand in for curves that are not known yet: NaN along the axes they will have."""
        name, settings = self.call()
        spec = self.lab.findings.twin.spec
        if name == "measure_tuning":
            axes = {axis: np.array(values) for axis, values in settings["axes"].items()}
        else:
            main, *others = insilico.PROTOCOLS[self.protocol].axes
            axes = {main: insilico.axis_values(spec, main, **settings)}
            axes |= {axis: insilico.axis_values(spec, axis) for axis in others}
        dims = list(axes)
        none = np.full([len(values) for values in axes.values()], np.nan)
        rate = {"long_name": "response above blank", "units": "rate"}
        coords = {}
        for axis, values in axes.items():
            long_name, units = insilico.AXES[axis]
            coords[axis] = (axis, values, {"long_name": long_name, "units": units})
        curve = np.full(len(axes[dims[0]]), np.nan)
        return xr.Dataset({"evoked": (dims, none, rate), "curve": (dims[0], curve, rate)}, coords)

    def measure(self, neurons: list[int] | None, job: Job) -> None:
        """Measure these neurons, all where None; called in a thread."""
        name, settings = self.call()
        try:
            self.lab.findings.ask(self.key, partial(FUNCTIONS[name], **settings), neurons, job)
        except InputError as error:
            said = str(error)
            self.lab.call(lambda: self.lab.warn("These curves cannot be measured", said))
            return
        self.lab.tell("curves")

    def measured(self, one: xr.Dataset) -> xr.Dataset | None:
        """Recorded response along the main axis, less the twin's to grey; None without any.

        Raises
        ------
        InputError
            If the recording says the parameter in other units, or no trial shows it.

        """
        recording = self.lab.findings.recording
        axis = str(one.evoked.dims[0])
        if recording is None or axis not in recording.coords or "blank_response" not in one:
            return None
        position = self.lab.findings.recorded[self.lab.neuron]
        if position < 0:
            return None
        found = insilico.measure_recorded_tuning(recording, axis, [position]).isel(neuron=0)
        above = found.response - float(one.blank_response)
        return found.assign(response=above.assign_attrs(found.response.attrs))

    def indices(self) -> list[str]:
        """Names of what is known of each neuron as one number."""
        result = self.lab.findings.gathered(self.key)
        return [
            str(name)
            for name, values in ({} if result is None else result.data_vars).items()
            if values.dims == ("neuron",) and values.dtype.kind == "f"
        ]

    def main_index(self) -> str:
        """Return the index asked for, or the experiment's own; empty while there is none."""
        names = self.indices()
        own = plots.INDICES.get(f"{self.protocol}_tuning", "")
        return next((name for name in (self.index, own, *names) if name in names), "")

    def counted(self) -> xr.Dataset | None:
        """Index of the neurons measured, of the selection where there is one.

        None where there are fewer than two.
        """
        name = self.main_index()
        if not name:
            return None
        values = self.lab.findings.column(self.key, name)
        asked = np.array(self.lab.selection or range(len(values)))
        known = asked[self.lab.findings.known_of(self.key)[asked]]
        return values.isel(neuron=known).to_dataset() if len(known) > 1 else None

    def load(self, values: Mapping[str, float]) -> None:
        """Put the stimulus of one point of the grid on the bench; see `load_grating`."""
        one = self.known()
        if one is not None:
            with self.lab.warned("The stimulus cannot be shown"):
                load_grating(self.lab, one, values)

    def figures(self) -> Mapping[str, Callable[[], hv.Dimensioned]]:
        """Return curve, map and distribution."""

        def of_one(draw: Callable[[xr.Dataset], hv.Dimensioned], n_axis: int) -> hv.Dimensioned:
            self.call()  # of what cannot be asked for, says so: there is nothing to wait for
            one = self.known()
            if one is None:
                msg = f"The tuning of neuron {self.lab.neuron} is not known yet; wait for it."
                raise InputError(msg)
            if one.evoked.ndim < n_axis:
                msg = "This experiment has one axis, which makes no map; choose one with two."
                raise InputError(msg)
            return draw(one)

        def of_many() -> hv.Dimensioned:
            counted = self.counted()
            if counted is None:
                msg = "No two neurons are measured yet; measure the selection, or all."
                raise InputError(msg)
            return plots.plot_tuning_distribution(counted, self.main_index())

        def curve(one: xr.Dataset) -> hv.Dimensioned:
            return plots.plot_tuning_curve(one, measured=self.measured(one))

        return {
            "tuning curve": lambda: of_one(curve, 1),
            "tuning map": lambda: of_one(plots.plot_tuning_map, 2),
            "distribution": of_many,
        }

    def tables(self) -> Mapping[str, Callable[[], xr.Dataset | None]]:
        """Return the curves of all neurons measured, and what was recorded of the chosen."""

        def recorded() -> xr.Dataset | None:
            one = self.known()
            return None if one is None else self.measured(one)

        return {
            "tuning": lambda: self.lab.findings.gathered(self.key),
            "recorded tuning": recorded,
        }

    def calls(self) -> list[str]:
        """Return the lines that measure the chosen neuron's tuning."""
        name, settings = self.call()
        session = str(self.lab.findings.labels.session.values[0])
        given = "".join(f", {key}={value!r}" for key, value in settings.items())
        unit = f"twin.condition(session={session!r})"
        if self.lab.findings.together is not self.lab.findings.twin:
            unit = "lab.findings.together"  # the ensemble this twin is one of
        return [f"unit = {unit}", f"tuning = insilico.{name}(unit, [{self.lab.neuron}]{given})"]
