"""Experiments on a twin: receptive fields, attribution, tuning, optimal stimuli, comparisons.

An experiment takes a conditioned twin, the positions of some neurons (all where None) and
settings, and returns a Dataset along `neuron` that says how it was made.
"""

from collections.abc import Callable

import xarray as xr

from twinlab.insilico.agreement import compare_fields
from twinlab.insilico.attribution import measure_integrated_gradients, measure_occlusion
from twinlab.insilico.bubbles import estimate_bubbles, measure_bubbles
from twinlab.insilico.circular import compare_angle_distributions, kuiper_test
from twinlab.insilico.clusters import cluster_by_stimuli
from twinlab.insilico.constraints import (
    fix_contrast,
    fix_norm,
    fix_spectrum,
    keep_inside,
    keep_range,
    keep_range_beside,
    limit_norm,
    mean_amplitude,
)
from twinlab.insilico.controls import cross_examine, cut_clips
from twinlab.insilico.controversial import synthesize_controversial
from twinlab.insilico.covariance import estimate_stc, measure_stc, measure_twin_stc
from twinlab.insilico.curves import CURVES, evaluate_curve, fit_curve
from twinlab.insilico.discriminating import synthesize_discriminating
from twinlab.insilico.diverse import synthesize_diverse
from twinlab.insilico.eigendistortions import measure_eigendistortions
from twinlab.insilico.fisher import (
    linear_fisher_information,
    measure_fisher_information,
    measure_recorded_fisher_information,
)
from twinlab.insilico.gabors import fit_gabor
from twinlab.insilico.glm import estimate_lnp, measure_lnp, measure_twin_lnp
from twinlab.insilico.intervals import bootstrap_tuning, compare_tuning_distributions
from twinlab.insilico.inversion import invert_responses
from twinlab.insilico.iso_response import POOLINGS, fit_contour, measure_iso_response, name_pooling
from twinlab.insilico.masks import find_mask
from twinlab.insilico.matched_noise import match_noise
from twinlab.insilico.mei import synthesize_lei, synthesize_mei
from twinlab.insilico.metamers import synthesize_metamer
from twinlab.insilico.named_tuning import TUNING_EXPERIMENTS, axis_values
from twinlab.insilico.neurometric import measure_neurometric, measure_recorded_neurometric
from twinlab.insilico.objectives import (
    add_objectives,
    excite,
    excite_population,
    look_natural,
    separate_groups,
    suppress,
    suppress_beside,
    tolerate_shifts,
)
from twinlab.insilico.parametric import AXES, measure_tuning
from twinlab.insilico.points import curve_settings, draw_grating, grating_at
from twinlab.insilico.preferences import measure_preferences, patch_settings
from twinlab.insilico.priors import blur_gradient, weigh_frequencies
from twinlab.insilico.protocols import PROTOCOLS
from twinlab.insilico.psychometric import fit_threshold, roc_area
from twinlab.insilico.quadratic import estimate_gqm, measure_gqm, measure_twin_gqm
from twinlab.insilico.receptive_field import (
    RIDGE_GRID,
    estimate_receptive_field,
    measure_receptive_field,
    measure_sta,
    measure_twin_sta,
)
from twinlab.insilico.reconstruction import (
    measure_reconstruction,
    reconstruct_from_twin,
    reconstruct_linear,
)
from twinlab.insilico.recorded_tuning import measure_recorded_tuning
from twinlab.insilico.rings import synthesize_ring
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
from twinlab.insilico.suppression import synthesize_suppressor
from twinlab.insilico.sweeps import RELIABLE, reliable_neurons, run_sweep
from twinlab.insilico.synthesis import optimize_stimuli
from twinlab.insilico.tuning import measure_orientation_tuning

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
    "lei": synthesize_lei,
    "suppressor": synthesize_suppressor,
    "diverse": synthesize_diverse,
    "discriminating": synthesize_discriminating,
    "ring": synthesize_ring,
    "clusters": cluster_by_stimuli,
    "iso_response": measure_iso_response,
    "preferences": measure_preferences,
    **TUNING_EXPERIMENTS,
    "fisher_information": measure_fisher_information,
    "neurometric": measure_neurometric,
    "reconstruction": measure_reconstruction,
}

# Those that take a second twin of the same neurons, or an image, before the neurons.
PAIR_EXPERIMENTS: dict[str, Callable[..., xr.Dataset]] = {
    "controversial": synthesize_controversial
}
IMAGE_EXPERIMENTS: dict[str, Callable[..., xr.Dataset]] = {
    "metamer": synthesize_metamer,
    "eigendistortions": measure_eigendistortions,
}

# Those that read out the neurons together: what they find depends on who is asked with whom.
TOGETHER = frozenset(
    {
        "clusters",
        "discriminating",
        "fisher_information",
        "neurometric",
        "reconstruction",
        *IMAGE_EXPERIMENTS,
    }
)

__all__ = [
    # what can be run on a twin by name
    "EXPERIMENTS",
    "IMAGE_EXPERIMENTS",
    "PAIR_EXPERIMENTS",
    "TOGETHER",
    # over many neurons and settings
    "RELIABLE",
    "reliable_neurons",
    "run_sweep",
    # receptive fields
    "RIDGE_GRID",
    "compare_fields",
    "estimate_gqm",
    "estimate_lnp",
    "estimate_receptive_field",
    "estimate_stc",
    "fit_gabor",
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
    "AXES",
    "PROTOCOLS",
    "axis_values",
    "curve_settings",
    "draw_grating",
    "grating_at",
    "measure_orientation_tuning",
    "measure_preferences",
    "measure_recorded_tuning",
    "measure_tuning",
    "patch_settings",
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
    "compare_angle_distributions",
    "compare_tuning_distributions",
    "evaluate_curve",
    "fit_curve",
    "kuiper_test",
    # optimal stimuli
    "cluster_by_stimuli",
    "cross_examine",
    "cut_clips",
    "find_mask",
    "match_noise",
    "optimize_stimuli",
    "synthesize_discriminating",
    "synthesize_diverse",
    "synthesize_lei",
    "synthesize_mei",
    "synthesize_ring",
    "synthesize_suppressor",
    # what they are made for, what they may look like, which way they go
    "add_objectives",
    "excite",
    "excite_population",
    "look_natural",
    "separate_groups",
    "suppress",
    "suppress_beside",
    "tolerate_shifts",
    "fix_contrast",
    "fix_norm",
    "fix_spectrum",
    "keep_inside",
    "keep_range",
    "keep_range_beside",
    "limit_norm",
    "mean_amplitude",
    "blur_gradient",
    "weigh_frequencies",
    # models compared, and what they cannot tell apart
    "POOLINGS",
    "fit_contour",
    "measure_eigendistortions",
    "measure_iso_response",
    "name_pooling",
    "synthesize_controversial",
    "synthesize_metamer",
    # what neurons tell about the stimulus
    "fit_threshold",
    "invert_responses",
    "linear_fisher_information",
    "measure_fisher_information",
    "measure_neurometric",
    "measure_recorded_fisher_information",
    "measure_recorded_neurometric",
    "measure_reconstruction",
    "reconstruct_from_twin",
    "reconstruct_linear",
    "roc_area",
]
