"""Trials saved, on curves whose answer is known."""

import numpy as np
import pytest
import xarray as xr

from twinlab.loop import say_trials_saved, trials_saved
from twinlab.schema import InputError, open_result, save_result

TRIALS = np.array([200, 400, 600, 800, 1000])


def learnt(*speeds, offset=0.0):
    """Accuracy 1 - 100 / trials of random images; others count `speed` trials for one."""
    curves = [[1 - 100 / (speed * TRIALS) + offset * (speed != 1) for speed in speeds]]
    curves[0] = [np.r_[0.5, one[1:]] for one in curves[0]]  # one start
    return xr.DataArray(
        curves, dims=("seed", "criterion", "trials"),
        coords={"seed": [3], "criterion": ["random", "best", "worse"][: len(speeds)],
                "trials": TRIALS},
    )  # fmt: skip


def test_twice_as_much_from_each_trial_saves_half_of_them():
    saved = trials_saved(learnt(1, 2, 0.8))
    # 1 - 100 / (2 * 500) = 0.9, between 400 and 600 trials, by a straight line
    low, high = (1 - 100 / (2 * n) for n in (400, 600))
    needed = 400 + 200 * (0.9 - low) / (high - low)
    assert saved.trials_needed.sel(criterion="best").item() == pytest.approx(needed)
    assert saved.mean_trials_saved.sel(criterion="best").item() == pytest.approx(0.5, abs=0.03)
    assert saved.mean_trials_saved.sel(criterion="random").item() == 0
    assert np.isnan(saved.mean_trials_saved.sel(criterion="worse"))
    assert "fewer trials" in say_trials_saved(saved, "best")
    assert "as aimed at" in say_trials_saved(saved, "best")
    assert "less than the 60% aimed at" in say_trials_saved(saved, "best", goal=0.6)
    assert "do not reach" in say_trials_saved(saved, "worse")
    assert "save no trials" in say_trials_saved(saved, "random")


def test_the_spread_over_seeds_is_that_of_the_mean(tmp_path):
    accuracy = xr.concat([learnt(1, speed) for speed in (1.5, 2, 3)], "seed")
    saved = trials_saved(accuracy.assign_coords(seed=[0, 1, 2]))
    each = saved.trials_saved.sel(criterion="best").values
    assert (np.diff(each) > 0).all()
    best = saved.sel(criterion="best")
    assert best.mean_trials_saved.item() == pytest.approx(each.mean())
    assert best.mean_trials_saved_standard_error.item() == pytest.approx(
        each.std(ddof=1) / np.sqrt(3)
    )
    assert f"({each.min():.0%} to {each.max():.0%} over 3 seeds)" in say_trials_saved(
        saved, "best"
    )
    save_result(saved, tmp_path / "saved.nc")
    assert say_trials_saved(open_result(tmp_path / "saved.nc"), "best") == (
        say_trials_saved(saved, "best")
    )


def test_what_cannot_be_compared_is_refused():
    accuracy = learnt(1, 2)
    with pytest.raises(InputError, match="no criterion 'all'"):
        trials_saved(accuracy, baseline="all")
    with pytest.raises(InputError, match="must increase"):
        trials_saved(accuracy.assign_coords(trials=TRIALS[::-1]))
    with pytest.raises(InputError, match="5 values that are not finite"):
        trials_saved(accuracy.where(accuracy.criterion != "best"))
    with pytest.raises(InputError, match="Nothing was chosen by 'none'"):
        say_trials_saved(trials_saved(accuracy), "none")
