"""The twin that comes with the package is the one its files say it is."""

import numpy as np
import torch

from twinlab import evaluation, schema, simulation, twins


def test_the_example_is_small_and_says_where_it_is_from():
    files = [path for path in simulation.EXAMPLE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 2 * 2**20
    twin = simulation.load_example()
    assert isinstance(twin, twins.EnsembleTwin)
    member = twin.members[0]
    assert twin.origin["recording_id"] == "simulated-0"
    assert twin.origin["settings"]["seed"] == 0
    for path in simulation.EXAMPLE.glob("*.nc"):
        assert schema.open_result(path).attrs["twin"] in (twin.identity, member.identity)


def test_the_example_predicts_the_cortex_it_was_fitted_to():
    twin, recording = simulation.load_example(), simulation.record_example()
    assert recording.attrs["fingerprint"] == twin.origin["recording"]
    index = np.unique(recording.stimulus_index.values[recording.split.values == "test"])
    with torch.inference_mode():
        shown = torch.as_tensor(recording.stimulus.values[index]).float()
        predicted = twin.condition()(shown).numpy()
    truth = evaluation.single_trial_correlation(recording.true_rate.values[index], predicted)
    assert truth.mean() > 0.85
