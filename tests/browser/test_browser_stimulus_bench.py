import io

import numpy as np
import PIL.Image
import pytest


@pytest.fixture
def stimulus(page, bench_url):
    """Open the stimulus bench with a query of its own."""

    def open_page(query=""):
        page.goto(f"{bench_url}?page=stimulus&{query}")
        page.get_by_text("Chosen neurons", exact=True).wait_for()
        page.wait_for_selector("canvas")
        page.wait_for_timeout(1000)
        return page

    return open_page


def picture(page):
    """Frame of the stimulus on the screen: left, top, width, height."""
    return page.evaluate(
        """() => {
            const found = [...Bokeh.index.all_views()].find(view => view.model.type === 'Figure'
                && view.model.renderers.some(it => it.glyph.type === 'Image'));
            const place = found.el.getBoundingClientRect(), frame = found.frame.bbox;
            return [place.left + frame.left, place.top + frame.top, frame.width, frame.height];
        }"""
    )


def move(page, *points):
    """Press at the first of some places, given as shares of the frame, and drag to the others."""
    left, top, width, height = picture(page)
    places = [(left + x * width, top + y * height) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()
    page.wait_for_timeout(800)


def value(page, title):
    widget = page.locator(".bk-input-group").filter(has_text=title)
    return float(widget.locator(".noUi-handle").get_attribute("aria-valuenow"))


def test_the_page_is_drawn_and_fits_the_screen(stimulus, screenshot, columns):
    page = stimulus("kind=Gabor&contrast=1&size=6")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.wait_for_timeout(500)
    assert columns("rate")[0][1] == 200
    assert columns("image")[0][1] == 36 * 64
    assert len(columns("said")) == 2
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
    screenshot("stimulus")
    assert page.errors == []


def test_a_drag_moves_the_stimulus_and_what_the_neurons_answer(
    stimulus, sources, screenshot, columns, eventually
):
    page = stimulus("kind=Gabor&x=20&y=20&contrast=1")
    before, canvases = sources(), page.locator("canvas").count()
    move(page, (0.3, 0.5), (0.75, 0.25))
    assert eventually(lambda: abs(value(page, "x (px)") - (0.75 * 64 - 0.5)) < 1.5)
    assert eventually(lambda: abs(value(page, "y (px)") - (0.25 * 36 - 0.5)) < 1.5)
    for name in ("image", "rate", "top"):
        assert eventually(lambda name=name: columns(name) != columns(name, before))
    assert page.locator("canvas").count() == canvases  # in place
    screenshot("stimulus_dragged")
    assert page.errors == []


def test_a_tap_moves_it_too(stimulus, eventually):
    page = stimulus("kind=bar&x=50&y=20")
    move(page, (0.25, 0.5))
    assert eventually(lambda: abs(value(page, "x (px)") - (0.25 * 64 - 0.5)) < 1.5)


def test_what_is_drawn_is_shown_and_can_be_cleared(stimulus, screenshot, columns, eventually):
    page = stimulus("kind=drawing")
    blank = columns("image")
    move(page, (0.2, 0.2), (0.8, 0.2), (0.5, 0.8))
    assert eventually(lambda: columns("image") != blank)
    screenshot("stimulus_drawn")
    page.get_by_role("button", name="Clear").click()
    assert eventually(lambda: columns("image") == blank)
    assert page.errors == []


def test_an_uploaded_picture_is_shown_and_what_is_none_is_refused(stimulus, columns, eventually):
    page = stimulus("kind=Gabor")
    page.get_by_label("kind").select_option("image")
    page.wait_for_timeout(1000)  # until what is shown meanwhile has arrived
    before = columns("rate")
    levels = np.random.default_rng(0).integers(0, 256, (72, 200), np.uint8)
    content = io.BytesIO()
    PIL.Image.fromarray(levels).save(content, "PNG")
    chooser = page.locator("input[type=file]")
    chooser.set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": content.getvalue()}
    )
    page.get_by_text("mine.png: 200 × 72 px, 36 % cut off at the edges").wait_for()
    assert eventually(lambda: columns("rate") != before)
    shown = columns("rate")
    chooser.set_input_files({"name": "bad.png", "mimeType": "image/png", "buffer": b"no picture"})
    page.get_by_text("bad.png: cannot be read as an image").first.wait_for()
    assert columns("rate") == shown
    largest = io.BytesIO()
    np.save(largest, np.full((1, 999, 1000), 90.0))  # just below the limit
    chooser.set_input_files(
        {"name": "big.npy", "mimeType": "", "buffer": largest.getvalue().ljust(8_000_000)}
    )
    page.get_by_text("big.npy: 1000 × 999 px").wait_for()
    assert eventually(lambda: columns("rate") != shown)
    assert page.errors == []


@pytest.fixture
def bad_pictures(tmp_path):
    """Files that cannot be shown, and what is to be said of each."""
    content = io.BytesIO()
    PIL.Image.fromarray(np.zeros((72, 200), np.uint8)).save(content, "PNG")
    large = "at most 8 are read; make it smaller, 64 x 36 pixels are enough"
    written = {
        "large.png": (b"x" * 30_000_000, f"has 30 MB, but {large}"),
        "sparse.png": (b"", f"has 300 MB, but {large}"),
        "empty.png": (b"", "cannot be read as an image"),
        "words.png": (b"no picture", "cannot be read as an image"),
        "half.png": (content.getvalue()[:-30], "cannot be read as an image"),
    }
    for name, (told, _) in written.items():
        (tmp_path / name).write_bytes(told)
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(300_000_000)
    return {tmp_path / name: said for name, (_, said) in written.items()}


def test_every_bad_picture_is_refused_once_and_the_page_lives_on(
    stimulus, bad_pictures, screenshot, columns, eventually
):
    page = stimulus("kind=grating&contrast=1")
    page.get_by_label("kind").select_option("image")
    connected_anew = []
    page.on("websocket", lambda socket: connected_anew.append(socket.url))
    chooser = page.locator("input[type=file]")
    for path, said in bad_pictures.items():
        chooser.set_input_files(path)
        told = page.locator(".notyf__toast").filter(has_text=path.name)
        told.filter(has_text=said).wait_for()
        page.wait_for_timeout(500)
        assert told.count() == 1
        if path.name == "large.png":
            screenshot("stimulus_refused")
    page.get_by_label("kind").select_option("grating")
    page.wait_for_timeout(1000)
    before = columns("rate")
    slider = page.locator(".bk-input-group").filter(has_text="orientation")
    slider.locator(".noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    assert eventually(lambda: columns("rate") != before)
    assert connected_anew == []
    assert page.errors == []


def test_the_most_driven_neuron_can_be_chosen_and_opened(stimulus):
    page = stimulus("kind=Gabor&contrast=1&size=6")
    page.get_by_role("button", name="Choose the neuron it drives most").click()
    page.wait_for_function("() => window.location.search.includes('page=unit')")
    page.wait_for_function("() => /neuron=[1-9]/.test(window.location.search)")
