import pytest


@pytest.fixture
def scorecard(page, bench_url):
    """Open a page of its own, and wait until both twins have been scored."""

    def open_page(query=""):
        page.goto(f"{bench_url}?page=scorecard&{query}")
        page.get_by_text("are reliable enough to count").wait_for()
        page.get_by_text("half gain").first.wait_for()
        page.wait_for_timeout(1500)
        return page

    return open_page


def placed(sources):
    return [column for source in sources() for column in source if column[0] == "against"]


def test_the_scorecard_is_drawn_and_holds_twins_against_each_other(scorecard, sources, screenshot):
    page = scorecard()
    before = placed(sources)
    assert any(length > 190 and total > 0 for _, length, total in before)  # a few have no ceiling
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1400
    page.get_by_label("against").select_option("half gain")
    page.get_by_text("this - half gain, paired").wait_for()
    page.wait_for_timeout(1000)
    assert placed(sources) != before
    assert "scorecard.against" in page.url
    screenshot("scorecard")
    assert page.errors == []


def test_a_bad_unit_leads_to_its_page(scorecard, screenshot):
    page = scorecard("scorecard.score=FEVE")
    page.locator(".slick-row").first.locator(".slick-cell").nth(3).click()
    page.wait_for_function("() => window.location.search.includes('page=unit')")
    page.get_by_text("Receptive field").first.wait_for()
    assert page.errors == []
