import pytest


@pytest.fixture
def tuning(page, bench_url):
    """Open the tuning lab, and wait until its first curve has been measured."""

    def open_page(query=""):
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(f"{bench_url}?page=tuning&{query}")
        page.get_by_text("modulation by phase").wait_for()
        page.wait_for_timeout(1000)
        return page

    return open_page


def test_the_page_is_drawn_and_fits_the_screen(tuning, screenshot, columns):
    page = tuning()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
    assert any(length == 16 for _, length, _ in columns("orientation"))
    assert page.get_by_text("Over both axes").is_visible()
    screenshot("tuning")
    assert page.errors == []


def test_another_protocol_draws_another_curve(tuning, eventually, screenshot, columns):
    page = tuning("neuron=3")
    page.get_by_label("protocol").select_option("size")
    page.get_by_text("surround suppression index").wait_for()
    assert eventually(lambda: any(n == 14 for _, n, _ in columns("radius")))
    assert not page.get_by_text("Over both axes").is_visible()
    assert "tuninglab.protocol=size" in page.url
    screenshot("tuning_size")
    page.get_by_label("points").fill("6")
    page.keyboard.press("Enter")
    assert eventually(lambda: any(n == 6 for _, n, _ in columns("radius")))
    assert page.errors == []


def test_a_tap_on_the_curve_puts_its_stimulus_on_the_bench(tuning):
    page = tuning("neuron=3")
    boxes = [figure.bounding_box() for figure in page.locator(".bk-Figure").all()]
    box, map_box = [box for box in boxes if box and box["width"] > 420]  # one is above the other
    page.mouse.click(box["x"] + 0.55 * box["width"], box["y"] + 0.5 * box["height"])
    page.get_by_text("grating: predicted response").wait_for()
    page.wait_for_function("() => window.location.search.includes('kind=grating')")
    page.wait_for_timeout(1000)
    shown = page.url
    page.mouse.click(map_box["x"] + 0.4 * map_box["width"], map_box["y"] + 0.3 * map_box["height"])
    page.wait_for_function(f"() => window.location.href !== {shown!r}")
    assert page.errors == []


def test_two_parameters_make_a_map_of_their_own(tuning, eventually, screenshot, columns):
    page = tuning("neuron=3")
    page.get_by_label("protocol").select_option("any parameters")
    page.get_by_label("along").select_option("contrast")
    page.get_by_label("and", exact=True).select_option("orientation")
    assert eventually(lambda: any(n == 12 for _, n, _ in columns("contrast")))
    assert eventually(lambda: any(n == 108 for _, n, _ in columns("evoked")))  # 12 by 9
    page.get_by_text("Over both axes").wait_for()
    page.get_by_text("response to a blank screen").wait_for()
    screenshot("tuning_free")
    assert page.errors == []


def test_a_selection_is_measured_and_counted(tuning, eventually, screenshot, columns):
    page = tuning("chosen=0-9")
    page.get_by_role("button", name="Measure selection").click()
    page.get_by_text("10 of the 10 selected neurons measured").wait_for()
    assert eventually(lambda: columns("top"))
    screenshot("tuning_selection")
    assert page.errors == []


def test_a_mistake_is_said_and_the_page_goes_on(tuning):
    page = tuning("neuron=3")
    page.get_by_label("to", exact=True).fill("90")
    page.keyboard.press("Enter")
    page.get_by_text("must go once around").first.wait_for()
    page.get_by_label("to", exact=True).fill("")
    page.keyboard.press("Enter")
    page.get_by_text("modulation by phase").wait_for()
