"""What a recording says of each neuron by itself: all that is known where there is no twin."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sized
from typing import Any

import numpy as np
import xarray as xr

from twinlab import evaluation, recordings
from twinlab.explorers.known import Known
from twinlab.explorers.matching import average_clip
from twinlab.fitting.trials import image_spec, recorded_neurons
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import StimulusSpec

__all__ = ["NO_TWIN", "Surveyed", "of_recording"]

NO_TWIN = (
    "No twin was given: `twinlab serve TWIN` shows one, and the fit monitor fits one from this "
    "recording."
)

SURVEYS: dict[str, Callable[..., xr.Dataset]] = {
    "activity": recordings.survey_responses,
    "reliability": evaluation.score_reliability,
}
MOST_CLIPS = 8  # whose responses are kept
MOST_STIMULI = 1000  # from which grey levels are known, where there is no twin to say them


class Surveyed(Known):
    """What is known of each neuron from a recording by itself; without one, nothing is.

    Parameters
    ----------
    labels : xarray.Dataset
        The neurons: their coordinates along `neuron`.
    spec : StimulusSpec
        Size and grey levels of what they are shown.
    recording : xarray.Dataset, optional
        Of neurons that are all among them.

    Raises
    ------
    InputError
        If the recording is of other neurons or other stimuli.

    """

    def __init__(
        self, labels: xr.Dataset, spec: StimulusSpec, recording: xr.Dataset | None
    ) -> None:
        super().__init__(labels)
        self.spec, self.recording = spec, recording
        self._reading = threading.Lock()
        self._clips: dict[int, xr.Dataset] = {}
        # Where each neuron is in the recording; -1 where it is not.
        self.recorded = np.full(len(self), -1)
        if recording is not None:
            spec.check(recording.stimulus[:1].values)
            self.recorded = self._match("The recording", recording)

    @property
    def steps(self) -> list[str]:
        """What is measured of each neuron without being asked; nothing where no twin is."""
        return []

    def describe(self) -> str:
        """What is looked at, in a few words."""
        name = "" if self.recording is None else self.recording.attrs.get("recording_id", "")
        return f"{name or 'A recording'}, {len(self)} neurons, without a twin"

    def survey(self, name: str, job: Job | None = None) -> xr.Dataset | None:
        """Go through the recording once for what it says of every neuron, kept as `gathered`.

        Parameters
        ----------
        name : {"activity", "reliability"}
            As `recordings.survey_responses` and `evaluation.score_reliability` find it.
        job : Job, optional

        Returns
        -------
        xarray.Dataset or None
            None without a recording.

        """
        if self.recording is None:
            return None
        with self._reading:
            if name not in self._of_all:
                go_through = SURVEYS[name]
                self._of_all[name] = go_through(self.recording, job=job), self.recorded
        return self._of_all[name][0]

    def follow(self, video: int, job: Job | None = None) -> xr.Dataset:
        """Measured response to each frame of a video, and the predicted one where there is a twin.

        Parameters
        ----------
        video : int
            As in `stimulus_index`.
        job : Job, optional

        Returns
        -------
        xarray.Dataset
            From `average_clip`, in the order of the recording's neurons; the last few are kept.

        """
        job = job or Job()
        recording = self.recording
        if recording is None or not recording.stimulus_index.isin([video]).any():
            msg = f"Video {video} was not shown in this recording; choose one that was."
            raise InputError(msg)
        with self._reading:
            job.check()
            if video not in self._clips:
                trials = recording.isel(trial=recording.stimulus_index.values == video)
                self._clips[video] = average_clip(
                    trials.response,
                    self._predict(trials, job),
                    float(recording.attrs["frame_rate"]),
                )
                for old in list(self._clips)[:-MOST_CLIPS]:
                    del self._clips[old]
        return self._clips[video]

    def followed(self, video: int) -> xr.Dataset | None:
        """Return what `follow` has found of a video; None while it has not."""
        return self._clips.get(video)

    def _predict(self, trials: xr.Dataset, job: Job) -> xr.DataArray | None:  # noqa: ARG002
        """Responses the twin predicts to some trials; nobody does where there is none."""
        return None


def of_recording(
    recording: xr.Dataset | None, session: str | None, of_twin: Mapping[str, Any]
) -> Surveyed:
    """Begin with a recording alone.

    Parameters
    ----------
    recording : xarray.Dataset, optional
        May be absent only to be refused.
    session : str, optional
        Whose neurons; all where absent.
    of_twin : mapping of str to object
        What else was given, by name, and should be empty: it would be of a twin.

    Returns
    -------
    Surveyed
        The grey levels of its stimuli are those of at most 1,000, evenly chosen.

    Raises
    ------
    InputError
        If there is none, it has no neurons of that session, or something is of a twin.

    """
    if recording is None:
        msg = "Neither a twin nor a recording was given; give at least one of them."
        raise InputError(msg)
    for name, given in of_twin.items():
        if given is not None and not (isinstance(given, Sized) and not len(given)):
            msg = (
                f"`{name}` belongs to a twin, but none was given; give that twin, or leave it out."
            )
            raise InputError(msg)
    if session is not None:
        mine = recording.session.values.astype(str) == session
        if not mine.any():
            known = ", ".join(dict.fromkeys(recording.session.values.astype(str).tolist()))
            msg = f"The recording has no session {session!r}; choose one of {known}."
            raise InputError(msg)
        recording = recording.isel(neuron=mine)
    shown = np.unique(recording.stimulus_index.values)
    if not len(shown):
        msg = "The recording has no trials, so there is nothing to look at; give one that has."
        raise InputError(msg)
    some = shown[:: -(-len(shown) // MOST_STIMULI)]
    return Surveyed(recorded_neurons(recording), image_spec(recording, some), recording)
