"""What `twinlab serve` makes of the twins that are named."""

from twinlab.cli.serving import _pages


def test_twins_of_one_name_get_pages_of_their_own():
    names = ["a/twin", "b/twin", "c/other", "a/twin", "d/twin"]
    assert _pages(names) == {
        "twin": "a/twin",
        "twin-2": "b/twin",
        "other": "c/other",
        "twin-3": "d/twin",
    }
