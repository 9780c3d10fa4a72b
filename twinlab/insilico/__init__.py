"""Experiments on a twin: receptive fields, tuning curves, optimal stimuli, twins compared.

An experiment takes a conditioned twin, the positions of some neurons (all where None) and
settings, and returns a Dataset along `neuron` that says how it was made.
"""

from collections.abc import Callable

import xarray as xr

from twinlab.insilico.controls import cross_examine, find_mask
from twinlab.insilico.controversial import synthesize_controversial
from twinlab.insilico.eigendistortions import measure_eigendistortions
from twinlab.insilico.iso_response import POOLINGS, fit_contour, measure_iso_response, name_pooling
from twinlab.insilico.mei import synthesize_mei
from twinlab.insilico.metamers import synthesize_metamer
from twinlab.insilico.receptive_field import (
    RIDGE_GRID,
    estimate_receptive_field,
    measure_receptive_field,
    measure_sta,
    measure_twin_sta,
)
from twinlab.insilico.tuning import (
    direction_selectivity,
    measure_orientation_tuning,
    orientation_selectivity,
)

EXPERIMENTS: dict[str, Callable[..., xr.Dataset]] = {
    "receptive_field": measure_receptive_field,
    "sta": measure_twin_sta,
    "tuning": measure_orientation_tuning,
    "mei": synthesize_mei,
    "iso_response": measure_iso_response,
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
    "direction_selectivity",
    "measure_orientation_tuning",
    "orientation_selectivity",
    # optimal stimuli
    "cross_examine",
    "find_mask",
    "synthesize_mei",
    # models compared, and what they cannot tell apart
    "POOLINGS",
    "fit_contour",
    "measure_eigendistortions",
    "measure_iso_response",
    "name_pooling",
    "synthesize_controversial",
    "synthesize_metamer",
]
