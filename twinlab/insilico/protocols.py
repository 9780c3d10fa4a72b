"""Tuning experiments by name: what spans the grid, what is fixed, what is read off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twinlab.insilico.selectivity import (
    circular_variance,
    cross_orientation_suppression,
    direction_index,
    direction_selectivity,
    half_width,
    orientation_index,
    orientation_selectivity,
    preferred_angle,
    suppression_index,
)

__all__ = ["PROTOCOLS", "Protocol", "Span"]

Index = Callable[[np.ndarray, np.ndarray], np.ndarray]
FromFit = Callable[[np.ndarray, Mapping[str, np.ndarray]], np.ndarray]
OCTAVES_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))  # full width at half height of a Gaussian


@dataclass(frozen=True)
class Span:
    """Values of one axis: evenly spaced in angle, in value, or in logarithm.

    `circle` closes on itself at `high`; `log0` is logarithmic with 0 in front.
    `low` and `high` of None are the edges of the screen, or half of what contrasts may be.
    """

    spacing: str
    low: float | None
    high: float | None
    n: int

    def values(self, n: int, low: float, high: float) -> np.ndarray:
        """The points between two limits."""
        if self.spacing == "circle":
            return low + np.arange(n) * (high - low) / n
        if self.spacing == "linear":
            return np.linspace(low, high, n)
        if self.spacing == "log0":
            return np.concatenate([[0.0], np.geomspace(low, high, n - 1)])
        return np.geomspace(low, high, n)


@dataclass(frozen=True)
class Protocol:
    """One tuning experiment.

    Attributes
    ----------
    summary : str
        First line of its documentation.
    axes : dict of str to Span
        What spans the grid; the first is the one that the curve is over.
    fixed : dict of str to float or "own"
        As `measure_tuning` takes it.
    average : dict of str to tuple of float
        As `measure_tuning` takes it.
    at : dict of str to float
        Values of the other axes at which the curve is taken; its peak where absent.
    read_at : tuple of float
        Angles of the first axis at which indices are read.
    curve : str
        Line of `curves.CURVES` that is fitted; empty for none.
    indices : dict of str to (Index, str, str)
        From axis and curve (..., n_point) to a value of each neuron; long name and units.
    from_fit : dict of str to (callable, str, str)
        From axis and fitted parameters.
    defaults : dict
        Settings that differ from those of the others.
    source : str

    """

    summary: str
    axes: dict[str, Span]
    curve: str
    indices: dict[str, tuple[Index, str, str]]
    fixed: dict[str, Any] = field(default_factory=dict)
    average: dict[str, tuple[float, ...]] = field(default_factory=dict)
    at: dict[str, float] = field(default_factory=dict)
    read_at: tuple[float, ...] = ()
    from_fit: dict[str, tuple[FromFit, str, str]] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    source: str = ""


def _at_peak(x: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Point of the axis where the curve is largest; NaN where nothing is above 0."""
    return np.where(curve.max(-1) > 0, x[curve.argmax(-1)], np.nan)


def _smallest_enough(x: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Smallest point at which the curve reaches 95 % of its peak."""
    peak = curve.max(-1)
    enough = curve >= 0.95 * peak[..., None]
    return np.where(peak > 0, x[enough.argmax(-1)], np.nan)


def _suppressed_by_last(x: np.ndarray, curve: np.ndarray) -> np.ndarray:
    return cross_orientation_suppression(curve[..., 0], curve[..., -1])


def _surround_contrast(x: np.ndarray, curve: np.ndarray, period: float) -> np.ndarray:
    """Half a circle away from the centre against like it, over their sum."""
    alike, unlike = (
        curve[..., np.abs((x - angle + period / 2) % period - period / 2).argmin()]
        for angle in (0.0, period / 2)
    )
    total = alike + unlike
    return (unlike - alike) / np.where(total > 0, total, np.nan)


ORIENTATION = {
    "osi": (
        lambda x, c: orientation_selectivity(c, x),
        "orientation selectivity index, length of the vector sum",
        "1",
    ),
    "orientation_index": (
        lambda x, c: orientation_index(c, x),
        "orientation index, (preferred - orthogonal) / (preferred + orthogonal)",
        "1",
    ),
    "circular_variance": (lambda x, c: circular_variance(c, x), "circular variance", "1"),
}
FREQUENCY = Span("log", 0.04, 0.25, 6)
FEW_PHASES = {"n_phase": 5}  # of stimuli of each neuron's own; see `preferences.FEW_PHASES`
OWN_PLACE = {"x": "own", "y": "own"}

PROTOCOLS: dict[str, Protocol] = {
    "orientation": Protocol(
        "Orientation tuning: full-field gratings by orientation and spatial frequency.",
        axes={"orientation": Span("circle", 0.0, 180.0, 16), "spatial_frequency": FREQUENCY},
        curve="von_mises",
        indices=ORIENTATION
        | {
            "preferred_orientation": (
                lambda x, c: preferred_angle(c, x),
                "preferred orientation",
                "deg",
            )
        },
        from_fit={
            "half_width": (
                lambda x, fit: half_width(fit["kappa"]),
                "half-width at half height of the fit",
                "deg",
            )
        },
        source="Ringach, Shapley & Hawken (2002), Journal of Neuroscience 22: 5639-5651",
    ),
    "direction": Protocol(
        "Direction tuning: full-field drifting gratings by direction and spatial frequency.",
        axes={"direction": Span("circle", 0.0, 360.0, 16), "spatial_frequency": FREQUENCY},
        curve="two_von_mises",
        indices=ORIENTATION
        | {
            "dsi": (
                lambda x, c: direction_selectivity(c, x),
                "direction selectivity index, length of the vector sum",
                "1",
            ),
            "direction_index": (
                lambda x, c: direction_index(c, x),
                "direction index, (preferred - opposite) / (preferred + opposite)",
                "1",
            ),
            "preferred_direction": (_at_peak, "direction of the largest response", "deg"),
        },
        source="Niell & Stryker (2008), Journal of Neuroscience 28: 7520-7536",
    ),
    "spatial_frequency": Protocol(
        "Spatial frequency tuning: full-field gratings by spatial frequency and orientation.",
        axes={
            "spatial_frequency": Span("log", 0.02, 0.35, 12),
            "orientation": Span("circle", 0.0, 180.0, 12),
        },
        curve="log_gaussian",
        indices={
            "preferred_spatial_frequency": (
                _at_peak,
                "spatial frequency of the largest response",
                "cycles/px",
            )
        },
        from_fit={
            "bandwidth": (
                lambda x, fit: OCTAVES_PER_SIGMA * fit["octaves"],
                "full width at half height of the fit",
                "octave",
            )
        },
    ),
    "temporal_frequency": Protocol(
        "Temporal frequency tuning: gratings that drift in each neuron's preferred direction.",
        axes={"temporal_frequency": Span("log", 1.0, 12.0, 8)},
        fixed={"direction": "own"},
        curve="log_gaussian",
        indices={
            "preferred_temporal_frequency": (
                _at_peak,
                "temporal frequency of the largest response",
                "Hz",
            )
        },
        from_fit={
            "bandwidth": (
                lambda x, fit: OCTAVES_PER_SIGMA * fit["octaves"],
                "full width at half height of the fit",
                "octave",
            )
        },
    ),
    "phase": Protocol(
        "Phase tuning: gratings at each neuron's preference, by phase at its own centre.",
        axes={"phase": Span("circle", 0.0, 360.0, 16)},
        fixed=OWN_PLACE,
        curve="",
        indices={
            "preferred_phase": (
                lambda x, c: preferred_angle(c, x, period=360.0),
                "preferred phase at the centre",
                "deg",
            ),
        },
        source="Skottun et al. (1991), Vision Research 31: 1079-1086",
    ),
    "position": Protocol(
        "Position tuning: small patches of all orientations at places all over the screen.",
        axes={"x": Span("linear", 0.0, None, 16), "y": Span("linear", 0.0, None, 9)},
        average={"orientation": (0.0, 45.0, 90.0, 135.0)},
        curve="gaussian_patch",
        indices={},
    ),
    "size": Protocol(
        "Size tuning: gratings at each neuron's preference and centre, by aperture radius.",
        axes={"radius": Span("log", 1.0, None, 14)},
        fixed=OWN_PLACE,
        curve="ratio_of_gaussians",
        indices={
            "preferred_radius": (
                _smallest_enough,
                "smallest aperture radius that evokes 95 % of the peak",
                "px",
            ),
            "suppression_index": (
                lambda x, c: suppression_index(c),
                "surround suppression index, 1 - largest / peak",
                "1",
            ),
        },
        defaults=FEW_PHASES,
        source="Cavanaugh, Bair & Movshon (2002), Journal of Neurophysiology 88: 2530-2546",
    ),
    "contrast": Protocol(
        "Contrast response: full-field gratings at each neuron's preference, by contrast.",
        axes={"contrast": Span("log0", 0.02, None, 12)},
        curve="naka_rushton",
        indices={},
        from_fit={
            # Beyond the contrasts shown it is extrapolated, and left to the fit's parameters.
            "c50": (
                lambda x, fit: np.where(fit["c50"] <= x.max(), fit["c50"], np.nan),
                "contrast at half saturation, where within those shown",
                "1",
            )
        },
        defaults=FEW_PHASES,
        source="Albrecht & Hamilton (1982), Journal of Neurophysiology 48: 217-237",
    ),
    "cross_orientation": Protocol(
        "Cross-orientation suppression: a preferred grating under masks by contrast and angle.",
        axes={
            "mask_contrast": Span("log0", 0.05, None, 4),
            "mask_orientation": Span("circle", 0.0, 180.0, 4),
        },
        at={"mask_orientation": 90.0},
        curve="",
        indices={
            "cross_orientation_suppression": (
                _suppressed_by_last,
                "share of the response that the strongest orthogonal mask takes",
                "1",
            )
        },
        defaults={"contrast": 0.4} | FEW_PHASES,
        source="DeAngelis et al. (1992), Journal of Neurophysiology 68: 144-163",
    ),
    "surround": Protocol(
        "Surround orientation: a preferred grating within its own radius, in an annulus by angle.",
        axes={
            "surround_orientation": Span("circle", 0.0, 180.0, 8),
            "surround_contrast": Span("linear", 0.0, None, 2),
        },
        fixed=OWN_PLACE | {"radius": "own"},
        at={"surround_contrast": 1.0},
        read_at=(0.0, 90.0),
        curve="",
        indices={
            "orientation_contrast_index": (
                lambda x, c: _surround_contrast(x, c, 180.0),
                "(orthogonal - parallel) / (orthogonal + parallel surround)",
                "1",
            )
        },
        defaults=FEW_PHASES,
        source="Knierim & van Essen (1992), Journal of Neurophysiology 67: 961-980",
    ),
    "surround_direction": Protocol(
        "Surround direction: a preferred grating that drifts, in an annulus by its direction.",
        axes={
            "surround_direction": Span("circle", 0.0, 360.0, 8),
            "surround_contrast": Span("linear", 0.0, None, 2),
        },
        fixed=OWN_PLACE | {"radius": "own"},
        at={"surround_contrast": 1.0},
        read_at=(0.0, 180.0),
        curve="",
        indices={
            "direction_contrast_index": (
                lambda x, c: _surround_contrast(x, c, 360.0),
                "(opposite - same) / (opposite + same direction of the surround)",
                "1",
            )
        },
        source="Jones, Grieve, Wang & Sillito (2001), Journal of Neurophysiology 86: 2011-2028",
    ),
}
