"""The page of videos, and what a lab knows of a twin that sees them."""

import copy

import numpy as np
import pytest
import torch
import xarray as xr

from twinlab import explorers, twins
from twinlab.explorers import Lab, LabState, Videos
from twinlab.explorers.lab import EXPLORERS
from twinlab.explorers.matching import blank_clip
from twinlab.explorers.taking import take_data, take_figure
from twinlab.schema import InputError
from twinlab.simulation import SimulatedVideoCortex


@pytest.fixture(scope="module")
def cortex():
    return SimulatedVideoCortex(seed=0, n_neuron=12, height=24, width=32)


@pytest.fixture(scope="module")
def recording(cortex):
    return cortex.record(n_train=4, n_validation=2, n_test=3, n_repeat=6, n_frame=70)


@pytest.fixture
def page(known):
    page = Videos(known.another())
    page.lab.wait(60)
    yield page
    page.lab.close()


def test_traces_are_the_means_over_presentations(page, cortex, recording):
    page.stimulus = int(page._among[1])
    page.lab.wait(60)
    trials = recording.isel(trial=recording.stimulus_index.values == page.stimulus)
    assert trials.sizes["trial"] == 6
    clip = page.clip().transpose("neuron", "frame")
    measured = trials.response.values.astype(float)
    np.testing.assert_allclose(clip.response, measured.mean(0), rtol=1e-6)
    np.testing.assert_allclose(
        clip.standard_error, measured.std(0, ddof=1) / np.sqrt(6), rtol=1e-6, atol=1e-12
    )
    predicted = twins.predict_responses(cortex.as_twin(), trials)
    np.testing.assert_allclose(clip.prediction, predicted.mean("trial"), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(clip.time, np.arange(70) / 30)
    page.lab.neuron = 7
    curves = {c.label: c for c in page._draw_trace() if c.label}
    np.testing.assert_allclose(curves["measured"].dimension_values(1), clip.response[7])
    np.testing.assert_allclose(curves["predicted"].dimension_values(1), clip.prediction[7])


def test_missing_frames_are_left_out_of_both_means():
    rng = np.random.default_rng(0)
    response = xr.DataArray(
        rng.normal(size=(3, 2, 4)),
        {"stimulus_index": ("trial", [5] * 3), "neuron_id": ("neuron", [1, 2])},
        ("trial", "neuron", "frame"),
        attrs={"units": "events"},
    )
    prediction = response.copy(data=rng.normal(size=(3, 2, 4)))
    response[0, 1, 2] = np.nan
    response[:, 0, 3] = np.nan
    found = explorers.average_clip(response, prediction, 10.0)
    np.testing.assert_allclose(found.response, response.mean("trial").T)
    assert np.isnan(found.response[3, 0])
    assert np.isnan(found.prediction[3, 0])
    np.testing.assert_allclose(found.prediction[2, 1], prediction[1:, 1, 2].mean())
    assert found.n_repeat[2, 1] == 2
    assert found.response.attrs["units"] == "events"


def test_a_raster_is_in_spreads_of_what_was_measured(page):
    clip = page.clip()
    spread = clip.response.std("frame").values
    for variable in ("response", "prediction"):
        raster = explorers.raster_of_clip(clip, [4, 2], variable)
        for row, neuron in enumerate((4, 2)):
            expected = clip[variable].values[:, neuron] / spread[neuron]
            np.testing.assert_allclose(raster.raster[row], expected)
    some = explorers.raster_of_clip(clip, np.arange(12), "response", most=3)
    np.testing.assert_array_equal(some.neuron, [0, 6, 11])
    assert some.attrs["n_neuron"] == 12


def test_the_frame_shown_is_the_videos(page, recording):
    page.frame = 31
    shown = recording.stimulus.values[page.stimulus, :, 31]
    np.testing.assert_array_equal(page.image(), shown)
    drawn = page._draw_frame().dimension_values(2, flat=False)
    np.testing.assert_array_equal(np.sort(drawn.ravel()), np.sort(shown.ravel()))
    assert "frame 31 of 70, at 1.03 s" in page._say_frame()


def test_the_cursors_stand_at_the_frame(page):
    pane = page._with_cursor(page._draw_trace, ["neuron"], time=True)
    page.frame = 45
    line = [*pane.object[()]][-1]
    assert line.data == pytest.approx(1.5)


def test_a_tap_on_the_raster_scrubs_and_chooses(page):
    raster = explorers.raster_of_clip(page.clip(), page.rows(), "response")
    page.choose_at(20.4, 2.2)
    assert page.frame == 20
    assert page.lab.neuron == int(raster.neuron[2])
    page.choose_at(900.0, -4.0)
    assert page.frame == 69
    page.choose_at(None, None)
    assert page.frame == 69


def test_speed_skips_frames_where_pictures_would_come_too_fast(page):
    player = next(iter(page.body.select(lambda w: type(w).__name__ == "Player")))
    for speed in (0.25, 1.0, 2.0):
        page.speed = speed
        frames_per_second = player.step / (player.interval / 1000)
        assert frames_per_second == pytest.approx(30 * speed, rel=0.02)
        assert player.interval >= 80
    player.value = 12
    assert page.frame == 12


def test_selected_neurons_are_drawn_together(page):
    page.lab.selection = [3, 8]
    curves = page._draw_traces()
    lines = curves.get(0).dimension_values(1)
    assert np.isnan(lines).sum() == 2  # a gap after each neuron
    page.lab.selection = []
    assert np.isnan(page._draw_traces().get(0).dimension_values(1)).sum() == 5


def test_the_code_computes_what_the_page_shows(page, cortex, recording):
    page.param.update(frame=17, speed=0.5)
    page.lab.selection = [9, 1]
    room = {"twin": cortex.as_twin(), "recording": recording}
    exec(page.as_code(), room)  # noqa: S102 - our own
    xr.testing.assert_allclose(room["clip"], page.clip())
    raster = explorers.raster_of_clip(page.clip(), page.rows(), "prediction")
    xr.testing.assert_allclose(room["predicted_raster"], raster)
    np.testing.assert_array_equal(room["frame"], page.image())
    assert room["view"].own() == page.own()
    room["lab"].close()


def test_every_figure_and_table_can_be_taken_away(page):
    for draw in page.figures().values():
        assert len(take_figure(draw(), "png").getvalue()) > 2000
    for gather in page.tables().values():
        assert len(take_data(gather(), "csv", {"twin": "t"}).getvalue()) > 200


def test_before_anything_is_known_it_draws_and_says_so(known, monkeypatch):
    lab = known.another()
    monkeypatch.setattr(lab.findings, "followed", lambda _: None)
    monkeypatch.setattr(lab.findings, "follow", lambda *_: None)
    page = Videos(lab)
    assert "measuring …" in page._say_trace()
    assert page.tables()["responses"]() is None
    page.__panel__().get_root()
    lab.close()


def test_a_neuron_that_was_not_recorded_is_said_to_be_missing(cortex, recording):
    lab = LabState(cortex.as_twin(), recording.isel(neuron=[2, 3]))
    page = Videos(lab)
    lab.wait(60)
    assert "not in this recording" in page._say_trace()
    assert np.isnan(page._draw_trace().get(1).dimension_values(1)).all()
    lab.close()


def test_a_video_that_was_never_shown_is_said_to_be(cortex, recording):
    unshown = recording.isel(trial=recording.stimulus_index.values != 8)
    lab = LabState(cortex.as_twin(), unshown)
    page = Videos(lab, split="all", stimulus=8)
    lab.wait(60)
    with pytest.raises(InputError, match="Video 8 was not shown in this recording"):
        lab.findings.follow(8)
    assert page._draw_trace()
    lab.close()


def test_the_recorded_frames_are_the_usual_rates(known, cortex, recording):
    usual = known.findings.usual_rate
    assert usual.shape == (3 * 70, 12)
    twin = cortex.as_twin().condition()
    first = np.unique(recording.stimulus_index.values[recording.split.values == "test"])[0]
    video = torch.as_tensor(recording.stimulus.values[[first]]).float()
    with torch.no_grad():
        np.testing.assert_allclose(usual[:70], twin(video)[0].T, rtol=1e-5, atol=1e-7)


def test_scores_of_short_videos_leave_half_of_the_frames(known, recording):
    scores = known.findings.column("scores", "correlation_to_average")
    assert np.isfinite(scores).all()
    assert np.median(scores) > 0.5
    trained = int(known.known("scores").n_trial)
    assert trained == 18 * (70 - 35)


def test_a_still_image_is_shown_for_a_second(known, recording):
    frame = recording.stimulus.values[8, :, 30]
    twin = known.findings.twin
    held = torch.as_tensor(frame[None, :, None]).float().expand(-1, -1, 30, -1, -1)
    with torch.no_grad():
        rate = twin(held)[0, :, 15:].mean(1)
    np.testing.assert_allclose(known.findings.respond(frame), rate, rtol=1e-5, atol=1e-7)


def test_a_most_exciting_video_is_judged_by_the_other_twin(cortex, recording):
    twin = cortex.as_twin()
    other = copy.deepcopy(twin)
    other.scale.mul_(1.1)
    lab = LabState(twin, recording, other=other)
    mei = lab.findings.measure("mei", 0)
    assert mei.mei.dims == ("channel", "frame", "y", "x")
    assert float(mei.activation_other) == pytest.approx(1.1 * float(mei.activation), rel=1e-3)
    lab.close()


def test_where_nothing_can_be_known_of_neurons_the_page_still_opens(cortex, recording):
    twin = cortex.as_twin()
    known = [n for n in twin.neurons.coords if str(n).startswith("true_") or n == "z_um"]
    twin.neurons = twin.neurons.drop_vars(known)
    once = recording.isel(trial=recording.split.values != "test").drop_vars(known)
    lab = LabState(twin, once)
    page = Videos(lab)
    lab.wait(60)
    assert list(lab.colors) == ["mean predicted response"]
    assert page.color == "mean response"
    assert "reliability undefined" in page._say_neuron()
    assert page._say_trace() == "mean of 1 presentation"
    page.__panel__().get_root()
    lab.close()


def test_a_frame_is_sent_to_the_bench(page):
    page.frame = 22
    page.send_frame()
    np.testing.assert_array_equal(page.lab.image, page.image())
    assert page.lab.rate().shape == (12,)
    assert "frame 22" in page.lab.image_title


def test_without_a_recording_a_twin_of_videos_opens_and_says_what_is_missing(cortex):
    lab = LabState(cortex.as_twin())
    lab.wait(30)
    assert lab.findings.usual_rate.shape == (4 * 30, 12)
    assert "--recording" in Videos.lacks(lab)
    Lab(lab).__panel__().get_root()
    lab.close()


def test_pages_about_images_say_so(known, cortex, nothing_measured):
    said = {name: kind.lacks(known) for name, kind in EXPLORERS.items()}
    for name in ("bench", "recording", "unit"):
        assert "sees videos, and this page is about images" in said[name]
    assert said["videos"] == ""
    for name, kind in EXPLORERS.items():  # whatever can be opened is drawn
        if not said[name]:
            kind(known.another()).__panel__().get_root()
    lab = Lab(known.another(page="unit"))
    assert lab.lab.page == ""
    assert "about images" in lab.lab.message
    lab.lab.close()


def test_a_twin_of_images_has_no_videos(cortex):
    from twinlab.simulation import SimulatedCortex

    lab = LabState(SimulatedCortex(seed=0, n_neuron=4, height=16, width=16).as_twin())
    assert Videos.lacks(lab) == "This twin sees images, and this page is about videos."
    lab.close()


def test_what_is_unknown_of_a_video_has_the_form_of_what_is_known(page, recording):
    blank = blank_clip(recording, ["response", "prediction"])
    for name, variable in blank.items():
        assert page.clip()[name].sizes == variable.sizes
    assert np.isnan(blank.response).all()
    xr.testing.assert_identical(blank.time.drop_vars("time"), page.clip().time.drop_vars("time"))
