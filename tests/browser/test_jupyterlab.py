import json

import pytest

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
bench = explorers.TwinBench(cortex.as_twin(), recording)
bench.wait(60)
plots.plot_tuning(bench.known("tuning"))
""",
    """
bench
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
