"""Other people's models as twins: an encoder, a published checkpoint, any function."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from twinlab.schema import InputError
from twinlab.twins.contract import StimulusSpec, Twin
from twinlab.twins.cores import StackedCore
from twinlab.twins.deep import Architecture, DeepTwin
from twinlab.twins.peers import load_peer_core
from twinlab.twins.readouts import GaussianReadout, PositionNetwork

__all__ = [
    "CallableTwin",
    "EncoderTwin",
    "NoGradientError",
    "load_sensorium_checkpoint",
    "wrap_callable",
    "wrap_firing_rate_encoder",
]

TAKES = ("torch", "numpy")
Moments = Mapping[str, np.ndarray]


class NoGradientError(InputError, RuntimeError):
    """A gradient was asked of a twin that has none."""


class EncoderTwin(Twin):
    """One session of a neuralpredictors ``FiringRateEncoder``; made by its wrapper.

    Parameters
    ----------
    encoder : nn.Module
    spec, neurons, context, origin
        As in `Twin`.
    data_key : str
        The encoder's name of the session.
    scale : mapping of str to ndarray of shape (2, n)
        Mean and standard deviation with which the encoder's images, behaviour and pupil
        position were standardised; names `stimulus`, `behavior`, `pupil_center`.
    behavior_channels : bool
        Append behaviour to the images, as constant channels.

    """

    kind = "encoder"

    def __init__(
        self,
        encoder: nn.Module,
        spec: StimulusSpec,
        neurons: xr.Dataset,
        context: Mapping[str, Sequence[float]] | None = None,
        origin: Mapping[str, Any] | None = None,
        *,
        data_key: str,
        scale: Moments,
        behavior_channels: bool,
    ) -> None:
        super().__init__(spec, neurons, context, origin)
        self.encoder = encoder
        self.data_key = data_key
        self.behavior_channels = behavior_channels
        for name, moments in scale.items():
            self.register_buffer(
                f"{name}_scale", torch.as_tensor(np.asarray(moments), dtype=torch.float32)
            )
        readout = cast(Any, encoder).readout[data_key]
        modulated = bool(cast(Any, encoder).modulator)
        # A modulator weighs all neurons of the session, so they are all read out for it.
        self.reads_some = (
            not modulated and "out_idx" in inspect.signature(readout.forward).parameters
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What, with the weights, decides the output."""
        offset = float(cast(Any, self.encoder).offset)
        channels = self.behavior_channels
        return {"data_key": self.data_key, "offset": offset, "behavior_channels": channels}

    def forward(
        self,
        stimulus: Tensor,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Expected response, in the units the encoder was fitted in; see `Twin.forward`."""
        given = {
            "behavior": self._standardised("behavior", behavior, len(stimulus)),
            "pupil_center": self._standardised("pupil_center", pupil_center, len(stimulus)),
        }
        context = {name: value for name, value in given.items() if value is not None}
        mean, std = cast(Tensor, self.stimulus_scale)
        image = (stimulus - mean) / std
        if self.behavior_channels:
            constant = context.pop("behavior")[:, :, None, None]
            image = torch.cat([image, constant.expand(-1, -1, *image.shape[2:])], dim=1)
        some = neuron is not None and self.reads_some
        asked = {"out_idx": neuron} if some else {}
        rate = self.encoder(image, data_key=self.data_key, **context, **asked)
        if neuron is not None and not some:
            rate = rate[:, neuron]
        return rate.diagonal() if paired else rate

    def _standardised(self, name: str, value: Tensor | None, batch: int) -> Tensor | None:
        if name not in self.context:
            return None
        mean, std = getattr(self, f"{name}_scale")
        if value is None:
            value = torch.tensor(self.context[name], device=mean.device).expand(batch, -1)
        return (value.to(mean.dtype) - mean) / std


def wrap_firing_rate_encoder(
    encoder: nn.Module,
    spec: StimulusSpec,
    neurons: xr.Dataset | None = None,
    *,
    data_key: str | None = None,
    context: Mapping[str, Sequence[float]] | None = None,
    scale: Moments | None = None,
    behavior_channels: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> EncoderTwin:
    """Make a twin of one session of a neuralpredictors ``FiringRateEncoder``.

    The twin returns what the encoder does, ELU(x + offset) + 1, for images in grey levels and
    behaviour and pupil position in the recording's units. It cannot be saved: the encoder's
    class is not ours to build again.

    Parameters
    ----------
    encoder : FiringRateEncoder
        Core, readout of one or more sessions, and optionally shifter and modulator. It is
        used as it is, not copied.
    spec : StimulusSpec
        The images it sees.
    neurons : xarray.Dataset, optional
        Coordinates `neuron_id` and `session` along `neuron`, in the readout's order; numbered
        where absent, with the data key as session.
    data_key : str, optional
        Session; may be left out where the encoder has one.
    context : mapping of str to sequence of float, optional
        Typical `behavior` and `pupil_center`, in the recording's units. An encoder with a
        shifter needs `pupil_center`; one with a modulator or behaviour channels, `behavior`.
    scale : mapping of str to array of shape (2, n), optional
        Mean and standard deviation with which the encoder's `behavior` and `pupil_center`
        were standardised (0 and 1 where absent), and those of its images as `stimulus`
        (those of `spec` where absent).
    behavior_channels : bool
        The encoder was trained on images with behaviour appended as constant channels.
    origin : mapping, optional
        Where it comes from.

    Returns
    -------
    EncoderTwin

    Raises
    ------
    InputError
        If the session is unknown or unnamed, context it needs is missing, the number of
        neurons differs, or the module is no such encoder.

    """
    parts: Any = encoder
    missing = [
        name for name in ("core", "readout", "shifter", "modulator", "offset")
        if not hasattr(encoder, name)
    ]  # fmt: skip
    if missing:
        msg = (
            f"A {type(encoder).__name__} has no {', '.join(missing)}; expected neuralpredictors' "
            "FiringRateEncoder. Any other model: `wrap_callable`."
        )
        raise InputError(msg)
    data_key = _session(list(parts.readout.keys()), data_key)
    context = dict(context or {})
    needs = {"pupil_center": bool(parts.shifter)}
    needs["behavior"] = bool(parts.modulator) or behavior_channels
    absent = [name for name, needed in needs.items() if needed and name not in context]
    if absent:
        msg = f"The encoder uses {' and '.join(absent)}; give typical values in `context`."
        raise InputError(msg)
    used = {name: context[name] for name, needed in needs.items() if needed}
    readout = parts.readout[data_key]
    neurons = _numbered(neurons, int(readout.outdims), data_key)
    moments = {"stimulus": np.array([spec.mean, spec.std])}
    moments |= _unscaled(used)
    moments |= {name: value for name, value in (scale or {}).items() if name in moments}
    twin = EncoderTwin(
        encoder,
        spec,
        neurons,
        used,
        origin,
        data_key=data_key,
        scale=moments,
        behavior_channels=behavior_channels,
    )
    return cast(EncoderTwin, twin.eval())


def load_sensorium_checkpoint(
    checkpoint: Mapping[str, Tensor] | str | PathLike[str],
    spec: StimulusSpec,
    neurons: xr.Dataset | None = None,
    *,
    data_key: str | None = None,
    context: Mapping[str, Sequence[float]] | None = None,
    context_scale: Moments | None = None,
    response_std: np.ndarray | None = None,
    linear: bool = False,
    final_tanh: bool = True,
    elu_offset: float = 0.0,
    origin: Mapping[str, Any] | None = None,
) -> DeepTwin:
    """Load a Sensorium 2022 baseline's state dict into a deep twin of one of its sessions.

    The twin is an ordinary one: it can be saved, fitted further, and is as fast as ours are.
    Loading executes nothing from the file.

    Parameters
    ----------
    checkpoint : mapping of str to Tensor, or path
        State dict of a ``FiringRateEncoder`` with a depth-separable ``Stacked2dCore``, a
        ``FullGaussian2d`` readout a session, and optionally the MLP shifter of the published
        size; keys ``core.features.*``, ``readout.<session>.*``, ``shifter.<session>.mlp.*``.
        A path names a file of `torch.save` or, ending in .safetensors, of safetensors.
    spec : StimulusSpec
        Images it was trained on: 36 x 64 pixels in the published baselines, with the mean and
        standard deviation of the training pixels, which the file does not hold.
    neurons : xarray.Dataset, optional
        As in `wrap_firing_rate_encoder`. With `x_um` and `y_um`, positions that the
        checkpoint predicts from the cortex stay so; without, they become free.
    data_key : str, optional
        Session; may be left out where the checkpoint has one.
    context : mapping of str to sequence of float, optional
        Typical `behavior` and `pupil_center`, in the recording's units: needed where the core
        takes more channels than the image has, and where there is a shifter.
    context_scale : mapping of str to array of shape (2, n), optional
        Mean and standard deviation with which they were standardised; 0 and 1 where absent.
        (Sensorium divides behaviour by its standard deviation without subtracting a mean.)
    response_std : array of shape (n_neuron,), optional
        By which each neuron's response was divided in training; 1 where absent, and the twin
        then predicts in units of it.
    linear, final_tanh, elu_offset
        Of the model that was trained; a state dict does not hold them.
    origin : mapping, optional
        Where it comes from.

    Returns
    -------
    DeepTwin
        In evaluation mode.

    Raises
    ------
    InputError
        In one line, naming everything in the checkpoint that does not fit.

    References
    ----------
    Willeke et al. (2022), arXiv 2206.08666.

    """
    state = _read_state(checkpoint)
    sessions = sorted({name.split(".")[1] for name in state if name.startswith("readout.")})
    data_key = _session(sessions, data_key)
    core = _under(state, "core.")
    readout = _under(state, f"readout.{data_key}.")
    shifter = _under(state, f"shifter.{data_key}.mlp.")
    architecture = _architecture(core, readout, shifter, spec, linear)

    neurons = _numbered(neurons, len(readout["bias"]), data_key)
    position = readout["_mu"][0, :, 0] if "_mu" in readout else _predicted(readout, final_tanh)
    cortical = "_mu" not in readout and final_tanh and _keeps_network(readout, neurons)
    twin = DeepTwin(
        replace(architecture, positions="cortical" if cortical else "free"),
        spec,
        neurons,
        context,
        origin,
        response_scale=response_std,
        context_scale=_unscaled(context or {}) | dict(context_scale or {}),
    )
    load_peer_core(cast(StackedCore, twin.core), core)
    target = cast(GaussianReadout, twin.readout)
    with torch.no_grad():
        if cortical:
            network = cast(PositionNetwork, target.network)
            network.network.load_state_dict(_under(readout, "mu_transform."))
        else:
            target.mu.copy_(position.clamp(-1, 1))
        target.sigma.copy_(_square_root(readout["sigma"][0]))
        target.features.copy_(readout["_features"][0, :, 0].T)
        target.bias.copy_(readout["bias"] + elu_offset)
    if twin.shifter is not None:
        twin.shifter.network.load_state_dict(shifter)
    return cast(DeepTwin, twin.eval())


def _read_state(checkpoint: Mapping[str, Tensor] | str | PathLike[str]) -> dict[str, Tensor]:
    if isinstance(checkpoint, Mapping):
        state: Any = checkpoint
        where = "The checkpoint"
    else:
        path = Path(checkpoint)
        where = str(path)
        if not path.is_file():
            msg = f"{path}: no such file; expected a state dict of torch.save or safetensors."
            raise InputError(msg)
        try:
            if path.suffix == ".safetensors":
                state = load_file(path)
            else:
                state = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, SafetensorError, OSError, RuntimeError, EOFError,
                ValueError, KeyError) as error:  # fmt: skip
            msg = (
                f"{path}: holds more than tensors, or is damaged, and nothing in it was executed; "
                "expected a state dict, as `torch.save(model.state_dict(), path)` writes it."
            )
            raise InputError(msg) from error
    tensors = isinstance(state, Mapping) and all(isinstance(v, Tensor) for v in state.values())
    if not tensors or not any(str(name).startswith("readout.") for name in state):
        msg = (
            f"{where}: is not the state dict of an encoder; expected tensors under names "
            "`core.features.*` and `readout.<session>.*`."
        )
        raise InputError(msg)
    return dict(state)


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _session(known: list[str], data_key: str | None) -> str:
    if data_key is None and len(known) == 1:
        return known[0]
    if data_key not in known:
        asked = "none is named" if data_key is None else f"{data_key!r} is not among them"
        msg = f"`data_key`: {asked}; the sessions are {known}."
        raise InputError(msg)
    return data_key


def _unscaled(context: Mapping[str, Sequence[float]]) -> dict[str, np.ndarray]:
    """Mean 0 and standard deviation 1 of each context, (2, n)."""
    return {name: np.stack([np.zeros(len(v)), np.ones(len(v))]) for name, v in context.items()}


def _numbered(neurons: xr.Dataset | None, count: int, session: str) -> xr.Dataset:
    if neurons is None:
        names = {"neuron_id": np.arange(count), "session": np.repeat(session, count)}
        return xr.Dataset(coords={name: ("neuron", value) for name, value in names.items()})
    if neurons.sizes.get("neuron") != count:
        msg = (
            f"`neurons` names {neurons.sizes.get('neuron', 0)} neurons, but session {session} of "
            f"the model has {count}; give those of the readout, in its order."
        )
        raise InputError(msg)
    return neurons


def _architecture(
    core: Mapping[str, Tensor],
    readout: Mapping[str, Tensor],
    shifter: Mapping[str, Tensor],
    spec: StimulusSpec,
    linear: bool,
) -> Architecture:
    """What the tensors' shapes say; every misfit in one line."""
    layers = len({name.split(".")[1] for name in core if name.startswith("features.")})
    faults = []
    first = core.get("features.layer0.conv.weight")
    hidden, channel, kernel = (0, 0, 1) if first is None else first.shape[:3]
    spatial = core.get("features.layer1.ds_conv.spatial_conv.weight")
    if first is None:
        faults.append("`core.features.layer0.conv.weight` is missing")
    if layers > 1 and spatial is None:
        faults.append("the core's layers are not depth-separable (`layer1.ds_conv` is missing)")
    faults += [
        f"`core.{name}` is not of a plain stacked core with batch norms"
        for name in core
        if name.startswith("features.") and not _plain(name)
    ]
    appended = channel - spec.channel
    if first is not None and appended < 0:
        faults.append(f"the core takes {channel} channels, the images have {spec.channel}")
    for name in ("sigma", "_features", "bias"):
        if name not in readout:
            faults.append(f"the readout has no `{name}`")
    if "_mu" not in readout and "mu_transform.0.weight" not in readout:
        faults.append("the readout has neither `_mu` nor `mu_transform`")
    if "scales" in readout or "grid_sharing_index" in readout:
        faults.append("the readout shares features or positions between neurons")
    if "_features" in readout and first is not None and readout["_features"].shape[1] != hidden:
        found = readout["_features"].shape[1]
        faults.append(
            f"the readout reads {found} channels, the core's last layer has {hidden}: "
            "it was trained on several stacked layers (`stack` other than -1)"
        )
    shapes = [tuple(v.shape) for k, v in sorted(shifter.items()) if k.endswith("weight")]
    if shifter and shapes != [(5, 2), (5, 5), (2, 5)]:
        faults.append(f"the shifter's weights have shapes {shapes}, not (5, 2), (5, 5), (2, 5)")
    if faults:
        msg = "The checkpoint does not fit a deep twin: " + "; ".join(faults) + "."
        raise InputError(msg)
    return Architecture(
        layers=layers,
        hidden=hidden,
        input_kernel=kernel,
        hidden_kernel=Architecture.hidden_kernel if spatial is None else spatial.shape[-1],
        linear=linear,
        behavior="channels" if appended else "none",
        shifter=bool(shifter),
    )


def _plain(name: str) -> bool:
    parts = name.split(".")[2:]
    inner = ("in_depth_conv", "spatial_conv", "out_depth_conv")
    conv = parts == ["conv", "weight"] or (
        len(parts) == 3 and parts[0] == "ds_conv" and parts[1] in inner and parts[2] == "weight"
    )
    return conv or parts[0] == "norm"


def _predicted(readout: Mapping[str, Tensor], final_tanh: bool) -> Tensor:
    """Positions (neuron, 2) that the checkpoint's own network predicts from the cortex."""
    value = readout["source_grid"]
    weights = sorted(
        (k for k in readout if k.startswith("mu_transform.") and k.endswith("weight")),
        key=lambda name: int(name.split(".")[1]),
    )
    for number, name in enumerate(weights):
        value = value @ readout[name].T + readout[name.replace("weight", "bias")]
        if number < len(weights) - 1:
            value = nn.functional.elu(value)
    return value.tanh() if final_tanh else value


def _keeps_network(readout: Mapping[str, Tensor], neurons: xr.Dataset) -> bool:
    """Whether our position network can compute what the checkpoint's does."""
    if not {"x_um", "y_um"} <= set(neurons.coords):
        return False
    ours = PositionNetwork(np.stack([neurons.x_um.values, neurons.y_um.values], axis=1))
    shapes = {name: value.shape for name, value in ours.network.state_dict().items()}
    if shapes != {name: v.shape for name, v in _under(readout, "mu_transform.").items()}:
        return False
    away = float((ours.cortex - readout["source_grid"]).abs().max())
    if away > 0.01:
        msg = (
            "`neurons` has other cortical positions than the checkpoint (up to "
            f"{away:.2f} of the field apart); give the neurons of its session, in its order."
        )
        raise InputError(msg)
    return True


def _square_root(sigma: Tensor) -> Tensor:
    """Square root of the covariance (neuron, 2, 2), from whichever form the peer keeps."""
    if sigma.shape[1:] == (2, 2):
        return sigma
    return torch.diag_embed(sigma.expand(-1, 1, 2)[:, 0])


class _NoGradient(torch.autograd.Function):
    """Rates that depend on the stimulus in a way nobody can differentiate: says so if asked."""

    @staticmethod
    def forward(ctx: Any, stimulus: Tensor, rate: Tensor) -> Tensor:
        del ctx, stimulus
        return rate.clone()

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Any:
        del ctx, gradient
        msg = (
            "This twin wraps a NumPy function, which has no gradient; use an experiment that "
            "needs none (tuning, sta), or wrap a torch function (`takes='torch'`)."
        )
        raise NoGradientError(msg)


class CallableTwin(Twin):
    """Any function from images to rates, as a twin; made by `wrap_callable`."""

    kind = "callable"

    def __init__(
        self,
        function: Callable[[Any], Any],
        spec: StimulusSpec,
        neurons: xr.Dataset,
        origin: Mapping[str, Any] | None = None,
        *,
        name: str,
        takes: str,
    ) -> None:
        super().__init__(spec, neurons, None, origin)
        self.function = function  # a module's parameters become the twin's
        self.name, self.takes = name, takes

    @property
    def settings(self) -> dict[str, Any]:
        """By what it is known; a function has no content to hash."""
        return {"name": self.name, "takes": self.takes}

    def for_inference(self) -> CallableTwin:
        """Frozen copy; a function that is no module is shared, not copied."""
        shared = {} if isinstance(self.function, nn.Module) else {id(self.function): self.function}
        twin = cast(CallableTwin, copy.deepcopy(self, shared).eval())
        return cast(CallableTwin, twin.requires_grad_(False))

    def forward(
        self,
        stimulus: Tensor,
        *,
        behavior: Tensor | None = None,
        pupil_center: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Rate of each neuron; all are computed, and those asked about are kept."""
        del behavior, pupil_center  # it knows only the image
        if self.takes == "numpy":
            computed = self.function(stimulus.detach().cpu().numpy())
            rate = torch.as_tensor(np.asarray(computed)).to(stimulus)
            if stimulus.requires_grad:
                rate = cast(Tensor, _NoGradient.apply(stimulus, rate))
        else:
            rate = self.function(stimulus)
        expected = (len(stimulus), self.neurons.sizes["neuron"])
        if tuple(rate.shape[:2]) != expected or rate.ndim != stimulus.ndim - 2:
            msg = (
                f"{self.name} returned shape {tuple(rate.shape)} for {len(stimulus)} stimuli; "
                f"expected (batch, neuron) = {expected}, with frames last for videos."
            )
            raise InputError(msg)
        if paired:
            own = torch.arange(len(rate), device=rate.device)
            return rate[own, own if neuron is None else neuron]
        return rate if neuron is None else rate[:, neuron]


def wrap_callable(
    function: Callable[[Any], Any],
    spec: StimulusSpec,
    neurons: xr.Dataset | int,
    *,
    takes: str = "torch",
    name: str | None = None,
    origin: Mapping[str, Any] | None = None,
) -> CallableTwin:
    """Make a twin of any function from images to rates.

    A torch function (or module) serves every experiment. A NumPy function serves those that
    need no gradient (tuning curves, spike-triggered averages); where one is asked for, a
    `NoGradientError` says so, and `check_twin` names that one clause. Neither can be saved.

    Parameters
    ----------
    function : callable
        From (batch, channel, y, x) in grey levels to (batch, neuron), not negative; with
        `takes="torch"` tensor to tensor, with `takes="numpy"` float32 array to array. Its
        answer to an image may not depend on the rest of the batch.
    spec : StimulusSpec
        The images it sees.
    neurons : xarray.Dataset or int
        Coordinates `neuron_id` and `session` along `neuron`; or how many there are.
    takes : {"torch", "numpy"}
    name : str, optional
        By which results know it; that of the function where absent.
    origin : mapping, optional
        Where it comes from.

    Returns
    -------
    CallableTwin

    Raises
    ------
    InputError
        If `takes` is unknown, or if the function does not return (batch, neuron) when called.

    """
    if takes not in TAKES:
        msg = f"`takes` is {takes!r}; known: {', '.join(TAKES)}."
        raise InputError(msg)
    name = name or str(getattr(function, "__qualname__", type(function).__qualname__))
    labels = _numbered(None, neurons, name) if isinstance(neurons, int) else neurons
    return CallableTwin(function, spec, labels, origin, name=name, takes=takes)
