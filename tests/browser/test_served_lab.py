"""The lab in a browser: its gallery, links that are old, a server that dies, a login."""

import json
import subprocess
import sys

import pytest
from conftest import HERE, running

SERVED = HERE / "served_lab.py"


@pytest.fixture
def lab(page, bench_url):
    """Open the lab at an address, and wait until it is there."""

    def open_page(query=""):
        page.goto(f"{bench_url}?{query}")
        page.get_by_role("button", name="Gallery").wait_for()
        return page

    return open_page


class Lines:
    """The page's lines to its server: each can be cut, and what comes by them kept for a while."""

    def __init__(self):
        self.open, self.kept, self.keeps = [], [], False

    def join(self, line):
        server = line.connect_to_server()
        self.open.append((line, server))

        def send(message):
            server.send(message)
            if (
                self.keeps and "PULL-DOC-REQ" in message
            ):  # what is sent is the page as it is by now
                server.on_message(lambda answer: self.kept.append((line, answer)))

        line.on_message(send)

    def cut(self):
        for line, server in self.open:
            server.close()
            line.close(code=3001)

    def deliver(self):
        for line, message in self.kept:
            line.send(message)
        for line, server in self.open:
            server.on_message(line.send)


@pytest.fixture
def lines(page):
    found = Lines()
    page.route_web_socket("**/ws**", found.join)
    return found


def notices(page):
    return page.locator(".notyf__message")


def test_the_gallery_leads_to_every_page_and_the_address_follows(lab, screenshot):
    page = lab()
    page.wait_for_timeout(500)
    screenshot("lab_gallery")
    entries = page.get_by_role("button", name="Open")
    assert entries.count() >= 4
    entries.first.click()
    page.wait_for_function("() => window.location.search.includes('page=bench')")
    page.wait_for_selector("canvas")
    page.get_by_role("button", name="Gallery").click()
    page.get_by_role("button", name="Open").first.wait_for()
    assert page.locator("canvas").count() == 0
    assert page.errors == []


def test_what_is_chosen_on_one_page_is_chosen_on_the_next(lab):
    page = lab("page=bench")
    page.wait_for_selector("canvas")
    page.get_by_label("neuron").first.fill("23")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Unit page").click()
    page.get_by_text("Neuron 23 of 200").first.wait_for()
    page.wait_for_function(
        "() => ['neuron=23', 'page=unit'].every(part => location.search.includes(part))"
    )


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("page=bench&neuron=100000", "neuron 100000, which is not here; it goes from 0 to 199"),
        ("page=telepathy", "'telepathy' cannot be opened"),
        ("page=population&chosen=5-9000", "there are 0 to 199"),
        ("page=stimulus&kind=image", "A link cannot hold an image"),
    ],
)
def test_a_link_that_asks_for_what_is_not_here_is_answered(lab, query, words, screenshot):
    page = lab(query)
    notices(page).filter(has_text=words).first.wait_for()
    screenshot("lab_notice")
    assert notices(page).filter(has_text=words).count() == 1
    assert page.get_by_role("button", name="Gallery").count() == 1  # and the page is there
    assert page.errors == []


def test_code_and_data_are_taken_away(lab, tmp_path):
    page = lab("page=unit&neuron=3")
    page.get_by_text("OSI", exact=True).first.wait_for()
    page.get_by_role("button", name="Copy as code").click()
    code = page.locator("textarea")
    code.wait_for()
    assert "explorers.UnitPage(lab" in code.input_value()
    assert "neuron=3" in code.input_value()
    take = page.get_by_label("take away")
    for words, magic in {"(png)": b"\x89PNG", "(nc)": b"\x89HDF", "(csv)": b"# twin"}.items():
        options = [text for text in take.locator("option").all_inner_texts() if words in text]
        take.select_option(options[0])
        with page.expect_download() as download:
            page.get_by_role("link", name="Save").or_(
                page.get_by_role("button", name="Save")
            ).first.click()
        path = tmp_path / "taken"
        download.value.save_as(path)
        assert path.read_bytes().startswith(magic)
        assert download.value.suggested_filename.endswith(words.strip("()"))
    assert page.errors == []


def test_by_night_the_page_is_dark(lab, screenshot):
    page = lab("page=bench")
    page.get_by_role("button", name="Dark").click()
    page.get_by_role("button", name="Light").wait_for()
    page.wait_for_selector("canvas")
    page.wait_for_timeout(1500)
    screenshot("lab_dark")
    assert "theme=dark" in page.url
    assert "page=bench" in page.url
    assert page.errors == []


def test_a_server_that_dies_is_said_and_the_address_brings_the_view_back(page, free_port):
    command = [sys.executable, str(SERVED), str(free_port)]
    with running(command, stdout=subprocess.PIPE) as server:
        url = server.stdout.readline().strip()
        page.goto(f"{url}?page=bench&neuron=7&orientation=35")
        page.get_by_text("Neuron 7 of 12").first.wait_for()
        server.kill()
        notices(page).filter(has_text="The connection is lost").first.wait_for()
    with running(command, stdout=subprocess.PIPE) as server:
        server.stdout.readline()
        notices(page).first.wait_for(state="detached")  # the page is a new one
        page.get_by_text("Neuron 7 of 12").first.wait_for()
        assert "orientation=35" in page.url


def test_a_connection_that_breaks_off_misses_nothing(page, bench_url, lines):
    page.goto(f"{bench_url}?page=tuning&neuron=31")
    page.get_by_text("modulation by phase").wait_for()
    page.evaluate("() => { window.the_old_page = true }")
    lines.cut()
    page.wait_for_function("() => !window.the_old_page")
    page.get_by_text("modulation by phase").wait_for()
    page.get_by_label("neuron").first.fill("32")
    page.keyboard.press("Tab")
    page.wait_for_function("() => window.location.search.includes('neuron=32')")
    assert notices(page).count() == 0


def test_what_is_found_while_the_page_is_on_its_way_is_shown(page, chromium, bench_url, lines):
    lines.keeps = True
    page.goto(f"{bench_url}?page=unit&neuron=33")  # of which the tuning takes seconds
    beside = chromium.new_page()  # of what either measures both know
    beside.goto(f"{bench_url}?page=unit&neuron=33")
    beside.get_by_text("OSI", exact=True).first.wait_for()
    beside.close()
    page.wait_for_timeout(1000)
    assert page.get_by_role("button", name="Gallery").count() == 0
    lines.deliver()
    page.get_by_text("OSI", exact=True).first.wait_for()
    assert page.errors == []


def test_a_login_is_asked_for_and_let_through(page, free_port, tmp_path, screenshot):
    users = tmp_path / "users.json"
    users.write_text(json.dumps({"ada": "byron"}))
    command = [sys.executable, str(SERVED), str(free_port), str(users)]
    with running(command, stdout=subprocess.PIPE) as server:
        page.goto(server.stdout.readline().strip())
        screenshot("lab_login")
        page.fill("input[name=username]", "ada")
        page.fill("input[name=password]", "lovelace")
        page.keyboard.press("Enter")
        page.wait_for_timeout(1000)
        assert page.get_by_role("button", name="Gallery").count() == 0
        page.fill("input[name=username]", "ada")
        page.fill("input[name=password]", "byron")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Gallery").wait_for()
