"""A saved twin predicts identically; a damaged one is refused in one line."""

import json
import shutil

import numpy as np
import pytest
import torch

from twinlab import twins
from twinlab.schema import InputError


@pytest.fixture
def saved(make_twin, tmp_path):
    return twins.save_twin(make_twin(behavior="gain", shifter=True), tmp_path / "twin")


@pytest.mark.parametrize("kind", ["deep", "linear", "ensemble", "peer", "double"])
def test_a_twin_is_read_back_identical(make_twin, spec, neurons, tmp_path, kind):
    filters = np.random.default_rng(0).normal(size=(7, *spec.shape)) / 30
    twin = {
        "deep": lambda: make_twin(behavior="channels", shifter=True, positions="cortical"),
        "linear": lambda: twins.LinearNonlinearTwin(spec, neurons, filters=filters),
        "ensemble": lambda: twins.EnsembleTwin([make_twin(), make_twin(seed=1, behavior="gain")]),
        "double": lambda: make_twin(behavior="gain").double(),
        "peer": lambda: make_twin(readout="neuralpredictors_gaussian"),
    }[kind]()
    loaded = twins.load_twin(twins.save_twin(twin, tmp_path / "twin"))
    assert loaded.identity == twin.identity
    assert loaded.origin == twin.origin
    assert loaded.neurons.identical(twin.neurons)
    x = torch.rand(3, *spec.shape, dtype=torch.float64 if kind == "double" else None) * 255
    assert torch.equal(loaded.condition()(x), twin.condition()(x))


def test_the_folder_holds_nothing_that_can_be_executed(saved):
    assert {path.name for path in saved.iterdir()} == {
        "twin.json",
        "weights.safetensors",
        "neurons.nc",
    }


def test_identity_follows_the_weights(make_twin):
    assert make_twin(seed=0).identity == make_twin(seed=0).identity
    assert make_twin(seed=0).identity != make_twin(seed=1).identity


def damage(path, file, content=None):
    if content is None:
        whole = (path / file).read_bytes()
        (path / file).write_bytes(whole[: len(whole) // 2])
    else:
        (path / file).write_text(content)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: shutil.rmtree(path), "is not a twin"),
        (lambda path: (path / "weights.safetensors").unlink(), "weights.safetensors.*is missing"),
        (lambda path: damage(path, "weights.safetensors"), "damaged or incomplete"),
        (lambda path: damage(path, "neurons.nc"), "damaged or incomplete"),
        (lambda path: damage(path, "twin.json"), "damaged or incomplete"),
        (lambda path: damage(path, "twin.json", "{}"), "damaged or incomplete"),
    ],
)
def test_a_damaged_twin_is_refused_in_one_line(saved, harm, words):
    harm(saved)
    with pytest.raises(InputError, match=words) as caught:
        twins.load_twin(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 99}, "newer format"),
        ({"kind": "oracle"}, "Unknown kind.*known"),
        ({"settings": {"layers": 2, "magic": 1}}, "Unknown settings"),
    ],
)
def test_a_twin_of_another_time_is_refused(saved, change, words):
    description = json.loads((saved / "twin.json").read_text())
    (saved / "twin.json").write_text(json.dumps(description | change))
    with pytest.raises(InputError, match=words):
        twins.load_twin(saved)


def test_weights_of_another_twin_are_noticed(make_twin, tmp_path):
    one = twins.save_twin(make_twin(seed=0), tmp_path / "one")
    two = twins.save_twin(make_twin(seed=1), tmp_path / "two")
    shutil.copy(two / "weights.safetensors", one / "weights.safetensors")
    with pytest.raises(InputError, match="not those twin.json describes"):
        twins.load_twin(one)


def test_members_keep_their_own_scale_of_pixels(make_twin, tmp_path, spec):
    other = make_twin(seed=1)
    other.spec = twins.StimulusSpec(1, 24, 32, mean=90.0, std=40.0)
    pair = twins.EnsembleTwin([make_twin(), other])
    loaded = twins.load_twin(twins.save_twin(pair, tmp_path / "pair"))
    x = torch.rand(3, *spec.shape) * 255
    assert torch.equal(loaded.condition()(x), pair.condition()(x))


def test_other_peoples_folders_are_not_replaced(make_twin, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="exists and is not a twin"):
        twins.save_twin(make_twin(), tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_twin_that_cannot_be_saved_says_so(cortex, tmp_path):
    with pytest.raises(InputError, match="cannot be saved; these can"):
        twins.save_twin(cortex.as_twin(), tmp_path / "twin")
    assert not list(tmp_path.iterdir())


def test_an_ensemble_spreads_where_its_members_disagree(make_twin, spec):
    x = torch.rand(3, *spec.shape) * 255
    a, b = make_twin(seed=0).eval(), make_twin(seed=1).eval()
    pair = twins.EnsembleTwin([a, b])
    torch.testing.assert_close(pair(x), (a(x) + b(x)) / 2)
    torch.testing.assert_close(pair.spread(x), (a(x) - b(x)).abs() / 2**0.5)
    assert torch.isnan(twins.EnsembleTwin([a]).spread(x)).all()


def test_members_must_share_their_neurons(make_twin):
    other = make_twin()
    other.neurons = other.neurons.assign_coords(neuron_id=("neuron", np.arange(7)))
    with pytest.raises(InputError, match="Member 1 of the ensemble has other neurons"):
        twins.EnsembleTwin([make_twin(), other])
    with pytest.raises(InputError, match="at least one member"):
        twins.EnsembleTwin([])
