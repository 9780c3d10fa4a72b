"""The page of videos in a real browser."""

import pytest


@pytest.fixture
def videos(page, videos_url, sources):
    """Open it, and wait until the first video has been followed and all is drawn."""

    def open_page(query=""):
        page.goto(f"{videos_url}?page=videos&{query}")
        page.wait_for_selector("canvas")
        page.get_by_text("mean of 5 presentations").wait_for()
        page.get_by_text("(judged from 0.15)").wait_for()
        before: list = []
        while before != (before := sources()):
            page.wait_for_timeout(1500)
        return page

    return open_page


def test_a_video_and_the_traces_are_scrubbed_together(videos, sources, screenshot):
    page = videos()
    before = sources()
    canvases = page.locator("canvas").count()
    assert canvases >= 8
    assert all(length for source in before for name, length, _ in source if name == "response")
    slider = page.locator("input[type=range]").first
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.get_by_text("frame 5 of 80").wait_for()
    page.wait_for_timeout(1000)
    after = sources()
    assert len(after) == len(before)
    changed = [source for source in after if source not in before]
    assert len(changed) == 1  # the picture; traces and rasters stay, and cursors are no sources
    places = page.evaluate(
        "() => [...Bokeh.documents].flatMap(doc => [...doc._all_models.values()])"
        ".filter(model => model.type === 'Span' && model.dimension === 'height')"
        ".map(span => span.location)"
    )
    assert sorted(round(place, 3) for place in places) == [0.167, 0.167, 5, 5]
    page.get_by_role("button", name="Next").click()
    page.get_by_text("video 9 (test)").wait_for()
    page.wait_for_timeout(2000)
    assert len([source for source in sources() if source not in after]) >= 5
    assert page.locator("canvas").count() == canvases  # drawn in place
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1400
    screenshot("videos")
    assert page.errors == []


def test_a_video_plays(videos):
    page = videos("videos.speed=2")
    page.locator("button.play").click()
    page.get_by_text("frame 0 of 80").wait_for(state="detached")
    page.locator("button.pause").click()
    assert "videos.speed=2" in page.url
    assert "frame=" not in page.url
    assert page.errors == []


def test_a_frame_is_sent_to_the_bench(videos, screenshot):
    page = videos()
    page.get_by_role("button", name="Send frame to bench").click()
    page.get_by_text("held still for a second").wait_for()
    assert page.get_by_label("kind").input_value() == "image"
    page.wait_for_timeout(1000)
    screenshot("videos_bench")
    assert page.errors == []
