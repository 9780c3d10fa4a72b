"""neuralpredictors' cores and readouts inside our twins: by name, unchanged.

neuralpredictors 0.3.0 does not import on a current Python as it is: its cores take
``Iterable`` from `collections` (gone since Python 3.10) and import torchvision. Stand-ins for
both are put in place for the import alone and removed again after it, because a stand-in left
behind breaks other packages that look for the real thing.
"""

from __future__ import annotations

import collections
import collections.abc
import importlib
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from twinlab.schema import InputError
from twinlab.twins import deep
from twinlab.twins.cores import Core, StackedCore
from twinlab.twins.readouts import GaussianReadout, Readout

__all__ = ["PEER_CORES", "PEER_READOUTS", "import_peer", "load_peer_core", "load_peer_readout"]


@contextmanager
def _stand_ins() -> Iterator[None]:
    added = [name for name in ("Iterable", "Mapping") if not hasattr(collections, name)]
    for name in added:
        setattr(collections, name, getattr(collections.abc, name))
    torchvision = "torchvision" not in sys.modules
    if torchvision:
        sys.modules["torchvision"] = types.ModuleType("torchvision")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in added:
            delattr(collections, name)
        if torchvision:
            del sys.modules["torchvision"]


def import_peer(module: str) -> types.ModuleType:
    """Import a module of neuralpredictors, e.g. ``"layers.cores"``."""
    with _stand_ins():
        return importlib.import_module(f"neuralpredictors.{module}")


class PeerCore(Core):
    """A neuralpredictors core with the few things our twins ask of one."""

    def __init__(self, core: nn.Module, out_channel: int, border: int) -> None:
        super().__init__()
        self.core, self.out_channel, self.border = core, out_channel, border

    def map_shape(self, height: int, width: int) -> tuple[int, int]:
        """Size (y, x) of the map made from an image of this size."""
        return height - self.border, width - self.border

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, channel, y, x) of an image in z units."""
        return self.core(image)

    def regularizer(self) -> Tensor:
        """Roughness of the first layer's filters, as the core itself measures it."""
        return self.core.laplace()  # type: ignore[operator]


class PeerReadout(Readout):
    """A neuralpredictors readout; it computes all neurons, and those asked about are kept."""

    def __init__(self, readout: nn.Module) -> None:
        super().__init__()
        self.readout = readout

    @property
    def bias(self) -> nn.Parameter:  # type: ignore[override]
        """Drive without any feature, (neuron,)."""
        return self.readout.bias  # type: ignore[return-value]

    def forward(
        self,
        maps: Tensor,
        *,
        shift: Tensor | None = None,
        neuron: Tensor | None = None,
        paired: bool = False,
    ) -> Tensor:
        """Drive of each neuron for each map; see `Readout.forward`."""
        drive = self.readout(maps.contiguous(), shift=shift)
        if neuron is None:
            return drive
        if paired:
            return drive[torch.arange(len(drive), device=drive.device), neuron]
        return drive[:, neuron]

    def regularizer(self) -> Tensor:
        """Size of the readout's weights, as the readout itself measures it."""
        return self.readout.feature_l1(reduction="sum")  # type: ignore[operator]


def _core(name: str, own: Callable[[deep.Architecture], dict[str, Any]]) -> Any:
    def build(
        architecture: deep.Architecture, channel: int, height: int, width: int, n_behavior: int
    ) -> Core:
        del height, width, n_behavior
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            core = getattr(import_peer("layers.cores"), name)(
                input_channels=channel,
                hidden_channels=architecture.hidden,
                input_kern=architecture.input_kernel,
                hidden_kern=architecture.hidden_kernel,
                layers=architecture.layers,
                momentum=architecture.momentum,
                linear=architecture.linear,
                bias=False,
                pad_input=False,
                stack=-1,
                input_regularizer="LaplaceL2norm",
                use_avg_reg=False,
                **own(architecture),
            )
        return PeerCore(core, architecture.hidden, architecture.input_kernel - 1)

    return build


def _readout(name: str) -> Any:
    def build(
        architecture: deep.Architecture,
        channel: int,
        map_shape: tuple[int, int],
        position: Tensor,
        neurons: xr.Dataset,
        generator: torch.Generator,
    ) -> Readout:
        del generator  # the peer draws from torch's own, which the twin has seeded
        if architecture.positions != "free":
            msg = f"The {architecture.readout} readout takes `positions=free` only."
            raise InputError(msg)
        special: dict[str, dict[str, Any]] = {
            "FullGaussian2d": {"init_sigma": architecture.sigma, "gauss_type": "full"},
            "PointPooled2d": {"pool_steps": 2, "pool_kern": 4, "init_range": 0.1},
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            readout = getattr(import_peer("layers.readouts"), name)(
                in_shape=(channel, *map_shape),
                outdims=neurons.sizes["neuron"],
                bias=True,
                **special.get(name, {}),
            )
        if name == "FullGaussian2d":
            readout._mu.data = position[None, :, None].clone()
        return PeerReadout(readout)

    return build


PEER_CORES = {
    "neuralpredictors_stacked": _core("Stacked2dCore", lambda _: {"depth_separable": True}),
    "neuralpredictors_squeeze_excitation": _core(
        "SE2dCore",
        lambda a: {"n_se_blocks": a.layers - 1, "se_reduction": a.reduction},
    ),
}
PEER_READOUTS = {
    "neuralpredictors_gaussian": _readout("FullGaussian2d"),
    "neuralpredictors_factorized": _readout("FullFactorized2d"),
    "neuralpredictors_pointpooled": _readout("PointPooled2d"),
}
deep.CORES.update(PEER_CORES)
deep.READOUTS.update(PEER_READOUTS)


def load_peer_core(core: StackedCore, state: dict[str, Tensor]) -> None:
    """Load the state dict of neuralpredictors' ``Stacked2dCore`` into our core.

    Parameters
    ----------
    core : StackedCore
        Of as many layers, channels and kernel sizes.
    state : dict of str to Tensor
        The peer keeps the constant filter of its regulariser there too; it is left out.

    """
    core.load_state_dict(
        {name: value for name, value in state.items() if "regularizer" not in name}
    )


def load_peer_readout(readout: GaussianReadout, state: dict[str, Tensor]) -> None:
    """Load the state dict of neuralpredictors' ``FullGaussian2d`` into our readout.

    Parameters
    ----------
    readout : GaussianReadout
        With free positions, as many neurons and channels as the state.
    state : dict of str to Tensor
        Keys ``_mu`` (1, neuron, 1, 2), ``sigma`` (1, neuron, 2, 2),
        ``_features`` (1, channel, 1, neuron) and ``bias`` (neuron,).

    """
    with torch.no_grad():
        readout.mu.copy_(state["_mu"][0, :, 0])
        readout.sigma.copy_(state["sigma"][0])
        readout.features.copy_(state["_features"][0, :, 0].T)
        readout.bias.copy_(state["bias"])
