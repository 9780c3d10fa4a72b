"""What is known of a twin's neurons: given beforehand, or measured when it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
import xarray as xr

from twinlab import evaluation, insilico, stimuli
from twinlab.explorers.matching import average_repeats, positions_in
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import ConditionedTwin, Twin, predict_responses
from twinlab.twins.familiarity import Familiarity, fit_familiarity, training_range

__all__ = ["RESULTS", "Findings"]

RESULTS = ("receptive_field", "tuning", "mei")
N_FAMILIAR = 1000  # images from which familiarity is learnt, and as many to judge it by
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
    results : mapping of str to xarray.Dataset
        Results made from this twin: "receptive_field", "tuning", "mei".
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
        results: Mapping[str, xr.Dataset] | None = None,
        session: str | None = None,
        others: Mapping[str, Twin] | None = None,
        learning_curve: xr.Dataset | None = None,
    ) -> None:
        if session is None and recording is not None:
            session = str(recording.session.values[0])
        self.twin: ConditionedTwin = twin.condition(session=session)
        self.other = other.condition(session=session) if other is not None else None
        self.labels = self.twin.labels
        self.recording = recording
        self._twin = twin
        self._prediction: xr.DataArray | None = None
        self._busy = threading.Lock()
        self.others = dict(others or {})
        self.learning_curve = learning_curve
        self._judged: dict[tuple[str, str], xr.Dataset] = {}
        self._of_all: dict[str, tuple[xr.Dataset, np.ndarray]] = {}
        self._of_one: dict[tuple[str, int], xr.Dataset] = {}

        unknown = sorted(set(results or {}) - set(RESULTS))
        if unknown:
            msg = f"Unknown result {unknown}; the bench shows {list(RESULTS)}."
            raise InputError(msg)
        if recording is not None:
            twin.spec.check(recording.stimulus[:1].values)
            self._match("The recording", recording)
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
            other.spec.check(np.empty((1, *twin.spec.shape)))
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
        if recording is not None and (recording.split.values == "train").any():
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
        test = self.recording.response.values[self.recording.split.values == "test"]
        return bool(np.isfinite(test).any())

    @property
    def steps(self) -> list[str]:
        """What is measured of each neuron without being asked, quickest first."""
        from_recording = ["averages", "scores"] if self.testable else []
        return [*from_recording, "receptive_field", "tuning"]

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

    def measure(self, name: str, neuron: int, job: Job | None = None) -> xr.Dataset | None:
        """Return what is known, measuring it first if need be; one thread at a time.

        None where it cannot be: the recording has no test responses, or lacks the neuron.
        """
        job = job or Job()
        with self._busy:
            job.check()
            if name in ("averages", "scores"):
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

    def respond(self, image: np.ndarray) -> np.ndarray:
        """Predicted rate of every neuron (n_neuron,) for one image (channel, y, x)."""
        with torch.inference_mode():
            batch = torch.as_tensor(image[None], dtype=torch.float32, device=self.twin.device)
            return self.twin(batch)[0].float().cpu().numpy()

    def _ask_usual(self) -> np.ndarray:
        """Rates (image, neuron) the twin predicts for ordinary images: what to call large."""
        spec = self.twin.spec
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

    def _compare(self, name: str, recording: xr.Dataset, job: Job) -> xr.Dataset:
        """Hold what was measured on the test images against what the twin predicts."""
        if self._prediction is None:
            self._prediction = predict_responses(
                self._twin, recording, split="test", job=job.part(0.0, 0.5, "predicting")
            )
        if name == "scores":
            part = job.part(0.5, 1.0, "scoring")
            return evaluation.score_prediction(recording, self._prediction, job=part)
        test = recording.response.isel(trial=recording.split.values == "test")
        return average_repeats(test, self._prediction)

    def _examine(self, name: str, neurons: list[int] | None, job: Job) -> xr.Dataset:
        if name == "receptive_field":
            return insilico.measure_receptive_field(self.twin, neurons, job=job)
        if name == "tuning":
            return insilico.measure_orientation_tuning(self.twin, neurons, job=job)
        if self.recording is None or self.other is None:  # a twin is no judge of its own images
            return insilico.synthesize_mei(self.twin, neurons, job=job)
        mei = insilico.synthesize_mei(self.twin, neurons, job=job.part(0.0, 0.7, "optimising"))
        return insilico.cross_examine(
            mei,
            self.twin,
            self.other,
            _images(self.recording, "validation", "test"),
            job=job.part(0.7, 1.0, "judging"),
        )


def _images(recording: xr.Dataset, *splits: str) -> np.ndarray:
    """Images (image, channel, y, x) of some splits, each once."""
    shown = recording.stimulus_index.values[np.isin(recording.split.values, splits)]
    return recording.stimulus.values[np.unique(shown)]


def _familiarity(twin: Twin, recording: xr.Dataset) -> Familiarity | None:
    """What the training images are like, by their statistics; None without validation images."""
    split, index = recording.split.values, recording.stimulus_index.values
    shown, held_out = (
        recording.stimulus.values[np.unique(index[split == name])[:N_FAMILIAR]]
        for name in ("train", "validation")
    )
    if twin.spec.is_video or len(shown) < 2 or not len(held_out):
        return None
    return fit_familiarity(twin, shown, held_out, core=False)
