"""Where simulated neurons are and what they prefer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from twinlab.stimuli import gabor_patches

__all__ = ["draw_neurons", "make_filters", "place_gabors"]

FIELD_UM = (1000.0, 600.0)  # horizontal and vertical extent of the recorded piece of cortex
DEPTH_UM = (150.0, 350.0)  # layer 2/3 of mouse visual cortex
MAP_PERIOD_UM = 400.0  # distance after which the orientation map repeats, roughly
MAP_WAVES = 60
RETINOTOPIC_SCATTER = 1.5  # px
MARGIN = 1.5  # of receptive field centres from the edge, in sizes

# Colour-blind cells weigh all channels alike; of the others there are none in grey images.
COLOUR_BLIND_SHARE = 0.3
RING_RADIUS = 3.5  # of the annulus of a surround cell, in sizes

# Where the Gabors of each kind are: rightwards and downwards from the centre in sizes, and
# turned by how many degrees. A simple cell has one Gabor at each place, the others a pair.
PLACES = {
    "simple": [(0.0, 0.0, 0.0)],
    "complex": [(0.0, 0.0, 0.0)],
    "normalized": [(0.0, 0.0, turn) for turn in (0.0, 45.0, 90.0, 135.0)],
    "surround": [
        (0.0, 0.0, 0.0),
        *(
            (RING_RADIUS * np.cos(angle), RING_RADIUS * np.sin(angle), 0.0)
            for angle in np.arange(6) * np.pi / 3
        ),
    ],
}

GABOR_PARAMETERS = (
    "x",
    "y",
    "orientation",
    "spatial_frequency",
    "phase",
    "size",
    "elongation",
)
UNITS = {
    "x_um": ("cortical x", "um"),
    "y_um": ("cortical y", "um"),
    "z_um": ("cortical depth", "um"),
    "true_type": ("kind of simulated neuron", ""),
    "true_x": ("true horizontal receptive field centre", "px"),
    "true_y": ("true vertical receptive field centre", "px"),
    "true_orientation": ("true preferred orientation", "deg"),
    "true_spatial_frequency": ("true preferred spatial frequency", "cycles/px"),
    "true_phase": ("true phase at the receptive field centre", "deg"),
    "true_size": ("true receptive field size (sigma across the bars)", "px"),
    "true_elongation": ("true elongation of the receptive field along the bars", "1"),
    "true_running_gain": ("true log gain per standard deviation of running speed", "1"),
    "true_pupil_gain": ("true log gain per standard deviation of pupil dilation", "1"),
    "true_colour_blind": ("weighs all channels alike", "1"),
}


def draw_neurons(
    count: Mapping[str, int],
    generator: np.random.Generator,
    *,
    session: str,
    height: int,
    width: int,
    channel: int,
    mapped: bool,
    running_gain: float,
    pupil_gain: float,
) -> xr.Dataset:
    """Coordinates of a random population, of `count` neurons of each kind in random order."""
    n = sum(count.values())
    kind = generator.permutation(np.repeat(list(count), list(count.values())))
    x_um, y_um = generator.uniform(0, 1, (2, n)) * np.array(FIELD_UM)[:, None]
    size, frequency = _draw_gabors(n, generator)
    scattered = orientation_map(x_um, y_um, generator) if mapped else generator.uniform(0, 180, n)
    phase = generator.uniform(0, 360, n)
    values = {
        "x_um": x_um,
        "y_um": y_um,
        "z_um": generator.uniform(*DEPTH_UM, n),
        "true_type": kind,
        "true_x": _retinotopy(x_um / FIELD_UM[0], width, size, generator),
        "true_y": _retinotopy(y_um / FIELD_UM[1], height, size, generator),
        "true_orientation": scattered,
        "true_spatial_frequency": frequency,
        "true_phase": np.where(kind == "simple", phase, np.nan),  # a quadrature pair has none
        "true_size": size,
        "true_elongation": generator.uniform(1.0, 1.3, n),
        "true_running_gain": running_gain * (0.5 + generator.standard_normal(n)),
        "true_pupil_gain": pupil_gain * (0.5 + generator.standard_normal(n)),
        "true_colour_blind": (
            (generator.uniform(size=n) < COLOUR_BLIND_SHARE) | (channel == 1)
        ).astype(int),
    }
    neurons = xr.Dataset(
        coords={
            "neuron_id": ("neuron", np.arange(n)),
            "session": ("neuron", np.full(n, session)),
            "area": ("neuron", np.full(n, "simulated V1")),
            "layer": ("neuron", np.full(n, "L2/3")),
            **{name: ("neuron", value) for name, value in values.items()},
        }
    )
    for name, (long_name, units) in UNITS.items():
        neurons[name].attrs = {"long_name": long_name} | ({"units": units} if units else {})
    return neurons


def orientation_map(
    x_um: np.ndarray, y_um: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Preferred orientation at places on a random map with pinwheels, in degrees.

    Half the argument of a sum of complex plane waves of one period in all directions:
    pinwheels are the zeros of the sum.
    """
    direction = generator.uniform(0, 2 * np.pi, MAP_WAVES)
    number = 2 * np.pi / MAP_PERIOD_UM * generator.uniform(0.85, 1.15, MAP_WAVES)
    offset = generator.uniform(0, 2 * np.pi, MAP_WAVES)
    wave = np.outer(x_um, number * np.cos(direction)) + np.outer(y_um, number * np.sin(direction))
    return np.rad2deg(np.angle(np.exp(1j * (wave + offset)).sum(1)) / 2) % 180


def _draw_gabors(n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Size and spatial frequency whose product, the number of bars, is that of real cells."""
    size, frequency = generator.uniform((2.0, 0.08), (4.0, 0.2), (40 * n, 2)).T
    real = np.flatnonzero(np.abs(size * frequency - 0.475) <= 0.125)[:n]
    return size[real], frequency[real]


def _retinotopy(
    place: np.ndarray, length: int, size: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Receptive field centres along one axis: linear in cortical place (0 to 1), scattered."""
    margin = MARGIN * size
    center = margin + place * (length - 1 - 2 * margin)
    center += RETINOTOPIC_SCATTER * generator.standard_normal(len(place))
    return np.clip(center, margin, length - 1 - margin)  # stays on the screen


def make_filters(
    neurons: xr.Dataset,
    height: int,
    width: int,
    channel: int,
    generator: np.random.Generator,
    *,
    quadrature: bool = False,
) -> dict[str, np.ndarray]:
    """Make the filters of each kind of neuron, (n_neuron_of_kind, n_filter, n_pixel).

    Pixels run over channel, y and x. All filters have zero mean. Those at the centre of the
    receptive field have unit norm; those around it would have, were they not cut by the edge
    of the screen. With `quadrature` a simple cell has a pair too, of its own phase and of that
    90 degrees later.
    """
    filters = {}
    for kind in PLACES:
        cells = neurons.isel(neuron=neurons.true_type.values == kind)
        gabors = place_gabors(cells, kind, height, width, quadrature)
        weight = _weigh_channels(cells.true_colour_blind.values == 1, channel, generator)
        coloured = gabors[:, :, None] * weight[:, None, :, None]
        filters[kind] = coloured.reshape(*gabors.shape[:2], channel * height * width)
    return filters


def place_gabors(
    cells: xr.Dataset, kind: str, height: int, width: int, quadrature: bool
) -> np.ndarray:
    """Gabors of cells, at the places of a kind, (n_neuron, n_place * n_phase, n_pixel)."""
    right, down, turn = np.array(PLACES[kind]).T[:, :, None]  # (place, 1) each
    own = {name: cells[f"true_{name}"].values[:, None, None] for name in GABOR_PARAMETERS}
    size, pair = own["size"], np.array([0.0, 90.0])
    phase = own["phase"] + (pair if quadrature else 0.0) if kind == "simple" else pair
    parameters = np.broadcast_arrays(
        own["x"] + right * size,
        own["y"] + down * size,
        own["orientation"] + turn,
        own["spatial_frequency"],
        phase,
        size,
        own["elongation"],
    )  # (neuron, place, phase) each
    shape = parameters[0].shape
    x, y, orientation, frequency, phase, size, elongation = (p.ravel() for p in parameters)
    screen: dict[str, Any] = {"height": height, "width": width, "elongation": elongation}
    gabors = gabor_patches(x, y, orientation, frequency, phase, size, **screen)
    # A Gabor without a carrier is its envelope, the shape of the part that has a mean.
    envelopes = gabor_patches(x, y, orientation, 0 * frequency, 0 * phase, size, **screen)
    mean = gabors.sum((1, 2), keepdims=True) / envelopes.sum((1, 2), keepdims=True)
    gabors = (gabors - mean * envelopes).reshape(*shape, height * width)
    gabors /= np.linalg.norm(gabors[:, :1], axis=-1, keepdims=True)
    return gabors.reshape(shape[0], shape[1] * shape[2], height * width)


def _weigh_channels(
    colour_blind: np.ndarray, channel: int, generator: np.random.Generator
) -> np.ndarray:
    """Weight of each colour channel, (n_neuron, channel), of unit norm."""
    preference = generator.dirichlet(np.ones(channel), len(colour_blind))
    weight = np.where(colour_blind[:, None], 1.0, preference)
    return weight / np.linalg.norm(weight, axis=1, keepdims=True)
