import pytest

from twinlab.explorers import LabState


@pytest.fixture
def nothing_measured(monkeypatch):
    """Nothing is measured in the background: what is drawn is what is there before."""
    monkeypatch.setattr(LabState, "start_quick", lambda *_, **__: None)
