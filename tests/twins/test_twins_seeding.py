"""Torch's one stream of random numbers is lent to one thread at a time, and given back."""

import threading
from dataclasses import replace

import pytest
import torch

from twinlab import fitting, twins
from twinlab.simulation import SimulatedCortex
from twinlab.twins import seeding
from twinlab.twins.deep import CORES
from twinlab.twins.seeding import seeded


def test_it_draws_what_a_seed_gives_and_leaves_the_stream_as_it_was():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = torch.rand(5)
        before = torch.get_rng_state()
        with seeded(3):
            torch.testing.assert_close(torch.rand(5), expected, rtol=0, atol=0)
            with seeded(4):  # a twin that is built on the way
                torch.rand(7)
        assert torch.equal(torch.get_rng_state(), before)
        with pytest.raises(KeyError), seeded(3):
            raise KeyError(torch.rand(1))
        assert torch.equal(torch.get_rng_state(), before)


def taken():
    """Whether another thread gets the stream now."""
    entered = []

    def enter():
        entered.append(seeding._LENT.acquire(blocking=False))
        if entered[0]:
            seeding._LENT.release()

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return entered[0]


def test_nobody_else_draws_while_a_twin_is_built_or_fitted(monkeypatch):
    assert taken()
    drawn = []

    predict = twins.DeepTwin.relative_rate

    def watched(self, *args, **kwargs):
        if self.training:
            drawn.append(("rate", taken()))
        return predict(self, *args, **kwargs)

    monkeypatch.setattr(twins.DeepTwin, "relative_rate", watched)
    build = CORES["stacked"]
    monkeypatch.setitem(
        CORES, "stacked", lambda *args: drawn.append(("core", taken())) or build(*args)
    )
    cortex = SimulatedCortex(seed=0, n_neuron=6, height=18, width=24)
    recording = cortex.record(n_train=100, n_validation=20, n_test=10)
    architecture, settings = fitting.default_settings(recording)
    small = replace(architecture, layers=1, hidden=4, input_kernel=5)
    fitting.fit_twin(recording, small, replace(settings, max_epochs=1))
    assert {name for name, _ in drawn} == {"core", "rate"}
    assert not any(entered for _, entered in drawn)
