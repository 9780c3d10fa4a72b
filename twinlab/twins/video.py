"""Cores for video: maps of features that follow the frames, whole clips at once or frame by frame.

Every convolution here is two-dimensional and channels-last: over space with the frames folded
into the batch, over time with the places folded into one axis. That is what torch's
three-dimensional convolutions are slow at on a CPU, and it lets convolutions with five taps be
done with fewer products (`twinlab.twins.winograd`). Maps are kept as (clip, frame, y, x, channel)
in memory throughout and are handed out as views.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twinlab.schema import InputError
from twinlab.twins import winograd
from twinlab.twins.cores import Core, StackedCore, VideoCore, laplace_roughness
from twinlab.twins.depthwise import DepthwiseConv2d

if TYPE_CHECKING:
    from twinlab.twins.deep import Architecture

__all__ = ["VIDEO_CORES", "ConvGRUCore", "FactorizedCore", "ResidualCore", "time_roughness"]

_FEW = 8  # frames below which transforming the weights costs more than it saves


class FactorizedCore(VideoCore):
    """Convolutions over space and over time in turn: the published 2023 baseline.

    Each layer is a spatial convolution, a temporal one, a batch norm and an ELU, none padded; a
    layer has twice the channels of the one before it. With the default kernels, 36 x 64 pixels
    become 18 x 46 map points and 18 frames of history are needed.

    Parameters
    ----------
    channel : int
        Channels of the video (and of behaviour, where it is appended as channels).
    layers, hidden : int
        Number of layers, and of channels of the first.
    input_kernel, hidden_kernel : int
        Sides of the square kernels of the first layer and of the others, in pixels.
    input_temporal_kernel, temporal_kernel : int
        Lengths of the temporal kernels of the first layer and of the others, in frames.
    momentum : float
        Of the batch norm's running statistics.
    linear : bool
        Leave the ELUs out.

    References
    ----------
    Turishcheva et al. (2023), arXiv 2305.19654. Höfling et al. (2024), eLife 13:86860.

    """

    def __init__(
        self,
        channel: int = 1,
        *,
        layers: int = 3,
        hidden: int = 32,
        input_kernel: int = 11,
        hidden_kernel: int = 5,
        input_temporal_kernel: int = 11,
        temporal_kernel: int = 5,
        momentum: float = 0.1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.linear = linear
        self.out_channel = hidden * 2 ** (layers - 1)
        self.layers: Any = nn.ModuleList()
        self.lost = self.border = 0
        for number in range(layers):
            space = hidden_kernel if number else input_kernel
            time = temporal_kernel if number else input_temporal_kernel
            out = hidden * 2**number
            layer: Any = nn.Module()
            layer.spatial = SpatialConv(channel, out, space, bias=False)
            layer.temporal = TemporalConv(out, out, (time, 1), bias=False)
            layer.norm = nn.BatchNorm2d(out, momentum=momentum)
            self.layers.append(layer)
            self.lost += time - 1
            self.border += space - 1
            channel = out
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight)
        _weights_channels_last(self)

    def map_shape(self, height: int, width: int) -> tuple[int, int]:
        """Size (y, x) of the map made from a frame of this size."""
        return height - self.border, width - self.border

    def forward(self, video: Tensor) -> Tensor:
        """Maps of a video (batch, channel, frame, y, x) in z units; see `VideoCore`."""
        value = _channels_to_end(video)
        for layer in self.layers:
            value = self._finish(layer, layer.temporal(layer.spatial(value)))
        return _channels_to_front(value)

    def _finish(self, layer: Any, value: Tensor) -> Tensor:
        return _normalised(value, layer.norm, None if self.linear else F.elu)

    def start(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """See `VideoCore.start`: the frames each temporal convolution still needs."""
        weight = self.layers[0].spatial.weight
        value = weight.new_zeros(batch, 1, height, width, weight.shape[1])
        state = []
        for layer in self.layers:
            still = layer.spatial(value).expand(-1, layer.temporal.kernel_size[0], -1, -1, -1)
            state.append(still[:, 1:])
            value = self._finish(layer, layer.temporal(still.contiguous()))
        return tuple(state)

    def step(self, frame: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See `VideoCore.step`."""
        value = _channels_to_end(frame[:, :, None])
        later = []
        for layer, seen in zip(self.layers, state, strict=True):
            value = torch.cat([seen, layer.spatial(value)], dim=1)
            later.append(value[:, 1:])
            value = self._finish(layer, layer.temporal(value))
        return _channels_to_front(value)[:, :, 0], tuple(later)

    def regularizer(self) -> Tensor:
        """Roughness of the first layer's filters in space, and a thousandth of that in time.

        The published weights are 10 for space and 0.01 for time.
        """
        first = self.layers[0]
        in_space = laplace_roughness(first.spatial.weight)
        return in_space + 1e-3 * time_roughness(first.temporal.weight[..., 0])

    def fold(self) -> None:
        """Merge each batch norm into the convolution before it; evaluation only, in place."""
        for layer in self.layers:
            _fold(layer, "temporal", "norm")
        _weights_channels_last(self)


class ConvGRUCore(VideoCore):
    """A core for images frame by frame, then a convolutional gated recurrent unit.

    With map x and state h, convolutions W and U that keep the size of the map, and the logistic
    function s, the update z = s(W_z x + U_z h), the reset r = s(W_r x + U_r h), the candidate
    c = tanh(W_c x + U_c (r h)), and the new state, which is read out, is (1 - z) h + z c.

    Parameters
    ----------
    core : Core
        From frames to maps.
    hidden : int
        Channels of the state.
    kernel : int
        Side of the square kernels W and U, odd, in map points.

    References
    ----------
    Ballas et al. (2016), ICLR, arXiv 1511.06432. Turishcheva et al. (2023), arXiv 2305.19654.

    """

    lost = 0

    def __init__(self, core: Core, *, hidden: int = 64, kernel: int = 9) -> None:
        super().__init__()
        self.core, self.out_channel = core, hidden
        # update, reset and candidate, one after the other
        self.of_map = nn.Conv2d(core.out_channel, 3 * hidden, kernel, padding=kernel // 2)
        self.of_state = nn.Conv2d(hidden, 2 * hidden, kernel, padding=kernel // 2, bias=False)
        self.of_reset = nn.Conv2d(hidden, hidden, kernel, padding=kernel // 2, bias=False)
        for conv in (self.of_map, self.of_state, self.of_reset):
            nn.init.orthogonal_(conv.weight)
        nn.init.zeros_(self.of_map.bias)  # type: ignore[arg-type]
        _weights_channels_last(self)

    def map_shape(self, height: int, width: int) -> tuple[int, int]:
        """Size (y, x) of the map made from a frame of this size."""
        return self.core.map_shape(height, width)

    def map_corners(self, height: int, width: int) -> tuple[tuple[float, float], ...]:
        """Centres of the first and last map point, (y, x) in pixels of the frame."""
        return self.core.map_corners(height, width)

    def forward(self, video: Tensor) -> Tensor:
        """Maps of a video (batch, channel, frame, y, x) in z units; see `VideoCore`."""
        batch, _, frames, height, width = video.shape
        images = _channels_to_end(video).flatten(0, 1).permute(0, 3, 1, 2)
        drive = self.of_map(self.core(images)).unflatten(0, (batch, frames))
        state = self.start(batch, height, width)
        states = []
        for now in drive.unbind(1):
            state = self._advance(now, state)
            states.append(state)
        return torch.stack([state.permute(0, 2, 3, 1) for state in states], 1).permute(
            0, 4, 1, 2, 3
        )

    def _advance(self, drive: Tensor, state: Tensor) -> Tensor:
        hidden = self.out_channel
        of_map, own = drive.split([2 * hidden, hidden], dim=1)
        update, reset = torch.sigmoid(of_map + self.of_state(state)).chunk(2, dim=1)
        candidate = torch.tanh(own + self.of_reset(reset * state))
        # the state stays in its own precision when the convolutions run in a lower one
        return torch.lerp(state, candidate.to(state.dtype), update.to(state.dtype))

    def start(self, batch: int, height: int, width: int) -> Tensor:
        """See `VideoCore.start`; no frame is needed before the first, and the state is zero."""
        shape = self.map_shape(height, width)
        state = self.of_state.weight.new_zeros(batch, self.out_channel, *shape)
        return state.contiguous(memory_format=torch.channels_last)

    def step(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `VideoCore.step`."""
        state = self._advance(self.of_map(self.core(frame)), state)
        return state, state

    def regularizer(self) -> Tensor:
        """Roughness of the filters of the core for images."""
        return self.core.regularizer()

    def fold(self) -> None:
        """Merge the batch norms of the core for images; evaluation only, in place."""
        self.core.fold()


class ResidualCore(VideoCore):
    """Residual blocks of separable convolutions over space and time that see no later frame.

    A first dense convolution halves the frame. Each block adds to its input: a pointwise
    expansion, a depthwise convolution over space, one over time, squeeze-and-excitation, and a
    pointwise projection. In this it follows the winner of the 2023 competition; it differs where
    that looks ahead: time is not padded, so that a block needs `temporal_kernel` - 1 frames more,
    squeeze-and-excitation averages over space alone, and the code of position that is added in
    front of every block is one of space alone. Blocks come in three stages, of 4 : 3 : 2 blocks
    where there are nine, with `hidden`, 2 `hidden` and 4 `hidden` channels.

    Parameters
    ----------
    channel : int
        Channels of the video (and of behaviour, where it is appended as channels).
    layers, hidden : int
        Number of blocks, and of channels of the first.
    input_kernel, hidden_kernel : int
        Sides of the square kernels, of the first convolution in pixels and of the others in map
        points; odd.
    temporal_kernel : int
        Of each block, in frames.
    expansion : int
        Channels inside a block for each one outside.
    reduction : int
        Channels inside a block for each one of squeeze-and-excitation, which 0 leaves out.
    dropout : float
        Probability, of the last block, that training leaves it out for a clip; it rises to this
        in equal steps from block to block.
    momentum : float
        Of the batch norm's running statistics.

    References
    ----------
    Turishcheva et al. (2024), arXiv 2407.09100. Sandler et al. (2018), CVPR.
    Hu et al. (2018), CVPR. Huang et al. (2016), ECCV.

    """

    def __init__(
        self,
        channel: int = 1,
        *,
        layers: int = 9,
        hidden: int = 64,
        input_kernel: int = 3,
        hidden_kernel: int = 3,
        temporal_kernel: int = 5,
        expansion: int = 6,
        reduction: int = 32,
        dropout: float = 0.0,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        widths = [hidden * 2 ** _stage(number, layers) for number in range(layers)]
        self.out_channel = widths[-1]
        self.lost = layers * (temporal_kernel - 1)
        self.input = nn.Conv2d(
            channel, hidden, input_kernel, stride=2, padding=input_kernel // 2, bias=False
        )
        self.input_norm: nn.Module = nn.BatchNorm2d(hidden, momentum=momentum)
        self.blocks: Any = nn.ModuleList()
        for number, (before, after) in enumerate(zip([hidden, *widths], widths, strict=False)):
            block = _ResidualBlock(
                before,
                after,
                inner=before * expansion,
                kernels=(hidden_kernel, temporal_kernel),
                reduction=reduction,
                dropout=dropout * (number + 1) / layers,
                momentum=momentum,
            )
            self.blocks.append(block)
        _weights_channels_last(self)

    def map_shape(self, height: int, width: int) -> tuple[int, int]:
        """Size (y, x) of the map: half of the frame's, rounded up."""
        return -(-height // 2), -(-width // 2)

    def map_corners(self, height: int, width: int) -> tuple[tuple[float, float], ...]:
        """Centres of the first and last map point, (y, x) in pixels of the frame."""
        rows, columns = self.map_shape(height, width)
        return (0.0, 0.0), (2.0 * (rows - 1), 2.0 * (columns - 1))

    def _first(self, value: Tensor) -> Tensor:
        return _normalised(_each_frame(self.input, value), self.input_norm)

    def forward(self, video: Tensor) -> Tensor:
        """Maps of a video (batch, channel, frame, y, x) in z units; see `VideoCore`."""
        value = self._first(_channels_to_end(video))
        for block in self.blocks:
            opened, kept = block.open(value)
            value = block.close(opened, kept[:, block.lost :])
        return _channels_to_front(value)

    def start(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """See `VideoCore.start`: for each block the frames its temporal convolution needs."""
        weight = self.input.weight
        value = self._first(weight.new_zeros(batch, 1, height, width, weight.shape[1]))
        state = []
        for block in self.blocks:
            opened, kept = block.open(value)
            still = opened.expand(-1, block.lost + 1, -1, -1, -1)
            state.append(still[:, 1:])
            value = block.close(still, kept)
        return tuple(state)

    def step(self, frame: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See `VideoCore.step`."""
        value = self._first(_channels_to_end(frame[:, :, None]))
        later = []
        for block, seen in zip(self.blocks, state, strict=True):
            opened, kept = block.open(value)
            opened = torch.cat([seen.to(opened.dtype), opened], dim=1)
            later.append(opened[:, 1:])
            value = block.close(opened, kept)
        return _channels_to_front(value)[:, :, 0], tuple(later)

    def regularizer(self) -> Tensor:
        """Roughness of the first convolution's filters."""
        return laplace_roughness(self.input.weight)

    def fold(self) -> None:
        """Merge each batch norm into the convolution before it; evaluation only, in place."""
        _fold(self, "input", "input_norm")
        for block in self.blocks:
            for name in ("expand", "spatial", "temporal", "project"):
                _fold(block, name, f"{name}_norm")
        _weights_channels_last(self)


class _ResidualBlock(nn.Module):
    """One block of `ResidualCore`, on maps (clip, frame, y, x, channel).

    It is computed in two parts, before its temporal convolution and from there on, between
    which a stream keeps frames.
    """

    def __init__(
        self,
        channel: int,
        out: int,
        *,
        inner: int,
        kernels: tuple[int, int],
        reduction: int,
        dropout: float,
        momentum: float,
    ) -> None:
        super().__init__()
        self.added = out - channel
        self.lost = kernels[1] - 1
        self.dropout = dropout
        self.expand = nn.Conv2d(channel, inner, 1, bias=False)
        self.spatial = DepthwiseConv2d(inner, kernels[0])
        self.temporal = DepthwiseTemporalConv(inner, kernels[1])
        self.project = nn.Conv2d(inner, out, 1, bias=False)
        for name, width in (
            ("expand", inner),
            ("spatial", inner),
            ("temporal", inner),
            ("project", out),
        ):
            self.add_module(f"{name}_norm", nn.BatchNorm2d(width, momentum=momentum))
        self.excitation = None
        if reduction:
            squeezed = max(inner // reduction, 1)
            self.excitation = nn.Sequential(
                nn.Linear(inner, squeezed), nn.SiLU(), nn.Linear(squeezed, inner), nn.Sigmoid()
            )

    def open(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """What the temporal convolution sees, and what the block's result is added to."""
        value = value + _place_code(*value.shape[2:], value.device).to(value.dtype)
        opened = value
        for name in ("expand", "spatial"):
            opened = _each_frame(getattr(self, name), opened)
            opened = _normalised(opened, getattr(self, f"{name}_norm"), F.silu)
        return opened, value

    def close(self, opened: Tensor, kept: Tensor) -> Tensor:
        """Result of the block, of as many frames as `kept` and `self.lost` fewer than `opened`."""
        value = _normalised(self.temporal(opened), self.get_submodule("temporal_norm"), F.silu)
        if self.excitation is not None:
            # over space alone: an average over frames would see the future
            value = value * self.excitation(value.mean((2, 3)))[:, :, None, None]
        value = _normalised(_each_frame(self.project, value), self.get_submodule("project_norm"))
        if self.training and self.dropout:
            stays = torch.rand(len(value), 1, 1, 1, 1, device=value.device) >= self.dropout
            value = value * (stays / (1 - self.dropout)).to(value.dtype)
        return value + F.pad(kept, (0, self.added))


class SpatialConv(nn.Conv2d):
    """Valid convolution over space of maps (clip, frame, y, x, channel)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same form, smaller by the kernel's side less one."""
        frames = maps.flatten(0, 1)
        if self.bias is None and _is_quick(frames, self.weight):
            result = winograd.spatial_convolution(frames, self.weight)
        else:
            result = super().forward(frames.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return result.unflatten(0, maps.shape[:2])


class TemporalConv(nn.Conv2d):
    """Valid convolution over frames of maps (clip, frame, y, x, channel); its kernel is (k, 1)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same form, of k - 1 fewer frames."""
        places = maps.flatten(2, 3)
        if _is_quick(places[0], self.weight):
            result = winograd.temporal_convolution(places, self.weight[..., 0])
            if self.bias is not None:
                result = result + self.bias
        else:
            result = super().forward(places.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return result.unflatten(2, maps.shape[2:4])


class DepthwiseTemporalConv(nn.Conv2d):
    """Valid convolution over frames, one filter a channel, of maps (clip, frame, y, x, channel).

    A sum of as many products as the kernel is long: on a CPU torch takes far longer for the
    gradient of such weights as a convolution.
    """

    def __init__(self, channel: int, kernel: int) -> None:
        super().__init__(channel, channel, (kernel, 1), groups=channel, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same form, of kernel - 1 fewer frames."""
        taps = self.weight[:, 0, :, 0].T.to(maps.dtype)
        frames = maps.shape[1] - len(taps) + 1
        result = maps[:, :frames] * taps[0]
        for lag in range(1, len(taps)):
            result = torch.addcmul(result, maps[:, lag : lag + frames], taps[lag])
        return result if self.bias is None else result + self.bias.to(maps.dtype)


def time_roughness(weight: Tensor) -> Tensor:
    """Sum of squared second differences over time over the sum of squared weights.

    Parameters
    ----------
    weight : Tensor of shape (out, in, frame)

    Returns
    -------
    Tensor
        A scalar; zero for fewer than three frames.

    """
    return weight.diff(n=2, dim=2).square().sum() / weight.square().sum()


def _is_quick(frames: Tensor, weight: Tensor) -> bool:
    """Whether fewer products save time: (frame, ...) on a CPU, of many frames and channels.

    In bfloat16 they do not: the processor's own products are twice as fast, and the transforms
    need single precision.
    """
    out, channel, taps, _ = weight.shape
    return (
        frames.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and weight.dtype == torch.float32
        and taps == winograd.TAPS
        and out % winograd.LANES == channel % winograd.LANES == 0
        and len(frames) >= _FEW
    )


def _channels_to_end(video: Tensor) -> Tensor:
    """(batch, channel, frame, y, x) to (batch, frame, y, x, channel), in this order in memory."""
    # `contiguous` leaves a single channel's stride as it is, and then convolutions take the
    # frames for channels-first and everything after them is copied
    return video.permute(0, 2, 3, 4, 1).clone(memory_format=torch.contiguous_format)


def _channels_to_front(maps: Tensor) -> Tensor:
    return maps.permute(0, 4, 1, 2, 3)


def _each_frame(module: nn.Module, maps: Tensor) -> Tensor:
    """Apply a module for (batch, channel, y, x) to each frame of (clip, frame, y, x, channel)."""
    result = module(maps.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return result.unflatten(0, maps.shape[:2])


def _normalised(
    maps: Tensor, norm: nn.Module, activation: Callable[..., Tensor] | None = None
) -> Tensor:
    """Batch norm of (clip, frame, y, x, channel) over all axes but the last, and activation."""
    images = norm(maps.flatten(0, 1).permute(0, 3, 1, 2))
    if activation is not None:
        # before any view is taken: in place on a view, autograd copies whole gradients
        images = activation(images, inplace=True)
    return images.permute(0, 2, 3, 1).unflatten(0, maps.shape[:2])


def _weights_channels_last(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _fold(module: Any, conv: str, norm: str) -> None:
    if not isinstance(getattr(module, norm), nn.Identity):
        merged = nn.utils.fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
        setattr(module, conv, merged)
        setattr(module, norm, nn.Identity())


def _stage(number: int, layers: int) -> int:
    """Which of three stages, in proportion 4 : 3 : 2, a block belongs to."""
    return sum(9 * number >= share * layers for share in (4, 7))


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # what is kept must serve training as well
def _place_code(height: int, width: int, channel: int, device: torch.device) -> Tensor:
    """Sines and cosines of the place, (y, x, channel): half the channels for y, half for x."""
    half = -(-channel // 2)
    wave = torch.arange(half) // 2
    frequency = torch.pi / 2 ** (
        1 + wave * 5 / max(int(wave[-1]), 1)
    )  # periods of 4 to 128 points
    phase = torch.pi / 2 * (torch.arange(half) % 2)
    of_y, of_x = (
        torch.sin(torch.arange(size)[:, None] * frequency + phase) for size in (height, width)
    )
    code = torch.cat([of_y[:, None].expand(-1, width, -1), of_x.expand(height, -1, -1)], dim=2)
    return code[..., :channel].to(device)


def _factorized_3d(
    architecture: Architecture, channel: int, height: int, width: int, n_behavior: int
) -> Core:
    del height, width, n_behavior
    names = (
        "layers",
        "hidden",
        "input_kernel",
        "hidden_kernel",
        "input_temporal_kernel",
        "temporal_kernel",
        "momentum",
        "linear",
    )
    return FactorizedCore(channel, **{name: getattr(architecture, name) for name in names})


def _conv_gru(
    architecture: Architecture, channel: int, height: int, width: int, n_behavior: int
) -> Core:
    del height, width, n_behavior
    _check_odd(architecture)
    names = ("layers", "hidden", "input_kernel", "hidden_kernel", "momentum", "linear")
    frames = StackedCore(channel, **{name: getattr(architecture, name) for name in names})
    # 9 x 9 both at the input and in the recurrent unit, as published
    return ConvGRUCore(frames, hidden=architecture.hidden, kernel=architecture.input_kernel)


def _residual_2plus1d(
    architecture: Architecture, channel: int, height: int, width: int, n_behavior: int
) -> Core:
    del height, width, n_behavior
    _check_odd(architecture)
    names = (
        "layers",
        "hidden",
        "input_kernel",
        "hidden_kernel",
        "temporal_kernel",
        "reduction",
        "dropout",
        "momentum",
    )
    return ResidualCore(channel, **{name: getattr(architecture, name) for name in names})


def _check_odd(architecture: Architecture) -> None:
    if architecture.input_kernel % 2 == 0:
        msg = (
            f"`input_kernel` must be odd for a {architecture.core} core, whose padding is half of "
            f"it on either side, but is {architecture.input_kernel}; use one more or one less."
        )
        raise InputError(msg)


VIDEO_CORES: dict[str, Callable[..., Core]] = {
    "factorized_3d": _factorized_3d,
    "conv_gru": _conv_gru,
    "residual_2plus1d": _residual_2plus1d,
}
