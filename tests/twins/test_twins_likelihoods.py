import numpy as np
import pytest
import torch
from scipy import integrate, stats

from twinlab.fitting.losses import correlation_loss
from twinlab.schema import InputError
from twinlab.twins import import_peer
from twinlab.twins.likelihoods import LIKELIHOODS

SCALE = torch.tensor([0.5, 2.0, 1.0])
RATE = torch.tensor([[0.3, 1.0, 2.5], [1.2, 0.6, 0.9]], dtype=torch.float64)
CONTINUOUS = ["gaussian", "gamma", "exponential", "zero_inflated_gamma"]


@pytest.fixture
def make():
    """A likelihood of three neurons, in double precision, its parameters all different."""

    def build(kind):
        found = LIKELIHOODS[kind](3)
        if kind == "poisson":
            found.initialise(np.array([[0.0, 1.0, 2.0], [3.0, 1.0, np.nan]]), SCALE)
        with torch.no_grad():
            for number, parameter in enumerate(found.parameters()):
                parameter.copy_(torch.tensor([0.4, -0.5, 0.9]).roll(number))
        if kind == "zero_inflated_gamma":
            found.threshold.fill_(0.1)
        return found.double()

    return build


def frozen(kind, module, rate):
    """The same distributions in SciPy's own words, one for each entry of `rate`."""
    own = {name: value.detach().exp().numpy() for name, value in module.named_parameters()}
    rate = rate.numpy()
    if kind == "poisson":
        return stats.poisson(rate * SCALE.numpy())
    if kind == "gaussian":
        return stats.norm(rate, own["log_sigma"])
    if kind == "exponential":
        return stats.expon(scale=rate)
    return stats.gamma(own["log_concentration"], scale=rate / own["log_concentration"])


@pytest.mark.parametrize("kind", ["poisson", "gaussian", "gamma", "exponential"])
def test_densities_and_quantiles_are_those_of_scipy(make, kind):
    module = make(kind)
    known = frozen(kind, module, RATE)
    in_counts = SCALE.double() if kind == "poisson" else torch.ones(3, dtype=torch.float64)
    for value in (1.0, 2.0, 6.0):
        response = torch.full_like(RATE, value) / in_counts
        log_prob = module.log_prob(response, RATE).detach().numpy()
        expected = known.logpmf(value) if kind == "poisson" else known.logpdf(value)
        np.testing.assert_allclose(log_prob, expected, rtol=1e-9)
        np.testing.assert_allclose(module.cdf(response, RATE).detach(), known.cdf(value))
    np.testing.assert_allclose(
        module.variance(RATE).detach() * in_counts**2, known.var() * np.ones_like(RATE)
    )
    for level in (0.05, 0.5, 0.9):
        found = module.quantile(level, RATE) * in_counts
        np.testing.assert_allclose(found, known.ppf(level) * np.ones_like(RATE), rtol=1e-7)


@pytest.mark.parametrize("column", range(3))
@pytest.mark.parametrize("rate", [0.07, 0.3, 2.0])
def test_the_zero_inflated_gamma_has_one_total_and_the_rate_as_mean(make, column, rate):
    module = make("zero_inflated_gamma")
    neuron, given = torch.tensor([column]), torch.tensor([rate], dtype=torch.float64)

    def density(r):
        at = torch.tensor([r], dtype=torch.float64)
        return module.log_prob(at, given, neuron).exp().item()

    def moment(power):
        silent = integrate.quad(lambda r: r**power * density(r), 0, 0.1)[0]
        # r = threshold + u**4 takes away the pole of a concentration below one
        events = integrate.quad(
            lambda u: (0.1 + u**4) ** power * density(0.1 + u**4) * 4 * u**3, 0, 6, limit=400
        )[0]
        return silent + events

    assert moment(0) == pytest.approx(1, abs=1e-6)
    assert moment(1) == pytest.approx(rate, abs=1e-6)
    variance = module.variance(given, neuron).item()
    assert moment(2) - rate**2 == pytest.approx(variance, rel=1e-5)
    upto = integrate.quad(
        lambda u: density(0.1 + u**4) * 4 * u**3, 0, (rate + 1 - 0.1) ** 0.25, limit=400
    )[0]
    cdf = module.cdf(given + 1, given, neuron).item()
    silence = 1 - module.active_probability(given, neuron).item()
    assert cdf == pytest.approx(silence + upto, abs=1e-6)
    # silence is one outcome
    assert module.cdf(given * 0 + 0.05, given, neuron).item() == pytest.approx(silence)
    assert module.cdf(given * 0 + 0.05, given, neuron, below=True).item() == 0.0
    for level in (silence + 0.3 * (1 - silence), 0.999):
        at = module.quantile(level, given, neuron)
        assert module.cdf(at, given, neuron).item() == pytest.approx(level, abs=1e-9)


def test_an_event_is_the_likelier_the_higher_the_rate(make):
    module = make("zero_inflated_gamma")
    rates = torch.linspace(0, 8, 500, dtype=torch.float64)[:, None].expand(-1, 3)
    seen = module.active_probability(rates).detach()
    assert (seen.diff(dim=0) >= 0).all()
    assert (seen[0] < 1e-3).all()
    np.testing.assert_allclose(seen[-1], torch.sigmoid(module.raw_most).detach(), rtol=0.05)


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_samples_have_the_mean_and_variance_promised(make, kind):
    module, n = make(kind), 40000
    drawn = module.sample(RATE, n, torch.Generator().manual_seed(0))
    variance = module.variance(RATE).detach()
    assert drawn.shape == (n, 2, 3)
    assert ((drawn.mean(0) - RATE).abs() < 5 * (variance / n).sqrt()).all()
    fourth = ((drawn - RATE) ** 4).mean(0)
    error = ((fourth - variance**2) / n).sqrt()
    assert ((drawn.var(0) - variance).abs() < 5 * error).all()
    again = module.sample(RATE, n, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_the_loss_is_least_at_the_truth(make, kind):
    truth, n = make(kind), 10000
    rates = torch.tensor([[0.3, 0.9, 0.2], [1.0, 0.3, 0.6], [2.0, 2.0, 2.0]]).double()
    drawn = truth.sample(rates, n, torch.Generator().manual_seed(1)).flatten(0, 1)

    def mean_loss(module, rates):
        return module.loss(rates.repeat(n, 1), drawn).mean(0).detach()

    here = mean_loss(truth, rates)
    for factor in (0.85, 1.18):
        assert (mean_loss(truth, factor * rates) > here).all()
    for name, parameter in truth.named_parameters():
        for step in (-0.3, 0.3):
            moved = make(kind)
            with torch.no_grad():
                moved.get_parameter(name).copy_(parameter + step)
            assert (mean_loss(moved, rates) > here).all(), (name, step)


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_a_loss_is_a_negative_log_likelihood_with_nothing_left_out(make, kind):
    module = make(kind)
    response = torch.tensor([[0.05, 0.4, 3.0], [1.0, 0.2, 0.7]], dtype=torch.float64)
    np.testing.assert_allclose(
        module.loss(RATE, response).detach(), -module.log_prob(response, RATE).detach()
    )


@pytest.mark.parametrize("kind", LIKELIHOODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_the_edges_and_missing_responses_have_none(make, kind, dtype):
    module = make(kind).to(dtype)
    rate = torch.tensor([0.0, 1e-30, 1e-6, 1.0, 1e4], dtype=dtype)[:, None].repeat(1, 3)
    rate.requires_grad_()
    for response in (0.0, 1e-9, 1e-3, 5.0):
        loss = module.loss(rate, torch.full_like(rate, response))
        gradients = torch.autograd.grad(loss.sum(), [rate, *module.parameters()])
        assert loss.isfinite().all()
        assert all(value.isfinite().all() for value in gradients), response
    some = torch.tensor([[5.0, np.nan, 2.0]], dtype=dtype).expand(5, -1)
    loss = module.loss(rate, some)
    gradients = torch.autograd.grad(loss.sum(), [rate, *module.parameters()])
    assert (loss[:, 1] == 0).all()
    assert (gradients[0][:, 1] == 0).all()
    assert (gradients[0][:, 0] != 0).all()
    assert all(value.isfinite().all() for value in gradients)


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_gradients_are_right(make, kind):
    module = make(kind)
    response = torch.tensor([[0.05, 0.0, 3.0], [1.0, 0.2, 0.7]], dtype=torch.float64)
    names = [name for name, _ in module.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in module.parameters()]

    def loss(rate, *parameters):
        own = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(module, own, (rate, response))

    module.forward = module.loss
    assert torch.autograd.gradcheck(loss, (RATE.clone().requires_grad_(), *values))


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_neurons_pairs_and_frames_agree_with_the_whole(make, kind):
    module = make(kind)
    response = torch.tensor([[0.05, 0.4, 3.0], [1.0, 0.2, 0.7]], dtype=torch.float64)
    whole = module.loss(RATE, response).detach()
    chosen = torch.tensor([2, 0])
    some = module.loss(RATE[:, chosen], response[:, chosen], chosen).detach()
    np.testing.assert_allclose(some, whole[:, chosen])
    pairs = (torch.arange(2), chosen)
    np.testing.assert_allclose(module.loss(RATE[pairs], response[pairs], chosen).detach(),
                               whole[pairs])  # fmt: skip
    clips = module.loss(RATE[..., None].expand(-1, -1, 4), response[..., None].expand(-1, -1, 4))
    np.testing.assert_allclose(clips.detach(), whole[..., None].expand(-1, -1, 4))
    assert module.variance(RATE[..., None]).shape == (2, 3, 1)


@pytest.mark.parametrize("kind", ["gaussian", "gamma", "zero_inflated_gamma"])
def test_a_start_from_the_data_is_near_the_truth(make, kind):
    truth = make(kind)
    truth.scale.copy_(SCALE)
    drawn = truth.sample(RATE[:1], 8000, torch.Generator().manual_seed(3))[:, 0]
    drawn[:4000, 1] = torch.nan
    found = LIKELIHOODS[kind](3)
    if kind == "zero_inflated_gamma":
        found.threshold.fill_(0.1)
    found.initialise((drawn * SCALE).numpy(), SCALE)
    rate = RATE[:1].float()
    ratio = found.variance(rate) / truth.float().variance(rate)
    assert ((ratio - 1).abs() < 0.15).all()
    if kind == "zero_inflated_gamma":
        expected = truth.active_probability(rate).detach()
        np.testing.assert_allclose(found.active_probability(rate).detach(), expected, atol=0.02)


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_constant_silent_and_absent_neurons_start_finite(kind):
    responses = np.random.default_rng(0).integers(0, 4, (50, 3)).astype(float)
    responses[:, 1] = 0.0
    responses[:, 2] = np.nan
    module = LIKELIHOODS[kind](3)
    module.initialise(responses, SCALE)
    assert all(value.isfinite().all() for value in module.state_dict().values())
    rate = torch.ones(1, 3)
    assert module.variance(rate).isfinite().all()
    assert module.loss(rate, torch.ones(1, 3)).isfinite().all()


def test_poisson_is_a_likelihood_of_counts_alone():
    module = LIKELIHOODS["poisson"](3)
    rate = torch.ones(1, 3)
    module.initialise(np.array([[0.5, 1.0, 2.0]]), SCALE)
    assert module.loss(rate, rate).isfinite().all()  # still a loss
    for asked in (
        lambda: module.variance(rate),
        lambda: module.log_prob(rate, rate),
        lambda: module.cdf(rate, rate),
        lambda: module.sample(rate, 2),
    ):
        with pytest.raises(InputError, match="zero_inflated_gamma"):
            asked()
    module.initialise(np.array([[0.0, 1.0, np.nan]]), SCALE)
    np.testing.assert_allclose(module.variance(rate), (1 / SCALE)[None])
    assert torch.equal(module.state_dict()["counts"], torch.tensor(True))  # saved with the twin


@pytest.mark.parametrize("kind", ["gamma", "exponential", "zero_inflated_gamma"])
def test_negative_responses_are_refused_and_numerical_zeros_are_not(kind):
    module = LIKELIHOODS[kind](3)
    module.initialise(np.array([[1e-9, -1e-9, 1.0], [1.0, 2.0, 3.0]]), SCALE)
    with pytest.raises(InputError, match="neuron 1 has 1 of them; set `likelihood` to gaussian"):
        module.initialise(np.array([[1.0, -0.5, 1.0], [1.0, 2.0, 3.0]]), SCALE)


def test_losses_agree_with_neuralpredictors(make):
    measures = import_peer("measures.modules")
    rng = torch.Generator().manual_seed(0)
    rate = torch.rand(50, 3, generator=rng, dtype=torch.float64) + 0.1
    response = torch.rand(50, 3, generator=rng, dtype=torch.float64)
    ours = make("exponential").loss(rate, response).mean().item()
    assert ours == pytest.approx(measures.ExponentialLoss()(rate, response).item(), rel=1e-5)
    ours = make("poisson").loss(rate, response).sum().item()
    peer = measures.PoissonLoss(avg=False)(rate, response).item()
    assert ours == pytest.approx(peer, rel=1e-6)
    ours = correlation_loss(rate, response).item() - 1
    assert ours == pytest.approx(measures.AvgCorr()(rate, response).item(), rel=1e-6)


def test_correlation_leaves_out_what_is_missing_and_what_never_varies():
    rng = np.random.default_rng(0)
    rate, response = rng.random((2, 40, 4))
    response[:15, 1] = np.nan
    response[:, 2] = 1.5
    response[:, 3] = np.nan
    expected = 1 - np.mean(
        [
            np.corrcoef(rate[:, 0], response[:, 0])[0, 1],
            np.corrcoef(rate[15:, 1], response[15:, 1])[0, 1],
        ]
    )
    given = torch.tensor(rate, requires_grad=True)
    loss = correlation_loss(given, torch.tensor(response))
    assert loss.item() == pytest.approx(expected, abs=1e-9)
    (gradient,) = torch.autograd.grad(loss, given)
    assert gradient.isfinite().all()
    assert (gradient[:, 2:] == 0).all()
    flat = torch.zeros(40, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(correlation_loss(flat, torch.tensor(response)), flat)
    assert gradient.isfinite().all()
    clips = [torch.tensor(value).reshape(4, 10, 4).movedim(1, 2) for value in (rate, response)]
    assert correlation_loss(*clips).item() == pytest.approx(expected, abs=1e-9)
