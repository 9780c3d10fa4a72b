"""The command, as its user meets it: what it says, what it writes, how it ends."""

import errno
import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from command import call, mistake

from twinlab import cli, recordings, schema, simulation, twins
from twinlab.cli.experiments import open_experiment


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A small recording on disk, and a twin fitted to it by the command itself."""
    folder = tmp_path_factory.mktemp("bench")
    cortex = simulation.SimulatedCortex(seed=1, n_neuron=10)
    recordings.save_recording(
        cortex.record(n_train=300, n_validation=60, n_test=20, n_repeat=4),
        folder / "recording.zarr",
    )
    return folder


SMALL = [
    "--set", "layers=2", "--set", "hidden=8", "--set", "hidden_kernel=3",
    "--set", "max_epochs=2", "--set", "schedule=cosine",
]  # fmt: skip


@pytest.fixture(scope="module")
def fitted(bench):
    status, out, err = call(
        "fit", bench / "recording.zarr", "--out", bench / "twin", "--members", 2, *SMALL
    )
    assert status == 0, err
    return bench / "twin", out


def test_a_fit_says_what_it_beat_and_leaves_a_whole_twin(fitted):
    folder, said = fitted
    assert "mean" in said
    assert "linear_nonlinear" in said
    assert isinstance(twins.load_twin(folder), twins.EnsembleTwin)
    twins.check_twin(twins.load_twin(folder / "linear_nonlinear"))
    assert schema.open_result(folder / "history.nc").sizes == {"member": 2, "epoch": 2}
    baselines = schema.open_result(folder / "baselines.nc")
    assert baselines.model.values.tolist() == ["mean", "linear_nonlinear", "twin"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["recording.zarr", "twin"]


def test_a_twin_is_scored_and_the_scores_are_drawn(bench, fitted, tmp_path):
    status, said, err = call(
        "score", fitted[0], bench / "recording.zarr", "--out", tmp_path / "scores.nc"
    )
    assert status == 0, err
    assert "oracle_correlation" in said
    assert schema.open_result(tmp_path / "scores.nc").attrs["experiment"] == "score"
    for suffix in (".png", ".svg", ".html"):
        status, _, err = call(
            "show", tmp_path / "scores.nc", "--out", tmp_path / f"scores{suffix}"
        )
        assert status == 0, err
        assert (tmp_path / f"scores{suffix}").stat().st_size > 1000


@pytest.mark.parametrize("experiment", ["receptive_field", "tuning", "sta"])
def test_experiments_run_on_chosen_neurons(fitted, tmp_path, experiment):
    few = ["--set", "n_image=40"] if experiment == "sta" else []
    status, _, err = call(
        "run", experiment, fitted[0], "--neurons", "0:2,5", "--out", tmp_path / "r.nc", *few
    )
    assert status == 0, err
    assert schema.open_result(tmp_path / "r.nc").sizes["neuron"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["r.nc"]
    assert call("show", tmp_path / "r.nc")[0] == 0
    assert (tmp_path / "r.png").exists()


def test_optimised_images_are_judged_by_a_twin_that_did_not_make_them(fitted, tmp_path):
    status, _, err = call(
        "run", "mei", fitted[0], "--neurons", "1", "--out", tmp_path / "mei.nc",
        "--set", "n_step=5", "--set", "n_start=1",
    )  # fmt: skip
    assert status == 0, err
    mei = schema.open_result(tmp_path / "mei.nc")
    assert {"activation_other", "activation_natural", "activation_gabor"} <= set(mei)
    assert {"activation_architecture", "distance", "unfamiliar", "mask_size"} <= set(mei)


def test_optimised_videos_are_judged_too(tmp_path):
    spec = twins.StimulusSpec(1, 16, 20, 110.0, 55.0, frame_rate=30.0)
    neurons = xr.Dataset(coords={"neuron_id": ("neuron", [7]), "session": ("neuron", ["s"])})
    few = {"core": "factorized_3d", "layers": 1, "input_kernel": 5, "input_temporal_kernel": 3}
    built = [twins.Architecture(hidden=hidden, **few) for hidden in (2, 3)]
    members = [twins.DeepTwin(architecture, spec, neurons).eval() for architecture in built]
    twins.save_twin(twins.EnsembleTwin(members), tmp_path / "twin")
    status, _, err = call(
        "run", "mei", tmp_path / "twin", "--out", tmp_path / "mei.nc",
        "--set", "n_step=3", "--set", "n_start=1", "--set", "n_frame=6",
    )  # fmt: skip
    assert status == 0, err
    mei = schema.open_result(tmp_path / "mei.nc")
    assert mei.natural.dims == mei.gabor.dims == ("neuron", "channel", "frame", "y", "x")
    assert np.isfinite(mei.activation_natural_other).all()
    assert call("show", tmp_path / "mei.nc")[0] == 0


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        ("controversial", ["--set", "n_step=4", "--set", "n_start=1"]),
        ("metamer", ["--image", "1", "--set", "n_step=3", "--set", "n_start=1"]),
        ("eigendistortions", []),
        ("lei", ["--set", "n_step=4", "--set", "n_start=2"]),
    ],
)
def test_two_twins_are_compared_and_images_taken_apart(fitted, bench, tmp_path, experiment, words):
    status, _, err = call(
        "run", experiment, fitted[0], "--neurons", "0:3", "--out", tmp_path / "r.nc",
        "--recording", bench / "recording.zarr", *words,
    )  # fmt: skip
    assert status == 0, err
    assert schema.open_result(tmp_path / "r.nc").attrs["experiment"] == experiment
    assert call("show", tmp_path / "r.nc")[0] == 0


def test_what_an_experiment_needs_besides_is_named(fitted, tmp_path):
    alone = ["run", "controversial", fitted[0] / "linear_nonlinear", "--out", tmp_path / "r.nc"]
    assert "--other" in mistake(*alone)
    missing = ["run", "metamer", fitted[0], "--image", "400", "--out", tmp_path / "r.nc"]
    assert "numbered from 0" in mistake(*missing)
    missing[4] = tmp_path / "none.png"
    assert "none.png" in mistake(*missing)


@pytest.mark.parametrize("experiment", ["mei", "controversial"])
def test_a_run_is_known_by_what_judges_are_and_not_by_where_they_lie(experiment):
    judges = [
        open_experiment(experiment, "simulated", "cpu", other=f"simulated:{seed}")[2]["judge"]
        for seed in (1, 2)
    ]
    assert judges == [cli.open_twin(f"simulated:{seed}").identity for seed in (1, 2)]


def test_a_run_is_known_by_what_was_familiar_and_by_the_twin_that_lies_there_now(bench, fitted):
    """Refitted at the same path, to the same images or to others, it is another run's."""
    folder, known = bench / "again", "familiarity.safetensors"
    shutil.copytree(fitted[0], folder)
    twin, _, before = open_experiment("mei", str(folder), "cpu")
    images = np.random.default_rng(0).uniform(0, 255, (30, *twin.spec.shape)).astype(np.float32)
    shown = twins.fit_familiarity(twins.load_twin(folder), images[:20], images[20:])
    twins.save_familiarity(shown, folder)
    same, _, after = open_experiment("mei", str(folder), "cpu")
    assert same.identity == twin.identity
    assert {name for name in before if after[name] != before[name]} == {"familiarity"}

    other = twins.load_twin(folder)
    with torch.no_grad():
        for weight in other.parameters():
            weight *= 1.01
    shutil.rmtree(folder)
    twins.save_twin(other, folder)
    shutil.copy(fitted[0] / known, folder / known)
    refitted, _, judges = open_experiment("mei", str(folder), "cpu")
    assert refitted.identity != twin.identity
    assert judges["judge"] != before["judge"]
    assert judges["familiarity"] == before["familiarity"]


def test_a_run_is_known_by_the_image_that_was_shown():
    shown = [
        open_experiment("metamer", "simulated", "cpu", image=number)[2]["shown"]
        for number in ("0", "1", "0")
    ]
    assert shown[0] == shown[2] != shown[1]


def test_a_sweep_over_reliable_neurons_is_run_and_drawn(fitted, bench, tmp_path):
    status, said, err = call(
        "run", "tuning", fitted[0], "--neurons", "reliable:-1", "--sweep", "contrast=0.2,0.8",
        "--recording", bench / "recording.zarr", "--out", tmp_path / "r.nc",
        "--set", "n_orientation=4", "--set", "n_phase=3", "--set", "n_spatial_frequency=1",
    )  # fmt: skip
    assert status == 0, err
    assert "10 of 10 neurons, explainable variance above -1" in said
    result = schema.open_result(tmp_path / "r.nc")
    assert result.osi.dims == ("neuron", "contrast")
    first, words = cli.at_setting(result, {})
    assert words == " (at contrast=0.2)"
    assert first.osi.dims == ("neuron",)
    schema.save_result(result.isel(neuron=[0]), tmp_path / "one.nc")
    said = call("show", tmp_path / "one.nc", "--at", "contrast=0.8")[1]
    assert said.startswith("The figure (at contrast=0.8) is in")
    assert "choose from 0.2, 0.8" in mistake("show", tmp_path / "r.nc", "--at", "contrast=1")


@pytest.mark.parametrize(
    ("experiment", "settings"),
    [
        ("fisher_information", ["n_value=3"]),
        ("neurometric", ["n_trial=20", "n_bootstrap=3"]),
        ("reconstruction", ["n_image=3", "n_step=3"]),
    ],
)
def test_read_outs_of_a_population_are_swept_whole(fitted, tmp_path, experiment, settings):
    few = [word for setting in settings for word in ("--set", setting)]
    name = "prior=white,natural" if experiment == "reconstruction" else "contrast=0.4,0.8"
    status, _, err = call(
        "run", experiment, fitted[0], "--neurons", "0:2", "--out", tmp_path / "r.nc",
        "--sweep", name, *few,
    )  # fmt: skip
    assert status == 0, err
    result = schema.open_result(tmp_path / "r.nc")
    assert result.sizes[name.partition("=")[0]] == 2
    assert result.sizes["neuron"] == 2
    assert call("show", tmp_path / "r.nc")[0] == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--sweep", "contrast"], "--sweep needs KEY=VALUE,VALUE"),
        (["--sweep", "contrast=0.2,x"], "needs a value of type float"),
        (["--sweep", "contrast=0.2,0.2"], "different values"),
        (["--sweep", "contrast=0.2", "--set", "contrast=0.4"], "both set and swept"),
        (["--neurons", "reliable"], "needs a --recording"),
        (["--neurons", "reliable:x", "--recording", "simulated"], "needs a number"),
    ],
)
def test_a_sweep_mistyped_is_refused_in_one_line(fitted, tmp_path, words, complaint):
    out = tmp_path / "r.nc"
    assert complaint in mistake("run", "tuning", fitted[0], "--out", out, *words)
    assert not out.exists()


def test_experiments_and_settings_are_listed():
    status, said, _ = call("run", "--list")
    assert status == 0
    for name in ("receptive_field", "sta", "tuning", "mei", "n_orientation=16"):
        assert name in said


def test_recordings_are_listed_shown_checked_and_converted(bench, tmp_path):
    assert "lurz2020" in call("recordings", "list")[1]
    assert "10.1101" in call("recordings", "show", "lurz2020")[1]
    said = call("recordings", "show", bench / "recording.zarr")[1]
    assert "neurons     10" in said
    assert "300 train" in said
    assert "nothing wrong" in call("recordings", "check", bench / "recording.zarr")[1]
    target = tmp_path / "copy.zarr"
    assert call("recordings", "convert", bench / "recording.zarr", target)[0] == 0
    xr.testing.assert_identical(
        recordings.open_recording(target), recordings.open_recording(bench / "recording.zarr")
    )


def test_the_version_is_told():
    assert call("--version")[1].strip() == twins.storing.__version__


# ---- mistakes: one line, status 2, nothing written ----


def test_an_unknown_recording_is_named(tmp_path):
    said = mistake("fit", tmp_path / "absent.zip", "--out", tmp_path / "twin")
    assert "absent.zip" in said
    assert not list(tmp_path.iterdir())


def test_a_truncated_zip_is_refused_and_nothing_is_written(tmp_path):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("scan/config.json", "{}" * 1000)
    (tmp_path / "scan.zip").write_bytes(whole.getvalue()[:300])
    said = mistake("fit", tmp_path / "scan.zip", "--out", tmp_path / "twin")
    assert "scan.zip" in said
    assert [path.name for path in tmp_path.iterdir()] == ["scan.zip"]


def test_faults_of_a_recording_are_listed_with_status_two(tmp_path):
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "config.json").write_text("{}")
    status, said, err = call("recordings", "check", tmp_path / "scan")
    assert status == 2
    assert said or "twinlab:" in err


def test_unknown_settings_are_refused_before_any_work(bench, tmp_path):
    said = mistake("fit", bench / "recording.zarr", "--out", tmp_path / "twin", "--set", "hiden=3")
    assert "unknown setting `hiden`" in said
    assert "hidden" in said
    assert "KEY=VALUE" in mistake("fit", "simulated", "--out", tmp_path / "t", "--set", "hidden")
    assert not list(tmp_path.iterdir())


def test_unknown_experiments_and_their_settings_are_refused(fitted, tmp_path):
    out = ["--out", tmp_path / "r.nc"]
    assert "known: receptive_field, sta, " in mistake("run", "dream", fitted[0], *out)
    said = mistake("run", "tuning", fitted[0], "--set", "n_angle=3", *out)
    assert "n_orientation" in said
    said = mistake("run", "tuning", fitted[0], "--set", "n_phase=many", *out)
    assert "'many'" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [("10", "run from 0 to 9"), ("a:b", "such as 0:50 or 3,17"), ("5:5", "selects none")],
)
def test_impossible_neurons_are_refused(fitted, tmp_path, words, message):
    said = mistake("run", "tuning", fitted[0], "--neurons", words, "--out", tmp_path / "r.nc")
    assert message in said


def test_another_sessions_recording_is_refused(fitted):
    said = mistake("score", fitted[0], "simulated:3")
    assert "lacks" in said
    assert "simulated-3" in said


def test_what_is_no_twin_is_refused(tmp_path):
    assert "is not a twin" in mistake("score", tmp_path, "simulated")
    assert "whole number" in mistake("score", "simulated:x", "simulated")


def test_what_is_no_result_is_refused(tmp_path):
    assert "no such file" in mistake("show", tmp_path / "absent.nc")


def test_a_device_that_is_not_there_is_refused(bench, tmp_path):
    said = mistake("fit", bench / "recording.zarr", "--out", tmp_path / "t", "--device", "warp")
    assert "--device warp" in said


def test_a_folder_is_not_replaced_by_a_result(fitted, bench, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert "is a folder" in mistake("run", "tuning", fitted[0], "--out", tmp_path)
    said = mistake("score", fitted[0], bench / "recording.zarr", "--out", tmp_path)
    assert "is a folder" in said
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_slips_in_the_words_themselves_get_one_line():
    assert "--out" in mistake("fit", "simulated")
    assert "dance" in mistake("dance")
    assert "--members" in mistake("fit", "simulated", "--out", "x", "--members", "0")


def test_an_unwritable_folder_is_named(fitted, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    said = mistake("run", "tuning", fitted[0], "--out", tmp_path / "file" / "r.nc")
    assert "file" in said
    assert "not a directory" in said


def test_a_full_disk_leaves_nothing_half_written(bench, fitted, tmp_path, monkeypatch):
    # a disk that fills while the file is written
    def write_bytes(path, data):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    said = mistake("score", fitted[0], bench / "recording.zarr", "--out", tmp_path / "scores.nc")
    assert "no space left on device" in said
    assert not list(tmp_path.iterdir())


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(cli, "open_twin", lambda name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call("score", "a", "b")


def test_settings_are_searched_before_a_fit(bench, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    from twinlab import fitting

    own = fitting.search_settings

    def two(source, out, **asked):
        assert asked["budget_minutes"] == 7
        assert "hidden" not in asked["space"]  # --set decides about it
        return own(source, out, **(asked | {"max_trials": 2, "epochs": 1}))

    monkeypatch.setattr(fitting, "search_settings", two)
    status, said, err = call(
        "fit", bench / "recording.zarr", "--out", tmp_path / "twin", "--search", "--budget", 7,
        "--set", "layers=1", "--set", "hidden=4", "--set", "input_kernel=7", *SMALL[-4:],
    )  # fmt: skip
    assert status == 0, err
    assert "2 settings were tried, the best lr=" in said
    table = schema.open_result(tmp_path / "twin" / "search.nc")
    found = twins.load_twin(tmp_path / "twin").origin["settings"]
    assert found["lr"] == float(table.lr[table.attrs["best"]])
    assert found["max_epochs"] == 2
    assert (tmp_path / "twin.search" / "study.db").is_file()
