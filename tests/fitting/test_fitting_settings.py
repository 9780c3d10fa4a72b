"""Settings suit the recording, and are read from words."""

import numpy as np

from twinlab.fitting import default_settings
from twinlab.simulation import SimulatedCortex, SimulatedVideoCortex


def some(**settings):
    return SimulatedCortex(seed=0, n_neuron=4).record(
        n_validation=4, n_test=2, n_repeat=2, **settings
    )


def test_what_was_recorded_is_made_use_of():
    recording = some(n_train=8)
    architecture, _ = default_settings(recording)
    assert (architecture.behavior, architecture.shifter) == ("gain", True)
    bare = recording.drop_vars(["behavior", "pupil_center"])
    architecture, _ = default_settings(bare)
    assert (architecture.behavior, architecture.shifter) == ("none", False)
    # of sessions that share a core, what all have
    assert default_settings(recording, bare)[0] == architecture
    withheld = recording.assign(pupil_center=recording.pupil_center * np.nan)
    assert not default_settings(withheld)[0].shifter


def test_few_trials_are_shown_more_often():
    assert default_settings(some(n_train=1280))[1].max_epochs == 50
    recording = some(n_train=8)
    many = recording.isel(trial=np.repeat(np.arange(recording.sizes["trial"]), 2000))
    assert default_settings(many)[1].max_epochs == 30


def test_videos_get_a_core_for_videos():
    recording = SimulatedVideoCortex(seed=0, n_neuron=4).record(
        n_train=8, n_validation=2, n_test=1, n_repeat=2, n_frame=20
    )
    architecture, settings = default_settings(recording)
    assert (architecture.core, architecture.layers, architecture.hidden) == (
        "factorized_3d",
        3,
        32,
    )
    assert (settings.batch_size, settings.max_epochs) == (8, 300)
