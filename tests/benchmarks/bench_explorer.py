"""How long the bench takes to answer: slider to painted, tap to painted, page to usable.

Run it by hand, on an idle machine: ``python tests/benchmarks/bench_explorer.py [TIMES]``.
Budgets (medians): slider 250 ms, page 4 s. A real Chromium draws, in software.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from conftest import ARGUMENTS
from test_served_bench import WATCH, step

TIMES = int(sys.argv[1]) if len(sys.argv) > 1 else 15
SERVED = Path(__file__).parents[1] / "browser/served_bench.py"
SLIDERS = ("orientation", "frequency", "phase", "y (px)")


def main() -> None:
    chromium = os.environ.get("TWINLAB_CHROMIUM") or shutil.which("chromium")
    server = subprocess.Popen([sys.executable, str(SERVED)], stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            rows = measure(browser, url)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    print(f"{'':24}{'median':>10}{'p95':>10}   (ms, {TIMES} times)")
    for name, times in rows.items():
        median, most = np.percentile(times, [50, 95])
        print(f"{name:24}{median:10.0f}{most:10.0f}")


def measure(browser, url: str) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = {"page to first canvas": []}
    for _ in range(3):
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        began = time.perf_counter()
        page.goto(url)
        page.wait_for_selector("canvas")
        rows["page to first canvas"].append(1000 * (time.perf_counter() - began))
    page.get_by_text("OSI").wait_for()
    page.wait_for_timeout(1000)
    page.evaluate(WATCH)
    for title in SLIDERS:
        rows[f"{title} to painted"] = [step(page, title) for _ in range(TIMES)]
    return rows


if __name__ == "__main__":
    main()
