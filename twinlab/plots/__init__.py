"""Results drawn: `plot_*` takes a result Dataset and returns a HoloViews element.

One code serves the browser (Bokeh) and print (matplotlib); `save_figure` writes either.
The functions select, label and draw. They compute nothing a caller might want as a number,
see nothing but xarray, and set no style outside the element they return.
"""

from twinlab.plots.ascents import plot_ascent, plot_octaves
from twinlab.plots.calibration import plot_calibration
from twinlab.plots.clips import plot_cursor, plot_trace, plot_traces
from twinlab.plots.comparisons import (
    plot_controversial,
    plot_eigendistortions,
    plot_iso_response,
    plot_metamer,
)
from twinlab.plots.crowds import MOST_POINTS, paint_neurons, plot_crowd, plot_shares
from twinlab.plots.curves import plot_history, plot_tuning, plot_tuning_grid
from twinlab.plots.driven import driven_columns, plot_driven
from twinlab.plots.fields import (
    plot_attribution,
    plot_axes,
    plot_field_comparison,
    plot_spectrum,
)
from twinlab.plots.fits import plot_fits, plot_readouts
from twinlab.plots.images import (
    plot_gallery,
    plot_image,
    plot_mei,
    plot_receptive_field,
    plot_stimuli,
    plot_suppressor,
    tile_at,
)
from twinlab.plots.invariances import plot_clusters, plot_diverse, plot_ring
from twinlab.plots.learning import plot_learning_curve
from twinlab.plots.loops import (
    plot_confusion,
    plot_controls,
    plot_power,
    plot_rounds,
    plot_specificity,
    sort_confusion,
)
from twinlab.plots.neurons import (
    plot_circles,
    plot_map,
    plot_mei_comparison,
    plot_prediction,
    plot_scores,
)
from twinlab.plots.overview import PLOTS, plot_result
from twinlab.plots.readouts import (
    plot_fisher_information,
    plot_neurometric,
    plot_reconstruction,
)
from twinlab.plots.recording import (
    plot_behavior,
    plot_histogram,
    plot_pupil,
    plot_raster,
    plot_raster_marks,
    plot_repeats,
    plot_session,
    plot_trials,
)
from twinlab.plots.standing import plot_diagonal, plot_score_medians
from twinlab.plots.style import COLORS, save_figure
from twinlab.plots.truth import plot_truth
from twinlab.plots.tuning import (
    INDICES,
    plot_angle_comparison,
    plot_tuning_comparison,
    plot_tuning_curve,
    plot_tuning_distribution,
    plot_tuning_map,
)
from twinlab.plots.verification import plot_agreement, plot_verification

__all__ = [
    # pixels
    "plot_attribution",
    "plot_axes",
    "plot_field_comparison",
    "plot_gallery",
    "plot_image",
    "plot_mei",
    "plot_receptive_field",
    "plot_stimuli",
    "plot_suppressor",
    "tile_at",
    # curves
    "plot_angle_comparison",
    "plot_ascent",
    "plot_calibration",
    "plot_history",
    "plot_learning_curve",
    "plot_octaves",
    "plot_spectrum",
    "plot_tuning",
    "plot_tuning_comparison",
    "plot_tuning_curve",
    "plot_tuning_distribution",
    "plot_tuning_grid",
    # fits side by side
    "plot_fits",
    "plot_readouts",
    # many stimuli for one neuron, or for one kind
    "plot_clusters",
    "plot_diverse",
    "plot_ring",
    # models compared
    "plot_controversial",
    "plot_eigendistortions",
    "plot_iso_response",
    "plot_metamer",
    "plot_tuning_map",
    # neurons
    "plot_circles",
    "MOST_POINTS",
    "paint_neurons",
    "plot_crowd",
    "plot_diagonal",
    "driven_columns",
    "plot_driven",
    "plot_map",
    "plot_mei_comparison",
    "plot_prediction",
    "plot_score_medians",
    "plot_scores",
    "plot_shares",
    # what neurons tell about the stimulus
    "plot_fisher_information",
    "plot_neurometric",
    "plot_reconstruction",
    # inception loops
    "plot_agreement",
    "plot_confusion",
    "plot_controls",
    "plot_power",
    "plot_rounds",
    "plot_specificity",
    "sort_confusion",
    "plot_verification",
    # what was recorded
    "plot_behavior",
    "plot_histogram",
    "plot_pupil",
    "plot_raster",
    "plot_raster_marks",
    "plot_repeats",
    "plot_session",
    "plot_cursor",
    "plot_trace",
    "plot_traces",
    "plot_trials",
    # the simulated cortex
    "plot_truth",
    # whole results
    "COLORS",
    "INDICES",
    "PLOTS",
    "plot_result",
    # figures on disk
    "save_figure",
]
