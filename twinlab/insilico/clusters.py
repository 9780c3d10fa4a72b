"""Kinds of neurons told apart by the stimuli made for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy.cluster.vq import kmeans2
from sklearn.metrics import adjusted_rand_score

from twinlab.insilico.constraints import fix_norm, keep_range
from twinlab.insilico.formats import (
    picture_attrs,
    stimuli_at_once,
    stimulus_coordinates,
    stimulus_dims,
    stimulus_shape,
    total_norm,
)
from twinlab.insilico.objectives import excite_population, separate_groups
from twinlab.insilico.priors import blur_gradient
from twinlab.insilico.responses import (
    Neurons,
    check_positive,
    chosen_positions,
    neuron_labels,
    provenance,
    rates_of_batches,
)
from twinlab.insilico.synthesis import optimize_stimuli
from twinlab.jobs import Job
from twinlab.schema import InputError, check_seed, make_result
from twinlab.twins import ConditionedTwin, StimulusSpec

__all__ = ["cluster_by_stimuli"]

SOURCE = (
    "Burg et al. (2024), Most discriminative stimuli for functional cell type clustering, ICLR"
)
N_PROBE = 256  # noise images by whose responses neurons are first grouped
# How much less the next group's stimulus excites a neuron than its own, relative to that, in nine
# of ten neurons: kinds have a gap between them, the halves of one spread have none.
GAP = 0.35
STABLE = 0.9  # adjusted Rand index between two halves from which their groups are real


def cluster_by_stimuli(
    twin: ConditionedTwin,
    neurons: Neurons = None,
    *,
    max_clusters: int = 4,
    norm: float = 7.0,
    n_start: int = 2,
    n_step: int = 60,
    n_round: int = 5,
    temperature: float = 0.3,
    n_frame: int = 30,
    seed: int = 0,
    batch_size: int = 128,
    job: Job | None = None,
) -> xr.Dataset:
    """Group neurons by the stimuli that excite one group and no other.

    Groups and stimuli are found in turn: each group gets the stimulus that excites it most against
    the others (`separate_groups`), each neuron goes to the group whose stimulus excites it most,
    until nobody moves. Every number of groups is searched twice, each time in one half of the
    neurons, whose stimuli then group all. The largest number is taken at which both say the
    same and there is a gap between the groups: nine of ten neurons are excited 35 % less by
    the next group's stimulus than by their own.

    Neurons are compared by what they respond to where it is shown, so those of one kind that look
    at different places come out as different kinds: choose neurons that look at one place.

    Parameters
    ----------
    twin : ConditionedTwin
        Of images, or of videos: then stimuli are videos, and mean rates over the second half of
        their frames count.
    neurons : sequence of int, optional
        Positions of the neurons; all where absent.
    max_clusters : int
        Largest number of groups tried.
    norm, n_step
        As of `synthesize_mei`.
    n_start : int
        Noise images from which each group's stimulus is started.
    n_round : int
        Most rounds of grouping and making stimuli.
    temperature : float
        See `separate_groups`.
    n_frame, batch_size
        As of `synthesize_mei`.
    seed : int
    job : Job, optional

    Returns
    -------
    xarray.Dataset
        `cluster` (neuron), from 0, and -1 for neurons that noise does not move (`valid` 0);
        `stimulus` (cluster_number, channel[, frame], y, x) in grey levels; `response` (neuron,
        cluster_number), divided by each neuron's largest response to noise; `stability`
        (n_cluster), the adjusted Rand index between what stimuli of the two halves say of all,
        and `gap` (n_cluster), NaN where the halves do not agree.

    Raises
    ------
    InputError
        If a setting is out of range or `neurons` are not the twin's.

    References
    ----------
    Burg et al. (2024), ICLR.

    """
    settings = {
        "max_clusters": max_clusters, "norm": norm, "n_start": n_start, "n_step": n_step,
        "n_round": n_round, "temperature": temperature,
    }  # fmt: skip
    check_positive(**settings, n_frame=n_frame, batch_size=batch_size)
    job = job or Job()
    positions = chosen_positions(len(twin), neurons)
    asked = twin.neurons(positions)
    spec = twin.spec
    shape, total = stimulus_shape(spec, n_frame), total_norm(spec, norm, n_frame)
    at_once = stimuli_at_once(twin, n_frame, batch_size)
    probe = _noise(spec, (N_PROBE, *shape), check_seed(seed), total)
    rates = rates_of_batches(
        asked, np.split(probe, range(at_once, N_PROBE, at_once)), N_PROBE,
        job.part(0.0, 0.1, "noise"),
    )  # fmt: skip
    known = np.isfinite(rates).all(0)
    rates = np.where(known, rates, 0.0)
    unit = rates.max(0)
    valid = np.ptp(rates, axis=0) > 1e-6 * np.abs(rates).max()
    if valid.sum() < 2:
        msg = f"{int(valid.sum())} of {len(positions)} neurons respond to noise; two are needed."
        raise InputError(msg)
    profile = np.where(valid, rates / np.where(unit > 0, unit, 1), 0).T
    stability = np.full(min(max_clusters, int(valid.sum()) // 2), np.nan)
    gap = np.full_like(stability, np.nan)
    even = np.zeros(len(valid), bool)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(valid))
    even[order[::2]] = True
    how: dict[str, Any] = {
        name: settings[name] for name in ("n_start", "n_step", "n_round", "temperature")
    } | {"shape": shape, "norm": total, "batch_size": at_once}
    best, later = None, job.part(0.1, 1.0)
    for number in range(1, len(stability) + 1):
        stage = later.part((number - 1) / len(stability), number / len(stability))
        groups = [
            _search(
                asked, profile, half & valid, unit, number, **how, seed=seed + turn,
                job=stage.part(0.3 * turn, 0.3 * turn + 0.3, f"{number} clusters"),
            )[2][valid].argmax(1)
            for turn, half in enumerate((even, ~even))
        ]  # fmt: skip
        stability[number - 1] = adjusted_rand_score(*groups)
        full = all(len(np.unique(group)) == number for group in groups)
        if full and stability[number - 1] >= STABLE:
            last = stage.part(0.6, 1.0, f"{number} clusters")
            searched = _search(asked, profile, valid, unit, number, **how, seed=seed, job=last)
            gap[number - 1] = _gap(searched[2][valid])
            if number == 1 or gap[number - 1] >= GAP:
                best = searched
    assert best is not None, "one cluster is always stable"
    group, stimuli, response = best
    one = {"units": "1"}
    result = neuron_labels(twin, positions).assign(
        cluster=("neuron", group, {"long_name": "cluster; -1 for none"} | one),
        stimulus=(
            ("cluster_number", *stimulus_dims(spec)),
            stimuli,
            picture_attrs(spec, "most discriminative stimulus"),
        ),
        response=(
            ("neuron", "cluster_number"),
            response,
            {"long_name": "response over the largest to noise"} | one,
        ),
        valid=("neuron", valid.astype(np.int8), {"long_name": "0 where nothing excites"} | one),
        stability=(
            "n_cluster",
            stability,
            {"long_name": "adjusted Rand index between two halves"} | one,
        ),
    )
    result = result.assign(
        gap=("n_cluster", gap, {"long_name": "gap between groups, in nine of ten neurons"} | one)
    ).assign_coords(
        cluster_number=(
            "cluster_number", np.arange(len(stimuli)), {"long_name": "cluster"} | one
        ),
        n_cluster=(
            "n_cluster",
            np.arange(1, len(stability) + 1),
            {"long_name": "number of clusters"} | one,
        ),
        **stimulus_coordinates(spec, n_frame),
    )  # fmt: skip
    return make_result(
        result,
        experiment="clusters",
        twin=twin.identity,
        recording=str(twin.twin.origin.get("recording", "")),
        seed=seed,
        settings=settings | ({"n_frame": n_frame} if spec.is_video else {}) | provenance(twin),
        source=SOURCE,
    )


def _gap(response: np.ndarray) -> float:
    """10th percentile of how much less the next stimulus excites than the own."""
    ordered = np.sort(response, 1)[:, ::-1]
    if ordered.shape[1] == 1:
        return np.nan
    return float(np.percentile(1 - ordered[:, 1] / ordered[:, 0].clip(1e-12), 10))


def _noise(spec: StimulusSpec, shape: tuple[int, ...], seed: int, norm: float) -> np.ndarray:
    """Smooth noise images of this norm (or videos, smooth within frames), in grey levels."""
    generator = np.random.default_rng(seed)
    white = generator.standard_normal(shape).astype(np.float32)
    z = blur_gradient(1.0)(torch.as_tensor(white))
    row = torch.arange(len(z))
    z = keep_range(spec)(fix_norm(norm)(z, row), row)
    grey: np.ndarray = (z * spec.std + spec.mean).numpy()
    return grey


def _search(
    twin: ConditionedTwin,
    profile: np.ndarray,
    member: np.ndarray,
    unit: np.ndarray,
    n_cluster: int,
    *,
    seed: int,
    shape: tuple[int, ...],
    norm: float,
    batch_size: int,
    n_start: int,
    n_step: int,
    n_round: int,
    temperature: float,
    job: Job,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups of the members, their stimuli in grey levels, responses of all (neuron, cluster)."""
    spec = twin.spec
    group = np.full(len(member), -1)
    if n_cluster == 1:
        group[member] = 0
    else:
        group[member] = kmeans2(profile[member], n_cluster, seed=seed, minit="++")[1]
    stimuli = np.full((n_cluster, *shape), spec.mean, np.float32)
    response = np.zeros((len(member), n_cluster))
    held = (fix_norm(norm), keep_range(spec))
    for turn in range(n_round):
        known = np.unique(group[group >= 0])
        own = np.repeat(known, n_start)
        start = np.random.default_rng([seed, turn]).standard_normal((len(own), *shape))
        if len(known) > 1:
            objective = separate_groups(twin, group, own, unit=unit, temperature=temperature)
        else:  # nobody to be told from
            weight = np.where(member, 1 / np.where(unit > 0, unit, np.inf), 0) / member.sum()
            objective = excite_population(twin, np.repeat(weight[None], len(own), 0))
        ended = optimize_stimuli(
            objective, start, spec, constraints=held, prior=blur_gradient(1.0), n_step=n_step,
            batch_size=batch_size, device=twin.device,
            job=job.part(turn / n_round, (turn + 1) / n_round),
        )  # fmt: skip
        best = ended.value.reshape(len(known), n_start).argmax(1)
        chosen = ended.stimuli.reshape(len(known), n_start, *shape)
        stimuli[known] = chosen[np.arange(len(known)), best]
        rates = rates_of_batches(twin, [stimuli], n_cluster).T
        response = rates / np.where(unit > 0, unit, 1)[:, None]
        moved = np.where(member, known[response[:, known].argmax(1)], -1)
        if (moved == group).all():
            break
        group = moved
    return group, stimuli, response
