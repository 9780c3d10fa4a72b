"""A notebook's widgets, heard by the thread that runs its cells."""

from __future__ import annotations

import asyncio
from typing import Any

from panel.io.notebook import JupyterCommJSBinary, JupyterCommManagerBinary

__all__ = ["hear_on"]


def hear_on(loop: asyncio.AbstractEventLoop) -> None:
    """Hear of what is done to a widget on one loop, as all that jobs tell is.

    JupyterLab hands the messages of widgets to a thread of their own, a subshell of the kernel.
    What they change there and what a job changes at the same time then leave in one stream, a
    piece of this and a piece of that, of which a page can make nothing: it stands still.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop
        That of the thread which runs the cells.

    """

    class OneThread(JupyterCommJSBinary):
        """Messages of a widget, passed on to the loop."""

        def _handle_msg(self, msg: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(super()._handle_msg, msg)

    JupyterCommManagerBinary.client_comm = OneThread
