"""A population of simulated neurons that see videos, and its recording."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
import xarray as xr

from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.simulation.anatomy import make_filters
from twinlab.simulation.behavior import States, draw_states
from twinlab.simulation.cortex import N_STATE, SimulatedCortex
from twinlab.simulation.kernels import MEMORY, add_motion
from twinlab.simulation.neurons import KINDS
from twinlab.simulation.noise import reliable_scale
from twinlab.simulation.video_neurons import SimulatedVideoTwin
from twinlab.stimuli import make_dead_leaves_video

__all__ = ["SimulatedVideoCortex"]

N_REFERENCE = 40  # videos on which reliability is set
REFERENCE_FRAMES = 60  # of each of them, once what was before it is forgotten
STATE_SECONDS = 5.0  # time constant of behaviour and gaze


class SimulatedVideoCortex(SimulatedCortex):
    """A simulated visual cortex that sees videos, whose right answers are known.

    Its neurons are those of `SimulatedCortex` with a memory: each drive is also filtered in
    time by biphasic kernels of the neuron's own. Two neurons in five are separable in space and
    time; the others combine a quadrature pair in space with one in time, so that they prefer
    one direction of motion (the motion energy model). Running, pupil dilation and gaze change
    from frame to frame, and each frame's response is noisy.

    Parameters
    ----------
    seed, n_neuron : int
    frame_rate : float
        Frames per second, at least 15: kernels must be resolved.
    **settings
        As `SimulatedCortex` takes them. `reliability` is that of single frames: the expected
        oracle correlation of a frame with the mean of the same one in 9 repeats.

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

    frame_rate: float
    _session = "simulated-video"
    _twin: SimulatedVideoTwin

    def __init__(
        self, seed: int = 0, *, n_neuron: int = 100, frame_rate: float = 30.0, **settings: Any
    ) -> None:
        if not 15 <= frame_rate <= 1000:
            msg = f"`frame_rate` must be 15 to 1000 Hz, but got {frame_rate:g}."
            raise InputError(msg)
        self.frame_rate = float(frame_rate)
        self._forgotten = round(MEMORY * frame_rate) + 1
        self._persistence = float(np.exp(-1 / (STATE_SECONDS * frame_rate)))
        super().__init__(seed, n_neuron=n_neuron, **settings)

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with; JSON-able."""
        return super().settings | {"frame_rate": self.frame_rate}

    def as_twin(self) -> SimulatedVideoTwin:
        """Return the neurons as a twin: the model that predicts them as well as can be."""
        return copy.deepcopy(self._twin)

    def record(
        self,
        *,
        stimulus: np.ndarray | xr.DataArray | None = None,
        n_train: int | None = None,
        n_validation: int = 12,
        n_test: int = 12,
        n_repeat: int = 10,
        n_frame: int = 100,
        seed: int | None = None,
        job: Job | None = None,
    ) -> xr.Dataset:
        """Show moving dead leaves, or the user's own videos, and record the responses.

        Parameters
        ----------
        stimulus : array of shape (n_video, channel, frame, y, x), optional
            In grey levels, in place of dead leaves, for training, validation and testing in
            this order.
        n_train, n_validation : int
            Videos shown once. Without `n_train`, 100, or of the user's own all the others.
        n_test, n_repeat : int
            Videos shown `n_repeat` times each. All trials are in random order.
        n_frame : int
            Frames of each video of dead leaves. Before it the screen is grey.
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
            If a number is negative, nothing is left to show, or `stimulus` does not fit.

        """
        if n_frame < 1:
            msg = f"A video needs at least one frame, but got n_frame = {n_frame}."
            raise InputError(msg)
        if n_train is None:
            n_train = 100 if stimulus is None else len(stimulus) - n_validation - n_test
        count = {"train": n_train, "validation": n_validation, "test": n_test}
        return self._record(count, n_repeat, seed, job or Job(), stimulus, n_frame)

    def _draw_reference(self, seed: int) -> np.ndarray:
        """Videos in whose units filters and rates are set."""
        return self._draw_stimuli(N_REFERENCE, self._forgotten + REFERENCE_FRAMES, seed, Job())

    def _build(
        self, neurons: xr.Dataset, stimuli: np.ndarray, generator: np.random.Generator
    ) -> SimulatedVideoTwin:
        """The neurons, in units of their drive by the videos."""
        size = (self.height, self.width, self.channel)
        filters = make_filters(neurons, *size, generator, quadrature=True)
        neurons, kernels = add_motion(neurons, self.frame_rate, generator)
        twin = SimulatedVideoTwin(
            self.spec, neurons, filters, kernels=kernels, **self._twin_settings(neurons)
        )
        twin.set_natural_units(torch.as_tensor(stimuli), self._forgotten)
        return twin

    def _make_leaves(self, *size: int, n_frame: int, first: int) -> xr.DataArray:
        return make_dead_leaves_video(
            *size,
            n_frame=n_frame,
            frame_rate_hz=self.frame_rate,
            channel=self.channel,
            first=first,
        )

    def _draw_states(self, n_trial: int, n_frame: int, generator: np.random.Generator) -> States:
        """What the animal does in frames of trials that follow one another, frames last."""
        series = draw_states(n_trial * n_frame, generator, persistence=self._persistence)
        cut = (value.reshape(n_trial, n_frame, -1).swapaxes(1, 2) for value in series)
        return States(*cut)

    def _reliable_scale(
        self, stimuli: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Events per unit drive of each neuron, and the oracle correlation it then has."""
        n, n_frame = len(stimuli), stimuli.shape[2]
        shown = np.repeat(np.arange(n), N_STATE)
        # Of a long series, which is cut into trials that then no longer follow one another.
        states = self._draw_states(len(shown), n_frame, generator)
        order = generator.permutation(len(shown))
        context = {name: value[order] for name, value in states._asdict().items()}
        drive = self._respond(stimuli, shown, **context)[..., self._forgotten :]
        drive = drive.reshape(n, N_STATE, self.n_neuron, -1).astype(float)
        frames = drive.transpose(0, 3, 1, 2).reshape(-1, N_STATE, self.n_neuron)
        return reliable_scale(frames, self.noise, self.reliability, generator)

    def _truth(self, true_rate: np.ndarray) -> dict[str, Any]:
        """Variables of a recording that only a simulated one has."""
        lag = np.arange(self._forgotten)
        return {
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
            "lag": ("lag", lag, {"long_name": "frames since it was shown", "units": "frame"}),
        }

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
