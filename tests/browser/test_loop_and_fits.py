"""Inception loops and fits in a real browser: drawn, followed, led on from."""


def test_a_loop_is_drawn_and_a_cell_shows_its_stimulus(
    page, loop_url, sources, screenshot, columns
):
    page.goto(f"{loop_url}?page=loop")
    page.get_by_text("What is shown, and what is not").wait_for()
    page.get_by_text("measured").first.wait_for()
    page.wait_for_timeout(1500)
    assert page.locator("canvas").count() >= 8
    assert all(length > 0 for source in sources() for name, length, _ in source if name == "image")
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= 1400
    before = columns("image")
    box = page.locator(".bk-Figure").first.locator("canvas").first.bounding_box()
    page.mouse.click(box["x"] + 0.45 * box["width"], box["y"] + 0.75 * box["height"])
    page.get_by_text("made for another").wait_for()
    page.wait_for_timeout(1000)
    assert columns("image") != before
    assert "inceptionloop.made_for=" in page.url
    screenshot("loop")
    page.get_by_role("button", name="Send to bench").click()
    page.get_by_text("page=stimulus").or_(page.get_by_text("above", exact=False)).first.wait_for()
    assert "page=stimulus" in page.url
    assert page.errors == []


def test_another_loop_is_chosen_and_an_old_link_is_said_to_be_one(page, loop_url):
    page.goto(f"{loop_url}?page=loop")
    page.get_by_text("measured").first.wait_for()
    page.get_by_label("loop", exact=True).select_option("begun")
    page.get_by_text("No comparison yet").first.wait_for()
    page.get_by_role("button", name="Do the next steps").wait_for()
    page.goto(f"{loop_url}?page=loop&inceptionloop.loop=../elsewhere")
    page.get_by_text("There is no loop").first.wait_for()
    assert page.errors == []


def test_fits_are_drawn_and_one_is_started(page, loop_url, screenshot, eventually, columns):
    page.goto(f"{loop_url}?page=fits&fitmonitor.max_epochs=2&fitmonitor.preset=small")
    page.get_by_text("best correlation").first.wait_for()
    page.get_by_text("10 readouts").wait_for()
    page.wait_for_timeout(1000)
    before = columns("name")
    assert before
    screenshot("fits")
    page.get_by_role("button", name="Start a fit").click()
    page.get_by_label("fit-1", exact=True).wait_for()
    page.get_by_text("epoch 2 of 2").first.wait_for()
    assert eventually(lambda: columns("name") != before)
    assert page.errors == []
