import io
import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
from conftest import HERE

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
    page.locator(".noUi-handle").first.wait_for()
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


def show(page, number):
    """Scroll to a cell; return its output."""
    page.evaluate(
        """number => window.jupyterapp.shell.currentWidget.content
            .scrollToItem(number, "center")""",
        number,
    )
    return page.locator(f".jp-Cell[data-windowed-list-index='{number}'] .jp-OutputArea")


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

    for number, name in enumerate(names, start=len(EVERY)):
        output = show(page, number)
        output.locator("canvas").first.wait_for()
        assert "Error" not in output.inner_text(), name
        page.wait_for_timeout(1000)
        screenshot(f"jupyterlab_{name}")
    # What is chosen in one cell is chosen in all.
    bench, unit = (len(EVERY) + names.index(name) for name in ("bench", "unit"))
    show(page, bench).get_by_label("neuron").first.fill("7")
    page.keyboard.press("Tab")
    show(page, unit).get_by_text("Neuron 7 of 24").wait_for()
    assert page.errors == []


def served(name, call, *views):
    """Cells that show explorers of the lab that a script of this folder serves as well."""
    make = f"import sys\nsys.path.insert(0, {str(HERE)!r})\nimport {name}\nlab = {name}.{call}"
    return [BENCH[0], make, *(f"explorers.{view}" for view in views)]


def test_a_video_is_scrubbed_in_a_notebook(
    run_notebook, eventually, screenshot, tmp_path, columns
):
    cells = served("served_videos", "open_lab()", "Videos(lab)")
    page = run_notebook(write_notebook(tmp_path / "notebooks" / "videos.ipynb", cells))
    output = show(page, 2)
    output.get_by_text("mean of 5 presentations").wait_for()
    output.get_by_text("(judged from 0.15)").wait_for()
    assert output.locator("canvas").count() >= 8
    # 80 frames, measured and predicted, of the chosen neuron, of five, and of all 40
    assert eventually(lambda: [n for _, n, total in columns("response") if total])
    frame = columns("image")
    assert all(length and total for _, length, total in frame)
    for number in (1, 2, 3):
        output.locator("input[type=range]").first.press("ArrowRight")
        output.get_by_text(f"frame {number} of 80").wait_for()
    assert eventually(lambda: columns("image") != frame)
    screenshot("jupyterlab_videos")
    assert "Error" not in output.inner_text()
    assert page.errors == []


def test_loops_and_fits_live_in_a_notebook(
    run_notebook, eventually, screenshot, tmp_path, columns
):
    call = f"open_lab(__import__('pathlib').Path({str(tmp_path)!r}))"
    views = "InceptionLoop(lab)", "FitMonitor(lab, preset='small', max_epochs=2)"
    cells = served("served_loop", call, *views)
    page = run_notebook(write_notebook(tmp_path / "notebooks" / "loop.ipynb", cells), 600)
    # the loop: a cell of its matrix is tapped
    output = show(page, 2)
    output.get_by_text("measured").first.wait_for()
    assert output.locator("canvas").count() >= 8
    assert eventually(lambda: any(total for _, _, total in columns("image")))
    before = columns("image")
    matrix = output.locator(".bk-Figure").first.locator("canvas").first
    matrix.scroll_into_view_if_needed()
    box = matrix.bounding_box()
    page.mouse.click(box["x"] + 0.45 * box["width"], box["y"] + 0.75 * box["height"])
    output.get_by_text("made for another").wait_for()
    assert eventually(lambda: columns("image") != before)
    screenshot("jupyterlab_loop")
    assert "Error" not in output.inner_text()
    # fits: one is started, and comes in by itself
    output = show(page, 3)
    output.get_by_text("10 readouts").wait_for()
    assert output.locator("canvas").count() >= 3
    assert eventually(lambda: columns("name"))  # at the ends of the courses
    before = columns("name")
    output.get_by_role("button", name="Start a fit").click()
    output.get_by_label("fit-1", exact=True).wait_for()
    output.get_by_text("epoch 2 of 2").first.wait_for()
    assert eventually(lambda: columns("name") != before)
    screenshot("jupyterlab_fits")
    assert "Error" not in output.inner_text()
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
    page.wait_for_timeout(5000)  # its first neuron has been measured
    before = sources()
    too_large = tmp_path / "large.png"
    with too_large.open("wb") as file:
        file.truncate(300_000_000)
    chooser.set_input_files(too_large)  # is not sent, and what is sent next arrives
    refused = page.get_by_text("large.png: has 300 MB, but at most 8 are read")
    refused.wait_for()
    content = io.BytesIO()
    levels = np.random.default_rng(0).integers(0, 256, (72, 200), np.uint8)
    PIL.Image.fromarray(levels).save(content, "PNG")
    picture = {"name": "mine.png", "mimeType": "image/png", "buffer": content.getvalue()}
    chooser.set_input_files(picture)
    page.get_by_text("mine.png: 200 × 72 px, 36 % cut off at the edges").wait_for()
    refused.wait_for(state="hidden")
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
    page.get_by_text("Stimulus bench").wait_for()
    page.wait_for_timeout(3000)
    assert page.locator(".jp-OutputArea canvas").count() >= 12  # the bench and figures before it
    assert any(name == "rate" and length == 60 for s in sources() for name, length, _ in s)
    screenshot("quickstart")
