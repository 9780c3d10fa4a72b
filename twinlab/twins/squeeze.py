"""Squeeze-and-excitation core: stacked convolutions whose channels are weighed by the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twinlab.twins.cores import Core, StackedCore

if TYPE_CHECKING:
    from twinlab.twins.deep import Architecture

__all__ = [
    "SqueezeExcitationCore",
    "build_squeeze_excitation",
    "load_peer_squeeze_excitation",
]


class SqueezeExcitation(nn.Module):
    """Weigh each channel by a number between 0 and 1, made from the means of all channels.

    Parameters
    ----------
    channel : int
    reduction : int
        The network has ``channel // reduction`` hidden units, at least one.

    References
    ----------
    Hu, Shen and Sun (2018), CVPR; arXiv 1709.01507.

    """

    def __init__(self, channel: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channel // reduction, 1)
        self.squeeze = nn.Linear(channel, hidden)
        self.excite = nn.Linear(hidden, channel)

    def forward(self, maps: Tensor) -> Tensor:
        """Weighed maps, (batch, channel, y, x) as given."""
        weight = torch.sigmoid(self.excite(F.relu(self.squeeze(maps.mean((2, 3))))))
        return maps * weight[:, :, None, None]


class SqueezeExcitationCore(Core):
    """The stacked core with squeeze-and-excitation after its last layers.

    Each weight depends on the whole image, so a neuron's answer does as well: its receptive
    field has no border.

    Parameters
    ----------
    channel : int
        Channels of the image.
    blocks : int, optional
        Number of layers, counted from the last, that are followed by a block; all but the
        first layer by default.
    reduction : int
        As in `SqueezeExcitation`.
    **stacked
        Settings of `StackedCore`.

    References
    ----------
    Hu, Shen and Sun (2018), CVPR; arXiv 1709.01507. The placing of the blocks is that of
    neuralpredictors' ``SE2dCore``.

    """

    def __init__(
        self,
        channel: int = 1,
        *,
        blocks: int | None = None,
        reduction: int = 16,
        **stacked: Any,
    ) -> None:
        super().__init__()
        self.stacked = StackedCore(channel, **stacked)
        self.out_channel = self.stacked.out_channel
        layers = len(self.stacked.features)
        blocks = layers - 1 if blocks is None else blocks
        self.blocks = nn.ModuleDict(
            {
                f"layer{number}": SqueezeExcitation(self.out_channel, reduction)
                for number in range(max(layers - blocks, 1), layers)
            }
        )

    def map_shape(self, height: int, width: int) -> tuple[int, int]:
        """Size (y, x) of the map made from an image of this size."""
        return self.stacked.map_shape(height, width)

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, hidden, y, x) of an image (batch, channel, y, x) in z units."""
        value = image
        for name, layer in self.stacked.features.named_children():
            value = layer(value).contiguous(memory_format=torch.channels_last)
            if not self.stacked.linear:
                value = F.elu(value, inplace=True)
            if name in self.blocks:
                value = self.blocks[name](value)
        return value

    def regularizer(self) -> Tensor:
        """Roughness of the first layer's filters."""
        return self.stacked.regularizer()

    def fold(self) -> None:
        """Merge each batch norm into the convolution before it; evaluation only, in place."""
        self.stacked.fold()


def load_peer_squeeze_excitation(core: SqueezeExcitationCore, state: dict[str, Tensor]) -> None:
    """Load the state dict of neuralpredictors' ``SE2dCore`` into our core.

    Parameters
    ----------
    core : SqueezeExcitationCore
        Of as many layers, blocks, channels and kernel sizes; the peer's was made with
        ``depth_separable=True``, ``bias=False``, ``pad_input=False`` and ``stack=-1``.
    state : dict of str to Tensor

    """
    ours = {}
    for name, value in state.items():
        layer, dot, parameter = name.removeprefix("features.").partition(".seg_ex_block.se.")
        if dot:
            part = parameter.replace("1.", "squeeze.").replace("3.", "excite.")
            ours[f"blocks.{layer}.{part}"] = value
        elif name.startswith("features."):  # the rest is the regulariser's constant filter
            ours[f"stacked.{name}"] = value
    core.load_state_dict(ours)


def build_squeeze_excitation(
    architecture: Architecture, channel: int, height: int, width: int, n_behavior: int
) -> Core:
    """Core of a deep twin, as its architecture says."""
    del height, width, n_behavior
    return SqueezeExcitationCore(
        channel,
        reduction=architecture.reduction,
        layers=architecture.layers,
        hidden=architecture.hidden,
        input_kernel=architecture.input_kernel,
        hidden_kernel=architecture.hidden_kernel,
        momentum=architecture.momentum,
        linear=architecture.linear,
    )
