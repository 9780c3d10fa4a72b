"""The same twin on another device: same rates, same gradients, to rounding."""

import pytest
import torch

from twinlab import fitting, twins


@pytest.mark.gpu
@pytest.mark.parametrize("behavior", ["none", "channels", "gain"])
def test_a_twin_answers_alike_on_both_devices(make_twin, behavior):
    twin = make_twin(behavior=behavior, shifter=True)
    x = torch.rand(4, 1, 24, 32) * 255
    here, there = twin.condition(), twin.condition().to("cuda")
    torch.testing.assert_close(there(x.cuda()).cpu(), here(x), rtol=1e-3, atol=1e-4)
    pairs = [3, 1, 4, 1]
    torch.testing.assert_close(
        there.paired(pairs)(x.cuda()).cpu(), here.paired(pairs)(x), rtol=1e-3, atol=1e-4
    )


@pytest.mark.gpu
def test_a_fit_runs_on_the_device_and_comes_back(recording):
    settings = fitting.FitSettings(max_epochs=2, schedule="cosine")
    architecture = twins.Architecture(layers=2, hidden=8, behavior="gain", shifter=True)
    twin, _ = fitting.fit_twin(recording, architecture, settings, device="cuda")
    assert twin.response_scale.device.type == "cpu"
    twins.check_twin(twin)
