"""Trials under other names, so that comparisons read one form: a stimulus a kind and neuron."""

from __future__ import annotations

import numpy as np
import xarray as xr

__all__ = ["lend_stimuli", "pool_kinds"]


def pool_kinds(observed: xr.Dataset, kinds: list[str], name: str) -> xr.Dataset:
    """Take all stimuli of some kinds that were made for one neuron as one stimulus.

    Parameters
    ----------
    observed : xarray.Dataset
        `response` (trial, neuron) with `stimulus_id`, `kind` and `made_for` along `trial`.
    kinds : list of str
    name : str
        Kind under which they are found afterwards.

    Returns
    -------
    xarray.Dataset
        The same trials: repeats of all images of a set are repeats of the set.

    """
    pooled = np.isin(observed.kind.values.astype(str), kinds)
    made_for = observed.made_for.values.astype(str)
    of_set = np.char.add(f"{name}-", made_for)
    return observed.assign_coords(
        kind=("trial", np.where(pooled, name, observed.kind.values.astype(str))),
        stimulus_id=("trial", np.where(pooled, of_set, observed.stimulus_id.values.astype(str))),
    )


def lend_stimuli(
    observed: xr.Dataset, kind: str, name: str, center: dict[str, tuple[float, float]]
) -> xr.Dataset:
    """Give each neuron the stimulus made for the one whose receptive field lies closest.

    Parameters
    ----------
    observed : xarray.Dataset
        As of `pool_kinds`.
    kind : str
        Of the stimuli lent.
    name : str
        Kind under which they are found afterwards.
    center : dict of str to (float, float)
        Where the receptive field of each neuron lies. One of which it is NaN neither lends nor
        borrows.

    Returns
    -------
    xarray.Dataset
        `observed` with the trials of these stimuli once more, of kind `name` and made for the
        neuron that borrows.

    """
    of_kind = np.flatnonzero(observed.kind.values.astype(str) == kind)
    made_for = observed.made_for.values.astype(str)[of_kind]
    lender = [one for one in sorted(set(made_for)) if np.isfinite(center[one]).all()]
    if len(lender) < 2:
        return observed
    place = np.array([center[one] for one in lender])
    distance = np.linalg.norm(place[:, None] - place, axis=-1)
    np.fill_diagonal(distance, np.inf)
    parts = [observed]
    for one, nearest in zip(lender, distance.argmin(1), strict=True):
        lent = of_kind[made_for == lender[nearest]]
        labels = {"kind": name, "made_for": one, "stimulus_id": f"{name}-{one}"}
        again = observed.isel(trial=lent)
        parts.append(
            again.assign_coords(
                {key: ("trial", np.full(len(lent), value)) for key, value in labels.items()}
            )
        )
    return xr.concat(parts, "trial", data_vars="minimal", coords="minimal")
