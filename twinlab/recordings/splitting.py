"""Splits and folds that no image crosses, remembered by the twin that is fitted to them.

A rule (what is divided, in which shares, from which seed) decides a split alone, so that the
rule, saved with a twin, says which trials it has seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from twinlab.recordings.drawing import FRACTIONS, check_fractions
from twinlab.schema import SPLITS, InputError, check_seed, row_blocks, split_hash

__all__ = ["fold_recording", "split_as_fitted", "split_recording", "trained_trials"]

BY = ("image", "neuron", "session")


def split_recording(
    recording: xr.Dataset,
    by: str = "image",
    fractions: Sequence[float] = FRACTIONS,
    *,
    seed: int = 0,
    alike: np.ndarray | None = None,
) -> xr.Dataset:
    """Divide a recording anew into training, validation and test.

    Parameters
    ----------
    recording : xarray.Dataset
    by : {"image", "neuron", "session"}
        What is divided. "image" replaces `split` along `trial`: images (or videos) of one id or
        of the same pixels, with all their repeats, stay together. "neuron" and "session" leave
        the trials as they are and add `neuron_split` along `neuron`: choose neurons by it.
    fractions : sequence of 3 float
        Shares of the images, neurons or sessions in training, validation and test.
    seed : int
    alike : ndarray of shape (n_stimulus,), optional
        A number for each stimulus; those with the same one stay together, too. Exact copies are
        found without it; near ones, of videos say, are for a perceptual hash to tell.

    Returns
    -------
    xarray.Dataset
        A shallow copy. Its attribute `split_rule` holds the rule as JSON, and is saved with every
        twin that is fitted to it.

    Raises
    ------
    InputError
        If `by` is unknown, the fractions do not add up to 1, or there are too few to divide.

    Examples
    --------
    >>> from twinlab.simulation import SimulatedCortex
    >>> recording = SimulatedCortex(seed=0, n_neuron=4).record(n_train=8, n_validation=2, n_test=0)
    >>> again = split_recording(recording, fractions=(0.5, 0.2, 0.3), seed=3)
    >>> {name: int((again.split == name).sum()) for name in ("train", "validation", "test")}
    {'train': 5, 'validation': 2, 'test': 3}

    """
    shares = check_fractions(fractions)
    unit = _units(recording, by, alike)
    n_unit = int(unit.max()) + 1
    ends = np.round(np.cumsum(shares) * n_unit).astype(int)
    if ((np.diff(ends, prepend=0) == 0) & (shares > 0)).any():
        raise _too_few(recording, by, n_unit, f"enough for shares of {tuple(fractions)}")
    split = np.array(SPLITS)[np.searchsorted(ends, _order(n_unit, seed), side="right")]
    rule = {"by": by, "fractions": shares.tolist(), "seed": seed}
    return _divided(recording, by, split[unit], rule)


def fold_recording(
    recording: xr.Dataset,
    by: str = "image",
    folds: int = 5,
    *,
    seed: int = 0,
    alike: np.ndarray | None = None,
) -> list[xr.Dataset]:
    """Divide a recording into folds, each of which is the test of one of the recordings returned.

    Parameters
    ----------
    recording : xarray.Dataset
    by : {"image", "neuron", "session"}
        As for `split_recording`.
    folds : int
        At least 3: the fold after the test's is for validation, the others are for training.
    seed : int
    alike : ndarray of shape (n_stimulus,), optional
        As for `split_recording`.

    Returns
    -------
    list of xarray.Dataset
        Shallow copies; over all of them, each trial (or neuron) is in the test of exactly one.

    Raises
    ------
    InputError
        If `by` is unknown, there are fewer than 3 folds or fewer images (neurons, sessions).

    """
    if folds < 3:
        msg = f"`folds` is {folds}; expected at least 3: training, validation and test."
        raise InputError(msg)
    unit = _units(recording, by, alike)
    n_unit = int(unit.max()) + 1
    if n_unit < folds:
        raise _too_few(recording, by, n_unit, f"at least {folds}")
    fold = _order(n_unit, seed)[unit] % folds
    use = np.full(folds, "train", "<U10")
    use[:2] = "test", "validation"
    return [
        _divided(
            recording,
            by,
            use[(fold - test) % folds],
            {"by": by, "fold": test, "folds": folds, "seed": seed},
        )
        for test in range(folds)
    ]


def split_as_fitted(recording: xr.Dataset, origin: Mapping[str, Any]) -> xr.Dataset:
    """The recording with the split that a twin was fitted with, where that can be told.

    Parameters
    ----------
    recording : xarray.Dataset
        As it was opened.
    origin : mapping
        `Twin.origin`: where the twin comes from.

    Returns
    -------
    xarray.Dataset
        Divided by the twin's own rule, if that gives the split the twin remembers; otherwise the
        recording as it is.

    """
    rule = json.loads(origin.get("split_rule") or "{}")
    if rule.get("by") != "image" or origin.get("split") == split_hash(recording):
        return recording
    try:
        if "folds" in rule:
            again = fold_recording(recording, folds=rule["folds"], seed=rule["seed"])[rule["fold"]]
        else:
            again = split_recording(recording, fractions=rule["fractions"], seed=rule["seed"])
    except InputError:  # another recording, with too few images
        return recording
    return again if origin.get("split") == split_hash(again) else recording


def trained_trials(recording: xr.Dataset, origin: Mapping[str, Any]) -> np.ndarray | None:
    """Which trials of a recording a twin was trained on.

    Parameters
    ----------
    recording : xarray.Dataset
    origin : mapping
        `Twin.origin`.

    Returns
    -------
    ndarray of bool of shape (n_trial,), or None
        None where it cannot be told: the split is not the twin's, nor made by the twin's rule.

    """
    fitted = split_as_fitted(recording, origin)
    if origin.get("split") != split_hash(fitted):
        return None
    return fitted.split.values == "train"


def _units(recording: xr.Dataset, by: str, alike: np.ndarray | None) -> np.ndarray:
    """Number, from 0, of what must stay together: of each trial, or of each neuron."""
    if by == "image":
        return _stimulus_groups(recording, alike)[recording.stimulus_index.values]
    if by == "neuron":
        return np.arange(recording.sizes["neuron"])
    if by == "session":
        return np.unique(recording.session.values, return_inverse=True)[1]
    msg = f"`by` is {by!r}; known: {', '.join(BY)}."
    raise InputError(msg)


def _stimulus_groups(recording: xr.Dataset, alike: np.ndarray | None) -> np.ndarray:
    """Group of each stimulus: connected are those of one id, the same pixels, or alike."""
    n_stimulus = recording.stimulus.shape[0]
    index = recording.stimulus_index.values
    named = np.unique(recording.image_id.values.astype(str), return_inverse=True)[1]
    pixels = [
        hashlib.sha256(np.ascontiguousarray(one).data).digest()
        for block in row_blocks(recording.stimulus)
        for one in block
    ]
    links = [(index, named), (np.arange(n_stimulus), np.unique(pixels, return_inverse=True)[1])]
    if alike is not None:
        if np.shape(alike) != (n_stimulus,):
            msg = (
                f"`alike` has shape {np.shape(alike)}; expected a number for each of the "
                f"{n_stimulus} stimuli."
            )
            raise InputError(msg)
        links.append((np.arange(n_stimulus), np.unique(alike, return_inverse=True)[1]))
    # a graph of stimuli and of what they have in common
    nodes, first = [], n_stimulus
    for _, common in links:
        nodes.append(common + first)
        first += int(common.max()) + 1
    ends = np.concatenate([stimulus for stimulus, _ in links]), np.concatenate(nodes)
    graph = coo_array((np.ones(len(ends[0]), bool), ends), shape=(first, first))
    group = connected_components(graph, directed=False)[1][:n_stimulus]
    shown = np.unique(index)
    # only what was shown is divided; the rest, in no trial, may have any number
    numbered = np.zeros(n_stimulus, int)
    numbered[shown] = np.unique(group[shown], return_inverse=True)[1]
    return numbered


def _order(n_unit: int, seed: int) -> np.ndarray:
    """Place of each unit in a random order."""
    return np.random.default_rng(check_seed(seed)).permutation(n_unit)


def _divided(
    recording: xr.Dataset, by: str, split: np.ndarray, rule: dict[str, Any]
) -> xr.Dataset:
    name, dim = ("split", "trial") if by == "image" else ("neuron_split", "neuron")
    words = {"long_name": f"split by {by}"}
    divided = recording.assign_coords({name: (dim, split.astype("<U10"), words)})
    return divided.assign_attrs(split_rule=json.dumps(rule, sort_keys=True))


def _too_few(recording: xr.Dataset, by: str, found: int, expected: str) -> InputError:
    name = recording.attrs.get("recording_id", "The recording")
    return InputError(
        f"{name} has {found} {by}s to divide (repeats and copies count once); expected {expected}."
    )
