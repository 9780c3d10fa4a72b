"""Cores: from an image to a map of features, shared by all neurons; channels-last throughout."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twinlab.twins import stack
from twinlab.twins.depthwise import DepthwiseConv2d

__all__ = ["Core", "StackedCore", "VideoCore", "laplace_roughness"]


class Core(nn.Module):
    """What a deep twin asks of its core.

    Attributes
    ----------
    out_channel : int
        Channels of the map.
    takes_behavior : bool
        Whether it is called with the behaviour too, (batch, channel) in z units.

    """

    out_channel: int
    takes_behavior: bool = False

    def map_shape(self, height: int, width: int) -> tuple[int, int]:
        """Size (y, x) of the map made from an image of this size."""
        raise NotImplementedError

    def map_corners(self, height: int, width: int) -> tuple[tuple[float, float], ...]:
        """Centres of the first and last map point, (y, x) in pixels of the image.

        By default a map lies in the middle of the image, point for pixel.
        """
        rows, columns = self.map_shape(height, width)
        first = ((height - rows) / 2, (width - columns) / 2)
        return first, (height - 1 - first[0], width - 1 - first[1])

    def regularizer(self) -> Tensor:
        """Roughness of the first layer's filters, a scalar."""
        raise NotImplementedError

    def fold(self) -> None:
        """Rearrange for evaluation, in place: same function, less work. Nothing by default."""


class VideoCore(Core):
    """What a deep twin asks of a core that sees videos.

    It maps (batch, channel, frame, y, x) to (batch, out_channel, frame - lost, y', x'), no
    frame of the map depending on later frames of the video, and can go frame by frame.

    Attributes
    ----------
    lost : int
        Frames before its own that a frame of the map must have; 0 for recurrent cores.

    """

    lost: int

    def start(self, batch: int, height: int, width: int) -> Any:
        """State after `lost` frames of grey (zero in z units)."""
        raise NotImplementedError

    def step(self, frame: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Map (batch, out_channel, y', x') of the next frame (batch, channel, y, x), and state."""
        raise NotImplementedError


class StackedCore(Core):
    """Stacked convolutions of the 2022 recipe: one dense layer, then depth-separable ones.

    Each layer is a convolution, a batch norm and an ELU; the last map is read out. The first
    layer is not padded, the others keep the size of the map, so an image of 36 x 64 pixels
    becomes 28 x 56 map points with the default kernel. Parameters carry the names
    neuralpredictors gives them: state dicts of its ``Stacked2dCore`` load as they are.

    Parameters
    ----------
    channel : int
        Channels of the image (and of behaviour, where it is appended as channels).
    layers, hidden : int
        Number of layers and of channels in each.
    input_kernel, hidden_kernel : int
        Sides of the square kernels, in pixels and in map points.
    momentum : float
        Of the batch norm's running statistics.
    linear : bool
        Leave the ELUs out.

    References
    ----------
    Willeke et al. (2022), arXiv 2206.08666. Lurz et al. (2021), ICLR.

    """

    def __init__(
        self,
        channel: int = 1,
        *,
        layers: int = 4,
        hidden: int = 64,
        input_kernel: int = 9,
        hidden_kernel: int = 7,
        momentum: float = 0.1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.input_kernel, self.hidden_kernel = input_kernel, hidden_kernel
        self.linear = linear
        self.out_channel = hidden
        self.features: Any = nn.Sequential()  # its layers are looked into by name
        for number in range(layers):
            parts: OrderedDict[str, nn.Module] = OrderedDict()
            if number == 0:
                parts["conv"] = nn.Conv2d(channel, hidden, input_kernel, bias=False)
            else:
                parts["ds_conv"] = _separable(hidden, hidden_kernel)
            parts["norm"] = nn.BatchNorm2d(hidden, momentum=momentum)
            self.features.add_module(f"layer{number}", nn.Sequential(parts))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight)
        _channels_last(self)

    def map_shape(self, height: int, width: int) -> tuple[int, int]:
        """Size (y, x) of the map made from an image of this size."""
        return height - self.input_kernel + 1, width - self.input_kernel + 1

    @property
    def reach(self) -> tuple[int, int]:
        """Map points beside its own, and pixels, that one map point depends on, per side."""
        inner = (self.hidden_kernel // 2) * (len(self.features) - 1)
        return inner, self.input_kernel - 1

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, hidden, y, x) of an image (batch, channel, y, x) in z units."""
        if stack.can_run(self, image):
            return stack.learn(self, image) if self.training else stack.infer(self, image)
        value = image
        for number, layer in enumerate(self.features):
            value = layer(value)
            if number == 0:
                # An image of one channel does not say which layout it is in.
                value = value.contiguous(memory_format=torch.channels_last)
            if not self.linear:
                value = F.elu(value, inplace=True)
        return value

    def regularizer(self) -> Tensor:
        """Roughness of the first layer's filters."""
        return laplace_roughness(self.features[0].conv.weight)

    def fold(self) -> None:
        """Merge each batch norm into the convolution before it; evaluation only, in place."""
        for layer in self.features:
            norm = layer.norm
            if isinstance(norm, nn.Identity):
                continue
            separable = hasattr(layer, "ds_conv")
            conv = layer.ds_conv.out_depth_conv if separable else layer.conv
            merged = nn.utils.fuse_conv_bn_eval(conv, norm)
            if separable:
                layer.ds_conv.out_depth_conv = merged
            else:
                layer.conv = merged
            layer.norm = nn.Identity()
        _channels_last(self)


def _channels_last(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _separable(hidden: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            in_depth_conv=nn.Conv2d(hidden, hidden, 1, bias=False),
            spatial_conv=DepthwiseConv2d(hidden, kernel),
            out_depth_conv=nn.Conv2d(hidden, hidden, 1, bias=False),
        )
    )


def laplace_roughness(weight: Tensor) -> Tensor:
    """Sum of squared Laplace-filtered weights over the sum of squared weights.

    Parameters
    ----------
    weight : Tensor of shape (out, in, y, x)

    Returns
    -------
    Tensor
        A scalar. The same as neuralpredictors' ``LaplaceL2norm`` without padding.

    """
    laplace = weight.new_tensor([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])
    out, channel, height, width = weight.shape
    flat = weight.reshape(out * channel, 1, height, width)
    return F.conv2d(flat, laplace[None, None]).square().sum() / weight.square().sum()
