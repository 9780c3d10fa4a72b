"""Loops seen from outside: which there are, how far each is, what a stimulus did."""

import numpy as np
import pytest
import xarray as xr

from twinlab.files import is_busy, keep_alone
from twinlab.loop import describe_steps, find_loops, find_stimuli, gather_loop, new_loop
from twinlab.schema import InputError, save_result

PLAN = """
recording = "simulated"
rounds.number = 1
[rig]
width_px = 160
height_px = 120
degrees_per_pixel = 0.35
image_degrees_per_pixel = 1.5
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    new_loop(tmp_path / "plan.toml", tmp_path / "loops" / "one")
    return tmp_path / "loops" / "one"


def states(folder):
    found = describe_steps(folder)
    return dict(zip(found.step.values, found.state.values, strict=True))


def test_loops_are_found_by_their_mark(folder, tmp_path):
    (folder.parent / "other").mkdir()
    assert find_loops(folder.parent) == {"one": folder}
    assert find_loops(folder) == {"one": folder}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(folder)
    assert find_loops(tmp_path / "elsewhere") == {}
    with pytest.raises(InputError, match="gone: no such folder"):
        find_loops(tmp_path / "gone")


def test_each_step_says_how_far_it_is(folder):
    assert list(states(folder).values()) == ["next", *["later"] * 8]
    with keep_alone(folder):
        assert states(folder)["recording"] == "running"
    (folder / "recording.zarr").mkdir()  # of no cortex that could answer
    (folder / "twin").mkdir()
    assert states(folder)["round 1"] == "next"
    (folder / "rounds" / "1" / "export").mkdir(parents=True)
    assert states(folder)["round 1"] == "waiting"
    (folder / "rounds" / "1" / "twin").mkdir()
    for made in ("verifier", "export"):
        (folder / made).mkdir()
    for made in ("units.nc", "stimuli.nc"):
        (folder / made).touch()
    found = describe_steps(folder)
    assert states(folder)["responses"] == "waiting"
    assert states(folder)["comparison"] == "later"
    assert np.isnat(found.finished.values).tolist() == [s != "done" for s in found.state.values]


def test_one_at_a_time_works_in_a_folder(tmp_path):
    assert not is_busy(tmp_path)
    with keep_alone(tmp_path):
        assert is_busy(tmp_path)
        with pytest.raises(BlockingIOError, match="another process"), keep_alone(tmp_path):
            pass
    assert not is_busy(tmp_path)
    assert not is_busy(tmp_path / "gone")


def test_what_there_is_of_a_loop_is_read_before_it_is_done(folder):
    assert set(gather_loop(folder)) == {"power", "tests", "rounds"}
    result = xr.Dataset({"chosen": ("neuron", [1])}, attrs={"experiment": "units"})
    save_result(result, folder / "units.nc")
    save_result(result, folder / "mei.partial.nc")
    assert gather_loop(folder)["units"].identical(result)
    assert "mei.partial" not in gather_loop(folder)


def test_a_stimulus_is_found_with_the_answers_of_any_neuron():
    ids = ["mei-0", "mei-1", "natural-0", "natural-1"]
    labels = {
        "stimulus_id": ("stimulus", ids),
        "kind": ("stimulus", ["mei", "mei", "natural", "natural"]),
        "session": ("stimulus", ["s"] * 4),
        "neuron_id": ("stimulus", ["0", "1", "0", "1"]),
    }
    images = np.arange(4.0)[:, None, None, None] * np.ones((1, 1, 2, 2))
    key = xr.Dataset({"stimulus": (("stimulus", "channel", "y", "x"), images)}, labels)
    table = np.arange(6.0).reshape(3, 2)  # natural-1 was not shown
    prediction = xr.Dataset(
        {
            "observed": (("stimulus", "neuron"), table),
            "predicted": (("stimulus", "neuron"), table + 10),
        },
        {"stimulus_id": ("stimulus", ids[2::-1]), "neuron": ["s/0", "s/1"]},
    )
    made = key.assign(predicted_other=("stimulus", [7.0, 8.0, 9.0, 6.0]))
    groups = {"key": key, "prediction": prediction, "stimuli": made}
    own = find_stimuli(groups, "s/0", "s/0")
    assert own.kind.values.tolist() == ["mei", "natural"]
    assert own.observed.values.tolist() == [4.0, 0.0]
    assert own.predicted.values.tolist() == [14.0, 10.0]
    assert own.predicted_other.values.tolist() == [7.0, 9.0]
    other = find_stimuli(groups, "s/1", "s/0")
    np.testing.assert_array_equal(other.observed, [2.0, np.nan])
    assert other.predicted_other.isnull().all()
    np.testing.assert_array_equal(other.stimulus[:, 0, 0, 0], [1.0, 3.0])
    assert find_stimuli({"key": key}, "s/0", "s/0").observed.isnull().all()
