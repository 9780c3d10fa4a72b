import json
import shutil
from pathlib import Path

import pytest

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


@pytest.fixture
def bench_notebook(tmp_path):
    """A notebook that shows a figure and the bench."""
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {},
            "source": code.strip(),
            "outputs": [],
            "execution_count": None,
        }
        for number, code in enumerate(BENCH)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    folder = tmp_path / "notebooks"
    folder.mkdir()
    path = folder / "bench.ipynb"
    path.write_text(
        json.dumps(
            {
                "cells": cells,
                "metadata": {"kernelspec": kernel},
                "nbformat": 4,
                "nbformat_minor": 5,
            }
        )
    )
    return path


def test_the_bench_lives_in_a_notebook(bench_notebook, run_notebook, sources, screenshot):
    page = run_notebook(bench_notebook)
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
