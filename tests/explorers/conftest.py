"""What the tests of explorers share: a lab of few neurons."""

import html

import panel as pn
import pytest

from twinlab.explorers import LabState
from twinlab.explorers.looks import Words


@pytest.fixture(scope="module")
def known(cortex, recording):
    """What all tests of a file know in common."""
    lab = LabState(cortex.as_twin(), recording)
    lab.wait(60)
    yield lab
    lab.close()


@pytest.fixture
def lab(known):
    """A state of its own, whose work is stopped afterwards."""
    lab = known.another()
    lab.wait(60)
    yield lab
    lab.close()


@pytest.fixture
def nothing_measured(monkeypatch):
    """Nothing is measured in the background: what is drawn is what is there before."""
    monkeypatch.setattr(LabState, "start_quick", lambda *_, **__: None)


@pytest.fixture
def said():
    """Read all the words on a page, once it has been drawn."""

    def read(page):
        shown = page.__panel__()
        shown.get_root()
        words = [part.value for part in shown.select(Words)]
        captions = [part.object for part in shown.select(pn.pane.HTML)]
        return html.unescape(" ".join([*words, *captions]))

    return read
