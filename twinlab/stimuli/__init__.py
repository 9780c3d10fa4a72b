"""Labelled images from parameters: gratings, Gabors, noise, dead leaves.

Every ``make_`` function returns a DataArray named `stimulus` in grey levels, its
parameters as coordinates along `image`. Positions are in pixels, x rightwards and y
downwards from the centre of the first pixel. Orientations are those of the bars, in
degrees counter-clockwise from horizontal as seen on the screen.
"""

from twinlab.stimuli.dead_leaves import make_dead_leaves, make_dead_leaves_video
from twinlab.stimuli.gratings import (
    gabor_patches,
    make_drifting_gratings,
    make_gabors,
    make_grating_grid,
    make_gratings,
)
from twinlab.stimuli.noise import make_noise

__all__ = [
    # periodic
    "gabor_patches",
    "make_drifting_gratings",
    "make_gabors",
    "make_grating_grid",
    "make_gratings",
    # random
    "make_dead_leaves",
    "make_dead_leaves_video",
    "make_noise",
]
