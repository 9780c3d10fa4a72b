"""Kuiper's test against its table, and distributions of angles that are known."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import kstest

from twinlab import insilico
from twinlab.schema import InputError

# Stephens (1970), Journal of the Royal Statistical Society B 32: 115-122: V times this is
# exceeded with these probabilities, whatever the number of angles.
TABLE = {1.620: 0.10, 1.747: 0.05, 1.862: 0.025}


def stephens(n, m):
    root = np.sqrt(n * m / (n + m))
    return root + 0.155 + 0.24 / root


def test_statistic_is_counted_by_hand():
    found, _ = insilico.kuiper_test([20, 30, 200], [10, 350], n_permutation=1)
    assert found == pytest.approx(1 / 2 + 1 / 2)  # F1 - F2 is -1/2, -1/6, 1/6, 1/2, 0
    found, _ = insilico.kuiper_test([20, 30, 200], [10, 100], n_permutation=1)
    assert found == pytest.approx(1 / 6 + 1 / 2)  # -1/2, -1/6, 1/6, -1/3, 0
    same, p = insilico.kuiper_test([20, 30, 200], [200, 20, 30], n_permutation=20)
    assert (same, p) == (0.0, 1.0)


def test_nothing_depends_on_where_the_circle_begins():
    rng = np.random.default_rng(0)
    first, second = (np.rad2deg(rng.vonmises(mean, 2, 200)) for mean in (0.0, 0.4))
    found = [
        insilico.compare_angle_distributions(
            first + turn, second + turn, period=360.0, n_permutation=100
        )
        for turn in (0.0, 30.0, 77.0, 180.0, 301.0)
    ]
    for name in ("kuiper_statistic", "wasserstein"):
        values = [float(one[name]) for one in found]
        np.testing.assert_allclose(values, values[0], rtol=1e-9)
    assert found[0].kuiper_statistic > 0.15
    halved = insilico.kuiper_test(first / 2, second / 2, period=180.0, n_permutation=1)[0]
    assert halved == pytest.approx(float(found[0].kuiper_statistic))


def test_tabulated_values_are_exceeded_as_often_as_the_table_says():
    rng = np.random.default_rng(1)
    n, m = 200, 150
    drawn = rng.uniform(0, 360, (4000, n + m))
    found = np.array([insilico.kuiper_test(one[:n], one[n:], n_permutation=1)[0] for one in drawn])
    for value, probability in TABLE.items():
        exceeded = (found >= value / stephens(n, m)).mean()
        assert exceeded == pytest.approx(probability, rel=0.2)


@pytest.mark.parametrize("tied", [False, True])
def test_p_values_are_uniform_where_both_sets_are_drawn_alike(tied):
    rng = np.random.default_rng(2)
    angles = np.rad2deg(rng.vonmises(1.0, 0.8, (600, 108)))
    if tied:
        angles = np.round(angles / 45) * 45
    p = np.array(
        [
            insilico.kuiper_test(one[:61], one[61:], n_permutation=199, seed=number)[1]
            for number, one in enumerate(angles)
        ]
    )
    if tied:  # few values can occur: p is never too small, and all but uniform
        assert (p <= 0.05).mean() <= 0.07
        assert 0.4 < p.mean() < 0.6
    else:
        assert kstest(p, "uniform").pvalue > 0.05
        assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.025)


def test_p_value_agrees_with_the_table_and_falls_with_the_difference():
    rng = np.random.default_rng(3)
    first, second = rng.uniform(0, 360, 200), rng.uniform(0, 360, 150)
    p = []
    for share in (0.0, 0.14, 0.5):  # of angles that are moved to one direction
        moved = np.where(np.arange(150) < share * 150, 90.0 + second / 36, second)
        statistic, found = insilico.kuiper_test(first, moved)
        p.append(found)
        scaled = statistic * stephens(200, 150)
        j = np.arange(1, 50)
        tail = 2 * ((4 * j**2 * scaled**2 - 1) * np.exp(-2 * j**2 * scaled**2)).sum()
        assert found == pytest.approx(tail, rel=0.2, abs=0.01)
    assert p[0] > 0.1
    assert p[2] == pytest.approx(1 / 1001)


def test_circular_distance_is_that_of_the_best_matching():
    rng = np.random.default_rng(4)
    first, second = rng.uniform(0, 360, 60), np.rad2deg(rng.vonmises(2.0, 0.5, 60)) % 360
    apart = np.abs(first[:, None] - second)
    cost = np.minimum(apart, 360 - apart)
    best = cost[linear_sum_assignment(cost)].mean()
    found = insilico.compare_angle_distributions(first, second, period=360.0, n_permutation=1)
    assert float(found.wasserstein) == pytest.approx(best)
    turned = insilico.compare_angle_distributions(
        np.full(3, 170.0), np.full(5, 20.0), period=180.0, n_permutation=1
    )
    assert float(turned.wasserstein) == pytest.approx(30.0)
    assert turned.mean_angle.values == pytest.approx([170.0, 20.0])
    np.testing.assert_allclose(turned.resultant, 1.0)
    assert turned.share.sum("angle").values == pytest.approx([1.0, 1.0])
    assert float(turned.share.sel(source="in silico", angle=165.0)) == 1.0


def test_in_vivo_directions_are_held_against_a_population_without_preference(direction_tuning):
    selective = direction_tuning["direction_selective"]
    curve, angle = direction_tuning["tuning_curve"][selective], direction_tuning["directions_deg"]
    in_vivo = insilico.preferred_angle(curve, angle, period=360)
    even = np.linspace(0, 360, 500, endpoint=False)
    found = insilico.compare_angle_distributions(np.append(even, np.nan), in_vivo, period=360.0)
    assert found.n_undefined.values.tolist() == [1, 0]
    assert float(found.kuiper_p) == pytest.approx(1 / 1001)
    mean, resultant = (found[name].values for name in ("mean_angle", "resultant"))
    # These mice prefer directions from 270 to 330 degrees, in the data's own convention.
    assert resultant[0] < 1e-9
    assert 0.15 < resultant[1] < 0.3
    assert 280 < mean[1] < 340
    halves = np.random.default_rng(0).permutation(in_vivo)
    again = insilico.kuiper_test(halves[::2], halves[1::2])
    assert again[1] > 0.05


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="2 or more angles in each set, but there are 1 and 2"):
        insilico.kuiper_test([1.0, np.nan], [1.0, 2.0])
    with pytest.raises(InputError, match="`period` must be above 0"):
        insilico.kuiper_test([1.0, 2.0], [1.0, 2.0], period=0.0)
    with pytest.raises(InputError, match="`seed`"):
        insilico.kuiper_test([1.0, 2.0], [1.0, 2.0], seed=-1)
