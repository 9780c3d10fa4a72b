"""The images among which the rounds of a loop choose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from twinlab.loop.folder import began_in
from twinlab.loop.plan import DEAD_LEAVES, Plan
from twinlab.schema import InputError
from twinlab.stimuli import load_images, make_dead_leaves

__all__ = ["open_pool"]


def open_pool(folder: Path, plan: Plan, recording: xr.Dataset) -> xr.DataArray:
    """Images that may be shown in the rounds of a loop, of the size of the recording's.

    Returns
    -------
    xarray.DataArray
        `stimulus` (image, channel, y, x), uint8, with the name of each as `image_id`.

    Raises
    ------
    InputError
        If the plan's folder holds too few images, or some cannot be read.

    """
    channel, height, width = recording.stimulus.shape[1:]
    if plan.rounds.pool == DEAD_LEAVES:
        # of another seed than images of the simulated cortex, which draws large ones
        pool = make_dead_leaves(plan.rounds.candidates, height, width, plan.seed, channel=channel)
        names = [f"leaves-{i}" for i in range(len(pool))]
        return pool.assign_coords(image_id=("image", names, {"long_name": "image"}))
    source = began_in(folder) / plan.rounds.pool
    pool = load_images(source, height=height, width=width, channel=channel)
    wanted = plan.rounds.number * plan.rounds.images
    if len(pool) < wanted:
        msg = (
            f"{source}: has {len(pool)} images, but {plan.rounds.number} rounds of "
            f"{plan.rounds.images} show {wanted}; give more, or plan fewer `rounds.images`."
        )
        raise InputError(msg)
    low, high = float(pool.min()), float(pool.max())
    if not 0 <= low <= high <= 255:  # an NPY file holds what it likes
        msg = f"{source}: has grey levels of {low:g} to {high:g}; expected 0 to 255, scale them."
        raise InputError(msg)
    others = [name for name in pool.coords if name != "image_id"]
    return pool.round().astype(np.uint8).drop_vars(others)
