"""Results of neurons, kept under names: some known of all neurons, some of a few."""

from __future__ import annotations

import threading

import numpy as np
import xarray as xr

from twinlab.explorers.matching import positions_in
from twinlab.schema import InputError

__all__ = ["Known"]


class Known:
    """What is known of each neuron, by name.

    Parameters
    ----------
    labels : xarray.Dataset
        The neurons: their coordinates along `neuron`.

    """

    def __init__(self, labels: xr.Dataset) -> None:
        self.labels = labels
        self._busy = threading.Lock()
        # Results, and where each neuron is in them; -1 where it is not.
        self._of_all: dict[str, tuple[xr.Dataset, np.ndarray]] = {}
        self._of_one: dict[tuple[str, int], xr.Dataset] = {}

    def __len__(self) -> int:
        """Count the neurons."""
        return int(self.labels.sizes["neuron"])

    def known(self, name: str, neuron: int) -> xr.Dataset | None:
        """Return what is known under `name` of the neuron at that position; None if nothing.

        Raises
        ------
        InputError
            If there is no neuron at that position.

        """
        if not 0 <= neuron < len(self):
            msg = f"There is no neuron {neuron}; choose from 0 to {len(self) - 1}."
            raise InputError(msg)
        if (name, neuron) in self._of_one:
            return self._of_one[name, neuron]
        if name in self._of_all:
            result, positions = self._of_all[name]
            if positions[neuron] >= 0:
                return result.isel(neuron=positions[neuron])
        return None

    def of_all(self, name: str) -> bool:
        """Whether a result is known of all neurons, not only of those that were looked at."""
        return name in self._of_all

    def column(self, name: str, variable: str) -> xr.DataArray:
        """One value of each neuron, NaN where it is not known."""
        values, attrs = np.full(len(self), np.nan), {}
        if name in self._of_all:
            result, positions = self._of_all[name]
            here = positions >= 0
            values[here] = result[variable].values[positions[here]]
            attrs = result[variable].attrs
        for (kind, neuron), result in tuple(self._of_one.items()):
            if kind == name:
                values[neuron] = float(result[variable])
                attrs = result[variable].attrs
        return xr.DataArray(values, dims="neuron", name=variable, attrs=attrs)

    def known_of(self, name: str) -> np.ndarray:
        """Whether what was asked for by that name is known, of each neuron: bool (n_neuron,)."""
        known = self._of_all[name][1] >= 0 if name in self._of_all else np.zeros(len(self), bool)
        return np.asarray(known)

    def gathered(self, name: str) -> xr.Dataset | None:
        """Return what was asked for by that name, of all neurons it was; None if of none."""
        return self._of_all[name][0] if name in self._of_all else None

    def _match(self, what: str, labelled: xr.Dataset) -> np.ndarray:
        positions = positions_in(labelled, self.labels)
        n_neuron = np.size(labelled.neuron_id)
        if np.count_nonzero(positions >= 0) < n_neuron:
            msg = (
                f"{what} has {n_neuron} neurons, of which this twin's session "
                f"{str(self.labels.session.values[0])!r} knows "
                f"{np.count_nonzero(positions >= 0)}; give one of the same neurons."
            )
            raise InputError(msg)
        return positions
