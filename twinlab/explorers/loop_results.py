"""What a loop found: against controls, under its ceiling, with what power, after which round."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
import panel as pn
import xarray as xr

from twinlab import plots
from twinlab.cli.loop_words import (
    NOT_NOTHING,
    say_left_out,
    say_next_session,
    say_power,
    say_prediction,
    say_specificity,
    say_verification,
    say_what_is_shown,
)
from twinlab.explorers.looks import card, drawn, words
from twinlab.explorers.views import bare
from twinlab.loop import round_folder
from twinlab.schema import InputError, open_result

if TYPE_CHECKING:
    from twinlab.explorers.inception_loop import InceptionLoop

__all__ = ["LoopResults"]

WIDE, HALF = 1198, 580  # widths of cards' contents, in pixels
LARGE, SMALL = 706, 454
FRAMES = {"prediction": (165, 170), "power": (155, 170)}  # of panels; others are wider
FRAME = (190, 170)
N_ROUND = 8  # images of a round that are shown


class LoopResults:
    """Cards of what was found, below the matrix of an `InceptionLoop`.

    Parameters
    ----------
    view : InceptionLoop

    """

    def __init__(self, view: InceptionLoop) -> None:
        self.view = view
        self._panes = {
            name: pn.Row(margin=0, styles={"flex-wrap": "wrap"})
            for name in ("controls", "preference", "prediction", "power", "rounds", "chosen")
        }
        widths = {"shown": WIDE, "chosen": WIDE, "prediction": LARGE, "power": SMALL}
        self._words = {
            name: words("", widths.get(name, HALF))
            for name in ("shown", "controls", "preference", "prediction", "power", "chosen")
        }

    def cards(self) -> list[pn.Column]:
        """Build the cards, empty until `show`."""
        shown, panes = self._words, self._panes
        self._round = pn.widgets.IntSlider.from_param(
            self.view.param.round, label="round", width=180
        )
        self._rounds = card(
            "Rounds",
            "Validation correlation of the twin after each round, and images it chose in the one "
            "at the slider.",
            self._round,
            pn.Row(panes["rounds"], panes["chosen"], margin=0, styles={"flex-wrap": "wrap"}),
            shown["chosen"],
            width=WIDE,
        )
        return [
            card("What is shown, and what is not", "", shown["shown"], width=WIDE),
            card(
                "Against controls",
                "Response to the own stimulus against that to the own control. Dashed: equal; "
                "orange: median ratio with its 95 % interval; blue: shown by the neuron's own "
                "trials.",
                panes["controls"],
                shown["controls"],
                width=HALF,
            ),
            card(
                "Preference for the own stimulus",
                "Left: rank of the own stimulus, 1 the best; right: standardised response to it. "
                "Dashed: chance, and the mean.",
                panes["preference"],
                shown["preference"],
                width=HALF,
            ),
            card(
                "Predicted and measured",
                "Correlation over stimuli against its ceiling, its distribution, and in units of "
                "the ceiling.",
                panes["prediction"],
                shown["prediction"],
                width=LARGE,
            ),
            card(
                "Power",
                "Of a one-sided test over units to find the ratio in the title. Dashed: wanted; "
                "dotted: the units planned.",
                panes["power"],
                shown["power"],
                width=SMALL,
            ),
            self._rounds,
        ]

    def show(self) -> None:
        """Show anew all that the view has read."""
        known = self.known()
        controls, confusion, power = (known[name] for name in ("controls", "preference", "power"))
        self._draw("controls", controls, plots.plot_controls)
        self._draw("preference", confusion, plots.plot_specificity)
        self._draw("power", power, plots.plot_power)
        shown = self._say_shown(confusion, controls)
        self._words["shown"].value = _listed(shown) or "Nothing was compared yet."
        self._words["controls"].value = "" if controls is None else _table_of(controls)
        self._words["preference"].value = "" if confusion is None else _say_preference(confusion)
        self._words["power"].value = _listed(self._say_power(power))
        self.show_prediction()
        self._show_rounds(known["rounds"], known["chosen images"])

    def show_prediction(self) -> None:
        """Show how well the chosen twin predicted."""
        view = self.view
        result = view.prediction
        self._draw("prediction", result, _draw_agreement)
        if result is not None:
            said = escape(say_prediction(result))
        elif "responses" in view.groups and view.judge == "verifier":
            said = "asking the verifier about every stimulus …"
        else:
            said = "No responses yet."
        made = view.groups.get(view.objective)
        if made is not None and {"activation_other", "activation_natural_other"} <= set(made):
            said += f"<br>Before it was shown: {escape(say_verification(made))}"
        self._words["prediction"].value = said

    def _draw(
        self, name: str, result: xr.Dataset | None, draw: Callable[..., hv.Dimensioned]
    ) -> None:
        # One pane a panel: in one figure for all, panels lose their size.
        figure = [] if result is None else draw(result, size=FRAMES.get(name, FRAME))
        panels = list(figure) if isinstance(figure, hv.Layout | list) else [figure]
        self._panes[name][:] = [drawn(bare(panel)) for panel in panels]

    def _say_shown(self, confusion: xr.Dataset | None, controls: xr.Dataset | None) -> list[str]:
        groups, lines = self.view.groups, list[str]()
        tests = groups.get("tests")
        if confusion is not None or controls is not None:
            lines += say_what_is_shown(confusion, controls, tests)
        if "specificity" in groups and self.view.objective == "discriminating":
            lines += say_specificity(groups["specificity"], tests)
        lines = sorted(dict.fromkeys(lines), key=lambda line: line == NOT_NOTHING)
        if "responses" in groups and "key" in groups:
            lines += say_left_out(groups, self.view.manifest)
        return lines

    def _say_power(self, power: xr.Dataset | None) -> list[str]:
        planned = self.view.groups.get("power")
        lines = [] if planned is None else [say_power(planned)]
        if power is not None and "control" in power.dims:
            lines += say_next_session(power)
        return lines

    def _show_rounds(self, rounds: xr.Dataset | None, chosen: xr.Dataset | None) -> None:
        self._rounds.visible = rounds is not None
        if rounds is None or not rounds.sizes["round"]:
            return
        top = rounds.sizes["round"] - 1
        self._round.param.update(start=0, end=max(top, 1), disabled=top == 0)
        self._draw("rounds", rounds, plots.plot_rounds)
        at = self.view.round
        one = rounds.sel(round=at)
        self._words["chosen"].value = (
            f"{'After round ' + str(at) if at else 'Before the first round'}: "
            f"{int(one.n_trial)} training trials, validation correlation "
            f"<b>{float(one.validation_correlation):.3f}</b>"
        )
        self._draw("chosen", chosen, _draw_gallery)

    def chosen(self) -> xr.Dataset | None:
        """Images that the twin chose in the round that is shown; None of the first fit."""
        if not self.view.round or "rounds" not in self.view.groups:
            return None
        path = round_folder(self.view.folder, self.view.round) / "chosen.nc"
        return open_result(path) if path.is_file() else None

    def known(self) -> dict[str, xr.Dataset | None]:
        """What there is now of each, by name; None of what is not known."""
        view = self.view
        groups, kind = view.groups, view.objective
        return {
            "controls": groups.get(f"controls-{kind}"),
            "preference": groups.get(f"confusion-{kind}"),
            "prediction": view.prediction,
            "specificity": groups.get("specificity"),
            "tests": groups.get("tests"),
            "power": groups.get(f"power-{kind}", groups.get("power")),
            "rounds": groups.get("rounds"),
            "chosen images": self.chosen(),
        }

    def figures(self) -> dict[str, Callable[[], hv.Dimensioned]]:
        """Figures, each of what is known when it is asked for."""
        drawn = {
            "controls": plots.plot_controls,
            "preference": plots.plot_specificity,
            "prediction": plots.plot_agreement,
            "power": plots.plot_power,
            "rounds": plots.plot_rounds,
        }
        return {name: partial(self._draw_known, name, draw) for name, draw in drawn.items()}

    def _draw_known(self, name: str, draw: Callable[..., hv.Dimensioned]) -> hv.Dimensioned:
        result = self.known()[name]
        if result is None:
            msg = f"This loop has no {name} yet; take it away once its comparison is done."
            raise InputError(msg)
        return draw(result)

    def tables(self) -> dict[str, Callable[[], xr.Dataset | None]]:
        """Tables, each of what is known when it is asked for."""
        return {name: partial(self._get_known, name) for name in self.known()}

    def _get_known(self, name: str) -> xr.Dataset | None:
        return self.known()[name]


def _draw_agreement(result: xr.Dataset, size: tuple[int, int]) -> hv.Layout:
    """Draw all neurons at once, without the panels of single ones."""
    panels = list(plots.plot_agreement(result, n_shown=0, size=size))
    return hv.Layout(panels).opts(shared_axes=False).cols(3)


def _draw_gallery(chosen: xr.Dataset, **_: Any) -> hv.Overlay:
    shown = chosen.isel(stimulus=slice(0, N_ROUND))
    images = shown.stimulus.rename(stimulus="image")
    captions = [str(name) for name in shown.stimulus_id.values]
    return plots.plot_gallery(images, captions, columns=4, width=WIDE - 420)


def _say_preference(confusion: xr.Dataset) -> str:
    share, chance = (float(confusion[f"share_best_for_it{k}"]) for k in ("", "_chance"))
    low, high = confusion.share_best_for_it_interval.values
    return (
        f"<b>{share:.0%}</b> [{low:.0%}, {high:.0%}] of the neurons answer as expected to their "
        f"own stimulus (chance {chance:.0%})"
    )


def _table_of(controls: xr.Dataset) -> str:
    """Ratios to each control with their intervals, a line each."""
    lines = []
    for name in controls.control.values:
        one = controls.sel(control=name)
        low, high = one.median_ratio_interval.values
        mean_low, mean_high = one.ratio_of_means_interval.values
        median, mean = float(one.median_ratio), float(one.ratio_of_means)
        lines.append(
            f"{escape(str(name))}: median ratio <b>{_number(median)}</b> [{_number(low)}, "
            f"{_number(high)}], ratio of means {_number(mean)} [{_number(mean_low)}, "
            f"{_number(mean_high)}], {float(one.share_surpassed):.0%} of the neurons answer so"
        )
    return "<br>".join(lines)


def _number(value: float) -> str:
    if np.isnan(value):
        return "undefined"
    return f"{value:.2f}" if np.isfinite(value) else "infinite"


def _listed(lines: list[str]) -> str:
    return "<br>".join(escape(line) for line in lines)
