"""Rotation-equivariant core: every feature is computed at several orientations."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import eval_genlaguerre
from torch import Tensor, nn
from torch.nn import functional as F

from twinlab.twins.cores import Core, laplace_roughness

if TYPE_CHECKING:
    from twinlab.twins.deep import Architecture

__all__ = [
    "RotationEquivariantCore",
    "build_rotation_equivariant",
    "load_peer_rotation_equivariant",
    "rotated_hermite_functions",
]


def rotated_hermite_functions(size: int, rotations: int, oversampling: int = 2) -> np.ndarray:
    """Two-dimensional Hermite functions in polar form, at several orientations.

    Such a function is a radial profile times the cosine or sine of a whole number of turns, so
    that a weighed sum of them turns by any angle when the weights of each pair are mixed. A
    quarter turn is exact on the pixels; other angles are exact up to the sampling.

    Parameters
    ----------
    size : int
        Side of the square, in pixels.
    rotations : int
        Orientations, evenly over a full turn, each counterclockwise (as seen with y downwards)
        from the one before.
    oversampling : int
        Points a pixel and direction at which the functions are evaluated and summed.

    Returns
    -------
    ndarray of shape (rotations, function, size, size)
        With ``size * (size + 1) / 2`` functions, those of rank below `size`.

    References
    ----------
    Ecker et al. (2019), ICLR. Order, extent and scale are those of neuralpredictors.

    """
    points = size * oversampling
    reach = 2 * np.sqrt(size) * (1 - 1 / points)
    x = np.linspace(-reach, reach, points)
    square = x**2 + x[:, None] ** 2
    angle = np.arctan2(x[:, None], x)
    turns = 2 * np.pi * np.arange(rotations) / rotations
    functions = []
    for rank in range(size):
        for order in range(rank % 2, rank + 1, 2):
            degree = (rank - order) // 2
            radial = (-1) ** degree * eval_genlaguerre(degree, order, square / 2)
            radial = radial * np.exp(-square / 4) * square ** (order / 2)
            even, odd = (
                wave / np.linalg.norm(wave) if np.any(wave) else wave
                for wave in (radial * np.cos(order * angle), radial * np.sin(order * angle))
            )
            cosine, sine = (f(order * turns)[:, None, None] for f in (np.cos, np.sin))
            functions.append(cosine * even - sine * odd)
            if order:
                functions.append(sine * even + cosine * odd)
    sampled = np.stack(functions, axis=1).reshape(
        rotations, -1, size, oversampling, size, oversampling
    )
    basis = sampled.sum(axis=(3, 5))
    # Turned pixels are exact where turned functions are right only to rounding.
    quarters = next(n for n in (4, 2, 1) if rotations % n == 0)
    first = basis[: rotations // quarters]
    return np.concatenate(
        [np.rot90(first, 4 // quarters * turn, axes=(2, 3)) for turn in range(quarters)]
    )


class HermiteConv2d(nn.Module):
    """Convolution with filters made of Hermite functions, each at all orientations.

    Channels are ordered by orientation, then by feature. Beyond the first layer a filter turned
    by some steps sees the orientations of its input moved round by as many.

    Parameters
    ----------
    channel : int
        Channels of the image, or features of the layer before.
    features : int
        Features, each computed at every orientation.
    kernel, padding : int
        Side of the filters and of the border of zeros, in pixels.
    rotations : int
    first : bool
        Whether it sees the image, which has no orientations.

    """

    basis: Tensor

    def __init__(
        self, channel: int, features: int, kernel: int, padding: int, rotations: int, first: bool
    ) -> None:
        super().__init__()
        self.padding, self.rotations, self.first = padding, rotations, first
        basis = torch.as_tensor(rotated_hermite_functions(kernel, rotations), dtype=torch.float32)
        self.register_buffer("basis", basis, persistent=False)
        inputs = channel if first else rotations * channel
        self.coeffs = nn.Parameter(torch.empty(basis.shape[1], inputs, features))
        nn.init.normal_(self.coeffs, std=0.1)

    @property
    def weight(self) -> Tensor:
        """All filters, (rotations * features, input channels, y, x)."""
        rotations, _, kernel, _ = self.basis.shape
        features = self.coeffs.shape[2]
        # (out rotation, y, x, input channel, out feature)
        turned = torch.tensordot(self.basis, self.coeffs, dims=([1], [0]))
        if self.first:
            weight = turned.permute(0, 4, 3, 1, 2)
        else:
            step = torch.arange(rotations, device=turned.device)
            source = (step - step[:, None]) % rotations
            turned = turned.unflatten(3, (rotations, -1))
            # (out rotation, in rotation, y, x, in feature, out feature)
            turned = turned[step[:, None], :, :, source]
            weight = turned.permute(0, 5, 1, 4, 2, 3)
        weight = weight.reshape(rotations * features, -1, kernel, kernel)
        return weight.contiguous(memory_format=torch.channels_last)

    def forward(self, maps: Tensor) -> Tensor:
        """Filtered maps, (batch, rotations * features, y, x)."""
        return F.conv2d(maps, self.weight, padding=self.padding)


class RotationNorm(nn.Module):
    """Batch norm with the same statistics, scale and shift for all orientations of a feature."""

    def __init__(self, features: int, momentum: float) -> None:
        super().__init__()
        self.features = features
        self.batch_norm = nn.BatchNorm1d(features, momentum=momentum)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalised maps, (batch, rotations * features, y, x) as given."""
        last = maps.permute(0, 2, 3, 1)  # a view of channels-last maps, as are the next
        value = self.batch_norm(last.reshape(-1, self.features))
        return value.view(last.shape).permute(0, 3, 1, 2)


class RotationEquivariantCore(Core):
    """Stacked convolutions in which every feature is computed at several orientations.

    Turning the image by one step turns the maps and moves the orientations round by one:
    exactly for quarter turns, up to the sampling of pixels for others (with random filters, the
    roughest there are, an eighth of a turn is off by about 1 % of the variance a layer). Filters
    are sums of Hermite functions. The first layer is not padded, the others keep the size of
    the map.

    Parameters
    ----------
    channel : int
        Channels of the image.
    rotations : int
        Orientations, evenly over a full turn; 8 in the published forms.
    layers, hidden : int
        Number of layers and of features in each; a map has ``rotations * hidden`` channels,
        channel ``r * hidden + f`` being feature ``f`` at orientation ``r``.
    input_kernel, hidden_kernel : int
        Sides of the square kernels, in pixels and in map points.
    momentum : float
        Of the batch norm's running statistics.
    linear : bool
        Leave the ELUs out.

    Notes
    -----
    Layers are dense, and their cost grows with the square of ``rotations * hidden``: with the 8
    rotations of 8 features of the 2023 video baseline, a training step on a CPU takes four
    times that of the stacked core of 64 channels.

    References
    ----------
    Ecker et al. (2019), ICLR, "A rotation-equivariant convolutional neural network model of
    primary visual cortex".

    """

    def __init__(
        self,
        channel: int = 1,
        *,
        rotations: int = 8,
        layers: int = 4,
        hidden: int = 8,
        input_kernel: int = 9,
        hidden_kernel: int = 7,
        momentum: float = 0.1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.rotations, self.input_kernel, self.linear = rotations, input_kernel, linear
        self.out_channel = rotations * hidden
        self.features: Any = nn.Sequential()  # its layers are looked into by name
        for number in range(layers):
            first = number == 0
            kernel, padding = (input_kernel, 0) if first else (hidden_kernel, hidden_kernel // 2)
            conv = HermiteConv2d(
                channel if first else hidden, hidden, kernel, padding, rotations, first
            )
            parts: OrderedDict[str, nn.Module] = OrderedDict(
                hermite_conv=conv, norm=RotationNorm(hidden, momentum)
            )
            self.features.add_module(f"layer{number}", nn.Sequential(parts))

    def map_shape(self, height: int, width: int) -> tuple[int, int]:
        """Size (y, x) of the map made from an image of this size."""
        return height - self.input_kernel + 1, width - self.input_kernel + 1

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, rotations * hidden, y, x) of an image (batch, channel, y, x), z units."""
        value = image
        for layer in self.features:
            value = layer.hermite_conv(value)
            # An image of one channel does not say which layout it is in.
            value = layer.norm(value.contiguous(memory_format=torch.channels_last))
            if not self.linear:
                value = F.elu(value, inplace=True)
        return value

    def regularizer(self) -> Tensor:
        """Roughness of the first layer's filters, over all orientations."""
        return laplace_roughness(self.features[0].hermite_conv.weight)

    def fold(self) -> None:
        """Make plain convolutions of the layers, batch norms merged; evaluation only, in place."""
        for layer in self.features:
            conv, norm = layer.hermite_conv, layer.norm
            if isinstance(norm, nn.Identity):
                continue
            norm = norm.batch_norm
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            shift = norm.bias - norm.running_mean * scale
            weight = conv.weight * scale.repeat(self.rotations)[:, None, None, None]
            plain = nn.utils.skip_init(
                nn.Conv2d, *weight.shape[1::-1], weight.shape[2:], padding=conv.padding
            )
            plain.weight = nn.Parameter(weight.detach(), requires_grad=False)
            plain.bias = nn.Parameter(shift.detach().repeat(self.rotations), requires_grad=False)
            layer.hermite_conv, layer.norm = plain, nn.Identity()


def load_peer_rotation_equivariant(
    core: RotationEquivariantCore, state: dict[str, Tensor]
) -> None:
    """Load the state dict of neuralpredictors' ``RotationEquivariant2dCore`` into our core.

    Parameters
    ----------
    core : RotationEquivariantCore
        Of as many rotations, layers, features and kernel sizes; the peer's was made with
        ``pad_input=False``, ``stack=-1`` and its ``upsampling`` of 2.
    state : dict of str to Tensor
        The peer keeps its Hermite functions and rotation matrices there too; they are left out.

    """
    ours = (".coeffs", ".batch_norm.")
    core.load_state_dict(
        {name: value for name, value in state.items() if any(part in name for part in ours)}
    )


def build_rotation_equivariant(
    architecture: Architecture, channel: int, height: int, width: int, n_behavior: int
) -> Core:
    """Core of a deep twin, as its architecture says."""
    del height, width, n_behavior
    return RotationEquivariantCore(
        channel,
        rotations=architecture.rotations,
        layers=architecture.layers,
        hidden=architecture.hidden,
        input_kernel=architecture.input_kernel,
        hidden_kernel=architecture.hidden_kernel,
        momentum=architecture.momentum,
        linear=architecture.linear,
    )
