"""The page of a recording: what it shows is what was recorded, whatever is missing."""

import dask.array as da
import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from twinlab import evaluation, recordings
from twinlab.explorers import Lab, LabState, RecordingPage
from twinlab.explorers.recorded import COLORS
from twinlab.schema import InputError


def open_page(twin, recording, **params):
    """Open the page of a recording once it has been gone through; nothing else is measured."""
    lab = LabState(twin, recording)
    lab.cancel()
    page = RecordingPage(lab, **params)
    lab._jobs["survey"].wait(60)
    return page


@pytest.fixture(scope="module")
def known(cortex, recording):
    """What all pages share: the recording has been gone through once."""
    page = open_page(cortex.as_twin(), recording)
    yield page.lab
    page.lab.close()


@pytest.fixture
def page(known):
    page = RecordingPage(known.another())
    yield page
    page.lab.close()


def title_of(figure):
    return hv.render(figure, backend="bokeh").title.text


def test_it_shows_the_repeats_of_the_chosen_image(page, recording):
    page.lab.neuron = 7
    page.step(2)
    shown = recording.stimulus_index.values == page.stimulus
    assert shown.sum() == 6
    values = recording.response.values[shown, 7].astype(float)
    repeats = page.repeats()
    assert float(repeats.mean_response) == pytest.approx(values.mean())
    assert f"mean <b>{values.mean():.3g}</b>" in page._say_repeats()
    image = page._draw_image()
    drawn = image.dimension_values(2, flat=False)[::-1]
    stored = recording.stimulus.values[page.stimulus]
    np.testing.assert_array_equal(np.sort(drawn.ravel()), np.sort(stored.ravel()))


def test_images_are_stepped_through_within_their_split(page, recording):
    test = np.unique(recording.stimulus_index.values[recording.split.values == "test"])
    assert page.stimulus == test[0]
    page.step(-1)
    assert page.stimulus == test[-1]
    page.step(1)
    assert page.stimulus == test[0]
    page.choose_random()
    assert page.stimulus in test
    page.split = "train"
    assert recording.split.values[recording.stimulus_index.values == page.stimulus][0] == "train"


def test_an_image_of_another_split_is_shown_with_its_own(page, recording):
    train = int(recording.stimulus_index.values[recording.split.values == "train"][0])
    page.stimulus = train
    assert page.stimulus == train
    assert page.split == "train"


def test_reliability_is_that_of_the_evaluation_room(page, recording):
    expected = evaluation.score_reliability(recording)
    found = page.lab.findings.column("reliability", "explainable_variance")
    np.testing.assert_allclose(found, expected.explainable_variance)
    cells = page._draw_cells().get(0)
    np.testing.assert_allclose(
        cells.dimension_values("explainable_variance"), expected.explainable_variance
    )
    value = float(expected.explainable_variance[0])
    assert f"explainable variance <b>{value:.2f}</b>" in page._say_neuron()


def test_cells_can_be_coloured_by_everything_offered(page):
    for color, source in COLORS.items():
        page.color = color
        value = page.lab.findings.column(*source)
        defined = int(np.isfinite(value).sum())
        assert defined > 20
        drawn = page._draw_cells().get(0).dimension_values(source[1])
        np.testing.assert_allclose(drawn, value)
        assert value.attrs["long_name"]
        assert title_of(page._draw_distribution()) == f"{defined} of 24 neurons defined"


def test_the_most_reliable_neurons_come_first_and_a_selection_alone(page):
    reliable = page.lab.findings.column("reliability", "explainable_variance").values
    assert (np.diff(reliable[page.raster().neuron.values]) <= 0).all()
    page._select([5, 2, 9])
    assert page.lab.selection == [2, 5, 9]
    assert page.raster().neuron.values.tolist() == [2, 5, 9]
    assert page._draw_circles().dimension_values(0).shape == (3,)
    page._select([])
    assert page.raster().sizes["raster_neuron"] == 24


def test_a_tap_on_the_raster_chooses_the_image_and_the_neuron(page):
    page.order = "stimulus"
    raster = page.raster()
    page.choose_at(7.2, 3.4)
    assert page.stimulus == int(raster.stimulus_index[7])
    assert page.lab.neuron == int(raster.neuron[3])
    page.choose_at(None, None)  # beside the frame
    page.choose_at(1e6, -5.0)  # at its edge
    assert page.stimulus == int(raster.stimulus_index[-1])
    assert page.lab.neuron == int(raster.neuron[0])


def test_the_raster_says_of_how_many_it_draws(page, recording):
    page.split = "train"
    assert title_of(page._draw_raster()) == "24 of 24 neurons, 300 of 600 train trials"


def test_an_image_is_sent_to_the_bench(page, recording):
    page.step(3)
    page.send_image()
    np.testing.assert_array_equal(page.lab.image, recording.stimulus.values[page.stimulus])
    assert page.lab.kind == "image"
    assert page.lab.image_title.endswith("(test)")


def test_the_code_computes_what_the_page_shows(page, cortex, recording):
    page.lab.neuron = 4
    page.param.update(order="stimulus", color="mean response")
    page.step(1)
    for selection in ([], [3, 11, 8]):
        page.lab.selection = selection
        room = {"twin": cortex.as_twin(), "recording": recording}
        exec(page.as_code(), room)  # noqa: S102 - our own
        xr.testing.assert_identical(room["raster"], page.raster())
        xr.testing.assert_identical(room["repeats"], page.repeats())
        xr.testing.assert_identical(room["image"], recording.stimulus[page.stimulus])
        assert room["view"].own() == page.own()
        found = page.of_neurons()
        np.testing.assert_array_equal(room["activity"].neuron_mean, found.neuron_mean)
        np.testing.assert_array_equal(room["reliability"].cc_max, found.cc_max)
        room["lab"].close()


def test_every_figure_and_table_can_be_taken_away(page):
    from twinlab.explorers.taking import take_data, take_figure

    for draw in page.figures().values():
        assert len(take_figure(draw(), "png").getvalue()) > 2000
    for gather in page.tables().values():
        assert len(take_data(gather(), "csv", {"twin": "t"}).getvalue()) > 200
        assert take_data(gather(), "nc", {"twin": "t"}).getvalue()[:4] == b"\x89HDF"


def test_while_nothing_is_known_it_says_so_and_draws(cortex, recording, said):
    lab = LabState(cortex.as_twin(), recording)
    lab.findings.survey = lambda *_: None
    page = RecordingPage(lab)
    lab._jobs["survey"].wait(10)
    assert "measuring …" in said(page)
    assert page.of_neurons() is None
    lab.close()


def test_without_repeats_reliability_is_undefined_and_said_to_be(cortex, recording, said):
    once = recording.isel(trial=recording.split.values == "train")
    page = open_page(cortex.as_twin(), once, color="oracle correlation")
    assert page.split == "all"
    assert "reliability undefined" in said(page)
    assert title_of(page._draw_distribution()) == "none defined"
    assert RecordingPage(page.lab).color == "mean response"  # of what is defined
    assert "1 of 1 presentation with a response" in page._say_repeats()
    assert "standard error undefined" in page._say_repeats()
    page.lab.close()


def test_missing_behaviour_and_missing_responses_are_said(cortex, recording, said):
    poor = recording.drop_vars(["behavior", "behavior_channel"]).copy(deep=True)
    poor["pupil_center"] = poor.pupil_center * np.nan
    poor.response[:, 2] = np.nan
    poor.response[poor.split.values == "test"] = np.nan
    page = open_page(cortex.as_twin(), poor, split="test")
    page.lab.neuron = 2
    shown = said(page)
    assert "Behaviour was not recorded, or is withheld." in shown
    assert "The position of the pupil was not recorded, or is withheld." in shown
    assert "0 of 6 presentations with a response: the mean is undefined" in shown
    assert "mean undefined" in page._say_neuron()
    assert np.isnan(page.raster().raster).all()
    page.lab.close()


def test_a_recording_left_on_the_disk_shows_the_same(page, cortex, recording):
    lazy = recording.copy()
    for name in ("stimulus", "response"):
        chunks = (100, *recording[name].shape[1:])
        lazy[name] = recording[name].copy(data=da.from_array(recording[name].values, chunks))
    other = open_page(cortex.as_twin(), lazy)
    xr.testing.assert_allclose(other.raster(), page.raster())
    xr.testing.assert_identical(other.repeats(), page.repeats())
    assert other._say_neuron() == page._say_neuron()
    other.__panel__().get_root()
    other.lab.close()


def test_a_recording_whose_files_are_gone_is_said_to_be_broken(cortex, recording):
    lab = LabState(cortex.as_twin(), recording)

    def fail(*_):
        message = "response/0.0: is gone or was cut short; convert the recording again."
        raise InputError(message)

    lab.findings.survey = fail
    RecordingPage(lab)
    lab._jobs["survey"].wait(10)
    assert lab.message.startswith("Cells cannot be judged. response/0.0: is gone")
    lab.close()


def test_a_neuron_that_was_not_recorded_is_said_to_be_missing(cortex, recording, said):
    page = open_page(cortex.as_twin(), recording.isel(neuron=[3, 5]))
    assert page.place == -1
    assert "not in this recording" in said(page)
    assert page.repeats() is None
    assert page.raster().attrs["n_neuron"] == 2
    assert "repeats =" not in page.as_code()
    page.choose_at(0, 0)
    assert page.lab.neuron in (3, 5)
    page.lab.close()


def test_an_old_link_shows_what_is_there_and_says_so(cortex, recording):
    page = open_page(cortex.as_twin(), recording, stimulus=10_000)
    assert page.lab.message == "There is no image 10000. Images run from 0 to 729; 0 is shown."
    page.lab.close()


def test_without_a_recording_it_says_how_to_give_one(cortex):
    lab = LabState(cortex.as_twin())
    assert "--recording" in RecordingPage.lacks(lab)
    lab.page = "recording"
    Lab(lab)
    assert lab.page == ""
    assert "--recording" in lab.message
    lab.close()


def test_selecting_reads_nothing_twice(page, monkeypatch):
    page.raster()
    monkeypatch.setattr(recordings, "sample_raster", lambda *_, **__: pytest.fail("read again"))
    page.stimulus = int(page._among[3])
    page.lab.neuron = 3
    page._draw_marks()
