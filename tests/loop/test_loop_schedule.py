"""Schedules are random, balanced, blinded and made again from their seed."""

import numpy as np
import pytest
from scipy import stats

from twinlab.loop import BLANK, make_schedule
from twinlab.schema import InputError

NAMES = [f"mei-{i}" for i in range(12)]


def test_each_block_shows_every_stimulus_once_and_its_blanks():
    schedule = make_schedule(NAMES, n_repeat=7, n_blank=3)
    assert schedule.sizes["trial"] == 7 * 15
    for block in range(7):
        shown = schedule.stimulus_id.values[schedule.block.values == block].tolist()
        assert sorted(shown) == sorted([*NAMES, *[BLANK] * 3])
    assert (np.diff(schedule.block) >= 0).all()
    np.testing.assert_allclose(schedule.onset_s, np.arange(105) * 1.0)


@pytest.mark.parametrize("names", [NAMES, NAMES[:2], NAMES[:3]])
@pytest.mark.parametrize("n_blank", [0, 1])
def test_nothing_is_shown_twice_in_a_row(names, n_blank):
    for seed in range(20):
        shown = make_schedule(names, n_repeat=20, n_blank=n_blank, seed=seed).code.values
        assert (shown[1:] != shown[:-1]).all()


def test_blanks_are_spread():
    for seed in range(20):
        schedule = make_schedule(NAMES, n_repeat=1, n_blank=4, seed=seed)
        at = np.flatnonzero(schedule.stimulus_id == BLANK)
        assert np.diff(at).min() >= 3
        assert np.diff(at).max() <= 6


def test_every_stimulus_is_as_likely_at_every_place():
    place = np.zeros((12, 12))
    for seed in range(50):
        shown = make_schedule(NAMES, n_repeat=12, seed=seed).stimulus_id.values.reshape(12, 12)
        for block in shown:
            place[[NAMES.index(name) for name in block], np.arange(12)] += 1
    # 600 blocks, 50 expected in each cell; rows and columns are fixed: 11 * 11 degrees of freedom
    assert stats.chi2.sf(((place - 50) ** 2 / 50).sum(), 121) > 0.001


def test_codes_tell_nothing_of_what_is_shown():
    rank = []
    for seed in range(200):
        schedule = make_schedule(NAMES, n_repeat=1, n_blank=1, seed=seed)
        code = dict(zip(schedule.stimulus_id.values, schedule.code.values, strict=True))
        assert len(set(code.values())) == 13  # one name each
        rank.append([int(code[name][1:]) for name in NAMES])
    # uniform on 1 to 13, whatever the stimulus: mean 7, and a mean of 200 scatters by 0.26
    np.testing.assert_allclose(np.mean(rank, axis=0), 7, atol=4 * np.sqrt(14 / 200))


def test_the_seed_decides():
    first, again, other = (make_schedule(NAMES, seed=seed) for seed in (0, 0, 1))
    assert first.identical(again)
    assert (first.stimulus_id != other.stimulus_id).any()


@pytest.mark.parametrize(
    ("names", "settings", "words"),
    [
        ([], {}, "is empty"),
        (["a", "a"], {}, "'a' twice"),
        (["a", BLANK], {}, "'blank'"),
        (["a"], {"n_repeat": 2}, "twice in a row"),
        (NAMES, {"n_repeat": 0}, "`n_repeat`"),
        (NAMES, {"n_blank": 13}, "`n_blank`"),
        (NAMES, {"on_s": 0}, "`on_s`"),
        (NAMES, {"seed": -1}, "`seed`"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(names, settings, words):
    with pytest.raises(InputError, match=words):
        make_schedule(names, **settings)


def test_codes_of_one_loop_do_not_tell_those_of_the_next():
    others = [name.replace("mei", "lei") for name in NAMES]
    one, other = (make_schedule(names, n_repeat=2, seed=0) for names in (NAMES, others))
    assert one.code.values.tolist() != other.code.values.tolist()
    codes = [dict(zip(s.code.values, s.stimulus_id.values, strict=True)) for s in (one, other)]
    places = [[int(part[code].split("-")[1]) for code in sorted(part)] for part in codes]
    assert places[0] != places[1]
