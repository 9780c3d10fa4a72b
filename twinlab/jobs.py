"""Long work: progress with an estimate, a preview, pause, cancel; knows no user interface.

Any function that can take long accepts ``job=None`` and reports to it::

    def long_work(..., job: Job | None = None):
        job = job or Job()
        for step in range(n):
            job.report(step / n, f"step {step}")   # raises Cancelled when asked to stop

The one who waits gives the job a listener (a progress bar, a widget), may run it in
a thread with `Job.start`, and may `Job.pause` or `Job.cancel` it at any time.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["Cancelled", "Job"]


class Cancelled(Exception):  # noqa: N818 - a request that was honoured, not an error
    """The work was asked to stop and has left a state from which it resumes."""


_THREADS: weakref.WeakKeyDictionary[Job, threading.Thread] = weakref.WeakKeyDictionary()


class Job:
    """State of one piece of long work, shared by the worker and whoever watches.

    Parameters
    ----------
    listener : callable, optional
        Called with the job after each report that is at least `interval` seconds
        after the last, and whenever the work is done. It runs in the worker's thread.
    interval : float
        Seconds between two calls of the listener.

    Attributes
    ----------
    fraction : float
        Share of the work done, 0 to 1.
    message : str
        What is being done.
    preview : object
        The newest small preview the worker offered, or None.
    status : str
        "waiting", "running", "done", "cancelled" or "failed".
    result, error : object
        What the work returned or raised, once it has ended under `start`.

    """

    def __init__(
        self, listener: Callable[[Job], None] | None = None, interval: float = 0.1
    ) -> None:
        self.listener = listener
        self.interval = interval
        self.fraction = 0.0
        self.message = ""
        self.preview: Any = None
        self.status = "waiting"
        self.result: Any = None
        self.error: BaseException | None = None
        self._cancel = threading.Event()
        self._going = threading.Event()
        self._going.set()
        self._paused = 0.0  # seconds spent waiting
        self._began = time.monotonic()
        self._heard = -float("inf")
        self._thread: threading.Thread | None = None

    def report(self, fraction: float, message: str | None = None, preview: Any = None) -> None:
        """Say how far the work is; raises `Cancelled` if it was asked to stop."""
        self.check()
        self.fraction = float(fraction)
        if message is not None:
            self.message = message
        if preview is not None:
            self.preview = preview
        due = time.monotonic() - self._heard >= self.interval
        if self.listener and (due or self.fraction >= 1):
            self._heard = time.monotonic()
            self.listener(self)

    def check(self) -> None:
        """Raise `Cancelled` if the work was asked to stop; cheap enough for inner loops.

        Waits here while the work is paused.
        """
        if not self._going.is_set() and not self._cancel.is_set():
            began = time.monotonic()
            self._going.wait()
            self._paused += time.monotonic() - began
        if self._cancel.is_set():
            raise Cancelled

    def cancel(self) -> None:
        """Ask the work to stop at its next check, also where it is paused."""
        self._cancel.set()
        self._going.set()

    def pause(self) -> None:
        """Ask the work to wait at its next check until `resume`."""
        self._going.clear()

    def resume(self) -> None:
        """Let paused work go on."""
        self._going.set()

    def part(self, start: float, stop: float, label: str = "") -> Job:
        """Return a job for one stage of this one: its 0 to 1 is our `start` to `stop`."""
        return _Part(self, start, stop, label)

    @property
    def elapsed(self) -> float:
        """Seconds since the job was made or started, without the pauses."""
        return time.monotonic() - self._began - self._paused

    @property
    def eta(self) -> float:
        """Estimated seconds left; NaN before anything is known."""
        if self.fraction <= 0:
            return float("nan")
        return self.elapsed * (1 - self.fraction) / self.fraction

    def start(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Job:
        """Run ``work(*args, job=self, **kwargs)`` in a thread and return at once.

        When Python ends, the work is cancelled, and its thread waited for.
        """

        def run() -> None:
            try:
                self.result = work(*args, job=self, **kwargs)
                self.fraction, self.status = 1.0, "done"
            except Cancelled:
                self.status = "cancelled"
            except BaseException as error:  # noqa: BLE001 - kept for whoever waits
                self.error, self.status = error, "failed"
            if self.listener:
                self.listener(self)

        self.status = "running"
        self._began = time.monotonic()
        self._thread = _THREADS[self] = threading.Thread(target=run, daemon=True)
        # Python ends things last come, first gone: ours must go before the libraries it uses.
        atexit.unregister(_end_all)
        atexit.register(_end_all)
        self._thread.start()
        return self

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for started work; return its result or raise what it raised."""
        if self._thread is not None:
            self._thread.join(timeout)
        if self.status == "cancelled":
            raise Cancelled
        if self.error is not None:
            raise self.error
        return self.result


class _Part(Job):
    """A stage of a larger job: reports to it and is cancelled with it."""

    def __init__(self, whole: Job, start: float, stop: float, label: str) -> None:
        super().__init__()
        self._whole, self._start, self._stop, self._label = whole, start, stop, label

    def report(self, fraction: float, message: str | None = None, preview: Any = None) -> None:
        self.fraction = float(fraction)
        if message is not None:
            self.message = message
        words = ": ".join(filter(None, [self._label, self.message]))
        self._whole.report(
            self._start + (self._stop - self._start) * self.fraction, words, preview
        )

    def check(self) -> None:
        self._whole.check()

    def cancel(self) -> None:
        self._whole.cancel()

    def pause(self) -> None:
        self._whole.pause()

    def resume(self) -> None:
        self._whole.resume()


def _end_all() -> None:
    """Stop what was started: a thread that computes while Python ends may bring it down."""
    while running := {job: one for job, one in list(_THREADS.items()) if one.is_alive()}:
        for job in running:
            job.cancel()
        for thread in running.values():
            thread.join()
