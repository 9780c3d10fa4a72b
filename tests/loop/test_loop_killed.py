"""A loop whose process is killed at any moment ends as one that was left alone."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from filelock import FileLock

from twinlab.loop import STEPS, loop_status, new_loop, run_loop
from twinlab.recordings import save_recording
from twinlab.schema import InputError, open_result
from twinlab.simulation import SimulatedCortex

PLAN = """
recording = "recording.zarr"
seed = 1
[fit]
members = 2
max_epochs = 3
layers = 2
hidden = 12
[units]
number = 3
min_reliability = 0.2
[stimuli]
objectives = ["mei", "lei"]
[presentation]
n_repeat = 6
[rig]
width_px = 192
height_px = 144
degrees_per_pixel = 0.25
image_degrees_per_pixel = 1.5
formats = ["png", "npy", "hdf5", "mp4"]
"""

# The command, in a process that kills itself at a moment that depends on no clock: once the
# loop has come so far, at the n-th time that it looks whether it was cancelled or touches a
# file in its folder. Nothing in the process can notice or tidy up.
KILLED = """
import os, signal, sys
from twinlab.cli import main
from twinlab.jobs import Job

folder, fraction, n = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
FILES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}
came, left = 0.0, n
report, check = Job.report, Job.check

def pass_moment():
    global left
    if came >= fraction:
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

def watched_report(self, fraction, *rest):
    global came
    if self.listener:  # the whole loop's
        came = max(came, fraction)
    report(self, fraction, *rest)

def watched_check(self):
    pass_moment()
    check(self)

def watch_files(event, args):
    if event in FILES and folder in str(args[0]):
        pass_moment()

Job.report, Job.check = watched_report, watched_check
sys.addaudithook(watch_files)
sys.argv = ["twinlab", "loop", "run", folder]
main()
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    cortex = SimulatedCortex(
        seed=0, n_neuron=8, height=18, width=24, reliability=0.6,
        composition={"simple": 0.6, "complex": 0.4},
    )  # fmt: skip
    path = tmp_path_factory.mktemp("recorded") / "recording.zarr"
    save_recording(cortex.record(n_train=400, n_validation=60, n_test=20), path)
    return path


def begin(recording, where):
    """A new loop in a folder of the same name wherever it lies, so that its report is the same."""
    where.mkdir()
    (where / "recording.zarr").symlink_to(recording)
    (where / "plan.toml").write_text(PLAN)
    new_loop(where / "plan.toml", where / "loop")
    return where / "loop"


def call(folder, *words):
    """The command as it is typed, in the folder that holds the loop's."""
    return subprocess.run(
        [sys.executable, *words], cwd=folder.parent, capture_output=True, text=True, check=False
    )


def run_to_the_end(folder):
    ended = call(folder, "-m", "twinlab.cli", "loop", "run", "loop")
    assert ended.returncode == 0, ended.stderr
    ended = call(folder, "-m", "twinlab.cli", "loop", "report", "loop")
    assert ended.returncode == 0, ended.stderr


def contents(folder):
    """All files of a loop, by name; without what tells of the machine and when it was made."""
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    del files["loop.json"]  # where it began
    history = open_result(folder / "history.nc").drop_vars("seconds")
    del history.attrs["notices"]  # of the memory that was free
    return files | {"history.nc": history.to_dict()}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_loop_killed_at_ten_random_moments_ends_alike(recording, tmp_path):
    whole, killed = (begin(recording, tmp_path / name) for name in ("whole", "killed"))
    run_to_the_end(whole)
    generator = np.random.default_rng(0)
    came = []
    for i in range(10):
        fraction = (i + generator.uniform()) / 10
        ended = call(killed, "-c", KILLED, "loop", str(fraction), str(generator.integers(1, 25)))
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        came.append(sum(loop_status(killed).values()))
    assert came[0] < 2
    assert len(set(came)) >= 4  # in different steps, to the last
    assert came[-1] == len(STEPS) - 1
    run_to_the_end(killed)
    ended, expected = contents(killed), contents(whole)
    assert set(ended) == set(expected)  # nothing half-written is left
    assert {"report.html", "responses.nc", "export/key.nc"} <= set(expected)
    assert [name for name in expected if ended[name] != expected[name]] == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(recording, tmp_path):
    folder = begin(recording, tmp_path / "here")
    left = (folder / ".export.ab1_cd2x", folder / "rounds" / "1" / ".twin.zzzzzzzz")
    for path in left:
        path.mkdir(parents=True)
        (path / "half").write_text("written")
    (folder / ".notes").mkdir()
    run_loop(folder, until="recording")
    assert not any(path.exists() for path in left)
    assert (folder / ".notes").is_dir()


def test_two_processes_do_not_work_on_one_loop(recording, tmp_path):
    folder = begin(recording, tmp_path / "here")
    with FileLock(folder / ".lock"), pytest.raises(InputError, match="another process is working"):
        run_loop(folder)
    run_loop(folder, until="recording")
    assert loop_status(folder)["recording"]
