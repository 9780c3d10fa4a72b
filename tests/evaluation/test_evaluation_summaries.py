import numpy as np
import pytest
import xarray as xr

from twinlab.evaluation import compare_scores, embed_responses, summarize_scores
from twinlab.schema import InputError


def scores_of(feve, **others):
    columns = {
        name: ("neuron", np.asarray(v, float)) for name, v in {"feve": feve, **others}.items()
    }
    n = len(feve)
    return xr.Dataset(
        columns, {"neuron_id": ("neuron", np.arange(n)), "session": ("neuron", ["s"] * n)}
    )


def test_the_interval_of_a_median_encloses_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    caught = []
    for _ in range(400):
        found = summarize_scores(scores_of(rng.exponential(size=41))).isel(score=0)
        low, high = found.median_interval.values
        caught.append(low <= np.log(2) <= high)
    assert 0.94 <= np.mean(caught) <= 0.99  # at least 0.95; order statistics come in steps


def test_undefined_scores_are_counted_and_left_out():
    found = summarize_scores(scores_of([0.1, np.nan, 0.5, 0.3, np.nan])).sel(score="feve")
    assert float(found["median"]) == pytest.approx(0.3)
    assert (int(found.n_defined), int(found.n_undefined)) == (3, 2)


def test_only_chosen_neurons_count():
    found = summarize_scores(scores_of([0.0, 1.0, 5.0]), np.array([True, True, False]))
    assert found["median"].item() == 0.5


def test_too_few_neurons_have_no_interval():
    found = summarize_scores(scores_of([0.1, 0.2, 0.3]))
    assert np.isnan(found.median_interval).all()  # of 3 values, 2 (1/2)^3 lie on one side
    assert np.isnan(summarize_scores(scores_of([np.nan]))["median"].item())


def test_a_paired_difference_is_found_where_medians_overlap():
    rng = np.random.default_rng(1)
    hard = rng.normal(size=200)
    better, worse = scores_of(hard + 0.1), scores_of(hard + 0.01 * rng.normal(size=200))
    low, high = compare_scores(better, worse).median_interval.values[0]
    assert 0.09 < low <= 0.1 + 0.005
    assert high < 0.11
    alone = [summarize_scores(one).median_interval.values[0] for one in (better, worse)]
    assert alone[0][0] < alone[1][1]


def test_scores_of_other_neurons_are_not_compared():
    other = scores_of([0.1, 0.2]).assign_coords(neuron_id=("neuron", [5, 6]))
    with pytest.raises(InputError, match="`neuron_id` differs"):
        compare_scores(scores_of([0.1, 0.2]), other)


def test_settings_out_of_range_are_refused():
    with pytest.raises(InputError, match="between 0 and 1, but is 2"):
        summarize_scores(scores_of([0.1]), confidence=2)
    with pytest.raises(InputError, match="one a neuron"):
        summarize_scores(scores_of([0.1]), np.array([True, False]))


def responses_of(values):
    return xr.DataArray(values, dims=("image", "neuron"))


def test_distances_in_the_plane_are_those_of_correlations_where_two_signals_make_all():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 30)) + 7
    found = embed_responses(responses_of(values))
    place = np.stack([found.component_1, found.component_2], 1)
    squared = ((place[:, None] - place[None]) ** 2).sum(-1)
    np.testing.assert_allclose(squared, 2 * (1 - np.corrcoef(values.T)), atol=1e-10)
    assert float(found.explained.sum()) == pytest.approx(1)


def test_a_neuron_that_never_changes_has_no_place():
    values = np.random.default_rng(0).normal(size=(20, 5))
    values[:, 3] = 0.1
    place = embed_responses(responses_of(values)).component_1.values
    assert np.flatnonzero(np.isnan(place)).tolist() == [3]


def test_missing_responses_and_other_dimensions_are_refused():
    with pytest.raises(InputError, match="lacks 1 of 12 values"):
        embed_responses(responses_of(np.array([[np.nan] + [1.0] * 3] + [[0.0] * 4] * 2)))
    with pytest.raises(InputError, match=r"must be \(image, neuron\)"):
        embed_responses(responses_of(np.zeros((2, 3))))
