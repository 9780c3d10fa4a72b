import numpy as np
import pytest

from twinlab.schema import InputError
from twinlab.simulation import draw_responses
from twinlab.simulation.behavior import (
    BEHAVIOR_SPREAD,
    BEHAVIOR_TYPICAL,
    GAZE_SPREAD,
    GAZE_TYPICAL,
    draw_states,
)
from twinlab.simulation.noise import noise_to_signal, oracle_correlation


@pytest.mark.parametrize(("noise", "dispersion"), [("poisson", 1.0), ("calcium", 1.5)])
def test_trials_have_the_rate_as_mean_and_a_variance_in_proportion(noise, dispersion):
    rate = np.tile([0.2, 1.0, 5.0], (200_000, 1))
    response = draw_responses(rate, 0, noise)
    np.testing.assert_allclose(response.mean(0), rate[0], rtol=0.02)
    np.testing.assert_allclose(response.var(0), dispersion * rate[0], rtol=0.03)
    np.testing.assert_allclose((response == 0).mean(0), np.exp(-rate[0]), atol=0.005)


def test_calcium_amplitudes_are_not_whole_numbers():
    response = draw_responses(np.ones(1000), 0, "calcium")
    assert (response[response > 0] % 1 > 0).all()
    assert response.min() == 0


def test_unknown_noise_is_refused():
    with pytest.raises(InputError, match="Unknown noise 'gamma'; `noise` must be one of"):
        draw_responses(np.ones(3), 0, "gamma")


@pytest.mark.parametrize("oracle", [0.1, 0.4, 0.8])
def test_noise_and_oracle_are_inverse(oracle):
    noise = noise_to_signal(np.array(oracle), 10)
    assert oracle_correlation(noise, 10) == pytest.approx(oracle)


def test_oracle_is_the_correlation_with_the_other_trials():
    generator = np.random.default_rng(0)
    signal = generator.standard_normal((20_000, 1))
    trials = signal + np.sqrt(3.0) * generator.standard_normal((20_000, 10))
    others = (trials.sum(1, keepdims=True) - trials) / 9
    measured = np.corrcoef(trials.ravel(), others.ravel())[0, 1]
    assert oracle_correlation(np.array(3.0), 10) == pytest.approx(measured, abs=0.01)


def test_states_have_the_stated_medians_and_spreads():
    states = draw_states(400_000, np.random.default_rng(0))
    np.testing.assert_allclose(
        np.median(states.behavior, 0), BEHAVIOR_TYPICAL, atol=0.02 * BEHAVIOR_SPREAD[0]
    )
    np.testing.assert_allclose(states.behavior.std(0), BEHAVIOR_SPREAD, rtol=0.05)
    np.testing.assert_allclose(np.median(states.pupil_center, 0), GAZE_TYPICAL, atol=0.1)
    np.testing.assert_allclose(states.pupil_center.std(0), GAZE_SPREAD, rtol=0.05)


def test_the_pupil_is_wider_while_running_and_rest_is_common():
    dilation, _, speed = draw_states(50_000, np.random.default_rng(1)).behavior.T
    assert 0.5 < (speed == 0).mean() < 0.8
    assert dilation[speed > 0].mean() > dilation[speed == 0].mean() + 5
