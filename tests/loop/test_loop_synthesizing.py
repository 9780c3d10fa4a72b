"""A loop with every objective and control on a twin that is the simulated cortex itself."""

import json
import shutil
from unittest.mock import patch

import numpy as np
import pytest
import torch

from twinlab.cli.loop_report import write_loop_report
from twinlab.jobs import Cancelled
from twinlab.loop import loop_status, new_loop, open_loop, parse_plan, read_key, run_loop
from twinlab.recordings import save_recording
from twinlab.schema import InputError, open_result
from twinlab.simulation import SimulatedCortex

PLAN = """
recording = "recording.zarr"
seed = 1
[units]
number = 6
min_reliability = 0.2
margin_deg = 3.0
[stimuli]
objectives = ["lei", "mei", "diverse", "discriminating", "suppressor"]
controls = ["natural", "gabor", "noise", "other"]
n_diverse = 2
[presentation]
n_repeat = 20
[rig]
width_px = 96
height_px = 72
degrees_per_pixel = 0.375
image_degrees_per_pixel = 1.5
"""


def cortex():
    return SimulatedCortex(
        seed=0, n_neuron=12, height=18, width=24, reliability=0.6, running_gain=0.05,
        pupil_gain=0.05, composition={"simple": 0.3, "normalized": 0.4, "complex": 0.3},
    )  # fmt: skip


@pytest.fixture(scope="module")
def true_twins():
    """In place of fitted twins: the cortex makes the stimuli, a drifted one judges them."""
    known = {
        "twin": cortex().as_twin(),
        "verifier": cortex().on_day(1, gain=0.2, shift=0.3, loss=0.0).as_twin(),
    }
    with patch("twinlab.twins.load_twin", lambda path: known[path.name]):
        yield known


def begin(folder, text=PLAN):
    (folder / "plan.toml").write_text(text)
    new_loop(folder / "plan.toml", folder / "loop")
    for name in ("twin", "verifier"):
        (folder / "loop" / name).mkdir()
    return folder / "loop"


@pytest.fixture(scope="module")
def recording():
    return cortex().record(n_train=60, n_validation=40, n_test=30)


@pytest.fixture(scope="module")
def done(true_twins, recording, tmp_path_factory):
    folder = tmp_path_factory.mktemp("all")
    save_recording(recording, folder / "recording.zarr")
    loop = begin(folder)
    with patch("twinlab.loop.synthesizing.PART", 4):  # 6 neurons are made in two parts
        lines = run_loop(loop)
    return loop, dict(line.split(": ", 1) for line in lines)


def true_rates(stimuli):
    with torch.inference_mode():
        return cortex().as_twin().condition()(torch.as_tensor(stimuli)).numpy()


def test_units_keep_their_distance_and_the_others_are_told_of(done):
    loop, lines = done
    units = open_result(loop / "units.nc")
    known = cortex().neurons
    error = np.hypot(units.center_x - known.true_x.values, units.center_y - known.true_y.values)
    assert float(np.nanmedian(error)) < 1.0  # px
    chosen = units.chosen.values.astype(bool)
    away = np.minimum(units.center_x + 0.5, 23.5 - units.center_x)
    assert (away.values[chosen] * 1.5 >= 3).all()
    assert chosen.sum() == 6
    assert lines["units"].startswith("6 neurons, oracle correlation 0.")
    assert "left out: " in lines["units"]
    assert set(units.left_out.values[chosen]) == {""}
    assert "" not in set(units.left_out.values[~chosen])


def test_all_planned_stimuli_are_exported(done):
    loop, _ = done
    plan, key = open_loop(loop), read_key(loop / "export")
    kinds = {kind for name in plan.stimuli.objectives for kind in plan.stimuli.kinds(name)}
    assert set(key.kind.values.tolist()) == kinds
    assert len(kinds) == 2 * 4 + 2 + 1 + 2
    assert key.sizes["stimulus"] == plan.n_stimulus == 6 * 13
    assert np.isfinite(key.mask).all()
    z = (key.stimulus.values - cortex().spec.mean) / cortex().spec.std
    norm = np.linalg.norm(z.reshape(len(z), -1), axis=1)
    alone = ~np.isin(key.kind.values, ["suppressor", "base-suppressor"])
    of = {(kind, neuron): one for kind, neuron, one in zip(
        key.kind.values, key.neuron_id.values, norm, strict=True)}  # fmt: skip
    for (kind, neuron), one in of.items():
        if kind.split("-")[0] in ("natural", "gabor", "noise"):
            own = of["lei" if kind.endswith("-lei") else "mei", neuron]
            assert one == pytest.approx(own, rel=1e-4), (kind, neuron)
    assert np.median(norm[alone]) == pytest.approx(7, rel=0.01)
    assert (norm[alone] > 6).all()  # of those optimised, where pixels are cut
    np.testing.assert_allclose(norm[key.kind.values == "base-suppressor"], 3.5, rtol=0.01)
    assert key.stimulus.values.min() >= 0
    assert key.stimulus.values.max() <= 255


def test_each_stimulus_says_what_maker_and_verifier_expect_of_it(done, true_twins):
    loop, _ = done
    stimuli = open_result(loop / "stimuli.nc")
    neuron = stimuli.neuron_id.values.astype(int)
    each = np.arange(len(neuron))
    for name, made_by in (("predicted", "twin"), ("predicted_other", "verifier")):
        with torch.inference_mode():
            rates = true_twins[made_by].condition()(torch.as_tensor(stimuli.stimulus.values))
        np.testing.assert_allclose(
            stimuli[name], rates.numpy()[each, neuron], rtol=1e-4, atol=1e-6
        )
    assert np.isfinite(stimuli.distance).all()
    key = read_key(loop / "export")
    np.testing.assert_array_equal(key.predicted_other, stimuli.predicted_other)


def test_comparisons_say_what_is_true_of_each_objective(done):
    loop, _ = done
    key = read_key(loop / "export")
    rates = true_rates(key.stimulus.values)
    of_kind = {kind: key.kind.values == kind for kind in np.unique(key.kind.values)}
    neuron = key.neuron_id.values[of_kind["mei"]].astype(int)
    own = {kind: np.diagonal(rates[there][:, neuron]) for kind, there in of_kind.items()}

    def ratio(name, control):
        return float(open_result(loop / f"controls-{name}.nc").median_ratio.sel(control=control))

    for name, control in (("mei", "noise"), ("diverse-2", "natural"), ("discriminating", "mei")):
        true = np.median(own[name] / own[control])
        assert ratio(name, control) == pytest.approx(true, rel=0.2), (name, control)
    assert ratio("mei", "noise") > 1.5
    assert ratio("mei", "other") > 1.5
    assert ratio("diverse", "natural") > 1.0
    true = np.median((own["diverse-1"] + own["diverse-2"]) / 2 / own["mei"])
    assert 0.85 < true < 1.02  # at least 0.85 were asked for
    assert ratio("diverse", "mei") == pytest.approx(true, rel=0.15)
    lei = open_result(loop / "controls-lei.nc")
    assert lei.control.values.tolist() == ["natural-lei", "gabor-lei", "noise-lei", "other-lei"]
    # most are silent under any of them; where one is not, its own drives it less
    assert float(lei.ratio_of_means.sel(control="noise-lei")) < 0.5
    assert float(lei.ratio_of_means.sel(control="other-lei")) < 1
    # nothing suppresses the sum of squares of a complex cell; all others have what does
    energy = cortex().neurons.true_type.values[neuron] == "complex"
    lowered = open_result(loop / "controls-suppressor.nc").ratio.sel(control="base-suppressor")
    assert lowered.neuron.values.tolist() == [f"simulated-0/{i}" for i in neuron]
    true = own["suppressor"] / own["base-suppressor"]
    np.testing.assert_allclose(lowered, true, rtol=0, atol=0.35)
    assert (true[energy] > 0.95).all()
    assert (true[~energy] < 0.4).all()
    assert not (loop / "confusion-suppressor.nc").exists()
    specificity = open_result(loop / "specificity.nc")
    true = []
    for kind in ("discriminating", "mei"):
        table = rates[of_kind[kind]][:, neuron] / own["mei"]
        rivals = np.where(np.eye(6, dtype=bool), -np.inf, table).max(1)
        true.append(np.diagonal(table) - rivals)
    gained = true[0] - true[1]  # nothing much where no other looks at the same place
    assert gained.min() > -0.01
    assert gained.max() > 0.05
    assert float(specificity.mean_difference) > 0
    for name in ("mei", "diverse", "discriminating"):
        confusion = open_result(loop / f"confusion-{name}.nc")
        assert float(confusion.share_best_for_it) >= 4 / 6
        assert float(confusion.mean_specificity_p_value) < 0.05


@pytest.mark.slow
def test_stimuli_stopped_anywhere_end_in_the_same_bytes(done, tmp_path, impatient):
    whole, _ = done
    folder = tmp_path / "stopped"
    shutil.copytree(whole, folder)
    names = ("lei", "mei", "diverse", "discriminating", "suppressor", "stimuli")
    for name in names:
        (folder / f"{name}.nc").unlink()
    seen, patience = set(), 40
    with patch("twinlab.loop.synthesizing.PART", 4):
        for _ in range(30):
            try:
                run_loop(folder, until="stimuli", job=impatient(patience))
                break
            except Cancelled:
                parts = tuple(sorted(p.name for p in folder.glob("*.nc.parts/0*.nc")))
                seen.add((parts, *sorted(p.name for p in folder.glob("*.nc"))))
                patience = int(patience * 1.4)
    assert loop_status(folder)["stimuli"]
    assert len(seen) >= 4  # parts of several objectives were there when it stopped
    assert not list(folder.glob("*.parts")) + list(folder.glob("*.partial.nc"))
    for name in names:
        same = (folder / f"{name}.nc").read_bytes() == (whole / f"{name}.nc").read_bytes()
        assert same, name


def test_a_loop_that_makes_meis_alone_has_no_more_files_than_it_needs(
    true_twins, recording, tmp_path
):
    save_recording(recording, tmp_path / "recording.zarr")
    plain = PLAN.replace('["lei", "mei", "diverse", "discriminating", "suppressor"]', '["mei"]')
    loop = begin(tmp_path, plain.replace('["natural", "gabor", "noise", "other"]', "[]"))
    run_loop(loop)
    names = {path.name for path in loop.glob("*.nc")}
    assert names == {
        "units.nc", "mei.nc", "stimuli.nc", "responses.nc", "confusion-mei.nc", "prediction.nc",
    }  # fmt: skip
    settings = json.loads(open_result(loop / "mei.nc").attrs["settings"])
    assert settings["n_natural"] == recording.sizes["image"]


def test_what_is_compared_with_meis_needs_meis():
    for name in ("diverse", "discriminating"):
        text = PLAN.replace(
            '["lei", "mei", "diverse", "discriminating", "suppressor"]', f"{[name]}"
        )
        with pytest.raises(InputError, match=f"has '{name}', which is compared with the MEI"):
            parse_plan(text)
    with pytest.raises(InputError, match="`units.balance` must be one of"):
        parse_plan(PLAN.replace("number = 6", 'number = 6\nbalance = "layer"'))


def test_the_report_holds_every_objective(done, tmp_path):
    loop, _ = done
    page = write_loop_report(loop, tmp_path / "report.html").read_text()
    for name in ("DISCRIMINATING", "SUPPRESSOR", "base-suppressor", "noise-lei"):
        assert name in page, name
