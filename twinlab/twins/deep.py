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
from twinlab.twins.contract import StimulusSpec, Twin
from twinlab.twins.cores import Core, StackedCore
from twinlab.twins.cropping import features_at, window_size
from twinlab.twins.readouts import GaussianReadout, PositionNetwork, Readout

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
    positions : {"free", "cortical"}
        Readout positions are free parameters, or a network's function of cortical place.
    sigma : float
        Start of the spread of the readout positions while learning, in map halves.
    behavior : {"none", "channels", "gain"}
        Not used; appended to the image as constant channels (the published form); or a gain
        of each neuron, which can lie above or below 1.
    shifter : bool
        Move the readout positions with the pupil.

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
    sigma: float = 0.1
    behavior: str = "none"
    shifter: bool = False

    def __post_init__(self) -> None:
        choices: dict[str, Sequence[str]] = {
            "core": list(CORES),
            "readout": list(READOUTS),
            "positions": ["free", "cortical"],
            "behavior": ["none", "channels", "gain"],
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                msg = f"`{name}` is {getattr(self, name)!r}; known: {', '.join(known)}."
                raise InputError(msg)
        for name in ("layers", "hidden", "input_kernel", "hidden_kernel"):
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
        if self.hidden_kernel % 2 == 0:
            msg = (
                f"`hidden_kernel` must be odd, so that maps keep their size: {self.hidden_kernel}."
            )
            raise InputError(msg)


class Shifter(nn.Module):
    """Shift of the readout positions, from the pupil's position (z units); starts near zero."""

    def __init__(self, hidden: int = 5) -> None:
        super().__init__()
        last = nn.Linear(hidden, 2)
        nn.init.normal_(last.weight, std=1e-2)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), last, nn.Tanh()
        )

    def forward(self, pupil_center: Tensor) -> Tensor:
        """Shift (batch, 2) in map halves."""
        return self.network(pupil_center)


class Modulator(nn.Module):
    """Gain of each neuron from behaviour (z units): a few shared states, weighed by neuron.

    The gain is the exponential of the weighed states, so that it starts at 1 and can fall
    below it: neurons that locomotion suppresses exist.
    """

    def __init__(self, channel: int, n_neuron: int, hidden: int = 8) -> None:
        super().__init__()
        self.states = nn.Sequential(nn.Linear(channel, hidden), nn.Tanh())
        self.of_behavior = nn.Parameter(torch.zeros(n_neuron, channel))
        self.of_state = nn.Parameter(torch.zeros(n_neuron, hidden))

    def forward(self, behavior: Tensor, neuron: Tensor | None, paired: bool) -> Tensor:
        """Gain (batch, neuron), or (batch,) if paired."""
        chosen = slice(None) if neuron is None else neuron
        of_behavior, of_state = self.of_behavior[chosen], self.of_state[chosen]
        states = self.states(behavior)
        if paired:
            return ((behavior * of_behavior).sum(1) + (states * of_state).sum(1)).exp()
        return (behavior @ of_behavior.T + states @ of_state.T).exp()


def _stacked(architecture: Architecture, channel: int) -> Core:
    names = ("layers", "hidden", "input_kernel", "hidden_kernel", "momentum", "linear")
    settings = {name: getattr(architecture, name) for name in names}
    return StackedCore(channel, **settings)


def _gaussian(
    architecture: Architecture,
    channel: int,
    map_shape: tuple[int, int],
    position: Tensor,
    neurons: xr.Dataset,
    generator: torch.Generator,
) -> Readout:
    network = None
    if architecture.positions == "cortical":
        missing = [name for name in ("x_um", "y_um") if name not in neurons.coords]
        if missing:
            msg = (
                f"`positions=cortical` needs neuron coordinates x_um and y_um; missing {missing}."
            )
            raise InputError(msg)
        network = PositionNetwork(np.stack([neurons.x_um.values, neurons.y_um.values], axis=1))
        network.fit(position)
    return GaussianReadout(
        channel, position, sigma=architecture.sigma, network=network, generator=generator
    )


CORES: dict[str, Callable[..., Core]] = {"stacked": _stacked}
READOUTS: dict[str, Callable[..., Readout]] = {"gaussian": _gaussian}


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

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator = torch.Generator().manual_seed(seed)
            appended = n_behavior if architecture.behavior == "channels" else 0
            self.core = CORES[architecture.core](architecture, spec.channel + appended)
            self.map_shape = self.core.map_shape(spec.height, spec.width)
            if min(self.map_shape) < 1:
                msg = (
                    f"`input_kernel` {architecture.input_kernel} is larger than the image, "
                    f"{spec.height} x {spec.width} pixels."
                )
                raise InputError(msg)
            start = _map_position(position, spec, self.map_shape, n_neuron)
            self.readout = READOUTS[architecture.readout](
                architecture, self.core.out_channel, self.map_shape, start, neurons, generator
            )
            self.shifter = Shifter() if "pupil_center" in self.context else None
            self.modulator = (
                Modulator(n_behavior, n_neuron) if architecture.behavior == "gain" else None
            )
        if isinstance(self.readout, GaussianReadout):
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
        if not isinstance(self.readout, GaussianReadout):
            msg = f"A {self.architecture.readout} readout has no single position a neuron."
            raise InputError(msg)
        grid = self.readout.position.detach().cpu().numpy()
        size = np.array(self.map_shape[::-1])
        border = (np.array([self.spec.width, self.spec.height]) - size) / 2
        return (grid + 1) / 2 * (size - 1) + border

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
        return rate * (self.response_scale if neuron is None else self.response_scale[neuron])

    def relative_rate(
        self,
        stimulus: Tensor,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Expected response in units of `response_scale`, in which the twin is fitted."""
        image = self._image(stimulus, behavior)
        shift = None
        if self.shifter is not None:
            shift = self.shifter(self._standardised("pupil_center", pupil_center, len(stimulus)))
        if paired and self.sees_windows:
            drive = self._own_drive(image, shift, neuron)
        else:
            lowered = self.core_dtype != torch.float32
            with torch.autocast(stimulus.device.type, self.core_dtype, enabled=lowered):
                maps = self.core(image)
            maps = maps.to(self.response_scale.dtype)
            drive = self.readout(maps, shift=shift, neuron=neuron, paired=paired)
        return self._rate(drive, behavior, neuron, paired)

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
        features = features_at(core, image, position)
        return (features * readout.features[own]).sum(1) + readout.bias[own]

    def _image(self, stimulus: Tensor, behavior: Tensor | None) -> Tensor:
        image = (stimulus - self.spec.mean) / self.spec.std
        if self.architecture.behavior == "channels" and "behavior" in self.context:
            given = self._standardised("behavior", behavior, len(stimulus))
            constant = given[:, :, None, None].expand(-1, -1, *stimulus.shape[2:])
            image = torch.cat([image, constant.to(image.dtype)], dim=1)
        return image

    def _rate(
        self, drive: Tensor, behavior: Tensor | None, neuron: Tensor | None, paired: bool
    ) -> Tensor:
        rate = F.elu(drive) + 1
        if self.modulator is not None:
            given = self._standardised("behavior", behavior, len(drive))
            rate = rate * self.modulator(given, neuron, paired)
        return rate

    def _standardised(self, name: str, value: Tensor | None, batch: int) -> Tensor:
        mean, std = getattr(self, f"{name}_scale")
        if value is None:
            typical = torch.tensor(self.context[name], device=mean.device)
            value = typical.expand(batch, -1)
        return (value.to(mean.dtype) - mean) / std

    def for_inference(self) -> DeepTwin:
        """Frozen copy with batch norms folded into the convolutions."""
        twin = copy.deepcopy(self).eval().requires_grad_(False)
        if isinstance(twin.core, StackedCore):
            twin.core.fold()
        return twin

    def regularizer(self, core_weight: float, readout_weight: float) -> Tensor:
        """Weighted roughness of the core's filters and size of the readout's weights."""
        return core_weight * self.core.regularizer() + readout_weight * self.readout.regularizer()


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


def _map_position(
    position: np.ndarray | None, spec: StimulusSpec, map_shape: tuple[int, int], n_neuron: int
) -> Tensor:
    """Pixels of the image -> -1 to 1 between the centres of the outermost map points."""
    if position is None:
        return torch.zeros(n_neuron, 2)
    size = np.array(map_shape[::-1])
    border = (np.array([spec.width, spec.height]) - size) / 2
    scaled = 2 * (position - border) / np.maximum(size - 1, 1) - 1
    return torch.as_tensor(scaled.clip(-0.98, 0.98), dtype=torch.float32)
