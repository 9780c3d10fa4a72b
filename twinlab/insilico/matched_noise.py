"""Noise as a control of MEIs: their contrast at each frequency and orientation, no structure."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from twinlab.insilico.constraints import to_grey
from twinlab.insilico.formats import picture_attrs, stimuli_at_once, stimulus_dims
from twinlab.insilico.masks import see_through
from twinlab.insilico.responses import find_neurons, paired_rates
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed
from twinlab.stimuli import make_random_phase
from twinlab.twins import ConditionedTwin

__all__ = ["match_noise"]


def match_noise(
    judged: xr.Dataset,
    twin: ConditionedTwin,
    other: ConditionedTwin,
    *,
    seed: int = 0,
    batch_size: int = 256,
    job: Job | None = None,
) -> xr.Dataset:
    """Set MEIs, or LEIs, beside noise with their own spectrum.

    The phases of the MEI are drawn anew, so that what is left is its contrast at each frequency
    and orientation; the noise is then seen through the MEI's mask, which smears its spectrum a
    little, and has the MEI's norm. It is drawn once, not searched for: the best of many
    would be an MEI again.

    Parameters
    ----------
    judged : xarray.Dataset
        Of `cross_examine`.
    twin, other : ConditionedTwin
        As given there.
    seed : int
        The noise depends on it and on the neuron alone.
    batch_size : int
        Images, or frames of videos, shown at once.
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `judged` with, along `neuron`, `noise` (neuron, channel[, frame], y, x) in grey levels,
        `activation_noise` and `activation_noise_other`. NaN where the MEI is.

    Raises
    ------
    InputError
        If `judged` is no result of `cross_examine`, or a twin lacks a neuron.

    References
    ----------
    Galerne, Gousseau & Morel (2011), IEEE Transactions on Image Processing 20: 257-267.

    """
    main = str(judged.attrs.get("experiment"))
    if main not in judged or not {"mask", "norm"} <= set(judged):
        msg = f"`judged` is a result of {main!r} without masks; give one of `cross_examine`."
        raise InputError(msg)
    job, spec = job or Job(), twin.spec
    found = np.flatnonzero(np.isfinite(judged.activation.values))
    position = find_neurons(judged, twin.labels, "`twin`")[found]
    axes = ("video" if spec.is_video else "image", *stimulus_dims(spec))
    noise = np.empty((len(found), *judged[main].shape[1:]), np.float32)
    for i, (row, neuron) in enumerate(
        zip(found, twin.neuron.cpu().numpy()[position], strict=True)
    ):
        job.report(0.5 * i / len(found), "drawing noise")
        own = np.random.default_rng([check_seed(seed), int(neuron), 1]).integers(2**31)
        image = xr.DataArray(judged[main].values[row : row + 1], dims=axes)
        noise[i] = make_random_phase(image, int(own)).values[0]
    z = torch.as_tensor((noise - spec.mean) / spec.std)
    norm = torch.as_tensor(judged.norm.values[found], dtype=torch.float32)
    shown = to_grey(see_through(z, torch.as_tensor(judged.mask.values[found])), norm, spec)
    at_once = stimuli_at_once(twin, noise.shape[2], batch_size)
    elsewhere = find_neurons(judged, other.labels, "`other`")[found]
    asked = {"activation_noise": (twin, position), "activation_noise_other": (other, elsewhere)}
    made = {"noise": (shown.numpy(), picture_attrs(spec, "noise with its spectrum"))}
    for name, (judge, neurons) in asked.items():
        rates = paired_rates(judge, neurons, shown.__getitem__, at_once, job.part(0.5, 1))
        words = "response to the noise" + ", other twin" * (judge is other)
        made[name] = (rates, {"long_name": words, "units": "rate"})
    whole = {}
    for name, (values, attrs) in made.items():
        every = np.full((judged.sizes["neuron"], *values.shape[1:]), np.nan, np.float32)
        every[found] = values
        whole[name] = (judged[main].dims if name == "noise" else ("neuron",), every, attrs)
    return judged.assign(whole).assign_attrs(judged.attrs)
