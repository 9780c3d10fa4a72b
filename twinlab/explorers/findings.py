"""What is known of a twin's neurons: given beforehand, or measured when it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr

from twinlab import evaluation, insilico, recordings, stimuli
from twinlab.explorers.matching import average_clip, average_repeats, positions_in
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import ConditionedTwin, EnsembleTwin, Twin, predict_responses
from twinlab.twins.familiarity import Familiarity, fit_familiarity, training_range

__all__ = ["RESULTS", "Findings"]

RESULTS = ("receptive_field", "tuning", "mei", "lei", "diverse")
SURVEYS: dict[str, Callable[..., xr.Dataset]] = {
    "activity": recordings.survey_responses,
    "reliability": evaluation.score_reliability,
}
N_FAMILIAR = 1000  # images from which familiarity is learnt, and as many to judge it by
SKIP = 50  # first frames of a video that are not scored (Sensorium 2023), or half of them
FEW_VIDEOS = 4
MOST_CLIPS = 8  # whose responses are kept
MOST_IMAGES = 200  # recorded images the twin is asked about, to know what is a large response


class Findings:
    """Everything known of each neuron of a twin; what is not is measured on demand and kept.

    Parameters
    ----------
    twin : Twin
    recording : xarray.Dataset, optional
        With neurons of one session of the twin.
    scores : xarray.Dataset, optional
        From `evaluation.score_prediction`; measured from the recording where absent.
    other : Twin, optional
        Another twin of the same neurons, to judge what this one made.
    members : sequence of Twin
        Of the ensemble this twin is one of, to tell how far refits agree; its own where it is
        an ensemble.
    results : mapping of str to xarray.Dataset
        Results made from this twin: "receptive_field", "tuning", "mei", "lei", "diverse".
    session : str, optional
        Whose neurons; the recording's where absent.
    others : mapping of str to Twin, optional
        Twins of the same neurons to score beside this one, by name.
    learning_curve : xarray.Dataset, optional
        From `fitting.fit_learning_curve`, of the same recording.

    Raises
    ------
    InputError
        If what is given is of other neurons or another twin, or a result has another name.

    """

    def __init__(
        self,
        twin: Twin,
        *,
        recording: xr.Dataset | None = None,
        scores: xr.Dataset | None = None,
        other: Twin | None = None,
        members: Sequence[Twin] = (),
        results: Mapping[str, xr.Dataset] | None = None,
        session: str | None = None,
        others: Mapping[str, Twin] | None = None,
        learning_curve: xr.Dataset | None = None,
    ) -> None:
        if session is None and recording is not None:
            session = str(recording.session.values[0])
        self.twin: ConditionedTwin = twin.condition(session=session)
        self.other = other.condition(session=session) if other is not None else None
        if isinstance(twin, EnsembleTwin):
            members = members or twin.each
        self.members = [member.condition(session=session) for member in members]
        self._members = list(members)
        # The ensemble, where there is one.
        self.together = self.twin
        if len(members) > 1 and not isinstance(twin, EnsembleTwin):
            self.together = EnsembleTwin(members).condition(session=session)
        self.labels = self.twin.labels
        self.recording = recording
        self._twin = twin
        self._prediction: xr.DataArray | None = None
        self._busy = threading.Lock()
        self._reading = threading.Lock()
        self.others = dict(others or {})
        self.learning_curve = learning_curve
        self._judged: dict[tuple[str, str], xr.Dataset] = {}
        self._of_all: dict[str, tuple[xr.Dataset, np.ndarray]] = {}
        self._clips: dict[int, xr.Dataset] = {}
        self._of_one: dict[tuple[str, int], xr.Dataset] = {}

        unknown = sorted(set(results or {}) - set(RESULTS))
        if unknown:
            msg = f"Unknown result {unknown}; the bench shows {list(RESULTS)}."
            raise InputError(msg)
        # Where each neuron is in the recording; -1 where it is not.
        self.recorded = np.full(len(self), -1)
        if recording is not None:
            twin.spec.check(recording.stimulus[:1].values)
            self.recorded = self._match("The recording", recording)
        for name, beside in self.others.items():
            ids = beside.condition(session=session).labels.neuron_id
            if not np.array_equal(ids, self.labels.neuron_id):
                msg = f"The twin {name!r} has other neurons; give one of the same recording."
                raise InputError(msg)
        if other is not None:
            judged = other.condition(session=session).labels.neuron_id
            if not np.array_equal(judged, self.labels.neuron_id):
                msg = "The other twin has other neurons; give one fitted to the same recording."
                raise InputError(msg)
            channel, *size = twin.spec.shape
            frame = [1] * twin.spec.is_video
            other.spec.check(np.empty((1, channel, *frame, *size)))
        for name, result in {**(results or {}), "scores": scores}.items():
            if result is not None:
                made_by = result.attrs.get("twin", "")
                if made_by and made_by != twin.identity:
                    msg = (
                        f"The result {name!r} was made with twin {made_by}, but this is "
                        f"{twin.identity}; make it again with this twin."
                    )
                    raise InputError(msg)
                self._of_all[name] = result, self._match(f"The result {name!r}", result)
        self.usual_rate = self._ask_usual()
        self.training, self.familiarity = None, None
        trained = recording is not None and (recording.split.values == "train").any()
        if recording is not None and trained and not twin.spec.is_video:
            self.training = training_range(recording)
            self.familiarity = _familiarity(twin, recording)

    def _match(self, what: str, labelled: xr.Dataset) -> np.ndarray:
        positions = positions_in(labelled, self.labels)
        n_neuron = np.size(labelled.neuron_id)
        if np.count_nonzero(positions >= 0) < n_neuron:
            msg = (
                f"{what} has {n_neuron} neurons, of which this twin's session "
                f"{str(self.labels.session.values[0])!r} knows "
                f"{np.count_nonzero(positions >= 0)}; give one of the same neurons."
            )
            raise InputError(msg)
        return positions

    def __len__(self) -> int:
        """Count the neurons."""
        return len(self.twin)

    @property
    def testable(self) -> bool:
        """Whether the recording has responses to test images to hold predictions against."""
        if self.recording is None:
            return False
        test = self.recording.response.isel(trial=self.recording.split.values == "test")
        return bool(np.isfinite(test).any())

    @cached_property
    def usual_range(self) -> np.ndarray:
        """1st and 99th percentile of each neuron's rates for ordinary images: (2, n_neuron)."""
        return np.percentile(self.usual_rate, [1, 99], axis=0)

    @property
    def steps(self) -> list[str]:
        """What is measured of each neuron without being asked, quickest first."""
        if self.twin.spec.is_video:  # the others are defined for images alone
            return ["scores"] if self.testable else []
        from_recording = ["averages", "scores"] if self.testable else []
        of_members = ["member_tuning"] if len(self.members) > 1 else []
        if of_members and self.testable:
            of_members = ["member_averages", *of_members]
        return [*from_recording, "receptive_field", "tuning", *of_members]

    def known(self, name: str, neuron: int) -> xr.Dataset | None:
        """Return what is known under `name` of the neuron at that position; None if nothing."""
        if (name, neuron) in self._of_one:
            return self._of_one[name, neuron]
        if name in self._of_all:
            result, positions = self._of_all[name]
            if positions[neuron] >= 0:
                return result.isel(neuron=positions[neuron])
        return None

    def of_all(self, name: str) -> bool:
        """Whether a result is known of all neurons, not only of those that were looked at."""
        return name in self._of_all

    def column(self, name: str, variable: str) -> xr.DataArray:
        """One value of each neuron, NaN where it is not known."""
        values, attrs = np.full(len(self), np.nan), {}
        if name in self._of_all:
            result, positions = self._of_all[name]
            here = positions >= 0
            values[here] = result[variable].values[positions[here]]
            attrs = result[variable].attrs
        for (kind, neuron), result in tuple(self._of_one.items()):
            if kind == name:
                values[neuron] = float(result[variable])
                attrs = result[variable].attrs
        return xr.DataArray(values, dims="neuron", name=variable, attrs=attrs)

    def known_of(self, name: str) -> np.ndarray:
        """Whether what was asked for by that name is known, of each neuron: bool (n_neuron,)."""
        known = self._of_all[name][1] >= 0 if name in self._of_all else np.zeros(len(self), bool)
        return np.asarray(known)

    def gathered(self, name: str) -> xr.Dataset | None:
        """Return what was asked for by that name, of all neurons it was; None if of none."""
        return self._of_all[name][0] if name in self._of_all else None

    def measure(self, name: str, neuron: int, job: Job | None = None) -> xr.Dataset | None:
        """Return what is known, measuring it first if need be; one thread at a time.

        None where it cannot be: the recording has no test responses, or lacks the neuron.
        """
        job = job or Job()
        with self._busy:
            job.check()
            if name in ("averages", "scores", "member_averages"):
                if name not in self._of_all and self.testable and self.recording is not None:
                    result = self._compare(name, self.recording, job)
                    self._of_all[name] = result, positions_in(result, self.labels)
            elif self.known(name, neuron) is None:
                self._of_one[name, neuron] = self._examine(name, [neuron], job).isel(neuron=0)
        return self.known(name, neuron)

    def measure_all(self, name: str, job: Job | None = None) -> xr.Dataset:
        """Measure one result of every neuron at once, and keep it."""
        with self._busy:
            result = self._examine(name, None, job or Job())
            self._of_all[name] = result, np.arange(len(self))
        return result

    def ask(
        self,
        name: str,
        experiment: Callable[..., xr.Dataset],
        neurons: Sequence[int] | None = None,
        job: Job | None = None,
    ) -> None:
        """Run any experiment on those neurons of which `name` is not known yet, and keep it.

        Parameters
        ----------
        name : str
            Under which it is known; one for each experiment and its settings.
        experiment : callable
            Called as ``experiment(twin, neurons, job=...)``, with the ensemble where there is
            one.
        neurons : sequence of int, optional
            All where absent.
        job : Job, optional

        """
        job = job or Job()
        with self._busy:
            job.check()
            asked = range(len(self)) if neurons is None else neurons
            unknown = [neuron for neuron in asked if self.known(name, neuron) is None]
            if not unknown:
                return
            every: dict[str, Any] = {"data_vars": "minimal", "coords": "minimal"}
            found = experiment(self.together, unknown, job=job)
            positions = np.full(len(self), -1)
            n_known = 0
            if name in self._of_all:
                result, positions = self._of_all[name]
                n_known = result.sizes["neuron"]
                found = xr.concat(
                    [result, found], "neuron", compat="override", combine_attrs="override", **every
                )
            positions = positions.copy()
            positions[unknown] = n_known + np.arange(len(unknown))
            self._of_all[name] = found, positions

    def surveyed(self, name: str) -> xr.Dataset | None:
        """Return what `survey` has found of all recorded neurons; None while it has not."""
        return self._of_all[name][0] if name in self._of_all else None

    def survey(self, name: str, job: Job | None = None) -> xr.Dataset | None:
        """Go through the recording once for what it says of every neuron by itself.

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
                if not name and split == "test" and "scores" in self._of_all:
                    scores = self._of_all["scores"][0]
                else:
                    twin = self.others[name] if name else self._twin
                    predicted = predict_responses(
                        twin, self.recording, split=split, job=job.part(0.0, 0.5, "predicting")
                    )
                    part = job.part(0.5, 1.0, "scoring")
                    scores = evaluation.score_prediction(self.recording, predicted, job=part)
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

    @cached_property
    def embedding(self) -> xr.Dataset:
        """Neurons set out by how alike their predicted responses are."""
        rates = xr.DataArray(self.usual_rate, dims=("image", "neuron"))
        return evaluation.embed_responses(rates)

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
        return _images(self.recording, *splits)

    def respond(self, image: np.ndarray) -> np.ndarray:
        """Predicted rate of every neuron (n_neuron,) for one image (channel, y, x).

        A twin of videos sees it held still for a second, of which the second half counts.
        """
        shown = np.asarray(image, np.float32)[None]
        if self.twin.spec.frame_rate is not None:
            shown = np.repeat(shown[:, :, None], round(self.twin.spec.frame_rate), 2)
        with torch.inference_mode():
            rate = self.twin(torch.as_tensor(shown, device=self.twin.device))[0]
        if rate.ndim == 2:
            rate = rate[:, rate.shape[1] // 2 :].mean(1)
        return rate.float().cpu().numpy()

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

    def _ask_usual(self) -> np.ndarray:
        """Rates (image, neuron) the twin predicts for ordinary images: what to call large."""
        spec = self.twin.spec
        if spec.is_video:
            return self._ask_usual_frames()
        images = np.empty(0) if self.recording is None else _images(self.recording, "test")
        if not len(images):
            images = stimuli.make_grating_grid(
                np.arange(0, 180, 22.5),
                [0.05, 0.1, 0.2],
                [0, 90, 180, 270],
                height=spec.height,
                width=spec.width,
                channel=spec.channel,
                mean=spec.mean,
                contrast=0.5,
            ).values
        with torch.inference_mode():
            batch = torch.as_tensor(images[:MOST_IMAGES], device=self.twin.device).float()
            return self.twin(batch).float().cpu().numpy()

    def _ask_usual_frames(self) -> np.ndarray:
        """Rates (frame, neuron) the twin predicts for the frames of a few ordinary videos."""
        spec, recording = self.twin.spec, self.recording
        shown = np.empty(0, int)
        if recording is not None:
            index, split = recording.stimulus_index.values, recording.split.values
            tested = index[split == "test"]
            shown = np.unique(tested if len(tested) else index)[:FEW_VIDEOS]
        if recording is not None and len(shown):
            videos = recording.stimulus[shown].values
        else:
            videos = stimuli.make_dead_leaves_video(
                FEW_VIDEOS,
                spec.height,
                spec.width,
                seed=0,
                n_frame=round(spec.frame_rate or 1),
                frame_rate_hz=spec.frame_rate or 1.0,
                channel=spec.channel,
            ).values
        with torch.inference_mode():
            rates = [
                self.twin(torch.as_tensor(one[None], device=self.twin.device).float())[0]
                for one in videos
            ]
        found = torch.cat(rates, 1).T.float().cpu().numpy()
        return found[np.isfinite(found).all(1)]  # a shorter video may end in missing frames

    def _compare(self, name: str, recording: xr.Dataset, job: Job) -> xr.Dataset:
        """Hold what was measured on the test images against what the twin predicts."""
        if self._prediction is None:
            self._prediction = predict_responses(
                self._twin, recording, split="test", job=job.part(0.0, 0.5, "predicting")
            )
        if name == "scores":
            part = job.part(0.5, 1.0, "scoring")
            frames = recording.sizes.get("frame", 0)
            skip = min(SKIP, frames // 2)
            return evaluation.score_prediction(recording, self._prediction, skip=skip, job=part)
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

    def _examine(self, name: str, neurons: list[int] | None, job: Job) -> xr.Dataset:
        if name == "receptive_field":
            return insilico.measure_receptive_field(self.twin, neurons, job=job)
        if name == "tuning":
            return insilico.measure_orientation_tuning(self.twin, neurons, job=job)
        if name == "member_tuning":
            each = [
                insilico.measure_orientation_tuning(member, neurons, job=job)
                for member in self.members
            ]
            return xr.concat(each, "member", combine_attrs="drop_conflicts")
        if name == "diverse":
            return insilico.synthesize_diverse(self.twin, neurons, job=job)
        synthesize = insilico.synthesize_lei if name == "lei" else insilico.synthesize_mei
        if self.recording is None or self.other is None:  # a twin is no judge of its own images
            return synthesize(self.twin, neurons, job=job)
        made = synthesize(self.twin, neurons, job=job.part(0.0, 0.7, "optimising"))
        natural = _images(self.recording, "validation", "test")
        if "frame" in made.sizes:
            natural = insilico.cut_clips(natural, made.sizes["frame"])
        return insilico.cross_examine(
            made,
            self.twin,
            self.other,
            natural,
            job=job.part(0.7, 1.0, "judging"),
        )


def _images(recording: xr.Dataset, *splits: str) -> np.ndarray:
    """Images (image, channel, y, x) of some splits, each once."""
    shown = recording.stimulus_index.values[np.isin(recording.split.values, splits)]
    return recording.stimulus[np.unique(shown)].values


def _familiarity(twin: Twin, recording: xr.Dataset) -> Familiarity | None:
    """What the training images are like, by their statistics; None without validation images."""
    split, index = recording.split.values, recording.stimulus_index.values
    shown, held_out = (
        recording.stimulus[np.unique(index[split == name])[:N_FAMILIAR]].values
        for name in ("train", "validation")
    )
    if twin.spec.is_video or len(shown) < 2 or not len(held_out):
        return None
    return fit_familiarity(twin, shown, held_out, core=False)
