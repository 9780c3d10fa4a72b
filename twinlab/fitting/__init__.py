"""Recording -> twin: batches, loss, the training loop, checkpoints, and the baselines to beat."""

from twinlab.fitting.baselines import fit_linear_nonlinear, score_baselines
from twinlab.fitting.classical import (
    CLASSICAL,
    fit_linear_poisson,
    fit_normalization,
    fit_quadratic,
    fit_subunits,
    solve_quadratic,
)
from twinlab.fitting.ensembles import fit_ensemble
from twinlab.fitting.losses import correlation_loss, poisson_loss
from twinlab.fitting.monitoring import FITTING, find_fits, read_fit, read_readouts, stamp_fit
from twinlab.fitting.planner import fit_learning_curve, measure_learning_curve
from twinlab.fitting.search import SPACE, Range, search_settings, search_space
from twinlab.fitting.settings import (
    FitSettings,
    default_settings,
    parse_settings,
    read_value,
)
from twinlab.fitting.training import fit_sessions, fit_twin

__all__ = [
    # fits
    "CLASSICAL",
    "FitSettings",
    "default_settings",
    "fit_ensemble",
    "fit_linear_nonlinear",
    "fit_linear_poisson",
    "fit_normalization",
    "fit_quadratic",
    "fit_sessions",
    "fit_subunits",
    "fit_twin",
    "parse_settings",
    "read_value",
    "solve_quadratic",
    # fits seen from outside, while they run
    "FITTING",
    "find_fits",
    "read_fit",
    "read_readouts",
    "stamp_fit",
    # settings found by trying
    "SPACE",
    "Range",
    "search_settings",
    "search_space",
    # how much recording is enough
    "fit_learning_curve",
    "measure_learning_curve",
    # parts of them
    "correlation_loss",
    "poisson_loss",
    "score_baselines",
]
