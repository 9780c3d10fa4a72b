"""A fit that is killed without warning goes on where it was, and ends with the same numbers."""

import os
import signal
import subprocess
import sys
import time

from twinlab import recordings, simulation, twins

SMALL = [
    "--set", "layers=2", "--set", "hidden=8", "--set", "hidden_kernel=3",
    "--set", "max_epochs=6", "--set", "schedule=cosine",
]  # fmt: skip


def fit(source, out):
    command = [sys.executable, "-m", "twinlab.cli", "fit", source, "--out", out, *SMALL]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [str(word) for word in command], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_killed_fit_ends_with_the_same_twin(tmp_path):
    cortex = simulation.SimulatedCortex(seed=1, n_neuron=20)
    source = recordings.save_recording(
        cortex.record(n_train=1500, n_validation=60, n_test=10, n_repeat=2), tmp_path / "r.zarr"
    )
    whole = fit(source, tmp_path / "whole")
    said = whole.communicate(timeout=120)
    assert whole.returncode == 0, said

    killed = fit(source, tmp_path / "twin")
    checkpoint = tmp_path / "twin.fitting" / "member-0.safetensors"
    for _ in range(1200):
        if checkpoint.exists():
            break
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert checkpoint.exists()
    assert not (tmp_path / "twin").exists()

    stopped = fit(source, tmp_path / "twin")
    time.sleep(0.5)
    stopped.send_signal(signal.SIGINT)  # wherever it is by now
    stopped.communicate()
    last = fit(source, tmp_path / "twin")
    said = last.communicate(timeout=120)
    assert last.returncode == 0, said
    assert (
        twins.load_twin(tmp_path / "twin").identity == twins.load_twin(tmp_path / "whole").identity
    )
    assert not (tmp_path / "twin.fitting").exists()
