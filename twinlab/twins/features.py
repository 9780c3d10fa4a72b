"""Feature-extractor core: a layer inside any network, up to which an image is run."""

from __future__ import annotations

import copy
import difflib
import importlib
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from twinlab.schema import InputError
from twinlab.twins.cores import Core, laplace_roughness
from twinlab.twins.gabor import GaborEnergy

if TYPE_CHECKING:
    from twinlab.twins.deep import Architecture

__all__ = [
    "BACKBONES",
    "FeatureCore",
    "build_backbone",
    "build_features",
    "load_backbone",
    "timm_backbone",
]

BACKBONES: dict[str, Callable[[], nn.Module]] = {"gabor_energy": GaborEnergy}


class _Reached(Exception):  # noqa: N818 - not an error: it carries the map past the later layers
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def _stop(module: nn.Module, given: Any, value: Any) -> None:
    raise _Reached(value)


class FeatureCore(Core):
    """The map that a layer of another network makes of the image; later layers are not run.

    The network is copied, and its weights are the core's: they are saved with the twin.

    Parameters
    ----------
    backbone : nn.Module
        Takes images (batch, channel, y, x).
    layer : str
        Name of the layer in it, as in ``backbone.named_modules()``; its output where empty. The
        layer gives a map (batch, channel, y, x), or tokens (batch, token, channel) as many as
        an even grid over the image has, with or without a class token before them.
    channel, height, width : int
        Shape of the image. Grey images are repeated over the channels the backbone takes.
    trainable : bool
        Let the backbone learn. If not, it stays as it is, batch-norm statistics included.
    mean, std : sequence of float
        Subtracted and divided, one number for all channels or one for each of the backbone's.
        They are in z units: images arrive with mean 0 and standard deviation 1, which is also
        what networks for natural images are used to.
    norm : bool
        Batch norm of the map, whose scale is otherwise any.
    momentum : float
        Of that batch norm's running statistics.

    Raises
    ------
    InputError
        If there is no such layer, or it gives neither a map nor tokens that fill a grid.

    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        layer: str = "",
        *,
        channel: int = 1,
        height: int = 36,
        width: int = 64,
        trainable: bool = False,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        norm: bool = True,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).requires_grad_(trainable)
        self.layer, self.trainable, self.channel = layer, trainable, channel
        layers = dict(self.backbone.named_modules())
        if layer not in layers:
            near = difflib.get_close_matches(layer, layers, n=5, cutoff=0.3)
            msg = (
                f"The backbone has no layer {layer!r}; near it are "
                f"{near or [name for name in layers if name][:5]}."
            )
            raise InputError(msg)
        layers[layer].register_forward_hook(_stop)
        self.repeats = _repeats(self.backbone, channel)
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        try:
            self.out_channel = self._blank_map(height, width).shape[1]
        except (RuntimeError, AssertionError, IndexError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            msg = (
                f"The backbone does not run on images of {height} x {width} pixels ({reason}); "
                "choose one for this size, or an earlier layer."
            )
            raise InputError(msg) from error
        self.norm = nn.BatchNorm2d(self.out_channel, momentum=momentum) if norm else nn.Identity()
        self.train()

    def train(self, mode: bool = True) -> FeatureCore:
        """Set the mode; a backbone that does not learn stays in evaluation."""
        super().train(mode)
        self.backbone.train(mode and self.trainable)
        return self

    def map_shape(self, height: int, width: int) -> tuple[int, int]:
        """Size (y, x) of the map made from an image of this size, found by making one."""
        rows, columns = self._blank_map(height, width).shape[2:]
        return rows, columns

    def map_corners(self, height: int, width: int) -> tuple[tuple[float, float], ...]:
        """Centres of the first and last map point, (y, x) in pixels of the image.

        Maps finer than half the image are taken to be centred on it, point for pixel; others to
        tile it evenly. Either holds to within half a step for the usual paddings.
        """
        sizes = list(zip((height, width), self.map_shape(height, width), strict=True))
        steps = [1.0 if 2 * points > size else size / points for size, points in sizes]
        first = [
            (size - 1 - step * (points - 1)) / 2
            for step, (size, points) in zip(steps, sizes, strict=True)
        ]
        return (first[0], first[1]), (height - 1 - first[0], width - 1 - first[1])

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, out_channel, y, x) of an image (batch, channel, y, x) in z units."""
        return self.norm(self._features(image))

    def _blank_map(self, height: int, width: int) -> Tensor:
        """Map of a grey image, which leaves no trace in running statistics."""
        was = self.training
        self.train(False)
        with torch.no_grad():
            blank = self._features(self.mean.new_zeros(1, self.channel, height, width))
        self.train(was)
        return blank

    def _features(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        image = (image.repeat(1, self.repeats, 1, 1) - self.mean) / self.std
        try:
            self.backbone(image)
        except _Reached as reached:
            maps = _as_map(reached.value, self.layer, height, width)
            return maps.contiguous(memory_format=torch.channels_last)
        msg = f"The backbone does not come by its layer {self.layer!r} when it is run."
        raise InputError(msg)

    def regularizer(self) -> Tensor:
        """Roughness of the first convolution's filters where they are learned, or 0."""
        for module in self.backbone.modules() if self.trainable else ():
            if isinstance(module, nn.Conv2d) and min(module.kernel_size) >= 3:
                return laplace_roughness(module.weight)
        return self.mean.new_zeros(())


def _repeats(backbone: nn.Module, channel: int) -> int:
    """How often the channels of the image are repeated to be as many as the backbone takes."""
    declared = (getattr(module, "in_channels", None) for module in backbone.modules())
    taken = next((count for count in declared if isinstance(count, int)), channel)
    if taken != channel and channel != 1:
        msg = (
            f"The backbone takes images of {taken} channels, but is given {channel}; show grey "
            "images, and use `behavior=gain` if behaviour was appended as channels."
        )
        raise InputError(msg)
    return taken // channel


def _as_map(value: Any, layer: str, height: int, width: int) -> Tensor:
    """Maps as they are; tokens in their places on the grid they were cut from."""
    if isinstance(value, Tensor) and value.ndim == 4:
        return value
    if not isinstance(value, Tensor) or value.ndim != 3:
        shown = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        msg = (
            f"The layer {layer!r} gives {shown}; expected a map (batch, channel, y, x) or tokens "
            "(batch, token, channel). Choose a layer before pooling."
        )
        raise InputError(msg)
    count = value.shape[1]
    for dropped in (0, 1):
        for patch in range(1, min(height, width) + 1):
            grid = height // patch, width // patch
            if grid[0] * grid[1] == count - dropped:
                return value[:, dropped:].transpose(1, 2).unflatten(2, grid)
    msg = (
        f"The {count} tokens of layer {layer!r} are not those of square patches over an image of "
        f"{height} x {width} pixels, with or without a class token."
    )
    raise InputError(msg)


def build_backbone(name: str) -> nn.Module:
    """Build the backbone of this name.

    Parameters
    ----------
    name : str
        An entry of `BACKBONES`, or ``timm:NAME`` for a model of timm without its weights.

    Raises
    ------
    InputError
        If nothing has this name; how to register a builder is said.

    """
    if name in BACKBONES:
        return BACKBONES[name]()
    if name.startswith("timm:"):
        return timm_backbone(name.removeprefix("timm:"))
    msg = (
        f"There is no backbone {name!r}; known: {', '.join(BACKBONES)}, timm:NAME. Register a "
        f"function that builds it first: twinlab.twins.BACKBONES[{name!r}] = build."
    )
    raise InputError(msg)


def timm_backbone(name: str, weights: str | PathLike[str] | None = None) -> nn.Module:
    """Build a model of timm, with weights from a local file or none; nothing is fetched.

    Parameters
    ----------
    name : str
        As in ``timm.list_models()``.
    weights : path, optional
        A safetensors file with the state dict.

    Raises
    ------
    InputError
        If timm is not installed, does not know the model, or the weights do not fit.

    """
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        msg = f"The backbone timm:{name} needs timm, which is not installed: pip install timm."
        raise InputError(msg) from None
    try:
        model = timm.create_model(name, pretrained=False)
    except RuntimeError as error:
        msg = f"timm does not build {name!r}: {str(error).splitlines()[0]}."
        raise InputError(msg) from error
    return model if weights is None else load_backbone(model, weights)


def load_backbone(backbone: nn.Module, weights: str | PathLike[str]) -> nn.Module:
    """Load weights from a local safetensors file into a network, and return it.

    Raises
    ------
    InputError
        If the file is missing, is not a safetensors file, or holds the weights of another network.

    """
    path = Path(weights)
    if not path.is_file():
        msg = f"{path}: there is no such file; expected weights in the safetensors format."
        raise InputError(msg)
    try:
        backbone.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"{path}: does not hold the weights of a {type(backbone).__name__} ({reason})."
        raise InputError(msg) from error
    return backbone


def build_features(
    architecture: Architecture, channel: int, height: int, width: int, n_behavior: int
) -> Core:
    """Core of a deep twin, as its architecture says."""
    del n_behavior
    return FeatureCore(
        build_backbone(architecture.backbone),
        architecture.backbone_layer,
        channel=channel,
        height=height,
        width=width,
        trainable=architecture.backbone_trainable,
        momentum=architecture.momentum,
    )
