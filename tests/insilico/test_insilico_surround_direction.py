"""Tuning to the direction in which a surround drifts, on cells whose answer is planted."""

import numpy as np
import pytest
import torch

from twinlab import insilico, stimuli
from twinlab.insilico.grids import show_grid
from twinlab.jobs import Job
from twinlab.schema import InputError
from twinlab.twins import StimulusSpec, wrap_callable

SIZE, RADIUS, RATE = 33, 5.0, 30.0
SPEC = StimulusSpec(1, SIZE, SIZE, 100.0, 50.0, 0.0, 200.0, frame_rate=RATE)
FREQUENCY, TEMPORAL = 0.1, 4.0
MIDDLE = (SIZE - 1) / 2
SURROUND = "surround_direction_tuning"


def motion(contrast, where, direction):
    """Energy (batch, frame) of what drifts in a direction within a window.

    Of two frames a quarter cycle apart in time, as of a Reichardt detector without opponency.
    """
    y, x = np.mgrid[:SIZE, :SIZE] - MIDDLE
    heading = np.deg2rad(direction)
    along = 2 * np.pi * FREQUENCY * (x * np.cos(heading) - y * np.sin(heading))
    wave = torch.as_tensor(where * np.exp(1j * along) / where.sum(), dtype=torch.complex64)
    seen = torch.einsum("btyx,yx->bt", contrast.to(torch.complex64), wave)
    delay = 2  # frames, of which 7.5 are a cycle
    turn = np.exp(1j * 2 * np.pi * TEMPORAL / RATE * delay)
    before = torch.nn.functional.pad(seen, (delay, 0))[:, :-delay]
    return (seen + turn * before).abs().square()


def rates(videos):
    """An energy cell alone, and divided by a surround that prefers 0 or every direction."""
    contrast = (videos[:, 0] - SPEC.mean) / SPEC.mean
    y, x = np.mgrid[:SIZE, :SIZE] - MIDDLE
    distance = np.hypot(x, y)
    centre, around = distance < RADIUS - 1, distance > RADIUS + 2
    drive = motion(contrast, centre, 0.0)
    with_it, every = (
        sum(motion(contrast, around, direction) for direction in directions)
        for directions in ((0.0,), (0.0, 180.0))
    )
    return torch.stack([drive, drive / (1 + 9 * with_it), drive / (1 + 9 * every)], 1)


@pytest.fixture(scope="module")
def quiet():
    return wrap_callable(rates, SPEC, 3, name="planted").condition()


@pytest.fixture(scope="module")
def preferences(quiet):
    own = {
        "preferred_direction": 0.0, "preferred_spatial_frequency": FREQUENCY,
        "center_x": MIDDLE, "center_y": MIDDLE, "preferred_radius": RADIUS,
    }  # fmt: skip
    return quiet.labels.assign({name: ("neuron", np.full(3, one)) for name, one in own.items()})


@pytest.fixture(scope="module")
def found(quiet, preferences):
    return insilico.EXPERIMENTS[SURROUND](quiet, preferences=preferences)


def test_what_is_shown_is_the_set_of_the_stimulus_room(quiet):
    angles = np.array([0.0, 90.0, 180.0])
    fixed = {
        "direction": 30.0, "spatial_frequency": FREQUENCY, "temporal_frequency": TEMPORAL,
        "x": MIDDLE, "y": MIDDLE, "radius": RADIUS, "surround_contrast": 0.8,
    }  # fmt: skip
    found = show_grid(
        quiet, np.arange(3), {"surround_direction": angles}, average={}, fixed=fixed,
        duration_s=0.5, batch_size=256, job=Job(),
    )  # fmt: skip
    made = stimuli.make_drifting_center_surrounds(
        30, 30 + angles, FREQUENCY, temporal_frequency_hz=TEMPORAL, radius=RADIUS,
        contrast=0.8, phase=_at_first_pixel(30), surround_phase=_at_first_pixel(30 + angles),
        n_frame=30, frame_rate_hz=RATE, height=SIZE, width=SIZE, mean=SPEC.mean,
    )  # fmt: skip
    with torch.inference_mode():
        expected = quiet(torch.as_tensor(made.values))[..., 15:].mean(-1).numpy().T
    np.testing.assert_allclose(found.response[0], expected, rtol=1e-3)


def _at_first_pixel(direction):
    """Phase there of a grating whose phase is 0 at the middle."""
    turn = np.deg2rad(np.asarray(direction) - 90)
    return -360 * FREQUENCY * MIDDLE * (np.sin(turn) + np.cos(turn))


def test_a_surround_suppresses_in_the_direction_it_prefers(found, quiet):
    alone, selective, every = found.curve.values
    assert found.sizes["surround_direction"] == 8
    np.testing.assert_allclose(alone, alone[0], rtol=0.02)
    assert selective.argmin() == 0
    assert selective[0] < 0.5 * selective[4]
    assert every[[0, 4]].max() < 0.5 * every[[2, 6]].min()
    index = found.direction_contrast_index.values
    shown = stimuli.make_drifting_center_surrounds(
        0, [0, 180], FREQUENCY, temporal_frequency_hz=TEMPORAL, radius=RADIUS, contrast=0.8,
        n_frame=45, frame_rate_hz=RATE, height=SIZE, width=SIZE, mean=SPEC.mean,
    )  # fmt: skip
    with torch.inference_mode():
        same, opposite = quiet(torch.as_tensor(shown.values))[:, 1, 15:].mean(1).numpy()
    assert index[1] == pytest.approx((opposite - same) / (opposite + same), abs=1e-3)
    np.testing.assert_allclose(index[[0, 2]], 0, atol=0.02)
    assert index[1] > 0.4


def test_the_index_needs_both_directions_and_a_twin_that_sees_motion(quiet, preferences):
    around = insilico.EXPERIMENTS[SURROUND]
    with pytest.raises(InputError, match="`surround_direction` must hold 0 and 180 deg"):
        around(quiet, [0], n_point=5, preferences=preferences)
    still = StimulusSpec(1, SIZE, SIZE, 100.0, 50.0, 0.0, 200.0)
    seen = wrap_callable(lambda x: x.mean((1, 2, 3))[:, None], still, 1).condition()
    with pytest.raises(InputError, match="needs a twin of videos.*ask for `surround_orientation`"):
        around(seen)
    with pytest.raises(InputError, match="`surround_orientation` and `surround_direction`"):
        insilico.measure_tuning(
            quiet, [0], axes={"surround_direction": [0.0, 180.0]}, preferences=preferences,
            fixed={"surround_orientation": 0.0, "surround_contrast": 0.8, "radius": RADIUS},
        )  # fmt: skip
