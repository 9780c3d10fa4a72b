import json

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import insilico
from twinlab.jobs import Cancelled, Job
from twinlab.schema import InputError, open_result, save_result
from twinlab.stimuli import make_dead_leaves
from twinlab.twins import StimulusSpec, wrap_callable

SPEC = StimulusSpec(1, 16, 20, 110.0, 55.0)
RNG = np.random.default_rng(0)
ANGLE = np.deg2rad([90.0, 45.0, 10.0, 0.0])  # between the filters of the two twins


def unit(filters):
    filters = filters - filters.mean(1, keepdims=True)
    return filters / np.linalg.norm(filters, axis=1, keepdims=True)


OWN = unit(RNG.standard_normal((4, 320)))
ACROSS = RNG.standard_normal((4, 320))
ACROSS = unit(ACROSS - ACROSS.mean(1, keepdims=True))
ACROSS = unit(ACROSS - (ACROSS * OWN).sum(1, keepdims=True) * OWN)
OTHER = np.cos(ANGLE)[:, None] * OWN + np.sin(ANGLE)[:, None] * ACROSS


def make_twin(filters, output, name="planted"):
    weights = torch.as_tensor(filters, dtype=torch.float32)

    def rates(images):
        return output(((images - 110) / 55).flatten(1) @ weights.T)

    return wrap_callable(rates, SPEC, len(filters), name=name).condition()


def linear(drive):
    return 20 + drive


@pytest.fixture(scope="module")
def pair():
    return make_twin(OWN, linear), make_twin(OTHER, linear)


@pytest.fixture(scope="module")
def result(pair):
    return insilico.synthesize_controversial(*pair, norm=5.0)


def test_linear_twins_differ_along_what_one_filter_has_across_the_other(result):
    for moved, (own, held) in enumerate(((OWN, OTHER), (OTHER, OWN))):
        across = own - (own * held).sum(1, keepdims=True) * held
        images = result.image[:, moved].values.reshape(4, 2, -1)
        for neuron in range(3):
            between = images[neuron, 1] - images[neuron, 0]
            cosine = between @ across[neuron]
            cosine /= np.linalg.norm(between) * np.linalg.norm(across[neuron])
            assert cosine > 0.9999


def test_the_gap_of_linear_twins_is_the_sine_of_their_angle(result):
    # Held near 0, as noise drives a filter by a small part of its norm.
    expected = np.sin(ANGLE)[:, None] * [1, 1]
    np.testing.assert_allclose(result.relative_gap, expected, atol=5e-3)
    np.testing.assert_allclose(result.range, 10.0, rtol=1e-3)
    assert float(np.abs(result.held_gap).max()) < 0.003 * 10 * 2


def test_identical_twins_are_said_not_to_be_distinguishable(result, closed_form, rival):
    assert result.distinguishable.values.tolist() == [1, 1, 1, 0]
    assert float(np.abs(result.gap[3]).max()) == 0
    assert "not distinguishable" in result.distinguishable.attrs["long_name"]
    same = insilico.synthesize_controversial(closed_form.condition(), rival.condition())
    assert same.distinguishable.values.tolist() == [0] * 5
    assert same.valid.values.tolist() == [1, 1, 0, 0, 1]
    assert float(np.nanmax(same.relative_gap)) < 0.01
    assert np.isnan(same.image[[2, 3]]).all()


def test_the_criterion_decides_and_is_written_down(pair):
    strict = insilico.synthesize_controversial(*pair, norm=5.0, criterion=0.5)
    assert strict.distinguishable.values.tolist() == [1, 1, 0, 0]
    assert json.loads(strict.attrs["settings"])["criterion"] == 0.5


def test_responses_are_what_the_twins_say_of_the_images(result, pair):
    for twin, name in zip(pair, ("activation", "activation_other"), strict=True):
        for neuron in range(4):
            images = torch.as_tensor(result.image[neuron].values.reshape(4, 1, 16, 20))
            rates = twin.neurons([neuron])(images)[:, 0].reshape(2, 2)
            np.testing.assert_allclose(result[name][neuron], rates, rtol=1e-4)


def test_images_have_the_norm_and_stay_within_the_display(result, pair):
    z = (result.image - 110) / 55
    np.testing.assert_allclose(np.sqrt((z**2).sum(("channel", "y", "x"))), 5, rtol=1e-3)
    wild = insilico.synthesize_controversial(*pair, [0], norm=30.0, n_start=1, n_step=15)
    assert float(wild.image.min()) >= -1e-3
    assert float(wild.image.max()) <= 255 + 1e-3
    assert float(wild.clipped_fraction.min()) > 0


def test_nonlinear_twins_of_one_family_are_told_apart_at_a_held_response(closed_form):
    # The same cells, each with a gain of its own that depends on a filter of another cell.
    filters = closed_form.truth["filters"].reshape(5, 2, -1)
    extra = torch.as_tensor(filters[[1, 4, 0, 2, 1], 0], dtype=torch.float32)
    spec = closed_form.spec
    own = closed_form.condition()

    def rates(images):
        drive = ((images - spec.mean) / spec.std).flatten(1) @ extra.T
        return own(images) / (1 + 0.2 * drive.square())

    gated = wrap_callable(rates, spec, own.labels, name="gated").condition()
    found = insilico.synthesize_controversial(own, gated, [0, 1, 4], norm=6.0)
    assert found.distinguishable.values.tolist() == [1, 1, 1]
    held = np.abs(found.held_gap) / found.range.values[:, ::-1]
    assert float(held.max()) < 0.006
    assert float(found.relative_gap.max("moved").min()) > 0.5


def test_an_observer_is_identified_in_fewer_trials_than_with_natural_images():
    """Poisson counts of twin A decide between it and B by their likelihood ratio, to 100 : 1."""
    a, b = (
        make_twin(filters[1:2], lambda drive: 2 * torch.nn.functional.softplus(drive))
        for filters in (OWN, OTHER)
    )
    made = insilico.synthesize_controversial(a, b, norm=5.0)
    natural = (make_dead_leaves(100, 16, 20, seed=3).values.astype(np.float32) - 110) / 55
    natural -= natural.mean((1, 2, 3), keepdims=True)
    natural *= 5 / np.sqrt((natural**2).sum((1, 2, 3), keepdims=True))
    sets = made.image.values.reshape(4, 1, 16, 20), natural * 55 + 110
    rng = np.random.default_rng(1)
    trials, right = [], []
    for images in sets:
        under_a, under_b = (twin(torch.as_tensor(images))[:, 0].numpy() for twin in (a, b))
        shown = rng.integers(len(images), size=(200, 20000))
        count = rng.poisson(under_a[shown])
        evidence = count * np.log(under_a / under_b)[shown] - (under_a - under_b)[shown]
        total = evidence.cumsum(1)
        decided = np.abs(total) > np.log(100)
        when = np.where(decided.any(1), decided.argmax(1), shown.shape[1] - 1)
        trials.append(np.median(when + 1))
        right.append((total[np.arange(200), when] > 0).mean())
    assert min(right) > 0.97
    assert trials[0] < 0.1 * trials[1]


def test_a_neurons_pair_depends_neither_on_batches_nor_on_who_else_is_asked(pair, result):
    some = insilico.synthesize_controversial(*pair, [2, 0], norm=5.0, batch_size=2)
    xr.testing.assert_allclose(
        result.relative_gap.isel(neuron=[2, 0]), some.relative_gap, atol=1e-3
    )
    shuffled = insilico.synthesize_controversial(
        pair[0], pair[1].neurons([3, 2, 1, 0]), [2], norm=5.0
    )
    np.testing.assert_allclose(shuffled.relative_gap[0], result.relative_gap[2], atol=1e-3)


def test_work_stops_when_asked_and_the_result_is_saved(result, pair, tmp_path):
    def stop(job):
        if job.fraction > 0.4:
            job.cancel()

    job = Job(stop, interval=0)
    with pytest.raises(Cancelled):
        insilico.synthesize_controversial(*pair, job=job)
    assert job.preview.shape == (1, 16, 20)
    path = save_result(result, tmp_path / "pairs.nc")
    xr.testing.assert_identical(open_result(path), result)


def test_wrong_requests_are_told_what_is_right(pair, closed_form):
    twin, other = pair
    with pytest.raises(InputError, match="must be positive, but `norm` is"):
        insilico.synthesize_controversial(twin, other, norm=0.0)
    with pytest.raises(InputError, match="`criterion` is a share .* not 2"):
        insilico.synthesize_controversial(twin, other, criterion=2.0)
    with pytest.raises(InputError, match="lacks 2 of the 4 neurons"):
        insilico.synthesize_controversial(twin, other.neurons([0, 1]))
    small = StimulusSpec(1, 8, 8, 110.0, 55.0)
    tiny = wrap_callable(lambda im: im.flatten(1)[:, :4], small, 4, name="planted").condition()
    with pytest.raises(InputError, match=r"sees images of shape \(1, 8, 8\)"):
        insilico.synthesize_controversial(twin, tiny)


def test_both_twins_see_the_saved_images_whatever_units_each_computes_in():
    filters = torch.randn(2, 96, generator=torch.Generator().manual_seed(3))

    def twin_in_units(mean, std, which):
        own = filters[[which]].T

        def rates(images):
            return torch.nn.functional.softplus(((images - 110) / 55).flatten(1) @ own)

        spec = StimulusSpec(1, 8, 12, mean, std)
        labels = {"neuron_id": ("neuron", [0]), "session": ("neuron", ["s"])}
        neurons = xr.Dataset(coords=labels)
        return wrap_callable(rates, spec, neurons, name=f"planted {which}").condition()

    one, other = twin_in_units(110.0, 55.0, 0), twin_in_units(125.0, 70.0, 1)
    found = insilico.synthesize_controversial(one, other, norm=4.0, n_start=1, n_step=10)
    images = torch.as_tensor(found.image.values[0]).flatten(0, 1)
    with torch.inference_mode():
        seen = [twin(images)[:, 0].numpy() for twin in (one, other)]
    np.testing.assert_allclose(found.activation.values.ravel(), seen[0], rtol=1e-4)
    np.testing.assert_allclose(found.activation_other.values.ravel(), seen[1], rtol=1e-4)
