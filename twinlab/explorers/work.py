"""Work behind a page: one long job at a time, quick ones beside it, and the news of both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from typing import Any

import numpy as np
import panel as pn
import param
import torch

from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError

__all__ = ["Arrivals", "Work"]

INTERVAL = 0.1  # seconds between two pictures of work that is under way


class Arrivals(param.Parameterized):
    """How often each kind of result has come in; a view watches the kinds it draws."""

    averages = param.Integer(0)
    scores = param.Integer(0)
    receptive_field = param.Integer(0)
    tuning = param.Integer(0)
    mei = param.Integer(0)
    lei = param.Integer(0)
    diverse = param.Integer(0)
    member_averages = param.Integer(0)
    member_tuning = param.Integer(0)
    curves = param.Integer(0)
    activity = param.Integer(0)
    reliability = param.Integer(0)
    clip = param.Integer(0)
    judged = param.Integer(0)
    twins = param.Integer(0)
    loop = param.Integer(0)
    fits = param.Integer(0)


class Work(param.Parameterized):
    """Jobs in the background, and what is heard of them, on the loop of the page they are for."""

    running = param.Boolean(False, doc="Whether long work is under way.")
    paused = param.Boolean(False, doc="Whether it waits to be resumed.")
    progress = param.Number(0.0, bounds=(0, 1), doc="Share of the long work that is done.")
    seconds_left = param.Number(np.nan, doc="Estimate for the long work; NaN while unknown.")
    message = param.String("", doc="What the long work is doing, or how it ended.")
    notice = param.String("", doc="What went wrong last and what to do; empty once it goes well.")
    preview = param.Parameter(None, doc="Picture the long work has reached, or None.")

    def __init__(self) -> None:
        super().__init__()
        self.arrivals = Arrivals()
        self._document = pn.state.curdoc
        self._loop = _running_loop()  # of the notebook, where it is one
        self._thread = threading.get_ident()
        self._acts: deque[Callable[[], Any]] = deque()
        self._news: dict[str, Any] = {}
        self._telling = threading.Lock()
        self._awaited: set[Callable[[], Any]] = set()
        self._jobs: dict[str, Job] = {}

    @property
    def served(self) -> bool:
        """Whether this is for a page of the server, not for a notebook or a script."""
        return self._document is not None and self._document.session_context is not None

    def start(
        self,
        work: Callable[..., Any],
        *args: Any,
        arriving: str = "",
        finished: Callable[[Any], None] | None = None,
        **kwargs: Any,
    ) -> bool:
        """Start long work in the background, unless some is under way.

        Parameters
        ----------
        work : callable
            Called as ``work(*args, job=..., **kwargs)`` in a thread. What its job reports is
            seen in `progress`, `message` and `preview`.
        arriving : str
            Of `arrivals`, what its result is counted as.
        finished : callable, optional
            Called with the result once it is there, on the loop of the page.

        Returns
        -------
        bool
            Whether it was started.

        """
        if self.running:
            self.warn("Other work is still running", "Wait for it, or cancel it first.")
            return False
        self.param.update(
            running=True,
            paused=False,
            progress=0.0,
            seconds_left=np.nan,
            message="starting",
            preview=None,
        )

        def hear(job: Job) -> None:
            """Pass on the state of the work; called in its thread."""
            if job.status == "running":
                self.tell(
                    progress=min(job.fraction, 1.0),
                    seconds_left=job.eta,
                    message=job.message,
                    preview=job.preview,
                )
                return
            said = f"failed: {job.error}" if job.status == "failed" else job.status
            self.tell(arriving, running=False, paused=False, message=said, preview=None)
            if job.status == "failed":
                self.call(lambda: _notify("The work failed", str(job.error)))
            elif job.status == "done" and finished is not None:
                self.call(lambda: finished(job.result))

        self._jobs["long"] = Job(hear, interval=INTERVAL).start(
            partial(_beside_the_page, work), *args, **kwargs
        )
        return True

    def start_quick(self, work: Callable[..., Any], *args: Any, name: str = "quick") -> None:
        """Start short work beside the long, in place of the last of that name."""
        if name in self._jobs:
            self._jobs[name].cancel()

        def hear(job: Job) -> None:
            if job.status == "failed":
                self.tell(message=f"failed: {job.error}")

        self._jobs[name] = Job(hear, interval=np.inf).start(work, *args)

    def pause(self) -> None:
        """Ask the long work to wait; `pause` once more to go on."""
        if self.running:
            self.paused = not self.paused
            (self._jobs["long"].pause if self.paused else self._jobs["long"].resume)()

    def cancel(self) -> None:
        """Ask the long work to stop; what was there before stays."""
        if "long" in self._jobs:
            self._jobs["long"].cancel()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until nothing is being measured; raise what went wrong, if anything did."""
        for job in list(self._jobs.values()):
            with contextlib.suppress(Cancelled):  # it was asked to stop, which is no fault
                job.wait(timeout)
        if threading.get_ident() == self._thread:
            self._catch_up()  # a notebook's loop stands still while one waits

    def stop(self) -> None:
        """Ask all work to stop; whoever showed it is gone."""
        for job in self._jobs.values():
            job.cancel()

    def close(self) -> None:
        """Stop all work, and wait for its threads to leave."""
        self.stop()
        for job in self._jobs.values():
            with contextlib.suppress(Exception):  # whatever it was, nobody is left to hear it
                job.wait(timeout=5)

    def warn(self, what: str, remedy: str) -> None:
        """Tell the person at the page what is wrong and what to do about it."""
        self.message = self.notice = f"{what}. {remedy}"
        _notify(what, remedy)

    @contextlib.contextmanager
    def warned(self, what: str) -> Iterator[None]:
        """Turn a mistake of the user inside the block into a warning."""
        if self.notice.startswith(f"{what}. "):
            self.notice = ""
        try:
            yield
        except InputError as error:
            self.warn(what, str(error))

    def call(self, act: Callable[[], Any]) -> None:
        """Call from any thread: on the loop of the page, or of the notebook, where there is one.

        Two threads must not draw at once. In a script, where none draws, it is called directly.
        """
        if self._document is not None and self.served:
            self._document.add_next_tick_callback(partial(self._once_there, act))
        elif self._loop is None or threading.get_ident() == self._thread:
            act()
        else:
            self._acts.append(act)
            with contextlib.suppress(RuntimeError):  # it is closed: nobody is left to hear
                self._loop.call_soon_threadsafe(self._catch_up)

    def _once_there(self, act: Callable[[], Any]) -> None:
        """Call once the page is in the browser: what changes while it is on its way is lost."""
        if pn.state.loaded:
            act()
        else:
            pn.state.onload(partial(self.call, act))

    def _catch_up(self) -> None:
        """Do what other threads have asked for."""
        while self._acts:
            self._acts.popleft()()

    def soon(self, act: Callable[[], Any], wait_ms: int = 0) -> None:
        """Call once what is under way has been sent, however often it is asked for until then.

        For what comes faster than it can be answered, and for what can wait until the page has
        been painted. Where no page is served it is called at once.

        Parameters
        ----------
        act : callable
            Called on the page's loop.
        wait_ms : int
            For how long to gather calls.

        """
        if self._document is None or not self.served:
            act()
            return
        if act in self._awaited:
            return
        self._awaited.add(act)

        def now() -> None:
            self._awaited.discard(act)
            act()

        if wait_ms:
            self._document.add_timeout_callback(partial(self._once_there, now), wait_ms)
        else:
            self.call(now)

    def tell(self, arrived: str = "", **values: Any) -> None:
        """Set parameters from any thread, and count what has arrived.

        What is told before the page had time for the last goes with it, so that news never
        queue up.
        """
        with self._telling:
            on_its_way = bool(self._news)
            self._news.update(values)
            self._news.setdefault("arrived", set()).update({arrived} - {""})
        if not on_its_way:
            self.call(self._hear_news)

    def _hear_news(self) -> None:
        with self._telling:
            news, self._news = self._news, {}
        arrived = news.pop("arrived", set())
        self.param.update(**news)
        self.arrivals.param.update(**{name: getattr(self.arrivals, name) + 1 for name in arrived})


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _beside_the_page(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Work in this thread, with a core less than there are: the page must go on answering."""
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))
    return work(*args, **kwargs)


def _notify(what: str, remedy: str) -> None:
    """Show a notice in the corner of the page, if there is a page, once it is there."""
    notices = pn.state.notifications
    if notices is not None:
        words = f"<b>{escape(what)}.</b> {escape(remedy)}"
        pn.state.onload(lambda: notices.error(words, duration=8000))
