"""How far one neuron, and what was made for it, can be trusted: in words, with the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from twinlab.explorers.looks import badge
from twinlab.insilico import RELIABLE

__all__ = [
    "ROWS",
    "Verdict",
    "judge_mei",
    "judge_scores",
    "say_number",
    "say_scores",
    "tabulate",
    "with_interval",
]

SAME = 0.9  # mean correlation of the ends of different starts from which they count as one image


class Verdict(NamedTuple):
    """One question about a neuron: the answer, its colour (see `looks`), and the numbers."""

    answer: str
    kind: str
    why: str

    def __str__(self) -> str:
        return f"{badge(self.answer, self.kind)} {self.why}"


def say_number(value: float | xr.DataArray, form: str = ".2g") -> str:
    """Write one number in a format, or that it is undefined."""
    return format(float(value), form) if np.isfinite(float(value)) else "undefined"


def with_interval(result: xr.Dataset, name: str) -> str:
    """Write a value with its interval, where it has one, as HTML."""
    value = float(result[name])
    if not np.isfinite(value):
        return "<b>undefined</b>"
    said = f"<b>{value:.2f}</b>"
    if f"{name}_interval" in result:
        low, high = (float(bound) for bound in result[f"{name}_interval"])
        said += f" [{low:.2f}, {high:.2f}]" if np.isfinite([low, high]).all() else " [undefined]"
    return said


def judge_scores(scores: xr.Dataset) -> list[Verdict]:
    """Say whether a neuron is reliable, and whether it is predicted.

    Parameters
    ----------
    scores : Dataset
        From `evaluation.score_prediction`, of one neuron.

    """
    explained = f"explainable variance {with_interval(scores, 'explainable_variance')}"
    if float(scores.explainable_variance) >= RELIABLE:
        reliable = Verdict("reliable enough to judge", "good", explained)
    else:  # NaN counts as weak
        reliable = Verdict(
            "not reliable enough to judge", "weak", f"{explained}, judged from {RELIABLE:g}"
        )
    value = float(scores.correlation_to_average)
    if "correlation_to_average_interval" in scores:
        value = float(scores.correlation_to_average_interval[0])
    reached = f"correlation to average {with_interval(scores, 'correlation_to_average')}"
    if not np.isfinite(value):
        return [reliable, Verdict("prediction undefined", "none", reached)]
    if value > 0:
        return [reliable, Verdict("predicted", "good", reached)]
    return [reliable, Verdict("not predicted above chance", "weak", reached)]


def judge_mei(mei: xr.Dataset, faults: Sequence[str] | None) -> list[Verdict]:
    """Say whether a most exciting input is one, holds on another twin, and is like training.

    Parameters
    ----------
    mei : Dataset
        From `insilico.synthesize_mei`, or `insilico.cross_examine`, of one neuron.
    faults : sequence of str, optional
        In what it is unlike all training images; None where these are unknown.

    """
    if not np.isfinite(float(mei.activation)):
        return [Verdict("no exciting input", "weak", "no start led to any response")]
    agreement = float(mei.start_agreement)
    if not np.isfinite(agreement):
        verdicts = [Verdict("one start only", "none", "whether it is the only one is unknown")]
    elif agreement >= SAME:
        why = f"their images correlate {agreement:.2f}"
        verdicts = [Verdict("starts agree", "good", why)]
    else:
        why = f"their images correlate {agreement:.2f}: several may excite alike"
        verdicts = [Verdict("starts differ", "weak", why)]
    if "activation_other" not in mei:
        verdicts.append(Verdict("not validated", "none", "no other twin has judged it"))
    else:
        own = float(mei.activation_other)
        controls = {
            "natural image": float(mei.activation_natural_other),
            "Gabor": float(mei.activation_gabor_other),
        }
        numbers = ", ".join(f"{name} {value:.3g}" for name, value in controls.items())
        why = f"on the other twin {own:.3g}; of the same norm {numbers}"
        if own > max(controls.values()):
            verdicts.append(Verdict("validated", "good", why))
        else:
            verdicts.append(Verdict("not above its controls", "weak", why))
    if faults is None:
        verdicts.append(Verdict("familiarity unknown", "none", "training images are not given"))
    elif faults:
        verdicts.append(Verdict("unlike training images", "weak", "; ".join(faults)))
    else:
        verdicts.append(Verdict("like training images", "good", ""))
    return verdicts


def say_scores(scores: xr.Dataset) -> str:
    """Say in words how reliable one neuron is and how well it is predicted, as HTML."""
    reliable = judge_scores(scores)[0]
    lines = [
        badge(reliable.answer, reliable.kind),
        f"Explainable variance {with_interval(scores, 'explainable_variance')}: the share of "
        f"its variance the image accounts for (judged from {RELIABLE:g}).",
        f"Oracle correlation {with_interval(scores, 'oracle_correlation')}: how well its other "
        "repeats predict a trial.",
        f"FEVE {with_interval(scores, 'feve')}: the share of explainable variance that the "
        "twin explains.",
        f"Correlation to average {with_interval(scores, 'correlation_to_average')}, of at most "
        f"{say_number(scores.cc_max, '.2f')}.",
    ]
    return "<br>".join(lines)


# What is compared of neurons, by the result it is in: variable, words, units.
ROWS = {
    "scores": [
        ("explainable_variance", "explainable variance", ""),
        ("oracle_correlation", "oracle correlation", ""),
        ("feve", "FEVE", ""),
        ("correlation_to_average", "correlation to average", ""),
        ("cc_max", "– of at most", ""),
    ],
    "receptive_field": [("center_x", "centre, x", "px"), ("center_y", "centre, y", "px")],
    "tuning": [
        ("preferred_orientation", "preferred orientation", "deg"),
        ("preferred_spatial_frequency", "preferred frequency", "cycles/px"),
        ("osi", "OSI", ""),
        ("f1_f0", "F1/F0", ""),
    ],
    "mei": [("activation", "response to MEI", "rate")],
    "lei": [("activation", "response to LEI", "rate")],
}


def tabulate(neurons: Mapping[str, Mapping[str, xr.Dataset | None]]) -> str:
    """Numbers of one or more neurons side by side, as an HTML table.

    Parameters
    ----------
    neurons : mapping of str to mapping of str to Dataset or None
        By heading, the results known of each ("scores", "tuning", ...); None while unknown.

    """
    style = 'style="padding:0 8px;text-align:left;white-space:nowrap"'
    head = "".join(f"<th {style}>{name}</th>" for name in neurons)
    lines = [f"<tr><th></th>{head}</tr>"]
    for result, rows in ROWS.items():
        if all(known.get(result) is None for known in neurons.values()):
            continue
        for variable, label, units in rows:
            cells = "".join(
                f"<td {style}>{_cell(known.get(result), variable)}</td>"
                for known in neurons.values()
            )
            words = f"{label} ({units})" if units else label
            lines.append(f"<tr><td>{words}</td>{cells}</tr>")
    return f'<table style="border-spacing:0">{"".join(lines)}</table>'


def _cell(result: xr.Dataset | None, variable: str) -> str:
    if result is None or variable not in result:
        return "–"
    # The interval on a line of its own: two neurons have room side by side.
    return with_interval(result, variable).replace(" [", "<br>[")
