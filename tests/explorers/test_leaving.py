"""Python is left while a lab measures: its threads end first, and nothing is said of it."""

import re
import signal
import subprocess
import sys
import urllib.request

import pytest

MEASURING = """
from twinlab.explorers import LabState
from twinlab.simulation import SimulatedCortex

cortex = SimulatedCortex(seed=0, n_neuron=24)
lab = LabState(cortex.as_twin(), cortex.record(n_train=300, n_validation=50, n_test=20))
lab.start(lab.findings.measure_all, "tuning")
lab.close()
for neuron in range(1, 6):
    lab.neuron = neuron  # each in place of the last, and all after it was closed
"""


def test_a_script_that_measures_can_end_at_once():
    ended = subprocess.run(
        [sys.executable, "-c", MEASURING], capture_output=True, text=True, timeout=240
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_server_whose_pages_measure_can_be_ended(how):
    command = [sys.executable, "-m", "twinlab.cli", "serve", "simulated", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http\S+", server.stdout.readline()).group()
        urllib.request.urlopen(url).read()  # opens a page, which begins to measure its neuron
        server.send_signal(how)
        said = server.communicate(timeout=240)[1]
    finally:
        server.kill()
    assert server.returncode == 0
    assert all(line.startswith("serve ") for line in said.splitlines()), said  # its progress
