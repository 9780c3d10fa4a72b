"""The deep twin: core, readout, and optionally where the eye points and how awake it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from twinlab.schema import InputError
from twinlab.twins.attention import build_attention
from twinlab.twins.context import Modulator, Shifter
from twinlab.twins.contract import StimulusSpec, Twin
from twinlab.twins.cores import Core, StackedCore, VideoCore
from twinlab.twins.cropping import drive_at, window_size
from twinlab.twins.equivariant import build_rotation_equivariant
from twinlab.twins.factorized import build_factorized
from twinlab.twins.features import build_features
from twinlab.twins.likelihoods import LIKELIHOODS
from twinlab.twins.pooled import build_point_pooled
from twinlab.twins.readouts import (
    COVARIANCES,
    POSITIONS,
    GaussianReadout,
    Readout,
    build_gaussian,
)
from twinlab.twins.seeding import seeded
from twinlab.twins.squeeze import build_squeeze_excitation
from twinlab.twins.transformer import build_vision_transformer
from twinlab.twins.video import VIDEO_CORES

__all__ = ["CORES", "READOUTS", "Architecture", "DeepTwin"]


@dataclass(frozen=True)
class Architecture:
    """What a deep twin is made of; saved with it. The defaults are the published 2022 form.

    Attributes
    ----------
    core, readout : str
        Names in `CORES` and `READOUTS`.
    layers, hidden : int
        Layers of the core and channels in each.
    input_kernel, hidden_kernel : int
        Sides of the kernels, in pixels and in map points.
    momentum : float
        Of the batch norm.
    linear : bool
        A core without nonlinearities.
    positions : {"free", "cortical", "both"}
        Readout positions are free parameters, a network's function of cortical place, or that
        and a free offset.
    sigma : float
        Start of the spread of the readout positions while learning, in map halves.
    behavior : {"none", "channels", "gain", "core"}
        Not used; appended to the image as constant channels (the published form); a gain
        of each neuron, which can lie above or below 1; or given to a core that takes it.
    shifter : bool
        Move the readout positions with the pupil.
    likelihood : str
        How single responses vary around the rate; see `LIKELIHOODS`.
    rotations : int
        Of the filters of a rotation-equivariant core, each layer of which has this many times
        `hidden` channels.
    reduction : int
        By which a squeeze-and-excitation block narrows the channels.
    patch, patch_stride, heads : int
        Side of the patches of a transformer and distance between neighbours, in pixels, and its
        attention heads.
    dropout : float
        Share of a transformer's units that are silenced while learning.
    temporal_kernel, input_temporal_kernel : int
        Lengths of the kernels of a video core in time, in frames; the latter of the first layer.
    covariance : {"full", "uncorrelated", "isotropic"}
        Of the positions that a Gaussian readout draws while learning.
    share_features : str
        Name of a neuron coordinate; neurons in which it is equal share their features.
    backbone, backbone_layer : str
        Name in `BACKBONES` and of the layer in it that is read out, for a `features` core.
    backbone_trainable : bool
        Let the backbone learn; if not, it stays as it is.

    References
    ----------
    Willeke et al. (2022), arXiv 2206.08666.

    """

    core: str = "stacked"
    readout: str = "gaussian"
    layers: int = 4
    hidden: int = 64
    input_kernel: int = 9
    hidden_kernel: int = 7
    momentum: float = 0.1
    linear: bool = False
    positions: str = "free"
    sigma: float = 0.05
    behavior: str = "none"
    shifter: bool = False
    likelihood: str = "poisson"
    rotations: int = 8
    reduction: int = 16
    patch: int = 8
    patch_stride: int = 4
    heads: int = 4
    dropout: float = 0.0
    temporal_kernel: int = 5
    input_temporal_kernel: int = 11
    covariance: str = "full"
    share_features: str = ""
    backbone: str = ""
    backbone_layer: str = ""
    backbone_trainable: bool = False

    def __post_init__(self) -> None:
        choices: dict[str, Sequence[str]] = {
            "core": list(CORES),
            "readout": list(READOUTS),
            "positions": POSITIONS,
            "behavior": ["none", "channels", "gain", "core"],
            "likelihood": list(LIKELIHOODS),
            "covariance": list(COVARIANCES),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                msg = f"`{name}` is {getattr(self, name)!r}; known: {', '.join(known)}."
                raise InputError(msg)
        for name in (
            "layers", "hidden", "input_kernel", "hidden_kernel", "rotations", "reduction", "patch",
            "heads", "temporal_kernel", "input_temporal_kernel",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                msg = f"`{name}` must be at least 1, but is {getattr(self, name)}."
                raise InputError(msg)
        if self.input_kernel < 3:
            msg = f"`input_kernel` must be at least 3, to be smooth or not: {self.input_kernel}."
            raise InputError(msg)
        if not (self.sigma > 0 and 0 < self.momentum <= 1):
            msg = (
                f"`sigma` must be above 0 and `momentum` between 0 and 1, but they are "
                f"{self.sigma} and {self.momentum}."
            )
            raise InputError(msg)
        if not 0 <= self.dropout < 1:
            msg = f"`dropout` must be at least 0 and below 1, but is {self.dropout}."
            raise InputError(msg)
        if self.hidden_kernel % 2 == 0:
            msg = (
                f"`hidden_kernel` must be odd, so that maps keep their size: {self.hidden_kernel}."
            )
            raise InputError(msg)


def _stacked(
    architecture: Architecture, channel: int, height: int, width: int, n_behavior: int
) -> Core:
    del height, width, n_behavior
    names = ("layers", "hidden", "input_kernel", "hidden_kernel", "momentum", "linear")
    settings = {name: getattr(architecture, name) for name in names}
    return StackedCore(channel, **settings)


CORES: dict[str, Callable[..., Core]] = {
    "stacked": _stacked,
    "rotation_equivariant": build_rotation_equivariant,
    "squeeze_excitation": build_squeeze_excitation,
    "vision_transformer": build_vision_transformer,
    "features": build_features,
    **VIDEO_CORES,
}
READOUTS: dict[str, Callable[..., Readout]] = {
    "gaussian": build_gaussian,
    "factorized": build_factorized,
    "attention": build_attention,
    "point_pooled": build_point_pooled,
}


class DeepTwin(Twin):
    """Core and readout, with optional shifter and behaviour; rates in the recording's units.

    Parameters
    ----------
    architecture : Architecture
    spec, neurons, context, origin
        As in `Twin`.
    position : array of shape (n_neuron, 2), optional
        Where each neuron starts to look, (x, y) in pixels of the image; the centre if absent.
    response_mean, response_scale : array of shape (n_neuron,), optional
        Mean response, at which the output starts, and the unit in which the twin computes
        (the standard deviation over training trials).
    context_scale : mapping of str to array of shape (2, n), optional
        Mean and standard deviation of each behaviour and pupil channel.
    seed : int
        Seed of the random start.
    core : Core, optional
        A core to share with other twins; one of its own is made where absent.

    """

    kind = "deep"
    response_scale: Tensor

    def __init__(
        self,
        architecture: Architecture,
        spec: StimulusSpec,
        neurons: xr.Dataset,
        context: Mapping[str, Sequence[float]] | None = None,
        origin: Mapping[str, Any] | None = None,
        *,
        position: np.ndarray | None = None,
        response_mean: np.ndarray | None = None,
        response_scale: np.ndarray | None = None,
        context_scale: Mapping[str, np.ndarray] | None = None,
        seed: int = 0,
        core: Core | None = None,
    ) -> None:
        super().__init__(spec, neurons, _used(architecture, context or {}), origin)
        self.architecture = architecture
        self.core_dtype = torch.float32  # lowered while learning, where that is faster
        n_neuron = neurons.sizes["neuron"]
        n_behavior = len(self.context.get("behavior", []))
        scale = np.ones(n_neuron) if response_scale is None else response_scale
        mean = scale if response_mean is None else response_mean
        self.register_buffer("response_scale", torch.as_tensor(scale, dtype=torch.float32))
        for name, typical in self.context.items():
            given = (context_scale or {}).get(name)
            moments = np.stack([typical, np.ones(len(typical))]) if given is None else given
            self.register_buffer(f"{name}_scale", torch.as_tensor(moments, dtype=torch.float32))

        with seeded(seed):
            generator = torch.Generator().manual_seed(seed)
            appended = n_behavior if architecture.behavior == "channels" else 0
            told = n_behavior if architecture.behavior == "core" else 0
            self.core = core or CORES[architecture.core](
                architecture, spec.channel + appended, spec.height, spec.width, told
            )
            _check_core(self.core, architecture, spec)
            self.map_shape = self.core.map_shape(spec.height, spec.width)
            if min(self.map_shape) < 1:
                msg = (
                    f"`input_kernel` {architecture.input_kernel} is larger than the image, "
                    f"{spec.height} x {spec.width} pixels."
                )
                raise InputError(msg)
            # (first and last map point, x and y)
            self.corners = np.array(self.core.map_corners(spec.height, spec.width))[:, ::-1]
            start = _map_position(position, self.corners, n_neuron)
            self.readout = READOUTS[architecture.readout](
                architecture, self.core.out_channel, self.map_shape, start, neurons, generator
            )
            self.shifter = Shifter() if "pupil_center" in self.context else None
            self.modulator = (
                Modulator(n_behavior, n_neuron) if architecture.behavior == "gain" else None
            )
            self.likelihood = LIKELIHOODS[architecture.likelihood](n_neuron)
        if isinstance(self.readout.bias, nn.Parameter):
            # ELU(x) + 1 gives the mean response where x is
            relative = torch.as_tensor(np.maximum(mean / scale, 1e-3), dtype=torch.float32)
            self.readout.bias.data = torch.where(relative < 1, relative.log(), relative - 1)

    @property
    def settings(self) -> dict[str, Any]:
        """Architecture as plain values, enough to build the twin again."""
        return asdict(self.architecture)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], **common: Any) -> DeepTwin:
        """Build an untrained twin from saved settings; its weights are loaded afterwards."""
        known = {field.name for field in fields(Architecture)}
        unknown = sorted(set(settings) - known)
        if unknown:
            msg = f"Unknown settings of a deep twin: {unknown}; known: {sorted(known)}."
            raise InputError(msg)
        return cls(Architecture(**settings), **common)

    @property
    def position(self) -> np.ndarray:
        """Where each neuron looks, (neuron, 2): x and y in pixels of the image."""
        grid = self.readout.position.detach().cpu().numpy()
        first, last = self.corners
        return (grid + 1) / 2 * (last - first) + first

    def forward(
        self,
        stimulus: Tensor,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Expected response in the recording's units; see `Twin.forward`."""
        rate = self.relative_rate(
            stimulus, behavior=behavior, pupil_center=pupil_center, neuron=neuron, paired=paired
        )
        scale = self.response_scale if neuron is None else self.response_scale[neuron]
        return rate * (scale[:, None] if self.spec.is_video else scale)

    def relative_rate(
        self,
        stimulus: Tensor,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
        whole: bool = True,
    ) -> Tensor:
        """Expected response in units of `response_scale`, in which the twin is fitted.

        Of a video that is not `whole` but a clip of a longer one, the first frames are left out:
        the `core.lost` frames whose past is not in the clip.
        """
        frames = stimulus.shape[2] if self.spec.is_video else 1
        behavior = self._standardised("behavior", behavior, len(stimulus), frames)
        gaze = self._standardised("pupil_center", pupil_center, len(stimulus), frames)
        image = self._image(stimulus, behavior)
        if paired and self.sees_windows:
            behavior, gaze = _rows(behavior), _rows(gaze)
            drive = self._own_drive(image, self._shift(gaze), neuron)
            return self._rate(drive, behavior, neuron, paired)
        if isinstance(self.core, VideoCore) and whole:
            grey = image.new_zeros(1).expand(*image.shape[:2], self.core.lost, *image.shape[3:])
            image = torch.cat([grey, image], dim=2)
        told = None
        if behavior is not None and self.architecture.behavior == "core":
            told = behavior if self.spec.is_video else behavior[..., 0]
        lowered = self.core_dtype != torch.float32
        with torch.autocast(stimulus.device.type, self.core_dtype, enabled=lowered):
            maps = self.core(image, told) if self.core.takes_behavior else self.core(image)
        if self.spec.is_video:
            # frames are images to the readout
            frames = maps.shape[2]
            maps = maps.movedim(2, 1).flatten(0, 1)
            if paired and neuron is not None:
                neuron = neuron.repeat_interleave(frames)
        behavior, gaze = _rows(behavior, frames), _rows(gaze, frames)
        rate = self._read(maps, behavior, gaze, neuron, paired)
        return rate.unflatten(0, (-1, frames)).movedim(1, -1) if self.spec.is_video else rate

    def _read(
        self,
        maps: Tensor,
        behavior: Tensor | None,
        gaze: Tensor | None,
        neuron: Tensor | None,
        paired: bool,
    ) -> Tensor:
        """Rates from maps of images, and what was the case while each was seen."""
        maps = maps.to(self.response_scale.dtype)
        drive = self.readout(maps, shift=self._shift(gaze), neuron=neuron, paired=paired)
        return self._rate(drive, behavior, neuron, paired)

    def start_stream(self, batch: int = 1) -> Any:
        """State of a twin that has seen nothing but grey; see `Twin.start_stream`."""
        if not isinstance(self.core, VideoCore):
            return super().start_stream(batch)
        return self.core.start(batch, self.spec.height, self.spec.width)

    def step_stream(
        self,
        frame: Tensor,
        state: Any,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Rates at the next frame, and the state after it; see `Twin.step_stream`."""
        core = cast(VideoCore, self.core)
        behavior = self._standardised("behavior", behavior, len(frame), 1)
        gaze = self._standardised("pupil_center", pupil_center, len(frame), 1)
        image = self._image(frame[:, :, None], behavior)[:, :, 0]
        maps, state = core.step(image, state)
        rate = self._read(maps, _rows(behavior), _rows(gaze), neuron, paired=False)
        return rate * (
            self.response_scale if neuron is None else self.response_scale[neuron]
        ), state

    @property
    def sees_windows(self) -> bool:
        """Whether a neuron's own window of the image gives its rate, and saves work."""
        core, readout = self.core, self.readout
        if self.training or not isinstance(readout, GaussianReadout):
            return False
        pixels = self.spec.height * self.spec.width
        return isinstance(core, StackedCore) and window_size(core) ** 2 < 0.8 * pixels

    def _own_drive(self, image: Tensor, shift: Tensor | None, neuron: Tensor | None) -> Tensor:
        """Drive of neuron i from its window of image i alone, (batch,)."""
        core, readout = cast(StackedCore, self.core), cast(GaussianReadout, self.readout)
        own = slice(None) if neuron is None else neuron
        position = readout.position[own]
        if shift is not None:
            position = position + shift
        return drive_at(core, image, position, readout.features[own]) + readout.bias[own]

    def _image(self, stimulus: Tensor, behavior: Tensor | None) -> Tensor:
        """What the core sees, in z units; `behavior` (batch, channel, frame) in z units."""
        image = (stimulus - self.spec.mean) / self.spec.std
        if self.architecture.behavior == "channels" and behavior is not None:
            constant = behavior if self.spec.is_video else behavior[..., 0]
            constant = constant[..., None, None].expand(*constant.shape, *stimulus.shape[-2:])
            image = torch.cat([image, constant.to(image.dtype)], dim=1)
        return image

    def _shift(self, gaze: Tensor | None) -> Tensor | None:
        return None if self.shifter is None or gaze is None else self.shifter(gaze)

    def _rate(
        self, drive: Tensor, behavior: Tensor | None, neuron: Tensor | None, paired: bool
    ) -> Tensor:
        rate = F.elu(drive) + 1
        if self.modulator is not None and behavior is not None:
            rate = rate * self.modulator(behavior, neuron, paired)
        return rate

    def _standardised(
        self, name: str, value: Tensor | None, batch: int, frames: int
    ) -> Tensor | None:
        """Context in z units, (batch, channel, frame); None where the twin does not use it."""
        if name not in self.context:
            return None
        mean, std = getattr(self, f"{name}_scale")[..., None]
        if value is None:
            value = torch.tensor(self.context[name], device=mean.device).expand(batch, -1)
        if value.ndim == 2:
            value = value[..., None].expand(-1, -1, frames)
        return (value.to(mean.dtype) - mean) / std

    def for_inference(self) -> DeepTwin:
        """Frozen copy with batch norms folded into the convolutions."""
        twin = copy.deepcopy(self).eval().requires_grad_(False)
        twin.core.fold()
        return twin

    def regularizer(self, core_weight: float, readout_weight: float) -> Tensor:
        """Weighted roughness of the core's filters and size of the readout's weights."""
        return core_weight * self.core.regularizer() + readout_weight * self.readout.regularizer()


def _rows(value: Tensor | None, frames: int = 1) -> Tensor | None:
    """Context (batch, channel, frame) as one row for each of the last `frames` frames."""
    return None if value is None else value[..., -frames:].movedim(2, 1).flatten(0, 1)


def _check_core(core: Core, architecture: Architecture, spec: StimulusSpec) -> None:
    if isinstance(core, VideoCore) != spec.is_video:
        made, shown = ("videos", "images") if isinstance(core, VideoCore) else ("images", "videos")
        msg = (
            f"`core={architecture.core}` is made for {made}, but the recording is of {shown}; "
            f"cores by name: {', '.join(CORES)}."
        )
        raise InputError(msg)
    if architecture.behavior == "core" and not core.takes_behavior:
        msg = (
            f"`behavior=core` needs a core that takes behaviour, and `{architecture.core}` takes "
            "none; use `behavior=gain`."
        )
        raise InputError(msg)


def _used(
    architecture: Architecture, context: Mapping[str, Sequence[float]]
) -> dict[str, Sequence[float]]:
    """Context the architecture makes use of, among what the recording has."""
    wanted = {
        "behavior": architecture.behavior != "none",
        "pupil_center": architecture.shifter,
    }
    missing = [name for name, wants in wanted.items() if wants and name not in context]
    if missing:
        msg = f"The architecture uses {missing}, which the recording does not have."
        raise InputError(msg)
    return {name: context[name] for name, wants in wanted.items() if wants}


def _map_position(position: np.ndarray | None, corners: np.ndarray, n_neuron: int) -> Tensor:
    """Pixels of the image -> -1 to 1 between the centres of the outermost map points."""
    if position is None:
        return torch.zeros(n_neuron, 2)
    first, last = corners
    scaled = 2 * (position - first) / np.maximum(last - first, 1) - 1
    return torch.as_tensor(scaled.clip(-0.98, 0.98), dtype=torch.float32)
