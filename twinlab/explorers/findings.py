"""What is known of a twin's neurons: given beforehand, or measured when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
import xarray as xr

from twinlab import evaluation, insilico
from twinlab.explorers.recorded_findings import RecordedFindings
from twinlab.explorers.usual import training_familiarity, usual_rates
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import ConditionedTwin, Twin
from twinlab.twins.familiarity import training_range

__all__ = ["RESULTS", "Findings"]

RESULTS = ("receptive_field", "tuning", "mei", "lei", "diverse")


class Findings(RecordedFindings):
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
        unknown = sorted(set(results or {}) - set(RESULTS))
        if unknown:
            msg = f"Unknown result {unknown}; the bench shows {list(RESULTS)}."
            raise InputError(msg)
        if session is None and recording is not None:
            session = str(recording.session.values[0])
        super().__init__(twin, recording, members, session, others)
        self.other = None if other is None else self._beside("The other twin", other, session)
        self.members = [member.condition(session=session) for member in self._members]
        self.learning_curve = learning_curve
        for name, beside in self.others.items():
            self._beside(f"The twin {name!r}", beside, session)
        if other is not None:
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
        self.usual_rate = usual_rates(self.twin, recording)
        self.training, self.familiarity = None, None
        trained = recording is not None and (recording.split.values == "train").any()
        if recording is not None and trained and not twin.spec.is_video:
            self.training = training_range(recording)
            self.familiarity = training_familiarity(twin, recording)

    @cached_property
    def usual_range(self) -> np.ndarray:
        """1st and 99th percentile of each neuron's rates for ordinary images: (2, n_neuron)."""
        return np.percentile(self.usual_rate, [1, 99], axis=0)

    def describe(self) -> str:
        """The twin in a few words."""
        twin = self.twin.twin
        fitted = twin.origin.get("recording_id", "")
        return f"{type(twin).__name__}, {len(self)} neurons" + (
            f", fitted to {fitted}" if fitted else ""
        )

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

    def measure(self, name: str, neuron: int, job: Job | None = None) -> xr.Dataset | None:
        """Return what is known, measuring it first if need be; one thread at a time.

        None where it cannot be: the recording has no test responses, or lacks the neuron.
        """
        job = job or Job()
        with self._busy:
            job.check()
            if name in ("averages", "scores", "member_averages"):
                if self.testable and self.recording is not None:
                    self._compared(name, self.recording, job)
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
            found = experiment(self.together, unknown, job=job)
            positions = np.full(len(self), -1)
            n_known = 0
            if name in self._of_all:
                result, positions = self._of_all[name]
                n_known = result.sizes["neuron"]
                found = xr.concat(
                    [result, found],
                    "neuron",
                    data_vars="minimal",
                    coords="minimal",
                    compat="override",
                    combine_attrs="override",
                )
            positions = positions.copy()  # others may be reading the old ones
            positions[unknown] = n_known + np.arange(len(unknown))
            self._of_all[name] = found, positions

    @cached_property
    def embedding(self) -> xr.Dataset:
        """Neurons set out by how alike their predicted responses are."""
        rates = xr.DataArray(self.usual_rate, dims=("image", "neuron"))
        return evaluation.embed_responses(rates)

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

    def add_twin(self, name: str, twin: Twin) -> None:
        """Put another twin of the same neurons among `others`.

        Raises
        ------
        InputError
            If it is of other neurons.

        """
        self._beside(f"The twin {name!r}", twin, str(self.labels.session.values[0]))
        self.others = {**self.others, name: twin}

    def _beside(self, what: str, twin: Twin, session: str | None) -> ConditionedTwin:
        """Take a session of another twin, which must have the same neurons."""
        beside = twin.condition(session=session)
        if not np.array_equal(beside.labels.neuron_id, self.labels.neuron_id):
            msg = f"{what} has other neurons; give one fitted to the same recording."
            raise InputError(msg)
        return beside

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
        natural = self.natural_images("validation", "test")
        if "frame" in made.sizes:
            natural = insilico.cut_clips(natural, made.sizes["frame"])
        return insilico.cross_examine(
            made,
            self.twin,
            self.other,
            natural,
            job=job.part(0.7, 1.0, "judging"),
        )
