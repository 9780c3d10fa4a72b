"""A population of simulated neurons, its reliability set, its recording made."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr

from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, make_recording
from twinlab.simulation.anatomy import draw_neurons, make_filters
from twinlab.simulation.behavior import (
    BEHAVIOR_SPREAD,
    BEHAVIOR_TYPICAL,
    GAZE_SPREAD,
    GAZE_TYPICAL,
    States,
    draw_states,
)
from twinlab.simulation.neurons import KINDS, SimulatedTwin
from twinlab.simulation.noise import NOISES, REPEATS, draw_responses, reliable_scale
from twinlab.stimuli import make_dead_leaves
from twinlab.twins import StimulusSpec

__all__ = ["COMPOSITION", "N_STATE", "SimulatedCortex"]

COMPOSITION = {"simple": 0.4, "complex": 0.3, "normalized": 0.15, "surround": 0.15}
ORIENTATION_MAPS = ("salt_and_pepper", "mapped")

N_REFERENCE = 800  # images on which reliability is set
N_STATE = 2  # states of the animal in which each of them is seen
BATCH = 100  # images, trials or frames of them between two reports
SMALLEST = 16  # pixels along a side that a receptive field needs


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
        _check(self.settings)
        self.session = f"{self._session}-{seed}"

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
            _count(self.composition, n_neuron),
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

    def record(
        self,
        *,
        n_train: int = 4000,
        n_validation: int = 400,
        n_test: int = 100,
        n_repeat: int = 10,
        seed: int | None = None,
        job: Job | None = None,
    ) -> xr.Dataset:
        """Show dead-leaves images and record the responses.

        Parameters
        ----------
        n_train, n_validation : int
            Images shown once.
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
            If a number is negative or nothing is left to show.

        """
        count = {"train": n_train, "validation": n_validation, "test": n_test}
        return self._record(count, n_repeat, seed, job or Job())

    def _record(
        self, count: dict[str, int], n_repeat: int, seed: int | None, job: Job, n_frame: int = 1
    ) -> xr.Dataset:
        n = _check_numbers(count, n_repeat, "image" if self.frame_rate is None else "video")
        seed = self.seed if seed is None else seed
        generator = np.random.default_rng([self.seed, 1, check_seed(seed)])
        stimulus = self._draw_stimuli(n, n_frame, _draw_seed(generator), job.part(0.0, 0.4))
        shown, split = _order_trials(count, n_repeat, generator)
        states = self._draw_states(len(shown), n_frame, generator)
        true_rate = self._respond(stimulus, np.arange(n), job.part(0.4, 0.65))
        rate = self._respond(stimulus, shown, job.part(0.65, 1.0), **states._asdict())
        attrs: dict[str, Any] = {} if self.frame_rate is None else {"frame_rate": self.frame_rate}
        # A recording of its own seed has its own name; the neurons stay in their session.
        name = self.session if seed == self.seed else f"{self.session}-recording-{seed}"
        recording = make_recording(
            stimulus=stimulus,
            response=draw_responses(rate, generator, self.noise),
            trial={
                "stimulus_index": shown,
                "image_id": shown,
                "split": split,
                "presentation_order": np.arange(len(shown)),
            },
            neuron={str(key): value.values for key, value in self.neurons.coords.items()},
            behavior=states.behavior,
            pupil_center=states.pupil_center,
            response_units=NOISES[self.noise][2],
            extra=self._truth(true_rate),
            recording_id=name,
            species="simulated",
            source="twinlab.simulation",
            license="CC0-1.0",
            simulation=json.dumps(self.settings, sort_keys=True),
            recording_seed=seed,
            **attrs,
        )
        for key, value in self.neurons.coords.items():
            recording[key].attrs = dict(value.attrs)
        job.report(1.0, "recorded")
        return recording

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
        portions = []
        for start, stop in _portions(n, n_frame):
            job.report(start / n, "making stimuli")
            made = self._make_leaves(stop - start, *size, n_frame=n_frame, first=start)
            portions.append(made.values)
        return np.concatenate(portions)

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
            for start, stop in _portions(len(shown), int(np.prod(frames))):
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


def _check_numbers(count: Mapping[str, int], n_repeat: int, what: str) -> int:
    """Total number of images (or videos), or `InputError` if they cannot be shown."""
    total = sum(count.values())
    if min(*count.values(), n_repeat - 1) < 0 or total < 1:
        msg = (
            f"A recording needs at least one {what}, no negative number of {what}s, and "
            f"`n_repeat` >= 1, but got {dict(count)} and n_repeat = {n_repeat}."
        )
        raise InputError(msg)
    return total


def _order_trials(
    count: Mapping[str, int], n_repeat: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Which stimulus each trial shows, at random, test stimuli repeatedly; split of each."""
    split = np.repeat(list(count), list(count.values()))
    shown = np.repeat(np.arange(len(split)), np.where(split == "test", n_repeat, 1))
    shown = generator.permutation(shown)
    return shown, split[shown]


def _portions(n: int, n_frame: int) -> Iterator[tuple[int, int]]:
    """Ranges of stimuli of so many frames that are dealt with between two reports."""
    size = max(BATCH // n_frame, 1)
    for start in range(0, n, size):
        yield start, min(start + size, n)


def _check(settings: dict[str, Any]) -> None:
    """Raise `InputError` naming every setting that cannot be used."""
    faults = []
    if settings["n_neuron"] < 1 or settings["channel"] < 1:
        faults.append(
            "`n_neuron` and `channel` must be at least 1, but got "
            f"{settings['n_neuron']} and {settings['channel']}"
        )
    if min(settings["height"], settings["width"]) < SMALLEST:
        faults.append(
            f"`height` and `width` must be at least {SMALLEST} pixels, but got "
            f"{settings['height']} and {settings['width']}"
        )
    shares = settings["composition"]
    if set(shares) - set(KINDS) or min(shares.values(), default=0) < 0 or not any(shares.values()):
        faults.append(
            f"`composition` must give shares of at least 0, some positive, of {list(KINDS)}, "
            f"but got {shares}"
        )
    for name, known in (("orientation_map", ORIENTATION_MAPS), ("noise", tuple(NOISES))):
        if settings[name] not in known:
            faults.append(f"`{name}` must be one of {list(known)}, but got {settings[name]!r}")
    if not 0.05 <= settings["reliability"] <= 0.9:
        faults.append(f"`reliability` must be 0.05 to 0.9, but got {settings['reliability']:g}")
    if settings["gaze_shift"] < 0:
        faults.append(f"`gaze_shift` must be at least 0, but got {settings['gaze_shift']:g}")
    if settings["seed"] < 0:
        faults.append(f"`seed` must be at least 0, but got {settings['seed']}")
    if faults:
        msg = "This cortex cannot be simulated: " + "; ".join(faults) + "."
        raise InputError(msg)


def _count(composition: Mapping[str, float], n: int) -> dict[str, int]:
    """Numbers of each kind, which add up to `n` and are nearest to the shares."""
    share = np.array([composition.get(kind, 0.0) for kind in KINDS])
    exact = share / share.sum() * n
    count = np.floor(exact).astype(int)
    count[np.argsort(count - exact, kind="stable")[: n - count.sum()]] += 1
    return dict(zip(KINDS, count.tolist(), strict=True))


def _draw_seed(generator: np.random.Generator) -> int:
    """Seed for images."""
    return int(generator.integers(2**63))
