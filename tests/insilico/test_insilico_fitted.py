"""What was planted is found through a fitted twin: the demo's, of the demo's data."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from twinlab import fitting, insilico, stimuli, twins
from twinlab.cli.demo import DEMO_ARCHITECTURE, DEMO_SETTINGS
from twinlab.simulation import SimulatedCortex, compare_suppressor, compare_tuning

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def quiet():
    recording = SimulatedCortex(seed=0, n_neuron=200).record(n_train=4000)
    twin, _ = fitting.fit_twin(recording, DEMO_ARCHITECTURE, DEMO_SETTINGS)
    return twin.condition()


@pytest.fixture(scope="module")
def tuning(quiet):
    return insilico.measure_orientation_tuning(quiet)


@pytest.fixture(scope="module")
def kind(tuning):
    return tuning.true_type.values.astype(str)


def test_preferred_orientations_are_within_ten_degrees(tuning):
    tuned = tuning.osi.values > 0.2
    error = compare_tuning(tuning).values[tuned]
    assert tuned.mean() > 0.8
    assert (error <= 10).mean() >= 0.9


def test_simple_and_complex_cells_are_told_by_modulation(tuning, kind):
    chosen = np.isin(kind, ("simple", "complex"))
    simple = tuning.f1_f0.values[chosen] > 1
    assert (simple == (kind[chosen] == "simple")).mean() >= 0.9


def test_simple_and_complex_cells_are_told_by_their_diverse_inputs(quiet, kind):
    chosen = np.flatnonzero(np.isin(kind, ("simple", "complex")))[:60]
    found = insilico.synthesize_diverse(quiet, chosen, n_image=6, fraction=0.85)
    invariant = found.diversity.values > 0.6
    assert (invariant == (kind[chosen] == "complex")).mean() >= 0.9


def show_patches(n, generator):
    """Gratings in patches of all sizes, on grey: what natural images lack to teach surrounds."""
    return stimuli.make_gratings(
        generator.uniform(0, 180, n),
        generator.uniform(0.08, 0.22, n),
        generator.uniform(0, 360, n),
        height=36,
        width=64,
        contrast=generator.uniform(0.1, 0.9, n),
        center=(generator.uniform(0, 64, n), generator.uniform(0, 36, n)),
        radius=generator.uniform(2, 22, n),
    )


@pytest.mark.timeout(3600)
def test_suppressed_surrounds_are_found():
    """By a core that reaches them, 33 pixels wide, shown natural images and grating patches.

    Natural images alone do not teach them: of 4,000 (200 neurons) or 8,000 (1,000 neurons) the
    same core has an AUC of 0.69 or 0.66, the demo's narrower one 0.57.
    """
    n = 10_500
    images = stimuli.make_dead_leaves(n, 36, 64, seed=1).values.astype(np.float32)
    images[::2] = show_patches(n // 2, np.random.default_rng(1)).values
    recording = SimulatedCortex(seed=0, n_neuron=400).record(stimulus=images.round())
    architecture = twins.Architecture(
        layers=4, hidden=48, hidden_kernel=9, behavior="gain", shifter=True
    )
    settings = fitting.FitSettings(max_epochs=12, average=0.98)
    twin, _ = fitting.fit_twin(recording, architecture, settings)
    found = insilico.EXPERIMENTS["size_tuning"](twin.condition())
    index = np.nan_to_num(found.suppression_index.values)
    assert roc_auc_score(found.true_type.values == "surround", index) >= 0.9


def test_least_exciting_inputs_of_simple_cells_are_their_inverted_filters(quiet, kind):
    chosen = np.flatnonzero(kind == "simple")[:30]
    found = insilico.synthesize_lei(quiet, chosen, n_start=3)
    images = found.lei.values.reshape(len(chosen), -1)
    filters = SimulatedCortex(seed=0, n_neuron=200).record(
        n_train=2, n_validation=1, n_test=1, n_repeat=1
    ).true_filter.values[chosen].reshape(len(chosen), -1)  # fmt: skip
    match = [np.corrcoef(a, -b)[0, 1] for a, b in zip(images, filters, strict=True)]
    assert np.nanmedian(match) > 0.7


def test_suppressors_of_normalized_cells_are_their_suppressive_filters(quiet, kind):
    """Against what was planted, and on the true neurons themselves, as in a real animal.

    That they correlate with the filters is not enough: the twin of a complex cell is somewhat
    suppressed by such stimuli as well (by 0.47 in the median), where the true cell is not.
    """
    cortex = SimulatedCortex(seed=0, n_neuron=200)
    recording = cortex.record(n_train=2, n_validation=1, n_test=1, n_repeat=1)
    chosen = np.flatnonzero(np.isin(kind, ("normalized", "complex")))
    found = insilico.synthesize_suppressor(quiet, chosen)
    normalized = kind[chosen] == "normalized"
    match = compare_suppressor(found, recording).values[normalized]
    assert np.median(match) >= 0.75
    assert match.min() >= 0.5
    assert roc_auc_score(normalized, found.suppression) >= 0.9

    true, grey = cortex.as_twin().condition().paired(chosen), quiet.spec.mean
    base, suppressor = found.base.values, found.suppressor.values - grey
    pairs = [(base, 2 * grey - base), (base + suppressor, 2 * grey - base + suppressor)]
    alone, beside = (
        np.mean([true(torch.as_tensor(images)).numpy() for images in pair], 0) for pair in pairs
    )
    suppression = 1 - beside / alone
    assert np.median(suppression[normalized]) >= 0.55
    assert np.abs(suppression[~normalized]).max() < 0.05
