"""Experiments on a twin: receptive fields, tuning curves, most exciting inputs.

An experiment takes a conditioned twin, the positions of some neurons (all where None) and
settings, and returns a Dataset along `neuron` that says how it was made.
"""

from collections.abc import Callable

import xarray as xr

from twinlab.insilico.controls import cross_examine, find_mask
from twinlab.insilico.curves import CURVES, evaluate_curve, fit_curve
from twinlab.insilico.intervals import bootstrap_tuning, compare_tuning_distributions
from twinlab.insilico.mei import synthesize_mei
from twinlab.insilico.named_tuning import TUNING_EXPERIMENTS
from twinlab.insilico.parametric import measure_tuning
from twinlab.insilico.preferences import measure_preferences
from twinlab.insilico.protocols import PROTOCOLS
from twinlab.insilico.receptive_field import (
    RIDGE_GRID,
    estimate_receptive_field,
    measure_receptive_field,
    measure_sta,
    measure_twin_sta,
)
from twinlab.insilico.selectivity import (
    circular_variance,
    cross_orientation_suppression,
    direction_index,
    direction_selectivity,
    half_width,
    modulation_ratio,
    orientation_index,
    orientation_selectivity,
    preferred_angle,
    suppression_index,
)
from twinlab.insilico.tuning import measure_orientation_tuning

EXPERIMENTS: dict[str, Callable[..., xr.Dataset]] = {
    "receptive_field": measure_receptive_field,
    "sta": measure_twin_sta,
    "tuning": measure_orientation_tuning,
    "mei": synthesize_mei,
    "preferences": measure_preferences,
    **TUNING_EXPERIMENTS,
}

__all__ = [
    # what can be run on a twin by name
    "EXPERIMENTS",
    # receptive fields
    "RIDGE_GRID",
    "estimate_receptive_field",
    "measure_receptive_field",
    "measure_sta",
    "measure_twin_sta",
    # tuning
    "PROTOCOLS",
    "measure_orientation_tuning",
    "measure_preferences",
    "measure_tuning",
    # indices of tuning
    "circular_variance",
    "cross_orientation_suppression",
    "direction_index",
    "direction_selectivity",
    "half_width",
    "modulation_ratio",
    "orientation_index",
    "orientation_selectivity",
    "preferred_angle",
    "suppression_index",
    # fits, intervals, distributions
    "CURVES",
    "bootstrap_tuning",
    "compare_tuning_distributions",
    "evaluate_curve",
    "fit_curve",
    # optimal stimuli
    "cross_examine",
    "find_mask",
    "synthesize_mei",
]
