import param
from panel.io.location import Location

from twinlab.explorers.address import Address


class View(param.Parameterized):
    """Something with parameters of all the kinds that an address holds."""

    number = param.Number(1.0, bounds=(0, 10))
    kind = param.Selector(objects=["one", "2"])
    word = param.String("")
    between = param.Range((0.0, 1.0))
    names = param.List([], item_type=str)


class Page:
    """An address, what has been asked to be written of it, and what it warned of."""

    def __init__(self, search=""):
        self.location = Location(search=search)
        self.waiting, self.warned = [], []
        self.address = Address(
            self.location,
            lambda act, _: self.waiting.append(act),
            lambda *said: self.warned.append(said),
        )

    def join(self, **params):
        view = View(**params)
        self.address.join(view, {name: f"view.{name}" for name in View.param if name != "name"})
        return view

    def rest(self):
        for act in self.waiting:
            act()
        self.waiting.clear()


def test_what_changes_is_written_once_it_rests_and_is_read_back():
    page = Page()
    view = page.join()
    for number in (2.0, 3.0):
        view.number = number
    view.param.update(kind="2", word="7", between=(0.2, 0.5))
    assert page.location.search == ""
    page.rest()
    other = Page(page.location.search).join()
    assert (other.number, other.kind, other.word, other.between) == (3.0, "2", "7", (0.2, 0.5))


def test_what_never_changed_stays_out_of_the_address():
    page = Page("?view.number=4")
    view = page.join()
    assert view.number == 4
    view.kind = "2"
    page.rest()
    assert page.location.query_params == {"view.number": 4, "view.kind": 2}


def test_a_link_that_is_followed_in_the_browser_is_taken():
    page = Page("?view.number=4")
    view = page.join()
    page.location.search = "?view.number=6&view.kind=2"
    assert (view.number, view.kind) == (6, "2")
    assert not page.warned


def test_what_is_being_moved_is_not_put_back_by_the_address_of_before():
    page = Page()
    mine, others = page.join(), page.join()
    mine.number = 5.0
    page.location.search = "?view.number=4"  # said by the browser meanwhile
    assert mine.number == 5.0
    others.word = "x"
    page.rest()
    assert mine.number == 5.0
    assert page.location.query_params == {"view.number": 5.0, "view.word": "x"}


def test_of_a_link_what_can_be_is_taken_and_the_rest_said():
    link = "?view.number=40&view.kind=three&view.word=x"
    page = Page(link)
    view = page.join()
    assert (view.number, view.kind, view.word) == (1.0, "one", "x")
    assert page.warned == [
        (
            "The link asks for number 40, which is not here; it goes from 0 to 10",
            "1.0 is shown instead.",
        ),
        ("The link asks for kind three, which is not here", "one is shown instead."),
    ]
    page.rest()
    mended = "?view.number=1.0&view.kind=one&view.word=x"
    assert page.location.search == mended
    page.location.search = link  # as browsers do, once they are connected
    assert page.location.search == mended
    assert len(page.warned) == 2


def test_words_stay_as_they_are_written_and_may_be_empty():
    page = Page("?theme=007&view.word=2024_01_15&view.number=2")
    view = page.join()
    assert view.word == "2024_01_15"
    view.number = 3.0
    page.rest()
    assert page.location.search == "?theme=007&view.word=2024_01_15&view.number=3.0"
    page.location.search = "?view.word="
    assert view.word == ""


def test_a_list_of_what_cannot_be_in_it_is_refused():
    page = Page("?view.names=[1, 2]")
    assert page.join().names == []
    assert page.warned == [
        ("The link asks for names [1, 2], which is not here", "[] is shown instead.")
    ]
