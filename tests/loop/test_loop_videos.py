"""A loop on a recording of videos shows videos, by the same steps and files."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab.cli.loop_report import write_loop_report
from twinlab.loop import (
    export_stimuli,
    import_responses,
    loop_status,
    make_schedule,
    new_loop,
    play_rig,
    read_key,
    read_stimuli,
    run_loop,
)
from twinlab.recordings import save_recording
from twinlab.schema import InputError, open_result
from twinlab.simulation import SimulatedVideoCortex
from twinlab.stimuli import make_drifting_gratings

PLAN = """
recording = "recording.zarr"
seed = 1
[fit]
members = 2
max_epochs = 6
layers = 2
hidden = 8
[units]
number = 4
min_reliability = 0.1
[presentation]
n_repeat = 8
on_s = 1.0
[rig]
width_px = 192
height_px = 144
degrees_per_pixel = 0.25
image_degrees_per_pixel = 1.5
formats = ["mp4", "npy"]
"""


@pytest.fixture(scope="module")
def cortex():
    return SimulatedVideoCortex(
        seed=0, n_neuron=6, height=24, width=32, reliability=0.5, running_gain=0.05,
        pupil_gain=0.05, composition={"simple": 0.5, "complex": 0.5},
    )  # fmt: skip


@pytest.fixture(scope="module")
def plan(cortex, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    recording = cortex.record(n_train=80, n_validation=8, n_test=6, n_frame=60)
    save_recording(recording, folder / "recording.zarr")
    (folder / "plan.toml").write_text(PLAN)
    return folder / "plan.toml"


def second_half(cortex, videos):
    """Noise-free response of each neuron to each video, (video, neuron)."""
    with torch.inference_mode():
        rate = cortex.as_twin().condition()(torch.as_tensor(videos)).numpy()
    return rate[..., videos.shape[2] // 2 :].mean(-1)


def test_the_simulated_cortex_answers_the_videos_of_the_files(cortex, rig, tmp_path):
    """Gratings that drift: the mean response over the second half of each is its own."""
    shown = make_drifting_gratings(
        np.arange(8) * 45.0, 0.1, temporal_frequency_hz=2.0, n_frame=30, frame_rate_hz=30.0,
        height=24, width=32,
    ).values  # fmt: skip
    columns = {"kind": ["grating"] * 8, "session": [""] * 8, "neuron_id": [""] * 8}
    columns["stimulus_id"] = [f"grating-{i}" for i in range(8)]
    planned = xr.Dataset(
        {"stimulus": (("stimulus", "channel", "frame", "y", "x"), shown)},
        {name: ("stimulus", values) for name, values in columns.items()},
    )
    schedule = make_schedule(columns["stimulus_id"], n_repeat=30, n_blank=1, on_s=1.0)
    movies = dataclasses.replace(
        rig, formats=("mp4",), image_degrees_per_pixel=1.0, degrees_per_pixel=0.25
    )
    export_stimuli(planned, schedule, movies, tmp_path / "export", mean=127.5)
    path = play_rig(cortex, tmp_path / "export", tmp_path / "r.csv", seed=1)
    observed, findings = import_responses(path, tmp_path / "export")
    assert findings == []
    mean = observed.response.groupby(observed.stimulus_id).mean()
    mean = mean.sel(stimulus_id=columns["stimulus_id"]).values
    true = second_half(cortex, shown)
    for one, other in zip(mean.T, true.T, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.9
    assert mean.sum() == pytest.approx(true.sum(), rel=0.1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_loop_of_videos_ends_in_a_report(cortex, plan, tmp_path):
    folder = tmp_path / "loop"
    new_loop(plan, folder)
    lines = run_loop(folder)
    assert all(loop_status(folder).values()), lines
    assert "core conv_gru" in lines[2]
    key = read_key(folder / "export")
    assert key.stimulus.dims == ("stimulus", "channel", "frame", "y", "x")
    assert key.sizes["frame"] == 30  # 1 s
    assert set(key.kind.values) == {"mei", "natural", "gabor"}
    for file_format in ("mp4", "npy"):
        read = read_stimuli(folder / "export", file_format)
        shown = read.values[[list(read.image_id.values).index(code) for code in key.code.values]]
        assert np.abs(shown - key.stimulus.values).max() <= 0.5 + 1e-4
    # The videos excite their neurons, in truth and as the loop says.
    rate = second_half(cortex, key.stimulus.values)
    kind, neuron = key.kind.values, key.neuron_id.values.astype(int)
    own, natural = (
        np.array([rate[(kind == one) & (neuron == i), i][0] for i in np.unique(neuron)])
        for one in ("mei", "natural")
    )
    assert np.median(own / natural) > 1.2
    ratio = open_result(folder / "controls-mei.nc").ratio.sel(control="natural")
    assert float(ratio.median()) == pytest.approx(np.median(own / natural), rel=0.3)
    assert float(open_result(folder / "confusion-mei.nc").share_best_for_it) >= 0.75
    assert float(open_result(folder / "prediction.nc").mean_cc_norm) > 0.6
    page = write_loop_report(folder, tmp_path / "report.html").read_text()
    assert "of the neurons answer most to the MEI" in page


def test_videos_that_the_rig_cannot_show_are_refused_before_anything_is_fitted(plan, tmp_path):
    (tmp_path / "recording.zarr").symlink_to(plan.parent / "recording.zarr")
    for change, words in (
        (('["mp4", "npy"]', '["mp4"]\nframe_rate_hz = 75'), "for 2.5 of its frames"),
        (("width_px = 192", "width_px = 190"), "move its centre"),
    ):
        folder = tmp_path / f"loop-{words}"
        (tmp_path / "plan.toml").write_text(PLAN.replace(*change))
        new_loop(tmp_path / "plan.toml", folder)
        with pytest.raises(InputError, match=words):
            run_loop(folder)
        assert not loop_status(folder)["recording"]
