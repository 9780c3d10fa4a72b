"""Every page without a mouse, on a projector, by day and by night."""

from pathlib import Path

import pytest

AUDIT = Path(__file__).parent / "audit.js"
SERVED = {
    "bench_url": ["", "bench", "recording", "population", "scorecard", "unit", "stimulus"]
    + ["tuning", "mei"],
    "videos_url": ["videos"],
    "loop_url": ["loop", "fits"],
}
PAGES = [(served, name) for served, names in SERVED.items() for name in names]
SMALLEST = 11  # px


@pytest.fixture
def open_page(page, request, sources):
    """Open a page of the lab that can show it, and wait until nothing more comes in."""

    def open_page(served, name, theme="default", size=(1280, 800)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.add_init_script(path=AUDIT)
        page.goto(f"{request.getfixturevalue(served)}?page={name}&theme={theme}")
        page.get_by_role("button", name="Gallery").wait_for()
        if name:
            page.wait_for_selector("canvas")
        before = None
        while before != (before := sources()):
            page.wait_for_timeout(2000)
        return page

    return open_page


def assert_readable(page):
    found = page.evaluate(f"() => audit.faults({SMALLEST})")
    assert found.pop("read") > 20
    assert found == {"small": [], "pale": [], "beyond": [], "scrolls": 0}


@pytest.mark.parametrize("theme", ["default", "dark"])
@pytest.mark.parametrize(("served", "name"), PAGES)
def test_a_page_is_read_and_used_without_a_mouse(open_page, screenshot, served, name, theme):
    page = open_page(served, name, theme)
    assert_readable(page)
    # from the top: the Tab key goes through all there is, and out again
    assert page.evaluate("() => audit.gather()") > 10
    stops = []
    while len(stops) < 200:
        page.keyboard.press("Tab")
        stop = page.evaluate("() => audit.focused()")
        if stop is None:
            break
        assert not stop["again"], f"the Tab key does not get beyond {stops[-1]}"
        stops.append(stop)
    assert page.evaluate("() => audit.missed()") == []
    assert [stop["what"] for stop in stops if not stop["name"]] == []
    assert [stop["what"] for stop in stops if not stop["ringed"]] == []
    # on a projector
    page.set_viewport_size({"width": 1024, "height": 768})
    page.wait_for_timeout(1000)
    assert_readable(page)
    screenshot(f"projector_{name or 'gallery'}_{theme}")
    assert page.errors == []
