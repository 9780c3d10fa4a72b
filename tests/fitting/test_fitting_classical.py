"""Classical fits find planted filters, agree with closed forms, and nest in each other."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.optimize import minimize

from twinlab import fitting, simulation, twins
from twinlab.fitting import classical
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError

SIDE = 8
QUICK = {"penalties": (0.003,), "n_start": 2, "max_epochs": 12}


def gabors(n=3, height=SIDE, width=SIDE, x=3.5, y=3.5):
    """Filters of unit norm, at right angles to each other, (filter, 1, y, x)."""
    rows, columns = np.mgrid[:height, :width]
    window = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 6)
    waves = [np.cos(1.3 * (columns - x)), np.cos(1.3 * (rows - y)), np.sin(1.3 * (columns - x))]
    basis, _ = np.linalg.qr(np.stack([(window * wave).ravel() for wave in waves[:n]]).T)
    return basis.T.reshape(n, 1, height, width)


def described(height=SIDE, width=SIDE, n_neuron=1):
    neurons = xr.Dataset(
        coords={
            "neuron_id": ("neuron", np.arange(n_neuron)),
            "session": ("neuron", ["planted"] * n_neuron),
        }
    )
    return twins.StimulusSpec(1, height, width, mean=0.0, std=1.0, low=-4.0, high=4.0), neurons


def noise(n, height=SIDE, width=SIDE, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 1, height, width)).astype(np.float32)


def record(twin, n=6000, **more):
    images = noise(n, twin.spec.height, twin.spec.width)
    return simulation.record_twin(twin, images, n_validation=n // 10, n_test=0, **more)


def cosine(a, b):
    a, b = (np.asarray(torch.as_tensor(each).detach()).ravel() for each in (a, b))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def quadratic():
    """One linear, one excitatory and one suppressive filter, and what it did."""
    linear, excite, suppress = gabors()
    filters = np.stack([0.5 * linear, 0.5 * excite, 0.5 * suppress])[None]
    twin = twins.QuadraticTwin(
        *described(), n_excitatory=1, n_suppressive=1, nonlinearity="exponential",
        filters=filters, amplitude=np.full(1, 2.0),
    )  # fmt: skip
    return twin, record(twin, n=6000)


def test_the_quadratic_fit_finds_its_three_filters_and_agrees_with_the_closed_form(quadratic):
    planted, recording = quadratic
    fitted = fitting.fit_quadratic(
        recording, n_excitatory=1, n_suppressive=1, nonlinearity="exponential", **QUICK
    )
    solved = fitting.solve_quadratic(recording, n_excitatory=1, n_suppressive=1)
    for found in (fitted, solved):
        twins.check_twin(found)
        match = [cosine(found.filters[0, k], planted.filters[0, k]) for k in range(3)]
        match[1:] = np.abs(match[1:])  # a square does not know the sign of its filter
        assert min(match) > 0.9, match
        # planted eigenvalues of C are +-0.25; sampling inflates them
        values = np.linalg.eigvalsh(found.quadratic_form(0))[[0, -1]]
        np.testing.assert_allclose(np.abs(values), 0.25, atol=0.06)
    assert cosine(fitted.quadratic_form(0), solved.quadratic_form(0)) > 0.9


def test_the_closed_form_of_a_linear_neuron_is_its_filter():
    (linear,) = gabors(1)
    planted = twins.QuadraticTwin(
        *described(), n_excitatory=0, n_suppressive=0, nonlinearity="exponential",
        filters=0.8 * linear[None, None],
    )  # fmt: skip
    solved = fitting.solve_quadratic(record(planted), n_excitatory=0, n_suppressive=0)
    assert cosine(solved.filters, planted.filters) > 0.95
    assert float(solved.filters.detach().norm()) == pytest.approx(0.8, rel=0.1)
    few = record(planted, n=60)
    with pytest.raises(InputError, match="more training trials than pixels"):
        fitting.solve_quadratic(few)


def test_the_subunit_fit_finds_what_excites_and_what_suppresses():
    excite, suppress, _ = gabors()
    planted = twins.SubunitTwin(
        *described(), n_excitatory=1, n_suppressive=1,
        filters=np.stack([2 * excite, 2 * suppress])[None], offset=np.full(1, 0.5),
        amplitude=np.full(1, 2.0),
    )  # fmt: skip
    fitted = fitting.fit_subunits(
        record(planted), n_excitatory=1, n_suppressive=1, **QUICK | {"n_start": 3}
    )
    assert cosine(fitted.filters[0, 0], excite) > 0.95
    assert cosine(fitted.filters[0, 1], suppress) > 0.95


def test_one_linear_subunit_is_the_poisson_regression_of_another_optimiser(monkeypatch):
    monkeypatch.setattr(classical, "REACH", np.inf)  # every weight costs the same
    (linear,) = gabors(1)
    planted = twins.QuadraticTwin(
        *described(), n_excitatory=0, n_suppressive=0, nonlinearity="exponential",
        filters=0.6 * linear[None, None], amplitude=np.full(1, 1.5),
    )  # fmt: skip
    n, penalty = 2000, 0.05
    images = noise(n)
    once = simulation.record_twin(planted, images, n_validation=1, n_test=0)
    # the same trials twice, so that the epoch that is kept is one at which the fit has settled
    recording = xr.concat([once, once], "trial", data_vars="minimal").assign_coords(
        split=("trial", np.repeat(["train", "validation"], n))
    )
    fit = {"nonlinearity": "exponential", "penalties": (penalty,), "n_start": 1, "max_epochs": 30}
    nested = fitting.fit_subunits(recording, n_linear=1, n_excitatory=0, n_suppressive=0, **fit)
    also = fitting.fit_quadratic(recording, n_excitatory=0, n_suppressive=0, **fit)
    assert torch.equal(nested.filters, also.filters)

    spec = nested.spec
    shown = (images.reshape(n, -1)[once.stimulus_index.values] - spec.mean) / spec.std
    count = once.response.values[:, 0].astype(float)
    relative = count / count.mean()

    def objective(values):
        drive = shown @ values[1:] + values[0]
        rate = np.exp(drive)
        slope = np.append((rate - relative).mean(), (rate - relative) @ shown / n)
        ridge = penalty * values[1:]
        value = (rate - relative * drive).mean() + ridge @ values[1:]
        return value, slope + 2 * np.append(0, ridge)

    reference = minimize(objective, np.zeros(1 + shown.shape[1]), jac=True, method="L-BFGS-B")
    ours = nested.filters.detach().double().numpy().ravel()
    intercept = np.log(nested.amplitude.item() / count.mean()) + nested.offset.item()
    reached, _ = objective(np.append(intercept, ours))
    assert reached == pytest.approx(reference.fun, abs=2e-4)
    np.testing.assert_allclose(ours, reference.x[1:], atol=0.02)


def test_the_normalization_fit_finds_drive_and_pool():
    drive, cross, other = gabors()
    planted = twins.NormalizationTwin(
        *described(), n_drive=1, n_pool=2, filters=np.stack([drive, cross, drive])[None],
        pool_weight=np.array([[1.5, 0.5]]), semi_saturation=np.full(1, 0.5),
        amplitude=np.full(1, 6.0), baseline=np.full(1, 0.2),
    )  # fmt: skip
    recording = record(planted, n=8000)
    fitted = fitting.fit_normalization(
        recording, n_drive=1, n_pool=2, **QUICK | {"penalties": (0.0001,)}
    )
    assert abs(cosine(fitted.filters[0, 0], drive)) > 0.95
    assert abs(cosine(fitted.filters[0, 1], cross)) > 0.9
    # relative to the semi-saturation, which is 0.5 there and 1 here
    weight = fitted.pool_weight[0].detach().numpy()
    assert weight[0] == pytest.approx(1.5 / 0.5, rel=0.3)
    assert weight[1] == pytest.approx(0.5 / 0.5, rel=0.5)

    fixed = fitting.fit_normalization(recording, n_drive=1, n_pool=0, **QUICK)
    contrast = np.array([1.0, 2.0, 4.0])
    image = torch.as_tensor(drive[None] * contrast[:, None, None, None], dtype=torch.float32)
    mask = torch.as_tensor(2 * cross, dtype=torch.float32)

    def responses(twin):
        rate, masked = twin.condition()(image), twin.condition()(image + mask)
        blank, alone = twin.condition()(0 * image), twin.condition()(0 * image + mask)
        return (rate - blank)[:, 0].numpy(), (masked - alone)[:, 0].numpy()

    rate, masked = responses(fitted)
    assert rate[2] / rate[1] < 2  # saturates: without, 4 times the response to half the contrast
    assert masked[0] < 0.5 * rate[0]  # and is suppressed across orientations
    rate, masked = responses(fixed)
    assert rate[2] / rate[1] == pytest.approx(4, rel=0.02)
    assert masked[0] > 0.8 * rate[0]


def test_missing_silent_and_constant_neurons_spoil_nothing():
    spec, neurons = described(n_neuron=4)
    (linear,) = gabors(1)
    planted = twins.LinearNonlinearTwin(
        spec, neurons, filters=np.repeat(2 * linear[None], 4, 0), amplitude=np.full(4, 2.0)
    )
    recording = record(planted, n=2000)
    response = recording.response.values.copy()
    response[::2, 1] = np.nan
    response[:, 2] = np.nan
    response[:, 3] = 1.5
    recording = recording.assign(response=(("trial", "neuron"), response))
    for name in fitting.CLASSICAL:
        twin = fitting.CLASSICAL[name](recording, **QUICK | {"max_epochs": 4})
        rate = twin.condition()(torch.as_tensor(noise(50, seed=1))).numpy()
        assert np.isfinite(rate).all()
        assert (rate[:, :2].std(0) > 0.1).all()
        np.testing.assert_allclose(rate[:, 2], 0, atol=1e-6)
        np.testing.assert_allclose(rate[:, 3], 1.5, rtol=1e-5)
        alone = fitting.CLASSICAL[name](
            recording.isel(neuron=[0]), **QUICK | {"max_epochs": 4}
        ).condition()(torch.as_tensor(noise(50, seed=1)))
        np.testing.assert_allclose(rate[:, 0], alone[:, 0].numpy(), rtol=1e-2, atol=1e-3)


def test_filters_lie_in_a_window_where_the_neuron_looks(monkeypatch):
    height, width = 20, 30
    spec, neurons = described(height, width, n_neuron=2)
    filters = np.stack([gabors(1, height, width, x=8, y=11), gabors(1, height, width, x=22, y=8)])
    planted = twins.LinearNonlinearTwin(
        spec, neurons, filters=3 * filters[:, 0], amplitude=np.full(2, 2.0)
    )
    recording = record(planted, n=3000)
    monkeypatch.setattr(classical, "WINDOW", 11)
    fit = {"n_linear": 1, "n_excitatory": 0, "n_suppressive": 0, **QUICK, "max_epochs": 6}
    together = fitting.fit_subunits(recording, **fit)
    for found, wanted in zip(together.filters[:, 0], filters[:, 0], strict=True):
        assert cosine(found, wanted) > 0.9
        assert (found != 0).sum() == 11 * 11
    monkeypatch.setattr(classical, "MEMORY", 1)  # one neuron at a time
    torch.testing.assert_close(
        fitting.fit_subunits(recording, **fit).filters, together.filters, rtol=1e-2, atol=1e-3
    )


def test_the_same_seed_gives_the_same_weights_and_a_fit_can_be_stopped(quadratic):
    _, recording = quadratic
    quick = QUICK | {"max_epochs": 1}
    first, second = (fitting.fit_quadratic(recording, **quick) for _ in range(2))
    assert first.identity == second.identity
    assert first.identity != fitting.fit_quadratic(recording, **quick, seed=1).identity

    def stop(job):
        if job.fraction > 0.5:
            job.cancel()

    with pytest.raises(Cancelled):
        fitting.fit_quadratic(recording, **quick, job=Job(stop, interval=0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"penalties": ()}, "penalties"),
        ({"penalties": (-1.0,)}, "penalties"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"seed": -1}, "seed"),
        ({"n_excitatory": -1}, "negative"),
        ({"nonlinearity": "relu"}, "known"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(quadratic, change, words):
    with pytest.raises(InputError, match=words) as caught:
        fitting.fit_quadratic(quadratic[1], **change)
    assert "\n" not in str(caught.value)


def test_without_validation_trials_there_is_no_fit(quadratic):
    recording = quadratic[1]
    train = recording.isel(trial=recording.split.values == "train")
    with pytest.raises(InputError, match="validation trial"):
        fitting.fit_quadratic(train)
