"""How good: recorded and predicted responses -> scores with their ceilings.

The room compares two labelled arrays and never sees a model, so a twin, a linear
baseline and the other half of the trials are scored by the same code.
"""

from twinlab.evaluation.batched import batched_correlation
from twinlab.evaluation.calibration import place_among_samples, score_calibration
from twinlab.evaluation.embedding import embed_responses
from twinlab.evaluation.frames import unroll_frames
from twinlab.evaluation.measures import (
    cc_max,
    cc_norm,
    correlation_to_average,
    explainable_variance,
    feve,
    oracle_correlation,
    signal_power,
    single_trial_correlation,
)
from twinlab.evaluation.positions import locate_receptive_fields
from twinlab.evaluation.reliability import score_reliability
from twinlab.evaluation.scores import score_prediction, score_truth
from twinlab.evaluation.summaries import compare_scores, summarize_scores

__all__ = [
    # labelled
    "score_calibration",
    "score_prediction",
    "score_reliability",
    "score_truth",
    "unroll_frames",
    # of many neurons
    "compare_scores",
    "embed_responses",
    "summarize_scores",
    # of arrays: agreement with a prediction
    "batched_correlation",
    "cc_norm",
    "correlation_to_average",
    "feve",
    "single_trial_correlation",
    # of arrays: distributions
    "place_among_samples",
    # of arrays: ceilings, from repeats alone
    "cc_max",
    "explainable_variance",
    "oracle_correlation",
    "signal_power",
    # of arrays: where a neuron looks
    "locate_receptive_fields",
]
