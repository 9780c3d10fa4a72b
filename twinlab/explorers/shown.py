"""What is shown to the twin: a stimulus from sliders, or an image that was sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import param
import xarray as xr

from twinlab import stimuli
from twinlab.twins import StimulusSpec

__all__ = ["STIMULUS", "Shown"]

KINDS = ["grating", "round grating", "Gabor", "image"]
# All that the stimulus hangs on; a view of it is drawn again when any of these changes.
STIMULUS = [
    "kind",
    "orientation",
    "spatial_frequency",
    "phase",
    "contrast",
    "x",
    "y",
    "size",
    "image",
]


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
        doc="Stimulus: full-field grating, grating in a round window, Gabor patch, or an image.",
    )
    orientation = param.Number(
        0.0, bounds=(0, 180), step=5, doc="Of the bars, in degrees from horizontal, rising right."
    )
    spatial_frequency = param.Number(0.1, bounds=(0.02, 0.3), step=0.01, doc="Cycles per pixel.")
    phase = param.Number(
        0.0, bounds=(0, 360), step=15, doc="Degrees; 0 has a bright bar at the centre of a Gabor."
    )
    contrast = param.Number(0.8, bounds=(0, 1), step=0.05, doc="Michelson contrast, 0 to 1.")
    x = param.Number(0.0, bounds=(0, 1), step=1, doc="Centre from the left, in pixels.")
    y = param.Number(0.0, bounds=(0, 1), step=1, doc="Centre from the top, in pixels.")
    size = param.Number(
        4.0,
        bounds=(1, 32),
        step=0.5,
        doc="Radius of a round grating, or standard deviation of a Gabor's envelope, in pixels.",
    )
    image: Any = param.Parameter(
        None, doc="Image shown where the kind is `image`: (channel, y, x) in grey levels, or None."
    )
    image_title = param.String("", doc="What that image is, in words.")

    def __init__(self, spec: StimulusSpec, **params: Any) -> None:
        super().__init__()
        self.canvas = spec
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

    def stimulus(self) -> xr.DataArray:
        """Stimulus that is shown: (channel, y, x), in grey levels."""
        canvas: dict[str, Any] = {
            "height": self.canvas.height,
            "width": self.canvas.width,
            "channel": self.canvas.channel,
            "mean": self.canvas.mean,
            "contrast": self.contrast,
        }
        wave = self.orientation, self.spatial_frequency, self.phase
        if self.kind == "image":
            blank = np.full(self.canvas.shape, self.canvas.mean, np.float32)
            shown = blank if self.image is None else self.image
            return xr.DataArray(shown, dims=("channel", "y", "x"), name="stimulus")
        if self.kind == "Gabor":
            made = stimuli.make_gabors(self.x, self.y, *wave, self.size, **canvas)
        elif self.kind == "round grating":
            made = stimuli.make_gratings(
                *wave, center=(self.x, self.y), radius=self.size, **canvas
            )
        else:
            made = stimuli.make_gratings(*wave, **canvas)
        return made.isel(image=0)
