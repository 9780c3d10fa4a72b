"""Stimuli of all kinds, made for all units, in one Dataset to be shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from twinlab.insilico import find_mask
from twinlab.loop.plan import name_control
from twinlab.schema import InputError

__all__ = ["gather_stimuli", "neuron_names"]

CONTROLS = ("natural", "gabor", "noise")  # as `cross_examine` and `match_noise` add them


def gather_stimuli(
    results: Sequence[xr.Dataset], controls: Sequence[str] = CONTROLS
) -> xr.Dataset:
    """Put the stimuli that experiments made, and their controls, one after the other.

    Parameters
    ----------
    results : sequence of xarray.Dataset
        Of `synthesize_mei`, `synthesize_lei`, `cross_examine`, `match_noise`,
        `synthesize_diverse`, `synthesize_discriminating` or `synthesize_suppressor`, of the same
        size. The kind of a stimulus is the name of its experiment; of diverse ones "diverse-1"
        and on; the suppressor is shown over its base, and that alone as "base-suppressor".
        Controls of MEIs keep their names; those of LEIs are "natural-lei" and the like.
    controls : sequence of str
        Which of the controls of MEIs and LEIs to take along.

    Returns
    -------
    xarray.Dataset
        `stimulus` (stimulus, channel[, frame], y, x) in grey levels with, along `stimulus`,
        `stimulus_id`, `kind`, and `neuron_id` and `session` of the neuron it was made for; `mask`
        (stimulus, y, x), where its contrast is: that of the MEI or LEI for its controls. The
        attribute `left_out` names neurons for which there is no stimulus of a kind.

    Raises
    ------
    InputError
        If nothing is left, a kind comes twice, or results hold no stimuli.

    """
    images, masks, rows, left_out = [], [], [], []
    for result in results:
        for label, pictures in _pictures(result, controls).items():
            for i, image in enumerate(pictures):
                unit = (str(result.session.values[i]), str(result.neuron_id.values[i]))
                name = "-".join((label, *unit))
                if not np.isfinite(image).all():
                    left_out.append(name)
                    continue
                images.append(image)
                masks.append(result.mask.values[i] if "mask" in result else find_mask(image))
                rows.append((name, label, *unit))
    names = [row[0] for row in rows]
    if not rows or len(set(names)) < len(names):
        twice = next((name for name in names if names.count(name) > 1), None)
        msg = "There is no stimulus to show." if not rows else f"Stimulus {twice} comes twice."
        raise InputError(msg)
    labels = ("name of the stimulus", "kind of stimulus", "session", "neuron it was made for")
    coords = {
        key: ("stimulus", list(column), {"long_name": words})
        for key, column, words in zip(
            ("stimulus_id", "kind", "session", "neuron_id"), zip(*rows, strict=True), labels,
            strict=True,
        )
    }  # fmt: skip
    return xr.Dataset(
        {
            "stimulus": (
                ("stimulus", "channel", *["frame"] * (images[0].ndim == 4), "y", "x"),
                np.stack(images).astype(np.float32),
                {"long_name": "stimulus", "units": "grey level"},
            ),
            "mask": (
                ("stimulus", "y", "x"),
                np.stack(masks),
                {"long_name": "where the stimulus has its contrast", "units": "1"},
            ),
        },
        coords,
        {"left_out": ", ".join(left_out)},
    )


def _pictures(result: xr.Dataset, controls: Sequence[str]) -> dict[str, np.ndarray]:
    """Stimuli of all neurons (neuron, channel, y, x), by kind."""
    main = str(result.attrs.get("experiment"))
    whole = "image" if main == "diverse" else main
    dims = ("channel", *["frame"] * ("frame" in result.dims), "y", "x")
    if whole not in result or result[whole].dims[-len(dims) :] != dims:
        msg = (
            f"A result of experiment {main!r} holds no `{whole}` (neuron, channel[, frame], y, "
            "x); expected one of `synthesize_mei` or another of `loop.plan.OBJECTIVES`."
        )
        raise InputError(msg)
    if main == "diverse":
        numbered = enumerate(result.image.values.swapaxes(0, 1), 1)
        return {f"diverse-{i}": images for i, images in numbered}
    if main == "suppressor":
        return {main: result.combined.values, f"base-{main}": result.base.values}
    own = {main: result[main].values}
    return own | {
        name_control(name, main): result[name].values for name in controls if name in result
    }


def neuron_names(session: np.ndarray, neuron_id: np.ndarray) -> list[str]:
    """One name for each neuron, whatever session it is of: "session/neuron_id"."""
    return [f"{s}/{n}" for s, n in zip(session.astype(str), neuron_id.astype(str), strict=True)]
