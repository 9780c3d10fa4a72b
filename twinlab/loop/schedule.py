"""Which stimulus is shown when: blocks in random order, under names that tell nothing."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import xarray as xr

from twinlab.schema import InputError, check_seed

__all__ = ["BLANK", "make_schedule"]

BLANK = "blank"  # `stimulus_id` of the grey screen


def make_schedule(
    stimulus_id: Sequence[str],
    *,
    n_repeat: int = 10,
    n_blank: int = 0,
    on_s: float = 0.5,
    off_s: float = 0.5,
    seed: int = 0,
) -> xr.Dataset:
    """Order stimuli at random, blinded.

    Each block shows every stimulus once, so that whatever changes slowly (arousal, adaptation,
    bleaching) changes all stimuli's means alike. Blanks lie as evenly within a block as they can,
    the first somewhere at random. No stimulus is shown twice in a row.

    Parameters
    ----------
    stimulus_id : sequence of str
        Each once.
    n_repeat : int
        Blocks.
    n_blank : int
        Blank trials in each block.
    on_s, off_s : float
        Seconds that a stimulus, and the grey screen after it, is shown.
    seed : int

    Returns
    -------
    xarray.Dataset
        Along `trial`, in the order of presentation: `code`, under which the stimulus is exported
        and shown, `stimulus_id` behind it, `block`, and `onset_s`. Codes are numbers drawn at
        random, by the seed and the names of the stimuli, so that neither they nor their order
        tell what a stimulus is.

    Raises
    ------
    InputError
        If a name comes twice or is that of the blank, or a number is out of range.

    """
    names = [str(name) for name in stimulus_id]
    faults = sorted({name for name in names if names.count(name) > 1 or name == BLANK})
    if faults or not names:
        what = f"has {faults[0]!r} twice, or as a name of its own" if faults else "is empty"
        msg = f"`stimulus_id` {what}; expected different names, none of them {BLANK!r}."
        raise InputError(msg)
    if n_repeat < 1 or not 0 <= n_blank <= len(names) or on_s <= 0 or off_s < 0:
        msg = (
            f"`n_repeat` must be at least 1, `n_blank` 0 to {len(names)} (the stimuli there are), "
            f"`off_s` at least 0 and `on_s` above 0, but got {n_repeat}, {n_blank}, {off_s:g} and "
            f"{on_s:g}."
        )
        raise InputError(msg)
    if n_repeat > 1 and len(names) + min(n_blank, 1) < 2:
        msg = "One stimulus cannot be repeated without being shown twice in a row; add a blank."
        raise InputError(msg)
    # Of the stimuli too: who has seen the codes of one loop does not know those of the next.
    own = zlib.crc32("\n".join(names).encode())
    generator = np.random.default_rng([check_seed(seed), 5, own])
    every = [*names, BLANK] if n_blank else names
    digits = max(3, len(str(len(every))))
    code = [f"s{i:0{digits}d}" for i in 1 + generator.permutation(len(every))]
    blocks: list[np.ndarray] = []
    for _ in range(n_repeat):
        order = _block(len(names), n_blank, generator)
        while blocks and order[0] == blocks[-1][-1]:
            order = _block(len(names), n_blank, generator)
        blocks.append(order)
    shown = np.concatenate(blocks)
    block = np.repeat(np.arange(n_repeat), len(names) + n_blank)
    onset = np.arange(len(shown)) * (on_s + off_s)
    schedule = xr.Dataset(
        coords={
            "code": ("trial", np.array(code)[shown], {"long_name": "name of the stimulus shown"}),
            "stimulus_id": ("trial", np.array(every)[shown], {"long_name": "stimulus"}),
            "block": ("trial", block, {"long_name": "block, counted from 0"}),
            "onset_s": ("trial", onset, {"long_name": "planned onset", "units": "s"}),
        },
        attrs={"on_s": on_s, "off_s": off_s, "seed": seed, "n_repeat": n_repeat},
    )
    return schedule.assign_coords(trial=np.arange(len(shown)))


def _block(n: int, n_blank: int, generator: np.random.Generator) -> np.ndarray:
    """Positions of all stimuli in random order, blanks (position n) spread between them."""
    order = generator.permutation(n)
    first = generator.uniform()  # of evenly spaced places, of which each trial has one
    place = np.floor((np.arange(n_blank) + first) * (n + 1) / max(n_blank, 1)).astype(int)
    return np.insert(order, np.minimum(place, n), n)
