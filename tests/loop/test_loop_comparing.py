"""Comparisons find what was planted, and nothing where nothing was."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from twinlab.loop import (
    compare_confusion,
    compare_controls,
    compare_prediction,
    export_stimuli,
    import_responses,
    match_by_table,
    name_units,
    plan_power,
    play_rig,
)
from twinlab.loop.repeats import benjamini_hochberg
from twinlab.schema import InputError, netcdf_bytes
from twinlab.simulation import SimulatedCortex

BOTH = ("mei", "natural")


def session(response, kinds=("mei",)):
    """A session of responses {kind: (stimulus, repeat, neuron)}, stimulus i made for neuron i."""
    n = response[kinds[0]].shape[2]
    rows, labels = [], []
    for kind in kinds:
        for i, repeats in enumerate(response[kind]):
            for one in repeats:
                rows.append(one)
                labels.append((f"{kind}-{i}", kind, f"s/{i}"))
    order = np.random.default_rng(0).permutation(len(rows))
    names = [[labels[i][column] for i in order] for column in range(3)]
    return xr.Dataset(
        {"response": (("trial", "neuron"), np.array(rows)[order])},
        {
            "neuron": [f"s/{i}" for i in range(n)],
            **{
                key: ("trial", values)
                for key, values in zip(("stimulus_id", "kind", "made_for"), names, strict=True)
            },
        },
    )


def poisson(rate, n_repeat, generator):
    return generator.poisson(rate[:, None], (len(rate), n_repeat, rate.shape[1])).astype(float)


# --- confusion matrix


def test_a_pure_diagonal_is_found_exactly():
    response = np.ones((9, 2, 9)) + 3 * np.eye(9)[:, None]
    found = compare_confusion(session({"mei": response}), n_permutation=500, n_bootstrap=20)
    # one value of nine differs: it lies sqrt(9 - 1) standard deviations from the mean
    np.testing.assert_allclose(found.specificity, np.sqrt(8))
    np.testing.assert_allclose(found.mean_specificity, np.sqrt(8))
    np.testing.assert_array_equal(found["rank"], 1)
    np.testing.assert_allclose(found.p_value, 1 / 9)
    for name in ("best_for_it", "best_by_it"):
        assert float(found[f"share_{name}"]) == 1
        assert float(found[f"share_{name}_p_value"]) < 0.01
    assert float(found.mean_specificity_p_value) == pytest.approx(1 / 501)
    np.testing.assert_allclose(found.mean_specificity_interval, np.sqrt(8))
    assert float(found.share_best_for_it_chance) == pytest.approx(1 / 9, abs=0.03)
    netcdf_bytes(found)


def test_least_exciting_stimuli_are_to_excite_least():
    response = 5 - 3 * np.eye(9)[:, None] * np.ones((9, 2, 9))
    observed = session({"lei": response, "natural": 0 * response + 6}, ("lei", "natural"))
    found = compare_confusion(observed, "lei", expect="least", n_permutation=200, n_bootstrap=0)
    np.testing.assert_allclose(found.specificity, np.sqrt(8))
    np.testing.assert_allclose(np.diagonal(found.confusion), -np.sqrt(8))
    assert float(found.share_best_for_it) == 1
    assert float(found.mean_specificity_p_value) < 0.01
    controls = compare_controls(observed, ["natural"], "lei", expect="least", n_bootstrap=0)
    assert float(controls.median_ratio[0]) == pytest.approx(2 / 6)
    assert float(controls.share_surpassed[0]) == 1
    assert float(controls.population_p_value[0]) < 0.01
    with pytest.raises(InputError, match="`expect` must be"):
        compare_confusion(observed, "lei", expect="more")


def test_neurons_that_fire_more_weigh_no_more():
    generator = np.random.default_rng(0)
    response = poisson(2 + 3 * np.eye(12), 8, generator)
    gain = generator.uniform(0.1, 10, 12)
    plain = compare_confusion(session({"mei": response}), n_permutation=100, n_bootstrap=0)
    scaled = compare_confusion(session({"mei": gain * response}), n_permutation=100, n_bootstrap=0)
    np.testing.assert_allclose(plain.confusion, scaled.confusion)
    assert np.isnan(plain.mean_specificity_interval).all()


def test_without_an_effect_p_values_are_uniform():
    generator = np.random.default_rng(1)
    p_value, share, single = [], [], []
    for seed in range(120):
        response = poisson(generator.uniform(1, 3, (8, 8)), 4, generator)
        found = compare_confusion(
            session({"mei": response}), n_permutation=199, n_bootstrap=0, seed=seed
        )
        p_value.append(float(found.mean_specificity_p_value))
        share.append(float(found.share_best_for_it))
        single.extend(found.p_value.values)
    assert stats.kstest(p_value, "uniform").pvalue > 0.01
    assert np.mean(share) == pytest.approx(1 / 8, abs=4 * np.sqrt(7 / 64 / (120 * 8)))
    # of a single neuron: a rank of eight, each as likely (ties make it larger, never smaller)
    assert np.mean(np.array(single) <= 1 / 8) <= 1 / 8 + 0.05


def test_missing_and_silent_neurons_are_undefined_and_in_no_mean():
    response = np.ones((6, 3, 6)) + 3 * np.eye(6)[:, None]
    response[:, :, 2] = 5.0  # does not vary
    response[4, :, 4] = np.nan  # its own stimulus was lost
    response[1, :2, 0] = np.nan  # some repeats were
    found = compare_confusion(session({"mei": response}), n_permutation=50, n_bootstrap=10)
    undefined = np.isnan(found.specificity.values)
    assert undefined.tolist() == [False, False, True, False, True, False]
    assert np.isnan(found.p_value.values[undefined]).all()
    np.testing.assert_allclose(found.specificity.values[~undefined], np.sqrt(5))
    assert float(found.share_best_for_it) == 1
    assert np.isfinite(found.mean_specificity_interval).all()


def test_a_tie_is_no_preference():
    response = np.zeros((4, 3, 4)) + 5.0
    response[np.arange(4), :, np.arange(4)] = 0.0
    response[1, :, 0] = 0.0  # neuron 0 is as silent under the stimulus of neuron 1
    found = compare_confusion(
        session({"lei": response}, ("lei",)),
        "lei",
        expect="least",
        n_permutation=20,
        n_bootstrap=0,
    )
    assert found.best_for_it.values.tolist() == [0, 1, 1, 1]
    assert found["rank"].values.tolist() == [2, 1, 1, 1]


def test_of_neurons_that_tell_nothing_nothing_is_shown():
    """Not the smallest p value that there is: no permutation exceeds what is undefined."""
    silent = session({"mei": np.zeros((4, 2, 4)), "natural": np.zeros((4, 2, 4))}, BOTH)
    found = compare_confusion(silent, n_permutation=99, n_bootstrap=5)
    for name in ("mean_specificity", "share_best_for_it", "share_best_by_it"):
        assert np.isnan(found[name]), name
        assert np.isnan(found[f"{name}_p_value"]), name
        assert np.isnan(found[f"{name}_interval"]).all(), name
    controls = compare_controls(silent, ["natural"], n_bootstrap=5)
    assert np.isnan(controls.population_p_value).all()
    assert np.isnan(controls.median_ratio_interval).all()


def test_permutations_that_leave_nothing_do_not_count_as_surpassed():
    response = np.full((3, 2, 3), np.nan)
    response[[0, 0, 1], :, [0, 1, 0]] = np.array([2.0, 1, 1])[:, None]  # one neuron varies
    observed = session({"mei": response})
    found = compare_confusion(observed, n_permutation=2000, n_bootstrap=0)
    assert float(found.mean_specificity) == pytest.approx(1)
    # its stimulus is its own, the other's, or the one that was never shown
    assert float(found.mean_specificity_p_value) == pytest.approx(1 / 2, abs=0.05)
    assert float(found.mean_specificity_chance) == pytest.approx(0, abs=0.1)


def test_shares_have_bounds_within_0_and_1():
    generator = np.random.default_rng(0)
    rate = {"mei": 2 + 2 * np.eye(10), "natural": np.ones((10, 10))}
    observed = session({k: poisson(one, 5, generator) for k, one in rate.items()}, BOTH)
    found = compare_confusion(observed, n_permutation=0, n_bootstrap=200)
    controls = compare_controls(observed, ["natural"], n_bootstrap=200)
    for share in (found.share_best_for_it, found.share_best_by_it, controls.share_surpassed):
        whole = controls if "control" in share.dims else found
        low, high = whole[f"{share.name}_interval"].values.reshape(2)
        assert 0 <= low <= float(share.squeeze()) <= high <= 1, share.name


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Of the mean specificity over units of one kind, against the noise-free matrix."""
    generator = np.random.default_rng(2)
    rate = 2 + np.diag(np.full(40, 4.0))
    inside = []
    many = compare_confusion(
        session({"mei": poisson(rate, 3000, generator)[:, :, :]}), n_permutation=0, n_bootstrap=0
    )
    assert float(many.mean_specificity) == pytest.approx(np.sqrt(39), abs=0.05)
    # with few repeats noise lowers it, so that the truth is the mean of sessions of that length
    found = [
        compare_confusion(
            session({"mei": poisson(rate, 10, generator)}), n_permutation=0, n_bootstrap=100,
            seed=seed,
        )
        for seed in range(60)
    ]  # fmt: skip
    truth = np.mean([float(one.mean_specificity) for one in found])
    inside = [
        one.mean_specificity_interval.values[0] < truth < one.mean_specificity_interval.values[1]
        for one in found
    ]
    assert np.mean(inside) >= 0.9


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "lei"}, "0 neurons have a stimulus of kind 'lei'"),
        ({"n_permutation": -1}, "`n_permutation`"),
        ({"confidence": 1.0}, "`confidence`"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_what_cannot_be_compared_is_refused(settings, words):
    observed = session({"mei": np.ones((4, 2, 4))})
    with pytest.raises(InputError, match=words):
        compare_confusion(observed, **settings)
    with pytest.raises(InputError, match="no `response` \\(trial, neuron\\)"):
        compare_confusion(observed.rename(response="rates"))


def test_two_stimuli_of_a_kind_for_one_neuron_are_refused():
    observed = session({"mei": np.ones((4, 2, 4))})
    observed.stimulus_id[0] = "another"
    with pytest.raises(InputError, match="several stimuli of kind 'mei'"):
        compare_confusion(observed)


# --- controls


def test_ratios_are_those_planted():
    generator = np.random.default_rng(3)
    base = generator.uniform(4, 8, 30)
    rates = {"mei": 2.0, "natural": 1.0, "gabor": 1.6}
    response = {k: poisson(np.tile(f * base, (30, 1)), 40, generator) for k, f in rates.items()}
    found = compare_controls(
        session(response, tuple(rates)), ["natural", "gabor"], n_bootstrap=200
    )
    for name in ("median_ratio", "ratio_of_means"):
        np.testing.assert_allclose(found[name], [2.0, 1.25], rtol=0.05)
        low, high = found[f"{name}_interval"].values.T
        assert ((low < [2.0, 1.25]) & (high > [2.0, 1.25])).all()
        assert ((high - low) < 0.3).all()
    assert (found.population_p_value < 1e-5).all()
    assert (found.q_value.sel(control="natural") < 0.05).all()
    assert (found.q_value >= found.p_value).all()
    assert float(found.share_surpassed.sel(control="natural")) == 1


@pytest.mark.parametrize("base", [0.3, 6.0])
def test_the_interval_of_a_ratio_holds_it_as_often_as_it_says_above_0(base):
    """Of Poisson counts, few and many, of neurons whose ratios lie around 2."""
    generator = np.random.default_rng(8)
    inside, low = [], []
    for seed in range(60):
        rate = generator.gamma(2, base / 2, 10)
        ratio = 2 * np.exp(0.3 * generator.standard_normal(10))
        response = {
            kind: poisson(np.tile(one, (10, 1)).T, 6, generator)
            for kind, one in (("mei", ratio * rate), ("natural", rate))
        }
        found = compare_controls(
            session(response, BOTH), ["natural"], n_bootstrap=100, confidence=0.9, seed=seed
        )
        truth = {"median_ratio": 2.0, "ratio_of_means": 2 * np.exp(0.3**2 / 2)}
        bounds = np.array([found[f"{name}_interval"].values[0] for name in truth])
        low.append(bounds[:, 0])
        inside.append(
            (bounds[:, 0] < list(truth.values())) & (bounds[:, 1] > list(truth.values()))
        )
    assert (np.array(low) >= 0).all()
    # repeats drawn twice make it wider than it need be, never narrower
    assert (np.mean(inside, 0) >= 0.9 - 2 * np.sqrt(0.9 * 0.1 / 60)).all()


def test_an_interval_of_least_exciting_stimuli_ends_at_0_where_neurons_are_silent():
    generator = np.random.default_rng(9)
    response = {
        "lei": poisson(np.full((9, 9), 0.05), 5, generator),
        "natural": poisson(np.full((9, 9), 1.5), 5, generator),
    }
    observed = session(response, ("lei", "natural"))
    found = compare_controls(observed, ["natural"], "lei", expect="least", n_bootstrap=200)
    for name in ("median_ratio", "ratio_of_means"):
        low, high = found[f"{name}_interval"].values[0]
        assert 0 <= low <= float(found[name][0]) <= high < 1, name


def test_equal_stimuli_are_not_told_apart():
    generator = np.random.default_rng(4)
    population, discoveries = [], []
    for _ in range(150):
        response = {k: poisson(np.full((14, 14), 3.0), 6, generator) for k in ("mei", "natural")}
        found = compare_controls(session(response, ("mei", "natural")), ["natural"], n_bootstrap=0)
        population.append(float(found.population_p_value[0]))
        discoveries.append((found.q_value.values < 0.1).any())
    assert np.mean(np.array(population) < 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 150)
    assert np.mean(discoveries) <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 150)


def test_a_control_that_leaves_neurons_silent_counts_as_the_largest_ratio():
    response = {"mei": np.full((5, 3, 5), 2.0), "natural": np.ones((5, 3, 5))}
    response["mei"][4] = response["natural"][[1, 2, 4]] = 0.0
    response["natural"][3] = 0.5
    found = compare_controls(session(response, BOTH), ["natural"], n_bootstrap=50)
    np.testing.assert_array_equal(found.ratio.values[0], [2, np.inf, np.inf, 4, np.nan])
    assert float(found.median_ratio[0]) == np.inf  # between 4 and what is larger than any
    assert float(found.ratio_of_means[0]) == 8 / 1.5
    low, high = found.median_ratio_interval.values[0]
    assert 2 <= low <= 4
    assert high == np.inf
    assert float(found.share_surpassed[0]) == 4 / 5
    response["natural"][[1, 2]] = -1.0  # below a baseline: no ratio
    found = compare_controls(session(response, BOTH), ["natural"], n_bootstrap=0)
    assert float(found.median_ratio[0]) == 3
    with pytest.raises(InputError, match="kind 'gabor'"):
        compare_controls(session(response, BOTH), ["gabor"])


def test_benjamini_hochberg_is_that_of_scipy():
    p = np.random.default_rng(5).uniform(0, 1, 50) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p))
    spoiled = np.r_[p, np.nan]
    np.testing.assert_allclose(benjamini_hochberg(spoiled)[:-1], stats.false_discovery_control(p))
    assert np.isnan(benjamini_hochberg(spoiled)[-1])


# --- predicted and observed


def test_a_perfect_prediction_reaches_the_ceiling_and_noise_does_not():
    generator = np.random.default_rng(6)
    rate = generator.gamma(2.0, 1.5, (60, 20))
    rate[:, -4:] = 2.0 + 1e-3 * rate[:, -4:]  # as good as untuned: ceilings near 0
    observed = session({"mei": poisson(rate, 10, generator)})
    predicted = xr.DataArray(
        rate, dims=("stimulus", "neuron"),
        coords={"stimulus_id": ("stimulus", [f"mei-{i}" for i in range(60)]),
                "neuron": [f"s/{i}" for i in range(20)]},
    )  # fmt: skip
    found = compare_prediction(observed, predicted, n_bootstrap=100)
    assert float(found.mean_cc_norm) == pytest.approx(1, abs=0.02)
    # signal variance 2 * 1.5 ** 2, noise of a mean of 10 counts 3 / 10
    assert float(found.cc_max[:16].mean()) == pytest.approx(np.sqrt(4.5 / 4.8), abs=0.02)
    assert np.isnan(found.cc_norm[-4:]).all()
    low, high = found.mean_cc_norm_interval.values
    assert low < 1.01
    assert high > 0.99
    shuffled = predicted.copy(data=rate[generator.permutation(60)])
    wrong = compare_prediction(observed, shuffled, n_bootstrap=0)
    assert abs(float(wrong.mean_cc_norm)) < 0.1
    with pytest.raises(InputError, match=r"1 neurons have no prediction, first s/0"):
        compare_prediction(observed, predicted.isel(neuron=slice(1, None)))
    with pytest.raises(InputError, match="2 have a prediction"):
        compare_prediction(observed, predicted.isel(stimulus=slice(0, 2)))


# --- power


@pytest.mark.parametrize(
    ("ratio", "n_unit", "n_repeat"), [(1.3, 20, 5), (1.5, 8, 10), (1.0, 9, 4)]
)
def test_power_is_that_of_simulated_sessions(ratio, n_unit, n_repeat):
    generator = np.random.default_rng(7)
    n = 3000
    # rate 10: means over repeats are normal enough for the t test to hold its level
    true = generator.normal(ratio, 0.3, (n, n_unit))
    mei = generator.poisson(10 * np.maximum(true, 0)[..., None], (n, n_unit, n_repeat)).mean(-1)
    control = generator.poisson(10, (n, n_unit, n_repeat)).mean(-1)
    found = stats.ttest_1samp(mei - control, 0, axis=1, alternative="greater").pvalue < 0.05
    planned = plan_power(ratio, n_unit=[n_unit], n_repeat=[n_repeat], rate=10.0, spread=0.3)
    assert found.mean() == pytest.approx(float(planned.power[0, 0]), abs=0.03)
    if ratio == 1:
        assert float(planned.power[0, 0]) == pytest.approx(0.05)
        assert np.isnan(planned.units_needed).all()


def test_the_units_needed_are_the_fewest_that_reach_the_power():
    planned = plan_power(1.4, n_repeat=[3, 10])
    for n_repeat, needed in zip([3, 10], planned.units_needed.values, strict=True):
        n_unit = [int(needed) - 1, int(needed)]
        power = plan_power(1.4, n_repeat=[n_repeat], n_unit=n_unit).power.values[0]
        assert power[0] < 0.8 <= power[1]
    with pytest.raises(InputError, match="`ratio`"):
        plan_power(0.0)


# --- the loop closed on the simulated cortex


def test_true_filters_win_on_the_simulated_cortex_and_shuffled_ones_do_not(
    planned, schedule, rig, cortex, tmp_path
):
    """Exported, played, imported, matched and compared, where the answer is known."""
    cortex = SimulatedCortex(
        seed=0, n_neuron=6, height=18, width=24, composition={"simple": 1.0}, reliability=0.6
    )
    filters = cortex.record(n_train=1, n_validation=0, n_test=0).true_filter.values
    planned = planned.copy(deep=True)
    planned.stimulus[:6] = 127.5 + 100 * filters / np.abs(filters).max((1, 2, 3), keepdims=True)
    export_stimuli(planned, schedule, rig, tmp_path / "out", mean=127.5)
    play_rig(cortex, tmp_path / "out", tmp_path / "r.csv", seed=1)
    responses = import_responses(tmp_path / "r.csv", tmp_path / "out").responses
    names = [f"simulated-0/{i}" for i in range(6)]
    table = {name: str(i) for i, name in enumerate(names)}
    observed = name_units(responses, match_by_table(table, names, responses.unit.values.tolist()))
    found = compare_confusion(observed, n_permutation=500, n_bootstrap=0)
    assert float(found.share_best_for_it) >= 5 / 6
    assert float(found.mean_specificity_p_value) < 0.05
    controls = compare_controls(observed, ["natural"], n_bootstrap=0)
    assert float(controls.median_ratio[0]) > 1.5
    # under other names the same responses say nothing
    order = [names[i] for i in (1, 2, 3, 4, 5, 0)]
    wrong = observed.assign_coords(neuron=order)
    assert float(compare_confusion(wrong, n_permutation=500, n_bootstrap=0)
                 .mean_specificity_p_value) > 0.2  # fmt: skip


def test_units_without_a_match_are_named_and_left_out():
    responses = xr.Dataset(
        {"response": (("trial", "unit"), np.arange(6.0).reshape(2, 3))},
        {"unit": ["u1", "u2", "u3"]},
    )
    named = name_units(responses, match_by_table({"a": "u3"}, ["a", "b"], ["u1", "u2", "u3"]))
    assert named.response.values.tolist() == [[2.0], [5.0]]
    assert named.attrs == {"unmatched_neurons": "b", "unmatched_units": "u1, u2"}
    with pytest.raises(InputError, match="None of 1 neurons"):
        name_units(responses, match_by_table({}, ["a"], ["u1"]))
