"""A population of simulated neurons, its reliability set, its recording made."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
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

__all__ = [
    "COMPOSITION",
    "SimulatedCortex",
    "check_numbers",
    "check_settings",
    "count_kinds",
    "draw_seed",
    "label_recording",
    "order_trials",
]

COMPOSITION = {"simple": 0.4, "complex": 0.3, "normalized": 0.15, "surround": 0.15}
ORIENTATION_MAPS = ("salt_and_pepper", "mapped")

N_REFERENCE = 800  # images on which reliability is set
N_STATE = 2  # states of the animal in which each of them is seen
BATCH = 100  # images or trials between two reports
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
        self.session = f"simulated-{seed}"

        generator = np.random.default_rng([seed, 0])
        images = make_dead_leaves(
            N_REFERENCE, height, width, draw_seed(generator), channel=channel
        ).values
        self.spec = StimulusSpec(channel, height, width, float(images.mean()), float(images.std()))
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
        filters = make_filters(neurons, height, width, channel, generator)
        self._true_filter = self._first_filters(neurons, filters)
        self._twin = SimulatedTwin(
            self.spec,
            neurons,
            self._in_natural_units(filters, images),
            gain=np.stack(
                [neurons.true_pupil_gain, np.zeros(n_neuron), neurons.true_running_gain], 1
            ),
            gaze_shift=gaze_shift,
            context={"behavior": BEHAVIOR_TYPICAL, "pupil_center": GAZE_TYPICAL},
            spread={"behavior": BEHAVIOR_SPREAD, "pupil_center": GAZE_SPREAD},
            origin={"simulation": self.settings},
        ).eval()
        scale, expected = self._reliable_scale(images, generator)
        self._twin.scale.copy_(torch.as_tensor(scale))
        self.neurons = neurons.assign_coords(
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
        return f"SimulatedCortex({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"

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
        job = job or Job()
        count = {"train": n_train, "validation": n_validation, "test": n_test}
        n_image = check_numbers(count, n_repeat, "image")
        seed = self.seed if seed is None else seed
        generator = np.random.default_rng([self.seed, 1, check_seed(seed)])
        stimulus = self._draw_images(n_image, draw_seed(generator), job.part(0.0, 0.4))
        shown, split = order_trials(count, n_repeat, generator)
        states = draw_states(len(shown), generator)
        true_rate = self._respond(stimulus, np.arange(n_image), job.part(0.4, 0.65))
        rate = self._respond(stimulus, shown, job.part(0.65, 1.0), **states._asdict())
        recording = label_recording(
            self,
            seed,
            stimulus=stimulus,
            response=draw_responses(rate, generator, self.noise),
            shown=shown,
            split=split,
            states=states,
            truth={
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
            },
        )
        job.report(1.0, "recorded")
        return recording

    def _draw_images(self, n: int, seed: int, job: Job) -> np.ndarray:
        """Dead leaves, in portions short enough to be cancelled between."""
        images = np.empty((n, *self.spec.shape), np.uint8)
        for start in range(0, n, BATCH):
            job.report(start / n, "making images")
            stop = min(start + BATCH, n)
            images[start:stop] = make_dead_leaves(
                stop - start, self.height, self.width, seed, channel=self.channel, first=start
            )
        return images

    def _respond(
        self, images: np.ndarray, shown: np.ndarray, job: Job | None = None, **context: np.ndarray
    ) -> np.ndarray:
        """Mean responses to the images `shown`, (trial, neuron), each in its own context."""
        rate = np.empty((len(shown), self.n_neuron), np.float32)
        with torch.inference_mode():
            for start in range(0, len(shown), BATCH):
                if job:
                    job.report(start / len(shown), "recording")
                part = slice(start, start + BATCH)
                rate[part] = self._twin(
                    torch.as_tensor(images[shown[part]]).float(),
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


def check_numbers(count: Mapping[str, int], n_repeat: int, what: str) -> int:
    """Total number of images (or videos), or `InputError` if they cannot be shown."""
    total = sum(count.values())
    if min(*count.values(), n_repeat - 1) < 0 or total < 1:
        msg = (
            f"A recording needs at least one {what}, no negative number of {what}s, and "
            f"`n_repeat` >= 1, but got {dict(count)} and n_repeat = {n_repeat}."
        )
        raise InputError(msg)
    return total


def order_trials(
    count: Mapping[str, int], n_repeat: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Which stimulus each trial shows, at random, test stimuli repeatedly; split of each."""
    split = np.repeat(list(count), list(count.values()))
    shown = np.repeat(np.arange(len(split)), np.where(split == "test", n_repeat, 1))
    shown = generator.permutation(shown)
    return shown, split[shown]


def label_recording(
    cortex: Any,
    seed: int,
    *,
    stimulus: np.ndarray,
    response: np.ndarray,
    shown: np.ndarray,
    split: np.ndarray,
    states: States,
    truth: Mapping[str, Any],
    **attrs: Any,
) -> xr.Dataset:
    """Make the recording of a simulated cortex, with the truth about it."""
    # A recording of its own seed has its own name; the neurons stay in their session.
    name = cortex.session if seed == cortex.seed else f"{cortex.session}-recording-{seed}"
    recording = make_recording(
        stimulus=stimulus,
        response=response,
        trial={
            "stimulus_index": shown,
            "image_id": shown,
            "split": split,
            "presentation_order": np.arange(len(shown)),
        },
        neuron={str(key): value.values for key, value in cortex.neurons.coords.items()},
        behavior=states.behavior,
        pupil_center=states.pupil_center,
        response_units=NOISES[cortex.noise][2],
        extra=truth,
        recording_id=name,
        species="simulated",
        source="twinlab.simulation",
        license="CC0-1.0",
        simulation=json.dumps(cortex.settings, sort_keys=True),
        recording_seed=seed,
        **attrs,
    )
    for key, value in cortex.neurons.coords.items():
        recording[key].attrs = dict(value.attrs)
    return recording


def check_settings(settings: dict[str, Any]) -> None:
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


def count_kinds(composition: Mapping[str, float], n: int) -> dict[str, int]:
    """Numbers of each kind, which add up to `n` and are nearest to the shares."""
    share = np.array([composition.get(kind, 0.0) for kind in KINDS])
    exact = share / share.sum() * n
    count = np.floor(exact).astype(int)
    count[np.argsort(count - exact, kind="stable")[: n - count.sum()]] += 1
    return dict(zip(KINDS, count.tolist(), strict=True))


def draw_seed(generator: np.random.Generator) -> int:
    """Seed for images."""
    return int(generator.integers(2**63))
