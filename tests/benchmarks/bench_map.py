"""How many frames a second a map of 50,000 neurons is painted in while it is dragged.

Run it by hand, on an idle machine: ``python tests/benchmarks/bench_map.py [N_NEURON]``.
Goal: at least 20. A real Chromium draws, in software.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from conftest import ARGUMENTS

SERVED = Path(__file__).parents[1] / "browser/served_map.py"
STEPS = 60  # mouse moves of a drag
# Notes the time of each frame in which the map has moved.
WATCH = """() => {
    window.moved = [];
    const map = [...Bokeh.documents[0]._all_models.values()].find(
        model => model.type === 'Figure' || model.type === 'Plot');
    let last = map.x_range.start;
    const note = () => {
        if (map.x_range.start !== last) {
            last = map.x_range.start;
            window.moved.push(performance.now());
        }
        requestAnimationFrame(note);
    };
    requestAnimationFrame(note);
}"""


def pan(page) -> float:
    """Drag the map of an open population page; return frames painted a second."""
    box = page.locator(".bk-Figure").first.locator("canvas").first.bounding_box()
    x, y = box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"]
    page.evaluate(WATCH)
    page.mouse.move(x, y)
    page.mouse.down()
    for i in range(STEPS):
        page.mouse.move(x - 2 * i, y + i)
    page.mouse.up()
    moved = page.evaluate("() => window.moved")
    return 1000 * (len(moved) - 1) / (moved[-1] - moved[0])


def main() -> None:
    from playwright.sync_api import sync_playwright

    n_neuron = sys.argv[1] if len(sys.argv) > 1 else "50000"
    chromium = os.environ.get("TWINLAB_CHROMIUM") or shutil.which("chromium")
    server = subprocess.Popen(
        [sys.executable, str(SERVED), n_neuron], stdout=subprocess.PIPE, text=True
    )
    try:
        url = server.stdout.readline().strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.goto(f"{url}?page=population")
            page.wait_for_selector("canvas")
            page.wait_for_timeout(3000)
            for _ in range(3):
                print(f"map of {n_neuron} neurons: {pan(page):.1f} frames a second")
                page.wait_for_timeout(2000)
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
