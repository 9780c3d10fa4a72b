import copy
import time

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import insilico
from twinlab.explorers import LabState, NeuronMap, TwinBench, UnitPage
from twinlab.schema import InputError


@pytest.fixture
def lab(cortex, recording):
    """Wait until the first neuron has been measured, and stop all work afterwards."""
    lab = LabState(cortex.as_twin(), recording)
    lab.wait(60)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def other(cortex):
    """A twin of the same neurons that answers a little differently."""
    twin = copy.deepcopy(cortex.as_twin())
    twin.scale.mul_(1.1)
    return twin


def test_what_is_asked_of_a_neuron_is_what_the_experiment_finds(lab):
    twin = lab.findings.twin
    xr.testing.assert_allclose(
        lab.known("tuning"), insilico.measure_orientation_tuning(twin, [0]).isel(neuron=0)
    )
    np.testing.assert_allclose(
        lab.known("receptive_field").receptive_field,
        insilico.measure_receptive_field(twin, [0]).receptive_field[0],
        rtol=1e-4,
        atol=1e-8,
    )


def test_another_neuron_is_measured_when_it_is_chosen(lab):
    assert lab.findings.known("tuning", 7) is None
    before = lab.arrivals.tuning
    lab.neuron = 7
    lab.wait(60)
    assert int(lab.known("tuning").neuron_id) == 7
    assert lab.arrivals.tuning == before + 1


def test_predicted_responses_are_those_of_the_twin(lab):
    lab.param.update(kind="grating", orientation=30, contrast=0.5)
    with torch.no_grad():
        rate = lab.findings.twin(torch.as_tensor(lab.stimulus().values[None]))[0]
    np.testing.assert_allclose(lab.rate(), rate, rtol=1e-5)


def test_the_stimulus_follows_the_sliders(lab):
    lab.param.update(kind="grating", orientation=90, contrast=0.5)
    image = lab.stimulus().values[0]
    np.testing.assert_allclose(image, np.broadcast_to(image[:1], image.shape))  # vertical bars
    mean = lab.findings.twin.spec.mean
    assert np.abs(image - mean).max() == pytest.approx(0.5 * mean, rel=0.05)
    lab.param.update(kind="round grating", x=10, y=8, size=5)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    outside = np.hypot(x - 10, y - 8) > 6
    np.testing.assert_allclose(lab.stimulus().values[0][outside], mean)


def test_a_matched_stimulus_excites_the_neuron(lab):
    excited = []
    for neuron in range(0, 24, 6):
        lab.neuron = neuron
        lab.wait(60)
        lab.match_stimulus()
        excited.append(np.mean(lab.findings.usual_rate[:, neuron] < float(lab.rate()[neuron])))
    assert np.median(excited) > 0.8


def test_a_tap_chooses_the_nearest_neuron(lab):
    place = lab.findings.labels.isel(neuron=13)
    lab.choose_near(float(place.x_um) + 0.5, float(place.y_um) - 0.5)
    assert lab.neuron == 13


def test_a_tap_beside_the_frame_changes_nothing(lab):
    lab.choose_near(None, None)
    assert lab.neuron == 0


def test_a_neuron_without_a_reliable_signal_is_marked(cortex, recording, said):
    noise = recording.copy()
    noise["response"] = recording.response.copy(
        data=np.random.default_rng(0).gamma(1, 1, recording.response.shape).astype(np.float32)
    )
    lab = LabState(cortex.as_twin(), noise)
    lab.wait(60)
    assert "not reliable enough to judge" in said(TwinBench(lab))
    lab.close()


def test_a_reliable_neuron_is_shown_with_its_ceiling_and_interval(lab, said):
    scores = lab.findings.column("scores", "explainable_variance")
    lab.neuron = int(scores.values.argmax())
    lab.wait(60)
    shown = said(TwinBench(lab))
    assert "reliable enough to judge" in shown
    assert "not reliable" not in shown
    feve, (low, high) = (float(lab.known("scores").feve), lab.known("scores").feve_interval)
    assert f"FEVE <b>{feve:.2f}</b> [{float(low):.2f}, {float(high):.2f}]" in shown


def test_without_a_recording_the_bench_admits_it_knows_no_ceiling(cortex, said):
    lab = LabState(cortex.as_twin())
    lab.wait(60)
    assert "no recording given" in said(TwinBench(lab))
    assert lab.unfamiliar() == []
    assert lab.known("tuning") is not None
    lab.close()


def test_a_faint_stimulus_is_flagged_and_a_recorded_image_is_not(lab, recording):
    from twinlab.explorers import unfamiliar_features

    lab.param.update(kind="grating", contrast=0.05)
    assert any("contrast" in fault for fault in lab.unfamiliar())
    flagged = [
        bool(unfamiliar_features(image, lab.findings.training))
        for image in recording.stimulus.values[:50]
    ]
    assert np.mean(flagged) < 0.25  # a percent or two on each of several statistics


def test_results_made_beforehand_are_shown_as_they_are(cortex):
    twin = cortex.as_twin()
    tuning = insilico.measure_orientation_tuning(twin.condition(), [5, 2], n_phase=4)
    lab = LabState(twin, results={"tuning": tuning}, neuron=2)
    lab.wait(60)
    xr.testing.assert_identical(lab.known("tuning"), tuning.isel(neuron=1))
    known = lab.findings.column("tuning", "osi")
    assert np.flatnonzero(np.isfinite(known)).tolist() == [2, 5]
    lab.close()


def test_tuning_of_all_colours_the_whole_map(lab):
    NeuronMap(lab).measure_all("tuning")
    lab.wait(120)
    assert not lab.running
    assert lab.message == "done"
    preferred = lab.findings.column("tuning", "preferred_orientation")
    assert np.isfinite(preferred).all()


def test_an_mei_is_made_for_the_chosen_neuron_and_judged_by_the_other_twin(
    cortex, recording, other, said
):
    lab = LabState(cortex.as_twin(), recording, other=other)
    lab.wait(60)
    lab.synthesize_mei()
    lab.wait(120)
    mei = lab.known("mei")
    assert lab.message == "done"
    assert float(mei.activation) > np.percentile(lab.findings.usual_rate[:, 0], 95)
    assert float(mei.activation_other) == pytest.approx(1.1 * float(mei.activation), rel=1e-3)
    assert "On the other twin" in said(TwinBench(lab))
    lab.close()


def test_without_another_twin_an_mei_is_said_to_be_unjudged(lab, said):
    lab.synthesize_mei()
    lab.wait(120)
    assert "activation_other" not in lab.known("mei")
    assert "no other twin to judge it" in said(TwinBench(lab))


def test_cancelled_work_stops_soon_and_leaves_nothing(lab):
    lab.synthesize_mei()
    began = time.monotonic()
    lab.cancel()
    lab.wait(10)
    assert time.monotonic() - began < 1
    assert lab.message == "cancelled"
    assert not lab.running
    assert lab.known("mei") is None


def test_work_that_fails_says_why(lab, monkeypatch):
    def fail(*_, **__):
        message = "out of ink"
        raise ValueError(message)

    monkeypatch.setattr(insilico, "synthesize_mei", fail)
    lab.synthesize_mei()
    with pytest.raises(ValueError, match="out of ink"):
        lab.wait(10)
    assert lab.message == "failed: out of ink"
    assert not lab.running


def test_every_view_can_be_drawn_before_anything_is_known(cortex, recording):
    lab = LabState(cortex.as_twin(), recording)
    lab.close()
    TwinBench(lab).__panel__().get_root()


def test_neurons_without_a_position_are_set_out_in_rows(cortex, recording):
    twin = cortex.as_twin()
    twin.neurons = twin.neurons.drop_vars(["x_um", "y_um"])
    lab = LabState(twin)
    assert lab.places.x_um.attrs["long_name"] == "column (position unknown)"
    assert len(set(zip(lab.places.x_um.values, lab.places.y_um.values, strict=True))) == 24
    lab.close()


def test_sliders_stay_on_the_screen(lab):
    with pytest.raises(ValueError, match="must be at most 63"):
        lab.x = 64
    with pytest.raises(ValueError, match="must be at most 23"):
        lab.neuron = 24


def test_a_result_of_another_twin_is_refused(cortex, other):
    tuning = insilico.measure_orientation_tuning(other.condition(), [0], n_phase=3)
    with pytest.raises(InputError, match=r"'tuning' was made with twin .* make it again"):
        LabState(cortex.as_twin(), results={"tuning": tuning})


def test_an_unknown_result_is_named_with_the_known_ones(cortex):
    with pytest.raises(InputError, match=r"\['rf'\]; the bench shows \['receptive_field'"):
        LabState(cortex.as_twin(), results={"rf": xr.Dataset()})


def test_a_recording_of_other_neurons_is_refused(cortex, recording):
    strange = recording.assign_coords(neuron_id=("neuron", np.arange(24) + 1000))
    with pytest.raises(InputError, match="The recording has 24 neurons, of which .* knows 0"):
        LabState(cortex.as_twin(), strange)


def test_another_twin_of_other_neurons_is_refused(cortex, recording):
    stranger = cortex.as_twin()
    stranger.neurons = stranger.neurons.assign_coords(neuron_id=("neuron", np.arange(24) + 50))
    with pytest.raises(InputError, match="The other twin has other neurons"):
        LabState(cortex.as_twin(), recording, other=stranger)


def test_a_recording_without_test_responses_still_shows_the_neuron(cortex, recording):
    untested = recording.copy(deep=True)
    untested.response[recording.split.values == "test"] = np.nan
    lab = LabState(cortex.as_twin(), untested)
    lab.wait(30)
    assert lab.known("receptive_field") is not None
    assert lab.known("tuning") is not None
    assert "no test responses" in UnitPage(lab)._say_reliability()
    lab.close()
