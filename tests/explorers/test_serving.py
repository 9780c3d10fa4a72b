import asyncio
import json
import os
import socket
import subprocess
import sys
from threading import get_ident
from urllib.parse import urljoin

import panel as pn
import pytest
from panel.io.notebook import JupyterCommJSBinary, JupyterCommManagerBinary

from twinlab import explorers, plots
from twinlab.schema import InputError


@pytest.fixture(autouse=True)
def _no_server_left():
    yield
    pn.state.kill_all_servers()


def test_a_page_is_served_to_this_machine_alone(capfd):
    server, url = explorers.serve(lambda: pn.pane.HTML("bench"))
    assert url == f"http://127.0.0.1:{server.port}/"
    assert server.address == "127.0.0.1"
    assert capfd.readouterr().out == ""


def test_several_pages_are_served_under_their_names():
    server, _ = explorers.serve({"first": pn.Column, "second": pn.Column})
    assert set(server._tornado.app_paths) == {"/first", "/second"}


def test_a_port_in_use_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"Port {port} cannot be used .* or 0 for any"):
            explorers.serve(pn.Column, port=port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_refused(port):
    with pytest.raises(InputError, match=f"Port {port} does not exist; choose one from 1024"):
        explorers.serve(pn.Column, port=port)


@pytest.mark.parametrize("origin", ["http://lab.example.org:80/", ""])
def test_an_origin_that_is_no_name_and_port_is_refused(origin):
    with pytest.raises(InputError, match=f"The origin '{origin}' must be NAME:PORT"):
        explorers.serve(pn.Column, origins=[origin])


def test_only_the_origins_that_are_named_may_open_pages():
    server, url = explorers.serve(pn.Column, origins=["lab.example.org:80"])
    assert url == "http://lab.example.org:80/"
    assert server._tornado.websocket_origins == {"lab.example.org:80"}
    assert server._tornado.settings["websocket_max_message_size"] == 12 * 2**20


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_every_address_needs_a_name_to_be_opened_under(host):
    with pytest.raises(InputError, match="name the origin under which pages are opened"):
        explorers.serve(pn.Column, host=host)


def test_a_host_that_is_not_this_machine_is_refused():
    with pytest.raises(InputError, match="no address of this machine"):
        explorers.serve(pn.Column, host="nowhere.invalid")


@pytest.mark.parametrize("words", ["", "[]", "{}", '{"ada": 3}', '{"ada": ""}', "{"])
def test_a_login_without_names_and_passwords_is_refused(words, tmp_path):
    users = tmp_path / "users.json"
    users.write_text(words)
    with pytest.raises(InputError, match=r"users.json: must .* names and passwords"):
        explorers.serve(pn.Column, login=users)
    with pytest.raises(InputError, match="cannot be read"):
        explorers.serve(pn.Column, login=tmp_path / "nobody.json")


def test_a_provider_without_its_key_is_refused(monkeypatch):
    monkeypatch.delenv("PANEL_OAUTH_KEY", raising=False)
    monkeypatch.setenv("PANEL_OAUTH_SECRET", "secret")
    with pytest.raises(InputError, match="needs PANEL_OAUTH_KEY in the environment"):
        explorers.serve(pn.Column, oauth="github")
    with pytest.raises(InputError, match="'hubgit' is no provider .* choose one of .*github"):
        explorers.serve(pn.Column, oauth="hubgit")
    with pytest.raises(InputError, match="not both"):
        explorers.serve(pn.Column, oauth="github", login="users.json")


def ask(url, **headers):
    """Status and body of what a server answers, in this process, to one request."""
    import asyncio

    from tornado.httpclient import AsyncHTTPClient

    async def fetch():
        return await AsyncHTTPClient().fetch(
            url, raise_error=False, follow_redirects=False, headers=headers
        )

    answer = asyncio.get_event_loop().run_until_complete(fetch())
    return answer.code, answer.body.decode(errors="replace"), answer.headers


@pytest.fixture
def answered():
    """Return a function that starts a server and asks it, on an event loop of their own."""
    import asyncio

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    servers = []

    def start(*args, **kwargs):
        server, url = explorers.serve(*args, **kwargs)
        server.start()
        servers.append(server)
        return url

    yield start
    for server in servers:
        server.stop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_no_file_outside_its_own_is_served(answered):
    url = answered(lambda: pn.pane.HTML("bench"))
    assert ask(url)[0] == 200
    for path in (
        "../pyproject.toml",
        "static/../../../../../../../../etc/passwd",
        "static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "static//etc/passwd",
        "static/extensions/panel/../../../../../../../../../../etc/passwd",
        "static/extensions/panel/%2fetc%2fpasswd",
        "README.md",
    ):
        code, body, _ = ask(url + path)
        assert code in (400, 403, 404), path
        assert "root:" not in body


def test_a_page_of_another_origin_cannot_talk_to_the_server(answered):
    url = answered(lambda: pn.pane.HTML("bench"))
    wanted = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "bokeh, token",
    }
    assert ask(url + "ws", **wanted, Origin="http://evil.example.org")[0] == 403


def test_a_login_stands_before_the_page(answered, tmp_path):
    users = tmp_path / "users.json"
    users.write_text(json.dumps({"ada": "byron"}))
    url = answered(lambda: pn.pane.HTML("the bench itself"), login=users)
    code, body, headers = ask(url)
    assert (code, "the bench itself" in body) == (302, False)
    assert headers["Location"].startswith("./login")
    code, body, _ = ask(urljoin(url, headers["Location"]))
    assert code == 200
    assert "http://" not in body.replace("http://www.w3.org", "")  # nothing from elsewhere


def test_a_notebook_is_told_that_no_network_is_needed():
    assert "no network needed" in explorers.notebook()


def test_a_notebook_hears_of_its_widgets_in_the_thread_of_its_cells(monkeypatch):
    """As JupyterLab does, a message comes in another thread."""
    heard = []
    monkeypatch.setattr(JupyterCommManagerBinary, "client_comm", JupyterCommJSBinary)
    monkeypatch.setattr(
        JupyterCommJSBinary, "_handle_msg", lambda _, msg: heard.append((msg, get_ident()))
    )

    async def cell():
        explorers.notebook()
        comm = object.__new__(JupyterCommManagerBinary.client_comm)
        await asyncio.to_thread(comm._handle_msg, "moved")
        await asyncio.sleep(0)
        return get_ident()

    assert asyncio.run(cell()) == heard[0][1]
    assert heard[0][0] == "moved"


def test_importing_the_explorers_is_enough_to_work_offline():
    # The figures come first and bring Panel with them, as they do in most notebooks.
    code = "from twinlab import plots, explorers; import panel; assert panel.config.inline"
    environment = {k: v for k, v in os.environ.items() if k != "PANEL_INLINE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_figures_have_a_notebook_form():
    import holoviews as hv
    import numpy as np
    import xarray as xr

    explorers.notebook()
    figure = plots.plot_image(xr.DataArray(np.zeros((4, 6)), dims=("y", "x")))
    data, _ = hv.Store.render(figure)
    assert "text/html" in data
