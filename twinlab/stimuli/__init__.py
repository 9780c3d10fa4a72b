"""Labelled images and videos from parameters, from a seed, or from the user's files.

Every ``make_`` function returns a DataArray named `stimulus` in grey levels, (image, channel,
y, x) or (video, channel, frame, y, x), its parameters as coordinates along `image` or `video`.
Positions are in pixels, x rightwards and y downwards from the centre of the first pixel; with
`degrees_per_pixel`, lengths and positions are in degrees of visual angle and frequencies in
cycles per degree. Orientations are those of the bars, in degrees counter-clockwise from
horizontal as seen on the screen; things move in a direction of 0 degrees rightwards and of 90
upwards. A `seed` is all that chance depends on.
"""

from collections.abc import Callable

import xarray as xr

from twinlab.stimuli.bars import make_bars, make_strokes
from twinlab.stimuli.clouds import make_motion_clouds
from twinlab.stimuli.contrast import clip_stimulus, measure_contrast, set_contrast
from twinlab.stimuli.dead_leaves import make_dead_leaves, make_dead_leaves_video
from twinlab.stimuli.gabors import gabor_patches, make_gabors
from twinlab.stimuli.gratings import make_drifting_gratings, make_grating_grid, make_gratings
from twinlab.stimuli.motion import make_moving_bars, make_random_dots
from twinlab.stimuli.noise import make_noise
from twinlab.stimuli.pictures import load_images
from twinlab.stimuli.plaids import make_drifting_plaids, make_plaids
from twinlab.stimuli.sparse import make_sparse_noise
from twinlab.stimuli.spectra import make_random_phase, make_textures
from twinlab.stimuli.surrounds import (
    make_center_surrounds,
    make_drifting_center_surrounds,
)

__all__ = [
    # by name
    "SETS",
    # periodic
    "gabor_patches",
    "make_center_surrounds",
    "make_drifting_center_surrounds",
    "make_drifting_gratings",
    "make_drifting_plaids",
    "make_gabors",
    "make_grating_grid",
    "make_gratings",
    "make_plaids",
    # random
    "make_dead_leaves",
    "make_dead_leaves_video",
    "make_motion_clouds",
    "make_noise",
    "make_random_dots",
    "make_sparse_noise",
    # bars, and what is drawn by hand
    "make_bars",
    "make_moving_bars",
    "make_strokes",
    # from images
    "load_images",
    "make_random_phase",
    "make_textures",
    # contrast and range
    "clip_stimulus",
    "measure_contrast",
    "set_contrast",
]

# Sets that need nothing but numbers, by name.
SETS: dict[str, Callable[..., xr.DataArray]] = {
    "bars": make_bars,
    "center_surrounds": make_center_surrounds,
    "dead_leaves": make_dead_leaves,
    "dead_leaves_video": make_dead_leaves_video,
    "drifting_center_surrounds": make_drifting_center_surrounds,
    "drifting_gratings": make_drifting_gratings,
    "drifting_plaids": make_drifting_plaids,
    "gabors": make_gabors,
    "gratings": make_gratings,
    "motion_clouds": make_motion_clouds,
    "moving_bars": make_moving_bars,
    "noise": make_noise,
    "plaids": make_plaids,
    "random_dots": make_random_dots,
    "sparse_noise": make_sparse_noise,
}
