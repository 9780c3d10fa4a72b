"""What a page needs to show files that another process writes: looks, and choices that vary."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

import panel as pn
import param

__all__ = ["follow", "lead"]


def follow(look: Callable[[], Any], seconds: float) -> None:
    """Call a method every few seconds, as long as its object and its page are there.

    In a script nothing is called: nobody looks at the page.

    Parameters
    ----------
    look : bound method
    seconds : float

    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    method = weakref.WeakMethod(look)

    def again() -> None:
        act = method()
        if act is None:
            callback.stop()
        elif pn.state.loaded:  # what changes while a page is on its way to the browser is lost
            act()

    callback = pn.state.add_periodic_callback(again, period=int(1000 * seconds))


def lead(widget: pn.widgets.Widget, of: param.Parameterized, name: str) -> None:
    """Let a widget set a parameter, but for the None it has while there are no options."""

    def put(event: param.parameterized.Event) -> None:
        if event.new is not None:
            setattr(of, name, event.new)

    widget.param.watch(put, "value")
