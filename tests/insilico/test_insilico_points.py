import numpy as np
import pytest
import torch

from twinlab import insilico, stimuli
from twinlab.schema import InputError
from twinlab.simulation import SimulatedCortex


@pytest.fixture(scope="module")
def twin(cortex):
    return cortex.as_twin().condition()


def rate_at(twin, one, neuron, values):
    """Evoked response to the very stimuli of one point, phases and all."""
    shown = insilico.grating_at(one, values)
    phases = np.arange(0, 360, 72.0)
    images = [insilico.draw_grating(twin.spec, shown | {"phase": phase}) for phase in phases]
    with torch.no_grad():
        rates = twin(torch.as_tensor(np.stack(images)))[:, neuron].numpy()
    return np.maximum(rates - float(one.blank_response), 0).mean()


@pytest.mark.parametrize("name", ["size", "contrast", "cross_orientation", "surround"])
def test_the_stimulus_of_a_point_evokes_what_the_curve_says(twin, name):
    result = insilico.EXPERIMENTS[f"{name}_tuning"](twin, [3])
    one = result.isel(neuron=0)
    main = one.curve.dims[0]
    at = insilico.curve_settings(one)
    for number in (1, -1):
        value = float(one[main][number])
        found = rate_at(twin, one, 3, {main: value} | at)
        assert found == pytest.approx(float(one.curve[number]), rel=1e-3, abs=1e-4)


def test_a_curve_is_taken_where_the_other_axis_evokes_most(twin):
    one = insilico.EXPERIMENTS["orientation_tuning"](twin, [3]).isel(neuron=0)
    at = insilico.curve_settings(one)
    np.testing.assert_allclose(one.evoked.sel(at), one.curve)
    assert insilico.curve_settings(one.assign(evoked=0 * one.evoked)) == {}


def test_a_stimulus_that_is_not_defined_is_refused(twin):
    one = insilico.EXPERIMENTS["size_tuning"](twin, [3]).isel(neuron=0)
    lost = one.assign(preferred_orientation=np.nan)
    with pytest.raises(InputError, match="`orientation` that this neuron was shown is not"):
        insilico.grating_at(lost, {"radius": 4.0})
    listed = insilico.measure_tuning(
        twin, [3, 4], axes={"contrast": [0.1, 0.4]}, fixed={"orientation": [10.0, 20.0]}
    )
    with pytest.raises(InputError, match="`orientation` that this neuron was shown is not"):
        insilico.grating_at(listed.isel(neuron=0), {"contrast": 0.1})


def test_values_of_an_axis_are_those_of_its_protocol(twin):
    size = insilico.EXPERIMENTS["size_tuning"](twin, [3], n_point=5, low=2.0, high=20.0)
    values = insilico.axis_values(twin.spec, "radius", n_point=5, low=2.0, high=20.0)
    np.testing.assert_allclose(values, size.radius)
    frequency = insilico.EXPERIMENTS["spatial_frequency_tuning"](twin, [3]).spatial_frequency
    np.testing.assert_allclose(insilico.axis_values(twin.spec, "spatial_frequency"), frequency)
    with pytest.raises(InputError, match="No protocol varies 'hue'; they vary contrast"):
        insilico.axis_values(twin.spec, "hue")
    with pytest.raises(InputError, match="must satisfy 0 < low < high"):
        insilico.axis_values(twin.spec, "radius", low=5.0, high=2.0)


@pytest.fixture(scope="module")
def shown():
    """Gratings of four orientations and a blank, shown ten times, and what is known of them."""
    cortex = SimulatedCortex(seed=1, n_neuron=12)
    spec = cortex.as_twin().spec
    canvas = {"height": spec.height, "width": spec.width, "mean": spec.mean}
    gratings = stimuli.make_gratings([0, 45, 90, 135], 0.1, contrast=0.8, **canvas).values
    blank = np.full((1, *spec.shape), spec.mean, np.float32)
    order = np.tile(np.arange(5), 10)
    recording = cortex.show(np.concatenate([gratings, blank]), order)
    units = {"units": "deg"}
    angle = ("image", [0.0, 45.0, 90.0, 135.0, np.nan], units)
    return recording.assign_coords(orientation=angle)


def test_recorded_tuning_is_the_mean_over_the_trials_of_each_value(shown):
    result = insilico.measure_recorded_tuning(shown, "orientation", [2, 7])
    assert result.orientation.values.tolist() == [0, 45, 90, 135]  # the blank has none
    response, index = shown.response.values, shown.stimulus_index.values
    for number in range(4):
        trials = response[index == number][:, [2, 7]]
        np.testing.assert_allclose(result.response[:, number], trials.mean(0), rtol=1e-5)
        np.testing.assert_allclose(
            result.standard_error[:, number], trials.std(0, ddof=1) / np.sqrt(10), rtol=1e-5
        )
    assert (result.n_trial == 10).all()


def test_missing_responses_are_left_out_of_recorded_tuning(shown):
    lost = shown.copy(deep=True)
    first = np.flatnonzero(lost.stimulus_index.values == 1)
    lost.response.values[first[:9], 2] = np.nan
    lost.response.values[lost.stimulus_index.values == 3, 2] = np.nan
    result = insilico.measure_recorded_tuning(lost, "orientation", [2]).isel(neuron=0)
    assert result.n_trial.values.tolist() == [10, 1, 10, 0]
    assert float(result.response[1]) == pytest.approx(float(shown.response[first[9], 2]))
    assert np.isnan(result.standard_error[1])
    assert np.isnan(result.response[3])


def test_a_recording_that_does_not_say_the_parameter_is_refused(shown):
    with pytest.raises(InputError, match="does not say the spatial frequency of its images"):
        insilico.measure_recorded_tuning(shown, "spatial_frequency")
    with pytest.raises(InputError, match="'hue' is no parameter of gratings"):
        insilico.measure_recorded_tuning(shown, "hue")
    radian = shown.assign_coords(orientation=shown.orientation.assign_attrs(units="rad"))
    with pytest.raises(InputError, match="orientation in rad, but tuning is in deg"):
        insilico.measure_recorded_tuning(radian, "orientation")
    none = shown.assign_coords(orientation=shown.orientation * np.nan)
    with pytest.raises(InputError, match="No trial of the recording shows"):
        insilico.measure_recorded_tuning(none, "orientation")
