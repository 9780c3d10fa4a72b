"""A population of simulated neurons, its reliability set, its recording made."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
import xarray as xr

from twinlab.jobs import Job
from twinlab.schema import SPLITS, InputError, check_seed, make_recording
from twinlab.simulation.anatomy import draw_neurons, make_filters
from twinlab.simulation.behavior import (
    BEHAVIOR_SPREAD,
    BEHAVIOR_TYPICAL,
    GAZE_SPREAD,
    GAZE_TYPICAL,
    States,
    draw_states,
)
from twinlab.simulation.days import draw_drift, drift_twin, shift_filters
from twinlab.simulation.neurons import KINDS, SimulatedTwin
from twinlab.simulation.noise import NOISES, REPEATS, draw_responses, reliable_scale
from twinlab.simulation.settings import COMPOSITION, check_settings, count_kinds
from twinlab.simulation.trials import check_numbers, order_trials, portions
from twinlab.stimuli import make_dead_leaves
from twinlab.twins import StimulusSpec

__all__ = ["N_STATE", "SimulatedCortex"]

N_REFERENCE = 800  # images on which reliability is set
N_STATE = 2  # states of the animal in which each of them is seen


class SimulatedCortex:
    """A simulated visual cortex whose right answers are known.

    Its neurons are Gabor cells of four kinds, in units of their drive by natural images:

    - simple: one filter, smoothly half-rectified;
    - complex: square root of the energy of a quadrature pair;
    - normalized: energy divided by that of all orientations at the same place, which gives
      cross-orientation suppression and saturation with contrast;
    - surround: energy divided by that in an annulus around it, which gives size suppression.

    Running and pupil dilation multiply the rates, the pupil's position moves the receptive
    fields, and single trials are noisy. Each neuron's rate is scaled so that its trials are as
    reliable as asked.

    Parameters
    ----------
    seed : int
        Decides all that is random in the neurons, and in a recording unless that has its own.
    n_neuron : int
    height, width, channel : int
        Size of the images it sees, at least 16 x 16 pixels. With more than one channel, some
        neurons weigh all alike (`true_colour_blind`) and the others prefer some.
    composition : mapping of str to float, optional
        Share of each kind; `COMPOSITION` where absent.
    orientation_map : {"salt_and_pepper", "mapped"}
        Preferred orientations at random, as in mice, or in a map with pinwheels.
    running_gain, pupil_gain : float
        Change of the logarithm of the rate per standard deviation of running speed and pupil
        dilation: spread across neurons, whose mean is half of it. Gain is 1 at the median.
    gaze_shift : float
        Movement of the receptive fields in pixels per standard deviation of pupil position.
    noise : {"poisson", "calcium"}
        Spike counts or deconvolved calcium, as in `draw_responses`.
    reliability : float
        Mean across neurons of the expected oracle correlation with 10 repeats: of a trial with
        the mean of the other 9, behaviour and gaze being part of the noise.

    Attributes
    ----------
    neurons : xarray.Dataset
        Coordinates of the neurons, with the truth about each.
    settings : dict
        The parameters above, by name; they are attributes too.
    spec : StimulusSpec
        The images it sees.
    found : ndarray of int
        Positions of the neurons that are recorded: all, until some are lost (`on_day`).
    drift : dict
        What `on_day` was asked for; empty on the first day.

    Raises
    ------
    InputError
        If a setting is unknown or out of range, or the reliability cannot be reached because
        behaviour and gaze alone vary the responses too much.

    Examples
    --------
    >>> cortex = SimulatedCortex(seed=0, n_neuron=4)
    >>> recording = cortex.record(n_train=20, n_validation=5, n_test=5, n_repeat=2)
    >>> dict(recording.response.sizes)
    {'trial': 35, 'neuron': 4}

    """

    frame_rate: float | None = None
    _session = "simulated"

    def __init__(
        self,
        seed: int = 0,
        *,
        n_neuron: int = 200,
        height: int = 36,
        width: int = 64,
        channel: int = 1,
        composition: Mapping[str, float] | None = None,
        orientation_map: str = "salt_and_pepper",
        running_gain: float = 0.15,
        pupil_gain: float = 0.15,
        gaze_shift: float = 0.7,
        noise: str = "poisson",
        reliability: float = 0.40,
    ) -> None:
        self.seed = seed
        self.n_neuron = n_neuron
        self.height, self.width, self.channel = height, width, channel
        self.composition = dict(COMPOSITION if composition is None else composition)
        self.orientation_map = orientation_map
        self.running_gain, self.pupil_gain = running_gain, pupil_gain
        self.gaze_shift = gaze_shift
        self.noise = noise
        self.reliability = reliability
        check_settings(self.settings)
        self.session = f"{self._session}-{seed}"
        self.found = np.arange(n_neuron)
        self.drift: dict[str, float] = {}

        generator = np.random.default_rng([seed, 0])
        stimuli = self._draw_reference(_draw_seed(generator))
        self.spec = StimulusSpec(
            channel,
            height,
            width,
            float(stimuli.mean()),
            float(stimuli.std()),
            frame_rate=self.frame_rate,
        )
        neurons = draw_neurons(
            count_kinds(self.composition, n_neuron),
            generator,
            session=self.session,
            height=height,
            width=width,
            channel=channel,
            mapped=orientation_map == "mapped",
            running_gain=running_gain,
            pupil_gain=pupil_gain,
        )
        self._twin = self._build(neurons, stimuli, generator).eval()
        scale, expected = self._reliable_scale(stimuli, generator)
        self._twin.scale.copy_(torch.as_tensor(scale))
        self.neurons = self._twin.neurons.assign_coords(
            true_reliability=(
                "neuron",
                expected,
                {"long_name": f"expected oracle correlation, {REPEATS} repeats", "units": "1"},
            )
        )
        self._twin.neurons = self.neurons

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with; JSON-able."""
        names = (
            "seed", "n_neuron", "height", "width", "channel", "composition", "orientation_map",
            "running_gain", "pupil_gain", "gaze_shift", "noise", "reliability",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{type(self).__name__}({settings})"

    def as_twin(self) -> SimulatedTwin:
        """Return the neurons as a twin: the model that predicts them as well as can be."""
        return copy.deepcopy(self._twin)

    def on_day(
        self, day: int, *, gain: float = 0.1, shift: float = 0.5, loss: float = 0.05, seed: int = 0
    ) -> Self:
        """Return the cortex as it is some days later, drifted, with some neurons lost.

        Parameters
        ----------
        day : int
            Days since the first, which is 0. Later days go on from the earlier ones of the seed.
        gain : float
            Standard deviation of what each neuron's logarithm of the rate changes by in a day.
        shift : float
            Standard deviation in pixels of what all receptive fields move by in a day, along each
            axis.
        loss : float
            Probability that a neuron is lost in a day and not found again.
        seed : int
            Decides what drifts and who is lost.

        Returns
        -------
        SimulatedCortex
            Its lost neurons are in `neurons` and `as_twin`, but not in what it records. With
            no drift and no loss its responses are those of the first day.

        Raises
        ------
        InputError
            If a number is out of range, no neuron is left, or this is not the first day.

        """
        if self.drift:
            msg = f"This cortex is that of day {self.drift['day']} already; ask that of day 0."
            raise InputError(msg)
        generator = np.random.default_rng([self.seed, 4, check_seed(seed)])
        drift = draw_drift(self.n_neuron, day, generator, gain=gain, shift=shift, loss=loss)
        later = copy.deepcopy(self)
        later.drift = {"day": day, "gain": gain, "shift": shift, "loss": loss, "seed": seed}
        drift_twin(later._twin, drift)
        later._twin.origin = later._twin.origin | {"drift": later.drift}
        first = torch.as_tensor(self._true_filter)
        later._true_filter = shift_filters(first, drift.shift).numpy()
        later.neurons, later.found = later._twin.neurons, drift.found
        return later

    def show(
        self,
        stimulus: np.ndarray | xr.DataArray,
        shown: Sequence[int] | np.ndarray | None = None,
        *,
        split: str | Sequence[str] = "test",
        seed: int | None = None,
        job: Job | None = None,
    ) -> xr.Dataset:
        """Show any images in a given order and record the responses, as a rig does.

        Parameters
        ----------
        stimulus : array of shape (n_image, channel, y, x)
            In grey levels; of a cortex that sees videos (n_video, channel, frame, y, x). The
            `image_id` of a DataArray is kept.
        shown : sequence of int, optional
            Position in `stimulus` of what each trial shows, in the order of presentation; each
            once in their order where absent.
        split : str, or sequence of str
            Of all trials, or of each.
        seed : int, optional
            Decides behaviour and noise; the cortex's own where absent.
        job : Job, optional

        Returns
        -------
        xarray.Dataset
            A recording as `record` makes it.

        Raises
        ------
        InputError
            If the stimuli are not of the size it sees or not finite, or `shown` or `split` do
            not fit.

        """
        images = self._check_stimulus(stimulus)
        order = np.arange(len(images)) if shown is None else np.asarray(shown)
        if not (
            np.issubdtype(order.dtype, np.integer)
            and order.ndim == 1
            and order.size
            and 0 <= order.min() <= order.max() < len(images)
        ):
            msg = (
                f"`shown` must hold positions between 0 and {len(images) - 1}, one a trial, "
                f"but is {order.dtype} of shape {order.shape}"
                + (f" from {order.min()} to {order.max()}." if order.size else ".")
            )
            raise InputError(msg)
        if np.ndim(split) == 0:
            split = [str(split)] * len(order)
        if len(split) != len(order) or set(split) - set(SPLITS):
            msg = (
                f"`split` must be one of {list(SPLITS)}, or one of them for each of {len(order)} "
                f"trials, but there are {len(split)} of {sorted(set(split))}."
            )
            raise InputError(msg)
        seed = self.seed if seed is None else seed
        generator = np.random.default_rng([self.seed, 3, check_seed(seed)])
        name = f"{self.session}-shown-{seed}"
        return self._show(
            images, order, np.asarray(split), generator, seed, name, job or Job(),
            image_id=_names_of(stimulus),
        )  # fmt: skip

    def record(
        self,
        *,
        stimulus: np.ndarray | xr.DataArray | None = None,
        n_train: int | None = None,
        n_validation: int = 400,
        n_test: int = 100,
        n_repeat: int = 10,
        seed: int | None = None,
        job: Job | None = None,
    ) -> xr.Dataset:
        """Show dead-leaves images, or the user's own, and record the responses.

        Parameters
        ----------
        stimulus : array of shape (n_image, channel, y, x), optional
            In grey levels, in place of dead leaves: the first `n_train` for training, the next
            `n_validation` for validation, the last `n_test` for testing.
        n_train, n_validation : int
            Images shown once. Without `n_train`, 4000, or of the user's own all the others.
        n_test, n_repeat : int
            Images shown `n_repeat` times each. All trials are in random order.
        seed : int, optional
            Decides images, order, behaviour and noise; the cortex's own where absent.
        job : Job, optional

        Returns
        -------
        xarray.Dataset
            A recording, its trials in the order of presentation, with the truth about the
            neurons as coordinates, `true_rate` (image, neuron) at typical behaviour and gaze,
            and `true_filter` (neuron, channel, y, x), the linear filter of a simple cell and
            the even filter at the centre of the others.

        Raises
        ------
        InputError
            If a number is negative, nothing is left to show, or `stimulus` does not fit.

        """
        if n_train is None:
            n_train = 4000 if stimulus is None else len(stimulus) - n_validation - n_test
        count = {"train": n_train, "validation": n_validation, "test": n_test}
        return self._record(count, n_repeat, seed, job or Job(), stimulus)

    def _record(
        self,
        count: dict[str, int],
        n_repeat: int,
        seed: int | None,
        job: Job,
        stimulus: np.ndarray | xr.DataArray | None = None,
        n_frame: int = 1,
    ) -> xr.Dataset:
        own = None if stimulus is None else self._check_stimulus(stimulus)
        what = "image" if self.frame_rate is None else "video"
        n = check_numbers(count, n_repeat, what, None if own is None else len(own))
        seed = self.seed if seed is None else seed
        generator = np.random.default_rng([self.seed, 1, check_seed(seed)])
        image_seed = _draw_seed(generator)
        if own is None:
            own = self._draw_stimuli(n, n_frame, image_seed, job.part(0.0, 0.4))
        shown, split = order_trials(count, n_repeat, generator)
        # A recording of its own seed has its own name; the neurons stay in their session.
        name = self.session if seed == self.seed else f"{self.session}-recording-{seed}"
        return self._show(
            own, shown, split, generator, seed, name, job.part(0.4, 1.0),
            image_id=_names_of(stimulus),
        )  # fmt: skip

    def _show(
        self,
        stimulus: np.ndarray,
        shown: np.ndarray,
        split: np.ndarray,
        generator: np.random.Generator,
        seed: int,
        name: str,
        job: Job,
        *,
        image_id: np.ndarray | None,
    ) -> xr.Dataset:
        n_frame = stimulus.shape[2] if self.spec.is_video else 1
        states = self._draw_states(len(shown), n_frame, generator)
        true_rate = self._respond(stimulus, np.arange(len(stimulus)), job.part(0.0, 0.4))
        rate = self._respond(stimulus, shown, job.part(0.4, 1.0), **states._asdict())
        # Drawn for the lost neurons too, so that losing some does not change the others.
        response = draw_responses(rate, generator, self.noise)
        attrs: dict[str, Any] = {} if self.frame_rate is None else {"frame_rate": self.frame_rate}
        if self.drift:
            name = f"{name}-day-{self.drift['day']}"
            attrs["drift"] = json.dumps(self.drift, sort_keys=True)
        neurons = self.neurons.isel(neuron=self.found)
        truth = xr.Dataset(self._truth(true_rate)).isel(neuron=self.found)
        recording = make_recording(
            stimulus=stimulus,
            response=response[:, self.found],
            trial={
                "stimulus_index": shown,
                "image_id": shown if image_id is None else image_id[shown],
                "split": split,
                "presentation_order": np.arange(len(shown)),
            },
            neuron={str(key): value.values for key, value in neurons.coords.items()},
            behavior=states.behavior,
            pupil_center=states.pupil_center,
            response_units=NOISES[self.noise][2],
            extra={str(key): variable for key, variable in truth.variables.items()},
            recording_id=name,
            species="simulated",
            source="twinlab.simulation",
            license="CC0-1.0",
            simulation=json.dumps(self.settings, sort_keys=True),
            recording_seed=seed,
            **attrs,
        )
        for key, value in neurons.coords.items():
            recording[key].attrs = dict(value.attrs)
        job.report(1.0, "recorded")
        return recording

    def _check_stimulus(self, stimulus: np.ndarray | xr.DataArray) -> np.ndarray:
        """The user's stimuli, or `InputError` if this cortex cannot be shown them."""
        values = np.asarray(stimulus)
        self.spec.check(values)
        if not len(values) or not np.isfinite(values).all():
            what = "holds no image" if not len(values) else "has grey levels that are not finite"
            msg = f"`stimulus` {what}; expected finite grey levels of at least one."
            raise InputError(msg)
        return values

    def _draw_reference(self, seed: int) -> np.ndarray:
        """Images in whose units filters and rates are set."""
        return make_dead_leaves(
            N_REFERENCE, self.height, self.width, seed, channel=self.channel
        ).values

    def _build(
        self, neurons: xr.Dataset, stimuli: np.ndarray, generator: np.random.Generator
    ) -> SimulatedTwin:
        """The neurons, in units of their drive by the stimuli."""
        filters = make_filters(neurons, self.height, self.width, self.channel, generator)
        self._true_filter = self._first_filters(neurons, filters)
        filters = self._in_natural_units(filters, stimuli)
        return SimulatedTwin(self.spec, neurons, filters, **self._twin_settings(neurons))

    def _twin_settings(self, neurons: xr.Dataset) -> dict[str, Any]:
        """What behaviour and gaze do to the neurons."""
        still = np.zeros(self.n_neuron)
        return {
            "gain": np.stack([neurons.true_pupil_gain, still, neurons.true_running_gain], 1),
            "gaze_shift": self.gaze_shift,
            "context": {"behavior": BEHAVIOR_TYPICAL, "pupil_center": GAZE_TYPICAL},
            "spread": {"behavior": BEHAVIOR_SPREAD, "pupil_center": GAZE_SPREAD},
            "origin": {"simulation": self.settings},
        }

    def _draw_stimuli(self, n: int, n_frame: int, seed: int, job: Job) -> np.ndarray:
        """Dead leaves, in portions short enough to be cancelled between."""
        size = (self.height, self.width, seed)
        made = []
        for start, stop in portions(n, n_frame):
            job.report(start / n, "making stimuli")
            leaves = self._make_leaves(stop - start, *size, n_frame=n_frame, first=start)
            made.append(leaves.values)
        return np.concatenate(made)

    def _make_leaves(self, *size: int, n_frame: int, first: int) -> xr.DataArray:
        del n_frame  # an image has one
        return make_dead_leaves(*size, channel=self.channel, first=first)

    def _draw_states(self, n_trial: int, n_frame: int, generator: np.random.Generator) -> States:
        """What the animal does in trials that follow one another."""
        del n_frame
        return draw_states(n_trial, generator)

    def _truth(self, true_rate: np.ndarray) -> dict[str, Any]:
        """Variables of a recording that only a simulated one has."""
        return {
            "true_rate": (
                ("image", "neuron"),
                true_rate,
                {"long_name": "true mean response", "units": "events per trial"},
            ),
            "true_filter": (
                ("neuron", "channel", "y", "x"),
                self._true_filter,
                {"long_name": "true filter, of unit norm", "units": "1"},
            ),
        }

    def _respond(
        self,
        stimuli: np.ndarray,
        shown: np.ndarray,
        job: Job | None = None,
        **context: np.ndarray,
    ) -> np.ndarray:
        """Mean responses to the stimuli `shown`, (trial, neuron, ...), each in its own context."""
        frames = stimuli.shape[2:-2]
        rate = np.empty((len(shown), self.n_neuron, *frames), np.float32)
        with torch.inference_mode():
            for start, stop in portions(len(shown), int(np.prod(frames))):
                if job:
                    job.report(start / len(shown), "recording")
                part = slice(start, stop)
                rate[part] = self._twin(
                    torch.as_tensor(stimuli[shown[part]]).float(),
                    **{name: torch.as_tensor(value[part]) for name, value in context.items()},
                ).numpy()
        return rate

    def _first_filters(self, neurons: xr.Dataset, filters: dict[str, np.ndarray]) -> np.ndarray:
        """First filter of each neuron, (neuron, channel, y, x)."""
        first = np.empty((neurons.sizes["neuron"], self.channel * self.height * self.width))
        for kind in KINDS:
            first[neurons.true_type.values == kind] = filters[kind][:, 0]
        return first.reshape(-1, *self.spec.shape).astype(np.float32)

    def _in_natural_units(
        self, filters: dict[str, np.ndarray], images: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Scale filters so that the first energy of a neuron has mean 1 over the images."""
        seen = ((images.reshape(len(images), -1) - self.spec.mean) / self.spec.std).astype(
            np.float32
        )
        scaled = {}
        for kind, bank in filters.items():
            center = bank[:, : 1 if kind == "simple" else 2].astype(np.float32)
            power = (np.tensordot(center, seen, (2, 1)) ** 2).mean(-1).sum(-1)
            scaled[kind] = bank / np.sqrt(power)[:, None, None]
        return scaled

    def _reliable_scale(
        self, images: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Events per unit drive of each neuron, and the oracle correlation it then has."""
        shown = np.repeat(np.arange(len(images)), N_STATE)
        states = draw_states(len(shown), generator, persistence=0.0)
        drive = self._respond(images, shown, **states._asdict()).astype(float)
        drive = drive.reshape(len(images), N_STATE, self.n_neuron)
        return reliable_scale(drive, self.noise, self.reliability, generator)


def _draw_seed(generator: np.random.Generator) -> int:
    """Seed for images."""
    return int(generator.integers(2**63))


def _names_of(stimulus: np.ndarray | xr.DataArray | None) -> np.ndarray | None:
    """`image_id` of labelled stimuli, None of others."""
    if isinstance(stimulus, xr.DataArray) and "image_id" in stimulus.coords:
        return stimulus.image_id.values
    return None
