"""Make the pictures of the README: real pages of `twinlab serve`, on the example twin.

python tests/making/make_pictures.py [--only NAME ...]
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/browser"))
from conftest import ARGUMENTS  # noqa: E402

PICTURES = ROOT / ".github"
SIZE = {"width": 1280, "height": 800}
# What each picture shows: the page's address, and what is pressed and waited for on it.
SHOTS = {
    "bench": ("page=bench&neuron=31", "Synthesise", "On the other twin"),
    "stimulus": ("page=stimulus&neuron=31&kind=plaid&orientation=30", "", "predicted"),
    "mei": ("page=mei&neuron=31", "Run", "done"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(SHOTS))
    names = parser.parse_args().only
    command = [sys.executable, "-c", "from twinlab.cli import main; main()"]
    server = subprocess.Popen(
        [*command, "serve", "example", "--no-browser"], stdout=subprocess.PIPE, text=True
    )
    try:
        line = next(line for line in server.stdout if "http://" in line)
        url = re.search(r"http://\S+", line).group()
        with sync_playwright() as playwright:
            chromium = os.environ.get("TWINLAB_CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            for name in names:
                take(browser, url, name)
            browser.close()
    finally:
        server.terminate()
        server.wait()


def take(browser, url, name):
    address, button, words = SHOTS[name]
    page = browser.new_page(viewport=SIZE)
    page.goto(f"{url}?{address}")
    if button:
        page.wait_for_selector("canvas")
        page.wait_for_timeout(3000)
        page.get_by_role("button", name=button).first.click()
    page.get_by_text(words).first.wait_for(timeout=60_000)
    page.wait_for_timeout(2500)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
    page.close()


if __name__ == "__main__":
    main()
