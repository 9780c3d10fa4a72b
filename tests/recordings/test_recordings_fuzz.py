"""Spoiled files of every layout open correctly or fail in one line, and do nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from layout_samples import SAMPLES
from spoiling import CANARY

HERE = Path(__file__).parent


def fuzz(folder, number, seed, *layouts):
    """Tallies of another process, whose memory and deeds are watched."""
    command = [sys.executable, "-W", "ignore", str(HERE / "fuzzing.py"), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(number), str(seed), *layouts],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_few_spoiled_files_of_each_layout(tmp_path):
    for layout, tally in fuzz(tmp_path, 40, 0, *SAMPLES).items():
        assert tally["failures"] == [], layout
        assert tally["opened"] + tally["refused"] == 40
        assert tally["refused"] > 10


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("layout", SAMPLES)
def test_many_spoiled_files(tmp_path, layout):
    (tally,) = fuzz(tmp_path, 500, 1, layout).values()
    assert tally["failures"] == []
    assert tally["opened"] + tally["refused"] == 500


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_careless_reader_is_found_out(tmp_path):
    # seed 1 puts a pipe in a file's place early on: that no clock decides who is late
    (tally,) = fuzz(tmp_path, 150, 1, "careless").values()
    failures = "\n".join(tally["failures"])
    for deed in ("pickle.find_class", "os.mkdir", "MemoryError", "Late", "ValueError"):
        assert deed in failures
    assert f"took {tally['growth_mib']} MiB" in failures
    assert (tmp_path / "careless" / CANARY).exists()  # what the gadgets meant to make
