"""What the scores of a population say, by the images, the neurons that count and the twins."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import param
import xarray as xr

from twinlab import evaluation
from twinlab.explorers.cloud import Placed
from twinlab.explorers.views import Explorer
from twinlab.insilico import RELIABLE

__all__ = ["CEILING", "N_WORST", "REFERENCES", "SCORES", "THIS", "Standing"]

SCORES = {
    "correlation to average": "correlation_to_average",
    "FEVE": "feve",
    "normalised correlation": "cc_norm",
    "single-trial correlation": "single_trial_correlation",
}
# What each score is held against where it is not another twin, and whether as an equal.
REFERENCES = {
    "correlation_to_average": "cc_max",
    "single_trial_correlation": "oracle_correlation",
    "feve": "explainable_variance",
    "cc_norm": "explainable_variance",
}
CEILING = "ceiling or reliability"
THIS = "this twin"
SPLITS = ("test", "validation")
N_WORST = 30


class Standing(Explorer):
    """Scores of a twin and of those beside it, of the neurons that are reliable enough."""

    of: ClassVar[tuple[str, ...]] = ("image", "video")

    split: Any = param.Selector(objects=list(SPLITS), doc="Which images the scores are of.")
    score: Any = param.Selector(objects=list(SCORES), doc="Which score is drawn.")
    against = param.String(
        CEILING, doc="What it is held against: the ceiling, or another twin by name."
    )
    reliability = param.Number(
        RELIABLE, bounds=(0, 1), step=0.05, doc="Explainable variance from which a neuron counts."
    )

    @classmethod
    def lacks(cls, lab: Any) -> str:
        """Say what it needs."""
        missing = "Give the twin's recording (--recording) to hold its predictions against."
        return super().lacks(lab) or (missing if lab.surveyed.recording is None else "")

    def scores(self, name: str = "") -> xr.Dataset | None:
        """Scores of a twin on the split; of this one where no name is given."""
        return self.lab.findings.judged(name, self.split)

    def counted(self) -> np.ndarray | None:
        """Whether each neuron is reliable enough to count; None where repeats cannot tell.

        By the test images, which are repeated, whatever is scored.
        """
        scores = self.lab.findings.judged("", "test")
        if scores is None or not np.isfinite(scores.explainable_variance.values).any():
            return None
        return np.asarray(scores.explainable_variance.values >= self.reliability)

    def summaries(self) -> dict[str, xr.Dataset]:
        """Medians over the neurons that count, of each twin that is scored."""
        found = {}
        for name in ("", *self.lab.others):
            scores = self.scores(name)
            if scores is not None:
                found[name or THIS] = evaluation.summarize_scores(scores, self.counted())
        return found

    def difference(self) -> xr.Dataset | None:
        """Paired difference to the twin it is held against; None where there is none."""
        other = None if self.against == CEILING else self.scores(self.against)
        mine = self.scores()
        if mine is None or other is None:
            return None
        return evaluation.compare_scores(mine, other, self.counted())

    def worst(self) -> np.ndarray:
        """Positions of the neurons that count and score least, the worst first."""
        scores, counted = self.scores(), self.counted()
        if scores is None:
            return np.zeros(0, int)
        values = scores[SCORES[self.score]].values
        usable = np.isfinite(values) if counted is None else np.isfinite(values) & counted
        order = np.flatnonzero(usable)
        return order[np.argsort(values[order], kind="stable")][:N_WORST]

    def place(self) -> Placed:
        """Neurons placed by their score and what it is held against."""
        name = SCORES[self.score]
        mine = self.scores()
        n = len(self.lab.findings)
        unknown = xr.DataArray(np.full(n, np.nan), dims="neuron", attrs={"units": "1"})
        y = unknown.assign_attrs(long_name=self.score) if mine is None else mine[name]
        if self.against == CEILING:
            x = unknown if mine is None else mine[REFERENCES[name]]
        else:
            other = self.scores(self.against)
            x = unknown if other is None else other[name]
            x = x.assign_attrs(long_name=f"{self.score}, {self.against}")
        tested = self.lab.findings.judged("", "test")
        color = unknown if tested is None else tested.explainable_variance
        columns = {"against": x, "score": y, "explainable": color}
        kept = {key: ("neuron", value.values, value.attrs) for key, value in columns.items()}
        neurons = self.lab.findings.labels.assign(kept)
        neurons.explainable.attrs["long_name"] = "explainable variance"
        return Placed(neurons, "against", "score", "explainable")

    def calls(self) -> list[str]:
        """Scores, and their medians over the reliable neurons."""
        counted = ["counted = view.counted()"]
        if self.split == "test" and self.counted() is not None:
            counted = [f"counted = scores.explainable_variance.values >= {self.reliability!r}"]
        elif self.lab.findings.testable:
            counted.insert(0, "lab.findings.judge('', 'test')")
        return [
            f"prediction = twins.predict_responses(twin, recording, split={self.split!r})",
            "scores = evaluation.score_prediction(recording, prediction)",
            *counted,
            "medians = evaluation.summarize_scores(scores, counted)",
        ]
