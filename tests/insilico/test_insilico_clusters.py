"""Planted kinds of neurons are found again, and none are found where there are none."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from twinlab import insilico, twins
from twinlab.schema import InputError
from twinlab.stimuli import gabor_patches


def kinds(orientation, seed=0):
    """Linear-rectified neurons at one place, each with its own small deviations."""
    generator = np.random.default_rng(seed)
    n = len(orientation)
    filters = gabor_patches(
        12 + generator.normal(0, 0.3, n), 10 + generator.normal(0, 0.3, n),
        np.asarray(orientation) + generator.normal(0, 4, n), np.full(n, 0.12),
        generator.normal(0, 10, n), np.full(n, 3.0), height=20, width=24,
    )  # fmt: skip
    flat = torch.as_tensor(filters.reshape(n, -1), dtype=torch.float32)
    flat = flat - flat.mean(1, keepdim=True)
    spec = twins.StimulusSpec(1, 20, 24, 110.0, 55.0)
    return twins.wrap_callable(
        lambda x: torch.nn.functional.softplus(((x - 110.0) / 55.0).flatten(1) @ flat.T),
        spec,
        n,
    ).condition()


def test_planted_kinds_are_found():
    planted = np.repeat([0, 1, 2], 20)
    found = insilico.cluster_by_stimuli(kinds(60.0 * planted), max_clusters=4)
    assert adjusted_rand_score(planted, found.cluster) == 1.0
    assert found.sizes["cluster_number"] == 3
    own = found.response.values[np.arange(60), found.cluster.values]
    assert (own[:, None] >= found.response.values).all()


def test_one_kind_is_one_cluster():
    found = insilico.cluster_by_stimuli(kinds(np.full(30, 45.0)), max_clusters=3)
    assert found.sizes["cluster_number"] == 1
    assert (found.cluster == 0).all()


def test_a_setting_out_of_range_is_named():
    with pytest.raises(InputError, match="max_clusters"):
        insilico.cluster_by_stimuli(kinds([0.0, 90.0]), max_clusters=0)
