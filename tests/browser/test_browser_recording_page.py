"""The page of a recording in a real browser."""

import pytest


@pytest.fixture
def recording_page(page, bench_url):
    """Open it, and wait until the recording has been gone through."""
    page.goto(f"{bench_url}?page=recording")
    page.wait_for_selector("canvas")
    page.get_by_text("(judged from 0.15)").wait_for()
    page.wait_for_timeout(1000)
    return page


def test_the_recording_is_drawn_and_followed(recording_page, sources, screenshot):
    page = recording_page
    assert page.locator("canvas").count() >= 10
    before = sources()
    names = {name: length for source in before for name, length, _ in source}
    assert names["explainable_variance"] == 200
    canvases = page.locator("canvas").count()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("image 701 (test)").wait_for()
    page.get_by_role("button", name="repeats together").click()
    page.wait_for_timeout(1500)
    after = sources()
    assert len(after) == len(before)
    changed = [a != b for a, b in zip(before, after, strict=True)]
    assert sum(changed) >= 3  # image, raster, trials
    assert page.locator("canvas").count() == canvases  # drawn in place
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1400
    screenshot("recording")
    assert page.errors == []


def test_a_lasso_selects_on_all_pages(recording_page, screenshot, lasso):
    page = recording_page
    lasso((0.3, 0.3), (120, 100))
    page.wait_for_function("() => window.location.search.includes('chosen=')")
    page.get_by_text("neurons selected").wait_for()
    page.wait_for_timeout(1000)
    screenshot("recording_selected")
    page.get_by_role("button", name="Select none").click()
    page.get_by_text("none selected").wait_for()
    assert page.errors == []


def test_an_image_is_sent_to_the_bench(recording_page):
    page = recording_page
    page.get_by_role("button", name="Send image to bench").click()
    page.get_by_text("What every neuron would answer").wait_for()
    assert "page=stimulus" in page.url
    assert page.get_by_label("kind").input_value() == "image"
    assert page.errors == []
