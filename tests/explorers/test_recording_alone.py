"""A recording without a twin: looked at and fitted to; what needs a twin says so."""

import html

import numpy as np
import panel as pn
import pytest
import xarray as xr

from twinlab import explorers, twins
from twinlab.explorers import EXPLORERS, FitMonitor, Lab, LabState, RecordingPage, Videos
from twinlab.explorers.surveyed import NO_TWIN
from twinlab.explorers.taking import provenance, take_data, take_figure
from twinlab.schema import InputError
from twinlab.simulation import SimulatedCortex, SimulatedVideoCortex


@pytest.fixture(scope="module")
def videos():
    cortex = SimulatedVideoCortex(seed=0, n_neuron=8, height=24, width=32)
    return cortex.record(n_train=2, n_validation=1, n_test=2, n_repeat=4, n_frame=40)


@pytest.fixture(scope="module")
def known(recording):
    """What all pages share: the recording has been gone through once."""
    lab = LabState(None, recording)
    RecordingPage(lab)
    lab.wait(60)
    yield lab
    lab.close()


def test_what_needs_a_twin_says_so_in_one_sentence_and_is_refused(lab, videos):
    of_videos = LabState(recording=videos)
    for one, page in ((lab, "recording"), (of_videos, "videos")):
        said = {name: kind.lacks(one) for name, kind in EXPLORERS.items()}
        assert said.pop(page) == ""
        assert "--fits FOLDER" in said.pop("fits")
        other = {"recording", "videos"}.intersection(said).pop()
        assert said.pop(other).startswith("This recording is of ")
        assert set(said.values()) == {NO_TWIN}
        for name in said:
            with pytest.raises(InputError, match="^No twin was given: `twinlab serve TWIN`"):
                EXPLORERS[name](one)
    of_videos.close()


def test_the_gallery_greys_what_needs_a_twin(lab):
    frame = Lab(lab)
    buttons = list(frame.body.select(lambda part: getattr(part, "label", "") == "Open"))
    assert [button.disabled for button in buttons] == [name != "recording" for name in EXPLORERS]
    navigation = next(iter(frame.body.select(pn.widgets.RadioButtonGroup)))
    assert navigation.options == {"Gallery": "", "Recording": "recording"}
    lab.page = "tuning"
    assert lab.page == ""
    assert lab.message == f"The page 'tuning' cannot be opened. {NO_TWIN}"
    lab.page = "recording"
    assert list(frame._open) == ["recording"]


def test_a_neuron_and_several_are_chosen(lab, recording):
    page = RecordingPage(lab)
    lab.choose_near(float(recording.x_um[9]), float(recording.y_um[9]))
    assert lab.neuron == page.place == 9
    page._select([5, 2])
    assert page.raster().neuron.values.tolist() == [2, 5]
    assert page._draw_circles().dimension_values(0).shape == (2,)
    with pytest.raises(InputError, match="no neuron 24 to select; choose from 0 to 23"):
        lab.selection = [24]


def test_it_shows_what_it_shows_beside_a_twin(lab, cortex, recording):
    page = RecordingPage(lab)
    beside = LabState(cortex.as_twin(), recording)
    beside.cancel()
    other = RecordingPage(beside)
    beside._jobs["survey"].wait(60)
    for name, gather in page.tables().items():
        xr.testing.assert_identical(gather(), other.tables()[name]())
    beside.close()


def test_the_code_computes_what_the_page_shows(lab, recording):
    page = RecordingPage(lab, color="mean response")
    lab.param.update(neuron=4, selection=[3, 11, 8])
    page.step(1)
    room = {"recording": recording}
    exec(page.as_code(), room)  # noqa: S102 - our own
    assert "twin" not in room
    assert room["lab"].view() == lab.view() == {"neuron": 4, "selection": [3, 11, 8]}
    assert room["view"].own() == page.own()
    room["lab"].wait(60)
    for name, gather in page.tables().items():
        xr.testing.assert_identical(gather(), room["view"].tables()[name]())
    xr.testing.assert_identical(room["raster"], page.raster())
    room["lab"].close()


def test_figures_and_data_are_taken_away_with_where_they_are_from(lab):
    page = RecordingPage(lab)
    origin = provenance(lab)
    assert list(origin) == ["recording", "session", "twinlab"]
    assert origin["recording"] == "simulated-0"
    said = page.__panel__()[-1][-1].object
    assert "recording simulated-0; session simulated-0; twinlab" in said
    assert len(take_figure(page.figures()["cells"](), "png").getvalue()) > 2000
    table = take_data(page.of_neurons(), "csv", origin).getvalue()
    assert table.startswith(b"# recording: simulated-0\n")


def test_nothing_is_sent_to_a_bench_that_needs_a_twin(lab, videos, cortex):
    def sends(page):
        return [
            button.visible
            for button in page.body.select(
                lambda part: "Send" in (getattr(part, "label", "") or "")
            )
        ]

    of_videos = LabState(None, videos)
    assert sends(RecordingPage(lab)) == sends(Videos(of_videos)) == [False]
    of_videos.close()


def test_of_videos_the_measured_traces_are_shown(videos):
    lab = LabState(recording=videos, neuron=3)
    page = Videos(lab)
    assert "prediction" not in page._clip_or_blank()
    lab.wait(60)
    shown = videos.response.values[videos.stimulus_index.values == page.stimulus].astype(float)
    assert len(shown) == 4
    np.testing.assert_allclose(page.clip().response, shown.mean(0).T, rtol=1e-6)
    assert "prediction" not in page.clip()
    assert [curve.label for curve in page._draw_trace() if curve.label] == ["measured"]
    assert "mean of 4 presentations" in page._say_trace()
    assert [name for name in page.figures() if "raster" in name] == ["raster measured"]
    for draw in page.figures().values():
        assert len(take_figure(draw(), "png").getvalue()) > 2000
    page.__panel__().get_root()
    room = {"recording": videos}
    exec(page.as_code(), room)  # noqa: S102 - our own
    xr.testing.assert_identical(room["clip"], page.clip())
    raster = explorers.raster_of_clip(page.clip(), page.rows(), "response")
    xr.testing.assert_identical(room["measured_raster"], raster)
    for one in (lab, room["lab"]):
        one.close()


def test_a_twin_is_fitted_and_how_to_open_it_is_said(tmp_path):
    recording = SimulatedCortex(seed=0, n_neuron=6, height=18, width=24).record(
        n_train=60, n_validation=20, n_test=5
    )
    lab = LabState(recording=recording, fits=tmp_path)
    view = FitMonitor(lab, max_epochs=1, preset="small")
    assert "twinlab serve" not in view._say_fits()
    view.starting.start()
    lab.wait(120)
    view._look()
    lab.wait(60)
    assert view.found["fit-1"].attrs["state"] == "done"
    command = f"twinlab serve {tmp_path / 'fit-1'} --recording RECORDING"
    assert command in html.unescape(view._say_fits())
    assert view.readouts.places.sizes["neuron"] == 6
    view.__panel__().get_root()
    view.open_scorecard()
    lab.wait(60)
    assert lab.message.startswith("fit-1 cannot stand beside")
    room = {"recording": recording}
    exec(view.as_code(), room)  # noqa: S102 - our own
    assert room["fits"]["fit-1"].equals(view.found["fit-1"])
    opened = LabState(twins.load_twin(lab.fits / "fit-1"), recording)  # as the command does
    assert opened.has_twin
    np.testing.assert_array_equal(opened.surveyed.recorded, np.arange(6))
    for one in (lab, room["lab"], opened):
        one.close()


def test_the_grey_levels_are_those_of_all_that_was_shown(recording):
    grey = recording.stimulus.values.astype(float)
    untrained = recording.isel(trial=recording.split.values == "test")
    float_images = untrained.assign(stimulus=recording.stimulus.astype("float32") / 100)
    shown = np.unique(untrained.stimulus_index.values)
    for one, levels in (
        (recording, (grey.min(), grey.max())),
        (float_images, (grey[shown].min() / 100, grey[shown].max() / 100)),
    ):
        lab = LabState(None, one)
        if one.stimulus.dtype == np.uint8:
            levels = (0, 255)
        np.testing.assert_allclose(lab.limits, levels, rtol=1e-6)
        assert lab.canvas.shape == recording.stimulus.shape[1:]
        lab.close()


def test_one_session_of_several_is_chosen(recording):
    sessions = np.where(np.arange(24) < 10, "first", "second")
    two = recording.assign_coords(session=("neuron", sessions))
    lab = LabState(None, two, session="second")
    assert lab.surveyed.labels.neuron_id.values.tolist() == two.neuron_id.values[10:].tolist()
    assert provenance(lab)["session"] == "second"
    both = LabState(None, two)
    assert len(both.surveyed) == 24
    assert provenance(both)["session"] == "first, second"
    for one in (lab, both):
        one.close()


def test_what_cannot_be_shown_is_refused_in_one_line(recording, cortex):
    refused = {
        "Neither a twin nor a recording was given; give at least one of them.": {},
        "The recording has no session 'x'; choose one of simulated-0.": {
            "recording": recording,
            "session": "x",
        },
        "`other` belongs to a twin, but none was given; give that twin, or leave it out.": {
            "recording": recording,
            "other": cortex.as_twin(),
        },
        "`results` belongs to a twin, but none was given; give that twin, or leave it out.": {
            "recording": recording,
            "results": {"mei": recording},
        },
    }
    for said, given in refused.items():
        with pytest.raises(InputError) as error:
            LabState(**given)
        assert str(error.value) == said


def test_what_a_twin_predicts_is_not_asked_of_a_recording(lab):
    for ask in (lab.rate, lab.distance, lab.unfamiliar, lambda: lab.findings):
        with pytest.raises(InputError, match="^No twin was given"):
            ask()
