"""What is shown to the twin: a stimulus from sliders, or an image that was sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import param
import xarray as xr

from twinlab import stimuli
from twinlab.twins import StimulusSpec

__all__ = ["STIMULUS", "Shown"]

KINDS = ["grating", "round grating", "Gabor", "plaid", "noise", "bar", "drawing", "image"]
# Which of the parameters a kind of stimulus hangs on, after the kind itself.
WAVE = ["orientation", "spatial_frequency", "phase", "contrast"]
USED = {
    "grating": WAVE,
    "round grating": [*WAVE, "x", "y", "size"],
    "Gabor": [*WAVE, "x", "y", "size"],
    "plaid": [*WAVE, "mask_orientation", "x", "y", "size"],
    "noise": ["contrast", "exponent", "seed"],
    "bar": ["orientation", "contrast", "ink", "x", "y", "size", "breadth"],
    "drawing": ["strokes"],
    "image": ["image"],
}
# All that a stimulus hangs on; a view of it is drawn again when any of these changes.
STIMULUS = ["kind", *dict.fromkeys(name for names in USED.values() for name in names)]


class Shown(param.Parameterized):
    """Parameters of one stimulus on the canvas of a twin.

    Parameters
    ----------
    spec : StimulusSpec
        Of the twin: size, channels and grey levels of what can be shown to it.
    **params
        Initial values.

    """

    kind: Any = param.Selector(
        objects=KINDS,
        default="Gabor",
        doc="Stimulus: full-field grating, grating in a round window, Gabor patch, plaid (two "
        "gratings in a round window), noise, bar, what is drawn by hand, or an image.",
    )
    orientation = param.Number(
        0.0, bounds=(0, 180), step=5, doc="Of the bars, in degrees from horizontal, rising right."
    )
    spatial_frequency = param.Number(0.1, bounds=(0.02, 0.3), step=0.01, doc="Cycles per pixel.")
    phase = param.Number(
        0.0, bounds=(0, 360), step=15, doc="Degrees; 0 has a bright bar at the centre of a Gabor."
    )
    contrast = param.Number(
        0.8,
        bounds=(0, 1),
        step=0.05,
        doc="Michelson contrast, of a plaid both gratings together; Weber contrast of a bar; of "
        "noise the standard deviation of the pixels over their mean.",
    )
    mask_orientation = param.Number(
        90.0, bounds=(0, 180), step=5, doc="Of the bars of a plaid's second grating, in degrees."
    )
    exponent = param.Number(
        1.0,
        bounds=(0, 2),
        step=0.1,
        doc="Noise has amplitudes 1 / frequency ** exponent; 0: white.",
    )
    seed = param.Integer(0, bounds=(0, 999), doc="Which noise.")
    ink: Any = param.Selector(objects=["white", "black"], doc="Of a bar, and of what is drawn.")
    breadth = param.Number(
        3.0, bounds=(1, 16), step=0.5, doc="Of a bar, and of the brush, in pixels."
    )
    x = param.Number(0.0, bounds=(0, 1), step=1, doc="Centre from the left, in pixels.")
    y = param.Number(0.0, bounds=(0, 1), step=1, doc="Centre from the top, in pixels.")
    size = param.Number(
        4.0,
        bounds=(1, 32),
        step=0.5,
        doc="Radius of a round grating or plaid, standard deviation of a Gabor's envelope, or "
        "half the length of a bar, in pixels.",
    )
    strokes = param.List(
        [], doc="What was drawn by hand: see `stimuli.make_strokes`, in the order of drawing."
    )
    image: Any = param.Parameter(
        None, doc="Image shown where the kind is `image`: (channel, y, x) in grey levels, or None."
    )
    image_title = param.String("", doc="What that image is, in words.")

    def __init__(self, spec: StimulusSpec, **params: Any) -> None:
        super().__init__()
        self.canvas = spec
        self._made: tuple[list[Any], Any, xr.DataArray] | None = None
        self.param.x.bounds = (0, spec.width - 1)
        self.param.y.bounds = (0, spec.height - 1)
        self.param.size.bounds = (1, max(spec.height, spec.width) / 2)
        self.param.update(
            x=(spec.width - 1) / 2, y=(spec.height - 1) / 2, size=min(4.0, spec.height / 4)
        )
        self.param.update(**params)

    @property
    def limits(self) -> tuple[float, float]:
        """Grey levels that can be shown to the twin."""
        return self.canvas.low, self.canvas.high

    def show_image(self, image: np.ndarray, title: str) -> None:
        """Put an image on the bench in place of what the sliders describe.

        Parameters
        ----------
        image : ndarray of shape (channel, y, x)
            In grey levels.
        title : str
            What it is, for whoever reads the bench.

        Raises
        ------
        InputError
            If its size or channels are not those the twin sees.

        """
        image = np.asarray(image, np.float32)
        # a twin of videos will see it held still
        self.canvas.check(image[None, :, None] if self.canvas.is_video else image[None])
        self.param.update(kind="image", image=image, image_title=title)

    def recipe(self) -> tuple[str, dict[str, Any]]:
        """Name of the function of `stimuli` that makes the stimulus, and what it is given.

        Of an image that was sent there is no recipe, and the name is empty.
        """
        canvas: dict[str, Any] = {
            "height": self.canvas.height,
            "width": self.canvas.width,
            "channel": self.canvas.channel,
            "mean": float(self.canvas.mean),
        }
        wave: dict[str, Any] = {
            name: getattr(self, name) for name in ("orientation", "spatial_frequency", "phase")
        }
        here = (self.x, self.y)
        if self.kind == "image":
            return "", {}
        if self.kind == "drawing":
            return "make_strokes", {"strokes": self.strokes, **canvas}
        if self.kind == "noise":
            made = {"n": 1, "seed": self.seed, "exponent": self.exponent}
            return "make_noise", made | canvas | {"contrast": self.contrast}
        if self.kind == "bar":
            size = {"bar_width": self.breadth, "bar_length": 2 * self.size, "center": here}
            contrast = self.contrast if self.ink == "white" else -self.contrast
            return "make_bars", {
                "orientation": self.orientation,
                **size,
                "contrast": contrast,
            } | canvas
        window = {"center": here, "radius": self.size}
        if self.kind == "plaid":
            half = {"contrast": self.contrast / 2, "mask_contrast": self.contrast / 2}
            mask = {"mask_orientation": self.mask_orientation, "mask_phase": self.phase}
            return "make_plaids", wave | mask | half | window | canvas
        wave["contrast"] = self.contrast
        if self.kind == "Gabor":
            return "make_gabors", {"x": self.x, "y": self.y, **wave, "size": self.size} | canvas
        return "make_gratings", wave | (window if self.kind == "round grating" else {}) | canvas

    def stimulus(self) -> xr.DataArray:
        """Stimulus that is shown: (channel, y, x), in grey levels, as far as these can be shown.

        Of what was made here, `clipped_fraction` says which share of its pixels was outside. Not
        to be changed: whoever asks again gets the same.
        """
        state = [getattr(self, name) for name in STIMULUS if name != "image"]
        if self._made is None or self._made[0] != state or self._made[1] is not self.image:
            self._made = state, self.image, self._make()
        return self._made[2]

    def _make(self) -> xr.DataArray:
        name, settings = self.recipe()
        if not name:
            blank = np.full(self.canvas.shape, self.canvas.mean, np.float32)
            shown = blank if self.image is None else self.image
            return xr.DataArray(shown, dims=("channel", "y", "x"), name="stimulus")
        made = getattr(stimuli, name)(**settings)
        return stimuli.clip_stimulus(made, *self.limits).isel(image=0)
