"""The contract, held to every kind of twin; and that the check sees each way to break it."""

import copy

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import twins
from twinlab.schema import InputError

KINDS = {
    "plain": {},
    "behavior as channels, shifter": {"behavior": "channels", "shifter": True},
    "behavior as gain, cortical positions": {"behavior": "gain", "positions": "cortical"},
    "linear core": {"linear": True},
    "peer core and readout": {
        "core": "neuralpredictors_stacked",
        "readout": "neuralpredictors_gaussian",
    },
    "peer squeeze-excitation, factorised": {
        "core": "neuralpredictors_squeeze_excitation",
        "readout": "neuralpredictors_factorized",
        "hidden": 32,
    },
    "peer point pooled": {"readout": "neuralpredictors_pointpooled"},
}


def images(spec, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *spec.shape, generator=generator) * 255


@pytest.mark.parametrize("kind", KINDS)
def test_every_deep_twin_keeps_the_contract(make_twin, kind):
    twins.check_twin(make_twin(**KINDS[kind]))


def test_linear_and_ensemble_twins_keep_the_contract(make_twin, spec, neurons):
    filters = np.random.default_rng(0).normal(size=(7, *spec.shape)) / 30
    linear = twins.LinearNonlinearTwin(spec, neurons, filters=filters)
    twins.check_twin(linear)
    twins.check_twin(twins.EnsembleTwin([make_twin(), make_twin(seed=1, behavior="gain"), linear]))


class Broken(twins.Twin):
    """A linear twin with one clause of the contract broken."""

    def __init__(self, spec, neurons, fault):
        super().__init__(spec, neurons)
        generator = torch.Generator().manual_seed(0)
        size = (neurons.sizes["neuron"], int(np.prod(spec.shape)))
        self.filters = torch.nn.Parameter(torch.rand(*size, generator=generator) / 1e4)
        self.fault = fault
        self.calls = 0

    def for_inference(self):
        if self.fault == "learnable":
            return copy.deepcopy(self)
        return super().for_inference()

    def forward(self, stimulus, *, behavior=None, pupil_center=None, neuron=None, paired=False):
        filters = self.filters
        if neuron is not None and self.fault != "selection":
            filters = filters[neuron]
        if neuron is not None and self.fault == "selection":
            filters = filters[: len(neuron)]
        flat = stimulus.flatten(1)
        self.calls += 1
        if self.fault == "batch":
            flat = flat - flat.mean(0)
        if self.fault == "gradient":
            flat = flat.detach()
        rate = (flat * filters).sum(1) if paired and self.fault != "pairs" else flat @ filters.T
        if paired and self.fault == "pairs":
            rate = rate[:, 0]
        return {
            "negative": -rate,
            "infinite": rate / 0,
            "random": rate + self.calls,
            "dtype": rate.double(),
            "shape": rate[:, None],
        }.get(self.fault, rate)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("learnable", "learnable parameters left"),
        ("negative", "negative rates"),
        ("infinite", "not finite"),
        ("random", "two calls with one input differ"),
        ("dtype", "changes dtype"),
        ("shape", "returns shape"),
        ("selection", "`neurons` differs"),
        ("pairs", "`paired` differs"),
        ("batch", "what else is in the batch"),
        ("gradient", "gradient"),
    ],
)
def test_the_check_sees_each_broken_clause(spec, neurons, fault, words):
    with pytest.raises(ValueError, match=words):
        twins.check_twin(Broken(spec, neurons, fault))


def test_the_check_passes_the_same_twin_unbroken(spec, neurons):
    twins.check_twin(Broken(spec, neurons, fault=""))


def test_conditioning_binds_what_is_not_the_stimulus(make_twin, spec):
    twin = make_twin(behavior="gain", shifter=True)
    with torch.no_grad():
        twin.modulator.of_behavior += 1.0
        twin.shifter.network[-2].bias += 1.0
    x = images(spec)
    quiet, awake = twin.condition(), twin.condition(behavior=(2.0, 3.0, 4.0))
    assert (awake(x) > quiet(x)).all()
    aside = twin.condition(pupil_center=(90.0, 90.0))
    assert not torch.allclose(aside(x), quiet(x))
    assert quiet.context == {"pupil_center": [50.0, 40.0], "behavior": [1.0, 2.0, 3.0]}


def test_a_gain_can_fall_below_one(make_twin, spec):
    twin = make_twin(behavior="gain")
    with torch.no_grad():
        twin.modulator.of_behavior -= 1.0
    x = images(spec)
    assert (twin.condition(behavior=(2.0, 3.0, 4.0))(x) < twin.condition()(x)).all()


def test_conditioning_leaves_the_twin_as_it_was(make_twin, spec):
    twin = make_twin().train()
    before = {name: value.clone() for name, value in twin.state_dict().items()}
    twin.condition()(images(spec))
    assert twin.training
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_only_the_selected_neurons_are_touched(make_twin, spec):
    quiet = make_twin().condition().neurons([3])
    x = images(spec).requires_grad_()
    with torch.no_grad():
        quiet.twin.readout.features[0] = torch.nan  # another neuron's weights
    assert torch.isfinite(quiet(x)).all()


def test_all_neurons_in_another_order_keep_that_order(make_twin, spec):
    quiet = make_twin().condition()
    x = images(spec)
    order = np.arange(7)[::-1].copy()
    torch.testing.assert_close(quiet.neurons(order)(x), quiet(x)[:, order])
    torch.testing.assert_close(quiet.neurons([2] * 7)(x), quiet(x)[:, [2] * 7])


def test_double_precision_twins_keep_the_contract(make_twin):
    twins.check_twin(make_twin(behavior="gain", shifter=True).double())


def test_selections_nest(make_twin, spec):
    quiet = make_twin().condition()
    x = images(spec)
    torch.testing.assert_close(quiet.neurons(slice(2, 6)).neurons([1])(x), quiet(x)[:, [3]])
    assert quiet.neurons([5, 2]).labels.neuron_id.values.tolist() == [105, 102]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda twin: twin.condition(session="s2"), r"nothing of session 's2'; its .*\['s1'\]"),
        (lambda twin: twin.condition(behavior=(1.0,)), r"`behavior` needs 3 numbers"),
        (lambda twin: twin.condition(behavior="mean"), r"must be 'median' or 3 numbers"),
        (lambda twin: twin.condition().neurons([9]), "run from 0 to 6"),
        (lambda twin: twin.condition().neurons([]), "No neuron is selected"),
        (lambda twin: twin.condition()(torch.zeros(1, 1, 5, 5)), "crop or rescale"),
        (lambda twin: twin.condition().paired([1, 2])(torch.zeros(3, 1, 24, 32)), "Paired with 2"),
    ],
)
def test_wrong_questions_are_answered_in_words(make_twin, ask, words):
    with pytest.raises(InputError, match=words):
        ask(make_twin(behavior="gain"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"core": "resnet"}, "known: stacked"),
        ({"behavior": "loud"}, "known: none, channels, gain"),
        ({"layers": 0}, "at least 1"),
        ({"hidden_kernel": 4}, "must be odd"),
        ({"input_kernel": 2}, "at least 3"),
        ({"sigma": 0.0}, "`sigma` must be above 0"),
        ({"input_kernel": 99}, "larger than the image"),
    ],
)
def test_impossible_architectures_are_refused(make_twin, settings, words):
    with pytest.raises(InputError, match=words):
        make_twin(**settings)


def test_predictions_do_not_depend_on_batch_size_or_neuron_order(cortex, recording):
    twin = cortex.as_twin()
    whole = twins.predict_responses(twin, recording, split="test")
    small = twins.predict_responses(twin, recording, split="test", batch_size=7)
    xr.testing.assert_allclose(whole, small, rtol=1e-5)
    turned = twins.predict_responses(
        twin, recording.isel(neuron=slice(None, None, -1)), split="test"
    )
    np.testing.assert_allclose(turned.values, whole.values[:, ::-1], rtol=1e-5)


def test_missing_context_is_replaced_by_the_typical_one(cortex, recording):
    twin = cortex.as_twin()
    blank = recording.copy()
    blank["behavior"] = recording.behavior * np.nan
    blank["pupil_center"] = recording.pupil_center * np.nan
    predicted = twins.predict_responses(twin, blank, split="test").values
    shown = torch.as_tensor(
        recording.stimulus.values[recording.stimulus_index.values[recording.split == "test"]]
    )
    np.testing.assert_allclose(predicted, twin.condition()(shown.float()).numpy(), rtol=1e-4)


def test_another_session_is_refused(cortex, recording):
    other = recording.assign_coords(session=("neuron", ["elsewhere"] * 24))
    with pytest.raises(InputError, match=r"lacks 24 of the 24 neurons.*'elsewhere'"):
        twins.predict_responses(cortex.as_twin(), other)


def test_images_of_another_size_are_refused(cortex, recording):
    with pytest.raises(InputError, match="crop or rescale"):
        twins.predict_responses(cortex.as_twin(), recording.isel(y=slice(0, 20)))


def test_a_recording_with_other_context_is_refused(cortex, recording):
    with pytest.raises(InputError, match="2 channels of `behavior`, but the twin .* with 3"):
        twins.predict_responses(
            cortex.as_twin(), recording.isel(behavior_channel=slice(0, 2)), split="test"
        )
