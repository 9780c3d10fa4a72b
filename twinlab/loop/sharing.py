"""Images that the recording and the loop's session both show: the neurons' fingerprints."""

from __future__ import annotations

import numpy as np
import xarray as xr

from twinlab.loop.repeats import mean_repeats
from twinlab.schema import InputError

__all__ = ["add_shared", "mean_shared", "pick_shared"]

KIND = "shared"


def pick_shared(recording: xr.Dataset, n: int) -> np.ndarray:
    """Choose images of a recording to show again: those that its tests repeat most.

    Parameters
    ----------
    recording : xarray.Dataset
    n : int

    Returns
    -------
    ndarray of int, shape (n,)
        Positions along `image`.

    Raises
    ------
    InputError
        If fewer are repeated.

    """
    tested = recording.stimulus_index.values[recording.split.values.astype(str) == "test"]
    count = np.bincount(tested, minlength=recording.sizes["image"])
    if (count > 1).sum() < n:
        msg = (
            f"The recording repeats {(count > 1).sum()} images for testing, but "
            f"`presentation.shared` is {n}; plan at most as many."
        )
        raise InputError(msg)
    return np.sort(np.argsort(-count, kind="stable")[:n])


def add_shared(stimuli: xr.Dataset, recording: xr.Dataset, n: int) -> xr.Dataset:
    """Stimuli of `gather_stimuli` with `n` images of the recording after them.

    They are of kind "shared", made for no neuron, and have no mask; `stimulus_id` holds their
    position in the recording, "shared-17".

    Raises
    ------
    InputError
        As `pick_shared`.

    """
    if not n:
        return stimuli
    picked = pick_shared(recording, n)
    images = recording.stimulus.isel(image=picked).values.astype(np.float32)
    named = {
        "stimulus_id": [f"{KIND}-{i}" for i in picked], "kind": [KIND] * n, "session": [""] * n,
        "neuron_id": [""] * n,
    }  # fmt: skip
    mask = np.full((n, *images.shape[2:]), np.nan, stimuli.mask.dtype)
    shared = xr.Dataset(
        {
            "stimulus": (("stimulus", "channel", "y", "x"), images),
            "mask": (("stimulus", "y", "x"), mask),
        },
        {name: ("stimulus", values) for name, values in named.items()},
    )
    return xr.concat([stimuli, shared], "stimulus", combine_attrs="override")


def mean_shared(recording: xr.Dataset, responses: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean responses to the shared images, in the recording and in the session.

    Parameters
    ----------
    recording : xarray.Dataset
    responses : xarray.Dataset
        Of `import_responses`.

    Returns
    -------
    before : ndarray of shape (n_image, n_neuron)
    after : ndarray of shape (n_image, n_unit)
        NaN where there was no response. Images that no unit has a response to are left out.

    """
    names = np.unique(responses.stimulus_id.values[responses.kind.values == KIND].astype(str))
    index = recording.stimulus_index.values
    before, after = [], []
    for name in names:
        later = responses.response.values[responses.stimulus_id.values == name]
        if not np.isfinite(later).any():
            continue
        number = int(name.rpartition("-")[2])
        before.append(
            mean_repeats(recording.response[np.flatnonzero(index == number)].values[None])[0]
        )
        after.append(mean_repeats(later[None])[0])
    return np.array(before), np.array(after)
