"""How long the lab takes to answer a person, in a real Chromium that draws in software.

    python tests/benchmarks/bench_explorer.py [--neurons 8000] [--times 15] [--pages 10]
        [--only slider,tap,cold,mei,crowd,memory]

Run it on an idle machine. Medians beside what is asked for; a time ends with the second frame
painted after the page's last new data. Every page is a person of its own.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from conftest import ARGUMENTS
from test_served_bench import WATCH, slider, step

SERVED = Path(__file__).parent / "served_twin.py"
SLIDERS = ("orientation", "frequency", "phase", "y (px)")
COLD = ("", "bench", "recording", "population", "scorecard", "unit", "stimulus", "tuning", "mei")
SIZE = {"width": 1280, "height": 800}
# An ascent that takes more than the seconds it is looked at.
LONG = "meistudio.objective=diverse+and+exciting&meistudio.n_step=1000&meistudio.n_start=10"
SETTLED = 400  # ms without new data after which a figure is done
# Counts the pictures the page's image sources are sent.
COUNT = """() => {
    window.pictures = 0;
    for (const doc of Bokeh.documents)
        for (const model of doc._all_models.values())
            if (model.type === 'ColumnDataSource' && 'image' in Object.fromEntries(
                model.data instanceof Map ? model.data : Object.entries(model.data)))
                model.properties.data.change.connect(() => { window.pictures += 1; });
}"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=8000)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--only", default="slider,tap,cold,mei,crowd,memory")
    options = parser.parse_args()
    print(f"{options.neurons} neurons\n{'':44}{'median':>8}{'p95':>8}{'asked':>8}")
    with served(options.neurons) as (server, url), sync_playwright() as playwright:
        chromium = os.environ.get("TWINLAB_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for name in options.only.split(","):
            MEASURES[name](browser, url, server, options)
        browser.close()


@contextmanager
def served(n_neuron):
    """A server on a twin of that many neurons, and its address."""
    command = [sys.executable, str(SERVED), str(n_neuron)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield server, server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


@contextmanager
def opened(browser, url, name):
    """A page of the lab that has been drawn and has come to rest."""
    page = browser.new_page(viewport=SIZE)
    page.goto(f"{url}?page={name}")
    page.wait_for_selector("canvas")
    page.wait_for_timeout(3000)
    page.evaluate(WATCH)
    yield page
    page.close()


def say(name, values, asked="", unit="ms"):
    median, most = np.percentile(values, [50, 95])
    print(f"{name + ' (' + unit + ')':44}{median:8.0f}{most:8.0f}{asked:>8}", flush=True)


def measure_slider(browser, url, server, options):
    with opened(browser, url, "stimulus") as page:
        for title in SLIDERS:
            times = [step(page, title) for _ in range(options.times)]
            say(f"slider to painted: {title}", times, "150")
    with opened(browser, url, "bench") as page:
        say("same, on the twin bench: phase", [step(page, "phase") for _ in range(options.times)])


def measure_tap(browser, url, server, options):
    """Tap neurons of the map; tap them again, when all is known of them."""
    with opened(browser, url, "bench") as page:
        box = page.locator(".bk-Figure").first.locator("canvas").first.bounding_box()
        places = np.random.default_rng(0).uniform(0.25, 0.75, (options.times, 2))
        for name, asked in (("computed", "1500"), ("cached", "400")):
            times = []
            for across, down in places:
                page.evaluate("() => { window.painted = []; }")
                start = page.evaluate("() => performance.now()")
                page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])
                page.wait_for_function("() => window.painted.length > 0", timeout=10_000)
                settle(page)
                times.append(page.evaluate("() => Math.max(...window.painted)") - start)
            say(f"tap on the map to the neuron's page, {name}", times, asked)


def settle(page):
    """Wait until no data have come for a while."""
    page.wait_for_function(
        f"() => performance.now() - Math.max(...window.painted) > {SETTLED}", timeout=20_000
    )


def measure_cold(browser, url, server, options):
    """From asking for a page to the first frame after all its figures are there."""
    for name in COLD:
        times = []
        for _ in range(3):
            page = browser.new_page(viewport=SIZE)
            began = time.perf_counter()
            page.goto(f"{url}?page={name}")
            page.wait_for_selector("canvas" if name else "text=Open")
            page.evaluate("() => new Promise(done => requestAnimationFrame(done))")
            times.append(1000 * (time.perf_counter() - began))
            page.close()
        say(f"page to its figures: {name or 'gallery'}", times, "4000")


def measure_mei(browser, url, server, options):
    """Pictures a second while an image grows, other controls meanwhile, and cancel."""
    with opened(browser, url, f"mei&{LONG}") as page:
        rates, others, cancels = [], [], []

        def press(name, until):
            start = time.perf_counter()
            page.get_by_role("button", name=name).click()
            until.wait_for()
            return 1000 * (time.perf_counter() - start)

        pause, resume = (page.get_by_role("button", name=name) for name in ("Pause", "Resume"))
        page.evaluate(COUNT)
        for _ in range(3):
            press("Run", page.locator("button:not([disabled])").filter(has_text="Cancel"))
            page.evaluate("() => { window.pictures = 0; }")
            page.wait_for_timeout(1500)
            rates.append(page.evaluate("() => window.pictures") / 1.5)
            others += [press("Pause", resume), press("Resume", pause)]
            cancels.append(press("Cancel", page.get_by_text("cancelled").first))
            page.wait_for_timeout(1000)
        say("most exciting input: pictures", rates, "5", "1/s")
        say("another control meanwhile", others, "300")
        say("cancel", cancels, "300")


def measure_crowd(browser, url, server, options):
    """Many pages, each moving a slider at the same time."""
    pages = []
    for _ in range(options.pages):
        page = browser.new_page(viewport=SIZE)
        page.goto(f"{url}?page=stimulus")
        page.wait_for_selector("canvas")
        pages.append(page)
    pages[-1].wait_for_timeout(5000)
    times = []
    for page in pages:
        page.evaluate(WATCH)
        slider(page, "phase").focus()
    for _ in range(5):
        starts = []
        for page in pages:
            page.evaluate("() => { window.painted = []; }")
        for page in pages:
            starts.append(page.evaluate("() => performance.now()"))
            page.keyboard.press("ArrowRight")
        for page, start in zip(pages, starts, strict=True):
            page.wait_for_function("() => window.painted.length > 0", timeout=20_000)
            settle(page)
            times.append(page.evaluate("() => Math.max(...window.painted)") - start)
    say(f"slider to painted, {options.pages} pages at once", times, "500")
    for page in pages:
        page.close()


def measure_memory(browser, url, server, options):
    """Memory of the server before and after twenty pages were opened and closed."""

    def resident():
        lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    def visit():
        page = browser.new_page(viewport=SIZE)
        page.goto(f"{url}?page=bench")
        page.wait_for_selector("canvas")
        page.wait_for_timeout(500)
        page.close()

    visit()
    time.sleep(45)
    before = resident()
    for _ in range(20):
        visit()
    most = resident()
    time.sleep(60)
    after = resident()
    print(f"server before, after 20 pages, a minute later: {before:.0f}, {most:.0f}, {after:.0f} "
          f"MiB: {after / before - 1:+.0%} (asked +25%)")  # fmt: skip


MEASURES = {
    "slider": measure_slider,
    "tap": measure_tap,
    "cold": measure_cold,
    "mei": measure_mei,
    "crowd": measure_crowd,
    "memory": measure_memory,
}

if __name__ == "__main__":
    main()
