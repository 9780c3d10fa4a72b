"""Long work reports, is cancelled, and says how it ended."""

import math
import subprocess
import sys
import threading

import pytest

from twinlab.jobs import Cancelled, Job


def test_a_part_reports_to_the_whole_on_its_own_stretch():
    job = Job()
    part = job.part(0.5, 1.0, "fit")
    part.report(0.5, "epoch 3")
    assert job.fraction == pytest.approx(0.75)
    assert job.message == "fit: epoch 3"


def test_cancel_stops_the_work_at_its_next_report():
    job = Job()
    job.cancel()
    with pytest.raises(Cancelled):
        job.part(0, 1).report(0.1)


def test_a_part_is_cancelled_with_the_whole():
    job = Job()
    part = job.part(0, 1).part(0, 1)
    part.cancel()
    with pytest.raises(Cancelled):
        job.check()


def test_a_thread_returns_its_result():
    job = Job().start(lambda x, job: x + 1, 1)
    assert job.wait() == 2
    assert (job.status, job.fraction) == ("done", 1.0)


def test_a_thread_is_cancelled_while_it_runs():
    started = threading.Event()

    def work(job):
        while True:
            started.set()
            job.check()

    job = Job().start(work)
    started.wait()
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait(5)
    assert job.status == "cancelled"


def test_a_failure_in_a_thread_reaches_whoever_waits():
    def work(job):
        raise ZeroDivisionError

    job = Job().start(work)
    with pytest.raises(ZeroDivisionError):
        job.wait()
    assert job.status == "failed"


def test_the_listener_hears_at_most_once_an_interval():
    heard = []
    job = Job(lambda job: heard.append(job.fraction), interval=1000)
    for step in range(5):
        job.report(step / 5)
    assert heard == [0.0]


def test_the_estimate_is_undefined_before_anything_is_known():
    job = Job()
    assert math.isnan(job.eta)
    job.report(0.5)
    assert job.eta == pytest.approx(job.elapsed, rel=0.5)


def test_paused_work_waits_and_goes_on_where_it_was():
    steps, paused = [], threading.Event()

    def work(job):
        for step in range(3):
            job.report(step / 3)
            steps.append(step)
            if step == 0:
                job.pause()
                paused.set()

    job = Job().start(work)
    assert paused.wait(10)
    job._thread.join(0.2)
    assert (steps, job.status) == ([0], "running")
    job.resume()
    job.wait(10)
    assert steps == [0, 1, 2]
    assert job._paused > 0


def test_paused_work_can_be_cancelled():
    job = Job()
    job.pause()
    job.start(lambda job: job.check())
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait(10)


LEAVING = """
import sys
import torch
from twinlab.jobs import Job

begun = []

def work(job):
    try:
        while True:
            job.check()
            torch.rand(200, 200) @ torch.rand(200, 200)
            begun.append(1)
    finally:
        sys.stdout.write("left\\n")

jobs = [Job().start(work) for _ in range(4)]
jobs[0].pause()
while not begun:
    pass
"""


def test_work_is_cancelled_and_waited_for_when_python_ends():
    ended = subprocess.run(
        [sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, 4 * "left\n", "")
