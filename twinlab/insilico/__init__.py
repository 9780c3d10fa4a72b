"""Experiments on a twin: receptive fields, tuning curves, most exciting inputs.

An experiment takes a conditioned twin, the positions of some neurons (all where None) and
settings, and returns a Dataset along `neuron` that says how it was made.
"""

from collections.abc import Callable

import xarray as xr

from twinlab.insilico.controls import cross_examine, find_mask
from twinlab.insilico.fisher import (
    linear_fisher_information,
    measure_fisher_information,
    measure_recorded_fisher_information,
)
from twinlab.insilico.inversion import invert_responses
from twinlab.insilico.mei import synthesize_mei
from twinlab.insilico.neurometric import measure_neurometric, measure_recorded_neurometric
from twinlab.insilico.psychometric import fit_threshold, roc_area
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
from twinlab.insilico.sweeps import RELIABLE, reliable_neurons, run_sweep
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
    "fisher_information": measure_fisher_information,
    "neurometric": measure_neurometric,
    "reconstruction": measure_reconstruction,
}

# Those that read out the neurons together: what they find depends on who is asked with whom.
TOGETHER = frozenset({"fisher_information", "neurometric", "reconstruction"})

__all__ = [
    # what can be run on a twin by name
    "EXPERIMENTS",
    "TOGETHER",
    # over many neurons and settings
    "RELIABLE",
    "reliable_neurons",
    "run_sweep",
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
