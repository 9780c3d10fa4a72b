"""Stimuli of all kinds, made for all units, in one Dataset to be shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from twinlab.schema import InputError

__all__ = ["gather_stimuli", "neuron_names"]

CONTROLS = ("natural", "gabor")  # as `insilico.cross_examine` adds them


def gather_stimuli(
    results: Sequence[xr.Dataset], controls: Sequence[str] = CONTROLS
) -> xr.Dataset:
    """Put the stimuli that experiments made, and their controls, one after the other.

    Parameters
    ----------
    results : sequence of xarray.Dataset
        Of `synthesize_mei`, `synthesize_lei` or `cross_examine`, of the same size: each has a
        stimulus a neuron, named like its experiment, and may have controls. Those of MEIs keep
        their names; those of LEIs are "natural-lei" and "gabor-lei".
    controls : sequence of str
        Which of the controls to take along.

    Returns
    -------
    xarray.Dataset
        `stimulus` (stimulus, channel[, frame], y, x) in grey levels with, along `stimulus`,
        `stimulus_id`, `kind`, and `neuron_id` and `session` of the neuron it was made for; `mask`
        (stimulus, y, x) where the results have them, NaN otherwise. `left_out` names neurons for
        which there is no stimulus of a kind.

    Raises
    ------
    InputError
        If nothing is left, a kind comes twice, or results hold no stimuli.

    """
    images, masks, rows, left_out = [], [], [], []
    for result in results:
        main = str(result.attrs.get("experiment"))
        dims = result[main].dims[1:] if main in result else ()
        if dims not in (("channel", "y", "x"), ("channel", "frame", "y", "x")):
            msg = (
                f"A result of experiment {main!r} holds no `{main}` (neuron, channel[, frame], y, "
                "x); expected results of `synthesize_mei` or `synthesize_lei`."
            )
            raise InputError(msg)
        empty = np.full((result.sizes["y"], result.sizes["x"]), np.nan, np.float32)
        for kind in (main, *(name for name in controls if name in result)):
            label = kind if kind == main or main == "mei" else f"{kind}-{main}"
            for i, image in enumerate(result[kind].values):
                unit = (str(result.session.values[i]), str(result.neuron_id.values[i]))
                name = "-".join((label, *unit))
                if not np.isfinite(image).all():
                    left_out.append(name)
                    continue
                images.append(image)
                masks.append(result.mask.values[i] if "mask" in result else empty)
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
                ("stimulus", *dims),
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


def neuron_names(session: np.ndarray, neuron_id: np.ndarray) -> list[str]:
    """One name for each neuron, whatever session it is of: "session/neuron_id"."""
    return [f"{s}/{n}" for s, n in zip(session.astype(str), neuron_id.astype(str), strict=True)]
