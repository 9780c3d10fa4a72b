"""What suppresses a neuron: stimuli that lower its response to the most exciting one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from twinlab.insilico.constraints import Constraint, fix_norm, keep_range_beside
from twinlab.insilico.formats import (
    picture_attrs,
    stimuli_at_once,
    stimulus_shape,
    total_norm,
)
from twinlab.insilico.mei import ascend_neurons, label_ascended, synthesize_mei
from twinlab.insilico.objectives import Objective, suppress_beside
from twinlab.insilico.responses import Neurons, check_positive, chosen_positions
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import ConditionedTwin, StimulusSpec

__all__ = ["synthesize_suppressor"]


def synthesize_suppressor(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    norm: float = 7.0,
    base_norm: float = 3.5,
    base: np.ndarray | None = None,
    n_start: int = 3,
    n_step: int = 100,
    blur_sigma: float = 1.0,
    n_frame: int = 30,
    seed: int = 0,
    batch_size: int = 128,
    job: Job | None = None,
) -> xr.Dataset:
    """Least exciting input of each neuron beside its most exciting one: what suppresses it.

    Filters that only suppress change nothing in a neuron that is silent anyway: they show in no
    least exciting input (`synthesize_lei`), only where something else excites. The suppressor is
    added to a base, the neuron's MEI at a lower contrast, and made to lower the response to it. It
    is added to the base's negative as well, and the mean of the two responses is lowered: what
    merely takes the base away from the one adds to the other. The suppressor of a linear neuron,
    which answers only one of the two, is its inverted filter.

    Parameters
    ----------
    twin : ConditionedTwin
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    norm : float
        L2 norm of the suppressor, as of `synthesize_mei`.
    base_norm : float
        L2 norm of the base. The more excites, the less can be suppressed.
    base : ndarray of shape (n_neuron, channel[, frame], y, x), optional
        In grey levels, in place of the MEIs.
    n_start, n_step, blur_sigma, n_frame, seed, batch_size, job
        As of `synthesize_mei`.

    Returns
    -------
    xarray.Dataset
        `suppressor`, `base` and `combined`, the one laid over the other (neuron, channel[, frame],
        y, x), in grey levels. `base_activation` and `suppressed_activation` (neuron),
        the mean rates to the base and its negative, alone and with the suppressor; `suppression`
        (neuron), 1 - `suppressed_activation` / `base_activation`: 0 where nothing suppresses.
        `activation` is that of the suppressor alone; `objective` (neuron, start) is minus the
        suppressed activation; the others are those of `synthesize_mei`.

    Raises
    ------
    InputError
        If a setting is out of range, `neurons` are not the twin's, or a base has another shape, is
        not finite, or its negative cannot be shown.

    References
    ----------
    DeAngelis, Robson, Ohzawa & Freeman (1992), Journal of Neurophysiology 68: 144-163; Franke et
    al. (2025), eLife: dual-feature selectivity.

    """
    check_positive(norm=norm, base_norm=base_norm, n_start=n_start, n_step=n_step)
    job = job or Job()
    spec = twin.spec
    positions = chosen_positions(len(twin), neurons)
    ascent: dict[str, Any] = {
        "n_step": n_step, "blur_sigma": blur_sigma, "n_frame": n_frame, "seed": seed,
        "batch_size": batch_size,
    }  # fmt: skip
    if base is None:
        shown = (fix_norm(total_norm(spec, base_norm, n_frame)), _keep_both_signs(spec))
        most = synthesize_mei(
            twin, positions, constraints=shown, **ascent, job=job.part(0.0, 0.4, "base")
        )
        below = most.mei.values
    else:
        below = _checked(base, twin, len(positions), n_frame)
    rows = np.repeat(below, n_start, axis=0)

    def beside(twin: ConditionedTwin, asked: np.ndarray) -> Objective:
        return suppress_beside(twin, asked, rows)

    kept = (
        fix_norm(total_norm(spec, norm, n_frame)),
        keep_range_beside(spec, (rows - spec.mean) / spec.std),
    )
    _, ended = ascend_neurons(
        twin, positions, beside, norm=norm, n_start=n_start, constraints=kept, **ascent,
        job=job.part(0.4, 1.0, "suppressor"),
    )  # fmt: skip
    settings = {
        "norm": norm, "base_norm": base_norm if base is None else None, "n_start": n_start,
        "n_step": n_step, "blur_sigma": blur_sigma,
    }  # fmt: skip
    settings |= {"n_frame": n_frame} if spec.is_video else {}
    result = label_ascended(
        twin, positions, ended, n_start, "suppressor", "suppressor", batch_size=batch_size,
        plain=False, seed=seed, settings=settings,
    )  # fmt: skip
    alone = _mean_rates(twin, positions, below, batch_size)
    failed = result.valid.values == 0
    beside_it = np.where(
        failed, np.nan, -np.where(result.failed, -np.inf, result.objective).max(1)
    )
    dims, rate = result.suppressor.dims, {"units": "rate"}
    return result.assign(
        base=(dims, below, picture_attrs(spec, "base")),
        combined=(
            dims,
            below + result.suppressor.values - np.float32(spec.mean),
            picture_attrs(spec, "suppressor over the base"),
        ),
        base_activation=(
            "neuron",
            alone,
            {"long_name": "mean response to the base and its negative"} | rate,
        ),
        suppressed_activation=(
            "neuron",
            beside_it,
            {"long_name": "the same, with the suppressor"} | rate,
        ),
        suppression=(
            "neuron",
            1 - beside_it / np.where(alone > 0, alone, np.nan),
            {"long_name": "share of the response that the suppressor takes away", "units": "1"},
        ),
    ).assign_attrs(result.attrs)


def _keep_both_signs(spec: StimulusSpec) -> Constraint:
    """Pixels cut to what can be shown in the negative, too."""
    reach = min(spec.high - spec.mean, spec.mean - spec.low) / spec.std
    return lambda z, row: z.clamp(-reach, reach)


def _checked(base: np.ndarray, twin: ConditionedTwin, n_neuron: int, n_frame: int) -> np.ndarray:
    """Bases of the neurons, or `InputError` if they or their negatives cannot be shown."""
    base = np.asarray(base, np.float32)
    twin.spec.check(base)
    shape = (n_neuron, *stimulus_shape(twin.spec, n_frame))
    if base.shape != shape:
        msg = f"`base` must have the shape {shape}, one for each neuron, but has {base.shape}."
        raise InputError(msg)
    reach = min(twin.spec.high - twin.spec.mean, twin.spec.mean - twin.spec.low)
    far = np.abs(base - twin.spec.mean).max()
    if not far <= reach * (1 + 1e-6):
        msg = (
            f"`base` is up to {far:g} grey levels from the mean {twin.spec.mean:g}, but its "
            f"negative must be shown too: {reach:g} at most, and finite."
        )
        raise InputError(msg)
    return base


def _mean_rates(
    twin: ConditionedTwin, positions: np.ndarray, base: np.ndarray, batch_size: int
) -> np.ndarray:
    """Mean rate to each base and its negative."""
    measured, shown = suppress_beside(twin, positions, base), np.full_like(base, twin.spec.mean)
    grey = torch.as_tensor(shown, device=twin.device)
    size = stimuli_at_once(twin, base.shape[2], batch_size)
    rates: list[Tensor] = []
    with torch.inference_mode():
        for row in torch.arange(len(positions)).split(size):
            rates.append(-measured(grey[row], row))
    found: np.ndarray = torch.cat(rates).cpu().numpy()
    return found
