"""The report of an inception loop: one HTML file with its pictures inside."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from twinlab import plots
from twinlab.cli.loop_words import (
    LEVEL,
    NOT_NOTHING,
    say_left_out,
    say_next_session,
    say_power,
    say_prediction,
    say_specificity,
    say_verification,
    say_what_is_shown,
)
from twinlab.cli.pages import figures, flat, number, pixels, section, table, write_page
from twinlab.loop import Plan, keep_loop, open_kept
from twinlab.schema import InputError

__all__ = ["say_what_is_shown", "write_loop_report"]

PREDICTED = (
    "The verifier is a twin of another architecture that had no part in making the stimuli. What "
    "follows are predictions, not observations."
)
N_EXAMPLES = 4  # neurons at each end of the gallery


def write_loop_report(source: Path, path: Path) -> Path:
    """Write the report of a loop whose comparison is done, and return where it is.

    Parameters
    ----------
    source : Path
        Folder of the loop, in which `loop.nc` is then written; or that file, wherever it is. Both
        give the same page.
    path : Path
        Page to write.

    Raises
    ------
    InputError
        As `loop.keep_loop` and `loop.open_kept`.

    """
    kept = keep_loop(source) if source.is_dir() else source
    plan, groups = open_kept(kept)
    about = groups[""].attrs
    titles: list[str] = []
    try:
        sections = [
            *(_comparisons(kind, groups, titles) for kind in _kinds(plan, groups)),
            *_specificity(groups, titles),
            _prediction(groups["prediction"], titles),
            *_verification(plan, groups, titles),
            *_rounds(plan, groups),
            *_gallery(plan, groups, titles),
            _left_out(groups, json.loads(about["manifest"])),
            _power(plan, groups, titles),
            _tests(groups["tests"]),
            section(
                "Plan", "As it was decided beforehand.", f"<pre>{escape(about['plan'])}</pre>"
            ),
        ]
        answer = _answer(plan, groups)
    except KeyError as error:
        msg = f"{kept}: lacks {error}; run `twinlab loop run` and the report with one version."
        raise InputError(msg) from error
    contents = "".join(
        f'<li><a href="#figure-{i}">{escape(title)}</a></li>' for i, title in enumerate(titles, 1)
    )
    return write_page(
        path,
        "Inception loop",
        f"recording {plan.recording}, {groups['responses'].sizes['neuron']} neurons, seed "
        f"{plan.seed}, twinlab {about['twinlab_version']}",
        answer,
        section("Figures", "", f"<ol>{contents}</ol>"),
        *sections,
    )


def _kinds(plan: Plan, groups: dict[str, xr.Dataset]) -> list[str]:
    """Kinds of stimuli that were compared, as planned; of an objective with several, each too."""
    every = {
        name.split("-", 1)[1] for name in groups if name.startswith(("confusion-", "controls-"))
    }
    return [
        kind
        for objective in plan.stimuli.objectives
        for kind in sorted(every)
        if kind.split("-")[0] == objective
    ]


def _answer(plan: Plan, groups: dict[str, xr.Dataset]) -> str:
    """The main answer in words, before anything else."""
    tests = groups["tests"]
    lines = []
    for kind in _kinds(plan, groups):
        lines += say_what_is_shown(
            groups.get(f"confusion-{kind}"), groups.get(f"controls-{kind}"), tests
        )
    if "specificity" in groups:
        lines += say_specificity(groups["specificity"], tests)
    lines.append(say_prediction(groups["prediction"]))
    if NOT_NOTHING in lines:  # once, at the end
        lines = [line for line in lines if line != NOT_NOTHING] + [NOT_NOTHING]
    return section("What is shown, and what is not", lines[0], _listed(lines[1:]))


def _comparisons(kind: str, groups: dict[str, xr.Dataset], titles: list[str]) -> str:
    confusion, controls = (groups.get(f"{name}-{kind}") for name in ("confusion", "controls"))
    parts = [] if confusion is None else _confusion(kind, confusion, titles)
    if controls is not None:
        parts += [
            _figure(
                titles,
                f"{kind.upper()} against controls",
                "Mean response of each neuron to its own stimulus against that to its own control "
                "of the same norm. Dashed: equal. Orange: the median ratio and its 95 % interval "
                "(resampled), where it is positive and finite. Blue: neurons whose difference is "
                "shown by their own trials (false discovery rate below 0.05). "
                f"n = {controls.sizes['neuron']} neurons.",
                plots.plot_controls(controls),
            ),
            _controls(controls),
        ]
    return section(kind.upper(), "", *parts)


def _confusion(name: str, confusion: xr.Dataset, titles: list[str]) -> list[str]:
    n = int(confusion.specificity.notnull().sum())
    return [
        _figure(
            titles,
            f"Confusion matrix of the {name.upper()}",
            "Rows: neurons that stimuli were made for. Columns: neurons that answer. Colour: "
            "mean response over repeats, standardised over each neuron's stimuli. Neurons are "
            "sorted by how much they prefer their own stimulus, which is framed; a dot marks the "
            f"stimulus that each answers {json.loads(confusion.attrs['settings'])['expect']} to. "
            f"n = {n} neurons.",
            plots.plot_confusion(confusion),
        ),
        _figure(
            titles,
            f"Preference for the own {name.upper()}",
            "Left: rank of the own stimulus among all, 1 the best; dashed, what chance gives. "
            "Right: standardised response to the own stimulus, its mean (dashed) with the 95 % "
            f"interval in the title, and chance (dotted). n = {n} neurons.",
            plots.plot_specificity(confusion),
        ),
    ]


def _controls(controls: xr.Dataset) -> str:
    head = ["control", "median ratio", "95 % interval", "ratio of means", "95 % interval"]
    rows = [[*head, "neurons that answer so", "shown by their trials (q < 0.05)"]]
    for i, name in enumerate(controls.control.values.astype(str)):
        q = controls.q_value.values[i]
        rows.append(
            [
                name,
                number(float(controls.median_ratio[i])),
                _interval(controls.median_ratio_interval.values[i]),
                number(float(controls.ratio_of_means[i])),
                _interval(controls.ratio_of_means_interval.values[i]),
                f"{float(controls.share_surpassed[i]):.0%}",
                f"{int((q < LEVEL).sum())} of {int(np.isfinite(q).sum())}",
            ]
        )
    return table(rows)


def _prediction(prediction: xr.Dataset, titles: list[str]) -> str:
    drawn = list(plots.plot_agreement(prediction))
    n, defined = prediction.sizes["neuron"], int(prediction.cc_norm.notnull().sum())
    rows = [["", "mean over neurons", "95 % interval"]]
    rows += [
        [
            prediction[key].attrs["long_name"],
            number(float(prediction[f"mean_{key}"])),
            _interval(prediction[f"mean_{key}_interval"].values),
        ]
        for key in ("correlation", "cc_max", "cc_norm")
    ]
    return section(
        "Predicted and observed",
        say_prediction(prediction),
        _figure(
            titles,
            "How well responses were predicted",
            "Left: correlation over stimuli of predicted and observed mean response against its "
            "ceiling, what noise over repeats leaves to the best prediction. Middle: its "
            "distribution, mean and 95 % interval. Right: in units of the ceiling, where repeats "
            f"explain at least 0.15 of the variance. n = {n} neurons, {defined} on the right.",
            *drawn[:3],
        ),
        _figure(
            titles,
            "Some neurons, stimulus by stimulus",
            "Predicted against observed mean response to each stimulus, blanks left out, of the "
            "best predicted, a middling and the worst predicted neuron. Dashed: they agree. "
            f"n = {prediction.sizes['stimulus']} stimuli.",
            *drawn[3:],
        ),
        table(rows),
    )


def _specificity(groups: dict[str, xr.Dataset], titles: list[str]) -> list[str]:
    """Whether stimuli made to excite one neuron alone do so more than others."""
    if "specificity" not in groups:
        return []
    result = groups["specificity"]
    n = int(result.difference.notnull().sum())
    figure = _figure(
        titles,
        "Specificity of two kinds",
        "Difference, for each neuron, of the specificity of its two stimuli; dashed, the mean. "
        f"n = {n} neurons.",
        plots.plot_histogram(
            result.difference, mark=float(result.mean_difference), count="neurons"
        ),
    )
    return [section("Specificity", "", figure)]


def _verification(plan: Plan, groups: dict[str, xr.Dataset], titles: list[str]) -> list[str]:
    """What the twin that had no part in making the stimuli predicts of them."""
    parts, words = [], []
    for name in plan.stimuli.objectives:
        made = groups.get(name)
        if made is None or not {"activation_other", "activation_natural_other"} <= set(made):
            continue
        words.append(say_verification(made))
        parts.append(
            _figure(
                titles,
                f"{name.upper()}: maker and verifier",
                "Left: predicted response to the stimulus (blue) and to the best natural image of "
                "the same norm (grey). Right: the ratio of the two. Across: the twin that made "
                "it; upward: the verifier. Dashed: both agree. "
                f"n = {made.sizes['neuron']} neurons.",
                plots.plot_verification(made),
            )
        )
    return [section("Verified in silico", PREDICTED, _listed(words), *parts)] if parts else []


def _gallery(plan: Plan, groups: dict[str, xr.Dataset], titles: list[str]) -> list[str]:
    """All stimuli of the neurons that prefer their own most and least."""
    kind = next((kind for kind in _kinds(plan, groups) if f"confusion-{kind}" in groups), "")
    if not kind:
        return []
    confusion, key = groups[f"confusion-{kind}"], groups["key"]
    known = confusion.isel(neuron=np.flatnonzero(confusion.specificity.notnull()))
    order = np.argsort(-known.specificity.values, kind="stable")
    ends = [*order[:N_EXAMPLES], *order[N_EXAMPLES:][-N_EXAMPLES:]]
    name_of = [
        f"{s}/{n}"
        for s, n in zip(
            key.session.values.astype(str), key.neuron_id.values.astype(str), strict=True
        )
    ]
    rows = []
    for i in ends:
        one = known.isel(neuron=i)
        tiles = _tiles(one.neuron.item(), name_of, groups)
        words = (
            f"Neuron {one.neuron.item()}: standardised response {float(one.specificity):.2f} to "
            f"its own, rank {float(one['rank']):.0f} of {confusion.sizes['made_for']}"
        )
        rows.append(f'<h3>{escape(words)}</h3><div class="gallery">{"".join(tiles)}</div>')
    caption = (
        f"Of the {min(N_EXAMPLES, len(order))} neurons that prefer their own "
        f"{kind.upper()} most and the "
        f"{max(len(ends) - N_EXAMPLES, 0)} that do least, out of {len(order)}. Below each "
        "stimulus the observed mean response and, in brackets, the predicted one. The mask shows "
        "where the stimuli have their contrast."
    )
    titles.append("Stimuli at both ends")
    number_ = len(titles)
    drawn = f'<figure id="figure-{number_}">{"".join(rows)}{_caption(titles, caption)}</figure>'
    return [section("Stimuli", "", drawn)]


def _tiles(neuron: str, name_of: list[str], groups: dict[str, xr.Dataset]) -> list[str]:
    key, prediction = groups["key"], groups["prediction"]
    of = prediction.sel(neuron=neuron)
    ids = prediction.stimulus_id.values.astype(str).tolist()
    own = [i for i, name in enumerate(name_of) if name == neuron]
    tiles = []
    for i, following in zip(own, [*own[1:], None], strict=True):
        kind, name = str(key.kind.values[i]), str(key.stimulus_id.values[i])
        words = kind
        if name in ids:
            at = ids.index(name)
            words += f": {float(of.observed[at]):.3g} ({float(of.predicted[at]):.3g})"
        tiles.append(_tile(flat(key.stimulus.values[i]), (0, 255), words, f"{words}, {neuron}"))
        if "mask" not in key or not np.isfinite(key.mask.values[i]).all():
            continue
        mask = key.mask.values[i]
        if following is None or not np.array_equal(key.mask.values[following], mask):
            tiles.append(_tile(mask, (0, 1), "mask", f"mask of {kind}, {neuron}"))
    return tiles


def _tile(image: np.ndarray, limits: tuple[float, float], words: str, alt: str) -> str:
    drawn = pixels(image, limits, alt)
    return f"<figure>{drawn}<figcaption>{escape(words)}</figcaption></figure>"


def _rounds(plan: Plan, groups: dict[str, xr.Dataset]) -> list[str]:
    """What the rounds brought, where there were any."""
    if "rounds" not in groups:
        return []
    every = groups["rounds"]
    rows = [["after round", "training trials", "validation correlation"]]
    rows += [
        [str(i), str(int(n)), number(float(r))]
        for i, n, r in zip(
            every["round"].values, every.n_trial.values, every.validation_correlation.values,
            strict=True,
        )
    ]  # fmt: skip
    rounds = plan.rounds
    words = [
        f"Before the stimuli were made, {rounds.number} rounds of {rounds.images} images by "
        f"{rounds.by} were shown; after each the twin was fitted again, in as many steps. The "
        "validation trials are the same throughout."
    ]
    if rounds.by != "random":
        words.append("Whether random images would have brought less this loop cannot say.")
    return [section("Rounds", " ".join(words), table(rows))]


def _left_out(groups: dict[str, xr.Dataset], manifest: dict[str, Any]) -> str:
    return section(
        "What came back, and what was left out", "", _listed(say_left_out(groups, manifest))
    )


def _power(plan: Plan, groups: dict[str, xr.Dataset], titles: list[str]) -> str:
    planned = groups["power"]
    parts = [
        _figure(
            titles,
            "Power, as assumed beforehand",
            "Power of a one-sided test over units to find the ratio in the title, against the "
            "number of units. Dashed: the power wanted; dotted: the units planned.",
            plots.plot_power(planned),
        )
    ]
    following = {
        name: groups[f"power-{name}"] for name in _kinds(plan, groups) if f"power-{name}" in groups
    }
    rows = [["", "response to the lower", "ratio of means", "variance / mean", "spread", "units"]]
    lines = []
    for name, power in following.items():
        lines += say_next_session(power)
        rows += [
            [
                f"{name.upper()} against {control}",
                *(number(float(power[key][i])) for key in ("rate", "ratio", "fano", "spread")),
                f"{float(power.n_measured[i]):.0f}",
            ]
            for i, control in enumerate(power.control.values.astype(str))
        ]
        if power.power.notnull().any():
            parts.append(
                _figure(
                    titles,
                    f"Power of a next session, {name.upper()}",
                    "As above, with the noise that was measured in this session in place of what "
                    "was assumed. The effect is still the one chosen beforehand. "
                    f"n = {float(power.n_measured.max()):.0f} units measured.",
                    plots.plot_power(power),
                )
            )
    if following:
        parts += [
            "<p>For the next session, with the noise of this one. It says nothing about whether "
            "this session found something: its p values do.</p>",
            _listed(lines),
            table(rows),
        ]
    return section("Power", say_power(planned), *parts)


def _tests(tests: xr.Dataset) -> str:
    rows = [["result", "question", "p", "p (Holm)"]]
    for one in (tests.isel(test=i) for i in range(tests.sizes["test"])):
        p = [f"{float(one[name]):.2g}" for name in ("p_value", "p_holm")]
        rows.append([one.result.item(), one.question.item(), *p])
    words = (
        f"The {tests.sizes['test']} tests of the whole population. All p values in the text are "
        "corrected for their number (Holm); q values of single neurons, for the number of neurons."
    )
    return section("Tests", words, table(rows, "words"))


def _figure(titles: list[str], title: str, caption: str, *elements: hv.Dimensioned) -> str:
    """A numbered figure with its caption; its title joins the list of figures."""
    titles.append(title)
    drawn = figures(*elements, words=title)
    return f'<figure id="figure-{len(titles)}">{drawn}{_caption(titles, caption)}</figure>'


def _caption(titles: list[str], caption: str) -> str:
    head = f"<b>Figure {len(titles)}. {escape(titles[-1])}.</b>"
    unbroken = caption.replace("n = ", "n\u00a0=\u00a0")
    return f"<figcaption>{head} {escape(unbroken)}</figcaption>"


def _listed(lines: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _interval(bounds: np.ndarray) -> str:
    return f"{number(bounds[0])} to {number(bounds[1])}"
