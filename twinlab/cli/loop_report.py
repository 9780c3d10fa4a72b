"""The report of an inception loop: one HTML file with its pictures inside."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import numpy as np
import xarray as xr

from twinlab import __version__
from twinlab.cli.pages import number, pixels, section, table, write_page
from twinlab.loop import loop_status, open_loop, read_key
from twinlab.schema import InputError, open_result

__all__ = ["say_what_is_shown", "write_loop_report"]

N_EXAMPLES = 8
LEVEL = 0.05  # below which a p value says that something is shown


def write_loop_report(folder: Path, path: Path) -> Path:
    """Write the report of a loop whose comparison is done, and return where it is.

    Raises
    ------
    InputError
        If the comparison is not done, or as `open_loop`.

    """
    plan = open_loop(folder)
    status = loop_status(folder)
    if not all(status.values()):
        waiting = next(step for step, done in status.items() if not done)
        msg = f"{folder}: step {waiting!r} is not done; run `twinlab loop run {folder}` first."
        raise InputError(msg)
    observed = open_result(folder / "responses.nc")
    prediction = open_result(folder / "prediction.nc")
    sections = []
    for name in plan.stimuli.objectives:
        confusion = open_result(folder / f"confusion-{name}.nc")
        controls = None
        if plan.stimuli.controls:
            controls = open_result(folder / f"controls-{name}.nc")
        words = [*say_what_is_shown(confusion, controls)]
        sections.append(
            section(name.upper(), " ".join(words), _confusion(confusion), _controls(controls))
        )
    sections.append(
        section(
            "Predicted and observed",
            "Over all stimuli, blanks left out, the mean over neurons. The ceiling is what noise "
            "over repeats leaves to the best prediction.",
            table(
                [
                    ["", "mean", "95 % interval"],
                    *(
                        [
                            prediction[key].attrs["long_name"],
                            number(float(prediction[f"mean_{key}"])),
                            _interval(prediction[f"mean_{key}_interval"].values),
                        ]
                        for key in ("correlation", "cc_max", "cc_norm")
                    ),
                ]
            ),
        )
    )
    findings = observed.attrs["findings"].splitlines() or ["Every planned trial came back once."]
    sections.append(
        section(
            "What came back",
            f"{observed.sizes['trial']} trials were planned, {observed.sizes['neuron']} neurons "
            "found again.",
            "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in findings) + "</ul>",
        )
    )
    sections.append(section("Stimuli", "Of some neurons, as planned.", _gallery(folder)))
    return write_page(
        path,
        "Inception loop",
        f"plan {folder / 'plan.toml'}, seed {plan.seed}, twinlab {__version__}",
        *sections,
    )


def say_what_is_shown(confusion: xr.Dataset, controls: xr.Dataset | None) -> list[str]:
    """Plain sentences of what a comparison shows and what it does not.

    Parameters
    ----------
    confusion : xarray.Dataset
        Of `loop.compare_confusion`.
    controls : xarray.Dataset, optional
        Of `loop.compare_controls`.

    Returns
    -------
    list of str

    """
    share, chance = (float(confusion[f"share_best_for_it{k}"]) for k in ("", "_chance"))
    p = float(confusion.mean_specificity_p_value)
    settings = json.loads(confusion.attrs["settings"])
    kind, expect = settings["kind"].upper(), settings["expect"]
    more = "larger" if expect == "most" else "smaller"
    lines = [
        f"{share:.0%} of the neurons answer {expect} to the {kind} that was made for them (chance "
        f"{chance:.0%})."
    ]
    if p < LEVEL:
        lines.append(f"The stimuli are the neurons' own (p = {p:.2g}, stimuli permuted).")
    else:
        lines.append(
            f"That the stimuli are the neurons' own is not shown (p = {p:.2g}, stimuli permuted)."
        )
    if controls is not None:
        for i, name in enumerate(controls.control.values.astype(str)):
            ratio, p = float(controls.median_ratio[i]), float(controls.population_p_value[i])
            shown = more if p < LEVEL else f"not shown to be {more}"
            lines.append(
                f"Responses are {number(ratio)} times those to the control {name} (median), "
                f"{shown} (p = {p:.2g})."
            )
    return lines


def _confusion(confusion: xr.Dataset) -> str:
    matrix = confusion.confusion.values
    limit = float(np.nanmax(np.abs(matrix)))
    drawn = pixels(matrix, (-limit, limit), "confusion matrix")
    words = "Rows: the neuron a stimulus was made for. Columns: the neuron that answers."
    return f'<div class="gallery"><figure>{drawn}<figcaption>{words}</figcaption></figure></div>'


def _controls(controls: xr.Dataset | None) -> str:
    if controls is None:
        return ""
    rows = [["control", "median ratio", "95 % interval", "neurons for which it holds (q < 0.05)"]]
    for i, name in enumerate(controls.control.values.astype(str)):
        q = controls.q_value.values[i]
        rows.append(
            [
                name,
                number(float(controls.median_ratio[i])),
                _interval(controls.median_ratio_interval.values[i]),
                f"{int((q < LEVEL).sum())} of {int(np.isfinite(q).sum())}",
            ]
        )
    return table(rows)


def _interval(bounds: np.ndarray) -> str:
    return f"{number(bounds[0])} to {number(bounds[1])}"


def _gallery(folder: Path) -> str:
    key = read_key(folder / "export")
    made_for = key.neuron_id.values.astype(str)
    first = list(dict.fromkeys(made_for.tolist()))[:N_EXAMPLES]
    tiles = []
    for neuron in first:
        for i in np.flatnonzero(made_for == neuron):
            words = escape(f"{key.kind.values[i]}, neuron {neuron}")
            picture = pixels(key.stimulus.values[i].mean(0), words=words)
            tiles.append(f"<figure>{picture}<figcaption>{words}</figcaption></figure>")
    return f'<div class="gallery">{"".join(tiles)}</div>'
