"""A population of simulated neurons that see videos, and its recording."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr

from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed
from twinlab.simulation.anatomy import draw_neurons, make_filters
from twinlab.simulation.behavior import (
    BEHAVIOR_SPREAD,
    BEHAVIOR_TYPICAL,
    GAZE_SPREAD,
    GAZE_TYPICAL,
    States,
    draw_states,
)
from twinlab.simulation.cortex import (
    COMPOSITION,
    N_STATE,
    check_numbers,
    check_settings,
    count_kinds,
    draw_seed,
    label_recording,
    order_trials,
)
from twinlab.simulation.kernels import add_motion
from twinlab.simulation.neurons import KINDS
from twinlab.simulation.noise import REPEATS, draw_responses, reliable_scale
from twinlab.simulation.video_neurons import SimulatedVideoTwin
from twinlab.stimuli import make_dead_leaves_video
from twinlab.twins import StimulusSpec

__all__ = ["SimulatedVideoCortex"]

N_REFERENCE = 40  # videos on which reliability is set
REFERENCE_FRAMES = 60  # of each of them, once what was before it is forgotten
STATE_SECONDS = 5.0  # time constant of behaviour and gaze
BATCH_FRAMES = 500  # frames between two reports


class SimulatedVideoCortex:
    """A simulated visual cortex that sees videos, whose right answers are known.

    Its neurons are those of `SimulatedCortex` with a memory: each drive is also filtered in
    time by biphasic kernels of the neuron's own. Two neurons in five are separable in space and
    time; the others combine a quadrature pair in space with one in time, so that they prefer
    one direction of motion (the motion energy model). Running, pupil dilation and gaze change
    from frame to frame, and each frame's response is noisy.

    Parameters
    ----------
    seed : int
        Decides all that is random in the neurons, and in a recording unless that has its own.
    n_neuron : int
    height, width, channel : int
        Size of the frames, at least 16 x 16 pixels.
    frame_rate : float
        Frames per second, at least 15: kernels must be resolved.
    composition, orientation_map, running_gain, pupil_gain, gaze_shift, noise
        As in `SimulatedCortex`.
    reliability : float
        Mean across neurons of the expected oracle correlation over single frames with 10
        repeats: of a frame with the mean of the other 9 that show it.

    Attributes
    ----------
    neurons : xarray.Dataset
        Coordinates of the neurons, with the truth about each.
    settings : dict
        The parameters above, by name; they are attributes too.
    spec : StimulusSpec
        The videos it sees.

    Raises
    ------
    InputError
        If a setting is unknown or out of range, or the reliability cannot be reached.

    References
    ----------
    Adelson & Bergen (1985), Journal of the Optical Society of America A 2: 284-299.

    Examples
    --------
    >>> cortex = SimulatedVideoCortex(seed=0, n_neuron=4, height=24, width=32)
    >>> recording = cortex.record(n_train=3, n_validation=1, n_test=1, n_repeat=2, n_frame=20)
    >>> dict(recording.response.sizes)
    {'trial': 6, 'neuron': 4, 'frame': 20}

    """

    def __init__(
        self,
        seed: int = 0,
        *,
        n_neuron: int = 100,
        height: int = 36,
        width: int = 64,
        channel: int = 1,
        frame_rate: float = 30.0,
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
        self.frame_rate = frame_rate
        self.composition = dict(COMPOSITION if composition is None else composition)
        self.orientation_map = orientation_map
        self.running_gain, self.pupil_gain = running_gain, pupil_gain
        self.gaze_shift = gaze_shift
        self.noise = noise
        self.reliability = reliability
        check_settings(self.settings)
        if not 15 <= frame_rate <= 1000:
            msg = f"`frame_rate` must be 15 to 1000 Hz, but got {frame_rate:g}."
            raise InputError(msg)
        self.session = f"simulated-video-{seed}"

        generator = np.random.default_rng([seed, 0])
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
        filters = make_filters(neurons, height, width, channel, generator, quadrature=True)
        neurons, kernels = add_motion(neurons, frame_rate, generator)
        self._forgotten = kernels.shape[-1]
        videos = self._draw_videos(
            N_REFERENCE, self._forgotten + REFERENCE_FRAMES, draw_seed(generator), Job()
        )
        mean, std = float(videos.mean()), float(videos.std())
        self.spec = StimulusSpec(channel, height, width, mean, std, frame_rate=float(frame_rate))
        self._persistence = float(np.exp(-1 / (STATE_SECONDS * frame_rate)))
        change = np.sqrt((1 - self._persistence) * 2) * BEHAVIOR_SPREAD[0]  # from frame to frame
        self._twin = SimulatedVideoTwin(
            self.spec,
            neurons,
            filters,
            kernels=kernels,
            gain=np.stack(
                [neurons.true_pupil_gain, np.zeros(n_neuron), neurons.true_running_gain], 1
            ),
            gaze_shift=gaze_shift,
            context={"behavior": BEHAVIOR_TYPICAL, "pupil_center": GAZE_TYPICAL},
            spread={
                "behavior": (BEHAVIOR_SPREAD[0], change, BEHAVIOR_SPREAD[2]),
                "pupil_center": GAZE_SPREAD,
            },
            origin={"simulation": self.settings},
        ).eval()
        self._twin.set_natural_units(torch.as_tensor(videos).float(), self._forgotten)
        scale, expected = self._reliable_scale(videos, generator)
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
            "seed", "n_neuron", "height", "width", "channel", "frame_rate", "composition",
            "orientation_map", "running_gain", "pupil_gain", "gaze_shift", "noise", "reliability",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"SimulatedVideoCortex({settings})"

    def as_twin(self) -> SimulatedVideoTwin:
        """Return the neurons as a twin: the model that predicts them as well as can be."""
        return copy.deepcopy(self._twin)

    def record(
        self,
        *,
        n_train: int = 100,
        n_validation: int = 12,
        n_test: int = 12,
        n_repeat: int = 10,
        n_frame: int = 100,
        seed: int | None = None,
        job: Job | None = None,
    ) -> xr.Dataset:
        """Show moving dead leaves and record the responses.

        Parameters
        ----------
        n_train, n_validation : int
            Videos shown once.
        n_test, n_repeat : int
            Videos shown `n_repeat` times each. All trials are in random order.
        n_frame : int
            Frames of each video. Before it the screen is grey.
        seed : int, optional
            Decides videos, order, behaviour and noise; the cortex's own where absent.
        job : Job, optional

        Returns
        -------
        xarray.Dataset
            A recording, its trials in the order of presentation, with the truth about the
            neurons as coordinates, `true_rate` (video, neuron, frame) at typical behaviour and
            gaze, and `true_filter` (neuron, channel, lag, y, x): the linear filter of a simple
            cell, and the even filter at the centre of the others.

        Raises
        ------
        InputError
            If a number is negative or nothing is left to show.

        """
        job = job or Job()
        count = {"train": n_train, "validation": n_validation, "test": n_test}
        n_video = check_numbers(count, n_repeat, "video")
        if n_frame < 1:
            msg = f"A video needs at least one frame, but got n_frame = {n_frame}."
            raise InputError(msg)
        seed = self.seed if seed is None else seed
        generator = np.random.default_rng([self.seed, 1, check_seed(seed)])
        stimulus = self._draw_videos(n_video, n_frame, draw_seed(generator), job.part(0.0, 0.3))
        shown, split = order_trials(count, n_repeat, generator)
        states = self._draw_states(1, len(shown) * n_frame, generator)
        states = States(*(_cut(value[0].T, n_frame) for value in states))
        every = np.arange(n_video)
        true_rate = self._respond(stimulus, every, job.part(0.3, 0.6))
        rate = self._respond(stimulus, shown, job.part(0.6, 1.0), **states._asdict())
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
                    ("video", "neuron", "frame"),
                    true_rate,
                    {"long_name": "true mean response", "units": "events per frame"},
                ),
                "true_filter": (
                    ("neuron", "channel", "lag", "y", "x"),
                    self._true_filters(),
                    {"long_name": "true space-time filter, of unit norm", "units": "1"},
                ),
            },
            frame_rate=float(self.frame_rate),
        )
        lag = np.arange(self._forgotten)
        recording = recording.assign_coords(
            lag=("lag", lag, {"long_name": "frames since it was shown", "units": "frame"})
        )
        job.report(1.0, "recorded")
        return recording

    def _draw_videos(self, n: int, n_frame: int, seed: int, job: Job) -> np.ndarray:
        """Moving dead leaves, in portions short enough to be cancelled between."""
        videos = np.empty((n, self.channel, n_frame, self.height, self.width), np.uint8)
        for start, stop in _portions(n, n_frame):
            job.report(start / n, "making videos")
            videos[start:stop] = make_dead_leaves_video(
                stop - start,
                self.height,
                self.width,
                seed,
                n_frame=n_frame,
                frame_rate_hz=self.frame_rate,
                channel=self.channel,
                first=start,
            )
        return videos

    def _draw_states(self, n: int, n_frame: int, generator: np.random.Generator) -> States:
        """Independent series of states, (n, k, n_frame) each."""
        series = [draw_states(n_frame, generator, persistence=self._persistence) for _ in range(n)]
        return States(
            *(np.stack([value.T for value in values]) for values in zip(*series, strict=True))
        )

    def _respond(
        self, videos: np.ndarray, shown: np.ndarray, job: Job | None = None, **context: np.ndarray
    ) -> np.ndarray:
        """Mean responses to the videos `shown`, (trial, neuron, frame), in their contexts."""
        n_frame = videos.shape[2]
        rate = np.empty((len(shown), self.n_neuron, n_frame), np.float32)
        with torch.inference_mode():
            for start, stop in _portions(len(shown), n_frame):
                if job:
                    job.report(start / len(shown), "recording")
                rate[start:stop] = self._twin(
                    torch.as_tensor(videos[shown[start:stop]]).float(),
                    **{
                        name: torch.as_tensor(value[start:stop]) for name, value in context.items()
                    },
                ).numpy()
        return rate

    def _reliable_scale(
        self, videos: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Events per unit drive of each neuron, and the oracle correlation it then has."""
        shown = np.repeat(np.arange(len(videos)), N_STATE)
        states = self._draw_states(len(shown), videos.shape[2], generator)
        drive = self._respond(videos, shown, **states._asdict())[..., self._forgotten :]
        drive = drive.reshape(len(videos), N_STATE, self.n_neuron, -1).astype(float)
        frames = drive.transpose(0, 3, 1, 2).reshape(-1, N_STATE, self.n_neuron)
        return reliable_scale(frames, self.noise, self.reliability, generator)

    def _true_filters(self) -> np.ndarray:
        """First space-time filter of each neuron, (neuron, channel, lag, y, x)."""
        kernels = self._twin.kernels.numpy()
        true = np.empty(
            (self.n_neuron, kernels.shape[-1], self.channel * self.height * self.width)
        )
        for code, kind in enumerate(KINDS):
            chosen = self._twin.kind.numpy() == code
            pair = getattr(self._twin, f"filters_{kind}")[:, :2].numpy()
            true[chosen] = np.einsum("nfp,nfl->nlp", pair, kernels[chosen])
        true /= np.linalg.norm(true, axis=(1, 2), keepdims=True)
        shape = (self.n_neuron, -1, self.channel, self.height, self.width)
        return true.reshape(shape).swapaxes(1, 2).astype(np.float32)


def _portions(n: int, n_frame: int) -> list[tuple[int, int]]:
    """Ranges of videos that hold few enough frames."""
    size = max(BATCH_FRAMES // n_frame, 1)
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def _cut(series: np.ndarray, n_frame: int) -> np.ndarray:
    """One long series (frame, k) in trials that follow one another, (trial, k, frame)."""
    return series.reshape(-1, n_frame, series.shape[1]).swapaxes(1, 2)
