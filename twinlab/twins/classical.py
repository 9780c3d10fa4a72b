"""The classical family: a few filters a neuron, and a known way from their outputs to a rate.

Each kind is a bank of filters and a curve from their outputs to the rate. A fit calls the same
curve with many candidate filters at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from twinlab.schema import InputError
from twinlab.twins.contract import StimulusSpec, Twin

__all__ = ["NONLINEARITIES", "FilterBankTwin", "NormalizationTwin", "QuadraticTwin", "SubunitTwin"]

Array = np.ndarray | Tensor

# From generator to rate, in both the quadratic and the subunit twin.
NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "softplus": F.softplus,
    "exponential": torch.exp,
}


class FilterBankTwin(Twin):
    """A twin whose rate is a curve of the outputs of a few filters.

    Attributes
    ----------
    filters : Parameter of shape (n_neuron, n_filter, channel, y, x)
        Weights of the image in z units.
    roles : tuple of int
        One a filter: 0 where it acts linearly, 1 where it excites, -1 where it suppresses.
    curve : tuple of str
        Names of the other parameters, (n_neuron,) or (n_neuron, n), in the order of `rate`.

    """

    kind: str
    filters: nn.Parameter

    def __init__(
        self,
        spec: StimulusSpec,
        neurons: xr.Dataset,
        origin: Mapping[str, Any] | None,
        roles: tuple[int, ...],
        filters: Array | None,
        curve: Mapping[str, tuple[Array | None, float, tuple[int, ...]]],
    ) -> None:
        super().__init__(spec, neurons, None, origin)
        n_neuron = neurons.sizes["neuron"]
        self.roles, self.curve = roles, tuple(curve)
        wanted = {"filters": (filters, 0.0, (len(roles), *spec.shape)), **curve}
        for name, (value, default, shape) in wanted.items():
            shape = (n_neuron, *shape)
            given = torch.full(shape, default) if value is None else torch.as_tensor(value)
            if tuple(given.shape) != shape:
                msg = (
                    f"`{name}` of a {type(self).__name__} must have shape {shape}, but has "
                    f"{tuple(given.shape)}; see its documentation for the order of its axes."
                )
                raise InputError(msg)
            setattr(self, name, nn.Parameter(given.detach().float().clone()))

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], **common: Any) -> FilterBankTwin:
        """Build an empty twin; its weights are loaded afterwards."""
        return cls(**common, **settings)

    def rate(self, drive: Tensor, *curve: Tensor) -> Tensor:
        """Rate from the outputs of the filters.

        Parameters
        ----------
        drive : Tensor of shape (..., n_filter)
        *curve : Tensor of shape (...) or (..., n)
            Values of the parameters named in `curve`, in that order.

        Returns
        -------
        Tensor of shape (...)

        """
        raise NotImplementedError

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
        del behavior, pupil_center  # it knows only the image
        image = ((stimulus - self.spec.mean) / self.spec.std).flatten(1)
        filters, *curve = (
            value if neuron is None else value[neuron]
            for value in (getattr(self, name) for name in ("filters", *self.curve))
        )
        filters = filters.flatten(2)
        if paired:
            drive = torch.einsum("bp,bkp->bk", image, filters)
        else:
            drive = (image @ filters.flatten(0, 1).T).unflatten(1, filters.shape[:2])
        return self.rate(drive, *curve)


def _check_counts(kind: str, counts: Mapping[str, int]) -> None:
    """Refuse numbers of filters that make no model."""
    if min(counts.values()) < 0 or not any(counts.values()):
        given = ", ".join(f"{name} = {value}" for name, value in counts.items())
        msg = f"A {kind} needs at least one filter and no negative number of them; got {given}."
        raise InputError(msg)


def _check_nonlinearity(nonlinearity: str) -> None:
    if nonlinearity not in NONLINEARITIES:
        msg = f"`nonlinearity` is {nonlinearity!r}; known: {', '.join(NONLINEARITIES)}."
        raise InputError(msg)


class QuadraticTwin(FilterBankTwin):
    """Generalised quadratic model: amplitude * nonlinearity(x' C x + b . x + offset).

    C is symmetric and of low rank: the sum of f f' over the excitatory filters minus that over
    the suppressive ones. With neither it is the linear-nonlinear model.

    Parameters
    ----------
    spec, neurons, context, origin
        As in `Twin`; the context is not used.
    n_excitatory, n_suppressive : int
        Positive and negative eigenvalues of C.
    nonlinearity : {"softplus", "exponential"}
    filters : array of shape (n_neuron, 1 + n_excitatory + n_suppressive, channel, y, x), optional
        Weights of the image in z units: b, then the excitatory, then the suppressive filters.
    offset, amplitude : array of shape (n_neuron,), optional
        The amplitude is in the recording's units and not negative.

    Raises
    ------
    InputError
        If a number, name or shape does not fit.

    References
    ----------
    Park & Pillow (2011), Advances in Neural Information Processing Systems 24.

    """

    kind = "quadratic"

    def __init__(
        self,
        spec: StimulusSpec,
        neurons: xr.Dataset,
        context: Mapping[str, Sequence[float]] | None = None,
        origin: Mapping[str, Any] | None = None,
        *,
        n_excitatory: int = 2,
        n_suppressive: int = 2,
        nonlinearity: str = "softplus",
        filters: Array | None = None,
        offset: Array | None = None,
        amplitude: Array | None = None,
    ) -> None:
        del context
        counts = {"linear": 1, "n_excitatory": n_excitatory, "n_suppressive": n_suppressive}
        _check_counts(type(self).__name__, counts)
        _check_nonlinearity(nonlinearity)
        curve = {"offset": (offset, 0.0, ()), "amplitude": (amplitude, 1.0, ())}
        roles = (0,) + (1,) * n_excitatory + (-1,) * n_suppressive
        super().__init__(spec, neurons, origin, roles, filters, curve)
        self.n_excitatory, self.n_suppressive = n_excitatory, n_suppressive
        self.nonlinearity = nonlinearity

    @property
    def settings(self) -> dict[str, Any]:
        """Numbers of filters and the nonlinearity."""
        names = ("n_excitatory", "n_suppressive", "nonlinearity")
        return {name: getattr(self, name) for name in names}

    def rate(self, drive: Tensor, *curve: Tensor) -> Tensor:
        """Rate from the outputs of the filters; see `FilterBankTwin.rate`."""
        offset, amplitude = curve
        square = drive[..., 1:].square()
        added = square[..., : self.n_excitatory].sum(-1)
        taken = square[..., self.n_excitatory :].sum(-1)
        generator = drive[..., 0] + added - taken + offset
        return amplitude * NONLINEARITIES[self.nonlinearity](generator)

    def quadratic_form(self, neuron: int) -> np.ndarray:
        """C of one neuron, (pixel, pixel), for images in z units, flattened."""
        filters = self.filters[neuron, 1:].detach().double().flatten(1).cpu().numpy()
        sign = np.repeat([1.0, -1.0], [self.n_excitatory, self.n_suppressive])
        return (filters.T * sign) @ filters


class SubunitTwin(FilterBankTwin):
    """Nonlinear input model: rectified subunits are added and subtracted, then one curve.

    Rate = amplitude * nonlinearity(linear + excitatory - suppressive + offset), where the
    latter two are sums of max(filter . image - threshold, 0). A subunit's weight is the norm
    of its filter. With one linear subunit alone it is the linear-nonlinear model.

    Parameters
    ----------
    spec, neurons, context, origin
        As in `Twin`; the context is not used.
    n_excitatory, n_suppressive, n_linear : int
    nonlinearity : {"softplus", "exponential"}
    filters : array of shape (n_neuron, n_subunit, channel, y, x), optional
        Weights of the image in z units: linear, then excitatory, then suppressive subunits.
    threshold : array of shape (n_neuron, n_excitatory + n_suppressive), optional
    offset, amplitude : array of shape (n_neuron,), optional
        The amplitude is in the recording's units and not negative.

    Raises
    ------
    InputError
        If a number, name or shape does not fit.

    References
    ----------
    McFarland, Cui & Butts (2013), PLOS Computational Biology 9(7): e1003143.

    """

    kind = "subunit"
    offset: nn.Parameter
    amplitude: nn.Parameter

    def __init__(
        self,
        spec: StimulusSpec,
        neurons: xr.Dataset,
        context: Mapping[str, Sequence[float]] | None = None,
        origin: Mapping[str, Any] | None = None,
        *,
        n_excitatory: int = 2,
        n_suppressive: int = 2,
        n_linear: int = 0,
        nonlinearity: str = "softplus",
        filters: Array | None = None,
        threshold: Array | None = None,
        offset: Array | None = None,
        amplitude: Array | None = None,
    ) -> None:
        del context
        counts = {
            "n_linear": n_linear, "n_excitatory": n_excitatory, "n_suppressive": n_suppressive,
        }  # fmt: skip
        _check_counts(type(self).__name__, counts)
        _check_nonlinearity(nonlinearity)
        curve = {
            "threshold": (threshold, 0.0, (n_excitatory + n_suppressive,)),
            "offset": (offset, 0.0, ()),
            "amplitude": (amplitude, 1.0, ()),
        }
        roles = (0,) * n_linear + (1,) * n_excitatory + (-1,) * n_suppressive
        super().__init__(spec, neurons, origin, roles, filters, curve)
        self.n_excitatory, self.n_suppressive = n_excitatory, n_suppressive
        self.n_linear, self.nonlinearity = n_linear, nonlinearity

    @property
    def settings(self) -> dict[str, Any]:
        """Numbers of subunits and the nonlinearity."""
        names = ("n_excitatory", "n_suppressive", "n_linear", "nonlinearity")
        return {name: getattr(self, name) for name in names}

    def rate(self, drive: Tensor, *curve: Tensor) -> Tensor:
        """Rate from the outputs of the filters; see `FilterBankTwin.rate`."""
        threshold, offset, amplitude = curve
        active = F.relu(drive[..., self.n_linear :] - threshold)
        added = active[..., : self.n_excitatory].sum(-1)
        taken = active[..., self.n_excitatory :].sum(-1)
        generator = drive[..., : self.n_linear].sum(-1) + added - taken + offset
        return amplitude * NONLINEARITIES[self.nonlinearity](generator)


class NormalizationTwin(FilterBankTwin):
    """Divisive normalisation: squared drive, divided by a weighted pool of squared filters.

    Rate = baseline + amplitude * sum_k (f_k . x)^2 / (semi_saturation + sum_j w_j (p_j . x)^2).
    To the contrast c of one image it answers as Naka and Rushton's curve does,
    c^2 / (c^2 + c50^2), with c50^2 = semi_saturation / sum_j w_j (p_j . x)^2 at contrast 1.

    Parameters
    ----------
    spec, neurons, context, origin
        As in `Twin`; the context is not used.
    n_drive, n_pool : int
        Filters f in the drive and p in the pool.
    rectified : bool
        Square only positive outputs in the drive: a simple cell's half-squaring.
    filters : array of shape (n_neuron, n_drive + n_pool, channel, y, x), optional
        Weights of the image in z units: those of the drive, then those of the pool.
    pool_weight : array of shape (n_neuron, n_pool), optional
    semi_saturation, baseline, amplitude : array of shape (n_neuron,), optional
        None is negative, and the semi-saturation is positive; baseline and amplitude are in
        the recording's units.

    Raises
    ------
    InputError
        If a number, sign or shape does not fit.

    References
    ----------
    Heeger (1992), Visual Neuroscience 9: 181-197; Burg et al. (2021), PLOS Computational
    Biology 17(6): e1009028.

    """

    kind = "normalization"

    semi_saturation: nn.Parameter

    def __init__(
        self,
        spec: StimulusSpec,
        neurons: xr.Dataset,
        context: Mapping[str, Sequence[float]] | None = None,
        origin: Mapping[str, Any] | None = None,
        *,
        n_drive: int = 2,
        n_pool: int = 4,
        rectified: bool = False,
        filters: Array | None = None,
        pool_weight: Array | None = None,
        semi_saturation: Array | None = None,
        baseline: Array | None = None,
        amplitude: Array | None = None,
    ) -> None:
        del context
        _check_counts(type(self).__name__, {"n_drive": n_drive, "n_pool": n_pool})
        if n_drive < 1:
            msg = "A NormalizationTwin needs at least one filter in its drive; got n_drive = 0."
            raise InputError(msg)
        curve = {
            "pool_weight": (pool_weight, 1.0, (n_pool,)),
            "semi_saturation": (semi_saturation, 1.0, ()),
            "baseline": (baseline, 0.0, ()),
            "amplitude": (amplitude, 1.0, ()),
        }
        roles = (1,) * n_drive + (-1,) * n_pool
        super().__init__(spec, neurons, origin, roles, filters, curve)
        self.n_drive, self.n_pool, self.rectified = n_drive, n_pool, bool(rectified)
        negative = [name for name in curve if (getattr(self, name) < 0).any()]
        if negative or (self.semi_saturation == 0).any():
            msg = (
                f"{' and '.join(negative) or 'semi_saturation'} of a NormalizationTwin must not "
                "be negative, nor the semi-saturation 0: a rate would be negative or undefined."
            )
            raise InputError(msg)

    @property
    def settings(self) -> dict[str, Any]:
        """Numbers of filters and whether the drive is rectified."""
        return {"n_drive": self.n_drive, "n_pool": self.n_pool, "rectified": self.rectified}

    def rate(self, drive: Tensor, *curve: Tensor) -> Tensor:
        """Rate from the outputs of the filters; see `FilterBankTwin.rate`."""
        pool_weight, semi_saturation, baseline, amplitude = curve
        driving = drive[..., : self.n_drive]
        energy = (F.relu(driving) if self.rectified else driving).square().sum(-1)
        pool = (pool_weight * drive[..., self.n_drive :].square()).sum(-1)
        return baseline + amplitude * energy / (semi_saturation + pool)
