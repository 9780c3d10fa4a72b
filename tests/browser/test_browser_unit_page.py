import re
import statistics

import pytest


@pytest.fixture
def unit(page, bench_url):
    """Open the page of a neuron, and wait until it has been measured."""

    def open_page(query="", width=1280):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(f"{bench_url}?page=unit&{query}")
        page.get_by_text("OSI", exact=True).first.wait_for()
        page.wait_for_timeout(500)
        return page

    return open_page


def filled(sources):
    return [source for source in sources() if any(length > 0 for _, length, _ in source)]


def test_the_page_is_drawn_and_fits_the_screen(unit, sources, screenshot):
    page = unit()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
    assert len(filled(sources)) >= 6
    screenshot("unit")
    assert page.errors == []


def test_the_twin_bench_has_its_three_columns_side_by_side(page, bench_url, screenshot):
    page.set_viewport_size({"width": 1265, "height": 800})  # with a scrollbar, of 1280
    page.goto(f"{bench_url}?page=bench")
    page.get_by_text(re.compile(r"\bOSI\b")).first.wait_for()
    tops = [
        page.get_by_text(title, exact=True).first.bounding_box()["y"]
        for title in ("Neurons", "Receptive field", "Most exciting input", "kind")
    ]
    assert max(tops) - min(tops) < 60
    screenshot("bench_1280")


def test_another_neuron_changes_the_figures_and_the_link(unit, sources, eventually):
    page = unit("unitpage.unit=simulated-0/3")
    page.get_by_text("Neuron 3 of 200").wait_for()
    before = sources()
    page.get_by_label("neuron", exact=True).first.fill("11")
    page.keyboard.press("Enter")
    page.get_by_text("Neuron 11 of 200").wait_for()
    assert eventually(lambda: sum(a != b for a, b in zip(before, sources(), strict=True)) >= 4)
    link = page.get_by_label("link to this neuron")
    asked = "?page=unit&unitpage.unit=simulated-0/11"
    assert eventually(lambda: link.input_value().endswith(asked))
    page.goto(link.input_value())
    page.get_by_text("Neuron 11 of 200").wait_for()
    assert page.errors == []


def test_a_neuron_is_pinned_and_compared(unit, sources, eventually, screenshot):
    page = unit("neuron=4")
    page.get_by_role("button", name="Pin to compare").click()
    page.get_by_role("button", name="Unpin").wait_for()
    page.get_by_label("neuron", exact=True).first.fill("9")
    page.keyboard.press("Enter")
    page.get_by_text("pinned, 4").wait_for()
    assert page.get_by_text("Pinned: receptive field").is_visible()

    def curves():
        return [(n, total) for s in sources() for name, n, total in s if name == "evoked_curve"]

    def compared():
        """Line and points of the chosen neuron, and the line of the pinned: another one."""
        return [n for n, _ in curves()] == [17, 17, 17] and len(set(curves())) == 2

    assert eventually(compared)
    screenshot("unit_pinned")
    page.get_by_role("button", name="Unpin").click()
    page.get_by_text("Pinned: receptive field").wait_for(state="hidden")
    assert page.errors == []


def test_optimal_stimuli_are_made_and_one_is_sent_to_the_bench(unit, sources, screenshot):
    page = unit("neuron=21")
    assert page.get_by_role("button", name="MEI to the bench").is_disabled()
    for number, words in ((0, "starts"), (1, "to grey"), (2, "diversity")):
        page.get_by_role("button", name="Synthesise").nth(number).click()
        page.get_by_text(words).first.wait_for()
        page.wait_for_timeout(500)
    page.wait_for_timeout(1000)
    screenshot("unit_made")
    page.get_by_role("button", name="MEI to the bench").click()
    page.wait_for_function("() => window.location.search.includes('page=stimulus')")
    page.wait_for_timeout(1500)
    assert page.errors == []


def test_a_link_to_a_neuron_that_is_gone_is_said(unit):
    page = unit("unitpage.unit=simulated-0/9999")
    page.get_by_text("which this twin does not have").first.wait_for()
    page.get_by_text("Neuron 0 of 200").wait_for()


def test_a_known_neuron_is_shown_in_a_moment(unit, record_property, capsys):
    """Time from choosing a neuron that has been measured to its figures, painted."""
    page = unit("neuron=30")
    page.evaluate("() => { window.painted = []; }")
    page.evaluate(
        """() => { const note = () => requestAnimationFrame(() => requestAnimationFrame(
            () => window.painted.push(performance.now())));
        for (const doc of Bokeh.documents) for (const model of doc._all_models.values())
            if (model.type === 'ColumnDataSource') {
                model.properties.data.change.connect(note); model.patching.connect(note); } }"""
    )
    box, times = page.get_by_label("neuron", exact=True).first, []
    for neuron in (31, 30, 31, 30, 31):
        box.fill(str(neuron))
        page.evaluate("() => { window.painted = []; }")
        start = page.evaluate("() => performance.now()")
        page.keyboard.press("Enter")
        page.wait_for_function("() => window.painted.length > 0")
        page.wait_for_timeout(1500)
        times.append(page.evaluate("() => Math.max(...window.painted)") - start)
    record_property("known_unit_ms", statistics.median(times[1:]))
    with capsys.disabled():
        print(f"\nknown neuron: median {statistics.median(times[1:]):.0f} ms")  # noqa: T201
