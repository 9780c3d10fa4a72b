from functools import cache

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import stimuli
from twinlab.jobs import Cancelled, Job
from twinlab.schema import BEHAVIOR_CHANNELS, InputError, validate_recording
from twinlab.simulation import KINDS, SimulatedCortex
from twinlab.twins import check_twin, predict_responses

STILL = {"running_gain": 0.0, "pupil_gain": 0.0, "gaze_shift": 0.0}
FIELD = {"height": 36, "width": 64}


@cache
def only(kind, n_neuron=8, **settings):
    return SimulatedCortex(0, n_neuron=n_neuron, composition={kind: 1.0}, **settings)


def respond(cortex, images, **context):
    """Rates of all neurons, (image, neuron)."""
    quiet = cortex.as_twin().condition(**context)
    with torch.inference_mode():
        return quiet(torch.as_tensor(np.asarray(images), dtype=torch.float32)).numpy()


def truth(cortex, i):
    """Orientation, frequency and centre of a neuron."""
    cell = cortex.neurons.isel(neuron=i)
    return (
        float(cell.true_orientation),
        float(cell.true_spatial_frequency),
        (float(cell.true_x), float(cell.true_y)),
    )


def measured_oracle(recording):
    """Correlation of each test trial with the mean of the other trials of its image."""
    test = recording.isel(trial=recording.split.values == "test")
    order = np.argsort(test.stimulus_index.values, kind="stable")
    n_repeat = np.unique(test.stimulus_index, return_counts=True)[1][0]
    response = test.response.values[order].reshape(-1, n_repeat, test.sizes["neuron"])
    others = (response.sum(1, keepdims=True) - response) / (n_repeat - 1)
    return np.array(
        [
            np.corrcoef(response[..., i].ravel(), others[..., i].ravel())[0, 1]
            for i in range(response.shape[-1])
        ]
    )


# --- the neurons


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channel", [1, 3])
def test_simulated_neurons_of_each_kind_are_a_twin(kind, channel):
    check_twin(only(kind, 5, channel=channel, height=24, width=32).as_twin())


def test_a_mixed_cortex_is_a_twin(cortex):
    check_twin(cortex.as_twin())


def test_composition_is_obeyed(cortex):
    names, counts = np.unique(cortex.neurons.true_type, return_counts=True)
    assert dict(zip(names, counts, strict=True)) == {
        "simple": 10, "complex": 7, "normalized": 4, "surround": 3,
    }  # fmt: skip


def test_filters_have_zero_mean_unit_norm_and_the_true_centre(cortex, recording):
    filters = recording.true_filter.values[:, 0].astype(float)
    np.testing.assert_allclose(filters.sum((1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose((filters**2).sum((1, 2)), 1, rtol=1e-5)
    y, x = np.mgrid[:36, :64]
    for i, power in enumerate(filters**2):
        _, _, (true_x, true_y) = truth(cortex, i)
        size = float(cortex.neurons.true_size[i])
        assert (power * x).sum() == pytest.approx(true_x, abs=0.4 * size)
        assert (power * y).sum() == pytest.approx(true_y, abs=0.4 * size)


def test_receptive_fields_are_retinotopic():
    neurons = only("simple", 100).neurons
    assert np.corrcoef(neurons.x_um, neurons.true_x)[0, 1] > 0.95
    assert np.corrcoef(neurons.y_um, neurons.true_y)[0, 1] > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_tuning_peaks_at_the_true_orientation(kind):
    cortex = only(kind)
    orientations = np.arange(0, 180, 5.0)
    for i in range(cortex.n_neuron):
        orientation, frequency, center = truth(cortex, i)
        # Within the centre of the receptive field, where the annulus is not driven.
        radius = 1.5 * float(cortex.neurons.true_size[i])
        images = stimuli.make_grating_grid(
            orientations, [frequency], np.arange(0, 360, 45.0),
            contrast=0.5, center=center, radius=radius, **FIELD,
        )  # fmt: skip
        curve = respond(cortex, images)[:, i].reshape(len(orientations), -1).mean(1)
        miss = (orientations[curve.argmax()] - orientation + 90) % 180 - 90
        assert abs(miss) <= 10, (i, miss)


def modulation(cortex, i):
    """F1 / F0 of a neuron's response to the phase of its preferred grating."""
    orientation, frequency, _ = truth(cortex, i)
    phases = np.arange(0, 360, 22.5)
    rate = respond(cortex, stimuli.make_gratings(orientation, frequency, phases, **FIELD))[:, i]
    return 2 * np.abs(np.exp(1j * np.deg2rad(phases)) @ rate) / rate.sum()


def test_simple_cells_care_for_phase_and_complex_cells_do_not():
    simple, complex_ = only("simple"), only("complex")
    assert min(modulation(simple, i) for i in range(8)) > 1
    assert max(modulation(complex_, i) for i in range(8)) < 0.1


def plaid_index(cortex, i):
    """Response to a preferred grating with an orthogonal one on top, over that without."""
    orientation, frequency, _ = truth(cortex, i)
    phases = np.arange(0, 360, 45.0)
    grating = stimuli.make_gratings(orientation, frequency, phases, contrast=0.4, **FIELD)
    mask = stimuli.make_gratings(orientation + 90, frequency, phases, contrast=0.4, **FIELD)
    plaid = grating.values + mask.values - 127.5
    return respond(cortex, plaid)[:, i].mean() / respond(cortex, grating)[:, i].mean()


def test_normalized_cells_are_suppressed_by_the_orthogonal_grating_and_simple_cells_are_not():
    normalized, simple = only("normalized"), only("simple")
    assert max(plaid_index(normalized, i) for i in range(8)) < 0.8
    assert min(plaid_index(simple, i) for i in range(8)) > 0.95


def test_normalized_cells_saturate_with_contrast():
    cortex = only("normalized")
    contrast = np.array([0.05, 0.1, 0.5, 1.0])
    for i in range(8):
        orientation, frequency, _ = truth(cortex, i)
        images = stimuli.make_gratings(orientation, frequency, contrast=contrast, **FIELD)
        rate = respond(cortex, images)[:, i]
        assert rate[1] / rate[0] > 2.5  # contrast squared where it is low
        assert rate[3] / rate[2] < 2


def test_surround_cells_are_suppressed_by_large_gratings_and_complex_cells_are_not():
    def largest_over_best(cortex, i):
        orientation, frequency, center = truth(cortex, i)
        size = float(cortex.neurons.true_size[i])
        patches = [
            stimuli.make_gratings(
                orientation, frequency, contrast=0.5, center=center, radius=radius, **FIELD
            ).values[0]
            for radius in [*np.arange(1, 6) * size, 100]
        ]
        rate = respond(cortex, np.stack(patches))[:, i]
        return rate[-1] / rate.max()

    surround, complex_ = only("surround"), only("complex")
    assert max(largest_over_best(surround, i) for i in range(8)) < 0.7
    assert min(largest_over_best(complex_, i) for i in range(8)) > 0.85


def test_colour_blind_neurons_weigh_all_channels_alike():
    cortex = only("simple", 40, channel=2)
    recording = cortex.record(n_train=1, n_validation=0, n_test=0)
    filters = recording.true_filter.values
    alike = np.isclose(filters[:, 0], filters[:, 1], atol=1e-6).all((1, 2))
    blind = cortex.neurons.true_colour_blind.values == 1
    np.testing.assert_array_equal(alike, blind)
    assert 0 < blind.sum() < 40


def test_grey_images_have_only_colour_blind_neurons(cortex):
    assert (cortex.neurons.true_colour_blind == 1).all()


def difference(a, b):
    """Angle between two orientations, 0 to 90 degrees."""
    return np.abs((a - b + 90) % 180 - 90)


@pytest.mark.parametrize(("name", "smooth"), [("mapped", True), ("salt_and_pepper", False)])
def test_only_a_mapped_cortex_has_neighbours_of_similar_orientation(name, smooth):
    neurons = only("simple", 200, orientation_map=name).neurons
    place = np.stack([neurons.x_um, neurons.y_um], 1)
    distance = np.hypot(*(place[:, None] - place).transpose(2, 0, 1))
    np.fill_diagonal(distance, np.inf)
    angle = neurons.true_orientation.values
    near = difference(angle, angle[distance.argmin(0)]).mean()
    assert (near < 25) if smooth else (35 < near < 55)
    assert np.histogram(angle, 4, (0, 180))[0].min() > 10  # all orientations occur


# --- behaviour and gaze


def test_gaze_shift_equals_a_shifted_image():
    cortex = only("complex", gaze_shift=1.0)
    image = stimuli.make_dead_leaves(5, 36, 64, seed=9).values.astype(np.float32)
    right_2_up_1 = np.array([2.0, -1.0]) + np.array([1.5, 1.5]) * [2, -1]
    moved = np.full_like(image, cortex.spec.mean)  # grey comes in from beyond the screen
    moved[:, :, 1:, :-2] = image[:, :, :-1, 2:]
    np.testing.assert_allclose(
        respond(cortex, image, pupil_center=right_2_up_1), respond(cortex, moved), rtol=1e-4
    )


def test_gaze_shift_between_pixels_is_bilinear():
    cortex = only("simple", gaze_shift=0.5)
    image = np.random.default_rng(0).uniform(0, 255, (3, 1, 36, 64)).astype(np.float32)
    padded = np.pad(image, ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=cortex.spec.mean)
    moved = (padded[..., :-1] + padded[..., 1:]) / 2
    np.testing.assert_allclose(
        respond(cortex, image, pupil_center=(2.0 + 1.5, -1.0)), respond(cortex, moved), rtol=1e-4
    )


def test_gain_is_one_at_the_median_and_exponential_in_the_state(cortex):
    image = stimuli.make_dead_leaves(3, 36, 64, seed=9)
    typical = cortex.as_twin().context["behavior"]
    quiet = respond(cortex, image)
    np.testing.assert_array_equal(respond(cortex, image, behavior=typical), quiet)
    dilated = respond(cortex, image, behavior=(typical[0] + 12.0, typical[1], typical[2]))
    gain = np.exp(cortex.neurons.true_pupil_gain.values)
    np.testing.assert_allclose(dilated / quiet, np.tile(gain, (3, 1)), rtol=1e-5)
    assert gain.min() < 1 < gain.max()


def test_behaviour_is_slow_in_the_order_of_presentation(recording):
    np.testing.assert_array_equal(
        recording.presentation_order, np.arange(recording.sizes["trial"])
    )
    assert tuple(recording.behavior_channel.values) == BEHAVIOR_CHANNELS
    pupil = recording.behavior.sel(behavior_channel="pupil_dilation").values
    assert np.corrcoef(pupil[:-1], pupil[1:])[0, 1] > 0.9
    change = recording.behavior.sel(behavior_channel="pupil_dilation_derivative").values
    np.testing.assert_allclose(change[1:], np.diff(pupil), atol=1e-4)
    gaze = recording.pupil_center.values[:, 0]
    assert np.corrcoef(gaze[:-1], gaze[1:])[0, 1] > 0.9


# --- the recording


def test_recording_is_whole(cortex, recording):
    validate_recording(recording)
    assert recording.attrs["recording_id"] == "simulated-0"
    assert recording.stimulus.dtype == np.uint8
    shown = np.bincount(recording.stimulus_index, minlength=730)
    assert (shown[:700] == 1).all()
    assert (shown[700:] == 6).all()
    split = recording.split.values
    assert {name: int((split == name).sum()) for name in np.unique(split)} == {
        "train": 600, "validation": 100, "test": 180,
    }  # fmt: skip
    places = np.flatnonzero(split == "test")
    assert places.min() < 30  # interleaved with the others
    assert places.max() > 850
    assert len(np.unique(recording.stimulus.values.reshape(730, -1), axis=0)) == 730


def test_twin_predicts_the_true_rate(cortex, recording):
    rate = respond(cortex, recording.stimulus)
    np.testing.assert_allclose(rate, recording.true_rate, rtol=1e-4, atol=1e-5)


def test_responses_scatter_about_the_twins_prediction_as_poisson_counts(cortex, recording):
    predicted = predict_responses(cortex.as_twin(), recording).values.astype(float)
    standardised = (recording.response.values - predicted) / np.sqrt(predicted)
    n = standardised.size
    assert standardised.mean() == pytest.approx(0, abs=4 / np.sqrt(n))
    assert (standardised**2).mean() == pytest.approx(1, abs=0.1)


def test_twin_knows_its_own_recording_from_any_other(cortex, recording):
    other = SimulatedCortex(1, n_neuron=2, **STILL).record(n_train=2, n_validation=0, n_test=0)
    with pytest.raises(InputError, match="The twin was fitted to session"):
        predict_responses(cortex.as_twin(), other)


def test_same_seed_same_recording():
    numbers = {"n_train": 5, "n_validation": 2, "n_test": 2, "n_repeat": 2}
    first, again = (SimulatedCortex(3, n_neuron=4).record(**numbers) for _ in range(2))
    xr.testing.assert_identical(first, again)


def test_another_recording_of_the_same_neurons(cortex, recording):
    other = cortex.record(n_train=20, n_validation=0, n_test=0, seed=5)
    assert other.attrs["recording_id"] == "simulated-0-recording-5"
    assert set(other.session.values) == set(recording.session.values)
    np.testing.assert_array_equal(other.true_filter, recording.true_filter)
    assert not np.array_equal(other.stimulus[:20], recording.stimulus[:20])
    np.testing.assert_allclose(
        predict_responses(cortex.as_twin(), other).values.mean(),
        other.response.values.mean(),
        rtol=0.2,
    )


def test_recording_survives_a_file(recording, tmp_path):
    recording.to_netcdf(tmp_path / "recording.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "recording.nc", engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load(), recording)


@pytest.mark.parametrize(
    "settings",
    [{}, {"reliability": 0.6}, {"noise": "calcium", "reliability": 0.25}],
    ids=["default", "reliable", "calcium"],
)
def test_reliability_is_what_was_asked(settings):
    cortex = SimulatedCortex(7, **settings)
    asked = settings.get("reliability", 0.4)
    oracle = measured_oracle(cortex.record(n_train=0, n_validation=0))
    assert oracle.mean() == pytest.approx(asked, abs=0.05)
    assert cortex.neurons.true_reliability.values.mean() == pytest.approx(asked, abs=0.001)
    assert 0.06 < oracle.std() < 0.18
    assert np.corrcoef(oracle, cortex.neurons.true_reliability)[0, 1] > 0.6


def test_a_recording_can_be_cancelled(cortex):
    job = Job(listener=lambda job: job.cancel(), interval=0.0)
    with pytest.raises(Cancelled):
        cortex.record(job=job)


def test_a_recording_reports_to_its_end(cortex):
    seen = []
    job = Job(listener=lambda job: seen.append(job.fraction), interval=0.0)
    cortex.record(n_train=250, n_validation=0, n_test=0, job=job)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


# --- what cannot be


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_neuron": 0}, "`n_neuron` and `channel` must be at least 1, but got 0 and 1"),
        ({"height": 8}, "`height` and `width` must be at least 16 pixels, but got 8 and 64"),
        ({"composition": {"hypercomplex": 1}}, "`composition` must give shares .*'hypercomplex'"),
        ({"composition": {}}, "`composition` must give shares"),
        ({"orientation_map": "striped"}, "`orientation_map` must be one of .*'striped'"),
        ({"noise": "white"}, "`noise` must be one of .*'white'"),
        ({"reliability": 1.0}, "`reliability` must be 0.05 to 0.9, but got 1"),
        ({"gaze_shift": -1.0}, "`gaze_shift` must be at least 0, but got -1"),
        ({"seed": -1}, "`seed` must be at least 0, but got -1"),
        (
            {"reliability": 0.9, "gaze_shift": 3.0, "n_neuron": 8},
            "`reliability` cannot be 0.9: behaviour and gaze alone limit these neurons",
        ),
    ],
)
def test_impossible_cortices_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        SimulatedCortex(**settings)


def test_an_empty_recording_is_refused(cortex):
    with pytest.raises(InputError, match="at least one image, no negative number of images"):
        cortex.record(n_train=0, n_validation=0, n_test=0)
