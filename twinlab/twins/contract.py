"""What a twin is: condition first, then an ordinary module from stimulus to rate."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from twinlab.jobs import Job
from twinlab.schema import InputError, is_lazy

__all__ = [
    "ConditionedTwin",
    "Context",
    "StimulusSpec",
    "Twin",
    "check_twin",
    "match_neurons",
    "predict_responses",
]

Context = Sequence[float] | np.ndarray | str | None


@dataclass(frozen=True)
class StimulusSpec:
    """The images or videos a twin was trained on: their size and the scale of their pixels.

    Attributes
    ----------
    channel, height, width : int
        Shape of one image, in channels and pixels.
    mean, std : float
        Mean and standard deviation of the training pixels, in grey levels.
    low, high : float
        Range of pixel values that can be shown, in grey levels.
    frame_rate : float, optional
        Frames per second of a video twin; None for images.

    """

    channel: int
    height: int
    width: int
    mean: float
    std: float
    low: float = 0.0
    high: float = 255.0
    frame_rate: float | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image or frame, (channel, y, x)."""
        return self.channel, self.height, self.width

    @property
    def is_video(self) -> bool:
        """Whether the stimuli are videos, (batch, channel, frame, y, x)."""
        return self.frame_rate is not None

    def check(self, stimulus: Tensor | np.ndarray) -> None:
        """Raise `InputError` unless `stimulus` is a batch of images, or videos, of this size."""
        shape = tuple(stimulus.shape)
        frame = shape[2:3] if self.is_video else ()
        if (
            stimulus.ndim != (5 if self.is_video else 4)
            or (*shape[1:2], *shape[-2:]) != self.shape
        ):
            what, axes = ("videos", "frame, ") if self.is_video else ("images", "")
            sizes = (
                f"{self.channel}, {'any, ' if self.is_video else ''}{self.height}, {self.width}"
            )
            msg = (
                f"The stimulus has shape {shape}, but this twin sees {what} of shape "
                f"(batch, channel, {axes}y, x) = (batch, {sizes}); crop or rescale the stimulus."
            )
            raise InputError(msg)
        if frame == (0,):
            msg = "The stimulus is a video of no frame; show at least one."
            raise InputError(msg)


class Twin(nn.Module):
    """A model of recorded neurons: images and context in, expected responses out.

    A kind of twin is a subclass with one method, `forward`. Everything else (conditioning,
    selecting neurons, predicting a recording, saving) is written once, here.

    Parameters
    ----------
    spec : StimulusSpec
        The images it sees.
    neurons : xarray.Dataset
        Coordinates along `neuron`: at least `neuron_id` and `session`.
    context : mapping of str to sequence of float
        Typical (median) `behavior` and `pupil_center` of the recording, in its units;
        a variable that is absent is one the twin does not use.
    origin : mapping
        Where it comes from: recording id and fingerprint, seed, versions. JSON-able.

    """

    def __init__(
        self,
        spec: StimulusSpec,
        neurons: xr.Dataset,
        context: Mapping[str, Sequence[float]] | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.neurons = neurons.drop_vars(list(neurons.data_vars))
        self.context = {name: [float(v) for v in value] for name, value in (context or {}).items()}
        self.origin = dict(origin or {})

    def forward(
        self,
        stimulus: Tensor,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Expected response of each neuron to each image.

        Parameters
        ----------
        stimulus : Tensor of shape (batch, channel, y, x) or (batch, channel, frame, y, x)
            Images or videos in grey levels. What was before a video is grey.
        behavior : Tensor of shape (batch, behavior_channel[, frame]), optional
        pupil_center : Tensor of shape (batch, 2[, frame]), optional
            In the units of the recording; the typical values where absent.
        neuron : Tensor of int of shape (n,), optional
            Positions of the neurons asked about; all where absent. Only these are computed.
        paired : bool
            Image i is seen by neuron ``neuron[i]`` alone.

        Returns
        -------
        Tensor of shape (batch, n), or (batch,) if paired; of a video, with a last axis `frame`

        """
        raise NotImplementedError

    def start_stream(self, batch: int = 1) -> Any:
        """State of a twin that has seen nothing but grey, for `step_stream`."""
        del batch
        msg = f"A {type(self).__name__} cannot be shown a video frame by frame; show it whole."
        raise InputError(msg)

    def step_stream(
        self,
        frame: Tensor,
        state: Any,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Rates (batch, n) at the next frame (batch, channel, y, x), and the state after it."""
        raise NotImplementedError

    def of_session(self, session: str) -> Twin:
        """Return the part that predicts one session's neurons, in its order of neurons."""
        del session
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values that, with its weights, describe it."""
        return {}

    @property
    def identity(self) -> str:
        """Content hash of kind, settings, neurons, weights and stimulus (16 hex digits)."""
        kind = f"{type(self).__name__}{self.spec}{sorted(self.settings.items())}"
        digest = hashlib.sha256(kind.encode())
        digest.update("\n".join(self.neurons.neuron_id.values.astype(str)).encode())
        for name, tensor in self.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def sessions(self) -> list[str]:
        """Sessions whose neurons it predicts."""
        return [str(name) for name in np.unique(self.neurons.session.values.astype(str))]

    def for_inference(self) -> Twin:
        """Return a frozen copy in evaluation mode, free to be rearranged for speed."""
        twin = copy.deepcopy(self).eval()
        return twin.requires_grad_(False)

    def typical(self, name: str, value: Context = None) -> Tensor | None:
        """Context vector to use for `name`: what was given, or the recording's median.

        None where the twin does not use `name`.
        """
        if name not in self.context:
            return None
        typical = self.context[name]
        if value is None or isinstance(value, str):
            if value not in (None, "median"):
                msg = f"`{name}` must be 'median' or {len(typical)} numbers, but got {value!r}."
                raise InputError(msg)
            return torch.tensor(typical)
        given = torch.as_tensor(np.asarray(value, np.float32)).reshape(-1)
        if len(given) != len(typical):
            msg = (
                f"`{name}` needs {len(typical)} numbers (the recording's median is "
                f"{[round(v, 3) for v in typical]}), but got {len(given)}."
            )
            raise InputError(msg)
        if not torch.isfinite(given).all():
            msg = f"`{name}` must be finite, but got {given.tolist()}."
            raise InputError(msg)
        return given

    def condition(
        self,
        *,
        session: str | None = None,
        pupil_center: Context = "median",
        behavior: Context = "median",
    ) -> ConditionedTwin:
        """Bind everything that is not the stimulus.

        Parameters
        ----------
        session : str, optional
            Whose neurons answer; may be left out where the twin has one session.
        pupil_center, behavior : "median" or sequence of float
            In the units of the recording. Ignored by a twin that does not use them.

        Returns
        -------
        ConditionedTwin
            A frozen module from images to rates.

        Raises
        ------
        InputError
            If the session is not one of this twin's, or a context has the wrong length.

        """
        known = self.sessions
        if session is None:
            if len(known) > 1:
                msg = f"This twin has several sessions; name one of {known}."
                raise InputError(msg)
            session = known[0]
        if session not in known:
            msg = f"This twin knows nothing of session {session!r}; its sessions are {known}."
            raise InputError(msg)
        context = {
            name: value
            for name, given in (("pupil_center", pupil_center), ("behavior", behavior))
            if (value := self.typical(name, given)) is not None
        }
        neuron = torch.as_tensor(
            np.flatnonzero(self.neurons.session.values.astype(str) == session)
        )
        return ConditionedTwin(
            self.for_inference(), context, neuron, paired=False, identity=self.identity
        )


class ConditionedTwin(nn.Module):
    """A frozen module from stimulus to rate; made by `Twin.condition`.

    ``twin(stimulus)`` maps (batch, channel, y, x) in grey levels to (batch, neuron), or to
    (batch,) if paired; videos (batch, channel, frame, y, x) to (batch, neuron, frame) or
    (batch, frame). `identity` is that of the twin it was made from: the frozen copy it
    computes with may hold the same function in other weights.
    """

    neuron: Tensor

    def __init__(
        self,
        twin: Twin,
        context: Mapping[str, Tensor],
        neuron: Tensor,
        *,
        paired: bool,
        identity: str,
    ) -> None:
        super().__init__()
        self.twin = twin
        self.paired_ = paired
        self.identity = identity
        self.register_buffer("neuron", neuron)
        every = np.arange(twin.neurons.sizes["neuron"])
        self.whole = not paired and np.array_equal(neuron.cpu().numpy(), every)
        self.context_names = list(context)
        for name, value in context.items():
            self.register_buffer(f"typical_{name}", value)
        self.train(False)

    @property
    def spec(self) -> StimulusSpec:
        """The images it sees."""
        return self.twin.spec

    @property
    def labels(self) -> xr.Dataset:
        """Coordinates of the neurons that answer, along `neuron`."""
        return self.twin.neurons.isel(neuron=self.neuron.cpu().numpy())

    @property
    def context(self) -> dict[str, list[float]]:
        """What was bound, by name."""
        return {name: getattr(self, f"typical_{name}").tolist() for name in self.context_names}

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.neuron.device

    def __len__(self) -> int:
        """Count the neurons that answer."""
        return len(self.neuron)

    def forward(self, stimulus: Tensor) -> Tensor:
        """Rate of each neuron for each image."""
        self.spec.check(stimulus)
        if self.paired_ and len(stimulus) != len(self.neuron):
            msg = f"Paired with {len(self.neuron)} neurons, but got {len(stimulus)} images."
            raise InputError(msg)
        neuron = None if self.whole else self.neuron
        context = self._context(stimulus)
        return self.twin(stimulus, neuron=neuron, paired=self.paired_, **context)

    def stream(self, batch: int = 1) -> Callable[[Tensor], Tensor]:
        """Show a video frame by frame.

        Parameters
        ----------
        batch : int
            Videos shown side by side.

        Returns
        -------
        callable
            From the next frame (batch, channel, y, x) to the rates at it (batch, neuron): the
            numbers that the whole video would give. Each call moves on by a frame.

        Raises
        ------
        InputError
            If the twin does not see videos, or is paired.

        """
        if not self.spec.is_video or self.paired_:
            msg = "Only a twin of videos, not paired, is shown a stimulus frame by frame."
            raise InputError(msg)
        state = self.twin.start_stream(batch)
        neuron = None if self.whole else self.neuron

        def show(frame: Tensor) -> Tensor:
            nonlocal state
            context = self._context(frame)
            rate, state = self.twin.step_stream(frame, state, neuron=neuron, **context)
            return rate

        return show

    def _context(self, stimulus: Tensor) -> dict[str, Tensor]:
        return {
            name: getattr(self, f"typical_{name}").to(stimulus.dtype).expand(len(stimulus), -1)
            for name in self.context_names
        }

    def neurons(self, index: Sequence[int] | np.ndarray | slice) -> ConditionedTwin:
        """Select neurons by position; the others cost nothing."""
        return self._select(index, paired=False)

    def paired(self, index: Sequence[int] | np.ndarray | slice) -> ConditionedTwin:
        """Select neurons by position; image i is then seen by the i-th of them alone."""
        return self._select(index, paired=True)

    def _select(
        self, index: Sequence[int] | np.ndarray | slice, *, paired: bool
    ) -> ConditionedTwin:
        positions = np.arange(len(self))
        asked = np.atleast_1d(positions[index] if isinstance(index, slice) else np.asarray(index))
        if not asked.size:
            msg = f"No neuron is selected; name some of the {len(self)}."
            raise InputError(msg)
        if asked.min() < -len(self) or asked.max() >= len(self):
            msg = f"Neurons run from 0 to {len(self) - 1}, but got {sorted(set(asked.tolist()))}."
            raise InputError(msg)
        chosen = self.neuron[torch.as_tensor(positions[asked], device=self.device)]
        context = {name: getattr(self, f"typical_{name}") for name in self.context_names}
        return ConditionedTwin(self.twin, context, chosen, paired=paired, identity=self.identity)


def predict_responses(
    twin: Twin,
    recording: xr.Dataset,
    *,
    split: str | None = None,
    batch_size: int = 256,
    job: Job | None = None,
) -> xr.DataArray:
    """Predicted response of each recorded neuron in each trial.

    Each trial's own behaviour and pupil position are used, where the twin uses any; where
    they are missing (NaN), the twin's typical values stand in.

    Parameters
    ----------
    twin : Twin
    recording : xarray.Dataset
        With the neurons the twin was fitted to, in any order.
    split : {"train", "validation", "test"}, optional
        Trials to predict; all where absent.
    batch_size : int
    job : Job, optional

    Returns
    -------
    xarray.DataArray
        `prediction` (trial, neuron[, frame]), with the coordinates of the recording's `response`.

    Raises
    ------
    InputError
        If the recording's neurons are not among the twin's, its images have another size, or it
        has no such trial.

    """

    def rate(twin: Twin, response: Tensor, **given: Any) -> dict[str, Tensor]:
        return {"prediction": twin(**given)}

    twin = recorded_by(twin, recording)
    found = compute_trials(rate, twin, recording, split=split, batch_size=batch_size, job=job)
    return found["prediction"].assign_attrs(long_name="predicted response", twin=twin.identity)


def compute_trials(
    compute: Callable[..., dict[str, Tensor]],
    twin: Twin,
    recording: xr.Dataset,
    *,
    split: str | None = None,
    batch_size: int = 256,
    job: Job | None = None,
) -> dict[str, xr.DataArray]:
    """Whatever can be computed of each trial and recorded neuron, shaped as the responses are.

    Parameters
    ----------
    compute : callable
        Called with a twin for inference, `response` of a batch of trials, and what the twin
        is to be called with: `stimulus`, `neuron` and context, missing values filled with the
        typical ones. It returns tensors shaped as `response`, by name.
    twin : Twin
        As recorded: of the recording's session, if it has several.
    recording, split, batch_size, job
        As for `predict_responses`.

    Returns
    -------
    dict of str to xarray.DataArray
        float32, with the coordinates and attributes of the recording's `response`.

    Raises
    ------
    InputError
        If the recording does not fit the twin, or has no such trial.

    """
    neuron = match_neurons(twin, recording)
    trials = recording if split is None else recording.isel(trial=recording.split.values == split)
    twin.spec.check(recording.stimulus[:1].values)
    like = _sample(twin)
    chosen = torch.as_tensor(neuron, device=like.device)
    job = job or Job()
    # a lazy one is read batch by batch
    stimulus = recording.stimulus if is_lazy(recording) else recording.stimulus.values
    size = max(batch_size // (recording.sizes["frame"] if twin.spec.is_video else 1), 1)
    count = trials.sizes["trial"]
    if not count:
        msg = (
            f"The recording has no {'trials' if split is None else f'{split} trials'} to predict."
        )
        raise InputError(msg)
    fast = twin.for_inference()
    found: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        for start in range(0, count, size):
            job.report(start / count, f"trial {start} of {count}")
            batch = trials.isel(trial=slice(start, start + size))
            context = {
                name: _filled(name, batch[name].values, twin.typical(name)).to(like)
                for name in twin.context
                if name in batch
            }
            values = compute(
                fast,
                response=torch.as_tensor(batch.response.values).to(like),
                stimulus=torch.as_tensor(np.asarray(stimulus[batch.stimulus_index.values])).to(
                    like
                ),
                neuron=chosen,
                **context,
            )
            for name, value in values.items():
                if name not in found:
                    found[name] = np.empty(trials.response.shape, np.float32)
                found[name][start : start + size] = value.float().cpu().numpy()
    return {name: trials.response.copy(data=value).rename(name) for name, value in found.items()}


def recorded_by(twin: Twin, recording: xr.Dataset) -> Twin:
    """Of a twin of several sessions, that of the recording's."""
    sessions = np.unique(recording.session.values.astype(str))
    known = len(sessions) == 1 and str(sessions[0]) in twin.sessions
    return twin.of_session(str(sessions[0])) if known else twin


def _sample(twin: Twin) -> Tensor:
    """Any number of the twin: whose device and precision it computes in."""
    numbers = [*twin.parameters(), *twin.buffers()]
    return next((value for value in numbers if value.is_floating_point()), torch.empty(0)).detach()


def _filled(name: str, values: np.ndarray, typical: Tensor | None) -> Tensor:
    given = torch.as_tensor(values)
    if typical is None:
        return given
    if given.shape[1] != len(typical):
        msg = (
            f"The recording has {given.shape[1]} channels of `{name}`, but the twin was fitted "
            f"with {len(typical)}; use the recording it was fitted to."
        )
        raise InputError(msg)
    typical = typical.reshape(-1, *[1] * (given.ndim - 2))  # given over frames, or not
    return torch.where(torch.isnan(given), typical, given)


def match_neurons(twin: Twin, recording: xr.Dataset) -> np.ndarray:
    """Positions in the twin of the recording's neurons, or `InputError` if it lacks any."""
    known = {
        (str(session), str(neuron)): position
        for position, (session, neuron) in enumerate(
            zip(twin.neurons.session.values, twin.neurons.neuron_id.values, strict=True)
        )
    }
    asked = [
        (str(session), str(neuron))
        for session, neuron in zip(
            recording.session.values, recording.neuron_id.values, strict=True
        )
    ]
    unknown = [name for name in asked if name not in known]
    if unknown:
        msg = (
            f"The twin was fitted to session {twin.sessions} "
            f"({twin.neurons.sizes['neuron']} neurons) and lacks {len(unknown)} of the "
            f"{len(asked)} neurons of this recording, first (session, neuron_id) = {unknown[0]}; "
            "use the recording it was fitted to, or fit a twin to this one."
        )
        raise InputError(msg)
    return np.array([known[name] for name in asked])


def check_twin(twin: Twin, *, tolerance: float = 1e-4, seed: int = 0) -> None:
    """Verify the twin contract on noise images, or videos.

    Conditioned, it must have no learnable parameters left, give the same output for the same
    input, keep dtype and device, pass a finite gradient to the stimulus, return (batch, neuron)
    values that are finite and not negative, not depend on what else is in the batch, and
    `neurons` and `paired` must agree with the whole. For videos the values are (batch, neuron,
    frame), and no frame may depend on a later one.

    Parameters
    ----------
    twin : Twin
    tolerance : float
        Largest difference allowed between two ways of computing the same, relative to the
        largest rate.
    seed : int
        Seed of the noise images.

    Raises
    ------
    ValueError
        Naming every broken clause, all at once.

    """
    quiet = twin.condition(session=twin.sessions[0])
    generator = torch.Generator().manual_seed(seed)
    frame = (5,) if twin.spec.is_video else ()
    channel, height, width = twin.spec.shape
    noise = torch.randn(4, channel, *frame, height, width, generator=generator)
    noise = noise * twin.spec.std + twin.spec.mean
    images = noise.clamp(twin.spec.low, twin.spec.high).to(_sample(twin)).requires_grad_()
    broken = []

    if any(parameter.requires_grad for parameter in quiet.parameters()):
        broken.append("it has learnable parameters left after `condition`")
    rate = quiet(images)
    expected = (4, len(quiet), *frame)
    if rate.shape != expected:
        broken.append(f"it returns shape {tuple(rate.shape)}, expected {expected}")
        raise ValueError("Not a twin: " + "; ".join(broken) + ".")  # noqa: EM101 - built here
    if rate.dtype != images.dtype or rate.device != images.device:
        broken.append(f"it changes dtype or device: {rate.dtype} on {rate.device}")
    if not torch.isfinite(rate).all():
        broken.append("it returns values that are not finite")
    elif (rate < 0).any():
        broken.append(f"it returns negative rates, down to {rate.min():.3g}")

    close = tolerance * float(rate.detach().abs().max() + 1e-12)

    def differ(a: Tensor, b: Tensor) -> bool:
        return a.shape != b.shape or bool((a - b).abs().max() > close)

    if not torch.equal(quiet(images), rate):
        broken.append("two calls with one input differ")
    if differ(quiet(images[:1]), rate[:1]):
        broken.append("the answer to an image depends on what else is in the batch")
    chosen = np.arange(len(quiet))[::-1].copy()  # as many as there are, in another order
    if differ(quiet.neurons(chosen)(images), rate[:, chosen]):
        broken.append("`neurons` differs from the same columns of the whole")
    pairs = np.resize(chosen[:: max(len(chosen) // 4, 1)], 4)
    if differ(quiet.paired(pairs)(images), rate[torch.arange(4), torch.as_tensor(pairs)]):
        broken.append("`paired` differs from the same entries of the whole")
    if frame:
        ended = images.detach().clone()
        ended[:, :, -1] = twin.spec.low
        if differ(quiet(ended)[..., :-1], rate[..., :-1]):
            broken.append("the answer to a frame depends on a later one")
    try:
        (gradient,) = torch.autograd.grad(rate.sum(), images)
        if not torch.isfinite(gradient).all() or not gradient.abs().max() > 0:
            broken.append("the gradient that reaches the stimulus is zero or not finite")
    except RuntimeError as error:
        broken.append(f"no gradient reaches the stimulus ({error})")
    if broken:
        raise ValueError("Not a twin: " + "; ".join(broken) + ".")  # noqa: EM101 - built here
