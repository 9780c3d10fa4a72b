import pytest


@pytest.fixture
def studio(page, bench_url):
    """Open the MEI studio with a query of its own."""

    def open_page(query=""):
        page.goto(f"{bench_url}?page=mei&{query}")
        page.get_by_role("button", name="Run", exact=True).wait_for()
        page.wait_for_selector("canvas")
        page.wait_for_timeout(1000)
        return page

    return open_page


def test_a_stimulus_is_made_verified_branched_and_kept(studio, screenshot, columns):
    page = studio("neuron=3&meistudio.n_step=60")
    page.set_viewport_size({"width": 1280, "height": 800})
    before = columns("image")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("agreement of the starts").wait_for()
    page.get_by_text("not verified on the second twin").wait_for()
    assert columns("image") != before
    page.get_by_role("button", name="Verify on a second twin").click()
    page.get_by_text("the best natural image or Gabor").wait_for()
    page.get_by_role("button", name="Branch").click()
    page.get_by_text("undefined (one start)").wait_for()
    page.wait_for_timeout(800)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
    screenshot("mei_studio")
    options = page.get_by_label("show again").locator("option")
    assert options.count() == 2
    page.get_by_label("show again").select_option(index=0)
    page.get_by_text("the best natural image or Gabor").wait_for()
    assert page.errors == []


def test_a_run_is_paused_and_cancelled_while_the_page_answers(studio, screenshot):
    page = studio("neuron=5&meistudio.n_step=1000&meistudio.n_start=10&meistudio.jitter=4")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("of 1000").wait_for()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    page.get_by_label("objective").select_option("diverse and exciting")
    page.wait_for_function("() => window.location.search.includes('diverse')")
    screenshot("mei_studio_paused")
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("cancelled").first.wait_for()
    assert page.errors == []
