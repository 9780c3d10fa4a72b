"""The MEI studio: an optimal stimulus as it grows, stopped, branched, judged by another twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
import param
import xarray as xr

from twinlab import plots
from twinlab.explorers.looks import badge, card, drawn, words
from twinlab.explorers.making import BRANCHES, OBJECTIVES, SETTINGS, Made, write
from twinlab.explorers.studio import Studio
from twinlab.explorers.views import bare
from twinlab.plots.images import beside
from twinlab.twins.familiarity import image_statistics

__all__ = ["MEIStudio"]

LEFT, MIDDLE, RIGHT = 300, 392, 426  # of the cards' contents, in pixels
WIDE = LEFT + MIDDLE + RIGHT + 76
COLUMNS, TILE = 8, 144  # of the galleries: pictures in a row, and the width of one
TITLES = {
    "norm": "norm (SD of pixels)",
    "contrast": "RMS contrast",
    "blur_sigma": "blur (px)",
    "fourier_exponent": "Fourier exponent",
    "jitter": "jitter (px)",
    "n_step": "steps",
    "n_start": "starts",
}


class MEIStudio(Studio):
    """An optimal stimulus of the chosen neuron as it grows; paused, branched, kept, judged."""

    title = "MEI studio"
    about = "Watch an optimal stimulus grow, stop it, branch it, and ask another twin about it."

    def lay_out(self) -> pn.Column:
        """Build the page."""
        styles = {"gap": "12px"}
        cards = self._settings_card(), self._image_card(), self._course_card()
        top = pn.Row(*cards, margin=0, styles=styles | {"flex-wrap": "wrap"})
        return pn.Column(top, self._kept_card(), margin=0, styles=styles)

    def _settings_card(self) -> pn.Column:
        half = LEFT // 2 - 12
        sliders: list[Any] = []
        for name, label in TITLES.items():
            whole = isinstance(self.param[name], param.Integer)
            kind = pn.widgets.IntSlider if whole else pn.widgets.FloatSlider
            slider = kind.from_param(
                self.param[name], label=label, width=half, margin=(2, 8, 2, 2)
            )
            slider.disabled = pn.bind(
                partial(self._is_idle, name), self.param.objective, self.param.constraint
            )
            sliders.append(slider)
        neuron = pn.widgets.IntInput.from_param(
            self.lab.param.neuron, label="neuron", width=half - 8
        )
        seed = pn.widgets.IntInput.from_param(self.param.seed, label="seed", width=half - 8)
        objective = pn.widgets.Select.from_param(
            self.param.objective, label="objective", width=LEFT - 30
        )
        held = pn.widgets.Select.from_param(
            self.param.constraint, label="held fixed", width=LEFT - 30
        )
        held.disabled = pn.bind(partial(self._is_idle, "constraint"), self.param.objective)
        grid = pn.GridBox(*sliders, pn.Spacer(), neuron, seed, ncols=2, margin=0)
        note = "What does not apply to the objective is greyed out."
        return card("What is asked for", note, objective, held, grid, width=LEFT)

    def _counts(self, name: str) -> bool:
        """Whether a setting has an effect as things stand."""
        used = SETTINGS[OBJECTIVES[self.objective]]
        by_contrast = "constraint" in used and self.constraint == "RMS contrast"
        if name in ("norm", "contrast"):
            return by_contrast == (name == "contrast")
        return name in used

    def _is_idle(self, name: str, *_: Any) -> bool:
        return not self._counts(name)

    def _image_card(self) -> pn.Column:
        running, options = self.lab.param.running, {"margin": (4, 6, 4, 0)}

        def button(
            label: Any, act: Callable[[], Any], width: int, disabled: Any, **more: Any
        ) -> pn.widgets.Button:
            made = pn.widgets.Button(
                label=label, width=width, disabled=disabled, **(options | more)
            )
            made.on_click(lambda _: act())
            return made

        idle = pn.bind(lambda running: not running, running)
        fixed = pn.bind(
            lambda running, objective: running or OBJECTIVES[objective] not in BRANCHES,
            running,
            self.param.objective,
        )
        pausing = pn.bind(lambda paused: "Resume" if paused else "Pause", self.lab.param.paused)
        return card(
            "The stimulus",
            "Branch: go on from the image shown, with the settings as they are then.",
            self._patched(self._draw_image, lambda: [{"image": [beside(self.image)]}], ["studio"]),
            words(self._work(), MIDDLE),
            pn.Row(
                button("Run", self.run, 86, running, color="primary"),
                button(pausing, self.lab.pause, 86, idle),
                button("Cancel", self.lab.cancel, 86, idle),
                button("Branch", self.branch, 86, fixed),
                margin=0,
            ),
            pn.Row(
                button("Verify on a second twin", self.verify, 180, running),
                self._leads_to("stimulus", "Send to bench", self.send, width=130, **options),
                margin=0,
            ),
            width=MIDDLE,
        )

    def _course_card(self) -> pn.Column:
        return card(
            "On the way, and the spectrum",
            "Above: response that the first start has reached. Below: contrast by octave of "
            "spatial frequency; grey: training images, 1st to 99th percentile.",
            self._view(self._draw_course, ["studio"]),
            self._view(self._draw_octaves, ["studio"]),
            words(pn.bind(self._say_shown, self.news.param.counter), RIGHT),
            width=RIGHT,
        )

    def _kept_card(self) -> pn.Column:
        wide = {"max-width": "100%", "overflow-x": "auto"}
        kept, parts = (drawn(styles=wide) for _ in range(2))
        again = pn.widgets.Select(label="show again", options={}, width=420, margin=(4, 0))

        def follow(_: Any) -> None:
            kept.object, parts.object = self._draw_kept(), self._draw_parts()
            named = {f"{n}: {_name(made)}": made for n, made in enumerate(self.kept, 1)}
            again.param.update(options=named, value=self.shown)

        def choose(event: param.parameterized.Event) -> None:
            if event.new is not None and event.new is not self.shown:
                self.look_at(event.new)

        self.news.param.watch(follow, "counter")
        again.param.watch(choose, "value")
        return card(
            "Kept",
            "Tap one, or choose it below, to see it again. Below each: the response it drives "
            "and, after the bar, the other twin's. Second row: where the starts of the one shown "
            "ended, or its set.",
            kept,
            parts,
            again,
            width=WIDE,
        )

    # What is drawn and said

    def _draw_image(self) -> hv.Image:
        image = xr.DataArray(self.image, dims=("channel", "y", "x"))
        return bare(plots.plot_image(image, limits=self.lab.limits, width=MIDDLE - 60))

    def _draw_course(self) -> hv.Overlay:
        return bare(plots.plot_ascent(self.ascent(), size=(RIGHT - 70, 120)))

    def _draw_octaves(self) -> hv.Overlay:
        own = image_statistics(self.image[None]).isel(image=0)
        training = self.lab.findings.training
        return bare(plots.plot_octaves(own, training, size=(RIGHT - 70, 120)))

    def _draw_kept(self) -> hv.Overlay | None:
        if not self.kept:
            return None
        images = np.stack([made.picture.values for made in self.kept])
        wall = xr.DataArray(images, dims=("image", "channel", "y", "x"))
        gallery = self._gallery(wall, [made.caption for made in self.kept])

        def choose(x: float | None, y: float | None) -> None:
            if x is not None and y is not None:
                number = plots.tile_at(x, y, wall, columns=COLUMNS, width=_breadth(len(wall)))
                if number is not None:
                    self.look_at(self.kept[number])

        hv.streams.Tap(source=gallery.get(0)).add_subscriber(choose)
        return gallery

    def _draw_parts(self) -> hv.Overlay | None:
        return None if self.shown is None else self._gallery(*self.shown.parts)

    def _gallery(self, images: xr.DataArray, captions: list[str]) -> hv.Overlay:
        return bare(
            plots.plot_gallery(
                images,
                captions,
                columns=COLUMNS,
                limits=self.lab.limits,
                width=_breadth(len(images)),
            )
        )

    def _say_shown(self, *_: Any) -> str:
        made = self.shown
        if made is None:
            return badge("nothing made yet", "none")
        result, units = made.result.isel(neuron=0), escape(self.lab.units)
        said = f"Neuron {made.neuron}, {_name(made)}.<br>"
        if made.experiment == "diverse":
            return (
                said + f"{int(result.reached.sum())} of {result.sizes['image']} excite as asked."
            )
        said += f"Response <b>{float(result.activation):.3g}</b> {units}; agreement of the starts "
        agreement = float(result.start_agreement)
        said += f"{agreement:.2f}." if np.isfinite(agreement) else "undefined (one start)."
        if made.experiment == "suppressor":
            said += f"<br>It takes away {100 * float(result.suppression):.0f} % of the response."
        if "activation_other" in result:
            best = max(
                float(result.activation_natural_other), float(result.activation_gabor_other)
            )
            said += (
                f"<br>On the second twin {float(result.activation_other):.3g}; the best natural "
                f"image or Gabor of the same norm {best:.3g} there."
            )
        elif self.lab.findings.other is None:
            said += "<br>" + badge("no second twin to verify on", "none")
        else:
            said += "<br>" + badge("not verified on the second twin", "none")
        return said

    # What can be taken away

    def ascent(self) -> xr.DataArray:
        """Response that the first start of the last run had reached: (step)."""
        step, value = np.array(self.course, float).reshape(-1, 2).T
        name = "mean response beside the base" if self.asked == "suppressor" else "response"
        return xr.DataArray(
            value,
            dims="step",
            name="activation",
            coords={"step": ("step", step, {"long_name": "step", "units": "1"})},
            attrs={"long_name": name, "units": self.lab.units},
        )

    def figures(self) -> Mapping[str, Callable[[], hv.Dimensioned]]:
        """Image, way up, spectrum, and what was kept."""
        gallery = {"kept": self._draw_kept, "starts": self._draw_parts} if self.kept else {}
        return {
            "stimulus": self._draw_image,
            "ascent": self._draw_course,
            "spectrum": self._draw_octaves,
            **gallery,
        }

    def tables(self) -> Mapping[str, Callable[[], xr.Dataset | None]]:
        """What is shown, as `insilico` returned it, and the way up."""
        return {
            "stimulus": lambda: None if self.shown is None else self.shown.as_result(),
            "ascent": lambda: self.ascent().to_dataset(),
        }

    def calls(self) -> list[str]:
        """How what is shown is made again."""
        return [] if self.shown is None else write(self.shown)


def _breadth(n_image: int) -> int:
    """Width of a gallery on the screen, in pixels."""
    return TILE * min(n_image, COLUMNS)


def _name(made: Made) -> str:
    """What was asked for, in words: what is held fixed, and what is not as usual."""
    settings = made.settings
    name = next(name for name, experiment in OBJECTIVES.items() if experiment == made.experiment)
    fixed = settings.get("constraint", "norm")
    held = "" if fixed == "norm" else f"{fixed} "
    held += (
        f"{settings['contrast']:g}" if fixed == "RMS contrast" else f"norm {settings['norm']:g}"
    )
    told = [
        f"{TITLES.get(key, key)} {settings[key]:g}"
        for key in ("blur_sigma", "fourier_exponent", "jitter", "n_step", "n_start", "seed")
        if key in settings and settings[key] != MEIStudio.param[key].default
    ]
    branched = [] if made.start is None else ["branched"]
    return f"{name}, " + ", ".join([held, *told, *branched])
