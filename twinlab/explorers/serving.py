"""Where explorers are shown: a notebook, or a local web page."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

import holoviews as hv
import panel as pn
from bokeh.server.server import Server
from holoviews.core.data import Dataset as Labelled

import twinlab.plots  # noqa: F401 - loads the drawing backends
from twinlab.schema import InputError

__all__ = ["notebook", "serve"]

HOST = "127.0.0.1"


def _mime_bundle(element: hv.Dimensioned) -> tuple[dict[str, Any], dict[str, Any]]:
    return pn.pane.HoloViews(element)._repr_mimebundle_()


def notebook() -> str:
    """Make explorers and figures appear in this notebook, without a network.

    Call it once, in a cell of its own near the top. The scripts that draw travel inside
    the notebook (about 6 MB in the saved file): clear the outputs before sharing it.

    Returns
    -------
    str
        One line on what was set up.

    """
    pn.extension(inline=True)
    # What `hv.extension` would do, less its scripts from the internet.
    for kind in (hv.core.Dimensioned, Labelled):
        hv.Store.set_display_hook("html+js", kind, _mime_bundle)
    return f"twinlab figures and explorers are ready (Panel {pn.__version__}, no network needed)"


def serve(
    benches: Callable[[], pn.viewable.Viewer] | Mapping[str, Callable[[], pn.viewable.Viewer]],
    *,
    port: int = 0,
    open_browser: bool = False,
) -> tuple[Server, str]:
    """Put explorers on a web page that only this machine can reach.

    Parameters
    ----------
    benches : callable, or mapping of name to callable
        Called for each page opened, and returns the explorer to show on it. Several are
        served under their names, listed on the first page.
    port : int
        A free one is chosen where 0.
    open_browser : bool
        Open the page in the default browser once the server runs.

    Returns
    -------
    server : bokeh.server.server.Server
        Not running yet: ``server.run_until_shutdown()`` runs it until Ctrl-C.
    url : str

    Raises
    ------
    InputError
        If another program uses the port.

    """
    port = _free_port(port)
    # A lost connection is taken up again; what went wrong is said in a corner of the page.
    pn.config.param.update(notifications=True, reconnect=True)
    pages: dict[str, Any] = dict(benches) if isinstance(benches, Mapping) else {"/": benches}
    server = pn.io.server.get_server(
        pages,
        port=port,
        address=HOST,
        websocket_origin=[f"{HOST}:{port}", f"localhost:{port}"],
        title="twinlab",
        verbose=False,
    )
    url = f"http://{HOST}:{port}/"
    if open_browser:
        server.io_loop.add_callback(server.show, "/")
    return server, url


def _free_port(port: int) -> int:
    """Return the port asked for if it is free, or any free one for 0."""
    with socket.socket() as probe:
        # As the server does: a port just left may be used again.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            msg = f"Port {port} cannot be used ({error.strerror}); choose another, or 0 for any."
            raise InputError(msg) from error
        return int(probe.getsockname()[1])
