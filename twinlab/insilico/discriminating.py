"""Stimuli that excite one neuron and none of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from twinlab.insilico.formats import stimuli_at_once
from twinlab.insilico.mei import ascend_neurons, label_ascended, synthesize_mei
from twinlab.insilico.objectives import Objective, separate_groups
from twinlab.insilico.responses import (
    Neurons,
    check_positive,
    chosen_positions,
    rates_of_batches,
)
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import ConditionedTwin

__all__ = ["synthesize_discriminating"]

BURG = "Burg et al. (2024), Most discriminative stimuli for functional cell type clustering, ICLR"


def synthesize_discriminating(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    rivals: Neurons = None,
    unit: np.ndarray | None = None,
    temperature: float = 0.3,
    norm: float = 7.0,
    n_start: int = 3,
    n_step: int = 100,
    blur_sigma: float = 1.0,
    n_frame: int = 30,
    seed: int = 0,
    batch_size: int = 128,
    job: Job | None = None,
) -> xr.Dataset:
    """Stimulus of each neuron that excites it and none of its rivals.

    A most exciting input may excite neurons of like tuning as much. Here the softmax over
    neurons of their rates, each in units of what its MEI evokes, is made as large as can be
    (`separate_groups`, with a group for each neuron).

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    rivals : sequence of int, optional
        Positions of the neurons to be told apart, `neurons` among them; `neurons` where absent.
    unit : array of shape (n_rival,), optional
        Rate of each rival that counts as 1; that of its MEI where absent. One whose unit is NaN or
        not positive is left out of account and gets no stimulus.
    temperature : float
        Of the softmax: differences well below it count in proportion.
    norm, n_start, n_step, blur_sigma, n_frame, seed, batch_size, job
        As of `synthesize_mei`.

    Returns
    -------
    xarray.Dataset
        `discriminating` in place of `mei`, and what else `synthesize_mei` returns; `objective`
        (neuron, start) is the logarithm of the softmax. `rival_activation` (neuron), the largest
        rate that it evokes in a rival, and `activation_share` (neuron), its own, in units of the
        MEI's.

    Raises
    ------
    InputError
        If a setting is out of range, `neurons` or `rivals` are not the twin's, or a neuron is not
        among the rivals.

    References
    ----------
    Burg et al. (2024), ICLR.

    """
    job = job or Job()
    check_positive(temperature=temperature)
    positions = chosen_positions(len(twin), neurons)
    others = chosen_positions(len(twin), positions if rivals is None else rivals)
    group = np.full(len(twin), -1)
    group[others] = np.arange(len(others))
    if (group[positions] < 0).any() or len(set(others.tolist())) < max(len(others), 2):
        msg = (
            "`rivals` must be two or more different neurons, the ones asked about among them, "
            f"but got {len(others)} for {len(positions)}."
        )
        raise InputError(msg)
    settings: dict[str, Any] = {
        "norm": norm, "n_start": n_start, "n_step": n_step, "blur_sigma": blur_sigma
    }  # fmt: skip
    ascent: dict[str, Any] = {"n_frame": n_frame, "seed": seed, "batch_size": batch_size}
    if unit is None:
        most = synthesize_mei(twin, others, **settings, **ascent, job=job.part(0, 0.3, "MEIs"))
        unit = most.activation.values
    if np.shape(unit) != others.shape:
        msg = f"`unit` must have one rate for each of {len(others)} rivals, not {np.shape(unit)}."
        raise InputError(msg)
    units = np.zeros(len(twin))
    units[others] = np.nan_to_num(unit)

    def tell_apart(twin: ConditionedTwin, asked: np.ndarray) -> Objective:
        return separate_groups(twin, group, group[asked], unit=units, temperature=temperature)

    _, ended = ascend_neurons(
        twin, positions, tell_apart, **settings, **ascent, job=job.part(0.3, 0.95, "ascent")
    )
    excited = np.repeat(units[positions] > 0, n_start)  # the others have nothing to be told by
    ended = ended._replace(value=np.where(excited, ended.value, np.nan))
    settings |= {"temperature": temperature, "n_rival": len(others)}
    settings |= {"n_frame": n_frame} if twin.spec.is_video else {}
    result = label_ascended(
        twin, positions, ended, n_start, "discriminating", "most discriminative stimulus",
        batch_size=batch_size, plain=False, seed=seed, settings=settings, job=job,
    ).assign_attrs(source=BURG)  # fmt: skip
    stimuli = np.nan_to_num(result.discriminating.values, nan=twin.spec.mean)
    at_once = stimuli_at_once(twin, n_frame, batch_size)
    rates = rates_of_batches(
        twin.neurons(others), np.split(stimuli, range(at_once, len(stimuli), at_once)),
        len(stimuli), job.part(0.95, 1.0, "rivals"),
    ) / np.where(units[others] > 0, units[others], np.nan)  # fmt: skip
    own = group[positions]
    share = rates[np.arange(len(own)), own].copy()
    rates[np.arange(len(own)), own] = -np.inf
    largest = np.where(np.isnan(rates), -np.inf, rates).max(1)
    nothing = np.where(result.valid.values == 1, 1.0, np.nan)
    one = {"units": "response to the MEI"}
    return result.assign(
        rival_activation=(
            "neuron",
            np.where(np.isfinite(largest), largest, np.nan) * nothing,
            {"long_name": "largest response of a rival"} | one,
        ),
        activation_share=("neuron", share * nothing, {"long_name": "its own response"} | one),
    ).assign_attrs(result.attrs)
