"""What a recording says of a twin's neurons, held against the twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import xarray as xr

from twinlab import evaluation
from twinlab.explorers.matching import average_repeats, positions_in
from twinlab.explorers.surveyed import Surveyed
from twinlab.explorers.usual import images_of
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import EnsembleTwin, Twin, predict_responses

__all__ = ["RecordedFindings"]

SKIP = 50  # first frames of a video that are not scored (Sensorium 2023), or half of them


class RecordedFindings(Surveyed):
    """What is known of each neuron of a twin from a recording; without one, nothing is.

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
        super().__init__(conditioned.labels, twin.spec, recording)
        self.twin, self.together = conditioned, together
        self.others = dict(others or {})
        self._twin, self._members = twin, list(members)
        self._prediction: xr.DataArray | None = None
        self._judged: dict[tuple[str, str], xr.Dataset] = {}

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

    def _predict(self, trials: xr.Dataset, job: Job) -> xr.DataArray:
        return predict_responses(self._twin, trials, job=job)

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
