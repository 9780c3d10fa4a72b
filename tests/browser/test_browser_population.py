import sys

import pytest
from conftest import HERE, running

sys.path.insert(0, str(HERE.parent / "benchmarks"))
from bench_map import pan


@pytest.fixture
def open_page(page, bench_url):
    """Open a page of its own, and wait until its first neuron has been measured."""

    def open_page(query):
        page.goto(f"{bench_url}?{query}")
        page.wait_for_selector("canvas")
        page.wait_for_timeout(3000)
        return page

    return open_page


def test_the_population_is_drawn_filtered_and_kept(open_page, screenshot, columns):
    page = open_page("page=population&color_by=FEVE")
    assert any(length == 200 and total for _, length, total in columns("feve"))
    assert any(length == 200 for _, length, _ in columns("neuron"))  # the table
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1400
    handle = page.locator(".noUi-handle-lower").first
    handle.focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("() => window.location.search.includes('population.filters')")
    page.get_by_role("button", name="Keep what passes").click()
    page.get_by_text("of 200 selected").wait_for()
    page.wait_for_timeout(1500)
    assert columns("diameter")  # those that were not kept are small
    screenshot("population")
    assert page.errors == []


def test_a_tap_and_a_box_on_the_map_choose_and_select(open_page, screenshot):
    page = open_page("page=population")
    box = page.locator(".bk-Figure").first.locator("canvas").first.bounding_box()
    x, y, width, height = (box[key] for key in ("x", "y", "width", "height"))
    page.mouse.click(x + 0.4 * width, y + 0.5 * height)
    page.wait_for_function("() => window.location.search.includes('neuron=')")
    page.get_by_title("Box Select").first.click()
    page.mouse.move(x + 0.2 * width, y + 0.2 * height)
    page.mouse.down()
    page.mouse.move(x + 0.5 * width, y + 0.6 * height, steps=5)
    page.mouse.up()
    page.get_by_text("of 200 selected").wait_for()
    page.wait_for_function("() => window.location.search.includes('chosen=')")
    page.get_by_role("button", name="Open unit page").click()
    page.get_by_text("Receptive field").first.wait_for()
    assert page.errors == []


def test_a_map_of_many_neurons_is_one_picture_that_can_be_dragged(page, screenshot, columns):
    import subprocess

    command = [sys.executable, str(HERE / "served_map.py"), "50000"]
    with running(command, stdout=subprocess.PIPE) as server:
        page.goto(f"{server.stdout.readline().strip()}?page=population")
        page.wait_for_selector("canvas")
        page.wait_for_timeout(4000)
        before = columns("image")
        assert any(length > 100_000 for _, length, _ in before)
        assert pan(page) > 0
        page.wait_for_timeout(3000)
        assert columns("image") != before  # what came into view
        page.get_by_text("The first 200 are listed").wait_for()
        screenshot("population_of_many")
    assert [error for error in page.errors if "WebSocket" not in error] == []
