"""Experiments on a twin: receptive fields, attribution, tuning curves, most exciting inputs.

An experiment takes a conditioned twin, the positions of some neurons (all where None) and
settings, and returns a Dataset along `neuron` that says how it was made.
"""

from collections.abc import Callable

import xarray as xr

from twinlab.insilico.agreement import compare_fields
from twinlab.insilico.attribution import measure_integrated_gradients, measure_occlusion
from twinlab.insilico.bubbles import estimate_bubbles, measure_bubbles
from twinlab.insilico.controls import cross_examine, find_mask
from twinlab.insilico.covariance import estimate_stc, measure_stc, measure_twin_stc
from twinlab.insilico.glm import estimate_lnp, measure_lnp, measure_twin_lnp
from twinlab.insilico.mei import synthesize_mei
from twinlab.insilico.quadratic import estimate_gqm, measure_gqm, measure_twin_gqm
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
    "stc": measure_twin_stc,
    "gqm": measure_twin_gqm,
    "lnp": measure_twin_lnp,
    "integrated_gradients": measure_integrated_gradients,
    "occlusion": measure_occlusion,
    "bubbles": measure_bubbles,
    "tuning": measure_orientation_tuning,
    "mei": synthesize_mei,
}

__all__ = [
    # what can be run on a twin by name
    "EXPERIMENTS",
    # receptive fields
    "RIDGE_GRID",
    "compare_fields",
    "estimate_gqm",
    "estimate_lnp",
    "estimate_receptive_field",
    "estimate_stc",
    "measure_gqm",
    "measure_lnp",
    "measure_receptive_field",
    "measure_sta",
    "measure_stc",
    "measure_twin_gqm",
    "measure_twin_lnp",
    "measure_twin_sta",
    "measure_twin_stc",
    # what matters in an image
    "estimate_bubbles",
    "measure_bubbles",
    "measure_integrated_gradients",
    "measure_occlusion",
    # tuning
    "direction_selectivity",
    "measure_orientation_tuning",
    "orientation_selectivity",
    # optimal stimuli
    "cross_examine",
    "find_mask",
    "synthesize_mei",
]
