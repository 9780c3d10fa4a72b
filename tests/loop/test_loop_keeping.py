"""A loop in one file gives the report of its folder; nothing else gives one."""

import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab.cli.loop_report import say_what_is_shown, write_loop_report
from twinlab.cli.loop_words import say_left_out, say_prediction, say_specificity, say_verification
from twinlab.loop import (
    compare_confusion,
    compare_controls,
    compare_prediction,
    export_stimuli,
    import_responses,
    keep_loop,
    list_tests,
    match_by_table,
    name_units,
    new_loop,
    open_kept,
    plan_next,
    play_rig,
    read_key,
)
from twinlab.schema import InputError, make_result, open_result, save_result

PLAN = """
recording = "simulated"
units.number = 6
stimuli.controls = ["natural"]
presentation.n_repeat = 4
[rig]
width_px = 160
height_px = 120
degrees_per_pixel = 0.35
image_degrees_per_pixel = 1.5
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cortex, planned, schedule, rig):
    """A loop whose steps left what they leave, made without a fit: the cortex is its own twin."""
    folder = tmp_path_factory.mktemp("kept") / "loop"
    (folder.parent / "plan.toml").write_text(PLAN)
    new_loop(folder.parent / "plan.toml", folder)
    export_stimuli(planned, schedule, rig, folder / "export", mean=127.5)
    names = [f"simulated-0/{i}" for i in range(6)]
    with torch.inference_mode():
        rate = cortex.as_twin().condition()(torch.as_tensor(planned.stimulus.values)).numpy()
    responses = import_responses(
        play_rig(cortex, folder / "export", folder / "responses.csv", seed=1), folder / "export"
    ).responses
    table = {name: str(i) for i, name in enumerate(names)}
    observed = name_units(responses, match_by_table(table, names, responses.unit.values.tolist()))
    observed.attrs |= {"experiment": "responses", "findings": "trial 7 came twice"}
    predicted = xr.DataArray(
        rate,
        dims=("stimulus", "neuron"),
        coords={"stimulus_id": ("stimulus", planned.stimulus_id.values), "neuron": names},
    )
    both = {
        f"activation{kind}{judge}": ("neuron", values, {"long_name": "activation", "units": "1"})
        for kind, values in (("", np.arange(1.0, 7)), ("_natural", np.ones(6)))
        for judge in ("", "_other")
    }
    results = {
        "units": make_result(
            xr.Dataset({"chosen": ("neuron", [True] * 6, {"long_name": "chosen", "units": "1"})}),
            experiment="units",
        ),
        "stimuli": planned.assign_attrs(experiment="stimuli", left_out=""),
        "responses": observed,
        "mei": make_result(xr.Dataset(both), experiment="mei"),
        "confusion-mei": compare_confusion(observed, n_permutation=200, n_bootstrap=50),
        "controls-mei": compare_controls(observed, ["natural"], n_bootstrap=50),
        "power-mei": plan_next(observed, ["natural"], n_unit=6, n_repeat=4),
        "prediction": compare_prediction(observed, predicted, n_bootstrap=50),
    }
    for name, result in results.items():
        save_result(result, folder / f"{name}.nc")
    for name in ("recording.zarr", "twin", "verifier"):
        (folder / name).mkdir()
    (folder / "comparison.done").touch()
    return folder


@pytest.fixture(scope="module")
def kept(folder):
    return keep_loop(folder)


def test_the_file_holds_every_result_as_it_is(folder, kept):
    plan, groups = open_kept(kept)
    assert plan.units.number == 6
    for path in folder.glob("*.nc"):
        if path != kept:
            assert groups[path.stem].identical(open_result(path)), path
    assert groups["key"].identical(read_key(folder / "export"))
    assert groups[""].attrs["plan"] == PLAN
    before = kept.read_bytes()
    assert keep_loop(folder).read_bytes() == before


class Page(HTMLParser):
    """What a page shows and refers to."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_the_page_of_the_file_is_that_of_the_folder(folder, kept, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(kept, tmp_path / "elsewhere" / "other.nc")
    one = write_loop_report(folder, tmp_path / "a.html").read_bytes()
    assert one == write_loop_report(moved, tmp_path / "b.html").read_bytes()
    text = one.decode()
    words = re.sub(r"<[^>]*>", "", text.replace(" ", " "))
    for line in (
        "of the neurons answer most to the MEI that was made for them",
        "Predicted and observed mean responses to 12 stimuli correlate",
        "The verifier predicts that the MEI excites 5 of 6 neurons more",
        "Stimuli were made for 6 of the 6 neurons.",
        "56 of 56 planned trials came back, of 6 neurons.",
        "trial 7 came twice",
        "With 6 units and 4 repeats, responses 1.3 times those to a control",
        "MEI against natural: a ratio of 1.3 needs",
        "The 2 tests of the whole population.",
        "presentation.n_repeat = 4",
    ):
        assert line in words, line
    assert str(folder) not in text
    tags = Page(text).tags
    images = [attrs for tag, attrs in tags if tag == "img"]
    assert all(one["alt"] and one["src"].startswith("data:") for one in images)
    assert len({one["alt"] for one in images}) == len(images)
    figures = [attrs["id"] for tag, attrs in tags if tag == "figure" and "id" in attrs]
    assert figures == [f"figure-{i}" for i in range(1, 10)]
    assert [attrs["href"] for tag, attrs in tags if tag == "a"] == [f"#{name}" for name in figures]


def test_what_is_no_loop_in_one_file_is_refused_in_one_line(folder, kept, tmp_path):
    whole, damaged = kept.read_bytes(), tmp_path / "damaged.nc"
    generator = np.random.default_rng(0)
    spoiled = [whole[: len(whole) // 2], b"", b"no NetCDF"]
    for place in generator.integers(len(whole), size=6):
        spoiled.append(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    said = []
    for content in spoiled:
        damaged.write_bytes(content)
        try:
            _, groups = open_kept(damaged)
        except InputError as error:
            said.append(str(error))
        else:  # nothing that is read was in that byte
            assert groups["responses"].identical(open_result(folder / "responses.nc"))
    assert len(said) > len(spoiled) / 2
    assert all(one.startswith(str(damaged)) and "\n" not in one for one in said)
    with pytest.raises(InputError, match="is not the loop.nc of a loop"):
        write_loop_report(folder / "prediction.nc", tmp_path / "r.html")
    with pytest.raises(InputError, match="no such file"):
        write_loop_report(tmp_path / "none.nc", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_values_altered_in_the_file_are_noticed(kept, tmp_path):
    with xr.open_datatree(kept, engine="h5netcdf") as tree:
        tree.load()
    tree["confusion-mei"]["mean_specificity_p_value"] = xr.DataArray(1e-6)
    tree.to_netcdf(tmp_path / "altered.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="its checksum is not its own"):
        open_kept(tmp_path / "altered.nc")


def test_the_tests_of_all_results_are_corrected_together():
    def result(**variables):
        return xr.Dataset(variables, {"control": ["natural", "gabor"]})

    tests = list_tests(
        {
            "confusion-mei": xr.Dataset({"mean_specificity_p_value": 0.01}),
            "controls-mei": result(population_p_value=("control", [0.03, 0.005])),
            "confusion-lei": xr.Dataset({"mean_specificity_p_value": 0.04}),
            "controls-lei": result(population_p_value=("control", [np.nan, np.nan])),
            "prediction": xr.Dataset({"mean_correlation": 1.0}),
        }
    )
    # Holm's own example of four: the smallest times 4, the next times 3, and so on
    np.testing.assert_allclose(tests.p_holm, [0.03, 0.06, 0.02, 0.06, np.nan, np.nan])
    assert tests.question.values[2] == "own stimulus against gabor"


def test_what_is_shown_before_the_correction_may_not_be_after_it(folder):
    confusion, controls = (open_result(folder / f"{n}-mei.nc") for n in ("confusion", "controls"))
    confusion["mean_specificity_p_value"] = confusion.mean_specificity_p_value * 0 + 0.03
    controls["population_p_value"] = controls.population_p_value * 0 + 0.04
    alone = " ".join(say_what_is_shown(confusion, controls))
    assert "The stimuli are the neurons' own (p = 0.03" in alone
    assert "larger (p = 0.04" in alone
    tests = list_tests({"confusion-mei": confusion, "controls-mei": controls})
    together = " ".join(say_what_is_shown(confusion, controls, tests))
    assert "own is not shown (p = 0.06, stimuli permuted, Holm over 2 tests)" in together
    assert "not shown to be larger (p = 0.06" in together
    assert "What is not shown may still be there" in together


def test_kinds_without_a_confusion_matrix_are_spoken_of_too(folder):
    controls = open_result(folder / "controls-mei.nc")
    lines = say_what_is_shown(None, controls)
    assert lines[0].startswith("Responses to the MEI are ")
    specificity = make_result(
        xr.Dataset(
            {
                name: (dims, value, {"long_name": name, "units": "1"})
                for name, dims, value in (
                    ("mean_difference", (), 0.4),
                    ("mean_difference_interval", ("bound",), [0.1, 0.7]),
                    ("population_p_value", (), 0.02),
                )
            }
        ),
        experiment="specificity",
        settings={"kind": "discriminating", "other": "mei"},
    )
    assert "DISCRIMINATING more specific than MEI" in say_specificity(specificity)[0]
    tests = list_tests({"controls-mei": controls, "specificity": specificity})
    assert tests.question.values[-1] == "own stimulus against mei"
    specificity["population_p_value"] = specificity.population_p_value + 0.5
    assert "not shown to be more specific" in say_specificity(specificity)[0]


def test_what_is_left_out_is_said(folder, kept):
    _, groups = open_kept(kept)
    groups["key"].attrs["left_out"] = "mei-s-9"
    groups["responses"] = groups["responses"].isel(neuron=slice(1, None))
    groups["responses"].response[3] = np.nan
    groups["responses"].response[5, 1] = np.nan
    lines = say_left_out(groups, {"stimuli": [{"clipped_fraction": 0.25}, {}]})
    assert "1 of these were not found again: simulated-0/0." in lines
    assert "1 stimuli could not be made: mei-s-9." in lines
    assert (
        "55 of 56 planned trials came back, of 5 neurons; 1 single responses are missing." in lines
    )
    assert any(line.startswith("1 stimuli had pixels that the screen cannot") for line in lines)
    prediction = groups["prediction"]
    prediction["mean_correlation_interval"] = ("bound", [-0.1, 0.2])
    assert say_prediction(prediction).endswith("That the twin predicts responses is not shown.")
    made = groups["mei"].assign(unfamiliar=("neuron", [1, 0, 0, 0, 0, 1]))
    assert "2 of 6 lie farther from the training images" in say_verification(made)
