import io
import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image

QUICK_START = Path(__file__).parents[2] / "notebooks" / "00_quickstart.ipynb"

BENCH = [
    """
from twinlab import explorers
explorers.notebook()
""",
    """
from twinlab.simulation import SimulatedCortex
cortex = SimulatedCortex(seed=0, n_neuron=24)
recording = cortex.record(n_train=300, n_validation=50, n_test=20, n_repeat=4)
""",
    """
from twinlab import plots
lab = explorers.LabState(cortex.as_twin(), recording)
lab.wait(60)
plots.plot_tuning(lab.known("tuning"))
""",
    """
explorers.TwinBench(lab)
""",
]


def write_notebook(path, cells):
    """Write a notebook of code cells that have not run."""
    path.parent.mkdir(parents=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(
        json.dumps(
            {
                "cells": [
                    {
                        "cell_type": "code",
                        "id": f"cell-{number}",
                        "metadata": {},
                        "source": code.strip(),
                        "outputs": [],
                        "execution_count": None,
                    }
                    for number, code in enumerate(cells)
                ],
                "metadata": {"kernelspec": kernel},
                "nbformat": 4,
                "nbformat_minor": 5,
            }
        )
    )
    return path


def test_the_bench_lives_in_a_notebook(run_notebook, sources, screenshot, tmp_path):
    page = run_notebook(write_notebook(tmp_path / "notebooks" / "bench.ipynb", BENCH))
    page.locator(".noUi-handle").first.wait_for(timeout=30_000)
    page.wait_for_timeout(1500)
    assert page.locator(".jp-OutputArea canvas").count() >= 9  # the bench and a figure before it
    before = sources()
    assert any(name == "rate" and length == 24 for s in before for name, length, _ in s)
    widget = page.locator(".bk-input-group").filter(has_text="orientation")
    widget.locator(".noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(2000)
    assert sources() != before
    screenshot("jupyterlab")


# One image in, and the explorers that need nothing more than a twin of images.
EVERY = [
    *BENCH[:2],
    """
lab = explorers.LabState(cortex.as_twin(), recording, neuron=3, selection=[1, 2, 5])
lab.wait(60)
shown = {name: kind for name, kind in explorers.EXPLORERS.items() if not kind.lacks(lab)}
views = {name: kind(lab) for name, kind in shown.items()}
print("shown:", *views)
""",
]


def test_every_explorer_lives_in_a_notebook(run_notebook, screenshot, tmp_path):
    from twinlab import explorers

    # all that a lab of images with a recording can show; the others have tests of their own
    names = [name for name in explorers.EXPLORERS if name not in ("videos", "loop", "fits")]
    cells = [*EVERY, *(f"views[{name!r}]" for name in names)]
    page = run_notebook(write_notebook(tmp_path / "notebooks" / "every.ipynb", cells))
    page.get_by_text("shown: bench").wait_for()

    def show(number):
        """Scroll to a cell; return its output."""
        page.evaluate(
            """number => window.jupyterapp.shell.currentWidget.content
                .scrollToItem(number, "center")""",
            number,
        )
        return page.locator(f".jp-Cell[data-windowed-list-index='{number}'] .jp-OutputArea")

    for number, name in enumerate(names, start=len(EVERY)):
        output = show(number)
        output.locator("canvas").first.wait_for(timeout=30_000)
        assert "Error" not in output.inner_text(), name
        page.wait_for_timeout(1000)
        screenshot(f"jupyterlab_{name}")
    # What is chosen in one cell is chosen in all.
    bench, unit = (len(EVERY) + names.index(name) for name in ("bench", "unit"))
    show(bench).get_by_label("neuron").first.fill("7")
    page.keyboard.press("Tab")
    show(unit).get_by_text("Neuron 7 of 24").wait_for()
    assert page.errors == []


UPLOAD = [
    *BENCH[:2],
    """
lab = explorers.LabState(cortex.as_twin(), recording, kind="grating")
explorers.StimulusBench(lab)
""",
]


def test_a_picture_is_sent_to_a_notebook(run_notebook, sources, tmp_path):
    page = run_notebook(write_notebook(tmp_path / "notebooks" / "upload.ipynb", UPLOAD))
    page.get_by_label("kind").select_option("image")
    chooser = page.locator("input[type=file]")
    chooser.wait_for()
    before = sources()
    too_large = tmp_path / "large.png"
    with too_large.open("wb") as file:
        file.truncate(300_000_000)
    chooser.set_input_files(too_large)  # is not sent, and what is sent next arrives
    content = io.BytesIO()
    levels = np.random.default_rng(0).integers(0, 256, (72, 200), np.uint8)
    PIL.Image.fromarray(levels).save(content, "PNG")
    picture = {"name": "mine.png", "mimeType": "image/png", "buffer": content.getvalue()}
    chooser.set_input_files(picture)
    page.get_by_text("mine.png: 200 × 72 px, 36 % cut off at the edges").wait_for()
    page.wait_for_timeout(1000)
    assert sources() != before
    assert page.errors == []


def test_the_quick_start_runs_and_ends_in_a_live_bench(
    run_notebook, sources, screenshot, tmp_path
):
    # a copy: JupyterLab saves what it runs
    path = tmp_path / "quickstart" / QUICK_START.name
    path.parent.mkdir()
    shutil.copy(QUICK_START, path)
    page = run_notebook(path, timeout_s=600)
    page.get_by_text("Stimulus bench").wait_for(timeout=60_000)
    page.wait_for_timeout(3000)
    assert page.locator(".jp-OutputArea canvas").count() >= 12  # the bench and figures before it
    assert any(name == "rate" and length == 60 for s in sources() for name, length, _ in s)
    screenshot("quickstart")
