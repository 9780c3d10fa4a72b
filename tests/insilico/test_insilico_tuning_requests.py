"""What is asked of tuning experiments is shown as asked, or refused in one line."""

import warnings

import numpy as np
import pytest
import torch
from planted_tuning import PlantedTwin, energy, quadrature

from twinlab import insilico
from twinlab.schema import InputError
from twinlab.twins import EnsembleTwin, StimulusSpec

PAIR = quadrature(30.0, 0.12)
ONE = {"orientation": 30.0, "spatial_frequency": 0.12}


def video_spec(rate):
    return StimulusSpec(1, 41, 41, 100.0, 50.0, 0.0, 200.0, frame_rate=rate)


def simple(images, pair=PAIR):
    return torch.einsum("b...ij,ij->b...", images, pair[0]).clamp(min=0)[:, None]


def both(images):
    """A simple and a complex cell, of images or of each frame."""
    complex_ = torch.einsum("b...ij,pij->b...p", images, PAIR).square().sum(-1)[:, None]
    return torch.cat([simple(images), complex_], 1)


@pytest.fixture(scope="module")
def still():
    return PlantedTwin(both, 2).condition()


@pytest.fixture(scope="module")
def moving():
    return PlantedTwin(both, 2, video_spec(30.0)).condition()


def test_phase_tuning_of_videos_is_that_of_images(still, moving):
    asked = {"contrast": 0.5}
    images = insilico.EXPERIMENTS["phase_tuning"](still, **asked)
    videos = insilico.EXPERIMENTS["phase_tuning"](moving, duration_s=0.2, **asked)
    assert videos.valid.values.tolist() == [1, 1]
    np.testing.assert_allclose(videos.f1_f0, images.f1_f0, atol=0.02)
    assert float(videos.f1_f0[0]) > 1.5
    assert float(videos.f1_f0[1]) < 0.1
    turned = videos.preferred_phase[0] - images.preferred_phase[0]
    assert abs((float(turned) + 180) % 360 - 180) < 5
    # A grating at rest has no harmonic over time.
    assert np.isnan(videos.modulation).all()
    # What is said is kept to, and a direction asked for drifts.
    fixed = ONE | {"x": 20.0, "y": 20.0}
    with pytest.raises(InputError, match="`phase` cannot be an axis of gratings that drift"):
        insilico.measure_tuning(
            moving, axes={"phase": [0.0, 90.0]}, fixed=fixed | {"temporal_frequency": 4.0}
        )
    drifts = insilico.measure_tuning(
        moving,
        axes={"direction": [120.0]},
        fixed={"phase": 0.0, "spatial_frequency": 0.12},
    )
    assert float(drifts.modulation[0, 0]) > 0.1


def test_modulation_by_phase_is_of_the_rate_in_every_experiment():
    def lifted(images):
        return 3 + torch.einsum("bij,ij->b", images, PAIR[0])[:, None]

    twin = PlantedTwin(lifted, 1).condition()
    phase = insilico.EXPERIMENTS["phase_tuning"](twin)
    turns = insilico.EXPERIMENTS["orientation_tuning"](twin)
    # F1 of a + b cos is b; the mean of what is above a, b / pi.
    assert float(phase.f1_f0[0]) == pytest.approx(np.pi, rel=0.05)
    assert float(phase.f1_f0[0]) == pytest.approx(float(turns.f1_f0[0]), rel=0.05)


def test_frequencies_above_nyquist_are_marked_wherever_they_are_said(still):
    def measure(twin=still, **asked):
        return insilico.measure_tuning(twin, [0, 1], axes={"contrast": [0.2, 0.8]}, **asked)

    with pytest.warns(UserWarning, match="1 of 1 values of `spatial_frequency` are above Nyquist"):
        result = measure(fixed=ONE | {"spatial_frequency": 0.8})
    assert int(result.aliased) == 1
    with pytest.warns(UserWarning, match="1 of 2 values of `spatial_frequency`"):
        result = measure(fixed=ONE | {"spatial_frequency": np.array([0.1, 0.8])})
    assert result.aliased.dims == ("neuron",)
    assert result.aliased.values.tolist() == [0, 1]
    with pytest.warns(UserWarning, match="values of `spatial_frequency` are above"):
        result = measure(
            fixed={"orientation": 30.0}, average={"spatial_frequency": [0.1, 0.2, 0.7]}
        )
    assert int(result.aliased) == 1
    slow = PlantedTwin(both, 2, video_spec(6.0)).condition()
    with pytest.warns(UserWarning, match="`temporal_frequency` are above Nyquist"):
        assert int(measure(slow, fixed=ONE | {"temporal_frequency": 4.0}).aliased_in_time) == 1
    with warnings.catch_warnings():  # the drift that nobody asked for is one that is seen
        warnings.simplefilter("error")
        assert "aliased_in_time" not in measure(slow, fixed=ONE)


def test_directions_are_told_apart_by_a_twin_of_few_frames():
    def motion(images):
        """Turns from one part of a quadrature pair to the other in a frame, one way round."""
        drive = torch.einsum("bfij,pij->bfp", images, PAIR)
        past = torch.cat([drive[:, :1], drive[:, :-1]], 1)
        turn = past[..., 0] * drive[..., 1] - past[..., 1] * drive[..., 0]
        return turn.clamp(min=0)[:, None]

    found = []
    for rate in (6.0, 30.0):
        twin = PlantedTwin(motion, 1, video_spec(rate)).condition()
        found.append(insilico.measure_preferences(twin, radius=False))
    # At 6 frames a second 4 Hz would look like 2 Hz the other way.
    np.testing.assert_allclose(found[0].preferred_direction, found[1].preferred_direction, atol=5)


def test_an_ensemble_keeps_its_members_where_no_neuron_is_known():
    def dead_but_one(images):
        one = energy(images, PAIR)[:, None]
        return torch.cat([one, torch.zeros_like(one)], 1)

    twin = EnsembleTwin([PlantedTwin(dead_but_one, 2) for _ in range(2)]).condition()
    size = insilico.EXPERIMENTS["size_tuning"]
    alive, dead = (size(twin, [neuron], n_point=4) for neuron in (0, 1))
    assert dead.valid.values.tolist() == [0]
    assert set(dead.variables) == set(alive.variables)
    for name in ("evoked_of_member", "suppression_index_interval"):
        assert dead[name].dims == alive[name].dims
        assert np.isnan(dead[name]).all()


def test_preferences_are_measured_at_a_contrast_that_can_be_shown():
    bright = StimulusSpec(1, 41, 41, 160.0, 50.0, 0.0, 255.0)
    twin = PlantedTwin(both, 2, bright).condition()
    result = insilico.EXPERIMENTS["size_tuning"](twin, [0], contrast=0.5, n_point=4)
    assert result.valid.values.tolist() == [1]
    assert float(result.preferred_orientation[0]) == pytest.approx(30, abs=5)


def test_settings_that_would_have_no_effect_are_refused(still, moving):
    wrong = [
        (moving, {"orientation": [0.0, 90.0]}, {"direction": 0.0}, "same thing"),
        (still, {"orientation": [0.0, 90.0]}, {"orientation": 0.0}, "said twice"),
        (still, {"mask_orientation": [0.0, 90.0]}, {}, "needs a `mask_contrast`"),
        (still, {"mask_phase": [0.0, 90.0]}, {"mask_contrast": 0.0}, "needs a `mask_contrast`"),
        (still, {"surround_orientation": [0.0]}, {"radius": 5.0}, "needs a `surround_contrast`"),
        (still, {"surround_radius": [9.0]}, {"radius": 5.0}, "needs a `surround_contrast`"),
        (still, {"surround_contrast": [0.0, 0.8]}, {}, "needs a finite `radius`"),
        (still, {"contrast": [0.5]}, {"surround_contrast": 0.8}, "needs a finite `radius`"),
        (
            still,
            {"contrast": [0.5]},
            {"surround_contrast": 0.8, "radius": np.inf},
            "needs a finite `radius`",
        ),
        (still, {"x": [10.0, 20.0]}, {}, "`x` needs a finite `radius`"),
    ]
    for twin, axes, fixed, message in wrong:
        with pytest.raises(InputError, match=message):
            insilico.measure_tuning(twin, axes=axes, fixed=fixed)
    with pytest.raises(InputError, match="`phase` is said twice"):
        insilico.measure_tuning(still, axes={"phase": [0.0, 90.0]}, average={"phase": [0.0, 90.0]})
    around = {"surround_contrast": 0.0, "mask_contrast": 0.0, "mask_orientation": 90.0}
    insilico.measure_tuning(still, axes={"contrast": [0.5]}, fixed=ONE | around)


def test_fixed_and_averaged_values_fit_the_neurons_or_are_refused(still):
    def measure(fixed, neurons=None, average=None):
        axes = {"radius": [5.0, 9.0]}
        fixed = ONE | {"x": 20.0, "y": 20.0} | fixed
        return insilico.measure_tuning(still, neurons, axes=axes, fixed=fixed, average=average)

    for value in (np.zeros(3), [1.0], [[1.0, 2.0]], "left", ["a", "b"], {}):
        with pytest.raises(InputError, match="`x` .* must be a number"):
            measure({"x": value})
    for values in (0.0, [], ["a"], [np.nan]):
        with pytest.raises(InputError, match="`phase` must be a list of one or more finite"):
            measure({}, average={"phase": values})
    listed, array = measure({"x": [19.0, 22.0]}), measure({"x": np.array([19.0, 22.0])})
    np.testing.assert_array_equal(listed.response, array.response)
    assert listed.attrs["settings"] == array.attrs["settings"]
    # A full field is a size like any other.
    wide = insilico.measure_tuning(
        still,
        axes={"contrast": [0.5]},
        fixed=ONE | {"x": 20.0, "y": 20.0, "radius": [np.inf, 9.0]},
    )
    assert wide.valid.values.tolist() == [1, 1]


def test_circles_are_whole(still):
    turns = insilico.EXPERIMENTS["orientation_tuning"]
    for asked in ({"high": 90.0}, {"low": -90.0, "high": 180.0}):
        with pytest.raises(InputError, match="`orientation` must go once around, 180 deg"):
            turns(still, [0], **asked)
    with pytest.raises(InputError, match="go once around, 360 deg"):
        insilico.EXPERIMENTS["phase_tuning"](still, [0], high=180.0)
    for asked in ({"low": -90.0}, {"low": 10.0, "high": 190.0}):
        result = turns(still, [0], **asked)
        assert float(result.fine_orientation[0]) == asked["low"]
        assert np.ptp(result.fine_orientation.values) == pytest.approx(180)
        assert float(result.preferred_orientation[0]) == pytest.approx(30, abs=3)
    around = insilico.EXPERIMENTS["surround_tuning"]
    for asked in ({"n_point": 5}, {"low": 10.0}):
        with pytest.raises(InputError, match="`surround_orientation` must hold 0 and 90 deg"):
            around(still, [0], **asked)
    assert around(still, [0], n_point=4).sizes["surround_orientation"] == 4
    with pytest.raises(InputError, match="whole circle"):
        insilico.orientation_index(np.ones(5), np.arange(5) * 22.5)


def test_the_map_of_places_documents_what_it_holds(still):
    position = insilico.EXPERIMENTS["position_tuning"]
    result = position(still, [0])
    said = position.__doc__.split("Returns")[1].split("Raises")[0]
    assert "`curve`" not in said
    for name in ("center_x", "center_y", "fit_size_x", "fit_r2"):
        assert (f"`{name}`" in said) == (name in result), name
    assert "fit_center" not in said
