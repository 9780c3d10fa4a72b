"""A recording without a twin in a real browser, as `twinlab serve` shows it."""

import subprocess
import sys
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from conftest import running

from twinlab.recordings import save_recording
from twinlab.simulation import SimulatedCortex


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recording, and a folder for fits."""
    folder = tmp_path_factory.mktemp("alone")
    cortex = SimulatedCortex(seed=0, n_neuron=12, height=18, width=24, reliability=0.6)
    save_recording(
        cortex.record(n_train=120, n_validation=40, n_test=10), folder / "recording.zarr"
    )
    (folder / "fits").mkdir()
    return folder


@pytest.fixture(scope="module")
def alone_url(folder):
    """Address of the recording alone, served by the command."""
    command = [sys.executable, "-m", "twinlab.cli", "serve", "--no-browser"]
    command += ["--recording", str(folder / "recording.zarr"), "--fits", str(folder / "fits")]
    with running(command, stdout=subprocess.PIPE) as server:
        words = server.stdout.readline().split()
        assert "at" in words, "the server did not start"
        yield words[words.index("at") + 1]


def test_the_gallery_offers_the_recording_and_greys_what_needs_a_twin(page, alone_url, screenshot):
    page.goto(alone_url)
    page.get_by_text("without a twin").wait_for()
    entries = page.get_by_role("button", name="Open")
    open_ones = [i for i in range(entries.count()) if entries.nth(i).is_enabled()]
    assert (entries.count(), open_ones) == (11, [1, 10])  # the recording, and the fit monitor
    assert page.get_by_text("No twin was given").count() == 8
    screenshot("alone_gallery")
    entries.nth(1).click()
    page.get_by_text("(judged from 0.15)").wait_for()
    assert "page=recording" in page.url
    page.goto(f"{alone_url}?page=tuning")
    page.locator(".notyf__message").filter(has_text="No twin was given").wait_for()
    assert page.errors == []


def test_the_recording_is_drawn_and_neurons_are_chosen(
    page, alone_url, screenshot, eventually, columns, lasso
):
    page.goto(f"{alone_url}?page=recording&neuron=3")
    page.get_by_text("(judged from 0.15)").wait_for()
    assert eventually(
        lambda: any(length == 12 for _, length, _ in columns("explainable_variance"))
    )
    assert not page.get_by_text("Send image to bench").is_visible()
    lasso((0.2, 0.2), (160, 120))
    page.wait_for_function("() => window.location.search.includes('chosen=')")
    page.get_by_label("neuron").first.fill("7")
    page.keyboard.press("Tab")
    page.wait_for_function("() => location.search.includes('neuron=7')")
    page.get_by_role("button", name="Copy as code").click()
    page.locator("textarea").wait_for()
    screenshot("alone_recording")
    room = {}
    exec(page.locator("textarea").input_value(), room)  # noqa: S102 - it opens the recording
    lab = room["lab"]
    assert not lab.has_twin
    assert lab.neuron == 7
    assert f"chosen={lab.chosen}" in unquote(page.url)
    assert len(lab.selection) == room["raster"].sizes["raster_neuron"] > 0
    page.get_by_label("take away").select_option("data: neurons (csv)")
    with page.expect_download() as download:
        page.get_by_text("Save", exact=True).click()
    table = pd.read_csv(download.value.path(), comment="#")
    np.testing.assert_allclose(table.cc_max, room["reliability"].cc_max)
    np.testing.assert_allclose(table.neuron_mean, room["activity"].neuron_mean)
    lab.close()
    assert page.errors == []


def test_a_twin_is_fitted_and_opened_beside_the_recording(page, alone_url, folder, screenshot):
    page.goto(f"{alone_url}?page=fits&fitmonitor.max_epochs=2&fitmonitor.preset=small")
    page.get_by_text("No fit yet").wait_for()
    page.get_by_role("button", name="Start a fit").click()
    page.get_by_text("epoch 2 of 2").wait_for()
    page.get_by_text("twinlab serve").wait_for()
    page.get_by_text("12 readouts").wait_for()
    screenshot("alone_fits")
    command = page.locator("code").filter(has_text="twinlab serve").inner_text()
    twin = command.split()[2]
    assert twin == str(folder / "fits" / "fit-1")
    assert page.errors == []
    words = [sys.executable, "-m", "twinlab.cli", "serve", "--no-browser", twin]
    words += ["--recording", str(folder / "recording.zarr")]
    with running(words, stdout=subprocess.PIPE) as server:
        page.goto(server.stdout.readline().split("at ")[1].split()[0])
        page.get_by_text("DeepTwin").wait_for()
        assert page.get_by_text("No twin was given").count() == 0
