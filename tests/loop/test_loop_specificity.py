"""Stimuli that tell neurons apart against those that excite; trials under other names."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from twinlab.loop import compare_controls, compare_specificity
from twinlab.loop.relabelling import lend_stimuli, pool_kinds
from twinlab.schema import InputError, netcdf_bytes


def session(response):
    """A session of responses {kind: (stimulus, repeat, neuron)}, stimulus i made for neuron i."""
    rows, labels = [], []
    for kind, stimuli in response.items():
        for i, repeats in enumerate(stimuli):
            rows.extend(repeats)
            labels.extend([(f"{kind}-{i}", kind, f"s/{i}")] * len(repeats))
    names = zip(*labels, strict=True)
    return xr.Dataset(
        {"response": (("trial", "neuron"), np.array(rows, float))},
        {
            "neuron": [f"s/{i}" for i in range(np.shape(rows)[1])],
            **{
                key: ("trial", list(values))
                for key, values in zip(("stimulus_id", "kind", "made_for"), names, strict=True)
            },
        },
    )


def pairs(own, rival, n=8):
    """Mean responses: neurons in pairs, each excited by the stimulus of its partner too."""
    partner = np.eye(n)[np.arange(n) ^ 1]
    return own * np.eye(n) + rival * partner


def test_specificity_is_the_distance_to_the_strongest_rival():
    mean = {"mei": pairs(6, 5), "discriminating": pairs(5, 1)}
    gain = np.geomspace(0.1, 10, 8)  # neurons that fire more weigh no more
    observed = session({kind: gain * np.repeat(one[:, None], 3, 1) for kind, one in mean.items()})
    found = compare_specificity(observed, n_bootstrap=50)
    # each neuron: 6, 5, 5, 1 and twelve zeros
    spread = np.r_[6, 5, 5, 1, np.zeros(12)].std()
    np.testing.assert_allclose(found.specificity, (5 - 1) / spread)
    np.testing.assert_allclose(found.specificity_other, (6 - 5) / spread)
    assert float(found.mean_difference) == pytest.approx(3 / spread)
    np.testing.assert_allclose(found.mean_difference_interval, 3 / spread)
    assert float(found.share_more_specific) == 1
    assert float(found.population_p_value) == pytest.approx(1 / 2**8)
    netcdf_bytes(found)


def test_stimuli_that_excite_more_and_others_as_well_are_not_more_specific():
    observed = session(
        {
            "mei": np.repeat(pairs(5, 1)[:, None], 2, 1),
            "discriminating": np.repeat(pairs(6, 5)[:, None], 2, 1),
        }
    )
    found = compare_specificity(observed, n_bootstrap=0)
    assert float(found.share_more_specific) == 0
    assert float(found.population_p_value) == 1


def test_without_a_difference_p_values_are_uniform():
    generator = np.random.default_rng(0)
    p_value = []
    for _ in range(150):
        rate = generator.uniform(1, 4, (8, 8))
        drawn = generator.poisson(rate[:, None], (2, 8, 4, 8))
        observed = session({"mei": drawn[0], "discriminating": drawn[1]})
        p_value.append(float(compare_specificity(observed, n_bootstrap=0).population_p_value))
    assert stats.kstest(p_value, "uniform").pvalue > 0.01


def test_a_silent_neuron_says_nothing_and_too_few_are_refused():
    mean = {"mei": pairs(6, 5), "discriminating": pairs(5, 1)}
    silent = np.ones(8)
    silent[3] = 0
    observed = session({k: silent * np.repeat(one[:, None], 2, 1) for k, one in mean.items()})
    found = compare_specificity(observed, n_bootstrap=20)
    assert np.isnan(found.difference.values).tolist() == [i == 3 for i in range(8)]
    assert np.isfinite(found.mean_difference)
    with pytest.raises(InputError, match="2 neurons have stimuli of the kinds"):
        compare_specificity(observed.isel(neuron=slice(2)))


def test_a_set_counts_as_one_stimulus_whose_images_are_its_repeats():
    one, two = 4 * np.ones((3, 2, 3)), 2 * np.ones((3, 2, 3))
    observed = session({"diverse-1": one, "diverse-2": two, "mei": one})
    pooled = pool_kinds(observed, ["diverse-1", "diverse-2"], "diverse")
    assert pooled.sizes == observed.sizes
    found = compare_controls(pooled, ["mei"], "diverse", n_bootstrap=0)
    np.testing.assert_allclose(found.response, 3)
    np.testing.assert_allclose(found.ratio, 3 / 4)
    alone = compare_controls(observed, ["mei"], "diverse-2", n_bootstrap=0)
    np.testing.assert_allclose(alone.ratio, 2 / 4)


def test_each_neuron_borrows_the_stimulus_of_its_nearest_neighbour():
    response = np.arange(1, 5)[:, None, None] * np.ones((4, 2, 4))  # the answer tells the stimulus
    observed = session({"mei": response, "natural": response[:3]})
    center = {f"s/{i}": (x, 0.0) for i, x in enumerate((0.0, 1.0, 1.9, np.nan))}
    lent = lend_stimuli(observed, "mei", "other", center)
    assert lent.sizes["trial"] == observed.sizes["trial"] + 3 * 2
    found = compare_controls(lent, ["natural", "other"], n_bootstrap=0)
    other = found.response_control.sel(control="other").values
    np.testing.assert_array_equal(other, [2, 3, 2, np.nan])
    natural = found.response_control.sel(control="natural").values
    np.testing.assert_array_equal(natural, [1, 2, 3, np.nan])  # one lacks it and keeps its row
    assert lend_stimuli(observed, "mei", "other", dict.fromkeys(center, (np.nan, 0.0))) is observed
