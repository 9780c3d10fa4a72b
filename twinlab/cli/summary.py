"""A recording in numbers: what its card draws and `twinlab recordings show` prints."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.evaluation import score_reliability
from twinlab.jobs import Job
from twinlab.recordings import follow_session, survey_recording
from twinlab.schema import stimulus_kind

__all__ = ["summarise_recording"]

RASTER_NEURONS, RASTER_TRIALS = 60, 120


def summarise_recording(recording: xr.Dataset, job: Job | None = None) -> xr.Dataset:
    """Gather what there is to say about a recording.

    Parameters
    ----------
    recording : xarray.Dataset
        As `schema.make_recording` builds it; a lazy one is gone through in pieces.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        The variables of `recordings.survey_recording` and `evaluation.score_reliability`, and:
        `n_stimulus` along `times_shown`; `raster` (raster_neuron, raster_column), responses of
        the most reliable neurons in units of their spread; where the order of presentation is
        known `session_response` and `session_error` along `session_trial`; where they are known
        `behavior` and `pupil_center` of each trial, those of videos averaged over frames. What
        the recording lacks is absent.

    """
    job = job or Job()
    survey = survey_recording(recording, job.part(0, 0.6))
    reliability = score_reliability(recording, job=job.part(0.6, 0.9))
    survey["brightness"].attrs["long_name"] = "mean"
    survey["contrast"].attrs["long_name"] = "standard deviation"
    summary = reliability.merge(survey, combine_attrs="drop_conflicts")
    summary = summary.assign(_repeats(recording, survey))
    summary = summary.assign(_raster(recording, summary))
    summary = summary.merge(follow_session(recording, survey.trial_response.values))
    for name in ("behavior", "pupil_center"):
        if name in recording:
            frames = [dim for dim in recording[name].dims if dim == "frame"]
            summary[name] = (
                recording[name]
                .mean(frames, keep_attrs=True)
                .drop_vars([*recording[name].coords.keys() - {"behavior_channel", "axis"}])
            )
    job.report(1.0, "summarised")
    return summary


def _repeats(recording: xr.Dataset, survey: xr.Dataset) -> dict[str, xr.Variable]:
    """How many stimuli were shown how often, with a response."""
    given = survey.trial_missing.values < 1
    kind = stimulus_kind(recording)
    shown = np.bincount(recording.stimulus_index.values[given], minlength=recording.sizes[kind])
    counts = np.bincount(shown)
    return {
        "n_stimulus": xr.Variable("times_shown", counts, {"long_name": f"{kind}s", "units": "1"}),
        "times_shown": xr.Variable("times_shown", np.arange(len(counts))),
    }


def _raster(recording: xr.Dataset, summary: xr.Dataset) -> dict[str, xr.Variable]:
    """Responses of the most reliable neurons to repeated stimuli, or to the first ones shown."""
    index = recording.stimulus_index.values
    given = np.flatnonzero(summary.trial_missing.values < 1)
    if not len(given):
        return {}
    quality = summary.oracle_correlation.values
    quality = np.where(np.isfinite(quality), quality, -np.inf)
    neurons = np.argsort(-quality, kind="stable")[:RASTER_NEURONS]
    times = np.bincount(index[given])[index[given]]
    order = np.lexsort([given, index[given], -times])  # the most often shown first, together
    if "frame" in recording.dims:
        one = given[index[given] == index[given[order[0]]]]
        response = recording.response.isel(trial=one, neuron=neurons).mean("trial").values
        label = f"frame, mean of {len(one)} presentation{'s' * (len(one) > 1)} of one video"
    else:
        response = recording.response.isel(
            trial=given[order][:RASTER_TRIALS], neuron=neurons
        ).values.T
        label = "trial, repeats of an image side by side" if times.max() > 1 else "trial"
    spread = summary.neuron_std.values[neurons, None]
    return {
        "raster": xr.Variable(
            ("raster_neuron", "raster_column"),
            response / np.where(spread > 0, spread, np.nan),
            {"long_name": "response", "units": "s.d."},
        ),
        "raster_column": xr.Variable(
            "raster_column", np.arange(response.shape[1]), {"long_name": label}
        ),
    }
