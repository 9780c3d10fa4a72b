import numpy as np
import pytest
import torch

from twinlab.schema import InputError
from twinlab.twins import EnsembleTwin, LinearNonlinearTwin
from twinlab.twins.distributions import predict_distribution, response_distribution
from twinlab.twins.likelihoods import LIKELIHOODS

N_NEURON = 7


@pytest.fixture
def make(make_twin):
    """A small twin with a likelihood, its scales and parameters all different."""

    def build(kind, seed=0):
        twin = make_twin(seed, likelihood=kind)
        rng = torch.Generator().manual_seed(seed)
        twin.response_scale.copy_(torch.rand(N_NEURON, generator=rng) + 0.5)
        counts = torch.randint(0, 4, (60, N_NEURON), generator=rng).double()
        twin.likelihood.initialise(counts + 1e-6, twin.response_scale)
        return twin.eval()

    return build


@pytest.fixture
def images(spec):
    generator = torch.Generator().manual_seed(5)
    return torch.rand(3, *spec.shape, generator=generator) * 255


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_one_twin_expects_its_rate_and_varies_in_the_recordings_units(make, images, kind):
    twin = make(kind)
    found = response_distribution(twin, images)
    with torch.no_grad():
        np.testing.assert_allclose(found.mean.detach(), twin(images), rtol=1e-5)
    assert found.variance_twin.isnan().all()
    n = 20000
    drawn = found.sample(n)
    assert drawn.shape == (n, 3, N_NEURON)
    variance = found.variance.detach()
    assert ((drawn.mean(0) - found.mean).abs() < 5 * (variance / n).sqrt()).all()
    fourth = ((drawn - found.mean) ** 4).mean(0).detach()
    assert ((drawn.var(0) - variance).abs() < 5 * ((fourth - variance**2) / n).sqrt()).all()
    if kind == "poisson":
        np.testing.assert_allclose(variance, found.mean.detach(), rtol=1e-4)
        assert (drawn - drawn.round()).abs().max() < 1e-4
    share = (drawn <= found.mean + 0.01).double().mean(0)
    cdf = found.cdf(found.mean.detach() + 0.01)
    assert ((share - cdf).abs() < 5 * (cdf * (1 - cdf) / n).sqrt() + 1e-4).all()


def test_the_density_is_per_unit_of_the_recording(make, images):
    found = response_distribution(make("gamma"), images)
    values = torch.linspace(1e-3, 60, 60001)
    density = found.log_prob(values[:, None, None, None].double()).exp()
    total = torch.trapezoid(density, values.double(), dim=0)
    np.testing.assert_allclose(total.detach(), 1, atol=0.03)


def test_an_ensemble_is_the_mixture_of_its_members(make, images):
    members = [make("gamma", seed) for seed in range(3)]
    found = response_distribution(EnsembleTwin(members), images)
    parts = [response_distribution(member, images) for member in members]
    means = torch.stack([part.mean for part in parts])
    np.testing.assert_allclose(found.mean.detach(), means.mean(0).detach(), rtol=1e-5)
    np.testing.assert_allclose(
        found.variance_twin.detach(), means.var(0, correction=0).detach(), rtol=1e-4
    )
    within = torch.stack([part.variance for part in parts]).mean(0)
    np.testing.assert_allclose(found.variance_response.detach(), within.detach(), rtol=1e-5)
    response = torch.tensor(0.7)
    for name in ("cdf", "log_prob"):
        alone = torch.stack([getattr(part, name)(response) for part in parts])
        expected = alone.mean(0) if name == "cdf" else alone.exp().mean(0).log()
        together = getattr(found, name)(response)
        np.testing.assert_allclose(together.detach(), expected.detach(), rtol=1e-4)
    n = 20000
    drawn = found.sample(n)
    fourth = ((drawn - found.mean) ** 4).mean(0)
    error = ((fourth - found.variance**2) / n).sqrt()
    assert ((drawn.var(0) - found.variance).abs() < 5 * error).all()


@pytest.mark.parametrize("ensemble", [False, True])
def test_conditioned_selected_and_paired_agree_with_the_whole(make, images, ensemble):
    twin = make("zero_inflated_gamma")
    if ensemble:
        twin = EnsembleTwin([twin, make("zero_inflated_gamma", 1)])
    quiet = twin.condition()
    response = torch.tensor(0.7)

    def values(found):
        named = [found.mean, found.variance_response, found.variance_twin]
        return [*named, found.cdf(response), found.log_prob(response)]

    whole = values(response_distribution(quiet, images))
    some = values(response_distribution(quiet.neurons([5, 2]), images))
    pairs = values(response_distribution(quiet.paired([5, 2, 2]), images))
    for every, chosen, paired in zip(whole, some, pairs, strict=True):
        np.testing.assert_allclose(chosen, every[:, [5, 2]], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(paired, every[range(3), [5, 2, 2]], rtol=1e-4, atol=1e-6)


def test_a_twin_of_rates_alone_says_so(neurons, spec, images):
    twin = LinearNonlinearTwin(spec, neurons)
    with pytest.raises(InputError, match="LinearNonlinearTwin predicts rates and says nothing"):
        response_distribution(twin, images)


def test_recorded_responses_are_placed_in_their_distribution(cortex, recording, make, make_twin):
    from twinlab.twins import Architecture, DeepTwin, StimulusSpec

    shape = recording.stimulus.shape[1:]
    labels = recording.drop_vars(list(recording.data_vars))
    labels = labels.drop_vars([name for name in labels.coords if labels[name].dims != ("neuron",)])
    twin = DeepTwin(
        Architecture(layers=1, hidden=4, likelihood="gaussian"),
        StimulusSpec(*shape, 110.0, 60.0),
        labels,
    )
    recording = recording.copy(deep=True)
    recording.response.values[np.flatnonzero(recording.split.values == "test")[-1], 3] = np.nan
    backwards = recording.isel(neuron=slice(None, None, -1))
    found = predict_distribution(twin.eval(), recording, split="test")
    other = predict_distribution(twin, backwards, split="test", batch_size=7)
    response = recording.response[recording.split.values == "test"]
    assert found.cdf.isnull().sum() == 1
    assert found.cdf.isnull().values[-1, 3]
    assert found.prediction.notnull().all()
    away = (response - found.prediction) / np.sqrt(found.variance_response)
    expected = -(away**2) / 2 - np.log(found.variance_response) / 2 - np.log(2 * np.pi) / 2
    np.testing.assert_allclose(found.log_score, expected, rtol=1e-4, atol=1e-4)
    for name in found:
        np.testing.assert_allclose(other[name][:, ::-1], found[name], rtol=1e-4, atol=1e-6)
    assert found.log_score.attrs["units"] == "nat"
