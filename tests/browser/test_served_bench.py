import re
import statistics
import time

import pytest

# Counts milliseconds from a key to the second frame painted after new data arrived.
WATCH = """() => {
    window.painted = [];
    const note = () => requestAnimationFrame(() => requestAnimationFrame(
        () => window.painted.push(performance.now())));
    for (const doc of Bokeh.documents)
        for (const model of doc._all_models.values())
            if (model.type === 'ColumnDataSource') {
                model.properties.data.change.connect(note);
                model.patching.connect(note);
            }
}"""


@pytest.fixture
def bench(page, bench_url):
    """Open a page of its own, and wait until its first neuron has been measured."""

    def open_page(query=""):
        page.goto(f"{bench_url}?page=bench&{query}")
        page.wait_for_selector("canvas")
        page.get_by_text(re.compile(r"\bOSI\b")).wait_for()
        page.wait_for_timeout(500)
        return page

    return open_page


def slider(page, title):
    """Handle of the slider under a title."""
    widget = page.locator(".bk-input-group").filter(has_text=title)
    return widget.locator(".noUi-handle")


def step(page, title):
    """Move a slider by one step; return milliseconds until new data are painted."""
    slider(page, title).focus()
    page.evaluate("() => { window.painted = []; }")
    start = page.evaluate("() => performance.now()")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => window.painted.length > 0")
    page.wait_for_timeout(400)
    return page.evaluate("() => Math.max(...window.painted)") - start


def test_the_bench_is_drawn_and_fits_the_screen(bench, sources, screenshot):
    page = bench()
    assert page.locator("canvas").count() >= 8
    assert all(length > 0 for source in sources() for name, length, _ in source if name == "rate")
    assert any(name == "rate" and length == 200 for s in sources() for name, length, _ in s)
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= 1400
    screenshot("bench")
    assert page.errors == []


def test_a_slider_changes_the_predicted_responses_in_place(bench, sources):
    page = bench()
    canvases, before = page.locator("canvas").count(), sources()
    page.evaluate(WATCH)
    step(page, "orientation")
    after = sources()
    assert len(after) == len(before)  # drawn in place, not anew
    assert page.locator("canvas").count() == canvases
    rates = [[c for s in state for c in s if c[0] == "rate"] for state in (before, after)]
    assert rates[0] != rates[1]


def test_a_tap_on_the_map_chooses_a_neuron_and_shows_it(bench, sources, screenshot):
    page = bench()
    before = sources()
    box = page.locator(".bk-Figure").first.locator("canvas").first.bounding_box()
    page.mouse.click(box["x"] + 0.35 * box["width"], box["y"] + 0.55 * box["height"])
    page.wait_for_function("() => window.location.search.includes('neuron=')")
    chosen = int(page.url.split("neuron=")[1].split("&")[0])
    assert chosen > 0
    page.get_by_text(f"Neuron {chosen} of 200").wait_for()
    page.wait_for_timeout(2500)
    changed = [a != b for a, b in zip(before, sources(), strict=True)]
    assert sum(changed) >= 5  # map, receptive field, tuning, measured and predicted, images
    screenshot("bench_tapped")


def test_an_address_brings_back_what_was_shown(bench):
    page = bench("neuron=17&orientation=45&kind=grating")
    page.get_by_text("Neuron 17 of 200").wait_for()
    assert slider(page, "orientation").get_attribute("aria-valuenow") == "45.0"
    assert page.get_by_label("kind").input_value() == "grating"


def test_an_old_address_still_opens(bench):
    page = bench("neuron=100000")
    page.get_by_text("Neuron 0 of 200").wait_for()


def test_an_mei_is_synthesised_and_judged_by_the_other_twin(bench, screenshot):
    page = bench()
    page.get_by_role("button", name="Synthesise").click()
    page.get_by_text("On the other twin").wait_for()
    page.wait_for_timeout(500)
    screenshot("bench_mei")


def test_the_page_stays_alive_during_long_work_which_is_cancelled_soon(bench, screenshot):
    page = bench()
    page.evaluate(WATCH)
    page.get_by_role("button", name="Tuning of all").click()
    page.get_by_text("slowly").first.wait_for()
    assert step(page, "phase") < 2000
    screenshot("bench_working")
    page.get_by_role("button", name="Cancel").click()
    start = time.monotonic()
    page.get_by_text("cancelled").first.wait_for()
    assert time.monotonic() - start < 2


def test_the_map_is_coloured_by_what_is_asked(bench, screenshot):
    page = bench()
    page.get_by_label("coloured by").select_option("true orientation")
    page.wait_for_function(
        """() => Bokeh.documents.some(doc => [...doc._all_models.values()].some(
            model => model.type === 'ColumnDataSource'
                && model.columns().includes('true_orientation')))"""
    )
    screenshot("bench_coloured")


def test_slider_to_paint_is_measured(bench, record_property, capsys):
    page = bench()
    page.evaluate(WATCH)
    times = [step(page, "phase") for _ in range(12)][2:]
    record_property("slider_to_paint_ms", statistics.median(times))
    with capsys.disabled():
        message = f"\nslider to paint: median {statistics.median(times):.0f} ms, "
        print(message + f"largest {max(times):.0f} ms")  # noqa: T201 - a measurement to read
