"""Other people's models answer as twins exactly as they answer by themselves."""

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import save_file

from twinlab import twins
from twinlab.schema import InputError

SPEC = twins.StimulusSpec(1, 24, 32, mean=110.0, std=60.0)
KEY = "21067-10-18-GrayImageNet"
N_NEURON = 7
CORTEX = np.random.default_rng(0).normal(size=(N_NEURON, 2)) * 100


def labels(**coordinates):
    names = {"neuron_id": np.arange(N_NEURON) + 50, "session": [KEY] * N_NEURON} | coordinates
    return xr.Dataset(coords={name: ("neuron", value) for name, value in names.items()})


def make_encoder(sessions=(KEY,), channel=1, cortical=False, offset=0.0, shifter=True, **readout):
    """A Sensorium-2022 model: neuralpredictors' own modules, every weight away from its start."""
    torch.manual_seed(0)
    core = twins.import_peer("layers.cores").Stacked2dCore(
        input_channels=channel, hidden_channels=8, input_kern=9, hidden_kern=7, layers=3,
        bias=False, momentum=0.9, pad_input=False, stack=-1, depth_separable=True,
        input_regularizer="LaplaceL2norm", use_avg_reg=False,
    )  # fmt: skip
    multi = twins.import_peer("layers.readouts").MultiReadoutSharedParametersBase
    gaussian = twins.import_peer("layers.readouts").FullGaussian2d
    more = {}
    if cortical:
        grid = {"hidden_layers": 1, "hidden_features": 30, "final_tanh": True}
        more = {
            "grid_mean_predictor": grid,
            "grid_mean_predictor_type": "cortex",
            "source_grids": {name: CORTEX for name in sessions},
        }
    mean = {name: torch.ones(N_NEURON) for name in sessions}
    read = multi(
        {name: (8, 16, 24) for name in sessions}, {name: N_NEURON for name in sessions},
        base_readout=gaussian, bias=True, init_mu_range=0.3, init_sigma=0.1,
        mean_activity_dict=mean, **more, **readout,
    )  # fmt: skip
    moves = None
    if shifter:
        shifters = twins.import_peer("layers.shifters")
        moves = shifters.MLPShifter(list(sessions), 2, hidden_channels_shifter=5, shift_layers=3)
    encoder = twins.import_peer("layers.encoders").FiringRateEncoder(
        core, read, shifter=moves, elu_offset=offset
    )
    with torch.no_grad():
        for _ in range(5):
            core(torch.randn(8, channel, 24, 32))  # running statistics of the batch norms
        for name in sessions:
            read[name]._features.normal_()
            read[name].bias.normal_()
    return encoder.eval()


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(5, 1, 24, 32, generator=generator) * 255


PUPIL = {
    "context": {"pupil_center": [50.0, 40.0]},
    "scale": {"pupil_center": np.array([[45.0, 42.0], [10.0, 8.0]])},
}


def z(images):
    return (images - SPEC.mean) / SPEC.std


def test_a_wrapped_encoder_answers_as_the_encoder_does(images):
    encoder = make_encoder(sessions=("other", KEY), offset=0.3)
    twin = twins.wrap_firing_rate_encoder(encoder, SPEC, labels(), data_key=KEY, **PUPIL)
    twins.check_twin(twin)
    pupil = torch.tensor([[60.0, 30.0]]).expand(5, -1)
    theirs = encoder(
        z(images), data_key=KEY, pupil_center=torch.tensor([[1.5, -1.5]]).expand(5, -1)
    )
    torch.testing.assert_close(twin(images, pupil_center=pupil), theirs)
    other = encoder(z(images), data_key="other", pupil_center=torch.zeros(5, 2))
    assert not torch.allclose(theirs, other)  # the session matters
    typical = encoder(
        z(images), data_key=KEY, pupil_center=torch.tensor([[0.5, -0.25]]).expand(5, -1)
    )
    torch.testing.assert_close(twin.condition()(images), typical)
    assert not torch.allclose(theirs, typical)  # the pupil matters
    assert twin.neurons.neuron_id.values.tolist() == list(range(50, 57))


def test_neurons_not_asked_about_are_not_read_out(images):
    encoder = make_encoder(shifter=False)
    asked = []
    readout = encoder.readout[KEY]
    own = readout.forward
    readout.forward = lambda *a, out_idx=None, **k: (
        asked.append(out_idx) or own(*a, out_idx=out_idx, **k)
    )
    twin = twins.wrap_firing_rate_encoder(encoder, SPEC)
    some = twin(images, neuron=torch.tensor([3, 1]))
    assert asked[-1].tolist() == [3, 1]
    torch.testing.assert_close(some, twin(images)[:, [3, 1]])


class Gain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3, N_NEURON) / 3)

    def forward(self, x, behavior=None):
        return x * (behavior @ self.weight).exp()


def test_a_modulator_gets_the_behaviour(images):
    encoder = make_encoder(shifter=False)
    encoder.modulator = torch.nn.ModuleDict({KEY: Gain()})
    behavior = torch.randn(5, 3)
    twin = twins.wrap_firing_rate_encoder(encoder, SPEC, context={"behavior": [0.1, 0.2, 0.3]})
    twins.check_twin(twin)
    theirs = encoder(z(images), data_key=KEY, behavior=behavior)
    torch.testing.assert_close(twin(images, behavior=behavior), theirs)


def test_behaviour_appended_as_channels(images):
    encoder = make_encoder(channel=4, shifter=False)
    scale = {"behavior": np.array([[0.0, 0.0, 0.0], [2.0, 4.0, 8.0]])}
    twin = twins.wrap_firing_rate_encoder(
        encoder, SPEC, context={"behavior": [1.0, 2.0, 3.0]}, scale=scale, behavior_channels=True
    )
    twins.check_twin(twin)
    behavior = torch.rand(5, 3) * 4
    constant = (behavior / torch.tensor([2.0, 4.0, 8.0]))[:, :, None, None].expand(-1, -1, 24, 32)
    theirs = encoder(torch.cat([z(images), constant], 1), data_key=KEY)
    torch.testing.assert_close(twin(images, behavior=behavior), theirs)


def test_a_wrapped_encoder_has_an_identity_and_cannot_be_saved(tmp_path):
    encoder = make_encoder(shifter=False)
    twin = twins.wrap_firing_rate_encoder(encoder, SPEC)
    before = twin.identity
    assert twins.wrap_firing_rate_encoder(encoder, SPEC).identity == before
    with torch.no_grad():
        encoder.readout[KEY].bias[0] += 1
    assert twin.identity != before
    with pytest.raises(InputError, match="A EncoderTwin cannot be saved"):
        twins.save_twin(twin, tmp_path / "twin")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "none is named; the sessions are"),
        ({"data_key": "nobody"}, "'nobody' is not among them"),
        ({"data_key": KEY}, "uses pupil_center; give typical values"),
        ({"data_key": KEY, **PUPIL, "neurons": labels().isel(neuron=[0])}, "names 1 neurons"),
    ],
)
def test_what_an_encoder_needs_is_asked_for_in_one_line(settings, words):
    encoder = make_encoder(sessions=("other", KEY))
    with pytest.raises(InputError, match=words):
        twins.wrap_firing_rate_encoder(encoder, SPEC, **settings)
    with pytest.raises(InputError, match="expected neuralpredictors' FiringRateEncoder"):
        twins.wrap_firing_rate_encoder(torch.nn.Linear(2, 2), SPEC)


@pytest.mark.parametrize("kind", ["memory", "checkpoint.pth", "checkpoint.safetensors"])
def test_a_published_checkpoint_loads_from_anywhere(images, tmp_path, kind):
    encoder = make_encoder(offset=0.2)
    state = encoder.state_dict()
    given = state if kind == "memory" else tmp_path / kind
    if kind.endswith("pth"):
        torch.save(state, given)
    elif kind.endswith("safetensors"):
        save_file(state, given)
    twin = twins.load_sensorium_checkpoint(
        given, SPEC, labels(), context=PUPIL["context"], context_scale=PUPIL["scale"],
        elu_offset=0.2,
    )  # fmt: skip
    pupil = torch.tensor([[60.0, 30.0]]).expand(5, -1)
    theirs = encoder(
        z(images), data_key=KEY, pupil_center=torch.tensor([[1.5, -1.5]]).expand(5, -1)
    )
    torch.testing.assert_close(twin(images, pupil_center=pupil), theirs, rtol=1e-5, atol=1e-5)
    twins.check_twin(twin)
    saved = twins.load_twin(twins.save_twin(twin, tmp_path / "twin"))
    assert torch.equal(saved(images), twin(images))


@pytest.mark.parametrize("known", [True, False])
def test_positions_predicted_from_cortex_stay_so_where_the_cortex_is_known(images, known):
    encoder = make_encoder(cortical=True, shifter=False)
    where = {"x_um": CORTEX[:, 0], "y_um": CORTEX[:, 1]} if known else {}
    twin = twins.load_sensorium_checkpoint(encoder.state_dict(), SPEC, labels(**where))
    assert twin.architecture.positions == ("cortical" if known else "free")
    theirs = encoder(z(images), data_key=KEY)
    torch.testing.assert_close(twin(images), theirs, rtol=1e-5, atol=1e-5)


def test_neurons_in_another_order_than_the_checkpoints_are_noticed():
    state = make_encoder(cortical=True, shifter=False).state_dict()
    shuffled = labels(x_um=CORTEX[::-1, 0], y_um=CORTEX[::-1, 1])
    with pytest.raises(InputError, match="other cortical positions than the checkpoint"):
        twins.load_sensorium_checkpoint(state, SPEC, shuffled)


def test_behaviour_channels_and_units_of_the_responses(images):
    encoder = make_encoder(channel=4, shifter=False)
    std = np.linspace(1, 3, N_NEURON)
    twin = twins.load_sensorium_checkpoint(
        encoder.state_dict(), SPEC, context={"behavior": [1.0, 2.0, 3.0]}, response_std=std
    )
    behavior = torch.rand(5, 3)
    constant = behavior[:, :, None, None].expand(-1, -1, 24, 32)
    theirs = encoder(torch.cat([z(images), constant], 1), data_key=KEY)
    expected = theirs * torch.as_tensor(std, dtype=torch.float32)
    torch.testing.assert_close(twin(images, behavior=behavior), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gauss_type", ["isotropic", "uncorrelated"])
def test_other_covariances_keep_their_spread(images, gauss_type):
    encoder = make_encoder(shifter=False, gauss_type=gauss_type)
    encoder.readout[KEY].sigma.data.uniform_(0.01, 0.3)
    twin = twins.load_sensorium_checkpoint(encoder.state_dict(), SPEC)
    torch.testing.assert_close(
        twin(images), encoder(z(images), data_key=KEY), rtol=1e-5, atol=1e-5
    )
    theirs = encoder.readout[KEY].sigma[0].detach().expand(-1, 1, 2)[:, 0]
    torch.testing.assert_close(torch.diagonal(twin.readout.sigma, dim1=1, dim2=2), theirs)


def broken(change):
    state = make_encoder().state_dict()
    change(state)
    return state


MISFITS = {
    "the readout has no `bias`": lambda s: s.pop(f"readout.{KEY}.bias"),
    "neither `_mu` nor `mu_transform`": lambda s: s.pop(f"readout.{KEY}._mu"),
    "not depth-separable": lambda s: [s.pop(k) for k in list(s) if "ds_conv" in k],
    "not of a plain stacked core": lambda s: s.update(
        {"core.features.layer1.seg_ex_block.weight": torch.ones(1)}
    ),
    "reads 24 channels": lambda s: s.update(
        {f"readout.{KEY}._features": torch.ones(1, 24, 1, N_NEURON)}
    ),
    "the shifter's weights have shapes": lambda s: s.update(
        {f"shifter.{KEY}.mlp.0.weight": torch.ones(10, 2)}
    ),
}


@pytest.mark.parametrize("words", list(MISFITS))
def test_a_checkpoint_that_does_not_fit_is_described_in_one_line(words):
    with pytest.raises(InputError, match="does not fit a deep twin") as raised:
        twins.load_sensorium_checkpoint(broken(MISFITS[words]), SPEC, context=PUPIL["context"])
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the checkpoint was executed",))


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    torch.save({"readout.a.bias": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "torn.pth").write_bytes(b"not a file of torch")
    (tmp_path / "torn.safetensors").write_bytes(b"no")
    for name in ("bomb.pth", "torn.pth", "torn.safetensors"):
        with pytest.raises(InputError, match=f"{name}: holds more than tensors, or is damaged"):
            twins.load_sensorium_checkpoint(tmp_path / name, SPEC)
    with pytest.raises(InputError, match="no such file"):
        twins.load_sensorium_checkpoint(tmp_path / "absent.pth", SPEC)
    with pytest.raises(InputError, match="is not the state dict of an encoder"):
        twins.load_sensorium_checkpoint({"weight": torch.ones(2)}, SPEC)


FILTERS = np.random.default_rng(2).normal(size=(3, 24 * 32)).astype(np.float32)


def of_tensors(images):
    return torch.nn.functional.softplus(images.flatten(1) @ torch.as_tensor(FILTERS.T) / 1e3)


def of_arrays(images):
    return np.logaddexp(0, images.reshape(len(images), -1) @ FILTERS.T / 1e3)


def test_a_torch_function_is_a_twin(images):
    twin = twins.wrap_callable(of_tensors, SPEC, 3)
    twins.check_twin(twin)
    assert torch.equal(twin(images), of_tensors(images))
    assert twin.sessions == ["of_tensors"]


def test_a_modules_weights_are_the_twins(images):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24 * 32, 3), torch.nn.ReLU())
    twin = twins.wrap_callable(module, SPEC, 3, name="linear")
    twins.check_twin(twin)
    before = twin.identity
    with torch.no_grad():
        module[1].bias += 1
    assert twin.identity != before


def test_a_numpy_function_is_a_twin_without_a_gradient(images):
    twin = twins.wrap_callable(of_arrays, SPEC, 3, takes="numpy")
    torch.testing.assert_close(twin(images), of_tensors(images))
    torch.testing.assert_close(twin.condition().neurons([2, 0])(images), twin(images)[:, [2, 0]])
    with pytest.raises(twins.NoGradientError, match="wraps a NumPy function"):
        twin(images.clone().requires_grad_()).sum().backward()
    with pytest.raises(ValueError, match="Not a twin: ") as raised:
        twins.check_twin(twin)
    assert str(raised.value).startswith("Not a twin: no gradient reaches the stimulus (This twin")


def test_a_function_that_returns_something_else_is_told_so(images):
    with pytest.raises(InputError, match=r"returned shape \(5, 3\) .* = \(5, 4\)"):
        twins.wrap_callable(of_tensors, SPEC, 4)(images)
    with pytest.raises(InputError, match="`takes` is 'jax'; known: torch, numpy"):
        twins.wrap_callable(of_tensors, SPEC, 3, takes="jax")
