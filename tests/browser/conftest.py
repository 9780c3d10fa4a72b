"""A real Chromium that may talk to this machine alone, and what is served to it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlparse

import pytest

HERE = Path(__file__).parent
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOCAL = {"127.0.0.1", "localhost", ""}
# A test server for this machine alone: it may do without a password.
JUPYTER_CONFIG = """
c.ServerApp.ip = "127.0.0.1"
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
c.ServerApp.allow_root = True
c.IdentityProvider.token = ""
c.ServerApp.password = ""
c.ServerApp.disable_check_xsrf = True
c.LabApp.expose_app_in_browser = True
"""
# The numbers every figure on the page has been sent, as one number a column of each.
READ_SOURCES = """() => [...Bokeh.documents].flatMap(doc => [...doc._all_models.values()]
    .filter(model => model.type === 'ColumnDataSource')
    .map(source => Object.entries(Object.fromEntries(
        source.data instanceof Map ? source.data : Object.entries(source.data)))
        .map(([name, column]) => {
            const flat = Array.from(column, value => value.length === undefined
                || typeof value === 'string' ? value : Array.from(value)).flat(2);
            return [name, flat.length, flat.reduce((sum, value, index) =>
                sum + (Number.isFinite(value) ? value * (1 + index % 7) : 0), 0)];
        })))"""


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium():
    """One browser for all tests."""
    path = os.environ.get("TWINLAB_CHROMIUM") or shutil.which("chromium")
    if path is None:
        message = "NO BROWSER TEST WAS RUN: no chromium found; set TWINLAB_CHROMIUM to one"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A page of 1400 x 900 pixels; afterwards nothing may have been asked of the internet."""
    page = chromium.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(120_000)  # a machine that tests may have little time for each
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.errors = errors
    yield page
    page.close()
    outside = [url for url in asked if urlparse(url).hostname not in {*LOCAL, None}]
    assert not outside, f"the page asked the internet for {outside}"


@pytest.fixture
def screenshot(page, request, tmp_path):
    """Return a function that takes a named picture of the whole page."""
    folder = Path(os.environ.get("TWINLAB_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return lambda name: page.screenshot(path=folder / f"{name}.png", full_page=True)


@contextmanager
def running(command, **options):
    """Start a program and end it afterwards, whatever happened."""
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def serving(name, *arguments):
    """Run a script of this folder that serves a lab; return its address."""
    command = [sys.executable, str(HERE / name), *map(str, arguments)]
    with running(command, stdout=subprocess.PIPE) as server:
        url = server.stdout.readline().strip()
        assert url, "the server did not start"
        yield url


@pytest.fixture(scope="session")
def bench_url():
    """Address of a served bench of 200 simulated neurons."""
    with serving("served_bench.py") as url:
        yield url


@pytest.fixture(scope="session")
def videos_url():
    """Address of a served lab of 40 simulated neurons that see videos."""
    with serving("served_videos.py") as url:
        yield url


@pytest.fixture(scope="session")
def loop_url(tmp_path_factory):
    """Address of a served lab with two inception loops and two fits."""
    with serving("served_loop.py", tmp_path_factory.mktemp("lab")) as url:
        yield url


@pytest.fixture
def free_port():
    """A port nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def jupyterlab(tmp_path, free_port):
    """Return a function that starts JupyterLab on a folder and returns its address."""
    port = free_port
    folders = {
        name: tmp_path / name.lower()
        for name in (
            "JUPYTER_CONFIG_DIR",
            "JUPYTERLAB_SETTINGS_DIR",
            "JUPYTERLAB_WORKSPACES_DIR",
            "JUPYTER_RUNTIME_DIR",
        )
    }
    for folder in folders.values():
        folder.mkdir()
    config = folders["JUPYTER_CONFIG_DIR"] / "jupyter_server_config.py"
    config.write_text(JUPYTER_CONFIG)
    quiet = folders["JUPYTERLAB_SETTINGS_DIR"] / "@jupyterlab/apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True})
    )
    environment = os.environ | {name: str(folder) for name, folder in folders.items()}
    # It is the package, not the test, that must keep a notebook off the internet.
    environment.pop("PANEL_INLINE", None)
    processes = ExitStack()

    def start(folder):
        command = [sys.executable, "-m", "jupyter", "lab", f"--port={port}", f"--config={config}"]
        log = processes.enter_context((tmp_path / "jupyter.log").open("w"))
        processes.enter_context(
            running(command, cwd=folder, env=environment, stdout=log, stderr=log)
        )
        url = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{url}/api", timeout=1)
            except OSError:
                time.sleep(0.5)
            else:
                return url
        raise TimeoutError((tmp_path / "jupyter.log").read_text()[-2000:])

    with processes:
        yield start


@pytest.fixture
def run_notebook(page, jupyterlab):
    """Return a function that opens a notebook in JupyterLab and runs all of its cells.

    Other tests may hand it a notebook of the project: ``run_notebook(path)``.
    """

    def run(path, timeout_s=120):
        page.goto(f"{jupyterlab(path.parent)}/doc/tree/{path.name}?reset")
        page.wait_for_function(
            """() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext
                ?.session?.kernel?.status === 'idle'""",
            timeout=60_000,
        )
        page.evaluate(
            "() => { window.ran = window.jupyterapp.commands.execute('notebook:run-all-cells')"
            ".then(() => { window.all_ran = true; }); }"
        )
        page.wait_for_function("() => window.all_ran === true", timeout=1000 * timeout_s)
        failed = page.locator(".jp-RenderedText[data-mime-type*='stderr'], .jp-OutputArea-error")
        assert failed.count() == 0, failed.all_inner_texts()
        return page

    return run


@pytest.fixture
def sources(page):
    """Return a function that reads a sum of each column of data the page's figures hold."""
    return lambda: page.evaluate(READ_SOURCES)


@pytest.fixture
def columns(sources):
    """Return a function that reads what all figures hold under a name: name, length and sum.

    Now, or in what ``sources()`` gave before.
    """

    def find(name, state=None):
        state = sources() if state is None else state
        return [column for source in state for column in source if column[0] == name]

    return find


@pytest.fixture
def lasso(page):
    """Return a function that draws a lasso on the last map that has one.

    Around a box: its corner in shares of the figure, its width and height in pixels.
    """

    def draw(corner, size):
        figure = page.locator(".bk-Figure").filter(has=page.locator(".bk-tool-icon-lasso-select"))
        box = figure.last.locator("canvas").first.bounding_box()
        left, top = (
            box[at] + share * box[side]
            for at, share, side in zip(("x", "y"), corner, ("width", "height"), strict=True)
        )
        wide, tall = size
        page.mouse.move(left, top)
        page.mouse.down()
        for x, y in ((wide, 0), (wide, tall), (0, tall), (0, 5)):
            page.mouse.move(left + x, top + y, steps=6)
        page.mouse.up()

    return draw


@pytest.fixture
def eventually(page):
    """Return a function that waits until something is so, and says whether it came to be."""

    def wait(check, seconds=60):
        for _ in range(4 * seconds):
            if check():
                return True
            page.wait_for_timeout(250)
        return False

    return wait
