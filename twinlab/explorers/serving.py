"""Where explorers are shown: a notebook, or a web page."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import holoviews as hv
import panel as pn
from bokeh.models import CustomJS
from bokeh.server.server import Server
from bokeh.server.util import create_hosts_allowlist
from holoviews.core.data import Dataset as Labelled
from panel.auth import AUTH_PROVIDERS

import twinlab.plots  # noqa: F401 - loads the drawing backends
from twinlab.explorers.one_thread import hear_on
from twinlab.schema import InputError

__all__ = ["judge_address", "notebook", "serve"]

HOST = "127.0.0.1"
MOST_BYTES = 12 * 2**20  # of one message from a page: an upload of 8 MB and its wrapping
LOGIN_PAGE = Path(__file__).parent / "login.html"  # Panel's own asks the internet for a picture
# What runs in the browser, and upon which event of the page.
SCRIPTS = {"document_ready": "keyboard.js", "connection_lost": "returning.js"}
OAUTH = ("PANEL_OAUTH_KEY", "PANEL_OAUTH_SECRET")  # as Panel itself names them


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
    with contextlib.suppress(RuntimeError):  # in a script there is no loop, and no widget to hear
        hear_on(asyncio.get_running_loop())
    # What `hv.extension` would do, less its scripts from the internet.
    for kind in (hv.core.Dimensioned, Labelled):
        hv.Store.set_display_hook("html+js", kind, _mime_bundle)
    return f"twinlab figures and explorers are ready (Panel {pn.__version__}, no network needed)"


def serve(
    benches: Callable[[], pn.viewable.Viewer] | Mapping[str, Callable[[], pn.viewable.Viewer]],
    *,
    port: int = 0,
    host: str = HOST,
    origins: Sequence[str] = (),
    login: str | os.PathLike[str] = "",
    oauth: str = "",
    open_browser: bool = False,
) -> tuple[Server, str]:
    """Put explorers on a web page that only this machine can reach, unless told otherwise.

    Parameters
    ----------
    benches : callable, or mapping of name to callable
        Called for each page opened, and returns the explorer to show on it. Several are
        served under their names, listed on the first page.
    port : int
        A free one is chosen where 0.
    host : str
        Address to listen at. The default is reached from this machine alone.
    origins : sequence of str
        Names, such as ``lab.example.org:5006``, under which pages may be opened; others are
        refused. That of `host` itself where absent.
    login : path
        JSON file of names and passwords, asked for before anything is shown.
    oauth : str
        Provider to log in with instead, such as ``github`` (see Panel's documentation); its
        key and secret are taken from ``PANEL_OAUTH_KEY`` and ``PANEL_OAUTH_SECRET``.
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
        If another program uses the port, the host needs origins and has none, or the login
        cannot be asked for.

    """
    origins = [*origins]
    guard = judge_address(port=port, host=host, origins=origins, login=login, oauth=oauth)
    port = _free_port(host, port)
    # What went wrong is said in a corner of the page.
    pn.config.param.update(
        notifications=True,
        reconnect=False,
        disconnect_notification="The connection is lost. Is the server still running? What the "
        "address of this page says is shown again once it is back.",
    )
    named = dict(benches) if isinstance(benches, Mapping) else {"/": benches}
    pages: dict[str, Any] = {name: _with_scripts(bench) for name, bench in named.items()}
    itself = [f"{host}:{port}", f"localhost:{port}"] if host == HOST else [f"{host}:{port}"]
    server = pn.io.server.get_server(
        pages,
        port=port,
        address=host,
        websocket_origin=origins or itself,
        websocket_max_message_size=MOST_BYTES,
        title="twinlab",
        verbose=False,
        **guard,
    )
    url = f"http://{origins[0] if origins else itself[0]}/"
    if open_browser:
        server.io_loop.add_callback(server.show, "/")
    return server, url


def judge_address(
    *,
    port: int = 0,
    host: str = HOST,
    origins: Sequence[str] = (),
    login: str | os.PathLike[str] = "",
    oauth: str = "",
) -> dict[str, Any]:
    """Say whether pages can be served so, before what they show is opened.

    Parameters
    ----------
    port, host, origins, login, oauth
        As in `serve`.

    Returns
    -------
    dict
        Settings of the server by which it asks who comes.

    Raises
    ------
    InputError
        As `serve`.

    """
    if not origins and _is_every_address(host):
        msg = (
            f"{host!r} is every address of this machine: name the origin under which pages are "
            "opened, such as lab.example.org:5006."
        )
        raise InputError(msg)
    for origin in origins:
        try:
            create_hosts_allowlist([origin], port)
        except ValueError as error:
            msg = f"The origin {origin!r} must be NAME:PORT, such as lab.example.org:5006."
            raise InputError(msg) from error
    _free_port(host, port)
    return _guard(login, oauth)


def _with_scripts(bench: Callable[[], Any]) -> Callable[[], Any]:
    """Give a page that can be used without a mouse, and comes back once its server does."""
    folder = Path(__file__).parent
    scripts = {event: (folder / name).read_text("utf-8") for event, name in SCRIPTS.items()}

    def build() -> Any:
        page = pn.state.curdoc
        assert page is not None  # noqa: S101 - it is built for one
        for event, code in scripts.items():
            page.js_on_event(event, CustomJS(code=code))
        return bench()

    return build


def _guard(login: str | os.PathLike[str], oauth: str) -> dict[str, Any]:
    """Settings of the server by which it asks who comes, if it is to ask."""
    if login and oauth:
        msg = "Give either login (names and passwords) or oauth (a provider), not both."
        raise InputError(msg)
    if oauth:
        if oauth not in AUTH_PROVIDERS:
            known = ", ".join(sorted(AUTH_PROVIDERS))
            msg = f"oauth={oauth!r} is no provider that is known; choose one of {known}."
            raise InputError(msg)
        missing = [name for name in OAUTH if not os.environ.get(name)]
        if missing:
            msg = f"oauth={oauth!r} needs {' and '.join(missing)} in the environment; set them."
            raise InputError(msg)
        key, secret = (os.environ[name] for name in OAUTH)
        found = {"oauth_provider": oauth, "oauth_key": key, "oauth_secret": secret}
    elif login:
        _check_users(Path(login))
        found = {"basic_auth": str(login), "login_template": str(LOGIN_PAGE)}
    else:
        return {}
    # Of this run alone: whoever is logged in logs in again after a restart.
    return found | {"cookie_secret": secrets.token_hex(32)}


def _check_users(path: Path) -> None:
    try:
        users = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = (
            f'{path}: must be a JSON file of names and passwords, {{"ada": "..."}}, but cannot '
            f"be read ({error})."
        )
        raise InputError(msg) from error
    known = isinstance(users, dict) and users
    if not known or not all(isinstance(word, str) and word for word in users.values()):
        msg = f'{path}: must hold names and passwords, {{"ada": "..."}}; write at least one.'
        raise InputError(msg)


def _is_every_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:  # a name
        return not host


def _free_port(host: str, port: int) -> int:
    """Return the port asked for if it is free, or any free one for 0."""
    if not 0 <= port < 2**16:
        msg = f"Port {port} does not exist; choose one from 1024 to {2**16 - 1}, or 0 for any."
        raise InputError(msg)
    with socket.socket() as probe:
        # As the server does: a port just left may be used again.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror as error:
            msg = f"{host!r} is no address of this machine; use {HOST} or one of its own."
            raise InputError(msg) from error
        except OSError as error:
            msg = f"Port {port} cannot be used ({error.strerror}); choose another, or 0 for any."
            raise InputError(msg) from error
        return int(probe.getsockname()[1])
