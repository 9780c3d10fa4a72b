"""Public recordings: found, fetched, checked, opened and stored.

A recording in a public layout (a folder, or a zip that is never extracted) or in a Zarr
store becomes the `xarray.Dataset` that `twinlab.schema` describes. What the source
withholds is missing (NaN), not zero; what is wrong with a file is said all at once.
"""

from twinlab.recordings.aligning import align_traces, count_spikes
from twinlab.recordings.arrays import from_arrays
from twinlab.recordings.checks import (
    Finding,
    check_recording,
    survey_recording,
    survey_responses,
)
from twinlab.recordings.converting import convert_recording
from twinlab.recordings.fetching import FetchSettings, fetch_recording
from twinlab.recordings.manifests import (
    Manifest,
    ManifestFile,
    describe_recording,
    list_recordings,
)
from twinlab.recordings.opening import open_recording
from twinlab.recordings.resampling import (
    crop_stimulus,
    degrees_to_pixels,
    pixels_to_degrees,
    resample_frames,
    scale_stimulus,
)
from twinlab.recordings.splitting import (
    fold_recording,
    split_as_fitted,
    split_recording,
    trained_trials,
)
from twinlab.recordings.store import save_recording
from twinlab.recordings.viewing import (
    follow_session,
    sample_raster,
    summarise_repeats,
    trials_in_order,
)

__all__ = [
    # open and store
    "convert_recording",
    "from_arrays",
    "open_recording",
    "save_recording",
    # what is in it, and what is wrong with it
    "Finding",
    "check_recording",
    "survey_recording",
    "survey_responses",
    # parts of it to look at
    "follow_session",
    "sample_raster",
    "summarise_repeats",
    "trials_in_order",
    # another grid in space and time
    "align_traces",
    "count_spikes",
    "crop_stimulus",
    "degrees_to_pixels",
    "pixels_to_degrees",
    "resample_frames",
    "scale_stimulus",
    # divide
    "fold_recording",
    "split_as_fitted",
    "split_recording",
    "trained_trials",
    # public recordings: their manifests, and fetching them
    "FetchSettings",
    "Manifest",
    "ManifestFile",
    "describe_recording",
    "fetch_recording",
    "list_recordings",
]
