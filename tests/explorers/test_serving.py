import os
import socket
import subprocess
import sys

import panel as pn
import pytest

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


def test_a_notebook_is_told_that_no_network_is_needed():
    assert "no network needed" in explorers.notebook()


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
