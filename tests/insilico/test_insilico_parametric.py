import numpy as np
import pytest
import torch
import xarray as xr
from planted_tuning import SPEC, PlantedTwin, energy, quadrature

from twinlab import insilico, stimuli
from twinlab.insilico.drawing import draw_gratings
from twinlab.jobs import Job
from twinlab.schema import InputError, open_result, save_result
from twinlab.simulation import SimulatedCortex, SimulatedVideoCortex
from twinlab.twins import EnsembleTwin, StimulusSpec

PAIR = quadrature(30.0, 0.12)
OWN = {"orientation": 30.0, "spatial_frequency": 0.12, "x": 20.0, "y": 20.0}


def angle_between(a, b, period=180.0):
    return np.abs((np.asarray(a) - np.asarray(b) + period / 2) % period - period / 2)


def auc(score, positive):
    """Chance that a positive scores higher than a negative."""
    pairs = score[positive][:, None] - score[~positive]
    return np.mean(pairs > 0) + np.mean(pairs == 0) / 2


@pytest.fixture(scope="module")
def population():
    return SimulatedCortex(seed=1, n_neuron=60).as_twin().condition()


@pytest.fixture(scope="module")
def preferences(population):
    return insilico.measure_preferences(population)


# Drawing


def test_drawn_gratings_are_those_of_the_stimulus_room():
    spec = StimulusSpec(2, 30, 44, 110.0, 50.0)
    turn, cycles = np.array([0.0, 37.0, 90.0, 151.0]), np.array([0.05, 0.11, 0.3, 0.49])
    phase, contrast = np.array([0.0, 45.0, 200.0, 300.0]), np.array([0.1, 0.5, 0.8, 1.0])
    made = stimuli.make_gratings(
        turn, cycles, phase, height=30, width=44, channel=2, mean=110.0, contrast=contrast
    )
    parameters = {
        "orientation": turn,
        "spatial_frequency": cycles,
        "phase": phase,
        "contrast": contrast,
    }
    np.testing.assert_allclose(draw_gratings(spec, parameters), made.values, atol=1e-4)

    place = {"x": np.full(4, 20.3), "y": np.full(4, 11.8), "radius": np.full(4, 7.4)}
    # Here the phase is that at the centre.
    at_first = np.rad2deg(-2 * np.pi * cycles) * (
        20.3 * np.sin(np.deg2rad(turn)) + 11.8 * np.cos(np.deg2rad(turn))
    )
    windowed = stimuli.make_gratings(
        turn, cycles, phase + at_first, height=30, width=44, channel=2, mean=110.0,
        contrast=contrast, center=(20.3, 11.8), radius=7.4,
    )  # fmt: skip
    drawn = draw_gratings(spec, parameters | place)
    np.testing.assert_allclose(drawn, windowed.values, atol=1e-4)


def test_a_plaid_is_the_sum_of_its_gratings_and_a_surround_leaves_the_centre_alone():
    spec = StimulusSpec(1, 32, 40, 100.0, 50.0)
    base = {"orientation": np.array([20.0]), "spatial_frequency": np.array([0.1])}
    base |= {"x": np.array([18.0]), "y": np.array([15.0]), "contrast": np.array([0.3])}
    mask = {"mask_orientation": np.array([70.0]), "mask_contrast": np.array([0.4])}
    plaid = draw_gratings(spec, base | mask | {"mask_phase": np.array([90.0])})
    other = base | {"orientation": np.array([90.0]), "contrast": np.array([0.4])}
    alone = draw_gratings(spec, base), draw_gratings(spec, other | {"phase": np.array([90.0])})
    np.testing.assert_allclose(plaid, alone[0] + alone[1] - 100, atol=1e-4)

    rings = {"radius": np.array([5.0]), "surround_radius": np.array([12.0])}
    rings |= {"surround_contrast": np.array([0.6]), "surround_orientation": np.array([90.0])}
    both = draw_gratings(spec, base | rings)[0, 0]
    distance = np.hypot(*np.meshgrid(np.arange(40) - 18, np.arange(32) - 15))
    center = draw_gratings(spec, base)[0, 0]
    turned = base | {"orientation": np.array([110.0]), "contrast": np.array([0.6])}
    around = draw_gratings(spec, turned)[0, 0]
    np.testing.assert_allclose(both[distance < 4.5], center[distance < 4.5], atol=1e-4)
    ring = (distance > 5.5) & (distance < 11.5)
    np.testing.assert_allclose(both[ring], around[ring], atol=1e-4)
    np.testing.assert_allclose(both[distance > 12.5], 100)


def test_drawn_videos_drift_as_those_of_the_stimulus_room():
    spec = StimulusSpec(1, 20, 24, 110.0, 50.0, frame_rate=30.0)
    direction = np.array([0.0, 75.0, 210.0])
    made = stimuli.make_drifting_gratings(
        direction, 0.1, temporal_frequency_hz=[2.0, 4.0, 7.0], n_frame=12, frame_rate_hz=30.0,
        height=20, width=24, mean=110.0, contrast=0.7,
    )  # fmt: skip
    parameters = {
        "orientation": direction - 90,
        "spatial_frequency": np.full(3, 0.1),
        "temporal_frequency": np.array([2.0, 4.0, 7.0]),
        "contrast": np.full(3, 0.7),
    }
    np.testing.assert_allclose(draw_gratings(spec, parameters, n_frame=12), made, atol=1e-4)


# The engine


def test_a_joint_grid_holds_the_rates_of_each_stimulus(closed_form):
    twin = closed_form.condition()
    turns, cycles, phases = [0.0, 60.0, 100.0], [0.08, 0.12], [0.0, 90.0, 180.0, 270.0]
    result = insilico.measure_tuning(
        twin,
        [4, 0],
        axes={"orientation": turns, "spatial_frequency": cycles, "phase": phases},
        fixed={"contrast": 0.5},
        batch_size=5,
    )
    assert result.response.dims == ("neuron", "orientation", "spatial_frequency", "phase")
    images = stimuli.make_grating_grid(
        turns, cycles, phases, height=20, width=24, mean=110.0, contrast=0.5
    )
    with torch.inference_mode():
        rates = twin.neurons([4, 0])(torch.as_tensor(images.values)).T.reshape(2, 3, 2, 4)
    np.testing.assert_allclose(result.response, rates, rtol=1e-3, atol=1e-4)


def test_averages_over_phase_are_those_of_the_grating_experiment(closed_form):
    twin = closed_form.condition()
    old = insilico.measure_orientation_tuning(twin, n_orientation=6, n_spatial_frequency=3)
    new = insilico.measure_tuning(
        twin,
        axes={"orientation": old.orientation, "spatial_frequency": old.spatial_frequency},
        n_phase=8,
    )
    np.testing.assert_allclose(new.response, old.response.mean("phase"), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(new.blank_response, old.blank_response, rtol=1e-6)
    spectrum = 2 * np.abs(np.fft.fft(old.response.values, axis=3)[..., 1]) / 8
    np.testing.assert_allclose(new.modulation, spectrum, rtol=1e-3, atol=1e-3)


def test_stimuli_of_each_neurons_own_are_those_that_all_would_see(closed_form):
    twin = closed_form.condition()
    shared = {"orientation": 60.0, "spatial_frequency": 0.1, "x": 11.0, "y": 9.0}
    axes = {"radius": [2.0, 5.0], "contrast": [0.2, 0.4, 0.8]}
    alike = insilico.measure_tuning(twin, axes=axes, fixed=shared)
    own = {name: np.full(5, value) for name, value in shared.items()}
    each = insilico.measure_tuning(twin, axes=axes, fixed=own, batch_size=12)
    xr.testing.assert_allclose(alike, each, rtol=1e-4, atol=1e-5)


def test_results_are_saved_and_read_back_identical(closed_form, tmp_path):
    twin = closed_form.condition()
    for name in ("size_tuning", "cross_orientation_tuning"):
        result = insilico.EXPERIMENTS[name](twin, [0, 1])
        assert result.attrs["experiment"] == name
        xr.testing.assert_identical(open_result(save_result(result, tmp_path / "r.nc")), result)


def test_axes_of_named_experiments_are_where_they_are_asked_to_be(closed_form):
    twin = closed_form.condition()
    size = insilico.EXPERIMENTS["size_tuning"](twin, [0], n_point=3, low=2.0, high=8.0)
    np.testing.assert_allclose(size.radius, [2, 4, 8])
    turns = insilico.EXPERIMENTS["orientation_tuning"](twin, [0], n_point=4)
    np.testing.assert_allclose(turns.orientation, [0, 45, 90, 135])
    contrast = insilico.EXPERIMENTS["contrast_tuning"](twin, [0], n_point=4, low=0.1, contrast=0.4)
    np.testing.assert_allclose(contrast.contrast, [0, 0.1, 0.2, 0.4])
    # Where apertures leave the screen is said: (11, 9) in 24 x 20 pixels, about.
    assert float(size.radius_on_screen[0]) == pytest.approx(9.5, abs=1)


def test_neurons_that_nothing_moves_are_kept_and_marked(closed_form):
    twin = closed_form.condition()
    for name in ("orientation_tuning", "size_tuning", "contrast_tuning"):
        result = insilico.EXPERIMENTS[name](twin)
        assert result.valid.values.tolist() == [1, 1, 0, 0, 1]
        skip = {"valid", "blank_response", "response", "evoked", "modulation"}
        for key in set(result.data_vars) - skip:
            assert np.isnan(result[key].values[2:4]).all() or key.startswith("center"), key


def test_frequencies_above_nyquist_are_shown_marked_and_warned_of(closed_form):
    axes = {"spatial_frequency": [0.1, 0.4, 0.6], "orientation": [60.0]}
    with pytest.warns(UserWarning, match="1 of 3 values of `spatial_frequency` are above Nyquist"):
        result = insilico.measure_tuning(closed_form.condition(), [0, 1], axes=axes)
    assert result.aliased.values.tolist() == [0, 0, 1]
    assert np.isfinite(result.evoked).all()
    # 0.6 cycles per pixel along y look like 0.4.
    axes = {"spatial_frequency": [0.4, 0.6], "orientation": [0.0]}
    with pytest.warns(UserWarning, match="above Nyquist"):
        alias = insilico.measure_tuning(closed_form.condition(), [1], axes=axes).evoked
    np.testing.assert_allclose(alias[0, 0], alias[0, 1], rtol=1e-3)


def test_own_values_are_taken_from_results_in_any_order(population, preferences):
    axes = {"contrast": [0.2, 0.8]}
    given = preferences.isel(neuron=slice(None, None, -1))
    result = insilico.measure_tuning(population, [3, 8], axes=axes, preferences=given)
    np.testing.assert_array_equal(
        result.preferred_orientation, preferences.preferred_orientation[[3, 8]]
    )
    with pytest.raises(
        InputError, match="given as preferences lacks 1 of the . neurons asked about"
    ):
        insilico.measure_tuning(
            population, [3, 8], axes=axes, preferences=preferences.isel(neuron=[3])
        )


def test_wrong_requests_are_told_what_is_right(closed_form):
    twin = closed_form.condition()
    wrong = [
        ({}, {}, "`axes` must name 1 to 3 of orientation"),
        ({"angle": [1.0]}, {}, "`axes` has 'angle'; known: orientation"),
        ({"contrast": []}, {}, "must be a list of one or more finite numbers"),
        ({"contrast": [np.nan]}, {}, "must be a list of one or more finite numbers"),
        ({"contrast": [1.4]}, {}, "leave the range of grey levels, 0 to 255"),
        ({"contrast": [-0.4]}, {}, "`contrast` must be at least 0, but got -0.4"),
        ({"mask_contrast": [0.5]}, {}, "Contrasts .* of 1.3 about the mean"),
        ({"radius": [50.0]}, {}, "`radius` goes up to 50 px, more than the 31.24 px across"),
        ({"direction": [0.0]}, {}, "`direction` needs a twin of videos"),
        ({"contrast": [0.5]}, {"direction": "own"}, "`direction` needs a twin of videos"),
        ({"contrast": [0.5]}, {"phase": "own"}, "`phase` is 'own', but must be a number"),
        ({"contrast": [0.5]}, {"blur": 1.0}, "A grating has no parameter 'blur'"),
    ]
    for axes, fixed, message in wrong:
        with pytest.raises(InputError, match=message):
            insilico.measure_tuning(twin, axes=axes, fixed=fixed)
    size = insilico.EXPERIMENTS["size_tuning"]
    with pytest.raises(InputError, match="`n_point`, the number of values of `radius`"):
        size(twin, n_point=2)
    with pytest.raises(InputError, match="limits of `radius`, must satisfy 0 < low < high"):
        size(twin, low=8.0, high=2.0)
    with pytest.raises(InputError, match="needs a twin of videos"):
        insilico.EXPERIMENTS["direction_tuning"](twin)
    with pytest.raises(InputError, match="at least 3 orientations, 3 phases"):
        insilico.measure_preferences(twin, n_phase=2)


def test_progress_reaches_the_listener_and_grows(closed_form):
    heard = []
    job = Job(lambda job: heard.append(job.fraction), interval=0)
    insilico.EXPERIMENTS["size_tuning"](closed_form.condition(), job=job)
    assert heard == sorted(heard)
    assert heard[-1] > 0.85


def test_members_of_an_ensemble_give_the_intervals(closed_form, population):
    def energies(turn):
        pair = quadrature(turn, 0.12)
        return PlantedTwin(lambda images: energy(images, pair)[:, None], 1)

    members = [energies(turn) for turn in (28.0, 30.0, 33.0)]
    twin = EnsembleTwin(members).condition()
    result = insilico.EXPERIMENTS["orientation_tuning"](twin)
    own = [insilico.EXPERIMENTS["orientation_tuning"](m.condition()) for m in members]
    np.testing.assert_allclose(
        result.evoked_of_member, np.stack([one.evoked for one in own]), rtol=1e-4, atol=1e-4
    )
    low, high = result.osi_interval.values[0]
    # Each resampling is of members whose tuning is as sharp, or blurred by turning.
    assert low < float(result.osi[0]) < high
    assert high <= max(float(one.osi[0]) for one in own) + 1e-3
    assert "evoked_of_member" not in own[0]
    assert "osi_interval" not in own[0]


# Known answers


def test_simple_and_complex_cells_are_told_apart_and_their_preference_found(closed_form):
    twin = closed_form.condition()
    tuning = insilico.EXPERIMENTS["orientation_tuning"](twin)
    phase = insilico.EXPERIMENTS["phase_tuning"](twin)
    for neuron in (0, 1, 4):
        truth = closed_form.truth["orientation"][neuron]
        assert angle_between(tuning.preferred_orientation[neuron], truth) < 180 / 16
        assert angle_between(tuning.fit_peak[neuron], truth) < 180 / 16
    for result in (tuning, phase):
        assert float(result.f1_f0[0]) > 1
        assert float(result.f1_f0[[1, 4]].max()) < 0.1
    flat = phase.curve[[1, 4]]
    assert float((flat.max("phase") / flat.min("phase")).max()) < 1.1
    assert float(phase.curve[0].min()) < 0.1 * float(phase.curve[0].max())


def test_size_tuning_of_a_center_and_surround_is_that_of_the_closed_form():
    x, y = np.meshgrid(np.arange(81) - 40.0, np.arange(81) - 40.0)
    spec = StimulusSpec(1, 81, 81, 100.0, 50.0, 0.0, 200.0)

    def disc(sigma, r):
        return 1 - np.exp(-(r**2) / (2 * sigma**2))

    fields = {s: np.exp(-(x**2 + y**2) / (2 * s**2)) / (2 * np.pi * s**2) for s in (3.0, 8.0)}
    field = torch.as_tensor(fields[3.0] - 0.7 * fields[8.0], dtype=torch.float32)
    twin = PlantedTwin(
        lambda images: torch.einsum("bij,ij->b", images, field).clamp(min=0)[:, None], 1, spec
    )
    radius = np.geomspace(1, 36, 40)
    result = insilico.measure_tuning(
        twin.condition(),
        axes={"radius": radius},
        # A grating of no frequency is a disc of light.
        fixed={"spatial_frequency": 0.0, "orientation": 0.0, "phase": 0.0, "x": 40.0, "y": 40.0},
    )
    truth = 0.8 * (disc(3.0, radius) - 0.7 * disc(8.0, radius))
    np.testing.assert_allclose(result.response[0], truth, atol=0.01)
    index = insilico.suppression_index(result.evoked.values)[0]
    assert index == pytest.approx(1 - truth[-1] / truth.max(), abs=0.01)


def normalization_twin(strength):
    """Energy divided by a constant and `strength` times the energy of all orientations."""
    pool = [quadrature(30.0 + turn, 0.12) for turn in (0.0, 45.0, 90.0, 135.0)]

    def rate(images):
        every = torch.stack([energy(images, pair) for pair in pool], 1)
        return every[:, :1] / (4.0 + strength * every.mean(1, keepdim=True))

    return PlantedTwin(rate, 1)


def test_divisive_normalization_gives_naka_rushton_and_its_absence_does_not():
    asked = {"contrast": np.concatenate([[0], np.geomspace(0.02, 0.8, 11)])}
    fixed = {name: OWN[name] for name in ("orientation", "spatial_frequency")}
    with torch.inference_mode():
        full = draw_gratings(
            SPEC, {k: np.array([v]) for k, v in (OWN | {"contrast": 1.0}).items()}
        )
        seen = (full[:, 0] - 100) / 100
        pool = np.mean([float(energy(seen, quadrature(30.0 + t, 0.12))) for t in (0, 45, 90, 135)])
    for strength, contrasts in ((1.0, True), (0.0, False)):
        twin = normalization_twin(strength).condition()
        result = insilico.measure_tuning(twin, axes=asked, fixed=fixed)
        fit = insilico.fit_curve("naka_rushton", asked["contrast"], result.evoked.values)
        assert fit["exponent"][0] == pytest.approx(2, abs=0.02)
        if contrasts:  # R = E c^2 / (4 + P c^2): half of it at c = 2 / sqrt(P)
            assert fit["c50"][0] == pytest.approx(2 / np.sqrt(pool), rel=0.02)
            assert fit["r2"][0] > 0.9999
        else:  # c^2 alone does not saturate
            assert fit["c50"][0] > 2


def test_a_mask_suppresses_where_there_is_a_pool_and_not_without_it():
    given = xr.Dataset(
        {
            "preferred_orientation": ("neuron", [30.0]),
            "preferred_spatial_frequency": ("neuron", [0.12]),
        },
        {"neuron_id": ("neuron", [0]), "session": ("neuron", ["planted"])},
    )
    masked = insilico.EXPERIMENTS["cross_orientation_tuning"]
    found = [
        masked(normalization_twin(strength).condition(), preferences=given)
        for strength in (1.0, 0.0)
    ]
    found = [float(one.cross_orientation_suppression[0]) for one in found]
    assert found[0] > 0.3
    assert found[1] == pytest.approx(0, abs=0.01)


def test_preferences_of_a_simulated_population_are_the_planted_ones(population, preferences):
    truth = population.labels
    off = np.hypot(preferences.center_x - truth.true_x, preferences.center_y - truth.true_y)
    assert float(off.max()) < 1.0
    turned = angle_between(preferences.preferred_orientation, truth.true_orientation)
    assert np.max(turned) < 180 / 16
    ratio = preferences.preferred_spatial_frequency / truth.true_spatial_frequency
    assert 0.69 < float(ratio.min()) < float(ratio.max()) < 1.45  # a step of the grid


def test_surround_suppressed_cells_are_found_among_the_others(population, preferences):
    size = insilico.EXPERIMENTS["size_tuning"](population, preferences=preferences)
    kind = population.labels.true_type.values
    assert auc(size.suppression_index.values, kind == "surround") >= 0.9
    around = insilico.EXPERIMENTS["surround_tuning"](population, preferences=preferences)
    contrast = around.orientation_contrast_index.values
    assert auc(contrast, kind == "surround") >= 0.9


def test_cross_suppressed_cells_are_found_among_the_others(population, preferences):
    masked = insilico.EXPERIMENTS["cross_orientation_tuning"](population, preferences=preferences)
    kind = population.labels.true_type.values
    index = masked.cross_orientation_suppression.values
    assert auc(index, kind == "normalized") >= 0.9
    assert np.abs(index[np.isin(kind, ("simple", "complex"))]).max() < 0.1


def test_contrast_response_of_simulated_cells_is_that_of_their_kind(population, preferences):
    contrast = insilico.EXPERIMENTS["contrast_tuning"](population, preferences=preferences)
    kind = population.labels.true_type.values
    normalized = np.isin(kind, ("normalized", "surround"))  # c^2 / (a + b c^2), both
    np.testing.assert_allclose(contrast.fit_exponent[normalized], 2, atol=0.02)
    assert float(contrast.fit_r2[normalized].min()) > 0.9999
    assert np.isfinite(contrast.c50[normalized]).all()
    assert np.isnan(contrast.c50[kind == "simple"]).all()  # grows to the end: no half saturation


def test_places_and_frequencies_of_simulated_cells_are_found(population):
    place = insilico.EXPERIMENTS["position_tuning"](population)
    truth = population.labels
    off = np.hypot(place.center_x - truth.true_x, place.center_y - truth.true_y)
    assert float(off.max()) < 1.0
    frequency = insilico.EXPERIMENTS["spatial_frequency_tuning"](population)
    single = np.isin(truth.true_type.values, ("simple", "complex"))
    ratio = (frequency.preferred_spatial_frequency / truth.true_spatial_frequency)[single]
    assert 0.76 < float(ratio.min()) < float(ratio.max()) < 1.31  # a step of the grid


def test_direction_and_temporal_frequency_of_simulated_video_cells_are_found():
    cortex = SimulatedVideoCortex(seed=0, n_neuron=20, height=24, width=32)
    twin = cortex.as_twin().condition()
    truth = twin.labels
    selective = np.isfinite(truth.true_direction.values)
    preferences = insilico.measure_preferences(twin, radius=False)
    off = angle_between(preferences.preferred_direction, truth.true_direction, 360.0)
    assert off[selective].max() < 360 / 16
    direction = insilico.EXPERIMENTS["direction_tuning"](twin)
    off = angle_between(direction.preferred_direction, truth.true_direction, 360.0)
    assert off[selective].max() <= 360 / 16
    assert direction.dsi.values[selective].min() > direction.dsi.values[~selective].max()
    assert direction.dsi.values[~selective].max() < 0.05
    speed = insilico.EXPERIMENTS["temporal_frequency_tuning"](twin, preferences=preferences)
    ratio = speed.preferred_temporal_frequency / truth.true_temporal_frequency
    assert np.median(np.abs(np.log2(ratio))) < 0.5
    simple = truth.true_type.values == "simple"
    assert float(direction.f1_f0[simple].min()) > 1
    assert float(direction.f1_f0[truth.true_type.values == "complex"].max()) < 0.1
