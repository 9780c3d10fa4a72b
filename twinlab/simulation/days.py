"""The same neurons on another day: gains drift, receptive fields move, some are lost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import xarray as xr

from twinlab.schema import InputError
from twinlab.simulation.neurons import KINDS, SimulatedTwin, shift_images

__all__ = ["Drift", "draw_drift", "drift_neurons", "drift_twin", "shift_filters"]


class Drift(NamedTuple):
    """How the neurons differ from what they were on the first day."""

    log_gain: np.ndarray  # (n_neuron,), change of the logarithm of the rate
    shift: np.ndarray  # (2,), rightward and downward, in pixels
    found: np.ndarray  # (n_found,), positions of the neurons that are found again


def draw_drift(
    n_neuron: int,
    day: int,
    generator: np.random.Generator,
    *,
    gain: float,
    shift: float,
    loss: float,
) -> Drift:
    """Random walks, one step a day: days that follow one another are alike.

    Parameters
    ----------
    n_neuron, day : int
    generator : Generator
        A fresh one of the same seed gives the same first days, however many follow.
    gain : float
        Standard deviation of a day's step of each neuron's logarithm of the rate.
    shift : float
        Standard deviation in pixels of a day's step of all receptive fields, along each axis.
    loss : float
        Probability that a neuron found one day is lost from the next one on.

    Raises
    ------
    InputError
        If a number is out of range or no neuron is left.

    """
    if day < 0 or min(gain, shift) < 0 or not 0 <= loss < 1:
        msg = (
            "`day`, `gain` and `shift` must be at least 0 and `loss` at least 0 and below 1, but "
            f"got day = {day}, gain = {gain:g}, shift = {shift:g} and loss = {loss:g}."
        )
        raise InputError(msg)
    log_gain, moved, there = np.zeros(n_neuron), np.zeros(2), np.ones(n_neuron, bool)
    for _ in range(day):
        log_gain += gain * generator.standard_normal(n_neuron)
        moved += shift * generator.standard_normal(2)
        there &= generator.uniform(size=n_neuron) >= loss
    if not there.any():
        msg = (
            f"All {n_neuron} neurons are lost by day {day}, at loss = {loss:g} a day; lower it, "
            "or ask for an earlier day."
        )
        raise InputError(msg)
    return Drift(log_gain, moved, np.flatnonzero(there))


def drift_twin(twin: SimulatedTwin, drift: Drift) -> None:
    """Change a twin's gains and receptive fields in place."""
    twin.scale.mul_(torch.as_tensor(np.exp(drift.log_gain), dtype=twin.scale.dtype))
    for kind in KINDS:
        bank = getattr(twin, f"filters_{kind}")
        shape = (-1, *twin.spec.shape)
        bank.copy_(shift_filters(bank.reshape(shape), drift.shift).reshape(bank.shape))
    twin.neurons = drift_neurons(twin.neurons, drift)


def shift_filters(filters: torch.Tensor, shift: np.ndarray) -> torch.Tensor:
    """Filters (n, channel, y, x) moved by pixels; what leaves the screen is lost."""
    # A product with a moved filter is that of the filter with the image moved the other way.
    back = -torch.as_tensor(shift, dtype=filters.dtype)
    return shift_images(filters, back.expand(len(filters), 2))


def drift_neurons(neurons: xr.Dataset, drift: Drift) -> xr.Dataset:
    """The truth about neurons that drifted; their reliability is no longer known."""
    right, down = drift.shift
    moved = neurons.assign_coords(
        true_x=neurons.true_x + right,
        true_y=neurons.true_y + down,
        true_log_gain=(
            "neuron",
            drift.log_gain,
            {"long_name": "true change of the log rate since the first day", "units": "1"},
        ),
    ).drop_vars("true_reliability")
    for name in ("true_x", "true_y"):
        moved[name].attrs = dict(neurons[name].attrs)
    return moved
