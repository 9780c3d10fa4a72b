"""How the command line watches long work, and how it stops it."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from twinlab.jobs import Job

__all__ = ["watched_job"]


@contextmanager
def watched_job(title: str) -> Iterator[Job]:
    """Give a job whose progress is shown on the terminal; Ctrl-C cancels it.

    On a terminal one line is redrawn; elsewhere (a log file) a line is written now and then.
    """
    live = sys.stderr.isatty()
    job = Job(_redraw(title) if live else _log(title), interval=0.2 if live else 10.0)

    def stop(signum: int, frame: FrameType | None) -> None:
        job.cancel()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second one insists

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield job
    finally:
        signal.signal(signal.SIGINT, before)
        if live:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def _redraw(title: str):  # type: ignore[no-untyped-def] # noqa: ANN202
    import shutil

    def draw(job: Job) -> None:
        width = shutil.get_terminal_size().columns
        done = round(20 * job.fraction)
        bar = "█" * done + "░" * (20 - done)
        line = f"{title} {bar} {_words(job)}"
        sys.stderr.write("\r\x1b[2K" + line[: width - 1])
        sys.stderr.flush()

    return draw


def _log(title: str):  # type: ignore[no-untyped-def] # noqa: ANN202
    def write(job: Job) -> None:
        sys.stderr.write(f"{title} {_words(job)}\n")
        sys.stderr.flush()

    return write


def _words(job: Job) -> str:
    words = f"{job.fraction:4.0%}"
    if math.isfinite(job.eta) and job.elapsed > 2:
        words += f"  {_clock(job.eta)} left"
    return f"{words}  {job.message}"


def _clock(seconds: float) -> str:
    return time.strftime("%-M:%S" if seconds < 3600 else "%-H:%M:%S", time.gmtime(seconds))
