"""Power beforehand, and the noise of a session that plans the next."""

import numpy as np
import pytest
import xarray as xr

from twinlab.cli.loop_words import say_next_session
from twinlab.loop import measure_noise, plan_around, plan_next, plan_power
from twinlab.loop.repeats import holm


def session(responses):
    """A session in which neuron i answers to its own stimuli: {kind: (neuron, repeat)}."""
    n = len(next(iter(responses.values())))
    rows, labels = [], []
    for kind, values in responses.items():
        for i, repeats in enumerate(values):
            for one in repeats:
                row = np.full(n, np.nan)
                row[i] = one
                rows.append(row)
                labels.append((f"{kind}-{i}", kind, f"s/{i}"))
    names = ("stimulus_id", "kind", "made_for")
    return xr.Dataset(
        {"response": (("trial", "neuron"), np.array(rows))},
        {
            "neuron": [f"s/{i}" for i in range(n)],
            **{
                key: ("trial", list(of))
                for key, of in zip(names, zip(*labels, strict=True), strict=True)
            },
        },
    )


def test_the_least_ratio_is_found_with_the_power_wanted():
    planned = plan_power(1.3, n_unit=(3, 20, 300), n_repeat=(2, 9), rate=4.0, fano=2.0, power=0.9)
    for n_repeat in (2, 9):
        for n_unit in (3, 20, 300):
            least = float(planned.least_ratio.sel(n_repeat=n_repeat, n_unit=n_unit))
            again = plan_power(least, n_unit=[n_unit], n_repeat=[n_repeat], rate=4.0, fano=2.0)
            assert float(again.power[0, 0]) == pytest.approx(0.9, abs=1e-6)


@pytest.mark.parametrize(("fano", "spread"), [(1.0, 0.3), (3.0, 0.0), (2.0, 0.6)])
def test_the_noise_measured_is_that_planted(fano, spread):
    generator = np.random.default_rng(3)
    ratio = np.maximum(generator.normal(1.5, spread, (400, 1)), 0)
    # gamma variates of this scale have a variance of `fano` times their mean
    draw = lambda mean: generator.gamma(np.maximum(mean, 1e-9) / fano, fano, (400, 12))  # noqa: E731
    observed = session({"mei": draw(10 * ratio), "natural": draw(np.full((400, 1), 10.0))})
    noise = measure_noise(observed, "mei", "natural")
    assert float(noise.rate) == pytest.approx(10, rel=0.02)
    assert float(noise.ratio) == pytest.approx(ratio.mean(), rel=0.02)
    assert float(noise.fano) == pytest.approx(fano, rel=0.05)
    assert float(noise.spread) == pytest.approx(spread, abs=0.06)
    assert float(noise.n_measured) == 400
    swapped = measure_noise(observed, "natural", "mei", expect="least")
    assert all(float(swapped[name]) == float(noise[name]) for name in noise.data_vars)


def test_the_next_session_is_planned_with_the_noise_of_this_one():
    generator = np.random.default_rng(0)
    observed = session(
        {"mei": generator.poisson(6, (20, 5)), "natural": generator.poisson(4, (20, 5)),
         "gabor": np.zeros((20, 5))}
    )  # fmt: skip
    found = plan_next(observed, ["natural", "gabor"], n_unit=20, n_repeat=5)
    noise = measure_noise(observed, "mei", "natural")
    assumed = {name: float(noise[name]) for name in ("rate", "fano", "spread")}
    expected = plan_around(20, 5, **assumed)
    for name in expected.data_vars:
        np.testing.assert_array_equal(found[name].sel(control="natural"), expected[name])
    lines = say_next_session(found)
    assert lines[1] == "MEI against gabor: too little was measured to tell."
    # without any noise there is none to plan with, nor do units by the thousand help
    exact = session({"mei": np.full((20, 5), 2.0), "natural": np.ones((20, 5))})
    lines = say_next_session(plan_next(exact, ["natural"], n_unit=20, n_repeat=5))
    assert lines == ["MEI against natural: too little was measured to tell."]
    # a control to which nothing answers tells nothing of the noise
    silent = found.sel(control="gabor")
    assert silent.power.isnull().all()
    assert float(silent.n_measured) == 20


def test_too_few_repeats_or_neurons_measure_no_noise():
    for shape in ((20, 1), (2, 5)):
        observed = session({"mei": np.full(shape, 2.0), "natural": np.ones(shape)})
        noise = measure_noise(observed, "mei", "natural")
        assert np.isnan([float(noise[name]) for name in ("rate", "ratio", "fano", "spread")]).all()


def test_holm_is_the_closed_test_of_bonferroni():
    """Each hypothesis by the worst Bonferroni test of all sets that hold it."""
    generator = np.random.default_rng(1)
    p = np.append(generator.uniform(0, 0.3, 6) ** 2, np.nan)
    sets = [[i for i in range(6) if s >> i & 1] for s in range(1, 64)]
    closed = [
        max(min(len(s) * p[s].min(), 1) for s in map(np.array, sets) if i in s) for i in range(6)
    ]
    np.testing.assert_allclose(holm(p), [*closed, np.nan])
