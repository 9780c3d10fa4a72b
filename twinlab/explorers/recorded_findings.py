"""What a recording says of a twin's neurons, by itself and held against the twin."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import xarray as xr

from twinlab import evaluation, recordings
from twinlab.explorers.known import Known
from twinlab.explorers.matching import average_clip, average_repeats, positions_in
from twinlab.explorers.usual import images_of
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import EnsembleTwin, Twin, predict_responses

__all__ = ["RecordedFindings"]

SURVEYS: dict[str, Callable[..., xr.Dataset]] = {
    "activity": recordings.survey_responses,
    "reliability": evaluation.score_reliability,
}
SKIP = 50  # first frames of a video that are not scored (Sensorium 2023), or half of them
MOST_CLIPS = 8  # whose responses are kept


class RecordedFindings(Known):
    """What is known of each neuron from a recording; without one, nothing is.

    Parameters
    ----------
    twin : Twin
    recording : xarray.Dataset, optional
        With neurons of one session of the twin.
    members : sequence of Twin
        Of the ensemble this twin is one of; its own where it is an ensemble.
    session : str, optional
        Whose neurons.
    others : mapping of str to Twin, optional
        Twins of the same neurons to score beside this one, by name.

    Raises
    ------
    InputError
        If the recording is of other neurons or other stimuli than the twin.

    """

    def __init__(
        self,
        twin: Twin,
        recording: xr.Dataset | None,
        members: Sequence[Twin],
        session: str | None,
        others: Mapping[str, Twin] | None,
    ) -> None:
        conditioned = together = twin.condition(session=session)
        if isinstance(twin, EnsembleTwin):
            members = members or twin.each
        elif len(members) > 1:
            together = EnsembleTwin(members).condition(session=session)
        super().__init__(conditioned, together)
        self.recording = recording
        self.others = dict(others or {})
        self._twin, self._members = twin, list(members)
        self._prediction: xr.DataArray | None = None
        self._reading = threading.Lock()
        self._judged: dict[tuple[str, str], xr.Dataset] = {}
        self._clips: dict[int, xr.Dataset] = {}
        # Where each neuron is in the recording; -1 where it is not.
        self.recorded = np.full(len(self), -1)
        if recording is not None:
            twin.spec.check(recording.stimulus[:1].values)
            self.recorded = self._match("The recording", recording)

    @cached_property
    def testable(self) -> bool:
        """Whether the recording has responses to test images to hold predictions against."""
        if self.recording is None:
            return False
        test = self.recording.response.isel(trial=self.recording.split.values == "test")
        return bool(np.isfinite(test).any())

    def natural_images(self, *splits: str) -> np.ndarray:
        """Recorded images (image, channel, y, x) of some splits, each once.

        Raises
        ------
        InputError
            If there is no recording.

        """
        if self.recording is None:
            msg = "Natural images are taken from the recording, but none was given; give one."
            raise InputError(msg)
        return images_of(self.recording, *splits)

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

    def judged(self, name: str, split: str) -> xr.Dataset | None:
        """Scores of a twin on a split, in the order of the neurons; None if not known."""
        return self._judged.get((name, split))

    def judge(self, name: str, split: str, job: Job | None = None) -> xr.Dataset:
        """Score a twin of these neurons on a split of the recording, and keep the scores.

        `name` is one of `others`, or empty for this twin.

        Raises
        ------
        InputError
            If there is no recording, or it has no responses to that split.

        """
        if self.recording is None:
            msg = "Without a recording there is nothing to score against; give one."
            raise InputError(msg)
        job = job or Job()
        with self._busy:
            if (name, split) not in self._judged:
                if not name and split == "test":
                    scores = self._compared("scores", self.recording, job)
                else:
                    twin = self.others[name] if name else self._twin
                    predicted = predict_responses(
                        twin, self.recording, split=split, job=job.part(0.0, 0.5, "predicting")
                    )
                    scores = _score(self.recording, predicted, job.part(0.5, 1.0, "scoring"))
                self._judged[name, split] = self._in_order(scores)
        return self._judged[name, split]

    def _in_order(self, result: xr.Dataset) -> xr.Dataset:
        """Bring a result into the order of the neurons; NaN where it lacks one."""
        positions = positions_in(result, self.labels)
        there = xr.DataArray(positions >= 0, dims="neuron")
        ordered = result.isel(neuron=np.maximum(positions, 0))
        for name in ("neuron_id", "session"):
            ordered = ordered.assign_coords({name: ("neuron", self.labels[name].values)})
        return ordered.map(
            lambda value: value.where(there) if "neuron" in value.dims else value, keep_attrs=True
        )

    def follow(self, video: int, job: Job | None = None) -> xr.Dataset:
        """Measured and predicted response to each frame of a video of the recording.

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
                predicted = predict_responses(self._twin, trials, job=job)
                self._clips[video] = average_clip(
                    trials.response, predicted, float(recording.attrs["frame_rate"])
                )
                for old in list(self._clips)[:-MOST_CLIPS]:
                    del self._clips[old]
        return self._clips[video]

    def followed(self, video: int) -> xr.Dataset | None:
        """Return what `follow` has found of a video; None while it has not."""
        return self._clips.get(video)

    def _compared(self, name: str, recording: xr.Dataset, job: Job) -> xr.Dataset:
        """Return what `_compare` finds of all neurons, once and for all."""
        if name not in self._of_all:
            result = self._compare(name, recording, job)
            self._of_all[name] = result, positions_in(result, self.labels)
        return self._of_all[name][0]

    def _compare(self, name: str, recording: xr.Dataset, job: Job) -> xr.Dataset:
        """Hold what was measured on the test images against what the twin predicts."""
        if self._prediction is None:
            self._prediction = predict_responses(
                self._twin, recording, split="test", job=job.part(0.0, 0.5, "predicting")
            )
        if name == "scores":
            return _score(recording, self._prediction, job.part(0.5, 1.0, "scoring"))
        test = recording.response.isel(trial=recording.split.values == "test")
        if name == "member_averages":
            return self._average_members(recording, test, job)
        return average_repeats(test, self._prediction)

    def _average_members(self, recording: xr.Dataset, test: xr.DataArray, job: Job) -> xr.Dataset:
        """What each member predicts for the test images, averaged over their repeats."""
        each = []
        for number, member in enumerate(self._members):
            part = job.part(number / len(self._members), (number + 1) / len(self._members))
            predicted = predict_responses(member, recording, split="test", job=part)
            each.append(average_repeats(test, predicted)[["prediction"]])
        return xr.concat(each, "member")


def _score(recording: xr.Dataset, prediction: xr.DataArray, job: Job) -> xr.Dataset:
    skip = min(SKIP, recording.sizes.get("frame", 0) // 2)
    return evaluation.score_prediction(recording, prediction, skip=skip, job=job)
