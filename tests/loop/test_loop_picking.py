"""Which neurons get stimuli: rules applied to plain arrays, and in a folder."""

import numpy as np
import pytest

from twinlab.loop import Units
from twinlab.loop.picking import pick_units
from twinlab.schema import InputError

RELIABILITY = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, np.nan, 0.05])
AREA = np.array(["V1", "V1", "V1", "V1", "LM", "LM", "V1", "LM"])
AWAY = np.array([5.0, 1.0, 5.0, np.nan, 5.0, 5.0, 5.0, 5.0])


def chosen(**settings):
    settings = {"min_reliability": 0.1} | settings
    left_out = pick_units(RELIABILITY, AWAY, {"area": AREA}, Units(**settings))
    return np.flatnonzero(left_out == "").tolist(), left_out


def test_the_most_reliable_are_taken_and_the_others_told_why():
    found, left_out = chosen(number=3)
    assert found == [0, 1, 2]
    assert left_out[3] == left_out[5] == "others are more reliable"
    assert {left_out[6], left_out[7]} == {"reliability below 0.1", "unknown reliability"}


def test_areas_share_evenly_as_far_as_there_are_enough():
    assert chosen(number=4, balance="area")[0] == [0, 1, 4, 5]
    assert chosen(number=3, balance="area")[0] == [0, 1, 4]  # the third by reliability
    left_out = chosen(number=3, balance="area")[1]
    # 0.8 in V1 is more than the 0.5 in LM that is chosen
    assert left_out[2] == left_out[5] == "others of its area are more reliable"
    assert chosen(number=6, balance="area")[0] == [0, 1, 2, 3, 4, 5]  # LM has no third
    assert chosen(number=3)[0] == [0, 1, 2]


def test_receptive_fields_too_near_the_border_are_left_out():
    found, left_out = chosen(number=8, margin_deg=2.0)
    assert found == [0, 2, 4, 5]
    assert left_out[1] == "closer than 2 deg to the border"
    assert left_out[3] == "no receptive field"
    assert chosen(number=8)[0] == [0, 1, 2, 3, 4, 5]


def test_areas_are_a_reason_before_reliability():
    found, left_out = chosen(number=8, areas=("LM",))
    assert found == [4, 5]
    assert left_out[6] == "in another area than LM"
    assert left_out[7] == "reliability below 0.1"


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"balance": "session"}, "`units.balance`"), ({"areas": ("V1",)}, "`units.areas`")],
)
def test_what_the_recording_does_not_tell_is_not_asked(settings, words):
    with pytest.raises(InputError, match=f"{words} asks for each neuron's"):
        pick_units(RELIABILITY, AWAY, {}, Units(**settings))
